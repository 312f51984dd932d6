"""What theorems and laws rest on, asked of a Config: a report shows it, and a law refuses what it is not about.

Each is a `Hypothesis`. Lists of them are closed (`closed`): an option that departs from the paper, and that
neither a hypothesis in the list nor the law itself takes into account, breaks them.
"""

from dataclasses import dataclass

import numpy as np

from simsim import heads, objectives

STARTS_ALIKE = 1e-12  # by which a head may miss its start

# What a law may leave open, as names of options: it takes them into account, or holds whatever they are.
HEAD = ("head", "head_scale", "head_diagonal")
NOTHING = 1e-50  # an overlap, or noise, whose sixth power is no number any more
DATA = ("features", "frequencies", "patch_counts")
OBJECTIVE = ("objective", "stop_gradient", *objectives.PARAMETERS)


@dataclass(frozen=True)
class Hypothesis:
    """What a theorem asks for, this run's own figure, and whether it holds: True, False, or None where nobody knows.

    `options` names the options of Config whose values it judges.
    """

    name: str
    asked: str
    figure: str
    holds: bool | None
    options: tuple = ()

    def __post_init__(self):
        if self.holds is not None:  # what NumPy compares is a bool of its own, which JSON does not know
            object.__setattr__(self, "holds", bool(self.holds))

    @property
    def words(self):
        """What is asked and what is here, whether it holds or not."""
        return f"{self.name}: {self.asked} asked, {self.figure} here"

    def __str__(self):
        return self.words + (": NOT KNOWN" if self.holds is None else "" if self.holds else ": DOES NOT HOLD")


def closed(config, *own, free=()):
    """The hypotheses `own`, and a broken one for every departure from the paper that they leave out.

    free : names of the options that a law takes into account, or that it does not depend on
    """
    known = {*free, *(option for one in own for option in one.options)}
    unknown = known - {*config.to_dict()}
    if unknown:
        raise ValueError(f"hypotheses speak of options that there are not: {', '.join(sorted(unknown))}")
    return [*own, *(Hypothesis(_name(config, name), _value(paper), _value(value), False, (name,))
                    for name, (paper, value) in config.deviations().items() if name not in known)]


def _name(config, name):
    """What a hypothesis on this option is called."""
    return config.__dataclass_fields__[name].metadata.get("hypothesis", f"the paper's {name}")


def _value(value):
    """An option's value in words; None is what stands for the same value for every feature."""
    if value is None:
        return "all alike"
    return ", ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)


def broken(hypotheses):
    """Those that do not hold."""
    return [one for one in hypotheses if one.holds is not None and not one.holds]


def hold(hypotheses):
    """Whether none of them is known to fail."""
    return not broken(hypotheses)


def require(law, hypotheses):
    """ValueError where `law`, an equation of docs/theory.md in words, is asked about what it does not speak of."""
    if not hold(hypotheses):
        verb = "are" if law.startswith("eqs.") else "is"
        raise ValueError(f"{law} {verb} about another setting: " + "; ".join(one.words for one in broken(hypotheses)))


# ---- objectives ----------------------------------------------------------------------

def paper_objective(config):
    """The loss (3) of docs/theory.md."""
    return objective(config, "simsiam", stop_gradient=True)


def objective(config, name, stop_gradient):
    """The objective of that name, with batch norm."""
    own = (config.objective, config.batch_norm, config.stop_gradient) == (name, True, stop_gradient)
    which = "the paper's objective" if (name, stop_gradient) == ("simsiam", True) else "the objective"
    return Hypothesis(which, _in_words(name, True, stop_gradient), objective_in_words(config), own,
                      ("batch_norm", *OBJECTIVE))


def aligned_views(config):
    """Correlations c_jj alone, that is, SimSiam or the naive objective, with or without stop-gradient."""
    return Hypothesis("two views aligned", "simsiam or naive, with batch norm", objective_in_words(config),
                      config.objective in ("simsiam", "naive") and config.batch_norm, ("batch_norm", *OBJECTIVE))


def batch_norm(config):
    """What eq. 12 of docs/theory.md rests on, whatever function of normalised outputs the objective is."""
    return Hypothesis("batch norm", "yes", "yes" if config.batch_norm else "no", config.batch_norm, ("batch_norm",))


def objective_in_words(config):
    """The objective of a Config and its flags."""
    made = objectives.from_config(config)
    weights = ", ".join(f"{name.split('_')[-1]} = {value:g}" if isinstance(value, float) else f"{name} = {value}"
                        for name, value in made.parameters.items())
    name = config.objective if isinstance(config.objective, str) else f"an object of {type(made).__name__}"
    return _in_words(name + (f" ({weights})" if weights else ""), config.batch_norm, config.stop_gradient)


def _in_words(name, batch_norm, stop_gradient):
    name = "SimSiam" if name == "simsiam" else name
    return f"{name}, {'' if batch_norm else 'no '}batch norm, {'' if stop_gradient else 'no '}stop-gradient"


# ---- heads -----------------------------------------------------------------------------

def trained_head(config):
    """E = I at the start, the diagonal fixed, the rest following its gradient."""
    figure = f"head {config.head}" + (", head_lr = 0" if config.head_lr == 0 and config.head_kind.moves else "")
    return Hypothesis("the paper's head", "from I, trained off the diagonal", figure,
                      config.head == "trained" and config.head_is_trained, HEAD)


def head_of_kind(config, kind, name):
    """A head of another kind, called `name`."""
    return Hypothesis(name, f"head {kind}", f"head {config.head}", config.head == kind, HEAD)


def head_from_identity(config):
    """E = I at the start, however it moves then."""
    return Hypothesis("a head that starts at I", "yes", f"head {config.head}", heads.starts_at_identity(config), HEAD)


def head_s_start(config, E):
    """That the head starts at E (m, m) where its kind does, as every law of it has it: a list, empty where that is so."""
    own = heads.from_config(config)
    if own.set_from is not None or np.allclose(E, own.start(), rtol=0, atol=STARTS_ALIKE):
        return []
    return [Hypothesis("the head's own start", f"as head {config.head} has it", "E given otherwise", False, ("head",))]


def some_of_all(overlaps, noise_norms):
    """That every neuron has some of each feature and of the noise, (m, K) and (m,), as laws count from: a list, empty where so."""
    for j, sizes in enumerate(zip(*np.transpose(overlaps), noise_norms), 1):
        least = int(np.argmin(np.abs(sizes)))
        if abs(sizes[least]) < NOTHING:
            what = [*(f"v_{l + 1}" for l in range(len(sizes) - 1)), "the noise"][least]
            return [Hypothesis("a start with some of all", "no overlap of a neuron 0, nor its noise",
                               f"neuron {j} has nothing of {what}", False, ("init_seed",))]
    return []


# ---- sizes and data ------------------------------------------------------------------------

def neurons(config, m):
    """How many neurons."""
    return Hypothesis(f"{_NUMBERS.get(m, m)} neurons", f"m = {m}", f"m = {config.m}", config.m == m, ("m",))


def features(config, K):
    """How many features."""
    return Hypothesis(f"{_NUMBERS.get(K, K)} features", f"K = {K}", f"K = {config.features}", config.features == K,
                      ("features",))


_NUMBERS = {2: "two", 3: "three"}


def even_features(config):
    """Features in equally many patches, as the paper has them: a list, empty where it goes without saying."""
    if config.patch_counts is None:
        return []
    return [Hypothesis("features in equally many patches", "k_1 = k_2 = ...", ", ".join(map(str, config.patches_by_feature)),
                       len(set(config.patches_by_feature)) == 1, ("patch_counts",))]


def some_noise(config):
    """Noise in every view, without which the two views of a sample agree: a list, empty where there is some."""
    if config.noise_patches:
        return []
    return [Hypothesis("noise", "some", "no patch of a sample", False)]


# ---- together ----------------------------------------------------------------------------------

def of_frozen_neurons(config):
    """Those of the fates of eq. 14, any neurons and features: a list of `Hypothesis`."""
    return closed(config, paper_objective(config), head_from_identity(config), *even_features(config),
                  *some_noise(config), free=("m", "features", "frequencies"))


def of_cubes_of_noise(config):
    """Those of what is made of moments of cubes of Gaussian noise, and asks for nothing else: a list of `Hypothesis`."""
    return closed(config, free=[name for name in config.to_dict() if name not in ("power", "data")])


def of_conserved_norms(config):
    """Those of eq. 13 for each neuron, whatever the data and the power: a list of `Hypothesis`."""
    return closed(config, batch_norm(config), trained_head(config), free=("m", "power", "data", *OBJECTIVE, *DATA))


def of_symmetric_head(config):
    """Those of the laws of a symmetric head, eqs. 39 to 41: a list of `Hypothesis`."""
    return closed(config, paper_objective(config), head_of_kind(config, "symmetric", "a symmetric head"),
                  neurons(config, 2), features(config, 2), *even_features(config), *some_noise(config),
                  free=("frequencies",))


def of_two_neurons(config):
    """Those of the derived laws of two neurons, eqs. 18 to 29: a list of `Hypothesis`."""
    return closed(config, paper_objective(config), trained_head(config), features(config, 2), *even_features(config),
                  neurons(config, 2), *some_noise(config), free=("frequencies",))
