"""The pages as one book: each can be reached, leads to the next, and links to what is there; the tutorial does what it says."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from simsim import run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEXT = r"^Next: \[[^\]]+\]\(([^)]+)\)\.$"


def text_of(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page):
    """[(page or file, anchor)] of the links of a page that stay in the repository."""
    found = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text_of(page))
    return [((page.parent / target).resolve() if target else page, anchor) for target, anchor in found]


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def contents():
    """The pages of docs/index.md's list, in its order."""
    index = ROOT / "docs/index.md"
    return [(index.parent / path).resolve() for path in re.findall(r"^\d+\. \[[^\]]+\]\(([^)]+)\)", text_of(index), re.MULTILINE)]


def test_the_contents_have_every_page_once():
    assert sorted([*contents(), ROOT / "docs/index.md", ROOT / "examples/README.md"]) == sorted(PAGES)
    assert ROOT / "examples/README.md" in {target for target, _ in links(ROOT / "docs/index.md")}


def test_each_page_ends_with_a_line_to_the_next():
    """In the order of the contents, which come after the last."""
    order = contents()
    for page, following in zip(order, [*order[1:], ROOT / "docs/index.md"]):
        last = page.read_text(encoding="utf-8").rstrip("\n").splitlines()[-1]
        assert re.match(NEXT, last), page.name
        assert (page.parent / re.match(NEXT, last)[1]).resolve() == following, page.name
    assert all(re.search(NEXT + r"\n\Z", page.read_text(encoding="utf-8"), re.MULTILINE) for page in PAGES)


def test_every_link_leads_somewhere():
    """Files are there, and so are the headings that anchors name."""
    for page in PAGES:
        for target, anchor in links(page):
            assert target.exists(), (page.name, target)
            assert not anchor or anchor in anchors(target), (page.name, anchor)


def test_links_and_anchors_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('# "My" page: one\n\n## Two, three\n\n[a](b.md#c) [d](#two-three) [e](https://f.g)\n\n'
                    "```text\n[h](i.md)\n```\n")
    assert links(page) == [(tmp_path / "b.md", "c"), (page, "two-three")]
    assert anchors(page) == {"my-page-one", "two-three"}


def test_the_tutorial_does_what_it_says(tmp_path, monkeypatch, capsys):
    """Block by block in one folder, but for the installation; the first figure's output is the page's."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    install, *blocks = re.findall(r"^```(sh|python|text)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert install[1].count("pip install") == 1 and [kind for kind, _ in blocks] == ["sh", "python", "text", "python"]
    commands = blocks[0][1].replace(".venv/bin/python", shlex.quote(sys.executable))
    done = subprocess.run(["bash", "-euc", commands], capture_output=True, text=True, check=True)
    words = " ".join(done.stdout.split())
    assert "no collapse, each of the features has a neuron of its own" in words and "dimensional collapse" in words
    assert all((tmp_path / f"runs/{name}/phases.png").exists() for name in ("default", "frozen"))
    names = {}
    exec(compile(blocks[1][1], "docs/tutorial.md", "exec"), names)
    assert capsys.readouterr().out == blocks[2][1]
    exec(compile(blocks[3][1], "docs/tutorial.md", "exec"), names)
    plt.close("all")
    assert (tmp_path / "runs/both.png").stat().st_size > 10_000 and (tmp_path / "runs/mine.png").stat().st_size > 10_000
    spread = [3.9 * (law * (1 - law) / 100) ** 0.5 for law in names["law"]]  # by chance once in 10,000
    near = lambda measured: all(abs(part - law) < far for part, law, far in zip(measured, names["law"], spread))
    assert near(names["collapsed"]) and not near(names["collapsed"][::-1])


def test_the_second_command_of_the_readme_runs(tmp_path):
    """The flow of an ordinary start; the first command is run in test_docs, the other is that of these tests."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    _, tests, flow = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "pytest" in tests
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run.main([*shlex.split(flow)[3:], "--quiet", "--no-plot", "--out", str(tmp_path / "run")]) == 0
    assert "each of the features has a neuron of its own" in " ".join(out.getvalue().split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_has_one_title_and_its_headings_descend(page):
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text_of(page), re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(levels, levels[1:]))
