"""When the end of a trajectory of the flow is known, and what it is.

Under batch norm a path ends when it has settled. That its neurons hold their features and its head
is back does not say so: with a small rest of E a neuron may unlearn what it holds, and the other
feature come in its place. Nor is a small rate enough: after a collapse with E != I a weak overlap
may grow at a *constant* rate, which is 1e-6 / t for ten decades and then learns its feature.
So every rate has to fall faster than 1 / t, but for what is none: where stiff forces balance, the rate
is their rounding. Nor is it enough that a weak overlap shrinks at such a rate: its sign is that of a sum
over the head's entries, which may turn when one of them has come back. So what is left when the noise is
gone has to stay in its place as well, to the end of all times (see `noiseless`).

Without batch norm nothing settles: loss and gradient are homogeneous in W, and a collapse goes
on for ever as ||w|| ~ t^(-1/4). It is certified by that power.

Shapes: S trajectories, R <= S of them still running, m neurons, K features.
"""

import numpy as np

from simsim import population
from simsim.ends import ALONE, BOTH, COLLAPSED, COMPLETE, MIXED, NOTHING, PART
from simsim.flow import coordinates, noiseless
from simsim.measures import ALIKE
from simsim.phases import held_alone, owned

SETTLED_NOISE = 1e-2  # a neuron has settled when its output has less noise than this, or is noise but for this
FADING = -0.2  # d log|a| / d log t up to which an overlap fades: a neuron stays noise where all of its overlaps do
SETTLED_RATE = 1e-2  # nothing grows, no head entry moves against its row, faster than this / t
SETTLED_FACTOR = 10.0  # by which t has grown while the bounds above held
STIFF = 1e6  # times 1 / t: a force that changes so much with a coordinate keeps it in balance, or has it leave at once
NUDGE = 8 * np.finfo(float).eps  # of a coordinate, by which rounding may have moved it
LEFT_TO_NOISE = 2.0  # all that forces falling as t^(-3/2) will still do, over what they do in one unit of log t now
MOST_LEFT = 2.0  # the most of it that is granted, in log|a|: what would move further comes to rest elsewhere
HORIZON = 1e150  # the time until which what is left without noise has to stay
POWER, POWER_TOLERANCE = -0.25, 0.01  # of t in ||w||, over the last SETTLED_FACTOR of t, in a complete collapse


class Certificate:
    """What has to be remembered of S trajectories to know when they have ended."""

    def __init__(self, equations, S, tail):
        """Whatever settles has to stay so while t grows by SETTLED_FACTOR, and a success while it grows by `tail`."""
        self.equations, self.tail = equations, tail
        self.still_since = np.full(S, np.inf)
        m, K = equations.m, equations.features
        parts = 1 if equations.setting.deficit is None else 2
        self.overlaps = m * K * parts  # so many rates are of overlaps, then come those of the head
        self.motion = np.zeros((S, self.overlaps + m * m * equations.head_moves))  # as in `_motion`, at `still_since`
        self.not_before = np.zeros(S)  # the time before which another end need not be looked for
        self.decade_began, self.sizes = np.full(S, np.inf), np.zeros((S, m * (K + 1) + 1))  # logarithms at `decade_began`

    def verdict(self, rows, state, M, forces, shares, t, nearby):
        """(R,) 0, or what the trajectory has come to, if that is `for_good`; `shares` (R, m, K).

        nearby(which) is what rounding may have made of the states `which` (N,): (state, moments), (N, L, ...).
        """
        if not self.equations.certifiable:
            return np.zeros(rows.size, int)
        if not self.equations.objective.batch_norm:
            return np.where(self._vanishing(rows, state, M, forces, t), COMPLETE, 0)
        noise = 1 - shares.sum(-1)
        learned, empty = noise < SETTLED_NOISE, noise > 1 - SETTLED_NOISE
        if not (learned | empty).all(1).any():
            self.still_since[rows] = np.inf
            return np.zeros(rows.size, int)
        rates = self._rates(state, M, forces)
        growth = t[:, None, None] * rates[:, :state.a[0].size].reshape(state.a.shape)
        clear = (learned | (empty & (growth < FADING).all(-1))).all(1)
        factor = np.where(owned(shares).all(-1), max(self.tail, SETTLED_FACTOR), SETTLED_FACTOR)
        ended = self._settled(rows, clear, rates, t, factor, nearby) & (t >= self.not_before[rows])
        return np.where(ended, name(self.equations, M), 0)

    def for_good(self, rows, state, M, t, check=lambda: None):
        """(R,) whether trajectories that have settled stay what they are when their noise is gone.

        Asked twice: of the state as it is, and of where the rest of the noise's work may bring it. Of those that do
        not, `verdict` will say nothing until they have. `check` is called all the time, and may raise. Where
        `Equations.can_be_followed_without_noise` is False nothing is asked, and the ends rest on the rates alone.
        """
        if not self.equations.can_be_followed_without_noise:
            return np.ones(rows.size, bool)
        forces = coordinates.forces(self.equations, state, M)
        growth = population.overlap_growth(forces, state.E, state.a, self.equations.setting)
        work = np.clip(LEFT_TO_NOISE * t[:, None, None] * growth, -MOST_LEFT, MOST_LEFT)
        empty = M.k > (1 - SETTLED_NOISE) * M.G
        U, E = np.where(empty[..., None], state.U, 0), state.E
        if self.equations.head_moves:
            E = E + LEFT_TO_NOISE * t[:, None, None] * self.equations.head_velocity(M, forces)
        twice = [np.asfortranarray(np.concatenate(pair))
                 for pair in ((state.a, state.a * np.exp(work)), (U, U), (state.E, E))]
        until, at_end = noiseless.stays_until(self.equations, *twice, np.tile(t, 2), HORIZON, SETTLED_NOISE, check)
        same = name(self.equations, at_end) == np.tile(name(self.equations, M), 2)
        known = np.where(np.isfinite(until), until, 0).reshape(2, -1).min(0)
        self.not_before[rows] = np.maximum(known, SETTLED_FACTOR * t)
        return (np.isinf(until) & same).reshape(2, -1).all(0)

    def _settled(self, rows, clear, rates, t, factor, nearby):
        """(R,) True where every rate times t is small, and has fallen while t grew by `factor` (R,); a `_balanced` one is 0."""
        motion = self._motion(rates, t)
        asked = np.flatnonzero(clear)
        if asked.size and not self.equations.stiffness_is_a_coordinate:  # else rates keep their digits
            motion[asked] = np.where(self._balanced(rates[asked], t[asked], *nearby(asked)), 0, motion[asked])
        still = clear & (motion < SETTLED_RATE).all(1)
        since = np.where(still, self.still_since[rows], np.inf)
        waited = t > factor * since
        fallen = (motion <= self.motion[rows]).all(1)
        anew = np.isinf(since) | (waited & ~fallen)
        self.still_since[rows] = np.where(anew & still, t, since)
        self.motion[rows] = np.where(anew[:, None], motion, self.motion[rows])
        return waited & fallen

    def _rates(self, state, M, forces):
        """The rates (..., c) that have to fall: of log|a|, and of the entries of the head against its rows.

        Where features differ in mu12, also what of the first is not due to noise. Noise goes and this remains: a neuron
        with a feature that two views agree in less may leave it long after the sum of both has begun to fall
        (docs/theory.md, eq. 46).
        """
        rates = [population.overlap_growth(forces, state.E, state.a, self.equations.setting)]
        if self.equations.setting.deficit is not None:
            drawn = coordinates.forces(self.equations, state, M._replace(n=0 * M.n, k=0 * M.k))
            rates.append(population.overlap_growth(drawn, state.E, state.a, self.equations.setting))
        if self.equations.head_moves:
            rates.append(self.equations.head_velocity(M, forces) / np.abs(state.E).max(-1, keepdims=True))
        return np.concatenate([rate.reshape(*rate.shape[:-2], -1) for rate in rates], axis=-1)

    def _motion(self, rates, t):
        """`rates` (R, c) times t where they may still change something: an overlap that shrinks learns nothing."""
        motion = t[:, None] * rates
        return np.concatenate([np.maximum(motion[:, :self.overlaps], 0), np.abs(motion[:, self.overlaps:])], axis=1)

    def _balanced(self, rates, t, state, M):
        """(N, c) which `rates` (N, c) are nothing but rounding, of forces in balance that bring back at once what is off it.

        Were the balance unstable, the same rounding would have left it long before the time t. A rate of this kind does not
        fall: what is stiff stays so, and with t grows what rounding does in that time. State and moments are those `nearby`.
        """
        off = np.abs(self._rates(state, M, coordinates.forces(self.equations, state, M)) - rates[:, None]).max(1)
        return (np.abs(rates) <= off) & (t[:, None] * off > STIFF * NUDGE)

    def _vanishing(self, rows, state, M, forces, t):
        """(R,) True where ||w|| has gone as t^(-1/4) while t grew by SETTLED_FACTOR, and no part of it slower."""
        parts = np.concatenate([np.abs(state.a).reshape(t.size, -1), np.sqrt(M.q)], axis=1)
        sizes = np.log(np.concatenate([parts, np.sqrt((parts**2).sum(1, keepdims=True))], axis=1))
        waited = t > SETTLED_FACTOR * self.decade_began[rows]
        with np.errstate(invalid="ignore"):
            powers = (sizes - self.sizes[rows]) / np.log(t / self.decade_began[rows])[:, None]
        head = self._motion(self._rates(state, M, forces), t)[:, self.overlaps:]
        gone = waited & (np.abs(powers[:, -1] - POWER) < POWER_TOLERANCE)
        gone &= (powers < POWER + POWER_TOLERANCE).all(1) & (head < SETTLED_RATE).all(1)
        anew = waited | np.isinf(self.decade_began[rows])
        self.decade_began[rows] = np.where(anew, t, self.decade_began[rows])
        self.sizes[rows] = np.where(anew[:, None], sizes, self.sizes[rows])
        return gone


def name(equations, M):
    """(R,) what a settled state under batch norm is, from its moments."""
    shares = equations.setting.h11 * M.B**2 / M.G[..., None]
    noise = 1 - shares.sum(-1)
    if equations.m == 1:
        return np.select([owned(shares).all(-1), noise[:, 0] < SETTLED_NOISE], [BOTH, ALONE], NOTHING)
    alike = np.abs(population.correlations_of(equations.setting, M)).min((1, 2)) > ALIKE
    alike |= held_alone(shares).all(1).any(-1)
    mixed = ((noise < SETTLED_NOISE) & ~held_alone(shares).any(-1)).any(1)
    nothing = (noise > 1 - SETTLED_NOISE).all(1)
    return np.select([owned(shares).all(-1), nothing, alike, mixed], [BOTH, NOTHING, COLLAPSED, MIXED], PART)
