"""What a state of the network shows at a glance: its head, the span of its outputs, and what pulls at each overlap.

Shapes: ... any leading axes, m neurons, K features.

>>> from simsim import measures
>>> [round(float(measures.effective_rank([[1, c], [c, 1]])), 3) for c in (0.0, 0.9, 1.0)]
[2.0, 1.22, 1.0]
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from simsim import objectives, population
from simsim.config import Config
from simsim.network import real_array
from simsim.population import Forces, Setting

STILL = 1e-3  # standard deviation of every output, against the start, below which a collapse is a complete one
ALIKE = 0.99  # |corr| of every pair of outputs from which a collapse is a dimensional one


def asymmetry(head: ArrayLike) -> np.ndarray:
    """||E - E^T|| / ||E - I|| (Frobenius), (...), of heads (..., m, m): 0 for a symmetric head, at most 2; 0 for E = I.

    A head with one entry off the diagonal has the square root of 2.
    """
    head = np.asarray(head)
    away = np.linalg.norm(head - np.eye(head.shape[-1]), axis=(-2, -1))
    return np.linalg.norm(head - head.swapaxes(-1, -2), axis=(-2, -1)) / np.where(away > 0, away, 1)


def effective_rank(correlations: ArrayLike) -> np.ndarray:
    """exp(entropy) of the eigenvalues over their sum, (...), of correlations (..., m, m): from 1, collapsed, to m.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    return _exp_entropy(_spectrum(correlations))


def participation_ratio(correlations: ArrayLike) -> np.ndarray:
    """(sum lambda)^2 / sum lambda^2 of the eigenvalues, (...), of correlations (..., m, m): from 1, collapsed, to m.

    Gao et al., "A theory of multineuronal dimensionality", bioRxiv 214262, 2017.
    """
    return 1 / np.sum(_spectrum(correlations) ** 2, axis=-1)


def rankme(outputs: ArrayLike) -> float:
    """RankMe of outputs (N, m) of N samples: exp(entropy) of their singular values over the sum of these, a float from 1
    to min(N, m).

    Garrido et al., "RankMe", ICML 2023, arXiv:2210.02885, without the 1e-7 that is added there to each fraction. It is of
    outputs as they are: not centred, not standardised, and of singular values, not of their squares. So an output that is
    much larger than the others hides them, and two outputs that are one and the same but for their noise count as more
    than one. `effective_rank` is of correlations: no scale is in it, and it weighs squares.

    Raises ValueError where `outputs` is no matrix of finite real numbers, or holds nothing but zeros.
    """
    outputs = real_array("outputs", outputs).astype(float)
    if outputs.ndim != 2 or not outputs.any():
        raise ValueError("`outputs` must have shape (N, m) and must not be zero throughout, got "
                         + (f"shape {outputs.shape}" if outputs.ndim != 2 or not outputs.size else "zeros"))
    sizes = np.linalg.svd(outputs / np.abs(outputs).max(), compute_uv=False)
    return float(_exp_entropy(sizes / sizes.sum()))


def _exp_entropy(p):
    """exp(entropy) of fractions p (..., m)."""
    return np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1))


def _spectrum(correlations):
    """Eigenvalues over their sum, (..., m)."""
    values = np.clip(np.linalg.eigvalsh(correlations), 0, None)
    return values / values.sum(axis=-1, keepdims=True)


def collapse(output_std: np.ndarray, correlations: np.ndarray) -> np.ndarray:
    """What kind of collapse each of T states shows, (T,) of "complete", "dimensional" and "".

    output_std (T, m), correlations (T, m, m). Complete: no output varies any more, against the first state.
    Dimensional: outputs vary, but are all the same up to sign and scale.
    """
    still = (output_std < STILL * output_std[:1]).all(axis=-1)
    m = correlations.shape[-1]
    alike = (np.abs(correlations) >= ALIKE).all(axis=(-2, -1)) & (m > 1)
    return np.select([still, alike], ["complete", "dimensional"], "")


class Growth(NamedTuple):
    """Parts of d log|a_jl| / dt in the flow, (..., m, K) each; their sum is the whole.

    noise : the first term of (7) or (27): what the head leaves of the noise in F; of any other objective the first two
        terms of (62), what the noise does within a branch as well
    crossing : its second term: what the head puts into F that the target has not; where features take up different
        numbers of patches, also what draws a neuron to those that both views show more alike; the last term of (62)
    target : what (28) adds without stop-gradient, where the target follows the prediction; else 0
    """

    noise: np.ndarray
    crossing: np.ndarray
    target: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """d log|a_jl| / dt, (..., m, K)."""
        return self.noise + self.crossing + self.target


def growth(config: Config, overlaps: ArrayLike, gram: ArrayLike, head: ArrayLike) -> Growth:
    """What makes every overlap grow, term by term: a `Growth` (docs/theory.md, eqs. 7, 8, 27, 28, 62).

    Parameters
    ----------
    config : Config
    overlaps, gram, head : (..., m, K), (..., m, m), (..., m, m)

    Raises
    ------
    ValueError
        Without batch norm (7) does not hold, and growth has no such parts; with another optimiser than plain SGD there are
        other parts.
    """
    if config.optimiser:
        raise ValueError("growth has these parts under the gradient alone, and not with "
                         + ", ".join(f"{name} = {value}" for name, value in config.optimiser.items()))
    overlaps, gram, head = map(np.asarray, (overlaps, gram, head))
    setting, objective = Setting.from_config(config), objectives.from_config(config)
    population.require_cubic(setting.power)
    if not objective.batch_norm:
        raise ValueError("without batch norm growth has not these parts: eq. 7 is about correlations")
    M = population.moments(overlaps, gram, head, setting)
    if isinstance(objective, objectives.OfCorrelations):
        X = population.crossings(head, M.B, objective.crosses)
        by_noise = population.forces_of(M, None, setting, objective)
        by_crossing = population.forces_of(M._replace(n=0 * M.n, k=0 * M.k), X, setting, objective)
    else:
        weights = population.cross_weights(M.B)
        by_noise = population.forces_of_all(M, head, None, setting, objective)
        by_crossing = population.forces_of_all(M, head, weights, setting, objective, noise=False)
    rate = lambda forces: population.overlap_growth(forces, head, overlaps, setting)
    noise, crossing = (rate(Forces(part.H, part.n, None, None)) for part in (by_noise, by_crossing))
    if objective.stop_gradient:
        return Growth(noise, crossing, 0 * noise)
    on_target = Forces(0 * by_noise.H, by_noise.n, by_noise.B + by_crossing.B, None)
    return Growth(noise, crossing, rate(on_target))
