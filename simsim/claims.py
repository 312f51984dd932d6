"""What is claimed of one run (`report`) or of many (`studies`), in numbers with units, and what it can come to.

Of one run:
PASS          the claim holds in this run.
FAIL          what cannot happen if the claim is true has happened.
UNLIKELY      the claim says "with high probability", and this run went the other way.
OUTSIDE       the claim does not speak of this run: a hypothesis of its theorem does not hold, and is named.
NOT REACHED   the run is too short to tell.

Of many, an estimate with its interval beside the `Region` in which it should lie:
PASS          all of the interval lies in the region.
FAIL          none of it does.
INCONCLUSIVE  some of it: the sample is too small to tell.
INCOMPLETE    too many of the runs failed for it to be judged.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import NamedTuple

from simsim.laws import EVEN, LARGE_D
from simsim.premises import broken

PASS, FAIL, UNLIKELY, OUTSIDE, NOT_REACHED = "PASS", "FAIL", "UNLIKELY", "OUTSIDE", "NOT REACHED"
INCONCLUSIVE, INCOMPLETE = "INCONCLUSIVE", "INCOMPLETE"
MOST_FAILED = 0.05  # the part of its runs that a check can do without: they move no rate by more than this


class Verdict(NamedTuple):
    """What a line has come to, and for want of what: the hypotheses that fail, by name, and as they are."""

    name: str
    wants: str = ""
    broken: tuple = ()

    def __str__(self):
        return f"{self.name} without {self.wants}" if self.wants else self.name


class Figure(NamedTuple):
    """What the table shows, and the number in it: a float, a tuple of floats, or None where there is none."""

    words: str
    number: object = None


class Words(NamedTuple):
    """What the table shows of a Check: predicted; measured, and in the flow beside it; when it is due. "" is nothing."""

    predicted: str
    measured: str
    flow: str = ""
    due: str = ""


class Region(NamedTuple):
    """Where a number should lie, ends included; an end may be infinite."""

    low: float
    high: float

    def holds(self, low, high):
        """Whether what is known to lie from `low` to `high` lies there: True, False, or None where it may."""
        if self.low <= low and high <= self.high:
            return True
        return False if high < self.low or low > self.high else None

    def __str__(self):
        if math.isinf(self.low):
            return f"<= {self.high:.4g}"
        return f">= {self.low:.4g}" if math.isinf(self.high) else f"{self.low:.4g} to {self.high:.4g}"


class Sample(NamedTuple):
    """What a `Check` of many runs rests on: the interval of its estimate, the size n of the sample behind it, and of how many
    `runs` how many `failed`; `runs` is None as long as nothing is known of them.
    """

    low: float
    high: float
    n: int
    failed: int = 0
    runs: int | None = None


@dataclass(frozen=True)
class Claim:
    """A line of the report before a run is looked at.

    text : what is claimed
    rule : what makes it PASS, in words
    predicted : Figure of what the theory expects
    measure : from a `seen.Seen` to a `seen.Measured`
    judge : from the value measured to a `Verdict`
    unit : that of the numbers predicted and measured; "" of pure numbers
    due : the time from which on the run can tell, where theory knows it
    brief : whether it belongs to the paper's statements and phases, which the short report is about
    """

    text: str
    rule: str
    predicted: Figure
    measure: Callable
    judge: Callable
    unit: str = ""
    due: float | None = None
    brief: bool = True


@dataclass(frozen=True)
class Check:
    """One claim, of a run or of many, with its prediction, the measurement, and its verdict.

    claim, rule : what is claimed, and what makes it PASS
    predicted, measured, flow : a float, a tuple of floats (the ends of the `Region`, in a study), or None where there is no
        number; `flow` is what the same measure finds in the infinite-batch flow from the same start, if it was asked
    unit : of these numbers: "steps" of SGD, "t" for the time of a flow, or "" of pure numbers
    verdict : PASS, FAIL, and of one run UNLIKELY, OUTSIDE or NOT REACHED, of many INCONCLUSIVE or INCOMPLETE
    wants : the hypotheses for want of which the claim is OUTSIDE, or what is missing of its runs
    due : where it is NOT REACHED, from when on theory expects it, in steps or time; or None
    words : the same as the table shows it, `Words`
    brief : whether the short report shows it
    sample : the `Sample` behind a check of many runs, None of one run
    """

    claim: str
    rule: str
    predicted: object
    measured: object
    flow: object
    unit: str
    verdict: str
    wants: str
    due: float | None
    words: Words
    brief: bool = True
    sample: Sample | None = None

    @property
    def ratio(self):
        """Measured over predicted, where both are one number and the predicted one is not 0 or infinite; else None."""
        numbers = (self.measured, self.predicted)
        if not all(isinstance(number, Real) and math.isfinite(number) for number in numbers) or not self.predicted:
            return None
        return self.measured / self.predicted

    def on(self, *tables):
        """A check of many runs as one that rests on the runs of each of these tables, and so on the one of which the largest part
        failed; on none, where it asks for no run.
        """
        counts = [(int((table["status"] != "done").sum()), len(table["status"])) for table in tables]
        failed, runs = max(counts, key=lambda count: count[0] / count[1], default=(0, 0))
        verdict, wants = self.verdict, f"{failed} of {runs} runs failed" if failed else ""
        if failed > MOST_FAILED * runs:
            verdict, wants = INCOMPLETE, f"{wants}; judged up to {MOST_FAILED:.0%}"
        return replace(self, verdict=verdict, wants=wants, sample=self.sample._replace(failed=failed, runs=runs))

    def to_dict(self):
        """Plain values, ready for JSON, which has no numbers beyond the finite: those are None, and the words tell."""
        values = {name: _finite(getattr(self, name)) for name in ("predicted", "measured", "flow", "due")}
        return {"claim": self.claim, "rule": self.rule, **values, "unit": self.unit, "ratio": self.ratio,
                "verdict": self.verdict, "wants": self.wants, "words": self.words._asdict(), "brief": self.brief,
                **({} if self.sample is None else {"sample": dict(zip(Sample._fields, _finite(tuple(self.sample))))})}


def _finite(number):
    """A number, or numbers, with None in the place of what is not finite."""
    if isinstance(number, tuple):
        return [_finite(one) for one in number]
    return number if number is None or math.isfinite(number) else None


def outside(hypotheses):
    """The `Verdict` OUTSIDE, for those of `hypotheses` that do not hold."""
    failed = tuple(broken(hypotheses))
    return Verdict(OUTSIDE, ", ".join(dict.fromkeys(one.name for one in failed)), failed)


def with_high_probability(happened, chance, hypotheses):
    """The `Verdict` on an event that a theorem expects of most starts.

    happened : True, False, or None while the run cannot tell
    chance : its probability over random starts at this d, or None where nothing is known of it
    hypotheses : those of the theorem
    """
    if broken(hypotheses):
        return outside(hypotheses)
    if happened is None:
        return Verdict(NOT_REACHED)
    if happened:
        return Verdict(PASS)
    return Verdict(OUTSIDE, LARGE_D) if chance is not None and chance < EVEN else Verdict(UNLIKELY)


def exact(holds, limit, hypotheses=()):
    """The `Verdict` on an exact law: a breach is impossible in the limit (the flow), a rarity in a run of SGD."""
    if broken(hypotheses):
        return outside(hypotheses)
    if holds is None:
        return Verdict(NOT_REACHED)
    return Verdict(PASS if holds else FAIL if limit else UNLIKELY)
