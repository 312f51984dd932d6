"""docs/reference.md is what the docstrings make, has every public name, and its examples run."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest
import reference_page

import simsim

pytestmark = pytest.mark.usefixtures("closed")


def modules():
    """All modules of the package, but what runs when it is imported."""
    names = [found.name for found in pkgutil.walk_packages(simsim.__path__, "simsim.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def test_the_page_is_what_the_docstrings_make():
    assert reference_page.PAGE.read_text(encoding="utf-8") == reference_page.page(), "python tests/reference_page.py makes it anew"


def test_every_public_name_has_its_line_and_signature():
    """Of the package and of the modules that users call; a name that is no module has a line of its own."""
    page = reference_page.page()
    sections = dict(re.findall(r"^## (simsim\S*)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == {"simsim", *(f"simsim.{name}" for name in reference_page.MODULES)}
    for name in sections:
        module = importlib.import_module(name)
        for word in getattr(module, "__all__", [name for name in vars(module) if inspect.isfunction(vars(module)[name])]):
            value = getattr(module, word)
            if not inspect.ismodule(value) and not word.startswith("_") and getattr(value, "__module__", name).startswith("simsim"):
                if hasattr(module, "__all__") or value.__module__ == name:
                    assert re.search(rf"^- `{word}\b", sections[name], re.MULTILINE), (name, word)
    assert {name for name in simsim.__all__ if inspect.ismodule(getattr(simsim, name))} <= set(reference_page.MODULES)
    assert "0x" not in page and not re.findall(r"^.*: \.$", page, re.MULTILINE)


def test_a_line_is_the_first_sentence_letter_by_letter():
    text = "It is i.e. <w_j, v_l> of `a_b*`: |x| * y.\n\nMore."
    assert reference_page.line(text) == r"It is i.e. \<w_j, v_l\> of `a_b*`: \|x\| \* y."
    assert reference_page.line("One\ntwo. Three.") == "One two."
    assert reference_page.signature("f", lambda x, y=2, *, stop=lambda: False: x) == "f(x, y=2, *, stop=...)"
    assert reference_page.signature("ConfigError", simsim.ConfigError) == "ConfigError"


def test_the_examples_of_docstrings_run():
    """Each module of the page has one, and so have the names that a user begins with."""
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(verbose=False)
    have, report = set(), []
    for module in modules():
        for test in finder.find(module, module.__name__):
            if test.examples:
                have.add(test.name)
                test.globs = {}
                runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    homes = {f"{getattr(simsim, name).__module__}.{name}" for name in (
        "Config", "State", "Trajectory", "check_theorems", "draw_views", "find_phases", "loss_and_grad", "simulate",
        "simulate_many", "sweep")}
    assert have >= homes | {f"simsim.{name}" for name in reference_page.MODULES}


def test_an_example_that_is_wrong_is_seen():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
