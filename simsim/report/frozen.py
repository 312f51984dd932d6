"""What Theorem 3, Corollary 4 and the exact laws claim of a run with the head held at I."""

import numpy as np

from simsim import premises, theory, variant_laws
from simsim.phases import LEARNED, STRONG, share_one_feature
from simsim.report import hypotheses, seen as measure
from simsim.report.phase_one import every_neuron, phase_one
from simsim.claims import Claim, Figure, exact, outside, with_high_probability

CORRELATED = 0.9  # |corr| from here on confirms Corollary 4; an effective rank up to 1.1 likewise


class Frozen:
    """The claims on one run with a frozen head, `seen`; `claims()` lists each as a `Claim`."""

    def __init__(self, seen):
        self.seen, self.config = seen, seen.config
        self.asked = self.hypotheses = hypotheses.of_theorem_3(seen.run)
        self.exactly, self.sgd = premises.of_frozen_neurons(self.config), [*hypotheses.of_sgd(seen.run), *hypotheses.usual_start(seen.run)]
        self.chance = theory.collapse_probability(self.config) if premises.hold(self.exactly) else None

    def claims(self):
        """Every claim, in reading order."""
        yield phase_one(self.seen)
        yield every_neuron(self.seen)
        chance = "no law" if self.chance is None else f"in {100 * self.chance:.3g} % of starts (eq. 15)"
        yield Claim("Thm 3  every neuron ends on v_1", "each holds it", Figure(chance), _all_strong, self._likely, measure.OF_OUTPUTS)
        yield self._fate()
        if self.config.m > 1:
            yield Claim("Cor 4  min |corr(phi_i, phi_j)|", f">= {CORRELATED:g}", Figure(f"-> 1, {chance}", 1.0),
                        measure.pair_correlations, lambda value: self._likely(self._gathered(value[0] >= CORRELATED)))
            yield Claim("Cor 4  effective rank of phi", f"<= {2 - CORRELATED:g}", Figure(f"-> 1, {chance}", 1.0), measure.rank,
                        lambda value: self._likely(self._gathered(value <= 2 - CORRELATED)))

    def _fate(self):
        """The feature that each neuron learns; where features differ in their patches it may leave it again."""
        claim, uneven = "fate of each neuron for this start", premises.even_features(self.config)
        if not premises.hold(one for one in self.exactly if one not in uneven):
            return Claim(claim, "as predicted", Figure("no law"), measure.holdings, lambda _: outside(self.exactly), measure.OF_OUTPUTS)
        fates = theory.fates(self.config, self.seen.run.overlaps[0])
        asked = [*self.exactly, *self.sgd, *hypotheses.kept_fates(self.seen.run)]
        law = " (eq. 14)"
        if not premises.hold(uneven):
            rho = variant_laws.predictability(self.config)
            law = " at first, not for good (eq. 46)" if (rho[fates] < rho.max()).any() else " at first"
        else:
            clear = theory.clear_lead(self.config, self.seen.run.overlaps[0], self.seen.run.norms[0])
            asked.append(premises.Hypothesis("a clear lead", "one feature is all of each output in the end",
                                             f"{clear.sum()} of {clear.size} neurons", bool(clear.all())))
        return Claim(claim, "as predicted", Figure(", ".join(f"v_{fate + 1}" for fate in fates) + law),
                     lambda seen: _as_predicted(seen, fates), lambda value: exact(value, self.seen.is_limit, asked), measure.OF_OUTPUTS)

    def _likely(self, happened):
        """The verdict on an event of Theorem 3."""
        return with_high_probability(happened, self.chance, self.hypotheses)

    def _gathered(self, there):
        """Whether the outputs say the same: no more open once every neuron holds a feature, and not all the same."""
        settled = bool((self.seen.shares >= LEARNED).any(axis=1).all())
        apart = settled and not share_one_feature(self.seen.shares)
        return True if there else False if apart else None


def _all_strong(seen):
    """What each neuron holds; the value is whether that is v_1 for all of them, None while it is open."""
    held = seen.shares >= LEARNED
    told = measure.holdings(seen)
    return told._replace(value=False if held[:, STRONG + 1:].any() else True if held[:, STRONG].all() else None)


def _as_predicted(seen, fates):
    """What each neuron holds; the value is whether that is its fate, None while it is open."""
    neurons, held = np.arange(seen.config.m), seen.shares >= LEARNED
    own = held[neurons, fates]
    astray = held.sum() > own.sum()
    return measure.holdings(seen)._replace(value=False if astray else True if own.all() else None)
