"""Phase I in SGD: how often a feature is learned over x, the threshold of docs/theory.md, eqs. 58 and 60, sharper as d grows."""

import numpy as np

import simsim
from simsim.studies.one_neuron import by_horizon, cell, horizon_at, law, start_of
from simsim.studies.plan import Study, aside, bars, done, plain_ticks, split
from simsim.studies.regions import RATE_TOLERANCE, SIGNIFICANCE, not_rejected, within
from simsim.studies.statistics import Estimate, difference, joint_p_value, rate, simultaneous, worst_deviation

# The same normals at every d. The samples it takes are d^5 / strength^12, and the blur of the threshold is strength^6 / d^2: at one
# strength the threshold sharpens with d, until nobody has the samples; beyond d of some hundreds only strong features are in reach.
INIT_SEED, STRENGTH = 14, 4.0
SAME = tuple(start_of(d, INIT_SEED, STRENGTH, 32) for d in (80, 100, 160))
LARGER = (start_of(1000, INIT_SEED, 9.0, 128), start_of(3000, INIT_SEED, 14.0, 512))
XS = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 3.0)
BELOW, ABOVE = 0.2, 3.0  # where one learns, and the other does not, the sharper the threshold


def grids(quick):
    """A sweep for each start and x, over sampling seeds."""
    chosen = [(start, (BELOW, ABOVE), 24) for start in SAME[::2]] if quick else [
        (start, XS, seeds) for starts, seeds in ((SAME, 200), (LARGER, 100)) for start in starts]
    return {f"{start['d']}-{x:g}": (cell(start, x), range(seeds)) for start, xs, seeds in chosen for x in xs}


def analyse(tables, folder):
    """Learned beside eq. 60; beside a step at x = 1, which is the control; and whether the threshold is sharper at the larger d."""
    confidence, records, outcomes = simultaneous(len(tables)), [], {}
    for name, table in tables.items():
        part, (one, walk, chance) = done(table), law(table)
        found = rate(part["observed_1"], confidence)
        outcomes[name] = part["observed_1"]
        records.append({"d": int(table["d"][0]), "strength": table["alpha_ratio"][0] * table["alpha_weak"][0],
                        "batch_size": int(table["batch_size"][0]), "x": one.x, "blur": walk,
                        "runs": found.n, "learned": found.value, "low": found.low, "high": found.high, "law_60": chance})
    counts = [int(some.sum()) for some in outcomes.values()], [some.size for some in outcomes.values()]
    chances, n = [record["law_60"] for record in records], sum(counts[1])
    sharp = joint_p_value(*counts, [0.999 if record["x"] < 1 else 0.001 for record in records])
    rates = [Estimate(record["learned"], record["low"], record["high"], record["runs"]) for record in records]
    low, high = SAME[0]["d"], SAME[-1]["d"]
    gap = lambda x: difference(outcomes[f"{high}-{x:g}"], outcomes[f"{low}-{x:g}"], simultaneous(2))
    ends = {x: [tables[f"{d}-{x:g}"] for d in (low, high)] for x in (BELOW, ABOVE)}
    return records, [
        not_rejected("learned as eq. 60 says, all x and d", joint_p_value(*counts, chances), n),
        within("largest |learned - eq. 60| of all cells", worst_deviation(rates, chances), 0, RATE_TOLERANCE),
        within("control: without a walk, learned up to x = 1 and not beyond: p-value",
               Estimate(sharp, sharp, sharp, n), 0, SIGNIFICANCE),
        within(f"x = {BELOW:g}: learned more often at d = {high} than at {low}", gap(BELOW), 0, 1).on(*ends[BELOW]),
        within(f"x = {ABOVE:g}: learned less often at d = {high} than at {low}", gap(ABOVE), -1, 0).on(*ends[ABOVE])]


def draw(figure, table):
    """Learned against x for each d: on the left at one strength, on the right with strengths that grow; the laws as lines."""
    panels, curve = figure.subplots(1, 2, sharey=True), np.geomspace(table["x"].min() / 1.2, table["x"].max() * 1.2, 200)
    parts = list(split(table, "d"))
    for ax, chosen in zip(panels, ([part for part in parts if part[1]["strength"][0] == STRENGTH],
                                   [part for part in parts if part[1]["strength"][0] != STRENGTH])):
        for i, ((d,), part) in enumerate(chosen):
            look = simsim.plots.ramp(i, len(chosen))
            ax.errorbar(aside(part["x"], i, len(chosen), 0.03), part["learned"],
                        bars(part["learned"], part["low"], part["high"]), ls="", ms=4, capsize=2, **look,
                        label=f"$d$ = {d:,}, strength {part['strength'][0]:g}")
            ax.plot(curve, _law(part, curve), color=look["color"], lw=1)
        ax.plot([curve[0], 1, 1, curve[-1]], [1, 1, 0, 0], color="0.5", ls=":", lw=1)
        ax.set(xscale="log", xlabel="$x$, in proportion to $\\eta / N$ (eq. 58)", ylim=(-0.02, 1.02))
        plain_ticks(ax, (0.1, 0.2, 0.5, 1, 2, 3))
        if chosen:
            ax.legend(frameon=False, fontsize="small", loc="lower left")
    panels[0].set(ylabel="$v_1$ learned", title="one strength: sharper with $d$")
    panels[1].set(title="larger $d$, stronger features")


def _law(part, x):
    """Eq. 60 at every x, by the horizon that a run at this x has; the blur is in proportion to x."""
    walk, N = part["blur"][0] / part["x"][0], int(part["batch_size"][0])
    return [by_horizon(each, walk * each, horizon_at(each, N), N) for each in x]


STUDY = Study("sgd-threshold", "how large a step SGD may take to learn a feature at all", "a quarter of an hour", grids,
              analyse, draw)
