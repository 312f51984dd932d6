"""SGD on patches: where pre-activations come from, and how their gradient returns.

Shapes: N batch, h = P/2 patches in a view, m neurons, d dimension, M = N (P - k)
noise patches, c coordinates of a noise patch.

`PatchWeights` is what the two SGD engines share. They differ in the
coordinates of noise: a literal patch is a vector of the d - 2 dimensions
orthogonal to the features; `gram` keeps the m coordinates that the weights see.

Patches are in units of sigma: the noise is N(0, 1), a feature has strength
alpha / sigma. The loss is scale free, so it and its gradient in W do not notice,
and no choice of units makes numbers too large for their precision.
"""

import numpy as np

from simsim.draws import DrawnAhead
from simsim.initial import lift, reduced_state


class PatchWeights:
    """Weights as overlaps (m, 2) and noise coordinates (m, c), trained on patches.

    A subclass has both, as `overlaps` and `noise_part`, and draws a batch with
    `_draw(step)`: its Samples, and its noise patches (M, c), those of view 1
    first, each view's sample by sample. The patches that the masks put to zero
    are never built.
    """

    def __init__(self, config):
        self.config = config
        self.dtype = np.dtype(config.dtype)

    @property
    def gram(self):
        """<w_i^perp, w_j^perp>, (m, m)."""
        return self.noise_part @ self.noise_part.T

    def update(self, objective, step, head, lr):
        """One step of SGD on `objective` (one like network.simsiam): its loss, and its gradient in E."""
        U1, U2 = self.preactivations(step)
        loss, grad = objective(U1, U2, head.astype(self.dtype, copy=False))
        self.descend(grad, lr)
        return loss, grad.E

    def preactivations(self, step):
        """U1, U2 (N, h, m): <w_i, X_p> / sigma for the patches of each view of this step's fresh batch.

        The batch is a function of `config.seed` and `step` alone, so a resumed
        run sees the batches that it would have seen.
        """
        samples, self._noise = self._draw(step)
        self._is_noise = samples.is_noise(self.config.patches // 2)  # (2, N, h)
        self._patch = samples.feature_patch(self.config.scaled_alphas).astype(self.dtype)  # (N, 2)
        overlaps, noise_part = (part.astype(self.dtype, copy=False) for part in (self.overlaps, self.noise_part))
        U = np.empty((*self._is_noise.shape, self.config.m), self.dtype)
        U[...] = (self._patch @ overlaps.T)[:, None, :]  # the feature patches are all the same
        U[self._is_noise] = self._noise @ noise_part.T
        return U[0], U[1]

    def descend(self, grad, lr):
        """W <- W - lr dL/dW, from the gradient of the pre-activations just given out."""
        in_view_1 = np.count_nonzero(self._is_noise[0])
        first = 0 if grad.U1 is not None else in_view_1
        last = len(self._noise) if grad.U2 is not None else in_view_1
        views = [(is_noise, dU) for is_noise, dU in zip(self._is_noise, (grad.U1, grad.U2)) if dU is not None]
        on_features = sum((dU * ~is_noise[..., None]).sum(axis=1) for is_noise, dU in views)  # (N, m)
        self.overlaps[...] -= lr * (on_features.T @ self._patch)
        self._descend_noise(np.concatenate([dU[is_noise] for is_noise, dU in views]), self._noise[first:last], lr)

    def _descend_noise(self, C, noise, lr):
        """The step along noise patches (M, c) whose pre-activations have gradient C (M, m)."""
        self.noise_part[...] -= lr * (C.T @ noise)


class LiteralWeights(PatchWeights):
    """Weights W (m, d), features v_1 = e_1, v_2 = e_2, trained on vectors in R^d."""

    arrays = ("W",)  # what a checkpoint keeps

    def __init__(self, config):
        super().__init__(config)
        self.W = lift(*reduced_state(config), config.d)
        self._batches = DrawnAhead(config)

    @property
    def overlaps(self):
        """<w_j, v_l>, (m, 2)."""
        return self.W[:, :2]

    @property
    def noise_part(self):
        """w_j^perp in the coordinates e_3 .. e_d, (m, d - 2)."""
        return self.W[:, 2:]

    def _draw(self, step):
        return self._batches.draw(step)
