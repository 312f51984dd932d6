"""SGD against the flow: how far SGD is from its limit, against batch size and step size.

From one start, over one span of time, so that steps grow as the step size falls. The distance of a run from the flow
is that of both neurons' overlaps, residuals and the head at the end. Over the seeds of the samples medians are taken:
with small batches some runs go another way altogether, and a mean square would be theirs.
"""

import numpy as np

import simsim
from simsim.studies.regions import exponent_is, within
from simsim.studies.plan import Study, done, plain_ticks, split
from simsim.studies.statistics import Estimate, exponent, median

START = {"init_seed": 7424612, "d": 50}  # the documented one, in which phase I ends at step 43 of the default step size
LR, STEPS = 0.19 / 400, 200  # the default at ratio 20, and how long: into phase II
FAR = ("deviation", "low", "high", "runs")
SMALL = 0.1  # a deviation, of overlaps of order 1
NOISE, EULER = -0.5, 1.0  # powers: of the batch size in sampling noise, of the step size in the error of Euler's method


def grids(quick):
    """The flow; SGD at the default step with some batches; with the largest batch and smaller steps."""
    batches = [96, 384, 1536] if quick else [48, 96, 192, 384, 768, 1536, 3072]
    halvings = [0, 1, 2] if quick else [-1, 0, 1, 2, 3]
    seeds = range(16 if quick else 32)
    sgd = {"engine": "gram", **START}
    found = {"flow": ({"engine": "flow", **START, "lr": LR, "head_lr": LR, "t_max": LR * STEPS}, None)}
    for halving in halvings:
        step = {"lr": LR / 2**halving, "kappa": 1.0, "steps": round(STEPS * 2**halving)}
        found[f"step-{halving}"] = ({**sgd, **step, "batch_size": batches if halving == 0 else batches[-1:]}, seeds)
    return found


def analyse(tables, folder):
    """Deviations and their powers."""
    flow = _end(tables["flow"])[0]
    records = []
    for name in tables:
        if name != "flow":
            records += [_record(lr, batch, _end(done(part)) - flow)
                        for (lr, batch), part in split(tables[name], "lr", "batch_size")]
    largest = max(record["batch_size"] for record in records)
    by_batch = [record for record in records if record["lr"] == LR]
    by_step = sorted((record for record in records if record["batch_size"] == largest), key=lambda record: record["lr"])
    power = lambda some, *names: exponent(*(np.array([record[name] for record in some], dtype=float) for name in names))
    return records, [
        exponent_is("spread over samples ~ batch size^(-1/2)", power(by_batch, "batch_size", "spread"), NOISE),
        exponent_is("spread over samples ~ step size^(1/2)", power(by_step, "lr", "spread"), -NOISE),
        within("deviation from the flow ~ step size^p: noise has p = 1/2, Euler's error 1", power(by_step, "lr", "deviation"),
               -NOISE, EULER),
        within("deviation at the smallest step and largest batch", Estimate(*(by_step[0][name] for name in FAR)), 0, SMALL)]


def _end(table):
    """(T, 5) overlaps, residuals and head at the end of each run."""
    names = ("beta_1", "beta_2", "residual_1", "residual_2", "head_end")
    return np.stack([table[name] for name in names], axis=1)


def _record(lr, batch, away):
    """One cell from (S, 5) differences to the flow: how far runs are, how far their middle is, how far from that they are."""
    middle = np.median(away, axis=0)
    far = median(np.linalg.norm(away, axis=1))
    return {"lr": lr, "batch_size": batch, "runs": len(away), "deviation": far.value, "low": far.low, "high": far.high,
            "bias": float(np.linalg.norm(middle)), "spread": float(np.median(np.linalg.norm(away - middle, axis=1)))}


def draw(figure, table):
    """Deviation against batch size at one step size, and against step size at the largest batch."""
    left, right = figure.subplots(1, 2, sharey=True)
    chosen = {"batch_size": table["lr"] == LR, "lr": table["batch_size"] == table["batch_size"].max()}
    for ax, (axis, rows), power in ((left, [*chosen.items()][0], NOISE), (right, [*chosen.items()][1], -NOISE)):
        order = np.argsort(table[axis][rows])
        x = table[axis][rows][order] / (1 if axis == "batch_size" else LR)
        for i, (name, style) in enumerate((("deviation", "-"), ("spread", ":"), ("bias", ":"))):
            ax.plot(x, table[name][rows][order], ls=style, ms=4, lw=1, **simsim.plots.series(i), label=name)
        ax.plot(x, table["spread"][rows][order][-1] * (x / x[-1]) ** power, "k--", lw=0.8, label=f"power {power:g}")
        ax.set(xscale="log", yscale="log", xlabel="batch size" if axis == "batch_size" else "step size, of the default")
        plain_ticks(ax, x)
        ax.legend(frameon=False, fontsize="small")
    left.set_ylabel("distance from the flow")


STUDY = Study("sgd-flow", "how far SGD is from the flow", "a minute", grids, analyse, draw)
