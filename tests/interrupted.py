"""A run that is stopped, kept in a checkpoint, and taken up again."""

from simsim.files.checkpoint import Checkpoint
from simsim.sgd import iterate, start
from simsim.sgd.recorder import Recorder


def interrupted_and_resumed(config, stop, path):
    """The Trajectory of `config`, stopped after `stop` steps and resumed from a checkpoint at `path`."""
    recorder = Recorder([config])
    for state in iterate(start([config])):
        recorder.see(state)
        if state.step == stop:
            break
    Checkpoint(path, recorder, state).save()
    resumed = Checkpoint.load(path)
    for state in iterate(resumed.state):
        resumed.recorder.see(state)
    return resumed.recorder.trajectories()[0]
