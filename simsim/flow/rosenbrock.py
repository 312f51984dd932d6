"""Adaptive linearly implicit integrator for batches of stiff autonomous systems y' = f(y).

The method is Euler's linearly implicit one, extrapolated (Hairer & Wanner, Solving ODEs II, section IV.9, SEULEX, at a fixed
order). A step is taken k times over from where it began, in 1, 2, ..., k parts, all with the Jacobian of its beginning;
from the k ends follows what infinitely many parts would give, to order k, and from all that the ways have passed the path
inside the step (`tableau`). The ways are independent of each other, and NumPy costs nearly the same for one as for eight:
so they are taken side by side, and a step of order 8 takes as many calls as one of an eight-stage method of order 5. The
solution is that of all ways, and its error is what it owes to that in one part. The method is A-stable but for a
few degrees, damps what is stiff, and has its order with any matrix in the Jacobian's place.

It is vectorised over trajectories: axis 0 (S) runs over independent copies, each with
its own time, step size and status. It knows nothing about what it integrates.

Shapes: S trajectories, n components, R <= S of them still active, K events, k ways through a step.
"""

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from simsim.flow.elimination import eliminate
from simsim.flow.layout import take
from simsim.flow.segment import Segment, locate

ORDER = 8  # k, by default

SAFETY = 0.9
MAX_GROWTH = 6.0  # of the step size, from one step to the next
MIN_GROWTH = 0.15
RUNGS = 8  # to a factor of two, of the ladder of step sizes: rounding, of much weight in a small error, seldom changes the rung
NAN_GROWTH = 0.1  # after a step that left the domain of f: its error says nothing about the right size
COMPLEX_STEP = 1e-40  # so small that its square is lost in the rounding of any quantity that it is added to
JACOBIAN_CHUNK = 60_000  # numbers per Jacobian evaluation: stays in cache, bounds memory

RUNNING, FINISHED, STEP_TOO_SMALL, TOO_MANY_STEPS, NOT_FINITE = 0, 1, -1, -2, -3

MESSAGES = {
    RUNNING: "still running",
    FINISHED: "reached the end of the interval",
    STEP_TOO_SMALL: "the step size fell below the resolution of time",
    TOO_MANY_STEPS: "the number of steps reached `max_steps`",
    NOT_FINITE: "the right-hand side is not finite at the start",
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
    nfev: np.ndarray  # (S,) right-hand sides, all ways of a step counted as one, those inside Jacobians not included
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


@functools.cache
def tableau(k):
    """(parts (k,), weights (k + 1, k (k + 1) / 2)): of a step in k ways, in how many parts each, most first; and what follows.

    The weights are those of what each way has moved after each of its parts, in the order in which these are computed: first all
    ways after one part, then all that have another one, and so on. Their rows give how far the step moves, its error, and the
    k - 1 points of its bow (`Segment`). They are large and cancel: fractions make them exact to rounding.

    After i of n parts a way has moved as y does in i / n of the step, but for powers of 1 / n: i / n^k times a polynomial in i, n
    of degree k - 1. The values on the triangle 1 <= i <= n <= k tell it, and at infinite n it is the sum over n of Lagrange's
    weight at 1 / n = 0 times Bernstein's polynomial of the way's values.
    """
    places = [(i, n) for i in range(1, k + 1) for n in range(k, i - 1, -1)]

    def extrapolated(ways, value):
        at_zero = {n: math.prod(Fraction(n, n - other) for other in ways if other != n) for n in ways}  # Lagrange's, in 1 / n
        return np.array([at_zero.get(n, 0) * value(i, n) for i, n in places])

    def point(q):  # of Bernstein's polynomial of a way, of degree n, as one of degree k
        return lambda i, n: Fraction(math.comb(n, i) * (math.comb(k - n, q - i) if i <= q else 0), math.comb(k, q))

    ways = range(1, k + 1)
    whole = extrapolated(ways, point(k))
    bow = [extrapolated(ways, point(q)) - Fraction(q, k) * whole for q in range(1, k)]
    return np.arange(k, 0, -1), np.array([whole, whole - extrapolated(ways[1:], point(k)), *bow], dtype=float)


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
          on_rest=None, order=ORDER):
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
    order            k, of the method.

    `fun` and `jac` may raise `Stopped`. Returns a `Result`. A failure is a negative status, never an exception or a
    silent nan.
    """
    loop = Stepper(fun, y0, t_end, rtol, scale, jac, events, on_step, first_step, max_steps, t_resolution,
                   max_growth, order)
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
                 t_resolution=None, max_growth=MAX_GROWTH, order=ORDER):
        y = np.array(y0, dtype=float, order="F")
        S, n = y.shape
        self.fun, self.jac = fun, jac or complex_step_jacobian(fun)
        self.scale = scale or (lambda y, rows: 1 + np.abs(y))
        self.events, self.on_step = events, on_step
        self.t_end, self.rtol, self.max_steps, self.t_resolution = t_end, rtol, max_steps, t_resolution
        self.max_growth, self.active, self.order = max_growth, np.arange(S), order
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
        h = np.minimum(self.h[rows], self.t_end - out.t[rows])
        y = take(out.y, rows)
        scale = self.scale(y, rows)
        end, error_vector, bow = self._extrapolate(rows, y, h, scale)
        error = np.abs(error_vector / scale).max(1) / self.rtol
        good = np.isfinite(error) & np.isfinite(end).all(1)
        accepted = good & (error <= 1)
        self._choose_step(rows, h, np.where(good, error, np.inf), accepted)
        out.rejected[rows[~accepted]] += 1
        if accepted.any():
            step = Segment(rows, out.t[rows], h, y, end, bow, np.full((rows.size, self.g.shape[1]), np.nan))
            self._accept(step if accepted.all() else step.take(np.flatnonzero(accepted)))
        self._retire_failures(rows)
        self.active = rows[out.status[rows] == RUNNING]

    def _refresh_jacobians(self, rows):
        if rows.size:
            self.f[rows], self.J[rows] = self.jac(take(self.result.y, rows), rows)
            self.result.njev[rows] += 1
            self.stale[rows] = False

    def _extrapolate(self, rows, y, h, scale):
        """One step: (y_end (R, n), error (R, n), bow (R, k - 1, n)).

        The linear systems are solved in units of the error scale, so that the pivoting
        compares what the error control compares.
        """
        parts, weights = tableau(self.order)
        f, J = take(self.f, rows), take(self.J, rows)
        J *= scale[:, None, :]
        J /= scale[:, :, None]
        h_part, unit = (h / parts[:, None]).T, scale[:, None]
        solve, per_unit = eliminate(J, h_part), h_part[:, :, None] / unit
        moved = np.zeros(per_unit.shape, order="F")
        passed, done = np.empty((weights.shape[1], *y.T.shape)), 0
        for i in range(self.order):
            on_way = moved[:, :self.order - i]
            rate = self.fun(y[:, None] + unit * on_way, rows) if i else f[:, None]
            on_way += solve(per_unit[:, :self.order - i] * rate)
            passed[done:done + self.order - i] = on_way.transpose(1, 2, 0)
            done += self.order - i
        out = (weights @ passed.reshape(done, -1)).reshape(-1, *y.T.shape) * scale.T
        self.result.nfev[rows] += self.order - 1
        return y + out[0].T, out[1].T, out[2:].T.swapaxes(1, 2)

    def _choose_step(self, rows, h, error, accepted):
        """Gustafsson's predictive controller; a plain one after a rejection. Sizes are rungs of a ladder."""
        error = np.maximum(error, 1e-10)
        plain = SAFETY * error ** (-1 / self.order)
        before = self.h_before[rows] > 0
        ratio = np.where(before, h / np.where(before, self.h_before[rows], 1), 1)
        predictive = ratio * (self.error_before[rows] / error) ** (1 / self.order) * plain
        growth = np.where(accepted & before, np.minimum(plain, predictive), plain)
        growth = np.where(np.isfinite(error), np.clip(growth, MIN_GROWTH, self.max_growth), NAN_GROWTH)
        self.h[rows] = np.exp2(np.floor(RUNGS * np.log2(h * growth)) / RUNGS)
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
        before, after = self.g[segment.rows], self.events(segment.end, segment.rows)
        self.g[segment.rows] = after
        segment.event_theta[:] = locate(segment, self.events, before, after)
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
        bad_start = ~np.isfinite(self.f[rows]).all(1) | ~np.isfinite(self.J[rows]).all((1, 2))
        for code, broken in ((STEP_TOO_SMALL, self.h[rows] < smallest),
                             (TOO_MANY_STEPS, out.steps[rows] + out.rejected[rows] >= self.max_steps),
                             (NOT_FINITE, bad_start)):
            out.status[rows[running & broken]] = code
