"""What an engine of SGD is: the contract between the loop and those who draw the batches.

Shapes: S runs, J blocks, m neurons, K features.

Every objective knows a batch by the second moments of its outputs alone (docs/theory.md, section 6).
So the loop needs two things of an engine: the second moments of a fresh batch, and the step of the
weights, and of what the optimiser keeps beside them, along a gradient that is given as a linear map of
the outputs. How patches are drawn, in which coordinates weights are kept, and what a patch is at all,
is the engine's own affair. `literal` is the engine to read as an example; `gram` is the fast one.
"""

import numpy as np


class Engine:
    """The state of S runs of SGD that differ in their seeds alone, J blocks of m rows in R^d each, and fresh batches.

    The blocks are those of `config.blocks`, the weights first; J = 1 unless the optimiser asks for more. The rows of
    a run stand one below the other, block by block: Jm rows.

    An engine is a subclass of this class, entered in `loop.ENGINES` and in `memory.ENGINES`. It provides:

    1. `Engine(configs)`: S configs, equal but for `seed` and `init_seed`. The weights of a run start as
       the reduced state `initial.reduced_state(config)`, so that all engines start alike. Its target starts
       where its weights do, and its momentum at 0.
    2. `overlaps` (S, Jm, K), <w_j, v_l>, and `gram` (S, Jm, Jm), <w_i^perp, w_j^perp>: all that a run records
       of its rows, with the law that literal SGD gives them.
    3. `arrays`: by name, float64 arrays (S, Jm, ..) that a checkpoint keeps. Whoever writes the numbers of
       another engine of the same configs into them, in place, has that engine's state.
    4. `moments(step)`: draws the batch of this step for every run and returns the second moments C
       (S, 2m, 2m), in float64, of its outputs [f(X1), f(X2)]: about their means where the objective has them so
       (`config.centred`), raw elsewhere. View 1 goes through the weights, view 2 through the block
       number `self.target`: that of the target, or 0, the weights, where there is none. Patches are in units of
       sigma, so these are the moments of f / sigma^p, p being
       `config.power`. The batch is a function of the run's `seed` and of
       `step`, below `config.steps`, alone.
    5. `descend(mixing, A, b)`: takes the step blocks <- A blocks - b dL/dw, A (J, J) and b (J,), with the
       gradient in the weights on the batch whose moments were asked for last. `mixing` (S, m or 2m, 2m) is
       that of `objectives.MomentGrad`: N dL/df = mixing @ [f(X1); f(X2)], with f about its means under batch
       norm. Its upper m rows are df(X1); the lower m are df(X2), and are missing under stop-gradient, as they
       always are where there is a target.
    6. Nothing is raised. An output that does not vary under batch norm has a variance of exactly 0 in C,
       and what overflows is inf or nan there; the loop finds it and says which neuron of which run it was.
    7. The numbers of a run do not depend on the runs beside it, bit for bit.
    8. `together(config)`: how many runs of this config are best computed side by side.
    9. `place(overlaps, factor)`, before the first step: the weights start there, in place of point 1. An engine without
       it starts from its configs alone, and says so.
    """

    overlaps: np.ndarray
    gram: np.ndarray
    arrays: dict

    def __init__(self, configs):
        self.configs, self.config = list(configs), configs[0]
        if any(config.reseeded(self.config.seed, self.config.init_seed) != self.config for config in self.configs):
            raise ValueError("`configs` must differ in `seed` and `init_seed` alone")
        self.dtype = np.dtype(self.config.dtype)
        self.blocks = len(self.config.blocks)  # J
        self.target = int("target" in self.config.blocks)

    def started(self, weights):
        """The rows (..., Jm, c) of all blocks at the start, from those of the weights (..., m, c): point 1."""
        return np.concatenate([weights * (block != "momentum") for block in self.config.blocks], axis=-2)

    def place(self, overlaps, factor):
        """Start elsewhere: overlaps (S, m, K) and lower triangular factors (S, m, m) of the noise Gram, of the weights."""
        raise NotImplementedError(f"engine {type(self).__name__} starts from its config alone: it has no method `place`")

    def moments(self, step):
        """Second moments C (S, 2m, 2m) of the outputs of a fresh batch: point 4."""
        raise NotImplementedError

    def descend(self, mixing, A, b):
        """The step of all blocks along a gradient: point 5."""
        raise NotImplementedError

    @classmethod
    def together(cls, config):
        """How many runs are best computed side by side."""
        return 1
