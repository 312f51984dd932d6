"""Are certified ends for good? Every one is followed as long again as 1e7 times the time that it took.

Starts from Gaussian weights at head speeds kappa from 1e-8 to 10, d from 20 to 1e8, two and three neurons and
features. Each flow that comes to a certified end goes on from there, with its noise and without a certificate, until
t has grown by LONGER; its verdict is then that of the state in which it is. Prints the table of docs/results.md:
flows with a certified end of all that were started, how many verdicts have changed, and a bound for their rate
(Clopper and Pearson, one-sided, 95 %). Half an hour; the part of each cell's starts that is to be taken
may be given, as in `python examples/certificates.py 0.1`.
"""

import sys
import time

import numpy as np

import simsim
from simsim import flow, population
from simsim.flow.certificate import name
from simsim.studies.statistics import at_most

LONGER = 1e7
SECONDS = 40.0  # of computing for BATCH starts; what is not certified by then does not count
BATCH = 30
KAPPAS = 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0
CELLS = {  # starts at each kappa
    "d = 20, ratio 1.5": (60, {"d": 20, "alpha_ratio": 1.5}),
    "d = 50, ratio 3": (60, {"d": 50, "alpha_ratio": 3.0}),
    "d = 10^4, ratio 20": (60, {"d": 10**4}),
    "d = 10^8, ratio 2": (30, {"d": 10**8, "alpha_ratio": 2.0}),
    "d = 30, ratio 1.5, m = 3": (30, {"d": 30, "alpha_ratio": 1.5, "m": 3}),
    "d = 30, ratio 2, K = 3": (30, {"d": 30, "alpha_ratio": 2.0, "features": 3}),
    "d = 30, ratio 2, m = K = 3": (10, {"d": 30, "alpha_ratio": 2.0, "m": 3, "features": 3}),
}


def followed(config, seeds):
    """(certified, changed, lost): seeds with a certified end, with a verdict that changes, that could not be followed."""
    equations = flow.Equations.from_config(config)
    first = flow.follow_many(config, seeds, seconds=SECONDS)
    sure = np.flatnonzero(np.isin(first.verdict, flow.CERTIFIED))
    if not sure.size:
        return [], [], []
    later = flow.integrate(equations, first.a[sure], first.U[sure], first.E[sure], t_max=LONGER * first.t[sure],
                           certify=False, seconds=SECONDS)
    M = population.moments(later.a, population.gram_of(later.U), later.E, equations.setting)
    lost = later.verdict != flow.TIMED_OUT
    changed = (name(equations, M) != first.verdict[sure]) & ~lost
    seeds = np.array(seeds)
    return seeds[sure], seeds[sure][changed], seeds[sure][lost]


def cell(number, kappa, starts, options):
    """What has become of the starts of a cell: their number, and the counts of `followed`."""
    config = simsim.Config(engine="flow", feature_patches=4, lr=1.0, head_lr=kappa, **options)
    counts, names = np.zeros(3, int), []
    for first in range(0, starts, BATCH):
        seeds = [1_000_000 * number + i for i in range(first, min(first + BATCH, starts))]
        found = followed(config, seeds)
        counts += [len(part) for part in found]
        names += list(found[1])
    return counts, names


def main(part):
    """Print the table for a `part` of the starts."""
    print("| flows | " + " | ".join(f"{kappa:g}" for kappa in KAPPAS) + " | all | changed | at most |")
    print("|---" * (len(KAPPAS) + 4) + "|")
    total, began = np.zeros(4, int), time.perf_counter()
    for number, (title, (starts, options)) in enumerate(CELLS.items()):
        starts = max(1, round(part * starts))
        found = [cell(number, kappa, starts, options) for kappa in KAPPAS]
        certified, changed, lost = sum(counts for counts, _ in found)
        shown = [f"{counts[0]}" for counts, _ in found]
        print(f"| {title} | {' | '.join(shown)} | {certified} of {starts * len(KAPPAS)} | {changed} | "
              f"{at_most(changed, certified - lost):.2g} |", flush=True)
        for kappa, (_, names) in zip(KAPPAS, found):
            if names:
                print(f"changed: kappa {kappa:g}, {options}, seeds {[int(seed) for seed in names]}", file=sys.stderr)
        total += [certified, changed, lost, starts * len(KAPPAS)]
    certified, changed, lost, starts = total
    print(f"\nOf {starts} starts {certified} have a certified end; {changed} of {certified - lost} verdicts change "
          f"while t grows by {LONGER:g}: a rate of at most {at_most(changed, certified - lost):.2g}. {lost} could not be "
          f"followed. {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
