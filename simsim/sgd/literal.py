"""Literal SGD, engine `sgd` of a Config: every noise patch is a vector in R^d. The example of what an engine does.

Shapes: S runs, J blocks, N batch, h = P/2 patches in a view, m neurons, d dimension, K features, M noise patches.
"""

import numpy as np

from simsim import data, network, objectives
from simsim.initial import lift, reduced_state
from simsim.sgd.draws import DrawnAhead
from simsim.sgd.engine import Engine

FEW_ROWS = 3  # up to so many BLAS is faster vector by vector


class Literal(Engine):
    """All rows W (S, Jm, d), the weights first, with the features v_1 = e_1 .. v_K = e_K, trained on patches in R^d."""

    def __init__(self, configs):
        super().__init__(configs)
        self.W = self.started(np.stack([lift(*reduced_state(config), config.d) for config in self.configs]))
        self.arrays = {"W": self.W}
        self._draws = [DrawnAhead(config) for config in self.configs]

    def place(self, overlaps, factor):
        """Start from other weights: point 9."""
        self.W[...] = self.started(np.stack([lift(*start, self.config.d) for start in zip(overlaps, factor)]))

    @property
    def overlaps(self):
        """<w_j, v_l>, (S, Jm, K)."""
        return self.W[:, :, :self.config.features]

    @property
    def gram(self):
        """<w_i^perp, w_j^perp>, (S, Jm, Jm)."""
        noise_part = self.W[:, :, self.config.features:]
        return noise_part @ noise_part.swapaxes(1, 2)

    def moments(self, step):
        """Second moments C (S, 2m, 2m) of the outputs of this step's batches."""
        self._batches = [Batch(self.config, *draws.draw(step)) for draws in self._draws]
        return np.stack([batch.moments(*self._of_views(W)) for batch, W in zip(self._batches, self.W)])

    def descend(self, mixing, A, b):
        """The blocks <- A blocks - b dL/dw."""
        for W, batch, of_run in zip(self.W, self._batches, mixing):
            blocks, gradient = W.reshape(self.blocks, -1, W.shape[-1]), batch.gradient(of_run)
            blocks[...] = np.tensordot(A, blocks, 1)
            for block, rate in zip(blocks, b.tolist()):
                block -= rate * gradient

    def _of_views(self, W):
        """The weights (m, d) of view 1, and those of view 2 where they are others, in the precision of the network."""
        m = self.config.m
        parts = [W[:m], W[self.target * m:][:m]] if self.target else [W[:m]]
        return [part.astype(self.dtype, copy=False) for part in parts]


class Batch:
    """One run's batch: from its patches to the outputs f(X1), f(X2), and from their gradient back.

    samples : data.Samples
    noise : (at least M, d - K) noise patches in units of sigma, those of view 1 first, each view's sample by sample

    In a view of a sample the feature patches come first. They are all alike, so they are never
    built; and a patch that the mask put to zero adds nothing, so it is left out.
    """

    def __init__(self, config, samples, noise):
        self._is_noise, self._centred = samples.is_noise(config.patches // 2), config.centred  # (2, N, h)
        self._noise = noise[:np.count_nonzero(self._is_noise)]
        strengths = data.from_config(config).strengths(config) / config.sigma
        self._feature_patch = samples.feature_patch(strengths).astype(noise.dtype)  # (N, K)
        self._power = config.power

    def moments(self, W, target=None):
        """Second moments (2m, 2m) of [f(X1), f(X2)] for weights W (m, d), or of view 2 for those of a target (m, d)."""
        U = self._preactivations(W)
        if target is not None:
            U[1] = self._preactivations(target)[1]
        outputs, self._conv = zip(*(network.conv_forward(of_view, self._power) for of_view in U))
        self._f = [f.astype(float) for f in outputs]  # squares of what float32 can hold need float64
        if self._centred:
            self._f = [_about_means(f, np.finfo(U.dtype).eps) for f in self._f]
        return objectives.second_moments(*self._f, centred=False)

    def _preactivations(self, W):
        """<w_i, X_p> / sigma of both views, (2, N, h, m)."""
        K = self._feature_patch.shape[1]
        U = np.empty((*self._is_noise.shape, len(W)), W.dtype)
        U[...] = (self._feature_patch @ W[:, :K].T)[:, None, :]
        U[self._is_noise] = _product(W[:, K:], self._noise.T).T
        return U

    def gradient(self, mixing):
        """dL/dW (m, d), from N dL/df = mixing @ [f(X1); f(X2)]."""
        df = (of_view.astype(self._noise.dtype, copy=False)
              for of_view in objectives.output_gradient(mixing, *self._f) if of_view is not None)
        dU = np.stack([network.conv_backward(*of_view) for of_view in zip(df, self._conv)])  # (views, N, h, m)
        is_noise = self._is_noise[:len(dU)]
        on_features = np.einsum("vnhi,vnh->in", dU, ~is_noise) @ self._feature_patch
        on_noise = _product(dU[is_noise].T, self._noise[:np.count_nonzero(is_noise)])
        return np.concatenate([on_features, on_noise], axis=1)


def _product(rows, X):
    """rows (m, a) @ X (a, b): a few rows one by one, for BLAS takes two to five times as long for a matrix of so few."""
    return np.array([row @ X for row in rows]) if len(rows) <= FEW_ROWS else rows @ X


def _about_means(f, eps):
    """f (N, m) about its means over the batch; what varies by rounding alone, of relative size `eps`, does not vary."""
    f = np.ascontiguousarray(f.T)  # NumPy is slow along the first axis of narrow arrays
    centred = f - f.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred * centred).mean(axis=1, keepdims=True))
    return (centred * ~(spread <= network.CONSTANT_ULPS * eps * np.abs(f).max(axis=1, keepdims=True))).T
