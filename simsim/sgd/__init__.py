"""Stochastic gradient descent on fresh samples, S runs at once.

draws gives random numbers; engine is the contract of an engine; literal and gram are two; loop takes the steps.
"""

from simsim.sgd.engine import Engine
from simsim.sgd.loop import ENGINES, State, TrainingError, iterate, start

__all__ = ["ENGINES", "Engine", "State", "TrainingError", "iterate", "start"]
