"""Linear systems (I - c J) x = b, some c for each of many J, factored once and solved for every part of a step.

This is Gauss's elimination with partial pivoting; an explicit inverse would lose the small components of graded
matrices.

Shapes: R trajectories, n components, L systems of each trajectory.
"""

import numpy as np
from scipy.linalg import lapack

MOST_COMPONENTS = 24  # up to here the elimination of all matrices at once fits the cache,
FEWEST_PER_COMPONENT = 4  # and with so many trajectories to a component it outweighs the calls of NumPy


def eliminate(J, c):
    """A function that solves (I - c J) x = b, J (R, n, n) in Fortran's order, c (R, L): b and x (R, L, n), or of the first of L."""
    n = J.shape[-1]
    matrices = c[:, :, None, None] * -J[:, None]
    matrices += np.eye(n)
    together = n <= MOST_COMPONENTS and c.size >= FEWEST_PER_COMPONENT * n
    return _SideBySide(matrices) if together else _OneByOne(matrices)


class _OneByOne:
    """A loop over LAPACK."""

    def __init__(self, matrices):
        self.factors = [[lapack.dgetrf(matrix)[:2] for matrix in of_trajectory] for of_trajectory in matrices]

    def __call__(self, b):
        x = np.empty_like(b)
        for right, solved, factors in zip(b, x, self.factors):
            for i, (lu, pivots) in enumerate(factors[:len(right)]):
                solved[i] = lapack.dgetrs(lu, pivots, right[i])[0]
        return x


class _SideBySide:
    """The same steps for all matrices at once; `columns` (n, n, L R) holds L and U, column before row."""

    def __init__(self, matrices):
        n = matrices.shape[-1]
        self.columns = columns = matrices.T.reshape(n, n, -1)
        component = np.arange(n)[:, None] + np.zeros(columns.shape[-1], int)  # of b, in each of the exchanged rows
        for k in range(n - 1):
            size = np.abs(columns[k, k:])
            for rows in (columns, component[None]):
                _exchange(rows, k, size)
            columns[k, k + 1:] /= columns[k, k]
            columns[k + 1:, k + 1:] -= columns[k, k + 1:] * columns[k + 1:, k, None]
        self.component = component

    def __call__(self, b):
        n, count = b.shape[-1], b[..., 0].size
        columns = self.columns[..., :count]
        x = np.take_along_axis(b.T.reshape(n, count), self.component[:, :count], 0)
        for k in range(n - 1):
            x[k + 1:] -= columns[k, k + 1:] * x[k]
        for k in reversed(range(n)):
            x[k] /= columns[k, k]
            x[:k] -= columns[k, :k] * x[k]
        return x.reshape(b.T.shape).T


def _exchange(rows, k, size):
    """Exchange row k of each matrix with that of the largest of the pivots `size` (n - k, R); `rows` (..., n, R)."""
    other = np.flatnonzero(size.max(0) > size[0])
    if other.size:
        pivot = k + size[:, other].argmax(0)
        rows[:, k, other], rows[:, pivot, other] = rows[:, pivot, other], rows[:, k, other]
