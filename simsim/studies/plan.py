"""What a study is: sweeps, what is read off their tables, a figure. And what several of them need for that."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simsim.config import Config
from simsim.initial import reduced_states
from simsim.sweeps.grid import SEEDS
from simsim.sweeps.table import FIELDS

FLOW = {"engine": "flow"}  # all else as the documented defaults


@dataclass(frozen=True)
class Study:
    """A question, and how it is answered.

    grids(quick) : for each sweep its name, with its fields and seeds
    analyse(tables, folder) : from the tables by the same names, and the folder (a Path) in which the sweeps lie under
        these names: (records, claims), the rows of the study's own table and what they are held to
    draw(figure, table) : the figure, from the study's table as columns
    """

    name: str
    question: str
    full_time: str  # on two cores
    grids: Callable
    analyse: Callable
    draw: Callable
    trajectories: tuple = ()  # the names of the sweeps that keep them


def config_of(d, kappa=1.0, **others):
    """The Config of a flow."""
    return Config(engine="flow", d=int(d), lr=1.0, head_lr=float(kappa), **others)


def starts(config, seeds):
    """Overlaps (S, m, K) and noise norms (S, m) of the initial weights from each initial seed."""
    if not len(seeds):
        return np.empty((0, config.m, config.features)), np.empty((0, config.m))
    overlaps, factors = reduced_states([config.reseeded(config.seed, int(seed)) for seed in seeds])
    return overlaps, np.linalg.norm(factors, axis=-1)


def split(table, *names):
    """(values of the columns `names`, the rows that have them) for each combination, in the order of the table."""
    keys = list(zip(*(table[name].tolist() for name in names)))
    for key in dict.fromkeys(keys):
        yield key, chosen(table, np.array([other == key for other in keys]))


def chosen(table, rows):
    """The `rows` (T,), flags, of a table."""
    return {name: column[rows] for name, column in table.items()}


def cells(tables):
    """(its sweep and the fields that vary there, in words; its rows) of every cell, a combination of fields."""
    names = [name for name in FIELDS if name not in SEEDS]
    for sweep, table in tables.items():
        varied = [name for name in names if len(set(map(str, table[name]))) > 1]
        keys = np.array([", ".join([f"sweep {sweep}", *(f"{name} = {value}" for name, value in zip(varied, values))])
                         for values in zip(*(table[name] for name in varied or names[:1]))])
        for key in dict.fromkeys(keys.tolist()):
            yield key, chosen(table, keys == key)


def done(table):
    """The rows of the runs that did not fail."""
    return chosen(table, table["status"] == "done")


def outcomes(table, flags):
    """`flags` (T,) of a table's runs as numbers, in its order, nan for a run that failed: what pairs of runs are made of."""
    return np.where(table["status"] == "done", flags, np.nan)


def fates(table):
    """(T, m) the feature, from 1, of each neuron."""
    columns = [name for name in table if name.startswith("fate_")]
    return np.stack([table[name] for name in columns], axis=1)


def per_start(table, name, axis):
    """A column as (seeds, values of `axis`), nan where a run is missing or failed."""
    seeds, places = (np.unique(table[which], return_inverse=True) for which in ("init_seed", axis))
    wide = np.full((len(seeds[0]), len(places[0])), np.nan)
    good = table["status"] == "done"
    wide[seeds[1][good], places[1][good]] = table[name][good]
    return wide


def by_start(init_seeds, values, seeds):
    """Values of some starts in the order of all `seeds`, nan where there is none."""
    known = dict(zip(np.asarray(init_seeds).tolist(), np.asarray(values, dtype=float).tolist()))
    return np.array([known.get(seed, np.nan) for seed in np.asarray(seeds).tolist()])


def plain_ticks(ax, values):
    """Ticks of a logarithmic x axis that spans a decade or two: these values, as they are."""
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def bars(value, low, high):
    """(2, T) lengths of error bars, down and up; nan, which is not drawn, where an interval has no end."""
    lengths = np.array([value - low, high - value], dtype=float)
    return np.where(np.isfinite(lengths), lengths, np.nan)


def band(ax, x, estimates, **style):
    """A line through Estimates with their intervals."""
    value, low, high = (np.array([getattr(estimate, end) for estimate in estimates]) for end in ("value", "low", "high"))
    return ax.errorbar(x, value, bars(value, low, high), **{"capsize": 2, "lw": 1, "ms": 4, "marker": "o", **style})


def aside(x, i, count, step=0.06):
    """x (T,) on a logarithmic axis, the i-th of `count` series moved aside, so that intervals do not hide each other."""
    return np.asarray(x, dtype=float) * 10 ** (step * (i - (count - 1) / 2))
