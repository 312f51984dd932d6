"""The infinite-batch gradient flow dW/dt = -dL/dW, dE/dt = -kappa dL/dE in the head's directions, to its end.

Shapes: S trajectories, R <= S of them still running, m neurons, K features.

`integrate` follows any number of trajectories from reduced initial states until
each is *certified* (see `certificate`), or until `t_max`. d enters only through
the initial state.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsim import objectives, population
from simsim.ends import CERTIFIED, DRIFTED, GAVE_UP, TIMED_OUT, VERDICTS
from simsim.flow import coordinates, solver
from simsim.flow.certificate import NUDGE, Certificate
from simsim.flow.equations import Equations
from simsim.flow.layout import take
from simsim.flow.methods import Extrapolation, Rodas5P
from simsim.flow.segment import Segment, root
from simsim.initial import reduced_state
from simsim.phases import LEARNED, RETURNED, STRONG, max_off_diagonal, milestones, owned

# Methods, and the relative tolerance of a step with which phase times are good to 3e-6 and invariants to 1e-5, most of
# them ten times better: where each stiff direction is a coordinate, and where it may be oblique.
STRAIGHT, OBLIQUE = (Extrapolation(8), 3e-8), (Rodas5P(), 3e-7)
T_MAX = 1e150  # long past every phase at d = 1e12 and alpha / sigma = 1e-20; its square is a number
FIRST_STEP = 1e-5  # of the fastest time scale at the start
NEAR_PEAK = 0.9  # a higher peak of |E_off| is looked for in a step that is anywhere above this part of the old one,
PEAK_LOOKS = np.linspace(0, 1, 25)  # at these places of the step
NEARBY = 8  # states that differ from one by roundings of every coordinate
DRIFT_LIMIT = 1e-4  # relative drift of an invariant at which a trajectory is declared wrong
SHORTEST_PART = 1e-9  # of a step, where t_max is at its beginning
PHASES = 4
STRONG_LEARNED, SUBSTITUTED, WEAK_LEARNED, HEAD_RETURNED = range(PHASES)
FAILURES = {
    solver.STEP_TOO_SMALL: "failed: the steps became too small",
    solver.TOO_MANY_STEPS: "failed: it takes too many steps; a smaller t_max ends it before",
    solver.NOT_FINITE: "failed: nothing moves at the start, or the speed of the flow is no number",
}


@dataclass
class FlowResult:
    """End state and milestones of S trajectories (shapes with leading S)."""

    t: np.ndarray  # (S,) the time at which the integration stopped
    a: np.ndarray  # (S, m, K)
    U: np.ndarray  # (S, m, m)
    E: np.ndarray  # (S, m, m)
    verdict: np.ndarray  # (S,) BOTH, COLLAPSED, ..., TIMED_OUT, GAVE_UP, or negative: failed
    owned: np.ndarray  # (S, K) whether some neuron owns the feature at that time
    phases: np.ndarray  # (S, 4) times at which phases I to IV end, nan if they do not
    phase_head: np.ndarray  # (S, 4) |E_off| at those times
    peak_head: np.ndarray  # (S,) largest |E_off| on the way
    drift: np.ndarray  # (S,) worst relative drift of the invariants, 0 if there are none
    steps: np.ndarray
    rejected: np.ndarray
    nfev: np.ndarray
    njev: np.ndarray

    def message(self, row):
        """The verdict on one trajectory in words."""
        return {**VERDICTS, **FAILURES}[int(self.verdict[row])]


class Look(NamedTuple):
    """What is known of states (R, ..., n)."""

    state: coordinates.FlowState
    M: population.Moments
    shares: np.ndarray  # (R, ..., m, K) of outputs, eq. 11, as are
    head_shares: np.ndarray  # (R, ..., m, K) those of predictions
    head: np.ndarray  # (R, ...) |E_off|


def _at_end(look):
    """Of what is known at a step's `looks`, (R, L, ...) each, what is so at its end, (R, ...)."""
    if isinstance(look, np.ndarray):
        return look[:, -1]
    parts = map(_at_end, look)
    return list(parts) if isinstance(look, list) else type(look)(*parts)


def follow_many(config, init_seeds, **options):
    """The flow of `config` from each of `init_seeds`, all at once: a `FlowResult`.

    Failures show as negative verdicts; other options go to `integrate`.
    """
    return follow_each([config.reseeded(config.seed, int(seed)) for seed in init_seeds], **options)


def follow_each(configs, **options):
    """The same of configs that differ in `d` and `init_seed` alone: d enters through the start."""
    config, starts = configs[0], zip(*map(start_of, configs))
    return integrate(Equations.from_config(config), *(np.array(part) for part in starts), t_max=config.t_max or T_MAX,
                     **options)


def start_of(config, state=None):
    """Overlaps (m, K), noise factor (m, m) and head (m, m) from which the flow of a Config starts, or of a State given."""
    equations = Equations.from_config(config)
    if state is None:
        a, U = reduced_state(config)
        return a, U, equations.first_head(a, U)
    state.require_fits(config)
    U = state.factor()
    return state.a, U, equations.first_head(state.a, U) if equations.head_is_set else state.E


def integrate(equations, a, U, E=None, *, t_max=T_MAX, rtol=None, record=None, tail=1.0, max_steps=20_000,
              seconds=np.inf, certify=True, progress=None):
    """Follow the flow from a (S, m, K), U (S, m, m) and E until each trajectory has a verdict.

    E is (m, m) or (S, m, m), by default the start of the head of the `equations`. Whatever has settled is followed
    for a decade of time, and one that has learned all features until t has grown by the factor `tail`, if that is more.
    t_max is one time or (S,). Without `certify` every trajectory is followed until then, whatever has settled.
    `rtol` is the relative tolerance of a step, by default that of the method (docs/design.md).
    `record(segment, chart)` is called with every accepted step (see `path`), progress(t, shares) likewise, with
    the times and shares (R,), (R, m, K) of those that took it. If the computation takes longer than
    `seconds`, the trajectories that are still running get the verdict GAVE_UP. Returns a `FlowResult`; failures are
    negative verdicts, never exceptions.
    """
    a, U = np.asarray(a, dtype=float), np.asarray(U, dtype=float)
    E = equations.first_head(a, U) if E is None else np.asarray(E, dtype=float)
    objectives.require_flow(equations.objective, equations.m)
    methods = [STRAIGHT, OBLIQUE] if equations.stiffness_is_a_coordinate else [OBLIQUE]
    (method, rtol), *fallback = [(method, rtol or usual) for method, usual in methods]
    with np.errstate(all="ignore"):  # a start from which nothing can be integrated gets its verdict
        run = _Run(equations, a, U, E, t_max, record, tail, certify, progress, time.monotonic() + seconds)
        out = solver.solve(
            run.velocity, run.y0, rtol=rtol, scale=lambda y, rows: take(run.scale, rows), jac=run.jacobian,
            events=run.events, on_step=run.on_step, on_rest=run.on_rest, first_step=FIRST_STEP,
            max_steps=max_steps, t_resolution=0, method=method, fallback=fallback[0] if fallback else None)
        return run.result(out)


class _Run:
    """The functions that the integrator calls back, and what they remember between two steps."""

    def __init__(self, equations, a, U, E, t_max, record, tail, certify, progress, deadline):
        S = a.shape[0]
        self.equations, self.record, self.progress, self.deadline = equations, record, progress, deadline
        self.t_max = np.broadcast_to(t_max, S)
        self.chart, self.y0 = coordinates.chart_of_start(equations, a, U, E, 1 / self._fastest(a, U, E))
        self.invariants, sizes = equations.invariants(a, U, E)
        self.invariant_sizes = np.broadcast_to(sizes, self.invariants.shape)
        self.phases, self.phase_head = np.full((2, S, PHASES), np.nan)
        self.first = np.full(S, -1)  # the neuron that was first to learn the strong feature
        self.head, self.peak, self.drift = np.zeros(S), np.zeros(S), np.zeros(S)
        self.certificate = Certificate(equations, S, tail) if certify else None
        self.for_good = np.zeros(S, bool)
        self._seen, self._taken = (None, None), (None, None, None)
        state, M, shares = self._look(self.y0, np.arange(S))[:3]
        self.scale = coordinates.error_scale(equations, self.chart, np.arange(S), state, M)
        begun = self.events(self.y0, np.arange(S)) >= 0
        self.first[begun[:, STRONG_LEARNED]] = shares[begun[:, STRONG_LEARNED], :, STRONG].argmax(-1)
        for phase in (STRONG_LEARNED, SUBSTITUTED, WEAK_LEARNED):  # what is so at the start has no crossing: its time is 0
            self.phases[begun[:, phase], phase] = self.phase_head[begun[:, phase], phase] = 0

    def _fastest(self, a, U, E):
        """(S,) the largest rate at the start: the unit of time is its inverse."""
        grad = population.gradient(a, U, E, self.equations.setting, self.equations.objective)
        growth = np.abs(grad.a / a).max((1, 2))
        head = self.equations.kappa * self.equations.head_moves * np.abs(grad.E).max((1, 2))
        return growth + head + np.abs(grad.U).max((1, 2))

    def velocity(self, y, rows):
        """dy/ds, (R, n)."""
        self.check_time()
        return coordinates.velocity(self.equations, self._chart_of(y, rows), y)

    def check_time(self):
        """End the integration, within a step as well, where it has taken too long."""
        if time.monotonic() > self.deadline:
            raise solver.Stopped(GAVE_UP)

    def _chart_of(self, y, rows):
        """The rows' part of the chart; remembers the last, which all stages of a step ask for."""
        if rows is not self._taken[0] or y.ndim != self._taken[1]:
            self._taken = rows, y.ndim, self.chart.take(rows, y.ndim)
        return self._taken[2]

    def jacobian(self, y, rows):
        """(velocity (R, n), its derivative (R, n, n)).

        The complex step yields both; but where a head may cancel noise, real arithmetic is more precise (see
        `coordinates.moments`), and the velocity is computed again.
        """
        f, J = solver.complex_step_jacobian(self.velocity, y.shape[1] - 1)(y, rows)
        J[:, :, -1] = coordinates.velocity_in_theta(self._chart_of(y, rows), y, f)
        return (self.velocity(y, rows) if self.equations.head_may_cancel else f), J

    def _look(self, y, rows):
        """`Look` at y (R, ..., n); `events` and `on_step` both ask for that at a step's `looks`."""
        if y is not self._seen[0]:
            self._seen = y, self._measure(y, rows)
        return self._seen[1]

    def _measure(self, y, rows):
        """The same as `_look`, computed."""
        state = self._decode(y, rows)
        M = coordinates.moments(self.equations, state)
        share = self.equations.setting.h11
        return Look(state, M, share * M.B**2 / M.G[..., None], share * M.H**2 / M.D[..., None], max_off_diagonal(state.E))

    def events(self, y, rows):
        """Phase ends (`phases`) as upward crossings of 0, then what phase II is made of, (..., 4 + 2m).

        Phase II may both begin and end within one step, when F_j and then f_j reach one half; therefore these two are
        events as well, and the integrator looks at the phase where it finds them.
        """
        _, _, shares, head_shares, head = self._look(y, rows)
        own = shares[..., STRONG]
        first, peak = (known[rows].reshape(-1, *(1,) * (y.ndim - 2)) for known in (self.first, self.peak))
        ends = milestones(shares, head_shares, np.where(first < 0, own.argmax(-1), first))
        ends[..., 1:] = np.where(first[..., None] < 0, np.minimum(ends[..., :1], ends[..., 1:]), ends[..., 1:])
        fallen = np.where(peak > 0, RETURNED - head / np.maximum(peak, 1e-300), -1)
        return np.concatenate([ends, fallen[..., None], head_shares[..., STRONG] - LEARNED, own - LEARNED], axis=-1)

    def on_step(self, segment):
        """Monitor, decide whether to stop, choose the coordinates of the next step."""
        segment = self._up_to_t_max(segment)
        rows = segment.rows
        if self.record:
            self.record(segment, self.chart)
        look = self._look(segment.looks, rows)
        state, M, shares, _, _ = _at_end(look)
        forces = coordinates.forces(self.equations, state, M)
        before = self.peak[rows]
        self._follow_peak(segment, look.head)
        # If the head has risen to a new peak, then an earlier fall below a hundredth of the old one was no return.
        self.phases[rows[self.peak[rows] > before], HEAD_RETURNED] = np.nan
        now = self.equations.invariants(state.a, state.U, state.E)[0]
        drift = (np.abs(now - self.invariants[rows]) / self.invariant_sizes[rows]).max(1, initial=0)
        self.drift[rows] = np.maximum(self.drift[rows], drift)
        for event in np.flatnonzero(~np.isnan(segment.event_theta[:, :PHASES]).all(0)):
            hit = ~np.isnan(segment.event_theta[:, event])
            part = segment.take(np.flatnonzero(hit & np.isnan(self.phases[rows, event])))  # later crossings do not count
            y = part(part.event_theta[:, event])
            self.phases[part.rows, event] = coordinates.time(self.chart, y, part.rows)
            self.phase_head[part.rows, event] = max_off_diagonal(self._head(y, part.rows))
            if event == STRONG_LEARNED:
                self.first[part.rows] = self._measure(y, part.rows).shares[..., STRONG].argmax(-1)
        t = coordinates.time(self.chart, segment.end, rows)
        if self.progress:
            self.progress(t, shares)
        verdict = np.zeros(rows.size, int)
        if self.certificate:
            verdict = self.certificate.verdict(rows, state, M, forces, shares, t,
                                               lambda which: self._nearby(segment.end[which], rows[which]))
        stop = np.where((verdict == 0) & (t >= self.t_max[rows]), TIMED_OUT, verdict)
        stop = np.where(self.drift[rows] > DRIFT_LIMIT, -DRIFTED, stop)
        y = coordinates.rechart(self.equations, self.chart, segment.end, rows, state, M, forces)
        self._taken = None, None, None
        self.scale[rows] = coordinates.error_scale(self.equations, self.chart, rows, state, M)
        return y, stop

    def _nearby(self, y, rows):
        """(state, moments) of what rounding may have made of y (R, n), (R, NEARBY, ...)."""
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (NEARBY, y.shape[1]))
        state = self._decode(np.asfortranarray(y[:, None] * (1 + NUDGE * signs)), rows)
        return state, coordinates.moments(self.equations, state)

    def _up_to_t_max(self, segment):
        """The step, of trajectories that it takes beyond `t_max` only as far as there."""
        beyond = np.flatnonzero(coordinates.time(self.chart, segment.end, segment.rows) > self.t_max[segment.rows])
        if not beyond.size:
            return segment
        part = segment.take(beyond)
        t_max = self.t_max[part.rows]
        place = root(lambda x: coordinates.time(self.chart, part(x), part.rows) / t_max - 1, np.zeros(beyond.size),
                     np.ones(beyond.size))
        whole = Segment(*(field.copy("K") for field in segment))
        for field, cut in zip(whole, part.until(np.maximum(place, SHORTEST_PART))):
            field[beyond] = cut
        return whole

    def on_rest(self, out):
        """The trajectories that have settled, but not for good: they go on."""
        rows = np.flatnonzero(np.isin(out.status, CERTIFIED) & ~self.for_good)
        if not rows.size:
            return rows
        y = take(out.y, rows)
        state, M = self._measure(y, rows)[:2]
        t = coordinates.time(self.chart, y, rows)
        try:
            self.for_good[rows] = self.certificate.for_good(rows, state, M, t, self.check_time)
        except solver.Stopped as stopped:
            out.status[rows] = stopped.status
            return rows[:0]
        return rows[~self.for_good[rows]]

    def _follow_peak(self, segment, looked):
        """Raise the peak of |E_off|, which is `looked` (R, L) at the step's `looks`, to its largest value in the step.

        If that may lie inside, it is the vertex of the parabola through the highest of PEAK_LOOKS and its neighbours.
        """
        rows, head = segment.rows, looked[:, -1]
        before, self.head[rows] = self.head[rows], head
        self.peak[rows] = np.maximum(self.peak[rows], head)
        near = np.flatnonzero(np.maximum(before, looked.max(1)) > NEAR_PEAK * self.peak[rows])
        if near.size:
            part = segment.take(near)
            heights = max_off_diagonal(self._head(part(np.tile(PEAK_LOOKS, (near.size, 1))), part.rows))
            middle = heights.argmax(1).clip(1, PEAK_LOOKS.size - 2)
            low, top, high = (heights[np.arange(near.size), middle + i] for i in (-1, 0, 1))
            rise, bow = high - low, high + low - 2 * top
            inside = np.abs(rise) < -2 * bow  # the vertex is a maximum and lies between the three places
            vertex = top - np.where(inside, rise**2 / (8 * np.where(inside, bow, -1)), 0)
            self.peak[part.rows] = np.maximum(self.peak[part.rows], np.maximum(vertex, heights.max(1)))

    def _decode(self, y, rows):
        """y (R, n) in the theory's variables: a `coordinates.FlowState`."""
        return coordinates.decode(self.equations, self._chart_of(y, rows), y)

    def _head(self, y, rows):
        """E (R, ..., m, m) of y."""
        return coordinates.head(self.equations, self._chart_of(y, rows), y)

    def result(self, out):
        """`FlowResult` from the integrator's."""
        rows = np.arange(out.y.shape[0])
        state, _, shares = self._measure(out.y, rows)[:3]
        t = coordinates.time(self.chart, out.y, rows)
        verdict = np.where(out.status == -DRIFTED, DRIFTED, out.status)
        return FlowResult(t, state.a, state.U, state.E, verdict, owned(shares), self.phases, self.phase_head, self.peak,
                          self.drift, out.steps, out.rejected, out.nfev, out.njev)
