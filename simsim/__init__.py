"""simsim: why a prediction head keeps non-contrastive self-supervised learning from collapsing.

    config = simsim.Config(m=2, alpha_ratio=20.0)
    run = simsim.simulate(config)               # a simsim.Trajectory
    print(simsim.check_theorems(run))           # predicted, measured, verdict
    simsim.plots.phases(run)                    # Axes

The modules in reading order: objectives, heads, config, data, initial, network,
population, theory, phases, trajectory, flow, draws, sgd, replicas, gram,
simulation, checkpoint, laws, rates, report, plots, folder, run.
"""

import importlib

from simsim import flow, laws, population, theory
from simsim.config import Config, ConfigError
from simsim.data import draw_views
from simsim.flow import FlowError
from simsim.network import loss_and_grad
from simsim.phases import Phases, find_phases
from simsim.report import Check, Report, check_theorems
from simsim.simulation import TrainingError, simulate, simulate_many
from simsim.trajectory import NotARunError, Trajectory

__version__ = "0.1.0"

__all__ = ["Check", "Config", "ConfigError", "FlowError", "NotARunError", "Phases", "Report", "TrainingError",
           "Trajectory", "check_theorems", "draw_views", "find_phases", "flow", "laws", "loss_and_grad", "plots",
           "population", "simulate", "simulate_many", "theory"]


def __getattr__(name):
    """`simsim.plots` on first use: importing simsim does not import matplotlib."""
    if name == "plots":
        return importlib.import_module("simsim.plots")
    raise AttributeError(f"module 'simsim' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), "plots"})
