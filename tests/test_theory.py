"""The exact laws, against direct integration and against SGD with a small step."""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from z_test import agrees

from simsim import Config, population, simulate, theory
from simsim.data import mask_moments
from simsim.initial import reduced_state

SLOW = dict(feature_patches=4, alpha_weak=0.7, alpha_ratio=3.0, m=1, d=20, batch_size=4000, init_seed=5, steps=500)


def frozen_field(config):
    """Right-hand side of docs/theory.md, eq. 14, written out on its own, with ||w|| conserved."""
    mu11, mu12, nu = mask_moments(config.patches, config.feature_patches)
    alphas = np.asarray(config.alphas)

    def field(t, a, norm):
        q = config.sigma**2 * (norm**2 - np.sum(a**2))
        n = 15 * nu * q**3
        D = n + mu11 / 2 * np.sum((alphas * a) ** 6)
        return 3 * mu12 * alphas**6 * a**5 * n / D**2
    return field


@pytest.mark.parametrize("seed", range(8))
def test_time_to_share_is_the_integrated_equation(seed):
    config = Config(alpha_ratio=3.0, alpha_weak=0.6, d=40, sigma=0.9, init_seed=seed)
    overlaps, factor = reduced_state(config)
    norm = np.sqrt((overlaps[0] ** 2).sum() + (factor[0] ** 2).sum())
    neuron = theory.FrozenNeuron(config, overlaps[0], norm)
    time = neuron.time_to_share(0.9)
    assert time > 0
    reached = lambda t, a, norm: neuron.share(a[neuron.feature]) - 0.9
    reached.terminal = True
    path = solve_ivp(frozen_field(config), (0, 2 * time), np.abs(overlaps[0]), args=(norm,), events=reached,
                     method="DOP853", rtol=1e-12, atol=1e-15)
    assert path.t[-1] == pytest.approx(time, rel=1e-8)
    assert neuron.other(path.y[neuron.feature, -1]) == pytest.approx(path.y[1 - neuron.feature, -1], rel=1e-8)


def test_a_neuron_ends_on_its_fate():
    config = Config(alpha_ratio=2.0, alpha_weak=1.0, d=40)
    for overlaps in ([0.1, 0.2], [0.1, 0.4], [-0.1, 0.3], [0.2, 0.0]):
        neuron = theory.FrozenNeuron(config, np.array(overlaps), 1.0)
        assert neuron.feature == np.argmax([2**1.5 * abs(overlaps[0]), abs(overlaps[1])])
        assert neuron.end() ** 2 + neuron.other(neuron.end()) ** 2 == pytest.approx(1.0, rel=1e-9)
        assert neuron.share(neuron.end()) > 0.5
        # The conserved difference, straight from its definition:
        if overlaps[1]:
            a, other = neuron.end(), neuron.other(neuron.end())
            ends = (a, other) if neuron.feature == 0 else (other, a)
            invariant = lambda a: 2.0**-6 * a[0] ** -4 - a[1] ** -4.0
            assert invariant(ends) == pytest.approx(invariant(np.abs(overlaps)), rel=1e-8)


def test_times_that_never_come_and_times_that_are_past():
    config = Config(alpha_weak=1.0, d=40)
    mixed = theory.FrozenNeuron(config, np.array([0.1, 8.0]), 10.0)
    most = mixed.share(mixed.end())
    assert mixed.time_to_share(0.99 * most) < np.inf == mixed.time_to_share(1.01 * most)
    neuron = theory.FrozenNeuron(config, np.array([0.02, 0.01]), 1.0)
    assert neuron.time_to_residual(2.0) == 0.0
    assert neuron.time_to_residual(0.0) == np.inf
    assert neuron.time_to_share(0.4) < neuron.time_to_share(0.6) < neuron.time_to_residual(0.5)


@pytest.mark.parametrize("residual", [1e-2, 1e-4, 1e-6])
def test_the_last_of_the_noise_leaves_by_eq_30(residual):
    config = Config(d=10**8, alpha_ratio=5.0)
    neuron = theory.FrozenNeuron(config, np.array([2e-2, 0.0]), 1.0)
    time = neuron.time_to_residual(residual)
    # T_1 is nothing beside these times, and what eq. 30 leaves out is of the order of the square of the residual.
    assert theory.noise_left(config, 1.0, 0, time) == pytest.approx(residual, rel=10 * residual**2)
    assert theory.noise_left(config, 1.0, 1, time) < residual / 10  # the weak feature: its neuron forgets noise sooner


def test_at_first_eq_30_sets_no_limit_to_the_noise():
    assert theory.noise_left(Config(), np.ones(2), [0, 1], 0.0).tolist() == [np.inf, np.inf]
    assert theory.noise_left(Config(feature_patches=8), 1.0, 0, 1.0) == np.inf  # without noise nothing moves


@pytest.mark.parametrize("s", [0.3, 0.1, 0.03])
def test_small_starts_take_the_time_of_equation_16(s):
    config = Config(alpha_weak=1.0, d=100, feature_patches=4)
    a = s / config.alpha_strong
    neuron = theory.FrozenNeuron(config, np.array([a, 0.0]), np.hypot(a, 1.0))
    times = theory.small_start_times(config, np.array([a, a]), np.array(1.0))
    # With x = (a(0) / a_half)^4, half a share takes 1 + 3.5 x + O(x^{3/2}) of it: x is lost to the blow-up
    # and 4.5 x spent on D > n; and as ||w|| is kept, the noise falls by 3 a(0)^2 on the way.
    mu11, _, nu = mask_moments(8, 4)
    x = (s / (30 * nu / mu11) ** (1 / 6)) ** 4
    assert neuron.time_to_share(0.5) == pytest.approx(times[0], rel=4 * (x + a**2))
    assert times[1] == pytest.approx(20**6 * times[0])


def test_the_times_of_eq_16_by_hand():
    """Each feature has its own mu12_l and share of the samples; the noise is all samples' mean of nu_l."""
    config = Config(alpha_weak=1.0, strengths=(6.0, 2.0), sigma=0.5, patch_counts=(7, 4), feature_patches=7,
                    frequencies=(0.9, 0.1), d=100)
    mu12, nu = [6 * 7 * 8 / 28, 24 / 7], 0.9 * 0.5 + 0.1 * 2  # k (k - 1) P / (4 (P - 1)) and (P - k) / 2 of eq. 4
    overlaps, norms = np.array([[0.1, 0.2], [-0.3, 0.05]]), np.array([0.9, 1.2])
    by_hand = [[15 * nu * norm**6 / (24 * p * m * (alpha / 0.5) ** 6 * a**4)
                for a, p, m, alpha in zip(row, (0.9, 0.1), mu12, (6, 2))] for row, norm in zip(overlaps, norms)]
    np.testing.assert_allclose(theory.small_start_times(config, overlaps, norms), by_hand, rtol=1e-12)
    usual = Config(features=3, strengths=(9.0, 3.0, 1.0), feature_patches=4, d=100)
    time = 30 * 0.9**6 / (8 * 24 / 7 * 3**6 * 0.2**4)  # 24 / K = 8
    times = theory.small_start_times(usual, np.full((1, 3), 0.2), np.array([0.9]))
    assert times[0, 1] == pytest.approx(time, rel=1e-12)


def test_the_noise_of_eq_30_by_hand():
    """(4 c t)^{-1/4} with c = 180 mu12 nu / (mu11^2 alpha^6 ||w||^6), strengths in units of sigma."""
    config = Config(alpha_ratio=5.0, alpha_weak=2.0, sigma=0.5, feature_patches=4, d=100)
    for feature, alpha in ((0, 20), (1, 4)):
        c = 180 * 24 / 7 * 2 / ((32 / 7) ** 2 * alpha**6 * 1.3**6)
        assert theory.noise_left(config, 1.3, feature, 7.0) == pytest.approx((4 * c * 7) ** -0.25, rel=1e-12)


@pytest.mark.parametrize("ratio, m, printed", [
    (20.0, 1, "0.9929"), (20.0, 2, "0.9858"), (2.0, 1, "0.784"), (2.0, 2, "0.614")])
def test_the_numbers_of_eq_15(ratio, m, printed):
    probability = theory.collapse_probability(Config(alpha_ratio=ratio, m=m))
    assert f"{probability:.{len(printed) - 2}f}" == printed


def test_what_is_conserved_and_what_bounds_the_head_by_hand():
    """Eq. 13, entry by entry: ||w_r||^2 + (3 / kappa) sum_j (E_rj^2 - E_jr^2); the diagonal has no part in it."""
    E = np.array([[5.0, 0.1, -0.2], [0.3, 7.0, 0.4], [0.5, -0.6, 9.0]])
    by_hand = [1 + 3 / 0.2 * (0.1**2 + 0.2**2 - 0.3**2 - 0.5**2), 2 + 3 / 0.2 * (0.3**2 + 0.4**2 - 0.1**2 - 0.6**2),
               3 + 3 / 0.2 * (0.5**2 + 0.6**2 - 0.2**2 - 0.4**2)]
    np.testing.assert_allclose(theory.conserved(0.2, np.array([1.0, 2.0, 3.0]), E), by_hand, rtol=1e-12)
    bound = theory.head_bound(Config(lr=0.01, head_lr=0.12), np.array([1.0, 2.5]))
    np.testing.assert_allclose(bound, [2.0, 5.0], rtol=1e-12)


def test_fates_and_collapse_of_three_features():
    config = Config(features=3, strengths=(3.0, 2.0, 1.0), sigma=0.1, m=2)
    a = np.random.default_rng(1).standard_normal((200_000, 2, 3))
    reach = np.array([3.0, 2.0, 1.0]) ** 1.5 * np.abs(a)
    first = (reach[..., 0] > reach[..., 1]) & (reach[..., 0] > reach[..., 2])
    np.testing.assert_array_equal(theory.fates(config, a) == 0, first)
    last = (reach[..., 2] > reach[..., 0]) & (reach[..., 2] > reach[..., 1])
    np.testing.assert_array_equal(theory.fates(config, a) == 2, last)
    p, seen = theory.collapse_probability(config), first.all(axis=1)
    z = lambda p: abs(seen.mean() - p) / np.sqrt(p * (1 - p) / len(seen))
    wrong = theory.collapse_probability(Config(features=3, strengths=(3.05, 2.0, 1.0), m=2))
    assert z(p) < 5 < z(wrong)  # false alarm 6e-7


def test_collapse_probability_is_the_frequency_of_the_fates():
    config = Config(alpha_ratio=2.0, m=3)
    a = np.random.default_rng(0).standard_normal((200_000, 3, 2))
    seen = (theory.fates(config, a) == 0).all(axis=1)
    p = theory.collapse_probability(config)
    z = (seen.mean() - p) / np.sqrt(p * (1 - p) / len(seen))
    assert abs(z) < 5  # false alarm 6e-7
    wrong = theory.collapse_probability(Config(alpha_ratio=2.1, m=3))
    assert abs(seen.mean() - wrong) / np.sqrt(p * (1 - p) / len(seen)) > 5


@pytest.fixture(scope="module")
def small_step_run():
    return simulate(Config(**SLOW, lr=0.01, log_every=1))


def test_sgd_learns_the_strong_feature_on_time(small_step_run):
    run = small_step_run
    neuron = theory.FrozenNeuron(run.config, run.overlaps[0, 0], run.norms[0, 0])
    predicted = neuron.time_to_share(0.5)
    measured = run.time[np.argmax(run.shares[:, 0, 0] >= 0.5)]
    assert 0 < measured < run.time[-1]
    assert measured == pytest.approx(predicted, rel=0.1)
    small_start = theory.small_start_times(run.config, run.overlaps[0], np.sqrt(run.gram[0].diagonal()))[0, 0]
    assert not measured == pytest.approx(1.5 * small_start, rel=0.1)


def test_sgd_keeps_the_frozen_invariants(small_step_run):
    run = small_step_run
    strong, weak = run.config.alphas
    terms = np.stack([strong**-6 * run.overlaps[:, 0, 0] ** -4, weak**-6 * run.overlaps[:, 0, 1] ** -4])
    drift = np.abs(np.diff(terms, axis=0)[0] / np.diff(terms, axis=0)[0, 0] - 1)
    assert drift.max() < 0.1
    assert np.ptp(terms[0]) > 0.9 * terms[0, 0]  # while its first term fell by more than 90 %
    assert np.abs(run.norms / run.norms[0] - 1).max() < 0.1


@pytest.mark.parametrize("strengths", [(20.0, 1.0), (3.0, 2.0, 1.0), (2.0, 2.0, 1.0, 1.0)])
def test_the_probability_of_collapse_for_any_number_of_features(strengths):
    config = Config(features=len(strengths), strengths=strengths, m=2, head="frozen")
    starts = np.random.default_rng(0).standard_normal((20_000, 2, len(strengths)))
    all_strong = (theory.fates(config, starts) == 0).all(axis=1)
    assert agrees(all_strong[:, None], theory.collapse_probability(config))
    assert not agrees(all_strong[:, None], theory.collapse_probability(config) - 0.05)
    assert theory.collapse_probability(Config(features=1)) == pytest.approx(1)


def test_the_noise_left_for_three_features():
    """Eq. 30 against the flow's own rate, d||w_perp||/dt = -c x^5, of a neuron that has learned one of K features."""
    for K in (1, 2, 3):
        config = Config(features=K, alpha_ratio=3.0, m=1, head="frozen", d=10**6, sigma=0.7)
        x, W = 1e-3, np.zeros((1, K + 2))
        W[0, 0], W[0, K] = np.sqrt(1 - x * x), x
        rate = -population.loss_and_grad(W, np.eye(1), config)[1].W[0, K]
        c = -rate / x**5
        assert theory.noise_left(config, 1.0, 0, 1e9) == pytest.approx((4 * c * 1e9) ** -0.25, rel=1e-4)


@pytest.mark.parametrize("options", [dict(), dict(feature_patches=4),
                                     dict(patch_counts=(7, 4), frequencies=(0.8, 0.2), strengths=(9, 1))], ids=str)
def test_the_spread_of_a_batch_variance(options):
    """Eq. 51 from its definition: masks enumerated, moments of normals by quadrature, and E (f^2)^2 / (E f^2)^2 of both."""
    config = Config(batch_size=16, d=20, **options)
    x, weights = np.polynomial.hermite_e.hermegauss(20)
    sixth, twelfth = (weights @ x**power / weights.sum() for power in (6, 12))
    square = fourth = 0.0
    for k, often in zip(config.patches_by_feature, config.shares_of_samples):
        patches = [1] * (config.patches - k) + [0] * k  # 1 for noise
        M = np.array([sum(view) for view in itertools.combinations(patches, config.patches // 2)])
        square += often * (M * sixth).mean()
        fourth += often * (M * twelfth + 3 * M * (M - 1) * sixth**2).mean()
    assert theory.batch_spread(config) == pytest.approx(np.sqrt((fourth / square**2 - 1) / 16), rel=1e-12)


def test_no_noise_has_no_spread():
    assert theory.batch_spread(Config(feature_patches=8)) is None


def test_a_signal_by_hand():
    """alpha_l |a_jl| / sigma, with frequencies by their sixth roots and predictabilities by that of mu12_l."""
    config = Config(strengths=(8.0, 2.0), sigma=0.5, d=100)
    signal = theory.signal(config, np.array([[0.1, -0.2], [-0.3, 0.5]]))
    np.testing.assert_allclose(signal, [[1.6, 0.8], [4.8, 2.0]], rtol=1e-12)
    rare = Config(strengths=(8.0, 2.0), frequencies=(0.75, 0.25), d=100)
    expected = [0.8 * 1.5 ** (1 / 6), 0.4 * 0.5 ** (1 / 6)]
    np.testing.assert_allclose(theory.signal(rare, np.array([[0.1, -0.2]])), [expected], rtol=1e-12)


def test_the_residual_is_what_is_left_of_the_weights():
    """||w - a v||^2 is the noise and the square of the other overlap, against eq. 14 integrated; from a start where the
    other one counts."""
    config = Config(alpha_ratio=2.0, alpha_weak=1.0, d=40, feature_patches=4)
    start = np.array([0.5, 0.6])
    norm = np.sqrt(start @ start + 0.7**2)
    neuron = theory.FrozenNeuron(config, start, norm)
    time = neuron.time_to_residual(0.8)
    path = solve_ivp(frozen_field(config), (0, time), start, args=(norm,), method="DOP853", rtol=1e-12, atol=1e-15)
    assert time > 0 and norm**2 - path.y[0, -1] ** 2 == pytest.approx(0.8**2, rel=1e-8) and path.y[1, -1] > 0.5
