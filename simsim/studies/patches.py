"""Unequal numbers of patches: what becomes of features of which one is better predicted from one view to the other?

A frozen head lets every neuron end on the feature that two views agree in most, however weak (docs/theory.md, eq. 46).
A trained head takes that preference upon itself (eq. 47), and the neurons stay where they are.
"""

import numpy as np

import simsim
from simsim.studies.regions import EXACT, RATE_TOLERANCE, within
from simsim.studies.plan import FLOW, Study, band, config_of, done, fates, split
from simsim.studies.statistics import Estimate, difference, rate, simultaneous
from simsim.variant_laws import predictability

D, KAPPA, STRENGTHS = 10**4, 0.1, (12.0, 6.0)
COUNTS = ((7, 4), (5, 6), (4, 7))  # patches of the strong feature and of the weak one
FOR_EXACT = 800  # starts that decide whether a rate is above EXACT, if all of them are as they should
LATE = 1e12  # a trained head is followed until then: long after its neurons have learned, and before an end is certain


def grids(quick):
    """Flows with a frozen head to their certified ends, and with a trained one for a long time, from the same starts."""
    found = {}
    for counts in COUNTS[::2] if quick else COUNTS:
        fields, name = {**FLOW, "d": D, "kappa": KAPPA, **_data(counts)}, "-".join(map(str, counts))
        found[f"frozen {name}"] = ({**fields, "head": "frozen"}, range(24 if quick else FOR_EXACT))
        found[f"trained {name}"] = ({**fields, "t_max": LATE}, range(24 if quick else 200))
    return found


def _data(counts):
    return {"strengths": STRENGTHS, "patch_counts": counts, "feature_patches": max(counts)}


def analyse(tables, folder):
    """How often all neurons are on the more predictable feature, and how often both features have one."""
    parts = {tuple(name.split()): done(table) for name, table in tables.items()}
    confidence, records, claims = simultaneous(len(parts)), [], []
    for (head, name), part in parts.items():
        counts = tuple(map(int, name.split("-")))
        ended, rho = fates(part), predictability(config_of(D, **_data(counts)))
        gathered = rate((ended == 1 + rho.argmax()).all(axis=1), confidence)
        both = rate(_both(part), confidence)
        records.append({"head": head, "k_1": counts[0], "k_2": counts[1], "rho_1": rho[0], "rho_2": rho[1], "runs": gathered.n,
                        "gathered": gathered.value, "gathered_low": gathered.low, "gathered_high": gathered.high,
                        "both": both.value, "both_low": both.low, "both_high": both.high})
        if head == "frozen":
            claims.append(within(f"{name} patches, frozen: all neurons end on the more predictable feature", gathered, EXACT, 1).on(
                tables[f"frozen {name}"]))
            claims.append(within(f"{name} patches: both features more often with a trained head",
                                 difference(_both(parts["trained", name]), _both(part), confidence), RATE_TOLERANCE, 1).on(
                tables[f"frozen {name}"], tables[f"trained {name}"]))
    return records, claims


def _both(part):
    """(S,) whether each feature has a neuron."""
    ended = fates(part)
    return (ended == 1).any(axis=1) & (ended == 2).any(axis=1)


def draw(figure, table):
    """Left: all neurons on the more predictable feature; right: both features have a neuron; by patches of each."""
    pairs = list(dict.fromkeys(zip(table["k_1"].tolist(), table["k_2"].tolist())))
    for ax, what, title in zip(figure.subplots(1, 2, sharey=True), ("gathered", "both"),
                               ("all neurons on the more predictable feature", "both features have a neuron")):
        for i, ((head,), part) in enumerate(split(table, "head")):
            runs = [Estimate(*values) for values in zip(part[what], part[f"{what}_low"], part[f"{what}_high"], part["runs"])]
            places = np.array([pairs.index(pair) for pair in zip(part["k_1"], part["k_2"])]) + 0.1 * i
            band(ax, places, runs, **simsim.plots.series(i), label=f"{head} head", ls="")
        ax.set_xticks(range(len(pairs)), [f"{strong} and {weak}" for strong, weak in pairs])
        ax.set(xlabel="patches of the strong and the weak feature", ylim=(-0.02, 1.02), xlim=(-0.5, len(pairs) - 0.5))
        ax.set_title(title, fontsize="medium")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False,
                  fontsize=simsim.plots.small())


STUDY = Study("patches", "what becomes of features that two views agree in unequally well", "10 minutes", grids, analyse, draw)
