"""A window to play in: sliders and buttons for one flow, and what comes of it.

Matplotlib's own widgets and nothing else, so the window is the same in every interactive backend, in a notebook too.
"""

import re
import time
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.widgets import RadioButtons, Slider

from simsim import flow
from simsim.config import ConfigError
from simsim.dials import CHOICES, DIALS, START, config_of, require_shown
from simsim.ends import BOTH, CERTIFIED, COLLAPSED, COMPLETE, GAVE_UP
from simsim.phases import find_phases, max_off_diagonal
from simsim.plots import matrices, story
from simsim.plots.style import AMOUNTS, BOTH_SIGNS, power, signed, signs

RTOL, POINTS = 1e-6, 60  # a coarser path than a run's: phase times to 1e-3, in a sixth fewer steps and with fewer rows
SECONDS = 5.0  # of computing, after which a flow is shown as far as it came
NOTE = "A flow is computed when the mouse is released"


def window(**values: Any) -> Figure:
    """A figure with sliders for ratio, d, kappa, k and the start, and buttons for head and objective.

    It shows the flow: shares of variance with the phases, the head, the matrix of correlations at the end, the head at its
    peak, and in a sentence how it ends. A flow is computed when the mouse is released, on a coarser path than a run's; the
    window says how long that took.

    Parameters
    ----------
    **values
        What to begin with, by the names of START: alpha_ratio, d, kappa, feature_patches, init_seed, head, objective.

    Returns
    -------
    matplotlib.figure.Figure
        `figure.explorer` is its `Explorer`. Nothing is shown until the backend or `plt.show()` does.

    Raises
    ------
    ConfigError
        A name that is none of these, a value beyond its slider, or values that do not go together.
    """
    values = {**START, **values}
    require_shown(values)
    figure = plt.figure(figsize=(11, 7))
    figure.explorer = Explorer(figure, values)  # type: ignore[attr-defined]  # a figure takes names of one's own
    return figure


class Explorer:
    """What a window remembers: its widgets, the values shown, and the flow of them (`run`, None where there is none)."""

    def __init__(self, figure, values):
        self.figure, self.shown, self.run = figure, None, None
        self._exact = dict(values)  # a slider's place tells its value to three digits only
        axes = figure.add_axes
        self.panels = {"shares": axes([0.07, 0.62, 0.4, 0.27]), "head": axes([0.07, 0.3, 0.4, 0.24]),
                       "correlations": axes([0.66, 0.6, 0.14, 0.26]), "peak": axes([0.84, 0.6, 0.14, 0.26])}
        self.sliders = {}
        for row, (name, dial) in enumerate(DIALS.items()):
            slider = Slider(axes([0.12, 0.19 - 0.035 * row, 0.3, 0.03]), dial.label, dial.place(dial.low), dial.place(dial.high),
                            valinit=dial.place(values[name]), valstep=1 if dial.whole and not dial.powers else None)
            slider.on_changed(lambda place, name=name: self._say_value(name))
            self.sliders[name] = slider
            self._say_value(name)
        self.buttons = {}
        for name, place in (("head", [0.66, 0.12, 0.15, 0.32]), ("objective", [0.84, 0.24, 0.13, 0.2])):
            ax = axes(place)
            ax.set_title(name, fontsize="medium")
            self.buttons[name] = RadioButtons(ax, CHOICES[name], active=CHOICES[name].index(values[name]))
        self.sentence = figure.text(0.02, 0.95, "", fontsize="large", va="center")
        self.note = figure.text(0.6, 0.04, "", fontsize="small", color="0.35")
        figure.canvas.mpl_connect("button_release_event", lambda event: self.update())
        self.update()

    def asked(self):
        """The values that sliders and buttons stand at, by the names of START."""
        return {**{name: self._value(name) for name in DIALS},
                **{name: buttons.value_selected for name, buttons in self.buttons.items()}}

    def update(self):
        """Compute and draw what is asked, if it is not what is shown; what cannot be is said by name."""
        values = self.asked()
        if values == self.shown:
            return
        self.shown, began = values, time.perf_counter()
        try:
            self.run = _follow(config_of(values))
            words = sentence(self.run)
        except (ConfigError, flow.FlowError) as error:
            self.run, words = None, str(error)
        self._draw()
        self.sentence.set_text(words)
        self.note.set_text(f"{NOTE}; this one took {time.perf_counter() - began:.1f} s")
        self.figure.canvas.draw_idle()

    def _value(self, name):
        """What a slider says; where nobody has moved it, what it was given."""
        place = self.sliders[name].val
        return self._exact[name] if place == DIALS[name].place(self._exact[name]) else DIALS[name].value(place)

    def _say_value(self, name):
        self.sliders[name].valtext.set_text(f"{self._value(name):.3g}")

    def _draw(self):
        for ax in self.panels.values():
            ax.clear()
            ax.set_axis_on() if self.run else ax.set_axis_off()
        if self.run is None:
            return
        found = find_phases(self.run)
        run = self.run.reordered(found.order)
        story.shares(run, self.panels["shares"])
        story.head(run, self.panels["head"])
        for name in ("shares", "head"):
            story.shade_phases(run, self.panels[name], found)
        self.panels["shares"].set_xlabel("")
        story.name_phases(run, self.panels["shares"], found)
        peak = int(np.argmax(max_off_diagonal(run.head)))
        away = signed(run, signs(run))[peak] - np.eye(run.config.m)
        size = np.abs(away).max() or 1.0
        matrices.matrix(self.panels["correlations"], np.abs(run.correlations[-1]), {"cmap": AMOUNTS, "vmin": 0, "vmax": 1})
        self.panels["correlations"].set_title("$|\\mathrm{corr}(f_i, f_j)|$\nat the end", fontsize="small")
        matrices.matrix(self.panels["peak"], away, {"cmap": BOTH_SIGNS, "vmin": -size, "vmax": size})
        self.panels["peak"].set_title(f"$E - I$ at its peak\n$t$ = {power(run.time[peak])}", fontsize="small")


def _follow(config):
    """The flow on a coarse path, or on a run's own where that one drifts."""
    try:
        return flow.follow(config, rtol=RTOL, points=POINTS, seconds=SECONDS)
    except flow.FlowError:
        return flow.follow(config, points=POINTS, seconds=SECONDS)


def sentence(run):
    """How a flow ends, in a sentence: collapse or not, of how many outputs in truth, and when its phases ended."""
    kinds = {BOTH: "No collapse", COLLAPSED: "Dimensional collapse", COMPLETE: "Complete collapse"}
    kind = kinds.get(run.status, "No collapse, and not all learned" if run.status in CERTIFIED else "No end yet")
    why = (f"{SECONDS:g} s of computing come to t = {run.time[-1]:.2g}" if run.status == GAVE_UP else
           re.sub(r"^(?:complete )?collapsed?: |^not yet: |^settled(?:, but)?:? ", "", run.message))
    ends = [f"{number} at t = {end.time:.3g}" for number, end in zip(("I", "II", "III", "IV"), find_phases(run).ends()) if end]
    return (f"{kind}: {why}. Effective rank {run.effective_rank[-1]:.2f} of {run.config.m}."
            + (f"\nPhases end: {', '.join(ends)}." if ends else "\nNo phase has ended."))
