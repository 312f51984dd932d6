"""Does the suite notice? Every row of the table in tests/mutations.py, applied to a copy of the repository.

The rows themselves run by `pytest -m mutations`, which takes a while; that each still means a line is tested always.
"""

import ast
import functools
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mutations import EQUIVALENT, MUTATIONS

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "runs", "out", "generated", "__pycache__", ".pytest_cache", "*.egg-info",
                                  "build")
SECONDS = 1200  # for the tests of a row: whoever takes longer is no answer


def test_every_row_changes_one_line_that_is_there():
    rows = [*MUTATIONS, *EQUIVALENT]
    places = {row.name: (ROOT / row.file).read_text().count(row.old) for row in rows}
    assert {name: count for name, count in places.items() if count != 1} == {}
    assert all(row.old != row.new for row in rows)
    assert [name for name, count in Counter(row.name for row in rows).items() if count > 1] == []


def test_every_row_leaves_python_and_names_tests_that_exist():
    """What does not even compile would be caught by any test."""
    names = functools.cache(lambda file: {node.name for node in ast.parse((ROOT / file).read_text()).body
                                          if isinstance(node, ast.FunctionDef)})
    for row in MUTATIONS:
        ast.parse((ROOT / row.file).read_text().replace(row.old, row.new))
        for test in row.tests.split():
            file, _, name = test.partition("::")
            assert (ROOT / file).exists() and (not name or name.partition("[")[0] in names(file)), (row.name, test)


@pytest.fixture
def copy(tmp_path):
    """The repository without what is not its source, to be spoilt; gone afterwards."""
    shutil.copytree(ROOT, tmp_path / "copy", ignore=LEFT_OUT)
    yield tmp_path / "copy"
    shutil.rmtree(tmp_path / "copy")


@pytest.fixture(scope="module")
def caught(request):
    """{name: whether a row was caught}, counted at the end."""
    found = {}
    yield found
    alive = [name for name, noticed in found.items() if not noticed]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\nmutations: {len(found) - len(alive)} of {len(found)} caught")
        print("".join(f"survived: {name}\n" for name in alive), end="")


def fails(copy, tests):
    """(whether one of the `tests` of the copy fails, what pytest said); AssertionError where they could not be run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode in (0, 1), f"the tests did not run\n{done.stdout}{done.stderr}"
    return done.returncode == 1, done.stdout


@pytest.mark.mutations
@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.name.replace(" ", "_"))
def test_a_wrong_line_is_caught(row, copy, caught):
    path = copy / row.file
    path.write_text(path.read_text().replace(row.old, row.new))
    caught[row.name], _ = fails(copy, row.tests.split())
    assert caught[row.name], f"{row.name}: no test of {row.tests} objects to {row.new!r} for {row.old!r} in {row.file}"


@pytest.mark.mutations
def test_the_copy_as_it_is_passes_them_all(copy):
    """The control: no test objects to the copy itself."""
    failed, words = fails(copy, sorted({test for row in MUTATIONS for test in row.tests.split()}))
    assert not failed, words
