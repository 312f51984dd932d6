"""What happened in a run, in sentences made from its numbers: who learned what, what the head did, how it ended, and why.

A sentence quotes a law only where the report judges by it, and says "theory" then. What a run leaves open, and why it
left the four phases, is said with the nearest command that shows more.
"""

import dataclasses
import math

import numpy as np

from simsim import heads, laws, premises, rates, theory
from simsim.config import MAX_DIMENSION, Config
from simsim.initial import reduced_states
from simsim.phases import LEARNED, STRONG, UNAIDED, UNDECIDED, max_off_diagonal, share_one_feature
from simsim.claims import NOT_REACHED, OUTSIDE
from simsim.report import hypotheses, layout

SEEDS = 1000  # initial seeds that are looked through for one from which theory expects success
SMALL = 0.5  # alpha_1 |a_j1| / sigma of a start that leaves phase I something to do
MOST_STEPS = 10**8  # that a run of SGD takes in an hour or so
OF_SGD = ("steps", "batch_size")  # of which the flow knows nothing
RESUME = "--resume DIR"  # of a run whose folder is not known here
SPARE = "; of more neurons than features some are left over, and it goes on mixing those (docs/results.md)"
EACH_NEURON = "I    each neuron learns its feature"
SLACK = 2.0  # times as long as theory or the flow asks: SGD learns later than its flow, by up to half as much [measured]


def tell(seen, beside, checks):
    """The story of a run, a list of sentences.

    seen, beside : `seen.Seen` of the run and of the flow from its start, or None
    checks : the `Check` of every claim, of which the predictions are quoted
    """
    if not seen.config.closed_form:
        return [_unknown(seen), *_start(seen)]
    trained = heads.changes(seen.config)
    others = _head_and_weak if trained else _beside_a_head_that_is_held
    sentences = [_strong(seen, checks), *(others(seen, checks) if seen.config.m > 1 else []), _end(seen),
                 *(_why(seen, beside, checks) if trained else _why_frozen(seen)),
                 _step(seen), *_start(seen)]
    return [sentence for sentence in sentences if sentence]


def _unknown(seen):
    """What can be said of a run whose shares of variance have no closed form."""
    size = max_off_diagonal(seen.run.head).max()
    moved = f" The head was furthest from I by {size:.2g}." if size else ""
    return (f"Who learned what by {_now(seen)} is not known: shares, correlations and the loss of an infinite batch have no "
            f"closed form under the data law {seen.config.data}. Overlaps, norms, head and losses of batches are below.{moved}")


def _step(seen):
    """What the laws of finite batches say of the step: where it is too long, and of a collapse that they say it is not due to."""
    found = None if seen.divided else hypotheses.noise(seen.run)
    if found is None or found.phase_three is None and seen.phases.strong_learned is not None:
        return ""  # v_1, of which alone they speak, has been learned
    return hypotheses.step_in_words(seen.run) if seen.phases.collapsed or hypotheses.is_too_long(seen.run) else ""


# ---- the phases -----------------------------------------------------------------------------

def _strong(seen, checks):
    """Phase I."""
    phases, K = seen.phases, seen.config.features
    feature = "v_1, the strongest feature" if K > 2 else "v_1, the stronger feature" if K == 2 else "v_1, the only feature"
    if phases.strong_learned is None:
        return f"No neuron has learned {feature}, by {_now(seen)}{_theory(seen, checks, 'I ')}."
    if phases.strong_learned.time == 0:
        return f"Neuron {phases.strong_neuron + 1} holds {feature}, from the start on: there is no phase I.{_larger_d(seen.run)}"
    return (f"Neuron {phases.strong_neuron + 1} learned {feature}, by {seen.when(phases.strong_learned.time)}"
            f"{_theory(seen, checks, 'I ')}.")


def _larger_d(run):
    """A dimension at which such a start holds nothing yet, as a command to watch it in the flow, and what is known of the rest."""
    config, largest = run.config, theory.signal(run.config, run.overlaps[0]).max()
    d = min(_round_up(config.d * (largest / SMALL) ** 2), MAX_DIMENSION)
    command = "" if run.start_was_given else _in_the_flow(config, d=d)
    if not command:
        return ""
    found = _another_start(_of_flow(config, d=d), [config.init_seed])
    return found or f" At d = {d} there is one; no law says here what comes after it: {command}"


def _in_the_flow(config, **changes):
    """The command that shows `config` with these changes in the flow; "" where the flow does not know of it, or no command does."""
    try:
        return _of_flow(config, **changes).command()
    except ValueError:  # a ConfigError among others
        return ""


def _of_flow(config, **changes):
    """The Config of the flow with these changes. Raises ConfigError where it does not know of it."""
    idle = {name: Config.__dataclass_fields__[name].default for name in OF_SGD}
    return dataclasses.replace(config, engine="flow", **{**idle, **changes})


def _head_and_weak(seen, checks):
    """Phases II to IV: what the head did, and what came of it."""
    phases, K = seen.phases, seen.config.features
    found = phases.substitution
    if phases.substituted is not None and found is not None:
        yield (f"The head brought v_1 to neuron {found.neuron + 1}'s prediction by {seen.when(phases.substituted.time)}"
               f"{_theory(seen, checks, 'II ')}, up to {100 * found.share:.0f} % of it.")
    elif phases.substituted is not None:
        yield (f"The head brought v_1 to the prediction of a neuron that holds another feature, by "
               f"{seen.when(phases.substituted.time)}.")
    elif phases.strong_learned is not None:
        yield ("The head was no help: the weak feature came without it." if phases.missing["substituted"] == UNAIDED else
               f"The head has not brought v_1 to another neuron ({phases.missing['substituted']}).")
    if K > 1 and phases.weak_learned is not None:
        who, what = _last_learned(seen)
        yield (f"{who} holds {what} from the start on." if phases.weak_learned.time == 0 else
               f"{who} learned {what} by {seen.when(phases.weak_learned.time)}{_theory(seen, checks, 'III ')}.")
    size = max_off_diagonal(seen.run.head)
    top = int(np.argmax(size))
    if not size[top]:
        return
    if top == len(size) - 1:
        spare = seen.config.m > K and phases.weak_learned is not None
        yield (f"The head is furthest from I at the end, by {size[top]:.2g}{SPARE if spare else ''}.")
        return
    moved = f"The head was furthest from I at {seen.when(seen.run.time[top])}, by {size[top]:.2g}"
    if phases.head_returned is None:
        yield f"{moved}; it has {size[-1]:.2g} left."
    else:
        back = seen.when(phases.head_returned.time)
        early = (phases.weak_learned is not None and phases.head_returned.time < phases.weak_learned.time
                 and back != seen.when(phases.weak_learned.time))
        yield f"{moved}, and back to a tenth of that by {back}{', before phase III had ended' if early else ''}."


def _last_learned(seen):
    """(neuron, feature) with which phase III ended, in words: the last of the features to find a neuron."""
    K, row = seen.config.features, seen.phases.rows[2]
    first = (seen.run.shares[:row + 1] >= LEARNED - UNDECIDED).any(axis=1).argmax(axis=0)  # (K,) rows in which each is first held
    feature = K - 1 if K == 2 else int(np.argmax(first))
    neuron = int(seen.run.shares[row, :, feature].argmax())
    return f"Neuron {neuron + 1}", f"v_{feature + 1}" + (f", the last of the {K} features," if K > 2 else "")


def _beside_a_head_that_is_held(seen, checks):
    """What the neurons beside the first learned, of two and more: each its own feature, and the last of them when."""
    held, run = seen.shares >= LEARNED, seen.run
    if seen.phases.strong_learned is None or not held.any(axis=1).all():
        return
    feature = seen.shares.argmax(axis=1)
    since = [_held_since(run.shares[:, j, l]) for j, l in enumerate(feature)]
    last = int(np.argmax(since))
    if since[last] == 0:
        return
    too = " too" if feature[last] == STRONG else ""
    who = (f"Neuron {last + 1} learned v_{feature[last] + 1}{too}" if seen.config.m == 2 else
           f"Neuron {last + 1}, the last to learn anything, learned v_{feature[last] + 1}{too}")
    check = next((one for one in checks if one.claim == EACH_NEURON and one.verdict != OUTSIDE), None)
    times = check.predicted if check is not None and isinstance(check.predicted, tuple) else ()
    by_theory = f" (theory: {seen.told(times[last])})" if last < len(times) and np.isfinite(times[last]) else ""
    yield f"{who} by {seen.when(run.time[since[last]])}{by_theory}."


def _held_since(share):
    """The first row from which on a share (T,) stays at one half and more."""
    below = np.flatnonzero(share < LEARNED)
    return int(below[-1]) + 1 if below.size else 0


def _theory(seen, checks, phase):
    """When a phase ends by theory, in brackets; nothing where no law is quoted for it."""
    check = next((one for one in checks if one.claim.startswith(phase)), None)
    if check is None or check.predicted is None or check.verdict == OUTSIDE:
        return ""
    return f" (theory: {seen.told(check.predicted)})"


def _now(seen):
    """How far the run has gone, in words."""
    return seen.when(seen.run.time[-1])


# ---- the end ------------------------------------------------------------------------------------

def _end(seen):
    """Collapse or not, of which kind; effective rank and loss."""
    run, m, K = seen.run, seen.config.m, seen.config.features
    figures = f"Effective rank {run.effective_rank[-1]:.2f} of {m}, loss {run.loss[-1]:.3g}.{_shrunk(seen)}"
    kind, end = str(run.collapse[-1]), "The end" if run.ended else f"By {_now(seen)}"
    if kind == "complete":
        return f"{end}: complete collapse, no output varies any more. {figures}"
    if seen.divided:
        return f"{end}: no collapse, {'each of the features has' if K > 1 else 'the feature has'} a neuron of its own. {figures}"
    if seen.phases.collapsed or kind == "dimensional":
        held = {int(feature) for feature in seen.shares.argmax(axis=1)}
        everyone = "both" if m == 2 else f"all {m}"
        what = f"{everyone} neurons hold v_{held.pop() + 1}" if len(held) == 1 and m > 1 else "all outputs say the same"
        return f"{end}: dimensional collapse, {what}. {figures}"
    return f"{end}: {_who_holds_what(seen)}. {figures}"


def _shrunk(seen):
    """Without batch norm a loss near 0 may be that of outputs near 0: what is left of them, in words."""
    first, last = seen.run.output_std[[0, -1]]
    if seen.config.batch_norm or not first.all():
        return ""
    parts = ", ".join(f"f_{j + 1} {100 * part:.2g} %" for j, part in enumerate(last / first))
    return f" Of its first standard deviation each output has left: {parts}."


def _who_holds_what(seen):
    """How many neurons hold each feature mostly, and how many hold none, in words."""
    held, counts = seen.shares.max(axis=1) >= LEARNED, []
    for feature in range(seen.config.features):
        count = int((held & (seen.shares.argmax(axis=1) == feature)).sum())
        counts.append(f"v_{feature + 1} is held by {count or 'no'} {'neurons' if count > 1 else 'neuron'}")
    empty = int((~held).sum())
    return ", ".join([*counts, *([f"{empty} {'holds' if empty == 1 else 'hold'} none"] if empty else [])])


# ---- why, and what to try -----------------------------------------------------------------------

def _why_frozen(seen):
    """What a head that is held still means."""
    if seen.config.m == 1:
        return
    kind = "at I" if heads.starts_at_identity(seen.config) else "as it was drawn"
    if not _only_aligns(seen.config):
        if seen.phases.collapsed or seen.divided:
            parted = "has not parted the neurons yet" if seen.phases.collapsed else "can part neurons without it"
            yield f"The head was held {kind}; this objective acts on correlations between neurons, and {parted}."
    elif seen.phases.collapsed:
        yield f"The head was held {kind}, so nothing kept the neurons apart. Try --head trained."
    elif seen.divided:
        yield f"The head was held {kind}: it is the start that gave the neurons different features."


def _only_aligns(config):
    """Whether the objective asks of the two views that they agree, and nothing of how neurons differ."""
    weights = {"simsiam": 0, "naive": 0, "barlow": config.barlow_lambda, "vicreg": config.vicreg_covariance}
    return weights.get(config.objective, 1) == 0


def _why(seen, beside, checks):
    """Why a run with a head that moves has not gone through all four phases, and the nearest command that shows it."""
    run, config = seen.run, seen.config
    fits = premises.hold([*premises.of_two_neurons(config), *hypotheses.usual_start(run)])
    if config.m == 1 or config.features == 1 or config.optimiser:
        return
    missing = premises.broken(laws.of_start(config, run.overlaps[0], run.noise_norms[0])) if fits else []
    told = seen.phases.strong_learned is not None and seen.phases.strong_learned.time == 0  # by `_larger_d`
    another = lambda: "" if told else _another_start(config)  # looked for by 10,000 random starts, so only where it is said
    if seen.divided:
        if seen.phases.substituted is None and missing:
            yield f"{_other_story(missing[0])}{another()}"
        elif beside is not None and not run.ended:
            yield from _head_not_back(seen, beside)
    elif not seen.phases.collapsed and not run.ended:
        yield from _not_yet(seen, beside, checks)
    elif beside is not None and beside.divided and _not_parted(beside, run.time[-1]):
        yield "The infinite-batch flow from this start has collapsed by then too, and parts the neurons later."
        yield from _not_yet(seen, beside, checks)
    elif beside is not None and beside.divided:
        advice = "" if hypotheses.is_too_long(run) else _larger_batch(config)
        yield ("The infinite-batch flow from this start learns every feature, so the finite batch or step made the "
               f"difference.{advice}")
    elif not config.stop_gradient:
        yield from _without_stop_gradient(seen)
    elif missing:
        yield f"{_other_story(missing[0])}{another()}"
    elif beside is not None and beside.run.ended:
        cause = "the start did it, not the batch" if fits else "so it was not the batch"
        yield f"The infinite-batch flow from this start ends so too: {cause}.{another()}"
    elif seen.is_limit and run.ended and fits:
        by_law = "Eq. 25 expects that of this start." if _expects_failure(run) else "In the flow there is no other cause than the start."
        yield f"{by_law}{another()}"


def _expects_failure(run):
    """Whether eq. 25 is about this start, and does not let it succeed."""
    return (premises.hold([laws.kappa_of_25(run.config)])
            and not laws.succeeds(run.config, run.overlaps[0], run.noise_norms[0]))


def _without_stop_gradient(seen):
    """The cause of a collapse without stop-gradient, and the same start with it where it is known to succeed."""
    run, fixed = seen.run, dataclasses.replace(seen.config, stop_gradient=True)
    cause = "Without stop-gradient the target is taught what the head predicts of it (docs/why.md, section 5)."
    known = not run.start_was_given and premises.hold([*premises.of_two_neurons(fixed), laws.kappa_of_25(fixed)])
    if known and fixed.hand_picked and not seen.is_limit:
        cause += f" With it this start learns both features: {fixed.command()}"
    elif known and _goes_through(fixed, run.overlaps[0], run.noise_norms[0]):
        cause += f" With it this start learns both features, by eq. 25: {_in_the_flow(fixed)}"
    yield cause


def _head_not_back(seen, beside):
    """When phase IV is due by the flow, and how to go on; where it was due already, that the batches or the step keep it off."""
    if seen.phases.head_returned is not None or beside.phases.head_returned is None:
        return
    due = seen.ticks(beside.phases.head_returned.time)
    back = f"The infinite-batch flow from this start has the head back at {seen.told(due)}"
    if due <= seen.ticks(seen.run.time[-1]):
        yield f"{back}, so the finite batch or step made the difference."
    else:
        yield f"{back}: {_how_to_go_on(seen, due)}"


def _larger_batch(config):
    """What to try of batch and step; a batch whose own variance is no figure of the mean (eq. 51) is not mended by the step.

    It is to spread by half of what is asked: at the bound itself times may still be off by a factor of two.
    """
    spread = theory.batch_spread(config) if config.batch_norm else None
    if spread is None or spread < hypotheses.SPREAD_NEAR_FLOW:
        return f" Try --batch-size {4 * config.batch_size}, or an eighth of --lr."
    return f" Try --batch-size {_round_up(config.batch_size * (2 * spread / hypotheses.SPREAD_NEAR_FLOW) ** 2)}."


def _not_parted(beside, time):
    """Whether all neurons of the flow beside a run hold one and the same feature at a time t, as those of the run do."""
    row = int(np.searchsorted(beside.run.time, time, side="right")) - 1
    return share_one_feature(beside.run.shares[row])


def _other_story(broken):
    """What a start has that the four phases cannot come from: a sentence on the `Hypothesis` of `laws.of_start` that it breaks."""
    if broken.name == laws.STRONG_FIRST:
        return f"This start has its features the other way round: {broken.figure} (eq. 14)."
    feature = broken.name[-3:]
    return f"In this start neuron 2 learns {feature} by itself, before the head can bring it v_1 (eqs. 16, 21)."


def _not_yet(seen, beside, checks):
    """When the weak feature is due, and how to go on."""
    config = seen.config
    due = next((one for one in checks if one.claim.startswith("III ") and one.verdict == NOT_REACHED), None)
    when = due.due if due is not None and due.due is not None else None
    source = "Theory"
    if when is None and beside is not None and beside.phases.weak_learned is not None:
        when, source = seen.ticks(beside.phases.weak_learned.time), "The infinite-batch flow from this start"
    if when is None and beside is not None and beside.run.ended:
        yield f"The infinite-batch flow from this start comes to this end: {beside.run.message}."
    if when is None or not math.isfinite(when) or when <= seen.ticks(seen.run.time[-1]):
        return
    name = "v_2" if config.features == 2 else "the last feature"
    yield f"{source} has {name} learned at {seen.told(when)}: {_how_to_go_on(seen, when)}"


def _how_to_go_on(seen, when):
    """How to see what is due at `when`, as `Seen.ticks` counts."""
    if seen.is_limit:
        return "let it go on."
    if when <= MOST_STEPS:
        return f"go on with: {layout.COMMAND}.run {RESUME} --steps {_round_up(SLACK * when)}"
    command = _in_the_flow(seen.config)
    return f"too many for SGD; the flow shows it: {command}" if command else "too many for SGD."


def _round_up(steps):
    """A number of steps to two digits, not below it."""
    unit = 10 ** max(math.floor(math.log10(steps)) - 1, 0)
    return math.ceil(steps / unit) * unit


def _another_start(config, first=()):
    """The first initial seed, those of `first` before all others, from which theory expects all four phases, as a command.

    It is one to watch in the flow, at this d or the first of ten times it, a hundred times, .. that laws of later phases
    call large. Nothing where they are about another setting.
    """
    if not _in_the_flow(config) or not premises.hold([*premises.of_two_neurons(config), laws.kappa_of_25(config)]):
        return ""
    config = _of_flow(config)  # which no d is too large for
    while not laws.large_dimension(laws.success_rate(config), "eq. 25").holds:
        if 10 * config.d > MAX_DIMENSION:
            return ""
        config = dataclasses.replace(config, d=10 * config.d)
    seed = next(_seeds_that_go_through(config, [*first, *range(SEEDS)]), None)
    if seed is None:
        return ""
    return f" At d = {config.d} init_seed {seed} goes through all four phases, by eq. 25: {_in_the_flow(config, init_seed=seed)}"


def _seeds_that_go_through(config, seeds):
    """Those of `seeds`, in their order, from which all four phases come by theory."""
    seeds = list(seeds)
    overlaps, factors = reduced_states([config.reseeded(config.seed, seed) for seed in seeds])
    noise_norms = np.linalg.norm(factors, axis=-1)
    for row in np.flatnonzero(laws.succeeds(config, overlaps, noise_norms)):
        if _goes_through(config, overlaps[row], noise_norms[row]):
            yield seeds[row]


def _goes_through(config, overlaps, noise_norms):
    """Whether theory expects all four phases from a start: it has learned nothing, v_1 comes first, then the head, then v_2."""
    return bool(laws.succeeds(config, overlaps, noise_norms) and premises.hold(laws.of_start(config, overlaps, noise_norms))
                and laws.strong_time(config, overlaps, noise_norms) > 0)


# ---- how typical ------------------------------------------------------------------------------------

def _start(seen):
    """What is special about this start, and how many starts go that way."""
    run, config = seen.run, seen.config
    if run.start_was_given:
        yield f"This start was given; init_seed {config.init_seed} has another."
    elif config.hand_picked:
        yield f"This start (init_seed {config.init_seed}) is hand-picked, not typical (docs/usage.md)."
    elif config.picked_for is not None:
        yield (f"This start (init_seed {config.init_seed}) was picked for alpha = ({config.picked_for:g}, 1) and "
               f"{_usual('feature_patches')} of {_usual('patches')} patches; here it is one like any other.")
    if config.m == 1 or config.features == 1:
        return  # there are no four phases
    if not heads.changes(config):
        if premises.hold(premises.of_frozen_neurons(config)):
            yield f"From a random start all neurons end on v_1 with probability {theory.collapse_probability(config):.3f} (eq. 15)."
        return
    rate = rates.lookup(config)
    if rate:
        yield f"All four phases come from {rate}."
        return
    chance, _, source = hypotheses.chance_of_success(config)
    law = "" if chance is None else f"; the flow learns both features from {100 * chance:.3g} % of them ({source})"
    yield f"How many random starts show all four phases has not been measured here{law}."


def _usual(option):
    """The default of an option."""
    return Config.__dataclass_fields__[option].default
