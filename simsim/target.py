"""An infinite batch whose view 2 goes through weights of its own, the target's (docs/theory.md, section 4, eq. 55).

Shapes: ... any leading axes, m neurons, K features. Data are in units of sigma, as in `population`.
"""

import numpy as np

from simsim import objectives, population
from simsim.population import Setting


def second_moments(config, overlaps, gram, target_overlaps, target_gram):
    """C (..., 2m, 2m) of the outputs [f(X1), g(X2)] / sigma^p, p the power of the activation, g being f with the target's rows.

    The two views share no noise patch, so all that f and g have in common are features:
    C12_ij = sum_l (mu12_l p_l) B_il B'_jl.
    """
    setting, m = Setting.from_config(config), overlaps.shape[-2]
    own, other = (population.moments(own_overlaps, own_gram, np.eye(m), setting)
                  for own_overlaps, own_gram in ((overlaps, gram), (target_overlaps, target_gram)))
    across = (setting.h12 * own.B) @ other.B.swapaxes(-1, -2)
    return np.block([[population.covariance_of(setting, own), across],
                     [across.swapaxes(-1, -2), population.covariance_of(setting, other)]])


def loss(config, overlaps, gram, head, target_overlaps, target_gram):
    """The loss of an infinitely large batch, (...), against a target of these rows; its rounding is that of 1 - c."""
    objective = objectives.from_config(config)
    C = second_moments(config, overlaps, gram, target_overlaps, target_gram)
    with np.errstate(all="ignore"):
        return objective.loss_and_grad(C if objective.batch_norm else config.sigma ** (2 * config.power) * C, head)[0]
