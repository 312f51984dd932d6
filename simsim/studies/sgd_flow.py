"""SGD against the flow: how far SGD is from its limit, against batch size and step size.

From one start, with a frozen number of time units, so that steps grow as the step size falls. Deviations are those of
both neurons' overlaps and of the head at the end, root mean square over the seeds of the samples.
"""

import numpy as np

from simsim.studies.claims import Claim, exponent_is
from simsim.studies.plan import Study, done, plain_ticks, split
from simsim.studies.statistics import Estimate, exponent

START = {"init_seed": 7424612, "d": 50}  # the documented one, in which phase I ends at step 43 of the default step size
LR, STEPS = 0.19 / 400, 200  # the default at ratio 20, and how long: into phase II
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
    power = lambda some, axis: exponent(*(np.array([record[name] for record in some], dtype=float) for name in (axis, "deviation")))
    noise = lambda some, axis: exponent(*(np.array([record[name] for record in some], dtype=float) for name in (axis, "spread")))
    return records, [
        exponent_is("spread over samples ~ batch size^(-1/2)", noise(by_batch, "batch_size"), NOISE),
        exponent_is("spread over samples ~ step size^(1/2)", noise(by_step, "lr"), -NOISE),
        Claim("deviation from the flow ~ step size^p: noise has p = 1/2, Euler's error 1", power(by_step, "lr"), -NOISE, EULER),
        Claim("deviation at the smallest step and largest batch", _point(by_step[0]), 0, 0.1)]


def _end(table):
    """(T, 5) overlaps, residuals and head at the end of each run."""
    names = ("beta_1", "beta_2", "residual_1", "residual_2", "head_end")
    return np.stack([table[name] for name in names], axis=1)


def _record(lr, batch, away):
    """One cell from (S, 5) differences to the flow: how far, how far on average, and how far apart."""
    return {"lr": lr, "batch_size": batch, "runs": len(away), "deviation": float(np.sqrt((away**2).sum(axis=1).mean())),
            "bias": float(np.linalg.norm(away.mean(axis=0))), "spread": float(np.sqrt(away.var(axis=0, ddof=1).sum()))}


def _point(record):
    error = record["spread"] / np.sqrt(record["runs"])
    return Estimate(record["deviation"], max(record["deviation"] - 2 * error, 0), record["deviation"] + 2 * error, record["runs"])


def draw(figure, table):
    """Deviation against batch size at one step size, and against step size at the largest batch."""
    left, right = figure.subplots(1, 2, sharey=True)
    chosen = {"batch_size": table["lr"] == LR, "lr": table["batch_size"] == table["batch_size"].max()}
    for ax, (axis, rows), power in ((left, [*chosen.items()][0], NOISE), (right, [*chosen.items()][1], -NOISE)):
        order = np.argsort(table[axis][rows])
        x = table[axis][rows][order] / (1 if axis == "batch_size" else LR)
        for name, style in (("deviation", "o-"), ("spread", "s:"), ("bias", "^:")):
            ax.plot(x, table[name][rows][order], style, ms=3, lw=1, label=name)
        ax.plot(x, table["spread"][rows][order][-1] * (x / x[-1]) ** power, "k--", lw=0.8, label=f"power {power:g}")
        ax.set(xscale="log", yscale="log", xlabel="batch size" if axis == "batch_size" else "step size, of the default")
        plain_ticks(ax, x)
        ax.legend(frameon=False, fontsize="small")
    left.set_ylabel("distance from the flow")


STUDY = Study("sgd-flow", "how far SGD is from the flow", "10 minutes", grids, analyse, draw)
