"""How far runs of SGD scatter about their mean: the linear-noise approximation (docs/theory.md, section 8, eqs. 72 to 79).

The reduced state of a run, overlaps, Gram matrix of the noise parts and head, is a Markov chain. To first order in
tau = eta / N it is a Gaussian process about a path. The path is that of the flow with what a finite step, a finite batch and
the growth of the weights add to its mean; the covariance follows the flow's own Jacobian, fed by that of the gradients of a
batch. `band` puts both together for one run, and says where the next order would move the mean: there it does not hold.

Shapes: T times, m neurons, K features, n coordinates of the reduced state, g components of a gradient (those of the overlaps,
of the noise parts in the m directions that they span, and of the head), c classes of samples, p nodes.
v (D,) are the outputs of view 1 and 2 of a sample and what its gradient in the weights is made of: see `Batches`.

>>> import simsim
>>> band = simsim.linear_noise.band(simsim.simulate(simsim.Config(steps=30)))
>>> band.overlaps.shape, bool(band.holds.all())
((30, 2, 2), True)
"""

import functools
import itertools
import warnings
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from simsim import data, objectives, population, premises, schedules
from simsim.premises import Hypothesis
from simsim.state import State
from simsim.theory import of_batches
from simsim.trajectory import Trajectory

DEVIATIONS = 2.0  # half the width of a band, in standard deviations
NEXT_ORDER = 0.25  # of a standard deviation, by which the next order may move the mean: 2 deviations hold 93 % then, not 95
ISLAND = 0.1
VISIBLE = 0.01  # of its own size, below which no quantity's mean is seen to move
WIDEST_SPREAD = 1 / 3  # of a batch's variance: its square is the relative error of what is of leading order in 1 / N
LARGEST_STEP = 0.1  # of weights and head, in the first step
MOST_NEURONS = 3  # the nodes are NODES^m
NODES = 7  # of Gauss and Hermite in each direction: exact for the products of four cubes that there are
TOLERANCE, SMALLEST = 1e-7, 1e-9  # relative and absolute, of the path
PARTS = 2  # steps of the covariance in one of the path
TOGETHER = 128  # times whose batches are looked at at once
SMALL_STEP = 0.1  # of a step times the Jacobian's norm, for which a series of SERIES terms is exact to rounding
SERIES = 8
PROBE = 0.05  # of a standard deviation, of the second differences of the flow


# ---- what it is about ------------------------------------------------------------------------

def of_band(config):
    """What eqs. 72 to 79 ask for: a list of `Hypothesis`."""
    head = Hypothesis("a head whose noise is known", "trained or frozen", f"head {config.head}",
                      config.head in ("trained", "frozen"), premises.HEAD)
    own = [premises.paper_objective(config), head, *premises.some_noise(config),
           Hypothesis("few neurons", f"m = {MOST_NEURONS} at most", f"m = {config.m}", config.m <= MOST_NEURONS, ("m",)),
           *of_batches(config, WIDEST_SPREAD)]
    return premises.closed(config, *own, free=premises.DATA)


def band(run, start=None):
    """The `Band` of a run of SGD: where runs that differ in their samples alone are (docs/theory.md, eqs. 72 to 79).

    run : Trajectory, from its first step on, whose own times are those of the band; or Config, for the times of the path's steps
    start : State, for a Config alone; by default the Gaussian weights of `config.init_seed`

    Raises ValueError by name for what the law is not about: other objectives, heads, powers and laws of samples, no batch norm,
    momentum, weight decay, a target of its own, schedules, a batch that hardly knows its own variance, many neurons, the flow.
    """
    of_run = isinstance(run, Trajectory)
    config = run.config if of_run else run
    if of_run:
        if start is not None:
            raise ValueError("`start` is that of the run: give a Config to start elsewhere")
        run.require_beginning("bands")
        start = run.state(0)
    require(config, start)
    start = State.start(config) if start is None else start
    batches = Batches(config, start.E)
    first = batches.pack(start.a, start.gram, start.E)
    times, mean = _path(batches, first, run.time if of_run else ())
    covariance, shift = _noise_along(batches, times, mean)
    rows = np.searchsorted(times, run.time[run.time <= times[-1]]) if of_run else slice(None)
    missing = len(run) - len(rows) if of_run else 0
    pad = lambda array: np.concatenate([array[rows], np.full((missing, *array.shape[1:]), np.nan)])
    return Band(config, start.E, run.time if of_run else times, pad(mean), pad(covariance), pad(shift))


def require(config, start=None):
    """ValueError by name where eqs. 72 to 79 are not about a run of `config` from a State, by default that of its init_seed."""
    premises.require("eqs. 72 to 79", of_band(config))
    start = State.start(config) if start is None else start
    start.require_fits(config)
    batches = Batches(config, start.E)
    premises.require("eqs. 72 to 79", [_small_step(batches, batches.pack(start.a, start.gram, start.E))])


def _small_step(batches, x):
    """That the first step changes overlaps, noise and head by little."""
    a, gram, E = batches.unpack(x)
    lengths = np.sqrt(np.diagonal(gram))
    sizes = batches.pack(np.abs(a), np.outer(lengths, lengths), np.ones_like(E))
    with np.errstate(all="ignore"):
        flow = batches.config.lr * np.abs(batches.flow(x))
        change = np.max(np.where(flow == 0, 0, flow / sizes))
    return Hypothesis("a small step", f"it changes weights and head by less than {LARGEST_STEP:g} at first; take a smaller lr",
                      f"{change:.2g} at lr {batches.config.lr:g}", change < LARGEST_STEP, ("lr",))


@dataclass(frozen=True, eq=False)
class Band:
    """Mean and covariance of runs of SGD from one start: made by `band`.

    config : Config
    first_head : (m, m) E at the start
    time : (T,) sum of the learning rates, eta * steps
    mean : (T, n) of the coordinates: overlaps, the Gram matrix from its diagonal on, and E off the diagonal if it is trained
    covariance : (T, n, n) of the same
    shift : (T, n) what the next orders, of noise and of the step, would add to the mean (eq. 78): the measure of where it holds

    Rows are nan from where the path cannot be followed any further.
    """

    config: object
    first_head: np.ndarray
    time: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    shift: np.ndarray

    @functools.cached_property
    def _places(self):
        return Coordinates(self.config, self.first_head)

    @property
    def names(self):
        """What the coordinates are called, counted from 1, n of them."""
        return self._places.names

    def coordinates(self, run):
        """The coordinates (T', n) of a Trajectory of the same config and start, to be held against `mean` and `deviation`."""
        return self._places.pack(run.overlaps, run.gram, run.head)

    @property
    def steps(self):
        """Steps of SGD, (T,), not whole between them."""
        return self.time / self.config.lr

    @property
    def overlaps(self):
        """Mean of <w_j, v_l>, (T, m, K)."""
        return self._places.unpack(self.mean)[0]

    @property
    def gram(self):
        """Mean of <w_i^perp, w_j^perp>, (T, m, m)."""
        return self._places.unpack(self.mean)[1]

    @property
    def head(self):
        """Mean of E, (T, m, m)."""
        return self._places.unpack(self.mean)[2]

    @functools.cached_property
    def deviation(self):
        """Standard deviation of every coordinate, (T, n)."""
        return np.sqrt(np.einsum("tii->ti", self.covariance))

    @property
    def overlaps_deviation(self):
        """Standard deviation of the overlaps, (T, m, K)."""
        return self._places.unpack(self.deviation)[0]

    @property
    def gram_deviation(self):
        """Standard deviation of the Gram matrix, (T, m, m), but for the scatter of the growth (eq. 77) itself.

        That is all the scatter that norms have while the head is at I, as a frozen one always is: there it is too small.
        """
        return self._places.unpack(self.deviation)[1]

    @property
    def head_deviation(self):
        """Standard deviation of E, (T, m, m); 0 on the diagonal, and everywhere if the head is frozen."""
        E = self._places.unpack(self.deviation)[2]
        return np.where(self._places.moves, E, 0)

    @functools.cached_property
    def _sizes(self):
        """Below VISIBLE of which a change of each coordinate is not seen, (T, n)."""
        a, gram, E = self._places.unpack(self.mean)
        lengths = np.sqrt(np.abs(np.einsum("tii->ti", gram)))
        heads = np.maximum.accumulate(np.nan_to_num(np.abs(np.where(self._places.moves, E, 0))).max((1, 2), keepdims=True))
        return self._places.pack(np.abs(a), lengths[:, :, None] * lengths[:, None], heads + 0 * E)

    @functools.cached_property
    def moved(self):
        """By how much the next orders move the mean of each coordinate, in deviations, (T, n): 0 where nobody sees it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.abs(self.shift) <= VISIBLE * self._sizes, 0, np.abs(self.shift) / self.deviation)

    @functools.cached_property
    def holds(self):
        """(T,) whether the band holds: no coordinate is moved by more than NEXT_ORDER deviations.

        Between two stretches where it does not, one that takes less than ISLAND of its time is where a shift changes its sign.
        """
        holds = (self.moved <= NEXT_ORDER).all(1)
        edges = np.flatnonzero(np.diff(np.concatenate([[True], holds, [True]])))
        for first, end in edges[1:-1].reshape(-1, 2):
            if self.time[end] < (1 + ISLAND) * self.time[first - 1]:
                holds[first:end] = False
        return holds

    @property
    def until(self):
        """The last time at which the band holds."""
        return float(self.time[np.flatnonzero(self.holds)[-1]])

    @property
    def gaps(self):
        """(first time, last time, name of what is moved most at first) of every stretch of rows in which the band does not hold."""
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ~self.holds, [0]])))
        names = self.names
        return [(float(self.time[first]), float(self.time[end - 1]), names[int(np.nan_to_num(self.moved[first]).argmax())])
                for first, end in edges.reshape(-1, 2)]

    @property
    def where_not(self):
        """The steps at which the band does not hold, in words; "" where it holds throughout."""
        return " and ".join(f"from step {self._step(first)} on" if last >= self.time[-1] else
                            f"at steps {self._step(first)} to {self._step(last)}" for first, last, _ in self.gaps)

    @property
    def why(self):
        """The same with the reason, for each stretch the coordinate that fails first; "" where it holds throughout."""
        names = ", ".join(name for *_, name in self.gaps)
        return (f"no band {self.where_not}: there the next order moves the mean by more than {NEXT_ORDER:g} standard deviations, "
                f"first that of {names}") if names else ""

    def _step(self, time):
        """A time as a step of SGD, in words."""
        step = schedules.step_at(self.config, time)
        return f"{step:,.0f}" if step >= 10 else f"{step:.2g}"

    def reordered(self, order):
        """The same band with the neurons in another order, (m,)."""
        order = np.asarray(order)
        index = self._places.unpack(np.arange(self.mean.shape[1], dtype=float))
        both = np.ix_(order, order)
        rows = self._places.pack(index[0][order], index[1][both], index[2][both]).astype(int)
        return replace(self, first_head=self.first_head[both], mean=self.mean[:, rows], shift=self.shift[:, rows],
                       covariance=self.covariance[:, rows][:, :, rows])


# ---- the reduced state ---------------------------------------------------------------------------

class Coordinates:
    """The reduced state in one row of numbers, (..., n): overlaps, Gram matrix, and E off the diagonal if it is trained."""

    def __init__(self, config, first_head):
        self.m, self.K = config.m, config.features
        self.first_head = np.asarray(first_head, dtype=float)
        self.moves = ~np.eye(self.m, dtype=bool) & config.head_is_trained
        self.triangle = np.triu_indices(self.m)

    @property
    def size(self):
        """n."""
        return self.m * self.K + len(self.triangle[0]) + int(self.moves.sum())

    @property
    def heads(self):
        """The places of the head's entries."""
        return slice(self.gram_part.stop, None)

    @property
    def gram_part(self):
        """The places of the Gram matrix."""
        return slice(self.m * self.K, self.m * self.K + len(self.triangle[0]))

    def unpack(self, x):
        """Overlaps (..., m, K), Gram matrix and head (..., m, m)."""
        lead, m = x.shape[:-1], self.m
        gram, E = (np.zeros((*lead, m, m), x.dtype) for _ in range(2))
        gram[..., self.triangle[0], self.triangle[1]] = gram[..., self.triangle[1], self.triangle[0]] = x[..., self.gram_part]
        E += self.first_head
        E[..., self.moves] = x[..., self.heads]
        return x[..., :m * self.K].reshape(*lead, m, self.K), gram, E

    def pack(self, a, gram, E):
        """The row of numbers (..., n)."""
        return np.concatenate([a.reshape(*a.shape[:-2], -1), gram[..., self.triangle[0], self.triangle[1]], E[..., self.moves]],
                              axis=-1)

    @property
    def names(self):
        """What the coordinates are called, counted from 1."""
        m, K = range(1, self.m + 1), range(1, self.K + 1)
        return [*(f"<w_{j}, v_{l}>" for j in m for l in K),
                *(f"noise of w_{i + 1}" if i == j else f"noise of w_{i + 1} along w_{j + 1}" for i, j in zip(*self.triangle)),
                *(f"E_{j + 1}{r + 1}" for j, r in zip(*np.nonzero(self.moves)))]


class StepNoise(NamedTuple):
    """What the noise of a batch of N does in one step, at T states.

    covariance : (T, n, n) S of eq. 74
    bias : (T, n) b of eq. 76, of 1 / N
    growth : (T, m, m) of the Gram matrix per unit of time, eq. 77
    """

    covariance: np.ndarray
    bias: np.ndarray
    growth: np.ndarray


class Batches(Coordinates):
    """The gradients of batches of a Config: their mean, the flow's, and how they scatter (docs/theory.md, eqs. 73 to 77).

    All that a batch knows is the covariance matrix of its v = [f(X1), f(X2), z times the patches of each feature in view 1,
    sum over the noise patches of view 1 of 3 u_r^2 zeta_c], D = 2m + K + m^2 numbers; zeta are the coordinates of noise in
    the m directions that the noise parts span, u = L zeta with L L^T their Gram matrix.
    """

    def __init__(self, config, first_head):
        super().__init__(config, first_head)
        self.config, self.setting = config, population.Setting.from_config(config)
        self.objective = objectives.from_config(config)
        data_law = data.from_config(config)
        k1, k2, self.feature, _, chance = (part[data_law.classes(config).sign > 0] for part in data_law.classes(config))
        self.chance, self.k1, self.k2 = 2 * chance, k1, k2  # a sample and its negative are alike
        half = config.patches // 2
        self.noise1, self.noise2 = half - k1, half - k2
        self.alpha = data_law.strengths(config) / config.sigma
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        self.zeta = np.array(list(itertools.product(nodes, repeat=self.m)))  # (p, m)
        self.weights = np.array(list(itertools.product(weights / weights.sum(), repeat=self.m))).prod(axis=1)
        self.outputs = slice(0, 2 * self.m)
        m, K = self.m, self.K  # of a gradient, what is in the overlaps, in the noise parts and in the head
        self.on_overlaps, self.on_noise = slice(0, m * K), slice(m * K, m * K + m * m)
        self.on_head = slice(m * (K + m), m * (K + m) + int(self.moves.sum()))
        self.width = 2 * self.m + self.K + self.m**2

    # ---- the mean ----------------------------------------------------------------------------

    def flow(self, x):
        """dx/dt of the flow, (..., n); analytic."""
        a, gram, E = self.unpack(x)
        M = population.moments(a, gram, E, self.setting)
        forces = population.forces_of(M, population.crossings(E, M.B, self.objective.crosses), self.setting, self.objective)
        along = population.factor_gradient(M, population.noise_pairs(forces, E), gram, self.setting)  # <dL/dw_r^perp, w_s^perp>
        return self.pack(a * population.overlap_growth(forces, E, a, self.setting), -(along + along.swapaxes(-1, -2)),
                         -self.config.kappa * population.head_gradient(M, forces))

    def stepped_flow(self, x):
        """The flow that steps of eta follow: its velocity half a step before, (..., n) (eq. 72); analytic."""
        return self.flow(x - 0.5 * self.config.lr * self.flow(x))

    def jacobian(self, x):
        """J of `stepped_flow`, (..., n, n), by complex step."""
        turned = self.stepped_flow(x[..., None, :] + 1j * objectives.TINY * np.eye(self.size))
        return turned.imag.swapaxes(-1, -2) / objectives.TINY

    def drift(self, x):
        """d/dt of the mean at one state (n,): eq. 72."""
        found = self.step_noise(x[None])
        drift = self.stepped_flow(x) + found.bias[0] / self.config.batch_size
        drift[self.gram_part] += found.growth[0][self.triangle]
        return drift

    # ---- the noise ---------------------------------------------------------------------------

    def step_noise(self, x):
        """`StepNoise` at states (T, n)."""
        a, _, E, L, sample = self._sampled(x)
        forms = Forms(self, a, E, sample)
        N, scatter = self.config.batch_size, forms.scatter(sample, self.config.batch_size)
        spanned = np.einsum("trcsc->trs", scatter[:, self.on_noise, self.on_noise].reshape(-1, *(self.m,) * 4))
        mean = forms.gradient[:, self.on_noise].reshape(-1, self.m, self.m)
        beyond = self.config.d - self.K - self.m
        growth = self.config.lr * ((beyond * forms.across(sample) + spanned) / N + mean @ mean.swapaxes(-1, -2))
        to_state = self._to_state(L)
        return StepNoise(to_state @ scatter @ to_state.swapaxes(-1, -2), (to_state @ forms.bias(sample.fourth)[..., None])[..., 0],
                       growth)

    def scatter(self, x, head=None):
        """S of eq. 74 alone, (T, n, n), or its mean over heads that scatter by `head` (T, h, h) about that of x.

        The noise of norms is in proportion to the head (12), which starts at 0: where it scatters, that is most of their noise.
        """
        a, _, E, L, sample = self._sampled(x)
        heads = [E]
        if head is not None:
            value, vector = np.linalg.eigh(np.where(np.isfinite(head), head, 0))
            ways = vector * np.sqrt(value.shape[1] * np.maximum(value, 0))[:, None]
            heads = [E.copy() for _ in range(2 * value.shape[1])]
            for k, other in enumerate(heads):
                other[:, self.moves] += (-1) ** k * ways[..., k // 2]
        to_state = self._to_state(L)
        mean = sum(Forms(self, a, one, sample).scatter(sample, self.config.batch_size) for one in heads) / len(heads)
        return to_state @ mean @ to_state.swapaxes(-1, -2)

    def _sampled(self, x):
        """Overlaps, Gram matrix, head, L and `Sample` of states (T, n)."""
        a, gram, E = self.unpack(x)
        value, vector = np.linalg.eigh(np.nan_to_num(gram))  # what is not finite spoils the rest as well
        L = vector * np.sqrt(np.maximum(value, 0))[:, None]
        return a, gram, E, L, Sample(self, a, L)

    def _to_state(self, L):
        """-d(state)/d(gradient) of a step of unit length, (T, n, g)."""
        m = self.m
        R = np.zeros((len(L), self.size, self.on_head.stop))
        R[:, self.on_overlaps, self.on_overlaps] = -np.eye(m * self.K)
        for place, (r, s) in enumerate(zip(*self.triangle), self.gram_part.start):
            of_rows = R[:, place, self.on_noise].reshape(-1, m, m)  # a view
            of_rows[:, r] -= L[:, s]
            of_rows[:, s] -= L[:, r]
        R[:, self.heads, self.on_head] = -self.config.kappa * np.eye(int(self.moves.sum()))
        return R


class Sample:
    """Moments of v of one sample at T states, exact: given its class v is a constant and a sum of independent patches.

    second : (T, D, D) E[v v^T]
    fourth : (T, 2m D, 2m D) covariance of v_b v_c, b one of the 2m outputs (eq. 75)
    shared : (T, m, m, 2m, 2m) E[v_b v_b' sum_p 9 u_pr^2 u_ps^2] over the noise patches of view 1
    """

    def __init__(self, batches, a, L):
        m, D, T, of = batches.m, batches.width, len(a), batches.outputs
        u = batches.zeta @ L.swapaxes(-1, -2)  # (T, p, m)
        one, two = (np.zeros((*u.shape[:2], D)) for _ in range(2))  # what a noise patch of view 1, and of view 2, adds to v
        one[..., :m] = two[..., m:2 * m] = u**3
        one[..., D - m * m:] = (3 * u[..., :, None]**2 * batches.zeta[:, None, :]).reshape(*u.shape[:2], m * m)
        answers = ((batches.alpha * a) ** 3).swapaxes(1, 2)[:, batches.feature]  # (T, c, m)
        fixed = np.zeros((T, len(batches.chance), D))
        fixed[..., :m], fixed[..., m:2 * m] = batches.k1[:, None] * answers, batches.k2[:, None] * answers
        fixed[:, np.arange(len(batches.chance)), 2 * m + batches.feature] = batches.k1
        weighed = batches.weights[:, None]
        P1, P2 = (patch.swapaxes(-1, -2) @ (weighed * patch) for patch in (one, two))
        given = (fixed[..., :, None] * fixed[..., None, :] + batches.noise1[:, None, None] * P1[:, None]
                 + batches.noise2[:, None, None] * P2[:, None])  # (T, c, D, D)
        self.second = np.tensordot(given, batches.chance, (1, 0))
        fourth = np.zeros((T, 2 * m, D, 2 * m, D))
        for c, chance in enumerate(batches.chance):
            own = fixed[:, c, of, None] * fixed[:, c, None, :]
            fourth += chance * (pairings(given[:, c], of) - 2 * own[..., None, None] * own[:, None, None])
        for patch, P, count in ((one, P1, batches.noise1), (two, P2, batches.noise2)):
            products = (patch[..., of, None] * patch[..., None, :]).reshape(T, -1, 2 * m * D)
            alone = (products.swapaxes(-1, -2) @ (weighed * products)).reshape(fourth.shape)
            fourth += batches.chance @ count * (alone - pairings(P, of))
        rows = self.second[:, of]
        self.fourth = (fourth - rows[..., None, None] * rows[:, None, None]).reshape(T, 2 * m * D, 2 * m * D)
        lengths = 9 * u[..., :, None]**2 * u[..., None, :]**2  # (T, p, m, m)
        counts = batches.chance * batches.noise1
        others = np.tensordot(given[..., of, of], counts, (1, 0)) - counts.sum() * P1[:, of, of]
        own = np.einsum("p,tprs,tpb,tpc->trsbc", batches.weights, lengths, one[..., of], one[..., of], optimize=True)
        mean = np.tensordot(lengths, batches.weights, (1, 0))
        self.shared = mean[..., None, None] * others[:, None, None] + counts.sum() * own


def pairings(A, of):
    """A_bc A_b'c' + A_bb' A_cc' + A_bc' A_cb', (T, 2m, D, 2m, D), of a symmetric A (T, D, D), b and b' in the slice `of`."""
    rows = A[:, of]
    return (rows[..., None, None] * rows[:, None, None] + A[:, of, None, of, None] * A[:, None, :, None, :]
            + rows[:, :, None, None, :] * rows.swapaxes(1, 2)[:, None, :, :, None])


class Forms:
    """The gradient of a batch as a function of its second moments, to second order about the population (eqs. 73, 76).

    Y_j, Z_j and Y'_j = dY_j (not normalised anew) are linear in v: Y, Z (T, m, 2m), dY (T, m, g, D).
    gradient : (T, g) the population's
    influence : (T, g, 2m D) what v_b v_c counts in a sample's part of the gradient
    """

    def __init__(self, batches, a, E, sample):
        m, D, T, of = batches.m, batches.width, len(a), batches.outputs
        self.m, self.width, self.outputs = m, D, of
        F, G = np.zeros((2, T, m, 2 * m))
        F[..., :m], G[:, range(m), range(m, 2 * m)] = E, 1
        V, rows = sample.second[:, of, of], sample.second[:, of]
        variance = lambda form: np.einsum("tjb,tbc,tjc->tj", form, V, form)
        size = np.sqrt(variance(F))[..., None]
        self.Y, self.Z = F / size, G / np.sqrt(variance(G))[..., None]
        self.dY, self.by_row = self._derivatives(batches, a, E) / size[..., None], E / size
        self.rho = np.einsum("tjb,tbc,tjc->tj", self.Y, V, self.Z)
        self.by_Y, self.by_Z = (np.einsum("tjb,tbc,tjgc->tjg", form, rows, self.dY) for form in (self.Y, self.Z))
        self.gradient = 2 * (self.rho[..., None] * self.by_Y - self.by_Z).sum(1)
        self.influence = self._influence()

    def _derivatives(self, batches, a, E):
        """dF_j, (T, m, g, D): in the overlaps, in the noise parts along zeta, in the head's entries that move."""
        m, K = self.m, batches.K
        dF = np.zeros((len(a), m, batches.on_head.stop, self.width))
        slope = 3 * batches.alpha**3 * a**2
        for r, l in itertools.product(range(m), range(K)):
            dF[:, :, r * K + l, 2 * m + l] = E[:, :, r] * slope[:, None, r, l]
        for r, c in itertools.product(range(m), range(m)):
            dF[:, :, batches.on_noise.start + r * m + c, 2 * m + K + r * m + c] = E[:, :, r]
        for place, (j, r) in enumerate(np.argwhere(batches.moves), batches.on_head.start):
            dF[:, j, place, r] = 1
        return dF

    def _influence(self):
        """2 A YZ + 2 rho Y Y' - 2 Z Y' - (3 rho A - B) Y^2 - (rho A - B) Z^2, A = E[Y Y'], B = E[Z Y'], summed over j (eq. 73)."""
        rho, A, B = self.rho[..., None], self.by_Y, self.by_Z
        own = np.einsum("tjb,tjgc->tgbc", 2 * self.rho[..., None] * self.Y - 2 * self.Z, self.dY)
        for weight, one, two in ((2 * A, self.Y, self.Z), (B - 3 * rho * A, self.Y, self.Y), (B - rho * A, self.Z, self.Z)):
            own[..., self.outputs] += np.einsum("tjg,tjb,tjc->tgbc", weight, one, two)
        return own.reshape(*own.shape[:2], -1)

    def scatter(self, sample, N):
        """N times the covariance of the gradients of batches of N, (T, g, g): eq. 74."""
        return self.influence @ sample.fourth @ self.influence.swapaxes(-1, -2) + 2 / N * self.of_means(sample.second)

    def of_means(self, second):
        """tr(I V I' V), (T, g, g): the covariance of v_bar^T I v_bar, by which batch means enter, over 2 / N^2 (eq. 74)."""
        one_way = self.influence.reshape(*self.influence.shape[:2], 2 * self.m, self.width) / 2
        whole = np.zeros((*one_way.shape[:2], self.width, self.width))
        whole[:, :, self.outputs] += one_way
        whole[..., self.outputs] += one_way.swapaxes(-1, -2)
        turned = whole @ second[:, None]
        return np.einsum("tgab,thba->tgh", turned, turned)

    def bias(self, C):
        """N times what the mean gradient of batches differs from the population's, (T, g): eq. 76. C is `Sample.fourth`."""
        Y, Z = (np.pad(form, ((0, 0), (0, 0), (0, self.width - 2 * self.m))) for form in (self.Y, self.Z))
        flat = lambda one, two: np.einsum("...b,...c->...bc", one, two).reshape(*two.shape[:-1], -1)
        base = np.stack([flat(self.Y, Y), flat(self.Z, Z), flat(self.Y, Z)], axis=2)
        against = base @ C[:, None]
        pairs = against @ base.swapaxes(-1, -2)
        YY, ZZ, YZ, corr_Y, corr_Z = (pairs[:, :, i, k, None] for i, k in ((0, 0), (1, 1), (0, 1), (2, 0), (2, 1)))
        with_Y = against @ flat(self.Y[:, :, None], self.dY).swapaxes(-1, -2)  # (T, m, 3, g)
        with_Z = against @ flat(self.Z[:, :, None], self.dY).swapaxes(-1, -2)
        rho, A, B = self.rho[..., None], self.by_Y, self.by_Z
        first = (with_Y[:, :, 2] + rho * A * (15 * YY + 3 * ZZ + 6 * YZ) / 8 - A * (3 * corr_Y + corr_Z) / 2
                 - rho * (3 * with_Y[:, :, 0] + with_Y[:, :, 1]) / 2)
        second = B * (3 * YY + 3 * ZZ + 2 * YZ) / 8 - (with_Z[:, :, 0] + with_Z[:, :, 1]) / 2
        return 2 * (first - second).sum(1)

    def across(self, sample):
        """Covariance of the gradients in the noise parts of two neurons, in a direction across all of them, (T, m, m): eq. 77."""
        pulls = np.einsum("tjr,tjb->trb", self.by_row, 2 * (self.rho[..., None] * self.Y - self.Z))
        return np.einsum("trb,tsc,trsbc->trs", pulls, pulls, sample.shared, optimize=True)


# ---- along the path --------------------------------------------------------------------------------

def _path(batches, x, wanted):
    """Times (T,), `wanted` among them, and the mean there (T, n), until the end of the run or of what can be followed."""
    end = batches.config.steps * batches.config.lr
    with np.errstate(all="ignore"), warnings.catch_warnings():  # a trial step may leave the domain; it is rejected
        warnings.simplefilter("ignore")  # where the path can be followed no further it ends, and the band says so
        solved = solve_ivp(lambda _, y: batches.drift(y), (0, max([end, *wanted])), x,
                           jac=lambda _, y: batches.jacobian(y), method="LSODA", rtol=TOLERANCE, atol=SMALLEST, dense_output=True)
    steps = solved.t[:, None] + np.append(np.diff(solved.t), 0)[:, None] * np.arange(PARTS) / PARTS
    times = np.unique([*steps.ravel(), *(time for time in wanted if time <= solved.t[-1])])
    return times, solved.sol(times).T


def _noise_along(batches, times, mean):
    """Covariance (T, n, n) (eq. 72) and the next orders of the mean (T, n) (eq. 78) along a path; nan where they overflow."""
    h, x = np.diff(times), (mean[1:] + mean[:-1]) / 2
    tau = batches.config.lr / batches.config.batch_size
    J, S = _over(batches.jacobian, x), _over(batches.scatter, x)
    shift = np.zeros((len(times), batches.size))
    with np.errstate(all="ignore"):
        if batches.moves.any():
            first = _carried(J, tau * S, h)
            S = _over(batches.scatter, x, (first[1:] + first[:-1])[:, batches.heads, batches.heads] / 2)
        covariance = _carried(J, tau * S, h)
        bent = _curvature(batches, x, (covariance[1:] + covariance[:-1]) / 2)
        pushed, forward = pushed_by(J, bent + _next_step(batches, x, J), h), propagated(J, S, h)[0]
        for i in range(len(h)):
            shift[i + 1] = forward[i] @ shift[i] + pushed[i]
    return covariance, shift


def _over(function, *arrays):
    """What `function` makes of arrays (T, ...), of TOGETHER of their rows at a time."""
    parts = [slice(first, first + TOGETHER) for first in range(0, max(1, len(arrays[0])), TOGETHER)]
    return np.concatenate([function(*(array[part] for array in arrays)) for part in parts])


def _carried(J, S, h):
    """Covariances (T, n, n), from 0 on, under noise S (T - 1, n, n) in steps h."""
    covariance = np.zeros((len(h) + 1, *J.shape[1:]))
    for i, (forward, added) in enumerate(zip(*propagated(J, S, h))):
        covariance[i + 1] = forward @ covariance[i] @ forward.T + added
    return covariance


def _curvature(batches, x, covariance):
    """Half the flow's second derivative along the covariance, (T, n), by second differences in its principal directions."""
    known = np.isfinite(covariance).all((1, 2))
    value, vector = np.linalg.eigh(np.where(known[:, None, None], covariance, 0))
    way = PROBE * (vector * np.sqrt(np.maximum(value, 0))[:, None]).swapaxes(1, 2)
    bent = _second_difference(batches, x[:, None], way).sum(1) / (2 * PROBE**2)
    return np.where(known[:, None], bent, np.nan)


def _next_step(batches, x, J):
    """What the flow of eq. 72 lacks of that of steps of eta, of the order of eta^2: (T, n)."""
    f = batches.stepped_flow(x)
    twice = (J @ (J @ f[..., None]))[..., 0]
    return batches.config.lr**2 * twice / 3 - _second_difference(batches, x, PROBE * batches.config.lr * f) / (24 * PROBE**2)


def _second_difference(batches, x, way):
    """Of the flow, from x by `way` to both sides."""
    return batches.stepped_flow(x + way) + batches.stepped_flow(x - way) - 2 * batches.stepped_flow(x)


def propagated(J, S, h):
    """e^{J h} and the integral of e^{J s} S e^{J^T s} over s from 0 to h, both (T, n, n), for steps h (T,).

    By series for a part of each step, doubled until it is whole: nothing overflows where J is stiff, and a covariance stays one.
    """
    halvings, part = _halved(J, h)
    A, term = J * part[:, None, None], S * part[:, None, None]
    forward, added = _series(A, np.eye(J.shape[-1])), term
    for k in range(2, SERIES + 1):
        term = (A @ term + term @ A.swapaxes(-1, -2)) / k
        added = added + term
    for again in range(halvings.max(initial=0)):
        on = halvings > again
        added[on] += forward[on] @ added[on] @ forward[on].swapaxes(-1, -2)
        forward[on] = forward[on] @ forward[on]
    return forward, (added + added.swapaxes(-1, -2)) / 2


def pushed_by(J, push, h):
    """The integral of e^{J s} push over s from 0 to h, (T, n)."""
    halvings, part = _halved(J, h)
    A, way = J * part[:, None, None], (push * part[:, None])[..., None]
    forward, whole = _series(A, np.eye(J.shape[-1])), way
    for k in range(2, SERIES + 1):
        way = A @ way / k
        whole = whole + way
    for again in range(halvings.max(initial=0)):
        on = halvings > again
        whole[on] += forward[on] @ whole[on]
        forward[on] = forward[on] @ forward[on]
    return whole[..., 0]


def _halved(J, h):
    """How often a step is halved until its Jacobian is small, and what is left of it: (T,), (T,)."""
    size = np.abs(J).sum(-1).max(-1) * h
    halvings = np.ceil(np.log2(np.maximum(size / SMALL_STEP, 1))).astype(int)
    return halvings, h / 2.0**halvings


def _series(A, start):
    """e^A start by its first terms."""
    term = total = np.broadcast_to(start, A.shape).copy()
    for k in range(1, SERIES + 1):
        term = A @ term / k
        total = total + term
    return total
