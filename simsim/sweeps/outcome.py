"""What a run came to, as one flat record of plain values: the row of a sweep without its Config.

Shapes: m neurons, K features.
"""

import numpy as np

from simsim import flow, measures, population
from simsim.phases import LEARNED, collapse, find_phases, off_diagonal

DONE, FAILED = "done", "failed"
ALL, DIMENSIONAL, COMPLETE, PART, NOTHING, OPEN = ENDS = (
    "all features", "dimensional collapse", "complete collapse", "some features", "nothing", "not yet")
END_OF_FLOW = {flow.BOTH: ALL, flow.COLLAPSED: DIMENSIONAL, flow.COMPLETE: COMPLETE, flow.MIXED: PART, flow.PART: PART,
               flow.ALONE: PART, flow.NOTHING: NOTHING, flow.TIMED_OUT: OPEN, flow.GAVE_UP: OPEN}


def of_run(run):
    """The outcome of a Trajectory."""
    phases, head = find_phases(run), off_diagonal(run.head)
    times = [np.nan if end is None else end.time for end in phases.ends()]
    held = bool((run.shares[-1] >= LEARNED).any(axis=0).all())
    message = run.message or "; ".join(dict.fromkeys(phases.missing.values())) or "all four phases"
    success = run.status == flow.BOTH if run.clock == "time" else held
    left = np.nan if phases.head_left is None else phases.head_left
    end = END_OF_FLOW[run.status] if run.clock == "time" else _end_of_sgd(run, held)
    row = _row(success, message, end, run.time[-1], times, head.max(), head[-1], left,
               run.overlaps[-1], run.gram[-1], run.shares[-1], run.effective_rank[-1])
    return {**row, "asymmetry": float(run.asymmetry[head.argmax()])}


def _end_of_sgd(run, held):
    """One of `ENDS`, of a run of SGD; `held` says whether all features are."""
    if held:
        return ALL
    kind = {"complete": COMPLETE, "dimensional": DIMENSIONAL}.get(str(run.collapse[-1]))
    return kind or (PART if (run.shares[-1] >= LEARNED).any() else NOTHING)


def of_flow(config, result):
    """The outcomes of a FlowResult of S trajectories that differ in their initial seed alone: a list of S."""
    grams = population.gram_of(result.U)
    shares, heads = population.shares(config, result.a, grams), off_diagonal(result.E)
    ranks = measures.effective_rank(population.correlations(config, result.a, grams))
    rows = []
    for i, verdict in enumerate(result.verdict):
        if verdict < 0:
            rows.append(failed(f"{result.message(i)}; at t = {result.t[i]:.3g}"))
            continue
        peak = result.peak_head[i]
        left = result.phase_head[i, flow.WEAK_LEARNED] / peak if peak > 0 else np.nan
        rows.append(_row(verdict == flow.BOTH, result.message(i), END_OF_FLOW[int(verdict)], result.t[i], result.phases[i],
                         peak, heads[i], left, result.a[i], grams[i], shares[i], ranks[i]))
    return rows


def failed(message):
    """The outcome of a run that failed."""
    return {"status": FAILED, "message": str(message)}


def _row(success, message, end, last, times, peak, head, left, overlaps, gram, shares, rank):
    """The outcome as a dict, `end` one of `ENDS`; `times` (4,) are nan where a phase did not come by the time `last`.

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
            "times": [float(time) for time in np.where(came, times, last)], "observed": came.tolist(),
            "head_peak": _number(peak), "head_end": _number(head), "head_left": _number(left),
            "end": end, "effective_rank": float(rank), "betas": beta.tolist(), "residuals": residual.tolist()}


def _number(value):
    """A float, or None where there is none: JSON has no nan."""
    return float(value) if np.isfinite(value) else None
