"""The architecture: reading order is import order, and each layer keeps to its own."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import simsim

PACKAGE = Path(simsim.__file__).parent
ORDER = ["activation", "objectives", "heads", "data", "schedules", "memory", "config", "initial", "network", "population", "target",
         "premises", "theory", "measures", "phases", "noise_runs", "noise_laws", "laws",
         "ends", "files", "files.archives", "state", "files.tables", "trajectory", "linear_noise", "flow.layout",
         "flow.elimination", "flow.methods", "flow.segment",
         "flow.solver", "flow.equations", "flow.crossing", "flow.stretch", "flow.coordinates", "flow.noiseless",
         "flow.certificate",
         "flow.integration", "flow.path", "flow", "sgd.draws", "sgd.engine", "sgd.literal", "sgd.gram", "sgd.optimiser",
         "sgd.loop",
         "sgd.recorder", "sgd", "simulation", "files.checkpoint", "variant_laws", "rates", "glossary", "claims", "report.seen",
         "report.hypotheses", "report.phase_one", "report.trained", "report.frozen", "report.layout", "report.story",
         "report.table", "report", "dials", "plots.style", "plots.story", "plots.matrices", "plots.portrait",
         "plots.model",
         "plots.motion", "plots.webpage", "plots.window", "plots",
         "files.lock",
         "files.provenance", "interrupts", "terminal", "folder", "sweeps.grid", "sweeps.outcome", "sweeps.compute", "sweeps.rows",
         "sweeps.table", "sweeps.executors", "sweeps.work", "sweeps.folder", "sweeps", "sweeps.estimate",
         "sweeps.command", "studies.statistics", "studies.regions", "studies.plan", "studies.ablation",
         "studies.theorem_1", "studies.theorem_3", "studies.diagram", "studies.phase_one", "studies.amplitude",
         "studies.phase_three", "studies.phase_four", "studies.neurons", "studies.frequencies", "studies.patches",
         "studies.sgd_flow", "studies.one_neuron", "studies.sgd_threshold", "studies.sgd_samples", "studies.sgd_theorem_1",
         "studies.sgd_decay", "studies.batch",
         "studies.perform", "studies", "studies.command", "run", "explore", "sweep", "study", "__main__"]
COMMANDS = ["terminal", "sweeps.command", "studies.command", "run"]  # what prints
OPTIONAL = {"distributed", "pandas"}  # imported only where a user asks for it
ROOMS = ["files", "flow", "sgd", "report", "plots", "sweeps", "studies"]  # sub-packages; their __init__ shows what a room offers


def source(module):
    """The file of a module, or of a room's door."""
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if module in ROOMS else path.with_suffix(".py")


def _run(tree):
    """The tree without what only type checkers see, which is no import."""
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING")]
    return tree


def imports(module):
    """The simsim modules and the other packages that a module imports, anywhere in it."""
    tree = ast.parse(source(module).read_text())
    names = set()
    for node in ast.walk(_run(tree)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            within = node.module in ("simsim", *(f"simsim.{room}" for room in ROOMS))
            paths = {f"{node.module}.{alias.name}" for alias in node.names} if within else {node.module}
            names |= {path if path.removeprefix("simsim.") in ORDER else node.module for path in paths}
        elif isinstance(node, ast.Attribute):  # imported on first use
            path = ast.unparse(node).removeprefix("simsim.")
            names |= {f"simsim.{path}"} if path in ORDER and "." in ast.unparse(node) else set()
    inner = {name.removeprefix("simsim.") for name in names if name.startswith("simsim.")}
    return inner, {name.split(".")[0] for name in names} - {"simsim"}


def test_every_module_is_listed_once():
    files = {path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}
    assert len(set(ORDER)) == len(ORDER) and {source(module) for module in ORDER} == files


def test_every_room_is_shipped():
    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    assert config["options"]["packages"].split() == ["simsim", *(f"simsim.{room}" for room in ROOMS)]


def test_a_module_imports_only_from_those_before_it():
    for position, module in enumerate(ORDER):
        assert imports(module)[0] <= set(ORDER[:position]), module


def test_the_documented_order_is_this_one():
    documented = simsim.__doc__.split("reading order:")[1].rstrip(".\n ").replace(" and ", " ").split(",")
    assert [name.strip() for name in documented] == [module for module in ORDER if "." not in module]


def test_only_runtime_packages_are_imported():
    outer = set().union(*(imports(module)[1] for module in ORDER)) - set(sys.stdlib_module_names)
    assert outer == {"numpy", "scipy", "matplotlib"} | OPTIONAL


def test_matplotlib_comes_only_with_plots():
    assert [module for module in ORDER if "matplotlib" in imports(module)[1]
            and not module.startswith("plots")] == []
    code = ("import sys, simsim, simsim.folder, simsim.report; assert 'matplotlib' not in sys.modules; "
            "simsim.plots; assert 'matplotlib' in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_on_first_use():
    code = "import sys, simsim, simsim.run; assert 'numpy' not in sys.modules; [getattr(simsim, name) for name in dir(simsim)]"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(getattr(simsim, name) is getattr(simsim, name) for name in simsim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simsim.nothing


@pytest.mark.parametrize("command", ["run", "sweep", "study", "explore"])
def test_help_comes_without_scipy_and_matplotlib(command):
    code = ("import runpy, sys\nsys.argv[1:] = ['--help']\n"
            f"try:\n    runpy.run_module('simsim.{command}', run_name='__main__')\n"
            "except SystemExit as end:\n    assert end.code in (None, 0)\n"
            "else:\n    raise AssertionError('it goes on')\n"
            "assert 'simsim.config' in sys.modules\n"
            "assert not {'scipy.linalg', 'scipy.special', 'scipy.stats', 'matplotlib'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_only_command_lines_print():
    for module in set(ORDER) - set(COMMANDS):
        calls = [node for node in ast.walk(ast.parse(source(module).read_text()))
                 if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"]
        assert not calls, module


def test_every_public_function_has_a_docstring():
    for module in ORDER:
        tree = ast.parse(source(module).read_text())
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{module}.{node.name}"


def test_no_test_is_hidden_by_another_of_its_name():
    for path in Path(__file__).parent.glob("test_*.py"):
        names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert len(names) == len(set(names)), path
