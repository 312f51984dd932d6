"""Phase I, with either head: one neuron learns v_1 in the time of eq. 14 (docs/theory.md)."""

import numpy as np

from simsim import heads, premises, theory
from simsim.phases import LEARNED, STRONG
from simsim.report import seen as measure
from simsim.report.seen import Measured
from simsim.report.verdicts import NOT_REACHED, OUTSIDE, exact

TIME_FACTOR = 2.0  # a time agrees with its law within this factor: the laws are for infinite batches


def phase_one(seen):
    """The claim (text, predicted, measure, judge) on T_1.

    Eq. 14 is about the paper's objective and two features, and about a head at I, as a trained one is until a neuron
    has learned something: where that is v_2, the head may bring it to the others before they learn v_1.
    """
    run, config = seen.run, seen.config
    text = "I    a neuron learns v_1"
    if not premises.hold([*premises.of_frozen_neurons(config), premises.features(config, 2)]):
        return text, "no law", _first, lambda end: OUTSIDE
    neurons = [theory.FrozenNeuron(config, *start) for start in zip(run.overlaps[0], run.norms[0])]
    times = [neuron.time_to_share(LEARNED) for neuron in neurons]  # of the feature on which it ends
    early = int(np.argmin(times))
    if heads.changes(config) and neurons[early].feature != STRONG:
        return text, f"no law: neuron {early + 1} learns v_2 first, and may pass it on", _first, lambda end: OUTSIDE
    predicted = min(time if neuron.feature == STRONG else np.inf for time, neuron in zip(times, neurons))
    return text, f"{seen.when(predicted)} (eq. 14)", _first, lambda end: _judge(seen, end, predicted)


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


def _judge(seen, end, predicted):
    """Within a factor of two of eq. 14; one that is not come although it was due within half of the run is too late.

    SGD knows no part of a step, and its batches are finite.
    """
    latest = TIME_FACTOR * (predicted if seen.is_limit else max(predicted, seen.config.lr))
    if end is None:
        return exact(False if latest < seen.run.time[-1] else None, seen.is_limit)
    return NOT_REACHED if end.time == 0 else exact(predicted / TIME_FACTOR <= end.time <= latest, seen.is_limit)
