"""How arrays of trajectories lie in memory: in Fortran's order, the first axis, over the trajectories, contiguous.

A step works on many small arrays, (m, m) for each of S trajectories. In this order NumPy runs along S, and the cost is
that of a few long rows instead of many short ones. Its elementwise operations and its sums keep the order of what they
are given. To make an array, to reshape one or to pick some of its rows does not: `order="F"`, and `take`.
"""


def take(x, rows):
    """x[rows] for x (S, ...) in Fortran's order and indices `rows` (R,): (R, ...), in Fortran's order."""
    return x.T.take(rows, -1).T
