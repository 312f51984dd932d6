"""A report word for word, and as data: what is printed, where, and under which name.

`golden_report.txt` is what the report of a run made by hand must be, and `golden_report_brief.txt` what is printed of it; numbers
in it that a formula gives in one line are worked out again below, so that the text is not only what it was.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from stories import no, s, story, w

from simsim import check_theorems, folder
from simsim.ends import BOTH
from simsim.report import FAIL, PASS, UNLIKELY
from simsim.report.seen import DECAY_FROM

GOLDEN = Path(__file__).with_name("golden_report.txt")
DATA = dict(alpha_weak=6.0, alpha_ratio=10.0, sigma=3.0, d=10**6, patches=10, feature_patches=4, seed=3, init_seed=17,
            lr=0.01, head_lr=0.005, batch_size=500)
END = 0.99
ROWS = [(0.03, no / 2, no / 3, -no / 3, 0, 0), (s, no, no / 3, -no / 3, 0.002, 1e-6), (s, no, no / 3, -no / 3, 0.01, 0.2),
        (s, no, no / 3, -w, 0.02, 0.15), (s, no, no / 3, -w, 0.001, 0.003), (END, no, no / 3, -END, 1e-5, 4e-5),
        (END, no, no / 3, -END, 1e-6, 1.3e-6), (END, no, no / 3, -END, 1e-7, 4.2e-8)]


@pytest.fixture
def run():
    """Three decades after phase IV, in which E_21 falls as t^(-1.489); eq. 13 has drifted in one row."""
    run = story(ROWS, **DATA)
    gram = run.gram.copy()
    gram[4] *= 1.1
    changed = dataclasses.replace(run, gram=gram)
    vars(changed)["start_was_given"] = False
    return changed


@pytest.fixture
def report(run):
    beside = [*ROWS[:3], (s, no, no, -w, 0.03, 0.1), *ROWS[4:]]
    return check_theorems(run, story(beside, engine="flow", **DATA))


def test_the_report_word_for_word(report):
    assert f"{report.full()}\n" == GOLDEN.read_text()
    assert f"{report}\n" == GOLDEN.with_name("golden_report_brief.txt").read_text()


def test_numbers_of_the_report_by_hand(run, report):
    by_claim = {check.claim: check for check in report}
    alphas, start = np.array([60.0, 6.0]) / 3.0, np.abs(run.overlaps[0])
    sizes = "; ".join(f"neuron {j + 1}: {alphas[0] * start[j, 0]:.3g}, {alphas[1] * start[j, 1]:.3g}" for j in (0, 1))
    assert report.details[0] == f"start: alpha_l |a_jl| / sigma = {sizes}"
    off = np.array([0.003, 0.001])  # |E_21|, |E_12| in row 4; kappa = 1/2
    squares = (run.overlaps[4] ** 2).sum(axis=1) + run.gram[4].diagonal()
    drift = np.abs(squares + 6 * (off[::-1] ** 2 - off**2) * [1, 1] - 1)
    assert report.details[1].endswith(f"w_1 {drift[0]:.2g}, w_2 {drift[1]:.2g}")
    ceiling = np.sqrt(0.5 / 3)
    bound = by_claim["|E_21| <= sqrt(kappa/3) ||w_2(0)||"]
    assert bound.words.predicted == f"<= {ceiling:.3g} (eq. 13)"
    assert bound.words.measured == f"0.2, {0.2 / ceiling:.2g} of it: weak evidence"
    slope = np.polyfit([0, 1, 2], np.log10([4e-5, 1.3e-6, 4.2e-8]), 1)[0]
    assert by_claim["|E_21| ~ t^(-3/2) after IV"].words.measured == f"{slope:.3f}" and DECAY_FROM == 10
    residual = by_claim["Thm 1  ||eps_j|| = O~(ln(d)/sqrt(d))"]
    assert residual.rule == f"<= {np.log(10**6) / 10**3:.2g}" and residual.predicted == np.log(10**6) / 10**3
    assert residual.words.measured == "w_1 {:.2g}, w_2 {:.2g}".format(*np.sqrt(run.norms[-1] ** 2 - END**2))
    assert by_claim["Thm 1  |beta_j| = Theta(1)"].words.measured == "w_1 0.99 of {:.2g}, w_2 0.99 of {:.2g}".format(*run.norms[-1])


def test_a_decay_is_held_to_its_tolerance():
    """The exponent of E_21 over two decades, -3/2 within .15: .14 off is well, .16 is not."""
    for exponent, verdict in ((-1.64, PASS), (-1.36, PASS), (-1.66, UNLIKELY), (-1.34, UNLIKELY)):
        late = [(END, no, no / 3, -END, 0, 4e-5 * 10.0 ** (exponent * row)) for row in range(3)]
        found = {check.claim: check.verdict for check in check_theorems(story([*ROWS[:5], *late], **DATA))}
        assert found["|E_21| ~ t^(-3/2) after IV"] == verdict, exponent


def test_noise_is_held_to_a_factor_of_two():
    """Of the law (30) by hand: x^-4 = 4 c t with c = 180 mu12 nu / (mu11^2 (alpha a)^6), strengths over sigma."""
    P, k, t = 10, 4, 0.01 * 10**6
    mu12, nu = k * (k - 1) * P / (4 * (P - 1)), (P - k) / 2
    mu11 = k * k / 2 - mu12
    law = np.array([(4 * t * 180 * mu12 * nu / (mu11**2 * alpha**6)) ** -0.25 for alpha in (4.0, 2.0)])
    options = {**DATA, "alpha_ratio": 2.0}
    for engine, miss in (("gram", UNLIKELY), ("flow", FAIL)):
        for factor, verdict in ((1.9, PASS), (1 / 1.9, PASS), (2.1, miss), (1 / 2.1, miss)):
            a = np.array([brentq(lambda a: np.sqrt(1 - a * a) - factor * one * a**1.5, 1e-9, 1) for one in law])  # ||w|| = 1
            rows = [*ROWS[:5], *[(a[0], 0.0, 0.0, -a[1], 0, 4e-5 * 10 ** (-1.5 * row)) for row in range(3)]]
            run = story(rows, engine=engine, **options)
            gram = run.gram.copy()
            gram[-1] = np.diag(1 - a * a)
            report = check_theorems(dataclasses.replace(run, gram=gram, status=BOTH if engine == "flow" else 0))
            assert {check.claim: check.verdict for check in report}["noise left in w_j ~ t^(-1/4)"] == verdict, (engine, factor)


def test_the_report_as_data(tmp_path, run, report):
    """Every field under its own name, and phases with them."""
    folder.write_results(tmp_path, run, report)
    data = json.loads((tmp_path / "report.json").read_text())
    assert set(data) == {"title", "story", "hypotheses", "wanted", "checks", "details", "remarks", "phases", "missing"}
    assert (tmp_path / "report.txt").read_text() == GOLDEN.read_text()
    steps = {name: None if end is None else end["step"] for name, end in data["phases"].items()}
    assert steps == {"strong_learned": 1, "substituted": 10, "weak_learned": 100, "head_returned": 1000}
    assert data["phases"]["weak_learned"]["time"] == pytest.approx(1.0)
    assert data["missing"] == {} and data["title"] == report.title and data["remarks"] == report.remarks
    fields = ("claim", "rule", "predicted", "measured", "flow", "due", "unit", "ratio", "verdict", "wants", "words", "brief")
    assert [tuple(check) for check in data["checks"]] == [fields] * len(report) and data["story"] == report.story
    for told, check in zip(data["checks"], report):
        assert told["words"] == {name: getattr(check.words, name) for name in ("predicted", "measured", "flow", "due")}
        assert all(told[name] == getattr(check, name) for name in ("claim", "rule", "unit", "ratio", "verdict", "wants", "brief"))
        for name in ("predicted", "measured", "flow", "due"):
            number = getattr(check, name)
            number = None if number == np.inf else number  # JSON has no infinity: a feature that is never learned
            assert told[name] == (list(number) if isinstance(number, tuple) else number), (check.claim, name)

    assert [one["holds"] for one in data["hypotheses"]] == [True] * len(report.hypotheses)


def test_numbers_of_a_check_are_those_of_its_words(run, report):
    """Times in steps, shares, peaks: worked out from the rows of the story."""
    by_claim = {check.claim: check for check in report}
    one = by_claim["I    a neuron learns v_1"]
    assert (one.measured, one.flow, one.unit) == (1.0, 1.0, "steps") and one.predicted == np.inf  # x = 3
    three = by_claim["III  the other neuron learns v_2"]
    assert three.measured == 100 and three.predicted == np.inf and one.ratio is three.ratio is None
    limit = {check.claim: check for check in check_theorems(story(ROWS, engine="flow", **DATA))}
    for claim, time, law in ((one.claim, 0.01, 0.0227), (three.claim, 1.0, 1.56e10)):  # in the flow, without noise
        assert limit[claim].measured == time and limit[claim].predicted == pytest.approx(law, rel=0.05)
        assert limit[claim].ratio == time / limit[claim].predicted
    assert by_claim["|E_21| rises and falls"].measured == (0.2, 4.2e-8)
    assert by_claim["|E_12| << |E_21|, at their peaks"].measured == pytest.approx(0.1)
    assert by_claim["I    the head is still near I"].measured == pytest.approx(0.002 / 0.2)
    assert by_claim["II   v_1 by the head, and how long"].measured == (pytest.approx(1, abs=1e-3), pytest.approx(9))
    assert by_claim["Cor 2  effective rank of phi"].ratio == pytest.approx(1, abs=1e-6)
    assert by_claim["|E_21| <= sqrt(kappa/3) ||w_2(0)||"].predicted == pytest.approx(np.sqrt(0.5 / 3))
    assert by_claim["|E_21| <= sqrt(kappa/3) ||w_2(0)||"].measured == pytest.approx(0.2)
    assert by_claim["fate of this start"].ratio is None and by_claim["Cor 2  |corr(phi_1, phi_2)|"].ratio is None
    assert by_claim["Thm 1  ||eps_j|| = O~(ln(d)/sqrt(d))"].due == pytest.approx(5.3e14, rel=0.05)
