"""A state of the network as everything here sees it: overlaps, a factor of the noise Gram matrix, head.

Shapes: ... any leading axes, m neurons, K features, c coordinates of the noise parts.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from simsim import heads
from simsim.config import Config
from simsim.files.archives import NotARunError, read_arrays, write_arrays
from simsim.initial import reduced_state
from simsim.network import real_array

ARRAYS = ("a", "U", "E")
FURTHEST = 300  # power of ten that the square of a batch's variance, which goes as w^4p, may reach; numbers end at 308
SAME = 1e-9  # part of the largest number by which two starts may differ and be one: rounding alone differs by less


@dataclass(frozen=True, eq=False)
class State:
    """Overlaps a (..., m, K), <w_j, v_l>; noise parts as U (..., m, c), <w_i^perp, w_j^perp> = U U^T; head E (..., m, m).

    Only U U^T matters, for noise is rotation invariant. Raises ValueError where shapes do not fit together or a number is not
    finite.

    >>> import simsim
    >>> start = simsim.State.start(simsim.Config(d=50, init_seed=1))
    >>> start.a.shape, start.gram.shape, start.E.tolist()
    ((2, 2), (2, 2), [[1.0, 0.0], [0.0, 1.0]])
    """

    a: np.ndarray
    U: np.ndarray
    E: np.ndarray

    def __post_init__(self):
        for name in ARRAYS:
            object.__setattr__(self, name, real_array(name, getattr(self, name)).astype(float))
        if min(self.a.ndim, self.U.ndim, self.E.ndim) < 2:
            raise ValueError(f"`a`, `U` and `E` must have two axes and more, got {self.a.shape}, {self.U.shape}, {self.E.shape}")
        m = self.a.shape[-2]
        if self.a.shape[:-1] != self.U.shape[:-1] or self.E.shape != (*self.a.shape[:-1], m):
            raise ValueError("`a` must have shape (..., m, K), `U` (..., m, c) and `E` (..., m, m); "
                             f"got {self.a.shape}, {self.U.shape}, {self.E.shape}")

    @classmethod
    def start(cls, config: Config) -> "State":
        """The State from which a run of `config` starts: Gaussian weights by its init_seed, and its head's own start."""
        return cls(*reduced_state(config), heads.from_config(config).start())

    @classmethod
    def from_weights(cls, W: ArrayLike, E: ArrayLike | None = None, *, features: int = 2) -> "State":
        """The State of weights W (..., m, d) with the features v_1 = e_1 .. v_K = e_K, and a head E, by default I."""
        W = real_array("W", W).astype(float)
        if W.ndim < 2 or W.shape[-1] <= features:
            raise ValueError(f"`W` must have shape (..., m, d) with d > features = {features}, got {W.shape}")
        E = np.broadcast_to(np.eye(W.shape[-2]), (*W.shape[:-1], W.shape[-2])) if E is None else real_array("E", E)
        return cls(W[..., :features], W[..., features:], E)

    @property
    def gram(self) -> np.ndarray:
        """<w_i^perp, w_j^perp>, (..., m, m)."""
        return self.U @ self.U.swapaxes(-1, -2)

    @property
    def noise_norms(self) -> np.ndarray:
        """||w_j^perp||, (..., m)."""
        return np.linalg.norm(self.U, axis=-1)

    @property
    def norms(self) -> np.ndarray:
        """||w_j||, (..., m)."""
        return np.hypot(np.linalg.norm(self.a, axis=-1), self.noise_norms)

    def factor(self) -> np.ndarray:
        """The lower triangular factor (..., m, m) of `gram`, with a diagonal that is not negative: as QR gives it."""
        m, c = self.U.shape[-2:]
        wide = np.concatenate([self.U, np.zeros((*self.U.shape[:-1], max(m - c, 0)))], axis=-1)
        R = np.linalg.qr(wide.swapaxes(-1, -2), mode="r")
        return (np.copysign(1.0, np.diagonal(R, axis1=-2, axis2=-1))[..., None] * R).swapaxes(-1, -2)

    def is_like(self, other: "State", config: Config) -> bool:
        """Whether a run of `config` from `other` is the run from here: overlaps, noise Gram matrix and, unless it is set, head."""
        pairs = [(self.a, other.a), (self.gram, other.gram)]
        if heads.from_config(config).set_from is None:
            pairs.append((self.E, other.E))
        return all(one.shape == two.shape and np.allclose(one, two, rtol=0, atol=SAME * np.abs(two).max()) for one, two in pairs)

    def require_fits(self, config: Config) -> None:
        """ValueError where a run of `config` cannot start here."""
        m, K = self.a.shape[-2:]
        if self.a.ndim != 2 or (m, K) != (config.m, config.features):
            raise ValueError(f"`start` must be one State of m = {config.m} neurons and {config.features} features, got a of shape "
                             f"{self.a.shape}")
        self._require_size(config)
        head = heads.from_config(config)
        if head.set_from is not None and not np.array_equal(self.E, head.start()):
            raise ValueError(f"head {config.head} is set from the outputs: `start` must leave it where it starts, at I unless "
                             "its class says otherwise")
        if not config.head_is_trained and not np.array_equal(self.E, head.start()):
            raise ValueError(f"head {config.head} does not move, and starts elsewhere: `start` must have E as it has")
        if head.moves_symmetrically() and not np.array_equal(self.E, self.E.T):
            raise ValueError(f"head {config.head} moves E_ij and E_ji as one: `start` must have a symmetric E")

    def _require_size(self, config: Config) -> None:
        """ValueError where the squared variance of an output, with its 4p-th power of weights, would not be a number."""
        norms = np.hypot(np.linalg.norm(self.a * config.scaled_alphas, axis=-1), self.noise_norms)
        furthest = 10.0 ** int(FURTHEST / (4 * config.power))
        wrong = (norms > 0) & ~((1 / furthest <= norms) & (norms <= furthest))
        if wrong.any():
            j = int(np.argmax(wrong))
            raise ValueError(f"`start` must have neurons that are 0, or of a size from {1 / furthest:g} to {furthest:g} in units of "
                             f"strengths and sigma, so that their powers are numbers; that of neuron {j + 1} is {norms[j]:.2g}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a, U and E to an npz file, atomically."""
        write_arrays(path, {name: getattr(self, name) for name in ARRAYS})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "State":
        """Read a State back; nothing is unpickled. Raises NotARunError, OSError."""
        arrays = read_arrays(path)
        try:
            return cls(*(arrays[name] for name in ARRAYS))
        except (KeyError, ValueError) as error:
            raise NotARunError(f"{path} is not a state: {error}") from None
