"""Studies: statistics against hand-computed values, claims that can fail, and every study on tables made by its laws.

Seeds are fixed. A statistical test that a correct program may fail states the probability of that.
"""

import json
import os

import numpy as np
import pytest
from scipy.stats import binom, norm

from simsim import laws, simulate, studies, sweeps, theory
from simsim.config import Config
from simsim.interrupts import Interrupts
from simsim.studies import FAIL, INCONCLUSIVE, PASS, STUDIES, command, plan, statistics
from simsim.studies.claims import Claim, exponent_is, rate_is, report
from simsim.studies.statistics import Estimate
from simsim.sweeps import outcome, table

FALSE_ALARM = 1e-6


# ---- statistics ----------------------------------------------------------------

def test_a_rate_has_wilsons_interval():
    k, n, z = 7, 20, norm.isf(0.025)
    middle, half = (k + z**2 / 2) / (n + z**2), z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    assert np.allclose(statistics.rate([True] * k + [False] * (n - k)), (k / n, middle - half, middle + half, n))
    assert statistics.rate([])[1:] == (0, 1, 0) and np.isnan(statistics.rate([]).value)
    assert np.isclose(statistics.simultaneous(10), 0.995)


def covers(interval_of, truth, repeats=400, at_least=0.95):
    """Whether intervals of 95 % cover the truth so often as not to contradict that, at FALSE_ALARM."""
    hits = sum(low <= truth <= high for low, high in (interval_of(np.random.default_rng(seed)) for seed in range(repeats)))
    return binom.cdf(hits, repeats, at_least) > FALSE_ALARM


def test_intervals_of_rates_cover_the_truth_and_those_of_another_rate_do_not():
    interval = lambda rng: statistics.rate(rng.random(60) < 0.3)[1:3]
    assert covers(interval, 0.3, at_least=0.93)  # Wilson's are right on average over rates, not at each [Brown et al. 2001]
    assert not covers(interval, 0.4, at_least=0.93)


def test_a_start_in_many_cells_counts_once():
    """Outcomes that are the same in all cells: a pooled interval does not cover the truth, this one does."""
    def interval(rng, pooled):
        outcomes = np.repeat(rng.random((50, 1)) < 0.3, 20, axis=1)
        return (statistics.rate(outcomes.ravel()) if pooled else statistics.shared_rate(outcomes))[1:3]
    assert covers(lambda rng: interval(rng, False), 0.3, at_least=0.93)
    assert not covers(lambda rng: interval(rng, True), 0.3, at_least=0.93)
    some = statistics.shared_rate([[1, np.nan], [0, 1], [1, 1]])
    assert np.isclose(some.value, 0.8) and some.n == 3
    assert np.allclose(statistics.shared_rate(np.ones((3, 9))), statistics.rate([True] * 3))


def test_a_mean_has_students_interval():
    assert np.allclose(statistics.mean([1, 2, 3]), (2, 2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3), 3))


def test_the_difference_of_rates_is_newcombes():
    one, two = [True] * 56 + [False] * 14, [True] * 48 + [False] * 32  # his example: 0.2 (0.0524 to 0.3339)
    assert np.allclose(statistics.difference(one, two)[:3], (0.2, 0.0524, 0.3339), atol=5e-5)


def test_kaplan_meier_by_hand():
    times, observed = [1, 2, 3, 4, 5], [True, False, True, True, False]
    curve = statistics.survival(times, observed)
    left = [4 / 5, 4 / 5 * 2 / 3, 4 / 5 * 2 / 3 / 2]  # 5, then 3, then 2 are at risk
    assert np.allclose(curve.evaluate([1, 3, 4]), left) and np.isclose(curve.evaluate(2.5), left[0])
    assert statistics.median_time(times, observed).value == 4
    assert statistics.median_time([1, 2, 3], [True, False, False]).value == np.inf


def censored_median(rng, keep_censored=True):
    times, ends = rng.exponential(1.0, 80), rng.exponential(1.5, 80)
    observed = times <= ends
    seen = np.minimum(times, ends)
    keep = observed | keep_censored
    return statistics.median_time(seen[keep], observed[keep])[1:3]


def test_medians_of_censored_times_cover_the_truth_and_without_the_censored_ones_they_do_not():
    assert covers(censored_median, np.log(2))
    assert not covers(lambda rng: censored_median(rng, keep_censored=False), np.log(2))


def test_the_log_rank_test_tells_laws_apart_and_accepts_one_law():
    def p_value(rng, scale):
        one, two, ends = rng.exponential(1, 60), rng.exponential(scale, 60), rng.exponential(2, (2, 60))
        return statistics.same_times(np.minimum(one, ends[0]), one <= ends[0], np.minimum(two, ends[1]), two <= ends[1])
    rejected = {scale: sum(p_value(np.random.default_rng(seed), scale) < 0.05 for seed in range(200)) for scale in (1, 4)}
    assert binom.sf(rejected[1], 200, 0.06) > FALSE_ALARM and rejected[4] > 190


def test_exponents():
    x = np.geomspace(1, 1e4, 9)
    for estimate in (statistics.exponent, statistics.robust_exponent):
        assert np.allclose(estimate(x, 3 * x**-0.375)[:3], -0.375)
    noisy = lambda rng: statistics.exponent(x, x**2 * np.exp(0.3 * rng.standard_normal(9)))[1:3]
    assert covers(noisy, 2.0) and not covers(noisy, 2.05)
    y = x**2.0
    y[-1] *= 1e6
    assert abs(statistics.robust_exponent(x, y).value - 2) < 1e-9 < abs(statistics.exponent(x, y).value - 2)


def test_pairs_take_out_what_starts_differ_in():
    rng = np.random.default_rng(1)
    x = np.array([1e4, 1e6, 1e8])
    y = x**2 * np.exp(4 * rng.standard_normal((40, 1)) + 0.1 * rng.standard_normal((40, 3)))
    y[3, 1] = np.nan
    pairs = statistics.paired_exponent(x, y)
    assert pairs.n == 39 and pairs.low < 2 < pairs.high and pairs.high - pairs.low < 0.05
    rest = np.delete(y, 3, axis=0)
    alone = statistics.exponent(np.tile(x, 39), rest.ravel())
    assert alone.high - alone.low > 5 * (pairs.high - pairs.low)
    assert not 1.9 < statistics.paired_exponent(x, y * x**0.2).value < 2.1


def test_the_median_of_few_has_no_interval():
    assert statistics.median([1, 2, 3, 4, 5])[:3] == (3, -np.inf, np.inf) and statistics.median([1, 2, 3, 4, 5, 6, np.nan]).n == 6
    sample = lambda rng: statistics.median(rng.exponential(1, 30))[1:3]
    assert covers(sample, np.log(2), repeats=60, at_least=0.93) and not covers(sample, 1.5, repeats=60, at_least=0.93)


def test_laws_are_rejected_when_they_are_wrong():
    ratios, m = np.array([1.5, 2.0, 5.0, 20.0]), 2
    overlaps, _ = plan.starts(plan.config_of(100, head="frozen"), range(4000))
    configs = [plan.config_of(100, head="frozen", alpha_ratio=ratio) for ratio in ratios]
    collapsed = [(theory.fates(config, overlaps) == 0).all(axis=1) for config in configs]
    counts, right = [int(some.sum()) for some in collapsed], [theory.collapse_probability(config) for config in configs]
    wrong = [(1 - 2 / np.pi * np.arctan(1 / ratio)) ** m for ratio in ratios]  # the power 1 in place of 3/2
    assert statistics.joint_p_value(counts, [4000] * 4, right) > FALSE_ALARM > statistics.joint_p_value(counts, [4000] * 4, wrong)
    rates = [statistics.rate(some) for some in collapsed]
    near, far = (statistics.worst_deviation(rates, law) for law in (right, wrong))
    assert near.low <= near.value <= near.high < 0.05 < far.low <= far.value


# ---- claims --------------------------------------------------------------------

@pytest.mark.parametrize("low, high, verdict", [(0.4, 0.6, PASS), (0.6, 0.8, INCONCLUSIVE), (0.0, 1.0, INCONCLUSIVE),
                                                (0.71, 0.8, FAIL), (0.1, 0.29, FAIL), (-np.inf, np.inf, INCONCLUSIVE)])
def test_a_claim_is_judged_by_its_whole_interval(low, high, verdict):
    claim = Claim("it is so", Estimate((low + high) / 2 if np.isfinite(low) else 0.5, low, high, 9), 0.3, 0.7)
    assert claim.verdict == verdict and json.loads(json.dumps(claim.to_dict(), allow_nan=False))["verdict"] == verdict
    assert verdict in report([claim]) and "0.3 to 0.7" in report([claim])


def test_claims_without_a_sample_are_inconclusive():
    assert rate_is("none", statistics.rate([]), 0.5).verdict == INCONCLUSIVE
    assert exponent_is("none", statistics.paired_exponent([1.0, 2.0], np.empty((0, 2))), 2).verdict == INCONCLUSIVE


# ---- studies, on tables in which their laws hold, or do not --------------------

def made(study, change):
    """The tables of a quick Study whose runs all succeed in about the way of `change(config, part)`, not computed.

    `change` returns what to put in the rows of a cell, whose seeds are part["init_seed"]: arrays by name.
    """
    tables = {}
    for name, (fields, seeds) in STUDIES[study].grids(True).items():
        grid = sweeps.Grid(fields, seeds)
        blank = {"status": "done", "message": "", "success": True, "collapsed": False, "times": [1.0, 2.0, 3.0, 4.0],
                 "observed": [True] * 4, "head_peak": 0.5, "head_end": 0.1, "head_left": 0.9,
                 "end": "dimensional collapse", "effective_rank": 1.0, "asymmetry": 1.4}
        rows = {key: {**blank, "fates": [1, 2, *[1] * (fields["m"] - 2)], "betas": [1.0] * fields["m"],
                      "residuals": [0.1] * fields["m"]} for key, fields in grid.runs()}
        tables[name] = table.columns(grid, rows)
        start = 0
        for cell in grid.cells:
            part = slice(start, start := start + len(grid) // len(grid.cells))
            seeds_of = tables[name]["init_seed"][part]
            for column, values in change(cell, seeds_of).items():
                tables[name][column][part] = values
    return tables


def verdicts(study, change, folder=None):
    """The verdicts on what `made` makes, by claim."""
    return {text: claim.verdict for text, claim in judged(study, change, folder).items()}


def judged(study, change, folder=None):
    """The claims on what `made` makes, by their text; the figure is drawn too."""
    records, claims = STUDIES[study].analyse(made(study, change), folder)
    columns, figure = table.of_records(records), a_figure()
    assert {name for name, column in columns.items() if column.dtype.kind not in "bif"} <= {"head", "kind", "engine", "variant"}
    STUDIES[study].draw(figure, columns)
    figure.canvas.draw()
    return {claim.text: claim for claim in claims}


def a_figure():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4))
    FigureCanvasAgg(figure)
    return figure


def only(found, word):
    (verdict,) = {verdict for text, verdict in found.items() if word in text}
    return verdict


def test_theorem_3_passes_by_its_law_and_fails_by_another(monkeypatch):
    def flows(config, seeds):
        fates = theory.fates(config, plan.starts(config, seeds)[0]) + 1
        return {"fate_1": fates[:, 0], "fate_2": fates[:, 1]}
    monkeypatch.setattr("simsim.studies.theorem_3.STARTS", 1000)
    found = verdicts("theorem-3", flows)
    assert only(found, "p-value") == PASS and only(found, "eq. 14") != FAIL
    monkeypatch.setattr(theory, "collapse_probability", lambda config: (1 - 2 / np.pi * np.arctan(1 / config.alpha_ratio)) ** config.m)
    found = verdicts("theorem-3", lambda config, seeds: {"fate_1": 2})
    assert set(found.values()) == {FAIL}


@pytest.mark.parametrize("study, where", [("theorem-1", "names, all"), ("diagram", "names, the whole map")])
def test_success_studies_agree_with_eq_25_and_fail_by_its_opposite(study, where, monkeypatch):
    monkeypatch.setattr(studies.diagram, "FINE", 5)
    right = lambda config, seeds: {"success": laws.succeeds(config, *plan.starts(config, seeds))}
    agreeing = only(judged(study, right), where)
    assert agreeing.estimate.value == 1 and agreeing.verdict != FAIL  # for a PASS a quick study has too few starts
    assert only(verdicts(study, lambda config, seeds: {"success": ~right(config, seeds)["success"]}), where) == FAIL


@pytest.mark.parametrize("power, verdict", [(0, PASS), (-0.5, FAIL)])
def test_phase_one(power, verdict):
    def change(config, seeds):
        law = theory.small_start_times(config, *plan.starts(config, seeds))[:, :, 0].min(axis=1)
        return {"time_1": law * (config.d / 1e6) ** power}
    found = verdicts("phase-1", change)
    assert only(found, "start by start") == verdict
    assert found["T_1 over eq. 16 at d = 1e+08"] == verdict and found["T_1 over eq. 16 at d = 1e+06"] == PASS


@pytest.mark.parametrize("power, verdict", [(0, PASS), (0.2, FAIL)])
def test_amplitude(power, verdict):
    def change(config, seeds):
        overlaps, noise = plan.starts(config, seeds)
        norms = np.sqrt((overlaps**2).sum(axis=-1) + noise**2)
        return {"head_peak": theory.head_bound(config, norms[:, 1]) * config.kappa**power}
    found = verdicts("amplitude", change)
    assert only(found, "kappa^(1/2)") == verdict and only(found, "kappa = 0.01") == verdict and only(found, "kappa = 1") == PASS


@pytest.mark.parametrize("factor, verdict", [(1.0, PASS), (1.3, FAIL)])
def test_phase_three(factor, verdict):
    def change(config, seeds):
        overlaps, noise = plan.starts(config, seeds)
        times = [laws.Acceleration(config, *start).time() for start in zip(overlaps, noise)]
        first = theory.small_start_times(config, overlaps, noise)[:, :, 0].min(axis=1)
        return {"time_3": factor * np.array(times), "time_1": first}
    found = verdicts("phase-3", change)
    assert {found[text] for text in found if "over eqs." in text} == {verdict}
    assert only(found, "alpha_1^9") == PASS  # a factor changes no power


@pytest.mark.parametrize("away, verdict", [(0.0, PASS), (0.1, FAIL)])
def test_phase_four(away, verdict, tmp_path):
    def change(config, seeds):
        law = np.array([laws.Acceleration(config, *start).head_left() for start in zip(*plan.starts(config, seeds))])
        return {"head_left": law - away, "time_4": 3.0 * (1 + away)}
    (tmp_path / "way/trajectories").mkdir(parents=True)
    found = verdicts("phase-4", change, tmp_path)
    assert only(found, "eq. 29") == verdict and only(found, "one event") == verdict and only(found, "t^(-3/2)") == INCONCLUSIVE


def test_the_power_of_the_return_is_read_off_trajectories(tmp_path):
    run = simulate(Config(engine="flow", d=10**6, lr=1.0, head_lr=1.0, init_seed=0))
    (folder := tmp_path / "trajectories").mkdir()
    run.save(folder / "key.npz")
    powers = studies.phase_four._powers(folder)
    assert list(powers) == [(10**6, 1.0)] and -1.6 < powers[10**6, 1.0][0] < -1.4


@pytest.mark.parametrize("head, verdict", [("trained", PASS), ("frozen", FAIL)])
def test_more_neurons(head, verdict):
    found = verdicts("neurons", lambda config, seeds: {"success": config.head == head})
    assert {found[text] for text in found if "more often" in text} == {verdict}


@pytest.mark.parametrize("right", [True, False])
def test_the_ablation(right):
    """Variants that end as they should, and, as the control, the other way round."""
    collapses = lambda config: config.head == "frozen" and config.objective == "simsiam" or not config.stop_gradient and \
        config.objective != "barlow"
    found = verdicts("ablation", lambda config, seeds: {"end": outcome.DIMENSIONAL if collapses(config) == right else outcome.ALL})
    assert only(found, "more learn both") == (PASS if right else FAIL)
    assert (only(found, "no stop-gradient") == FAIL) == (only(found, "as eq. 15 says") == FAIL) == (not right)


@pytest.mark.parametrize("by_eq_15, verdict", [(True, PASS), (False, FAIL)])
def test_unequal_frequencies(by_eq_15, verdict):
    """Frozen heads end on the frequent feature as eq. 15 says, or always do."""
    def change(config, seeds):
        if config.head == "trained":
            return {"fate_2": 2}
        fates = theory.fates(config, plan.starts(config, seeds)[0]) + 1 if by_eq_15 else np.ones((len(seeds), 2), int)
        return {"fate_1": fates[:, 0], "fate_2": fates[:, 1], "success": (fates[:, 0] != fates[:, 1])}
    found = verdicts("frequencies", change)
    assert {found[text] for text in found if "as eq. 15 at the effective ratio" in text} == {verdict}


@pytest.mark.parametrize("with_head", [True, False])
def test_unequal_patches(with_head):
    """Frozen neurons on the feature of more patches, trained ones apart, and, as the control, the other way round."""
    def change(config, seeds):
        gathered = (config.head == "frozen") == with_head
        more = 1 + int(np.argmax(config.patch_counts))
        return {"fate_1": more, "fate_2": more if gathered else 3 - more}
    found = verdicts("patches", change)
    assert {found[text] for text in found if "with a trained head" in text} == {PASS if with_head else FAIL}
    assert FAIL not in found.values() or not with_head
    assert {found[text] for text in found if "more predictable" in text} == {INCONCLUSIVE if with_head else FAIL}


@pytest.mark.parametrize("noise, euler, verdict", [(0.01, 0.0, PASS), (0.01, 3.0, FAIL)])
def test_sgd_beside_flow(noise, euler, verdict):
    """Deviations made of sampling noise ~ (lr / N)^(1/2) and, in the control, an error that no step size removes."""
    def change(config, seeds):
        if config.engine == "flow":
            return {}
        spread = noise * np.sqrt(config.lr / studies.sgd_flow.LR * 1536 / config.batch_size)
        signs = np.where(np.arange(len(seeds)) % 2, 1.0, -1.0)
        return {"beta_1": 1 + spread * signs + euler}
    found = verdicts("sgd-flow", change)
    assert only(found, "smallest step") == verdict and only(found, "(-1/2)") == only(found, "(1/2)") == PASS


# ---- carried out ---------------------------------------------------------------

def test_a_study_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = plan.Study("theorem-3", "a small one", "at once", lambda quick: {"flows": (
        {"engine": "flow", "head": "frozen", "d": 1000, "alpha_ratio": [2.0, 20.0], "m": 2}, range(3))},
        studies.theorem_3.analyse, studies.theorem_3.draw)
    monkeypatch.setitem(STUDIES, "theorem-3", small)
    monkeypatch.setattr("simsim.studies.theorem_3.STARTS", 300)
    assert command.main(["theorem-3", "--quick", "--workers", "1"], Interrupts()) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "runs/theorem-3-quick"
    assert set(os.listdir(folder)) == {"flows", "study.csv", "claims.json", "claims.txt", "figure.png"}
    assert out == (folder / "claims.txt").read_text() and err.count("\n") == 1
    assert len(np.genfromtxt(folder / "study.csv", delimiter=",", names=True)) == 12
    before = (folder / "flows/rows.jsonl").read_text()
    monkeypatch.setattr(theory, "collapse_probability", lambda config: 0.1)
    assert command.main(["theorem-3", "--quick", "--quiet"], Interrupts()) == 0  # nothing is computed again
    assert command.main(["theorem-3", "--quick", "--strict"], Interrupts()) == 1
    assert (folder / "flows/rows.jsonl").read_text() == before and "FAIL" in (folder / "claims.txt").read_text()
    for name in ("study.csv", "claims.txt", "figure.png"):  # as a kill after the first file leaves it
        (folder / name).unlink()
    assert command.main(["theorem-3", "--quick", "--quiet"], Interrupts()) == 0
    assert set(os.listdir(folder)) == {"flows", "study.csv", "claims.json", "claims.txt", "figure.png"}
    foreign = tmp_path / "elsewhere" / "figure.png"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    for name in ("elsewhere", folder):
        capsys.readouterr()
        assert command.main(["theorem-1" if name == folder else "theorem-3", "--quick", "--out", str(name)], Interrupts()) == 2
        assert "choose another folder" in capsys.readouterr().err
    assert foreign.read_text() == "mine" and os.listdir(foreign.parent) == ["figure.png"]


@pytest.mark.parametrize("words, reason", {"theorem-9": "invalid choice", "": "required", "theorem-3 --workers x": "positive",
                                           "theorem-3 --executor mpi": "dask:ADDRESS"}.items())
def test_bad_input_gets_one_line(words, reason, capsys):
    assert command.main(words.split(), Interrupts()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and reason in err


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("quick", [True, False])
def test_every_grid_can_be(name, quick):
    for fields, seeds in STUDIES[name].grids(quick).values():
        assert len(sweeps.Grid(fields, seeds)) > 0


def test_the_bound_for_what_was_never_seen():
    """Of n runs without a success: (1 - p)^n = .05, in closed form; and by the binomial law where some were seen."""
    assert statistics.at_most(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert binom.cdf(3, 50, statistics.at_most(3, 50)) == pytest.approx(0.05)
    assert statistics.at_most(0, 0) == statistics.at_most(7, 7) == 1
