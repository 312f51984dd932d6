"""Neurons moving in the plane of the strong and the weak feature, as an animation."""

from numbers import Integral

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes

from simsim.phases import NAMES, STRONG, WEAK, find_phases
from simsim.plots.style import AMOUNTS, FEATURE_COLOURS, positions, size, when
from simsim.trajectory import Trajectory

FRAMES = 120
MILLISECONDS = 60  # a frame is shown
NUMERALS = ("I", "II", "III", "IV")
TRAIL = 25  # frames that a neuron's tail lasts


def motion(run: Trajectory, ax: Axes | None = None, frames: int = FRAMES,
           phase: str | tuple[int, int] | None = None) -> FuncAnimation:
    """An animation of a run: where every f_j, and every prediction F_j, stands between the strong and the weak feature.

    A neuron stands at the square roots of its shares of variance: at the origin it is noise, on the arc it is
    features alone. Save it with `.save("run.gif", writer="pillow")`, or show it in a page by `.to_jshtml()`.

    Parameters
    ----------
    run : simsim.Trajectory with at least two features, whose shares have a closed form (else data.NoClosedForm)
    ax : Axes, optional
    frames : int, how many instants are shown, evenly spaced on the run's axis
    phase : "I", "II", "III" or "IV", or a pair of rows of the log, first and last, optional; to show that part alone

    Returns
    -------
    matplotlib.animation.FuncAnimation

    Raises
    ------
    ValueError : a single feature; a phase that did not come, with the reason, or that was over before the one before it
    """
    if run.config.features < 2:
        raise ValueError("`run` must have two features or more: with a single one there is no plane")
    if ax is None:
        _, ax = plt.subplots(figsize=size(5, 5), layout="constrained")
    found = find_phases(run)
    ordered = run.reordered(found.order)
    rows = _rows(run, frames, *_part(run, found, phase))
    f, F = (np.sqrt(shares[rows][:, :, [STRONG, WEAK]]) for shares in (ordered.shares, ordered.head_shares))
    _plane(ax)
    m = run.config.m
    tails = [ax.plot([], [], color="0.6", lw=1)[0] for _ in range(m)]
    dots = ax.scatter(np.zeros(m), np.zeros(m), s=90, c=np.arange(m), cmap=AMOUNTS, vmin=0, vmax=max(m, 2), zorder=3)
    rings = ax.scatter(np.zeros(m), np.zeros(m), s=200, facecolors="none", edgecolors="0.3", zorder=2)
    names = [ax.text(0, 0, f"$f_{{{j + 1}}}$", ha="left", va="bottom") for j in range(m if m <= 8 else 0)]
    title = ax.set_title("")

    def draw(frame):
        dots.set_offsets(f[frame])
        rings.set_offsets(F[frame])
        for j, tail in enumerate(tails):
            tail.set_data(*f[max(0, frame - TRAIL):frame + 1, j].T)
        for name, place in zip(names, f[frame]):
            name.set_position(place + 0.02)
        title.set_text(_caption(run, found, rows[frame]))
        return [dots, rings, title, *tails, *names]

    draw(0)
    return FuncAnimation(ax.figure.canvas.figure, draw, frames=len(rows), interval=MILLISECONDS)


def _part(run, found, phase):
    """First and last row of the log of what is shown: a phase by its name, a pair of rows as it is, or all."""
    if phase is None:
        return 0, len(run) - 1
    if phase not in NUMERALS:
        first, last = _pair(phase)
        if not 0 <= first < last < len(run):
            raise ValueError(f"`phase` must be one of {', '.join(NUMERALS)}, or two rows of the log's {len(run)} in order, "
                             f"got {phase!r}")
        return first, last
    number = NUMERALS.index(phase)
    last = found.rows[number]
    if last is None:
        raise ValueError(f"`phase` = {phase!r}: it did not come, for {found.missing[NAMES[number]]}")
    first = max([row for row in found.rows[:number] if row is not None], default=0)
    if first >= last:
        raise ValueError(f"`phase` = {phase!r}: it was over when the one before it ended, or with it")
    return first, last


def _pair(phase):
    """Two whole numbers, or (-1, -1)."""
    try:
        first, last = phase
        return (first, last) if isinstance(first, Integral) and isinstance(last, Integral) else (-1, -1)
    except (TypeError, ValueError):
        return -1, -1


def _rows(run, frames, first, last):
    """The rows of the log nearest to `frames` places between two rows, evenly spaced on the run's axis."""
    x = positions(run) if run.clock == "time" else np.log10(1 + positions(run))
    places = np.linspace(x[first], x[last], frames)
    return np.searchsorted(x, places).clip(first, last)


def _plane(ax):
    arc = np.linspace(0, np.pi / 2, 100)
    ax.plot(np.cos(arc), np.sin(arc), color="0.8", lw=1)
    ax.plot([1], [0], "*", color=FEATURE_COLOURS[STRONG], ms=16)
    ax.plot([0], [1], "*", color=FEATURE_COLOURS[1], ms=16)
    ax.set(xlim=(-0.06, 1.12), ylim=(-0.06, 1.12), aspect="equal", xlabel="strong feature: root of its share",
           ylabel="weak feature: root of its share")


def _caption(run, found, row):
    """When this is, and in which phase."""
    done = [end is not None and end <= row for end in found.rows]
    phase = "after phase IV" if all(done) else f"phase {NUMERALS[done.index(False)]}"
    return f"{when(run, row)}, {phase}\ndots: outputs $f_j$; rings: predictions $F_j$"
