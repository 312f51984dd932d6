"""The gram engine's step on the loss (3), for S runs at once; a single run is S = 1.

Shapes: S runs, N batch, K = P - k noise patches of a sample, M = K N, m neurons, r = 2 m + 4 rows.

The result is that of `network.simsiam` between `GramWeights.preactivations` and
`GramWeights.descend` on the same random numbers, to rounding, by a shorter way.
Samples are sorted by k1, so the noise that view 1 has is, patch by patch, a
prefix of the batch. The outputs are linear in r rows of length N and mean zero,

    rows = [noise in f(X1) (m); noise in f(X2) (m); features in X1 (2), in X2 (2)],

so batch norm, loss and the gradients in E and in the overlaps follow from the
r x r Gram matrix of the rows; and dL/df is linear in the rows again.
"""

import numpy as np
from scipy.linalg import get_lapack_funcs

from simsim import network


class ReplicaError(network.NetworkError):
    """A forward pass of one run, number `run` of the group, that has no value."""

    def __init__(self, message, neuron, run):
        super().__init__(message, neuron)
        self.run = run


class Replicas:
    """The reduced states of S gram runs, and the step that moves all of them.

    `members` are GramWeights whose configs differ in their seeds alone. Their
    states become views of the group's `overlaps` (S, m, 2) and `factor`
    (S, m, m). A run's numbers do not depend on its company.

    The step works in units of sigma: u / sigma, f / sigma^3, alpha / sigma. The loss does not notice.
    """

    def __init__(self, members):
        self.members, self.config = members, members[0].config
        self._strengths = np.asarray(self.config.scaled_alphas) ** 3
        self.overlaps = np.stack([member.overlaps for member in members])
        # The factor is kept as the R of a QR decomposition: upper triangular, its transpose.
        self._R = np.stack([member.factor.T for member in members])
        self.factor = self._R.transpose(0, 2, 1)
        for s, member in enumerate(members):
            member.overlaps, member.factor = self.overlaps[s], self.factor[s]
        self._make_batch_arrays(len(members), np.dtype(self.config.dtype))
        self._make_small_arrays(len(members), self.config.m)

    def _make_batch_arrays(self, S, dtype):
        """What has N columns, and the views of it that a step uses."""
        N, m, K = self.config.batch_size, self.config.m, self.config.patches - self.config.feature_patches
        self._zeta = np.empty((S, m, K * N), dtype)  # the noise, standard normal
        self._zeta_T = self._zeta.transpose(0, 2, 1)
        self._u = np.empty((S, m, K, N), dtype)  # its pre-activations
        self._u_flat = self._u.reshape(S, m, K * N)
        self._square1 = np.empty_like(self._u)  # u^2 where view 1 has noise, else zero
        self._square2 = np.empty_like(self._u)  # likewise for view 2
        # lr dL/du, and zeros to make it wide enough for its root to be m x m: they outlive the QR decompositions
        # in its place, for a reflection of columns that end in zeros does not touch those.
        self._C = np.zeros((S, m, max(K * N, m)), dtype)
        self._C_noise = self._C[:, :, :K * N]
        self._C_patches = self._C_noise.reshape(S, m, K, N)
        self._C_columns = [C.T for C in self._C]
        self._rows = np.empty((S, 2 * m + 4, N), dtype)
        self._rows_T = self._rows.transpose(0, 2, 1)
        self._noise_rows, self._feature_rows = self._rows[:, :2 * m], self._rows[:, 2 * m:]
        self._noise_of_view1, self._noise_of_view2 = self._rows[:, :m], self._rows[:, m:2 * m]
        self._qr_of_batch, = get_lapack_funcs(("geqrf",), dtype=dtype)

    def _make_small_arrays(self, S, m):
        """What has only m and r columns. FG holds F = E f(X1) and G = f(X2) in terms of the rows."""
        r = 2 * m + 4
        self._f = np.zeros((S, m, r))  # f(X1) in terms of the rows
        self._f_T, self._f_features = self._f.transpose(0, 2, 1), self._f[:, :, 2 * m:2 * m + 2]
        self._FG_both = np.zeros((S, 2 * m, 2 * r))  # FG, then its inner products with the rows
        self._FG, self._FG_rows = self._FG_both[:, :, :r], self._FG_both[:, :, r:]
        self._FG_T, self._F, self._G_features = self._FG.transpose(0, 2, 1), self._FG[:, :m], self._FG[:, m:, 2 * m + 2:]
        self._f[:, :, :m] = self._FG[:, m:, m:2 * m] = np.eye(m)
        self._products = np.empty((S, 2 * m, 2 * m))  # inner products of F and G
        self._norms2, self._cross = _diagonal(self._products), _diagonal(self._products[:, :m, m:])
        self._smallest2, _ = network.usable_sizes(self._u.dtype)
        self._dF = np.zeros((S, m, 2 * m))  # dF in terms of F and G: two diagonals
        self._dF_by_F, self._dF_by_G = _diagonal(self._dF[:, :, :m]), _diagonal(self._dF[:, :, m:])
        self._across, self._root = np.empty((S, m, m)), np.empty((S, m, m))
        self._root_T = self._root.transpose(0, 2, 1)
        self._root_diagonal, self._R_diagonal = _diagonal(self._root)[:, :, None], _diagonal(self._R)[:, :, None]
        self._wide = np.empty((S, m, 2 * m))  # [Lambda' | O]
        self._in_span, self._beyond = self._wide[:, :, :m], self._wide[:, :, m:]
        self._wide_columns = [wide.T for wide in self._wide]
        self._upper = np.triu(np.ones((m, m)))
        self._qr_of_factor, = get_lapack_funcs(("geqrf",), dtype=np.float64)

    def update(self, step, heads, lr):
        """One step of all runs: losses (S,), gradients (S, m, m) in the heads. Raises ReplicaError."""
        prefixes = self._draw(step)
        self._forward(prefixes)
        losses, head_grads, on_overlaps, on_rows = self._loss_and_grad(heads, lr)
        if not (self._norms2.min() >= self._smallest2 and self._norms2.max() < np.inf):
            self._refuse(step, heads)
        self._descend(on_overlaps, on_rows)
        return losses, head_grads

    def _draw(self, step):
        """Fill the noise, the feature rows and the Bartlett factors; the prefixes of each run."""
        prefixes = []
        for member, zeta, features, across in zip(self.members, self._zeta, self._feature_rows, self._across):
            draw = member.blocks.draw(step, zeta)
            features[...], across[...] = draw.features, draw.across
            prefixes.append(draw.prefixes)
        return prefixes

    def _forward(self, prefixes):
        """u = Lambda zeta (eq. 17) and the noise rows: sums of u^3 over each view's noise patches."""
        u, square1, square2, cube = self._u, self._square1, self._square2, self._C_patches
        np.matmul(self._cast(self.factor), self._zeta, out=self._u_flat)
        np.multiply(u, u, out=square2)
        np.copyto(square1, square2)
        for of_run, run in zip(square1, prefixes):
            for patch, prefix in enumerate(run):
                of_run[:, patch, prefix:] = 0
        np.subtract(square2, square1, out=square2)  # exact: what is left belongs to view 2
        np.multiply(square1, u, out=cube)
        np.add.reduce(cube, axis=2, out=self._noise_of_view1)
        np.multiply(square2, u, out=cube)
        np.add.reduce(cube, axis=2, out=self._noise_of_view2)
        self._noise_rows -= np.add.reduce(self._noise_rows, axis=2, keepdims=True) / self.config.batch_size

    def _loss_and_grad(self, heads, lr):
        """Losses, dL/dE, lr dL/da, and 3 lr dL/df(X1) as coefficients (S, m, r) of the rows.

        With sums in place of means over the batch, for a factor N cancels:
        rho_j = <F_j, G_j> / (|F_j| |G_j|),  dF_j = 2 (rho_j F_j / |F_j| - G_j / |G_j|) / |F_j|.
        """
        m, r = self.config.m, self._f.shape[2]
        squares = self._strengths * (self.overlaps * self.overlaps)
        self._f_features[...] = self._G_features[...] = squares * self.overlaps  # B, section 2
        np.matmul(heads, self._f, out=self._F)
        np.matmul(self._FG, self._rows @ self._rows_T, out=self._FG_rows)
        np.matmul(self._FG_rows, self._FG_T, out=self._products)
        norms = np.sqrt(self._norms2)
        scale = 2 / (norms[:, :m] * norms[:, m:])
        rho2 = self._cross * scale  # 2 rho
        np.divide(rho2, self._norms2[:, :m], out=self._dF_by_F)
        np.negative(scale, out=self._dF_by_G)
        dF = self._dF @ self._FG_both  # (S, m, 2 r): dF, then its inner products with the rows
        df3 = (3 * lr * heads).transpose(0, 2, 1) @ dF  # likewise, 3 lr df
        on_overlaps = df3[:, :, r + 2 * m:r + 2 * m + 2] * squares  # dB/da = 3 alpha^3 a^2
        return 2 * m - np.add.reduce(rho2, axis=1), dF[:, :, r:] @ self._f_T, on_overlaps, df3[:, :, :r]

    def _descend(self, on_overlaps, on_rows):
        """Points 3 to 5 of section 4, every factor by a QR decomposition."""
        m, root = self.config.m, self._root
        df3 = self._cast(on_rows) @ self._rows
        np.multiply(self._square1, df3[:, :, None], out=self._C_patches)  # lr C, C = dL/du = 3 u^2 df
        np.subtract(self.factor, self._C_noise @ self._zeta_T, out=self._in_span)
        for s, C in enumerate(self._C_columns):
            root[s] = self._qr_of_batch(C, overwrite_a=True)[0][:m]  # lr^2 C C^T = root^T root
        root *= np.copysign(self._upper, self._root_diagonal)
        np.matmul(self._root_T, self._across, out=self._beyond)
        for s, wide in enumerate(self._wide_columns):
            self._R[s] = self._qr_of_factor(wide, overwrite_a=True)[0][:m]
        self._R *= np.copysign(self._upper, self._R_diagonal)  # triangular, unique: its diagonal >= 0
        self.overlaps -= on_overlaps

    def _cast(self, array):
        return array.astype(self._u.dtype, copy=False)

    def _refuse(self, step, heads):
        """Raise what `network.simsiam` has against the batch of a run, or else that squares went out of range."""
        good = (self._norms2 >= self._smallest2) & (self._norms2 < np.inf)
        run = int(np.argmin(good.all(axis=1)))
        U1, U2 = self.members[run].preactivations(step)
        try:
            network.simsiam(U1, U2, self._cast(heads[run]))
        except network.NetworkError as error:
            raise ReplicaError(str(error), error.neuron, run) from None
        outputs = [network.conv_forward(U1)[0] @ heads[run].T, network.conv_forward(U2)[0]]
        sizes = np.log([np.abs(output).max(axis=0) for output in outputs])
        view, neuron = np.unravel_index(np.argmax(np.abs(sizes)), sizes.shape)  # the farthest from 1
        problem = ("large for {}; use a smaller lr or head_lr, or weaker features" if sizes[view, neuron] > 0 else
                   "small for {}; use larger weights or stronger features")
        raise ReplicaError(f"the square of the output is too {problem.format(self._u.dtype)}", int(neuron) + 1, run)


def _diagonal(stack):
    """The diagonals of a stack of square matrices, as a view to read and write."""
    return np.einsum("...jj->...j", stack)
