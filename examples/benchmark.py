"""What a step of SGD costs, against the dimension d and the batch N: literal engines and the gram engine.

    python examples/benchmark.py [--rounds 25] [--quick]

Every contender takes a few steps in turn, in random order, round after round, so that whatever else the machine does hits
all alike. Beside simsim's `sgd` and `gram`, alone and 64 runs side by side, and a whole `simulate` with its start, its log
and its Trajectory, there are literal SGD in PyTorch (eager and compiled), JAX (jit) and Numba (loops), and of the gram
engine its arithmetic written down bare for this one case, in NumPy and as loops in Numba, there also with normals that are
drawn faster than NumPy draws them; and the drawing alone. Who is not installed is left out, which is said.
Each library uses as many threads as it likes; OMP_NUM_THREADS=1 holds PyTorch to one.
Then flows, one by one and side by side, are held against SciPy's LSODA, one by one, which is told when they end.
Prints a table of wall times and of ratios of CPU times, and writes out/benchmark.png.
Some minutes; --quick leaves out d = 1e4.
"""

import argparse
import dataclasses
import functools
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
BATCHES = BATCH, 3_072
REST = 0.02  # seconds between contenders
FLOWS, STARTS = (10**4, 10**6, 10**8), 10  # dimensions and starts of single flows
TOGETHER = 400  # flows side by side
LSODA_RTOL = 3e-7  # with which it comes to the same ends as `flow`


def config_of(engine, d, dtype, N=BATCH):
    return simsim.Config(engine=engine, d=d, dtype=dtype, m=2, patches=8, feature_patches=4, batch_size=N, steps=10**9)


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
    cubes, f = np.empty((2, m, p, N)), np.empty((2, m, N))
    outputs, of_view_1, of_view_2 = f.reshape(2 * m, N), cubes[0], cubes[1]
    for step in range(config.steps):
        batch, (zeta,) = blocks.draw(step)
        in_view1, shown = batch.in_view1[0], batch.shown[0]
        u = (factor @ zeta).reshape(m, p, N)
        squares = u * u
        np.multiply(squares, u, out=of_view_2)
        np.multiply(of_view_2, in_view1, out=of_view_1)
        np.subtract(of_view_2, of_view_1, out=of_view_2)
        np.add.reduce(cubes, axis=2, out=f)
        f -= f @ mean
        slope = overlaps * overlaps * strengths
        f += (slope * overlaps) @ shown
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
        overlaps = overlaps - df @ shown[0].T * slope
        E = E - config.head_lr * off_diagonal * (dF @ C[:, :m])
        yield overlaps, factor, E


def normal_steps(config):
    """A generator that draws as many normals as a step does, m of a noise patch in gram and d - 2 in literal SGD, and nothing else."""
    rng = draws.generator(0)
    of_patch = config.m if config.engine == "gram" else config.d - config.features
    out = np.empty(config.batch_size * (config.patches - config.feature_patches) * of_patch, config.dtype)
    while True:
        draws.fill_normals(rng, out)
        yield


def torch_steps(config, compiled=False):
    """Literal SGD as one would write it in PyTorch, its loss compiled or not."""
    import torch
    N, k, K, m, d = config.batch_size, config.feature_patches, config.patches - config.feature_patches, config.m, config.d
    dtype, rng = getattr(torch, config.dtype), np.random.default_rng(0)
    W = (torch.randn(m, d, dtype=dtype) / d**0.5).requires_grad_()
    E, off_diagonal = torch.eye(m, dtype=dtype).requires_grad_(), 1 - torch.eye(m, dtype=dtype)
    alphas = torch.tensor(config.alphas, dtype=dtype)

    def loss(W, E, k1, feature, sign, noise):
        in_view_1 = (torch.arange(K) < (config.patches // 2 - k1)[:, None]).to(dtype)[..., None]
        cubes, on_feature = (noise @ W[:, 2:].T) ** 3, (sign * (W[:, :2] * alphas).T[feature]) ** 3
        F = ((cubes * in_view_1).sum(1) + k1[:, None] * on_feature) @ E.T
        G = ((cubes * (1 - in_view_1)).sum(1) + (k - k1)[:, None] * on_feature).detach()
        Y, Z = ((V - V.mean(0)) / V.std(0, unbiased=False) for V in (F, G))
        return ((Y - Z) ** 2).sum(1).mean()

    if compiled:
        torch.compiler.reset()
        loss = torch.compile(loss)
    while True:
        k1 = torch.from_numpy(rng.hypergeometric(k, K, config.patches // 2, size=N))
        feature, sign = torch.randint(2, (N,)), 2 * torch.randint(2, (N, 1)) - 1
        noise = config.sigma * torch.randn(N, K, d - 2, dtype=dtype)
        dW, dE = torch.autograd.grad(loss(W, E, k1, feature, sign, noise), (W, E))
        with torch.no_grad():
            W -= config.lr * dW
            E -= config.head_lr * dE * off_diagonal
        yield


def jax_steps(config):
    """Literal SGD as one would write it in JAX, compiled."""
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_enable_x64", True)  # for all: types are named where they matter
    N, k, K, m, d = config.batch_size, config.feature_patches, config.patches - config.feature_patches, config.m, config.d
    half, alphas = config.patches // 2, jnp.array(config.alphas, config.dtype)

    def loss(W, E, key):
        keys = jax.random.split(key, 4)
        feature = jax.random.bernoulli(keys[0], shape=(N,)).astype(int)
        sign = 2 * jax.random.bernoulli(keys[1], shape=(N, 1)) - 1
        in_view_1 = jax.random.uniform(keys[2], (N, config.patches), config.dtype).argsort(1).argsort(1) < half  # k features first
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


def fast_normals(numba):
    """A function (key, out) in Numba that fills `out` by Box and Muller's method, in loops that a compiler makes SIMD of."""
    @numba.njit(fastmath=True)
    def fill(key, out, bits, size, angle):  # the last three of half as many numbers; size is a view of bits
        half = len(bits)
        for i in range(2 * half):  # splitmix64
            z = np.uint64(key + i) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            uniform = (np.float64((z ^ (z >> np.uint64(31))) >> np.uint64(12)) + 0.5) / 2.0**52
            if i < half:
                size[i] = uniform
            else:
                angle[i - half] = np.pi * (uniform - 0.5)
        for i in range(half):
            out[i] = np.float64(np.int64(bits[i] >> np.uint64(52)) - 1023)
            bits[i] = (bits[i] & np.uint64(0xFFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000)
        for i in range(half):
            t = (size[i] - np.sqrt(2)) / (size[i] + np.sqrt(2))  # log of the mantissa, less log 2 / 2
            s = t * t
            series = s * (1 / 11 + s * (1 / 13 + s * (1 / 15 + s / 17)))
            log = 2 * t * (1 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + series)))))
            radius = np.sqrt(-2 * (log + (out[i] + 0.5) * np.log(2)))
            x = angle[i]
            y = x * x
            sin = x * (1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110 * (1 - y / 156 * (1 - y / 210
                  * (1 - y / 272))))))))
            cos = 1 - y / 2 * (1 - y / 12 * (1 - y / 30 * (1 - y / 56 * (1 - y / 90 * (1 - y / 132 * (1 - y / 182 * (1 - y / 240
                  * (1 - y / 306))))))))
            out[i], out[half + i] = radius * (cos * cos - sin * sin), radius * 2 * sin * cos

    def of_any(key, out):
        bits = np.empty(out.size // 2, np.uint64)
        fill(key, out.reshape(-1), bits, bits.view(float), np.empty(len(bits)))
    return of_any


def numba_gram_steps(config, fast=False):
    """What the gram engine does, for one run of SimSiam, as loops in Numba: everything but the drawing is compiled.

    Yields what `bare_steps` does, and without `fast` the same numbers, up to rounding: it draws from the same streams.
    With `fast` the splits of the batches are those of one block, again and again, and cost nothing.
    """
    import numba
    m, N, p, K, lr = config.m, config.batch_size, config.noise_patches, config.features, config.lr
    head_lr, strengths = config.head_lr, np.array(config.scaled_alphas) ** 3
    overlaps, factor = initial.reduced_state(config)
    E, blocks = np.eye(m), draws.Blocks([config])

    @numba.njit(fastmath=True)
    def step(overlaps, factor, E, zeta, first, features, across, u, f, df):
        for j in range(m):
            mean = np.zeros(2)
            for view in range(2):
                for n in range(N):
                    f[view * m + j, n] = 0.0
            for i in range(p):
                for n in range(N):
                    total = 0.0
                    for l in range(j + 1):
                        total += factor[j, l] * zeta[l, i * N + n]
                    u[j, i * N + n] = total
                for n in range(first[i]):  # samples are sorted: those that have the patch in view 1 come first
                    f[j, n] += u[j, i * N + n] ** 3
                for n in range(first[i], N):
                    f[m + j, n] += u[j, i * N + n] ** 3
            for view in range(2):
                for n in range(N):
                    mean[view] += f[view * m + j, n]
                for n in range(N):
                    f[view * m + j, n] -= mean[view] / N
                for l in range(K):
                    strength = strengths[l] * overlaps[j, l] ** 3
                    for n in range(N):
                        f[view * m + j, n] += strength * features[view, l, n]
        C = np.zeros((2 * m, 2 * m))
        for i in range(2 * m):
            for j in range(i + 1):
                total = 0.0
                for n in range(N):
                    total += f[i, n] * f[j, n]
                C[i, j] = C[j, i] = total / N
        mixing, dE = np.zeros((m, 2 * m)), np.zeros((m, m))
        for i in range(m):
            D, cross = 0.0, 0.0
            for j in range(m):
                cross += E[i, j] * C[j, m + i]
                for l in range(m):
                    D += E[i, j] * C[j, l] * E[i, l]
            spread = np.sqrt(D * C[m + i, m + i])
            prediction = 2 * cross / (spread * D)
            for j in range(m):
                for l in range(m):
                    mixing[l, j] += E[i, l] * prediction * E[i, j]
                    dE[i, j] += prediction * E[i, l] * C[l, j]
                mixing[j, m + i] -= 2 / spread * E[i, j]
                dE[i, j] -= 2 / spread * C[m + i, j]
        new, root = np.zeros((m, 2 * m)), np.zeros((m, m))
        for j in range(m):
            for n in range(N):
                df[n] = 0.0
            for i in range(2 * m):
                weight = 3 * lr / N * mixing[j, i]
                for n in range(N):
                    df[n] += weight * f[i, n]
            for l in range(K):
                total = 0.0
                for n in range(N):
                    total += df[n] * features[0, l, n]
                overlaps[j, l] -= total * strengths[l] * overlaps[j, l] ** 2
            for i in range(p):
                for n in range(i * N, i * N + first[i]):
                    u[j, n] *= u[j, n] * df[n - i * N]  # dL/du takes the place of u
                for n in range(i * N + first[i], (i + 1) * N):
                    u[j, n] = 0.0
            for l in range(m):
                total = 0.0
                for n in range(p * N):
                    total += u[j, n] * zeta[l, n]
                new[j, l] = factor[j, l] - total
            for l in range(j):  # Gram and Schmidt, for the root of what is across the span
                total = 0.0
                for n in range(p * N):
                    total += u[j, n] * u[l, n]
                root[j, l] = total
                for n in range(p * N):
                    u[j, n] -= total * u[l, n]
            total = 0.0
            for n in range(p * N):
                total += u[j, n] * u[j, n]
            root[j, j] = np.sqrt(total)
            for n in range(p * N):
                u[j, n] /= root[j, j]
        for j in range(m):
            for l in range(m):
                for i in range(j + 1):
                    new[j, m + l] += root[j, i] * across[i, l]
        for j in range(m):  # and again, for the factor
            for l in range(m):
                if l != j:
                    E[j, l] -= head_lr * dE[j, l]
                factor[j, l] = 0.0
            for l in range(j):
                for i in range(2 * m):
                    factor[j, l] += new[j, i] * new[l, i]
                for i in range(2 * m):
                    new[j, i] -= factor[j, l] * new[l, i]
            for i in range(2 * m):
                factor[j, j] += new[j, i] ** 2
            factor[j, j] = np.sqrt(factor[j, j])
            for i in range(2 * m):
                new[j, i] /= factor[j, j]

    u, f, df = np.empty((m, p * N)), np.empty((2 * m, N)), np.empty(N)
    if fast:
        normals, zeta, batches = fast_normals(numba), np.empty((m, p * N)), [blocks.draw(row)[0] for row in range(BLOCK_STEPS)]
    for number in range(config.steps):
        if fast:
            batch = batches[number % BLOCK_STEPS]
            normals(number * zeta.size, zeta)
        else:
            batch, (zeta,) = blocks.draw(number)
        step(overlaps, factor, E, zeta, batch.in_view1[0].sum(axis=1), batch.shown[0], batch.across[0], u, f, df)
        yield overlaps, factor, E


# The field: of literal SGD at dimensions d, of gram SGD at batches N; what takes the steps, and of simsim whom it is held against.
LITERAL = {"sgd": (simsim_steps, None), "PyTorch, eager": (torch_steps, "sgd"),
           "PyTorch, compiled": (functools.partial(torch_steps, compiled=True), "sgd"), "JAX, jit": (jax_steps, "sgd"),
           "Numba, loops": (numba_steps, "sgd"), "normals in R^d alone": (normal_steps, "sgd")}
GRAM = {"gram": (simsim_steps, None), "gram, simulate": (whole_runs, None), f"gram, {RUNS} runs": (replica_steps, None),
        "bare NumPy": (bare_steps, "gram, simulate"), "Numba, gram": (numba_gram_steps, "gram"),
        "Numba, fast normals": (functools.partial(numba_gram_steps, fast=True), "gram"), "normals alone": (normal_steps, "gram")}
AT_ONCE = {"gram, simulate": WHOLE, f"gram, {RUNS} runs": RUNS}  # steps of one run each time that it is asked; else one
FLOAT32 = {"sgd", "PyTorch, eager", "PyTorch, compiled", "JAX, jit", "Numba, loops", "gram"}  # who is asked in float32 too


def contenders(quick):
    """((name, dtype, d or N), generator, how often it is asked in one round) of each contender."""
    for name, (steps, _) in LITERAL.items():
        for dtype in ("float64", "float32"):
            for d in list(STEPS)[:2 if quick else 3]:
                yield (name, dtype, d), steps(config_of("sgd", d, dtype)), STEPS[d]
    for name, (steps, _) in GRAM.items():
        for dtype in ("float64", "float32") if name in FLOAT32 else ("float64",):
            for N in BATCHES:
                yield (name, dtype, N), steps(config_of("gram", 1_000, dtype, N)), max(1, GRAM_STEPS // AT_ONCE.get(name, 1))
    yield ("gram, d = 1e8", "float64", BATCH), simsim_steps(config_of("gram", 10**8, "float64")), GRAM_STEPS


def installed(contender):
    """Whether the contender can take its first steps, which are not timed."""
    try:
        next(contender[1])
        next(contender[1])
    except Exception as error:  # not installed, or without the compiler that it needs
        print(f"{contender[0]} left out: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
        return False
    return True


def measure(rounds, quick):
    """{(name, dtype, d or N): (rounds, 2) seconds per step of one run, by the wall and of CPU}, all in turn in each round."""
    field = [contender for contender in contenders(quick) if installed(contender)]
    seconds = {key: [] for key, *_ in field}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for place in order.permutation(len(field)):
            key, steps, count = field[place]
            next(steps)  # brings its arrays back into the cache
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                next(steps)
            elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
            seconds[key].append(np.array([elapsed, cpu]) / (count * AT_ONCE.get(key[0], 1)))
            time.sleep(REST + elapsed / count)  # threads that draw the next batch, or spin, come to an end
    return {key: np.array(values) for key, values in seconds.items()}


def print_table(seconds):
    """Wall times, at the lowest tenth: the machine at its quietest. And CPU times of simsim over theirs, round by round.

    Of the ratios the median and the middle half; below 1 simsim is cheaper.
    """
    print(f"\n{'':22}{'':9}{'d or N':>12}{'us a step':>11}{'simsim over it':>17}   middle half")
    for (name, dtype, size), times in seconds.items():
        line = f"{name:22}{dtype:9}{size:12,}{np.quantile(times[:, 0], QUIET) * 1e6:11.1f}"
        beside = {**LITERAL, **GRAM}.get(name, (None, None))[1]
        if beside:
            low, middle, high = np.quantile(seconds[beside, dtype, size][:, 1] / times[:, 1], (0.25, 0.5, 0.75))
            line += f"{middle:17.2f}   {low:.2f} to {high:.2f}"
        print(line)


def print_flows(starts):
    """The same of flows at m = 2, kappa = 1, against LSODA in plain W and E, told the end, without events or certificate."""
    for d in FLOWS:
        ratios, agree, theirs = [], 0, []
        for seed in range(starts):
            config = simsim.Config(engine="flow", d=d, lr=1.0, head_lr=1.0, init_seed=seed)
            began = time.process_time()
            own = flow.follow_many(config, [seed])
            between = time.process_time()
            learned = lsoda(config, own.t[0])
            theirs.append(time.process_time() - between)
            ratios.append((between - began) / theirs[-1])
            agree += np.array_equal(learned, own.owned[0])
        low, middle, high = np.quantile(ratios, (0, 0.5, 1))
        print(f"{'LSODA, a flow':28}{d:10.0e}{middle:9.2f}   {low:.2f} to {high:.2f}, the same end {agree} of {starts} times")
        began = time.process_time()
        flow.follow_many(config, range(TOGETHER))
        each = (time.process_time() - began) / TOGETHER
        print(f"{f'LSODA, of {TOGETHER} flows':28}{d:10.0e}{each / np.median(theirs):9.3f}")


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
    """Cost of a step of the literal contenders against d, beside that of the gram engine, which d does not enter."""
    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for number, name in enumerate(LITERAL):
        for dtype, ls in ("float64", "-"), ("float32", ":"):
            points = [(d, np.quantile(times[:, 0], QUIET)) for (*who, d), times in seconds.items() if who == [name, dtype]]
            if points:
                ax.loglog(*zip(*points), **simsim.plots.series(number), ls=ls, label=f"{name}, {dtype}")
    for number, name in enumerate(("gram", f"gram, {RUNS} runs", "normals alone")):
        ax.axhline(np.quantile(seconds[name, "float64", BATCH][:, 0], QUIET), color=f"{0.2 + 0.25 * number}", lw=0.9, label=name)
    ax.set_xlabel("dimension $d$")
    ax.set_ylabel("seconds per step of one run")
    ax.legend(frameon=False, fontsize="x-small", ncols=2)
    os.makedirs("out", exist_ok=True)
    figure.savefig("out/benchmark.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="leave out d = 1e4 for the literal contenders")
    options = parser.parse_args()
    results = measure(options.rounds, options.quick)
    print_table(results)
    print_flows(STARTS)
    draw(results)
