"""What a type checker and an editor see of the public names without running anything, and what a checker refuses."""

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import simsim
from simsim import sweeps

PACKAGE = Path(simsim.__file__).parent
USER = '''
import matplotlib.axes
import matplotlib.pyplot as plt
import numpy as np
import simsim

config: simsim.Config = simsim.Config(m=2, strengths=(6.0, 2.0), steps=50)
rate: float = config.lr
start: simsim.State = simsim.State.start(config)
run: simsim.Trajectory = simsim.simulate(config, start=start)
runs: list[simsim.Trajectory] = simsim.simulate_many(config, range(3))
shares: np.ndarray = run[10:].shares
report: simsim.Report = simsim.check_theorems(run)
checks: list[simsim.Check] = list(report)
found: simsim.Phases = simsim.find_phases(run)
if found.strong_learned is not None:
    step: float = found.strong_learned.step
rank: np.ndarray = simsim.measures.effective_rank(run.correlations)
chance: float = simsim.laws.success_probability(config)
table: dict[str, np.ndarray] = simsim.sweep({"alpha_ratio": [2, 5]}, "out", seeds=range(4))
with simsim.plots.column():
    panel: matplotlib.axes.Axes = simsim.plots.overlaps(run)
    panels: np.ndarray = simsim.plots.phases(run)
    plt.savefig("phases.pdf")
views: tuple[np.ndarray, np.ndarray] = simsim.draw_views(config, np.random.default_rng(0))
loss, grad = simsim.loss_and_grad(np.eye(2, 9), np.eye(2), *views)
slope: np.ndarray = grad.W
'''
WRONG = {  # a line, and what it is refused for
    "simsim.nothing": "attr-defined",
    "simsim.Config(stepz=3)": "call-arg",
    "simsim.Config(steps='many')": "arg-type",
    "simsim.simulate(run)": "arg-type",
    "run.share": "attr-defined",
    "simsim.simulate_many(config, 3)": "arg-type",
    "simsim.sweep({}, 'out', workers='two')": "arg-type",
    "simsim.plots.phases(config)": "arg-type",
    "found.strong_learned.step": "union-attr",
    "wrong: str = config.lr": "assignment",
}
ANNOTATED = "laws", "measures", "plots"  # the modules of which every public function is, beside the names of simsim itself


def needs(tool):
    return pytest.mark.skipif(importlib.util.find_spec(tool) is None, reason=f"{tool} is not installed")


described = pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.2.0", reason="mypy reads the types of NumPy 2.2 and newer")


def mypy(folder, *arguments):
    """What mypy says when it is run in a folder, with one cache for all that is asked here."""
    return subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return f"--cache-dir={tmp_path_factory.mktemp('mypy')}"


def only_for_checkers(package):
    """{name: module} of what the __init__ of a package imports for type checkers alone."""
    block, = (node for node in ast.parse(Path(package.__file__).read_text(encoding="utf-8")).body if isinstance(node, ast.If))
    return {alias.asname: node.module for node in block.body for alias in node.names}


@pytest.mark.parametrize("package", [simsim, sweeps])
def test_checkers_are_told_the_public_names(package):
    homes = {name: f"{package.__name__}.{home}" for name, home in package._HOMES.items()}
    rooms = dict.fromkeys(set(package.__all__) - set(homes), package.__name__)
    assert only_for_checkers(package) == {**homes, **rooms}


def functions(name, value):
    """(name, function) of a public function, or of each public method and property of a class."""
    if inspect.isclass(value):
        own = {key: one for key, one in vars(value).items() if not key.startswith("_")}
        for key, one in own.items():
            bare = getattr(one, "fget", None) or getattr(one, "func", None) or getattr(one, "__func__", None) or one
            if inspect.isfunction(bare):
                yield f"{name}.{key}", bare
    elif inspect.isfunction(value):
        yield name, inspect.unwrap(value)


def public():
    """(name, function) of all that a user may call and that is annotated."""
    for name in simsim._HOMES:
        yield from functions(name, getattr(simsim, name))
    for module in (importlib.import_module(f"simsim.{name}") for name in ANNOTATED):
        for name in getattr(module, "__all__", vars(module)):
            value = getattr(module, name)
            ours = hasattr(module, "__all__") or getattr(value, "__module__", None) == module.__name__
            if ours and not name.startswith("_"):
                yield from functions(f"{module.__name__}.{name}", value)


def test_every_public_function_is_annotated():
    """Its parameters, but for `self`, and what it returns."""
    bare = {}
    for name, function in public():
        signature = inspect.signature(function)
        given = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
        missing = [one.name for one in given if one.annotation is one.empty]
        if missing or signature.return_annotation is signature.empty:
            bare[name] = missing
    assert bare == {}
    assert len(list(public())) > 100


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()


@needs("mypy")
@described
def test_the_annotations_agree_with_the_code(cache):
    """By the settings of setup.cfg, over all of the package."""
    done = mypy(Path(__file__).parent.parent, cache)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("mypy")
@described
def test_a_user_s_script_is_checked(tmp_path, monkeypatch, cache):
    """A strict check of a script takes all of its lines but the wrong ones, each for its own reason."""
    lines = USER.splitlines()
    (tmp_path / "user.py").write_text("\n".join([*lines, *WRONG, ""]))
    monkeypatch.setenv("MYPYPATH", str(PACKAGE.parent))
    done = mypy(tmp_path, cache, "--strict", "--follow-imports=silent", "user.py")
    errors = re.findall(r"^user\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert errors == [(str(len(lines) + 1 + i), kind) for i, kind in enumerate(WRONG.values())], done.stdout


@needs("jedi")
def test_an_editor_finds_names_and_signatures():
    import jedi
    project = jedi.Project(PACKAGE.parent)
    names = {one.name for one in jedi.Script("import simsim\nsimsim.", project=project).complete()}
    assert names >= set(simsim.__all__)
    config, = jedi.Script("import simsim\nsimsim.Config(", project=project).get_signatures()
    assert [one.name for one in config.params] == [field for field in simsim.Config.__dataclass_fields__]
    simulate, = jedi.Script("import simsim\nsimsim.simulate(", project=project).get_signatures()
    assert [one.name for one in simulate.params] == list(inspect.signature(simsim.simulate).parameters)
    properties = {one.name for one in jedi.Script("import simsim\nsimsim.simulate(simsim.Config()).", project=project).complete()}
    assert properties >= {"shares", "correlations", "save", "to_dataframe"}
