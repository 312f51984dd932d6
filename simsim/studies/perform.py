"""A study carried out: its sweeps, its table, its claims, its figure, each in a file of its folder."""

import json
from pathlib import Path

import numpy as np

import simsim.folder
from simsim.files import open_atomically, write_json
from simsim.studies import claims
from simsim.sweeps import sweep, table

TABLE, CLAIMS, TEXT, FIGURE = "study.csv", "claims.json", "claims.txt", "figure.png"
FIGURE_SIZE, DPI = (7.0, 4.2), 100


def perform(study, out, *, quick=False, progress=None, stop=lambda: False, **options):
    """Carry out a Study in the folder `out`; returns its claims, or None where `stop` ended a sweep before its end.

    `options` go to `simsim.sweep`, which also says what may be raised; progress(name of the sweep, ...) is called as
    its `progress`. What is in the folder already is not computed again. Raises FolderError where it holds files of the
    same names that are not of this study.
    """
    out, tables = Path(out), {}
    _require_own(study, out)
    for name, (fields, seeds) in study.grids(quick).items():
        tell = None if progress is None else lambda *now, name=name: progress(name, *now)
        tables[name] = sweep(fields, out / name, seeds=seeds, trajectories=name in study.trajectories,
                             progress=tell, stop=stop, **options)
        if stop():
            return None
    with np.errstate(all="ignore"):  # a cell in which nothing succeeded has no mean
        records, found = study.analyse(tables, out)
    columns = table.of_records(records)
    with simsim.folder.refusing(out, "written"):
        # First the file that says whose folder this is: a study killed between two of them goes on in it.
        write_json(out / CLAIMS, {"study": study.name, "quick": quick, "claims": [claim.to_dict() for claim in found]})
        table.write(out / TABLE, columns)
        with open_atomically(out / TEXT) as file:
            file.write(claims.report(found) + "\n")
        figure = simsim.plots.plt.figure(figsize=FIGURE_SIZE, layout="constrained")
        study.draw(figure, columns)
        with open_atomically(out / FIGURE, "wb") as file:
            file.write(simsim.plots.png(figure, DPI))
    return found


def _require_own(study, out):
    """FolderError where a file of a study's name is in the folder, and not of `study`."""
    taken = [name for name in (TABLE, CLAIMS, TEXT, FIGURE) if (out / name).exists()]
    if not taken:
        return
    try:
        own = json.loads((out / CLAIMS).read_text())["study"] == study.name
    except (OSError, ValueError, KeyError, TypeError):
        own = False
    if not own:
        raise simsim.folder.FolderError(f"it holds a {taken[0]} that is not of study {study.name}; choose another folder")
