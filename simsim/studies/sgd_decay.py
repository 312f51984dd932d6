"""Weight decay in phase I: it stops the growth of the weights, and by docs/theory.md, eq. 66, helps at no step size."""

import numpy as np

import simsim
from simsim.studies.one_neuron import LATE, batch_of, cell, law, rounded, start_of
from simsim.studies.plan import Study, aside, bars, done, plain_ticks, split
from simsim.studies.regions import RATE_TOLERANCE, within
from simsim.studies.statistics import difference, rate, simultaneous

START = start_of(100, 10, 3.0, 32)
BEYOND, LOST = 1.2, 1.5  # x from which SGD does not learn without decay; eq. 66 from which it does not with it
LEARNED = 0.6  # x up to which it mostly does without
CHANGE = 0.25  # by how much more rarely at least, then


def grids(quick):
    """x times decay; `decay` in units of 1 / T_1."""
    xs, decays = (0.2, 0.5, 1.25) if quick else (0.2, 0.5, 1.25, 2.0), (0.0, 0.5, 2.0)
    found = {}
    for x in xs:
        fields = cell(START, x, horizon=LATE)
        time = law({name: np.array([value]) for name, value in fields.items()})[0].flow_time
        found[f"x {x:g}"] = ({**fields, "weight_decay": [rounded(decay / time) for decay in decays]}, range(24 if quick else 100))
    return found


def analyse(tables, folder):
    """Learned with and without decay, beside eq. 66."""
    records, beyond, lost = [], ([], []), ([], [])
    confidence = simultaneous(sum(len(set(table["weight_decay"].tolist())) for table in tables.values()))
    for table in tables.values():
        one, walk, _ = law(table)
        drift = batch_of(int(table["batch_size"][0])).drift
        strongest = float(simsim.noise_laws.decay_criticality(one.x, table["weight_decay"].max(), one.flow_time / drift))
        for (decay,), whole in split(table, "weight_decay"):
            part, x = done(whole), float(simsim.noise_laws.decay_criticality(one.x, decay, one.flow_time / drift))
            found = rate(part["observed_1"], confidence)
            records.append({"x": one.x, "decay": decay * one.flow_time, "x_66": x, "blur": walk, "runs": found.n,
                            "learned": found.value, "low": found.low, "high": found.high})
            if one.x >= BEYOND:
                beyond[decay > 0].append(part["observed_1"])
            elif one.x <= LEARNED and strongest >= LOST and (decay == 0 or x >= LOST):
                lost[decay > 0].append(part["observed_1"])
    more = lambda pair, confidence: difference(*(np.concatenate(some) for some in pair[::-1]), confidence)
    return records, [
        within(f"x > {BEYOND:g}: learned with decay minus without (a window would be above {RATE_TOLERANCE:g})",
               more(beyond, simultaneous(2)), -1, RATE_TOLERANCE),
        within(f"x < {LEARNED:g} and eq. 66 above {LOST:g}: learned with decay minus without",
               more(lost, simultaneous(2)), -1, -CHANGE)]


def draw(figure, table):
    """Learned against eq. 66's x, a series for each x without decay."""
    ax, parts = figure.subplots(), list(split(table, "x"))
    for i, ((x,), part) in enumerate(parts):
        ax.errorbar(aside(part["x_66"], i, len(parts), 0.01), part["learned"], bars(part["learned"], part["low"], part["high"]),
                    ms=4, lw=1, capsize=2, **simsim.plots.ramp(i, len(parts)), label=f"$x$ = {x:.3g}")
    ax.axvline(1, color="0.5", ls=":", lw=1)
    ax.set(xscale="log", xlabel=r"$x + \sqrt{2 \lambda T_1 x}$ (eq. 66)", ylabel="$v_1$ learned", ylim=(-0.02, 1.02))
    plain_ticks(ax, (0.2, 0.5, 1, 2, 5))
    ax.legend(frameon=False, title="leftmost of each: no decay", fontsize="small")


STUDY = Study("sgd-decay", "whether weight decay lets SGD learn at larger steps", "two minutes", grids, analyse, draw)
