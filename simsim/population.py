"""Infinite batch: covariances, shares, loss and gradient in closed form (docs/theory.md, section 2).

Shapes: ... any leading axes, m neurons, c coordinates of the noise parts.

A state is given by `overlaps` a (..., m, 2), <w_j, v_l> with the strong feature
first; by the noise parts, as `gram` (..., m, m), <w_i^perp, w_j^perp>, or a
factor U (..., m, c) of it, gram = U U^T; and by the head E (..., m, m). Data are
in units of sigma, which loss and shares do not notice: sigma is 1 in the
equations, and alpha stands for alpha / sigma. All outputs have mean zero,
because a sample and its negative are equally likely. Everything is analytic (no
abs, no conj), so a complex step differentiates it exactly.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from simsim.data import mask_moments
from simsim.network import Grad, real_array

TURN = np.array([-1.0, 1.0])  # (x_1, x_2) -> TURN * (x_2, x_1) turns by a right angle


class Setting(NamedTuple):
    """What the data contribute: strengths alpha (2,) in units of sigma, mask moments (docs/theory.md, eq. 4)."""

    alpha: np.ndarray
    mu11: float
    mu12: float
    nu: float

    @classmethod
    def from_config(cls, config):
        """The setting of a Config."""
        return cls(np.array(config.strengths), *mask_moments(config.patches, config.feature_patches))


class Moments(NamedTuple):
    """Second moments of f and of F = E f, in the symbols of docs/theory.md, eqs. 5 and 6."""

    B: np.ndarray  # (..., m, 2)  (alpha_l a_jl)^3, the answer to one patch of feature l
    Q: np.ndarray  # (..., m, m)  noise Gram
    q: np.ndarray  # (..., m)     its diagonal
    q_q: np.ndarray  # (..., m, m)  q_i q_j
    Q2: np.ndarray  # (..., m, m)  Q_ij^2
    K: np.ndarray  # (..., m, m)  noise covariance of f
    H: np.ndarray  # (..., m, 2)  E B
    EK: np.ndarray  # (..., m, m)  E K
    noise: np.ndarray  # (..., m)     n_j, noise variance of F_j
    D: np.ndarray  # (..., m)     variance of F_j
    G: np.ndarray  # (..., m)     variance of f_j
    s: np.ndarray  # (..., m)     sqrt(D G)
    per_D: np.ndarray  # (..., m)  mu12 / D_j
    gain: np.ndarray  # (..., m, 1)  N_j / D_j
    E_s: np.ndarray  # (..., m, m)  row r, column j: E_jr / s_j


def gram_of(U):
    """U U^T, (..., m, m)."""
    return U @ U.swapaxes(-1, -2)


def moments(a, gram, E, setting, noise=None):
    """All second moments that loss, shares and gradient are made of: `Moments` (eqs. 5, 6).

    A caller may know n_j, `noise` (..., m), more precisely than the Gram matrix tells, see `head_noise`.
    """
    scaled = setting.alpha * a
    B = scaled * scaled * scaled
    q = gram.diagonal(axis1=-2, axis2=-1)
    q_q = q[..., :, None] * q[..., None, :]
    Q2 = gram * gram
    K = gram * (9 * setting.nu * q_q + 6 * setting.nu * Q2)
    H = E @ B
    EK = E @ K
    noise = _sum(EK * E) if noise is None else noise
    D = setting.mu11 / 2 * _dot(H, H) + noise
    G = setting.mu11 / 2 * _dot(B, B) + K.diagonal(axis1=-2, axis2=-1)
    s = np.sqrt(D * G)
    per_D = setting.mu12 / D
    gain = (per_D / 2 * _dot(H, B))[..., None]
    return Moments(B, gram, q, q_q, Q2, K, H, EK, noise, D, G, s, per_D, gain, (E / s[..., None]).swapaxes(-1, -2))


def head_noise(U, E, setting):
    """n_j = (E K E^T)_jj, (..., m), to relative precision even where the head has cancelled noise.

    K_rs is the inner product of the vectors sqrt(nu) (3 q_r u_r, sqrt(6) u_r x u_r x u_r),
    u_r = w_r^perp, so n_j is the squared length of a sum of them: from K it
    would be a sum of terms of both signs, correct only to 1e-16 of the largest.
    """
    (i, j, k), orders = _triples(U.shape[-1])
    linear = 3 * _sum(U * U)[..., None] * U
    cubic = np.sqrt(6 * orders) * U[..., i] * U[..., j] * U[..., k]
    noise = E @ np.concatenate([linear, cubic], axis=-1)
    return setting.nu * _sum(noise * noise)


@functools.cache
def _triples(c):
    """(i, j, k) with i <= j <= k < c, and in how many orders each can be written."""
    i, j, k = np.array(list(itertools.combinations_with_replacement(range(c), 3))).T
    return (i, j, k), np.where(i == k, 1, np.where((i == j) | (j == k), 3, 6))


# ---- what a state shows -------------------------------------------------------

def output_covariance(config, overlaps, gram):
    """C11 = Cov(f(X1), f(X1)), (..., m, m) (docs/theory.md, eq. 5)."""
    setting = Setting.from_config(config)
    return config.sigma**6 * _covariance(setting, moments(overlaps, gram, np.eye(overlaps.shape[-2]), setting))


def correlations(config, overlaps, gram):
    """corr(f_i, f_j) on fresh samples, (..., m, m): the identity, or all +-1 after a collapse."""
    return correlations_of(*_moments_of(config, overlaps, gram, np.eye(overlaps.shape[-2]))[:2])


def correlations_of(setting, M):
    """The same from the moments."""
    covariance = _covariance(setting, M)
    std = np.sqrt(covariance.diagonal(axis1=-2, axis2=-1))
    return covariance / (std[..., :, None] * std[..., None, :])


def shares(config, overlaps, gram):
    """share_jl, the fraction of f_j's variance that feature l explains, (..., m, 2) (eq. 11)."""
    return head_shares(config, overlaps, gram, np.eye(overlaps.shape[-2]))


def head_shares(config, overlaps, gram, E):
    """share^F_jl, the same for the head's output F_j, (..., m, 2) (docs/theory.md, eq. 11)."""
    setting, M, _ = _moments_of(config, overlaps, gram, E)
    return setting.mu11 / 2 * M.H**2 / M.D[..., None]


def loss(config, overlaps, gram, E):
    """The loss (3) of an infinitely large batch, (...) (docs/theory.md, eq. 6)."""
    setting, M, E = _moments_of(config, overlaps, gram, E)
    return _loss(M, E, setting)


def loss_and_grad(W, E, config):
    """The loss (3) of an infinitely large batch and its gradient (docs/theory.md, eqs. 6 to 10).

    Parameters
    ----------
    W : (m, d) weights, with the features v_1 = e_1 and v_2 = e_2
    E : (m, m) head
    config : Config, for the data's parameters

    Returns
    -------
    loss : float
    grad : network.Grad
        `W` (m, d) and `E` (m, m), diagonal included; with stop-gradient, as SGD follows it.

    Raises
    ------
    ValueError
        The shapes do not fit together, there are other numbers than finite real
        ones, or a row of `W` or `E` makes an output without variance.
    """
    W, E = (real_array(*item).astype(float) for item in (("W", W), ("E", E)))
    if W.ndim != 2 or W.shape[0] < 1 or W.shape[1] < 3 or E.shape != 2 * W.shape[:1]:
        raise ValueError(f"`W` must have shape (m, d), d >= 3, and `E` (m, m); got {W.shape} and {E.shape}")
    setting = Setting.from_config(config)
    with np.errstate(all="ignore"):  # what has no value is caught by name
        size = _sizes(setting, W[:, :2], np.abs(W[:, 2:]).max(axis=1))
        by_neuron, by_head = _own_units(size, E)
        w, e = by_neuron[:, None] * W, by_head * E
        M = moments(w[:, :2], gram_of(w[:, 2:]), e, setting)
        _require_variance(M)
        grad = gradient(w[:, :2], w[:, 2:], e, setting)
        grad = Grad(by_neuron[:, None] * np.concatenate([grad.a, grad.U], axis=1), by_head * grad.E)
    return float(_loss(M, e, setting)), grad


def _require_variance(M):
    """Raise ValueError where a neuron's output, or the head's, does not vary: it has no batch norm."""
    for name, output, variance in (("W", "f", M.G), ("E", "F", M.D)):
        for row in np.flatnonzero(~(variance > 0)):
            raise ValueError(f"row {row + 1} of `{name}` makes an output {output}_{row + 1} that is zero, "
                             "or too small for a number: batch norm needs it to vary")


def _covariance(setting, M):
    return setting.mu11 / 2 * M.B @ M.B.swapaxes(-1, -2) + M.K


def _moments_of(config, overlaps, gram, E):
    """Setting, moments and head, each neuron in units of its own."""
    setting = Setting.from_config(config)
    norms = np.sqrt(np.abs(np.real(gram.diagonal(axis1=-2, axis2=-1))))
    by_neuron, by_head = _own_units(_sizes(setting, overlaps, norms), E)
    E = by_head * E
    gram = by_neuron[..., :, None] * gram * by_neuron[..., None, :]
    return setting, moments(by_neuron[..., None] * overlaps, gram, E, setting), E


def _sizes(setting, overlaps, noise_norms):
    """What is largest in each neuron, (..., m): an overlap times its strength, or the noise part."""
    features = np.abs(np.real(setting.alpha * overlaps)).max(axis=-1)
    return np.maximum(features, noise_norms) if setting.nu else features


def _own_units(size, E):
    """Factors (..., m) of the neurons and (..., m, m) of the head that bring outputs of any size to order 1.

    A row w_r times c and the head's column r times c^-3 leave F as it is (eq. 12),
    and a whole row of E only scales F_j. Loss, shares and correlations do not
    notice; the gradients are those of the scaled W and E times the same factors.
    All factors are powers of two, so no digit changes either.
    """
    exponents = np.frexp(size)[1]
    mixed = 3 * exponents[..., None, :] + np.zeros(np.shape(E), int)
    largest = np.where(E == 0, np.iinfo(int).min, mixed + np.frexp(np.abs(E))[1]).max(axis=-1, keepdims=True)
    return np.ldexp(1.0, -exponents), np.ldexp(1.0, mixed - largest)


def _loss(M, E, setting):
    """2m - 2 sum_j rho_j without subtracting nearly equal numbers.

    rho_j is at most mu12 / mu11, and the gap 1 - (mu11 / mu12) rho_j follows from
    D G - (h.b)^2 = (h x b)^2 + n |b|^2 + g |h|^2 + n g, all terms positive.
    """
    half, own_noise = setting.mu11 / 2, 15 * setting.nu * M.q**3
    cross = _sum(E * cross_weights(M.B))
    aligned = half * _dot(M.H, M.B)
    gap = (half * cross) ** 2 + half * (M.noise * _dot(M.B, M.B) + own_noise * _dot(M.H, M.H)) + M.noise * own_noise
    # Where F_j and f_j are anticorrelated the quotient cancels, and the plain difference does not.
    gaps = np.where(np.real(aligned) > 0, gap / (M.s * (M.s + np.where(np.real(aligned) > 0, aligned, 0))),
                    1 - aligned / M.s)
    ratio = setting.mu12 / setting.mu11
    return 2 * M.q.shape[-1] * (1 - ratio) + 2 * ratio * _sum(gaps)


# ---- gradient ------------------------------------------------------------------

class ReducedGrad(NamedTuple):
    """Gradient of the loss in the overlaps (..., m, 2), the factor U (..., m, c) and the head."""

    a: np.ndarray
    U: np.ndarray
    E: np.ndarray


def gradient(a, U, E, setting):
    """Gradient of the loss on the reduced state, cancellation-free: `ReducedGrad` (eqs. 7 to 10)."""
    M = moments(a, gram_of(U), E, setting)
    R = pull(M, _sum(E * cross_weights(M.B)), setting)
    growth = overlap_growth(M, R, a, setting)
    return ReducedGrad(-a * growth, factor_gradient(M, noise_pairs(M, E), U, setting), head_gradient(M, R))


def cross_weights(B):
    """c_js = B_s1 B_j2 - B_s2 B_j1, (..., m, m): how far s points away from j's mix of features."""
    outer = B[..., 1][..., :, None] * B[..., 0][..., None, :]
    return outer - outer.swapaxes(-1, -2)


def pull(M, cross, setting):
    """R_jl, (..., m, 2): how neuron j's correlation pulls at feature l (eq. 7).

    `cross` is X_j = sum_{s != j} E_js c_js, (..., m), the bracket of eq. 7. A caller
    may know it more precisely than the sum does: late in the flow X is far
    smaller than its terms (see flow_state).
    """
    # The bracket is -H_j2 X_j for l = 1 and +H_j1 X_j for l = 2.
    accelerated = (setting.mu11 / 2 * cross)[..., None] * (TURN * M.H[..., ::-1])
    return M.per_D[..., None] * (M.noise[..., None] * M.B + accelerated)


def overlap_growth(M, R, a, setting):
    """-(dL/da) / a, (..., m, 2): the rate of log|a| in the flow (eq. 8)."""
    return 3 * setting.alpha**3 * a * (M.E_s @ R)


def head_gradient(M, R):
    """dL/dE, (..., m, m), diagonal included (eq. 9)."""
    return (2 * M.gain * M.EK - R @ M.B.swapaxes(-1, -2)) / M.s[..., None]


def noise_pairs(M, E):
    """M_rs of eq. 10, (..., m, m). The rate of -log||w_r^perp|| is 6 / q_r times sum_s M_rs K_rs."""
    return M.E_s @ (M.gain * E)


def factor_gradient(M, pairs, U, setting):
    """dL/dU, (..., m, c) (eq. 10), from the `noise_pairs`."""
    own = _sum(pairs * M.Q * M.q[..., None, :])
    mixed = pairs * (M.q_q + 2 * M.Q2)
    return 18 * setting.nu * (2 * own[..., None] * U + mixed @ U)


def _sum(x):
    """Sum over the last axis, without the overhead of `np.sum`."""
    return np.add.reduce(x, -1)


def _dot(x, y):
    """x_1 y_1 + x_2 y_2 over the feature axis: (..., 2), (..., 2) -> (...)."""
    product = x * y
    return product[..., 0] + product[..., 1]
