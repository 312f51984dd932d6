"""What a lecture starts with, and what a paper prints: one sample, the network with a run's own numbers, one column."""

import dataclasses
import re

import by_hand
import matplotlib
import numpy as np
import pytest
from stories import FLOW, strong_in_second_row

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from simsim import Config, plots, simulate


pytestmark = pytest.mark.usefixtures("closed")


@pytest.fixture(scope="module")
def path():
    """A flow in which all four phases come, with the neuron that learns v_1 first in the second row, and E_21 falling."""
    run, = strong_in_second_row(simulate(FLOW))
    return turned(run, 0) if run.head[:, 0, 1].max() > 1e-3 else run


def turned(run, j):
    """The same run with neuron j's sign turned."""
    sign = np.where(np.arange(run.config.m) == j, -1.0, 1.0)
    square = np.outer(sign, sign)
    return dataclasses.replace(run, overlaps=run.overlaps * sign[:, None], gram=run.gram * square, head=run.head * square)


# ---- one sample ------------------------------------------------------------------------------

def seen(ax):
    """Values (P, c) of a picture of patches, nan where a patch is masked, and the numbers written: {(patch, coordinate): value}."""
    values = np.ma.filled(np.ma.asarray(ax.get_images()[0].get_array(), dtype=float), np.nan).T
    return values, {tuple(map(int, text.get_position())): float(text.get_text()) for text in ax.texts}


@pytest.mark.parametrize("options", [dict(feature_patches=4), dict(d=10**12, m=3, features=3, alpha_ratio=4.0), dict(sigma=2.0),
                                     dict(patch_counts=(3, 6), alpha_ratio=30.0), dict(d=5, patches=4, feature_patches=2)], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sample_is_a_sample(options, seed):
    """One feature in its patches, one sign, noise in all others; each patch in one view, half of them in each."""
    config = Config(**options)
    axes = plots.sample(config, seed=seed)
    (X, numbers), *views = map(seen, axes)
    P, K = config.patches, config.features
    assert not np.isnan(X).any() and X.shape == (P, K + min(config.d - K, 8))
    carries = (X[:, :K] != 0).any(axis=1)
    feature, = set(np.argwhere(X[:, :K])[:, 1])
    assert carries.sum() == config.patches_by_feature[feature] and (X[carries, K:] == 0).all() and (X[~carries][:, K:] != 0).all()
    values = set(numbers.values())
    assert set(numbers) == {(p, feature) for p in np.flatnonzero(carries)} and len(values) == 1
    assert abs(values.pop()) == pytest.approx(config.alphas[feature], rel=0.01)
    np.testing.assert_allclose(np.abs(X[carries, feature]), config.alphas[feature] / config.sigma)
    kept = np.array([~np.isnan(view).all(axis=1) for view, _ in views])
    assert (kept.sum(axis=0) == 1).all() and (kept.sum(axis=1) == P // 2).all()
    for ax, (view, in_it), mask in zip(axes[1:], views, kept):
        np.testing.assert_array_equal(view[mask], X[mask])
        assert set(in_it) == {place for place in numbers if mask[place[0]]}
        hatched = {int(patch.get_x() + 0.5) for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_hatch()}
        assert hatched == set(np.flatnonzero(~mask))
        assert f"{(mask & carries).sum()} of them carry $v_{feature + 1}$" in ax.get_title()
    assert f"{carries.sum()} of {P} patches" in axes[0].get_title().replace("\n", " ")
    assert [text.get_text() for text in axes[0].get_yticklabels()][:K] == [f"$v_{l + 1}$" for l in range(K)]


def test_a_sample_is_that_of_its_seed_and_noise_is_in_units_of_sigma():
    one, again, other = (seen(plots.sample(Config(feature_patches=2, sigma=sigma), seed=seed)[0])[0]
                         for sigma, seed in ((1.0, 4), (3.0, 4), (1.0, 5)))
    np.testing.assert_allclose(one[:, 2:], again[:, 2:], rtol=1e-12)
    assert not np.array_equal(one, other)
    default, asked = (seen(plots.sample(Config(seed=6), **given)[0])[0] for given in ({}, {"seed": 6}))
    np.testing.assert_array_equal(default, asked)
    wide = Config(patches=32, feature_patches=2, sigma=3.0)
    noise = np.concatenate([seen(plots.sample(wide, seed=seed)[0])[0] for seed in range(3)])
    noise = noise[(noise[:, :2] == 0).all(axis=1), 2:]
    assert noise.size == 720 and abs(noise.std() - 1) < 0.12  # by chance once in 100,000: more than 4.4 standard deviations of .026


def test_a_sample_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="at most 32 patches and 8 features"):
        plots.sample(Config(patches=34))
    with pytest.raises(ValueError, match="at most 32 patches and 8 features"):
        plots.sample(Config(features=9))
    with pytest.raises(ValueError, match="three Axes"):
        plots.sample(Config(), plt.subplots(2)[1])
    axes = plt.subplots(3)[1]
    assert (plots.sample(Config(), axes) == axes).all()


# ---- the network -------------------------------------------------------------------------------

def words(ax):
    return [text.get_text() for text in ax.texts]


def test_the_network_has_the_weights_and_the_head_of_its_row(path):
    """Neuron 1 is in the second row of the arrays, and neuron 2's sign is turned: E_21 is positive."""
    row = int(np.abs(path.head[:, 0, 1]).argmax())
    ax = plots.network(path, row)
    assert path.head[row, 0, 1] < -0.1
    entries = {text.split(" = ")[0]: float(text.split(" = ")[1]) for text in words(ax) if text.startswith("$E")}
    head = path.head[row]
    assert entries["$E_{21}$"] == pytest.approx(-head[0, 1], rel=0.05) and entries["$E_{11}$"] == entries["$E_{22}$"] == 1
    assert entries["$E_{12}$"] == pytest.approx(-head[1, 0], rel=0.05, abs=5e-4)
    numbers = sorted(float(text) for text in words(ax) if re.fullmatch(r"-?[\d.e-]+", text))
    expected = sorted([*path.overlaps[row, 1], *-path.overlaps[row, 0]] * 2)
    np.testing.assert_allclose(numbers, expected, rtol=0.05, atol=5e-4)  # in both branches
    assert f"loss {path.loss[row]:.3g}" in ax.get_title()
    assert words(ax).count("$f_1$") == 2 and words(ax).count("$F_1$") == 1


def test_lines_of_the_network_are_as_wide_as_what_they_bring(path):
    row = int(np.abs(path.head[:, 0, 1]).argmax())
    state, run = by_hand.of_run(path), path
    ax = plots.network(run, row)
    widths = {(round(x0, 3), round(y0, 3), round(x1, 3), round(y1, 3)): line.get_linewidth() for line in ax.get_lines()
              for (x0, y0), (x1, y1) in [line.get_xydata()] if x1 - x0 > 1.5}
    to_f = {key: width for key, width in widths.items() if key[0] == 0}
    to_F = {key: width for key, width in widths.items() if key[0] == 1.6 and key[2] == 3.2}
    assert len(to_f) == 12 and len(to_F) == 4
    shares = state.shares[row, [1, 0]]
    parts = np.sqrt(np.concatenate([shares, 1 - shares.sum(axis=1, keepdims=True)], axis=1))
    for side in (1, -1):
        branch = {key: width for key, width in to_f.items() if np.sign(key[1]) == side}
        heights = [sorted({key[place] for key in branch}, reverse=True) for place in (1, 3)]
        for (_, y0, _, y1), width in branch.items():
            part = parts[heights[1].index(y1), heights[0].index(y0)]
            assert width == pytest.approx(max(0.4, 5 * part), rel=1e-6)
    brought = np.abs(run.head[row][np.ix_([1, 0], [1, 0])]) * np.sqrt(state.G[row, [1, 0]])
    brought /= np.linalg.norm(brought, axis=1, keepdims=True)
    heights = sorted({key[1] for key in to_F}, reverse=True)
    for (_, y0, _, y1), width in to_F.items():
        assert width == pytest.approx(max(0.4, 5 * brought[heights.index(y1), heights.index(y0)]), rel=1e-6)
    assert brought[1, 0] > 0.9  # what F_2 predicts is what f_1 has learned


@pytest.mark.parametrize("options, has, has_not", [
    ({}, {"SG": 2, "BN": 4, "the same weights $W$": 1}, []), ({"stop_gradient": False}, {"BN": 4}, ["SG", "SG: stop-gradient"]),
    ({"batch_norm": False, "lr": 1e-6}, {"SG": 2}, ["BN"]), ({"objective": "barlow"}, {"loss $L$\nbarlow": 1}, ["SG"]),
    ({"target_momentum": 0.9}, {"below: a target": 1}, ["the same weights $W$"]),
    ({"m": 4}, {"SG": 4, "BN": 8, "$F_4$": 1}, [])], ids=str)
def test_the_network_has_the_parts_of_its_config(options, has, has_not):
    run = simulate(Config(**{"steps": 5, "batch_size": 16, "d": 20, **options}))
    _, ax = plt.subplots()
    assert plots.network(run, ax=ax) is ax
    for word, times in has.items():
        assert words(ax).count(word) == times
    assert not set(words(ax)) & set(has_not)


def test_a_network_that_cannot_be_drawn_is_refused(path):
    with pytest.raises(ValueError, match="at most 6 neurons and 6 features"):
        plots.network(simulate(Config(m=7, steps=2, batch_size=8, d=20)))
    with pytest.raises(IndexError, match="is not in the log"):
        plots.network(path, len(path))


# ---- one column, without pixels -------------------------------------------------------------------

def figures(run):
    """{name: how it is drawn} of all that stands alone."""
    frozen = simulate(dataclasses.replace(FLOW, head="frozen"))
    return {"phases": lambda: plots.phases(run, laws=True), "frozen": lambda: plots.phases(frozen),
            "shares": lambda: plots.shares(run), "heads": lambda: plots.heads({"trained": run}),
            "correlations": lambda: plots.correlations({"trained": run, "frozen": frozen}),
            "portrait": lambda: plots.portrait(run), "sample": lambda: plots.sample(FLOW), "network": lambda: plots.network(run)}


@pytest.mark.parametrize("name", ["phases", "frozen", "shares", "correlations", "heads", "portrait", "sample", "network"])
def test_a_figure_stands_in_one_column(path, name, tmp_path):
    """3.3 inches wide, all of it, and every letter has 7 points; a line is thinner than elsewhere."""
    before = dict(plt.rcParams)
    wide = np.ravel(figures(path)[name]())[0].figure
    with plots.column():
        figure = np.ravel(figures(path)[name]())[0].figure
    assert dict(plt.rcParams) == before
    assert figure.get_size_inches()[0] == 3.3 < wide.get_size_inches()[0]
    figure.canvas.draw()
    letters = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert letters and {text.get_fontsize() for text in letters} == {7.0}
    extent = figure.get_tightbbox()
    assert extent.x0 > -0.02 and extent.x1 < 3.32 and extent.y0 > -0.02 and extent.y1 < figure.get_size_inches()[1] + 0.02
    for kind, start in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        figure.savefig(tmp_path / f"it.{kind}")
        assert (tmp_path / f"it.{kind}").read_bytes().startswith(start)


def test_a_column_of_another_width():
    with plots.column(width=2.5, size=6):
        figure = plots.loss(simulate(Config(m=1, steps=5, batch_size=8, d=6))).figure
    assert figure.get_size_inches()[0] == 2.5 and figure.axes[0].xaxis.label.get_fontsize() == 6
    assert plots.size(7, 9) == (7, 9)


def test_letters_of_a_pdf_are_letters():
    """TrueType, which journals ask for, and not Matplotlib's Type 3."""
    run = simulate(Config(m=1, steps=5, batch_size=8, d=6))
    content = plots.picture(plots.loss(run).figure, "pdf", 100)
    assert b"/Type3" not in content and b"/CIDFontType2" in content
    assert not plt.get_fignums()


def test_colours_are_of_one_palette():
    """Of series, each its own colour and marker; of what is in an order, lightness runs one way."""
    looks = [plots.series(i) for i in range(7)]
    assert len({look["color"] for look in looks}) == len({look["marker"] for look in looks}) == 7
    assert {look["color"] for look in looks} <= set(plots.FEATURE_COLOURS)
    light = [np.dot(plots.ramp(i, 6)["color"][:3], [0.3, 0.59, 0.11]) for i in range(6)]
    assert all(np.diff(light) > 0.05) and light[-1] < 0.85  # and none is lost on white
