"""The four phases, in SGD on fresh samples: a strong feature, substitution, acceleration, return to I.

The start is hand-picked (see the report's last lines); the samples are not.
Writes out/four_phases.png. Change `seed` and the phases move a little; change
`init_seed` and most starts do not get beyond phase I or II in these steps.
"""

import os

import numpy as np

import simsim

config = simsim.Config(m=2, alpha_ratio=20.0, seed=0)
run = simsim.simulate(config)

print(simsim.check_theorems(run))

phases = simsim.find_phases(run)
strong, weak = phases.strong_neuron, phases.weak_neuron
for numeral, end in zip(("I", "II", "III", "IV"), phases.ends()):
    print(f"phase {numeral:>3} ends", "not within this run" if end is None else f"at step {end.step}")

# Why the second neuron does not follow the first: while phase III lasts, the
# head already gives F_w the strong feature, so w gains nothing by learning it.
if phases.weak_learned:
    middle = (run.steps > phases.substituted.step) & (run.steps < phases.weak_learned.step)
    print(f"in phase III, v_1 makes up {np.median(run.head_shares[middle, weak, 0]):.0%} of F_2 (median), "
          f"and {np.median(run.shares[middle, weak, 0]):.1%} of f_2")

figure = simsim.plots.phases(run)[0].figure
os.makedirs("out", exist_ok=True)
figure.savefig("out/four_phases.png", dpi=150)
