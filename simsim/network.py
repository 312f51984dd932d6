"""The network, forward and backward: convolution with a power as its activation, head, batch norm, loss.

Shapes: N batch, P patches, m neurons.

Each operation is a pair, `forward -> (out, cache)` and `backward(dout, cache)`,
written one below the other. The chain takes pre-activations U = <w_i, X_p>, of
shape (N, P, m), and returns the gradient with respect to them, so it does not
know where they come from: `loss_and_grad` makes them from patches, the SGD
engines in ways of their own. A patch that a view does not have contributes a
pre-activation of zero, which adds nothing to either pass.

Written out sample by sample, this is the reference for what `objectives` does with second moments.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from simsim import activation, objectives
from simsim.activation import CUBIC

# A coordinate counts as constant when its spread is rounding of its size.
CONSTANT_ULPS = 8
CONSTANT = "batch norm of a constant: the output does not vary over the batch; use a larger batch_size"
NOT_FINITE = "the output is not finite; use a smaller lr or head_lr, or weaker features"
AT_ONCE = "the output is not finite; start from smaller weights, or use weaker features"
TOO_SMALL = "the square of the output is too small for a number; use larger weights or stronger features"


@functools.cache
def usable_sizes(dtype):
    """Smallest and largest size of an output that leaves all digits to it and, being its inverse, to its gradient."""
    info = np.finfo(dtype)
    return float(info.tiny / info.eps), float(info.eps / info.tiny)


class NetworkError(ArithmeticError):
    """A forward pass that has no value; `neuron` counts from 1 (None: unknown)."""

    def __init__(self, message, neuron=None):
        super().__init__(message)
        self.neuron = neuron


def conv_forward(U, power=CUBIC):
    """f_i = sum_p u_ip^power, (N, P, m) -> (N, m) (docs/theory.md, eq. 2)."""
    return np.einsum("npi->ni", activation.of(U, power)), (U, power)


def conv_backward(df, cache):
    """dU (N, P, m) from df (N, m)."""
    return activation.slope(*cache) * df[:, None, :]


def head_forward(f, E):
    """F = E f for every sample, (N, m) -> (N, m)."""
    return f @ E.T, (f, E)


def head_backward(dF, cache):
    """df (N, m) and dE (m, m) from dF (N, m)."""
    f, E = cache
    return dF @ E, dF.T @ f  # F_nj = sum_r E_jr f_nr


def batch_norm_forward(F):
    """Zero mean and unit biased variance over the batch, per coordinate; no epsilon.

    Raises NetworkError where a coordinate is not finite, beyond `usable_sizes`, or does not vary.
    """
    largest, (smallest, limit) = np.abs(F).max(axis=0), usable_sizes(F.dtype)
    # Squares of what is usable may still overflow. A power of two as the unit changes no digit.
    unit = np.ldexp(np.ones_like(largest), np.frexp(largest)[1])
    centred = (F - F.mean(axis=0)) / unit
    std = np.sqrt((centred * centred).mean(axis=0))
    varies = std > CONSTANT_ULPS * np.finfo(F.dtype).eps * (largest / unit)
    good = varies & (smallest <= largest) & (largest <= limit)
    if not good.all():
        neuron = int(np.argmin(good))
        raise NetworkError(_without_norm(largest[neuron], F.dtype), neuron + 1)
    Y = centred / std
    return Y, (Y, std * unit)


def batch_norm_backward(dY, cache):
    """dF (N, m) from dY (N, m)."""
    Y, std = cache
    # Y = centred / std: take out what moves the mean, and what moves the std.
    return (dY - dY.mean(axis=0) - Y * (dY * Y).mean(axis=0)) / std


def centre_forward(F):
    """Zero mean over the batch, per coordinate, and no cache."""
    return F - F.mean(axis=0), None


def centre_backward(dY, _):
    """dF (N, m) from dY (N, m)."""
    return dY - dY.mean(axis=0)


def objective_forward(Y, Z, objective):
    """The loss, a function of second moments V = (1/N) sum_n [Y_n; Z_n] [Y_n; Z_n]^T, and of the mean of (Y - Z)^2."""
    seen, apart = np.concatenate([Y, Z], axis=1), Y - Z
    loss, dV = objective.of(seen.T @ seen / len(Y), (apart * apart).sum(axis=0) / len(Y))
    return loss, (seen, dV)


def objective_backward(cache):
    """dY and dZ (N, m)."""
    seen, dV = cache
    return np.split((2 / len(seen)) * seen @ dV, 2, axis=1)


class PreactivationGrad(NamedTuple):
    """Gradient of an objective: `U1`, `U2` (N, P, m), None where stop-gradient cuts; `E` (m, m)."""

    U1: np.ndarray
    U2: np.ndarray | None
    E: np.ndarray


def chain(U1, U2, E, objective, power=CUBIC):
    """The loss and its gradient from the two views' pre-activations.

        view 1:  U1 -> f(X1) -> F = E f(X1) -> Y = BN[F]
        view 2:  U2 -> G = f(X2)            -> Z = BN[G]        loss of the second moments of Y and Z

    Parameters
    ----------
    U1, U2 : (N, P, m) pre-activations of view 1 and view 2
    E : (m, m) head
    objective : objectives.Objective
        Without `batch_norm`, Y = F and Z = G, about their means if it centres them. With `stop_gradient` nothing flows back
        into view 2.
    power : int, of the activation

    Returns
    -------
    loss : float
    grad : PreactivationGrad, with `U2` None under stop-gradient and the diagonal of `E` included
    """
    identity = (lambda F: (F, None), lambda dY, _: dY)
    forward, backward = ((batch_norm_forward, batch_norm_backward) if objective.batch_norm else
                         (centre_forward, centre_backward) if objective.centres else identity)
    f1, conv1 = conv_forward(U1, power)
    F, head = head_forward(f1, E)
    G, conv2 = conv_forward(U2, power)
    Y, norm1 = forward(F)
    Z, norm2 = forward(G)
    loss, cache = objective_forward(Y, Z, objective)
    if not np.isfinite(loss):
        raise NetworkError("the loss is not finite; use a smaller lr or head_lr, or weaker features")

    dY, dZ = objective_backward(cache)
    dF = backward(dY, norm1)
    df1, dE = head_backward(dF, head)
    dU1 = conv_backward(df1, conv1)
    if objective.stop_gradient:
        return float(loss), PreactivationGrad(dU1, None, dE)
    dG = backward(dZ, norm2)
    return float(loss), PreactivationGrad(dU1, conv_backward(dG, conv2), dE)


class Grad(NamedTuple):
    """Gradient with respect to the weights `W` (m, d) and the head `E` (m, m)."""

    W: np.ndarray
    E: np.ndarray


def loss_and_grad(W: ArrayLike, E: ArrayLike, X1: ArrayLike, X2: ArrayLike, *, objective: str | objectives.Objective = "simsiam",
                  stop_gradient: bool | None = None, batch_norm: bool = True, power: int = CUBIC,
                  **parameters: float) -> tuple[float, Grad]:
    """Loss of one batch of masked views and its hand-written gradient; without options, the loss (3).

    Parameters
    ----------
    W : (m, d) weights
    E : (m, m) head
    X1, X2 : (N, P, d) masked views, zero where a patch is missing
    objective : one of objectives.OBJECTIVES, or an `objectives.Objective`, which has flags and parameters of its own
    stop_gradient : bool
        Whether view 2 is data to the gradient [the objective's own: simsiam True, the others False].
    batch_norm : bool
    power : int, at least 1
        The activation is z -> z^power.
    **parameters : float
        `barlow_lambda`, and the others of `objectives.PARAMETERS`.

    Returns
    -------
    loss : float
    grad : Grad
        `grad.W` (m, d) and `grad.E` (m, m), its diagonal included though
        training leaves it at 1.

    Numbers may come as anything that NumPy makes an array of; the gradient has
    the precision of the most precise of them, float32 at least.

    Raises
    ------
    ValueError
        The shapes do not fit together, there are other numbers than finite real ones, the objective
        and its flags do not go together, or `power` is no whole number above 0.
    NetworkError
        A coordinate is constant over the batch, not finite, or beyond what floating point can standardise.

    >>> import numpy as np
    >>> import simsim
    >>> rng = np.random.default_rng(0)
    >>> X1, X2 = simsim.draw_views(simsim.Config(d=50, batch_size=100), rng)
    >>> loss, grad = simsim.loss_and_grad(rng.standard_normal((2, 50)), np.eye(2), X1, X2)
    >>> grad.W.shape, grad.E.shape
    ((2, 50), (2, 2))
    """
    arrays = {"W": W, "E": E, "X1": X1, "X2": X2}
    W, E, X1, X2 = (real_array(*item) for item in arrays.items())
    _check_shapes(W, E, X1, X2)
    activation.require(power)
    objective = objectives.make(objective, stop_gradient, batch_norm, **parameters)
    dtype = np.result_type(W, E, X1, X2, np.float32)
    W, E, X1, X2 = (array.astype(dtype, copy=False) for array in (W, E, X1, X2))
    with np.errstate(all="ignore"):  # what overflows is caught by name
        loss, grad = chain(X1 @ W.T, X2 @ W.T, E, objective, power)
        dW = sum((np.tensordot(dU, X, axes=((0, 1), (0, 1)))  # u_npi = <w_i, X_np>
                  for dU, X in ((grad.U1, X1), (grad.U2, X2)) if dU is not None), start=np.zeros_like(W))
    return loss, Grad(dW, grad.E)


def real_array(name: str, values: ArrayLike, finite: bool = True) -> np.ndarray:
    """`values` as an array, if all of them are real numbers, and finite unless that is not asked; else a ValueError that
    names them `name`."""
    if np.ma.isMaskedArray(values):
        raise ValueError(f"`{name}` must have a value in every place, got a masked array")
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"`{name}` must be an array, got rows of different lengths") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold real numbers, got {array.dtype}")
    broken = ~np.isfinite(array)
    if finite and broken.any():
        where = tuple(np.argwhere(broken)[0].tolist())
        raise ValueError(f"`{name}` must hold finite numbers, got {array[where]} at {where}")
    return array


def _check_shapes(W, E, X1, X2):
    if W.ndim != 2:
        raise ValueError(f"`W` must have shape (m, d), got {W.shape}")
    m, d = W.shape
    if E.shape != (m, m):
        raise ValueError(f"`E` must have shape (m, m) = {(m, m)} to fit `W`, got {E.shape}")
    for name, X in (("X1", X1), ("X2", X2)):
        if X.ndim != 3 or X.shape[2] != d:
            raise ValueError(f"`{name}` must have shape (N, P, d) with d = {d}, got {X.shape}")
    if len(X1) != len(X2):
        raise ValueError(f"`X1` and `X2` must hold the same samples, got {len(X1)} and {len(X2)}")
    for name, array in (("W", W), ("X1", X1), ("X2", X2)):
        if array.size == 0:
            raise ValueError(f"`{name}` must not be empty, got shape {array.shape}")


def _without_norm(largest, dtype):
    """Why an output whose size is at most `largest` has no batch norm, and what to do."""
    smallest, limit = usable_sizes(dtype)
    if not np.isfinite(largest):
        return NOT_FINITE
    if largest > limit:
        return f"the output is too large for {dtype}; use a smaller lr or head_lr, or weaker features"
    if largest == 0:
        return "the output is zero, or too small for a number, and does not vary over the batch"
    if largest < smallest:
        return f"the output is too small for {dtype}; use larger weights or stronger features"
    return CONSTANT
