"""What can be seen in a trajectory: each claim's measure, applied to the run and to the flow beside it alike.

A measure is a function of `Seen`; it returns `Measured`, the words for the table and the value to be judged.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simsim import measures, schedules
from simsim.ends import BOTH
from simsim.phases import NAMES, PEAK_ERROR, PURE, RETURNED, STRONG, WEAK, Phases, max_off_diagonal, owned
from simsim.trajectory import Trajectory

DECAY_FROM = 10.0  # times the end of phase IV: where the decay of the head is looked at
OF_OUTPUTS = "largest share of each output"  # what the numbers of a line about features are
SMALLEST_SHARE = 0.005  # what is printed as more than nothing
DECAY_SPAN = 9.0  # factor by which time has to grow for the exponent of that decay to be fitted


class Measured(NamedTuple):
    """The words that the table shows, what the verdict rests on (None: the run cannot tell), and the number in the words."""

    words: str
    value: object
    number: object = None


@dataclass(frozen=True)
class Seen:
    """A trajectory as the report looks at it.

    s, w : the rows of the two neurons whose story is told, those of the run for the flow beside it as well
    in_steps : whether times are told in steps of SGD
    """

    run: Trajectory
    phases: Phases
    s: int | None
    w: int | None
    in_steps: bool

    @property
    def config(self):
        """The Config of the run."""
        return self.run.config

    @property
    def is_limit(self):
        """Whether this is the flow, of which exact laws hold exactly."""
        return self.run.clock == "time"

    @property
    def shares(self):
        """Shares of variance (m, K) at the end."""
        return self.run.shares[-1]

    @property
    def divided(self):
        """Whether each feature has a neuron of its own: True, False where the end is known to be another, or None.

        Of the flow the certificate knows, and nobody before it; of SGD what the last step shows.
        """
        if not self.config.closed_form:
            return None
        if self.is_limit:
            return self.run.status == BOTH if self.run.ended else None
        return True if owned(self.shares).all() else False if self.phases.collapsed else None

    @property
    def unit(self):
        """Of times as they are told: "steps" of SGD, or "t" for the flow alone."""
        return "steps" if self.in_steps else "t"

    def ticks(self, time):
        """A time t as the number that is told: the step of SGD, or t itself; inf beyond the last step of a schedule."""
        return float(schedules.step_at(self.config, time)) if self.in_steps and np.isfinite(time) else float(time)

    def when(self, time):
        """A time t in words: a step of SGD, or t for the flow alone."""
        return self.told(self.ticks(time)) if np.isfinite(time) else "never"

    def told(self, tick):
        """What `ticks` gives, in words."""
        if not self.in_steps:
            return f"t = {tick:.4g}"
        if not np.isfinite(tick):
            return "never" if self.config.lr_schedule == "constant" else "beyond the last step"
        return f"step {tick:.0f}" if tick < 1e5 else f"step {tick:.2g}"


# ---- phases ------------------------------------------------------------------------------

def phase(seen, number):
    """When a phase ended, as a Time, or why it has not."""
    name = NAMES[number]
    end = getattr(seen.phases, name)
    if end is None:
        return Measured(seen.phases.missing[name], None)
    return Measured(seen.when(end.time), end, seen.ticks(end.time))


def substitution(seen):
    """The largest part of F_j that the head supplied in phase II and until when: `Substitution`."""
    found = seen.phases.substitution
    if found is None:
        return Measured("none", None)
    began = seen.phases.substituted.time
    how_long = f"until {seen.when(began * (1 + found.lasted))}" if np.isfinite(found.lasted) else "from the start on"
    return Measured(f"{found.share:.2f} of F_{found.neuron + 1}, {how_long}", found, (found.share, found.lasted))


def head_so_far(seen):
    """max |E_off| when phase I ends, as a fraction of its peak."""
    row, size = seen.phases.rows[0], max_off_diagonal(seen.run.head)
    if row is None or not size.any():
        return Measured("I has not ended" if row is None else "the head has not moved", None)
    part = float(size[row] / size.max())
    return Measured(f"{part:.2g} of it", part, part)


def acceleration(seen):
    """v_2's rate of growth over v_1's in the substituted neuron, with the head as it is and at E = I: two numbers.

    They are taken where the head's entry is at its largest before phase III ends; inf where v_1 shrinks and v_2 grows.
    """
    found, run = seen.phases.substitution, seen.run
    if found is None or seen.phases.rows[1] is None:
        return Measured("II has not come", None)
    last = len(run) - 1 if seen.phases.rows[2] is None else seen.phases.rows[2]
    row = int(np.abs(run.head[:last + 1, found.neuron, seen.s]).argmax())
    rates = [measures.growth(seen.config, run.overlaps[row], run.gram[row], head).total[found.neuron]
             for head in (run.head[row], np.eye(seen.config.m))]
    with_head, without = (_quotient(*rate[[STRONG, WEAK]]) for rate in rates)
    if np.isnan([with_head, without]).any():
        return Measured("both features shrink", None)
    words = ["v_1 shrinks" if np.isinf(one) else f"{one:.2g}" for one in (with_head, without)]
    return Measured(f"{words[0]}; with E = I {words[1]}", (with_head, without), (with_head, without))


def _quotient(strong, weak):
    """weak / strong of two rates of growth; inf where the strong feature alone shrinks, nan where both do."""
    if strong > 0:
        return float(weak / strong)
    return np.inf if weak > 0 else np.nan


def head_left(seen):
    """max |E_off| when phase III ends, as a fraction of its peak."""
    left = seen.phases.head_left
    return Measured("III has not ended" if left is None else f"{left:.3g}", left, left)


def is_late(seen):
    """Whether the head has brought v_1 to another neuron and is back since long."""
    phases = seen.phases
    return bool(phases.substituted and phases.head_returned and
                seen.run.time[-1] >= DECAY_FROM * phases.head_returned.time)


def decay(seen):
    """The exponent of |E_ws| in time, from well after phase IV on: least squares on logarithms."""
    run, returned = seen.run, seen.phases.head_returned
    size = np.abs(run.head[:, seen.w, seen.s])
    late = (run.time >= DECAY_FROM * returned.time) & (size > 0) if is_late(seen) else np.zeros(len(run), bool)
    if not late.any() or run.time[-1] < DECAY_SPAN * run.time[late][0]:
        return Measured("too short a time after IV", None)
    slope = float(np.polyfit(np.log(run.time[late]), np.log(size[late]), 1)[0])
    return Measured(f"{slope:.3f}", slope, slope)


# ---- features and weights -------------------------------------------------------------------

def holdings(seen):
    """What each neuron holds: the feature and its share of the output, and others that it is not free of."""
    return Measured(", ".join(f"f_{j + 1}: {_mixture(shares)}" for j, shares in enumerate(seen.shares)), seen.divided,
                    tuple(seen.shares.max(axis=1).tolist()))


def _mixture(shares):
    """The largest of the shares (K,) of an output, and those beside it that keep it from being pure."""
    largest, least = int(np.argmax(shares)), max((1 - PURE) * shares.sum(), SMALLEST_SHARE)
    told = [l for l in np.argsort(-shares, kind="stable") if l == largest or shares[l] > least]
    return " + ".join(f"v_{l + 1} {shares[l]:.2f}" for l in told)


def lengths(seen):
    """|beta_j| of w_j = beta_j v + eps_j beside ||w_j||, for s and w: (2, 2)."""
    neurons = [seen.s, seen.w]
    norms = seen.run.norms[-1, neurons]
    beta = np.abs(seen.run.overlaps[-1, neurons, [STRONG, WEAK]])
    words = ", ".join(f"w_{j + 1} {b:.2g} of {n:.2g}" for j, b, n in zip(neurons, beta, norms))
    return Measured(words, np.array([beta, norms]), tuple((beta / norms).tolist()))


def residuals(seen):
    """||eps_j||, what is left of w_j beside its feature, for s and w: (2,)."""
    beta, norms = lengths(seen).value
    rest = np.sqrt(np.maximum(norms**2 - beta**2, 0))
    return Measured(", ".join(f"w_{j + 1} {r:.2g}" for j, r in zip((seen.s, seen.w), rest)), rest, tuple(rest.tolist()))


def noise_left(seen):
    """||w_j^perp||, the noise left in w_j, for s and w: (2,)."""
    left = seen.run.noise_norms[-1, [seen.s, seen.w]]
    return Measured(", ".join(f"w_{j + 1} {n:.2g}" for j, n in zip((seen.s, seen.w), left)), left, tuple(left.tolist()))


# ---- correlations ------------------------------------------------------------------------------

def pair_correlations(seen):
    """|corr(phi_i, phi_j)| of every pair of neurons at the end: the smallest and the largest."""
    pairs = np.abs(seen.run.correlations[-1][np.triu_indices(seen.config.m, 1)])
    words = f"{pairs.max():.3f}" if len(pairs) == 1 else f"{pairs.min():.3f} to {pairs.max():.3f}"
    found = float(pairs.min()), float(pairs.max())
    return Measured(words, found, found[0] if len(pairs) == 1 else found)


def rank(seen):
    """The effective rank of the representation at the end."""
    value = float(seen.run.effective_rank[-1])
    return Measured(f"{value:.2f}", value, value)


# ---- head ------------------------------------------------------------------------------------------

def rise_and_fall(seen):
    """The peak of |E_ws| and its end; the value is whether it has fallen to a tenth after the peak."""
    size = np.abs(seen.run.head[:, seen.w, seen.s])
    top = int(np.argmax(size))
    fallen = bool((size[top:] <= RETURNED * (1 + PEAK_ERROR) * size[top]).any()) and size[top] > 0
    return Measured(f"{size[top]:.3g} at {seen.when(seen.run.time[top])}, end {size[-1]:.2g}", fallen, (float(size[top]), float(size[-1])))


def asymmetry(seen):
    """The peaks of |E_sw| and |E_ws|; the value is their quotient."""
    back, up = (np.abs(seen.run.head[:, j, i]).max() for j, i in ((seen.s, seen.w), (seen.w, seen.s)))
    quotient = float(back / up) if up > 0 else np.inf
    return Measured(f"{back:.2g} / {up:.2g}", quotient, quotient)


def bound_used(seen, ceiling):
    """The norm of row w of E_off at its largest fraction of what eq. 13 allows, and that fraction.

    `ceiling` is what it allows while column w is empty; what the column holds comes on top.
    """
    head = seen.run.head * (1 - np.eye(seen.config.m))
    rows, columns = (np.linalg.norm(part, axis=1) for part in (head[:, seen.w], head[:, :, seen.w]))
    allowed = np.hypot(ceiling, columns)
    used = rows / np.where(allowed > 0, allowed, 1)
    top = int(np.argmax(used))
    return Measured(f"{rows[top]:.3g}, {used[top]:.2g} of it", float(used[top]), float(rows[top]))


# ---- where shares are not known ---------------------------------------------------------------------

def unknown(seen):
    """What a measure made of shares or correlations comes to where these have no closed form."""
    return Measured("no closed form", None)


def without_shares(seen):
    """(name, `Measured`) of what a run shows of itself at its end whatever the law of its samples."""
    run, m = seen.run, seen.config.m
    by_neuron = lambda values: "; ".join(f"w_{j + 1} {value}" for j, value in enumerate(values))
    overlaps = by_neuron(", ".join(f"{a:.3g}" for a in row) for row in run.overlaps[-1])
    yield "overlaps <w_j, v_l>", Measured(overlaps, None, tuple(run.overlaps[-1].ravel().tolist()))
    yield "||w_j||", Measured(by_neuron(f"{norm:.3g}" for norm in run.norms[-1]), None, tuple(run.norms[-1].tolist()))
    if m > 1:
        off = np.abs(run.head * (1 - np.eye(m))).max(axis=(1, 2))
        yield "max |E_off|: largest, and at the end", Measured(f"{off.max():.3g}, {off[-1]:.3g}", None,
                                                                (float(off.max()), float(off[-1])))
        yield "when the head is back", phase(seen, 3)
    seen_losses = run.batch_loss[np.isfinite(run.batch_loss)]
    if seen_losses.size:
        yield "loss of a batch: first logged, and last", Measured(f"{seen_losses[0]:.4g}, {seen_losses[-1]:.4g}", None,
                                                                  (float(seen_losses[0]), float(seen_losses[-1])))
