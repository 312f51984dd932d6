"""Equations 4 to 8, 11 and 16 of docs/theory.md written out once more, for tests that must not ask the code under test.

Of the paper's objective, features equally often in equally many patches, and any m and K. Shapes: T states (or none),
m neurons, K features. Lengths are in units of sigma where the theory has it so.
"""

import numpy as np


def mask(config):
    """mu11, mu12 and nu of eq. 4."""
    P, k = config.patches, config.feature_patches
    return k * (k * P - 2 * k + P) / (4 * (P - 1)), k * (k - 1) * P / (4 * (P - 1)), (P - k) / 2


class State:
    """B, H, the noise and the variances of eqs. 5 and 6 at overlaps (T, m, K), gram (T, m, m) and head (T, m, m)."""

    def __init__(self, config, overlaps, gram, head):
        self.K, self.mu11, self.mu12, nu = overlaps.shape[-1], *mask(config)
        self.strengths, self.overlaps, self.head = np.array(config.alphas) / config.sigma, overlaps, head
        self.B = (self.strengths * overlaps) ** 3
        self.H = head @ self.B
        q = np.diagonal(gram, axis1=-2, axis2=-1)
        noise = nu * (9 * q[..., :, None] * q[..., None, :] * gram + 6 * gram**3)
        self.n = np.einsum("...jr,...rs,...js->...j", head, noise, head)
        self.covariance = self.mu11 / self.K * self.B @ self.B.swapaxes(-1, -2) + noise
        self.D = self.mu11 / self.K * (self.H**2).sum(-1) + self.n
        self.G = np.diagonal(self.covariance, axis1=-2, axis2=-1)

    @property
    def shares(self):
        """Eq. 11 for f, (T, m, K)."""
        return self.mu11 / self.K * self.B**2 / self.G[..., None]

    @property
    def head_shares(self):
        """Eq. 11 for F, (T, m, K)."""
        return self.mu11 / self.K * self.H**2 / self.D[..., None]

    @property
    def correlations(self):
        """corr(f_i, f_j), (T, m, m)."""
        return self.covariance / np.sqrt(self.G[..., :, None] * self.G[..., None, :])

    @property
    def loss(self):
        """2 m - 2 sum_j rho_j of eq. 6, (T,)."""
        N = self.mu12 / self.K * (self.H * self.B).sum(-1)
        return 2 * self.G.shape[-1] - 2 * (N / np.sqrt(self.D * self.G)).sum(-1)

    @property
    def growth(self):
        """d log|a_rl| / dt of eqs. 7 and 8 for two features, (T, m, K): dW/dt = -dL/dW, and L = 2 m - 2 rho."""
        other_B, other_H = self.B[..., ::-1], self.H[..., ::-1]
        crossed = self.B[..., :, None, :] * other_B[..., None, :, :]
        crossed = crossed - other_B[..., :, None, :] * self.B[..., None, :, :]
        off = self.head * (1 - np.eye(self.head.shape[-1]))
        bracket = self.n[..., None] * self.B + self.mu11 / 2 * other_H * np.einsum("...js,...jsl->...jl", off, crossed)
        R = self.mu12 / self.D[..., None] * bracket
        pull = np.einsum("...jr,...jl->...rl", self.head / np.sqrt(self.D * self.G)[..., None], R)
        return 2 * 1.5 * self.strengths**3 * self.overlaps * pull


def of_run(run):
    """The `State` of every row of a Trajectory."""
    return State(run.config, run.overlaps, run.gram, run.head)


def roles(run):
    """Rows of two neurons by their roles: the first to have half of its variance from v_1, then the other."""
    strong = of_run(run).shares[:, :, 0] >= 0.5
    first = int(np.argmax(strong[np.argmax(strong.any(axis=1))])) if strong.any() else 0
    return [first, 1 - first]


def change(run):
    """The clock of change, (T,): arc length of log10|a|, shares and the head over its largest off the diagonal."""
    away = np.abs(run.head * (1 - np.eye(run.config.m))).max()
    places = np.concatenate([part.reshape(len(run), -1) for part in (
        np.log10(np.abs(run.overlaps)), of_run(run).shares, run.head / (away or 1))], axis=1)
    return np.concatenate([[0], np.linalg.norm(np.diff(places, axis=0), axis=1)]).cumsum()
