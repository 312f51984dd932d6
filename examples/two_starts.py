"""The README's picture: SGD from its hand-picked start, and the flow from an ordinary one over its decades of time.

    python examples/two_starts.py [FILE]

Left: 10,000 steps, all phases in sight of a single step size, and the flow from the same start in thin lines.
Right: the initial weights of seed 0, picked by nobody, at d = 1e8 with the slow head that the theorem asks for.
Prints when each phase ends, and writes FILE, or out/two_starts.png.
"""

import os
import sys

import matplotlib.pyplot as plt

import simsim

picked = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0))
limit = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, engine="flow"))
ordinary = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, engine="flow", d=10**8, lr=1.0, head_lr=0.1, init_seed=0))

figure, axes = plt.subplots(4, 2, figsize=(13, 9), sharex="col", layout="constrained",
                            gridspec_kw={"height_ratios": [1.15, 1, 1, 0.8]})
simsim.plots.phases(picked, axes[:, 0], flow=limit)
simsim.plots.phases(ordinary, axes[:, 1])
axes[0, 0].set_title("SGD, hand-picked start, d = 50", pad=22)
axes[0, 1].set_title("the flow, ordinary start, d = 1e8", pad=22)

for name, run in (("SGD, step", picked), ("flow, t", ordinary)):
    ends = simsim.find_phases(run).ends()
    print(name, *(f"{end.step if run is picked else end.time:.4g}" if end else "-" for end in ends))
target = sys.argv[1] if len(sys.argv) > 1 else "out/two_starts.png"
os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
plt.savefig(target, dpi=130)
