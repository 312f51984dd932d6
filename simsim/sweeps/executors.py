"""Where tasks are computed: processes of this machine, or any `concurrent.futures.Executor` that is handed in.

What the loop of a sweep asks of such a place:

1. `width`: how many tasks it is given at a time;
2. `submit(function, task)`: a future, as of any Executor; BrokenExecutor where it is broken;
3. `remake()`: get ready again after that; False where it cannot;
4. `close()`: leave nothing running.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor

from simsim.provenance import THREAD_VARIABLES

DASK = "dask:"
HEARD_BY_PARENT = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
AHEAD = 2  # tasks in flight for each thread of a cluster, which is far away


class ExecutorError(RuntimeError):
    """There is no such executor, or no way to it; the text is one line."""


class Processes:
    """The standard library's process pool, made anew when a worker was killed.

    Workers are started afresh (spawn), each with one BLAS thread: as many as CPUs, threads would only get into each
    other's way. They leave signals to their parent, and end when it closes its end of a pipe, or dies.
    """

    def __init__(self, workers=None):
        self.width = workers or cpus()
        self._pool = None

    def submit(self, function, task):
        """A future of function(task)."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            theirs, self._alive = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(self.width, context, initializer=_begin, initargs=(theirs,))
        with _as_workers_start():
            return self._pool.submit(function, task)

    def remake(self):
        """Drop a broken pool; the next task gets a new one."""
        self.close()
        return True

    def close(self):
        """End all workers now, whatever they are at."""
        if self._pool is not None:
            self._alive.close()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


class Given:
    """An Executor that somebody else made, and will close."""

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
        from distributed import Client  # the one optional package
        self._client = Client(address)
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
    except (ImportError, OSError, ValueError) as error:
        raise ExecutorError(f"`executor` = {executor!r} is not possible: {error}") from None


def cpus():
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _as_workers_start():
    """What a worker inherits when submitting starts one: one BLAS thread, and signals that wait."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    hold = getattr(signal, "pthread_sigmask", lambda *_: None)  # Windows has none
    mask = hold(getattr(signal, "SIG_BLOCK", 0), HEARD_BY_PARENT)
    try:
        yield
    finally:
        hold(getattr(signal, "SIG_SETMASK", 0), mask)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin(alive):
    """A worker's first act: leave signals to the parent, and watch whether it is there."""
    for number in HEARD_BY_PARENT:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive):
    """End this process when the other end of the pipe `alive` is closed."""
    with contextlib.suppress(OSError):
        alive.poll(None)
    os._exit(1)
