"""What a type checker sees of the public names without running anything, and what it refuses."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import simsim

PACKAGE = Path(simsim.__file__).parent
USER = '''
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
    simsim.plots.overlaps(run).figure.savefig("overlaps.pdf")
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
    "found.strong_learned.step": "union-attr",
    "wrong: str = config.lr": "assignment",
}


def only_for_checkers():
    """{name: module} of what __init__ imports for type checkers alone."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block, = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname: node.module for node in block.body for alias in node.names}


def test_checkers_are_told_the_public_names():
    homes = {name: f"simsim.{home}" for name, home in simsim._HOMES.items()}
    rooms = dict.fromkeys(set(simsim.__all__) - set(homes), "simsim")
    assert only_for_checkers() == {**homes, **rooms}


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_user_s_script_is_checked(tmp_path, monkeypatch):
    """A strict check of a script takes all of its lines but the wrong ones, each for its own reason."""
    lines = USER.splitlines()
    (tmp_path / "user.py").write_text("\n".join([*lines, *WRONG, ""]))
    monkeypatch.setenv("MYPYPATH", str(PACKAGE.parent))
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "user.py"], cwd=tmp_path,
                          capture_output=True, text=True)
    errors = re.findall(r"^user\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert errors == [(str(len(lines) + 1 + i), kind) for i, kind in enumerate(WRONG.values())], done.stdout
