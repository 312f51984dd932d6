"""Recorded arrays as tables: a column for each of their entries, for spreadsheets and notebooks."""

import csv
import html
import itertools

from simsim.files.archives import open_atomically


def columns(run, names):
    """Arrays of a Trajectory by name as columns (T,) by name; neurons and features count from 1, as in `shares_1_2`."""
    found = {}
    for name in names:
        array = getattr(run, name)
        for place in itertools.product(*map(range, array.shape[1:])):
            found["_".join([name, *(str(i + 1) for i in place)])] = array[(slice(None), *place)]
    return found


def write_csv(path, table):
    """Write columns (T,) by name, atomically, as comma-separated values under a line of names."""
    with open_atomically(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(values.tolist() for values in table.values())))


def as_html(caption, table, rows):
    """Some `rows` of columns by name as an HTML table."""
    body = (f"<tr>{''.join(_cell(values[row]) for values in table.values())}</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table)
    return f"<table><caption>{html.escape(caption)}</caption><tr>{head}</tr>{''.join(body)}</table>"


def _cell(value):
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"<td>{html.escape(text)}</td>"
