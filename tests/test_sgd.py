"""The loop and its engines: every step is gradient descent on the batch, whatever the objective, the head and K."""

import dataclasses

import numpy as np
import pytest
from interrupted import interrupted_and_resumed
from scipy.stats import kstest, norm
from sgd_reference import gram_step, literal_step, upper_root
from variants import cases, name, uneven_cases
from z_test import FALSE_ALARM

from simsim import Config, TrainingError, heads, objectives, sgd, simulate, simulate_many
from simsim.memory import BLOCK_STEPS, ENGINES
from simsim.data import mask_moments
from simsim.sgd.draws import DrawnAhead
from simsim.sgd.optimiser import Optimiser
from simsim.trajectory import STORED

TABLE = pytest.mark.parametrize("case", cases() + uneven_cases(), ids=name)
FEW = [case for case in cases() if case.m == 2 and case.K == 3 and case.diagonal == "fixed"
       and case.head in ("frozen", "trained", "directpred")]
BEYOND_A_BLOCK = {"gram": BLOCK_STEPS + 3, "sgd": 12}  # steps: those of gram come in blocks, those of literal SGD one by one
BOTH_ENGINES = pytest.mark.parametrize("engine", ["sgd", "gram"])
SMALL = Config(engine="sgd", d=12, batch_size=33, steps=60, alpha_weak=1.0, alpha_ratio=2.0, init_seed=1)
STEP = Config(engine="gram", d=30, batch_size=40, patches=8, feature_patches=4, init_seed=0, steps=30, alpha_weak=1.0,
              alpha_ratio=2.0, lr=0.05, head_lr=0.05, sigma=0.7)
EDGES = [dict(), dict(m=1), dict(m=2, d=4), dict(m=3, d=7), dict(m=4, d=40), dict(dtype="float32"),
         dict(patches=4, feature_patches=4), dict(patches=8, feature_patches=7), dict(patches=2, feature_patches=2),
         dict(feature_patches=7, patch_counts=(7, 3)), dict(feature_patches=8, patch_counts=(8, 4), dtype="float32"),
         dict(patches=12, feature_patches=2), dict(m=12, d=10**6, batch_size=60), dict(d=10**12, lr=1e-12),
         dict(power=1), dict(power=5, m=3), dict(power=7, head="directpred"),
         dict(power=5, feature_patches=7, patch_counts=(7, 3), frequencies=(0.6, 0.4)),
         dict(m=4, batch_size=3, patches=4, feature_patches=3)]


def changed(config, **fields):
    return dataclasses.replace(config, **fields)


def same(first, second):
    return all(np.array_equal(getattr(first, part), getattr(second, part), equal_nan=True) for part in STORED)


def close(ours, theirs, rtol):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


# ---- a step is what it should be ---------------------------------------------------------------

@TABLE
def test_literal_sgd_is_gradient_descent_in_d_dimensions(case):
    config = case.config(engine="sgd", steps=3)
    state = sgd.start([config])
    W, E, loss = state.engine.W[0].copy(), state.head[0].copy(), np.nan
    for _ in sgd.iterate(state):
        close(state.engine.W[0], W, 1e-10)
        close(state.head[0], E, 1e-10)
        assert state.batch_loss[0] == pytest.approx(loss, rel=1e-10, abs=1e-12, nan_ok=True)
        before = W
        loss, W, E = literal_step(config, W, E, state.step)
    assert np.abs(W - before).max() > 1e-8


@pytest.mark.parametrize("fields", [dict(power=1), dict(power=5, batch_norm=False), dict(power=7, stop_gradient=False)], ids=str)
def test_literal_sgd_of_other_powers_is_gradient_descent(fields):
    config = changed(STEP, **{"engine": "sgd", "steps": 3, "lr": 1e-3, **fields})
    state = sgd.start([config])
    W, E = state.engine.W[0].copy(), state.head[0].copy()
    for _ in sgd.iterate(state):
        close(state.engine.W[0], W, 1e-10)
        close(state.head[0], E, 1e-10)
        before = W
        _, W, E = literal_step(config, W, E, state.step)
    assert np.abs(W - before).max() > 1e-8


def follows_the_reference(config, steps, rtol):
    """Let the gram engine and the reference take the same steps, from the same state each time."""
    state = sgd.start([changed(config, steps=steps)])
    expected = loss, *_ = np.nan, state.overlaps[0].copy(), state.engine.factor[0].copy(), state.head[0].copy()
    for _ in sgd.iterate(state):
        loss, overlaps, factor, E = expected
        assert state.batch_loss[0] == pytest.approx(loss, rel=rtol, abs=rtol, nan_ok=True)
        close(state.overlaps[0], overlaps, rtol)
        close(state.gram[0], factor @ factor.T, rtol)
        close(state.head[0], E, rtol)
        before = state.overlaps[0].copy()
        expected = gram_step(config, before, state.engine.factor[0], state.head[0], state.step)
    return before, expected[1]


@TABLE
def test_gram_sgd_is_gradient_descent_on_what_the_weights_see(case):
    before, after = follows_the_reference(case.config(), 3, 1e-9)
    assert np.abs(after - before).max() > 1e-8


@pytest.mark.parametrize("fields", EDGES, ids=str)
@pytest.mark.parametrize("flags", [dict(objective="barlow", lr=0.005), dict(lr=0.005),
                                   dict(batch_norm=False, stop_gradient=False)], ids=str)
def test_gram_sgd_at_the_edges(fields, flags):
    config = changed(STEP, **{"head": None, "stop_gradient": None, "lr": 1e-6, **flags, **fields})
    follows_the_reference(config, 5, 1e-8 if config.dtype == "float64" else 2e-4)


def test_a_wrong_step_is_told(monkeypatch):
    """The reference objects to a target whose noise stays, to one more degree of freedom, and to raw moments."""
    both = next(case for case in cases() if case[:3] == ("simsiam", False, True) and case.m == case.K == 2)
    descend = sgd.ENGINES["gram"].descend
    with monkeypatch.context() as patch:
        patch.setattr(sgd.ENGINES["gram"], "descend", lambda self, outputs, A, b: descend(self, outputs[:, :2], A, b))
        with pytest.raises(AssertionError):
            follows_the_reference(both.config(), 3, 1e-9)
    with monkeypatch.context() as patch:
        moments = sgd.ENGINES["gram"].moments
        patch.setattr(sgd.ENGINES["gram"], "moments", lambda self, step: moments(self, step) + 1e-6 * np.eye(4))
        with pytest.raises(AssertionError):
            follows_the_reference(both.config(), 3, 1e-9)


@pytest.mark.parametrize("start", ["gram", "sgd"])
def test_nearly_equal_neurons_keep_their_distance_in_proportion(start):
    """Near a collapse the dynamics of the distance is linear: 1e-9 follows 1e-6, digit by digit."""
    def distance(size):
        state = sgd.start([changed(STEP, head="frozen", steps=50, engine=start)])
        if start == "gram":
            state.engine.overlaps[...], state.engine.factor[...] = 0.2, [[1.0, 0.0], [1.0, size]]
        else:
            state.engine.W[...] = 0
            state.engine.W[..., :2], state.engine.W[..., 2], state.engine.W[0, 1, 3] = 0.2, 1.0, size
        list(sgd.iterate(state))
        W = state.engine.W[0] if start == "sgd" else np.concatenate([state.overlaps[0], state.engine.factor[0]], axis=1)
        apart = W[1] - W[0]
        return np.append(apart[:2], np.linalg.norm(apart[2:])) / size
    np.testing.assert_allclose(distance(1e-9), distance(1e-6), rtol=1e-3, atol=1e-4)
    # Through the Gram matrix that would be lost.
    factor = np.array([[1.0, 0.0], [1.0, 1e-9]])
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(factor @ factor.T)


def test_fewer_noise_patches_than_neurons():
    C = np.random.default_rng(0).standard_normal((2, 5))
    R = upper_root(C)
    assert R.shape == (2, 5)
    np.testing.assert_allclose(R.T @ R, C.T @ C, atol=1e-14)
    config = changed(STEP, m=9, batch_size=3, patches=2, feature_patches=2, d=50, lr=1e-3)
    with pytest.raises(TrainingError, match="constant"):  # no noise and few samples: some batch is all alike
        simulate(changed(config, steps=300))


def test_columns_beyond_the_batch_stay_zero():
    """Three noise patches and four neurons: what no patch drives is 0, to the last bit, after every decomposition."""
    engine = sgd.start([changed(STEP, **EDGES[-1], lr=0.005)]).engine
    for step in range(5):
        C = engine.moments(step)
        grad = objectives.from_config(engine.config).loss_and_grad(C, np.eye(4)[None])[1]
        engine.descend(grad.mixing, *Optimiser(engine.config).step(step))
        assert engine._du.shape[2] == 4 and not engine._du[:, :, 3:].any() and engine._du[:, :, :3].any()


def test_without_noise_patches_the_noise_parts_stay():
    run = simulate(changed(STEP, patches=4, feature_patches=4))
    np.testing.assert_allclose(run.gram, np.broadcast_to(run.gram[0], run.gram.shape), rtol=1e-12)
    assert np.abs(run.overlaps[-1] - run.overlaps[0]).max() > 1e-3


def test_literal_noise_is_standard_normal():
    noise = DrawnAhead(changed(SMALL, sigma=0.7, batch_size=5000)).draw(3)[1]
    assert kstest(noise.ravel(), norm.cdf).pvalue > FALSE_ALARM > kstest(0.7 * noise.ravel(), norm.cdf).pvalue


# ---- the loop ------------------------------------------------------------------------------------

def test_every_engine_of_sgd_is_an_engine_of_the_config():
    assert set(ENGINES) == {*sgd.ENGINES, "flow"}
    for kind in sgd.ENGINES.values():
        assert issubclass(kind, sgd.Engine)
        with pytest.raises(ValueError, match="seed"):
            kind([SMALL, changed(SMALL, lr=1.0)])


@BOTH_ENGINES
@pytest.mark.parametrize("case", FEW, ids=name)
def test_together_is_alone_bit_for_bit(case, engine):
    configs = [case.config(engine=engine, steps=BEYOND_A_BLOCK[engine], seed=seed, init_seed=init_seed)
               for seed, init_seed in enumerate([7, 7, 8, 9, 9])]
    state = sgd.start(configs)
    list(sgd.iterate(state))
    for s, config in enumerate(configs):
        alone = sgd.start([config])
        list(sgd.iterate(alone))
        for part in ("overlaps", "gram", "head", "batch_loss"):
            assert np.array_equal(getattr(state, part)[s], getattr(alone, part)[0]), part


@pytest.mark.parametrize("fields", EDGES[:7], ids=str)
def test_simulate_many_is_simulate(fields, monkeypatch):
    config = changed(STEP, **fields)
    together = simulate_many(config, range(5), init_seeds=[7, 7, 8, 9, 9])
    monkeypatch.setattr("simsim.sgd.gram.GROUP_BYTES", 1)  # groups of one
    assert all(map(same, together, simulate_many(config, range(5), init_seeds=[7, 7, 8, 9, 9])))
    assert same(together[2], simulate(changed(config, seed=2, init_seed=8)))


def test_simulate_many_for_the_literal_engine_and_its_arguments():
    config = changed(STEP, engine="sgd", steps=5)
    assert same(simulate_many(config, [3, 4])[1], simulate(changed(config, seed=4)))
    assert simulate_many(STEP, []) == []
    with pytest.raises(ValueError, match="`init_seeds`.*1 and 2"):
        simulate_many(STEP, [3, 4], init_seeds=[1])


@BOTH_ENGINES
@pytest.mark.parametrize("case", FEW, ids=name)
def test_a_resumed_run_is_the_same_bit_for_bit(case, engine, tmp_path):
    beyond = BEYOND_A_BLOCK[engine]
    config = case.config(engine=engine, steps=beyond + 10)
    whole = simulate(config)
    for stop in (0, beyond - 2):
        assert same(interrupted_and_resumed(config, stop, tmp_path / f"{stop}.npz"), whole)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("stop", [17, 63, 64, 90])
def test_a_resumed_run_of_the_gram_engine(tmp_path, stop, dtype):
    config = changed(STEP, steps=90, dtype=dtype, m=3)
    assert same(interrupted_and_resumed(config, stop, tmp_path / "checkpoint.npz"), simulate(config))


@pytest.mark.parametrize("head", ["directcopy", "directpred"])
def test_a_head_set_from_a_batch_that_is_all_alike(head):
    config = Config(head=head, m=3, patches=2, feature_patches=2, batch_size=4, steps=300)
    with pytest.raises(TrainingError, match="neuron 1, step 43: batch norm of a constant"):
        simulate(config)
    C = np.array([np.eye(3), np.full((3, 3), np.nan)])
    E = heads.from_config(config).set_from(C)
    assert np.isfinite(E[0]).all() and np.isnan(E[1]).all()


@pytest.fixture
def broken(monkeypatch):
    """Replaces what SimSiam makes of a batch by a function of (loss, MomentGrad)."""
    whole = objectives.SimSiam.loss_and_grad
    return lambda change: monkeypatch.setattr(objectives.SimSiam, "loss_and_grad", lambda self, C, E: change(*whole(self, C, E)))


@BOTH_ENGINES
@pytest.mark.parametrize("fields, message", [
    (dict(lr=1e200), r"neuron \d, step \d+: .*not finite.*smaller lr"),
    (dict(lr=1e200, batch_norm=False), r"neuron \d, step \d+: .*not finite.*smaller lr"),
    (dict(lr=1e200, head="directpred"), r"neuron \d, step \d+: .*not finite.*smaller lr"),
    (dict(batch_size=3, patches=4, feature_patches=4, steps=300), r"neuron 1, step \d+: .*larger batch_size")])
def test_failures_are_named(fields, message, engine):
    config = changed(STEP, engine=engine, **fields)
    with pytest.raises(TrainingError, match=message) as alone:
        simulate(config)
    with pytest.raises(TrainingError, match=message) as grouped:
        simulate_many(config, [0])
    assert str(alone.value) == str(grouped.value)
    assert str(alone.value).endswith("(seed 0, init_seed 0)")


def test_the_run_that_fails_is_named():
    config = changed(STEP, batch_size=3, patches=4, feature_patches=4, steps=300)
    with pytest.raises(TrainingError) as grouped:
        list(sgd.iterate(sgd.start([changed(config, seed=seed) for seed in range(8)])))
    culprit = int(str(grouped.value).split("(seed ")[1].split(",")[0])
    with pytest.raises(TrainingError) as alone:
        simulate(changed(config, seed=culprit))
    assert str(alone.value) == str(grouped.value)


def second_moments(**entries):
    """Second moments (2, 4, 4) of two runs of two neurons, [f(X1), f(X2)]: the second run's with these `entries`."""
    C = np.tile(np.eye(4) + 0.1, (2, 1, 1))
    for entry, value in entries.items():
        i, j = int(entry[1]), int(entry[2])
        C[1, i, j] = C[1, j, i] = value
    return C


ALL_ALIKE = dict(c00=1.1, c01=1.1, c11=1.1)  # f_1 = f_2 in view 1


@pytest.mark.parametrize("entries, head, message", [
    (dict(c11=np.inf), {}, "neuron 2, step 3: the output is not finite; use a smaller lr"),
    (dict(c00=np.nan, c11=np.inf), {}, "neuron 1, step 3: the output is not finite; use a smaller lr"),
    (dict(c33=np.inf, c00=0.0, c01=0.0, c02=0.0, c03=0.0), {}, "neuron 1, step 3: batch norm of a constant"),
    (dict(c33=0.0), {}, "neuron 2, step 3: batch norm of a constant"),
    (dict(c22=1e-310), {}, "neuron 1, step 3: the square of the output is too small for a number"),
    (dict(c00=0.0, c01=0.0, c02=0.0, c03=0.0), {(0, 1): 0.5}, "neuron 1, step 3: batch norm of a constant"),
    (ALL_ALIKE, {(1, 0): -1.0}, "neuron 2, step 3: batch norm of a constant"),
    (dict(c02=np.nan), {}, "step 3: the loss is not finite; use a smaller lr or head_lr")])
def test_the_neuron_and_the_condition_that_a_failure_names(entries, head, message):
    """Outputs, predictions, targets, each in the order of the neurons; of two runs the second fails, and is named."""
    configs = [changed(SMALL, m=2, features=2, seed=seed, init_seed=10 + seed) for seed in (5, 6)]
    state = sgd.start(configs)
    state.step, state.engine.moments = 3, lambda step: second_moments(**entries)
    for place, value in head.items():
        state.head[1][place] = value
    with pytest.raises(TrainingError) as error:
        list(sgd.iterate(state))
    assert str(error.value).startswith(message) and str(error.value).endswith("(seed 6, init_seed 16)")
    assert state.step == 3


@pytest.mark.parametrize("place", ["overlaps", "head"])
def test_the_neuron_whose_weights_are_not_finite_is_named(place):
    """Its square overflows; that of the neuron before, large as it is, does not."""
    head = "frozen" if place == "overlaps" else "trained"
    state = sgd.start([changed(SMALL, m=2, features=2, seed=seed, head=head) for seed in (5, 6)])
    state.engine.moments, state.engine.descend = lambda step: second_moments(), lambda outputs, A, b: None
    array = state.engine.overlaps if place == "overlaps" else state.head
    array[0, 0, 1], array[1, 0, 1], array[1, 1, 0] = 1e150, 1e150, 1e160
    with pytest.raises(TrainingError, match=r"^neuron 2, step 1: the weights are not finite any more.*\(seed 6, "):
        list(sgd.iterate(state))


def test_a_head_that_is_not_finite_is_an_error_at_once(broken):
    broken(lambda loss, grad: (loss, grad._replace(E=np.full_like(grad.E, 1e300))))
    with pytest.raises(TrainingError, match="neuron 1, step 1: the weights are not finite"):
        list(sgd.iterate(sgd.start([changed(SMALL, steps=1)])))


@BOTH_ENGINES
@pytest.mark.parametrize("fields", [{}, dict(batch_norm=False), dict(head="directpred")], ids=str)
def test_a_failure_between_stops_is_that_of_its_step(fields, engine):
    """Whether every step is asked for or the last alone, and also where the last is the one that fails."""
    for steps in 1, 40:
        config, told = changed(STEP, engine=engine, lr=1e200, steps=steps, **fields), set()
        for stops in None, [steps]:
            with pytest.raises(TrainingError, match="not finite") as error:
                list(sgd.iterate(sgd.start([config]), stops=stops))
            told.add(str(error.value))
        assert len(told) == 1


@BOTH_ENGINES
def test_stops_are_where_a_state_is_seen_and_change_no_bit(engine):
    config = changed(STEP, engine=engine, steps=90)
    by_step = [(now.step, now.overlaps.copy(), now.head.copy()) for now in sgd.iterate(sgd.start([config]))]
    state = sgd.start([config])
    states = sgd.iterate(state, stops=[0, 3, 64, 70])
    seen = [next(states).step for _ in range(3)]
    seen += [now.step for now in sgd.iterate(state, stops=[3, 64, 65, 90])]
    assert seen == [0, 3, 64, 64, 65, 90]
    assert np.array_equal(state.overlaps, by_step[-1][1]) and np.array_equal(state.head, by_step[-1][2])
    for now in sgd.iterate(sgd.start([config]), stops=[3, 64, 70]):
        assert all(np.array_equal(*pair) for pair in zip((now.step, now.overlaps, now.head), by_step[now.step]))


def test_what_only_its_square_cannot_hold_is_no_error():
    """Second moments of 1e156: finite, though a sum of their squares is not."""
    state = sgd.start([changed(STEP, batch_norm=False, alpha_weak=1e20, alpha_ratio=1.0, sigma=1.0, lr=1e-200, head_lr=0.0,
                               steps=2)])
    state.engine.overlaps[...] = 1e6
    list(sgd.iterate(state))
    assert state.step == 2 and 1e154 < state.batch_loss[0] < np.inf


def test_an_objective_need_not_know_the_neuron(broken):
    broken(lambda loss, grad: (loss * np.nan, grad))
    with pytest.raises(TrainingError, match="^step 0: the loss is not finite"):
        list(sgd.iterate(sgd.start([SMALL])))


# ---- laws of every objective ----------------------------------------------------------------------------

def test_the_weights_together_never_shrink():
    """Eq. 12 takes the linear term out of a step, so sum ||w_r||^2 grows by eta^2 ||g||^2 (docs/theory.md, eq. 13)."""
    for variant in (dict(), dict(objective="barlow"), dict(stop_gradient=False), dict(head="symmetric")):
        size = (simulate(changed(SMALL, log_every=1, m=3, head=variant.pop("head", None), **variant)).norms ** 2).sum(axis=1)
        assert np.all(np.diff(size) > 0)
    raw = simulate(changed(SMALL, log_every=1, m=3, batch_norm=False, lr=1e-4))
    assert np.any(np.diff((raw.norms**2).sum(axis=1)) < 0)  # without batch norm they do


@BOTH_ENGINES
@pytest.mark.parametrize("head, diagonal", [("free-diagonal", "fixed"), ("random", "free")])
def test_a_row_of_a_free_head_grows_by_the_square_of_its_step(engine, head, diagonal):
    """sum_r E_jr g_jr = 0 (docs/theory.md, section 6): each row of E is at a right angle to its step."""
    def excess(run):
        return np.abs(np.diff((run.head**2).sum(axis=2), axis=0) - (np.diff(run.head, axis=0) ** 2).sum(axis=2)).max()
    assert excess(simulate(changed(SMALL, engine=engine, head=head, head_diagonal=diagonal, m=3, log_every=1))) < 1e-13
    assert excess(simulate(changed(SMALL, engine=engine, m=3, log_every=1))) > 1e-6


@BOTH_ENGINES
def test_a_step_without_batch_norm_knows_the_scale(engine):
    """sigma^6 is the loss's unit: twice the patches are 64 times the loss and its pull."""
    raw = changed(STEP, engine=engine, batch_norm=False, steps=1, lr=1e-6)
    one, two = (simulate(changed(raw, sigma=scale * raw.sigma, alpha_weak=scale * raw.alpha_weak)) for scale in (1, 2))
    assert two.batch_loss[1] == pytest.approx(64 * one.batch_loss[1], rel=1e-12)
    np.testing.assert_allclose(np.diff(two.overlaps, axis=0), 64 * np.diff(one.overlaps, axis=0), rtol=1e-5)


def test_moments_are_those_of_the_population():
    """The batch loss of every objective estimates the loss of an infinite batch."""
    for variant in (dict(), dict(objective="barlow"), dict(batch_norm=False), dict(head="directcopy"), dict(features=3)):
        run = simulate(changed(SMALL, engine="gram", batch_size=4000, steps=20, log_every=1, lr=1e-9,
                               head=variant.pop("head", None),
                               head_lr=0.0, **variant))
        z = (run.batch_loss[1:] - run.loss[1:]).mean() / (run.batch_loss[1:].std(ddof=1) / np.sqrt(20))
        assert np.isnan(run.batch_loss[0])
        assert abs(z) < 6
    assert mask_moments(8, 4)[1] > 0


def test_the_cost_of_gram_does_not_know_d():
    with pytest.raises(ValueError, match="gram"):
        Config(engine="sgd", d=10**12)
    run = simulate(Config(engine="gram", d=10**12, steps=20))
    assert np.isfinite(run.gram).all() and np.isfinite(run.loss).all()


def test_powers_that_are_no_numbers_are_no_matter_of_the_batch():
    """Weights of 1e-60 have outputs of 0, and of 1e60 none: the start is named, not the batch or the step."""
    config = Config(d=12, batch_size=64, steps=3)
    for size, said in ((1e-60, "too small for a number; use larger weights"), (1e60, "start from smaller weights")):
        state = sgd.start([config])
        for part in state.engine.arrays.values():
            part *= size
        with pytest.raises(TrainingError, match=said) as refused:
            list(sgd.iterate(state))
        assert "batch" not in str(refused.value) and "lr" not in str(refused.value)
