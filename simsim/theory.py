"""What the theorems and the exact laws predict for a configuration and a start.

Times are t = eta * steps, as in docs/theory.md, and strengths are in units of
sigma: only alpha / sigma matters. Arrays end in the axes (m, 2): neurons,
features (strong first).
"""

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

from simsim.data import mask_moments

LATEST_LOG_RATIO = 200.0  # of an overlap to what it still lacks: no noise is left that a number could hold


def signal(config, overlaps):
    """s_jl = alpha_l |a_jl| / sigma, how far each overlap is from being learned, (..., m, 2)."""
    return np.asarray(config.strengths) * np.abs(overlaps)


def fates(config, overlaps):
    """Feature on which each neuron ends under the frozen head, (..., m) of 0 or 1.

    It is the l with the larger alpha_l^{3/2} |a_jl(0)| (docs/theory.md, eq. 14).
    """
    return np.argmax(np.asarray(config.strengths) ** 1.5 * np.abs(overlaps), axis=-1)


def collapse_probability(config):
    """P(all m neurons end at v_1 under the frozen head) for Gaussian weights (docs/theory.md, eq. 15)."""
    return (1 - 2 / np.pi * np.arctan(config.alpha_ratio**-1.5)) ** config.m


def head_bound(config, norms):
    """sqrt(kappa / 3) ||w_j(0)||, the height |E_ji| can reach for any i (docs/theory.md, eq. 13)."""
    return np.sqrt(config.kappa / 3) * norms


def conserved(kappa, squared_norms, head):
    """||w_r||^2 + (3/kappa) sum_j (E_rj^2 - E_jr^2), constant in the flow (docs/theory.md, eq. 13).

    squared_norms (..., m), head (..., m, m) -> (..., m).
    """
    squares = (head * (1 - np.eye(head.shape[-1]))) ** 2  # the diagonal would cancel, and take small entries along
    return squared_norms + 3 / kappa * (squares.sum(axis=-1) - squares.sum(axis=-2))


def small_start_times(config, overlaps, noise_norms):
    """Time in which each neuron alone learns each feature from a small start (docs/theory.md, eq. 16).

    overlaps (..., m, 2), noise_norms (..., m) -> times (..., m, 2).
    """
    _, mu12, nu = mask_moments(config.patches, config.feature_patches)
    noise = 15 * nu * noise_norms[..., None] ** 6
    return noise / (12 * mu12 * np.asarray(config.strengths) ** 6 * overlaps**4)


class FrozenNeuron:
    """One neuron under the frozen head, solved exactly (docs/theory.md, eq. 14).

    Two constants, ||w|| and alpha_1^-6 a_1^-4 - alpha_2^-6 a_2^-4, leave a
    single unknown, the overlap a with the feature that wins; time is a
    quadrature over it, at any d and over any number of decades. Where `end` is
    what a tends to, the variable of the quadrature is log(a / (end - a)): in it
    both the start, small, and the last of the noise, smaller, are far away.
    """

    def __init__(self, config, overlaps, norm):
        alphas = np.asarray(config.strengths)
        self.feature = int(fates(config, overlaps))  # where the neuron ends
        self.alpha, self.other_alpha = alphas[[self.feature, 1 - self.feature]]
        self.start, other = np.abs(overlaps)[[self.feature, 1 - self.feature]]
        self.norm = norm
        self.mu11, self.mu12, self.nu = mask_moments(config.patches, config.feature_patches)
        self.behind = other
        with np.errstate(divide="ignore", invalid="ignore"):  # an overlap of 0 stays 0; in units of the norm
            self.invariant = self.alpha**-6 * (self.start / norm) ** -4 - self.other_alpha**-6 * (other / norm) ** -4

    def other(self, a):
        """|overlap| with the losing feature, when the winning one is `a`."""
        if self.behind == 0:
            return 0.0
        return self.norm * (self.other_alpha**6 * (self.alpha**-6 * (a / self.norm) ** -4 - self.invariant)) ** -0.25

    def noise(self, a):
        """||w^perp||^2 when the winning overlap is `a`."""
        return self.norm**2 - a**2 - self.other(a) ** 2

    def share(self, a):
        """Share of the winning feature in the neuron's output (docs/theory.md, eq. 11)."""
        return self._share(a, self.noise(a))

    def time_to_share(self, share):
        """Time at which the winning feature's share reaches `share`; inf if it never does."""
        return self._time_until(lambda a, noise: self._share(a, noise) - share)

    def time_to_residual(self, residual):
        """Time at which ||w - a v|| is down to `residual`; inf if it never is."""
        return self._time_until(lambda a, noise: residual**2 - noise - self.other(a) ** 2)

    def end(self):
        """|overlap| with the winning feature as t -> infinity: no noise part is left."""
        if self.noise(self.start) <= 0:
            return self.start
        return _root(self.noise, self.start, self.norm)

    def _time_until(self, crossed):
        """Time at which `crossed(a, noise)` rises through 0, by quadrature over log(a / (end - a))."""
        if crossed(self.start, self.noise(self.start)) >= 0:
            return 0.0
        end = self.end()
        if self.start == 0 or self.nu == 0 or self.start == end:
            return np.inf  # no overlap grows: there is none to begin with, or no noise to be rid of
        begin = np.log(self.start / (end - self.start))
        if crossed(*self._place(LATEST_LOG_RATIO, end)) <= 0:
            return np.inf
        target = brentq(lambda log_ratio: crossed(*self._place(log_ratio, end)), begin, LATEST_LOG_RATIO)
        return quad(self._duration, begin, target, args=(end,), epsabs=0, epsrel=1e-10, limit=200)[0]

    def _place(self, log_ratio, end):
        """(a, ||w^perp||^2) where log(a / (end - a)) is `log_ratio`, both to relative precision."""
        a, left = end / (1 + np.exp(-log_ratio)), end / (1 + np.exp(log_ratio))
        noise = left * (a + end)  # end^2 - a^2, to which what the other overlap still gains is added
        if self.behind > 0:
            here, there = self.other(a), self.other(end)
            gain = (self.other_alpha / self.alpha) ** 6 * (here / a * there / end) ** 4
            noise *= 1 + gain * (a**2 + end**2) / (here**2 + there**2)
        return a, noise

    def _duration(self, log_ratio, end):
        """dt/dlog(a / (end - a))."""
        a, noise = self._place(log_ratio, end)
        growth = 3 * self.mu12 * self.alpha**6 * (a / self.norm) ** 4 * self._noise_variance(noise)
        return self.norm**2 * self._variance(a, noise) ** 2 / growth / (1 + np.exp(log_ratio))

    def _share(self, a, noise):
        return self.mu11 / 2 * (self.alpha * a / self.norm) ** 6 / self._variance(a, noise)

    def _noise_variance(self, noise):
        """n = 15 nu q^3, over ||w||^6."""
        return 15 * self.nu * (noise / self.norm**2) ** 3

    def _variance(self, a, noise):
        """D = n + (mu11/2) sum_l (alpha_l a_l)^6, over ||w||^6."""
        signals = (self.alpha * a / self.norm) ** 6 + (self.other_alpha * self.other(a) / self.norm) ** 6
        return self._noise_variance(noise) + self.mu11 / 2 * signals


def _root(function, low, high):
    """The root of `function` between `low` and `high`, to full relative precision however small."""
    return brentq(function, low, high, xtol=np.finfo(float).tiny)
