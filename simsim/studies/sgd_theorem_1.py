"""Theorem 1 in SGD: both features from random starts, over tau = eta / N, beside the flow by the same time t."""

import numpy as np

import simsim
from simsim.config import LR_SCALE, Config
from simsim.studies.plan import FLOW, Study, aside, bars, done, outcomes, split
from simsim.studies.regions import NAMED, RATE_TOLERANCE, within
from simsim.studies.statistics import paired_difference, rate, shared_rate, simultaneous

BASE = {"feature_patches": 4, "kappa": 1.0}
# (ratio, d, alpha_2, horizon t, batches, initial seeds). Flows from random starts learn v_2 at times of all orders of magnitude,
# and SGD costs T_3 / lr steps: by the horizon a fifth or so of all starts have learned both in the flow. Of the first case there
# are as many as an interval of .1 in all asks for; of the others as many as show a trend.
QUICK = ((2.0, 100, 2.0, 100.0, (64, 256, 1024), range(16)),)
FULL = ((2.0, 100, 2.0, 100.0, (64, 256, 4096), range(100, 500)),
        (3.0, 100, 2.0, 100.0, (64, 256), range(100, 220)),
        (2.0, 1000, 5.0, 100.0, (64, 256), range(100, 220)))


def grids(quick):
    """For each of the cases a sweep of flows and one of SGD at the default step, from the same starts."""
    found = {}
    for ratio, d, weak, horizon, batches, starts in QUICK if quick else FULL:
        fields = {**BASE, "d": d, "alpha_ratio": ratio, "alpha_weak": weak}
        lr = LR_SCALE / (ratio * weak) ** 2
        found[f"flow {ratio:g}-{d}"] = ({**FLOW, **fields, "t_max": horizon}, starts)
        found[f"sgd {ratio:g}-{d}"] = ({"engine": "gram", **fields, "lr": lr, "steps": round(horizon / lr),
                                        "batch_size": list(batches)}, starts)
    return found


def analyse(tables, folder):
    """Rates, the flow's, and what eqs. 56 to 87 say of the starts that the flow learns both features from."""
    cases = [name[4:] for name in tables if name.startswith("sgd")]
    parts = {(case, N): part for case in cases for (N,), part in split(tables[f"sgd {case}"], "batch_size")}
    confidence, records, claims = simultaneous(len(parts)), [], []
    for case in cases:
        flow, sizes, named = tables[f"flow {case}"], sorted(N for name, N in parts if name == case), []
        both = _both(flow)
        for N in sizes:
            part = parts[case, N]
            found, asked = rate(_both(done(part)), confidence), _predicted(part) if N == sizes[-1] or N == sizes[0] else None
            records.append({"alpha_ratio": part["alpha_ratio"][0], "d": int(part["d"][0]), "batch_size": N,
                            "tau": part["lr"][0] / N, "runs": found.n, "both": found.value, "low": found.low, "high": found.high,
                            "flow": float(np.mean(_both(done(flow))))})
            if asked is not None:
                usable = (part["status"] == "done") & np.isfinite(asked) & both & (flow["status"] == "done")
                named.append(np.where(usable, asked == _both(part), np.nan))
        small, large = parts[case, sizes[-1]], parts[case, sizes[0]]
        tau = small["lr"][0] / sizes[-1]
        text = f"ratio {small['alpha_ratio'][0]:g}, d = {small['d'][0]}"
        claims += [
            within(f"{text}: at tau = {tau:.1e} as often as the flow",
                   paired_difference(outcomes(small, _both(small)), outcomes(flow, _both(flow)), confidence),
                   -RATE_TOLERANCE, RATE_TOLERANCE).on(small, flow),
            within(f"{text}: more often at tau = {tau:.1e} than at {tau * sizes[-1] / sizes[0]:.1e}",
                   paired_difference(outcomes(small, _both(small)), outcomes(large, _both(large)), confidence), 0, 1).on(small, large),
            within(f"{text}: outcomes named by eqs. 58 and 87, of starts that the flow learns both from",
                   _named(named), NAMED, 1).on(small, large, flow)]
    return records, claims


def _named(outcomes):
    """The rate behind outcomes, (T,) for each batch: a start in two batches counts once."""
    by_start = np.transpose(outcomes)
    some = by_start[np.isfinite(by_start).any(axis=1)]
    return shared_rate(some) if len(some) else rate([])


def _both(part):
    """(T,) whether v_2 was learned beside v_1 by the end: phase III is over."""
    return part["observed_1"] & part["observed_3"]


def _predicted(part):
    """(T,) 1 or 0, whether SGD learns both within its steps by eqs. 58 and 87; nan where they are not about the start."""
    names = ("d", "alpha_ratio", "alpha_weak", "feature_patches", "lr", "head_lr", "batch_size", "steps", "init_seed")
    found = []
    for row in range(len(part["d"])):
        config = Config(engine="gram", **{name: part[name][row].item() for name in names})
        three = simsim.laws.noise(config).phase_three
        found.append(np.nan if three is None else float(three.steps <= config.steps))
    return np.array(found)


def draw(figure, table):
    """Both features learned against tau, a series for each ratio and d; the flow by the same time as a level line."""
    ax, parts = figure.subplots(), list(split(table, "alpha_ratio", "d"))
    for i, ((ratio, d), part) in enumerate(parts):
        look = simsim.plots.series(i)
        ax.errorbar(aside(part["tau"], i, len(parts), 0.02), part["both"], bars(part["both"], part["low"], part["high"]),
                    ms=4, lw=1, capsize=2, **look, label=f"ratio {ratio:g}, $d$ = {d:,}")
        ax.plot(aside(part["tau"], i, len(parts), 0.02), part["flow"], color=look["color"], ls="--", lw=0.8)
    ax.set(xscale="log", xlabel=r"$\eta / N$", ylabel="both features learned", ylim=(-0.02, 1.4 * table["high"].max()))
    ax.legend(frameon=False, title="dashed: the flow by that time", fontsize="small")


STUDY = Study("sgd-theorem-1", "from which step and batch on SGD learns what the flow learns", "an hour and a half", grids, analyse, draw)
