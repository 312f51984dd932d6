"""The report of a run: what the theorems and laws claim, what was measured, and whether it is so.

verdicts says what a line can come to; seen holds the measures; hypotheses what the theorems ask for;
phase_one, trained and frozen the claims; table puts them together.
"""

from simsim.premises import Hypothesis
from simsim.report.story import RESUME
from simsim.report.table import Report, check_theorems
from simsim.report.seen import Measured, Seen
from simsim.report.verdicts import (FAIL, NOT_REACHED, OUTSIDE, PASS, UNLIKELY, Check, Claim, Figure, Verdict, exact, outside,
                                    with_high_probability)

__all__ = ["FAIL", "NOT_REACHED", "OUTSIDE", "PASS", "UNLIKELY", "Check", "Claim", "Figure", "Hypothesis", "Measured", "RESUME",
           "Report", "Seen", "Verdict", "check_theorems", "exact", "outside", "with_high_probability"]
