"""The loop: deterministic, resumable bit for bit, and what the literal engine does in R^d."""

import numpy as np
import pytest
from interrupted import interrupted_and_resumed
from sgd_reference import literal_batch, views

from simsim import Config, TrainingError, Trajectory, loss_and_grad, run, sgd, simulate, simulate_many
from simsim.files.checkpoint import Checkpoint
from simsim.files.archives import NotARunError, open_atomically
from simsim.trajectory import STORED

SMALL = Config(engine="sgd", d=12, batch_size=33, steps=60, alpha_weak=1.0, alpha_ratio=2.0, init_seed=1)


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in STORED)


def test_the_same_seeds_give_the_same_run():
    assert same(simulate(SMALL), simulate(SMALL))


@pytest.mark.parametrize("seed", ["seed", "init_seed"])
def test_other_seeds_give_another(seed):
    assert not same(simulate(SMALL), simulate(Config(**{**SMALL.to_dict(), seed: 7})))


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()
    simulate(SMALL)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("stop", [0, 17, 60])
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, stop, dtype):
    config = Config(**{**SMALL.to_dict(), "dtype": dtype})
    interrupted_and_resumed(config, stop, tmp_path / "checkpoint.npz").save(tmp_path / "resumed.npz")
    simulate(config).save(tmp_path / "whole.npz")
    assert (tmp_path / "resumed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("m", [2, 3])
def test_a_step_changes_the_conserved_quantity_by_its_second_order_term(m):
    config = Config(**{**SMALL.to_dict(), "m": m, "steps": 1})
    state = sgd.start([config])
    state.head[0, 0, 1] = 0.3
    W, E = state.engine.W[0].copy(), state.head[0].copy()
    _, grad = loss_and_grad(W, E, *views(config, *literal_batch(config, 0)))
    g = grad.E * (1 - np.eye(m))

    def conserved(W, E):
        off = E * (1 - np.eye(m))
        return (W**2).sum(axis=1) + 3 / config.kappa * ((off**2).sum(axis=1) - (off**2).sum(axis=0))

    second_order = config.lr**2 * ((grad.W**2).sum(axis=1)
                                   + 3 * config.kappa * ((g**2).sum(axis=1) - (g**2).sum(axis=0)))
    before = conserved(W, E)
    list(sgd.iterate(state))
    np.testing.assert_allclose(conserved(state.engine.W[0], state.head[0]) - before, second_order,
                               rtol=1e-6, atol=1e-13 * np.abs(before).max())


def test_the_diagonal_of_the_head_stays_and_a_frozen_head_too():
    assert np.array_equal(simulate(SMALL).head[:, [0, 1], [0, 1]], np.ones((len(simulate(SMALL)), 2)))
    frozen = simulate(Config(**{**SMALL.to_dict(), "head": "frozen"}))
    assert np.array_equal(frozen.head, np.broadcast_to(np.eye(2), frozen.head.shape))


def test_a_frozen_head_is_a_trained_one_of_no_rate():
    assert same(simulate(Config(**{**SMALL.to_dict(), "head": "frozen"})),
                simulate(Config(**{**SMALL.to_dict(), "head_lr": 0.0})))


def test_progress_sees_every_step():
    steps = []
    simulate(SMALL, progress=lambda state: steps.append(state.step))
    assert steps == list(range(61))


def test_batch_loss_estimates_the_loss():
    run = simulate(Config(**{**SMALL.to_dict(), "batch_size": 4000, "steps": 20, "log_every": 1, "lr": 1e-9}))
    z = (run.batch_loss[1:] - run.loss[1:]).mean() / (run.batch_loss[1:].std(ddof=1) / np.sqrt(20))
    assert np.isnan(run.batch_loss[0])
    assert abs(z) < 6


def test_seeds_may_be_any_iterable_and_must_be_one():
    config = Config(steps=3, batch_size=8, d=6)
    one, other = simulate_many(config, [1, 2]), simulate_many(config, (seed for seed in (1, 2)))
    assert all(np.array_equal(a.overlaps, b.overlaps) for a, b in zip(one, other))
    for wrong in (3, "12", None):
        with pytest.raises(ValueError, match="`seeds` must be several seeds"):
            simulate_many(config, wrong)
    with pytest.raises(ValueError, match="`init_seeds`"):
        simulate_many(config, [1], init_seeds=1)


def test_divergence_names_the_step_and_the_remedy():
    with pytest.raises(TrainingError, match=r"neuron \d, step \d+: .*not finite.*smaller lr"):
        simulate(Config(**{**SMALL.to_dict(), "lr": 1e200}))


@pytest.mark.parametrize("engine", ["gram", "sgd"])
def test_a_raw_loss_beyond_floating_point_ends_a_run_at_its_very_last_step(engine, tmp_path, capsys):
    """Of three steps the third leaves weights of 1e86, whose sixth powers are no numbers: no row, and status 3."""
    words = f"--no-batch-norm --lr 1 --steps 3 --log-every 1 --no-plot --engine {engine} --out {tmp_path / 'run'}"
    assert run.main(words.split()) == 3
    assert "step 3: the loss of the new weights is beyond floating point; use a smaller lr" in capsys.readouterr().err
    kept = Trajectory.load(tmp_path / "run" / "trajectory.npz")
    assert kept.steps.tolist() == [0, 1, 2] and np.isfinite(kept.loss).all()
    with pytest.raises(TrainingError, match="step 3: "):
        simulate(kept.config)


def test_a_batch_without_variation_is_named():
    config = Config(batch_size=3, patches=4, feature_patches=4, d=5, steps=200, alpha_weak=1.0)
    with pytest.raises(TrainingError, match=r"neuron 1, step \d+: .*larger batch_size"):
        simulate(config)


def test_trajectory_file_and_its_derived_arrays(tmp_path):
    run = simulate(SMALL)
    run.save(tmp_path / "run.npz")
    again = Trajectory.load(tmp_path / "run.npz")
    assert same(run, again) and again.config == SMALL
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        for name in ("steps", "time", "overlaps", "norms", "head", "loss", "correlations", "shares", "head_shares"):
            assert np.array_equal(file[name], getattr(again, name))
    T = len(run)
    assert run.overlaps.shape == run.shares.shape == run.head_shares.shape == (T, 2, 2)
    assert run.norms.shape == (T, 2) and run.correlations.shape == (T, 2, 2) and run.loss.shape == (T,)
    assert run.steps[0] == 0 and run.steps[-1] == 60
    np.testing.assert_allclose(run.time, run.steps * SMALL.lr)


@pytest.mark.parametrize("content", [b"", b"not a run", b"PK\x03\x04 but broken"])
def test_a_file_that_is_not_a_run_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    for load in (Trajectory.load, Checkpoint.load):
        with pytest.raises(NotARunError, match="x.npz"):
            load(path)


def test_a_damaged_or_foreign_archive_is_refused(tmp_path):
    simulate(SMALL).save(tmp_path / "run.npz")
    whole = (tmp_path / "run.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:900] + bytes([whole[900] ^ 255]) + whole[901:])
    np.savez(tmp_path / "foreign.npz", x=np.arange(3))
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    for name in ("cut", "flipped", "foreign", "pickled"):
        with pytest.raises(NotARunError):
            Trajectory.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        Trajectory.load(tmp_path / "nowhere.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    run = simulate(SMALL)
    run.save(tmp_path / "run.npz")
    before = (tmp_path / "run.npz").read_bytes()
    with pytest.raises(RuntimeError, match="half way"):
        with open_atomically(tmp_path / "run.npz", "wb") as file:
            file.write(before[:100])
            raise RuntimeError("half way")
    assert (tmp_path / "run.npz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


def test_logged_steps():
    run = simulate(Config(**{**SMALL.to_dict(), "log_every": 7}))
    assert run.steps.tolist() == [0, 7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert np.all(np.diff(simulate(SMALL).steps) > 0)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-2)])
@pytest.mark.parametrize("engine", ["sgd", "gram"])
@pytest.mark.parametrize("c", [1e7, 1e-7, 3e15])
def test_only_alpha_over_sigma_matters(engine, dtype, tolerance, c):
    usual = {**SMALL.to_dict(), "engine": engine, "dtype": dtype, "sigma": 0.7, "lr": 0.05, "alpha_ratio": 3.0}
    run, scaled = (simulate(Config(**{**usual, "sigma": 0.7 * c, "alpha_weak": c})) for c in (1, c))
    assert np.abs(run.overlaps[-1] - run.overlaps[0]).max() > 0.05
    for name in ("overlaps", "gram", "head", "batch_loss", "shares", "loss"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(run, name), atol=tolerance)
    assert np.abs(simulate(Config(**{**usual, "sigma": 0.6})).overlaps - run.overlaps).max() > 2 * tolerance


@pytest.mark.parametrize("engine", ["sgd", "gram"])
def test_weights_beyond_all_bounds_are_reported_right_or_not_at_all(engine):
    """The loss does not know the size of the weights; what cannot be squared is an error with a neuron and a step."""
    config = Config(**{**SMALL.to_dict(), "engine": engine, "steps": 1})
    for lr in (1e30, 1e50, 1e90):
        run = simulate(Config(**{**config.to_dict(), "lr": lr, "head_lr": 0.0}))
        assert run.norms[-1].min() > 0.01 * lr
        for name in ("loss", "correlations", "shares", "head_shares"):
            assert np.isfinite(getattr(run, name)).all(), name
        fewer = simulate(Config(**{**config.to_dict(), "lr": 1e20, "head_lr": 0.0}))
        np.testing.assert_allclose(run.loss[-1], fewer.loss[-1], rtol=1e-9)
        np.testing.assert_allclose(run.correlations[-1], fewer.correlations[-1], rtol=1e-9)


