"""Coordinates in which the flow of docs/theory.md, section 2, can be integrated over 40 decades of time.

A state is one row y (n,) per trajectory:

    A       2m       log|a_jl|, but for delta_j in the place of log|a_j1|, j > 1; the signs of
                     the overlaps are conserved and kept aside
    U       m m      factor of the noise Gram, rows w_r^perp
    V       m m      the head, one entry per row replaced (trained head only); diagonal fixed at 1
    theta   1        time since the step began, in units of chart.unit

**Why V.** Once features are learned, the head's row j feels one stiff force, along
X_j = sum_{s != j} E_js c_js (the bracket of eq. 7), and m - 2 directions that the noise alone
moves, slower by up to 30 orders of magnitude. In the coordinates E_js the stiff direction is
oblique and the rounding of its rate, 1e-16 times 1e7, drowns the slow ones: this is what
stops integrators for m >= 3. So row j gives up one entry, its pivot p, for
x_j = X_j / c_jp = E_jp + sum_{s != p} (c_js / c_jp) E_js: then the stiff direction is a
coordinate, the Jacobian is graded, and elimination keeps every rate to relative precision.
The pivot is the largest |c_js|, chosen anew after every step (`rechart`). A row keeps its
plain entries where the terms of X_j do not cancel (always at m = 2): there X_j is precise
anyway, and x_j could be far larger than the entry in whose place it stands.

**Why delta.** When all neurons become parallel (B_j in proportion), every c_js vanishes and the
stiff force acts on the overlaps instead. With delta_j = log|a_j1 / a_j2| - log|a_11 / a_12| as a
coordinate, c_js = B_j2 B_s1 (1 -+ exp(3 delta_j - 3 delta_s)) loses no digits there.

**Why a clock.** The flow is integrated in s with dt/ds = gauge / pace, the pace being that of
log t, log|a| and log||w_r^perp||: the finite-time blow-up of phase I and the power laws of the
tails are then straight lines. The pace ignores how X, and the noise that the head has cancelled
in F, move within the step: a clock tied to the stiff variables would turn their jitter into a
jitter of time. The gauge makes dt/ds
continuous from step to step.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsim import population

CANCELLED = 0.1  # X_j over its largest term below which row j is written with x_j
HEAD_FLOOR = 1e-3  # accuracy asked of E_jr where it is near 0, against what it does to F_j


@dataclass(frozen=True)
class Layout:
    """Where things are in y, and what the equations need to know."""

    m: int
    setting: population.Setting
    kappa: float  # head rate over weight rate; None freezes the head at I

    @functools.cached_property
    def head_rates(self):
        """-kappa where the head is trained, 0 on its diagonal: (m, m)."""
        return -self.kappa * (1 - np.eye(self.m))

    @functools.cached_property
    def log_overlaps(self):
        """(2m, 2m): A, as a row, times this is log|a|; log|a_j1| = delta_j + log|a_j2| + log|a_11 / a_12|."""
        m = self.m
        to_log = np.eye(2 * m)
        to_log[0, 2::2], to_log[1, 2::2] = 1, -1
        to_log[range(3, 2 * m, 2), range(2, 2 * m, 2)] = 1
        return to_log

    @functools.cached_property
    def from_log_overlaps(self):
        """(2m, 2m): the inverse of `log_overlaps`, for rates."""
        return np.round(np.linalg.inv(self.log_overlaps))

    @property
    def trained(self):
        return self.kappa is not None and self.m > 1


class Chart(NamedTuple):
    """What is constant within a step, per trajectory."""

    signs: np.ndarray  # (S, m, 2) of the overlaps
    pivot: np.ndarray  # (S, m, m) one-hot: the largest |c_js| of row j
    folded: np.ndarray  # (S, m, m) pivot in the rows that are written with x_j, else 0
    t: np.ndarray  # (S,) time when the step began
    stiff: np.ndarray  # (S, m) X_j over its terms' size then, see `_frozen_cross`
    decay: np.ndarray  # (S, m) rate of log||w_r^perp|| over its terms' size then, see `_pace`
    gauge: np.ndarray  # (S,) dt/ds = gauge / pace
    unit: np.ndarray  # (S,) unit of time

    def take(self, rows, ndim):
        """The rows' chart, shaped to broadcast against y of `ndim` dimensions."""
        fields = self if rows.size == self.t.size else [field[rows] for field in self]
        if ndim > 2:
            fields = [f.reshape(f.shape[:1] + (1,) * (ndim - 2) + f.shape[1:]) for f in fields]
        return Chart(*fields)


class State(NamedTuple):
    """y in the theory's variables; leading axes as in y."""

    a: np.ndarray  # (..., m, 2)
    U: np.ndarray  # (..., m, m)
    E: np.ndarray  # (..., m, m)
    cross: np.ndarray  # (..., m)  X_j, to relative precision
    weights: np.ndarray  # (..., m, m)  c_js
    leverage: np.ndarray  # (..., m, m)  c_js / c_jp, c_js in plain rows; None at m = 2
    terms: np.ndarray  # (..., m, m)  B_j2 B_s1; c = terms - terms^T


def new_chart(layout, a, unit):
    """The chart at t = 0, for overlaps a (S, m, 2) and a unit of time (S,)."""
    S, m = a.shape[:2]
    pivot = _largest(population.cross_weights((layout.setting.alpha * a) ** 3))
    stiff, decay = np.zeros((2, S, m))
    return Chart(np.sign(a), pivot, np.zeros_like(pivot), np.zeros(S), stiff, decay, np.ones(S), unit)


def encode(layout, a, U):
    """y (S, n) at t = 0 from overlaps and noise factor; the head starts at I."""
    S, m = a.shape[0], layout.m
    head = np.tile(np.eye(m).reshape(-1), (S, 1 if layout.trained else 0))
    A = np.log(np.abs(a))
    A[:, 1:, 0] -= A[:, 1:, 1] + A[:, :1, 0] - A[:, :1, 1]
    return np.concatenate([A.reshape(S, -1), U.reshape(S, -1), head, np.zeros((S, 1))], axis=1)


def decode(layout, chart, y):
    """`State` of y (..., n); `chart` already taken and shaped."""
    m, lead = layout.m, y.shape[:-1]
    A = y[..., : 2 * m]
    a = chart.signs * _exp(A @ layout.log_overlaps).reshape(*lead, m, 2)
    U = y[..., 2 * m : 2 * m + m * m].reshape(*lead, m, m)
    if not layout.trained:
        return State(a, U, np.broadcast_to(np.eye(m), lead + (m, m)), np.zeros(lead + (m,)), None, None, None)
    V = y[..., 2 * m + m * m : -1].reshape(*lead, m, m)
    delta = A[..., ::2].copy()
    delta[..., 0] = 0
    scaled = layout.setting.alpha * a
    weights, terms = _cross_weights(scaled * scaled * scaled, delta, chart.signs)
    if m == 2:
        return State(a, U, V, np.add.reduce(weights * V, -1), weights, None, terms)
    pivot_weight = _pivot_weight(weights, chart.folded)
    leverage = weights / pivot_weight
    plain = 1 - np.add.reduce(chart.folded, -1)[..., None]
    cross = pivot_weight[..., 0] * np.add.reduce((chart.folded + plain * leverage) * V, -1)
    others = np.add.reduce((1 - chart.folded) * leverage * V, -1)
    return State(a, U, V - chart.folded * others[..., None], cross, weights, leverage, terms)


def _exp(x, minus=0):
    """exp(x) - minus, minus 0 or 1; for a complex step (imaginary part infinitesimal) without complex functions."""
    value = np.expm1(x.real) if minus else np.exp(x.real)
    if not np.iscomplexobj(x):
        return value
    out = np.empty_like(x)
    out.real, out.imag = value, (value + minus) * x.imag
    return out


def _pivot_weight(weights, folded):
    """c_jp, 1 in rows that are not folded, (..., m, 1)."""
    return (np.add.reduce(weights * folded, -1) + (1 - np.add.reduce(folded, -1)))[..., None]


def _cross_weights(B, delta, signs):
    """(c_js, its first term B_j2 B_s1), (..., m, m): c to relative precision for parallel neurons."""
    terms = B[..., 1][..., :, None] * B[..., 0][..., None, :]
    side = signs[..., 0] * signs[..., 1]
    alike = side[..., :, None] * side[..., None, :]  # c = terms (1 - alike exp(3 (delta_j - delta_s)))
    shrink = _exp(3 * (delta[..., :, None] - delta[..., None, :]), 1)
    return terms * ((1 - alike) - alike * shrink), terms


def velocity(layout, chart, y):
    """dy/ds, the flow of dL/dW and kappa dL/dE on the clock s; shapes as y."""
    m, setting = layout.m, layout.setting
    state = decode(layout, chart, y)
    M = population.moments(state.a, population.gram_of(state.U), state.E, setting)
    R, growth, calm = _pulls(layout, state, M, [_frozen_cross(layout, chart, state)])
    pairs = population.noise_pairs(M, state.E)
    grad_U = population.factor_gradient(M, pairs, state.U, setting)
    decay = chart.decay * _decay_size(setting, M, pairs)
    dt_ds = chart.gauge / _pace(calm, decay, chart.t + chart.unit * (1 + y[..., -1]))
    out = np.empty(y.shape, y.dtype)
    lead = y.shape[:-1]
    out[..., : 2 * m] = growth.reshape(*lead, -1) @ layout.from_log_overlaps
    out[..., 2 * m : 2 * m + m * m] = -grad_U.reshape(*lead, -1)
    if layout.trained:
        head = layout.head_rates * population.head_gradient(M, R)
        if m > 2:
            head = _fold_velocity(head, growth, state, chart.folded)
        out[..., 2 * m + m * m : -1] = head.reshape(*lead, -1)
    out[..., -1] = 1 / chart.unit
    return out * dt_ds[..., None]


def _pulls(layout, state, M, crosses):
    """(R (eq. 7), rate of log|a|), and this rate again for each of `crosses` in the place of X."""
    R = population.pull(M, np.array([state.cross, *crosses]), layout.setting)
    return R[0], *population.overlap_growth(M, R, state.a, layout.setting)


def _frozen_cross(layout, chart, state):
    """X_j without its stiff motion, (..., m): of its terms' size what it was when the step began.

    X_j may change a millionfold within a stiff step, its terms do not.
    """
    return chart.stiff * _cross_size(state.terms, chart.pivot) if layout.trained else state.cross


def _decay_size(setting, M, pairs):
    """Size of the terms of the rate of log||w_r^perp||, (..., m): they cancel where the head has removed noise."""
    terms = pairs * M.K
    return 6 * setting.sigma**2 / M.q * np.sqrt(np.add.reduce(terms * terms, -1))


def _pace(growth, decay, since_start):
    """Norm of the rates of log t, log|a| and log||w_r^perp||, (...)."""
    rates2 = np.add.reduce(growth * growth, (-1, -2)) + np.add.reduce(decay * decay, -1)
    return np.sqrt(rates2 + 1 / (since_start * since_start))


def _cross_size(terms, pivot):
    """Size of the two terms of c_jp, (..., m), smooth and without cancellation."""
    squares = terms * terms
    return np.sqrt(np.add.reduce((squares + squares.swapaxes(-1, -2)) * pivot, -1))


def _fold_velocity(head, growth, state, folded):
    """dV/dt from dE/dt: the pivot entry moves by d/dt sum_s (c_js / c_jp) E_js."""
    first = growth[..., 1][..., :, None] + growth[..., 0][..., None, :]  # rates of the terms, over 3
    second = first.swapaxes(-1, -2)
    turn = 3 * (first * state.weights + (first - second) * state.terms.swapaxes(-1, -2))  # dc_js / dt
    pivot_turn = np.add.reduce(turn * folded, -1)[..., None]
    # d/dt (c_js / c_jp), 0 at the pivot
    turn = (turn - state.leverage * pivot_turn) / _pivot_weight(state.weights, folded)
    moved = np.add.reduce(state.leverage * head + (1 - folded) * turn * state.E, -1)[..., None]
    return (1 - folded) * head + folded * moved


def _largest(weights):
    """One-hot (..., m, m): the entry of row j with the largest |c_js|, never the diagonal."""
    m = weights.shape[-1]
    size = np.where(np.eye(m, dtype=bool), -1.0, np.abs(weights))
    return (np.arange(m) == size.argmax(-1)[..., None]).astype(float)


def rechart(layout, chart, y, rows, state, M):
    """The same states (R, n) at the start of a step: writes chart[rows], returns y.

    `state` is y decoded and `M` its moments. New pivots, new first values of X; the clock
    runs on without a jump.
    """
    m, y = layout.m, y.copy()
    chart.t[rows] = time(chart, y, rows)
    y[:, -1] = 0
    before = _frozen_cross(layout, chart.take(rows, 2), state)
    if layout.trained:
        pivot = _largest(state.weights)
        chart.pivot[rows], chart.stiff[rows] = pivot, state.cross / _cross_size(state.terms, pivot)
    if layout.trained and m > 2:
        largest = np.abs(state.weights * state.E).max(-1)
        chart.folded[rows] = folded = pivot * (np.abs(state.cross) < CANCELLED * largest)[..., None]
        x = state.cross / np.add.reduce(state.weights * pivot, -1)
        y[:, 2 * m + m * m : -1] = np.where(folded > 0, x[..., None], state.E).reshape(len(y), -1)
    _, after, before = _pulls(layout, state, M, [before])  # the frozen X is now the true one
    pairs = population.noise_pairs(M, state.E)
    size = _decay_size(layout.setting, M, pairs)
    ratio = 6 * layout.setting.sigma**2 / M.q * np.add.reduce(pairs * M.K, -1) / size
    since_start = chart.t[rows] + chart.unit[rows]
    chart.gauge[rows] *= _pace(after, ratio * size, since_start) / _pace(before, chart.decay[rows] * size, since_start)
    chart.decay[rows] = ratio
    return y


def error_scale(layout, chart, rows, state, M):
    """What an error in each component is compared with, (R, n), for a state and its moments."""
    m, R = layout.m, rows.size
    norms = np.sqrt(M.q) / layout.setting.sigma
    head = ()
    if layout.trained:
        spread = np.sqrt(M.G)
        floor = HEAD_FLOOR * np.minimum(1, spread[:, :, None] / spread[:, None, :])
        head = ((np.abs(state.E) + floor).reshape(R, -1),)
    clock = 1 + chart.t[rows] / chart.unit[rows]
    return np.concatenate([np.ones((R, 2 * m)), np.repeat(norms, m, axis=1), *head, clock[:, None]], axis=1)


def time(chart, y, rows):
    """t (R,) of states y (R, n) reached in the current step."""
    return chart.t[rows] + chart.unit[rows] * y[..., -1]
