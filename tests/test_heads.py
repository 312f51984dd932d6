"""Heads: where they start, which part of the gradient they follow, and those that are set from correlations."""

import numpy as np
import pytest
from gradient_check import COMPLEX_STEP

from simsim import Config, heads
from simsim.initial import reduced_state

ALL = [(kind, "fixed") for kind in heads.HEADS] + [("random", "free")]


def make(kind, diagonal="fixed", m=3, **more):
    return heads.from_config(Config(head=kind, head_diagonal=diagonal, m=m, **more))


def covariance(m=3, lead=(), seed=0):
    f = np.random.default_rng(seed).standard_normal((*lead, m, 2 * m))
    return f @ f.swapaxes(-1, -2)


@pytest.mark.parametrize("kind, diagonal", ALL)
def test_a_direction_is_a_projection(kind, diagonal):
    """Linear, idempotent, symmetric: so the loss falls along it, and only there."""
    head, rng = make(kind, diagonal), np.random.default_rng(1)
    x, y = rng.standard_normal((2, 4, 3, 3))
    px, py = head.direction(x), head.direction(y)
    np.testing.assert_allclose(head.direction(2 * x - y), 2 * px - py, atol=1e-15)
    np.testing.assert_array_equal(head.direction(px), px)
    np.testing.assert_allclose((px * y).sum((1, 2)), (x * py).sum((1, 2)), atol=1e-14)
    assert px.any() == head.moves


@pytest.mark.parametrize("kind, diagonal, free", [
    ("trained", "fixed", 6), ("frozen", "fixed", 0), ("free-diagonal", "fixed", 9), ("symmetric", "fixed", 3),
    ("random", "fixed", 6), ("random", "free", 9), ("directcopy", "fixed", 0), ("directpred", "fixed", 0)])
def test_how_many_directions_a_head_has(kind, diagonal, free):
    images = make(kind, diagonal).direction(np.eye(9).reshape(9, 3, 3))
    assert np.linalg.matrix_rank(images.reshape(9, 9)) == free
    if free in (3, 6):
        assert not images.diagonal(0, 1, 2).any()


@pytest.mark.parametrize("kind, diagonal", [pair for pair in ALL if pair[0] != "random"])
def test_all_but_random_heads_start_at_the_identity(kind, diagonal):
    np.testing.assert_array_equal(make(kind, diagonal).start(), np.eye(3))


def test_a_random_start_is_gaussian_of_its_scale():
    starts = np.array([make("random", "free", init_seed=seed, head_scale=0.3).start() for seed in range(500)])
    # 4500 normals: the spread is known to 1.1 %, six standard errors are 6.3 %; probability 2e-9.
    assert abs(starts.std() / 0.3 - 1) < 0.063
    fixed = make("random", init_seed=3, head_scale=0.3).start()
    np.testing.assert_array_equal(fixed.diagonal(), 1)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_array_equal(fixed[off], starts[3][off])


def test_a_random_start_is_fixed_by_init_seed_and_leaves_the_weights_alone():
    trained, random = Config(init_seed=5), Config(init_seed=5, head="random")
    for one, other in zip(reduced_state(trained), reduced_state(random)):
        np.testing.assert_array_equal(one, other)
    start = heads.from_config(random).start()
    np.testing.assert_array_equal(start, heads.from_config(random).start())
    assert not np.array_equal(start, make("random", m=2, init_seed=6).start())
    # Nor is it made of the weights' own numbers.
    weights = np.random.default_rng(5).standard_normal(100)
    assert np.abs(weights[:, None] - start[~np.eye(2, dtype=bool)]).min() > 1e-6


def test_directcopy_is_the_normalised_correlation():
    C11 = covariance()
    expected = C11 / np.linalg.norm(C11, 2) + 0.1 * np.eye(3)  # epsilon of docs/theory.md, section 6
    np.testing.assert_allclose(make("directcopy").set_from(C11), expected, rtol=1e-13)


def test_directpred_has_these_eigenvalues_and_eigenvectors():
    C11 = covariance()
    s, V = np.linalg.eigh(C11)
    E = make("directpred").set_from(C11)
    np.testing.assert_allclose(V.T @ E @ V, np.diag(np.sqrt(s / s.max()) + 0.1), atol=1e-13)


@pytest.mark.parametrize("kind", ["directcopy", "directpred"])
def test_heads_that_are_set(kind):
    """The scale of the outputs is immaterial, leading axes are copies, a singular F is none to stumble over."""
    head, C11 = make(kind), covariance(lead=(2, 4))
    E = head.set_from(C11)
    np.testing.assert_allclose(head.set_from(1e-30 * C11), E, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(head.set_from(C11[1, 2]), E[1, 2], rtol=1e-13)
    assert np.isfinite(head.set_from(np.ones((3, 3)))).all()


@pytest.mark.parametrize("kind", ["directcopy", "directpred"])
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_a_complex_step_goes_through_a_head_that_is_set(kind, m):
    head, C11, step = make(kind, m=m), covariance(m, seed=1), covariance(m, seed=2)
    derivative = head.set_from(C11 + 1j * COMPLEX_STEP * step).imag / COMPLEX_STEP
    h = 1e-4
    near, far = ((head.set_from(C11 + k * h * step) - head.set_from(C11 - k * h * step)) / (2 * k * h) for k in (1, 2))
    np.testing.assert_allclose(derivative, (4 * near - far) / 3, atol=1e-9 * np.abs(derivative).max() + 1e-11)
