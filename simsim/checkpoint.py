"""Checkpoints of SGD: all that a run needs to go on bit for bit, in one file.

No generator state is kept, for the samples of a step are a function of the
seed and the step. What does not fit together is refused, never believed.
"""

import json
import os

import numpy as np

from simsim import sgd
from simsim.trajectory import (STORED, NotARunError, Recorder, Trajectory, logged_steps, read_arrays,
                               read_config, write_arrays)


def save_checkpoint(path, recorder, state):
    """Write all that a run needs to go on bit for bit, atomically: the state and the log so far."""
    weights = {f"weights_{name}": array for name, array in state.engine.arrays.items()}
    log = {f"log_{name}": array for name, array in recorder.trajectories()[0].stored().items()}
    write_arrays(path, {"config": json.dumps(recorder.config.to_dict()), "step": state.step,
                        "state_head": state.head, "state_batch_loss": state.batch_loss, **weights, **log})


def load_checkpoint(path):
    """The recorder and the state that `save_checkpoint` wrote; raises NotARunError, OSError."""
    arrays = read_arrays(path)
    try:
        config = read_config(arrays["config"])
        log = Trajectory(config, **{name: arrays[f"log_{name}"] for name in STORED})
        state = sgd.start([config])
        _restore(state, arrays)
        expected = logged_steps(config)
        if not np.array_equal(log.steps, expected[expected <= state.step]):
            raise ValueError("its log does not belong to its step")
    except (KeyError, TypeError, ValueError) as error:
        raise NotARunError(f"{os.fspath(path)} is not a simsim checkpoint: {error}") from None
    return Recorder.from_trajectory(log), state


def _restore(state, arrays):
    """Put a checkpoint's arrays into a fresh state of the same shapes; ValueError where they do not fit."""
    targets = {"state_head": state.head, "state_batch_loss": state.batch_loss}
    targets.update({f"weights_{name}": array for name, array in state.engine.arrays.items()})
    for name, target in targets.items():
        array, may_be_nan = arrays[name], name == "state_batch_loss"
        if array.shape != target.shape or array.dtype != target.dtype or not (may_be_nan or np.isfinite(array).all()):
            raise ValueError(f"`{name}` does not fit the run")
        target[...] = array
    step, steps = arrays["step"], state.engine.config.steps
    if step.shape or step.dtype.kind != "i" or not 0 <= step <= steps:
        raise ValueError(f"`step` must be a whole number from 0 to {steps}")
    state.step = int(step)
