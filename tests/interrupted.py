"""A run that is stopped, kept in a checkpoint, and taken up again."""

from simsim.checkpoint import load_checkpoint, save_checkpoint
from simsim.simulation import iterate, start
from simsim.trajectory import Recorder


def interrupted_and_resumed(config, stop, path):
    """The Trajectory of `config`, stopped after `stop` steps and resumed from a checkpoint at `path`."""
    recorder = Recorder(config)
    for state in iterate(config, start(config)):
        recorder.see(state)
        if state.step == stop:
            break
    save_checkpoint(path, recorder, state)
    recorder, state = load_checkpoint(path)
    for state in iterate(config, state):
        recorder.see(state)
    return recorder.trajectory()
