"""What a sweep runs: a grid of Config fields times seeds, in one order, each run with a key of its own.

A *cell* is one combination of the fields, a *run* a cell with a seed, a *task* some runs that differ in few fields
and are computed together. Which runs share a task follows from the grid alone: the last bits of a flow may depend on
its company, and so nothing depends on who computes what, in which order, or what was interrupted.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from dataclasses import dataclass

import numpy as np

from simsim.config import MAX_DIMENSION, OBJECTS, Config, ConfigError, in_use

KAPPA = "kappa"  # not a field: head_lr = kappa * lr, and lr = 1 for a flow that says nothing of lr
SEEDS = ("seed", "init_seed")
MAY_DIFFER = {"flow": (*SEEDS, "d"), "gram": SEEDS, "sgd": SEEDS}  # fields in which the runs of a task may differ
TOGETHER = {"gram": 16, "sgd": 1}  # runs of a task, at most: they cost less, but are lost together
CUTS = OLD_CUT, NEWEST_CUT = 100, 400  # flows of a task, at most: of folders that do not say, and of those that begin now
MANY_NEURONS, CUT_OF_MANY = 4, 100  # from so many neurons on more flows side by side gain a tenth, and take minutes
SEED_PLACE = "\0"  # no value of a field
KEY_LENGTH = 20  # hexadecimal digits: among 10^9 runs two agree with probability 1e-6
MOST_RUNS = 10**7
REDO_NONE, REDO_FAILED, REDO_ALL = "unfinished", "failed", "all"  # of a grid, which runs to compute


class GridError(ValueError):
    """A grid that cannot be; the text is one line."""


@dataclass(frozen=True)
class Task:
    """Runs that are computed together: `config`, with the fields in each of `changes`."""

    config: Config
    changes: tuple  # of dicts
    keys: tuple  # of the runs
    trajectories: bool = False  # whether to keep them

    def configs(self):
        """The Config of each run: validated once for all that differ in their seeds alone."""
        cells, configs = {}, []
        for change in self.changes:
            others = tuple(item for item in change.items() if item[0] not in SEEDS)
            if others not in cells:
                cells[others] = dataclasses.replace(self.config, **dict(others))
            configs.append(_with_seeds(cells[others], change))
        return configs

    def parts(self):
        """The runs as tasks of their own."""
        return [dataclasses.replace(self, changes=(change,), keys=(key,)) for change, key in zip(self.changes, self.keys)]

    def __str__(self):
        """What the runs are, in words."""
        first, last = self.changes[0], self.changes[-1]
        fields = {name: value for name, value in self.config.changes().items() if name not in first}
        ranges = [f"{name} = {first[name]}" + f" to {last[name]}" * (last[name] != first[name]) for name in first]
        return ", ".join([*(f"{name} = {value}" for name, value in fields.items()), *ranges])


class Grid:
    """A grid of Config fields, or of `kappa`, times seeds.

    Parameters
    ----------
    fields : dict
        From a field's name to its value, or to a list (range, array) of values. A tuple is one value.
    seeds : sequence of int, optional
        Given to both `seed` and `init_seed` of a run, but for one that `fields` decide.

    Raises
    ------
    GridError, ConfigError
        Before anything is computed, whichever cell it is about.
    """

    def __init__(self, fields, seeds=None):
        self.axes = {name: _values(name, value) for name, value in fields.items()}
        if seeds is not None and not np.iterable(seeds):
            raise GridError(f"`seeds` must be several seeds, such as range(10), got {seeds!r}")
        self.seeds = None if seeds is None else [_plain(seed) for seed in seeds]
        self.seeded = tuple(name for name in SEEDS if name not in self.axes) if seeds is not None else ()
        if self.seeds is not None and not (self.seeds and self.seeded):
            raise GridError("`seeds` must be some, and the fields must not decide both seed and init_seed")
        if math.prod(map(len, self.axes.values())) * len(self.seeds or [0]) > MOST_RUNS:
            raise GridError(f"the grid has more than {MOST_RUNS} runs")
        for name, values in self.axes.items():
            if any(isinstance(value, OBJECTS) for value in values):
                raise GridError(f"`{name}` is an object, which a sweep's workers and files do not know: enter it under a name "
                                "(docs/extending.md), or use simulate_many, which takes it")
        self.cells = [_config(dict(zip(self.axes, values))) for values in itertools.product(*self.axes.values())]
        whole = self.seeds and all(type(seed) is int for seed in self.seeds)  # then all are as good as the least and greatest
        for seed in [min(self.seeds), max(self.seeds)] if whole else self.seeds or []:
            _with_seeds(self.cells[0], dict.fromkeys(self.seeded, seed))  # or a ConfigError
        self.keys = [known_by for cell in self.cells for known_by in self._keys_of(cell)]
        if len(set(self.keys)) < len(self.keys):
            raise GridError("two runs of the grid are the same: some value or seed is there twice")

    def __len__(self):
        return len(self.keys)

    def runs(self):
        """(key, fields as a dict) of every run, in the order of the table."""
        keys = iter(self.keys)
        for cell in self.cells:
            fields = cell.to_dict()
            for seed in self.seeds or [None]:
                yield next(keys), {**fields, **dict.fromkeys(self.seeded, seed)}

    def tasks(self, trajectories=False, cut=NEWEST_CUT):
        """All tasks, in an order that follows from the grid; `cut`, one of CUTS, is how many flows are computed together."""
        groups, runs = {}, self.runs()
        for cell in self.cells:
            may_differ = MAY_DIFFER[cell.engine]
            alike = {name: MAX_DIMENSION if name == "d" else 0 for name in may_differ}
            company = dataclasses.replace(cell, **alike)  # what runs of a task have in common
            group = groups.setdefault(company, [])
            for key, fields in itertools.islice(runs, len(self.seeds or [None])):
                group.append((cell, {name: fields[name] for name in may_differ}, key))
        for group in groups.values():
            for part in np.array_split(np.arange(len(group)), -(-len(group) // _together(group[0][0], cut))):
                cells, changes, keys = zip(*(group[i] for i in part))
                yield Task(cells[0], changes, keys, trajectories)

    def to_dict(self):
        """Plain values, ready for JSON."""
        fields = {name: [list(value) if isinstance(value, tuple) else value for value in axis]
                  for name, axis in self.axes.items()}
        return {"fields": fields, "seeds": self.seeds}

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`. GridError, ConfigError where values are not a grid's."""
        fields = {name: [tuple(value) if isinstance(value, list) else value for value in axis]
                  for name, axis in values["fields"].items()}
        return cls(fields, values["seeds"])

    def _keys_of(self, cell):
        """The `key` of each run of a cell: their fields are written once, with a place for the seed."""
        text = _written({**cell.to_dict(), **dict.fromkeys(self.seeded, SEED_PLACE)})
        return [_hash(text.replace(json.dumps(SEED_PLACE), str(seed))) for seed in self.seeds or [None]]


def key(fields):
    """What a run is known by: a hash of its Config fields, but for options not in use: None, or later and at a default.

    So an option that comes into being later, and is not used, leaves the rows of an older folder known.
    """
    return _hash(_written(fields))


def _written(fields):
    return json.dumps({name: value for name, value in in_use(fields).items() if value is not None}, sort_keys=True)


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def _together(config, cut):
    """How many runs like this one a task has at most."""
    if config.engine != "flow":
        return TOGETHER[config.engine]
    return cut if config.m < MANY_NEURONS else min(cut, CUT_OF_MANY)


def _values(name, given):
    """The values of an axis as plain Python ones."""
    several = isinstance(given, (list, range, np.ndarray))
    values = [_plain(value) for value in (given if several else [given])]
    if not values:
        raise GridError(f"`{name}` has no values")
    return values


def _with_seeds(config, seeds):
    """`config` with those of SEEDS that the dict `seeds` has. Raises ConfigError."""
    return config.reseeded(*(seeds.get(name, getattr(config, name)) for name in SEEDS))


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _config(fields):
    """The Config of a cell, `kappa` included."""
    kappa = fields.pop(KAPPA, None)
    if kappa is None:
        return Config.from_dict(fields)
    if "head_lr" in fields:
        raise GridError("`kappa` is head_lr / lr: give one of kappa and head_lr")
    if isinstance(kappa, bool) or not isinstance(kappa, (int, float)):
        raise ConfigError(KAPPA, kappa, "it must be a number")
    plain = Config.from_dict(fields)
    lr = 1.0 if plain.clock == "time" and "lr" not in fields else plain.lr
    return dataclasses.replace(plain, lr=lr, head_lr=kappa * lr)
