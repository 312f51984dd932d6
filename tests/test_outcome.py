"""A run as one row: every number against the trajectory, or by hand."""

import dataclasses

import numpy as np
import pytest
from stories import COLLAPSE, FOUR_PHASES, story

from simsim import Config, flow, phases
from simsim.rates import Rate
from simsim.sweeps import outcome


def test_the_row_of_a_run_by_hand():
    run = story(FOUR_PHASES)  # |E_21| is .3, .4, .01 when II, III and IV end; E_12 = .01 in the last row
    row = outcome.of_run(run)
    assert row["times"] == pytest.approx([0.01, 0.1, 1.0, 10.0]) and row["observed"] == [True] * 4
    assert (row["head_peak"], row["head_end"], row["head_left"]) == (0.4, 0.01, 1.0)  # III ends at the peak
    assert row["asymmetry"] == pytest.approx(np.sqrt(2)) and run.asymmetry[-1] == 0  # at the peak, not at the end
    assert row["success"] and row["end"] == "all features" and row["fates"] == [1, 2] and not row["collapsed"]
    assert row["betas"] == [0.9, 0.7] and row["effective_rank"] == pytest.approx(2, abs=1e-3)
    early = [*FOUR_PHASES[:2], (*FOUR_PHASES[2][:5], 0.4), (*FOUR_PHASES[3][:5], 0.1), FOUR_PHASES[4]]
    assert outcome.of_run(story(early))["head_left"] == pytest.approx(0.25)  # .1 of .4 when III ends; at II it is all of it


def test_the_row_of_a_collapse_by_hand():
    row = outcome.of_run(story(COLLAPSE))
    assert not row["success"] and row["collapsed"] and row["fates"] == [1, 1]
    assert row["observed"] == [True, False, False, False] and row["times"] == pytest.approx([0.01, 0.1, 0.1, 0.1])
    assert row["head_left"] is None


def test_flows_of_one_batch_have_rows_of_their_own():
    """Seeds 0 to 5 end in different ways; the batch's rows are those of the flows one by one."""
    config, seeds = Config(engine="flow", d=1000, feature_patches=4, alpha_ratio=3.0, lr=1.0, head_lr=1.0), range(6)
    together = outcome.of_flow(config, flow.follow_many(config, seeds))
    alone = [outcome.of_run(flow.follow(dataclasses.replace(config, init_seed=seed))) for seed in seeds]
    assert len({row["end"] for row in together}) > 1 and len({round(row["effective_rank"], 3) for row in together}) > 1
    for ours, theirs in zip(together, alone):
        for name in ("success", "end", "fates", "observed", "collapsed"):
            assert ours[name] == theirs[name], name
        assert ours["effective_rank"] == pytest.approx(theirs["effective_rank"], rel=1e-4)
        assert ours["head_peak"] == pytest.approx(theirs["head_peak"], rel=1e-3)
        if ours["observed"][2]:
            assert ours["head_left"] == pytest.approx(theirs["head_left"], abs=2e-3)


def test_success_asks_for_a_neuron_of_its_own_in_sgd_as_well():
    """Neuron 2 with v_2 to 88 % and v_1 to 12 % of its variance: each feature is held, and it is no success."""
    mixed = [*FOUR_PHASES[:4], (0.9, 0.01, 0.025, 0.7, 0, 0.01)]
    run = story(mixed)
    assert (run.shares[-1] >= phases.LEARNED).any(axis=0).all() and 0.01 < run.shares[-1, 1, 0] < 0.5
    assert not outcome.of_run(run)["success"] and outcome.of_run(run)["end"] == "some features"


def test_a_rate_says_what_it_counts():
    """Wilson's interval at 95 % by its formula, z = 1.959964: 3 of 20 passed by all four phases, 5 ended with both features."""
    p, n, z = 3 / 20, 20, 1.959964
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    rate = Rate(successes=3, learned=5, runs=20)
    assert rate.interval() == pytest.approx((middle - half, middle + half), rel=1e-6)
    assert str(rate) == f"3 of 20 random starts (95 % interval {middle - half:.2g} to {middle + half:.2g})"
