"""Many runs: the same table whoever computes it and whatever is killed meanwhile; nothing lost, nothing done twice."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from stories import COLLAPSE, FOUR_PHASES, story

import simsim
from simsim import Config, Trajectory, find_phases, flow, lock, simulate, sweeps
from simsim.folder import FolderError
from simsim.interrupts import Interrupts
from simsim.sweeps import command, executors, outcome, work
from simsim.sweeps.compute import compute
from simsim.sweeps.outcome import DONE, FAILED

SMALL = {"engine": "gram", "steps": 30, "batch_size": 16, "d": [6, 9], "alpha_ratio": [2.0, 5.0]}
LONG = {**SMALL, "steps": 400}  # of 8 tasks, a tenth of a second each
SEEDS = range(20)  # two tasks a cell
COMMAND = [sys.executable, "-m", "simsim.sweep", "--seeds", "0:20", "--workers", "2", "--out", "out", "--grid",
           "engine=gram", "steps=400", "batch_size=16", "d=6,9", "alpha_ratio=2,5"]


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def here(fields, out, seeds=SEEDS, **options):
    """A sweep in a thread of this process."""
    with ThreadPoolExecutor(1) as executor:
        return simsim.sweep(fields, out, seeds=seeds, executor=executor, **options)


def same(one, two):
    """Whether two tables agree in everything but the time that it took."""
    return one.keys() == two.keys() and all(
        np.array_equal(one[name], two[name], equal_nan=one[name].dtype.kind == "f") for name in one if name != "wall_s")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return here(LONG, tmp_path_factory.mktemp("undisturbed"))


def text(path):
    return Path(path).read_text()


def number_of_rows(path="out/rows.jsonl"):
    return text(path).count("\n") if os.path.exists(path) else 0


@contextlib.contextmanager
def started(rows=0):
    """The sweep LONG in a process of its own, with so many rows written; it is killed at the end."""
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not os.path.exists("out/sweep.json") or number_of_rows() < rows:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def children(pid):
    """The processes that a process has started, on Linux."""
    return [int(child) for child in text(f"/proc/{pid}/task/{pid}/children").split()]


def wait_until_gone(pids):
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") and text(f"/proc/{pid}/stat").split()[2] != "Z" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- what is computed ----------------------------------------------------------

def test_the_table_has_a_row_for_each_run_in_the_order_of_the_grid():
    table = here(SMALL, "out", range(3))
    assert table["d"].tolist() == [6] * 6 + [9] * 6 and table["alpha_ratio"].tolist() == 2 * ([2.0] * 3 + [5.0] * 3)
    assert table["init_seed"].tolist() == table["seed"].tolist() == 4 * [0, 1, 2]
    run = simulate(Config(engine="gram", steps=30, batch_size=16, d=9, alpha_ratio=5.0, seed=1, init_seed=1))
    phases, last = find_phases(run), {name: values[10] for name, values in table.items()}
    for number, end in enumerate(phases.ends(), 1):
        assert last[f"observed_{number}"] == (end is not None)
        assert last[f"time_{number}"] == (run.time[-1] if end is None else end.time)
    neuron = int(last["fate_1"]) - 1
    assert neuron == -1 or run.shares[-1, 0, neuron] >= 0.5
    assert np.isclose(last["beta_1"] ** 2 + last["residual_1"] ** 2, run.norms[-1, 0] ** 2)
    assert last["head_peak"] == np.abs(run.head[:, [0, 1], [1, 0]]).max()


def test_a_flow_in_the_table_is_that_of_follow():
    table = here({"engine": "flow", "d": 10**6, "kappa": 0.1}, "out", range(1))
    for seed in range(1):
        run = flow.follow(Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, init_seed=seed))
        ends = [end.time for end in find_phases(run).ends() if end]
        times = [table[f"time_{n}"][seed] for n in (1, 2, 3, 4) if table[f"observed_{n}"][seed]]
        assert np.allclose(times, ends, rtol=1e-4)
        assert table["success"][seed] == (run.status == flow.BOTH)
        assert table["message"][seed] == run.message and table["kappa"][seed] == 0.1


def test_flows_of_a_task_have_each_their_own_d():
    """Those of a batch, and those with trajectories, which come one by one."""
    fields = {"engine": "flow", "d": [10**3, 10**8], "kappa": 1.0, "t_max": 1.0}
    assert len(list(sweeps.Grid(fields, range(2)).tasks())) == 1
    batch, each = here(fields, "out", range(2)), here(fields, "kept", range(2), trajectories=True)
    for row, (d, seed) in enumerate(zip(batch["d"], batch["init_seed"])):
        run = flow.follow(Config(engine="flow", d=int(d), lr=1.0, head_lr=1.0, t_max=1.0, init_seed=int(seed)))
        beta = run.overlaps[-1, 0, run.shares[-1, 0].argmax()]
        assert np.isclose(batch["beta_1"][row], beta, rtol=1e-4) and np.isclose(each["beta_1"][row], beta, rtol=1e-12)


def test_numpy_and_pandas_read_the_csv():
    table = here({**SMALL, "m": [2, 3], "strengths": [(5.0, 1.0), (3.0, 1.0)], "alpha_ratio": 20.0} | {"lr": [1e-3, 1e200]},
                 "out", range(2))
    read = np.genfromtxt("out/table.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert list(read.dtype.names) == list(table) and len(read) == 32
    for name in ("d", "m", "status", "success", "time_1", "fate_1", "beta_3", "strengths", "observed_1"):
        expected = table[name]
        assert np.array_equal(read[name], expected, equal_nan=expected.dtype.kind == "f"), name
    assert (read["status"] == FAILED).sum() == 16
    try:
        import pandas
    except ImportError:
        return  # NumPy has read it, and pandas reads what has no quotes
    assert list(pandas.read_csv("out/table.csv").columns) == list(table)


def test_a_run_that_fails_is_a_row_and_can_be_redone():
    fields = {**SMALL, "alpha_ratio": 20.0, "lr": [1e-3, 1e200]}
    before = here(fields, "out", range(3))
    bad = before["lr"] == 1e200
    assert (before["status"][bad] == FAILED).all() and (before["status"][~bad] == DONE).all()
    assert all("use a smaller lr" in message for message in before["message"][bad])
    assert np.isnan(before["beta_1"][bad]).all() and not before["observed_1"][bad].any()
    counts = []
    assert same(here(fields, "out", range(3), redo="failed", progress=lambda *now: counts.append(now)), before)
    assert counts[0] == (0, 6, 0) and counts[-1] == (6, 6, 6)
    here(fields, "out", range(3), progress=lambda *now: counts.append(now))
    assert counts[-1] == (0, 0, 0)
    here(fields, "out", range(3), redo="all", progress=lambda *now: counts.append(now))
    assert counts[-1] == (12, 12, 6)


def test_one_bad_run_does_not_take_its_task_along(monkeypatch):
    """A start from which nothing moves: only that run fails, and the others are as alone."""
    real = simsim.sweeps.compute.simulate

    def fails(config):
        if config.seed == 1:
            raise ArithmeticError("it does not vary, over the batch")
        return real(config)
    whole = here(SMALL, "whole", range(3))
    monkeypatch.setattr("simsim.sweeps.compute.simulate", fails)
    monkeypatch.setattr("simsim.sweeps.compute.simulate_many", lambda *_, **__: 1 / 0)
    table = here(SMALL, "out", range(3))
    assert table["status"].tolist() == 4 * [DONE, FAILED, DONE]
    assert np.array_equal(table["beta_1"][::3], whole["beta_1"][::3])
    assert table["message"][1] == "ArithmeticError: it does not vary, over the batch"
    assert "does not vary; over" in text("out/table.csv")


def test_trajectories_are_kept_where_asked():
    table = here({**SMALL, "d": 6, "alpha_ratio": 2.0}, "out", range(2), trajectories=True)
    runs = [Trajectory.load(f"out/trajectories/{name}") for name in os.listdir("out/trajectories")]
    assert sorted(run.config.seed for run in runs) == [0, 1]
    first = min(runs, key=lambda run: run.config.seed)
    assert first.head[-1, 0, 1] != 0 and np.abs(first.head).max() >= table["head_peak"][0]


# ---- killed, resumed, in any order ---------------------------------------------

@pytest.mark.parametrize("rows", [0, 40])
def test_killed_and_resumed_it_is_the_table_of_an_undisturbed_sweep(rows, undisturbed):
    with started(rows) as process:
        workers = children(process.pid)
        process.kill()
    kept = text("out/rows.jsonl") if rows else ""
    wait_until_gone(workers)  # orphans would go on computing
    assert subprocess.run(COMMAND, stderr=subprocess.PIPE, check=True, text=True).stderr.count("\n") == 1
    assert text("out/rows.jsonl").startswith(kept) and number_of_rows() == 80
    assert same(here(LONG, "out"), undisturbed)  # all there: nothing is computed


def test_a_signal_keeps_what_has_come():
    with started(16) as process:
        workers = children(process.pid)
        process.terminate()
        error = process.stderr.read()
    assert process.returncode == 130 and error.count("\n") == 1 and "the same command goes on" in error
    assert 16 <= number_of_rows() < 80 and text("out/table.csv").count("\n") == number_of_rows() + 1
    wait_until_gone(workers)
    assert lock.NAME not in os.listdir("out")


def test_a_half_written_last_line_is_done_again():
    whole = here(SMALL, "out")
    lines = text("out/rows.jsonl").splitlines(keepends=True)
    for tail in ("", lines[-1][:1], lines[-1][:-1], "\0" * 40 + "\n"):
        Path("out/rows.jsonl").write_text("".join(lines[:-1]) + tail)
        done = []
        assert same(here(SMALL, "out", progress=lambda *now: done.append(now)), whole)
        assert done[0] == (0, 1, 0) and done[-1] == (1, 1, 0)
        assert [json.loads(line)["key"] for line in text("out/rows.jsonl").splitlines()] == [json.loads(line)["key"] for line in lines]


def test_the_table_does_not_depend_on_who_computes_what_in_which_order():
    class Backwards(Executor):
        """Computes what it was given last first."""

        def __init__(self):
            self.given = []

        def submit(self, function, task):
            self.given.append((function, task, Future()))
            if len(self.given) == 8:
                for function, task, future in reversed(self.given):
                    future.set_result(function(task))
            return self.given[-1][2]
    fields = {**SMALL, "steps": 100}
    expected = here(fields, "one")
    assert same(simsim.sweep(fields, "two", seeds=SEEDS, executor=Backwards(), workers=8), expected)
    assert same(simsim.sweep(fields, "three", seeds=SEEDS, workers=2), expected)
    assert text("one/rows.jsonl") != text("two/rows.jsonl")
    tables = [[line.rsplit(",", 1)[0] for line in text(f"{out}/table.csv").splitlines()] for out in ("one", "two", "three")]
    assert tables[0] == tables[1] == tables[2]


def test_shards_merged_are_the_whole():
    whole = here(SMALL, "whole")
    for part in (1, 2, 3):
        here(SMALL, "out", shard=(part, 3))
        if part == 1:
            table, grid = sweeps.merge("out")
            assert 0 < len(table["d"]) < len(grid) == 80
    assert same(sweeps.merge("out")[0], whole)
    counts = []
    assert same(here(SMALL, "out", progress=lambda *now: counts.append(now)), whole) and counts == [(0, 0, 0)]
    os.rename("out/shard-3-of-3", "out/kept")
    here({**SMALL, "steps": 31}, "out", shard=(3, 3))
    with pytest.raises(FolderError, match="different sweeps"):
        sweeps.merge("out")
    with pytest.raises(FolderError, match="no shards"):
        sweeps.merge("whole")


# ---- one folder, one sweep, one process ----------------------------------------

def test_a_folder_of_something_else_is_refused():
    here(SMALL, "out")
    before = text("out/rows.jsonl")
    for other, word in (({**SMALL, "steps": 31}, "steps"), ({**SMALL, "m": 3}, "m"), (SMALL, "seeds")):
        with pytest.raises(FolderError, match=f"another sweep .*{word} = "):
            here(other, "out", range(20 if other is not SMALL else 21))
    os.mkdir("run")
    for name in ("config.json", "rows.jsonl", "table.csv"):
        Path(f"run/{name}").touch()
        with pytest.raises(FolderError, match=f"a {name} of unknown origin"):
            here(SMALL, "run")
        os.unlink(f"run/{name}")
    here(SMALL, "second", range(2))
    os.replace("second/rows.jsonl", "out/rows.jsonl")
    here(SMALL, "out")  # rows of this grid, and the rest is computed
    here({**SMALL, "steps": 31}, "third")
    os.replace("third/rows.jsonl", "out/rows.jsonl")
    with pytest.raises(FolderError, match="rows of another sweep"):
        here(SMALL, "out")
    lines = before.splitlines(keepends=True)
    Path("out/rows.jsonl").write_text(lines[0] + "{rubbish}\n" + lines[1])
    with pytest.raises(FolderError, match="line 2 of rows.jsonl is no row"):
        here(SMALL, "out")


def test_a_second_process_is_refused():
    with started(1):
        with pytest.raises(FolderError, match="another process is at work"):
            here(LONG, "out")
        assert command.main(COMMAND[3:], Interrupts()) == 2


# ---- workers that die ----------------------------------------------------------

def deadly(task):
    """Compute a task, unless it is of d = 9 and ratio 5, which kills its worker."""
    if task.config.d == 9 and task.config.alpha_ratio == 5.0:
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(task)


class Deadly(executors.Processes):
    """Processes in which some tasks kill their worker."""

    def submit(self, function, task):
        return super().submit(deadly, task)


def test_a_cell_that_kills_its_worker_is_named_and_the_others_are_done(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("simsim.sweeps.folder.place", lambda *_: Deadly(2))
        table = simsim.sweep(SMALL, "out", seeds=range(2))
    killers = (table["d"] == 9) & (table["alpha_ratio"] == 5.0)
    assert (table["status"] == np.where(killers, FAILED, DONE)).all()
    assert set(table["message"][killers]) == {f"its worker was killed {work.MOST_KILLS} times"}
    assert same(here(SMALL, "out", range(2), redo="failed"), here(SMALL, "undisturbed", range(2)))


def test_a_worker_killed_from_outside_costs_nothing(undisturbed):
    killed = []

    def kill_one(done, total, failures):
        if done and not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)
    assert same(simsim.sweep(LONG, "out", seeds=SEEDS, workers=2, progress=kill_one), undisturbed)
    assert killed and multiprocessing.active_children() == []


def test_an_executor_of_somebody_else_that_breaks_ends_the_sweep_in_good_order():
    class Broken(Executor):
        def submit(self, function, task):
            raise simsim.sweeps.work.BrokenExecutor
    with pytest.raises(sweeps.SweepError, match="d = 6.*init_seed = 0 to 9"):
        simsim.sweep(SMALL, "out", seeds=SEEDS, executor=Broken())
    assert len(here(SMALL, "out")["d"]) == 80


def environment(task):
    """What a worker inherits."""
    return {name: os.environ.get(name) for name in executors.THREAD_VARIABLES}, signal.getsignal(signal.SIGINT)


def test_workers_have_one_blas_thread_and_leave_signals_to_their_parent(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    with contextlib.closing(executors.Processes(1)) as place:
        theirs, handler = place.submit(environment, None).result()
    assert set(theirs.values()) == {"1"} and handler == signal.SIG_IGN
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"


def test_a_cluster_of_dask_of_which_a_worker_is_killed(undisturbed):
    distributed = pytest.importorskip("distributed", reason="the optional package dask.distributed is not installed")
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]

        def kill_one(done, total, failures):
            if done and pids:
                os.kill(pids[0], signal.SIGKILL)
                pids.clear()
        table = simsim.sweep(LONG, "out", seeds=SEEDS, executor=f"dask:{cluster.scheduler_address}", progress=kill_one)
    assert not pids and same(table, undisturbed)


# ---- the command line ----------------------------------------------------------

BAD = {
    "--grid d=3": "at least m + features",
    "--grid dd=3": "did you mean `d`?",
    "--grid d": "must be FIELD=VALUES",
    "--grid d=6 d=7": "there twice",
    "--grid d=six": "not a list of its values",
    "--grid d=6,6": "the same",
    "--grid d=6 --seeds x": "neither A:B nor A,B,C",
    "--grid d=6 --seeds 5:5": "must be some",
    "--grid d=6 seed=1 init_seed=1 --seeds 0:5": "decide both",
    "--grid d=6 kappa=1 head_lr=1": "one of kappa and head_lr",
    "--grid d=6 --shard 3/2": "not I/N",
    "--grid d=6 --workers 0": "positive",
    "--grid d=6 --executor mpi": "dask:ADDRESS",
    "--grid d=6 --executor dask:nowhere:1": "--executor",
    "--grid d=6 --redo-all --redo-failed": "not allowed with",
    "--grid engine=flow feature_patches=8": "nothing moves",
    "--grid d=6:9:1000000 alpha_ratio=2:9:1000": "more than",
    "--frobnicate": "no such option",
    "--gird d=6": "did you mean --grid?",
    "--merge": "no interrupted run",
    "": "name at least one field",
}


@pytest.mark.parametrize("words, reason", BAD.items())
def test_bad_input_gets_one_line(words, reason, capsys, tmp_path):
    assert command.main([*words.split(), "--out", "out"], Interrupts()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and reason in err
    assert list(tmp_path.iterdir()) == []


def test_what_the_words_of_a_grid_mean(capsys):
    words = "engine=flow d=1e2:1e4:3 kappa=1e-1:1e1:3 m=2:4 stop_gradient=true,false alpha_ratio=20 " \
        "patch_counts=7+4,5+6".split()
    assert command.parse(["--out", "out", "--grid", *words, "--seeds", "3:5"]).fields == {
        "engine": ["flow"], "d": [100, 1000, 10000], "kappa": [0.1, 1.0, 10.0], "m": [2, 3],
        "stop_gradient": [True, False], "alpha_ratio": [20], "patch_counts": [(7, 4), (5, 6)]}
    fields = "engine=gram steps=1e3 batch_size=16 d=6,9".split()
    assert command.main(["--grid", *fields, "--seeds", "0:20", "--dry-run", "--out", "out"], Interrupts()) == 0
    out, _ = capsys.readouterr()
    assert "40 runs in 4 tasks, of which 4 are to do" in out and "about " in out and not os.path.exists("out")


def test_the_name_is_a_function_however_it_is_imported():
    code = ("import simsim.sweep; assert callable(simsim.sweep); from simsim import sweep; assert sweep is simsim.sweep; "
            "import simsim.sweeps; assert sweep is simsim.sweeps.sweep")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_option_that_is_not_in_use_leaves_the_keys_alone():
    """So the rows of a folder outlive a version that adds an option; a value of it makes another run."""
    fields = Config().to_dict()
    older = {name: value for name, value in fields.items() if name != "frequencies"}
    assert sweeps.grid.key(fields) == sweeps.grid.key(older) != sweeps.grid.key({**fields, "frequencies": (0.5, 0.5)})


# ---- how a run ended -------------------------------------------------------------

@pytest.mark.parametrize("rows, end", [(FOUR_PHASES, outcome.ALL), (COLLAPSE, outcome.DIMENSIONAL),
                                       (FOUR_PHASES[:2], outcome.PART), (FOUR_PHASES[:1], outcome.NOTHING)])
def test_how_a_run_of_sgd_ended(rows, end):
    row = outcome.of_run(story(rows))
    assert row["end"] == end and row["effective_rank"] == story(rows).effective_rank[-1]
    assert row["success"] == (end == outcome.ALL)


def test_weights_that_vanish_are_a_complete_collapse():
    run = story(COLLAPSE)
    gone = dataclasses.replace(run, overlaps=run.overlaps * [[[1]], [[1]], [[1e-3]]], gram=run.gram * [[[1]], [[1]], [[1e-6]]])
    assert outcome.of_run(gone)["end"] == outcome.COMPLETE


def test_every_verdict_of_the_flow_is_an_end():
    assert set(outcome.END_OF_FLOW) == {verdict for verdict in flow.VERDICTS if verdict > 0}


@pytest.mark.parametrize("fields", [{"engine": "flow", "d": 100}, {"engine": "gram", "d": 12, "batch_size": 33, "steps": 60}])
@pytest.mark.parametrize("trajectories", [False, True])
def test_a_sweep_goes_on_past_runs_that_take_too_long(fields, trajectories, tmp_path):
    """Their rows say so, and are of those that --redo-failed computes again."""
    late = sweeps.sweep(fields, tmp_path, seeds=range(2), workers=1, seconds=1e-9, trajectories=trajectories)
    assert (late["status"] == "failed").all()
    assert all("stopped by the time limit of 1e-09 s at " in message for message in late["message"])
    whole = sweeps.sweep(fields, tmp_path, seeds=range(2), workers=1, redo="failed", trajectories=trajectories)
    assert (whole["status"] == "done").all()
