"""What a user brings as an object: it works everywhere up to the report, or is refused by name."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from gradient_check import complex_step, largest_error

from simsim import (Config, ConfigError, NotARunError, State, Trajectory, check_theorems, draw_views, flow, heads, laws,
                    loss_and_grad, network, objectives, plots, population, rates, simulate, simulate_many, sweep)
from simsim.report.hypotheses import drift
from simsim.sweeps.grid import GridError

SMALL = Config(m=2, d=12, batch_size=64, steps=30, feature_patches=4, alpha_ratio=3.0, sigma=0.7, lr=1e-3, head_lr=1e-3,
               init_seed=1)


@dataclasses.dataclass(frozen=True)
class Whitening(objectives.Objective):
    """sum_j gap_j + strength ||V11 - I||_F^2: a function of all second moments, with a parameter of its own."""

    strength: float = 0.5

    stops, head = False, "frozen"

    def of(self, V, gap):
        m = V.shape[-1] // 2
        dV = np.zeros(V.shape, V.dtype) + objectives.gap_weights(m)
        off = V[..., :m, :m] - np.eye(m)
        dV[..., :m, :m] += 2 * self.strength * off
        return gap.sum(-1) + self.strength * (off * off).sum((-2, -1)), dV


class Fourth(objectives.OfCorrelations):
    """sum_j (1 - c_jj)^2: of correlations alone, so that the flow knows it."""

    needs_batch_norm = True

    def of_correlations(self, misfit, c):
        return (misfit**2).sum(-1), -2 * misfit


OWN = [Whitening(False), Whitening(True, False, 2.0), Whitening(False, False), Fourth(True), Fourth(False)]
BUILT_IN = [objectives.make(name, stop, batch_norm) for name in ("vicreg", "spectral") for stop in (True, False)
            for batch_norm in (True, False)]


def definition(objective, W, E, W_target, X1, X2):
    """The loss sample by sample, from outputs, written again; the target's weights given apart."""
    F, G = (((X @ weights.T) ** 3).sum(axis=1) for X, weights in ((X1, W), (X2, W_target)))
    F = F @ E.T
    if objective.batch_norm or isinstance(objective, objectives.VICReg):
        F, G = F - F.mean(axis=0), G - G.mean(axis=0)
    if objective.batch_norm:
        F, G = F / np.sqrt((F * F).mean(axis=0)), G / np.sqrt((G * G).mean(axis=0))
    N, m = F.shape
    gap, off = ((F - G) ** 2).mean(axis=0).sum(), ~np.eye(m, dtype=bool)
    C11, C22 = F.T @ F / N, G.T @ G / N
    if isinstance(objective, Whitening):
        return gap + objective.strength * ((C11 - np.eye(m)) ** 2).sum()
    if isinstance(objective, Fourth):
        return ((1 - (F * G).mean(axis=0)) ** 2).sum()
    if isinstance(objective, objectives.Spectral):
        pairs = F @ G.T  # every sample with every other, and with itself
        return -2 * (F * G).mean(axis=0).sum() + (pairs**2).mean()
    short = sum((1 - std)[std.real < 1].sum() for std in (np.sqrt(C.diagonal() + 1e-4) for C in (C11, C22)))
    return 25 * gap + 25 / m * short + ((C11[off] ** 2).sum() + (C22[off] ** 2).sum()) / m


def state(objective, m=3, seed=0):
    """Weights, head and views whose outputs vary by about 1, so that no term of a loss drowns the others."""
    rng = np.random.default_rng([seed, m])
    config = Config(m=m, d=10, batch_size=40, feature_patches=4, alpha_ratio=2.0)
    W, E, (X1, X2) = rng.standard_normal((m, 10)) / 3, np.eye(m) + 0.3 * rng.standard_normal((m, m)), draw_views(config, rng)
    sizes = ((X1 @ W.T) ** 3).sum(axis=1).std(axis=0)
    return W * (np.linspace(0.7, 1.3, m) / sizes)[:, None] ** (1 / 3), E, X1, X2


@pytest.mark.parametrize("objective", OWN + BUILT_IN, ids=str)
@pytest.mark.parametrize("m", [1, 2, 3])
def test_loss_and_gradient_against_the_definition(objective, m):
    """The chain patch by patch and the chain from moments, against complex steps through the definition."""
    W, E, X1, X2 = state(objective, m)
    loss, grad = loss_and_grad(W, E, X1, X2, objective=objective)
    by_W = lambda x: definition(objective, x, E, W if objective.stop_gradient else x, X1, X2)
    by_E = lambda x: definition(objective, W, x, W, X1, X2)
    assert loss == pytest.approx(by_W(W), rel=1e-12)
    assert largest_error(by_W, W, grad.W, complex_step) < 1e-11 and largest_error(by_W, W, 1.001 * grad.W, complex_step) > 1e-4
    if m > 1 or not objective.batch_norm:
        assert largest_error(by_E, E, grad.E, complex_step) < 1e-11
    f = [((X @ W.T) ** 3).sum(axis=1) for X in (X1, X2)]
    from_moments = objective.loss_and_grad(objectives.second_moments(*f, objective.centred), E)
    assert from_moments[0] == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(from_moments[1].E, grad.E, atol=1e-12 * (1 + np.abs(grad.E).max()))


@pytest.mark.parametrize("objective", OWN + BUILT_IN, ids=str)
def test_the_loss_of_the_population_is_that_of_a_large_batch(objective):
    """Both at sigma = 0.7, where units matter. 400,000 samples in 20 parts; five standard errors of their mean: 6e-7."""
    config = dataclasses.replace(SMALL, objective=objective, stop_gradient=None, batch_norm=None, batch_size=20_000)
    W, E, *_ = state(objective, 2)
    W = np.pad(W, ((0, 0), (0, 2)))
    losses = []
    for part in range(20):
        X1, X2 = draw_views(config, np.random.default_rng([7, part]))
        losses.append(network.chain(X1 @ W.T, X2 @ W.T, E, objective)[0])
    exact = population.loss(config, W[:, :2], population.gram_of(W[:, 2:]), E)
    error = np.std(losses, ddof=1) / np.sqrt(len(losses))
    assert abs(np.mean(losses) - exact) < 5 * error + 3 * abs(exact) / 20_000  # and the bias of batch norm and of squares, 1 / N
    assert abs(np.mean(losses) - 2 * exact) > 5 * error + 3 * abs(exact) / 20_000


@pytest.mark.parametrize("objective", [Whitening(False), Fourth(True), objectives.make("vicreg"), objectives.make("spectral")],
                         ids=str)
def test_an_object_goes_all_the_way(objective, tmp_path):
    run = simulate(SMALL, objective=objective, head="frozen")
    literal = simulate(dataclasses.replace(SMALL, engine="sgd"), objective=objective)
    assert run.config.objective is objective and run.config.batch_norm == objective.batch_norm and len(literal) == len(run)
    assert np.isfinite(run.loss).all() and abs(run.loss[-1] / run.batch_loss[-1] - 1) < 0.5  # 64 samples
    report = check_theorems(run)
    assert type(objective).__name__ in report.title and {check.verdict for check in report} <= {"OUTSIDE", "NOT REACHED"}
    assert any("the paper's objective" in check.wants for check in report)
    plots.phases(run)
    run.save(tmp_path / "run.npz")
    with pytest.raises(NotARunError, match=r"its objective is an object, .*give it, as in load\(path, objective=...\)"):
        Trajectory.load(tmp_path / "run.npz")
    with pytest.raises(NotARunError, match="its objective is .*, not "):
        Trajectory.load(tmp_path / "run.npz", objective=Whitening(False, True, 9.0))
    again = Trajectory.load(tmp_path / "run.npz", objective=objective)
    assert again.config == run.config and np.array_equal(again.overlaps, run.overlaps)


def test_an_object_is_the_same_as_its_name():
    named = simulate(dataclasses.replace(SMALL, objective="barlow", stop_gradient=None, barlow_lambda=0.3, head="symmetric"))
    given = simulate(SMALL, objective=objectives.make("barlow", barlow_lambda=0.3), head=heads.Symmetric(2))
    for name in ("overlaps", "gram", "head", "batch_loss", "loss"):
        assert np.array_equal(getattr(named, name), getattr(given, name), equal_nan=True), name
    many = simulate_many(SMALL, [0, 1], objective=objectives.make("barlow", barlow_lambda=0.3), head=heads.Symmetric(2))
    assert np.array_equal(many[0].overlaps, given.overlaps) and not np.array_equal(many[1].overlaps, given.overlaps)


def test_the_flow_takes_every_object_and_certifies_nothing():
    run = simulate(Config(engine="flow", d=50, t_max=1e4), objective=Fourth(True))
    assert run.status == flow.TIMED_OUT and not run.ended and np.isfinite(run.loss).all()
    class Same(objectives.SimSiam):
        """SimSiam by another name: what can be certified of the one is not known of the other."""

    named, own = (simulate(Config(engine="flow", d=50, t_max=1e12), objective=objective) for objective in ("simsiam", Same(True)))
    assert named.ended and not own.ended and named.time[-1] < own.time[-1] == pytest.approx(1e12)
    with pytest.raises(ConfigError, match="`t_max` = None .* cannot certify the end of an objective"):
        Config(engine="flow", objective=Fourth(True))
    with pytest.raises(ConfigError, match="`t_max` = None .* cannot certify"):
        Config(engine="flow", head=heads.Symmetric(2))
    for objective in (Whitening(False), Whitening(True, False, 2.0)):
        run = simulate(Config(engine="flow", d=50, t_max=1e4), objective=objective)
        assert run.status == flow.TIMED_OUT and not run.ended and run.loss[-1] < run.loss[0]
        verdicts = {check.claim: check.verdict for check in check_theorems(run)}
        bound = verdicts.pop("|E_21| <= sqrt(kappa/3) ||w_2(0)||")  # it is (13), which holds for every objective with batch norm
        assert set(verdicts.values()) <= {"OUTSIDE", "NOT REACHED"} and bound == ("PASS" if objective.batch_norm else "OUTSIDE")
        with pytest.raises(ConfigError, match="`t_max` = None .* cannot certify the end of an objective"):
            Config(engine="flow", objective=objective)
    assert np.isfinite(simulate(SMALL, objective=Whitening(False), head="frozen").growth.total).all()


def test_what_is_wrong_with_an_object_is_said_before_anything_runs():
    class Half(Fourth):
        def of_correlations(self, misfit, c):
            return (misfit**2).sum(-1), -misfit

    with pytest.raises(ConfigError, match="its derivative along a random direction is .*, and its loss changes by"):
        Config(objective=Half(True))

    class Lopsided(Whitening):
        def of(self, V, gap):
            loss, dV = super().of(V, gap)
            return loss, dV + np.triu(np.ones(dV.shape), 1)

    with pytest.raises(ConfigError, match="`of` must return a finite symmetric dV"):
        Config(objective=Lopsided(False))
    with pytest.raises(TypeError, match="Sneaky.slopes: it follows from `of`"):
        class Sneaky(objectives.OfCorrelations):
            def slopes(self, D, N, G, misfit=None):
                return 0.0, None
    with pytest.raises(ConfigError, match="`head` = .* it is for m = 3 neurons, and there are m = 2"):
        Config(head=heads.Symmetric(3))
    with pytest.raises(ConfigError, match="`batch_norm` = True .* the objective has False"):
        Config(objective=Whitening(False, False), batch_norm=True)
    for wrong in (Whitening, 3, ["simsiam"]):
        with pytest.raises(ConfigError, match="`objective` = "):
            Config(objective=wrong)


def test_a_sweep_takes_names_alone(tmp_path):
    """Its workers and its files know no objects; the refusal says so, and nothing is written."""
    for fields in ({"objective": Whitening(False)}, {"head": [heads.Symmetric(2)]}):
        with pytest.raises(GridError, match="is an object.*simulate_many"):
            sweep({"d": 12, "steps": 5, **fields}, tmp_path / "out", seeds=[0])
    assert not (tmp_path / "out").exists()


def test_rates_are_measured_of_names_alone():
    with pytest.raises(ValueError, match="its objective is an object, .* use `simulate_many`"):
        rates.measure(dataclasses.replace(SMALL, objective=Fourth(True)), 2)


def test_measured_rates_are_not_those_of_an_object():
    from simsim import rates
    assert rates.lookup(Config()) is not None
    assert rates.lookup(Config(objective=objectives.make("simsiam"))) is None


# ---- what an object must not be silent about -------------------------------------------------------------------

class OneWay(heads.Head):
    """E_12 is trained alone, and E_21 is 1/2 for good."""

    def start(self):
        return np.array([[1.0, 0.0], [0.5, 1.0]])

    def direction(self, dE):
        return np.triu(dE, 1)


class SlowDiagonal(heads.Head):
    def direction(self, dE):
        return dE * (1 - 0.9 * np.eye(self.m))


@pytest.mark.parametrize("head, constants", [(OneWay(2), 1), (SlowDiagonal(2), 2), (heads.Head(2), 2),
                                             (heads.FreeDiagonal(2), 4)])
def test_what_a_head_conserves_is_conserved(head, constants):
    """The flow itself holds its constants to 1e-4, and raises FlowError where one drifts."""
    run = simulate(Config(d=20, engine="flow", t_max=1e4, alpha_ratio=3.0, lr=1.0, head_lr=1.0, init_seed=5), head=head)
    moved = drift(run)
    assert moved.shape[1] == constants and np.abs(moved).max() < flow.DRIFT_LIMIT
    assert np.ptp(run.head, axis=0).max() > 0.01


class Total(objectives.Objective):
    def of(self, V, gap):
        return gap.sum(), objectives.gap_weights(V.shape[-1] // 2)


class Shaped(objectives.Objective):
    """A loss for each neuron."""

    def of(self, V, gap):
        return gap, objectives.gap_weights(V.shape[-1] // 2)


class Mixing(objectives.Objective):
    """One loss for each V, by way of the others."""

    def of(self, V, gap):
        m = V.shape[-1] // 2
        return gap.sum(-1) - gap.mean(), (1 - 1 / gap[..., 0].size) * objectives.gap_weights(m)


class Nothing(objectives.Objective):
    def of(self, V, gap):
        return None


class Hinge(objectives.Objective):
    """Its hinge has the wrong sign, below a variance of 1 alone."""

    def of(self, V, gap):
        m = V.shape[-1] // 2
        v = np.diagonal(V, axis1=-2, axis2=-1)
        dV = np.zeros(V.shape)
        np.einsum("...jj->...j", dV)[...] = 1.0 * (v < 1)
        return np.maximum(1 - v, 0).sum(-1) + gap.sum(-1), dV + objectives.gap_weights(m)


@pytest.mark.parametrize("objective, words", [
    (Total(True), "one finite loss of type float64 for each V"), (Shaped(True), "one finite loss of type float64 for each V"),
    (Mixing(True), "another dV for a V in a stack"), (Nothing(True), "`of` must return a pair"),
    (Hinge(True, False), "its loss changes by")])
def test_an_objective_is_a_loss_for_each_state_of_a_stack(objective, words):
    with pytest.raises(ConfigError, match=words):
        Config(objective=objective)


def test_correlations_without_batch_norm_are_refused():
    """They would be SimSiam, the mean square of F - G, under another name."""
    with pytest.raises(ConfigError, match="is made of normalised outputs"):
        Config(objective=Plain(True, False))
    Config(objective=Plain(True))


class Plain(objectives.OfCorrelations):
    def of_correlations(self, misfit, c):
        return 7 * (misfit**3).sum(-1), -21 * misfit**2


@dataclass(frozen=True)
class Stops(heads.Head):
    moves: bool = True


@dataclass(frozen=True)
class Centred(objectives.Objective):
    centres: bool = False

    def of(self, V, gap):
        return gap.sum(-1), objectives.gap_weights(V.shape[-1] // 2)


class Copy(heads.Head):
    def set_from(self, C11):
        return np.eye(self.m) + 0 * C11


@pytest.mark.parametrize("options, words", [
    (dict(head=Stops(2, moves=False)), "`moves` is what its class says of all"),
    (dict(objective=Centred(True, False, True)), "`centres` is what its class says of all"),
    (dict(head=Copy(2)), "its class must say moves = False")])
def test_what_a_class_says_is_no_field_of_one(options, words):
    with pytest.raises(ConfigError, match=words):
        Config(**options)


class Hidden(Plain):
    def __init__(self, weight):
        super().__init__(True)
        object.__setattr__(self, "weight", weight)


@pytest.mark.parametrize("saved, other", [(1, 5), (np.ones(2), np.ones(2) + 1e-10)])
def test_an_object_is_known_by_all_that_it_holds(tmp_path, saved, other):
    run = simulate(Config(d=12, batch_size=16, steps=2), objective=Hidden(saved))
    run.save(tmp_path / "run.npz")
    Trajectory.load(tmp_path / "run.npz", objective=Hidden(saved))
    with pytest.raises((ValueError, NotARunError), match="its objective is Hidden"):
        Trajectory.load(tmp_path / "run.npz", objective=Hidden(other))


def test_eq_18_is_about_a_head_that_is_drawn():
    start = State.start(Config())
    for head in ("frozen", "directcopy", SlowDiagonal(2)):
        with pytest.raises(ValueError, match="eq. 18 is about another setting"):
            laws.temptation(Config(head=head), start.a, start.noise_norms)
    assert laws.temptation(Config(head="symmetric"), start.a, start.noise_norms) == laws.temptation(
        Config(), start.a, start.noise_norms)


class DiagonalAlone(heads.Head):
    def direction(self, dE):
        return dE * np.eye(self.m)


def test_a_head_whose_diagonal_alone_moves_keeps_the_rest():
    """In the flow as in SGD: nothing makes an E symmetric that does not move off its diagonal."""
    E = np.array([[1, 0.5], [0.3, 1]])
    for options in dict(engine="flow", t_max=1.0), dict(batch_size=64, steps=20):
        config = Config(d=20, lr=0.01, head_lr=0.01, head=DiagonalAlone(2), **options)
        run = simulate(config, start=dataclasses.replace(State.start(config), E=E))
        off = run.head * (1 - np.eye(2))
        np.testing.assert_allclose(off, np.broadcast_to(off[0], off.shape), rtol=4 * np.finfo(float).eps)  # coordinates are rounded
        assert np.ptp(run.head[:, 0, 0]) > 0
