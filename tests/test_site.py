"""The pages build as a site with Sphinx, warnings being errors, and have in it the places that the contents give them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_KEPT = shutil.ignore_patterns("generated", "_build", "__pycache__", "out", "runs")


def built(folder):
    """sphinx-build of what is in `folder`, as docs/index.md says it."""
    command = re.search(r"`sphinx-build (-W docs out/site)`", (ROOT / "docs/index.md").read_text(encoding="utf-8"))[1]
    return subprocess.run([sys.executable, "-m", "sphinx", "-q", *command.split()], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """A copy of what the pages are made of, since building writes beside them."""
    for needed in ("sphinx", "myst_parser", "sphinx_gallery"):
        pytest.importorskip(needed)
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=NOT_KEPT)
    (tmp_path / "simsim").mkdir()
    for name in ("README.md", "simsim/__init__.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_site_is_built_without_a_warning(copy):
    done = built(copy)
    assert done.returncode == 0, done.stderr
    site = copy / "out/site"
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")} and (site / "generated/readme.html").exists()
    found = sorted(path.stem for path in (site / "generated/gallery").glob("*.html"))
    gallery = (ROOT / "examples/README.md").read_text(encoding="utf-8")
    assert [name[3:] for name in found[:-1]] == re.findall(r"\((\w+)\.py\)", gallery)
    front = (site / "index.html").read_text(encoding="utf-8")
    tree = re.findall(r'toctree-l1"><a class="reference internal" href="([^"]+)\.html"', front)
    listed = re.findall(r"^\d+\. \[[^\]]+\]\((\S+)\.md\)", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert tree[-1] == "generated/gallery/index" and tree[1:-1] == listed[1:]
    assert 'class="math' in (site / "theory.html").read_text(encoding="utf-8")


def test_a_link_that_leads_nowhere_breaks_the_build(copy):
    with open(copy / "docs/why.md", "a", encoding="utf-8") as page:
        page.write("\n[nothing](nowhere.md)\n")
    done = built(copy)
    assert done.returncode != 0 and "nowhere" in done.stderr
