"""Phase I: how its length T_1 grows with d, beside the theorem's d^2, and beside eq. 16 start by start."""

import numpy as np

import simsim
from simsim import theory
from simsim.studies.regions import exponent_is, follows
from simsim.studies.plan import FLOW, Study, bars, config_of, done, per_start, split, starts
from simsim.studies.statistics import exponent, median, median_time, paired_exponent, robust_exponent

LARGE = 10**4  # from here on eq. 16 is held to its tolerance; below, starts have learned too much at step 0


def grids(quick):
    """The same starts at every d: overlaps are g / sqrt(d) with the same normals g."""
    ds = [10**3, 10**4, 10**6, 10**8] if quick else [10**3, 10**4, 10**5, 10**6, 10**7, 10**8, 10**9, 10**10]
    return {"phase-1": ({**FLOW, "d": ds, "kappa": 1.0}, range(30 if quick else 100))}


def analyse(tables, folder):
    """Medians of T_1 (Kaplan-Meier), and T_1 over eq. 16."""
    records, ratios = [], []
    for (d,), everything in split(tables["phase-1"], "d"):
        config, part = config_of(d), done(everything)
        law = theory.small_start_times(config, *starts(config, part["init_seed"]))[:, :, 0].min(axis=1)
        middle = median_time(part["time_1"], part["observed_1"])
        over = median(np.where(part["observed_1"], part["time_1"], np.nan) / law)
        ratios.append((d, over, everything))
        records.append({"d": d, "runs": len(law), "learned": int(part["observed_1"].sum()), "median": middle.value,
                        "low": middle.low, "high": middle.high, "over_16": over.value, "over_16_low": over.low,
                        "over_16_high": over.high})
    ds = np.array([record["d"] for record in records], dtype=float)
    times = np.where(per_start(tables["phase-1"], "observed_1", "d") == 1, per_start(tables["phase-1"], "time_1", "d"), np.nan)
    times[times == 0] = np.nan  # a start that holds v_1 already has no phase I
    medians = np.array([record["median"] for record in records])
    return records, [
        exponent_is("T_1 ~ d^2, start by start", paired_exponent(ds, times), 2),
        exponent_is("T_1 ~ d^2, medians of all starts", exponent(ds, medians), 2),
        exponent_is("the same by Theil and Sen, whom an outlier does not move", robust_exponent(ds, medians), 2),
        *(follows(f"T_1 over eq. 16 at d = {d:.0e}", over).on(part) for d, over, part in ratios if d >= LARGE)]


def draw(figure, table):
    """The median of T_1 against d, and the theorem's power through its last point."""
    ax = figure.subplots()
    ax.errorbar(table["d"], table["median"], bars(table["median"], table["low"], table["high"]),
                ls="", ms=4, capsize=2, **simsim.plots.series(0), label="median over starts, Kaplan-Meier interval")
    ax.plot(table["d"], table["median"][-1] * (table["d"] / table["d"][-1]) ** 2.0, "k--", lw=0.8, label="$d^2$")
    ax.set(xscale="log", yscale="log", xlabel="$d$", ylabel="$T_1$ (time $t$)")
    ax.legend(frameon=False)


STUDY = Study("phase-1", "how long phase I takes as d grows", "a minute", grids, analyse, draw)
