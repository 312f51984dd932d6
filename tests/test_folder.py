"""The output folder under hard use: two processes, kills, signals at every stage, other versions."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from edited import edits

import simsim
from simsim import Config, Trajectory, folder, run, simulate
from simsim.files import archives, lock
from simsim.files.checkpoint import Checkpoint
from simsim.interrupts import Interrupts
from simsim.sgd.recorder import Recorder
from simsim.sgd import iterate, start

FILES = {"config.json", "trajectory.npz", "report.json", "report.txt", "phases.png", "last.npz"}
UNFINISHED = {"checkpoint.npz", "checkpoint.log"}
SHORT = ["--m", "2", "--alpha-ratio", "20", "--steps", "40", "--batch-size", "32", "--d", "10", "--t-max", "0.1"]
LONG = [*SHORT[:4], "--steps", "1e9", "--batch-size", "16", "--d", "6", "--no-plot"]


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def hang_ups_heeded():
    """Under nohup they are ignored, here and in every process that is started from here."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def listing(path):
    return {file.name for file in path.iterdir()}


@contextlib.contextmanager
def started(*argv):
    """A run in a process of its own, once it trains in the folder `out`; it is killed at the end."""
    with subprocess.Popen([sys.executable, "-m", "simsim.run", *argv, "--out", "out"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not os.path.exists("out/checkpoint.npz"):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


# ---- one process to a folder ---------------------------------------------------

def test_a_folder_in_which_a_process_is_at_work_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "_progress", lambda *_: lambda state: signal.raise_signal(signal.SIGINT))  # if it is not
    with started(*LONG) as process:
        assert run.main(["--resume", "out"]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "--resume out: another process is at work in it" in err
        assert run.main([*SHORT, "--out", "out"]) == 2
        assert "--out out: another process is at work in it" in capsys.readouterr().err
        process.terminate()
        assert "interrupted after step" in process.stderr.read()
    assert process.returncode == 130
    assert listing(tmp_path / "out") == FILES - {"phases.png", "last.npz"} | UNFINISHED


def test_what_a_killed_process_leaves_is_no_hindrance(tmp_path):
    with started(*LONG):
        pass
    assert lock.NAME in listing(tmp_path / "out")
    for name in ("trajectory.npz.part12345", "config.json.part7", "checkpoint.npz.part1"):
        (tmp_path / "out" / name).write_text("half of it")
    (tmp_path / "out/report.txt.partly").write_text("the user's")
    with folder.hold("out", make=False):
        assert folder.resume_folder("out").config.steps == 10**9
    assert listing(tmp_path / "out") == {"config.json", "report.txt.partly", *UNFINISHED}


def test_two_processes_that_start_together(tmp_path):
    """Whoever is second is refused; what is written is all of one run."""
    for attempt in range(2):
        commands = [[sys.executable, "-m", "simsim.run", *SHORT, "--no-plot", "--seed", seed, "--out", f"out{attempt}"]
                    for seed in "01"]
        both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
        errors = [process.communicate()[1] for process in both]
        codes = [process.returncode for process in both]
        assert sorted(codes) == [0, 2], errors
        winner = codes.index(0)
        written = Trajectory.load(f"out{attempt}/trajectory.npz")
        assert written.config.seed == winner == json.loads((tmp_path / f"out{attempt}/config.json").read_text())[
            "config"]["seed"]
        assert np.array_equal(written.overlaps, simulate(written.config).overlaps)
        assert listing(tmp_path / f"out{attempt}") == FILES - {"phases.png"}


def test_a_lock_keeps_out_another_holder_and_goes_with_its_own(tmp_path):
    with lock.locked(tmp_path):
        with pytest.raises(lock.Locked), lock.locked(tmp_path):
            pass
        assert listing(tmp_path) == {lock.NAME}
    assert listing(tmp_path) == set()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    """Its last holder removes the file between our opening and locking it."""
    real, calls = lock._lock, []

    def late(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            os.unlink(tmp_path / lock.NAME)
        real(descriptor)
    monkeypatch.setattr(lock, "_lock", late)
    with lock.locked(tmp_path):
        assert len(calls) == 2
        with pytest.raises(lock.Locked), lock.locked(tmp_path):
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_does_not_keep_the_lock_of_a_holder_that_is_killed(tmp_path):
    """As the workers of an executor that forks: they go on for a while, and nobody waits for them."""
    code = ("import os, time; from pathlib import Path; from simsim.files import lock\nwith lock.locked(Path()):\n"
            "    os.write(1, b'%d\\n' % os.fork())\n    time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        pids = [int(holder.stdout.readline()), int(holder.stdout.readline())]  # the child says 0
        with pytest.raises(lock.Locked), lock.locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        try:
            os.kill(max(pids), 0)  # the fork is there
            with lock.locked(tmp_path):
                assert listing(tmp_path) == {lock.NAME}
        finally:
            os.kill(max(pids), signal.SIGKILL)


def test_a_fork_that_leaves_does_not_take_the_lock_along(tmp_path):
    """The end of the block in a child is not that of its parent's hold."""
    with lock.locked(tmp_path):
        child = os.fork()
        if not child:
            os._exit(_left_by_a_child(tmp_path))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert listing(tmp_path) == {lock.NAME}
        with pytest.raises(lock.Locked), lock.locked(tmp_path):
            pass


def _left_by_a_child(tmp_path):
    """0 where a child sees its parent's lock as another's."""
    try:
        with lock.locked(tmp_path):
            return 1
    except lock.Locked:
        return 0


def test_where_there_are_no_locks_nothing_is_held_and_nothing_is_wrong(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")
    monkeypatch.setattr(lock.fcntl, "flock", none)
    with lock.locked(tmp_path), lock.locked(tmp_path):
        pass

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(lock.fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"), lock.locked(tmp_path):
        pass


def test_the_file_of_a_lock_is_removed_while_the_lock_is_held(tmp_path, monkeypatch):
    """Else it may be that of the next holder."""
    held, real = [], lock._remove

    def remove(path):
        with open(path) as file:
            try:
                lock.fcntl.flock(file, lock.fcntl.LOCK_EX | lock.fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
        real(path)
    monkeypatch.setattr(lock, "_remove", remove)
    with lock.locked(tmp_path):
        pass
    assert held == [lock.NAME] and listing(tmp_path) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), SystemExit])
def test_a_file_that_is_not_finished_leaves_nothing(tmp_path, error):
    (tmp_path / "name").write_text("before")
    with pytest.raises(type(error) if isinstance(error, OSError) else error):
        with archives.open_atomically(tmp_path / "name") as file:
            file.write("half of it")
            raise error
    assert listing(tmp_path) == {"name"} and (tmp_path / "name").read_text() == "before"


def test_a_checkpoint_goes_before_its_log(tmp_path, monkeypatch):
    """Killed between the two, a folder has a log that means nothing, and no checkpoint without one."""
    real = os.replace

    def killed(*paths):
        real(*paths)
        raise KeyboardInterrupt
    for name in UNFINISHED:
        (tmp_path / name).touch()
    monkeypatch.setattr(folder.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.close_folder(tmp_path)
    assert listing(tmp_path) == {"checkpoint.log", "last.npz"}


# ---- checkpoints ---------------------------------------------------------------

EVERY = Config(steps=3000, batch_size=16, d=10, log_every=1)


def trained(path, *stops):
    """The Checkpoint of EVERY at `path`, saved after each of the steps `stops`, and the archive's size each time."""
    checkpoint, sizes = Checkpoint(path, Recorder([EVERY]), start([EVERY])), []
    for state in iterate(checkpoint.state):
        checkpoint.recorder.see(state)
        if state.step in stops:
            checkpoint.save()
            sizes.append(path.stat().st_size)
        if state.step == stops[-1]:
            return checkpoint, sizes


def test_a_checkpoint_does_not_write_the_log_again(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: written.append(os.stat(descriptor)))
    _, sizes = trained(tmp_path / "checkpoint.npz", 10, 2000, 2001)
    assert sizes[1] == sizes[2] < sizes[0] + 100  # one more digit
    logs = written[::2]  # of a save, the log is first
    assert len({log.st_ino for log in logs}) == 1  # one file, which grows by what is new
    row = 8 * (1 + 1 + 4 + 4 + 4 + 1)  # steps, time, overlaps, gram, head, batch loss
    assert [log.st_size for log in logs] == [11 * row, 2001 * row, 2002 * row]


def test_rows_that_no_checkpoint_counts_are_not_believed(tmp_path):
    """As after a kill between the log and the state, and after a disk that was full for a while."""
    path = tmp_path / "checkpoint.npz"
    checkpoint, _ = trained(path, 10, 20)
    with open(tmp_path / "checkpoint.log", "ab") as file:
        file.write(b"rows of a step that was never counted" * 100)
    for resumed in (checkpoint, Checkpoint.load(path)):
        for state in iterate(resumed.state):
            resumed.recorder.see(state)
            if state.step == 30:
                break
        resumed.save()
        again = Checkpoint.load(path)
        for state in iterate(again.state):
            again.recorder.see(state)
        assert np.array_equal(again.recorder.trajectories()[0].overlaps, simulate(EVERY).overlaps)
        checkpoint, _ = trained(path, 10, 20)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, capsys, monkeypatch):
    """The disk takes half of what is new of the log, in the middle of a run."""
    def on_a_full_disk(checkpoint):
        if checkpoint.state.step == 20:
            with open("out/checkpoint.log", "ab") as file:
                file.write(b"half of a row")
            raise OSError(28, "No space left on device")
        save(checkpoint)
    save = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(folder, "CHECKPOINT_SECONDS", 0)
        patch.setattr(Checkpoint, "save", on_a_full_disk)
        assert run.main([*SHORT, "--out", "out"]) == 3
    assert capsys.readouterr().err == ("simsim: out: No space left on device; "
                                       "go on with: python -m simsim.run --resume out\n")
    assert run.main(["--resume", "out"]) == 0
    assert run.main([*SHORT, "--out", "whole"]) == 0
    assert the_same_as_whole(tmp_path) == [True] * 4


# ---- signals -------------------------------------------------------------------

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@pytest.fixture
def whole():
    assert run.main([*SHORT, "--out", "whole"]) == 0


def interrupting(function, number):
    def interrupted(*args, **options):
        signal.raise_signal(number)
        time.sleep(0.01)
        return function(*args, **options)
    return interrupted


def the_same_as_whole(tmp_path):
    return [(tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in
            ("trajectory.npz", "report.json", "report.txt", "phases.png")]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_training(tmp_path, capsys, monkeypatch, whole, number):
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", lambda *_: lambda state: state.step == 15 and signal.raise_signal(number))
        assert run.main([*SHORT, "--out", "out"]) == 130
    assert "interrupted after step 15 of 40; go on with" in capsys.readouterr().err
    assert listing(tmp_path / "out") == FILES - {"last.npz"} | UNFINISHED
    assert run.main(["--resume", "out"]) == 0
    assert the_same_as_whole(tmp_path) == [True] * 4


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_the_flow_beside(tmp_path, capsys, monkeypatch, whole, number):
    """All steps are done: the results are written without the flow, and resuming adds it."""
    with monkeypatch.context() as patch:
        patch.setattr(simsim.flow, "follow", interrupting(simsim.flow.follow, number))
        assert run.main([*SHORT, "--out", "out"]) == 130
    assert capsys.readouterr().err.endswith(
        "interrupted during the flow beside the run; go on with: python -m simsim.run --resume out\n")
    assert listing(tmp_path / "out") == FILES - {"last.npz"} | UNFINISHED
    assert the_same_as_whole(tmp_path)[:2] == [True, False]
    assert run.main(["--resume", "out"]) == 0
    assert the_same_as_whole(tmp_path) == [True] * 4 and listing(tmp_path / "out") == FILES


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_during_plotting(tmp_path, capsys, monkeypatch, whole, number):
    with monkeypatch.context() as patch:
        patch.setattr(simsim.plots, "phases", interrupting(simsim.plots.phases, number))
        assert run.main([*SHORT, "--out", "out"]) == 130
    assert "interrupted before the picture was drawn; go on with" in capsys.readouterr().err
    assert listing(tmp_path / "out") == FILES - {"phases.png", "last.npz"} | UNFINISHED
    assert run.main(["--resume", "out"]) == 0
    assert the_same_as_whole(tmp_path) == [True] * 4 and listing(tmp_path / "out") == FILES


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_results_are_written_does_not_tear_them(tmp_path, monkeypatch, whole, number):
    monkeypatch.setattr("simsim.folder.find_phases", interrupting(simsim.find_phases, number))
    assert run.main([*SHORT, "--out", "out"]) == 0
    assert the_same_as_whole(tmp_path) == [True] * 4 and listing(tmp_path / "out") == FILES


def test_a_signal_during_the_report_of_a_complete_run_changes_nothing(tmp_path, capsys, monkeypatch, whole):
    before = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    monkeypatch.setattr(simsim.flow, "follow", interrupting(simsim.flow.follow, signal.SIGTERM))
    assert run.main([*SHORT, "--out", "whole"]) == 130
    assert capsys.readouterr().err.endswith("simsim: interrupted\n")
    assert {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()} == before


def test_a_signal_during_a_run_of_the_flow(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(simsim, "simulate", interrupting(simsim.simulate, signal.SIGTERM))
    assert run.main(["--engine", "flow", "--out", "out"]) == 130
    assert capsys.readouterr().err == "simsim: interrupted\n"
    assert listing(tmp_path / "out") == {"config.json"}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("words", [["run", *SHORT], ["sweep", "--grid", "d=6"], ["study", "theorem-3"]])
def test_a_signal_during_the_imports(tmp_path, words, times):
    """A NumPy that sends one, or two, while it is imported."""
    (tmp_path / "slow/numpy").mkdir(parents=True)
    (tmp_path / "slow/numpy/__init__.py").write_text(
        f"import os, signal, sys\nfor _ in range({times}):\n    os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.path.remove({str(tmp_path / 'slow')!r})\ndel sys.modules['numpy']\nimport numpy\n")
    path = os.pathsep.join([str(tmp_path / "slow"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-m", f"simsim.{words[0]}", *words[1:], "--out", "out"], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("simsim: interrupted") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_second_signal_does_not_wait(capsys, monkeypatch):
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.seen
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    steps = []

    def twice(state):
        steps.append(state.step)
        if state.step == 15:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            steps.append("went on")
    monkeypatch.setattr(run, "_progress", lambda *_: twice)
    assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 130
    assert steps[-1] == 15
    assert "interrupted; go on with: python -m simsim.run --resume out" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no terminals that hang up")
def test_hang_ups():
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)  # the terminal's and the shell's
        assert interrupts.seen
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
        assert not interrupts.seen
    finally:
        signal.signal(signal.SIGHUP, before)


# ---- versions and threads ------------------------------------------------------

def test_a_resume_under_another_number_of_threads_says_so(tmp_path, capsys, monkeypatch):
    def stop_at(step):
        return lambda *_: lambda state: state.step == step and signal.raise_signal(signal.SIGINT)

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", stop_at(15))
        assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 130
        assert json.loads((tmp_path / "out/config.json").read_text())["versions"]["blas_threads"] == 3
        patch.setattr(run, "_progress", stop_at(20))
        assert run.main(["--resume", "out", "--no-plot"]) == 130
        assert "resumed under" not in capsys.readouterr().out
        patch.setattr(run, "_progress", stop_at(25))
        patch.setenv("OPENBLAS_NUM_THREADS", "5")
        assert run.main(["--resume", "out", "--no-plot"]) == 130
    said = "resumed under blas_threads 5 after 3: the last bits may not be those of an unbroken run"
    assert capsys.readouterr().out.count(said) == 1
    assert run.main(["--resume", "out", "--no-plot"]) == 0  # under 3 again
    assert capsys.readouterr().out.count(said) == (tmp_path / "out/report.txt").read_text().count(said) == 1
    about = json.loads((tmp_path / "out/config.json").read_text())
    assert about["versions"]["blas_threads"] == 3
    assert [other["blas_threads"] for other in about["resumed_under"]] == [5]


def test_every_resume_under_other_versions_is_kept(tmp_path, monkeypatch):
    """Each once, in the order in which they came, and the one that the run began under."""
    path = tmp_path / "config.json"
    for threads in (3, 5, 7, 5, 3):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", str(threads))
        if path.exists():
            simsim.files.provenance.resume(path, Config())
        else:
            simsim.files.provenance.write(path, Config())
    config, began, others = simsim.files.provenance.read(path)
    assert config == Config() and began["blas_threads"] == 3 and [other["blas_threads"] for other in others] == [5, 7]
    assert [remark.split(":")[0] for remark in simsim.files.provenance.remarks(path)] == [
        "resumed under blas_threads 5 after 3", "resumed under blas_threads 7 after 3"]


@pytest.mark.parametrize("words, threads", [
    (("2", "3", "4"), 2), (("", "3", "4"), 3), (("", "", "4"), 4), (("0", "3", ""), 3), (("two", "-1", "6"), 6)])
def test_blas_threads_by_the_environment(words, threads, monkeypatch):
    """OpenBLAS asks for its own word first, then MKL's, then OpenMP's; what is no number of threads is passed over."""
    for variable, word in zip(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), words):
        monkeypatch.setenv(variable, word)
    assert simsim.files.provenance.blas_threads() == threads


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity to look at")
def test_blas_threads_without_a_word_in_the_environment(monkeypatch):
    for variable in simsim.files.provenance.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "")
    assert simsim.files.provenance.blas_threads() == len(os.sched_getaffinity(0))


# ---- folders that are altered meanwhile ----------------------------------------

@pytest.mark.parametrize("content", [None, "", "{}", "[" * 100000, '{"config": {"m": 1e400}, "versions": {}}'])
def test_a_config_that_is_replaced_during_a_run_takes_nothing_from_it(tmp_path, capsys, monkeypatch, content):
    """The run is written whole; its folder is then refused in a line, as one that is not a run's."""
    def replaced(state):
        if state.step == 15:
            os.unlink("out/config.json")
            if content is not None:
                (tmp_path / "out/config.json").write_text(content)
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", lambda *_: replaced)
        assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 0
    assert Trajectory.load("out/trajectory.npz").steps[-1] == 40 and (tmp_path / "out/report.txt").exists()
    assert "out/config.json was altered meanwhile; what ran is in the other files" in capsys.readouterr().err
    capsys.readouterr()
    assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ("of unknown origin" if content is None else "not a run's") in err


def test_edits_of_a_run_by_hand_are_refused_in_a_line_or_do_no_harm(tmp_path, capsys, monkeypatch):
    """config.json altered in one place of 100: of a run that is complete, and of one that is resumed."""
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", lambda *_: lambda state: state.step == 39 and signal.raise_signal(2))
        assert run.main([*SHORT, "--head", "frozen", "--no-plot", "--out", "half"]) == 130
    monkeypatch.setattr(run, "_flow_beside", lambda *_: None)
    about, statuses = json.loads((tmp_path / "half/config.json").read_text()), []
    about["resumed_under"] = [about["versions"]]
    for edit in edits(about, np.random.default_rng(4), 100):
        shutil.rmtree("out", ignore_errors=True)
        shutil.copytree("half", "out")
        (tmp_path / "out/config.json").write_text(json.dumps(edit))
        capsys.readouterr()
        statuses.append(run.main(["--resume", "out", "--no-plot", "--quiet"]))
        err = capsys.readouterr().err
        assert statuses[-1] in (0, 2) and err.count("\n") == (statuses[-1] == 2), (edit, err)
    assert 20 < statuses.count(2) < 100


# ---- folders that cannot be read -----------------------------------------------

def test_a_config_that_is_a_folder(tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", lambda *_: lambda state: state.step == 15 and signal.raise_signal(2))
        assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 130
    (tmp_path / "out/config.json").unlink()
    (tmp_path / "out/config.json").mkdir()
    (tmp_path / "other/config.json").mkdir(parents=True)
    capsys.readouterr()
    for argv in (["--resume", "out"], [*SHORT, "--out", "other"]):
        assert run.main(argv) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"{argv[-2]} {argv[-1]}: config.json cannot be read: Is a directory" in err


def test_a_folder_that_cannot_be_read(tmp_path, capsys, monkeypatch):
    """The refusal comes from the system: as root there are no such folders."""
    (tmp_path / "out").mkdir()

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", os.fspath(path))
    monkeypatch.setattr(folder.Path, "exists", refuse)
    assert run.main(["--resume", "out"]) == 2
    assert capsys.readouterr().err == "simsim: --resume out: it cannot be read: Permission denied\n"


def test_a_picture_of_the_part_that_ran_does_not_outlive_it(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", lambda *_: lambda state: state.step == 15 and signal.raise_signal(2))
        assert run.main([*SHORT, "--out", "out"]) == 130
    assert run.main(["--resume", "out", "--no-plot"]) == 0
    assert listing(tmp_path / "out") == FILES - {"phases.png"}
