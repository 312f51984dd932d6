"""Weight decay, momentum, a target, rates along a cosine: each step is what its definition says, in every engine.

Shapes: R replicas, N batch, J blocks, m neurons, d dimension, K features, c coordinates of the noise parts.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from interrupted import interrupted_and_resumed
from sgd_reference import gram_batch, literal_batch, upper_root, views
from z_test import agrees

from simsim import (Config, ConfigError, NotARunError, Trajectory, check_theorems, find_phases, flow, heads, measures,
                    network, objectives, population, rates, run, schedules, sgd, simulate, simulate_many, target)
from simsim.files.checkpoint import Checkpoint
from simsim.memory import BLOCK_STEPS
from simsim.files.archives import read_arrays, write_arrays
from simsim.plots import loss as plot_loss
from simsim.sgd.optimiser import Optimiser
from simsim.sweeps import grid
from simsim.trajectory import OF_TARGET, stored

BASE = Config(engine="gram", d=30, batch_size=40, feature_patches=4, init_seed=0, steps=6, log_every=1, alpha_ratio=2.0,
              lr=0.05, head_lr=0.04, sigma=0.7)
ALL = dict(weight_decay=0.8, momentum=0.6, target_momentum=0.7, head_decay=0.5, head_momentum=0.4, lr_schedule="cosine",
           head_lr_schedule="cosine")
TERMS = {name: {name: value} for name, value in ALL.items()} | {
    "decay and momentum": dict(weight_decay=0.8, momentum=0.6), "a target that stays": dict(target_momentum=1.0),
    "all": ALL}
BY_TERM = pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
BOTH_ENGINES = pytest.mark.parametrize("engine", ["gram", "sgd"])
# What else a step depends on. Of the blocks of "few dimensions" there are more rows than dimensions of noise.
SETTINGS = {"few dimensions": dict(m=2, d=5), "three neurons": dict(m=3), "single precision": dict(dtype="float32"),
            "uneven features": dict(patch_counts=(4, 2)), "raw": dict(batch_norm=False, lr=1e-3, head_lr=1e-3),
            "barlow": dict(objective="barlow", head="trained", stop_gradient=True, lr=0.005),
            "symmetric head": dict(head="symmetric"),
            "few noise patches": dict(m=4, batch_size=8, patches=4, feature_patches=3, lr=0.002)}


def changed(config, **fields):
    return dataclasses.replace(config, **fields)


def same(one, other):
    """Whether two trajectories are so, bit for bit."""
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in stored(one.config))


def without(arrays, name):
    """An archive's arrays but for one."""
    return {key: value for key, value in arrays.items() if key not in (name, "sha256")}


# ---- the definition, once more ------------------------------------------------------------------------

def rate(config, name, step):
    """`lr` or `head_lr` of the update after `step`."""
    falling = getattr(config, f"{name}_schedule") == "cosine"
    return getattr(config, name) * ((1 + np.cos(np.pi * step / config.steps)) / 2 if falling else 1)


def stepped(config, rows, gradient, step):
    """{block: rows} after a step: SGD as PyTorch has it, then BYOL's target."""
    w, t, v = (rows.get(name, 0) for name in ("weights", "target", "momentum"))
    v = config.momentum * v + gradient + config.weight_decay * w
    w = w - rate(config, "lr", step) * v
    t = config.target_momentum * t + (1 - config.target_momentum) * w
    return {name: {"weights": w, "target": t, "momentum": v}[name] for name in rows}


def head_stepped(config, E, velocity, gradient, step):
    velocity = config.head_momentum * velocity + heads.from_config(config).direction(gradient + config.head_decay * E)
    return E - rate(config, "head_lr", step) * velocity, velocity


def gradients(config, W, T, E, samples, noise):
    """Loss, dL/dW, dL/dE, and C (m, M) = dL/du of the noise patches; view 1 goes through W, view 2 through T."""
    X1, X2 = views(config, samples, noise)
    loss, by_patch = network.chain(X1 @ W.T, X2 @ T.T, E, objectives.from_config(config))
    shown = samples.is_noise(X1.shape[1])
    of_views = [of_view for of_view in zip((by_patch.U1, by_patch.U2), (X1, X2), shown) if of_view[0] is not None]
    return (loss, sum(np.einsum("nhm,nhc->mc", dU, X) for dU, X, _ in of_views), by_patch.E,
            np.concatenate([dU[is_noise] for dU, _, is_noise in of_views]).T)


def split(config, rows):
    """{block: rows} from the rows of all blocks."""
    return dict(zip(config.blocks, np.split(rows, len(config.blocks))))


def literal_step(config, rows, E, velocity, step):
    """Loss, rows (Jm, d), head and its velocity after a step of literal SGD."""
    blocks = split(config, rows)
    W, T = blocks["weights"], blocks.get("target", blocks["weights"])
    loss, dW, dE, _ = gradients(config, W, T, E, *literal_batch(config, step))
    rows = np.concatenate([*stepped(config, blocks, dW, step).values()])
    return loss, rows, *head_stepped(config, E, velocity, dE, step)


def gram_step(config, rows, E, velocity, step):
    """The same of gram, rows (Jm, K + Jm) in its coordinates (docs/theory.md, eq. 54); they get m columns more."""
    (m, K), blocks = (config.m, config.features), split(config, rows)
    samples, noise, draw = gram_batch(config, step)
    W = blocks["weights"][:, :K + m]
    T = blocks.get("target", blocks["weights"])
    T = np.concatenate([T[:, :K], upper_root(T[:, K:].T).T], axis=1)  # in coordinates of its own
    loss, seen, dE, C = gradients(config, W, T, E, samples, noise)
    S = config.sigma * upper_root(C.T).T
    beside = np.zeros((m, 0)) if draw.beside is None else S @ draw.beside[:S.shape[1]]
    missing = np.zeros((m, rows.shape[1] - K - m - beside.shape[1]))
    gradient = np.concatenate([seen, beside, missing, S @ draw.across[:S.shape[1]]], axis=1)
    wider = {name: np.concatenate([block, np.zeros((m, m))], axis=1) for name, block in blocks.items()}
    rows = np.concatenate([*stepped(config, wider, gradient, step).values()])
    return loss, rows, *head_stepped(config, E, velocity, dE, step)


def close(ours, theirs, rtol):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


def follows(config, rtol):
    """Let engine and definition take the same steps, from the same state each time; how far the weights moved."""
    literal, state = config.engine == "sgd", sgd.start([config])
    engine, K, expected, first = state.engine, config.features, None, state.overlaps.copy()
    for _ in sgd.iterate(state):
        rows = engine.W[0] if literal else np.concatenate([engine.overlaps[0], engine.factor[0]], axis=1)
        if expected:
            loss, theirs, E, velocity = expected
            assert state.batch_loss[0] == pytest.approx(loss, rel=rtol, abs=rtol)
            close(engine.overlaps[0], theirs[:, :K], rtol)
            close(engine.gram[0], theirs[:, K:] @ theirs[:, K:].T, rtol)
            close(state.head[0], E, rtol)
            if config.head_momentum:
                close(state.head_velocity[0], velocity, rtol)
        expected = (literal_step if literal else gram_step)(config, rows.copy(), state.head[0].copy(),
                                                            state.head_velocity[0].copy(), state.step % config.steps)
    return np.abs(state.overlaps - first).max()


# ---- a step is what it should be ---------------------------------------------------------------------------

@BOTH_ENGINES
@BY_TERM
def test_a_step_is_the_definition(engine, terms):
    assert follows(changed(BASE, engine=engine, **terms), 1e-9) > 1e-4


@BOTH_ENGINES
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_step_is_the_definition_in_other_settings(engine, setting):
    config = changed(BASE, engine=engine, **{**ALL, "head": None, "stop_gradient": None, **setting})
    assert follows(config, 1e-8 if config.dtype == "float64" else 2e-4) > 1e-5


@BOTH_ENGINES
@pytest.mark.parametrize("objective", ["naive", "barlow", "simsiam"])
def test_momentum_needs_no_stop_gradient(engine, objective):
    config = changed(BASE, engine=engine, objective=objective, head=None, stop_gradient=False, lr=0.005,
                     weight_decay=0.8, momentum=0.6)
    assert follows(config, 1e-9) > 1e-5


@pytest.mark.parametrize("wrong", [
    dict(weight_decay=0.7), dict(momentum=0.5), dict(target_momentum=0.6), dict(head_decay=0.4),
    dict(head_momentum=0.3), dict(lr_schedule="constant"), dict(head_lr_schedule="constant")], ids=str)
@BOTH_ENGINES
def test_the_definition_objects_to_another_value(engine, wrong, monkeypatch):
    config = changed(BASE, engine=engine, **ALL)
    monkeypatch.setattr("simsim.sgd.loop.Optimiser", lambda config: Optimiser(changed(config, **wrong)))
    with pytest.raises(AssertionError):
        follows(config, 1e-9)


def test_the_linear_map_is_the_definition():
    """Of any terms, on any sequence of gradients."""
    rng = np.random.default_rng(0)
    terms = "weight_decay", "momentum", "target_momentum", "lr_schedule"
    for used in itertools.product([0, 1], repeat=4):
        names = itertools.compress(terms, used)
        config = changed(BASE, steps=9, **{name: ALL[name] for name in names})
        rows = {name: rng.standard_normal((2, 7)) for name in config.blocks}
        blocks, optimiser = np.array([*rows.values()]), Optimiser(config)
        for step in range(9):
            gradient = rng.standard_normal((2, 7))
            A, b = optimiser.step(step)
            blocks = np.tensordot(A, blocks, 1) - np.multiply.outer(b, gradient)
            rows = stepped(config, rows, gradient, step)
            np.testing.assert_allclose(blocks, [*rows.values()], atol=1e-13)


def test_without_momentum_decay_is_the_shrinking_of_weights():
    """w <- (1 - lr decay) w - lr g, to the letter."""
    A, b = Optimiser(changed(BASE, weight_decay=0.8)).step(0)
    assert A.tolist() == [[1 - 0.05 * 0.8]] and b.tolist() == [0.05]
    assert Optimiser(BASE).step(3)[0].tolist() == [[1.0]]


@pytest.mark.parametrize("name", ["momentum", "target_momentum", "weight_decay"])
def test_terms_that_do_nothing_leave_a_run_as_it_is(name):
    """Literal SGD, whose samples do not depend on the optimiser; with half of each term the run is another."""
    plain = changed(BASE, engine="sgd", steps=20)
    one, two, other = map(simulate, (plain, changed(plain, **{name: 1e-300}), changed(plain, **{name: 0.5})))
    np.testing.assert_allclose(two.overlaps, one.overlaps, atol=1e-12)
    assert np.abs(other.overlaps - one.overlaps).max() > 1e-4


@BOTH_ENGINES
@BY_TERM
def test_a_resumed_run_is_the_same_bit_for_bit(engine, terms, tmp_path):
    beyond = {"gram": BLOCK_STEPS + 3, "sgd": 12}[engine]
    config = changed(BASE, engine=engine, steps=beyond + 5, **terms)
    whole = simulate(config)
    for stop in (0, beyond - 2):
        assert same(interrupted_and_resumed(config, stop, tmp_path / f"{stop}.npz"), whole)


@BOTH_ENGINES
def test_a_checkpoint_without_the_velocity_is_refused(engine, tmp_path):
    """Each array of a checkpoint is needed: without it the run is another, or none."""
    config = changed(BASE, engine=engine, **ALL)
    interrupted_and_resumed(config, 3, tmp_path / "checkpoint.npz")
    arrays = read_arrays(tmp_path / "checkpoint.npz")
    for name in ("head_velocity", "weights_W" if engine == "sgd" else "weights_factor"):
        write_arrays(tmp_path / "checkpoint.npz", without(arrays, name))
        with pytest.raises(NotARunError):
            Checkpoint.load(tmp_path / "checkpoint.npz")


@BOTH_ENGINES
def test_together_is_alone_bit_for_bit(engine):
    config = changed(BASE, engine=engine, steps=10, **ALL)
    together = simulate_many(config, [3, 4, 5])
    alone = simulate(config.reseeded(4, config.init_seed))
    assert same(together[1], alone)


def test_what_overflows_is_named():
    for engine in ("gram", "sgd"):
        with pytest.raises(sgd.TrainingError, match=r"neuron \d, step \d+: .*not finite"):
            simulate(changed(BASE, engine=engine, lr=1e200, **{**ALL, "weight_decay": 0.0}))


# ---- the clock ----------------------------------------------------------------------------------------------

def test_time_is_the_sum_of_the_rates():
    config = changed(BASE, steps=200, lr_schedule="cosine")
    expected = np.concatenate([[0], np.cumsum([rate(config, "lr", step) for step in range(200)])])
    run = simulate(config)
    np.testing.assert_allclose(run.time, expected, rtol=1e-12)
    assert [schedules.step_at(config, time) for time in run.time] == run.steps.tolist()
    assert schedules.step_at(config, run.time[7] * 1.000001) == 8
    assert schedules.step_at(config, run.time[-1] * 1.001) == np.inf
    assert np.array_equal(simulate(changed(config, lr_schedule="constant")).time, 0.05 * run.steps)


def test_a_report_tells_the_steps_of_a_schedule():
    """Not time over the first rate."""
    run = simulate(Config(steps=1000, batch_size=400, lr_schedule="cosine"))
    report, end = check_theorems(run), find_phases(run).substituted
    assert end.step > 1.1 * end.time / run.config.lr
    assert sum(check.words.measured == f"step {end.step}" for check in report) == 1
    assert "lr_schedule = cosine, kappa = 1 at first," in report.title


# ---- the loss against a target --------------------------------------------------------------------------------

OBJECTIVES = {"simsiam": {}, "barlow": dict(objective="barlow", head="trained", stop_gradient=True),
              "raw": dict(batch_norm=False), "uneven features": dict(patch_counts=(4, 2), frequencies=(0.6, 0.4)),
              "three": dict(features=3, m=3)}


@pytest.mark.parametrize("fields", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_loss_of_an_infinite_batch_is_against_the_target(fields):
    """Batches average to it; they reject the loss that has the weights in the target's place."""
    config = changed(BASE, batch_size=4000, steps=40, lr=1e-12, head_lr=0.0, target_momentum=1.0, **fields)
    state = sgd.start([config])
    m, rng = config.m, np.random.default_rng(1)
    state.engine.overlaps[0] = rng.standard_normal((2 * m, config.features))
    state.engine.factor[0] = np.tril(rng.standard_normal((2 * m, 2 * m))) / 3
    state.head[0] += 0.3 * rng.standard_normal((m, m))
    args = state.overlaps.copy(), state.gram.copy(), state.head.copy()
    expected = target.loss(config, *args, state.target_overlaps, state.target_gram)[0]
    losses = np.array([state.batch_loss[0] for _ in sgd.iterate(state)][1:])
    assert agrees(losses[:, None], np.array([expected]))
    assert not agrees(losses[:, None], population.loss(changed(config, target_momentum=0.0), *args))


@pytest.mark.parametrize("fields", OBJECTIVES.values(), ids=OBJECTIVES)
def test_a_target_that_is_the_weights_changes_no_loss(fields):
    run = simulate(changed(BASE, **fields, **({"lr": 1e-3, "head_lr": 1e-3} if fields == OBJECTIVES["raw"] else {})))
    state = run.overlaps, run.gram
    np.testing.assert_allclose(target.loss(run.config, *state, run.head, *state), run.loss, rtol=1e-11)


def test_a_trajectory_keeps_the_target(tmp_path):
    run = simulate(changed(BASE, **ALL))
    run.save(tmp_path / "run.npz")
    again = Trajectory.load(tmp_path / "run.npz")
    assert {*OF_TARGET} <= {*again.stored()} and np.array_equal(again.loss, run.loss) and np.isfinite(run.loss).all()
    swapped = run.reordered([1, 0])
    np.testing.assert_allclose(swapped.loss, run.loss, rtol=1e-12)
    assert np.array_equal(swapped.target_overlaps[:, 0], run.target_overlaps[:, 1])
    run.to_csv(tmp_path / "run.csv")
    assert "target_overlaps" in (tmp_path / "run.csv").read_text().splitlines()[0]
    arrays = read_arrays(tmp_path / "run.npz")
    write_arrays(tmp_path / "less.npz", without(arrays, "target_gram"))
    with pytest.raises(NotARunError, match="target_gram"):
        Trajectory.load(tmp_path / "less.npz")


def test_without_the_targets_rows_there_is_no_loss_and_no_old_one():
    run = dataclasses.replace(simulate(BASE), config=changed(BASE, target_momentum=0.9))
    assert np.isnan(run.loss).all()
    with pytest.raises(ValueError, match="target_overlaps"):
        dataclasses.replace(run, target_overlaps=run.overlaps[:, :1])


# ---- what an option of the optimiser is not ---------------------------------------------------------------------

@pytest.mark.parametrize("fields, message", [
    *((dict(engine="flow", **{name: value}), f"`{name}` = .*engine flow") for name, value in ALL.items()),
    (dict(target_momentum=0.9, stop_gradient=False), "`target_momentum`.*needs stop-gradient"),
    (dict(target_momentum=0.9, objective="naive"), "`target_momentum`.*needs stop-gradient.*naive"),
    (dict(momentum=1.0), "`momentum` = 1.0.*below 1"), (dict(head_momentum=1.0), "`head_momentum` = 1.0.*below 1"),
    (dict(momentum=-0.1), "`momentum`.*at least 0"), (dict(target_momentum=1.1), "`target_momentum`.*at most 1"),
    (dict(weight_decay=20.0, lr=0.05), "`weight_decay` = 20.0.*below 1"),
    (dict(head_decay=20.0, head_lr=0.05), "`head_decay` = 20.0.*below 1"),
    (dict(weight_decay=-1.0), "`weight_decay`.*at least 0"),
    (dict(lr_schedule="linear"), "`lr_schedule`.*constant, cosine"),
    (dict(optimizer="adam"), "`optimizer` = 'adam'.*Adam is no linear map")], ids=str)
def test_what_cannot_be_is_refused_by_name(fields, message):
    with pytest.raises(ConfigError, match=message):
        Config(**fields)


@pytest.mark.parametrize("name", ALL)
def test_no_equation_of_the_flow_is_made_without_the_term(name):
    """Whatever engine the Config names."""
    config = changed(BASE, **{name: ALL[name]})
    for follow in flow.Equations.from_config, flow.follow, lambda config: flow.follow_many(config, [0]):
        with pytest.raises(ConfigError, match=f"`{name}` = .*the flow follows the gradient alone"):
            follow(config)


@pytest.mark.parametrize("still", [dict(head="frozen"), dict(head_lr=0.0), dict(head="directpred")], ids=str)
def test_a_head_that_does_not_follow_a_gradient_has_no_such_terms(still):
    terms = {name: value for name, value in ALL.items() if name.startswith("head")}
    config = changed(BASE, **still, **terms)
    assert {*terms} <= {*config.without_effect()} and not config.optimiser
    assert np.array_equal(simulate(config).head, simulate(changed(BASE, **still)).head)
    assert Config(engine="flow", head="frozen", **terms).optimiser == {}


@pytest.mark.parametrize("name", ALL)
def test_a_later_option_at_its_default_leaves_keys_as_they_were(name):
    """What was computed before there was the option is known still; with the option in use it is another run."""
    fields = Config().to_dict()
    older = {key: value for key, value in fields.items() if key != name}
    assert grid.key(fields) == grid.key(older) != grid.key({**fields, name: ALL[name]})
    assert name not in rates.depends_on(Config()) and rates.depends_on(Config(**{name: ALL[name]}))[name] == ALL[name]
    assert Config.from_dict(older) == Config()


def test_keys_are_those_of_the_first_release():
    assert grid.key(Config().to_dict()) == "e08781594e36bc0be19d"


@BY_TERM
def test_what_belongs_to_plain_sgd_is_not_said_of_another_optimiser(terms):
    run = simulate(changed(BASE, **terms))
    with pytest.raises(ValueError, match="growth has these parts under the gradient alone"):
        run.growth
    plain = simulate(BASE)
    assert measures.growth(BASE, plain.overlaps, plain.gram, plain.head).total.shape == plain.overlaps.shape
    report = check_theorems(run)
    assert not any("eq. 13 drifts" in one.asked for one in report.hypotheses)
    assert any("eq. 13 drifts" in one.asked for one in check_theorems(plain).hypotheses)
    assert not any("eq. 13" in remark for remark in report.remarks)
    name = next(iter(run.config.optimiser))
    frozen = {} if name.startswith("head") else dict(head="frozen")
    for checks in report, check_theorems(simulate(changed(BASE, **{**terms, **frozen}))):
        assert {check.verdict for check in checks} == {"OUTSIDE"}
        assert all(f"the paper's {name}" in check.wants for check in checks if check.words.predicted != "no law")
    beside = simulate(changed(BASE, engine="flow", t_max=1.0))
    with pytest.raises(ValueError, match=f"no {name}"):
        check_theorems(run, beside)
    check_theorems(plain, beside)


def test_a_picture_has_the_loss_against_the_target():
    run = simulate(changed(BASE, **ALL))
    drawn = [line.get_ydata() for line in plot_loss(run).lines]
    assert any(np.array_equal(values, run.loss) for values in drawn)


def test_memory_knows_of_the_blocks():
    plain, blocks = (changed(BASE, engine=engine, **terms) for engine, terms in (("sgd", {}), ("sgd", ALL)))
    assert blocks.bytes_needed() > plain.bytes_needed() + 8 * 2 * BASE.m * BASE.d
    assert changed(BASE, **ALL).bytes_needed() > BASE.bytes_needed()


# ---- the command line -----------------------------------------------------------------------------------

def test_the_command_line_runs_every_term(tmp_path, capsys):
    words = [word for name, value in ALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert run.main(["--steps", "50", "--batch-size", "64", "--d", "20", "--out", str(tmp_path / "a"), *words]) == 0
    out, err = capsys.readouterr()
    assert "no flow to compare with: `weight_decay` = 0.8" in err and "OUTSIDE: the run is without" in out and "the paper's weight_decay" in out
    kept = Trajectory.load(tmp_path / "a/trajectory.npz")
    assert kept.config == Config(steps=50, batch_size=64, d=20, **ALL) and np.isfinite(kept.loss).all()


@pytest.mark.parametrize("words", [["--optimizer", "adam"], ["--optimiser=adam"]])
def test_another_optimiser_is_refused_with_the_reason(words, capsys):
    assert run.main(words) == 2
    assert "Adam is no linear map" in capsys.readouterr().err


# ---- another optimiser ----------------------------------------------------------------------------------------

def test_an_optimiser_may_be_given():
    class Sign(Optimiser):
        def linear(self, lr):
            A, b = super().linear(lr)
            return A, -b

    up, down = sgd.start([BASE]), sgd.start([BASE])
    *_, up = sgd.iterate(up, optimiser=Sign(BASE))
    *_, down = sgd.iterate(down)
    assert up.batch_loss[0] > down.batch_loss[0]


def test_a_loss_that_knows_one_set_of_weights_refuses_a_target():
    config = Config(d=8, target_momentum=0.9)
    for ask in (lambda: population.loss(config, np.ones((2, 2)), np.eye(2), np.eye(2)),
                lambda: population.loss_and_grad(np.eye(2, 8) + 0.1, np.eye(2), config)):
        with pytest.raises(ValueError, match="target_momentum = 0.9 .* a target with rows of its own"):
            ask()
