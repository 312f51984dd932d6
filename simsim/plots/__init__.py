"""Figures: each function draws one thing on the Axes it is given, and returns them.

style says what colours and lines mean and which clock an axis has; story draws a run's four panels; matrices, the
correlations of neurons and the head at the ends of phases; portrait, the pull on the second neuron; motion is an
animation; webpage puts them all into one HTML file. Nothing here calls `plt.show()`.
"""

import matplotlib.pyplot as plt

from simsim.plots.matrices import correlations, heads, moments
from simsim.plots.motion import motion
from simsim.plots.webpage import page
from simsim.plots.portrait import portrait
from simsim.plots.story import head, loss, name_phases, overlaps, phases, shade_phases, shares
from simsim.plots.style import FEATURE_COLOURS, png

__all__ = ["FEATURE_COLOURS", "correlations", "head", "heads", "loss", "moments", "motion", "name_phases", "overlaps", "page",
           "phases", "plt", "png", "portrait", "shade_phases", "shares"]
