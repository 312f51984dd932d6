"""simsim: why a prediction head keeps non-contrastive self-supervised learning from collapsing.

    config = simsim.Config(m=2, alpha_ratio=20.0)
    run = simsim.simulate(config)               # a simsim.Trajectory
    print(simsim.check_theorems(run))           # predicted, measured, verdict
    simsim.plots.phases(run)                    # four Axes, three where the head is frozen

The modules in reading order: activation, objectives, heads, data, schedules, memory, config,
initial, network, population, target, premises, theory, measures, phases, noise_laws, laws, ends, files, state, trajectory,
flow, sgd, simulation, variant_laws, rates, glossary, claims, report, plots,
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

__all__ = sorted([*_HOMES, "flow", "laws", "measures", "plots", "population", "sgd", "theory"])


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


__getattr__ = on_first_use(__name__, _HOMES)


def __dir__():
    return sorted({*globals(), *__all__})
