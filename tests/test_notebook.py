"""The lecture's notebook is made of its script, runs from the top, and shows what its text says."""

import ast
import base64
import io
import os
import re

import numpy as np
import pytest
from lecture_notebook import NOTEBOOK, SCRIPT, cells, notebook

PICTURES = 8


def test_the_notebook_is_the_script():
    """Cell by cell, and without outputs."""
    assert NOTEBOOK.read_text(encoding="utf-8") == notebook(SCRIPT.read_text(encoding="utf-8")), \
        "python tests/lecture_notebook.py makes it anew"


def test_cells_are_all_of_the_script():
    """Code to the letter but for the docstring, which is text; a comment at the margin is in a cell of one kind or the other."""
    script = SCRIPT.read_text(encoding="utf-8")
    made = cells(script)
    code = "\n\n".join(text for kind, text in made if kind == "code")
    body = ast.parse(script).body
    assert ast.dump(ast.parse(code)) == ast.dump(ast.Module(body[1:], type_ignores=[]))
    text = "\n".join(text for kind, text in made if kind == "markdown")
    comments = {line[1:].strip() for line in script.splitlines() if line.startswith("#") and not line.startswith("# %%")}
    assert comments <= {line.strip() for line in text.splitlines()} and ast.get_docstring(ast.parse(script)) in text


def test_a_changed_cell_is_seen():
    one, two = (notebook(f'"""A."""\n\n# %%\nx = {x}\n') for x in (1, 2))
    assert one != two


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The outputs of the cells with code, each a list."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    folder = tmp_path_factory.mktemp("lecture")
    kernel = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # the notebook's own backend
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute(env=kernel)
    assert len(list((folder / "out").iterdir())) == PICTURES == len(list(folder.rglob("*.png")))
    return [cell.outputs for cell in book.cells if cell.cell_type == "code"]


def test_the_notebook_runs_and_shows_a_picture_in_each_section(executed):
    import matplotlib.image
    pictures = [out.data["image/png"] for outputs in executed for out in outputs if out.output_type == "display_data"]
    assert len(pictures) == PICTURES and not [out for outputs in executed for out in outputs if out.output_type == "error"]
    for picture in pictures:
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)))
        assert min(pixels.shape[:2]) > 150 and pixels[..., :3].std() > 0.05


def test_the_notebook_says_what_its_runs_say(executed):
    """What the text claims of each section is what the section prints."""
    printed = ["".join(out.text for out in outputs if out.output_type == "stream" and out.name == "stdout") for outputs in executed]
    warned = "".join(out.text for outputs in executed for out in outputs if out.output_type == "stream" and out.name == "stderr")
    assert "Warning" not in warned
    _, _, _, collapse, phases, _, parts, threshold, exercise = printed
    (trained, one), (frozen, two) = np.array(re.findall(r"loss (.*), effective rank (.*)", collapse), dtype=float)
    assert abs(trained - frozen) < 0.02 and one > 1.99 and two < 1.02
    assert all(word in phases for word in ("Neuron 1 learned v_1", "Neuron 2 learned v_2", "no collapse", "hand-picked"))
    assert re.findall(r"^(.*?): (all features learned|collapsed|complete collapse)", parts, re.MULTILINE) == [
        ("all of it", "all features learned"), ("no trained head", "collapsed"), ("no stop-gradient", "collapsed"),
        ("no batch norm", "complete collapse")]
    rates = np.array(re.findall(r": (\S+) of 40 runs learn v_1, the law says (\S+)", threshold), dtype=float)
    assert rates.shape == (5, 2) and 0.35 < rates[2, 1] < 0.5 and (np.diff(rates[:, 1]) < 0).all()
    assert rates[0, 0] > 0.55 > rates[-1, 0] and abs(rates - rates[:, ::-1]).max() < 0.2
    peaks = np.array(re.findall(r"rises to (\S+), at most (\S+) by", exercise), dtype=float)
    assert (peaks[:, 0] <= peaks[:, 1]).all() and (peaks[:, 0] > 0.95 * peaks[:, 1]).all()
    assert peaks[0, 0] / peaks[2, 0] == pytest.approx(10, rel=0.02) and exercise.count("all features learned") == 3
