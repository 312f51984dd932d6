"""The contract of `sgd.Engine`, point by point.

Shapes: S runs, m neurons, K features.
"""

import dataclasses

import numpy as np
from z_test import agrees

from simsim import objectives, population
from simsim.initial import reduced_state

STEPS = 300  # batches whose second moments are averaged
RATE = 1e-6  # of the steps whose effect on the loss is measured


def check_contract(engine, config, step_at_random=False):
    """AssertionError, which names the point, where `engine`, a class, breaks the contract at a config of two neurons with batch norm.

    With `step_at_random` the engine draws a part of its step beside the gradient, as gram does; then point 5 is left out.
    """
    configs = [config.reseeded(seed, init_seed) for seed, init_seed in ((3, 0), (4, 0), (3, 1))]
    _starts_and_records(engine, configs)
    _draws_by_seed_and_step(engine, configs)
    _keeps_its_state(engine, configs)
    _raises_nothing(engine, config)
    assert isinstance(engine.together(config), int) and engine.together(config) >= 1, "point 8"
    _has_the_moments_of_the_population(engine, config)
    if not step_at_random:
        _descends(engine, configs)


def _starts_and_records(engine, configs):
    started = engine(configs)
    for s, config in enumerate(configs):
        overlaps, factor = reduced_state(config)
        np.testing.assert_allclose(started.overlaps[s], overlaps, atol=1e-14, err_msg="points 1 and 2")
        np.testing.assert_allclose(started.gram[s], factor @ factor.T, atol=1e-14, err_msg="points 1 and 2")


def _draws_by_seed_and_step(engine, configs):
    together, m = engine(configs), configs[0].m
    at_5, at_2 = together.moments(5), together.moments(2)
    assert at_5.shape == (len(configs), 2 * m, 2 * m) and at_5.dtype == np.float64, "point 4"
    assert np.array_equal(together.moments(5), at_5), "point 4: the batch is no function of seed and step"
    assert not np.array_equal(at_5, at_2) and not np.array_equal(at_5[0], at_5[1]), "point 4: batches are the same"
    for s, config in enumerate(configs):
        assert np.array_equal(engine([config]).moments(5)[0], at_5[s]), "point 7"


def _keeps_its_state(engine, configs):
    one, other, S, m = engine(configs), engine(configs), len(configs), configs[0].m
    other.moments(0)
    other.descend(np.ones((S, m, 2 * m)), 0.1)
    for name, array in one.arrays.items():
        assert array.dtype == np.float64 and array.shape[:2] == (S, m), "point 3"
        array[...] = other.arrays[name]
    assert np.array_equal(one.moments(1), other.moments(1)), "point 3: the arrays are not all of the state"


def _has_the_moments_of_the_population(engine, config):
    """In units of sigma, about the means of N samples, which leaves (N - 1) / N of a covariance (docs/theory.md, eq. 5)."""
    started = engine([config])
    scale = (config.batch_size - 1) / config.batch_size
    expected = scale * population.output_covariance(config, started.overlaps[0], started.gram[0]) / config.sigma**6
    m, C = config.m, np.array([started.moments(step)[0] for step in range(STEPS)])
    assert agrees(C[:, :m, :m], expected) and agrees(C[:, m:, m:], expected), "point 4: the moments"


def _descends(engine, configs):
    """A step along the gradient g changes the loss by -lr |g|^2; with the upper rows alone the target is data."""
    objective, m, E = objectives.make("simsiam", stop_gradient=False), configs[0].m, np.eye(configs[0].m) + 0.2

    def after(lr, change=lambda outputs: outputs):
        stepped = engine(configs)
        outputs = objective.loss_and_grad(stepped.moments(0), np.tile(E, (len(configs), 1, 1)))[1].outputs
        stepped.descend(change(outputs), lr)
        losses = objective.loss_and_grad(stepped.moments(0), E)[0]
        return losses, np.concatenate([array.reshape(len(configs), -1) for array in stepped.arrays.values()], axis=1)

    (up, further), (down, nearer) = after(-RATE), after(RATE)
    gradient = (further - nearer) / (2 * RATE)
    np.testing.assert_allclose((up - down) / (2 * RATE), (gradient**2).sum(axis=1), rtol=1e-5, err_msg="point 5")
    _, target_is_data = after(RATE, lambda outputs: outputs[:, :m])
    _, target_is_still = after(RATE, lambda outputs: outputs * (np.arange(2 * m) < m)[:, None])
    np.testing.assert_allclose(target_is_data, target_is_still, atol=1e-9 * RATE, err_msg="point 5: stop-gradient")


def _raises_nothing(engine, config):
    with np.errstate(all="ignore"):
        huge = engine([config])
        for array in huge.arrays.values():
            array[...] = 1e200
        assert not np.isfinite(huge.moments(0)).all(), "point 6: what overflows"
    # One feature without noise, three samples: in a quarter of all batches they are alike.
    alike = engine([dataclasses.replace(config, features=1, patches=4, feature_patches=4, batch_size=3)])
    variances = np.array([alike.moments(step)[0].diagonal() for step in range(40)])
    relative = variances / variances.max(axis=0)
    assert np.all((relative == 0) | (relative > 0.5)) and np.any(relative == 0), "point 6: what does not vary"
