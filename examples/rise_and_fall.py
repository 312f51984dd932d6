"""The head rises to sqrt(kappa / 3) ||w_2(0)|| and returns: one start, four speeds of the head.

Equation 13 turns the paper's Theta(sqrt(eta_E / eta)) into a number. The
dotted lines are that number. Writes out/rise_and_fall.png.
"""

import os

import matplotlib.pyplot as plt

import simsim

KAPPAS = (0.01, 0.1, 1.0, 10.0)
SHADES = ("0.75", "0.55", "0.3", "0.0")

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for kappa, shade in zip(KAPPAS, SHADES):
    config = simsim.Config(engine="flow", d=1_000_000, lr=1.0, head_lr=kappa, init_seed=0)
    run = simsim.simulate(config)
    phases = simsim.find_phases(run)
    strong, weak = phases.strong_neuron, phases.weak_neuron
    head = abs(run.head[:, weak, strong])
    bound = simsim.theory.head_bound(config, run.norms[0, weak])
    ax.plot(run.time, head, color=shade, label=rf"$\kappa = {kappa:g}$")
    ax.axhline(bound, color=shade, ls=":", lw=1)
    print(f"kappa {kappa:5g}: peak {head.max():.4g} = {head.max() / bound:.3f} of its bound; {run.message}")
ax.set(xscale="log", yscale="log", xlabel="time $t$", ylabel="$|E_{21}|$", ylim=(1e-4, 5))
ax.set_xlim(left=1e3)
ax.legend(title="dotted: $\\sqrt{\\kappa/3}\\,||w(0)||$", frameon=False)
os.makedirs("out", exist_ok=True)
figure.savefig("out/rise_and_fall.png", dpi=150)
