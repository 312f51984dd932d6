"""Random numbers of the SGD engines, each a pure function of (seed, step).

Shapes: S runs, N batch, p noise patches of a sample (P - k, with the least k where features differ in it), d dimension,
m neurons, K features, c classes of samples, J blocks of an engine.

`DrawnAhead` serves literal SGD: every number of a step, drawn by several
threads while the step before is being computed. `Blocks` serves the gram
engine: a block of steps has one stream, so that a step costs a run one call,
or less where the normals of several steps stay in a cache.
Noise is in units of sigma; that of the gram engine is N(0, 1).
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from simsim import data
from simsim.memory import BLOCK_STEPS
from simsim.data import fill_normals
from simsim.initial import bartlett

AHEAD_BYTES = 2**17  # of normals of several steps that engine gram draws at a time, one call for each run
CACHE_LINE = 64  # bytes
CHUNK = 2**16  # normals from one stream of a literal step; a batch no larger is drawn without threads


def generator(seed, *key):
    """The stream of `seed` for this key; SFC64 is NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


class DrawnAhead:
    """Literal batches: while one is in use, threads draw the next.

    Each chunk of a batch has its own stream, so neither the number of threads
    nor the order in which they finish changes a bit.
    """

    def __init__(self, config):
        self._config, self._law = config, data.from_config(config)
        shape = config.batch_size * config.noise_patches, config.d - config.features
        self._noise = [np.empty(shape, config.dtype) for _ in range(2)]  # of the even steps, of the odd ones
        self._threads = ThreadPoolExecutor(os.cpu_count()) if self._noise[0].size > CHUNK else None
        self._drawn = None, []  # step, what its chunks still wait for

    def draw(self, step):
        """Samples and noise patches (N p, d - K), in units of sigma, of this step; they last until the next call.

        Where features differ in their numbers of patches, a batch may need fewer: the last are of no use.
        """
        if self._drawn[0] != step:
            self._wait()
            self._begin(step)
        samples = self._law.samples(self._config, generator(self._config.seed, step))
        self._wait()
        if self._threads and step + 1 < self._config.steps:
            self._begin(step + 1)
        return samples, self._noise[step % 2]

    def _begin(self, step):
        rows, size = self._noise[step % 2], CHUNK
        if self._law.gaussian:
            rows = rows.reshape(-1)  # a patch may stand in two chunks
        else:
            size = max(1, CHUNK // rows.shape[1])
        chunks = [(step, first // size, rows[first:first + size]) for first in range(0, len(rows), size)]
        if self._threads:
            self._drawn = step, [self._threads.submit(self._fill, *chunk) for chunk in chunks]
        else:
            for chunk in chunks:
                self._fill(*chunk)

    def _wait(self):
        for chunk in self._drawn[1]:
            chunk.result()

    def _fill(self, step, number, out):
        self._law.fill(generator(self._config.seed, step, number), out)


class Draw(NamedTuple):
    """What a gram step of S runs needs besides noise patches; a run's N samples are sorted by their classes, k1 ascending.

    counts : (S, c) how many samples there are of each of `data.Law.classes`
    in_view1 : (S, p, N) True where a noise patch of a sample is in view 1, else it is in view 2
    noise : (S, p, N) True where a sample has that noise patch; None where all samples have p of them
    shown : (S, 2, K, N) for each view, z times its feature patches where the sample shows feature l, else 0;
        about the means under batch norm
    across : (S, m, m) Bartlett factors with d - K - c degrees of freedom; J blocks span c = min(Jm, d - K) dimensions
    scale : (S, p N) by what each noise patch is longer than a Gaussian one; None where none is
    beside : (S, m, c - m) standard normals, for the dimensions of the span that weights do not see; None where J = 1
    """

    counts: np.ndarray
    in_view1: np.ndarray
    noise: np.ndarray | None
    shown: np.ndarray
    across: np.ndarray
    beside: np.ndarray | None
    scale: np.ndarray | None


class Blocks:
    """The random numbers of S runs of gram SGD: `BLOCK_STEPS` steps of a run from the stream (seed, block).

    A sample with k1 feature patches in view 1 has its noise patches 0 .. h - k1 - 1
    there and the others in view 2; where features differ in their numbers of patches
    it may have less than p of them. The order of the samples of a batch is of no
    consequence, so they come sorted.
    """

    def __init__(self, configs):
        self._seeds, self._config = [config.seed for config in configs], configs[0]
        P, p, K = self._config.patches, self._config.noise_patches, self._config.features
        k1, k2, feature, sign, self._probability = data.from_config(self._config).classes(self._config)
        self._have_it = np.searchsorted(k1, P // 2 - np.arange(p))  # (p,) so many classes have that patch in view 1
        self._noise_patches = P - k1 - k2  # (c,)
        shown = sign * (feature == np.arange(K)[:, None])  # (K, c)
        self._of_class = np.stack([k1 * shown, k2 * shown], axis=1)  # (K, 2, c) z times feature patches in a view
        # The block that is open, the row of it that was given out last, and the rows whose normals are drawn.
        self._block, self._row, self._ahead = None, 0, range(0)
        of_step = len(configs), self._config.m, p * self._config.batch_size
        size = math.prod(of_step) * np.dtype(self._config.dtype).itemsize
        # In float32 numbers that are drawn together come in pairs, so that each step is drawn alone.
        steps = min(BLOCK_STEPS, AHEAD_BYTES // max(1, size)) if self._config.dtype == "float64" else 1
        self._zeta = aligned((of_step[0], max(1, steps), *of_step[1:]), self._config.dtype)

    def draw(self, step):
        """The Draw of this step and its standard normals (S, m, p N), which the caller may change; they last until the next call."""
        block, row = divmod(step, BLOCK_STEPS)
        if block != self._block or row <= self._row:
            self._open(block)
        while row not in self._ahead:  # and the streams' way to the middle of a block
            self._ahead = range(self._ahead.stop, self._ahead.stop + self._zeta.shape[1])
            for rng, of_run in zip(self._rngs, self._zeta):
                fill_normals(rng, of_run)
        self._row = row
        return self._draws[row], self._zeta[:, row - self._ahead.start]

    def _open(self, block):
        config, self._block, self._ahead = self._config, block, range(0)
        self._rngs = [generator(seed, block) for seed in self._seeds]
        counts = np.array([rng.multinomial(config.batch_size, self._probability, size=BLOCK_STEPS)
                           for rng in self._rngs]).swapaxes(0, 1)
        spanned = min(len(config.blocks) * config.m, config.d - config.features)
        across = bartlett(self._rngs, config.m, config.d - config.features - spanned, BLOCK_STEPS).swapaxes(0, 1)
        beside = [None] * BLOCK_STEPS
        if len(config.blocks) > 1:
            shape = BLOCK_STEPS, config.m, spanned - config.m
            beside = np.array([rng.standard_normal(shape) for rng in self._rngs]).swapaxes(0, 1)
        scale, law = [None] * BLOCK_STEPS, data.from_config(config)
        if law.scaled:
            size = BLOCK_STEPS, config.noise_patches * config.batch_size
            scale = np.array([law.checked_scale(rng, math.prod(size)).reshape(size) for rng in self._rngs]).swapaxes(0, 1)
        # Every block draws the same from its stream; of the last one, only the steps to be taken are worked out.
        counts = counts[:config.steps - block * BLOCK_STEPS]
        self._draws = list(map(Draw, counts, self._noise_in_view1(counts), self._noise_there_is(counts),
                               self._shown(counts), across, beside, scale))

    def _noise_in_view1(self, counts):
        """(steps, S, p, N) `in_view1` of every step: for each noise patch, a prefix of the batch."""
        before = np.zeros((*counts.shape[:2], counts.shape[2] + 1), np.int32)  # samples of the classes before each
        np.cumsum(counts, axis=2, out=before[..., 1:])
        return np.arange(self._config.batch_size, dtype=np.int32) < before[..., self._have_it, None]

    def _noise_there_is(self, counts):
        """(steps, S, p, N) `noise` of every step, or so many times None."""
        steps, S, _ = counts.shape
        p, N = self._config.noise_patches, self._config.batch_size
        if (self._noise_patches == p).all():
            return [None] * steps
        of_samples = np.repeat(np.tile(self._noise_patches, steps * S), counts.ravel()).reshape(steps, S, 1, N)
        return np.arange(p)[:, None] < of_samples

    def _shown(self, counts):
        """(steps, S, 2, K, N) the `shown` of every step."""
        steps, S, _ = counts.shape
        K, N = self._config.features, self._config.batch_size
        shown = np.empty((steps, S, 2, K, N), self._config.dtype)
        times = np.repeat(counts, 2, axis=1).ravel()  # for both views
        for of_feature, of_class in enumerate(self._of_class):
            means = counts @ of_class.T / N if self._config.batch_norm else np.zeros((steps, S, 2))
            values = of_class - means[..., None]  # (steps, S, 2, c)
            shown[:, :, :, of_feature] = np.repeat(values.ravel(), times).reshape(steps, S, 2, N)
        return shown


def aligned(shape, dtype):
    """An array, not filled, that begins where a line of the cache does: NumPy's loops take up to half the time."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    return memory[first:first + size].view(dtype).reshape(shape)
