"""The gram engine has the law of literal SGD, for every kind of objective: two-sample tests with controls.

Shapes: R replicas, N batch, P patches, m neurons, d dimension, K features.
"""

import dataclasses
import functools
import importlib.util
import runpy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, chisquare, hypergeom, ks_2samp, kstest, norm
from sgd_reference import loss_options, of_first
from z_test import FALSE_ALARM

from simsim import Config, data, find_phases, heads, loss_and_grad, memory, objectives, sgd, simulate_many
from simsim.data import sample_classes
from simsim.sgd import draws, gram

# How many runs it takes. Kolmogorov and Smirnov's distance D of two samples of n and n' has a p-value below FALSE_ALARM, after
# division by 30 columns, once sqrt(n n' / (n + n')) D > 3.0; and that root times D scatters by at most 1/2. So a law at a
# distance of D or more is missed with a probability of at most 1e-6 (4.75 standard deviations) if n n' / (n + n') >= (5.4 / D)^2.
# In a pilot with other seeds the controls were at distances of 0.094 and more under batch norm, and of 0.060 and more without;
# these numbers are for 0.085 and 0.055.
REPLICAS = 20_000  # of literal SGD, and of the engine where its law must be the same
# Of a control, by whether outputs are normalised and are sums of cubes of Gaussian numbers: of the others the nearest was at 0.062,
# in a first run of 6,000.
CONTROL_REPLICAS = {True: 6_000, False: 20_000}
EDGE_REPLICAS = 12_000  # where there are no controls
AT_ONCE = 250  # literal replicas: their patches are half a megabyte
# A few large steps on tiny batches: each moves the weights by about their own length.
LAW = Config(engine="gram", d=8, m=2, batch_size=6, patches=4, feature_patches=2, alpha_weak=0.8, alpha_ratio=1.5,
             sigma=0.9, steps=3, log_every=1, lr=0.25, head_lr=0.2)
VARIANTS = {"simsiam": {},
            "barlow": dict(objective="barlow", head=None, stop_gradient=None), "no stop-gradient": dict(stop_gradient=False),
            # Here a step moves less, so there are few dimensions: an error in what is across the span then weighs more.
            "no batch norm": dict(batch_norm=False, steps=2, batch_size=3, lr=0.06, head_lr=0.05, d=6),
            "no batch norm, no stop-gradient": dict(batch_norm=False, stop_gradient=False, steps=2, batch_size=3, lr=0.06,
                                                    head_lr=0.05, d=6),
            "three features, directpred": dict(features=3, head="directpred", d=9),
            "uneven features": dict(patch_counts=(2, 3), feature_patches=3, frequencies=(0.7, 0.3))}


@dataclasses.dataclass(frozen=True)
class Empty(data.Scaled):
    """Of the noise patches the part `full` is Gaussian, longer by 1 / sqrt(full), and the others are zero."""

    full: float = 0.4

    def scale(self, rng, count):
        return (rng.random(count) < self.full) / np.sqrt(self.full)

    def moment(self, order):
        return self.full ** (1 - order / 2)


VARIANTS |= {"power 5": dict(power=5), "power 1": dict(power=1),
             "power 1, no batch norm": dict(power=1, batch_norm=False, steps=2, batch_size=3, lr=0.2, head_lr=0.15, d=6),
             "patches of which many are empty": dict(data=Empty(), batch_size=12)}


def changed(config, **fields):
    return dataclasses.replace(config, **fields)


# ---- the law -------------------------------------------------------------------

def literal_views(config, rng, count):
    """Views X1, X2 (R, N, P, d) for R replicas, as the paper states them, patch by patch."""
    N, P, d, K = config.batch_size, config.patches, config.d, config.features
    X = config.sigma * rng.standard_normal((count, N, P, d))
    if isinstance(config.data, Empty):  # as its docstring has it
        X *= rng.choice([0.0, 1 / np.sqrt(config.data.full)], size=(count, N, P, 1), p=[1 - config.data.full, config.data.full])
    X[..., :K] = 0
    feature, sign = rng.choice(K, size=(count, N), p=config.frequencies), rng.choice([-1.0, 1.0], size=(count, N))
    carries = np.arange(P) < np.array(config.patches_by_feature)[feature][..., None]
    carried = np.eye(d)[feature] * (sign * np.asarray(config.alphas)[feature])[..., None]
    X = np.where(carries[..., None], carried[:, :, None], X)
    rank = rng.random((count, N, P)).argsort(axis=-1).argsort(axis=-1)
    in_view_1 = (rank < P // 2)[..., None]
    return np.where(in_view_1, X, 0), np.where(in_view_1, 0, X)


def literal_gradients(config, W, E, X1, X2, target=None):
    """Losses, heads, gradients in W (R, m, d) and in E (R, m, m), of R replicas; view 2 goes through `target`, or W."""
    patches = [X.reshape(len(X), -1, config.d) for X in (X1, X2)]  # (R, N P, d)
    of_views = W, W if target is None else target
    u = [(X @ rows.swapaxes(1, 2)).reshape(*X1.shape[:3], -1) for X, rows in zip(patches, of_views)]
    p = config.power
    f = [(of_view**p).sum(axis=2) for of_view in u]
    if config.batch_norm:
        f = [of_view - of_view.mean(axis=1, keepdims=True) for of_view in f]
    C, head = objectives.second_moments(*f, centred=False), heads.from_config(config)
    if head.set_from is not None:
        E = head.set_from(C[:, :config.m, :config.m])
    loss, grad = objectives.from_config(config).loss_and_grad(C, E)
    dW = sum((p * of_view ** (p - 1) * df[:, :, None]).reshape(*X.shape[:2], -1).swapaxes(1, 2) @ X
             for of_view, df, X in zip(u, objectives.output_gradient(grad.mixing, *f), patches))
    return loss, E, dW, grad.E


def literal_states(config, rng, count):
    """Overlaps, noise Gram, head and loss of R literal runs at every step, (T, R, ...); few at once, for the cache."""
    parts = [literal_part(config, rng, min(AT_ONCE, count - first)) for first in range(0, count, AT_ONCE)]
    return [np.concatenate(of_parts, axis=1) for of_parts in zip(*parts)]


def literal_part(config, rng, count):
    """`literal_states` of a few runs, the rows of all blocks: PyTorch's SGD and BYOL's target, as they are written."""
    W, E = rng.standard_normal((count, config.m, config.d)) / np.sqrt(config.d), np.tile(np.eye(config.m), (count, 1, 1))
    blocks, E_velocity, loss, log = {"weights": W, "target": W, "momentum": 0 * W}, 0 * E, np.full(count, np.nan), []
    for step in range(config.steps + 1):
        rows = np.concatenate([blocks[name] for name in config.blocks], axis=1)
        noise_part = rows[..., config.features:]
        log.append((rows[..., :config.features].copy(), noise_part @ np.swapaxes(noise_part, 1, 2), E.copy(), loss))
        if step < config.steps:
            W, target, v = blocks.values()
            loss, E, dW, dE = literal_gradients(config, W, E, *literal_views(config, rng, count), target)
            falling = (1 + np.cos(np.pi * step / config.steps)) / 2
            lr, head_lr = (rate * (falling if schedule == "cosine" else 1) for rate, schedule in
                           ((config.lr, config.lr_schedule), (config.head_lr, config.head_lr_schedule)))
            v = config.momentum * v + (dW + config.weight_decay * W)
            W = W - lr * v
            target = config.target_momentum * target + (1 - config.target_momentum) * W
            blocks = {"weights": W, "target": target, "momentum": v}
            E_velocity = (config.head_momentum * E_velocity
                          + heads.from_config(config).direction(dE + config.head_decay * E))
            E = E - head_lr * E_velocity
    return [np.array(part) for part in zip(*log)]


@functools.lru_cache(maxsize=2)
def reseeded(config, count, first):
    """The Configs of so many runs, made once for all controls of a law."""
    return [config.reseeded(seed, seed) for seed in range(first, first + count)]


def gram_states(config, count, first=0):
    """The same from the gram engine, with seeds from `first` on."""
    log = [(state.engine.overlaps.copy(), state.engine.gram, state.head.copy(), state.batch_loss.copy())
           for state in sgd.iterate(sgd.start(reseeded(config, count, first)))]
    return [np.array(part) for part in zip(*log)]


def coordinates(states):
    """(R, c) what is compared: every entry after the first step and after the last, and some products."""
    columns = []
    for a, Q, E, loss in zip(*(of_all_steps[[1, -1]] for of_all_steps in states)):
        rows, cols = np.tril_indices(a.shape[1])
        cosine = Q[:, 1, 0] / np.sqrt(Q[:, 0, 0] * Q[:, 1, 1] + 1e-300)
        columns += [*a.reshape(len(a), -1).T, *Q[:, rows, cols].T, E[:, 0, 1], E[:, 1, 0], cosine,
                    a[:, 0, 0] * a[:, 1, 0], a[:, 0, 0] ** 2 * Q[:, 0, 0], E[:, 0, 1] * E[:, 1, 0], loss]
        m = E.shape[1]  # and how the weights stand to the other blocks
        columns += [product for row in range(m, a.shape[1]) for product in (a[:, row % m] * a[:, row]).T]
    return np.array(columns).T


def smallest_p(first, second):
    """The smallest p-value of Kolmogorov and Smirnov's test over all columns, times their number."""
    p = [ks_2samp(x, y, method="asymp").pvalue for x, y in zip(first.T, second.T)]
    return min(p) * len(p)


@pytest.fixture(autouse=True)
def short_blocks(request, monkeypatch):
    if "law" in request.node.name:  # runs of a few steps need no long blocks
        monkeypatch.setattr(draws, "BLOCK_STEPS", SIX.steps if "optimisers" in request.node.name else LAW.steps)


@functools.cache
def literal(config):
    """The coordinates of literal runs, drawn once for all tests that look at them."""
    return coordinates(literal_states(config, np.random.default_rng(0), REPLICAS))


def agree(gram, literal):
    p = smallest_p(gram, literal)
    print(f"Bonferroni-corrected p = {p:.2g}")
    return p > FALSE_ALARM


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_literal_replicas_are_gradient_descent(fields):
    config, rng = changed(LAW, m=3, **fields), np.random.default_rng(1)
    W, E = rng.standard_normal((5, 3, config.d)), rng.standard_normal((5, 3, 3))
    X1, X2 = literal_views(config, rng, 5)
    _, E, dW, dE = literal_gradients(config, W, E, X1, X2)
    for r in range(5):
        _, grad = loss_and_grad(W[r], E[r], X1[r], X2[r], **loss_options(config))
        np.testing.assert_allclose(dW[r], grad.W, atol=1e-11 * np.abs(grad.W).max())
        np.testing.assert_allclose(dE[r], grad.E, atol=1e-11 * np.abs(grad.E).max())


def moved(config):
    """By how much the weights change over a run, in units of how much they vary."""
    m = config.m
    first, last = literal_states(config, np.random.default_rng(2), 1000)[1][[0, -1], :, :m, :m]
    return np.median(np.abs(last - first)) / first.std()


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_law_is_that_of_literal_sgd(kind):
    config = changed(LAW, **VARIANTS[kind])
    assert agree(coordinates(gram_states(config, REPLICAS)), literal(config))
    assert moved(config) > 0.2  # the step is large enough to matter


@pytest.mark.parametrize("fields", [dict(d=4), dict(d=5), dict(dtype="float32"), dict(patches=6, feature_patches=5, batch_size=14),
                                    dict(m=3, d=7)], ids=str)
def test_the_law_at_the_edges(fields):
    config = changed(LAW, **fields)
    assert agree(coordinates(gram_states(config, EDGE_REPLICAS)),
                 coordinates(literal_states(config, np.random.default_rng(3), EDGE_REPLICAS)))


def spoil(monkeypatch, control):
    """Plant a mistake in the gram engine."""
    bartlett, engine = draws.bartlett, sgd.ENGINES["gram"]
    if control == "across the span dropped":
        monkeypatch.setattr(draws, "bartlett", lambda *arguments: 0 * bartlett(*arguments))
    if control == "degrees of freedom off by m":
        monkeypatch.setattr(draws, "bartlett", lambda rngs, m, freedom, count: bartlett(rngs, m, freedom + m, count))
    if control == "the target's noise does not move":
        class Still(engine):
            def _pull_at_noise(self, df, in_view, out):
                return super()._pull_at_noise(df, in_view if in_view is self._in_view1 else 0 * in_view, out)
        monkeypatch.setitem(sgd.ENGINES, "gram", Still)
    if control == "cubes":
        class Cubes(engine):
            def _sum_powers_of_noise(self):
                self._power = 3
                super()._sum_powers_of_noise()
                self._power = self.config.power
        monkeypatch.setitem(sgd.ENGINES, "gram", Cubes)
    if control == "lengths of patches seen by the weights alone":
        class Seen(engine):
            def descend(self, mixing, A, b):
                self._draw = self._draw._replace(scale=None)
                super().descend(mixing, A, b)
        monkeypatch.setitem(sgd.ENGINES, "gram", Seen)
    if control == "moments about the means":
        class Centred(engine):
            def moments(self, step):
                super().moments(step)
                self._f -= self._f.mean(axis=3, keepdims=True)
                return self._f_rows @ self._f_columns / self.config.batch_size
        monkeypatch.setitem(sgd.ENGINES, "gram", Centred)


def controls():
    """(kind, control) of every mistake that is one in a kind of objective."""
    for kind in VARIANTS:
        config = changed(LAW, **VARIANTS[kind])
        yield from ((kind, control) for control in ("across the span dropped", "degrees of freedom off by m"))
        if config.power != 3:
            yield kind, "cubes"
        if isinstance(config.data, Empty):
            yield kind, "lengths of patches seen by the weights alone"
        if not config.stop_gradient:
            yield kind, "the target's noise does not move"
            if not config.batch_norm:  # with stop-gradient the means weigh too little to be seen; test_sgd sees them
                yield kind, "moments about the means"


@pytest.mark.parametrize("kind, control", list(controls()))
def test_a_wrong_law_is_rejected(monkeypatch, kind, control):
    config = changed(LAW, **VARIANTS[kind])
    usual = config.batch_norm and config.power == 3 and config.data == "gaussian"
    spoil(monkeypatch, control)
    assert not agree(coordinates(gram_states(config, CONTROL_REPLICAS[usual])), literal(config))


# ---- the optimiser ---------------------------------------------------------------------------------

# Six steps; runs a side. One degree of freedom is little: in a pilot with other seeds it was a distance of 0.035 or
# more, which 40,000 runs a side miss with a probability below 1e-4. The other controls were at 0.07 or more, which
# 20,000 miss with one below 1e-6.
SIX = changed(LAW, d=12, steps=6, lr=0.12, head_lr=0.15)
AT_LARGE_STEPS = dict(lr=0.3, head_lr=0.2, alpha_weak=1.5)  # the weights leave their target behind
OPTIMISERS = {"weight decay": (40_000, dict(weight_decay=1.0)), "momentum": (20_000, dict(momentum=0.6)),
              "target": (20_000, dict(target_momentum=0.95, **AT_LARGE_STEPS)),
              "all": (40_000, dict(weight_decay=0.8, momentum=0.6, target_momentum=0.95, head_decay=0.7,
                                   head_momentum=0.5, lr_schedule="cosine", **AT_LARGE_STEPS))}
FREEDOM = {"one degree of freedom less": lambda config: -1, "one degree of freedom more": lambda config: 1,
           "degrees of freedom of the weights alone": lambda config: (len(config.blocks) - 1) * config.m}
WRONG_OPTIMISERS = [("weight decay", "one degree of freedom less"), ("weight decay", "one degree of freedom more"),
                    ("all", "one degree of freedom less"), ("all", "one degree of freedom more"),
                    ("momentum", "degrees of freedom of the weights alone"), ("target", "view 2 through the weights")]


@functools.cache
def literal_optimiser(name):
    replicas, terms = OPTIMISERS[name]
    return coordinates(literal_states(changed(SIX, **terms), np.random.default_rng(0), replicas))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_law_of_optimisers(name):
    """Overlaps, Gram matrix, head and loss, of all blocks: weights, target and momentum."""
    replicas, terms = OPTIMISERS[name]
    config = changed(SIX, **terms)
    assert agree(coordinates(gram_states(config, replicas)), literal_optimiser(name))
    assert moved(config) > 0.2


@pytest.mark.parametrize("fields", [
    dict(d=5), dict(d=9), dict(target_momentum=0.0, stop_gradient=False),
    dict(batch_norm=False, lr=0.01, head_lr=0.01, steps=2)], ids=str)
def test_the_law_of_optimisers_at_the_edges(fields):
    """More rows than dimensions of noise, and one dimension across; momentum without stop-gradient; raw outputs."""
    config = changed(SIX, **{**OPTIMISERS["all"][1], "lr": 0.12, "alpha_weak": 0.8, **fields})
    assert agree(coordinates(gram_states(config, EDGE_REPLICAS)),
                 coordinates(literal_states(config, np.random.default_rng(3), EDGE_REPLICAS)))
    assert moved(config) > 0.2


@pytest.mark.parametrize("name, control", WRONG_OPTIMISERS)
def test_a_wrong_law_of_optimisers_is_rejected(name, control, monkeypatch):
    bartlett, (replicas, terms) = draws.bartlett, OPTIMISERS[name]
    config = changed(SIX, **terms)
    if control == "view 2 through the weights":
        class Through(gram.Gram):
            target = property(lambda self: 0, lambda self, block: None)
        monkeypatch.setitem(sgd.ENGINES, "gram", Through)
    else:
        more = FREEDOM[control](config)
        monkeypatch.setattr(draws, "bartlett", lambda rngs, m, freedom, count: bartlett(rngs, m, freedom + more, count))
    assert not agree(coordinates(gram_states(config, replicas)), literal_optimiser(name))


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
    blocks, classes = draws.Blocks([config]), sample_classes(8, (4, 4))
    drawn = [of_first(blocks.draw(step)[0]) for step in range(1000)]
    for draw in drawn[:100]:
        kinds = np.repeat(np.arange(20), draw.counts)
        np.testing.assert_array_equal(draw.in_view1.sum(axis=0), 4 - classes.k1[kinds])
        for view, patches in enumerate((classes.k1, 4 - classes.k1)):
            shown = (patches * classes.sign)[kinds] * (classes.feature[kinds] == np.arange(2)[:, None])
            np.testing.assert_allclose(draw.shown[view], shown - shown.mean(axis=1, keepdims=True), atol=1e-15)
    seen = np.sum([draw.counts for draw in drawn], axis=0)
    for law, agrees in ((hypergeom(8, 4, 4), True), (binom(4, 0.5), False)):
        expected = np.repeat(law.pmf(np.arange(5)) / 4, 4) * seen.sum()
        assert (chisquare(seen, expected).pvalue > FALSE_ALARM) == agrees


def test_features_are_raw_without_batch_norm():
    config = Config(engine="gram", batch_size=40, patches=8, feature_patches=4, batch_norm=False, features=3)
    shown = draws.Blocks([config]).draw(0)[0].shown
    assert shown.shape == (1, 2, 3, 40)
    np.testing.assert_array_equal(np.abs(shown).sum(axis=(1, 2)), 4)


@pytest.mark.parametrize("fields", [dict(), dict(features=40, d=100, batch_size=64), dict(batch_size=3, features=20), dict(m=20),
                                    dict(m=40, d=200, batch_size=30, momentum=0.9, target_momentum=0.9),
                                    dict(patches=400, feature_patches=200, patch_counts=(200, 2), d=10, batch_size=64)],
                         ids=str)
def test_a_block_takes_the_memory_that_is_reckoned_with(fields):
    """Within a factor of two; and no group of runs takes more than it may."""
    config = Config(**{"engine": "gram", "feature_patches": 4, "batch_size": 256, **fields})
    blocks = draws.Blocks([config.reseeded(seed, 0) for seed in range(10)])
    tracemalloc.start()
    blocks.draw(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.5 < peak / (10 * memory.of_block(config)) < 2
    assert 1 <= gram.Gram.together(config) * memory.of_block(config) <= gram.GROUP_BLOCK_BYTES


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_normals(dtype):
    x = np.empty((3, 100_001), dtype)
    draws.fill_normals(np.random.default_rng(5), x)
    pairs = x.reshape(-1)[:300_002].reshape(2, -1)  # Box and Muller's pairs, in float32
    laws = [(x.ravel(), norm.cdf), (pairs.sum(axis=0) / np.sqrt(2), norm.cdf),
            ((pairs**2).sum(axis=0), lambda r: 1 - np.exp(-r / 2))]
    assert min(kstest(*law).pvalue for law in laws) > FALSE_ALARM / len(laws)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ahead", [0, 2**14, 2**17])
def test_any_order_of_steps_draws_the_same(monkeypatch, ahead, dtype):
    """Those of a step that is drawn once more, after its normals were changed, among them, and however many are drawn at a time."""
    config = changed(LAW, batch_size=39, patches=6, feature_patches=3, m=1, steps=70, dtype=dtype)  # 117 normals, an odd number
    configs = [config, changed(config, seed=1)]
    first = draws.Blocks(configs)
    monkeypatch.setattr(draws, "AHEAD_BYTES", ahead)
    second = draws.Blocks(configs)
    for step in range(70):
        drawn, zeta = first.draw(step)
        if step in (5, 6, 44, 63, 64, 69):
            for _ in range(2):
                skipped, again = second.draw(step)
                assert np.array_equal(zeta, again)
                assert all(np.array_equal(getattr(drawn, name), getattr(skipped, name)) for name in drawn._fields)
                again[...] = np.nan


def test_the_bare_script_of_the_benchmark_takes_the_same_steps():
    """What `simulate` costs is measured against it."""
    benchmark = runpy.run_path(Path(__file__).parents[1] / "examples/benchmark.py")
    for m in 2, 4:
        config = Config(engine="gram", d=50, m=m, feature_patches=5, batch_size=64, steps=200)
        run = simulate_many(config, [config.seed])[0]
        for script in ["bare_steps", *["numba_gram_steps"] * (importlib.util.find_spec("numba") is not None)]:
            *_, (overlaps, factor, head) = benchmark[script](config)
            for bare, recorded in (overlaps, run.overlaps), (factor @ factor.T, run.gram), (head, run.head):
                np.testing.assert_allclose(bare, recorded[-1], rtol=1e-9, atol=1e-12)
        assert not np.allclose(run.head[-1], np.eye(m), atol=1e-3)
