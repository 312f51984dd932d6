"""What theorems and laws ask of a run, with the run's own figures, and how probable their events are at its d."""

import numpy as np

from simsim import heads, laws, rates, theory
from simsim.phases import STRONG
from simsim.report.verdicts import EVEN, Hypothesis, hold

SLOW_HEAD = 1.0  # kappa up to here: the paper's eta_E is at most of the order of eta
SMALL_START = 1.0  # alpha_1 |a_j1| / sigma below here: v_1 does not drown the noise yet


def of_theorem_1(run):
    """The hypotheses of Theorem 1 and Corollary 2: a list of `Hypothesis`."""
    config = run.config
    largest = theory.signal(config, run.overlaps[0])[:, STRONG].max()
    return [paper_objective(config), trained_head(config),
            Hypothesis("two neurons", "m = 2", f"m = {config.m}", config.m == 2), two_features(config),
            *even_features(config), *some_noise(config), _strong_enough(config),
            Hypothesis("a slow head", f"kappa <= {SLOW_HEAD:g}", f"{config.kappa:.3g}", config.kappa <= SLOW_HEAD),
            Hypothesis("a small start", f"alpha_1 |a_j1| / sigma < {SMALL_START:g}", f"{largest:.2g}",
                       bool(largest < SMALL_START))]


def of_theorem_3(run):
    """The hypotheses of Theorem 3 and Corollary 4: a list of `Hypothesis`."""
    config = run.config
    return [*of_frozen_neurons(config), two_features(config), _strong_enough(config)]


def of_frozen_neurons(config):
    """Those of the fates of eq. 14: a list of `Hypothesis`."""
    return [paper_objective(config), head_from_identity(config), *even_features(config), *some_noise(config)]


def paper_objective(config):
    """The loss (3) of docs/theory.md."""
    own = config.objective == "simsiam" and config.batch_norm and config.stop_gradient
    return Hypothesis("the paper's objective", "SimSiam with batch norm and stop-gradient", objective_in_words(config),
                      own)


def batch_norm(config):
    """What eq. 12 of docs/theory.md rests on."""
    return Hypothesis("batch norm", "yes", "yes" if config.batch_norm else "no", config.batch_norm)


def two_features(config):
    """Two features: the laws for more are open."""
    return Hypothesis("two features", "K = 2", f"K = {config.features}", config.features == 2)


def even_features(config):
    """Features in equally many patches, as the paper has them: a list, empty where it goes without saying."""
    if config.patch_counts is None:
        return []
    return [Hypothesis("as many patches of each feature", "k_1 = k_2 = ...", ", ".join(map(str, config.counts)),
                       len(set(config.counts)) == 1)]


def some_noise(config):
    """Noise in every view, without which the two views of a sample agree: a list, empty where there is some."""
    if config.noise_patches:
        return []
    return [Hypothesis("noise", "some", "no patch of a sample", False)]


def trained_head(config):
    """E = I at the start, the diagonal fixed, the rest following its gradient."""
    return Hypothesis("the paper's head", "from I, trained off the diagonal", f"head {config.head}",
                      config.head == "trained")


def head_from_identity(config):
    """E = I at the start, however it moves then."""
    return Hypothesis("a head that starts at I", "yes", f"head {config.head}",
                      heads.starts_at_identity(config))


def of_two_neurons(config):
    """Those of the derived laws of two neurons, eqs. 18 to 29: a list of `Hypothesis`."""
    return [paper_objective(config), trained_head(config), two_features(config), *even_features(config),
            Hypothesis("two neurons", "m = 2", f"m = {config.m}", config.m == 2), *some_noise(config)]


def objective_in_words(config):
    """The objective of a Config and its flags."""
    name = "SimSiam" if config.objective == "simsiam" else config.objective
    if config.objective == "barlow":
        name += f" (lambda = {config.barlow_lambda:g})"
    return f"{name}, {'' if config.batch_norm else 'no '}batch norm, {'' if config.stop_gradient else 'no '}stop-gradient"


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
    if not hold(of_two_neurons(config)):
        return None, "no law for this configuration, and not measured"
    return laws.success_rate(config), "eq. 25"


def large_dimension(chance, source):
    """Whether d is large enough for "with high probability" to describe what happens: a `Hypothesis`.

    `chance` and `source` are those of `chance_of_success`.
    """
    figure = source if chance is None else f"{100 * chance:.3g} % ({source})"
    return Hypothesis("a large d", f"more than {100 * EVEN:g} % of random starts succeed", figure,
                      chance is None or chance >= EVEN)
