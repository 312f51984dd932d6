"""Coordinates in which the flow of docs/theory.md, section 2, can be integrated over 40 decades of time.

A state is one row y (n,) per trajectory; matrices stand in it column after column (see `layout`):

    A       m K      log|a_jl|, but for delta_jl in the place of log|a_jl| where j > 1 and l < K; the
                     signs of the overlaps are conserved and kept aside
    U       m m      factor of the noise Gram, rows w_r^perp
    V       m m      the head (only the entries that follow the gradient), some rows folded, see `crossing`
    theta   1        time since the step began, in units of stretch.unit, see `stretch`

**Why V.** Once two features are learned, row j of the head feels one stiff force along X_j, and m - 2
directions that the noise alone moves, slower by up to 30 orders of magnitude. In the coordinates
E_js the stiff direction is oblique and the rounding of its rate, 1e-16 times 1e7, drowns the slow
ones: this is what stops integrators for m >= 3. In a folded row the stiff direction is a
coordinate, the Jacobian is graded, and elimination keeps every rate to relative precision. The
pivot is chosen anew after every step (`rechart`). A row keeps its plain entries where the terms
of X_j do not cancel (always at m = 2): there X_j is precise anyway, and x_j could be far larger
than the entry in whose place it stands. It keeps them too where X_j is not what pulls: with one
feature, with an objective that has every c_ij, without batch norm, and in a head whose entries are
tied. With more than two features there is an X_j for each pair of them, of very different stiffness,
and a row is folded along the stiffest. What the head leaves of the noise in F_j can cancel too;
there it is enough to compute it as a norm (`moments`).

**Why delta.** When all neurons become parallel (B_j in proportion), every c_js vanishes and the
stiff force acts on the overlaps instead. With delta_jl = log|a_jl / a_jK| - log|a_1l / a_1K| as a
coordinate, c_js = B_jl B_sl' (1 -+ exp(3 (delta_sl - delta_jl) - ...)) loses no digits there.
"""

from typing import NamedTuple

import numpy as np

from simsim import population
from simsim.flow import crossing, stretch
from simsim.flow.layout import take
from simsim.flow.stretch import Stretch

HEAD_FLOOR = 0.1  # accuracy asked of E_jr where it is near 0, against what it does to F_j


class Chart(NamedTuple):
    """What is constant within a step, per trajectory."""

    signs: np.ndarray  # (S, m, K) of the overlaps
    folded: np.ndarray  # (S, P, m, m) one-hot pair of features and pivot in the rows that are folded, else 0
    held: np.ndarray  # (S, m, m) the head where it does not move
    stretch: Stretch | None  # None where time itself is the variable, see `noiseless`

    def take(self, rows, ndim):
        """The rows' chart, shaped to broadcast against y of `ndim` dimensions."""

        def part(field):
            field = field if rows.size == len(field) else take(field, rows)
            return field[(slice(None), *(None,) * (ndim - 2))]

        return Chart(part(self.signs), part(self.folded), part(self.held), self.stretch and Stretch(*map(part, self.stretch)))


class FlowState(NamedTuple):
    """y in the theory's variables; leading axes as in y."""

    a: np.ndarray  # (..., m, K)
    B: np.ndarray  # (..., m, K)
    U: np.ndarray  # (..., m, m)
    E: np.ndarray  # (..., m, m)
    X: list  # X_ij of eq. 27 for each pair of features, as c_ij of the objective, to relative precision
    weights: list  # (..., m, m) c_js for each pair
    terms: list  # (..., m, m) B_jl' B_sl for each pair; c = terms^T - terms


def chart_in_plain_time(equations, a, U, E):
    """(chart, y (S, n)) from overlaps, noise factors and heads; the last component of y is 0."""
    S, m = a.shape[:2]
    a, U, E = (np.array(part, dtype=float, order="F") for part in (a, U, np.broadcast_to(E, (S, m, m))))
    pairs = len(population.feature_pairs(equations.features))
    chart = Chart(np.sign(a), np.zeros((S, pairs, m, m), order="F"), E, None)
    return chart, _components(_from_logs(np.log(np.abs(a))), U, moving(equations, E), np.zeros(S))


def chart_of_start(equations, a, U, E, unit):
    """(chart, y (S, n)) at t = 0 from overlaps, noise factors, heads and a unit of time (S,)."""
    chart, y = chart_in_plain_time(equations, a, U, E)
    state = decode(equations, chart, y)
    M = moments(equations, state)
    return chart._replace(stretch=stretch.stretch_of_start(equations, unit, state, M, forces(equations, state, M))), y


def decode(equations, chart, y):
    """`FlowState` of y (..., n); `chart` already taken and shaped."""
    m, setting, lead = equations.m, equations.setting, y.shape[:-1]
    A, U, entries = parts(equations, y)
    a = chart.signs * crossing.exp(logs(A))
    B = population.answers(a, setting)
    weights, terms = [], []
    if m > 1 and equations.objective.batch_norm:
        delta = A.copy("K")
        delta[..., 0, :] = delta[..., -1] = 0
        weights, terms = crossing.cross_weights(B, delta, chart.signs)
    if equations.head_moves:
        E = _assemble(equations, chart, entries)
        if is_folded(equations):
            return FlowState(a, B, U, *crossing.unfold(E, weights, chart.folded), weights, terms)
    elif equations.head_is_set:
        E = equations.head_from(a, population.gram_of(U))
    else:
        E = np.broadcast_to(chart.held, (*lead, m, m))
    return FlowState(a, B, U, E, crossing.crossings(E, weights, equations.objective.crosses), weights, terms)


def is_folded(equations):
    """Whether rows of the head may be folded."""
    objective = equations.objective
    stiff = equations.features > 1 and not objective.crosses and objective.batch_norm
    return equations.m > 2 and equations.entries_are_free and stiff


def head(equations, chart, y):
    """E (..., m, m) of y alone, cheaper than `decode` where rows are not folded."""
    if equations.head_moves and not is_folded(equations):
        return _assemble(equations, chart, parts(equations, y)[2])
    return decode(equations, chart, y).E


def _assemble(equations, chart, entries):
    """V (..., m, m): the head that does not move, with the `entries` that do, shaped as in `moving`."""
    V = np.empty((*entries.shape[:-2], equations.m, equations.m), entries.dtype, order="F")
    V[...] = chart.held
    if equations.symmetric:
        for entry, (j, r) in enumerate(equations.triangle):
            V[..., j, r] = V[..., r, j] = entries[..., entry, 0]
    else:
        moving(equations, V)[...] = entries
    return V


def moving(equations, E):
    """The entries of E (..., m, m) that move, (..., *equations.shape_of_moving).

    A view on them, but for the P entries of a symmetric head that stand in its lower triangle: each moves with its mirror
    image, and as coordinates both would differ by a rounding on which no force acts.
    """
    m, lead = equations.m, E.shape[:-2]
    if not equations.head_moves:
        return E[..., :0, :0]
    if equations.symmetric:
        return np.stack([E[..., j, r] for j, r in equations.triangle], axis=-1)[..., None]
    if equations.free_diagonal:
        return E
    flat = E.reshape(*lead, m * m, order="F")  # the first entry is on the diagonal; then follow m off it and one on it
    return flat[..., 1:].reshape(*lead, m + 1, m - 1, order="F")[..., :m, :]


def _components(*parts):
    """(R, n) from arrays (R, ...), each in Fortran's order; the inverse of `parts`."""
    return np.concatenate([part.reshape(len(part), -1, order="F") for part in parts], axis=1)


def parts(equations, y):
    """Views of y: A (..., m, K), U (..., m, m) and the entries of V that move, shaped as in `moving`."""
    m, K, lead = equations.m, equations.features, y.shape[:-1]
    parts = ((y[..., :m * K], (m, K)), (y[..., m * K:m * (K + m)], (m, m)), (y[..., m * (K + m):-1], equations.shape_of_moving))
    return [part.reshape(*lead, *shape, order="F") for part, shape in parts]


def logs(A):
    """log|a| (..., m, K) from A; linear, so good for rates as well."""
    logs = A.copy("K")
    logs[..., 1:, :-1] += A[..., 1:, -1:] + (A[..., :1, :-1] - A[..., :1, -1:])
    return logs


def _from_logs(logs):
    """The inverse of `_to_logs`."""
    A = logs.copy("K")
    A[..., 1:, :-1] -= logs[..., 1:, -1:] + (logs[..., :1, :-1] - logs[..., :1, -1:])
    return A


def moments(equations, state):
    """`population.moments` of a state, with n_j to relative precision where the head has cancelled noise.

    In complex arithmetic, where only derivatives count, without: they lose nothing.
    """
    noise = None
    if equations.head_may_cancel and not np.iscomplexobj(state.E):
        noise = population.head_noise(state.U, state.E, equations.setting)
    return population.moments_of(state.B, population.gram_of(state.U), state.E, equations.setting, noise)


def forces(equations, state, M):
    """`population.Forces` of a state and its moments."""
    if equations.objective_is_of_correlations:
        return population.forces_of(M, state.X, equations.setting, equations.objective)
    return population.forces_of_all(M, state.E, state.weights, equations.setting, equations.objective)


def velocity(equations, chart, y):
    """dy/ds, the flow of dL/dW and kappa dL/dE over the variable s of `stretch`; shapes as y."""
    state = decode(equations, chart, y)
    M = moments(equations, state)
    on = forces(equations, state, M)
    pairs = population.noise_pairs(on, state.E)
    out = np.empty_like(y)
    rates = parts(equations, out)
    _write_rates(equations, chart, state, M, on, rates)
    # The minus sign is a factor, because NumPy is slow at -x where x is complex.
    rates[1][...] = -1.0 * population.factor_gradient(M, pairs, state.U, equations.setting)
    out[..., -1] = 1 / chart.stretch.unit
    out *= stretch.speed(equations, chart.stretch, y[..., -1], state, M, pairs)[..., None]
    return out


def velocity_without_noise(equations, chart, y):
    """dy/dt, over time itself, where the noise that there is stays as it is; shapes as y."""
    state, out = decode(equations, chart, y), np.zeros_like(y)
    M = population.moments_of(state.B, population.gram_of(state.U), state.E, equations.setting)
    _write_rates(equations, chart, state, M, forces(equations, state, M), parts(equations, out))
    return out


def _write_rates(equations, chart, state, M, on, rates):
    """Write the rates of overlaps and head, per unit of t, into their places in `rates`, `parts`; `on` are the forces."""
    growth = population.overlap_growth(on, state.E, state.a, equations.setting)
    A, _, V = rates
    A[...] = _from_logs(growth)
    if equations.head_moves:
        head = equations.head_velocity(M, on)
        if is_folded(equations):
            head = crossing.fold_velocity(state.E, head, growth, state.weights, state.terms, chart.folded)
        V[...] = moving(equations, head)


def velocity_in_theta(chart, y, velocity):
    """The derivative of the velocity (R, n) in theta, (R, n)."""
    return velocity * stretch.slope(chart.stretch, y[..., -1], velocity[..., -1] * chart.stretch.unit)[..., None]


def rechart(equations, chart, y, rows, state, M, forces):
    """The same states (R, n) at the start of a step: writes chart[rows], returns y.

    `state` is y decoded, with its moments `M` and `forces`. dt/ds goes on without a jump.
    """
    y = y.copy("K")
    chart.stretch.t[rows] = time(chart, y, rows)
    y[:, -1] = 0
    refold(equations, chart, y, rows, state)
    stretch.restart(equations, chart.stretch, rows, state, M, forces)
    return y


def refold(equations, chart, y, rows, state):
    """Choose the folded rows of the head anew: writes into chart[rows] and into y, which is `state`."""
    if is_folded(equations):
        chart.folded[rows] = folded = crossing.foldable(state.E, state.X, state.weights)
        V = crossing.fold(state.E, state.X, state.weights, folded)
        parts(equations, y)[2][...] = moving(equations, V)


def error_scale(equations, chart, rows, state, M):
    """What an error in each component is compared with, (R, n), for a state and its moments."""
    head = state.E
    if equations.head_moves:
        spread = np.sqrt(M.G)
        floor = HEAD_FLOOR * np.minimum(1, spread[:, :, None] / spread[:, None, :])
        if equations.free_diagonal:  # what counts is an entry against its row, whose size does not matter
            floor = floor * np.sqrt(np.add.reduce(state.E**2, -1))[..., None]
        head = np.abs(state.E) + floor
    norms = np.sqrt(M.q)[..., None] + np.zeros_like(state.U)
    theta = 1 + chart.stretch.t[rows] / chart.stretch.unit[rows]
    return _components(np.ones_like(state.a), norms, moving(equations, head), theta)


def time(chart, y, rows):
    """t (R,) of states y (R, n) reached in the current step."""
    return chart.stretch.t[rows] + chart.stretch.unit[rows] * y[..., -1]
