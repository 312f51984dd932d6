"""Measures of a state on matrices whose answers are known, and growth against the gradient it is made of."""

import csv
import dataclasses
import re

import by_hand
import numpy as np
import pytest

from simsim import Config, Trajectory, check_theorems, find_phases, measures, population, simulate
from simsim.files import tables
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
    assert measures.effective_rank(between) == pytest.approx(0.75**-0.75 * 0.25**-0.25)


def test_kinds_of_collapse():
    std = np.array([[1, 2], [1, 2], [1e-4, 1e-4], [1, 1e-4]])
    alike = np.ones((2, 2))
    correlations = np.stack([np.eye(2), -alike + 2 * np.eye(2), alike, np.eye(2)])
    assert measures.collapse(std, correlations).tolist() == ["", "dimensional", "complete", ""]
    assert measures.collapse(np.ones((2, 1)), np.ones((2, 1, 1))).tolist() == ["", ""]  # a single neuron is like itself


def test_where_the_kinds_of_collapse_begin():
    """Complete below a thousandth of the start's spread, in every neuron; dimensional from correlations of .99."""
    std = np.array([[1, 2], [9e-4, 1.9e-3], [1.1e-3, 1.9e-3], [9e-4, 2.1e-3]])
    assert measures.collapse(std, np.tile(np.eye(2), (4, 1, 1))).tolist() == ["", "complete", "", ""]
    pairs = np.array([[[1, c], [c, 1]] for c in (0.98, 0.9895, 0.9905, -0.9905)])
    assert measures.collapse(np.ones((4, 2)), pairs).tolist() == ["", "", "dimensional", "dimensional"]
    third = np.array([[1, 0.995, 0.995], [0.995, 1, 0.985], [0.995, 0.985, 1]])  # the first is like both, they differ
    assert measures.collapse(np.ones((1, 3)), third[None]).tolist() == [""]


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


@pytest.fixture(scope="module", params=[
    dict(strengths=(12.0, 4.0)), dict(m=3, features=3, strengths=(12.0, 8.0, 5.0), head="free-diagonal"),
    dict(strengths=(4.0, 1.2), sigma=0.3)], ids=str)
def trained(request):
    """Short runs of SGD, of which two are more than two neurons with two features at sigma = 1."""
    return simulate(Config(**{"d": 20, "steps": 60, "batch_size": 64, "feature_patches": 6, "log_every": 7,
                              "lr": 0.005, "head_lr": 0.02, **request.param}))


def test_what_a_trajectory_derives_by_hand(trained):
    """Norms, loss, shares before and after the head, correlations, spread, asymmetry, ranks, the clock of change."""
    state = by_hand.of_run(trained)

    def close(name, values):
        np.testing.assert_allclose(getattr(trained, name), values, rtol=1e-9, atol=1e-12, err_msg=name)

    noise = np.array([[one[j, j] for j in range(trained.config.m)] for one in trained.gram])
    close("noise_norms", np.sqrt(noise))
    close("norms", np.sqrt(noise + (trained.overlaps**2).sum(-1)))
    for name in ("loss", "shares", "head_shares", "correlations"):
        close(name, getattr(state, name))
    close("output_std", trained.config.sigma**3 * np.sqrt(state.G))
    p = np.linalg.eigvalsh(state.correlations) / trained.config.m
    close("effective_rank", np.exp(-(p * np.log(p)).sum(-1)))
    close("participation_ratio", 1 / (p**2).sum(-1))
    E, turned = trained.head, trained.head.swapaxes(1, 2)
    away = np.sqrt(((E - np.eye(trained.config.m)) ** 2).sum((1, 2)))
    close("asymmetry", np.divide(np.sqrt(((E - turned) ** 2).sum((1, 2))), away, where=away > 0, out=np.zeros(len(E))))
    close("change", by_hand.change(trained))
    assert trained.asymmetry.max() > 0.1 and np.ptp(trained.shares) > 0.1


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_growth_by_hand(scale):
    """Eqs. 7 and 8 written out, at other strengths; what is the head's is what is left without noise."""
    config = Config(d=30, alpha_ratio=3.0, sigma=scale, alpha_weak=scale * 1.2, init_seed=4)
    a, U = reduced_state(config)
    a, U, E = 5 * a, 0.3 * U, np.array([[1, 0.2], [-0.3, 1]])
    state = by_hand.State(config, a, U @ U.T, E)
    parts = measures.growth(config, a, U @ U.T, E)
    np.testing.assert_allclose(parts.total, state.growth, rtol=1e-11)
    variances, noise = state.D * np.sqrt(state.D * state.G), state.n
    alone = 3 * state.mu12 * state.strengths**3 * a * np.einsum("jr,jl->rl", E, (noise / variances)[:, None] * state.B)
    np.testing.assert_allclose(parts.noise, alone, rtol=1e-11)


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


def test_rankme_is_of_singular_values():
    """Of outputs whose singular values are known: neither their squares, nor centred, nor standardised."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((size, 3)))[0] for size in (40, 5))
    sizes = np.array([5.0, 2.0, 1.0])
    outputs = 1e-200 * (left * sizes) @ right.T
    p = sizes / 8
    assert measures.rankme(outputs) == pytest.approx(np.prod(p**-p), rel=1e-12) and isinstance(measures.rankme(outputs), float)
    assert measures.rankme(outputs.T) == pytest.approx(measures.rankme(outputs), rel=1e-12)
    assert measures.rankme(np.eye(4)) == pytest.approx(4, rel=1e-12)
    assert measures.rankme([[3, 3], [1, 1]]) == pytest.approx(1, abs=1e-12)
    apart = rng.standard_normal((1000, 2))
    assert measures.rankme(apart * [1000, 1]) < 1.02 < 1.98 < measures.effective_rank(np.corrcoef((apart * [1000, 1]).T))


@pytest.mark.parametrize("outputs, why", [(np.ones(3), "shape (N, m)"), (np.zeros((4, 2)), "zeros"), (np.empty((0, 2)), "(0, 2)"),
                                          (np.full((2, 2), np.nan), "finite"), ([["a"]], "real numbers")])
def test_rankme_refuses_what_has_no_rank(outputs, why):
    with pytest.raises(ValueError, match="`outputs` must") as error:
        measures.rankme(outputs)
    assert why in str(error.value)


def test_a_run_as_a_table(path, tmp_path):
    path.to_csv(tmp_path / "run.csv")
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(path)
    np.testing.assert_array_equal([float(row["head_2_1"]) for row in rows], path.head[:, 1, 0])
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(table["shares_1_2"], path.shares[:, 0, 1])
    pairs = ["1_1", "1_2", "2_1", "2_2"]
    each = lambda *names: [f"{name}_{pair}" for name in names for pair in pairs]
    assert list(rows[0]) == ["steps", "time", *each("overlaps", "gram", "head"), "batch_loss", "norms_1", "norms_2",
                             "loss", *each("correlations", "shares", "head_shares")]
    for name in ("time", "loss"):
        np.testing.assert_array_equal(table[name], getattr(path, name))


def test_what_a_notebook_shows(path):
    report = check_theorems(path)
    assert "\n" not in repr(path) and "all features learned" in repr(path) and "\n" not in repr(report)
    for shown in (path, report, path.config):
        text = shown._repr_html_()
        assert text.count("<tr>") == text.count("</tr>") > 3
    text = path._repr_html_()
    assert "&lt;Trajectory" in text  # what it says is text, not a tag
    cells = [re.findall("<td>(.*?)</td>", row) for row in text.split("<tr>")[2:]]
    for row, shown in zip((0, len(path) // 2, len(path) - 1), cells, strict=True):  # to four digits
        told = [path.time[row], path.loss[row], *path.shares[row].ravel(), *path.head[row].ravel()]
        np.testing.assert_allclose([float(cell) for cell in shown], told, rtol=5e-4)
    title = report.title.splitlines()
    assert len(title) == 2 and f"<p>{title[0]}<br>{title[1]}</p>" in report._repr_html_()


def test_ticks_are_what_the_clock_shows(path, trained):
    flow = simulate(dataclasses.replace(path.config, lr=0.5, head_lr=0.05, t_max=10.0))
    np.testing.assert_array_equal(flow.ticks, flow.time)
    np.testing.assert_allclose(flow.steps, 2 * flow.time, rtol=1e-15)
    np.testing.assert_array_equal(trained.ticks, trained.steps)
    assert (flow.clock, trained.clock) == ("time", "step")


def test_overlaps_too_small_to_matter_change_nothing():
    """Five decades at 1e-22 are a way, ten at 1e-40 are none; nor is an overlap of 0 infinitely far."""
    overlaps = np.full((4, 2, 2), 0.01)
    overlaps[:, 0, 1] = [1e-20, 1e-25, 1e-25, 1e-25]
    overlaps[:, 1, 1] = [1e-40, 1e-40, 1e-50, 0.0]
    steps, eyes = np.arange(4), [np.eye(2)] * 4
    run = Trajectory(Config(m=2), steps, 0.1 * steps, overlaps, eyes, eyes, np.zeros(4))
    np.testing.assert_allclose(run.change, [0, 5, 5, 5], atol=1e-6)


def test_an_html_table_is_text():
    """Names, cells and caption, whatever letters they have."""
    text = tables.as_html("a < b", {"x & y": ["<i>", "2"], "z": [0.123456, 7]}, [1, 0])
    assert text == ("<table><caption>a &lt; b</caption><tr><th>x &amp; y</th><th>z</th></tr>"
                    "<tr><td>2</td><td>7</td></tr><tr><td>&lt;i&gt;</td><td>0.1235</td></tr></table>")
