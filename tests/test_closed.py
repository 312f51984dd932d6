"""Every law against every option: a number changes with it, or it is refused by name, or the table says that it need not.

The table is complete by construction: a law or an option that is not in it fails here.
"""

import dataclasses
import inspect
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from simsim import (
    Config, ConfigError, State, data, heads, laws, linear_noise, noise_laws, noise_runs, objectives, theory, variant_laws)
from simsim.config import Judged, Neutral


@dataclass(frozen=True)
class Sparse(data.Scaled):
    """Three patches in four are empty."""

    def scale(self, rng, count):
        return 2.0 * (rng.random(count) < 0.25)

    def moment(self, order):
        return 2.0 ** (order - 2)


@dataclass(frozen=True)
class Laplace(data.Law):
    """Long tails."""

    def noise(self, rng, shape):
        return rng.laplace(scale=0.5**0.5, size=shape)


class Upper(heads.Head):
    """Trained above the diagonal, from elsewhere than I."""

    def start(self):
        return np.eye(self.m) + 0.1 * np.triu(np.ones((self.m, self.m)), 1)

    def direction(self, dE):
        return np.triu(dE, 1)


class Doubled(objectives.OfCorrelations):
    """Twice SimSiam."""

    def of_correlations(self, misfit, c):
        return 4 * misfit.sum(axis=-1), np.full(np.shape(c), -4.0)


# One thing away from the default at a time, by a name that begins with the option's.
OTHERWISE = {
    "features 3": {"features": 3}, "frequencies": {"frequencies": (0.6, 0.4)}, "patch_counts": {"patch_counts": (7, 5)},
    "data scaled": {"data": Sparse()}, "data": {"data": Laplace(), "engine": "sgd"}, "m 3": {"m": 3}, "m 1": {"m": 1},
    "power": {"power": 5},
    **{f"head {head}": {"head": head} for head in heads.HEADS if head != "trained"}, "head own": {"head": Upper(2)},
    "head_scale": {"head": "random", "head_scale": 0.5}, "head_diagonal": {"head": "random", "head_diagonal": "free"},
    **{f"objective {name}": {"objective": name} for name in objectives.OBJECTIVES if name != "simsiam"},
    "objective own": {"objective": Doubled(stop_gradient=True), "head": "trained"},
    "stop_gradient": {"stop_gradient": False}, "batch_norm": {"batch_norm": False},
    "barlow_lambda": {"objective": "barlow", "barlow_lambda": 0.5},
    **{name: {"objective": "vicreg", name: 3.0} for name in ("vicreg_invariance", "vicreg_variance", "vicreg_covariance")},
    "weight_decay": {"weight_decay": 0.1}, "head_decay": {"head_decay": 0.1}, "momentum": {"momentum": 0.5},
    "head_momentum": {"head_momentum": 0.5}, "target_momentum": {"target_momentum": 0.5},
    "lr_schedule": {"lr_schedule": "cosine"}, "head_lr_schedule": {"head_lr_schedule": "cosine"},
    "engine flow": {"engine": "flow", "t_max": 1.0}, "without noise": {"feature_patches": 8},
}

# What a number may not know of, by what it is made of.
HEAD = frozenset(name for name in OTHERWISE if name.startswith("head ")) | {"head_scale", "head_diagonal"}
AT_I = frozenset({"head frozen", "head free-diagonal", "head symmetric"})  # heads that start there, and follow a gradient or none
ALIGNED = frozenset({"objective naive", "stop_gradient"})
DATA = frozenset({"features 3", "frequencies", "patch_counts", "without noise"})
SAMPLES = frozenset({"data", "data scaled", "power"})
OPTIMISER = frozenset({"weight_decay", "head_decay", "momentum", "head_momentum", "target_momentum", "lr_schedule",
                       "head_lr_schedule"})
FLOW = frozenset({"engine flow"})  # of the flow's own laws, and of what knows no steps
NEURONS = frozenset({"m 3", "m 1"})
ANY = frozenset(OTHERWISE) - DATA - NEURONS - SAMPLES


def start(config):
    """Overlaps (m, K) and noise norms (m,) of its Gaussian weights."""
    state = State.start(config)
    return state.a, state.noise_norms


def ends(config):
    """What neurons alone come to."""
    return [neuron.end() for neuron in laws.frozen_neurons(config, *start(config))]


BATCH = noise_laws.of_batch(8, 7, 3072)
SLOW = {"lr": 1e-6, "head_lr": 1e-6}  # little noise
FOUR = {"feature_patches": 4, "lr": 1e-3}  # noise in both views
THREE = np.random.default_rng(0).standard_normal((50, 3, 3))

# law: (what is asked, what it may leave as it is, the options in which its default is another)
LAWS = {
    "theory.signal": (lambda c: theory.signal(c, start(c)[0]), ANY | SAMPLES | {"without noise"}, {}),
    "theory.noise_level": (lambda c: theory.noise_level(c, 1.0), ANY | NEURONS | {"frequencies"}, {}),
    "theory.fates": (lambda c: theory.fates(c, start(c)[0]), HEAD | ALIGNED | DATA - {"without noise"} | FLOW, {}),
    "theory.clear_lead": (lambda c: theory.clear_lead(c, *start(c)), HEAD | ALIGNED | FLOW | {"features 3", "frequencies"}, {}),
    "theory.collapse_probability": (theory.collapse_probability, HEAD | ALIGNED | FLOW, {}),
    "theory.head_bound": (lambda c: theory.head_bound(c, 1.0),
                          NEURONS | DATA | {"data", "data scaled", "objective own", "stop_gradient"} | FLOW, {}),
    "theory.small_start_times": (lambda c: theory.small_start_times(c, *start(c)), HEAD | ALIGNED | FLOW, {}),
    "theory.noise_left": (lambda c: theory.noise_left(c, 1.0, 0, 1e3), HEAD | NEURONS | FLOW, {}),
    "theory.batch_spread": (theory.batch_spread, ANY | NEURONS | {"features 3", "frequencies"}, {}),
    "theory.FrozenNeuron": (lambda c: theory.FrozenNeuron(c, start(c)[0][0], 1.0).time_to_share(0.5), HEAD | NEURONS | FLOW, {}),
    "laws.Start": (lambda c: laws.Start(c, *start(c)).leak, HEAD | ALIGNED | FLOW, {}),
    "laws.first_learner": (lambda c: laws.first_learner(c, *start(c)),
                           HEAD | ALIGNED | FLOW | {"frequencies", "patch_counts", "m 1"}, {}),
    "laws.leak": (lambda c: laws.leak(c, *start(c)), HEAD | ALIGNED | FLOW | {"patch_counts"}, {}),
    "laws.frozen_neurons": (ends, HEAD | FLOW, {}),
    "laws.strong_time": (lambda c: laws.strong_time(c, *start(c)), HEAD | FLOW, {}),
    "laws.temptation": (lambda c: laws.temptation(c, *start(c)),
                        FLOW | {"head symmetric", "stop_gradient", "frequencies", "patch_counts"}, {}),
    "laws.success_probability": (laws.success_probability, FLOW | {"frequencies"}, {}),
    "laws.success_rate": (lambda c: laws.success_rate(c, 500), FLOW | {"frequencies"}, {}),
    "laws.succeeds": (lambda c: laws.succeeds(c, *start(c)), FLOW | {"frequencies"}, {}),
    "laws.answer_after_phase_one": (lambda c: laws.answer_after_phase_one(c, *start(c)), HEAD | ALIGNED | FLOW, {}),
    "laws.substitution_lag": (lambda c: laws.substitution_lag(c, *start(c)), FLOW, {}),
    "laws.substitution_time": (lambda c: laws.substitution_time(c, *start(c)), FLOW, {}),
    "laws.heads_at_substitution": (lambda c: laws.heads_at_substitution(c, *start(c), 2), frozenset(),
                                   {"lr": 1e-5, "head_lr": 1e-5}),
    "laws.Acceleration": (lambda c: laws.Acceleration(c, *start(c)).time(), FLOW, {}),
    "laws.noise": (lambda c: laws.noise(c).phase_one.time, {"head frozen"}, {}),
    "laws.course": (lambda c: laws.course(c).weak, frozenset(), {}),
    "laws.runs_with_noise": (lambda c: laws.runs_with_noise(c, runs=20, time=1.0).X, frozenset(), {}),
    "noise_laws.common_noise": (noise_laws.common_noise, ANY | NEURONS | SAMPLES | {"features 3", "frequencies"}, {}),
    "noise_laws.held_noise": (noise_laws.held_noise, ANY | NEURONS | SAMPLES | {"features 3", "frequencies"}, {}),
    "noise_laws.growth": (noise_laws.growth, AT_I | NEURONS | {"frequencies", "weight_decay"}, FOUR),
    "noise_laws.freedom": (noise_laws.freedom, ANY | NEURONS | SAMPLES | DATA - {"features 3"}, {}),
    "noise_laws.blur": (lambda c: noise_laws.blur(c, 0.1, BATCH), AT_I | NEURONS | {"features 3", "frequencies"}, {}),
    "noise_laws.moved_fates": (lambda c: noise_laws.moved_fates(c, BATCH), AT_I | NEURONS | {"frequencies"},
                               {**SLOW, "alpha_ratio": 1.5}),
    "noise_laws.noise_floor": (noise_laws.noise_floor, HEAD | NEURONS | {"frequencies"}, {}),
    "noise_laws.decayed_norm": (lambda c: noise_laws.decayed_norm(c, 1.0, 100.0), AT_I | NEURONS | {"frequencies"}, FOUR),
    "noise_laws.head_walk": (lambda c: noise_laws.head_walk(c, BATCH, [1.0, 1.0], 10.0), NEURONS | {"features 3", "frequencies"},
                             {}),
    "noise_laws.settled_head": (noise_laws.settled_head, NEURONS | {"features 3", "frequencies"}, {}),
    "noise_laws.phase_one": (lambda c: noise_laws.phase_one(c, BATCH, 0.1, 1.0, 0.1).time,
                             AT_I | NEURONS | {"frequencies"}, FOUR),
    "linear_noise.band": (lambda c: linear_noise.band(c).deviation[-1], frozenset(), {"steps": 3}),
    "linear_noise.Batches": (lambda c: (lambda made, x: made.scatter(made.pack(x.a, x.gram, x.E)[None]))(
        linear_noise.Batches(c, np.eye(c.m)), State.start(c)), frozenset(), {}),
    "variant_laws.predictability": (variant_laws.predictability, ANY | NEURONS | SAMPLES | {"frequencies"}, {}),
    "variant_laws.leaving_time": (lambda c: variant_laws.leaving_time(c, 1, start(c)[0]), HEAD | FLOW, {"patch_counts": (7, 5)}),
    "variant_laws.head_in_time": (lambda c: variant_laws.head_in_time(c, [0.1, 0.9], [0.9, 0.1]), NEURONS | FLOW | {"frequencies"},
                                  {"patch_counts": (7, 5)}),
    "variant_laws.taught_time": (lambda c: variant_laws.taught_time(c, *start(c)), FLOW, {"stop_gradient": False}),
    "variant_laws.taught_lag": (lambda c: variant_laws.taught_lag(c, *start(c)), FLOW, {"stop_gradient": False}),
    "variant_laws.noise_threshold": (variant_laws.noise_threshold, FLOW | {"features 3", "frequencies", "barlow_lambda"},
                                     {"objective": "barlow"}),
    "variant_laws.collapse_noise": (variant_laws.collapse_noise, FLOW | {"features 3", "frequencies"}, {"objective": "barlow"}),
    "variant_laws.parting_time": (lambda c: variant_laws.parting_time(c, *start(c)), FLOW, {"objective": "barlow"}),
    "variant_laws.vicreg_parting_time": (lambda c: variant_laws.vicreg_parting_time(c, *start(c)),
                                         FLOW | {"vicreg_invariance", "vicreg_variance"}, {"objective": "vicreg"}),
    "variant_laws.symmetric_balance": (lambda c: variant_laws.symmetric_balance(c, *start(c)), FLOW, {"head": "symmetric"}),
    "variant_laws.symmetric_temptation": (lambda c: variant_laws.symmetric_temptation(c, *start(c)), FLOW | {"frequencies"},
                                          {"head": "symmetric"}),
    "variant_laws.symmetric_success_probability": (variant_laws.symmetric_success_probability, FLOW | {"frequencies"},
                                                   {"head": "symmetric"}),
    "variant_laws.spreads": (lambda c: variant_laws.spreads(c, THREE).mean(), FLOW, {"features": 3, "m": 3}),
    "variant_laws.spread_probability": (lambda c: variant_laws.spread_probability(c, 50), FLOW, {"features": 3, "m": 3}),
    "variant_laws.collapsing_neurons": (variant_laws.collapsing_neurons, HEAD - {"head own"} | ALIGNED | NEURONS | FLOW, {}),
}
# What takes a Config and is no law: premises and words on one start, and parts of the laws above.
NOT_LAWS = {"theory.of_batches", "laws.strong_first", "laws.of_start", "laws.kappa_of_25", "laws.later_phases", "laws.milestones",
            "laws.of_first_phase", "laws.of_noise", "noise_laws.later_phase", "linear_noise.of_band", "linear_noise.require",
            "linear_noise.Coordinates", "linear_noise.Band", "noise_runs.masks", "noise_runs.Pair"}


def asks_for_a_config(made):
    """Whether a public function or class takes a Config, or a run, before all else."""
    first = next(iter(inspect.signature(made).parameters), None)
    return first in ("config", "run")


def test_every_law_and_every_option_is_in_the_table():
    modules = (theory, laws, noise_laws, noise_runs, linear_noise, variant_laws)
    found = {f"{module.__name__.rpartition('.')[2]}.{name}" for module in modules
             for name, made in vars(module).items() if inspect.isfunction(made) or inspect.isclass(made)
             if not name.startswith("_") and made.__module__ == module.__name__ and asks_for_a_config(made)}
    assert found == {*LAWS, *NOT_LAWS}
    valued = {field.name for field in dataclasses.fields(Config) if not isinstance(field.metadata["paper"], (Judged, Neutral))}
    assert valued - {name.split()[0] for name in OTHERWISE} == set()


def number(ask, config):
    """The number, or the words of the refusal; a warning is neither."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.asarray(ask(config), dtype=float)
        except ValueError as error:
            return str(error)


def said_by_name(words, option, config):
    """Whether a refusal names the option: by what its premise is called, or by its value."""
    if option in ("objective", *objectives.PARAMETERS):  # an objective brings a head along
        name = config.objective if isinstance(config.objective, str) else type(config.objective).__name__
        return any(word in words for word in ("the paper's objective", name, f"head {config.head}"))
    known = {"features": "K = ", "m": "neurons", "patch_counts": "equally many patches", "without": "noise",
             "engine": "engine flow", "stop_gradient": "stop-gradient", "batch_norm": "batch norm", "head_scale": "head random",
             "head_diagonal": "head random", "power": "cubic activation"}
    return known.get(option, option) in words


def means(config):
    """What an option may change the meaning of: options without effect are left out."""
    return config.deviations(), config.engine, config.feature_patches


@pytest.mark.parametrize("law", LAWS)
def test_what_a_number_does_not_know_of_is_refused_by_name(law):
    ask, leaves, base = LAWS[law]
    usual, tried, same = number(ask, Config(**base)), set(), set()
    assert not isinstance(usual, str), usual
    for name, fields in OTHERWISE.items():
        try:
            config = Config(**{**base, **fields})
        except ConfigError:  # not to be had with the others
            continue
        if means(config) == means(Config(**base)):
            continue
        tried.add(name)
        other = number(ask, config)
        if isinstance(other, str):
            assert said_by_name(other, name.split()[0], config), (name, other)
        elif other.shape == usual.shape and np.array_equal(other, usual, equal_nan=True):
            same.add(name)
    assert same == leaves & tried, (sorted(same - leaves), sorted(leaves & tried - same))
