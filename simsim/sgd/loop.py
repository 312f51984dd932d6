"""The loop of SGD: one step for S runs at once, whatever the engine, the objective and the head.

Shapes: S runs, m neurons, K features. A single run is S = 1.
"""

import math
from dataclasses import dataclass

import numpy as np

from simsim import heads, network, objectives, population, target
from simsim.sgd.engine import Engine
from simsim.sgd.gram import Gram
from simsim.sgd.literal import Literal
from simsim.sgd.optimiser import Optimiser

ENGINES = {"gram": Gram, "sgd": Literal}


class TrainingError(ArithmeticError):
    """Training cannot go on: says which neuron, at which step of which run, and what to do."""


@dataclass
class State:
    """S runs after `step` updates. The loop updates it in place: copy what you keep.

    head : (S, m, m)
    batch_loss : (S,) the loss of the batch that the last step saw; nan before the first
    head_velocity : (S, m, m) the head's momentum, 0 at the start and where it has none
    """

    engine: Engine
    head: np.ndarray
    batch_loss: np.ndarray
    step: int = 0
    head_velocity: np.ndarray | None = None

    def __post_init__(self):
        if self.head_velocity is None:
            self.head_velocity = np.zeros_like(self.head)

    @property
    def overlaps(self):
        """<w_j, v_l>, (S, m, K)."""
        return self.engine.overlaps[:, self._rows(0)]

    @property
    def gram(self):
        """<w_i^perp, w_j^perp>, (S, m, m)."""
        return self.engine.gram[:, self._rows(0), self._rows(0)]

    @property
    def target_overlaps(self):
        """The overlaps of what view 2 goes through, (S, m, K): the target, or else the weights."""
        return self.engine.overlaps[:, self._rows(self.engine.target)]

    @property
    def target_gram(self):
        """Its Gram matrix, (S, m, m)."""
        return self.engine.gram[:, self._rows(self.engine.target), self._rows(self.engine.target)]

    @property
    def arrays(self):
        """By name, the arrays that a run goes on from, to be written in place."""
        velocity = {"head_velocity": self.head_velocity} if self.engine.config.head_momentum else {}
        rows = {f"weights_{name}": array for name, array in self.engine.arrays.items()}
        return {"head": self.head, **velocity, **rows}

    def _rows(self, block):
        m = self.head.shape[1]
        return slice(block * m, block * m + m)


def start(configs, at=None):
    """The State of runs of these configs, which differ in their seeds alone, before the first step.

    With `at`, a `simsim.State`, all of them start there.
    """
    E = np.stack([heads.from_config(config).start() for config in configs])
    state = State(ENGINES[configs[0].engine](configs), E, np.full(len(E), np.nan))
    if at is not None:
        at.require_fits(configs[0])
        S = len(configs)
        state.engine.place(*(np.repeat(part[None], S, axis=0) for part in (at.a, at.factor())))
        state.head[...] = at.E
    return state


def iterate(state, optimiser=None, stops=None):
    """Yield `state`, a `State`, then the same object after each further step, up to the `steps` of its config.

    optimiser : optimiser.Optimiser, optional; the config's own
    stops : ascending steps, optional; of those after `state.step` it is yielded at these alone, and the last is the end

    Raises
    ------
    TrainingError
        An output does not vary over a batch of some run, or something is not finite.
    """
    config = state.engine.config
    objective, head = objectives.from_config(config), heads.from_config(config)
    optimiser, stops = optimiser or Optimiser(config), range(1, config.steps + 1) if stops is None else stops
    yield state
    for stop in stops:
        if stop > state.step:
            with np.errstate(all="ignore"):  # what overflows is found, and named
                while state.step < stop:
                    _advance(state, objective, head, optimiser)
                _require_finite(state)
            yield state


def _advance(state, objective, head, optimiser):
    """One step of the blocks along dL/dW, and of E along what the head follows of dL/dE, or E by its rule."""
    engine, config = state.engine, state.engine.config
    unit = 1.0 if objective.batch_norm else config.sigma ** (2 * config.power)  # of C; with batch norm the loss has none
    C = engine.moments(state.step)
    if unit != 1:
        C = C * unit
    if head.set_from is not None and np.isfinite(C).all():
        varies = C[:, :config.m, :config.m].any(axis=(1, 2))
        if not varies.all():
            _refuse(state, C, varies, 0.0)
        state.head[...] = head.set_from(C[:, :config.m, :config.m])
    losses, grad = objective.loss_and_grad(C, state.head)
    variances = C.diagonal(0, -2, -1)
    smallest = network.usable_sizes(float)[0] if objective.batch_norm else 0.0
    if not (math.isfinite(np.vdot(losses, losses) + np.vdot(variances, variances)) and min(variances.flat) >= smallest):
        good = np.isfinite(losses) & ((variances >= smallest) & (variances < math.inf)).all(axis=1)
        if not good.all():  # a sum of squares may overflow where no number has
            _refuse(state, C, good, smallest)
    A, b = optimiser.step(state.step)
    engine.descend(grad.mixing, A, b if unit == 1 else b * unit)
    optimiser.move_head(state.step, state.head, state.head_velocity, head.direction, grad.E)
    state.step, state.batch_loss = state.step + 1, losses
    if not objective.batch_norm and config.closed_form:
        _require_finite_loss(state)


def _refuse(state, C, good, smallest):
    """Raise the TrainingError of the first run that is not `good` (S,), from the second moments C (S, 2m, 2m).

    Weights that are not finite, which the step before may have left, spoil the moments of this one: they are named first.
    """
    _require_finite(state)
    run, m = int(np.argmin(good)), state.head.shape[1]
    C, E = C[run], state.head[run]
    # Of the outputs in view 1, of which one that is not finite spoils all predictions; of these; of their targets.
    for variances in (C.diagonal()[:m], np.sum(E @ C[:m, :m] * E, axis=1), C.diagonal()[m:]):
        for neuron, variance in enumerate(variances, 1):
            if not math.isfinite(variance):
                raise _training_error(state, run, network.NOT_FINITE if state.step else network.AT_ONCE, neuron)
            if variance <= 0:
                raise _training_error(state, run, _why_constant(state, run, neuron - 1), neuron)
            if variance < smallest:
                raise _training_error(state, run, network.TOO_SMALL, neuron)
    raise _training_error(state, run, "the loss is not finite; use a smaller lr or head_lr, or weaker features")


def _why_constant(state, run, neuron):
    """Why an output of variance 0, or the prediction made for it, does not vary over the batch, and what helps."""
    weights = np.concatenate([state.overlaps[run, neuron], [np.sqrt(max(state.gram[run, neuron, neuron], 0.0))]])
    if not weights.any():
        return "it has no weights, and its output is 0; the start must give it some"
    if not state.head[run, neuron].any():
        return f"row {neuron + 1} of the head is 0, and predicts nothing; the start must give it an entry"
    config = state.engine.config
    sizes = np.abs(weights) * [*config.scaled_alphas, 1]
    if sizes.max() ** (2 * config.power) < np.finfo(float).tiny:
        return network.TOO_SMALL
    return network.CONSTANT


def _require_finite(state):
    """Raise TrainingError if the square of a neuron's weights, or of its head, is not finite."""
    arrays = [*state.engine.arrays.values(), state.head]
    if not math.isfinite(sum([np.vdot(array, array) for array in arrays])):
        S, m, _ = state.head.shape
        finite = [np.isfinite((array * array).sum(axis=2)).reshape(S, -1, m).all(axis=1) for array in arrays]
        good = np.all(finite, axis=0)  # (S, m)
        run = int(np.argmin(good.all(axis=1)))
        raise _training_error(state, run, "the weights are not finite any more; use a smaller lr or head_lr",
                              int(np.argmin(good[run])) + 1)


def _require_finite_loss(state):
    """Raise TrainingError if the loss of the new weights, with its sixth power for cubes, is beyond floating point."""
    own = state.engine.config, state.overlaps, state.gram, state.head
    good = np.isfinite(target.loss(*own, state.target_overlaps, state.target_gram) if state.engine.target else
                       population.loss(*own))
    if not good.all():
        _require_finite(state)
        raise _training_error(state, int(np.argmin(good)), "the loss of the new weights is beyond floating point; "
                              "use a smaller lr or head_lr, or weaker features")


def _training_error(state, run, problem, neuron=None):
    """A TrainingError that says where: which neuron, if that is known, at which step of which run."""
    config = state.engine.configs[run]
    where = "" if neuron is None else f"neuron {neuron}, "
    return TrainingError(f"{where}step {state.step}: {problem} (seed {config.seed}, init_seed {config.init_seed})")
