"""The output folder of a run: opened, trained into, resumed, written.

While a run is under way its folder holds config.json and checkpoint.npz; when
it is complete the checkpoint makes way for trajectory.npz, report.json,
report.txt and phases.png. An interrupted run leaves both, so that what there
is can be looked at and the run can go on bit for bit.
"""

import json
import platform
import signal
import threading
import time
from importlib import metadata
from pathlib import Path

import simsim
from simsim.checkpoint import load_checkpoint, save_checkpoint
from simsim.phases import NAMES, find_phases
from simsim.sgd import iterate, start
from simsim.trajectory import NotARunError, Recorder, Trajectory, open_atomically, read_config

CHECKPOINT_SECONDS = 5.0
CONFIG, CHECKPOINT, TRAJECTORY = "config.json", "checkpoint.npz", "trajectory.npz"
RESULTS = (TRAJECTORY, "report.json", "report.txt", "phases.png")


class FolderError(Exception):
    """A folder that cannot serve; the text is one line and says what to do."""


def default_folder(config):
    """runs/ and a name that tells the run from others: what differs from the defaults."""
    name = "_".join(f"{name}-{value}" for name, value in config.changes().items())
    name = name.translate(str.maketrans("", "", "() "))  # strengths are a tuple
    return Path("runs") / (name or "default")


def open_folder(folder, config):
    """Make `folder` ready for a run of `config`; returns recorder and state. Raises FolderError.

    Where the folder holds this very run, complete, the recorder has it and the
    state is its last: nothing is left to train. Any other content is refused.
    """
    folder = Path(folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise FolderError("it is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        finished = _finished_run(folder, config)
        if not finished:
            _write_config(folder, config)
        if config.clock == "time":  # over in a moment: nothing to resume, nothing to keep
            return Recorder([config]), None
        recorder, state = Recorder([config]), start([config])
        if finished:
            recorder, state.step = Recorder.from_trajectory(finished), config.steps
        else:
            recorder.see(state)
            save_checkpoint(folder / CHECKPOINT, recorder, state)
    except OSError as error:
        raise FolderError(f"it cannot be written: {error.strerror or error}") from None
    return recorder, state


def resume_folder(folder):
    """The recorder and state of the interrupted run in `folder`. Raises FolderError."""
    folder = Path(folder)
    if (folder / TRAJECTORY).exists() and not can_resume(folder):
        raise FolderError("the run there is complete; nothing is left to do")
    try:
        recorder, state = load_checkpoint(folder / CHECKPOINT)
    except FileNotFoundError:
        raise FolderError(f"there is no interrupted run: {CHECKPOINT} is missing") from None
    except OSError as error:
        raise FolderError(f"it cannot be read: {error.strerror or error}") from None
    except NotARunError as error:
        raise FolderError(str(error)) from None
    if (folder / CONFIG).exists() and _config_in(folder) != recorder.config:
        raise FolderError(f"{CONFIG} and {CHECKPOINT} are of different runs")
    try:
        _write_config(folder, recorder.config)
    except OSError as error:
        raise FolderError(f"it cannot be written: {error.strerror or error}") from None
    return recorder, state


def train(folder, recorder, state, progress):
    """Run the loop with checkpoints; False if the user interrupted it.

    The first Ctrl-C or SIGTERM waits for the end of the step; a second one does not.
    """
    checkpoint, saved = Path(folder) / CHECKPOINT, time.monotonic()
    with Interrupts() as interrupts:
        for state in iterate(state):
            recorder.see(state)
            progress(state)
            if interrupts.seen or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, recorder, state)
                saved = time.monotonic()
            if interrupts.seen:
                return state.step == recorder.config.steps
    return True


def write_results(folder, run, report, plot=True, flow=None):
    """Write trajectory, report and picture of a Trajectory, each atomically; `flow` is drawn beside it."""
    folder = Path(folder)
    run.save(folder / TRAJECTORY)
    phases = find_phases(run)
    times = {name: end and end._asdict() for name, end in zip(NAMES, phases.ends())}
    _write_json(folder / "report.json", {**report.to_dict(), "phases": times, "missing": phases.missing})
    with open_atomically(folder / "report.txt") as file:
        file.write(f"{report}\n")
    if plot:
        figure = simsim.plots.phases(run, flow=flow)[0].figure
        with open_atomically(folder / "phases.png", "wb") as file:
            figure.savefig(file, format="png", dpi=150)
        simsim.plots.plt.close(figure)


def can_resume(folder):
    """Whether the folder holds a checkpoint."""
    return (Path(folder) / CHECKPOINT).exists()


def close_folder(folder):
    """Mark the run as complete: it has nothing left to resume."""
    (Path(folder) / CHECKPOINT).unlink(missing_ok=True)


def _finished_run(folder, config):
    """The complete Trajectory of `config` in `folder`, None where it is free, FolderError elsewhere."""
    if can_resume(folder):
        raise FolderError("it holds an interrupted run; go on with --resume, or choose another folder")
    if not (folder / CONFIG).exists():
        taken = [name for name in RESULTS if (folder / name).exists()]
        if taken:
            raise FolderError(f"it holds a {taken[0]} of unknown origin; choose another folder")
        return None
    other = _config_in(folder)
    if other != config:
        theirs, ours = other.to_dict(), config.to_dict()
        different = ", ".join(f"{name} = {theirs[name]}" for name in ours if ours[name] != theirs[name])
        raise FolderError(f"it holds another run ({different}); choose another folder")
    if not (folder / TRAJECTORY).exists():
        return None
    try:
        return Trajectory.load(folder / TRAJECTORY)
    except NotARunError as error:
        raise FolderError(str(error)) from None


def _config_in(folder):
    try:
        return read_config(json.dumps(json.loads((folder / CONFIG).read_text())["config"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FolderError(f"its {CONFIG} is not a run's; choose another folder") from None


def _write_config(folder, config):
    _write_json(folder / CONFIG, {"config": config.to_dict(), "versions": _versions()})


class Interrupts:
    """Notes Ctrl-C and SIGTERM, for the loop to stop between two steps; a second one does not wait."""

    def __enter__(self):
        self.seen = False
        here = threading.current_thread() is threading.main_thread()  # only there can signals be caught
        numbers = (signal.SIGINT, signal.SIGTERM) if here else ()
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.seen:
            raise KeyboardInterrupt
        self.seen = True


def _write_json(path, values):
    with open_atomically(path) as file:
        file.write(json.dumps(values, indent=2) + "\n")


def _versions():
    packages = {name: metadata.version(name) for name in ("numpy", "scipy", "matplotlib")}
    return {"simsim": simsim.__version__, "python": platform.python_version(), **packages}
