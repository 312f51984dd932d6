"""The report's verdicts: for every claim a run that passes it, and runs that do not."""

import dataclasses

import numpy as np
import pytest
from stories import COLLAPSE, FOUR_PHASES, TOUCH, no, s, story, w

from simsim import Config, Trajectory, check_theorems, find_phases, flow, laws, simulate, theory
from simsim.report import FAIL, NOT_REACHED, OUTSIDE, PASS, UNLIKELY, Hypothesis
from simsim.report.seen import Seen
from simsim.report.verdicts import exact, with_high_probability

ONE = "I    a neuron learns v_1"
TWO, EXTENT = "II   the head brings v_1 to the other", "II   v_1 by the head, and how long"
THREE, FOUR = "III  the other neuron learns v_2", "IV   the head returns to I"
LEFT, EACH, FATE = "max |E_off| at T_3 over its peak", "Thm 1  a neuron for each feature", "fate of this start"
PAIR, RANK = "Cor 2  |corr(phi_1, phi_2)|", "Cor 2  effective rank of phi"
RISE, ASYMMETRY, BOUND = "|E_21| rises and falls", "|E_12| << |E_21|, at their peaks", "|E_21| <= sqrt(kappa/3) ||w_2(0)||"
BETA, DECAY = "Thm 1  |beta_j| = Theta(1)", "|E_21| ~ t^(-3/2) after IV"
ALL, FATES = "Thm 3  every neuron ends on v_1", "fate of each neuron for this start"
SAME, RANK_ONE = "Cor 4  min |corr(phi_i, phi_j)|", "Cor 4  effective rank of phi"
# As two neurons at d = 1e8: v_1 to be learned at step 1, E_21 below its bound of .58.
OF_THEOREM_1 = (TWO, EXTENT, THREE, FOUR, EACH, PAIR, RANK, RISE, ASYMMETRY, BETA)


def verdicts(run):
    """Verdict by claim."""
    return {check.claim: check.verdict for check in check_theorems(run)}


# ---- what a verdict can be ------------------------------------------------------------------

def test_a_claim_with_high_probability():
    holds, fails = Hypothesis("h", "x < 1", "0", True), Hypothesis("h", "x < 1", "2", False)
    assert with_high_probability(True, 0.9, [holds]) == PASS
    assert with_high_probability(True, 0.1, [holds]) == PASS
    assert with_high_probability(False, 0.9, [holds]) == UNLIKELY
    assert with_high_probability(False, None, [holds]) == UNLIKELY
    assert with_high_probability(False, 0.1, [holds]) == OUTSIDE  # d is too small for the claim to describe anything
    assert with_high_probability(None, 0.9, [holds]) == NOT_REACHED
    assert {with_high_probability(happened, 0.9, [holds, fails]) for happened in (True, False, None)} == {OUTSIDE}


def test_an_exact_law_can_be_broken_in_the_limit_only():
    assert [exact(True, True), exact(False, True), exact(False, False), exact(None, True)] == [
        PASS, FAIL, UNLIKELY, NOT_REACHED]


# ---- trained head -------------------------------------------------------------------------------

def test_report_of_the_four_phases():
    run = story(FOUR_PHASES)
    report, found = check_theorems(run), verdicts(run)
    assert {found[claim] for claim in OF_THEOREM_1 if claim != BETA} == {PASS} and found[BOUND] == PASS
    assert all(hypothesis.holds for hypothesis in report.hypotheses)
    assert "predicted" in str(report) and report.title in str(report) and "kappa <= 1 asked" in str(report)


def test_laws_for_a_large_d_are_called_so_where_d_is_small():
    far, near = (check_theorems(story(FOUR_PHASES, d=d)) for d in (10**8, 50))
    assert all(hypothesis.holds for hypothesis in far.hypotheses) and "large d)" not in str(far)
    later = [check.predicted for check in near if check.claim in (TWO, THREE)]
    assert len(later) == 2 and all(text.endswith(": large d)") for text in later)


def test_outside_the_hypotheses_no_claim_of_theorem_1_is_judged():
    for options in (dict(head_lr=0.011), dict(alpha_ratio=2.0, alpha_weak=20.0)):
        run = story(FOUR_PHASES, **options)
        found = verdicts(run)
        assert {found[claim] for claim in OF_THEOREM_1} == {OUTSIDE}
        assert "DOES NOT HOLD" in str(check_theorems(run))
        assert not check_theorems(run).failed


def test_a_start_that_drowns_the_noise_is_outside():
    rows = np.array(FOUR_PHASES)
    rows[0, 2] = 0.026  # alpha_1 a_21 / sigma = 1.04
    assert verdicts(story(rows))[EACH] == OUTSIDE
    rows[0, 2] = 0.024
    assert verdicts(story(rows))[EACH] == PASS


def test_report_of_a_collapse():
    found = verdicts(story(COLLAPSE))
    assert {found[claim] for claim in OF_THEOREM_1} == {UNLIKELY}
    below = verdicts(story(COLLAPSE, d=100))  # eq. 25: one in seven succeeds
    assert {below[claim] for claim in OF_THEOREM_1} == {OUTSIDE}


def test_the_chance_is_said():
    by_claim = {check.claim: check for check in check_theorems(story(COLLAPSE, d=100))}
    rate = laws.success_rate(story(COLLAPSE, d=100).config)
    assert by_claim[EACH].predicted == f"in {100 * rate:.3g} % of starts (eq. 25)"
    assert not check_theorems(story(COLLAPSE, d=100)).hypotheses[-1].holds


def test_phase_two_in_name_only():
    touched = verdicts(story(TOUCH, feature_patches=6))
    assert touched[TWO] == touched[EXTENT] == UNLIKELY
    still_on = verdicts(story(TOUCH[:3], feature_patches=6))
    assert still_on[TWO] == still_on[EXTENT] == NOT_REACHED


def test_the_weak_feature_before_the_head_is_not_the_claimed_order():
    early = [FOUR_PHASES[0], (s, no, no, w, 0, 0), (s, no, no, w, 0, 0)]
    found = verdicts(story(early))
    assert found[TWO] == found[THREE] == found[FOUR] == found[RISE] == UNLIKELY
    assert found[EACH] == PASS


def test_the_head_is_judged_by_itself():
    """Phase IV fails where III is long over and the head has stayed up; before that it is open."""
    stays = FOUR_PHASES[:4] + [(s, no, no, w, 0, 0.041)] * 2
    assert verdicts(story(stays))[FOUR] == FAIL
    assert verdicts(story(stays[:4]))[FOUR] == NOT_REACHED
    before = FOUR_PHASES[:3] + [(s, no, no, no, 0, 0.02), (s, no, no, w, 0, 0.01)]
    assert verdicts(story(before))[FOUR] == PASS
    assert verdicts(story(before[:4]))[FOUR] == NOT_REACHED  # back, but nobody knows yet what for


def test_what_is_left_of_the_head():
    run = simulate(Config(engine="flow", d=10**8, lr=1.0, head_lr=1.0, feature_patches=4, init_seed=1))
    assert verdicts(run)[LEFT] == verdicts(run)[DECAY] == PASS
    head = run.head.copy()
    third = np.flatnonzero((run.shares[:, :, 1] >= 0.5).any(axis=1))[0]
    off = ~np.eye(2, dtype=bool)
    head[third][off] *= 0.5
    assert verdicts(dataclasses.replace(run, head=head))[LEFT] == UNLIKELY
    head = run.head.copy()
    late = run.time[third:] / run.time[third]
    head[third:, off] *= late[:, None] ** -0.5  # decays as 1 / t^2
    assert verdicts(dataclasses.replace(run, head=head))[DECAY] == FAIL


def test_the_fate_of_a_start():
    lost = [(no, no, 0.0099, no, 0, 0), (s, no, no, no, 0, 0), (s, no, s, no, 0, 0)]  # a tie for v_1: no time for a head
    check = {check.claim: check for check in check_theorems(story(lost))}[FATE]
    assert check.predicted == "v_1 and v_1 (eq. 25)" and check.verdict == PASS
    found = [(no, no, 0.0099, no, 0, 0), *FOUR_PHASES[1:]]
    assert verdicts(story(found))[FATE] == UNLIKELY
    assert verdicts(story(FOUR_PHASES[:2]))[FATE] == NOT_REACHED


def test_the_fate_of_a_start_with_a_symmetric_head():
    """Eq. 41: the smaller the weak overlap of neuron 2, the more neuron 1 is drawn to v_2 as well."""
    signs = [(no, no, no / 2, no / 2, 0, 0), *FOUR_PHASES[1:]]
    tempted = [(no, no, no / 2, no / 9, 0, 0), *FOUR_PHASES[1:]]
    calm, drawn = ({check.claim: check for check in check_theorems(story(rows, head="symmetric"))}[FATE]
                   for rows in (signs, tempted))
    assert (calm.predicted, calm.verdict) == ("v_1 and v_2 (eq. 41: large d)", PASS)
    assert (drawn.predicted, drawn.verdict) == ("one neuron takes both (eq. 41: large d)", UNLIKELY)
    assert FATE not in verdicts(story(signs, head="symmetric", stop_gradient=False))


def test_a_bound_is_judged_by_itself():
    over = [check_theorems(story(FOUR_PHASES, head_lr=0.001, engine=engine)) for engine in ("flow", "gram")]
    found = [{check.claim: check.verdict for check in report}[BOUND] for report in over]  # sqrt(0.1 / 3) = 0.18 < 0.4
    assert found == [FAIL, UNLIKELY] and over[0].failed and not over[1].failed  # steps of SGD drift from eq. 13
    collapsed = {check.claim: check for check in check_theorems(story([*COLLAPSE[:2], (s, no, s, no, 0, 0.05)]))}
    assert collapsed[BOUND].verdict == PASS and "0.087 of it: weak evidence" in collapsed[BOUND].measured
    # What the column of E takes, eq. 13 allows the row in addition.
    lent = FOUR_PHASES[:3] + [(s, no, no, w, 0.4, 0.6), (s, no, no, w, 0.3, 0.01)]
    assert verdicts(story(lent))[BOUND] == PASS
    assert verdicts(story([*lent[:3], (s, no, no, w, 0.0, 0.6), lent[4]], engine="flow"))[BOUND] == FAIL


def test_the_head_must_be_lopsided():
    even = FOUR_PHASES[:3] + [(s, no, no, w, 0.21, 0.4), (s, no, no, w, 0.01, 0.01)]
    assert verdicts(story(even))[ASYMMETRY] == UNLIKELY
    even[3] = (s, no, no, w, 0.19, 0.4)
    assert verdicts(story(even))[ASYMMETRY] == PASS


def test_short_weights():
    """|beta_2| is a third of ||w_2||: not the main part yet, and the output is pure already."""
    rows = np.array(FOUR_PHASES)
    rows[3:, 3] = 0.3
    assert verdicts(story(rows, alpha_weak=20.0, alpha_ratio=4.0))[BETA] == NOT_REACHED
    assert verdicts(story(FOUR_PHASES[:4] + FOUR_PHASES[-1:]))[BETA] == PASS


def test_report_of_a_run_too_short():
    report = check_theorems(story(FOUR_PHASES[:1]))
    assert {check.verdict for check in report} == {NOT_REACHED}
    assert not report.failed


# ---- phase I and the frozen head -------------------------------------------------------------------

def test_a_start_that_has_learned_already_shows_no_phase_one():
    check = check_theorems(story([FOUR_PHASES[1], FOUR_PHASES[2]]))[0]
    assert check.verdict == NOT_REACHED and "starts with it" in check.measured


def test_a_neuron_bound_for_the_weak_feature_is_not_expected_on_the_strong_one():
    report = check_theorems(story([(1e-4, 0.3, 1e-4, 0.3, 0, 0)] * 8, head="frozen"))
    assert report[0].predicted == "never (eq. 14)" and report[0].verdict == NOT_REACHED
    assert report[2].predicted == "v_2, v_2 (eq. 14)"


def test_a_time_far_from_its_law_fails():
    late = [FOUR_PHASES[0]] * 6 + [FOUR_PHASES[1]]
    assert check_theorems(story(late, lr=1.0, head_lr=1.0, engine="flow"))[0].verdict == FAIL
    assert check_theorems(story(late, lr=1.0))[0].verdict == UNLIKELY  # batches are finite


def test_what_is_long_overdue_fails():
    """v_1 is due by eq. 14 long before step 10^6; from a start with less of it, later."""
    faint = (1e-4, 1e-6, 1e-4, 1e-6, 0, 0)
    for engine, verdict in (("flow", FAIL), ("gram", UNLIKELY)):
        assert check_theorems(story([FOUR_PHASES[0]] * 8, engine=engine))[0].verdict == verdict
        assert check_theorems(story([faint] * 8, engine=engine))[0].verdict == NOT_REACHED


def test_a_time_below_one_step_is_not_overdue_after_the_first():
    at_once = (0.02, no, no, no, 0, 0)  # v_1 is due in a fraction of a step of .01
    assert 0 < phase_one_by_law(story([at_once] * 2)) < 0.005
    assert check_theorems(story([at_once] * 2))[0].verdict == NOT_REACHED


def phase_one_by_law(run):
    return min(theory.FrozenNeuron(run.config, a, norm).time_to_share(0.5) for a, norm in zip(run.overlaps[0], run.norms[0]))


def test_a_trained_head_may_bring_v_2_first():
    """Both neurons are bound for v_2: eq. 14 says never, and the head may say otherwise."""
    bound_for_weak = [(1e-4, 0.02, 1e-4, 0.01, 0, 0), (s, no, no, no, 0, 0)]
    trained = check_theorems(story(bound_for_weak, engine="flow"))[0]
    assert trained.verdict == OUTSIDE and "learns v_2 first" in trained.predicted
    assert check_theorems(story(bound_for_weak, engine="flow", head="frozen"))[0].verdict == FAIL
    real = flow.follow(Config(engine="flow", alpha_ratio=2.0, lr=1.0, init_seed=142))
    assert find_phases(real).strong_learned and check_theorems(real)[0].verdict == OUTSIDE


def test_report_of_a_frozen_head():
    found = verdicts(story(COLLAPSE, head="frozen"))
    assert found[ALL] == found[FATES] == found[SAME] == found[RANK_ONE] == PASS
    open_still = verdicts(story(COLLAPSE[:2], head="frozen"))
    assert open_still[ALL] == open_still[FATES] == open_still[SAME] == NOT_REACHED


def test_report_of_a_frozen_head_that_parts_the_neurons():
    parted = [(no, no, no, 0.4, 0, 0), (s, no, no, w, 0, 0)]
    found = verdicts(story(parted, head="frozen"))
    assert found[ALL] == found[SAME] == found[RANK_ONE] == UNLIKELY and found[FATES] == UNLIKELY
    few = verdicts(story(parted, head="frozen", alpha_ratio=2.0, alpha_weak=20.0))  # m < alpha_1 / alpha_2 is asked
    assert few[ALL] == few[SAME] == few[RANK_ONE] == OUTSIDE and few[FATES] == PASS
    limit = dataclasses.replace(story(parted, head="frozen", engine="flow"), batch_loss=np.full(2, np.nan))
    assert verdicts(limit)[FATES] == FAIL


# ---- the flow beside -----------------------------------------------------------------------------------

def test_one_measure_for_the_run_and_for_the_flow():
    run = story(FOUR_PHASES)
    flow = story(FOUR_PHASES[:3] + [(s, no, no, w, 0.7, 0.5), *FOUR_PHASES[4:]], engine="flow")
    by_claim, alone = ({check.claim: check for check in report}
                       for report in (check_theorems(run, flow), check_theorems(flow)))
    assert all(check.flow for check in by_claim.values()) and by_claim.keys() == alone.keys()
    assert by_claim[RISE].flow.startswith("0.5 at step 100") and by_claim[RISE].measured.startswith("0.4 at step 100")
    timeless = [claim for claim, check in alone.items() if "t = " not in check.measured]
    assert len(timeless) > len(alone) / 2
    assert all(alone[claim].measured == by_claim[claim].flow for claim in timeless)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("head", ["trained", "frozen"])
def test_reports_of_other_sizes(m, head):
    T, overlaps = 3, np.full((3, m, 2), 0.01)
    overlaps[1:, 0, 0] = 0.9
    config = Config(m=m, head=head, alpha_weak=2.0)
    run = Trajectory(config, np.arange(T), np.arange(T) * config.lr, overlaps,
                     np.broadcast_to(np.eye(m), (T, m, m)), np.broadcast_to(np.eye(m), (T, m, m)), np.zeros(T))
    report = check_theorems(run)
    assert report[0].verdict in (PASS, UNLIKELY) and "neuron 1" in report[0].measured
    if head == "trained":
        assert {check.verdict for check in report[1:]} <= {OUTSIDE, NOT_REACHED, PASS}


def test_an_end_without_all_features_is_known_from_the_certificate_alone():
    """A start whose features are not held: open while the flow runs, settled with any certified end."""
    run = story(FOUR_PHASES[:1], engine="flow")
    told = {status: Seen(dataclasses.replace(run, status=status), find_phases(run), None, None, False).divided
            for status in flow.VERDICTS}
    assert {status for status, divided in told.items() if divided is False} == set(flow.CERTIFIED)
    assert {told[status] for status in (flow.TIMED_OUT, flow.GAVE_UP)} == {None}
    assert Seen(story(FOUR_PHASES, engine="flow"), find_phases(story(FOUR_PHASES)), 0, 1, False).divided


# ---- other objectives, other heads, more features -----------------------------------------------------------

def of(**options):
    """A short run of another kind."""
    return simulate(Config(**{"steps": 20, "batch_size": 32, "d": 12, "lr": 1e-4, **options}))


OTHERS = [dict(features=3), dict(features=1), dict(features=3, m=3), dict(objective="barlow", head="trained"),
          dict(stop_gradient=False), dict(batch_norm=False), dict(head="free-diagonal"), dict(head="symmetric"),
          dict(head="random"), dict(head="random", head_diagonal="free", m=1), dict(head="directcopy", m=3), dict(head="directpred")]


@pytest.mark.parametrize("options", OTHERS, ids=str)
def test_theorem_1_does_not_speak_of_other_settings(options):
    run = of(**options)
    report = check_theorems(run)
    broken = [hypothesis.name for hypothesis in report.hypotheses if not hypothesis.holds]
    assert set(broken) & {"two features", "the paper's objective", "the paper's head"}
    for check in report:
        if check.claim.startswith(("II", "IV", "Thm 1", "Cor 2", "|E_12| <<")):
            assert check.verdict == OUTSIDE, check
    assert not any("eq. 2" in check.predicted or "eq. 18" in check.predicted for check in report)  # laws of two neurons


@pytest.mark.parametrize("options", [dict(objective="naive"), dict(objective="barlow"), dict(head="frozen", features=3),
                                     dict(head="frozen", batch_norm=False), dict(head="random", head_lr=0.0),
                                     dict(head="frozen", feature_patches=8)], ids=str)
def test_theorem_3_does_not_speak_of_other_settings(options):
    report = check_theorems(of(**options))
    if "features" not in options:
        assert not any("eq. 1" in check.predicted for check in report)  # (14) and (15)
    assert report[1].claim == ALL
    for check in report:
        if check.claim.startswith(("Thm 3", "Cor 4")):
            assert check.verdict == OUTSIDE, check


def test_the_story_of_three_features():
    """The strong feature is the first, the weak one the last, and all of them must be held."""
    T, overlaps = 2, np.full((2, 3, 3), 0.01)
    overlaps[1] += 0.9 * np.eye(3)
    config = Config(m=3, features=3, alpha_weak=2.0, d=10**6)
    run = Trajectory(config, np.arange(T), np.arange(T) * config.lr, overlaps, np.broadcast_to(0.1 * np.eye(3), (T, 3, 3)),
                     np.broadcast_to(np.eye(3), (T, 3, 3)), np.zeros(T))
    phases = find_phases(run)
    assert (phases.strong_neuron, phases.weak_neuron) == (0, 2) and phases.weak_learned.step == 1 and not phases.collapsed
    by_claim = {check.claim: check for check in check_theorems(run)}
    assert by_claim["III  neurons hold all 3 features"].measured == "step 1"
    assert "f_2: v_3 1.00" in by_claim[EACH].measured  # by its role neuron 2 is the one with the weak feature
    frozen = dataclasses.replace(run, config=Config(m=3, features=3, alpha_weak=2.0, d=10**6, head="frozen"))
    assert {check.claim: check for check in check_theorems(frozen)}[FATES].predicted == "v_1, v_1, v_1 (eq. 14)"


def test_the_bound_of_eq_13_needs_batch_norm_and_the_papers_head():
    assert verdicts(story(FOUR_PHASES, stop_gradient=False))[BOUND] == PASS  # (13) does not need stop-gradient
    assert verdicts(story(FOUR_PHASES, batch_norm=False))[BOUND] == OUTSIDE
    assert verdicts(story(FOUR_PHASES, head="symmetric"))[BOUND] == OUTSIDE


def test_the_title_says_what_ran():
    title = check_theorems(of(objective="barlow", barlow_lambda=0.1, features=3, strengths=(9, 3, 1))).title
    assert "barlow (lambda = 0.1), batch norm, no stop-gradient, head frozen" in title and "alpha = (9, 3, 1)" in title
