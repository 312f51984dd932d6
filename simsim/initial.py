"""The initial weights: rows N(0, I/d) through their reduced state, at any d.

Everything a run reports depends on W only through the overlaps with the K
features and the Gram matrix of the noise parts w^perp. Their joint law for
Gaussian rows is known exactly (independent normals, and Bartlett's
decomposition of a Wishart matrix), so a start costs m x m numbers whatever d
is, and every engine starts from the same one.
"""

import numpy as np

from simsim.config import Config


def reduced_state(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps and noise factor of the initial weights, rows N(0, I_d / d).

    Returns
    -------
    overlaps : (m, K) array, <w_j, v_l>
    factor : (m, m) lower triangular array, with <w_i^perp, w_j^perp> = factor @ factor.T
        Bartlett's decomposition with d - K degrees of freedom; fixed by
        `config.init_seed`, `config.m`, `config.d` and `config.features` alone.
    """
    overlaps, factors = reduced_states([config])
    return overlaps[0], factors[0]


def reduced_states(configs):
    """`reduced_state` of S configs that differ in their seeds alone: overlaps (S, m, K) and factors (S, m, m)."""
    m, d, K = configs[0].m, configs[0].d, configs[0].features
    rngs = [np.random.default_rng(config.init_seed) for config in configs]
    overlaps = np.array([rng.standard_normal((m, K)) for rng in rngs])
    factors = bartlett(rngs, m, d - K)[:, 0]
    return overlaps / np.sqrt(d), factors / np.sqrt(d)


def bartlett(rngs, m, freedom, count=1):
    """(S, count, m, m) lower triangular A from S generators, with A A^T the Gram matrix of m rows N(0, I_freedom).

    Bartlett's decomposition of a Wishart matrix: N(0, 1) below the diagonal,
    chi with freedom, freedom - 1, ... degrees on it. With fewer degrees than
    rows it is trapezoidal, the remaining columns being zero.
    """
    rank = min(m, freedom)
    below, degrees = np.flatnonzero(np.tri(m, k=-1)), freedom - np.arange(rank)
    normals, squares = np.empty((len(rngs), count, len(below))), np.empty((len(rngs), count, rank))
    for s, rng in enumerate(rngs):
        rng.standard_normal(out=normals[s])
        squares[s] = rng.chisquare(degrees, size=(count, rank))
    A = np.zeros((len(rngs), count, m * m))
    A[..., below] = normals
    A[..., :rank * m:m + 1] = np.sqrt(squares)
    A = A.reshape(len(rngs), count, m, m)
    A[..., rank:] = 0
    return A


def lift(overlaps, factor, d):
    """Weights W (m, d) with these overlaps (m, K) on e_1 .. e_K and this factor of their noise Gram.

    Noise is rotation invariant, so any lift gives the same law; this one puts
    the noise parts into the m coordinates after those.
    """
    m, K = overlaps.shape
    W = np.zeros((m, d))
    W[:, :K] = overlaps
    W[:, K:m + K] = factor
    return W
