"""simsim: why a prediction head keeps non-contrastive self-supervised learning from collapsing.

    config = simsim.Config(m=2, alpha_ratio=20.0)
    run = simsim.simulate(config)               # a simsim.Trajectory
    print(simsim.check_theorems(run))           # predicted, measured, verdict
    simsim.plots.phases(run)                    # four Axes, three where the head is frozen

The modules in reading order: activation, objectives, heads, data, schedules, config, initial,
network, population, target, premises, theory, measures, phases, noise_laws, laws, ends, files, state, trajectory,
flow, sgd, simulation, variant_laws, rates, report, glossary, plots,
interrupts, terminal, folder, sweeps, studies, run, explore, sweep, study, __main__.
"""

import importlib
import importlib.util

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


def __getattr__(name):
    """A public name, or a module of the package, on first use."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"simsim.{_HOMES[name]}"), name)
    elif not name.startswith("_") and importlib.util.find_spec(f"simsim.{name}"):
        value = importlib.import_module(f"simsim.{name}")
    else:
        raise AttributeError(f"module 'simsim' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
