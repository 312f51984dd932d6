"""The figures: they take Axes, return them, and draw what they say."""

import dataclasses

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import simsim
from simsim import Config, find_phases, plots, simulate


@pytest.fixture(scope="module", params=[1, 2, 3])
def short_run(request):
    return simulate(Config(m=request.param, steps=20, batch_size=16, d=10))


pytestmark = pytest.mark.usefixtures("closed")


@pytest.mark.parametrize("name", ["overlaps", "head", "shares", "loss"])
def test_each_panel_draws_on_the_axes_it_is_given(short_run, name):
    _, ax = plt.subplots()
    assert getattr(plots, name)(short_run, ax) is ax
    assert getattr(plots, name)(short_run).figure is not ax.figure


def test_panels_show_the_data(short_run):
    ax = plots.overlaps(short_run)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    first = find_phases(short_run).order[0]  # neurons are named by their roles
    np.testing.assert_array_equal(lines["$v_{2}$ in $w_{1}$"], np.abs(short_run.overlaps[:, first, 1]))  # alpha_2 = sigma = 1
    assert len(lines) == 3 * short_run.config.m  # with the noise of each


def test_phases_takes_four_axes(short_run):
    figure, axes = plt.subplots(4)
    assert np.array_equal(plots.phases(short_run, axes), axes)
    assert plots.phases(short_run, list(axes)).shape == (4,)
    assert plots.phases(short_run).shape == ((3,) if short_run.config.m == 1 else (4,))
    with pytest.raises(ValueError, match="four Axes"):
        plots.phases(short_run, axes[0])
    if short_run.config.m > 1:
        with pytest.raises(ValueError, match="hold four Axes"):
            plots.phases(short_run, axes[:3])
    figure.savefig("/dev/null", format="png")


@pytest.mark.parametrize("options", [dict(features=9), dict(head="free-diagonal"), dict(head="random", head_diagonal="free", m=1),
                                     dict(objective="barlow"), dict(batch_norm=False, lr=1e-6), dict(head="directpred", m=3)],
                                     ids=str)
def test_any_head_and_any_number_of_features(options):
    run = simulate(Config(**{"steps": 20, "batch_size": 16, "d": 20, **options}))
    overlaps, head = plots.overlaps(run), plots.head(run)
    m, K, T = run.config.m, run.config.features, len(run)
    signals = [line for line in overlaps.get_lines() if len(line.get_xdata()) == T and line.get_color() != "0.55"]
    assert len(signals) == m * K and len({line.get_color() for line in signals}) == min(K, 8)
    assert len(plots.phases(run)) == 3 + simsim.heads.changes(run.config)
    if not simsim.heads.changes(run.config):
        assert "frozen" in head.texts[0].get_text() and not head.get_legend()
        return
    free = run.config.head in ("free-diagonal", "directpred") or run.config.head_diagonal == "free"
    entries = {line.get_label(): line.get_ydata() for line in head.get_lines() if line.get_label().startswith("$E")}
    assert len(entries) == (m * m if free else m * m - m)
    if free:
        first = find_phases(run).order[0]
        np.testing.assert_array_equal(entries["$E_{11}$"], run.head[:, first, first])


def test_the_palette_has_eight_colours():
    assert len(set(plots.FEATURE_COLOURS)) == len(plots.FEATURE_COLOURS) >= 8


# ---- pictures of matrices, pulls and motion ------------------------------------------------

@pytest.fixture(scope="module")
def paths():
    config = Config(engine="flow", d=10**4, lr=1.0, head_lr=0.1, feature_patches=4, init_seed=3)
    return {"trained": simulate(config), "frozen": simulate(dataclasses.replace(config, head="frozen"))}


def test_names_are_those_of_roles(paths):
    """E_21 is what the second neuron's prediction takes from the first to learn v_1, whatever their rows."""
    run = paths["trained"]
    for each in (run, run.reordered([1, 0])):
        lines = {line.get_label(): line.get_ydata() for line in plots.head(each).get_lines()}
        s, w = find_phases(each).order
        np.testing.assert_array_equal(lines["$E_{21}$"], each.head[:, w, s])
    assert np.abs(lines["$E_{21}$"]).max() > 10 * np.abs(lines["$E_{12}$"]).max()


def test_matrices_of_runs_side_by_side(paths):
    axes = plots.correlations(paths)
    assert axes.shape == (2, 6) and plots.instants(paths["trained"]).keys() >= {"start", "I ends", "III ends", "end"}
    shown = np.array(axes[1, len(plots.instants(paths["frozen"])) - 1].get_images()[0].get_array())
    np.testing.assert_allclose(shown, 1, atol=1e-3)  # frozen: a dimensional collapse
    end = np.array(axes[0, 5].get_images()[0].get_array())
    np.testing.assert_allclose(end, np.eye(2), atol=1e-3)
    assert plots.heads({"trained": paths["trained"]}).shape == (1, 7)  # and the peak
    with pytest.raises(ValueError, match=r"shape \(2, 6\)"):
        plots.correlations(paths, axes=axes[:1])


def test_the_pull_on_the_second_neuron_turns(paths):
    """Where the path stands, v_1 pulls harder before substitution and v_2 after it."""
    run = paths["trained"]
    before, after = plots.portrait(run)
    for ax, along in ((before, 0), (after, 1)):
        arrows, point = ax.collections[0], ax.get_lines()[1].get_xydata()[0]
        nearest = np.argmin(((arrows.get_offsets() - point) ** 2).sum(axis=1))
        pull = np.array([arrows.U[nearest], arrows.V[nearest]])
        assert pull[along] > abs(pull[1 - along])
    with pytest.raises(ValueError, match="two neurons"):
        plots.portrait(simulate(Config(m=3, steps=20, batch_size=16, d=10)))


def test_an_animation_ends_where_the_run_does(paths, tmp_path):
    run = paths["trained"]
    _, ax = plt.subplots()
    animation = plots.motion(run, ax, frames=5)
    animation._draw_frame(4)
    dots = [collection.get_offsets() for collection in ax.collections][0]
    ordered = run.reordered(find_phases(run).order)
    np.testing.assert_allclose(dots, np.sqrt(ordered.shares[-1]))
    animation.save(tmp_path / "run.gif", writer="pillow", dpi=40)
    with Image.open(tmp_path / "run.gif") as image:
        assert image.n_frames == 5
    assert "<script" in animation.to_jshtml()
    with pytest.raises(ValueError, match="two features"):
        plots.motion(simulate(Config(features=1, steps=5, batch_size=16, d=10)))


@pytest.mark.parametrize("m", [8, 12])
def test_of_many_neurons_two_have_names(m):
    """The lines of neurons 1 and 2 are thick and named, all others thin and named once; none is left out."""
    run = simulate(Config(m=m, steps=5, batch_size=8, d=30))
    comma = "," if m > 9 else ""
    pairs = [(l, j) for j in (1, 2) for l in (1, 2)]
    named = {"overlaps": [f"$v_{{{l}}}$ in $w_{{{j}}}$" for l, j in pairs] + [f"noise in $w_{{{j}}}$" for j in (1, 2)],
             "head": [f"$E_{{1{comma}2}}$", f"$E_{{2{comma}1}}$"],
             "shares": [f"$v_{{{l}}}$ in $f_{{{j}}}$" for l, j in pairs] + [f"$v_{{1}}$ in $F_{{{j}}}$" for j in (1, 2)]}
    for panel, lines in {"overlaps": 3 * m, "head": m * m - m, "shares": 3 * m}.items():
        ax = getattr(plots, panel)(run)
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert [text for text in texts if not text.startswith(("peak", "largest"))] == [*named[panel], "all others"]
        drawn = [line for line in ax.get_lines() if len(line.get_xdata()) == len(run)]
        assert len(drawn) == lines
        thick = [line.get_linewidth() for line in drawn if line.get_label() in named[panel]]
        assert max(line.get_linewidth() for line in drawn if line.get_label() not in named[panel]) < min(thick)
        ax.figure.draw_without_rendering()
        assert ax.get_legend().get_window_extent().height < ax.get_window_extent().height


def test_a_clock_that_is_none():
    with pytest.raises(ValueError, match="`clock` must be one of change, time"):
        plots.head(simulate(Config(m=1, steps=5, batch_size=8, d=6)), clock="foo")
