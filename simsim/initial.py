"""The initial weights: rows N(0, I/d) through their reduced state, at any d.

Everything a run reports depends on W only through the overlaps with the K
features and the Gram matrix of the noise parts w^perp. Their joint law for
Gaussian rows is known exactly (independent normals, and Bartlett's
decomposition of a Wishart matrix), so a start costs m x m numbers whatever d
is, and every engine starts from the same one.
"""

import numpy as np


def reduced_state(config):
    """Overlaps and noise factor of the initial weights, rows N(0, I_d / d).

    Returns
    -------
    overlaps : (m, K) array, <w_j, v_l>
    factor : (m, m) lower triangular array, with <w_i^perp, w_j^perp> = factor @ factor.T
        Bartlett's decomposition with d - K degrees of freedom; fixed by
        `config.init_seed`, `config.m`, `config.d` and `config.features` alone.
    """
    m, d = config.m, config.d
    rng = np.random.default_rng(config.init_seed)
    overlaps = rng.standard_normal((m, config.features))
    factor = bartlett(rng, m, d - config.features)[0]
    return overlaps / np.sqrt(d), factor / np.sqrt(d)


def bartlett(rng, m, freedom, count=1):
    """(count, m, m) lower triangular A, with A A^T the Gram matrix of m rows N(0, I_freedom).

    Bartlett's decomposition of a Wishart matrix: N(0, 1) below the diagonal,
    chi with freedom, freedom - 1, ... degrees on it. With fewer degrees than
    rows it is trapezoidal, the remaining columns being zero.
    """
    rank = min(m, freedom)
    below, diagonal = np.tril_indices(m, -1), np.arange(rank)
    A = np.zeros((count, m, m))
    A[:, below[0], below[1]] = rng.standard_normal((count, len(below[0])))
    A[:, :, rank:] = 0
    A[:, diagonal, diagonal] = np.sqrt(rng.chisquare(freedom - diagonal, size=(count, rank)))
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
