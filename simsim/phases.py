"""Where each of the four phases ends (docs/theory.md, section 1; definitions in docs/usage.md).

With s the first neuron whose output is at least half strong feature and w the
one that holds, or comes nearest to, the weak feature among the others:

- I ends when share[s, strong] >= 1/2;
- II ends when head_shares[w, strong] >= 1/2 while shares[w, strong] < 1/2:
  the head, not the neuron, supplies the strong feature to F_w;
- III ends when share[w, weak] >= 1/2;
- IV ends when max |E_off| is a tenth of its peak, both features still learned.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

STRONG, WEAK = 0, 1
LEARNED = 0.5  # share from which a neuron counts as holding a feature
RETURNED = 0.1  # fraction of its peak to which the head must fall
PEAK_ERROR = 1e-3  # how well a log knows the peak, relatively

UNAIDED = "v_2 came without its help"

NAMES = ("strong_learned", "substituted", "weak_learned", "head_returned")


class Time(NamedTuple):
    """When something happened: after `step` updates (the flow: time / eta), at time = eta * step."""

    step: float
    time: float


@dataclass(frozen=True)
class Phases:
    """The end of each phase, a Time or None, and why it is None.

    strong_neuron, weak_neuron : the neurons s and w, counted from 0, or None
    collapsed : all neurons end on one and the same feature
    missing : for each phase that did not come, the reason
    """

    strong_learned: Time | None
    substituted: Time | None
    weak_learned: Time | None
    head_returned: Time | None
    strong_neuron: int | None
    weak_neuron: int | None
    collapsed: bool
    missing: dict

    def ends(self):
        """The four Times or Nones, in the order I to IV."""
        return tuple(getattr(self, name) for name in NAMES)


def find_phases(run):
    """The phases of a Trajectory, to the resolution of its log: `Phases`."""
    learned = run.shares >= LEARNED
    s = _first_neuron(run.shares[:, :, STRONG])
    w = None if s is None else _weak_neuron(run.shares, s)
    times = [None] * len(NAMES)
    if s is not None:
        times[0] = _first_time(run, learned[:, s, STRONG])
    if w is not None:
        by_head = (run.head_shares[:, w, STRONG] >= LEARNED) & ~learned[:, w, STRONG]
        both = learned[:, s, STRONG] & learned[:, w, WEAK]
        times[1] = _first_time(run, by_head)
        times[2] = _first_time(run, learned[:, w, WEAK])
        times[3] = _first_time(run, both & _head_returned(run.head))
    collapsed = collapse(run.shares[-1])
    missing = {name: _why_missing(run, name, s, w, collapsed)
               for name, time in zip(NAMES, times) if time is None}
    return Phases(*times, s, w, collapsed, missing)


def collapse(shares):
    """Whether all of at least two neurons hold one and the same feature; shares (m, 2)."""
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


def _head_returned(head):
    """(T,) True where max |E_off| is down to a tenth of the peak it has had."""
    size = off_diagonal(head)
    peak = np.maximum.accumulate(size)
    return (peak > 0) & (size <= RETURNED * peak * (1 + PEAK_ERROR))


def _first_time(run, condition):
    """The first logged Time at which `condition` (T,) holds, or None."""
    if not condition.any():
        return None
    first = int(np.argmax(condition))
    return Time(run.steps[first].item(), run.time[first].item())


def _why_missing(run, name, s, w, collapsed):
    """One phrase: why a phase did not come."""
    if s is None:
        return f"by no neuron until {_last(run)}" if name == NAMES[0] else "v_1 is not learned yet"
    if w is None:
        return "a single neuron learns a single feature"
    if not run.config.head_is_trained and name in ("substituted", "head_returned"):
        return "the head is frozen"
    if collapsed:
        return "collapsed: all on one feature"
    if name == "substituted" and (run.shares[:, w, WEAK] >= LEARNED).any():
        return UNAIDED
    return f"not yet by {_last(run)}"


def _last(run):
    """How far the run went, in words: steps of SGD, or the time of the flow."""
    return f"t = {run.time[-1]:.3g}" if run.config.engine == "flow" else f"step {run.steps[-1]}"
