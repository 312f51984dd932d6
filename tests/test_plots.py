"""The figures: they take Axes, return them, and draw what they say."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from simsim import Config, plots, simulate


@pytest.fixture(scope="module", params=[1, 2, 3])
def short_run(request):
    return simulate(Config(m=request.param, steps=20, batch_size=16, d=10))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", ["overlaps", "head", "shares", "loss"])
def test_each_panel_draws_on_the_axes_it_is_given(short_run, name):
    _, ax = plt.subplots()
    assert getattr(plots, name)(short_run, ax) is ax
    assert getattr(plots, name)(short_run).figure is not ax.figure


def test_panels_show_the_data(short_run):
    ax = plots.overlaps(short_run)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_array_equal(lines[r"$|\langle w_1, v_2\rangle|$"], np.abs(short_run.overlaps[:, 0, 1]))
    assert len(lines) == 2 * short_run.config.m


def test_phases_takes_four_axes(short_run):
    figure, axes = plt.subplots(4)
    assert np.array_equal(plots.phases(short_run, axes), axes)
    assert plots.phases(short_run, list(axes)).shape == (4,)
    with pytest.raises(ValueError, match="four Axes"):
        plots.phases(short_run, axes[0])
    figure.savefig("/dev/null", format="png")


@pytest.mark.parametrize("options", [dict(features=9), dict(head="free-diagonal"), dict(head="random", head_diagonal="free", m=1),
                                     dict(objective="barlow"), dict(batch_norm=False, lr=1e-6), dict(head="directpred", m=3)], ids=str)
def test_any_head_and_any_number_of_features(options):
    run = simulate(Config(**{"steps": 20, "batch_size": 16, "d": 20, **options}))
    overlaps, head, *_ = plots.phases(run)
    m, K = run.config.m, run.config.features
    assert len([line for line in overlaps.get_lines() if line.get_label().startswith("$|")]) == m * K
    assert len({line.get_color() for line in overlaps.get_lines() if line.get_label().startswith("$|")}) == min(K, 8)
    free = run.config.head in ("free-diagonal", "directpred") or run.config.head_diagonal == "free"
    entries = {line.get_label(): line.get_ydata() for line in head.get_lines() if line.get_label().startswith("$E")}
    assert len(entries) == (m * m if free else m * m - m)
    if free:
        np.testing.assert_array_equal(entries["$E_{11}$"], run.head[:, 0, 0])


def test_the_palette_has_eight_colours():
    assert len(set(plots.FEATURE_COLOURS)) == len(plots.FEATURE_COLOURS) >= 8
