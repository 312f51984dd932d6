"""The loop of SGD: a generator of states; and `simulate`, from a Config to a Trajectory by any engine.

An engine is a class of weights that gives out pre-activations of a fresh batch
and takes their gradient back (`sgd.LiteralWeights` is the pattern). The loop
between is this one, whatever the engine.
"""

import json
import os
from dataclasses import dataclass

import numpy as np

from simsim import flow_path, network
from simsim.sgd import LiteralWeights
from simsim.trajectory import (STORED, NotARunError, Recorder, Trajectory, logged_steps, read_arrays,
                               read_config, write_arrays)

WEIGHTS = {"sgd": LiteralWeights}  # the engines that step; the flow is integrated


class TrainingError(ArithmeticError):
    """Training cannot go on: says which neuron, at which step, and what to do."""


@dataclass
class State:
    """A run after `step` updates. The loop updates it in place: copy what you keep."""

    step: int
    weights: LiteralWeights
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
    """The state before the first step: Gaussian weights, E = I."""
    return State(0, WEIGHTS[config.engine](config), np.eye(config.m))


def iterate(config, state):
    """Yield `state`, then the same object after each further step, up to `config.steps`.

    W <- W - eta dL/dW and E_off <- E_off - eta_E dL/dE_off on a fresh batch
    at every step (docs/theory.md, section 1).

    Raises
    ------
    TrainingError
        A neuron's output is constant over a batch, or not finite.
    """
    head_rates = config.head_lr * network.trainable(config)
    yield state
    while state.step < config.steps:
        try:
            with np.errstate(all="ignore"):  # what overflows is caught by name
                U1, U2 = state.weights.preactivations(state.step)
                loss, grad = network.simsiam(U1, U2, state.head.astype(U1.dtype, copy=False))
                state.weights.descend(grad, config.lr)
                state.head -= head_rates * grad.E
                finite = np.isfinite(state.overlaps.sum(axis=1) + state.gram.sum(axis=1) + state.head.sum(axis=1))
        except network.NetworkError as error:
            raise TrainingError(f"neuron {error.neuron}, step {state.step}: {error}") from None
        state.batch_loss = loss
        state.step += 1
        if not finite.all():
            raise TrainingError(f"neuron {np.argmin(finite) + 1}, step {state.step}: the weights are not finite "
                                "any more; use a smaller lr or head_lr")
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


def save_checkpoint(path, recorder, state):
    """Write all that a run needs to go on bit for bit, atomically: the state and the log so far."""
    weights = {f"weights_{name}": getattr(state.weights, name) for name in state.weights.arrays}
    log = {f"log_{name}": array for name, array in recorder.trajectory().stored().items()}
    write_arrays(path, {"config": json.dumps(recorder.config.to_dict()), "step": state.step,
                        "state_head": state.head, "state_batch_loss": state.batch_loss, **weights, **log})


def load_checkpoint(path):
    """The recorder and the state that `save_checkpoint` wrote; raises NotARunError, OSError."""
    arrays = read_arrays(path)
    try:
        config = read_config(arrays["config"])
        log = Trajectory(config, **{name: arrays[f"log_{name}"] for name in STORED})
        state = start(config)
        _restore(state, arrays)
        expected = logged_steps(config)
        if not np.array_equal(log.steps, expected[expected <= state.step]):
            raise ValueError("its log does not belong to its step")
    except (KeyError, ValueError) as error:
        raise NotARunError(f"{os.fspath(path)} is not a simsim checkpoint: {error}") from None
    return Recorder.from_trajectory(log), state


def _restore(state, arrays):
    """Put a checkpoint's arrays into a fresh state of the same shapes; ValueError where they do not fit."""
    targets = {"state_head": state.head}
    targets.update({f"weights_{name}": getattr(state.weights, name) for name in state.weights.arrays})
    for name, target in targets.items():
        array = arrays[name]
        if array.shape != target.shape or array.dtype != target.dtype or not np.isfinite(array).all():
            raise ValueError(f"`{name}` does not fit the run")
        target[...] = array
    step, steps = arrays["step"], state.weights.config.steps
    if step.shape or step.dtype.kind != "i" or not 0 <= step <= steps:
        raise ValueError(f"`step` must be a whole number from 0 to {steps}")
    state.step, state.batch_loss = int(step), float(arrays["state_batch_loss"])
