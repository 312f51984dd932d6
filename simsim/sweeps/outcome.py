"""What a run came to, as one flat record of plain values: the row of a sweep without its Config.

Shapes: m neurons, K features.
"""

import numpy as np

from simsim import flow, population
from simsim.phases import LEARNED, collapse, find_phases, off_diagonal

DONE, FAILED = "done", "failed"


def of_run(run):
    """The outcome of a Trajectory."""
    phases, head = find_phases(run), off_diagonal(run.head)
    times = [np.nan if end is None else end.time for end in phases.ends()]
    held = bool((run.shares[-1] >= LEARNED).any(axis=0).all())
    message = run.message or "; ".join(dict.fromkeys(phases.missing.values())) or "all four phases"
    success = run.status == flow.BOTH if run.clock == "time" else held
    left = np.nan if phases.head_left is None else phases.head_left
    return _row(success, message, run.time[-1], times, head.max(), head[-1], left,
                run.overlaps[-1], run.gram[-1], run.shares[-1])


def of_flow(config, result):
    """The outcomes of a FlowResult of S trajectories that differ in their initial seed alone: a list of S."""
    grams = population.gram_of(result.U)
    shares, heads = population.shares(config, result.a, grams), off_diagonal(result.E)
    rows = []
    for i, verdict in enumerate(result.verdict):
        if verdict < 0:
            rows.append(failed(f"{result.message(i)}; at t = {result.t[i]:.3g}"))
            continue
        peak = result.peak_head[i]
        left = result.phase_head[i, flow.WEAK_LEARNED] / peak if peak > 0 else np.nan
        rows.append(_row(verdict == flow.BOTH, result.message(i), result.t[i], result.phases[i], peak, heads[i], left,
                         result.a[i], grams[i], shares[i]))
    return rows


def failed(message):
    """The outcome of a run that failed."""
    return {"status": FAILED, "message": str(message)}


def _row(success, message, end, times, peak, head, left, overlaps, gram, shares):
    """The outcome as a dict; `times` (4,) are nan where a phase did not come by the time `end`.

    A neuron's fate is the feature, counted from 1, that explains at least half of its output; 0 where none does.
    Its beta is its overlap with the feature that explains most, and its residual the norm of the rest of it.
    """
    best = shares.argmax(axis=-1)
    beta = np.take_along_axis(overlaps, best[:, None], axis=1)[:, 0]
    others = (overlaps**2).sum(axis=1) - beta**2
    residual = np.sqrt(np.diagonal(gram) + np.maximum(others, 0))
    came = np.isfinite(times)
    return {"status": DONE, "message": message, "success": bool(success), "collapsed": collapse(shares),
            "fates": [int(l) + 1 if share >= LEARNED else 0 for l, share in zip(best, shares.max(axis=-1))],
            "times": [float(time) for time in np.where(came, times, end)], "observed": came.tolist(),
            "head_peak": _number(peak), "head_end": _number(head), "head_left": _number(left),
            "betas": beta.tolist(), "residuals": residual.tolist()}


def _number(value):
    """A float, or None where there is none: JSON has no nan."""
    return float(value) if np.isfinite(value) else None
