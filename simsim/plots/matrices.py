"""Matrices at the instants that matter: correlations of the neurons' outputs, and the head."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from simsim.phases import LEARNED, find_phases
from simsim.plots.style import (AMOUNTS, BOTH_SIGNS, by_role, in_column, peak_of_head, power, signed, signs, size, small,
                                without_closed_form)
from simsim.trajectory import Trajectory

PHASE_ENDS = ("I ends", "II ends", "III ends", "IV ends")
PEAK = "peak"
MOST_WRITTEN = 6  # neurons up to which the numbers are written into the matrix; in one column WRITTEN_IN_COLUMN
WRITTEN_IN_COLUMN = 2
IN_A_ROW = 4  # matrices beside each other in one column
BLOCK_LINE = {"color": "w", "lw": 0.8}
FRAME = {"fill": False, "edgecolor": "k", "lw": 2}


def instants(run: Trajectory, peak: bool = False) -> dict[str, int]:
    """{name: row of the log} of the start, the end of every phase that came, and the end of a run, in order.

    With `peak` also that of the head's largest entry, where no other instant is in the same row.
    """
    ends = {row: name for name, row in zip(PHASE_ENDS, find_phases(run).rows) if row is not None}
    highest = peak_of_head(run) if peak else None
    if highest is not None and highest[0] not in (0, len(run) - 1, *ends):
        ends[highest[0]] = PEAK
    return {"start": 0, **{name: row for row, name in sorted(ends.items())}, "end": len(run) - 1}


def correlations(runs: Mapping[str, Trajectory], axes: np.ndarray | None = None) -> np.ndarray:
    """|corr(f_i, f_j)| at the `instants` of each of `runs`, a dict {name: Trajectory}: a row of matrices each.

    Neurons stand by their roles, and are named by them; more than six by the feature that they hold at the end, with lines
    between the features, so that a division of labour is a pattern of blocks and a collapse a single block. Below each
    matrix stand its effective rank, 1 in a collapse, and the features that some neuron holds. Returns the Axes, (runs, instants).
    """
    def below(run, row, ax):
        if not run.config.closed_form:
            return
        held = np.flatnonzero((run.shares[row] >= LEARNED).any(axis=0))
        features = ", ".join(f"$v_{{{l + 1}}}$" for l in held) if len(held) <= MOST_WRITTEN else f"{len(held)} features"
        ax.set_xlabel(("rank" if in_column() else "effective rank") + f" {run.effective_rank[row]:.2f}\nheld: {features or 'none'}",
                      fontsize=small())
    matrices = lambda run: np.abs(run.correlations) if run.config.closed_form else None
    return _grid(runs, axes, instants, matrices, {"cmap": AMOUNTS, "vmin": 0, "vmax": 1}, r"$|\mathrm{corr}(f_i, f_j)|$",
                 ("f", "f"), below)


def heads(runs: Mapping[str, Trajectory], axes: np.ndarray | None = None) -> np.ndarray:
    """E - I at the `instants` of each of `runs`, a dict {name: Trajectory}, and at the head's peak: a row of matrices each.

    Row j is what F_j takes from each f_i; neurons have their roles and the signs in which E_21 rises (`style.signs`). A frame
    is around the entry that is the largest of all, at its peak. Returns the Axes, (runs, instants).
    """
    largest = max(np.abs(run.head - np.eye(run.config.m)).max() for run in runs.values()) or 1.0

    def framed(run, row, ax):
        peak, order = peak_of_head(run), _order(run)
        if peak is not None and row == peak[0] and row > 0:
            j, i = (order.index(neuron) for neuron in peak[1:])
            ax.add_patch(Rectangle((i - 0.5, j - 0.5), 1, 1, **FRAME, zorder=3))
    return _grid(runs, axes, lambda run: instants(run, peak=True), _away, {"cmap": BOTH_SIGNS, "vmin": -largest, "vmax": largest},
                 "$E - I$", ("F", "f"), framed)


def _away(run):
    """E - I (T, m, m) with neurons in their signs, in the order of the run's rows."""
    roles = list(find_phases(run).order)
    sign = signs(by_role(run)[0])[np.argsort(roles)]
    return signed(run, sign) - np.eye(run.config.m)


def _grid(runs, axes, when, matrices, colours, name, letters, finish):
    """A row of `matrices(run)` (T, m, m) for each of `runs`, at the instants `when(run)`, with one colour bar; None: not known.

    `letters` are those of what rows and columns are; `finish(run, row, ax)` adds what is said of one matrix.
    """
    columns = max(len(when(run)) for run in runs.values())
    axes = _new_axes(len(runs), columns) if axes is None else np.asarray(axes)
    if axes.ndim != 2 or axes.shape[0] != len(runs) or axes.shape[1] < columns:
        raise ValueError(f"`axes` must have shape ({len(runs)}, {columns}), got {axes.shape}")
    image = None
    for row_of_axes, (title, run) in zip(axes, runs.items()):
        order, values = _order(run), matrices(run)
        for ax in row_of_axes[len(when(run)):]:
            ax.set_axis_off()
        for place, (ax, (moment, row)) in enumerate(zip(row_of_axes, when(run).items())):
            if values is None:
                ax.set_xticks([]), ax.set_yticks([])
                without_closed_form(run, ax, "not known")
            else:
                image = matrix(ax, values[row][np.ix_(order, order)], colours)
                _name_neurons(run, ax, order, letters, place == 0)
            place = "step " + power(float(run.steps[row])) if run.clock == "step" else "$t$ = " + power(run.time[row])
            ax.set_title(f"{moment}\n{place}", fontsize=small())
            finish(run, row, ax)
        row_of_axes[0].set_ylabel(title)
    if image is not None:
        where = {"location": "bottom", "aspect": 40, "shrink": 0.8} if in_column() else {"shrink": 0.8}
        axes[0, 0].figure.colorbar(image, ax=axes, label=name, **where)
    return axes


def _new_axes(rows, columns):
    """New Axes (rows, columns); in one column of a journal each row goes on below, `IN_A_ROW` beside each other."""
    across = min(columns, IN_A_ROW) if in_column() else columns
    lines = math.ceil(columns / across)
    height = 1.5 * rows * lines + 0.5 if in_column() else 2.7 * rows
    figure = plt.figure(figsize=(size(1.9 * columns + 0.8, 1)[0], height), layout="constrained")
    axes = figure.subplots(rows * lines, across, squeeze=False).reshape(rows, lines * across)
    for ax in axes[:, columns:].flat:
        ax.remove()
    return axes[:, :columns]


def _order(run):
    """The neurons by their roles where there are few, else by the feature that they hold at the end."""
    roles = list(find_phases(run).order)
    if run.config.m <= MOST_WRITTEN or not run.config.closed_form:
        return roles
    held = run.shares[-1].argmax(axis=1)
    return sorted(roles, key=lambda j: held[j])


def matrix(ax, values, colours):
    """Draw values (m, m) in `colours`, which go to imshow, and of few neurons their numbers; returns the image."""
    image = ax.imshow(values, **colours)
    ax.tick_params(length=0, labelsize=small())
    ax.set_xticks([]), ax.set_yticks([])
    digits = max(0, 1 - math.floor(math.log10(colours["vmax"]))) if colours["vmax"] < 1 else 2
    if len(values) <= (WRITTEN_IN_COLUMN if in_column() else MOST_WRITTEN):
        for (i, j), value in np.ndenumerate(values):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            ax.text(j, i, _rounded(value, digits), ha="center", va="center", fontsize=small(), color="k" if light else "w")
    return image


def _rounded(value, digits):
    """A number with so many decimals; 0 where they are all 0."""
    text = f"{value:.{digits}f}"
    return text if float(text) else "0"


def _name_neurons(run, ax, order, letters, first):
    """The roles of the neurons along a matrix; of many, lines between the features that they hold, and how many hold each."""
    if len(order) <= MOST_WRITTEN:
        rows, columns = ([f"${letter}_{j + 1}$" for j in range(len(order))] for letter in letters)
        ax.set_xticks(range(len(order)), columns)
        if first:
            ax.set_yticks(range(len(order)), rows)
        return
    held = run.shares[-1].argmax(axis=1)[order]
    ends = [*np.flatnonzero(np.diff(held)) + 1]
    for end in ends:
        ax.axhline(end - 0.5, **BLOCK_LINE)
        ax.axvline(end - 0.5, **BLOCK_LINE)
    if first:
        blocks = np.split(held, ends)
        middles = [sum(map(len, blocks[:k])) + (len(block) - 1) / 2 for k, block in enumerate(blocks)]
        ax.set_yticks(middles, [f"{len(block)} on $v_{{{block[0] + 1}}}$" for block in blocks])
