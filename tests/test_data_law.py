"""A law of samples of one's own: it runs in the literal engine, and all that has no closed form of it says so."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import pytest
from z_test import agrees

from simsim import (Config, ConfigError, NotARunError, Trajectory, check_theorems, data, draw_views, find_phases, flow, laws,
                    loss_and_grad, measures, noise_laws, plots, population, rates, sgd, simulate, simulate_many, sweep, target,
                    theory)
from simsim.config import _told
from simsim.files.checkpoint import Checkpoint
from simsim.sgd import draws
from simsim.sgd.recorder import Recorder
from simsim.sweeps.grid import GridError

SMALL = Config(engine="sgd", m=2, d=12, batch_size=64, steps=30, feature_patches=4, alpha_ratio=3.0, sigma=0.7, lr=1e-3,
               head_lr=1e-3, init_seed=1)


@dataclass(frozen=True)
class Laplace(data.Law):
    """Long tails, coordinate by coordinate: not rotation invariant."""

    width: float = 0.5**0.5  # of variance 1

    def noise(self, rng, shape):
        return rng.laplace(scale=self.width, size=shape)


class Leaning(data.Law):
    """A mean and unequal variances."""

    def noise(self, rng, shape):
        return 0.3 + rng.standard_normal(shape) * np.linspace(0.5, 1.5, shape[1])


class Sparse(data.Law):
    """Of whole numbers, most of them 0; parameters in the class."""

    chance = 0.1

    def noise(self, rng, shape):
        return rng.integers(-1, 2, shape) * (rng.random(shape) < self.chance)


@dataclass(frozen=True)
class Student(data.Scaled):
    """Student's t in many dimensions, of variance 1 in each."""

    freedom: float = 20.0

    def scale(self, rng, count):
        return np.sqrt((self.freedom - 2) / rng.chisquare(self.freedom, count))

    def moment(self, order):
        if order >= self.freedom:
            return math.inf
        half = self.freedom / 2
        return (half - 1) ** (order / 2) * math.exp(math.lgamma(half - order / 2) - math.lgamma(half))


@dataclass(frozen=True)
class Empty(data.Scaled):
    """Noise patches of which many are empty."""

    full: float = 0.4

    def scale(self, rng, count):
        return (rng.random(count) < self.full) / np.sqrt(self.full)

    def moment(self, order):
        return self.full ** (1 - order / 2)


OPEN = [Laplace(), Leaning(), Sparse()]
CLOSED = [Student(), Empty()]
DERIVED = ("loss", "shares", "head_shares", "correlations", "output_std", "effective_rank", "participation_ratio", "collapse",
           "growth", "change")


def changed(**fields):
    return dataclasses.replace(SMALL, **fields)


# ---- one law, wherever samples are drawn --------------------------------------------------------------

def test_views_and_batches_have_the_noise_of_the_law():
    """Laplace's fourth moment is 6, Gauss's 3; both in views and in literal batches, at sigma = 0.7."""
    config = changed(data=Laplace(), batch_size=20_000, d=6)
    X1, X2 = draw_views(config, np.random.default_rng(0))
    whole = (X1 + X2)[~(X1 + X2)[:, :, :2].any(axis=2)][:, 2:] / 0.7
    _, drawn = draws.DrawnAhead(config).draw(0)
    for noise in (whole, drawn):
        assert agrees(np.stack([noise, noise**2, noise**4], axis=-1).reshape(-1, 3), [0, 1, 6])
        assert not agrees(noise.reshape(-1, 1) ** 4, [3.0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("law", OPEN + CLOSED, ids=str)
def test_a_run_of_ones_own_noise(law, dtype):
    """Every kind of run; a large batch comes from threads, and its bits are those of one thread."""
    config = changed(data=law, dtype=dtype, d=80, batch_size=600, steps=3)
    made = simulate(config)
    assert np.isfinite(made.batch_loss[1:]).all() and (made.overlaps[-1] != made.overlaps[0]).all()
    assert draws.DrawnAhead(config)._threads and draws.DrawnAhead(config).draw(1)[1].dtype == dtype
    for fields in (dict(target_momentum=0.9, momentum=0.5), dict(batch_norm=False, lr=1e-6, head_lr=1e-6),
                   dict(m=3, head="directpred"), dict(power=5), dict(features=3, strengths=(3.0, 2.0, 1.0), frequencies=None)):
        assert np.isfinite(simulate(changed(data=law, dtype=dtype, steps=5, **fields)).overlaps).all()


def test_threads_and_chunks_change_no_bit(monkeypatch):
    config = changed(data=Laplace(), d=80, batch_size=600, steps=3)
    many = simulate(config)
    monkeypatch.setattr(draws.os, "cpu_count", lambda: 1)
    assert np.array_equal(simulate(config).overlaps, many.overlaps)
    same, other = (draws.DrawnAhead(config).draw(step)[1].copy() for step in (0, 1))
    assert not np.array_equal(same, other) and len(np.unique(same)) == same.size  # no chunk is drawn twice


def test_an_object_is_the_same_as_its_name():
    for engine in ("sgd", "gram"):
        named, given = simulate(changed(engine=engine)), simulate(changed(engine=engine), data=data.Law())
        assert np.array_equal(named.overlaps, given.overlaps) and np.array_equal(named.loss, given.loss)
    many = simulate_many(SMALL, [0, 1], data=Laplace())
    assert np.array_equal(many[0].overlaps, simulate(SMALL, data=Laplace()).overlaps)
    assert not np.array_equal(many[0].overlaps, many[1].overlaps)
    assert not np.array_equal(many[0].overlaps[-1], simulate(SMALL).overlaps[-1])
    assert simulate(changed(data=Laplace()), data="gaussian").config == SMALL


# ---- what has no closed form says so ------------------------------------------------------------------

@pytest.mark.parametrize("law", OPEN, ids=str)
def test_what_has_no_closed_form_says_so(law):
    made = simulate(SMALL, data=law)
    for name in DERIVED:
        with pytest.raises(data.NoClosedForm, match=f"no closed form under the data law {type(law).__name__}"):
            getattr(made, name)
    config, state = made.config, made.state()
    asks = [lambda: population.loss(config, state.a, state.gram, state.E), lambda: population.shares(config, state.a, state.gram),
            lambda: population.loss_and_grad(np.eye(2, 12) + 0.1, np.eye(2), config),
            lambda: target.loss(config, state.a, state.gram, state.E, state.a, state.gram), lambda: theory.batch_spread(config),
            lambda: measures.growth(config, state.a, state.gram, state.E), lambda: flow.Equations.from_config(config)]
    for ask in asks:
        with pytest.raises(data.NoClosedForm, match=f"data law {type(law).__name__}"):
            ask()
    for ask in (lambda: laws.noise(config), lambda: noise_laws.growth(config)):
        with pytest.raises(ValueError, match=f"the paper's data: gaussian asked, {type(law).__name__}"):
            ask()
    for law_of_two in (laws.substitution_time, laws.succeeds, laws.temptation, laws.leak):
        with pytest.raises(ValueError, match=f"the paper's data: gaussian asked, {type(law).__name__}"):
            law_of_two(config, state.a, state.noise_norms)
    for engine in ("gram", "flow"):
        with pytest.raises(ConfigError, match=f"`data` = {type(law).__name__}.*engine {engine} is derived for Gaussian noise.* "
                                              "engine sgd takes any law"):
            changed(data=law, engine=engine)
    assert loss_and_grad(np.eye(2, 12) + 0.1, np.eye(2), *draw_views(config, np.random.default_rng(0)))[0] > 0


@pytest.mark.parametrize("fields", [dict(), dict(head="frozen"), dict(m=1), dict(m=3, target_momentum=0.9),
                                    dict(features=1, alpha_ratio=1.0), dict(batch_norm=False, lr=1e-6, head_lr=1e-6)], ids=str)
def test_the_report_is_outside_by_name_and_shows_what_there_is(fields, tmp_path):
    made = simulate(changed(**fields), data=Laplace())
    phases, report = find_phases(made), check_theorems(made)
    assert phases.ends()[:3] == (None,) * 3 and phases.collapsed is None and phases.strong_neuron is None
    assert all("no closed form under Laplace" in phases.missing[name] for name in ("strong_learned", "substituted", "weak_learned"))
    assert "data law Laplace(width=0.7" in report.title and {check.verdict for check in report} == {"OUTSIDE"}
    assert all("the paper's data" in check.wants for check in report)
    measured = {check.claim: check.words.measured for check in report}
    assert f"w_1 {made.overlaps[-1, 0, 0]:.3g}" in measured["overlaps <w_j, v_l>"]
    assert f"w_1 {made.norms[-1, 0]:.3g}" in measured["||w_j||"]
    assert f"{made.batch_loss[-1]:.4g}" in measured["loss of a batch: first logged, and last"]
    assert measured["I    a neuron learns v_1"] == "no closed form"
    numbers = {check.claim: check.measured for check in report}
    assert numbers["||w_j||"] == tuple(made.norms[-1]) and numbers["I    a neuron learns v_1"] is None
    assert "Who learned what by step 30 is not known" in report.story[0] and "data law Laplace" in report.story[0]
    assert "the paper's data" in " ".join(str(report).split()) and "no closed form" in report.full()
    by_role = plots.phases(made)
    said = [" ".join(text.get_text() for text in ax.texts) for ax in by_role]
    assert not any("no closed form" in text for text in said[:-2]) and all("no closed form" in text for text in said[-2:])
    assert len(by_role[0].lines) >= made.config.m * made.config.features and len(by_role[-1].lines) == 1
    assert "no closed form" in plots.correlations({"a": made})[0, 0].texts[0].get_text()
    plots.heads({"a": made, "b": simulate(changed(**fields))})
    plots.correlations({"a": made, "b": simulate(changed(**fields))})
    page = plots.page(made, report)
    assert "no closed form" in page and "<video" not in page
    with pytest.raises(ValueError):
        plots.motion(made)
    plots.plt.close("all")
    assert "batch_loss" in made._repr_html_()
    made.to_csv(tmp_path / "run.csv")
    assert "norms_1" in (tmp_path / "run.csv").read_text().splitlines()[0] and "shares" not in (tmp_path / "run.csv").read_text()


def test_the_return_of_the_head_needs_no_shares():
    made = simulate(changed(steps=60, log_every=1), data=Laplace())
    head = np.tile(np.eye(2), (len(made), 1, 1))
    head[:, 1, 0] = np.interp(np.arange(len(made)), [0, 20, 40, 60], [0, 0.5, 0.01, 0.0])
    phases = find_phases(dataclasses.replace(made, head=head))
    assert phases.head_returned.step == phases.rows[3] and 30 < phases.rows[3] < 42 and "head_returned" not in phases.missing


# ---- noise that is Gaussian but for its length ---------------------------------------------------------

@pytest.mark.parametrize("law", CLOSED, ids=str)
def test_scaled_noise_is_known_exactly(law):
    """C from 200,000 samples, in literal batches; that of Gaussian noise is told apart."""
    config = changed(data=law, batch_size=200_000, d=5)
    rng = np.random.default_rng(1)
    W = rng.standard_normal((2, 5)) / np.sqrt(5) * [0.3, 0.6, 1, 1, 1]
    X1, X2 = draw_views(config, rng)
    f = np.concatenate([((X @ W.T) ** 3).sum(axis=1) for X in (X1, X2)], axis=1) / 0.7**3
    a, gram = W[:, :2], W[:, 2:] @ W[:, 2:].T
    products = f[:, :, None] * f[:, None, :]
    assert agrees(products, target.second_moments(config, a, gram, a, gram))
    assert not agrees(products, target.second_moments(changed(d=5), a, gram, a, gram))


def test_scaled_noise_goes_everywhere(tmp_path):
    """In gram, and in the flow to an end that is certified: there it is as Gaussian noise in E[r^6] times as many patches."""
    for engine in ("gram", "sgd"):
        made = simulate(changed(engine=engine, batch_size=20_000, steps=5, target_momentum=0.9), data=Empty())
        assert abs(made.batch_loss[-1] - made.loss[-1]) < 0.1
        report = check_theorems(made)
        assert {check.verdict for check in report} == {"OUTSIDE"} and "Empty(full=0.4)" in report.title
    setting, gaussian = (population.Setting.from_config(changed(engine="flow", data=law)) for law in (Empty(), "gaussian"))
    assert setting.nu == pytest.approx(gaussian.nu / 0.4**2) and setting.mu11 == gaussian.mu11
    made = simulate(changed(engine="flow", head="frozen", d=50), data=Empty())
    assert made.ended
    made.save(tmp_path / "run.npz")
    assert Trajectory.load(tmp_path / "run.npz", data=Empty()).config == made.config
    with pytest.raises(data.NoClosedForm, match="eq. 51 is about Gaussian noise"):
        theory.batch_spread(made.config)


def taken_up(config, step):
    """The last state of a run that was left at `step` and taken up from its arrays alone."""
    first, second = sgd.start([config]), sgd.start([config])
    for state in sgd.iterate(first):
        if state.step == step:
            break
    for name, array in second.arrays.items():
        array[...] = first.arrays[name]
    second.step = step
    for _ in sgd.iterate(second):
        pass
    return second


@pytest.mark.parametrize("fields", [dict(), dict(dtype="float32"), dict(target_momentum=0.9, momentum=0.5),
                                    dict(patch_counts=(5, 3), feature_patches=5)], ids=str)
def test_scaled_runs_of_gram_stand_alone_and_go_on(fields):
    """Side by side as alone, and on from the middle of a block, bit for bit."""
    config = changed(engine="gram", data=Student(), steps=100, **fields)
    many, alone = simulate_many(config, [0, 1, 2]), simulate(dataclasses.replace(config, seed=2))
    assert np.array_equal(many[2].overlaps, alone.overlaps)
    assert np.array_equal(taken_up(dataclasses.replace(config, seed=2), 70).overlaps[0], alone.overlaps[-1])


class NoMoment(data.Scaled):
    def scale(self, rng, count):
        return rng.random(count)


class WrongSecond(Empty):
    def moment(self, order):
        return 1.1 if order == 2 else super().moment(order)


class TooSmall(Empty):
    def moment(self, order):
        return super().moment(order) if order < 3 else 0.5


class Negative(Empty):
    def scale(self, rng, count):
        return -super().scale(rng, count)


class Matrix(Empty):
    def scale(self, rng, count):
        return np.ones((count, 1))


@pytest.mark.parametrize("law, words", [
    (NoMoment(), "must say in `moment`"), (data.Scaled(), "`scale` must take a generator"),
    (WrongSecond(), r"`moment\(2\)` is 1.1, and"), (TooSmall(), r"below moment\(2\)"), (Negative(), "at least 0"),
    (Matrix(), r"of shape \(100000,\)"),
    (Student(5.0), r"`moment\(6\)` must be a finite number above 0, got inf")])
@pytest.mark.parametrize("engine", ["gram", "sgd"])
def test_a_scale_that_is_not_what_it_says(law, words, engine):
    with pytest.raises(ConfigError, match=words):
        changed(data=law, engine=engine)


def test_a_scaled_law_with_another_noise_is_not_closed():
    class Skewed(Empty):
        def noise(self, rng, shape):
            return super().noise(rng, shape) ** 2

    class OtherMask(data.Law):
        def samples(self, config, rng):
            return super().samples(config, rng)

    class Same(data.Law):
        """Overrides nothing, so all is known."""

    assert not Skewed().closed and not OtherMask().closed and Same().closed and Empty().closed
    with pytest.raises(ConfigError, match="engine gram is derived for"):
        Config(data=Skewed())
    with pytest.raises(TypeError, match="Sneaky.closed: it follows from `noise`"):
        class Sneaky(data.Law):
            closed = True


# ---- hostile laws -----------------------------------------------------------------------------------------

class Short(data.Law):
    def noise(self, rng, shape):
        return rng.standard_normal(shape[1])


class Nan(data.Law):
    def noise(self, rng, shape):
        noise = rng.standard_normal(shape)
        noise[0, 0] = np.nan
        return noise


class Complex(data.Law):
    def noise(self, rng, shape):
        return rng.standard_normal(shape) * 1j


class Nothing(data.Law):
    def noise(self, rng, shape):
        return None


class Words(data.Law):
    def noise(self, rng, shape):
        return [["a"] * shape[1]] * shape[0]


class Global(data.Law):
    def noise(self, rng, shape):
        return np.random.default_rng().standard_normal(shape)


class Own(data.Law):
    def noise(self, rng, shape):
        return np.random.default_rng(7).standard_normal(shape)


class NoShape(data.Law):
    def noise(self, rng):
        return rng.standard_normal(3)


class Wide(data.Law):
    def noise(self, rng, shape):
        return rng.standard_normal(shape) * np.ones(99)


@pytest.mark.parametrize("law, words", [
    (Short(), "must return real numbers of shape"), (Nan(), "finite numbers, got nan"), (Complex(), "real numbers of shape"),
    (Nothing(), "real numbers of shape"), (Words(), "real numbers of shape"), (Global(), "draws other numbers from the same one"),
    (Own(), "the same numbers from another"),
    (NoShape(), "must take a generator and a shape"), (Wide(), "must take a generator and a shape")])
def test_hostile_noise_is_refused_before_anything_runs(law, words):
    with pytest.raises(ConfigError, match=f"`data` = {type(law).__name__}.*{words}"):
        changed(data=law)


def test_noise_that_breaks_later_is_named(monkeypatch):
    class Later(data.Law):
        def noise(self, rng, shape):
            noise = rng.standard_normal(shape)
            return noise * np.inf if shape[0] < 1000 and noise[0, 0] > 1 else noise

    for fields in (dict(), dict(d=80, batch_size=1200)):  # drawn at once, and by threads
        with pytest.raises(ValueError, match="Later.*finite numbers, got"):
            simulate(changed(steps=50, **fields), data=Later())


@pytest.mark.parametrize("wrong", [Laplace, 3, "laplace", ["gaussian"], np.random.standard_normal])
def test_what_is_no_law(wrong):
    with pytest.raises(ConfigError, match="`data` = .*choose from gaussian"):
        Config(engine="sgd", data=wrong)


# ---- files ---------------------------------------------------------------------------------------------------

def test_a_run_in_a_file_asks_for_its_law(tmp_path):
    made = simulate(changed(target_momentum=0.9), data=Laplace(0.5))
    path = tmp_path / "run.npz"
    made.save(path)
    assert "loss" not in np.load(path).files and "norms" in np.load(path).files
    with pytest.raises(NotARunError, match=r"its data is an object, Laplace\(width=0.5\).*load\(path, data=...\)"):
        Trajectory.load(path)
    for other in (Laplace(0.6), Leaning(), "gaussian"):
        with pytest.raises(NotARunError, match=r"its data is Laplace\(width=0.5\), not "):
            Trajectory.load(path, data=other)
    again = Trajectory.load(path, data=Laplace(0.5))
    assert again.config == made.config and np.array_equal(again.overlaps, made.overlaps)
    assert Laplace(0.5) == Laplace(0.5) != Laplace(0.6) and "width=0.5" in repr(Laplace(0.5))


def test_parameters_in_the_class_are_told(tmp_path, monkeypatch):
    """The constants of a class of one's own are part of what a file knows it by."""
    made = simulate(SMALL, data=Sparse())
    made.save(tmp_path / "run.npz")
    Trajectory.load(tmp_path / "run.npz", data=Sparse())
    assert _told(Sparse()) == "Sparse(chance=0.1)" and _told(data.Law()) == "Law()"
    monkeypatch.setattr(Sparse, "chance", 0.2)
    with pytest.raises(NotARunError, match=r"its data is Sparse\(chance=0.1\), not Sparse\(chance=0.2\)"):
        Trajectory.load(tmp_path / "run.npz", data=Sparse())


@pytest.mark.parametrize("fields", [dict(), dict(d=80, batch_size=600, dtype="float32"),
                                    dict(target_momentum=0.9, momentum=0.5)], ids=str)
def test_a_run_goes_on_bit_for_bit(fields, tmp_path):
    config = changed(data=Laplace(), **fields)
    second = taken_up(config, 11)
    assert np.array_equal(second.overlaps[0], simulate(config).overlaps[-1])
    Checkpoint(tmp_path / "checkpoint.npz", Recorder([config]), second).save()
    with pytest.raises(NotARunError, match="its data is an object"):
        Checkpoint.load(tmp_path / "checkpoint.npz")


def test_sweeps_and_rates_know_names_alone(tmp_path):
    with pytest.raises(GridError, match="`data` is an object.*simulate_many"):
        sweep({"d": 12, "steps": 5, "engine": "sgd", "data": [Laplace()]}, tmp_path / "out", seeds=[0])
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="its data is an object, .* use `simulate_many`"):
        rates.measure(changed(data=Laplace()), 2)
    assert rates.lookup(Config(data=data.Law())) is None and rates.lookup(Config()) is not None
