"""What theorems and laws rest on, asked of a Config: a report shows it, and a law refuses what it is not about.

A premise is a `Hypothesis`; those that go without saying where they hold are lists, empty in that case.
"""

from dataclasses import dataclass

from simsim import heads


@dataclass(frozen=True)
class Hypothesis:
    """What a theorem asks for, this run's own figure, and whether it holds."""

    name: str
    asked: str
    figure: str
    holds: bool

    @property
    def words(self):
        """What is asked and what is here, whether it holds or not."""
        return f"{self.name}: {self.asked} asked, {self.figure} here"

    def __str__(self):
        return self.words + ("" if self.holds else ": DOES NOT HOLD")


def hold(hypotheses):
    """Whether all of them do."""
    return all(hypothesis.holds for hypothesis in hypotheses)


def require(law, hypotheses):
    """ValueError where `law`, an equation of docs/theory.md in words, is asked about a Config that it does not speak of."""
    broken = "; ".join(one.words for one in hypotheses if not one.holds)
    if broken:
        raise ValueError(f"{law} is about another setting: {broken}")


# ---- objectives ----------------------------------------------------------------------

def paper_objective(config):
    """The loss (3) of docs/theory.md."""
    return objective(config, "simsiam", stop_gradient=True)


def objective(config, name, stop_gradient):
    """The objective of that name, with batch norm."""
    own = (config.objective, config.batch_norm, config.stop_gradient) == (name, True, stop_gradient)
    which = "the paper's objective" if (name, stop_gradient) == ("simsiam", True) else "the objective"
    return Hypothesis(which, _in_words(name, True, stop_gradient), objective_in_words(config), own)


def aligned_views(config):
    """Correlations c_jj alone, that is, SimSiam or the naive objective, with or without stop-gradient."""
    return Hypothesis("two views aligned", "simsiam or naive, with batch norm", objective_in_words(config),
                      config.objective != "barlow" and config.batch_norm)


def batch_norm(config):
    """What eq. 12 of docs/theory.md rests on."""
    return Hypothesis("batch norm", "yes", "yes" if config.batch_norm else "no", config.batch_norm)


def objective_in_words(config):
    """The objective of a Config and its flags."""
    name = config.objective + (f" (lambda = {config.barlow_lambda:g})" if config.objective == "barlow" else "")
    return _in_words(name, config.batch_norm, config.stop_gradient)


def _in_words(name, batch_norm, stop_gradient):
    name = "SimSiam" if name == "simsiam" else name
    return f"{name}, {'' if batch_norm else 'no '}batch norm, {'' if stop_gradient else 'no '}stop-gradient"


# ---- heads -----------------------------------------------------------------------------

def trained_head(config):
    """E = I at the start, the diagonal fixed, the rest following its gradient."""
    return Hypothesis("the paper's head", "from I, trained off the diagonal", f"head {config.head}",
                      config.head == "trained")


def head_from_identity(config):
    """E = I at the start, however it moves then."""
    return Hypothesis("a head that starts at I", "yes", f"head {config.head}", heads.starts_at_identity(config))


# ---- sizes and data ------------------------------------------------------------------------

def neurons(config, m):
    """How many neurons."""
    return Hypothesis(f"{_NUMBERS.get(m, m)} neurons", f"m = {m}", f"m = {config.m}", config.m == m)


def features(config, K):
    """How many features."""
    return Hypothesis(f"{_NUMBERS.get(K, K)} features", f"K = {K}", f"K = {config.features}", config.features == K)


_NUMBERS = {2: "two", 3: "three"}


def even_features(config):
    """Features in equally many patches, as the paper has them: a list, empty where it goes without saying."""
    if config.patch_counts is None:
        return []
    return [Hypothesis("features in equally many patches", "k_1 = k_2 = ...", ", ".join(map(str, config.counts)),
                       len(set(config.counts)) == 1)]


def some_noise(config):
    """Noise in every view, without which the two views of a sample agree: a list, empty where there is some."""
    if config.noise_patches:
        return []
    return [Hypothesis("noise", "some", "no patch of a sample", False)]


# ---- together ----------------------------------------------------------------------------------

def of_frozen_neurons(config):
    """Those of the fates of eq. 14: a list of `Hypothesis`."""
    return [paper_objective(config), head_from_identity(config), *even_features(config), *some_noise(config)]


def of_symmetric_head(config):
    """Those of the laws of a symmetric head, eqs. 39 to 41: a list of `Hypothesis`."""
    symmetric = Hypothesis("a symmetric head", "head symmetric", f"head {config.head}", config.head == "symmetric")
    return [paper_objective(config), symmetric, neurons(config, 2), features(config, 2), *even_features(config),
            *some_noise(config)]


def of_two_neurons(config):
    """Those of the derived laws of two neurons, eqs. 18 to 29: a list of `Hypothesis`."""
    return [paper_objective(config), trained_head(config), features(config, 2), *even_features(config),
            neurons(config, 2), *some_noise(config)]
