"""The log of runs of SGD: which steps it has, and the Recorder that copies them."""

import numpy as np

from simsim import schedules
from simsim.trajectory import Trajectory, stored

LOGS_PER_DECADE = 50  # default logging: phases live on a logarithmic scale


def logged_steps(config):
    """The steps that a run of `config` logs: 0, its last, and log-spaced or every `log_every`."""
    if config.log_every:
        grid = np.arange(0, config.steps, config.log_every)
    else:
        decades = np.log10(config.steps)
        grid = np.rint(10 ** np.arange(0, decades, 1 / LOGS_PER_DECADE)).astype(np.int64)
    return np.unique(np.concatenate([[0], grid, [config.steps]]))


def log_type(config):
    """The NumPy type of one row of a log, as it is kept in memory and in a checkpoint."""
    return np.dtype([(name, "<i8" if name == "steps" else "<f8", tuple(getattr(config, size) for size in shape))
                     for name, shape in stored(config).items()])


class Recorder:
    """Copies the reduced states of S runs, at the steps to log, into `rows` (T, S); the first `count` are filled.

    `configs` are those of the runs, equal but for their seeds.
    """

    def __init__(self, configs):
        self.configs, self.config = list(configs), configs[0]
        self._steps = logged_steps(self.config)
        self.rows, self.count = np.zeros((len(self._steps), len(self.configs)), log_type(self.config)), 0

    def see(self, state):
        """Log `state` (a `sgd.State`) if its step is the next one to log."""
        if self.count < len(self._steps) and state.step == self._steps[self.count]:
            row = self.rows[self.count]
            row["steps"], row["time"] = state.step, schedules.elapsed(self.config, state.step)
            for name in stored(self.config).keys() - {"steps", "time"}:
                row[name] = getattr(state, name)
            self.count += 1

    def restore(self, rows, step):
        """Go on after `rows`, which a recorder of a single such run has logged up to `step`; ValueError if it cannot have."""
        if not np.array_equal(rows["steps"], self._steps[self._steps <= step]):
            raise ValueError("its log does not belong to its step")
        self.rows[:len(rows), 0], self.count = rows, len(rows)

    def trajectories(self):
        """What has been logged so far, a Trajectory for each run."""
        logged = self.rows[:self.count]
        return [Trajectory(config, **{name: logged[name][:, s] for name in stored(config)})
                for s, config in enumerate(self.configs)]
