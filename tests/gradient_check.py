"""A gradient against numerical derivatives in random directions."""

import numpy as np

STEP = 1e-3  # five-point differences err by STEP^4 times a fifth derivative
COMPLEX_STEP = 1e-100  # no subtraction, so the step can be as small as it likes


def central(function, x, direction):
    """d function(x + t direction) / dt at 0, by the five-point central difference."""
    near, far = ((function(x + k * STEP * direction) - function(x - k * STEP * direction)) / (2 * k * STEP)
                 for k in (1, 2))
    return (4 * near - far) / 3


def complex_step(function, x, direction):
    """The same for an analytic `function`, to rounding."""
    return (function(x + 1j * COMPLEX_STEP * direction) / COMPLEX_STEP).imag


def largest_error(function, x, gradient, derivative=central, directions=6, seed=0):
    """Largest error of <gradient, v> over random unit directions v, relative to ||gradient||."""
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(directions):
        v = rng.standard_normal(x.shape)
        # Half of each direction lies along the gradient, where an error of scale shows; a little more
        # than half, so that the two halves never cancel.
        v = 0.9 * v / np.linalg.norm(v) + gradient / np.linalg.norm(gradient)
        v /= np.linalg.norm(v)
        errors.append(abs(derivative(function, x, v) - np.sum(gradient * v)))
    return max(errors) / np.linalg.norm(gradient)
