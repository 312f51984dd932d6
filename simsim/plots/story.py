"""A run in four panels, overlaps, head, shares and loss, with its phases.

A `flow` beside a run of SGD is put on the run's steps, step = time / eta, in thin lines.
"""

import matplotlib.pyplot as plt
import numpy as np

import simsim.heads
from simsim import rates, schedules
from simsim.phases import STRONG, find_phases
from simsim.plots.style import by_role, feature_style, legend, line_style, line_width, positions, time_axis, without_closed_form

LIGHTEST = 0.65  # grey of the head's first row; its last is black
SHADES = ("#FFFFFF", "#EFEFEF")
FLOW_WIDTH = 0.7
SAME_TIME = 1e-3  # phases that end this near to each other, on the axis, share a label
SMALLEST_OVERLAP = 1e-4  # what falls below this, and below where it began, is not worth a decade of the axis


def phases(run, ax=None, flow=None, clock=None):
    """The four phases of a run in four panels: overlaps, head, shares, loss.

    Parameters
    ----------
    run : simsim.Trajectory
    ax : sequence of four Axes, optional; made anew if missing
    flow : simsim.Trajectory of the flow from the same start, optional; drawn thin beside a run of SGD
    clock : "time", optional; log-time for a flow, whose axis otherwise goes by how much changes

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
    run, flow = by_role(run, flow)
    found = find_phases(run)
    for panel, draw in zip(ax, (overlaps, head, shares, loss)):
        draw(run, panel, flow, clock)
        shade_phases(run, panel, found, clock)
        if panel is not ax[-1]:
            panel.set_xlabel("")
    name_phases(run, ax[0], found, clock)
    ax[-1].set_xlabel("\n".join([ax[-1].get_xlabel(), *_notes(run, flow)]))
    return ax


def _notes(run, flow):
    """What the picture must not leave unsaid."""
    if flow is not None:
        yield "thin lines: infinite batch, step size to zero (the flow), from the same start"
    if run.config.hand_picked and not run.start_was_given:
        rate = rates.lookup(run.config) if simsim.heads.changes(run.config) else None
        typical = f": {rate.successes} of {rate.runs} random ones go this way" if rate else ""
        yield f"this start is hand-picked{typical}"


# ---- panels ----------------------------------------------------------------------------

def overlaps(run, ax=None, flow=None, clock=None):
    """|<w_j, v_l>| of every neuron with every feature, on a logarithmic axis."""
    def lines(run):
        for j, l in _pairs(run):
            yield np.abs(run.overlaps[:, j, l]), feature_style(j, l), rf"$|\langle w_{j + 1}, v_{l + 1}\rangle|$"
    ax = _draw(lines, run, ax, flow, clock)
    ax.set_yscale("log")
    sizes = np.abs(run.overlaps)
    low, high = max(sizes.min(), min(SMALLEST_OVERLAP, sizes[0].min())), sizes.max()
    if low > 0:
        ax.set_ylim(low / 2, 2 * high)
    ax.set_ylabel("overlap")
    return legend(ax)


def head(run, ax=None, flow=None, clock=None):
    """The head's entries E_ji, what F_j takes from neuron i; those of the diagonal where they are not all 1."""
    comma = "," if run.config.m > 9 else ""
    m, whole = run.config.m, bool((np.diagonal(run.head, axis1=1, axis2=2) != 1).any())

    def lines(run):
        for j in range(m):
            grey = str(LIGHTEST * (m - 1 - j) / max(m - 1, 1))
            for i in range(m):
                if whole or i != j:
                    yield (run.head[:, j, i], {"color": grey, "ls": line_style(i), "lw": line_width(i)},
                           f"$E_{{{j + 1}{comma}{i + 1}}}$")
    ax = _draw(lines, run, ax, flow, clock)
    ax.axhline(0, color="0.6", lw=0.6, zorder=0)
    ax.set_ylabel("head" if whole else "head, off the diagonal")
    return legend(ax) if m > 1 or whole else ax


def shares(run, ax=None, flow=None, clock=None):
    """Fraction of each neuron's output variance that each feature explains; thin: after the head."""
    def lines(run):
        for j, l in _pairs(run):
            yield run.shares[:, j, l], feature_style(j, l), rf"$v_{l + 1}$ in $f_{j + 1}$"
        for j in range(run.config.m if simsim.heads.changes(run.config) else 0):
            yield (run.head_shares[:, j, STRONG], {**feature_style(j, STRONG), "color": "0.35", "lw": 0.9},
                   rf"$v_{STRONG + 1}$ in $F_{j + 1}$")
    if not run.config.closed_form:
        ax = without_closed_form(run, time_axis(run, ax, clock), "shares of variance")
        ax.set_ylabel("share of variance")
        return ax
    ax = _draw(lines, run, ax, flow, clock)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("share of variance")
    return legend(ax)


def loss(run, ax=None, flow=None, clock=None):
    """The loss of an infinite batch at the logged weights, if it is known, and of the batches that SGD saw."""
    def lines(run):
        if np.isfinite(run.batch_loss).any():
            yield run.batch_loss, {"ls": "", "marker": ".", "color": "0.65", "ms": 3}, f"batch of {run.config.batch_size}"
        if run.config.closed_form:
            yield run.loss, {"color": "k"}, r"$N \to \infty$"
    ax = _draw(lines, run, ax, flow, clock)
    if not run.config.closed_form:
        without_closed_form(run, ax, "loss of an infinite batch")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("loss $L$")
    return legend(ax)


def _draw(lines, run, ax, flow, clock):
    """The Axes with `lines(run)`, each (values (T,), style, label), and those of the flow in thin."""
    run, flow = by_role(run, flow)
    ax = time_axis(run, ax, clock)
    if flow is not None:
        for values, style, _ in lines(flow):
            steps = [schedules.step_at(run.config, time) for time in flow.time]
            ax.plot(steps, values, **{**style, "lw": FLOW_WIDTH, "zorder": 3})
    for values, style, label in lines(run):
        ax.plot(positions(run, clock), values, **style, label=label)
    return ax


def _pairs(run):
    """(neuron, feature) of every overlap."""
    return [(j, l) for j in range(run.config.m) for l in range(run.config.features)]


# ---- phases ----------------------------------------------------------------------------

def shade_phases(run, ax, found=None, clock=None):
    """Shade the phases I to IV in turn; a head that is back before phase III ends is a dotted line."""
    spans, early = _spans(run, found or find_phases(run), clock)
    for number, (first, last, _) in enumerate(spans):
        ax.axvspan(first, last, color=SHADES[number % 2], lw=0, zorder=-1)
        ax.axvline(last, color="0.75", lw=0.6, zorder=-1)
    if early is not None:
        ax.axvline(early, color="0.5", lw=0.8, ls=":", zorder=-1)
    return ax


def name_phases(run, ax, found=None, clock=None):
    """Write I to IV above the phases they name; two that end at the same place share one."""
    spans, early = _spans(run, found or find_phases(run), clock)
    for first, last, name in [*spans, *([] if early is None else [(early, early, "IV")])]:
        ends = ax.transData.transform([(first, 1), (last, 1)])[:, 0]
        x = ax.transAxes.inverted().transform((ends.mean(), 0))[0]
        ax.text(x, 1.02, name, transform=ax.transAxes, ha="center", va="bottom")
    return ax


def _spans(run, found, clock):
    """((first, last, name) of the phases that ended, in order; the end of phase IV if that came before III's)."""
    x = positions(run, clock)
    places = [None if row is None else x[row] for row in found.rows]
    first = x[min(1, len(x) - 1)] if run.clock == "time" and clock == "time" else 0
    spans, early = [], None
    if places[3] is not None and (places[2] is None or places[3] < places[2] * (1 - SAME_TIME)):
        early = places[3]
    for name, last in zip(("I", "II", "III", "IV"), places if early is None else places[:3]):
        if last is None:
            break
        if spans and last <= first * (1 + SAME_TIME):
            spans[-1] = (*spans[-1][:2], f"{spans[-1][2]}, {name}")
        elif last > first:
            spans.append((first, last, name))
        first = max(first, last)
    return spans, early
