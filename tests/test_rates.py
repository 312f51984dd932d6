"""Measured success rates: what is quoted belongs to the configuration, and can be made again."""

import dataclasses
import json
from importlib import resources
from types import SimpleNamespace

import by_hand
import numpy as np
import pytest
from stories import FOUR_PHASES, no, s, story

from simsim import Config, check_theorems, flow, rates, simulate

SMALL = Config(d=12, batch_size=32, steps=40, alpha_ratio=2.0)


# A configuration of SGD whose rate is quoted.
QUOTED = dict(feature_patches=6, batch_size=1536, lr=0.0003250000000000001, head_lr=0.00325)


def test_a_configuration_that_has_been_measured():
    rate = rates.lookup(Config(**QUOTED))
    assert rate.runs >= 100 and 0 <= rate.successes <= rate.learned <= rate.runs


@pytest.mark.parametrize("successes, runs", [(0, 100), (7, 200), (146, 200), (12, 12)])
def test_the_interval_is_wilsons(successes, runs):
    """Its ends are where the probability p puts the frequency 1.96 standard errors away: the roots of a parabola."""
    p, z = successes / runs, 1.959963984540054
    middle, half = p + z**2 / (2 * runs), z * np.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2))
    expected = [(middle + sign * half) / (1 + z**2 / runs) for sign in (-1, 1)]
    rate = rates.Rate(successes, runs, runs)
    np.testing.assert_allclose(rate.interval(), expected, rtol=1e-9, atol=1e-12)
    low, high = (f"{end:.2g}" for end in np.clip(expected, 0, 1))
    said = str(rate)
    assert said.startswith(f"{successes} of {runs} random starts (95 % interval ")
    np.testing.assert_allclose([float(word) for word in said.rstrip(")").split("interval ")[1].split(" to ")],
                               np.array([low, high], float), atol=1e-12)


def test_a_rate_holds_for_all_seeds_and_both_engines_of_sgd_and_for_nothing_else():
    rate = rates.lookup(Config(**QUOTED))
    same = dict(seed=5, init_seed=7, engine="sgd", dtype="float32", log_every=3)
    assert rates.lookup(Config(**QUOTED, **same)) == rate
    for other in (dict(d=51), dict(steps=9), dict(head_lr=0.1), dict(engine="flow"), dict(m=3)):
        assert rates.lookup(Config(**{**QUOTED, **other})) != rate
    slow = Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1)
    assert rates.lookup(slow) == rates.lookup(dataclasses.replace(slow, lr=0.5, head_lr=0.05, steps=7))


def test_every_entry_is_of_a_configuration_that_exists():
    table = json.loads(resources.files("simsim").joinpath("success_rates.json").read_text())
    keys = [json.dumps(entry["law"], sort_keys=True) for entry in table]
    assert len(set(keys)) == len(keys)
    for entry in table:
        kappa = entry["law"].pop("kappa", None)
        config = Config(**entry["law"], **({} if kappa is None else {"lr": 1.0, "head_lr": kappa}))
        assert rates.lookup(config) == rates.Rate(**entry["rate"])


EASY = Config(d=12, batch_size=128, steps=500, alpha_ratio=1.5, alpha_weak=2.0, feature_patches=6, lr=0.0435,
              head_lr=0.435)


@pytest.mark.parametrize("workers", [1, 2])
def test_measuring_counts_runs(workers):
    """Seven runs one by one: those that hold both features at one logged time, after a start that did not hold v_1, and
    of these those that were substituted and whose head came back, all read from by_hand."""
    learned, four = 0, 0
    for seed in range(7):
        run = simulate(dataclasses.replace(EASY, seed=seed, init_seed=seed))
        state, size = by_hand.of_run(run), np.abs(run.head[:, [0, 1], [1, 0]]).max(axis=1)
        strong, weak = (state.shares[:, :, l].max(axis=1) >= 0.5 for l in (0, 1))
        one, two = by_hand.roles(run)
        supplied = (state.head_shares[:, two, 0] >= 0.5) & (state.shares[:, two, 0] < 0.5)
        back = (np.arange(len(run)) > size.argmax()) & (size <= 0.1001 * size.max())
        learned += (strong & weak).any()
        four += not strong[0] and (strong & weak).any() and (supplied & (strong.cumsum() > 0)).any() and back.any()
    assert rates.measure(EASY, 7, workers) == rates.Rate(four, learned, 7)
    assert 0 < four < learned < 7  # each of the three numbers has something to count


def test_features_given_one_by_one_do_not_lose_a_rate():
    usual = Config()
    for options in (dict(patch_counts=(7, 7)), dict(frequencies=(0.5, 0.5)), dict(strengths=(20.0, 1.0))):
        assert rates.lookup(Config(**options)) == rates.lookup(usual) is not None
    assert rates.lookup(Config(patch_counts=(7, 6))) is None and rates.lookup(Config(frequencies=(0.6, 0.4))) is None
    three = dict(features=3, alpha_ratio=9.0)
    assert rates.depends_on(Config(**three)) != rates.depends_on(Config(features=3, strengths=(9.0, 8.0, 1.0)))


def test_options_without_effect_do_not_lose_a_rate():
    assert rates.lookup(Config(barlow_lambda=0.3, head_scale=2.0)) == rates.lookup(Config()) is not None
    assert rates.depends_on(Config(head="frozen", head_lr=1.0)) == rates.depends_on(Config(head="frozen"))
    assert rates.depends_on(Config(objective="barlow", barlow_lambda=0.3)) != rates.depends_on(Config(objective="barlow"))


@pytest.mark.parametrize("runs", [0, -1, 2.5])
def test_no_rate_of_no_runs(runs):
    with pytest.raises(ValueError, match="`runs` must be a positive integer"):
        rates.measure(Config(), runs)


def test_measuring_the_flow():
    rate = rates.measure(Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, feature_patches=4), 12)
    # Success has probability .93 (1,000 seeds): fewer than 5 of 12 has probability below 1e-7.
    assert rate.runs == 12 and 5 <= rate.successes <= rate.learned <= 12


def test_a_start_that_holds_the_strong_feature_shows_no_phase_one(monkeypatch):
    phases = np.array([[0.0, 1, 2, 3], [1, 2, 3, 4], [1, np.nan, 3, 4], [1, 2, 3, 4]])
    verdict = np.array([flow.BOTH, flow.BOTH, flow.BOTH, flow.COLLAPSED])
    monkeypatch.setattr(flow, "follow_many", lambda config, seeds: SimpleNamespace(verdict=verdict, phases=phases))
    assert rates.measure(Config(engine="flow"), 4) == rates.Rate(1, 3, 4)


@pytest.mark.parametrize("rows, outcome", [
    (FOUR_PHASES, (True, True)), ([(s, no, no, no, 0, 0), *FOUR_PHASES[1:]], (False, True)), (FOUR_PHASES[:3], (False, False))])
def test_a_start_of_sgd_that_holds_the_strong_feature_shows_none_either(rows, outcome, monkeypatch):
    monkeypatch.setattr(rates, "simulate", lambda config: story(rows))
    assert rates._outcome(SMALL) == outcome


def test_a_broken_run_counts_as_a_failure():
    assert rates.measure(dataclasses.replace(SMALL, lr=1e200), 2) == rates.Rate(0, 0, 2)


def test_the_report_quotes_the_rate_or_says_that_there_is_none():
    measured = Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1)
    assert str(rates.lookup(measured)) in check_theorems(simulate(measured)).story[-1]
    assert "not been measured" in check_theorems(simulate(SMALL)).story[-1]


def test_an_option_that_came_later_stands_at_its_default(monkeypatch, tmp_path):
    """An entry that names fewer options than a configuration has today is of those that leave the others alone."""
    entry = {key: value for key, value in rates.depends_on(SMALL).items() if key not in ("head_scale", "momentum")}
    table = [{"law": entry, "rate": dict(successes=1, learned=2, runs=3)}]
    (tmp_path / "success_rates.json").write_text(json.dumps(table))
    monkeypatch.setattr(rates.resources, "files", lambda package: tmp_path)
    assert rates.lookup(SMALL) == rates.Rate(1, 2, 3)
    assert rates.lookup(dataclasses.replace(SMALL, head="random", head_scale=2.0)) is None


def test_the_rate_of_the_flow_beside():
    """A run of SGD has the rate of its flow, whatever its own; at a kappa that the flow does not take there is none."""
    flow_config = Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1)
    sgd = Config(d=10**6, lr=0.02, head_lr=0.002)
    assert rates.of_flow(sgd) == rates.lookup(flow_config) is not None and rates.lookup(sgd) is None
    assert rates.of_flow(Config(d=10**6, lr=1e-200, head_lr=0.1)) is None
