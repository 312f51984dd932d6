"""Collapse and no collapse: the same start and samples, with a frozen head and with a trained one, to the end of all phases.

Writes out/collapse.png: above, what v_1 and v_2 make up of each neuron's output; in the middle, how much the two outputs say the
same; below, the loss, which tells nothing: both heads end as low. Without the head both neurons end on the strong feature within
six hundred steps, and phi has one dimension left; with it phase III ends at step 6,607, and each feature has a neuron.
"""

import os

import matplotlib.pyplot as plt

import simsim

STEPS = 10_000  # phase III ends at 6,607 with the trained head

runs = {head: simsim.simulate(simsim.Config(head=head, steps=STEPS)) for head in ("frozen", "trained")}

figure, axes = plt.subplots(3, 2, figsize=(10, 6.4), sharex=True, sharey="row", layout="constrained")
for (head, run), (above, middle, below) in zip(runs.items(), axes.T):
    simsim.plots.shares(run, above)
    simsim.plots.loss(run, below)
    above.set(title=f"{head} head\n", xlabel="")
    middle.plot(run.steps, abs(run.correlations[:, 0, 1]), color="k")
    for ax in (above, middle, below):
        simsim.plots.shade_phases(run, ax)
    simsim.plots.name_phases(run, above)
    kind, rank = run.collapse[-1], run.effective_rank[-1]
    words = f"{kind} collapse" if kind else "no collapse"
    middle.text(0.03, 0.5, f"{words}:\neffective rank {rank:.2f}", transform=middle.transAxes, va="center")
    print(f"head {head}: {words}, effective rank {rank:.2f}, |corr(f_1, f_2)| ends at {abs(run.correlations[-1, 0, 1]):.3f}, "
          f"the loss at {run.loss[-1]:.3f}")
for ax in axes[[0, 2], 0]:
    ax.get_legend().remove()
axes[1, 0].set(ylabel=r"$|\mathrm{corr}(f_1, f_2)|$", ylim=(-0.03, 1.03))
for ax in axes[:, 1]:
    ax.set_ylabel("")

# Equation 14 knew: the fate of each neuron under the frozen head is decided at the start.
fates = simsim.theory.fates(runs["frozen"].config, runs["frozen"].overlaps[0])
print("predicted by eq. 14:", ", ".join(f"neuron {j + 1} on v_{fate + 1}" for j, fate in enumerate(fates)))
print(f"a random start does that with probability {simsim.theory.collapse_probability(runs['frozen'].config):.4f}")

os.makedirs("out", exist_ok=True)
figure.savefig("out/collapse.png", dpi=150)
