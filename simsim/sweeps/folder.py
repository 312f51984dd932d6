"""The folder of a sweep: sweep.json (what is swept), rows.jsonl (what came of it so far), table.csv (made of both).

A shard of a sweep has a folder of its own inside, with the same three; `merge` brings them together.
"""

import contextlib
import json
import math
import re
from pathlib import Path

import simsim.folder
from simsim.files import provenance
from simsim.files.archives import NotARunError, remove_parts, write_json
from simsim.folder import FolderError
from simsim.sweeps import outcome, rows, table
from simsim.sweeps.executors import leave_to_parent, place
from simsim.sweeps.grid import REDO_ALL, REDO_FAILED, REDO_NONE, Grid
from simsim.sweeps.work import SweepError, work

SWEEP, TRAJECTORIES = "sweep.json", "trajectories"
SHARD = re.compile(r"shard-(\d+)-of-(\d+)")


def sweep(fields, out, *, seeds=None, executor=None, workers=None, redo=REDO_NONE, shard=None, trajectories=False,
          progress=None, stop=lambda: False, seconds=math.inf):
    """Run a grid of configurations, each once; what the folder `out` has already is not computed again.

    Parameters
    ----------
    fields : dict or sweeps.Grid
        From a field of Config, or `kappa`, to its value or a list of values.
    out : path
        Folder for the rows and the table; it belongs to this grid alone.
    seeds : sequence of int, optional
        Every cell of the grid is run from each: the value of `init_seed` and `seed`, unless `fields` decide it.
    executor : concurrent.futures.Executor or "dask:ADDRESS", optional
        Where to compute, by default `workers` processes of this machine.
    workers : int, optional
        How many tasks at a time, by default one for each CPU.
    redo : {"unfinished", "failed", "all"}
        What to compute: runs that have no row; also those that failed; everything.
    shard : (int, int), optional
        (i, n): only part i of n, counted from 1, in a folder of its own inside `out` (see `merge`).
    trajectories : bool
        Keep the Trajectory of every run, as trajectories/KEY.npz.
    progress : callable, optional
        Called with (runs done, runs to do, runs that failed) whenever some arrived, and once before.
    stop : callable, optional
        Asked several times a second whether to stop; what is under way then is lost.

    seconds : float, optional
        Of computing for a run, wherever that is: one that takes longer is a row that has failed, and says so.

    Returns
    -------
    dict of (T,) arrays
        The table of the T runs that are done (`sweeps.table.columns`).

    Raises
    ------
    GridError, ConfigError
        The grid cannot be.
    FolderError
        The folder cannot serve.
    ExecutorError
        There is no such executor, no way to it, or no worker comes to work.
    SweepError
        It could not be finished: the executor broke, and could not be made anew, or the disk is full. The rows that had
        come are kept, and the same call goes on.
    """
    leave_to_parent()
    grid = fields if isinstance(fields, Grid) else Grid(fields, seeds)
    folder = part_folder(out, shard)
    tasks = part_of(grid, shard, trajectories)
    with contextlib.closing(place(executor, workers)) as somewhere, simsim.folder.hold(folder, make=True):
        known, good = open_sweep(folder, grid, trajectories)
        if redo == REDO_ALL:
            known, good = {}, 0
        with simsim.folder.refusing(folder, "written"):
            file = rows.RowFile(folder / rows.NAME, good)
        with keeping(folder, lambda: f"{len(known)} of {sum(len(task.keys) for task in tasks)} runs"), file:
            _compute(folder, file, known, unfinished(tasks, known, redo), redo, somewhere,
                     progress or (lambda *_: None), stop, seconds)
            return write_table(folder, grid, known)


def merge(out):
    """Bring the shards in `out` together: its rows and its table are then those of all. Returns (columns, Grid).

    Raises FolderError where there are none, or shards of different sweeps.
    """
    out = Path(out)
    with simsim.folder.hold(out, make=False):
        parts = [path for path in sorted(out.iterdir()) if SHARD.fullmatch(path.name) and (path / SWEEP).exists()]
        if not parts:
            raise FolderError("it holds no shards of a sweep")
        with simsim.folder.refusing(out, "read"):
            whats = [read_sweep(part) for part in parts]
            if any(what != whats[0] for what in whats):
                raise FolderError("its shards are of different sweeps")
            grid, trajectories = _grid_of(whats[0]["grid"]), whats[0]["trajectories"]
            known, _ = open_sweep(out, grid, trajectories)
            for part in parts:
                _refuse_unknown(grid, found := rows.read(part / rows.NAME)[0])
                known |= {key: row for key, row in found.items() if known.get(key, {}).get("status") != outcome.DONE}
        with simsim.folder.refusing(out, "written"):
            rows.rewrite(out / rows.NAME, known)
            return write_table(out, grid, known), grid


@contextlib.contextmanager
def keeping(folder, kept):
    """Turn what goes wrong in `folder`, once there is something in it, into a SweepError that says what is kept()."""
    try:
        with simsim.folder.refusing(folder, "written"):
            yield
    except FolderError as error:
        raise SweepError(f"{folder}: {error}; {kept()} are kept, and the same command goes on") from None
    except SweepError as error:
        raise SweepError(f"{error}; {kept()} are kept, and the same command goes on") from None


def peek(folder, grid, trajectories):
    """The rows by key that a folder has of this sweep, without making or claiming it. Raises FolderError."""
    with simsim.folder.refusing(folder, "read"):
        return _known(folder, grid, trajectories)[0]


def open_sweep(folder, grid, trajectories):
    """(rows by key, bytes of their file that count) of a held folder, new or of this very sweep."""
    with simsim.folder.refusing(folder, "read"):
        remove_parts(folder, (SWEEP, rows.NAME, table.NAME))
        if (folder / TRAJECTORIES).is_dir():
            remove_parts(folder / TRAJECTORIES, {f"{key}.npz" for key in grid.keys})
        known, good = _known(folder, grid, trajectories)
    with simsim.folder.refusing(folder, "written"):
        if not (folder / SWEEP).exists():
            write_json(folder / SWEEP, {**_what(grid, trajectories), "versions": provenance.versions()})
    return known, good


def read_sweep(folder):
    """The grid, as plain values, and whether trajectories are kept, of the sweep in `folder`. Raises NotARunError."""
    try:
        values = json.loads((folder / SWEEP).read_text())
        if not _is_plain_grid(values["grid"]) or not isinstance(values["trajectories"], bool):
            raise ValueError("a grid is something else")
        return {name: values[name] for name in ("grid", "trajectories")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotARunError(f"its {SWEEP} is not a sweep's; choose another folder") from None


def _is_plain_grid(values):
    """Whether JSON `values` have the form of a grid's (`Grid.to_dict`)."""
    return (values.keys() == {"fields", "seeds"} and isinstance(values["seeds"], (list, type(None)))
            and all(isinstance(axis, list) for axis in values["fields"].values()))


def _grid_of(values):
    """The Grid of JSON values. Raises NotARunError."""
    try:
        return Grid.from_dict(values)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise NotARunError(f"its {SWEEP} is not a sweep's: {error}") from None


def part_folder(out, shard):
    """The folder of a shard, or `out` itself."""
    return Path(out) if shard is None else Path(out) / "shard-{}-of-{}".format(*shard)


def part_of(grid, shard, trajectories=False):
    """The tasks of a shard: every n-th, so that no shard gets all that is slow."""
    tasks, (number, count) = list(grid.tasks(trajectories)), shard or (1, 1)
    if not 1 <= number <= count:
        raise ValueError(f"`shard` must be (i, n) with i from 1 to n, got {shard}")
    return tasks[number - 1::count]


def unfinished(tasks, known, redo):
    """Those of `tasks` in which a run is to be computed."""
    return [task for task in tasks if _wanted(task, known, redo)]


def write_table(folder, grid, known):
    """Write the table of the rows `known`; returns its columns."""
    columns = table.columns(grid, known)
    table.write(folder / table.NAME, columns)
    return columns


def _known(folder, grid, trajectories):
    """(rows by key, bytes of their file that count) of this sweep in `folder`; FolderError where that is another's."""
    what = _what(grid, trajectories)
    if (folder / SWEEP).exists():
        if (theirs := read_sweep(folder)) != what:
            raise FolderError(f"it holds another sweep ({_difference(theirs, what)}); choose another folder")
    elif taken := [name for name in (rows.NAME, table.NAME, simsim.folder.CONFIG) if (folder / name).exists()]:
        raise FolderError(f"it holds a {taken[0]} of unknown origin; choose another folder")
    known, good = rows.read(folder / rows.NAME)
    _refuse_unknown(grid, known)
    return known, good


def _what(grid, trajectories):
    return {"grid": grid.to_dict(), "trajectories": trajectories}


def _compute(folder, file, known, tasks, redo, somewhere, progress, stop, seconds):
    """Compute tasks, appending to `file` and `known` what comes of them."""
    wanted = {key for task in tasks for key in _wanted(task, known, redo)}
    done, failures = 0, 0

    def arrived(task, outcomes, trajectories):
        nonlocal done, failures
        new = {key: row for key, row in zip(task.keys, outcomes) if key in wanted}
        for key, run in zip(task.keys, trajectories):
            if run is not None and key in new:
                (folder / TRAJECTORIES).mkdir(exist_ok=True)
                run.save(folder / TRAJECTORIES / f"{key}.npz")
        file.append(new)
        known.update(new)
        done, failures = done + len(new), failures + sum(row["status"] == outcome.FAILED for row in new.values())
        progress(done, len(wanted), failures)

    progress(0, len(wanted), 0)
    work(tasks, somewhere, arrived, stop, seconds)


def _wanted(task, known, redo):
    """The keys of a task's runs that are to be computed; their task is computed whole."""
    return [key for key in task.keys if key not in known or
            (redo == REDO_FAILED and known[key]["status"] == outcome.FAILED)]


def _refuse_unknown(grid, found):
    if not found.keys() <= set(grid.keys):
        raise FolderError(f"its {rows.NAME} has rows of another sweep, or of a version with other options; "
                          "choose another folder")


def _difference(theirs, ours):
    """In what another sweep differs, in words."""
    before, now = ({**what["grid"]["fields"], "seeds": what["grid"]["seeds"], "trajectories": what["trajectories"]}
                   for what in (theirs, ours))
    return ", ".join(f"{name} = {_short(before.get(name))}" for name in {**before, **now}
                     if before.get(name) != now.get(name))


def _short(values):
    text = json.dumps(values)
    return text if len(text) < 60 else f"{text[:40]} ... {text[-15:]}"
