"""Two neurons and a trained head through phases I to III of SGD, under the noise of their batches (docs/theory.md, section 8).

The state of one run is eight numbers: the overlaps a_11, a_12, a_21 and a_22, the noise X_j = ||w_j^perp||^2 of both neurons, the
length ||w_1||^2, which knows a_11 better than itself once that is all there is, and E_21. Neuron 1 is the one that learns v_1
first; E_12 and the angle between the noise parts are left out. Signs are those in which a_11, a_21 and a_22 are positive, which
leaves E_21 and a_12 theirs. `Pair.mean` follows the mean of the runs, `Pair.runs` many of them, each with noise of its own.
`simsim.laws` makes both from a Config: `laws.course` and `laws.runs_with_noise`.

Times are t = eta * steps; p is the number of runs side by side.

>>> from simsim import Config, laws, noise_runs
>>> config = Config(alpha_ratio=3.0, d=100, feature_patches=4, init_seed=32296, batch_size=256, lr=0.0256)
>>> round(laws.course(config).weak)  # T_3 of the mean of the runs; of the flow it is 58
106
"""

import itertools
from math import exp, log
from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from simsim.data import even_moments, split_law

TOLERANCE, SMALLEST = 1e-6, 1e-9  # relative and absolute, of the mean
LARGEST_RISE = 3.0  # of log X_2 over its start, from where on neuron 2 is lost
LATEST = 1e250  # a time that no run of any flow reaches
LONGEST_WAY = 1e4  # of the logarithms of the state, together
MOST_LOOKS = 20_000  # evaluations of the mean, which takes 500 to 1,500 of them where it comes to an end
CHANGE, WANDERING = 0.03, 0.1  # of a coordinate in a step, by its drift, and by its noise
MOST_STEPS = 200_000
PARTS = 64  # runs that are left before others are dropped from the arrays


class Masks(NamedTuple):
    """Means over the masks of a sample with k feature patches, exact: of k_i and nu_i, the patches of feature and noise in view i.

    The first three are of one feature of K, which a sample shows with probability 1 / K.
    """

    target: float  # E[k_2^2 nu_1] / K
    both: float  # E[k_1 k_2 nu_1] / K
    own: float  # E[k_1^2 nu_1] / K
    pairs: float  # E[nu_1 (nu_1 - 1)]


def masks(config):
    """The `Masks` of a Config."""
    k1, chance = split_law(config.patches, config.feature_patches)
    k2, noisy = config.feature_patches - k1, config.patches / 2 - k1
    shown = noisy / config.features
    return Masks(*(float(chance @ one) for one in (k2**2 * shown, k1 * k2 * shown, k1**2 * shown, noisy * (noisy - 1))))


class Outputs(NamedTuple):
    """Second moments of a state, each a number or (p,): features B and H, noise n, variances D, G and (D_2 G_2)^(1/2)."""

    B11: float
    B12: float
    B21: float
    B22: float
    H1: float
    H2: float
    n1: float
    n2: float
    D1: float
    D2: float
    G2: float
    s2: float


class Course(NamedTuple):
    """The mean of the runs of one start: when it learns, and where phase III begins (docs/theory.md, eqs. 87 to 89).

    strong, substituted, weak : T_1, T_2 and T_3 as t; inf where it does not happen
    X : X_0 = ||w_2^perp||^2 at T_2, nan without T_2
    head : E_21 there
    leak : |B_21| there
    """

    strong: float
    substituted: float
    weak: float
    X: float
    head: float
    leak: float


class Runs(NamedTuple):
    """What becomes of p runs of one start (docs/theory.md, eqs. 90 to 93), each (p,).

    weak : T_3 as t, when neuron 2 holds v_2; inf where it does not within the time
    own : whether neuron 2 had learned v_1 by itself before the head brought it
    exchanged : whether the other neuron was the first to learn v_1
    X, head : X_2 and E_21 when the head had first brought v_1 to neuron 2; nan before
    time : t until which each has been followed
    """

    weak: np.ndarray
    own: np.ndarray
    exchanged: np.ndarray
    X: np.ndarray
    head: np.ndarray
    time: np.ndarray

    @property
    def learned(self):
        """The part of the runs that learn v_2 with neuron 2."""
        return float(np.isfinite(self.weak).mean())

    def quantiles(self, parts=(0.25, 0.5, 0.75)):
        """Quantiles of T_3, those that have none counting as inf."""
        return np.quantile(self.weak, parts, method="lower")


class Pair:
    """Two neurons, the first of which learns v_1 first, and E_21 (docs/theory.md, eqs. 87 to 93).

    config : Config of features in equally many patches
    overlaps (2, 2), noise_norms (2,) : of two of its neurons and two of its features, in the order of the theory
    batch : noise_laws.Batch
    freedom, held : d without the features and w itself, and W of eq. 67
    tau, lr : of which the noise and the steps are made; tau = 0 and lr = 0 is the flow
    weak : which feature is the second one, counted from 0
    """

    def __init__(self, config, overlaps, noise_norms, batch, freedom, held, tau, lr, weak=1):
        self.strong, self.weak = (config.effective_alphas[feature] ** 3 for feature in (0, weak))
        mu11, mu12, self.nu = even_moments(config)
        self.h11, self.mu12 = mu11 / config.features, 2 * mu12 / config.features  # where there are two, h and mu_12
        self.kappa, self.tau, self.lr = config.kappa, tau, lr
        self.batch, self.freedom, self.held, self.masks = batch, freedom, held, masks(config)
        self._walk = batch.walk / config.features
        a = np.asarray(overlaps, dtype=float)
        sign = np.sign(a[0, 0] * a[1, 0] * a[0, 1] * a[1, 1])
        X = np.asarray(noise_norms, dtype=float) ** 2
        self.first = tuple(map(float, (abs(a[0, 0]), sign * abs(a[0, 1]), X[0], abs(a[1, 0]), abs(a[1, 1]), X[1], 0.0)))

    # ---- one state -------------------------------------------------------------------------------

    def outputs(self, a11, a12, X1, a21, a22, X2, E):
        """The `Outputs` of a state: numbers, or arrays of one shape."""
        B11, B12, B21, B22 = self.strong * a11**3, self.weak * a12**3, self.strong * a21**3, self.weak * a22**3
        n1, n2, h = 15 * self.nu * X1**3, 15 * self.nu * X2**3, self.h11
        H1, H2 = B21 + E * B11, B22 + E * B12
        D1, G2 = n1 + h * (B11 * B11 + B12 * B12), n2 + h * (B21 * B21 + B22 * B22)
        D2 = n2 + E * E * n1 + h * (H1 * H1 + H2 * H2)
        return Outputs(B11, B12, B21, B22, H1, H2, n1, n2, D1, D2, G2, (D2 * G2) ** 0.5)

    def flow(self, state, of):
        """d/dt of a11, a12, X1, a21, a22, X2, E in the mean of a batch, without growth (eq. 87); `of` its `Outputs`."""
        a11, a12, X1, a21, a22, X2, E = state
        fed, h = of.n2 + E * E * of.n1, self.h11
        crossed = h * E * (of.B22 * of.B11 - of.B21 * of.B12)
        heavy = of.n1 / of.D1
        first = 1 + (self.batch.drift - 1) * heavy * heavy
        second = 1 + (self.batch.target - 1 + (self.batch.drift - self.batch.target) * of.n2 / of.D2) * of.n2 / of.G2
        own = first * self.mu12 / (of.D1 * of.D1)  # of R_1l / D_1, over n_1 B_1l
        pull = second * self.mu12 / (of.D2 * of.s2)  # of R_2l / (D_2 G_2)^(1/2), over its bracket
        on1, on2 = pull * (fed * of.B21 - of.H2 * crossed), pull * (fed * of.B22 + of.H1 * crossed)
        shrinks = pull * (of.H1 * of.B21 + of.H2 * of.B22) / 2
        by_first = own * (of.B11 * of.B11 + of.B12 * of.B12) / 2
        return (3 * self.strong * a11 * a11 * (own * of.n1 * of.B11 + E * on1),
                3 * self.weak * a12 * a12 * (own * of.n1 * of.B12 + E * on2),
                -12 * of.n1 * (by_first + E * E * shrinks), 3 * self.strong * a21 * a21 * on1, 3 * self.weak * a22 * a22 * on2,
                -12 * of.n2 * shrinks, self.kappa * (on1 * of.B11 + on2 * of.B12 - 2 * E * of.n1 * shrinks))

    def growth(self, state, of):
        """d/dt of X1 and X2 by the noise of batches (eq. 88): E[(Z - rho Y)^2 sum u^4] in closed form, each view by its own."""
        _, _, X1, _, _, X2, E = state
        mask, nu, rate = self.masks, self.nu, 36 * self.tau * self.freedom
        common = self.batch.common, self.batch.common_target

        def push(X, other, B, H, D, G, noise):
            """E[(Z - rho Y)^2 S], S of a neuron with X; `other` is n of the target, `noise` that of the prediction times S."""
            strong, both, size = B[0] * B[0] + B[1] * B[1], H[0] * B[0] + H[1] * B[1], H[0] * H[0] + H[1] * H[1]
            slope = self.mu12 / 2 * both / D  # rho (G / D)^(1/2)
            learned = self.h11 * size / D
            by_noise = nu * (common[0] + (common[1] - common[0]) * learned)
            pushed = mask.target * strong + other * by_noise - 2 * slope * mask.both * both + slope**2 * mask.own * size
            return (3 * X * X * pushed + slope**2 * noise) / G

        own, squares = 945 * nu + 45 * mask.pairs, mask.pairs + nu
        first, second, heads = (of.B11, of.B12), (of.B21, of.B22), (of.H1, of.H2)
        on1 = push(X1, of.n1, first, first, of.D1, of.D1, own * X1**5) / of.D1
        on1 = on1 + E * E * push(X1, of.n2, second, heads, of.D2, of.G2, 45 * X2**3 * X1**2 * squares) / of.D2
        on2 = push(X2, of.n2, second, heads, of.D2, of.G2, own * X2**5 + 45 * E * E * X1**3 * X2**2 * squares) / of.D2
        along = 1 + 5 / self.freedom * (1 - of.n2 / of.D2) ** 2  # of w_2 itself, which moves with the head by eq. 12
        return rate * on1, rate * on2 * along

    # ---- the mean --------------------------------------------------------------------------------

    def mean(self, latest=LATEST):
        """The `Course` of the mean of the runs, up to the time `latest` (eqs. 87 to 89).

        ValueError where the integrator does not come to an end, as where neuron 1 is drawn away and all stands still.
        """
        a11, a12, X1 = self.first[:3]
        unit = 5 * self.nu * X1**3 / (4 * self.mu12 * self.strong**2 * a11**4)  # T_1 of eq. 16
        begin = np.array([log(a11), a12, *map(log, self.first[2:6]), 0.0, 0.0])
        logs, looks = [0, 2, 3, 4, 5], itertools.count(1)

        def state_of(z):
            z = z.tolist()  # numbers of Python, with which a formula takes a third of the time
            return [exp(z[0]), z[1], *map(exp, z[2:6]), z[6]]

        def rates(_, z):
            if next(looks) > MOST_LOOKS:
                raise ValueError(f"eqs. 87 to 89: the mean of the runs from this start has no end after {MOST_LOOKS:,} evaluations")
            state = state_of(z)
            of = self.outputs(*state)
            change, grown = [*self.flow(state, of)], self.growth(state, of)
            squares = [one * one for one in change]
            squares[2], squares[5] = squares[2] / (4 * state[2]), squares[5] / (4 * state[5])
            change[2] += grown[0] + self.lr * sum(squares[:3])  # a step along the mean gradient lengthens a row as well
            change[5] += grown[1] + self.lr * sum(squares[3:6])
            for place in logs:
                change[place] /= state[place]
            # The clock is the way itself, in which blow-ups are smooth and waits are short.
            speed = sum(map(abs, change)) + (abs(change[1]) / (abs(a12) + state[4]))
            return [*(one / speed for one in change), 1 / (speed * unit)]

        def ahead(z, place):
            """log of B^2 h over n, of v_1 in f_1 (0), v_1 in F_2 (1) and v_2 in f_2 (2)."""
            of = self.outputs(*state_of(z))
            feature, rest = ((of.B11**2, of.n1), (of.H1**2, of.n2), (of.B22**2, of.n2 + self.h11 * of.B21**2))[place]
            return log(max(self.h11 * feature, 1e-300) / rest)

        events = [lambda _, z, place=place: ahead(z, place) for place in range(3)]
        events += [lambda _, z: z[5] - begin[5] - LARGEST_RISE, lambda _, z: z[7] * unit - latest]
        for event in events[2:]:
            event.terminal = True
        path = solve_ivp(rates, (0, LONGEST_WAY), begin, events=events, method="LSODA", rtol=TOLERANCE, atol=SMALLEST)
        ends = [found[0] if len(found) else None for found in path.y_events[:3]]
        times = [np.inf if end is None else float(end[7] * unit) for end in ends]
        if ahead(begin, 0) >= 0:
            times[0] = 0.0
        if ends[1] is None:
            return Course(*times, np.nan, np.nan, np.nan)
        return Course(*times, float(np.exp(ends[1][5])), float(ends[1][6]), float(self.strong * np.exp(3 * ends[1][3])))

    # ---- many runs -------------------------------------------------------------------------------

    def scatter(self, state, of):
        """What moves a11, a12, a21, a22 and E at random, over tau^(1/2): five rows of six independent parts (eq. 90).

        The parts are the features of view 1, the noise of f_1 and f_2 in it, all in F_2, and the features in F_1.
        """
        a11, a12, _, a21, a22, _, E = state
        h, M = self.h11, self._walk
        pushed = (self.batch.common_target * of.n2 + self.held * h * (of.B21**2 + of.B22**2)) / of.G2
        sizes = (np.sqrt(M * of.n2 / of.G2),) * 2 + (np.sqrt(of.n1 * pushed), np.sqrt(of.n2 * pushed))
        heads, held = (of.H1, of.H2, E, 1.0), (of.B11, of.B12)

        def parts(one, two, noise=0.0):
            """Of a change of F_2 by v_1 times `one`, v_2 times `two` and f_1's noise times `noise` (eq. 73)."""
            along = (h * (one * of.H1 + two * of.H2) + noise * E * of.n1) / of.D2
            return [2 / np.sqrt(of.D2) * (own - head * along) * size
                    for own, head, size in zip((one, two, noise, 0.0), heads, sizes)]

        def in_first(one, two):
            along, size = h * (one * of.B11 + two * of.B12) / of.D1, 2 * np.sqrt(M * of.n1) / of.D1
            return [size * (own - answer * along) for own, answer in zip((one, two), held)]

        by1, by2 = 3 * self.strong * a11 * a11, 3 * self.weak * a12 * a12
        zero = [0 * E, 0 * E]
        return np.array([parts(E * by1, 0.0) + in_first(by1, 0.0), parts(0.0, E * by2) + in_first(0.0, by2),
                         parts(3 * self.strong * a21 * a21, 0.0) + zero, parts(0.0, 3 * self.weak * a22 * a22) + zero,
                         parts(self.kappa * of.B11, self.kappa * of.B12, self.kappa) + zero])

    def runs(self, count, latest, rng):
        """The `Runs` of so many runs up to the time `latest` (eqs. 90 to 93), by steps that are never shorter than those of SGD."""
        state = np.repeat(np.array(self.first)[:, None], count, axis=1)
        length = state[0] ** 2 + state[1] ** 2 + state[2]  # ||w_1||^2
        found = Runs(np.full(count, np.inf), *(np.zeros(count, bool) for _ in range(2)), *np.full((2, count), np.nan),
                     np.zeros(count))
        t, place = np.zeros(count), np.arange(count)
        for _ in range(MOST_STEPS):
            of = self.outputs(*state)
            flow, grown, scatter = np.array(self.flow(state, of)), self.growth(state, of), self.scatter(state, of)
            dt = np.minimum(self._step(state, of, flow, grown, scatter), latest - t)
            across = self.tau * dt * (scatter[:2] ** 2).sum(axis=(0, 1))  # by which the walk of a_11 and a_12 lengthens w_1
            walk = np.sqrt(self.tau * dt) * np.einsum("cpn,pn->cn", scatter, rng.standard_normal(scatter.shape[1:]))
            flow[2], flow[5] = flow[2] + grown[0], flow[5] + grown[1]
            middle = state + flow * np.maximum(dt - self.lr, 0) / 2
            of = self.outputs(*middle)
            flow, grown = np.array(self.flow(middle, of)), self.growth(middle, of)
            before, (state, length) = state, self._moved(state, length, middle[6], flow, grown, walk, across, dt)
            t = t + dt
            state, length = self._noted(found, place, t, before, state, length)
            going = ~np.isfinite(found.weak[place]) & (t < latest)
            if not going.all() and (going.sum() < len(going) - PARTS or not going.any() or going.sum() < PARTS):
                state, length, t, place = state[:, going], length[going], t[going], place[going]
            if not place.size:
                break
        return found

    def _moved(self, state, length, head, flow, grown, walk, across, dt):
        """States and ||w_1||^2 after a step dt with the drifts `flow` and `grown`, the noise `walk`, and the head at `head`."""
        squares = flow**2
        squares[[2, 5]] /= 4 * state[[2, 5]]
        stepped = self.lr * np.array([squares[:3].sum(axis=0), squares[3:6].sum(axis=0)])  # of a row along its mean gradient
        change = flow * dt
        change[[0, 1, 3, 4, 6]] += walk
        change[2] += (grown[0] + self.lr * squares[2]) * dt
        # By eq. 12 what moves the head moves the norms along, noise or not.
        change[5] += (grown[1] + self.lr * squares[5]) * dt - 6 / self.kappa * state[6] * walk[4]
        change[5] -= 2 * (state[3] * walk[2] + state[4] * walk[3])
        risen = 6 / self.kappa * head * (flow[6] * dt + walk[4]) + (grown[0] + stepped[0]) * dt + across
        length = np.maximum(length + risen, length / 4)
        moved = state + change
        for place in (0, 2, 3, 4, 5):
            moved[place] = np.maximum(moved[place], state[place] / 2)
        rest = np.maximum(length - moved[2] - moved[1] ** 2, length / 4)
        moved[0] = np.where(moved[0] ** 2 > length / 2, np.sqrt(rest), moved[0])
        return moved, length

    def _step(self, state, of, flow, grown, scatter):
        """The next step of each run, (p,): no coordinate changes by much in it, but a step of SGD is taken whole."""
        enough = np.sqrt(of.n2 / self.h11 + of.B21**2) / of.B11
        sizes = np.array([state[0], np.abs(state[1]) + state[4], *state[2:6], np.hypot(enough, state[6])])
        speed = np.abs(flow / sizes)
        speed[2] += grown[0] / state[2]
        speed[5] += grown[1] / state[5]
        noise = self.tau * np.einsum("cpn,cpn->cn", scatter, scatter) / sizes[[0, 1, 3, 4, 6]] ** 2
        dt = 1 / np.maximum(speed.max(axis=0) / CHANGE, noise.max(axis=0) / WANDERING**2)
        return np.maximum(dt, self.lr)

    def _noted(self, found, place, t, before, state, length):
        """Writes into `found` what has happened to the runs at `place`; states and lengths, with neurons exchanged where they did."""
        h = self.h11
        of = self.outputs(*state)
        first, second = h * of.B11**2 > of.n1, h * of.B21**2 > of.n2
        swap = second & ~first & ~found.exchanged[place]
        if swap.any():
            found.exchanged[place[swap]] = True
            old = state[:, swap]
            sign = np.where(old[1] < 0, -1.0, 1.0)
            state[:, swap] = np.array([old[3], sign * old[4], old[5], old[0], np.abs(old[1]), old[2], 0 * old[6]])
            length[swap] = old[3] ** 2 + old[4] ** 2 + old[5]
            return state, length
        brought = first & (h * of.H1**2 > of.n2) & np.isnan(found.X[place])
        found.own[place[second & np.isnan(found.X[place])]] = True
        if brought.any():  # between two steps, in proportion to how far log H^2 is from there
            two = self.outputs(*before[:, brought])
            behind, ahead = (np.log(h * one**2 / n) for one, n in ((two.H1, two.n2), (of.H1[brought], of.n2[brought])))
            part = np.clip(-behind / (ahead - behind), 0, 1)
            crossing = before[:, brought] + part * (state - before)[:, brought]
            found.X[place[brought]], found.head[place[brought]] = crossing[[5, 6]]
        done = h * of.B22**2 > of.n2 + h * of.B21**2
        fresh = done & ~np.isfinite(found.weak[place])
        found.weak[place[fresh]] = t[fresh]
        found.time[place] = t
        return state, length
