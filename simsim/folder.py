"""The output folder of a run: opened, trained into, resumed, written.

While a run is under way its folder holds config.json and checkpoint.npz; when
it is complete the checkpoint makes way for trajectory.npz, report.json,
report.txt and phases.png. An interrupted run leaves both, so that what there
is can be looked at and the run can go on bit for bit.
"""

import json
import platform
import signal
import time
from importlib import metadata
from pathlib import Path

import simsim
from simsim.config import Config
from simsim.phases import NAMES, find_phases
from simsim.simulation import iterate, load_checkpoint, save_checkpoint, start
from simsim.trajectory import NotARunError, Recorder, open_atomically

CHECKPOINT_SECONDS = 5.0
CONFIG, CHECKPOINT, TRAJECTORY = "config.json", "checkpoint.npz", "trajectory.npz"


class FolderError(Exception):
    """A folder that cannot serve; the text is one line and says what to do."""


def default_folder(config):
    """runs/ and a name that tells the run from others: what differs from the defaults."""
    name = "_".join(f"{name}-{value}" for name, value in config.changes().items())
    return Path("runs") / (name or "default")


def open_folder(folder, config):
    """Make `folder` ready for a new run; returns its recorder and first state. Raises FolderError."""
    folder = Path(folder)
    recorder, state = Recorder(config), start(config)
    recorder.see(state)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_free(folder, config)
        _write_json(folder / CONFIG, {"config": config.to_dict(), "versions": _versions()})
        save_checkpoint(folder / CHECKPOINT, recorder, state)
    except OSError as error:
        raise FolderError(f"cannot be written: {error.strerror or error}") from None
    return recorder, state


def resume_folder(folder):
    """The recorder and state of the interrupted run in `folder`. Raises FolderError."""
    folder = Path(folder)
    if (folder / TRAJECTORY).exists() and not (folder / CHECKPOINT).exists():
        raise FolderError("the run there is complete; nothing is left to do")
    try:
        return load_checkpoint(folder / CHECKPOINT)
    except FileNotFoundError:
        raise FolderError(f"there is no interrupted run: {CHECKPOINT} is missing") from None
    except OSError as error:
        raise FolderError(f"cannot be read: {error.strerror or error}") from None
    except NotARunError as error:
        raise FolderError(str(error)) from None


def train(folder, recorder, state, progress):
    """Run the loop with checkpoints; False if the user interrupted it.

    The first Ctrl-C or SIGTERM waits for the end of the step; a second one does not.
    """
    checkpoint, saved = Path(folder) / CHECKPOINT, time.monotonic()
    with _Interrupts() as interrupts:
        for state in iterate(recorder.config, state):
            recorder.see(state)
            progress(state)
            if interrupts.seen or time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(checkpoint, recorder, state)
                saved = time.monotonic()
            if interrupts.seen:
                return state.step == recorder.config.steps
    return True


def write_results(folder, run, report, plot=True):
    """Write trajectory, report and picture of a Trajectory, each atomically."""
    folder = Path(folder)
    run.save(folder / TRAJECTORY)
    phases = find_phases(run)
    times = {name: end and end._asdict() for name, end in zip(NAMES, phases.ends())}
    _write_json(folder / "report.json", {**report.to_dict(), "phases": times, "missing": phases.missing})
    with open_atomically(folder / "report.txt") as file:
        file.write(f"{report}\n")
    if plot:
        with open_atomically(folder / "phases.png", "wb") as file:
            simsim.plots.phases(run)[0].figure.savefig(file, format="png", dpi=150)


def close_folder(folder):
    """Mark the run as complete: it has nothing left to resume."""
    (Path(folder) / CHECKPOINT).unlink(missing_ok=True)


def _require_free(folder, config):
    """Refuse a folder that holds another run, or an interrupted one."""
    if (folder / CHECKPOINT).exists():
        raise FolderError(f"holds an interrupted run; go on with --resume {folder}, or choose another folder")
    if not (folder / CONFIG).exists():
        return
    try:
        other = Config.from_dict(json.loads((folder / CONFIG).read_text())["config"])
    except (ValueError, KeyError, TypeError):
        raise FolderError(f"its {CONFIG} is not a run's; choose another folder") from None
    if other != config:
        theirs, ours = other.to_dict(), config.to_dict()
        different = ", ".join(f"{name} = {theirs[name]}" for name in ours if ours[name] != theirs[name])
        raise FolderError(f"holds another run ({different}); choose another folder")


class _Interrupts:
    """Notes Ctrl-C and SIGTERM, for the loop to stop between two steps."""

    def __enter__(self):
        self.seen = False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
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
