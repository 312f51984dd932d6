"""Stochastic gradient descent on fresh samples, S runs at once.

draws gives random numbers; engine is the contract of an engine; literal and gram are two; optimiser says what
a step makes of the gradient; loop takes the steps; recorder copies what is logged.

>>> from simsim import Config, sgd
>>> state = sgd.start([Config(d=20, batch_size=64, seed=seed) for seed in range(3)])
>>> states = sgd.iterate(state)
>>> now = [next(states) for _ in range(11)][-1]  # the first is the start
>>> now.step, now.overlaps.shape
(10, (3, 2, 2))
"""

from simsim.sgd.engine import Engine
from simsim.sgd.loop import ENGINES, State, TrainingError, iterate, start
from simsim.sgd.optimiser import Optimiser

__all__ = ["ENGINES", "Engine", "Optimiser", "State", "TrainingError", "iterate", "start"]
