"""Phase I, with either head: one neuron learns v_1 in the time of eq. 14 (docs/theory.md)."""

import numpy as np

from simsim import theory
from simsim.phases import LEARNED, STRONG
from simsim.report import hypotheses, seen as measure
from simsim.report.seen import Measured
from simsim.report.verdicts import FAIL, NOT_REACHED, OUTSIDE, PASS

TIME_FACTOR = 2.0  # a time agrees with its law within this factor: the laws are for infinite batches


def phase_one(seen):
    """The claim (text, predicted, measure, judge) on T_1; eq. 14 is about the paper's objective and two features."""
    run, config = seen.run, seen.config
    if not hypotheses.hold([*hypotheses.of_frozen_neurons(config), hypotheses.two_features(config)]):
        return ("I    a neuron learns v_1", "no law", _first, lambda end: OUTSIDE)
    times = [_time_to_strong(run, neuron) for neuron in range(config.m)]
    neuron = int(np.argmin(times)) if seen.phases.strong_neuron is None else seen.phases.strong_neuron
    predicted = float(times[neuron])
    return ("I    a neuron learns v_1", f"{seen.when(predicted)} (eq. 14)", _first,
            lambda end: _judge(seen, end, predicted))


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
    """Within a factor of two of eq. 14; not come although it was due within half of the run is a FAIL."""
    if end is None:
        return FAIL if TIME_FACTOR * predicted < seen.run.time[-1] else NOT_REACHED
    if end.time == 0:
        return NOT_REACHED
    resolved = predicted if seen.is_limit else max(predicted, seen.config.lr)  # SGD knows no part of a step
    return PASS if predicted / TIME_FACTOR <= end.time <= TIME_FACTOR * resolved else FAIL


def _time_to_strong(run, neuron):
    """When eq. 14 has the neuron learn v_1 from its start: inf if it is to end on v_2."""
    start = theory.FrozenNeuron(run.config, run.overlaps[0, neuron], run.norms[0, neuron])
    return start.time_to_share(LEARNED) if start.feature == STRONG else np.inf
