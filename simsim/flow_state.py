"""Coordinates in which the flow of theory.md section 2 can be integrated over 40 decades of time.

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
The pivot is the largest |c_js|, chosen anew after every step (`rechart`). At m = 2, x = E.

**Why delta.** When all neurons become parallel (B_j in proportion), every c_js vanishes and the
stiff force acts on the overlaps instead. With delta_j = log|a_j1 / a_j2| - log|a_11 / a_12| as a
coordinate, c_js = B_j2 B_s1 (1 -+ exp(3 delta_j - 3 delta_s)) loses no digits there.

**Why a clock.** The flow is integrated in s with dt/ds = gauge / pace, the pace being that of
log t, log|a| and log||w_r^perp||: the finite-time blow-up of phase I and the power laws of the
tails are then straight lines. The pace ignores how X moves within the step: a clock tied to
the stiff variable would turn its jitter into a jitter of time. The gauge makes dt/ds
continuous from step to step.
"""

from typing import NamedTuple

import numpy as np

from simsim import population

HEAD_FLOOR = 1e-3  # accuracy asked of E_jr where it is near 0, against what it does to F_j


class Layout(NamedTuple):
    """Where things are in y, and what the equations need to know."""

    m: int
    setting: population.Setting
    kappa: float  # head rate over weight rate; None freezes the head at I

    @property
    def head_rates(self):
        """-kappa where the head is trained, 0 on its diagonal: (m, m)."""
        return -self.kappa * (1 - np.eye(self.m))

    @property
    def trained(self):
        return self.kappa is not None and self.m > 1

    @property
    def size(self):
        m = self.m
        return 2 * m + m * m + (m * m if self.trained else 0) + 1


class Chart(NamedTuple):
    """What is constant within a step, per trajectory."""

    signs: np.ndarray  # (S, m, 2) of the overlaps
    pivot: np.ndarray  # (S, m, m) one-hot: which entry of row j is replaced
    t: np.ndarray  # (S,) time when the step began
    stiff: np.ndarray  # (S, m) X_j over its terms' size then, see `_pace`
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
    leverage: np.ndarray  # (..., m, m)  c_js / c_jp, None where the chart is trivial
    terms: np.ndarray  # (..., m, m)  B_j2 B_s1; c = terms - terms^T


def new_chart(layout, a, unit):
    """The chart at t = 0, for overlaps a (S, m, 2) and a unit of time (S,)."""
    S, m = a.shape[:2]
    pivot = _largest(population.cross_weights((layout.setting.alpha * a) ** 3))
    return Chart(np.sign(a), pivot, np.zeros(S), np.zeros((S, m)), np.ones(S), unit)


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
    A = y[..., : 2 * m].reshape(*lead, m, 2)
    delta = A[..., 0] * (np.arange(m) > 0)
    logs = A.copy()
    logs[..., 0] = delta + A[..., 1] + (A[..., 0, 0] - A[..., 0, 1])[..., None]
    a = chart.signs * np.exp(logs)
    U = y[..., 2 * m : 2 * m + m * m].reshape(*lead, m, m)
    if not layout.trained:
        return State(a, U, np.broadcast_to(np.eye(m), lead + (m, m)), np.zeros(lead + (m,)), None, None, None)
    V = y[..., 2 * m + m * m : -1].reshape(*lead, m, m)
    weights, terms = _cross_weights((layout.setting.alpha * a) ** 3, delta, chart.signs)
    pivot_weight = np.add.reduce(weights * chart.pivot, -1)
    cross = np.add.reduce(V * chart.pivot, -1) * pivot_weight
    if m == 2:
        return State(a, U, V, cross, weights, None, terms)
    leverage = weights / pivot_weight[..., None]  # 0 on the diagonal
    others = np.add.reduce((1 - chart.pivot) * leverage * V, -1)
    return State(a, U, V - chart.pivot * others[..., None], cross, weights, leverage, terms)


def _cross_weights(B, delta, signs):
    """(c_js, its first term B_j2 B_s1), (..., m, m): c to relative precision for parallel neurons."""
    terms = B[..., 1][..., :, None] * B[..., 0][..., None, :]
    side = signs[..., 0] * signs[..., 1]
    alike = side[..., :, None] * side[..., None, :] > 0
    shrink = np.expm1(3 * (delta[..., :, None] - delta[..., None, :]))
    return np.where(alike, -terms * shrink, terms - terms.swapaxes(-1, -2)), terms


def velocity(layout, chart, y):
    """dy/ds, the flow of dL/dW and kappa dL/dE on the clock s; shapes as y."""
    m, setting = layout.m, layout.setting
    state = decode(layout, chart, y)
    M = population.moments(state.a, population.gram_of(state.U), state.E, setting)
    R = population.pull(M, state.cross, setting)
    growth = population.overlap_growth(M, R, state.a, state.E, setting)
    grad_U = population.factor_gradient(M, state.U, state.E, setting)
    dt_ds = chart.gauge / _pace(layout, chart, y, state, M, grad_U)
    out = np.empty(y.shape, y.dtype)
    lead = y.shape[:-1]
    out[..., : 2 * m] = growth.reshape(*lead, -1)
    ratio = growth[..., 0] - growth[..., 1]
    out[..., 2 : 2 * m : 2] = ratio[..., 1:] - ratio[..., :1]
    out[..., 2 * m : 2 * m + m * m] = -grad_U.reshape(*lead, -1)
    if layout.trained:
        head = layout.head_rates * population.head_gradient(M, R, setting)
        if m > 2:
            head = _fold_velocity(head, growth, state, chart.pivot)
        out[..., 2 * m + m * m : -1] = head.reshape(*lead, -1)
    out[..., -1] = 1 / chart.unit
    return out * dt_ds[..., None]


def _pace(layout, chart, y, state, M, grad_U):
    """Norm of the rates of log t, log|a| and log||w_r^perp||, (...), without the stiff motion.

    X_j is replaced by its terms' size times what X_j was of it when the step began: X_j may
    change a millionfold within a stiff step, its terms do not.
    """
    cross = chart.stiff * _cross_size(M.B, chart.pivot) if layout.trained else state.cross
    R = population.pull(M, cross, layout.setting)
    growth = population.overlap_growth(M, R, state.a, state.E, layout.setting)
    decay = np.add.reduce(state.U * grad_U, -1) / np.add.reduce(state.U * state.U, -1)
    since_start = chart.t + chart.unit * (1 + y[..., -1])
    rates2 = np.add.reduce(growth * growth, (-1, -2)) + np.add.reduce(decay * decay, -1)
    return np.sqrt(rates2 + 1 / (since_start * since_start))


def _cross_size(B, pivot):
    """Size of the two terms of c_jp, (..., m), smooth and without cancellation."""
    first = B[..., 1][..., :, None] * B[..., 0][..., None, :]
    second = first.swapaxes(-1, -2)
    return np.sqrt(np.add.reduce((first * first + second * second) * pivot, -1))


def _fold_velocity(head, growth, state, pivot):
    """dV/dt from dE/dt: the pivot entry moves by d/dt sum_s (c_js / c_jp) E_js."""
    first = growth[..., 1][..., :, None] + growth[..., 0][..., None, :]  # rates of the terms, over 3
    second = first.swapaxes(-1, -2)
    turn = 3 * (first * state.weights + (first - second) * state.terms.swapaxes(-1, -2))  # dc_js / dt
    pivot_turn = np.add.reduce(turn * pivot, -1)[..., None]
    pivot_weight = np.add.reduce(state.weights * pivot, -1)[..., None]
    turn = (turn - state.leverage * pivot_turn) / pivot_weight  # d/dt (c_js / c_jp), 0 at the pivot
    moved = np.add.reduce(state.leverage * head + (1 - pivot) * turn * state.E, -1)[..., None]
    return (1 - pivot) * head + pivot * moved


def _largest(weights):
    """One-hot (..., m, m): the entry of row j with the largest |c_js|, never the diagonal."""
    m = weights.shape[-1]
    size = np.where(np.eye(m, dtype=bool), -1.0, np.abs(weights))
    return (np.arange(m) == size.argmax(-1)[..., None]).astype(float)


def rechart(layout, chart, y, rows, state):
    """The same states (R, n) at the start of a step: writes chart[rows], returns y.

    `state` is y decoded. New pivots, new first values of X; the clock runs on without a jump.
    """
    m, y = layout.m, y.copy()
    M = population.moments(state.a, population.gram_of(state.U), state.E, layout.setting)
    grad_U = population.factor_gradient(M, state.U, state.E, layout.setting)
    before = _pace(layout, chart.take(rows, 2), y, state, M, grad_U)
    chart.t[rows] = time(chart, y, rows)
    y[:, -1] = 0
    if layout.trained:
        pivot = _largest(state.weights)
        pivot_weight = np.add.reduce(state.weights * pivot, -1)
        # m = 2: x is the entry itself, also where c_jp passes through 0
        x = np.add.reduce(state.E * pivot, -1) if m == 2 else state.cross / pivot_weight
        chart.pivot[rows], chart.stiff[rows] = pivot, state.cross / _cross_size(M.B, pivot)
        y[:, 2 * m + m * m : -1] = (state.E * (1 - pivot) + x[..., None] * pivot).reshape(len(y), -1)
        chart.gauge[rows] *= _pace(layout, chart.take(rows, 2), y, state, M, grad_U) / before
    return y


def error_scale(layout, chart, y, rows):
    """What an error in each component is compared with, (R, n)."""
    m, R = layout.m, y.shape[0]
    state = decode(layout, chart.take(rows, y.ndim), y)
    norms = np.sqrt(np.add.reduce(state.U**2, -1))
    scale = np.ones(y.shape)
    scale[:, 2 * m : 2 * m + m * m] = np.repeat(norms, m, axis=1)
    if layout.trained:
        B = (layout.setting.alpha * state.a) ** 3
        noise = 15 * layout.setting.nu * (layout.setting.sigma * norms) ** 6
        spread = np.sqrt(layout.setting.mu11 / 2 * (B**2).sum(-1) + noise)  # std of f_j
        floor = HEAD_FLOOR * np.minimum(1, spread[:, :, None] / spread[:, None, :])
        scale[:, 2 * m + m * m : -1] = (np.abs(state.E) + floor).reshape(R, -1)
    scale[:, -1] += chart.t[rows] / chart.unit[rows]
    return scale


def time(chart, y, rows):
    """t (R,) of states y (R, n) reached in the current step."""
    return chart.t[rows] + chart.unit[rows] * y[..., -1]
