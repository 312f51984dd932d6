"""The patch distribution and its random-half augmentation (docs/theory.md, eqs. 1 and 4).

Shapes: N batch, P patches, h = P/2 patches in a view, k feature patches, d dimension, K features. Where features
take up different numbers of patches, k_l is that of feature l (`config.counts`).

The network sums over patches, so of a sample only its feature, its sign and how
many of its feature patches each view got matter; the noise patches are vectors
in the d - K dimensions orthogonal to the K features v_1 = e_1, v_2 = e_2, ...
"""

import functools
from typing import NamedTuple

import numpy as np

FIXED_POINT = 1 << 256  # far finer than a float, far quicker than exact fractions of binomials


def mask_moments(patches, feature_patches):
    """Moments (mu11, mu12, nu) of the half-mask (docs/theory.md, eq. 4); `feature_patches` may be an array.

    With k1 ~ Hypergeometric(P, k, P/2) feature patches in view 1 and
    k2 = k - k1 in view 2: mu11 = E[k1^2], mu12 = E[k1 k2], nu = E[P/2 - k1].
    """
    mean, variance = feature_patches / 2, feature_patches * (patches - feature_patches) / (4 * (patches - 1))
    mu11 = variance + mean**2
    return mu11, feature_patches * mean - mu11, patches / 2 - mean


def moments_by_feature(config):
    """The `mask_moments` of a Config, each (K,): those with every feature's own number of patches."""
    return mask_moments(config.patches, np.array(config.counts))


def even_moments(config):
    """The `mask_moments` of a Config whose features take up equally many patches; ValueError where they do not."""
    if len(set(config.counts)) > 1:
        raise ValueError(f"this law is about features in equally many patches, not in patch_counts = {config.patch_counts}")
    return mask_moments(config.patches, config.feature_patches)


class Samples(NamedTuple):
    """N samples without their noise: what the mask left of the feature in each view.

    feature (N,) 0, the strongest, to K - 1; sign (N,) +-1; count (2, N) feature patches
    in view 1 and in view 2 (eq. 1). The other h - count patches of a view are noise.
    """

    feature: np.ndarray
    sign: np.ndarray
    count: np.ndarray

    def feature_patch(self, alphas):
        """(N, K) the patch that carries the feature, z alpha_l, in the coordinates e_1 .. e_K; `alphas` (K,)."""
        return self.sign[:, None] * np.asarray(alphas) * (self.feature[:, None] == np.arange(len(alphas)))

    def is_noise(self, half):
        """(2, N, h) True where the patch of that view is noise: feature patches come first."""
        return np.arange(half) >= self.count[..., None]


def draw_samples(config, rng):
    """Features, signs and mask splits of a fresh batch: `Samples` (docs/theory.md, eq. 1).

    The split is exactly hypergeometric, as a uniformly random half of P patches makes it.
    """
    n = config.batch_size
    if config.frequencies is None:
        feature = rng.integers(config.features, size=n)
    else:
        feature = rng.choice(config.features, size=n, p=np.array(config.frequencies) / sum(config.frequencies))
    sign = 2.0 * rng.integers(2, size=n) - 1.0
    k = np.array(config.patch_counts)[feature] if config.patch_counts else config.feature_patches
    k1 = rng.hypergeometric(k, config.patches - k, config.patches // 2, size=n)
    return Samples(feature, sign, np.stack([k1, k - k1]))


class SampleClasses(NamedTuple):
    """The kinds of sample there are once noise is left out, feature patches in view 1 ascending.

    k1, k2, feature, sign : (c,) what `Samples` has for each sample
    probability : (c,)
    """

    k1: np.ndarray
    k2: np.ndarray
    feature: np.ndarray
    sign: np.ndarray
    probability: np.ndarray


@functools.cache
def sample_classes(patches, counts, frequencies=None):
    """All kinds of sample and their probabilities: `SampleClasses` (docs/theory.md, eqs. 1 and 4).

    `counts` (K,), a tuple, are the features' numbers of patches, and `frequencies` (K,) how often they are shown, a
    tuple, or None where all are alike.

    N fresh samples in the order of their classes are one multinomial draw of
    counts; their order within a batch is of no consequence.
    """
    kinds = []
    for feature, k in enumerate(counts):
        k1, chance = split_law(patches, k)
        chance = chance / (2 * len(counts)) if frequencies is None else chance * (frequencies[feature] / (2 * sum(frequencies)))
        kinds += [(k1, k - k1, feature, sign, p) for k1, p in zip(k1, chance) for sign in (1.0, -1.0)]
    k1, k2, feature, sign, probability = zip(*sorted(kinds, key=lambda kind: (kind[0], kind[2], -kind[3])))
    return SampleClasses(*map(np.array, (k1, k2, feature, sign, probability)))


def split_law(patches, feature_patches):
    """All values of k1 and their hypergeometric probabilities: arrays (c,), (c,).

    Multinomial draws change with the last digit of a probability, and the same
    seed should draw the same samples with every version of a library. Hence
    integers, from the likeliest value outwards, rounded once.
    """
    P, k, half = patches, feature_patches, patches // 2
    first, last = max(0, k - half), min(k, half)
    mode = (k + 1) * (half + 1) // (P + 2)
    up, down = [FIXED_POINT], []
    for c in range(mode, last):  # C(k, c) C(P - k, half - c), relative to the value before
        up.append(up[-1] * (k - c) * (half - c) // ((c + 1) * (P - k - half + c + 1)))
    below = FIXED_POINT
    for c in range(mode, first, -1):
        below = below * c * (P - k - half + c) // ((k - c + 1) * (half - c + 1))
        down.append(below)
    weights = down[::-1] + up
    total = sum(weights)
    return np.arange(first, last + 1), np.array([weight / total for weight in weights])


def draw_noise(config, rng, count):
    """(count, d - K) noise patches N(0, sigma^2), in the coordinates orthogonal to the features."""
    noise = rng.standard_normal((count, config.d - config.features), dtype=np.dtype(config.dtype))
    if config.sigma != 1.0:
        noise *= noise.dtype.type(config.sigma)
    return noise


def draw_views(config, rng):
    """Both masked views of a fresh batch, patch by patch in R^d (docs/theory.md, section 1).

    Returns
    -------
    X1, X2 : (N, P, d) arrays
        The same P patches in random order; each patch is kept in one view, a
        uniformly random half of them in view 1, and is zero in the other.

    The training loop needs no such arrays; this is the distribution as the
    paper states it, for whoever wants to look at samples or feed other code.
    """
    n, P, d, K = config.batch_size, config.patches, config.d, config.features
    samples = draw_samples(config, rng)
    X = np.zeros((n, P, d), dtype=config.dtype)
    X[:, :, K:] = draw_noise(config, rng, n * P).reshape(n, P, d - K)
    # Patches in view 1 first (k1 feature, h - k1 noise), then view 2's; a random
    # permutation of each sample's patches then hides the order.
    half = P // 2
    noise = samples.is_noise(half)
    carries = ~np.concatenate([noise[0], noise[1]], axis=1)
    X[carries] = 0
    X[:, :, :K] = np.where(carries[..., None], samples.feature_patch(config.alphas)[:, None], 0)
    shuffle = rng.permuted(np.broadcast_to(np.arange(P), (n, P)), axis=1)
    X = np.take_along_axis(X, shuffle[..., None], axis=1)
    kept = (shuffle < half)[..., None]
    return np.where(kept, X, 0), np.where(kept, 0, X)
