"""How long a sweep may take, from what it has computed already, or from a probe of it."""

import dataclasses
import time

import numpy as np

from simsim import flow
from simsim.simulation import simulate_many

PROBES = 3  # tasks, spread over the grid
PROBE_SECONDS = 3.0  # for each of them; SGD takes a few steps, and the flow what it gets
PROBE_STEPS = 20
START_SECONDS = 2.0  # until workers are there


def seconds(tasks, known, width):
    """An estimate for `tasks`, `width` at a time, and what it rests on: wall times of the rows `known`, or a probe."""
    runs = sum(len(task.keys) for task in tasks)
    walls = [row["wall_s"] for row in known.values() if "wall_s" in row]
    if walls:
        each, basis = np.mean(walls), f"as {len(walls)} runs have taken"
    else:
        chosen = [tasks[i] for i in np.unique(np.linspace(0, len(tasks) - 1, PROBES).round().astype(int))]
        each, basis = np.mean([_probe(task) for task in chosen]), f"a probe of {len(chosen)} tasks; others may differ"
    return START_SECONDS + each * runs / min(width, len(tasks)), basis


def _probe(task):
    """Seconds for each run of a task, at least."""
    began, config = time.perf_counter(), task.config
    if config.clock == "time":
        flow.follow_many(config, [run.init_seed for run in task.configs()], seconds=PROBE_SECONDS)
        return (time.perf_counter() - began) / len(task.keys)
    short = dataclasses.replace(config, steps=min(config.steps, PROBE_STEPS))
    simulate_many(short, [run.seed for run in task.configs()])
    return (time.perf_counter() - began) / len(task.keys) * config.steps / short.steps
