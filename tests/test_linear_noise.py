"""The linear-noise band (docs/theory.md, eqs. 72 to 79): its moments against other laws and gram, its coverage, its refusals."""

import dataclasses

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov
from scipy.stats import binom, chi2

import simsim
import simsim.run
from simsim import data, linear_noise, noise_laws, sgd
from simsim.linear_noise import Batches, Forms, Sample
from simsim.theory import batch_spread

ERROR = 1e-6  # probability that a statistical test here fails although all is right, shared among its comparisons
STATE = simsim.State([[0.06, 0.05], [0.04, 0.25]], [[0.8, 0.1], [0.3, 0.6]], [[1.0, 0.1], [0.3, 1.0]])
LEARNED = simsim.State([[0.3, 0.05], [0.2, 0.25]], STATE.U, STATE.E)
ONE = dict(m=1, head="frozen", feature_patches=4, alpha_ratio=1e3, alpha_weak=1e-2, d=200)
# Of the test of coverage: neuron 2 learns v_1 at step 28, and the head moves.
SEEDS, LATE = range(770_000, 770_200), 100
SHORT = dict(alpha_ratio=3.0, d=100, feature_patches=4, init_seed=21, lr=0.0211, batch_size=1024, steps=LATE)


def batches(state=STATE, **options):
    made = Batches(simsim.Config(**options), state.E)
    return made, made.pack(state.a, state.gram, state.E)


def one_neuron(overlap, noise_norm=1.0):
    return simsim.State([[overlap, 1e-9]], [[noise_norm]], [[1.0]])


def plain(forms):
    """In place of `Forms._influence`: what a sample counts if the batch's variances were those of the population."""
    own = np.einsum("tjb,tjgc->tgbc", 2 * forms.rho[..., None] * forms.Y - 2 * forms.Z, forms.dY)
    return own.reshape(*own.shape[:2], -1)


# ---- the moments of a batch, against what is known otherwise ----------------------------------------------------------

@pytest.mark.parametrize("options", [
    {}, dict(feature_patches=4, sigma=1.7), dict(frequencies=(0.7, 0.3), feature_patches=3), dict(patch_counts=(6, 3)),
    dict(m=3, features=3, alpha_ratio=4.0), dict(head="frozen", feature_patches=4), dict(m=1)],
    ids=["default", "sigma", "frequencies", "patch-counts", "three", "frozen", "one"])
def test_the_mean_gradient_is_that_of_the_flow(options):
    config = simsim.Config(**options)
    rng, m = np.random.default_rng(1), config.m
    E = np.eye(m) if config.head == "frozen" else np.eye(m) + 0.3 * rng.standard_normal((m, m)) * (1 - np.eye(m))
    state = simsim.State(0.2 * rng.standard_normal((m, config.features)), rng.standard_normal((m, m)), E)
    made, x = batches(state, **options)
    _, Q, _ = made.unpack(x[None])
    L = np.linalg.cholesky(Q)
    forms = Forms(made, state.a[None], state.E[None], Sample(made, state.a[None], L))
    flow = (made._to_state(L) @ forms.gradient[..., None])[0, :, 0]
    np.testing.assert_allclose(flow, made.flow(x), rtol=0, atol=1e-12 * np.abs(flow).max())


def test_a_small_overlap_walks_and_drifts_as_equations_57_and_60_say():
    made, x = batches(one_neuron(1e-3), **ONE, batch_size=10**6)
    config, found = made.config, made.step_noise(x[None])
    mu11, mu12, nu = data.mask_moments(8, 4)
    k1, chance = data.split_law(8, 4)
    M = chance @ (k1**2 * k1) / nu  # at P = 8 and k = 4 view 2 has as many noise patches as view 1 has of the feature
    D, a, alpha = 15 * nu, 1e-3, config.alphas[0]
    assert found.covariance[0, 0, 0] == pytest.approx(36 * alpha**6 * a**4 * M / (2 * D), rel=1e-6)
    first, second = (N * (noise_laws.of_batch(8, 4, N).drift - 1) for N in (2048, 4096))  # b + c / N
    assert found.bias[0, 0] / made.flow(x)[0] == pytest.approx(2 * second - first, rel=1e-2)


@pytest.mark.parametrize("k", [2, 4, 6])
def test_noise_lengthens_weights_as_equation_56_says(k):
    made, x = batches(one_neuron(1e-6), **{**ONE, "feature_patches": k}, batch_size=10**6)
    expected = 7.2 * noise_laws.common_noise(made.config) * made.config.lr / 10**6 * noise_laws.freedom(made.config)
    assert made.step_noise(x[None]).growth[0, 0, 0] == pytest.approx(expected, rel=1e-9)


def test_a_neuron_that_holds_its_feature_grows_as_equation_67_says():
    small = 1e-3
    made, x = batches(one_neuron(1.0, small), **ONE, batch_size=10**6)
    config, (mu11, _, nu) = made.config, data.mask_moments(8, 4)
    D = mu11 / 2 * config.alphas[0] ** 6
    expected = 108 * config.lr / 10**6 * noise_laws.freedom(config) * noise_laws.held_noise(config) * nu * small**4 / D
    # Half of the samples show v_1, and of those that do not nothing is pushed.
    assert made.step_noise(x[None]).growth[0, 0, 0] == pytest.approx(expected, rel=1e-3)


def scatter_of_gram(config, state, count, first):
    """What one step from `state` with `count` batches changes, over lr: (count, n)."""
    config = dataclasses.replace(config, lr=1e-6, head_lr=1e-6 * config.kappa, steps=1)
    made, x = batches(state, **config.changes())
    changes = []
    for seed in range(first, first + count, 100):
        runs = sgd.start([config.reseeded(one, config.init_seed) for one in range(seed, seed + 100)], state)
        *_, last = sgd.iterate(runs)
        changes.append((made.pack(last.overlaps, last.gram, last.head) - x) / config.lr)
    return made, x, np.concatenate(changes)


def variance_ratios(changes, covariance, N):
    """Of each coordinate measured over predicted, and of combinations that are uncorrelated in theory.

    Of these the first two have no noise but rounding and what is of higher order: (12) for each of two neurons.
    """
    value, vector = np.linalg.eigh(covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))))
    spread = (changes - changes.mean(0)) / np.sqrt(np.diag(covariance))
    measured = lambda one: N * (one**2).sum(0) / (len(changes) - 1)
    return np.concatenate([measured(spread), measured(spread @ vector)[2:] / value[2:]])


@pytest.mark.parametrize("k, state", [(4, STATE), (7, LEARNED)], ids=["learning", "learned"])
def test_gradients_of_batches_scatter_as_equation_74_says(k, state, monkeypatch):
    """2,000 batches; every ratio is within its chi-squared interval, widened by the law's own relative error, 3 spread^2."""
    config, count = simsim.Config(feature_patches=k), 2000
    made, x, changes = scatter_of_gram(config, state, count, 880_000)
    slack = 3 * batch_spread(config) ** 2
    limits = chi2.ppf([ERROR / 32, 1 - ERROR / 32], count - 1) / (count - 1) * [1 / (1 + slack), 1 + slack]
    within = lambda: [limits[0] < ratio < limits[1] for ratio in
                      variance_ratios(changes, made.step_noise(x[None]).covariance[0], config.batch_size)]
    assert all(within())
    monkeypatch.setattr(Forms, "_influence", plain)
    assert not all(within())


def test_fourth_moments_are_those_of_a_constant_and_independent_patches():
    """f1 f1 and f1 f2 of one neuron, by hand for each mask (eq. 75): E u^6 = 15 X^3, E u^12 = 10,395 X^6."""
    made, _ = batches(one_neuron(0.1), m=1, head="frozen", feature_patches=4)
    sample = Sample(made, np.array([[[0.1, 0.0]]]), np.eye(1)[None])
    one, two, both = [], [], []
    for chance, k1, k2, feature in zip(made.chance, made.k1, made.k2, made.feature):
        shown = (made.config.alphas[0] * 0.1) ** 3 if feature == 0 else 0.0
        s, t, n = k1 * shown, k2 * shown, 4 - k1
        fourth = s**4 + 6 * s**2 * 15 * n + 10_395 * n + 3 * 225 * n * (n - 1)
        one.append(chance * fourth)
        two.append(chance * (s**2 + 15 * n) * (t**2 + 15 * (4 - k2)))
        both.append(chance * np.array([s**2 + 15 * n, s * t]))
    D = made.width
    found, (square, cross) = sample.fourth[0].reshape(2, D, 2, D), np.sum(both, 0)
    assert found[0, 0, 0, 0] == pytest.approx(sum(one) - square**2, rel=1e-12)
    assert found[0, 1, 0, 1] == pytest.approx(sum(two) - cross**2, rel=1e-12)


def gradient_of(made, state, V):
    """The gradient (..., g) at second moments V (..., D, D) of v, by the objective's own."""
    m, K = made.m, made.K
    _, grad = made.objective.loss_and_grad(V[..., :2 * m, :2 * m], np.broadcast_to(state.E, (*V.shape[:-2], m, m)))
    with_v = grad.mixing @ V[..., :2 * m, 2 * m:]  # (..., m, K + m^2)
    across = with_v[..., K:].reshape(*V.shape[:-2], m, m, m)
    parts = [3 * made.alpha**3 * state.a**2 * with_v[..., :K], np.einsum("...rrc->...rc", across)]
    return np.concatenate([*(part.reshape(*V.shape[:-2], -1) for part in parts), grad.E[..., made.moves]], axis=-1)


@pytest.mark.parametrize("state", [STATE, LEARNED], ids=["learning", "learned"])
def test_influence_and_bias_are_the_first_and_second_variation_of_the_gradient(state):
    """Along every principal direction in which the moments of a batch scatter, by differences (eqs. 73 and 76)."""
    made, _ = batches(state, feature_patches=4)
    sample = Sample(made, state.a[None], np.linalg.cholesky(state.gram)[None])
    forms = Forms(made, state.a[None], state.E[None], sample)
    value, vector = np.linalg.eigh(sample.fourth[0])
    ways, h = (vector * np.sqrt(np.maximum(value, 0))).T, 1e-3  # between truncation and rounding
    V = np.repeat(sample.second, len(ways), axis=0)
    step = np.zeros_like(V)
    step[:, made.outputs] = h * ways.reshape(-1, 2 * made.m, made.width)
    there, back, here = (gradient_of(made, state, moments) for moments in (V + step, V - step, V))
    np.testing.assert_allclose(here[0], forms.gradient[0], rtol=1e-9, atol=1e-12)
    first, second = (there - back) / (2 * h), (there + back - 2 * here).sum(0) / (2 * h**2)
    np.testing.assert_allclose(first, ways @ forms.influence[0].T, atol=1e-5 * np.abs(first).max())
    np.testing.assert_allclose(second, forms.bias(sample.fourth)[0], rtol=1e-4, atol=1e-5 * np.abs(second).max())


def test_the_noise_of_norms_is_that_of_a_head_that_scatters():
    """At E = I and Gram matrix 1 norms have no noise (12); with a head of variance v it is (6/kappa)^2 v times the head's (79)."""
    state = simsim.State([[1e-3, 1e-3], [1e-3, 1e-3]], np.eye(2), np.eye(2))
    made, x = batches(state, feature_patches=4)
    v, diagonal = 1e-8, [4, 6]
    alone, S = made.scatter(x[None])[0], made.scatter(x[None], np.array([v * np.eye(2)]))[0]
    assert np.diag(alone)[diagonal].max() < 1e-9 * np.diag(alone)[7:].min()
    expected = 36 / made.config.kappa**2 * v * np.diag(alone)[7:].sum()
    np.testing.assert_allclose(np.diag(S)[diagonal] - np.diag(alone)[diagonal], expected, rtol=1e-3)


# ---- along a path ------------------------------------------------------------------------------------

def test_covariances_are_carried_however_stiff():
    J, S, h = np.array([[-2.0, 1.0], [0.5, -3.0]]), np.array([[2.0, 0.3], [0.3, 1.0]]), np.array([1e-3, 0.7, 1e4])
    forward, added = linear_noise.propagated(np.array([J] * 3), np.array([S] * 3), h)
    at_rest = solve_continuous_lyapunov(J, -S)
    for i in range(3):
        np.testing.assert_allclose(added[i], at_rest - forward[i] @ at_rest @ forward[i].T, rtol=1e-9, atol=1e-12)
    pushed = linear_noise.pushed_by(np.array([J] * 3), np.ones((3, 2)), h)
    np.testing.assert_allclose(pushed[2], -np.linalg.solve(J, np.ones(2)), rtol=1e-9)


def test_the_next_order_is_the_second_derivative_along_the_covariance():
    made, x = batches()
    size = np.abs(x) * 1e-2
    factor = np.random.default_rng(0).standard_normal((made.size, made.size)) * size[:, None]
    bent = linear_noise._curvature(made, x[None], (factor @ factor.T)[None])[0]
    h = 1e-5
    second = sum((made.jacobian(x + h * way) - made.jacobian(x - h * way)) @ way / (2 * h) for way in factor.T)
    np.testing.assert_allclose(bent, second / 2, rtol=1e-3, atol=1e-5 * np.abs(bent).max())


def test_the_path_is_that_of_steps_in_an_infinite_batch():
    """Of 40 steps of eta each, the mean without noise; the flow, which knows no eta, is twenty times as far away."""
    config = simsim.Config(**SHORT, head_lr=0.0211)
    made, x = batches(simsim.State.start(config), **config.changes())
    there, fine = x.copy(), 200
    for _ in range(12):
        there = there + config.lr * made.flow(there)
    ends = []
    for velocity in (made.stepped_flow, made.flow):
        y, h = x.copy(), config.lr / fine
        for _ in range(12 * fine):
            y = y + h * velocity(y + h / 2 * velocity(y))
        ends.append(np.abs(y - there).max())
    assert ends[0] < ends[1] / 20


# ---- runs ---------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def runs():
    """200 runs from one start, with seeds that no derivation has seen."""
    return simsim.simulate_many(simsim.Config(**SHORT, head_lr=0.0211), SEEDS)


def ratios(band, runs, row=-1):
    """Variance of every coordinate over what the band has, about the band's mean, at a row."""
    away = np.array([band.coordinates(run)[row] for run in runs]) - band.mean[row]
    return ((away**2).mean(0) / band.deviation[row] ** 2)[drawn(band)]


def drawn(band):
    """The coordinates that pictures show: overlaps and head."""
    return [i for i, name in enumerate(band.names) if name[0] in "<E"]


def covered(band, runs, row=-1):
    """How many of the runs are inside, for each coordinate."""
    away = np.array([band.coordinates(run)[row] for run in runs]) - band.mean[row]
    return (np.abs(away) <= linear_noise.DEVIATIONS * band.deviation[row]).sum(0)[drawn(band)]


def limits(band, runs):
    """Of the ratios and of the runs inside, where the band is right but for spread^2 and NEXT_ORDER."""
    n, share = len(runs), ERROR / 3 / len(drawn(band))
    slack = (1 + 3 * batch_spread(band.config) ** 2) * (1 + linear_noise.NEXT_ORDER**2)
    return (chi2.ppf([share, 1 - share], n) / n * [1 / slack, slack]), binom.ppf(share, n, 0.928)


def test_runs_are_inside_the_band_and_half_the_noise_or_plain_gradients_are_not_enough(runs, monkeypatch):
    band = linear_noise.band(runs[0])
    between, fewest = limits(band, runs)
    assert band.holds[-1] and band.gaps and band.gaps[0][1] < 40 * runs[0].config.lr
    good = lambda found: ((between[0] < found) & (found < between[1])).all()
    assert good(ratios(band, runs))
    assert (covered(band, runs) >= fewest).all()
    half = dataclasses.replace(band, covariance=band.covariance / 2)
    assert not good(ratios(half, runs))
    monkeypatch.setattr(Forms, "_influence", plain)
    assert not good(ratios(linear_noise.band(runs[0]), runs))


def test_the_band_is_about_the_mean_of_sgd_and_not_about_the_flow(runs, monkeypatch):
    """What a finite batch and a finite step add: without them the mean of 200 runs is off by many standard errors."""
    off = lambda band: (np.abs(np.mean([band.coordinates(run)[-1] for run in runs], 0) - band.mean[-1])
                        / band.deviation[-1] * np.sqrt(len(runs))).max()
    largest = -chi2.isf(1, 1) + np.sqrt(chi2.isf(ERROR / 9, 1)) + linear_noise.NEXT_ORDER * np.sqrt(len(runs))
    assert off(linear_noise.band(runs[0])) < largest
    monkeypatch.setattr(Batches, "drift", Batches.flow)
    monkeypatch.setattr(Batches, "stepped_flow", Batches.flow)
    assert off(linear_noise.band(runs[0])) > largest


def test_where_a_blow_up_is_the_band_says_that_there_is_none(runs):
    band = linear_noise.band(runs[0])
    learned = np.median([run.time[np.argmax(run.shares[:, 1, 0] > 0.5)] for run in runs])
    (first, last, _), = band.gaps
    assert first < learned < last and band.until == band.time[-1]
    assert band.where_not.startswith("at steps 2") and band.where_not in band.why
    assert linear_noise.band(simsim.Config(m=1, head="frozen", steps=3)).why == ""


def test_a_band_of_a_config_is_that_of_its_run(runs):
    config = runs[0].config
    one, other = linear_noise.band(runs[0]), linear_noise.band(config)
    at = np.searchsorted(other.time, one.time[-1])
    np.testing.assert_allclose(one.deviation[-1], other.deviation[min(at, len(other.time) - 1)], rtol=1e-3)
    assert one.until == one.time[-1] and one.steps[-1] == pytest.approx(LATE)
    assert (one.head_deviation[-1] > 0).tolist() == [[False, True], [True, False]]


def test_neurons_in_another_order_have_the_same_band(runs):
    band = linear_noise.band(runs[0])
    other = band.reordered([1, 0])
    np.testing.assert_array_equal(other.overlaps, band.overlaps[:, ::-1])
    np.testing.assert_array_equal(other.head_deviation, band.head_deviation[:, ::-1, ::-1])
    np.testing.assert_array_equal(other.gram_deviation, band.gram_deviation[:, ::-1, ::-1])
    np.testing.assert_array_equal(other.reordered([1, 0]).covariance, band.covariance)


# ---- what it is not about --------------------------------------------------------------------------------

@pytest.mark.parametrize("options, word", [
    (dict(objective="barlow"), "the paper's objective"), (dict(stop_gradient=False), "the paper's objective"),
    (dict(batch_norm=False), "the paper's objective"), (dict(head="symmetric"), "a head whose noise is known"),
    (dict(power=5), "cubic"), (dict(momentum=0.5), "momentum"), (dict(weight_decay=0.1), "weight_decay"),
    (dict(target_momentum=0.9), "target_momentum"), (dict(lr_schedule="cosine"), "lr_schedule"),
    (dict(head_momentum=0.5), "head_momentum"), (dict(batch_size=256), "a large batch"), (dict(m=4), "few neurons"),
    (dict(engine="flow"), "SGD"), (dict(lr=1.0), "a small step"), (dict(feature_patches=8), "noise")],
    ids=lambda value: str(value)[:24])
def test_what_it_is_not_about_is_refused_by_name(options, word):
    with pytest.raises(ValueError, match=word):
        linear_noise.band(simsim.Config(**options))


class Short(data.Law):
    """Noise of another law."""

    def noise(self, rng, shape):
        return rng.uniform(-1, 1, shape)


def test_a_law_of_samples_of_ones_own_is_refused_by_name():
    with pytest.raises(ValueError, match="law of samples|data"):
        linear_noise.band(simsim.Config(data=Short(), engine="sgd"))


def test_a_run_that_begins_later_is_refused_and_a_start_beside_a_run(runs):
    with pytest.raises(ValueError, match="first row"):
        linear_noise.band(runs[0][3:])
    with pytest.raises(ValueError, match="`start` is that of the run"):
        linear_noise.band(runs[0], STATE)


def test_pictures_shade_the_band_where_it_holds_and_refuse_another_run_s(runs):
    band = linear_noise.band(runs[0])
    panels = simsim.plots.phases(runs[0], band=band)
    for panel in panels[:2]:
        assert simsim.plots.story.BAND_NAME in [text.get_text() for text in panel.get_legend().get_texts()]
    said = panels[-1].get_xlabel().replace("\n", " ")
    assert band.where_not in said
    simsim.plots.plt.close("all")
    with pytest.raises(ValueError, match="its rows are others"):
        simsim.plots.phases(runs[0], band=linear_noise.band(runs[0].config))
    simsim.plots.plt.close("all")


def test_the_command_line_draws_it_when_asked_and_refuses_before_computing(tmp_path, capsys):
    short = ["--steps", "40", "--quiet", "--out", str(tmp_path / "run")]
    assert simsim.run.main([*short, "--band", "--momentum", "0.5"]) == 2
    assert "--band: eqs. 72 to 79" in capsys.readouterr().err
    assert simsim.run.main([*short, "--band", "--no-plot"]) == 2 and not (tmp_path / "run").exists()
    sizes = []
    for band in ([], ["--band"]):
        assert simsim.run.main([*short[:-1], str(tmp_path / f"run{len(band)}"), *band, "--format", "svg"]) == 0
        sizes.append((tmp_path / f"run{len(band)}" / "phases.svg").stat().st_size)
    assert sizes[1] > sizes[0]  # by the shades
