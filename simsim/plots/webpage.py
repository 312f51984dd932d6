"""The whole story of a run on one page: report, pictures and animation, in one self-contained HTML file."""

import base64
import contextlib
import html
import re

import matplotlib.pyplot as plt

from simsim.plots.matrices import correlations, heads
from simsim.plots.motion import motion
from simsim.plots.portrait import portrait
from simsim.plots.story import phases
from simsim.plots.style import png

FRAMES = 60  # of the animation: each is a picture inside the page
FRAME_DPI, PICTURE_DPI = 60, 110
EMBEDDED_MEGABYTES = 100  # of the animation at most

# What Matplotlib's player writes on its buttons, by the names that it gives them.
BUTTONS = {"minus": "-", "plus": "+", "fast-backward": "|<<", "step-backward": "|<", "play": ">", "pause": "||",
           "step-forward": ">|", "fast-forward": ">>|"}

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font-family: sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.45 }}
table {{ border-collapse: collapse; font-size: .85rem }}
td, th {{ padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #ddd }}
.fa {{ font-style: normal }}
{icons}
img {{ max-width: 100% }} figcaption {{ color: #444; margin-bottom: 2rem }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def page(run, report, flow=None, beside=None):
    """The page of a run, as the text of an HTML file that needs nothing but itself.

    Parameters
    ----------
    run : Trajectory
    report : Report of it
    flow : Trajectory, optional; the flow from its start, drawn thin beside the run of SGD
    beside : dict {name: Trajectory}, optional; runs whose matrices are to stand below those of this one
    """
    parts = [_figure(phases(run, flow=flow)[0].figure,
                     "Overlaps, head, shares of variance and loss, with the phases.")]
    runs = {f"head {run.config.head}": run, **(beside or {})}
    parts.append(_figure(correlations(runs)[0, 0].figure,
                         "How alike the neurons' outputs are. The identity: each its own feature. All ones: dimensional "
                         "collapse."))
    parts.append(_figure(heads(runs)[0, 0].figure, "The head less the identity, E - I."))
    with contextlib.suppress(ValueError):  # not every run has a second neuron to speak of
        parts.append(_figure(portrait(run)[0].figure, "What pulls at the second neuron, along v_1 and v_2, at the "
                             "two moments named above the panels."))
    if run.config.features > 1:
        plane = "two features" if run.config.features == 2 else "strongest and the weakest feature"
        parts.append(f"<figure>{_animation(run)}<figcaption>Neurons in the plane of the {plane}.</figcaption></figure>")
    title = f"simsim: m = {run.config.m}, alpha = {', '.join(f'{alpha:g}' for alpha in run.config.alphas)}"
    icons = "\n".join(f'.fa-{name}::before {{ content: "{text}" }}' for name, text in BUTTONS.items())
    return PAGE.format(title=html.escape(title), icons=icons, body="\n".join([report._repr_html_(), *parts]))


def _figure(figure, caption):
    """A Matplotlib figure as a picture within the page; the figure is closed."""
    data = base64.b64encode(png(figure, PICTURE_DPI)).decode()
    return (f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def _animation(run):
    """The animation in Matplotlib's own player; the figure is closed."""
    settings = {"savefig.dpi": FRAME_DPI, "figure.dpi": FRAME_DPI, "animation.embed_limit": EMBEDDED_MEGABYTES}
    with plt.rc_context(settings):
        figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
        player = motion(run, ax, frames=FRAMES)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the places of the first frame are those of all
        player = player.to_jshtml(default_mode="loop")
        plt.close(figure)
    return re.sub(r'<link rel="stylesheet"[^>]*>', "", player)  # its buttons' font would come from the web
