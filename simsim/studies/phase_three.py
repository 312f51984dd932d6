"""Phase III: how long it takes, against alpha_1 from the same starts and against d, beside eqs. 22 to 24.

T_3 of a start that collapses never comes: it is censored, and the Kaplan-Meier curve of the table says so.
"""

import numpy as np

import simsim
from simsim import laws
from simsim.studies.regions import SIGNIFICANCE, exponent_is, follows, within
from simsim.studies.plan import FLOW, Study, bars, config_of, done, per_start, plain_ticks, split, starts
from simsim.studies.statistics import Estimate, median, median_time, paired_exponent, same_times

D, RATIO = 10**6, 20.0
LARGE = 10**6  # from here on eqs. 22 and 23 are held to their tolerance
KAPPAS = (0.1, 1.0)


def grids(quick):
    """alpha_1 at one d, and d at one alpha_1, from the same starts; alpha_2 = 1."""
    ratios = [3.0, 5.0, 10.0] if quick else [3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0]
    ds = [10**4, 10**6, 10**8] if quick else [10**4, 10**5, 10**6, 10**7, 10**8, 10**9, 10**10]
    seeds = range(20 if quick else 60)
    return {"strength": ({**FLOW, "d": D, "kappa": 1.0, "alpha_ratio": ratios}, seeds),
            "dimension": ({**FLOW, "d": ds, "kappa": 1.0 if quick else list(KAPPAS), "alpha_ratio": RATIO}, seeds)}


def analyse(tables, folder):
    """Lengths, laws and exponents."""
    cells = [(values, part) for name in ("strength", "dimension")
             for values, part in split(tables[name], "d", "kappa", "alpha_ratio")]
    records = [_record(*values, done(part)) for values, part in cells]
    of_one = {name: np.array([kappa == 1.0 for kappa in tables[name]["kappa"]]) for name in tables}
    wide = {name: {column: values[of_one[name]] for column, values in tables[name].items()} for name in tables}
    claims = [exponent_is("T_3 / T_1 ~ alpha_1^9 at one start (eq. 24)", _power(wide["strength"], "alpha_ratio"), 9),
              exponent_is("T_3 / T_1 ~ d^(-3/8) at one start (eq. 24, d -> infinity)", _power(wide["dimension"], "d"), -3 / 8)]
    claims += [follows(f"T_3 over eqs. 22, 23: d = {r['d']:.0e}, kappa = {r['kappa']:g}, ratio {r['alpha_ratio']:g}",
                       Estimate(r["over_22"], r["over_22_low"], r["over_22_high"], r["learned"])).on(part)
               for r, (_, part) in zip(records, cells) if r["d"] >= LARGE]
    parts = {kappa: part for (kappa, d), part in split(tables["dimension"], "kappa", "d") if d == D}
    if set(KAPPAS) <= set(parts):
        slow, fast = (done(parts[kappa]) for kappa in KAPPAS)
        p = same_times(slow["time_3"], slow["observed_3"], fast["time_3"], fast["observed_3"])
        claims.append(within(f"T_3 depends on the head's speed, d = {D:.0e}: p-value of one law",
                             Estimate(p, p, p, len(slow["d"])), 0, SIGNIFICANCE).on(*parts.values()))
    return records, claims


def _record(d, kappa, ratio, part):
    """One cell: the median of T_3 with censoring; among flows that succeed, T_3 / T_1 and T_3 over its law."""
    config, middle = config_of(d, kappa, alpha_ratio=ratio), median_time(part["time_3"], part["observed_3"])
    good = part["success"] & part["observed_1"] & part["observed_3"] & (part["time_1"] > 0)
    begun = zip(*starts(config, part["init_seed"][good])) if good.any() else ()
    law = [laws.Acceleration(config, *start).time() for start in begun]
    ratio_31, over = median(part["time_3"][good] / part["time_1"][good]), median(part["time_3"][good] / np.array(law))
    return {"d": d, "kappa": kappa, "alpha_ratio": ratio, "runs": len(good), "learned": int(good.sum()),
            "median_3": middle.value, "median_3_low": middle.low, "median_3_high": middle.high,
            "ratio_31": ratio_31.value, "ratio_31_low": ratio_31.low, "ratio_31_high": ratio_31.high,
            "over_22": over.value, "over_22_low": over.low, "over_22_high": over.high}


def _power(table, axis):
    """The power of `axis` in T_3 / T_1, over the starts that succeed at all of its values."""
    good = per_start(table, "success", axis) == 1
    ratio = per_start(table, "time_3", axis) / np.where(good, per_start(table, "time_1", axis), np.nan)
    return paired_exponent(np.unique(table[axis]).astype(float), np.where(ratio > 0, ratio, np.nan))


def draw(figure, table):
    """T_3 / T_1 against alpha_1, and against d, with the powers of eq. 24."""
    left, right = figure.subplots(1, 2)
    one = table["kappa"] == 1.0
    for ax, axis, name, chosen, power in ((left, "alpha_ratio", r"$\alpha_1$", table["d"] == D, 9),
                                          (right, "d", "$d$", table["alpha_ratio"] == RATIO, -3 / 8)):
        ax.set(xscale="log", yscale="log", xlabel=name, ylabel="median of $T_3/T_1$")
        x, y, low, high = (table[column][one & chosen] for column in (axis, "ratio_31", "ratio_31_low", "ratio_31_high"))
        ax.errorbar(x, y, bars(y, low, high), ls="", ms=4, capsize=2, **simsim.plots.series(0))
        line = np.unique(x).astype(float)
        ax.plot(line, y[-1] * (line / line[-1]) ** float(power), "k--", lw=0.8, label=f"power {power:g} (eq. 24)")
        ax.legend(frameon=False)
    plain_ticks(left, np.unique(table["alpha_ratio"]))


STUDY = Study("phase-3", "how long phase III takes", "2 minutes", grids, analyse, draw)
