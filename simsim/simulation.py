"""The loop of SGD: a generator of states; and `simulate`, from a Config to a Trajectory by any engine.

An engine is a class of weights that gives out pre-activations of a fresh batch
and takes their gradient back (`sgd.PatchWeights` is the pattern). The loop
between is this one, whatever the engine.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from simsim import flow_path, heads, network
from simsim.config import only_original
from simsim.gram import GramWeights
from simsim.replicas import Replicas
from simsim.sgd import LiteralWeights, PatchWeights
from simsim.trajectory import Recorder

WEIGHTS = {"sgd": LiteralWeights, "gram": GramWeights}  # the engines that step; the flow is integrated
GROUP_BYTES = 2**18  # of noise that runs side by side hold; a step needs five times that, in a cache


class TrainingError(ArithmeticError):
    """Training cannot go on: says which neuron, at which step, and what to do."""


@dataclass
class State:
    """A run after `step` updates. The loop updates it in place: copy what you keep."""

    step: int
    weights: PatchWeights
    head: np.ndarray
    batch_loss: float = np.nan

    @property
    def overlaps(self):
        """<w_j, v_l>, (m, 2)."""
        return self.weights.overlaps

    @property
    def gram(self):
        """<w_i^perp, w_j^perp>, (m, m)."""
        return self.weights.gram


def start(config):
    """The state before the first step: Gaussian weights, and the head's own start."""
    only_original(config)
    return State(0, WEIGHTS[config.engine](config), heads.from_config(config).start())


def iterate(config, state, objective=network.simsiam):
    """Yield `state`, then the same object after each further step, up to `config.steps`.

    W <- W - eta dL/dW and E_off <- E_off - eta_E dL/dE_off on a fresh batch
    at every step (docs/theory.md, section 1); `objective` is L.

    Raises
    ------
    TrainingError
        A neuron's output is constant over a batch, or not finite.
    """
    head = heads.from_config(config)
    yield state
    while state.step < config.steps:
        try:
            with np.errstate(all="ignore"):  # what overflows is caught by name
                loss, head_grad = state.weights.update(objective, state.step, state.head, config.lr)
                state.head -= config.head_lr * head.direction(head_grad)
                state.step, state.batch_loss = state.step + 1, loss
                _require_finite(state)
        except network.NetworkError as error:
            raise _training_error(state, error.neuron, error) from None
        yield state


def simulate(config, *, progress=None):
    """Run `config` and return its Trajectory.

    Parameters
    ----------
    config : Config
    progress : callable, optional
        Called with the current State after every step of SGD; copy what you keep
        of it. The flow takes no such steps, and does not call it.

    Raises
    ------
    TrainingError
        See `iterate`.
    FlowError
        The integration failed, or a conserved quantity drifted.
    """
    if config.engine == "flow":
        return flow_path.follow(config)
    recorder = Recorder(config)
    for state in iterate(config, start(config)):
        recorder.see(state)
        if progress is not None:
            progress(state)
    return recorder.trajectory()


def simulate_many(config, seeds, *, init_seeds=None):
    """Run `config` once for each seed of the samples; returns the list of Trajectories.

    Each is that of `simulate` with the same config, bit for bit. With the gram
    engine the runs go side by side, which is cheaper than one after another.

    Parameters
    ----------
    config : Config
    seeds : sequence of int
        `seed` of each run.
    init_seeds : sequence of int, optional
        `init_seed` of each run, as many as seeds; without it all start from `config.init_seed`.

    Raises
    ------
    TrainingError
        See `iterate`; the runs after the one it names are lost.
    """
    if init_seeds is None:
        init_seeds = [config.init_seed] * len(seeds)
    if len(init_seeds) != len(seeds):
        raise ValueError(f"`init_seeds` must be as many as `seeds`, got {len(init_seeds)} and {len(seeds)}")
    configs = [dataclasses.replace(config, seed=seed, init_seed=init_seed)
               for seed, init_seed in zip(seeds, init_seeds)]
    if config.engine != "gram":
        return [simulate(config) for config in configs]
    size = group_size(config)
    groups = [configs[first:first + size] for first in range(0, len(configs), size)]
    return [run for group in groups for run in _simulate_group(group)]


def group_size(config):
    """How many gram runs of `config` go side by side: as many as keep their noise in a cache."""
    numbers = config.batch_size * max(1, config.patches - config.feature_patches) * config.m
    return max(1, GROUP_BYTES // (numbers * np.dtype(config.dtype).itemsize))


def _simulate_group(configs):
    """`simulate` for gram configs that differ in their seeds alone, side by side."""
    config, states = configs[0], [start(config) for config in configs]
    recorders, group = [Recorder(config) for config in configs], Replicas([state.weights for state in states])
    E = np.stack([state.head for state in states])
    for s, state in enumerate(states):
        state.head = E[s]
        recorders[s].see(state)
    head = heads.from_config(config)
    for step in range(config.steps):
        try:
            with np.errstate(all="ignore"):
                losses, head_grads = group.update(step, E, config.lr)
                E -= config.head_lr * head.direction(head_grads)
                for state, loss in zip(states, losses.tolist()):
                    state.step, state.batch_loss = step + 1, loss
                    _require_finite(state)
        except network.NetworkError as error:
            raise _training_error(states[error.run], error.neuron, error) from None
        for state, recorder in zip(states, recorders):
            recorder.see(state)
    return [recorder.trajectory() for recorder in recorders]


def _training_error(state, neuron, problem):
    """A TrainingError that says where: which neuron, at which step of which run."""
    config = state.weights.config
    where = "" if neuron is None else f"neuron {neuron}, "  # an objective need not know
    return TrainingError(f"{where}step {state.step}: {problem} "
                         f"(seed {config.seed}, init_seed {config.init_seed})")


def _require_finite(state):
    """Raise TrainingError if the square of a neuron's weights, or of its head, is not finite."""
    arrays = state.overlaps, state.weights.noise_part, state.head
    if not math.isfinite(sum([np.vdot(array, array) for array in arrays])):
        finite = np.all([np.isfinite((array * array).sum(axis=1)) for array in arrays], axis=0)
        raise _training_error(state, np.argmin(finite) + 1,
                              "the weights are not finite any more; use a smaller lr or head_lr")
