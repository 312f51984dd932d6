"""The whole story of a run on one page: sentences, pictures, table and glossary, in one self-contained HTML file.

The page is for a phone as for a screen, by day and by night: nothing is wider than the window but pictures, which then
scroll by themselves, a table becomes a list, and in the dark pictures lie on light cards: a colour is the same by day and night.
"""

import base64
import contextlib
import html
import io
import re
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt

from simsim.glossary import TERMS
from simsim.plots.matrices import correlations, heads
from simsim.plots.motion import motion
from simsim.plots.portrait import portrait
from simsim.plots.story import phases
from simsim.report import Report
from simsim.trajectory import Trajectory

FRAMES = 60  # of the animation: each is a picture inside the page
FRAME_DPI = 60
EMBEDDED_MEGABYTES = 100  # of the animation at most
NARROW, NARROW_LETTERS = 4.9, 42  # inches, of which a telephone shows one a 72 pixels, and letters in a line
SALT = "simsim"  # of the names inside an SVG: the same picture is the same file

PAPER = ("Zixin Wen and Yuanzhi Li, The Mechanism of Prediction Head in Non-contrastive Self-supervised Learning, Advances in "
         "Neural Information Processing Systems 35 (NeurIPS 2022), arXiv:2205.06226")

# What Matplotlib's player writes on its buttons, by the names that it gives them.
BUTTONS = {"minus": "-", "plus": "+", "fast-backward": "|<<", "step-backward": "|<", "play": ">", "pause": "||",
           "step-forward": ">|", "fast-forward": ">>|"}

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --quiet: #555; --paper: #fff; --line: #ccc; --box: #f4f4f4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eaeaea; --quiet: #b0b0b0; --paper: #000; --line: #555; --box: #1c1c1c }
}
* { box-sizing: border-box }
body { font-family: sans-serif; color: var(--ink); background: var(--paper); max-width: 75rem; margin: 1rem auto; padding: 0 1rem;
  line-height: 1.45; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem; margin: 1rem 0 .3rem }
.story li { margin: .3rem 0 }
.pair { display: grid; gap: 0 2rem; grid-template-columns: minmax(0, 1fr) }
figure { margin: 0 0 1.5rem }
.picture, .animation { background: #fff; color: #1a1a1a; color-scheme: light; border-radius: 6px; padding: 4px }
figcaption { color: var(--quiet); font-size: .9rem }
.picture { overflow-x: auto } .picture img { display: block; width: 100% } .picture img.narrow { display: none }
table { border-collapse: collapse; font-size: .85rem; width: 100% } caption { text-align: left }
td, th { padding: .2rem .6rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
code { display: block; padding: .5rem; background: var(--box) }
dt { font-weight: bold; margin-top: .5rem } dd { margin: 0 0 0 1rem }
.fa { font-style: normal }
.animation { max-width: 100% } .animation img { max-width: 100% }
input[type=range].anim-slider { width: 100%; max-width: 374px }
.anim-buttons { display: flex; flex-wrap: wrap; gap: 2px; justify-content: center }
.anim-buttons button { min-height: 2rem }
@media (min-width: 64rem) { .pair { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
@media (max-width: 48rem) {
  table, tbody, tr, td { display: block; width: 100% } tr { border-bottom: 1px solid var(--line); padding: .4rem 0 }
  tr:first-child:has(th) { display: none }
  .picture img.wide { display: none } .picture img.narrow { display: block }
  .scrolls figcaption::after { content: " (The picture scrolls sideways.)" }
  td { border: 0; padding: 0 } td:first-child { font-weight: bold } td:empty { display: none }
}
"""

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title></head><body><h1>{title}</h1>
{body}
<style>{style}</style></body></html>
"""


class Told(NamedTuple):
    """What a page tells of one run: the Trajectory, its Report, and the flow from its start or None."""

    run: Trajectory
    report: Report
    flow: Trajectory | None = None


def page(run: Trajectory, report: Report, flow: Trajectory | None = None, beside: Mapping[str, Told] | None = None,
         made: Mapping[str, str] | None = None) -> str:
    """The page of a run, as the text of an HTML file that needs nothing but itself.

    Parameters
    ----------
    run : Trajectory
    report : Report of it
    flow : Trajectory, optional; the flow from its start, drawn thin beside the run of SGD
    beside : dict {name: Told}, optional; runs to be told at its side
    made : dict {name: text}, optional; how the run was made: its command, versions, the date
    """
    own = " ".join(f"{name}={getattr(run.config, name)}" for name in _differing(run, beside)) or f"head={run.config.head}"
    told = {own: Told(run, report, flow), **(beside or {})}
    first = run.config
    title = f"simsim: m = {first.m}, alpha = {', '.join(f'{alpha:g}' for alpha in first.alphas)}"
    body = [_section("What happened", _side_by_side({name: _story(one.report) for name, one in told.items()})),
            _section("Pictures", *_pictures(told)),
            _section("Predicted and measured", *(_table(name if beside else "", one.report) for name, one in told.items())),
            _section("Words", *_glossary()), _section("How it was made", *_made(made or {})),
            _section("How to cite", f"<p>The paper: {html.escape(PAPER)}.</p><p>And this software, simsim; CITATION.cff in its "
                     "repository has both.</p>")]
    icons = "\n".join(f'.fa-{name}::before {{ content: "{text}" }}' for name, text in BUTTONS.items())
    return PAGE.format(title=html.escape(title), style=STYLE + icons, body="\n".join(body))


def _differing(run, beside):
    """The fields of Config in which a run of `beside` differs from this one, unless most do."""
    ours = run.config.to_dict()
    return [name for name, value in ours.items() if any(getattr(one.run.config, name) != value for one in (beside or {}).values())]


def _section(heading, *parts):
    parts = [part for part in parts if part]
    return "\n".join([f"<section><h2>{html.escape(heading)}</h2>", *parts, "</section>"]) if parts else ""


def _side_by_side(parts):
    """HTML by name, one beside the other where there is room; of a single one without its name."""
    if not any(parts.values()):
        return ""
    if len(parts) == 1:
        return "".join(parts.values())
    columns = "".join(f"<div><h3>{html.escape(name)}</h3>{part}</div>" for name, part in parts.items())
    return f'<div class="pair">{columns}</div>'


# ---- words ---------------------------------------------------------------------------------

def _story(report):
    """What happened, in the sentences of the report."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in report.story)
    return f'<ul class="story">{lines}</ul>' if lines else ""


def _table(name, report):
    """The report; where there is no room for columns, each cell says what it is."""
    text = report._repr_html_(story=False)
    columns = re.findall(r"<th>(.*?)</th>", text)
    labels = "".join(f'td:nth-child({number})::before {{ content: "{html.unescape(column)}: "; color: var(--quiet) }}\n'
                     for number, column in enumerate(columns, 1) if number > 1)
    heading = f"<h3>{html.escape(name)}</h3>" if name else ""
    return f"{heading}<style>@media (max-width: 48rem) {{ {labels} }}</style>{text}"


def _glossary():
    yield "<dl>" + "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in TERMS.items()) + "</dl>"


def _made(made):
    """Commands as commands, all else in a line."""
    for name, text in made.items():
        shown = f"<code>{html.escape(text)}</code>" if name == "command" else html.escape(text)
        yield f"<p>{html.escape(name)}: {shown}</p>"


# ---- pictures --------------------------------------------------------------------------------

def _pictures(told):
    """Every picture of the page, in order."""
    runs = {name: one.run for name, one in told.items()}
    yield _side_by_side({name: _figure(phases(one.run, flow=one.flow)[0].figure,
                                       "Overlaps, head, shares of variance and loss, with the phases.", slim=True)
                         for name, one in told.items()})
    yield _figure(correlations(runs)[0, 0].figure, "How alike the neurons' outputs are. The identity: each its own feature. "
                  "All ones: dimensional collapse.")
    yield _figure(heads(runs)[0, 0].figure, "The head less the identity, E - I.")
    run = next(iter(runs.values()))
    with contextlib.suppress(ValueError):  # not every run has a second neuron to speak of
        yield _figure(portrait(run)[0].figure, "What pulls at the second neuron, along v_1 and v_2, at the two moments named "
                      "above the panels.")
    moving = {name: _animation(one) for name, one in runs.items() if one.config.features > 1 and one.config.closed_form}
    yield _side_by_side(moving)


def _figure(figure, caption, slim=False):
    """A Matplotlib figure as a picture within the page, never so small that its letters are not read; it is closed.

    A `slim` one, of panels one above the other, is drawn once more for a narrow window.
    """
    images = _image(figure, caption, "wide" if slim else "")
    if slim:
        _make_slim(figure)
        images += _image(figure, caption, "narrow")
    plt.close(figure)
    return (f'<figure class="{"" if slim else "scrolls"}"><div class="picture" tabindex="0">{images}</div>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def _image(figure, caption, kind):
    """The figure as it is now: a point is a pixel at least, and one and a half at most."""
    width, data = figure.get_size_inches()[0] * 72, base64.b64encode(svg(figure)).decode()
    return (f'<img class="{kind}" alt="{html.escape(caption)}" style="min-width: {width:.0f}px; max-width: {1.5 * width:.0f}px" '
            f'src="data:image/svg+xml;base64,{data}">')


def _make_slim(figure):
    """Make a figure as wide as a telephone, and break the long lines below its last panel."""
    figure.set_size_inches(NARROW, figure.get_size_inches()[1])
    last = figure.axes[-1]
    last.set_xlabel("\n".join(textwrap.fill(line, NARROW_LETTERS) for line in last.get_xlabel().splitlines()))


def svg(figure):
    """A figure as the bytes of an SVG, the same for the same figure."""
    with plt.rc_context({"svg.hashsalt": SALT}), io.BytesIO() as content:
        figure.savefig(content, format="svg", metadata={"Date": None})
        return content.getvalue()


def _animation(run):
    """The animation of a run in Matplotlib's own player, as a figure of the page."""
    settings = {"savefig.dpi": FRAME_DPI, "figure.dpi": FRAME_DPI, "animation.embed_limit": EMBEDDED_MEGABYTES}
    with plt.rc_context(settings):
        figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
        player = motion(run, ax, frames=FRAMES)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the places of the first frame are those of all
        player = player.to_jshtml(default_mode="loop")
        plt.close(figure)
    player = re.sub(r'<link rel="stylesheet"[^>]*>', "", player)  # its buttons' font would come from the web
    plane = "two features" if run.config.features == 2 else "strongest and the weakest feature"
    return f"<figure>{player}<figcaption>Neurons in the plane of the {plane}.</figcaption></figure>"
