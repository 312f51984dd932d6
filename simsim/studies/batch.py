"""The same samples in batches of other sizes: one law of eta / N, but for batch norm's own N (docs/theory.md, eq. 57)."""

import numpy as np

import simsim
from simsim.config import Config
from simsim.studies.one_neuron import ALONE, batch_of, cell, fields_of, law, rounded, start_of
from simsim.studies.plan import Study, aside, bars, done, plain_ticks, split
from simsim.studies.regions import RATIO_TOLERANCE, follows, not_rejected, within
from simsim.studies.statistics import joint_p_value, median, rate, simultaneous

START, REFERENCE = (200, 6, 3.5), 128  # d, init_seed and strength; the batch at which x is what it is called
EARLY, MIDDLE = 0.2, 0.6  # x: where nearly all learn, and times have no censoring; where some do


def grids(quick):
    """tau = eta / N is the same at all N, at each of two x; so are the samples."""
    found = {}
    for x in (EARLY, MIDDLE):
        whole = cell(start_of(*START, REFERENCE), x)
        for N in (32, 128, 512) if quick else (32, 128, 1024):
            steps = round(whole["steps"] * REFERENCE / N)
            found[f"{x:g} {N}"] = ({**whole, "batch_size": N, "lr": rounded(whole["lr"] * N / REFERENCE), "steps": steps,
                                    "log_every": max(1, steps // 1000)}, range(24 if quick else 150))
    return found


def analyse(tables, folder):
    """How often v_1 is learned beside eq. 60, and how many samples it takes beside the largest batch."""
    confidence, records, times, asked = simultaneous(len(tables)), [], {}, {}
    for name, table in tables.items():
        x, N = name.split()
        (one, walk, chance), part = law(table), done(table)
        found, came = rate(part["observed_1"], confidence), (table["status"] == "done") & table["observed_1"]
        times[x, int(N)], asked[x, int(N)] = np.where(came, table["time_1"], np.nan), one.time
        middle = median(times[x, int(N)] / one.time)
        records.append({"x": float(x), "batch_size": int(N), "own_x": one.x, "blur": walk, "runs": found.n, "learned": found.value,
                        "low": found.low, "high": found.high, "law_60": chance, "over_58": middle.value,
                        "over_58_low": middle.low, "over_58_high": middle.high,
                        "law_58": one.time, "law_alone": _alone(table, one)})
    counts = [round(r["learned"] * r["runs"]) if r["runs"] else 0 for r in records], [r["runs"] for r in records]
    sizes, early = sorted({N for _, N in times}), f"{EARLY:g}"
    least, most = (early, sizes[0]), (early, sizes[-1])
    chances = [record["law_60"] for record in records]
    ratio, law_ratio = times[least] / times[most], asked[least] / asked[most]
    both = [tables[f"{early} {N}"] for N in (sizes[0], sizes[-1])]
    return records, [
        not_rejected("learned as eq. 60 says with (57), all N", joint_p_value(*counts, chances), sum(counts[1])),
        follows(f"x = {EARLY:g}: samples at N = {sizes[0]} over those at {sizes[-1]}, over (57)",
                median(ratio / law_ratio)).on(*both),
        within("control: the same over a law that knows eta / N alone", median(ratio), 0, 1 - RATIO_TOLERANCE).on(*both)]


def _alone(table, one):
    """The time of eq. 58 by a law that knows eta / N alone: without batch norm's own N, eq. 57."""
    config = Config(**ALONE, **fields_of(table))
    batch = batch_of(config.batch_size)
    x = one.x * batch.drift * simsim.noise_laws.growth(config) / simsim.noise_laws.growth(config, batch)
    return float(one.flow_time * simsim.noise_laws.slowed(x))


def draw(figure, table):
    """Learned, and the time of those that learn over what eta / N alone says, against the batch size; eqs. 60 and 58 as lines."""
    left, right = figure.subplots(1, 2)
    parts = list(split(table, "x"))
    for i, ((x,), part) in enumerate(parts):
        look, N = simsim.plots.series(i), aside(part["batch_size"], i, len(parts), 0.03)
        left.errorbar(N, part["learned"], bars(part["learned"], part["low"], part["high"]), ls="", ms=4, capsize=2, **look,
                      label=f"$x$ = {x:g}")
        left.plot(part["batch_size"], part["law_60"], color=look["color"], lw=1)
        if x == EARLY:
            law = part["law_58"] / part["law_alone"]
            over, *ends = (part[name] * law for name in ("over_58", "over_58_low", "over_58_high"))
            right.errorbar(N, over, bars(over, *ends), ls="", ms=4, capsize=2, **look, label=f"$x$ = {x:g}")
            right.plot(part["batch_size"], law, color=look["color"], lw=1)
    left.set(ylabel="$v_1$ learned (lines: eq. 60)", ylim=(-0.02, 1.05))
    right.set(ylabel=r"$T$ over that of $N \to \infty$ (line: eq. 58)", ylim=(0, None))
    for ax in (left, right):
        ax.set(xscale="log", xlabel="$N$, at the same $\\eta / N$")
        plain_ticks(ax, np.unique(table["batch_size"]))
        ax.legend(frameon=False, fontsize="small", loc="lower left")


STUDY = Study("batch", "whether the same samples in other batches are the same run", "two minutes", grids, analyse, draw)
