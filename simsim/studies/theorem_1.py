"""Theorem 1: how often the trained head makes two neurons learn both features, against d and kappa.

Beside it stand eq. 19, what remains for d -> infinity, and eq. 25, which names the outcome of each start.
"""

import numpy as np

from simsim import laws
from simsim.studies.claims import NAMED, RATE_TOLERANCE, Claim
from simsim.studies.plan import FLOW, Study, band, by_start, config_of, done, split, starts
from simsim.studies.statistics import Estimate, rate, shared_rate, simultaneous, worst_deviation

HIGH = 0.95  # "with high probability"


def grids(quick):
    """d and kappa, both over their ranges; of fast heads, whose flows take much longer, from fewer starts."""
    if quick:
        return {"success": ({**FLOW, "d": [100, 10**4, 10**8], "kappa": [0.1, 1.0]}, range(40))}
    fields = {**FLOW, "d": [10**2, 10**3, 10**4, 10**5, 10**6, 10**8]}
    return {"success": ({**fields, "kappa": [1e-3, 1e-2, 0.1, 1.0, 10.0]}, range(200)),
            "fast": ({**fields, "kappa": [100.0, 1000.0]}, range(40))}


def analyse(tables, folder):
    """The success rate of every cell; eqs. 19 and 25."""
    cells = {key: part for table in tables.values() for key, part in split(table, "d", "kappa")}
    confidence, records, named = simultaneous(len({kappa for _, kappa in cells})), [], []
    seeds = np.unique(tables["success"]["init_seed"])
    for (d, kappa), everything in cells.items():
        part, runs = done(everything), len(everything["d"])
        config, success = config_of(d, kappa), rate(part["success"], confidence)
        right = laws.succeeds(config, *starts(config, part["init_seed"])) == part["success"] if success.n else []
        named.append(by_start(part["init_seed"], right, seeds))
        records.append({"d": d, "kappa": kappa, "runs": runs, "failed": runs - success.n, "rate": success.value,
                        "low": success.low, "high": success.high, "law_19": laws.success_probability(config),
                        "law_25": laws.success_rate(config), "named_by_25": float(np.mean(right)) if success.n else np.nan})
    largest = max(record["d"] for record in records)
    last = {record["kappa"]: record for record in records if record["d"] == largest}
    kappas = sorted(last)
    at = {kappa: Estimate(*(last[kappa][name] for name in ("rate", "low", "high")),
                          last[kappa]["runs"] - last[kappa]["failed"]) for kappa in kappas}
    slow = [right for right, record in zip(named, records) if record["kappa"] <= 1]
    return records, [
        Claim(f"kappa = {kappas[0]:g}, a slow head: success at d = {largest:.0e}", at[kappas[0]], HIGH, 1).on(
            cells[largest, kappas[0]]),
        Claim(f"kappa = 1: success at d = {largest:.0e} stays below 1", at[1.0], 0, HIGH).on(cells[largest, 1.0]),
        Claim(f"largest |success - eq. 19| at d = {largest:.0e}, all kappa",
              worst_deviation(list(at.values()), [last[kappa]["law_19"] for kappa in kappas]), 0, RATE_TOLERANCE).on(
            *(cells[largest, kappa] for kappa in kappas)),
        Claim("outcomes that eq. 25 names, all d and kappa", shared_rate(np.transpose(named)), NAMED, 1).on(*tables.values()),
        Claim("outcomes that eq. 25 names, kappa <= 1 (as Theorem 1 asks)", shared_rate(np.transpose(slow)), NAMED, 1).on(
            *(part for (_, kappa), part in cells.items() if kappa <= 1))]


def draw(figure, table):
    """Success against d, a line for each kappa, with eq. 25 dashed and eq. 19 at the right edge."""
    ax = figure.subplots()
    for i, ((kappa,), part) in enumerate(split(table, "kappa")):
        runs = [Estimate(*values) for values in zip(part["rate"], part["low"], part["high"], part["runs"])]
        band(ax, part["d"], runs, color=f"C{i}", label=rf"$\kappa = {kappa:g}$")
        ax.plot(part["d"], part["law_25"], "--", color=f"C{i}", lw=0.8)
        ax.plot(part["d"].max() * 2, part["law_19"][0], "<", color=f"C{i}", ms=5)
    ax.set(xscale="log", xlabel="$d$", ylabel="both features learned", ylim=(-0.02, 1.02))
    ax.legend(frameon=False, title="dashed: eq. 25\ntriangles: eq. 19", fontsize="small")


STUDY = Study("theorem-1", "how often a trained head makes two neurons learn both features", "an hour",
              grids, analyse, draw)
