"""The tables of docs/theory.md, computed anew, and "Three features" and "Spectral loss and VICReg" of docs/results.md.

    python examples/theory_tables.py [NAME ...] [--starts N]

NAME is eq-16, eqs-20-21, eqs-22-23, eq-29, eq-25, neurons, eq-37, eq-44, eq-65, three-features or all-moments; all of them
without a name. Eqs. 16 and 44 take seconds, the others minutes, eq. 37 and three features many. Starts are the initial seeds
0, 1, ..., as many as the page says or N.
"""

import argparse
import dataclasses
import functools

import numpy as np
from scipy.stats import binomtest

import simsim
from simsim import flow, laws, population, theory, variant_laws
from simsim.flow import certificate
from simsim.initial import reduced_state
from simsim.phases import RETURNED

QUANTILES = (0.05, 0.5, 0.95)


def config_of(d, kappa, **others):
    """The setting of the tables: ratio 20, P = 8, k = 4; with lr = 1 a step is a unit of time."""
    return simsim.Config(**{"engine": "flow", "d": int(d), "lr": 1.0, "head_lr": kappa, "feature_patches": 4, **others})


@functools.cache
def flows(config, count):
    """The flow from each of the initial seeds 0 to count - 1."""
    return flow.follow_many(config, range(count))


@functools.cache
def starts(config, count):
    """Their overlaps (count, m, K) and the norms of their noise parts (count, m)."""
    states = [reduced_state(dataclasses.replace(config, init_seed=seed)) for seed in range(count)]
    a, U = (np.array(part) for part in zip(*states))
    return a, np.sqrt((U**2).sum(axis=-1))


def quantiles(values):
    """As text; of flows in which a phase did not take place there is no value."""
    return ", ".join(f"{value:.3f}" if value > 0.01 else f"{value:.0e}" for value in np.nanquantile(values, QUANTILES))


# ---- phase I -----------------------------------------------------------------------------------

def phase_one_error(strength, start):
    """The time of a frozen neuron until half of its output is v_1, by quadrature, over eq. 16, minus 1."""
    config = simsim.Config(m=1, head="frozen", feature_patches=4, alpha_weak=1e-3, alpha_ratio=1e3 * strength)
    a = np.array([start / strength, 0.0])
    time = theory.FrozenNeuron(config, a, np.hypot(a[0], 1)).time_to_share(0.5)
    with np.errstate(divide="ignore"):  # a weak overlap of 0 takes for ever
        return time / theory.small_start_times(config, a, np.array(1.0))[0] - 1


def table_16(count):
    sizes = (0.05, 0.1, 0.2, 0.3, 0.5)
    yield ["start s", *sizes]
    for strength in (20.0, 5.0):
        yield [f"strength {strength:g}", *(f"{phase_one_error(strength, size):.0e}" for size in sizes)]


# ---- phases II to IV, of flows that succeed --------------------------------------------------------

def won(config, count, most=None):
    """The starts whose flows learn both features, the first `most` of them."""
    return np.flatnonzero(flows(config, count).verdict == flow.BOTH)[:most]


def lag_ratios(config, count, most=400):
    """T_2 - T_1 of the flows over eqs. 20 and 21, two arrays."""
    (a, norms), rows, times = starts(config, count), won(config, count, most), flows(config, count).phases
    lag, begin = times[:, 1] - times[:, 0], theory.small_start_times(config, a, norms)[..., 0].min(axis=1)
    by_20 = np.array([laws.substitution_time(config, a[row], norms[row]) - begin[row] for row in rows])
    return lag[rows] / by_20, lag[rows] / laws.substitution_lag(config, a, norms)[rows]


def table_20(count):
    yield ["d, kappa", "(20)", "(21)"]
    for d in (1e3, 1e4, 1e6, 1e8):
        yield [f"{d:.0e}, 1", *map(quantiles, lag_ratios(config_of(d, 1.0), count or 1000))]


def phase_three_ratios(config, count, most=400):
    """T_3 of the flows over eqs. 22 and 23."""
    (a, norms), rows = starts(config, count), won(config, count, most)
    return flows(config, count).phases[rows, 2] / [laws.Acceleration(config, a[row], norms[row]).time() for row in rows]


def table_22(count):
    yield ["d", "kappa = 0.1", "kappa = 1"]
    for d in (1e2, 1e3, 1e4, 1e6, 1e8):
        yield [f"{d:.0e}", *(quantiles(phase_three_ratios(config_of(d, kappa), count or 1000)) for kappa in (0.1, 1.0))]


def heads_left(config, count):
    """Of the flows that go through all phases: |E| at T_3 over its peak, the same by eq. 29, and |T_4 / T_3 - 1|."""
    (a, norms), out = starts(config, count), flows(config, count)
    rows = np.flatnonzero((out.verdict == flow.BOTH) & np.isfinite(out.phases).all(axis=1))
    law = np.array([laws.Acceleration(config, a[row], norms[row]).head_left() for row in rows])
    return out.phase_head[rows, 2] / out.peak_head[rows], law, np.abs(out.phases[rows, 3] / out.phases[rows, 2] - 1)


def table_29(count):
    yield ["d, kappa", "flows", "head left at T_3", "its distance from (29): median, 95 %", "order named", "IV before III",
           "|T_4 / T_3 - 1|, median"]
    for d in (1e3, 1e4, 1e6, 1e8):
        for kappa in (0.1, 1.0):
            left, law, apart = heads_left(config_of(d, kappa), count or 200)
            off, before = np.abs(left - law), left < RETURNED  # the times may be one number
            yield [f"{d:.0e}, {kappa:g}", left.size, quantiles(left), f"{np.median(off):.0e}, {np.quantile(off, 0.95):.0e}",
                   f"{((law < RETURNED) == before).mean():.2f}", f"{before.mean():.2f}", f"{np.median(apart):.0e}"]


# ---- how often -------------------------------------------------------------------------------------

def outcomes(config, count):
    """Whether each start learns both features: in the flow, by eq. 18 alone, by eq. 25."""
    a, norms = starts(config, count)
    return flows(config, count).verdict == flow.BOTH, laws.temptation(config, a, norms) <= 1, laws.succeeds(config, a, norms)


def table_25(count):
    yield ["d", "kappa", "named by (18) alone", "by (25)", "rate by (25)", "rate in the flow"]
    for kappa in (0.1, 1.0):
        for d in (1e2, 1e3, 1e4, 1e6, 1e8):
            seen, by_18, by_25 = outcomes(config_of(d, kappa), count or 1000)
            yield [f"{d:.0e}", f"{kappa:g}", *(f"{part.mean():.3f}" for part in (by_18 == seen, by_25 == seen, by_25, seen))]


def table_neurons(count):
    ds = (1e2, 1e3, 1e4, 1e6, 1e8)
    yield ["m, kappa", *(f"d = {d:.0e}" for d in ds)]
    for m, kappa in ((2, 0.1), (3, 0.1), (4, 0.1), (2, 1.0), (3, 1.0), (4, 1.0), (8, 1.0)):
        some = ds if m < 8 else (1e4,)
        rates = [flows(config_of(d, kappa, m=m), count or (1000 if m == 2 else 200)).owned.all(axis=1).mean() for d in some]
        yield [f"{m}, {kappa:g}", *(f"{rate:.2f}" for rate in rates)]


# ---- section 7 -------------------------------------------------------------------------------------

def partings(k, factor, count):
    """Barlow Twins at `factor` times its threshold: the flows, and their times of parting over eq. 37."""
    config = config_of(1e4, 1.0, objective="barlow", head="frozen", stop_gradient=False, feature_patches=k)
    config = dataclasses.replace(config, barlow_lambda=factor * variant_laws.noise_threshold(config))
    (a, norms), out = starts(config, count), flows(config, count)
    small = np.abs(a[..., 0]).min(axis=1) < 0.02 / np.sqrt(config.d)  # these learn v_2 first, and never collapse
    law = np.array([variant_laws.parting_time(config, *start) for start in zip(a, norms)])
    return out, (out.phases[:, 2] / law)[~small]


def table_37(count):
    yield ["k", "lambda / lambda*", "both at the end", "both by t = 1e13", "T over (37): min, median, max", "T, median"]
    for k in (4, 6):
        for factor in (0.95, 1.05):
            out, over = partings(k, factor, count or 24)
            times = out.phases[:, 2]
            yield [k, factor, (out.verdict == flow.BOTH).sum(), (times < 1e13).sum(),
                   f"{np.nanmin(over):.3f}, {np.nanmedian(over):.3f}, {np.nanmax(over):.3f}", f"{np.nanmedian(times):.1e}"]


THREE = ((9.0, 3.0, 1.0), (20.0, 4.0, 1.0), (3.0, 2.0, 1.0))


def three(strengths, kappa, **others):
    return config_of(1e4, kappa, m=3, features=3, strengths=strengths, **others)


def apart_when_frozen(strengths, draws=100_000):
    """The chance that three independent neurons with a frozen head end on three features, by eq. 14."""
    a = np.random.default_rng(0).standard_normal((draws, 3))
    ends = theory.fates(three(strengths, 0.1, head="frozen"), a)
    return 6 * np.prod(np.bincount(ends, minlength=3) / draws)


def table_44(count):
    yield ["strengths", "success, kappa = 0.1", "kappa = 1", "frozen head"]
    for strengths in THREE:
        spread = (variant_laws.spread_probability(three(strengths, kappa), count or 100_000) for kappa in (0.1, 1.0))
        yield [strengths, *(f"{p:.3f}" for p in spread), f"{apart_when_frozen(strengths, count or 100_000):.2g}"]


def three_features(strengths, count, **others):
    """How many of `count` flows learn all three features, how many were not followed to an end, Wilson's 95 % interval."""
    out = flows(three(strengths, 0.1, **others), count)
    followed = np.isin(out.verdict, flow.CERTIFIED)
    learned = int(out.owned[followed].all(axis=1).sum())
    interval = binomtest(learned, int(followed.sum())).proportion_ci(method="wilson")
    return f"{learned} [{count - followed.sum()}] ({interval.low:.2f} to {interval.high:.2f})"


def table_three(count):
    barlow = {"objective": "barlow", "head": "frozen", "stop_gradient": False, "barlow_lambda": 1.0}
    columns = {"trained head": ({}, 200), "frozen head": ({"head": "frozen"}, 200), "symmetric head": ({"head": "symmetric"}, 16),
               "Barlow Twins, lambda = 1": (barlow, 16)}
    yield ["strengths", *columns]
    for strengths in THREE:
        yield [strengths, *(three_features(strengths, count or most, **fields) for fields, most in columns.values())]


SECONDS = 60.0  # of computing, for the flows of a cell of "all-moments"
ALL_MOMENTS = {"spectral, batch norm": ("spectral", True), "spectral, no batch norm": ("spectral", False),
               "VICReg, batch norm": ("vicreg", True)}
STATES = {flow.BOTH: "both", flow.COLLAPSED: "collapsed", flow.MIXED: "a neuron with both", flow.NOTHING: "nothing",
          flow.PART: "noise left", flow.GAVE_UP: "not followed"}


def at_the_end(objective, batch_norm, head, until, ratio, count):
    """What the flows of `count` starts are at the time `until`; no certificate says whether they stay so."""
    config = config_of(1e3, 1.0, objective=objective, batch_norm=batch_norm, head=head, alpha_ratio=ratio, t_max=until)
    out = flow.follow_many(config, range(count), seconds=SECONDS)
    equations = flow.Equations.from_config(config)
    there = out.verdict == flow.TIMED_OUT
    M = population.moments(out.a, population.gram_of(out.U), out.E, equations.setting)
    names = np.where(there, certificate.name(equations, M), flow.GAVE_UP)
    return ", ".join(f"{(names == state).sum()} {word}" for state, word in STATES.items() if (names == state).any())


def table_all_moments(count):
    yield ["objective, head", "at t =", "ratio 3", "ratio 20"]
    for name, (objective, batch_norm) in ALL_MOMENTS.items():
        for head in ("frozen", "trained"):
            until = 1e9 if (objective, batch_norm, head) == ("spectral", True, "trained") else 1e13
            ends = (at_the_end(objective, batch_norm, head, until, ratio, count or 20) for ratio in (3.0, 20.0))
            yield [f"{name}, {head}", f"{until:.0e}", *ends]


def vicreg_partings(ratio, count):
    """VICReg without a head: when v_2 is learned, in the flow and over eq. 65."""
    config = config_of(1e4, 1.0, objective="vicreg", head="frozen", alpha_ratio=ratio, t_max=1e16)
    (a, norms), out = starts(config, count), flows(config, count)
    small = np.abs(a[..., 0]).min(axis=1) < 0.02 / np.sqrt(config.d)  # as in `partings`
    law = np.array([variant_laws.vicreg_parting_time(config, *start) for start in zip(a, norms)])
    times = out.phases[:, 2]
    return times, (times / law)[~small]


def table_65(count):
    yield ["ratio", "both by t = 1e16", "T over (65): min, median, max", "T, median"]
    for ratio in (3.0, 20.0):
        times, over = vicreg_partings(ratio, count or 24)
        yield [f"{ratio:g}", np.isfinite(times).sum(), f"{np.nanmin(over):.3f}, {np.nanmedian(over):.3f}, {np.nanmax(over):.3f}",
               f"{np.nanmedian(times):.1e}"]


TABLES = {"eq-16": table_16, "eqs-20-21": table_20, "eqs-22-23": table_22, "eq-29": table_29, "eq-25": table_25,
          "neurons": table_neurons, "eq-37": table_37, "eq-44": table_44, "three-features": table_three, "eq-65": table_65,
          "all-moments": table_all_moments}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--starts", type=int, help="how many")
    options = parser.parse_args()
    if unknown := set(options.names) - set(TABLES):
        parser.error(f"{' '.join(unknown)}: no such table; choose from {', '.join(TABLES)}")
    for name in options.names or TABLES:
        print(f"\n{name}")
        for row in TABLES[name](options.starts):
            print("|", " | ".join(map(str, row)), "|", flush=True)
