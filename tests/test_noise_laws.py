"""What finite batches do: moments against enumeration and brute force, growth and the first passage against gram, refusals.

Statistical tests have fixed seeds and err with probability FALSE_ALARM or as they say.
"""

import dataclasses
import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from scipy.special import erf, ndtr
from scipy.stats import binom, chi2
from z_test import FALSE_ALARM, agrees

import simsim
from simsim import laws, noise_laws, premises
from simsim.data import mask_moments, sample_classes
from simsim.report import check_theorems, hypotheses

ONE = dict(m=1, head="frozen", feature_patches=4, alpha_ratio=1e3, alpha_weak=6e-3, d=200, batch_size=128, lr=1e-3)
PAIR = dict(alpha_ratio=3.0, d=100, feature_patches=4, init_seed=6, batch_size=1024, lr=0.02)


def start(overlap):
    return simsim.State([[overlap, 0.0]], [[1.0]], [[1.0]])


# ---- moments -------------------------------------------------------------------------------

def halves(P, noisy):
    """(nu_1, nu_2) of every half of P patches, of which the first `noisy` are noise."""
    for half in itertools.combinations(range(P), P // 2):
        inside = sum(patch < noisy for patch in half)
        yield inside, noisy - inside


@pytest.mark.parametrize("P, k", [(8, 4), (8, 7), (8, 2), (6, 3), (10, 6)])
def test_common_noise_counts_every_half(P, k):
    both = np.array(list(halves(P, P - k)))
    exact = np.mean(both[:, 0] * both[:, 1]) / np.mean(both[:, 0]) ** 2
    config = simsim.Config(patches=P, feature_patches=k)
    assert noise_laws.common_noise(config) == pytest.approx(exact, abs=1e-12)
    assert noise_laws.common_noise(config) == pytest.approx(1 - k / ((P - k) * (P - 1)), abs=1e-12)


def test_common_noise_of_unequal_patches_counts_every_half():
    config = simsim.Config(patch_counts=(4, 6), frequencies=(0.7, 0.3), alpha_ratio=20.0)
    pairs = [np.array(list(halves(8, 8 - k))) for k in (4, 6)]
    often = np.array([0.7, 0.3])
    top = often @ [np.mean(pair[:, 0] * pair[:, 1]) for pair in pairs]
    assert noise_laws.common_noise(config) == pytest.approx(top / (often @ [np.mean(pair[:, 0]) for pair in pairs]) ** 2, abs=1e-12)


def test_common_noise_where_there_is_none_is_no_number():
    assert np.isnan(noise_laws.common_noise(simsim.Config(feature_patches=8)))


def test_what_pushes_a_holder_counts_every_half():
    P, k = 8, 4
    pairs = np.array(list(halves(P, P - k)))
    k1, k2 = P // 2 - pairs[:, 0], P // 2 - pairs[:, 1]
    mu11, mu12, nu = mask_moments(P, k)
    exact = np.mean((k2 - mu12 / mu11 * k1) ** 2 * pairs[:, 0]) / (mu11 * nu)
    config = simsim.Config(feature_patches=k)
    assert noise_laws.held_noise(config) == pytest.approx(exact, abs=1e-12) and round(exact, 3) == 0.547


def test_the_airy_function_is_what_a_cube_oscillates_to():
    u = np.linspace(-12, 12, 400_001)
    density = np.exp(-u * u / 2) / np.sqrt(2 * np.pi) * (u[1] - u[0])
    first, second = noise_laws._cubes()
    for s in (2e-4, 0.01, 0.3, 2.0, 8.0):
        assert first(np.log(s)) == pytest.approx(density @ np.cos(s * u**3), abs=1e-9)
        assert second(np.log(s)) == pytest.approx(density @ (u**4 * np.cos(s * u**3)), abs=1e-4)


def by_brute_force(P, k, N, batches, rng):
    """Samples (batches, 4) whose means are the drift, the common noise, the walk and that of the head of a batch."""
    classes, nu, (_, mu12, _) = sample_classes(P, (k, k)), (P - k) / 2, mask_moments(P, k)
    D, made = 15 * nu, []
    for _ in range(batches):
        kind = rng.choice(len(classes.probability), size=N, p=classes.probability)
        k1, k2, shown = classes.k1[kind], classes.k2[kind], classes.sign[kind] * (classes.feature[kind] == 0)
        u, inside = rng.standard_normal((N, P - k)), np.arange(P - k) < (P // 2 - k1)[:, None]
        f, g, fourth = (u**3 * inside).sum(1), (u**3 * ~inside).sum(1), (u**4 * inside).sum(1)
        other_neuron = (rng.standard_normal((N, P - k)) ** 3 * inside).sum(1)
        f, g = f - f.mean(), g - g.mean()
        in_f, in_g = shown * k1 - np.mean(shown * k1), shown * k2 - np.mean(shown * k2)
        own, other, cross = np.mean(f * f), np.mean(g * g), np.mean(f * g)
        # The derivative of mean((g - cross/own f) shown k1) / sqrt(own other) as a small signal enters f and g.
        d_own, d_other, d_cross = 2 * np.mean(f * in_f), 2 * np.mean(g * in_g), np.mean(f * in_g + g * in_f)
        slope = np.mean((in_g - cross / own * in_f - (d_cross / own - cross * d_own / own**2) * f) * shown * k1)
        slope -= np.mean((g - cross / own * f) * shown * k1) * (d_own / own + d_other / other) / 2
        rest = (g - cross / own * f) / np.sqrt(other)
        made.append([D * slope / np.sqrt(own * other) / mu12 * 2, np.mean(rest**2 * fourth) * D / own / (3 * nu),
                     np.mean(rest * shown * k1) ** 2 * N * D / own * 2, np.mean(rest * other_neuron) ** 2 * N / own])
    return np.array(made)


@pytest.mark.parametrize("P, k, N", [(8, 4, 64), (8, 2, 32), (12, 5, 64)])
def test_moments_of_a_batch_are_those_of_brute_force(P, k, N):
    batch = noise_laws.of_batch(P, k, N)
    found = by_brute_force(P, k, N, 6000, np.random.default_rng(20))
    assert agrees(found, [batch.drift, batch.common, batch.walk, batch.head])
    c_0 = noise_laws.common_noise(simsim.Config(patches=P, feature_patches=k))
    assert not agrees(found, [1.0, c_0, batch.walk, batch.head])  # as an infinite batch has them
    assert not agrees(found, [noise_laws.of_batch(P, k, N // 2).drift, *batch[1:3], batch.head])
    assert not agrees(found, [*batch[:3], 1.2 * batch.head])


def test_a_large_batch_is_an_infinite_one():
    batch, config = noise_laws.of_batch(8, 4, 10**6), simsim.Config(feature_patches=4)
    k1 = np.arange(5)
    chance = np.array([1, 16, 36, 16, 1]) / 70
    c_0 = noise_laws.common_noise(config)
    limit = 1, c_0, chance @ (k1**2 * k1) / 2, 1, c_0, c_0  # nu_2 = k_1 here
    assert batch == pytest.approx(limit, rel=1e-4)
    assert noise_laws.of_batch(8, 4, 10**9) == pytest.approx(limit, rel=1e-5)  # splines of Laplace transforms are good to 3e-6


@pytest.mark.parametrize("N", [10**5, 10**6, 10**9])
@pytest.mark.parametrize("k, share", [(4, Fraction(6, 7)), (7, Fraction(0))])
def test_no_number_of_samples_is_too_many(N, k, share):
    """The target's speed, E[D^1/2 / G'^1/2] in a sample that counts by its noise patches, is 1 + c / N to leading order.

    By moments c = (1 - E[nu_1 nu_2] / nu^2) / 2 + 3 / 8 (E[g^4] / D^2 - 1). The next order is below (100 / N)^2.
    """
    nu = Fraction(8 - k, 2)
    pairs = Fraction((8 - k) * (7 - k) * 6, 4 * 7)  # ordered pairs of noise patches in one view
    kurtosis = (10_395 * nu + 3 * 15**2 * pairs) / (15 * nu) ** 2
    c = (1 - share) / 2 + Fraction(3, 8) * (kurtosis - 1)
    assert noise_laws.of_batch(8, k, N).target == pytest.approx(float(1 + c / N), abs=1e-6)
    assert noise_laws.of_batch(8, k, N).drift == pytest.approx(1, abs=100 / N + 1e-6)


@pytest.mark.parametrize("batch, words", [((8, 7, 2), "`batch_size` = 2"), ((8, 7, 64.5), "`batch_size` = 64.5"),
                                          ((8, 8, 64), "without noise"), ((8, 9, 64), "at most patches"),
                                          ((8, 0, 64), "at least 2"), ((7, 4, 64), "even")])
def test_a_batch_that_no_run_has_is_refused(batch, words):
    with pytest.raises(simsim.ConfigError, match=words):
        noise_laws.of_batch(*batch)


def test_what_pushes_a_holder_is_asked_of_even_features_with_noise():
    with pytest.raises(ValueError, match="patches"):
        noise_laws.held_noise(simsim.Config(patch_counts=(7, 5)))
    assert np.isnan(noise_laws.held_noise(simsim.Config(feature_patches=8)))


def test_without_noise_in_both_views_the_means_of_a_batch_are_all_there_is():
    assert noise_laws.of_batch(8, 7, 4096).common == pytest.approx(1 / 4096, rel=0.05)


# ---- growth, threshold, optimum ---------------------------------------------------------------

def test_noise_lengthens_weights_as_the_law_says():
    """48 runs of gram; d with one too few dimensions is too little to see, c_0 of the other view's count is not."""
    config = simsim.Config(**{**ONE, "steps": 150, "log_every": 150, "alpha_weak": 5e-5, "lr": 0.006})
    batch = noise_laws.of_batch(8, 4, config.batch_size)
    grown = np.array([run.norms[-1, 0] ** 4 - 1 for run in simsim.simulate_many(config, range(300, 348), start=start(1e-6))])
    law = 2 * noise_laws.growth(config, batch) * config.lr * config.steps
    assert agrees(grown, law)
    assert not agrees(grown, law / noise_laws.common_noise(config))  # as if the two views had independent numbers of patches


def test_the_time_of_sgd_is_that_of_the_reduced_system():
    """Eq. 14 with the growth of the noise part beside it, until v_1 is half of the output: the law leaves out a(0)^2 = .0023."""
    mu11, mu12, nu = mask_moments(8, 4)
    for x in (0.1, 0.5, 0.8):
        config, at = simsim.Config(**ONE), start(0.048)
        lr = config.lr * x / laws.noise(config, at).phase_one.x
        config = dataclasses.replace(config, lr=lr, head_lr=None)
        batch, strength = noise_laws.of_batch(8, 4, config.batch_size), config.effective_alphas[0]

        def rates(_, y):
            a, X = np.exp(y)
            n = 15 * nu * X**3
            D = n + mu11 / 2 * (strength * a) ** 6
            speed = batch.drift * 3 * mu12 * strength**6 * a**5 * n / D**2
            noise = 7.2 * 15 * nu * lr / config.batch_size * 197 * X**2 * batch.common * n / D**2
            return [speed / a, (noise - 2 * a * speed) / X]

        half = lambda _, y: mu11 / 2 * (strength * np.exp(y[0])) ** 6 - 15 * nu * np.exp(3 * y[1])
        half.terminal = True
        lost = solve_ivp(rates, (0, 1e3), [np.log(0.048), 0.0], events=half, method="LSODA", rtol=1e-9, atol=1e-10).t_events[0][0]
        one = laws.noise(config, at).phase_one
        assert one.time == pytest.approx(lost, rel=0.02) and one.time > 1.04 * one.flow_time / batch.drift
        assert noise_laws.time_of_flow(x, noise_laws.slowed(x)) == pytest.approx(1, rel=1e-12)
    assert noise_laws.slowed(1.0) == np.inf and noise_laws.time_of_flow(0, 3.0) == 3.0


def test_the_fewest_samples_are_at_the_golden_ratio():
    least = minimize_scalar(lambda x: noise_laws.slowed(x) / x, bounds=(0.01, 0.99), method="bounded", options={"xatol": 1e-9})
    golden = (1 + np.sqrt(5)) / 2
    assert least.x == pytest.approx(noise_laws.BEST_X, abs=1e-6) and least.fun == pytest.approx(golden**5 / 2, rel=1e-9)
    assert noise_laws.LEAST_SAMPLES == pytest.approx(golden**5 / 2, rel=1e-12)


def test_the_best_rate_takes_the_samples_that_it_is_said_to():
    config, at = simsim.Config(**ONE), start(0.048)
    one = laws.noise(config, at).phase_one
    best = laws.noise(dataclasses.replace(config, lr=one.best_lr, head_lr=None), at).phase_one
    assert best.x == pytest.approx(noise_laws.BEST_X, rel=1e-9) and best.samples == pytest.approx(one.least_samples, rel=1e-9)
    assert best.best_lr == pytest.approx(one.best_lr, rel=1e-9) and best.samples < one.samples


def test_under_decay_the_threshold_is_that_of_the_reduced_system():
    """d ||w||^4 / dt = 2 x - 4 decay ||w||^4 in units of T_1: learned iff the clock, which decay drives too, ever gets to 1."""
    config = simsim.Config(**{**ONE, "weight_decay": 0.3})
    assert noise_laws.decayed_norm(config, 1.0, 1e3) == pytest.approx((noise_laws.growth(config) / 0.6) ** 0.25, rel=1e-9)
    for decay in (0.05, 0.4):
        edge = next(x for x in np.linspace(0.01, 1, 2000) if noise_laws.decay_criticality(x, decay, 1.0) >= 1)
        for x, learned in ((0.97 * edge, True), (1.03 * edge, False)):
            rates = lambda t, y: [2 * x - 4 * decay * y[0], y[0] ** -1.5 * np.exp(-4 * decay * t)]
            clock = solve_ivp(rates, (0, 12 / decay), [1.0, 0.0], rtol=1e-9).y[1, -1]
            assert (clock > 1) == learned
        assert edge < 1  # so it never helps


# ---- first passage ------------------------------------------------------------------------------

def test_without_growth_the_first_passage_has_a_closed_form():
    for blur in (0.05, 0.3, 1.0, 4.0):
        assert noise_laws.learning_probability(0.0, blur) == pytest.approx(erf(0.5 / np.sqrt(blur)), rel=1e-12)
    assert noise_laws.learning_probability(4e-4, 1.0) == pytest.approx(erf(0.5), abs=0.01)  # of the solved equation
    assert noise_laws.learning_probability([0.9, 1.1], 0.0).tolist() == [1, 0]
    beyond = noise_laws.learning_probability([3.0, 1e3, 1e6], 1e-3)  # 7 standard deviations, and more
    assert (np.diff(beyond) <= 0).all() and beyond.max() < 1e-6
    assert erf(0.5 / np.sqrt(noise_laws.BLUR_OF_EVEN_CHANCE)) == pytest.approx(0.5)


def test_the_first_passage_is_that_of_the_stochastic_equation():
    """20,000 paths of dr = (-1/(4 r^3) + blur/r) dt + sqrt(blur) dB in small steps, of error .004; twice the blur is not theirs."""
    rng, x, blur = np.random.default_rng(4), 1.25, 0.05
    r, t, reached, n = np.ones(20_000), np.zeros(20_000), 0, 20_000
    while r.size:
        step = np.minimum(2e-3 * np.minimum(r**4, r**2 / blur), 1 / x - t)
        r, t = np.abs(r + (-0.25 / r**3 + blur / r) * step + np.sqrt(blur * step) * rng.standard_normal(r.size)), t + step
        reached += (r < 0.03).sum()
        going = (r >= 0.03) & (t < 1 / x - 1e-9)
        r, t = r[going], t[going]
    law = noise_laws.learning_probability(x, blur)
    far = 4.9 * np.sqrt(law * (1 - law) / n) + 0.004
    assert abs(reached / n - law) < far < abs(reached / n - noise_laws.learning_probability(x, 2 * blur))


def test_sgd_learns_as_often_as_the_first_passage_says():
    """100 runs of gram at x = .4 with much blur; without blur all of them would learn."""
    config = simsim.Config(**{**ONE, "batch_size": 64})
    a = start(0.048)
    lr = config.lr * 0.4 / laws.noise(config, a).phase_one.x
    config = dataclasses.replace(config, lr=lr, head_lr=None)
    one, batch = laws.noise(config, a).phase_one, noise_laws.of_batch(8, 4, 64)
    assert one.x == pytest.approx(0.4, rel=1e-9) and one.probability < 0.9
    end = 3 * one.time
    config = dataclasses.replace(config, steps=int(end / lr), log_every=int(end / lr) // 200)
    learned = sum(run.shares[-1, 0, 0] > 0.5 for run in simsim.simulate_many(config, range(400, 500), start=a))
    law = float(noise_laws.learning_probability(1 / noise_laws.time_of_flow(0.4, end * batch.drift / one.flow_time),
                                                noise_laws.blur(config, 0.048, batch)))
    tail = lambda p: min(binom.cdf(learned, 100, p), binom.sf(learned - 1, 100, p))
    assert tail(law) > 5e-4  # the law is of leading order: an error of .05 would pass
    assert tail(float(noise_laws.learning_probability(0.4, 1e-6))) < FALSE_ALARM


# ---- which feature a neuron learns -----------------------------------------------------------------

def test_a_race_is_that_of_two_stochastic_equations():
    """6,000 pairs of paths of eq. 60, each in its own time; blurs that are alike are not theirs."""
    rng, times, blurs, end, n = np.random.default_rng(5), np.array([1.0, 1.2]), np.array([0.4, 0.05]), 2.5, 6_000
    r, t, won, index = np.ones((n, 2)), np.zeros(n), np.full(n, -1), np.arange(n)
    while index.size:
        step = np.minimum(4e-3 * (times * np.minimum(r**4, r**2 / blurs)).min(axis=1), end - t)[:, None]
        walk = np.sqrt(blurs * step / times) * rng.standard_normal(r.shape)
        r, t = np.abs(r + (-0.25 / r**3 + blurs / r) * step / times + walk), t + step[:, 0]
        won[index[(r < 0.03).any(axis=1)]] = r.argmin(axis=1)[(r < 0.03).any(axis=1)]
        going = (r >= 0.03).all(axis=1) & (t < end - 1e-9)
        r, t, index = r[going], t[going], index[going]
    found = [np.mean(won == feature) for feature in (0, 1)]
    far = 4.9 * np.sqrt(0.25 / n) + 0.005
    np.testing.assert_allclose(found, noise_laws.fate_probabilities(times, blurs, end), atol=far)
    assert np.abs(found - noise_laws.fate_probabilities(times, [0.4, 0.4], end)).max() > 3 * far


def test_a_little_noise_moves_fates_within_a_width_of_a_tie():
    """Eq. 81: passages are normal, and who is first is a normal variable's sign. Its next order is that of sqrt(blur)."""
    for later in (0.99, 1.0, 1.02):
        times, blurs = np.array([1.0, later]), np.array([2e-5, 1e-5])
        first = ndtr((later - 1) / np.sqrt(6.4 * blurs @ times**2))
        np.testing.assert_allclose(noise_laws.fate_probabilities(times, blurs), [first, 1 - first], atol=0.01)
    assert noise_laws.fate_probabilities([1.0, np.inf], [1e-6, 1.0]) == pytest.approx([1, 0], abs=1e-6)
    assert noise_laws.fate_probabilities([1.0, 3.0, 2.0], [1e-6] * 3) == pytest.approx([1, 0, 0], abs=1e-6)
    assert noise_laws.fate_probabilities([1.0, 3.0], [1e-6] * 2, end=0.9) == pytest.approx([0, 0], abs=1e-6)


def test_sgd_learns_each_feature_as_often_as_the_race_says():
    """1,000 runs of gram, from v_1 ahead by 10 % of eq. 14; not as if v_1 walked no more than v_2 does."""
    config = simsim.Config(m=1, head="frozen", strengths=(3.0, 2.0), feature_patches=7, d=50, batch_size=256, lr=1.0)
    batch, overlaps = noise_laws.of_batch(8, 7, 256), np.array([0.05, 0.045 * 1.5**1.5])
    config = dataclasses.replace(config, lr=0.4 / noise_laws.blur(config, 0.05, batch), head_lr=None)
    times = simsim.theory.small_start_times(config, overlaps, np.ones(())) / batch.drift
    steps = int(8 * times[0] / config.lr)
    config = dataclasses.replace(config, steps=steps, log_every=steps)
    a = simsim.State([overlaps], [[1.0]], [[1.0]])
    learned = sum(run.shares[-1, 0] > 0.5 for run in simsim.simulate_many(config, range(500, 1500), start=a))
    walks = noise_laws.blur(config, overlaps, batch)
    tail = lambda chances: min(min(binom.cdf(n, 1000, p), binom.sf(n - 1, 1000, p)) for n, p in zip(learned, chances))
    assert tail(noise_laws.fate_probabilities(times, walks, 8 * times[0])) > 1e-4  # the law is of leading order
    assert tail(noise_laws.fate_probabilities(times, walks[[1, 1]], 8 * times[0])) < FALSE_ALARM


def test_how_many_fates_of_gaussian_starts_noise_moves():
    """Eq. 82 against eq. 80 over starts within four widths (81) of a tie, spread evenly; at any ratio."""
    n, d, tau = 300, 10**4, 1e-12
    step = np.arange(n) + 0.5
    for ratio in (1.5, 3.0):
        config = simsim.Config(m=1, head="frozen", strengths=(ratio, 1.0), feature_patches=4, d=d, batch_size=64, lr=64 * tau)
        batch = noise_laws.of_batch(8, 4, 64)
        slope, size = ratio**-1.5, np.sqrt(chi2.ppf(step / n, 2) / d)  # of a tie, and of both overlaps together
        walks = noise_laws.blur(config, np.outer(size, [slope, 1]) / np.hypot(1, slope), batch)
        width = np.sqrt(0.4 * walks.sum(axis=1))
        lead = width * (8 * (step * (np.sqrt(5) - 1) / 2 % 1) - 4)
        overlaps = size[:, None] * np.stack([slope * np.exp(lead), np.ones(n)], axis=1) / np.hypot(1, slope)
        chances = np.array([noise_laws.fate_probabilities((a * [ratio**1.5, 1]) ** -4, walk) for a, walk in zip(overlaps, walks)])
        moved = chances[np.arange(n), (lead > 0).astype(int)] * 8 * width * 2 / np.pi * slope / (1 + slope**2)
        assert moved.mean() == pytest.approx(noise_laws.moved_fates(config, batch), rel=0.06)
    for fields, words in ((dict(features=3, strengths=(3.0, 2.0, 1.0)), "K = 3"), (dict(lr=1.0), "little noise"),
                          (dict(stop_gradient=False), "no stop-gradient"), (dict(momentum=0.9), "momentum")):
        with pytest.raises(ValueError, match=f"eq. 82.*{re.escape(words)}"):
            noise_laws.moved_fates(dataclasses.replace(config, **fields), batch)


def test_fates_of_a_run_with_three_features():
    config = simsim.Config(m=3, features=3, strengths=(2.0, 1.5, 1.0), feature_patches=4, d=200, head="frozen", init_seed=1,
                           batch_size=256, lr=1e-6)
    found, fates = laws.noise(config), simsim.theory.fates(config, simsim.State.start(config).a)
    assert np.shape(found.fates) == (3, 3) and all(row[fate] > 0.9 for row, fate in zip(found.fates, fates))
    apart = np.prod([1 - row[0] for row in found.fates])
    assert found.some_neuron[0] == pytest.approx(1 - apart, rel=1e-12) and "K = 3" in found.missing
    assert found.phase_one.flow_time in [neuron.time_to_share(0.5) for neuron in laws.frozen_neurons(
        config, simsim.State.start(config).a, simsim.State.start(config).noise_norms) if neuron.feature == 0]
    never = laws.noise(dataclasses.replace(config, lr=1.0, head_lr=None))
    assert np.max(never.fates) < 1e-6 and never.phase_one.x > 1
    large = laws.noise(simsim.Config(**ONE), start(5.0))
    assert np.isnan(large.fates).all() and np.isnan(large.some_neuron).all()


def test_the_report_says_whether_noise_leaves_a_fate():
    config = simsim.Config(m=1, head="frozen", strengths=(3.0, 2.0), feature_patches=7, d=50, batch_size=256, lr=1e-3, steps=5)
    for overlap, holds in ((0.09, False), (0.05, True)):
        a = simsim.State([[0.05, overlap]], [[1.0]], [[1.0]])
        run = simsim.simulate(config, start=a)
        asked, = hypotheses.kept_fates(run)
        assert asked.holds is holds and "(eq. 80)" in asked.asked
        assert float(asked.figure) == pytest.approx(max(laws.noise(config, a).fates[0]), rel=0.1)
        check, = (one for one in check_theorems(run) if one.claim.startswith("fate of each neuron"))
        assert ("fates that noise leaves" in check.wants) == (not holds)


# ---- the head ------------------------------------------------------------------------------------

def test_the_head_walks_as_the_law_says():
    """600 runs of gram with batches so small that c_0 is not enough; the longer neuron's row walks a third as far."""
    config = simsim.Config(feature_patches=4, alpha_ratio=1e3, alpha_weak=5e-5, d=200, batch_size=64, lr=3e-3, steps=100,
                           log_every=100)
    batch, norms = noise_laws.of_batch(8, 4, 64), np.array([1.0, 1.15])
    a = simsim.State([[1e-6, 1e-6]] * 2, np.diag(norms), np.eye(2))
    heads = np.array([run.head[-1] for run in simsim.simulate_many(config, range(5000, 5600), start=a)])
    walked = np.stack([heads[:, 0, 1] ** 2, heads[:, 1, 0] ** 2], axis=1)
    law = noise_laws.head_walk(config, batch, norms, 100 * config.lr) ** 2
    assert agrees(walked, [law[0, 1], law[1, 0]]) and law[0, 0] == 0
    assert not agrees(walked, [law[1, 0], law[0, 1]])
    assert law[0, 1] == pytest.approx(law[1, 0] * 1.15**12, rel=0.05)


def test_two_lengths_that_grow_alike_have_a_ratio_in_closed_form():
    """The mean of ((A + g t) / (B + g t))^{3/2} over time, by a sum of many steps."""
    config = simsim.Config(feature_patches=4, d=200, batch_size=64, lr=0.05)
    batch, norms, time = noise_laws.of_batch(8, 4, 64), np.array([0.8, 1.3]), 3.0
    t = (np.arange(10**5) + 0.5) / 10**5 * time
    noise = (norms[:, None] ** 4 + 2 * noise_laws.growth(config, batch) * t) ** 1.5
    law = 2 * config.kappa * np.sqrt(config.lr / 64 * batch.head * time * np.mean(noise[1] / noise[0]))
    assert noise_laws.head_walk(config, batch, norms, time)[0, 1] == pytest.approx(law, rel=1e-8)
    assert law == pytest.approx(2 * config.kappa * np.sqrt(config.lr / 64 * batch.head * time * 1.3**6 / 0.8**6), rel=0.6)


def test_a_neuron_that_has_learned_keeps_its_row_of_the_head_within_the_law():
    """150 runs of gram."""
    config = simsim.Config(strengths=(2.0, 0.01), feature_patches=4, d=200, batch_size=256, lr=0.02)
    mu11, mu12, nu = mask_moments(8, 4)
    steps = int(3 * mu11**2 * 2**6 / (60 * mu12 * nu) / config.lr)  # three times that of its relaxation
    config = dataclasses.replace(config, steps=steps, log_every=steps)
    a = simsim.State([[1.0, 0.0], [0.01, 1e-3]], np.diag([0.05, 1.0]), np.eye(2))
    squares = [run.head[-1, 0, 1] ** 2 for run in simsim.simulate_many(config, range(5600, 5750), start=a)]
    law = noise_laws.settled_head(config) ** 2
    assert agrees(squares, law) and not agrees(squares, 2 * law)


def test_the_head_starts_on_the_wrong_side_as_often_as_the_law_says():
    """64 runs of gram from a Gaussian start, until phase II should end: without noise none would be wrong."""
    config = simsim.Config(alpha_ratio=3.0, d=100, feature_patches=4, init_seed=47, batch_size=256, lr=8e-3)
    at = simsim.State.start(config)
    law = laws.heads_at_substitution(config, at.a, at.noise_norms)
    steps = int(laws.substitution_time(config, at.a, at.noise_norms) / config.lr)
    first = int(laws.first_learner(config, at.a, at.noise_norms))
    made = simsim.simulate_many(dataclasses.replace(config, steps=steps, log_every=steps), range(6000, 6064), start=at)
    heads = np.array([run.head[-1, 1 - first, first] for run in made]) * np.sign(at.a[0, 0] * at.a[1, 0])
    wrong, tail = (heads < 0).sum(), lambda p: min(binom.cdf(wrong, 64, p), binom.sf(wrong - 1, 64, p))
    assert tail(np.mean(law < 0)) > 1e-4 and abs(heads.mean() - law.mean()) < 4.9 * heads.std() / 8
    little = laws.heads_at_substitution(dataclasses.replace(config, lr=1e-3, head_lr=None), at.a, at.noise_norms)
    assert tail(max(np.mean(little < 0), 1 / len(little))) < FALSE_ALARM
    assert little.std() < 0.6 * law.std()


def test_the_head_without_noise_is_that_of_eq_20():
    config, at = pair(lr=1e-9)
    start = laws.Start(config, at.a, at.noise_norms)
    heads = laws.heads_at_substitution(config, at.a, at.noise_norms, 3)
    path = laws._PhaseTwo(start).follow(laws._PhaseTwo(start).rates, 2)
    assert heads == pytest.approx(laws._PhaseTwo(start).enough * path.y[1, -1], rel=2e-3)


def test_laws_of_the_head_refuse_what_they_are_not_about():
    config, at = pair()
    batch = noise_laws.of_batch(8, 4, config.batch_size)
    walks = {"eq. 83": lambda config: noise_laws.head_walk(config, batch, [1.0, 1.0], 1.0), "eq. 85": noise_laws.settled_head,
             "eq. 86": lambda config: laws.heads_at_substitution(config, at.a, at.noise_norms)}
    for name, law in walks.items():
        for fields, words in ((dict(head="frozen"), "head frozen"), (dict(momentum=0.9), "momentum"),
                              (dict(stop_gradient=False), "no stop-gradient"), (dict(weight_decay=1e-3), "weight_decay")):
            with pytest.raises(ValueError, match=f"{name}.*{re.escape(words)}"):
                law(dataclasses.replace(config, **fields))
    with pytest.raises(ValueError, match="eq. 86.*little growth"):
        laws.heads_at_substitution(dataclasses.replace(config, lr=5.0, head_lr=None), at.a, at.noise_norms)


# ---- phase III ------------------------------------------------------------------------------------

def pair(**fields):
    config = simsim.Config(**{**PAIR, **fields})
    return config, simsim.State.start(config)


def accelerated(tau, d=10**8, init_seed=3, batch=noise_laws.INFINITE_BATCH):
    config, at = pair(d=d, init_seed=init_seed)
    return noise_laws.SlowedAcceleration(laws.Start(config, at.a, at.noise_norms), tau, d, batch, 0.547), config, at


def test_phase_three_without_noise_is_that_of_the_flow():
    made, config, at = accelerated(0.0)
    flow = laws.Acceleration(config, at.a, at.noise_norms)
    assert made.time() == pytest.approx(flow.time(), rel=0.01)  # the leak grows by a_21 itself, 1e-4 here
    spent = np.sqrt(-np.expm1(2 * flow.end()))  # |E_21| over its ceiling, by eq. 13
    assert made.head_at_end() == pytest.approx(laws.ceiling(1.0, at.noise_norms[1]) * spent, rel=1e-3)


def test_the_threshold_of_phase_three_is_sharp_and_where_the_law_says():
    made, config, at = accelerated(0.0)
    start = made.start
    tau_c = noise_laws.critical_tau(start, 10**8, 1.0)
    assert accelerated(tau_c)[0].x == pytest.approx(1, rel=0.02)  # h b^2 over n_2 is what is left
    assert np.isfinite(accelerated(0.9 * tau_c)[0].time()) and accelerated(1.2 * tau_c)[0].time() == np.inf


def test_noise_raises_the_ceiling_of_the_head():
    s = 0.5
    made, config, at = accelerated(0.0)
    raised = accelerated(s * noise_laws.critical_tau(made.start, 10**8, 1.0))[0]
    square = (raised.head_at_end() / made.head_at_end()) ** 2
    assert square == pytest.approx(noise_laws.raised_ceiling(s), rel=0.02) and noise_laws.raised_ceiling(0.0) == 1
    assert raised.mean_head() == pytest.approx(raised.head_at_end(), rel=0.02)  # a_22 is so small that all is over before it moves
    assert noise_laws.raised_ceiling([9e-5, 1.1e-4]) == pytest.approx([1 + 6e-5, 1 + 2.2e-4 / 3], abs=1e-8)  # 1 + 2 s / 3 + s^2 / 2
    assert noise_laws.raised_ceiling([1 - 1e-9, 1.0, 2.0]).tolist() == [pytest.approx(39.446531, rel=1e-6), np.inf, np.inf]


def test_phase_three_is_that_of_the_reduced_equations():
    """E, X, b and a_22 in time, as eqs. 20 and 68 have them, by another integrator and another variable."""
    made, config, at = accelerated(0.0, d=10**4, init_seed=2)
    s, d, W = made.start, 10**4, 0.547
    tau = 0.6 * noise_laws.critical_tau(s, d, 0.857)
    batch = noise_laws.INFINITE_BATCH._replace(common_target=0.857)
    phase = accelerated(tau, d, 2, batch)[0]
    strong, weak = s.alphas

    def rates(_, y):
        X, E, a21, left = np.exp(y[0]), np.exp(y[1]), y[2], np.exp(y[3])
        n, b = 15 * s.nu * X**3, (strong * a21) ** 3
        B = strong**3 * (s.norms[0] ** 2 + 3 * E * E / s.kappa) ** 1.5
        H = b + E * B
        D, G = s.h11 * H * H, n + s.h11 * b * b
        dE = s.kappa * s.mu12 * n * b * B / (D * np.sqrt(D * G))
        noise = 108 * tau * d * s.nu * X**2 / (D * G) * (0.857 * n + W * s.h11 * b * b)
        da21 = 3 * strong**3 * a21**2 * s.mu12 * n * b / (D * np.sqrt(D * G))
        fall = -12 * s.mu12 * weak**6 / np.sqrt(D * G) / left
        return [(-6 / s.kappa * H / B * dE + noise) / X, dE / E, da21, fall, -E * s.weak[1] * left**0.25 * fall / 4]

    done = lambda _, y: y[3] + 4 * np.log(s.weak[1]) + np.log(1e6)
    done.terminal = True
    begin = [2 * np.log(s.noise_norms[1]), np.log(1e-6), s.leak ** (1 / 3) / strong, -4 * np.log(s.weak[1]), 0.0]
    path = solve_ivp(rates, (0, 1e12), begin, events=done, method="LSODA", rtol=1e-9, atol=1e-10)
    assert phase.time() == pytest.approx(path.t_events[0][0], rel=2e-3)
    assert phase.time() > 1.3 * accelerated(0.0, d, 2, batch)[0].time()
    mean = path.y[4, -1] + np.exp(path.y[1, -1] + path.y[3, -1] / 4) * s.weak[1]  # E over what is left of 1 / a_22
    assert phase.mean_head() == pytest.approx(mean, rel=2e-3) and phase.mean_head() < 0.99 * phase.head_at_end()


# ---- of one run -------------------------------------------------------------------------------------

def test_the_noise_of_a_run():
    config, at = pair()
    found = laws.noise(config)
    assert found == laws.noise(config, at) and found.missing == ""
    one, three = found.phase_one, found.phase_three
    assert 0 < one.x < three.x < 1 and one.steps == one.time / config.lr and one.samples == one.steps * config.batch_size
    assert one.flow_time == min(simsim.theory.FrozenNeuron(config, *row).time_to_share(0.5) for row in zip(at.a, at.norms))
    assert three.time > 1.1 * three.flow_time and found.largest_lr == three.largest_lr < one.largest_lr
    assert three.least_samples < three.samples and three.best_lr < three.largest_lr


def test_up_to_the_largest_step_and_no_further():
    config, _ = pair()
    for factor, learned in ((0.98, True), (1.02, False)):
        lr = factor * laws.noise(config).phase_three.largest_lr
        three = laws.noise(dataclasses.replace(config, lr=lr, head_lr=None)).phase_three
        assert np.isfinite(three.time) == learned and three.x == pytest.approx(factor, rel=5e-3)
    config, at = simsim.Config(**ONE), start(0.048)
    for factor, likely in ((0.98, True), (1.02, False)):
        lr = factor * laws.noise(config, at).phase_one.largest_lr
        assert (laws.noise(dataclasses.replace(config, lr=lr, head_lr=None), at).phase_one.probability > 0.5) == likely


def test_only_eta_over_N_matters_but_for_the_batch():
    config, _ = pair()
    one = laws.noise(config).phase_one
    double = laws.noise(dataclasses.replace(config, lr=2 * config.lr, head_lr=None, batch_size=2 * config.batch_size)).phase_one
    assert double.x == pytest.approx(one.x, rel=0.02) and double.steps == pytest.approx(one.steps / 2, rel=0.02)


def test_a_start_that_has_learned_it_needs_nothing():
    one = laws.noise(simsim.Config(**ONE), simsim.State([[1.0, 0.0]], [[0.01]], [[1.0]])).phase_one
    assert (one.x, one.time, one.probability, one.least_samples) == (0, 0, 1, 0)


def test_a_neuron_without_the_feature_never_learns_it():
    config = simsim.Config(**{**ONE, "alpha_ratio": 1.5, "alpha_weak": 1.0})
    one = laws.noise(config, simsim.State([[1e-3, 0.2]], [[1.0]], [[1.0]])).phase_one
    assert (one.time, one.largest_lr, one.probability) == (np.inf, 0, 0)


@pytest.mark.parametrize("fields, words", [
    (dict(batch_norm=False), "no batch norm"), (dict(stop_gradient=False), "no stop-gradient"),
    (dict(objective="barlow"), "barlow"),
    (dict(head="symmetric"), "head symmetric"), (dict(head="random"), "head random"), (dict(weight_decay=1e-3), "weight_decay"),
    (dict(momentum=0.9), "momentum"), (dict(target_momentum=0.9), "target_momentum"), (dict(lr_schedule="cosine"), "lr_schedule"),
    (dict(patch_counts=(3, 4)), "3, 4"), (dict(engine="flow"), "engine gram or sgd"),
    (dict(batch_size=16), "larger batch_size"), (dict(feature_patches=8), "no patch of a sample")])
def test_what_the_laws_are_not_about_is_refused_by_name(fields, words):
    with pytest.raises(ValueError, match=f"eqs. 56 to 60 and 66 to 71.*{re.escape(words)}"):
        laws.noise(simsim.Config(**{**PAIR, **fields}))


def test_a_head_that_is_not_at_the_identity_is_refused():
    config, at = pair()
    with pytest.raises(ValueError, match="eqs. 56 to 60 and 66 to 71.*the head's own start"):
        laws.noise(config, dataclasses.replace(at, E=np.array([[1.0, 0.1], [0.0, 1.0]])))
    with pytest.raises(ValueError, match="m = 2"):
        laws.noise(config, start(0.1))


def test_a_run_without_a_law_of_phase_three_says_why():
    assert "m = 1" in laws.noise(simsim.Config(**ONE), start(0.1)).missing
    frozen = laws.noise(simsim.Config(**PAIR, head="frozen"))
    assert frozen.phase_three is None and "head frozen" in frozen.missing and frozen.largest_lr == frozen.phase_one.largest_lr


@pytest.mark.parametrize("fields", [dict(m=1, d=3), dict(lr=1e300, head_lr=1e300), dict(lr=1e-300, head_lr=1e-300)])
def test_no_dimension_to_grow_in_and_steps_of_any_size_have_their_laws(fields):
    """Nor does one of them warn: without growth nothing is too long, and a step without end learns nothing."""
    one = laws.noise(simsim.Config(feature_patches=4, **fields)).phase_one
    assert one.x == 0 if "d" in fields else (one.x > 1) == (fields["lr"] > 1)
    assert (one.time == np.inf) == (one.x > 1)


def test_the_floor_refuses_what_it_is_not_about():
    with pytest.raises(ValueError, match="eq. 67"):
        noise_laws.noise_floor(simsim.Config(weight_decay=1e-3))
    assert premises.hold(laws.of_noise(simsim.Config()))


# ---- in the report ----------------------------------------------------------------------------------

def test_many_patches_are_refused_before_their_masks_are_summed():
    with pytest.raises(ValueError, match="few patches: up to 256"):
        laws.noise(simsim.Config(patches=300, feature_patches=150, d=50, batch_size=64))


def test_the_report_says_up_to_which_step():
    config, _ = pair(steps=5)
    for lr, word in ((0.02, "short enough"), (1.0, "too long")):
        run = simsim.simulate(dataclasses.replace(config, lr=lr, head_lr=None))
        largest = laws.noise(run.config).largest_lr
        assert hypotheses.step_in_words(run) == (
            f"By the laws of finite batches, with batches of 1024 a step up to {largest:.2g} learns both features (eqs. 58, 87): "
            f"this run's of {lr:.2g} is {word}.")
        small, = (one for one in hypotheses.of_sgd(run) if one.name == "a small step")
        noise = laws.noise(run.config)
        begun = "" if np.isnan(noise.s) else f", s = {noise.s:.2g} where III begins (eq. 89)"  # too long a step has none
        assert small.figure.endswith(f", x = {noise.phase_one.x:.2g} of I, {noise.phase_three.x:.2g} of III (eqs. 58, 87){begun}")
        assert (begun == "") == (lr == 1.0)
    other = simsim.simulate(dataclasses.replace(config, momentum=0.5))
    assert hypotheses.step_in_words(other) == "" and hypotheses.noise(other) is None


@pytest.mark.parametrize("place, value, missing", [((0, 0), 1e3, "a phase I"), ((0, 0), 1e20, "a phase I"),
                                                   ((1, 1), 1e-60, "nothing of v_2"), ((0, 1), 0.0, "nothing of v_2")])
def test_starts_beyond_phase_three_have_laws_of_phase_one_alone(place, value, missing):
    """Neither a warning nor an integral without end."""
    config = simsim.Config(d=200, alpha_ratio=3.0, feature_patches=4, batch_size=1024, init_seed=3)
    start = simsim.State.start(config)
    overlaps = start.a.copy()
    overlaps[place] = value
    found = laws.noise(config, simsim.State(overlaps, start.U, start.E))
    assert found.phase_three is None and missing in found.missing and found.phase_one.x >= 0
    assert laws.noise(config, start).phase_three or "a phase I" not in laws.noise(config, start).missing
