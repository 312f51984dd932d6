"""The initial weights are rows N(0, I/d), at any d."""

import numpy as np
import pytest
from scipy.stats import chi2, kstest, norm
from z_test import FALSE_ALARM

from simsim import Config
from simsim.initial import lift, reduced_state


def starts(d, m, count):
    states = [reduced_state(Config(d=d, m=m, batch_size=3, init_seed=seed)) for seed in range(count)]
    return (np.array(part) for part in zip(*states))


def test_law_of_the_reduced_state():
    d, m, count = 12, 3, 4000
    overlaps, factors = starts(d, m, count)
    grams = factors @ np.swapaxes(factors, 1, 2)
    laws = [(np.sqrt(d) * overlaps[:, j, l], norm.cdf) for j in range(m) for l in range(2)]
    laws += [(d * grams[:, j, j], chi2(d - 2).cdf) for j in range(m)]
    # The projection of one noise part on another, given the other, is normal.
    laws += [(np.sqrt(d) * grams[:, i, j] / np.sqrt(grams[:, j, j]), norm.cdf) for i in range(m) for j in range(i)]
    assert min(kstest(*law).pvalue for law in laws) > FALSE_ALARM / len(laws)
    # Control: a degree of freedom too many is rejected.
    assert kstest(d * grams[:, 0, 0], chi2(d - 1).cdf).pvalue < FALSE_ALARM


@pytest.mark.parametrize("m, d", [(1, 3), (2, 4), (3, 50)])
def test_lift_has_the_reduced_state(m, d):
    overlaps, factor = reduced_state(Config(m=m, d=d, batch_size=3))
    W = lift(overlaps, factor, d)
    assert W.shape == (m, d)
    np.testing.assert_array_equal(W[:, :2], overlaps)
    np.testing.assert_allclose(W[:, 2:] @ W[:, 2:].T, factor @ factor.T, atol=1e-15)


def test_seeds():
    first, again, other = (reduced_state(Config(init_seed=seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(*pair) for pair in zip(first, again))
    assert not np.array_equal(first[0], other[0])
