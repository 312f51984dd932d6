"""How two neurons and a trained head fare: the derived laws of the flow for m = 2.

Functions take the start: overlaps (..., 2, 2), neurons by features (strong
first), and noise_norms (..., 2), ||w_j^perp||. Neuron 1 of the theory is the
first to learn the strong feature, neuron 2 the other; in which row they stand
does not matter. Times are t = eta * steps, strengths are in units of sigma. A law that is
asked about another setting than two neurons, two features in equally many patches, the paper's
objective and a trained head, where it rests on these, raises ValueError.

>>> from simsim import Config, laws
>>> round(float(laws.success_probability(Config(lr=1.0, head_lr=0.1))), 4)  # with a trained head, eq. 19
0.9425
>>> noise = laws.noise(Config(alpha_ratio=20.0))  # of the default start, before anything is run
>>> round(noise.phase_one.steps), round(noise.largest_lr / noise.lr)
(42, 43)
"""

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from simsim import heads, noise_laws, noise_runs, premises
from simsim.config import Config
from simsim.data import even_moments
from simsim.initial import reduced_state
from simsim.phases import LEARNED, STRONG
from simsim.premises import Hypothesis
from simsim.theory import FrozenNeuron, ceiling, noise_level, of_batches, signal, small_start_times

if TYPE_CHECKING:
    from simsim.state import State

MOST_PATCHES = 256  # up to which the moments of a batch take about two seconds
SUBSTITUTION_RTOL = 1e-8  # of the integration up to the end of phase II, of time and head in their own units there
LATEST_LOG_RATIO = 80.0  # log of overlap over noise of neuron 1: beyond any time that floating point holds
RANDOM_STARTS = 10_000  # behind a success rate by eq. 25: known to .005
QUADRATURE = dict(epsabs=0, epsrel=1e-9, limit=400)
WALKS, WALK_STEPS = 4000, 2000  # of the head through phases I and II; a probability is known to .008
LATEST_OF_ALL = 1e3  # times the flow's T_3, after which v_2 counts as never learned
LITTLE_GROWTH = 0.1  # x up to which phases I and II are those of weights that do not grow
SMALL_SIGNAL = 0.7  # part of `theory.noise_level` up to which a feature is a tenth of the variance at most, and eq. 16 holds
WIDEST_SPREAD = 1.0  # of a batch's variance, up to which laws of finite batches speak; above, a batch says little of the mean
EVEN = 0.5  # probability below which "with high probability" does not describe an event
LARGE_D, STRONG_FIRST = "a large d", "v_1 first"
LEAST_KAPPA = 0.1
SMALLEST_LOG_NORM = -60.0  # of ||w_2^perp||, where the search for the end of phase III gives up


def _require_pair(law, config):
    """Two neurons and two features, whatever the head; the views aligned."""
    premises.require(law, premises.closed(config, premises.aligned_views(config), premises.neurons(config, 2),
                                          premises.features(config, 2), *premises.some_noise(config),
                                          free=(*premises.HEAD, *premises.DATA)))


def _require_drawn(config):
    """Eq. 18 is about a head that is drawn: each entry off the diagonal follows its gradient, from E = I, or both as one."""
    symmetric = Hypothesis("a head that is drawn", "trained or symmetric", f"head {config.head}",
                           config.head == "symmetric" and config.head_is_trained, ("head", "head_lr"))
    drawn = symmetric if symmetric.holds else premises.trained_head(config)
    _require_pair("eq. 18", config)
    premises.require("eq. 18", [drawn])


class Start:
    """One start (2, 2), (2,) in the order of the theory: neuron 1, which learns v_1 first, and neuron 2."""

    def __init__(self, config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> None:
        _require_pair("eq. 20", config)
        first = int(first_learner(config, overlaps, noise_norms))
        order = [first, 1 - first]
        overlaps, noise_norms = np.abs(overlaps)[order], np.asarray(noise_norms)[order]
        self.kappa, self.alphas = config.kappa, np.asarray(config.effective_alphas)
        mu11, self.mu12, self.nu = even_moments(config)
        self.h11 = mu11 / 2
        self.norms = np.sqrt((overlaps**2).sum(axis=1) + noise_norms**2)  # ||w_j||
        self.strong, self.weak = overlaps.T  # |a_j1|, |a_j2|
        self.noise_norms = noise_norms
        self.leak = float(leak(config, overlaps, noise_norms))
        self.ceiling = ceiling(self.kappa, noise_norms[1])  # E_m, with neuron 2's noise all spent

    def noise(self, norm: float) -> float:
        """n = 15 nu q^3 of a neuron with ||w^perp|| = norm."""
        return 15 * self.nu * norm**6

    def head_rate(self, head: Any, answer: float, noise: float, variance: Any) -> Any:
        """d|E_21|/dt at |E_21| = head, |B_11| = answer, n_2 = noise, D_2 = variance (docs/theory.md, eq. 20)."""
        own = noise + self.h11 * self.leak**2  # G_2
        return self.kappa * self.mu12 * noise * self.leak * answer / (variance * np.sqrt(variance * own))


def first_learner(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> np.ndarray:
    """Row of the neuron that learns v_1 first, (...): the least time of docs/theory.md, eq. 16."""
    return np.argmin(small_start_times(config, overlaps, noise_norms)[..., 0], axis=-1)


def leak(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> np.ndarray:
    """|B_21| at T_1, (...): the strong feature in f_2, which the head feeds on (docs/theory.md, eq. 20).

    Until then a_21 grows by itself, by eq. 16: a_21^-4 falls in proportion to the time.
    In a tie both neurons learn v_1 at once, and it is inf.
    """
    _require_pair("eq. 20", config)
    alone = small_start_times(config, overlaps, noise_norms)[..., 0]
    second = np.argmax(alone, axis=-1)[..., None]
    start = np.take_along_axis(np.abs(overlaps)[..., 0], second, axis=-1)[..., 0]
    least, most = alone.min(axis=-1), alone.max(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(least == most, 0, 1 - least / most)
        return np.where(start == 0, 0, (config.effective_alphas[0] * start) ** 3 * left**-0.75)


# ---- what they ask of a start ----------------------------------------------------------

def frozen_neurons(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> list[FrozenNeuron]:
    """The neurons of one start (m, K), (m,) under a head at I: a list of `theory.FrozenNeuron`."""
    norms = np.sqrt((np.asarray(overlaps) ** 2).sum(axis=-1) + np.asarray(noise_norms) ** 2)
    return [FrozenNeuron(config, *start) for start in zip(overlaps, norms)]


def strong_first(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> Hypothesis:
    """That of all features v_1 is the first to be learned, by eq. 14: a `Hypothesis` on one start (m, 2), (m,)."""
    neurons = frozen_neurons(config, overlaps, noise_norms)
    first = int(np.argmin([neuron.time_to_share(LEARNED) for neuron in neurons]))
    feature = neurons[first].feature
    return Hypothesis(STRONG_FIRST, "learned before v_2 by eq. 14", f"neuron {first + 1} learns v_{feature + 1} first",
                      feature == STRONG)


def of_start(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> list[Hypothesis]:
    """What eqs. 18 to 29 ask of one start (2, 2), (2,) beside `premises.of_two_neurons`: three `Hypothesis`.

    v_1 is learned first; and when the head brings it to neuron 2, by eqs. 16 and 21, neuron 2 has learned neither v_1
    nor v_2 alone, by eq. 16. Where it has learned v_1, eq. 25 says how the run ends, and the others have no subject.
    """
    alone = small_start_times(config, overlaps, noise_norms)
    first = int(first_learner(config, overlaps, noise_norms))
    head, own = alone[first, STRONG] + substitution_lag(config, overlaps, noise_norms), alone[1 - first]
    feature = int(np.argmin(own))
    said = [Hypothesis(f"the head before v_{l + 1}", f"v_1 is brought to neuron 2 before it learns v_{l + 1} alone",
                       f"{head / own[l]:.2g} of that time", bool(l != feature or head < own[l])) for l in range(2)]
    return [strong_first(config, overlaps, noise_norms), *said]


def kappa_of_25(config: Config) -> Hypothesis:
    """Eq. 25 has been held to integrated flows from this kappa on (docs/theory.md, table under eq. 25)."""
    return Hypothesis("the kappa of eq. 25", f"kappa >= {LEAST_KAPPA:g}", f"{config.kappa:g}", config.kappa >= LEAST_KAPPA)


def large_dimension(chance: float | None, source: str) -> Hypothesis:
    """Whether d is large enough for "with high probability" to describe what happens: a `Hypothesis`.

    `chance` is the probability with which random starts succeed, None where it is not known; `source` says whence it is.
    """
    figure = source if chance is None else f"{100 * chance:.3g} % ({source})"
    return Hypothesis(LARGE_D, f"more than {100 * EVEN:g} % of random starts succeed", figure,
                      None if chance is None else chance >= EVEN, ("d",))


def later_phases(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray,
                 large: Hypothesis) -> tuple[list[Hypothesis], float | None, float | None]:
    """What the times of phases II and III ask of one start, and these times: (a list of `Hypothesis`, T_2, T_3).

    Beside `premises.of_two_neurons` it is `of_start`, `large`, a `large_dimension`, and that they come in order. T_2, by eq. 20,
    and T_3, by eqs. 22 and 23, are None where something is missing; each also where its quadrature does not converge.
    """
    start = config, overlaps, noise_norms
    asked = [*of_start(*start), large]
    if not premises.hold(asked):
        return asked, None, None
    two, three = or_none(lambda: substitution_time(*start)), or_none(lambda: Acceleration(*start).time())
    asked.append(_in_order(two is None or three is None or two < three))
    return (asked, two, three) if premises.hold(asked) else (asked, None, None)


def _in_order(ordered):
    """That the head has brought v_1 to neuron 2 before v_2 is learned."""
    return Hypothesis("T_2 before T_3", "by eqs. 20 and 22", "the other way round", ordered)


def or_none(predict: Callable[[], float]) -> float | None:
    """`predict()`, or None where the quadrature behind it does not converge for this start."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        try:
            value = predict()
        except (Warning, ArithmeticError, ValueError):
            return None
    return None if np.isnan(value) else value


# ---- when, by theory ---------------------------------------------------------------------

class Milestones(NamedTuple):
    """When phases I to III end by theory, T_1, T_2 and T_3, in time t; inf is never, None where no law speaks of the run.

    `why` says for those that are None what is missing.
    """

    strong_learned: float | None
    substituted: float | None
    weak_learned: float | None
    why: dict[str, str]


def milestones(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray, head: np.ndarray) -> Milestones:
    """The `Milestones` of one start (m, 2), (m,) and head (m, m), by eqs. 14, 20, 22 and 23 of docs/theory.md."""
    own = [*premises.head_s_start(config, head), *premises.some_of_all(overlaps, noise_norms)]
    first, later, two, three = own, own, None, None
    if premises.hold(own):  # what these ask is itself worked out by laws, and no law knows another start
        first = of_first_phase(config, overlaps, noise_norms)
        later, two, three = _later_phases_by_eq_25(config, overlaps, noise_norms)
    one = strong_time(config, overlaps, noise_norms) if premises.hold(first) else None
    times = {"strong_learned": (one, first), "substituted": (two, later), "weak_learned": (three, later)}
    return Milestones(one, two, three, {
        name: ", ".join(one.name for one in premises.broken(asked)) or "a quadrature that converges"
        for name, (time, asked) in times.items() if time is None})


def of_first_phase(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> list[Hypothesis]:
    """What eq. 14 asks where it is to say when v_1 is learned: a list of `Hypothesis` on one start (m, 2), (m,).

    It is about a head at I, as a trained one is until a neuron has learned something: where that is v_2, the head may
    bring it to the others before they learn v_1.
    """
    asked = [*premises.of_frozen_neurons(config), premises.features(config, 2)]
    if premises.hold(asked) and heads.changes(config) and config.m > 1:
        asked.append(strong_first(config, overlaps, noise_norms))
    return asked


def strong_time(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> float:
    """T_1 by eq. 14: when the first neuron learns v_1 under a head at I; inf where each learns v_2."""
    neurons = frozen_neurons(config, overlaps, noise_norms)
    return min((neuron.time_to_share(LEARNED) for neuron in neurons if neuron.feature == STRONG), default=np.inf)


def _later_phases_by_eq_25(config, overlaps, noise_norms):
    """The `later_phases` of a Config and a start, where eq. 25 says whether d is large."""
    asked = premises.of_two_neurons(config)
    if not premises.hold(asked):
        return asked, None, None
    chance = success_rate(config) if premises.hold([kappa_of_25(config)]) else None
    return later_phases(config, overlaps, noise_norms, large_dimension(chance, "eq. 25"))


# ---- who learns what -----------------------------------------------------------------

def temptation(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> np.ndarray:
    """How strongly the head draws neuron 1 to v_2 as well, (...): above 1 it goes (docs/theory.md, eq. 18)."""
    _require_drawn(config)
    first = first_learner(config, overlaps, noise_norms)[..., None, None]
    one, two = (np.take_along_axis(overlaps, row, axis=-2)[..., 0, :] for row in (first, 1 - first))
    norms = np.sqrt((np.asarray(overlaps) ** 2).sum(axis=-1) + np.asarray(noise_norms) ** 2)
    bound = np.take_along_axis(ceiling(config.kappa, norms), 1 - first[..., 0], axis=-1)[..., 0]
    return np.sign(one[..., 0] * two[..., 0]) * bound * one[..., 1] / two[..., 1]


def success_probability(config: Config) -> float:
    """P(both features are learned) for Gaussian weights as d -> infinity (docs/theory.md, eq. 19)."""
    premises.require("eq. 19", premises.of_two_neurons(config))
    return 1 - np.arctan(np.sqrt(config.kappa / 3)) / np.pi


def success_rate(config: Config, starts: int = RANDOM_STARTS) -> float:
    """P(both features are learned) for Gaussian weights at this d: the part of `starts` that eq. 25 lets succeed.

    The starts are the same ones at every call, so equal configurations have equal rates.
    """
    rng = np.random.default_rng(0)
    overlaps = rng.standard_normal((starts, 2, 2)) / np.sqrt(config.d)
    noise_norms = np.sqrt(rng.chisquare(config.d - 2, (starts, 2)) / config.d)
    return float(succeeds(config, overlaps, noise_norms).mean())


def succeeds(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> np.ndarray:
    """Whether both features will be learned, (...) bool, at any d (docs/theory.md, eq. 25).

    Neuron 1 must not be drawn to v_2 (eq. 18), and the head must supply v_1 to
    neuron 2 before neuron 2 has learned it by itself.
    """
    premises.require("eq. 25", premises.of_two_neurons(config))
    alone = np.sort(small_start_times(config, overlaps, noise_norms)[..., 0], axis=-1)
    in_time = alone[..., 1] > alone[..., 0] + substitution_lag(config, overlaps, noise_norms)
    return in_time & (temptation(config, overlaps, noise_norms) < 1)


# ---- phase II ----------------------------------------------------------------------------

def answer_after_phase_one(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray,
                           speed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(c, n), each (...): |B_11| = c (t - T_1)^{3/8} of the neuron that is first, far from its final norm; n the other's noise.

    `speed` is that of the neuron in units of the frozen neuron of eq. 14 (docs/theory.md, eqs. 21 and 33).
    """
    _require_pair("eqs. 21 and 33", config)
    mu11, mu12, nu = even_moments(config)
    h11, strength = mu11 / 2, config.effective_alphas[0]
    noise = 15 * nu * np.asarray(noise_norms) ** 6
    first = first_learner(config, overlaps, noise_norms)[..., None]
    one, two = (np.take_along_axis(noise, row, axis=-1)[..., 0] for row in (first, 1 - first))
    return strength**3 * (24 * speed * mu12 * one / (h11**2 * strength**6)) ** (3 / 8), two


def substitution_lag(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> np.ndarray:
    """T_2 - T_1 while neuron 1 is far from its final norm, (...), in closed form (docs/theory.md, eq. 21)."""
    premises.require("eq. 21", premises.of_two_neurons(config))
    mu11, mu12, _ = even_moments(config)
    h11, fed = mu11 / 2, leak(config, overlaps, noise_norms)
    growth, two = answer_after_phase_one(config, overlaps, noise_norms)
    return (11 * two**1.5 / (8 * config.kappa * mu12 * fed * growth**2 * np.sqrt(h11))) ** (4 / 7)


def substitution_time(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> float:
    """T_2 of one start: when the head supplies half of F_2's variance (docs/theory.md, eq. 20); inf if never.

    Neuron 1 alone is the frozen neuron of eq. 14; the variable is the logarithm
    of its overlap over its noise norm, in which all of its life is smooth.
    """
    premises.require("eq. 20", premises.of_two_neurons(config))
    start = Start(config, overlaps, noise_norms)
    two = _PhaseTwo(start)
    if two.substituted(two.begin, [0, 0]) >= 0:
        return np.inf  # neuron 2 has learned v_1 already
    path = two.follow(two.rates, 2)
    return two.unit * path.y[0, -1] if path.status == 1 else np.inf


def heads_at_substitution(config: Config, overlaps: np.ndarray, noise_norms: np.ndarray, paths: int = WALKS) -> np.ndarray:
    """E_21 at T_2 of `substitution_time` in so many runs of SGD from one start, (paths,); the sign of eq. 20 is positive (eq. 86).

    They are Euler paths of the stochastic equation of docs/theory.md, the same ones at every call; where one is negative the
    head starts on the wrong side. Empty where there is no T_2. ValueError where the weights grow before (eq. 58).
    """
    premises.require("eq. 86", [*of_noise(config), *premises.of_two_neurons(config)])
    batch = noise_laws.of_batch(config.patches, config.feature_patches, config.batch_size)
    grown = float(noise_laws.criticality(noise_laws.growth(config, batch), strong_time(config, overlaps, noise_norms),
                                         np.min(noise_norms)))
    premises.require("eq. 86", [Hypothesis("little growth", f"x < {LITTLE_GROWTH:g} of eq. 58", f"{grown:.2g}",
                                           grown < LITTLE_GROWTH)])
    start = Start(config, overlaps, noise_norms)
    two, tau, h11 = _PhaseTwo(start), config.lr / config.batch_size, start.h11
    path = two.follow(two.rates, 2) if two.substituted(two.begin, [0, 0]) < 0 else None
    if path is None or path.status != 1:
        return np.empty(0)
    rng, head = np.random.default_rng(0), np.zeros(paths)
    nodes = np.linspace(two.begin, path.t[-1], WALK_STEPS + 1)
    for log_ratio, step in zip(nodes, np.diff(nodes)):
        answer, own_noise = two.answers(log_ratio)
        dt = two.rates(log_ratio, [0, 0])[0] * two.unit * step
        fed = start.leak + head * answer  # H_21
        variance = two.noise + h11 * fed**2  # D_2
        walk = batch.head * own_noise / variance + answer**2 * two.noise * (
            batch.walk / 2 * two.noise + batch.head * (h11 * fed) ** 2) / variance**3
        head = head + start.head_rate(head, answer, two.noise, variance) * dt + (
            2 * start.kappa * np.sqrt(tau * walk * dt) * rng.standard_normal(paths))
    return head


class _PhaseTwo:
    """Neuron 1 by eq. 14 and the head by eq. 20 from a `Start` on, in log (a_11 / ||w_1^perp||).

    begin : that at the start
    unit : of time, the T_1 of neuron 1 by eq. 16
    enough : of the head, the entry that would supply half of F_2 in the end
    noise : n_2
    """

    def __init__(self, start):
        self.start, self.noise = start, start.noise(start.noise_norms[1])
        strong, norm = start.alphas[0], start.norms[0]
        self.enough = np.sqrt(self.noise / start.h11) / (strong * norm) ** 3
        self.unit = start.noise(start.noise_norms[0]) / (12 * start.mu12 * strong**6 * start.strong[0] ** 4)
        self.begin = np.log(start.strong[0] / np.hypot(start.noise_norms[0], start.weak[0]))

    def answers(self, log_ratio):
        """|B_11| and n_1."""
        cosine = 1 / np.hypot(1, np.exp(-log_ratio))
        norm = self.start.norms[0]
        return (self.start.alphas[0] * norm * cosine) ** 3, self.start.noise(norm * np.exp(-log_ratio) * cosine)

    def rates(self, log_ratio, y):
        """d/dlog ratio of the time over `unit` and of |E_21| over `enough`."""
        start = self.start
        answer, own_noise = self.answers(log_ratio)
        growth = 3 * start.mu12 * start.alphas[0] ** 3 * answer * (start.norms[0] / np.hypot(1, np.exp(-log_ratio))) * own_noise
        dt = (own_noise + start.h11 * answer**2) ** 2 / (growth * (1 + np.exp(2 * log_ratio)))
        head = self.enough * y[1]
        variance = self.noise + start.h11 * (start.leak + head * answer) ** 2
        return [dt / self.unit, dt * start.head_rate(head, answer, self.noise, variance) / self.enough]

    def substituted(self, log_ratio, y):
        """From where on the head supplies half of F_2's variance: a number that rises through 0."""
        fed = self.start.leak + self.enough * y[1] * self.answers(log_ratio)[0]
        return np.log(self.start.h11 * fed**2 / self.noise)

    def follow(self, rates, size):
        """The path of `size` numbers from 0 until the substitution; status 1 if there is one."""
        substituted = lambda log_ratio, y: self.substituted(log_ratio, y)
        substituted.terminal = True
        return solve_ivp(rates, (self.begin, LATEST_LOG_RATIO), [0.0] * size, events=substituted, method="LSODA",
                         rtol=SUBSTITUTION_RTOL, atol=SUBSTITUTION_RTOL)


# ---- phase III -----------------------------------------------------------------------------

class Acceleration:
    """Phase III of one start by quadrature (docs/theory.md, eqs. 22 to 24).

    The only unknown is y = ||w_2^perp|| / ||w_2^perp(0)||, which falls from 1 as
    |E_21| = E_m sqrt(1 - y^2) rises; `log_norm` is its logarithm.
    """

    def __init__(self, config: Config, overlaps: np.ndarray, noise_norms: np.ndarray) -> None:
        premises.require("eqs. 22 to 24", premises.of_two_neurons(config))
        self.start = Start(config, overlaps, noise_norms)

    def end(self) -> float:
        """log y at the moment neuron 2 learns v_2, where the growth it needs has come together (eq. 23)."""
        needed = 1 / (4 * self.start.weak[1] ** 4)
        missing = lambda log_norm: self._integral(self._pull, log_norm) / needed - 1
        low = -1e-9
        while missing(low) < 0:
            low *= 2
            if low < SMALLEST_LOG_NORM:
                return -np.inf
        return brentq(missing, low, low / 2) if low < -1e-9 else low

    def time(self) -> float:
        """T_3: when neuron 2 learns v_2 (eqs. 22, 23); inf if it never does."""
        end = self.end()
        return self._integral(self._duration, end) if np.isfinite(end) else np.inf

    def head_left(self) -> float:
        """|E_21| when phase III ends, as a fraction of its peak; 0 where the head is back before (eq. 29).

        While a_22 blows up the noise of neuron 2 has no time to change, so by eq. 13 a_22 is paid out of the head.
        """
        start, log_norm = self.start, self.end()
        needed = start.noise(start.noise_norms[1] * np.exp(log_norm)) / start.h11 + start.leak**2  # B_22^2 at share 1/2
        overlap = needed ** (1 / 6) / start.alphas[1]
        spent = start.kappa / 3 * overlap**2 / (start.ceiling**2 * -np.expm1(2 * log_norm))
        return float(np.sqrt(max(1 - spent, 0)))

    def asymptotic_time(self) -> float:
        """T_3 as d -> infinity, in closed form: d^{13/8} times a random factor (eq. 24)."""
        start = self.start
        *_, answer = self._state(SMALLEST_LOG_NORM)
        noise = start.noise(start.noise_norms[1])
        slow = start.h11**1.5 * (start.ceiling**2 * answer) ** 2 / (
            start.kappa * start.mu12 * start.leak * np.sqrt(noise))  # T_E
        force = 3 * start.mu12 * start.alphas[1] ** 6 / (np.sqrt(start.h11 * noise) * start.ceiling * answer)
        return slow**0.75 / (force**0.25 * start.weak[1])

    def _state(self, log_norm):
        """|E_21|, -d|E_21|/dlog y, n_2, |B_11| at a value of log y (eq. 13 for both neurons)."""
        start = self.start
        spent = -np.expm1(2 * log_norm)  # e^2 = 1 - y^2
        head = start.ceiling * np.sqrt(spent)
        slope = start.ceiling * np.exp(2 * log_norm) / np.sqrt(spent)
        overlap = np.sqrt(start.norms[0] ** 2 + start.noise_norms[1] ** 2 * spent)
        noise = start.noise(start.noise_norms[1] * np.exp(log_norm))
        return head, slope, noise, (start.alphas[0] * overlap) ** 3

    def _duration(self, log_norm):
        """-dt/dlog y."""
        head, slope, noise, answer = self._state(log_norm)
        return slope / self.start.head_rate(head, answer, noise, self.start.h11 * (head * answer) ** 2)

    def _pull(self, log_norm):
        """-d(a_22^-4 / 4)/dlog y, negative of what is left of 1 / (4 a_22^4)."""
        head, slope, noise, answer = self._state(log_norm)
        start = self.start
        return 3 * start.alphas[1] ** 6 * start.h11 * head**2 * answer * slope / (start.kappa * noise * start.leak)

    def _integral(self, integrand, end):
        """Integral of `integrand` over log y from `end` to 0, smooth in x = sqrt(-log y)."""
        return quad(lambda x: 2 * x * integrand(-x * x), 0, np.sqrt(-end), **QUADRATURE)[0]


# ---- finite batches ------------------------------------------------------------------------------

def of_noise(config: Config) -> list[Hypothesis]:
    """What the laws of finite batches, eqs. 56 to 60 and 80, ask for: a list of `Hypothesis`."""
    head = Hypothesis("a head that starts at I", "trained or frozen", f"head {config.head}", config.head in ("trained", "frozen"),
                      premises.HEAD)
    own = [premises.paper_objective(config), head, *premises.even_features(config),
           *premises.some_noise(config),
           Hypothesis("few patches", f"up to {MOST_PATCHES}, for eq. 57 sums over all masks", f"{config.patches}",
                      config.patches <= MOST_PATCHES, ("patches",)), *of_batches(config, WIDEST_SPREAD)]
    return premises.closed(config, *own, free=("m", "features", "frequencies"))


def noise(config: Config, start: "State | None" = None) -> noise_laws.Noise:
    """What the noise of finite batches does to a run of SGD: `noise_laws.Noise` (docs/theory.md, section 8).

    Phase I is that of the neuron that learns v_1 first with this noise, of any number of neurons and features; phase III has a
    law for two of each and a trained head, where eqs. 18 to 24 name the phases of this start.

    config : Config of engine gram or sgd; the paper's objective and plain SGD at a constant lr
    start : State with a (m, K); by default the Gaussian weights of `config.init_seed`

    Raises ValueError by name for any other setting: without batch norm or stop-gradient, other objectives or heads,
    weight decay, momentum, a target of its own, schedules, a batch too small for its own variance, a head that is not at I,
    a neuron without noise or without v_1.
    """
    premises.require("eqs. 56 to 60 and 66 to 71", of_noise(config))
    overlaps, norms = _weights(config, start)
    if start is not None:
        premises.require("eqs. 56 to 60 and 66 to 71", [*premises.head_s_start(config, start.E),
                                                        *premises.some_of_all(overlaps[:, :1], norms)])
    batch = _batch(config)
    first = _first_with_noise(config, overlaps, norms, batch)
    one = noise_laws.phase_one(config, batch, *first)
    three, own_course, s, missing = None, None, np.nan, _no_phase_three(config, overlaps, norms)
    if not missing:
        try:
            three, own_course, s = _phase_three_with_noise(config, overlaps, norms, batch, one)
        except ValueError as error:  # its mean could not be followed
            missing = str(error)
    fates = _fates_with_noise(config, overlaps, norms, batch)
    return noise_laws.Noise(config.lr, config.batch_size, batch.common, batch.drift, one, fates, three, missing, own_course, s)


def _first_with_noise(config, overlaps, norms, batch):
    """(flow time, noise norm, overlap) of the neuron that learns v_1 first with this noise, or comes nearest to it."""
    neurons = frozen_neurons(config, overlaps, norms)
    times = np.array([neuron.time_to_share(LEARNED) if neuron.feature == STRONG else np.inf for neuron in neurons])
    x = noise_laws.criticality(noise_laws.growth(config, batch), times / batch.drift, norms)
    order = np.where(x < 1, times * noise_laws.slowed(x), np.inf)
    row = int(np.argmin(order if np.isfinite(order).any() else x))
    return float(times[row]), float(norms[row]), float(abs(overlaps[row, STRONG]))


def _fates_with_noise(config, overlaps, norms, batch):
    """P(neuron j learns feature l first) at E = I with this noise, (m, K) as rows of floats; nan where the start is not small."""
    times = small_start_times(config, overlaps, norms) / batch.drift
    small = (signal(config, overlaps) / noise_level(config, norms)[:, None]).max(axis=1) < SMALL_SIGNAL
    with np.errstate(divide="ignore"):
        ends = norms**4 / noise_laws.growth(config, batch)  # inf where there is no dimension to grow in
        blurs = noise_laws.blur(config, overlaps, batch)
    return tuple(tuple(noise_laws.fate_probabilities(*one).tolist()) if known else (np.nan,) * config.features
                 for known, *one in zip(small, times, blurs, ends))


def _of_small_starts(config, overlaps, norms):
    """That there is a phase I, in which every neuron has some of all features: a list of `Hypothesis`."""
    begun = float((signal(config, overlaps)[:, STRONG] / noise_level(config, norms)).max())
    return [*premises.some_of_all(overlaps, norms), Hypothesis("a phase I", "v_1 is below the noise of every neuron",
                                                               f"{begun:.3g} of it", begun < 1)]


def _no_phase_three(config, overlaps, norms):
    """Why eqs. 68 to 71 are not about this start, in words; "" where they are."""
    asked = premises.of_two_neurons(config)
    if premises.hold(asked):
        asked = _of_small_starts(config, overlaps, norms)
    if premises.hold(asked):
        asked = of_start(config, overlaps, norms)
    if premises.hold(asked):
        draw = float(temptation(config, overlaps, norms))
        times = substitution_time(config, overlaps, norms), Acceleration(config, overlaps, norms).time()
        asked = [Hypothesis("eq. 18", "neuron 1 is not drawn to v_2, below 1", f"{draw:.2g}", draw < 1),
                 _in_order(times[0] < times[1])]
    return "; ".join(one.words for one in premises.broken(asked))


def _phase_three_with_noise(config, overlaps, norms, batch, one):
    """(`noise_laws.Learning` of v_2, `noise_runs.Course`, s of eq. 89): the mean of the runs from their start on (eq. 87)."""
    tau = config.lr / config.batch_size
    flow_time = _pair(config, overlaps, norms, noise_laws.INFINITE_BATCH, 0.0, 0.0).mean().weak
    latest = LATEST_OF_ALL * flow_time
    course_at = functools.cache(lambda factor: _pair(config, overlaps, norms, batch, factor * tau, factor * config.lr).mean(latest))
    course = course_at(1.0)
    s = _noise_over_flow(config, overlaps, norms, batch, course)
    most = min(1 / one.x, one.largest_lr / config.lr)
    guess = 1 / s if s > 0 else most
    three = noise_laws.later_phase(config, flow_time, lambda factor: course_at(factor).weak, guess, most)
    return three, course, s


def _pair(config, overlaps, norms, batch, tau, lr):
    """The `noise_runs.Pair` of a start, its neurons in the order of the theory."""
    first = int(first_learner(config, overlaps, norms))
    rows = [first, 1 - first]
    return noise_runs.Pair(config, np.asarray(overlaps)[rows], np.asarray(norms)[rows], batch, noise_laws.freedom(config),
                           noise_laws.held_noise(config), tau, lr)


def _noise_over_flow(config, overlaps, norms, batch, course):
    """s = R of eq. 68 where phase III begins, by a `noise_runs.Course`; nan where it does not (eq. 89)."""
    phase = noise_laws.SlowedAcceleration(Start(config, overlaps, norms), config.lr / config.batch_size, noise_laws.freedom(config),
                                          batch, noise_laws.held_noise(config))
    return float(phase.ratio(course.X, course.leak))


def course(config: Config, start: "State | None" = None) -> noise_runs.Course:
    """The mean of the runs of SGD from one start: T_1 to T_3, and X_0, E_21 and |B_21| where phase III begins (eqs. 87 to 89).

    config, start : as `noise` has them, but of two neurons, two features and a trained head alone

    Nothing is taken from a run or a flow. ValueError by name for what it is not about, and where the mean has no end.
    """
    return _pair_of_start(config, start).mean()


def runs_with_noise(config: Config, start: "State | None" = None, runs: int = WALKS, time: float | None = None,
                    seed: int = 0) -> noise_runs.Runs:
    """What becomes of so many runs of SGD from one start: `noise_runs.Runs` (docs/theory.md, eqs. 90 to 93).

    The reduced stochastic equation of one start, by steps that are never shorter than those of SGD; equal seeds give equal runs.

    config, start : as `noise` has them, but of two neurons, two features and a trained head alone
    time : t up to which runs are followed, by default that of `config.steps`
    """
    return _pair_of_start(config, start).runs(runs, config.steps * config.lr if time is None else time, np.random.default_rng(seed))


def _batch(config):
    return noise_laws.of_batch(config.patches, config.feature_patches, config.batch_size)


def _pair_of_start(config, start):
    """The `noise_runs.Pair` of a start of which eqs. 87 to 93 speak; else ValueError by name."""
    law = "eqs. 87 to 93"
    premises.require(law, [*of_noise(config), *premises.of_two_neurons(config)])
    overlaps, norms = _weights(config, start)
    if start is not None:
        premises.require(law, premises.head_s_start(config, start.E))
    premises.require(law, _of_small_starts(config, overlaps, norms))
    return _pair(config, overlaps, norms, _batch(config), config.lr / config.batch_size, config.lr)


def _weights(config, start):
    """Overlaps (m, K) and noise norms (m,) of a State, or of the Gaussian weights of `config.init_seed` where it is None."""
    if start is None:
        overlaps, factor = reduced_state(config)
        return overlaps, np.linalg.norm(factor, axis=-1)
    start.require_fits(config)
    return start.a, start.noise_norms
