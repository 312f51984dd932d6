"""The report of a run: what the theorems and laws claim, what was measured, and whether it is so.

verdicts says what a line can come to; seen holds the measures; hypotheses what the theorems ask for;
phase_one, trained and frozen the claims; table puts them together.
"""

from simsim.premises import Hypothesis
from simsim.report.table import Report, check_theorems
from simsim.report.verdicts import FAIL, NOT_REACHED, OUTSIDE, PASS, UNLIKELY, Check

__all__ = ["FAIL", "NOT_REACHED", "OUTSIDE", "PASS", "UNLIKELY", "Check", "Hypothesis", "Report", "check_theorems"]
