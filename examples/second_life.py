"""A collapse that is not the end: for seven decades of time both neurons hold v_1, then one unlearns it for v_2.

Nothing in between moves faster than 1 / t, yet one weak overlap falls and the
other grows, at rates that do not fade (docs/theory.md, "A second life"). The
start is picked: of the initial seeds 0 to 999 three end phase III after
t = 1e13, and this is the last of them. Writes out/second_life.png.
"""

import os

import simsim

config = simsim.Config(engine="flow", d=1000, feature_patches=4, lr=1.0, head_lr=1.0, init_seed=25)
run = simsim.simulate(config)

collapsed = (run.shares[:, :, 0] > 0.99).all(axis=1)
first, last = run.time[collapsed][[0, -1]]
print(f"both neurons hold v_1 from t = {first:.1e} to {last:.1e}; at the end: {run.message}")
print("correlation of the two outputs:", *(f"{run.correlations[run.time <= t][-1, 0, 1]:.3f} at t = {t:.0e},"
                                          for t in (1.0, 1e12)), f"{run.correlations[-1, 0, 1]:.3f} at the end")

os.makedirs("out", exist_ok=True)
simsim.plots.phases(run)[0].figure.savefig("out/second_life.png", dpi=150)
