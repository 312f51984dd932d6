"""Adaptive integration of batches of stiff autonomous systems y' = f(y), by one of the `methods`.

It is vectorised over trajectories: axis 0 (S) runs over independent copies, each with
its own time, step size and status. It knows nothing about what it integrates.

Shapes: S trajectories, n components, R <= S of them still active, K events.
"""

from dataclasses import dataclass

import numpy as np

from simsim.flow.layout import take
from simsim.flow.methods import Extrapolation
from simsim.flow.segment import Segment, locate

METHOD = Extrapolation(8)  # by default
PATIENCE = 2000  # attempts at a step after which a trajectory is followed by another method, if there is one

SAFETY = 0.9
MAX_GROWTH = 6.0  # of the step size, from one step to the next
MIN_GROWTH = 0.15
NAN_GROWTH = 0.1  # after a step that left the domain of f: its error says nothing about the right size
COMPLEX_STEP = 1e-40  # so small that its square is lost in the rounding of any quantity that it is added to
JACOBIAN_CHUNK = 60_000  # numbers per Jacobian evaluation: stays in cache, bounds memory

RUNNING, FINISHED, STEP_TOO_SMALL, TOO_MANY_STEPS, NOT_FINITE = 0, 1, -1, -2, -3

MESSAGES = {
    RUNNING: "still running",
    FINISHED: "reached the end of the interval",
    STEP_TOO_SMALL: "the step size fell below the resolution of time",
    TOO_MANY_STEPS: "the number of steps reached `max_steps`",
    NOT_FINITE: "the right-hand side is not finite",
}


class Stopped(Exception):
    """Raised by `fun` or `jac`, inside a step: all trajectories that are running end with `status` where they are."""

    def __init__(self, status):
        super().__init__(status)
        self.status = status


@dataclass
class Result:
    """Where each trajectory ended and what it cost."""

    t: np.ndarray  # (S,)
    y: np.ndarray  # (S, n)
    status: np.ndarray  # (S,) FINISHED, a positive code given by `on_step`, or negative: failed
    steps: np.ndarray  # (S,) accepted
    rejected: np.ndarray  # (S,)
    nfev: np.ndarray  # (S,) right-hand sides, all ways of `Extrapolation` counted as one, those inside Jacobians not included
    njev: np.ndarray  # (S,) Jacobians
    event_t: np.ndarray  # (S, K) first upward crossing, nan if none
    event_y: np.ndarray  # (S, K, n)

    @property
    def success(self):
        """(S,) True where the integration did what was asked."""
        return self.status > 0

    def message(self, row):
        """What `status` of one trajectory says in words."""
        return MESSAGES.get(int(self.status[row]), "stopped by `on_step`")


def complex_step_jacobian(fun, directions=None):
    """jac(y, rows) -> (f (R, n), df/dy (R, n, n)), exact to rounding for analytic f.

    f itself comes with it for nothing: it is the real part. Of the derivatives only those in the first `directions`
    components are computed, by default all; the other columns are left for the caller to fill.
    """

    def jac(y, rows):
        R, n = y.shape
        count = n if directions is None else directions
        f, J, every = np.empty_like(y), np.empty((R, n, n), order="F"), np.arange(count)
        chunk = max(1, JACOBIAN_CHUNK // (count * n * 4))
        for i in range(0, R, chunk):
            part = slice(i, i + chunk)
            nudged = np.empty((len(y[part]), count, n), complex, order="F")
            nudged[...] = y[part, None, :]
            nudged[:, every, every] += 1j * COMPLEX_STEP
            value = fun(nudged, rows[part])
            f[part] = value[:, 0].real
            np.divide(value.imag.swapaxes(1, 2), COMPLEX_STEP, out=J[part, :, :count])
        return f, J

    return jac


def solve(fun, y0, t_end=np.inf, *, rtol=1e-7, scale=None, jac=None, events=None, on_step=None,
          first_step=1e-6, max_steps=100_000, t_resolution=None, max_growth=MAX_GROWTH,
          on_rest=None, method=METHOD, fallback=None):
    """Integrate y' = fun(y) from t = 0 for every row of y0 (S, n).

    fun(y, rows)     y (R, n), (R, L, n) or (R, n, n) complex -> the same shape; `rows` (R,) says
                     which trajectories these are. Axis 0 of y always runs over `rows`.
    scale(y, rows)   (R, n) positive: a step is accepted when its error estimate is below
                     rtol * scale in every component. Default 1 + |y|.
    jac(y, rows)     (f (R, n), J (R, n, n)); default by complex step, for analytic `fun`.
    events(y, rows)  y (R, n) or (R, L, n) -> (R, K) or (R, L, K); the first crossing of each
                     from negative to >= 0 is located on the dense output. It is seen if the
                     event is still positive when the step ends, or begins where another crosses.
    on_step(segment) after every accepted step -> None or (y, stop): y (R, n) replaces the
                     state (a change of coordinates) unless None, stop (R,) ints > 0 end a
                     trajectory with that status.
    t_resolution     smallest step worth taking; default the resolution of t in floating point.
                     In an autonomous system it does no harm that t + h rounds to t: give 0
                     when t itself does not matter.
    on_rest(result)  when no trajectory is running any more -> indices (R,) of those that have to go on.
    max_growth       of the size of a step over the one before it.
    method           `Rodas5P()` or `Extrapolation(order)`.
    fallback         (method, rtol) for the rest of a trajectory that has not ended after PATIENCE attempts at a step.

    `fun` and `jac` may raise `Stopped`. Returns a `Result`. A failure is a negative status, never an exception or a
    silent nan.
    """
    loop = Stepper(fun, y0, t_end, rtol, scale, jac, events, on_step, first_step, max_steps, t_resolution,
                   max_growth, method, fallback)
    with np.errstate(all="ignore"):  # a trial step may leave the domain; it is rejected
        while loop.active.size:
            try:
                loop.advance()
            except Stopped as stopped:
                loop.result.status[loop.active] = stopped.status
                loop.active = loop.active[:0]
            if on_rest and not loop.active.size:
                loop.active = on_rest(loop.result)
                loop.result.status[loop.active] = RUNNING
    return loop.result


class Stepper:
    """The state of a batched integration; `advance` tries one step of every active row."""

    def __init__(self, fun, y0, t_end, rtol, scale, jac, events, on_step, first_step, max_steps,
                 t_resolution=None, max_growth=MAX_GROWTH, method=METHOD, fallback=None):
        y = np.array(y0, dtype=float, order="F")
        S, n = y.shape
        self.fun, self.jac = fun, jac or complex_step_jacobian(fun)
        self.scale = scale or (lambda y, rows: 1 + np.abs(y))
        self.events, self.on_step = events, on_step
        self.t_end, self.max_steps, self.t_resolution = t_end, max_steps, t_resolution
        self.max_growth, self.active, self.first, self.fallback = max_growth, np.arange(S), (method, rtol), fallback
        self.g = events(y, self.active) if events else np.empty((S, 0))
        K = self.g.shape[1]
        counts = [np.zeros(S, int) for _ in range(5)]
        self.result = Result(np.zeros(S), y, *counts, np.full((S, K), np.nan), np.full((S, K, n), np.nan))
        self.h = np.full(S, float(first_step))
        self.f, self.J = np.empty((S, n), order="F"), np.empty((S, n, n), order="F")
        self.stale = np.ones(S, bool)  # rows whose Jacobian belongs to an earlier state
        self.h_before, self.error_before = np.zeros(S), np.ones(S)

    def advance(self):
        """Try one step of every active trajectory; accept or reject each on its own."""
        rows, out = self.active, self.result
        self._refresh_jacobians(rows[self.stale[rows]])
        tired = out.steps[rows] + out.rejected[rows] >= PATIENCE if self.fallback else np.zeros(rows.size, bool)
        for by, group in ((self.first, rows[~tired]), (self.fallback, rows[tired])):
            if group.size:
                self._try(*by, group)
        self._retire_failures(rows)
        self.active = rows[out.status[rows] == RUNNING]

    def _try(self, method, rtol, rows):
        """Try one step of the trajectories `rows` (R,).

        Its linear systems are in units of the error scale, so that the pivoting compares what the error control compares.
        """
        out = self.result
        h = np.minimum(self.h[rows], self.t_end - out.t[rows])
        y = take(out.y, rows)
        scale = self.scale(y, rows)
        J = take(self.J, rows)
        J *= scale[:, None, :]
        J /= scale[:, :, None]
        end, error_vector, bow = method.step(self.fun, rows, y, h, scale, take(self.f, rows), J)
        out.nfev[rows] += method.evaluations
        error = np.abs(error_vector / scale).max(1) / rtol
        good = np.isfinite(error) & np.isfinite(end).all(1)
        accepted = good & (error <= 1)
        self._choose_step(method, rows, h, np.where(good, error, np.inf), accepted)
        out.rejected[rows[~accepted]] += 1
        if accepted.any():
            step = Segment(rows, out.t[rows], h, y, end, bow, np.full((rows.size, self.g.shape[1]), np.nan))
            self._accept(step if accepted.all() else step.take(np.flatnonzero(accepted)))

    def _refresh_jacobians(self, rows):
        if rows.size:
            self.f[rows], self.J[rows] = self.jac(take(self.result.y, rows), rows)
            self.result.njev[rows] += 1
            self.stale[rows] = False

    def _choose_step(self, method, rows, h, error, accepted):
        """Gustafsson's predictive controller; a plain one after a rejection."""
        error = np.maximum(error, 1e-10)
        plain = SAFETY * error ** (-1 / method.order)
        before = self.h_before[rows] > 0
        ratio = np.where(before, h / np.where(before, self.h_before[rows], 1), 1)
        predictive = ratio * (self.error_before[rows] / error) ** (1 / method.order) * plain
        growth = np.where(accepted & before, np.minimum(plain, predictive), plain)
        growth = np.where(np.isfinite(error), np.clip(growth, MIN_GROWTH, self.max_growth), NAN_GROWTH)
        self.h[rows] = method.on_ladder(h * growth)
        done = rows[accepted]
        self.h_before[done], self.error_before[done] = h[accepted], np.maximum(error[accepted], 1e-2)

    def _accept(self, segment):
        """Take the step: locate its events, ask `on_step`, and note who has come to an end."""
        out, rows = self.result, segment.rows
        out.t[rows], out.y[rows] = segment.t + segment.h, segment.end
        out.steps[rows] += 1
        self.stale[rows] = True
        if self.events:
            self._locate_events(segment)
        out.status[rows[out.t[rows] >= self.t_end]] = FINISHED
        answer = self.on_step(segment) if self.on_step else None
        if answer is not None:
            y, stop = answer
            out.y[rows] = segment.end if y is None else y
            out.status[rows] = np.where(stop > 0, stop, out.status[rows])

    def _locate_events(self, segment):
        before, looked = self.g[segment.rows], self.events(segment.looks, segment.rows)
        self.g[segment.rows] = looked[:, -1]
        segment.event_theta[:] = locate(segment, self.events, before, looked)
        new = ~np.isnan(segment.event_theta) & np.isnan(self.result.event_t[segment.rows])  # the result keeps the first
        row, event = np.nonzero(new)
        if row.size:
            hit, theta = segment.take(row), segment.event_theta[row, event]
            self.result.event_t[hit.rows, event] = hit.t + theta * hit.h
            self.result.event_y[hit.rows, event] = hit(theta)

    def _retire_failures(self, rows):
        out = self.result
        smallest = self.t_resolution
        if smallest is None:
            smallest = 4 * np.finfo(float).eps * np.maximum(out.t[rows], np.finfo(float).tiny)
        running = out.status[rows] == RUNNING
        no_number = ~np.isfinite(self.f[rows]).all(1) | ~np.isfinite(self.J[rows]).all((1, 2))
        for code, broken in ((STEP_TOO_SMALL, self.h[rows] < smallest),
                             (TOO_MANY_STEPS, out.steps[rows] + out.rejected[rows] >= self.max_steps),
                             (NOT_FINITE, no_number)):
            out.status[rows[running & broken]] = code
