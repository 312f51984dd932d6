"""The tidy table of a sweep: a row a run, in the order of the grid, as columns and as CSV.

The CSV is read by `pandas.read_csv` and by
`numpy.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")`: no text in it needs quotes.
"""

import dataclasses

import numpy as np

from simsim.config import Config
from simsim.files.archives import open_atomically

NAME = "table.csv"
PHASES = 4
FIELDS = tuple(field.name for field in dataclasses.fields(Config))
UNSAFE = str.maketrans({",": ";", "#": "no.", '"': "'", "\n": " ", "\r": " "})


def columns(grid, rows):
    """The runs of `grid` that have a row in `rows` (by key), as arrays (T,) by the name of their column.

    A time is that of the end of the phase where it was `observed`, else the time until which the run was followed
    without it. Numbers that are missing, as all are of a run that failed, are nan.
    """
    most = max(cell.m for cell in grid.cells)
    records = [_record(fields, rows[key], most) for key, fields in grid.runs() if key in rows]
    return of_records(records, _record(grid.cells[0].to_dict(), {}, most))


def of_records(records, names=None):
    """Columns of records, each a dict with the same names; `names` are needed where there may be no record."""
    return {name: _array([record[name] for record in records]) for name in names or records[0]}


def write(path, table):
    """Write columns as CSV, atomically."""
    with open_atomically(path) as file:
        file.write(",".join(table) + "\n")
        for row in zip(*table.values()):
            file.write(",".join(map(_text, row)) + "\n")


def _record(fields, row, most):
    """One row of the table; `row` may lack anything, `most` is the largest number of neurons."""
    record = {name: fields[name] for name in FIELDS}
    record["kappa"] = fields["head_lr"] / fields["lr"]
    record |= {name: row.get(name) for name in ("status", "success", "collapsed")}
    record |= _numbered("fate_{}", row.get("fates"), most)
    for phase in range(PHASES):
        record[f"time_{phase + 1}"] = row.get("times", [None] * PHASES)[phase]
        record[f"observed_{phase + 1}"] = row.get("observed", [False] * PHASES)[phase]
    record |= {name: row.get(name) for name in ("end", "head_peak", "head_end", "head_left", "asymmetry", "effective_rank")}
    record |= _numbered("beta_{}", row.get("betas"), most) | _numbered("residual_{}", row.get("residuals"), most)
    return record | {"message": row.get("message"), "wall_s": row.get("wall_s")}


def _numbered(name, values, most):
    values = list(values or [])
    return {name.format(j + 1): value for j, value in enumerate(values + [None] * (most - len(values)))}


def _array(values):
    """A column: bool, int or float as far as the values allow, else text. A missing flag is False."""
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return np.array([bool(value) for value in values])
    if kinds <= {int, float}:
        whole = kinds == {int} and None not in values and max(map(abs, values)) < 2**63
        return np.array([np.nan if value is None else value for value in values], dtype=np.int64 if whole else float)
    return np.array(["" if value is None else " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
                     for value in values])


def _text(value):
    if isinstance(value, float):  # np.float64 is one
        return "" if np.isnan(value) else repr(float(value))
    return str(value).translate(UNSAFE)
