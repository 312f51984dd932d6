"""What finite batches do to learning: the laws that the flow does not know (docs/theory.md, section 8).

Under batch norm sampling noise lengthens the weights, and longer weights learn more slowly. All is to leading order in the
step eta at tau = eta / N; what is exact in the batch size N says so. Times are t = eta * steps, strengths and weights are in
units of sigma as everywhere. `simsim.laws.noise` puts these laws together for one run.

>>> from simsim import Config, noise_laws
>>> round(float(noise_laws.common_noise(Config(feature_patches=4))), 4)  # c_0 of eq. 56
0.8571
"""

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline, RectBivariateSpline
from scipy.optimize import brentq, minimize_scalar
from scipy.special import airye, erf, gamma, ndtr

from simsim import premises
from simsim.config import Config
from simsim.data import even_moments, mask_moments, split_law
from simsim.noise_runs import Course
from simsim.theory import ceiling

BEST_X = (3 - np.sqrt(5)) / 2  # at which phase I takes the fewest samples (eq. 59)
LEAST_SAMPLES = (1 + np.sqrt(5)) ** 5 / 64  # (T_SGD / T_1) / x there: half the fifth power of the golden ratio
BLUR_OF_EVEN_CHANCE = 1 / (4 * 0.4769362762044699**2)  # erf(1 / (2 sqrt(blur))) is 1/2

# Of the moments of a batch: grids in the logarithms of a frequency and of a Laplace variable.
SERIES = 1e-3  # frequency below which two terms of a series are exact
FREQUENCIES = np.arange(np.log(1e-8), np.log(1e8), 0.01)
LAPLACE = np.arange(-40.0, 14.0, 0.1)
WEIGHTS = np.arange(np.log(1e-7), np.log(9.0), 0.02)
MANY = 10**5  # samples from which on what lies below LAPLACE counts: it is 2.5e-8 sqrt(N) of the drift

WALK_NODES = 40  # of the mean over time of the ratio of two noises

# Of the first passage: r = |a(0) / a| in units in which the blur is 1, and the logarithm of time.
PASSAGE_STEP = 0.006
PASSAGE_LOGS = np.arange(np.log(0.015), np.log(60.0), PASSAGE_STEP)
SHARP = 0.03  # r up to which the passage is that of a normal variable
THRESHOLD_ERROR = 1e-3  # of the logarithm of the step at which v_2 is just learned
LEAST_ERROR = 0.01  # of the logarithm of the step with the fewest samples, where a minimum is flat
LATE = 1e4  # time from which nothing more is learned
LITTLE_NOISE = 0.01  # tau d (alpha_1 / alpha_2)^3 up to which it is of leading order how many fates noise moves
RACE_POINTS, RACE_DECADES = 801, 4  # of the times of the flow at which two passages are compared, for each of them

ACCELERATION_RTOL = 1e-9
LONGEST_FALL, LONGEST_RISE = 600.0, 10.0  # in s and in log X of eq. 71, where v_2 is given up


# ---- moments of masks ----------------------------------------------------------------------

def common_noise(config):
    """c_0 = E[nu_1 nu_2] / nu^2 of the numbers of noise patches in the two views (docs/theory.md, eq. 56); exact.

    Any P, and features in any numbers of patches. 0 where no sample has noise in both views, nan where there is no noise.
    """
    often, noisy = config.shares_of_samples, config.patches - np.array(config.patches_by_feature)
    nu = often @ (noisy / 2)
    return float(often @ mask_moments(config.patches, noisy)[1] / nu**2) if nu else np.nan


def held_noise(config):
    """W = E[(k_2 - rho k_1)^2 nu_1] / (mu_11 nu), by which a neuron that holds its feature is pushed (eq. 67); exact.

    nan where there is no noise. ValueError of features in unequally many patches: each then has a W of its own.
    """
    mu11, mu12, nu = even_moments(config)
    if not nu:
        return np.nan
    k1, chance = split_law(config.patches, config.feature_patches)
    rest = config.feature_patches - k1 - mu12 / mu11 * k1
    return float(chance @ (rest**2 * (config.patches / 2 - k1)) / (mu11 * nu))


# ---- what batch norm makes of a batch of N ------------------------------------------------------

class Batch(NamedTuple):
    """Moments of a batch of N whose outputs are noise (docs/theory.md, eq. 57).

    drift : by what a small overlap grows faster than in the flow
    common : in the place of c_0
    walk : in the place of M = E[k_1^2 nu_2] / nu, of the walk of 1 / a
    target : by what phase III's drift is larger, with n_2 in the target alone
    common_target : in the place of c_0 there
    head : in the place of c_0 in the walk of the head (eq. 83)
    """

    drift: float
    common: float
    walk: float
    target: float
    common_target: float
    head: float


INFINITE_BATCH = Batch(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)  # that of the flow, where tau is 0


@functools.cache
def _cubes():
    """E[cos(s u^3)] and E[u^4 cos(s u^3)] of a standard normal u, as functions of log s.

    Completing the cube makes the first an Airy function; the second is four times its second derivative in the precision of u.
    """
    s = np.exp(FREQUENCIES)
    large = np.maximum(s, SERIES)
    first = np.sqrt(2 * np.pi) * (3 * large) ** (-1 / 3) * airye((3 * large) ** (-1 / 3) / (12 * large))[0]
    first = CubicSpline(FREQUENCIES, np.where(s < SERIES, 1 - 7.5 * s**2 + 10_395 / 24 * s**4, first))
    second = 3 * first(FREQUENCIES) + 12 * first(FREQUENCIES, 1) + 9 * first(FREQUENCIES, 2)
    return first, CubicSpline(FREQUENCIES, second)


@functools.cache
def _laplace(most):
    """E[F^{2i} e^{-t F^2}] and E[S F^{2i} e^{-t F^2}], each (3, most + 1, T): i, the number of patches, t.

    F is the sum of so many cubes u^3, S that of the u^4. A normal variable times sqrt(2 t) F has the Laplace transform for
    its characteristic function, and that of F is a power.
    """
    g = np.exp(WEIGHTS)
    weight = np.sqrt(2 / np.pi) * np.exp(-g * g / 2) * g * (WEIGHTS[1] - WEIGHTS[0])
    weight[0] += 1 - weight.sum()  # what lies below the grid
    logs = np.maximum(WEIGHTS + 0.5 * np.log(2) + 0.5 * LAPLACE[:, None], FREQUENCIES[0])
    first, second = (cube(logs) for cube in _cubes())
    plain = np.array([first**n @ weight for n in range(most + 1)])
    fourth = np.array([0 * LAPLACE, *(n * second * first ** (n - 1) @ weight for n in range(1, most + 1))])
    t = np.exp(LAPLACE)
    made = []
    for values in (plain, fourth):
        spline = CubicSpline(LAPLACE, values, axis=1)
        made.append(np.array([values, -spline(LAPLACE, 1) / t, (spline(LAPLACE, 2) - spline(LAPLACE, 1)) / t**2]))
    return made


@functools.cache
def of_batch(patches, feature_patches, N):
    """The `Batch` of N samples with k feature patches among P (docs/theory.md, eq. 57).

    Sums over the batch of independent samples, divided by powers of sums, are integrals of N-th powers of Laplace
    transforms: exact in N but for the batch means, which enter to leading order in 1 / N. ConfigError for numbers that no run
    of the flow could have: without noise, k > P, fewer than 3 samples.
    """
    Config(engine="flow", patches=patches, feature_patches=feature_patches, batch_size=N)
    k1, chance = split_law(patches, feature_patches)
    k2 = feature_patches - k1
    one, two = patches // 2 - k1, patches // 2 - k2  # noise patches in the two views
    plain, fourth = _laplace(int(max(one.max(), two.max())))
    t, nu = np.exp(LAPLACE), chance @ one
    D, ones = 15 * nu, np.ones(len(k1))

    def pairs(weight, f, g):
        """E of weight f(F, t) g(G, s) over the masks, (T, T); `weight` (c,)."""
        return (f[one].T * (chance * weight)) @ g[two]

    whole = pairs(ones, plain[0], plain[0])
    marginal = chance @ plain[0][two]
    step = LAPLACE[1] - LAPLACE[0]
    others = {apart: whole ** (N - apart) for apart in (1, 2)}  # of the batch but for so many samples

    def power(a):
        """t^(a - 1) / gamma(a) dt on the grid, of a variance that is a mean; of many samples with all that lies below."""
        weight = (N * t) ** a / gamma(a) * step
        if N >= MANY:
            weight[0] /= -np.expm1(-a * step)
        return weight

    def both(a, b, sample, apart=1):
        """E of `sample` / (D'^a G'^b), D' and G' the variances over the batch, `apart` samples of it in `sample`."""
        return power(a) @ (others[apart] * sample) @ power(b)

    def alone(a, sample):
        """E of `sample` (T,) / D'^a, or G'^a, which have one law."""
        return power(a) @ (marginal ** (N - 1) * sample)

    def residual(weight, made):
        """E[(Z - rho' Y)^2 weight / D'] D of one sample; `made` (3, c, T) is that of what is weighted, over F."""
        square = both(1, 1, pairs(weight, made[0], plain[1]))
        cross = -2 / N * both(2, 1, pairs(weight, made[1], plain[1]))
        own = both(3, 1, pairs(weight, made[2], plain[1])) / N**2
        two = (N - 1) / N**2 * both(3, 1, pairs(weight, made[1], plain[0]) * pairs(ones, plain[1], plain[1]), 2)
        # What batch means add, to the next order in 1 / N: where c_0 is 0 there is nothing else.
        means = (1 + 6 / N) * (alone(1, (chance * weight) @ made[0][one]) - alone(2, (chance * weight) @ made[1][one]) / N) / N
        return D * (square + cross + own + two + means)

    shared = k1 * k2 / (chance @ (k1 * k2))
    drift = both(0.5, 0.5, pairs(shared, plain[0], plain[0]))
    drift -= (both(1.5, 0.5, pairs(shared, plain[1], plain[0])) + both(0.5, 1.5, pairs(shared, plain[0], plain[1]))) / N
    target = np.sqrt(D) * alone(0.5, (chance * one / nu) @ plain[0][two])
    # In phase III the prediction is the feature, whose moments over a batch need no integrals: it has no heavy tails.
    mu11 = chance @ k1**2
    common_target = (1 - 1 / N) * alone(1, (chance * one) @ plain[1][two]) / nu + 1 / N
    apart = chance @ (k1**2 * one) * (chance @ (k1**2 * two)) / mu11 - 2 * chance @ (k1**2 * one * two)
    common_target += apart / (N * mu11 * nu**2)
    return Batch(float(D * drift), float(residual(ones, fourth) / (3 * nu)), float(residual(k1**2, plain)), float(target),
                 float(common_target), float(residual(one, plain) / nu))


# ---- phase I -----------------------------------------------------------------------------------

def freedom(config):
    """d without the features and w itself: the dimensions of the noise across a neuron."""
    return config.d - config.features - 1


def growth(config, batch=None):
    """g of d||w||^4/dt = 2 g while a neuron is noise (docs/theory.md, eq. 56).

    With `batch`, a `Batch`, that of N samples; else to leading order in 1 / N. Under weight decay it is the part of the noise.
    ValueError for other objectives, heads that start elsewhere than at I, other optimisers, the flow, and without noise.
    """
    premises.require("eq. 56", premises.of_noisy_neurons(config, free=("patch_counts", "weight_decay")))
    common = common_noise(config) if batch is None else batch.common
    return 7.2 * common * config.lr / config.batch_size * freedom(config)


def criticality(growth, time, norm):
    """x of a feature that a neuron of this norm learns in `time` in the flow: from 1 on it never does (eq. 58)."""
    return growth * time / norm**4


def slowed(x):
    """T_SGD / T_1 at x (docs/theory.md, eq. 58); inf from x = 1 on."""
    x = np.asarray(x, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(x < 1, (1 - x / 2) / (1 - x) ** 2, np.inf)


def time_of_flow(x, time):
    """The flow's time that has passed at `time` of SGD, both over T_1: at most 1 / x (docs/theory.md, eq. 58)."""
    time = np.asarray(time, dtype=float)
    return time if x == 0 else -np.expm1(-0.5 * np.log1p(2 * x * time)) / x


def blur(config, overlap, batch):
    """epsilon of a start `overlap`: how far 1 / a walks until T_1, squared and over 1 / a(0) (docs/theory.md, eq. 60).

    ValueError for what eq. 56 is not about (`growth`), weight decay, and features in unequally many patches.
    """
    premises.require("eq. 60", premises.of_noisy_neurons(config, *premises.even_features(config)))
    mu12 = mask_moments(config.patches, config.feature_patches)[1]
    return 1.5 * config.lr / config.batch_size * batch.walk / (batch.drift * mu12 * np.asarray(overlap) ** 2)


@functools.cache
def _passages():
    """P(r reaches 0 by a time), as a spline over log r and log time, in units in which the blur is 1.

    The backward equation of dr = (-1/(4 r^3) + 1/r) dt + dB by central differences in log r; the front starts as the normal
    one that it is while r is small.
    """
    r, h, begin = np.exp(PASSAGE_LOGS), PASSAGE_STEP, 4 * np.log(SHARP)
    spread, drift = 1 / (2 * r**2), 1 / (2 * r**2) - 1 / (4 * r**4)
    below, above, middle = spread / h**2 - drift / (2 * h), spread / h**2 + drift / (2 * h), -2 * spread / h**2

    def change(log_time, p):
        inner = np.concatenate([[1.0], p, [0.0]])
        return np.exp(log_time) * (below * inner[:-2] + middle * p + above * inner[2:])

    times = np.arange(begin, np.log(LATE), 0.05)
    path = solve_ivp(change, (begin, times[-1]), ndtr((begin / 4 - PASSAGE_LOGS) / np.sqrt(0.4 * np.exp(begin / 2))),
                     t_eval=times, method="LSODA", lband=1, uband=1, rtol=1e-6, atol=1e-8)
    return RectBivariateSpline(PASSAGE_LOGS, times, path.y, kx=3, ky=3)


def learning_probability(x, blur):
    """P(the feature is learned) at x with this blur, as a first passage of 1 / a (docs/theory.md, eq. 60).

    At x = 0 it is erf(1 / (2 sqrt(blur))), at blur = 0 a step at x = 1; between, the solution of the backward equation. That it is
    learned before some time has the same law, with 1 / `time_of_flow` of that time in the place of x.
    """
    x, blur = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(blur, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_r, log_time = 0.5 * np.log(blur), 2 * np.log(blur) - np.log(x)
        sharp = np.where(blur > 0, ndtr(-np.log(x) / 4 / np.sqrt(0.4 * blur / np.sqrt(x))), 1.0 * (x < 1))
        late = erf(0.5 / np.sqrt(blur))
    within = np.clip(log_r, *PASSAGE_LOGS[[0, -1]]), np.clip(log_time, 4 * np.log(SHARP), np.log(LATE) - 0.05)
    solved = np.clip(_passages().ev(*within), 0, 1) if ((log_r > np.log(SHARP)) & (log_time < np.log(LATE))).any() else late
    front = (log_r <= np.log(SHARP)) | (log_time <= 4 * np.log(SHARP))
    return np.where(front, sharp, np.where(log_time < np.log(LATE), solved, late))


# ---- which feature a neuron learns ------------------------------------------------------------

def fate_probabilities(times, blurs, end=np.inf):
    """P(a neuron at E = I learns each feature before any other), (K,); the rest of 1 is that it learns none (eq. 80).

    times : (K,), `time_of_flow` at which it would learn each alone; inf where it has nothing of a feature
    blurs : (K,), the epsilon of eq. 60 for each
    end : the `time_of_flow` that is never passed, for good or because a run is over; without growth there is none

    The walks of the overlaps are independent, for no sample shows two features: a race of first passages.
    """
    times, blurs = np.asarray(times, dtype=float), np.asarray(blurs, dtype=float)
    chances, runs = np.zeros(len(times)), np.flatnonzero(np.isfinite(times))
    if not runs.size or end <= 0:
        return chances
    times, blurs = times[runs], blurs[runs]
    widths = np.minimum(10 * np.sqrt(6.4 * blurs), RACE_DECADES * np.log(10))
    passed = np.concatenate([np.exp(np.log(times[:, None]) + widths[:, None] * np.linspace(-1, 1, RACE_POINTS)).ravel(),
                             np.geomspace(times.min(), times.max() * 10**RACE_DECADES, RACE_POINTS)])
    passed = np.append(np.unique(passed[passed < end]), min(end, times.max() * 10**RACE_DECADES))
    with np.errstate(over="ignore"):  # where it stops at once
        learned = np.array([learning_probability(time / passed, blur) for time, blur in zip(times, blurs)])
    learned = np.maximum.accumulate(np.pad(learned, ((0, 0), (1, 0))), axis=1)
    for own, feature in enumerate(runs):
        others = np.prod(1 - np.delete(learned, own, axis=0), axis=0)
        chances[feature] = np.diff(learned[own]) @ (others[1:] + others[:-1]) / 2
    return chances


def moved_fates(config, batch):
    """Part of Gaussian neurons at E = I that noise sends to another of two features than eq. 14 (docs/theory.md, eq. 82).

    It is to leading order in tau d, and where growth does not matter yet. ValueError where tau d (alpha_1 / alpha_2)^3 is not
    small.
    """
    strong, weak = config.effective_alphas[0], config.effective_alphas[-1]
    small = config.lr / config.batch_size * config.d * (strong / weak) ** 3
    little = premises.Hypothesis("little noise", f"tau d (alpha_1 / alpha_2)^3 < {LITTLE_NOISE:g}", f"{small:.2g}",
                                 small < LITTLE_NOISE, ("lr", "batch_size"))
    premises.require("eq. 82", premises.closed(config, premises.paper_objective(config), premises.head_from_identity(config),
                                              premises.features(config, 2), *premises.even_features(config),
                                              *premises.some_noise(config), premises.sgd(config), little,
                                              free=("m", "frequencies")))
    mu12 = mask_moments(config.patches, config.feature_patches)[1]
    return float(2 / np.pi * np.sqrt(0.6 * batch.walk / (batch.drift * mu12) * config.lr / config.batch_size * config.d))


# ---- balances ----------------------------------------------------------------------------------

def noise_floor(config):
    """||w^perp|| at which the noise of the batches balances eq. 30 in a neuron that holds a feature (docs/theory.md, eq. 67)."""
    premises.require("eq. 67", premises.closed(config, premises.paper_objective(config), *premises.even_features(config),
                                              *premises.some_noise(config), premises.sgd(config),
                                              free=("m", "features", "frequencies", *premises.HEAD)))
    mu11, mu12, _ = mask_moments(config.patches, config.feature_patches)
    return float(np.sqrt(0.6 * config.lr / config.batch_size * freedom(config) * held_noise(config) * mu11 / mu12))


def decayed_norm(config, norm, time):
    """||w|| after `time` of a neuron that is noise, under weight decay (docs/theory.md, eq. 66); `norm` at the start."""
    rate, decay = growth(config), config.weight_decay
    fade = np.exp(-4 * decay * np.asarray(time, dtype=float))
    risen = 2 * rate * np.asarray(time) if decay == 0 else rate / (2 * decay) * -np.expm1(-4 * decay * np.asarray(time))
    return (norm**4 * fade + risen) ** 0.25


def decay_criticality(x, decay, time):
    """What x becomes under weight decay: x + sqrt(2 decay T_1 x), learned below 1 (docs/theory.md, eq. 66)."""
    return x + np.sqrt(2 * decay * np.asarray(time) * x)


# ---- the head ------------------------------------------------------------------------------------

def _of_walking_heads(config):
    """What eqs. 83 to 86 ask for: a list of `Hypothesis`."""
    return premises.closed(config, premises.paper_objective(config), premises.trained_head(config), *premises.even_features(config),
                           *premises.some_noise(config), premises.sgd(config), free=("m", "features", "frequencies"))


def head_walk(config, batch, noise_norms, time):
    """Standard deviation of E_jr after `time` in which all neurons are noise, (m, m); 0 on the diagonal (docs/theory.md, eq. 83).

    noise_norms (m,) at the start. It walks, for nothing draws the head back while no neuron has learned anything.
    """
    premises.require("eq. 83", _of_walking_heads(config))
    lengths, rate = np.asarray(noise_norms, dtype=float) ** 4, 2 * growth(config, batch)
    nodes, weights = np.polynomial.legendre.leggauss(WALK_NODES)
    grown = lengths[:, None] + rate * time * (nodes + 1) / 2
    mean_ratio = (grown[None, :] / grown[:, None]) ** 1.5 @ weights / 2  # of n_r / n_j over the time, (j, r)
    walk = 4 * config.kappa**2 * config.lr / config.batch_size * batch.head * time * mean_ratio
    return np.sqrt(walk * (1 - np.eye(len(lengths))))


def settled_head(config):
    """Standard deviation of E_jr where neuron j has learned a feature and r has not, after long (docs/theory.md, eq. 85)."""
    premises.require("eq. 85", _of_walking_heads(config))
    mu11, mu12, _ = mask_moments(config.patches, config.feature_patches)
    return float(np.sqrt(config.kappa * config.lr / config.batch_size * held_noise(config) * mu11 / mu12))


# ---- phase III ----------------------------------------------------------------------------------

class SlowedAcceleration:
    """Phase III of one start while noise lengthens neuron 2 (docs/theory.md, eqs. 68 to 71).

    start : laws.Start, with its noise_norms[1] and leak those when phase I is over
    tau, freedom : eta / N, and d without the features and w itself
    batch : Batch
    held : W of eq. 67

    The variable s replaces -log X, X = ||w_2^perp||^2: d log X = -(1 - R) ds and dE = kappa X B_11 / (6 H_21) ds. Without noise
    they are eq. 13; with it E rises beyond its ceiling, and X has a floor. The leak b grows along, other than in eq. 22.
    """

    def __init__(self, start, tau, freedom, batch, held):
        self.start, self.batch, self.held = start, batch, held
        self._noise = 18 * tau * freedom * start.nu * np.sqrt(start.h11) / (start.mu12 * batch.target)
        self.x = float(self.ratio(start.noise_norms[1] ** 2, start.leak))

    def ratio(self, X, leak):
        """R, noise over flow in the change of X = ||w_2^perp||^2 at |B_21| = leak (docs/theory.md, eq. 68)."""
        n, fed = 15 * self.start.nu * X**3, self.start.h11 * leak**2
        return self._noise * X**2 * (self.batch.common_target * n + self.held * fed) / (leak * n * np.sqrt(n + fed))

    def _rates(self, y):
        """d/ds of log X, E, |a_21|, t, what a_22 has gained of 1 / (4 a_22^4), and the mean of E over 1 / a_22."""
        start = self.start
        X, head, overlap = np.exp(y[0]), y[1], y[2]
        strong, weak = start.alphas
        leak, noise = (strong * overlap) ** 3, 15 * start.nu * X**3
        answer = (strong**2 * (start.norms[0] ** 2 + 3 / start.kappa * head**2)) ** 1.5  # B_11
        fed = leak + head * answer  # H_21
        rise = start.kappa * X * answer / (6 * fed)
        time = rise * start.h11**1.5 * fed**3 * np.sqrt(noise + start.h11 * leak**2) / (
            self.batch.target * start.kappa * start.mu12 * noise * leak * answer)
        gain = rise * 3 * weak**6 * start.h11 * fed**2 / (start.kappa * noise * leak * answer)
        left = max(1 - 4 * y[4] * start.weak[1] ** 4, 0.0) ** 0.25  # of 1 / a_22; in parts the mean of E is that of `left` over E
        return np.array([self.ratio(X, leak) - 1, rise, rise * 3 * strong**3 * overlap**2 / (start.kappa * answer), time, gain,
                         rise * left])

    @functools.cached_property
    def _end(self):
        """(t, E, mean of E over 1 / a_22) when neuron 2 learns v_2; all inf where it never does."""
        start = self.start
        begin = np.array([2 * np.log(start.noise_norms[1]), 0.0, start.leak ** (1 / 3) / start.alphas[0], 0.0, 0.0, 0.0])
        most = ceiling(start.kappa, start.noise_norms[1])
        units = np.array([1.0, most, begin[2], 1.0, 1 / (4 * start.weak[1] ** 4), most])
        units[3] = self._rates(begin + 0.5 * units * [0, 1, 0, 0, 0, 0])[3]
        learned = lambda _, y: y[4] - 1
        lost = lambda _, y: y[0] - begin[0] - LONGEST_RISE
        learned.terminal = lost.terminal = True
        path = solve_ivp(lambda _, y: self._rates(y * units) / units, (0, LONGEST_FALL), begin / units, events=[learned, lost],
                         method="LSODA", rtol=ACCELERATION_RTOL, atol=ACCELERATION_RTOL)
        if not path.t_events[0].size:
            return np.inf, np.inf, np.inf
        return tuple(path.y[place, -1] * units[place] for place in (3, 1, 5))

    def time(self):
        """T_3 of SGD without what phase I took (eq. 71); inf if v_2 is never learned."""
        return float(self._end[0])

    def head_at_end(self):
        """|E_21| when neuron 2 learns v_2: above the ceiling of eq. 13, which noise raises (eq. 70)."""
        return float(self._end[1])

    def mean_head(self):
        """<E_21> over 1 / a_22 until neuron 2 learns v_2: it draws neuron 1 to v_2 where a_12 / a_22 is above its inverse (eq. 93)."""
        return float(self._end[2])


def critical_tau(start, freedom, common):
    """tau_c of phase III to leading order, with h b^2 << n_2 (docs/theory.md, eq. 69)."""
    return (np.sqrt(15) * start.mu12 * start.leak /
            (18 * common * freedom * start.noise_norms[1] * np.sqrt(start.h11 * start.nu)))


def raised_ceiling(s):
    """j(s) = 2 (-log(1 - s) - s) / s^2, by which noise raises the head's ceiling squared (eq. 70); inf for s = tau / tau_c >= 1."""
    s = np.asarray(s, dtype=float)
    small, beyond = s < 1e-4, s >= 1
    safe = np.where(small | beyond, 0.5, s)
    return np.where(beyond, np.inf, np.where(small, 1 + 2 * s / 3, 2 * (-np.log1p(-safe) - safe) / safe**2))


# ---- one run -------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Learning:
    """What the noise of SGD does to the learning of one feature, of which the flow knows `flow_time` alone.

    x : how far the noise is from its threshold: at 1 the feature is not learned any more (eqs. 58, 87), and it is in proportion
        to lr in phase I; lr / largest_lr in phase III
    flow_time : t at which the flow has learned it
    time, steps : the same of SGD at this batch and step, as t and in steps; inf from x = 1 on
    samples : steps * N
    probability : that it is learned at all, where the walk of the overlap has a law (eq. 60), else nan
    largest_lr : the learning rate up to which it is learned with this batch and kappa; of phase I with probability 1/2
    best_lr, least_samples : the learning rate, up to that one, at which it takes the fewest samples, and how many
    """

    x: float
    flow_time: float
    time: float
    steps: float
    samples: float
    probability: float
    largest_lr: float
    best_lr: float
    least_samples: float


@dataclass(frozen=True)
class Noise:
    """What finite batches do to one run: made by `simsim.laws.noise`.

    lr, batch_size : those of the run
    common, drift : c_0 and the speed of phase I as this batch size has them (eq. 57)
    phase_one : Learning of v_1 by the first neuron
    fates : (m, K) as rows, the probability with which each neuron learns each feature before any other, as long as the head is
        at I; nan for a neuron whose start is not small (eq. 80)
    phase_three : Learning of v_2 by the other one, or None where the law is not about the run
    missing : why not, in words; "" where there is a law
    course : noise_runs.Course, T_1 to T_3 of the mean of the runs, with X_0, head and leak where phase III begins (eq. 87), or None
    s : noise over flow there, sqrt(X_0 / X_c): from about 1 on the noise of neuron 2 grows (eq. 89); nan without one
    """

    lr: float
    batch_size: int
    common: float
    drift: float
    phase_one: Learning
    fates: tuple
    phase_three: Learning | None = None
    missing: str = field(default="", compare=False)
    course: Course | None = None
    s: float = np.nan

    @property
    def largest_lr(self) -> float:
        """The learning rate up to which all that there is a law for is learned with this batch."""
        return min(one.largest_lr for one in (self.phase_one, self.phase_three) if one is not None)

    @property
    def some_neuron(self):
        """P(some neuron learns the feature before any other) for each feature, while the head is at I: K numbers (eq. 80)."""
        return tuple(float(1 - np.prod([1 - one for one in column])) for column in zip(*self.fates))


def phase_one(config, batch, flow_time, norm, overlap):
    """The `Learning` of a feature that is learned at `flow_time` in the flow by a neuron of this noise norm and overlap."""
    if not 0 < flow_time < np.inf:  # it is there from the start, or never learned in the flow either
        often = float(flow_time == 0)
        steps = flow_time / config.lr
        return Learning(0.0 if often else np.inf, flow_time, flow_time, steps, config.batch_size * steps, often,
                        np.inf if often else 0.0, np.nan, 0.0 if often else np.inf)
    alone = flow_time / batch.drift
    x, walk = criticality(growth(config, batch), alone, norm), blur(config, overlap, batch)
    time = float(alone * slowed(x))
    odds = lambda log_factor: learning_probability(*(np.exp(log_factor) * np.array([x, walk]))) - 0.5
    widest = np.log(min(1 / x, BLUR_OF_EVEN_CHANCE / walk))  # each of the two by itself
    largest = np.exp(widest if odds(widest) >= 0 else brentq(odds, widest - 10, widest, xtol=1e-6))
    largest = min(largest, flow_time / config.lr)  # beyond a single step there are no laws at all
    best = min(BEST_X / x, largest)
    cost = lambda factor: float(alone * slowed(factor * x) * config.batch_size / (config.lr * factor))
    return Learning(float(x), flow_time, time, time / config.lr, cost(1.0), float(learning_probability(x, walk)),
                    float(config.lr * largest), float(config.lr * best), cost(best))


def later_phase(config, flow_time, time_at, guess, most):
    """The `Learning` of v_2 from `time_at`: factor of lr -> t at which SGD has learned it, inf where it never does.

    guess : of the factor at the threshold; most : the factor beyond which phase I, and with it all, fails
    """
    finite = lambda log_factor: np.isfinite(time_at(np.exp(log_factor)))
    high, low = np.log(most), np.log(min(guess, most)) - 1
    while not finite(low):
        high, low = low, low - 2
    while high - low > THRESHOLD_ERROR:
        middle = min((low + high) / 2, low + 1)
        low, high = (middle, high) if finite(middle) else (low, middle)
    time, unit = time_at(1.0), config.batch_size / config.lr
    cost = lambda log_factor: np.log(time_at(np.exp(log_factor))) - log_factor
    least = minimize_scalar(cost, bounds=(low - 6, low), method="bounded", options={"xatol": LEAST_ERROR})
    return Learning(float(np.exp(-low)), flow_time, time, time / config.lr, time * unit, np.nan, float(config.lr * np.exp(low)),
                    float(config.lr * np.exp(least.x)), float(unit * np.exp(least.fun)))
