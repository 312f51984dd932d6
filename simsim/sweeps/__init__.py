"""Many runs: a grid of configurations times seeds, computed anywhere, kept in a folder, and put into one table.

grid says what the runs are; outcome makes a run one row, compute a task the rows of its runs; rows is the file that
they are appended to, and table the CSV made of it; executors are the places where tasks are computed, work the loop
that outlives their failures; folder is the sweep as a whole; command is what `python -m simsim.sweep` does.
"""

from simsim.sweeps.executors import ExecutorError
from simsim.sweeps.folder import merge, sweep
from simsim.sweeps.grid import Grid, GridError
from simsim.sweeps.work import SweepError

__all__ = ["ExecutorError", "Grid", "GridError", "SweepError", "merge", "sweep"]
