"""Linear systems (I - c J) x = b, one for each trajectory, factored once and solved for every stage of a step.

This is Gauss's elimination with partial pivoting; an explicit inverse would lose the small components of graded
matrices.

Shapes: R trajectories, n components.
"""

import numpy as np
from scipy.linalg import lapack

MOST_COMPONENTS = 24  # up to here the elimination of all matrices at once fits the cache,
FEWEST_PER_COMPONENT = 4  # and with so many trajectories to a component it outweighs the calls of NumPy


def eliminate(J, c):
    """A function that solves (I - c J) x = b: b and x (R, n), J (R, n, n) in Fortran's order, c (R,)."""
    R, n = J.shape[:2]
    matrices = c[:, None, None] * -J
    matrices += np.eye(n)
    together = n <= MOST_COMPONENTS and R >= FEWEST_PER_COMPONENT * n
    return _SideBySide(matrices) if together else _OneByOne(matrices)


class _OneByOne:
    """A loop over LAPACK."""

    def __init__(self, matrices):
        self.factors = [lapack.dgetrf(matrix)[:2] for matrix in matrices]

    def __call__(self, b):
        x = np.empty_like(b)
        for i, (lu, pivots) in enumerate(self.factors):
            x[i] = lapack.dgetrs(lu, pivots, b[i])[0]
        return x


class _SideBySide:
    """The same steps for all matrices at once; `columns` (n, n, R) holds L and U, column before row."""

    def __init__(self, matrices):
        self.columns = columns = matrices.T
        n, R = columns.shape[1:]
        order = np.arange(n * R).reshape(n, R)  # where in b each of the exchanged rows is taken from
        for k in range(n - 1):
            size = np.abs(columns[k, k:])
            for rows in (columns, order[None]):
                _exchange(rows, k, size)
            columns[k, k + 1:] /= columns[k, k]
            columns[k + 1:, k + 1:] -= columns[k, k + 1:] * columns[k + 1:, k, None]
        self.order = order

    def __call__(self, b):
        x, columns = b.T.take(self.order), self.columns
        n = len(x)
        for k in range(n - 1):
            x[k + 1:] -= columns[k, k + 1:] * x[k]
        for k in reversed(range(n)):
            x[k] /= columns[k, k]
            x[:k] -= columns[k, :k] * x[k]
        return x.T


def _exchange(rows, k, size):
    """Exchange row k of each matrix with that of the largest of the pivots `size` (n - k, R); `rows` (..., n, R)."""
    other = np.flatnonzero(size.max(0) > size[0])
    if other.size:
        pivot = k + size[:, other].argmax(0)
        rows[:, k, other], rows[:, pivot, other] = rows[:, pivot, other], rows[:, k, other]
