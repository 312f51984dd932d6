"""Phase I in SGD: how many samples it takes at the best step, which by docs/theory.md, eq. 59, grow as d^5 whatever the batch."""

import numpy as np

import simsim
from simsim.config import Config
from simsim.initial import reduced_state
from simsim.studies.one_neuron import ALONE, cell, horizon_at, law, start_of
from simsim.studies.plan import Study, bars, done, plain_ticks
from simsim.studies.regions import EXPONENT_TOLERANCE, exponent_is, follows, within
from simsim.studies.statistics import exponent_of_medians, median, rate, simultaneous

# One batch size, and a strength at which the largest d takes minutes. At the smallest phase I is five steps long, and every
# second run loses the feature; both are better by d = 57 already.
INIT_SEED, STRENGTH, N = 10, 2.8, 32
QUICK = {57: 24, 80: 24, 126: 16}  # d -> sampling seeds
FULL = {32: 100, 57: 100, 100: 100, 178: 32, 320: 10}
LATEST = 1.5  # horizon, of T_SGD by eq. 58
SMOOTH = 57  # the d from which phase I has a hundred steps


def grids(quick):
    """A sweep for each d, from the same normals, at the step that takes the fewest samples."""
    horizon = horizon_at(simsim.noise_laws.BEST_X, N, LATEST)
    return {str(d): (cell(start_of(d, INIT_SEED, STRENGTH, N), simsim.noise_laws.BEST_X, horizon), range(seeds))
            for d, seeds in (QUICK if quick else FULL).items()}


def analyse(tables, folder):
    """Samples until v_1 is learned, of the runs that learn it: their power of d at one norm of the weights, and over eq. 59.

    Eq. 59 has ||w(0)||^8, which for so small a d is far from its mean, 1: what is a power of d is the rest.
    """
    records, samples, unit = [], [], []
    for table in tables.values():
        (one, _, chance), part = law(table), done(table)
        d = int(table["d"][0])
        came, per_time = (table["status"] == "done") & table["observed_1"], N / table["lr"][0]
        samples.append(np.where(came, table["time_1"], np.nan) * per_time)
        unit.append(_norm(d) ** 8)
        middle, learned = median(samples[-1], simultaneous(len(tables))), rate(part["observed_1"], simultaneous(len(tables)))
        records.append({"d": d, "runs": learned.n, "learned": learned.value, "learned_low": learned.low,
                        "learned_high": learned.high, "law_60": chance, "norm_8": unit[-1], "samples": middle.value,
                        "low": middle.low, "high": middle.high, "law_59": one.samples})
    ds, scaled = np.array([record["d"] for record in records], dtype=float), [one / eight for one, eight in zip(samples, unit)]
    some = ds >= SMOOTH
    last = list(tables.values())[-1]
    return records, [
        exponent_is("samples / ||w(0)||^8 to learn v_1 ~ d^5, medians of those that learn", exponent_of_medians(ds, scaled), 5),
        exponent_is(f"the same from d = {SMOOTH} on", exponent_of_medians(
            ds[some], [one for one, chosen in zip(scaled, some) if chosen]), 5).on(
                *(table for table, chosen in zip(tables.values(), some) if chosen)),
        follows(f"samples over eq. 59 at d = {records[-1]['d']}, those that learn",
                median(samples[-1] / records[-1]["law_59"])).on(last),
        within("control: with the norms of the starts left in, the power is beyond", exponent_of_medians(ds, samples),
               5 + 5 * EXPONENT_TOLERANCE, np.inf)]


def _norm(d):
    """||w^perp(0)|| of the start at this d."""
    config = Config(**ALONE, **start_of(d, INIT_SEED, STRENGTH, N), lr=1.0)
    return float(np.linalg.norm(reduced_state(config)[1][0]))


def draw(figure, table):
    """Samples at one norm of the weights against d, and the law; what part of the runs learned."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.errorbar(table["d"], table["samples"] / table["norm_8"],
                  bars(table["samples"], table["low"], table["high"]) / table["norm_8"], ls="", ms=4, capsize=2,
                  **simsim.plots.series(0), label="median of those that learn")
    law = table["law_59"] / table["norm_8"]
    left.plot(table["d"], law, "k-", lw=0.8, label="eq. 59")
    left.plot(table["d"], law[-1] * (table["d"] / table["d"][-1]) ** 5.0, "k:", lw=0.8, label="$d^5$")
    left.set(xscale="log", yscale="log", xlabel="$d$", ylabel=r"samples / $\Vert w(0) \Vert^8$")
    right.errorbar(table["d"], table["learned"], bars(table["learned"], table["learned_low"], table["learned_high"]), ls="", ms=4,
                   capsize=2, **simsim.plots.series(0))
    right.plot(table["d"], table["law_60"], "k-", lw=0.8, label="eq. 60")
    right.set(xscale="log", xlabel="$d$", ylabel="$v_1$ learned", ylim=(-0.02, 1.05))
    for ax in (left, right):
        plain_ticks(ax, table["d"])
        ax.legend(frameon=False, fontsize="small", loc="upper left" if ax is left else "lower right")


STUDY = Study("sgd-samples", "how many samples SGD needs to learn a feature as d grows", "five minutes", grids, analyse, draw)
