"""Infinite batch: covariances, shares, loss and gradient in closed form (docs/theory.md, sections 2 and 6).

Shapes: ... any leading axes, m neurons, K features, c coordinates of the noise parts.

A state is given by `overlaps` a (..., m, K), <w_j, v_l> with the strongest feature
first; by the noise parts, as `gram` (..., m, m), <w_i^perp, w_j^perp>, or a factor
U (..., m, c) of it, gram = U U^T; and by the head E (..., m, m). Data are in units of
sigma: sigma is 1 in the equations, and alpha stands for alpha / sigma. Under batch norm
loss and shares are the same in any unit. All outputs have mean zero, because a sample and its
negative are equally likely. Everything is analytic (no abs, no conj), so a complex step
differentiates it exactly.

Of an objective of correlations only the c_ij matter under batch norm (docs/theory.md, eq. 26). Where
it has nothing but the c_jj (`crosses` False), what belongs to c_ij is kept for i = j alone: shapes
(..., m) in place of (..., m, m), and (..., m, K) in place of (..., m, m, K). Any other objective is a
function of all second moments of the 2m outputs [F; G], what they share within a branch included (eqs. 61 to 63).

>>> import numpy as np
>>> from simsim import Config, population
>>> config = Config(d=50, alpha_ratio=2.0)
>>> overlaps, gram = np.diag([1.0, 1.0]), 0.01 * np.eye(2)  # each feature has a neuron
>>> population.shares(config, overlaps, gram).round(3).tolist()
[[1.0, 0.0], [0.0, 1.0]]
>>> round(float(population.loss(config, overlaps, gram, np.eye(2))), 4)
0.16
"""

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsim import activation, objectives
from simsim import data as data_laws
from simsim.activation import CUBIC
from simsim.data import mask_moments
from simsim.network import Grad, real_array

MOST_TERMS = 4  # of a product of small matrices: with more, BLAS is faster
TURN = np.array([1.0, -1.0])  # TURN * (x_2, x_1) is x turned by a right angle


@dataclass(frozen=True, eq=False)
class Setting:
    """What the data contribute, in units of sigma: outputs f / sigma^3, second moments C / sigma^6; with another power p of the
    activation f / sigma^p, C / sigma^(2p).

    A feature that is shown more often, or takes up more patches, is as one that is stronger: `alpha` are the strengths
    with which every feature has the same mu11 and 1/K (docs/theory.md, section 6). Features of different numbers of
    patches differ in their mu12 even so, by `deficit` (K,) from the largest; it is None where they do not.
    """

    alpha: np.ndarray  # (K,) strengths alpha_l / sigma
    mu11: float  # moments of the mask (docs/theory.md, eq. 4)
    mu12: float
    nu: float  # times what the tails of the noise are, `data.Law.tails`
    unit: float  # sigma^(2p); it matters without batch norm alone
    deficit: np.ndarray | None = None
    power: int = CUBIC  # p

    @classmethod
    def from_config(cls, config):
        """The setting of a Config. Raises data.NoClosedForm where its law of samples is not the package's own."""
        data_law, power = data_laws.from_config(config), config.power
        data_law.require_closed("loss, shares and correlations")
        mu11, mu12, nu = mask_moments(config.patches, config.feature_patches)
        tails = data_law.tails(2 * power)  # scaled noise is as Gaussian noise in so many times the patches
        unit = config.sigma ** (2 * power)
        if config.patch_counts is None:
            return cls(np.array(config.effective_alphas), mu11, mu12, tails * nu, unit, power=power)
        each11, each12, each_nu = data_law.mask_moments(config)
        often = config.shares_of_samples
        alpha = data_law.strengths(config) / config.sigma * (config.features * often * each11 / mu11) ** (1 / (2 * power))
        each12 = each12 * mu11 / each11
        deficit = each12.max() - each12
        return cls(alpha, mu11, each12.max(), tails * (often @ each_nu), unit, deficit if deficit.any() else None, power)

    @functools.cached_property
    def h11(self):
        """mu11 / K: what feature l adds to C11_ij is this times B_il B_jl."""
        return self.mu11 / self.alpha.size

    @functools.cached_property
    def h12(self):
        """mu12 / K: likewise for C12; of each feature, (K,), where they differ."""
        return (self.mu12 if self.deficit is None else self.mu12 - self.deficit) / self.alpha.size

    @functools.cached_property
    def agreement(self):
        """What mu12 is of each feature, as a part of the largest: (K,), or None where they are alike."""
        return None if self.deficit is None else 1 - self.deficit / self.mu12

    @functools.cached_property
    def noise_terms(self):
        """{k: nu c_k}: by what the noise covariance has Q_ij^k (eq. 5; c_k are those of `activation.pairings`)."""
        return {k: ways * self.nu for k, ways in activation.pairings(self.power)}

    @functools.cached_property
    def slope(self):
        """3 alpha^3, (K,): dB/da over a^2."""
        return 3 * self.alpha**3


class Moments(NamedTuple):
    """Second moments of f and of F = E f, in the symbols of docs/theory.md, eqs. 5 and 6; units of sigma."""

    B: np.ndarray  # (..., m, K)  (alpha_l a_jl)^p, p = 3 the power of the activation, the answer to one patch of feature l
    Q: np.ndarray  # (..., m, m)  noise Gram
    q: np.ndarray  # (..., m)     its diagonal
    q_q: np.ndarray  # (..., m, m)  q_i q_j
    Q2: np.ndarray  # (..., m, m)  Q_ij^2
    noise: np.ndarray  # (..., m, m)  Sigma_ij, noise covariance of f
    k: np.ndarray  # (..., m)     its diagonal
    H: np.ndarray  # (..., m, K)  E B
    E_noise: np.ndarray  # (..., m, m)  E times the noise covariance
    n: np.ndarray  # (..., m)     noise variance of F_j
    D: np.ndarray  # (..., m)     variance of F_j
    G: np.ndarray  # (..., m)     variance of f_j


def product(x, y):
    """The matrix product x @ y, (..., i, j), (..., j, k) -> (..., i, k).

    NumPy's own takes one small matrix after the other. Where many lie side by side in memory (the flow's do, see
    `flow.layout`), to take them all together is faster for up to MOST_TERMS terms, and keeps them so.
    """
    if y.ndim < 3 or y.strides[0] != y.itemsize or y.shape[-2] > MOST_TERMS:
        return x @ y
    if not np.iscomplexobj(y):
        return np.einsum("...ij,...jk->...ik", x, y)
    total = x[..., :, :1] * y[..., :1, :]
    for j in range(1, x.shape[-1]):
        total += x[..., :, j:j + 1] * y[..., j:j + 1, :]
    return total


def gram_of(U):
    """U U^T, (..., m, m)."""
    return product(U, U.swapaxes(-1, -2))


def moments(a, gram, E, setting):
    """All second moments that loss, shares and gradient are made of: `Moments` (eqs. 5, 6)."""
    return moments_of(answers(a, setting), gram, E, setting)


def answers(a, setting):
    """B (..., m, K), the answers to one patch of each feature."""
    return activation.of(setting.alpha * a, setting.power)


def moments_of(B, gram, E, setting, n=None):
    """The same as `moments` from the `answers` B.

    A caller may know n_j, `n` (..., m), more precisely than the Gram matrix tells, see `head_noise`.
    """
    q = gram.diagonal(0, -2, -1)
    q_q = q[..., :, None] * q[..., None, :]
    Q2 = gram * gram
    noise = noise_covariance(gram, q_q, Q2, setting)
    k = noise.diagonal(0, -2, -1)
    H = product(E, B)
    E_noise = product(E, noise)
    n = _sum(E_noise * E) if n is None else n
    share = setting.h11
    return Moments(B, gram, q, q_q, Q2, noise, k, H, E_noise, n, share * _dot(H, H) + n, share * _dot(B, B) + k)


def noise_covariance(Q, q_q, Q2, setting):
    """Sigma_ij = nu E[u_i^p u_j^p], (..., m, m), of Gaussian pre-activations u (eq. 5), odd p; q_q and Q2 as in `Moments`."""
    if setting.power == CUBIC:
        return Q * (setting.noise_terms[1] * q_q + setting.noise_terms[3] * Q2)
    return Q * sum(term * q_q ** ((setting.power - k) // 2) * Q2 ** ((k - 1) // 2) for k, term in setting.noise_terms.items())


def head_noise(U, E, setting):
    """n_j = (E Sigma E^T)_jj, (..., m), to relative precision even where the head has cancelled noise.

    Sigma_rs is the inner product of the vectors sqrt(nu) (3 q_r u_r, sqrt(6) u_r x u_r x u_r), u_r = w_r^perp,
    so n_j is the squared length of a sum of them: from Sigma it would be a sum of terms of both signs,
    correct only to 1e-16 of the largest.
    """
    (i, j, k), orders = _triples(U.shape[-1])
    linear = 3 * _sum(U * U)[..., None] * U
    cubic = np.sqrt(6 * orders) * U[..., i] * U[..., j] * U[..., k]
    noise = product(E, np.concatenate([linear, cubic], axis=-1))
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
    return setting.unit * covariance_of(setting, moments(overlaps, gram, np.eye(overlaps.shape[-2]), setting))


def covariance_of(setting, M):
    """The same as `output_covariance`, from the moments and in units of sigma."""
    return setting.h11 * M.B @ M.B.swapaxes(-1, -2) + M.noise


def correlations(config, overlaps, gram):
    """corr(f_i, f_j) on fresh samples, (..., m, m): the identity, or all +-1 after a collapse."""
    setting = Setting.from_config(config)
    return correlations_of(setting, moments(*_in_own_units(setting, overlaps, gram, np.eye(overlaps.shape[-2])), setting))


def correlations_of(setting, M):
    """The same from the moments."""
    std = np.sqrt(M.G)
    return covariance_of(setting, M) / (std[..., :, None] * std[..., None, :])


def shares(config, overlaps, gram):
    """share_jl, the fraction of f_j's variance that feature l explains, (..., m, K) (eq. 11)."""
    return head_shares(config, overlaps, gram, np.eye(overlaps.shape[-2]))


def head_shares(config, overlaps, gram, E):
    """share^F_jl, the same for the head's output F_j, (..., m, K) (docs/theory.md, eq. 11); nan where it does not vary."""
    setting = Setting.from_config(config)
    M = moments(*_in_own_units(setting, overlaps, gram, E), setting)
    with np.errstate(invalid="ignore"):
        return setting.h11 * M.H**2 / M.D[..., None]


def loss(config, overlaps, gram, E):
    """The loss of an infinitely large batch, (...) (docs/theory.md, eqs. 6 and 26).

    Without batch norm it is inf where it is beyond floating point, as the sixth power of weights may be; with it, nan
    where an output does not vary. Of what is nan it is nan.
    """
    _require_one_set_of_weights(config)
    setting, objective = Setting.from_config(config), objectives.from_config(config)
    if objective.batch_norm:
        overlaps, gram, E = _in_own_units(setting, overlaps, gram, E)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _loss(moments(overlaps, gram, E, setting), E, setting, objective)
    with np.errstate(over="ignore", invalid="ignore"):
        losses = _loss(moments(overlaps, gram, E, setting), E, setting, objective)
    numbers = [np.isfinite(overlaps).all((-1, -2)), np.isfinite(gram).all((-1, -2)), np.isfinite(E).all((-1, -2))]
    return np.where(np.isnan(losses) & np.all(np.broadcast_arrays(*numbers), axis=0), np.inf, losses)[()]


def loss_and_grad(W, E, config):
    """The loss of an infinitely large batch and its gradient (docs/theory.md, eqs. 6 to 10, 26 to 28 and 61 to 63).

    Parameters
    ----------
    W : (m, d) weights, with the features v_1 = e_1 .. v_K = e_K
    E : (m, m) head
    config : Config, for the data's parameters and the objective

    Returns
    -------
    loss : float
    grad : network.Grad
        `W` (m, d) and `E` (m, m), diagonal included; under stop-gradient, as SGD follows it.

    Raises
    ------
    ValueError
        The shapes do not fit together, there are other numbers than finite real
        ones, or under batch norm a row of `W` or `E` makes an output without variance.

    >>> import numpy as np
    >>> import simsim
    >>> rng = np.random.default_rng(0)
    >>> loss, grad = simsim.population.loss_and_grad(rng.standard_normal((2, 50)), np.eye(2), simsim.Config(d=50))
    >>> grad.W.shape, grad.E.shape
    ((2, 50), (2, 2))
    """
    W, E = (real_array(*item).astype(float) for item in (("W", W), ("E", E)))
    K = config.features
    if W.ndim != 2 or W.shape[0] < 1 or W.shape[1] < K + 1 or E.shape != 2 * W.shape[:1]:
        raise ValueError(f"`W` must have shape (m, d), d >= {K + 1}, and `E` (m, m); got {W.shape} and {E.shape}")
    _require_one_set_of_weights(config)
    setting, objective = Setting.from_config(config), objectives.from_config(config)
    require_cubic(setting.power)
    with np.errstate(all="ignore"):  # what has no value is caught by name
        by_neuron, by_head = np.ones(len(W)), np.ones(E.shape)
        if objective.batch_norm:
            by_neuron, by_head = _own_units(_sizes(setting, W[:, :K], np.abs(W[:, K:]).max(axis=1)), E, CUBIC)
        w, e = by_neuron[:, None] * W, by_head * E
        M = moments(w[:, :K], gram_of(w[:, K:]), e, setting)
        if objective.batch_norm:
            _require_variance(M)
        grad = gradient(w[:, :K], w[:, K:], e, setting, objective)
        grad = Grad(by_neuron[:, None] * np.concatenate([grad.a, grad.U], axis=1), by_head * grad.E)
    return float(_loss(M, e, setting, objective)), grad


def _require_one_set_of_weights(config):
    """ValueError where view 2 goes through weights of its own, of which a state says nothing."""
    if config.target_momentum:
        raise ValueError(f"with target_momentum = {config.target_momentum:g} the loss is that against a target with rows of its "
                         "own: ask `run.loss`, or `target.loss` with these rows")


def require_cubic(power):
    """ValueError for another activation than the cube, of which the closed gradient (eqs. 7 to 10) is."""
    if power != CUBIC:
        raise ValueError(f"with power = {power} there is no closed gradient in an infinite batch: eqs. 7 to 10 of docs/theory.md "
                         f"are about the cubic activation; `loss` is known, and `simsim.loss_and_grad(.., power={power})` has the "
                         "gradient of a batch")


def _require_variance(M):
    """Raise ValueError where a neuron's output, or the head's, does not vary: it has no batch norm."""
    for name, output, variance in (("W", "f", M.G), ("E", "F", M.D)):
        for row in np.flatnonzero(~(variance > 0)):
            raise ValueError(f"row {row + 1} of `{name}` makes an output {output}_{row + 1} that is zero, "
                             "or too small for a number: batch norm needs it to vary")


def _in_own_units(setting, overlaps, gram, E):
    """Overlaps, gram and head of an equivalent state, each neuron in units of its own; see `_own_units`."""
    norms = np.sqrt(np.abs(np.real(gram.diagonal(axis1=-2, axis2=-1))))
    by_neuron, by_head = _own_units(_sizes(setting, overlaps, norms), E, setting.power)
    gram = by_neuron[..., :, None] * gram * by_neuron[..., None, :]
    return by_neuron[..., None] * overlaps, gram, by_head * E


def _sizes(setting, overlaps, noise_norms):
    """What is largest in each neuron, (..., m): an overlap times its strength, or the noise part."""
    features = np.abs(np.real(setting.alpha * overlaps)).max(axis=-1)
    return np.maximum(features, noise_norms) if setting.nu else features


def _own_units(size, E, power):
    """Factors (..., m) of the neurons and (..., m, m) of the head that bring outputs of any size to order 1.

    A row w_r times c and the head's column r times c^-p, p the power, leave F as it is (eq. 12),
    and a whole row of E only scales F_j. Shares, correlations and a loss under batch
    norm are the same before and after; its gradients are those in the scaled W and E
    times the same factors. All factors are powers of two, so no digit changes either.
    """
    exponents = np.frexp(size)[1]
    mixed = power * exponents[..., None, :] + np.zeros(np.shape(E), int)
    largest = np.where(E == 0, np.iinfo(int).min, mixed + np.frexp(np.abs(E))[1]).max(axis=-1, keepdims=True)
    return np.ldexp(1.0, -exponents), np.ldexp(1.0, mixed - largest)


def _loss(M, E, setting, objective):
    """The loss; under batch norm from 1 - c_jj, without subtracting nearly equal numbers."""
    if not isinstance(objective, objectives.OfCorrelations):
        return objective.of(*_seen_by(objective, M, E, setting))[0]
    N = prediction_target(M, setting, objective)
    if not objective.batch_norm:
        return setting.unit * objective.slopes(M.D, N, M.G)[0]
    return objective.slopes(M.D, N, M.G, misfit_of(M, E, setting))[0]


def misfit_of(M, E, setting):
    """1 - c_jj, (..., m), without subtracting nearly equal numbers.

    c_jj is at most mu12 / mu11, and the gap 1 - (mu11 / mu12) c_jj follows, with h and b for rows of H and B, from
    D G - (h.b)^2 = sum_{l < l'} (h_l b_l' - h_l' b_l)^2 + n |b|^2 + k |h|^2 + n k, all terms positive. Where mu12 is
    not that of all features, what the others fall short by adds to 1 - c_jj.
    """
    share = setting.h11
    gap = share * (M.n * _dot(M.B, M.B) + M.k * _dot(M.H, M.H)) + M.n * M.k
    for X in crossings(E, M.B, False):
        gap = gap + (share * X) ** 2
    s, aligned = np.sqrt(M.D) * np.sqrt(M.G), share * _dot(M.H, M.B)
    # Where F_j and f_j are anticorrelated the quotient cancels, and the plain difference does not.
    gaps = np.where(np.real(aligned) > 0, gap / (s * (s + np.where(np.real(aligned) > 0, aligned, 0))),
                    1 - aligned / s)
    ratio = setting.mu12 / setting.mu11
    misfit = (1 - ratio) + ratio * gaps
    if setting.deficit is not None:
        misfit = misfit + _dot(setting.deficit * M.H, M.B) / setting.alpha.size / s
    return misfit


def _seen_by(objective, M, E, setting):
    """(V, gap) that `Objective.of` asks for, with the gaps of normalised outputs to all their digits; V is contiguous."""
    V = seen(M, E, setting)
    if not objective.batch_norm:
        V = np.ascontiguousarray(setting.unit * V)
        return V, objectives.gaps(V)
    size = np.sqrt(V.diagonal(0, -2, -1))
    V = np.ascontiguousarray(V / (size[..., :, None] * size[..., None, :]))
    return V, 2 * misfit_of(M, E, setting)


def seen(M, E, setting):
    """Second moments of [F; G], (..., 2m, 2m), in units of sigma: what an objective sees without batch norm."""
    H, B = M.H, M.B
    predictions = setting.h11 * H @ H.swapaxes(-1, -2) + M.E_noise @ E.swapaxes(-1, -2)
    across = (setting.h12 * H) @ B.swapaxes(-1, -2)
    targets = covariance_of(setting, M)
    return np.block([[predictions, across], [across.swapaxes(-1, -2), targets]])


# ---- gradient ------------------------------------------------------------------

class ReducedGrad(NamedTuple):
    """Gradient of the loss in the overlaps (..., m, K), the factor U (..., m, c) and the head."""

    a: np.ndarray
    U: np.ndarray
    E: np.ndarray


class Forces(NamedTuple):
    """Derivatives of the loss in what it depends on; those of the target are None under stop-gradient.

    An objective of correlations knows of the noise its variance in each output alone; of any other, n and k are the
    symmetric matrices (..., m, m) of derivatives in the noise covariances of F and of f.
    """

    H: np.ndarray  # (..., m, K)  dL/dH, the features in the prediction F
    n: np.ndarray  # (..., m)     dL/dn, the noise in F
    B: np.ndarray | None  # (..., m, K)  dL/dB by way of the target alone
    k: np.ndarray | None  # (..., m)     dL/dk, the noise in the target


def gradient(a, U, E, setting, objective):
    """Gradient of the loss on the reduced state, cancellation-free under batch norm: `ReducedGrad` (eqs. 7 to 10)."""
    require_cubic(setting.power)
    M = moments(a, gram_of(U), E, setting)
    if isinstance(objective, objectives.OfCorrelations):
        forces = forces_of(M, crossings(E, M.B, objective.crosses), setting, objective)
    else:
        forces = forces_of_all(M, E, cross_weights(M.B), setting, objective)
    pairs = noise_pairs(forces, E)
    return ReducedGrad(-a * overlap_growth(forces, E, a, setting), factor_gradient(M, pairs, U, setting),
                       head_gradient(M, forces))


@functools.cache
def feature_pairs(K):
    """The pairs of features l < l', each as the slice that picks the two of K."""
    return [slice(first, second + 1, second - first) for first, second in itertools.combinations(range(K), 2)]


def cross_weights(B):
    """For each of `feature_pairs`, B_jl B_sl' - B_jl' B_sl, (..., m, m): how far s is away from j's mix of l and l'."""
    outer = [B[..., pair.start][..., :, None] * B[..., pair.stop - 1][..., None, :]
             for pair in feature_pairs(B.shape[-1])]
    return [products - products.swapaxes(-1, -2) for products in outer]


def crossings(E, B, crosses):
    """For each of `feature_pairs`, X_ij,ll' = sum_{s != j} E_is (B_jl B_sl' - B_jl' B_sl) (eq. 27): as c_ij.

    A caller may know them more precisely than the sum does: late in the flow an X is far
    smaller than its terms (see flow.coordinates).
    """
    weights = cross_weights(B)
    if crosses:
        return [product(E, turned.swapaxes(-1, -2)) for turned in weights]
    return [_sum(E * turned) for turned in weights]


def prediction_target(M, setting, objective):
    """N, the covariance of F_i with the target f_j(X2): as c_ij (eq. 26)."""
    if setting.deficit is not None:
        H = setting.h12 * M.H
        return product(H, M.B.swapaxes(-1, -2)) if objective.crosses else _dot(H, M.B)
    if objective.crosses:
        return setting.h12 * product(M.H, M.B.swapaxes(-1, -2))
    return setting.h12 * _dot(M.H, M.B)


def forces_of(M, X, setting, objective):
    """`Forces` from the moments and the `crossings` X, without cancellation under batch norm (eqs. 26 to 28).

    X is [] where all are zero, since there is one neuron; None asks for what the noise alone does.
    """
    _, slopes = objective.slopes(M.D, prediction_target(M, setting, objective), M.G)
    if not objective.batch_norm:
        return _raw_forces(M, slopes, setting)
    cross = slopes.cross[..., None] / setting.alpha.size
    by_prediction, by_target = X, X
    if setting.deficit is not None and X is not None:
        by_prediction, by_target = weighed(M, X, setting, objective.crosses)
    on_H = cross * pull(M, by_prediction, setting, objective.crosses)
    if objective.crosses:
        on_H = np.add.reduce(on_H, -2)
    if objective.stop_gradient:
        return Forces(on_H, slopes.prediction / 2, None, None)
    on_B = cross * target_pull(M, by_target, setting, objective.crosses)
    if objective.crosses:
        on_B = np.add.reduce(on_B, -3)
    return Forces(on_H, slopes.prediction / 2, on_B, slopes.target / 2)


def forces_of_all(M, E, weights, setting, objective, noise=True):
    """`Forces` of any function of second moments (eqs. 61 to 63), without cancellation under batch norm.

    weights : the `cross_weights` of B, which a caller may know more precisely; None leaves out what crosses, as `noise`
        False does what the noise alone drives
    """
    m, rows = E.shape[-1], np.concatenate([M.H, M.B], axis=-2)
    V, gap = _seen_by(objective, M, E, setting)
    dV = np.broadcast_to(objective.of(V, gap)[1], V.shape)
    if objective.batch_norm:
        on_rows, on_noise = _normalised_forces(M, E, weights, setting, V, dV, rows, noise)
    else:
        on_noise = setting.unit * dV
        within, across = on_noise * _same_branch(m), on_noise * (1 - _same_branch(m))
        on_rows = 2 * (setting.h11 * product(within, rows) + setting.h12 * product(across, rows))
    parts = on_rows[..., :m, :], on_noise[..., :m, :m], on_rows[..., m:, :], on_noise[..., m:, m:]
    return Forces(*parts[:2], None, None) if objective.stop_gradient else Forces(*parts)


def _normalised_forces(M, E, weights, setting, V, dV, rows, noise):
    """dL/drows (..., 2m, K) and dL/dnoise (..., 2m, 2m) under batch norm (eqs. 62, 63); `rows` are those of H over B.

    V and dV (..., 2m, 2m) are what the objective sees and its derivative, on the diagonal of which nothing depends.
    """
    m, variances = E.shape[-1], np.concatenate([M.D, M.G], axis=-1)
    dV = dV * objectives.off_diagonal_mask(2 * m)
    on_noise = dV / (np.sqrt(variances)[..., :, None] * np.sqrt(variances)[..., None, :])
    drawn = (2 * setting.h11) * on_noise / variances[..., None]
    within, across = drawn * _same_branch(m), (setting.mu12 / setting.mu11) * drawn * (1 - _same_branch(m))
    on_noise[..., range(2 * m), range(2 * m)] = -_sum(dV * V) / variances
    felt, on_rows = product(across, rows), 0 * rows
    if noise:
        own, mixed = np.concatenate([M.n, M.k], axis=-1), product(M.E_noise, E.swapaxes(-1, -2))
        shared = np.concatenate([_sum(within[..., :m, :m] * mixed), _sum(within[..., m:, m:] * M.noise)], axis=-1)
        agreeing = felt if setting.deficit is None else setting.agreement * felt
        on_rows = own[..., None] * (product(within, rows) + agreeing) - shared[..., None] * rows
    if weights is not None:
        _add_turned(on_rows, setting.h11, _crossed(E, weights, setting, within, across, felt, rows), rows)
    return on_rows, on_noise


def _crossed(E, weights, setting, within, across, felt, rows):
    """For each of `feature_pairs`, what of eq. 62 crosses: the sum over b of drawn_ab X_ab,ll', (..., 2m)."""
    pairs, g = feature_pairs(rows.shape[-1]), setting.agreement
    for pair, X in zip(pairs, branch_crossings(E, weights)):
        if g is None:
            yield _sum((within + across) * X)
            continue
        low, high = pair.start, pair.stop - 1
        yield _sum((within + g[low] * across) * X) + (g[low] - g[high]) * rows[..., low] * felt[..., high]


def branch_crossings(E, weights):
    """X_ab,ll' of the rows of [H; B], (..., 2m, 2m) for each of `feature_pairs`, from the `cross_weights` of B (eq. 61)."""
    turned = [weight.swapaxes(-1, -2) for weight in weights]
    E_turned = [product(E, weight) for weight in turned]
    return [np.block([[product(X, E.swapaxes(-1, -2)), X], [-1.0 * X.swapaxes(-1, -2), weight]])
            for X, weight in zip(E_turned, turned)]


@functools.cache
def _same_branch(m):
    """(2m, 2m): 1 where both outputs are predictions, or both targets, else 0."""
    return np.kron(np.eye(2), np.ones((m, m)))


def _raw_forces(M, slopes, setting):
    """`Forces` without batch norm, in units of their own."""
    prediction, cross = (setting.unit * slope[..., None] for slope in (slopes.prediction, slopes.cross))
    on_H = setting.h11 * prediction * M.H + setting.h12 * cross * M.B
    if slopes.target is None:
        return Forces(on_H, prediction[..., 0] / 2, None, None)
    target = setting.unit * slopes.target[..., None]
    return Forces(on_H, prediction[..., 0] / 2, setting.h11 * target * M.B + setting.h12 * cross * M.H, target[..., 0] / 2)


def pull(M, X, setting, crosses=False):
    """R_ij,l: how the correlation of prediction i with target j pulls at feature l of the prediction (eqs. 7, 27)."""
    n, D, H, B = M.n[..., None], M.D[..., None], M.H, M.B
    if crosses:
        n, D, H, B = n[..., None], D[..., None], H[..., :, None, :], B[..., None, :, :]
    R = n * B if setting.deficit is None else setting.agreement * n * B
    _add_turned(R, setting.h11, X, H)
    R *= setting.mu12 / D
    return R


def target_pull(M, X, setting, crosses=False):
    """R'_ij,l: how the same correlation pulls at feature l of the target (eq. 28)."""
    k, G, H, B = M.k[..., None], M.G[..., None], M.H, M.B
    if crosses:
        k, G, H, B = k[..., None, :, :], G[..., None, :, :], H[..., :, None, :], B[..., None, :, :]
    R = k * H if setting.deficit is None else setting.agreement * k * H
    _add_turned(R, -setting.h11, X, B)
    R *= setting.mu12 / G
    return R


def weighed(M, X, setting, crosses):
    """X_ll' where features differ in their mu12, in parts of the largest: of prediction and target, as `crossings`.

    With g_l for `agreement` they are g_l H_l' B_l - g_l' H_l B_l' and g_l' H_l' B_l - g_l H_l B_l'.
    """
    g, (H, B) = setting.agreement, (M.H, M.B)
    if crosses:
        H, B = H[..., :, None, :], B[..., None, :, :]
    by_prediction, by_target = [], []
    pairs = feature_pairs(B.shape[-1])
    for pair, X_pair in zip(pairs, X or [0] * len(pairs)):
        low, high = pair.start, pair.stop - 1
        apart = (g[low] - g[high]) * H[..., low] * B[..., high]
        by_prediction.append(g[low] * X_pair + apart)
        by_target.append(g[high] * X_pair - apart)
    return by_prediction, by_target


def _add_turned(R, factor, X, x):
    """R_l += factor sum_l' x_l' X_ll', X being antisymmetric and given for l < l'."""
    for pair, X_pair in zip(feature_pairs(x.shape[-1]), X or []):
        part = R[..., pair]
        part += (factor * X_pair)[..., None] * (TURN * x[..., pair][..., ::-1])


def overlap_growth(forces, E, a, setting):
    """-(dL/da) / a, (..., m, K): the rate of log|a| in the flow (eq. 8)."""
    on_B = product(E.swapaxes(-1, -2), forces.H)
    if forces.B is not None:
        on_B += forces.B
    return -setting.slope * a * on_B


def head_gradient(M, forces):
    """dL/dE, (..., m, m), diagonal included (eq. 9)."""
    on_noise = 2 * forces.n
    by_noise = on_noise[..., None] * M.E_noise if on_noise.ndim < M.E_noise.ndim else product(on_noise, M.E_noise)
    return product(forces.H, M.B.swapaxes(-1, -2)) + by_noise


def noise_pairs(forces, E):
    """M_rs of eq. 10, dL/dSigma_rs, (..., m, m). The rate of -log||w_r^perp|| is 6 / q_r times sum_s M_rs Sigma_rs."""
    whole = forces.n.ndim == forces.H.ndim
    pairs = product(E.swapaxes(-1, -2), product(forces.n, E) if whole else forces.n[..., None] * E)
    if forces.k is not None:
        pairs += forces.k if whole else forces.k[..., None] * np.eye(E.shape[-1])
    return pairs


def factor_gradient(M, pairs, U, setting):
    """dL/dU, (..., m, c) (eq. 10), from the `noise_pairs`."""
    own = _sum(pairs * M.Q * M.q[..., None, :])
    mixed = pairs * (M.q_q + 2 * M.Q2)
    return 18 * setting.nu * (2 * own[..., None] * U + product(mixed, U))


def _sum(x):
    """Sum over the last axis, without the overhead of `np.sum`."""
    return np.add.reduce(x, -1)


def _dot(x, y):
    """Sum of x_l y_l over the feature axis, (..., K), (..., K) -> (...); of few features, faster than `_sum`."""
    product = x * y
    total = product[..., 0]
    for feature in range(1, product.shape[-1]):
        total = total + product[..., feature]
    return total
