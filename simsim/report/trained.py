"""What Theorem 1, Corollary 2 and the derived laws claim of a run with a trained head.

All thresholds stand below; they were fixed before any run was looked at.
"""

import functools
import warnings

import numpy as np

from simsim import laws, premises, theory, variant_laws
from simsim.flow import DRIFT_LIMIT
from simsim.phases import LEARNED, STRONG, UNAIDED, WEAK
from simsim.report import hypotheses, seen as measure
from simsim.report.hypotheses import TIME_FACTOR
from simsim.report.phase_one import alone, phase_one
from simsim.report.seen import Measured
from simsim.report.verdicts import exact, outside, with_high_probability

SUBSTITUTED_SHARE = 0.75  # part of F_w's variance that the head must supply for phase II to be more than a touch
MUCH_SMALLER = 0.5  # the paper's "<<", for |E_12| against |E_21|
UNCORRELATED = 0.5  # |corr| up to here: not collapsed; effective rank from 1.5 on likewise
MAIN_PART = 0.5  # |beta_j| / ||w_j|| from which beta_j v_j is the main part of w_j, as Theta(1) asks
HEAD_ERROR = 0.1  # by which eq. 29 may miss the part of the head that is left,
HEAD_DIMENSION = 10**6  # from this d on: below it 95 % of starts are not within (docs/theory.md, table under eq. 29)
SYMMETRIC_DIMENSION = 10**8  # where eq. 41 has been held to integrated flows
DECAY_EXPONENT, DECAY_TOLERANCE = -1.5, 0.15  # of the head after phase IV
WEAK_EVIDENCE = 0.5  # of a bound used, below which its holding says little
NOISE_FACTOR = 2.0  # the noise left agrees with its law within this factor


class Trained:
    """The claims on one run with a trained head, `seen`; `claims()` lists (text, predicted, measure, judge)."""

    def __init__(self, seen):
        self.seen, self.config = seen, seen.config
        self.start = self.config, seen.run.overlaps[0], seen.run.noise_norms[0]  # as the laws take it
        self.hypotheses = hypotheses.of_theorem_1(seen.run)
        self.sgd = [*hypotheses.of_sgd(seen.run), *hypotheses.head_s_start(seen.run)]
        self.chance, self.chance_of_phases, source = hypotheses.chance_of_success(self.config)
        self.large_dimension = hypotheses.large_dimension(self.chance, source)
        self.asked = [*self.hypotheses, self.large_dimension]  # as the report shows them
        self.expected = "of random starts" if seen.run.start_was_given else source if self.chance is None else f"in {100 * self.chance:.3g} % of starts ({source})"
        self.of_two = premises.of_two_neurons(self.config)  # what the derived laws ask for, those of late times no more
        self.laws_hold = premises.hold([*self.of_two, *hypotheses.head_s_start(seen.run)])
        self.of_start = laws.of_start(*self.start) if self.laws_hold else []
        phases = seen.phases
        self.success = premises.Hypothesis("success", "each feature has a neuron", seen.run.message or "none", seen.divided)
        by_head = True if phases.substituted else self._failed_to_come("substituted")
        self.phase_two = premises.Hypothesis("phase II", "the head brings v_1", phases.missing.get("substituted", ""), by_head)

    def claims(self):
        """Every claim, in reading order."""
        yield phase_one(self.seen)
        if self.config.m > 1:
            yield from self._later_phases()
            yield from self._features()
        if self.seen.phases.weak_neuron is not None:
            yield from self._weights()
            yield from self._no_collapse()
            yield from self._head()

    def _likely(self, happened):
        """The verdict on an event of Theorem 1."""
        return with_high_probability(happened, self.chance, self.hypotheses)

    def _likely_phase(self, happened):
        """The same of one that belongs to the four phases: both features may be learned without them."""
        return with_high_probability(happened, self.chance_of_phases, self.hypotheses)

    def _failed_to_come(self, name):
        """False where a phase will not come any more, None while it may."""
        never = self.seen.phases.missing.get(name) == UNAIDED or self.seen.divided is False
        return False if never else None

    # ---- phases -----------------------------------------------------------------------------

    def _later_phases(self):
        K = self.config.features
        yield ("II   the head brings v_1 to the other",
               self._due("after I", "eq. 20", lambda: laws.substitution_time(*self.start)),
               lambda seen: measure.phase(seen, 1), self._judge_two)
        yield ("II   v_1 by the head, and how long", f">= {SUBSTITUTED_SHARE:g}", measure.substitution, self._judge_two)
        if K > 1:
            yield ("III  the other neuron learns v_2" if K == 2 else f"III  neurons hold all {K} features",
                   self._due("after II", *self._acceleration()),
                   lambda seen: measure.phase(seen, 2), self._judge_three)
        yield ("IV   the head returns to I", f"by {TIME_FACTOR:g} T_3" if K > 1 else "after II",
               lambda seen: measure.phase(seen, 3), self._judge_four)
        if self.laws_hold:
            yield self._head_left()

    def _due(self, order, equations, law):
        """When a phase ends by `law`, in words; where it does not speak of this start, why, and the `order` of phases alone."""
        missing = premises.broken(self._of_phases())
        if not self.laws_hold or missing:
            why = ", ".join(one.name for one in missing)
            return f"{order} ({equations}: none without {why})" if self.laws_hold else order
        time = _law(law)
        return order if time is None else f"{order}, {self.seen.when(time)} ({equations})"

    def _acceleration(self):
        """(equations, law) of T_3: of SGD with the noise of its batches, where that has a law."""
        noise = hypotheses.noise(self.seen.run)
        if noise is None or noise.phase_three is None:
            return "eqs. 22, 23", lambda: laws.Acceleration(*self.start).time()
        return "eqs. 22, 23, 66", lambda: noise.phase_three.time

    @functools.cache
    def _of_phases(self):
        """What the laws of phases II and III ask of a start and of d, that they name an order of phases included."""
        asked = [*self.of_start, self.large_dimension]
        if not self.laws_hold or premises.broken(asked):
            return asked
        two, three = _law(lambda: laws.substitution_time(*self.start)), _law(lambda: laws.Acceleration(*self.start).time())
        ordered = None in (two, three) or two < three
        return [*asked, premises.Hypothesis("T_2 before T_3", "by eqs. 20 and 22", "the other way round", ordered)]

    def _head_left(self):
        """Eq. 29: the part of the head that is left when phase III ends."""
        large = premises.Hypothesis("the d of eq. 29", f"d >= {HEAD_DIMENSION:g}", f"{self.config.d:g}",
                                    self.config.d >= HEAD_DIMENSION, ("d",))
        asked = [*self._of_phases(), large, self.success, *self.sgd]
        left = _law(lambda: laws.Acceleration(*self.start).head_left()) if premises.hold(asked) else None
        return ("max |E_off| at T_3 over its peak", "no law" if left is None else f"{left:.3g} (eq. 29)", measure.head_left,
                lambda found: exact(None if None in (found, left) else abs(found - left) <= HEAD_ERROR, False, asked))

    def _judge_two(self, _):
        """Phase II counts if it is more than a touch: the head must have supplied most of F_w."""
        found = self.seen.phases.substitution
        if found is None:
            return self._likely_phase(self._failed_to_come("substituted"))
        substantial = found.share >= SUBSTITUTED_SHARE
        return self._likely_phase(True if substantial else False if self.seen.divided is not None else None)

    def _judge_three(self, end):
        if end is None:
            return self._likely_phase(self._failed_to_come("weak_learned"))
        two = self.seen.phases.substituted
        return self._likely_phase(two is not None and two.time <= end.time)

    def _judge_four(self, end):
        """By itself: the head that rose in phase II must be back by the time that is twice T_3."""
        phases = self.seen.phases
        if self.phase_two.holds is False:
            return outside([*self.hypotheses, self.phase_two])
        if self.seen.divided is False:
            return self._likely_phase(False)
        if not phases.substituted or not phases.weak_learned:
            return self._likely_phase(None)
        not_yet = -1 if end is None else max(phases.rows[3] - 1, 0)  # the last row known to be before the end
        late = self.seen.run.time[not_yet] > TIME_FACTOR * phases.weak_learned.time
        return self._likely_phase(False if late else None if end is None else True)

    # ---- who learns what ------------------------------------------------------------------------

    def _features(self):
        yield "Thm 1  a neuron for each feature", self.expected, measure.holdings, self._likely
        if self.laws_hold:
            strong_first, _, not_v_2 = self.of_start
            yield self._fate(lambda: bool(laws.succeeds(*self.start)), lambda: laws.temptation(*self.start) > 1, "eq. 25",
                             [strong_first, not_v_2, hypotheses.kappa_of_25(self.config)])
        elif premises.hold(premises.of_symmetric_head(self.config)):
            tempted = lambda: bool(variant_laws.symmetric_temptation(*self.start) > 1)
            large = premises.Hypothesis("the d of eq. 41", f"d >= {SYMMETRIC_DIMENSION:g}", f"{self.config.d:g}",
                                        self.config.d >= SYMMETRIC_DIMENSION, ("d",))
            yield self._fate(lambda: not tempted(), tempted, "eq. 41", [laws.strong_first(*self.start), large])

    def _fate(self, succeeds, tempted, law, of_start):
        """What becomes of this start by `law`: whether it `succeeds`, and if not, whether one neuron is `tempted` by both."""
        asked = [*of_start, *self.sgd]
        if not premises.hold(asked):
            return "fate of this start", "no law", measure.holdings, lambda _: outside(asked)
        will = succeeds()
        what = "success" if will else f"none: {'one neuron takes both' if tempted() else 'v_1 and v_1'}"
        return ("fate of this start", f"{what} ({law})", measure.holdings,
                lambda divided: exact(None if divided is None else divided == will, limit=False))

    # ---- weights ----------------------------------------------------------------------------------

    def _weights(self):
        """Theorem 1: w_j = beta_j v + eps_j with |beta_j| = Theta(1), ||eps_j|| = O~(1/sqrt d)."""
        small = np.log(self.config.d) / np.sqrt(self.config.d)
        norms = self.seen.run.norms[-1, [self.seen.s, self.seen.w]]
        wait = self._wait(norms * np.sqrt(1 - MAIN_PART**2))
        yield ("Thm 1  |beta_j| = Theta(1)", f">= {MAIN_PART:g} ||w_j||{wait}", measure.lengths,
               lambda value: self._once_there((value[0] >= MAIN_PART * value[1]).all()))
        random = np.sqrt(1 - 1 / self.config.d)
        yield ("Thm 1  ||eps_j|| = O~(ln(d)/sqrt(d))", f"<= {small:.2g} (random {random:.2g}){self._wait([small] * 2)}",
               measure.residuals, lambda value: self._once_there((value <= small).all()))
        yield self._noise(norms)

    def _wait(self, residual):
        """From when on theory has both residuals below `residual`, in words; "" where they are."""
        run, phases = self.seen.run, self.seen.phases
        if not self.laws_hold or phases.collapsed or self.seen.divided is False or (measure.residuals(self.seen).value <= residual).all():
            return ""
        pairs = zip((self.seen.s, self.seen.w), (STRONG, WEAK), residual)
        wait = max(alone(run, j, feature, -1).time_to_residual(size) for j, feature, size in pairs)
        return f" from {self.seen.when(run.time[-1] + wait)}"

    def _noise(self, norms):
        """Eq. 30 for neurons of `norms` (2,)."""
        claim = "noise left in w_j ~ t^(-1/4)"
        if not self.laws_hold:
            return claim, "no law", measure.noise_left, lambda value: outside(self.of_two)
        asked = [self.success, self.phase_two, *self.sgd]
        held = measure.lengths(self.seen).value[0]  # |beta_j|: what is left of a neuron beside another feature
        law = theory.noise_left(self.config, held, [STRONG, WEAK], self.seen.run.time[-1])
        predicted = ", ".join(f"w_{j + 1} {size:.2g}" if size < norm else f"w_{j + 1} too early to say"
                              for j, size, norm in zip((self.seen.s, self.seen.w), law, norms))
        return claim, f"{predicted} (eq. 30)", measure.noise_left, lambda value: exact(
            self._noise_agrees(value / law, law / norms), self.seen.is_limit, asked)

    def _once_there(self, there):
        """The verdict on what comes with both features: open until they are held, and `there` with them."""
        return self._likely(True if there and self.seen.divided else
                            False if self.seen.divided is False else None)

    def _noise_agrees(self, quotient, law):
        """Whether eq. 30 holds; None before it speaks, of neurons that hold their features long after the head has returned."""
        known = self.seen.divided and measure.is_late(self.seen) and (law <= MAIN_PART).all()
        return bool((np.abs(np.log(quotient)) <= np.log(NOISE_FACTOR)).all()) if known else None

    # ---- representation and head --------------------------------------------------------------------

    def _no_collapse(self):
        """Corollary 2. More than two neurons must share features, so no pair of them is asked to differ."""
        if self.config.m == 2:
            yield ("Cor 2  |corr(phi_1, phi_2)|", "-> 0", measure.pair_correlations,
                   lambda value: self._once_there(value[1] <= UNCORRELATED))
        most = min(self.config.m, self.config.features)
        yield ("Cor 2  effective rank of phi", f"-> {most}", measure.rank,
               lambda value: self._once_there(value >= most - 1 + UNCORRELATED))

    def _head(self):
        """Rise, fall, asymmetry and decay of the head; its bound (docs/theory.md, eq. 13)."""
        entry, other = (f"|E_{j + 1}{i + 1}|" for j, i in ((self.seen.w, self.seen.s), (self.seen.s, self.seen.w)))
        yield (f"{entry} rises and falls", "peak, then 0", measure.rise_and_fall,
               lambda fallen: self._risen(fallen, None))
        yield (f"{other} << {entry}, at their peaks", f"< {MUCH_SMALLER:g}", measure.asymmetry,
               lambda quotient: self._risen(quotient < MUCH_SMALLER, False))
        yield (f"{entry} ~ t^(-3/2) after IV", f"{DECAY_EXPONENT:g}", measure.decay, self._judge_decay)
        bounded = premises.of_conserved_norms(self.config)
        ceiling = float(theory.ceiling(self.config.kappa, self.seen.run.norms[0, self.seen.w]))
        yield (f"{entry} <= sqrt(kappa/3) ||w_{self.seen.w + 1}(0)||",
               f"<= {ceiling:.3g} (eq. 13)" if premises.hold(bounded) else "no law", lambda seen: self._bound(seen, ceiling),
               lambda used: exact(used <= 1 + DRIFT_LIMIT, self.seen.is_limit, [*bounded, *self.sgd]))

    def _risen(self, there, otherwise):
        """Until the head has brought v_1 to the other neuron it has not risen: there is nothing to judge."""
        if self.phase_two.holds is False:
            return outside([*self.hypotheses, self.phase_two])
        if self.seen.divided is False:
            return self._likely_phase(False)
        return self._likely_phase((True if there else otherwise) if self.seen.phases.substituted else None)

    def _judge_decay(self, slope):
        known = slope is not None and self.seen.divided
        return exact(abs(slope - DECAY_EXPONENT) <= DECAY_TOLERANCE if known else None, self.seen.is_limit,
                     [*self.of_two, self.success, self.phase_two, *self.sgd])

    @staticmethod
    def _bound(seen, ceiling):
        words, used = measure.bound_used(seen, ceiling)
        return Measured(words + (": weak evidence" if used < WEAK_EVIDENCE else ""), used)


def _law(predict):
    """`predict()`, or None where the quadrature behind it does not converge for this start."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        try:
            value = predict()
        except (Warning, ArithmeticError, ValueError):
            return None
    return None if np.isnan(value) else value
