"""What the theorems ask of a run, with the run's own figures, and how probable their events are at its d."""

import functools

import numpy as np

from simsim import data, laws, premises, rates, theory
from simsim.flow import Equations
from simsim.phases import STRONG
from simsim.premises import Hypothesis
from simsim.state import State

SLOW_HEAD = 1.0  # kappa up to here: the paper's eta_E is at most of the order of eta
SMALL_START = 1.0  # alpha_1 |a_j1| / sigma below here: v_1 does not drown the noise yet
FEWEST_STEPS = 5  # of a time by its law: Euler's steps of da/dt = a^5 to its blow-up take up to twice as many; fewer, more
TIME_FACTOR = 2.0  # a time agrees with its law within this factor: the laws are for infinite batches
# Times of eq. 14 go as the sixth power of ||w||, so a drift of ||w||^2 beyond this moves them by more than that factor.
LARGEST_DRIFT = TIME_FACTOR ** (1 / 3) - 1
# A batch's variance D' in the place of D speeds learning up by the mean of D / D', which is 1 + spread^2 to leading order.
SPREAD_NEAR_FLOW = np.sqrt(TIME_FACTOR - 1)  # laws of finite batches reach as far as `laws.WIDEST_SPREAD`
KEPT = 0.99  # probability of a neuron's feature above which noise is said to leave it


def of_theorem_1(run):
    """The hypotheses of Theorem 1 and Corollary 2: a list of `Hypothesis`."""
    config = run.config
    own = [premises.paper_objective(config), premises.trained_head(config), premises.neurons(config, 2),
           premises.features(config, 2), *premises.even_features(config), *premises.some_noise(config),
           *_strong_enough(config),
           Hypothesis("a slow head", f"kappa <= {SLOW_HEAD:g}", f"{config.kappa:.3g}", config.kappa <= SLOW_HEAD),
           small_start(run)]
    return [*premises.closed(config, *own), *random_start(run), *usual_start(run), *of_sgd(run)]


def of_theorem_3(run):
    """The hypotheses of Theorem 3 and Corollary 4: a list of `Hypothesis`."""
    config = run.config
    own = [*premises.of_frozen_neurons(config), premises.features(config, 2), *_strong_enough(config), small_start(run)]
    return [*premises.closed(config, *own, free=("m",)), *random_start(run), *usual_start(run), *of_sgd(run)]


def random_start(run):
    """The theorems expect what they say of most Gaussian starts, and of no single one: a list, empty of such a start."""
    if run.start_was_given:
        yield Hypothesis("a random start", "Gaussian weights", "given otherwise", False, ("init_seed",))


def small_start(run):
    """v_1 does not drown the noise yet in any neuron."""
    largest = theory.signal(run.config, run.overlaps[0])[:, STRONG].max()
    return Hypothesis("a small start", f"alpha_1 |a_j1| / sigma < {SMALL_START:g}", f"{largest:.2g}", bool(largest < SMALL_START),
                      ("init_seed",))


def _strong_enough(config):
    """m = o(alpha_1 / alpha_2), in the weakest reading that a finite m has; of a single feature nothing is asked."""
    strongest, *weaker = config.effective_alphas
    if weaker:
        ratio = strongest / weaker[0]
        yield Hypothesis("few neurons for the ratio", "m < alpha_1 / alpha_2", f"{config.m} and {ratio:g}", config.m < ratio)


# ---- steps and batches ------------------------------------------------------------------------

def of_sgd(run, until=None):
    """That SGD is near its flow up to the logged row `until`, or the last one: a list, empty for the flow itself."""
    if run.clock == "time":
        return []
    return [*_small_step(run, until), *_large_batch(run.config)]


def takes_steps(config, name, time):
    """That what takes `time` by its law, called `name`, takes SGD more than a few steps: a list, empty for the flow."""
    if config.clock == "step":
        yield Hypothesis("a small step", f"eta <= {name} / {FEWEST_STEPS}", f"eta = {config.lr:.2g}, {name} = {time:.2g}",
                         bool(FEWEST_STEPS * config.lr <= time), ("lr",))


def usual_start(run):
    """That the head starts where its kind does, and weights with some of all, as laws have it: a list, empty where that is so."""
    return [*premises.head_s_start(run.config, run.head[0]), *premises.some_of_all(run.overlaps[0], run.noise_norms[0])]


def drift(run):
    """How far each constant of the flow has drifted from its start, of the terms that make it up (docs/theory.md, eq. 13).

    (T, c): for a head that is trained off the diagonal, or frozen, c = m, one for each neuron. Without batch norm,
    or with another optimiser than plain SGD, nothing is constant, c = 0.
    """
    if run.config.optimiser:
        return np.empty((len(run), 0))
    equations = Equations.of_constants(run.config)
    now, _ = equations.invariants(run.overlaps, run.noise_norms[..., None], run.head)
    _, sizes = equations.invariants(run.overlaps[0], run.noise_norms[0][:, None], run.head[0])
    return (now - now[0]) / sizes


def _small_step(run, until):
    drifted = np.abs(drift(run)[:None if until is None else until + 1])
    if drifted.size:
        largest = drifted.max()
        yield Hypothesis("a small step", f"eq. 13 drifts by less than {100 * LARGEST_DRIFT:.0f} %",
                         f"{100 * largest:.2g} %{_of_threshold(noise(run))}", bool(largest < LARGEST_DRIFT))


def noise(run):
    """What the noise of its batches does to a run of SGD, `laws.noise`; None where that is not about the run."""
    start = run.state(0)
    if not premises.hold([*laws.of_noise(run.config), *usual_start(run)]):
        return None
    return _noise(run.config, *(part.tobytes() for part in (start.a, start.U, start.E)))


@functools.lru_cache(maxsize=8)
def _noise(config, *parts):
    """`laws.noise` of a start that is given as bytes, which a cache can hold."""
    a, U, E = (np.frombuffer(part).reshape(config.m, -1) for part in parts)
    with np.errstate(over="ignore", divide="ignore"):  # an overlap of 1e-60 takes times beyond numbers: inf, as is meant
        return laws.noise(config, State(a, U, E))


def _of_threshold(noise):
    """How far the noise is from where features are no longer learned, in words; "" without a law."""
    if noise is None:
        return ""
    three = "" if noise.phase_three is None else f", {noise.phase_three.x:.2g} of III"
    begun = "" if np.isnan(noise.s) else f", s = {noise.s:.2g} where III begins (eq. 89)"
    return f", x = {noise.phase_one.x:.2g} of I{three} (eqs. 58, 87){begun}"


def step_in_words(run):
    """Up to which step the run's features are learned with its batch, as a sentence; "" where no law says (eqs. 58 to 87)."""
    found = noise(run)
    if found is None or not 0 < found.largest_lr < np.inf:
        return ""
    what = "v_1" if found.phase_three is None else "both features"
    judged = "too long" if is_too_long(run) else "short enough"
    return (f"By the laws of finite batches, with batches of {found.batch_size} a step up to {found.largest_lr:.2g} learns "
            f"{what} (eqs. 58, 87): this run's of {found.lr:.2g} is {judged}.")


def kept_fates(run):
    """That noise leaves each neuron of a frozen head the feature of eq. 14: a list, empty where no law says."""
    found = noise(run)
    if found is None:
        return []
    fates = theory.fates(run.config, run.overlaps[0])
    least = float(np.min([chances[fate] for chances, fate in zip(found.fates, fates)]))
    figure, holds = ("not known, for the start is not small", None) if np.isnan(least) else (f"{least:.2g}", least > KEPT)
    return [Hypothesis("fates that noise leaves", f"each with probability > {KEPT:g} at this batch and step (eq. 80)", figure,
                       holds, ("lr", "batch_size"))]


def is_too_long(run):
    """Whether the step is one with which features are not learned any more, by a law that there is (eqs. 58 to 87)."""
    found = noise(run)
    return found is not None and found.lr > found.largest_lr


def _large_batch(config):
    asked = "a large batch", f"its variance spreads by less than {SPREAD_NEAR_FLOW:g} (eq. 51)"
    if not data.from_config(config).gaussian:
        yield Hypothesis(*asked, f"data law {config.data}", None)
        return
    spread = theory.batch_spread(config)
    if config.batch_norm and spread is not None:
        yield Hypothesis(*asked, f"{spread:.2g}", spread < SPREAD_NEAR_FLOW)


# ---- how probable it is ------------------------------------------------------------------------

def chance_of_success(config):
    """(probability that a random start learns all features in the flow, that it does so by all four phases, their source).

    (None, None, why) if unknown. By eq. 25 the two are one: it knows no other way.
    """
    rate = rates.of_flow(config)
    if rate is not None:
        return rate.learned / rate.runs, rate.successes / rate.runs, f"measured, {rate.runs}"
    if not premises.hold([*premises.of_two_neurons(config), laws.kappa_of_25(config)]):
        return None, None, "no law for this configuration, and not measured"
    chance = laws.success_rate(config)
    return chance, chance, "eq. 25"
