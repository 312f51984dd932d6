"""The pull on the second neuron, in the plane of the two features: acceleration seen."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from simsim import measures
from simsim.phases import find_phases
from simsim.plots.style import AMOUNTS, positions, size
from simsim.trajectory import Trajectory

ARROWS = 17  # along each axis
MARGIN = 0.4  # decades beyond the path
DEEPEST = 6.0  # decades below the largest signal that are shown at most
EDGE = 0.01  # decades from the length of the neuron, where it has no noise left


def portrait(run: Trajectory, axes: Sequence[Axes] | np.ndarray | None = None) -> np.ndarray:
    """How neuron 2 is pulled along v_1 and v_2, when phase I ends and in the middle of phase III.

    All else, the first neuron, the head and the length of w_2, stands as it is at that moment; the
    neuron is put at every point of the plane, and an arrow shows the flow there in log|a_21| and log|a_22|,
    by its direction and, in colour, its speed. The line is the path that the run takes, with a point at that moment.

    Parameters
    ----------
    run : simsim.Trajectory that has learned v_1, with batch norm
    axes : sequence of two Axes, optional

    Returns
    -------
    (2,) array of Axes
    """
    found = find_phases(run)
    if found.weak_neuron is None or run.config.features != 2 or run.config.m != 2 or not run.config.batch_norm:
        raise ValueError("`run` must have two features, two neurons, of which one has learned v_1, and batch norm")
    if not run.noise_norms.all() or not run.overlaps.all():
        raise ValueError("`run` must have noise in every neuron, and no overlap of 0: the picture is of logarithms")
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=size(9, 4.2), layout="constrained", sharex=True, sharey=True)
    axes = np.asarray(axes)
    if axes.shape != (2,):
        raise ValueError(f"`axes` must hold two Axes, got shape {axes.shape}")
    run = run.reordered(found.order)
    looks = _looks(run, found)
    extent = _extent(run, list(looks.values()))
    for ax, (title, row) in zip(axes, looks.items()):
        speeds = _draw(run, row, extent, ax)
        ax.set_title(title)
    axes[0].figure.colorbar(speeds, ax=axes, label=r"$\log_{10}$ of the rate, $|\mathrm{d} \log |a| / \mathrm{d} t|$")
    return axes


def _looks(run, found):
    """{title: row of the log}: before and after substitution."""
    before, two, three = found.rows[0], found.rows[1], found.rows[2]
    x = positions(run)
    last = len(run) - 1 if three is None else three
    middle = last if two is None else int(np.argmin(np.abs(x[two:last + 1] - (x[two] + x[last]) / 2))) + two
    names = ("phase I ends: before substitution", "in phase III: after" if two is not None else "at the end: no substitution")
    return dict(zip(names, (before, middle)))


def _signals(run):
    """log10 of alpha_l |a_2l| / sigma, (T, 2)."""
    return np.log10(np.array(run.config.effective_alphas) * np.abs(run.overlaps[:, 1]))


def _extent(run, rows):
    """The smallest and the largest signals to show, (2, 2): the path's, and what the neuron's length allows."""
    path, lengths = _signals(run), run.norms[rows, 1].max()
    largest = np.log10(np.array(run.config.effective_alphas) * lengths)
    return np.maximum(path.min(axis=0) - MARGIN, largest - DEEPEST), largest


def _draw(run, row, extent, ax):
    """The arrows at one row of the log, and the path; returns the arrows."""
    low, largest = extent
    grid = np.meshgrid(*(np.linspace(a, b - EDGE, ARROWS) for a, b in zip(low, largest)), indexing="ij")
    logs = np.stack(grid, axis=-1).reshape(-1, 2)
    rates = _rates(run, row, 10**logs / np.array(run.config.effective_alphas))
    speed = np.linalg.norm(rates, axis=1)
    shown = np.isfinite(speed) & (speed > 0)
    arrows = ax.quiver(*logs[shown].T, *(rates[shown] / speed[shown, None]).T, np.log10(speed[shown]), cmap=AMOUNTS,
                       angles="xy", scale=1.4 * ARROWS, width=0.004)
    path = _signals(run)
    ax.plot(*path.T, color="k", lw=1.2)
    ax.plot(*path[row], "o", color="k", ms=7, mfc="w", mew=1.5)
    ax.set(xlim=(low[0], largest[0]), ylim=(low[1], largest[1]), xlabel=r"$\log_{10} \, \alpha_1 |a_{21}| / \sigma$",
           ylabel=r"$\log_{10} \, \alpha_2 |a_{22}| / \sigma$")
    return arrows


def _rates(run, row, sizes):
    """d log|a_2l| / dt, (points, 2), with neuron 2 at overlaps of these sizes (points, 2), its length as it is.

    Points that are longer than the neuron have no noise left, and get nan.
    """
    a = np.tile(run.overlaps[row], (len(sizes), 1, 1))
    a[:, 1] = np.copysign(sizes, run.overlaps[row, 1])
    noise = run.norms[row, 1] ** 2 - (sizes**2).sum(axis=1)
    with np.errstate(invalid="ignore"):
        scale = np.ones((len(sizes), 2))
        scale[:, 1] = np.sqrt(noise) / run.noise_norms[row, 1]
    gram = scale[:, :, None] * run.gram[row] * scale[:, None, :]
    head = np.broadcast_to(run.head[row], (len(sizes), 2, 2))
    with np.errstate(invalid="ignore"):
        return measures.growth(run.config, a, gram, head).total[:, 1]
