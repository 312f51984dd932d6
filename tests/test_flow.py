"""The flow against conservation laws, closed-form solutions, SGD with a small step, and itself."""

import dataclasses
import functools

import numpy as np
import pytest

from simsim import Config, Trajectory, check_theorems, find_phases, flow, objectives, population, simulate, theory
from simsim.flow import certificate, coordinates, integration, noiseless, stretch
from simsim.flow.segment import Segment
from simsim.initial import reduced_state
from simsim.phases import RETURNED, max_off_diagonal

SETTLED = [flow.BOTH, flow.COLLAPSED, flow.MIXED]
TIGHT = 1e-9  # relative tolerance at which the conserved quantities are held to 1e-8


def make_config(d=10**4, kappa=1.0, ratio=20.0, **more):
    """The setting of every test here; with lr = 1 a step is a unit of time."""
    return Config(d=d, alpha_ratio=ratio, feature_patches=4, lr=1.0, head_lr=kappa, engine="flow", **more)


def starts(config, seeds):
    """Overlaps (S, m, 2) and noise factors (S, m, m) of the seeds' initial weights."""
    states = [reduced_state(dataclasses.replace(config, init_seed=seed)) for seed in seeds]
    return tuple(np.array(part) for part in zip(*states))


def integrate(config, a, U, **options):
    return flow.integrate(flow.Equations.from_config(config), a, U, **options)


@functools.cache
def followed(config, seeds, **options):
    """`flow.follow_many` from a range of seeds, computed once for all tests that look at the same paths."""
    return flow.follow_many(config, seeds, **options)


@functools.cache
def forty(kappa, dimensions):
    """The flows of forty seeds at each of these dimensions, one after the other."""
    return flow.follow_each([make_config(d, kappa, init_seed=seed) for d in dimensions for seed in range(40)])


path_of = functools.cache(flow.follow)


def frozen_neuron(config, a, U):
    return theory.FrozenNeuron(config, a, np.sqrt((a**2).sum() + (U**2).sum()))


# ---- the equations, in their coordinates -------------------------------------------

VARIANTS = {
    "simsiam": {}, "no stop-gradient": dict(stop_gradient=False), "naive": dict(objective="naive"),
    "no batch norm": dict(batch_norm=False), "naive, no batch norm": dict(objective="naive", batch_norm=False),
    "no batch norm, no stop-gradient": dict(batch_norm=False, stop_gradient=False), "frozen": dict(head="frozen"),
    "barlow": dict(objective="barlow", barlow_lambda=0.3), "barlow with a head": dict(objective="barlow", head="trained"),
    "barlow with stop-gradient": dict(objective="barlow", head="trained", stop_gradient=True),
    "free diagonal": dict(head="free-diagonal"), "symmetric": dict(head="symmetric"), "random": dict(head="random"),
    "random, free diagonal": dict(head="random", head_diagonal="free"), "directcopy": dict(head="directcopy"),
    "directpred": dict(head="directpred"),
}


def random_state(m, K=2, **variant):
    """The equations, a chart that belongs to other states, and y of four random states."""
    equations = flow.Equations.from_config(make_config(ratio=3.0, kappa=0.7, m=m, features=K, **variant))
    rng = np.random.default_rng(m)
    a, U = rng.standard_normal((4, m, K)), rng.standard_normal((4, m, m))
    chart, y = coordinates.chart_of_start(equations, a, U, equations.head.start(), np.ones(4))
    for ratio in (chart.stretch.cross, chart.stretch.noise, chart.stretch.growth, chart.stretch.decay):
        ratio[:] = rng.standard_normal(ratio.shape) ** 2
    if coordinates.is_folded(equations):
        for row, pivots in enumerate(np.roll(np.eye(m), 1, axis=1)):  # with and without x_j, along each pair of features
            chart.folded[:3, row % chart.folded.shape[1], row] = pivots
    if equations.head_moves:
        moved = equations.head.direction(rng.standard_normal((4, m, m)))
        coordinates.parts(equations, y)[2][...] += 0.5 * coordinates.moving(equations, moved)
    return equations, chart, y


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("m, K, data", [
    *((m, K, {}) for m, K in ((1, 2), (2, 1), (2, 2), (3, 2), (5, 2), (3, 3))),
    *((m, K, {"patch_counts": (4, 3, 2)[:K], "t_max": 1e9}) for m, K in ((1, 2), (2, 2), (3, 2), (3, 3)))])
def test_velocity_is_minus_the_gradient_in_every_chart(m, K, data, variant):
    """dy/ds, pushed through the coordinates by a complex step, is the flow of W and E."""
    equations, chart, y = random_state(m, K, **data, **VARIANTS[variant])
    y_dot = coordinates.velocity(equations, chart, y)
    state = coordinates.decode(equations, chart, y)
    moved = coordinates.decode(equations, chart, y + 1e-40j * y_dot)
    grad = population.gradient(state.a, state.U, state.E, equations.setting, equations.objective)
    dt_ds = y_dot[:, -1, None, None]
    pairs = [(moved.a, -grad.a), (moved.U, -grad.U)]
    if equations.head_moves:
        pairs.append((moved.E, -0.7 * equations.head.direction(grad.E)))
    for got, expected in pairs:
        np.testing.assert_allclose(got.imag / 1e-40, expected * dt_ds, rtol=1e-9, atol=1e-11 * np.abs(expected).max())
    got, expected = pairs[-1]
    assert np.abs(got.imag / 1e-40 - 1.001 * expected * dt_ds).max() > 1e-4 * np.abs(expected * dt_ds).max()


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("variant", ["simsiam", "no stop-gradient", "random, free diagonal", "barlow"])
def test_a_new_chart_changes_coordinates_and_not_the_state(m, variant):
    equations, chart, y = random_state(m, **VARIANTS[variant])
    before = coordinates.decode(equations, chart, y)
    speed = coordinates.velocity(equations, chart, y)[:, -1]
    M = coordinates.moments(equations, before)
    y = coordinates.rechart(equations, chart, y, np.arange(4), before, M, coordinates.forces(equations, before, M))
    after = coordinates.decode(equations, chart, y)
    for field in ("a", "U", "E", "X"):
        np.testing.assert_allclose(getattr(after, field), getattr(before, field), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(coordinates.velocity(equations, chart, y)[:, -1], speed, rtol=1e-12)


def cancelling(left):
    """Four states of three neurons whose X_j, the sum of E_js c_js, is `left` of its largest term in every row."""
    equations, chart, y = random_state(3)
    chart.folded[...] = 0
    state = coordinates.decode(equations, chart, y)
    E, c = state.E.copy(), state.weights[0]
    for row in range(3):
        other, pivot = (row + 1) % 3, (row + 2) % 3
        larger = np.abs(c[:, row, other]) < np.abs(c[:, row, pivot])
        other, pivot = np.where(larger, other, pivot), np.where(larger, pivot, other)
        at = lambda array, s: array[np.arange(4), row, s]
        E[np.arange(4), row, pivot] = (left - 1) * at(E, other) * at(c, other) / at(c, pivot)
    coordinates.parts(equations, y)[2][...] = coordinates.moving(equations, E)
    return equations, chart, y


@pytest.mark.parametrize("left, folded", [(0.05, True), (0.2, False), (1e-10, True)])
def test_rows_of_the_head_are_folded_where_their_terms_cancel(left, folded):
    """Where X_j is below a tenth of its terms. Then it is a coordinate: it is carried to relative precision,
    where the entries themselves would round it off."""
    equations, chart, y = cancelling(left)
    state = coordinates.decode(equations, chart, y)
    M = coordinates.moments(equations, state)
    y = coordinates.rechart(equations, chart, y, np.arange(4), state, M, coordinates.forces(equations, state, M))
    assert (chart.folded.any(axis=(1, 3)) == folded).all()
    if folded:
        V = coordinates.parts(equations, y)[2]
        pivots = coordinates.moving(equations, chart.folded.sum(axis=1)) > 0
        before = coordinates.decode(equations, chart, y).X[0]
        V[pivots] *= 1e-6
        np.testing.assert_allclose(coordinates.decode(equations, chart, y).X[0], 1e-6 * before, rtol=1e-13)


@pytest.mark.parametrize("m", [2, 3, 5])
def test_an_error_in_the_head_is_compared_with_what_it_does_to_the_output(m):
    """Where E = I, an entry E_jr that is off by its error scale changes F_j by no more than F_j itself."""
    equations = flow.Equations.from_config(make_config(ratio=3.0, kappa=0.7, m=m))
    rng = np.random.default_rng(m)
    a, U = rng.standard_normal((4, m, 2)), rng.standard_normal((4, m, m)) * 10.0 ** rng.uniform(-2, 2, (4, m, 1))
    chart, y = coordinates.chart_of_start(equations, a, U, equations.head.start(), np.ones(4))
    state = coordinates.decode(equations, chart, y)
    M = coordinates.moments(equations, state)
    scale = coordinates.parts(equations, coordinates.error_scale(equations, chart, np.arange(4), state, M))[2]
    spread = np.sqrt(M.G)
    change = scale * coordinates.moving(equations, spread[:, None, :] / spread[:, :, None])
    assert 0.01 < change.max() < 1


@pytest.mark.parametrize("part", ["cross", "noise"])
def test_the_stretch_of_time_does_not_feel_what_is_stiff(part):
    """X_j and n_j, one of them dominating the rates, change tenfold within a step: the rates do, dt/ds does not."""
    equations, chart, y = random_state(3)
    state = coordinates.decode(equations, chart, y)
    state = state._replace(U=1e-6 * state.U, X=[1e-3 * state.X[0] if part == "cross" else 0 * state.X[0]])
    M = coordinates.moments(equations, state)
    forces = coordinates.forces(equations, state, M)
    pairs = population.noise_pairs(forces, state.E)
    stretch.restart(equations, chart.stretch, np.arange(4), state, M, forces)
    later = state._replace(X=[10 * state.X[0]]), M._replace(n=10 * M.n if part == "noise" else M.n)
    speeds, rates = [], []
    for state, M in ((state, M), later):
        speeds.append(stretch.speed(equations, chart.stretch, 0, state, M, pairs))
        forces = coordinates.forces(equations, state, M)
        rates.append(np.abs(population.overlap_growth(forces, state.E, state.a, equations.setting)).max((1, 2)))
    np.testing.assert_array_equal(*speeds)
    np.testing.assert_allclose(rates[1], 10 * rates[0], rtol=1e-6)


# ---- conservation laws and closed forms ------------------------------------------------

def test_the_invariant_of_eq_13_is_kept():
    """At d = 100 and at d = 1e8, three starts each, side by side."""
    config = make_config()
    a, U = (np.concatenate(parts) for parts in zip(*(starts(make_config(d), range(3)) for d in (100, 10**8))))
    tight, loose = (integrate(config, a, U, rtol=rtol) for rtol in (TIGHT, 1e-6))
    assert tight.drift.max() < 1e-8
    for rows in (slice(3), slice(3, 6)):
        assert loose.drift[rows].max() > 10 * tight.drift[rows].max()  # the drift measures the integrator
        assert (tight.peak_head[rows] > 0.01).any()
    assert np.isin(tight.verdict, SETTLED).all()
    equations = flow.Equations.from_config(config)
    at_end = equations.invariants(tight.a, tight.U, tight.E)[0]
    np.testing.assert_allclose(at_end, equations.invariants(a, U, np.eye(2))[0], rtol=1e-8)


def test_a_frozen_flow_keeps_to_its_closed_form_orbit_and_end():
    """The conserved difference of eq. 14, at ratio 2 where both features win neurons."""
    config = make_config(ratio=2.0, head="frozen")
    a, U = starts(config, range(12))
    out = integrate(config, a, U, rtol=TIGHT)
    assert np.isin(out.verdict, SETTLED).all() and out.drift.max() < 1e-8
    assert {0, 1} == set(theory.fates(config, a).ravel())
    for row in range(12):
        for j in range(2):
            first, last = (frozen_neuron(config, x[row, j], y[row, j]) for x, y in ((a, U), (out.a, out.U)))
            won, lost = np.abs(out.a[row, j])[[first.feature, 1 - first.feature]]
            assert first.feature == last.feature == np.argmax(np.abs(out.a[row, j]))
            assert first.others(won)[0] == pytest.approx(lost, rel=1e-8)
            assert first.end() == pytest.approx(last.end(), rel=1e-8)
            # The way that is left is (4 c t)^{-1/4} long (docs/theory.md, the end state).
            assert first.end() > won > 0.9 * first.end()
    moved = frozen_neuron(config, 1.001 * a[0, 0], U[0, 0])
    first = frozen_neuron(config, a[0, 0], U[0, 0])
    won = np.abs(out.a[0, 0])[first.feature]
    assert not moved.others(won)[0] == pytest.approx(first.others(won)[0], rel=1e-5)


def test_a_frozen_flow_keeps_to_the_closed_form_time():
    """The first neuron's time to share 1/2, an event of the flow, is the quadrature of eq. 14."""
    for d, ratio in ((100, 20.0), (10**4, 3.0), (10**8, 20.0)):
        config = make_config(d, ratio=ratio, head="frozen")
        a, U = starts(config, range(4))
        neurons = [[frozen_neuron(config, a[row, j], U[row, j]) for j in range(2)] for row in range(4)]
        times = [min(neuron.time_to_share(0.5) for neuron in both if neuron.feature == 0) for both in neurons]
        out = integrate(config, a, U, rtol=TIGHT, t_max=2 * max(times))
        for row, time in enumerate(times):
            if time > 0:
                assert out.phases[row, 0] == pytest.approx(time, rel=1e-7)


def test_phase_one_takes_the_time_of_eq_16_at_large_d():
    config = make_config(10**8, kappa=0.1)
    a, U = starts(config, range(4))
    predicted = theory.small_start_times(config, a, np.sqrt((U**2).sum(axis=-1)))[..., 0].min(axis=1)
    np.testing.assert_allclose(integrate(config, a, U).phases[:, 0], predicted, rtol=2e-3)


def test_the_head_rises_to_its_bound_and_falls():
    config = make_config(10**6, kappa=0.01)
    a, U = starts(config, range(8))
    out = flow.follow_many(config, range(8))
    norms, perp = (np.sqrt(x) for x in ((a**2).sum(-1) + (U**2).sum(-1), (U**2).sum(-1)))
    second = 1 - theory.small_start_times(config, a, perp)[..., 0].argmin(axis=1)
    won = out.verdict == flow.BOTH
    height = out.peak_head / theory.head_bound(config, norms)[np.arange(8), second]
    assert won.sum() >= 6
    assert (height[won] < 1.001).all() and np.median(height[won]) > 0.98
    assert (np.diff(out.phases[won, :3]) > 0).all()
    np.testing.assert_allclose(out.phase_head[won, 3], 0.1 * out.peak_head[won], rtol=1e-3)
    assert (max_off_diagonal(out.E)[won] < RETURNED * out.peak_head[won]).all()


# ---- SGD and the flow ---------------------------------------------------------------------

def largest_gap(run, path, name):
    """Largest difference of one quantity between a run and a path, over time."""
    seen, predicted = (getattr(x, name).reshape(len(x), -1) for x in (run, path))
    between = np.array([np.interp(run.time, path.time, column) for column in predicted.T]).T
    return np.abs(seen - between).max()


def test_sgd_with_a_small_step_follows_the_flow_until_substitution():
    """A start with a head fast enough to see, a small step and large batches, past the end of phase II."""
    lr = 0.13 / 20**2
    usual = Config(engine="sgd", feature_patches=6, init_seed=2130035, lr=lr, head_lr=10 * lr)
    config = dataclasses.replace(usual, lr=usual.lr / 3, head_lr=usual.head_lr / 3, batch_size=4096, steps=750,
                                 dtype="float32", log_every=15)
    run = simulate(config)
    until = dataclasses.replace(config, engine="flow", t_max=1.2 * run.time[-1])
    path, faster = (flow.follow(dataclasses.replace(until, head_lr=speed * config.head_lr)) for speed in (1, 3))
    assert path.status == flow.TIMED_OUT
    assert max_off_diagonal(run.head).max() > 0.08
    assert largest_gap(run, path, "head") < 0.02 < largest_gap(run, faster, "head")  # sampling noise: 0.01
    assert largest_gap(run, path, "norms") < 0.002
    assert largest_gap(run, path, "overlaps") < 0.02 < np.ptp(path.overlaps[:, 0, 0])
    seen, predicted, other = (find_phases(x).substituted.time for x in (run, path, faster))
    assert seen == pytest.approx(predicted, rel=0.15)
    assert not seen == pytest.approx(other, rel=0.15)


# ---- what it depends on -----------------------------------------------------------------------

def test_dimension_enters_through_the_start_alone():
    """One reduced state, called a start in d = 1e2 and in d = 1e8, has one path."""
    small, large = make_config(100), make_config(10**8)
    a, U = starts(small, [5])
    first, second = integrate(small, a, U), integrate(large, a, U)
    for name in ("t", "a", "U", "E", "phases", "peak_head"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    other = integrate(large, *starts(large, [5]))
    assert not np.allclose(other.phases, first.phases)


def test_a_trajectory_does_not_know_its_neighbours():
    """Up to a time that is given: after which step it is certain that nothing changes any more may hang on rounding."""
    config = make_config(t_max=1e8)
    together, alone = flow.follow_many(config, [5, 6, 7]), flow.follow_many(config, [6])
    np.testing.assert_allclose(together.phases[1], alone.phases[0], rtol=1e-8)
    np.testing.assert_allclose(together.a[1], alone.a[0], rtol=1e-8)
    np.testing.assert_allclose(together.E[1], alone.E[0], rtol=1e-8)


def test_tolerances_agree_on_the_phases():
    config = make_config()
    loose, tight = (followed(config, range(5), rtol=rtol) for rtol in (None, 1e-10))
    np.testing.assert_allclose(loose.phases, tight.phases, rtol=3e-6)
    np.testing.assert_allclose(loose.peak_head, tight.peak_head, rtol=2e-3)
    assert (loose.verdict == tight.verdict).all()


def test_what_begins_and_ends_within_a_step_is_seen():
    """From this start |E_off| falls below a tenth of its peak and rises above it again in what is one step of order 8."""
    config = Config(engine="flow", lr=1.0, head_lr=1.0, m=2, d=100, feature_patches=4, alpha_ratio=5.0)
    found, short = flow.follow_many(config, [7]), flow.follow_many(config, [7], rtol=1e-11)
    assert short.steps[0] > 1.5 * found.steps[0]
    np.testing.assert_allclose(found.phases, short.phases, rtol=3e-6)


def test_neurons_are_interchangeable():
    config = make_config()
    a, U = starts(config, range(3))
    both = integrate(config, *(np.concatenate([part, part[:, ::-1]]) for part in (a, U)))
    np.testing.assert_allclose(both.phases[:3], both.phases[3:], rtol=1e-5)
    assert (both.verdict[:3] == both.verdict[3:]).all()


# ---- verdicts -----------------------------------------------------------------------------------

@pytest.mark.parametrize("kappa, dimensions", [(1.0, (100, 10**8)), (0.1, (1000, 10**6)), (10.0, (10**4,))])
def test_forty_seeds_reach_a_verdict(kappa, dimensions):
    """With all dimensions two hundred seeds; none fails, none is left open."""
    out = forty(kappa, dimensions)
    assert np.isin(out.verdict, SETTLED).all()
    assert out.drift.max() < 2e-5
    learned = ~np.isnan(out.phases[:, 2])
    assert learned[out.verdict == flow.BOTH].all()
    assert np.isfinite(out.t).all() and not (out.t[:, None] < out.phases).any()


@pytest.mark.parametrize("config, seeds", [
    (make_config(kappa=1.0, m=3), 6), (make_config(kappa=0.1, m=4), 2), (make_config(10**12, 0.1), 4),
    (make_config(kappa=1.0, ratio=1.5), 4), (make_config(kappa=100.0), 4), (make_config(20, 1.0), 4),
])
def test_other_settings_reach_a_verdict_too(config, seeds):
    out = flow.follow_many(config, range(seeds))
    assert np.isin(out.verdict, SETTLED).all() and out.drift.max() < 2e-5


@pytest.mark.slow
def test_a_head_that_cancels_noise_to_the_last_digit_reaches_a_verdict():
    """In this one of 200 starts the head leaves 1e-18 of the noise of f_3, and the path hangs on it for a decade."""
    out = flow.follow_many(make_config(m=4), [47])
    assert np.isin(out.verdict, SETTLED).all() and out.drift.max() < 2e-5


@pytest.mark.parametrize("options", [dict(m=1), dict(m=1, head="frozen"), dict(m=3, head="frozen")])
def test_lonely_and_frozen_neurons_reach_a_verdict(options):
    out = flow.follow_many(make_config(**options), range(3))
    assert np.isin(out.verdict, [flow.ALONE] if options["m"] == 1 else SETTLED).all()
    assert (out.E == np.eye(options["m"])).all()


def test_a_collapse_that_only_seems_settled_is_followed_on(monkeypatch):
    """At t = 1e9 every rate of this start is below 1e-2 / t, and most have fallen. But one weak overlap grows at a rate
    that does not fall, as docs/theory.md ("A second life") says, and by 1 / rate it has got elsewhere."""
    config = make_config(100)
    setting = population.Setting.from_config(config)

    def until(t):
        out = flow.follow_many(dataclasses.replace(config, t_max=t), [8])
        grad = population.gradient(out.a, out.U, out.E, setting, objectives.make("simsiam"))
        return out, -grad.a[0, 0, 1] / out.a[0, 0, 1]

    (_, rate_before), (early, rate) = until(1e8), until(1e9)
    assert early.verdict[0] == flow.TIMED_OUT and max_off_diagonal(early.E)[0] > 0.1
    assert rate * early.t[0] < certificate.SETTLED_RATE and rate == pytest.approx(rate_before, rel=0.2)
    assert abs(until(1 / rate)[0].a[0, 0, 1]) > 5 * abs(early.a[0, 0, 1])
    end = flow.follow_many(config, [8])
    assert end.verdict[0] == flow.COLLAPSED and max_off_diagonal(end.E)[0] < 1e-6
    monkeypatch.setattr(certificate, "SETTLED_FACTOR", 1e4)  # who waits longer sees nothing else
    later = flow.follow_many(config, [8])
    assert later.t[0] > 1e2 * end.t[0] and later.verdict[0] == end.verdict[0]
    np.testing.assert_allclose(later.a, end.a, rtol=1e-3)


def test_a_success_that_only_seems_final_is_followed_on():
    """Both features are held, and the head is back within 1e-3 of I: then one is unlearned, at a rate of 1 / t."""
    config = Config(engine="flow", d=50, feature_patches=7, lr=1.0, head_lr=1.0, init_seed=1713167, t_max=30.0)
    early = flow.follow_many(config, [1713167])
    assert early.verdict[0] == flow.TIMED_OUT and early.owned.all()
    assert max_off_diagonal(early.E)[0] < min(1e-3, RETURNED * early.peak_head[0])
    end = flow.follow_many(dataclasses.replace(config, t_max=None), [1713167])
    assert end.verdict[0] == flow.COLLAPSED and np.isfinite(end.phases).all()


SLOW = make_config(20, 1e-8, ratio=1.5)


@pytest.mark.parametrize("config, seed, end", [(make_config(20, 1e-3, ratio=1.5), 8500038, flow.MIXED),
                                               (SLOW, 6, flow.BOTH), (SLOW, 10, flow.BOTH)])
def test_a_collapse_whose_weak_overlaps_shrink_is_no_end_at_a_slow_head(config, seed, end, monkeypatch):
    """They shrink at a constant rate until one entry of the head is back; then the sign of the rate turns."""
    out = flow.follow_many(config, [seed])
    assert out.verdict[0] == end
    later = integrate(config, out.a, out.U, E=out.E, t_max=1e7 * out.t, certify=False)
    M = population.moments(later.a, population.gram_of(later.U), later.E, population.Setting.from_config(config))
    assert later.t[0] >= 1e7 * out.t[0] and certificate.name(flow.Equations.from_config(config), M) == end
    monkeypatch.setattr(certificate.Certificate, "for_good", lambda self, rows, *_: np.ones(rows.size, bool))
    early = flow.follow_many(config, [seed])
    assert early.verdict[0] == flow.COLLAPSED and early.t[0] < 1e4  # where signs alone had it end


def test_what_persists_without_noise_is_eqs_49_and_50():
    config, beta = make_config(20, 1e-3, ratio=1.5), 1e-2
    setting = population.Setting.from_config(config)
    a, E = np.array([[0.7, 0.7 * beta], [1.2, 1.9 * beta]]), np.array([[1.0, 0.4], [0.3, 1.0]])
    grad = population.gradient(a, np.zeros((2, 2)), E, setting, objectives.make("simsiam"))
    rho, B = setting.mu12 / setting.mu11, (setting.alpha * a) ** 3
    (B_1, B_2), (H_1, H_2), apart = B[:, 0], (E @ B)[:, 0], B[0, 1] / B[0, 0] - B[1, 1] / B[1, 0]
    p_1, p_2 = E[0, 1] * B_2 / H_1, E[1, 0] * B_1 / H_2
    C = 6 * rho * setting.alpha[1] ** 3 * np.array([p_1 / H_1 - E[1, 0] * p_2 / H_2, E[0, 1] * p_1 / H_1 - p_2 / H_2])
    np.testing.assert_allclose(-grad.a[:, 1] / a[:, 1] ** 2, C * apart, rtol=1e-4)
    head = -2 * rho * apart**2 * np.array([B_2 / H_1 * p_1 * (1 - p_1), B_1 / H_2 * p_2 * (1 - p_2)])
    np.testing.assert_allclose([-grad.E[0, 1], -grad.E[1, 0]], head, rtol=1e-4)


def test_what_stays_without_noise_is_where_the_flow_stays():
    """The time at which a state without noise leaves its place is that at which the flow leaves it."""
    config = make_config(20, 1e-3, ratio=1.5)
    equations = flow.Equations.from_config(config)
    a, U, E = (part[None] for part in integration.start_of(dataclasses.replace(config, init_seed=8500038)))
    early = flow.integrate(equations, a, U, E, t_max=2e3, certify=False)

    def shares(out):
        return population.shares(config, out.a, population.gram_of(out.U))

    until, _ = noiseless.stays_until(equations, early.a, 0 * early.U, early.E, early.t, 1e150, 0.01)
    assert 1e7 < until[0] < 1e9
    before, after = (flow.integrate(equations, a, U, E, t_max=factor * until[0], certify=False) for factor in (0.1, 10))
    assert np.abs(shares(before) - shares(early)).max() < 0.01 < np.abs(shares(after) - shares(early)).max()
    still = noiseless.stays_until(equations, early.a, 0 * early.U, np.eye(2)[None], early.t, 1e150, 0.01)[0]
    assert np.isinf(still[0])  # a head at I leaves nothing to do


def test_a_head_that_cannot_be_followed_without_noise_is_no_certificate(monkeypatch):
    monkeypatch.setattr(noiseless, "MOST_STEPS", 3)
    out = flow.follow_many(make_config(20, t_max=1e12), [0])
    assert out.verdict[0] == flow.TIMED_OUT


@pytest.mark.parametrize("config", [Config(engine="flow", d=20, alpha_ratio=3.0), make_config(kappa=0.1)])
def test_a_phase_ends_at_one_time_alone_in_a_batch_and_in_a_file(config, tmp_path):
    """Seed 5 of the first: phase II begins and ends between two steps, where another event begins."""
    seeds = range(12)
    together = flow.follow_many(config, seeds, tail=flow.TAIL).phases
    for seed in seeds:
        alone = flow.follow_many(config, [seed], tail=flow.TAIL).phases[0]
        np.testing.assert_allclose(alone, together[seed], rtol=1e-5)
        run = simulate(dataclasses.replace(config, init_seed=seed))
        run.save(tmp_path / "run.npz")
        for path in (run, Trajectory.load(tmp_path / "run.npz")):
            found = [np.nan if end is None else end.time for end in find_phases(path).ends()]
            np.testing.assert_allclose(found, alone, rtol=1e-12)


def test_a_drift_is_an_error_and_not_an_answer(monkeypatch):
    monkeypatch.setattr(integration, "DRIFT_LIMIT", 1e-12)
    out = flow.follow_many(make_config(1000), [0])
    assert out.verdict[0] == flow.DRIFTED and "drift" in out.message(0)
    with pytest.raises(flow.FlowError, match="init_seed 0 .* drift"):
        flow.follow(make_config(1000, init_seed=0))


def test_an_integration_that_gets_nowhere_is_a_failure():
    out = flow.follow_many(make_config(), [0], max_steps=20)
    assert out.verdict[0] < 0 and "too many steps" in out.message(0)


def test_t_max_means_not_yet():
    config = make_config(10**6, t_max=1e3)
    out = flow.follow_many(config, [0])
    assert out.verdict[0] == flow.TIMED_OUT and "not yet" in out.message(0)
    assert np.isnan(out.phases).all() and out.t[0] >= 1e3
    assert "by no neuron until t = " in find_phases(flow.follow(config)).missing["strong_learned"]


@pytest.mark.parametrize("seconds", [0, 1e-3])
def test_a_flow_gives_up_after_its_time(seconds):
    out = flow.follow_many(make_config(), range(3), seconds=seconds)
    assert (out.verdict == flow.GAVE_UP).all() and "too long" in out.message(0)
    assert np.isfinite(out.a).all() and (out.t >= 0).all()
    path = flow.follow(make_config(init_seed=1), seconds=seconds)
    assert path.status == flow.GAVE_UP and len(path) >= 1 and "not yet" in str(check_theorems(path))
    assert (followed(make_config(), range(3), seconds=600).verdict != flow.GAVE_UP).all()


@pytest.mark.parametrize("c", [1e-9, 1e12])
def test_only_alpha_over_sigma_matters(c):
    usual = followed(make_config(), range(3), seconds=600)
    scaled = flow.follow_many(make_config(alpha_weak=c, sigma=c), range(3))
    np.testing.assert_allclose(scaled.phases, usual.phases, rtol=3e-6)
    assert (scaled.verdict == usual.verdict).all()


def test_a_start_at_the_edge_of_numbers_is_a_failure_in_words():
    """alpha / sigma = 1e20: it takes more steps than are worth it, goes on from t = 1e100 or so, and stays finite."""
    out = flow.follow_many(make_config(ratio=1e20, alpha_weak=1.0), range(2), max_steps=300)
    assert (out.verdict < 0).all() and "too many steps" in out.message(0) and np.isfinite(out.a).all()


def test_a_very_slow_head_keeps_to_eq_13_too():
    """At kappa = 1e-14 the squares of the head are 1e-15 beside its diagonal, and eq. 13 is made of them."""
    out = flow.follow_many(make_config(10**12, kappa=1e-14), range(4))
    assert np.isin(out.verdict, SETTLED).all() and out.drift.max() < 2e-5
    assert out.peak_head.max() > 1e-8


# ---- one path ------------------------------------------------------------------------------------

@pytest.mark.parametrize("d, kappa, seed", [(10**4, 1.0, 1), (10**6, 0.1, 0), (10**8, 1.0, 6)])
def test_a_path_has_the_phase_ends_among_its_rows(d, kappa, seed):
    config = make_config(d, kappa, init_seed=seed)
    path, events = path_of(config), flow.follow_many(config, [seed], tail=flow.TAIL)
    ends = events.phases[0]
    assert path.status == events.verdict[0] == flow.BOTH
    for time, level in zip(ends[[0, 2]], (path.shares[:, :, 0], path.shares[:, :, 1])):
        row = np.argmin(np.abs(path.time - time))
        assert path.time[row] == pytest.approx(time, rel=1e-9)
        assert level[row].max() == pytest.approx(0.5, abs=1e-6)
    found = [end.time for end in find_phases(path).ends()]
    np.testing.assert_allclose(found, ends, rtol=1e-6)
    assert max_off_diagonal(path.head).max() == pytest.approx(events.peak_head[0], rel=2e-3)
    assert path.counters["steps"] == events.steps[0]


@pytest.mark.parametrize("seed, options", [(0, dict(m=3)), (2, dict(m=3, features=3, t_max=100.0)), (1, dict(m=2, features=3)),
                                           (0, dict(features=1)), (0, dict(m=1))])
def test_the_events_of_the_flow_and_the_phases_of_its_path_are_one_definition(seed, options):
    """With more neurons the one that the head comes to supply need not be the one that learns the weak feature."""
    config = Config(engine="flow", d=10**4, lr=1.0, head_lr=0.1, init_seed=seed, **options)
    events = flow.follow_many(config, [seed], tail=flow.TAIL).phases[0]
    found = find_phases(path_of(config))
    times = [np.nan if end is None else end.time for end in found.ends()]
    np.testing.assert_allclose(times, events, rtol=1e-6)
    if config.m == 3 and config.t_max is None:
        assert found.substitution.neuron != found.weak_neuron


@pytest.mark.parametrize("seed", [0, 5])
def test_the_head_returns_from_its_highest_peak(seed):
    """At ratio 2 it falls to less than a tenth of an early peak and rises to a higher one: the first return is none."""
    config = make_config(1000, ratio=2.0, init_seed=seed)
    events, path = flow.follow_many(config, [seed], tail=flow.TAIL), path_of(config)
    size = np.abs(path.head[:, [0, 1], [1, 0]]).max(axis=1)
    after = np.arange(len(size)) > size.argmax()
    back = path.time[np.argmax(after & (size <= RETURNED * size.max() * 1.0001))]
    assert events.phases[0, 3] == pytest.approx(back, rel=1e-3) == find_phases(path).head_returned.time
    lower = np.maximum.accumulate(size[:size.argmax()])
    assert (size[:size.argmax()] < 0.09 * lower).any()  # there was a return before


def test_a_success_is_followed_for_two_decades():
    """So long that the decay of the head and of the noise can be seen; `follow_many` certifies it after one."""
    config = make_config(10**6, 0.1, init_seed=0)
    path, alone = path_of(config), flow.follow_many(config, [0])
    assert path.status == alone.verdict[0] == flow.BOTH
    settled = alone.t[0] / 10  # where a decade without motion began
    assert path.time[-1] > 99 * settled and alone.t[0] < 0.2 * path.time[-1]


def test_a_path_keeps_the_invariant_and_the_signs_on_every_row():
    config = make_config(init_seed=1)
    path = path_of(config)
    assert (np.sign(path.overlaps) == np.sign(path.overlaps[0])).all()
    squares = path.head**2
    exchanged = 3 / config.kappa * (squares.sum(axis=-1) - squares.sum(axis=-2))
    constant = path.norms**2 + exchanged
    np.testing.assert_allclose(constant, np.broadcast_to(constant[0], constant.shape), rtol=1e-5)
    assert np.abs(exchanged).max() > 0.5 * constant.max()  # so a wrong factor would show
    overlaps, factor = reduced_state(config)
    np.testing.assert_array_equal(path.overlaps[0], overlaps)
    np.testing.assert_allclose(path.gram[0], factor @ factor.T, rtol=1e-14)


def test_the_loss_falls_along_a_frozen_path():
    path = flow.follow(make_config(head="frozen", init_seed=1, ratio=3.0))
    assert (np.diff(path.loss) < 1e-9).all() and path.loss[-1] < path.loss[0]
    assert (path.head == np.eye(2)).all()


def test_a_feature_held_from_the_start_counts_from_time_zero():
    strong_learned = forty(1.0, (100, 10**8)).phases[:40, 0]
    assert not np.isnan(strong_learned).any() and (strong_learned == 0).any()


def test_a_frozen_head_has_no_phase_four():
    assert np.isnan(flow.follow_many(make_config(head="frozen"), range(20)).phases[:, 3]).all()


@pytest.mark.parametrize("d, seed, kappa", [(10**8, 7, 0.1), (100, 3, 1.0)])
def test_a_report_of_the_flow_at_times_no_integer_holds(d, seed, kappa):
    """Times beyond 2^63 steps, and below one step."""
    run = flow.follow(make_config(d=d, kappa=kappa, init_seed=seed))
    text = str(check_theorems(run))
    assert f"engine flow, to t = {run.time[-1]:.3g}, {run.message}" in text and "nan" not in text
    ends = [end.time for end in find_phases(run).ends() if end]
    assert ends and all(end in run.time for end in ends)


def test_a_flow_stops_at_its_t_max_and_not_some_steps_later():
    """To 1e-12 of it, alone and in a batch, where the same flow passes by when it goes on; no phase ends after it."""
    whole = simulate(Config(engine="flow"))
    for t_max in (1.0, 50.0, 1e9):
        cut = simulate(Config(engine="flow", t_max=t_max))
        assert cut.status == flow.TIMED_OUT and cut.time[-1] == pytest.approx(t_max, rel=1e-12)
        after = np.searchsorted(whole.time, t_max)
        low, high = np.sort(np.abs(whole.overlaps[[after - 1, after]]), axis=0)
        assert (np.abs(cut.overlaps[-1]) >= low * (1 - 1e-6)).all() and (np.abs(cut.overlaps[-1]) <= high * (1 + 1e-6)).all()
        assert all(end is None or end.time <= t_max for end in find_phases(cut).ends())
    together = flow.follow_many(Config(engine="flow", d=10**6, lr=1.0, head_lr=1.0, t_max=1e9), range(4))
    np.testing.assert_allclose(together.t, 1e9, rtol=1e-12)


def test_a_shorter_step_has_the_same_interpolant():
    rng, R, n = np.random.default_rng(4), 3, 5
    step = Segment(np.arange(R), np.zeros(R), np.ones(R), *rng.standard_normal((2, R, n)), rng.standard_normal((R, 3, n)),
                   np.tile([0.1, 0.35, 0.9, np.nan], (R, 1)))
    theta = np.array([0.3, 0.5, 1.0])
    part = step.until(theta)
    for s in (0.0, 0.1, 0.62, 1.0):
        np.testing.assert_allclose(part(np.full(R, s)), step(s * theta), rtol=0, atol=1e-12)
    np.testing.assert_allclose(part.event_theta, [[1 / 3, np.nan, np.nan, np.nan], [0.2, 0.7, np.nan, np.nan],
                                                  [0.1, 0.35, 0.9, np.nan]])
    np.testing.assert_allclose(part.h, theta)
