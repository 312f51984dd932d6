"""Does the test suite notice? Applies wrong lines to the package, one at a time, and says which survive.

    python tests/mutations.py [NAME ...]

A development tool outside the test run: each mutation copies the repository to
a temporary folder, changes one line there and runs the tests that should
object, which takes some minutes in all. Exit status 1 if a mutation survives,
or if the line that it changes is not there any more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutation(NamedTuple):
    """`old`, which stands exactly once in `file`, becomes `new`; `tests` are the files that should fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation("noise not multiplied by sigma", "simsim/data.py",
             "noise *= noise.dtype.type(config.sigma)", "pass", "tests/test_data.py"),
    Mutation("columns beyond the batch not zero", "simsim/sgd/gram.py",
             "self._du[...] = 0", "self._du[...] = 1", "tests/test_sgd.py"),
    Mutation("the target's patches taken for the other view's", "simsim/sgd/gram.py",
             "1 - self._in_view1", "self._in_view1", "tests/test_sgd.py"),
    Mutation("what is due is never a failure", "simsim/report/phase_one.py",
             "return exact(False if latest < seen.run.time[-1] else None, seen.is_limit)", "return NOT_REACHED",
             "tests/test_report.py"),
    Mutation("an overdue head is never a failure", "simsim/report/trained.py",
             "return FAIL if verdict == NOT_REACHED and overdue else verdict", "return verdict", "tests/test_report.py"),
    Mutation("eq. 13 without the column", "simsim/report/seen.py",
             "used = rows / np.hypot(ceiling, columns)", "used = rows / ceiling", "tests/test_report.py"),
    Mutation("an exact law may break in the limit", "simsim/report/verdicts.py",
             "return PASS if holds else FAIL if limit else UNLIKELY", "return PASS if holds else UNLIKELY",
             "tests/test_report.py"),
    Mutation("an unlikely end is a failure of the start", "simsim/report/verdicts.py",
             "return OUTSIDE if chance is not None and chance < EVEN else UNLIKELY", "return UNLIKELY",
             "tests/test_report.py"),
    Mutation("the head need not be lopsided", "simsim/report/trained.py",
             "MUCH_SMALLER = 0.5", "MUCH_SMALLER = np.inf", "tests/test_report.py"),
    Mutation("a touch is a substitution", "simsim/report/trained.py",
             "SUBSTITUTED_SHARE = 0.75", "SUBSTITUTED_SHARE = 0.5", "tests/test_report.py"),
    Mutation("both features at the return, but for s", "simsim/phases.py",
             "both = (run.shares[:, s, STRONG] >= LEARNED) & (run.shares[:, w, WEAK] >= LEARNED)",
             "both = run.shares[:, w, WEAK] >= LEARNED", "tests/test_phases.py"),
    Mutation("the first row wins a tie", "simsim/phases.py",
             "np.argmax(shares[np.argmax(some)])", "np.argmax(shares[np.argmax(some)] >= LEARNED)",
             "tests/test_phases.py"),
    Mutation("all features agree as well as the best", "simsim/population.py",
             "apart = (g[low] - g[high]) * H[..., low] * B[..., high]", "apart = 0", "tests/test_variants.py"),
    Mutation("every sample has all noise patches", "simsim/sgd/gram.py",
             "if self._draw.noise is not None:", "if False:", "tests/test_sgd.py"),
    Mutation("a start that holds v_1 is a success", "simsim/rates.py",
             "return unlearned and all(phases.ends())", "return all(phases.ends())", "tests/test_rates.py"),
    Mutation("and in the flow", "simsim/rates.py",
             " & (result.phases[:, 0] > 0)", "", "tests/test_rates.py"),
    Mutation("9 for 11 in the lag of phase II", "simsim/laws.py",
             "(11 * two**1.5", "(9 * two**1.5", "tests/test_laws.py"),
    Mutation("a head that is not finite passes", "simsim/sgd/loop.py",
             "arrays = [*state.engine.arrays.values(), state.head]", "arrays = [*state.engine.arrays.values()]",
             "tests/test_sgd.py"),
    Mutation("config and checkpoint may differ", "simsim/folder.py",
             'raise FolderError(f"{CONFIG} and {CHECKPOINT} are of different runs")', "pass", "tests/test_run.py"),
    Mutation("a second signal waits", "simsim/interrupts.py",
             "again = self.seen and number != HANG_UP", "again = False", "tests/test_folder.py"),
    Mutation("a log longer than its checkpoint counts", "simsim/checkpoint.py",
             "if self._digest.hexdigest() != checksum:", "if False:", "tests/test_run.py tests/test_folder.py"),
    Mutation("small entries of the head not followed", "simsim/flow/coordinates.py",
             "HEAD_FLOOR = 0.1", "HEAD_FLOOR = 100.0", "tests/test_flow.py"),
    Mutation("small rates are an end, falling or not", "simsim/flow/certificate.py",
             "return waited & fallen", "return waited", "tests/test_flow.py"),
    Mutation("a loss of nearly equal numbers", "simsim/population.py",
             "gaps = np.where(np.real(aligned) > 0, gap / (", "gaps = np.where(np.real(aligned) > np.inf, gap / (",
             "tests/test_population.py"),
    Mutation("shares of what the head sees", "simsim/trajectory.py",
             "return population.shares(self.config, self.overlaps, self.gram)",
             "return population.head_shares(self.config, self.overlaps, self.gram, self.head)",
             "tests/test_measures.py"),
    Mutation("a symmetric head that is not", "simsim/heads.py",
             "return (dE + dE.swapaxes(-1, -2)) * (off_diagonal_mask(self.m) / 2)", "return dE * off_diagonal_mask(self.m)",
             "tests/test_heads.py"),
    Mutation("degrees of freedom of the weights alone", "simsim/sgd/draws.py",
             "config.d - config.features - spanned, BLOCK_STEPS", "config.d - config.features - config.m, BLOCK_STEPS",
             "tests/test_gram.py"),
    Mutation("decay that momentum does not collect", "simsim/sgd/optimiser.py",
             "A[v, 0], A[v, v], b[v] = c.weight_decay, c.momentum, -1", "A[v, 0], A[v, v], b[v] = 0, c.momentum, -1",
             "tests/test_optimiser.py"),
    Mutation("a target that follows a step late", "simsim/sgd/optimiser.py",
             "A[t], b[t] = (1 - tau) * A[0], (1 - tau) * b[0]", "A[t], b[t] = (1 - tau) * np.eye(len(A))[0], 0",
             "tests/test_optimiser.py"),
    Mutation("the loss against the weights", "simsim/trajectory.py",
             'if "target" in self.config.blocks:\n            if self', "if False:\n            if self",
             "tests/test_optimiser.py"),
    Mutation("the head's momentum lost in a checkpoint", "simsim/sgd/loop.py",
             '{"head_velocity": self.head_velocity} if self.engine.config.head_momentum else {}', "{}",
             "tests/test_optimiser.py"),
    Mutation("later options in the keys of sweeps", "simsim/sweeps/grid.py",
             "in in_use(fields).items() if value is not None", "in fields.items() if value is not None",
             "tests/test_optimiser.py"),
    Mutation("a run of SGD as the flow beside", "simsim/report/table.py",
             'if flow_config.clock != "time":', "if False:", "tests/test_trajectory.py"),
]


def survivors(names):
    """Run the mutations of these names (all if none is given); the names of those that no test noticed."""
    alive = []
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        noticed = _noticed(mutation)
        print(f"{mutation.name:40} {'caught' if noticed else 'SURVIVED'}", flush=True)
        alive += [] if noticed else [mutation.name]
    return alive


def _noticed(mutation):
    """Whether the tests fail on a copy of the repository with this one change."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", "*.egg-info"))
        path = copy / mutation.file
        text = path.read_text()
        if text.count(mutation.old) != 1:
            sys.exit(f"{mutation.name}: {mutation.old!r} stands {text.count(mutation.old)} times in {mutation.file}")
        path.write_text(text.replace(mutation.old, mutation.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutation.tests.split()]
        done = subprocess.run(command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True)
        if done.returncode not in (0, 1):
            sys.exit(f"{mutation.name}: the tests did not run\n{done.stdout.decode()}{done.stderr.decode()}")
        return done.returncode == 1


if __name__ == "__main__":
    sys.exit(1 if survivors(sys.argv[1:]) else 0)
