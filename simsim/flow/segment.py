"""One accepted step of a batched integration: its interpolant, and where events cross zero inside it.

Shapes: R trajectories, n components, K events, L places in a step, N searches at once.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy.special import comb

from simsim.flow.layout import take

LOOKS = np.array([0.25, 0.5, 0.75, 1.0])  # the places of a step where it is looked at, its end among them
ROOT_TOLERANCE = 1e-12  # of an event inside its step, in units of the step
LOOK_AFTER = 1e-9  # how far behind a crossing it is looked what is positive: at the crossing it is 0 but for rounding
MOST_ROOT_LOOKS = 100  # evaluations of an event: halving alone would need fewer than half as many


class _Step(NamedTuple):
    """The fields of a `Segment`."""

    rows: np.ndarray  # (R,) which trajectories
    t: np.ndarray  # (R,) where the step began
    h: np.ndarray  # (R,) its size
    start: np.ndarray  # (R, n)
    end: np.ndarray  # (R, n)
    bow: np.ndarray  # (R, B, n) deviation from the chord: the inner points of Bernstein's polynomial of degree B + 1
    event_theta: np.ndarray  # (R, K) theta of the upward crossings in this step (one an event), else nan


class Segment(_Step):
    """One accepted step of R trajectories, with its interpolant."""

    def __call__(self, theta):
        """State at t + theta h; theta in [0, 1], (R,) or (R, L) for L states of each trajectory."""
        x = np.ascontiguousarray(np.asarray(theta, dtype=float).T)
        start, end = (part.T if x.ndim == 1 else part.T[:, None] for part in (self.start, self.end))
        deviation = np.einsum("b...r,nbr->n...r", _bernstein(x, self.bow.shape[1]), self.bow.T)
        return (start * (1 - x) + x * end + deviation).T

    @functools.cached_property
    def looks(self):
        """States (R, L, n) at LOOKS; always the same array, by which may be known what has been found out about it."""
        x, start, end = LOOKS[:, None], self.start.T[:, None], self.end.T[:, None]
        return (start * (1 - x) + x * end + _bernstein_at_looks(self.bow.shape[1]).T @ self.bow.T).T

    def take(self, keep):
        """The same step of the trajectories `keep` (indices) only."""
        return Segment(*(take(field, keep) for field in self))

    def raised(self, inner):
        """The same step with so many inner points of its bow, no fewer than it has."""
        bow = self.bow
        while bow.shape[1] < inner:
            known = np.pad(bow, ((0, 0), (1, 1), (0, 0)))  # with those of the ends, which are on the chord
            part = (np.arange(1, known.shape[1]) / known.shape[1])[:, None]
            bow = part * known[:, :-1] + (1 - part) * known[:, 1:]
        return self._replace(bow=bow)

    def until(self, theta):
        """The same step up to theta (R,), above 0: where it began, a shorter step with the same interpolant, cut crossings."""
        last, theta_ = self.bow.shape[1] + 1, theta[:, None]
        points = [0 * self.start, *self.bow.swapaxes(0, 1), 0 * self.end]
        points = [sum(math.comb(place, i) * theta_**i * (1 - theta_) ** (place - i) * points[i] for i in range(place + 1))
                  for place in range(1, last + 1)]  # de Casteljau's, from the chord of the whole step
        bow = np.array([(point - place / last * points[-1]).T for place, point in enumerate(points[:-1], 1)]).T.swapaxes(1, 2)
        end = self(theta)
        crossings = self.event_theta / theta[:, None]
        return Segment(self.rows, self.t, theta * self.h, self.start, end, bow, np.where(crossings <= 1, crossings, np.nan))


def _bernstein(x, inner):
    """The inner ones of Bernstein's polynomials of degree inner + 1, at x (...): (inner, ...)."""
    places, binomials = (part.reshape(-1, *(1,) * x.ndim) for part in _exponents(inner))
    return binomials * x**places * (1 - x) ** (inner + 1 - places)


@functools.cache
def _exponents(inner):
    """The powers of x in Bernstein's inner polynomials, and their binomial coefficients, (inner,) each."""
    places = np.arange(1, inner + 1)
    return places, comb(inner + 1, places)


@functools.cache
def _bernstein_at_looks(inner):
    """Bernstein's inner polynomials at LOOKS, (inner, L)."""
    return _bernstein(LOOKS, inner)


def locate(segment, events, before, looked):
    """theta (R, K) where each event first crosses zero upwards within the step, nan if it does not.

    The events are `before` (R, K) where the step begins, and `looked` (R, L, K) at LOOKS. One that is positive between two of
    LOOKS only is seen if it becomes so where another one does.
    """
    theta = np.full(before.shape, np.nan)
    positive = np.concatenate([before[:, None], looked], axis=1) >= 0
    busy = np.flatnonzero((~positive[:, :-1] & positive[:, 1:]).any((1, 2)))
    if busy.size:
        theta[busy] = _search(segment.take(busy), events, positive[busy])
    return theta


def _search(segment, events, positive):
    """`locate` in steps in each of which at least one event crosses; `positive` (R, 1 + L, K) at its beginning and at LOOKS."""
    R, _, K = positive.shape
    places = np.broadcast_to([0, *LOOKS], (R, 1 + LOOKS.size))
    theta = np.full((R, K), np.nan)
    row, event, low, high = _rises(places, positive)
    theta[row, event] = _crossings(segment, events, row, event, low, high)
    # One event may be positive between the crossings of two others only: look there as well, just behind each of them.
    behind = np.minimum(np.where(np.isnan(theta), 1, theta) + LOOK_AFTER, 1)
    between = (events(segment(behind), segment.rows) >= 0) | (np.eye(K, dtype=bool) & ~np.isnan(theta)[..., None])
    places, positive = np.concatenate([places, behind], axis=1), np.concatenate([positive, between], axis=1)
    order = np.argsort(places, axis=1, kind="stable")
    row, event, low, high = _rises(np.take_along_axis(places, order, 1), np.take_along_axis(positive, order[..., None], 1))
    new = np.flatnonzero(~((low <= theta[row, event]) & (theta[row, event] <= high)))
    row, event, low, high = row[new], event[new], low[new], high[new]
    if row.size:
        theta[row, event] = _crossings(segment, events, row, event, low, high)
    return theta


def _rises(places, positive):
    """The first rise of each event (R, L, K) that rises: rows (N,), events (N,), and the `places` (R, L) it lies between."""
    rises = ~positive[:, :-1] & positive[:, 1:]
    row, event = np.nonzero(rises.any(1))
    first = rises.argmax(1)[row, event]
    return row, event, places[row, first], places[row, first + 1]


def _crossings(segment, events, row, event, low, high):
    """theta (N,) where each event (N,) of a trajectory `row` (N,) crosses between `low` and `high` (N,)."""
    step, which = segment.take(row), np.arange(row.size)
    return root(lambda x: events(step(x), step.rows)[which, event], low, high)


def root(function, low, high):
    """theta (R,) where `function` crosses zero upwards between `low` and `high` (R,): the first place known to be past.

    `low` where it is past there already, `high` where it is not past even there: it is 0 at an end but for rounding.

    Chandrupatla's method (Adv. Eng. Softw. 28:145, 1997): inverse quadratic interpolation where the last three places
    allow it, halving elsewhere.
    """
    x, other, cut = low, high, np.full(low.shape, 0.5)  # the root lies between x, the newest place, and `other`
    f_x, f_other = at_low, at_high = function(low), function(high)
    for _ in range(MOST_ROOT_LOOKS):
        place = x + cut * (other - x)
        value = function(place)
        same = (value >= 0) == (f_x >= 0)
        third, f_third = np.where(same, x, other), np.where(same, f_x, f_other)
        other, f_other = np.where(same, other, x), np.where(same, f_other, f_x)
        x, f_x = place, value
        width = np.abs(other - x)
        if (width < ROOT_TOLERANCE).all():
            break
        with np.errstate(divide="ignore", invalid="ignore"):  # where two places or values are one: then nan, and half-way
            xi, phi = (x - other) / (third - other), (f_x - f_other) / (f_third - f_other)
            quadratic = (f_x / (f_x - f_other) * f_third / (f_third - f_other)
                         - (third - x) / (other - x) * f_x / (f_third - f_x) * f_other / (f_other - f_third))
        cut = np.where((phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi), quadratic, 0.5)
        edge = np.minimum(ROOT_TOLERANCE / 2 / width, 0.5)
        cut = np.clip(cut, edge, 1 - edge)
    return np.where(at_low >= 0, low, np.where(at_high < 0, high, np.where(f_x >= 0, x, other)))
