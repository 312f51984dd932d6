"""Where an estimate of many runs should lie, for every study alike, and the `Check` that it comes to.

A check is decided by the whole interval of the estimate. Regions are set before anything is measured. Runs that failed are
in no sample, and which runs fail may depend on how they would have ended: what rests on runs of which too many failed is
not judged at all.
"""

import numpy as np

from simsim.claims import FAIL, INCONCLUSIVE, PASS, Check, Region, Sample, Words
from simsim.studies.statistics import Estimate

# What counts as agreement, for every study alike.
EXPONENT_TOLERANCE = 0.05  # of an exponent: this much, or this part of it, whichever is more
RATE_TOLERANCE = 0.05  # of a probability
RATIO_TOLERANCE = 0.1  # of a quantity over its law, from 1
NAMED = 0.95  # the part of outcomes that a law for single starts should name
EXACT = 0.99  # and one that is exact
SIGNIFICANCE = 1e-3  # below this p-value a law is rejected
RULE = "the whole interval lies there"


def within(text, estimate, low, high, unit=""):
    """The `Check` that an `Estimate` lies from `low` to `high`; nothing is known yet of the runs behind it."""
    region = Region(low, high)
    verdict = {True: PASS, False: FAIL, None: INCONCLUSIVE}[region.holds(estimate.low, estimate.high)]
    if not np.isfinite(estimate.value) or not estimate.n:
        verdict = INCONCLUSIVE
    return Check(text, RULE, tuple(region), float(estimate.value), None, unit, verdict, "", None,
                 Words(str(region), str(estimate)), sample=Sample(estimate.low, estimate.high, estimate.n))


def exponent_is(text, estimate, power):
    """The claim that an exponent is `power`."""
    tolerance = max(EXPONENT_TOLERANCE, EXPONENT_TOLERANCE * abs(power))
    return within(text, estimate, power - tolerance, power + tolerance)


def rate_is(text, estimate, probability):
    """The claim that a rate is `probability`."""
    return within(text, estimate, probability - RATE_TOLERANCE, probability + RATE_TOLERANCE)


def follows(text, estimate):
    """The claim that a quantity over its law is 1."""
    return within(text, estimate, 1 - RATIO_TOLERANCE, 1 + RATIO_TOLERANCE)


def not_rejected(text, p_value, n):
    """The claim that a law holds, which a test with this p-value has tried to reject."""
    return within(f"{text}: p-value", Estimate(p_value, p_value, p_value, n), SIGNIFICANCE, 1.0)


def report(checks):
    """The checks as a table in text."""
    rows = [("claim", "measured (interval)", "n", "asked", "verdict")]
    rows += [(check.claim, check.words.measured, str(check.sample.n), check.words.predicted,
              f"{check.verdict} ({check.wants})" if check.wants else check.verdict) for check in checks]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
