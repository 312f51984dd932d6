"""Where neurons end without a trained head: 2,000 starts, integrated, against the exact separatrix.

Equation 14 says that a neuron ends on v_1 if and only if
alpha_1^{3/2} |a_1(0)| > alpha_2^{3/2} |a_2(0)|. Every point is a start, its
colour where the flow took it; the line is the equation. Writes out/frozen_fates.png.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

import simsim
from simsim import flow, theory
from simsim.initial import reduced_state

config = simsim.Config(engine="flow", head="frozen", m=1, d=1000, alpha_ratio=3.0)
SEEDS = range(2000)

starts = np.array([reduced_state(simsim.Config(**{**config.to_dict(), "init_seed": seed}))[0][0] for seed in SEEDS])
ended = flow.follow_many(config, SEEDS)
fate = np.argmax(np.abs(ended.a[:, 0]) * config.alphas, axis=1)  # what dominates the output at the end
predicted = theory.fates(config, starts)
print(f"{(fate == predicted).sum()} of {len(starts)} fates as predicted; {(ended.verdict < 0).sum()} failures")
print(f"on v_1: {np.mean(fate == 0):.4f}; equation 15: {theory.collapse_probability(config):.4f}")

figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
size = np.abs(starts) * np.sqrt(config.d)
for feature, colour, marker in ((0, simsim.plots.FEATURE_COLOURS[0], "o"), (1, simsim.plots.FEATURE_COLOURS[1], "^")):
    ax.scatter(*size[fate == feature].T, s=6, color=colour, marker=marker, label=f"ends on $v_{feature + 1}$")
a_2 = np.linspace(0, size.max(), 2)
ax.plot(a_2 * config.alpha_ratio**-1.5, a_2, color="k", label=r"$\alpha_1^{3/2}|a_1| = \alpha_2^{3/2}|a_2|$")
ax.set(xlabel=r"$|a_1(0)|\,\sqrt{d}$", ylabel=r"$|a_2(0)|\,\sqrt{d}$", xlim=(0, 2), ylim=(0, size.max()))
ax.legend(loc="upper right")
os.makedirs("out", exist_ok=True)
figure.savefig("out/frozen_fates.png", dpi=150)
