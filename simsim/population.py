"""Infinite batch: what the outputs' covariances are, in closed form (docs/theory.md, section 2).

Shapes: ... any leading axes, m neurons. A state is given by `overlaps`
(..., m, 2), the noise Gram matrix `gram` (..., m, m) of the w^perp (without
sigma^2), and the head E (..., m, m). All outputs have mean zero, because a
sample and its negative are equally likely.
"""

import numpy as np

from simsim.data import mask_moments


def feature_response(config, overlaps):
    """B_jl = (alpha_l a_jl)^3, the answer of neuron j to one patch of feature l, (..., m, 2)."""
    return (np.asarray(config.alphas) * overlaps) ** 3


def noise_covariance(config, gram):
    """K, the noise patches' part of Cov(f_i, f_j), (..., m, m) (docs/theory.md, eq. 5)."""
    _, _, nu = mask_moments(config.patches, config.feature_patches)
    Q = config.sigma**2 * gram
    q = np.diagonal(Q, axis1=-2, axis2=-1)
    return nu * (9 * q[..., :, None] * q[..., None, :] * Q + 6 * Q**3)


def output_covariance(config, overlaps, gram):
    """C11 = Cov(f(X1), f(X1)), (..., m, m) (docs/theory.md, eq. 5)."""
    mu11, _, _ = mask_moments(config.patches, config.feature_patches)
    B = feature_response(config, overlaps)
    return mu11 / 2 * B @ np.swapaxes(B, -1, -2) + noise_covariance(config, gram)


def correlations(config, overlaps, gram):
    """corr(f_i, f_j) on fresh samples, (..., m, m): the identity, or all +-1 after a collapse."""
    covariance = output_covariance(config, overlaps, gram)
    std = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    return covariance / (std[..., :, None] * std[..., None, :])


def shares(config, overlaps, gram):
    """share_jl, the fraction of f_j's variance that feature l explains, (..., m, 2) (eq. 11)."""
    return head_shares(config, overlaps, gram, np.eye(config.m))


def head_shares(config, overlaps, gram, E):
    """share^F_jl, the same for the head's output F_j, (..., m, 2) (docs/theory.md, eq. 11)."""
    mu11, _, _ = mask_moments(config.patches, config.feature_patches)
    H = E @ feature_response(config, overlaps)
    return mu11 / 2 * H**2 / _head_variance(config, H, gram, E)[..., None]


def loss(config, overlaps, gram, E):
    """The loss (3) of an infinitely large batch, (...) (docs/theory.md, eq. 6)."""
    _, mu12, _ = mask_moments(config.patches, config.feature_patches)
    B = feature_response(config, overlaps)
    H = E @ B
    G = np.diagonal(output_covariance(config, overlaps, gram), axis1=-2, axis2=-1)
    rho = mu12 / 2 * (H * B).sum(axis=-1) / np.sqrt(_head_variance(config, H, gram, E) * G)
    return 2 * (1 - rho).sum(axis=-1)


def _head_variance(config, H, gram, E):
    """D_j = Var(F_j), (..., m) (docs/theory.md, eq. 6)."""
    mu11, _, _ = mask_moments(config.patches, config.feature_patches)
    n = np.einsum("...jr,...rs,...js->...j", E, noise_covariance(config, gram), E)
    return mu11 / 2 * (H**2).sum(axis=-1) + n
