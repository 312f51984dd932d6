"""The command line: `python -m simsim.sweep --grid engine=flow d=1e4,1e6 kappa=0.1,1 --seeds 0:100 --out DIR`.

Exit status: 0; 2 for a request that cannot be met; 3 for a sweep that could not be finished; 130 when interrupted.
A run that failed is a row of the table, not a failure of the sweep.

What takes long to import is imported on first use, as `sweeps.folder` and the like: what only parses does not need it.
"""

import argparse
import dataclasses
import importlib
import math
import re
import time
from pathlib import Path

import numpy as np

import simsim
from simsim import sweeps
from simsim.config import Config, ConfigError
from simsim.sweeps import executors
from simsim.sweeps.grid import KAPPA, REDO_ALL, REDO_FAILED, REDO_NONE
from simsim.terminal import (INTERRUPTED, OK, REFUSED, UNFINISHED, Parser, Progress, Refusal, number, say, seconds,
                             show)

FIELDS = {field.name: field.type for field in dataclasses.fields(Config)}
GRID_HELP = ("fields of Config (python -m simsim.run --help), or kappa: d=100,1000 has two values; d=1e2:1e8:7 has 7, "
             "log-spaced; seed=0:20 the whole numbers from 0 to 19; strengths=20+5+1 is one value")


def main(argv, interrupts):
    """Run the command line; returns the exit status."""
    return answer(argv, interrupts, parse, _act)


def _act(options, interrupts):
    importlib.import_module("simsim.sweeps.folder")  # and with it nearly all there is
    if options.merge:
        columns, grid = sweeps.merge(options.out)
        say(f"{Path(options.out) / sweeps.table.NAME}: {len(columns['status'])} of {len(grid)} runs")
        return OK
    grid = sweeps.Grid(options.fields, options.seeds)
    interrupts.check()
    return _dry_run(options, grid) if options.dry_run else _sweep(options, grid, interrupts)


def answer(argv, interrupts, parse, act):
    """The exit status of act(parse(argv), interrupts); what refuses it or cuts it short is one line on stderr."""
    try:
        options = parse(argv)
        return act(options, interrupts)
    except SystemExit:  # --help ends here: what is named below would be imported to be compared with it
        raise
    except (ConfigError, sweeps.GridError) as error:
        say(f"--grid: {error}")
        return REFUSED
    except (Refusal, simsim.folder.FolderError) as error:
        say(error if isinstance(error, Refusal) else f"--out {options.out}: {error}")
        return REFUSED
    except sweeps.ExecutorError as error:
        say(f"--executor: {error}")
        return REFUSED
    except sweeps.SweepError as error:
        say(f"stopped: {error}")
        return UNFINISHED
    except KeyboardInterrupt:
        say("interrupted; the same command goes on")
        return INTERRUPTED


def _sweep(options, grid, interrupts):
    began = time.monotonic()
    columns = sweeps.sweep(grid, options.out, executor=options.executor, workers=options.workers, redo=options.redo,
                           shard=options.shard, trajectories=options.trajectories, progress=progress(options),
                           stop=lambda: interrupts.seen, seconds=options.time_limit)
    path = sweeps.folder.part_folder(options.out, options.shard) / sweeps.table.NAME
    cut = sweeps.folder.cut_of(options.out, options.shard)
    wanted = sum(len(task.keys) for task in sweeps.folder.part_of(grid, options.shard, cut=cut))
    failures = int((columns["status"] == sweeps.outcome.FAILED).sum())
    some = f", {failures} of them failed (--redo-failed repeats these)" if failures else ""
    done = f"{path}: {len(columns['status'])} of {wanted} runs{some}, after {time.monotonic() - began:.1f} s"
    if interrupts.seen:
        say(f"interrupted; the same command goes on. {done}")
        return INTERRUPTED
    if not options.quiet:
        say(done)
    return OK


def _dry_run(options, grid):
    """Print what would be done, and how long it may take."""
    known = sweeps.folder.peek(sweeps.folder.part_folder(options.out, options.shard), grid, options.trajectories)
    known = {} if options.redo == REDO_ALL else known
    everything = sweeps.folder.part_of(grid, options.shard, options.trajectories,
                                       sweeps.folder.cut_of(options.out, options.shard))
    tasks = sweeps.folder.unfinished(everything, known, options.redo)
    lines = [f"{name:<16} {', '.join(map(str, values))}" for name, values in grid.axes.items()]
    runs = sum(len(task.keys) for task in everything)
    lines += [f"{'seeds':<16} {_seeds(grid)}", f"{runs} runs in {len(everything)} tasks, of which {len(tasks)} are to do"]
    if tasks:
        width = options.workers or executors.cpus()
        seconds, basis = sweeps.estimate.seconds(tasks, known, width)
        lines.append(f"about {_duration(seconds)} with {width} at a time ({basis})")
    show("\n".join(lines))
    return OK


def _seeds(grid):
    """The seeds of a grid in words."""
    if grid.seeds is None:
        return "those of the fields"
    ends = f"{grid.seeds[0]} to {grid.seeds[-1]}, " if len(grid.seeds) > 1 else f"{grid.seeds[0]}, "
    return f"{ends}{len(grid.seeds)} in all, for {' and '.join(grid.seeded)}"


# ---- what the user asks for ----------------------------------------------------

def add_places(parser):
    """The options that say where to compute."""
    parser.add_argument("--workers", type=_positive, metavar="N", help="tasks at a time [one for each CPU]")
    parser.add_argument("--executor", type=_executor, metavar="dask:ADDRESS",
                        help="a cluster of dask.distributed [processes here]")


def add_redo_failed(parser):
    """The option to compute again what failed."""
    parser.add_argument("--redo-failed", dest="redo", action="store_const", const=REDO_FAILED, default=REDO_NONE,
                        help="compute runs that failed again")


def parse(argv):
    """The options, with `fields` and `seeds` of the grid. Raises Refusal."""
    parser = Parser(prog="python -m simsim.sweep",
                    description="Run a grid of configurations times seeds; called again, it goes on where it stopped.")
    parser.add_argument("--grid", nargs="+", action="extend", default=[], metavar="FIELD=VALUES", help=GRID_HELP)
    parser.add_argument("--seeds", type=_whole_numbers, metavar="A:B",
                        help="seeds A to B - 1 (or A,B,C), for seed and init_seed, unless --grid decides them")
    parser.add_argument("--out", metavar="DIR", help="folder of the sweep; it resumes what is there")
    add_places(parser)
    redo = parser.add_mutually_exclusive_group()
    add_redo_failed(redo)
    redo.add_argument("--redo-all", dest="redo", action="store_const", const=REDO_ALL, help="start over")
    parser.add_argument("--shard", type=_shard, metavar="I/N", help="only part I of N, in a folder of its own in DIR")
    parser.add_argument("--merge", action="store_true", help="bring the shards in DIR together, and do nothing else")
    parser.add_argument("--time-limit", metavar="SECONDS", type=seconds, default=math.inf,
                        help="of computing for a run: one that takes longer is a row that says so [none]")
    parser.add_argument("--trajectories", action="store_true", help="keep the trajectory of every run")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it may take")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    options = parser.parse_args(argv)
    if not options.out:
        raise Refusal("--out: name a folder")
    if not (options.grid or options.merge):
        raise Refusal("--grid: name at least one field, as in --grid engine=flow")
    options.fields = {}
    for word in options.grid:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if not equals or name in options.fields:
            raise Refusal(f"--grid {word}: " + ("it is there twice" if equals else "it must be FIELD=VALUES"))
        options.fields[name] = _values(name, text, f"--grid {word}")
    return options


def _values(name, text, where):
    """The values that `text` means for a field. Raises Refusal."""
    kind = float if name == KAPPA else FIELDS.get(name, str)
    try:
        if kind not in (str, bool) and ":" in text:
            return _range(kind, *text.split(":"))
        return [_value(kind, word) for word in text.split(",")]
    except (ValueError, TypeError, KeyError, OverflowError):
        raise Refusal(f"{where}: {text!r} is not a list of its values") from None


def _value(kind, text):
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if kind is tuple:
        return tuple(number(int, word) for word in text.split("+"))  # a float where it is not whole
    return text if kind is str else number(kind, text)


def _range(kind, low, high, count=None):
    """low:high, whole numbers without the last; low:high:count, log-spaced and both included."""
    if count is None:
        return list(range(int(low), int(high)))
    spaced = np.geomspace(float(low), float(high), int(count))
    return [int(round(value)) for value in spaced] if kind is int else [float(f"{value:.6g}") for value in spaced]


def _whole_numbers(text):
    if not re.fullmatch(r"\d+:\d+|\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither A:B nor A,B,C")
    return _range(int, *text.split(":")) if ":" in text else [int(word) for word in text.split(",")]


def _shard(text):
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def _executor(text):
    if not text.startswith(executors.DASK):
        raise argparse.ArgumentTypeError(f"{text!r} is not {executors.DASK}ADDRESS")
    return text


def _positive(text):
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


# ---- what the user sees --------------------------------------------------------

def progress(options, label=""):
    """A callback that says how many runs are done, and how long the others will take."""
    line = Progress(options.quiet)

    def show(done, total, failures):
        def words(elapsed):
            left = f"   {_duration(elapsed / done * (total - done))} left" if done else ""
            some = f"   {failures} failed" if failures else ""
            return f"{label}{done}/{total} runs{left}{some}"
        line.show(words, last=done == total)
    return show


def _duration(seconds):
    """A time in words: two digits are enough."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
