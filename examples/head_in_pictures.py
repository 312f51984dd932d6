"""The head through time as small matrices, and what it does to the second neuron: acceleration seen.

Above, E - I at the end of each phase: one entry, E_21, rises and falls. Below, the plane of the second neuron's
signals. Before the head has brought it v_1 (phase I) nearly every arrow points to v_1; after, to v_2.
Writes out/head_matrices.png and out/second_neuron.png.
"""

import os

import numpy as np

import simsim

run = simsim.simulate(simsim.Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, init_seed=0))
os.makedirs("out", exist_ok=True)
simsim.plots.heads({"trained head": run})[0, 0].figure.savefig("out/head_matrices.png", dpi=150)
simsim.plots.portrait(run)[0].figure.savefig("out/second_neuron.png", dpi=150)

found = simsim.find_phases(run)
run = run.reordered(found.order)  # neuron 2 is the substituted one
two, three = found.rows[1:3]
middle = int(np.abs(run.change - run.change[[two, three]].mean()).argmin())
rows = {"I ends": found.rows[0], "II ends": two, "within III": middle}
print("d log|a_2l| / dt of the second neuron:")
for name, row in rows.items():
    with_head = run.growth.total[row, 1]
    without = simsim.measures.growth(run.config, run.overlaps[row], run.gram[row], np.eye(2)).total[1]
    for source, rate in (("with the head", with_head), ("with E = I", without)):
        print(f"{name:10} {source:13}: v_1 {rate[0]:9.2e}, v_2 {rate[1]:9.2e}")
