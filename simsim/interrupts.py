"""Signals that end a run: Ctrl-C, SIGTERM, SIGHUP.

They are noted, and a run looks at safe places whether one came. Where nothing
would be torn, a run lets them strike at once. This module imports little, for
it is there before everything else.
"""

import contextlib
import signal
import threading

HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none


class Interrupts:
    """Notes signals while it is entered; a second one does not wait for a safe place.

    `seen` says whether one came. Only a program's main thread can catch
    signals: in any other there is nothing to note.
    """

    def __init__(self):
        self.seen = self._now = False

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in _numbers():
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self):
        """Raise KeyboardInterrupt if a signal came."""
        if self.seen:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self):
        """Within, a signal raises KeyboardInterrupt at once."""
        self._now = True
        try:
            yield
        finally:
            self._now = False

    def _note(self, number, frame):
        again = self.seen and number != HANG_UP  # which the terminal and the shell both send
        strike, self.seen, self._now = self._now or again, True, False
        if strike:
            raise KeyboardInterrupt


def _numbers():
    """The signals to note; a hang-up that is ignored, as under nohup, stays ignored."""
    ignored = HANG_UP is None or signal.getsignal(HANG_UP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [HANG_UP])]
