"""What a run came to, as one flat record of plain values: the row of a sweep without its Config.

Shapes: m neurons, K features.
"""

import numpy as np

from simsim import flow, measures, population
from simsim.phases import LEARNED, find_phases, max_off_diagonal, owned, share_one_feature

DONE, FAILED = "done", "failed"
ALL, DIMENSIONAL, COMPLETE, PART, NOTHING, OPEN = ENDS = (
    "all features", "dimensional collapse", "complete collapse", "some features", "nothing", "not yet")
END_OF_FLOW = {flow.BOTH: ALL, flow.COLLAPSED: DIMENSIONAL, flow.COMPLETE: COMPLETE, flow.MIXED: PART, flow.PART: PART,
               flow.ALONE: PART, flow.NOTHING: NOTHING, flow.TIMED_OUT: OPEN, flow.GAVE_UP: OPEN}


def of_run(run):
    """The outcome of a Trajectory."""
    phases, head = find_phases(run), max_off_diagonal(run.head)
    times = [np.nan if end is None else end.time for end in phases.ends()]
    divided = bool(owned(run.shares[-1]).all())
    message = run.message or "; ".join(dict.fromkeys(phases.missing.values())) or "all four phases"
    success = run.status == flow.BOTH if run.clock == "time" else divided
    left = np.nan if phases.head_left is None else phases.head_left
    end = END_OF_FLOW[run.status] if run.clock == "time" else _end_of_sgd(run, divided)
    return {"status": DONE, "message": message, "success": bool(success), "end": end,
            **_times(times, run.time[-1]), **_head(head.max(), head[-1], left),
            **_neurons(run.overlaps[-1], run.gram[-1], run.shares[-1]),
            "effective_rank": float(run.effective_rank[-1]), "asymmetry": float(run.asymmetry[head.argmax()])}


def _end_of_sgd(run, divided):
    """One of `ENDS`, of a run of SGD; `divided` says whether each feature has a neuron of its own."""
    if divided:
        return ALL
    kind = {"complete": COMPLETE, "dimensional": DIMENSIONAL}.get(str(run.collapse[-1]))
    return kind or (PART if (run.shares[-1] >= LEARNED).any() else NOTHING)


def of_flow(config, result):
    """The outcomes of a FlowResult of S trajectories that differ in their initial seed alone: a list of S."""
    grams = population.gram_of(result.U)
    shares, heads = population.shares(config, result.a, grams), max_off_diagonal(result.E)
    ranks = measures.effective_rank(population.correlations(config, result.a, grams))
    rows = []
    for i, verdict in enumerate(result.verdict):
        if verdict < 0:
            rows.append(failed(f"{result.message(i)}; at t = {result.t[i]:.3g}"))
            continue
        peak = result.peak_head[i]
        left = result.phase_head[i, flow.WEAK_LEARNED] / peak if peak > 0 else np.nan
        rows.append({"status": DONE, "message": result.message(i), "success": bool(verdict == flow.BOTH),
                     "end": END_OF_FLOW[int(verdict)], **_times(result.phases[i], result.t[i]),
                     **_head(peak, heads[i], left), **_neurons(result.a[i], grams[i], shares[i]),
                     "effective_rank": float(ranks[i])})
    return rows


def failed(message):
    """The outcome of a run that failed."""
    return {"status": FAILED, "message": str(message)}


def require(row):
    """ValueError where `row`, plain values by name, is no outcome: for a name or a value, or for what it lacks."""
    for name, value in row.items():
        if name not in KINDS or not KINDS[name](value):
            raise ValueError(f"`{name}` is not that of an outcome")
    if missing := ({"status", "message"} if row.get("status") == FAILED else ALWAYS) - row.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -MOST <= value <= MOST


def _is_flag(value):
    return isinstance(value, bool)


def _is_text(value):
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)  # no file takes those


def _or_none(is_kind):
    return lambda value: value is None or is_kind(value)


def _all(is_kind, count=None):
    return lambda values: isinstance(values, list) and all(map(is_kind, values)) and count in (None, len(values))


MOST = float(np.finfo(float).max)
KINDS = {"status": (DONE, FAILED).__contains__, "message": _is_text, "success": _is_flag, "end": ENDS.__contains__,
         "times": _all(_is_number, 4), "observed": _all(_is_flag, 4), **dict.fromkeys(
             ("head_peak", "head_end", "head_left", "effective_rank", "asymmetry"), _or_none(_is_number)),
         "collapsed": _is_flag, "fates": _all(_is_number), "betas": _all(_is_number), "residuals": _all(_is_number),
         "wall_s": _is_number}  # of what an outcome may have, by name
ALWAYS = {"status", "message", "success", "times", "observed", "collapsed", "fates", "betas", "residuals"}  # of a done run


def _times(times, last):
    """When the phases ended; `times` (4,) are nan where one did not by the time `last`."""
    came = np.isfinite(times)
    return {"times": [float(time) for time in np.where(came, times, last)], "observed": came.tolist()}


def _head(peak, end, left):
    """|E| off its diagonal: the largest, the last, and at the end of phase III over the largest."""
    return {"head_peak": _number(peak), "head_end": _number(end), "head_left": _number(left)}


def _neurons(overlaps, gram, shares):
    """What the neurons came to.

    A neuron's fate is the feature, counted from 1, that explains at least half of its output; 0 where none does.
    Its beta is its overlap with the feature that explains most, and its residual the norm of the rest of it.
    """
    best = shares.argmax(axis=-1)
    beta = np.take_along_axis(overlaps, best[:, None], axis=1)[:, 0]
    others = (overlaps**2).sum(axis=1) - beta**2
    residual = np.sqrt(np.diagonal(gram) + np.maximum(others, 0))
    fates = [int(l) + 1 if share >= LEARNED else 0 for l, share in zip(best, shares.max(axis=-1))]
    return {"collapsed": share_one_feature(shares), "fates": fates, "betas": beta.tolist(), "residuals": residual.tolist()}


def _number(value):
    """A float, or None where there is none: JSON has no nan."""
    return float(value) if np.isfinite(value) else None
