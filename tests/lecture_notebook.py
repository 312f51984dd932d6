"""examples/lecture.ipynb, made from examples/lecture.py, in which the lecture is written.

    python tests/lecture_notebook.py

writes the notebook anew, without outputs. The script is its docstring, which becomes a title with a text, and cells: `# %%` begins
one with code, `# %% [markdown]` one with text in comments.
"""

import ast
import json
import re
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPT, NOTEBOOK = EXAMPLES / "lecture.py", EXAMPLES / "lecture.ipynb"


def cells(script):
    """[(kind, text)] of a script, kind being "markdown" or "code"."""
    docstring = ast.get_docstring(ast.parse(script))
    found = [("markdown", f"# {docstring}")]
    for mark, text in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", script, re.MULTILINE):
        if mark.strip() == "[markdown]":
            lines = text.strip().split("\n")
            assert all(line.startswith("#") for line in lines), "a cell of text has comments alone"
            found.append(("markdown", "\n".join(line[1:].removeprefix(" ") for line in lines)))
        else:
            found.append(("code", text.strip()))
    return found


def notebook(script):
    """The text of the notebook of a script: format 4.5, each cell with its number as its id, and no outputs."""
    made = [{"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True),
             **({"execution_count": None, "outputs": []} if kind == "code" else {})}
            for number, (kind, text) in enumerate(cells(script))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": made, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
                       "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(SCRIPT.read_text(encoding="utf-8")), encoding="utf-8")
