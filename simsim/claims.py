"""What the theorems and the exact laws claim of a run, and whether it is so.

Each check is a line: claim, predicted, measured, verdict. FAIL is kept for
what contradicts a claim; what the run was too short to show is NOT REACHED,
with the time at which theory expects it where theory has one. All thresholds
stand below; they were fixed before any run was looked at.
"""

from dataclasses import dataclass

import numpy as np

from simsim import theory
from simsim.phases import LEARNED, NAMES, PEAK_ERROR, RETURNED, STRONG, UNAIDED, WEAK, collapse

PASS, FAIL, NOT_REACHED = "PASS", "FAIL", "NOT REACHED"
PHASE_CLAIMS = ("I    a neuron learns v_1", "II   the head brings v_1 to the other", "III  the other neuron learns v_2",
                "IV   the head returns to I")
OWNERSHIP = "Thm 1  a neuron for each feature"
ALL_STRONG, FATE = "Thm 3  every neuron ends on v_1", "fate of each neuron for this start"

TIME_FACTOR = 2.0  # a time agrees with its law within this factor: the laws are for infinite batches
MUCH_SMALLER = 0.5  # the paper's "<<", for |E_12| against |E_21|
UNCORRELATED = 0.5  # |corr| up to here: not collapsed; effective rank from 1.5 on likewise
COLLAPSED = 0.9  # |corr| from here on: collapsed; effective rank up to 1.1 likewise
MAIN_PART = 0.5  # |beta_j| / ||w_j|| from which beta_j v_j is the main part of w_j, as Theta(1) asks


@dataclass(frozen=True)
class Check:
    """One claim with its prediction, the measurement, and PASS, FAIL or NOT REACHED.

    `flow` is what the infinite-batch flow from the same start shows, if it was asked.
    """

    claim: str
    predicted: str
    measured: str
    verdict: str
    flow: str = ""


def check_claims(run, phases, flow_ends=None):
    """The checks of a Trajectory with these Phases: a list of `Check`.

    `flow_ends` says in words when each phase ends in the flow from the same
    start; a phase that the run did not reach quotes it.
    """
    body = _trained_checks if run.config.head_is_trained else _frozen_checks
    return [_phase_one(run, phases), *body(run, phases, flow_ends or {})]


def when(run, step):
    """A time in words: the step of SGD, or t for the flow, which takes none."""
    if not np.isfinite(step):
        return "never"
    if run.config.engine == "flow":
        return f"t = {step * run.config.lr:.4g}"
    return f"step {step:.0f}" if step < 1e5 else f"step {step:.2g}"


# ---- both heads ---------------------------------------------------------------

def effective_rank(correlations):
    """exp(entropy) of the eigenvalues of a correlation matrix (m, m) over m: from 1, collapsed, to m."""
    p = np.clip(np.linalg.eigvalsh(correlations), 0, None) / len(correlations)
    return float(np.exp(-np.sum(p * np.log(np.where(p > 0, p, 1)))))


def _phase_one(run, phases):
    """T_1: one neuron learns v_1 (the paper's phase I; docs/theory.md, eqs. 14 and 16)."""
    times = [_time_to_strong(run, neuron) for neuron in range(run.config.m)]
    neuron = int(np.argmin(times)) if phases.strong_neuron is None else phases.strong_neuron
    predicted = times[neuron] / run.config.lr
    claim, law = PHASE_CLAIMS[0], f"{when(run, predicted)} (eq. 14)"
    if phases.strong_learned is None:
        return Check(claim, law, phases.missing["strong_learned"], _unless_due(run, predicted))
    step = phases.strong_learned.step
    if step == 0:
        return Check(claim, law, f"neuron {neuron + 1} starts with it", NOT_REACHED)
    resolved = predicted if run.config.engine == "flow" else max(predicted, 1)  # SGD knows no part of a step
    agrees = predicted / TIME_FACTOR <= step <= TIME_FACTOR * resolved
    return Check(claim, law, f"{when(run, step)}, neuron {neuron + 1}", PASS if agrees else FAIL)


def _time_to_strong(run, neuron):
    """When eq. 14 has the neuron learn v_1 from its start: inf if it is to end on v_2."""
    alone = theory.FrozenNeuron(run.config, run.overlaps[0, neuron], run.norms[0, neuron])
    return alone.time_to_share(LEARNED) if alone.feature == STRONG else np.inf


def _alone(run, neuron, feature, row):
    """The neuron as logged in `row`, with one feature only, under the frozen head."""
    overlaps = np.zeros(2)
    overlaps[feature] = run.overlaps[row, neuron, feature]
    return theory.FrozenNeuron(run.config, overlaps, run.norms[row, neuron])


def _unless_due(run, predicted_step):
    """NOT REACHED, or FAIL where theory had it happen well within the run."""
    return FAIL if TIME_FACTOR * predicted_step < run.steps[-1] else NOT_REACHED


def _holdings(shares):
    """What the neurons hold, in words: the feature and its share of each output."""
    feature = np.argmax(shares, axis=1)
    return ", ".join(f"f_{j + 1}: v_{feature[j] + 1} {shares[j, feature[j]]:.2f}" for j in range(len(shares)))


def _pair_correlations(run):
    """|corr(phi_i, phi_j)| of every pair of neurons at the end."""
    return np.abs(run.correlations[-1][np.triu_indices(run.config.m, 1)])


# ---- trained head: Theorem 1, Corollary 2 -------------------------------------

def _trained_checks(run, phases, flow_ends):
    if run.config.m == 1:
        return []
    checks = [*_later_phases(run, phases, flow_ends), _ownership(run, phases)]
    if phases.strong_neuron is not None:
        checks += [*_weights(run, phases), *_no_collapse(run, phases), *_head(run, phases)]
    return checks


def _later_phases(run, phases, flow_ends):
    """Phases II to IV: reached, and after what they build on."""
    one, _, three, four = phases.ends()
    yield _phase(run, phases, flow_ends, 1, "after I", one)
    yield _phase(run, phases, flow_ends, 2, _phase_three_law(run, phases), one)
    if four and not phases.substituted:  # the head did not rise, so it has not returned either
        yield Check(PHASE_CLAIMS[3], "after III", phases.missing["substituted"], NOT_REACHED)
    else:
        yield _phase(run, phases, flow_ends, 3, "after III", three)


def _phase(run, phases, flow_ends, number, law, before):
    """One phase: PASS if it came after `before`; where it did not come, why not, and when the flow has it."""
    name, claim = NAMES[number], PHASE_CLAIMS[number]
    time = getattr(phases, name)
    if time is None:
        if name in flow_ends:
            law = f"{flow_ends[name]} (flow)"
        never = phases.collapsed or phases.missing[name] == UNAIDED
        return Check(claim, law, phases.missing[name], FAIL if never else NOT_REACHED)
    return Check(claim, law, when(run, time.step), PASS if before and time.step >= before.step else FAIL)


def _phase_three_law(run, phases):
    """After II; until it comes, when the neuron would learn v_2 alone, the law that needs no integration."""
    if phases.weak_neuron is None or phases.weak_learned or phases.collapsed:
        return "after II"
    time = _alone(run, phases.weak_neuron, WEAK, 0).time_to_share(LEARNED)
    return f"{when(run, time / run.config.lr)} (v_2 alone)"


def _ownership(run, phases):
    """Theorem 1: different neurons end on different features."""
    held = (run.shares[-1] >= LEARNED).any(axis=0)
    verdict = PASS if held.all() else FAIL if phases.collapsed else NOT_REACHED
    return Check(OWNERSHIP, "v_1 and v_2", _holdings(run.shares[-1]), verdict)


def _weights(run, phases):
    """Theorem 1: w_j = beta_j v + eps_j with |beta_j| = Theta(1), ||eps_j|| = O~(1/sqrt d)."""
    config, neurons = run.config, np.array([phases.strong_neuron, phases.weak_neuron])
    norms = run.norms[-1, neurons]
    beta = np.abs(run.overlaps[-1, neurons, [STRONG, WEAK]])
    residual = np.sqrt(np.maximum(norms**2 - beta**2, 0))
    small = np.log(config.d) / np.sqrt(config.d)
    yield _weight_check(run, phases, "Thm 1  |beta_j| = Theta(1)", f">= {MAIN_PART:g} ||w_j||",
                        [f"w_{j + 1} {b:.2g} of {n:.2g}" for j, b, n in zip(neurons, beta, norms)],
                        beta >= MAIN_PART * norms, norms * np.sqrt(1 - MAIN_PART**2))
    yield _weight_check(run, phases, "Thm 1  ||eps_j|| = O~(ln(d)/sqrt(d))", f"<= {small:.2g}",
                        [f"w_{j + 1} {r:.2g}" for j, r in zip(neurons, residual)],
                        residual <= small, np.full(2, small))


def _weight_check(run, phases, claim, predicted, measured, there, residual):
    """A check on both weights, with the time theory expects it where it is still to come."""
    measured = ", ".join(measured)
    if there.all():
        return Check(claim, predicted, measured, PASS)
    if phases.collapsed:
        return Check(claim, predicted, measured, FAIL)
    pairs = zip((phases.strong_neuron, phases.weak_neuron), (STRONG, WEAK), residual)
    wait = max(_alone(run, j, feature, -1).time_to_residual(size) for j, feature, size in pairs)
    return Check(claim, f"{predicted}, at {when(run, run.steps[-1] + wait / run.config.lr)}", measured, NOT_REACHED)


def _no_collapse(run, phases):
    """Corollary 2: once both features are held, the coordinates of phi do not all say the same.

    More than two neurons must share features, so no pair of them is asked to differ.
    """
    largest, rank = _pair_correlations(run).max(), effective_rank(run.correlations[-1])
    shared_out = (run.shares[-1] >= LEARNED).any(axis=0).all()
    rows = [("Cor 2  max |corr(phi_i, phi_j)|", "-> 0", f"{largest:.3f}", largest <= UNCORRELATED),
            ("Cor 2  effective rank of phi", "-> 2", f"{rank:.2f}", rank >= 1 + UNCORRELATED)]
    for claim, predicted, measured, there in rows if run.config.m == 2 else rows[1:]:
        verdict = PASS if there and shared_out else FAIL if phases.collapsed else NOT_REACHED
        yield Check(claim, predicted, measured, verdict)


def _head(run, phases):
    """Rise and fall of the head, its asymmetry, and its bound (docs/theory.md, eq. 13)."""
    s, w = phases.strong_neuron, phases.weak_neuron
    up, back = np.abs(run.head[:, w, s]), np.abs(run.head[:, s, w])
    top, name, other = int(np.argmax(up)), f"E_{w + 1}{s + 1}", f"E_{s + 1}{w + 1}"
    fallen = phases.weak_learned is not None and bool((up[top:] <= RETURNED * (1 + PEAK_ERROR) * up[top]).any())
    # Until the head has brought v_1 to the other neuron it has not risen, and there is nothing to judge.
    judged = (lambda there, otherwise: (PASS if there else otherwise) if phases.substituted
              else FAIL if phases.collapsed else NOT_REACHED)
    yield Check(f"|{name}| rises and falls", "peak, then 0",
                f"{up[top]:.3g} at {when(run, run.steps[top])}, end {up[-1]:.2g}", judged(fallen, NOT_REACHED))
    yield Check(f"|{other}| << |{name}|, at their peaks", "<< 1",
                f"{back.max():.2g} / {up.max():.2g}", judged(back.max() < MUCH_SMALLER * up.max(), FAIL))
    row = np.delete(run.head[:, w], w, axis=1)  # eq. 13 bounds the whole row, and adds what the column takes
    column = np.delete(run.head[:, :, w], w, axis=1)
    bound = float(np.hypot(theory.head_bound(run.config, run.norms[0, w]), np.linalg.norm(column, axis=1).max()))
    yield Check(f"|{name}| <= sqrt(kappa/3) ||w_{w + 1}(0)||", f"<= {bound:.3g} (eq. 13)", f"{up[top]:.3g}",
                judged(np.linalg.norm(row, axis=1).max() <= bound, FAIL))


# ---- frozen head: Theorem 3, Corollary 4 --------------------------------------

def _frozen_checks(run, phases, flow_ends):
    shares = run.shares[-1]
    all_strong = bool((shares[:, STRONG] >= LEARNED).all())
    settled = bool((shares >= LEARNED).any(axis=1).all())
    yield Check(ALL_STRONG, f"P = {theory.collapse_probability(run.config):.3f} (eq. 15)",
                _holdings(shares), PASS if all_strong else FAIL if settled else NOT_REACHED)
    fates = theory.fates(run.config, run.overlaps[0])
    as_predicted = bool((shares[np.arange(run.config.m), fates] >= LEARNED).all())
    yield Check(FATE, ", ".join(f"v_{fate + 1}" for fate in fates) + " (eq. 14)",
                _holdings(shares), PASS if as_predicted else FAIL if settled else NOT_REACHED)
    if run.config.m > 1:
        yield from _collapse(run, settled and not collapse(shares))


def _collapse(run, apart):
    """Corollary 4: dimensional collapse, all coordinates of phi perfectly correlated."""
    pairs, rank = _pair_correlations(run), effective_rank(run.correlations[-1])
    not_there = FAIL if apart else NOT_REACHED
    yield Check("Cor 4  min |corr(phi_i, phi_j)|", "-> 1", f"{pairs.min():.3f}",
                PASS if pairs.min() >= COLLAPSED else not_there)
    yield Check("Cor 4  effective rank of phi", "-> 1", f"{rank:.2f}",
                PASS if rank <= 2 - COLLAPSED else not_there)
