"""Phase I in SGD: how many samples it takes at the best step, which by docs/theory.md, eq. 59, grow as d^5 whatever the batch."""

import numpy as np

import simsim
from simsim.noise_laws import BEST_X
from simsim.studies.claims import exponent_is, follows
from simsim.studies.one_neuron import cell, law, start_of
from simsim.studies.plan import Study, bars, done
from simsim.studies.statistics import median, median_time, paired_exponent

INIT_SEED, STRENGTH = 10, 3.0
QUICK = {100: 32, 130: 32, 170: 32}  # d -> N
FULL = {100: 32, 178: 32, 316: 128, 562: 512, 1000: 1024}


def grids(quick):
    """A sweep for each d, from the same normals, at the step that takes the fewest samples."""
    sizes = QUICK if quick else FULL
    return {str(d): (cell(start_of(d, INIT_SEED, STRENGTH, N), BEST_X), range(16)) for d, N in sizes.items()}


def analyse(tables, folder):
    """Samples until v_1 is learned: their power of d, and their median over eq. 59."""
    records, samples = [], []
    for table in tables.values():
        one, part = law(table)[0], done(table)
        per_time = table["batch_size"][0] / table["lr"][0]
        middle = median_time(part["time_1"] * per_time, part["observed_1"])
        records.append({"d": int(table["d"][0]), "batch_size": int(table["batch_size"][0]), "runs": middle.n,
                        "learned": int(part["observed_1"].sum()), "samples": middle.value, "low": middle.low, "high": middle.high,
                        "law_59": one.samples})
        came = (table["status"] == "done") & table["observed_1"]
        samples.append(np.where(came, table["time_1"], np.nan) * per_time)
    ds = np.array([record["d"] for record in records], dtype=float)
    last = list(tables.values())[-1]
    return records, [
        exponent_is("samples to learn v_1 ~ d^5, over sampling seeds that learn it at every d", paired_exponent(ds, np.transpose(samples)), 5),
        follows(f"samples over eq. 59 at d = {records[-1]['d']}, those that learn", median(samples[-1] / records[-1]["law_59"])).on(last)]


def draw(figure, table):
    """Samples against d, and the law."""
    ax = figure.subplots()
    ax.errorbar(table["d"], table["samples"], bars(table["samples"], table["low"], table["high"]), ls="", ms=4, capsize=2,
                **simsim.plots.series(0), label="median, Kaplan-Meier interval")
    ax.plot(table["d"], table["law_59"], "k--", lw=0.8, label="eq. 59")
    ax.set(xscale="log", yscale="log", xlabel="$d$", ylabel="samples until $v_1$ is learned")
    ax.legend(frameon=False)


STUDY = Study("sgd-samples", "how many samples SGD needs to learn a feature as d grows", "3 hours", grids, analyse, draw)
