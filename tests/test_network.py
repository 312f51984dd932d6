"""Every backward pass against numerical derivatives, and the exact laws that gradients obey."""

import numpy as np
import pytest
from gradient_check import central, complex_step, largest_error

from simsim import Config, draw_views, loss_and_grad, network, objectives

CENTRAL_TOLERANCE = 1e-7
COMPLEX_TOLERANCE = 1e-12
SYMMETRY_TOLERANCE = 1e-11
CASES = [(m, n) for m in (1, 2, 3, 5) for n in (17, 32, 65)]


def batch(m, n, seed=0, d=12):
    """Weights, a trained-looking head, and two masked views."""
    rng = np.random.default_rng([seed, m, n])
    config = Config(m=m, d=d, batch_size=n, alpha_weak=1.0, alpha_ratio=2.0)
    E = np.eye(m) + 0.3 * rng.standard_normal((m, m)) * (1 - np.eye(m))
    return rng.standard_normal((m, d)) / np.sqrt(d), E, *draw_views(config, rng)


def stopped_loss(X1, Z):
    """The loss as a function of (W, E) with the target branch Z held still, as stop-gradient has it."""
    def function(W, E):
        f, _ = network.conv_forward(X1 @ W.T)
        F, _ = network.head_forward(f, E)
        Y, _ = network.batch_norm_forward(F)
        return ((Y - Z) ** 2).sum() / len(Y)
    return function


def target(W, X2):
    return network.batch_norm_forward(network.conv_forward(X2 @ W.T)[0])[0]


OPERATIONS = {
    "conv": (network.conv_forward, network.conv_backward, (7, 4, 3)),
    "batch_norm": (network.batch_norm_forward, network.batch_norm_backward, (7, 3)),
    "centre": (network.centre_forward, network.centre_backward, (7, 3)),
}


@pytest.mark.parametrize("derivative, tolerance", [(central, CENTRAL_TOLERANCE), (complex_step, COMPLEX_TOLERANCE)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_backward_of_one_operation(name, derivative, tolerance):
    forward, backward, shape = OPERATIONS[name]
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    out, cache = forward(x)
    dout = rng.standard_normal(out.shape)
    error = largest_error(lambda x: np.sum(forward(x)[0] * dout), x, backward(dout, cache), derivative)
    assert error < tolerance


@pytest.mark.parametrize("derivative, tolerance", [(central, CENTRAL_TOLERANCE), (complex_step, COMPLEX_TOLERANCE)])
def test_backward_of_the_head(derivative, tolerance):
    rng = np.random.default_rng(2)
    f, E, dF = rng.standard_normal((7, 3)), rng.standard_normal((3, 3)), rng.standard_normal((7, 3))
    df, dE = network.head_backward(dF, network.head_forward(f, E)[1])
    assert largest_error(lambda f: np.sum(network.head_forward(f, E)[0] * dF), f, df, derivative) < tolerance
    assert largest_error(lambda E: np.sum(network.head_forward(f, E)[0] * dF), E, dE, derivative) < tolerance


@pytest.mark.parametrize("derivative, tolerance", [(central, CENTRAL_TOLERANCE), (complex_step, COMPLEX_TOLERANCE)])
@pytest.mark.parametrize("name", ["simsiam", "vicreg", "spectral"])
def test_backward_of_the_objective(name, derivative, tolerance):
    """Without batch norm, where each is a function of all second moments."""
    rng = np.random.default_rng(3)
    Y, Z = rng.standard_normal((7, 3)), rng.standard_normal((7, 3))
    objective = objectives.make(name, batch_norm=False)
    forward = lambda Y, Z: network.objective_forward(Y, Z, objective)
    dY, dZ = network.objective_backward(forward(Y, Z)[1])
    assert largest_error(lambda Y: forward(Y, Z)[0], Y, dY, derivative) < tolerance
    assert largest_error(lambda Z: forward(Y, Z)[0], Z, dZ, derivative) < tolerance
    if name == "simsiam":
        np.testing.assert_allclose(dY, 2 / 7 * (Y - Z), rtol=1e-14)


@pytest.mark.parametrize("derivative, tolerance", [(central, CENTRAL_TOLERANCE), (complex_step, COMPLEX_TOLERANCE)])
@pytest.mark.parametrize("m, n", CASES)
def test_whole_gradient(m, n, derivative, tolerance):
    W, E, X1, X2 = batch(m, n)
    loss, grad = loss_and_grad(W, E, X1, X2)
    function = stopped_loss(X1, target(W, X2))
    assert loss == pytest.approx(function(W, E), rel=1e-13)
    assert largest_error(lambda W: function(W, E), W, grad.W, derivative) < tolerance
    if m > 1:  # at m = 1 the head only rescales what batch norm rescales back: its gradient is 0
        assert largest_error(lambda E: function(W, E), E, grad.E, derivative) < tolerance


@pytest.mark.parametrize("derivative, tolerance", [(central, CENTRAL_TOLERANCE), (complex_step, COMPLEX_TOLERANCE)])
def test_the_check_catches_an_error_of_a_thousandth(derivative, tolerance):
    W, E, X1, X2 = batch(2, 32)
    grad = loss_and_grad(W, E, X1, X2)[1]
    function = stopped_loss(X1, target(W, X2))
    one_entry = grad.W.copy()
    one_entry[np.unravel_index(np.abs(grad.W).argmax(), grad.W.shape)] *= 1.001
    for wrong in (1.001 * grad.W, one_entry):
        assert largest_error(lambda W: function(W, E), W, wrong, derivative) > 100 * tolerance


def test_stop_gradient_is_there():
    """The gradient of the loss without stop-gradient is another one."""
    W, E, X1, X2 = batch(2, 32)
    grad = loss_and_grad(W, E, X1, X2)[1]
    both_branches = lambda W: stopped_loss(X1, target(W, X2))(W, E)
    assert largest_error(both_branches, W, grad.W) > 0.01


def symmetry_violations(W, E, grad):
    """Left-hand sides of docs/theory.md, eq. 12, relative to the size of their terms."""
    radial, entry = np.sum(W * grad.W, axis=1), E * grad.E
    off = entry * (1 - np.eye(len(E)))
    scale = np.abs(radial).max() + 3 * np.abs(entry).max()
    return [np.abs(radial - 3 * off.sum(axis=0) + 3 * off.sum(axis=1)).max() / scale,
            abs(radial.sum()) / scale, np.abs(entry.sum(axis=1)).max() / scale]


@pytest.mark.parametrize("m, n", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_symmetries_hold_on_every_batch(m, n, seed):
    W, E, X1, X2 = batch(m, n, seed)
    if m == 1:
        # No direction is left but the scale, whose derivative is zero: compare with the whole gradient.
        grad = loss_and_grad(W, E, X1, X2)[1]
        assert abs(np.sum(W * grad.W)) < SYMMETRY_TOLERANCE * np.linalg.norm(W) * np.linalg.norm(grad.W)
    else:
        assert max(symmetry_violations(W, E, loss_and_grad(W, E, X1, X2)[1])) < SYMMETRY_TOLERANCE


def test_symmetries_tell_a_wrong_gradient():
    W, E, X1, X2 = batch(2, 32)
    grad = loss_and_grad(W, E, X1, X2)[1]
    assert max(symmetry_violations(W, E, grad._replace(E=1.001 * grad.E))) > 100 * SYMMETRY_TOLERANCE


def test_float32_stays_float32_and_agrees():
    W, E, X1, X2 = batch(2, 64)
    loss, grad = loss_and_grad(W, E, X1, X2)
    single_loss, single = loss_and_grad(*(array.astype(np.float32) for array in (W, E, X1, X2)))
    assert single.W.dtype == single.E.dtype == np.float32
    assert single_loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(single.W, grad.W, atol=1e-4 * np.abs(grad.W).max())


@pytest.mark.parametrize("spoil, neuron, reason", [
    (lambda X1: np.zeros_like(X1), 1, "does not vary"),
    (lambda X1: 1e-120 * X1, 1, "is zero, or too small"),
    (lambda X1: 1e-100 * X1, 1, "too small for float64"),
    (lambda X1: 1e100 * X1, 1, "too large for float64"),
    (lambda X1: 1e120 * X1, 1, "not finite"),
    (lambda X1: np.broadcast_to(X1[:1], X1.shape), 1, "constant.*larger batch_size"),
])
def test_outputs_without_a_batch_norm_are_refused(spoil, neuron, reason):
    W, E, X1, X2 = batch(2, 16)
    with pytest.raises(network.NetworkError, match=reason) as caught:
        loss_and_grad(W, E, spoil(X1), X2)
    assert caught.value.neuron == neuron


def test_a_dead_second_neuron_is_named():
    W, E, X1, X2 = batch(3, 16)
    W[1] = 0
    with pytest.raises(network.NetworkError) as caught:
        loss_and_grad(W, np.eye(3), X1, X2)
    assert caught.value.neuron == 2


@pytest.mark.parametrize("name, change", [
    ("W", lambda W, E, X1, X2: (W[0], E, X1, X2)),
    ("E", lambda W, E, X1, X2: (W, E[:1], X1, X2)),
    ("X1", lambda W, E, X1, X2: (W, E, X1[0], X2)),
    ("X2", lambda W, E, X1, X2: (W, E, X1, X2[..., :3])),
    ("X1", lambda W, E, X1, X2: (W, E, X1[:5], X2)),
    ("X1", lambda W, E, X1, X2: (W, E, X1[:0], X2[:0])),
    ("X1", lambda W, E, X1, X2: (W, E, X1[:, :0], X2)),
    ("W", lambda W, E, X1, X2: (W[:0], E[:0, :0], X1, X2)),
])
def test_shapes_that_do_not_fit_are_refused(name, change):
    with pytest.raises(ValueError, match=f"`{name}`"):
        loss_and_grad(*change(*batch(2, 16)))


def test_lists_and_integers_are_taken():
    X1 = np.random.default_rng(0).integers(-3, 4, (9, 2, 3))
    loss, grad = loss_and_grad([[1, 0, 2], [0, 1, 1]], [[1, 0], [0, 1]], X1, X1.tolist())
    assert loss == pytest.approx(0, abs=1e-12)
    assert grad.W.shape == (2, 3)


def spoiled(array, value):
    """`array` with one entry replaced, in a dtype that holds both."""
    array = array.astype(np.result_type(array, type(value)))
    array[(0,) * (array.ndim - 1) + (1,)] = value
    return array


NOT_REAL = {"finite numbers, got nan at": lambda array: spoiled(array, np.nan),
            "finite numbers, got -inf at": lambda array: spoiled(array, -np.inf),
            "real numbers, got complex128": lambda array: spoiled(array, 1j),
            "real numbers, got object": lambda array: array.astype(object),
            "real numbers, got <U": lambda array: array.astype(str),
            "masked array": lambda array: np.ma.masked_greater(array, 0.5),
            "different lengths": lambda array: [array.tolist()[0], 1.0]}


@pytest.mark.parametrize("place, name", [(0, "W"), (1, "E"), (2, "X1"), (3, "X2")])
@pytest.mark.parametrize("reason", NOT_REAL)
def test_what_is_no_finite_real_number_is_refused(reason, place, name):
    arrays = list(batch(2, 16))
    arrays[place] = NOT_REAL[reason](arrays[place])
    with pytest.raises(ValueError, match=f"`{name}`.*{reason}") as caught:
        loss_and_grad(*arrays)
    assert type(caught.value) is ValueError and "\n" not in str(caught.value)


def test_kinds_of_numbers_may_be_mixed():
    W, E, X1, X2 = batch(2, 16)
    loss, grad = loss_and_grad(W.astype(np.float32), np.eye(2, dtype=bool), X1.tolist(), X2.astype(np.float16))
    expected = loss_and_grad(W.astype(np.float32).astype(float), np.eye(2), X1, X2.astype(np.float16).astype(float))
    assert loss == expected[0]
    for ours, theirs in zip(grad, expected[1]):
        assert ours.dtype == float and np.array_equal(ours, theirs)


@pytest.mark.parametrize("dtype, tolerance, right", [("float64", 1e-10, 95), ("float32", 1e-3, 9)])
@pytest.mark.parametrize("place", [0, 2, 3])  # of W, X1 and X2
def test_any_scale_gives_the_right_answer_or_none(dtype, tolerance, right, place):
    """The loss is scale free, and the gradient in W, at c W, is divided by c: at every size that is answered."""
    arrays = [array.astype(dtype) for array in batch(2, 64)]
    loss, grad = loss_and_grad(*arrays)
    for exponent in range(-110, 111):
        scaled, c = list(arrays), 10.0**exponent
        with np.errstate(over="ignore"):
            scaled[place] = (c * arrays[place].astype(float)).astype(dtype)
        try:
            other_loss, other = loss_and_grad(*scaled)
        except (network.NetworkError, ValueError):
            assert abs(exponent) > right
            continue
        assert other_loss == pytest.approx(loss, rel=tolerance)
        c = c if place == 0 else 1
        np.testing.assert_allclose(c * other.W.astype(float), grad.W, atol=tolerance * np.abs(grad.W).max())
        np.testing.assert_allclose(other.E, grad.E, atol=tolerance * np.abs(grad.E).max())


@pytest.mark.parametrize("exponent", [-300, -60, 60, 300])
def test_batch_norm_alone_knows_no_scale(exponent):
    F = np.random.default_rng(0).standard_normal((9, 3))
    Y, (_, std) = network.batch_norm_forward(F)
    scale = np.array([1.0, 2.0, 2.0**exponent]) if abs(exponent) > 100 else np.array([1.0, 2.0, 10.0**exponent])
    other, (_, other_std) = network.batch_norm_forward(F * scale)
    np.testing.assert_allclose(other, Y, rtol=1e-13)
    np.testing.assert_allclose(other_std, std * scale, rtol=1e-13)
