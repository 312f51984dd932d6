"""Phases and verdicts on trajectories made by hand, where every answer is known."""

import numpy as np
import pytest

from simsim import Config, Trajectory, check_theorems, find_phases
from simsim.claims import FAIL, NOT_REACHED, PASS, effective_rank

UNLEARNED, LEARNED = 0.01, 0.9


def story(rows, swap=False, **options):
    """A trajectory of two neurons; a row is (a_11, a_12, a_21, a_22, E_12, E_21), at steps 0, 1, 10, 100, ..."""
    rows = np.array(rows, dtype=float)
    overlaps, head = rows[:, :4].reshape(-1, 2, 2), np.tile(np.eye(2), (len(rows), 1, 1))
    head[:, 0, 1], head[:, 1, 0] = rows[:, 4], rows[:, 5]
    if swap:
        overlaps, head = overlaps[:, ::-1], head[:, ::-1, ::-1]
    gram = (1 - (overlaps**2).sum(axis=2)).clip(0.01)[:, :, None] * np.eye(2)
    steps = np.concatenate([[0], 10 ** np.arange(len(rows) - 1)])
    config = Config(alpha_weak=2.0, **{"lr": 0.01, "head_lr": 0.01, **options})
    return Trajectory(config, steps, 0.01 * steps, overlaps, gram, head, np.zeros(len(rows)))


s, w, no = LEARNED, LEARNED, UNLEARNED
FOUR_PHASES = [(no, no, no, no, 0, 0), (s, no, no, no, 0, 1e-6), (s, no, no, no, 0, 0.3), (s, no, no, w, 0, 0.4),
               (s, no, no, w, 0.01, 0.01)]
COLLAPSE = [(no, no, no, no, 0, 0), (s, no, no, no, 0, 0), (s, no, s, no, 0, 0)]


@pytest.mark.parametrize("swap", [False, True])
def test_the_four_phases(swap):
    phases = find_phases(story(FOUR_PHASES, swap))
    assert [end.step for end in phases.ends()] == [1, 10, 100, 1000]
    assert [end.time for end in phases.ends()] == pytest.approx([0.01, 0.1, 1.0, 10.0])
    assert (phases.strong_neuron, phases.weak_neuron) == ((1, 0) if swap else (0, 1))
    assert not phases.collapsed and not phases.missing


def test_collapse():
    phases = find_phases(story(COLLAPSE))
    assert phases.strong_learned.step == 1
    assert phases.ends()[1:] == (None, None, None)
    assert phases.collapsed
    assert all("collapsed" in phases.missing[name] for name in ("substituted", "weak_learned", "head_returned"))


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


def test_a_head_that_returns_without_the_weak_feature_is_no_phase_four():
    rows = FOUR_PHASES[:3] + [(s, no, no, no, 0, 0)]
    assert find_phases(story(rows)).head_returned is None


def test_weak_without_substitution():
    phases = find_phases(story([(no, no, no, no, 0, 0), (s, no, no, w, 0, 0)]))
    assert phases.weak_learned.step == 1
    assert "without its help" in phases.missing["substituted"]


def test_report_of_the_four_phases():
    report = check_theorems(story(FOUR_PHASES))
    by_claim = {check.claim: check for check in report}
    for claim in ("II   the head brings v_1 to the other", "III  the other neuron learns v_2",
                  "IV   the head returns to I", "Thm 1  a neuron for each feature",
                  "Cor 2  max |corr(phi_i, phi_j)|", "|E_21| rises and falls"):
        assert by_claim[claim].verdict == PASS
    assert "predicted" in str(report) and report.title in str(report)
    assert by_claim["|E_21| <= sqrt(kappa/3) ||w_2(0)||"].verdict == PASS


def test_report_of_a_head_over_its_bound():
    report = check_theorems(story(FOUR_PHASES, head_lr=0.001))  # sqrt(0.1 / 3) = 0.18 < 0.4
    assert {check.claim: check.verdict for check in report}["|E_21| <= sqrt(kappa/3) ||w_2(0)||"] == FAIL
    assert report.failed


def test_report_of_a_collapse():
    trained = check_theorems(story(COLLAPSE))
    assert {check.claim: check.verdict for check in trained}["Thm 1  a neuron for each feature"] == FAIL
    frozen = {check.claim: check.verdict for check in check_theorems(story(COLLAPSE, head="frozen"))}
    assert frozen["Thm 3  every neuron ends on v_1"] == PASS
    assert frozen["Cor 4  min |corr(phi_i, phi_j)|"] == PASS


def test_report_of_a_frozen_head_that_parts_the_neurons():
    run = story([(no, no, no, 0.4, 0, 0), (s, no, no, w, 0, 0)], head="frozen")
    frozen = {check.claim: check.verdict for check in check_theorems(run)}
    assert frozen["Thm 3  every neuron ends on v_1"] == FAIL
    assert frozen["fate of each neuron for this start"] == FAIL or run.config.alpha_ratio**1.5 * no > 0.4
    assert frozen["Cor 4  min |corr(phi_i, phi_j)|"] == FAIL


def test_report_of_a_run_too_short():
    report = check_theorems(story(FOUR_PHASES[:1]))
    assert [check.verdict for check in report] == [NOT_REACHED] * len(report)
    assert not report.failed


def test_a_head_that_never_rose_has_not_returned():
    rows = [(no, no, no, no, 0, 0), (s, no, no, w, 0, 1e-9), (s, no, no, w, 0, 1e-12)]
    found = {check.claim: check.verdict for check in check_theorems(story(rows))}
    assert found["II   the head brings v_1 to the other"] == FAIL
    assert found["III  the other neuron learns v_2"] == PASS
    assert found["IV   the head returns to I"] == found["|E_21| rises and falls"] == NOT_REACHED
    assert found["Thm 1  a neuron for each feature"] == PASS


def test_a_start_that_has_learned_already_shows_no_phase_one():
    check = check_theorems(story([FOUR_PHASES[1], FOUR_PHASES[2]]))[0]
    assert check.verdict == NOT_REACHED and "starts with it" in check.measured


def test_a_neuron_bound_for_the_weak_feature_is_not_expected_on_the_strong_one():
    report = check_theorems(story([(1e-4, 0.3, 1e-4, 0.3, 0, 0)] * 8, head="frozen"))
    assert report[0].predicted == "never (eq. 14)" and report[0].verdict == NOT_REACHED
    assert report[2].predicted == "v_2, v_2 (eq. 14)"


def test_a_time_far_from_its_law_fails():
    late = story([FOUR_PHASES[0]] * 6 + [FOUR_PHASES[1]], lr=1.0)
    assert check_theorems(late)[0].verdict == FAIL


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("head", ["trained", "frozen"])
def test_reports_of_other_sizes(m, head):
    T, overlaps = 3, np.full((3, m, 2), UNLEARNED)
    overlaps[1:, 0, 0] = LEARNED
    config = Config(m=m, head=head, alpha_weak=2.0)
    run = Trajectory(config, np.arange(T), np.arange(T) * config.lr, overlaps,
                     np.broadcast_to(np.eye(m), (T, m, m)), np.broadcast_to(np.eye(m), (T, m, m)), np.zeros(T))
    phases = find_phases(run)
    assert phases.strong_learned.step == 1 and not phases.collapsed
    assert len(check_theorems(run)) >= 1


def test_effective_rank():
    assert effective_rank(np.eye(4)) == pytest.approx(4)
    assert effective_rank(np.ones((4, 4))) == pytest.approx(1)
    assert 1 < effective_rank(np.array([[1, 0.5], [0.5, 1]])) < 2
