"""How other objectives, other heads and more features fare: the derived laws of docs/theory.md, section 7.

Functions take the start: overlaps (..., m, K), neurons by features (strongest first), and noise_norms (..., m),
||w_j^perp||. Times are t = eta * steps, strengths are in units of sigma. Where m = 2, neuron 1 of the theory is the
first to learn the strong feature, in whichever row it stands, as in `laws`. A law that is asked about another
objective, head or size than its own raises ValueError.
"""

import dataclasses

import numpy as np
from scipy.integrate import solve_ivp

from simsim import laws, premises
from simsim.data import even_moments, moments_by_feature
from simsim.theory import collapse_probability

RTOL = 1e-8  # relative error of the integrations here
LATEST_TEACHING = 60.0  # log of overlap over noise of neuron 1 up to which it may teach neuron 2
NEARLY_LEARNED = 1e-3  # what is left of 1 / a when a blow-up is carried to its end in closed form
MANY_STARTS = 100_000  # behind a probability: known to .0016
REAL = 1e-9  # imaginary part of a root, against its size, that is rounding
BISECTIONS = 60  # halvings of a right angle, after which a place in it is known to its last digit


# ---- features in different numbers of patches -----------------------------------------------

def predictability(config):
    """rho_l = mu12_l / mu11_l, (K,): the correlation of two views' counts of feature l, all that two views agree in."""
    mu11, mu12, _ = moments_by_feature(config)
    return mu12 / mu11


def leaving_time(config, held, overlaps):
    """How long a neuron with a frozen head keeps the feature `held` for the one that leaves it first (eq. 46).

    overlaps (..., K), of neurons that hold little noise -> times (...), inf where no feature is more predictable.
    Raises ValueError for Barlow Twins and without batch norm.
    """
    premises.require("eq. 46", premises.closed(config, premises.aligned_views(config),
                                              free=("m", *premises.HEAD, *premises.DATA)))
    overlaps, rho = np.asarray(overlaps, dtype=float), predictability(config)
    # E[f^2] that each feature makes, over a^6.
    squares = config.shares_of_samples * moments_by_feature(config)[0] * np.array(config.scaled_alphas) ** 6
    pulls = 24 * np.maximum(rho - rho[held], 0) * squares * overlaps**4
    if not config.stop_gradient:
        pulls *= 2  # the target is drawn too
    with np.errstate(divide="ignore"):
        return np.min(squares[held] * overlaps[..., held, None] ** 6 / pulls, axis=-1, initial=np.inf,
                      where=pulls > 0)


def head_in_time(config, held, other):
    """kappa far above which a trained head keeps a neuron from leaving its feature, (...) (docs/theory.md, eq. 48).

    held, other : (..., K) overlaps of the neuron, and of one that holds the feature that draws it.
    """
    premises.require("eq. 48", premises.closed(config, premises.paper_objective(config), premises.trained_head(config),
                                              free=("m", *premises.DATA)))
    held, other = np.abs(held), np.abs(other)
    l, towards, rho = held.argmax(axis=-1), other.argmax(axis=-1), predictability(config)
    drawn = np.take_along_axis(held, towards[..., None], axis=-1)[..., 0]
    return 12 * (rho[towards] / rho[l] - 1) * drawn**4 / other.max(axis=-1) ** 6


# ---- no stop-gradient -------------------------------------------------------------------

def _require_taught(law, config):
    """Two neurons, two features, a trained head and no stop-gradient."""
    premises.require(law, premises.closed(config, premises.objective(config, "simsiam", stop_gradient=False),
                                          premises.trained_head(config), premises.neurons(config, 2),
                                          premises.features(config, 2), *premises.even_features(config),
                                          *premises.some_noise(config), free=("frequencies",)))


def taught_time(config, overlaps, noise_norms):
    """When neuron 2 has learned v_1 without stop-gradient, with a trained head, (docs/theory.md, eq. 32).

    One start (2, 2), (2,). Neuron 1 is the frozen neuron of eq. 14 at twice its speed; a_21 and E_21 follow it.
    """
    _require_taught("eq. 32", config)
    start = laws.Start(config, overlaps, noise_norms)
    strong, norm, h11 = start.alphas[0], start.norms[0], start.h11
    # Units of time and of the head as in `laws.substitution_time`, at twice the speed.
    unit = start.noise(start.noise_norms[0]) / (24 * start.mu12 * strong**6 * start.strong[0] ** 4)
    enough = np.sqrt(start.noise(start.noise_norms[1]) / h11) / (strong * norm) ** 3
    noise_left = lambda overlap: start.noise(np.sqrt(max(start.norms[1] ** 2 - overlap**2, 0)))

    def rates(log_ratio, y):
        overlap, head = np.exp(y[1]), enough * y[2]
        cosine = 1 / np.hypot(1, np.exp(-log_ratio))
        answer, first_noise = (strong * norm * cosine) ** 3, start.noise(norm * np.exp(-log_ratio) * cosine)
        growth = 6 * start.mu12 * strong**3 * answer * (norm * cosine) * first_noise
        dt = (first_noise + h11 * answer**2) ** 2 / (growth * (1 + np.exp(2 * log_ratio)))
        own, noise = (strong * overlap) ** 3, noise_left(overlap)
        predicted = own + head * answer
        D, G = noise + head**2 * first_noise + h11 * predicted**2, noise + h11 * own**2
        pull = start.mu12 * noise * (own / D + predicted / G) / np.sqrt(D * G)  # (R_21 + R'_21) / s_2
        head_rate = config.kappa * start.mu12 * noise * own * answer / (D * np.sqrt(D * G))
        return [dt / unit, 3 * strong**3 * overlap * pull * dt, head_rate * dt / enough]

    def learned(log_ratio, y):
        return np.log(h11) + 6 * (np.log(strong) + y[1]) - np.log(noise_left(np.exp(y[1])))

    learned.terminal = True
    begin = np.log(start.strong[0] / np.hypot(start.noise_norms[0], start.weak[0]))
    path = solve_ivp(rates, (begin, LATEST_TEACHING), [0.0, np.log(start.strong[1]), 0.0], events=learned,
                     method="LSODA", rtol=RTOL, atol=RTOL)
    return unit * path.y[0, -1] if path.status == 1 else np.inf


def taught_lag(config, overlaps, noise_norms):
    """The same in closed form, counted from T_1, (...): neuron 1 is far from its final norm (docs/theory.md, eq. 33)."""
    _require_taught("eq. 33", config)
    mu12, strength = even_moments(config)[1], config.effective_alphas[0]
    growth, two = laws.answer_after_phase_one(config, overlaps, noise_norms, speed=2)
    overlap = laws.leak(config, overlaps, noise_norms) ** (1 / 3) / strength  # |a_21| at T_1
    needed = two / (np.sqrt(3 * config.kappa) * strength**3 * mu12 * overlap**2)  # integral of |B_11|
    return (11 * needed / (8 * growth)) ** (8 / 11)


# ---- Barlow Twins -------------------------------------------------------------------------

def _require_barlow(law, config, *more):
    """Barlow Twins without a head, as it is defined, and hypotheses `more`."""
    premises.require(law, premises.closed(config, premises.objective(config, "barlow", stop_gradient=False),
                                          premises.head_of_kind(config, "frozen", "no head"),
                                          *premises.even_features(config), *premises.some_noise(config), *more,
                                          free=("m", "features", "frequencies")))


def _moderate(config):
    """lambda at most 1: a larger one lets one neuron take v_1 from the others (docs/theory.md, under eq. 36)."""
    return premises.Hypothesis("a moderate lambda", "lambda <= 1", f"{config.barlow_lambda:g}", config.barlow_lambda <= 1,
                               ("barlow_lambda",))


def _several(name, count):
    """Two and more neurons, or features."""
    return premises.Hypothesis(f"several {name}", "2 and more", f"{count}", count > 1)


def noise_threshold(config):
    """lambda below which all noise leaves a collapse of Barlow Twins (docs/theory.md, eq. 36); inf for one neuron."""
    _require_barlow("eq. 36", config)
    mu11, mu12, _ = even_moments(config)
    return np.inf if config.m == 1 else (mu11 - mu12) / ((config.m - 1) * mu12)


def collapse_noise(config):
    """Share of noise that each output keeps while all neurons hold v_1, lambda <= 1 (docs/theory.md, eq. 36)."""
    _require_barlow("eq. 36", config, _moderate(config))
    mu11, mu12, _ = even_moments(config)
    return 1 - min(1.0, mu11 / (mu12 * (1 + (config.m - 1) * config.barlow_lambda)))


def parting_time(config, overlaps, noise_norms):
    """When the first neuron leaves v_1 after a collapse of Barlow Twins, lambda <= 1 (docs/theory.md, eqs. 37, 38).

    One start (m, K), (m,); the least time of the K - 1 weaker features.
    """
    _require_barlow("eqs. 37, 38", config, _moderate(config), _several("neurons", config.m),
                    _several("features", config.features))
    mu11, mu12, nu = even_moments(config)
    alphas, noise_share = np.asarray(config.effective_alphas), collapse_noise(config)
    correlation = mu12 / mu11 * (1 - noise_share)  # c_jj
    # 15 nu q^3 is `noise_share` of the variance, and mu11 / K (alpha_1 a_1)^6 the rest: q / a_1^2
    noise_ratio = (noise_share / (1 - noise_share) * mu11 / config.features * alphas[0] ** 6 / (15 * nu)) ** (1 / 3)
    speeds = 12 * config.barlow_lambda * correlation**2 * (alphas[1:] / alphas[0]) ** 6 * (1 + noise_ratio) ** 3
    return _first_to_part(overlaps, noise_norms, speeds)


def vicreg_parting_time(config, overlaps, noise_norms):
    """When the first neuron leaves v_1 after a collapse of VICReg without a head, under batch norm (docs/theory.md, eq. 65).

    One start (m, K), (m,); the least time of the K - 1 weaker features.
    """
    mu11, mu12, _ = even_moments(config)
    weight = 2 * config.vicreg_covariance / config.m
    quiet = premises.Hypothesis("noise that leaves the collapse", "(m - 1) 2 nu / (m l) <= mu12 / mu11",
                                f"{(config.m - 1) * weight:.3g} against {config.vicreg_invariance * mu12 / mu11:.3g}",
                                (config.m - 1) * weight <= config.vicreg_invariance * mu12 / mu11)
    premises.require("eq. 65", premises.closed(config, premises.objective(config, "vicreg", stop_gradient=False),
                                               premises.head_of_kind(config, "frozen", "no head"), *premises.even_features(config),
                                               *premises.some_noise(config), quiet, _several("neurons", config.m),
                                               _several("features", config.features), free=("m", "features", "frequencies")))
    alphas = np.asarray(config.effective_alphas)
    return _first_to_part(overlaps, noise_norms, 12 * weight * (alphas[1:] / alphas[0]) ** 6)


def _first_to_part(overlaps, noise_norms, speeds):
    """The least time of eq. 37 over the weaker features, with c_l = `speeds` (K - 1,); one start (m, K), (m,)."""
    squares = (np.asarray(overlaps) ** 2).sum(axis=-1) + np.asarray(noise_norms) ** 2
    weak = overlaps[:, 1:] * np.sign(overlaps[:, :1]) / np.sqrt(squares)[:, None]
    return min(_part(z, squares) / speed for z, speed in zip(weak.T, speeds))


def _part(z, squares):
    """Time in which the first z (m,) of z_j' = z_j^2 (m z_j^3 - sum z^3) / squares_j blows up (eq. 37)."""
    unit = np.abs(z).max()
    m, inverse = z.size, unit / z

    def rates(_, u):
        cubes = u**-3
        return -(m * cubes - cubes.sum()) / squares

    left = lambda _, u: np.abs(u).min() - NEARLY_LEARNED
    left.terminal = True
    path = solve_ivp(rates, (0, np.inf), inverse, events=left, method="LSODA", rtol=RTOL, atol=RTOL * NEARLY_LEARNED)
    lead = np.abs(path.y[:, -1]).argmin()
    rest = squares[lead] * path.y[lead, -1] ** 4 / (4 * (m - 1))
    return (path.t[-1] + rest) / unit**4


# ---- symmetric head -------------------------------------------------------------------------

def symmetric_balance(config, overlaps, noise_norms):
    """Where the symmetric head first stands still, gain against price, (...) (docs/theory.md, eq. 39)."""
    premises.require("eq. 39", premises.of_symmetric_head(config))
    mu11, _, nu = even_moments(config)
    first = laws.first_learner(config, overlaps, noise_norms)[..., None]
    norm = np.take_along_axis(np.asarray(noise_norms), 1 - first, axis=-1)[..., 0]
    return (mu11 / 2 * laws.leak(config, overlaps, noise_norms) ** 2 / (15 * nu * norm**6)) ** (1 / 8)


def symmetric_temptation(config, overlaps, noise_norms):
    """The temptation of eq. 18 under a symmetric head at its ceiling, (...): above 1 it draws neuron 1 to v_2 (eq. 41)."""
    premises.require("eq. 41", premises.of_symmetric_head(config))
    return laws.temptation(config, overlaps, noise_norms) / np.sqrt(2)


def symmetric_success_probability(config):
    """P(both features are learned) under a symmetric head for Gaussian weights as d -> infinity (docs/theory.md, eq. 41)."""
    premises.require("eq. 41", premises.of_symmetric_head(config))
    return 1 - np.arctan(np.sqrt(config.kappa / 6)) / np.pi


# ---- random head -------------------------------------------------------------------------------

def learns_nothing(heads, overlaps):
    """Whether two neurons with a head of free diagonal never learn anything, as d -> infinity, (...) (eqs. 42, 43).

    heads (..., 2, 2) at step 0, overlaps (..., 2, K).
    """
    rows = np.asarray(heads) / np.linalg.norm(heads, axis=-1, keepdims=True)
    one, two = np.moveaxis(np.asarray(overlaps), -2, 0)  # (..., K)
    sign = np.sign(one * two)
    e11, e12, e21, e22 = (rows[..., j, r, None] * sign ** (j + r) for j in (0, 1) for r in (0, 1))
    return _fades(e11, e12, e21, e22, np.abs(two / one)).all(axis=-1)


def _fades(e11, e12, e21, e22, r):
    """Whether the direction r = |a_2 / a_1| of a feature ends on a ray that shrinks, (...); all of one shape (eq. 43)."""
    companion = np.zeros((*r.shape, 4, 4))
    companion[..., [1, 2, 3], [0, 1, 2]] = 1
    companion[..., 0, :] = np.stack([e21, 0 * r, -e12, e11], axis=-1) / e22[..., None]
    roots = np.linalg.eigvals(companion)
    rays = np.where((np.abs(roots.imag) < REAL * np.abs(roots)) & (roots.real > 0), roots.real, np.nan)
    r = r[..., None]
    rises = (e22 * r[..., 0] ** 4 - e21 * r[..., 0] ** 3 + e12 * r[..., 0] - e11 > 0)[..., None]
    ahead = np.where(rises, rays > r, rays < r)
    ray = np.abs(np.where(ahead, rays, np.nan) - r)
    end = np.take_along_axis(rays, np.where(ahead, ray, np.inf).argmin(axis=-1)[..., None], axis=-1)[..., 0]
    alone = np.where(rises[..., 0], e22, e11)
    return np.where(ahead.any(axis=-1), e11 + e21 * end**3, alone) < 0


def nothing_probability(starts=MANY_STARTS):
    """P(nothing is learned) for two neurons, Gaussian heads with their diagonals, and Gaussian weights (eq. 43)."""
    return learns_nothing(*np.random.default_rng(0).standard_normal((2, starts, 2, 2))).mean()


# ---- more features --------------------------------------------------------------------------------

def spreads(config, overlaps):
    """Whether three neurons divide three features under a trained head as d -> infinity, (S,) (docs/theory.md, eq. 44).

    overlaps (S, 3, 3), whose scale does not matter.
    """
    premises.require("eq. 44", premises.closed(config, premises.paper_objective(config), premises.trained_head(config),
                                              premises.neurons(config, 3), premises.features(config, 3),
                                              *premises.even_features(config), *premises.some_noise(config),
                                              free=("frequencies",)))
    size, row = np.abs(overlaps), np.arange(len(overlaps))
    ceiling, weaker = np.sqrt(config.kappa / 3), np.asarray(config.effective_alphas)[1:]
    first = size[:, :, 0].argmax(axis=1)
    rest = (first[:, None] + [1, 2]) % 3
    one, others = overlaps[row, first], overlaps[row[:, None], rest]  # (S, 3), (S, 2, 3)
    leaks = (np.abs(others[:, :, 0]) ** -4.0 - np.abs(one[:, :1]) ** -4.0) ** -0.25  # |a_j1| at T_1
    # Who learns which feature first, after v_1, in units of time that do not matter.
    times = leaks[:, :, None] ** -2.25 * weaker**-1.5 / np.abs(others[:, :, 1:])
    winner, won = np.divmod(times.reshape(-1, 4).argmin(axis=1), 2)
    left = (1 - np.minimum(times.min(axis=(1, 2), keepdims=True) / times, 1) ** 4) ** 0.25  # of 1 / |a_jl| then
    distance, before = 1 / others[:, :, 1:], 1 / one[:, 1:]
    head = ceiling * np.sign(one[:, None, 0] * others[:, :, 0])
    after = before - (head[:, :, None] * distance * (1 - left)).sum(axis=1)
    kept = (after * before > 0).all(axis=1)
    # The last neuron has two features substituted, and one left to learn.
    last, feature = 1 - winner, 1 - won
    seen = (np.abs(others[row, last, 1 + won]) / left[row, last, won] / leaks[row, last]) ** 3
    angle = _angle(seen)
    draws = [ceiling * np.cos(angle) * np.sign(one[:, 0] * others[row, last, 0]),
             ceiling * np.sin(angle) * np.sign(others[row, winner, 1 + won] * others[row, last, 1 + won])]
    ahead = distance[row, last, feature] * left[row, last, feature]
    behind = [after[row, feature], distance[row, winner, feature] * left[row, winner, feature]]
    for draw, far in zip(draws, behind):
        kept &= (far - draw * ahead) * far > 0
    return kept


def _angle(seen):
    """psi (S,) of eq. 44: tan psi times ((1 + sin^2) / (1 + cos^2))^{3/2} is `seen`."""
    low, high = np.zeros_like(seen), np.full_like(seen, np.pi / 2)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = np.tan(middle) * ((1 + np.sin(middle) ** 2) / (1 + np.cos(middle) ** 2)) ** 1.5 < seen
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


def spread_probability(config, starts=MANY_STARTS):
    """P(three neurons divide three features) for Gaussian weights as d -> infinity (docs/theory.md, eq. 44)."""
    return spreads(config, np.random.default_rng(0).standard_normal((starts, 3, 3))).mean()


def collapsing_neurons(config):
    """How many neurons all end at v_1 with probability 1/2 under the frozen head, a real number (eq. 45)."""
    premises.require("eq. 45", [_several("features", config.features)])
    return np.log(0.5) / np.log(collapse_probability(dataclasses.replace(config, m=1)))
