"""Coordinates in which the flow of docs/theory.md, section 2, can be integrated over 40 decades of time.

A state is one row y (n,) per trajectory:

    A       2m       log|a_jl|, but for delta_j in the place of log|a_j1|, j > 1; the signs of
                     the overlaps are conserved and kept aside
    U       m m      factor of the noise Gram, rows w_r^perp
    V       m m      the head, one entry per row replaced (trained head only); diagonal fixed at 1
    theta   1        time since the step began, in units of clock.unit, see flow_clock

**Why V.** Once features are learned, the head's row j feels one stiff force, along
X_j = sum_{s != j} E_js c_js (the bracket of eq. 7), and m - 2 directions that the noise alone
moves, slower by up to 30 orders of magnitude. In the coordinates E_js the stiff direction is
oblique and the rounding of its rate, 1e-16 times 1e7, drowns the slow ones: this is what
stops integrators for m >= 3. So row j gives up one entry, its pivot p, for
x_j = X_j / c_jp = E_jp + sum_{s != p} (c_js / c_jp) E_js: then the stiff direction is a
coordinate, the Jacobian is graded, and elimination keeps every rate to relative precision.
The pivot is the largest |c_js|, chosen anew after every step (`rechart`). A row keeps its
plain entries where the terms of X_j do not cancel (always at m = 2): there X_j is precise
anyway, and x_j could be far larger than the entry in whose place it stands. What the head
leaves of the noise in F_j can cancel too; there it is enough to compute it as a norm (`moments`).

**Why delta.** When all neurons become parallel (B_j in proportion), every c_js vanishes and the
stiff force acts on the overlaps instead. With delta_j = log|a_j1 / a_j2| - log|a_11 / a_12| as a
coordinate, c_js = B_j2 B_s1 (1 -+ exp(3 delta_j - 3 delta_s)) loses no digits there.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsim import flow_clock, population
from simsim.flow_clock import Clock

CANCELLED = 0.1  # X_j over its largest term below which row j is written with x_j
HEAD_FLOOR = 0.1  # accuracy asked of E_jr where it is near 0, against what it does to F_j


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
    folded: np.ndarray  # (S, m, m) one-hot pivot in the rows that are written with x_j, else 0
    clock: Clock

    def take(self, rows, ndim):
        """The rows' chart, shaped to broadcast against y of `ndim` dimensions."""

        def part(field):
            field = field if rows.size == len(field) else field[rows]
            return field.reshape(field.shape[:1] + (1,) * (ndim - 2) + field.shape[1:]) if ndim > 2 else field

        return Chart(part(self.signs), part(self.folded), Clock(*map(part, self.clock)))


class State(NamedTuple):
    """y in the theory's variables; leading axes as in y."""

    a: np.ndarray  # (..., m, 2)
    U: np.ndarray  # (..., m, m)
    E: np.ndarray  # (..., m, m)
    cross: np.ndarray  # (..., m)  X_j, to relative precision
    weights: np.ndarray  # (..., m, m)  c_js
    leverage: np.ndarray  # (..., m, m)  c_js / c_jp, c_js in plain rows; None at m = 2
    terms: np.ndarray  # (..., m, m)  B_j2 B_s1; c = terms - terms^T


def start(layout, a, U, unit):
    """(chart, y (S, n)) at t = 0, where E = I, from overlaps, noise factors and a unit of time (S,)."""
    S, m = a.shape[:2]
    A = np.log(np.abs(a))
    A[:, 1:, 0] -= A[:, 1:, 1] + A[:, :1, 0] - A[:, :1, 1]
    head = np.tile(np.eye(m).reshape(-1), (S, 1 if layout.trained else 0))
    y = np.concatenate([A.reshape(S, -1), U.reshape(S, -1), head, np.zeros((S, 1))], axis=1)
    chart = Chart(np.sign(a), np.zeros((S, m, m)), None)
    state = decode(layout, chart, y)
    M = moments(layout, state)
    clock = flow_clock.start(unit, state, M, population.noise_pairs(M, state.E), layout.setting)
    return chart._replace(clock=clock), y


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


def moments(layout, state):
    """`population.moments` of a state, with n_j to relative precision where the head has cancelled noise.

    In complex arithmetic, where only derivatives count, without: they lose nothing.
    """
    noise = None
    if layout.trained and layout.m > 2 and not np.iscomplexobj(state.E):
        noise = population.head_noise(state.U, state.E, layout.setting)
    return population.moments(state.a, population.gram_of(state.U), state.E, layout.setting, noise)


def velocity(layout, chart, y):
    """dy/ds, the flow of dL/dW and kappa dL/dE on the clock s; shapes as y."""
    m, setting = layout.m, layout.setting
    state = decode(layout, chart, y)
    M = moments(layout, state)
    R = population.pull(M, state.cross, setting)
    growth = population.overlap_growth(M, R, state.a, setting)
    pairs = population.noise_pairs(M, state.E)
    grad_U = population.factor_gradient(M, pairs, state.U, setting)
    out = np.empty(y.shape, y.dtype)
    lead = y.shape[:-1]
    out[..., : 2 * m] = growth.reshape(*lead, -1) @ layout.from_log_overlaps
    out[..., 2 * m : 2 * m + m * m] = -grad_U.reshape(*lead, -1)
    if layout.trained:
        head = layout.head_rates * population.head_gradient(M, R)
        if m > 2:
            head = _fold_velocity(head, growth, state, chart.folded)
        out[..., 2 * m + m * m : -1] = head.reshape(*lead, -1)
    out[..., -1] = 1 / chart.clock.unit
    return out * flow_clock.speed(chart.clock, y[..., -1], state, M, pairs)[..., None]


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

    `state` is y decoded and `M` its moments. The clock runs on without a jump.
    """
    m, y = layout.m, y.copy()
    chart.clock.t[rows] = time(chart, y, rows)
    y[:, -1] = 0
    if layout.trained and m > 2:
        pivot = _largest(state.weights)
        largest = np.abs(state.weights * state.E).max(-1)
        chart.folded[rows] = folded = pivot * (np.abs(state.cross) < CANCELLED * largest)[..., None]
        x = state.cross / np.add.reduce(state.weights * pivot, -1)
        y[:, 2 * m + m * m : -1] = np.where(folded > 0, x[..., None], state.E).reshape(len(y), -1)
    pairs = population.noise_pairs(M, state.E)
    flow_clock.restart(chart.clock, rows, state, M, pairs, layout.setting)
    return y


def error_scale(layout, chart, rows, state, M):
    """What an error in each component is compared with, (R, n), for a state and its moments."""
    m, R = layout.m, rows.size
    norms = np.sqrt(M.q)
    head = ()
    if layout.trained:
        spread = np.sqrt(M.G)
        floor = HEAD_FLOOR * np.minimum(1, spread[:, :, None] / spread[:, None, :])
        head = ((np.abs(state.E) + floor).reshape(R, -1),)
    clock = 1 + chart.clock.t[rows] / chart.clock.unit[rows]
    return np.concatenate([np.ones((R, 2 * m)), np.repeat(norms, m, axis=1), *head, clock[:, None]], axis=1)


def time(chart, y, rows):
    """t (R,) of states y (R, n) reached in the current step."""
    return chart.clock.t[rows] + chart.clock.unit[rows] * y[..., -1]
