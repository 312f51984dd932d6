"""Figures: each function draws one thing on the Axes it is given, and returns them.

SGD is drawn against its steps, the flow against time; a `flow` beside a run of
SGD is put on the run's steps, step = time / eta, in thin lines.

Colour tells the feature and line style the neuron, so that the figures read in
greyscale and to the colour-blind. Nothing here calls `plt.show()`.
"""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator

from simsim import heads, rates
from simsim.phases import STRONG, find_phases

# The Okabe-Ito palette, in an order in which neighbours differ in lightness; a ninth feature starts it over.
FEATURE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")
NEURON_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
LIGHTEST = 0.65  # grey of the head's first row; its last is black
SHADES = ("#FFFFFF", "#EFEFEF")
STEP_AXIS = {"linthresh": 1, "linscale": 0.3}  # logarithmic, with a place for step 0
FLOW_WIDTH = 0.7
SAME_TIME = 1e-3  # phases that end this near to each other share a label
SMALLEST_OVERLAP = 1e-4  # what falls below this, and below where it began, is not worth a decade of the axis


def phases(run, ax=None, flow=None):
    """The four phases of a run in four panels: overlaps, head, shares, loss.

    Parameters
    ----------
    run : simsim.Trajectory
    ax : sequence of four Axes, optional; made anew if missing
    flow : simsim.Trajectory of the flow from the same start, optional; drawn thin beside the run

    Returns
    -------
    (4,) array of Axes
    """
    if ax is None:
        _, ax = plt.subplots(4, 1, figsize=(7, 9), sharex=True, layout="constrained",
                             gridspec_kw={"height_ratios": [1.15, 1, 1, 0.8]})
    ax = np.asarray(ax)
    if ax.shape != (4,):
        raise ValueError(f"`ax` must hold four Axes, one a panel, got shape {ax.shape}")
    found = find_phases(run)
    for panel, draw in zip(ax, (overlaps, head, shares, loss)):
        if flow is not None:
            draw(dataclasses.replace(flow, config=run.config), panel)  # on the steps of the run
            for line in panel.get_lines():
                line.set(linewidth=FLOW_WIDTH, zorder=3, label="_")
        draw(run, panel)
        shade_phases(run, panel, found)
        if panel is not ax[-1]:
            panel.set_xlabel("")
    name_phases(run, ax[0], found)
    ax[-1].set_xlabel("\n".join([ax[-1].get_xlabel(), *_notes(run, flow)]))
    return ax


def _notes(run, flow):
    """What the picture must not leave unsaid."""
    if flow is not None:
        yield "thin lines: infinite batch, step size to zero (the flow), from the same start"
    if run.config.hand_picked:
        rate = rates.lookup(run.config) if heads.changes(run.config) else None
        typical = f": {rate.successes} of {rate.runs} random ones go this way" if rate else ""
        yield f"this start is hand-picked{typical}"


def overlaps(run, ax=None):
    """|<w_j, v_l>| of every neuron with every feature, on logarithmic axes."""
    ax = _axes(run, ax)
    for j, l, style in _pairs(run):
        ax.plot(run.ticks, np.abs(run.overlaps[:, j, l]), **style,
                label=rf"$|\langle w_{j + 1}, v_{l + 1}\rangle|$")
    ax.set_yscale("log")
    sizes = np.abs(run.overlaps)
    low, high = max(sizes.min(), min(SMALLEST_OVERLAP, sizes[0].min())), sizes.max()
    if low > 0:
        ax.set_ylim(low / 2, 2 * high)
    ax.set_ylabel("overlap")
    return _legend(ax)


def head(run, ax=None):
    """The head's entries E_ji, what F_j takes from neuron i; those of the diagonal where they are not all 1."""
    ax = _axes(run, ax)
    m, whole = run.config.m, bool((np.diagonal(run.head, axis1=1, axis2=2) != 1).any())
    entries = [(j, i) for j in range(m) for i in range(m) if whole or i != j]
    for j, i in entries:
        ax.plot(run.ticks, run.head[:, j, i], color=str(LIGHTEST * (m - 1 - j) / max(m - 1, 1)), ls=_style(i),
                lw=_width(i), label=f"$E_{{{j + 1}{i + 1}}}$")
    ax.axhline(0, color="0.6", lw=0.6, zorder=0)
    ax.set_ylabel("head" if whole else "head, off the diagonal")
    return _legend(ax) if entries else ax


def shares(run, ax=None):
    """Fraction of each neuron's output variance that each feature explains; thin: after the head."""
    ax = _axes(run, ax)
    for j, l, style in _pairs(run):
        ax.plot(run.ticks, run.shares[:, j, l], **style, label=rf"$v_{l + 1}$ in $f_{j + 1}$")
    for j, l, style in _pairs(run):
        if l == STRONG and heads.changes(run.config):
            ax.plot(run.ticks, run.head_shares[:, j, l], **{**style, "color": "0.35", "lw": 0.9},
                    label=rf"$v_{l + 1}$ in $F_{j + 1}$")
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("share of variance")
    return _legend(ax)


def loss(run, ax=None):
    """The loss of an infinite batch at the logged weights, and of the batches that SGD saw."""
    ax = _axes(run, ax)
    if np.isfinite(run.batch_loss).any():
        ax.plot(run.ticks, run.batch_loss, ".", color="0.65", ms=3, label=f"batch of {run.config.batch_size}")
    ax.plot(run.ticks, run.loss, color="k", label=r"$N \to \infty$")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("loss $L$")
    return _legend(ax)


def shade_phases(run, ax, found=None):
    """Shade the phases I to IV in turn; a head that is back before phase III ends is a dotted line."""
    spans, early = _spans(run, found or find_phases(run))
    for number, (first, last, _) in enumerate(spans):
        ax.axvspan(first, last, color=SHADES[number % 2], lw=0, zorder=-1)
        ax.axvline(last, color="0.75", lw=0.6, zorder=-1)
    if early is not None:
        ax.axvline(early, color="0.5", lw=0.8, ls=":", zorder=-1)
    return ax


def name_phases(run, ax, found=None):
    """Write I to IV above the phases they name; two that end in the same logged step share a place."""
    spans, early = _spans(run, found or find_phases(run))
    for first, last, name in [*spans, *([] if early is None else [(early, early, "IV")])]:
        ends = ax.transData.transform([(first, 1), (last, 1)])[:, 0]
        x = ax.transAxes.inverted().transform((ends.mean(), 0))[0]
        ax.text(x, 1.02, name, transform=ax.transAxes, ha="center", va="bottom")
    return ax


def _spans(run, found):
    """((first, last, name) of the phases that ended, in order; the end of phase IV if that came before III's)."""
    times = [None if end is None else getattr(end, run.clock) for end in found.ends()]
    spans, first, early = [], _beginning(run), None
    if times[3] is not None and (times[2] is None or times[3] < times[2] * (1 - SAME_TIME)):
        early = times[3]
    for name, last in zip(("I", "II", "III", "IV"), times if early is None else times[:3]):
        if last is None:
            break
        if spans and last <= first * (1 + SAME_TIME):
            spans[-1] = (*spans[-1][:2], f"{spans[-1][2]}, {name}")
        elif last > first:
            spans.append((first, last, name))
        first = max(first, last)
    return spans, early


def _beginning(run):
    """The left end of the time axis: step 0, or for the flow, whose axis is logarithmic, its first time."""
    return run.time[1] if run.clock == "time" and len(run) > 1 else 0


def _axes(run, ax):
    """`ax`, or new Axes, with the time axis of this run."""
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    if run.clock == "time":
        ax.set_xscale("log")
        ax.set_xlim(_beginning(run) or None, run.time[-1] or None)
        ax.set_xlabel("time $t$")
    else:
        ax.set_xscale("symlog", **STEP_AXIS)
        ax.set_xlim(0, max(run.steps[-1], 1))
        ax.set_xlabel("SGD step")
    ax.xaxis.set_minor_locator(NullLocator())
    if len(run) == 1:
        ax.set_prop_cycle(marker=["o"])  # a single point is no line
    return ax


def _pairs(run):
    """(neuron, feature, line style) of every overlap."""
    for j in range(run.config.m):
        for l in range(run.config.features):
            yield j, l, {"color": FEATURE_COLOURS[l % len(FEATURE_COLOURS)], "ls": _style(j), "lw": _width(j)}


def _style(neuron):
    return NEURON_STYLES[neuron % len(NEURON_STYLES)]


def _width(neuron):
    """Line width: thinner where the line styles start over."""
    return 1.6 / (1 + neuron // len(NEURON_STYLES))


def _legend(ax):
    columns = 1 + (len(ax.get_lines()) > 6)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=columns, fontsize="small")
    return ax
