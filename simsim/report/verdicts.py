"""What a line of the report can come to, and when.

PASS         the claim holds in this run.
FAIL         what cannot happen if the claim is true has happened.
UNLIKELY     the claim says "with high probability", and this run went the other way.
OUTSIDE      the claim does not speak of this run: a hypothesis of its theorem does not hold.
NOT REACHED  the run is too short to tell.
"""

from dataclasses import dataclass

from simsim.premises import hold

PASS, FAIL, UNLIKELY, OUTSIDE, NOT_REACHED = "PASS", "FAIL", "UNLIKELY", "OUTSIDE", "NOT REACHED"
EVEN = 0.5  # probability below which "with high probability" does not describe an event


@dataclass(frozen=True)
class Check:
    """One claim with its prediction, the measurement, and its verdict.

    `flow` is what the same measure finds in the infinite-batch flow from the same start, if it was asked.
    """

    claim: str
    predicted: str
    measured: str
    verdict: str
    flow: str = ""


def with_high_probability(happened, chance, hypotheses):
    """Verdict on an event that a theorem expects of most starts.

    happened : True, False, or None while the run cannot tell
    chance : its probability over random starts at this d, or None where nothing is known of it
    hypotheses : those of the theorem
    """
    if not hold(hypotheses):
        return OUTSIDE
    if happened is None:
        return NOT_REACHED
    if happened:
        return PASS
    return OUTSIDE if chance is not None and chance < EVEN else UNLIKELY


def exact(holds, limit, hypotheses=()):
    """Verdict on an exact law: a breach is impossible in the limit (the flow), a rarity in a run of SGD."""
    if not hold(hypotheses):
        return OUTSIDE
    if holds is None:
        return NOT_REACHED
    return PASS if holds else FAIL if limit else UNLIKELY
