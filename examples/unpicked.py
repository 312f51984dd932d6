"""The four phases in SGD from a start that nobody picked: the first seeds in order, and how many of them get there.

By the laws of finite batches (docs/theory.md, section 8) a small d and a small ratio bring the end of phase III within
seconds. So: ratio 3, d = 50, initial seeds 0, 1, 2, ... with samples of the same seed, each for the same number of
steps at the default learning rate. Writes unpicked.png, the first that learns both features through all four phases.
Most do not in these steps, and the flow says which of them would, given time.
"""

import dataclasses

import simsim
from simsim import laws

SEEDS = range(16)
config = simsim.Config(alpha_ratio=3.0, d=50, feature_patches=4, batch_size=256, steps=30_000)
end = config.steps * config.lr

runs = simsim.simulate_many(config, SEEDS, init_seeds=SEEDS)
through, both = [], []
for seed, run in zip(SEEDS, runs):
    start = dataclasses.replace(config, seed=seed, init_seed=seed)
    flow = simsim.find_phases(simsim.simulate(dataclasses.replace(start, engine="flow", lr=1.0, head_lr=1.0)))
    ends = simsim.find_phases(run).ends()
    in_time = flow.weak_learned is not None and flow.weak_learned.time <= end
    late = "never" if flow.weak_learned is None else f"at t = {flow.weak_learned.time:.3g}"
    print(f"seed {seed:2}: SGD ends phase", *(n for n, at in zip(("I", "II", "III", "IV"), ends) if at), f"| flow: III {late}")
    both.append(in_time)
    if all(ends):
        through.append(seed)

print(f"{len(through)} of {len(runs)} starts pass all four phases by t = {end:.0f}; in the flow phase III is over by then from {sum(both)}")
if through:
    first = through[0]
    noise = laws.noise(dataclasses.replace(config, seed=first, init_seed=first))
    if noise.phase_three is not None:
        print(f"seed {first}: by the laws of this batch phase III ends at t = {noise.phase_three.time:.0f}, and the learning rate may be "
              f"up to {noise.phase_three.largest_lr:.2g}")
    simsim.plots.phases(runs[first])[0].figure.savefig("unpicked.png", dpi=150)
