"""What a lecture starts with: one sample with its two views, and the network that sees them, at the start and at the head's peak.

The network above is that before anything is learned; below, at the peak of the head, what F_2 predicts is the strong feature
that f_1 has learned, so that f_2 need not. Writes out/sample.png and out/network.png. For one column of a journal, without
pixels, it also writes out/sample.pdf and out/network.pdf.
"""

import os

import matplotlib.pyplot as plt
import numpy as np

import simsim

STEPS = 2000  # the head's peak is at step 1,318

config = simsim.Config(steps=STEPS)
run = simsim.simulate(config)
peak = int(np.argmax(simsim.phases.max_off_diagonal(run.head)))

half_noise = simsim.Config(feature_patches=4, alpha_ratio=2.0)  # as many patches with noise as with the feature
os.makedirs("out", exist_ok=True)
simsim.plots.sample(half_noise, seed=2)[0].figure.savefig("out/sample.png", dpi=150)

figure, axes = plt.subplots(2, 1, figsize=(9.5, 11), layout="constrained")
for ax, row in zip(axes, (0, peak)):
    simsim.plots.network(run, row, ax)
figure.savefig("out/network.png", dpi=150)
print(f"at step {run.steps[peak]} the head has its peak, {abs(run.head[peak] - np.eye(2)).max():.3f}")

with simsim.plots.column():
    simsim.plots.sample(half_noise, seed=2)[0].figure.savefig("out/sample.pdf")
    simsim.plots.network(run, peak).figure.savefig("out/network.pdf")
