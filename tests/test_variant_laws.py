"""The laws of the variants against the flow, each with a law nearby that the same check rejects.

Tolerances come from what a law leaves out, terms of relative size d^{-1/2} and the like, or from sampling error.
"""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq
from test_flow import make_config, starts

from simsim import Config, flow, laws, population, theory, variant_laws
from simsim.data import mask_moments
from simsim.flow import coordinates

FALSE_ALARM = 5.0  # standard errors: 6e-7


def norms_of(U):
    return np.sqrt((U**2).sum(axis=-1))


def gram(U):
    return U @ U.swapaxes(-1, -2)


def first_time(config, seeds, reached, **options):
    """(S,) when `reached(shares)` (R,) is first true at the end of a step, and the `FlowResult`."""
    equations, times = flow.Equations.from_config(config), np.full(len(seeds), np.nan)

    def record(segment, chart):
        rows, y = segment.rows, segment.end
        state = coordinates.decode(equations, chart.take(rows, y.ndim), y)
        new = reached(population.shares(config, state.a, gram(state.U))) & np.isnan(times[rows])
        times[rows[new]] = coordinates.time(chart, y, rows)[new]

    return times, flow.follow_many(config, seeds, record=record, **options)


# ---- no stop-gradient ---------------------------------------------------------------------

def test_without_stop_gradient_the_second_neuron_is_taught():
    """Eq. 32 at d = 1e4: what it drops is of relative size .01; twice the head's speed is told from it."""
    config = make_config(10**4, 0.1, stop_gradient=False, t_max=1e6)
    seeds = range(1000, 1016)
    times, out = first_time(config, seeds, lambda shares: (shares[..., 0] > 0.5).all(-1))
    a, U = starts(config, seeds)
    rows = np.flatnonzero(theory.small_start_times(config, a, norms_of(U))[..., 0].min(1) < 1e4)
    began = theory.small_start_times(config, a, norms_of(U))[..., 0].min(1)[rows] / 2  # at twice the speed
    lags = lambda c: np.array([variant_laws.taught_time(c, a[row], norms_of(U[row])) for row in rows]) - began
    assert rows.size >= 12 and not np.isnan(times[rows]).any()
    assert np.median((times[rows] - began) / lags(config)) == pytest.approx(1, abs=0.03)
    assert abs(np.median((times[rows] - began) / lags(dataclasses.replace(config, head_lr=0.2))) - 1) > 0.1
    assert np.isnan(out.phases[rows, flow.WEAK_LEARNED]).all()  # v_2 has no neuron at any time


TAUGHT_PAIR = np.array([[3e-3, 1e-3], [1.5e-3, 1e-3]]), np.array([0.97, 1.04])  # neuron 1 is the first to learn v_1
HAND = dict(mu11=32 / 7, mu12=24 / 7, nu=2)  # of eq. 4 at 8 patches, 4 of them with the feature


@pytest.mark.parametrize("kappa", [1e-3, 1e-1, 10.0, 1e8])  # at the last, what the head takes of f_1's noise counts
def test_the_taught_time_is_that_of_its_equations(kappa):
    """Eqs. 20 and 31 integrated in plain time beside the frozen neuron of eq. 14, all at twice its speed."""
    config = make_config(10**6, kappa, stop_gradient=False)
    (one, two), norms = TAUGHT_PAIR
    h, mu12, noise = HAND["mu11"] / 2, HAND["mu12"], lambda square: 30 * square**3
    first, second = (start @ start + norm**2 for start, norm in zip((one, two), norms))
    T = [noise(norm**2) / (12 * mu12 * 20**6 * start[0] ** 4) for start, norm in zip((one, two), norms)]
    b = (20 * two[0]) ** 3 * (1 - T[0] / T[1]) ** -0.75

    def rates(t, y):
        a, log_b, E = y
        n_1, n_2, own = noise(first - a**2), noise(second - np.exp(2 * log_b)), (20 * np.exp(log_b)) ** 3
        B = (20 * a) ** 3
        H = own + E * B
        D, G = n_2 + E**2 * n_1 + h * H**2, n_2 + h * own**2
        return [6 * mu12 * 20**6 * a**5 * n_1 / (n_1 + h * B**2) ** 2,
                3 * mu12 * 20**3 * np.exp(log_b) * n_2 / np.sqrt(D * G) * (own / D + H / G),
                kappa * mu12 * n_2 * own * B / (D * np.sqrt(D * G))]

    learned = lambda t, y: np.log(h * (20 * np.exp(y[1])) ** 6 / noise(second - np.exp(2 * y[1])))
    learned.terminal = True
    begin = [np.sqrt(first) / np.hypot(1, np.hypot(norms[0], one[1]) / one[0]), np.log(two[0]), 0.0]
    path = solve_ivp(rates, (0, 1e9), begin, events=learned, method="Radau", rtol=1e-10, atol=1e-14)
    assert path.status == 1 and variant_laws.taught_time(config, *TAUGHT_PAIR) == pytest.approx(path.t[-1], rel=1e-6)
    # The closed form, eq. 33, is the blow-up of eq. 32 with |B_11| = 2^{3/8} beta (t - T_1)^{3/8} and a_21 at the leak.
    n_1, n_2 = noise(norms**2)
    start, beta = b ** (1 / 3) / 20, 20**3 * (24 * mu12 * n_1 / (h**2 * 20**6)) ** 0.375

    def inverse(t, y):  # of a_21 as a fraction of its start, and the head
        B, rest = (2 * t) ** 0.375 * beta, y[0] / start
        return [-3 * mu12 * 20**3 / n_2 * start * y[1] * B, kappa * mu12 * 20**3 / n_2 / rest**3 * B]

    gone = lambda t, y: y[0] - 1e-3  # the square of 1 / a falls in proportion to what is left of the integral of |B_11|
    gone.terminal = True
    path = solve_ivp(inverse, (0, 1e12), [1.0, 0.0], events=gone, method="Radau", rtol=1e-9, atol=1e-12,
                     first_step=1e-9)
    assert variant_laws.taught_lag(config, *TAUGHT_PAIR) == pytest.approx(path.t[-1], rel=1e-4)


# ---- Barlow Twins ---------------------------------------------------------------------------

def barlow(factor, m=2, d=10**4, K=2, **more):
    """Barlow Twins at a multiple of the threshold."""
    config = make_config(d, m=m, features=K, objective="barlow", **more)
    return dataclasses.replace(config, barlow_lambda=factor * variant_laws.noise_threshold(config))


@pytest.mark.parametrize("m, K", [(2, 2), (3, 3), (4, 2)])
def test_the_loss_of_barlow_twins_is_an_energy_of_vectors(m, K):
    """Eq. 34 to rounding; near a collapse eq. 35 but for the next order, and with lambda m in it not."""
    strengths = tuple(np.linspace(3, 1, K))
    config = make_config(ratio=3.0, m=m, features=K, strengths=strengths, objective="barlow", barlow_lambda=0.3)
    mu11, mu12, nu = mask_moments(config.patches, config.feature_patches)
    rho, lam, rng = mu12 / mu11, 0.3, np.random.default_rng(m)

    def parts(a, U):
        shares = population.shares(config, a, gram(U))
        u = np.sign(a) * np.sqrt(shares)
        return u, 1 - shares.sum(-1), population.loss(config, a, gram(U), np.eye(m))

    u, _, loss = parts(rng.standard_normal((m, K)), rng.standard_normal((m, m)))
    inner = u @ u.T
    off = 1 - np.eye(m)
    energy = ((1 - rho * np.diag(inner)) ** 2).sum() + lam * rho**2 * (off * inner**2).sum()
    assert loss == pytest.approx(energy, rel=1e-12)

    a, U = 1 + rng.uniform(-1, 1, (m, K)), rng.standard_normal((m, m))
    misses, wrong = [], []
    for eps in (1e-2, 5e-3):  # shares differ by eps, noise has a share of eps^2
        near = np.cbrt(1 + eps * (a - 1)) / np.array(config.scaled_alphas)
        u, noise, loss = parts(near, eps ** (1 / 3) * 0.1 * U)
        b = u / np.linalg.norm(u, axis=1, keepdims=True)
        apart = ((b[:, None] - b[None]) ** 2).sum(-1)
        collapsed = m * (1 - rho) ** 2 + lam * rho**2 * m * (m - 1)
        law = lambda others: 2 * rho * ((1 - rho) - others * lam * rho) * noise.sum() - lam * rho**2 * apart.sum()
        misses.append(abs(loss - collapsed - law(m - 1)))
        wrong.append(abs(loss - collapsed - law(m)))
    assert misses[0] / misses[1] > 10  # of fourth order in eps
    assert wrong[0] / wrong[1] < 10


@pytest.mark.parametrize("m, factor", [(2, 0.8), (2, 1.2), (3, 0.8), (3, 1.2)])
def test_the_noise_of_a_collapse_goes_to_its_share(m, factor):
    """Eq. 36: without weak overlaps to part by, the noise share of each output is nu*, and 0 below the threshold."""
    config = barlow(factor, m=m)
    rng = np.random.default_rng(m)
    a, U = starts(config, [0])
    a[..., 0], a[..., 1] = rng.uniform(0.02, 0.04, m), 1e-9
    out = flow.integrate(flow.Equations.from_config(config), a, U, t_max=1e7)
    noise = 1 - population.shares(config, out.a, gram(out.U))[0].sum(-1)
    np.testing.assert_allclose(noise, variant_laws.collapse_noise(config), atol=1e-3)
    assert (variant_laws.collapse_noise(config) > 0.01) == (factor > 1)


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_neurons_part_when_the_law_says(factor):
    """Eq. 37 on both sides of the threshold, d = 1e4; noise left out above it, or rho^2 below it, and it fails."""
    config = dataclasses.replace(barlow(factor), t_max=1e15 if factor < 1 else 1e11)
    seeds = range(1000, 1010)
    a, U = starts(config, seeds)
    out = flow.follow_many(config, seeds)
    times = np.array([variant_laws.parting_time(config, *start) for start in zip(a, norms_of(U))])
    rows = np.flatnonzero((np.abs(a[..., 0]).min(1) > 0.1 / np.sqrt(config.d))  # the others learn v_2 before v_1
                          & (times < config.t_max / 3))
    over = out.phases[rows, flow.WEAK_LEARNED] / times[rows]
    assert rows.size >= 5
    assert np.median(over) == pytest.approx(1, abs=0.02) and over.min() > 0.8 and over.max() < 1.1
    mu11, mu12, _ = mask_moments(config.patches, config.feature_patches)
    wrong = (mu11 / mu12) ** 2 if factor < 1 else 1e3
    assert not np.median(over * wrong) == pytest.approx(1, abs=0.02)
    assert (out.phases[rows, flow.WEAK_LEARNED] < 1e11).mean() == (factor > 1)  # the threshold, for who stops then


@pytest.mark.parametrize("m, threshold", [(2, 1 / 3), (3, 1 / 6), (5, 1 / 12)])
def test_the_threshold_of_the_noise_by_hand(m, threshold):
    """Eq. 36 at rho = 3/4, and the share nu* that stays above it: rho (1 - nu*) = 1 / (1 + (m - 1) lambda)."""
    config = make_config(m=m, objective="barlow", barlow_lambda=1.5 * threshold)
    assert variant_laws.noise_threshold(config) == pytest.approx(threshold, rel=1e-12)
    kept = 1 - 1 / (1 + (m - 1) * 1.5 * threshold) / 0.75
    assert variant_laws.collapse_noise(config) == pytest.approx(kept, rel=1e-12) and kept > 0.1
    below = dataclasses.replace(config, barlow_lambda=0.99 * threshold)
    assert variant_laws.collapse_noise(below) == 0


@pytest.mark.parametrize("factor", [0.9, 1.5, 2.5])
def test_two_neurons_part_by_a_quadrature(factor):
    """Eq. 37 at m = 2 with its constant 1/z_1 + 1/z_2, against the integration of any number of neurons.

    Without noise and with it: nu* = 1 - y / rho, and tan^6 phi = nu* mu11 alpha_1^6 / (30 nu (1 - nu*)).
    """
    config = barlow(factor)
    y = min(0.75, 1 / (1 + factor / 3))
    kept = 1 - y / 0.75
    tan = (kept / (1 - kept) * 32 / 7 * 20**6 / (30 * 2)) ** (1 / 6)
    c = 12 * factor / 3 * y**2 / 20**6 * (1 + tan**2) ** 3
    for ratio in (-0.8, -0.1, 0.3, 0.9):
        a = np.array([[0.01, 0.004], [0.02, 0.004 * ratio]])
        norms = np.sqrt(1 - (a**2).sum(1))
        other = lambda s: 1 / (1 + 1 / ratio - s)
        time = quad(lambda s: 1 / (s**-3 - other(s) ** 3), 0, 1, limit=200)[0] / (c * 0.004**4)
        assert variant_laws.parting_time(config, a, norms) == pytest.approx(time, rel=1e-5)


def test_the_first_of_several_to_part():
    """Eq. 38, the others small beside the leader: of two weak features the one of the least T, at norms that differ."""
    config = barlow(0.9, m=3, K=3, strengths=(20.0, 3.0, 1.0))
    a = np.array([[0.02, 1e-5, 8e-6], [-0.01, 0.002, 1e-5], [0.03, -1e-5, 0.05]])
    norms = np.array([0.9, 1.3, 1.1])
    squares = (a**2).sum(1) + norms**2
    c = [12 * config.barlow_lambda * 0.75**2 * (strength / 20) ** 6 for strength in (3, 1)]
    times = [squares[j] / (4 * 2 * c[l - 1] * (a[j, l] ** 2 / squares[j]) ** 2) for j, l in ((1, 1), (2, 2))]
    assert times[1] < 0.1 * times[0]
    assert variant_laws.parting_time(config, a, norms) == pytest.approx(times[1], rel=1e-4)
    a[2, 2] = 1e-5
    assert variant_laws.parting_time(config, a, norms) == pytest.approx(
        squares[1] / (4 * 2 * c[0] * (a[1, 1] ** 2 / squares[1]) ** 2), rel=1e-4)  # (1e-5 / .002)^3 is left out


# ---- symmetric head -----------------------------------------------------------------------------

@pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0])
def test_a_symmetric_head_tempts_less(kappa):
    """Eq. 41 from Gaussian starts, at five standard errors, and (19) is told from it."""
    config = make_config(10**8, kappa, head="symmetric")
    a = np.random.default_rng(0).standard_normal((200_000, 2, 2)) * 1e-4
    seen = variant_laws.symmetric_temptation(config, a, np.ones((200_000, 2))) < 1
    p = variant_laws.symmetric_success_probability(config)
    error = np.sqrt(p * (1 - p) / seen.size)
    assert abs(seen.mean() - p) < FALSE_ALARM * error < abs(seen.mean() - laws.success_probability(make_config(10**8, kappa)))


@pytest.mark.parametrize("kappa, probability", [(0.1, 0.959), (1.0, 0.877), (10.0, 0.710)])
def test_the_numbers_of_eq_41(kappa, probability):
    config = make_config(10**8, kappa, head="symmetric")
    assert variant_laws.symmetric_success_probability(config) == pytest.approx(probability, abs=5e-4)


BALANCED = np.array([[0.9, 1e-3], [0.004, 1e-3]])  # neuron 1 holds v_1, neuron 2 has a leak of it


def projected(E):
    """The population's pulls at E_12 and E_21 where both are E: neuron 1 without noise, that of neuron 2 of norm 1."""
    config = make_config(10**8, 0.1, head="symmetric")
    setting, objective = population.Setting.from_config(config), population.objectives.from_config(config)
    head = np.array([[1, E], [E, 1]])
    grad = population.gradient(BALANCED * [[1, 0], [1, 0]], np.diag([1e-9, 1.0]), head, setting, objective)
    return -grad.E[0, 1], -grad.E[1, 0]


def test_the_balance_of_a_symmetric_head_is_where_its_gradient_vanishes():
    """Eq. 39: P and Q are the gradient's parts, and P = Q is the law's balance, but for terms of relative size
    n_2 / (h E^2 B_11^2) and h b^2 / n_2, both below 1e-3 here: an eighth of them in E."""
    h, mu12, n_2, B, b = 16 / 7, 24 / 7, 30.0, 18.0**3, 0.08**3
    for E in (0.02, 0.05):
        price, gain = projected(E)
        P, Q = mu12 * b * np.sqrt(n_2) / (h**1.5 * E**2 * B**2), mu12 * E**2 * n_2 / (h**2 * B**2)
        assert [E * gain, -E * price] == pytest.approx([P, Q], rel=2e-3)
    balance = brentq(lambda E: sum(projected(E)), 0.05, 0.3, xtol=1e-10)
    config = make_config(10**8, 0.1, head="symmetric")
    norms = np.array([0.7, 1.0])
    start = np.array([[1.0, 1e-3], [0.004, 1e-3]])  # of which the leak is what neuron 2 has: T_1 is nothing to it
    assert variant_laws.symmetric_balance(config, start, norms) == pytest.approx(balance, rel=1e-3)


def test_the_ceiling_of_a_symmetric_head():
    """Eq. 40 at d = 1e8, from a start whose neuron 2 has a leak: a plateau at the balance, then a ceiling of half the
    square of eq. 13's, which the free head passes."""
    config = make_config(10**8, 0.1, head="symmetric")
    a = np.array([[[-1.74e-4, -1.3e-5], [-1.36e-4, -1.0e-4]]])
    U = np.eye(2)[None] * np.sqrt(1 - (a**2).sum(-1))[..., None]
    ceiling = np.sqrt(0.1 / 6)
    heads = [np.abs(flow.integrate(flow.Equations.from_config(config), a, U, t_max=t).E[0, 0, 1]) for t in (1e8, 1e13)]
    assert 0.9 < heads[0] / variant_laws.symmetric_balance(config, a[0], norms_of(U[0])) < 1.1  # it moves on slowly
    assert 0.3 * ceiling < heads[1] < ceiling
    free = flow.integrate(flow.Equations.from_config(make_config(10**8, 0.1)), a, U, t_max=1e16)
    assert free.peak_head[0] > 1.2 * ceiling


# ---- random head -----------------------------------------------------------------------------------

def test_how_often_a_random_head_learns_nothing():
    """Eq. 43: both diagonal entries negative give .203 by hand; five standard errors, and a fourth is told from it."""
    E, a = np.random.default_rng(1).standard_normal((2, 40_000, 2, 2))
    nothing = variant_laws.learns_nothing(E, a)
    negative = (E[:, 0, 0] < 0) & (E[:, 1, 1] < 0)
    p = 13 / 64
    error = np.sqrt(p * (1 - p) / len(E))
    assert abs((nothing & negative).mean() - p) < FALSE_ALARM * error < abs(negative.mean() - p)
    assert not nothing[(E[:, 0, 0] > 0) & (E[:, 1, 1] > 0)].any()
    assert 0.015 < (nothing & ~negative).mean() < 0.03


def test_the_ray_on_which_a_random_head_ends():
    """Eq. 42 followed in the direction of (a_1, a_2), feature by feature, against the roots of eq. 43: 150 heads."""
    rng = np.random.default_rng(3)
    E, a = rng.standard_normal((2, 150, 2, 2))
    rows = E / np.linalg.norm(E, axis=-1, keepdims=True)

    def fades(e, start):
        def pull(angle):  # da_r / dt = a_r^2 sum_j e_jr a_j^3, but for a factor: along the ray, and across it
            a = np.array([np.cos(angle), np.sin(angle)])
            rates = a**2 * (e.T @ a**3)
            return a @ rates, a[0] * rates[1] - a[1] * rates[0]

        turn, angle = lambda _, y: [pull(y[0])[1]], np.arctan2(*start[::-1])
        return pull(solve_ivp(turn, (0, 3e3), [angle], method="LSODA", rtol=1e-9, atol=1e-12).y[0, -1])[0]

    seen = np.array([[fades(rows[i], a[i, :, l]) for l in (0, 1)] for i in range(150)])
    clear = (np.abs(seen) > 1e-4).all(axis=1)  # the others pass near a ray that they leave, or where nothing moves
    assert clear.sum() >= 140
    np.testing.assert_array_equal(variant_laws.learns_nothing(E, a)[clear], (seen < 0).all(axis=1)[clear])
    assert 20 < variant_laws.learns_nothing(E, a).sum() < 50
    assert variant_laws.nothing_probability() == pytest.approx(0.224, abs=5 * np.sqrt(0.224 * 0.776 / 1e5) + 5e-4)


def test_the_sign_of_the_diagonal_is_not_all():
    """Eq. 43 against the flow: with negative diagonals the off-diagonal entries and the signs of the overlaps decide."""
    config = make_config(10**6, 0.1, head="random", head_diagonal="free")
    weak, strong = np.array([[-0.8, 0.1], [0.1, -0.8]]), np.array([[-0.3, 1.0], [1.0, -0.3]])
    same, apart = np.array([[2e-3, 1e-3], [1.5e-3, 1e-3]]), np.array([[2e-3, 1e-3], [-1.5e-3, -1e-3]])
    a, E = np.array([same, same, apart]), np.array([weak, strong, strong])
    U = np.tile(np.eye(2), (3, 1, 1))
    out = flow.integrate(flow.Equations.from_config(config), a, U, E, t_max=1e8)
    learned = np.abs(out.a[..., 0]).max(1) > 0.1
    np.testing.assert_array_equal(learned, ~variant_laws.learns_nothing(E, a))
    np.testing.assert_array_equal(learned, [False, True, False])


# ---- more features ---------------------------------------------------------------------------------

def three(kappa, strengths=(9.0, 3.0, 1.0)):
    return make_config(10**8, kappa, m=3, features=3, strengths=strengths)


def divides(kappa, strengths, a):
    """Eq. 44 for one start (3, 3), step by step as docs/theory.md has it."""
    c, K = np.sqrt(kappa / 3), range(3)
    one = max(K, key=lambda j: abs(a[j, 0]))
    others = [j for j in K if j != one]
    leak = {j: (a[j, 0] ** -4 - a[one, 0] ** -4) ** -0.25 for j in others}  # |a_j1| at T_1, of which b_j is the cube
    T = {(j, l): leak[j] ** (3 * -0.75) * strengths[l] ** -1.5 / abs(a[j, l]) for j in others for l in (1, 2)}
    winner, won = min(T, key=T.get)
    part = {place: (1 - (T[winner, won] / time) ** 4) ** 0.25 for place, time in T.items()}  # of 1 / |a_jl| then
    head = {j: c * np.sign(a[one, 0] * a[j, 0]) for j in others}
    inverse = {l: 1 / a[one, l] - sum(head[j] / a[j, l] * (1 - part[j, l]) for j in others) for l in (1, 2)}
    if any(inverse[l] * a[one, l] <= 0 for l in (1, 2)):
        return False  # neuron 1 has gone to v_l before
    last, feature = next(j for j in others if j != winner), 3 - won
    ratio = abs(a[last, won] / part[last, won] / leak[last]) ** 3  # |a_kl* / a_k1|^3 at T
    angle = lambda psi: np.tan(psi) * ((1 + np.sin(psi) ** 2) / (1 + np.cos(psi) ** 2)) ** 1.5 - ratio
    psi = brentq(angle, 0, np.pi / 2 - 1e-12, xtol=1e-14) if angle(np.pi / 2 - 1e-12) > 0 else np.pi / 2
    ahead = part[last, feature] / a[last, feature]
    first, second = np.sign(a[one, 0] * a[last, 0]), np.sign(a[winner, won] * a[last, won])
    for entry, behind in ((c * np.cos(psi) * first, inverse[feature]),
                          (c * np.sin(psi) * second, part[winner, feature] / a[winner, feature])):
        if (behind - entry * ahead) * behind <= 0:
            return False
    return True


@pytest.mark.parametrize("kappa, strengths", [(0.1, (9, 3, 1)), (1.0, (9, 3, 1)), (1.0, (3, 2, 1)), (30.0, (9, 3, 1))])
def test_three_neurons_divide_their_features_as_the_page_has_it(kappa, strengths):
    """Eq. 44 start by start, against the same steps written for one start with a root by Brent's method."""
    a = np.random.default_rng(5).standard_normal((1500, 3, 3))
    by_hand = np.array([divides(kappa, strengths, one) for one in a])
    np.testing.assert_array_equal(variant_laws.spreads(three(kappa, tuple(map(float, strengths))), a), by_hand)
    assert 0.05 < by_hand.mean() < 0.95


@pytest.mark.parametrize("strengths, kappa, probability", [
    ((9.0, 3.0, 1.0), 0.1, 0.925), ((9.0, 3.0, 1.0), 1.0, 0.738), ((20.0, 4.0, 1.0), 0.1, 0.920),
    ((20.0, 4.0, 1.0), 1.0, 0.728), ((3.0, 2.0, 1.0), 0.1, 0.932), ((3.0, 2.0, 1.0), 1.0, 0.757)])
def test_the_table_of_eq_44(strengths, kappa, probability):
    """The law's own 100,000 starts, to the error that is printed, and that of other starts at five standard errors."""
    a = np.random.default_rng(6).standard_normal((20_000, 3, 3))
    seen = variant_laws.spreads(three(kappa, strengths), a).mean()
    assert abs(seen - probability) < FALSE_ALARM * np.sqrt(probability * (1 - probability) / 20_000)
    error = {0.1: 0.001, 1.0: 0.003}[kappa]  # as the table has it
    assert abs(variant_laws.spread_probability(three(kappa, strengths)) - probability) < error


def test_three_neurons_and_three_features():
    """Eq. 44: the order of the rows does not matter, a slow head always succeeds, a fast one fails more than two neurons do."""
    a = np.random.default_rng(2).standard_normal((4000, 3, 3))
    for order in ([1, 0, 2], [2, 0, 1]):
        np.testing.assert_array_equal(variant_laws.spreads(three(1.0), a), variant_laws.spreads(three(1.0), a[:, order]))
    assert variant_laws.spread_probability(three(1e-8)) > 0.999
    for kappa in (0.1, 1.0):
        assert variant_laws.spread_probability(three(kappa)) < laws.success_probability(make_config(kappa=kappa))


def test_half_of_all_networks_collapse_at_their_number_of_neurons():
    """Eq. 45: 1.089 r^{3/2}; a boundary at r itself is told from it."""
    numbers = np.array([variant_laws.collapsing_neurons(make_config(ratio=ratio)) for ratio in (100.0, 1000.0)])
    np.testing.assert_allclose(numbers / np.array([100, 1000]) ** 1.5, np.pi * np.log(2) / 2, rtol=1e-3)
    assert numbers[1] / numbers[0] == pytest.approx(10**1.5, rel=1e-3)
    half = variant_laws.collapsing_neurons(make_config(ratio=5.0))
    assert theory.collapse_probability(make_config(ratio=5.0, m=12)) == pytest.approx(0.5 ** (12 / half))


# ---- unequal frequencies -----------------------------------------------------------------------

def test_the_laws_of_variants_go_by_effective_strengths_too():
    """As in the population: a frequency is worth its sixth root in strength."""
    often = Config(engine="flow", d=10**4, strengths=(9.0, 6.0), frequencies=(0.7, 0.3), objective="barlow")
    strong = Config(engine="flow", d=10**4, strengths=often.effective_alphas, objective="barlow")
    a, norms = np.array([[0.02, 0.003], [0.01, -0.004]]), np.ones(2)
    assert variant_laws.parting_time(often, a, norms) == pytest.approx(variant_laws.parting_time(strong, a, norms), rel=1e-12)
    taught = [dataclasses.replace(config, objective="simsiam", head="trained") for config in (often, strong)]
    lags = [variant_laws.taught_lag(config, a, norms) for config in taught]
    assert lags[0] == pytest.approx(lags[1], rel=1e-12)
    plain = Config(engine="flow", d=10**4, strengths=(9.0, 6.0), objective="barlow")
    assert variant_laws.parting_time(plain, a, norms) != pytest.approx(variant_laws.parting_time(strong, a, norms), rel=0.1)


# ---- features in different numbers of patches ------------------------------------------------------

def pure(config, overlap):
    """One start, (1, m, 2) and (1, m, m): neuron j holds feature j, and a little of the other; hardly any noise is left."""
    m = config.m
    a = np.eye(2)[:m] + overlap * (1 - np.eye(2)[:m])
    return a[None], 1e-3 * np.eye(m)[None]


def second_shares(config, a, U, until):
    """(m,) shares of feature 2 when the flow has gone on until then."""
    out = flow.integrate(flow.Equations.from_config(config), a, U, t_max=until)
    return population.shares(config, out.a, population.gram_of(out.U))[0, :, 1]


@pytest.mark.parametrize("counts, strengths", [((4, 7), (12.0, 6.0)), ((5, 6), (8.0, 5.0))])
def test_a_neuron_leaves_its_feature_when_the_law_says(counts, strengths):
    """Eq. 46 is the limit of small overlaps: the time is missed by less and less. Equal counts are never left."""
    config = Config(engine="flow", d=10**4, m=1, head="frozen", lr=1.0, strengths=strengths, patch_counts=counts,
                    feature_patches=max(counts))
    for overlap, tolerance in ((0.2, 0.1), (0.05, 0.01)):
        a, U = pure(config, overlap)
        time = variant_laws.leaving_time(config, 0, a[0, 0])
        assert second_shares(config, a, U, (1 - tolerance) * time)[0] < 0.1
        assert second_shares(config, a, U, (1 + tolerance) * time)[0] > 0.9
        assert variant_laws.leaving_time(config, 1, a[0, 0, ::-1]) == np.inf
        even = dataclasses.replace(config, patch_counts=None)
        assert variant_laws.leaving_time(even, 0, a[0, 0]) == np.inf and second_shares(even, a, U, 10 * time)[0] < 0.1


def test_a_trained_head_takes_the_preference_upon_itself():
    """Neuron 1 would leave its feature; the head weighs the features in its prediction instead, as eq. 47 has it."""
    config = Config(engine="flow", d=10**4, lr=1.0, head_lr=1.0, strengths=(12.0, 6.0), patch_counts=(4, 7),
                    feature_patches=7)
    a, U = pure(config, 0.1)
    time = variant_laws.leaving_time(config, 0, a[0, 0])
    until = 100 * time
    assert second_shares(dataclasses.replace(config, head="frozen"), a, U, until).min() > 0.9
    out = flow.integrate(flow.Equations.from_config(config), a, U, t_max=until)
    assert second_shares(config, a, U, until)[0] < 0.1
    setting = population.Setting.from_config(config)
    M = population.moments(out.a, population.gram_of(out.U), out.E, setting)
    rho = variant_laws.predictability(config)
    mixed = M.H[0, 0, 1] / M.H[0, 0, 0] / (M.B[0, 0, 1] / M.B[0, 0, 0])
    assert mixed == pytest.approx(rho[1] / rho[0], rel=0.02)
    assert not mixed == pytest.approx(1, rel=0.02)
    for factor, leaves, end in ((100, False, until), (0.01, True, 3 * time)):  # eq. 48 says far above, and far below
        paced = dataclasses.replace(config, head_lr=factor * variant_laws.head_in_time(config, a[0, 0], a[0, 1]))
        assert (second_shares(paced, a, U, end)[0] > 0.9) == leaves


@pytest.mark.parametrize("overlap, printed", [(0.2, 5e-3), (0.05, 2e-5)])
def test_the_pace_that_a_head_needs_by_hand(overlap, printed):
    """Eq. 48 at k = (4, 7): 12 (rho_2 / rho_1 - 1) a^4 / a_s^6 with rho = (k - 1) P / (k P - 2 k + P), .75 and .96."""
    config = Config(engine="flow", d=10**4, lr=1.0, head_lr=1.0, strengths=(12.0, 6.0), patch_counts=(4, 7),
                    feature_patches=7)
    rho = [3 * 8 / (4 * 8 - 8 + 8), 6 * 8 / (7 * 8 - 14 + 8)]
    for held, other in (([0.95, -overlap], [0.3, 0.9]), ([0.7, overlap], [-0.1, -0.99])):
        kappa = 12 * (rho[1] / rho[0] - 1) * overlap**4 / abs(other[1]) ** 6
        assert variant_laws.head_in_time(config, np.array(held), np.array(other)) == pytest.approx(kappa, rel=1e-12)
    pace = variant_laws.head_in_time(config, np.array([1, overlap]), np.array([0, 1.0]))
    assert pace == pytest.approx(printed, rel=0.1)


def test_the_time_of_leaving_by_hand():
    """Eq. 46 in the units of section 6: strengths alpha_l (K p_l mu11_l / mu11)^{1/6}, whose common factor cancels."""
    config = Config(engine="flow", d=10**4, m=1, head="frozen", lr=1.0, strengths=(12.0, 6.0), patch_counts=(4, 7),
                    feature_patches=7, frequencies=(0.8, 0.2), sigma=0.5)
    rho, mu11 = [0.75, 0.96], [32 / 7, 350 / 28]
    strong, weak = (p * mu * (alpha / 0.5) ** 6 for p, mu, alpha in zip((0.8, 0.2), mu11, (12, 6)))
    time = strong * 0.9**6 / (24 * (rho[1] - rho[0]) * weak * 0.07**4)
    assert variant_laws.leaving_time(config, 0, np.array([0.9, -0.07])) == pytest.approx(time, rel=1e-12)


def test_without_stop_gradient_a_neuron_leaves_twice_as_early():
    config = Config(engine="flow", d=10**4, m=1, objective="naive", lr=1.0, strengths=(12.0, 6.0), patch_counts=(4, 7),
                    feature_patches=7)
    a, U = pure(config, 0.05)
    time = variant_laws.leaving_time(config, 0, a[0, 0])
    assert second_shares(config, a, U, 0.99 * time)[0] < 0.1 and second_shares(config, a, U, 1.01 * time)[0] > 0.9
    with pytest.raises(ValueError, match="eq. 46"):
        variant_laws.leaving_time(dataclasses.replace(config, objective="barlow"), 0, a[0, 0])


def test_an_end_that_a_neuron_will_leave_is_not_certified():
    """Counts of nearly equal predictability: the sum of what noise and preference do falls before the neuron leaves."""
    config = Config(engine="flow", d=5, m=1, head="frozen", lr=1.0, patches=1000, patch_counts=(900, 901), init_seed=6,
                    feature_patches=901, strengths=(0.2, 0.1))
    out = flow.follow_many(config, [6])
    assert population.shares(config, out.a, population.gram_of(out.U))[0, 0, 1] > 0.99
    even = dataclasses.replace(config, patch_counts=None)
    assert population.shares(even, *(lambda end: (end.a, population.gram_of(end.U)))(flow.follow_many(even, [6])))[0, 0, 0] > 0.5


def test_laws_of_even_features_refuse_others():
    uneven = Config(engine="flow", d=10**4, lr=1.0, patch_counts=(7, 4))
    start = starts(uneven, range(1))
    state = start[0][0], norms_of(start[1])[0]
    taught, barlow = (dataclasses.replace(uneven, **options) for options in (
        dict(stop_gradient=False), dict(objective="barlow", head="frozen", stop_gradient=False)))
    for law in (lambda: laws.success_rate(uneven), lambda: laws.succeeds(uneven, *state), lambda: laws.Start(uneven, *state),
                lambda: theory.collapse_probability(uneven), lambda: theory.FrozenNeuron(uneven, state[0][0], 1.0),
                lambda: variant_laws.taught_time(taught, *state), lambda: variant_laws.noise_threshold(barlow)):
        with pytest.raises(ValueError, match="equally many patches"):
            law()


PAIR, TRIPLE = (np.array([[0.02, 0.003], [0.01, -0.004]]), np.ones(2)), np.random.default_rng(0).standard_normal((1, 3, 3))
BARLOW, SYMMETRIC, TAUGHT = dict(objective="barlow"), dict(head="symmetric"), dict(stop_gradient=False)
OWN_SETTINGS = {
    "eq. 14": (lambda c: theory.FrozenNeuron(c, PAIR[0][0], 1.0), {}, [BARLOW, TAUGHT, dict(batch_norm=False)]),
    "eq. 14, fates": (lambda c: theory.fates(c, PAIR[0]), {}, [BARLOW, dict(batch_norm=False)]),
    "eq. 15": (lambda c: theory.collapse_probability(c), {}, [BARLOW, dict(batch_norm=False)]),
    "eq. 16": (lambda c: theory.small_start_times(c, *PAIR), {}, [BARLOW, dict(batch_norm=False)]),
    "eq. 30": (lambda c: theory.noise_left(c, 1.0, 0, 1.0), {}, [BARLOW, TAUGHT, dict(batch_norm=False)]),
    "eq. 18": (lambda c: laws.temptation(c, *PAIR), {}, [dict(m=3), dict(features=3), BARLOW]),
    "eq. 20": (lambda c: laws.leak(c, *PAIR), {}, [dict(m=3), dict(features=3), BARLOW]),
    "eq. 32": (lambda c: variant_laws.taught_time(c, *PAIR), TAUGHT, [{}, {**TAUGHT, "m": 3}, {**TAUGHT, "head": "frozen"}]),
    "eq. 33": (lambda c: variant_laws.taught_lag(c, *PAIR), TAUGHT, [{}, {**TAUGHT, "features": 3}]),
    "eq. 36": (lambda c: variant_laws.collapse_noise(c), BARLOW, [{}, {**BARLOW, "head": "trained"}]),
    "eqs. 37, 38": (lambda c: variant_laws.parting_time(c, *PAIR), BARLOW, [{}]),
    "eq. 39": (lambda c: variant_laws.symmetric_balance(c, *PAIR), SYMMETRIC, [{}, {**SYMMETRIC, "m": 3}]),
    "eq. 41": (lambda c: variant_laws.symmetric_success_probability(c), SYMMETRIC, [{}, {**SYMMETRIC, **TAUGHT}]),
    "eq. 44": (lambda c: variant_laws.spreads(c, TRIPLE), dict(m=3, features=3), [{}, dict(m=3), dict(features=3)]),
    "eq. 46": (lambda c: variant_laws.leaving_time(c, 0, PAIR[0]), {}, [BARLOW, dict(batch_norm=False)]),
    "eq. 48": (lambda c: variant_laws.head_in_time(c, *PAIR[0]), {}, [dict(head="frozen"), BARLOW]),
}


WITHOUT_NOISE = ("eq. 14, fates", "eq. 15", "eq. 16", "eq. 18", "eq. 20", "eq. 32", "eq. 33", "eq. 36", "eqs. 37, 38", "eq. 44")


@pytest.mark.parametrize("law", WITHOUT_NOISE)
def test_a_law_of_noise_does_not_answer_without_it(law):
    ask, own, _ = OWN_SETTINGS[law]
    with pytest.raises(ValueError, match="noise: some asked, no patch of a sample here"):
        ask(Config(**own, feature_patches=8))


def test_laws_of_barlow_twins_ask_for_a_moderate_lambda_and_something_to_part():
    for ask in (variant_laws.collapse_noise, lambda config: variant_laws.parting_time(config, *PAIR)):
        with pytest.raises(ValueError, match="a moderate lambda: lambda <= 1 asked, 10 here"):
            ask(Config(objective="barlow", barlow_lambda=10.0))
    for sizes, name in ((dict(m=1), "several neurons"), (dict(features=1), "several features")):
        with pytest.raises(ValueError, match=name):
            variant_laws.parting_time(Config(objective="barlow", **sizes), *PAIR)
    with pytest.raises(ValueError, match="several features: 2 and more asked, 1 here"):
        variant_laws.collapsing_neurons(Config(features=1))


@pytest.mark.parametrize("law", OWN_SETTINGS)
def test_a_law_answers_for_its_own_setting_alone(law):
    ask, own, others = OWN_SETTINGS[law]
    ask(Config(**own))
    for options in others:
        with pytest.raises(ValueError, match=f"^{law.split(', f')[0]} (is|are) about another setting: "):
            ask(Config(**options))


def test_the_time_of_eq_16_for_three_features():
    config = Config(engine="flow", m=1, features=3, strengths=(9.0, 3.0, 1.0), d=10**8, lr=1.0, head="frozen")
    a, U = starts(config, range(3))
    out = flow.follow_many(config, range(3))
    predicted = theory.small_start_times(config, a, norms_of(U))[:, 0, 0]
    np.testing.assert_allclose(out.phases[:, 0], predicted, rtol=2e-3)
