"""Phase I in SGD: how many samples it takes at the best step, which by docs/theory.md, eq. 59, grow as d^5 whatever the batch."""

import numpy as np

import simsim
from simsim.config import Config
from simsim.initial import reduced_state
from simsim.studies.one_neuron import ALONE, cell, horizon_at, law, start_of
from simsim.studies.plan import Study, bars, done, plain_ticks, split
from simsim.studies.regions import EXPONENT_TOLERANCE, exponent_is, follows, within
from simsim.studies.statistics import exponent_of_medians, median, rate, simultaneous

# One batch size, and a strength at which the largest d takes minutes. At the smallest phase I is five steps long at the best x,
# and every second run loses the feature; both are better by d = 57 already. Those that learn where others do not are the early
# ones, so a power of d is also asked for at an x at which nearly all learn, on samples of their own.
INIT_SEED, STRENGTH, N = 10, 2.8, 32
QUICK = {57: 24, 80: 24, 126: 16}  # d -> sampling seeds
FULL = {32: 100, 57: 100, 100: 100, 178: 32, 320: 10}
SAFE_X, SAFE_SEEDS = 0.1, 1000  # x, and the first of its sampling seeds
LATEST = 1.5  # horizon, of T_SGD by eq. 58
SMOOTH = 57  # the d from which phase I has a hundred steps
NEARLY_ALL = 0.9  # the part that should learn at SAFE_X


def grids(quick):
    """A sweep for each d and x, from the same normals, at the step that takes the fewest samples and at a smaller one."""
    found = {}
    for x, first in ((simsim.noise_laws.BEST_X, 0), (SAFE_X, SAFE_SEEDS)):
        horizon = horizon_at(x, N, LATEST)
        for d, seeds in (QUICK if quick else FULL).items():
            found[f"{x:.3f}-{d}"] = (cell(start_of(d, INIT_SEED, STRENGTH, N), x, horizon), range(first, first + seeds))
    return found


def analyse(tables, folder):
    """Samples until v_1 is learned, of the runs that learn it: their power of d at one norm of the weights, and over eq. 59.

    Eq. 59 has ||w(0)||^8, which for so small a d is far from its mean, 1: what is a power of d is the rest.
    """
    records, samples, unit = [], [], []
    for name, table in tables.items():
        (one, _, chance), part = law(table), done(table)
        d = int(table["d"][0])
        came, per_time = (table["status"] == "done") & table["observed_1"], N / table["lr"][0]
        samples.append(np.where(came, table["time_1"], np.nan) * per_time)
        unit.append(_norm(d) ** 8)
        middle, learned = median(samples[-1], simultaneous(len(tables))), rate(part["observed_1"], simultaneous(len(tables)))
        records.append({"x": float(name.split("-")[0]), "d": d, "runs": learned.n, "learned": learned.value,
                        "learned_low": learned.low, "learned_high": learned.high, "law_60": chance, "norm_8": unit[-1],
                        "samples": middle.value, "low": middle.low, "high": middle.high, "law": one.samples})
    x, d = (np.array([record[name] for record in records]) for name in ("x", "d"))
    everything, scaled = list(tables.values()), [one / eight for one, eight in zip(samples, unit)]
    best, smooth = x > SAFE_X, d >= SMOOTH
    some = lambda which, of: [of[i] for i in np.flatnonzero(which)]
    power = lambda which, of=scaled: exponent_of_medians(d[which].astype(float), some(which, of))
    safe, last = some(~best & smooth, everything), np.flatnonzero(best)[-1]
    claims = [exponent_is(text, power(which), 5).on(*some(which, everything)) for text, which in (
        ("samples / ||w(0)||^8 to learn v_1 ~ d^5, medians of those that learn", best),
        (f"the same from d = {SMOOTH} on", best & smooth),
        (f"the same at x = {SAFE_X}", ~best),
        (f"the same at x = {SAFE_X} from d = {SMOOTH} on", ~best & smooth))]
    return records, [
        *claims,
        within(f"x = {SAFE_X} from d = {SMOOTH} on: part that learns",
               rate(np.concatenate([done(part)["observed_1"] for part in safe])), NEARLY_ALL, 1).on(*safe),
        follows(f"samples over eq. 59 at d = {d[last]}, those that learn", median(samples[last] / records[last]["law"])).on(
            everything[last]),
        within("control: with the norms of the starts left in, the power is beyond", power(best, samples),
               5 + 5 * EXPONENT_TOLERANCE, np.inf).on(*some(best, everything))]


def _norm(d):
    """||w^perp(0)|| of the start at this d."""
    config = Config(**ALONE, **start_of(d, INIT_SEED, STRENGTH, N), lr=1.0)
    return float(np.linalg.norm(reduced_state(config)[1][0]))


def draw(figure, table):
    """Samples at one norm of the weights against d, and the law; what part of the runs learned. A series for each x."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for i, ((x,), part) in enumerate(split(table, "x")):
        look = {"ls": "", "ms": 4, "capsize": 2, **simsim.plots.series(i), "label": f"$x$ = {x:g}"}
        left.errorbar(part["d"], part["samples"] / part["norm_8"],
                      bars(part["samples"], part["low"], part["high"]) / part["norm_8"], **look)
        law = part["law"] / part["norm_8"]
        left.plot(part["d"], law, "k-", lw=0.8, label="eq. 58" if not i else None)
        left.plot(part["d"], law[-1] * (part["d"] / part["d"][-1]) ** 5.0, "k:", lw=0.8, label="$d^5$" if not i else None)
        right.errorbar(part["d"], part["learned"], bars(part["learned"], part["learned_low"], part["learned_high"]), **look)
        right.plot(part["d"], part["law_60"], "k-", lw=0.8, label="eq. 60" if not i else None)
    left.set(xscale="log", yscale="log", xlabel="$d$", ylabel=r"samples / $\Vert w(0) \Vert^8$, median of those that learn")
    right.set(xscale="log", xlabel="$d$", ylabel="$v_1$ learned", ylim=(-0.02, 1.05))
    for ax in (left, right):
        plain_ticks(ax, np.unique(table["d"]))
        ax.legend(frameon=False, fontsize="small", loc="upper left" if ax is left else "lower right")


STUDY = Study("sgd-samples", "how many samples SGD needs to learn a feature as d grows", "a quarter of an hour", grids, analyse, draw)
