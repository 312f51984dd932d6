"""Learning rates as functions of the step, and the time that they add up to.

Time t is the sum of the rates so far, as a flow counts it: lr * step where the rate is constant.

>>> from simsim import Config, schedules
>>> [round(schedules.rate("cosine", 1.0, step, 4), 3) for step in range(4)]
[1.0, 0.854, 0.5, 0.146]
>>> schedules.elapsed(Config(lr=0.01, steps=4), 4)
0.04
"""

import bisect
import math

SCHEDULES = ("constant", "cosine")


def rate(schedule, lr, step, steps):
    """The learning rate of the update that follows `step`, which is from 0 to `steps` - 1.

    cosine : lr (1 + cos(pi step / steps)) / 2, without restarts (Loshchilov and Hutter, arXiv:1608.03983); it is
        never 0, for the last update is that of `steps` - 1.
    """
    return lr if schedule == "constant" else lr * math.cos(math.pi * step / (2 * steps)) ** 2


def elapsed(config, step):
    """The time after `step` updates of a run: the sum of the learning rates of its weights."""
    lr, steps = config.lr, config.steps
    if config.lr_schedule == "constant":
        return step * lr
    angle = math.pi / (2 * steps)
    return lr / 2 * (step + math.sin(step * angle) * math.cos((step - 1) * angle) / math.sin(angle))


def step_at(config, time):
    """The first step by which so much time has `elapsed`, inf if none; a constant rate goes on, also between steps."""
    if config.lr_schedule == "constant":
        return time / config.lr
    step = bisect.bisect_left(range(config.steps + 1), time, key=lambda step: elapsed(config, step))
    return step if step <= config.steps else math.inf
