"""What the window with sliders can be asked for: its dials, its buttons, and where they begin.

It knows no picture, so that the command line can say what there is, and refuse what there is not, before Matplotlib is there.
"""

import dataclasses

import numpy as np

from simsim.config import Config, ConfigError
from simsim.heads import HEADS

OBJECTIVES = ("simsiam", "naive", "barlow")  # those of which the end of a flow is certified
START = {"alpha_ratio": 20.0, "d": 10**4, "kappa": 0.1, "feature_patches": 7, "init_seed": 2, "head": "trained",
         "objective": "simsiam"}


@dataclasses.dataclass(frozen=True)
class Dial:
    """A slider: what it is called, between what it goes, whether by powers of ten, and whether in whole numbers."""

    label: str
    low: float
    high: float
    powers: bool
    whole: bool

    def place(self, value):
        """Where on the slider a value stands."""
        return float(np.log10(value)) if self.powers else float(value)

    def value(self, place):
        """The value at a place, to three digits."""
        value = 10.0**place if self.powers else place
        return round(value) if self.whole and value < 1e3 else type(1 if self.whole else 1.0)(float(f"{value:.3g}"))


DIALS = {
    "alpha_ratio": Dial("ratio", 1.0, 100.0, True, False),
    "d": Dial("d", 10, 1e12, True, True),
    "kappa": Dial("kappa", 0.01, 100.0, True, False),
    "feature_patches": Dial("k", 2, 7, False, True),
    "init_seed": Dial("start", 0, 99, False, True),
}
CHOICES = {"head": HEADS, "objective": OBJECTIVES}


def config_of(values):
    """The Config of a flow from `values`, a dict with the names of START; raises ConfigError."""
    fields = {name: value for name, value in values.items() if name != "kappa"}
    return Config(engine="flow", lr=1.0, head_lr=values["kappa"], **fields)


def require_shown(values):
    """ConfigError where the window cannot show `values`, by the names of START."""
    for name, value in values.items():
        if name not in START:
            raise ConfigError(name, value, f"the window has {', '.join(START)}")
        if name in DIALS and not DIALS[name].low <= value <= DIALS[name].high:
            raise ConfigError(name, value, f"the window goes from {DIALS[name].low:g} to {DIALS[name].high:g}")
        if name in CHOICES and value not in CHOICES[name]:
            raise ConfigError(name, value, "choose from " + ", ".join(CHOICES[name]))
    config_of(values)
