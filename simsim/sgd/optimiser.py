"""The optimiser of SGD: what a step makes of the gradient, as a linear map of the blocks that an engine keeps.

A block is m rows in R^d: the weights w; with `target_momentum` the target t, through which view 2 goes; with `momentum`
the momentum v. A step is blocks <- A blocks - b grad with A (J, J) and b (J,), grad (m, d) being that of the weights.
Whatever can be written so is exact in law in every engine (docs/theory.md, eqs. 52 to 54). As PyTorch's SGD has it,

    v <- mu v + (g + decay w),    w <- w - lr v,    and then    t <- tau t + (1 - tau) w:

the decay is part of what the momentum collects. Without momentum this is w <- (1 - lr decay) w - lr g.
"""

import numpy as np

from simsim import schedules


class Optimiser:
    """The steps of a Config: those of the blocks by `step`, those of the head by `move_head`.

    A subclass with a `linear` of its own is another optimiser; `sgd.iterate` takes it as an argument.
    """

    def __init__(self, config):
        self.config, self.blocks = config, config.blocks
        self._constant = self._of_all(config.lr) if config.lr_schedule == "constant" else None

    def step(self, step):
        """(A, b) of the update after `step`."""
        c = self.config
        return self._constant or self._of_all(schedules.rate(c.lr_schedule, c.lr, step, c.steps))

    def linear(self, lr):
        """A (J, J) and b (J,) at this learning rate, in the order of `blocks`; the target is left to follow."""
        c, A, b = self.config, np.eye(len(self.blocks)), np.zeros(len(self.blocks))
        A[0, 0], b[0] = 1 - lr * c.weight_decay, lr
        if "momentum" in self.blocks:
            v = self.blocks.index("momentum")
            A[v, 0], A[v, v], b[v] = c.weight_decay, c.momentum, -1
            A[0, v] = -lr * c.momentum
        return A, b

    def _of_all(self, lr):
        """The same with the target, which follows what the weights have come to."""
        A, b = self.linear(lr)
        if "target" in self.blocks:
            t, tau = self.blocks.index("target"), self.config.target_momentum
            A[t], b[t] = (1 - tau) * A[0], (1 - tau) * b[0]
            A[t, t] = tau
        return A, b

    def move_head(self, step, E, velocity, direction, dE):
        """Take the update after `step` of the heads E, in place, and of their velocities; all (S, m, m).

        `direction` is that of the head: the part of dL/dE that it follows. Decay and momentum are of that part alone.
        """
        c = self.config
        pull = direction(dE + c.head_decay * E if c.head_decay else dE)
        if c.head_momentum:
            velocity *= c.head_momentum
            velocity += pull
            pull = velocity
        E -= schedules.rate(c.head_lr_schedule, c.head_lr, step, c.steps) * pull
