"""Trajectories of two neurons made by hand, inside the hypotheses of the theorems unless an option says otherwise."""

import by_hand
import numpy as np

from simsim import Config, Trajectory

UNLEARNED, STRONG_LEARNED, WEAK_LEARNED = 0.01, 0.9, 0.7
LEAST_NOISE = 0.01  # ||w_j^perp||^2 of a neuron whose overlaps take all of its norm


def story(rows, swap=False, **options):
    """A trajectory of two neurons; a row is (a_11, a_12, a_21, a_22, E_12, E_21), at steps 0, 1, 10, 100, ...

    The norms obey eq. 13, from 1 at step 0, as far as the overlaps leave room for it.
    """
    rows = np.array(rows, dtype=float)
    overlaps, head = rows[:, :4].reshape(-1, 2, 2), np.tile(np.eye(2), (len(rows), 1, 1))
    head[:, 0, 1], head[:, 1, 0] = rows[:, 4], rows[:, 5]
    if swap:
        overlaps, head = overlaps[:, ::-1], head[:, ::-1, ::-1]
    steps = np.concatenate([[0], 10 ** np.arange(len(rows) - 1)])
    config = Config(**{"alpha_weak": 2.0, "lr": 0.01, "head_lr": 0.01, "d": 10**8, **options})
    paid = 3 * (head[:, 1, 0] ** 2 - head[:, 0, 1] ** 2) / config.kappa if config.head == "trained" else 0 * steps
    squares = 1 + paid[:, None] * [1, -1]
    gram = (squares - (overlaps**2).sum(axis=2)).clip(LEAST_NOISE)[:, :, None] * np.eye(2)
    run = Trajectory(config, steps, 0.01 * steps, overlaps, gram, head, np.zeros(len(rows)))
    vars(run)["start_was_given"] = False  # a tale of a random start
    return run


s, w, no = STRONG_LEARNED, WEAK_LEARNED, UNLEARNED  # strong feature, weak feature, not learned
FOUR_PHASES = [(no, no, no / 9, no, 0, 0), (s, no, no, no, 0, 1e-6), (s, no, no, no, 0, 0.3), (s, no, no, w, 0, 0.4),
               (s, no, no, w, 0.01, 0.01)]
COLLAPSE = [(no, no, no, no, 0, 0), (s, no, no, no, 0, 0), (s, no, s, no, 0, 0)]
# Neuron 2 is about to learn v_1 by itself when the head adds a little: phase II in name only (6 of 8 feature patches).
TOUCH = [(no, no, no, no, 0, 0), (s, no, no, no, 0, 0), (s, no, 0.0295, no, 0, 1e-5), (s, no, s, no, 0, 1e-5)]
FLOW = Config(engine="flow", d=10**4, lr=1.0, head_lr=0.1, feature_patches=4, init_seed=3)  # one in which all four phases come


def strong_in_second_row(run, *beside):
    """The run, and those beside it, with the neuron that learns v_1 first in the run in the second row."""
    runs = run, *beside
    return runs if by_hand.roles(run) == [1, 0] else tuple(one.reordered([1, 0]) for one in runs)
