"""What Theorem 1, Corollary 2 and the derived laws claim of a run with a trained head.

All thresholds stand below; they were fixed before any run was looked at.
"""

import functools

import numpy as np

from simsim import laws, premises, theory, variant_laws
from simsim.flow import DRIFT_LIMIT
from simsim.phases import RETURNED, STRONG, UNAIDED, WEAK
from simsim.report import hypotheses, seen as measure
from simsim.report.hypotheses import TIME_FACTOR
from simsim.report.phase_one import alone, phase_one
from simsim.report.seen import Measured
from simsim.claims import Claim, Figure, exact, outside, with_high_probability

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
    """The claims on one run with a trained head, `seen`; `claims()` lists each as a `Claim`."""

    def __init__(self, seen):
        self.seen, self.config = seen, seen.config
        self.start = self.config, seen.run.overlaps[0], seen.run.noise_norms[0]  # the arguments that laws take
        self.hypotheses = hypotheses.of_theorem_1(seen.run)
        self.sgd = [*hypotheses.of_sgd(seen.run), *hypotheses.usual_start(seen.run)]
        self.chance, self.chance_of_phases, source = hypotheses.chance_of_success(self.config)
        self.large_dimension = laws.large_dimension(self.chance, source)
        self.asked = [*self.hypotheses, self.large_dimension]  # the hypotheses that the report shows
        self.expected = ("of random starts" if seen.run.start_was_given else source if self.chance is None else
                         f"in {100 * self.chance:.3g} % of starts ({source})")
        self.of_two = premises.of_two_neurons(self.config)  # what derived laws ask for; those of late times, this alone
        self.laws_hold = premises.hold([*self.of_two, *hypotheses.usual_start(seen.run)])
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
        K, unit = self.config.features, self.seen.unit
        two, three, missing = self._times()
        three, equations = self._with_noise(three)
        told = "it comes, at any time"
        yield self._still()
        yield Claim("II   the head brings v_1 to the other", told, self._expected("after I", "eq. 20", two, missing),
                    lambda seen: measure.phase(seen, 1), self._judge_two, unit, due=two)
        yield Claim("II   v_1 by the head, and how long", f">= {SUBSTITUTED_SHARE:g} of F_j", Figure("most of it"),
                    measure.substitution, self._judge_two)
        if K > 1:
            yield Claim("III  the other neuron learns v_2" if K == 2 else f"III  neurons hold all {K} features",
                        "after II, at any time",
                        self._expected("after II", equations, three, missing), lambda seen: measure.phase(seen, 2),
                        self._judge_three, unit, due=three)
        if K == 2:
            yield self._faster()
        yield Claim("IV   the head returns to I", f"by {TIME_FACTOR:g} times the end of III" if K > 1 else "after II",
                    Figure(f"by {TIME_FACTOR:g} T_3" if K > 1 else "after II"), lambda seen: measure.phase(seen, 3),
                    self._judge_four, unit)
        if self.laws_hold:
            yield self._head_left()

    def _times(self):
        """T_2 and T_3 by theory, None where no law speaks of this start, and the names of what is missing then."""
        if not self.laws_hold:
            return None, None, ""
        asked, two, three = self._by_theory()
        return two, three, ", ".join(one.name for one in premises.broken(asked))

    def _with_noise(self, three):
        """T_3, and by which equations: of SGD with the noise of its batches, where that has a law."""
        noise = hypotheses.noise(self.seen.run)
        if three is None or noise is None or noise.phase_three is None:
            return three, "eqs. 22, 23"
        return noise.phase_three.time, "eqs. 22, 23, 71"

    def _expected(self, order, equations, time, missing):
        """When a phase ends by theory: the `order` of phases, and its time where the equations speak of this start."""
        if time is None:
            return Figure(f"{order}; no law without {missing}" if missing else order)
        return Figure(f"{order}, {self.seen.when(time)} ({equations})", self.seen.ticks(time))

    @functools.cache
    def _by_theory(self):
        """The `laws.later_phases` of this start."""
        return laws.later_phases(*self.start, self.large_dimension)

    def _still(self):
        """The paper's phase I: the head is as good as I while the strong feature is learned."""
        return Claim("I    the head is still near I", f"< {RETURNED:g} of its peak", Figure("small"),
                     measure.head_so_far, lambda part: self._risen(part is not None and part < RETURNED, False))

    def _faster(self):
        """The acceleration of phase III: the head makes v_2 grow faster, against v_1, in the neuron that predicts v_1 by it."""
        text, rule, unit = "III  the head speeds v_2 up against v_1", "more than E = I", "rate of v_2 over that of v_1"
        asked = premises.closed(self.config, premises.aligned_views(self.config), free=("m", *premises.DATA, *premises.HEAD))
        if not premises.hold(asked):
            return Claim(text, rule, Figure("no law"), lambda seen: Measured("eq. 7 does not hold", None), lambda _: outside(asked), unit)
        return Claim(text, rule, Figure("more (eq. 7)"), measure.acceleration,
                     lambda rates: self._risen(rates is not None and rates[0] > rates[1], None if rates is None else False), unit)

    def _head_left(self):
        """Eq. 29: the part of the head that is left when phase III ends."""
        large = premises.Hypothesis("the d of eq. 29", f"d >= {HEAD_DIMENSION:g}", f"{self.config.d:g}",
                                    self.config.d >= HEAD_DIMENSION, ("d",))
        asked = [*self._by_theory()[0], large, self.success, *self.sgd]
        left = laws.or_none(lambda: laws.Acceleration(*self.start).head_left()) if premises.hold(asked) else None
        return Claim("max |E_off| at T_3 over its peak", f"within {HEAD_ERROR:g}",
                     Figure("no law") if left is None else Figure(f"{left:.3g} (eq. 29)", left), measure.head_left,
                     lambda found: exact(None if None in (found, left) else abs(found - left) <= HEAD_ERROR, False, asked),
                     brief=False)

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
        yield Claim("Thm 1  a neuron for each feature", "each feature has one", Figure(self.expected), measure.holdings,
                    self._likely, measure.OF_OUTPUTS)
        if self.laws_hold:
            strong_first, _, not_v_2 = self.of_start
            yield self._fate(lambda: bool(laws.succeeds(*self.start)), lambda: laws.temptation(*self.start) > 1, "eq. 25",
                             [strong_first, not_v_2, laws.kappa_of_25(self.config)])
        elif premises.hold(premises.of_symmetric_head(self.config)):
            tempted = lambda: bool(variant_laws.symmetric_temptation(*self.start) > 1)
            large = premises.Hypothesis("the d of eq. 41", f"d >= {SYMMETRIC_DIMENSION:g}", f"{self.config.d:g}",
                                        self.config.d >= SYMMETRIC_DIMENSION, ("d",))
            yield self._fate(lambda: not tempted(), tempted, "eq. 41", [laws.strong_first(*self.start), large])

    def _fate(self, succeeds, tempted, law, of_start):
        """What becomes of this start by `law`: whether it `succeeds`, and if not, whether one neuron is `tempted` by both."""
        text, asked, unit = "fate of this start", [*of_start, *self.sgd], measure.OF_OUTPUTS
        if not premises.hold(asked):
            return Claim(text, "as predicted", Figure("no law"), measure.holdings, lambda _: outside(asked), unit)
        will = succeeds()
        what = "success" if will else f"none: {'one neuron takes both' if tempted() else 'v_1 and v_1'}"
        return Claim(text, "as predicted", Figure(f"{what} ({law})"), measure.holdings,
                     lambda divided: exact(None if divided is None else divided == will, limit=False), unit)

    # ---- weights ----------------------------------------------------------------------------------

    def _weights(self):
        """Theorem 1: w_j = beta_j v + eps_j with |beta_j| = Theta(1), ||eps_j|| = O~(1/sqrt d)."""
        small = np.log(self.config.d) / np.sqrt(self.config.d)
        norms = self.seen.run.norms[-1, [self.seen.s, self.seen.w]]
        waits = self._wait(norms * np.sqrt(1 - MAIN_PART**2)), self._wait([small] * 2)
        told = ["" if wait is None else f" from {self.seen.when(wait)}" for wait in waits]
        yield Claim("Thm 1  |beta_j| = Theta(1)", f">= {MAIN_PART:g} ||w_j||", Figure(f"most of ||w_j||{told[0]}"), measure.lengths,
                    lambda value: self._once_there((value[0] >= MAIN_PART * value[1]).all()), "of ||w_j||", waits[0])
        random = np.sqrt(1 - 1 / self.config.d)
        yield Claim("Thm 1  ||eps_j|| = O~(ln(d)/sqrt(d))", f"<= {small:.2g}", Figure(f"small{told[1]}; {random:.2g} at random", small),
                    measure.residuals, lambda value: self._once_there((value <= small).all()), due=waits[1])
        yield self._noise(norms)

    def _wait(self, residual):
        """The time from which on theory has both residuals below `residual`; None where they are, or no law speaks."""
        run, phases = self.seen.run, self.seen.phases
        if not self.laws_hold or phases.collapsed or self.seen.divided is False or (measure.residuals(self.seen).value <= residual).all():
            return None
        pairs = zip((self.seen.s, self.seen.w), (STRONG, WEAK), residual)
        return run.time[-1] + max(alone(run, j, feature, -1).time_to_residual(size) for j, feature, size in pairs)

    def _noise(self, norms):
        """Eq. 30 for neurons of `norms` (2,)."""
        text, rule = "noise left in w_j ~ t^(-1/4)", f"each within a factor {NOISE_FACTOR:g}"
        if not self.laws_hold:
            return Claim(text, rule, Figure("no law"), measure.noise_left, lambda value: outside(self.of_two), brief=False)
        asked = [self.success, self.phase_two, *self.sgd]
        held = measure.lengths(self.seen).value[0]  # |beta_j|: what is left of a neuron beside another feature
        law = theory.noise_left(self.config, held, [STRONG, WEAK], self.seen.run.time[-1])
        predicted = ", ".join(f"w_{j + 1} {size:.2g}" if size < norm else f"w_{j + 1} too early to say"
                              for j, size, norm in zip((self.seen.s, self.seen.w), law, norms))
        number = tuple(law.tolist()) if (law < norms).all() else None
        return Claim(text, rule, Figure(f"{predicted} (eq. 30)", number), measure.noise_left, lambda value: exact(
            self._noise_agrees(value / law, law / norms), self.seen.is_limit, asked), brief=False)

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
            yield Claim("Cor 2  |corr(phi_1, phi_2)|", f"<= {UNCORRELATED:g}", Figure("-> 0", 0.0), measure.pair_correlations,
                        lambda value: self._once_there(value[1] <= UNCORRELATED))
        most = min(self.config.m, self.config.features)
        yield Claim("Cor 2  effective rank of phi", f">= {most - 1 + UNCORRELATED:g}", Figure(f"-> {most}", float(most)),
                    measure.rank, lambda value: self._once_there(value >= most - 1 + UNCORRELATED))

    def _head(self):
        """Rise, fall, asymmetry and decay of the head; its bound (docs/theory.md, eq. 13)."""
        entry, other = (f"|E_{j + 1}{i + 1}|" for j, i in ((self.seen.w, self.seen.s), (self.seen.s, self.seen.w)))
        yield Claim(f"{entry} rises and falls", f"<= {RETURNED:g} of its peak", Figure("peak, then 0"), measure.rise_and_fall,
                    lambda fallen: self._risen(fallen, None), "peak and end")
        yield Claim(f"{other} << {entry}, at their peaks", f"< {MUCH_SMALLER:g} of it", Figure("much smaller"),
                    measure.asymmetry, lambda quotient: self._risen(quotient < MUCH_SMALLER, False))
        yield Claim(f"{entry} ~ t^(-3/2) after IV", f"within {DECAY_TOLERANCE:g}", Figure(f"{DECAY_EXPONENT:g}", DECAY_EXPONENT),
                    measure.decay, self._judge_decay, brief=False)
        bounded = premises.of_conserved_norms(self.config)
        ceiling = float(theory.ceiling(self.config.kappa, self.seen.run.norms[0, self.seen.w], self.config.power))
        told = Figure(f"<= {ceiling:.3g} (eq. 13)", ceiling) if premises.hold(bounded) else Figure("no law")

        def bound(seen):
            words, used, size = measure.bound_used(seen, ceiling)
            return Measured(words + (": weak evidence" if used < WEAK_EVIDENCE else ""), used, size)

        yield Claim(f"{entry} <= sqrt(kappa/{self.config.power}) ||w_{self.seen.w + 1}(0)||", "never beyond", told,
                    bound,
                    lambda used: exact(used <= 1 + DRIFT_LIMIT, self.seen.is_limit, [*bounded, *self.sgd]), brief=False)

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
