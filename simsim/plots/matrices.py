"""Matrices at the moments that matter: correlations of the neurons' outputs, and the head."""

import matplotlib.pyplot as plt
import numpy as np

from simsim.phases import find_phases
from simsim.plots.style import power, without_closed_form

MOMENTS = ("I ends", "II ends", "III ends", "IV ends")
MOST_WRITTEN = 6  # neurons up to which the numbers are written into the matrix


def moments(run):
    """{name: row of the log} of the start, the end of every phase that came, and the end of a run, in order."""
    ends = [(row, name) for name, row in zip(MOMENTS, find_phases(run).rows) if row is not None]
    return {"start": 0, **{name: row for row, name in sorted(ends)}, "end": len(run) - 1}


def correlations(runs, axes=None):
    """|corr(f_i, f_j)| at the `moments` of each of `runs`, a dict {name: Trajectory}: a row of matrices each.

    Neurons are sorted by the feature that they hold at the end, so that a division of labour is a pattern
    of blocks on the diagonal and a collapse a single block. Returns the Axes, (runs, moments).
    """
    matrices = lambda run: np.abs(run.correlations) if run.config.closed_form else None
    return _grid(runs, axes, matrices, {"cmap": "viridis", "vmin": 0, "vmax": 1}, r"$|\mathrm{corr}(f_i, f_j)|$")


def heads(runs, axes=None):
    """E - I at the `moments` of each of `runs`, a dict {name: Trajectory}: a row of matrices each."""
    away = {name: run.head - np.eye(run.config.m) for name, run in runs.items()}
    size = max(np.abs(part).max() for part in away.values()) or 1.0
    return _grid(runs, axes, lambda run: run.head - np.eye(run.config.m), {"cmap": "RdBu_r", "vmin": -size, "vmax": size},
                 "$E - I$")


def _grid(runs, axes, matrices, colours, name):
    """A row of `matrices(run)` (T, m, m) for each of `runs`, at its moments, with one colour bar; None: not known."""
    columns = max(len(moments(run)) for run in runs.values())
    if axes is None:
        _, axes = plt.subplots(len(runs), columns, figsize=(1.9 * columns + 0.8, 2.1 * len(runs)), layout="constrained",
                               squeeze=False)
    axes = np.asarray(axes)
    if axes.ndim != 2 or axes.shape[0] != len(runs) or axes.shape[1] < columns:
        raise ValueError(f"`axes` must have shape ({len(runs)}, {columns}), got {axes.shape}")
    image = None
    for row_of_axes, (title, run) in zip(axes, runs.items()):
        order, values = _order(run), matrices(run)
        for ax in row_of_axes[len(moments(run)):]:
            ax.set_axis_off()
        for ax, (moment, row) in zip(row_of_axes, moments(run).items()):
            if values is None:
                ax.set_xticks([]), ax.set_yticks([])
                without_closed_form(run, ax, "not known")
            else:
                image = _matrix(ax, values[row][np.ix_(order, order)], colours)
            when = "step " + power(float(run.steps[row])) if run.clock == "step" else "$t$ = " + power(run.time[row])
            ax.set_title(f"{moment}\n{when}", fontsize="small")
        row_of_axes[0].set_ylabel(title)
    if image is not None:
        axes[0, 0].figure.colorbar(image, ax=axes, shrink=0.8, label=name)
    return axes


def _order(run):
    """The neurons by their roles where there are few, else by the feature that they hold at the end."""
    roles = list(find_phases(run).order)
    if run.config.m <= 2 or not run.config.closed_form:
        return roles
    held = run.shares[-1].argmax(axis=1)
    return sorted(roles, key=lambda j: held[j])


def _matrix(ax, values, colours):
    image = ax.imshow(values, **colours)
    ax.set_xticks([]), ax.set_yticks([])
    if len(values) <= MOST_WRITTEN:
        for (i, j), value in np.ndenumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize="x-small", color="k" if light else "w")
    return image
