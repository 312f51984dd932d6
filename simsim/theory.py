"""What the theorems and the exact laws predict for a configuration and a start.

Times are t = eta * steps, as in docs/theory.md. Arrays end in the axes
(m, 2): neurons, features (strong first).
"""

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import erf

from simsim.data import mask_moments


def signal(config, overlaps):
    """s_jl = alpha_l |a_jl| / sigma, how far each overlap is from being learned, (..., m, 2)."""
    return np.asarray(config.alphas) * np.abs(overlaps) / config.sigma


def fates(config, overlaps):
    """Feature on which each neuron ends under the frozen head, (..., m) of 0 to K - 1.

    It is the l with the larger alpha_l^{3/2} |a_jl(0)| (docs/theory.md, eq. 14).
    """
    return np.argmax(np.asarray(config.alphas) ** 1.5 * np.abs(overlaps), axis=-1)


def collapse_probability(config):
    """P(all m neurons end at v_1 under the frozen head) for Gaussian weights (docs/theory.md, eq. 15).

    For K features, one neuron ends at v_1 where the largest of the alpha_l^{3/2} |a_jl| is the first.
    """
    ratios = (config.alpha_strong / np.array(config.alphas[1:])) ** 1.5
    if len(ratios) == 1:
        return (1 - 2 / np.pi * np.arctan(1 / ratios[0])) ** config.m
    density = lambda x: np.sqrt(2 / np.pi) * np.exp(-x * x / 2) * np.prod(erf(ratios * x / np.sqrt(2)))
    return quad(density, 0, np.inf, epsabs=0, epsrel=1e-10)[0] ** config.m


def head_bound(config, norms):
    """sqrt(kappa / 3) ||w_j(0)||, the height |E_ji| can reach for any i (docs/theory.md, eq. 13)."""
    return np.sqrt(config.kappa / 3) * norms


def conserved(kappa, squared_norms, head):
    """||w_r||^2 + (3/kappa) sum_j (E_rj^2 - E_jr^2), constant in the flow (docs/theory.md, eq. 13).

    squared_norms (..., m), head (..., m, m) -> (..., m).
    """
    squares = head**2  # the diagonal cancels
    return squared_norms + 3 / kappa * (squares.sum(axis=-1) - squares.sum(axis=-2))


def small_start_times(config, overlaps, noise_norms):
    """Time in which each neuron alone learns each feature from a small start (docs/theory.md, eq. 16).

    overlaps (..., m, 2), noise_norms (..., m) -> times (..., m, 2).
    """
    _, mu12, nu = mask_moments(config.patches, config.feature_patches)
    noise = 15 * nu * (config.sigma * noise_norms[..., None]) ** 6
    return noise / (12 * mu12 * np.asarray(config.alphas) ** 6 * overlaps**4)


def noise_left(config, norms, features, time):
    """||w^perp|| of neurons of norms (...) that learned `features` (...) long before `time` (docs/theory.md, eq. 30)."""
    mu11, mu12, nu = mask_moments(config.patches, config.feature_patches)
    strengths = np.asarray(config.alphas)[features] / config.sigma
    speed = 90 * config.features * mu12 * nu / (mu11**2 * (strengths * norms) ** 6)
    with np.errstate(divide="ignore"):  # at t = 0, and where there is no noise to drive it, the law says nothing
        return (4 * speed * np.asarray(time)) ** -0.25


LAG_TOLERANCE = 1e-14  # of the logarithm of the lag at which a neuron gets there


class FrozenNeuron:
    """One neuron under the frozen head, solved exactly (docs/theory.md, eq. 14).

    Two constants, ||w|| and alpha_1^-6 a_1^-4 - alpha_2^-6 a_2^-4, leave a
    single unknown, the overlap a with the feature that wins; time is a
    quadrature over it, at any d and over any number of decades. The variable is
    `lag` = log(a_end / a), in which neither the start nor the end loses digits.
    """

    def __init__(self, config, overlaps, norm):
        strengths = np.asarray(config.alphas) / config.sigma  # only these matter
        self.feature = int(fates(config, overlaps))  # where the neuron ends
        self.alpha, self.other_alpha = strengths[[self.feature, 1 - self.feature]]
        self.start, self.behind = np.abs(overlaps)[[self.feature, 1 - self.feature]]
        self.norm = norm
        self.mu11, self.mu12, self.nu = mask_moments(config.patches, config.feature_patches)
        with np.errstate(divide="ignore", invalid="ignore"):  # an overlap of 0 stays 0
            self.invariant = self.alpha**-6 * self.start**-4 - self.other_alpha**-6 * self.behind**-4
        self._end = self._find_end()

    def other(self, a):
        """|overlap| with the losing feature, when the winning one is `a`."""
        if self.behind == 0:
            return 0.0
        return (self.other_alpha**6 * (self.alpha**-6 * a**-4 - self.invariant)) ** -0.25

    def end(self):
        """|overlap| with the winning feature as t -> infinity: no noise part is left."""
        return self._end

    def share(self, a):
        """Share of the winning feature in the neuron's output (docs/theory.md, eq. 11)."""
        return self._share(np.log(self._end / a))

    def time_to_share(self, share):
        """Time at which the winning feature's share reaches `share`; inf if it never does."""
        return self._time_until(lambda lag: self._share(lag) - share)

    def time_to_residual(self, residual):
        """Time at which ||w - a v|| is down to `residual`; inf if it never is."""
        return self._time_until(lambda lag: residual**2 - self._noise(lag) - self.other(self._overlap(lag)) ** 2)

    def _find_end(self):
        left = lambda a: self.norm**2 - a**2 - self.other(a) ** 2
        if left(self.start) <= 0 or self.start == 0:
            return self.start
        return brentq(left, self.start, self.norm, xtol=np.finfo(float).tiny)

    def _time_until(self, crossed):
        """Time at which `crossed(lag)` rises through 0, by quadrature of dt/dlag in the logarithm of the lag."""
        if self.start == 0 or self.nu == 0:
            return np.inf  # no overlap grows: there is none to begin with, or no noise to be rid of
        first = np.log(self._end / self.start)
        if crossed(first) >= 0:
            return 0.0
        if crossed(0.0) <= 0:
            return np.inf
        first, last = np.log(first), np.log(np.finfo(float).tiny)
        target = brentq(lambda log_lag: crossed(np.exp(log_lag)), last, first, xtol=LAG_TOLERANCE)
        return quad(self._time_per_log_lag, target, first, epsabs=0, epsrel=1e-10, limit=500)[0]

    def _time_per_log_lag(self, log_lag):
        lag = np.exp(log_lag)
        growth = 3 * self.mu12 * self.alpha**6 * self._overlap(lag) ** 4 * self._noise_variance(lag)
        return lag * self._variance(lag) ** 2 / growth

    def _overlap(self, lag):
        return self._end * np.exp(-lag)

    def _noise(self, lag):
        """||w^perp||^2: what both overlaps still lack of their ends, to relative precision."""
        left = -self._end**2 * np.expm1(-2 * lag)
        if self.behind:
            other = self.other(self._end)
            rise = np.expm1(4 * lag) * (self.other_alpha / self.alpha) ** 6 * (other / self._end) ** 4
            left -= other**2 * np.expm1(-0.5 * np.log1p(rise))
        return left

    def _share(self, lag):
        return self.mu11 / 2 * (self.alpha * self._overlap(lag)) ** 6 / self._variance(lag)

    def _noise_variance(self, lag):
        """n = 15 nu q^3, in units of sigma."""
        return 15 * self.nu * self._noise(lag) ** 3

    def _variance(self, lag):
        """D = n + (mu11/2) sum_l (alpha_l a_l)^6, in units of sigma."""
        a = self._overlap(lag)
        signals = (self.alpha * a) ** 6 + (self.other_alpha * self.other(a)) ** 6
        return self._noise_variance(lag) + self.mu11 / 2 * signals
