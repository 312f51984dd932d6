"""What colours and lines mean, and the clock of an axis.

Colour tells the feature and line style the neuron, so that the figures read in greyscale and to the
colour-blind. Neurons are named by their roles, as in theory: 1 is the first to learn v_1, 2 the one that
the head is to keep from it.
"""

import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from simsim.phases import find_phases

# The Okabe-Ito palette, in an order in which neighbours differ in lightness; a ninth feature starts it over.
FEATURE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")
NEURON_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
STEP_AXIS = {"linthresh": 1, "linscale": 0.3}  # logarithmic, with a place for step 0
CLOCKS = ("change", "time")
MOST_NAMED = 16  # lines in a legend; more are higher than their panel
TICKS = 7  # of the clock that goes by change


def png(figure, dpi):
    """A figure as the bytes of a PNG; it is closed."""
    with io.BytesIO() as content:
        figure.savefig(content, format="png", dpi=dpi)
        plt.close(figure)
        return content.getvalue()


def by_role(run, flow=None):
    """The run, and the flow beside it if there is one, with neurons in the order of their roles in the run."""
    order = find_phases(run).order
    return run.reordered(order), None if flow is None else flow.reordered(order)


def feature_style(j, l):
    """The line of neuron j with feature l."""
    return {"color": FEATURE_COLOURS[l % len(FEATURE_COLOURS)], "ls": line_style(j), "lw": line_width(j)}


def line_style(neuron):
    """The line style of a neuron."""
    return NEURON_STYLES[neuron % len(NEURON_STYLES)]


def line_width(neuron):
    """Line width: thinner where the line styles start over."""
    return 1.6 / (1 + neuron // len(NEURON_STYLES))


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
        _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    if run.clock == "time" and clock == "time":
        ax.set_xscale("log")
        ax.set_xlim(run.time[min(1, len(run) - 1)] or None, run.time[-1] or None)
        ax.set_xlabel("time $t$")
    elif run.clock == "time" or clock == "change":
        _change_axis(run, ax)
    else:
        ax.set_xscale("symlog", **STEP_AXIS)
        ax.set_xlim(0, max(run.steps[-1], 1))
        ax.set_xlabel("SGD step")
    ax.xaxis.set_minor_locator(NullLocator())
    if len(run) == 1:
        ax.set_prop_cycle(marker=["o"])  # a single point is no line
    return ax


def _change_axis(run, ax):
    """An axis that goes by `Trajectory.change`, with the times written along it."""
    last = run.change[-1] or 1.0
    places = np.linspace(0, last, TICKS)
    rows = np.searchsorted(run.change, places).clip(0, len(run) - 1)
    ax.set_xlim(0, last)
    ax.set_xticks(run.change[rows], [power(time) for time in run.time[rows]])
    ax.set_xlabel("time $t$ (the axis goes by how much changes)" if run.clock == "time" else "time (by change)")


def power(value):
    """A number to two digits, as mathtext."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    if -3 <= int(exponent) < 4:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    return rf"${mantissa}{{\times}}10^{{{int(exponent)}}}$"


def legend(ax):
    """A legend to the right of the Axes; of more than MOST_NAMED lines it names the first."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > MOST_NAMED:
        unnamed = len(handles) - MOST_NAMED + 1
        handles, labels = [*handles[:-unnamed], Line2D([], [], ls="")], [*labels[:-unnamed], f"and {unnamed} more"]
    columns = 1 + (len(handles) > 6)
    ax.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=columns, fontsize="small")
    return ax


def without_closed_form(run, ax, what):
    """Write into the Axes that `what` has no closed form under the law of the run's samples."""
    ax.text(0.5, 0.5, f"{what}: no closed form\nunder the data law {run.config.data}", transform=ax.transAxes, ha="center",
            va="center", fontsize="small", color="0.3", wrap=True)
    return ax
