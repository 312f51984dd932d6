"""Where tasks are computed: processes of this machine, or any `concurrent.futures.Executor` that is handed in.

What the loop of a sweep asks of such a place:

1. `width`: how many tasks it is given at a time;
2. `submit(function, task)`: a future, as of any Executor; BrokenExecutor where it is broken;
3. `remake()`: get ready again after that; False where it cannot;
4. `gave_up`: exceptions of a future by which it says that the task has killed its workers again and again;
5. `close()`: leave nothing running.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

from simsim.files.provenance import THREAD_VARIABLES

DASK = "dask:"
CONNECT_SECONDS = 5  # to wait for a cluster
STARTED_BY = "SIMSIM_WORKER_OF"  # in the environment of a worker that has not begun: the process that starts it
HEARD_BY_PARENT = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
AHEAD = 2  # tasks in flight for each thread of a cluster, which is far away


class ExecutorError(RuntimeError):
    """There is no such executor, or no way to it; the text is one line."""


class Processes:
    """The standard library's process pool, made anew when a worker was killed.

    Workers are started afresh (spawn), each with one BLAS thread: as many as CPUs, threads would only get into each
    other's way. They leave signals to their parent, and end when it closes its end of a pipe, or dies.
    """

    gave_up = ()

    def __init__(self, workers=None):
        self.width = workers or cpus()
        self._pool = None

    def submit(self, function, task):
        """A future of function(task)."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            theirs, self._alive = context.Pipe(duplex=False)
            self._begun = context.Event()
            self._pool = ProcessPoolExecutor(self.width, context, initializer=_begin, initargs=(theirs, self._begun))
        with _as_workers_start():
            return self._pool.submit(function, task)

    def remake(self):
        """Drop a broken pool; the next task gets a new one. ExecutorError where no worker of it came to work at all."""
        self.close()
        if not self._begun.is_set():
            raise ExecutorError("no worker came to work; a script that starts a sweep must do so under "
                                "`if __name__ == \"__main__\":`, for every worker reads it anew")
        return True

    def close(self):
        """End all workers now, whatever they are at."""
        if self._pool is not None:
            self._alive.close()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class Given:
    """An Executor that somebody else made, and will close."""

    gave_up = ()

    def __init__(self, executor, workers=None):
        self._executor, self._futures = executor, []
        self.width = workers or getattr(executor, "_max_workers", None) or cpus()

    def submit(self, function, task):
        """A future of function(task)."""
        self._futures = [future for future in self._futures if not future.done()]
        self._futures.append(self._executor.submit(function, task))
        return self._futures[-1]

    def remake(self):
        """It is not ours to make."""
        return False

    def close(self):
        """Take back what has not begun."""
        for future in self._futures:
            future.cancel()


class Dask(Given):
    """A cluster of `dask.distributed` (https://distributed.dask.org), which must be installed, by its address.

    Its workers need simsim installed, and should be started with one thread each. A worker that dies is
    replaced by Dask itself, and its tasks are computed elsewhere.
    """

    def __init__(self, address, workers=None):
        from distributed import Client, KilledWorker  # the one optional package
        self.gave_up = (KilledWorker,)
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it meets is said once, by the sweep
        self._client = Client(address, timeout=CONNECT_SECONDS)
        super().__init__(self._client.get_executor(),
                         workers or AHEAD * max(sum(self._client.nthreads().values()), 1))

    def close(self):
        """Take back what has not begun, and leave the cluster."""
        super().close()
        self._client.close()


def place(executor=None, workers=None):
    """What `executor` stands for: None for processes, "dask:ADDRESS", or an Executor. Raises ExecutorError."""
    if executor is None:
        return Processes(workers)
    if not isinstance(executor, str):
        return Given(executor, workers)
    if not executor.startswith(DASK):
        raise ExecutorError(f"`executor` = {executor!r} is not possible: it must be {DASK}ADDRESS")
    try:
        return Dask(executor.removeprefix(DASK), workers)
    except Exception as error:  # it is not installed, no address, nobody there, of another version
        raise ExecutorError(f"`executor` = {executor!r} is not possible: {error}") from None


def leave_to_parent():
    """End this process if it is a worker that has not begun: it reads a script that starts a sweep without a guard."""
    if os.environ.get(STARTED_BY, str(os.getpid())) != str(os.getpid()):
        sys.exit(1)  # the parent says why


def cpus():
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _as_workers_start():
    """What a worker inherits when submitting starts one: one BLAS thread, whose worker it is, and signals that wait."""
    before = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, STARTED_BY)}
    os.environ.update({**dict.fromkeys(THREAD_VARIABLES, "1"), STARTED_BY: str(os.getpid())})
    hold = getattr(signal, "pthread_sigmask", lambda *_: None)  # Windows has none
    mask = hold(getattr(signal, "SIG_BLOCK", 0), HEARD_BY_PARENT)
    try:
        yield
    finally:
        hold(getattr(signal, "SIG_SETMASK", 0), mask)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(alive, begun):
    """A worker's first act: say that there is one, leave signals to the parent, and watch whether it is there."""
    begun.set()
    os.environ.pop(STARTED_BY)
    for number in HEARD_BY_PARENT:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive):
    """End this process when the other end of the pipe `alive` is closed."""
    with contextlib.suppress(OSError):
        alive.poll(None)
    os._exit(1)
