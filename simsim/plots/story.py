"""A run in four panels, signals, head, shares and loss, with its phases; three where the head does not move.

A `flow` beside a run of SGD is put on the run's steps, step = time / eta, in thin lines; a `band` shades where theory has runs
that draw other samples.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import simsim.heads
from simsim import linear_noise, rates, schedules, theory
from simsim.phases import STRONG, WEAK, Phases, find_phases
from simsim.plots.style import (by_role, feature_style, in_column, legend, line_style, line_width, peak_of_head, positions,
                                signed, signs, size, small, thick, time_axis, when, without_closed_form)
from simsim.trajectory import Trajectory

LIGHTEST = 0.65  # grey of the head's first row
NOISE_GREY, HEAD_GREY = "0.55", "0.35"  # of the noise among signals, and of predictions among outputs
SHADES = ("#FFFFFF", "#EFEFEF")
FLOW_WIDTH = 0.7
FLOW_NAME = "infinite batch"
BAND_NAME, BAND_SHADE = "other samples", 0.22
SAME_TIME = 1e-3  # phases that end this near to each other, on the axis, share a label
SMALLEST_SIGNAL = 1e-4  # what falls below this, and below where it began, is not worth a decade of the axis
MOST_NAMED, MOST_NAMED_IN_COLUMN = 12, 7  # lines of a panel that have names; of more, those of neurons 1 and 2, the rest is thin
REST, REST_WIDTH = "all others", 0.5
FALLS_FAR = 1e3  # a loss whose largest value is so many times its smallest stands on a logarithmic axis
LETTERS = 72, 44  # in a line below the panels; the second in one column
# Of each phase that has a law, the name of its end and the equations of docs/theory.md.
LAWS = {"strong_learned": ("T_1", "eq. 14"), "substituted": ("T_2", "eq. 20"), "weak_learned": ("T_3", "eqs. 22, 23")}
LAW_STYLE = {"color": "k", "ls": "-.", "lw": 0.9}
HEIGHTS = {"overlaps": 1.15, "head": 1, "shares": 1, "loss": 0.8}


class Line(NamedTuple):
    """One line of a panel: values (T,), its style, its name, and whether it is told of where there are many."""

    values: np.ndarray
    style: dict
    label: str
    told: bool = True


def phases(run: Trajectory, ax: Sequence[Axes] | np.ndarray | None = None, flow: Trajectory | None = None,
           clock: str | None = None, laws: bool = False,
           band: linear_noise.Band | bool | None = None) -> np.ndarray:
    """The four phases of a run in four panels: signals, head, shares, loss; in three where the head does not move.

    Parameters
    ----------
    run : simsim.Trajectory
    ax : sequence of Axes, optional, as many as there are panels, or four in any case: without a head that moves the second
        then says so; made anew if missing
    flow : simsim.Trajectory of the flow from the same start, optional; drawn thin beside a run of SGD
    clock : "time", optional; log-time for a flow, whose axis otherwise goes by how much changes
    laws : bool; whether to draw the ends of phases I to III that theory predicts for this config and start, T_1 (eq. 14), T_2
        (eq. 20) and T_3 (eqs. 22, 23), and to say below the panels which of them no law names, and why
    band : linear_noise.Band of this run, or True to have it computed, which takes a second or two: shaded, in the first two panels,
        two standard deviations of SGD about its mean, as far as theory knows them (eqs. 72 to 79)

    Returns
    -------
    (4,) array of Axes, (3,) of a head that does not move unless four were given
    """
    draws = {"overlaps": overlaps, "head": head, "shares": shares, "loss": loss}
    names = [name for name in draws if name != "head" or _has_head(run)]
    if ax is None:
        _, ax = plt.subplots(len(names), 1, figsize=size(7, 9 if len(names) == 4 else 7), sharex=True, layout="constrained",
                             gridspec_kw={"height_ratios": [HEIGHTS[name] for name in names]})
    ax = np.asarray(ax)
    if ax.shape not in ((len(names),), (len(draws),)):
        raise ValueError(f"`ax` must hold {'four' if len(names) == 4 else 'three or four'} Axes, one a panel, got shape {ax.shape}")
    band = _of_this_run(run, linear_noise.band(run) if band is True else band)
    run, flow = by_role(run, flow)
    found = find_phases(run)
    shaded = {"overlaps": {"band": band}, "head": {"band": band}}
    for panel, name in zip(ax, names if len(ax) == len(names) else draws):
        draws[name](run, panel, flow, clock, **shaded.get(name, {}))
        shade_phases(run, panel, found, clock)
        if panel is not ax[-1]:
            panel.set_xlabel("")
    name_phases(run, ax[0], found, clock)
    notes = [*_notes(run, flow, band), *(_draw_laws(run, ax, clock) if laws else [])]
    lines = [line for note in notes for line in textwrap.wrap(note, LETTERS[in_column()])]
    ax[-1].set_xlabel("\n".join([ax[-1].get_xlabel(), *lines]))
    return ax


def _of_this_run(run, band):
    """The Band with its neurons by their roles, as those of the run will be; None where there is none."""
    if band in (None, False):
        return None
    if not np.array_equal(band.time, run.time):
        raise ValueError("`band` must be that of this run, as `linear_noise.band(run)` makes it: its rows are others")
    return band.reordered(find_phases(run).order)


def _has_head(run):
    """Whether a head has something to show: it moves off a diagonal that is fixed, or does not start as the identity."""
    some = run.config.m > 1 or (run.head != 1).any()
    return some and simsim.heads.changes(run.config) or bool((run.head != np.eye(run.config.m)).any())


def _notes(run, flow, band):
    """What the picture must not leave unsaid."""
    if flow is not None:
        yield "thin lines: the flow (infinite batch, step size to zero), same start"
    if band is not None:
        where = f"; too little linear for it {band.where_not}" if band.where_not else ""
        yield f"shaded: two standard deviations of SGD with other samples, by theory{where}"
    turned = [j + 1 for j in np.flatnonzero(signs(run) < 0)]
    if turned:
        yield (f"head: {', '.join(f'$f_{{{j}}}$' for j in turned)} with the other sign (the same run), so that "
               f"{'$E_{21}$ rises' if turned == [2] else '$E_{j1}$ rise'}")
    if run.config.hand_picked and not run.start_was_given:
        rate = rates.lookup(run.config) if simsim.heads.changes(run.config) else None
        typical = f": {rate.successes} of {rate.runs} random ones go this way" if rate else ""
        yield f"this start is hand-picked{typical}"


# ---- panels ----------------------------------------------------------------------------

def overlaps(run: Trajectory, ax: Axes | None = None, flow: Trajectory | None = None, clock: str | None = None,
             band: linear_noise.Band | None = None) -> Axes:
    """alpha_l |<w_j, v_l>| / sigma of every neuron and feature, on a logarithmic axis, and the noise on the same scale.

    An output is the cube of these, so the largest line of a neuron is the largest part of its output. The grey line is the
    signal at which a feature makes up as much of f_j as noise does (`theory.noise_level`): a feature above it is learned.
    """
    with_noise = run.config.closed_form and len(set(run.config.patches_by_feature)) == 1 and bool(run.noise_norms.all())

    def lines(run):
        signals = theory.signal(run.config, run.overlaps)
        for j, l in _pairs(run):
            yield Line(signals[:, j, l], feature_style(j, l), f"$v_{{{l + 1}}}$ in $w_{{{j + 1}}}$", _is_told(run, j, l))
        for j in range(run.config.m if with_noise else 0):
            yield Line(theory.noise_level(run.config, run.noise_norms[:, j]),
                       {**feature_style(j, STRONG), "color": NOISE_GREY, "lw": thick(1.0)}, f"noise in $w_{{{j + 1}}}$",
                       _is_told(run, j))
    ax = _draw(lines, run, ax, flow, clock)
    if band is not None:
        mean, width = (theory.signal(run.config, overlaps)
                       for overlaps in (band.overlaps, linear_noise.DEVIATIONS * band.overlaps_deviation))
        for j, l in _pairs(run):
            if _is_told(run, j, l):
                _shade(run, ax, band, clock, mean[:, j, l] - width[:, j, l], mean[:, j, l] + width[:, j, l],
                       feature_style(j, l)["color"])
    ax.set_yscale("log")
    signals = theory.signal(run.config, run.overlaps)
    low = max(signals.min(), min(SMALLEST_SIGNAL, signals[0].min()))
    if low > 0:
        high = max(signals.max(), theory.noise_level(run.config, run.noise_norms).max() if with_noise else 0)
        ax.set_ylim(low / 2, 2 * high)
    ax.set_ylabel(r"signal $\alpha_l |\langle w_j, v_l\rangle| / \sigma$")
    return legend(ax)


def head(run: Trajectory, ax: Axes | None = None, flow: Trajectory | None = None, clock: str | None = None,
         band: linear_noise.Band | None = None) -> Axes:
    """The head's entries E_ji, what F_j takes from neuron i; those of the diagonal where they are not all 1.

    Neurons have the signs in which E_21 rises first (`style.signs`); its largest entry off the diagonal is marked.
    """
    comma = "," if run.config.m > 9 else ""
    m, whole = run.config.m, bool((np.diagonal(run.head, axis1=1, axis2=2) != 1).any())
    run, flow = by_role(run, flow)
    sign = signs(run)

    def lines(run):
        E = signed(run, sign)
        for j in range(m):
            grey = str(_grey(j, m))
            for i in range(m):
                if whole or i != j:
                    yield Line(E[:, j, i], {"color": grey, "ls": line_style(i), "lw": line_width(i)},
                               f"$E_{{{j + 1}{comma}{i + 1}}}$", _is_told(run, j) and _is_told(run, i))
    if not _has_head(run):
        return _say_no_head(run, ax, clock)
    ax = _draw(lines, run, ax, flow, clock)
    if band is not None:
        mean, width = sign[:, None] * band.head * sign, linear_noise.DEVIATIONS * band.head_deviation
        for j, i in np.argwhere(width.any(0)):
            _shade(run, ax, band, clock, mean[:, j, i] - width[:, j, i], mean[:, j, i] + width[:, j, i], str(_grey(j, m)))
    ax.set_ylabel("head" if whole else "head, off the diagonal")
    ax.axhline(0, color="0.6", lw=0.6, zorder=0)
    _mark_peak(run, ax, sign, clock)
    return legend(ax)


def _shade(run, ax, band, clock, low, high, colour):
    """Shade from `low` to `high` (T,) where the band holds; named once in the legend of its Axes."""
    named = BAND_NAME in ax.get_legend_handles_labels()[1]
    ax.fill_between(positions(run, clock), low, high, where=band.holds, color=colour, alpha=BAND_SHADE, lw=0, zorder=0.5,
                    label=None if named else BAND_NAME)


def _say_no_head(run, ax, clock):
    """In place of lines that would all lie on one."""
    ax = time_axis(run, ax, clock)
    words = "the head is frozen: $E = I$" if run.config.m > 1 else "one neuron has no head: $E = 1$"
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center")
    ax.set(ylabel="head", yticks=[])
    return ax


def _grey(j, m):
    """The grey of row j of the head: neuron 2, of which the story is, in black, neuron 1 in the lightest, others between."""
    return {0: LIGHTEST if m > 1 else 0.0, 1: 0.0}.get(j, LIGHTEST * (j - 1) / m)


def _mark_peak(run, ax, sign, clock):
    """A ring at the largest entry off the diagonal, with its value in the legend; where the start is largest it is no peak."""
    peak = peak_of_head(run)
    if peak is not None and peak[0] > 0:
        row, j, i = peak
        value = float(signed(run, sign)[peak])
        comma = "," if run.config.m > 9 else ""
        name = "peak" if row < len(run) - 1 else "largest"
        ax.plot(positions(run, clock)[row], value, "o", mfc="w", mec="k", ms=thick(6), zorder=4, clip_on=False,
                label=f"{name}: $E_{{{j + 1}{comma}{i + 1}}}$ = {value:.2g}\nat {when(run, row)}")


def shares(run: Trajectory, ax: Axes | None = None, flow: Trajectory | None = None, clock: str | None = None) -> Axes:
    """Fraction of each neuron's output variance that each feature explains; thin: after the head."""
    def lines(run):
        for j, l in _pairs(run):
            yield Line(run.shares[:, j, l], feature_style(j, l), f"$v_{{{l + 1}}}$ in $f_{{{j + 1}}}$", _is_told(run, j, l))
        for j in range(run.config.m if simsim.heads.changes(run.config) else 0):
            yield Line(run.head_shares[:, j, STRONG],
                       {**feature_style(j, STRONG), "color": HEAD_GREY, "lw": thick(0.9), "zorder": 1.8},
                       f"$v_{{{STRONG + 1}}}$ in $F_{{{j + 1}}}$", _is_told(run, j))
    if not run.config.closed_form:
        ax = without_closed_form(run, time_axis(run, ax, clock), "shares of variance")
        ax.set_ylabel("share of variance")
        return ax
    ax = _draw(lines, run, ax, flow, clock)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("share of variance")
    return legend(ax)


def loss(run: Trajectory, ax: Axes | None = None, flow: Trajectory | None = None, clock: str | None = None) -> Axes:
    """The loss that is expected at the logged weights, that of an infinite batch, if it is known, and of the batches of SGD.

    On a logarithmic axis where it falls by more than three decades.
    """
    closed = run.config.closed_form

    def lines(run):
        if np.isfinite(run.batch_loss).any():
            yield Line(run.batch_loss, {"ls": "", "marker": ".", "color": "0.65", "ms": 3}, f"batch of {run.config.batch_size}")
        if closed:
            yield Line(run.loss, {"color": "k", "lw": thick(1.5)}, "expected")
    ax = _draw(lines, run, ax, flow, clock)
    if not closed:
        without_closed_form(run, ax, "loss of an infinite batch")
    losses = run.loss if closed else run.batch_loss
    known = losses[np.isfinite(losses)]
    if known.size and known.min() >= 0:
        if known.max() > FALLS_FAR * known[known > 0].min(initial=np.inf):
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0)
    ax.set_ylabel("loss $L$")
    return legend(ax)


def _draw(lines, run, ax, flow, clock):
    """The Axes with every `Line` of `lines(run)`, and those of the flow in thin, which are named once."""
    run, flow = by_role(run, flow)
    ax = time_axis(run, ax, clock)
    if flow is not None:
        steps = [schedules.step_at(run.config, time) for time in flow.time]
        for line in lines(flow):
            ax.plot(steps, line.values, **{**line.style, "lw": thick(FLOW_WIDTH), "zorder": 3})
    drawn, x, rest = list(lines(run)), positions(run, clock), None
    few = len(drawn) <= (MOST_NAMED_IN_COLUMN if in_column() else MOST_NAMED)
    for line in drawn:
        if few or line.told:
            ax.plot(x, line.values, **line.style, label=line.label)
        else:
            rest, = ax.plot(x, line.values, **{**line.style, "lw": thick(REST_WIDTH), "zorder": 1.5})
    if rest is not None:
        ax.plot([], [], color="0.4", lw=thick(REST_WIDTH), label=REST)
    if flow is not None:
        ax.plot([], [], color="0.4", lw=thick(FLOW_WIDTH), label=FLOW_NAME)
    return ax


def _pairs(run):
    """(neuron, feature) of every overlap."""
    return [(j, l) for j in range(run.config.m) for l in range(run.config.features)]


def _is_told(run, j, l=STRONG):
    """Whether a line of neuron j and feature l is one of the story's: of neurons 1 and 2, with the strong and the weak feature."""
    return j < 2 and l in (STRONG, run.config.features + WEAK)


# ---- theory ----------------------------------------------------------------------------

def _draw_laws(run, ax, clock):
    """Draw T_1 to T_3 of theory into all panels; yields what is to be said of them."""
    x, drawn, silent = positions(run, clock), [], {}
    for key, (name, equations) in LAWS.items():
        time, why = _by_theory(run, key)
        at = _place(run, x, time) if time is not None else np.inf
        if at > x[-1]:
            why = why or f"at {_when(run, time)} by {equations}, after the end of the run"
            silent.setdefault(why, []).append(name)
            continue
        drawn.append(f"${name}$ at {_when(run, time)} ({equations})")
        for panel in ax:
            panel.axvline(at, **LAW_STYLE, zorder=2.5)
        ax[0].text(at, 0.97, f"${name}$ ", transform=ax[0].get_xaxis_transform(), ha="right", va="top", fontsize=small())
    if drawn:
        late = "" if run.clock == "step" or clock == "time" else "; small differences of time are wide on this axis"
        ax[0].plot([], [], **LAW_STYLE, label="by theory")
        legend(ax[0])
        yield f"by theory: {', '.join(drawn)}{late}"
    for why, names in silent.items():
        yield f"{', '.join(f'${name}$' for name in names)} not drawn: {why}"


def _by_theory(run, key):
    """The time of an end of `Trajectory.milestones`, None where there is none, and why it cannot be drawn, "" if it may be."""
    if run.time[0] > 0:
        return None, "laws count from the start, which this part of a run does not have"
    time = getattr(run.milestones, key)
    if time is None:
        return None, f"without {run.milestones.why[key]}"
    return (time, "") if np.isfinite(time) else (None, "it never comes")


def _place(run, x, time):
    """Where `time` stands on the axis whose rows stand at `x`; inf beyond the end of the run."""
    if run.clock == "step":
        return schedules.step_at(run.config, time)
    return float(np.interp(time, run.time, x)) if time <= run.time[-1] else np.inf


def _when(run, time):
    """A time in words: in steps of SGD, or of the flow."""
    return f"step {schedules.step_at(run.config, time):.3g}" if run.clock == "step" else f"{time:.3g}"


# ---- phases ----------------------------------------------------------------------------

def shade_phases(run: Trajectory, ax: Axes, found: Phases | None = None, clock: str | None = None) -> Axes:
    """Shade the phases I to IV in turn; a head that is back before phase III ends is a dotted line."""
    spans, early = _spans(run, found or find_phases(run), clock)
    for number, (first, last, _) in enumerate(spans):
        ax.axvspan(first, last, color=SHADES[number % 2], lw=0, zorder=-1)
        ax.axvline(last, color="0.75", lw=0.6, zorder=-1)
    if early is not None:
        ax.axvline(early, color="0.5", lw=0.8, ls=":", zorder=-1)
    return ax


def name_phases(run: Trajectory, ax: Axes, found: Phases | None = None, clock: str | None = None) -> Axes:
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
