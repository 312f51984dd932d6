"""From a Config to a Trajectory, by any engine."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from simsim import flow, sgd
from simsim.config import AData, AHead, AnObjective, Config
from simsim.sgd.recorder import Recorder, logged_steps
from simsim.state import State
from simsim.trajectory import Trajectory


def simulate(config: Config, *, objective: AnObjective | None = None, head: AHead | None = None, data: AData | None = None,
             start: State | None = None, progress: Callable[..., Any] | None = None, seconds: float = math.inf) -> Trajectory:
    """Run `config` and return its Trajectory.

    Parameters
    ----------
    config : Config
    objective : str or objectives.Objective, optional
        In place of the config's own, with its flags. `run.config` has it, and so have the report and the pictures.
    head : str or heads.Head, optional
        In place of the config's own.
    data : str or data.Law, optional
        In place of the config's own. Only engine sgd takes a law of one's own, of which `run.loss` and the like say that they
        are not known.
    start : State, optional
        In place of Gaussian weights by `init_seed`; any engine. The report says that the start was given.
    progress : callable, optional
        Called with the current `sgd.State`, of S = 1 runs, after every step of SGD; copy what
        you keep of it. The flow calls progress(t, shares) after every step of its integrator, with the
        time and the shares (m, K).
    seconds : float
        Of computing, of which a flow takes no more: its `status` is then `flow.GAVE_UP`. SGD does not ask.

    Raises
    ------
    sgd.TrainingError
        See `sgd.iterate`.
    FlowError
        The integration failed, or a conserved quantity drifted.

    >>> import simsim
    >>> run = simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, steps=60))
    >>> run.shares[-1, :, 0].round(1).tolist()  # of v_1 in both outputs: one neuron has learned it
    [1.0, 0.0]
    """
    config = with_objects(config, objective, head, data)
    if config.clock == "time":
        return flow.follow(config, start=start, seconds=seconds, progress=progress)
    return _train([config], progress, start)[0]


def with_objects(config: Config, objective: AnObjective | None = None, head: AHead | None = None,
                 data: AData | None = None) -> Config:
    """`config` with another objective, its flags included, another head and law of samples, each a name or an object; None
    leaves its own.

    All else stays as `config` has it, its lr and its head among it, where `Config(objective=...)` has the objective's own.
    """
    if objective is not None:
        flags: dict[str, Any] = {"stop_gradient": None, "batch_norm": None}
        config = replace(config, objective=objective, **flags)
    others: dict[str, Any] = {name: value for name, value in (("head", head), ("data", data)) if value is not None}
    return replace(config, **others) if others else config


def simulate_many(config: Config, seeds: Iterable[int], *, init_seeds: Iterable[int] | None = None,
                  objective: AnObjective | None = None, head: AHead | None = None, data: AData | None = None,
                  start: State | None = None) -> list[Trajectory]:
    """Run `config` once for each seed of the samples; returns the list of Trajectories.

    Each is that of `simulate` with the same config, bit for bit. With the gram
    engine the runs go side by side, which is cheaper than one after another.

    Parameters
    ----------
    config : Config
    seeds : iterable of int
        `seed` of each run.
    init_seeds : iterable of int, optional
        `init_seed` of each run, as many as seeds; without it all start from `config.init_seed`.
    objective, head, data, start : optional
        As for `simulate`; with a `start` all begin there.

    Raises
    ------
    sgd.TrainingError
        See `sgd.iterate`; the other runs are lost.
    ValueError
        `seeds` or `init_seeds` are no lists of seeds, or not as many.

    >>> import simsim
    >>> runs = simsim.simulate_many(simsim.Config(d=20, batch_size=64, steps=20), seeds=range(3))
    >>> len(runs), runs[2].config.seed
    (3, 2)
    """
    config, seeds = with_objects(config, objective, head, data), _listed("seeds", seeds)
    init_seeds = [config.init_seed] * len(seeds) if init_seeds is None else _listed("init_seeds", init_seeds)
    if len(init_seeds) != len(seeds):
        raise ValueError(f"`init_seeds` must be as many as `seeds`, got {len(init_seeds)} and {len(seeds)}")
    configs = [config.reseeded(seed, init_seed) for seed, init_seed in zip(seeds, init_seeds)]
    if start is not None and any(one.init_seed != config.init_seed for one in configs):
        raise ValueError("`init_seeds` and `start` both say where runs begin: give one of them")
    if config.clock == "time":
        return [simulate(config, start=start) for config in configs]
    size = sgd.ENGINES[config.engine].together(config)
    return [run for first in range(0, len(configs), size) for run in _train(configs[first:first + size], start=start)]


def _listed(name: str, seeds: Iterable[int]) -> list[int]:
    """A list of what `seeds` holds, or a ValueError that names it."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"`{name}` must be several seeds, such as range(10), got {seeds!r}")
    return list(seeds)


def _train(configs, progress=None, start=None):
    """The Trajectories of configs that differ in their seeds alone, side by side."""
    recorder = Recorder(configs)
    for state in sgd.iterate(sgd.start(configs, start), stops=None if progress else logged_steps(recorder.config).tolist()):
        recorder.see(state)
        if progress is not None:
            progress(state)
    return recorder.trajectories()
