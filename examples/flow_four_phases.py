"""The four phases over sixteen decades of time, in a second: the flow at d = 1,000,000.

SGD with one step size cannot go there: phase III lasts 10^11 times phase I.
Nothing is picked here: an ordinary start, and the slow head that the theorem
asks for (kappa = 0.1). Writes out/flow_four_phases.png. At this d and kappa 94 of
100 starts succeed; change `init_seed` to meet the others.
"""

import os

import simsim

config = simsim.Config(engine="flow", d=1_000_000, lr=1.0, head_lr=0.1, init_seed=0)
run = simsim.simulate(config)

print(run.message, run.counters)
print(simsim.check_theorems(run))

phases = simsim.find_phases(run)
strong, weak = phases.strong_neuron, phases.weak_neuron
bound = simsim.theory.head_bound(config, run.norms[0, weak])
peak = abs(run.head[:, weak, strong]).max()
print(f"the head rises to {peak / bound:.3f} of its bound sqrt(kappa/3) ||w_2(0)|| (eq. 13)")

os.makedirs("out", exist_ok=True)
simsim.plots.phases(run)[0].figure.savefig("out/flow_four_phases.png", dpi=150)
