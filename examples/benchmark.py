"""What a step of SGD costs, against the dimension d: literal engines and the gram engine.

    python examples/benchmark.py [--rounds 25] [--quick]

Every contender takes a few steps in turn, in random order, round after round, so
that whatever else the machine does hits all alike; a figure is the lowest tenth over rounds.
Contenders: simsim's `sgd` and `gram`, 64 gram runs side by side, a whole
`simulate` with its start, its log and its Trajectory, the same arithmetic
written down bare for this one case, and literal SGD in PyTorch (eager) and
JAX (jit) where they are installed. Each library uses as many threads as it
likes; OMP_NUM_THREADS=1 holds PyTorch to one.
Prints a table, writes benchmark.png. A few minutes; --quick leaves out d = 1e4.
"""

import argparse
import collections
import dataclasses
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg.lapack import dgeqrf

import simsim
from simsim import initial, sgd
from simsim.memory import BLOCK_STEPS
from simsim.sgd import draws

STEPS = {200: 50, 1_000: 10, 10_000: 1}  # of a literal contender in one round
GRAM_STEPS, RUNS = BLOCK_STEPS, 64
WHOLE = 1_000  # steps of a whole `simulate`
BATCH, QUIET = 256, 0.1
REST = 0.02  # seconds between contenders


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


def contenders(quick):
    """(name, d, generator, how often it is asked in one round, for how many steps each time) of each contender."""
    literal = {"sgd float64": (simsim_steps, "float64"), "sgd float32": (simsim_steps, "float32"),
               "PyTorch float64": (torch_steps, "float64"), "PyTorch float32": (torch_steps, "float32"),
               "JAX float32": (jax_steps, "float32")}
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
    """{(name, d): (rounds,) seconds per step of one run}, all contenders in turn in each round."""
    field = [contender for contender in contenders(quick) if installed(contender)]
    seconds = {(name, d): [] for name, d, *_ in field}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for place in order.permutation(len(field)):
            name, d, steps, count, at_once = field[place]
            next(steps)  # brings its arrays back into the cache
            began = time.perf_counter()
            for _ in range(count):
                next(steps)
            elapsed = time.perf_counter() - began
            seconds[name, d].append(elapsed / (count * at_once))
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
    figure.savefig("benchmark.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="leave out d = 1e4 for the literal contenders")
    options = parser.parse_args()
    results = measure(options.rounds, options.quick)
    print_table(results)
    draw(results)
