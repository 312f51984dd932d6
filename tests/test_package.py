"""What is built for others: the source archive has everything of the repository, the wheel what runs."""

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import simsim

ROOT = Path(__file__).parent.parent
FOLDERS = ("simsim", "docs", "examples", "tests", ".ci", ".github")
FILES = ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "pyproject.toml", "setup.cfg", "MANIFEST.in")
# What whoever ran something in these folders has made.
MADE = shutil.ignore_patterns("__pycache__", "*.pyc", "runs", "out", "generated", "_build", ".*cache")


def build(kind, source, out):
    """The archive that the build backend makes of the folder `source`, without a network: 'sdist' or 'wheel'."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of what the repository has, since building writes beside its sources."""
    copy = tmp_path_factory.mktemp("repository")
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=MADE)
    return copy


@pytest.fixture(scope="module")
def unpacked(repository, tmp_path_factory):
    """The folder that is in the source archive."""
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", repository, out)) as archive:
        archive.extractall(out)
    folder, = (path for path in out.iterdir() if path.is_dir())
    return folder


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_source_archive_has_all_of_the_repository(repository, unpacked):
    own = {name for name in files(repository) if name.split("/")[0] in (*FOLDERS, *FILES)}
    assert own - files(unpacked) == set()
    added = {name for name in files(unpacked) - own if ".egg-info/" not in name}
    assert added == {"PKG-INFO"}


def test_the_wheel_that_the_source_archive_makes_has_the_package_alone(repository, unpacked, tmp_path):
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {name for name in files(repository) if name.startswith("simsim/")}


def setting(section, name):
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    return settings[section][name]


def test_version_and_date_are_the_same_everywhere():
    heading = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    version, date = heading.groups()
    citation = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE))
    assert simsim.__version__ == version == citation["version"] and date == citation["date-released"]


def test_the_lowest_python_is_one_everywhere():
    lowest = setting("options", "python_requires").removeprefix(">=")
    named = re.findall(r"Python :: (3\.\d+)$", setting("metadata", "classifiers"), re.MULTILINE)
    assert min(named, key=lambda one: int(one[2:])) == lowest
    assert f"Python {lowest} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'versions: lowest\n            python: "{lowest}"' in (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")


def test_the_lowest_versions_are_those_of_the_settings():
    """What .ci/floor and the workflow install: each package that simsim needs, at the version that setup.cfg allows."""
    done = subprocess.run([sys.executable, ".ci/lowest.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [line.replace(">=", "==") for line in setting("options", "install_requires").split()]
    assert [line.split("==")[0] for line in done.stdout.split()] == ["numpy", "scipy", "matplotlib"]
