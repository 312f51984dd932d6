"""The laws of the variants against the flow, each with a law nearby that the same check rejects.

Tolerances come from what a law leaves out, terms of relative size d^{-1/2} and the like, or from sampling error.
"""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad
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


def test_the_closed_form_of_the_lag_is_its_limit():
    """Eq. 33 solves eq. 32 where F_2 has only noise and neuron 1 is far from its norm: here, to a few per cent."""
    config = Config(d=10**6, alpha_ratio=20.0, feature_patches=4, lr=1.0, head_lr=1e-3, stop_gradient=False)
    overlaps, norms = np.array([[3e-3, 1e-3], [1.5e-3, 1e-3]]), np.ones(2)
    began = theory.small_start_times(config, overlaps, norms)[0, 0] / 2
    lags = [variant_laws.taught_time(config, overlaps, norms) - began, variant_laws.taught_lag(config, overlaps, norms)]
    assert lags[0] / lags[1] == pytest.approx(1, abs=0.3)
    slower = dataclasses.replace(config, head_lr=1e-5)
    np.testing.assert_allclose(variant_laws.taught_lag(slower, overlaps, norms) / lags[1], 100 ** (4 / 11))


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


def test_two_neurons_part_by_a_quadrature():
    """Eq. 37 at m = 2 with its constant 1/z_1 + 1/z_2, against the integration of any number of neurons."""
    config = barlow(0.9)
    c = 12 * config.barlow_lambda * 0.75**2 / 20**6
    for ratio in (-0.8, -0.1, 0.3, 0.9):
        a = np.array([[0.01, 0.004], [0.02, 0.004 * ratio]])
        norms = np.sqrt(1 - (a**2).sum(1))
        other = lambda s: 1 / (1 + 1 / ratio - s)
        time = quad(lambda s: 1 / (s**-3 - other(s) ** 3), 0, 1, limit=200)[0] / (c * 0.004**4)
        assert variant_laws.parting_time(config, a, norms) == pytest.approx(time, rel=1e-5)


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


def test_the_ceiling_and_the_balance_of_a_symmetric_head():
    """Eqs. 39, 40 at d = 1e8, from a start whose neuron 2 has a leak: the plateau, and half the square of (13)'s ceiling."""
    config = make_config(10**8, 0.1, head="symmetric")
    a = np.array([[[-1.74e-4, -1.3e-5], [-1.36e-4, -1.0e-4]]])
    U = np.eye(2)[None] * np.sqrt(1 - (a**2).sum(-1))[..., None]
    norms, ceiling = norms_of(U[0]), np.sqrt(0.1 / 6)
    heads = [np.abs(flow.integrate(flow.Equations.from_config(config), a, U, t_max=t).E[0, 0, 1]) for t in (1e8, 1e13)]
    assert heads[0] == pytest.approx(variant_laws.symmetric_balance(config, a[0], norms), rel=0.1)
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
    for factor, leaves, end in ((100, False, until), (0.01, True, 3 * time)):  # eq. 48
        paced = dataclasses.replace(config, head_lr=factor * variant_laws.head_in_time(config, a[0, 0], a[0, 1]))
        assert (second_shares(paced, a, U, end)[0] > 0.9) == leaves


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
    "eq. 14": (lambda c: theory.FrozenNeuron(c, PAIR[0][0], 1.0), {}, [dict(features=3), BARLOW, TAUGHT, dict(batch_norm=False)]),
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
        with pytest.raises(ValueError, match=f"^{law.split(', f')[0]} is about another setting: "):
            ask(Config(**options))


def test_the_time_of_eq_16_for_three_features():
    config = Config(engine="flow", m=1, features=3, strengths=(9.0, 3.0, 1.0), d=10**8, lr=1.0, head="frozen")
    a, U = starts(config, range(3))
    out = flow.follow_many(config, range(3))
    predicted = theory.small_start_times(config, a, norms_of(U))[:, 0, 0]
    np.testing.assert_allclose(out.phases[:, 0], predicted, rtol=2e-3)
