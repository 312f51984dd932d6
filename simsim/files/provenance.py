"""config.json: what a run is, and what its last bits depend on besides: versions, and the threads of BLAS.

A product of large matrices is split between the threads of BLAS, and its sums
are then rounded in another order. simsim's own threads change nothing.
"""

import json
import os
import platform
from importlib import metadata

import simsim
from simsim.files.archives import NotARunError, write_json

PACKAGES = ("numpy", "scipy", "matplotlib")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def write(path, config, began=None, others=()):
    """Write config.json at `path`: the versions a run began under, by default ours, and those it was resumed under."""
    values = {"config": config.to_dict(), "versions": began or versions()}
    if others:
        values["resumed_under"] = others
    write_json(path, values)


def read(path):
    """The Config, the versions the run began under, and those it was resumed under. Raises NotARunError, OSError."""
    with open(path) as file:
        try:
            values = json.load(file)
            return (simsim.trajectory.read_config(json.dumps(values["config"])), _versions_of(values["versions"]),
                    [_versions_of(other) for other in values.get("resumed_under", [])])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotARunError(f"its {os.path.basename(path)} is not a run's; choose another folder") from None


def _versions_of(values):
    """JSON `values` as versions by name; ValueError or TypeError where they are none."""
    found = dict(values)
    if not all(isinstance(value, (str, int)) and f"{name}{value}".isprintable() for name, value in found.items()):
        raise ValueError("a version is a word or a number")
    return found


def resume(path, config):
    """Note in config.json that the run goes on, as `config`, and under the versions of this process where they are others."""
    kept, began, others = read(path)
    now = versions()
    new = [] if now in (began, *others) else [now]
    if new or config != kept:
        write(path, config, began, [*others, *new])


def remarks(path):
    """What a report must say of how its run came about: the versions that changed on the way, each in a line."""
    _, began, others = read(path)
    return [f"resumed under {differences(began, now)}: the last bits may not be those of an unbroken run"
            for now in others]


def words(path):
    """The versions a run began under, in a line."""
    _, began, _ = read(path)
    return ", ".join(f"{name} {version}" for name, version in began.items())


def versions():
    """The versions that this process runs, by name, and the number of threads of its BLAS."""
    return {"simsim": simsim.__version__, "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES}, "blas_threads": blas_threads()}


def blas_threads():
    """How many threads BLAS may use: as many as the environment says, else one for each CPU of this process."""
    for variable in THREAD_VARIABLES:
        number = os.environ.get(variable, "")
        if number.isdecimal() and int(number) > 0:
            return int(number)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def differences(before, now):
    """What differs between two results of `versions`, in words."""
    return ", ".join(f"{name} {now.get(name)} after {before.get(name)}" for name in {**before, **now}
                     if before.get(name) != now.get(name))
