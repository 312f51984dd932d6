"""The ablation: which part keeps neurons apart? Objective, stop-gradient, batch norm and head, from the same starts.

Flows to certified ends, and SGD from the documented start, in which it gets that far.
"""

import numpy as np

import simsim
from simsim import sweeps
from simsim.config import DEFAULT_START
from simsim.studies.regions import EXACT, NAMED, RATE_TOLERANCE, rate_is, within
from simsim.studies.plan import FLOW, Study, config_of, done, outcomes, split
from simsim.studies.statistics import median, paired_difference, rate, simultaneous

KAPPA, FEATURE_PATCHES = 0.1, 4
NONE = {"stop_gradient": False, "batch_norm": False}
VARIANTS = {
    "baseline": {},
    "frozen head": {"head": "frozen"},
    "no stop-gradient": {"stop_gradient": False},
    "no stop-gradient, no head": {"objective": "naive"},
    "no batch norm": {"batch_norm": False},
    "no batch norm, frozen head": {"batch_norm": False, "head": "frozen"},
    "no batch norm, no stop-gradient": NONE,
    "no batch norm, no stop-gradient, no head": {"objective": "naive", "batch_norm": False},
    "free diagonal": {"head": "free-diagonal"},
    "symmetric head": {"head": "symmetric"},
    "random head": {"head": "random"},
    "random head, free diagonal": {"head": "random", "head_diagonal": "free"},
    "DirectCopy": {"head": "directcopy"},
    "DirectPred": {"head": "directpred"},
    "Barlow Twins, lambda 0.1": {"objective": "barlow", "barlow_lambda": 0.1},
    "Barlow Twins, lambda 1": {"objective": "barlow", "barlow_lambda": 1.0},
    "Barlow Twins, lambda 10": {"objective": "barlow", "barlow_lambda": 10.0},
}
ONLY_IN_SGD = {  # what the flow does not know
    "weight decay 0.1": {"weight_decay": 0.1},
    "momentum 0.9": {"momentum": 0.9},
    "target momentum 0.99": {"target_momentum": 0.99},
    "VICReg": {"objective": "vicreg"},
    "spectral contrastive": {"objective": "spectral"},
}
QUICK = ("baseline", "frozen head", "no stop-gradient", "symmetric head", "Barlow Twins, lambda 1")
IN_SGD = ("baseline", "frozen head", "no stop-gradient", "no batch norm", "free diagonal", "symmetric head",
          "Barlow Twins, lambda 1")
LOPSIDED = 1.0  # ||E - E^T|| / ||E - I|| from which a head is very asymmetric: 0 if symmetric, sqrt(2) with one entry
# Of outcome.ENDS, in their order: colours of the palette of all pictures, with hatches that tell them apart without colour.
LOOKS = (("#0072B2", ""), ("#E69F00", "///"), ("#D55E00", "xxx"), ("#56B4E9", ".."), ("#BBBBBB", ""), ("#FFFFFF", "||"))
NOT_RUN = "not run"


def grids(quick):
    """A sweep for each variant, of flows at two dimensions; for some another, of SGD from one start."""
    flows = {**FLOW, "feature_patches": FEATURE_PATCHES, "kappa": KAPPA, "d": [10**4] if quick else [10**4, 10**3]}
    found = {}
    for name, fields in VARIANTS.items():
        if not quick or name in QUICK:
            found[f"flow {name}"] = ({**flows, **fields}, range(24 if quick else 400))
    in_sgd = {name: VARIANTS[name] for name in IN_SGD} | ONLY_IN_SGD
    for name, fields in {} if quick else in_sgd.items():
        found[f"sgd {name}"] = ({"engine": "gram", "init_seed": DEFAULT_START, **fields}, range(50))
    return found


def analyse(tables, folder):
    """How often each variant ends how, which phases it reaches, and its head."""
    cells = {(name, d): part for name in tables for (d,), part in split(tables[name], "d")}
    confidence, records = simultaneous(len(cells)), []
    for (name, d), part in cells.items():
        engine, _, variant = name.partition(" ")
        runs, success, part = len(part["d"]), _rate(part, confidence), done(part)
        ends = {end.replace(" ", "_"): float(np.mean(part["end"] == end)) for end in sweeps.outcome.ENDS}
        phases = {f"phase_{phase}": float(np.mean(part[f"observed_{phase}"])) for phase in (1, 2, 3, 4)}
        times = {f"time_{phase}": median(np.where(part[f"observed_{phase}"], part[f"time_{phase}"], np.nan)).value
                 for phase in (1, 2, 3, 4)}
        records.append({"engine": engine, "variant": variant, "d": d, "runs": runs, "failed": runs - success.n,
                        "rate": success.value, "low": success.low, "high": success.high, **ends, **phases, **times,
                        "head_peak": _middle(part["head_peak"]), "asymmetry": _middle(part["asymmetry"]),
                        "effective_rank": _middle(part["effective_rank"])})
    return records, [*_claims_of_flows(cells, confidence), *_claims_of_sgd(cells, confidence)]


def _middle(values):
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def _claims_of_flows(cells, confidence):
    """What the removal of a part does, and what does not matter."""
    for d in dict.fromkeys(d for name, d in cells if name.startswith("flow")):
        ended = {name[5:]: part for (name, at), part in cells.items() if at == d and name.startswith("flow")}
        learned = {name: outcomes(part, part["end"] == sweeps.outcome.ALL) for name, part in ended.items()}
        base, without = learned["baseline"], 1 - simsim.theory.collapse_probability(config_of(d, head="frozen"))
        yield within(f"d = {d}: more learn both with the head than without",
                     paired_difference(base, learned["frozen head"], confidence), RATE_TOLERANCE, 1).on(
            ended["baseline"], ended["frozen head"])
        yield rate_is(f"d = {d}: frozen head, as eq. 15 says", _rate(ended["frozen head"], confidence), without).on(
            ended["frozen head"])
        yield within(f"d = {d}: no stop-gradient: none learns both", _rate(ended["no stop-gradient"], confidence), 0,
                     RATE_TOLERANCE).on(ended["no stop-gradient"])
        yield within(f"d = {d}: a symmetric head learns as often (source: it should not)",
                     paired_difference(learned["symmetric head"], base, confidence), -RATE_TOLERANCE, 1).on(
            ended["baseline"], ended["symmetric head"])
        yield within(f"d = {d}: Barlow Twins needs no head", paired_difference(learned["Barlow Twins, lambda 1"], base, confidence),
                     -RATE_TOLERANCE, 1).on(ended["baseline"], ended["Barlow Twins, lambda 1"])
        if "no batch norm" in ended:
            parts = [part for name, part in ended.items() if name.startswith("no batch norm")]
            collapsed = np.concatenate([done(part)["end"] == sweeps.outcome.COMPLETE for part in parts])
            yield within(f"d = {d}: no batch norm: all weights vanish", rate(collapsed, confidence), EXACT, 1).on(*parts)
            yield within(f"d = {d}: a free diagonal changes no outcome", _agreement(ended, confidence), NAMED, 1).on(
                ended["baseline"], ended["free diagonal"])


def _rate(part, confidence):
    """How often all features are learned."""
    return rate(done(part)["end"] == sweeps.outcome.ALL, confidence)


def _agreement(ended, confidence):
    """How often a start ends alike with the free diagonal and with the fixed one."""
    one, two = ended["baseline"], ended["free diagonal"]
    both = (one["status"] == "done") & (two["status"] == "done")
    return rate(one["end"][both] == two["end"][both], confidence)


def _claims_of_sgd(cells, confidence):
    """What SGD does from the documented start, over seeds of the samples."""
    parts = {name[4:]: part for (name, _), part in cells.items() if name.startswith("sgd")}
    if not parts:
        return
    learned = {name: _rate(part, confidence) for name, part in parts.items()}
    yield within("SGD, this start: both features with the head", learned["baseline"], 0.8, 1).on(parts["baseline"])
    for name in ("frozen head", "no stop-gradient", "no batch norm"):
        yield within(f"SGD, this start: {name}", learned[name], 0, 0.2).on(parts[name])
    asymmetry = done(parts["baseline"])["asymmetry"]
    yield within("SGD: the head at its peak is lopsided", median(asymmetry), LOPSIDED, 2).on(parts["baseline"])


def draw(figure, table):
    """How each variant ends, as stacked bars: flows at each d, and SGD."""
    plots, handles = simsim.plots, {}
    groups = list(dict.fromkeys(zip(table["engine"].tolist(), table["d"].tolist())))
    names = list(dict.fromkeys(table["variant"].tolist()))[::-1]
    figure.set_size_inches(4 + 2.6 * len(groups), 1.6 + 0.28 * len(names))
    for ax, (engine, d) in zip(np.atleast_1d(figure.subplots(1, len(groups), sharey=True)), groups):
        rows = np.flatnonzero((table["engine"] == engine) & (table["d"] == d))
        for row in rows:
            left = 0.0
            for end, (colour, hatch) in zip(sweeps.outcome.ENDS, LOOKS):
                width = table[end.replace(" ", "_")][row]
                bar = ax.barh(names.index(table["variant"][row]), width, left=left, color=colour, hatch=hatch, edgecolor="0.25",
                              lw=0.4)
                handles.setdefault(end, bar)
                left += width
        for name in set(names) - set(table["variant"][rows].tolist()):
            ax.text(0.5, names.index(name), NOT_RUN, ha="center", va="center", color="0.4", style="italic", fontsize=plots.small())
        ax.set(xlim=(0, 1), ylim=(-0.6, len(names) - 0.4), xlabel="part of the runs",
               title=f"flows, $d$ = {d:,}" if engine == "flow" else "SGD, the documented start")
        ax.set_yticks(range(len(names)), names)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=plots.small())


STUDY = Study("ablation", "which part keeps neurons apart: objective, stop-gradient, batch norm, head", "2 hours", grids,
              analyse, draw)
