"""The optimiser of SGD: what a step makes of the gradient, as a linear map of the blocks that an engine keeps.

A block is m rows in R^d: the weights w; with `target_momentum` the target t, through which view 2 goes; with `momentum`
the momentum v. A step is blocks <- A blocks - b grad with A (J, J) and b (J,), grad (m, d) that of the weights. Whatever
can be written so is exact in law in every engine (docs/theory.md, eqs. 50 to 52). As PyTorch's SGD has it,

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
        self._constant = self.linear(config.lr) if config.lr_schedule == "constant" else None

    def step(self, step):
        """(A, b) of the update after `step`."""
        c = self.config
        return self._constant or self.linear(schedules.rate(c.lr_schedule, c.lr, step, c.steps))

    def linear(self, lr):
        """A (J, J) and b (J,) at this learning rate, in the order of `blocks`."""
        J, c = len(self.blocks), self.config
        at = {name: row for row, name in enumerate(self.blocks)}
        A, b = np.eye(J), np.zeros(J)
        A[0, 0], b[0] = 1 - lr * c.weight_decay, lr
        if "momentum" in at:
            v = at["momentum"]
            A[v, 0], A[v, v], b[v] = c.weight_decay, c.momentum, -1
            A[0, v] = -lr * c.momentum
        if "target" in at:
            t, tau = at["target"], c.target_momentum
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
