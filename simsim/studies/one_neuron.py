"""What the studies of finite batches share: phase I of one neuron in gram, at a given x of docs/theory.md, eq. 58.

A cell is one start and one batch, over sampling seeds: x belongs to the start, so lr and horizon are made of it.
"""

import functools

import simsim
from simsim.config import Config
from simsim.initial import reduced_state

ALONE = {"engine": "gram", "m": 1, "head": "frozen", "feature_patches": 4, "alpha_ratio": 1e3}  # v_2 is next to nothing
FIELDS = ("d", "init_seed", "alpha_weak", "batch_size")
LATE, EARLY = 8.0, 1.75  # a run ends at so many T_1, or T_SGD if that is earlier; the laws of its cell count until then
ROWS = 1000  # of a log


def start_of(d, init_seed, strength, batch_size):
    """The fields of a start and a batch, without a step."""
    return dict(zip(FIELDS, (d, init_seed, strength / ALONE["alpha_ratio"], batch_size)))


def cell(start, x, horizon=None):
    """The fields of a cell: at this x of eq. 58, until `horizon` in units of T_1 (by default `horizon_at` this x)."""
    lr = rounded(1e-4 * x / _learning(**start, lr=1e-4).x)
    one = _learning(**start, lr=lr)
    horizon = horizon_at(one.x, start["batch_size"]) if horizon is None else horizon
    steps = max(1, round(horizon * one.flow_time / lr))
    return {**ALONE, **start, "lr": lr, "head_lr": 0.0, "steps": steps, "log_every": max(1, steps // ROWS)}


def rounded(value):
    """`value` to six digits: its last bits are those of an integral, and a folder knows its sweep by all of them."""
    return float(f"{value:.6g}")


def horizon_at(x, batch_size, early=EARLY):
    """When runs at this x end, in units of T_1: after `early` times that of SGD by eq. 58, or LATE."""
    return min(LATE, float(early * simsim.noise_laws.slowed(x) / batch_of(batch_size).drift))


def by_horizon(x, walk, horizon, batch_size):
    """The probability that v_1 is learned until then, in units of T_1, at this x and blur (eq. 60)."""
    return float(simsim.noise_laws.learning_probability(1 / simsim.noise_laws.time_of_flow(x, horizon * batch_of(batch_size).drift), walk))


def batch_of(N):
    """The moments of a batch of N samples, a `noise_laws.Batch`."""
    return simsim.noise_laws.of_batch(Config().patches, ALONE["feature_patches"], N)


@functools.cache
def _learning(lr, **start):
    return simsim.laws.noise(Config(**ALONE, **start, lr=lr)).phase_one


def fields_of(part):
    """The fields of the start, the batch and the step of the runs `part` of a table."""
    return {name: part[name][0].item() for name in (*FIELDS, "lr")}


def law(part):
    """(Learning of eq. 58, blur of eq. 60, probability that the runs of this cell learn v_1 by their last step)."""
    first, steps = fields_of(part), part["steps"][0].item()
    one, overlaps = _learning(**first), reduced_state(config := Config(**ALONE, **first))[0]
    walk = float(simsim.noise_laws.blur(config, overlaps[0, 0], batch_of(config.batch_size)))
    return one, walk, by_horizon(one.x, walk, steps * config.lr / one.flow_time, config.batch_size)
