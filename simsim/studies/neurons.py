"""More neurons: which features find a neuron, and how many, with and without a trained head."""

import numpy as np

import simsim
from simsim.studies.regions import RATE_TOLERANCE, within
from simsim.studies.plan import FLOW, Study, bars, config_of, done, fates, outcomes, split
from simsim.studies.statistics import paired_difference, rate, simultaneous, worst_deviation

D = 10**4
HEADS = ("trained", "frozen")
APART = 0.2  # between the two heads in the figure


def grids(quick):
    """m, with and without head, from the same starts; of the largest m fewer, for a flow costs about m^3."""
    fields = {**FLOW, "head": list(HEADS), "d": D, "kappa": 1.0}
    if quick:
        return {"neurons": ({**fields, "m": [2, 3]}, range(20))}
    return {"neurons": ({**fields, "m": [2, 3, 4, 6, 8]}, range(60)), "many": ({**fields, "m": [12, 16]}, range(10))}


def analyse(tables, folder):
    """Shares of neurons by feature, and how often both features have one."""
    everything = {key: part for table in tables.values() for key, part in split(table, "head", "m")}
    cells = {key: done(part) for key, part in everything.items()}
    confidence, records = simultaneous(len(cells)), []
    for (head, m), part in cells.items():
        ended, both = fates(part)[:, :m], rate(part["success"], confidence)
        records.append({"head": head, "m": m, "runs": both.n, "both": both.value, "low": both.low, "high": both.high,
                        **{f"on_v_{l}": float(np.mean(ended == l)) for l in (1, 2)}, "on_none": float(np.mean(ended == 0)),
                        "law_15": _both_without_head(m) if head == "frozen" else np.nan})
    frozen = [record for record in records if record["head"] == "frozen"]
    rates = [rate(cells["frozen", record["m"]]["success"], confidence) for record in frozen]
    return records, [
        within("frozen: largest |both features - eq. 15| over m", worst_deviation(rates, [r["law_15"] for r in frozen]), 0,
               RATE_TOLERANCE).on(*(part for (head, _), part in everything.items() if head == "frozen")),
        *(within(f"m = {m}: both features more often with the head than without",
                 paired_difference(*(outcomes(part, part["success"]) for part in (everything[head, m] for head in HEADS)),
                                        confidence), RATE_TOLERANCE, 1).on(
                    *(everything[head, m] for head in HEADS))
          for m in dict.fromkeys(record["m"] for record in frozen))]


def _both_without_head(m):
    """P(not all m neurons end on one feature) under the frozen head, by eq. 15 for one neuron."""
    strong = simsim.theory.collapse_probability(config_of(D, m=1, head="frozen"))
    return 1 - strong**m - (1 - strong) ** m


def draw(figure, table):
    """Left: how often both features have a neuron; right: the part of neurons on the weak feature."""
    left, right = figure.subplots(1, 2)
    for i, ((head,), part) in enumerate(split(table, "head")):
        look = {**simsim.plots.series(i), "ms": 4, "label": f"{head} head"}
        left.errorbar(part["m"] + APART * (i - 0.5), part["both"], bars(part["both"], part["low"], part["high"]),
                      capsize=2, lw=1, **look)
        right.plot(part["m"], part["on_v_2"], lw=1, **look)
    frozen = table["head"] == "frozen"
    left.plot(table["m"][frozen], table["law_15"][frozen], "k--", lw=0.8, label="frozen: eq. 15")
    left.set(ylabel="both features have a neuron", ylim=(-0.02, 1.02))
    right.plot(table["m"][frozen], 1 / table["m"][frozen], "k:", lw=0.8, label="one neuron of $m$")
    right.set(ylabel="part of neurons on $v_2$", ylim=(0, None))
    for ax in (left, right):
        ax.set_xlabel("$m$")
        ax.set_xticks(np.unique(table["m"]))
    named = {label: handle for ax in (left, right) for handle, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(named.values(), named, loc="outside upper center", ncols=4, frameon=False)


STUDY = Study("neurons", "what more neurons change", "an hour", grids, analyse, draw)
