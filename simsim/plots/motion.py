"""Neurons moving in the plane of the strong and the weak feature, as an animation."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FuncAnimation

from simsim.phases import STRONG, WEAK, find_phases
from simsim.plots.style import FEATURE_COLOURS, positions, power

FRAMES = 120
MILLISECONDS = 60  # a frame is shown
TRAIL = 25  # frames that a neuron's tail lasts


def motion(run, ax=None, frames=FRAMES):
    """An animation of a run: where every f_j, and every prediction F_j, stands between the strong and the weak feature.

    A neuron stands at the square roots of its shares of variance: at the origin it is noise, on the arc it is
    features alone. Save it with `.save("run.gif", writer="pillow")`, or show it in a page by `.to_jshtml()`.

    Parameters
    ----------
    run : simsim.Trajectory with at least two features, whose shares have a closed form (else data.NoClosedForm)
    ax : Axes, optional
    frames : int, how many moments are shown, evenly spaced on the run's axis

    Returns
    -------
    matplotlib.animation.FuncAnimation
    """
    if run.config.features < 2:
        raise ValueError("`run` must have two features or more: with a single one there is no plane")
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 5), layout="constrained")
    found = find_phases(run)
    ordered = run.reordered(found.order)
    rows = _rows(run, frames)
    f, F = (np.sqrt(shares[rows][:, :, [STRONG, WEAK]]) for shares in (ordered.shares, ordered.head_shares))
    _plane(ax)
    m = run.config.m
    tails = [ax.plot([], [], color="0.6", lw=1)[0] for _ in range(m)]
    dots = ax.scatter(np.zeros(m), np.zeros(m), s=90, c=np.arange(m), cmap="cividis", vmin=0, vmax=max(m, 2), zorder=3)
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
    return FuncAnimation(ax.figure, draw, frames=len(rows), interval=MILLISECONDS)


def _rows(run, frames):
    """The rows of the log nearest to `frames` places, evenly spaced on the run's axis."""
    x = positions(run) if run.clock == "time" else np.log10(1 + positions(run))
    places = np.linspace(0, x[-1], frames)
    return np.searchsorted(x, places).clip(0, len(run) - 1)


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
    phase = "after phase IV" if all(done) else f"phase {('I', 'II', 'III', 'IV')[done.index(False)]}"
    when = f"step {run.steps[row]}" if run.clock == "step" else f"$t$ = {power(run.time[row])}"
    return f"{when}, {phase}\ndots: outputs $f_j$; rings: predictions $F_j$"
