"""Dimensional collapse: the same start and samples, with and without the head.

Writes collapse.png: above, what v_1 and v_2 make up of each neuron's output;
below, how much the two outputs say the same. Without the head both neurons
end on the strong feature, and phi has one dimension left.
"""

import matplotlib.pyplot as plt

import simsim

STEPS = 4000  # the frozen head collapses within six hundred

runs = {head: simsim.simulate(simsim.Config(head=head, steps=STEPS)) for head in ("trained", "frozen")}

figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for (head, run), (above, below) in zip(runs.items(), axes.T):
    simsim.plots.shares(run, above)
    above.set_title(f"head {head}")
    above.set_xlabel("")
    below.plot(run.steps, abs(run.correlations[:, 0, 1]), color="k")
    below.set_xlabel("SGD step")
    print(f"head {head}: |corr(f_1, f_2)| ends at {abs(run.correlations[-1, 0, 1]):.3f}")
axes[0, 0].get_legend().remove()
axes[1, 0].set_ylabel(r"$|\mathrm{corr}(f_1, f_2)|$")

# Equation 14 knew: the fate of each neuron under the frozen head is decided at the start.
fates = simsim.theory.fates(runs["frozen"].config, runs["frozen"].overlaps[0])
print("predicted by eq. 14:", ", ".join(f"neuron {j + 1} on v_{fate + 1}" for j, fate in enumerate(fates)))
print(f"a random start does that with probability {simsim.theory.collapse_probability(runs['frozen'].config):.4f}")

figure.savefig("collapse.png", dpi=150)
