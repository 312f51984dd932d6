"""One trajectory of the flow as a Trajectory: log-spaced in time, the integrator's steps and phase ends among its rows.

The states come from the integrator's dense output. The end of a phase is
located as an event inside its step, and the state there is a row of its own,
so that phases do not depend on how finely the rest is sampled. The steps are as
long as what changes lets them be: their rows show a blow-up of which log-spaced
times see the beginning and the end.
"""

import copy

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from simsim import population
from simsim.flow import coordinates, integration
from simsim.flow.equations import Equations
from simsim.phases import max_off_diagonal
from simsim.trajectory import Trajectory

POINTS = 400  # log-spaced times of a trajectory
LOOKS = 0.5, 1.0  # where every step is looked at, for what happens faster than log-spaced times can show
PLACE_TOLERANCE = 1e-13  # error of the place of a time within its step, in units of the step
START = (-1, 1.0)  # the place of what is so from the start on: behind no step
SIZES = 1e-12, 1e12  # of parts of a start that all can be followed, whatever the others are
TAIL = 100.0  # a success is followed until t has grown by this factor: in these two decades the head's decay can be seen


class FlowError(ArithmeticError):
    """The integration failed: its steps became too small or too many, or a conserved quantity drifted."""


def follow(config, *, start=None, points=POINTS, rtol=integration.RTOL, seconds=np.inf, progress=None):
    """Integrate the flow of `config` from its initial weights, or a State `start`, to a certified end or `t_max`.

    For at most `seconds` of computing.

    Returns a `Trajectory` whose `status`, `message` and `counters` say how it
    ended and what it cost; `steps` is time / lr. progress(t, shares), shares (m, K), is
    called after every step of the integrator. Raises FlowError.
    """
    given = start is not None
    equations, start, steps = Equations.from_config(config), integration.start_of(config, start), []
    result = integration.integrate(equations, *(part[None] for part in start), rtol=rtol, tail=TAIL,
                                   t_max=config.t_max or integration.T_MAX, seconds=seconds,
                                   progress=progress and (lambda t, shares: progress(t[0], shares[0])),
                                   record=lambda segment, chart: steps.append((segment, copy.deepcopy(chart))))
    status = int(result.verdict[0])
    if status < 0:
        where = "the start given" if given else f"init_seed {config.init_seed}"
        cause = "" if steps else _why_at_rest(config, *start)
        raise FlowError(f"the flow from {where} cannot begin: {cause}" if cause else
                        f"the flow from {where} stopped{'' if steps else ' at its start'}"
                        f"{f' at t = {result.t[0]:.3g}' if steps else ''}: {result.message(0)}")
    ends = _phase_ends(steps, result.phases[0])
    places, rows = _sample(equations, steps, points)
    events = [None if end is None else 0 if end == START else 1 + places.index(end) for end in ends]
    time, a, U, E = (np.array(column) for column in zip((0.0, *start), *rows))
    counters = {name: int(getattr(result, name)[0]) for name in ("steps", "rejected", "nfev", "njev")}
    counters["drift"] = float(result.drift[0])
    return Trajectory(config, time / config.lr, time, a, population.gram_of(U), E, np.full(len(time), np.nan),
                      status, result.message(0), counters, events)


def _why_at_rest(config, a, U, E):
    """What a start a (m, K), U (m, m), E (m, m) has 0 where the flow follows logarithms, in words; "" if there is nothing."""
    for j in range(config.m):
        if config.batch_norm and not E[j].any():
            return f"row {j + 1} of the head is 0, and predicts nothing"
        if not a[j].any() and not U[j].any():
            return f"neuron {j + 1} has no weights, and its output does not vary"
        if not U[j].any():
            return f"neuron {j + 1} has no noise part, and the flow follows its logarithm: give it a small one"
        if not a[j].all():
            return (f"neuron {j + 1} has no overlap with v_{int(np.argmin(np.abs(a[j]))) + 1}, and the flow follows its "
                    "logarithm: give it a small one")
        if not E[j, j]:
            return f"E_{j + 1}{j + 1} is 0, and the flow follows its logarithm: give it a small one"
        for name, size in ((f"its noise part is {np.linalg.norm(U[j]):.2g} long", np.linalg.norm(U[j])),
                           *((f"its overlap with v_{l + 1} is {a[j, l]:.2g}", abs(a[j, l])) for l in range(config.features)),
                           *((f"E_{j + 1}{i + 1} is {E[j, i]:.2g}", abs(E[j, i]) or 1.0) for i in range(config.m))):
            if not SIZES[0] <= size <= SIZES[1]:
                return (f"neuron {j + 1} is too far from the others or from 1 for the powers in its rates, {name}; sizes from "
                        f"{SIZES[0]:g} to {SIZES[1]:g} can be followed")
    return ""


def _phase_ends(steps, times):
    """The places (step, theta) of phase ends at `times` (4,): START at time 0, None where there is no end."""
    def place(event, time):
        crossings = [(i, segment.event_theta[0, event]) for i, (segment, _) in enumerate(steps)
                     if np.isfinite(segment.event_theta[0, event])]
        return min(crossings, key=lambda at: abs(_time(*steps[at[0]], at[1]) - time))

    return [None if np.isnan(time) else START if time == 0 else place(event, time) for event, time in enumerate(times)]


def _sample(equations, steps, points):
    """Places (step, theta) and their (t, a, U, E): at log-spaced times, within and after every step, at phase ends."""
    if not steps:  # there was no time for one
        return [], []
    ends = np.array([coordinates.time(chart, segment.end, segment.rows)[0] for segment, chart in steps])
    times = np.geomspace(ends[0], ends[-1], points)
    where = np.minimum(np.searchsorted(ends, times), len(steps) - 1)
    places = [(i, _place(*steps[i], t)) for i, t in zip(where, times)]
    places += [(i, theta) for i, (segment, _) in enumerate(steps) for theta in segment.event_theta[0, :integration.PHASES]
               if np.isfinite(theta)]
    places += [*_peak(equations, steps), *((i, theta) for i in range(len(steps)) for theta in LOOKS)]
    places = [place for place in sorted(set(places)) if _time(*steps[place[0]], place[1]) > 0]
    rows = [_row(equations, *steps[i], theta) for i, theta in places]
    # Within a blow-up, which may be faster than floating-point time can resolve, t stands still or goes back by its rounding.
    times = np.maximum.accumulate([row[0] for row in rows])
    return places, [(time, *row[1:]) for time, row in zip(times, rows)]


def _peak(equations, steps):
    """The step and place where |E_off| is largest, as a list of one: the end of phase IV is measured against it."""
    def size(i, theta):
        return max_off_diagonal(_row(equations, *steps[i], theta)[3])

    top = int(np.argmax([size(i, 1.0) for i in range(len(steps))]))
    around = [(i, minimize_scalar(lambda theta: -size(i, theta), bounds=(0, 1), method="bounded").x)
              for i in range(top, min(top + 2, len(steps)))]
    return [max(around, key=lambda place: size(*place))]


def _place(segment, chart, t):
    """Where in a step, in [0, 1], the time t lies; it grows along the step."""
    def early(theta):
        return _time(segment, chart, theta) / t - 1

    if early(0.0) >= 0 or early(1.0) <= 0:
        return float(early(0.0) < 0)
    return brentq(early, 0, 1, xtol=PLACE_TOLERANCE)


def _time(segment, chart, theta):
    """t at a place in a step."""
    return coordinates.time(chart, segment(np.array([theta])), segment.rows)[0]


def _row(equations, segment, chart, theta):
    """(t, a, U, E) at a place in a step."""
    y = segment(np.array([theta]))
    state = coordinates.decode(equations, chart.take(segment.rows, 2), y)
    return coordinates.time(chart, y, segment.rows)[0], state.a[0], state.U[0], state.E[0]
