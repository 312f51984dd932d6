"""How far neurons are from parallel, and the direction in which that pulls stiffly at the head.

Shapes: ... leading axes, m neurons, K features; lists run over the pairs l < l' of features,
as in `population.feature_pairs`.

Once features are learned, row j of the head feels a stiff force along X_j = sum_{s != j} E_js c_js,
the X_jj of eq. 27, with c_js = B_jl B_sl' - B_jl' B_sl: with two features one such force, with more
of them one for each pair, the pair of the largest c_js being the stiffest. In the entries E_js this
direction is oblique. So a row may be *folded* along a pair: it gives up one entry, its pivot p, for
x_j = X_j / c_jp = E_jp + sum_{s != p} (c_js / c_jp) E_js. `flow.coordinates` says why.
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


# ---- folded rows -------------------------------------------------------------

def foldable(E, X, weights):
    """One-hot (..., P, m, m): along which pair, and with which pivot, row j is folded; 0 where it is not.

    A row is folded along that pair of features with the largest |c_js|, among those where the terms of X_j cancel.
    """
    size = np.stack([np.abs(weight) for weight in weights], -3)
    size[..., np.eye(size.shape[-1], dtype=bool)] = 0  # the diagonal is no pivot
    largest_term = (size * np.abs(E)[..., None, :, :]).max(-1)
    cancels = np.abs(np.stack(X, -2)) < CANCELLED * largest_term
    size *= cancels[..., None]
    best = size.max((-3, -1), keepdims=True)
    first = (size == best) & (best > 0)
    return _first_only(first)


def fold(E, X, weights, folded):
    """V (..., m, m): E with x_j in the pivots' places."""
    pivots, along = _pivots(folded)
    x = sum(chosen * crossed for chosen, crossed in zip(along, X)) / _pivot_weight(weights, pivots, along)
    return np.where(pivots > 0, x[..., None], E)


def unfold(V, weights, folded):
    """The inverse of `fold`: (E, X_j (..., m) for each pair), along a row's own pair to relative precision."""
    pivots, along = _pivots(folded)
    pivot_weight = _pivot_weight(weights, pivots, along)
    leverage = _along(weights, along) / pivot_weight[..., None]
    x = np.add.reduce(pivots * V, -1)
    E = V - pivots * np.add.reduce((1 - pivots) * leverage * V, -1)[..., None]
    return E, [chosen * pivot_weight * x + (1 - chosen) * np.add.reduce(weight * E, -1)
               for chosen, weight in zip(along, weights)]


def fold_velocity(E, head, growth, weights, terms, folded):
    """dV/dt from dE/dt, `head`, and the rates of log|a|: the pivot moves by d/dt sum_s (c_js / c_jp) E_js."""
    pivots, along = _pivots(folded)
    pivot_weight = _pivot_weight(weights, pivots, along)[..., None]
    turn = 0
    for pair, chosen, weight, term in zip(population.feature_pairs(growth.shape[-1]), along, weights, terms):
        first = growth[..., pair.stop - 1][..., :, None] + growth[..., pair.start][..., None, :]  # rates of terms / 3
        second = first.swapaxes(-1, -2)
        turn = turn + chosen[..., None] * (first * weight + (second - first) * term.swapaxes(-1, -2))  # dc_js / dt / 3
    leverage = _along(weights, along) / pivot_weight
    turn = 3 * (turn - leverage * np.add.reduce(turn * pivots, -1)[..., None]) / pivot_weight  # d/dt (c_js / c_jp)
    moved = np.add.reduce(leverage * head + (1 - pivots) * turn * E, -1)[..., None]
    return (1 - pivots) * head + pivots * moved


def _pivots(folded):
    """The pivots (..., m, m) and, for each pair, 1 in the rows folded along it, (..., m)."""
    along = np.add.reduce(folded, -1)
    return np.add.reduce(folded, -3), [along[..., number, :] for number in range(along.shape[-2])]


def _along(weights, along):
    """c_js (..., m, m) of the pair along which row j is folded, 0 in rows that are not."""
    return sum(chosen[..., None] * weight for chosen, weight in zip(along, weights))


def _pivot_weight(weights, pivots, along):
    """c_jp, 1 in rows that are not folded, (..., m)."""
    return np.add.reduce(_along(weights, along) * pivots, -1) + (1 - np.add.reduce(pivots, -1))


def _first_only(marks):
    """The first of the marks (..., P, m, m) of each row j, as 1.0, all else 0."""
    by_row = marks.swapaxes(-3, -2)  # (..., m, P, m)
    flat = by_row.reshape(*by_row.shape[:-2], -1)
    flat = flat & (np.cumsum(flat, -1) == 1)
    return np.asfortranarray(flat.reshape(by_row.shape).swapaxes(-3, -2), dtype=float)
