"""Figures: each function draws one thing on the Axes it is given, and returns them.

style says what colours and lines mean, how large a figure is and which clock an axis has; story draws a run's four panels;
matrices, the correlations of neurons and the head at the ends of phases; portrait, the pull on the second neuron; model, a
sample and the network; motion is an animation; webpage puts a run's into one HTML file; window has sliders. Nothing here
calls `plt.show()`.

>>> import simsim
>>> run = simsim.simulate(simsim.Config(d=20, batch_size=64, steps=20))
>>> simsim.plots.phases(run).shape  # four Axes
(4,)
>>> simsim.plots.plt.close("all")
"""

import matplotlib.pyplot as plt

from simsim.plots.matrices import correlations, heads, instants
from simsim.plots.model import network, sample
from simsim.plots.motion import motion
from simsim.plots.portrait import portrait
from simsim.plots.story import head, loss, name_phases, overlaps, phases, shade_phases, shares
from simsim.plots.style import (AMOUNTS, BOTH_SIGNS, FEATURE_COLOURS, MARKERS, SERIES, column, picture, png, ramp, series,
                                size, small)
from simsim.plots.webpage import Told, page
from simsim.plots.window import window

__all__ = ["AMOUNTS", "BOTH_SIGNS", "FEATURE_COLOURS", "MARKERS", "SERIES", "Told", "column", "correlations", "head", "heads",
           "instants", "loss", "motion", "name_phases", "network", "overlaps", "page", "phases", "picture", "plt", "png",
           "portrait", "ramp", "sample", "series", "shade_phases", "shares", "size", "small", "window"]
