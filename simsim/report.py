"""Predicted beside measured: what the theorems say of a run, and what the run says.

Each check is a line: claim, predicted, measured, verdict. FAIL is kept for
what contradicts a claim; what the run was too short to show is NOT REACHED,
with the time at which theory expects it where theory has one. All thresholds
stand below; they were fixed before any run was looked at.
"""

from dataclasses import asdict, dataclass

import numpy as np

from simsim import rates, theory
from simsim.config import DEFAULT_START
from simsim.phases import LEARNED, STRONG, WEAK, collapse, find_phases

PASS, FAIL, NOT_REACHED = "PASS", "FAIL", "NOT REACHED"

TIME_FACTOR = 2.0  # a time agrees with its law within this factor: the laws are for infinite batches
MUCH_SMALLER = 0.5  # the paper's "<<", for |E_12| against |E_21|
UNCORRELATED = 0.5  # |corr| up to here: not collapsed; effective rank from 1.5 on likewise
COLLAPSED = 0.9  # |corr| from here on: collapsed; effective rank up to 1.1 likewise
MAIN_PART = 0.5  # |beta_j| / ||w_j|| from which beta_j v_j is the main part of w_j, as Theta(1) asks


@dataclass(frozen=True)
class Check:
    """One claim with its prediction, the measurement, and PASS, FAIL or NOT REACHED."""

    claim: str
    predicted: str
    measured: str
    verdict: str


class Report(list):
    """The checks of a run, in reading order; `str(report)` is the table with its remarks."""

    def __init__(self, checks, title, remarks):
        super().__init__(checks)
        self.title, self.remarks = title, remarks

    @property
    def failed(self):
        """Whether any check contradicts its claim."""
        return any(check.verdict == FAIL for check in self)

    def to_dict(self):
        """Plain values, ready for JSON."""
        return {"title": self.title, "checks": [asdict(check) for check in self], "remarks": self.remarks}

    def __str__(self):
        rows = [("claim", "predicted", "measured", "verdict")]
        rows += [(check.claim, check.predicted, check.measured, check.verdict) for check in self]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:], rule, *self.remarks])


def check_theorems(run):
    """Put a Trajectory beside the paper's theorems and the exact laws: a `Report`."""
    phases = find_phases(run)
    body = _trained_checks if run.config.head_is_trained else _frozen_checks
    return Report([_phase_one(run, phases), *body(run, phases)], _title(run), _remarks(run))


# ---- both heads ---------------------------------------------------------------

def effective_rank(correlations):
    """exp(entropy) of the eigenvalues of a correlation matrix (m, m) over m: from 1, collapsed, to m."""
    p = np.clip(np.linalg.eigvalsh(correlations), 0, None) / len(correlations)
    return float(np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1)))))


def _title(run):
    config = run.config
    return (f"simsim: m = {config.m}, alpha = ({config.alpha_strong:g}, {config.alpha_weak:g}), d = {config.d}, "
            f"head {config.head}, engine {config.engine}, kappa = {config.kappa:.3g}, "
            f"{run.steps[-1]} steps of eta = {config.lr:.3g}")


def _phase_one(run, phases):
    """T_1: one neuron learns v_1 (the paper's phase I; docs/theory.md, eqs. 14 and 16)."""
    neuron = phases.strong_neuron
    if neuron is None:
        times = [_alone(run, j, STRONG, 0).time_to_share(LEARNED) for j in range(run.config.m)]
        neuron = int(np.argmin(times))
    predicted = _alone(run, neuron, STRONG, 0).time_to_share(LEARNED) / run.config.lr
    claim, law = "I    a neuron learns v_1", f"{_step(predicted)} (eq. 14)"
    if phases.strong_learned is None:
        return Check(claim, law, phases.missing["strong_learned"], _unless_due(run, predicted))
    step = phases.strong_learned.step
    if step == 0:
        return Check(claim, law, f"neuron {neuron + 1} starts with it", NOT_REACHED)
    agrees = predicted / TIME_FACTOR <= step <= max(TIME_FACTOR * predicted, 1)
    return Check(claim, law, f"{_step(step)}, neuron {neuron + 1}", PASS if agrees else FAIL)


def _alone(run, neuron, feature, row):
    """The neuron as logged in `row`, left alone with one feature under the frozen head."""
    overlaps = np.zeros(2)
    overlaps[feature] = run.overlaps[row, neuron, feature]
    return theory.FrozenNeuron(run.config, overlaps, run.norms[row, neuron])


def _unless_due(run, predicted_step):
    """NOT REACHED, or FAIL where theory had it happen well within the run."""
    return FAIL if TIME_FACTOR * predicted_step < run.steps[-1] else NOT_REACHED


def _step(step):
    if not np.isfinite(step):
        return "never"
    return f"step {step:.0f}" if step < 1e5 else f"step {step:.2g}"


def _each(values):
    """Numbers, one a neuron."""
    return ", ".join(f"{value:.3g}" for value in values)


def _holdings(shares):
    """What the neurons hold, in words: the feature and its share of each output."""
    feature = np.argmax(shares, axis=1)
    return ", ".join(f"v_{feature[j] + 1} {shares[j, feature[j]]:.2f}" for j in range(len(shares)))


def _largest_correlation(run):
    return float(np.abs(run.correlations[-1][np.triu_indices(run.config.m, 1)]).max())


# ---- trained head: Theorem 1, Corollary 2 -------------------------------------

def _trained_checks(run, phases):
    if run.config.m == 1:
        return []
    checks = [*_later_phases(run, phases), _ownership(run, phases)]
    if phases.strong_neuron is not None:
        checks += [*_weights(run, phases), *_no_collapse(run, phases), *_head(run, phases)]
    return checks


def _later_phases(run, phases):
    """Phases II to IV: reached, and after the phase before."""
    claims = (("substituted", "II   the head brings v_1 to the other", "after I"),
              ("weak_learned", "III  the other neuron learns v_2", "after II"),
              ("head_returned", "IV   the head returns to I", "after III"))
    before = phases.strong_learned
    for name, claim, order in claims:
        time = getattr(phases, name)
        if time is None:
            verdict = FAIL if phases.collapsed else NOT_REACHED
            yield Check(claim, _expected(run, phases, name) or order, phases.missing[name], verdict)
        else:
            yield Check(claim, order, _step(time.step), PASS if before and time.step >= before.step else FAIL)
        before = time


def _expected(run, phases, name):
    """When the second neuron would learn v_2 on its own, the only law there is for phase III."""
    if name != "weak_learned" or phases.weak_neuron is None:
        return None
    time = _alone(run, phases.weak_neuron, WEAK, 0).time_to_share(LEARNED)
    return f"{_step(time / run.config.lr)} (v_2 alone)"


def _ownership(run, phases):
    """Theorem 1: different neurons end on different features."""
    held = (run.shares[-1] >= LEARNED).any(axis=0)
    verdict = PASS if held.all() else FAIL if phases.collapsed else NOT_REACHED
    return Check("Thm 1  different neurons, different features", "v_1 and v_2", _holdings(run.shares[-1]), verdict)


def _weights(run, phases):
    """Theorem 1: w_j = beta_j v + eps_j with |beta_j| = Theta(1), ||eps_j|| = O~(1/sqrt d)."""
    config, neurons = run.config, [phases.strong_neuron, phases.weak_neuron]
    norms = run.norms[-1, neurons]
    beta = np.abs(run.overlaps[-1, neurons, [STRONG, WEAK]])
    residual = np.sqrt(np.maximum(norms**2 - beta**2, 0))
    small = np.log(config.d) / np.sqrt(config.d)
    yield _weight_check(run, phases, "Thm 1  |beta_j| = Theta(1)", f">= {MAIN_PART:g} ||w_j||", _each(beta / norms),
                        beta >= MAIN_PART * norms, norms * np.sqrt(1 - MAIN_PART**2))
    yield _weight_check(run, phases, "Thm 1  ||eps_j|| = O~(1/sqrt d)", f"<= ln(d)/sqrt(d) = {small:.2g}",
                        _each(residual), residual <= small, np.full(2, small))


def _weight_check(run, phases, claim, predicted, measured, there, residual):
    """A check on both weights, with the time theory expects it where it is still to come."""
    if there.all():
        return Check(claim, predicted, measured, PASS)
    if phases.collapsed:
        return Check(claim, predicted, measured, FAIL)
    pairs = zip((phases.strong_neuron, phases.weak_neuron), (STRONG, WEAK), residual)
    wait = max(_alone(run, j, feature, -1).time_to_residual(size) for j, feature, size in pairs)
    return Check(claim, f"{predicted}, at {_step(run.steps[-1] + wait / run.config.lr)}", measured, NOT_REACHED)


def _no_collapse(run, phases):
    """Corollary 2: the coordinates of phi do not all say the same."""
    largest, rank = _largest_correlation(run), effective_rank(run.correlations[-1])
    collapsed = FAIL if phases.collapsed else NOT_REACHED
    yield Check("Cor 2  max |corr(phi_i, phi_j)|", "-> 0", f"{largest:.3f}",
                PASS if largest <= UNCORRELATED else collapsed)
    yield Check("Cor 2  effective rank of phi", "-> 2" if run.config.m == 2 else ">= 2", f"{rank:.2f}",
                PASS if rank >= 1 + UNCORRELATED else collapsed)


def _head(run, phases):
    """Rise and fall of the head, its asymmetry, and its bound (docs/theory.md, eq. 13)."""
    s, w = phases.strong_neuron, phases.weak_neuron
    up, back = np.abs(run.head[:, w, s]), np.abs(run.head[:, s, w])
    top, name, other = int(np.argmax(up)), f"E_{w + 1}{s + 1}", f"E_{s + 1}{w + 1}"
    ratio = up[-1] / up[top] if up[top] else 0.0
    yield Check(f"|{name}| rises and falls", "peak, then 0",
                f"{up[top]:.3g} at {_step(run.steps[top])}, end {up[-1]:.2g} ({ratio:.1%})",
                PASS if phases.head_returned else FAIL if phases.collapsed else NOT_REACHED)
    yield Check(f"|{other}| << |{name}|, at their peaks", "<< 1", f"{back.max() / up.max():.3g}" if up.max() else "0/0",
                PASS if back.max() < MUCH_SMALLER * up.max() else FAIL)
    bound = float(theory.head_bound(run.config, run.norms[0, w]))
    yield Check(f"|{name}| <= sqrt(kappa/3) ||w_{w + 1}(0)||", f"<= {bound:.3g} (eq. 13)", f"{up[top]:.3g}",
                PASS if up[top] <= bound else FAIL)


# ---- frozen head: Theorem 3, Corollary 4 --------------------------------------

def _frozen_checks(run, phases):
    shares = run.shares[-1]
    all_strong = bool((shares[:, STRONG] >= LEARNED).all())
    settled = bool((shares >= LEARNED).any(axis=1).all())
    yield Check("Thm 3  every neuron ends on v_1", f"P = {theory.collapse_probability(run.config):.3f} (eq. 15)",
                _holdings(shares), PASS if all_strong else FAIL if settled else NOT_REACHED)
    fates = theory.fates(run.config, run.overlaps[0])
    as_predicted = bool((shares[np.arange(run.config.m), fates] >= LEARNED).all())
    yield Check("fate of each neuron for this start", ", ".join(f"v_{fate + 1}" for fate in fates) + " (eq. 14)",
                _holdings(shares), PASS if as_predicted else FAIL if settled else NOT_REACHED)
    if run.config.m > 1:
        yield from _collapse(run, settled and not collapse(shares))


def _collapse(run, apart):
    """Corollary 4: dimensional collapse, all coordinates of phi perfectly correlated."""
    pairs = np.abs(run.correlations[-1][np.triu_indices(run.config.m, 1)])
    rank = effective_rank(run.correlations[-1])
    not_there = FAIL if apart else NOT_REACHED
    yield Check("Cor 4  min |corr(phi_i, phi_j)|", "-> 1", f"{pairs.min():.3f}",
                PASS if pairs.min() >= COLLAPSED else not_there)
    yield Check("Cor 4  effective rank of phi", "-> 1", f"{rank:.2f}",
                PASS if rank <= 2 - COLLAPSED else not_there)


# ---- how typical ---------------------------------------------------------------

def _remarks(run):
    """What one run cannot say of itself: where it started, and how many starts go that way."""
    config = run.config
    signal = theory.signal(config, run.overlaps[0])
    remarks = ["start: alpha_l |a_jl| / sigma = " + "; ".join(
        f"neuron {j + 1}: {strong:.3g}, {weak:.3g}" for j, (strong, weak) in enumerate(signal))]
    if config.init_seed == DEFAULT_START:
        remarks.append(f"this start (init_seed {DEFAULT_START}) is hand-picked, not typical")
    if config.head_is_trained:
        rate = rates.lookup(config)
        remarks.append("how typical: " + (
            f"all four phases from {rate}" if rate else
            "the success rate of this configuration has not been measured; simsim.rates.measure does it"))
    else:
        remarks.append(f"how typical: all neurons collapse onto v_1 from a random start "
                       f"with probability {theory.collapse_probability(config):.3f} (eq. 15)")
    return remarks
