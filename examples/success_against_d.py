"""How often the head makes two neurons learn both features, against the dimension d, beside eq. 25.

    python examples/success_against_d.py [FOLDER]

Flows from the same starts at each d, kappa = 1; the table stays in FOLDER, runs/success-against-d by default, and nothing
in it is computed twice. Eq. 25 names the outcome of each start, so it is drawn twice: over the very starts that ran, and
over many more. Writes out/success_against_d.png.
"""

import os
import sys

import matplotlib.pyplot as plt
import numpy as np

import simsim
from simsim import laws
from simsim.studies.statistics import rate

DIMENSIONS, STARTS = [10**2, 10**3, 10**4, 10**5, 10**6], 40

if __name__ == "__main__":  # worker processes import this file
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/success-against-d"
    table = simsim.sweep({"engine": "flow", "d": DIMENSIONS, "kappa": 1.0}, folder, seeds=range(STARTS), workers=2)
    rates, named, law = [], [], []
    for d in DIMENSIONS:
        config = simsim.Config(engine="flow", d=d, lr=1.0, head_lr=1.0)
        rows = (table["d"] == d) & (table["status"] == "done")
        starts = [simsim.State.start(config.reseeded(config.seed, int(seed))) for seed in table["init_seed"][rows]]
        expected = [laws.succeeds(config, start.a, start.noise_norms) for start in starts]
        rates.append(rate(table["success"][rows]))
        named.append(np.mean(expected))
        law.append(laws.success_rate(config))
        print(f"d = {d:<8} {rates[-1].value:.2f} ({rates[-1].low:.2f} to {rates[-1].high:.2f}) of {rates[-1].n} starts learn both; "
              f"eq. 25: {named[-1]:.2f} of these, {law[-1]:.2f} of all")

    figure, ax = plt.subplots(figsize=simsim.plots.size(6, 4), layout="constrained")
    value, low, high = (np.array([getattr(one, name) for one in rates]) for name in ("value", "low", "high"))
    ax.errorbar(DIMENSIONS, value, [value - low, high - value], fmt="o", color=simsim.plots.SERIES[0], capsize=3,
                label="flows, 95 % intervals")
    ax.plot(DIMENSIONS, named, "D", mfc="none", color=simsim.plots.SERIES[4], label="eq. 25, these starts")
    ax.plot(DIMENSIONS, law, "k--", lw=1, label="eq. 25, all starts")
    ax.set(xscale="log", xlabel="$d$", ylabel="both features learned", ylim=(0, 1))
    ax.legend(loc="upper left", frameon=False)
    os.makedirs("out", exist_ok=True)
    figure.savefig("out/success_against_d.png", dpi=150)
