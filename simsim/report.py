"""The report: predicted beside measured, the flow beside SGD, and how typical the run is."""

from dataclasses import asdict, fields, replace

import numpy as np

from simsim import rates, theory
from simsim.claims import ALL_STRONG, FAIL, FATE, OWNERSHIP, PHASE_CLAIMS, check_claims, when
from simsim.config import DEFAULT_START
from simsim.phases import NAMES, find_phases, off_diagonal


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
        columns = ["claim", "predicted", *(["flow"] if any(check.flow for check in self) else []), "measured"]
        rows = [columns, *([getattr(check, column) for column in columns] for check in self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
        verdicts = ["verdict", *(check.verdict for check in self)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), verdict])
                 for row, verdict in zip(rows, verdicts)]
        rule = "-" * max(map(len, (*lines, *self.title.splitlines())))
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:], rule, *self.remarks])


def check_theorems(run, flow=None):
    """Put a Trajectory beside the paper's theorems and the exact laws: a `Report`.

    With `flow`, the Trajectory of the flow from the same start, the report has a
    column for it, and quotes it where the run did not get that far. Raises
    ValueError where `flow` is not of the same start, data, network and kappa.
    """
    phases = find_phases(run)
    if flow is None:
        return Report(check_claims(run, phases), _title(run), _remarks(run))
    _require_same_start(run.config, flow.config)
    flow_phases = find_phases(flow)
    ends = _flow_ends(run, flow_phases)
    checks = [replace(check, flow=_flow_says(check, flow, {**flow_phases.missing, **ends}))
              for check in check_claims(run, phases, ends)]
    return Report(checks, _title(run), _remarks(run))


def _require_same_start(config, flow_config):
    """ValueError where `flow_config` is not the flow that a run of `config` goes along: which fields differ."""
    names = [field.name for field in fields(config) if field.metadata["group"] in ("data", "network")]
    ours, theirs = ({**{name: getattr(c, name) for name in (*names, "init_seed")}, "kappa": float(f"{c.kappa:.12g}")}
                    for c in (config, flow_config))
    different = [f"{name} = {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if flow_config.engine != "flow":
        different.append(f"engine = {flow_config.engine}, not flow")
    if different:
        raise ValueError("`flow` must be the flow from the start of the run: it has " + "; ".join(different))


def _flow_ends(run, phases):
    """When each phase of the flow ends, in words and on the run's clock; those that come."""
    times = zip(NAMES, phases.ends())
    return {name: when(run, end.time / run.config.lr) for name, end in times if end is not None}


def _flow_says(check, flow, phases_in_words):
    """What the flow shows of what a check is about; of a phase, when it ends or why it does not come."""
    if check.claim in PHASE_CLAIMS:
        return phases_in_words[NAMES[PHASE_CLAIMS.index(check.claim)]]
    if check.claim in (OWNERSHIP, ALL_STRONG, FATE):
        return ", ".join(f"v_{feature + 1}" for feature in np.argmax(flow.shares[-1], axis=1))
    if check.claim.endswith("rises and falls"):
        return f"peak {off_diagonal(flow.head).max():.3g}"
    return ""


def _title(run):
    c = run.config
    pace = (f"to t = {run.time[-1]:.3g}, {run.message}" if c.engine == "flow" else
            f"{run.steps[-1]} steps of eta = {c.lr:.3g} on {c.batch_size} samples")
    return (f"simsim: m = {c.m}, head {c.head}, alpha = ({c.alpha_strong:g}, {c.alpha_weak:g}), sigma = {c.sigma:g}, "
            f"d = {c.d}, {c.feature_patches} of {c.patches} patches\n"
            f"engine {c.engine}, {pace}, "
            f"kappa = {c.kappa:.3g}, seed {c.seed}, init_seed {c.init_seed}")


def _remarks(run):
    """What one run cannot say of itself: where it started, and how many starts go that way."""
    config = run.config
    signal = theory.signal(config, run.overlaps[0])
    remarks = ["start: alpha_l |a_jl| / sigma = " + "; ".join(
        f"neuron {j + 1}: {strong:.3g}, {weak:.3g}" for j, (strong, weak) in enumerate(signal))]
    if config.init_seed == DEFAULT_START:
        remarks.append(f"this start (init_seed {DEFAULT_START}) is hand-picked, not typical")
    if config.head_is_trained:
        drift = np.abs(theory.conserved(config.kappa, run.norms**2, run.head) / run.norms[0] ** 2 - 1).max(axis=0)
        remarks.append("drift of the constants of eq. 13 (0 in the flow): " + ", ".join(
            f"w_{j + 1} {value:.2g}" for j, value in enumerate(drift)))
        rate = rates.lookup(config)
        remarks.append("how typical: " + (
            f"all four phases from {rate}" if rate else
            "the success rate of this configuration has not been measured; simsim.rates.measure does it"))
    else:
        remarks.append(f"how typical: all neurons collapse onto v_1 from a random start "
                       f"with probability {theory.collapse_probability(config):.3f} (eq. 15)")
    return remarks
