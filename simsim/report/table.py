"""The report as a table: hypotheses, claims, remarks; the flow beside SGD; how typical the run is."""

import html
from collections import Counter
from dataclasses import asdict, fields

import numpy as np

from simsim import heads, premises, rates, theory
from simsim.activation import CUBIC
from simsim.files import tables
from simsim.config import Config
from simsim.phases import find_phases
from simsim.report.frozen import Frozen
from simsim.report.seen import Seen
from simsim.report.trained import Trained
from simsim.report import hypotheses, seen as measure
from simsim.report.verdicts import FAIL, Check, Verdict, outside


class Report(list):
    """The checks of a run, in reading order; `str(report)` is the table with its hypotheses and remarks."""

    def __init__(self, checks, title, hypotheses, remarks):
        super().__init__(checks)
        self.title, self.hypotheses, self.remarks = title, hypotheses, remarks

    @property
    def failed(self):
        """Whether any check contradicts its claim."""
        return any(check.verdict == FAIL for check in self)

    def to_dict(self):
        """Plain values, ready for JSON."""
        return {"title": self.title, "hypotheses": [asdict(one) for one in self.hypotheses],
                "checks": [asdict(check) for check in self], "remarks": self.remarks}

    def __repr__(self):
        counts = Counter(check.verdict for check in self)
        return f"<Report: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}>"

    def _repr_html_(self):
        """Title, table, hypotheses and remarks, for notebooks and pages."""
        line = lambda text: "<p>" + html.escape(str(text)).replace("\n", "<br>") + "</p>"
        columns = {name: [getattr(check, name) for check in self] for name in self._columns()}
        columns["verdict"] = [str(Verdict(check.verdict, check.wants)) for check in self]
        return "".join([line(self.title), tables.as_html("", columns, range(len(self))),
                        *(line(f"hypothesis: {one}") for one in self.hypotheses), *map(line, self.remarks)])

    def _columns(self):
        """The fields of a Check that the table shows."""
        return ["claim", "predicted", *(["flow"] if any(check.flow for check in self) else []), "measured", "verdict"]

    def __str__(self):
        columns = self._columns()[:-1]
        rows = [columns, *([getattr(check, column) for column in columns] for check in self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
        verdicts = ["verdict", *(str(Verdict(check.verdict, check.wants)) for check in self)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), verdict])
                 for row, verdict in zip(rows, verdicts)]
        asked = [f"hypothesis  {one}" for one in self.hypotheses]
        rule = "-" * max(map(len, (*lines, *self.title.splitlines())))
        return "\n".join([self.title, *asked, rule, lines[0], rule, *lines[1:], rule, *self.remarks])


def check_theorems(run, flow=None):
    """Put a Trajectory beside the paper's theorems and the exact laws: a `Report`.

    With `flow`, the Trajectory of the flow from the same start, the report has a
    column in which each claim's measure is applied to it as well. Neurons are named by
    their roles, as in the theory: 1 is the first to learn v_1, 2 the one whom the head is
    to keep from it. Raises ValueError where `flow` is not of the same start, data, network
    and kappa.
    """
    order = find_phases(run).order
    run = run.reordered(order)
    phases = find_phases(run)
    s, w = phases.strong_neuron, phases.weak_neuron
    seen = Seen(run, phases, s, w, in_steps=run.clock == "step")
    beside = None
    if flow is not None:
        _require_same_start(run.config, flow.config)
        flow = flow.reordered(order)
        if not flow.state(0).is_like(run.state(0), run.config):
            raise ValueError("`flow` must be the flow from the start of the run: its overlaps at time 0 are others")
        beside = Seen(flow, find_phases(flow), s, w, seen.in_steps)
    about = (Trained if heads.changes(run.config) else Frozen)(seen)
    claims = about.claims() if run.config.closed_form else _without_shares(about, seen)
    checks = [_check(claim, seen, beside) for claim in claims]
    return Report(checks, _title(run), about.asked, [*_names(order), *_remarks(run)])


def _check(claim, seen, beside):
    """The `Check` of one claim: its one measure, of the run and of the flow beside it."""
    text, predicted, measure, judge = claim
    words, value = measure(seen)
    verdict, wants = judge(value)
    return Check(text, predicted, words, verdict, "" if beside is None else measure(beside).words, wants)


def _without_shares(about, seen):
    """The claims where shares and correlations have no closed form, none of them judged, and what can be shown in their place."""
    judge = lambda _: outside(about.asked)
    for text, predicted, *_ in about.claims():
        yield text, predicted, measure.unknown, judge
    for name, measured in measure.without_shares(seen):
        yield name, "no law", lambda _, measured=measured: measured, judge


def _require_same_start(config, flow_config):
    """ValueError where `flow_config` is not the flow that a run of `config` goes along: which fields differ."""
    names = [field.name for field in fields(config) if field.metadata["group"] in ("data", "network", "objective")]
    ours, theirs = ({**{name: getattr(c, name) for name in (*names, "init_seed")}, "kappa": float(f"{c.kappa:.12g}")}
                    for c in (config, flow_config))
    different = [f"{name} = {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    different += [f"no {name}, and the run has {value}" for name, value in config.optimiser.items()]
    if flow_config.clock != "time":
        different.append(f"engine = {flow_config.engine}, not flow")
    if different:
        raise ValueError("`flow` must be the flow from the start of the run: it has " + "; ".join(different))


def _title(run):
    c = run.config
    pace = (f"to t = {run.time[-1]:.3g}, {run.message}" if run.clock == "time" else
            f"{run.steps[-1]} steps of eta = {c.lr:.3g} on {c.batch_size} samples"
            + "".join(f", {name} = {value}" for name, value in c.optimiser.items()))
    head = f"head {c.head}" + (f" of scale {c.head_scale:g}, diagonal {c.head_diagonal}" if c.head == "random" else "")
    others = f"{_of_data(c)}power {c.power}, " if c.power != CUBIC else _of_data(c)
    often = f"frequencies ({', '.join(f'{p:g}' for p in c.frequencies)}), " if c.frequencies else ""
    return (f"simsim: {premises.objective_in_words(c)}, {head}, m = {c.m}, "
            f"{others}alpha = ({', '.join(f'{alpha:g}' for alpha in c.alphas)}), {often}sigma = {c.sigma:g}, "
            f"d = {c.d}, {', '.join(map(str, c.patch_counts or [c.feature_patches]))} of {c.patches} patches\n"
            f"engine {c.engine}, {pace}, "
            f"kappa = {c.kappa:.3g}{' at first' * (c.lr_schedule != c.head_lr_schedule)}, "
            f"seed {c.seed}, init_seed {c.init_seed}")


def _of_data(config):
    """The law of samples in words; nothing of the paper's own."""
    return f"data law {config.data}, " if "data" in config.deviations() else ""


def _names(order):
    """Which row of the arrays each neuron is, if their roles are not in the order of the rows."""
    if list(order) != sorted(order):
        yield "neurons are named by their roles: " + ", ".join(f"{j + 1} is row {row + 1}" for j, row in enumerate(order))


def _usual(option):
    """The default of an option."""
    return Config.__dataclass_fields__[option].default


def _remarks(run):
    """What one run cannot say of itself: where it started, and how many starts go that way."""
    config = run.config
    signal = theory.signal(config, run.overlaps[0])
    remarks = ["start: alpha_l |a_jl| / sigma = " + "; ".join(
        f"neuron {j + 1}: {', '.join(f'{size:.3g}' for size in sizes)}" for j, sizes in enumerate(signal))]
    if run.start_was_given:
        remarks.append(f"this start was given; init_seed {config.init_seed} has another")
    elif config.hand_picked:
        remarks.append(f"this start (init_seed {config.init_seed}) is hand-picked, not typical: "
                       "docs/usage.md says how rare")
    elif config.picked_for is not None:
        remarks.append(f"this start (init_seed {config.init_seed}) was picked for alpha = ({config.picked_for:g}, 1) and "
                       f"{_usual('feature_patches')} of {_usual('patches')} patches; here it is one like any other")
    if not heads.changes(config):
        if premises.hold(premises.of_frozen_neurons(config)):
            remarks.append(f"how typical: all neurons collapse onto v_1 from a random start "
                           f"with probability {theory.collapse_probability(config):.3f} (eq. 15)")
        return remarks
    if premises.hold(premises.of_conserved_norms(config)):
        drift = np.abs(hypotheses.drift(run)).max(axis=0)
        remarks.append("drift of the constants of eq. 13 (0 in the flow): " + ", ".join(
            f"w_{j + 1} {value:.2g}" for j, value in enumerate(drift)))
    rate = rates.lookup(config)
    remarks.append("how typical: " + (
        f"all four phases from {rate}" if rate else
        "the success rate of this configuration has not been measured"
        + "; simsim.rates.measure does it" * (not config.objects())))
    return remarks
