"""The flow of one configuration: what moves, how fast, and what stays (docs/theory.md, sections 2 and 6).

Shapes: ... any leading axes, m neurons, K features, c coordinates of the noise parts.
"""

import functools
from dataclasses import dataclass

import numpy as np

from simsim import heads, objectives, population
from simsim.activation import CUBIC
from simsim.theory import conserved


@dataclass(frozen=True, eq=False)
class Equations:
    """dW/dt = -dL/dW, and for the head -kappa dL/dE in the directions in which it moves.

    Parameters
    ----------
    setting : population.Setting
        None where only `invariants` are asked for.
    objective : objectives.Objective
    head : heads.Head
    kappa : float
        Head rate over weight rate; with 0, a head that would follow the gradient stands still.
    power : int
        Of the activation; what moves is that of cubes.
    """

    setting: population.Setting | None
    objective: objectives.Objective
    head: heads.Head
    kappa: float
    power: int = CUBIC

    def __post_init__(self):
        if self.setting is not None:
            population.require_cubic(self.setting.power)

    @classmethod
    def from_config(cls, config):
        """The equations of a Config; a ConfigError names the term of an optimiser that they have not."""
        config.require_plain_sgd("the flow")
        return cls(population.Setting.from_config(config), objectives.from_config(config), heads.from_config(config),
                   config.kappa, config.power)

    @classmethod
    def of_constants(cls, config):
        """The equations of a Config without their data, of which `invariants` know nothing, and with any power."""
        return cls(None, objectives.from_config(config), heads.from_config(config), config.kappa, config.power)

    @property
    def certifiable(self):
        """Whether an end can be certified: of other objectives and heads nobody has derived when.

        Nor of a head that is set where features differ in mu12: its ends would rest on the rates alone, and these have named a
        collapse that a feature learned later ended (docs/theory.md, "When an end is for good").
        """
        known = objectives.ends_are_known(type(self.objective)) and type(self.head) in heads.KINDS.values()
        return known and not (self.head_is_set and self.setting.deficit is not None)

    @functools.cached_property
    def objective_is_of_correlations(self):
        """Whether the objective sees under batch norm the c_ij alone, so that eqs. 27 and 28 are all there is."""
        return isinstance(self.objective, objectives.OfCorrelations)

    @functools.cached_property
    def stiffness_is_a_coordinate(self):
        """Whether each direction that is far stiffer than the others is known to be one of the `coordinates` (`methods`).

        So it is under batch norm where the objective has the c_jj alone, and the entries of the head move freely or not at all,
        or are a single one: that of a symmetric head of two neurons.
        """
        return (self.can_be_followed_without_noise and self.objective_is_of_correlations
                and (self.entries_are_free or self.symmetric or not self.head_moves))

    @functools.cached_property
    def can_be_followed_without_noise(self):
        """Whether a settled state without its noise can be integrated for good (docs/theory.md, "When an end is for good").

        Not so for a head that is set or, with more than two neurons, symmetric, where long steps fail, and for objectives of
        all c_ij, whose collapse is a saddle that has a plateau (eqs. 36 to 38): their ends rest on the rates alone.
        """
        tied = self.symmetric and self.m > 2
        return self.objective.batch_norm and not self.objective.crosses and not tied and not self.head_is_set

    @property
    def m(self):
        """Number of neurons."""
        return self.head.m

    @property
    def features(self):
        """Number of features, K."""
        return self.setting.alpha.size

    @functools.cached_property
    def head_moves(self):
        """Whether E follows the gradient. That of a single neuron is a number, and batch norm divides it out."""
        follows = self.head.moves and self.kappa > 0 and self.head.direction(np.ones((self.m, self.m))).any()
        return bool(follows) and (self.m > 1 or not self.objective.batch_norm)

    @functools.cached_property
    def head_is_set(self):
        """Whether E is a function of the weights."""
        return self.head.set_from is not None

    @functools.cached_property
    def head_mixes(self):
        """Whether E may ever be anything else than I."""
        return self.head_moves or self.head_is_set or not np.array_equal(self.head.start(), np.eye(self.m))

    @functools.cached_property
    def head_may_cancel(self):
        """Whether the head may cancel the noise of outputs to many digits; two neurons do not get there from E = I."""
        return self.head_mixes and (self.m > 2 or not np.array_equal(self.head.start(), np.eye(self.m)))

    @functools.cached_property
    def free_diagonal(self):
        """Whether the diagonal of E moves."""
        return self.head_moves and bool(self.head.direction(np.eye(self.m)).any())

    @functools.cached_property
    def entries_are_free(self):
        """Whether each entry of E off the diagonal moves against its own derivative, whatever the others do."""
        probe = self._probe() * (1 - np.eye(self.m))
        return self.head_moves and np.array_equal(self.head.direction(probe), probe)

    @functools.cached_property
    def rows_are_free(self):
        """Whether each entry of E moves against its own derivative, those of the diagonal as well."""
        return self.head_moves and np.array_equal(self.head.direction(self._probe()), self._probe())

    def _probe(self):
        """A gradient (m, m) of entries that are all different."""
        return np.arange(1.0, self.m**2 + 1).reshape(self.m, self.m)

    @functools.cached_property
    def symmetric(self):
        """Whether E_jr and E_rj move as one."""
        return self.head_moves and self.head.moves_symmetrically()

    @functools.cached_property
    def triangle(self):
        """The places (j, r), j >= r, of the entries of a symmetric head that move."""
        return [(j, r) for r in range(self.m) for j in range(r + (not self.free_diagonal), self.m)]

    @functools.cached_property
    def shape_of_moving(self):
        """The shape of the entries of E that are `coordinates`: all, all off the diagonal, one column of a `triangle`, or none."""
        if not self.head_moves:
            return 0, 0
        return (len(self.triangle), 1) if self.symmetric else (self.m, self.m - (not self.free_diagonal))

    def head_from(self, a, gram):
        """E (..., m, m) of a head that is set, from overlaps (..., m, K) and noise Gram matrices."""
        M = population.moments(a, gram, np.eye(self.m), self.setting)
        return self.head.set_from(population.covariance_of(self.setting, M))

    def first_head(self, a, U):
        """E at t = 0, (m, m) or, where it is set, (..., m, m)."""
        return self.head_from(a, population.gram_of(U)) if self.head_is_set else self.head.start()

    def head_velocity(self, M, forces):
        """dE/dt (..., m, m) of a head that moves."""
        return -self.kappa * self.head.direction(population.head_gradient(M, forces))

    def invariants(self, a, U, E):
        """The constants of the flow, (..., c), and the size of the terms of each (docs/theory.md, eq. 13).

        The weights keep sum_r ||w_r||^2 under batch norm, whatever the head does. Where E off the diagonal follows the
        gradient, or is I for good, so is (13) constant for each neuron; where the whole of E follows it, the norm of
        each row of E. Without batch norm there are none, c = 0.
        """
        if not self.objective.batch_norm:
            return np.empty((*a.shape[:-2], 0)), np.ones(0)
        squares = np.add.reduce(a**2, -1) + np.add.reduce(U**2, -1)
        if not self.head_mixes:
            return squares, squares
        if not self.entries_are_free:
            total = np.add.reduce(squares, -1)[..., None]
            return total, total
        by_neuron = conserved(self.kappa, squares, E, self.power)
        off = E**2 * (1 - np.eye(self.m))
        sizes = squares + self.power / self.kappa * (np.add.reduce(off, -1) + np.add.reduce(off, -2))
        if not self.rows_are_free:
            return by_neuron, sizes
        rows = np.add.reduce(E**2, -1)
        return np.concatenate([by_neuron, rows], axis=-1), np.concatenate([sizes, rows], axis=-1)
