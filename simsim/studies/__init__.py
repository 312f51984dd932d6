"""Studies: what theorems and laws say of many runs, held against many runs, with intervals and verdicts.

statistics has the estimates and their intervals, regions where they should lie, plan what a study is. Then the studies,
a module each: sweeps, checks and a figure. perform carries one out; `python -m simsim.study NAME` is its command line.

>>> from simsim import studies
>>> studies.STUDIES["theorem-1"].name, callable(studies.STUDIES["theorem-1"].grids)
('theorem-1', True)
"""

from simsim.claims import FAIL, INCOMPLETE, INCONCLUSIVE, PASS, Check
from simsim.studies import (ablation, amplitude, batch, diagram, frequencies, neurons, patches, phase_four, phase_one,
                            phase_three, sgd_decay, sgd_flow, sgd_samples, sgd_theorem_1, sgd_threshold, theorem_1, theorem_3)
from simsim.studies.perform import perform
from simsim.studies.plan import Study

STUDIES = {module.STUDY.name: module.STUDY for module in (
    ablation, theorem_1, theorem_3, diagram, phase_one, amplitude, phase_three, phase_four, neurons, sgd_flow,
    frequencies, patches, sgd_threshold, sgd_samples, sgd_theorem_1, sgd_decay, batch)}

__all__ = ["FAIL", "INCOMPLETE", "INCONCLUSIVE", "PASS", "STUDIES", "Check", "Study", "perform"]
