"""Many runs: a grid of configurations times seeds, computed anywhere, kept in a folder, and put into one table.

grid says what the runs are; outcome makes a run one row, compute a task the rows of its runs; rows is the file that
they are appended to, and table the CSV made of it; executors are the places where tasks are computed, work the loop
that outlives their failures; folder is the sweep as a whole; command is what `python -m simsim.sweep` does.
"""

from simsim import TYPE_CHECKING, on_first_use

_HOMES = {"ExecutorError": "executors", "Grid": "grid", "GridError": "grid", "SweepError": "work", "merge": "folder",
          "sweep": "folder"}

__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from simsim.sweeps.executors import ExecutorError as ExecutorError
    from simsim.sweeps.folder import merge as merge, sweep as sweep
    from simsim.sweeps.grid import Grid as Grid, GridError as GridError
    from simsim.sweeps.work import SweepError as SweepError
else:
    __getattr__ = on_first_use(__name__, _HOMES)  # the command line answers --help without the flow and SGD


def __dir__():
    return sorted({*globals(), *__all__})
