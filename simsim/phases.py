"""Where each of the four phases ends, and what success is (docs/theory.md, section 1; definitions in docs/usage.md).

The strong feature is the first of K, the weak one the last; s is the first neuron
whose output is at least half strong feature.

- I ends when shares[s, strong] >= 1/2;
- II ends when head_shares[j, strong] >= 1/2 while shares[j, strong] < 1/2 for a
  neuron j other than s: the head, not the neuron, supplies the strong feature to F_j;
- III ends when each of the features has shares[j, l] >= 1/2 for some neuron j;
- IV ends when max |E_off| has passed its peak and fallen to a tenth of it,
  whatever the features do meanwhile.

A run succeeds if in the end each feature has a neuron of its own (`owned`), whose output holds it and no other.

II and III do not end before I does. `milestones` is the definition of the first three,
for SGD and the flow alike. Beside s a second neuron's story is told, w: the one that holds, or
comes nearest to, the weak feature among the others. Of two neurons it is the other one.

Shapes: ... any leading axes, T logged rows, m neurons, K features.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simsim import heads
from simsim.theory import PURE

if TYPE_CHECKING:
    from simsim.trajectory import Trajectory

STRONG, WEAK = 0, -1  # the first feature and the last
LEARNED = 0.5  # share from which a neuron counts as holding a feature
RETURNED = 0.1  # fraction of its peak to which the head must fall
UNDECIDED = 1e-12  # a share this little below one half counts as learned: at the crossing it is known but for rounding
PEAK_ERROR = 1e-3  # how well a log knows the peak, relatively

UNAIDED = "the weak feature came without its help"

NAMES = ("strong_learned", "substituted", "weak_learned", "head_returned")


class Time(NamedTuple):
    """When something happened: after `step` updates (the flow: time / eta), at `time`, the sum of their rates."""

    step: float
    time: float


class Substitution(NamedTuple):
    """How substantial phase II was, from its end on until f_j holds a feature itself.

    neuron : j, the first for which the head did this, counted from 0
    share : the largest part of F_j's variance that v_1 supplied meanwhile
    lasted : until F_j had less than half of it for good, as a fraction of the time at which phase II ended
    """

    neuron: int
    share: float
    lasted: float


@dataclass(frozen=True)
class Phases:
    """The end of each phase, a Time or None, and why it is None.

    strong_neuron, weak_neuron : the neurons s and w, counted from 0, or None
    collapsed : all neurons end on one and the same feature; None where nobody can tell
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
    collapsed: bool | None
    missing: dict[str, str]
    substitution: Substitution | None
    head_left: float | None
    both_at_return: bool
    rows: tuple[int | None, ...]
    order: tuple[int, ...]

    def ends(self) -> tuple[Time | None, ...]:
        """The four Times or Nones, in the order I to IV."""
        return tuple(getattr(self, name) for name in NAMES)


def find_phases(run: "Trajectory") -> Phases:
    """The phases of a Trajectory, a flow's where it located them, else to the resolution of its log: `Phases`.

    Phases I to III are told by shares: where these have no closed form, `missing` says so, and IV alone is found.
    A Trajectory, whose arrays nobody can change, remembers what was found: asked again it costs next to nothing.

    >>> import simsim
    >>> phases = simsim.find_phases(simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, steps=60)))
    >>> phases.strong_learned.step, phases.weak_learned, phases.missing["weak_learned"][:7]
    (46, None, 'not yet')
    """
    return replace(run._phases, missing={**run._phases.missing})  # a dict of the caller's own


def of_log(run):
    """What `find_phases` returns, computed from the arrays of a Trajectory."""
    size = max_off_diagonal(run.head)
    if not run.config.closed_form:
        return _of_head_alone(run, size)
    s = _strong_neuron(run)
    w = None if s is None or run.config.features == 1 else _weak_neuron(run.shares, s)
    rows = _rows(run, s, size) if run.events is None else run.events
    substitution, both = None, np.zeros(len(size), bool)
    if s is not None and run.config.m > 1:
        substitution = _substitution(run, s, rows[1])
    if w is not None:
        both = (run.shares[:, s, STRONG] >= LEARNED) & (run.shares[:, w, WEAK] >= LEARNED)
    collapsed = share_one_feature(run.shares[-1])
    missing = {name: _why_missing(run, name, s, w, rows[2], collapsed) for name, row in zip(NAMES, rows) if row is None}
    roles = [j for j in (s, w) if j is not None]
    left = None if rows[2] is None or not size.any() else float(size[rows[2]] / size.max())
    one, two, three, four = (_time(run, row) for row in rows)
    return Phases(one, two, three, four,
                  s, w, collapsed, missing, substitution, left, rows[3] is not None and bool(both[rows[3]]), tuple(rows),
                  (*roles, *(j for j in range(run.config.m) if j not in roles)))


def _time(run, row):
    """The Time of a logged row, None of None."""
    return None if row is None else Time(run.steps[row].item(), run.time[row].item())


def _of_head_alone(run, size):
    """The `Phases` of a run whose shares of variance are not known, but for IV; `size` (T,) is max |E_off|."""
    row = _first_row(_head_returned(size))
    missing = dict.fromkeys(NAMES[:3], f"not known: no closed form under {run.config.data}")
    if row is None:
        missing[NAMES[3]] = _why_missing(run, NAMES[3], None, None, None, None)
    return Phases(None, None, None, _time(run, row), None, None, None, missing, None, None, False, (None, None, None, row),
                  tuple(range(run.config.m)))


def _rows(run, s, size):
    """The logged rows at which phases I to IV ended, or None; `size` (T,) is max |E_off|."""
    rows = [None, None, None, _first_row(_head_returned(size))]
    if s is not None:
        passed = milestones(run.shares, run.head_shares, s) >= 0
        rows[:3] = (_first_row(condition & passed[:, 0].cumsum().astype(bool)) for condition in passed.T)
    return rows


def milestones(shares, head_shares, s):
    """How far phases I to III are from their ends, (..., 3): each ends where its number rises to 0.

    shares, head_shares (..., m, K); s (...), or one for all, the first neuron to hold the strong feature.
    """
    m, K = shares.shape[-2:]
    others = np.arange(m) != np.asarray(s)[..., None]
    held = shares.max(-2) - LEARNED
    return np.stack([held[..., STRONG], np.where(others, _supplied(shares, head_shares), -LEARNED).max(-1),
                     held.min(-1) if K > 1 else np.full(held.shape[:-1], -LEARNED)], axis=-1)


def _supplied(shares, head_shares):
    """(..., m) at least 0 where the head, and not the neuron, supplies the strong feature to F_j."""
    return np.minimum(head_shares[..., STRONG] - LEARNED, LEARNED - UNDECIDED - shares[..., STRONG])


def held_alone(shares):
    """(..., m, K) whether neuron j holds feature l and no other; shares (..., m, K)."""
    return (shares >= LEARNED) & (shares > PURE * shares.sum(axis=-1, keepdims=True))


def owned(shares):
    """(..., K) whether each feature has a neuron of its own; all of them make a success. shares (..., m, K)."""
    return held_alone(shares).any(axis=-2)


def share_one_feature(shares):
    """Whether all of at least two neurons hold one and the same feature; shares (m, K)."""
    return len(shares) > 1 and bool((shares >= LEARNED).all(axis=0).any())


def max_off_diagonal(E):
    """max |E_jr| over j != r, for heads (..., m, m); 0 for a single neuron."""
    m = E.shape[-1]
    return np.abs(np.where(np.eye(m, dtype=bool), 0, E)).max(axis=(-2, -1))


def _strong_neuron(run):
    """The neuron s of a Trajectory, or None."""
    if run.events is None:
        return _first_neuron(run.shares[:, :, STRONG])
    row = run.events[0]
    return None if row is None else int(run.shares[row, :, STRONG].argmax())


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


def _substitution(run, s, first):
    """`Substitution`, where phase II ended in row `first`: of the rows in which f_j holds nothing yet."""
    if first is None:
        return None
    supplied = _supplied(run.shares, run.head_shares)
    if run.events is not None:  # a located end is where one of them is 0 but for rounding
        others = [j for j in range(run.config.m) if j != s]
        j = others[int(np.argmax(supplied[first, others]))]
        supplied[first, j] = max(supplied[first, j], 0)
    by_head = (supplied >= 0) & (run.shares < LEARNED - UNDECIDED).all(axis=2)
    candidates = [j for j in range(run.config.m) if j != s and by_head[first, j]]
    if not candidates:
        return None
    j = candidates[int(np.argmax(run.head_shares[first, candidates, STRONG]))]
    rows = np.flatnonzero(by_head[:, j] & (np.arange(len(run)) >= first))
    began, end = run.time[first], run.time[min(rows[-1] + 1, len(run) - 1)]
    return Substitution(j, float(run.head_shares[rows, j, STRONG].max()),
                        float((end - began) / began) if began > 0 else np.inf)


def _first_row(condition):
    """The first logged row in which `condition` (T,) holds, or None."""
    return int(np.argmax(condition)) if condition.any() else None


def _why_missing(run, name, s, w, three, collapsed):
    """One phrase: why a phase did not come."""
    if not heads.changes(run.config) and name in ("substituted", "head_returned"):
        return "the head is frozen"
    if name == "head_returned":
        still = "not by the certain end at" if run.ended else "not yet by"
        return f"{still} {_last(run)}" if run.config.m > 1 else "a single neuron has no head to return"
    if s is not None and w is None:
        return "a single neuron learns a single feature" if run.config.m == 1 else "there is a single feature"
    if name == "substituted" and three is not None:
        return UNAIDED
    if run.ended:
        return f"never: {run.message}"
    if s is None:
        return f"by no neuron until {_last(run)}" if name == NAMES[0] else "v_1 is not learned yet"
    return "collapsed: all on one feature" if collapsed else f"not yet by {_last(run)}"


def _last(run):
    """How far the run went, in words: steps of SGD, or the time of the flow."""
    return f"t = {run.time[-1]:.3g}" if run.clock == "time" else f"step {run.steps[-1]}"
