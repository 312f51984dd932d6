"""The four phases in SGD from starts that nobody picked: the seeds 0 to 15 in their order, and how many get there.

By the laws of finite batches (docs/theory.md, section 8) a small d and a small ratio bring the end of phase III within
seconds. Every run has the default learning rate of its ratio and as many steps as the others. Prints where each start
got, the rate with its interval, and what the flow does by the same time. Writes out/unpicked.png, the first run that
goes through all four phases.

The setting was the best of four that were tried, ratio 2 and 3 with alpha_2 = 1 and 2, on the seeds 100 to 115, which
are not shown: 3 of 16 went through all four phases at this one, 2, 1 and 0 at the others. Of the seeds 0 to 15 one
earlier setting had been seen, ratio 3 with alpha_2 = 1 and 30,000 steps, itself the best of four: 1 of 16.
"""

import dataclasses
import os

import simsim
from simsim.studies.statistics import rate

SEEDS = range(16)
config = simsim.Config(alpha_ratio=2.0, alpha_weak=2.0, d=50, feature_patches=4, batch_size=256, steps=20_000)
end = config.steps * config.lr
flow = dataclasses.replace(config, engine="flow", lr=1.0, head_lr=1.0, t_max=end)

runs = simsim.simulate_many(config, SEEDS, init_seeds=SEEDS)
limits = simsim.simulate_many(flow, SEEDS, init_seeds=SEEDS)
through, in_flow_too, both = [], 0, 0
for seed, run, limit in zip(SEEDS, runs, limits):
    ended, in_flow = ([numeral for numeral, end in zip(("I", "II", "III", "IV"), simsim.find_phases(one).ends()) if end]
                      for one in (run, limit))
    print(f"seed {seed:2}: SGD ends phases {' '.join(ended) or '-':<11} the flow by then {' '.join(in_flow) or '-'}")
    through += [seed] * (len(ended) == 4)
    in_flow_too += len(in_flow) == 4
    both += "III" in in_flow

found = rate([seed in through for seed in SEEDS])
said = f"{len(through)} of {len(runs)} starts go through all four phases"
print(f"{said} (95 %: {found.low:.2f} to {found.high:.2f}) by t = {end:.0f}; "
      f"in the flow {in_flow_too}, and {both} learn both features")
if through:
    axes = simsim.plots.phases(runs[SEEDS.index(through[0])])
    axes[0].figure.suptitle(f"Nothing picked: seed {through[0]}, the first in order;\n{said}", fontsize="medium")
    os.makedirs("out", exist_ok=True)
    axes[0].figure.savefig("out/unpicked.png", dpi=150)
