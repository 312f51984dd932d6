"""Literal and gram SGD overlaid: two engines, one law.

One start, 300 runs of each engine with seeds of their own. `sgd` draws every
noise patch as a vector in R^d; `gram` draws only what the weights can see of
it. Runs differ, distributions do not: left, the spread of the largest overlap
with v_1 over the runs; right, the fraction of runs that have ended phase I.
Prints the p-value of Kolmogorov and Smirnov's test and writes out/same_law.png.
About 20 seconds, nearly all of them for `sgd`.
"""

import os
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import ks_2samp

import simsim

STYLES = {"sgd": {"color": "#E69F00", "ls": "-"}, "gram": {"color": "#0072B2", "ls": "--"}}
SEEDS = {"sgd": range(300), "gram": range(1000, 1300)}

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
ends = {}
for engine, seeds in SEEDS.items():
    config = simsim.Config(engine=engine, d=50, batch_size=64, patches=8, feature_patches=4, steps=120, log_every=1,
                           alpha_weak=1.5, alpha_ratio=4.0, lr=0.02, head_lr=2.2e-3, init_seed=0)
    began = time.perf_counter()
    runs = simsim.simulate_many(config, seeds)
    seconds = time.perf_counter() - began

    phases = [simsim.find_phases(run).strong_learned for run in runs]
    ends[engine] = np.array([np.inf if end is None else end.step for end in phases])
    print(f"{engine:>4}: {len(runs)} runs in {seconds:.1f} s, phase I ends at step {np.median(ends[engine]):.0f} (median)")

    steps, overlaps = runs[0].steps, np.array([abs(run.overlaps[:, :, 0]).max(axis=1) for run in runs])  # (runs, T)
    low, middle, high = np.quantile(overlaps, [0.25, 0.5, 0.75], axis=0)
    left.fill_between(steps, low, high, color=STYLES[engine]["color"], alpha=0.3, lw=0)
    left.plot(steps, middle, **STYLES[engine], label=f"{engine}: median, middle half")
    right.plot(steps, (ends[engine] <= steps[:, None]).mean(axis=1), **STYLES[engine], label=engine)

print(f"same law of the ends of phase I? p = {ks_2samp(*ends.values()).pvalue:.2f}")
left.set_ylabel(r"$\max_j |\langle w_j, v_1\rangle|$")
right.set_ylabel("runs that have ended phase I")
for ax in (left, right):
    ax.set_xlabel("SGD step")
    ax.legend(frameon=False)
os.makedirs("out", exist_ok=True)
figure.savefig("out/same_law.png", dpi=150)
