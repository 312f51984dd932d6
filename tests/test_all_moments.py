"""Objectives of all second moments in an infinite batch: the closed gradient (docs/theory.md, eqs. 61 to 63), and the flow."""

import dataclasses
import decimal
from dataclasses import dataclass

import numpy as np
import pytest
from gradient_check import complex_step, largest_error
from scipy.integrate import solve_ivp
from scipy.stats import t as student

from simsim import Config, ConfigError, draw_views, flow, measures, objectives, population, run, simulate, variant_laws
from simsim.initial import reduced_state
from simsim.network import loss_and_grad

FALSE_ALARM = 1e-6  # of a comparison with samples, were they others than those of the seed


@dataclass(frozen=True)
class Mixed(objectives.Objective):
    """Every block of V, cross part and both own parts, in a loss without symmetries: cubes, each with a weight of its own."""

    weight: float = 0.3

    stops, head = False, "frozen"

    def of(self, V, gap):
        m = V.shape[-1] // 2
        cubes = V * V * V * np.arange(1.0, 4 * m * m + 1).reshape(2 * m, 2 * m)
        cubes = (cubes + cubes.swapaxes(-1, -2)) / 2
        slopes = 3 * V * V * np.arange(1.0, 4 * m * m + 1).reshape(2 * m, 2 * m)
        loss = gap.sum(-1) + self.weight * cubes.sum((-2, -1))
        return loss, objectives.gap_weights(m) + self.weight * (slopes + slopes.swapaxes(-1, -2)) / 2


@dataclass(frozen=True)
class AsAll(objectives.Objective):
    """An objective of correlations, `kind`, as one of all moments: the same function by the longer way."""

    kind: str = "simsiam"

    def of(self, V, gap):
        return objectives.make(self.kind, self.stop_gradient, self.batch_norm).of(V, gap)


class Near(objectives.Objective):
    """A gap of each neuron's own weight: linear in V, so that one dV serves for a whole stack."""

    def of(self, V, gap):
        m = V.shape[-1] // 2
        weights = np.arange(1.0, m + 1)
        both = np.tile(weights, 2)
        return (weights * gap).sum(-1), np.sqrt(both[:, None] * both) * objectives.gap_weights(m)


FLAGS = [(stop, batch_norm) for stop in (True, False) for batch_norm in (True, False)]
OBJECTIVES = [*(objectives.make(name, *flags) for name in ("vicreg", "spectral") for flags in FLAGS),
              *(Mixed(*flags) for flags in FLAGS), *(Near(*flags) for flags in FLAGS)]
FOLLOWED = [one for one in OBJECTIVES if one.batch_norm or isinstance(one, (objectives.Spectral, Near))]
BOTH_FEATURES = [("vicreg", True, "frozen"), ("vicreg", True, "trained"), ("spectral", True, "frozen"),
                 ("spectral", False, "frozen"), ("spectral", False, "trained")]
UNEVEN = {"patch_counts": (5, 7, 4), "frequencies": (0.5, 0.3, 0.2)}


def config_of(objective, m=2, K=2, uneven=False, **more):
    data = {"feature_patches": 4}
    if uneven:
        frequencies = np.array(UNEVEN["frequencies"][:K]) / sum(UNEVEN["frequencies"][:K])
        data = {"patch_counts": UNEVEN["patch_counts"][:K], "frequencies": tuple(frequencies.tolist())}
    ratio = 3.0 if K > 1 else 1.0
    return Config(**{**dict(m=m, features=K, d=m + K + 2, alpha_ratio=ratio, alpha_weak=0.8, sigma=0.9, objective=objective,
                            head="trained", lr=1e-4, head_lr=1e-4), **data, **more})


def point(config, seed=0):
    """W (m, d) with outputs of variance 1/2, and a head far from I."""
    rng = np.random.default_rng([seed, config.m, config.features])
    W = rng.standard_normal((config.m, config.d))
    K = config.features
    sizes = population.output_covariance(config, W[:, :K], population.gram_of(W[:, K:])).diagonal()
    return W * (0.5 / sizes[:, None]) ** (1 / 6), np.eye(config.m) + 0.5 * rng.standard_normal((config.m, config.m))


def moments_by_definition(setting, B, sigma, B_t, sigma_t, E):
    """V of predictions and targets, before they are normalised, from answers and noise covariances."""
    C12 = (setting.h12 * B) @ B_t.T
    C = np.block([[setting.h11 * B @ B.T + sigma, C12], [C12.T, setting.h11 * B_t @ B_t.T + sigma_t]])
    m = len(E)
    T = np.block([[E, np.zeros((m, m))], [np.zeros((m, m)), np.eye(m)]])
    return T @ C @ T.T


def loss_by_definition(config, W, E, W_t):
    """The loss from second moments that are written out, analytic in W, E, and the target's W_t."""
    setting, objective, K = population.Setting.from_config(config), objectives.from_config(config), config.features

    def parts(W):
        Q = W[:, K:] @ W[:, K:].T
        q = np.diag(Q)
        return (setting.alpha * W[:, :K]) ** 3, setting.nu * (9 * np.outer(q, q) * Q + 6 * Q**3)

    V = moments_by_definition(setting, *parts(W), *parts(W_t), E)
    if objective.batch_norm:
        V = V / np.sqrt(np.outer(np.diag(V), np.diag(V)))
    else:
        V = setting.unit * V
    return objective.of(V, objectives.gaps(V))[0]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("uneven", [False, True], ids=["even", "uneven"])
@pytest.mark.parametrize("m, K", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (2, 3), (3, 3)])
def test_gradient_against_complex_steps(objective, uneven, m, K):
    config = config_of(objective, m, K, uneven)
    W, E = point(config)
    loss, grad = population.loss_and_grad(W, E, config)
    by_W = lambda x: loss_by_definition(config, x, E, W if objective.stop_gradient else x)
    by_E = lambda x: loss_by_definition(config, W, x, W)
    assert loss == pytest.approx(by_W(W), rel=1e-12)
    assert largest_error(by_W, W, grad.W, complex_step) < 1e-11 and largest_error(by_W, W, 1.001 * grad.W, complex_step) > 1e-4
    if m > 1 or not objective.batch_norm:
        assert largest_error(by_E, E, grad.E, complex_step) < 1e-11


@pytest.mark.parametrize("objective", [objectives.make("vicreg", vicreg_covariance=25.0), objectives.make("spectral", True),
                                       objectives.make("spectral", None, False), Mixed(False)], ids=str)
def test_gradient_of_a_million_samples(objective):
    """50 batches of 20,000, each twice itself less the mean of its halves, so that the bias is O(1/N^2). 5 % off is rejected."""
    config = config_of(objective, batch_size=20_000)
    W, E = point(config)
    loss, grad = population.loss_and_grad(W, E, config)
    expected = np.concatenate([[loss], grad.W.ravel(), grad.E.ravel()])
    rng, rows = np.random.default_rng(1), []
    for _ in range(50):
        X1, X2 = draw_views(config, rng)
        halves = slice(None), slice(0, 10_000), slice(10_000, None)
        whole, first, second = (np.concatenate([[loss], grad.W.ravel(), grad.E.ravel()]) for loss, grad in
                                (loss_and_grad(W, E, X1[part], X2[part], objective=objective) for part in halves))
        rows.append(2 * whole - (first + second) / 2)
    rows = np.array(rows)
    limit = student.isf(FALSE_ALARM / 2 / expected.size, len(rows) - 1) * rows.std(0, ddof=1) / np.sqrt(len(rows))
    assert (np.abs(rows.mean(0) - expected) <= limit + 1e-12).all()
    assert (np.abs(rows.mean(0) - 1.05 * expected) > limit).any()


@pytest.mark.parametrize("objective", [*OBJECTIVES, objectives.make("simsiam"), objectives.make("barlow")], ids=str)
@pytest.mark.parametrize("heads", [1, 3])
def test_a_stack_of_states_as_each_alone(objective, heads):
    """With a head for each, and with one for all."""
    config = config_of(objective)
    setting, rng = population.Setting.from_config(config), np.random.default_rng(0)
    a, U = rng.standard_normal((2, 3, 2, 2))
    E = np.eye(2) + 0.3 * rng.standard_normal((heads, 2, 2))
    together = population.gradient(a, U, E if heads > 1 else E[0], setting, objective)
    for row in range(3):
        alone = population.gradient(a[row], U[row], E[row % heads], setting, objective)
        for part, whole in zip(alone, together):
            np.testing.assert_allclose(whole[row], part, rtol=1e-12, atol=1e-13 * np.abs(part).max())


@pytest.mark.parametrize("kind, stop", [("simsiam", True), ("simsiam", False), ("barlow", False), ("barlow", True)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_an_objective_of_correlations_by_the_longer_way(kind, stop, batch_norm):
    """The same gradient, and the same flow."""
    if kind == "barlow" and not batch_norm:
        return
    for m, uneven in ((2, False), (3, True)):
        given = AsAll(stop, batch_norm, kind)
        config, named = (config_of(one, m, 2, uneven, head="trained") for one in (given, objectives.make(kind, stop, batch_norm)))
        W, E = point(config)
        (loss, grad), (other_loss, other) = (population.loss_and_grad(W, E, each) for each in (config, named))
        assert loss == pytest.approx(other_loss, rel=1e-13)
        for part, right in zip(grad, other):
            np.testing.assert_allclose(part, right, rtol=0, atol=1e-13 * np.abs(right).max())
        ends = [flow.follow_many(dataclasses.replace(each, engine="flow", d=100, t_max=1e3, lr=1.0, head_lr=1.0), range(3),
                                 certify=False) for each in (config, named)]
        assert all((end.verdict == flow.TIMED_OUT).all() for end in ends)
        np.testing.assert_allclose(ends[0].a, ends[1].a, rtol=1e-5)
        np.testing.assert_allclose(ends[0].E, ends[1].E, atol=1e-6)


# ---- digits ------------------------------------------------------------------------------

def plain_gradient(config, a, U, E, number):
    """dL/da, dL/dU, dL/dE of vicreg or spectral from second moments, every sum as it stands, in arithmetic of that number."""
    of = np.vectorize(number, otypes=[float if number is float else object])
    setting, objective, m = population.Setting.from_config(config), objectives.from_config(config), config.m
    a, U, E, alpha, h12, one = map(of, (a, U, E, setting.alpha, np.broadcast_to(setting.h12, setting.alpha.shape), np.eye(m)))
    h11, nu = number(setting.h11), number(setting.nu)
    B, Q, none = (alpha * a) ** 3, U @ U.T, 0 * one
    q = np.diag(Q)
    sigma = nu * (9 * np.outer(q, q) * Q + 6 * Q**3)
    C12 = (h12 * B) @ B.T
    C = np.block([[h11 * B @ B.T + sigma, C12], [C12.T, h11 * B @ B.T + sigma]])
    T = np.block([[E, none], [none, one]])
    V0 = T @ C @ T.T
    size = np.sqrt(np.diag(V0))
    V = V0 / np.outer(size, size)
    if isinstance(objective, objectives.Spectral):
        dV = np.block([[V[m:, m:], -one], [-one, V[:m, :m]]])
    else:
        off = 2 * number(objective.vicreg_covariance) / m * (of(np.ones((m, m))) - one)
        cross = -number(objective.vicreg_invariance) * one
        dV = np.block([[off * V[:m, :m], cross], [cross, off * V[m:, m:]]])
    on_raw = dV / np.outer(size, size) - np.diag((dV * V).sum(axis=1) / np.diag(V0))
    dC = T.T @ on_raw @ T
    target = 0 if objective.stop_gradient else 1
    on_noise = dC[:m, :m] + target * dC[m:, m:]
    on_B = 2 * (h11 * on_noise @ B + h12 * (dC[:m, m:] @ B) + target * h12 * (dC[m:, :m] @ B))
    on_Q = nu * (on_noise * (9 * np.outer(q, q) + 18 * Q**2) + one * (18 * (on_noise * Q * q).sum(axis=1)))
    return [part.astype(float) for part in (3 * alpha**3 * a**2 * on_B, 2 * on_Q @ U, 2 * (on_raw @ T @ C)[:m, :m])]


def nudged(x, rng):
    """x in decimals, each number by half a unit of its last digit up or down: nobody can know a state any better."""
    signs = rng.choice([-1, 1], x.shape)
    half = decimal.Decimal(2) ** -53
    return np.vectorize(lambda value, sign: decimal.Decimal(value) * (1 + half * int(sign)), otypes=[object])(x, signs)


def distances(parts, right):
    return np.array([np.linalg.norm(part - ref) / np.linalg.norm(ref) for part, ref in zip(parts, right)])


@pytest.mark.parametrize("objective, stop, head, m", [("vicreg", False, "frozen", 2), ("vicreg", False, "trained", 2),
                                                      ("spectral", False, "frozen", 2), ("spectral", True, "trained", 2),
                                                      ("vicreg", True, "trained", 3)])
def test_no_more_digits_are_lost_late_in_a_flow_than_the_state_has(objective, stop, head, m):
    """Against 80 digits, at times up to 1e9; the plain sums lose all digits of dL/da meanwhile.

    What is allowed is ten times what half a unit in the last digit of every number of the state does.
    """
    config = config_of(objective, m, stop_gradient=stop, head=head, engine="flow", d=100, sigma=1.0, alpha_weak=1.0, lr=1.0,
                       head_lr=1.0, t_max=1e9)
    setting, made = population.Setting.from_config(config), objectives.from_config(config)
    worst = 0
    for t in (1e3, 1e6, 1e9):
        out = flow.follow_many(dataclasses.replace(config, t_max=t), [0])
        state = out.a[0], out.U[0], out.E[0]
        rng = np.random.default_rng(0)
        with decimal.localcontext(prec=80):
            right = plain_gradient(config, *state, decimal.Decimal)
            known = distances(plain_gradient(config, *(nudged(part, rng) for part in state), decimal.Decimal), right)
        asked = slice(0, 2 if head == "frozen" else 3)  # the gradient of a head that is held is of no use
        lost = distances(population.gradient(*state, setting, made), right)
        assert (lost[asked] < 10 * known[asked] + 1e-14).all(), (t, lost, known)
        plain = distances(plain_gradient(config, *state, float), right)[0]
        worst = max(worst, plain / (10 * known[0] + 1e-14))
    assert worst > 1  # in plain floating point the same check fails


# ---- the flow ------------------------------------------------------------------------------

@pytest.mark.parametrize("objective", FOLLOWED, ids=str)
@pytest.mark.parametrize("head", ["frozen", "trained", "free-diagonal", "directcopy"])
def test_the_flow_against_another_integrator(objective, head):
    """SciPy's LSODA on the plain gradient, until overlaps have changed."""
    t_max = 1.2 if isinstance(objective, objectives.VICReg) else 30.0
    config = config_of(objective, d=50, engine="flow", head=head, lr=1.0, head_lr=1.0, t_max=t_max)
    equations, (a, U, E) = flow.Equations.from_config(config), flow.start_of(config)

    def field(_, y):
        a, U, E = y[:4].reshape(2, 2), y[4:8].reshape(2, 2), y[8:].reshape(2, 2)
        if equations.head.set_from:
            E = equations.head.set_from(population.output_covariance(config, a, U @ U.T) / config.sigma**6)
        grad = population.gradient(a, U, E, equations.setting, objective)
        return -np.concatenate([part.ravel() for part in (grad.a, grad.U, equations.head.direction(grad.E))])

    out = flow.integrate(equations, a[None], U[None], E[None], t_max=config.t_max)
    path = solve_ivp(field, (0, out.t[0]), np.concatenate([a.ravel(), U.ravel(), E.ravel()]), method="LSODA", rtol=1e-10,
                     atol=1e-13)
    assert out.verdict[0] == flow.TIMED_OUT
    np.testing.assert_allclose(path.y[:4, -1].reshape(2, 2), out.a[0], rtol=1e-4)
    assert np.abs(out.a[0] / a - 1).max() > 0.05


@pytest.mark.parametrize("objective, batch_norm, head", BOTH_FEATURES)
def test_both_features_are_learned_and_nothing_is_certified(objective, batch_norm, head):
    """Of 12 starts at ratio 3; a frozen head of SimSiam has 2 of 12, the control."""
    config = Config(engine="flow", objective=objective, batch_norm=batch_norm, head=head, d=100, alpha_ratio=3.0, lr=1.0,
                    head_lr=1.0, t_max=1e9)
    out = flow.follow_many(config, range(12))
    assert (out.verdict == flow.TIMED_OUT).all() and out.t == pytest.approx(1e9)
    assert out.owned.all(1).sum() >= 11 and out.drift.max() < 1e-5
    simsiam = {"objective": "simsiam", "stop_gradient": True, "batch_norm": True, "head": "frozen"}
    control = flow.follow_many(dataclasses.replace(config, **simsiam), range(12))
    assert control.owned.all(1).sum() <= 4


def test_a_trajectory_of_all_moments():
    """Its loss falls, its growth is that of its overlaps, and its parts are what they say."""
    path = simulate(Config(engine="flow", objective="spectral", d=50, alpha_ratio=3.0, lr=1.0, t_max=1e4, init_seed=3))
    assert (np.diff(path.loss) < 1e-9).all() and path.status == flow.TIMED_OUT
    setting = population.Setting.from_config(path.config)
    row = len(path) // 2
    state = path.state(row)
    grad = population.gradient(state.a, state.factor(), state.E, setting, objectives.from_config(path.config))
    whole = measures.growth(path.config, path.overlaps, path.gram, path.head)
    np.testing.assert_allclose(whole.total[row], -grad.a / state.a, rtol=1e-9, atol=1e-9 * np.abs(grad.a / state.a).max())
    quiet = measures.growth(path.config, state.a, 1e-12 * path.gram[row], state.E)
    assert np.abs(quiet.noise).max() < 1e-9 * np.abs(quiet.crossing).max()
    alike = measures.growth(path.config, np.tile(state.a[:1], (2, 1)), path.gram[row], np.eye(2))
    assert np.abs(alike.crossing).max() < 1e-12 * np.abs(alike.noise).max()


def test_vicreg_without_a_head_is_the_spectral_loss_with_another_weight():
    """Eq. 64 at E = I: L = const + l (spectral with covariances weighed by 2 nu / (m l)), for values and gradients."""
    weighed = objectives.make("vicreg", vicreg_invariance=3.0, vicreg_covariance=3.0)  # 2 nu / (m l) = 1 for m = 2
    config = config_of(weighed)
    W, _ = point(config)
    (loss, grad), (other_loss, other) = (population.loss_and_grad(W, np.eye(2), config_of(one)) for one in (weighed, "spectral"))
    np.testing.assert_allclose(grad.W, 3 * other.W, rtol=1e-11)
    moved, _ = point(config, 1)
    change = population.loss_and_grad(moved, np.eye(2), config)[0] - loss
    assert change == pytest.approx(3 * (population.loss_and_grad(moved, np.eye(2), config_of("spectral"))[0] - other_loss),
                                   rel=1e-11)


def test_when_vicreg_parts():
    """Eq. 65: of collapsed starts, the time at which the weak feature is learned, as (37) with another constant."""
    config = Config(engine="flow", objective="vicreg", head="frozen", d=10**4, alpha_ratio=20.0, feature_patches=4, lr=1.0,
                    t_max=1e16)
    seeds = range(8)
    out, law, other = flow.follow_many(config, seeds), [], []
    for seed in seeds:
        a, U = reduced_state(dataclasses.replace(config, init_seed=seed))
        law.append(variant_laws.vicreg_parting_time(config, a, np.linalg.norm(U, axis=1)))
        other.append(np.abs(a[:, 0]).min() < 0.02 / np.sqrt(config.d))  # these learn v_2 first, and never collapse
    ratio = (out.phases[:, flow.WEAK_LEARNED] / law)[~np.array(other)]
    ratio = ratio[np.isfinite(ratio)]
    assert ratio.size >= 6 and (ratio > 0.9).all() and (ratio < 1.001).all()


def test_eq_65_refuses_what_it_is_not_about():
    a, norms = np.array([[0.1, 0.01], [0.05, -0.02]]), np.ones(2)
    about = Config(objective="vicreg", head="frozen", alpha_ratio=3.0)
    assert variant_laws.vicreg_parting_time(about, a, norms) > 0
    for other, word in (({"objective": "spectral"}, "vicreg"), ({"head": "trained"}, "no head"), ({"stop_gradient": True}, "stop-"),
                        ({"batch_norm": False, "lr": 1e-4}, "no batch norm"), ({"vicreg_covariance": 25.0}, "noise that leaves")):
        with pytest.raises(ValueError, match=f"eq. 65 is about another setting: .*{word}"):
            variant_laws.vicreg_parting_time(dataclasses.replace(about, **other), a, norms)


# ---- what has no flow, by name ------------------------------------------------------------------

class Modulus(objectives.Objective):
    """-sum_j |c_jj|: its derivative is right, and no complex step tells it."""

    def of(self, V, gap):
        m = V.shape[-1] // 2
        c, dV = V[..., :m, m:], np.zeros(V.shape, V.dtype)
        own = np.arange(m)
        dV[..., own, m + own] = dV[..., m + own, own] = -np.sign(c[..., own, own].real) / 2
        return -np.abs(c[..., own, own]).sum(-1), dV


class Forgetful(objectives.Objective):
    """sum of V^4 / 4 whose derivative is kept in a real array: the imaginary part is dropped."""

    def of(self, V, gap):
        dV = np.zeros(V.shape)
        dV[...] = V**3
        return (V**4).sum((-2, -1)) / 4, dV


class Hinged(objectives.Objective):
    """The hinge max(0, 1/2 - c_jj)^2: piecewise, and analytic on each piece."""

    def of(self, V, gap):
        m, own = V.shape[-1] // 2, np.arange(V.shape[-1] // 2)
        short = np.maximum(0, 0.9 - V[..., own, m + own])
        dV = np.zeros(V.shape, V.dtype)
        dV[..., own, m + own] = dV[..., m + own, own] = -short
        return (short**2).sum(-1), dV


def test_what_complex_steps_cannot_follow_is_refused():
    for objective, word in ((Modulus(True), "other derivatives than small real steps do"),
                            (Forgetful(True), "discards the imaginary part")):
        config = Config(objective=objective, d=20)  # SGD takes it
        with pytest.raises(ConfigError, match=f"`objective` = .*engine flow: .*complex steps .*{word}"):
            dataclasses.replace(config, engine="flow", t_max=1.0)
        equations, state = flow.Equations.from_config(config), flow.start_of(config)
        with pytest.raises(ValueError, match="complex steps"):
            flow.integrate(equations, *(part[None] for part in state), t_max=1.0)
    path = simulate(Config(engine="flow", d=20, t_max=1e3), objective=Hinged(True))
    assert path.status == flow.TIMED_OUT and np.isfinite(path.loss).all() and path.loss[-1] < path.loss[0]


def test_vicreg_without_batch_norm_has_no_flow():
    with pytest.raises(ConfigError, match="`objective` = .*engine flow: .*its gradient jumps"):
        Config(engine="flow", objective="vicreg", batch_norm=False, t_max=1.0)
    config = Config(objective="vicreg", batch_norm=False, d=20)
    with pytest.raises(ValueError, match="its gradient jumps"):
        flow.integrate(flow.Equations.from_config(config), *(part[None] for part in flow.start_of(config)), t_max=1.0)


@pytest.mark.parametrize("objective", ["vicreg", "spectral"])
def test_no_end_is_certified_and_no_optimiser_is_followed(objective):
    with pytest.raises(ConfigError, match=f"`t_max` = None .*cannot certify the end of objective {objective}: say when to stop"):
        Config(engine="flow", objective=objective)
    for term in ({"weight_decay": 0.1}, {"momentum": 0.9}, {"lr_schedule": "cosine"},
                 {"target_momentum": 0.9, "stop_gradient": True}):
        with pytest.raises(ConfigError, match=f"`{next(iter(term))}` = .*flow"):
            Config(engine="flow", objective=objective, t_max=1.0, **term)


def test_on_the_command_line(capsys, tmp_path):
    words = ["--engine", "flow", "--objective", "vicreg", "--d", "50", "--no-plot", "--quiet", "--out", str(tmp_path / "out")]
    assert run.main(words) == 2
    error = capsys.readouterr().err
    assert "--t-max" in error and "objective vicreg" in error and error.count("\n") == 1
    assert run.main([*words, "--t-max", "100"]) == 0
    assert "OUTSIDE" in capsys.readouterr().out
    assert run.main([*words, "--no-batch-norm", "--t-max", "100"]) == 2
    assert "--objective" in capsys.readouterr().err
