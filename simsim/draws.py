"""Random numbers of the SGD engines, each a pure function of (seed, step).

Shapes: N batch, K = P - k noise patches of a sample, M = N K, d dimension, m neurons.

`DrawnAhead` serves literal SGD: every number of a step, drawn by several
threads while the step before is being computed. `Blocks` serves the gram
engine: a block of steps has one stream, so that a step costs one call.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from simsim.data import Samples, draw_samples, sample_classes
from simsim.initial import bartlett

CHUNK = 2**16  # normals from one stream of a literal step; a batch no larger is drawn without threads
BLOCK_STEPS = 64  # steps of the gram engine from one stream


def generator(seed, *key):
    """The stream of `seed` for this key; SFC64 is NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def fill_normals(rng, out):
    """Fill `out`, contiguous, with N(0, 1).

    float64 comes from NumPy's ziggurat. In float32, where that is no faster,
    Box and Muller's method on whole arrays takes half its time or less.
    """
    if out.dtype == np.float64:
        rng.standard_normal(out=out)
        return
    flat = out.reshape(-1)
    half = (flat.size + 1) // 2
    radius, angle = rng.random((2, half), dtype=out.dtype)
    np.log(1 - radius, out=radius)
    np.sqrt(np.multiply(radius, -2, out=radius), out=radius)
    np.multiply(angle, 2 * np.pi, out=angle)
    np.multiply(radius, np.cos(angle), out=flat[:half])
    np.multiply(radius[:flat.size - half], np.sin(angle[:flat.size - half]), out=flat[half:])


class DrawnAhead:
    """Literal batches: while one is in use, threads draw the next.

    Each chunk of a batch has its own stream, so neither the number of threads
    nor the order in which they finish changes a bit.
    """

    def __init__(self, config):
        self._config = config
        shape = config.batch_size * (config.patches - config.feature_patches), config.d - 2
        self._noise = [np.empty(shape, config.dtype) for _ in range(2)]  # of the even steps, of the odd ones
        self._threads = ThreadPoolExecutor(os.cpu_count()) if self._noise[0].size > CHUNK else None
        self._drawn = None, []  # step, what its chunks still wait for

    def draw(self, step):
        """Samples and noise patches (M, d - 2), in units of sigma, of this step; they last until the next call."""
        if self._drawn[0] != step:
            self._wait()
            self._begin(step)
        samples = draw_samples(self._config, generator(self._config.seed, step))
        self._wait()
        if self._threads and step + 1 < self._config.steps:
            self._begin(step + 1)
        return samples, self._noise[step % 2]

    def _begin(self, step):
        numbers = self._noise[step % 2].reshape(-1)
        chunks = [(step, first // CHUNK, numbers[first:first + CHUNK]) for first in range(0, numbers.size, CHUNK)]
        if self._threads:
            self._drawn = step, [self._threads.submit(self._fill, *chunk) for chunk in chunks]
        else:
            for chunk in chunks:
                self._fill(*chunk)

    def _wait(self):
        for chunk in self._drawn[1]:
            chunk.result()

    def _fill(self, step, number, out):
        fill_normals(generator(self._config.seed, step, number), out)


class Draw(NamedTuple):
    """What a gram step needs besides normals; its N samples are sorted by k1, ascending.

    kinds : (N,) index of each sample's class, see `Blocks.samples`
    prefixes : K ints; noise patch i is in view 1 for the first prefixes[i] samples, else in view 2
    features : (4, N) z 1[l = 1] and z 1[l = 2], times k1, then times k2; mean zero over the batch
    across : (m, m) Bartlett factor with d - 2 - m degrees of freedom
    """

    kinds: np.ndarray
    prefixes: list
    features: np.ndarray
    across: np.ndarray


class Blocks:
    """The random numbers of gram SGD: `BLOCK_STEPS` steps at a time from the stream (seed, block).

    A sample with k1 feature patches in view 1 has its noise patches 0 .. h - k1 - 1
    there and the others in view 2. Sorted by k1, the samples whose patch i is in
    view 1 are a prefix of the batch.
    """

    def __init__(self, config):
        self._config = config
        self._classes = sample_classes(config.patches, config.feature_patches)
        self._next = None  # the step whose normals the stream is about to give out

    def draw(self, step, out):
        """The Draw of this step; fills `out`, of m M numbers in any shape, with standard normals."""
        block, row = divmod(step, BLOCK_STEPS)
        if row == 0 or step != self._next:
            self._open(block)
            for _ in range(row):  # the stream's way to the middle of a block
                fill_normals(self._rng, out)
        fill_normals(self._rng, out)
        self._next = step + 1
        return self._draws[row]

    def samples(self, kinds):
        """The Samples of these classes."""
        k1 = self._classes.k1[kinds]
        count = np.stack([k1, self._config.feature_patches - k1])
        return Samples(self._classes.feature[kinds], self._classes.sign[kinds], count)

    def _open(self, block):
        config, classes = self._config, self._classes
        self._rng = generator(config.seed, block)
        counts = self._rng.multinomial(config.batch_size, classes.probability, size=BLOCK_STEPS)
        across = bartlett(self._rng, config.m, config.d - 2 - config.m, BLOCK_STEPS)
        every = np.tile(np.arange(counts.shape[1]), BLOCK_STEPS)
        kinds = np.repeat(every, counts.ravel()).reshape(BLOCK_STEPS, config.batch_size)
        noise_patch = np.arange(config.patches - config.feature_patches)
        up_to = np.searchsorted(classes.k1, config.patches // 2 - noise_patch)  # (K,) classes that have it in view 1
        before = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))  # samples of the classes before each
        prefixes = before[:, up_to].tolist()
        self._draws = list(map(Draw, kinds, prefixes, self._feature_rows(counts), across))

    def _feature_rows(self, counts):
        """(BLOCK_STEPS, 4, N) the `features` of every step of the block."""
        classes = self._classes
        signs = classes.sign * (classes.feature == [[0], [1]])  # (2, classes)
        rows = np.concatenate([classes.k1 * signs, (self._config.feature_patches - classes.k1) * signs])
        features = np.empty((BLOCK_STEPS, 4, self._config.batch_size), self._config.dtype)
        for place, row in enumerate(rows):
            centred = row - (counts @ row / self._config.batch_size)[:, None]  # (BLOCK_STEPS, classes)
            features[:, place] = np.repeat(centred.ravel(), counts.ravel()).reshape(BLOCK_STEPS, -1)
        return features
