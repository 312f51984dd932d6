"""Phase IV: how much of the head is left when phase III ends, when it is back, and how it goes (eq. 29)."""

import numpy as np

import simsim
from simsim import laws
from simsim.flow import BOTH
from simsim.phases import max_off_diagonal
from simsim.studies.regions import exponent_is, within
from simsim.studies.plan import FLOW, Study, aside, bars, config_of, done, split, starts
from simsim.studies.statistics import median
from simsim.trajectory import Trajectory

LARGE = 10**6  # from here on eq. 29 is held to its tolerance
HEAD_TOLERANCE = 0.02  # of the part that is left, of 1
ONE_EVENT = 1e-6  # of T_3: within this much phases III and IV are one event
APART = 0.25  # decades of d between the two kappas in the figure
DECADE = 10.0  # the exponent is fitted over the last factor of time


def grids(quick):
    """d and kappa; of a few starts the trajectories, for the way the head takes."""
    ds = [10**4, 10**6] if quick else [10**3, 10**4, 10**6, 10**8]
    fields = {**FLOW, "d": ds, "kappa": 1.0 if quick else [0.1, 1.0]}
    return {"return": (fields, range(20 if quick else 100)), "way": (fields, range(4 if quick else 10))}


def analyse(tables, folder):
    """Of the flows that succeed: |E| at T_3 over its peak beside eq. 29, |T_4 / T_3 - 1|, the power of the return."""
    powers = _powers(folder / "way" / "trajectories")
    records, claims, ways = [], [], dict(split(tables["way"], "d", "kappa"))
    for (d, kappa), everything in split(tables["return"], "d", "kappa"):
        part = done(everything)
        good = part["success"] & part["observed_3"] & part["observed_4"]
        part, config = {name: column[good] for name, column in part.items()}, config_of(d, kappa)
        law = np.array([laws.Acceleration(config, *start).head_left() for start in zip(*starts(config, part["init_seed"]))])
        apart = median(np.abs(part["time_4"] / part["time_3"] - 1))
        off, left = median(np.abs(part["head_left"] - law)), median(part["head_left"])
        power = median(powers.get((d, kappa), []))
        records.append({"d": d, "kappa": kappa, "flows": len(law), "left": left.value, "left_low": left.low,
                        "left_high": left.high, "law_29": float(np.median(law)), "off_29": off.value,
                        "apart": apart.value, "apart_high": apart.high,
                        "power": power.value, "power_low": power.low, "power_high": power.high})
        where = f"d = {d:.0e}, kappa = {kappa:g}"
        claims.append(within(f"|T_4 / T_3 - 1|: one event, {where}", apart, 0, ONE_EVENT).on(everything))
        claims.append(exponent_is(f"|E| ~ t^(-3/2) in the end, {where}", power, -1.5).on(ways[d, kappa]))
        if d >= LARGE:
            claims.append(within(f"|head left at T_3 - eq. 29|, {where}", off, 0, HEAD_TOLERANCE).on(everything))
    return records, claims


def _powers(folder):
    """d log|E| / d log t over the last `DECADE` of each trajectory that succeeded, a list for each (d, kappa)."""
    found = {}
    for path in sorted(folder.glob("*.npz")):
        run = Trajectory.load(path)
        head, late = max_off_diagonal(run.head), run.time > run.time[-1] / DECADE
        if run.status == BOTH and late.sum() > 2:
            slope = np.polyfit(np.log(run.time[late]), np.log(head[late]), 1)[0]
            found.setdefault((run.config.d, run.config.kappa), []).append(float(slope))
    return found


def draw(figure, table):
    """The head that is left at T_3, and the power of its return, against d."""
    left, right = figure.subplots(1, 2, sharex=True)
    left.set(xscale="log", xlabel="$d$", ylabel="$|E|$ at $T_3$ over its peak, median", ylim=(-0.02, 1.02))
    right.set(xscale="log", xlabel="$d$", ylabel=r"power of $t$ in $|E|$ at the end, median")
    parts = list(split(table, "kappa"))
    for i, ((kappa,), part) in enumerate(parts):
        look, d = {**simsim.plots.series(i), "ls": "", "ms": 5, "capsize": 2}, aside(part["d"], i, len(parts), APART)
        left.errorbar(d, part["left"], bars(part["left"], part["left_low"], part["left_high"]), **look,
                      label=rf"$\kappa = {kappa:g}$")
        left.plot(d, part["law_29"], "_", ms=16, mew=1.5, color=look["color"])
        right.errorbar(d, part["power"], bars(part["power"], part["power_low"], part["power_high"]), **look)
    left.plot([], [], "_", ms=16, mew=1.5, color="k", label="eq. 29")
    right.axhline(-1.5, color="k", ls="--", lw=0.8, label="$-3/2$")
    for ax in (left, right):
        ax.set_xticks(np.unique(table["d"]))
        ax.minorticks_off()
    handles, labels = (sum(both, []) for both in zip(*(ax.get_legend_handles_labels() for ax in (left, right))))
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)


STUDY = Study("phase-4", "how the head comes back", "5 minutes", grids, analyse, draw, trajectories=("way",))
