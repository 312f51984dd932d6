"""What a settled state of the flow still does when its noise is gone (docs/theory.md, "When an end is for good").

The forces of the noise fall as t^(-3/2) and can be summed up. What persists is the motion of overlaps and head
without noise, which may all but rest for thirty decades of time and then begin. It is an autonomous system that is
stiff or at rest nearly always, so that the integrator's steps grow a thousandfold from one to the next.

Shapes: R states, m neurons, K features.
"""

import numpy as np

from simsim import population
from simsim.flow import coordinates, solver
from simsim.flow.methods import Rodas5P

RTOL = 1e-3  # enough to tell where a state ends; when it does is hardly asked
FIRST_STEP = 1e-3  # of the time at the start
HEAD_FLOOR = 1e-3  # accuracy asked of an entry of the head that is near 0, against what moved in its row at the start
MAX_GROWTH = 1e3  # of a step over the one before it: what rests may rest for a hundred decades
METHOD = Rodas5P()  # so loose a tolerance asks for no higher order
MOST_STEPS = 2000  # after which it stays open what becomes of a state
STRAIGHT = 1e-2  # how alike all rates times t are where overlaps fade by power laws and the head rests,
STRAIGHT_FACTOR = 1e10  # from a time to one this much later: after that nothing else comes
LEFT, FADES = 2, 3  # the status of a state that has left its place, and of one that has become a power law


def stays_until(equations, a, U, E, t, horizon, allowed, check=lambda: None):
    """How long states a (R, m, K), E (R, m, m) of times t (R,) keep their shares without noise: until (R,), moments then.

    A state has left its place when a share is off by more than `allowed`. `until` is inf where it has not at the time
    `horizon`, nan where that could not be found out. U (R, m, m) is noise that stays: that of neurons which hold
    nothing else, and else zero. `check` is called all the time, and may raise.
    """
    with np.errstate(all="ignore"):  # a trial step may leave the domain; it is rejected
        run = _Run(equations, a, U, E, t, allowed, check)
        out = solver.solve(run.velocity, run.y0, horizon / t.min(), rtol=RTOL, scale=run.scale, on_step=run.on_step,
                               first_step=FIRST_STEP, max_steps=MOST_STEPS, t_resolution=0, max_growth=MAX_GROWTH,
                               method=METHOD)
        rests = (out.status == solver.FINISHED) | (out.status == FADES)
        until = np.where(out.status == LEFT, run.until, np.where(rests, np.inf, np.nan))
        return until, run.look(out.y, np.arange(t.size))[1]


class _Run:
    """The functions that the integrator calls back. Its time is in units of the times t (R,) of the states."""

    def __init__(self, equations, a, U, E, t, allowed, check):
        self.check = check
        self.equations, self.t, self.allowed, self.until = equations, t, allowed, t.copy()
        self.chart, self.y0 = coordinates.chart_in_plain_time(equations, a, U, E)
        rows = np.arange(t.size)
        state, M = self.look(self.y0, rows)
        self.shares = self._shares(M)
        self.since, self.motion = np.ones(t.size), np.full(self.y0.shape, np.inf)
        moved = np.abs(state.E - np.eye(equations.m)).max(-1, keepdims=True)
        rounding = np.finfo(float).eps / RTOL  # of its diagonal, of which nothing smaller can be known
        self.floor = np.maximum(HEAD_FLOOR * moved, rounding) + np.zeros_like(state.E)
        coordinates.refold(equations, self.chart, self.y0, rows, state)

    def velocity(self, y, rows):
        """Rates of y (R, n) or (R, n, n)."""
        self.check()
        unit = self.t[rows].reshape(-1, *(1,) * (y.ndim - 1))
        return unit * coordinates.velocity_without_noise(self.equations, self.chart.take(rows, y.ndim), y)

    def look(self, y, rows):
        """(state, moments) of y (R, n)."""
        state = coordinates.decode(self.equations, self.chart.take(rows, 2), y)
        return state, population.moments_of(state.B, population.gram_of(state.U), state.E, self.equations.setting)

    def scale(self, y, rows):
        """What an error in each component is compared with, (R, n)."""
        scale = np.ones_like(y)
        if self.equations.head_moves:
            head = np.abs(coordinates.head(self.equations, self.chart.take(rows, 2), y)) + self.floor[rows]
            coordinates.parts(self.equations, scale)[2][...] = coordinates.moving(self.equations, head)
        return scale

    def on_step(self, segment):
        """Stop where a share is off, else choose the coordinates of the next step."""
        rows = segment.rows
        state, M = self.look(segment.end, rows)
        left = ~(np.abs(self._shares(M) - self.shares[rows]).max((1, 2)) <= self.allowed)
        self.until[rows] = self.t[rows] * (1 + segment.t)
        y = segment.end.copy("K")
        fades = self._fades(y, rows, 1 + segment.t + segment.h)
        coordinates.refold(self.equations, self.chart, y, rows, state)
        return y, np.where(left, LEFT, np.where(fades, FADES, 0))

    def _fades(self, y, rows, t):
        """(R,) whether overlaps have changed by the same powers of t, none of them growing, while the head rested."""
        late = np.flatnonzero(t > STRAIGHT_FACTOR * self.since[rows])
        fades = np.zeros(rows.size, bool)
        if late.size:
            y, which, t = y[late], rows[late], t[late]
            motion = t[:, None] * self.velocity(y, which) / self.scale(y, which)
            head = coordinates.parts(self.equations, motion)[2]
            alike = np.abs(motion - self.motion[which]) <= STRAIGHT
            logs = coordinates.logs(coordinates.parts(self.equations, motion)[0])
            fades[late] = alike.all(1) & (logs <= STRAIGHT).all((1, 2)) & (np.abs(head) <= STRAIGHT).all((1, 2))
            self.since[which], self.motion[which] = t, motion
        return fades

    def _shares(self, M):
        """Shares of the outputs (R, m, K), eq. 11."""
        return self.equations.setting.h11 * M.B**2 / M.G[..., None]
