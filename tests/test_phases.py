"""Phases on trajectories made by hand, where every answer is known."""

import pytest
from stories import COLLAPSE, FOUR_PHASES, TOUCH, no, s, story, w

from simsim import find_phases


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


