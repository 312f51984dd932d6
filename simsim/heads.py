"""Heads: what the prediction head E is at step 0, and how it moves (docs/theory.md, section 6).

Shapes: ... any leading axes, m neurons.

A head is a start, `start()`, and a direction, `direction(dE)`: the part of the gradient dL/dE
that it follows, a linear map. Two kinds do not train; they are set from the correlation of the
features instead, `set_from(C11)`, by those who hold that a symmetric head explains everything.
A new head is a class with what is its own of these three.

The scale of a row of E is immaterial under batch norm.

>>> import numpy as np
>>> from simsim import Config, heads
>>> head = heads.from_config(Config(m=2, head="symmetric"))
>>> head.start().tolist(), head.direction(np.array([[5.0, 1.0], [3.0, 5.0]])).tolist()
([[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [2.0, 0.0]])
"""

from dataclasses import dataclass

import numpy as np

from simsim.objectives import off_diagonal_mask

STREAM = 1  # spawn key of the random heads' stream: the weights' own is that of the bare seed
DECLARED = "moves", "set_from"  # what a class says of how its heads move
EPSILON = 0.1  # of `directcopy` and `directpred`, a hyperparameter of both


@dataclass(frozen=True)
class Head:
    """The trained head: E = I at step 0, its diagonal stays 1, the rest follows the gradient.

    Parameters
    ----------
    m : int
        Number of neurons.
    init_seed, scale, diagonal : int, float, "fixed" or "free"
        For a random start: its seed, the standard deviation of its entries, and whether the
        diagonal stays 1 or is as random, and as trained, as the rest.
    """

    m: int
    init_seed: int = 0
    scale: float = 1.0
    diagonal: str = "fixed"

    moves = True  # some part of E follows the gradient
    set_from = None  # or a function of C11 that E follows

    def start(self):
        """E (m, m) at step 0."""
        return np.eye(self.m)

    def direction(self, dE):
        """The part of dL/dE (..., m, m) that E moves against."""
        return dE * off_diagonal_mask(self.m)

    def moves_symmetrically(self):
        """Whether E_ij and E_ji move, and as one."""
        pull = self.direction(np.triu(np.ones((self.m, self.m)), 1))
        return bool(pull.any()) and np.array_equal(pull, pull.T)


class Frozen(Head):
    """E = I for good."""

    moves = False

    def direction(self, dE):
        return np.zeros_like(dE)


class FreeDiagonal(Head):
    """From E = I, all entries trained."""

    def direction(self, dE):
        return dE


class Symmetric(Head):
    """From E = I with diagonal 1, the rest held symmetric: it follows the gradient's projection on such matrices."""

    def direction(self, dE):
        return (dE + dE.swapaxes(-1, -2)) * (off_diagonal_mask(self.m) / 2)


class Random(Head):
    """A Gaussian start, N(0, scale^2) in each entry; the diagonal is 1 and stays, or is free like the rest."""

    def start(self):
        rng = np.random.default_rng(np.random.SeedSequence(self.init_seed, spawn_key=(STREAM,)))
        E = self.scale * rng.standard_normal((self.m, self.m))
        return E if self.diagonal == "free" else E * off_diagonal_mask(self.m) + np.eye(self.m)

    def direction(self, dE):
        return dE if self.diagonal == "free" else super().direction(dE)


class DirectCopy(Frozen):
    """E = F / ||F||_2 + eps I with F the second moments of f(X1) (Wang et al. 2022, arXiv:2110.04947).

    ||F||_2 is the largest eigenvalue. The paper keeps a running mean of F over batches; here F
    is that of the batch, or of the population, at hand.
    """

    def set_from(self, C11):
        """E (..., m, m) from C11 (..., m, m), symmetric; a complex step goes through."""
        return _normalised(C11) + EPSILON * np.eye(self.m)


class DirectPred(Frozen):
    """E of F's eigenvectors, with eigenvalues p_j = sqrt(s_j) + eps max s (Tian et al. 2021, arXiv:2102.06810, eq. 18).

    s_j are the eigenvalues of F over the largest of them, so max s = 1: eq. 18 has the eigenvalues themselves, and the
    authors' code divides them so before it takes the root, which makes E the same in any unit of f. F as in `DirectCopy`.
    """

    def set_from(self, C11):
        """E (..., m, m) from C11 (..., m, m), symmetric; a complex step goes through."""
        return _root(_normalised(C11)) + EPSILON * np.eye(self.m)


KINDS = {"trained": Head, "frozen": Frozen, "free-diagonal": FreeDiagonal, "symmetric": Symmetric, "random": Random,
         "directcopy": DirectCopy, "directpred": DirectPred}
HEADS = tuple(KINDS)


def kind_of(head):
    """The class behind a name of KINDS, or of a Head."""
    return KINDS[head] if isinstance(head, str) else type(head)


DIAGONALS = ("fixed", "free")


def from_config(config):
    """The head of a Config."""
    if isinstance(config.head, Head):
        return config.head
    return KINDS[config.head](config.m, config.init_seed, config.head_scale, config.head_diagonal)


def starts_at_identity(config):
    """Whether the head of a Config is I at step 0, and not set anew."""
    kind = config.head_kind
    one = config.m == 1 and config.head_diagonal == "fixed"
    return kind.set_from is None and (kind.start is Head.start or one)


def changes(config):
    """Whether the head of a Config is not the same for good: some part of it follows the gradient, or it is set anew."""
    kind = config.head_kind
    return kind.set_from is not None or kind.moves and config.head_lr > 0


def _normalised(F):
    """F / ||F||_2 for symmetric F (..., m, m) of no negative eigenvalue."""
    s, V = _eigh(F.real)
    largest = s[..., -1:, None]
    if np.iscomplexobj(F):  # of an eigenvalue, the derivative is that of v^T F v at fixed v
        v = V[..., -1:]
        largest = largest + 1j * (v.swapaxes(-1, -2) @ F.imag @ v)
    return F / largest


def _root(F):
    """The symmetric square root of F with largest eigenvalue 1, (..., m, m)."""
    s, V = _eigh(F.real)
    r, V_T = np.sqrt(np.maximum(s, np.finfo(float).eps)), V.swapaxes(-1, -2)  # smaller ones are rounding
    root = (V * r[..., None, :]) @ V_T
    if np.iscomplexobj(F):  # d(root) root + root d(root) = dF, solved in the eigenvectors
        root = root + 1j * (V @ ((V_T @ F.imag @ V) / (r[..., :, None] + r[..., None, :])) @ V_T)
    return root


def _eigh(F):
    """`np.linalg.eigh`, with eigenvalues nan, and not an error, where F is not finite."""
    finite = np.isfinite(F).all(axis=(-2, -1))
    s, V = np.linalg.eigh(np.where(finite[..., None, None], F, 0))
    return np.where(finite[..., None], s, np.nan), V
