"""Two linearly implicit methods, each of which takes one step of stiff autonomous systems y' = f(y) side by side.

`Rodas5P` is of order 5, with all its stages on one matrix. `Extrapolation` is of any order, here 8: a step takes as many
calls, and several times fewer steps are needed; but its weights magnify rounding a thousandfold, and each of its ways has a
matrix of its own. So it is the better one where a direction that is stiffer than the others by sixteen digits is one of the
coordinates, and is of no use where such a direction is oblique: there the rounding of each matrix is as large as what is slow.

Shapes: R trajectories, n components, k ways through a step of `Extrapolation`.
"""

import functools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from simsim.flow.elimination import eliminate

GAMMA = 0.21193756319429014
# Weights of the stages k_j in the argument of stage i; the last three add one stage each
A: list[Any] = [
    [],
    [3.0],
    [2.849394379747939, 0.45842242204463923],
    [-6.954028509809101, 2.489845061869568, -10.358996098473584],
    [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
    [-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946],
]
A += [A[5] + [1.0], A[5] + [1.0, 1.0]]
# Weights of the stages in the right-hand side of stage i, in units of 1/h
C: list[Any] = [
    [],
    [-14.155112264123755],
    [-17.97296035885952, -2.859693295451294],
    [147.12150275711716, -1.41221402718213, 71.68940251302358],
    [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
    [24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471],
    [30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
     -28.087943162872662],
    [37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
     -54.66780262877968, -9.48861652309627],
]
# Weights of the stages in the path inside the step: its deviation from the chord is theta (1 - theta) times a polynomial in theta
DENSE = np.array([
    [25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204,
     0.524948541321073, 1.1241088310450404, 0.4272876194431874, -0.17202221070155493],
    [-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796,
     20.176138334709044, 15.98066361424651, -6.789040303419874, -6.710236069923372],
    [11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643,
     -52.072871366152654, -59.78993625266729, -0.15582684282751913, 4.883087185713722],
])
A, C = [np.array(row) for row in A], [np.array(row) for row in C]
BOW = np.array([[1 / 4, 0, 0], [1 / 3, 1 / 6, 0], [1 / 4, 1 / 4, 1 / 4]]) @ DENSE  # the same as points of a `Segment`


class Rodas5P:
    """Steinebach's Rosenbrock method (BIT 63:27, 2023; the family is Hairer & Wanner, Solving ODEs II, section VI.4).

    Eight stages, order 5(4), L-stable, stiffly accurate, the path inside the step of order 4.
    """

    order = 5  # of h in the estimate of the error
    evaluations = len(A) - 1  # of f in a step, beside that which comes with the Jacobian

    def on_ladder(self, h):
        """The step sizes (R,) that may be taken where h are wished: any."""
        return h

    def step(self, fun, rows, y, h, scale, f, J):
        """One step: (y_end (R, n), error (R, n), bow (R, 3, n)). J is in units of the error `scale` (R, n), y and f are not."""
        solve = eliminate(J, GAMMA * h[:, None])
        step, unit = h[:, None], GAMMA / scale
        k = np.empty((len(A), *y.T.shape))
        for i, (in_argument, in_right) in enumerate(zip(A, C)):
            at = y + _combine(in_argument, k)
            right = step * (fun(at, rows) if i else f) + _combine(in_right, k)
            np.multiply(scale, solve((unit * right)[:, None])[:, 0], out=k[i].T)
        bow = (BOW @ k.reshape(len(A), -1)).reshape(-1, *y.T.shape)
        return at + k[-1].T, k[-1].T, bow.T.swapaxes(1, 2)


def _combine(weights, k):
    """sum_j weights_j k_j over the stages done so far, (R, n), from k (8, n, R)."""
    done = len(weights)
    if not done:
        return 0.0
    return (weights @ k[:done].reshape(done, -1)).reshape(k.shape[1:]).T


RUNGS = 8  # to a factor of two, of the ladder of step sizes: rounding has much weight in a small error


class Extrapolation:
    """Euler's linearly implicit method, extrapolated (Hairer & Wanner, Solving ODEs II, section IV.9: SEULEX at a fixed order).

    A step is taken k times over from where it began, in 1, 2, ..., k parts, all with the Jacobian of its beginning; from the k
    ends follows what infinitely many parts would give, to order k, and from all that the ways have passed the path inside the
    step, to the same order (`tableau`). The ways are independent of each other, and NumPy costs nearly the same for one as for
    eight: so they are taken side by side. The solution is that of all ways, and its error is what it owes to that in one part.
    The method is A-stable but for a few degrees, damps what is stiff, and has its order with any matrix in the Jacobian's place,
    if it is the same for all ways.
    """

    def __init__(self, order):
        self.order, self.evaluations = order, order - 1  # all ways of a step together count as one
        self.parts, self.weights = tableau(order)

    def on_ladder(self, h):
        """The step sizes (R,) that may be taken where h are wished: rungs, so that rounding seldom changes them."""
        return np.exp2(np.floor(RUNGS * np.log2(h)) / RUNGS)

    def step(self, fun, rows, y, h, scale, f, J):
        """One step: (y_end (R, n), error (R, n), bow (R, k - 1, n)); units as in `Rodas5P.step`."""
        h_part, unit = (h / self.parts[:, None]).T, scale[:, None]
        solve, per_unit = eliminate(J, h_part), h_part[:, :, None] / unit
        moved = np.zeros(per_unit.shape, order="F")
        passed, done = np.empty((self.weights.shape[1], *y.T.shape)), 0
        for i in range(self.order):
            ways = self.order - i  # that have another part to go
            on_way = moved[:, :ways]
            rate = fun(y[:, None] + unit * on_way, rows) if i else f[:, None]
            on_way += solve(per_unit[:, :ways] * rate)
            passed[done:done + ways] = on_way.transpose(1, 2, 0)
            done += ways
        out = (self.weights @ passed.reshape(done, -1)).reshape(-1, *y.T.shape) * scale.T
        return y + out[0].T, out[1].T, out[2:].T.swapaxes(1, 2)


@functools.cache
def tableau(k):
    """(parts (k,), weights (k + 1, k (k + 1) / 2)): of a step in k ways, in how many parts each, most first; and what follows.

    The weights are those of what each way has moved after each of its parts, in the order in which these are computed: first all
    ways after one part, then all that have another one, and so on. Their rows give how far the step moves, its error, and the
    k - 1 points of its bow (`Segment`). They are large and cancel: fractions make them exact to rounding.

    After i of n parts a way has moved as y does in i / n of the step, but for powers of 1 / n: i / n^k times a polynomial in i, n
    of degree k - 1. The values on the triangle 1 <= i <= n <= k tell it, and at infinite n it is the sum over n of Lagrange's
    weight at 1 / n = 0 times Bernstein's polynomial of the way's values.
    """
    places = [(i, n) for i in range(1, k + 1) for n in range(k, i - 1, -1)]

    def extrapolated(ways, value):
        at_zero = {n: math.prod(Fraction(n, n - other) for other in ways if other != n) for n in ways}  # Lagrange's, in 1 / n
        return np.array([at_zero.get(n, 0) * value(i, n) for i, n in places])

    def point(q):  # of Bernstein's polynomial of a way, of degree n, as one of degree k
        return lambda i, n: Fraction(math.comb(n, i) * (math.comb(k - n, q - i) if i <= q else 0), math.comb(k, q))

    ways = range(1, k + 1)
    whole = extrapolated(ways, point(k))
    bow = [extrapolated(ways, point(q)) - Fraction(q, k) * whole for q in range(1, k)]
    return np.arange(k, 0, -1), np.array([whole, whole - extrapolated(ways[1:], point(k)), *bow], dtype=float)
