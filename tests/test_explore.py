"""The window with sliders: moved and clicked by events, without a display; and its command line."""

import dataclasses
import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.backend_bases import MouseEvent

import simsim.explore
from simsim import ConfigError, FlowError, find_phases, flow
from simsim.phases import max_off_diagonal

WINDOW = importlib.import_module("simsim.plots.window")  # the module: its function of that name hides it
BEGIN = {"alpha_ratio": 5.0, "d": 20000, "kappa": 1.0, "init_seed": 5}


pytestmark = pytest.mark.usefixtures("closed")


@pytest.fixture
def explorer():
    return simsim.explore.window(**BEGIN).explorer


def mouse(kind, explorer, ax, place):
    """Send the event that a mouse makes at a place of some Axes, in their own units from 0 to 1."""
    x, y = ax.transAxes.transform(place)
    name = {"press": "button_press_event", "move": "motion_notify_event", "release": "button_release_event"}[kind]
    explorer.figure.canvas.callbacks.process(name, MouseEvent(name, explorer.figure.canvas, x, y, 1))


def click(explorer, name, choice):
    """Press and release the mouse on the button of a choice."""
    buttons = explorer.buttons[name]
    explorer.figure.canvas.draw()
    label, = (label for label in buttons.labels if label.get_text() == choice)
    box = label.get_window_extent()
    place = buttons.ax.transAxes.inverted().transform((box.x0 + 2, (box.y0 + box.y1) / 2))
    mouse("press", explorer, buttons.ax, place)
    mouse("release", explorer, buttons.ax, place)


def shown_matrix(ax):
    return ax.images[0].get_array().data


def test_it_shows_the_flow_that_was_asked_for(explorer):
    """Shares and head with the phases, correlations at the end, the head at its peak, and how it ends in words."""
    values = {**WINDOW.START, **BEGIN}
    assert explorer.asked() == explorer.shown == values
    config = WINDOW.config_of(values)
    assert (config.alpha_ratio, config.d, config.kappa, config.feature_patches, config.init_seed) == (5.0, 20000, 1.0, 7, 5)
    run, own = explorer.run, flow.follow(config)
    assert run.config == own.config and run.status == own.status
    found = find_phases(run)
    run = run.reordered(found.order)
    lines = {line.get_label(): line for line in explorer.panels["shares"].get_lines()}
    np.testing.assert_array_equal(lines["$v_{1}$ in $f_{1}$"].get_ydata(), run.shares[:, 0, 0])
    np.testing.assert_array_equal(lines["$v_{1}$ in $F_{2}$"].get_ydata(), run.head_shares[:, 1, 0])
    lines = {line.get_label(): line for line in explorer.panels["head"].get_lines()}
    rises = np.sign(run.head[np.abs(run.head[:, 1, 0]).argmax(), 1, 0])  # neuron 2 has the sign in which E_21 does
    E = np.where(np.eye(2), 1, rises) * run.head
    np.testing.assert_array_equal(lines["$E_{21}$"].get_ydata(), E[:, 1, 0])
    np.testing.assert_array_equal(shown_matrix(explorer.panels["correlations"]), np.abs(run.correlations[-1]))
    peak = E[np.argmax(max_off_diagonal(run.head))]
    np.testing.assert_array_equal(shown_matrix(explorer.panels["peak"]), peak - np.eye(2))
    assert [text.get_text() for text in explorer.panels["shares"].texts][:1] == ["I"]
    words = explorer.sentence.get_text()
    assert f"Effective rank {run.effective_rank[-1]:.2f} of 2." in words
    assert f"Phases end: I at t = {found.strong_learned.time:.3g}" in words
    assert words.startswith("No collapse: all features learned.") and run.status == flow.BOTH
    assert "when the mouse is released; this one took " in explorer.note.get_text()


def test_a_slider_is_heard_when_it_is_released(explorer, monkeypatch):
    """While it is dragged its value is written beside it, and nothing is computed."""
    computed, follow = [], WINDOW._follow
    monkeypatch.setattr(WINDOW, "_follow", lambda config: computed.append(config) or follow(config))
    slider = explorer.sliders["kappa"]
    mouse("press", explorer, slider.ax, (0.4, 0.5))
    mouse("move", explorer, slider.ax, (0.75, 0.5))
    assert slider.valtext.get_text() == "10" and not computed and explorer.shown["kappa"] == 1.0
    mouse("release", explorer, slider.ax, (0.75, 0.5))
    assert len(computed) == 1 and computed[0].kappa == 10.0 and explorer.shown == {**WINDOW.START, **BEGIN, "kappa": 10.0}
    mouse("press", explorer, explorer.panels["head"], (0.5, 0.5))
    mouse("release", explorer, explorer.panels["head"], (0.5, 0.5))
    assert len(computed) == 1  # there is nothing new to compute


@pytest.mark.parametrize("name, place, value", [("d", 0.0, 10), ("d", 1.0, 10**12), ("alpha_ratio", 0.5, 10.0),
                                                ("feature_patches", 0.0, 2), ("init_seed", 0.5, 50)])
def test_where_sliders_go(explorer, name, place, value, monkeypatch):
    monkeypatch.setattr(WINDOW, "_follow", lambda config: pytest.fail("nothing is released"))
    mouse("press", explorer, explorer.sliders[name].ax, (place, 0.5))
    asked = explorer.asked()[name]
    assert asked == pytest.approx(value, rel=0.05) and type(asked) is type(WINDOW.START[name])
    WINDOW.config_of({**explorer.asked()})  # no slider goes beyond what a flow takes


def test_a_frozen_head_collapses(explorer):
    click(explorer, "head", "frozen")
    assert explorer.shown["head"] == "frozen" and explorer.run.status == flow.COLLAPSED
    words = explorer.sentence.get_text()
    assert words.startswith("Dimensional collapse: the outputs of all neurons are parallel. Effective rank 1.00 of 2.")
    assert np.allclose(shown_matrix(explorer.panels["correlations"]), 1, atol=1e-6)


def test_what_cannot_be_is_said_and_shows_nothing(explorer):
    """And goes away with the next choice that can."""
    click(explorer, "objective", "naive")
    words = explorer.sentence.get_text()
    assert explorer.run is None and "`head` = 'trained' is not possible: objective naive has head frozen" in words
    assert not any(ax.axison or ax.get_lines() or ax.images for ax in explorer.panels.values())
    click(explorer, "head", "frozen")
    assert explorer.run.config.objective == "naive" and all(ax.axison for ax in explorer.panels.values())


def test_the_coarse_path_is_a_runs_own_to_a_thousandth(explorer):
    for seed in range(3):
        config = WINDOW.config_of({**WINDOW.START, "init_seed": seed})
        coarse, own = WINDOW._follow(config), flow.follow(config)
        assert coarse.status == own.status and coarse.counters["steps"] < 0.95 * own.counters["steps"]
        for one, other in zip(find_phases(coarse).ends(), find_phases(own).ends(), strict=True):
            assert (one is None) == (other is None) and (one is None or one.time == pytest.approx(other.time, rel=1e-3))


def test_a_coarse_path_that_fails_gives_way_to_a_runs_own(explorer, monkeypatch):
    follow, asked = flow.follow, []

    def fails(config, **options):
        asked.append(options.get("rtol"))
        if "rtol" in options:
            raise FlowError("it drifted")
        return follow(config, **options)

    monkeypatch.setattr(flow, "follow", fails)
    click(explorer, "head", "frozen")
    assert asked == [WINDOW.RTOL, None] and explorer.run.status == flow.COLLAPSED
    monkeypatch.setattr(flow, "follow", lambda config, **options: fails(config, rtol=1))
    click(explorer, "head", "trained")
    assert explorer.run is None and explorer.sentence.get_text() == "it drifted"


def test_a_flow_that_takes_too_long_is_shown_as_far_as_it_came(explorer, monkeypatch):
    monkeypatch.setattr(WINDOW, "SECONDS", 0.0)
    click(explorer, "head", "frozen")
    assert explorer.run.status == flow.GAVE_UP
    assert explorer.sentence.get_text().startswith("No end yet: 0 s of computing come to t = ")


def test_other_ends_in_a_sentence(explorer):
    """Of any certified end that is neither, it is no collapse and no success; of one without a certificate, no end."""
    def words(status):
        run = dataclasses.replace(explorer.run, status=status, message=flow.VERDICTS[status])
        return WINDOW.sentence(run).split(". ")[0]
    assert words(flow.NOTHING) == "No collapse, and not all learned: no neuron has learned anything"
    assert words(flow.MIXED) == "No collapse, and not all learned: a neuron holds more than one feature"
    assert words(flow.COMPLETE) == "Complete collapse: all weights go to zero as t^(-1/4)"
    assert words(flow.TIMED_OUT) == "No end yet: t_max reached"


@pytest.mark.parametrize("values, why", [({"m": 3}, "the window has alpha_ratio, d,"), ({"d": 5}, "goes from 10 to 1e+12"),
                                         ({"head": "frosen"}, "choose from trained"),
                                         ({"objective": "vicreg"}, "choose from simsiam"),
                                         ({"objective": "naive"}, "objective naive has head frozen")])
def test_a_window_refuses_what_it_cannot_show(values, why):
    with pytest.raises(ConfigError, match=why.replace("+", r"\+")):
        simsim.explore.window(**values)
    assert not plt.get_fignums()


# ---- the command line ------------------------------------------------------------------------

QUIET = SimpleNamespace(check=lambda: None)


@pytest.mark.parametrize("words, line", [
    (["--d", "x"], "--d: 'x' is not a number"), (["--d", "5"], "--d 5: the window goes from 10 to 1e+12"),
    (["--init-seed", "2.5"], "--init-seed 2.5: it must be an integer"),
    (["--head", "frosen"], "--head frosen: choose from trained, frozen"), (["--kapa", "1"], "did you mean --kappa?"),
    (["--objective", "naive"], "--head trained: objective naive has head frozen"), (["more"], "more: nothing is expected here")])
def test_bad_input_is_one_line(words, line, capsys, monkeypatch):
    monkeypatch.setattr(simsim.explore, "_require_display", lambda: pytest.fail("it comes before the display"))
    assert simsim.explore.main(words, QUIET) == 2
    err, = capsys.readouterr().err.splitlines()
    assert line in err


@pytest.mark.parametrize("backend", ["Agg", "pdf"])
def test_without_a_display_it_says_so(backend, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run([sys.executable, "-m", "simsim.explore"], env={**environment, "MPLBACKEND": backend}, cwd=tmp_path,
                          capture_output=True, text=True)
    line, = done.stderr.splitlines()
    assert done.returncode == 2 and "there is no display to open a window on" in line and backend.lower() in line.lower()


def test_a_toolkit_that_finds_no_display_is_one_line(capsys, monkeypatch):
    def figure():
        raise RuntimeError("no screen :0")
    monkeypatch.setattr(plt, "figure", figure)
    assert simsim.explore.main([], QUIET) == 2
    assert "there is no display to open a window on: no screen :0" in capsys.readouterr().err


def test_the_command_shows_the_window_until_it_is_closed(monkeypatch):
    shown = []
    monkeypatch.setattr(simsim.explore, "_require_display", lambda: None)
    monkeypatch.setattr(plt, "show", lambda block: shown.append((block, plt.gcf().explorer.shown)))
    interrupts = simsim.interrupts.Interrupts()
    assert simsim.explore.main(["--d", "1e3", "--head", "frozen", "--init-seed", "4"], interrupts) == 0
    assert shown == [(True, {**WINDOW.START, "d": 1000, "head": "frozen", "init_seed": 4})]

    def interrupted(block):
        raise KeyboardInterrupt
    monkeypatch.setattr(plt, "show", interrupted)
    assert simsim.explore.main(["--head", "frozen"], interrupts) == 130


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit) as done:
        simsim.explore.main(["--help"], QUIET)
    assert done.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"--{name.replace('_', '-')} " in text for name in WINDOW.START)
    assert "10 to 1e+12 [10000]" in text and "one of simsiam, naive, barlow [simsiam]" in text
