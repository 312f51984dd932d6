"""How a report looks as text: paragraphs and tables of a given width, and what the symbols in them mean."""

import re
import textwrap

from simsim.glossary import SYMBOLS

PROSE, WIDTH = 80, 100  # columns of sentences, and of everything else
GAP, LEAST, NARROW = 2, 8, 16  # blanks between columns; the narrowest one there is, and those that stand beside a claim
COMMAND = "python -m simsim"
SOURCES = "Thm and Cor are the paper's (arXiv:2205.06226), phases I to IV too; equations are those of docs/theory.md."


def paragraph(text, width=PROSE, indent=""):
    """A text in lines of at most `width`, the further ones indented; a command at its end has a line to itself, to be copied."""
    before, command, rest = text.partition(COMMAND)
    lines = textwrap.wrap(before, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*lines, *(["    " + command + rest] if command else [])])


def table(header, rows, width=WIDTH):
    """Rows of cells as lines of at most `width`: what is too long for its column goes on below."""
    widths = _widths([header, *rows], width)
    rule = "-" * (sum(widths) + GAP * (len(widths) - 1))
    return "\n".join([rule, *_lines(header, widths), rule, *(line for cells in rows for line in _lines(cells, widths)), rule])


def _widths(rows, width):
    """The width of each column: as wide as it likes; the widest give way until all fit, and the first, a claim, comes last."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    while sum(widths) + GAP * (len(widths) - 1) > width and max(widths) > LEAST:
        first = 1 if max(widths[1:]) > NARROW else 0
        widths[widths.index(max(widths[first:]), first)] -= 1
    return widths


def _lines(cells, widths):
    """One row as lines, each cell wrapped to its column."""
    wrapped = [textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(cells, widths)]
    height = max(map(len, wrapped))
    columns = [[*lines, *[""] * (height - len(lines))] for lines in wrapped]
    return [(" " * GAP).join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in zip(*columns)]


def symbols(text):
    """What the symbols in `text` mean, a line each, and whose the equations are."""
    return [said for _, pattern, said in SYMBOLS if re.search(pattern, text)] + [SOURCES]
