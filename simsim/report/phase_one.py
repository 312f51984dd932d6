"""Phase I, with either head: one neuron learns v_1 in the time of eq. 14 (docs/theory.md)."""

import numpy as np

from simsim import heads, laws, premises, theory
from simsim.phases import LEARNED, STRONG
from simsim.report import hypotheses, seen as measure
from simsim.report.hypotheses import TIME_FACTOR
from simsim.report.seen import Measured
from simsim.report.verdicts import OUTSIDE, Verdict, exact, outside


def phase_one(seen):
    """The claim (text, predicted, measure, judge) on T_1.

    Eq. 14 is about the paper's objective and two features, and about a head at I, as a trained one is until a neuron
    has learned something: where that is v_2, the head may bring it to the others before they learn v_1. Of SGD it
    speaks as far as steps and batches are near the flow until then, later by eq. 58 where that has a law.
    """
    run, config = seen.run, seen.config
    text = "I    a neuron learns v_1"
    asked = [*premises.of_frozen_neurons(config), premises.features(config, 2), *hypotheses.head_s_start(run)]
    if premises.hold(asked) and heads.changes(config) and config.m > 1:
        asked.append(laws.strong_first(config, run.overlaps[0], run.noise_norms[0]))
    if not premises.hold(asked):
        return text, "no law", _first, lambda end: outside(asked)
    neurons = [theory.FrozenNeuron(config, *start) for start in zip(run.overlaps[0], run.norms[0])]
    predicted = min((neuron.time_to_share(LEARNED) for neuron in neurons if neuron.feature == STRONG), default=np.inf)
    noise, equations = hypotheses.noise(run), "eq. 14"
    if noise is not None and np.isfinite(predicted):
        predicted, equations = noise.phase_one.time, "eqs. 14, 58"
    asked += [*hypotheses.of_sgd(run, until=seen.phases.rows[0]), *hypotheses.takes_steps(config, "T_1", predicted)]
    return text, f"{seen.when(predicted)} ({equations})", _first, lambda end: _judge(seen, end, predicted, asked)


def alone(run, neuron, feature, row):
    """The neuron as logged in `row`, with one feature only, under the frozen head: a `theory.FrozenNeuron`."""
    overlaps = np.zeros(2)
    overlaps[feature] = run.overlaps[row, neuron, feature]
    return theory.FrozenNeuron(run.config, overlaps, run.norms[row, neuron])


def _first(seen):
    """When the first neuron learns v_1, and which."""
    words, end = measure.phase(seen, 0)
    if end is None:
        return Measured(words, None)
    name = f"neuron {seen.phases.strong_neuron + 1}"
    return Measured(f"{name} starts with it" if end.time == 0 else f"{words}, {name}", end)


def _judge(seen, end, predicted, asked):
    """Within a factor of two of eq. 14; one that is not come although it was due within half of the run is too late."""
    latest = TIME_FACTOR * predicted
    if end is None:
        never = seen.run.ended and np.isinf(predicted)
        return exact(True if never else False if latest < seen.run.time[-1] else None, seen.is_limit, asked)
    if end.time == 0:
        return Verdict(OUTSIDE, "a start that has not learned v_1")
    return exact(predicted / TIME_FACTOR <= end.time <= latest, seen.is_limit, asked)
