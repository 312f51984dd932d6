"""The command line: `python -m simsim.run --m 2 --alpha-ratio 20`.

Trains, prints the theorem report and writes a folder (`folder`). Exit status:
0; 1 for a failed check under --strict; 2 for a request that cannot be met; 3
for a run that could not be finished; 130 when interrupted.
"""

import argparse
import contextlib
import dataclasses
import difflib
import json
import os
import re
import shlex
import sys
import time

import simsim
from simsim import flow_path, folder
from simsim.config import Config, ConfigError
from simsim.flow import GAVE_UP
from simsim.flow_path import FlowError
from simsim.report import check_theorems
from simsim.simulation import TrainingError, simulate

PROGRESS_SECONDS = 0.2
QUICK_FLOW = 3  # neurons up to which the flow is integrated beside a run of SGD: about two seconds,
FLOW_SECONDS = 20.0  # but far from alpha / sigma = 1 it would take minutes
OK, STRICT_FAILURE, REFUSED, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130


class Refusal(Exception):
    """A request that cannot be met; its text is the one line that the user reads."""


def main(argv=None):
    """Run the command line; returns the exit status."""
    path = None
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        path, recorder, state = prepare(options)
        return _run(options, path, recorder, state)
    except Refusal as refusal:
        _say(refusal)
        return REFUSED
    except FlowError as error:
        _say(f"stopped: {error}")
        return UNFINISHED
    except OSError as error:
        _say(f"{path}: {error.strerror or error}")
        return UNFINISHED
    except KeyboardInterrupt:
        _say("interrupted" + (f"; {_go_on(path)}" if path and folder.can_resume(path) else ""))
        return INTERRUPTED


def _run(options, path, recorder, state):
    """Compute, write the folder, print the report; returns the exit status."""
    began, config = time.perf_counter(), recorder.config
    stopped, status, flow = None, OK, None
    if config.engine == "flow":
        run, known = simulate(config), False
    else:
        known = state.step == config.steps  # the folder held this very run
        stopped, status = _train(path, recorder, state, _progress(options, config))
        run, flow = recorder.trajectory(), _flow_beside(config)
    report = check_theorems(run, flow)
    if flow is not None and flow.status == GAVE_UP:
        report.remarks.append(f"the flow beside gave up after {FLOW_SECONDS:g} s of computing, "
                              f"at t = {flow.time[-1]:.3g}")
    if stopped:
        report.remarks.append(stopped)
    folder.write_results(path, run, report, plot=not options.no_plot, flow=flow)
    if not stopped:
        folder.close_folder(path)
    _print_report(report, options.json)
    if stopped:
        _say(stopped + (f"; {_go_on(path)}" if status == INTERRUPTED else ""))
    elif known:
        _say(f"{path}{os.sep} holds this run already; this is its report")
    elif not options.quiet:
        _say(f"written to {path}{os.sep} after {time.perf_counter() - began:.1f} s")
    return STRICT_FAILURE if status == OK and options.strict and report.failed else status


def _train(path, recorder, state, progress):
    """Train; why it stopped early, or None, and the exit status so far."""
    try:
        if folder.train(path, recorder, state, progress):
            return None, OK
        return f"interrupted after step {state.step} of {recorder.config.steps}", INTERRUPTED
    except TrainingError as error:
        return f"stopped: {error}", UNFINISHED


def _flow_beside(config):
    """The flow from the start of a run of SGD; None where it takes long, fails, or nothing moves."""
    if config.m > QUICK_FLOW or config.feature_patches == config.patches:
        return None
    try:
        return flow_path.follow(dataclasses.replace(config, engine="flow"), seconds=FLOW_SECONDS)
    except (ConfigError, FlowError) as error:  # a kappa that is too much for it, or a failure on the way
        _say(f"no flow to compare with: {error}")
        return None


def _go_on(path):
    return f"go on with: python -m simsim.run --resume {shlex.quote(str(path))}"


# ---- what the user asks for ----------------------------------------------------

class _Parser(argparse.ArgumentParser):
    """argparse that refuses in one line."""

    def error(self, message):
        raise Refusal(message.removeprefix("argument "))


def parse(argv):
    """The options given; those of Config only where they were given. Raises Refusal."""
    parser = _Parser(prog="python -m simsim.run", allow_abbrev=False,
                     description="SimSiam with a linear prediction head, trained by SGD on fresh samples, "
                                 "put beside the theorems of Wen and Li (NeurIPS 2022).")
    parser.add_argument("--version", action="version", version=f"simsim {simsim.__version__}")
    for group, fields in _groups().items():
        arguments = parser.add_argument_group(group)
        for field in fields:
            default = "" if field.default is None else f" [{field.default}]"
            arguments.add_argument(_flag(field.name), dest=field.name, metavar=_metavar(field), type=_reader(field),
                                   default=argparse.SUPPRESS, help=field.metadata["help"] + default)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", help="folder to write [runs/ and what differs from the defaults]")
    output.add_argument("--resume", metavar="DIR", nargs="?", const="",
                        help="go on with the interrupted run in DIR, or in --out")
    output.add_argument("--no-plot", action="store_true", help="write no picture")
    output.add_argument("--json", action="store_true", help="print the report as JSON")
    output.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    output.add_argument("--strict", action="store_true", help="exit with 1 if a check fails")
    options, unknown = parser.parse_known_args(_joined(argv))
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, 1)
        hint = f"did you mean {near[0]}?" if near else "--help lists them"
        raise Refusal(f"{unknown[0]}: there is no such option; {hint}")
    return options


def _groups():
    """The fields of Config by option group."""
    groups = {}
    for field in dataclasses.fields(Config):
        groups.setdefault(field.metadata["group"], []).append(field)
    return groups


def _flag(name):
    return "--" + name.replace("_", "-")


def _metavar(field):
    choices = field.metadata.get("choices")
    return "{" + ",".join(choices) + "}" if choices else field.metadata["symbol"]


def _reader(field):
    """How the text of an option becomes a value: whole numbers may be written 1e6."""
    def read(text):
        if field.type is str:
            return text
        try:
            value = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        return int(value) if field.type is int and value % 1 == 0 else value
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


def prepare(options):
    """The folder, recorder and first state that the options ask for. Raises Refusal."""
    given = {field.name: getattr(options, field.name)
             for field in dataclasses.fields(Config) if hasattr(options, field.name)}
    if options.out == "":
        raise Refusal("--out: name a folder")
    if not options.no_plot:
        os.environ["MPLBACKEND"] = "Agg"  # a file is written, no window opened
    if options.resume is not None:
        return _resume(options, given)
    try:
        config = Config(**given)
    except ConfigError as error:
        value = error.value if error.value != "" else "''"
        raise Refusal(f"{_flag(error.option)} {value}: {error.allowed}") from None
    path = options.out or folder.default_folder(config)
    try:
        return path, *folder.open_folder(path, config)
    except folder.FolderError as error:
        raise Refusal(f"--out {path}: {error}") from None


def _resume(options, given):
    """The interrupted run in the folder that --resume, or else --out, names."""
    path = options.resume or options.out
    if not path:
        raise Refusal("--resume: name the folder of the run, as in --resume DIR")
    if options.out and options.out != path:
        raise Refusal(f"--out {options.out}: a resumed run stays in its folder, {path}")
    try:
        recorder, state = folder.resume_folder(path)
    except folder.FolderError as error:
        raise Refusal(f"--resume {path}: {error}") from None
    for name, value in given.items():
        if value != getattr(recorder.config, name):
            raise Refusal(f"{_flag(name)} {value}: the run in {path} has {getattr(recorder.config, name)}, "
                          "and a resumed run keeps its options")
    return path, recorder, state


# ---- what the user sees --------------------------------------------------------

def _print_report(report, as_json):
    """The report on stdout; the folder has it already, so a stdout that fails costs nothing."""
    try:
        print(json.dumps(report.to_dict(), indent=2) if as_json else report, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _say(f"stdout: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _progress(options, config):
    """A callback that keeps one line of stderr up to date, if stderr is a terminal."""
    if options.quiet or sys.stderr is None or not sys.stderr.isatty():
        return lambda state: None
    began, shown, first = time.monotonic(), -PROGRESS_SECONDS, None

    def show(state):
        nonlocal shown, first
        first = state.step if first is None else first
        elapsed = time.monotonic() - began
        if elapsed - shown < PROGRESS_SECONDS and state.step < config.steps:
            return
        shown = elapsed
        left = elapsed / max(state.step - first, 1) * (config.steps - state.step)
        shares = simsim.population.shares(config, state.overlaps, state.gram)
        neurons = "   ".join(f"f_{j + 1}: v_1 {strong:.2f}, v_2 {weak:.2f}"
                             for j, (strong, weak) in enumerate(shares[:4]))
        print(f"\r\x1b[Kstep {state.step}/{config.steps}   {left:.0f} s left   {neurons}",
              end="\n" if state.step == config.steps else "", file=sys.stderr, flush=True)
    return show


def _say(message):
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody is listening
            print(f"simsim: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
