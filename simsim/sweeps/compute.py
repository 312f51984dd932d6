"""A task computed: what a worker does. It reads and writes no file, and whatever fails is an outcome."""

import time

from simsim import flow
from simsim.simulation import simulate, simulate_many
from simsim.sweeps import outcome


def compute(task):
    """The outcomes of a Task's runs, in order, and their Trajectories (None, unless they are to be kept)."""
    began = time.perf_counter()
    outcomes, runs = _flows(task) if task.config.clock == "time" and not task.trajectories else _runs(task)
    wall = (time.perf_counter() - began) / len(outcomes)
    return [{**row, "wall_s": wall} for row in outcomes], runs


def _flows(task):
    """All flows of a task in one batch: they differ in their starts alone."""
    configs = task.configs()
    try:
        outcomes = _batch(configs)
    except Exception:  # a start that no flow can leave
        outcomes = _one_by_one(configs, lambda config: _batch([config])[0])
    return outcomes, [None] * len(outcomes)


def _batch(configs):
    """The outcomes of flows that differ in d and initial seed alone."""
    return outcome.of_flow(configs[0], flow.follow_each(configs))


def _runs(task):
    """Trajectories: of SGD side by side; where one of them fails, and of flows, each by itself.

    For SGD that gives the same bits.
    """
    configs = task.configs()
    kept = [None] * len(configs)

    def alone(config):
        kept[configs.index(config)] = run = simulate(config)
        return outcome.of_run(run)

    together = task.config.clock == "step" and _side_by_side(configs)
    outcomes, kept = together or (_one_by_one(configs, alone), kept)
    return outcomes, kept if task.trajectories else [None] * len(configs)


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
        except Exception as error:
            outcomes.append(outcome.failed(f"{type(error).__name__}: {error}"))
    return outcomes
