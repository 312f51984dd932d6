"""The contract of `sgd.Engine`, point by point.

Shapes: S runs, J blocks, m neurons, K features.
"""

import dataclasses

import numpy as np
from z_test import agrees

from simsim import objectives, population, target
from simsim.initial import reduced_state

SEEDS = (3, 0), (4, 0), (3, 1)  # `seed` and `init_seed` of three runs
STEPS = 300  # batches whose second moments are averaged
RATE = 1e-6  # of the steps whose effect on the loss is measured


def check_contract(engine, config, step_at_random=False):
    """AssertionError, which names the point, where `engine`, a class, breaks the contract at a config of two neurons.

    With `step_at_random` the engine draws a part of its step beside the gradient, as gram does; then point 5 is left out.
    """
    for blocks in ({}, {"momentum": 0.9}, {"target_momentum": 0.9}, {"momentum": 0.9, "target_momentum": 0.9}):
        of_blocks = dataclasses.replace(config, **blocks)
        configs = [of_blocks.reseeded(*seeds) for seeds in SEEDS]
        _starts_and_records(engine, configs)
        _draws_by_seed_and_step(engine, configs)
        _keeps_its_state(engine, configs)
        _raises_nothing(engine, of_blocks)
        _mixes_its_blocks(engine, configs)
    assert isinstance(engine.together(config), int) and engine.together(config) >= 1, "point 8"
    _has_the_moments_of_the_population(engine, config)
    _has_a_target_for_view_2(engine, dataclasses.replace(config, target_momentum=0.9))
    if not step_at_random:
        _descends(engine, [config.reseeded(*seeds) for seeds in SEEDS])


def _starts_and_records(engine, configs):
    """A target starts as a copy of the weights, a momentum at 0."""
    started, copies = engine(configs), [float(block != "momentum") for block in configs[0].blocks]
    for s, config in enumerate(configs):
        overlaps, factor = reduced_state(config)
        gram = np.kron(np.outer(copies, copies), factor @ factor.T)
        rows = np.concatenate([copy * overlaps for copy in copies])
        np.testing.assert_allclose(started.overlaps[s], rows, atol=1e-14, err_msg="points 1 and 2")
        np.testing.assert_allclose(started.gram[s], gram, atol=1e-14, err_msg="points 1 and 2")


def _draws_by_seed_and_step(engine, configs):
    together, m = engine(configs), configs[0].m
    at_5, at_2 = together.moments(5), together.moments(2)
    assert at_5.shape == (len(configs), 2 * m, 2 * m) and at_5.dtype == np.float64, "point 4"
    assert np.array_equal(together.moments(5), at_5), "point 4: the batch is no function of seed and step"
    assert not np.array_equal(at_5, at_2) and not np.array_equal(at_5[0], at_5[1]), "point 4: batches are the same"
    for s, config in enumerate(configs):
        assert np.array_equal(engine([config]).moments(5)[0], at_5[s]), "point 7"


def _keeps_its_state(engine, configs):
    one, other, S, m, J = engine(configs), engine(configs), len(configs), configs[0].m, len(configs[0].blocks)
    other.moments(0)
    other.descend(np.ones((S, m, 2 * m)), *_some_step(J))
    for name, array in one.arrays.items():
        assert array.dtype == np.float64 and array.shape[:2] == (S, J * m), "point 3"
        array[...] = other.arrays[name]
    assert np.array_equal(one.moments(1), other.moments(1)), "point 3: the arrays are not all of the state"
    assert np.array_equal(one.gram, other.gram) and np.array_equal(one.overlaps, other.overlaps), "point 3"


def _some_step(J):
    """A (J, J) and b (J,) without a zero."""
    rng = np.random.default_rng(J)
    return rng.uniform(0.2, 1.0, (J, J)), rng.uniform(0.05, 0.1, J)


def _mixes_its_blocks(engine, configs):
    """Without a gradient a step is A alone; and the gradient goes to every block in proportion to b."""
    stepped, S, m, J = engine(configs), len(configs), configs[0].m, len(configs[0].blocks)
    A, b = _some_step(J)
    mixed, overlaps, gram = np.kron(A, np.eye(m)), stepped.overlaps.copy(), stepped.gram.copy()
    stepped.moments(0)
    stepped.descend(np.zeros((S, m, 2 * m)), A, b)
    np.testing.assert_allclose(stepped.overlaps, mixed @ overlaps, atol=1e-12, err_msg="point 5: A")
    np.testing.assert_allclose(stepped.gram, mixed @ gram @ mixed.T, atol=1e-12, err_msg="point 5: A")
    stepped.moments(1)
    still = stepped.overlaps.copy()
    stepped.descend(np.ones((S, m, 2 * m)), np.eye(J), b)
    moved = (still - stepped.overlaps).reshape(S, J, m, -1)
    assert np.abs(moved).max() > 1e-6, "point 5: b"
    np.testing.assert_allclose(moved / b[:, None, None], np.broadcast_to(moved[:, :1] / b[0], moved.shape), rtol=1e-8,
                               atol=1e-10, err_msg="point 5: b")


def _has_the_moments_of_the_population(engine, config):
    """In units of sigma, about the means of N samples, which leaves (N - 1) / N of a covariance (docs/theory.md, eq. 5)."""
    started = engine([config])
    scale = (config.batch_size - 1) / config.batch_size
    expected = scale * population.output_covariance(config, started.overlaps[0], started.gram[0]) / config.sigma**6
    m, C = config.m, np.array([started.moments(step)[0] for step in range(STEPS)])
    assert agrees(C[:, :m, :m], expected) and agrees(C[:, m:, m:], expected), "point 4: the moments"


def _has_a_target_for_view_2(engine, config):
    """A target at a distance from the weights: second moments as the population has them (docs/theory.md, eq. 55)."""
    started, m, J = engine([config]), config.m, len(config.blocks)
    A = np.eye(J)
    A[1, 0], A[1, 1] = 0.2, -0.7  # from a copy of the weights, to half of them and the other way
    started.moments(0)
    started.descend(np.zeros((1, m, 2 * m)), A, np.zeros(J))
    own, other = slice(m), slice(m, 2 * m)
    expected = target.second_moments(config, started.overlaps[0, own], started.gram[0, own, own],
                                     started.overlaps[0, other], started.gram[0, other, other])
    C = np.array([started.moments(step)[0] for step in range(STEPS)])
    scale = (config.batch_size - 1) / config.batch_size
    blocks = (own, own), (own, other), (other, other)
    for rows, columns in blocks:
        assert agrees(C[:, rows, columns], scale * expected[rows, columns]), "point 4: the target"


def _descends(engine, configs):
    """A step along the gradient g changes the loss by -lr |g|^2; with the upper rows alone the target is data."""
    objective, m, E = objectives.make("simsiam", stop_gradient=False), configs[0].m, np.eye(configs[0].m) + 0.2

    def after(lr, change=lambda mixing: mixing):
        stepped = engine(configs)
        mixing = objective.loss_and_grad(stepped.moments(0), np.tile(E, (len(configs), 1, 1)))[1].mixing
        stepped.descend(change(mixing), np.eye(1), np.array([lr]))
        losses = objective.loss_and_grad(stepped.moments(0), E)[0]
        return losses, np.concatenate([array.reshape(len(configs), -1) for array in stepped.arrays.values()], axis=1)

    (up, further), (down, nearer) = after(-RATE), after(RATE)
    gradient = (further - nearer) / (2 * RATE)
    np.testing.assert_allclose((up - down) / (2 * RATE), (gradient**2).sum(axis=1), rtol=1e-5, err_msg="point 5")
    _, target_is_data = after(RATE, lambda mixing: mixing[:, :m])
    _, target_is_still = after(RATE, lambda mixing: mixing * (np.arange(2 * m) < m)[:, None])
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
