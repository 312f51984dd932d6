"""A study carried out: its sweeps, its table, its claims, its figure, each in a file of its folder."""

import contextlib
import json
import warnings
from pathlib import Path

import numpy as np

import simsim.folder
from simsim.files.archives import open_atomically, remove_parts, write_json
from simsim.studies import regions
from simsim.studies.plan import cells
from simsim.sweeps import SweepError, sweep, table
from simsim.sweeps.executors import leave_to_parent, place
from simsim.sweeps.folder import keeping

TABLE, CLAIMS, TEXT, FIGURE = "study.csv", "claims.json", "claims.txt", "figure.png"
FIGURE_SIZE, DPI = (7.0, 4.2), 100


def perform(study, out, *, quick=False, progress=None, stop=lambda: False, **options):
    """Carry out a Study in the folder `out`; returns its `Check`s, or None where `stop` ended a sweep before its end.

    `options` go to `simsim.sweep`, which also says what may be raised; progress(name of the sweep, ...) is called as
    its `progress`. What is in the folder already is not computed again. Raises FolderError where it holds files of the
    same names that are not of this study.
    """
    leave_to_parent()
    out, tables = Path(out), {}
    _require_own(study, out)
    with contextlib.closing(place(options.get("executor"), options.get("workers"))):
        pass  # or an ExecutorError, before a folder is made
    with simsim.folder.hold(out, make=True):
        with simsim.folder.refusing(out, "written"):
            remove_parts(out, (TABLE, CLAIMS, TEXT, FIGURE))
        for name, (fields, seeds) in study.grids(quick).items():
            tell = None if progress is None else lambda *now, name=name: progress(name, *now)
            tables[name] = sweep(fields, out / name, seeds=seeds, trajectories=name in study.trajectories,
                                 progress=tell, stop=stop, **options)
            if stop():
                return None
        records, found = judge(study, tables, out)
        with keeping(out, lambda: "all runs"):
            _write(study, out, quick, records, found)
    return found


def judge(study, tables, folder):
    """(records, checks) of a Study on tables in which runs may have failed: see `plan.Study.analyse`.

    A claim that does not say on which runs it rests (`Check.on`) rests on every cell of every sweep. Raises FolderError
    where a trajectory is not as it was written; SweepError where all runs of a cell failed.
    """
    parts = dict(cells(tables))
    for cell, part in parts.items():
        if (part["status"] != "done").all():
            raise SweepError(f"{cell}: all {len(part['status'])} runs failed, the first for: {part['message'][0]}; "
                             "--redo-failed computes them again")
    with simsim.folder.refusing(folder, "read"), _without_warnings():
        records, found = study.analyse(tables, folder)
    return records, [check.on(*parts.values()) if check.sample.runs is None else check for check in found]


def _write(study, out, quick, records, found):
    """Write table, claims and figure, each atomically.

    First comes the file that says whose folder this is: a study killed between two of them goes on in it.
    """
    columns, values = table.of_records(records), [check.to_dict() for check in found]
    write_json(out / CLAIMS, {"study": study.name, "quick": quick, "claims": values})
    table.write(out / TABLE, columns)
    with open_atomically(out / TEXT) as file:
        file.write(regions.report(found) + "\n")
    figure = simsim.plots.plt.figure(figsize=FIGURE_SIZE, layout="constrained")
    with _without_warnings():
        study.draw(figure, columns)
    with open_atomically(out / FIGURE, "wb") as file:
        file.write(simsim.plots.png(figure, DPI))


@contextlib.contextmanager
def _without_warnings():
    """A cell in which nothing succeeded has no mean, and no place on a logarithmic axis: that is no news."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _require_own(study, out):
    """FolderError where a file of a study's name is in the folder, and not of `study`."""
    taken = [name for name in (TABLE, CLAIMS, TEXT, FIGURE) if (out / name).exists()]
    if not taken:
        return
    try:
        own = json.loads((out / CLAIMS).read_text())["study"] == study.name
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        own = False
    if not own:
        raise simsim.folder.FolderError(f"it holds a {taken[0]} that is not of study {study.name}; choose another folder")
