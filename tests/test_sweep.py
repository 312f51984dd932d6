"""Many runs: the same table whoever computes it and whatever is killed meanwhile; nothing lost, nothing done twice."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from edited import edits
from stories import COLLAPSE, FOUR_PHASES, story

import simsim
from simsim import Config, ConfigError, Trajectory, find_phases, flow, simulate, sweeps
from simsim.files import lock
from simsim.files.archives import NotARunError
from simsim.folder import FolderError
from simsim.interrupts import Interrupts
from simsim.sweeps import command, estimate, executors, outcome, work
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
    off = np.abs(run.head[:, [0, 1], [1, 0]]).max(axis=1)
    assert last["head_peak"] == off.max() and last["head_end"] == off[-1]
    assert last["asymmetry"] == run.asymmetry[off.argmax()] and last["effective_rank"] == run.effective_rank[-1]


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
    pandas = pytest.importorskip("pandas")
    assert list(pandas.read_csv("out/table.csv").columns) == list(table)


def test_pandas_takes_the_columns_as_they_are():
    pandas = pytest.importorskip("pandas")
    table = here({**SMALL, "lr": [1e-3, 1e200]}, "out", range(2))
    frame = pandas.DataFrame(table)
    assert list(frame.columns) == list(table) and len(frame) == 16
    assert frame["d"].dtype.kind == "i" and frame["time_1"].dtype.kind == "f"
    assert frame.groupby("lr")["status"].unique().map(list).tolist() == [[DONE], [FAILED]]
    assert frame.groupby("init_seed")["head_peak"].count().tolist() == [4, 4]  # nan where a run failed


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

    def fails(config, **options):
        if config.seed == 1:
            raise ArithmeticError("it does not vary, over the batch")
        return real(config, **options)
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
        assert [json.loads(line)["key"] for line in text("out/rows.jsonl").splitlines()] == [json.loads(line)["key"]
                                                                                             for line in lines]


def test_one_flipped_bit_is_found_or_changes_nothing():
    """A sample of all bits of the rows, each flipped alone; and as the control the lines of older versions, without sums."""
    whole = here({**SMALL, "d": 6}, "out", range(3))
    content, rng = Path("out/rows.jsonl").read_bytes(), np.random.default_rng(1)

    def changed(content, bit):
        """Whether the table of the damaged rows is another one, unnoticed; of rows that are missing nothing is known."""
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        Path("out/rows.jsonl").write_bytes(damaged)
        try:
            rows = sweeps.rows.read(Path("out/rows.jsonl"))[0]
        except NotARunError:
            return False
        grid = sweeps.Grid({**SMALL, "d": 6}, range(3))
        rows = {key: row for key, row in rows.items() if key in grid.keys}
        there = np.isin(grid.keys, list(rows))
        return not same(sweeps.table.columns(grid, rows), {name: column[there] for name, column in whole.items()})
    bits = rng.choice(8 * len(content), 600, replace=False)
    assert not any(changed(content, bit) for bit in bits)
    old = b"".join(re.sub(rb', "crc32": "[0-9a-f]{8}"', b"", line) for line in content.splitlines(keepends=True))
    assert sum(changed(old, bit) for bit in rng.choice(8 * len(old), 200, replace=False)) > 20
    Path("out/rows.jsonl").write_bytes(old)
    done = []
    assert same(here({**SMALL, "d": 6}, "out", range(3), progress=lambda *now: done.append(now)), whole) and done == [(0, 0, 0)]


def test_a_sum_that_does_not_fit_is_refused_by_its_line_and_without_the_line_the_run_is_done_again():
    whole = here(SMALL, "out", range(3))
    lines = text("out/rows.jsonl").splitlines(keepends=True)
    altered = lines[1].replace('"success": ', '"success":  ')
    Path("out/rows.jsonl").write_text("".join([lines[0], altered, *lines[2:]]))
    with pytest.raises(FolderError, match="line 2 of rows.jsonl is no row.*without that line its run is computed again"):
        here(SMALL, "out", range(3))
    Path("out/rows.jsonl").write_text("".join([lines[0], *lines[2:]]))
    done = []
    assert same(here(SMALL, "out", range(3), progress=lambda *now: done.append(now)), whole) and done[-1] == (1, 1, 0)


def test_a_sweep_over_tuples_goes_on_in_its_folder():
    fields = {**SMALL, "d": 6, "strengths": [(5.0, 1.0), (3.0, 1.0)], "alpha_ratio": 20.0}
    whole, counts = here(fields, "out", range(2)), []
    assert same(here(fields, "out", range(2), progress=lambda *now: counts.append(now)), whole) and counts == [(0, 0, 0)]
    with pytest.raises(FolderError, match="another sweep .*strengths"):
        here({**fields, "strengths": [(5.0, 1.0), (4.0, 1.0)]}, "out", range(2))


def test_edits_by_hand_are_refused_in_a_line_or_do_no_harm(capsys):
    """sweep.json and a row of an older version, without its sum, altered in one place, 60 times each; and the merging of shards."""
    words = "engine=gram steps=3 batch_size=16 d=6 strengths=5+1,3+1".split()
    there, rng = ["--grid", *words, "--seeds", "0:2", "--quiet", "--workers", "1", "--out", "out"], np.random.default_rng(2)
    assert command.main([*there, "--shard", "1/1"], Interrupts()) == 0
    os.rename("out/shard-1-of-1", "whole")
    first, *others = text("whole/rows.jsonl").splitlines()
    first = re.sub(', "crc32": "[0-9a-f]{8}"', "", first)
    cases = [("sweep.json", json.dumps(edit)) for edit in edits(json.loads(text("whole/sweep.json")), rng, 60)]
    cases += [("rows.jsonl", "\n".join([json.dumps(edit), *others, ""])) for edit in edits(json.loads(first), rng, 60)]
    statuses = []
    for name, content in cases:
        for folder in ("one", "shards/shard-1-of-1"):
            shutil.rmtree(folder.partition("/")[0], ignore_errors=True)
            shutil.copytree("whole", folder)
            Path(folder, name).write_text(content)
        merge = ["--merge", "--quiet", "--out", "shards"]
        for argv in ([*there[:-1], "one", "--dry-run"], merge) if name == "sweep.json" else ([*there[:-1], "one"], merge):
            capsys.readouterr()
            statuses.append(command.main(argv, Interrupts()))
            err = capsys.readouterr().err
            assert statuses[-1] in (0, 2) and err.count("\n") == (statuses[-1] == 2 or argv == merge), (content, err)
    assert 40 < statuses.count(2) < len(statuses)


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


def test_merging_never_puts_a_failed_run_in_the_place_of_a_done_one():
    """Whichever of the two is in the shard, and whichever in the folder already."""
    whole = here(SMALL, "whole", range(2))
    here(SMALL, "out", range(2), shard=(1, 1))
    done = sweeps.rows.read(Path("out/shard-1-of-1/rows.jsonl"))[0]
    failed = dict.fromkeys(done, outcome.failed("it was too much"))
    for before, in_shard, status in ((failed, done, DONE), (done, failed, DONE), (failed, failed, FAILED), ({}, failed, FAILED)):
        sweeps.rows.rewrite(Path("out/shard-1-of-1/rows.jsonl"), in_shard)
        sweeps.merge("out")  # which makes the folder a sweep's
        sweeps.rows.rewrite(Path("out/rows.jsonl"), before)
        table, _ = sweeps.merge("out")
        assert set(table["status"]) == {status} and (status == FAILED or same(table, whole))


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


class Failing(Executor):
    """A place that computes some tasks and then fails, though no task does."""

    def __init__(self, works, error):
        self.left, self.error = works, error

    def submit(self, function, task):
        future, self.left = Future(), self.left - 1
        future.set_result(function(task)) if self.left >= 0 else future.set_exception(self.error)
        return future


@pytest.mark.parametrize("error", [CancelledError(), ModuleNotFoundError("No module named 'simsim'"), MemoryError(),
                                   TypeError("cannot pickle"), OSError("two\nlines")])
def test_a_place_that_fails_is_not_a_run_that_failed(error):
    """Nothing is known of the runs that it had: they get no row, and the same call goes on."""
    with pytest.raises(sweeps.SweepError, match=rf"{type(error).__name__}.*d = 6.*20 of 80 runs are kept.*goes on") as raised:
        simsim.sweep(SMALL, "out", seeds=SEEDS, executor=Failing(2, error), workers=1)
    assert "\n" not in str(raised.value)
    assert [row["status"] for row in sweeps.rows.read(Path("out/rows.jsonl"))[0].values()] == 20 * [DONE]
    assert same(here(SMALL, "out"), here(SMALL, "undisturbed"))


def test_what_a_broken_place_had_ready_is_kept():
    """The futures that are done when another fails."""
    class AtOnce(Failing):
        def submit(self, function, task):
            self.given = [*getattr(self, "given", []), (super().submit(function, task), Future())]
            if len(self.given) == 3:
                for computed, future in self.given:
                    future.set_exception(self.error) if computed.exception() else future.set_result(computed.result())
            return self.given[-1][1]
    with pytest.raises(sweeps.SweepError, match="20 of 80 runs are kept"):
        simsim.sweep(SMALL, "out", seeds=SEEDS, executor=AtOnce(2, MemoryError()), workers=3)


def test_a_task_of_which_a_cluster_says_that_it_kills_workers_has_failed():
    place = executors.Given(Failing(7, ZeroDivisionError("four workers")), 1)
    place.gave_up = (ZeroDivisionError,)
    came = []
    work.work(sweeps.folder.part_of(sweeps.Grid(SMALL, SEEDS), None), place, lambda *now: came.append(now))
    assert [row["status"] for _, rows, _ in came for row in rows] == 70 * [DONE] + 10 * [FAILED]
    assert came[-1][1][0]["message"] == "ZeroDivisionError: four workers"


def test_a_script_without_a_guard_is_told_so_in_a_line():
    Path("script.py").write_text(f"import simsim\nsimsim.sweep({SMALL!r}, 'out', seeds=range(2), workers=2)\n")
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].endswith(
        'no worker came to work; a script that starts a sweep must do so under `if __name__ == "__main__":`, for every '
        'worker reads it anew')
    assert number_of_rows() == 0 and len(here(SMALL, "out", range(2))["d"]) == 8


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
    import distributed  # here, since it takes a second
    with distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]

        def kill_one(done, total, failures):
            if done and pids:
                os.kill(pids[0], signal.SIGKILL)
                pids.clear()
        table = simsim.sweep(LONG, "out", seeds=SEEDS, executor=f"dask:{cluster.scheduler_address}", progress=kill_one)
    assert not pids and same(table, undisturbed)


def dask_process(*words):
    return subprocess.Popen([sys.executable, "-m", "dask", *words, "--scheduler-file", "scheduler.json"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_cluster_of_dask_whose_scheduler_dies(capsys):
    """No row is written of what was under way, the status is 3 and the line one; the same command goes on."""
    pytest.importorskip("distributed", reason="the optional package dask.distributed is not installed")
    with dask_process("scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1") as scheduler, dask_process(
            "worker", "--nthreads", "1", "--no-dashboard", "--no-nanny", "--death-timeout", "60") as worker:
        try:
            deadline = time.monotonic() + 60
            while not os.path.exists("scheduler.json"):
                assert time.monotonic() < deadline and scheduler.poll() is None
                time.sleep(0.05)
            address = json.loads(text("scheduler.json"))["address"]
            with subprocess.Popen([*COMMAND, "--executor", f"dask:{address}"], stderr=subprocess.PIPE, text=True) as process:
                while number_of_rows() < 10:
                    assert time.monotonic() < deadline and process.poll() is None
                    time.sleep(0.01)
                scheduler.kill()
                error = process.stderr.read()
        finally:
            scheduler.kill()
            worker.kill()
    kept = number_of_rows()
    assert process.returncode == 3 and error.count("\n") == 1, error
    assert "the executor failed" in error and f"{kept} of 80 runs are kept, and the same command goes on" in error
    assert 10 <= kept < 80 and {row["status"] for row in sweeps.rows.read(Path("out/rows.jsonl"))[0].values()} == {DONE}
    assert subprocess.run(COMMAND, stderr=subprocess.DEVNULL).returncode == 0
    assert same(here(LONG, "out"), here(LONG, "undisturbed"))


def test_a_cluster_is_waited_for_a_few_seconds(monkeypatch, capsys):
    """A client that notes how long it would wait; without a word of ours Dask's waits for 30 s."""
    waited = []

    class Client:
        def __init__(self, address, timeout=30):
            waited.append((address, timeout))
            raise TimeoutError("nobody there")
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(Client=Client, KilledWorker=RuntimeError))
    assert command.main(["--grid", "d=6", "--executor", "dask:nowhere:1", "--out", "out"], Interrupts()) == 2
    err = capsys.readouterr().err
    assert waited == [("nowhere:1", 5)] and err.count("\n") == 1 and "nobody there" in err and not os.path.exists("out")


# ---- disks and files -----------------------------------------------------------

@pytest.mark.parametrize("full", ["rows", "trajectory", "table"])
def test_a_disk_that_is_full_in_the_middle_keeps_what_came(full, monkeypatch, capsys):
    """Some of the rows are written and the next is not, or only half of it; then there is room again."""
    def append(file, new):
        if number_of_rows() >= 20:
            file._file.write(b'{"key": "half of a row')
            file._file.flush()
            raise OSError(28, "No space left on device")
        real(file, new)
    def refuse(*_):
        if number_of_rows() >= (80 if full == "table" else 20):
            raise OSError(28, "No space left on device")
        return there(*_)
    real = sweeps.rows.RowFile.append
    argv = [*COMMAND[3:], "--quiet", *["--trajectories"] * (full == "trajectory")]
    argv[argv.index("steps=400")] = "steps=30"
    with monkeypatch.context() as patch:
        if full == "rows":
            patch.setattr(sweeps.rows.RowFile, "append", append)
        elif full == "trajectory":
            there = Trajectory.save
            patch.setattr(Trajectory, "save", refuse)
        else:
            there = sweeps.table.write
            patch.setattr(sweeps.table, "write", refuse)
        assert command.main(argv, Interrupts()) == 3
    kept, err = number_of_rows(), capsys.readouterr().err
    assert err.count("\n") == 1 and "No space left on device" in err and kept >= 20
    assert f"{kept} of 80 runs are kept, and the same command goes on" in err
    assert command.main(argv, Interrupts()) == 0 and number_of_rows() == 80
    assert same(here(SMALL, "out", trajectories=full == "trajectory"), here(SMALL, "undisturbed"))


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limits of file sizes here")
def test_a_file_that_cannot_grow_keeps_what_it_has():
    """The system's own refusal, which comes again when the file is closed."""
    import resource
    command = [word if word != "steps=400" else "steps=30" for word in COMMAND]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (15000, 15000)))
    kept = len(sweeps.rows.read(Path("out/rows.jsonl"))[0])
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and 0 < kept < 80, done.stderr
    assert "File too large" in done.stderr and "of 80 runs are kept, and the same command goes on" in done.stderr
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0 and number_of_rows() == 80


def test_what_a_killed_process_left_half_written_is_removed():
    fields = {**SMALL, "d": 6, "alpha_ratio": 2.0}
    here(fields, "out", range(2), trajectories=True)
    names = set(os.listdir("out/trajectories"))
    for name in (f"trajectories/{min(names)}.part123", "table.csv.part7", "trajectories/mine.npz.part1", "trajectories/x.partly"):
        Path("out", name).write_text("half of it")
    here(fields, "out", range(2), trajectories=True)
    assert set(os.listdir("out/trajectories")) == {*names, "mine.npz.part1", "x.partly"}
    assert set(os.listdir("out")) == {"rows.jsonl", "sweep.json", "table.csv", "trajectories"}


def test_rows_are_on_the_disk_before_anybody_is_told(monkeypatch):
    """At every call of `progress` the file as the system has it holds all rows, and was synced since it last grew."""
    synced, real = {}, os.fsync

    def fsync(descriptor):
        real(descriptor)
        synced[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    def told(done, total, failures):
        status = os.stat("out/rows.jsonl")
        assert number_of_rows() == done and (not done or synced.get(status.st_ino) == status.st_size)
        counts.append(done)
    counts = []
    monkeypatch.setattr(os, "fsync", fsync)
    here(SMALL, "out", range(3), progress=told)
    assert counts[0] == 0 and counts[-1] == 12


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


@pytest.mark.parametrize("lrs, said", [("1e-3", "8 of 8 runs, after"), ("1e-3,1e200", "16 of 16 runs, 8 of them failed")])
def test_the_last_line_counts_the_runs_that_failed(lrs, said, capsys):
    words = f"engine=gram steps=30 batch_size=16 d=6,9 lr={lrs}".split()
    assert command.main(["--grid", *words, "--seeds", "0:4", "--workers", "1", "--out", "out"], Interrupts()) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and said in err and ("--redo-failed" in err) == ("," in lrs)


def test_what_ends_a_sweep_is_told_by_the_exit_status(monkeypatch, capsys):
    """2 for what was asked and cannot be, 3 for what was begun and is not finished, 130 for a signal."""
    for error, status in ((FolderError("it is taken"), 2), (sweeps.GridError("no"), 2), (sweeps.ExecutorError("no"), 2),
                          (sweeps.SweepError("broken"), 3), (KeyboardInterrupt(), 130)):
        def raises(*_, **__):
            raise error
        monkeypatch.setattr(sweeps, "sweep", raises)
        assert command.main(["--grid", "d=6", "--out", "out"], Interrupts()) == status
        assert capsys.readouterr().err.count("\n") == 1


def test_how_long_it_may_take():
    """Of 8 tasks of 10 runs, a run took 3 s: with 4 at a time 60 s and the start; more workers than tasks do not help."""
    tasks = sweeps.folder.part_of(sweeps.Grid(SMALL, SEEDS), None)
    known = {"a": {"wall_s": 2.0}, "b": {"wall_s": 4.0}, "c": {}}
    for width, expected in ((1, 240), (4, 60), (8, 30), (100, 30)):
        seconds, basis = estimate.seconds(tasks, known, width)
        assert seconds == expected + estimate.START_SECONDS and basis == "as 2 runs have taken"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("words", ["sweep --grid d=6 --seeds 0:2 --out out --dry-run", "sweep --help", "study --help",
                                   "run --help", "run --version"])
def test_a_stdout_that_fails_costs_nothing(words):
    """A full disk is said in a line; a reader that has gone, as under `| true`, in none."""
    command = [sys.executable, "-m", f"simsim.{words.split()[0]}", *words.split()[1:]]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "simsim: stdout: No space left on device\n")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_name_is_a_function_however_it_is_imported():
    code = ("import simsim.sweep; assert callable(simsim.sweep); from simsim import sweep; assert sweep is simsim.sweep; "
            "import simsim.sweeps; assert sweep is simsim.sweeps.sweep")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_option_that_is_not_in_use_leaves_the_keys_alone():
    """So the rows of a folder outlive a version that adds an option; a value of it makes another run."""
    fields = Config().to_dict()
    older = {name: value for name, value in fields.items() if name != "frequencies"}
    assert sweeps.grid.key(fields) == sweeps.grid.key(older) != sweeps.grid.key({**fields, "frequencies": (0.5, 0.5)})


def test_what_is_left_of_the_head_is_read_at_the_end_of_phase_three():
    run = story(FOUR_PHASES)
    phases, off = find_phases(run), np.abs(run.head[:, [0, 1], [1, 0]]).max(axis=1)
    learned = int(np.flatnonzero(run.ticks == phases.weak_learned.step)[0])
    assert outcome.of_run(run)["head_left"] == off[learned] / off.max()
    assert np.isclose(outcome.of_run(run)["asymmetry"], 1.414214) and run.asymmetry[-1] == 0  # that of the peak
    assert off[learned] not in (off[int(np.flatnonzero(run.ticks == phases.substituted.step)[0])], off[-1])


def test_flows_of_a_batch_have_each_their_own_numbers():
    """Starts that end in different ways: rank, head and neurons are those of the flow alone."""
    fields = {"engine": "flow", "d": 10**4, "kappa": 1.0, "feature_patches": 4}
    table = here(fields, "out", [1, 3])
    assert table["effective_rank"][0] > 1.9 and table["effective_rank"][1] < 1.1
    for row, seed in enumerate(table["init_seed"]):
        run = flow.follow(Config(engine="flow", d=10**4, lr=1.0, head_lr=1.0, feature_patches=4, init_seed=int(seed)))
        off = np.abs(run.head[:, [0, 1], [1, 0]]).max(axis=1)
        assert np.isclose(table["effective_rank"][row], run.effective_rank[-1], rtol=1e-3)
        assert np.isclose(table["head_peak"][row], off.max(), rtol=1e-2)
        left = find_phases(run).head_left
        assert np.isclose(table["head_left"][row], np.nan if left is None else left, rtol=1e-3, equal_nan=True)


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


@pytest.mark.parametrize("fields", [{"engine": "flow", "d": [100, 10**6]}, {"engine": "gram", "steps": [10, 20]},
                                    {"engine": "flow", "init_seed": [3, 4]}])
def test_a_task_knows_the_config_of_each_of_its_runs(fields):
    grid = sweeps.Grid(fields, range(3))
    known = {key: Config.from_dict(run) for key, run in grid.runs()}
    tasks = list(grid.tasks())
    assert sum(len(task.keys) for task in tasks) == len(known)
    assert all(config == known[key] for task in tasks for key, config in zip(task.keys, task.configs()))


@pytest.mark.parametrize("seed", [-1, 0.5, "1"])
def test_a_seed_that_cannot_be_is_refused_before_anything_is_computed(seed):
    with pytest.raises(ConfigError, match="seed"):
        sweeps.Grid({"engine": "gram"}, [0, seed])


def test_seeds_are_several(tmp_path):
    with pytest.raises(sweeps.GridError, match="`seeds` must be several seeds, such as range.10., got 3"):
        simsim.sweep({"d": 12}, tmp_path / "out", seeds=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", [None, range(3)])
def test_a_table_is_made_of_each_of_its_runs(seeds, monkeypatch):
    """Columns are made cell by cell and written in pieces: every line has its own run's fields and outcome, whoever is missing."""
    grid = sweeps.Grid({"engine": "flow", "m": [2, 3], "strengths": [(5.0, 1.0), None], "d": [100, 10**6], "init_seed": [4, 7]}
                       | ({} if seeds else {"seed": 3}), seeds)
    assert grid.keys == [sweeps.grid.key(fields) for _, fields in grid.runs()] and len(set(grid.keys)) == len(grid)
    outcomes = [{"status": FAILED, "message": 'a "#1", failed'} if i % 5 == 3 else
                {"status": DONE, "message": "", "success": i % 2 == 0, "times": [0.1 * i] * 4, "observed": [i % 3 == 0] * 4,
                 "betas": [i / 7] * fields["m"], "fates": [i] * fields["m"], "head_left": None if i % 4 else 1 / (i + 1)}
                for i, (_, fields) in enumerate(grid.runs())]
    known = {key: row for i, (key, row) in enumerate(zip(grid.keys, outcomes)) if i % 6 != 4}
    table = sweeps.table.columns(grid, known)
    monkeypatch.setattr(sweeps.table, "TOGETHER", 5)
    sweeps.table.write("table.csv", table)
    names, *lines = [line.split(",") for line in text("table.csv").splitlines()]
    runs = [(fields, known[key]) for key, fields in grid.runs() if key in known]
    assert names == list(table) and len(lines) == len(runs) > 5

    def number(value):
        return "" if value is None else repr(float(value))

    for line, (fields, row) in zip(lines, runs):
        cell = dict(zip(names, line))
        failed = row["status"] == FAILED
        strengths = "" if fields["strengths"] is None else "5.0 1.0"
        assert (cell["m"], cell["strengths"]) == (str(fields["m"]), strengths)
        assert [int(cell[name]) for name in ("d", "seed", "init_seed")] == [fields[name] for name in ("d", "seed", "init_seed")]
        assert cell["kappa"] == repr(fields["head_lr"] / fields["lr"]) and cell["status"] == row["status"]
        assert cell["message"] == ("a 'no.1'; failed" if failed else "") and cell["success"] == str(row.get("success", False))
        assert cell["head_left"] == number(row.get("head_left")) and cell["wall_s"] == ""
        for j in range(3):
            there = not failed and j < fields["m"]
            assert cell[f"beta_{j + 1}"] == number(row["betas"][j] if there else None)
            assert cell[f"fate_{j + 1}"] == number(row["fates"][j] if there else None)
        assert cell["time_4"] == number(None if failed else row["times"][3]) and cell["observed_4"] == str(
            not failed and row["observed"][3])


def test_a_folder_keeps_the_cut_it_began_with():
    """Of a sweep of an older version, which says nothing of it, 100 flows are computed together, as then; also in its shards."""
    class Counting(ThreadPoolExecutor):
        def submit(self, function, task):
            sizes.append(len(task.keys))
            return super().submit(function, task)

    def sizes_of(out, **options):
        sizes.clear()
        with Counting(1) as executor:
            simsim.sweep(fields, out, seeds=range(150), executor=executor, **options)
        return sizes[:]

    def as_of_old(folder):
        values = json.loads(text(f"{folder}/sweep.json"))
        assert values.pop("cut") == 400
        Path(folder, "sweep.json").write_text(json.dumps(values))

    fields, sizes = {"engine": "flow", "t_max": 1e-3}, []
    assert sizes_of("out") == [150] and sizes_of("out") == []
    as_of_old("out")
    for redo in ("unfinished", "all"):
        assert sizes_of("out", redo=redo) == {"unfinished": [], "all": [75, 75]}[redo]
    os.remove("out/rows.jsonl")
    assert sizes_of("out") == [75, 75]
    assert sizes_of("shards", shard=(1, 2)) == [150]
    as_of_old("shards/shard-1-of-2")
    assert sizes_of("shards", shard=(2, 2)) == [75] and json.loads(text("shards/shard-2-of-2/sweep.json"))["cut"] == 100
    grid = sweeps.Grid({"engine": "flow", "m": [3, 4]}, range(401))
    assert [len(task.keys) for task in grid.tasks()] == [201, 200, *[81] * 1, *[80] * 4]
    assert [len(task.keys) for task in grid.tasks(cut=100)] == 2 * [81, 80, 80, 80, 80]
    values = json.loads(text("out/sweep.json"))
    for cut in (99, 400.0, "400", None, [400]):
        Path("out/sweep.json").write_text(json.dumps({**values, "cut": cut}))
        with pytest.raises(FolderError, match="not a sweep's"):
            simsim.sweep(fields, "out", seeds=range(150))
