"""How alike the neurons' outputs are, at the end of each phase: with a trained head, and with a frozen one.

    python examples/neuron_correlations.py [M]

Two neurons by default, from an ordinary start at d = 1e4; each matrix is corr(f_i, f_j). With the head it ends as
the identity, or for more neurons as blocks, a block a feature; without it, all ones: dimensional collapse.
Writes out/neuron_correlations.png.
"""

import dataclasses
import os
import sys

import simsim

m = int(sys.argv[1]) if len(sys.argv) > 1 else 2
config = simsim.Config(engine="flow", m=m, alpha_ratio=20.0, d=10**4, lr=1.0, head_lr=1.0, init_seed=0, feature_patches=4)
runs = {"trained head": simsim.simulate(config),
        "frozen head": simsim.simulate(dataclasses.replace(config, head="frozen"))}
for name, run in runs.items():
    held = [int((run.shares[-1][:, l] > 0.5).sum()) for l in range(2)]
    print(f"{name}: {held[0]} neurons hold v_1, {held[1]} hold v_2; effective rank {run.effective_rank[-1]:.3f}")
os.makedirs("out", exist_ok=True)
simsim.plots.correlations(runs)[0, 0].figure.savefig("out/neuron_correlations.png", dpi=150)
