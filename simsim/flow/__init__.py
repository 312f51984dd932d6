"""The flow: SGD with an infinite batch and a step size that goes to zero, followed to a certified end.

layout says how many trajectories lie in memory; solver is the integrator, which knows no network, methods how it takes a
step, elimination their linear systems and segment one step of it; equations say what moves and what stays; crossing,
stretch and coordinates make the flow something that can be integrated over forty decades of time; noiseless says what of a
state stays when its noise is gone, certificate when an end is known, and what it is; integration follows many trajectories
at once, and path one of them as a Trajectory.

>>> from simsim import Config, flow
>>> ended = flow.follow_many(Config(engine="flow", d=10**4, lr=1.0, head_lr=0.1), [2, 3])
>>> (ended.verdict == flow.BOTH).tolist()  # of each start: both features, for good
[True, True]
"""

from simsim.ends import (ALONE, BOTH, CERTIFIED, COLLAPSED, COMPLETE, DRIFTED, GAVE_UP, MIXED, NOTHING, PART, TIMED_OUT,
                         VERDICTS)
from simsim.flow.equations import Equations
from simsim.flow.integration import (DRIFT_LIMIT, HEAD_RETURNED, PHASES, STRONG_LEARNED, SUBSTITUTED, T_MAX, WEAK_LEARNED, FlowResult,
                                     follow_each, follow_many, integrate, start_of)
from simsim.flow.path import TAIL, FlowError, follow

__all__ = ["ALONE", "BOTH", "CERTIFIED", "COLLAPSED", "COMPLETE", "DRIFTED", "DRIFT_LIMIT", "Equations", "FlowError", "FlowResult",
           "GAVE_UP", "HEAD_RETURNED", "MIXED", "NOTHING", "PART", "PHASES", "STRONG_LEARNED", "SUBSTITUTED",
           "TAIL", "TIMED_OUT", "T_MAX", "VERDICTS", "WEAK_LEARNED", "follow", "follow_each", "follow_many", "integrate",
           "start_of"]
