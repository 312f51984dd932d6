"""What the pictures show: data, labels, legends and texts read back, against what by_hand makes of the same run."""

import base64
import dataclasses
import re

import by_hand
import matplotlib
import numpy as np
import pytest
from stories import COLLAPSE, FLOW, FOUR_PHASES, no, s, story, strong_in_second_row, w

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_hex

import simsim.plots.webpage
from simsim import Config, check_theorems, find_phases, laws, plots, simulate, theory
from simsim.plots.style import power

ROUNDING = dict(rtol=1e-9, atol=1e-13)  # of the same formula, otherwise arranged
SGD = Config(m=2, d=10, feature_patches=4, steps=300, batch_size=64, lr=0.003, head_lr=0.03, alpha_ratio=4.0,
             init_seed=3)


pytestmark = pytest.mark.usefixtures("closed")


@pytest.fixture(scope="module")
def path():
    """A flow in which all four phases come, with the neuron that learns v_1 first in the second row."""
    return strong_in_second_row(simulate(FLOW))[0]


@pytest.fixture(scope="module")
def pair():
    """A run of SGD and the flow beside it, again with the neuron that learns v_1 first in the second row."""
    return strong_in_second_row(simulate(SGD), simulate(dataclasses.replace(SGD, engine="flow", t_max=2 * SGD.steps * SGD.lr)))


def labelled(ax):
    """{label: (x, y, line)} of what a legend names."""
    return {line.get_label(): (*line.get_data(), line) for line in ax.get_lines() if line.get_label()[0] != "_"}


def expected(run, order):
    """{panel: {label: y}} of a run of two neurons and two features; `order` has the neurons' rows by their roles."""
    state, numbers = by_hand.of_run(run), (1, 2)
    a, shares, head_shares = np.abs(run.overlaps) * state.strengths, state.shares, state.head_shares
    mu11, _, nu = by_hand.mask(run.config)
    noise = (15 * nu / (mu11 / 2)) ** (1 / 6) * np.sqrt(np.diagonal(run.gram, axis1=1, axis2=2))
    rows = dict(zip(numbers, order))
    s, w = order
    sign = np.sign(run.head[np.abs(run.head[:, w, s]).argmax(), w, s])  # E_21 rises
    E = sign * run.head
    top = np.abs(run.head[:, [w, s], [s, w]]).max(axis=1).argmax()
    when = f"step {run.steps[top]}" if run.config.engine != "flow" else f"$t$ = {power(run.time[top])}"
    lines = {
        "overlaps": {f"$v_{{{l}}}$ in $w_{{{j}}}$": a[:, rows[j], l - 1] for j in numbers for l in numbers}
        | {f"noise in $w_{{{j}}}$": noise[:, rows[j]] for j in numbers},
        "head": {f"$E_{{{j}{i}}}$": E[:, rows[j], rows[i]] for j, i in ((1, 2), (2, 1))}
        | {f"{'peak' if top < len(run) - 1 else 'largest'}: $E_{{21}}$ = {E[top, w, s]:.2g}\nat {when}": E[[top], w, s]},
        "shares": {f"$v_{{{l}}}$ in $f_{{{j}}}$": shares[:, rows[j], l - 1] for j in numbers for l in numbers}
        | {f"$v_{{1}}$ in $F_{{{j}}}$": head_shares[:, rows[j], 0] for j in numbers},
        "loss": {"expected": state.loss}}
    if run.config.engine != "flow":
        lines["loss"] = {f"batch of {run.config.batch_size}": run.batch_loss} | lines["loss"]
    return lines


def read(axes, lines, x, also=()):
    """Compare every labelled line and every legend of four panels with `lines`, on the axis x (T,); `also` is named in each."""
    for ax, (panel, by_label) in zip(axes, lines.items()):
        seen = labelled(ax)
        assert set(seen) == {*by_label, *also}, panel
        assert [text.get_text() for text in ax.get_legend().get_texts()] == list(seen), panel
        for label, values in by_label.items():
            place = x if len(values) > 1 else x[np.abs(by_label["$E_{21}$"]).argmax()]
            np.testing.assert_allclose(seen[label][0], place, err_msg=label, **ROUNDING)
            np.testing.assert_allclose(seen[label][1], values, err_msg=label, **ROUNDING)


@pytest.mark.parametrize("clock, label", [(None, "time $t$ (the axis goes by how much changes)"), ("time", "time $t$")])
def test_four_panels_of_a_flow(path, clock, label):
    axes = plots.phases(path, clock=clock)
    assert by_hand.roles(path) == [1, 0]
    read(axes, expected(path, [1, 0]), path.time if clock else by_hand.change(path))
    assert [ax.get_ylabel() for ax in axes] == [r"signal $\alpha_l |\langle w_j, v_l\rangle| / \sigma$", "head, off the diagonal",
                                                "share of variance", "loss $L$"]
    assert [ax.get_xlabel() for ax in axes] == ["", "", "", label]
    assert [ax.get_yscale() for ax in axes] == ["log", "linear", "linear", "linear"]
    assert {ax.get_xscale() for ax in axes} == {"log" if clock else "linear"}


def test_four_panels_of_sgd_and_the_flow_beside(pair):
    """The flow's lines are those of the run, thin, at the steps t / eta."""
    run, flow = pair
    assert by_hand.roles(run) == [1, 0]
    axes = plots.phases(run, flow=flow)
    read(axes, expected(run, [1, 0]), run.steps, also=["infinite batch"])
    for ax, lines in zip(axes, expected(flow, [1, 0]).values()):
        lines = {label: values for label, values in lines.items() if len(values) > 1}
        thin = [line for line in ax.get_lines() if line.get_label()[0] == "_" and len(line.get_xdata()) == len(flow)]
        assert len(thin) == len(lines)
        for line, values in zip(thin, lines.values()):
            np.testing.assert_allclose(line.get_xdata(), flow.time / 0.003, rtol=1e-14)
            np.testing.assert_allclose(line.get_ydata(), values, **ROUNDING)
            assert line.get_linewidth() < min(bold.get_linewidth() for label, (*_, bold) in labelled(ax).items()
                                              if label != "infinite batch")
    assert flow.time[-1] / 0.003 >= 300 == axes[0].get_xlim()[1]
    first, second, *_ = axes[-1].get_xlabel().split("\n")
    assert first == "SGD step" and "thin lines" in second and "flow" in second
    assert "thin" not in plots.phases(run)[-1].get_xlabel()


def test_colour_is_the_feature_and_style_the_neuron(path):
    overlaps, head, shares, _ = plots.phases(path)
    for name, lines in ((lambda j, l: f"$v_{{{l}}}$ in $w_{{{j}}}$", labelled(overlaps)),
                        (lambda j, l: f"$v_{{{l}}}$ in $f_{{{j}}}$", labelled(shares))):
        line = {(j, l): lines[name(j, l)][2] for j in (1, 2) for l in (1, 2)}
        assert line[1, 1].get_color() == line[2, 1].get_color() != line[1, 2].get_color() == line[2, 2].get_color()
        assert [line[1, l].get_linestyle() for l in (1, 2)] == ["-", "-"] and line[2, 1].get_linestyle() == "--"
    darkness = [float(labelled(head)[label][2].get_color()) for label in ("$E_{12}$", "$E_{21}$")]
    assert darkness[1] == 0 < darkness[0] < 1  # the second row, of which the story is, in black


def test_no_two_neurons_have_the_same_line():
    run = simulate(Config(m=6, d=12, features=1, steps=5, batch_size=16))
    lines = [line for line in plots.overlaps(run).get_lines() if line.get_color() == plots.FEATURE_COLOURS[0]]
    assert len({(line.get_linestyle(), str(line._dash_pattern), line.get_linewidth()) for line in lines}) == 6


def test_an_axis_of_overlaps_shows_where_they_began(path):
    """All that is at the start and all that is large; what falls below 1e-4 and below its start may leave it."""
    strengths = np.array([20.0, 1.0])
    starts = strengths * np.abs(path.overlaps[0])
    low, high = plots.overlaps(path).get_ylim()
    assert low < min(starts.min(), np.abs(path.overlaps[-1]).max()) and (strengths * np.abs(path.overlaps)).max() < high
    small = simulate(dataclasses.replace(FLOW, d=10**12, t_max=1e3))
    low, _ = plots.overlaps(small).get_ylim()
    assert np.abs(small.overlaps[0]).min() / 10 < low < np.abs(small.overlaps[0]).min() < 1e-4


def test_the_times_along_the_axis_of_change_are_those_of_its_rows(path):
    ax = plots.shares(path)
    change, labels = by_hand.change(path), ax.get_xticklabels()
    assert len({label.get_text() for label in labels}) == len(labels) > 3
    times = [number(label.get_text()) for label in labels]
    assert all(later > 1.04 * sooner for sooner, later in zip(times, times[1:]))
    for place, label in zip(ax.get_xticks(), labels):
        row = np.argmin(np.abs(change - place))
        assert change[row] == pytest.approx(place, rel=1e-9)
        assert number(label.get_text()) == pytest.approx(path.time[row], rel=0.05)  # two digits


def number(text):
    """What a number to two digits says, mathtext or not."""
    return float(text.strip("$").replace(r"{\times}10^{", "e").rstrip("}"))


@pytest.mark.parametrize("value, text", [
    (0.0, "0"), (0.03, "0.03"), (0.0012, "0.0012"), (0.5, "0.5"), (1.0, "1"), (2.4, "2.4"), (9.96, "10"), (42.0, "42"),
    (9400.0, "9400"),
    (0.00034, r"$3.4{\times}10^{-4}$"), (12000.0, r"$1.2{\times}10^{4}$"), (4.8e9, r"$4.8{\times}10^{9}$")])
def test_a_number_to_two_digits(value, text):
    assert power(value) == text


# ---- what depends on the run ---------------------------------------------------------------

def turned(run, j):
    """The same run with neuron j's sign turned."""
    sign = np.where(np.arange(run.config.m) == j, -1.0, 1.0)
    square = np.outer(sign, sign)
    return dataclasses.replace(run, overlaps=run.overlaps * sign[:, None], gram=run.gram * square, head=run.head * square)


def test_e_21_rises_whatever_the_signs_of_neurons(path):
    """f and -f are one neuron: all four runs have one picture, and those in which E_21 falls say that it is turned."""
    _, down = runs = sorted((path, turned(path, 0)), key=lambda run: -run.head[:, 0, 1].sum())
    assert down.head[:, 0, 1].min() < -0.1
    for run in (*runs, turned(runs[0], 1), turned(runs[1], 1)):
        axes = plots.phases(run)
        lines = labelled(axes[1])
        assert lines["$E_{21}$"][1].max() == pytest.approx(np.abs(path.head[:, 0, 1]).max())
        np.testing.assert_allclose(lines["$E_{12}$"][1], labelled(plots.head(path))["$E_{12}$"][1])
        ring = [values for label, (_, values, _) in lines.items() if label.startswith("peak: $E_{21}$")]
        assert ring[0][0] == lines["$E_{21}$"][1].max() > 0
        falls = run.head[:, 0, 1].min() < -0.1
        assert ("$f_{2}$ with the other sign" in axes[-1].get_xlabel()) == falls
        largest = np.array([np.array(ax.get_images()[0].get_array())[1, 0] for ax in plots.heads({"run": run})[0]]).max()
        assert largest == pytest.approx(np.abs(path.head[:, 0, 1]).max())


def test_a_head_that_does_not_move_has_no_panel():
    run = simulate(dataclasses.replace(FLOW, head="frozen"))
    axes = plots.phases(run)
    assert [ax.get_ylabel().split()[0] for ax in axes] == ["signal", "share", "loss"]
    assert all(ax.get_legend() for ax in axes) and len(plots.phases(run, plt.subplots(3)[1])) == 3
    four = plots.phases(run, plt.subplots(4)[1])
    assert [text.get_text() for text in four[1].texts] == ["the head is frozen: $E = I$"] and not labelled(four[1])
    for three, beside in zip(axes, four[[0, 2, 3]]):
        assert list(labelled(three)) == list(labelled(beside))
    given = dataclasses.replace(run, head=run.head + 0.5 * np.eye(2)[::-1])  # frozen elsewhere than at I
    assert len(plots.phases(given)) == 4


def test_a_loss_that_falls_far_has_a_logarithmic_axis(path):
    vanishing = simulate(dataclasses.replace(FLOW, batch_norm=False, lr=1.0))
    assert vanishing.loss.max() > 1e6 * vanishing.loss[-1] > 0
    assert plots.loss(vanishing).get_yscale() == "log" and plots.loss(path).get_yscale() == "linear"
    assert plots.loss(path).get_ylim()[0] == 0
    negative = simulate(Config(objective="spectral", steps=30, batch_size=64, d=20))
    assert negative.loss.min() < 0 and plots.loss(negative).get_ylim()[0] < negative.loss.min()


# ---- theory ------------------------------------------------------------------------------------

def times_drawn(ax):
    """{name: x} of the times of theory: dash-dotted lines, in the order of the names beside them."""
    names = [text.get_text().strip() for text in ax.texts if text.get_text().startswith("$T_")]
    lines = [line for line in ax.get_lines() if line.get_linestyle() == "-." and len(line.get_xdata()) == 2]
    return dict(zip(names, (line.get_xdata()[0] for line in lines), strict=True))


def test_times_of_theory_stand_where_laws_have_them():
    run = simulate(Config(engine="flow", d=10**6, lr=1.0, head_lr=0.1, init_seed=0))
    start = run.config, run.overlaps[0], run.noise_norms[0]
    alone = [theory.FrozenNeuron(run.config, *neuron).time_to_share(0.5) for neuron in zip(run.overlaps[0], run.norms[0])]
    law = {"$T_1$": min(alone),
           "$T_2$": laws.substitution_time(*start), "$T_3$": laws.Acceleration(*start).time()}
    for clock in ("time", None):
        axes = plots.phases(run, clock=clock, laws=True)
        drawn = times_drawn(axes[0])
        assert list(drawn) == list(law)
        for name, time in law.items():
            place = time if clock else np.interp(time, run.time, by_hand.change(run))
            assert drawn[name] == pytest.approx(place, rel=1e-9)
        for ax in axes[1:]:
            assert [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == "-."] == list(drawn.values())
        said = " ".join(axes[-1].get_xlabel().split())
        assert all(f"{name} at {time:.3g} (" in said for name, time in law.items())
        assert "(eq. 14)" in said and "(eq. 20)" in said and "(eqs. 22, 23)" in said and "not drawn" not in said
        assert "by theory" in [text.get_text() for text in axes[0].get_legend().get_texts()]
    seen = find_phases(run)
    assert [time / end.time for time, end in zip(law.values(), seen.ends())] == pytest.approx([1, 1, 1], abs=0.02)
    assert not times_drawn(plots.phases(run)[0]) and "theory" not in plots.phases(run)[-1].get_xlabel()


@pytest.mark.parametrize("options, drawn, silent", [
    (dict(steps=60, lr=0.19 / 400), ["$T_1$"], "$T_2$, $T_3$ not drawn: without a large d"),
    (dict(steps=60, head="frozen"), ["$T_1$"], "$T_2$, $T_3$ not drawn: without the paper's head"),
    (dict(steps=20), [], "$T_1$ not drawn: at step 42.7 by eq. 14, after the end of the run"),
    (dict(steps=60, m=3), ["$T_1$"], "$T_2$, $T_3$ not drawn: without two neurons"),
    (dict(steps=60, objective="naive"), [], "$T_1$ not drawn: without the paper's objective")], ids=str)
def test_where_a_law_refuses_nothing_is_drawn_and_it_is_said(options, drawn, silent):
    run = simulate(Config(batch_size=64, **options))
    axes = plots.phases(run, laws=True)
    found = times_drawn(axes[0])
    assert list(found) == drawn and silent in " ".join(axes[-1].get_xlabel().split())
    for x in found.values():
        times = [theory.FrozenNeuron(run.config, *neuron).time_to_share(0.5) for neuron in zip(run.overlaps[0], run.norms[0])]
        assert x == pytest.approx(min(times) / run.config.lr, rel=1e-9)


def test_part_of_a_run_has_no_times_of_theory(path):
    axes = plots.phases(path[5:], laws=True)
    said = " ".join(axes[-1].get_xlabel().split())
    assert not times_drawn(axes[0]) and "$T_1$, $T_2$, $T_3$ not drawn: laws count from the start" in said


# ---- the names of phases -------------------------------------------------------------------

def names_of(ax):
    """{text above the Axes: where it stands, in data}."""
    to_data = lambda text: (ax.transAxes + ax.transData.inverted()).transform(text.get_position())[0]
    return {text.get_text(): to_data(text) for text in ax.texts}


def middle(ax, first, last):
    """The place in data half-way between two on the screen."""
    ends = ax.transData.transform([(first, 1), (last, 1)])
    return ax.transData.inverted().transform(ends.mean(axis=0))[0]


def spans_of(ax):
    """[(first, last)] of the shaded spans, and the places of vertical lines by their style."""
    spans = [(patch.get_extents().x0, patch.get_extents().x1) for patch in ax.patches]
    width = lambda x: ax.transData.inverted().transform((x, 0))[0]
    lines = [(line.get_xdata()[0], line.get_linestyle()) for line in ax.get_lines()
             if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]]
    return [(width(a), width(b)) for a, b in spans], lines


def test_each_phase_stands_above_its_span():
    """Four phases that end at steps 1, 10, 100 and 1000."""
    run = story(FOUR_PHASES)
    axes = plots.phases(run)
    names = names_of(axes[0])
    assert list(names) == ["I", "II", "III", "IV"]
    for name, first, last in (("I", 0, 1), ("II", 1, 10), ("III", 10, 100), ("IV", 100, 1000)):
        assert names[name] == pytest.approx(middle(axes[0], first, last), rel=1e-6)
    for ax in axes:
        spans, lines = spans_of(ax)
        np.testing.assert_allclose(spans, [(0, 1), (1, 10), (10, 100), (100, 1000)], rtol=1e-6, atol=1e-6)
        assert [x for x, _ in lines] == [1, 10, 100, 1000] and {style for _, style in lines} == {"-"}
        shades = [patch.get_facecolor() for patch in ax.patches]
        assert shades[0] == shades[2] != shades[1] == shades[3]


def test_phases_that_end_together_share_a_name_and_what_did_not_come_has_none():
    together = story([FOUR_PHASES[0], FOUR_PHASES[1], (s, no, no, w, 0, 0.3)])  # II and III in one row
    ax = plots.phases(together)[0]
    assert list(names_of(ax))[0] == "I" and all("IV" not in name for name in names_of(ax))
    short = plots.phases(story(FOUR_PHASES[:3]))[0]
    assert list(names_of(short)) == ["I", "II"]
    assert list(names_of(plots.phases(story(COLLAPSE))[0])) == ["I"]


def test_a_head_that_is_back_before_phase_three_ends_has_its_name_there():
    run = story(FOUR_PHASES[:3] + [(s, no, no, no, 0, 0.02), (s, no, no, w, 0, 0.01)])
    ax = plots.phases(run)[0]
    assert list(names_of(ax)) == ["I", "II", "III", "IV"] and names_of(ax)["IV"] == pytest.approx(100, rel=1e-6)
    spans, lines = spans_of(ax)
    np.testing.assert_allclose(spans, [(0, 1), (1, 10), (10, 1000)], rtol=1e-6, atol=1e-6)
    assert [x for x, style in lines if style == ":"] == [100]


# ---- matrices ------------------------------------------------------------------------------

def moments_by_hand(run):
    """{moment: row} of a run in which all four phases come, in order: their ends between its start and its end."""
    state, order = by_hand.of_run(run), by_hand.roles(run)
    one, two = order
    first = lambda condition: int(np.argmax(condition))
    size = np.abs(run.head[:, [0, 1], [1, 0]]).max(axis=1)
    strong, supplied, weak = state.shares[:, one, 0], state.head_shares[:, two, 0], state.shares[:, two, 1]
    back = (np.arange(len(run)) > size.argmax()) & (size <= 0.1001 * size.max())
    half = 0.5 - 1e-9
    ends = {"I ends": first(strong >= half), "II ends": first(supplied >= half), "III ends": first(weak >= half),
            "IV ends": first(back)}
    assert list(ends.values()) == sorted(ends.values())
    return {"start": 0, **ends, "end": len(run) - 1}


@pytest.mark.parametrize("kind", ["correlations", "heads"])
def test_matrices_at_the_moments_that_matter(path, kind):
    axes = getattr(plots, kind)({"mine": path})
    order = np.ix_([1, 0], [1, 0])
    state = by_hand.of_run(path)
    sign = np.sign(path.overlaps[-1, [0, 1], state.shares[-1].argmax(axis=1)])  # each in that of its feature
    values = state.correlations * np.outer(sign, sign) if kind == "correlations" else np.abs(path.head - np.eye(2))
    rows = moments_by_hand(path)
    if kind == "heads":  # and the moment of its peak; in this run no entry falls below 0 but by rounding
        peak = int(np.abs(path.head[:, 0, 1]).argmax())
        rows = dict(sorted({**rows, "peak": peak}.items(), key=lambda item: item[1]))
    assert axes.shape == (1, len(rows)) and axes[0, 0].get_ylabel() == "mine"
    letters = {"correlations": "f", "heads": "F"}[kind]
    assert [text.get_text() for text in axes[0, 0].get_yticklabels()] == [f"${letters}_1$", f"${letters}_2$"]
    assert all([text.get_text() for text in ax.get_xticklabels()] == ["$f_1$", "$f_2$"] for ax in axes[0])
    for ax, (moment, row) in zip(axes[0], rows.items()):
        name, when = ax.get_title().split("\n")
        assert name == moment and number(when.removeprefix("$t$ = ")) == pytest.approx(path.time[row], rel=0.05)
        shown = np.array(ax.get_images()[0].get_array())
        np.testing.assert_allclose(shown, values[row][order], rtol=1e-5, atol=1e-7)  # a phase's end is known to that
        for text in ax.texts:
            column, line = map(int, text.get_position())
            assert float(text.get_text()) == pytest.approx(shown[line, column], abs=0.0051)  # two decimals
        assert len(ax.texts) == 4
        framed = [patch.get_xy() for patch in ax.patches]
        assert framed == ([(-0.5, 0.5)] if moment == "peak" else [])  # row 2, column 1: E_21
        if kind == "correlations":
            spectrum = np.linalg.eigvalsh(state.correlations[row]) / 2
            rank = np.exp(-sum(part * np.log(part) for part in spectrum if part > 1e-15))
            held = (state.shares[row] >= 0.5 - 1e-9).any(axis=0)
            words, features = ax.get_xlabel().split("\n")
            assert float(words.removeprefix("effective rank ")) == pytest.approx(rank, abs=0.0051)
            assert features == "held: " + (", ".join(f"$v_{{{l + 1}}}$" for l in (0, 1) if held[l]) or "none")
    bar = axes[0, 0].figure.axes[-1]
    assert bar.get_ylabel() == {"correlations": r"$\mathrm{corr}(f_i, f_j)$", "heads": "$E - I$"}[kind]
    low, high = axes[0, 0].get_images()[0].get_clim()
    assert (low, high) == (-1, 1) if kind == "correlations" else high == -low == pytest.approx(np.abs(values).max())


def test_the_colours_of_a_head_reach_as_far_on_both_sides():
    run = story([*FOUR_PHASES[:2], (s, no, no, w, 0.1, -0.4)])
    images = [ax.get_images()[0] for ax in plots.heads({"story": run})[0]]
    assert {image.get_clim() for image in images} == {(-0.4, 0.4)}


def test_few_neurons_stand_by_their_roles_in_matrices():
    """As in the report's table: E_21 is the second row's first entry."""
    run = simulate(Config(m=4, d=12, steps=50, batch_size=32, alpha_ratio=1.5, feature_patches=4, init_seed=1))
    order = list(find_phases(run).order)
    E = run.head[:, order][:, :, order]
    sign = np.array([1, *(np.sign(E[np.abs(E[:, j, 0]).argmax(), j, 0]) for j in (1, 2, 3))])
    end = np.array(plots.heads({"SGD": run})[0, -1].get_images()[0].get_array())
    np.testing.assert_allclose(end, np.outer(sign, sign) * E[-1] - np.eye(4), rtol=1e-12, atol=1e-15)
    assert order != sorted(order) and (sign < 0).any()


def test_matrices_of_sgd_name_its_steps_and_many_neurons_stand_by_their_features():
    run = simulate(Config(m=7, d=20, steps=50, batch_size=32, alpha_ratio=1.5, feature_patches=4, init_seed=1))
    axes = plots.correlations({"SGD": run})
    assert axes[0, 0].get_title() == "start\nstep 0" and "end\nstep 50" in [ax.get_title() for ax in axes[0]]
    held = by_hand.of_run(run).shares[-1].argmax(axis=1)
    shown = np.array(next(ax for ax in axes[0] if ax.get_title().startswith("end")).get_images()[0].get_array())
    orders = [np.array(order) for order in permutations(held)]
    state = by_hand.of_run(run)
    sign = np.sign(run.overlaps[-1, np.arange(7), held])
    corr = state.correlations[-1] * np.outer(sign, sign)
    weak = int(held.sum())
    assert 0 < weak < 7 and (corr < -1e-3).any() and not np.allclose(corr, state.correlations[-1])  # there are blocks, and signs
    assert [text.get_text() for text in axes[0, 0].get_yticklabels()] == [f"{7 - weak} on $v_{{1}}$", f"{weak} on $v_{{2}}$"]
    np.testing.assert_allclose(axes[0, 0].get_yticks(), [(7 - weak - 1) / 2, 7 - weak + (weak - 1) / 2])
    for ax in axes[0]:
        frames = [(frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height(), to_hex(frame.get_edgecolor()).upper())
                  for frame in ax.patches]
        assert frames == [(-0.5, -0.5, 7 - weak, 7 - weak, plots.FEATURE_COLOURS[0]),
                          (6.5 - weak, 6.5 - weak, weak, weak, plots.FEATURE_COLOURS[1])]
    assert any(np.allclose(shown, corr[np.ix_(order, order)], rtol=1e-9) for order in orders)
    assert axes[0, 0].get_images()[0].get_clim() == (-1, 1)


def test_correlations_say_who_holds_what():
    """A division of labour and a collapse in words above their rows; of many neurons their number below each matrix."""
    both, lost = (story(rows) for rows in (FOUR_PHASES, COLLAPSE))
    axes = plots.correlations({"both": both, "lost": lost})
    assert [ax.get_title(loc="left").strip() for ax in axes[:, 0]] == [
        "of 2 neurons 1 on $v_{1}$, 1 on $v_{2}$ in the end", "both neurons end on $v_{1}$: collapse"]
    end = np.array(axes[1, len(plots.instants(lost)) - 1].get_images()[0].get_array())
    assert np.all(end > 0.9)  # whatever the signs of their weights, two neurons that hold one feature say the same
    turned = dataclasses.replace(lost, overlaps=lost.overlaps * [[1], [-1]])
    again = plots.correlations({"turned": turned})[0, len(plots.instants(turned)) - 1].get_images()[0].get_array()
    np.testing.assert_allclose(np.array(again), end, rtol=1e-12)


def permutations(held):
    """All orders of neurons in which those of one feature stand together, v_1's first."""
    from itertools import permutations as every
    strong, weak = (np.flatnonzero(held == l).tolist() for l in (0, 1))
    return [[*first, *second] for first in every(strong) for second in every(weak)]


# ---- the pull on the second neuron, and the motion ----------------------------------------------

def test_the_portrait_is_of_the_second_neuron_and_its_arrows_are_the_flow(path):
    """Arrows against eqs. 7 and 8 written out, with neuron 2 put at their places, its length as it is."""
    axes = plots.portrait(path)
    rows, strengths = moments_by_hand(path), np.array([20.0, 1.0])
    run, titles = path, [ax.get_title() for ax in axes]
    assert titles[0].startswith("phase I ends") and "III" in titles[1]
    signals = np.log10(strengths * np.abs(run.overlaps[:, 0]))  # row 0 is neuron 2
    x, (two, three) = by_hand.change(run), (rows["II ends"], rows["III ends"])
    half_way = two + int(np.argmin(np.abs(x[two:three + 1] - (x[two] + x[three]) / 2)))
    for ax, row in zip(axes, (rows["I ends"], half_way)):
        assert ax.get_xlabel() == r"$\log_{10} \, \alpha_1 |a_{21}| / \sigma$"
        assert ax.get_ylabel() == r"$\log_{10} \, \alpha_2 |a_{22}| / \sigma$"
        line, point = ax.get_lines()
        np.testing.assert_allclose(np.transpose(line.get_data()), signals, rtol=1e-12)
        np.testing.assert_allclose(point.get_xydata()[0], signals[row], atol=1e-6)
        arrows = ax.collections[0]
        places, rates = np.array(arrows.get_offsets()), []
        for sizes in 10**places / strengths:
            a, gram = run.overlaps[row].copy(), run.gram[row].copy()
            a[0] = sizes * np.sign(a[0])
            shrunk = np.sqrt((run.gram[row, 0, 0] + (run.overlaps[row, 0] ** 2).sum() - (sizes**2).sum()) / gram[0, 0])
            gram[0] *= shrunk
            gram[:, 0] *= shrunk
            rates.append(by_hand.State(run.config, a, gram, run.head[row]).growth[0])
        rates, speed = np.array(rates), np.linalg.norm(rates, axis=1)
        assert len(places) > 100
        np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), rates / speed[:, None], atol=1e-6)
        np.testing.assert_allclose(arrows.get_array(), np.log10(speed), atol=1e-6)
    assert "rate" in axes[0].figure.axes[-1].get_ylabel()


def test_dots_are_outputs_and_rings_predictions(path):
    """In phase III the ring of neuron 2 is at v_1 and its dot is not."""
    _, ax = plt.subplots()
    animation = plots.motion(path, ax, frames=40)
    ax.figure.canvas.draw()
    state, rows, x = by_hand.of_run(path), moments_by_hand(path), by_hand.change(path)
    frames = np.searchsorted(x, np.linspace(0, x[-1], 40)).clip(0, len(x) - 1)
    dots, rings = ax.collections
    phases = []
    for frame, row in enumerate(frames):
        animation._draw_frame(frame)
        for drawn, shares in ((dots, state.shares), (rings, state.head_shares)):
            np.testing.assert_allclose(drawn.get_offsets(), np.sqrt(shares[row][[1, 0]]), rtol=1e-6, atol=1e-7)
        assert ax.texts[1].get_text() == "$f_{2}$"
        beside = np.sqrt(state.shares[row, 0]) + 0.02
        np.testing.assert_allclose(ax.texts[1].get_position(), beside, rtol=1e-6, atol=1e-7)
        when, legend = ax.get_title().split("\n")
        time, phase = when.removeprefix("$t$ = ").split(", ")
        assert number(time) == pytest.approx(path.time[row], rel=0.05)
        assert "dots: outputs" in legend and "rings: predictions" in legend
        ended = [name for name in ("I", "II", "III", "IV") if rows[f"{name} ends"] <= row]
        assert phase == ("after phase IV" if len(ended) == 4 else f"phase {('I', 'II', 'III', 'IV')[len(ended)]}")
        phases.append(phase)
    assert {"phase II", "phase III", "after phase IV"} <= set(phases)
    assert "strong" in ax.get_xlabel() and "weak" in ax.get_ylabel()
    tail = ax.get_lines()[3].get_xydata()  # after the arc and two stars, neuron 1's
    np.testing.assert_allclose(tail, np.sqrt(state.shares[frames[-26:], 1]), rtol=1e-6, atol=1e-7)


def test_a_phase_alone_can_be_an_animation(path):
    rows = moments_by_hand(path)
    captions = lambda **part: _captions(path, **part)
    for phase, first, last in (("II", "I ends", "II ends"), ("III", "II ends", "III ends")):
        shown = captions(phase=phase)
        assert {caption.split(", ")[1] for caption in shown[:-1]} == {f"phase {phase}"}
        for caption, row in ((shown[0], rows[first]), (shown[-1], rows[last])):
            assert number(caption.split(",")[0].removeprefix("$t$ = ")) == pytest.approx(path.time[row], rel=0.05)
    assert captions(phase=(rows["I ends"], rows["II ends"])) == captions(phase="II")
    assert captions()[0].startswith("$t$ = 0, phase I")


def _captions(run, **part):
    _, ax = plt.subplots()
    animation = plots.motion(run, ax, frames=6, **part)
    shown = []
    for frame in range(6):
        animation._draw_frame(frame)
        shown.append(ax.get_title().split("\n")[0])
    return shown


@pytest.mark.parametrize("phase, said", [("V", "one of I, II, III, IV, or two rows"), ((5, 5), "in order"),
                                         ((0, 10**6), "in order"),
                                         (3, "or two rows"), ((0.0, 3), "or two rows")])
def test_a_part_that_is_none_is_refused(path, phase, said):
    with pytest.raises(ValueError, match=said):
        plots.motion(path, phase=phase)


def test_a_motion_of_no_frames_is_refused(path):
    with pytest.raises(ValueError, match="`frames` must be 1 or more, got 0"):
        plots.motion(path, frames=0)


def test_a_phase_that_did_not_come_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="'III': it did not come, for collapsed"):
        plots.motion(story(COLLAPSE), phase="III")
    early = story(FOUR_PHASES[:3] + [(s, no, no, no, 0, 0.02), (s, no, no, w, 0, 0.01)])
    with pytest.raises(ValueError, match="'IV': it was over when"):
        plots.motion(early, phase="IV")


# ---- the page -------------------------------------------------------------------------------

def pictures(text):
    """[(caption, bytes)] of the pictures in a page that are not the animation's, each as it is for a wide window."""
    figure = (r'<div class="picture" tabindex="0"><img [^>]*src="data:image/svg\+xml;base64,([^"]*)">.*?'
              r'<figcaption>(.*?)</figcaption>')
    return [(caption, base64.b64decode(data)) for data, caption in re.findall(figure, text)]


def drawn(ax):
    """What a page has of the figure of some Axes."""
    return simsim.plots.webpage.svg(ax.figure)


def test_each_picture_of_the_page_is_what_its_caption_says(pair, path, monkeypatch):
    """The pictures are read elsewhere; here, which one stands where, with the flow beside and the other runs below."""
    monkeypatch.setattr(simsim.plots.webpage, "_animation", lambda run: "")
    run, flow = pair
    other = simulate(dataclasses.replace(SGD, head="frozen", steps=30))
    runs = {"head=trained steps=300": run, "frozen": other}
    text = simsim.plots.page(run, check_theorems(run), flow, {"frozen": plots.Told(other, check_theorems(other))})
    expected = [("Overlaps", drawn(plots.phases(run, flow=flow)[0])), ("Overlaps", drawn(plots.phases(other)[0])),
                ("How alike", drawn(plots.correlations(runs)[0, 0])), ("The head less", drawn(plots.heads(runs)[0, 0]))]
    shown = pictures(text)
    assert len({picture for _, picture in expected}) == 4 <= len(shown)
    for (caption, picture), (start, own) in zip(shown, expected):
        assert caption.startswith(start) and picture == own, caption
    assert "<title>simsim: m = 2, alpha = 4, 1</title>" in text and "<h1>simsim: m = 2, alpha = 4, 1</h1>" in text
    of_flow = pictures(simsim.plots.page(path, check_theorems(path)))
    pull, = (picture for caption, picture in of_flow if caption.startswith("What pulls"))
    assert pull == drawn(plots.portrait(path)[0])


def test_a_page_says_what_its_runs_differ_in_and_tells_each(pair, monkeypatch):
    """Names, stories and tables of both runs; the story is the report's own sentences, as text."""
    monkeypatch.setattr(simsim.plots.webpage, "_animation", lambda run: "<figure></figure>")
    run, _ = pair
    other = simulate(dataclasses.replace(SGD, seed=1))
    reports = check_theorems(run), check_theorems(other)
    for report, sentences in zip(reports, (["f_1 < f_2 & so on", "the end"], ["another"])):
        report.story = sentences
    text = simsim.plots.page(run, reports[0], beside={"seed=1": plots.Told(other, reports[1])},
                             made={"command": "python -m <this>", "date": "today"})
    for name in ("seed=0", "seed=1"):
        assert text.count(f"<h3>{name}</h3>") == 4  # story, picture, neurons moving, table
    assert "<li>f_1 &lt; f_2 &amp; so on</li><li>the end</li>" in text and "<li>another</li>" in text
    assert all(report.title.splitlines()[1] in text for report in reports)
    assert "<p>command: <code>python -m &lt;this&gt;</code></p>" in text and "<p>date: today</p>" in text
    alone = simsim.plots.page(run, check_theorems(run))
    assert "<h3>" not in alone and "How it was made" not in alone and "arXiv:2205.06226" in alone
    assert all(f"<dt>{term}</dt>" in alone for term in ("share", "feature, v_1, v_2", "eta, kappa"))
