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
TOGETHER = 10_000  # rows of the CSV that are in memory as text
FIELDS = tuple(field.name for field in dataclasses.fields(Config))
UNSAFE = str.maketrans({",": ";", "#": "no.", '"': "'", "\n": " ", "\r": " "})


def columns(grid, rows):
    """The runs of `grid` that have a row in `rows` (by key), as arrays (T,) by the name of their column.

    A time is that of the end of the phase where it was `observed`, else the time until which the run was followed
    without it. Numbers that are missing, as all are of a run that failed, are nan.
    """
    done = np.array([key in rows for key in grid.keys]).reshape(len(grid.cells), -1)
    outcomes = [rows[key] for key in grid.keys if key in rows]
    return _of_configs(grid, done) | _of_outcomes(outcomes, max(cell.m for cell in grid.cells))


def of_records(records):
    """Columns of some records, each a dict with the same names."""
    return {name: _array([record[name] for record in records]) for name in records[0]}


def write(path, table):
    """Write columns as CSV, atomically."""
    with open_atomically(path) as file:
        file.write(",".join(table) + "\n")
        for first in range(0, max(map(len, table.values()), default=0), TOGETHER):
            texts = [_texts(column[first:first + TOGETHER]) for column in table.values()]
            file.writelines(f"{','.join(row)}\n" for row in zip(*texts))


def _of_configs(grid, done):
    """The columns of what runs are: a value once for each cell, and the seeds; `done` (cells, seeds) says which runs are."""
    counts = done.sum(1)
    cells = [cell.to_dict() for cell, count in zip(grid.cells, counts) if count]
    counts, seeds = counts[counts > 0], np.broadcast_to(np.arange(done.shape[1]), done.shape)[done]
    columns = {name: _array([grid.seeds[i] for i in seeds]) if name in grid.seeded else
               np.repeat(_array([fields[name] for fields in cells]), counts) for name in FIELDS}
    return columns | {"kappa": np.repeat(_array([fields["head_lr"] / fields["lr"] for fields in cells]), counts)}


def _of_outcomes(rows, most):
    """The columns of what runs came to; `rows` may lack anything, `most` is the largest number of neurons."""
    def plain(*names):
        return {name: _array([row.get(name) for row in rows]) for name in names}

    def listed(label, name, count, missing=None):
        for i in range(count):
            yield label.format(i + 1), _array([values[i] if (values := row.get(name)) and i < len(values) else missing
                                               for row in rows])

    found = plain("status", "success", "collapsed") | dict(listed("fate_{}", "fates", most))
    times = zip(listed("time_{}", "times", PHASES), listed("observed_{}", "observed", PHASES, False))
    return (found | {name: column for phase in times for name, column in phase}
            | plain("end", "head_peak", "head_end", "head_left", "asymmetry", "effective_rank")
            | dict(listed("beta_{}", "betas", most)) | dict(listed("residual_{}", "residuals", most)) | plain("message", "wall_s"))


def _array(values):
    """A column: bool, int or float as far as the values allow, else text. A missing flag is False."""
    kinds = set(map(type, values))
    if any(issubclass(kind, np.generic) for kind in kinds):
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
        kinds = set(map(type, values))
    kinds -= {type(None)}
    if kinds == {bool}:
        return np.array([bool(value) for value in values])
    if kinds <= {int, float}:
        whole = kinds == {int} and None not in values and max(map(abs, values)) < 2**63
        return np.array(values, dtype=np.int64 if whole else float)  # None becomes nan
    return np.array(["" if value is None else " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
                     for value in values])


def _texts(column):
    """The values of a column (T,) as they stand in the CSV; equal ones are written once."""
    values = column.tolist()
    if column.dtype.kind == "f":
        return ["" if value != value else repr(value) for value in values]
    written = {value: str(value).translate(UNSAFE) for value in set(values)}
    return [written[value] for value in values]
