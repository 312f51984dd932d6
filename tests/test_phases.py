"""Phases on trajectories made by hand, where every answer is known."""

import by_hand
import numpy as np
import pytest
from stories import COLLAPSE, FOUR_PHASES, TOUCH, no, s, story, w

from simsim import Config, Trajectory, find_phases


@pytest.mark.parametrize("swap", [False, True])
def test_the_four_phases(swap):
    phases = find_phases(story(FOUR_PHASES, swap))
    assert [end.step for end in phases.ends()] == [1, 10, 100, 1000]
    assert [end.time for end in phases.ends()] == pytest.approx([0.01, 0.1, 1.0, 10.0])
    assert (phases.strong_neuron, phases.weak_neuron) == ((1, 0) if swap else (0, 1))
    assert not phases.collapsed and not phases.missing


@pytest.mark.parametrize("swap", [False, True])
def test_of_two_neurons_that_learn_in_the_same_row_the_purer_is_the_first(swap):
    rows = [(no, no, no, no, 0, 0), (0.5, no, s, no, 0, 0)]
    assert find_phases(story(rows, swap)).strong_neuron == (0 if swap else 1)


def test_collapse():
    phases = find_phases(story(COLLAPSE))
    assert phases.strong_learned.step == 1
    assert phases.ends()[1:] == (None, None, None)
    assert phases.collapsed
    assert all("collapsed" in phases.missing[name] for name in ("substituted", "weak_learned"))
    assert "not yet" in phases.missing["head_returned"]


def test_a_short_run_says_not_yet():
    phases = find_phases(story(FOUR_PHASES[:2]))
    assert phases.strong_learned and "not yet by step 1" in phases.missing["substituted"]
    phases = find_phases(story(FOUR_PHASES[:1]))
    assert phases.ends() == (None,) * 4 and phases.strong_neuron is None
    assert "no neuron until step 0" in phases.missing["strong_learned"]


def test_a_head_that_stays_up_does_not_return():
    rows = FOUR_PHASES[:4] + [(s, no, no, w, 0, 0.0401)]
    assert find_phases(story(rows)).head_returned is None
    rows[-1] = (s, no, no, w, 0, 0.0399)
    assert find_phases(story(rows)).head_returned.step == 1000


def test_the_head_returns_whatever_the_features_do():
    phases = find_phases(story(FOUR_PHASES[:3] + [(s, no, no, no, 0, 0)]))
    assert phases.head_returned.step == 100 and not phases.both_at_return and phases.weak_learned is None
    phases = find_phases(story(FOUR_PHASES))
    assert phases.head_returned.step == 1000 and phases.both_at_return


def test_both_features_at_the_return_means_those_of_both_neurons():
    forgot = FOUR_PHASES[:4] + [(no, no, no, w, 0.01, 0.01)]  # s has lost v_1 again
    assert not find_phases(story(forgot)).both_at_return


def test_the_return_counts_from_the_highest_peak():
    rows = [FOUR_PHASES[0], (s, no, no, no, 0, 1e-3), (s, no, no, no, 0, 1e-5), *FOUR_PHASES[2:]]
    assert find_phases(story(rows)).head_returned.step == 10_000


def test_the_head_may_be_back_before_the_weak_feature_is_learned():
    rows = FOUR_PHASES[:3] + [(s, no, no, no, 0, 0.02), (s, no, no, w, 0, 0.01)]
    phases = find_phases(story(rows))
    assert phases.head_returned.step == 100 and phases.weak_learned.step == 1000
    assert phases.head_left == pytest.approx(0.01 / 0.3)
    assert find_phases(story(FOUR_PHASES)).head_left == 1  # the peak is reached as III ends


def test_how_substantial_phase_two_was():
    phases = find_phases(story(FOUR_PHASES))
    assert phases.substitution.share > 0.99 and phases.substitution.lasted == pytest.approx(9)  # steps 10 to 100
    touch = find_phases(story(TOUCH, feature_patches=6)).substitution
    assert 0.5 <= touch.share < 0.7 and touch.lasted == pytest.approx(9)
    assert find_phases(story(COLLAPSE)).substitution is None


def test_phase_three_is_all_features_at_once_whoever_holds_them():
    exchanged = [FOUR_PHASES[0], (s, no, no, no, 0, 0), (no, w, s, no, 0, 0)]  # the first neuron goes over to v_2
    assert find_phases(story(exchanged)).weak_learned.step == 10
    both_weak = [FOUR_PHASES[0], (s, no, no, no, 0, 0), (no, w, no, w, 0, 0)]
    assert find_phases(story(both_weak)).weak_learned is None


def test_no_later_phase_ends_before_the_first():
    late = [FOUR_PHASES[0], (no, no, no, w, 0, 0.3), (s, no, no, w, 0, 0.3)]
    phases = find_phases(story(late))
    assert phases.strong_learned.step == phases.weak_learned.step == 10


def test_weak_without_substitution():
    phases = find_phases(story([(no, no, no, no, 0, 0), (s, no, no, w, 0, 0)]))
    assert phases.weak_learned.step == 1
    assert "without its help" in phases.missing["substituted"]


# ---- more than two neurons ----------------------------------------------------------------

def crowd(overlaps, heads, m):
    """A trajectory of m neurons and two features at steps 0, 1, 10, ...: overlaps (T, m, 2), {(j, i): E_ji} a row."""
    overlaps, T = np.array(overlaps, dtype=float), len(overlaps)
    gram = (1 - (overlaps**2).sum(axis=2)).clip(0.01)[:, :, None] * np.eye(m)
    head = np.tile(np.eye(m), (T, 1, 1))
    for row, entries in enumerate(heads):
        for place, value in entries.items():
            head[row][place] = value
    steps = np.concatenate([[0], 10 ** np.arange(T - 1)])
    config = Config(m=m, alpha_weak=2.0, lr=0.01, head_lr=0.01, d=10**8)
    return Trajectory(config, steps, 0.01 * steps, overlaps, gram, head, np.zeros(T))


NONE, STRONG, WEAK, PARTLY = (no, no), (s, no), (no, w), (no, 0.2)


def test_w_is_the_first_to_learn_the_weak_feature_even_if_it_forgets():
    rows = [[NONE] * 4, [NONE, NONE, NONE, STRONG], [NONE, NONE, WEAK, STRONG], [NONE, WEAK, NONE, STRONG]]
    phases = find_phases(crowd(rows, [{}] * 4, 4))
    assert (phases.strong_neuron, phases.weak_neuron) == (3, 2) and phases.order == (3, 2, 0, 1)


def test_w_is_the_nearest_to_the_weak_feature_at_the_end_if_none_learns_it():
    rows = [[NONE] * 4, [PARTLY, NONE, NONE, STRONG], [NONE, (no, 0.1), PARTLY, STRONG]]
    phases = find_phases(crowd(rows, [{}] * 3, 4))
    assert (phases.strong_neuron, phases.weak_neuron) == (3, 2)
    assert by_hand.of_run(crowd(rows, [{}] * 3, 4)).shares[-1, :, 1].argmax() == 2


@pytest.mark.parametrize("more, less", [(1, 2), (2, 1)])
def test_the_substituted_neuron_is_the_one_that_the_head_supplies_most(more, less):
    """Both are supplied at once; a third neuron, supplied more still, holds a feature of its own and is not one."""
    rows = [[NONE] * 4, [NONE, NONE, NONE, STRONG], [WEAK, NONE, NONE, STRONG], [WEAK, NONE, NONE, STRONG]]
    heads = [{}, {}, {(0, 3): 50.0, (more, 3): 0.5, (less, 3): 0.02}, {(more, 3): 0.3}]
    run = crowd(rows, heads, 4)
    found, state = find_phases(run), by_hand.of_run(run)
    assert found.substituted.step == 10 and found.substitution.neuron == more
    assert state.head_shares[2, more, 0] > state.head_shares[2, less, 0] > 0.5
    assert found.substitution.share == pytest.approx(state.head_shares[2:, more, 0].max(), rel=1e-12)


def test_substitution_ends_when_the_neuron_holds_a_feature_or_the_head_lets_go():
    rows = [[NONE] * 2, [STRONG, NONE], [STRONG, NONE], [STRONG, NONE], [STRONG, NONE]]
    heads = [{}, {}, {(1, 0): 0.3}, {(1, 0): 0.3}, {}]
    found = find_phases(crowd(rows, heads, 2)).substitution
    assert found.neuron == 1 and found.lasted == pytest.approx((1000 - 10) / 10)


def test_how_much_of_the_head_is_left_is_its_largest_entry_anywhere():
    rows = [[NONE] * 3, [NONE, NONE, STRONG], [NONE, NONE, STRONG], [NONE, WEAK, STRONG], [NONE, WEAK, STRONG]]
    heads = [{}, {}, {(1, 2): -0.4, (0, 1): 0.1}, {(1, 2): 0.1, (0, 1): -0.3}, {(0, 1): 0.03, (0, 2): 0.04}]
    found = find_phases(crowd(rows, heads, 3))
    assert found.head_left == pytest.approx(0.3 / 0.4) and found.head_returned.step == 1000
    assert find_phases(crowd(rows, [*heads[:4], {(0, 2): 0.041}], 3)).head_returned is None


def test_a_collapse_is_of_all_neurons_on_one_feature():
    ends = {(STRONG, STRONG, STRONG): True, (WEAK, WEAK, WEAK): True, (STRONG, STRONG, WEAK): False,
            (STRONG, STRONG, NONE): False}
    for end, collapsed in ends.items():
        assert find_phases(crowd([[NONE] * 3, end], [{}, {}], 3)).collapsed == collapsed


def test_the_first_neuron_is_not_substituted():
    """Its own prediction gets v_1 from another head entry when it has forgotten v_1 itself: that is no phase II."""
    rows = [[NONE] * 2, [NONE, STRONG], [STRONG, NONE], [STRONG, NONE]]
    assert find_phases(crowd(rows, [{}, {}, {(1, 0): 0.5}, {}], 2)).substituted is None
    assert find_phases(crowd(rows[:2] + [[NONE, STRONG]], [{}, {}, {(0, 1): 0.5}], 2)).substituted.step == 10


def test_one_feature_has_no_phase_three():
    """That one neuron holds it is phase I; nothing is divided."""
    overlaps = np.array([[[no], [no]], [[s], [no]]])
    config = Config(m=2, features=1, alpha_weak=2.0, alpha_ratio=1.0, lr=0.01, head_lr=0.01, d=10**8)
    run = Trajectory(config, [0, 1], [0, 0.01], overlaps, [np.eye(2)] * 2, [np.eye(2)] * 2, [np.nan, 1.0])
    found = find_phases(run)
    assert found.strong_learned.step == 1 and found.weak_learned is None and found.weak_neuron is None


def test_a_head_that_never_rose_does_not_return():
    found = find_phases(crowd([[NONE] * 2, [STRONG, NONE], [STRONG, WEAK]], [{}] * 3, 2))
    assert found.head_returned is None and found.head_left is None and found.weak_learned.step == 10


def test_a_head_that_cancels_noise_supplies_nothing_before_phase_one_ends():
    """Two neurons of one noise, F_2 = f_2 - f_1: v_1 is all of it, while no neuron holds v_1 yet."""
    overlaps = np.array([[[no, no], [0.001, 0.001]], [[0.02, no], [0.001, 0.001]], [[s, no], [0.001, 0.001]]])
    head = np.array([np.eye(2), [[1, 0], [-1, 1]], [[1, 0], [-1, 1]]])
    config = Config(m=2, alpha_weak=2.0, lr=0.01, head_lr=0.01, d=10**8)
    run = Trajectory(config, [0, 1, 10], [0, 0.01, 0.1], overlaps, np.ones((3, 2, 2)), head, np.zeros(3))
    state = by_hand.of_run(run)
    assert state.head_shares[1, 1, 0] > 0.9 and state.shares[1].max() < 0.5
    assert [end.step for end in find_phases(run).ends()[:2]] == [10, 10]
