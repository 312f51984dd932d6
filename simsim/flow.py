"""The infinite-batch gradient flow dW/dt = -dL/dW, dE_off/dt = -kappa dL/dE_off, to its end.

Shapes: S trajectories, R <= S of them still running, m neurons.

`integrate` follows any number of trajectories from reduced initial states until
each is *certified* (both features learned and the head returned, or a settled
collapse), or until `t_max`. d enters only through the initial state.
Coordinates are in `flow_state`, certificates in `flow_end`, the integrator in `rosenbrock`.
"""

import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from simsim import flow_state, population, rosenbrock
from simsim.config import only_original
from simsim.flow_end import (ALONE, BOTH, COLLAPSED, DRIFTED, GAVE_UP, MIXED, TIMED_OUT, VERDICTS,  # noqa: F401
                             Certificate)
from simsim.flow_state import Layout
from simsim.initial import reduced_state
from simsim.phases import LEARNED, RETURNED, off_diagonal
from simsim.theory import conserved

RTOL = 3e-7  # phase times good to 3e-6, invariants to 1e-5, most of them ten times better
T_MAX = 1e150  # long past every phase at d = 1e12 and alpha / sigma = 1e-20; its square is a number
FIRST_STEP = 1e-5  # of the fastest time scale at the start
NEAR_PEAK = 0.9  # a step that begins or ends so close to the peak of |E_off| is searched for it,
PEAK_LOOKS = np.linspace(0, 1, 9)  # at these places
DRIFT_LIMIT = 1e-4  # relative drift of an invariant at which a trajectory is declared wrong
PHASES = 4
STRONG_LEARNED, SUBSTITUTED, WEAK_LEARNED, HEAD_RETURNED = range(PHASES)


@dataclass
class FlowResult:
    """End state and milestones of S trajectories (shapes with leading S)."""

    t: np.ndarray  # (S,) where the integration stopped
    a: np.ndarray  # (S, m, 2)
    U: np.ndarray  # (S, m, m)
    E: np.ndarray  # (S, m, m)
    verdict: np.ndarray  # (S,) BOTH, COLLAPSED, TIMED_OUT, GAVE_UP, ..., or negative: failed
    phases: np.ndarray  # (S, 4) end of phases I to IV, nan if it did not come
    phase_head: np.ndarray  # (S, 4) |E_off| at those times
    peak_head: np.ndarray  # (S,) largest |E_off| on the way
    drift: np.ndarray  # (S,) worst relative drift of the invariants (13), frozen: ||w_r||^2
    steps: np.ndarray
    rejected: np.ndarray
    nfev: np.ndarray
    njev: np.ndarray

    def message(self, row):
        """The verdict on one trajectory in words."""
        code = int(self.verdict[row])
        return VERDICTS.get(code, "failed: " + rosenbrock.MESSAGES.get(code, "unknown"))


def follow_many(config, init_seeds, **options):
    """The flow of `config` from each of `init_seeds`, all at once: a `FlowResult`.

    Failures show as negative verdicts; other options go to `integrate`.
    """
    states = [reduced_state(dataclasses.replace(config, init_seed=int(seed))) for seed in init_seeds]
    overlaps, factors = (np.array(part) for part in zip(*states))
    return integrate(overlaps, factors, population.Setting.from_config(config), head_speed(config),
                     t_max=config.t_max or T_MAX, **options)


def head_speed(config):
    """kappa, or None where the head is held at I."""
    only_original(config)
    return config.kappa if config.head_is_trained else None


def invariants(a, U, E, kappa):
    """The constants of eq. 13, (..., m); with kappa None, ||w_r||^2 (frozen head)."""
    squared_norms = (a**2).sum(-1) + (U**2).sum(-1)
    return squared_norms if kappa is None else conserved(kappa, squared_norms, E)


def integrate(a, U, setting, kappa, *, t_max=T_MAX, rtol=RTOL, record=None, tail=1.0, max_steps=20_000,
              seconds=np.inf):
    """Follow the flow from a (S, m, 2), U (S, m, m) until each trajectory has a verdict.

    kappa None freezes the head at I. After a success t grows by the factor `tail` still.
    `record(segment, chart)` sees every accepted step (see flow_path). After so many
    `seconds` of computing, what is still running gets the verdict GAVE_UP. Returns a
    `FlowResult`; failures are negative verdicts, never exceptions.
    """
    a, U = np.asarray(a, dtype=float), np.asarray(U, dtype=float)
    layout = Layout(a.shape[1], setting, kappa)
    with np.errstate(all="ignore"):  # a start from which nothing can be integrated gets its verdict
        run = _Run(layout, a, U, t_max, record, tail, time.monotonic() + seconds)
    out = rosenbrock.solve(
        run.velocity, run.y0, rtol=rtol, scale=lambda y, rows: run.scale[rows], jac=run.jacobian, events=run.events,
        on_step=run.on_step, first_step=FIRST_STEP, max_steps=max_steps, t_resolution=0,
    )
    return run.result(out)


class _Run:
    """What the integrator calls back, and what is remembered on the way."""

    def __init__(self, layout, a, U, t_max, record, tail, deadline):
        S = a.shape[0]
        self.layout, self.t_max, self.record, self.deadline = layout, t_max, record, deadline
        self.chart, self.y0 = flow_state.start(layout, a, U, 1 / self._fastest(a, U))
        self.start = invariants(a, U, np.eye(layout.m), layout.kappa)
        self.phases, self.phase_head = np.full((2, S, PHASES), np.nan)
        self.head, self.peak, self.drift = np.zeros(S), np.zeros(S), np.zeros(S)
        self.certificate = Certificate(layout, S, tail)
        self._seen = None, None
        state, M, _, _ = self._look(self.y0, np.arange(S))
        self.scale = flow_state.error_scale(layout, self.chart, np.arange(S), state, M)
        begun = self.events(self.y0, np.arange(S)) >= 0
        for phase in (STRONG_LEARNED, WEAK_LEARNED):  # learned at the start: there is no crossing to find
            self.phases[begun[:, phase], phase] = self.phase_head[begun[:, phase], phase] = 0

    def _fastest(self, a, U):
        """(S,) the largest rate at the start: the unit of time is its inverse."""
        grad = population.gradient(a, U, np.eye(self.layout.m), self.layout.setting, flow_state.OBJECTIVE)
        growth = np.abs(grad.a / a).max((1, 2))
        head = (self.layout.kappa or 0) * np.abs(grad.E).max((1, 2))
        return growth + head + np.abs(grad.U).max((1, 2))

    def velocity(self, y, rows):
        return flow_state.velocity(self.layout, self.chart.take(rows, y.ndim), y)

    def jacobian(self, y, rows):
        """(velocity, its derivative); the velocity from real arithmetic, where it is more precise (m > 2)."""
        f, J = rosenbrock.complex_step_jacobian(self.velocity)(y, rows)
        return (self.velocity(y, rows) if self.layout.m > 2 else f), J

    def _look(self, y, rows):
        """(state, moments, shares, head shares) of y (R, n); remembers the last, asked for twice a step."""
        if y is not self._seen[0]:
            self._seen = y, self._measure(y, rows)
        return self._seen[1]

    def _measure(self, y, rows):
        state = self._decode(y, rows)
        M = flow_state.moments(self.layout, state)
        half = self.layout.setting.mu11 / 2
        return state, M, half * M.B**2 / M.G[..., None], half * M.H**2 / M.D[..., None]

    def events(self, y, rows):
        """Phase ends (docs/usage.md) as upward crossings of 0, then what phase II is made of, (..., 4 + 2m).

        For m > 2 they are those of the first neuron that does it. Phase II begins and ends within a
        step where F_j and then f_j reach their share; by these two the integrator knows where to look.
        """
        state, _, shares, head_shares = self._look(y, rows)
        strong, weak = np.moveaxis(shares.max(-2), -1, 0) - LEARNED
        replaced, own = head_shares[..., 0] - LEARNED, shares[..., 0] - LEARNED
        substituted = np.minimum(replaced, -own).max(-1)
        peak = self.peak[rows].reshape(-1, *(1,) * (y.ndim - 2))
        fallen = np.where(peak > 0, RETURNED - off_diagonal(state.E) / np.maximum(peak, 1e-300), -1)
        ends = np.stack([strong, np.minimum(strong, substituted), np.minimum(strong, weak), fallen], axis=-1)
        return np.concatenate([ends, replaced, own], axis=-1)

    def on_step(self, segment):
        """Monitor, decide whether to stop, choose the coordinates of the next step."""
        rows = segment.rows
        if self.record:
            self.record(segment, self.chart)
        state, M, shares, _ = self._look(segment.end, rows)
        before = self.peak[rows]
        self._follow_peak(segment, off_diagonal(state.E))
        self.phases[rows[self.peak[rows] > before], HEAD_RETURNED] = np.nan  # a higher peak: it has not returned yet
        now = invariants(state.a, state.U, state.E, self.layout.kappa)
        drift = np.abs(now / self.start[rows] - 1).max(1)
        self.drift[rows] = np.maximum(self.drift[rows], drift)
        for event in np.flatnonzero(~np.isnan(segment.crossings[:, :PHASES]).all(0)):
            hit = ~np.isnan(segment.crossings[:, event])
            part = segment.take(hit & np.isnan(self.phases[rows, event]))  # the first counts
            y = part(part.crossings[:, event])
            self.phases[part.rows, event] = flow_state.time(self.chart, y, part.rows)
            self.phase_head[part.rows, event] = off_diagonal(self._decode(y, part.rows).E)
        t = flow_state.time(self.chart, segment.end, rows)
        verdict = self.certificate.verdict(rows, state, M, shares, self.peak[rows], t)
        stop = np.where((verdict == 0) & (t >= self.t_max), TIMED_OUT, verdict)
        if time.monotonic() > self.deadline:
            stop = np.where(stop == 0, GAVE_UP, stop)
        stop = np.where(self.drift[rows] > DRIFT_LIMIT, -DRIFTED, stop)
        y = flow_state.rechart(self.layout, self.chart, segment.end, rows, state, M)
        self.scale[rows] = flow_state.error_scale(self.layout, self.chart, rows, state, M)
        return y, stop

    def _follow_peak(self, segment, head):
        """Raise the peak of |E_off| to that of the step: the parabola through the highest of nine places."""
        rows = segment.rows
        before, self.head[rows] = self.head[rows], head
        self.peak[rows] = np.maximum(self.peak[rows], head)
        near = np.flatnonzero(np.maximum(before, head) > NEAR_PEAK * self.peak[rows])
        if near.size:
            part = segment.take(near)
            heights = off_diagonal(self._decode(part(np.tile(PEAK_LOOKS, (near.size, 1))), part.rows).E)
            middle = heights.argmax(1).clip(1, PEAK_LOOKS.size - 2)
            low, top, high = (heights[np.arange(near.size), middle + i] for i in (-1, 0, 1))
            rise, bow = high - low, high + low - 2 * top
            inside = np.abs(rise) < -2 * bow  # the vertex lies between the three
            vertex = top - np.where(inside, rise**2 / (8 * np.where(inside, bow, -1)), 0)
            self.peak[part.rows] = np.maximum(self.peak[part.rows], np.maximum(vertex, heights.max(1)))

    def _decode(self, y, rows):
        return flow_state.decode(self.layout, self.chart.take(rows, y.ndim), y)

    def result(self, out):
        """`FlowResult` from the integrator's."""
        rows = np.arange(out.y.shape[0])
        state = self._decode(out.y, rows)
        t = flow_state.time(self.chart, out.y, rows)
        verdict = np.where(out.status == -DRIFTED, DRIFTED, out.status)
        return FlowResult(t, state.a, state.U, state.E, verdict, self.phases, self.phase_head, self.peak, self.drift,
                          out.steps, out.rejected, out.nfev, out.njev)
