"""The phase diagram: where in (d, kappa) the head makes two neurons learn both features.

White contours are eq. 25, which names the outcome of each start; where d is large they become the horizontal lines of
eq. 19: only a slower head makes success more likely there.
"""

import numpy as np

import simsim
from simsim import laws
from simsim.studies.regions import NAMED, RATE_TOLERANCE, within
from simsim.studies.plan import FLOW, Study, by_start, chosen, config_of, done, split, starts
from simsim.studies.statistics import mean, rate, shared_rate

LEVELS = (0.25, 0.5, 0.75, 0.9)
RANGES = (10.0**2, 10.0**8), (1e-3, 1e2)  # of d and kappa
QUICK_SPEEDS = 1e-3, 10.0
OUTLINED = {"color": "k", "lw": 3.5}, {"color": "w", "lw": 1.5}  # drawn over each other: seen on all colours of the map
FINE = 25  # points of a contour's grid along each axis


def grids(quick):
    """d and kappa, log-spaced; the same starts in every cell. The quick map is without the fastest heads: they take longest."""
    size, seeds = (4, range(8)) if quick else (20, range(12))
    ds, kappas = (np.geomspace(*ends, size) for ends in (RANGES[0], QUICK_SPEEDS if quick else RANGES[1]))
    return {"map": ({**FLOW, "d": [int(round(d)) for d in ds], "kappa": [float(f"{kappa:.6g}") for kappa in kappas]}, seeds)}


def analyse(tables, folder):
    """The rate of every cell beside eqs. 25 and 19, and which outcomes eq. 25 names."""
    records, named, gaps = [], [], []
    seeds = np.unique(tables["map"]["init_seed"])
    for (d, kappa), part in split(tables["map"], "d", "kappa"):
        runs, part, config = len(part["d"]), done(part), config_of(d, kappa)
        success, law = rate(part["success"]), laws.success_rate(config)
        right = laws.succeeds(config, *starts(config, part["init_seed"])) == part["success"] if success.n else []
        named.append(by_start(part["init_seed"], right, seeds))
        gaps.append(by_start(part["init_seed"], part["success"] - law, seeds))
        records.append({"d": d, "kappa": kappa, "runs": runs, "failed": runs - success.n, "rate": success.value,
                        "low": success.low, "high": success.high, "law_25": law, "law_19": laws.success_probability(config),
                        "named": float(np.mean(right)) if success.n else np.nan})
    gaps = np.array(gaps)[:, np.isfinite(gaps).any(axis=0)]  # of the starts of which some run is done
    slow = [right for right, record in zip(named, records) if record["kappa"] <= 1]
    return records, [
        within("outcomes that eq. 25 names, kappa <= 1", shared_rate(np.transpose(slow)), NAMED, 1).on(
            chosen(tables["map"], tables["map"]["kappa"] <= 1)),
        within("outcomes that eq. 25 names, the whole map", shared_rate(np.transpose(named)), NAMED, 1).on(tables["map"]),
        within("success rate - eq. 25, mean over the map", mean(np.nanmean(gaps, axis=0)), -RATE_TOLERANCE,
               RATE_TOLERANCE).on(tables["map"])]


def draw(figure, table):
    """The map, the contours of eq. 25, and the heights at which eq. 19 has the same levels."""
    ax = figure.subplots()
    ds, kappas = np.unique(table["d"]), np.unique(table["kappa"])
    rates = np.full((len(kappas), len(ds)), np.nan)
    rates[np.searchsorted(kappas, table["kappa"]), np.searchsorted(ds, table["d"])] = table["rate"]
    image = ax.pcolormesh(ds, kappas, rates, vmin=0, vmax=1, cmap=simsim.plots.AMOUNTS, shading="nearest")
    x, y = (np.geomspace(ends.min(), ends.max(), FINE) for ends in (ds, kappas))
    law = np.array([[laws.success_rate(config_of(d, kappa), 2000) for d in x] for kappa in y])
    ax.set(xscale="log", yscale="log", xlabel="$d$", ylabel=r"$\kappa$, the head's speed")
    handles = {"eq. 25, from the starts": (), r"eq. 19, $d \to \infty$": ()}
    bar = figure.colorbar(image, ax=ax, label=f"part of {table['runs'].max()} flows that learn both features")
    for look in OUTLINED:
        lines = ax.contour(x, y, law, LEVELS, colors=look["color"], linewidths=look["lw"])
        for level in LEVELS:
            kappa = 3 * np.tan(np.pi * (1 - level)) ** 2 if level > 0.5 else np.inf
            if kappas.min() <= kappa <= kappas.max():
                ax.axhline(kappa, **look, ls=":")
        bar.ax.hlines(LEVELS, 0, 1, color=look["color"], lw=look["lw"])
        for name, style in zip(handles, ("-", ":")):
            handles[name] += tuple(ax.plot([], [], **look, ls=style))
    for text in ax.clabel(lines, fmt="%.2g", fontsize="small", colors="k", inline=False):
        text.set_bbox({"fc": "w", "ec": "none", "pad": 1})
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2, frameon=False,
                  title="parts of .25, .5, .75 and .9 by")


STUDY = Study("diagram", "where in (d, kappa) the head succeeds", "10 minutes", grids, analyse, draw)
