"""Unequal frequencies: does the rarer of two equally strong features take the weak one's part?

In the population a frequency p is worth (K p)^(1/6) in strength (docs/theory.md, section 6): eq. 15 and the order of
learning should follow from the effective strengths, in flows and in SGD.
"""

import numpy as np

import simsim
from simsim.studies.regions import not_rejected, rate_is, within
from simsim.studies.plan import FLOW, Study, aside, band, config_of, done, split
from simsim.studies.statistics import Estimate, difference, joint_p_value, rate, simultaneous

D, STRENGTH, KAPPA = 10**4, 8.0, 0.1
KINDS = {"frozen": "flow, frozen head", "trained": "flow, trained head", "sgd": "SGD, frozen head"}
RARE = (0.5, 0.2, 0.05, 0.01, 0.001)
SGD = {"engine": "gram", "d": 200, "head": "frozen", "batch_size": 512, "steps": 3000}  # long enough for both neurons


def grids(quick):
    """Flows with and without head, and SGD without, from the same number of starts for every frequency."""
    rare = RARE[::2] if quick else RARE
    starts = range(24 if quick else 200)
    found = {}
    for p in rare:
        fields = {"strengths": (STRENGTH, STRENGTH), "frequencies": (1 - p, p)}
        found[f"frozen {p}"] = ({**FLOW, "d": D, "kappa": KAPPA, "head": "frozen", **fields}, starts)
        found[f"trained {p}"] = ({**FLOW, "d": D, "kappa": KAPPA, **fields}, starts)
        found[f"sgd {p}"] = ({**SGD, **fields}, range(24 if quick else 100))
    return found


def analyse(tables, folder):
    """Collapse onto the frequent feature beside eq. 15 at the effective ratio; what the head changes."""
    parts = {name: done(table) for name, table in tables.items()}
    confidence, records = simultaneous(len(parts)), []
    for name, part in parts.items():
        kind, p = name.split()
        fates = np.stack([part["fate_1"], part["fate_2"]], axis=1)
        all_on_first, both = rate((fates == 1).all(axis=1), confidence), rate(part["success"], confidence)
        records.append({"kind": kind, "rare": float(p), "runs": all_on_first.n, "on_first": all_on_first.value,
                        "low": all_on_first.low, "high": all_on_first.high,
                        "both": both.value, "both_low": both.low, "both_high": both.high,
                        "law_15": simsim.theory.collapse_probability(_config(float(p)))})
    claims = []
    for kind, d in (("frozen", "flows"), ("sgd", "SGD")):
        some = [record for record in records if record["kind"] == kind]
        runs, counts = [r["runs"] for r in some], [round(r["on_first"] * r["runs"]) for r in some]
        claims.append(not_rejected(f"{d}, frozen: both neurons on the frequent feature, as eq. 15 at the effective ratio",
                                   joint_p_value(counts, runs, [r["law_15"] for r in some]), sum(runs)).on(
            *(table for name, table in tables.items() if name.startswith(kind))))
    rarest = min(record["rare"] for record in records)
    trained, frozen = (parts[f"{kind} {rarest}"]["success"] for kind in ("trained", "frozen"))
    claims.append(within(f"p = {rarest:g}: with the head the rare feature has a neuron more often than without",
                         difference(trained, frozen, confidence), 0, 1).on(
        *(tables[f"{kind} {rarest}"] for kind in ("trained", "frozen"))))
    even = rate(parts[f"frozen {max(RARE)}"]["success"], confidence)
    claims.append(rate_is("p = 0.5, frozen: both features, as eq. 15 of equals", even, 0.5).on(tables[f"frozen {max(RARE)}"]))
    return records, claims


def _config(p):
    return config_of(D, KAPPA, head="frozen", strengths=(STRENGTH, STRENGTH), frequencies=(1 - p, p))


def draw(figure, table):
    """Both neurons on the frequent feature, and both features learned, against the rare one's frequency."""
    left, right = figure.subplots(1, 2)
    for i, ((kind,), part) in enumerate(split(table, "kind")):
        for ax, names in ((left, ("on_first", "low", "high")), (right, ("both", "both_low", "both_high"))):
            estimates = [Estimate(*values) for values in zip(*(part[name] for name in names), part["runs"])]
            band(ax, aside(part["rare"], i, len(KINDS)), estimates, **simsim.plots.series(i), label=KINDS[kind])
        if kind == "frozen":
            left.plot(part["rare"], part["law_15"], "k--", lw=0.8, label="eq. 15, effective ratio")
    for ax, title in ((left, "both neurons on the frequent feature"), (right, "both features have a neuron")):
        ax.set(xscale="log", xlabel="frequency of the rare feature", ylim=(-0.02, 1.02))
        ax.set_title(title, fontsize="medium")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False,
                  fontsize=simsim.plots.small())


STUDY = Study("frequencies", "whether the rarer of two equally strong features takes the weak one's part", "two minutes",
              grids, analyse, draw)
