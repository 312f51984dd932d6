"""How often random starts succeed: measured success rates, kept beside the package.

A single run says nothing of how typical it is. `success_rates.json` holds, for
some configurations, how many of n consecutive initial seeds went through all
four phases. Each entry was made by `measure` and can be made again with it;
nothing else is ever quoted.
"""

import dataclasses
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import resources
from numbers import Integral

import numpy as np
import scipy

from simsim import flow
from simsim.config import ConfigError, in_use
from simsim.phases import find_phases, owned
from simsim.sgd import TrainingError
from simsim.simulation import simulate

CONFIDENCE = 0.95
# What the law of a run does not depend on, over random starts and samples: for
# SGD, how its law is sampled and logged; for the flow, all that is SGD's.
SEEDS = ("seed", "init_seed")
IRRELEVANT_TO_SGD = (*SEEDS, "engine", "log_every", "dtype", "t_max")
IRRELEVANT_TO_FLOW = (*SEEDS, "log_every", "dtype", "steps", "batch_size", "lr", "head_lr")


@dataclass(frozen=True)
class Rate:
    """Of `runs` random starts `learned` ended with a neuron for each feature, `successes` of them by all four phases."""

    successes: int
    learned: int
    runs: int

    def interval(self):
        """Wilson's 95 % interval for the probability of success."""
        return tuple(scipy.stats.binomtest(self.successes, self.runs).proportion_ci(CONFIDENCE, method="wilson"))

    def __str__(self):
        low, high = self.interval()
        return f"{self.successes} of {self.runs} random starts (95 % interval {low:.2g} to {high:.2g})"


def depends_on(config):
    """What the success rate of `config` depends on, as a dict: the key of `success_rates.json`."""
    idle = {name: type(config).__dataclass_fields__[name].default for name in config.without_effect()}
    values = {**config.to_dict(), **idle, **_as_usual(config)}
    if config.clock == "time":
        values["kappa"] = None if "head_lr" in idle else round(config.kappa, 12)
    irrelevant = IRRELEVANT_TO_FLOW if config.clock == "time" else IRRELEVANT_TO_SGD
    return {name: value for name, value in in_use(values).items() if name not in irrelevant}


def _as_usual(config):
    """Features given one by one that are as they would be without: spelled as usual."""
    spelled = {"patch_counts": config.patches_by_feature, "frequencies": tuple(config.shares_of_samples)}
    even = {name: None for name, values in spelled.items() if len(set(values)) == 1}
    return even if config.features > 2 else {**even, "strengths": None}  # two are the ratio and the weaker


def lookup(config):
    """The measured Rate of this configuration, or None if it has not been measured.

    An entry names what its rate depended on when it was measured; an option that
    came into being later stands at its default there.
    """
    table = json.loads(resources.files("simsim").joinpath("success_rates.json").read_text())
    mine, usual = depends_on(config), depends_on(type(config)(engine=config.engine))
    for entry in table:
        if {**usual, **entry["law"]} == mine:
            return Rate(**entry["rate"])
    return None


def of_flow(config):
    """The measured Rate of the flow of `config`, whatever its engine; None if it was not measured, or there is none."""
    try:
        return lookup(dataclasses.replace(config, engine="flow"))
    except ConfigError:  # SGD runs where the flow does not, such as at any kappa
        return None


def measure(config, runs, workers=1):
    """Measure the Rate of `config` over the initial seeds 0 .. runs - 1, sampling seeds the same.

    A run that training cannot finish counts as a failure, and so does a start
    that holds the strong feature already. Raises ValueError for `runs` below 1, and for an
    objective or a head that is an object: other processes do not have its class.
    """
    if not isinstance(runs, Integral) or runs < 1:
        raise ValueError(f"`runs` must be a positive integer, got {runs!r}")
    if config.clock == "time":
        return _measure_flow(config, runs)
    if config.objects():
        raise ValueError(f"its {next(iter(config.objects()))} is an object, which other processes do not know: "
                         "use `simulate_many`, which takes objects")
    configs = [dataclasses.replace(config, init_seed=seed, seed=seed, log_every=None) for seed in range(runs)]
    with ProcessPoolExecutor(workers) as pool:
        outcomes = list(pool.map(_outcome, configs))
    return Rate(sum(four for four, _ in outcomes), sum(both for _, both in outcomes), runs)


def _outcome(config):
    """Whether one run of SGD showed all four phases, and whether it learned both features."""
    try:
        run = simulate(config)
    except TrainingError:
        return False, False
    phases, divided = find_phases(run), bool(owned(run.shares[-1]).all())
    unlearned = phases.strong_learned is None or phases.strong_learned.step > 0
    return unlearned and divided and all(phases.ends()), divided


def _measure_flow(config, runs):
    """All starts are integrated together; phases that never came are nan."""
    result = flow.follow_many(config, range(runs))
    both = result.verdict == flow.BOTH
    four = both & np.isfinite(result.phases).all(axis=1) & (result.phases[:, 0] > 0)
    return Rate(int(four.sum()), int(both.sum()), runs)
