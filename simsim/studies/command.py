"""The command line: `python -m simsim.study NAME [--quick] [--out DIR]`.

Exit status: 0; 1 if a claim fails and --strict was given; 2 for a request that cannot be met; 3 for a study that
could not be finished, or of which too many runs failed for some claim; 130 when interrupted.
"""

import argparse
import os
import time

from simsim.studies import FAIL, INCOMPLETE, STUDIES, perform, regions
from simsim.sweeps import command
from simsim.terminal import FAILED_CHECK, OK, UNFINISHED, Parser, Refusal, say, show


def main(argv, interrupts):
    """Run the command line; returns the exit status."""
    return command.answer(argv, interrupts, parse, _perform)


def parse(argv):
    """The options. Raises Refusal."""
    names = "\n".join(f"  {name:<12} {study.question} (full: {study.full_time})" for name, study in STUDIES.items())
    parser = Parser(prog="python -m simsim.study", epilog=f"studies:\n{names}",
                    formatter_class=argparse.RawDescriptionHelpFormatter,
                    description="Hold what theorems say of many runs against many runs. Full times are on "
                                "two cores; --quick takes less than a minute.")
    parser.add_argument("name", metavar="NAME", choices=list(STUDIES), help="one of the studies below")
    parser.add_argument("--quick", action="store_true", help="fewer values and seeds")
    parser.add_argument("--out", metavar="DIR", help="folder to write, or to go on in [runs/NAME, or runs/NAME-quick]")
    command.add_places(parser)
    command.add_redo_failed(parser)
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a claim fails")
    options = parser.parse_args(argv)
    if options.out == "":
        raise Refusal("--out: name a folder")
    options.out = options.out or os.path.join("runs", options.name + "-quick" * options.quick)
    return options


def _perform(options, interrupts):
    interrupts.check()
    os.environ["MPLBACKEND"] = "Agg"  # a file is written, no window opened
    began, shows = time.monotonic(), {}

    def progress(name, *now):
        if name not in shows:
            shows[name] = command.progress(options, f"{name}: ")
        shows[name](*now)
    found = perform(STUDIES[options.name], options.out, quick=options.quick, executor=options.executor,
                    workers=options.workers, redo=options.redo, progress=progress, stop=lambda: interrupts.seen)
    if found is None:
        raise KeyboardInterrupt
    show(regions.report(found))
    if not options.quiet:
        say(f"written to {options.out}{os.sep} after {time.monotonic() - began:.1f} s")
    unjudged = sum(check.verdict == INCOMPLETE for check in found)
    if unjudged:
        say(f"{unjudged} of {len(found)} claims are not judged: too many of their runs failed; "
            "--redo-failed computes these again")
        return UNFINISHED
    return FAILED_CHECK if options.strict and any(check.verdict == FAIL for check in found) else OK
