"""What a study is: sweeps, what is read off their tables, a figure. And what several of them need for that."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simsim.config import Config
from simsim.initial import reduced_states

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
    overlaps, factors = reduced_states([config.reseeded(config.seed, int(seed)) for seed in seeds])
    return overlaps, np.linalg.norm(factors, axis=-1)


def split(table, *names):
    """(values of the columns `names`, the rows that have them) for each combination, in the order of the table."""
    keys = list(zip(*(table[name].tolist() for name in names)))
    for key in dict.fromkeys(keys):
        rows = np.array([other == key for other in keys])
        yield key, {name: column[rows] for name, column in table.items()}


def done(table):
    """The rows of the runs that did not fail."""
    rows = table["status"] == "done"
    return {name: column[rows] for name, column in table.items()}


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


def band(ax, x, estimates, **style):
    """A line through Estimates with their intervals, nan where an end is none."""
    value, low, high = (np.array([getattr(estimate, end) for estimate in estimates]) for end in ("value", "low", "high"))
    return ax.errorbar(x, value, [value - low, high - value], capsize=2, lw=1, ms=3, marker="o", **style)
