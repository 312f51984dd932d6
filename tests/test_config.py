"""A Config is valid once made; what cannot work is refused by name."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest

from simsim import Config, ConfigError, flow, heads, memory, objectives, simulate
from simsim.config import DTYPES, HEAD_TERMS
from simsim.data import mask_moments
from simsim.sgd.recorder import logged_steps
from simsim.schedules import SCHEDULES

BAD = [("alpha_ratio", 0.5), ("alpha_ratio", float("nan")), ("alpha_weak", 0), ("alpha_weak", -1.0), ("d", 2),
       ("d", 10**13), ("d", 100.5), ("patches", 7), ("patches", 0), ("feature_patches", 1),
       ("feature_patches", 9), ("sigma", 0.0), ("sigma", float("inf")), ("m", 0), ("m", True), ("m", "two"),
       ("m", 99), ("head", "linear"), ("head_scale", -1.0), ("head_diagonal", "free"), ("features", 0),
       ("features", 49), ("strengths", ()), ("strengths", "31"), ("strengths", 3.0), ("strengths", (3.0, 2.0, 1.0)),
       ("strengths", (1.0, 3.0)), ("patch_counts", (7, 4.5)), ("patch_counts", (7,)),
       ("patch_counts", (9, 4)), ("patch_counts", (7, 1)), ("patch_counts", 7), ("strengths", (3.0, -1.0)),
       ("strengths", (3.0, "1")), ("objective", "triplet"),
       ("data", "laplace"), ("data", 3), ("power", 2), ("power", 0), ("power", -3), ("power", 9),
       ("power", 3.0), ("power", True), ("power", "3"),
       ("stop_gradient", 1), ("batch_norm", "no"), ("barlow_lambda", -0.1),
       ("engine", "adam"), ("steps", 0), ("batch_size", 2), ("lr", 0.0),
       ("lr", -1e-3), ("head_lr", -1.0), ("seed", -1), ("init_seed", 1.5), ("dtype", "float16"), ("log_every", 0)]


@pytest.mark.parametrize("option, value", BAD)
def test_refusals_name_the_option_and_the_value(option, value):
    with pytest.raises(ConfigError) as caught:
        Config(**{option: value})
    # d = m + 1 is the fault of d, whichever of the three was given.
    assert caught.value.option == option or (option, caught.value.option) in {("m", "d"), ("features", "d")}
    assert repr(caught.value.value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine, option, value", [("sgd", "d", 10**9), ("gram", "batch_size", 10**9), ("flow", "m", 200),
                                                   ("flow", "features", 900)])
def test_what_does_not_fit_into_memory_is_refused(engine, option, value):
    with pytest.raises(ConfigError, match="would take .* of memory, of 4 GiB") as caught:
        Config(engine=engine, **{"d": 1000, option: value})
    assert caught.value.option == option
    Config(engine="gram", d=10**12)


@pytest.mark.parametrize("option, fields", [("log_every", dict(m=64, d=100, steps=10**7, log_every=1)),
                                            ("log_every", dict(steps=10**7, log_every=1)),
                                            ("batch_size", dict(batch_size=10**9, steps=10**7, log_every=1)),
                                            ("patches", dict(patches=10**8, feature_patches=5 * 10**7, batch_size=3))])
def test_a_log_or_samples_that_do_not_fit_are_refused_by_their_own_name(option, fields):
    with pytest.raises(ConfigError, match="GiB.*decide") as caught:
        Config(**fields)
    assert caught.value.option == option
    Config(steps=10**6, log_every=1)


VICREG = ("vicreg_invariance", "vicreg_variance", "vicreg_covariance")


@pytest.mark.parametrize("options, idle", [
    (dict(), {"barlow_lambda", *VICREG, "head_scale"}),
    (dict(head="frozen"), {"barlow_lambda", *VICREG, "head_scale", "head_lr", *HEAD_TERMS}),
    (dict(objective="barlow"), {*VICREG, "head_scale", "head_lr", *HEAD_TERMS}),
    (dict(objective="barlow", head="random"), set(VICREG)),
    (dict(head="directpred"), {"barlow_lambda", *VICREG, "head_scale", "head_lr", *HEAD_TERMS}),
    (dict(objective="vicreg"), {"barlow_lambda", "vicreg_variance", "head_scale", "head_lr", *HEAD_TERMS}),
    (dict(objective="vicreg", batch_norm=False, lr=1e-4, sigma=0.1, alpha_weak=0.1),
     {"barlow_lambda", "head_scale", "head_lr", *HEAD_TERMS}),
    (dict(head_lr=0.0), {"barlow_lambda", *VICREG, "head_scale", *HEAD_TERMS})])
def test_options_without_effect(options, idle):
    """What is said to have none has none, and what is not said has some."""
    config = Config(steps=20, batch_size=16, d=6, **options)
    assert set(config.without_effect()) == idle
    for name, value in (("barlow_lambda", 0.3), ("head_scale", 2.0), ("head_lr", 1e-5), ("head_decay", 0.3),
                        ("head_momentum", 0.5), ("head_lr_schedule", "cosine"), *((name, 3.0) for name in VICREG)):
        runs = simulate(config), simulate(dataclasses.replace(config, **{name: value}))
        assert np.array_equal(runs[0].overlaps, runs[1].overlaps) == (name in idle)


def test_a_reseeded_config_is_a_replaced_one():
    config = Config(m=3, alpha_ratio=5.0, features=3)
    config.alphas
    for seed, init_seed in ((3, 4), (np.int64(7), 2**70), (1, None)):
        reseeded = config.reseeded(seed, init_seed)
        assert reseeded == dataclasses.replace(config, seed=seed, init_seed=init_seed)
        assert reseeded.alphas == config.alphas and type(reseeded.seed) is int
    assert (config.seed, config.init_seed) == (0, Config(alpha_ratio=5.0).init_seed)
    for seeds, name in (((-1, 0), "seed"), ((0, 2**128), "init_seed"), ((0.5, 0), "seed"), ((None, 0), "seed")):
        with pytest.raises(ConfigError, match=f"`{name}`"):
            config.reseeded(*seeds)


@pytest.mark.parametrize("fields", [dict(), dict(steps=1), dict(steps=10**9), dict(steps=10**5, log_every=7),
                                    dict(steps=10**5, log_every=1), dict(steps=5, log_every=9)])
def test_the_memory_of_the_log_is_that_of_the_steps_logged(fields):
    short, long = (Config(m=3, **{**fields, "log_every": every}) for every in (10**9, fields.get("log_every")))
    raw = 8 * (2 * 9 + 2 * 3 + 3)
    added = len(logged_steps(long)) - len(logged_steps(short))
    assert long.bytes_needed() - short.bytes_needed() >= raw * added
    assert long.bytes_needed() - short.bytes_needed() <= 20 * raw * (added + 500)


def test_the_rules_of_memory_by_hand():
    """Rows; bytes of a log, with eight copies of its numbers and 64 beside each row; of 64 steps of gram; of each engine."""
    small = dict(m=3, batch_size=100, feature_patches=5)
    rows = [memory.rows_logged(Config(steps=steps, log_every=every)) for steps, every in ((10**5, 7), (5, None), (10**4, None))]
    assert rows == [14287, 7, 502] and {*map(type, rows)} == {int}
    logs = [memory.of_log(Config(**small, steps=100, log_every=1, target_momentum=tau)) for tau in (0, 0.9)]
    assert logs == [8 * 102 * (8 * (2 * 9 + 6 + 3) + 64), 8 * 102 * (8 * (3 * 9 + 12 + 3) + 64)]
    plain, spelled = (64 * (8 * (9 + 5 * 100 + 8 * 16) + flags) for flags in (300, 600))
    counts = dict(m=3, batch_size=100, patch_counts=(5, 5))
    assert [memory.of_block(Config(**fields)) for fields in (small, counts)] == [plain, spelled]
    assert memory.of_engine(Config(**small)) == 8 * 6 * 100 * 8 * 3 + plain
    assert memory.of_engine(Config(**small, target_momentum=0.9)) == 8 * 7 * 100 * 8 * 3 + plain + 64 * 8 * 9
    assert memory.of_engine(Config(**small, engine="sgd")) == 8 * (6 * 100 * 8 * 3 + 2 * 100 * 3 * 50 + 3 * 3 * 50)
    assert memory.of_engine(Config(engine="flow")) == 8 * (18 * 12**2 + 7 * 12 * 4 + 1000 * 6)


@pytest.mark.parametrize("option, fields", [
    ("sigma", dict(sigma=1e-20)), ("sigma", dict(sigma=1e20, alpha_weak=0.1)), ("alpha_ratio", dict(alpha_weak=1e20)),
    ("lr", dict(engine="flow", lr=1e-300, head_lr=1e-3)), ("lr", dict(engine="flow", lr=1e60, head_lr=1e-3)),
    ("lr", dict(engine="flow", head_lr=1e60))])
def test_what_no_number_can_follow_is_refused(option, fields):
    with pytest.raises(ConfigError, match="at least|at most|from 1e-50 to") as caught:
        Config(**fields)
    assert caught.value.option == option


def test_scaled_alphas_are_what_matters_of_alpha_and_sigma():
    assert Config(alpha_ratio=3.0, alpha_weak=4.0, sigma=2.0).scaled_alphas == (6.0, 2.0)
    assert Config(sigma=1e20).scaled_alphas == (2e-19, 1e-20)
    assert Config(engine="flow", lr=1e-300, head_lr=1e-3, head="frozen").kappa > 1e50  # no head, no kappa


@pytest.mark.parametrize("fields, message", [
    (dict(frequencies=(0.5, 0.6)), "sum to 1, .* and sum to 1.1"), (dict(frequencies=(0.6666667, 0.3333334)), "1.0000001"),
    (dict(frequencies=(1.0,)), "as many as features = 2"),
    (dict(frequencies=(1.0, 0.0)), "above 0"), (dict(frequencies=(0.1, 0.9), alpha_ratio=1.2), "must come first"),
    (dict(frequencies=0.5), "a tuple of numbers"), (dict(frequencies=np.array(0.5)), "a tuple of numbers")])
def test_frequencies_that_cannot_be(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Config(**fields)
    assert caught.value.option == "frequencies"
    assert Config(frequencies=[0.9, 0.1]).frequencies == (0.9, 0.1) and Config(frequencies=(0.1, 0.9)).alpha_ratio == 20


def test_a_rate_that_has_lost_its_digits_is_refused():
    with pytest.raises(ConfigError, match="`lr` = 5e-324 is not possible: it must be at least 1e-300"):
        Config(lr=5e-324)
    assert Config(lr=1e-300).lr == 1e-300


def test_a_picked_seed_is_a_picked_start_for_its_sizes_alone():
    """At another d or m the same seed gives another start, picked by nobody."""
    assert Config().hand_picked and Config(alpha_ratio=3.0, head="frozen").hand_picked
    assert Config(sigma=2.0, alpha_weak=2.0).hand_picked and Config(strengths=(3, 1), frequencies=(0.5, 0.5)).hand_picked
    others = (dict(d=10**8), dict(m=4), dict(features=3), dict(init_seed=0), dict(alpha_ratio=10.0), dict(alpha_weak=2.0),
              dict(feature_patches=4), dict(frequencies=(0.9, 0.1)), dict(alpha_ratio=3.0, init_seed=7424612))
    assert not any(Config(**fields).hand_picked for fields in others)
    assert [Config(**fields).picked_for for fields in others] == [None, None, None, None, 20.0, 20.0, 20.0, 20.0, 20.0]


def test_strengths_have_the_start_of_their_ratio():
    for strengths in ((12, 6), (0.6, 0.3), (9, 3), (3, 2, 1)):
        ratio = round(strengths[0] / strengths[-1], 9)
        given = dict(strengths=strengths, features=len(strengths))
        assert Config(**given).init_seed == Config(alpha_ratio=ratio).init_seed != Config().init_seed
        assert Config(**given).reseeded(1, None).init_seed == Config(**given).init_seed


def random_options(rng):
    """Options of a Config drawn at random, many of them at the edge of what is allowed or beyond."""
    K = int(rng.integers(1, 5))
    size = lambda: float(10.0 ** rng.uniform(-21, 21))
    chances = rng.dirichlet(np.ones(K))
    options = {"features": K, "m": int(rng.integers(1, 9)), "d": int(10 ** rng.uniform(0.5, 12.2)), "sigma": size(),
               "alpha_ratio": size(), "alpha_weak": size(), "strengths": tuple(sorted((size() for _ in range(K)), reverse=True)),
               "patches": 2 * int(rng.integers(1, 9)), "feature_patches": int(rng.integers(1, 18)),
               "patch_counts": tuple(rng.integers(2, 9, K).tolist()), "frequencies": tuple(np.sort(chances)[::-1].tolist()),
               "lr": size(), "head_lr": size() if rng.random() < 0.8 else 0.0, "seed": int(rng.integers(2**62)) ** 2,
               "init_seed": int(rng.integers(2**62)), "head": str(rng.choice(heads.HEADS)), "head_scale": size(),
               "head_diagonal": str(rng.choice(heads.DIAGONALS)), "objective": str(rng.choice(objectives.OBJECTIVES)),
               "engine": str(rng.choice(["gram", "sgd", "flow"])), "stop_gradient": bool(rng.random() < 0.5),
               "batch_norm": bool(rng.random() < 0.8), "barlow_lambda": size(), **{name: size() for name in VICREG},
               "t_max": size(), "dtype": str(rng.choice(DTYPES)),
               "log_every": int(rng.integers(1, 100)), "batch_size": int(rng.integers(1, 5000)),
               "steps": int(rng.integers(0, 10**6)), "weight_decay": size(), "head_decay": size(),
               "momentum": float(rng.uniform(-0.1, 1.1)),
               "head_momentum": float(rng.uniform(-0.1, 1.1)), "target_momentum": float(rng.uniform(-0.1, 1.1)),
               "data": str(rng.choice(["gaussian", "laplace"])), "power": int(rng.integers(-1, 9)),
               "lr_schedule": str(rng.choice(SCHEDULES)), "head_lr_schedule": str(rng.choice(SCHEDULES))}
    few = rng.choice(list(options), size=int(rng.integers(1, 6)), replace=False)
    return {name: options[name] for name in {"features", *few.tolist()}}


def test_any_config_that_can_be_made_can_be_read_back():
    """Of 4,000 sets of options some hundreds make a Config, with every option in some of them; each comes back from JSON."""
    rng, made, used = np.random.default_rng(34), 0, set()
    for _ in range(4000):
        options = random_options(rng)
        try:
            config = Config(**options)
        except ConfigError:
            continue
        made, used = made + 1, used | set(options)
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config, options
        assert dataclasses.replace(config, seed=1).reseeded(config.seed, config.init_seed) == config, options
    assert made > 300 and used == {field.name for field in dataclasses.fields(Config)}


def test_strengths_too_far_apart_are_refused_by_their_own_name():
    with pytest.raises(ConfigError, match="`strengths` = .* the first must be at most 1e\\+20 times the last"):
        Config(strengths=(1e11, 1e-10))


def test_unknown_fields_are_refused_by_name():
    with pytest.raises(ConfigError, match="alpha_ration.*did you mean `alpha_ratio`"):
        Config(alpha_ration=3)
    with pytest.raises(ConfigError, match="alpha_ration.*alpha_ratio"):
        Config.from_dict({"alpha_ration": 3})


def test_numpy_scalars_become_plain_values():
    config = Config(m=np.int64(3), lr=np.float32(0.5), d=np.uint8(50))
    assert type(config.m) is int and type(config.lr) is float and type(config.d) is int
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().m = 3
    assert hash(Config()) == hash(Config())


def test_default_rates_follow_the_strength():
    weak, strong = Config(alpha_ratio=2), Config(alpha_ratio=20)
    assert weak.lr == pytest.approx(100 * strong.lr)
    assert Config(lr=0.1, head_lr=0.05).kappa == pytest.approx(0.5)
    assert Config(alpha_weak=3.0, alpha_ratio=4.0).alphas == (12.0, 3.0)


def test_head_is_trained():
    assert Config().head_is_trained
    assert not Config(head="frozen").head_is_trained
    assert not Config(head_lr=0).head_is_trained


def test_changes_are_what_differs():
    assert Config().changes() == {}
    assert Config(m=3, seed=1).changes() == {"m": 3, "seed": 1}


IMPOSSIBLE = [  # pairs of options, and the one that is to blame
    ({"objective": "naive", "head": "trained"}, "head"),
    ({"objective": "naive", "stop_gradient": True}, "stop_gradient"),
    ({"objective": "barlow", "batch_norm": False}, "batch_norm"),
    ({"features": 3, "strengths": (2.0, 1.0)}, "strengths"),
    ({"strengths": (9.0, 3.0), "alpha_ratio": 5.0}, "alpha_ratio"),
    ({"strengths": (9.0, 3.0), "alpha_weak": 2.0}, "alpha_weak"),
    ({"patch_counts": (6, 4), "feature_patches": 5}, "feature_patches"),
    ({"patch_counts": (4, 7), "alpha_ratio": 1.0}, "patch_counts"),  # what is learned first comes first
    ({"patch_counts": (8, 8), "engine": "flow"}, "patch_counts"),
    ({"features": 3, "m": 3, "d": 5}, "d"),
    ({"head": "free-diagonal", "head_diagonal": "free"}, "head_diagonal"),
]


@pytest.mark.parametrize("options, blamed", IMPOSSIBLE)
def test_impossible_pairs_are_refused(options, blamed):
    with pytest.raises(ConfigError, match=f"`{blamed}`") as caught:
        Config(**options)
    assert "\n" not in str(caught.value)


def test_the_objective_decides_what_is_left_open():
    followed = {name: (Config(objective=name).head, Config(objective=name).stop_gradient)
                for name in ("simsiam", "naive", "barlow")}
    assert followed == {"simsiam": ("trained", True), "naive": ("frozen", False), "barlow": ("frozen", False)}
    assert Config(objective="barlow", head="trained", stop_gradient=True).changes() == {
        "objective": "barlow", "head": "trained", "stop_gradient": True}
    assert Config(objective="naive").changes() == {"objective": "naive"}


def test_patches_feature_by_feature():
    """The most of them are `feature_patches`, the least decide the noise; effective strengths are those of eq. 16."""
    config = Config(patch_counts=np.array([4, 6]), alpha_ratio=3.0)
    assert config.patch_counts == config.patches_by_feature == (4, 6) and config.feature_patches == 6 and config.noise_patches == 4
    seen = [mask_moments(8, k)[1] for k in (4, 6)]
    assert config.effective_alphas == pytest.approx((3.0 * (seen[0] / seen[1]) ** (1 / 6), 1.0))
    assert Config.from_dict(config.to_dict()) == config and Config().patches_by_feature == (7, 7)
    alike = Config(patch_counts=(7, 7))
    assert alike.effective_alphas == pytest.approx(Config().effective_alphas)


def test_strengths_of_any_number_of_features():
    assert Config(features=1, alpha_ratio=6.0, alpha_weak=0.5).alphas == (3.0,)
    assert Config(features=2, alpha_ratio=6.0, alpha_weak=0.5).alphas == (3.0, 0.5)
    assert Config(features=4, alpha_ratio=27.0).alphas == pytest.approx((27, 9, 3, 1))
    given = Config(features=3, strengths=np.array([8, 4, 2]))
    assert given.alphas == given.strengths == (8.0, 4.0, 2.0)
    assert (given.alpha_ratio, given.alpha_weak, given.alpha_strong) == (4.0, 2.0, 8.0)
    assert given.changes() == {"features": 3, "strengths": (8.0, 4.0, 2.0)}
    assert Config.from_dict(json.loads(json.dumps(given.to_dict()))) == given
    assert dataclasses.replace(given, seed=1).alphas == given.alphas


def test_barlow_twins_without_its_second_sum_is_a_configuration():
    """lambda = 0 asks of every neuron that two views agree, and nothing of two neurons."""
    assert Config(objective="barlow", barlow_lambda=0.0).barlow_lambda == 0


VARIANTS = [dict(m=m, objective=objective, barlow_lambda=weight, head=head, batch_norm=norm, stop_gradient=stop)
            for m in (1, 2) for objective in objectives.OBJECTIVES for weight in (0.0, 0.3) for head in heads.HEADS
            for norm in (True, False) for stop in (True, False)]


def test_where_nothing_moves_without_noise_config_says_so_before_the_flow_does(monkeypatch):
    """Of every objective and head, with one neuron and with two: what rests is what the flow cannot leave."""
    monkeypatch.setattr(Config, "_check_together", lambda self: None)
    seen = set()
    for variant in VARIANTS:
        try:
            config = Config(engine="flow", d=20, feature_patches=8, lr=1.0, head_lr=1.0, **variant)
        except ConfigError:
            continue
        stays = flow.follow_many(config, [0], max_steps=3).steps[0] == 0
        assert config.stands_still == stays, variant
        seen.add(bool(stays))
    assert seen == {True, False}


@pytest.mark.parametrize("m, K", [(2, 40), (2, 60), (8, 20), (20, 2), (30, 3)])
def test_the_memory_of_a_flow_is_that_of_the_rule(m, K):
    """Not above it, nor a tenth of it: measured while it takes two steps."""
    config = Config(engine="flow", d=10**4, m=m, features=K, alpha_ratio=3.0, lr=1.0, head_lr=1.0, t_max=1e-30)
    tracemalloc.start()
    flow.follow_many(config, [0], max_steps=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert memory.of_engine(config) / 10 < peak < memory.of_engine(config)
