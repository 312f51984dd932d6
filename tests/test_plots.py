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
