"""docs/reference.md: every public name with its signature and a line of its docstring, and examples that run.

    python tests/reference_page.py

writes the page anew from the docstrings of the package; nothing in it is written anywhere else.
"""

import dataclasses
import doctest
import functools
import importlib
import inspect
import re
from pathlib import Path

import simsim
from simsim import Config, config

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
MODULES = ("population", "flow", "sgd", "data", "heads", "objectives", "activation", "schedules", "theory", "laws", "noise_laws",
           "noise_runs", "linear_noise", "measures", "report", "plots", "studies", "glossary")
HEAD = """# Reference

Every public name of simsim: its signature, what it is in a line, and examples, which the tests run. `help(simsim.simulate)` has
the rest: shapes, units, what is raised, and the equation of [theory.md](theory.md) where there is one. Types are in the code. All
of this page is made from docstrings, by `python tests/reference_page.py`; so a word that is wrong here is wrong there.

The command lines have pages of their own: `python -m simsim` lists them, and `--help` of each has its options. What is not on
this page is internal, and may change without notice.
"""
NEXT = "\nNext: [how the package is built](design.md).\n"


def escaped(text):
    """Text of a docstring as Markdown that shows it letter by letter; what is in backquotes is code there as here."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*<>\[\]|$]|(?<!\w)_|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def line(doc):
    """The first paragraph of a docstring up to the end of its first sentence."""
    paragraph = " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
    return escaped(re.split(r"(?<=[^.])\. (?=[A-Z`])", paragraph + " ")[0].strip().rstrip(".:") + ".")


def signature(name, value):
    """`name(parameters)` without annotations, which are for type checkers; an exception is its name alone."""
    if isinstance(value, type) and issubclass(value, BaseException):
        return name
    if value is Config:
        return "Config(*, option=value, ...)"
    found = inspect.signature(value)
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in found.parameters.values()]
    shown = str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return name + re.sub(r"<function \S+ at 0x\w+>|<factory>", "...", shown.replace("<lambda>", "lambda"))


def example(doc):
    """The examples of a docstring as a fenced block, "" if it has none."""
    lines = []
    for one in doctest.DocTestParser().get_examples(inspect.cleandoc(doc)):
        first, *more = one.source.rstrip("\n").split("\n")
        lines += [f">>> {first}", *(f"... {text}".rstrip() for text in more), *one.want.rstrip("\n").split("\n")]
    return "\n```pycon\n" + "\n".join(text for text in lines if text) + "\n```\n" if lines else ""


def members(cls):
    """A line for each public method and property that a class itself has and says something of."""
    for name, value in vars(cls).items():
        inner = getattr(value, "__func__", value)
        if isinstance(value, functools.cached_property):
            inner = value.func
        if name.startswith("_") or isinstance(value, property) and not value.__doc__:
            continue
        if isinstance(value, property) or isinstance(value, functools.cached_property):
            yield f"  - `.{name}`: {line(inner.__doc__)}"
        elif inspect.isfunction(inner) and inner.__doc__:
            shown = re.sub(r"\((self|cls)(, )?", "(", signature(name, inner))
            yield f"  - `.{shown}`: {line(inner.__doc__)}"


def entry(name, value):
    """The lines of a public name."""
    if callable(value) and not inspect.ismodule(value):
        text = f"- `{signature(name, value)}`: {line(value.__doc__)}\n"
        if inspect.isclass(value):
            text += "".join(f"{one}\n" for one in members(value))
        block = example(value.__doc__ or "")
        return text + "".join(f"  {row}".rstrip() + "\n" for row in block.split("\n")[:-1]) if block else text
    if isinstance(value, str | int | float):
        return f"- `{name}` = `{value!r}`\n"
    if isinstance(value, tuple | list) and all(isinstance(one, str | int | float) for one in value):
        return f"- `{name}` = `{value!r}`\n"
    return f"- `{name}`: {'a table from names to what they stand for' if isinstance(value, dict) else type(value).__name__}.\n"


def public(module):
    """{name: object} of a module: its `__all__`, or else the functions and classes that it defines and its tables."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if not name.startswith("_") and (
            getattr(value, "__module__", None) == module.__name__ or name.isupper() and isinstance(value, dict))]
    return {name: getattr(module, name) for name in sorted(names) if not inspect.ismodule(getattr(module, name))}


def options():
    """The options of Config as a table: as typed in Python and on the command line, and their defaults."""
    rows = ["| `Config` | command line | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(Config):
        flag = f"`{config.flag(field.name)}`" if "group" in field.metadata else ""
        rows.append(f"| `{field.name}` | {flag} | `{field.default!r}` | {escaped(field.metadata['help'])} |")
    return "\n".join(rows) + "\n"


def module_section(name):
    module = importlib.import_module(f"simsim.{name}")
    entries = "".join(entry(*item) for item in public(module).items())
    return f"\n## simsim.{name}\n\n{line(module.__doc__)}\n{example(module.__doc__)}\n{entries}"


def page():
    """The text of docs/reference.md."""
    own = "".join(entry(*item) for item in public(simsim).items())
    rule = "`None` stands for a rule that [usage.md](usage.md) states."
    modules = "".join(module_section(name) for name in MODULES)
    return f"{HEAD}\n## simsim\n\n{own}\n### The options of a run\n\n{rule}\n\n{options()}{modules}{NEXT}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
