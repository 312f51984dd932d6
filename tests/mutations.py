"""Does the test suite notice? Applies wrong lines to the package, one at a time, and says which survive.

    python tests/mutations.py [NAME ...]

A development tool outside the test run: each mutation copies the repository to
a temporary folder, changes one line there and runs the tests that should
object, which takes some minutes in all. Exit status 1 if a mutation survives,
or if the line that it changes is not there any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutation(NamedTuple):
    """`old`, which stands exactly once in `file`, becomes `new`; `tests` are the files that should fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = []


def survivors(names):
    """Run the mutations of these names (all if none is given); the names of those that no test noticed."""
    alive = []
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        noticed = _noticed(mutation)
        print(f"{mutation.name:40} {'caught' if noticed else 'SURVIVED'}", flush=True)
        alive += [] if noticed else [mutation.name]
    return alive


def _noticed(mutation):
    """Whether the tests fail on a copy of the repository with this one change."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", "*.egg-info"))
        path = copy / mutation.file
        text = path.read_text()
        if text.count(mutation.old) != 1:
            sys.exit(f"{mutation.name}: {mutation.old!r} stands {text.count(mutation.old)} times in {mutation.file}")
        path.write_text(text.replace(mutation.old, mutation.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutation.tests.split()]
        done = subprocess.run(command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True)
        if done.returncode not in (0, 1):
            sys.exit(f"{mutation.name}: the tests did not run\n{done.stdout.decode()}{done.stderr.decode()}")
        return done.returncode == 1


if __name__ == "__main__":
    sys.exit(1 if survivors(sys.argv[1:]) else 0)
