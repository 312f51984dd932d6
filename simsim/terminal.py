"""What the command lines share: exit statuses, refusals in one line, how numbers are read, lines on stderr.

This module imports little, for it is there before everything else.
"""

import argparse
import contextlib
import difflib
import importlib
import math
import os
import re
import sys
import time

from simsim.interrupts import Interrupts

OK, FAILED_CHECK, REFUSED, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130  # exit statuses
SECONDS = 0.2  # between two states of a line that is kept up to date


class Refusal(Exception):
    """A request that cannot be met; its text is the one line that the user reads."""


class Parser(argparse.ArgumentParser):
    """argparse that refuses in one line, and knows what a misspelt option may have meant.

    absent : dict, optional; from options that there are not, such as --optimizer, to what is to be said of them
    """

    def __init__(self, absent=None, **options):
        super().__init__(allow_abbrev=False, **options)
        self._absent = absent or {}

    def error(self, message):
        raise Refusal(message.removeprefix("argument "))

    def _print_message(self, message, file=None):
        """What argparse says of --help and --version: as it does, but a stdout that fails is no error."""
        show(message.rstrip("\n"))

    def parse_args(self, argv):
        """The options. Raises Refusal."""
        options, unknown = self.parse_known_args(argv)
        if unknown:
            known = [flag for action in self._actions for flag in action.option_strings]
            flag = unknown[0].split("=")[0]
            near = difflib.get_close_matches(flag, known, 1)
            hint = self._absent.get(flag, f"did you mean {near[0]}?" if near else "--help lists them")
            raise Refusal(f"{unknown[0]}: there is no such option; {hint}" if unknown[0].startswith("-") else
                          f"{unknown[0]}: nothing is expected here")
        return options


def number(kind, text):
    """The int or float that `text` means; whole numbers may be written 1e6. Raises ValueError.

    Where `kind` is int and the number is not whole, it is returned as it is, for the one who knows what is allowed.
    """
    value = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    return int(value) if kind is int and value % 1 == 0 else value


def argument(kind, text):
    """`number`, for argparse. Raises ArgumentTypeError."""
    try:
        return number(kind, text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def seconds(text):
    """A time of computing from the command line. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def run_command(module):
    """Exit with the status of `main(argv, interrupts)` of the module of this name, which is imported with signals noted."""
    with Interrupts() as interrupts:
        try:
            status = importlib.import_module(module).main(sys.argv[1:], interrupts)
        except KeyboardInterrupt:
            say("interrupted")
            status = INTERRUPTED
    sys.exit(status)


class Progress:
    """One line of stderr that is kept up to date; nothing where stderr is no terminal, or `quiet`."""

    def __init__(self, quiet):
        self._silent = quiet or sys.stderr is None or not sys.stderr.isatty()
        self._began, self._shown = time.monotonic(), -SECONDS

    def show(self, words, last=False):
        """Show words(seconds since the beginning), if it is time to: the `last` words always are."""
        if self._silent:
            return
        elapsed = time.monotonic() - self._began
        if elapsed - self._shown < SECONDS and not last:
            return
        self._shown = elapsed
        with contextlib.suppress(OSError):  # the terminal is gone
            print(f"\r\x1b[K{words(elapsed)}", end="\n" if last else "", file=sys.stderr, flush=True)


def show(text):
    """`text` and a line end on stdout. One that fails costs nothing but a word on stderr, and none where nobody reads on."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            say(f"stdout: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end


def say(message):
    """One line on stderr, whatever names and values it quotes."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(message))
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody is listening
            print(f"simsim: {line}", file=sys.stderr, flush=True)
