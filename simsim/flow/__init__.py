"""The flow: SGD with an infinite batch and a step size that goes to zero, followed to a certified end.

rosenbrock is the integrator, which knows no network; clock and coordinates make the flow something that it
can integrate over forty decades of time; certificate says when an end is known, and what it is; integration
follows many trajectories at once, and path one of them as a Trajectory.
"""

from simsim.flow.certificate import ALONE, BOTH, COLLAPSED, DRIFTED, MIXED, TIMED_OUT, VERDICTS
from simsim.flow.integration import (HEAD_RETURNED, PHASES, RTOL, STRONG_LEARNED, SUBSTITUTED, T_MAX, WEAK_LEARNED,
                                     FlowResult, follow_many, head_speed, integrate, invariants)
from simsim.flow.path import TAIL, FlowError, follow

__all__ = ["ALONE", "BOTH", "COLLAPSED", "DRIFTED", "HEAD_RETURNED", "MIXED", "PHASES", "RTOL", "STRONG_LEARNED",
           "SUBSTITUTED", "TAIL", "TIMED_OUT", "T_MAX", "VERDICTS", "WEAK_LEARNED", "FlowError", "FlowResult", "follow",
           "follow_many", "head_speed", "integrate", "invariants"]
