"""SGD exact in law through the Gram matrix, at a cost that d does not enter (docs/theory.md, section 4).

Shapes: S runs, J blocks, N batch, p noise patches of a sample (`config.noise_patches`), m neurons, K features, 2 views.

A step sees a noise patch xi only through <w_i, xi>, that is through m coordinates zeta in the span of the
noise parts of W, and through sum c xi, whose part across the span is a Gaussian matrix of which only the
Gram matrix matters. With W^perp = Lambda Phi, Phi orthonormal, it is enough to keep Lambda, and to draw
zeta and a Wishart matrix. This is exact because noise is orthogonal to the features (eq. 1). Where an optimiser
keeps more than the weights, W are the rows of all blocks; the weights come first, and zeta is still of m coordinates.

In these coordinates a step is cheap, and most of its time goes into calling NumPy. So all runs take it
together, in arrays that every step uses again.
"""

import numpy as np
from scipy.linalg import get_lapack_funcs

from simsim import activation, data, memory
from simsim.initial import reduced_states
from simsim.sgd.draws import Blocks, aligned
from simsim.sgd.engine import Engine

GROUP_BLOCK_BYTES = 2**26  # of a block's numbers
GROUP_BYTES = 2**18  # of noise that runs side by side hold; a step needs six times that, in a cache


class Gram(Engine):
    """Overlaps (S, Jm, K) and Lambda (S, Jm, Jm), lower triangular: `factor` of the noise parts' Gram matrix.

    Columns of Lambda beyond the d - K dimensions that noise has are 0.
    """

    def __init__(self, configs):
        super().__init__(configs)
        overlaps, factor = map(self.started, reduced_states(self.configs))
        missing = factor.shape[1] - factor.shape[2]
        self.overlaps, self.factor = overlaps, np.concatenate([factor, np.zeros((*factor.shape[:2], missing))], axis=2)
        m, first = self.config.m, self.target * self.config.m
        self._own_overlaps, self._own_factor = self.overlaps[:, :m], self.factor[:, :m, :m]  # those of the weights
        self._target_overlaps, self._target_factor = self.overlaps[:, first:first + m], self.factor[:, first:first + m]
        self._R = self.factor.swapaxes(1, 2)  # Lambda^T, as QR decompositions give it
        self.arrays = {"overlaps": self.overlaps, "factor": self.factor}
        self._draws = Blocks(self.configs)
        self._power = self.config.power  # p
        self._strengths = (data.from_config(self.config).strengths(self.config) / self.config.sigma) ** self._power
        self._make_batch_arrays(len(self.configs), self.config.m)
        self._make_small_arrays(len(self.configs), self.config.m)

    def place(self, overlaps, factor):
        """Start from other weights: point 9."""
        self.overlaps[...] = self.started(overlaps)
        self.factor[...] = 0
        self.factor[:, :, :factor.shape[-1]] = self.started(factor)

    @classmethod
    def together(cls, config):
        """As many runs as keep their noise in a cache, and a block of their other numbers in a little memory."""
        numbers = config.batch_size * max(1, config.noise_patches) * config.m
        noise = numbers * np.dtype(config.dtype).itemsize
        return max(1, min(GROUP_BYTES // noise, GROUP_BLOCK_BYTES // memory.of_block(config)))

    @property
    def gram(self):
        """<w_i^perp, w_j^perp>, (S, Jm, Jm)."""
        return self.factor @ self._R

    # ---- arrays that every step uses again, with the views of them that it needs ------------

    def _make_batch_arrays(self, S, m):
        """What has N columns."""
        config, dtype = self.config, self.dtype
        N, p = config.batch_size, config.noise_patches
        # See `Draw`; as numbers, and for every neuron, since NumPy multiplies by these faster.
        self._in_view1 = aligned((S, m, p, N), dtype)
        # lr dL/du, or dL/du for several blocks, wide enough for its root to be m x m. Columns beyond the batch are
        # zero, and stay so: LAPACK's reflections of a vector do not touch what is zero in it.
        self._du = aligned((S, m, max(p * N, m)), dtype)
        self._du[...] = 0
        self._du_noise = self._du[:, :, :p * N]
        self._du_patches = self._du_noise.reshape(S, m, p, N)
        # Pre-activations of noise patches, over sigma: not needed any more when du takes their place.
        self._u, self._u_flat = self._du_patches, self._du_noise
        self._even = aligned((S, m, p, N), dtype)  # u^(p-1), p being the power of the activation
        self._powers = aligned((S, 2, m, p, N), dtype)  # u^p where a view has the patch, else 0
        self._powers1, self._powers2 = self._powers[:, 0], self._powers[:, 1]
        # Outputs / sigma^p, about their means under batch norm. Of one patch the sum over patches is that patch.
        self._f = self._powers[:, :, :, 0] if p == 1 else aligned((S, 2, m, N), dtype)
        self._f_rows = self._f.reshape(S, 2 * m, N)
        self._f_columns = self._f_rows.swapaxes(1, 2)
        self._mean = np.full((N, 1), 1 / N, dtype)
        # B of section 2, over sigma^p: for both views, or one by one.
        self._B = np.empty((S, 1 + (self.target > 0), m, self.config.features), dtype)
        if self.target:
            self._u_target = aligned((S, m, p * N), dtype)

    def _make_small_arrays(self, S, m):
        """What has m columns or so, and the QR decompositions, of which only R is wanted."""
        rows = self.blocks * m
        self._root = np.empty((S, m, m))
        self._root_T = self._root.swapaxes(1, 2)
        self._wide = np.empty((S, rows, rows + m))  # [Lambda' | O]
        self._in_span, self._beyond = self._wide[:, :, :rows], self._wide[:, :, rows:]
        self._take_root, self._take_R = Triangle(self._du), Triangle(self._wide)
        if self.blocks > 1:
            self._grad = np.zeros((S, m, rows + m))  # dL/dw: in the span, and across it
            self._target_rows = np.empty((S, m, rows))
            self._target_R, self._take_target_R = np.empty((S, m, m)), Triangle(self._target_rows)

    # ---- a step: points 1 to 5 of section 4 ----------------------------------------------------

    def moments(self, step):
        """Second moments C (S, 2m, 2m) of the outputs of this step's batches."""
        self._draw, self._zeta = self._draws.draw(step)
        self._sum_powers_of_noise()
        self._slope = self._strengths * activation.even(self._own_overlaps, self._power)  # dB/da / p
        np.multiply(self._slope, self._own_overlaps, out=self._B[:, 0])
        if self.target:
            self._B[:, 1] = self._strengths * self._target_overlaps**self._power
        self._f += self._B @ self._draw.shown
        return np.divide(self._f_rows @ self._f_columns, self.config.batch_size, dtype=float)

    def descend(self, mixing, A, b):
        """The step of overlaps and Lambda, every factor by a QR decomposition."""
        m, shown = self.config.m, self._draw.shown
        rate = b.item(0) if self.blocks == 1 else 1  # of several blocks each has its own
        df = self._cast(mixing * (self._power * rate / self.config.batch_size)) @ self._f_rows  # p rate dL/df
        df1 = df[:, :m]
        self._pull_at_noise(df1, self._in_view1, out=self._du_patches)
        dB = df1 @ shown[:, 0].swapaxes(1, 2)
        if df.shape[1] > m:  # the target's branch too
            self._du_patches += self._pull_at_noise(df[:, m:], 1 - self._in_view1, out=self._powers2)
            dB += df[:, m:] @ shown[:, 1].swapaxes(1, 2)
        in_span = self._du_noise @ self._zeta.swapaxes(1, 2)
        if self._draw.scale is not None:  # and across the span C takes them along
            self._du_noise *= self._scale
        self._take_root(self._root)  # rate^2 C C^T = root^T root
        if self.blocks == 1:
            if A[0, 0] != 1:
                self.overlaps *= A[0, 0]
                self.factor *= A[0, 0]
            np.subtract(self.factor, in_span, out=self._in_span)
            np.matmul(self._root_T, self._draw.across, out=self._beyond)
            self.overlaps -= dB * self._slope
        else:
            self._step_of_blocks(A, b, in_span, dB * self._slope)
        self._take_R(self._R)

    def _step_of_blocks(self, A, b, in_span, overlaps):
        """[Lambda' | O] and the overlaps of several blocks (eq. 54), from the gradient in zeta and in the overlaps."""
        m, beside, rows = self.config.m, self._draw.beside, self.blocks * self.config.m
        self._grad[:, :, :m] = in_span
        np.matmul(self._root_T, beside, out=self._grad[:, :, m:m + beside.shape[2]])
        np.matmul(self._root_T, self._draw.across, out=self._grad[:, :, rows:])
        self._in_span[...], self._beyond[...] = self._mixed(A, self.factor), 0
        self._of_blocks(self._wide)[...] -= b[:, None, None] * self._grad[:, None]
        self.overlaps[...] = self._mixed(A, self.overlaps)
        self._of_blocks(self.overlaps)[...] -= b[:, None, None] * overlaps[:, None]

    def _mixed(self, A, rows):
        """A times the blocks, for `rows` (S, Jm, c)."""
        return np.matmul(A, rows.reshape(len(rows), self.blocks, -1)).reshape(rows.shape)

    def _of_blocks(self, rows):
        """A view (S, J, m, c) of `rows` (S, Jm, c)."""
        return rows.reshape(len(rows), self.blocks, self.config.m, -1)

    def _sum_powers_of_noise(self):
        """u = Lambda zeta (eq. 17), zeta in the m coordinates of the weights; sums of u^p over each view's noise."""
        if self._draw.noise is not None:  # a patch that a sample has not is one of zeros
            self._zeta *= self._draw.noise.reshape(len(self._zeta), 1, -1)
        if self._draw.scale is not None:  # given their lengths patches are Gaussian
            self._scale = self._cast(self._draw.scale)[:, None]
            self._zeta *= self._scale
        self._in_view1[...] = self._draw.in_view1[:, None]
        np.matmul(self._cast(self._own_factor), self._zeta, out=self._u_flat)
        if self.target:
            self._show_view_2_to_the_target()
        activation.even(self._u, self._power, out=self._even)
        np.multiply(self._even, self._u, out=self._powers2)
        np.multiply(self._powers2, self._in_view1, out=self._powers1)
        np.subtract(self._powers2, self._powers1, out=self._powers2)  # exact: what is left belongs to view 2
        if self._powers.shape[3] != 1:
            np.add.reduce(self._powers, axis=3, out=self._f)
        if self.config.centred:
            self._f -= self._f @ self._mean

    def _show_view_2_to_the_target(self):
        """Put the target's pre-activations where a patch is in view 2: its rows are R^T in coordinates of their own.

        Patches of view 2 are met nowhere else, so their zeta may stand for these.
        """
        self._target_rows[...] = self._target_factor
        self._take_target_R(self._target_R)
        np.matmul(self._cast(self._target_R.swapaxes(1, 2)), self._zeta, out=self._u_target)
        np.copyto(self._u, self._u_target.reshape(self._u.shape), where=~self._draw.in_view1[:, None])

    def _pull_at_noise(self, df, in_view, out):
        """u^(p-1) df where a view has the patch, else 0: (S, m, p, N)."""
        np.multiply(df[:, :, None], in_view, out=out)
        return np.multiply(out, self._even, out=out)

    def _cast(self, array):
        return array.astype(self.dtype, copy=False)


class Triangle:
    """R (S, m, m) of the QR decompositions of X (S, m, n)^T, upper triangular with diagonal >= 0, so unique: X X^T = R^T R.

    Made once for an array X that is filled again and again. LAPACK works in place and leaves R
    in the first m columns of X, transposed, with the reflections that make up Q below it.
    """

    def __init__(self, X):
        m = X.shape[1]
        self._columns, self._R = [of_run.T for of_run in X], X[:, :, :m].swapaxes(1, 2)
        self._diagonal = np.einsum("sjj->sj", self._R)[..., None]
        self._upper = np.triu(np.ones((m, m)))
        self._decompose, = get_lapack_funcs(("geqrf",), dtype=X.dtype)

    def __call__(self, out):
        for columns in self._columns:
            self._decompose(columns, overwrite_a=True)
        np.multiply(self._R, np.copysign(self._upper, self._diagonal), out=out)
