"""One trajectory of the flow as a Trajectory: log-spaced in time, the integrator's steps and phase ends among its rows.

The states come from the integrator's dense output. The end of a phase is
located as an event inside its step, and the state there is a row of its own,
so that phases do not depend on how finely the rest is sampled. The steps are as
long as what changes lets them be: their rows show a blow-up of which log-spaced
times see the beginning and the end.
"""

import copy
import functools

import numpy as np
from scipy.optimize import minimize_scalar

from simsim import population
from simsim.flow import coordinates, integration
from simsim.flow.coordinates import Chart
from simsim.flow.equations import Equations
from simsim.flow.layout import take
from simsim.flow.segment import LOOKS, Segment, root
from simsim.flow.stretch import Stretch
from simsim.phases import max_off_diagonal
from simsim.trajectory import Trajectory

POINTS = 400  # log-spaced times of a trajectory
START = (-1, 1.0)  # the place of what is so from the start on: behind no step
SIZES = 1e-12, 1e12  # of parts of a start that all can be followed, whatever the others are
TAIL = 100.0  # a success is followed until t has grown by this factor: in these two decades the head's decay can be seen


class FlowError(ArithmeticError):
    """The integration failed: its steps became too small or too many, or a conserved quantity drifted."""


def follow(config, *, start=None, points=POINTS, rtol=None, seconds=np.inf, progress=None):
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
    path = _Path(equations, steps)
    ends = _phase_ends(path, result.phases[0])
    places, rows = _sample(path, points)
    events = [None if end is None else 0 if end == START else 1 + places.index(end) for end in ends]
    time, a, U, E = (np.concatenate([np.asarray(first)[None], rest]) for first, rest in zip((0.0, *start), rows))
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


class _Path:
    """The steps of one trajectory side by side, as if each were a trajectory of its own: T of them."""

    def __init__(self, equations, steps):
        self.equations, self.count = equations, len(steps)
        if steps:
            segments, charts = zip(*steps)
            inner = max(segment.bow.shape[1] for segment in segments)
            self.segment = Segment(*map(_joined, zip(*(segment.raised(inner) for segment in segments))))
            stretch = Stretch(*map(_joined, zip(*(chart.stretch for chart in charts))))
            self.chart = Chart(*map(_joined, zip(*(chart[:-1] for chart in charts))), stretch)
            self.ends = self.times(np.arange(len(steps)), np.ones(len(steps)))

    def times(self, steps, theta):
        """t (N,) at places theta (N,) of `steps` (N,)."""
        stretch = self.chart.stretch
        return stretch.t[steps] + stretch.unit[steps] * self._of_time.take(steps)(theta)[:, -1]

    @functools.cached_property
    def _of_time(self):
        """The steps' last component alone, which tells the time."""
        segment = self.segment
        return segment._replace(start=segment.start[:, -1:], end=segment.end[:, -1:], bow=segment.bow[:, :, -1:])

    def rows(self, places):
        """(t (N,), a (N, m, K), U (N, m, m), E (N, m, m)) at places (step, theta)."""
        steps, theta = np.array([step for step, _ in places], int), np.array([theta for _, theta in places])
        chart = Chart(*(take(field, steps) for field in self.chart[:-1]), None)
        state = coordinates.decode(self.equations, chart, self.segment.take(steps)(theta))
        return self.times(steps, theta), state.a, state.U, state.E

    def places(self, times):
        """The places (step, theta) of times (N,): within a step, time grows."""
        steps = np.minimum(np.searchsorted(self.ends, times), self.count - 1)
        early = lambda theta: self.times(steps, theta) / times - 1
        first, last = early(np.zeros(times.size)), early(np.ones(times.size))
        theta = np.where(first >= 0, 0.0, np.where(last <= 0, 1.0, root(early, np.zeros(times.size), np.ones(times.size))))
        return list(zip(steps.tolist(), theta.tolist()))


def _joined(fields):
    """Fields (1, ...) of steps as one (T, ...), in Fortran's order."""
    return np.asfortranarray(np.concatenate(fields))


def _phase_ends(path, times):
    """The places (step, theta) of phase ends at `times` (4,): START at time 0, None where there is no end."""
    def place(event, time):
        crossed = path.segment.event_theta[:, event]
        steps = np.flatnonzero(np.isfinite(crossed))
        nearest = steps[np.argmin(np.abs(path.times(steps, crossed[steps]) - time))]
        return int(nearest), float(crossed[nearest])

    return [None if np.isnan(time) else START if time == 0 else place(event, time) for event, time in enumerate(times)]


def _sample(path, points):
    """Places (step, theta) and their (t, a, U, E): at log-spaced times, within and after every step, at phase ends."""
    if not path.count:  # there was no time for one
        m, K = path.equations.m, path.equations.features
        return [], tuple(np.empty((0, *shape)) for shape in ((), (m, K), (m, m), (m, m)))
    places = path.places(np.geomspace(path.ends[0], path.ends[-1], points))
    steps, events = np.nonzero(np.isfinite(path.segment.event_theta[:, :integration.PHASES]))
    places += zip(steps.tolist(), path.segment.event_theta[steps, events].tolist())
    places += [_peak(path), *((i, theta) for i in range(path.count) for theta in LOOKS.tolist())]
    places = sorted(set(places))
    time, *rest = path.rows(places)
    later = np.flatnonzero(time > 0)
    # Within a blow-up, which may be faster than floating-point time can resolve, t stands still or goes back by its rounding.
    return [places[i] for i in later], (np.maximum.accumulate(time[later]), *(take(part, later) for part in rest))


def _peak(path):
    """The step and place where |E_off| is largest: the end of phase IV is measured against it."""
    def size(places):
        return max_off_diagonal(path.rows(places)[3])

    top = int(np.argmax(size([(i, 1.0) for i in range(path.count)])))
    around = [(i, float(minimize_scalar(lambda theta: -size([(i, float(theta))])[0], bounds=(0, 1), method="bounded").x))
              for i in range(top, min(top + 2, path.count))]
    return max(around, key=lambda place: size([place])[0])
