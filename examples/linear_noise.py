"""The linear-noise band of section 8 of docs/theory.md beside runs of gram that differ in their samples alone.

    python examples/linear_noise.py [NAME ...] [--seeds N]

NAME is default, ordinary, another or frozen; all of them without a name, some ten minutes. Prints how many of N runs are within
two standard deviations, and of the default start draws the head's entry of all runs and how many are inside at each step.
Writes out/band.png.
"""

import argparse
import os

import matplotlib
import numpy as np
from scipy.stats import binomtest

import simsim
from simsim import linear_noise

matplotlib.use("Agg")

FIRST_SEED = 5000  # of those that no derivation has seen
ORDINARY = dict(alpha_ratio=3.0, d=100, feature_patches=4, batch_size=1024, lr=0.0211, steps=2000)
STARTS = {
    "default": simsim.Config(),
    "ordinary": simsim.Config(**ORDINARY, init_seed=6),
    "another": simsim.Config(**ORDINARY, init_seed=21),
    "frozen": simsim.Config(head="frozen", alpha_ratio=5.0, d=200, feature_patches=4, batch_size=1024, lr=0.02, steps=2000,
                            init_seed=0),
}
PARTS = {"overlaps": lambda name: name[0] == "<", "noise": lambda name: name[0] == "n", "head": lambda name: name[0] == "E"}


def inside(runs, band):
    """(S, T, n) whether each run is within two standard deviations of each coordinate, at each logged step after the start."""
    return np.array([np.abs(band.coordinates(run) - band.mean) <= linear_noise.DEVIATIONS * band.deviation for run in runs])[:, 1:]


def part(within):
    """Mean over all, and twice its standard error over runs, of (S, ...) bools, as text."""
    if not within.size:
        return "-"
    each = within.reshape(len(within), -1).mean(axis=1)
    return f"{each.mean():.3f} ± {2 * each.std(ddof=1) / np.sqrt(len(each)):.3f}"


def row(name, runs, band):
    """The row of the table, as texts."""
    within, holds, names = inside(runs, band), band.holds[1:], band.names
    steps = [np.isin(np.arange(len(names)), [i for i, one in enumerate(names) if of(one)]) for of in PARTS.values()]
    parts = [part(within[:, holds][:, :, coordinates]) for coordinates in steps]
    return [name, band.where_not or "nowhere", *parts, part(within[:, ~holds])]


def picture(runs, band):
    """E_21 of all runs with its band, and how many are inside at each step."""
    plt = simsim.plots.plt
    figure, (above, below) = plt.subplots(2, 1, figsize=simsim.plots.size(7, 6), sharex=True, layout="constrained")
    steps, mean, width = runs[0].steps, band.head[:, 1, 0], linear_noise.DEVIATIONS * band.head_deviation[:, 1, 0]
    sign = np.sign(mean[np.abs(np.where(band.holds, mean, 0)).argmax()])  # f_2 and -f_2 are the same neuron: E_21 rises first
    mean = sign * mean
    for run in runs:
        above.plot(steps, sign * run.head[:, 1, 0], color="0.6", lw=0.3, alpha=0.5)
    above.fill_between(steps, mean - width, mean + width, where=band.holds, alpha=0.35, lw=0,
                       label="two standard deviations (eq. 72)")
    above.plot(steps, np.where(band.holds, mean, np.nan), label="mean (eq. 72)")
    above.set(ylabel="$E_{21}$", title=f"{len(runs)} runs from the default start that differ in their samples", ylim=(-0.03, 0.09))
    above.legend(frameon=False, loc="upper left")
    within, names = inside(runs, band), band.names
    told = {"<w_1, v_1>": r"$\langle w_1, v_1\rangle$", "<w_2, v_1>": r"$\langle w_2, v_1\rangle$", "E_21": "$E_{21}$"}
    for i, name in enumerate(told):
        found = within[:, :, names.index(name)].sum(axis=0)
        ends = np.array([binomtest(int(k), len(runs)).proportion_ci(method="wilson") for k in found])
        colour = simsim.plots.SERIES[i]
        below.fill_between(steps[1:], *ends.T, color=colour, alpha=0.25, lw=0)
        below.plot(steps[1:], found / len(runs), color=colour, label=told[name])
    for first, last, _ in band.gaps:
        for ax in (above, below):
            ax.axvspan(first / band.config.lr, last / band.config.lr, color="0.9", zorder=-1)
    below.axhline(0.9545, color="k", lw=0.7, ls=":")
    below.set(xscale="log", xlim=(1, steps[-1]), ylim=(0, 1.02), xlabel="SGD step", ylabel="part of runs inside\n(with 95 % interval)")
    below.annotate("grey: where theory has no band", (0.02, 0.5), xycoords="axes fraction", fontsize="small", color="0.35")
    below.legend(frameon=False, loc="lower left")
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STARTS))
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in STARTS]
    if unknown:
        parser.error(f"{unknown[0]}: there are {', '.join(STARTS)}")
    print("| start | no band | overlaps | noise | head | outside the band's steps |\n|---|---|---|---|---|---|")
    for name in options.names or STARTS:
        runs = simsim.simulate_many(STARTS[name], range(FIRST_SEED, FIRST_SEED + options.seeds))
        band = linear_noise.band(runs[0])
        print(f"| {' | '.join(row(name, runs, band))} |", flush=True)
        if name == "default":
            os.makedirs("out", exist_ok=True)
            picture(runs, band).savefig("out/band.png", dpi=120)


if __name__ == "__main__":
    main()
