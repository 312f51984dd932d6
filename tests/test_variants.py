"""Every objective, flag, head and number of features in one table: gradients, and the exact laws they obey.

Three routes to the same gradient are held against each other and against numerical derivatives:
the literal chain (`network.chain`), the chain from second moments (`objectives`), and the
closed form of the infinite batch (`population`), which is cancellation-free under batch norm.
"""

import decimal

import numpy as np
import pytest
from gradient_check import central, complex_step, largest_error
from variants import FLAGS, Case, cases, name, reduced, uneven_cases
from z_test import agrees

from simsim import Config, draw_views, heads, loss_and_grad, network, objectives, population
from simsim.data import mask_moments

CENTRAL_TOLERANCE = 1e-7
COMPLEX_TOLERANCE = 1e-11
ROUTES_AGREE = 1e-11
SYMMETRY_TOLERANCE = 1e-11

TABLE = pytest.mark.parametrize("case", cases(), ids=name)
WITH_UNEVEN = pytest.mark.parametrize("case", cases() + uneven_cases(), ids=name)
BATCH_NORMED = pytest.mark.parametrize("case", [case for case in cases() if case.batch_norm], ids=name)


def errors(function, x, gradient, derivative):
    """`largest_error`, or, of a gradient that vanishes identically, the size of what the derivative says instead."""
    if np.abs(gradient).max() > 1e-12:
        return largest_error(function, x, gradient, derivative)
    return abs(derivative(function, x, np.ones_like(x)))


# ---- (i) the literal chain against numerical derivatives --------------------------------

def literal_loss(case, W, E, W_target, X1, X2):
    """The loss written again, from the definition, with the target's weights given apart from the online ones."""
    def outputs(W, X):
        return ((X @ W.T) ** 3).sum(axis=1)

    def normalised(F):
        F = F - F.mean(axis=0)
        return F / np.sqrt((F * F).mean(axis=0))

    F, G = outputs(W, X1) @ E.T, outputs(W_target, X2)
    if case.batch_norm:
        F, G = normalised(F), normalised(G)
    if case.objective != "barlow":
        return ((F - G) ** 2).sum() / len(F)
    c = F.T @ G / len(F)
    misfit = 1 - np.diag(c)
    return (misfit**2).sum() + 0.3 * ((c**2).sum() - (np.diag(c) ** 2).sum())


@TABLE
@pytest.mark.parametrize("derivative, tolerance", [(central, CENTRAL_TOLERANCE), (complex_step, COMPLEX_TOLERANCE)])
def test_literal_gradient(case, derivative, tolerance):
    W, E = case.weights()
    X1, X2 = case.views()
    loss, grad = loss_and_grad(W, E, X1, X2, **case.options())
    by_W = lambda x: literal_loss(case, x, E, W if case.stop_gradient else x, X1, X2)
    by_E = lambda x: literal_loss(case, W, x, W, X1, X2)
    assert loss == pytest.approx(by_W(W), rel=1e-12)
    assert errors(by_W, W, grad.W, derivative) < tolerance
    assert errors(by_E, E, grad.E, derivative) < tolerance
    assert errors(by_W, W, 1.001 * grad.W, derivative) > 1e-4


def test_stop_gradient_is_a_difference():
    """In each objective that has both, the gradient without it is another one."""
    for objective, batch_norm in (("simsiam", True), ("simsiam", False), ("barlow", True)):
        with_it, without = (Case(objective, stop, batch_norm, "trained", "fixed", 2, 2) for stop in (True, False))
        W, E = with_it.weights()
        grads = [loss_and_grad(W, E, *case.views(), **case.options())[1].W for case in (with_it, without)]
        assert np.linalg.norm(grads[0] - grads[1]) > 0.01 * np.linalg.norm(grads[1])


# ---- (ii) the chain from second moments against the literal one --------------------------

def from_moments(case, W, E, X1, X2):
    """Loss, dL/dU1, dL/dU2 and dL/dE by way of the second moments of the outputs."""
    U1, U2 = X1 @ W.T, X2 @ W.T
    f1, f2 = ((U**3).sum(axis=1) for U in (U1, U2))
    if case.batch_norm:
        f1, f2 = f1 - f1.mean(axis=0), f2 - f2.mean(axis=0)
    C = objectives.second_moments(f1, f2, case.batch_norm)
    loss, grad = objectives.from_config(case.config()).loss_and_grad(C, E)
    df = objectives.output_gradient(grad.mixing, f1, f2)
    return loss, [3 * U**2 * part[:, None] for part, U in zip(df, (U1, U2))], grad.E


@TABLE
def test_second_moments_are_enough(case):
    W, E = case.weights()
    X1, X2 = case.views()
    loss, grad = network.chain(X1 @ W.T, X2 @ W.T, E, objectives.from_config(case.config()))
    moments_loss, dU, dE = from_moments(case, W, E, X1, X2)
    scale = np.abs(grad.U1).max()
    assert moments_loss == pytest.approx(loss, rel=1e-11, abs=1e-12)
    np.testing.assert_allclose(dU[0], grad.U1, atol=ROUTES_AGREE * scale)
    np.testing.assert_allclose(dE, grad.E, atol=ROUTES_AGREE * (np.abs(grad.E).max() + scale))
    assert (len(dU) == 1) == (grad.U2 is None) == case.stop_gradient
    if not case.stop_gradient:
        np.testing.assert_allclose(dU[1], grad.U2, atol=ROUTES_AGREE * scale)


# ---- (iii) the infinite batch -------------------------------------------------------------

def population_loss(case, W, E, W_target):
    """The loss of second moments in closed form, plainly, with the target's weights given apart."""
    config, m = case.config(), case.m
    often = np.full(case.K, 1 / case.K) if config.frequencies is None else np.array(config.frequencies)
    mu11, mu12, nu = mask_moments(config.patches, np.array(config.patches_by_feature))
    B, B_target = ((np.array(config.scaled_alphas) * w[:, :case.K]) ** 3 for w in (W, W_target))
    noise, noise_target = (often @ nu * (9 * np.outer(np.diag(Q), np.diag(Q)) * Q + 6 * Q**3)
                           for Q in (reduced(W, config)[1], reduced(W_target, config)[1]))
    C = np.empty((2 * m, 2 * m), np.result_type(W, W_target, E))
    C[:m, :m] = B * (often * mu11) @ B.T + noise
    C[:m, m:] = B * (often * mu12) @ B_target.T
    C[m:, :m] = C[:m, m:].T
    C[m:, m:] = B_target * (often * mu11) @ B_target.T + noise_target
    unit = 1 if case.batch_norm else config.sigma**6
    return unit * objectives.from_config(config).loss_and_grad(C, E)[0]


@WITH_UNEVEN
def test_population_gradient(case):
    W, E = case.weights()
    loss, grad = population.loss_and_grad(W, E, case.config())
    by_W = lambda x: population_loss(case, x, E, W if case.stop_gradient else x)
    by_E = lambda x: population_loss(case, W, x, W)
    assert loss == pytest.approx(by_W(W), rel=1e-11)
    assert errors(by_W, W, grad.W, complex_step) < COMPLEX_TOLERANCE
    assert errors(by_E, E, grad.E, complex_step) < COMPLEX_TOLERANCE
    assert errors(by_W, W, 1.001 * grad.W, complex_step) > 1e-4


@WITH_UNEVEN
def test_the_population_loss_is_analytic(case):
    """The loss that a run records, cancellation-free under batch norm, has the complex step of the plain one."""
    W, E = case.weights(1)
    config = case.config()
    direction = np.random.default_rng(2).standard_normal(W.shape)
    closed = complex_step(lambda x: population.loss(config, *reduced(x, config), E), W, direction)
    plain = complex_step(lambda x: population_loss(case, x, E, x), W, direction)
    assert closed == pytest.approx(plain, rel=1e-10)


@pytest.mark.parametrize("flags", FLAGS)
def test_leading_axes_are_copies(flags):
    case = Case(*flags, "frozen" if flags[0] == "naive" else "random", "fixed", 3, 3)
    config, setting = case.config(), population.Setting.from_config(case.config())
    objective, rng = objectives.from_config(config), np.random.default_rng(0)
    a, U, E = rng.standard_normal((3, 2, 4, 3, 3))
    together = population.gradient(a, U, E, setting, objective)
    losses = population.loss(config, a, population.gram_of(U), E)
    assert losses.shape == (2, 4)
    one = population.gradient(a[1, 2], U[1, 2], E[1, 2], setting, objective)
    for all_of_them, single in zip(together, one):
        np.testing.assert_allclose(all_of_them[1, 2], single, atol=1e-12 * np.abs(single).max())
    assert losses[1, 2] == pytest.approx(population.loss(config, a[1, 2], population.gram_of(U[1, 2]), E[1, 2]))


@pytest.mark.parametrize("K", [1, 3, 4])
def test_samples_have_the_second_moments_of_the_closed_form(K):
    """What losses of the infinite batch are made of, against samples; each is seen to feel the number of features."""
    config = Config(m=2, features=K, d=K + 4, alpha_ratio=3.0, alpha_weak=0.8, sigma=0.9, feature_patches=4,
                    batch_size=40_000)
    rng = np.random.default_rng(K)
    W = rng.standard_normal((2, config.d)) / np.sqrt(config.d)
    f1, f2 = (((X @ W.T) ** 3).sum(axis=1) for X in draw_views(config, rng))
    a, gram = reduced(W, config)
    C11, B = population.output_covariance(config, a, gram), (np.asarray(config.alphas) * a) ** 3
    mu11, mu12, _ = mask_moments(8, 4)
    assert agrees(f1[:, :, None] * f1[:, None, :], C11)
    assert agrees(f2[:, :, None] * f2[:, None, :], C11)
    assert agrees(f1[:, :, None] * f2[:, None, :], mu12 / K * B @ B.T)
    wrong = 1 / K + 0.2
    assert not agrees(f1[:, :, None] * f1[:, None, :], C11 + (wrong - 1 / K) * mu11 * B @ B.T)
    assert not agrees(f1[:, :, None] * f2[:, None, :], wrong * mu12 * B @ B.T)
    np.testing.assert_allclose(population.shares(config, a, gram), mu11 / K * B**2 / np.diag(C11)[:, None], rtol=1e-13)


def plain_gradient(case, a, U, E, number):
    """dL/da, dL/dU and dL/dE under batch norm, by the chain rule as it comes, with its cancellations.

    `number` is float, or Decimal: then in as many digits as the context has.
    """
    exact = np.vectorize(number, otypes=[float if number is float else object])
    setting, K = population.Setting.from_config(case.config()), case.K
    lag = 0 if setting.deficit is None else setting.deficit
    h11, h12, nu = (exact(mu) / d for mu, d in ((setting.mu11, K), (setting.mu12 - lag, K), (setting.nu, 1)))
    a, U, E, alpha, one = (exact(part) for part in (a, U, E, setting.alpha, np.eye(case.m)))
    B, Q = (alpha * a) ** 3, U @ U.T
    q = np.diag(Q)
    noise = nu * (9 * np.outer(q, q) * Q + 6 * Q**3)
    C11, C12 = h11 * B @ B.T + noise, h12 * B @ B.T  # h12 (K,), or one for all
    D, G = np.diag(E @ C11 @ E.T), np.diag(C11)
    s = np.sqrt(np.outer(D, G))
    c = E @ C12 / s
    g = -2 * one
    if case.objective == "barlow":
        g = 2 * number(0.3) * (one.max() - one) * c - 2 * one * (1 - c)
    by_D, by_N, by_G = -(g * c).sum(axis=1) / (2 * D), g / s, -(g * c).sum(axis=0) / (2 * G)
    on_noise = E.T @ (by_D[:, None] * E)
    on_B = 2 * h11 * on_noise @ B + h12 * (E.T @ by_N @ B)  # C12 = B h12 B'^T, by way of B
    if not case.stop_gradient:
        on_noise = on_noise + one * by_G
        on_B = on_B + 2 * h11 * by_G[:, None] * B + h12 * (by_N.T @ E @ B)  # and by way of B'
    # dSigma_rs = 9 q_r q_s dQ_rs + 18 Q_rs^2 dQ_rs + 9 Q_rs d(q_r q_s)
    on_Q = nu * (on_noise * (9 * np.outer(q, q) + 18 * Q**2) + one * (18 * (on_noise * Q * q).sum(axis=1)))
    return 3 * alpha**3 * a**2 * on_B, 2 * on_Q @ U, by_N @ C12.T + 2 * by_D[:, None] * (E @ C11)


def learned_state(config, noise):
    """Neuron j holds feature j (mod K), and little of the others; its noise has `noise` times the variance of that."""
    rng, m, K = np.random.default_rng(3), config.m, config.features
    own = np.arange(K) == np.arange(m)[:, None] % K
    a = np.where(own, 1.0, 0.05) * (1 + 0.3 * rng.random((m, K))) * rng.choice([-1, 1], (m, K))
    setting = population.Setting.from_config(config)
    learned = setting.h11 * np.where(own, (setting.alpha * a) ** 6, 0).sum(axis=1)
    directions = np.eye(m) + 0.3 * rng.standard_normal((m, m))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    U = (noise * learned / (15 * setting.nu))[:, None] ** (1 / 6) * directions
    head = heads.from_config(config)
    return a, U, head.start() + 1e-4 * head.direction(rng.standard_normal((m, m)))


def sizes(config, a, U, E):
    """Sizes of the terms that entries of dL/da, dL/dU, dL/dE are sums of, after the cancellations of (27) and (28)."""
    setting, objective = population.Setting.from_config(config), objectives.from_config(config)
    M = population.moments(a, population.gram_of(U), E, setting)
    forces = population.forces_of(M, population.crossings(E, M.B, objective.crosses), setting, objective)
    on_H, on_n = np.abs(forces.H), np.abs(forces.n)
    on_B = np.abs(E.T) @ on_H + (0 if forces.B is None else np.abs(forces.B))
    positive = M._replace(Q=np.abs(M.Q))
    return (setting.slope * a**2 * on_B,
            population.factor_gradient(positive, np.abs(population.noise_pairs(forces, E)), np.abs(U), setting),
            on_H @ np.abs(M.B.T) + 2 * on_n[:, None] * (np.abs(E) @ np.abs(M.noise)))


def worst(gradients, expected, terms):
    """Largest error of an entry over the size of its terms."""
    return max(np.max(np.abs(got - right) / size) for got, right, size in zip(gradients, expected, terms))


@pytest.mark.parametrize("case", [case for case in cases() + uneven_cases() if case.batch_norm and case.m > 1
                                  and case.K > 1 and case.head in ("trained", "frozen", "free-diagonal")], ids=name)
def test_no_digits_are_lost_where_the_noise_is_almost_gone(case):
    """Noise is 1e-6 of a learned neuron's output, 1e-12 of its variance; the reference has 60 digits.

    At E = I it is all that drives a neuron, and the plain form in double precision is seen to lose the digits.
    """
    config = case.config()
    a, U, E = learned_state(config, 1e-12)
    grad = population.gradient(a, U, E, population.Setting.from_config(config), objectives.from_config(config))
    with decimal.localcontext(prec=60):
        expected = [part.astype(float) for part in plain_gradient(case, a, U, E, decimal.Decimal)]
    terms = sizes(config, a, U, E)
    assert worst(grad, expected, terms) < 1e-13
    if case.head == "frozen" and case.objective != "barlow" and not case.uneven:
        assert worst(plain_gradient(case, a, U, E, float), expected, terms) > 1e-6


# ---- (iv) what is conserved ---------------------------------------------------------------

def gradients(case, seed):
    """The gradient on a batch, and that of the infinite batch, at one state."""
    W, E = case.weights(seed)
    X1, X2 = case.views(seed)
    return W, E, [loss_and_grad(W, E, X1, X2, **case.options())[1], population.loss_and_grad(W, E, case.config())[1]]


def violations(W, E, grad):
    """Left-hand sides of docs/theory.md, eq. 12 and its companions, relative to the size of their terms."""
    radial, entry = np.sum(W * grad.W, axis=1), E * grad.E
    off = entry * (1 - np.eye(len(E)))
    terms = np.abs(W * grad.W).sum() + 3 * np.abs(entry).sum()
    return {"rows": np.abs(radial - 3 * off.sum(axis=0) + 3 * off.sum(axis=1)).max() / terms,
            "sum of rows": abs(radial.sum()) / terms, "rows of the head": np.abs(entry.sum(axis=1)).max() / terms}


@BATCH_NORMED
def test_eq_12_holds_for_every_function_of_the_correlations(case):
    """On every batch and for the population; so a row of the head keeps its norm where its diagonal is free."""
    for seed in range(3):
        W, E, both = gradients(case, seed)
        for grad in both:
            assert max(violations(W, E, grad).values()) < SYMMETRY_TOLERANCE


def test_eq_12_tells_a_wrong_gradient_and_a_loss_without_batch_norm():
    for objective in objectives.OBJECTIVES:
        case = Case(objective, False, True, objectives.KINDS[objective].head, "fixed", 2, 2)
        W, E = case.weights()
        E = E + 0.3 * (1 - np.eye(2))  # at E = I the head's gradient has no part in it
        for grad in (population.loss_and_grad(W, E, case.config())[1], loss_and_grad(W, E, *case.views(), **case.options())[1]):
            assert max(violations(W, E, grad).values()) < SYMMETRY_TOLERANCE
            assert max(violations(W, E, grad._replace(E=1.001 * grad.E)).values()) > 1e-6
    W, E, both = gradients(Case("simsiam", True, False, "trained", "fixed", 2, 2), 0)
    assert min(violations(W, E, grad)["sum of rows"] for grad in both) > 0.01


@BATCH_NORMED
def test_what_each_head_conserves(case):
    """In the flow along the head's direction: sum_r ||w_r||^2 for any; the rows' norms for a free diagonal; and with a
    diagonal that is fixed, or a head that is frozen or set, (12) once more, its terms being those that move."""
    W, E, both = gradients(case, 1)
    head = heads.from_config(case.config())
    for grad in both:
        moved = head.direction(grad.E)
        terms = np.abs(W * grad.W).sum() + np.abs(E * grad.E).sum()
        assert abs((W * grad.W).sum()) < SYMMETRY_TOLERANCE * terms
        if case.head == "free-diagonal" or case.diagonal == "free":
            assert np.abs((E * moved).sum(axis=1)).max() < SYMMETRY_TOLERANCE * terms
        if case.head == "trained" or (case.head, case.diagonal) == ("random", "fixed"):
            assert violations(W, E, grad._replace(E=moved))["rows"] < SYMMETRY_TOLERANCE
        if not head.moves:
            assert not moved.any()
        if case.head == "symmetric" and case.m > 1:
            np.testing.assert_allclose(moved, moved.T, atol=1e-15 * np.abs(moved).max())


# ---- sizes ---------------------------------------------------------------------------------------

@BATCH_NORMED
def test_under_batch_norm_neurons_may_be_of_any_size(case):
    """Eq. 12 as a finite transformation: row r times c_r, and the head so that every output keeps its direction."""
    W, E = case.weights()
    scale = np.array([1e45, 1e-45, 1.0])[:case.m]
    by_head = (scale[:, None] / scale) ** 3
    (loss, grad), (other_loss, other) = (population.loss_and_grad(*point, case.config())
                                         for point in ((W, E), (scale[:, None] * W, E * by_head)))
    assert other_loss == pytest.approx(loss, rel=1e-9, abs=1e-14)
    np.testing.assert_allclose(scale[:, None] * other.W, grad.W, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(other.E * by_head, grad.E, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("case", [case for case in cases() if not case.batch_norm], ids=name)
def test_without_batch_norm_the_loss_is_of_degree_six(case):
    W, E = case.weights()
    (loss, grad), (other_loss, other) = (population.loss_and_grad(c * W, E, case.config()) for c in (1.0, 2.0))
    assert other_loss == pytest.approx(2**6 * loss, rel=1e-12)
    np.testing.assert_allclose(other.W, 2**5 * grad.W, rtol=1e-9, atol=1e-12 * np.abs(other.W).max())
    np.testing.assert_allclose(other.E, 2**6 * grad.E, rtol=1e-9, atol=1e-12 * np.abs(other.E).max())
