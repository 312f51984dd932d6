"""Checkpoints of SGD: all that a run needs to go on bit for bit.

The state is written anew each time, in one archive. The log only grows, so its
file beside the archive is appended to; the archive says how many of its rows
count, and their checksum. A process killed between the two leaves rows that
nobody counts. No generator state is kept, for the samples of a step are a
function of the seed and the step. What does not fit together is refused, never
believed.
"""

import dataclasses
import hashlib
import os

import numpy as np

from simsim import sgd
from simsim.files.archives import NotARunError, read_arrays, write_arrays
from simsim.sgd.recorder import Recorder, log_type, logged_steps
from simsim.trajectory import read_config

LOG_SUFFIX = ".log"  # in place of the archive's


class Checkpoint:
    """A run under way, its `recorder` and its `state` (a `sgd.State` of S = 1), and the files that keep them."""

    def __init__(self, path, recorder, state):
        self.path, self.recorder, self.state = path, recorder, state
        self._kept, self._digest = 0, hashlib.sha256()  # rows of the log that are in its file, and their bytes

    @property
    def config(self):
        """The run's Config."""
        return self.recorder.config

    def save(self):
        """Write what is new of the log, then the state, atomically: after an error the last checkpoint holds."""
        rows, digest = self.recorder.rows[self._kept:self.recorder.count], self._digest.copy()
        digest.update(rows)
        with open(log_path(self.path), "ab") as file:
            file.truncate(self._kept * rows.itemsize)  # what a killed process, or a failed attempt, wrote beyond
            file.write(rows)
            file.flush()
            os.fsync(file.fileno())
        write_arrays(self.path, {"config": self.config.to_json(), "step": self.state.step,
                                 **self.state.arrays, "batch_loss": self.state.batch_loss,
                                 "log_rows": self.recorder.count, "log_sha256": digest.hexdigest()})
        self._kept, self._digest = self.recorder.count, digest

    @classmethod
    def load(cls, path):
        """The Checkpoint that `save` wrote at `path`; raises NotARunError, OSError."""
        arrays = read_arrays(path)
        try:
            config = read_config(arrays["config"])
            loaded = cls(path, Recorder([config]), sgd.start([config]))
            _restore(loaded.state, arrays)
            loaded._read_log(int(arrays["log_rows"]), str(arrays["log_sha256"]))
        except (KeyError, TypeError, ValueError) as error:
            raise NotARunError(f"{os.fspath(path)} is not a simsim checkpoint: {error}") from None
        return loaded

    @classmethod
    def going_on(cls, path, last, run, steps):
        """A new Checkpoint at `path` of a complete `run`, whose last state the file `last` keeps, to go on to `steps`.

        Its log is that of the longer run. Raises NotARunError where the file is not of the run's last step, or its rates
        depend on the number of steps; OSError.
        """
        arrays = read_arrays(last)
        try:
            if read_config(arrays["config"]) != run.config or int(arrays["step"]) != run.steps[-1]:
                raise ValueError("it is of another run")
            if (run.config.lr_schedule, run.config.head_lr_schedule) != ("constant", "constant"):
                raise ValueError("a schedule of learning rates ends with its steps, and a longer run has another")
            config = dataclasses.replace(run.config, steps=steps)
            longer = cls(path, Recorder([config]), sgd.start([config]))
            _restore(longer.state, arrays)
            rows = np.zeros(len(run), log_type(config))
            for name in rows.dtype.names:
                rows[name] = getattr(run, name)
            longer.recorder.restore(rows[np.isin(run.steps, logged_steps(config))], longer.state.step)
        except (KeyError, TypeError, ValueError) as error:
            raise NotARunError(f"{os.path.basename(last)} is nothing to go on from: {error}") from None
        return longer

    def _read_log(self, count, checksum):
        """Take up the first `count` rows of the log's file; ValueError where they are not those of the checkpoint."""
        try:
            with open(log_path(self.path), "rb") as file:
                content = file.read(count * log_type(self.config).itemsize)
        except FileNotFoundError:
            raise ValueError(f"{log_path(self.path)} is missing") from None
        self._kept, self._digest = count, hashlib.sha256(content)
        if self._digest.hexdigest() != checksum:
            raise ValueError(f"{log_path(self.path)} is not its log")
        self.recorder.restore(np.frombuffer(content, log_type(self.config)), self.state.step)


def log_path(path):
    """The file of the log that belongs to the checkpoint at `path`."""
    return os.path.splitext(path)[0] + LOG_SUFFIX


def _restore(state, arrays):
    """Put a checkpoint's arrays into a fresh state of the same shapes; ValueError where they do not fit."""
    for name, target in state.arrays.items():
        array = arrays[name]
        if array.shape != target.shape or array.dtype != target.dtype or not np.isfinite(array).all():
            raise ValueError(f"`{name}` does not fit the run")
        target[...] = array
    step, steps = arrays["step"], state.engine.config.steps
    if step.shape or step.dtype.kind != "i" or not 0 <= step <= steps:
        raise ValueError(f"`step` must be a whole number from 0 to {steps}")
    state.step, state.batch_loss = int(step), arrays["batch_loss"]
