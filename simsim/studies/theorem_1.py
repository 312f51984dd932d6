"""Theorem 1: how often the trained head makes two neurons learn both features, against d and kappa.

Beside it stand eq. 19, what remains for d -> infinity, and eq. 25, which names the outcome of each start.
"""

import numpy as np

import simsim
from simsim import laws
from simsim.studies.regions import NAMED, RATE_TOLERANCE, within
from simsim.studies.plan import FLOW, Study, band, by_start, config_of, done, split, starts
from simsim.studies.statistics import Estimate, rate, shared_rate, simultaneous, worst_deviation

ACROSS = 4  # Axes beside each other
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
        within(f"kappa = {kappas[0]:g}, a slow head: success at d = {largest:.0e}", at[kappas[0]], HIGH, 1).on(
            cells[largest, kappas[0]]),
        within(f"kappa = 1: success at d = {largest:.0e} stays below 1", at[1.0], 0, HIGH).on(cells[largest, 1.0]),
        within(f"largest |success - eq. 19| at d = {largest:.0e}, all kappa",
               worst_deviation(list(at.values()), [last[kappa]["law_19"] for kappa in kappas]), 0, RATE_TOLERANCE).on(
            *(cells[largest, kappa] for kappa in kappas)),
        within("outcomes that eq. 25 names, all d and kappa", shared_rate(np.transpose(named)), NAMED, 1).on(*tables.values()),
        within("outcomes that eq. 25 names, kappa <= 1 (as Theorem 1 asks)", shared_rate(np.transpose(slow)), NAMED, 1).on(
            *(part for (_, kappa), part in cells.items() if kappa <= 1))]


def draw(figure, table):
    """Success against d, Axes for each kappa: flows with their intervals, eq. 25 dashed, eq. 19 dotted."""
    plots, parts = simsim.plots, list(split(table, "kappa"))
    columns = min(ACROSS, len(parts))
    rows = -(-len(parts) // columns)
    figure.set_size_inches(2.0 * columns + 0.6, 2.1 * rows + 0.7)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(parts):]:
        ax.set_axis_off()
    for ax, ((kappa,), part) in zip(axes.flat, parts):
        runs = [Estimate(*values) for values in zip(part["rate"], part["low"], part["high"], part["runs"])]
        band(ax, part["d"], runs, color=plots.SERIES[0], label="flows", ls="")
        ax.plot(part["d"], part["law_25"], "--", color="k", lw=1, label="eq. 25")
        ax.axhline(part["law_19"][0], color=plots.SERIES[4], ls=":", lw=1.5, label=r"eq. 19, $d \to \infty$")
        ax.set(xscale="log", ylim=(-0.02, 1.05))
        ax.set_title(rf"$\kappa = {kappa:g}$", fontsize=plots.small())
        ax.tick_params(labelbottom=True)
    figure.supxlabel("$d$")
    figure.supylabel("both features learned")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)


STUDY = Study("theorem-1", "how often a trained head makes two neurons learn both features", "an hour",
              grids, analyse, draw)
