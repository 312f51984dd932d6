"""What the studies of finite batches share: phase I of one neuron in gram, at a given x of docs/theory.md, eq. 58.

A cell is one start and one batch, over sampling seeds: x belongs to the start, so lr and horizon are made of it.
"""

import functools

from simsim import laws, noise_laws
from simsim.config import Config
from simsim.initial import reduced_state

ALONE = {"engine": "gram", "m": 1, "head": "frozen", "feature_patches": 4, "alpha_ratio": 1e3}  # v_2 is next to nothing
FIELDS = ("d", "init_seed", "alpha_weak", "batch_size")
LATE, EARLY = 15.0, 3.0  # horizon: of T_1, and of T_SGD where that is less
ROWS = 1000  # of a log


def start_of(d, init_seed, strength, batch_size):
    """The fields of a start and a batch, without a step."""
    return dict(zip(FIELDS, (d, init_seed, strength / ALONE["alpha_ratio"], batch_size)))


def cell(start, x=None, lr=None, horizon=None):
    """The fields of a cell: at this x of eq. 58, or this lr, until `horizon` in units of T_1 (by default by LATE and EARLY)."""
    unit = _learning(**start, lr=1e-4)
    lr = 1e-4 * x / unit.x if lr is None else lr
    one = _learning(**start, lr=lr)
    time = min(LATE * one.flow_time, EARLY * one.time) if horizon is None else horizon * one.flow_time
    steps = max(1, round(time / lr))
    return {**ALONE, **start, "lr": float(lr), "head_lr": 0.0, "steps": steps, "log_every": max(1, steps // ROWS)}


@functools.cache
def _learning(lr, **start):
    return laws.noise(Config(**ALONE, **start, lr=lr)).phase_one


def law(part):
    """(Learning of eq. 58, blur of eq. 60, probability that the runs of this cell learn v_1 by their last step)."""
    first = {name: part[name][0].item() for name in (*FIELDS, "lr", "steps")}
    steps = first.pop("steps")
    config = Config(**ALONE, **first)
    one, batch = _learning(**first), noise_laws.of_batch(config.patches, config.feature_patches, config.batch_size)
    walk = float(noise_laws.blur(config, reduced_state(config)[0][0, 0], batch))
    passed = float(noise_laws.clock(one.x, steps * config.lr * batch.drift / one.flow_time))
    return one, walk, float(noise_laws.learning_probability(1 / passed, walk))
