"""Literal SGD in R^d: where its pre-activations come from, and how their gradient returns.

Shapes: N batch, h = P/2 patches in a view, m neurons, d dimension, M noise patches in all.

This is all that is particular to the engine; the network, the loop and the
record are the same for every engine. Each step draws every noise patch as a
vector in the d - 2 dimensions orthogonal to the features. The patches that the
masks put to zero are never built.
"""

import numpy as np

from simsim.data import draw_noise, draw_samples
from simsim.initial import lift, reduced_state


class LiteralWeights:
    """Weights W (m, d), features v_1 = e_1, v_2 = e_2, trained on vectors in R^d."""

    arrays = ("W",)  # what a checkpoint keeps

    def __init__(self, config, W=None):
        self.config = config
        self.W = lift(*reduced_state(config), config.d) if W is None else W
        self.dtype = np.dtype(config.dtype)
        noise_patches = config.batch_size * (config.patches - config.feature_patches)
        self._noise = np.empty((noise_patches, config.d - 2), self.dtype)

    @property
    def overlaps(self):
        """<w_j, v_l>, (m, 2)."""
        return self.W[:, :2]

    @property
    def gram(self):
        """<w_i^perp, w_j^perp>, (m, m)."""
        return self.W[:, 2:] @ self.W[:, 2:].T

    def preactivations(self, step):
        """U1, U2 (N, h, m): <w_i, X_p> for the patches of each view of this step's fresh batch.

        The batch is a function of `config.seed` and `step` alone, so a resumed
        run sees the batches that it would have seen.
        """
        config = self.config
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(config.seed, spawn_key=(step,))))
        samples = draw_samples(config, rng)
        W = self.W.astype(self.dtype, copy=False)
        draw_noise(config, rng, len(self._noise), out=self._noise)

        self._is_noise = samples.is_noise(config.patches // 2)  # (2, N, h)
        self._patch = samples.feature_patch(config).astype(self.dtype)  # (N, 2)
        U = np.empty((*self._is_noise.shape, config.m), self.dtype)
        U[...] = (self._patch @ W[:, :2].T)[:, None, :]  # the feature patches are all the same
        U[self._is_noise] = self._noise @ W[:, 2:].T  # rows of view 1, then of view 2
        return U[0], U[1]

    def descend(self, grad, lr):
        """W <- W - lr dL/dW, from the gradient of the pre-activations just given out."""
        first = 0
        for is_noise, dU in zip(self._is_noise, (grad.U1, grad.U2)):
            last = first + np.count_nonzero(is_noise)
            if dU is not None:
                on_features = (dU * ~is_noise[..., None]).sum(axis=1)  # (N, m)
                self.W[:, :2] -= lr * (on_features.T @ self._patch)
                self.W[:, 2:] -= lr * (dU[is_noise].T @ self._noise[first:last])
            first = last
