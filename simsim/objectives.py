"""Objectives: what is minimised, as a small function of second moments, with its gradient (docs/theory.md, section 6).

Shapes: ... any leading axes, N batch, m neurons.

Every objective here knows a batch, or the population, only by the second moments of the
2m outputs [f(X1), f(X2)],

    C = [[C11, C12], [C12^T, C22]]    (..., 2m, 2m), centred under batch norm and raw without it,

and by the head E (..., m, m). An objective is one function of the second moments of what the loss sees,

    V = [[V11, V12], [V12^T, V22]]    (..., 2m, 2m) of predictions Y and targets Z: [BN F, BN G], or [F, G],

with F = E f(X1) and G = f(X2), and of gap_j, the mean of (Y_j - Z_j)^2, which a caller may know more precisely than V
tells. A new objective is a class with `of`, the loss and its derivative in V; all that follows, down to the gradient in
the outputs and in the head, is the same for all of them, and not to be written again.

Many objectives see of V only the correlations c_ij of prediction i with target j, under batch norm V12 (eq. 26). They are
`OfCorrelations`, for which the population's gradient is known without cancellation (eqs. 27, 28), and the flow with it.

>>> import numpy as np
>>> from simsim import objectives
>>> barlow = objectives.make("barlow", barlow_lambda=0.5)
>>> misfit, c = np.array([0.25, 0.0]), np.array([[0.75, 0.1], [0.1, 1.0]])
>>> round(float(barlow.of_correlations(misfit, c)[0]), 4)  # .25^2 + .5 (.1^2 + .1^2)
0.0725
"""

import dataclasses
import functools
import warnings
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, NamedTuple

import numpy as np

BARLOW_LAMBDA = 1.0  # every c_ij, i != j, counts as much as a c_ii
HINGE_EPSILON = 1e-4  # under the root of VICReg, as its authors have it
DERIVATIVE_STEP, DERIVATIVE_ERROR = 1e-5, 1e-5  # of the check by central differences, relative
TINY = 1e-40  # of a complex step: its square is nothing beside the rounding of anything
SIZES = 1e-2, 1.0, 1e2  # of the second moments at which the check is made, without batch norm


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

    mixing : (..., m or 2m, 2m)
        What dL/df(X1), and below it dL/df(X2), are made of: N df = mixing @ [f(X1); f(X2)],
        that is [2 dC11 | dC12] over [dC12^T | 2 dC22]. Stop-gradient leaves the upper half.
    E : (..., m, m)
    """

    mixing: np.ndarray
    E: np.ndarray


@dataclass(frozen=True)
class Objective:
    """What is common to all objectives; a subclass says in `of` what its loss is, and its fields are its parameters.

    Class attributes: `stops`, whether the objective has stop-gradient if nothing else is said, and
    `head`, the kind of head that it then has; `strict`, both are part of what it is; `needs_batch_norm`;
    `centres`, without batch norm too it sees outputs about their means; `crosses`, more counts than the c_jj; `kinked`,
    without batch norm its gradient jumps where a flow would come to stand, so that it has none; `pace` and `raw_pace`, the
    learning rate it has by default with batch norm and without, as a part of SimSiam's.
    """

    stop_gradient: bool
    batch_norm: bool = True

    stops, head, strict, needs_batch_norm, centres, crosses, kinked = True, "trained", False, False, False, True, False
    at_rest: ClassVar[tuple[str, ...]] = ()  # parameters that mean nothing under batch norm
    pace = 1.0  # part of the usual lr that a loss has by default, with batch norm
    raw_pace = 0.01  # and without, if it is no square of outputs [measured]

    def __init_subclass__(cls):
        for name in ("loss_and_grad", "slopes", "spread"):
            if name in vars(cls) and cls.__module__ != __name__:
                raise TypeError(f"{cls.__name__}.{name}: it follows from `of`, or from `of_correlations`, which is where an "
                                "objective says what its loss is: whatever else measures the loss would not know of it")

    def of(self, V, gap):
        """(loss (...), dV (..., 2m, 2m)): dV is symmetric, and the loss changes by the sum of dV_ab delta V_ab.

        V (..., 2m, 2m) and gap (..., m), gap_j = V_jj + V_(m+j,m+j) - 2 V_(j,m+j); dV is the whole derivative, that
        by way of the gaps included.
        """
        raise NotImplementedError

    @property
    def centred(self):
        """Whether second moments are about the means of the outputs."""
        return self.batch_norm or self.centres

    @property
    def parameters(self):
        """What the objective has beside its two flags, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[2:]}

    def loss_and_grad(self, C, E):
        """(loss (...), MomentGrad) from the second moments C (..., 2m, 2m) and the head E (..., m, m)."""
        m = E.shape[-1]
        T = np.zeros(C.shape, np.result_type(C, E))  # [F; G] = T [f(X1); f(X2)]
        T[..., :m, :m], T[..., m:, m:] = E, np.eye(m)
        TC = T @ C
        V = TC @ T.swapaxes(-1, -2)
        size = np.sqrt(_diagonal(V)) if self.batch_norm else np.ones(V.shape[:-1], V.dtype)
        V = V / (size[..., :, None] * size[..., None, :])
        loss, dV = self.of(V, gaps(V))
        dV = dV.astype(V.dtype, copy=False)
        on_raw = dV / (size[..., :, None] * size[..., None, :])
        if self.batch_norm:  # V_ab = V0_ab / (s_a s_b), and s_a^2 = V0_aa
            _flat(on_raw)[..., ::2 * m + 1] -= _sum(dV * V) / size**2
        mixing = 2 * (T.swapaxes(-1, -2) @ on_raw @ T)
        dE = 2 * (on_raw @ TC)[..., :m, :m]
        return loss, MomentGrad(mixing[..., :m, :] if self.stop_gradient else mixing, dE)


def gaps(V):
    """(..., m) the mean of (Y_j - Z_j)^2, from V (..., 2m, 2m)."""
    m = V.shape[-1] // 2
    variances = _diagonal(V)
    return variances[..., :m] + variances[..., m:] - 2 * _diagonal(V[..., :m, m:])


@dataclass(frozen=True)
class OfCorrelations(Objective):
    """An objective that under batch norm sees the c_ij alone, and without it is the mean square of F - G.

    A subclass says in `of_correlations` what its loss is. Class attributes: `crosses`, it depends on c_ij with i != j, and
    not on the c_jj alone; `needs_batch_norm`, unless a subclass says that the mean square of F - G is its loss without it.
    """

    crosses, raw_pace, needs_batch_norm = False, 1.0, True

    def of_correlations(self, misfit, c):
        """(loss (...), g = dL/dc).

        `misfit` (..., m) is 1 - c_jj, which a caller may know more precisely than the difference
        tells. `c`, and with it g, is (..., m, m); unless `crosses` it is the c_jj alone, (..., m).
        """
        raise NotImplementedError

    def of(self, V, gap):
        """The same as a function of V: c is V12 where the variances are 1; without batch norm the sum of the gaps."""
        m = V.shape[-1] // 2
        dV = np.zeros(V.shape, V.dtype)
        if not self.batch_norm:
            return _sum(gap), dV + gap_weights(m)
        c = V[..., :m, m:]
        loss, g = self.of_correlations(gap / 2, c if self.crosses else _diagonal(c))
        g = g if self.crosses else np.eye(m) * np.broadcast_to(g, V.shape[:-2] + (m,))[..., None]
        dV[..., :m, m:], dV[..., m:, :m] = g / 2, g.swapaxes(-1, -2) / 2
        return loss, dV

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
        mixing, dE = E.swapaxes(-1, -2) @ dF, dF @ C[..., :m]
        if not self.stop_gradient:
            df2 = np.zeros(EC.shape, EC.dtype)  # dL/df(X2) = [cross^T E | target] [f(X1); f(X2)]
            np.matmul(dF[..., m:].swapaxes(-1, -2), E, out=df2[..., :m])
            _flat(df2)[..., m::2 * m + 1] = slopes.target
            mixing = np.concatenate([mixing, df2], axis=-2)
        return loss, MomentGrad(mixing, dE)


class SimSiam(OfCorrelations):
    """2m - 2 tr c, the mean square of BN[F] - BN[G] (eq. 3); without batch norm that of F - G."""

    needs_batch_norm = False

    def of_correlations(self, misfit, c):
        return 2 * _sum(misfit), -2.0


class Naive(SimSiam):
    """The same at E = I and without stop-gradient: both views pulled together, and nothing else."""

    stops, head, strict = False, "frozen", True


@dataclass(frozen=True)
class Barlow(OfCorrelations):
    """sum_i (1 - c_ii)^2 + lambda sum_{i != j} c_ij^2 (Barlow Twins, arXiv:2103.03230)."""

    barlow_lambda: float = BARLOW_LAMBDA

    stops, head, crosses = False, "frozen", True

    def of_correlations(self, misfit, c):
        others = c * off_diagonal_mask(c.shape[-1])
        g = (2 * self.barlow_lambda) * others
        np.einsum("...jj->...j", g)[...] = -2 * misfit
        return _sum(misfit * misfit) + self.barlow_lambda * _sum(_flat(others * others)), g


@dataclass(frozen=True)
class VICReg(Objective):
    """Invariance, variance and covariance (VICReg, Bardes, Ponce and LeCun, ICLR 2022, arXiv:2105.04906).

    l sum_j gap_j + (mu / m) sum_j [hinge(Y_j) + hinge(Z_j)] + (nu / m) sum_{i != j} [V11_ij^2 + V22_ij^2], where hinge is what
    a standard deviation sqrt(V_jj + 1e-4) lacks of 1. Variances and covariances are over N; the authors' code has N - 1.
    Under batch norm every standard deviation is 1, and the second term rests.
    """

    vicreg_invariance: float = 25.0
    vicreg_variance: float = 25.0
    vicreg_covariance: float = 1.0

    stops, head, centres, kinked, at_rest = False, "frozen", True, True, ("vicreg_variance",)
    pace = 0.04  # the gap counts 25 times as much as in SimSiam

    def of(self, V, gap):
        m = V.shape[-1] // 2
        std = np.sqrt(_diagonal(V) + HINGE_EPSILON)
        short = (std.real < 1) * (1 - std)
        within = np.zeros(V.shape[-2:])
        within[:m, :m] = within[m:, m:] = off_diagonal_mask(m)
        covariances = V * within
        loss = (self.vicreg_invariance * _sum(gap) + self.vicreg_variance / m * _sum(short)
                + self.vicreg_covariance / m * _sum(_flat(covariances * covariances)))
        dV = 2 * self.vicreg_covariance / m * covariances + self.vicreg_invariance * gap_weights(m)
        _flat(dV)[..., ::2 * m + 1] -= self.vicreg_variance / (2 * m) * (std.real < 1) / std
        return loss, dV


class Spectral(Objective):
    """-2 tr V12 + tr(V11 V22) (the spectral contrastive loss, HaoChen et al., NeurIPS 2021, arXiv:2106.04156).

    In the population tr(V11 V22) is the mean of (Y . Z')^2 over pairs of independent samples. On a batch it is that over all pairs
    of its samples, a sample with itself among them: without these it would be no function of second moments.
    """

    stops, head, raw_pace = False, "frozen", 0.001

    def of(self, V, gap):
        m = V.shape[-1] // 2
        V11, V12, V22 = V[..., :m, :m], V[..., :m, m:], V[..., m:, m:]
        dV = np.zeros(V.shape, V.dtype)
        dV[..., :m, :m], dV[..., m:, m:] = V22, V11
        _flat(dV)[..., m:2 * m * m:2 * m + 1] = _flat(dV)[..., 2 * m * m::2 * m + 1] = -1
        return _sum(_flat(V11 * V22)) - 2 * _sum(_diagonal(V12)), dV


KINDS = {"simsiam": SimSiam, "naive": Naive, "barlow": Barlow, "vicreg": VICReg, "spectral": Spectral}
OBJECTIVES = tuple(KINDS)
DECLARED = "stops", "head", "strict", "needs_batch_norm", "centres", "kinked", "at_rest", "pace", "raw_pace", "crosses"
PARAMETERS = tuple(field.name for kind in KINDS.values() for field in dataclasses.fields(kind)[2:])  # of one kind each


def make(objective, stop_gradient=None, batch_norm=True, **parameters):
    """The objective of a name; `stop_gradient` None is the objective's own. An `Objective` is what it is.

    Raises ValueError for a name that is none of OBJECTIVES, a flag that is no bool, a parameter that is negative or not
    finite, a pair that makes no sense, and flags beside an Objective that has others.
    """
    if isinstance(objective, Objective):
        return objective
    if not isinstance(objective, str) or objective not in KINDS:
        raise ValueError(f"`objective` must be one of {', '.join(OBJECTIVES)}, or an Objective, got {objective!r}")
    kind = KINDS[objective]
    stop_gradient = kind.stops if stop_gradient is None else stop_gradient
    for flag, value in (("stop_gradient", stop_gradient), ("batch_norm", batch_norm)):
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"`{flag}` must be True or False, got {value!r}")
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise ValueError(f"there is no parameter `{name}` of an objective; there are {', '.join(PARAMETERS)}")
        if not isinstance(value, Real) or not 0 <= value < np.inf:
            raise ValueError(f"`{name}` must be a finite number, at least 0, got {value!r}")
    if kind.strict and stop_gradient != kind.stops:
        raise ValueError(f"`stop_gradient` = {stop_gradient} is not possible: objective {objective} has {kind.stops}")
    if kind.needs_batch_norm and not batch_norm:
        raise ValueError(f"`batch_norm` = {batch_norm} is not possible: objective {objective} is made of correlations")
    own = {field.name for field in dataclasses.fields(kind)}
    return kind(bool(stop_gradient), bool(batch_norm),
                **{name: float(value) for name, value in parameters.items() if name in own})


def from_config(config):
    """The objective of a Config."""
    return make(config.objective, config.stop_gradient, config.batch_norm,
                **{name: getattr(config, name) for name in PARAMETERS})


def ends_are_known(kind):
    """Whether somebody has derived when a flow of such an objective, a class, is at its end: the package's of correlations."""
    return kind in KINDS.values() and issubclass(kind, OfCorrelations)


def kind_of(objective):
    """The class behind a name of KINDS, or of an Objective."""
    return KINDS[objective] if isinstance(objective, str) else type(objective)


def require_derivative(objective, m):
    """ValueError where `of` does not return, for each V (2m, 2m) of a stack, its loss and the derivative of it.

    The stack is of random V, without batch norm of very different sizes. Derivatives are held to central differences along
    two random directions, to 1e-5 of the sizes that enter.
    """
    rng = np.random.default_rng(m)
    V = _random_moments(objective, m, rng)
    loss, dV = _checked(objective, V)
    for one, its_loss, its_dV in zip(V, loss, dV):
        alone = _checked(objective, one)
        if not (np.allclose(alone[0], its_loss) and np.allclose(alone[1], its_dV, atol=1e-8 * np.abs(its_dV).max())):
            raise ValueError(f"{objective}: `of` must take any leading axes, and it has another loss or another dV for a V in a "
                             "stack than for the same V alone")
    for _ in range(2):
        direction = rng.standard_normal(V.shape)
        direction = direction + direction.swapaxes(-1, -2)
        if objective.batch_norm:
            _flat(direction)[..., ::2 * m + 1] = 0
        step = DERIVATIVE_STEP * np.abs(V).max(axis=(-2, -1), keepdims=True)
        ahead, behind = (_checked(objective, V + sign * step * direction)[0] for sign in (1, -1))
        measured, parts = (ahead - behind) / (2 * step[:, 0, 0]), dV * direction
        claimed, size = parts.sum(axis=(-2, -1)), np.abs(parts).sum(axis=(-2, -1))
        wrong = np.abs(claimed - measured) > DERIVATIVE_ERROR * (size + np.abs(measured))
        if wrong.any():
            raise ValueError(f"{objective}: its derivative along a random direction is {claimed[wrong][0]:.6g}, and its loss "
                             f"changes by {measured[wrong][0]:.6g}")


def require_analytic(objective, m):
    """ValueError where complex steps through `of` do not tell its derivatives, as the flow's Jacobian needs them to.

    It is asked at the V of `require_derivative`. What takes a modulus or drops an imaginary part is found out; np.where and
    np.maximum are analytic but where they switch, at which nobody can ask in advance.
    """
    rng = np.random.default_rng(m)
    V = _random_moments(objective, m, rng)
    direction = rng.standard_normal(V.shape)
    direction = direction + direction.swapaxes(-1, -2)
    if objective.batch_norm:
        _flat(direction)[..., ::2 * m + 1] = 0
    dV, step = _checked(objective, V)[1], DERIVATIVE_STEP * np.abs(V).max(axis=(-2, -1), keepdims=True)
    ahead, behind = (_checked(objective, V + sign * step * direction)[1] for sign in (1, -1))
    turned = V + 1j * TINY * direction
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*complex values to real")
            loss, moved = (np.imag(part) / TINY for part in objective.of(turned, gaps(turned)))
    except (TypeError, ValueError, Warning) as error:
        raise ValueError(f"{objective}: the flow takes complex steps through `of`, which takes none: {error}") from None
    slope, change = (dV * direction).sum(axis=(-2, -1)), (ahead - behind) / (2 * step)
    sizes = np.abs(dV * direction).sum(axis=(-2, -1)), np.abs(change).max(axis=(-2, -1)) + np.abs(dV).max(axis=(-2, -1))
    errors = np.abs(loss - slope), np.abs(moved - change).max(axis=(-2, -1))
    if not all((error <= DERIVATIVE_ERROR * size).all() for error, size in zip(errors, sizes)):
        raise ValueError(f"{objective}: the flow takes complex steps through `of`, and along a random direction they tell other "
                         "derivatives than small real steps do; a modulus, as in np.abs and np.linalg.norm, is not analytic")


def require_flow(objective, m):
    """ValueError for an objective that has no flow: whose gradient jumps, or through which no complex step can be taken."""
    if objective.kinked and not objective.batch_norm:
        raise ValueError(f"{objective}: without batch norm its gradient jumps, and where it does the flow comes to stand: it "
                         "has none")
    if type(objective) not in KINDS.values():
        require_analytic(objective, m)


def _random_moments(objective, m, rng):
    """Random V (len(SIZES), 2m, 2m), all normalised under batch norm, and else of the SIZES."""
    samples = rng.standard_normal((len(SIZES), 8 * m, 2 * m)) @ rng.standard_normal((len(SIZES), 2 * m, 2 * m))
    V = samples.swapaxes(-1, -2) @ samples / (16 * m * m)
    sizes = np.sqrt(_diagonal(V)) if objective.batch_norm else 1 / np.sqrt(np.array(SIZES))[:, None]
    return V / (sizes[..., :, None] * sizes[..., None, :])


def _checked(objective, V):
    """`of` at V (..., 2m, 2m), or a ValueError that says what is no loss (...) or no dV (..., 2m, 2m)."""
    try:
        loss, dV = map(np.asarray, objective.of(V, gaps(V)))
    except TypeError as error:
        raise ValueError(f"{objective}: `of` must return a pair, loss and dV: {error}") from None
    if loss.shape != V.shape[:-2] or loss.dtype != V.dtype or not np.isfinite(loss).all():
        raise ValueError(f"{objective}: `of` must return one finite loss of type {V.dtype} for each V, of shape "
                         f"{V.shape[:-2]} here, got {loss.dtype} of shape {loss.shape}")
    if dV.shape not in (V.shape, V.shape[-2:]) or not np.isfinite(dV).all() or not np.allclose(dV, dV.swapaxes(-1, -2)):
        raise ValueError(f"{objective}: `of` must return a finite symmetric dV of the shape of V, {V.shape}, got {dV.shape}")
    return loss, np.broadcast_to(dV, V.shape)


def second_moments(f1, f2, centred):
    """C (..., 2m, 2m) of outputs f1, f2 (..., N, m); about the means if `centred`, as under batch norm."""
    f = np.concatenate([f1, f2], axis=-1)
    if centred:
        f = f - f.mean(axis=-2, keepdims=True)
    return f.swapaxes(-1, -2) @ f / f.shape[-2]


def output_gradient(mixing, f1, f2):
    """[df1, df2], each (..., N, m), from MomentGrad.mixing and the outputs, about their means under batch norm.

    Under stop-gradient there is no df2.
    """
    df = np.concatenate([f1, f2], axis=-1) @ mixing.swapaxes(-1, -2) / f1.shape[-2]
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


@functools.cache
def gap_weights(m):
    """(2m, 2m): the derivative of sum_j gap_j in V."""
    weights = np.eye(2 * m)
    weights[:m, m:] = weights[m:, :m] = -np.eye(m)
    return weights
