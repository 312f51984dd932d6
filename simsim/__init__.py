"""simsim: why a prediction head keeps non-contrastive self-supervised learning from collapsing.

    config = simsim.Config(m=2, alpha_ratio=20.0)
    run = simsim.simulate(config)               # a simsim.Trajectory
    print(simsim.check_theorems(run))           # predicted, measured, verdict
    simsim.plots.phases(run)                    # four Axes, three where the head is frozen

The modules in reading order: activation, objectives, heads, data, schedules, memory, config,
initial, network, population, target, premises, theory, measures, phases, noise_runs, noise_laws, laws, ends, files, state,
trajectory, linear_noise, flow, sgd, simulation, variant_laws, rates, glossary, claims, report, dials, plots,
interrupts, terminal, folder, sweeps, studies, run, explore, sweep, study, __main__.
"""

import importlib
import importlib.util
import sys

__version__ = "0.1.0"

# Every public name and the module it comes from, on first use: the command line has
# to listen to signals before NumPy and SciPy are imported, which takes a second.
_HOMES = {
    "Check": "report", "Config": "config", "ConfigError": "config", "FlowError": "flow",
    "NotARunError": "files.archives", "Phases": "phases", "Report": "report", "TrainingError": "sgd",
    "State": "state", "Trajectory": "trajectory", "check_theorems": "report", "draw_views": "data", "find_phases": "phases",
    "loss_and_grad": "network", "simulate": "simulation", "simulate_many": "simulation",
    "sweep": "sweeps",
}

__all__ = sorted([*_HOMES, "flow", "laws", "linear_noise", "measures", "plots", "population", "sgd", "theory"])


def on_first_use(package, homes):
    """The `__getattr__` of a package: a name from its module in `homes`, or a module of the package, imported when asked for."""
    def __getattr__(name):
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value
    return __getattr__


TYPE_CHECKING = bool()  # false, as in `typing`, which takes longer to import than all that is here
if TYPE_CHECKING:  # the same names for whoever reads this without running it: editors, type checkers
    from simsim import (
        flow as flow, laws as laws, linear_noise as linear_noise, measures as measures, plots as plots, population as population,
        sgd as sgd, theory as theory)
    from simsim.config import Config as Config, ConfigError as ConfigError
    from simsim.data import draw_views as draw_views
    from simsim.files.archives import NotARunError as NotARunError
    from simsim.flow import FlowError as FlowError
    from simsim.network import loss_and_grad as loss_and_grad
    from simsim.phases import Phases as Phases, find_phases as find_phases
    from simsim.report import Check as Check, Report as Report, check_theorems as check_theorems
    from simsim.sgd import TrainingError as TrainingError
    from simsim.simulation import simulate as simulate, simulate_many as simulate_many
    from simsim.state import State as State
    from simsim.sweeps import sweep as sweep
    from simsim.trajectory import Trajectory as Trajectory
else:
    __getattr__ = on_first_use(__name__, _HOMES)


def __dir__():
    return sorted({*globals(), *__all__})
