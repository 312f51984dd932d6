"""The activation z -> z^p of every neuron, and what a Gaussian pre-activation makes of it (docs/theory.md, eqs. 2 and 5).

The paper's p is 3. An odd power keeps the sign of a sample, so that all outputs have mean zero; closed forms rest on it.

>>> import numpy as np
>>> from simsim import activation
>>> activation.of(np.array([-2.0, 0.5])), activation.pairings(3)
(array([-8.   ,  0.125]), [(1, 9), (3, 6)])
"""

import functools
import math
from numbers import Integral

import numpy as np

CUBIC = 3  # the paper's power
LARGEST = 7  # of a Config: strengths to twice that power stay finite


def of(u, power=CUBIC):
    """u^p, for an array u, by products: NumPy's own powers take twenty times as long."""
    return functools.reduce(np.multiply, [u] * power)


def slope(u, power=CUBIC):
    """d(u^p)/du = p u^(p-1)."""
    return power * even(u, power)


def even(u, power=CUBIC, out=None):
    """u^(p-1), into `out` if it is given: the slope without its factor p."""
    if power == CUBIC:
        return np.multiply(u, u, out=out)
    result = np.ones_like(u) if power == 1 else of(u, power - 1)
    if out is None:
        return result
    out[...] = result
    return out


def double_factorial(n):
    """n (n - 2) (n - 4) ...; 1 for n <= 0. E[x^(n+1)] of a standard normal x, for odd n."""
    return math.prod(range(n, 0, -2))


def pairings(power):
    """[(k, c_k)] with E[x^p y^p] = sum_k c_k (q_x q_y)^((p-k)/2) Q^k, for jointly normal x, y of variances q, covariance Q.

    By the Wick (Isserlis) rule: k of the p factors x meet one y each, in C(p, k)^2 k! ways, and the others pair among
    themselves, in (p - k - 1)!! ways on each side. For the cube these are the 9 and the 6 of eq. 5.
    """
    return [(k, math.comb(power, k) ** 2 * math.factorial(k) * double_factorial(power - k - 1) ** 2)
            for k in range(power % 2, power + 1, 2)]


def require(power):
    """ValueError for what is no power of an activation: whole, and at least 1."""
    if isinstance(power, (bool, np.bool_)) or not isinstance(power, Integral) or power < 1:
        raise ValueError(f"`power` must be a whole number, at least 1, got {power!r}")
