"""Objectives as functions of second moments: their gradient, their flags, their refusals."""

import dataclasses

import numpy as np
import pytest
from gradient_check import complex_step, largest_error

from simsim import network, objectives

TOLERANCE = 1e-13
FLAGS = [("simsiam", True, True), ("simsiam", False, True), ("simsiam", True, False), ("simsiam", False, False),
         ("naive", None, True), ("naive", None, False), ("barlow", True, True), ("barlow", False, True),
         *[(name, stop, batch_norm) for name in ("vicreg", "spectral") for stop in (True, False) for batch_norm in (True, False)]]


def random_moments(m, lead=(), seed=0):
    """Second moments (..., 2m, 2m) of 2m outputs that vary together, and a head."""
    rng = np.random.default_rng([seed, m])
    f = rng.standard_normal((*lead, 3 * m + 2, 2 * m)) @ (np.eye(2 * m) + 0.5 * rng.standard_normal((2 * m, 2 * m)))
    return objectives.second_moments(f[..., :m], f[..., m:], False), rng.standard_normal((*lead, m, m))


def symmetrised(outputs):
    """dL/dC for a symmetric C, from both halves of `MomentGrad.mixing`: each counts d(C_ij + C_ji) / 2."""
    return (outputs + outputs.swapaxes(-1, -2)) / 4


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("flags", FLAGS)
def test_gradient_in_the_moments_and_in_the_head(flags, m):
    """With stop-gradient the moments' part is the upper half of the one without."""
    name, stop_gradient, batch_norm = flags
    objective = objectives.make(name, stop_gradient, batch_norm, barlow_lambda=0.3)
    C, E = random_moments(m)
    loss, grad = objective.loss_and_grad(C, E)
    whole = dataclasses.replace(objective, stop_gradient=False).loss_and_grad(C, E)[1]
    np.testing.assert_array_equal(grad.mixing, whole.mixing[:m] if objective.stop_gradient else whole.mixing)
    by_C = lambda C: objective.loss_and_grad(C, E)[0]
    symmetric = lambda C: by_C((C + C.T) / 2)
    error = largest_error(symmetric, C, symmetrised(whole.mixing), complex_step)
    assert error < TOLERANCE
    assert largest_error(symmetric, C, 1.001 * symmetrised(whole.mixing), complex_step) > 1e-4
    by_E = lambda E: objective.loss_and_grad(C, E)[0]
    if m > 1 or not batch_norm:  # one neuron's head only rescales what batch norm rescales back
        assert largest_error(by_E, E, grad.E, complex_step) < TOLERANCE
        assert largest_error(by_E, E, 1.001 * grad.E, complex_step) > 1e-4


@pytest.mark.parametrize("flags", FLAGS)
def test_leading_axes_are_copies(flags):
    objective = objectives.make(*flags)
    C, E = random_moments(2, (3, 4))
    loss, grad = objective.loss_and_grad(C, E)
    assert loss.shape == (3, 4)
    one_loss, one_grad = objective.loss_and_grad(C[1, 2], E[1, 2])
    assert loss[1, 2] == pytest.approx(one_loss, rel=1e-14)
    np.testing.assert_allclose(grad.mixing[1, 2], one_grad.mixing, atol=1e-13)
    np.testing.assert_allclose(grad.E[1, 2], one_grad.E, atol=1e-13)


def test_the_losses_are_what_they_are_called():
    C, E = random_moments(3)
    C *= 0.2  # some standard deviations below 1, for the hinge, and some above
    m = 3
    c = E @ C[:m, m:] / np.sqrt(np.outer(np.diag(E @ C[:m, :m] @ E.T), np.diag(C[m:, m:])))
    off = ~np.eye(m, dtype=bool)
    values = {name: objectives.make(name, barlow_lambda=0.3).loss_and_grad(C, E)[0] for name in objectives.OBJECTIVES}
    assert values["simsiam"] == values["naive"] == pytest.approx(2 * m - 2 * np.trace(c))
    assert values["barlow"] == pytest.approx(((1 - np.diag(c)) ** 2).sum() + 0.3 * (c[off] ** 2).sum())
    V = np.block([[E @ C[:m, :m] @ E.T, E @ C[:m, m:]], [(E @ C[:m, m:]).T, C[m:, m:]]])
    c11, c22 = (part / np.sqrt(np.outer(part.diagonal(), part.diagonal())) for part in (V[:m, :m], V[m:, m:]))
    assert values["spectral"] == pytest.approx((c11 * c22).sum() - 2 * np.trace(c))
    assert values["vicreg"] == pytest.approx(25 * (2 * m - 2 * np.trace(c)) + ((c11[off] ** 2).sum() + (c22[off] ** 2).sum()) / m)
    hinge = sum(np.maximum(0, 1 - np.sqrt(part.diagonal() + 1e-4)).sum() for part in (V[:m, :m], V[m:, m:]))
    covariances = sum((part[off] ** 2).sum() for part in (V[:m, :m], V[m:, m:]))
    gap = np.trace(V[:m, :m] + V[m:, m:] - 2 * V[:m, m:])
    assert 0 < (V.diagonal() < 0.99).sum() < 2 * m
    weights = dict(vicreg_invariance=2.0, vicreg_variance=3.0, vicreg_covariance=5.0)
    for batch_norm, name, loss in ((False, "vicreg", 2 * gap + (3 * hinge + 5 * covariances) / m),
                                   (False, "spectral", np.trace(V[:m, :m] @ V[m:, m:]) - 2 * np.trace(V[:m, m:]))):
        assert objectives.make(name, None, batch_norm, **weights).loss_and_grad(C, E)[0] == pytest.approx(loss)
    raw = np.trace(E @ C[:m, :m] @ E.T - 2 * E @ C[:m, m:] + C[m:, m:])
    assert objectives.make("simsiam", batch_norm=False).loss_and_grad(C, E)[0] == pytest.approx(raw)


@pytest.mark.parametrize("flags", FLAGS)
def test_the_scale_of_outputs_and_of_the_head_s_rows_is_immaterial_under_batch_norm(flags):
    objective = objectives.make(*flags)
    C, E = random_moments(3)
    scale = np.array([2.0, 0.3, 5.0])
    value = objective.loss_and_grad(C, E)[0]
    rescaled = objective.loss_and_grad(7 * C, scale[:, None] * E)[0]
    assert (rescaled == pytest.approx(value, rel=1e-13)) == objective.batch_norm


def test_single_precision_stays_single():
    C, E = (array.astype(np.float32) for array in random_moments(2))
    for flags in FLAGS:
        loss, grad = objectives.make(*flags).loss_and_grad(C, E)
        assert grad.mixing.dtype == grad.E.dtype == np.float32


@pytest.mark.parametrize("arguments, named", [
    (("adam",), "objective"), ((["simsiam"],), "objective"), (("naive", True), "stop_gradient"),
    (("barlow", None, False), "batch_norm"), (("simsiam", "yes"), "stop_gradient"), (("simsiam", None, "False"), "batch_norm")])
def test_what_makes_no_sense_is_refused(arguments, named):
    with pytest.raises(ValueError, match=f"`{named}`"):
        objectives.make(*arguments)


@pytest.mark.parametrize("name", objectives.PARAMETERS)
@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "1"])
def test_a_parameter_is_a_number_that_is_not_negative(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        objectives.make("simsiam", **{name: value})


def test_a_parameter_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="there is no parameter `barlow`"):
        objectives.make("barlow", barlow=1.0)


def test_defaults():
    assert objectives.OBJECTIVES == ("simsiam", "naive", "barlow", "vicreg", "spectral")
    assert [objectives.make(name).stop_gradient for name in objectives.OBJECTIVES] == [True, False, False, False, False]


def test_a_new_objective_is_one_method():
    """The sum of (1 - c_jj)^4: nothing else is written for it."""
    class Fourth(objectives.OfCorrelations):
        """sum_j (1 - c_jj)^4."""

        def of_correlations(self, misfit, c):
            return (misfit**4).sum(-1), -4 * misfit**3

    objective = Fourth(stop_gradient=False)
    C, E = random_moments(2)
    grad = objective.loss_and_grad(C, E)[1]
    symmetric = lambda C: objective.loss_and_grad((C + C.T) / 2, E)[0]
    assert largest_error(symmetric, C, symmetrised(grad.mixing), complex_step) < TOLERANCE


def test_the_literal_chain_takes_a_subclass_of_simsiam_at_its_word():
    class Fourth(objectives.SimSiam):
        def of_correlations(self, misfit, c):
            return (misfit**4).sum(-1), -4 * misfit**3

    rng = np.random.default_rng(5)
    U1, U2, E = rng.standard_normal((40, 4, 2)), rng.standard_normal((40, 4, 2)), np.eye(2) + 0.1
    C = objectives.second_moments((U1**3).sum(1), (U2**3).sum(1), centred=True)
    expected = Fourth(True).loss_and_grad(C, E)
    loss, grad = network.chain(U1, U2, E, Fourth(True))
    assert loss == pytest.approx(expected[0], rel=1e-12)
    np.testing.assert_allclose(grad.E, expected[1].E, rtol=1e-10, atol=1e-12)
