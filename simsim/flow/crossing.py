"""How far neurons are from parallel, and the direction in which that pulls stiffly at the head.

Shapes: ... leading axes, m neurons, K features; lists run over the pairs l < l' of features,
as in `population.feature_pairs`.

Once features are learned, row j of the head feels one stiff force: along
X_j = sum_{s != j} E_js c_js, the X_jj of eq. 27, with c_js = B_jl B_sl' - B_jl' B_sl for the one
pair of two features. In the entries E_js this direction is oblique. So a row may be *folded*: it
gives up one entry, its pivot p, for x_j = X_j / c_jp = E_jp + sum_{s != p} (c_js / c_jp) E_js.
`flow.coordinates` says why.
"""

import numpy as np

from simsim import population

CANCELLED = 0.1  # X_j over its largest term below which a row is folded


def cross_weights(B, delta, signs):
    """(c_js (..., m, m), its term B_jl' B_sl) for each pair of features: c to relative precision for parallel neurons.

    `delta` (..., m, K) is log|a_jl| up to what neurons, or features, have in common; `signs` are those of the overlaps.
    """
    weights, terms = [], []
    for pair in population.feature_pairs(B.shape[-1]):
        low, high = pair.start, pair.stop - 1
        term = B[..., high][..., :, None] * B[..., low][..., None, :]
        side = signs[..., low] * signs[..., high]
        alike = side[..., :, None] * side[..., None, :]  # c = -term (1 - alike exp(3 (apart_j - apart_s)))
        apart = 3 * (delta[..., low] - delta[..., high])
        weights.append(term * (alike * exp(apart[..., :, None] - apart[..., None, :], 1) - (1 - alike)))
        terms.append(term)
    return weights, terms


def exp(x, minus=0):
    """exp(x) - minus, minus 0 or 1; for a complex step (imaginary part infinitesimal) without complex functions.

    A Jacobian's x (R, n, ..., ...) is complex, of one real part in all its n directions: they share its exponential.
    """
    function = np.expm1 if minus else np.exp
    if not np.iscomplexobj(x):
        return function(x)
    value = function(x.real[:, :1] if x.ndim > 3 else x.real)
    out = np.empty_like(x)
    out.real, out.imag = value, (value + minus) * x.imag
    return out


def crossings(E, weights, crosses):
    """X_ij for each pair of features, as c_ij of the objective (see `population.crossings`)."""
    if crosses:
        return [population.product(E, weight.swapaxes(-1, -2)) for weight in weights]
    return [np.add.reduce(E * weight, -1) for weight in weights]


# ---- folded rows, for two features ---------------------------------------------

def folds(E, X, weights):
    """One-hot pivots (..., m, m) of the rows that are better folded, 0 in the others: where the terms of X_j cancel."""
    largest = np.abs(weights * E).max(-1)
    return _largest(weights) * (np.abs(X) < CANCELLED * largest)[..., None]


def fold(E, X, weights, folded):
    """V (..., m, m): E with x_j in the pivots' places."""
    return np.where(folded > 0, (X / _pivot_weight(weights, folded)[..., 0])[..., None], E)


def unfold(V, weights, folded):
    """(E, X_j (..., m)) from the inverse of `fold`, X_j to relative precision."""
    pivot_weight = _pivot_weight(weights, folded)
    leverage = weights / pivot_weight
    plain = 1 - np.add.reduce(folded, -1)[..., None]
    X = pivot_weight[..., 0] * np.add.reduce((folded + plain * leverage) * V, -1)
    others = np.add.reduce((1 - folded) * leverage * V, -1)
    return V - folded * others[..., None], X


def fold_velocity(E, head, growth, weights, term, folded):
    """dV/dt from dE/dt, `head`, and the rates of log|a|: the pivot moves by d/dt sum_s (c_js / c_jp) E_js."""
    first = growth[..., 1][..., :, None] + growth[..., 0][..., None, :]  # rates of the terms, over 3
    second = first.swapaxes(-1, -2)
    turn = 3 * (first * weights + (second - first) * term.swapaxes(-1, -2))  # dc_js / dt
    pivot_weight = _pivot_weight(weights, folded)
    leverage = weights / pivot_weight
    turn = (turn - leverage * np.add.reduce(turn * folded, -1)[..., None]) / pivot_weight  # d/dt (c_js / c_jp)
    moved = np.add.reduce(leverage * head + (1 - folded) * turn * E, -1)[..., None]
    return (1 - folded) * head + folded * moved


def _pivot_weight(weights, folded):
    """c_jp, 1 in rows that are not folded, (..., m, 1)."""
    return (np.add.reduce(weights * folded, -1) + (1 - np.add.reduce(folded, -1)))[..., None]


def _largest(weights):
    """One-hot (..., m, m): the entry of row j with the largest |c_js|, never the diagonal."""
    m = weights.shape[-1]
    size = np.where(np.eye(m, dtype=bool), -1.0, np.abs(weights))
    return (np.arange(m) == size.argmax(-1)[..., None]).astype(float)
