"""What a step of SGD costs, against the dimension d: literal engines and the gram engine.

    python examples/benchmark.py [--rounds 25] [--quick]

Every contender takes a few steps in turn, in random order, round after round, so
that whatever else the machine does hits all alike; a figure is the lowest tenth over rounds.
Contenders: simsim's `sgd` and `gram`, 64 gram runs side by side, a whole
`simulate` with its start, its log and its Trajectory, the same arithmetic
written down bare for this one case, and literal SGD in PyTorch (eager),
JAX (jit) and Numba (loops) where they are installed. Each library uses as many threads as it
likes; OMP_NUM_THREADS=1 holds PyTorch to one.
Then single flows are held against SciPy's LSODA, which is told when they end.
Prints tables, of wall times and of ratios of CPU times, and writes out/benchmark.png.
Some minutes; --quick leaves out d = 1e4.
"""

import argparse
import collections
import dataclasses
import os
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg.lapack import dgeqrf

import simsim
from simsim import flow, initial, population, sgd
from simsim.memory import BLOCK_STEPS
from simsim.sgd import draws

STEPS = {200: 50, 1_000: 10, 10_000: 1}  # of a literal contender in one round
GRAM_STEPS, RUNS = BLOCK_STEPS, 64
WHOLE = 1_000  # steps of a whole `simulate`
BATCH, QUIET = 256, 0.1
REST = 0.02  # seconds between contenders
FLOWS, STARTS = (10**4, 10**6, 10**8), 10  # dimensions and starts of single flows
LSODA_RTOL = 3e-7  # with which it comes to the same ends as `flow`


def config_of(engine, d, dtype):
    return simsim.Config(engine=engine, d=d, dtype=dtype, m=2, patches=8, feature_patches=4, batch_size=BATCH,
                         steps=10**9)


def simsim_steps(config):
    """A generator that takes one step each time."""
    return sgd.iterate(sgd.start([config]))


def replica_steps(config):
    """A generator that takes one step of RUNS runs, group by group as `simulate_many` does."""
    configs = [config.reseeded(seed, config.init_seed) for seed in range(RUNS)]
    size = sgd.ENGINES[config.engine].together(config)
    groups = [sgd.iterate(sgd.start(configs[first:first + size])) for first in range(0, RUNS, size)]
    yield from zip(*groups)


def whole_runs(config):
    """A generator that takes WHOLE steps each time: a run from its start to its Trajectory."""
    config = dataclasses.replace(config, steps=WHOLE)
    while True:
        yield simsim.simulate(config)


def bare_steps(config):
    """What the gram engine does, for one run of SimSiam, in one function that checks nothing and logs nothing.

    Yields the overlaps (m, K), the factor of the noise's Gram matrix (m, m) and the head (m, m) after each step.
    """
    m, N, p, lr = config.m, config.batch_size, config.noise_patches, config.lr
    overlaps, factor = initial.reduced_state(config)
    E, off_diagonal, upper = np.eye(m), 1 - np.eye(m), np.triu(np.ones((m, m)))
    blocks, mean, strengths = draws.Blocks([config]), np.full((N, 1), 1 / N), np.array(config.scaled_alphas) ** 3
    zeta, cubes, f = np.empty((m, p * N)), np.empty((2, m, p, N)), np.empty((2, m, N))
    outputs, of_view_1, of_view_2 = f.reshape(2 * m, N), cubes[0], cubes[1]
    for step in range(config.steps):
        batch = blocks.draw(step, [zeta])
        in_view1, features = batch.in_view1[0], batch.features[0]
        u = (factor @ zeta).reshape(m, p, N)
        squares = u * u
        np.multiply(squares, u, out=of_view_2)
        np.multiply(of_view_2, in_view1, out=of_view_1)
        np.subtract(of_view_2, of_view_1, out=of_view_2)
        np.add.reduce(cubes, axis=2, out=f)
        f -= f @ mean
        slope = overlaps * overlaps * strengths
        f += (slope * overlaps) @ features
        C = outputs @ outputs.T / N
        EC = E @ C[:m]
        D = (EC[:, :m] * E).sum(axis=1)
        spread = np.sqrt(D * C.diagonal()[m:])
        dF = np.zeros((m, 2 * m))
        dF[:, :m] = (2 * EC[:, m:].diagonal() / (spread * D))[:, None] * E
        dF.reshape(-1)[m::2 * m + 1] = -2 / spread
        df = (E.T @ dF * (3 * lr / N)) @ outputs
        du = df[:, None] * in_view1
        du *= squares
        du = du.reshape(m, p * N)
        in_span = factor - du @ zeta.T
        R = dgeqrf(du.T, overwrite_a=True)[0][:m] * upper
        R *= np.copysign(1, R.diagonal())[:, None]
        R = dgeqrf(np.concatenate([in_span, R.T @ batch.across[0]], axis=1).T, overwrite_a=True)[0][:m] * upper
        factor = (R * np.copysign(1, R.diagonal())[:, None]).T
        overlaps = overlaps - df @ features[0].T * slope
        E = E - config.head_lr * off_diagonal * (dF @ C[:, :m])
        yield overlaps, factor, E


def normal_steps(config):
    """A generator that draws as many normals as a gram step does, and nothing else."""
    rng = draws.generator(0)
    out = np.empty(config.batch_size * (config.patches - config.feature_patches) * config.m, config.dtype)
    while True:
        draws.fill_normals(rng, out)
        yield


def torch_steps(config):
    """Literal SGD as one would write it in PyTorch."""
    import torch
    N, k, K, m, d = config.batch_size, config.feature_patches, config.patches - config.feature_patches, config.m, config.d
    dtype, rng = getattr(torch, config.dtype), np.random.default_rng(0)
    W = (torch.randn(m, d, dtype=dtype) / d**0.5).requires_grad_()
    E, off_diagonal = torch.eye(m, dtype=dtype).requires_grad_(), 1 - torch.eye(m, dtype=dtype)
    alphas = torch.tensor(config.alphas, dtype=dtype)
    while True:
        k1 = torch.from_numpy(rng.hypergeometric(k, K, config.patches // 2, size=N))
        feature, sign = torch.randint(2, (N,)), 2 * torch.randint(2, (N, 1)) - 1
        noise = config.sigma * torch.randn(N, K, d - 2, dtype=dtype)
        in_view_1 = (torch.arange(K) < (config.patches // 2 - k1)[:, None]).to(dtype)[..., None]
        cubes, on_feature = (noise @ W[:, 2:].T) ** 3, (sign * (W[:, :2] * alphas).T[feature]) ** 3
        F = ((cubes * in_view_1).sum(1) + k1[:, None] * on_feature) @ E.T
        with torch.no_grad():
            G = (cubes * (1 - in_view_1)).sum(1) + (k - k1)[:, None] * on_feature
        Y, Z = ((V - V.mean(0)) / V.std(0, unbiased=False) for V in (F, G))
        dW, dE = torch.autograd.grad(((Y - Z) ** 2).sum(1).mean(), (W, E))
        with torch.no_grad():
            W -= config.lr * dW
            E -= config.head_lr * dE * off_diagonal
        yield


def jax_steps(config):
    """Literal SGD as one would write it in JAX, compiled."""
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_enable_x64", config.dtype == "float64")
    N, k, K, m, d = config.batch_size, config.feature_patches, config.patches - config.feature_patches, config.m, config.d
    half, alphas = config.patches // 2, jnp.array(config.alphas, config.dtype)

    def loss(W, E, key):
        keys = jax.random.split(key, 4)
        feature = jax.random.bernoulli(keys[0], shape=(N,)).astype(int)
        sign = 2 * jax.random.bernoulli(keys[1], shape=(N, 1)) - 1
        in_view_1 = jax.random.uniform(keys[2], (N, config.patches)).argsort(1).argsort(1) < half  # k features first
        noise = config.sigma * jax.random.normal(keys[3], (N, K, d - 2), config.dtype)
        cubes, on_feature = (noise @ W[:, 2:].T) ** 3, (sign * (W[:, :2] * alphas).T[feature]) ** 3
        k1, noise_1 = in_view_1[:, :k].sum(1)[:, None], in_view_1[:, k:, None]
        F = ((cubes * noise_1).sum(1) + k1 * on_feature) @ E.T
        G = jax.lax.stop_gradient((cubes * ~noise_1).sum(1) + (k - k1) * on_feature)
        Y, Z = ((V - V.mean(0)) / V.std(0) for V in (F, G))
        return ((Y - Z) ** 2).sum(1).mean()

    @jax.jit
    def step(W, E, key):
        key, now = jax.random.split(key)
        dW, dE = jax.grad(loss, (0, 1))(W, E, now)
        return W - config.lr * dW, E - config.head_lr * dE * (1 - jnp.eye(m, dtype=E.dtype)), key

    key = jax.random.key(0)
    state = jax.random.normal(key, (m, d), config.dtype) / d**0.5, jnp.eye(m, dtype=config.dtype), key
    while True:
        state = step(*state)
        state[0].block_until_ready()
        yield


def numba_steps(config):
    """Literal SGD as loops in Numba, on one thread: every patch is drawn, seen and let go, then seen again for the gradient."""
    import numba
    N, k, P, m, d, lr = config.batch_size, config.feature_patches, config.patches, config.m, config.d, config.lr
    K, dtype, rng = P - k, np.dtype(config.dtype).type, draws.generator(0)
    sigma, alphas = dtype(config.sigma), np.array(config.alphas, config.dtype)

    @numba.njit(fastmath=True)
    def outputs(W, noise, k1, feature, sign, u, f):
        for n in range(N):
            for j in range(m):
                one = (sign[n] * alphas[feature[n]] * W[j, feature[n]]) ** 3
                f[0, n, j], f[1, n, j] = k1[n] * one, (k - k1[n]) * one
            for p in range(K):
                view = 0 if p < P // 2 - k1[n] else 1
                for j in range(m):
                    total = noise[n, p, 0] * W[j, 2]
                    for i in range(1, d - 2):
                        total += noise[n, p, i] * W[j, 2 + i]
                    u[n, p, j] = sigma * total
                    f[view, n, j] += u[n, p, j] ** 3

    @numba.njit(fastmath=True)
    def gradient(W, noise, k1, feature, sign, u, df, dW):
        dW[:] = 0
        for n in range(N):
            l = feature[n]
            for j in range(m):
                dW[j, l] += 3 * k1[n] * df[n, j] * (sign[n] * alphas[l]) ** 3 * W[j, l] ** 2
            for p in range(P // 2 - k1[n]):
                for j in range(m):
                    pull = 3 * df[n, j] * u[n, p, j] ** 2 * sigma
                    for i in range(d - 2):
                        dW[j, 2 + i] += pull * noise[n, p, i]

    W = (rng.standard_normal((m, d)) / d**0.5).astype(config.dtype)
    E, off_diagonal, dW = np.eye(m), 1 - np.eye(m), np.empty((m, d), config.dtype)
    noise, u, f = (np.empty(shape, config.dtype) for shape in ((N, K, d - 2), (N, K, m), (2, N, m)))
    while True:
        k1 = rng.hypergeometric(k, K, P // 2, size=N)
        feature, sign = rng.integers(2, size=N), 2 * rng.integers(2, size=N) - 1
        rng.standard_normal(out=noise, dtype=config.dtype)
        outputs(W, noise, k1, feature, sign, u, f)
        centred = f.astype(float) - f.mean(axis=1, keepdims=True)
        F = centred[0] @ E.T
        D, G = (F * F).mean(0), (centred[1] * centred[1]).mean(0)
        c = (F * centred[1]).mean(0) / np.sqrt(D * G)
        dF = 2 / N * (c / D * F - centred[1] / np.sqrt(D * G))
        gradient(W, noise, k1, feature, sign, u, (dF @ E).astype(config.dtype), dW)
        W -= lr * dW
        E -= config.head_lr * off_diagonal * (dF.T @ centred[0])
        yield W, E


def contenders(quick):
    """(name, d, generator, how often it is asked in one round, for how many steps each time) of each contender."""
    literal = {"sgd float64": (simsim_steps, "float64"), "sgd float32": (simsim_steps, "float32"),
               "PyTorch float64": (torch_steps, "float64"), "PyTorch float32": (torch_steps, "float32"),
               "JAX float32": (jax_steps, "float32"),
               "Numba float64": (numba_steps, "float64"), "Numba float32": (numba_steps, "float32")}
    for name, (steps, dtype) in literal.items():
        for d in list(STEPS)[:2 if quick else 3]:
            yield name, d, steps(config_of("sgd", d, dtype)), STEPS[d], 1
    for d in (200, 1_000, 10_000, 10**6, 10**8):
        for name, dtype in (("gram float64", "float64"), ("gram float32", "float32")):
            yield name, d, simsim_steps(config_of("gram", d, dtype)), GRAM_STEPS, 1
        yield f"gram, {RUNS} runs", d, replica_steps(config_of("gram", d, "float64")), 2, RUNS
    yield "gram, simulate", 1_000, whole_runs(config_of("gram", 1_000, "float64")), 1, WHOLE
    yield "the same, bare", 1_000, bare_steps(config_of("gram", 1_000, "float64")), WHOLE, 1
    yield "its normals alone", 200, normal_steps(config_of("gram", 200, "float64")), GRAM_STEPS, 1


def installed(contender):
    """Whether the contender can take its first step, which is not timed."""
    try:
        next(contender[2])
        next(contender[2])
    except ImportError as error:
        print(f"{contender[0]} left out: {error}")
        return False
    return True


def measure(rounds, quick):
    """{(name, d): (rounds, 2) seconds per step of one run, by the wall and of CPU}, all contenders in turn in each round."""
    field = [contender for contender in contenders(quick) if installed(contender)]
    seconds = {(name, d): [] for name, d, *_ in field}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for place in order.permutation(len(field)):
            name, d, steps, count, at_once = field[place]
            next(steps)  # brings its arrays back into the cache
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                next(steps)
            elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
            seconds[name, d].append((elapsed / (count * at_once), cpu / (count * at_once)))
            time.sleep(REST + elapsed / count)  # threads that draw the next batch, or spin, come to an end
    return {key: np.array(values) for key, values in seconds.items()}


def print_table(seconds):
    """Times, and ratios of them, at the lowest tenth: the machine at its quietest."""
    seconds = {key: np.quantile(times, QUIET) for key, times in seconds.items()}
    normals = seconds["its normals alone", 200]
    print(f"\n{'':18}{'d':>10}{'us a step':>12}{'over gram':>11}{'samples/s':>12}{'over normals':>14}")
    for (name, d), times in seconds.items():
        print(f"{name:18}{d:10.0e}{times * 1e6:12.1f}{times / seconds['gram float64', d]:11.2f}"
              f"{BATCH / times:12.3g}{times / normals:14.2f}")


def print_ratios(seconds):
    """CPU times of simsim over those of the others, round by round: the median and the middle half. Below 1 simsim is cheaper."""
    print(f"\n{'CPU of simsim over that of':28}{'d':>10}{'median':>9}   middle half")
    for (name, d) in seconds:
        library, _, dtype = name.partition(" ")
        own = {"the same, bare": ("gram, simulate", d), "its normals alone": ("gram float64", 200)}.get(name, (f"sgd {dtype}", d))
        if library in ("PyTorch", "JAX", "Numba", "the", "its"):
            low, middle, high = np.quantile(seconds[own][:, 1] / seconds[name, d][:, 1], (0.25, 0.5, 0.75))
            print(f"{name:28}{d:10.0e}{middle:9.2f}   {low:.2f} to {high:.2f}")


def print_flows(starts):
    """The same of single flows at m = 2, kappa = 1, against LSODA in plain W and E, told the end, without events or certificate."""
    for d in FLOWS:
        ratios, agree = [], 0
        for seed in range(starts):
            config = simsim.Config(engine="flow", d=d, lr=1.0, head_lr=1.0, init_seed=seed)
            began = time.process_time()
            own = flow.follow_many(config, [seed])
            between = time.process_time()
            learned = lsoda(config, own.t[0])
            ratios.append((between - began) / (time.process_time() - between))
            agree += np.array_equal(learned, own.owned[0])
        low, middle, high = np.quantile(ratios, (0, 0.5, 1))
        print(f"{'LSODA, a flow':28}{d:10.0e}{middle:9.2f}   {low:.2f} to {high:.2f}, the same end {agree} of {starts} times")


def lsoda(config, t_end):
    """Which features (K,) some neuron owns at the time t_end of the flow of `config`, by SciPy's LSODA."""
    equations, (a, U, E) = flow.Equations.from_config(config), flow.start_of(config)
    off, m, K = ~np.eye(config.m, dtype=bool), *a.shape

    def state(y):
        head = np.eye(m)
        head[off] = y[m * (K + m):]
        return y[:m * K].reshape(m, K), y[m * K:m * (K + m)].reshape(m, m), head

    def rates(_, y):
        grad = population.gradient(*state(y), equations.setting, equations.objective)
        return -np.concatenate([grad.a.ravel(), grad.U.ravel(), config.kappa * grad.E[off]])

    path = solve_ivp(rates, (0, t_end), np.concatenate([a.ravel(), U.ravel(), E[off]]), method="LSODA", rtol=LSODA_RTOL, atol=1e-12)
    a, U, _ = state(path.y[:, -1])
    return simsim.phases.owned(population.shares(config, a, U @ U.T))


def draw(seconds):
    """Cost of a step against d, one line for each contender that was asked at more than one d."""
    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    asked = collections.Counter(name for name, _ in seconds)
    for number, name in enumerate(name for name, count in asked.items() if count > 1):
        points = sorted((d, np.quantile(times, QUIET)) for (other, d), times in seconds.items() if other == name)
        ax.loglog(*zip(*points), **simsim.plots.series(number), ls="--" if "gram" in name else "-", label=name)
    ax.axhline(np.quantile(seconds["its normals alone", 200], QUIET), color="0.6", lw=0.8, label="gram's normals alone")
    ax.set_xlabel("dimension $d$")
    ax.set_ylabel("seconds per step of one run")
    ax.legend(frameon=False, fontsize="small")
    os.makedirs("out", exist_ok=True)
    figure.savefig("out/benchmark.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="leave out d = 1e4 for the literal contenders")
    options = parser.parse_args()
    results = measure(options.rounds, options.quick)
    walls = {key: times[:, 0] for key, times in results.items()}
    print_table(walls)
    print_ratios(results)
    print_flows(STARTS)
    draw(walls)
