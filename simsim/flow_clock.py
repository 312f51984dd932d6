"""The clock on which the flow is integrated: dt/ds = gauge / pace.

The pace is the norm of the rates of log t, log|a| and log||w_r^perp||. On this clock the
finite-time blow-up of phase I and the power laws of the tails are straight lines.

Within a step it must not feel what is stiff. X_j (the bracket of eq. 7) and the noise n_j
that the head leaves in F_j may change a millionfold while they settle, and a rate may be a
small difference of the terms that they drive: a clock tied to them would turn their jitter
into a jitter of time. So X, n and the rates are each replaced by the size of their terms,
which is smooth, times the ratio of the two when the step began. The gauge makes dt/ds
continuous from step to step.

Shapes: S trajectories, m neurons; leading axes ... as in flow_state.
"""

import functools
from typing import NamedTuple

import numpy as np

from simsim import population


class Clock(NamedTuple):
    """What is constant within a step, per trajectory; the ratios are (value / size of its terms)^2."""

    t: np.ndarray  # (S,) time when the step began
    unit: np.ndarray  # (S,) unit of time
    gauge: np.ndarray  # (S,)
    cross: np.ndarray  # (S, m) ratio of X_j
    noise: np.ndarray  # (S, m) ratio of n_j
    growth: np.ndarray  # (S, m, 2) ratio of the rate of log|a|
    decay: np.ndarray  # (S, m) ratio of the rate of log||w_r^perp||


def start(unit, state, M, pairs, setting):
    """The clock at t = 0 for units of time (S,): dt/ds = 1 / pace."""
    S, m = M.q.shape
    clock = Clock(np.zeros(S), unit, *np.ones((1, S)), *np.ones((2, S, m)), np.ones((S, m, 2)), np.ones((S, m)))
    restart(clock, np.arange(S), state, M, pairs, setting)
    clock.gauge[:] = 1
    return clock


def restart(clock, rows, state, M, pairs, setting):
    """Take the ratios at the start of a step: writes into clock[rows], dt/ds stays as it was.

    Factors that do not move are left in the ratios.
    """
    now = Clock(*(field[rows] for field in clock))
    slow = speed(now, 0, state, M, pairs)
    if state.terms is not None:
        now.cross[:] = (setting.mu11 / 2 * state.cross) ** 2 / _cross_size(state.terms)
    now.noise[:] = M.noise * M.noise / _noise_size(state.E, M.K)
    growth = population.overlap_growth(M, population.pull(M, state.cross, setting), state.a, setting) ** 2
    decay = (6 * np.add.reduce(pairs * M.K, -1) / M.q) ** 2
    growth_size, decay_size = _sizes(now, state, M, pairs)
    now.growth[:], now.decay[:] = growth / growth_size, decay / decay_size
    now.gauge[:] = slow * _pace(now, 0, growth, decay)
    for field, value in zip(clock, now):
        field[rows] = value


def speed(clock, theta, state, M, pairs):
    """dt/ds, (...), theta units of time after the step began; M are the moments, `pairs` as in eq. 10."""
    growth, decay = _sizes(clock, state, M, pairs)
    return clock.gauge / _pace(clock, theta, clock.growth * growth, clock.decay * decay)


def _pace(clock, theta, growth, decay):
    """Norm of the rates, (...), from their squares."""
    since_start = clock.t + clock.unit * (1 + theta)
    squares = np.add.reduce(growth, (-1, -2)) + np.add.reduce(decay, -1)
    return np.sqrt(squares + 1 / (since_start * since_start))


def _sizes(clock, state, M, pairs):
    """Squared sizes of the terms of the rates of log|a|, (..., m, 2), and log||w_r^perp||, (..., m)."""
    weight = M.per_D * M.per_D
    terms = (weight * clock.noise * _noise_size(state.E, M.K))[..., None] * (M.B * M.B)
    if state.terms is not None:
        cross = weight * clock.cross * _cross_size(state.terms)
        terms = terms + cross[..., None] * (M.H * M.H)[..., ::-1]
    decay = pairs * M.K / M.q[..., None]
    return state.a * state.a * ((M.E_s * M.E_s) @ terms), np.add.reduce(decay * decay, -1)


def _noise_size(E, K):
    """Squared size of the terms of n_j, (..., m)."""
    size = np.add.reduce(E * E * K.diagonal(axis1=-2, axis2=-1)[..., None, :], -1)
    return size * size


def _cross_size(terms):
    """Squared size of the terms of the c_js, s != j, (..., m)."""
    squares = terms * terms * _others(terms.shape[-1])
    return np.add.reduce(squares + squares.swapaxes(-1, -2), -1)


@functools.cache
def _others(m):
    return 1 - np.eye(m)
