"""Studies: what theorems and laws say of many runs, held against many runs, with intervals and verdicts.

statistics has the estimates and their intervals, regions where they should lie, plan what a study is. Then the studies,
a module each: sweeps, checks and a figure. perform carries one out; `python -m simsim.study NAME` is its command line.
"""

from simsim.claims import FAIL, INCOMPLETE, INCONCLUSIVE, PASS, Check
from simsim.studies import (ablation, amplitude, diagram, frequencies, neurons, patches, phase_four, phase_one,
                            phase_three, sgd_flow, theorem_1, theorem_3)
from simsim.studies.perform import perform
from simsim.studies.plan import Study

STUDIES = {module.STUDY.name: module.STUDY for module in (
    ablation, theorem_1, theorem_3, diagram, phase_one, amplitude, phase_three, phase_four, neurons, sgd_flow,
    frequencies, patches)}

__all__ = ["FAIL", "INCOMPLETE", "INCONCLUSIVE", "PASS", "STUDIES", "Check", "Study", "perform"]
