"""Objectives: what is minimised, as a small function of second moments, with its gradient (docs/theory.md, section 6).

Shapes: ... any leading axes, N batch, m neurons.

Every objective here knows a batch, or the population, only by the second moments of the
2m outputs [f(X1), f(X2)],

    C = [[C11, C12], [C12^T, C22]]    (..., 2m, 2m), centred under batch norm and raw without it,

and by the head E (..., m, m). Of these it sees three things: the second moments of the
predictions F = E f(X1) and of their targets G = f(X2),

    D_i = (E C11 E^T)_ii,    N_ij = (E C12)_ij,    G_j = C22_jj,

under batch norm even these only through the correlations c_ij = N_ij / sqrt(D_i G_j) (eq. 26).
So a new objective is a class with `of_correlations`, the loss and its derivative in c; all
that follows, down to the gradient in the outputs, is the same for all of them, and analytic.
"""

import functools
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np

BARLOW_LAMBDA = 1.0  # every c_ij, i != j, counts as much as a c_ii


class Slopes(NamedTuple):
    """How a loss pulls at a sample's predictions F and targets G, times the number of samples.

        dL/dF_i: prediction_i F_i + sum_j cross_ij G_j        dL/dG_j: sum_i cross_ij F_i + target_j G_j

    Of the second moments, prediction is 2 dL/dD (..., m), cross dL/dN, (..., m, m) or its diagonal
    (..., m), and target 2 dL/dG (..., m), or None under stop-gradient.
    """

    prediction: np.ndarray
    cross: np.ndarray
    target: np.ndarray | None


class MomentGrad(NamedTuple):
    """The gradient of an objective, diagonal of the head included.

    outputs : (..., m or 2m, 2m)
        What dL/df(X1), and below it dL/df(X2), are made of: N df = outputs @ [f(X1); f(X2)],
        that is [2 dC11 | dC12] over [dC12^T | 2 dC22]. Stop-gradient leaves the upper half.
    E : (..., m, m)
    """

    outputs: np.ndarray
    E: np.ndarray


@dataclass(frozen=True)
class Objective:
    """What is common to all objectives; a subclass says what its loss is in terms of correlations.

    Class attributes: `stops`, whether the objective has stop-gradient if nothing else is said, and
    `head`, the kind of head that it then has; `strict`, both are part of what it is; `needs_batch_norm`;
    `crosses`, it depends on c_ij with i != j, and not on the c_jj alone.
    """

    stop_gradient: bool
    batch_norm: bool = True
    barlow_lambda: float = BARLOW_LAMBDA

    stops, head, strict, needs_batch_norm, crosses = True, "trained", False, False, False

    def of_correlations(self, misfit, c):
        """(loss (...), g = dL/dc).

        `misfit` (..., m) is 1 - c_jj, which a caller may know more precisely than the difference
        tells. `c`, and with it g, is (..., m, m); unless `crosses` it is the c_jj alone, (..., m).
        """
        raise NotImplementedError

    def slopes(self, D, N, G, misfit=None):
        """(loss (...), Slopes) from D and G (..., m) and from N, shaped as c in `of_correlations`."""
        if not self.batch_norm:
            two = np.full_like(D, 2)
            return _sum(D + G - 2 * N), Slopes(two, -two, None if self.stop_gradient else two)
        s = self.spread(D, G)
        c = N / s
        if misfit is None:
            misfit = 1 - (_diagonal(c) if self.crosses else c)
        loss, g = self.of_correlations(misfit, c)
        moved = -g * c
        prediction = (_sum(moved) if self.crosses else moved) / D
        if self.stop_gradient:
            return loss, Slopes(prediction, g / s, None)
        return loss, Slopes(prediction, g / s, (np.add.reduce(moved, -2) if self.crosses else moved) / G)

    def spread(self, D, G):
        """s_ij = sqrt(D_i G_j), or s_jj (eq. 26)."""
        rows, columns = np.sqrt(D), np.sqrt(G)
        return rows[..., :, None] * columns[..., None, :] if self.crosses else rows * columns

    def loss_and_grad(self, C, E):
        """(loss (...), MomentGrad) from the second moments C (..., 2m, 2m) and the head E (..., m, m)."""
        m = E.shape[-1]
        EC = E @ C[..., :m, :]  # [E C11 | E C12]
        N = EC[..., m:]
        loss, slopes = self.slopes(_sum(EC[..., :m] * E), N if self.crosses else _diagonal(N), _diagonal(C)[..., m:])
        dF = np.zeros(EC.shape, EC.dtype)  # dL/dF = [prediction E | cross] [f(X1); f(X2)]
        np.multiply(slopes.prediction[..., None], E, out=dF[..., :m])
        place = dF[..., m:] if self.crosses else _flat(dF)[..., m::2 * m + 1]
        place[...] = slopes.cross
        outputs, dE = E.swapaxes(-1, -2) @ dF, dF @ C[..., :m]
        if not self.stop_gradient:
            df2 = np.zeros(EC.shape, EC.dtype)  # dL/df(X2) = [cross^T E | target] [f(X1); f(X2)]
            np.matmul(dF[..., m:].swapaxes(-1, -2), E, out=df2[..., :m])
            _flat(df2)[..., m::2 * m + 1] = slopes.target
            outputs = np.concatenate([outputs, df2], axis=-2)
        return loss, MomentGrad(outputs, dE)


class SimSiam(Objective):
    """2m - 2 tr c, the mean square of BN[F] - BN[G] (eq. 3); without batch norm that of F - G."""

    def of_correlations(self, misfit, c):
        return 2 * _sum(misfit), -2.0


class Naive(SimSiam):
    """The same at E = I and without stop-gradient: both views pulled together, and nothing else."""

    stops, head, strict = False, "frozen", True


class Barlow(Objective):
    """sum_i (1 - c_ii)^2 + lambda sum_{i != j} c_ij^2 (Barlow Twins, arXiv:2103.03230)."""

    stops, head, needs_batch_norm, crosses = False, "frozen", True, True

    def of_correlations(self, misfit, c):
        others = c * off_diagonal_mask(c.shape[-1])
        g = (2 * self.barlow_lambda) * others
        np.einsum("...jj->...j", g)[...] = -2 * misfit
        return _sum(misfit * misfit) + self.barlow_lambda * _sum(_flat(others * others)), g


KINDS = {"simsiam": SimSiam, "naive": Naive, "barlow": Barlow}
OBJECTIVES = tuple(KINDS)


def make(name, stop_gradient=None, batch_norm=True, barlow_lambda=BARLOW_LAMBDA):
    """The objective of that name; `stop_gradient` None is the objective's own.

    Raises ValueError for a name that is none of OBJECTIVES, a flag that is no bool, a barlow_lambda that is negative or
    not finite, and for a pair that makes no sense.
    """
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"`objective` must be one of {', '.join(OBJECTIVES)}, got {name!r}")
    kind = KINDS[name]
    stop_gradient = kind.stops if stop_gradient is None else stop_gradient
    for flag, value in (("stop_gradient", stop_gradient), ("batch_norm", batch_norm)):
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"`{flag}` must be True or False, got {value!r}")
    if not isinstance(barlow_lambda, Real) or not 0 <= barlow_lambda < np.inf:
        raise ValueError(f"`barlow_lambda` must be a finite number, at least 0, got {barlow_lambda!r}")
    if kind.strict and stop_gradient != kind.stops:
        raise ValueError(f"`stop_gradient` = {stop_gradient} is not possible: objective {name} has {kind.stops}")
    if kind.needs_batch_norm and not batch_norm:
        raise ValueError(f"`batch_norm` = {batch_norm} is not possible: objective {name} is made of correlations")
    return kind(bool(stop_gradient), bool(batch_norm), float(barlow_lambda))


def from_config(config):
    """The objective of a Config."""
    return make(config.objective, config.stop_gradient, config.batch_norm, config.barlow_lambda)


def second_moments(f1, f2, centred):
    """C (..., 2m, 2m) of outputs f1, f2 (..., N, m); about the means if `centred`, as under batch norm."""
    f = np.concatenate([f1, f2], axis=-1)
    if centred:
        f = f - f.mean(axis=-2, keepdims=True)
    return f.swapaxes(-1, -2) @ f / f.shape[-2]


def output_gradient(outputs, f1, f2):
    """[df1, df2], each (..., N, m), from MomentGrad.outputs and the outputs, about their means under batch norm.

    Under stop-gradient there is no df2.
    """
    df = np.concatenate([f1, f2], axis=-1) @ outputs.swapaxes(-1, -2) / f1.shape[-2]
    return np.split(df, df.shape[-1] // f1.shape[-1], axis=-1)


def _sum(x):
    """Sum over the last axis, without the overhead of `np.sum`."""
    return np.add.reduce(x, -1)


def _diagonal(x):
    """(..., m) the diagonals of (..., m, m), to read."""
    return x.diagonal(0, -2, -1)


def _flat(x):
    """The last two axes as one; of a contiguous array a view, to write diagonals into."""
    return x.reshape(x.shape[:-2] + (-1,))


@functools.cache
def off_diagonal_mask(m):
    """(m, m): 0 on the diagonal, 1 elsewhere."""
    return 1 - np.eye(m)
