"""Phase I, with either head: one neuron learns v_1 in the time of eq. 14 (docs/theory.md)."""

import numpy as np

from simsim import laws, premises, theory
from simsim.phases import LEARNED
from simsim.report import hypotheses, seen as measure
from simsim.report.hypotheses import TIME_FACTOR
from simsim.report.seen import Measured
from simsim.claims import OUTSIDE, Claim, Figure, Verdict, exact, outside


def phase_one(seen):
    """The `Claim` on T_1, of eq. 14.

    Of SGD the law speaks as far as steps and batches are near the flow until then, later by eq. 58 where that has a law.
    """
    run, config = seen.run, seen.config
    start = config, run.overlaps[0], run.noise_norms[0]
    text, rule = "I    a neuron learns v_1", f"within a factor {TIME_FACTOR:g}"
    asked = [*laws.of_first_phase(*start), *hypotheses.usual_start(run)]
    if not premises.hold(asked):
        return Claim(text, rule, Figure("no law"), _first, lambda end: outside(asked), seen.unit)
    predicted, equations, noise = laws.strong_time(*start), "eq. 14", hypotheses.noise(run)
    if noise is not None and np.isfinite(predicted):
        predicted, equations = noise.phase_one.time, "eqs. 14, 58"
    asked += [*hypotheses.of_sgd(run, until=seen.phases.rows[0]), *hypotheses.takes_steps(config, "T_1", predicted)]
    return Claim(text, rule, Figure(f"{seen.when(predicted)} ({equations})", seen.ticks(predicted)), _first,
                 lambda end: _judge(seen, end, predicted, asked), seen.unit, due=predicted)


def every_neuron(seen):
    """The `Claim` on when each neuron learns its feature under a frozen head, neuron by neuron, of eq. 14."""
    run, config = seen.run, seen.config
    text, rule = "I    each neuron learns its feature", f"each within a factor {TIME_FACTOR:g}"
    asked = [*premises.of_frozen_neurons(config), premises.features(config, 2), *hypotheses.usual_start(run)]
    if not premises.hold(asked):
        return Claim(text, rule, Figure("no law"), _each, lambda times: outside(asked), seen.unit)
    neurons = laws.frozen_neurons(config, run.overlaps[0], run.noise_norms[0])
    predicted = np.array([neuron.time_to_share(LEARNED) for neuron in neurons])
    asked += [*hypotheses.of_sgd(run), *hypotheses.takes_steps(config, "T_1", predicted.min())]
    told = Figure(", ".join(map(seen.when, predicted)) + " (eq. 14)", tuple(map(seen.ticks, predicted)))
    return Claim(text, rule, told, _each, lambda times: _judge_each(seen, times, predicted, asked), seen.unit,
                 due=float(predicted.max()))


def alone(run, neuron, feature, row):
    """The neuron as logged in `row`, with one feature only, under the frozen head: a `theory.FrozenNeuron`."""
    overlaps = np.zeros(2)
    overlaps[feature] = run.overlaps[row, neuron, feature]
    return theory.FrozenNeuron(run.config, overlaps, run.norms[row, neuron])


def _first(seen):
    """When the first neuron learns v_1, and which."""
    words, end, _ = measure.phase(seen, 0)
    if end is None:
        return Measured(words, None)
    name = f"neuron {seen.phases.strong_neuron + 1}"
    return Measured(f"{name} starts with it" if end.time == 0 else f"{words}, {name}", end, seen.ticks(end.time))


def _each(seen):
    """When each neuron first held a feature, by the log: (m,), nan of those that never did."""
    held = (seen.run.shares >= LEARNED).any(axis=2)
    times = np.where(held.any(axis=0), seen.run.time[held.argmax(axis=0)], np.nan)
    return Measured(", ".join("not yet" if np.isnan(time) else seen.when(time) for time in times), times,
                    tuple(map(seen.ticks, times)))


def _judge(seen, end, predicted, asked):
    """Within a factor of two of eq. 14; one that is not come although it was due within half of the run is too late."""
    latest = TIME_FACTOR * predicted
    if end is None:
        never = seen.run.ended and np.isinf(predicted)
        return exact(True if never else False if latest < seen.run.time[-1] else None, seen.is_limit, asked)
    if end.time == 0:
        return Verdict(OUTSIDE, "a start that has not learned v_1")
    return exact(predicted / TIME_FACTOR <= end.time <= latest, seen.is_limit, asked)


def _judge_each(seen, times, predicted, asked):
    """Every neuron within a factor of two of eq. 14; one that holds a feature from the start on says nothing of it."""
    latest, over = TIME_FACTOR * predicted, seen.run.time[-1]
    wrong = (times < predicted / TIME_FACTOR) & (times > 0) | (times > latest) | np.isnan(times) & (latest < over)
    if wrong.any():
        return exact(False, seen.is_limit, asked)
    return exact(None if np.isnan(times).any() else True, seen.is_limit, asked)
