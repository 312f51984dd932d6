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
TAIL = 100.0  # a success is followed until t has grown by this factor: in these two decades the head's decay can be seen


class FlowError(ArithmeticError):
    """The integration failed: its steps became too small or too many, or a conserved quantity drifted."""


def follow(config, *, points=POINTS, rtol=integration.RTOL, seconds=np.inf):
    """Integrate the flow of `config` from its initial weights to a certified end or `t_max`, for at most `seconds`.

    Returns a `Trajectory` whose `status`, `message` and `counters` say how it
    ended and what it cost; `steps` is time / lr. Raises FlowError.
    """
    equations, start, steps = Equations.from_config(config), integration.start_of(config), []
    result = integration.integrate(equations, *(part[None] for part in start), rtol=rtol, tail=TAIL,
                                   t_max=config.t_max or integration.T_MAX, seconds=seconds,
                                   record=lambda segment, chart: steps.append((segment, copy.deepcopy(chart))))
    status = int(result.verdict[0])
    if status < 0:
        raise FlowError(f"the flow from init_seed {config.init_seed} stopped at t = {result.t[0]:.3g}: "
                        f"{result.message(0)}")
    rows = [(0.0, *start), *_sample(equations, steps, points)]
    time, a, U, E = (np.array(column) for column in zip(*rows))
    counters = {name: int(getattr(result, name)[0]) for name in ("steps", "rejected", "nfev", "njev")}
    counters["drift"] = float(result.drift[0])
    return Trajectory(config, time / config.lr, time, a, population.gram_of(U), E, np.full(len(time), np.nan),
                      status, result.message(0), counters)


def _sample(equations, steps, points):
    """(t, a, U, E) at log-spaced times, within and after every step and at the phase ends, in order."""
    ends = np.array([coordinates.time(chart, segment.end, segment.rows)[0] for segment, chart in steps])
    times = np.geomspace(ends[0], ends[-1], points)
    where = np.minimum(np.searchsorted(ends, times), len(steps) - 1)
    places = [(i, _place(*steps[i], t)) for i, t in zip(where, times)]
    places += [(i, theta) for i, (segment, _) in enumerate(steps) for theta in segment.crossings[0, :integration.PHASES]
               if np.isfinite(theta)]
    places += [*_peak(equations, steps), *((i, theta) for i in range(len(steps)) for theta in LOOKS)]
    rows = [_row(equations, *steps[i], theta) for i, theta in sorted(set(places))]
    # Within a blow-up, which may be faster than floating-point time can resolve, t stands still or goes back by its rounding.
    times = np.maximum.accumulate([row[0] for row in rows])
    return [(time, *row[1:]) for time, row in zip(times, rows) if time > 0]


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
        return coordinates.time(chart, segment(np.array([theta])), segment.rows)[0] / t - 1

    if early(0.0) >= 0 or early(1.0) <= 0:
        return float(early(0.0) < 0)
    return brentq(early, 0, 1, xtol=PLACE_TOLERANCE)


def _row(equations, segment, chart, theta):
    """(t, a, U, E) at a place in a step."""
    y = segment(np.array([theta]))
    state = coordinates.decode(equations, chart.take(segment.rows, 2), y)
    return coordinates.time(chart, y, segment.rows)[0], state.a[0], state.U[0], state.E[0]
