"""The data law: masks, features, noise, against their exact moments (docs/theory.md, eqs. 1, 4, 5)."""

from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare, hypergeom
from z_test import FALSE_ALARM, agrees

from simsim import Config, draw_views, population
from simsim.data import Law, mask_moments, noise_patches, sample_classes, split_law

CONFIG = Config(d=6, batch_size=40_000, alpha_ratio=3.0, alpha_weak=0.7, sigma=0.8, patches=6, feature_patches=4)


def enumerated_moments(patches, feature_patches):
    """Eq. 4 by listing every half of the patches."""
    halves = list(combinations(range(patches), patches // 2))
    k1 = np.array([sum(patch < feature_patches for patch in half) for half in halves])
    return np.mean(k1**2), np.mean(k1 * (feature_patches - k1)), np.mean(patches // 2 - k1)


@pytest.mark.parametrize("patches, feature_patches", [(2, 2), (4, 2), (4, 3), (6, 4), (8, 4), (8, 7), (8, 8)])
def test_mask_moments(patches, feature_patches):
    np.testing.assert_allclose(mask_moments(patches, feature_patches),
                               enumerated_moments(patches, feature_patches), rtol=1e-13)


@pytest.mark.parametrize("patches, feature_patches", [(2, 2), (4, 3), (8, 6), (12, 7), (40, 13), (200, 90)])
def test_split_law_is_the_hypergeometric_one_to_the_last_digit(patches, feature_patches):
    """Multinomial draws hang on it: an ulp more in a probability changes most batches."""
    k1, probability = split_law(patches, feature_patches)
    half = patches // 2
    assert k1.tolist() == [c for c in range(feature_patches + 1) if 0 <= half - c <= patches - feature_patches]
    for c, p in zip(k1.tolist(), probability):
        exact = Fraction(comb(feature_patches, c) * comb(patches - feature_patches, half - c), comb(patches, half))
        assert p == pytest.approx(float(exact), rel=0, abs=1e-75) and (p == float(exact) or p < 1e-60)
    classes = sample_classes(patches, (feature_patches,) * 2)
    assert np.array_equal(classes.probability, np.repeat(probability, 4) / 4)
    assert classes.probability.sum() == pytest.approx(1, abs=1e-14)
    of_three = sample_classes(patches, (feature_patches,) * 3)
    assert np.array_equal(of_three.probability, np.repeat(probability / 6, 6))
    kinds = set(zip(of_three.k1.tolist(), of_three.feature.tolist(), of_three.sign.tolist()))
    assert kinds == set(product(k1.tolist(), range(3), (-1, 1)))


def test_split_law_of_ten_thousand_patches():
    k1, probability = split_law(20_000, 10_000)
    expected = hypergeom(20_000, 10_000, 10_000).pmf(k1)
    np.testing.assert_allclose(probability, expected, rtol=1e-10, atol=1e-70)
    assert not np.allclose(probability, hypergeom(20_000, 10_002, 10_000).pmf(k1), rtol=1e-10, atol=1e-70)


def test_samples_have_the_moments_of_the_masks():
    samples = Law().samples(CONFIG, np.random.default_rng(0))
    k1, k2 = samples.count
    mu11, mu12, nu = mask_moments(6, 4)
    seen = np.stack([k1**2, k1 * k2, 3 - k1, samples.sign, samples.feature], axis=1)
    assert agrees(seen, [mu11, mu12, nu, 0, 0.5])
    assert np.array_equal(k1 + k2, np.full(len(k1), 4))
    # A binomial split has the right mean and the wrong spread, and is told apart.
    binomial = np.random.default_rng(0).binomial(4, 0.5, len(k1))
    assert not agrees(binomial**2, mu11)


def test_features_have_their_frequencies():
    """In literal batches and in the classes of gram; equal frequencies are told apart from these."""
    config = Config(features=3, batch_size=40_000, patches=6, feature_patches=4, frequencies=(0.5, 0.3, 0.2))
    shown = Law().samples(config, np.random.default_rng(0)).feature
    classes = sample_classes(6, (4, 4, 4), config.frequencies)
    assert classes.probability.sum() == pytest.approx(1, abs=1e-15)
    for l, p in enumerate(config.frequencies):
        assert classes.probability[classes.feature == l].sum() == pytest.approx(p, abs=1e-15)
    counts = np.random.default_rng(1).multinomial(len(shown), classes.probability)
    for seen in (np.bincount(shown, minlength=3), np.array([counts[classes.feature == l].sum() for l in range(3)])):
        assert chisquare(seen, len(shown) * np.array(config.frequencies)).pvalue > FALSE_ALARM
        assert chisquare(seen, len(shown) * np.ones(3) / 3).pvalue < FALSE_ALARM


def test_features_take_up_their_patches():
    """In literal batches, in views and in the classes of gram; each feature's masks have the moments of its own k."""
    config = Config(features=3, batch_size=20_000, patches=8, patch_counts=(5, 3, 4), d=6)
    rng = np.random.default_rng(2)
    samples, classes = Law().samples(config, rng), sample_classes(8, config.patches_by_feature)
    assert classes.probability.sum() == pytest.approx(1, abs=1e-15) and (np.diff(classes.k1) >= 0).all()
    X1, X2 = draw_views(config, rng)
    carrying = (X1 + X2)[..., :3].any(axis=1)  # (N, K) which feature a sample shows
    for l, k in enumerate(config.patches_by_feature):
        mu11, mu12, _ = mask_moments(8, k)
        shown, kinds = samples.feature == l, classes.feature == l
        assert (samples.count[:, shown].sum(axis=0) == k).all() and (classes.k1 + classes.k2)[kinds].tolist() == [k] * kinds.sum()
        k1, k2 = samples.count[:, shown]
        assert agrees(np.stack([k1**2, k1 * k2], axis=1), [mu11, mu12])
        weights = classes.probability[kinds] / classes.probability[kinds].sum()
        assert weights @ classes.k1[kinds] ** 2 == pytest.approx(mu11, rel=1e-12)
        assert ((X1 + X2)[carrying[:, l]][..., :3].any(axis=2).sum(axis=1) == k).all()
        assert not agrees(np.stack([k1**2, k1 * k2], axis=1), mask_moments(8, k + 1)[:2])


def test_views_are_two_halves_of_one_sample():
    X1, X2 = draw_views(CONFIG, np.random.default_rng(1))
    seen1, seen2 = X1.any(axis=2), X2.any(axis=2)
    assert (seen1 ^ seen2).all()  # each patch in exactly one view
    assert (seen1.sum(axis=1) == 3).all()
    whole = X1 + X2
    carries = whole[:, :, :2].any(axis=2)
    assert (carries.sum(axis=1) == 4).all()
    assert not whole[carries][:, 2:].any()  # a feature patch is nothing but the feature
    strengths = np.abs(whole[carries][:, :2])
    assert set(map(tuple, np.unique(strengths, axis=0).round(12))) == {(2.1, 0.0), (0.0, 0.7)}
    # One sign and one feature a sample:
    features = whole[:, :, :2].sum(axis=1) / 4
    assert np.allclose(np.sort(np.abs(features), axis=1)[:, 0], 0)


def test_every_patch_is_equally_likely_to_be_masked_and_to_carry():
    X1, X2 = draw_views(CONFIG, np.random.default_rng(2))
    assert agrees(X1.any(axis=2), np.full(6, 0.5))
    assert agrees((X1 + X2)[:, :, :2].any(axis=2), np.full(6, 4 / 6))


def test_noise_has_its_covariance():
    noise = noise_patches(CONFIG, np.random.default_rng(3), 50_000)
    products = noise[:, :, None] * noise[:, None, :]
    assert noise.shape == (50_000, 4)
    assert agrees(products, 0.64 * np.eye(4))
    assert not agrees(1.1 * products, 0.64 * np.eye(4))  # 15 standard errors
    assert agrees(noise, np.zeros(4))


def test_output_covariance_is_the_closed_form():
    rng = np.random.default_rng(4)
    W = rng.standard_normal((3, 6)) / np.sqrt(6)
    X1, X2 = draw_views(CONFIG, rng)
    f1, f2 = ((np.einsum("npd,md->npm", X, W) ** 3).sum(axis=1) for X in (X1, X2))
    mu12 = mask_moments(6, 4)[1]
    overlaps, gram = W[:, :2], W[:, 2:] @ W[:, 2:].T
    B = (np.asarray(CONFIG.alphas) * overlaps) ** 3
    C11 = population.output_covariance(CONFIG, overlaps, gram)
    assert agrees(f1[:, :, None] * f1[:, None, :], C11)
    assert agrees(f2[:, :, None] * f2[:, None, :], C11)
    assert agrees(f1[:, :, None] * f2[:, None, :], mu12 / 2 * B @ B.T)
    assert not agrees(f1[:, :, None] * f1[:, None, :], 1.4 * C11)  # products of cubes have long tails
    # Without the second term of the noise, eq. 5 is told apart.
    q = CONFIG.sigma**2 * gram
    assert not agrees(f1[:, :, None] * f1[:, None, :], C11 - 6 * mask_moments(6, 4)[2] * q**3)
