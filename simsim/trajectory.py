"""What a run recorded: a Trajectory, and its file.

A trajectory stores the reduced state (overlaps, noise Gram matrix, head) at
the logged steps; shares, correlations and the loss follow from it in closed
form, so they are exact for the weights at hand, free of sampling noise.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simsim import data, laws, measures, phases, population, target
from simsim.files import tables
from simsim.config import Config
from simsim.ends import CERTIFIED
from simsim.files.archives import NotARunError, read_arrays, write_arrays
from simsim.network import real_array
from simsim.state import State

# By how much a Gram matrix may miss symmetry or positivity, relative to the norms: the rounding of sums
# of d terms, of which no memory holds more than 1e7, is below it, and what is no Gram matrix is above.
GRAM_ROUNDING = 1e-8
SMALLEST_NORM = 1e-150  # the squares of smaller ones underflow
SMALLEST_LOG = -30.0  # log10 of overlaps below which their changes change nothing
BLOCK = 2**20  # numbers that are looked at together


def _own(array):
    """The numbers of an array, read-only, in one that nobody else can write to: a copy, unless it is such a one already."""
    if array.flags.writeable or getattr(array.base, "flags", array.flags).writeable:
        array = array.copy("K")
    return _read_only(array)


def _read_only(array):
    array.flags.writeable = False
    return array


class _column(functools.cached_property[np.ndarray]):
    """An array that follows from the stored ones: computed once, and read-only."""

    def __init__(self, derive: Callable[[Any], np.ndarray]) -> None:
        @functools.wraps(derive)
        def derived(run):
            return _read_only(derive(run))

        super().__init__(derived)


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """A run of `config`, logged at T steps (docs/theory.md, section 1, order parameters).

    steps (T,) and time (T,), the sum of the learning rates, eta * steps where they
    are constant; overlaps (T, m, K), <w_j, v_l> with the strongest feature first;
    gram (T, m, m), <w_i^perp, w_j^perp>; head (T, m, m); batch_loss (T,), the loss
    of the batch that the step just taken saw, nan at step 0. A run with a target of
    its own (`target_momentum`) has its rows as well, target_overlaps (T, m, K) and
    target_gram (T, m, m); elsewhere they are None. The properties follow from these
    in closed form; of a law of samples of one's own there is none, and what rests on one raises data.NoClosedForm.
    The flow says in `status`, `message` and `counters` how it ended and at what cost, and in `events` the rows at
    which its phases I to IV ended, None for those that did not: it has located them, and a row read again may lie
    on either side of what it is the place of. Its time may be the same in successive rows: a blow-up takes less of
    it than a number can tell apart. All arrays are read-only, since what follows from them is computed once: another
    run is made by `dataclasses.replace`.

    >>> import simsim
    >>> run = simsim.simulate(simsim.Config(d=20, batch_size=64, steps=20))
    >>> len(run) == len(run.steps), run.overlaps.shape[1:], run[:3].steps.tolist()
    (True, (2, 2), [0, 1, 2])
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
    events: tuple | None = None
    target_overlaps: np.ndarray | None = None
    target_gram: np.ndarray | None = None

    def __post_init__(self):
        for name, shape in stored(self.config).items():
            if name in OF_TARGET and getattr(self, name) is None:
                continue
            array = _own(real_array(name, getattr(self, name), finite=name != "batch_loss"))
            object.__setattr__(self, name, array)
            expected = (np.size(self.steps), *(getattr(self.config, size) for size in shape))
            if array.shape != expected or len(array) == 0:
                raise ValueError(f"`{name}` must have shape {expected} and at least one row, got {array.shape}")
        for name in ("steps", "time"):
            values = getattr(self, name)
            still, back = values[1:] == values[:-1], values[1:] < values[:-1]
            if values[0] < 0 or back.any() or self.clock == "step" and still.any():
                raise ValueError(f"`{name}` must increase from 0 or above")
        _require_gram(self.gram)
        if self.events is not None:
            object.__setattr__(self, "events", _checked_events(self.events, len(self)))
        if self.target_gram is not None:
            _require_gram(self.target_gram)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for value in state.values():  # a pickle, or a deep copy, has arrays that may be written to
            if isinstance(value, np.ndarray):
                _read_only(value)

    @property
    def clock(self) -> str:
        """What tells how far the run has gone: "step" for SGD, "time" for the flow, which takes no steps."""
        return self.config.clock

    @property
    def ended(self) -> bool:
        """Whether the flow has come to an end that is certified: nothing else will come."""
        return self.clock == "time" and self.status in CERTIFIED

    @functools.cached_property
    def start_was_given(self) -> bool:
        """Whether the run starts elsewhere than at the weights of its config's `init_seed`."""
        return not self.state(0).is_like(State.start(self.config), self.config)

    def state(self, row: int = -1) -> State:
        """The State at a row of the log, by default the last: where another run may start.

        The noise parts are known by their Gram matrix, so of neurons that are alike to more than 1e-8 their difference is lost.
        A target of its own and momenta are no part of a State: what starts there has a target that is the network, and rests.
        """
        values, vectors = np.linalg.eigh(self.gram[row])
        return State(self.overlaps[row], vectors * np.sqrt(np.maximum(values, 0)), self.head[row])

    @property
    def ticks(self) -> np.ndarray:
        """What the clock shows at each row, (T,): the steps, or the times."""
        return self.time if self.clock == "time" else self.steps

    @_column
    def norms(self) -> np.ndarray:
        """||w_j||, (T, m)."""
        return np.sqrt((self.overlaps**2).sum(axis=-1) + self.noise_norms**2)

    @_column
    def noise_norms(self) -> np.ndarray:
        """||w_j^perp||, (T, m)."""
        return np.sqrt(np.diagonal(self.gram, axis1=-2, axis2=-1))

    @_column
    def loss(self) -> np.ndarray:
        """The loss an infinitely large batch would have, (T,) (docs/theory.md, eq. 6).

        With a target of its own it is that against the target (eq. 55); nan where the target's rows are not known.
        """
        data.from_config(self.config).require_closed("the loss")
        if "target" in self.config.blocks:
            if self.target_overlaps is None or self.target_gram is None:
                return np.full(len(self), np.nan)
            return target.loss(self.config, self.overlaps, self.gram, self.head, self.target_overlaps, self.target_gram)
        return population.loss(self.config, self.overlaps, self.gram, self.head)

    @_column
    def correlations(self) -> np.ndarray:
        """corr(f_i, f_j) on fresh samples, (T, m, m) (docs/theory.md, eq. 5)."""
        return population.correlations(self.config, self.overlaps, self.gram)

    @_column
    def shares(self) -> np.ndarray:
        """Fraction of f_j's variance explained by feature l, (T, m, K) (docs/theory.md, eq. 11)."""
        return population.shares(self.config, self.overlaps, self.gram)

    @_column
    def head_shares(self) -> np.ndarray:
        """Fraction of F_j's variance explained by feature l, (T, m, K) (docs/theory.md, eq. 11)."""
        return population.head_shares(self.config, self.overlaps, self.gram, self.head)

    @_column
    def output_std(self) -> np.ndarray:
        """Standard deviation of every output f_j, before batch norm, (T, m) (docs/theory.md, eq. 5)."""
        return self.config.sigma**self.config.power * self._spread

    @_column
    def _spread(self):
        """`output_std` in units of sigma^p, p the power of the activation, which is a number where that is not."""
        setting = population.Setting.from_config(self.config)
        own = population.moments(self.overlaps, self.gram, np.eye(self.config.m), setting)
        return np.sqrt(np.diagonal(population.covariance_of(setting, own), axis1=-2, axis2=-1))

    @property
    def asymmetry(self) -> np.ndarray:
        """||E - E^T|| / ||E - I||, (T,); 0 where E = I."""
        return measures.asymmetry(self.head)

    @_column
    def effective_rank(self) -> np.ndarray:
        """exp(entropy) of the spectrum of `correlations`, (T,): from 1, collapsed, to m."""
        return measures.effective_rank(self.correlations)

    @_column
    def participation_ratio(self) -> np.ndarray:
        """(sum lambda)^2 / sum lambda^2 of the spectrum of `correlations`, (T,): from 1, collapsed, to m."""
        return measures.participation_ratio(self.correlations)

    @property
    def collapse(self) -> np.ndarray:
        """"complete", "dimensional" or "" at every row, (T,): see `measures.collapse`."""
        return measures.collapse(self._spread, self.correlations)

    @functools.cached_property
    def growth(self) -> measures.Growth:
        """d log|a_jl| / dt in the flow at every row, in its parts: a `measures.Growth` of (T, m, K)."""
        return measures.growth(self.config, self.overlaps, self.gram, self.head)

    @_column
    def change(self) -> np.ndarray:
        """How much has changed since the start, (T,): a clock on which finite-time blow-ups have a length.

        The arc length of log10|a|, of the shares, and of the head's entries over the largest that any of
        them has off the diagonal.
        """
        size = np.abs(self.head * (1 - np.eye(self.config.m))).max() or 1.0
        with np.errstate(divide="ignore"):
            logs = np.log10(np.abs(self.overlaps))
        places = [np.maximum(logs, SMALLEST_LOG), self.shares, self.head / size]
        squares = sum((np.diff(place, axis=0) ** 2).sum(axis=(1, 2)) for place in places)
        return np.concatenate([[0], np.cumsum(np.sqrt(squares))])

    @functools.cached_property
    def milestones(self) -> laws.Milestones:
        """When phases I to III end by theory, from this start: `laws.Milestones`, in time t.

        ValueError of a run that does not begin at time 0, for the laws count from there.
        """
        self.require_beginning("milestones")
        return laws.milestones(self.config, self.overlaps[0], self.noise_norms[0], self.head[0])

    @functools.cached_property
    def _phases(self):
        return phases.of_log(self)

    def require_beginning(self, who: str) -> None:
        """ValueError where the first row is not at time 0, as of a slice of a run: `who` counts from there."""
        if self.time[0] > 0:
            raise ValueError(f"{who} are about a run from its start on, and the first row of this one is at "
                             f"{'t = ' if self.clock == 'time' else 'step '}{self.ticks[0]:g}")

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, rows: slice) -> "Trajectory":
        """A slice of the rows, run[a:b:c], as a Trajectory of its own; of one row, run.state(row) is the state.

        What a flow knew of its end, and of when its phases ended, is kept where the slice begins at the start and
        goes as far as that.
        """
        if not isinstance(rows, slice):
            raise TypeError(f"a Trajectory is sliced, as in run[a:b]; run.state({rows!r}) is the state at a row")
        kept = np.arange(len(self))[rows]
        if not len(kept):
            raise ValueError(f"no row is left of {len(self)} by [{rows.start}:{rows.stop}:{rows.step}]")
        whole, prefix = len(kept) == len(self), (kept == np.arange(len(kept))).all()
        events = None
        if self.events is not None and prefix:
            events = tuple(row if row is not None and row < len(kept) else None for row in self.events)
        changes: dict[str, Any] = {name: array[rows] for name, array in self.stored().items()}
        if not whole:
            changes |= {"status": 0, "message": "", "counters": {}}
        return replace(self, events=events, **changes)

    __iter__ = None  # rows are no objects of their own

    def __repr__(self):
        end = f"t = {self.time[-1]:.3g}, {self.message}" if self.clock == "time" else f"step {self.steps[-1]}"
        return (f"<Trajectory: engine {self.config.engine}, m = {self.config.m}, K = {self.config.features}, "
                f"{len(self)} rows to {end}>")

    def _repr_html_(self):
        """The first, middle and last rows, for notebooks."""
        table = {self.clock: self.ticks, **tables.columns(self, ("loss", "shares", "head") if self.config.closed_form else
                                                     ("batch_loss", "norms", "head"))}
        return tables.as_html(repr(self), table, sorted({0, len(self) // 2, len(self) - 1}))

    def reordered(self, order: Iterable[int]) -> "Trajectory":
        """The same run with its neurons in another order: row `order[j]` becomes neuron j."""
        order = list(order)
        if sorted(order) != list(range(self.config.m)):
            raise ValueError(f"`order` must name each of {self.config.m} neurons once, got {order}")
        if order == sorted(order):
            return self  # with all that has been derived of it
        arrays = self.stored()
        changes: dict[str, Any] = {name: arrays[name][:, order] for name in ("overlaps", "target_overlaps") if name in arrays}
        changes |= {name: arrays[name][:, order][:, :, order] for name in ("head", "gram", "target_gram") if name in arrays}
        other = replace(self, **changes)
        vars(other)["start_was_given"] = self.start_was_given  # another name of a neuron is no other start
        return other

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table, a line a row of the log: steps, times, losses and every entry of the arrays; atomically."""
        tables.write_csv(path, self._columns())

    def to_dataframe(self) -> Any:
        """The same table as a pandas.DataFrame. Needs pandas, else ImportError."""
        import pandas
        return pandas.DataFrame(self._columns())

    def _columns(self):
        return tables.columns(self, (*self.stored(), *self.derived()))

    def stored(self) -> dict[str, np.ndarray]:
        """The arrays that everything else follows from, by name."""
        arrays = {name: getattr(self, name) for name in stored(self.config)}
        return {name: array for name, array in arrays.items() if array is not None}

    def derived(self) -> tuple[str, ...]:
        """Names of what is written beside these: what has a closed form."""
        return DERIVED if self.config.closed_form else DERIVED[:1]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything above to an npz file, atomically.

        The derived arrays are written too, for readers that know only NumPy; those that have a closed form.
        """
        derived = {name: getattr(self, name) for name in self.derived()}
        outcome = {"status": self.status, "message": self.message, "counters": self.counters, "events": self.events}
        write_arrays(path, {"config": self.config.to_json(), "outcome": json.dumps(outcome),
                            **self.stored(), **derived})

    @classmethod
    def load(cls, path: str | os.PathLike[str], **objects: Any) -> "Trajectory":
        """Read a trajectory back; nothing is unpickled. Raises NotARunError, OSError.

        A run of an objective, a head or a law of samples of one's own needs the object, as in load(path, objective=...).
        """
        arrays = read_arrays(path)
        try:
            outcome = json.loads(str(arrays["outcome"]))
            config = read_config(arrays["config"], **objects)
            return cls(config, **{name: arrays[name] for name in stored(config)}, **outcome)
        except (KeyError, TypeError, ValueError) as error:
            raise NotARunError(f"{os.fspath(path)} is not a simsim trajectory: {error}") from None


# The stored arrays with their shapes after the leading T, and the derived ones.
STORED = {"steps": (), "time": (), "overlaps": ("m", "features"), "gram": ("m", "m"), "head": ("m", "m"), "batch_loss": ()}
OF_TARGET = {"target_overlaps": ("m", "features"), "target_gram": ("m", "m")}  # of a run that has one
DERIVED = ("norms", "loss", "correlations", "shares", "head_shares")  # the first of any law of samples


def stored(config):
    """The arrays that are stored of a run of this config, with their shapes as in `STORED`."""
    return {**STORED, **OF_TARGET} if "target" in config.blocks else STORED


def read_config(text, **objects):
    """The Config that JSON `text` (or a 0-d array of it) describes, with `objects`; ValueError where it describes none."""
    try:
        return Config.from_json(str(text), **objects)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its config is not a run's: {error}") from None


def _checked_events(events, T):
    """The rows of four events, each of T rows or None, as a tuple; ValueError where they are something else."""
    events = tuple(events)
    if len(events) != 4 or any(row is not None and (type(row) is not int or not 0 <= row < T) for row in events):
        raise ValueError(f"`events` must be four rows of {T}, or None, got {events}")
    return events


def _require_gram(gram):
    """ValueError where one of the matrices gram (T, m, m) is no Gram matrix: not symmetric, or not positive."""
    m = gram.shape[-1]
    rows = max(1, BLOCK // m**2)
    for first in range(0, len(gram), rows):
        block = gram[first:first + rows]
        squares = block.diagonal(0, -2, -1)
        norms = np.sqrt(np.maximum(squares, SMALLEST_NORM**2))
        cosines = block / norms[:, :, None] / norms[:, None, :]
        if (squares < 0).any() or np.abs(cosines - cosines.transpose(0, 2, 1)).max() > GRAM_ROUNDING:
            raise ValueError("`gram` must hold symmetric matrices whose diagonals are not negative")
        try:
            np.linalg.cholesky(cosines + GRAM_ROUNDING * np.eye(m))
        except np.linalg.LinAlgError:
            raise ValueError("`gram` must hold inner products: one of its matrices has a negative eigenvalue") from None
