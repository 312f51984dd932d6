"""How often random starts succeed: measured success rates, kept beside the package.

A single run says nothing of how typical it is. `success_rates.json` holds, for
some configurations, how many of n consecutive initial seeds went through all
four phases; each entry was made by `measure` and can be made again with it
(docs/usage.md has the command). Nothing else is ever quoted.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources

from scipy.stats import binomtest

from simsim.phases import find_phases
from simsim.simulation import TrainingError, simulate

# What a rate does not depend on: seeds (it is over them), logging, and how the
# same law is sampled.
IRRELEVANT = ("seed", "init_seed", "log_every", "engine", "dtype")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """`successes` of `runs` random starts showed all four phases; `learned` of them both features."""

    successes: int
    learned: int
    runs: int

    def interval(self):
        """Wilson's 95 % interval for the probability of success."""
        return tuple(binomtest(self.successes, self.runs).proportion_ci(CONFIDENCE, method="wilson"))

    def __str__(self):
        low, high = self.interval()
        return f"{self.successes} of {self.runs} random starts (95 % interval {low:.2g} to {high:.2g})"


def lookup(config):
    """The measured Rate of this configuration, or None if it has not been measured."""
    table = json.loads(resources.files("simsim").joinpath("success_rates.json").read_text())
    for entry in table:
        if entry["config"] == _law(config):
            return Rate(**entry["rate"])
    return None


def measure(config, runs, workers=1):
    """Measure the Rate over initial seeds 0 .. runs - 1, with sampling seeds the same.

    A run that training cannot finish counts as a failure.
    """
    configs = [replace(config, init_seed=seed, seed=seed, log_every=None) for seed in range(runs)]
    with ProcessPoolExecutor(workers) as pool:
        outcomes = list(pool.map(_outcome, configs))
    return Rate(sum(four for four, _ in outcomes), sum(both for _, both in outcomes), runs)


def _outcome(config):
    """Whether one run showed all four phases, and whether it learned both features."""
    try:
        phases = find_phases(simulate(config))
    except TrainingError:
        return False, False
    unlearned = phases.strong_learned is None or phases.strong_learned.step > 0  # a start is no phase I
    return unlearned and all(phases.ends()), phases.weak_learned is not None


def _law(config):
    """The fields that the law of a run depends on."""
    return {name: value for name, value in config.to_dict().items() if name not in IRRELEVANT}
