"""SGD exact in law through the Gram matrix, at a cost that d does not enter (docs/theory.md, section 4).

Shapes: N batch, K = P - k noise patches of a sample, M = N K, m neurons.

A step sees a noise patch xi only through <w_i, xi>, that is through m
coordinates zeta in the span of the noise parts of W, and through sum c xi,
whose part across the span is a Gaussian matrix of which only the Gram matrix
matters. With W^perp = Lambda Phi, Phi orthonormal, it is enough to keep Lambda,
and to draw zeta and a Wishart matrix. This is exact because noise is orthogonal
to the features (eq. 1).
"""

import numpy as np

from simsim import network
from simsim.draws import Blocks
from simsim.initial import reduced_state
from simsim.replicas import Replicas
from simsim.sgd import PatchWeights


class GramWeights(PatchWeights):
    """Overlaps (m, 2) and Lambda (m, m) lower triangular, the factor of the noise parts' Gram matrix."""

    arrays = ("overlaps", "factor")  # what a checkpoint keeps

    def __init__(self, config, overlaps=None, factor=None):
        super().__init__(config)
        self.overlaps, self.factor = reduced_state(config) if overlaps is None else (overlaps, factor)
        self.blocks = Blocks(config)
        self._alone = None  # the group of one that takes the step

    @property
    def noise_part(self):
        """Lambda, (m, m): the coordinates of w_j^perp."""
        return self.factor

    def update(self, objective, step, head, lr):
        """One step of SGD on `objective`: its loss, and its gradient in E; `Replicas` has it for the loss (3)."""
        if objective is not network.simsiam:
            return super().update(objective, step, head, lr)
        self._alone = self._alone or Replicas([self])
        losses, head_grads = self._alone.update(step, head[None], lr)
        return float(losses[0]), head_grads[0]

    def _draw(self, step):
        """Samples of this step and zeta (M, m), in units of sigma: section 4, point 1."""
        config = self.config
        zeta = np.empty((config.m, config.patches - config.feature_patches, config.batch_size), self.dtype)
        draw = self.blocks.draw(step, zeta)
        self._across = draw.across
        samples = self.blocks.samples(draw.kinds)
        in_view_1 = np.arange(zeta.shape[1]) < (config.patches // 2 - samples.count[0])[:, None]  # (N, K)
        patches = zeta.transpose(2, 1, 0)  # (N, K, m)
        return samples, np.concatenate([patches[in_view_1], patches[~in_view_1]])

    def _descend_noise(self, C, noise, lr):
        """Points 3 to 5 of section 4: in the span, across it, and the new factor."""
        in_span = self.factor - lr * (C.T @ noise)
        root = upper_root(C)  # C^T C = root^T root
        across = lr * (root.T @ self._across[:len(root)])
        self.factor[...] = upper_root(np.concatenate([in_span, across], axis=1).T).T


def upper_root(X):
    """R (min(M, m), m), unique upper triangular with diagonal >= 0, such that X^T X = R^T R, for X (M, m).

    By QR, which keeps the relative precision of the smallest singular value
    where X^T X would lose half of its digits.
    """
    R = np.linalg.qr(X, mode="r")
    return R * np.copysign(1, np.diagonal(R))[:, None]
