"""The infinite batch in closed form, against complex steps, against samples, against its symmetries."""

import numpy as np
import pytest
from gradient_check import complex_step, largest_error
from test_network import NOT_REAL, symmetry_violations
from z_test import agrees

from simsim import Config, draw_views, flow, loss_and_grad, objectives, population

COMPLEX_TOLERANCE = 2e-12
SYMMETRY_TOLERANCE = 1e-14
SIMSIAM = objectives.make("simsiam")
SHAPES = [(1, 8, 4), (2, 8, 4), (3, 6, 2), (5, 10, 7)]  # m, patches, feature_patches


def make_config(m=2, patches=8, feature_patches=4, **more):
    return Config(m=m, d=m + 5, patches=patches, feature_patches=feature_patches, alpha_ratio=3.0, alpha_weak=0.7,
                  sigma=0.8, **more)


def random_point(config, seed):
    """Weights of order 1 and a head far from the identity."""
    rng = np.random.default_rng(seed)
    m = config.m
    return rng.standard_normal((m, config.d)), np.eye(m) + 0.7 * rng.standard_normal((m, m)) * (1 - np.eye(m))


def reduced(W):
    """Overlaps and noise Gram of weights (m, d), complex steps included."""
    return W[:, :2], population.gram_of(W[:, 2:])


def stopped_loss(W, E, W_target, config):
    """Eq. 6 with the target branch G held at W_target, as stop-gradient has it."""
    setting = population.Setting.from_config(config)
    online = population.moments(*reduced(W), E, setting)
    target = population.moments(*reduced(W_target), E, setting)
    rho = setting.h12 * (online.H * target.B).sum(axis=-1) / np.sqrt(online.D * target.G)
    return 2 * config.m - 2 * rho.sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_gradient_at_a_fixed_target(seed, shape):
    config = make_config(*shape)
    W, E = random_point(config, seed)
    loss, grad = population.loss_and_grad(W, E, config)
    assert loss == pytest.approx(stopped_loss(W, E, W, config), rel=1e-13)
    by_W = lambda z: stopped_loss(z, E, W, config)
    assert largest_error(by_W, W, grad.W, complex_step) < COMPLEX_TOLERANCE
    if config.m > 1:  # at m = 1 the head only rescales: its gradient is 0
        assert largest_error(lambda z: stopped_loss(W, z, W, config), E, grad.E, complex_step) < COMPLEX_TOLERANCE


def test_the_check_catches_an_error_of_a_thousandth_and_a_missing_stop_gradient():
    config = make_config(3)
    W, E = random_point(config, 0)
    _, grad = population.loss_and_grad(W, E, config)
    by_W = lambda z: stopped_loss(z, E, W, config)
    one_entry = grad.W.copy()
    one_entry[np.unravel_index(np.abs(grad.W).argmax(), grad.W.shape)] *= 1.001
    for wrong in (1.001 * grad.W, one_entry):
        assert largest_error(by_W, W, wrong, complex_step) > 1e4 * COMPLEX_TOLERANCE
    both_branches = lambda z: stopped_loss(z, E, z, config)
    assert largest_error(both_branches, W, grad.W, complex_step) > 0.01


def test_the_loss_itself_is_analytic():
    """Its complex step, without stop-gradient, is that of the same loss written naively."""
    config = make_config(3)
    W, E = random_point(config, 1)
    direction = np.random.default_rng(2).standard_normal(W.shape)
    closed = complex_step(lambda z: population.loss(config, *reduced(z), E), W, direction)
    naive = complex_step(lambda z: stopped_loss(z, E, z, config), W, direction)
    assert closed == pytest.approx(naive, rel=1e-12)


def gradients_of_samples(W, E, config, batches, rng):
    """(batches, ...) loss and gradient of literal batches, free of the O(1/N) bias of batch norm.

    Twice the whole batch minus the mean of its halves: what is left of the bias is O(1/N^2).
    """
    rows, half = [], config.batch_size // 2
    for _ in range(batches):
        X1, X2 = draw_views(config, rng)
        whole, *halves = (loss_and_grad(W, E, X1[part], X2[part])
                          for part in (slice(None), slice(half), slice(half, None)))
        flat = [np.concatenate([[loss], grad.W.ravel(), grad.E.ravel()]) for loss, grad in (whole, *halves)]
        rows.append(2 * flat[0] - (flat[1] + flat[2]) / 2)
    return np.array(rows)


@pytest.mark.parametrize("data", [{}, {"frequencies": (0.8, 0.2)}, {"patch_counts": (4, 6), "feature_patches": 6}], ids=str)
def test_a_million_samples_have_this_loss_and_gradient(data):
    """The mean over 250 batches of 4,000 (error probability 1e-6); one per cent off is rejected."""
    config = make_config(2, batch_size=4000, **data)
    W, E = random_point(config, 3)
    W[:, 2:] *= 0.7  # signal and noise of one size: both of their gradients are seen
    loss, grad = population.loss_and_grad(W, E, config)
    expected = np.concatenate([[loss], grad.W.ravel(), grad.E.ravel()])
    seen = gradients_of_samples(W, E, config, 250, np.random.default_rng(0))
    assert agrees(seen, expected)
    assert not agrees(seen, 1.01 * expected)
    for other in ({**data, "feature_patches": 5, "patch_counts": None}, {**data, "frequencies": (0.4, 0.6)}):
        wrong = population.loss_and_grad(W, E, make_config(2, **other))[1]
        assert not agrees(seen[:, 1:], np.concatenate([wrong.W.ravel(), wrong.E.ravel()]))


@pytest.mark.parametrize("m", [2, 3, 6])
def test_symmetries_hold_to_rounding(m):
    """docs/theory.md, eq. 12 and its companions."""
    config = make_config(m)
    for seed in range(20):
        W, E = random_point(config, seed)
        grad = population.loss_and_grad(W, E, config)[1]
        terms = np.abs(W * grad.W).sum() + np.abs(E * grad.E).sum()  # what the rounding is of
        radial = np.abs((W * grad.W).sum(axis=1)).max() + 3 * np.abs(E * grad.E).max()
        assert max(symmetry_violations(W, E, grad)) * radial < SYMMETRY_TOLERANCE * terms
        assert max(symmetry_violations(W, E, grad._replace(E=1.001 * grad.E))) > 1e-6


def test_weights_in_any_dimension_are_their_reduced_state():
    config = make_config(3)
    rng = np.random.default_rng(1)
    W, E = rng.standard_normal((3, 40)), random_point(config, 1)[1]
    loss, grad = population.loss_and_grad(W, E, config)
    a, gram = reduced(W)
    U = np.linalg.cholesky(gram)
    basis = np.linalg.solve(U, W[:, 2:])  # orthonormal rows: W^perp = U basis
    of_reduced = population.gradient(a, U, E, population.Setting.from_config(config), SIMSIAM)
    assert population.loss(config, a, gram, E) == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(of_reduced.a, grad.W[:, :2], atol=1e-12 * np.abs(grad.W).max())
    np.testing.assert_allclose(of_reduced.U @ basis, grad.W[:, 2:], atol=1e-12 * np.abs(grad.W).max())
    np.testing.assert_allclose(of_reduced.E, grad.E, atol=1e-12 * np.abs(grad.E).max())


def test_leading_axes_are_copies():
    config = make_config(3)
    points = [random_point(config, seed) for seed in range(4)]
    W, E = (np.array(part) for part in zip(*points))
    together = population.loss(config, W[..., :2], population.gram_of(W[..., 2:]), E)
    np.testing.assert_allclose(together, [population.loss(config, *reduced(w), e) for w, e in points], rtol=1e-14)


def test_gradient_keeps_its_digits_when_the_noise_is_almost_gone():
    """At E = I with orthogonal rows the gradient is the noise left, 1e-29 here: a plain difference sees rounding."""
    config = make_config()
    setting = population.Setting.from_config(config)
    grad = population.gradient(np.eye(2), 1e-5 * np.eye(2), np.eye(2), setting, SIMSIAM)
    noise = 15 * setting.nu * 1e-10**3
    relative = noise / (setting.mu11 / 2 * setting.alpha**6)
    assert relative.max() < 1e-28
    np.testing.assert_allclose(-grad.a.diagonal(), 6 * setting.mu12 / setting.mu11 * relative, rtol=1e-12)


def test_without_noise_and_with_equal_views_nothing_is_lost():
    config = Config(patches=2, feature_patches=2, d=5, alpha_weak=0.7, alpha_ratio=3.0)
    assert population.loss(config, np.eye(2), np.eye(2), np.eye(2)) == 0


@pytest.mark.parametrize("W, E", [(np.ones((2, 2)), np.eye(2)), (np.ones(4), np.eye(2)), (np.ones((2, 4)), np.eye(3)),
                                  (np.ones((0, 4)), np.eye(0))])
def test_shapes_that_do_not_fit_are_refused(W, E):
    with pytest.raises(ValueError, match="`W` must have shape"):
        population.loss_and_grad(W, E, make_config())


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_head_s_noise_as_a_squared_length(m):
    rng = np.random.default_rng(m)
    U, E = rng.standard_normal((4, m, m)), rng.standard_normal((4, m, m))
    setting = population.Setting.from_config(make_config())
    K = population.moments(np.ones((4, m, 2)), population.gram_of(U), E, setting).noise
    expected = np.einsum("njr,nrs,njs->nj", E, K, E)
    np.testing.assert_allclose(population.head_noise(U, E, setting), expected, rtol=1e-12)


def test_the_head_s_noise_keeps_its_digits_where_the_head_cancels_it():
    """Two neurons of parallel noise: F_0 = 1e-9 f_0 has 1e-18 of f_0's noise, which the Gram matrix cannot tell."""
    setting = population.Setting.from_config(make_config())
    u = np.random.default_rng(0).standard_normal(2)
    U = np.array([u, 1.7 * u])
    E = np.array([[1.0, (1e-9 - 1) / 1.7**3], [0.0, 1.0]])
    M = population.moments(np.ones((2, 2)), population.gram_of(U), E, setting)
    exact = pytest.approx(1e-18 * M.k[0], rel=1e-6, abs=0)
    assert population.head_noise(U, E, setting)[0] == exact
    assert M.n[0] != exact


# ---- any size, and nothing but numbers --------------------------------------------

@pytest.mark.parametrize("c", [1e-250, 1e-100, 1e-54, 1e55, 1e100, 1e250])
def test_the_loss_knows_no_scale(c):
    config = make_config(3)
    W, E = random_point(config, 0)
    loss, grad = population.loss_and_grad(W, E, config)
    other_loss, other = population.loss_and_grad(c * W, E, config)
    assert other_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(c * other.W, grad.W, rtol=1e-9)
    np.testing.assert_allclose(other.E, grad.E, rtol=1e-9)


@pytest.mark.parametrize("c", [1e-60, 1e60])
def test_a_neuron_may_be_of_another_size_than_the_rest(c):
    """Eq. 12 as a finite transformation: row r times c, and the head so that every output keeps its direction."""
    config = make_config(3)
    W, E = random_point(config, 0)
    scale = np.array([1, c, 1])
    V, H = scale[:, None] * W, E * (scale[:, None] / scale) ** 3
    loss, grad = population.loss_and_grad(W, E, config)
    other_loss, other = population.loss_and_grad(V, H, config)
    assert other_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(scale[:, None] * other.W, grad.W, rtol=1e-9)
    np.testing.assert_allclose(other.E * (scale[:, None] / scale) ** 3, grad.E, rtol=1e-9)
    a, gram = reduced(W)
    b, other_gram = scale[:, None] * a, scale[:, None] * gram * scale
    for law, last in ((population.loss, [(E,), (H,)]), (population.head_shares, [(E,), (H,)]),
                      (population.shares, [(), ()]), (population.correlations, [(), ()])):
        np.testing.assert_allclose(law(config, b, other_gram, *last[1]), law(config, a, gram, *last[0]), rtol=1e-12)


@pytest.mark.parametrize("c", [1e-15, 1e15])
def test_only_alpha_over_sigma_matters(c):
    config = make_config(2)
    scaled = Config(**{**config.to_dict(), "alpha_weak": c * config.alpha_weak, "sigma": c * config.sigma})
    W, E = random_point(config, 0)
    (loss, grad), (other_loss, other) = (population.loss_and_grad(W, E, each) for each in (config, scaled))
    assert other_loss == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(other.W, grad.W, rtol=1e-9)
    a, gram = reduced(W)
    np.testing.assert_allclose(population.output_covariance(scaled, a, gram),
                               c**6 * population.output_covariance(config, a, gram), rtol=1e-12)


@pytest.mark.parametrize("strength", [1e-20, 1e-6, 1e6, 5e18])
def test_strengths_far_from_one(strength):
    """The gradient against a complex step of the loss, at noise and features of any proportion."""
    config = Config(m=2, d=7, alpha_weak=strength, feature_patches=4)
    W, E = random_point(config, 1)
    loss, grad = population.loss_and_grad(W, E, config)
    assert 0 < loss < 8 and np.isfinite(grad.W).all() and np.isfinite(grad.E).all()
    terms = np.abs(W * grad.W).sum() + np.abs(E * grad.E).sum()
    radial = np.abs((W * grad.W).sum(axis=1)).max() + 3 * np.abs(E * grad.E).max()
    assert max(symmetry_violations(W, E, grad)) * radial < SYMMETRY_TOLERANCE * terms


def test_a_loss_close_to_zero_keeps_its_digits():
    """Equal views without noise: at E = I + e X the loss is of order e^2, and 1 - rho would be rounding below 1e-8."""
    config = Config(patches=2, feature_patches=2, d=5, alpha_weak=0.7, alpha_ratio=3.0)
    W = random_point(config, 4)[0]
    losses = [population.loss_and_grad(W, np.array([[1, e], [-e, 1]]), config)[0] for e in (1e-4, 1e-6, 1e-12)]
    assert losses[1] / losses[0] == pytest.approx(1e-4, rel=1e-3, abs=0)
    assert losses[2] / losses[1] == pytest.approx(1e-12, rel=1e-5, abs=0)


@pytest.mark.parametrize("name, place", [("W", 0), ("E", 1)])
@pytest.mark.parametrize("reason", NOT_REAL)
def test_what_is_no_finite_real_number_is_refused(reason, name, place):
    point = list(random_point(make_config(), 0))
    point[place] = NOT_REAL[reason](point[place])
    with pytest.raises(ValueError, match=f"`{name}`.*{reason}"):
        population.loss_and_grad(*point, make_config())


def test_rows_without_an_output_are_named():
    config = make_config(3)
    W, E = random_point(config, 0)
    dead, silent = W.copy(), E.copy()
    dead[1] = silent[2] = 0
    with pytest.raises(ValueError, match="row 2 of `W`"):
        population.loss_and_grad(dead, E, config)
    with pytest.raises(ValueError, match="row 3 of `E`"):
        population.loss_and_grad(W, silent, config)
    noiseless = Config(**{**config.to_dict(), "feature_patches": config.patches})
    W[2, :2] = 0
    with pytest.raises(ValueError, match="row 3 of `W`"):
        population.loss_and_grad(W, E, noiseless)


def test_lists_integers_and_float32_are_taken():
    W, E = np.array([[1, 2, 0], [0, 1, 3]]), np.array([[1, 0], [1, 1]])
    config = Config(d=4)
    loss, grad = population.loss_and_grad(W, E, config)
    for kind in (np.ndarray.tolist, np.float32, np.int8):
        assert population.loss_and_grad(kind(W), kind(E), config)[0] == loss
    assert grad.W.dtype == grad.E.dtype == float


def test_a_frequency_is_worth_the_sixth_root_of_a_strength():
    """Exactly, for the whole flow: (K p)^(1/6) alpha at equal frequencies is alpha at frequency p."""
    often = Config(engine="flow", d=10**4, strengths=(6.0, 6.0), frequencies=(0.95, 0.05), lr=1.0, init_seed=2)
    strong = Config(engine="flow", d=10**4, strengths=often.effective_alphas, lr=1.0, init_seed=2)
    assert strong.alpha_ratio == pytest.approx(19 ** (1 / 6))
    one, two = (flow.follow_many(config, range(4)) for config in (often, strong))
    np.testing.assert_allclose(one.phases, two.phases, rtol=1e-6)
    assert (one.verdict == two.verdict).all()


@pytest.mark.filterwarnings("error")
def test_a_raw_loss_beyond_floating_point_is_inf():
    """Without batch norm the loss has the sixth power of the weights."""
    config = Config(batch_norm=False)
    sizes = np.array([1.0, 1e60])[:, None, None]
    losses = population.loss(config, sizes * np.ones((2, 2)), sizes**2 * np.eye(2), np.eye(2))
    assert np.isfinite(losses[0]) and losses[1] == np.inf


def test_the_raw_loss_of_what_is_no_number_is_none():
    """It used to be inf, as if it were a loss."""
    config = Config(batch_norm=False)
    overlaps = np.ones((3, 2, 2))
    overlaps[0, 1, 1] = np.nan
    losses = population.loss(config, overlaps, np.stack([np.eye(2), np.nan * np.eye(2), np.eye(2)]), np.eye(2))
    assert np.isnan(losses[:2]).all() and np.isfinite(losses[2])
    assert np.isnan(population.loss(config, overlaps[2], np.eye(2), np.full((2, 2), np.nan)))
