"""What the theorems ask of a run, with the run's own figures, and how probable their events are at its d."""

import numpy as np

from simsim import laws, premises, rates, theory
from simsim.phases import STRONG
from simsim.premises import Hypothesis
from simsim.report.verdicts import EVEN

SLOW_HEAD = 1.0  # kappa up to here: the paper's eta_E is at most of the order of eta
SMALL_START = 1.0  # alpha_1 |a_j1| / sigma below here: v_1 does not drown the noise yet


def of_theorem_1(run):
    """The hypotheses of Theorem 1 and Corollary 2: a list of `Hypothesis`."""
    config = run.config
    largest = theory.signal(config, run.overlaps[0])[:, STRONG].max()
    return [premises.paper_objective(config), premises.trained_head(config), premises.neurons(config, 2),
            premises.features(config, 2), *premises.even_features(config), *premises.some_noise(config),
            _strong_enough(config),
            Hypothesis("a slow head", f"kappa <= {SLOW_HEAD:g}", f"{config.kappa:.3g}", config.kappa <= SLOW_HEAD),
            Hypothesis("a small start", f"alpha_1 |a_j1| / sigma < {SMALL_START:g}", f"{largest:.2g}",
                       bool(largest < SMALL_START))]


def of_theorem_3(run):
    """The hypotheses of Theorem 3 and Corollary 4: a list of `Hypothesis`."""
    config = run.config
    return [*premises.of_frozen_neurons(config), premises.features(config, 2), _strong_enough(config)]


def _strong_enough(config):
    """m = o(alpha_1 / alpha_2), in the weakest reading that a finite m has."""
    strongest, *weaker = config.effective_alphas
    ratio = strongest / weaker[0] if weaker else np.inf
    return Hypothesis("few neurons for the ratio", "m < alpha_1 / alpha_2", f"{config.m} and {ratio:g}", config.m < ratio)


def chance_of_success(config):
    """(probability that a random start learns all features in the flow, its source); (None, why) if unknown."""
    rate = rates.of_flow(config)
    if rate is not None:
        return rate.learned / rate.runs, f"measured, {rate.runs}"
    if not premises.hold(premises.of_two_neurons(config)):
        return None, "no law for this configuration, and not measured"
    return laws.success_rate(config), "eq. 25"


def large_dimension(chance, source):
    """Whether d is large enough for "with high probability" to describe what happens: a `Hypothesis`.

    `chance` and `source` are those of `chance_of_success`.
    """
    figure = source if chance is None else f"{100 * chance:.3g} % ({source})"
    return Hypothesis("a large d", f"more than {100 * EVEN:g} % of random starts succeed", figure,
                      chance is None or chance >= EVEN)
