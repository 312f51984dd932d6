"""The gram engine has the law of literal SGD: two-sample tests with controls, edge cases, exact repetition.

Shapes: R replicas, N batch, P patches, m neurons, d dimension.
"""

import numpy as np
import pytest
from interrupted import interrupted_and_resumed
from scipy.stats import binom, chisquare, hypergeom, ks_2samp, kstest, norm
from z_test import FALSE_ALARM

from simsim import Config, TrainingError, draws, find_phases, loss_and_grad, network, simulate, simulate_many
from simsim.gram import GramWeights, upper_root
from simsim.sgd import PatchWeights
from simsim.simulation import iterate, start
from simsim.trajectory import STORED

REPLICAS = 20_000
CONTROL_REPLICAS = 8_000
# A few large steps on tiny batches: each moves the weights by about their own length.
LAW = Config(engine="gram", d=8, m=2, batch_size=6, patches=4, feature_patches=2, alpha_weak=0.8, alpha_ratio=1.5,
             sigma=0.9, steps=3, log_every=1, lr=0.25, head_lr=0.2)


def changed(config, **fields):
    return Config(**{**config.to_dict(), **fields})


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in STORED)


# ---- the law -------------------------------------------------------------------

def literal_views(config, rng, count):
    """Views X1, X2 (R, N, P, d) for R replicas, as the paper states them, patch by patch."""
    N, P, k, d = config.batch_size, config.patches, config.feature_patches, config.d
    X = config.sigma * rng.standard_normal((count, N, P, d))
    X[..., :2] = 0
    feature, sign = rng.integers(2, size=(count, N)), rng.choice([-1.0, 1.0], size=(count, N))
    X[:, :, :k] = (np.eye(d)[feature] * (sign * np.asarray(config.alphas)[feature])[..., None])[:, :, None]
    rank = rng.random((count, N, P)).argsort(axis=-1).argsort(axis=-1)
    in_view_1 = (rank < P // 2)[..., None]
    return np.where(in_view_1, X, 0), np.where(in_view_1, 0, X)


def literal_gradients(W, E, X1, X2):
    """Gradients of the loss (3) for R replicas at once: W (R, m, d), E (R, m, m)."""
    u = np.einsum("rnpd,rmd->rnpm", X1, W)
    f, G = (u**3).sum(axis=2), (np.einsum("rnpd,rmd->rnpm", X2, W) ** 3).sum(axis=2)
    F = f @ np.swapaxes(E, 1, 2)
    Y, Z = ((V - V.mean(axis=1, keepdims=True)) / V.std(axis=1, keepdims=True) for V in (F, G))
    rho = (Y * Z).mean(axis=1, keepdims=True)
    dF = 2 / F.shape[1] * (rho * Y - Z) / F.std(axis=1, keepdims=True)
    dU = 3 * u**2 * (dF @ E)[:, :, None]
    return np.einsum("rnpm,rnpd->rmd", dU, X1), np.swapaxes(dF, 1, 2) @ f


def literal_states(config, rng, count):
    """Overlaps, noise Gram and head of R literal runs at every step, each (T, R, ...)."""
    W, E = rng.standard_normal((count, config.m, config.d)) / np.sqrt(config.d), np.tile(np.eye(config.m), (count, 1, 1))
    log = []
    for step in range(config.steps + 1):
        noise_part = W[..., 2:]
        log.append((W[..., :2].copy(), noise_part @ np.swapaxes(noise_part, 1, 2), E.copy()))
        if step < config.steps:
            dW, dE = literal_gradients(W, E, *literal_views(config, rng, count))
            W -= config.lr * dW
            E -= config.head_lr * dE * (1 - np.eye(config.m))
    return [np.array(part) for part in zip(*log)]


def gram_states(config, count):
    """The same from the gram engine."""
    runs = simulate_many(config, range(count), init_seeds=range(count))
    return [np.array([getattr(run, name) for run in runs]).swapaxes(0, 1) for name in ("overlaps", "gram", "head")]


def coordinates(states):
    """(R, c) what is compared: every entry after the first step and after the last, and some products."""
    overlaps, grams, heads = states
    columns = []
    for a, Q, E in zip(overlaps[[1, -1]], grams[[1, -1]], heads[[1, -1]]):
        rows, cols = np.tril_indices(a.shape[1])
        cosine = Q[:, 1, 0] / np.sqrt(Q[:, 0, 0] * Q[:, 1, 1] + 1e-300)
        columns += [*a.reshape(len(a), -1).T, *Q[:, rows, cols].T, E[:, 0, 1], E[:, 1, 0], cosine,
                    a[:, 0, 0] * a[:, 1, 0], a[:, 0, 0] ** 2 * Q[:, 0, 0], E[:, 0, 1] * E[:, 1, 0]]
    return np.array(columns).T


def smallest_p(first, second):
    """The smallest p-value of Kolmogorov and Smirnov's test over all columns, times their number."""
    p = [ks_2samp(x, y, method="asymp").pvalue for x, y in zip(first.T, second.T)]
    return min(p) * len(p)


@pytest.fixture(autouse=True)
def short_blocks(request, monkeypatch):
    if "law" in request.node.name:  # runs of a few steps need no long blocks
        monkeypatch.setattr(draws, "BLOCK_STEPS", LAW.steps)


@pytest.fixture(scope="module")
def literal():
    return coordinates(literal_states(LAW, np.random.default_rng(0), REPLICAS))


def test_literal_replicas_are_the_literal_engine():
    config, rng = changed(LAW, m=3), np.random.default_rng(1)
    W, E = rng.standard_normal((5, 3, config.d)), rng.standard_normal((5, 3, 3))
    X1, X2 = literal_views(config, rng, 5)
    dW, dE = literal_gradients(W, E, X1, X2)
    for r in range(5):
        _, grad = loss_and_grad(W[r], E[r], X1[r], X2[r])
        np.testing.assert_allclose(dW[r], grad.W, atol=1e-12)
        np.testing.assert_allclose(dE[r], grad.E, atol=1e-12)


def test_the_law_is_that_of_literal_sgd(literal):
    p = smallest_p(coordinates(gram_states(LAW, REPLICAS)), literal)
    print(f"Bonferroni-corrected p = {p:.2g}")
    assert p > FALSE_ALARM
    # The step is large enough to matter: the weights change as much as they vary.
    first, last = literal_states(LAW, np.random.default_rng(2), 1000)[1][[0, -1]]
    assert np.median(np.abs(last - first)) > 0.2 * first.std()


@pytest.mark.parametrize("fields", [dict(d=4), dict(d=5), dict(dtype="float32"), dict(patches=6, feature_patches=5, batch_size=14),
                                    dict(m=3, d=7)], ids=str)
def test_the_law_at_the_edges(fields):
    config = changed(LAW, **fields)
    p = smallest_p(coordinates(gram_states(config, CONTROL_REPLICAS)),
                   coordinates(literal_states(config, np.random.default_rng(3), CONTROL_REPLICAS)))
    print(f"Bonferroni-corrected p = {p:.2g}")
    assert p > FALSE_ALARM


@pytest.mark.parametrize("control", ["across the span dropped", "degrees of freedom off by m"])
def test_a_wrong_law_is_rejected(literal, monkeypatch, control):
    def wrong(rng, m, freedom, count):
        return bartlett(rng, m, freedom + m, count) * (control != "across the span dropped")
    bartlett = draws.bartlett
    monkeypatch.setattr(draws, "bartlett", wrong)
    p = smallest_p(coordinates(gram_states(LAW, CONTROL_REPLICAS)), literal)
    print(f"Bonferroni-corrected p = {p:.2g}")
    assert p < FALSE_ALARM


def both_ways(U1, U2, E):
    """The loss with the views exchanged half of the time: an objective with a gradient in both."""
    first, grad = network.simsiam(U1, U2, E)
    second, swapped = network.simsiam(U2, U1, E)
    return first + second, network.PreactivationGrad(grad.U1, swapped.U1, grad.E + swapped.E)


def test_the_law_with_gradients_in_both_views():
    states = {"sgd": [], "gram": []}
    for engine, log in states.items():
        for seed in range(2500):
            config = changed(LAW, engine=engine, steps=2, seed=seed, init_seed=seed + 10**6 * (engine == "sgd"))
            log.append([(s.overlaps.copy(), s.gram.copy(), s.head.copy()) for s in iterate(config, start(config), both_ways)])
    p = smallest_p(*(coordinates([np.array([[step[part] for step in run] for run in log]).swapaxes(0, 1)
                                  for part in range(3)]) for log in states.values()))
    print(f"Bonferroni-corrected p = {p:.2g}")
    assert p > FALSE_ALARM


def test_phase_times_are_those_of_literal_sgd():
    times = {}
    for engine, seeds in (("sgd", range(80)), ("gram", range(1000, 1080))):
        config = Config(engine=engine, d=20, batch_size=48, patches=8, feature_patches=4, steps=120, log_every=1,
                        alpha_weak=1.0, alpha_ratio=3.0, lr=0.02, head_lr=2.2e-3, init_seed=5)
        ends = [find_phases(run).strong_learned for run in simulate_many(config, seeds)]
        times[engine] = [np.inf if end is None else end.step for end in ends]
    assert 20 < np.median(times["sgd"]) < 60
    p = ks_2samp(times["sgd"], times["gram"]).pvalue
    print(f"Bonferroni-corrected p = {p:.2g}")
    assert p > FALSE_ALARM


def test_samples_have_hypergeometric_splits():
    config = Config(engine="gram", batch_size=40, patches=8, feature_patches=4)
    blocks, zeta = draws.Blocks(config), np.empty((2, 4, 40))
    samples = [blocks.samples(blocks.draw(step, zeta).kinds) for step in range(1000)]
    assert all((sample.count.sum(axis=0) == 4).all() and (np.diff(sample.count[0]) >= 0).all() for sample in samples)
    kinds = [np.ravel_multi_index((s.count[0], s.feature, (s.sign > 0).astype(int)), (5, 2, 2)) for s in samples]
    seen = np.bincount(np.concatenate(kinds), minlength=20)
    for law, agrees in ((hypergeom(8, 4, 4), True), (binom(4, 0.5), False)):
        expected = np.repeat(law.pmf(np.arange(5)) / 4, 4) * seen.sum()
        assert (chisquare(seen, expected).pvalue > FALSE_ALARM) == agrees


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_normals(dtype):
    x = np.empty((3, 100_001), dtype)
    draws.fill_normals(np.random.default_rng(5), x)
    pairs = x.reshape(-1)[:300_002].reshape(2, -1)  # Box and Muller's pairs, in float32
    laws = [(x.ravel(), norm.cdf), (pairs.sum(axis=0) / np.sqrt(2), norm.cdf),
            ((pairs**2).sum(axis=0), lambda r: 1 - np.exp(-r / 2))]
    assert min(kstest(*law).pvalue for law in laws) > FALSE_ALARM / len(laws)


# ---- the short way is the long way ---------------------------------------------

STEP = Config(engine="gram", d=30, batch_size=40, patches=8, feature_patches=4, init_seed=0, steps=30, alpha_weak=1.0,
              alpha_ratio=2.0, lr=0.05, head_lr=0.05, sigma=0.7)
EDGES = [dict(), dict(m=1), dict(m=2, d=4), dict(m=3, d=7), dict(m=4, d=40), dict(dtype="float32"),
         dict(patches=4, feature_patches=4), dict(patches=8, feature_patches=7), dict(patches=2, feature_patches=2),
         dict(patches=12, feature_patches=2), dict(m=12, d=10**6, batch_size=60), dict(d=10**12, lr=1e-12)]


@pytest.mark.parametrize("fields", EDGES, ids=str)
def test_replicas_take_the_step_of_the_generic_chain(fields):
    """The same random numbers, step after step, through network.simsiam and through Replicas."""
    config = changed(STEP, **fields)
    rtol = 1e-9 if config.dtype == "float64" else 1e-4
    long, E = GramWeights(config), np.eye(config.m) + 0.1
    for step in range(10):
        short = GramWeights(config, long.overlaps.copy(), long.factor.copy())
        results = [short.update(network.simsiam, step, E, config.lr),
                   PatchWeights.update(long, network.simsiam, step, E, config.lr)]
        for ours, theirs in zip(*results):
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * (1 + np.abs(theirs).max()))
        np.testing.assert_allclose(short.overlaps, long.overlaps, atol=rtol * np.abs(long.overlaps).max())
        np.testing.assert_allclose(short.gram, long.gram, atol=rtol * long.gram.max())


def test_step_after_step_with_fewer_noise_patches_than_neurons():
    """The array of C has columns that no patch fills, and a step must not find there what the last one left."""
    config = changed(STEP, m=40, d=60, batch_size=8, patches=6, feature_patches=4, lr=1e-3)
    short, long, E = GramWeights(config), GramWeights(config), np.eye(40)
    for step in range(10):
        short.update(network.simsiam, step, E, config.lr)
        PatchWeights.update(long, network.simsiam, step, E, config.lr)
    np.testing.assert_allclose(short.overlaps, long.overlaps, rtol=1e-8)
    np.testing.assert_allclose(short.gram, long.gram, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype, size, problem", [("float64", 1e-50, "small"), ("float64", 1e60, "large"),
                                                  ("float32", 1e-7, "small"), ("float32", 1e8, "large")])
def test_outputs_whose_squares_are_no_numbers_are_named(dtype, size, problem):
    usual = GramWeights(changed(STEP, dtype=dtype))
    for neuron in range(2):
        scale = np.where(np.arange(2) == neuron, size, 1)[:, None]
        weights = GramWeights(usual.config, scale * usual.overlaps, scale * usual.factor)
        refused = pytest.raises(network.NetworkError, match=f"too {problem} for {dtype}; use")
        with np.errstate(all="ignore"), refused as caught:
            weights.update(network.simsiam, 0, np.eye(2), STEP.lr)
        assert caught.value.neuron == neuron + 1


def test_fewer_noise_patches_than_neurons():
    C = np.random.default_rng(0).standard_normal((2, 5))
    R = upper_root(C)
    assert R.shape == (2, 5)
    np.testing.assert_allclose(R.T @ R, C.T @ C, atol=1e-14)
    config = changed(STEP, m=9, batch_size=3, patches=2, feature_patches=2, d=50, lr=1e-3)
    with pytest.raises(TrainingError, match="constant"):  # no noise and few samples: some batch is all alike
        simulate(changed(config, steps=300))


def test_without_noise_patches_the_noise_parts_stay():
    run = simulate(changed(STEP, patches=4, feature_patches=4))
    np.testing.assert_allclose(run.gram, np.broadcast_to(run.gram[0], run.gram.shape), rtol=1e-12)
    assert np.abs(run.overlaps[-1] - run.overlaps[0]).max() > 1e-3


@pytest.mark.parametrize("way", [GramWeights.update, PatchWeights.update])
def test_nearly_equal_neurons_keep_their_distance_in_proportion(way):
    """Near a collapse the dynamics of the distance is linear: 1e-9 follows 1e-6, digit by digit."""
    def distance(size):
        factor = np.array([[1.0, 0.0], [1.0, size]])
        weights = GramWeights(changed(STEP, head="frozen"), np.full((2, 2), 0.2), factor)
        for step in range(50):
            way(weights, network.simsiam, step, np.eye(2), STEP.lr)
        apart = weights.factor[1] - weights.factor[0]
        return np.append(weights.overlaps[1] - weights.overlaps[0], np.linalg.norm(apart)) / size
    np.testing.assert_allclose(distance(1e-9), distance(1e-6), rtol=1e-3, atol=1e-4)
    # Through the Gram matrix that would be lost.
    factor = np.array([[1.0, 0.0], [1.0, 1e-9]])
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(factor @ factor.T)


# ---- repetition and groups -------------------------------------------------------

@pytest.mark.parametrize("fields", EDGES[:7], ids=str)
def test_side_by_side_is_one_by_one_bit_for_bit(fields, monkeypatch):
    config = changed(STEP, **fields)
    together = simulate_many(config, range(5), init_seeds=[7, 7, 8, 9, 9])
    monkeypatch.setattr("simsim.simulation.GROUP_BYTES", 1)  # groups of one
    assert all(map(same, together, simulate_many(config, range(5), init_seeds=[7, 7, 8, 9, 9])))
    assert same(together[2], simulate(changed(config, seed=2, init_seed=8)))


def test_simulate_many_for_the_literal_engine_and_its_arguments():
    config = changed(STEP, engine="sgd", steps=5)
    assert same(simulate_many(config, [3, 4])[1], simulate(changed(config, seed=4)))
    assert simulate_many(STEP, []) == []
    with pytest.raises(ValueError, match="`init_seeds`.*1 and 2"):
        simulate_many(STEP, [3, 4], init_seeds=[1])


@pytest.mark.parametrize("fields, message", [
    (dict(lr=1e200), r"neuron \d, step \d+: .*not finite.*smaller lr"),
    (dict(dtype="float32", lr=1e6, head_lr=1e-3), r"neuron \d, step \d+: .*too large for float32; use a smaller lr"),
    (dict(batch_size=3, patches=4, feature_patches=4, steps=300), r"neuron 1, step \d+: .*larger batch_size")])
def test_failures_are_named(fields, message):
    config = changed(STEP, **fields)
    with pytest.raises(TrainingError, match=message) as alone:
        simulate(config)
    with pytest.raises(TrainingError, match=message) as grouped:
        simulate_many(config, [0])
    assert str(alone.value) == str(grouped.value)


def test_any_order_of_steps_draws_the_same():
    config, zeta, again = STEP, np.empty((2, 4, 40)), np.empty((2, 4, 40))
    first, second = draws.Blocks(config), draws.Blocks(config)
    for step in range(70):
        drawn = first.draw(step, zeta)
        if step in (5, 63, 64, 69):
            skipped = second.draw(step, again)
            assert np.array_equal(zeta, again) and drawn.prefixes == skipped.prefixes
            assert all(np.array_equal(getattr(drawn, name), getattr(skipped, name)) for name in drawn._fields)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("stop", [0, 17, 63, 64, 65, 90])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, stop, dtype):
    config = changed(STEP, steps=90, dtype=dtype, m=3)
    assert same(interrupted_and_resumed(config, stop, tmp_path / "checkpoint.npz"), simulate(config))


def test_the_cost_does_not_know_d():
    with pytest.raises(ValueError, match="gram"):
        Config(engine="sgd", d=10**12)
    run = simulate(Config(engine="gram", d=10**12, steps=20))
    assert np.isfinite(run.gram).all() and np.isfinite(run.loss).all()
