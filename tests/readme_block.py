"""README.md's block of output: lines of what its first command prints, `...` for lines that are left out.

    python tests/readme_block.py

runs the command and writes the block anew: each line becomes the printed one about the same thing, in columns as narrow
as the lines allow.
"""

import contextlib
import io
import re
import shlex
import tempfile
from pathlib import Path

from simsim import run

README = Path(__file__).resolve().parent.parent / "README.md"
LEFT_OUT = "..."


def excerpt(page):
    """The lines of the first block of text of a page."""
    return re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1].splitlines()


def printed(page):
    """The lines that the first command of the page prints, without rules."""
    words = shlex.split(re.search(r"python -m simsim\.run (.*)", page)[1])
    out = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
        assert run.main([*words, "--no-plot", "--quiet", "--out", f"{folder}/run"]) == 0
    return [line for line in out.getvalue().splitlines() if line.strip("-")]


def is_excerpt(lines, output):
    """Whether the lines follow one another in the output but where some are left out; how wide a gap is does not matter."""
    if not lines:
        return True
    if lines[0] == LEFT_OUT:
        return any(is_excerpt(lines[1:], output[start:]) for start in range(len(output) + 1))
    return bool(output) and lines[0].split() == output[0].split() and is_excerpt(lines[1:], output[1:])


def columns(output):
    """Where the columns of the table begin, as its header says, and the number of that line."""
    header, = (number for number, line in enumerate(output) if line.split()[0] == "claim")
    return [match.start() for match in re.finditer(r"(?:^|(?<=  ))\S", output[header])], header


def renewed(lines, output):
    """The excerpt as it is printed now, `...` wherever lines are left out; ValueError names a line that nothing is about."""
    starts, header = columns(output)
    cells = [[line[i:j].rstrip() for i, j in zip(starts, [*starts[1:], None])] if number >= header else [line]
             for number, line in enumerate(output)]
    about = [line[0].split(":")[0].split() for line in cells]
    chosen = []
    for line in filter(lambda line: line != LEFT_OUT, lines):
        same = [number for number, words in enumerate(about) if line.split(":")[0].split()[:len(words)] == words]
        if not same:
            raise ValueError(f"nothing that is printed is about {line!r}")
        chosen.append(max(same, key=lambda number: len(about[number])))
    widths = [max(len(cells[number][i]) for number in chosen if number >= header) for i in range(len(starts))]
    new = []
    for before, number in zip([-1, *chosen], chosen):
        new += [LEFT_OUT] * (number > before + 1)
        new.append("  ".join(cell.ljust(width) for cell, width in zip(cells[number], widths)).rstrip()
                   if number >= header else output[number])
    return new + [LEFT_OUT] * (chosen[-1] < len(output) - 1)


if __name__ == "__main__":
    page = README.read_text(encoding="utf-8")
    old, output = excerpt(page), printed(page)
    new = renewed(old, output)
    README.write_text(page.replace("\n".join(old), "\n".join(new)), encoding="utf-8")
    print(*new, sep="\n")
