"""When phases I to III end by theory, for the config and the start of a run: what `phases(run, laws=True)` draws."""

from typing import NamedTuple

import numpy as np

from simsim import heads, laws, premises, theory
from simsim.phases import LEARNED, STRONG
from simsim.report import hypotheses


class Predicted(NamedTuple):
    """One end of a phase: its name, the time (None where no law speaks of this run), the equations, and why there is none."""

    name: str
    time: float | None
    equations: str
    why: str


def predicted_ends(run):
    """T_1 (docs/theory.md, eq. 14), T_2 (eq. 20) and T_3 (eqs. 22, 23) of the start of a Trajectory: three `Predicted`.

    They are asked for what a report asks before it quotes them, a large d for T_2 and T_3 among it.
    """
    two, three = _later(run)
    return [_first(run), two, three]


def _first(run):
    """T_1: until then the head stands still, and every neuron is alone."""
    config, overlaps = run.config, run.overlaps[0]
    asked = [*premises.of_frozen_neurons(config), premises.features(config, 2), *hypotheses.head_s_start(run)]
    if premises.hold(asked) and heads.changes(config) and config.m > 1:
        asked.append(laws.strong_first(config, overlaps, run.noise_norms[0]))
    if not premises.hold(asked):
        return Predicted("T_1", None, "eq. 14", _without(asked))
    neurons = [theory.FrozenNeuron(config, *start) for start in zip(overlaps, run.norms[0])]
    time = min((neuron.time_to_share(LEARNED) for neuron in neurons if neuron.feature == STRONG), default=np.inf)
    return _finite("T_1", time, "eq. 14")


def _later(run):
    """T_2 and T_3, which rest on the same hypotheses, and on coming in this order."""
    start = run.config, run.overlaps[0], run.noise_norms[0]
    asked = [*premises.of_two_neurons(run.config), *hypotheses.head_s_start(run)]
    if premises.hold(asked):
        chance, _, source = hypotheses.chance_of_success(run.config)
        asked += [*laws.of_start(*start), hypotheses.large_dimension(chance, source)]
    two = three = None
    if premises.hold(asked):
        two, three = laws.substitution_time(*start), laws.Acceleration(*start).time()
        if two >= three:
            asked.append(premises.Hypothesis("T_2 before T_3", "by eqs. 20 and 22", "the other way round", False))
            two = three = None
    for name, time, equations in ("T_2", two, "eq. 20"), ("T_3", three, "eqs. 22, 23"):
        yield Predicted(name, None, equations, _without(asked)) if time is None else _finite(name, time, equations)


def _finite(name, time, equations):
    """What comes at `time`; inf says that it never does."""
    return Predicted(name, float(time), equations, "") if np.isfinite(time) else Predicted(name, None, equations, "it never comes")


def _without(asked):
    """Why a law is silent: the hypotheses that do not hold, by name."""
    return "without " + ", ".join(one.name for one in premises.broken(asked))
