"""Statistical tests with a stated error probability, for samples with known or estimated spread."""

import numpy as np
from scipy.stats import norm

FALSE_ALARM = 1e-6  # probability that a correct program fails one call, over its seeds


def z_scores(samples, expected):
    """z of the mean of `samples` (S, ...) against `expected` (...), one for each component."""
    samples = np.asarray(samples, dtype=float)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return (samples.mean(axis=0) - expected) / error


def agrees(samples, expected):
    """Whether all component means agree with `expected`, at FALSE_ALARM overall (Bonferroni)."""
    z = np.abs(np.ravel(z_scores(samples, expected)))
    return bool(z.max() < norm.isf(FALSE_ALARM / (2 * len(z))))
