"""The law of samples: patches and their random-half augmentation (docs/theory.md, eqs. 1 and 4).

Shapes: N batch, P patches, h = P/2 patches in a view, k feature patches, d dimension, K features. Where features
take up different numbers of patches, k_l is that of feature l (`config.patches_by_feature`).

The network sums over patches, so of a sample only its feature, its sign and how
many of its feature patches each view got matter; the noise patches are vectors
in the d - K dimensions orthogonal to the K features v_1 = e_1, v_2 = e_2, ...

All of this is one object, a `Law`. Whatever draws a sample or takes a mean over samples asks it: the engines, `draw_views`,
the closed forms of an infinite batch. Its sizes are those of a Config.

>>> from simsim import Config, data
>>> data.mask_moments(patches=8, feature_patches=4)  # mu11, mu12 and nu of eq. 4
(4.571428571428571, 3.428571428571429, 2.0)
"""

import functools
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from simsim.config import Config

TRIED, SIGMAS, ROUNDING = 10**5, 6.0, 1e-9  # draws of a scale, by how many standard errors their means may miss, and relative error
PROBE = 2**14  # numbers, roughly, with which the noise of a law of one's own is tried
FIXED_POINT = 1 << 256  # far finer than a float, far quicker than exact fractions of binomials


def mask_moments(patches, feature_patches):
    """Moments (mu11, mu12, nu) of the half-mask (docs/theory.md, eq. 4); `feature_patches` may be an array.

    With k1 ~ Hypergeometric(P, k, P/2) feature patches in view 1 and
    k2 = k - k1 in view 2: mu11 = E[k1^2], mu12 = E[k1 k2], nu = E[P/2 - k1].
    """
    mean, variance = feature_patches / 2, feature_patches * (patches - feature_patches) / (4 * (patches - 1))
    mu11 = variance + mean**2
    return mu11, feature_patches * mean - mu11, patches / 2 - mean


def moments_by_feature(config):
    """The `mask_moments` of a Config, each (K,): those with every feature's own number of patches."""
    return from_config(config).mask_moments(config)


def even_moments(config):
    """The `mask_moments` of a Config whose features take up equally many patches; ValueError where they do not."""
    if len(set(config.patches_by_feature)) > 1:
        raise ValueError(f"this law is about features in equally many patches, not in patch_counts = {config.patch_counts}")
    return mask_moments(config.patches, config.feature_patches)


class Samples(NamedTuple):
    """N samples without their noise: what the mask left of the feature in each view.

    feature (N,) 0, the strongest, to K - 1; sign (N,) +-1; count (2, N) feature patches
    in view 1 and in view 2 (eq. 1). The other h - count patches of a view are noise.
    """

    feature: np.ndarray
    sign: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # no use is made of a tuple's own `count`

    def feature_patch(self, alphas):
        """(N, K) the patch that carries the feature, z alpha_l, in the coordinates e_1 .. e_K; `alphas` (K,): `Law.strengths`."""
        return self.sign[:, None] * np.asarray(alphas) * (self.feature[:, None] == np.arange(len(alphas)))

    def is_noise(self, half):
        """(2, N, h) True where the patch of that view is noise: feature patches come first."""
        return np.arange(half) >= self.count[..., None]


class SampleClasses(NamedTuple):
    """The kinds of sample there are once noise is left out, feature patches in view 1 ascending.

    k1, k2, feature, sign : (c,) what `Samples` has for each sample
    probability : (c,)
    """

    k1: np.ndarray
    k2: np.ndarray
    feature: np.ndarray
    sign: np.ndarray
    probability: np.ndarray


@functools.cache
def sample_classes(patches, counts, frequencies=None):
    """All kinds of sample and their probabilities: `SampleClasses` (docs/theory.md, eqs. 1 and 4).

    `counts` (K,), a tuple, are the features' numbers of patches, and `frequencies` (K,) how often they are shown, a
    tuple, or None where all are alike.

    N fresh samples in the order of their classes are one multinomial draw of
    counts; their order within a batch is of no consequence.
    """
    kinds = []
    for feature, k in enumerate(counts):
        k1, chance = split_law(patches, k)
        chance = chance / (2 * len(counts)) if frequencies is None else chance * (frequencies[feature] / (2 * sum(frequencies)))
        kinds += [(k1, k - k1, feature, sign, p) for k1, p in zip(k1, chance) for sign in (1.0, -1.0)]
    k1, k2, feature, sign, probability = zip(*sorted(kinds, key=lambda kind: (kind[0], kind[2], -kind[3])))
    return SampleClasses(*map(np.array, (k1, k2, feature, sign, probability)))


def split_law(patches, feature_patches):
    """All values of k1 and their hypergeometric probabilities: arrays (c,), (c,).

    Multinomial draws change with the last digit of a probability, and the same
    seed should draw the same samples with every version of a library. Hence
    integers, from the likeliest value outwards, rounded once.
    """
    P, k, half = patches, feature_patches, patches // 2
    first, last = max(0, k - half), min(k, half)
    mode = (k + 1) * (half + 1) // (P + 2)
    up, down = [FIXED_POINT], []
    for c in range(mode, last):  # C(k, c) C(P - k, half - c), relative to the value before
        up.append(up[-1] * (k - c) * (half - c) // ((c + 1) * (P - k - half + c + 1)))
    below = FIXED_POINT
    for c in range(mode, first, -1):
        below = below * c * (P - k - half + c) // ((k - c + 1) * (half - c + 1))
        down.append(below)
    weights = down[::-1] + up
    total = sum(weights)
    return np.arange(first, last + 1), np.array([weight / total for weight in weights])


class NoClosedForm(ValueError):
    """What is asked for is known in closed form of the package's own law of samples, and not of this one."""


@dataclass(frozen=True)
class Law:
    """The law of samples, with Gaussian noise (eq. 1): what a batch is drawn from, and what is a mean over it.

    A subclass with a `noise` of its own is another law. Its parameters are dataclass fields. Engine gram, the flow and the closed
    forms are derived for noise that is Gaussian, or Gaussian but for its length (`Scaled`), and refuse any other; engine sgd
    takes it.
    """

    def noise(self, rng, shape):
        """Noise patches in units of sigma, `shape` (count, d - K): one a row, in the coordinates orthogonal to the features.

        Independent of each other, and of finite numbers. All that is random comes from `rng`, a numpy.random.Generator, so
        that a run can be repeated. Engine sgd calls this from several threads at once: nothing may be kept in `self`.
        """
        return rng.standard_normal(shape)

    def strengths(self, config):
        """(K,) the length alpha_l of a patch of each feature, the strongest first."""
        return np.array(config.alphas)

    def mask_moments(self, config):
        """The `mask_moments` of every feature, each (K,)."""
        return mask_moments(config.patches, np.array(config.patches_by_feature))

    def classes(self, config):
        """All kinds of sample there are but for their noise, and how probable: `SampleClasses`."""
        return sample_classes(config.patches, config.patches_by_feature, config.frequencies)

    def samples(self, config, rng):
        """Features, signs and mask splits of a fresh batch: `Samples` (docs/theory.md, eq. 1), of the law of `classes`.

        The split is exactly hypergeometric, as a uniformly random half of P patches makes it.
        """
        n = config.batch_size
        if config.frequencies is None:
            feature = rng.integers(config.features, size=n)
        else:
            feature = rng.choice(config.features, size=n, p=np.array(config.frequencies) / sum(config.frequencies))
        sign = 2.0 * rng.integers(2, size=n) - 1.0
        k = np.array(config.patch_counts)[feature] if config.patch_counts else config.feature_patches
        k1 = rng.hypergeometric(k, config.patches - k, config.patches // 2, size=n)
        return Samples(feature, sign, np.stack([k1, k - k1]))

    # ---- what follows from these, and is not to be written again ------------------------------

    def __init_subclass__(cls):
        for name in ("gaussian", "closed", "scaled", "tails", "fill", "checked_noise", "checked_scale", "require_closed"):
            if name in vars(cls) and cls.__module__ != __name__:
                raise TypeError(f"{cls.__name__}.{name}: it follows from `noise`, or from `scale` and `moment`, where a law "
                                "says what its noise is")

    @property
    def gaussian(self):
        """Whether noise patches are N(0, I)."""
        return type(self).noise is Law.noise

    @property
    def closed(self):
        """Whether the second moments of outputs are known in closed form, and gram has the law of literal SGD.

        Known are this class and `Scaled`, so neither noise nor anything else of theirs may be overridden.
        """
        known = Scaled if self.scaled else Law
        return all(getattr(type(self), name) is getattr(known, name) for name in RESTS_ON)

    @property
    def scaled(self):
        """Whether Gaussian noise patches get a length of their own."""
        return isinstance(self, Scaled)

    def tails(self, order):
        """What the moment of this order of <w, xi> is, as a multiple of that of Gaussian noise."""
        return 1.0

    def fill(self, rng, out):
        """Fill `out` (count, d - K), contiguous, with noise patches; of Gaussian ones it may be any shape."""
        if self.gaussian:
            fill_normals(rng, out)
        else:
            out[...] = self.checked_noise(rng, out.shape)

    def checked_noise(self, rng, shape):
        """`noise` of this shape, or a ValueError by the law's name where it is no such array of finite real numbers."""
        try:
            noise = np.asarray(self.noise(rng, shape))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self}: `noise` must take a generator and a shape (count, d - K), here {tuple(shape)}, and return "
                             f"an array: {error}") from None
        if noise.shape != tuple(shape) or noise.dtype.kind not in "biuf":
            raise ValueError(f"{self}: `noise` must return real numbers of shape {tuple(shape)}, got {noise.dtype} of shape "
                             f"{noise.shape}")
        if not np.isfinite(noise).all():
            raise ValueError(f"{self}: `noise` must return finite numbers, got {noise[~np.isfinite(noise)][0]}")
        return noise

    def require_closed(self, what):
        """NoClosedForm where the law is not the package's own, of which alone `what` is known."""
        if not self.closed:
            raise NoClosedForm(f"{what}: no closed form under the data law {self}, for what is known of an infinite batch is "
                               "derived for Gaussian noise, scaled or not (data.Scaled), alone; overlaps, norms, head and batch "
                               "losses are there")


RESTS_ON = "noise", "strengths", "mask_moments", "classes", "samples"  # of a law, what closed forms are made of


@dataclass(frozen=True)
class Scaled(Law):
    """Noise patches r xi, xi Gaussian, r drawn for each patch: Student's t, patches of which many are empty, any radial law.

    A subclass says in `scale` what r is, and in `moment` what its moments are. Then all is known in closed form, and exactly:
    given r a patch is Gaussian, so E[<w_i, xi>^p <w_j, xi>^p] is the Gaussian one times E[r^2p] (docs/theory.md, eq. 5).
    """

    def scale(self, rng, count):
        """(count,) r of each patch, at least 0, from the generator `rng`."""
        raise NotImplementedError

    def moment(self, order):
        """E[r^order], for whole orders up to twice the power of the activation."""
        raise NotImplementedError

    def noise(self, rng, shape):
        """Patches of length r times Gaussian ones."""
        return rng.standard_normal(shape) * self.checked_scale(rng, shape[0])[:, None]

    def tails(self, order):
        """What the moment of this order of <w, xi> is, as a multiple of that of Gaussian noise: E[r^order]."""
        return float(self.moment(order))

    def checked_scale(self, rng, count):
        """`scale`, or a ValueError by the law's name where it is no array (count,) of finite numbers, at least 0."""
        try:
            scale = np.asarray(self.scale(rng, count))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(f"{self}: `scale` must take a generator and a count, and return an array: {error!r}") from None
        if scale.shape != (count,) or scale.dtype.kind not in "biuf" or not (np.isfinite(scale) & (scale >= 0)).all():
            raise ValueError(f"{self}: `scale` must return finite numbers of shape ({count},), at least 0, got {scale.dtype} of "
                             f"shape {scale.shape}")
        return scale


KINDS = {"gaussian": Law}
LAWS = tuple(KINDS)


def from_config(config):
    """The law of samples of a Config."""
    return config.data if isinstance(config.data, Law) else KINDS[config.data]()


def require_noise(law, size):
    """ValueError where the `noise` of a law is no array of finite numbers, or does not come from the generator that it is given.

    It is tried with some patches of this size, d - K.
    """
    shape = max(2, PROBE // size), size
    one, again, other = (law.checked_noise(np.random.default_rng(seed), shape) for seed in (0, 0, 1))
    if not np.array_equal(one, again):
        raise ValueError(f"{law}: `noise` must take all that is random from the generator it is given, and it draws other numbers "
                         "from the same one: no run could be repeated")
    if one.any() and np.array_equal(one, other):
        raise ValueError(f"{law}: `noise` must be drawn from the generator it is given, and it has the same numbers from another")


def require_moments(law, power):
    """ValueError where `moment` of a `Scaled` law is not that of its `scale`.

    The first two moments are held to TRIED draws within SIGMAS standard errors; that of order 2p, which draws of a law with long
    tails do not tell, to what these two allow: E[r^2p] >= E[r^2]^p.
    """
    r = law.checked_scale(np.random.default_rng(0), TRIED)
    try:
        moments = {order: law.moment(order) for order in (1, 2, 2 * power)}
    except NotImplementedError:
        raise ValueError(f"{law}: a scaled law must say in `moment` what E[r^order] is") from None
    for order, moment in moments.items():
        if not isinstance(moment, Real) or not 0 < moment < np.inf:
            raise ValueError(f"{law}: `moment({order})` must be a finite number above 0, got {moment!r}; without it the outputs "
                             "have no second moments")
    for order in (1, 2):
        error = np.std(r**order) / np.sqrt(TRIED)
        if abs(np.mean(r**order) - moments[order]) > SIGMAS * error + ROUNDING * moments[order]:
            raise ValueError(f"{law}: `moment({order})` is {moments[order]:.6g}, and {TRIED} draws of `scale` have "
                             f"{np.mean(r**order):.6g} with standard error {error:.2g}")
    if moments[2 * power] < moments[2] ** power * (1 - ROUNDING):
        raise ValueError(f"{law}: `moment({2 * power})` is {moments[2 * power]:.6g}, below moment(2)^{power} = "
                         f"{moments[2] ** power:.6g}, which no law can have")


def fill_normals(rng, out):
    """Fill `out`, contiguous, with N(0, 1).

    float64 comes from NumPy's ziggurat. In float32, where that is no faster,
    Box and Muller's method on whole arrays takes half its time or less.
    """
    if out.dtype == np.float64:
        rng.standard_normal(out=out)
        return
    flat = out.reshape(-1)
    half = (flat.size + 1) // 2
    radius, angle = rng.random((2, half), dtype=out.dtype)
    np.log(1 - radius, out=radius)
    np.sqrt(np.multiply(radius, -2, out=radius), out=radius)
    np.multiply(angle, 2 * np.pi, out=angle)
    np.multiply(radius, np.cos(angle), out=flat[:half])
    np.multiply(radius[:flat.size - half], np.sin(angle[:flat.size - half]), out=flat[half:])


def noise_patches(config, rng, count):
    """(count, d - K) noise patches of a Config's law, in the coordinates orthogonal to the features."""
    law, shape, dtype = from_config(config), (count, config.d - config.features), np.dtype(config.dtype)
    noise = rng.standard_normal(shape, dtype=dtype) if law.gaussian else law.checked_noise(rng, shape).astype(dtype)
    if config.sigma != 1.0:
        noise *= dtype.type(config.sigma)
    return noise


def draw_views(config: "Config", rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both masked views of a fresh batch, patch by patch in R^d (docs/theory.md, section 1).

    Returns
    -------
    X1, X2 : (N, P, d) arrays
        The same P patches in random order; each patch is kept in one view, a
        uniformly random half of them in view 1, and is zero in the other.

    The training loop needs no such arrays; this is the distribution as the
    paper states it, for whoever wants to look at samples or feed other code.

    >>> import numpy as np
    >>> import simsim
    >>> X1, X2 = simsim.draw_views(simsim.Config(d=50, batch_size=3), np.random.default_rng(0))
    >>> X1.shape, bool(((X1 != 0) & (X2 != 0)).any())  # no patch is in both views
    ((3, 8, 50), False)
    """
    n, P, d, K = config.batch_size, config.patches, config.d, config.features
    law = from_config(config)
    samples = law.samples(config, rng)
    X = np.zeros((n, P, d), dtype=config.dtype)
    X[:, :, K:] = noise_patches(config, rng, n * P).reshape(n, P, d - K)
    # Patches in view 1 first (k1 feature, h - k1 noise), then view 2's; a random
    # permutation of each sample's patches then hides the order.
    half = P // 2
    noise = samples.is_noise(half)
    carries = ~np.concatenate([noise[0], noise[1]], axis=1)
    X[carries] = 0
    X[:, :, :K] = np.where(carries[..., None], samples.feature_patch(law.strengths(config))[:, None], 0)
    shuffle = rng.permuted(np.broadcast_to(np.arange(P), (n, P)), axis=1)
    X = np.take_along_axis(X, shuffle[..., None], axis=1)
    kept = (shuffle < half)[..., None]
    return np.where(kept, X, 0), np.where(kept, 0, X)
