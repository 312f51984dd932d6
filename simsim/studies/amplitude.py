"""The head's rise: the peak of |E_21| against kappa, beside eq. 13's sqrt(kappa / 3) ||w_2(0)||."""

import numpy as np

import simsim
from simsim import theory
from simsim.studies.regions import RATIO_TOLERANCE, exponent_is, follows, within
from simsim.studies.plan import FLOW, Study, chosen, config_of, done, fates, per_start, split, starts
from simsim.studies.statistics import Estimate, median, paired_exponent

D = 10**6
ROUNDING = 1e-3  # of a peak, which is read off the integrator's steps


def grids(quick):
    """The same starts at every kappa."""
    kappas = [0.01, 0.1, 1.0] if quick else [1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0]
    return {"peaks": ({**FLOW, "d": D, "kappa": kappas}, range(40 if quick else 100))}


def analyse(tables, folder):
    """Peaks of the flows that succeed, over the bound of the neuron that ends on v_2."""
    table, records, highest = tables["peaks"], [], []
    for (kappa,), part in split(done(table), "kappa"):
        config, good = config_of(D, kappa), part["success"]
        part = {name: column[good] for name, column in part.items()}
        overlaps, noise = starts(config, part["init_seed"])
        norms = np.sqrt((overlaps**2).sum(axis=-1) + noise**2)
        weak = (fates(part) == 2).argmax(axis=1)
        over = part["head_peak"] / theory.head_bound(config, norms[np.arange(len(weak)), weak])
        middle = median(over)
        highest.extend(over)
        records.append({"kappa": kappa, "flows": len(over), "peak": float(np.median(part["head_peak"])),
                        "over_bound": middle.value, "low": middle.low, "high": middle.high, "largest": max(over, default=np.nan)})
    kappas = np.array([record["kappa"] for record in records])
    peaks = np.where(per_start(table, "success", "kappa") == 1, per_start(table, "head_peak", "kappa"), np.nan)
    most, n = float(max(highest, default=np.nan)), sum(record["flows"] for record in records)
    return records, [
        exponent_is("peak |E_21| ~ kappa^(1/2), start by start", paired_exponent(kappas, peaks), 0.5),
        *(follows(f"peak over sqrt(kappa/3) ||w_2(0)||, kappa = {record['kappa']:g}",
                  Estimate(record["over_bound"], record["low"], record["high"], record["flows"])).on(
            chosen(table, table["kappa"] == record["kappa"])) for record in records),
        within("largest peak over that bound (exact while E_12 is small)", Estimate(most, most, most, n), 1 - RATIO_TOLERANCE,
               1 + ROUNDING)]


def draw(figure, table):
    """Median peak against kappa, and the bound of a neuron of norm 1."""
    ax = figure.subplots()
    ax.plot(table["kappa"], table["peak"], ls="", ms=5, **simsim.plots.series(0), label="median of the flows that succeed")
    ax.plot(table["kappa"], np.sqrt(table["kappa"] / 3), "k--", lw=0.8, label=r"$\sqrt{\kappa/3}$ (eq. 13)")
    ax.set(xscale="log", yscale="log", xlabel=r"$\kappa$", ylabel=r"peak of $|E_{21}|$")
    ax.legend(frameon=False)


STUDY = Study("amplitude", "how high the head rises", "a minute", grids, analyse, draw)
