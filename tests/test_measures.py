"""Measures of a state on matrices whose answers are known, and growth against the gradient it is made of."""

import csv
import dataclasses

import numpy as np
import pytest

from simsim import Config, check_theorems, find_phases, measures, population, simulate
from simsim.initial import reduced_state


def test_asymmetry():
    E = np.stack([np.eye(2), [[1, 0.2], [0.2, 1]], [[1, 0.2], [0, 1]], [[1, 0.2], [-0.2, 1]]])
    np.testing.assert_allclose(measures.asymmetry(E), [0, 0, np.sqrt(2), 2], atol=1e-15)


def test_ranks():
    """Of a spectrum with r equal eigenvalues and none else both are r; of any other the entropy's is the larger."""
    block = np.kron(np.eye(3), np.ones((2, 2)))
    for matrix, rank in ((np.eye(4), 4), (np.ones((4, 4)), 1), (block, 3)):
        assert measures.effective_rank(matrix) == pytest.approx(rank) == measures.participation_ratio(matrix)
    between = np.array([[1, 0.5], [0.5, 1]])
    assert 1 < measures.participation_ratio(between) < measures.effective_rank(between) < 2
    assert measures.participation_ratio(between) == pytest.approx(1 / (0.75**2 + 0.25**2))


def test_kinds_of_collapse():
    std = np.array([[1, 2], [1, 2], [1e-4, 1e-4], [1, 1e-4]])
    alike = np.ones((2, 2))
    correlations = np.stack([np.eye(2), -alike + 2 * np.eye(2), alike, np.eye(2)])
    assert measures.collapse(std, correlations).tolist() == ["", "dimensional", "complete", ""]
    assert measures.collapse(np.ones((2, 1)), np.ones((2, 1, 1))).tolist() == ["", ""]  # a single neuron is like itself


@pytest.mark.parametrize("fields", [dict(), dict(stop_gradient=False), dict(objective="barlow"), dict(head="random", m=3),
                                    dict(features=3, m=3), dict(objective="naive")], ids=str)
def test_growth_is_the_gradient_in_parts(fields):
    config = Config(**{"d": 30, "alpha_ratio": 3.0, "init_seed": 4, **fields})
    a, U = reduced_state(config)
    a, U = 5 * a, 0.3 * U  # half-learned: both parts count
    rng = np.random.default_rng(0)
    E = np.eye(config.m) + 0.3 * rng.standard_normal((config.m, config.m))
    parts = measures.growth(config, a, U @ U.T, E)
    setting, objective = population.Setting.from_config(config), population.objectives.from_config(config)
    whole = -population.gradient(a, U, E, setting, objective).a / a
    np.testing.assert_allclose(parts.total, whole, rtol=1e-11, atol=1e-13 * np.abs(whole).max())
    assert (parts.target == 0).all() == objective.stop_gradient
    assert np.abs(parts.crossing).max() > 1e-3 * np.abs(parts.noise).max() > 0


def test_growth_without_a_head_is_noise_alone():
    """(7) with E = I: one neuron's target has nothing that its prediction lacks."""
    config = Config(d=30, head="frozen")
    a, U = reduced_state(config)
    parts = measures.growth(config, a, U @ U.T, np.eye(2))
    assert (parts.crossing == 0).all() and (parts.noise > 0).all()


def test_growth_needs_batch_norm():
    config = Config(batch_norm=False)
    a, U = reduced_state(config)
    with pytest.raises(ValueError, match="eq. 7"):
        measures.growth(config, a, U @ U.T, np.eye(2))


# ---- on a trajectory ---------------------------------------------------------------------

@pytest.fixture(scope="module")
def path():
    return simulate(Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, init_seed=0, feature_patches=4))


def test_the_head_frees_the_second_neuron_of_v_1(path):
    """Acceleration: in phase III neuron w grows faster along v_2 than v_1, and without the head the other way round."""
    run = path.reordered(find_phases(path).order)
    two, three = find_phases(run).rows[1:3]
    middle = int(np.argmin(np.abs(run.change - run.change[[two, three]].mean())))
    growth = run.growth.total[middle, 1]
    alone = measures.growth(run.config, run.overlaps[middle], run.gram[middle], np.eye(2)).total[1]
    assert growth[1] > growth[0] and alone[0] > alone[1]


def test_the_frozen_flow_ends_in_a_dimensional_collapse(path):
    frozen = simulate(dataclasses.replace(path.config, head="frozen"))
    assert frozen.collapse[0] == "" and frozen.collapse[-1] == "dimensional" and frozen.effective_rank[-1] < 1.01
    assert set(path.collapse) == {""} and path.participation_ratio[-1] > 1.99
    raw = simulate(dataclasses.replace(path.config, batch_norm=False))
    assert raw.collapse[-1] == "complete"


def test_the_head_is_lopsided_while_it_is_away(path):
    peak = np.abs(path.head - np.eye(2)).max(axis=(1, 2)).argmax()
    assert path.asymmetry[0] == 0 and path.asymmetry[peak] == pytest.approx(np.sqrt(2), abs=0.01)


def test_the_clock_of_change_goes_on_where_time_stands_still(path):
    assert path.change[0] == 0 and (np.diff(path.change) >= 0).all()
    assert np.diff(path.change).max() < 1  # no phase is a jump, as it is in time:
    strong = path.shares[:, :, 0].max(axis=1)
    rising = (strong > 0.05) & (strong < 0.95)
    assert rising.sum() > 3 and np.ptp(path.time[rising]) < 0.01 * path.time[rising][0]


def test_standard_deviations_are_those_of_the_covariance(path):
    covariance = population.output_covariance(path.config, path.overlaps, path.gram)
    np.testing.assert_allclose(path.output_std[:, 1] ** 2, covariance[:, 1, 1])


def test_shares_are_those_before_the_head_and_head_shares_those_after(path):
    """In phase III the head has v_1 in F_2, and f_2 has none; with E = I there is no difference."""
    run = path.reordered(find_phases(path).order)
    middle = int(np.argmin(np.abs(run.change - run.change[list(find_phases(run).rows[1:3])].mean())))
    assert run.head_shares[middle, 1, 0] > 0.9 and run.shares[middle, 1, 0] < 0.1
    np.testing.assert_array_equal(run.shares[0], run.head_shares[0])


def test_another_order_of_the_neurons_is_the_same_run(path):
    turned = path.reordered([1, 0])
    np.testing.assert_array_equal(turned.head[:, 0, 1], path.head[:, 1, 0])
    np.testing.assert_array_equal(turned.overlaps[:, 0], path.overlaps[:, 1])
    np.testing.assert_allclose(turned.loss, path.loss, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="each of 2 neurons once"):
        path.reordered([0, 0])


def test_a_report_names_neurons_by_their_roles(path):
    claims = lambda run: [(check.claim, check.verdict) for check in check_theorems(run)]
    assert claims(path.reordered([1, 0])) == claims(path)
    assert any("|E_21| rises" in claim for claim, _ in claims(path))
    said = [any("named by their roles: 1 is row 2, 2 is row 1" in remark for remark in check_theorems(run).remarks)
            for run in (path, path.reordered([1, 0]))]
    assert sorted(said) == [False, True]


def test_a_run_as_a_table(path, tmp_path):
    path.to_csv(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(path)
    np.testing.assert_array_equal([float(row["head_2_1"]) for row in rows], path.head[:, 1, 0])
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(table["shares_1_2"], path.shares[:, 0, 1])


def test_what_a_notebook_shows(path):
    report = check_theorems(path)
    assert "\n" not in repr(path) and "all features learned" in repr(path) and "\n" not in repr(report)
    for shown in (path, report, path.config):
        text = shown._repr_html_()
        assert text.count("<tr>") == text.count("</tr>") > 3
    assert "&lt;Trajectory" in path._repr_html_()  # what it says is text, not a tag
    title = report.title.splitlines()
    assert len(title) == 2 and f"<p>{title[0]}<br>{title[1]}</p>" in report._repr_html_()
