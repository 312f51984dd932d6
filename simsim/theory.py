"""What the theorems and the exact laws predict for a configuration and a start.

Times are t = eta * steps, as in docs/theory.md, and strengths are in units of
sigma: under batch norm only alpha / sigma matters. Arrays end in the axes (m, K): neurons,
features (strongest first). A law that is asked about a setting of which it does not speak raises ValueError.

>>> import numpy as np
>>> from simsim import Config, theory
>>> round(float(theory.collapse_probability(Config(m=2, alpha_ratio=20.0))), 4)  # with a frozen head, eq. 15
0.9858
>>> theory.fates(Config(alpha_ratio=4.0), np.array([[0.1, 0.5], [0.1, 0.9]])).tolist()  # eq. 14: 0 is v_1, 1 is v_2
[0, 1]
"""

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import erf

from simsim import data, premises
from simsim.activation import CUBIC, double_factorial
from simsim.data import even_moments, mask_moments, moments_by_feature

PURE = 0.99  # part of all that features explain of an output, from which it holds one feature and no other
LAG_TOLERANCE = 1e-14  # of the logarithm of the lag at which a share or a residual is reached
SMALLEST_LAG = 1e-87  # the cube of the noise that is left then is still a number, as n needs


def signal(config, overlaps):
    """s_jl = alpha_l |a_jl| / sigma, how far each overlap is from being learned, (..., m, K)."""
    return np.asarray(config.effective_alphas) * np.abs(overlaps)


def noise_level(config, noise_norms):
    """The signal s at which a feature makes up as much of an output's variance as its noise does, (..., m); eqs. 5 and 6.

    noise_norms (..., m) are ||w_j^perp||. It is (15 nu K / mu_11)^(1/6) ||w_j^perp||, with (2p - 1)!! for 15 and 2p for 6 at
    another power p. ValueError of features in unequally many patches, whose noise is not the same in all samples, and
    data.NoClosedForm of a law of samples of which the noise in an output is not known.
    """
    data_law, order = data.from_config(config), 2 * config.power
    data_law.require_closed("the noise of an output")
    mu11, _, nu = even_moments(config)
    noise = double_factorial(order - 1) * data_law.tails(order) * nu
    return (noise * config.features / mu11) ** (1 / order) * np.asarray(noise_norms)


def _of_one_neuron(config):
    """What the laws of a neuron at E = I rest on, whatever head the run itself has: a list of `Hypothesis`."""
    return premises.closed(config, premises.aligned_views(config), *premises.some_noise(config),
                           free=("m", *premises.HEAD, *premises.DATA))


def fates(config, overlaps):
    """Feature on which each neuron ends under the frozen head, (..., m) of 0 to K - 1.

    It is the l with the larger alpha_l^{3/2} |a_jl(0)| (docs/theory.md, eq. 14). Where features take up different
    numbers of patches it is the one that the neuron learns first, at large d; it may leave it later (eq. 46).
    Raises ValueError for Barlow Twins and without batch norm.
    """
    premises.require("eq. 14", _of_one_neuron(config))
    return np.argmax(np.asarray(config.effective_alphas) ** 1.5 * np.abs(overlaps), axis=-1)


def clear_lead(config, overlaps, norms):
    """Whether the feature of `fates` is all but all of each neuron's output in the end, (..., m) (docs/theory.md, eq. 14).

    Each overlap that is behind never exceeds alpha_l^(-3/2) |I|^(-1/4), I the invariant of eq. 14 that it shares with the one
    ahead; the rest of the norm is that one's. The lead is clear if even then the others are less than 1 % of the signal.
    """
    premises.require("eq. 14", _of_one_neuron(config))
    even_moments(config)
    alphas = np.asarray(config.effective_alphas)
    sizes = alphas**1.5 * np.abs(overlaps)
    ahead = sizes.argmax(axis=-1)[..., None]
    lead = np.take_along_axis(sizes, ahead, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = np.where(sizes == 0, 0, (sizes**-4.0 - lead**-4.0) ** -0.25 / alphas**1.5)  # of each that is behind
    np.put_along_axis(most, ahead, 0, axis=-1)
    left = np.asarray(norms) ** 2 - (most**2).sum(axis=-1)
    own = (alphas[ahead[..., 0]] ** 2 * np.maximum(left, 0)) ** 3
    return ((alphas * most) ** 6).sum(axis=-1) < (1 - PURE) / PURE * own


def collapse_probability(config):
    """P(all m neurons end at v_1 under the frozen head) for Gaussian weights (docs/theory.md, eq. 15).

    For K features, one neuron ends at v_1 where the largest of the alpha_l^{3/2} |a_jl| is the first. Raises ValueError
    for Barlow Twins and without batch norm, and where features take up different numbers of patches: the ends are
    others then (eq. 46).
    """
    premises.require("eq. 15", _of_one_neuron(config))
    even_moments(config)
    ratios = (config.effective_alphas[0] / np.array(config.effective_alphas[1:])) ** 1.5
    if len(ratios) == 1:
        return (1 - 2 / np.pi * np.arctan(1 / ratios[0])) ** config.m
    density = lambda x: np.sqrt(2 / np.pi) * np.exp(-x * x / 2) * np.prod(erf(ratios * x / np.sqrt(2)))
    return quad(density, 0, np.inf, epsabs=0, epsrel=1e-10)[0] ** config.m


def head_bound(config, norms):
    """sqrt(kappa / p) ||w_j(0)||, p = 3 the power: the height |E_ji| can reach for any i (docs/theory.md, eq. 13).

    Raises ValueError without batch norm, and for another head than the trained one.
    """
    premises.require("eq. 13", premises.of_conserved_norms(config))
    return ceiling(config.kappa, norms, config.power)


def ceiling(kappa, norms, power=CUBIC):
    """sqrt(kappa / p) times the norms, of any shape, p being the power of the activation."""
    return np.sqrt(kappa / power) * norms


def conserved(kappa, squared_norms, head, power=CUBIC):
    """||w_r||^2 + (p/kappa) sum_j (E_rj^2 - E_jr^2), constant in the flow, p = 3 the power (docs/theory.md, eq. 13).

    squared_norms (..., m), head (..., m, m) -> (..., m).
    """
    squares = (head * (1 - np.eye(head.shape[-1]))) ** 2  # the diagonal would cancel, and take small entries along
    return squared_norms + power / kappa * (squares.sum(axis=-1) - squares.sum(axis=-2))


def small_start_times(config, overlaps, noise_norms):
    """Time in which each neuron alone learns each feature from a small start (docs/theory.md, eq. 16).

    overlaps (..., m, K), noise_norms (..., m) -> times (..., m, K); without stop-gradient it takes half as long.
    """
    premises.require("eq. 16", _of_one_neuron(config))
    mu12 = mask_moments(config.patches, config.feature_patches)[1]
    nu = config.shares_of_samples @ moments_by_feature(config)[2]
    noise = 15 * nu * noise_norms[..., None] ** 6
    speed = 24 / config.features * mu12 * np.asarray(config.effective_alphas) ** 6 * np.asarray(overlaps) ** 4
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(speed == 0, np.inf, noise / speed)  # an overlap of 0 stays so


def noise_left(config, norms, feature, time):
    """||w^perp|| of neurons that learned each its `feature` (...), from 0, long before `time` (docs/theory.md, eq. 30).

    norms (...) are the overlaps with these features; of a neuron that is left with nothing else, ||w||.

    inf where there is no such time yet, at 0, or no noise that leaves.
    """
    premises.require("eq. 30", premises.closed(config, premises.paper_objective(config),
                                              free=("m", *premises.HEAD, *premises.DATA)))
    mu11, mu12, nu = moments_by_feature(config)
    answers = config.shares_of_samples * mu11**2 * np.array(config.scaled_alphas) ** 6  # and ||w||^6
    speed = 90 * mu12[feature] * (config.shares_of_samples @ nu) / (answers[feature] * norms**6)
    with np.errstate(divide="ignore"):  # at t = 0, and where there is no noise to drive it, the law says nothing
        return (4 * speed * np.asarray(time)) ** -0.25


def batch_spread(config):
    """Standard deviation over batches of an output's variance, as a fraction of it, while the output is noise (eq. 51).

    None where there is no noise. Raises data.NoClosedForm for other noise than Gaussian: eq. 51 is made of its moments.
    """
    if not data.from_config(config).gaussian:
        raise data.NoClosedForm(f"eq. 51 is about Gaussian noise, not about the data law {config.data}")
    P, often = config.patches, config.shares_of_samples
    noisy = P - np.array(config.patches_by_feature)
    mean = often @ (noisy / 2)  # of the number of noise patches in view 1
    pairs = often @ (noisy * (noisy - 1) * (P - 2) / (4 * (P - 1)))  # ordered pairs of them
    if not mean:
        return None
    squared, fourth = (double_factorial(n * config.power - 1) for n in (2, 4))  # E[x^2p] and E[x^4p], 15 and 10,395 for cubes
    kurtosis = (fourth * mean + 3 * squared**2 * pairs) / (squared * mean) ** 2
    return float(np.sqrt((kurtosis - 1) / config.batch_size))


def of_batches(config, widest):
    """A list of `Hypothesis`: SGD, on batches whose variance spreads by less than `widest` (eq. 51). Laws of batches ask for it."""
    asked = [premises.Hypothesis("SGD", "engine gram or sgd, for the flow has no noise", f"engine {config.engine}",
                                 config.clock == "step", ("engine",))]
    gaussian = data.from_config(config).gaussian  # of other noise eq. 51 does not speak, and these laws neither
    spread = batch_spread(config) if config.noise_patches and gaussian else None
    if spread is not None:
        asked.append(premises.Hypothesis(
            "a large batch", f"its variance spreads by less than {widest:.2g} (eq. 51); take a larger batch_size",
            f"{spread:.2g} at batch_size {config.batch_size}", spread < widest, ("batch_size",)))
    return asked


class FrozenNeuron:
    """One neuron under the frozen head, solved exactly (docs/theory.md, eq. 14).

    The constants, ||w|| and alpha_l^-6 a_l^-4 less that of the feature that wins, for every
    other feature l, leave a single unknown, the overlap a with the one that wins; time is a
    quadrature over it, at any d and over any number of decades. It is of features in equally
    many patches, and of the paper's objective (else ValueError). The variable is
    `lag` = log(a_end / a), in which neither the start nor the end loses digits.
    Inside, lengths are in units of ||w||, so that a neuron may be of any size.
    """

    def __init__(self, config, overlaps, norm):
        premises.require("eq. 14", premises.closed(config, premises.paper_objective(config), *premises.even_features(config),
                                                  free=("m", "features", "frequencies", *premises.HEAD)))
        self.mu11, self.mu12, self.nu = even_moments(config)
        alphas = np.asarray(config.effective_alphas)
        self.feature = int(fates(config, overlaps))  # where the neuron ends
        self.alpha, self.norm, self._features = alphas[self.feature], norm, config.features
        starts = np.abs(overlaps) / norm
        self._start = starts[self.feature]
        with np.errstate(divide="ignore", invalid="ignore"):
            invariants = self.alpha**-6 * self._start**-4 - alphas**-6 * starts**-4
        # (strength, invariant) of each feature that is behind; an overlap of 0 stays so, and is left out.
        self._behind = [(alphas[l], invariants[l]) for l in range(len(starts)) if l != self.feature and starts[l]]
        self._end = self._find_end()

    def others(self, a):
        """|overlaps| with the losing features that it has any of, in their order, when the winning one is `a`: a list."""
        return [self.norm * other for other in self._others(a / self.norm)]

    def end(self):
        """|overlap| with the winning feature as t -> infinity: no noise part is left."""
        return self.norm * self._end

    def share(self, a):
        """Share of the winning feature in the neuron's output (docs/theory.md, eq. 11)."""
        return self._share(np.log(self._end * self.norm / a))

    def time_to_share(self, share):
        """Time at which the winning feature's share reaches `share`; inf if it never does."""
        return self._time_until(lambda lag: self._share(lag) - share)

    def time_to_residual(self, residual):
        """Time at which ||w - a v|| is down to `residual`; inf if it never is."""
        squared = (residual / self.norm) ** 2
        return self._time_until(lambda lag: squared - self._noise(lag) - _squares(self._others(self._overlap(lag))))

    def _find_end(self):
        left = lambda a: 1 - a**2 - _squares(self._others(a))
        if left(self._start) <= 0 or self._start == 0:
            return self._start
        return brentq(left, self._start, 1, xtol=np.finfo(float).tiny)

    def _time_until(self, crossed):
        """Time at which `crossed(lag)` rises through 0, by quadrature of dt/dlag in the logarithm of the lag."""
        if self._start == 0:
            return np.inf  # no overlap grows, for there is none to begin with
        first = np.log(self._end / self._start)
        if crossed(first) >= 0:
            return 0.0
        if self.nu == 0 or crossed(SMALLEST_LAG) <= 0:
            return np.inf  # without noise to be rid of, nothing moves
        first, last = np.log(first), np.log(SMALLEST_LAG)
        target = brentq(lambda log_lag: crossed(np.exp(log_lag)), last, first, xtol=LAG_TOLERANCE)
        return self.norm**2 * quad(self._time_per_log_lag, target, first, epsabs=0, epsrel=1e-10, limit=500)[0]

    def _time_per_log_lag(self, log_lag):
        """dt/dlog(lag), over ||w||^2."""
        lag = np.exp(log_lag)
        growth = 6 / self._features * self.mu12 * self.alpha**6 * self._overlap(lag) ** 4 * self._noise_variance(lag)
        return lag * self._variance(lag) ** 2 / growth

    def _overlap(self, lag):
        return self._end * np.exp(-lag)

    def _others(self, a):
        return [(alpha**6 * (self.alpha**-6 * a**-4 - invariant)) ** -0.25 for alpha, invariant in self._behind]

    def _noise(self, lag):
        """||w^perp||^2: what all overlaps still lack of their ends, to relative precision."""
        left = -self._end**2 * np.expm1(-2 * lag)
        for (alpha, _), other in zip(self._behind, self._others(self._end)):
            rise = np.expm1(4 * lag) * (alpha / self.alpha) ** 6 * (other / self._end) ** 4
            left -= other**2 * np.expm1(-0.5 * np.log1p(rise))
        return left

    def _share(self, lag):
        return self.mu11 / self._features * (self.alpha * self._overlap(lag)) ** 6 / self._variance(lag)

    def _noise_variance(self, lag):
        """n = 15 nu q^3, in units of sigma and ||w||."""
        return 15 * self.nu * self._noise(lag) ** 3

    def _variance(self, lag):
        """D = n + (mu11/K) sum_l (alpha_l a_l)^6, in units of sigma and ||w||."""
        a = self._overlap(lag)
        signals = (self.alpha * a) ** 6
        for (alpha, _), other in zip(self._behind, self._others(a)):
            signals += (alpha * other) ** 6
        return self._noise_variance(lag) + self.mu11 / self._features * signals


def _squares(numbers):
    return sum(number**2 for number in numbers)
