"""The model itself, before anything is learned and after: one sample with its views, and the network with its head."""

import dataclasses
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from simsim.config import Config
from simsim.data import draw_views
from simsim.plots.style import BOTH_SIGNS, FEATURE_COLOURS, by_role, in_column, power, signed, signs, size, small, thick, when
from simsim.trajectory import Trajectory

# ---- one sample ------------------------------------------------------------------------------

NOISE_SHOWN = 8  # coordinates of the noise; all are alike
MOST_PATCHES, MOST_COORDINATES = 32, 8  # that can be told apart, of patches and of features
BRIGHTEST = 3.0  # standard deviations of the noise at which the colours end
DARK = 2.0  # standard deviations from which numbers on a colour are white
LEAST_SAMPLES = 3  # of a batch
MASKED = {"facecolor": "0.93", "edgecolor": "0.6", "hatch": "////", "lw": 0}


def sample(config: Config, axes: Sequence[Axes] | np.ndarray | None = None, seed: int | None = None) -> np.ndarray:
    """One sample X, a patch a column, and the two views that the mask makes of it (docs/theory.md, eq. 1).

    Rows are the coordinates along the features and some of those of the noise, which are all alike. A view has half of the
    patches; what it did not get is hatched, and zero in it. Numbers are z alpha_l, in the patches that carry the feature.

    Parameters
    ----------
    config : simsim.Config
    axes : sequence of three Axes, optional: the sample, view 1, view 2
    seed : int, optional, of the sample; `config.seed` unless given

    Returns
    -------
    (3,) array of Axes

    Raises
    ------
    ValueError : more than 32 patches, or 8 features: they could not be told apart
    """
    P, K = config.patches, config.features
    if P > MOST_PATCHES or K > MOST_COORDINATES:
        raise ValueError(f"`config` must have at most {MOST_PATCHES} patches and {MOST_COORDINATES} features to be drawn, got {P} "
                         f"and {K}")
    if axes is None:
        shape, flat = ((3, 1), (3.3, 5.4)) if in_column() else ((1, 3), (9.5, 3.4))
        _, axes = plt.subplots(*shape, figsize=size(*flat), sharex=True, sharey=True, layout="constrained")
    axes = np.asarray(axes)
    if axes.shape != (3,):
        raise ValueError(f"`axes` must hold three Axes, got shape {axes.shape}")
    shown = min(config.d - K, NOISE_SHOWN)
    views = _one_sample(config, shown, config.seed if seed is None else seed)
    X, kept = views.sum(axis=0), (views != 0).any(axis=-1)  # (P, K + shown), (2, P)
    carries = (X[:, :K] != 0).any(axis=1)
    feature = int(np.abs(X[:, :K]).sum(axis=0).argmax())
    sign = "+" if X[carries, feature][0] > 0 else "−"
    titles = [f"sample: {carries.sum()} of {P} patches\ncarry $v_{feature + 1}$, sign {sign}",
              *(f"view {number + 1}: {mask.sum()} patches,\n{(carries & mask).sum()} of them carry $v_{feature + 1}$"
                for number, mask in enumerate(kept))]
    for ax, mask, title in zip(axes, (np.full(P, True), *kept), titles):
        image = _patches(ax, X, mask, K, config.sigma)
        ax.set_title(title, fontsize=small())
    names = [f"$v_{l + 1}$" for l in range(K)] + [f"noise {n + 1}" for n in range(shown)]
    axes[0].set_yticks(range(K + shown), names)
    axes[1 if in_column() else 0].set_ylabel(f"coordinate (of $d$ = {power(config.d)})")
    for ax in axes if not in_column() else axes[-1:]:
        ax.set_xlabel("patch $p$")
    axes[0].figure.colorbar(image, ax=axes, extend="both", label=r"$X_p$ in units of $\sigma$",
                             shrink=0.5 if in_column() else 1)
    return axes


def _one_sample(config, shown, seed):
    """Both views (2, P, K + shown) of one sample, with so many of its coordinates of noise, which are independent of the others."""
    small_config = dataclasses.replace(config, d=max(config.features + shown, config.features + config.m), engine="sgd",
                                       dtype="float64", batch_size=LEAST_SAMPLES)
    views = np.stack(draw_views(small_config, np.random.default_rng(seed)))
    return views[:, 0, :, :config.features + shown]


def _patches(ax, X, mask, K, sigma):
    """The patches (P, c) of a view as columns, hatched where the mask (P,) has taken them."""
    image = ax.imshow(np.where(mask[:, None], X / sigma, np.nan).T, cmap=BOTH_SIGNS, vmin=-BRIGHTEST, vmax=BRIGHTEST, aspect="auto")
    for p in np.flatnonzero(~mask):
        ax.add_patch(Rectangle((p - 0.5, -0.5), 1, X.shape[1], **MASKED))
    for p, l in np.argwhere((X[:, :K] != 0) & mask[:, None]):
        ax.text(p, l, f"{X[p, l]:+.3g}", ha="center", va="center", fontsize=small("x-small"),
                color="w" if abs(X[p, l]) > DARK * sigma else "k")
    ax.axhline(K - 0.5, color="k", lw=thick(1))
    ax.set_xticks(range(len(X)), range(1, len(X) + 1))
    return image


# ---- the network -------------------------------------------------------------------------------

MOST_NEURONS, MOST_FEATURES = 6, 6  # that can be drawn
WRITTEN = 3  # neurons and features up to which numbers stand on the lines
INPUT, OUTPUT, PREDICTION, NORMAL, STOP, LOSS = 0.0, 1.6, 3.2, 4.1, 4.8, 5.9  # where the stages stand, from left to right
MIDDLE, SPREAD = 1.2, 0.75  # of a branch: how far from the loss's height, and half of its own
WIDEST, THINNEST = 5.0, 0.4  # of lines, in points
VISIBLE = 0.02  # of the widest: thinner lines are dotted
SMALLEST_NUMBER = 5e-4  # what is written as more than 0
NEAR = 0.74  # of a line's way: where its number stands, near the neuron to which it leads, where no two lines meet
NOISE_COLOUR = "0.6"
NODE = {"boxstyle": "circle,pad=0.3", "fc": "w", "ec": "k"}
BOX = {"boxstyle": "round,pad=0.3", "fc": "0.95", "ec": "k"}
BLACK_BOX = {"boxstyle": "square,pad=0.3", "fc": "k", "ec": "k"}


def network(run: Trajectory, row: int = -1, ax: Axes | None = None) -> Axes:
    """The network at a row of the log: both branches with its own weights, the head, batch norm, stop-gradient, the loss.

    The line from v_l to a neuron is as wide as the part of f_j's standard deviation that v_l makes up, the root of its share,
    that from the noise likewise; the overlap <w_j, v_l> stands beside it. The line from f_i to F_j is as wide as what E_ji
    brings to F_j, |E_ji| times f_i's standard deviation, beside what the others bring. Lines that would be too thin to be seen
    are dotted. Neurons have their roles, and the signs in which E_21 rises (`style.signs`).

    Parameters
    ----------
    run : simsim.Trajectory of at most six neurons and features
    row : int, of the log
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    ValueError : more neurons or features; IndexError : a row that the log does not have
    """
    config = run.config
    if config.m > MOST_NEURONS or config.features > MOST_FEATURES:
        raise ValueError(f"`run` must have at most {MOST_NEURONS} neurons and {MOST_FEATURES} features to be drawn, got {config.m} "
                         f"and {config.features}")
    if not -len(run) <= row < len(run):
        raise IndexError(f"`row` = {row} is not in the log, which has {len(run)} rows")
    if ax is None:
        _, ax = plt.subplots(figsize=size(9.5, 5.8), layout="constrained")
    run, _ = by_role(run)
    sign, own_target = signs(run), bool(config.target_momentum)
    weights, head = run.overlaps[row] * sign[:, None], signed(run, sign)[row]
    noise = np.sqrt(np.clip(1 - run.shares[row].sum(axis=1), 0, 1))
    parts = np.concatenate([np.sqrt(run.shares[row]), noise[:, None]], axis=1)  # (m, K + 1)
    brought = np.abs(head) * run.output_std[row]
    above = _head(ax, head, brought / np.linalg.norm(brought, axis=1, keepdims=True), _neurons(ax, MIDDLE, parts, weights))
    below = _neurons(ax, -MIDDLE, parts, None if own_target else weights)
    _compare(ax, config, above, below)
    ax.set_title(f"the network at {when(run, row)}: loss {run.loss[row]:.3g}")
    word = lambda x, y, text: ax.text(x, y, text, ha="center", va="center", fontsize=small(), style="italic")
    for side, text in ((1, "view 1"), (-1, "view 2")):
        word(INPUT, side * (MIDDLE + SPREAD + 0.3), text)
    word((INPUT + OUTPUT) / 2, 0, "below: a target" if own_target else "the same weights $W$")
    word((OUTPUT + PREDICTION) / 2, MIDDLE + SPREAD + 0.3, "head $E$")
    if config.stop_gradient:
        word(PREDICTION, -MIDDLE - SPREAD - 0.3, "SG: stop-gradient")
    ax.set(xlim=(INPUT - 0.4, LOSS + 0.5), ylim=(-MIDDLE - SPREAD - 0.5, MIDDLE + SPREAD + 0.45))
    ax.set_axis_off()
    return ax


def _heights(count, middle):
    """(count,) where the parts of a branch stand, from the top downwards."""
    return middle + np.linspace(SPREAD, -SPREAD, count) if count > 1 else np.array([middle])


def _neurons(ax, middle, parts, weights):
    """What a view shows and the neurons that see it; returns the heights of the neurons, (m,).

    parts (m, K + 1) are the widths of lines, of the features and the noise; weights (m, K) stand beside them, unless None.
    """
    m, K = parts.shape[0], parts.shape[1] - 1
    inputs, outputs = _heights(K + 1, middle), _heights(m, middle)
    colours = [*(FEATURE_COLOURS[l] for l in range(K)), NOISE_COLOUR]
    for j, l in np.ndindex(parts.shape):
        ends = (INPUT, inputs[l]), (OUTPUT, outputs[j])
        _line(ax, *ends, parts[j, l], colours[l])
        if weights is not None and l < K and max(m, K) <= WRITTEN and not in_column():
            _number(ax, *ends, _rounded(weights[j, l]))
    for l, height in enumerate(inputs):
        ax.text(INPUT, height, "noise" if l == K else f"$v_{l + 1}$", ha="center", va="center", bbox={**BOX, "ec": colours[l]},
                zorder=4, fontsize=small())
    for j, height in enumerate(outputs):
        ax.text(OUTPUT, height, f"$f_{j + 1}$", ha="center", va="center", bbox=NODE, zorder=4)
    return outputs


def _head(ax, head, parts, heights):
    """The head (m, m) from f to F, with its entries on lines of the widths `parts` (m, m); returns the `heights` (m,) of both."""
    m = len(head)
    for j, i in np.ndindex(m, m):
        ends = (OUTPUT, heights[i]), (PREDICTION, heights[j])
        _line(ax, *ends, parts[j, i], "k")
        if m <= WRITTEN and not in_column() or m == 2 and i != j:
            _number(ax, *ends, f"$E_{{{j + 1}{i + 1}}}$ = {_rounded(head[j, i])}")
    for j, height in enumerate(heights):
        ax.text(PREDICTION, height, f"$F_{j + 1}$", ha="center", va="center", bbox=NODE, zorder=4)
    return heights


def _compare(ax, config, above, below):
    """Batch norm and stop-gradient where there are any, and the loss, to which neurons at the heights `above` and `below` lead."""
    branches = (PREDICTION, above, []), (OUTPUT, below, [(STOP, "SG", BLACK_BOX, "w")] if config.stop_gradient else [])
    for start, heights, stages in branches:
        stages = ([(NORMAL, "BN", BOX, "k")] if config.batch_norm else []) + stages
        last = stages[-1][0] if stages else start
        for height in heights:
            ax.plot((start, last), (height, height), color="k", lw=thick(0.8), zorder=1)
            for x, name, box, colour in stages:
                ax.text(x, height, name, ha="center", va="center", bbox=box, color=colour, zorder=4, fontsize=small())
            ax.annotate("", (LOSS, 0), (last, height), zorder=1, arrowprops={
                "arrowstyle": "-|>", "color": "k", "lw": thick(0.8), "shrinkA": 0, "shrinkB": thick(20)})
    name = config.objective if isinstance(config.objective, str) else type(config.objective).__name__
    ax.text(LOSS, 0, f"loss $L$\n{name}", ha="center", va="center", bbox=BOX, zorder=4)


def _line(ax, one, two, part, colour):
    """A line whose width is `part`, 0 to 1, of the widest; dotted where that would not be seen."""
    ax.plot(*zip(one, two), color=colour, lw=thick(max(THINNEST, WIDEST * part)), ls="-" if part >= VISIBLE else ":", zorder=1,
            solid_capstyle="butt")


def _number(ax, one, two, text):
    """A number on a line, near its end."""
    x, y = np.array(one) + NEAR * (np.array(two) - np.array(one))
    ax.text(x, y, text, ha="center", va="center", fontsize=small("x-small"), zorder=3,
            bbox={"boxstyle": "square,pad=0.1", "fc": "w", "ec": "none", "alpha": 0.9})


def _rounded(value):
    """A number to two digits; 0 where it is very small."""
    return f"{value:.2g}" if abs(value) >= SMALLEST_NUMBER else "0"
