"""What colours and lines mean, how large a figure is, and the clock of an axis.

One palette for all pictures, safe for the colour-blind. Colour tells the feature and line style the neuron, so that
the figures read in greyscale as well. Neurons are named by their roles, as in theory: 1 is the first to learn v_1, 2
the one that the head is to keep from it. The sign of a neuron is a matter of naming too (`signs`).
"""

import contextlib
import contextvars
import io
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from simsim.phases import STRONG, find_phases

# The Okabe-Ito palette, in an order in which neighbours differ in lightness; a ninth feature starts it over.
FEATURE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")
SERIES = FEATURE_COLOURS[:-1]  # of lines that are no features: yellow is too light for a line
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
AMOUNTS, BOTH_SIGNS = "cividis", "RdBu_r"  # colour maps: of what runs from little to much, and to both sides of 0
NEURON_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
FIRST_STEP, FIRST_STEP_IN_COLUMN = 0.3, 0.7  # decades between step 0 and step 1 on an axis that is logarithmic from there
CLOCKS = ("change", "time")
TICKS = 7  # of the clock that goes by change, at most; in one column COLUMN_TICKS
COLUMN_TICKS = 4
TIMES_APART = 1.05  # factor between times that are both written along an axis
IN_A_COLUMN = 6  # lines of a legend
STEEPER = 1.4  # is a figure in one column than the same figure elsewhere, so that its letters find room
COLUMN, POINTS = 3.3, 7.0  # inches of a column of a journal, and the size of its letters
EMBEDDED: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42}  # letters as TrueType, as journals ask for

_column = contextvars.ContextVar[float | None]("column", default=None)  # the width in inches, inside `column`


@contextlib.contextmanager
def column(width: float = COLUMN, size: float = POINTS) -> Iterator[None]:
    """Within `with plots.column():` figures are made to stand in one column, `width` inches wide, with letters of `size` points.

    A figure keeps its letters when it is saved later; `figure.savefig("name.pdf")`, or .svg, writes it without pixels.
    Axes that you hand to a function keep the size that you gave them, and take the letters and lines of the column.
    """
    letters: dict[Any, Any] = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize",
                                             "legend.fontsize", "legend.title_fontsize", "figure.titlesize"), size)
    lines: dict[Any, Any] = {"axes.linewidth": 0.5, "lines.linewidth": 1.0, "lines.markersize": 3, "xtick.major.width": 0.5,
             "ytick.major.width": 0.5, "xtick.major.size": 2.5, "ytick.major.size": 2.5, "ytick.minor.size": 1.5,
             "ytick.minor.width": 0.4, "legend.handlelength": 1.6, "legend.handletextpad": 0.5, "legend.borderaxespad": 0.3,
             "legend.columnspacing": 1.0, "axes.labelpad": 2}
    token = _column.set(width)
    try:
        with plt.rc_context({**letters, **lines, **EMBEDDED}):
            yield
    finally:
        _column.reset(token)


def in_column():
    """Whether figures are to stand in one column just now."""
    return _column.get() is not None


def size(width: float, height: float) -> tuple[float, float]:
    """The inches (width, height) of a new figure: these, or in a `column` its width and not quite as flat."""
    narrow = _column.get()
    return (width, height) if narrow is None else (narrow, height * min(1, STEEPER * narrow / width))


def small(otherwise: str | float = "small") -> str | float:
    """The size of letters that are smaller than the others, where there is room for two sizes."""
    return "medium" if in_column() else otherwise


def thick(width):
    """A line width, in points; thinner in a `column`."""
    return width * (0.7 if in_column() else 1)


def picture(figure: Figure, kind: str, dpi: float) -> bytes:
    """A figure as the bytes of a file of a `kind`, "png", "pdf" or "svg"; it is closed."""
    with io.BytesIO() as content, plt.rc_context(EMBEDDED):
        figure.savefig(content, format=kind, dpi=dpi)
        plt.close(figure)
        return content.getvalue()


def png(figure: Figure, dpi: float) -> bytes:
    """A figure as the bytes of a PNG; it is closed."""
    return picture(figure, "png", dpi)


def series(i: int) -> dict[str, Any]:
    """Colour and marker of the i-th of several series that have no order."""
    return {"color": SERIES[i % len(SERIES)], "marker": MARKERS[i % len(MARKERS)]}


def ramp(i: int, count: int) -> Any:
    """Colour and marker of the i-th of `count` series in an order, from dark to light."""
    return {"color": plt.get_cmap(AMOUNTS)(0.85 * i / max(count - 1, 1)), "marker": MARKERS[i % len(MARKERS)]}


def by_role(run, flow=None):
    """The run, and the flow beside it if there is one, with neurons in the order of their roles in the run."""
    order = find_phases(run).order
    return run.reordered(order), None if flow is None else flow.reordered(order)


def signs(run):
    """(m,) of +-1: each neuron with the sign in which what its prediction takes from neuron 1, E_j1, is positive at its peak.

    f_j and -f_j are the same neuron: activations are odd, so w_j -> -w_j with E_ji -> -E_ji and E_ij -> -E_ij, i other than j,
    is another name of the same run. `run` has its neurons in the order of their roles (`by_role`).
    """
    taken = run.head[:, :, STRONG]
    peaks = taken[np.abs(taken).argmax(axis=0), np.arange(run.config.m)]
    return np.where((peaks < 0) & (np.arange(run.config.m) != STRONG), -1.0, 1.0)


def signed(run, sign):
    """E (T, m, m) of a run whose neurons have these signs, (m,)."""
    return sign[:, None] * run.head * sign


def peak_of_head(run):
    """(row, j, i) at which |E_ji| off the diagonal is largest; None where it is 0 throughout."""
    away = np.abs(run.head * (1 - np.eye(run.config.m)))
    row, j, i = np.unravel_index(away.argmax(), away.shape)
    return (int(row), int(j), int(i)) if away[row, j, i] > 0 else None


def feature_style(j, l):
    """The line of neuron j with feature l."""
    return {"color": FEATURE_COLOURS[l % len(FEATURE_COLOURS)], "ls": line_style(j), "lw": line_width(j)}


def line_style(neuron):
    """The line style of a neuron."""
    return NEURON_STYLES[neuron % len(NEURON_STYLES)]


def line_width(neuron):
    """Line width: thinner where the line styles start over."""
    return thick(1.6) / (1 + neuron // len(NEURON_STYLES))


def positions(run, clock=None):
    """Where on its axis each row of the log stands, (T,).

    Steps for SGD. For the flow, how much has changed (`Trajectory.change`): on log-time its phases end in
    vertical jumps. `clock` "time" asks for log-time all the same.
    """
    _require_clock(clock)
    if clock is None:
        clock = "change" if run.clock == "time" else "step"
    return getattr(run, "steps" if clock == "step" else clock)


def _require_clock(clock):
    """ValueError for what is no clock of an axis."""
    if clock not in (None, *CLOCKS):
        raise ValueError(f"`clock` must be one of {', '.join(CLOCKS)}, got {clock!r}")


def time_axis(run, ax=None, clock=None):
    """`ax`, or new Axes, with the time axis of this run; `clock` as for `positions`."""
    _require_clock(clock)
    if ax is None:
        _, ax = plt.subplots(figsize=size(7, 3), layout="constrained")
    if run.clock == "time" and clock == "time":
        ax.set_xscale("log")
        ax.set_xlim(run.time[min(1, len(run) - 1)] or None, run.time[-1] or None)
        ax.set_xlabel("time $t$")
    elif run.clock == "time" or clock == "change":
        _change_axis(run, ax)
    else:
        ax.set_xscale("symlog", linthresh=1, linscale=FIRST_STEP_IN_COLUMN if in_column() else FIRST_STEP)
        ax.set_xlim(0, max(run.steps[-1], 1))
        ax.set_xlabel("SGD step")
    ax.xaxis.set_minor_locator(NullLocator())
    if len(run) == 1:
        ax.set_prop_cycle(marker=["o"])  # a single point is no line
    return ax


def _change_axis(run, ax):
    """An axis that goes by `Trajectory.change`, with the times written along it, where they differ."""
    last = run.change[-1] or 1.0
    places = np.linspace(0, last, COLUMN_TICKS if in_column() else TICKS)
    rows = np.searchsorted(run.change, places).clip(0, len(run) - 1)
    apart = [rows[0]]  # where time nearly stands still, the first place has the label
    for row in rows[1:]:
        if run.time[row] > TIMES_APART * run.time[apart[-1]] and power(run.time[row]) != power(run.time[apart[-1]]):
            apart.append(row)
    rows = np.array(apart)
    ax.set_xlim(0, last)
    ax.set_xticks(run.change[rows], [power(time) for time in run.time[rows]])
    ax.set_xlabel("time $t$ (the axis goes by how much changes)" if run.clock == "time" else "time (by change)")


def when(run, row):
    """A row of the log in words: its step of SGD, or the time of a flow."""
    return f"step {run.steps[row]}" if run.clock == "step" else f"$t$ = {power(run.time[row])}"


def power(value):
    """A number to two digits, as mathtext."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    if -3 <= int(exponent) < 4:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    return rf"${mantissa}{{\times}}10^{{{int(exponent)}}}$"


def legend(ax):
    """A legend of all that is labelled, to the right of the Axes."""
    handles, labels = ax.get_legend_handles_labels()
    columns = 1 + (len(handles) > IN_A_COLUMN and not in_column())
    ax.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=columns, fontsize=small())
    return ax


def without_closed_form(run, ax, what):
    """Write into the Axes that `what` has no closed form under the law of the run's samples."""
    ax.text(0.5, 0.5, f"{what}: no closed form\nunder the data law {run.config.data}", transform=ax.transAxes, ha="center",
            va="center", fontsize="small", color="0.3", wrap=True)
    return ax
