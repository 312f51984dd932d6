"""What a run recorded: a Trajectory, its file, and the Recorder that makes one.

A trajectory stores the reduced state (overlaps, noise Gram matrix, head) at
the logged steps; shares, correlations and the loss follow from it in closed
form, so they are exact for the weights at hand, free of sampling noise.
"""

import contextlib
import functools
import json
import os
import zipfile
from dataclasses import dataclass, field

import numpy as np

from simsim import population
from simsim.config import Config

FORMAT = 1
LOGS_PER_DECADE = 50  # default logging: phases live on a logarithmic scale


class NotARunError(ValueError):
    """A file that is not what a run wrote."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A run of `config`, logged at T steps (docs/theory.md, section 1, order parameters).

    steps (T,) and time (T,) = eta * steps; overlaps (T, m, K), <w_j, v_l> with
    the strongest feature first; gram (T, m, m), <w_i^perp, w_j^perp>; head
    (T, m, m); batch_loss (T,), the loss of the batch that the step just taken
    saw, nan at step 0. The properties follow from these in closed form. The
    flow says in `status`, `message` and `counters` how it ended and at what cost.
    """

    config: Config
    steps: np.ndarray
    time: np.ndarray
    overlaps: np.ndarray
    gram: np.ndarray
    head: np.ndarray
    batch_loss: np.ndarray
    status: int = 0
    message: str = ""
    counters: dict = field(default_factory=dict)

    def __post_init__(self):
        T = np.size(self.steps)
        for name, shape in STORED.items():
            array = np.asarray(getattr(self, name))
            expected = (T, *(getattr(self.config, size) for size in shape))
            if array.shape != expected or T == 0:
                raise ValueError(f"`{name}` must have shape {expected} and at least one row, got {array.shape}")
            if array.dtype.kind not in "iuf" or not (name == "batch_loss" or np.isfinite(array).all()):
                raise ValueError(f"`{name}` must hold finite real numbers")
        if self.steps[0] < 0 or np.any(np.diff(self.steps) <= 0):
            raise ValueError("`steps` must increase from 0 or above")

    @property
    def clock(self):
        """What tells how far the run has gone: "step" for SGD, "time" for the flow, which takes no steps."""
        return self.config.clock

    @property
    def ticks(self):
        """What the clock shows at each row, (T,): the steps, or the times."""
        return self.time if self.clock == "time" else self.steps

    @functools.cached_property
    def norms(self):
        """||w_j||, (T, m)."""
        return np.sqrt((self.overlaps**2).sum(axis=-1) + self.noise_norms**2)

    @functools.cached_property
    def noise_norms(self):
        """||w_j^perp||, (T, m)."""
        return np.sqrt(np.diagonal(self.gram, axis1=-2, axis2=-1))

    @functools.cached_property
    def loss(self):
        """The loss an infinitely large batch would have, (T,) (docs/theory.md, eq. 6)."""
        return population.loss(self.config, self.overlaps, self.gram, self.head)

    @functools.cached_property
    def correlations(self):
        """corr(f_i, f_j) on fresh samples, (T, m, m) (docs/theory.md, eq. 5)."""
        return population.correlations(self.config, self.overlaps, self.gram)

    @functools.cached_property
    def shares(self):
        """Fraction of f_j's variance explained by feature l, (T, m, K) (docs/theory.md, eq. 11)."""
        return population.shares(self.config, self.overlaps, self.gram)

    @functools.cached_property
    def head_shares(self):
        """Fraction of F_j's variance explained by feature l, (T, m, K) (docs/theory.md, eq. 11)."""
        return population.head_shares(self.config, self.overlaps, self.gram, self.head)

    def __len__(self):
        return len(self.steps)

    def stored(self):
        """The arrays that everything else follows from, by name."""
        return {name: getattr(self, name) for name in STORED}

    def save(self, path):
        """Write everything above to an npz file, atomically.

        The derived arrays are written too, for readers that know only NumPy.
        """
        derived = {name: getattr(self, name) for name in DERIVED}
        outcome = {"status": self.status, "message": self.message, "counters": self.counters}
        write_arrays(path, {"config": json.dumps(self.config.to_dict()), "outcome": json.dumps(outcome),
                            **self.stored(), **derived})

    @classmethod
    def load(cls, path):
        """Read a trajectory back; nothing is unpickled. Raises NotARunError, OSError."""
        arrays = read_arrays(path)
        try:
            outcome = json.loads(str(arrays["outcome"]))
            return cls(read_config(arrays["config"]), **{name: arrays[name] for name in STORED}, **outcome)
        except (KeyError, TypeError, ValueError) as error:
            raise NotARunError(f"{os.fspath(path)} is not a simsim trajectory: {error}") from None


# The stored arrays with their shapes after the leading T, and the derived ones.
STORED = {"steps": (), "time": (), "overlaps": ("m", "features"), "gram": ("m", "m"), "head": ("m", "m"), "batch_loss": ()}
DERIVED = ("norms", "loss", "correlations", "shares", "head_shares")


def logged_steps(config):
    """The steps that a run of `config` logs: 0, its last, and log-spaced or every `log_every`."""
    if config.log_every:
        grid = np.arange(0, config.steps, config.log_every)
    else:
        decades = np.log10(config.steps)
        grid = np.rint(10 ** np.arange(0, decades, 1 / LOGS_PER_DECADE)).astype(np.int64)
    return np.unique(np.concatenate([[0], grid, [config.steps]]))


def log_type(config):
    """The NumPy type of one row of a log, as it is kept in memory."""
    return np.dtype([(name, "<i8" if name == "steps" else "<f8", tuple(getattr(config, size) for size in shape))
                     for name, shape in STORED.items()])


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
            row["steps"], row["time"] = state.step, state.step * self.config.lr
            row["overlaps"], row["gram"], row["head"] = state.overlaps, state.gram, state.head
            row["batch_loss"] = state.batch_loss
            self.count += 1

    def trajectories(self):
        """What has been logged so far, a Trajectory for each run."""
        logged = self.rows[:self.count]
        return [Trajectory(config, *(np.ascontiguousarray(logged[name][:, s]) for name in STORED))
                for s, config in enumerate(self.configs)]

    @classmethod
    def from_trajectory(cls, run):
        """A recorder of one run that goes on where `run` stopped."""
        recorder = cls([run.config])
        recorder.count = len(run)
        for name in STORED:
            recorder.rows[name][:len(run), 0] = getattr(run, name)
        return recorder


@contextlib.contextmanager
def open_atomically(path, mode="w"):
    """A file that takes its name only when it is complete; after an error nothing has changed."""
    path = os.fspath(path)
    part = f"{path}.part{os.getpid()}"  # no two processes write to the same one
    try:
        with open(part, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def write_arrays(path, arrays):
    """Write named arrays to an npz file, atomically; the same arrays make the same bytes."""
    with open_atomically(path, "wb") as file:
        np.savez(file, format=FORMAT, **arrays)


def read_arrays(path):
    """The named arrays of an npz file, all of them; NotARunError where it is none of ours."""
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise NotARunError("it is no npz archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        if "format" not in arrays or not np.array_equal(arrays["format"], FORMAT):
            raise NotARunError(f"its `format` is not {FORMAT}: it is of another version, or of another program")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # damage shows in many ways: zlib, zip, struct, tokenize, memory
        reason = error if isinstance(error, NotARunError) else "it is damaged"
        raise NotARunError(f"{os.fspath(path)} is not a file that simsim wrote: {reason}") from None
    return arrays


def read_config(text):
    """The Config that JSON `text` (or a 0-d array of it) describes; ValueError where it describes none."""
    try:
        return Config.from_dict(json.loads(str(text)))
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its config is not a run's: {error}") from None
