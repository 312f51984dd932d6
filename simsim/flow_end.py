"""When the end of a trajectory of the flow is known, and what it is.

A path ends when both features are held and the head is back (m = 2), or when it has
settled. A small rate is not enough for that: after a collapse with E != I a weak overlap
may grow at a *constant* rate, which is 1e-6 / t for ten decades and then learns its feature.
So every rate has to fall faster than 1 / t.

Shapes: S trajectories, R <= S of them still running, m neurons.
"""

import numpy as np

from simsim import flow_state, population
from simsim.phases import RETURNED, off_diagonal

OWNED_SHARE = 0.99  # a feature is owned by a neuron whose share of it is above this
SETTLED_NOISE = 1e-2  # no neuron's output has more noise than this at the end
SETTLED_RATE = 1e-2  # nothing grows, no head entry moves, faster than this / t
SETTLED_FACTOR = 10.0  # all this has held while t grew by this factor
RETURNED_HEAD = 1e-3  # the head's off-diagonal entries at the end of a run with m = 2
COLLAPSED_CORRELATION = 0.99  # of every pair of outputs, in a collapse
BOTH, COLLAPSED, TIMED_OUT, MIXED, ALONE, GAVE_UP, DRIFTED = 1, 2, 3, 4, 5, 6, -10
VERDICTS = {
    BOTH: "both features learned",
    COLLAPSED: "collapsed: the outputs of all neurons are parallel",
    ALONE: "settled: a single neuron has learned its feature",
    MIXED: "settled, but a neuron holds both features",
    TIMED_OUT: "not yet: t_max reached",
    GAVE_UP: "not yet: it took too long to compute",
    DRIFTED: "failed: a conserved quantity drifted",
}


class Certificate:
    """What has to be remembered of S trajectories to know when they have ended."""

    def __init__(self, layout, S, tail):
        """A success is certified only when t has grown by the factor `tail` since it was one."""
        self.layout, self.tail = layout, tail
        self.returned_since = np.full(S, np.inf)
        self.still_since = np.full(S, np.inf)
        self.motion = np.zeros((S, layout.m * (layout.m * layout.trained + 2)))  # rates times t then

    def verdict(self, rows, state, M, shares, peak, t):
        """(R,) 0, or what the trajectory has come to; `shares` (R, m, 2), `peak` (R,) of |E_off| so far."""
        quiet = shares.sum(-1).min(1) > 1 - SETTLED_NOISE
        if not quiet.any():
            self.returned_since[rows] = self.still_since[rows] = np.inf
            return np.zeros(rows.size, int)
        owned = (shares.max(1) > OWNED_SHARE).all(-1)
        ended = self._returned(rows, quiet & owned, off_diagonal(state.E), peak, t)
        ended |= self._settled(rows, quiet, state, M, t, np.where(owned, max(self.tail, SETTLED_FACTOR), SETTLED_FACTOR))
        if not ended.any():
            return np.zeros(rows.size, int)
        return np.where(ended, np.where(owned, BOTH, self._undivided(M)) if self.layout.m > 1 else ALONE, 0)

    def _returned(self, rows, learned, head, peak, t):
        back = (head < RETURNED_HEAD) & (head <= RETURNED * np.maximum(peak, 1e-300))
        back &= learned & (self.layout.m == 2) & self.layout.trained
        self.returned_since[rows] = np.where(back, np.minimum(self.returned_since[rows], t), np.inf)
        return t >= self.tail * self.returned_since[rows]

    def _settled(self, rows, quiet, state, M, t, factor):
        """(R,) True where every rate times t is small, and has fallen while t grew by `factor` (R,)."""
        layout = self.layout
        forces = flow_state.forces(layout, state, M)
        growth = population.overlap_growth(forces, state.E, state.a, layout.setting)
        rates = [np.maximum(growth, 0)]  # an overlap that shrinks learns nothing
        if layout.trained:
            rates.append(np.abs(layout.head_rates * population.head_gradient(M, forces)))
        motion = t[:, None] * np.concatenate([rate.reshape(t.size, -1) for rate in rates], axis=1)
        still = quiet & (motion < SETTLED_RATE).all(1)
        since = np.where(still, self.still_since[rows], np.inf)
        waited = t > factor * since
        fallen = (motion <= self.motion[rows]).all(1)
        anew = np.isinf(since) | (waited & ~fallen)
        self.still_since[rows] = np.where(anew & still, t, since)
        self.motion[rows] = np.where(anew[:, None], motion, self.motion[rows])
        return waited & fallen

    def _undivided(self, M):
        """(R,) what a settled state is in which no two neurons own the two features."""
        alike = np.abs(population.correlations_of(self.layout.setting, M)).min((1, 2))
        return np.where(alike > COLLAPSED_CORRELATION, COLLAPSED, MIXED)
