"""The command line: `python -m simsim.run --m 2 --alpha-ratio 20`.

Trains, prints the theorem report and writes a folder (`folder`). Exit status:
0; 1 for a failed check under --strict; 2 for a request that cannot be met; 3
for a run that could not be finished; 130 when interrupted.

What takes long to import is imported on first use, as `simsim.folder` and the
like, so that a signal gets its one line from the beginning.
"""

import argparse
import contextlib
import dataclasses
import importlib
import json
import math
import os
import re
import shlex
import sys
import time
from typing import NamedTuple

import simsim
from simsim.interrupts import Interrupts
from simsim.terminal import (FAILED_CHECK, INTERRUPTED, OK, REFUSED, UNFINISHED, Parser, Progress, Refusal, argument, say,
                             seconds, show)

QUICK_FLOW = 3  # neurons up to which the flow is integrated beside a run of SGD: about two seconds,
FLOW_SECONDS = 20.0  # but far from alpha / sigma = 1 it would take minutes
BEYOND = 100.0  # times as long as the run, where the flow beside it has no end of its own


class Stop(NamedTuple):
    """Why something was cut short, the exit status that this means, and whether the command that goes on is told."""

    reason: str
    status: int
    goes_on: bool


def main(argv=None):
    """Run the command line; returns the exit status."""
    path = None
    with Interrupts() as interrupts:
        try:
            options = parse(sys.argv[1:] if argv is None else argv)
            importlib.import_module("simsim.folder")  # and with it nearly all there is
            interrupts.check()
            path, config = asked(options)
            with held(options, path, config) as work:
                return _run(options, path, work, interrupts)
        except SystemExit:  # --help and --version end here: what is named below would be imported to be compared with it
            raise
        except Refusal as refusal:
            say(refusal)
            return REFUSED
        except OSError as error:
            say(f"{path}: {error.strerror or error}{_go_on(path)}")
            return UNFINISHED
        except KeyboardInterrupt:
            say(f"interrupted{_go_on(path)}")
            return INTERRUPTED
        except simsim.FlowError as error:
            say(f"stopped: {error}")
            return UNFINISHED


def _run(options, path, work, interrupts):
    """Compute, write the folder, print the report; returns the exit status.

    `work` is a Checkpoint, the Config of a flow, or the Trajectory of a run that
    is complete. A signal cuts short what is left to compute, and what is known
    by then is written.
    """
    began, known = time.perf_counter(), isinstance(work, simsim.Trajectory)
    remarks = simsim.folder.remarks(path)  # read before the run: a config.json that is altered meanwhile does it no harm
    stops = []  # a `Stop` for what was cut short
    run, flow = work if known else _compute(options, work, interrupts, stops), None
    with _stopping(stops, "interrupted during the flow beside the run"):
        flow = _flow_beside(run, interrupts)
    if known and stops:
        raise KeyboardInterrupt  # all of the run is in the folder already
    report = simsim.check_theorems(run, flow)
    report.remarks += [*remarks, *_gave_up(flow), *(stop.reason for stop in stops[:1])]
    beside = {}
    if options.compare and not stops:
        with _stopping(stops, "interrupted during the run to compare with"):
            beside = _compared(options, _other(options, run.config), interrupts)
    simsim.folder.write_results(path, run, report)
    if not options.no_plot:
        with _stopping(stops, "interrupted before the picture was drawn"):
            simsim.folder.write_picture(path, run, flow, interrupts, options.format, options.band and _has_band(run))
    if options.report_html:
        with _stopping(stops, "interrupted before the page was written"):
            simsim.folder.write_page(path, run, report, flow, interrupts, beside, _command(options, run.config))
    if not stops:
        simsim.folder.close_folder(path)
    report.story = [_in_folder(path, sentence) for sentence in report.story]
    show(json.dumps(report.to_dict(), indent=2) if options.json else report.full() if options.report == "full" else str(report))
    if not simsim.folder.says(path, run.config):
        say(f"{path}{os.sep}config.json was altered meanwhile; what ran is in the other files")
    if stops:
        stop = stops[0]
        say(stop.reason + (_go_on(path) if stop.goes_on else ""))
        return stop.status
    if known:
        say(f"{path}{os.sep} holds this run already; this is its report")
    elif not options.quiet:
        say(f"written to {path}{os.sep} after {time.perf_counter() - began:.1f} s")
    if not options.quiet:
        say(f"to load it: run = simsim.Trajectory.load({os.path.join(path, simsim.folder.TRAJECTORY)!r})")
    return FAILED_CHECK if options.strict and report.failed else OK


def _compute(options, work, interrupts, stops):
    """Integrate the flow of a Config, or train what a Checkpoint has begun: the Trajectory."""
    limit = options.time_limit
    if isinstance(work, simsim.Config):
        with interrupts.at_once():
            interrupts.check()
            run = simsim.simulate(work, start=options.start_state, progress=_progress_of_flow(options),
                                  seconds=limit)
        if run.status == simsim.flow.GAVE_UP:
            stops.append(Stop(f"stopped by --time-limit {limit:g} at t = {run.time[-1]:.3g}", UNFINISHED, goes_on=False))
        return run
    state, config = work.state, work.config
    try:
        simsim.folder.train(work, _progress(options, config), interrupts, limit)
        if state.step < config.steps:
            words = f"after step {state.step} of {config.steps}"
            stops.append(Stop(f"interrupted {words}", INTERRUPTED, goes_on=True) if interrupts.seen else
                         Stop(f"stopped by --time-limit {limit:g} {words}", UNFINISHED, goes_on=True))
    except simsim.TrainingError as error:
        stops.append(Stop(f"stopped: {error}", UNFINISHED, goes_on=False))
    return work.recorder.trajectories()[0]


def _flow_beside(run, interrupts):
    """The flow from the start of a run of SGD; None where it takes long, fails, or nothing moves."""
    config = run.config
    if config.clock == "time" or config.m > QUICK_FLOW or config.stands_still:
        return None
    try:
        with interrupts.at_once():
            interrupts.check()
            return simsim.flow.follow(_to_follow(config), start=run.state(0) if run.start_was_given else None,
                                      seconds=FLOW_SECONDS)
    except (simsim.ConfigError, simsim.FlowError) as error:  # a kappa that is too much for it, or a failure on the way
        say(f"no flow to compare with: {error}")
        return None


def _to_follow(config):
    """The Config of that flow; where it would hardly end (docs/usage.md), only some way beyond the end of the run."""
    until = config.t_max
    known = simsim.objectives.ends_are_known(simsim.objectives.kind_of(config.objective))
    if until is None and (config.patch_counts is not None or not known):
        until = BEYOND * config.steps * config.lr
    return dataclasses.replace(config, engine="flow", t_max=until)


def _compared(options, config, interrupts):
    """{name: what a page tells of it} of the run to compare with, computed for the page alone; empty where it fails."""
    try:
        with interrupts.at_once():
            interrupts.check()
            run = simsim.simulate(config, start=options.start_state, seconds=options.time_limit)
    except (simsim.TrainingError, simsim.FlowError) as error:
        say(f"no run to compare with: {error}")
        return {}
    flow = _flow_beside(run, interrupts)
    return {" ".join(options.compare): simsim.plots.Told(run, simsim.check_theorems(run, flow), flow)}


def _gave_up(flow):
    """The remark, if any, that the flow beside a run took too long."""
    if flow is not None and flow.status == simsim.flow.GAVE_UP:
        yield f"the flow beside gave up after {FLOW_SECONDS:g} s of computing, at t = {flow.time[-1]:.3g}"


@contextlib.contextmanager
def _stopping(stops, reason):
    """Do without the rest of the block when a signal ends it, and note it in `stops`."""
    try:
        yield
    except KeyboardInterrupt:
        stops.append(Stop(reason, INTERRUPTED, goes_on=True))


def _in_folder(path, sentence):
    """A sentence of a story that is printed: its command to go on names the folder, which files in the folder do not know."""
    return sentence.replace(simsim.report.RESUME, f"--resume {shlex.quote(str(path))}")


def _go_on(path):
    """How to take up what `path` keeps of an interrupted run; empty where it keeps nothing."""
    if path is None or not simsim.folder.can_resume(path):
        return ""
    return f"; go on with: python -m simsim.run --resume {shlex.quote(str(path))}"


# ---- what the user asks for ----------------------------------------------------

def parse(argv):
    """The options given; those of Config only where they were given. Raises Refusal."""
    parser = Parser(prog="python -m simsim.run",
                    absent={f"--{name}": why for name, why in simsim.config.ABSENT.items()},
                    description="SimSiam with a linear prediction head, trained by SGD on fresh samples, "
                                "put beside the theorems of Wen and Li (NeurIPS 2022).")
    parser.add_argument("--version", action="version", version=f"simsim {simsim.__version__}")
    groups = {}
    for group, fields in _groups().items():
        arguments = groups[group] = parser.add_argument_group(group)
        for field in fields:
            default = "" if field.default is None or field.name in simsim.config.switches() else f" [{field.default}]"
            value = {"metavar": _metavar(field), "type": _reader(field)}
            arguments.add_argument(simsim.config.flag(field.name), dest=field.name, default=argparse.SUPPRESS,
                                   help=field.metadata["help"] + default,
                                   **{"action": "store_const", "const": simsim.config.switches()[field.name]}
                                   if field.name in simsim.config.switches() else value)
    groups["training"].add_argument("--kappa", metavar="KAPPA", type=_reader(simsim.Config.__dataclass_fields__["head_lr"]),
                                    help="head_lr over lr, in place of --head-lr")
    parser.set_defaults(start_state=None)
    parser.add_argument("--start", metavar="FILE", help="start from the state in FILE, as `simsim.State.save` writes it, in place "
                        "of weights by init_seed")
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", help="folder to write [runs/ and what differs from the defaults]")
    output.add_argument("--resume", metavar="DIR", nargs="?", const="",
                        help="go on with the interrupted run in DIR, or in --out; with a larger --steps, with a complete one")
    output.add_argument("--time-limit", metavar="SECONDS", type=seconds, default=math.inf,
                        help="stop computing after so many seconds and write what there is: an unfinished run, status 3")
    output.add_argument("--no-plot", action="store_true", help="write no picture")
    output.add_argument("--format", choices=("png", "pdf", "svg"), default="png",
                        help="of the picture, phases.png, .pdf or .svg [png]")
    output.add_argument("--band", action="store_true", help="shade in the picture where runs with other samples are, by "
                        "theory: two standard deviations")
    output.add_argument("--report-html", action="store_true", help="write report, pictures and an animation as one page, "
                        "report.html")
    output.add_argument("--compare", metavar="FIELD=VALUE", nargs="+", action="extend", default=[], help="with --report-html: "
                        "tell beside this run another one that differs in these options, such as head=frozen")
    output.add_argument("--report", choices=("brief", "full"), default="brief", help="what is printed: the paper's statements and "
                        "phases, or all lines, hypotheses and figures [brief]")
    output.add_argument("--json", action="store_true", help="print the report as JSON")
    output.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    output.add_argument("--strict", action="store_true", help="exit with 1 if a check fails")
    return parser.parse_args(_joined(argv))


def _changes(words):
    """{field: value} of FIELD=VALUE words, where a field is one of Config or kappa. Raises Refusal."""
    known, changes = {field.name: field for field in dataclasses.fields(simsim.Config)}, {}
    known["kappa"] = known["head_lr"]
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if not equals or name in changes:
            raise Refusal(f"--compare {word}: " + ("it is there twice" if equals else "it must be FIELD=VALUE"))
        read = _SWITCHED.__getitem__ if name in simsim.config.switches() else _reader(known[name]) if name in known else str
        try:
            changes[name] = read(text)
        except KeyError:
            raise Refusal(f"--compare {word}: {name} is true or false") from None
        except argparse.ArgumentTypeError as error:
            raise Refusal(f"--compare {word}: {error}") from None
    return changes


_SWITCHED = {"true": True, "false": False}


def _other(options, config):
    """The Config of the run to compare one of `config` with: what follows from rules follows anew. Raises Refusal."""
    where = "--compare " + " ".join(options.compare)
    if not options.report_html:
        raise Refusal(f"{where}: the run beside is told on the page alone; ask for it by --report-html")
    try:
        changes = _changes(options.compare)
        kappa = changes.pop("kappa", None)
        if kappa is not None and "head_lr" in changes:
            raise Refusal(f"{where}: kappa is head_lr over lr: give one of them")
        other = simsim.Config(**{**config.changes(), **changes})
        if kappa is not None:
            if not math.isfinite(kappa) or kappa < 0:
                raise Refusal(f"{where}: kappa must be a number of at least 0")
            other = dataclasses.replace(other, head_lr=kappa * other.lr)
        if options.start_state is not None:
            options.start_state.require_fits(other)
    except simsim.ConfigError as error:
        raise Refusal(f"{where}: {error}") from None
    except ValueError as error:
        raise Refusal(f"{where}: --start {options.start}: {error}") from None
    if other == config:
        raise Refusal(f"{where}: that is this run itself")
    return other


def _groups():
    """The fields of Config by option group."""
    groups = {}
    for field in dataclasses.fields(simsim.Config):
        groups.setdefault(field.metadata["group"], []).append(field)
    return groups


def _metavar(field):
    choices = field.metadata.get("choices")
    return "{" + ",".join(choices) + "}" if choices else field.metadata["symbol"]


def _reader(field):
    """How the text of an option becomes a value: whole numbers may be written 1e6."""
    def read(text):
        if field.type is str:
            return text
        if field.type is tuple:
            return tuple(argument(int, word) for word in text.split(","))  # a float where it is not whole
        return argument(field.type, text)
    return read


def _joined(argv):
    """`--lr -1e-3` as `--lr=-1e-3`, which argparse would otherwise take for two options."""
    joined = []
    for word in argv:
        if joined and re.fullmatch(r"-\.?\d.*|-inf|-nan", word) and re.fullmatch(r"--[^=]+", joined[-1]):
            joined[-1] += "=" + word
        else:
            joined.append(word)
    return joined


def asked(options):
    """The folder and the Config that the options ask for, no Config for a run to resume. Raises Refusal."""
    if options.out == "":
        raise Refusal("--out: name a folder")
    if options.resume is not None:
        path = options.resume or options.out
        if not path:
            raise Refusal("--resume: name the folder of the run, as in --resume DIR")
        if options.start is not None:
            raise Refusal(f"--start {options.start}: a resumed run goes on from where it is")
        if options.out and options.out != path:
            raise Refusal(f"--out {options.out}: a resumed run stays in its folder, {path}")
        return path, None
    try:
        config = _with_kappa(simsim.Config(**_given(options)), options)
    except simsim.ConfigError as error:
        raise Refusal(f"{simsim.config.as_typed(error.option, error.value)}: {error.allowed}") from None
    for name, why in config.without_effect().items():
        if hasattr(options, name) and not options.quiet:
            say(f"{simsim.config.as_typed(name, getattr(options, name))} has no effect: {why}")
    if options.start is not None:
        options.start_state = _state_in(options.start, config)
    if options.band:
        _require_band(options, config)
    if options.compare:
        _other(options, config)  # what cannot be is refused before anything is computed
    return options.out or simsim.folder.default_folder(config, options.start), config


def _require_band(options, config):
    """Refusal where there is no band for runs of `config`, or no picture for it."""
    if options.no_plot:
        raise Refusal("--band: it is part of the picture, of which --no-plot wants none")
    try:
        simsim.linear_noise.require(config, options.start_state)
    except ValueError as error:
        raise Refusal(f"--band: {error}") from None


def _has_band(run):
    """Whether there is a band for this run, of which the start may not have been known before; if not, it is said why."""
    try:
        simsim.linear_noise.require(run.config, run.state(0))
        return True
    except ValueError as error:
        say(f"--band: {error}")
        return False


def _with_kappa(config, options):
    """`config` with the head's rate that --kappa asks for, where it is given. Raises Refusal, ConfigError."""
    if options.kappa is None:
        return config
    if hasattr(options, "head_lr"):
        raise Refusal("--kappa is head_lr over lr: give one of --kappa and --head-lr")
    if not math.isfinite(options.kappa) or options.kappa < 0:
        raise Refusal(f"--kappa {options.kappa:g}: it must be a number of at least 0")
    return dataclasses.replace(config, head_lr=options.kappa * config.lr)


def _state_in(path, config):
    """The State in the file that --start names, for a run of `config`. Raises Refusal."""
    try:
        state = simsim.State.load(path)
        state.require_fits(config)
        return state
    except (simsim.NotARunError, ValueError) as error:
        raise Refusal(f"--start {path}: {error}") from None
    except OSError as error:
        raise Refusal(f"--start {path}: {error.strerror or error}") from None


@contextlib.contextmanager
def held(options, path, config):
    """What there is to do in the folder, which is held for this process: see `_run`. Raises Refusal."""
    if not options.no_plot or options.report_html:
        os.environ["MPLBACKEND"] = "Agg"  # a file is written, no window opened
    try:
        with simsim.folder.hold(path, make=config is not None):
            if config is not None:
                yield simsim.folder.open_folder(path, config, options.start_state)
            else:
                yield _resumed(options, path)
    except simsim.folder.FolderError as error:
        raise Refusal(f"{'--out' if config else '--resume'} {path}: {error}") from None


def _resumed(options, path):
    """The Checkpoint of the run in `path`, with more steps where --steps asks for them. Raises Refusal, FolderError."""
    if options.kappa is not None:
        raise Refusal("--kappa: a resumed run keeps its options")
    steps = getattr(options, "steps", None)
    work = simsim.folder.resume_folder(path, steps)
    _require_same(options, path, work.config)
    if options.band:
        _require_band(options, work.config)
    if options.compare:
        _other(options, work.config)
    simsim.folder.go_on(path, work)
    return work


def _given(options):
    """The fields of Config that were given on the command line."""
    return {field.name: getattr(options, field.name)
            for field in dataclasses.fields(simsim.Config) if hasattr(options, field.name)}


def _command(options, config):
    """The command that makes this run and its page."""
    start = [] if options.start is None else ["--start", options.start]
    compare = ["--compare", *options.compare] if options.compare else []
    return f"{config.command()} {shlex.join([*start, '--report-html', *compare])}"


def _require_same(options, path, config):
    """Refuse options that differ from those of the run to resume."""
    for name, value in _given(options).items():
        if value != getattr(config, name):
            raise Refusal(f"{simsim.config.as_typed(name, value)}: the run in {path} has {getattr(config, name)}, "
                          "and a resumed run keeps its options")


# ---- what the user sees --------------------------------------------------------

def _progress_of_flow(options):
    """A callback that says how far a flow is, and what the neurons hold."""
    line = Progress(options.quiet)
    return lambda t, shares: line.show(lambda elapsed: f"t = {t:.3g}   {elapsed:.0f} s   {_held(shares)}")


def _held(shares):
    """What the first neurons hold most of, from shares (m, K)."""
    return "   ".join(f"f_{j + 1}: v_{share.argmax() + 1} {share.max():.2f}" for j, share in enumerate(shares[:4]))


def _progress(options, config):
    """A callback that says how far training is, how long it takes still, and what the neurons hold."""
    line, first = Progress(options.quiet), None

    def show(state):
        nonlocal first
        first = state.step if first is None else first

        def words(elapsed):
            left = elapsed / max(state.step - first, 1) * (config.steps - state.step)
            shares = simsim.population.shares(config, state.overlaps[0], state.gram[0])
            return f"step {state.step}/{config.steps}   {left:.0f} s left   {_held(shares)}"
        line.show(words, last=state.step == config.steps)
    return show


if __name__ == "__main__":
    sys.exit(main())
