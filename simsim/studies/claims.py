"""Claims: an estimate beside the region in which it should lie, and a verdict.

A claim is decided by its whole interval: PASS where all of it lies in the region, FAIL where none of it does, and
INCONCLUSIVE between: the sample is too small to tell. Regions are set before anything is measured. Runs that failed are
in no sample, and which runs fail may depend on how they would have ended: a claim that rests on runs of which too many
failed is not judged at all, and INCOMPLETE.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from simsim.studies.statistics import Estimate

PASS, FAIL, INCONCLUSIVE, INCOMPLETE = "PASS", "FAIL", "INCONCLUSIVE", "INCOMPLETE"
# What counts as agreement, for every study alike.
EXPONENT_TOLERANCE = 0.05  # of an exponent: this much, or this part of it, whichever is more
RATE_TOLERANCE = 0.05  # of a probability
RATIO_TOLERANCE = 0.1  # of a quantity over its law, from 1
NAMED = 0.95  # the part of outcomes that a law for single starts should name
EXACT = 0.99  # and one that is exact
SIGNIFICANCE = 1e-3  # below this p-value a law is rejected
MOST_FAILED = RATE_TOLERANCE  # the part of its runs that a claim can do without: they move no rate by more than this


@dataclass(frozen=True)
class Claim:
    """`text` claims that `estimate` lies from `low` to `high`; of the `runs` behind it some `failed`.

    `runs` is None as long as nothing is known of them.
    """

    text: str
    estimate: Estimate
    low: float
    high: float
    failed: int = 0
    runs: int | None = None

    def on(self, *tables):
        """This claim as one that rests on the runs of each of these tables, and so on the one of which the largest part
        failed; on none, where it asks for no run.
        """
        counts = [(int((table["status"] != "done").sum()), len(table["status"])) for table in tables]
        failed, runs = max(counts, key=lambda count: count[0] / count[1], default=(0, 0))
        return dataclasses.replace(self, failed=failed, runs=runs)

    @property
    def verdict(self):
        """PASS, FAIL, INCONCLUSIVE or INCOMPLETE."""
        if self.failed > MOST_FAILED * (self.runs or 0):
            return INCOMPLETE
        if not np.isfinite(self.estimate.value) or not self.estimate.n:
            return INCONCLUSIVE
        if self.low <= self.estimate.low and self.estimate.high <= self.high:
            return PASS
        return FAIL if self.estimate.high < self.low or self.estimate.low > self.high else INCONCLUSIVE

    def to_dict(self):
        """Plain values, ready for JSON; an interval without end has None there."""
        number = lambda value: float(value) if np.isfinite(value) else None
        return {"claim": self.text, "value": number(self.estimate.value), "low": number(self.estimate.low),
                "high": number(self.estimate.high), "n": int(self.estimate.n), "least": number(self.low),
                "most": number(self.high), "runs": self.runs, "failed": self.failed, "verdict": self.verdict}


def exponent_is(text, estimate, power):
    """The claim that an exponent is `power`."""
    tolerance = max(EXPONENT_TOLERANCE, EXPONENT_TOLERANCE * abs(power))
    return Claim(text, estimate, power - tolerance, power + tolerance)


def rate_is(text, estimate, probability):
    """The claim that a rate is `probability`."""
    return Claim(text, estimate, probability - RATE_TOLERANCE, probability + RATE_TOLERANCE)


def follows(text, estimate):
    """The claim that a quantity over its law is 1."""
    return Claim(text, estimate, 1 - RATIO_TOLERANCE, 1 + RATIO_TOLERANCE)


def not_rejected(text, p_value, n):
    """The claim that a law holds, which a test with this p-value has tried to reject."""
    return Claim(f"{text}: p-value", Estimate(p_value, p_value, p_value, n), SIGNIFICANCE, 1.0)


def report(claims):
    """The claims as a table in text."""
    rows = [("claim", "measured (interval)", "n", "asked", "verdict")]
    rows += [(claim.text, str(claim.estimate), str(claim.estimate.n), _region(claim), _verdict(claim)) for claim in claims]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _verdict(claim):
    """The verdict of a claim, with what is missing of its runs."""
    if not claim.failed:
        return claim.verdict
    rule = f"; judged up to {MOST_FAILED:.0%}" if claim.verdict == INCOMPLETE else ""
    return f"{claim.verdict} ({claim.failed} of {claim.runs} runs failed{rule})"


def _region(claim):
    if np.isneginf(claim.low):
        return f"<= {claim.high:.4g}"
    return f">= {claim.low:.4g}" if np.isposinf(claim.high) else f"{claim.low:.4g} to {claim.high:.4g}"
