"""A task computed: what a worker does. It reads and writes no file, and whatever fails is an outcome."""

import math
import time

from simsim import flow
from simsim.simulation import simulate, simulate_many
from simsim.sweeps import outcome


class TimeLimit(Exception):
    """A run took too long."""


def compute(task, seconds=math.inf):
    """The outcomes of a Task's runs, in order, and their Trajectories (None, unless they are to be kept).

    A run that takes more than `seconds` fails; runs that are computed together share what they have of them.
    """
    began = time.perf_counter()
    batch = task.config.clock == "time" and not task.trajectories
    outcomes, runs = _flows(task, seconds) if batch else _runs(task, seconds)
    wall = (time.perf_counter() - began) / len(outcomes)
    return [{**row, "wall_s": wall} for row in outcomes], runs


def _flows(task, seconds):
    """All flows of a task in one batch: they differ in their starts alone."""
    configs = task.configs()
    try:
        outcomes = _batch(configs, seconds)
    except Exception:  # a start that no flow can leave
        outcomes = _one_by_one(configs, lambda config: _batch([config], seconds)[0])
    return outcomes, [None] * len(outcomes)


def _batch(configs, seconds):
    """The outcomes of flows that differ in d and initial seed alone."""
    result = flow.follow_each(configs, seconds=seconds * len(configs))
    late = result.verdict == flow.GAVE_UP
    return [outcome.failed(_too_long(seconds, f"t = {t:.3g}")) if cut else row
            for row, cut, t in zip(outcome.of_flow(configs[0], result), late, result.t)]


def _too_long(seconds, where):
    return f"stopped by the time limit of {seconds:g} s at {where}"


def _runs(task, seconds):
    """Trajectories: of SGD side by side; where one of them fails, and of flows, each by itself.

    For SGD that gives the same bits.
    """
    configs = task.configs()
    kept = [None] * len(configs)

    def alone(config):
        run = simulate(config, seconds=seconds, progress=_limit(config, seconds))
        if run.status == flow.GAVE_UP and run.clock == "time":
            raise TimeLimit(_too_long(seconds, f"t = {run.time[-1]:.3g}"))
        kept[configs.index(config)] = run
        return outcome.of_run(run)

    together = task.config.clock == "step" and math.isinf(seconds) and _side_by_side(configs)
    outcomes, kept = together or (_one_by_one(configs, alone), kept)
    return outcomes, kept if task.trajectories else [None] * len(configs)


def _limit(config, seconds):
    """A callback of SGD that ends a run after so many seconds; None without a limit, and for the flow, which knows it."""
    began = time.monotonic()

    def check(state):
        if time.monotonic() - began > seconds:
            raise TimeLimit(_too_long(seconds, f"step {state.step}"))
    return check if config.clock == "step" and seconds < math.inf else None


def _side_by_side(configs):
    """(outcomes, Trajectories) of runs of SGD that differ in their seeds alone; None where one of them fails."""
    seeds, init_seeds = zip(*((config.seed, config.init_seed) for config in configs))
    try:
        runs = simulate_many(configs[0], seeds, init_seeds=init_seeds)
        return [outcome.of_run(run) for run in runs], runs
    except Exception:
        return None


def _one_by_one(configs, run):
    """The outcome of each run; that of one which fails says so."""
    outcomes = []
    for config in configs:
        try:
            outcomes.append(run(config))
        except TimeLimit as limit:
            outcomes.append(outcome.failed(limit))
        except Exception as error:
            outcomes.append(outcome.failed(f"{type(error).__name__}: {error}"))
    return outcomes
