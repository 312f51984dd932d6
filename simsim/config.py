"""What a run is: one frozen, validated dataclass.

Everything else is generated from `Config`: the command line, the files a run
writes, and the refusals. Each field carries its option group, its help text
and the rule it must obey, so no second list of the same options exists.
"""

import copy
import dataclasses
import difflib
import functools
import html
import json
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simsim import activation, heads, memory, objectives
from simsim import data as data_laws
from simsim.data import mask_moments, moments_by_feature
from simsim.heads import HEADS
from simsim.objectives import OBJECTIVES
from simsim.schedules import SCHEDULES

if TYPE_CHECKING:  # what an option may be; `_checked` tells kinds apart by the class on the other side
    AnObjective = str | objectives.Objective
    AHead = str | heads.Head
    AData = str | data_laws.Law
    Floats = tuple[float, ...] | None
    Counts = tuple[int, ...] | None
    MaybeFloat = float | None
    MaybeInt = int | None
else:
    AnObjective = AHead = AData = str
    Floats, Counts, MaybeFloat, MaybeInt = tuple, tuple, float, int

# Default learning rates, in the problem's own units: the strong overlap
# alpha_1 a / sigma moves by LR_SCALE per unit gradient whatever the strength.
LR_SCALE = 0.19
KAPPA = 1.0  # head_lr / lr, at the edge of the theorem's slow heads

# The documented starts (docs/usage.md) by alpha_ratio, hand-picked so that SGD with one step size passes through
# all four phases, and the flow at the same kappa as well. Other ratios take the start of 20.
STARTS = {20.0: 7424612, 5.0: 5667764, 3.0: 251950, 2.0: 982267}
DEFAULT_START = STARTS[20.0]

MAX_DIMENSION = 10**12
MAX_COUNT = 10**9  # of patches, neurons, steps, samples: beyond reach anyway
MAX_FEATURES = 1000  # every pair of them is looked at
MAX_LOGGED = 10**7  # rows of a trajectory
MAX_SEED = 2**128 - 1  # what `secrets.randbits(128)` gives, NumPy's advice for seeds
SLOWEST = 1e-300  # lr, below which numbers lose their digits
STRENGTHS = 1e-20, 1e20  # of features and noise, and of features over noise: their sixth powers stay finite
KAPPAS = 1e-50, 1e50  # of a flow with a head: rates and times stay finite
DECIDED = {"strengths": ("alpha_ratio", "alpha_weak"), "patch_counts": ("feature_patches",)}  # by options of more detail
FREQUENCY_ROUNDING = 1e-9  # by which frequencies may miss a sum of 1

HEAD_TERMS = ("head_decay", "head_momentum", "head_lr_schedule")  # of the optimiser
ABSENT = dict.fromkeys(("optimizer", "optimiser"), "the optimiser is SGD, with weight_decay, momentum, target_momentum "
                       "and lr_schedule; Adam is no linear map of the gradient, and engine gram would not be exact")
DTYPES = ("float64", "float32")
OBJECTS = objectives.Objective, heads.Head, data_laws.Law  # kinds of what an option may hold in place of a name


def documented_start(ratio):
    """The initial seed that a run at this alpha_ratio has unless told otherwise: picked for it, or else for 20."""
    return next((seed for picked, seed in STARTS.items() if math.isclose(ratio, picked)), DEFAULT_START)


class ConfigError(ValueError):
    """A value that cannot work: names the option, the value and what is allowed."""

    def __init__(self, option, value, allowed):
        super().__init__(option, value, allowed)
        self.option, self.value, self.allowed = option, value, allowed

    def __str__(self):
        return f"`{self.option}` = {self.value!r} is not possible: {self.allowed}"


class Judged(NamedTuple):
    """Said of an option that the paper leaves open: `by` names what takes its value into account."""

    by: str


class Neutral(NamedTuple):
    """Said of an option that no claim depends on; `why` not."""

    why: str


def _option(default: Any, group: str, symbol: str | None, help: str, *, paper: Any, **rule: Any) -> Any:
    """A dataclass field with its option group, symbol, help text and rule, and what the paper says of it.

    `paper` is the value that the paper's theorems are about, or `Judged` or `Neutral`. It has no default, so that a
    new option cannot be judged by theorems that do not know it: whatever departs from the paper, and is not taken
    into account by a claim, puts the claim OUTSIDE (`premises.closed`). `later=True` says that there were files before
    the option: at its default it stays out of the keys by which they know their runs (`in_use`).
    """
    return dataclasses.field(default=default,
                             metadata={"group": group, "symbol": symbol, "help": help, "paper": paper, **rule})


@dataclass(frozen=True, kw_only=True)
class Config:
    """A run: data, network, training. Immutable, and valid once constructed.

    Parameters are the fields below; `python -m simsim.run --help` prints them
    with their meaning. `lr`, `head_lr`, `head`, `stop_gradient`, `batch_norm` and `init_seed` left at None
    are replaced by the documented rule (docs/usage.md), so that `config.lr` is
    always a number; `dataclasses.replace` therefore keeps them, unless told
    `lr=None` as well. `strengths` decide `alpha_ratio` and `alpha_weak`, `patch_counts`
    decide `feature_patches`, the most of them.

    Raises
    ------
    ConfigError
        A `ValueError` naming the field, the value and what is allowed.

    >>> from simsim import Config
    >>> config = Config(m=2, alpha_ratio=20.0)
    >>> config.lr == config.head_lr, config.alphas
    (True, (20.0, 1.0))
    """

    alpha_ratio: float = _option(20.0, "data", "R", "strength of the strongest feature over the weakest", least=1,
                                 most=STRENGTHS[1], paper=Judged("few neurons for the ratio"))
    alpha_weak: float = _option(1.0, "data", "A", "strength alpha_K of the weakest feature", least=STRENGTHS[0],
                                most=STRENGTHS[1], paper=Judged("few neurons for the ratio"))
    features: int = _option(2, "data", "K", "number of features; their strengths are log-spaced", least=1,
                            most=MAX_FEATURES, paper=2)
    strengths: Floats = _option(None, "data", "A1,..,AK", "strengths of the features one by one, strongest first, in "
                               "place of alpha_ratio and alpha_weak", least=STRENGTHS[0], most=STRENGTHS[1],
                               paper=Judged("few neurons for the ratio"))
    frequencies: Floats = _option(None, "data", "P1,..,PK", "probability with which a sample shows each feature "
                                 "[all alike]", above=0, most=1, paper=None)
    d: int = _option(50, "data", "D", "dimension of a patch", least=3, most=MAX_DIMENSION, paper=Judged("a large d"))
    patches: int = _option(8, "data", "P", "patches P in a sample; even, half of them go to each view", least=2,
                           most=MAX_COUNT, paper=Neutral("any constants will do, and laws are made of the moments of eq. 4"))
    feature_patches: int = _option(7, "data", "K", "patches k of a sample that carry its feature; "
                                 "at least 2, or the two views never share one", least=2,
                                 paper=Neutral("any constants will do, and laws are made of the moments of eq. 4"))
    patch_counts: Counts = _option(None, "data", "K1,..,KK", "patches that carry the feature, feature by feature, in place "
                                  "of feature_patches", least=2, whole=True, paper=None)
    sigma: float = _option(1.0, "data", "S", "standard deviation of the noise patches", least=STRENGTHS[0],
                           most=STRENGTHS[1], paper=Neutral("strengths count in units of it"))
    data: AData = _option("gaussian", "data", None, "law of the noise patches, in units of sigma", choices=data_laws.LAWS,
                        kind=data_laws.Law, paper="gaussian", later=True)

    m: int = _option(2, "network", "M", "number of neurons", least=1, most=MAX_COUNT, paper=2)
    power: int = _option(activation.CUBIC, "network", "P", "the activation is z -> z^P; odd", least=1, most=activation.LARGEST,
                         paper=activation.CUBIC, hypothesis="the cubic activation", later=True)
    head: AHead = _option(None, "network", None, "prediction head E: how it starts and how it moves "
                        "[trained for simsiam, else frozen]", choices=HEADS, kind=heads.Head, paper="trained")
    head_scale: float = _option(1.0, "network", "S", "standard deviation of the entries of a random head", least=0,
                                most=STRENGTHS[1], paper=1.0)
    head_diagonal: str = _option("fixed", "network", None, "diagonal of a random head: fixed at 1, or free, random "
                                 "and trained like the rest", choices=heads.DIAGONALS, paper="fixed")

    objective: AnObjective = _option("simsiam", "objective", None, "simsiam: the head's prediction of the other view; "
                             "naive: the two views, without head or stop-gradient; barlow: their correlations made "
                             "the identity; vicreg: the two views, with variances and covariances held; spectral: the "
                             "contrastive loss of all pairs", choices=OBJECTIVES, kind=objectives.Objective, paper="simsiam")
    stop_gradient: bool = _option(None, "objective", None, "train the target's branch too "
                                  "[stop-gradient for simsiam, else none]", paper=True)
    batch_norm: bool = _option(None, "objective", None, "outputs as they are, not normalised over the batch",
                               paper=True)
    barlow_lambda: float = _option(objectives.BARLOW_LAMBDA, "objective", "X", "barlow: weight of the correlations "
                                   "off the diagonal", least=0, most=STRENGTHS[1], paper=objectives.BARLOW_LAMBDA)
    vicreg_invariance: float = _option(25.0, "objective", "X", "vicreg: weight of the distance of the two views", least=0,
                                       later=True, most=STRENGTHS[1], paper=25.0)
    vicreg_variance: float = _option(25.0, "objective", "X", "vicreg: weight of what standard deviations lack of 1", least=0,
                                     later=True, most=STRENGTHS[1], paper=25.0)
    vicreg_covariance: float = _option(1.0, "objective", "X", "vicreg: weight of the covariances off the diagonal", least=0,
                                       later=True, most=STRENGTHS[1], paper=1.0)

    engine: str = _option("gram", "training", None, "gram: SGD exact in law, at a cost that d does not enter; "
                          "sgd: literal SGD, every noise patch a vector in R^d; "
                          "flow: infinite batch, step size to zero, integrated", choices=tuple(memory.ENGINES),
                          paper=Neutral("the theorems are about SGD, its laws about the flow, and gram has the law of SGD"))
    steps: int = _option(10_000, "training", "N", "number of SGD steps", least=1, most=MAX_COUNT,
                         paper=Neutral("what a run is too short for is NOT REACHED"))
    batch_size: int = _option(3072, "training", "N", "fresh samples N per step", least=3, most=MAX_COUNT,
                              paper=Judged("a large batch"))
    lr: float = _option(None, "training", "ETA", "learning rate eta of the weights [0.19 (sigma / alpha_1)^2]", above=0,
                        least=SLOWEST,
                        paper=Judged("a small step"))
    head_lr: float = _option(None, "training", "ETA_E", "learning rate eta_E of the head; 0 holds it still [lr: kappa = 1]",
                             least=0, paper=Judged("a slow head"))
    seed: int = _option(0, "training", "S", "seed of the samples", least=0, most=MAX_SEED,
                        paper=Neutral("the samples are any"))
    init_seed: int = _option(None, "training", "S", "seed of the initial weights [hand-picked starts: "
                             + ", ".join(f"{seed} at alpha_ratio {ratio:g}" for ratio, seed in STARTS.items()) + "]",
                             least=0, most=MAX_SEED, paper=Judged("a small start"))
    dtype: str = _option("float64", "training", None, "precision of the samples and of the network", choices=DTYPES,
                         paper=Neutral("rounding is far below the noise of a batch"))
    weight_decay: float = _option(0.0, "training", "X", "weight decay: the weights shrink by lr * X a step", least=0,
                                  most=STRENGTHS[1], paper=0.0, later=True)
    head_decay: float = _option(0.0, "training", "X", "weight decay of the trained entries of the head, by head_lr * X "
                                "a step", least=0, most=STRENGTHS[1], paper=0.0, later=True)
    momentum: float = _option(0.0, "training", "MU", "heavy-ball momentum of the weights", least=0, below=1,
                              paper=0.0, later=True)
    head_momentum: float = _option(0.0, "training", "MU", "heavy-ball momentum of the head", least=0, below=1,
                                   paper=0.0, later=True)
    target_momentum: float = _option(0.0, "training", "TAU", "view 2 goes through a target of its own, which follows "
                                     "the weights: TAU of the target and 1 - TAU of the weights, after each step; "
                                     "0: through the weights", least=0, most=1, paper=0.0, later=True)
    lr_schedule: str = _option("constant", "training", None, "lr over the steps: constant, or half a cosine to 0",
                               choices=SCHEDULES, paper="constant", later=True)
    head_lr_schedule: str = _option("constant", "training", None, "head_lr over the steps", choices=SCHEDULES,
                                    paper="constant", later=True)
    t_max: MaybeFloat = _option(None, "training", "T", "flow: time at which to stop [until the end is certain]", above=0,
                           paper=Neutral("what a flow is too short for is NOT REACHED"))
    log_every: MaybeInt = _option(None, "training", "N", "log every so many steps [log-spaced steps]", least=1,
                             paper=Neutral("what is logged, not what happens"))

    def __new__(cls, **values):
        _require_known(cls, values)
        return super().__new__(cls)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            object.__setattr__(self, field.name, _checked(field, value))
        self._resolve()
        self._check_frequencies()
        self._check_together()
        self._check_order()
        self._check_objective()
        self._check_data()
        self._check_power()
        self._check_optimiser()
        self._check_kappa()

    def _resolve(self):
        """Replace what was left at None, and let the strengths decide what follows from them."""
        for decisive, decided in DECIDED.items():
            if getattr(self, decisive) is not None:
                self._check_one_by_one(decisive, decided)
        for name, value in self._rules().items():
            if getattr(self, name) is None or any(name in decided for decided in DECIDED.values()):
                object.__setattr__(self, name, _checked(self.__dataclass_fields__[name], value))

    def _rules(self):
        """What options are if they are not given, where that depends on others."""
        kind, own = objectives.kind_of(self.objective), isinstance(self.objective, objectives.Objective)
        batch_norm = self.objective.batch_norm if own else True
        raw = not (batch_norm if self.batch_norm is None else self.batch_norm)
        lr = LR_SCALE * (self.sigma / self.alpha_strong) ** 2 * (kind.raw_pace if raw else kind.pace)
        rules = {"lr": lr, "head_lr": KAPPA * (lr if self.lr is None else self.lr), "head": kind.head, "batch_norm": batch_norm,
                 "stop_gradient": self.objective.stop_gradient if own else kind.stops,
                 "init_seed": documented_start(self.alphas[0] / self.alphas[-1])}
        if self.strengths is not None:
            rules |= {"alpha_ratio": self.strengths[0] / self.strengths[-1], "alpha_weak": self.strengths[-1]}
        if self.patch_counts is not None:
            rules["feature_patches"] = max(self.patch_counts)
        return rules

    def _check_one_by_one(self, decisive, decided):
        """Rules of an option that has a value for each feature, and decides others."""
        values = getattr(self, decisive)
        if len(values) != self.features:
            raise ConfigError(decisive, values, f"it must have as many as features = {self.features}")
        if decisive == "strengths" and sorted(values, reverse=True) != list(values):
            raise ConfigError(decisive, values, "the strongest must come first")
        if decisive == "strengths" and values[0] > STRENGTHS[1] * values[-1]:
            raise ConfigError(decisive, values, f"the first must be at most {STRENGTHS[1]:g} times the last")
        for name in decided:
            given, value = getattr(self, name), self._rules()[name]
            if given not in (type(self).__dataclass_fields__[name].default, value):
                raise ConfigError(name, given, f"{decisive} = {values} make it {value:g}; leave it at its default")

    def _check_frequencies(self):
        if self.frequencies is None:
            return
        if len(self.frequencies) != self.features:
            raise ConfigError("frequencies", self.frequencies, f"it must have as many as features = {self.features}")
        total = math.fsum(self.frequencies)
        if abs(total - 1) > FREQUENCY_ROUNDING:
            raise ConfigError("frequencies", self.frequencies, "they must sum to 1, to nine digits, and sum to "
                              f"{total:.10g}")

    def _check_order(self):
        """The first feature is the one that is learned first."""
        if sorted(self.effective_alphas, reverse=True) == list(self.effective_alphas):
            return
        name = "frequencies" if self.patch_counts is None else "patch_counts"
        raise ConfigError(name, getattr(self, name), "the feature with the largest effective strength must come first, "
                          f"and they have {', '.join(f'{alpha:.4g}' for alpha in self.effective_alphas)} "
                          "(docs/theory.md, section 6)")

    def _check_objective(self):
        """Rules that join the objective, its flags and the head."""
        name, kind = self.objective, objectives.kind_of(self.objective)
        if isinstance(name, objectives.Objective):
            self._check_object()
        if kind.strict and self.stop_gradient != kind.stops:
            raise ConfigError("stop_gradient", self.stop_gradient, "it is part of what objective "
                              f"{name} is that it has {'some' if kind.stops else 'none'}")
        if kind.strict and self.head != kind.head and self.head_kind is not heads.KINDS[kind.head]:
            raise ConfigError("head", self.head, f"objective {name} has head {kind.head}")
        if kind.needs_batch_norm and not self.batch_norm:
            raise ConfigError("batch_norm", self.batch_norm, f"objective {name} is made of normalised outputs")
        if self.head == "random" and self.head_diagonal == "fixed" and self.head_scale == 0:
            raise ConfigError("head_scale", self.head_scale, "without entries off the diagonal a random head is head trained")
        if self.head_diagonal != "fixed" and self.head != "random":
            raise ConfigError("head_diagonal", self.head_diagonal, f"head {self.head} has its own; "
                              "it is an option of head random")
        if isinstance(self.head, heads.Head) and self.head.m != self.m:
            raise ConfigError("head", self.head, f"it is for m = {self.head.m} neurons, and there are m = {self.m}")
        for option, declared in ("objective", objectives.DECLARED), ("head", heads.DECLARED):
            said = [name for name in declared if name in getattr(getattr(self, option), "__dict__", ())]
            if said:
                raise ConfigError(option, getattr(self, option), f"`{said[0]}` is what its class says of all, no field of one")
        if isinstance(self.head, heads.Head) and self.head.set_from is not None and self.head.moves:
            raise ConfigError("head", self.head, "it is set from the outputs, so its class must say moves = False")
        if self.clock == "time":
            self._check_flow(kind)

    def _check_flow(self, kind):
        """Rules of an objective and a head whose flow is to be followed."""
        try:
            objectives.require_flow(objectives.from_config(self), self.m)
        except ValueError as error:
            raise ConfigError("objective", self.objective, f"engine flow: {error}") from None
        own = isinstance(self.objective, objectives.Objective) or isinstance(self.head, heads.Head)
        if self.t_max is None and (own or not objectives.ends_are_known(kind)):
            whose = "an objective or a head that is not its own" if own else f"objective {self.objective}"
            raise ConfigError("t_max", None, f"engine flow cannot certify the end of {whose}: say when to stop")
        if self.t_max is None and len(set(self.patch_counts or [])) > 1 and heads.from_config(self).set_from is not None:
            raise ConfigError("t_max", None, f"engine flow cannot certify the end of head {self.head} where features are in "
                              "different numbers of patches: say when to stop")

    def _check_object(self):
        """Rules of an Objective given as an object: it has flags of its own."""
        for flag in ("stop_gradient", "batch_norm"):
            if getattr(self, flag) != getattr(self.objective, flag):
                raise ConfigError(flag, getattr(self, flag), f"the objective has {getattr(self.objective, flag)}")
        try:
            objectives.require_derivative(self.objective, self.m)
        except ValueError as error:
            raise ConfigError("objective", self.objective, str(error)) from None

    def _check_data(self):
        """Rules of a law of samples that is given as an object."""
        if not isinstance(self.data, data_laws.Law):
            return
        if not self.data.closed and self.engine != "sgd":
            raise ConfigError("data", self.data, f"engine {self.engine} is derived for Gaussian noise, scaled or not "
                              "(data.Scaled); engine sgd takes any law, but loss, shares and correlations then have no closed form")
        try:
            if self.data.scaled:
                data_laws.require_moments(self.data, self.power)
            if self.engine == "sgd":
                data_laws.require_noise(self.data, self.d - self.features)
        except ValueError as error:
            raise ConfigError("data", self.data, str(error)) from None

    def _check_power(self):
        """The sign of a sample must be seen, and the flow's gradient is that of the cube."""
        if self.power % 2 == 0:
            raise ConfigError("power", self.power, "it must be odd: an even power does not see the sign of a sample, outputs have "
                              "means, and the closed forms are others (`loss_and_grad` of a batch takes any)")
        if self.clock == "time" and self.power != activation.CUBIC:
            raise ConfigError("power", self.power, f"engine flow has the gradient of power {activation.CUBIC} (docs/theory.md, "
                              "eqs. 7 to 10); engines gram and sgd take any odd one")

    def _check_optimiser(self):
        """Rules that join the terms of the optimiser to the rates, to the objective and to the engine."""
        for decay, rate in ("weight_decay", "lr"), ("head_decay", "head_lr"):
            if getattr(self, decay) * getattr(self, rate) >= 1:
                raise ConfigError(decay, getattr(self, decay), f"{decay} * {rate} must be below 1, for a step shrinks "
                                  f"by so much; {rate} = {getattr(self, rate):.3g}")
        if self.target_momentum and not self.stop_gradient:
            raise ConfigError("target_momentum", self.target_momentum, "a target of its own needs stop-gradient, for "
                              f"it follows no gradient; objective {self.objective} here has none")
        if self.clock == "time":
            self.require_plain_sgd("engine flow")

    def _check_together(self):
        """Rules that join two options."""
        if self.patches % 2:
            raise ConfigError("patches", self.patches, "it must be even, for each view takes exactly half")
        carriers = "feature_patches" if self.patch_counts is None else "patch_counts"
        if self.feature_patches > self.patches:
            raise ConfigError(carriers, getattr(self, carriers), f"it must be at most patches = {self.patches}")
        if self.clock == "time" and self.stands_still:
            raise ConfigError(carriers, getattr(self, carriers), f"engine flow needs it below patches = {self.patches}: "
                              "without noise both views are the same, and with "
                              f"{'one neuron' if self.m == 1 else f'head {self.head}'} nothing moves")
        if self.d < self.m + self.features:
            raise ConfigError("d", self.d, f"it must be at least m + features = {self.m + self.features}")
        if self.alpha_strong > STRENGTHS[1]:
            raise ConfigError("alpha_ratio", self.alpha_ratio,
                              f"alpha_ratio * alpha_weak must be at most {STRENGTHS[1]:g}")
        if self.scaled_alphas[0] > STRENGTHS[1] or self.scaled_alphas[-1] < STRENGTHS[0]:
            raise ConfigError("sigma", self.sigma, f"alpha_weak / sigma must be at least {STRENGTHS[0]:g}, "
                              f"and alpha_ratio * alpha_weak / sigma at most {STRENGTHS[1]:g}")
        if self.log_every and self.steps // self.log_every > MAX_LOGGED:
            raise ConfigError("log_every", self.log_every, f"it would log more than {MAX_LOGGED} steps")
        self._check_memory()

    def _check_memory(self):
        """Refuse what does not fit, by the name of the option that decides."""
        excess = memory.excess(self)
        if excess:
            raise ConfigError(excess.option, getattr(self, excess.option), excess.words)

    def _check_kappa(self):
        """The flow has no lr and head_lr, only their ratio; SGD takes any."""
        if self.clock == "time" and self.head_is_trained and not KAPPAS[0] <= self.kappa <= KAPPAS[1]:
            raise ConfigError("lr", self.lr, f"engine flow needs kappa = head_lr / lr, here {self.kappa:.3g}, "
                              f"from {KAPPAS[0]:g} to {KAPPAS[1]:g}")

    def bytes_needed(self) -> int:
        """Memory that the run needs, in bytes, roughly: the engine's, and the log's."""
        return memory.of_engine(self) + memory.of_log(self)

    def reseeded(self, seed: int, init_seed: int | None) -> "Config":
        """This config with other seeds, by a short way: no rule joins them to other options, so only they are checked."""
        other = copy.copy(self)
        for name, value in (("seed", seed), ("init_seed", self._rules()["init_seed"] if init_seed is None else init_seed)):
            object.__setattr__(other, name, _checked(self.__dataclass_fields__[name], value))
        return other

    @property
    def alpha_strong(self) -> float:
        """Strength alpha_1 of the strongest feature."""
        return self.alphas[0]

    @functools.cached_property
    def alphas(self) -> tuple[float, ...]:
        """(alpha_1, .., alpha_K), the strengths in the order of every array's feature axis."""
        if self.strengths is not None:
            return self.strengths
        strong = self.alpha_ratio * self.alpha_weak
        between = np.geomspace(strong, self.alpha_weak, self.features)[1:-1]
        return (strong, *between.tolist(), *(self.alpha_weak,) * (self.features > 1))

    @functools.cached_property
    def scaled_alphas(self) -> tuple[float, ...]:
        """(alpha_1, .., alpha_K) / sigma: under batch norm the loss is scale free, so nothing else of them matters."""
        return tuple(alpha / self.sigma for alpha in self.alphas)

    @functools.cached_property
    def effective_alphas(self) -> tuple[float, ...]:
        """alpha_l / sigma times (K p_l mu12_l / mu12)^(1/6): what a feature's strength amounts to while noise prevails.

        With another power of the activation 1/6 is 1 / (2 power). p_l is its frequency and mu12_l the moment of the mask
        with its number of patches, mu12 with `feature_patches`.
        With features that are as frequent and take up as many patches as each other these are the `scaled_alphas`
        (docs/theory.md, section 6).
        """
        if self.frequencies is None and self.patch_counts is None:
            return self.scaled_alphas
        often = self.shares_of_samples
        seen = moments_by_feature(self)[1] / mask_moments(self.patches, self.feature_patches)[1]
        return tuple((np.array(self.scaled_alphas) * (self.features * often * seen) ** (1 / (2 * self.power))).tolist())

    @property
    def shares_of_samples(self) -> np.ndarray:
        """(K,) the probability with which a sample shows each feature."""
        return np.full(self.features, 1 / self.features) if self.frequencies is None else np.array(self.frequencies)

    @property
    def patches_by_feature(self) -> tuple[int, ...]:
        """(k_1, .., k_K), how many patches of a sample carry each feature."""
        return self.patch_counts or (self.feature_patches,) * self.features

    @property
    def noise_patches(self) -> int:
        """The most noise patches that a sample has."""
        return self.patches - min(self.patches_by_feature)

    @property
    def stands_still(self) -> bool:
        """Whether nothing moves in the flow: without noise views agree, as a head at I is to make them, and no more.

        Nor does a single neuron under batch norm, whatever its head.
        """
        if self.noise_patches:
            return False
        only_alike = self.objective in ("simsiam", "naive") or (self.objective == "barlow" and self.barlow_lambda == 0)
        return self.m == 1 and self.batch_norm or heads.starts_at_identity(self) and only_alike

    @property
    def clock(self) -> str:
        """What tells how far a run has gone: "step" for SGD, "time" for the flow, which takes no steps."""
        return "time" if self.engine == "flow" else "step"

    @functools.cached_property
    def closed_form(self) -> bool:
        """Whether loss, shares and correlations of an infinite batch are known: not so of a law of samples of one's own."""
        return data_laws.from_config(self).closed

    @property
    def head_is_trained(self) -> bool:
        """Whether some part of the head follows the gradient."""
        return self.head_kind.moves and self.head_lr > 0

    @property
    def head_kind(self) -> type[heads.Head]:
        """The class of the head."""
        return heads.kind_of(self.head)

    @property
    def centred(self) -> bool:
        """Whether the second moments that the objective sees are about the means of the outputs."""
        return self.batch_norm or objectives.kind_of(self.objective).centres

    @property
    def blocks(self) -> tuple[str, ...]:
        """What a run of SGD keeps, each m rows in R^d: "weights", and a "target" and a "momentum" where it has them."""
        return ("weights", *("target",) * (self.target_momentum > 0), *("momentum",) * (self.momentum > 0))

    @property
    def optimiser(self) -> dict[str, Any]:
        """{name: value} of the terms of the optimiser in use: what departs from plain SGD at constant rates."""
        return {name: value for name, (_, value) in self.deviations().items()
                if self.__dataclass_fields__[name].metadata["group"] == "training"}

    def require_plain_sgd(self, who: str) -> None:
        """ConfigError where a term of the optimiser is in use, of which `who` knows nothing."""
        for name, value in self.optimiser.items():
            raise ConfigError(name, value, f"{who} follows the gradient alone, at constant rates; engines gram and sgd "
                              "have such a term")

    def without_effect(self) -> dict[str, str]:
        """{name: why} of the options whose value changes nothing here, given or not."""
        idle = {}
        kind = objectives.KINDS[self.objective] if isinstance(self.objective, str) else None
        own = {field.name for field in dataclasses.fields(kind)} if kind else set()
        for name in objectives.PARAMETERS:
            if name not in own:
                idle[name] = f"objective {self.objective} has none"
            elif self.batch_norm and name in objectives.kind_of(self.objective).at_rest:
                idle[name] = "under batch norm every standard deviation is 1"
        if self.head != "random":
            idle["head_scale"] = f"head {self.head} is not random"
        if not self.head_kind.moves:
            idle |= dict.fromkeys(("head_lr", *HEAD_TERMS), f"head {self.head} does not follow its gradient")
        elif not self.head_lr:
            idle |= dict.fromkeys(HEAD_TERMS, "head_lr = 0 holds the head still")
        return idle

    @property
    def picked_for(self) -> float | None:
        """The ratio for which these initial weights were picked (docs/usage.md, "The start"), or None if they were not."""
        sizes = (self.m, self.d, self.features) == tuple(
            type(self).__dataclass_fields__[name].default for name in ("m", "d", "features"))
        return next((ratio for ratio, seed in STARTS.items() if seed == self.init_seed and sizes), None)

    @property
    def hand_picked(self) -> bool:
        """Whether the start is a documented one, for the data that it was picked for: seed, sizes, strengths, patches."""
        usual = all(getattr(self, name) == type(self).__dataclass_fields__[name].default
                    for name in ("patches", "feature_patches"))
        usual = usual and not {"frequencies", "patch_counts", "data", "power"} & {*self.deviations()}
        return usual and self.picked_for is not None and np.allclose(self.scaled_alphas, (self.picked_for, 1.0))

    def deviations(self) -> dict[str, tuple[Any, Any]]:
        """{name: (the paper's value, the value here)} of the options that have a value in the paper, and another here.

        What counts is what they mean: options without effect are left out, and so is what is given feature by feature
        but alike for all of them.
        """
        idle, found = self.without_effect(), {}
        for field in dataclasses.fields(self):
            paper, value = field.metadata["paper"], getattr(self, field.name)
            alike = paper is None and isinstance(value, tuple) and len(set(value)) == 1
            if not isinstance(paper, (Judged, Neutral)) and value != paper and not alike and field.name not in idle:
                found[field.name] = (paper, value)
        return found

    @property
    def kappa(self) -> float:
        """eta_E / eta, the head's speed relative to the weights' (docs/theory.md, section 1)."""
        return self.head_lr / self.lr

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain Python values, ready for JSON but for an objective or a head that is an object."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def to_json(self) -> str:
        """`to_dict` as JSON; an object is written as its class and all that it holds, {"object": ..}."""
        return json.dumps(self.to_dict(), default=lambda value: {"object": _told(value)})

    @classmethod
    def from_json(cls, text: str, **objects: Any) -> "Config":
        """The inverse of `to_json`: `objects` by field, for those that no file can bring back.

        Raises ValueError for an object that is missing, or that is another, ConfigError as ever.
        """
        values = json.loads(text)
        for name, value in values.items():
            if isinstance(value, dict) and "object" in value:
                if name not in objects:
                    raise ValueError(f"its {name} is an object, {value['object']}, which no file can bring back: "
                                     f"give it, as in load(path, {name}=...)")
                given = _told(objects[name]) if isinstance(objects[name], OBJECTS) else repr(objects[name])
                if given != value["object"]:
                    raise ValueError(f"its {name} is {value['object']}, not {given}")
        return cls.from_dict({**values, **objects})

    def objects(self) -> dict[str, Any]:
        """{name: object} of the fields that hold an object, in place of a name or a number: no file can bring it back."""
        return {name: value for name, value in self.to_dict().items() if isinstance(value, OBJECTS)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """The inverse of `to_dict`; an unknown field is a ConfigError that names it."""
        return cls(**values)

    def _repr_html_(self):
        """The fields, those that differ from the defaults in bold, for notebooks."""
        changed = self.changes()
        cells = "".join(f"<tr><td>{name}</td><td>{'<b>' * (name in changed)}{html.escape(str(value))}"
                        f"{'</b>' * (name in changed)}</td></tr>" for name, value in self.to_dict().items())
        return f"<table><tr><th>option</th><th>value</th></tr>{cells}</table>"

    def changes(self) -> dict[str, Any]:
        """The fields that differ from the defaults, as a dict: a short name for a run."""
        usual = {**type(self)().to_dict(), **self._rules()}
        return {name: value for name, value in self.to_dict().items() if value != usual[name]}

    def command(self) -> str:
        """The line that makes this run; ValueError where an object is in it, which no command line names."""
        if self.objects():
            raise ValueError(f"no command line names an object: {', '.join(self.objects())}")
        given = {name: value for name, value in self.changes().items() if name not in self.without_effect()}
        return " ".join(["python -m simsim.run", *(as_typed(name, value) for name, value in given.items())])


@functools.cache
def switches():
    """{name: what it sets} of the options without a value: what is off unless asked for is switched on, all else off."""
    return {field.name: field.default is False for field in dataclasses.fields(Config) if field.type is bool}


def flag(name):
    """`--name` of an option on the command line, or `--no-name` of a switch that turns something off."""
    return ("--" if switches().get(name, True) else "--no-") + name.replace("_", "-")


def as_typed(name, value):
    """An option as it stands on the command line: its flag, and its value unless it is a switch."""
    if name in switches():
        return flag(name)
    words = ",".join(map(_number, value)) if isinstance(value, tuple) else _number(value) if isinstance(value, float) else str(value)
    return f"{flag(name)} {words}" if words else f"{flag(name)} ''"


def _number(value):
    """A number as short as it goes without another value."""
    return f"{value:.12g}" if float(f"{value:.12g}") == value else repr(value)


def _told(made):
    """The class of an object and all that it holds, to the last digit, whether its `repr` tells it or not.

    So are the constants of a class that is not of this package: its parameters may be there.
    """
    own = [kind for kind in reversed(type(made).__mro__) if kind.__module__.partition(".")[0] != __name__.partition(".")[0]]
    constants = {name: value for kind in own for name, value in vars(kind).items()
                 if not (name.startswith("_") or callable(value) or hasattr(value, "__get__"))}
    held = ", ".join(f"{name}={value.tolist() if isinstance(value, np.ndarray) else value!r}"
                     for name, value in {**constants, **vars(made)}.items())
    return f"{type(made).__qualname__}({held})"


def in_use(fields):
    """`fields`, a dict of options by name, without those that came later and are at their default.

    What a run is known by in files is made of these, so that a new option leaves known what was computed before it.
    """
    kinds = Config.__dataclass_fields__
    return {name: value for name, value in fields.items()
            if not (name in kinds and kinds[name].metadata.get("later") and value == kinds[name].default)}


def _require_known(cls, values):
    """ConfigError for a name that is no field of `cls`: it names the nearest."""
    known = [field.name for field in dataclasses.fields(cls)]
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; {ABSENT[name]}" if name in ABSENT else f"; did you mean `{near[0]}`?" if near else ""
            raise ConfigError(name, value, f"there is no such option{hint}")


def _checked(field, value):
    """`value` as the field's own type, or a ConfigError."""
    rule = field.metadata
    if "kind" in rule and isinstance(value, rule["kind"]):
        return value
    if "choices" in rule:
        if not isinstance(value, str) or value not in rule["choices"]:
            raise ConfigError(field.name, value, "choose from " + ", ".join(rule["choices"]))
        return str(value)
    if field.type in (bool, "bool"):
        if not isinstance(value, (bool, np.bool_)):
            raise ConfigError(field.name, value, "it must be True or False")
        return bool(value)
    if field.type in (tuple, "tuple"):
        if not isinstance(value, (list, tuple, np.ndarray)) or getattr(value, "shape", None) == () or not len(value):
            raise ConfigError(field.name, value, "it must be a tuple of numbers")
        return tuple(_checked_number(field, number) for number in value)
    return _checked_number(field, value)


def _checked_number(field, value):
    rule = field.metadata
    kind, wanted = (Integral, "an integer") if field.type in (int, "int") or "whole" in rule else (Real, "a number")
    if isinstance(value, bool) or not isinstance(value, kind):
        raise ConfigError(field.name, value, f"it must be {wanted}")
    try:
        value = int(value) if kind is Integral else float(value)
    except OverflowError:
        raise ConfigError(field.name, value, "it is too large") from None
    if kind is Real and not math.isfinite(value):
        raise ConfigError(field.name, value, "it must be finite")
    if "above" in rule and not value > rule["above"]:
        raise ConfigError(field.name, value, f"it must be above {rule['above']}")
    if "below" in rule and not value < rule["below"]:
        raise ConfigError(field.name, value, f"it must be below {rule['below']}")
    if "least" in rule and not value >= rule["least"]:
        raise ConfigError(field.name, value, f"it must be at least {rule['least']}")
    if "most" in rule and not value <= rule["most"]:
        raise ConfigError(field.name, value, f"it must be at most {rule['most']}")
    return value
