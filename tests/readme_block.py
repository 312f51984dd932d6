"""README.md's block of output: what its first command prints, `...` for the parts that are left out.

    python tests/readme_block.py

runs the command and writes the block anew: the story, and the lines of the table from the first to the one on features.
"""

import contextlib
import io
import re
import shlex
import tempfile
from pathlib import Path

from simsim import run

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = r"^```text\n(.*?)^```$"
LAST = "fate of this start"  # the first line of the table that is left out
LEFT_OUT = "..."


def excerpt(page):
    """The first block of text of a page."""
    return re.search(BLOCK, page, re.MULTILINE | re.DOTALL)[1]


def printed(page):
    """What the first command of the page prints."""
    words = shlex.split(re.search(r"python -m simsim\.run (.*)", page)[1])
    out = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
        assert run.main([*words, "--no-plot", "--quiet", "--out", f"{folder}/run"]) == 0
    return out.getvalue()


def shown(output):
    """The block for what was printed: its title is left out, and so is what comes after the line on features."""
    title, story, rest = output.split("\n\n", 2)
    return f"{LEFT_OUT}\n{story}\n\n{rest[:rest.index(LAST)]}{LEFT_OUT}\n"


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    new = shown(printed(page))
    README.write_text(page.replace(excerpt(page), new), encoding="utf-8")
    print(new)
