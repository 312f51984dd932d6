"""Neurons moving in the plane of the two features: an animation as GIF, and the whole story as one HTML page.

Dots are the outputs f_j, rings what the head makes of them, F_j. In phase III the second ring sits at the strong
feature while its dot waits at the origin: the head has it covered, and so the dot is free to go to the weak one.
Writes out/neurons_moving.gif and out/neurons_moving.html.
"""

import os

import matplotlib.pyplot as plt

import simsim
from simsim.plots.webpage import page

run = simsim.simulate(simsim.Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, init_seed=0))
figure, ax = plt.subplots(figsize=(4, 4), layout="constrained")
os.makedirs("out", exist_ok=True)
simsim.plots.motion(run, ax, frames=60).save("out/neurons_moving.gif", writer="pillow", dpi=80)
plt.close(figure)

with open("out/neurons_moving.html", "w", encoding="utf-8") as file:
    file.write(page(run, simsim.check_theorems(run)))
print(repr(run))
