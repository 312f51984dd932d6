"""The tables of section 8 of docs/theory.md, what finite batches do: the laws beside gram, on sampling seeds of their own.

    python examples/noise_laws.py [NAME ...] [--seeds N]

NAME is growth, passage, even-chance, fates, moved, floor, head, wrong-sign,
phase-three, drawn, begins, second-passage, tempted, three-neurons or demands; all of
them without a name, some forty minutes. N is the number of sampling seeds in
each row.
"""

import argparse
import dataclasses

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest

import simsim
from simsim import laws, noise_laws, noise_runs

ONE = {"m": 1, "head": "frozen", "feature_patches": 4, "alpha_ratio": 1e3}
STRONG, WEAK = 4.0, 2.0  # of the start of table phase-three


def one_neuron(overlap):
    """The State of a neuron of noise norm 1 with this overlap with v_1 and none with v_2."""
    return simsim.State([[overlap, 0.0]], [[1.0]], [[1.0]])


def runs(config, steps, seeds, start, rows=2000):
    """`config` with so many steps from `start`, once for each sampling seed."""
    config = dataclasses.replace(config, steps=int(steps), log_every=max(1, int(steps) // rows))
    return simsim.simulate_many(config, seeds, start=start)


def first_times(trajectories, neuron, feature):
    """When the feature is first half of the neuron's output, of each run; inf where it never is."""
    learned = [np.flatnonzero(run.shares[:, neuron, feature] >= 0.5) for run in trajectories]
    return np.array([run.time[rows[0]] if rows.size else np.inf for run, rows in zip(trajectories, learned)])


def part(times):
    """How many are finite, with Wilson's 95 % interval, as text."""
    found = int(np.isfinite(times).sum())
    interval = binomtest(found, times.size).proportion_ci(method="wilson")
    return f"{found / times.size:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def mean(values):
    """The mean and twice its standard error, as text."""
    return f"{np.mean(values):.3f} ± {2 * np.std(values, ddof=1) / np.sqrt(np.size(values)):.3f}"


# ---- phase I -----------------------------------------------------------------------------------

def table_growth(count):
    """||w||^4 - 1 of a neuron of pure noise over eq. 56, 20 % of growth."""
    yield ["k", "N", "c_0", "c_0 at this N", "growth over (56)", "over (57)"]
    for k, N, steps in ((2, 64, 400), (4, 64, 400), (4, 256, 400), (4, 1024, 100), (6, 256, 400), (7, 128, 400), (7, 1024, 100)):
        batch, config = noise_laws.of_batch(8, k, N), simsim.Config(**{**ONE, "feature_patches": k}, d=200, batch_size=N, lr=1.0)
        lr = np.sqrt(0.2 / (2 * steps * noise_laws.growth(config, batch)))
        config = dataclasses.replace(config, alpha_weak=5e-5, lr=lr, head_lr=None)
        ends = runs(config, steps, range(11_000, 11_000 + count), one_neuron(1e-6))
        grown = np.array([(run.norms[-1, 0] ** 4 - 1) / (2 * steps * lr) for run in ends])
        leading = noise_laws.growth(config)
        yield [k, N, f"{noise_laws.common_noise(config):.4f}", f"{batch.common:.5f}",
               mean(grown / leading) if leading else "eq. 56: 0", mean(grown / noise_laws.growth(config, batch))]


def critical_run(strength, x, T, k=4, d=200, N=128):
    """(config, start, Noise) of a neuron that learns at T in the flow, at this x."""
    config = simsim.Config(**{**ONE, "feature_patches": k}, alpha_weak=strength / 1e3, d=d, batch_size=N, lr=1e-3)
    flow_time = lambda log_a: laws.noise(config, one_neuron(np.exp(log_a))).phase_one.flow_time
    start = one_neuron(np.exp(brentq(lambda log_a: flow_time(log_a) / T - 1, np.log(1e-3), np.log(0.5 / strength**0.5))))
    lr = config.lr * x / laws.noise(config, start).phase_one.x
    config = dataclasses.replace(config, lr=lr, head_lr=None)
    return config, start, laws.noise(config, start)


def table_passage(count):
    """Phase I at x: how often v_1 is learned within three T_SGD (from x = 1 on 15 T_1), and when."""
    yield ["strength", "a(0)", "x", "blur", "law", "learned", "median T over T_SGD of (58)"]
    for strength, T in ((2.0, 6.0), (6.0, 3.0)):
        for x in (0.1, 0.2, 0.382, 0.6, 0.8, 1.0, 1.25):
            config, start, noise = critical_run(strength, x, T)
            one, batch = noise.phase_one, noise_laws.of_batch(8, 4, config.batch_size)
            end = 3 * one.time if x < 0.7 else 15 * T
            walk = noise_laws.blur(config, start.a[0, 0], batch)
            law = noise_laws.learning_probability(1 / noise_laws.time_of_flow(x, end * batch.drift / one.flow_time), walk)
            times = first_times(runs(config, end / config.lr, range(12_000, 12_000 + count), start), 0, 0)
            median = np.median(times) / one.time if x < 1 else 0
            yield [strength, f"{start.a[0, 0]:.3f}", x, f"{walk:.4f}", f"{law:.3f}", part(times),
                   f"{median:.2f}" if 0 < median < 9 else "-"]


def table_even(count):
    """k = P - 1, where x is next to nothing: v_1 is learned with probability erf(1 / (2 sqrt(blur)))."""
    yield ["d", "N", "blur", "x", "law", "learned"]
    for blur in (0.2, 0.5, 1.5):
        config = simsim.Config(**{**ONE, "feature_patches": 7}, alpha_weak=3e-3, d=50, batch_size=256, lr=1.0)
        batch = noise_laws.of_batch(8, 7, 256)
        overlap = 0.05
        lr = blur / noise_laws.blur(config, overlap, batch)
        config = dataclasses.replace(config, lr=lr, head_lr=None)
        one = laws.noise(config, one_neuron(overlap)).phase_one
        end = 6 * one.flow_time
        law = noise_laws.learning_probability(1 / noise_laws.time_of_flow(one.x, end * batch.drift / one.flow_time), blur)
        times = first_times(runs(config, end / lr, range(13_000, 13_000 + count), one_neuron(overlap)), 0, 0)
        yield [config.d, 256, blur, f"{one.x:.3f}", f"{law:.3f}", part(times)]


# ---- which feature a neuron learns ----------------------------------------------------------------

def race(config, overlaps, norm, end):
    """P(a neuron learns each feature first, until `end`), (K,), by eq. 80."""
    batch = noise_laws.of_batch(config.patches, config.feature_patches, config.batch_size)
    growth = noise_laws.growth(config, batch) / norm**4
    times = simsim.theory.small_start_times(config, overlaps, norm) / batch.drift
    passed = noise_laws.time_of_flow(1.0, end * growth) / growth
    return noise_laws.fate_probabilities(times, noise_laws.blur(config, overlaps, batch), passed)


def held(config, end, seeds, **starts):
    """Which features each run holds at `end`, (R, K), and its overlaps and noise norms at the start."""
    config = dataclasses.replace(config, steps=int(end / config.lr), log_every=int(end / config.lr))
    made = simsim.simulate_many(config, seeds, **starts)
    return np.array([run.shares[-1, 0] > 0.5 for run in made]), [(run.overlaps[0, 0], run.noise_norms[0, 0]) for run in made]


def often(found):
    """How many of them are true, with its interval, as text."""
    return part(np.where(found, 1, np.inf))


def table_fates(count):
    """A neuron that two or three features are about to win, by alpha^(3/2) |a| in units of that of v_1, until 8 times its T_1."""
    yield ["k", "N", "strengths", "alpha^(3/2) |a|", "blur of v_1", "x of v_1", "law", "learned"]
    for k, N, strengths, sizes, blur in ((7, 256, (3.0, 2.0), (1.0, 1.0), 0.1), (7, 256, (3.0, 2.0), (1.0, 0.9), 0.4),
                                         (4, 32, (6.0, 4.0), (1.0, 1.0), 0.2), (4, 32, (6.0, 4.0), (1.0, 0.9), 0.4),
                                         (7, 256, (3.0, 2.4, 2.0), (1.0, 1.0, 0.95), 0.2)):
        config = simsim.Config(m=1, head="frozen", features=len(strengths), strengths=strengths, feature_patches=k, d=50,
                               batch_size=N, lr=1.0)
        batch = noise_laws.of_batch(8, k, N)
        overlaps = 0.05 * np.array(sizes) * (strengths[0] / np.array(strengths)) ** 1.5
        config = dataclasses.replace(config, lr=blur / noise_laws.blur(config, 0.05, batch), head_lr=None)
        time = simsim.theory.small_start_times(config, overlaps, np.ones(()))[0] / batch.drift
        learned, _ = held(config, 8 * time, range(16_000, 16_000 + count), start=simsim.State([overlaps], [[1.0]], [[1.0]]))
        yield [k, N, strengths, sizes, blur, f"{noise_laws.growth(config, batch) * time:.3f}",
               ", ".join(f"{one:.3f}" for one in race(config, overlaps, np.ones(()), 8 * time)), ", ".join(map(often, learned.T))]


def table_moved(count):
    """Gaussian neurons: how many learn another feature than that of eq. 14, and how many none, until t = 120."""
    yield ["tau d", "(82)", "moved: law", "measured", "nothing learned: law", "measured"]
    for tau_d in (0.0029, 0.02, 0.1):
        config = simsim.Config(m=1, head="frozen", strengths=(1.5, 1.0), feature_patches=7, d=50, batch_size=256,
                               lr=tau_d / 50 * 256)
        try:
            leading = f"{noise_laws.moved_fates(config, noise_laws.of_batch(8, 7, 256)):.3f}"
        except ValueError:
            leading = "not small"
        seeds = range(17_000, 17_000 + count)
        learned, starts = held(config, 120.0, seeds, init_seeds=seeds)
        law = np.array([race(config, *start, 120.0) for start in starts])
        others = 1 - simsim.theory.fates(config, np.array([overlaps for overlaps, _ in starts])[:, None])
        moved, seen = (np.take_along_axis(one, others, axis=1) for one in (law, learned))
        yield [tau_d, leading, f"{moved.mean():.3f}", often(seen[:, 0]), f"{1 - law.sum(axis=1).mean():.3f}",
               often(~learned.any(axis=1))]


# ---- balances ------------------------------------------------------------------------------------

def table_floor(count):
    """||w^perp|| of a neuron that holds v_1, root mean square over the second half of a long run, over eq. 67."""
    yield ["k", "N", "lr", "(67)", "measured over it"]
    for k, N, lr in ((4, 64, 0.0075), (4, 512, 0.06), (6, 512, 0.1)):
        config = simsim.Config(**{**ONE, "feature_patches": k}, alpha_weak=1e-3, d=400, batch_size=N, lr=lr)
        floor = noise_laws.noise_floor(config)
        start = simsim.State([[1.0, 0.0]], [[floor]], [[1.0]])
        mu11, mu12, nu = simsim.data.mask_moments(8, k)
        rate = 360 * mu12 * nu / mu11**2 * floor**4  # of its relaxation
        left = [np.sqrt(np.mean(run.noise_norms[len(run) // 2:, 0] ** 2)) 
                for run in runs(config, 12 / rate / lr, range(14_000, 14_000 + count), start)]
        yield [k, N, lr, f"{floor:.4f}", mean(np.array(left) / floor)]


# ---- the head -------------------------------------------------------------------------------------

def table_head(count):
    """Variance of E_jr over its law: neurons that are noise (norms 1 and 1.15), and one that has long held v_1."""
    yield ["k", "N", "E_12 over (83)", "E_21 over (83)"]
    for k, N in ((4, 64), (4, 256), (7, 256)):
        config = simsim.Config(feature_patches=k, alpha_ratio=1e3, alpha_weak=5e-5, d=200, batch_size=N, lr=3e-3, steps=200,
                               log_every=200)
        start = simsim.State([[1e-6, 1e-6]] * 2, np.diag([1.0, 1.15]), np.eye(2))
        law = noise_laws.head_walk(config, noise_laws.of_batch(8, k, N), [1.0, 1.15], 200 * config.lr)
        heads = np.array([run.head[-1] for run in simsim.simulate_many(config, range(18_000, 18_000 + count), start=start)])
        yield [k, N, *(mean((heads[:, j, 1 - j] / law[j, 1 - j]) ** 2) for j in (0, 1))]
    yield ["k", "N", "E_12 over (85)", ""]
    for k, N in ((4, 256), (6, 256)):
        config = simsim.Config(strengths=(2.0, 0.01), feature_patches=k, d=200, batch_size=N, lr=0.02)
        mu11, mu12, nu = simsim.data.mask_moments(8, k)
        steps = int(4 * (mu11 / 2 * 2**6) / (2 * mu12 / mu11 * 15 * nu) / config.lr)  # four times that of its relaxation
        start = simsim.State([[1.0, 0.0], [0.01, 1e-3]], np.diag([0.05, 1.0]), np.eye(2))
        config = dataclasses.replace(config, steps=steps, log_every=steps)
        ends = simsim.simulate_many(config, range(18_500, 18_500 + count), start=start)
        yield [k, N, mean([(run.head[-1, 0, 1] / noise_laws.settled_head(config)) ** 2 for run in ends]), ""]


def table_wrong_sign(count):
    """E_21 where phase II should end, from Gaussian starts: how often its sign is wrong, and its mean."""
    yield ["init_seed", "lr", "sign wrong: law", "SGD", "mean: law", "SGD"]
    for init_seed, lr in ((84, 4e-3), (47, 4e-3), (86, 4e-3), (58, 4e-3)):
        config = simsim.Config(alpha_ratio=3.0, d=100, feature_patches=4, init_seed=init_seed, batch_size=256, lr=lr)
        start = simsim.State.start(config)
        law = laws.heads_at_substitution(config, start.a, start.noise_norms)
        steps = int(laws.substitution_time(config, start.a, start.noise_norms) / lr)
        first = int(laws.first_learner(config, start.a, start.noise_norms))
        runs_made = simsim.simulate_many(dataclasses.replace(config, steps=steps, log_every=steps), range(19_000, 19_000 + count),
                                         start=start)
        heads = np.array([run.head[-1, 1 - first, first] for run in runs_made]) * np.sign(start.a[0, 0] * start.a[1, 0])
        yield [init_seed, lr, f"{np.mean(law < 0):.3f}", often(heads < 0), f"{law.mean():.3f}", mean(heads)]


# ---- phase III -----------------------------------------------------------------------------------

def substituted(d, N, lr, own=-0.01, weak=0.2):
    """(config, start): neuron 1 holds v_1, the head has begun to bring it to neuron 2; a_12 is `own` and a_22 `weak`."""
    config = simsim.Config(strengths=(STRONG, WEAK), feature_patches=4, d=d, batch_size=N, lr=lr)
    return config, simsim.State([[1.0, own], [0.2, weak]], [[0.15, 0.0], [0.0, np.sqrt(0.97)]], [[1.0, 0.0], [0.1, 1.0]])


def acceleration(config, start):
    """`noise_laws.SlowedAcceleration` from there, with the head's own beginning given back to the noise norm by eq. 13."""
    at = laws.Start(config, start.a, start.noise_norms)
    at.leak, at.noise_norms = (STRONG * start.a[1, 0]) ** 3, np.array([0.15, 1.0])
    at.norms = np.array([np.sqrt(1 + 0.15**2 - 3 * 0.1**2), 1.0])
    return noise_laws.SlowedAcceleration(at, config.lr / config.batch_size, config.d - 3,
                                         noise_laws.of_batch(8, 4, config.batch_size), noise_laws.held_noise(config))


def step_at(R, d, N, **start):
    """The step at which noise over flow is R from a `substituted` start (eq. 68): they are in proportion."""
    return 1e-6 * R / acceleration(*substituted(d, N, 1e-6, **start)).x


def table_three(count):
    """T_3 from a substituted start, in units of the flow's own by the same law."""
    yield ["d", "N", "lr", "R at the start", "law", "T_3: quartiles", "learned"]
    for d, N, factors in ((1000, 256, (0.25, 0.5, 1.0, 1.5, 4.0)), (4000, 1024, (0.5, 1.5))):
        unit = acceleration(*substituted(d, N, 1e-12)).time()
        for factor in factors:
            lr = step_at(factor, d, N)
            config, start = substituted(d, N, lr)
            law = acceleration(config, start).time() / unit
            end = min(4 * law, 12) * unit
            times = first_times(runs(config, end / lr, range(15_000, 15_000 + count), start), 1, 1) / unit
            values = np.quantile(times, (0.25, 0.5, 0.75), method="lower")
            quartiles = ", ".join(f"{value:.2f}" if np.isfinite(value) else "never" for value in values)
            yield [d, N, f"{lr:.3g}", factor, f"{law:.2f}" if np.isfinite(law) else "never", quartiles, part(times)]


def first_on_weak(run):
    """The neuron whose overlap with v_2 is the first to reach one half, or None."""
    rows = np.flatnonzero((np.abs(run.overlaps[:, :, 1]) >= 0.5).any(axis=1))
    return int(np.abs(run.overlaps[rows[0], :, 1]).argmax()) if rows.size else None


def turning_point(d, weak):
    """a_12 / a_22 above which the flow from a substituted start takes v_2 to neuron 1, to a ten-thousandth."""
    low, high = 0.5, 4.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        config, start = substituted(d, 256, 1.0, middle * weak, weak)
        run = simsim.flow.follow(dataclasses.replace(config, engine="flow", t_max=1e6), start=start)
        low, high = (low, middle) if first_on_weak(run) == 0 else (middle, high)
    return high


def table_drawn(count):
    """Which neuron learns v_2 first as a_12 / a_22 grows, in units of where the flow turns times <E_21> without noise over with it."""
    yield ["R at the start", "lr", "<E_21>", "turns: law", "eq. 93", "a_12 / a_22 over the law", "neuron 1", "neuron 2", "neither"]
    d, N, weak = 1000, 256, 0.1
    turn, unit = turning_point(d, weak), acceleration(*substituted(d, N, 1e-12, weak=weak)).mean_head()
    for factor in (0.5, 0.75):
        lr = step_at(factor, d, N, weak=weak)
        slowed = acceleration(*substituted(d, N, lr, weak=weak))
        law = turn * unit / slowed.mean_head()
        for part_of in (0.9, 0.95, 1.0, 1.05, 1.1):
            config, start = substituted(d, N, lr, part_of * law * weak, weak)
            first = [first_on_weak(run) for run in runs(config, 4 * slowed.time() / lr, range(15_500, 15_500 + count), start, 1000)]
            yield [factor, f"{lr:.3g}", f"{slowed.mean_head():.3f}", f"{law:.3f}",
                   f"{turn / np.sqrt(noise_laws.raised_ceiling(factor)):.3f}", part_of, *(first.count(who) for who in (0, 1, None))]


# ---- from Gaussian starts ------------------------------------------------------------------------

LAW_RUNS = 4000  # of the reduced equation: a probability is known to .008


def gaussian(init_seed, tau, N, **fields):
    """A Config of two neurons at ratio 3, d = 100 and k = 4, kappa 1, unless `fields` say otherwise."""
    fields = {**dict(alpha_ratio=3.0, d=100, feature_patches=4), **fields}
    return simsim.Config(**fields, init_seed=init_seed, batch_size=N, lr=tau * N)


def brought(run, first, other):
    """(X, E_21) of neuron `other` when the head has first brought v_1 to it from `first`, the sign of eq. 20 positive, or None."""
    rows = np.flatnonzero(run.head_shares[:, other, 0] > 0.5)
    if not rows.size:
        return None
    a = run.overlaps[0, :, 0]
    return run.noise_norms[rows[0], other] ** 2, run.head[rows[0], other, first] * np.sign(a[first] * a[other])


def order_of(run):
    """The neuron that learns v_1 first by eq. 16, and the others."""
    first = int(laws.first_learner(run.config, run.overlaps[0], run.noise_norms[0]))
    return [first, *(j for j in range(run.config.m) if j != first)]


def table_begins(count):
    """Where phase III begins: X_0 and E_21 when the head has brought v_1 to neuron 2."""
    yield ["ratio, d, init_seed", "tau", "X_0 of the flow", "of the mean", "law", "SGD", "E_21: law", "SGD", "brought in time: law",
           "SGD"]
    for ratio, d, seed, tau, end, sampling in ((3.0, 100, 30025, 5.4e-5, 40, 41_000), (3.0, 100, 30069, 1e-4, 60, 41_100),
                                               (3.0, 200, 30069, 1.5e-5, 40, 41_200), (3.0, 300, 30042, 3e-5, 12, 41_300),
                                               (20.0, 300, 30005, 4e-6, 2.5, 41_400)):
        config = gaussian(seed, tau, 256, alpha_ratio=ratio, d=d)
        made = runs(config, end / config.lr, range(sampling, sampling + count), None, 1000)
        found = [brought(run, *order_of(run)) for run in made]
        X, head = np.array([one for one in found if one is not None]).T
        law = laws.runs_with_noise(config, runs=LAW_RUNS, time=end)
        flow = laws.course(dataclasses.replace(config, lr=1e-9, head_lr=None))
        times = np.array([np.inf if one is None else 0.0 for one in found])
        yield [f"{ratio:g}, {d}, {seed}", tau, f"{flow.X:.3f}", f"{laws.course(config).X:.3f}", f"{np.nanmean(law.X):.3f}", mean(X),
               f"{np.nanmean(law.head):.3f}", mean(head), f"{np.isfinite(law.X).mean():.2f}", part(times)]


def quartiles(times):
    """Quartiles of times of which some may be inf, as text."""
    return ", ".join(f"{one:.0f}" if np.isfinite(one) else "never" for one in np.quantile(times, (0.25, 0.5, 0.75), method="lower"))


def table_second_passage(count):
    """How often v_2 is learned within a time, and when, from starts near the threshold of phase III."""
    yield ["d, init_seed", "N", "tau", "s", "T_3 of the flow", "of the mean", "until", "learned: law", "SGD", "T_3: law", "SGD"]
    for d, seed, N, tau, end, sampling, most in (
            (100, 32296, 256, 1e-4, 300, 44_000, 100), (100, 32296, 256, 2e-4, 300, 44_200, 60),
            (100, 32296, 1024, 1e-4, 300, 44_400, 60), (100, 32296, 4096, 1e-4, 300, 44_500, 40), (100, 32480, 256, 1.37e-4, 1500, 43_000, 100),
            (200, 8000114, 1024, 1.93e-5, 4800, 42_400, 4)):
        config = gaussian(seed, tau, N, d=d)
        made = runs(config, end / config.lr, range(sampling, sampling + min(count, most)), None, 1000)
        times = np.array([_first(run) for run in made])
        law, course = laws.runs_with_noise(config, runs=LAW_RUNS, time=end), laws.course(config)
        flow = laws.course(dataclasses.replace(config, lr=1e-9, head_lr=None))
        yield [f"{d}, {seed}", N, tau, f"{laws.noise(config).s:.2f}", f"{flow.weak:.4g}", f"{course.weak:.4g}", end,
               f"{law.learned:.2f}", part(times), quartiles(law.weak), quartiles(times)]


def _first(run):
    """When v_2 is first half of some neuron's output; inf where it never is."""
    rows = np.flatnonzero((run.shares[:, :, 1] > 0.5).any(axis=1))
    return run.time[rows[0]] if rows.size else np.inf


def table_tempted(count):
    """A start at which eq. 18 is near 1: whether noise keeps neuron 2 from v_2, and how often a_12 overtakes a_22 on the way."""
    yield ["d, init_seed", "N", "tau", "eq. 18", "until", "learned: law", "SGD", "T_3: law", "SGD", "a_12 > a_22 at some time"]
    config, end = gaussian(36765, 2e-5, 1024), 3000
    made = list(runs(config, end / config.lr, range(44_600, 44_600 + min(count, 6)), None, 1000))
    start, law = simsim.State.start(config), laws.runs_with_noise(config, runs=LAW_RUNS, time=end)
    first, other = order_of(made[0])
    times = np.array([_first(run) for run in made])
    overtaken = sum((np.abs(run.overlaps[:, first, 1]) > np.abs(run.overlaps[:, other, 1])).any() for run in made)
    yield ["100, 36765", 1024, 2e-5, f"{float(laws.temptation(config, start.a, start.noise_norms)):.3f}", end,
           f"{law.learned:.2f}", part(times), quartiles(law.weak), quartiles(times), f"{overtaken} of {len(made)}"]


def table_three_neurons(count):
    """Where phase III begins for the two others of three neurons, among three features: the pair's equations with mu / K."""
    yield ["init_seed", "neuron", "X_0 of the flow", "of the law", "SGD", "E_j1: law", "SGD", "brought in time: law", "SGD"]
    end = 20
    for seed, sampling in ((34051, 45_000), (34002, 45_100)):
        config = simsim.Config(m=3, features=3, strengths=(3.0, 1.0, 0.9), d=100, feature_patches=4, init_seed=seed, batch_size=256,
                               lr=256 * 8e-5)
        start, batch = simsim.State.start(config), noise_laws.of_batch(8, 4, 256)
        made = list(runs(config, end / config.lr, range(sampling, sampling + count), None, 1000))
        first, *others = order_of(made[0])
        for other in others:
            rows = [first, other]
            made_of = lambda tau, lr: noise_runs.Pair(config, start.a[rows][:, :2], start.noise_norms[rows], batch,
                                                      noise_laws.freedom(config), noise_laws.held_noise(config), tau, lr)
            law = made_of(8e-5, config.lr).runs(LAW_RUNS, end, np.random.default_rng(0))
            found = [brought(run, first, other) for run in made]
            X, head = np.array([one for one in found if one is not None]).T
            yield [seed, other + 1, f"{made_of(0.0, 0.0).mean().X:.3f}", f"{np.nanmean(law.X):.3f}", mean(X),
                   f"{np.nanmean(law.head):.3f}", mean(head), f"{np.isfinite(law.X).mean():.2f}",
                   part(np.array([np.inf if one is None else 0.0 for one in found]))]


# ---- what is asked for ------------------------------------------------------------------------------

ASKED = {"the default": {}, "--alpha-ratio 3": {"alpha_ratio": 3.0},
         **{f"ratio {ratio:g}, d = 10^{power}, k = 4, init_seed 0": {
             "alpha_ratio": ratio, "d": 10**power, "feature_patches": 4, "init_seed": 0, "batch_size": 1024, "lr": 1e-6}
            for ratio in (3.0, 20.0) for power in (4, 6)}}


def table_demands(_):
    """The longest step, and the step that needs the fewest samples, with what it takes; no run is made.

    Where noise would allow a step that does all of phase I the laws end, and noise is no limit: `best` is then the run's own lr.
    """
    yield ["run", "N", "feature", "T of the flow", "longest step", "best step", "steps at it", "samples at it"]
    for name, options in ASKED.items():
        config = simsim.Config(**options)
        found = laws.noise(config)
        for feature, one in enumerate((found.phase_one, found.phase_three), 1):
            if one is not None:
                limited = one.largest_lr < 0.5 * found.phase_one.flow_time
                costs = (one.best_lr, one.least_samples) if limited else (config.lr, one.samples)
                yield [name, config.batch_size, f"v_{feature}", f"{one.flow_time:.2g}",
                       f"{one.largest_lr:.2g}" if limited else "T_1",
                       f"{costs[0]:.2g}", f"{costs[1] / config.batch_size:.2g}", f"{costs[1]:.2g}"]


TABLES = {"growth": (table_growth, 48), "passage": (table_passage, 200), "even-chance": (table_even, 150),
          "fates": (table_fates, 400), "moved": (table_moved, 1000), "floor": (table_floor, 8),
          "head": (table_head, 400), "wrong-sign": (table_wrong_sign, 64),
          "phase-three": (table_three, 16), "drawn": (table_drawn, 16), "begins": (table_begins, 60),
          "second-passage": (table_second_passage, 100),
          "tempted": (table_tempted, 6), "three-neurons": (table_three_neurons, 60), "demands": (table_demands, 1)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--seeds", type=int, help="how many in each row")
    options = parser.parse_args()
    if unknown := set(options.names) - set(TABLES):
        parser.error(f"{' '.join(unknown)}: no such table; choose from {', '.join(TABLES)}")
    for name in options.names or TABLES:
        print(f"\n{name}")
        table, seeds = TABLES[name]
        for row in table(options.seeds or seeds):
            print("|", " | ".join(map(str, row)), "|", flush=True)
