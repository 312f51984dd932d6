"""The report of a run: what the theorems and laws claim, what was measured, and whether it is so.

`simsim.claims` says what a line is and what it can come to; seen holds the measures; hypotheses what the theorems ask for;
phase_one, trained and frozen the claims; table puts them together.
"""

from simsim.claims import (FAIL, NOT_REACHED, OUTSIDE, PASS, UNLIKELY, Check, Claim, Figure, Region, Verdict, exact, outside,
                           with_high_probability)
from simsim.premises import Hypothesis
from simsim.report.story import RESUME
from simsim.report.table import Report, check_theorems
from simsim.report.seen import Measured, Seen

__all__ = ["FAIL", "NOT_REACHED", "OUTSIDE", "PASS", "UNLIKELY", "Check", "Claim", "Figure", "Hypothesis", "Measured", "RESUME",
           "Region", "Report", "Seen", "Verdict", "check_theorems", "exact", "outside", "with_high_probability"]
