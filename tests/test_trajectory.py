"""What a Trajectory accepts, and what is believed of a file."""

import copy
import dataclasses
import json
import pickle
import zipfile

import numpy as np
import pytest

from simsim import Config, NotARunError, Trajectory, check_theorems, find_phases, phases, plots, simulate
from simsim.files.checkpoint import Checkpoint
from simsim.files.archives import read_arrays, write_arrays
from simsim.trajectory import STORED

CONFIG = Config(m=2, d=12, batch_size=33, steps=60, lr=0.01)


def parts(**changes):
    """The arrays of a trajectory of two rows, some of them replaced."""
    usual = {"steps": [0, 1], "time": [0.0, 0.01], "overlaps": np.full((2, 2, 2), 0.1), "gram": [np.eye(2)] * 2,
             "head": [np.eye(2)] * 2, "batch_loss": [np.nan, 1.0]}
    return {**usual, **changes}


def test_lists_become_arrays():
    run = Trajectory(CONFIG, **{name: np.asarray(values).tolist() for name, values in parts().items()})
    assert all(isinstance(getattr(run, name), np.ndarray) for name in STORED)
    assert run.norms.shape == (2, 2) and len(check_theorems(run)) > 0


def test_the_arrays_are_the_runs_own_and_nobody_changes_them():
    """Neither the one who gave them, nor anybody later: what was derived of them would be of other data."""
    given = parts(head=np.stack([np.eye(2)] * 2), gram=np.broadcast_to(np.eye(2), (2, 2, 2)))
    view = given["head"].view()
    view.flags.writeable = False
    run = Trajectory(CONFIG, **{**given, "head": view})
    before = find_phases(run)
    given["head"][1, 0, 1] = 7.0
    assert run.head[1, 0, 1] == 0 and find_phases(run) == before
    for one in (run, run[:1], run.reordered([1, 0]), copy.copy(run), copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        for name in (*STORED, "shares", "head_shares", "norms"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(one, name)[0] = 0
    assert run[:1].head.base is not None  # a slice, which nobody can write to either, is no copy


def test_the_phases_of_a_run_are_computed_once(monkeypatch):
    """By report, pictures and whoever asks; another run has its own, and what is returned is the caller's."""
    run, computed = simulate(Config(m=2, alpha_ratio=20.0, steps=60)), []
    assert find_phases(run).order == (0, 1)  # else report and pictures would be of a run in another order
    run = dataclasses.replace(run)
    monkeypatch.setattr(phases, "of_log", lambda one, compute=phases.of_log: computed.append(one) or compute(one))
    check_theorems(run)
    plots.plt.close(plots.phases(run)[0].figure)
    found = find_phases(run)
    assert computed == [run] and found.strong_learned.step == 46
    found.missing["weak_learned"] = "changed"
    assert find_phases(run).missing["weak_learned"] != "changed"
    short, other = run[:3], dataclasses.replace(run, overlaps=0.1 * run.overlaps)
    assert find_phases(short).strong_learned is find_phases(other).strong_learned is None
    assert computed == [run, short, other]


def of_gram(first):
    return parts(gram=np.stack([np.eye(2), np.array(first, dtype=float)]))


@pytest.mark.parametrize("arrays, message", [
    (of_gram([[1, 0.1], [0, 1]]), "`gram` must hold symmetric"),
    (of_gram([[1, 1e-3], [1e-3, -1e-300]]), "`gram` must hold symmetric matrices whose diagonals are not negative"),
    (of_gram(-np.eye(2)), "`gram`"),
    (of_gram([[1, 2], [2, 1]]), "`gram` must hold inner products"),
    (of_gram([[1e-12, 2e-8], [2e-8, 1e-4]]), "`gram` must hold inner products"),  # by their cosine, 2
    (of_gram([[0, 1], [1, 1]]), "`gram` must hold inner products"),
    (parts(time=[0.01, 0.0]), "`time` must increase"), (parts(time=[0.0, 0.0]), "`time` must increase"),
    (parts(time=[-0.01, 0.0]), "`time` must increase"), (parts(steps=[1, 0]), "`steps` must increase"),
    (parts(head=[[[1, 0], [0, 1]], [[1, 0]]]), "`head` must be an array"),
    (parts(head=[np.eye(2)]), "`head` must have shape"), (parts(head=1j * np.ones((2, 2, 2))), "`head` must hold"),
    (parts(overlaps=np.ma.masked_all((2, 2, 2))), "`overlaps` must have a value in every place"), (parts(steps=[0, "1"]), "`steps` must hold"),
    (parts(overlaps=np.full((2, 2, 2), np.inf)), "`overlaps` must hold finite"), (parts(steps=[]), "at least one row"),
])
def test_what_no_run_can_be_is_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        Trajectory(CONFIG, **arrays)


@pytest.mark.parametrize("scale", [1e-170, 1e-155, 1e-9, 1.0, 1e150])
def test_the_rounding_of_a_gram_matrix_is_none_of_its_faults(scale):
    """Three vectors in a plane, of norms far apart and two of them all but parallel: eigenvalues 0, or below."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((500, 3, 2)) * [[1], [scale], [scale]]
    plane[:, 2] = plane[:, 1] * (1 + 1e-9)
    config = Config(m=3, d=12)
    T = np.arange(500)
    run = Trajectory(config, T, T * 0.1, np.ones((500, 3, 2)), plane @ plane.transpose(0, 2, 1),
                     np.tile(np.eye(3), (500, 1, 1)), T)
    assert np.isfinite(run.norms).all()


@pytest.fixture
def saved(tmp_path):
    simulate(CONFIG).save(tmp_path / "run.npz")
    return tmp_path / "run.npz"


@pytest.mark.parametrize("alter", [
    lambda arrays: arrays.update(time=7 * arrays["time"]), lambda arrays: arrays.update(head=2 * arrays["head"]),
    lambda arrays: arrays.update(gram=-arrays["gram"]), lambda arrays: arrays.update(loss=arrays["loss"] * 0),
    lambda arrays: arrays.update(overlaps=arrays["overlaps"].astype(np.float32)),
    lambda arrays: arrays.update(batch_loss=arrays["batch_loss"].view(np.int64)),
    lambda arrays: arrays.update(loss=arrays["loss"][None]), lambda arrays: arrays.update(extra=1),
    lambda arrays: arrays.pop("loss"), lambda arrays: arrays.pop("sha256"),
    lambda arrays: arrays.update(overlaps=arrays["overlaps"].reshape(-1, 4)),
    lambda arrays: arrays.update(config=str(arrays["config"]).replace('"seed": 0', '"seed": 1')),
])
def test_an_altered_trajectory_is_not_believed(saved, alter):
    arrays = dict(np.load(saved))
    np.savez(saved, **arrays)
    assert len(Trajectory.load(saved)) > 1  # saved again as it was
    alter(arrays)
    np.savez(saved, **arrays)
    with pytest.raises(NotARunError, match="run.npz"):
        Trajectory.load(saved)


def test_a_checksum_is_of_the_content_whatever_its_layout(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 2)), "text": "ä", "number": 1.5}
    write_arrays(tmp_path / "c.npz", arrays)
    write_arrays(tmp_path / "f.npz", {**arrays, "a": np.asfortranarray(arrays["a"])})
    assert all(str(np.load(tmp_path / name)["sha256"]) == str(np.load(tmp_path / "c.npz")["sha256"])
               for name in ("c.npz", "f.npz"))
    again = read_arrays(tmp_path / "f.npz")
    assert np.array_equal(again["a"], arrays["a"]) and str(again["text"]) == "ä" and again["empty"].shape == (0, 2)


def test_an_archive_that_unpacks_to_more_than_it_has_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, \
            archive.open("gram.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**21,)})
        for _ in range(16):
            file.write(bytes(2**20))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**15
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it is being unpacked"))
    for load in (Trajectory.load, Checkpoint.load):
        with pytest.raises(NotARunError, match="bomb.npz .* would unpack to 16777"):
            load(tmp_path / "bomb.npz")


# ---- the flow beside a run -----------------------------------------------------

def of(config):
    return Trajectory(config, [0, 1], [0, config.lr], np.full((2, config.m, 2), 0.1), [np.eye(config.m)] * 2,
                      [np.eye(config.m)] * 2, [np.nan, np.nan])


def test_the_flow_beside_a_run_is_of_its_start():
    sgd = Config(m=2, lr=0.1, head_lr=0.7)
    flow = {"m": 2, "engine": "flow", "lr": 3.0, "head_lr": 21.0}  # the same kappa but for rounding
    assert len(check_theorems(of(sgd), of(Config(**flow)))) > 0
    for change, (value, expected) in {"m": (3, "m = 3, not 2"), "init_seed": (5, "init_seed = 5, not"),
                            "d": (51, "d = 51, not 50"), "sigma": (2.0, "sigma = 2.0, not 1.0"),
                            "head": ("frozen", "head = frozen, not trained"), "lr": (1.0, "kappa = 21.0, not 7.0"),
                            "engine": ("gram", "engine = gram, not flow")}.items():
        with pytest.raises(ValueError, match=f"`flow` must be .*: it has {expected}"):
            check_theorems(of(sgd), of(Config(**{**flow, change: value})))


def test_a_saved_flow_is_the_flow(tmp_path):
    """What a file keeps: every array bit for bit, the configuration, and how it ended at what cost."""
    run = simulate(Config(engine="flow", d=10**4, lr=1.0, head="frozen", init_seed=1, t_max=1e4))
    run.save(tmp_path / "run.npz")
    again = Trajectory.load(tmp_path / "run.npz")
    for name in ("config", "status", "message", "counters"):
        assert getattr(again, name) == getattr(run, name), name
    assert again.message.startswith("not yet") and again.counters["steps"] > 10
    assert all(np.array_equal(getattr(again, name), getattr(run, name), equal_nan=True) for name in STORED)
    arrays = np.load(tmp_path / "run.npz")
    for name in ("norms", "loss", "correlations", "shares", "head_shares"):
        np.testing.assert_array_equal(arrays[name], getattr(run, name))


def test_events_are_read_back_and_files_without_them_are_read(tmp_path):
    run = Trajectory(CONFIG, **parts(), events=(0, 1, None, None))
    run.save(tmp_path / "run.npz")
    assert Trajectory.load(tmp_path / "run.npz").events == (0, 1, None, None)
    arrays = dict(read_arrays(tmp_path / "run.npz"))
    arrays["outcome"] = json.dumps({name: value for name, value in json.loads(str(arrays["outcome"])).items()
                                    if name != "events"})
    write_arrays(tmp_path / "old.npz", arrays)
    assert Trajectory.load(tmp_path / "old.npz").events is None
    found = find_phases(run)
    assert found.rows == (0, 1, None, None) and found.strong_learned.step == 0


@pytest.mark.parametrize("events", [(0, 1, None), (0, 1, None, 2), (0, -1, None, None), (0, 1.0, None, None), "rows", 3])
def test_events_that_are_no_rows_are_refused(events):
    with pytest.raises((ValueError, TypeError)):
        Trajectory(CONFIG, **parts(), events=events)
