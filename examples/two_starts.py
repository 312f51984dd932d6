"""The README's picture: SGD from its hand-picked start, SGD from a start in its turn, and the flow over its decades of time.

    python examples/two_starts.py [FILE]

Left: 10,000 steps, all phases in sight of a single step size, and the flow from the same start in thin lines.
Middle: seed 6, the first of the seeds 0, 1, 2, .. that goes through all four phases at this setting, 4 of 16 do
(examples/unpicked.py). Right: the initial weights of seed 0, picked by nobody, at d = 1e8 with the slow head that the theorem
asks for.
Prints when each phase ends, and writes FILE, or out/two_starts.png.
"""

import os
import sys

import matplotlib.pyplot as plt

import simsim

picked = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0))
limit = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, engine="flow"))
in_turn = simsim.simulate(simsim.Config(alpha_ratio=2.0, alpha_weak=2.0, d=50, feature_patches=4, batch_size=256, steps=20_000,
                                        seed=6, init_seed=6))
ordinary = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, engine="flow", d=10**8, lr=1.0, head_lr=0.1, init_seed=0))

figure, axes = plt.subplots(4, 3, figsize=(18, 9), sharex="col", layout="constrained",
                            gridspec_kw={"height_ratios": [1.15, 1, 1, 0.8]})
simsim.plots.phases(picked, axes[:, 0], flow=limit)
simsim.plots.phases(in_turn, axes[:, 1])
simsim.plots.phases(ordinary, axes[:, 2])
axes[0, 0].set_title("SGD, hand-picked start, d = 50", pad=22)
axes[0, 1].set_title("SGD, first of seeds 0, 1, .. (4 of 16), d = 50", pad=22)
axes[0, 2].set_title("the flow, ordinary start, d = 1e8", pad=22)

for name, run in (("SGD, step", picked), ("SGD in turn, step", in_turn), ("flow, t", ordinary)):
    ends = simsim.find_phases(run).ends()
    print(name, *(f"{end.time if run is ordinary else end.step:.4g}" if end else "-" for end in ends))
target = sys.argv[1] if len(sys.argv) > 1 else "out/two_starts.png"
os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
plt.savefig(target, dpi=130)
