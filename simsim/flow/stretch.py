"""How time is stretched: the flow is integrated over a variable s with dt/ds = gauge / pace.

The pace is the norm of the rates of log t, log|a| and log||w_r^perp||. Against s the
finite-time blow-up of phase I and the power laws of the tails are straight lines.

Within a step it must not feel what is stiff. X_ij (the crossings of eq. 27) and the noise n_j
that the head leaves in F_j may change a millionfold while they settle, and a rate may be a
small difference of the terms that they drive: a pace made of them would turn their jitter
into a jitter of time. So X, n and the rates are each replaced by the size of their terms,
which is smooth, times the ratio of the two when the step began. The gauge makes dt/ds
continuous from step to step.

Shapes: S trajectories, m neurons, K features, P pairs of features; leading axes ... as in
`flow.coordinates`; ij stands for (m, m), or for (m,) where the objective has the c_jj alone.
"""

from typing import NamedTuple

import numpy as np

from simsim import population
from simsim.flow.layout import take
from simsim.objectives import off_diagonal_mask


class Stretch(NamedTuple):
    """What is constant of dt/ds within a step, per trajectory; the ratios are (value / size of its terms)^2."""

    t: np.ndarray  # (S,) time when the step began
    unit: np.ndarray  # (S,) unit of time
    gauge: np.ndarray  # (S,)
    cross: np.ndarray  # (S, P, ij) ratio of X_ij, for each pair of features
    noise: np.ndarray  # (S, m) ratio of n_j
    growth: np.ndarray  # (S, m, K) ratio of the rate of log|a|
    decay: np.ndarray  # (S, m) ratio of the rate of log||w_r^perp||


def stretch_of_start(equations, unit, state, M, forces):
    """The `Stretch` at t = 0 for units of time (S,): dt/ds = 1 / pace."""
    S, m, K = state.a.shape
    cross = (len(state.X), *(m,) * (1 + equations.objective.crosses))
    ratios = [np.ones((S, *shape), order="F") for shape in (cross, (m,), (m, K), (m,))]
    stretch = Stretch(np.zeros(S), unit, np.ones(S), *ratios)
    restart(equations, stretch, np.arange(S), state, M, forces)
    stretch.gauge[:] = 1
    return stretch


def restart(equations, stretch, rows, state, M, forces):
    """Take the ratios at the start of a step: writes into stretch[rows], dt/ds stays as it was.

    The ratios are of squares, and need not be of the values themselves: a factor that does not move within a step
    cancels in them, and is left out.
    """
    now = Stretch(*(take(field, rows) for field in stretch))
    pairs = population.noise_pairs(forces, state.E)
    slow = speed(equations, now, 0, state, M, pairs)
    for number, (X, terms) in enumerate(zip(state.X, state.terms)):
        now.cross[:, number] = _ratio((equations.setting.h11 * X) ** 2, _cross_size(terms, X))
    now.noise[:] = _ratio(M.n * M.n, _noise_size(state.E * state.E, M.k))
    growth = population.overlap_growth(forces, state.E, state.a, equations.setting) ** 2
    decay = (6 * np.add.reduce(pairs * M.noise, -1) / M.q) ** 2
    growth_size, decay_size = _sizes(equations, now, state, M, pairs)
    now.growth[:], now.decay[:] = _ratio(growth, growth_size), _ratio(decay, decay_size)
    now.gauge[:] = slow * _pace(now, 0, growth, decay)
    for field, value in zip(stretch, now):
        field[rows] = value


def _ratio(value, size):
    """value / size; 0 where all terms are exactly 0, and with them the value."""
    return value / np.where(size == 0, 1, size)


def speed(equations, stretch, theta, state, M, pairs):
    """dt/ds, (...), theta units of time after the step began; M are the moments, `pairs` as in eq. 10."""
    growth, decay = _sizes(equations, stretch, state, M, pairs)
    return stretch.gauge / _pace(stretch, theta, stretch.growth * growth, stretch.decay * decay)


def slope(stretch, theta, speed):
    """d log(dt/ds) / d theta, (...), where dt/ds is `speed`: theta enters the flow in no other way."""
    since_start = stretch.t + stretch.unit * (1 + theta)
    return stretch.unit / since_start**3 * (speed / stretch.gauge)**2


def _pace(stretch, theta, growth, decay):
    """Norm of the rates, (...), from their squares."""
    since_start = stretch.t + stretch.unit * (1 + theta)
    squares = np.add.reduce(growth, (-1, -2)) + np.add.reduce(decay, -1)
    return np.sqrt(squares + 1 / (since_start * since_start))


def _sizes(equations, stretch, state, M, pairs):
    """Squared sizes of the terms of the rates of log|a|, (..., m, K), and log||w_r^perp||, (..., m)."""
    E2 = state.E * state.E
    on_H, on_B = _force_sizes(equations, stretch, state, M, E2)
    on_answers = population.product(E2.swapaxes(-1, -2), on_H)
    if on_B is not None:
        on_answers = on_answers + on_B
    decay = pairs * M.noise / M.q[..., None]
    return state.a * state.a * on_answers, np.add.reduce(decay * decay, -1)


def _force_sizes(equations, stretch, state, M, E2):
    """Squared sizes of the terms of the forces on H and, without stop-gradient, on B (eqs. 27, 28): (..., m, K)."""
    objective, setting = equations.objective, equations.setting
    H2, B2 = M.H * M.H, M.B * M.B
    if not objective.batch_norm:
        return H2 + B2, None if objective.stop_gradient else H2 + B2
    n2, k2, D, G = stretch.noise * _noise_size(E2, M.k), M.k * M.k, M.D, M.G
    if objective.crosses:
        n2, D, H2 = n2[..., :, None], D[..., :, None], H2[..., :, None, :]
        k2, G, B2 = k2[..., None, :], G[..., None, :], B2[..., None, :, :]
    ij = (slice(None),) * (1 + objective.crosses)
    X2 = [stretch.cross[(..., number, *ij)] * _cross_size(terms, X)
          for number, (X, terms) in enumerate(zip(state.X, state.terms))]
    per_spread = 1 / (D * G)
    terms_H, on_B = n2[..., None] * B2 + _crossed(X2, H2), None
    if setting.deficit is not None:
        drawn = (H2 * B2) @ _apart(setting)
        terms_H = terms_H + H2 * drawn
    on_H = (per_spread / (D * D))[..., None] * terms_H
    if not objective.stop_gradient:
        terms_B = k2[..., None] * H2 + _crossed(X2, B2)
        if setting.deficit is not None:
            terms_B = terms_B + B2 * drawn
        on_B = (per_spread / (G * G))[..., None] * terms_B
    if objective.crosses:
        on_H, on_B = np.add.reduce(on_H, -2), None if on_B is None else np.add.reduce(on_B, -3)
    return on_H, on_B


def _crossed(X2, x2):
    """sum_l' X_ll'^2 x_l'^2, (..., K), from the squares for each pair l < l'; 0 if there are none."""
    if x2.shape[-1] == 2:
        return X2[0][..., None] * x2[..., ::-1] if X2 else 0
    total = 0
    for pair, square in zip(population.feature_pairs(x2.shape[-1]), X2):
        part = np.zeros(np.broadcast_shapes(x2.shape, (*square.shape, 1)), np.result_type(x2, square), order="F")
        part[..., pair] = square[..., None] * x2[..., pair][..., ::-1]
        total = total + part
    return total


def _apart(setting):
    """Squares of what features of different mu12 do to each other (`population.weighed`), (K, K), over mu12^2.

    All other terms of the forces have the factor mu12 too, and are compared without it.
    """
    return (setting.h11 / setting.mu12 * (setting.deficit[:, None] - setting.deficit)) ** 2


def _noise_size(E2, k):
    """Squared size of the terms of n_j, (..., m), from the squares of E."""
    size = np.add.reduce(E2 * k[..., None, :], -1)
    return size * size


def _cross_size(terms, X):
    """Squared size of the terms of the c_js, s != j, (..., m), or (..., 1, m) where X is X_ij."""
    squares = terms * terms * off_diagonal_mask(terms.shape[-1])
    size = np.add.reduce(squares + squares.swapaxes(-1, -2), -1)
    return size if size.ndim == X.ndim else size[..., None, :]
