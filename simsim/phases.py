"""Where each of the four phases ends (docs/theory.md, section 1; definitions in docs/usage.md).

The strong feature is the first of K, the weak one the last. With s the first
neuron whose output is at least half strong feature and w the one that holds, or
comes nearest to, the weak feature among the others:

- I ends when share[s, strong] >= 1/2;
- II ends when head_shares[w, strong] >= 1/2 while shares[w, strong] < 1/2:
  the head, not the neuron, supplies the strong feature to F_w;
- III ends when share[w, weak] >= 1/2;
- IV ends when max |E_off| has passed its peak and fallen to a tenth of it,
  whatever the features do meanwhile.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsim import heads

STRONG, WEAK = 0, -1  # the first feature and the last
LEARNED = 0.5  # share from which a neuron counts as holding a feature
RETURNED = 0.1  # fraction of its peak to which the head must fall
PEAK_ERROR = 1e-3  # how well a log knows the peak, relatively

UNAIDED = "the weak feature came without its help"

NAMES = ("strong_learned", "substituted", "weak_learned", "head_returned")


class Time(NamedTuple):
    """When something happened: after `step` updates (the flow: time / eta), at time = eta * step."""

    step: float
    time: float


class Substitution(NamedTuple):
    """How substantial phase II was, from its end on until f_w holds a feature itself.

    share : the largest part of F_w's variance that v_1 supplied meanwhile
    lasted : until F_w had less than half of it for good, as a fraction of the time at which phase II ended
    """

    share: float
    lasted: float


@dataclass(frozen=True)
class Phases:
    """The end of each phase, a Time or None, and why it is None.

    strong_neuron, weak_neuron : the neurons s and w, counted from 0, or None
    collapsed : all neurons end on one and the same feature
    missing : for each phase that did not come, the reason
    substitution : `Substitution`, or None where phase II did not come
    head_left : max |E_off| when phase III ends, as a fraction of its peak; None where there is no such time
    both_at_return : whether s and w hold their features when phase IV ends
    rows : the logged row at which each phase ended, I to IV, or None
    order : the rows of the neurons by their roles, s first, then w, then the others as they come
    """

    strong_learned: Time | None
    substituted: Time | None
    weak_learned: Time | None
    head_returned: Time | None
    strong_neuron: int | None
    weak_neuron: int | None
    collapsed: bool
    missing: dict
    substitution: Substitution | None
    head_left: float | None
    both_at_return: bool
    rows: tuple
    order: tuple

    def ends(self):
        """The four Times or Nones, in the order I to IV."""
        return tuple(getattr(self, name) for name in NAMES)


def find_phases(run):
    """The phases of a Trajectory, to the resolution of its log: `Phases`."""
    learned, size = run.shares >= LEARNED, off_diagonal(run.head)
    s = _first_neuron(run.shares[:, :, STRONG])
    w = None if s is None or run.config.features == 1 else _weak_neuron(run.shares, s)
    rows = [None, None, None, _first_row(_head_returned(size))]
    substitution, both = None, np.zeros(len(size), bool)
    if s is not None:
        rows[0] = _first_row(learned[:, s, STRONG])
    if w is not None:
        by_head = (run.head_shares[:, w, STRONG] >= LEARNED) & ~learned[:, w, STRONG]
        both = learned[:, s, STRONG] & learned[:, w, WEAK]
        rows[1], rows[2] = _first_row(by_head), _first_row(learned[:, w, WEAK])
        substitution = _substitution(run, by_head & ~learned[:, w].any(axis=1), w)
    collapsed = collapse(run.shares[-1])
    missing = {name: _why_missing(run, name, s, w, collapsed) for name, row in zip(NAMES, rows) if row is None}
    roles = [j for j in (s, w) if j is not None]
    left = None if rows[2] is None or not size.any() else float(size[rows[2]] / size.max())
    return Phases(*(None if row is None else Time(run.steps[row].item(), run.time[row].item()) for row in rows),
                  s, w, collapsed, missing, substitution, left, rows[3] is not None and bool(both[rows[3]]), tuple(rows),
                  (*roles, *(j for j in range(run.config.m) if j not in roles)))


def collapse(shares):
    """Whether all of at least two neurons hold one and the same feature; shares (m, K)."""
    return len(shares) > 1 and bool((shares >= LEARNED).all(axis=0).any())


def off_diagonal(E):
    """max |E_jr| over j != r, for heads (..., m, m); 0 for a single neuron."""
    m = E.shape[-1]
    return np.abs(np.where(np.eye(m, dtype=bool), 0, E)).max(axis=(-2, -1))


def _first_neuron(shares):
    """The neuron whose share (T, m) first reaches 1/2, the larger share in a tie; None if none does."""
    some = (shares >= LEARNED).any(axis=1)
    return int(np.argmax(shares[np.argmax(some)])) if some.any() else None


def _weak_neuron(shares, s):
    """Among the neurons other than s, the first to learn the weak feature, or the nearest to it."""
    others = [j for j in range(shares.shape[1]) if j != s]
    if not others:
        return None
    first = _first_neuron(shares[:, others, WEAK])
    return others[int(np.argmax(shares[-1, others, WEAK])) if first is None else first]


def _head_returned(size):
    """(T,) True from the peak of max |E_off|, `size` (T,), on where it is at most a tenth of it."""
    after = np.arange(len(size)) > np.argmax(size)
    return after & (size.max() > 0) & (size <= RETURNED * size.max() * (1 + PEAK_ERROR))


def _substitution(run, by_head, w):
    """`Substitution` of the rows (T,) in which the head supplies v_1 to F_w, and f_w holds nothing yet."""
    rows = np.flatnonzero(by_head)
    if not rows.size:
        return None
    began, end = run.time[rows[0]], run.time[min(rows[-1] + 1, len(by_head) - 1)]
    return Substitution(float(run.head_shares[rows, w, STRONG].max()),
                        float((end - began) / began) if began > 0 else np.inf)


def _first_row(condition):
    """The first logged row in which `condition` (T,) holds, or None."""
    return int(np.argmax(condition)) if condition.any() else None


def _why_missing(run, name, s, w, collapsed):
    """One phrase: why a phase did not come."""
    if not heads.changes(run.config) and name in ("substituted", "head_returned"):
        return "the head is frozen"
    if name == "head_returned":
        return f"not yet by {_last(run)}" if run.config.m > 1 else "a single neuron has no head to return"
    if s is None:
        return f"by no neuron until {_last(run)}" if name == NAMES[0] else "v_1 is not learned yet"
    if w is None:
        return "a single neuron learns a single feature" if run.config.m == 1 else "there is a single feature"
    if collapsed:
        return "collapsed: all on one feature"
    if name == "substituted" and (run.shares[:, w, WEAK] >= LEARNED).any():
        return UNAIDED
    return f"not yet by {_last(run)}"


def _last(run):
    """How far the run went, in words: steps of SGD, or the time of the flow."""
    return f"t = {run.time[-1]:.3g}" if run.clock == "time" else f"step {run.steps[-1]}"
