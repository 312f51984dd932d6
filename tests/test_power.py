"""Other powers of the activation: exact where moments are known, refused by name where only the cube has been derived."""

import dataclasses
import itertools

import numpy as np
import pytest
from gradient_check import complex_step, largest_error
from z_test import agrees

from simsim import (Config, ConfigError, Trajectory, activation, check_theorems, draw_views, flow, laws, loss_and_grad, measures,
                    network, noise_laws, objectives, plots, population, rates, run, sgd, simulate, target, theory, variant_laws)

POWERS = [1, 3, 5, 7]
SMALL = Config(m=2, d=8, batch_size=64, steps=40, feature_patches=4, alpha_ratio=3.0, sigma=0.7, lr=1e-3, head_lr=1e-3, init_seed=1)


def changed(**fields):
    return dataclasses.replace(SMALL, **fields)


def outputs(W, X, power):
    return (np.einsum("npd,md->npm", X, W) ** power).sum(axis=1)


def weights(config, seed=0):
    """W (m, d) whose outputs are part feature and part noise, and a head."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((config.m, config.d)) / np.sqrt(config.d)
    W[:, :config.features] *= 2 / np.array(config.alphas)
    return W, np.eye(config.m) + 0.3 * rng.standard_normal((config.m, config.m))


def reduced(W, config):
    K = config.features
    return W[:, :K], W[:, K:] @ W[:, K:].T


# ---- moments --------------------------------------------------------------------------------------

def bivariate(Q, power):
    """E[x^p y^p] of normal x, y with covariance Q (2, 2), by Gauss and Hermite's quadrature: exact for polynomials."""
    nodes, by = np.polynomial.hermite_e.hermegauss(20)
    z = np.array(list(itertools.product(nodes, nodes)))
    x, y = (z @ np.linalg.cholesky(Q).T).T
    return np.sum(np.outer(by, by).ravel() * (x * y) ** power) / by.sum() ** 2


@pytest.mark.parametrize("power", range(1, 8))
def test_pairings_are_the_moments_of_two_normal_numbers(power):
    Q = np.array([[1.3, -0.6], [-0.6, 0.9]])
    by_pairings = sum(ways * (Q[0, 0] * Q[1, 1]) ** ((power - k) / 2) * Q[0, 1] ** k for k, ways in activation.pairings(power))
    assert by_pairings == pytest.approx(bivariate(Q, power), rel=1e-11)
    assert activation.pairings(3) == [(1, 9), (3, 6)]
    assert sum(ways for _, ways in activation.pairings(power)) == activation.double_factorial(2 * power - 1)


@pytest.mark.parametrize("power", range(1, 8))
def test_the_activation_and_its_slope(power):
    u = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_allclose(activation.of(u, power), u**power, rtol=1e-14)
    np.testing.assert_allclose(activation.slope(u, power), power * u ** (power - 1), rtol=1e-14)
    out = np.empty_like(u)
    assert activation.even(u, power, out=out) is out and np.array_equal(out, activation.even(u, power))


DATA = {"alike": {}, "uneven": dict(patch_counts=(5, 3), feature_patches=5, frequencies=(0.7, 0.3), patches=8)}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
@pytest.mark.parametrize("power", [1, 5])
def test_second_moments_of_outputs_are_the_closed_form(power, data):
    """All entries of C, of weights and of a target, against 300,000 samples; those of the cube are told apart."""
    config = changed(**{"power": power, "batch_size": 300_000, "d": 5, "patches": 6, **data})
    (W, _), (W_target, _) = weights(config), weights(config, 1)
    X1, X2 = draw_views(config, np.random.default_rng(2))
    f = np.concatenate([outputs(W, X1, power), outputs(W_target, X2, power)], axis=1) / config.sigma**power
    products = f[:, :, None] * f[:, None, :]
    C = target.second_moments(config, *reduced(W, config), *reduced(W_target, config))
    assert agrees(products, C)
    cubes = dataclasses.replace(config, power=3)
    assert not agrees(products, target.second_moments(cubes, *reduced(W, config), *reduced(W_target, config)))
    C11 = population.output_covariance(config, *reduced(W, config))
    np.testing.assert_allclose(C11, config.sigma ** (2 * power) * C[:2, :2], rtol=1e-12)
    shares = population.shares(config, *reduced(W, config))
    assert ((shares > 0.01) & (shares < 0.99)).any()  # both features and noise count


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
@pytest.mark.parametrize("power", [1, 5])
def test_the_loss_is_that_of_the_closed_moments(power, objective, batch_norm):
    """From 1 - c_jj without cancellation, or from V, as from the matrix C by the objective itself."""
    if objective == "barlow" and not batch_norm:
        batch_norm = True
    config = changed(power=power, objective=objective, stop_gradient=None, batch_norm=batch_norm, head=None)
    W, E = weights(config)
    a, gram = reduced(W, config)
    C = target.second_moments(config, a, gram, a, gram) * (1 if batch_norm else config.sigma ** (2 * power))
    by_definition = objectives.from_config(config).loss_and_grad(C, E)[0]
    assert population.loss(config, a, gram, E) == pytest.approx(by_definition, rel=1e-11)
    assert target.loss(config, a, gram, E, a, gram) == pytest.approx(by_definition, rel=1e-11)
    assert population.loss(dataclasses.replace(config, power=3), a, gram, E) != pytest.approx(by_definition, rel=1e-2)


@pytest.mark.parametrize("power", [1, 5])
def test_states_of_any_size_have_the_same_shares(power):
    """Under batch norm f(cw) = c^p f(w) is f again; (12) with p in the place of 3."""
    config = changed(power=power)
    W, E = weights(config)
    c = np.array([1e-30, 3e10])
    a, gram = reduced(c[:, None] * W, config)
    E_scaled = E * c[:, None] ** power / c[None, :] ** power
    assert population.loss(config, a, gram, E_scaled) == pytest.approx(population.loss(config, *reduced(W, config), E), rel=1e-11)
    np.testing.assert_allclose(population.shares(config, a, gram), population.shares(config, *reduced(W, config)), rtol=1e-11)
    c = np.array([0.5, 1.5])
    wrong = population.loss(config, *reduced(c[:, None] * W, config), E * c[:, None] ** 3 / c[None, :] ** 3)
    assert wrong != pytest.approx(population.loss(config, *reduced(W, config), E), rel=1e-7)


def test_cubes_are_what_they_were():
    """The closed form of eq. 5 as it stood, and the network's own cube, bit for bit."""
    config = changed(patch_counts=(5, 3), feature_patches=5, frequencies=(0.7, 0.3))
    W, E = weights(config)
    a, gram = reduced(W, config)
    setting = population.Setting.from_config(config)
    M = population.moments(a, gram, E, setting)
    scaled, q = setting.alpha * a, np.diagonal(gram)
    assert np.array_equal(M.B, scaled * scaled * scaled)
    assert np.array_equal(M.noise, gram * (9 * setting.nu * (q[:, None] * q) + 6 * setting.nu * (gram * gram)))
    U = np.random.default_rng(0).standard_normal((4, 3, 2))
    f, cache = network.conv_forward(U)
    assert np.array_equal(f, (U * U * U).sum(axis=1))
    assert np.array_equal(network.conv_backward(f, cache), 3 * (U * U) * f[:, None, :])


@pytest.mark.parametrize("power", [1, 3, 5])
def test_the_spread_of_a_batch(power):
    """Eq. 51: the kurtosis of an output that is noise, against samples in one dimension of noise, from its moments."""
    config = changed(power=power, batch_size=400, patches=6, feature_patches=4)
    rng, P, k = np.random.default_rng(3), 6, 4
    n = np.arange(P - k + 1)  # noise patches in view 1: hypergeometric
    chance = rng.hypergeometric(P - k, k, P // 2, 2_000_000)
    by_count = np.bincount(chance, minlength=len(n)) / len(chance)
    second, fourth = (activation.double_factorial(r * power - 1) for r in (2, 4))
    kurtosis = by_count @ (fourth * n + 3 * second**2 * n * (n - 1)) / (second * by_count @ n) ** 2
    assert theory.batch_spread(config) == pytest.approx(np.sqrt((kurtosis - 1) / 400), rel=5e-3)


# ---- gradients of a batch --------------------------------------------------------------------------

@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
@pytest.mark.parametrize("power", [1, 2, 4, 5])
def test_gradient_of_a_batch(power, objective):
    """Against complex steps through the definition; even powers as well, which a Config refuses."""
    config = changed(m=3, d=9)
    W, E = weights(config)
    X1, X2 = draw_views(config, np.random.default_rng(4))
    loss, grad = loss_and_grad(W, E, X1, X2, objective=objective, stop_gradient=False, power=power) \
        if objective != "simsiam" else loss_and_grad(W, E, X1, X2, power=power)
    made = objectives.make(objective, objective == "simsiam")

    def definition(W, E, fixed=None):
        f = [outputs(x, X, power) for x, X in ((W, X1), (W if fixed is None else fixed, X2))]
        C = objectives.second_moments(*f, True)
        return made.loss_and_grad(C, E)[0]

    fixed = W if made.stop_gradient else None
    assert loss == pytest.approx(definition(W, E), rel=1e-11)
    by_W, by_E = lambda x: definition(x, E, fixed), lambda x: definition(W, x, fixed)
    assert largest_error(by_W, W, grad.W, complex_step) < 1e-9
    assert largest_error(by_E, E, grad.E, complex_step) < 1e-9
    assert largest_error(by_W, W, 1.01 * grad.W, complex_step) > 1e-3


@pytest.mark.parametrize("power", [0, -1, 2.0, True, "3", None])
def test_no_power_of_a_batch(power):
    X1, X2 = draw_views(SMALL, np.random.default_rng(4))
    with pytest.raises(ValueError, match="`power` must be a whole number, at least 1"):
        loss_and_grad(*weights(SMALL), X1, X2, power=power)


@pytest.mark.parametrize("power", POWERS)
def test_equation_12_has_the_power(power):
    """<w_r, g> - p sum_j E_jr g_jr + p sum_s E_rs g_rs = 0 on every batch; with 3 in the place of p it is not."""
    config = changed(m=3, d=9)
    W, E = weights(config)
    _, grad = loss_and_grad(W, E, *draw_views(config, np.random.default_rng(5)), power=power)
    off = E * grad.E * (1 - np.eye(3))
    residual = lambda p: (W * grad.W).sum(axis=1) - p * off.sum(axis=0) + p * off.sum(axis=1)
    size = np.abs(off).sum()
    assert np.abs(residual(power)).max() < 1e-11 * size
    assert np.abs(residual(power + 2)).max() > 1e-3 * size


@pytest.mark.parametrize("power", POWERS)
def test_equation_13_changes_in_a_step_by_its_second_order_term(power):
    """||dw_r||^2 + (p / kappa) sum_j (dE_rj^2 - dE_jr^2), since (12) kills the linear terms; with p + 2 they stay."""
    config = changed(power=power, engine="sgd", steps=1, m=3, d=9, head_lr=4e-4)
    state = sgd.start([config])
    state.head[0] += 0.3 * np.array([[0, 1, -0.5], [0.2, 0, 0.4], [1, 0.7, 0]])
    parts = [(state.engine.W[0].copy(), state.head[0].copy()) for _ in sgd.iterate(state)]
    (W, E), (W_after, E_after) = parts
    errors = []
    for p in (power, power + 2):
        before, after, second = (theory.conserved(config.kappa, (w**2).sum(axis=1), e, p) for w, e in
                                 ((W, E), (W_after, E_after), (W_after - W, E_after - E)))
        errors.append(np.abs(after - before - second).max())
    assert errors[0] < 1e-14 * before.max() and errors[1] > 1e3 * errors[0]


# ---- all the way, or refused -------------------------------------------------------------------------

@pytest.mark.parametrize("engine", ["gram", "sgd"])
@pytest.mark.parametrize("power", [1, 5])
def test_a_run_goes_all_the_way(power, engine, tmp_path):
    made = simulate(changed(power=power, engine=engine, batch_size=4096, steps=5, target_momentum=0.9))
    assert abs(made.batch_loss[-1] - made.loss[-1]) < 0.2 and np.isfinite(made.shares).all()
    report = check_theorems(made)
    assert f"power {power}" in report.title and {check.verdict for check in report} == {"OUTSIDE"}
    assert all("the cubic activation" in check.wants for check in report)
    plots.phases(made)
    made.save(tmp_path / "run.npz")
    assert Trajectory.load(tmp_path / "run.npz").config == made.config
    assert rates.lookup(made.config) is None


def test_equation_13_is_judged_with_the_power():
    """The head's bound is exact for any power: sqrt(kappa / p) ||w(0)||."""
    made = simulate(Config(d=20, power=1, batch_size=512, steps=2000, lr=0.02, head_lr=0.02, alpha_ratio=3.0, feature_patches=4))
    bound = [check for check in check_theorems(made) if "<= sqrt(kappa/1)" in check.claim]
    assert [check.verdict for check in bound] == ["PASS"]
    assert bound[0].predicted in theory.head_bound(made.config, made.norms[0])
    norms = np.array([0.9, 1.1])
    np.testing.assert_allclose(theory.head_bound(changed(power=5), norms), np.sqrt(1 / 5) * norms)


def test_what_is_about_cubes_refuses_by_name():
    config = changed(power=5)
    start = np.full((2, 2), 0.1), np.ones(2)
    state = simulate(config).state()
    cubes = population.Setting.from_config(config)
    asks = [lambda: population.loss_and_grad(*weights(config), config), lambda: simulate(config).growth,
            lambda: measures.growth(config, state.a, state.gram, state.E), lambda: flow.Equations.from_config(config),
            lambda: population.gradient(state.a, state.factor(), state.E, cubes, objectives.from_config(config)),
            lambda: laws.first_learner(config, *start), lambda: laws.substitution_time(config, *start),
            lambda: laws.success_rate(config), lambda: theory.fates(config, start[0]), lambda: theory.collapse_probability(config),
            lambda: theory.small_start_times(config, *start), lambda: theory.noise_left(config, 1.0, 0, 1e9),
            lambda: theory.FrozenNeuron(config, start[0][0], 1.0), lambda: theory.clear_lead(config, *start),
            lambda: laws.noise(config), lambda: noise_laws.growth(config), lambda: noise_laws.noise_floor(config),
            lambda: noise_laws.blur(config, 0.1, noise_laws.of_batch(8, 4, 64)),
            lambda: variant_laws.spreads(changed(power=5, m=3, features=3), np.ones((3, 3)))]
    for ask in asks:
        with pytest.raises(ValueError, match="cubic activation"):
            ask()
    with pytest.raises(ConfigError, match="`power` = 5 is not possible: engine flow has the gradient of power 3"):
        Config(engine="flow", power=5)
    with pytest.raises(ConfigError, match="`power` = 4 is not possible: it must be odd: an even power does not see the sign"):
        Config(power=4)
    with pytest.raises(ConfigError, match="must be at most 7"):
        Config(power=9)


def test_strengths_count_by_the_power():
    """A feature shown more often is as one that is stronger by the 2p-th root."""
    config = changed(power=5, frequencies=(0.8, 0.2))
    np.testing.assert_allclose(config.effective_alphas, np.array(config.scaled_alphas) * np.array([1.6, 0.4]) ** 0.1, rtol=1e-14)
    assert not changed(power=5).hand_picked and Config().hand_picked and not Config(power=5).hand_picked


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--power", "5", "--d", "12", "--batch-size", "64", "--steps", "30", "--out", "out"]
    assert run.main(words) == 0
    said = capsys.readouterr()
    assert "OUTSIDE: the run is without the cubic activation" in " ".join(said.out.split())
    assert "no flow to compare with: `power` = 5" in said.err
    assert run.main(["--power", "2"]) == 2 and "--power 2: it must be odd" in capsys.readouterr().err
    assert run.main(["--power", "5", "--engine", "flow"]) == 2 and "--power 5: engine flow" in capsys.readouterr().err


@pytest.mark.parametrize("power", [1, 3, 5])
def test_a_signal_at_the_noise_level_has_half_of_the_variance(power):
    config = changed(power=power)
    level = theory.noise_level(config, np.array([1.3, 0.7]))
    a = np.zeros((2, 2))
    a[:, 0] = level / np.array(config.scaled_alphas)[0]
    shares = population.shares(config, a, np.diag(np.array([1.3, 0.7]) ** 2))
    np.testing.assert_allclose(shares[:, 0], 0.5, rtol=1e-12)
