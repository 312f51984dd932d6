"""What a line of the report can come to, and when.

PASS         the claim holds in this run.
FAIL         what cannot happen if the claim is true has happened.
UNLIKELY     the claim says "with high probability", and this run went the other way.
OUTSIDE      the claim does not speak of this run: a hypothesis of its theorem does not hold, and is named.
NOT REACHED  the run is too short to tell.
"""

from dataclasses import dataclass
from typing import NamedTuple

from simsim.premises import broken

PASS, FAIL, UNLIKELY, OUTSIDE, NOT_REACHED = "PASS", "FAIL", "UNLIKELY", "OUTSIDE", "NOT REACHED"
EVEN = 0.5  # probability below which "with high probability" does not describe an event
LARGE_D = "a large d"


class Verdict(NamedTuple):
    """What a line has come to, and for want of what: the hypotheses that fail, by name."""

    name: str
    wants: str = ""

    def __str__(self):
        return f"{self.name} without {self.wants}" if self.wants else self.name


@dataclass(frozen=True)
class Check:
    """One claim with its prediction, the measurement, and its verdict.

    `flow` is what the same measure finds in the infinite-batch flow from the same start, if it was asked; `wants`
    names the hypotheses for want of which the claim is OUTSIDE.
    """

    claim: str
    predicted: str
    measured: str
    verdict: str
    flow: str = ""
    wants: str = ""


def outside(hypotheses):
    """The `Verdict` OUTSIDE, for those of `hypotheses` that do not hold."""
    return Verdict(OUTSIDE, ", ".join(dict.fromkeys(one.name for one in broken(hypotheses))))


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
