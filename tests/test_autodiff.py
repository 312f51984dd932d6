"""The gradient against automatic differentiation, entry by entry, of the loss written once more as one would for training."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from variants import Case, cases, name

from simsim import Config, draw_views, loss_and_grad

TOLERANCE = 1e-10


def loss(W, E, target, X1, X2, objective, stop_gradient, batch_norm, barlow_lambda):
    """The loss as autograd sees it; `target` are the weights of the other branch where the gradient stops."""
    def outputs(weights, X):
        return anp.sum(anp.dot(X, weights.T) ** 3, axis=1)

    def normalised(F):
        return (F - anp.mean(F, axis=0)) / anp.std(F, axis=0) if batch_norm else F

    F, G = normalised(outputs(W, X1) @ E.T), normalised(outputs(target if stop_gradient else W, X2))
    if objective != "barlow":
        return anp.mean(anp.sum((F - G) ** 2, axis=1))
    c = F.T @ G / len(F)
    misfit = c - np.eye(len(c))
    return anp.sum(misfit**2 * (np.eye(len(c)) + barlow_lambda * (1 - np.eye(len(c)))))


def check(W, E, X1, X2, **options):
    value, grad = loss_and_grad(W, E, X1, X2, **options)
    function = lambda W, E, target: loss(W, E, target, X1, X2, **options)
    assert value == pytest.approx(function(W, E, W), rel=1e-12, abs=1e-12)
    by_W, by_E = (autograd.grad(function, place)(W, E, W) for place in (0, 1))
    scale = np.abs(by_W).max() + np.abs(by_E).max()
    np.testing.assert_allclose(grad.W, by_W, rtol=0, atol=TOLERANCE * scale)
    np.testing.assert_allclose(grad.E, by_E, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("case", cases(), ids=name)
def test_every_objective_flag_and_head(case):
    check(*case.weights(), *case.views(), **case.options())


@pytest.mark.parametrize("m, n", [(1, 33), (2, 64), (3, 33), (5, 65)])
def test_batches_of_several_shapes(m, n):
    rng = np.random.default_rng([m, n])
    config = Config(m=m, d=12, batch_size=n, alpha_weak=1.0, alpha_ratio=2.0)
    E = np.eye(m) + 0.3 * rng.standard_normal((m, m)) * (1 - np.eye(m))
    W = rng.standard_normal((m, 12)) / np.sqrt(12)
    check(W, E, *draw_views(config, rng), objective="simsiam", stop_gradient=True, batch_norm=True, barlow_lambda=1.0)


@pytest.mark.parametrize("objective, batch_norm", [("simsiam", True), ("simsiam", False), ("barlow", True)])
def test_a_gradient_that_does_not_stop_is_told_apart(objective, batch_norm):
    """The control: the comparison fails for the gradient of the other kind."""
    case = Case(objective, True, batch_norm, "trained", "fixed", 2, 2)
    (W, E), (X1, X2) = case.weights(), case.views()
    grad = loss_and_grad(W, E, X1, X2, **case.options())[1]
    through = autograd.grad(lambda W: loss(W, E, W, X1, X2, **{**case.options(), "stop_gradient": False}))(W)
    assert np.abs(grad.W - through).max() > 1e6 * TOLERANCE * np.abs(through).max()
