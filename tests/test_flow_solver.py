"""The integrator on equations whose solutions are known."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from simsim.flow import elimination, methods, solver
from simsim.flow.segment import Segment


def by_columns(*components):
    """fun(y, rows) from expressions of the components, on the last axis."""
    return lambda y, rows: np.stack([c(*np.moveaxis(y, -1, 0)) for c in components], axis=-1)


van_der_pol = by_columns(lambda y, v: v, lambda y, v: 1e6 * ((1 - y * y) * v - y))
robertson = by_columns(
    lambda a, b, c: -0.04 * a + 1e4 * b * c,
    lambda a, b, c: 0.04 * a - 1e4 * b * c - 3e7 * b * b,
    lambda a, b, c: 3e7 * b * b,
)
pendulum = by_columns(lambda q, p: p, lambda q, p: -np.sin(q))


BOTH = pytest.mark.parametrize("method", [methods.Rodas5P(), methods.Extrapolation(8)], ids=["Rodas5P", "extrapolation"])


def fixed_step_error(steps, method):
    """Error at t = 1 of the pendulum, taken in `steps` equal steps: at the end, and inside the steps."""
    h = 1 / steps
    loop = solver.Stepper(pendulum, [[1.0, 0.5]], 1.0, np.inf, None, None, None, None, h, 10**6, method=method)
    middle = []
    loop.on_step = lambda segment: middle.append(segment)
    while loop.active.size:
        loop.h[:] = h
        loop.advance()
    exact = solve_ivp(lambda t, y: [y[1], -np.sin(y[0])], (0, 1), [1.0, 0.5], rtol=1e-13, atol=1e-14,
                      method="DOP853", dense_output=True).sol
    inside = max(np.abs(s(np.array([0.4]))[0] - exact(s.t[0] + 0.4 * h)).max() for s in middle)
    return np.abs(loop.result.y[0] - exact(1.0)).max(), inside


def test_the_order_of_rodas5p_is_five_and_inside_the_step_four():
    coarse, fine = (fixed_step_error(steps, methods.Rodas5P()) for steps in (20, 40))
    assert np.log2(coarse[0] / fine[0]) == pytest.approx(5, abs=0.3)
    assert np.log2(coarse[1] / fine[1]) > 4


@pytest.mark.parametrize("k", [4, 5, 6])
def test_the_order_is_that_of_the_ways_through_a_step_inside_it_as_well(k):
    """Of more ways the error meets rounding too soon to see an order."""
    coarse, fine = (fixed_step_error(steps, methods.Extrapolation(k)) for steps in (8, 16))
    assert np.log2(coarse[0] / fine[0]) == pytest.approx(k, abs=0.4)
    assert np.log2(coarse[1] / fine[1]) > k - 0.2


@pytest.mark.parametrize("k", [2, 5, 8])
def test_the_tableau_is_exact_for_polynomials_in_place_and_length_of_a_part(k):
    """What a way has moved at x = i / n is x^a, but for x^b / n^(k - b): then the path is x^a, and the error is of order k."""
    parts, weights = methods.tableau(k)
    x, n = np.array([(i / n, n) for i in range(1, k + 1) for n in parts if n >= i]).T
    theta = np.linspace(0.1, 0.9, 5)
    for a in range(1, k + 1):
        for b in range(1, k + 1):
            moved, error, *bow = weights @ (x**a + (x**b / n ** (k - b) if b < k else 0))
            step = Segment(np.arange(1), np.zeros(1), np.ones(1), np.zeros((1, 1)), np.full((1, 1), moved),
                           np.array(bow).reshape(1, k - 1, 1), np.empty((1, 0)))
            np.testing.assert_allclose(step(theta[None])[0, :, 0], theta**a, rtol=0, atol=1e-10)
            assert moved == pytest.approx(1, abs=1e-11) and (b == 1) == (abs(error) > 1e-9)


@pytest.mark.parametrize("R", [1, 60])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_linear_systems_are_solved_whatever_the_pivots(n, R):
    """One by one and, for 60 trajectories, all at once: graded rows in any order, and a zero where the first pivot is."""
    rng = np.random.default_rng(n)
    J, c, b = rng.standard_normal((R, n, n)), rng.uniform(0.5, 2, (R, 2)), rng.standard_normal((R, 2, n))
    J *= 10.0 ** rng.permuted(np.tile(np.linspace(-6, 0, n), (R, 1)), axis=1)[:, :, None]
    J[:, 0, 0] = 1 / c[:, 0] if n > 1 else 0
    J, c, b = map(np.asfortranarray, (J, c, b))
    solve = elimination.eliminate(J, c)
    assert isinstance(solve, elimination._SideBySide) == (R == 60)
    exact = np.linalg.solve(np.eye(n) - c[:, :, None, None] * J[:, None], b[..., None])[..., 0]
    np.testing.assert_allclose(solve(b), exact, rtol=1e-9, atol=1e-9 * np.abs(exact).max())
    np.testing.assert_allclose(solve(2 * b), 2 * solve(b), rtol=1e-14)  # the factors serve again
    np.testing.assert_allclose(solve(b[:, :1]), exact[:, :1], rtol=1e-9, atol=1e-9 * np.abs(exact).max())  # of the first alone


def test_a_step_with_more_points_of_its_bow_is_the_same_step():
    rng = np.random.default_rng(5)
    bow, theta = rng.standard_normal((4, 3, 2)), rng.random(4)
    step = Segment(np.arange(4), np.zeros(4), np.ones(4), *rng.standard_normal((2, 4, 2)), bow, np.empty((4, 0)))
    assert step.raised(7).bow.shape == (4, 7, 2)
    np.testing.assert_allclose(step.raised(7)(theta), step(theta), rtol=1e-13)


def test_who_is_not_at_the_end_after_many_steps_goes_on_by_another_method(monkeypatch):
    """And he alone, whoever his neighbours are."""
    monkeypatch.setattr(solver, "PATIENCE", 200)
    calls = []

    class Noted(methods.Rodas5P):
        def step(self, fun, rows, *state):
            calls.append(rows.tolist())
            return super().step(fun, rows, *state)

    waves = by_columns(lambda q, p, omega: omega * p, lambda q, p, omega: -omega * q, lambda q, p, omega: 0 * omega)
    out = solver.solve(waves, [[1.0, 0.0, 1.0], [1.0, 0.0, 20.0]], 3.0, rtol=1e-9, method=methods.Extrapolation(4),
                       fallback=(Noted(), 1e-9))
    attempts = out.steps + out.rejected
    assert out.success.all() and attempts[0] < 200 < attempts[1] and calls == [[1]] * (attempts[1] - 200)
    np.testing.assert_allclose(out.y[:, :2], [[np.cos(3), -np.sin(3)], [np.cos(60), -np.sin(60)]], atol=1e-6)


@BOTH
def test_linear_system_stiff_and_oscillating(method):
    M = np.array([[-1e6, 3.0, 0.0], [1.0, -0.1, 2.0], [0.0, -2.0, -0.1]])
    out = solver.solve(lambda y, rows: y @ M.T, [[1.0, 1.0, 0.0]], 10.0, rtol=1e-9, method=method)
    assert out.success.all() and out.steps[0] < 1200
    np.testing.assert_allclose(out.y[0], expm(10 * M) @ [1, 1, 0], atol=1e-7)


@BOTH
def test_infinitely_stiff_component_is_damped_in_one_step(method):
    """L-stability: a step of 1e6 time constants leaves nothing of the transient."""
    out = solver.Stepper(lambda y, rows: -1e6 * y, [[1.0]], 1.0, np.inf, None, None, None, None, 1.0, 10, method=method)
    out.advance()
    assert abs(out.result.y[0, 0]) < 1e-4


@BOTH
def test_van_der_pol_at_stiffness_1e6_against_the_reference_solution(method):
    """Reference of the Bari test set at t = 2."""
    # slow time: y' = v, eps v' = (1 - y^2) v - y, with mu^2 = 1e6
    out = solver.solve(van_der_pol, [[2.0, 0.0]], 2.0, rtol=1e-8, method=method)
    np.testing.assert_allclose(out.y[0], [1.706167732170483, -0.8928097010247975], rtol=1e-6)


@BOTH
def test_robertson_over_eleven_decades(method):
    """Reference of the Bari test set at t = 1e11; mass is conserved."""
    scale = lambda y, rows: np.array([1e-3, 1e-8, 1e-3]) + np.abs(y)
    out = solver.solve(robertson, [[1.0, 0.0, 0.0]], 1e11, rtol=1e-7, scale=scale, method=method)
    np.testing.assert_allclose(out.y[0], [2.083340149701255e-8, 8.333360770334713e-14, 0.9999999791665050], rtol=1e-4)
    assert out.y.sum() == pytest.approx(1, abs=1e-9)
    assert out.steps[0] < 800


@BOTH
def test_finite_time_blow_up_is_reported_and_located(method):
    """y' = y^2 from 1 blows up at t = 1: the step size collapses there, nothing is silent."""
    events = lambda y, rows: y - 1e6
    out = solver.solve(lambda y, rows: y * y, [[1.0], [2.0]], 2.0, rtol=1e-9, events=events, method=method)
    assert (out.status < 0).all() and "step size" in out.message(0)
    np.testing.assert_allclose(out.event_t[:, 0], [1 - 1e-6, 0.5 - 1e-6], rtol=1e-8)


def test_events_are_located_inside_the_step_only_upwards_and_once():
    events = lambda y, rows: np.stack([y[..., 0], -y[..., 0], y[..., 0] - 5], axis=-1)
    oscillator = lambda y, rows: np.stack([y[..., 1], -y[..., 0]], axis=-1)
    out = solver.solve(oscillator, [[-1.0, 0.0]], 20.0, rtol=1e-10, events=events)
    np.testing.assert_allclose(out.event_t[0, :2], [np.pi / 2, 3 * np.pi / 2], rtol=1e-8)
    assert np.isnan(out.event_t[0, 2])
    np.testing.assert_allclose(out.event_y[0, 0], [0, 1], atol=1e-8)


def first_time(*events):
    """When y, which grows at rate 1 from 0 in one step to 1, meets the first of `events`, each a function of y."""
    stacked = lambda y, rows: np.concatenate([event(y) for event in events], axis=-1)
    return solver.solve(lambda y, rows: 1 + 0 * y, [[0.0]], 1.0, first_step=1.0, events=stacked).event_t[0, 0]


def test_an_event_that_passes_within_a_step_is_seen_if_it_begins_where_another_one_does():
    begin, end = (lambda y: y - 0.3), (lambda y: y - 0.300001)
    between = lambda y: np.minimum(begin(y), -end(y))
    assert first_time(between, begin, end) == pytest.approx(0.3, abs=1e-11)
    assert np.isnan(first_time(between))
    assert first_time(lambda y: np.minimum(y - 0.3, 0.7 - y)) == pytest.approx(0.3, abs=1e-11)  # it lasts past a look


def test_a_batch_is_its_trajectories_one_by_one():
    starts = np.array([[2.0, 0.0], [1.5, -0.1], [0.3, 3.0]])
    fun = by_columns(lambda y, v: v, lambda y, v: 50 * ((1 - y * y) * v - y))
    together = solver.solve(fun, starts, 3.0)
    for i, start in enumerate(starts):
        alone = solver.solve(fun, [start], 3.0)
        np.testing.assert_allclose(together.y[i], alone.y[0], rtol=1e-10)
        assert together.steps[i] == alone.steps[0]


def test_on_step_can_stop_and_change_the_state():
    def on_step(segment):
        return segment.end % 1.0, np.where(segment.t > 4, 7, 0)

    out = solver.solve(lambda y, rows: np.ones_like(y), [[0.0]], 100.0, on_step=on_step, rtol=1e-3)
    assert out.status[0] == 7 and 0 <= out.y[0, 0] < 1 and out.t[0] < 100


def test_who_is_at_rest_may_have_to_go_on():
    asked = []

    def on_rest(result):
        asked.append(result.t.copy())
        return np.array([1]) if len(asked) == 1 else np.array([], int)

    out = solver.solve(lambda y, rows: np.ones_like(y), [[0.0], [5.0]], 100.0, on_rest=on_rest, max_growth=2.0,
                           on_step=lambda segment: (None, np.where(segment.end[:, 0] > 6 + 2 * len(asked), 7, 0)))
    assert (out.status == 7).all() and len(asked) == 2
    assert asked[1][0] == asked[0][0] and asked[1][1] > asked[0][1] and out.y[1, 0] > 8


def test_an_event_that_begins_where_another_does_is_seen_in_spite_of_rounding():
    """What is asked of one place and of several may round differently: here by the sign of zero."""
    begin, end = (lambda y: y - 0.3), (lambda y: y - 0.7)

    def stacked(y, rows):
        rounding = 1e-15 * (1 if y.ndim == 2 else -1)
        y = y[..., 0] + rounding
        return np.stack([np.minimum(begin(y), -end(y)), begin(y), end(y)], axis=-1)

    out = solver.solve(lambda y, rows: 1 + 0 * y, [[0.0]], 1.0, first_step=1.0, events=stacked)
    np.testing.assert_allclose(out.event_t[0], [0.3, 0.3, 0.7], atol=2e-9)


def test_rounding_seldom_changes_the_size_of_a_step():
    """Sizes are rungs of a ladder, an eighth of a factor of two apart: the highest that is no larger than what is wished."""
    wished = np.geomspace(1e-5, 1e5, 1000)
    taken, near = (methods.Extrapolation(8).on_ladder(h) for h in (wished, wished * (1 + 1e-13)))
    assert (taken <= wished * (1 + 1e-12)).all() and (taken > wished * 2 ** (-1 / 8) * (1 - 1e-12)).all()
    assert (taken == near).mean() > 0.99 and np.unique(taken).size < 300


def test_failures_are_statuses():
    out = solver.solve(lambda y, rows: y / 0.0, [[1.0]], 1.0)
    assert out.status[0] == solver.NOT_FINITE
    out = solver.solve(van_der_pol, [[2.0, 0.0]], 2.0, max_steps=5)
    assert out.status[0] == solver.TOO_MANY_STEPS and not out.success[0]
