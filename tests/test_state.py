"""A state in one piece, and runs that start from one's own weights, in every engine."""

import dataclasses

import numpy as np
import pytest

from simsim import (Config, FlowError, NotARunError, State, TrainingError, Trajectory, check_theorems, flow, population, run, sgd,
                    simulate,
                    simulate_many)
from simsim.run import main

SMALL = Config(d=12, batch_size=64, steps=12, log_every=1, feature_patches=4, alpha_ratio=3.0, init_seed=3)
ENGINES = ["gram", "sgd", "flow"]


def of(engine):
    return dataclasses.replace(SMALL, engine=engine, t_max=20.0 if engine == "flow" else None)


def weights(seed=0, m=2, d=12):
    return np.random.default_rng(seed).standard_normal((m, d)) / np.sqrt(d)


def test_a_state_of_weights():
    W = weights()
    state = State.from_weights(W)
    np.testing.assert_array_equal(state.a, W[:, :2])
    np.testing.assert_allclose(state.gram, W[:, 2:] @ W[:, 2:].T, rtol=1e-14)
    np.testing.assert_allclose(state.norms, np.linalg.norm(W, axis=1), rtol=1e-14)
    np.testing.assert_array_equal(state.E, np.eye(2))
    factor = state.factor()
    assert factor[0, 1] == 0 and (np.diagonal(factor) >= 0).all()
    np.testing.assert_allclose(factor @ factor.T, state.gram, rtol=1e-13)
    narrow = State(np.ones((3, 2)), np.ones((3, 1)), np.eye(3))  # fewer coordinates than neurons
    np.testing.assert_allclose(narrow.factor() @ narrow.factor().T, np.ones((3, 3)), atol=1e-14)
    many = State.from_weights(np.stack([weights(seed) for seed in range(4)]))
    assert many.gram.shape == (4, 2, 2) and many.factor().shape == (4, 2, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_start_of_a_config_is_its_start(engine):
    config = of(engine)
    given, own = simulate(config, start=State.start(config)), simulate(config)
    for name in ("time", "overlaps", "gram", "head"):
        np.testing.assert_array_equal(getattr(given, name), getattr(own, name))
    assert not own.start_was_given and not given.start_was_given


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_starts_from_weights_given(engine):
    """Its first row, and its first step against the gradient of the literal chain or of the population."""
    W, E = weights(5), np.array([[1.0, 0.2], [-0.1, 1.0]])
    run = simulate(of(engine), start=State.from_weights(W, E))
    np.testing.assert_allclose(run.overlaps[0], W[:, :2], rtol=1e-15)
    np.testing.assert_allclose(run.gram[0], W[:, 2:] @ W[:, 2:].T, rtol=1e-13)
    np.testing.assert_array_equal(run.head[0], E)
    assert run.start_was_given
    report = check_theorems(run)
    assert any("This start was given" in sentence for sentence in report.story)
    assert not any("hand-picked" in sentence for sentence in report.story)
    for check in report:
        if check.claim.startswith(("II", "III", "Thm", "Cor", "fate", "|E")):
            assert "the head's own start" in check.wants, check  # of E as it was given no law speaks
    at_identity = check_theorems(simulate(of(engine), start=State.from_weights(W)))
    assert not any("the head's own start" in check.wants for check in at_identity)


def test_engines_take_the_same_first_step_from_a_start():
    """Gram from a state is literal SGD from any lift of it: a step of a large batch follows the gradient of the population.

    Where noise and features weigh alike in an output, 200,000 samples know its gradient to about 2 %.
    """
    config = dataclasses.replace(SMALL, batch_size=200_000, steps=1, lr=1e-3, head_lr=1e-3)
    W = 0.6 * weights(7) + 0.25 * np.eye(2, 12) + 0.1
    grad = population.loss_and_grad(W, np.eye(2), config)[1]
    for engine in ("gram", "sgd"):
        run = simulate(dataclasses.replace(config, engine=engine), start=State.from_weights(W))
        moved = (run.overlaps[1] - run.overlaps[0]) / -config.lr
        assert np.abs(moved - grad.W[:, :2]).max() < 0.05 * np.abs(grad.W[:, :2]).max()
        assert np.abs(moved - 0.9 * grad.W[:, :2]).max() > 0.05 * np.abs(grad.W[:, :2]).max()


def test_optimisers_start_there_with_all_their_blocks():
    config = dataclasses.replace(SMALL, momentum=0.5, target_momentum=0.9)
    state = State.from_weights(weights(2))
    for engine in ("gram", "sgd"):
        started = sgd.start([dataclasses.replace(config, engine=engine)], state)
        np.testing.assert_allclose(started.overlaps[0], state.a, rtol=1e-15)
        np.testing.assert_allclose(started.target_gram[0], state.gram, rtol=1e-13)
        assert not started.engine.overlaps[0, 4:].any()  # momentum


def test_many_runs_from_one_start():
    state = State.from_weights(weights(4))
    runs = simulate_many(SMALL, [0, 1], start=state)
    alone = simulate(dataclasses.replace(SMALL, seed=1), start=state)
    np.testing.assert_array_equal(runs[1].overlaps, alone.overlaps)
    np.testing.assert_array_equal(runs[0].overlaps[0], runs[1].overlaps[0])
    with pytest.raises(ValueError, match="`init_seeds` and `start` both say"):
        simulate_many(SMALL, [0, 1], init_seeds=[5, 6], start=state)


def test_a_state_is_kept_in_a_file(tmp_path):
    state = State.from_weights(weights(1), np.eye(2) + 0.1)
    state.save(tmp_path / "state.npz")
    again = State.load(tmp_path / "state.npz")
    assert all(np.array_equal(getattr(again, name), getattr(state, name)) for name in "aUE")
    run = simulate(SMALL)
    run.save(tmp_path / "run.npz")
    with pytest.raises(NotARunError, match="run.npz is not a state"):
        State.load(tmp_path / "run.npz")


@pytest.mark.parametrize("make, words", [
    (lambda: State(np.ones((2, 2)), np.ones((3, 2)), np.eye(2)), "`a` must have shape"),
    (lambda: State(np.ones((2, 2)), np.ones((2, 2)), np.eye(3)), "`a` must have shape"),
    (lambda: State(np.ones(2), np.ones((2, 2)), np.eye(2)), "two axes and more"),
    (lambda: State(np.full((2, 2), np.nan), np.ones((2, 2)), np.eye(2)), "`a` must hold finite numbers"),
    (lambda: State.from_weights(np.ones((2, 2))), "`W` must have shape"),
    (lambda: simulate(SMALL, start=State.from_weights(weights(m=3))), "`start` must be one State of m = 2"),
    (lambda: simulate(SMALL, start=State.from_weights(weights(), features=3)), "`start` must be one State of m = 2"),
    (lambda: simulate(dataclasses.replace(SMALL, head="frozen"), start=State.from_weights(weights(), np.eye(2) + 0.1)),
     "head frozen does not move, and starts elsewhere"),
    (lambda: simulate(dataclasses.replace(SMALL, head="directcopy"), start=State.from_weights(weights(), np.eye(2) + 0.1)),
     "head directcopy is set from the outputs")])
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_engine_that_cannot_start_elsewhere_says_so(monkeypatch):
    class Own(sgd.Engine):
        def __init__(self, configs):
            super().__init__(configs)
            self.arrays = {}

    monkeypatch.setitem(sgd.ENGINES, "gram", Own)
    with pytest.raises(NotImplementedError, match="engine Own starts from its config alone"):
        simulate(SMALL, start=State.from_weights(weights()))


# ---- on the command line ------------------------------------------------------------------------------------

WORDS = ["--d", "12", "--batch-size", "32", "--steps", "20", "--feature-patches", "4", "--alpha-ratio", "3", "--no-plot"]


def test_a_run_from_a_file(tmp_path, monkeypatch, capsys):
    """Its folder has a name of its own; the flow beside it starts there as well; the same again is not trained again."""
    monkeypatch.chdir(tmp_path)
    state = State.from_weights(weights(6))
    state.save("mine.npz")
    for engine in ("gram", "flow"):
        more = ["--engine", engine, *(["--t-max", "5"] if engine == "flow" else [])]
        assert run.main([*WORDS, *more, "--start", "mine.npz"]) == 0
        folder, = (path for path in (tmp_path / "runs").iterdir() if path.name.endswith("start-mine")
                   and ("flow" in path.name) == (engine == "flow"))
        made = Trajectory.load(folder / "trajectory.npz")
        np.testing.assert_allclose(made.overlaps[0], state.a, rtol=1e-15)
        assert "This start was given" in (folder / "report.txt").read_text()
        capsys.readouterr()
        assert run.main([*WORDS, *more, "--start", "mine.npz"]) == 0 and "holds this run already" in capsys.readouterr().err
        assert run.main([*WORDS, *more, "--out", str(folder)]) == 2
        assert "it holds a run from another start; choose another folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match="its overlaps at time 0 are others"):
        check_theorems(simulate(SMALL, start=state), simulate(of("flow")))


@pytest.mark.parametrize("content, words", [
    (None, "No such file"), (b"no archive", "is not"), (dict(m=3), "one State of m = 2 neurons"), ("run", "is not a state")])
def test_a_file_that_is_no_start_is_refused_in_a_line(content, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / "mine.npz").write_bytes(content)
    elif content == "run":
        simulate(SMALL).save("mine.npz")
    elif content:
        State.from_weights(weights(**content)).save("mine.npz")
    assert run.main([*WORDS, "--start", "mine.npz"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("simsim: --start mine.npz: ") and words in err and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_row_of_a_run_is_a_start():
    first = simulate(SMALL)
    state = first.state()
    np.testing.assert_allclose(state.gram, first.gram[-1], rtol=1e-12)
    on = simulate(dataclasses.replace(SMALL, seed=7), start=first.state(5))
    np.testing.assert_allclose(on.overlaps[0], first.overlaps[5], rtol=1e-15)
    np.testing.assert_array_equal(on.head[0], first.head[5])


def test_a_resumed_run_takes_no_other_start(tmp_path, capsys):
    assert run.main(["--resume", str(tmp_path), "--start", "mine.npz"]) == 2
    assert "--start mine.npz: a resumed run goes on from where it is" in capsys.readouterr().err


# ---- one start and another ------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [lambda s: State(s.a, 2 * s.U, s.E), lambda s: State(s.a * (1 + 1e-7), s.U, s.E),
                                    lambda s: State(s.a, s.U[::-1], s.E), lambda s: State(s.a, s.U, s.E + 1e-6)])
def test_a_start_is_its_overlaps_its_gram_matrix_and_its_head(change):
    """Any of them alone makes it a start that was given; a turn of the noise coordinates does not."""
    own = State.start(SMALL)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((own.U.shape[1],) * 2))[0]
    assert own.is_like(State(own.a, own.U @ turn, own.E), SMALL)
    assert not change(own).is_like(own, SMALL)
    assert simulate(SMALL, start=change(own)).start_was_given


def test_a_folder_holds_the_run_of_one_start_alone(tmp_path, capsys):
    own = State.start(Config(d=20))
    own.save(tmp_path / "own.npz")
    State(own.a, 2 * own.U, own.E).save(tmp_path / "wide.npz")
    line = ["--d", "20", "--batch-size", "32", "--steps", "5", "--no-plot", "--out", str(tmp_path / "out")]
    assert main([*line, "--start", str(tmp_path / "own.npz")]) == 0
    assert main(line) == 0 and "holds this run already" in "".join(capsys.readouterr())
    assert main([*line, "--start", str(tmp_path / "wide.npz")]) == 2
    assert "it holds a run from another start" in capsys.readouterr().err


def test_a_flow_cut_short_is_neither_complete_nor_in_the_way_of_another_start(tmp_path, capsys):
    own = State.start(Config(d=20))
    State(1.3 * own.a, own.U, own.E).save(tmp_path / "start.npz")
    line = ["--d", "20", "--engine", "flow", "--no-plot", "--out", str(tmp_path / "out")]
    given = [*line, "--start", str(tmp_path / "start.npz"), "--time-limit"]
    assert main([*given, "1e-9"]) == 3
    assert main(["--resume", str(tmp_path / "out")]) == 2
    assert "a flow that was cut short cannot go on" in capsys.readouterr().err
    assert main(line) == 2 and "it holds a run from another start" in capsys.readouterr().err
    assert main([*given, "100"]) == 0  # the same command begins it anew


def test_neurons_by_their_roles_are_no_other_start():
    run = simulate(SMALL)
    assert not run.reordered([1, 0]).start_was_given
    assert simulate(SMALL, start=State.from_weights(weights(3))).reordered([1, 0]).start_was_given


def test_a_theorem_on_random_starts_judges_none_that_was_given():
    """Three times as wide is as likely to succeed by no law that the report knows."""
    config = Config(d=10**6, engine="flow", t_max=1.0)
    own = State.start(config)
    for start, outside in (own, False), (State(3 * own.a, 3 * own.U, own.E), True):
        report = check_theorems(simulate(config, start=start))
        claim = next(check for check in report if check.claim.startswith("Thm 1"))
        assert ("a random start" in claim.wants) == outside
        assert ("% of starts" in claim.words.predicted) != outside


def test_laws_predict_nothing_from_a_head_that_was_given():
    config = Config(d=10**6, engine="flow", t_max=1.0, init_seed=0)
    own = State.start(config)
    report = check_theorems(simulate(config, start=State(own.a, own.U, np.array([[1, 0.5], [0.3, 1]]))))
    assert not any("eq. 20" in check.words.predicted or "eqs. 22" in check.words.predicted for check in report)


def test_a_symmetric_head_starts_symmetric():
    config = dataclasses.replace(SMALL, head="symmetric")
    with pytest.raises(ValueError, match="moves E_ij and E_ji as one: `start` must have a symmetric E"):
        simulate(config, start=State.from_weights(weights(), np.array([[1, 0.5], [0.3, 1]])))
    simulate(config, start=State.from_weights(weights(), np.array([[1, 0.5], [0.5, 1]])))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_start_that_cannot_be_is_named_for_what_it_is(engine):
    """Not a batch that is too small, nor steps that are too large, but a row of the head or a size of the start."""
    config, own = of(engine), State.start(SMALL)
    head = own.E * [[1.0], [0.0]]
    error = FlowError if engine == "flow" else TrainingError
    with pytest.raises(error, match="row 2 of the head is 0, and predicts nothing") as refused:
        simulate(config, start=State(own.a, own.U, head))
    assert "batch" not in str(refused.value)
    for power in (1e60, 1e-60):
        with pytest.raises(ValueError, match="a size from 1e-25 to 1e\\+25 in units of strengths and sigma.* that of neuron 1 is"):
            simulate(config, start=State(power * own.a, power * own.U, own.E))
    stronger = dataclasses.replace(SMALL, alpha_ratio=1.0, alpha_weak=1e14)
    with pytest.raises(ValueError, match="units of strengths"):
        State(1e15 * own.a, own.U, own.E).require_fits(stronger)
    State(1e8 * own.a, own.U, own.E).require_fits(stronger)
    with pytest.raises(ValueError, match="must be one State of m = 2 neurons and 2 features, got a of shape"):
        State(*(np.stack([part] * 2) for part in (own.a, own.U, own.E))).require_fits(SMALL)
    fifth = dataclasses.replace(SMALL, power=5)
    with pytest.raises(ValueError, match="from 1e-15 to 1e\\+15"):
        State(1e16 * own.a, 1e16 * own.U, own.E).require_fits(fifth)
    State(1e14 * own.a, 1e14 * own.U, own.E).require_fits(fifth)
    if engine == "flow":
        for power in (1e20, 1e-20):
            with pytest.raises(error, match="cannot begin: neuron 1 is too far .* sizes from 1e-12 to 1e\\+12 can be followed"):
                simulate(config, start=State(power * own.a, power * own.U, own.E))
        for power in (1e10, 1e-10):  # inside: it begins
            assert len(flow.follow(config, start=State(power * own.a, power * own.U, own.E), seconds=0.2)) > 1
