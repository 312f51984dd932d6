"""The output folder of a run: opened, trained into, resumed, written.

While a run is under way its folder holds config.json, checkpoint.npz and
checkpoint.log; when it is complete the checkpoint makes way for trajectory.npz,
report.json, report.txt and phases.png, or .pdf or .svg. An interrupted run leaves both, so that
what there is can be looked at and the run can go on bit for bit. Of a complete
run the last state stays, last.npz, from which it can go on to more steps.
"""

import contextlib
import dataclasses
import datetime
import math
import os
import time
from pathlib import Path


import simsim
from simsim.files import provenance
from simsim.files.checkpoint import Checkpoint, log_path
from simsim.flow import GAVE_UP
from simsim.files.archives import NotARunError, open_atomically, remove_parts, write_json
from simsim.files.lock import Locked, locked
from simsim.phases import NAMES, find_phases
from simsim.sgd.recorder import Recorder
from simsim.sgd import iterate, start
from simsim.state import State
from simsim.trajectory import Trajectory

CHECKPOINT_SECONDS = 5.0
CONFIG, CHECKPOINT, TRAJECTORY = "config.json", "checkpoint.npz", "trajectory.npz"
PICTURES = {kind: f"phases.{kind}" for kind in ("png", "pdf", "svg")}
PAGE, LAST = "report.html", "last.npz"
LOG = log_path(CHECKPOINT)
DPI = 150  # of the picture
RESULTS = (TRAJECTORY, "report.json", "report.txt", *PICTURES.values(), PAGE, LAST)


class FolderError(Exception):
    """A folder that cannot serve; the text is one line and says what to do."""


def default_folder(config, start=None):
    """runs/ and a name that tells the run from others: what differs from the defaults, and the file that it starts from."""
    name = "_".join([*(f"{name}-{value}" for name, value in config.changes().items()),
                     *([] if start is None else [f"start-{Path(start).stem}"])])
    name = name.translate(str.maketrans("", "", "() "))  # strengths are a tuple
    return Path("runs") / (name or "default")


@contextlib.contextmanager
def hold(folder, make):
    """Hold `folder`, made first where `make` says so, for this process alone. Raises FolderError.

    What killed processes left of files that they were writing is removed.
    """
    folder = Path(folder)
    with contextlib.ExitStack() as held:
        with refusing(folder, "written" if make else "read"):
            if make:
                _make(folder)
            elif not folder.exists():
                raise FolderError("there is no interrupted run: it does not exist")
            if not folder.is_dir():
                raise FolderError("it is not a folder")
        with refusing(folder, "written"):
            held.enter_context(locked(folder))
            remove_parts(folder, (CONFIG, CHECKPOINT, *RESULTS))
        yield


def open_folder(folder, config, at=None):
    """Make a held `folder` ready for a run of `config`, from its own start or a State `at`: its Checkpoint. Raises FolderError.

    Where the folder holds this very run, complete, its Trajectory is returned
    instead; and for the flow, which is over in a moment and keeps nothing, its
    Config. Any other content of the folder is refused.
    """
    folder = Path(folder)
    with refusing(folder, "read"):
        finished = _finished_run(folder, config)
    if finished:
        if not finished.state(0).is_like(at or State.start(config), config):
            raise FolderError("it holds a run from another start; choose another folder")
        if not _cut_short(finished):
            return finished
    with refusing(folder, "written"):
        provenance.write(folder / CONFIG, config)
        if config.clock == "time":
            return config
        checkpoint = Checkpoint(folder / CHECKPOINT, Recorder([config]), start([config], at))
        checkpoint.recorder.see(checkpoint.state)
        checkpoint.save()
        return checkpoint


def resume_folder(folder, steps=None):
    """The Checkpoint of the interrupted run in a held `folder`, or of a complete one to go on to `steps`. Raises FolderError."""
    folder = Path(folder)
    with refusing(folder, "read"):
        if can_resume(folder):
            checkpoint = Checkpoint.load(folder / CHECKPOINT)
        else:
            run = Trajectory.load(folder / TRAJECTORY) if (folder / TRAJECTORY).exists() else None
            checkpoint = _going_on(folder, run, steps)
        kept = provenance.read(folder / CONFIG)[0] if (folder / CONFIG).exists() else checkpoint.config
        # Of a run that goes on, config.json is written last: it may still have the steps that were asked at first.
        if dataclasses.replace(kept, steps=checkpoint.config.steps) != checkpoint.config:
            raise FolderError(f"{CONFIG} and {CHECKPOINT} are of different runs")
    return checkpoint


def go_on(folder, checkpoint):
    """Note in a held `folder` that the run of its `checkpoint`, of `resume_folder`, goes on. Raises FolderError."""
    folder = Path(folder)
    with refusing(folder, "written"):
        if not can_resume(folder):
            checkpoint.save()
        if (folder / CONFIG).exists():
            provenance.resume(folder / CONFIG, checkpoint.config)
        else:
            provenance.write(folder / CONFIG, checkpoint.config)


def _going_on(folder, run, steps):
    """The Checkpoint from which the complete `run` in `folder`, or None, goes on to `steps`. Raises FolderError, NotARunError."""
    if run is None:
        raise FolderError(f"there is no interrupted run: {CHECKPOINT} is missing")
    if _cut_short(run):
        raise FolderError("a flow that was cut short cannot go on; the same command begins it anew")
    if run.clock == "time":
        raise FolderError("the flow there is complete, and keeps no steps to go on with; a larger --t-max in another folder does")
    if steps is None or steps <= run.config.steps:
        raise FolderError(f"the run there is complete; it goes on with more than its {run.config.steps} --steps")
    if not (folder / LAST).exists():
        raise FolderError(f"{LAST}, the state from which it could go on, is missing")
    return Checkpoint.going_on(folder / CHECKPOINT, folder / LAST, run, steps)


def train(checkpoint, progress, interrupts, seconds=math.inf):
    """Run the loop with checkpoints, of which the last is its end.

    It stops after the step in which a signal came, or after which it has taken so many `seconds`.
    """
    state, config, began = checkpoint.state, checkpoint.config, time.monotonic()
    saved = began
    if state.step < config.steps:  # there may be pictures, of the part that ran
        for name in (*PICTURES.values(), PAGE):
            checkpoint.path.with_name(name).unlink(missing_ok=True)
    for _ in iterate(state):
        checkpoint.recorder.see(state)
        progress(state)
        if interrupts.seen or time.monotonic() - began > seconds:
            break
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint.save()
            saved = time.monotonic()
    checkpoint.save()


def write_results(folder, run, report):
    """Write trajectory and report of a Trajectory, each atomically."""
    folder = Path(folder)
    run.save(folder / TRAJECTORY)
    phases = find_phases(run)
    times = {name: end and end._asdict() for name, end in zip(NAMES, phases.ends())}
    write_json(folder / "report.json", {**report.to_dict(), "phases": times, "missing": phases.missing})
    with open_atomically(folder / "report.txt") as file:
        file.write(f"{report.full()}\n")


def write_picture(folder, run, flow, interrupts, kind="png"):
    """Write the picture of a Trajectory, of a kind in PICTURES, atomically; `flow` is drawn beside it.

    A signal ends the drawing at once.
    """
    with interrupts.at_once():
        picture = simsim.plots.picture(simsim.plots.phases(run, flow=flow)[0].figure, kind, DPI)
    with open_atomically(Path(folder) / PICTURES[kind], "wb") as file:
        file.write(picture)


def write_page(folder, run, report, flow, interrupts, beside=None, command=""):
    """Write the whole story as one HTML file, atomically; a signal ends the drawing at once.

    `beside` as for `plots.page`; `command` is the one that made it.
    """
    made = {"command": command, "versions": provenance.words(Path(folder) / CONFIG),
            "date": datetime.datetime.now().astimezone().isoformat(" ", "minutes")}
    with interrupts.at_once():
        text = simsim.plots.page(run, report, flow, beside, made)
    with open_atomically(Path(folder) / PAGE) as file:
        file.write(text)


def remarks(folder):
    """What the report must say of how the run in `folder` came about: a list of lines."""
    return provenance.remarks(Path(folder) / CONFIG)


def says(folder, config):
    """Whether config.json in `folder` is that of a run of `config`."""
    try:
        return provenance.read(Path(folder) / CONFIG)[0] == config
    except (NotARunError, OSError):
        return False


def can_resume(folder):
    """Whether the folder holds a checkpoint."""
    return (Path(folder) / CHECKPOINT).exists()


def close_folder(folder):
    """Mark the run as complete: nothing is left to resume, and its last state is kept under a name of its own."""
    folder = Path(folder)
    with contextlib.suppress(FileNotFoundError):  # a flow has none
        os.replace(folder / CHECKPOINT, folder / LAST)
    (folder / LOG).unlink(missing_ok=True)  # after it: a log without its checkpoint means nothing


def _make(folder):
    """Make `folder` and what is missing above it; all of it or nothing."""
    missing = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file has the name, and is refused as such
        pass
    except OSError:
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _finished_run(folder, config):
    """The complete Trajectory of `config` in `folder`, None where it is free, FolderError elsewhere."""
    if can_resume(folder):
        raise FolderError("it holds an interrupted run; go on with --resume, or choose another folder")
    if not (folder / CONFIG).exists():
        taken = [name for name in (*RESULTS, LOG) if (folder / name).exists()]
        if taken:
            raise FolderError(f"it holds a {taken[0]} of unknown origin; choose another folder")
        return None
    other = provenance.read(folder / CONFIG)[0]
    if other != config:
        theirs, ours = other.to_dict(), config.to_dict()
        different = ", ".join(f"{name} = {theirs[name]}" for name in ours if ours[name] != theirs[name])
        raise FolderError(f"it holds another run ({different}); choose another folder")
    return Trajectory.load(folder / TRAJECTORY) if (folder / TRAJECTORY).exists() else None


def _cut_short(run):
    """Whether this is a flow that took too long: it begins anew."""
    return run.clock == "time" and run.status == GAVE_UP


@contextlib.contextmanager
def refusing(folder, verb):
    """Turn what may go wrong with the files of `folder` into a FolderError."""
    try:
        yield
    except Locked:
        raise FolderError("another process is at work in it; wait for it, or choose another folder") from None
    except NotARunError as error:
        raise FolderError(str(error)) from None
    except OSError as error:
        inside = error.filename and Path(error.filename) != folder and os.path.lexists(error.filename)
        subject = Path(error.filename).name if inside else "it"
        raise FolderError(f"{subject} cannot be {verb}: {error.strerror or error}") from None
