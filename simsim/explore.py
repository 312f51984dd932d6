"""The command line: `python -m simsim.explore`, a window with sliders for one flow.

Exit status: 0; 2 for a request that cannot be met, such as a window where there is no display; 130 when interrupted. In a
notebook with an interactive backend, `simsim.explore.window()` is the figure. What takes long to import comes on first use.
"""

import functools
import importlib

import simsim
from simsim.dials import CHOICES, DIALS, START, require_shown
from simsim.terminal import INTERRUPTED, OK, REFUSED, Parser, Refusal, argument, say

OPTIONS = {"alpha_ratio": "R", "d": "D", "kappa": "K", "feature_patches": "K", "init_seed": "S", "head": None, "objective": None}


def window(**values):
    """The figure of `plots.window`."""
    return simsim.plots.window(**values)


def main(argv, interrupts):
    """Run the command line; returns the exit status."""
    try:
        values = parse(argv)
        require_shown(values)
        importlib.import_module("simsim.plots")  # and with it nearly all there is
        interrupts.check()
        _require_display()
        with interrupts.at_once():
            window(**values)
            simsim.plots.plt.show(block=True)
        return OK
    except simsim.ConfigError as error:
        say(f"--{error.option.replace('_', '-')} {error.value}: {error.allowed}")
        return REFUSED
    except Refusal as refusal:
        say(refusal)
        return REFUSED
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


def parse(argv):
    """The values to begin with. Raises Refusal."""
    parser = Parser(prog="python -m simsim.explore",
                    description="A window with sliders for ratio, d, kappa, k and the start, and buttons for head and objective; "
                                "it shows the flow of them and how it ends. The options say where the sliders begin. Objectives "
                                "that are not listed have flows whose end nobody can certify, and what a window showed at some "
                                "time might be no end: VICReg at --d 300 --kappa 0.1 is collapsed at t = 1e8 and parted at 1e14. "
                                "python -m simsim.run --t-max has them.")
    for name, symbol in OPTIONS.items():
        words = (f"{DIALS[name].low:g} to {DIALS[name].high:g}" if name in DIALS else "one of " + ", ".join(CHOICES[name]))
        kind = {"type": functools.partial(argument, int if DIALS[name].whole else float)} if name in DIALS else {}
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=symbol or name.upper(), default=START[name],
                            help=f"{HELP[name]}: {words} [{START[name]}]", **kind)
    return vars(parser.parse_args(argv))


HELP = {"alpha_ratio": "strength of the strong feature over the weak one", "d": "dimension of a patch",
        "kappa": "how fast the head learns beside the weights", "feature_patches": "patches k of 8 that carry the feature",
        "init_seed": "the start", "head": "the prediction head", "objective": "the objective"}


def _require_display():
    """Refuse where figures have no window to be shown in: their backend only writes files, or finds no display."""
    plt = simsim.plots.plt
    try:
        figure = plt.figure()
    except Exception as error:  # whatever a toolkit raises that has no display
        raise Refusal(f"there is no display to open a window on: {error}") from None
    shows, backend = type(figure.canvas.manager).start_main_loop, plt.get_backend()
    plt.close(figure)
    if shows == simsim.plots.plt.matplotlib.backend_bases.FigureManagerBase.start_main_loop:
        raise Refusal(f"there is no display to open a window on: Matplotlib's backend here is {backend}, which only writes files")


if __name__ == "__main__":
    from simsim.terminal import run_command
    run_command("simsim.explore")
