"""Every objective, flag, head and number of features, as rows of a table that several tests go through."""

from typing import NamedTuple

import numpy as np

from simsim import Config, draw_views, heads, population

FLAGS = [("simsiam", True, True), ("simsiam", False, True), ("simsiam", True, False), ("simsiam", False, False),
         ("naive", False, True), ("naive", False, False), ("barlow", True, True), ("barlow", False, True)]
HEADS = [("trained", "fixed"), ("frozen", "fixed"), ("free-diagonal", "fixed"), ("symmetric", "fixed"),
         ("random", "fixed"), ("random", "free"), ("directcopy", "fixed"), ("directpred", "fixed")]

COUNTS, FREQUENCIES = (5, 7, 4), {2: (0.6, 0.4), 3: (0.5, 0.3, 0.2)}
LR = {True: 0.02, False: 1e-4}  # by batch norm: without it the loss has a scale


class Case(NamedTuple):
    """A row of the table."""

    objective: str
    stop_gradient: bool
    batch_norm: bool
    head: str
    diagonal: str
    m: int
    K: int
    uneven: bool = False  # features that take up different numbers of patches, and are shown unequally often

    def config(self, **more):
        data = {"feature_patches": 4}
        if self.uneven:
            data = {"patch_counts": COUNTS[:self.K], "frequencies": FREQUENCIES[self.K]}
        return Config(m=self.m, features=self.K, d=self.m + self.K + 2, alpha_ratio=3.0, alpha_weak=0.8, sigma=0.9,
                      **data, objective=self.objective, stop_gradient=self.stop_gradient,
                      batch_norm=self.batch_norm, barlow_lambda=0.3, head=self.head, head_diagonal=self.diagonal,
                      batch_size=24, **{"lr": LR[self.batch_norm], **more})

    def weights(self, seed=0):
        """W (m, d) of order 1, and a head of this kind that has trained for a while."""
        config = self.config(init_seed=seed)
        rng = np.random.default_rng([seed, self.m, self.K])
        W = rng.standard_normal((self.m, config.d))
        size = population.output_covariance(config, *reduced(W, config)).diagonal()
        W *= (2 / size[:, None]) ** (1 / 6)  # neurons of one size: an error in one shows beside the others
        head = heads.from_config(config)
        E = head.start() + 0.5 * head.direction(rng.standard_normal((self.m, self.m)))
        if head.set_from is not None:
            E = head.set_from(population.output_covariance(config, *reduced(W, config)))
        return W, E

    def views(self, seed=0):
        return draw_views(self.config(), np.random.default_rng([seed, 1]))

    def options(self):
        return {"objective": self.objective, "stop_gradient": self.stop_gradient, "batch_norm": self.batch_norm,
                "barlow_lambda": 0.3}


def cases():
    return [Case(*flags, *head, m, K) for flags in FLAGS for head in HEADS for m in (1, 2, 3) for K in (1, 2, 3)
            if flags[0] != "naive" or head[0] == "frozen"]


def uneven_cases():
    """The table again, in short, for uneven features."""
    return [case._replace(uneven=True) for case in cases() if case.m in (2, 3) and case.K in (2, 3)
            and case.head in ("trained", "frozen") and (case.head == "trained" or case.objective == "naive")]


def name(case):
    flags = ("sg" if case.stop_gradient else "") + ("bn" if case.batch_norm else "")
    shape = f"m{case.m}-K{case.K}" + "-uneven" * case.uneven
    return f"{case.objective}-{flags or 'plain'}-{case.head}-{case.diagonal}-{shape}"


def reduced(W, config):
    """Overlaps and noise Gram of weights (m, d), complex steps included."""
    return W[:, :config.features], population.gram_of(W[:, config.features:])
