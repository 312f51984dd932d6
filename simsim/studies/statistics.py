"""Estimates with intervals, by SciPy: of rates, of times that may not come, of exponents.

Every interval is at the confidence asked for; where several estimates stand or fall together, `simultaneous` gives
the confidence that each of them needs.
"""

import warnings
from typing import NamedTuple

import numpy as np
import scipy

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 20220
ROUNDING = 1e-9  # of a count that is a sum of fractions


class Estimate(NamedTuple):
    """A number, the interval in which it lies with some confidence, and the size of the sample behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self):
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def simultaneous(count, confidence=CONFIDENCE):
    """The confidence of each of `count` intervals that hold together with `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / count


def rate(outcomes, confidence=CONFIDENCE):
    """The probability behind a sample (n,) of successes and failures: an Estimate with Wilson's interval."""
    outcomes = np.asarray(outcomes, dtype=bool)
    if not outcomes.size:
        return Estimate(np.nan, 0.0, 1.0, 0)
    interval = scipy.stats.binomtest(int(outcomes.sum()), outcomes.size).proportion_ci(confidence, method="wilson")
    return Estimate(float(outcomes.mean()), float(interval.low), float(interval.high), outcomes.size)


def at_most(successes, runs, confidence=CONFIDENCE):
    """The one-sided upper bound of Clopper and Pearson for the rate behind `successes` of `runs`; 1 without runs."""
    return float(scipy.stats.beta.ppf(confidence, successes + 1, runs - successes)) if successes < runs else 1.0


def shared_rate(outcomes, confidence=CONFIDENCE):
    """The rate behind outcomes (starts, cells) of which a row is one start in many cells; nan where there is none.

    What happens to a start in one cell says much about the next, so a start counts once: Wilson's interval for as
    many runs as there are starts. That is never too narrow.
    """
    outcomes = np.asarray(outcomes, dtype=float)
    n, value = len(outcomes), np.nanmean(outcomes)
    low, high = (scipy.stats.binomtest(int(k), n).proportion_ci(confidence, method="wilson")
                 for k in (np.floor(value * n + ROUNDING), np.ceil(value * n - ROUNDING)))
    return Estimate(float(value), float(low.low), float(high.high), n)


def mean(values, confidence=CONFIDENCE):
    """The mean behind a sample (n,): an Estimate with Student's interval, which has no end where n is 1."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return Estimate(float(values[0]) if len(values) else np.nan, -np.inf, np.inf, len(values))
    margin = scipy.stats.t.isf((1 - confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(float(values.mean()), float(values.mean() - margin), float(values.mean() + margin), len(values))


def difference(one, two, confidence=CONFIDENCE):
    """The difference of two independent rates, one - two: Newcombe's interval, made of their two Wilson intervals.

    Of the same starts it is wider than need be where starts that succeed in one succeed in the other: see `paired_difference`.
    """
    one, two = rate(one, confidence), rate(two, confidence)
    value = one.value - two.value
    return Estimate(value, value - np.hypot(one.value - one.low, two.high - two.value),
                    value + np.hypot(one.high - one.value, two.value - two.low), min(one.n, two.n))


def paired_difference(one, two, confidence=CONFIDENCE):
    """The difference of two rates, one - two, of the same starts: outcomes (n,), nan for a run that failed.

    A start counts where neither failed. Newcombe's interval for pairs (Statistics in Medicine 17, 1998, method 10): that of
    `difference`, with the correlation phi of the two outcomes over starts, corrected for continuity where it is positive.
    """
    pairs = np.array([one, two], dtype=float)
    one, two = pairs[:, np.isfinite(pairs).all(axis=0)].astype(bool)
    first, second, n = rate(one, confidence), rate(two, confidence), len(one)
    if not n:
        return Estimate(np.nan, -1.0, 1.0, 0)
    both, neither, only_one, only_two = (float(np.sum(some)) for some in (one & two, ~one & ~two, one & ~two, ~one & two))
    product = both * neither - only_one * only_two
    spread = np.sqrt(first.value * (1 - first.value) * second.value * (1 - second.value)) * n**2
    phi = (max(product - n / 2, 0) if product > 0 else product) / spread if spread else 0.0
    value = first.value - second.value
    reach = lambda down, up: np.sqrt(down**2 - 2 * phi * down * up + up**2)
    return Estimate(value, value - reach(first.value - first.low, second.high - second.value),
                    value + reach(first.high - first.value, second.value - second.low), n)


def worst_deviation(rates, laws):
    """The largest |rate - law| of several Estimates: an Estimate whose interval holds if all of theirs do."""
    value = max(abs(rate.value - law) for rate, law in zip(rates, laws))
    low = max(max(rate.low - law, law - rate.high, 0) for rate, law in zip(rates, laws))
    high = max(max(rate.high - law, law - rate.low) for rate, law in zip(rates, laws))
    return Estimate(float(value), float(low), float(high), sum(rate.n for rate in rates))


def joint_p_value(successes, runs, laws):
    """p-value of the test that every rate is its law, by exact binomial tests; samples may depend on each other."""
    each = [scipy.stats.binomtest(int(k), int(n), float(p)).pvalue for k, n, p in zip(successes, runs, laws)]
    return min(1.0, len(each) * min(each))


def survival(times, observed):
    """The Kaplan-Meier estimate of P(T > t) from `times` (n,), of which some are only `observed` not to be over.

    Returns SciPy's EmpiricalDistributionFunction, which has `quantiles`, `probabilities` and `confidence_interval`.
    """
    return scipy.stats.ecdf(_censored(times, observed)).sf


def median_time(times, observed, confidence=CONFIDENCE):
    """The median of times of which some are censored: an Estimate; inf where half of them never come.

    Its interval is where the Kaplan-Meier curve's own interval contains 1/2 (Brookmeyer and Crowley).
    """
    curve = survival(times, observed)
    with warnings.catch_warnings():  # where nobody is left the variance is 0 / 0, and the bound nan
        warnings.simplefilter("ignore", RuntimeWarning)
        bounds = curve.confidence_interval(confidence, method="log-log")
    when = lambda part: next((float(t) for t, left in zip(curve.quantiles, part) if left <= 0.5), np.inf)
    lowest = np.where(curve.probabilities > 0, bounds.low.probabilities, 0)  # a curve at 0 has its bound there
    return Estimate(when(curve.probabilities), when(lowest), when(bounds.high.probabilities), len(times))


def same_times(times, observed, others, others_observed):
    """p-value of the log-rank test that two samples of times, some censored, have one law.

    The samples should be independent; from the same starts they are alike, and the test rejects less than it might.
    """
    return float(scipy.stats.logrank(_censored(times, observed), _censored(others, others_observed)).pvalue)


def exponent(x, y, confidence=CONFIDENCE):
    """The power of x in y, each (n,) and positive: an Estimate, by least squares in logarithms and Student's law."""
    fit = scipy.stats.linregress(np.log(x), np.log(y))
    margin = scipy.stats.t.isf((1 - confidence) / 2, len(x) - 2) * fit.stderr if len(x) > 2 else np.inf
    return Estimate(float(fit.slope), float(fit.slope - margin), float(fit.slope + margin), len(x))


def robust_exponent(x, y, confidence=CONFIDENCE):
    """The same by Theil and Sen: the median of all slopes, which a few outliers cannot move."""
    fit = scipy.stats.theilslopes(np.log(y), np.log(x), alpha=confidence)
    return Estimate(float(fit.slope), float(fit.low_slope), float(fit.high_slope), len(x))


def paired_exponent(x, y, confidence=CONFIDENCE):
    """The power of x (k,) in y (n, k), where each row is one start seen at every x: the median of the rows' slopes.

    Starts differ by orders of magnitude, which in such pairs does not matter. Rows with a nan are left out; the
    interval is by bootstrap of the rest (`median`).
    """
    y = np.asarray(y, dtype=float)
    logs = np.log(y[np.isfinite(y).all(axis=1)])
    centred = np.log(x) - np.log(x).mean()
    return median(logs @ centred / (centred @ centred), confidence)


def median(values, confidence=CONFIDENCE):
    """The median of a sample (n,), nan left out: an Estimate, by bootstrap (percentiles, a fixed seed).

    All n values lie on one side of it with probability 2^(1 - n); where that is too much, the interval has no end.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if 2.0 ** (1 - len(values)) > 1 - confidence:
        return Estimate(float(np.median(values)) if len(values) else np.nan, -np.inf, np.inf, len(values))
    interval = scipy.stats.bootstrap((values,), np.median, confidence_level=confidence, n_resamples=RESAMPLES,
                               method="percentile", random_state=np.random.default_rng(SEED)).confidence_interval
    value = float(np.median(values))  # of values that are all one SciPy's percentiles may be another by a rounding
    return Estimate(value, min(float(interval.low), value), max(float(interval.high), value), len(values))


def exponent_of_medians(x, samples, confidence=CONFIDENCE):
    """The power of x (k,) in the medians of k independent samples, nan left out: an Estimate, by bootstrap of each (as `median`).

    Without an end where one of the samples is too small for an interval of its median; nan where one is empty.
    """
    samples = [np.asarray(sample, dtype=float) for sample in samples]
    samples = [np.log(sample[np.isfinite(sample)]) for sample in samples]
    weights = np.log(x) - np.log(x).mean()
    slope = lambda *parts, axis=-1: sum(w * np.median(part, axis=axis) for w, part in zip(weights, parts)) / (weights @ weights)
    n = min(sample.size for sample in samples)
    value = float(slope(*samples)) if n else np.nan
    if 2.0 ** (1 - n) > 1 - confidence:
        return Estimate(value, -np.inf, np.inf, n)
    interval = scipy.stats.bootstrap(samples, slope, confidence_level=confidence, n_resamples=RESAMPLES, method="percentile",
                               vectorized=True, random_state=np.random.default_rng(SEED)).confidence_interval
    return Estimate(value, min(float(interval.low), value), max(float(interval.high), value), n)  # but for a rounding, as in `median`


def _censored(times, observed):
    times, observed = np.asarray(times, dtype=float), np.asarray(observed, dtype=bool)
    return scipy.stats.CensoredData(uncensored=times[observed], right=times[~observed])
