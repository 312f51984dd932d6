"""Studies: statistics against hand-computed values, claims that can fail, and every study on tables made by its laws.

Seeds are fixed. A statistical test that a correct program may fail states the probability of that.
"""

import dataclasses
import json
import os
import sys
import types
import warnings
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
from scipy.stats import binom, norm

from simsim import laws, noise_laws, simulate, studies, sweeps, theory
from simsim.config import Config
from simsim.interrupts import Interrupts
from simsim.studies import FAIL, INCOMPLETE, INCONCLUSIVE, PASS, STUDIES, command, one_neuron, plan, regions, statistics
from simsim.studies.perform import judge
from simsim.studies.regions import exponent_is, rate_is, report, within
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


def test_a_median_lies_in_its_interval_to_the_last_bit():
    for value in np.random.default_rng(0).random(200) * 1e4:
        found = statistics.median(np.full(24, value), statistics.simultaneous(6))
        assert found.low <= found.value <= found.high


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
    assert statistics.mean([7]) == (7, -np.inf, np.inf, 1) and np.isnan(statistics.mean([]).value)


def test_the_difference_of_rates_is_newcombes():
    one, two = [True] * 56 + [False] * 14, [True] * 48 + [False] * 32  # his example: 0.2 (0.0524 to 0.3339)
    assert np.allclose(statistics.difference(one, two)[:3], (0.2, 0.0524, 0.3339), atol=5e-5)


def test_the_difference_of_pairs_is_newcombes():
    """His example for pairs (36, 12, 2, 0): 0.2 (0.0569 to 0.3404); a start of which one run failed does not count."""
    one, two = [1] * 48 + [0] * 2, [1] * 36 + [0] * 12 + [1] * 2
    found = statistics.paired_difference([*one, 1, np.nan], [*two, np.nan, 0])
    assert np.allclose(found[:3], (0.2, 0.0569, 0.3404), atol=5e-5) and found.n == 50
    assert statistics.paired_difference([np.nan], [1])[1:] == (-1, 1, 0)


def test_failed_runs_are_in_no_pair():
    table = {"status": np.array(["done", "failed", "done"])}
    found = plan.outcomes(table, np.array([True, True, False]))
    assert np.array_equal(found, [1, np.nan, 0], equal_nan=True)
    assert statistics.paired_difference(found, [1, 1, 1]).n == 2


def test_pairs_cover_the_truth_with_shorter_intervals():
    """Of starts that mostly end alike; the control is a truth that is another, and the interval for independent samples is wider."""
    def interval(rng, of):
        one = rng.random(80) < 0.3
        two = np.where(rng.random(80) < 0.8, one, rng.random(80) < 0.3)
        return of(one, two)[1:3]
    assert covers(lambda rng: interval(rng, statistics.paired_difference), 0.0, at_least=0.93)
    assert not covers(lambda rng: interval(rng, statistics.paired_difference), 0.12, at_least=0.93)
    width = [np.diff(interval(np.random.default_rng(3), of)).item() for of in (statistics.paired_difference, statistics.difference)]
    assert width[0] < 0.8 * width[1]


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
    claim = within("it is so", Estimate((low + high) / 2 if np.isfinite(low) else 0.5, low, high, 9), 0.3, 0.7)
    assert claim.verdict == verdict and json.loads(json.dumps(claim.to_dict(), allow_nan=False))["verdict"] == verdict
    assert verdict in report([claim]) and "0.3 to 0.7" in report([claim])


def test_claims_without_a_sample_are_inconclusive():
    assert rate_is("none", statistics.rate([]), 0.5).verdict == INCONCLUSIVE
    assert exponent_is("none", statistics.paired_exponent([1.0, 2.0], np.empty((0, 2))), 2).verdict == INCONCLUSIVE


def with_status(*statuses):
    """A table of runs of which only this is known."""
    return {"status": np.array(statuses)}


def test_a_claim_whose_runs_failed_is_not_judged():
    """Up to 5 % may fail, of each table that the claim rests on; a claim that asks for no run is judged."""
    claim = rate_is("half of them", statistics.rate(4000 * [True, False]), 0.5)
    few, many, all_there = (with_status(*["failed"] * k, *["done"] * (100 - k)) for k in (5, 6, 0))
    for tables, verdict, failed in (((), PASS, 0), ((all_there,), PASS, 0), ((few,), PASS, 5), ((few, many), INCOMPLETE, 6),
                                    ((many, all_there, all_there, all_there), INCOMPLETE, 6)):
        resting = claim.on(*tables)
        assert resting.verdict == verdict and verdict in report([resting]), tables
        assert ("6 of 100 runs failed; judged up to 5%" in report([resting])) == (verdict == INCOMPLETE)
        assert resting.to_dict()["sample"]["failed"] == failed
    assert "PASS (5 of 100 runs failed)" in report([claim.on(few)])
    wrong = rate_is("all of them", statistics.rate(4000 * [True, False]), 0.9)
    assert wrong.on(few).verdict == FAIL and wrong.on(many).verdict == INCOMPLETE


def failing(tables, part, rng):
    """The tables with this part of the runs of every cell failed, at random, but one of each; columns as of such runs."""
    for runs in tables.values():
        size = len(set(zip(runs["seed"].tolist(), runs["init_seed"].tolist())))
        failed = np.zeros(len(runs["d"]), dtype=bool)
        for first in range(0, len(failed), size):
            failed[first + rng.permutation(size)[:min(round(part * size), size - 1)]] = True
        runs["status"] = np.where(failed, "failed", runs["status"])
        for name, column in runs.items():
            if name not in plan.FIELDS and column.dtype.kind in "bf" and name != "kappa":
                column[failed] = False if column.dtype.kind == "b" else np.nan
    return tables


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_which_runs_failed_judges_nothing_that_rests_on_them(name, tmp_path, monkeypatch):
    """Whatever part failed, and however the others ended, there is a table and a figure; with all runs there, other verdicts."""
    monkeypatch.setattr(studies.diagram, "FINE", 4)
    monkeypatch.setattr("simsim.studies.theorem_3.STARTS", 100)
    (tmp_path / "way/trajectories").mkdir(parents=True)
    for part, chance in ((0.0, 0.5), (0.5, 0.5), (0.97, 0.0), (0.97, 1.0)):
        rng = np.random.default_rng(3)
        tables = made(name, lambda config, seeds: {"success": rng.random(len(seeds)) < chance})
        records, found = judge(STUDIES[name], failing(tables, part, rng), tmp_path)
        figure = a_figure()
        with warnings.catch_warnings():  # as `perform` does
            warnings.simplefilter("ignore")
            STUDIES[name].draw(figure, table.of_records(records))
            figure.canvas.draw()
        of_runs = [claim for claim in found if claim.sample.runs]
        assert of_runs and {claim.verdict == INCOMPLETE for claim in of_runs} == {part > 0}
        assert all(claim.verdict in report(found) for claim in found)


def test_claims_rest_on_their_own_cells(tmp_path):
    """Of theorem-1 runs fail at the fastest head only: what is claimed of the slow one is judged."""
    tables = made("theorem-1", lambda config, seeds: {})
    part = (tables["success"]["kappa"] == 1.0) & (tables["success"]["init_seed"] < 10)
    tables["success"]["status"][part] = "failed"
    found = {claim.claim.split(",")[0]: claim for claim in judge(STUDIES["theorem-1"], tables, tmp_path)[1]}
    assert found["kappa = 0.1"].sample.failed == 0 and found["kappa = 0.1"].verdict != INCOMPLETE
    assert found["kappa = 1: success at d = 1e+08 stays below 1"].verdict == INCOMPLETE
    tables["success"]["status"][tables["success"]["kappa"] == 1.0] = "failed"
    with pytest.raises(sweeps.SweepError, match="sweep success, d = 100, head_lr = 1.0: all 40 runs failed.*--redo-failed"):
        judge(STUDIES["theorem-1"], tables, tmp_path)


# ---- studies, on tables in which their laws hold, or do not --------------------

def made(study, change, quick=True):
    """The tables of a Study whose runs all succeed in about the way of `change(config, part)`, not computed.

    `change` returns what to put in the rows of a cell, whose seeds are part["init_seed"]: arrays by name.
    """
    tables = {}
    for name, (fields, seeds) in STUDIES[study].grids(quick).items():
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
    return {claim.claim: claim for claim in claims}


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
    monkeypatch.setattr(theory, "collapse_probability",
                        lambda config: (1 - 2 / np.pi * np.arctan(1 / config.alpha_ratio)) ** config.m)
    found = verdicts("theorem-3", lambda config, seeds: {"fate_1": 2})
    assert set(found.values()) == {FAIL}


@pytest.mark.parametrize("study, where", [("theorem-1", "names, all"), ("diagram", "names, the whole map")])
def test_success_studies_agree_with_eq_25_and_fail_by_its_opposite(study, where, monkeypatch):
    monkeypatch.setattr(studies.diagram, "FINE", 5)
    right = lambda config, seeds: {"success": laws.succeeds(config, *plan.starts(config, seeds))}
    agreeing = only(judged(study, right), where)
    assert agreeing.measured == 1 and agreeing.verdict != FAIL  # for a PASS a quick study has too few starts
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


# ---- studies of finite batches ---------------------------------------------------

def noise_of(config):
    """(Learning of eq. 58, its blur, the probability to learn by the last step) of a cell, as the studies have them."""
    return one_neuron.law({name: np.array([getattr(config, name)]) for name in (*one_neuron.FIELDS, "lr", "steps")})


def learned(chance, seeds):
    """{"observed_1"} of a cell in which this part of the runs learn v_1."""
    return {"observed_1": np.arange(len(seeds)) < round(chance * len(seeds))}


def test_one_neuron_has_the_x_it_is_asked_for_and_ends_in_time():
    start = one_neuron.start_of(100, 14, 4.0, 32)
    for x in (0.2, 3.0):
        fields = one_neuron.cell(start, x)
        one, _, chance = noise_of(Config(**fields))
        assert one.x == pytest.approx(x, rel=1e-5) and fields["lr"] == float(f"{fields['lr']:.6g}")
        latest = min(1.75 * one.time, 8 * one.flow_time)
        assert fields["steps"] * fields["lr"] == pytest.approx(latest, abs=fields["lr"]) and 0 < chance < 1
    assert one_neuron.cell(start, 0.2, horizon=2.0)["steps"] == round(2 * one.flow_time / one_neuron.cell(start, 0.2)["lr"])


def test_a_horizon_takes_runs_away_and_a_late_one_does_not():
    """Against eq. 60 for ever, and nothing learned before the drift alone could."""
    for_ever = float(noise_laws.learning_probability(0.4, 0.03))
    chances = [one_neuron.by_horizon(0.4, 0.03, time, 32) for time in (0.3, 2.0, 8.0, 1e6)]
    assert chances == sorted(chances) and chances[0] < 0.05 and chances[-1] == pytest.approx(for_ever, abs=1e-2)
    drift = noise_laws.of_batch(8, 4, 32).drift
    clock = (1 - (1 + 2 * 0.4 * 2.0 * drift) ** -0.5) / 0.4  # where the flow is then, over T_1
    assert chances[1] == pytest.approx(float(noise_laws.learning_probability(1 / clock, 0.03)), abs=1e-9)


@pytest.mark.parametrize("law, verdict", [("eq. 60", PASS), ("sharp", FAIL)])
def test_the_threshold_passes_by_its_law_and_fails_without_a_walk(law, verdict):
    def change(config, seeds):
        one, _, chance = noise_of(config)
        return learned(chance if law == "eq. 60" else one.x < 1, seeds)
    found = verdicts("sgd-threshold", change)
    assert only(found, "as eq. 60 says") == verdict and only(found, "control") == verdict
    assert only(found, "largest") != PASS


@pytest.mark.parametrize("sharper, verdict", [(160, PASS), (80, FAIL)])
def test_the_threshold_that_is_sharper_at_the_larger_d(sharper, verdict):
    def change(config, seeds):
        return learned(noise_of(config)[0].x < 1 if config.d == sharper else 0.5, seeds)
    found = verdicts("sgd-threshold", change)
    assert {found[text] for text in found if "at d = 160 than at 80" in text} == {verdict}


@pytest.mark.parametrize("power, verdict", [(5.0, PASS), (6.0, FAIL)])
def test_samples_grow_by_a_power_at_one_norm(power, verdict):
    def change(config, seeds):
        norm = plan.starts(config, [config.init_seed])[1][0, 0]
        samples = 1e-3 * config.d**power * norm**8 * (1 + 0.01 * np.linspace(-1, 1, len(seeds)))
        return {"time_1": samples * config.lr / config.batch_size}
    found = verdicts("sgd-samples", change)
    claims = ("medians of those", "the same from d = 57 on", "at x = 0.1 from d = 57 on")
    assert [only(found, text) for text in claims] == [verdict] * 3
    assert only(found, "norms of the starts left in") == PASS


@pytest.mark.parametrize("part, verdict", [(1.0, PASS), (0.5, FAIL)])
def test_samples_at_a_step_at_which_nearly_all_learn(part, verdict):
    """A power of its own at the smaller x, and the part that learns there; at the best x nearly none does."""
    def change(config, seeds):
        safe = noise_of(config)[0].x < 0.2
        samples = 1e-3 * config.d ** (5.0 if safe else 8.0) * plan.starts(config, [config.init_seed])[1][0, 0] ** 8
        return {"time_1": samples * (1 + 0.01 * np.linspace(-1, 1, len(seeds))) * config.lr / config.batch_size,
                **(learned(part, seeds) if safe else {})}
    found = verdicts("sgd-samples", change)
    assert only(found, "part that learns") == verdict and only(found, "medians of those") == FAIL
    assert only(found, "at x = 0.1 from d = 57 on") == PASS


@pytest.mark.parametrize("factor, verdict", [(1.0, PASS), (1.3, FAIL)])
def test_samples_beside_eq_59(factor, verdict):
    """Those that learn; of the others the time is not one."""
    def change(config, seeds):
        times = factor * noise_of(config)[0].time * (1 + 0.01 * np.linspace(-1, 1, len(seeds)))
        return {"time_1": np.where(np.arange(len(seeds)) % 3, times, 1e9), "observed_1": np.arange(len(seeds)) % 3 > 0}
    assert only(verdicts("sgd-samples", change), "over eq. 59") == verdict


@pytest.mark.parametrize("right", [True, False])
def test_theorem_1_in_sgd(right):
    """Both features in the flow, and in SGD with the larger batch or, as the control, with the smaller one."""
    def change(config, seeds):
        return {"observed_3": True if config.engine == "flow" else (config.batch_size == 1024) == right}
    found = verdicts("sgd-theorem-1", change)
    assert only(found, "more often at tau") == (PASS if right else FAIL)
    assert only(found, "as often as the flow") == (INCONCLUSIVE if right else FAIL)


@pytest.mark.parametrize("right, verdict", [(True, INCONCLUSIVE), (False, FAIL)])
def test_outcomes_of_sgd_that_eq_87_names(right, verdict):
    """Each start's outcome as the law has it, or the other way round; twenty starts decide no PASS."""
    def change(config, seeds):
        if config.engine == "flow":
            return {}
        three = [laws.noise(dataclasses.replace(config, init_seed=int(seed))).phase_three for seed in seeds]
        return {"observed_3": [(one is not None and one.steps <= config.steps) == right for one in three]}
    claim = only(judged("sgd-theorem-1", change), "outcomes named")
    assert claim.verdict == verdict and claim.measured == right and 5 < claim.sample.n <= 16


@pytest.mark.parametrize("helps", [False, True])
def test_decay_that_helps_and_decay_that_does_not(helps):
    """Learned below 1 of eq. 66, or, as the control, with decay alone."""
    def change(config, seeds):
        one, decay = noise_of(config)[0], config.weight_decay
        x = noise_laws.decay_criticality(one.x, decay, one.flow_time / noise_laws.of_batch(8, 4, config.batch_size).drift)
        return learned(decay > 0 if helps else x < 1, seeds)
    found = verdicts("sgd-decay", change)
    assert only(found, "x > 1.2") == (FAIL if helps else INCONCLUSIVE) and only(found, "x < 0.6") == (FAIL if helps else PASS)


@pytest.mark.parametrize("own_n, verdict", [(True, PASS), (False, FAIL)])
def test_batches_that_know_their_own_size(own_n, verdict):
    """Times by eq. 58 with (57), or by eta / N alone."""
    alone = noise_of(Config(**one_neuron.cell(one_neuron.start_of(*studies.batch.START, 128), 0.2)))[0].time
    def change(config, seeds):
        one, _, chance = noise_of(config)
        return {**learned(chance, seeds), "time_1": (one.time if own_n else alone) * (1 + 0.001 * np.linspace(-1, 1, len(seeds)))}
    found = verdicts("batch", change)
    assert only(found, "over (57)") == only(found, "control") == verdict and only(found, "as eq. 60 says") == PASS


def test_an_exponent_of_medians():
    """Their power exactly; covered as often as it should be, and another one not; none for samples that are too small."""
    x = np.array([1.0, 10.0, 100.0])
    exact = statistics.exponent_of_medians(x, [[3 * each**-2.5] * 9 + [1e30] * int(each == 100) for each in x])  # and an outlier
    assert np.allclose(exact[:3], -2.5) and exact.n == 9
    noisy = lambda rng: statistics.exponent_of_medians(x, [each**2 * np.exp(rng.standard_normal(15)) for each in x])[1:3]
    assert covers(noisy, 2.0, repeats=60, at_least=0.93) and not covers(noisy, 2.4, repeats=60, at_least=0.93)
    few = statistics.exponent_of_medians(x, [[1.0] * 9, [1.0, np.nan, 1.0], [1.0] * 9])
    assert few.value == 0 and few.n == 2 and np.isneginf(few.low) and np.isposinf(few.high)
    assert np.isnan(statistics.exponent_of_medians(x, [[1.0] * 9, [], [1.0] * 9]).value)


# ---- what is claimed, and of what ----------------------------------------------

REGIONS = {
    "ablation": """
        d = 10000: more learn both with the head than without: 0.05 to 1
        d = 10000: frozen head, as eq. 15 says: -0.0358 to 0.0642
        d = 10000: no stop-gradient: none learns both: 0 to 0.05
        d = 10000: a symmetric head learns as often (source: it should not): -0.05 to 1
        d = 10000: Barlow Twins needs no head: -0.05 to 1
        d = 10000: no batch norm: all weights vanish: 0.99 to 1
        d = 10000: a free diagonal changes no outcome: 0.95 to 1
        SGD, this start: both features with the head: 0.8 to 1
        SGD, this start: frozen head: 0 to 0.2
        SGD, this start: no stop-gradient: 0 to 0.2
        SGD, this start: no batch norm: 0 to 0.2
        SGD: the head at its peak is lopsided: 1 to 2""",
    "theorem-1": """
        kappa = 0.1, a slow head: success at d = 1e+08: 0.95 to 1
        kappa = 1: success at d = 1e+08 stays below 1: 0 to 0.95
        largest |success - eq. 19| at d = 1e+08, all kappa: 0 to 0.05
        outcomes that eq. 25 names, all d and kappa: 0.95 to 1
        outcomes that eq. 25 names, kappa <= 1 (as Theorem 1 asks): 0.95 to 1""",
    "theorem-3": """
        largest |collapse rate - eq. 15| of all cells: 0 to 0.05
        eq. 15 holds in all cells: p-value: 0.001 to 1
        integrated flows in which both neurons end where eq. 14 says: 0.99 to 1""",
    "diagram": """
        outcomes that eq. 25 names, kappa <= 1: 0.95 to 1
        outcomes that eq. 25 names, the whole map: 0.95 to 1
        success rate - eq. 25, mean over the map: -0.05 to 0.05""",
    "phase-1": """
        T_1 ~ d^2, start by start: 1.9 to 2.1
        T_1 ~ d^2, medians of all starts: 1.9 to 2.1
        the same by Theil and Sen, whom an outlier does not move: 1.9 to 2.1
        T_1 over eq. 16 at d = 1e+04: 0.9 to 1.1
        T_1 over eq. 16 at d = 1e+06: 0.9 to 1.1
        T_1 over eq. 16 at d = 1e+08: 0.9 to 1.1""",
    "amplitude": """
        peak |E_21| ~ kappa^(1/2), start by start: 0.45 to 0.55
        peak over sqrt(kappa/3) ||w_2(0)||, kappa = 0.01: 0.9 to 1.1
        peak over sqrt(kappa/3) ||w_2(0)||, kappa = 0.1: 0.9 to 1.1
        peak over sqrt(kappa/3) ||w_2(0)||, kappa = 1: 0.9 to 1.1
        largest peak over that bound (exact while E_12 is small): 0.9 to 1""",
    "phase-3": """
        T_3 / T_1 ~ alpha_1^9 at one start (eq. 24): 8.55 to 9.45
        T_3 / T_1 ~ d^(-3/8) at one start (eq. 24, d -> infinity): -0.425 to -0.325
        T_3 over eqs. 22, 23: d = 1e+06, kappa = 1, ratio 3: 0.9 to 1.1
        T_3 over eqs. 22, 23: d = 1e+06, kappa = 1, ratio 5: 0.9 to 1.1
        T_3 over eqs. 22, 23: d = 1e+06, kappa = 1, ratio 10: 0.9 to 1.1
        T_3 over eqs. 22, 23: d = 1e+06, kappa = 1, ratio 20: 0.9 to 1.1
        T_3 over eqs. 22, 23: d = 1e+08, kappa = 1, ratio 20: 0.9 to 1.1""",
    "phase-4": """
        |T_4 / T_3 - 1|: one event, d = 1e+04, kappa = 1: 0 to 1e-06
        |E| ~ t^(-3/2) in the end, d = 1e+04, kappa = 1: -1.57 to -1.43
        |T_4 / T_3 - 1|: one event, d = 1e+06, kappa = 1: 0 to 1e-06
        |E| ~ t^(-3/2) in the end, d = 1e+06, kappa = 1: -1.57 to -1.43
        |head left at T_3 - eq. 29|, d = 1e+06, kappa = 1: 0 to 0.02""",
    "neurons": """
        frozen: largest |both features - eq. 15| over m: 0 to 0.05
        m = 2: both features more often with the head than without: 0.05 to 1
        m = 3: both features more often with the head than without: 0.05 to 1""",
    "sgd-flow": """
        spread over samples ~ batch size^(-1/2): -0.55 to -0.45
        spread over samples ~ step size^(1/2): 0.45 to 0.55
        deviation from the flow ~ step size^p: noise has p = 1/2, Euler's error 1: 0.5 to 1
        deviation at the smallest step and largest batch: 0 to 0.1""",
    "frequencies": """
        flows, frozen: both neurons on the frequent feature, as eq. 15 at the effective ratio: p-value: 0.001 to 1
        SGD, frozen: both neurons on the frequent feature, as eq. 15 at the effective ratio: p-value: 0.001 to 1
        p = 0.001: with the head the rare feature has a neuron more often than without: 0 to 1
        p = 0.5, frozen: both features, as eq. 15 of equals: 0.45 to 0.55""",
    "patches": """
        7-4 patches, frozen: all neurons end on the more predictable feature: 0.99 to 1
        7-4 patches: both features more often with a trained head: 0.05 to 1
        4-7 patches, frozen: all neurons end on the more predictable feature: 0.99 to 1
        4-7 patches: both features more often with a trained head: 0.05 to 1""",
    "sgd-threshold": """
        learned as eq. 60 says, all x and d: p-value: 0.001 to 1
        largest |learned - eq. 60| of all cells: 0 to 0.05
        control: without a walk, learned up to x = 1 and not beyond: p-value: 0 to 0.001
        x = 0.2: learned more often at d = 160 than at 80: 0 to 1
        x = 3: learned less often at d = 160 than at 80: -1 to 0""",
    "sgd-samples": """
        samples / ||w(0)||^8 to learn v_1 ~ d^5, medians of those that learn: 4.75 to 5.25
        the same from d = 57 on: 4.75 to 5.25
        the same at x = 0.1: 4.75 to 5.25
        the same at x = 0.1 from d = 57 on: 4.75 to 5.25
        x = 0.1 from d = 57 on: part that learns: 0.9 to 1
        samples over eq. 59 at d = 126, those that learn: 0.9 to 1.1
        control: with the norms of the starts left in, the power is beyond: 5.25 to inf""",
    "sgd-theorem-1": """
        ratio 2, d = 100: at tau = 1.2e-05 as often as the flow: -0.05 to 0.05
        ratio 2, d = 100: more often at tau = 1.2e-05 than at 1.9e-04: 0 to 1
        ratio 2, d = 100: outcomes named by eqs. 58 and 87, of starts that the flow learns both from: 0.95 to 1""",
    "sgd-decay": """
        x > 1.2: learned with decay minus without (a window would be above 0.05): -1 to 0.05
        x < 0.6 and eq. 66 above 1.5: learned with decay minus without: -1 to -0.25""",
    "batch": """
        learned as eq. 60 says with (57), all N: p-value: 0.001 to 1
        x = 0.2: samples at N = 32 over those at 512, over (57): 0.9 to 1.1
        control: the same over a law that knows eta / N alone: 0 to 0.9""",
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_and_its_region(name, tmp_path, monkeypatch):
    """As docs/results.md has them; of the ablation those of d = 10^4 in the full study, of others the quick ones."""
    monkeypatch.setattr("simsim.studies.theorem_3.STARTS", 100)
    (tmp_path / "way/trajectories").mkdir(parents=True)
    found = judge(STUDIES[name], made(name, lambda config, seeds: {}, quick=name != "ablation"), tmp_path)[1]
    lines = [f"{claim.claim}: {claim.predicted[0]:.3g} to {claim.predicted[1]:.3g}" for claim in found
             if "d = 1000:" not in claim.claim]
    assert lines == [line.strip() for line in REGIONS[name].split("\n")[1:]]


def test_what_counts_as_agreement():
    """A twentieth of an exponent, and of a rate 0.05; a tenth of a ratio; 1 in 1,000 of p-values."""
    nothing = Estimate(np.nan, 0, 1, 0)
    region = lambda claim: claim.predicted
    assert np.allclose(region(exponent_is("", nothing, 9)), (8.55, 9.45))
    assert np.allclose(region(exponent_is("", nothing, -3 / 8)), (-0.425, -0.325))
    assert np.allclose(region(rate_is("", nothing, 0.3)), (0.25, 0.35))
    assert np.allclose(region(regions.follows("", nothing)), (0.9, 1.1))
    assert region(regions.not_rejected("", 0.5, 9)) == (0.001, 1)


def test_the_ablation_of_a_symmetric_head_that_learns_half_as_often():
    found = verdicts("ablation", lambda config, seeds: {
        "end": np.where((seeds % 2 == 0) & (config.head == "symmetric"), outcome.DIMENSIONAL, outcome.ALL)})
    assert only(found, "symmetric head") == FAIL and only(found, "Barlow") != FAIL


@pytest.mark.parametrize("slow, verdict", [(True, INCONCLUSIVE), (False, FAIL)])
def test_the_slow_head_is_judged_by_its_own_runs(slow, verdict):
    """Either the slowest head always succeeds and the others never, or the other way round."""
    found = judged("theorem-1", lambda config, seeds: {"success": (config.kappa == 0.1) == slow})
    assert only(found, "a slow head").verdict == verdict  # 40 starts are too few for a PASS
    assert only(found, "a slow head").measured == slow
    assert only(found, "stays below 1").verdict == (PASS if slow else FAIL) or not slow


def test_a_start_that_holds_v_1_already_has_no_phase_one():
    def change(config, seeds):
        law = theory.small_start_times(config, *plan.starts(config, seeds))[:, :, 0].min(axis=1)
        return {"time_1": np.where((seeds == 7) & (config.d == 1000), 0.0, law)}
    claim = only(judged("phase-1", change), "start by start")
    assert claim.verdict == PASS and claim.sample.n == 29


@pytest.mark.parametrize("column, verdict", [("head_end", FAIL), ("beta_2", FAIL), ("residual_1", FAIL), ("head_peak", PASS)])
def test_the_distance_from_the_flow_is_that_of_the_end(column, verdict):
    def change(config, seeds):
        spread = 0.01 * np.sqrt(config.lr / studies.sgd_flow.LR * 1536 / config.batch_size)
        away = {"beta_1": 1 + spread * np.where(np.arange(len(seeds)) % 2, 1.0, -1.0)}
        return {} if config.engine == "flow" else {**away, column: 2.0}
    assert only(verdicts("sgd-flow", change), "smallest step") == verdict


def drawn(study, change):
    """{(number of the picture, label): (x, y)} of the lines that a study draws."""
    figure = a_figure()
    STUDIES[study].draw(figure, table.of_records(STUDIES[study].analyse(made(study, change), None)[0]))
    return {(i, line.get_label()): line.get_data() for i, ax in enumerate(figure.axes) for line in ax.get_lines()}


def test_laws_are_drawn_as_they_are():
    """Read back from the pictures by their labels, and held to numbers worked out by hand."""
    x, y = drawn("amplitude", lambda config, seeds: {})[0, r"$\sqrt{\kappa/3}$ (eq. 13)"]
    assert np.allclose(x, [0.01, 0.1, 1]) and np.allclose(y, [0.057735, 0.182574, 0.577350], atol=1e-6)
    x, y = drawn("phase-1", lambda config, seeds: {"time_1": 2.0 * config.d**2 + seeds})[0, "$d^2$"]
    assert np.allclose(y / y[-1], [1e-10, 1e-8, 1e-4, 1])
    lines = drawn("phase-3", lambda config, seeds: {"time_1": 1.0, "time_3": 5.0 * config.alpha_ratio + seeds / 100})
    (left,), (right,) = ([data for (i, label), data in lines.items() if i == number and "eq. 24" in label] for number in (0, 1))
    assert np.allclose(left[1][-1] / left[1][0], (20 / 3) ** 9) and np.allclose(right[1][0] / right[1][-1], 31.622777)


# ---- figures that tell apart what is not the same ----------------------------------------

def figure_of(study, records):
    """The figure of a study from the rows of its own table."""
    figure = a_figure()
    STUDIES[study].draw(figure, table.of_records(records))
    figure.canvas.draw()
    return figure


def of_variant(engine, d, variant, end):
    return {"engine": engine, "d": d, "variant": variant, **{name.replace(" ", "_"): float(name == end) for name in outcome.ENDS}}


def test_the_ablation_tells_not_yet_from_not_run():
    figure = figure_of("ablation", [of_variant("flow", 10**4, "baseline", "not yet"),
                                    of_variant("flow", 10**4, "frozen head", "nothing"),
                                    of_variant("sgd", 50, "baseline", "all features"), of_variant("sgd", 50, "VICReg", "not yet")])
    flows, sgd = figure.axes
    names = [text.get_text() for text in flows.get_yticklabels()]
    missing = [[(names[int(text.get_position()[1])], text.get_text()) for text in ax.texts] for ax in (flows, sgd)]
    assert missing == [[("VICReg", "not run")], [("frozen head", "not run")]]
    looks = {end: (bar.patches[0].get_facecolor(), bar.patches[0].get_hatch()) for end, bar in
             zip(outcome.ENDS, [container for container in flows.containers[:6]])}
    assert len(set(looks.values())) == 6 and looks["not yet"][1] == "||"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(outcome.ENDS)
    wide = [round(patch.get_width()) for container in flows.containers[:6] for patch in container.patches]
    assert wide == [0, 0, 0, 0, 0, 1]


def test_theorem_1_has_axes_for_each_kappa():
    records = [{"kappa": kappa, "d": d, "runs": 200, "rate": 0.5, "low": 0.4, "high": 0.6 + kappa / 100,
                "law_19": 0.9 - kappa / 100, "law_25": 0.3} for kappa in (0.1, 1.0, 10.0) for d in (100, 10**4)]
    figure = figure_of("theorem-1", records)
    assert [ax.get_title() for ax in figure.axes] == [rf"$\kappa = {kappa:g}$" for kappa in (0.1, 1, 10)]
    for ax, kappa in zip(figure.axes, (0.1, 1, 10)):
        flows, law_25, law_19 = ax.get_lines()[0], ax.get_lines()[-2], ax.get_lines()[-1]
        assert set(flows.get_ydata()) == {0.5} and set(law_25.get_ydata()) == {0.3}
        assert law_19.get_ydata()[0] == pytest.approx(0.9 - kappa / 100)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["eq. 25", r"eq. 19, $d \to \infty$", "flows"]


def test_intervals_of_two_kappas_stand_beside_each_other():
    numbers = dict.fromkeys(("left", "left_low", "left_high", "law_29", "power", "power_low", "power_high"), 0.5)
    figure = figure_of("phase-4", [{"kappa": kappa, "d": d, **numbers} for kappa in (0.1, 1.0) for d in (10**4, 10**8)])
    for ax in figure.axes:
        one, two = (container.lines[0] for container in ax.containers)
        assert (two.get_xdata() > 1.3 * one.get_xdata()).all() and one.get_marker() != two.get_marker()
        np.testing.assert_allclose(np.sqrt(one.get_xdata() * two.get_xdata()), [1e4, 1e8])


@pytest.mark.parametrize("study, change", [("neurons", lambda config, seeds: {}), ("diagram", lambda config, seeds: {})])
def test_no_legend_lies_on_the_data(study, change):
    figure = a_figure()
    figure.set_layout_engine("constrained")  # as `perform` has it
    STUDIES[study].draw(figure, table.of_records(STUDIES[study].analyse(made(study, change), None)[0]))
    figure.canvas.draw()
    legend, = figure.legends
    assert all(ax.get_legend() is None and not legend.get_window_extent().overlaps(ax.get_window_extent()) for ax in figure.axes)
    if study == "diagram":
        assert figure.axes[-1].get_ylabel() == "part of 8 flows that learn both features"


@pytest.mark.parametrize("verdict, strict, status", [(PASS, True, 0), (INCONCLUSIVE, True, 0), (FAIL, False, 0), (FAIL, True, 1),
                                                     (INCOMPLETE, False, 3), (INCOMPLETE, True, 3)])
def test_the_exit_status_of_a_study(verdict, strict, status, monkeypatch):
    low, high = {PASS: (0.4, 0.6), FAIL: (0.8, 0.9)}.get(verdict, (0.2, 0.9))
    claim = within("it is so", Estimate(0.5, low, high, 9), 0.3, 0.7)
    if verdict == INCOMPLETE:
        claim = claim.on(with_status(*5 * ["failed"], *4 * ["done"]))
    assert claim.verdict == verdict
    monkeypatch.setattr(command, "perform", lambda *_, **__: [claim])
    assert command.main(["theorem-3", "--quiet", *["--strict"] * strict], Interrupts()) == status


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


def test_a_study_of_which_runs_fail_says_so_and_computes_them_again_when_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fields = {"engine": "flow", "head": "frozen", "d": 1000, "alpha_ratio": [2.0, 20.0], "m": 2, "lr": 1.0}
    small = plan.Study("theorem-3", "a small one", "at once", lambda quick: {"flows": (fields, range(5))},
                       studies.theorem_3.analyse, studies.theorem_3.draw)
    monkeypatch.setitem(STUDIES, "theorem-3", small)
    monkeypatch.setattr("simsim.studies.theorem_3.STARTS", 300)
    argv = ["theorem-3", "--quiet", "--workers", "1", "--out", "out"]
    assert command.main(argv, Interrupts()) == 0
    lines = (tmp_path / "out/flows/rows.jsonl").read_text().splitlines()
    rows = {json.loads(line)["key"]: outcome.failed("it was too much") for line in lines[:3]}
    sweeps.rows.rewrite(tmp_path / "out/flows/rows.jsonl",
                        {**sweeps.rows.read(tmp_path / "out/flows/rows.jsonl")[0], **rows})
    capsys.readouterr()
    assert command.main([*argv, "--strict"], Interrupts()) == 3
    out, err = capsys.readouterr()
    assert "INCOMPLETE (3 of 10 runs failed; judged up to 5%)" in out and out.count("INCOMPLETE") == 1
    assert err.count("\n") == 1 and "1 of 3 claims are not judged" in err and "--redo-failed" in err
    assert json.loads((tmp_path / "out/claims.json").read_text())["claims"][2]["sample"]["failed"] == 3
    assert command.main([*argv, "--redo-failed"], Interrupts()) == 0
    assert "INCOMPLETE" not in capsys.readouterr().out
    rows = {json.loads(line)["key"]: outcome.failed("it was too much") for line in lines}
    sweeps.rows.rewrite(tmp_path / "out/flows/rows.jsonl", rows)
    assert command.main(argv, Interrupts()) == 3
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "alpha_ratio = 2.0: all 5 runs failed, the first for: it was too much" in err


def test_a_study_whose_place_fails_goes_on_in_its_folder(tmp_path):
    """As under a cluster whose scheduler dies: no run has failed, and none is missing when it is called again."""
    class Failing(Executor):
        def submit(self, function, task):
            future = Future()
            future.set_exception(CancelledError())
            return future
    small = plan.Study("theorem-3", "a small one", "at once", lambda quick: {"flows": (
        {"engine": "flow", "head": "frozen", "d": 1000, "alpha_ratio": 2.0, "m": 2}, range(3))},
        studies.theorem_3.analyse, studies.theorem_3.draw)
    with pytest.raises(sweeps.SweepError, match="CancelledError.*0 of 3 runs are kept"):
        studies.perform(small, tmp_path / "out", executor=Failing())
    assert os.listdir(tmp_path / "out") == ["flows"]
    with ThreadPoolExecutor(1) as executor:
        found = studies.perform(small, tmp_path / "out", executor=executor)
    assert [claim.sample.failed for claim in found] == [0, 0, 0] and found[2].sample.runs == 3


def test_a_place_that_is_not_there_is_refused_before_a_folder_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    class Client:
        def __init__(self, *_, **__):
            raise TimeoutError("nobody there")
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(Client=Client, KilledWorker=RuntimeError))
    assert command.main(["theorem-3", "--quick", "--executor", "dask:nowhere:1"], Interrupts()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--executor" in err and "nobody there" in err and os.listdir() == []


def test_a_study_whose_files_cannot_be_written_keeps_its_runs(tmp_path, monkeypatch, capsys):
    """The disk is full when its claims are written: status 3, and the same command goes on."""
    monkeypatch.chdir(tmp_path)
    small = plan.Study("theorem-3", "a small one", "at once", lambda quick: {"flows": (
        {"engine": "flow", "head": "frozen", "d": 1000, "alpha_ratio": 2.0, "m": 2}, range(3))},
        studies.theorem_3.analyse, studies.theorem_3.draw)
    monkeypatch.setitem(STUDIES, "theorem-3", small)
    monkeypatch.setattr("simsim.studies.theorem_3.STARTS", 300)

    def full(path, values):
        raise OSError(28, "No space left on device", str(path))
    argv = ["theorem-3", "--quiet", "--workers", "1", "--out", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["simsim.studies.perform"], "write_json", full)
        assert command.main(argv, Interrupts()) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "No space left on device; all runs are kept, and the same command goes on" in err
    (tmp_path / "out/study.csv.part123").write_text("half of it")
    assert command.main(argv, Interrupts()) == 0
    assert set(os.listdir("out")) == {"flows", "study.csv", "claims.json", "claims.txt", "figure.png"}


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
