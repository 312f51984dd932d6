"""Why a prediction head keeps SimSiam from collapsing: a lecture of twenty minutes

    python examples/lecture.py

The same as `examples/lecture.ipynb`, for those without Jupyter: eight short sections, each a few sentences to say and a
picture to show, and an exercise with its answer at the end. Half a minute of computing. Writes out/lecture_1_sample.png,
out/lecture_2_network.png, out/lecture_3_collapse.png, out/lecture_4_phases.png, out/lecture_5_pull.png,
out/lecture_6_ingredients.png, out/lecture_7_threshold.png and out/lecture_8_exercise.png.
"""

# %% [markdown]
# SimSiam shows a network two views of a sample and asks it to predict the one from the other. Nothing pushes samples apart, and
# one answer is always right: the same output for all of them. Yet with a small trained matrix, the *prediction head*, in one
# branch and a stopped gradient in the other, networks learn. Wen and Li ([NeurIPS 2022](https://arxiv.org/abs/2205.06226))
# proved why in a model that is small enough to be looked at whole. This is that model.

# %%
import dataclasses
import os

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import binomtest

import simsim

os.makedirs("out", exist_ok=True)

# %% [markdown]
# ## 1. The data and its two views (two minutes)
#
# A sample is a handful of patches. Some of them carry one feature, $v_1$ or $v_2$, with a random sign; the rest is noise. $v_1$
# is stronger: as colour is, beside shape. Each view gets a random half of the patches, so **the feature is all that two views
# share**. To predict a view from the other is to find the feature.

# %%
easy_to_see = simsim.Config(feature_patches=4, alpha_ratio=2.0)
simsim.plots.sample(easy_to_see, seed=2)[0].figure.savefig("out/lecture_1_sample.png", dpi=100)

# %% [markdown]
# ## 2. The network (two minutes)
#
# One layer: neuron $j$ takes the inner product of its weights $w_j$ with each patch, cubes it, and adds up: $f_j$. The head makes
# $F = E f$ of that in the upper branch, starting as $E = I$. Below, the same weights make the target, through which no gradient
# goes. Both are normalised over the batch. Two neurons, two features: **a good end is one neuron for each feature**.

# %%
STEPS = 10_000
config = simsim.Config(m=2, alpha_ratio=20.0, steps=STEPS)
with_head = simsim.simulate(config)
simsim.plots.network(with_head, 0).figure.savefig("out/lecture_2_network.png", dpi=100)

# %% [markdown]
# ## 3. Collapse without the head (three minutes)
#
# The same start and the same samples, with $E$ held at $I$. Both neurons learn the strong feature: two outputs that say one
# thing, *dimensional collapse*. **The loss does not tell**: it comes down in two steps and ends as low as it would with both
# features learned. What tells is how alike the outputs are, for which the effective rank of their correlations is one number.

# %%
without_head = simsim.simulate(dataclasses.replace(config, head="frozen", steps=min(STEPS, 1000)))
figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
simsim.plots.shares(without_head, axes[0])
simsim.plots.loss(without_head, axes[1])
axes[2].plot(without_head.steps, without_head.effective_rank, color="k", label="frozen head")
axes[2].plot(with_head.steps, with_head.effective_rank, color="0.6", label="trained head")
axes[2].set(xscale="symlog", xlabel="SGD step", ylabel="effective rank", ylim=(0.95, 2.05))
axes[2].legend(frameon=False)
figure.savefig("out/lecture_3_collapse.png", dpi=100)
for name, run in (("trained", with_head), ("frozen", without_head)):
    print(f"{name} head: loss {run.loss[-1]:.3f}, effective rank {run.effective_rank[-1]:.2f}")

# %% [markdown]
# ## 4. The four phases (four minutes)
#
# With a trained head the run goes through four phases.
#
# - **I.** Neuron 1 learns $v_1$. The head hardly moves.
# - **II, substitution.** The head finds that $f_1$ predicts the target of neuron 2 as well, and brings $v_1$ into $F_2$.
# - **III, acceleration.** Neuron 2 has no reason to learn $v_1$ any more, for the head does it; so it learns $v_2$.
# - **IV.** The head returns to $I$: what neuron 2 predicts is $v_2$ now, and there it needs no help.
#
# This start is hand-picked, so that one step size shows all of it; the report says so. What theory predicts is printed beside it.

# %%
simsim.plots.phases(with_head)[0].figure.savefig("out/lecture_4_phases.png", dpi=100)
print(*simsim.check_theorems(with_head).story, sep="\n")

# %% [markdown]
# ## 5. The picture of the pull (two minutes)
#
# Why does neuron 2 turn to the weak feature? Here are the forces on it, in the plane of its two signals, before the head has
# brought it $v_1$ and after. **Before, nearly every arrow points to $v_1$; after, to $v_2$.** This is the flow, training with
# infinite batches and infinitely small steps, from a start that nobody picked, in a million dimensions.

# %%
flow = simsim.Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, init_seed=0)
simsim.plots.portrait(simsim.simulate(flow))[0].figure.savefig("out/lecture_5_pull.png", dpi=100)

# %% [markdown]
# ## 6. What each ingredient does (three minutes)
#
# One start, one ingredient taken away at a time, each flow followed to an end that is certified to last. Bars are the parts of
# each output's variance.
#
# - **No trained head**: both neurons end on $v_1$.
# - **No stop-gradient**: the target is taught what the head predicts of it, $v_1$, and both end there.
# - **No batch norm**: all weights shrink to nothing, *complete collapse*. What is left of the outputs is printed.

# %%
small = dataclasses.replace(flow, d=10**4, init_seed=2)
parts = {"all of it": {}, "no trained head": {"head": "frozen"}, "no stop-gradient": {"stop_gradient": False},
         "no batch norm": {"batch_norm": False}}
figure, axes = plt.subplots(1, len(parts), figsize=(12, 3), sharey=True, layout="constrained")
for ax, (name, options) in zip(axes, parts.items()):
    run = simsim.simulate(dataclasses.replace(small, **options))
    run = run.reordered(simsim.find_phases(run).order)  # neuron 1 is the first to learn v_1
    bottom = np.zeros(2)
    for l in range(2):
        ax.bar(["$f_1$", "$f_2$"], run.shares[-1][:, l], bottom=bottom, color=simsim.plots.FEATURE_COLOURS[l], label=f"$v_{l + 1}$")
        bottom += run.shares[-1][:, l]
    ax.set_title(f"{name}:\n{run.collapse[-1] or 'no'} collapse")
    print(f"{name}: {run.message}; effective rank {run.effective_rank[-1]:.2f}, "
          f"standard deviations of the outputs {run.output_std[-1][0]:.1e} and {run.output_std[-1][1]:.1e}")
axes[0].set_ylabel("share of the variance")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
figure.savefig("out/lecture_6_ingredients.png", dpi=100)

# %% [markdown]
# ## 7. SGD's threshold (two minutes)
#
# The theorem speaks of small steps. How small? The noise of a batch lengthens the weights, longer weights learn later, and the
# overlap itself walks about; so there is a learning rate beyond which a feature is more often missed than learned.
# `simsim.laws.noise` computes it before anything is run. Each point is 40 runs of SGD, with Wilson's 95 % interval. They end
# after five times what the flow takes, and the solid line is the law by then, an approximation; the dotted one is the law without
# an end, by which the threshold is named. So a step that is too large does not only blur what a flow would learn: it loses it.

# %%
RUNS = 40
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
noisy = simsim.Config(m=1, head="frozen", d=200, feature_patches=4, alpha_ratio=10.0, alpha_weak=1.0, batch_size=128, init_seed=1)
threshold = simsim.laws.noise(noisy).phase_one.largest_lr


HORIZON = 5  # times as long as the flow takes
overlap = simsim.State.start(noisy).a[0, 0]
batch = simsim.noise_laws.of_batch(noisy.patches, noisy.feature_patches, noisy.batch_size)


def at(factor):
    """The Config with that many times the threshold as its learning rate; P(v_1 is learned) by its last step, and ever."""
    changed = dataclasses.replace(noisy, lr=factor * threshold, head_lr=None)
    one = simsim.laws.noise(changed).phase_one
    clock = simsim.noise_laws.time_of_flow(one.x, HORIZON * batch.drift)
    by_then = simsim.noise_laws.learning_probability(1 / clock, simsim.noise_laws.blur(changed, overlap, batch))
    steps = int(HORIZON * one.flow_time / changed.lr)
    return dataclasses.replace(changed, steps=steps, log_every=1), float(by_then), one.probability


def learned(run):
    return bool((run.shares[:, 0, 0] >= 0.5).any())


figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
grid = np.geomspace(0.2, 5, 40)
_, by_then, ever = zip(*map(at, grid))
ax.plot(grid, by_then, color="k", label="law for runs of this length (docs/theory.md, eq. 60)")
ax.plot(grid, ever, color="k", ls=":", label="without an end")
for factor in FACTORS:
    changed, law, _ = at(factor)
    count = sum(learned(run) for run in simsim.simulate_many(changed, range(RUNS)))
    part, interval = count / RUNS, binomtest(count, RUNS).proportion_ci(method="wilson")
    ax.plot([factor, factor], interval, color=simsim.plots.FEATURE_COLOURS[0])
    ax.plot(factor, part, "o", color=simsim.plots.FEATURE_COLOURS[0])
    print(f"lr {factor:4g} times the threshold: {part:.2f} of {RUNS} runs learn v_1, the law says {law:.2f}")
ax.set(xscale="log", xlabel=f"learning rate, in units of the threshold, {threshold:.3g}", ylabel="runs that learn $v_1$",
       ylim=(0, 1.05))
ax.set_xticks(FACTORS, labels=map(str, FACTORS))
ax.minorticks_off()
ax.legend(frameon=False)
figure.savefig("out/lecture_7_threshold.png", dpi=100)

# %% [markdown]
# ## 8. An exercise, with its answer (two minutes)
#
# The head rises in phase II and falls again. $\kappa$ is its learning rate over that of the weights. **How much lower does it
# rise if it is a hundred times slower? And does neuron 2 then still learn $v_2$?** Think before you go on: what the head gains
# the weights pay for, $\|w_2\|^2 + \frac{3}{\kappa} E_{21}^2$ stays what it is (docs/theory.md, eq. 13).
#
# *Answer.* Noise is all of $w_2$ that can be spent, so at most $|E_{21}| = \sqrt{\kappa / 3}\,\|w_2(0)\|$: a hundred times slower
# is **ten times lower**. And yes: even a small entry makes all of $F_2$, since an output of $v_1$ is far larger than one of noise,
# and batch norm sees proportions alone.

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for kappa, shade in ((1.0, "0.1"), (0.1, "0.45"), (0.01, "0.7")):
    run = simsim.simulate(dataclasses.replace(flow, head_lr=kappa))
    phases = simsim.find_phases(run)
    height = abs(run.head[:, phases.weak_neuron, phases.strong_neuron])
    bound = simsim.theory.head_bound(run.config, run.norms[0, phases.weak_neuron])
    ax.loglog(run.time[1:], height[1:], color=shade, label=rf"$\kappa = {kappa:g}$")
    ax.axhline(bound, color=shade, ls=":")
    print(f"kappa {kappa:4g}: the head rises to {height.max():.4f}, at most {bound:.4f} by eq. 13; {run.message}")
ax.set(xlabel="time $t$", ylabel="$|E_{21}|$", ylim=(1e-4, 2), xlim=(1e3, None))
ax.legend(frameon=False, title="dotted: eq. 13")
figure.savefig("out/lecture_8_exercise.png", dpi=100)

# %% [markdown]
# ## What next
#
# Change one thing in any cell. `simsim.Config` has all options, and docs/tutorial.md goes on from here.
