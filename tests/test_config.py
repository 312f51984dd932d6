"""A Config is valid once made; what cannot work is refused by name."""

import dataclasses
import json

import numpy as np
import pytest

from simsim import Config, ConfigError

BAD = [("alpha_ratio", 0.5), ("alpha_ratio", float("nan")), ("alpha_weak", 0), ("alpha_weak", -1.0), ("d", 2),
       ("d", 10**13), ("d", 100.5), ("patches", 7), ("patches", 0), ("feature_patches", 1),
       ("feature_patches", 9), ("sigma", 0.0), ("sigma", float("inf")), ("m", 0), ("m", True), ("m", "two"),
       ("m", 99), ("head", "linear"), ("engine", "adam"), ("steps", 0), ("batch_size", 2), ("lr", 0.0),
       ("lr", -1e-3), ("head_lr", -1.0), ("seed", -1), ("init_seed", 1.5), ("dtype", "float16"), ("log_every", 0)]


@pytest.mark.parametrize("option, value", BAD)
def test_refusals_name_the_option_and_the_value(option, value):
    with pytest.raises(ConfigError) as caught:
        Config(**{option: value})
    # d = m + 1 is the fault of d, whichever of the two was given.
    assert caught.value.option == option or (option, caught.value.option) == ("m", "d")
    assert repr(caught.value.value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine, option, value", [("sgd", "d", 10**9), ("gram", "batch_size", 10**9), ("flow", "m", 200)])
def test_what_does_not_fit_into_memory_is_refused(engine, option, value):
    with pytest.raises(ConfigError, match="GiB") as caught:
        Config(engine=engine, **{"d": 1000, option: value})
    assert caught.value.option == option
    Config(engine="gram", d=10**12)


def test_unknown_fields_are_refused_by_name():
    with pytest.raises(TypeError, match="alpha_ration"):
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
