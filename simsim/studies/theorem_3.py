"""Theorem 3, exactly: how often all neurons end on the strong feature when the head is frozen, beside eq. 15.

A start's fate is known exactly (eq. 14), so thousands of starts cost nothing; integrated flows confirm it for some.
With a frozen head neurons do not feel each other, so flows of two neurons confirm it for any number.
"""

import numpy as np

import simsim
from simsim.studies.regions import EXACT, RATE_TOLERANCE, not_rejected, within
from simsim.studies.plan import FLOW, Study, bars, by_start, config_of, done, fates, plain_ticks, split, starts
from simsim.studies.statistics import joint_p_value, rate, shared_rate, simultaneous, worst_deviation

STARTS = 5000  # a cell
D = 10**4  # of the flows; eq. 15 does not depend on it
FLOW_NEURONS = 2


def grids(quick):
    """Flows of two neurons at some ratios; the rest needs none."""
    ratios = [1.5, 2.0, 5.0, 20.0] if quick else [1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0]
    return {"flows": ({**FLOW, "head": "frozen", "d": D, "alpha_ratio": ratios, "m": FLOW_NEURONS},
                      range(50 if quick else 400))}


def analyse(tables, folder):
    """Frequencies of collapse in `STARTS` starts a cell, and whether flows end where eq. 14 says."""
    flows = done(tables["flows"])
    ratios = list(dict.fromkeys(tables["flows"]["alpha_ratio"].tolist()))
    records, rates, laws = [], [], []
    neurons = (1, 2, 3, 4, 8, 16)
    confidence = simultaneous(len(ratios) * len(neurons))
    for m in neurons:
        overlaps, _ = starts(config_of(D, m=m, head="frozen"), range(STARTS))
        for ratio in ratios:
            config = config_of(D, m=m, head="frozen", alpha_ratio=ratio)
            collapsed = (simsim.theory.fates(config, overlaps) == 0).all(axis=1)
            rates.append(rate(collapsed, confidence))
            laws.append(simsim.theory.collapse_probability(config))
            records.append({"alpha_ratio": ratio, "m": m, "starts": STARTS, "collapsed": int(collapsed.sum()),
                            "rate": rates[-1].value, "low": rates[-1].low, "high": rates[-1].high, "law_15": laws[-1]})
    seeds = np.unique(tables["flows"]["init_seed"])
    right = [by_start(part["init_seed"], _as_predicted(ratio, part), seeds) for (ratio,), part in split(flows, "alpha_ratio")]
    counts = [record["collapsed"] for record in records]
    return records, [
        within("largest |collapse rate - eq. 15| of all cells", worst_deviation(rates, laws), 0, RATE_TOLERANCE).on(),
        not_rejected("eq. 15 holds in all cells", joint_p_value(counts, [STARTS] * len(counts), laws),
                     STARTS * len(counts)).on(),
        within("integrated flows in which both neurons end where eq. 14 says", shared_rate(np.transpose(right)), EXACT, 1).on(
            tables["flows"])]


def _as_predicted(ratio, part):
    """(S,) whether every neuron ended where its start said."""
    config = config_of(D, m=FLOW_NEURONS, head="frozen", alpha_ratio=ratio)
    overlaps, _ = starts(config, part["init_seed"])
    return (fates(part)[:, :config.m] == simsim.theory.fates(config, overlaps) + 1).all(axis=1)


def draw(figure, table):
    """Collapse rate against the ratio, a line for each m: dots with intervals, the law as lines."""
    ax = figure.subplots()
    parts = list(split(table, "m"))
    for i, ((m,), part) in enumerate(parts):
        look = simsim.plots.ramp(i, len(parts))
        ax.errorbar(part["alpha_ratio"], part["rate"], bars(part["rate"], part["low"], part["high"]), ls="", ms=4, capsize=2,
                    **look, label=f"$m = {m}$")
        ratios = np.geomspace(part["alpha_ratio"].min(), part["alpha_ratio"].max(), 100)
        ax.plot(ratios, [simsim.theory.collapse_probability(config_of(D, m=m, head="frozen", alpha_ratio=ratio))
                         for ratio in ratios], color=look["color"], lw=1)
    ax.set(xscale="log", xlabel=r"$\alpha_1/\alpha_2$", ylabel="all neurons end on $v_1$", ylim=(-0.02, 1.02))
    plain_ticks(ax, np.unique(table["alpha_ratio"]))
    ax.legend(frameon=False, title="lines: eq. 15", fontsize="small")


STUDY = Study("theorem-3", "how often a network without a trained head collapses", "2 minutes", grids, analyse, draw)
