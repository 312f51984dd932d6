"""The report: what happened in sentences, the claims as a table, hypotheses, remarks; the flow beside SGD."""

import html
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from simsim import heads, premises, theory
from simsim.activation import CUBIC
from simsim.files import tables
from simsim.phases import find_phases
from simsim.report import hypotheses, layout, seen as measure
from simsim.report.frozen import Frozen
from simsim.report.seen import Seen
from simsim.report.story import tell
from simsim.report.trained import Trained
from simsim.claims import FAIL, NOT_REACHED, Check, Claim, Figure, Verdict, Words, outside
from simsim.trajectory import Trajectory


class Report(list[Check]):
    """The checks of a run, in reading order, with what happened in sentences.

    title : what ran
    story : what happened, a list of sentences
    hypotheses : what the theorems ask of the run, with its own figures
    wanted : what laws ask beside these, where lines are OUTSIDE for want of it
    details : figures of the start and of the flow's constants, as text
    remarks : what else is to be known of the run: which neuron is which, how it was resumed
    `str(report)` is the story and the lines that belong to the paper's statements and phases; `report.full()` has all.
    """

    def __init__(self, checks: Iterable[Check], title: str, story: list[str], hypotheses: list[premises.Hypothesis],
                 details: list[str], remarks: list[str], wanted: Iterable[premises.Hypothesis] = ()) -> None:
        super().__init__(checks)
        self.wanted = list(wanted)
        self.title, self.story, self.hypotheses, self.details, self.remarks = title, story, hypotheses, details, remarks

    @property
    def failed(self) -> bool:
        """Whether any check contradicts its claim."""
        return any(check.verdict == FAIL for check in self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"title": self.title, "story": self.story, "hypotheses": [asdict(one) for one in self.hypotheses],
                "wanted": [asdict(one) for one in self.wanted],
                "checks": [check.to_dict() for check in self], "details": self.details, "remarks": self.remarks}

    def to_dataframe(self) -> Any:
        """The checks as a pandas.DataFrame, a line each: the fields of a `Check` and its ratio. Needs pandas, else ImportError."""
        import pandas
        words = [{f"{name}_in_words": text for name, text in check.words._asdict().items()} for check in self]
        plain = [{name: value for name, value in check.to_dict().items() if name != "words"} for check in self]
        return pandas.DataFrame([{**one, **told} for one, told in zip(plain, words)])

    def full(self) -> str:
        """The whole report as text: the story, every hypothesis, line and remark, and the flow beside it where it was asked."""
        return self._text(self, self._columns(), [*self.hypotheses, *self.wanted],
                          [*self.details, *self.remarks])

    def __str__(self):
        checks = [check for check in self if check.brief or check.verdict == FAIL]
        named = {name for check in checks for name in check.wants.split(", ")}
        asked = [*self.hypotheses, *(one for one in self.wanted if one.name in named)]
        return self._text(checks, self._columns(flow=False), [one for one in asked if not one.holds],
                          [*self.remarks, "All lines, hypotheses and figures: --report full, or report.full()."])

    def _columns(self, flow=True):
        """What the table shows beside the verdicts: the flow too, where it was asked, unless `flow` says not to."""
        return ["claim", "PASS if", "predicted", *(["flow"] if flow and any(check.words.flow for check in self) else []),
                "measured"]

    def _text(self, checks, columns, hypotheses, remarks):
        notes = [_note(check) for check in checks]
        numbers = {note: number for number, note in enumerate(dict.fromkeys(filter(None, notes)), 1)}
        table = layout.table([*columns, "verdict"], [
            [*_cells(check, columns), check.verdict + (f" [{numbers[note]}]" if note else "")]
            for check, note in zip(checks, notes)])
        below = [*(f"[{number}] {note}" for note, number in numbers.items()), *(f"hypothesis  {one}" for one in hypotheses),
                 *remarks]
        wide = lambda lines: [layout.paragraph(line, layout.WIDTH, "    ") for line in lines]
        return "\n".join([*wide(self.title.splitlines()), "", *map(layout.paragraph, self.story), "", table, *wide(below), "",
                          *wide(layout.symbols("\n".join([table, *below])))])

    def __repr__(self):
        counts = Counter(check.verdict for check in self)
        return f"<Report: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}>"

    def _repr_html_(self, story=True):
        """Title, story unless it is told elsewhere, table, hypotheses and remarks, for notebooks and pages."""
        line = lambda text: "<p>" + html.escape(str(text)).replace("\n", "<br>") + "</p>"
        columns = self._columns()
        cells = dict(zip(columns, zip(*(_cells(check, columns) for check in self))))
        cells["verdict"] = [str(Verdict(check.verdict, check.wants)) for check in self]
        return "".join([line(self.title), *map(line, self.story if story else []), tables.as_html("", cells, range(len(self))),
                        *(line(f"hypothesis: {one}") for one in (*self.hypotheses, *self.wanted)),
                        *map(line, [*self.details, *self.remarks])])


def _cells(check, columns):
    """A check as the table shows it, column by column."""
    told = {"claim": check.claim, "PASS if": check.rule, **check.words._asdict()}
    return [told[column] for column in columns]


def _note(check):
    """What is said below the table of a line that is not judged: for want of what, or when it is due; "" of others."""
    if check.wants:
        return f"{check.verdict}: the run is without {check.wants}"
    return f"{check.verdict}: theory expects it at {check.words.due}" if check.words.due else ""


def check_theorems(run: Trajectory, flow: Trajectory | None = None, claims: Iterable[Claim] = ()) -> Report:
    """Put a Trajectory beside the paper's theorems and the exact laws: a `Report`.

    With `flow`, the Trajectory of the flow from the same start, the report has a
    column in which each claim's measure is applied to it as well. Neurons are named by
    their roles, as in the theory: 1 is the first to learn v_1, 2 the one whom the head is
    to keep from it. `claims` are of your own, each a `report.Claim`; they come after the others. Raises TypeError for what
    is no Claim, ValueError where `flow` is not of the same start, data, network
    and kappa, and of a run that does not begin at its start.

    >>> import simsim
    >>> report = simsim.check_theorems(simsim.simulate(simsim.Config(m=2, alpha_ratio=20.0, steps=60)))
    >>> print(report.story[0])
    Neuron 1 learned v_1, the stronger feature, by step 46 (theory: step 42).
    """
    run.require_beginning("theorems")
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
    for claim in claims:
        if not isinstance(claim, Claim):
            raise TypeError(f"`claims` are simsim.report.Claim, each with what is claimed, measured and judged; got {claim!r}")
    ours = about.claims() if run.config.closed_form else _without_shares(about, seen)
    checks, wanted = zip(*(_check(claim, seen, beside) for claim in (*ours, *claims)))
    return Report(checks, _title(run), tell(seen, beside, checks), about.asked, [*_details(run)], [*_names(order)],
                  _unlisted(wanted, about.asked))


def _unlisted(wanted, asked):
    """The hypotheses for want of which lines are OUTSIDE, each once, that are not among those `asked` that do not hold."""
    named = {one.name for one in premises.broken(asked)}
    others = {one.name: one for broken in reversed(wanted) for one in reversed(broken) if one.name not in named}
    return list(reversed(others.values()))


def _check(claim, seen, beside):
    """The `Check` of one claim: its one measure, of the run and of the flow beside it; and the hypotheses that it is without."""
    found, flow = claim.measure(seen), None if beside is None else claim.measure(beside)
    verdict, wants, broken = claim.judge(found.value)
    due = claim.due if verdict == NOT_REACHED and claim.due is not None and np.isfinite(claim.due) else None
    words = Words(claim.predicted.words, found.words, flow.words if flow else "", "" if due is None else seen.when(due))
    return Check(claim.text, claim.rule, claim.predicted.number, found.number, flow and flow.number, claim.unit, verdict, wants,
                 None if due is None else seen.ticks(due), words, claim.brief), broken


def _without_shares(about, seen):
    """The claims where shares and correlations have no closed form, none of them judged, and what can be shown in their place."""
    judge = lambda _: outside(about.asked)
    for claim in about.claims():
        yield replace(claim, measure=measure.unknown, judge=judge)
    for name, measured in measure.without_shares(seen):
        yield Claim(name, "not judged", Figure("no law"), lambda _, measured=measured: measured, judge)


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


def _details(run):
    """Figures that only the whole report has: the start, and how far what the flow conserves has drifted."""
    config = run.config
    signal = theory.signal(config, run.overlaps[0])
    yield "start: alpha_l |a_jl| / sigma = " + "; ".join(
        f"neuron {j + 1}: {', '.join(f'{size:.3g}' for size in sizes)}" for j, sizes in enumerate(signal))
    if heads.changes(config) and premises.hold(premises.of_conserved_norms(config)):
        drift = np.abs(hypotheses.drift(run)).max(axis=0)
        yield "drift of the constants of eq. 13 (0 in the flow): " + ", ".join(
            f"w_{j + 1} {value:.2g}" for j, value in enumerate(drift))
