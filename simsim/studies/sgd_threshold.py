"""Phase I in SGD: how often a feature is learned over x, the threshold of docs/theory.md, eqs. 58 and 60, sharper as d grows."""

import numpy as np

import simsim
from simsim.studies.claims import RATE_TOLERANCE, SIGNIFICANCE, Claim, not_rejected
from simsim.studies.one_neuron import cell, law, start_of
from simsim.studies.plan import Study, bars, done, split
from simsim.studies.statistics import Estimate, difference, joint_p_value, rate, simultaneous, worst_deviation

# The same normals at every d; strengths that keep the samples within reach, and let the blur fall: .22, .086, .06 at x = 1.
STARTS = (start_of(100, 14, 4.0, 32), start_of(1000, 14, 8.0, 128), start_of(3000, 14, 11.0, 512))
XS = (0.1, 0.2, 0.382, 0.6, 0.8, 1.0, 1.25, 2.0, 3.0)
BELOW, ABOVE = 0.2, 1.25  # where one learns, and the other does not, the sharper the threshold


def grids(quick):
    """A sweep for each d and x, over sampling seeds from one start."""
    starts, xs, seeds = (STARTS[:2], (BELOW, ABOVE), 24) if quick else (STARTS, XS, 100)
    return {f"{start['d']}-{x:g}": (cell(start, x), range(seeds)) for start in starts for x in xs}


def analyse(tables, folder):
    """Learned beside eq. 60; beside a step at x = 1, which is the control; and whether the threshold is sharper at the larger d."""
    confidence, records, outcomes = simultaneous(len(tables)), [], {}
    for table in tables.values():
        part, (one, walk, chance) = done(table), law(table)
        found = rate(part["observed_1"], confidence)
        d, x = int(table["d"][0]), float(f"{one.x:.3g}")
        outcomes[d, x] = part["observed_1"]
        records.append({"d": d, "x": x, "blur": walk, "runs": found.n, "learned": found.value, "low": found.low, "high": found.high,
                        "law_60": chance})
    counts = [int(some.sum()) for some in outcomes.values()], [some.size for some in outcomes.values()]
    chances, n = [record["law_60"] for record in records], sum(counts[1])
    sharp = joint_p_value(*counts, [0.999 if record["x"] < 1 else 0.001 for record in records])
    rates = [Estimate(record["learned"], record["low"], record["high"], record["runs"]) for record in records]
    low, high = min(d for d, _ in outcomes), max(d for d, _ in outcomes)
    gap = lambda x, confidence: difference(outcomes[high, x], outcomes[low, x], confidence)
    ends = [tables[f"{d}-{x:g}"] for d in (low, high) for x in (BELOW, ABOVE)]
    return records, [
        not_rejected("learned as eq. 60 says, all x and d", joint_p_value(*counts, chances), n),
        Claim("largest |learned - eq. 60| of all cells", worst_deviation(rates, chances), 0, RATE_TOLERANCE),
        Claim("control: without a walk, learned up to x = 1 and not beyond: p-value", Estimate(sharp, sharp, sharp, n), 0, SIGNIFICANCE),
        Claim(f"x = {BELOW:g}: learned more often at d = {high} than at {low}", gap(BELOW, simultaneous(2)), 0, 1).on(*ends[::2]),
        Claim(f"x = {ABOVE:g}: learned less often at d = {high} than at {low}", gap(ABOVE, simultaneous(2)), -1, 0).on(*ends[1::2])]


def draw(figure, table):
    """Learned against x for each d, with the law as lines."""
    ax, parts = figure.subplots(), list(split(table, "d"))
    for i, ((d,), part) in enumerate(parts):
        look = simsim.plots.ramp(i, len(parts))
        ax.errorbar(part["x"], part["learned"], bars(part["learned"], part["low"], part["high"]), ls="", ms=4, capsize=2, **look,
                    label=f"$d$ = {d:,}")
        ax.plot(part["x"], part["law_60"], color=look["color"], lw=1)
    ax.axvline(1, color="0.5", ls=":", lw=1)
    ax.set(xscale="log", xlabel="$x$ (eq. 58)", ylabel="$v_1$ learned", ylim=(-0.02, 1.02))
    ax.legend(frameon=False, title="lines: eq. 60", fontsize="small")


STUDY = Study("sgd-threshold", "how large a step SGD may take to learn a feature at all", "2 hours", grids, analyse, draw)
