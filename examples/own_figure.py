"""Reading a saved trajectory and drawing a figure of one's own.

    python examples/own_figure.py runs/default/trajectory.npz

Writes own_figure.png: the head's path. What the head lends to the second
neuron (E) is drawn against what that neuron has learned itself. Without an
argument the default run is made, saved and read back.
"""

import sys

import matplotlib.pyplot as plt

import simsim

if len(sys.argv) > 1:
    path = sys.argv[1]
else:
    path = "trajectory.npz"
    simsim.simulate(simsim.Config()).save(path)

run = simsim.Trajectory.load(path)
phases = simsim.find_phases(run)
if phases.weak_neuron is None:
    sys.exit(f"{path}: no neuron has learned the strong feature, so there is no head to follow")
s, w = phases.strong_neuron, phases.weak_neuron

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
learned, lent = run.shares[:, w, 1], abs(run.head[:, w, s])
ax.plot(learned, lent, color="0.7", lw=1, zorder=1)
points = ax.scatter(learned, lent, c=run.steps + 1, norm="log", s=14, cmap=simsim.plots.AMOUNTS, zorder=2)
for numeral, end in zip(("I", "II", "III", "IV"), phases.ends()):
    if end is not None:
        row = list(run.steps).index(end.step)
        ax.annotate(numeral, (learned[row], lent[row]), xytext=(6, 6), textcoords="offset points")
ax.set_xlabel(r"share of $v_2$ in $f_2$")
ax.set_ylabel("$|E_{21}|$")
ax.set_title(f"the head, along {run.steps[-1]} steps (numerals: ends of phases)")
figure.colorbar(points, label="SGD step + 1")
figure.savefig("own_figure.png", dpi=150)
print(f"{path}: {len(run)} logged steps of {run.config.engine}; drawn in own_figure.png")
