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
    Mutation("a run of SGD as the flow beside", "simsim/report/table.py",
             'if flow_config.clock != "time":', "if False:", "tests/test_trajectory.py"),
    Mutation("a symmetric head may do anything", "simsim/studies/ablation.py",
             'difference(learned["symmetric head"], base, confidence), -RATE_TOLERANCE, 1)',
             'difference(learned["symmetric head"], base, confidence), -1, 1)', "tests/test_study.py"),
    Mutation("exponents at four times their tolerance", "simsim/studies/claims.py",
             "EXPONENT_TOLERANCE = 0.05",
             "EXPONENT_TOLERANCE = 0.2", "tests/test_study.py"),
    Mutation("rates at three times their tolerance", "simsim/studies/claims.py",
             "RATE_TOLERANCE = 0.05",
             "RATE_TOLERANCE = 0.15", "tests/test_study.py"),
    Mutation("ratios at twice their tolerance", "simsim/studies/claims.py",
             "RATIO_TOLERANCE = 0.1",
             "RATIO_TOLERANCE = 0.2", "tests/test_study.py"),
    Mutation("the slow head is judged by the fastest", "simsim/studies/theorem_1.py",
             "at[kappas[0]], HIGH, 1)",
             "at[kappas[-1]], HIGH, 1)", "tests/test_study.py"),
    Mutation("a start that holds v_1 has a phase I", "simsim/studies/phase_one.py",
             "times[times == 0] = np.nan",
             "pass", "tests/test_study.py"),
    Mutation("the head's peak for its end", "simsim/studies/sgd_flow.py",
             '"residual_2", "head_end")',
             '"residual_2", "head_peak")', "tests/test_study.py"),
    Mutation("--strict fails what is inconclusive", "simsim/studies/command.py",
             "any(claim.verdict == FAIL for claim in found)",
             'any(claim.verdict != "PASS" for claim in found)', "tests/test_study.py"),
    Mutation("the bound on the head is drawn without its 1/3", "simsim/studies/amplitude.py",
             'ax.plot(table["kappa"], np.sqrt(table["kappa"] / 3)',
             'ax.plot(table["kappa"], np.sqrt(table["kappa"])', "tests/test_study.py"),
    Mutation("claims are judged whatever failed", "simsim/studies/claims.py",
             "if self.failed > MOST_FAILED * (self.runs or 0):",
             "if False:", "tests/test_study.py"),
    Mutation("a claim rests on the best of its cells", "simsim/studies/claims.py",
             "failed, runs = max(counts,",
             "failed, runs = min(counts,", "tests/test_study.py"),
    Mutation("a study without claims is a success", "simsim/studies/command.py",
             "return UNFINISHED",
             "return OK", "tests/test_study.py"),
    Mutation("a flow that fails exits with 0", "simsim/run.py",
             'say(f"stopped: {error}")\n            return UNFINISHED',
             'say(f"stopped: {error}")\n            return OK', "tests/test_run.py"),
    Mutation("a broken sweep exits with 2", "simsim/sweeps/command.py",
             "return UNFINISHED",
             "return REFUSED", "tests/test_sweep.py"),
    Mutation("done runs are counted as failed", "simsim/sweeps/command.py",
             'failures = int((columns["status"] == outcome.FAILED).sum())',
             'failures = int((columns["status"] != outcome.FAILED).sum())', "tests/test_sweep.py"),
    Mutation("the time multiplied by the workers", "simsim/sweeps/estimate.py",
             "each * runs / min(width, len(tasks))",
             "each * runs * min(width, len(tasks))", "tests/test_sweep.py"),
    Mutation("rows are not flushed", "simsim/sweeps/rows.py",
             'self._file.flush()\n        os.fsync(self._file.fileno())\n\n    def __enter__',
             'pass\n\n    def __enter__', "tests/test_sweep.py"),
    Mutation("rows are not synced", "simsim/sweeps/rows.py",
             'self._file.flush()\n        os.fsync(self._file.fileno())\n',
             'self._file.flush()\n', "tests/test_sweep.py"),
    Mutation("a failed row takes a done one's place", "simsim/sweeps/folder.py",
             'for key, row in found.items() if known.get(key, {}).get("status") != outcome.DONE}',
             "for key, row in found.items()}", "tests/test_sweep.py"),
    Mutation("a log goes before its checkpoint", "simsim/folder.py",
             "for name in (CHECKPOINT, LOG):",
             "for name in (LOG, CHECKPOINT):", "tests/test_folder.py"),
    Mutation("Ctrl-C leaves half a file", "simsim/files.py",
             'except BaseException:\n        with contextlib',
             'except Exception:\n        with contextlib', "tests/test_folder.py"),
    Mutation("no locks are an error", "simsim/lock.py",
             "if error.errno not in NO_LOCKS:",
             "if True:", "tests/test_folder.py"),
    Mutation("any error is no lock", "simsim/lock.py",
             "if error.errno not in NO_LOCKS:",
             "if False:", "tests/test_folder.py"),
    Mutation("the lock's file goes after the lock", "simsim/lock.py",
             "    if fcntl:  # removed while the lock is held: nobody else's file goes\n        _remove(path)\n    os.close(descriptor)\n",
             '    os.close(descriptor)\n    _remove(path)\n', "tests/test_folder.py"),
    Mutation("a fork keeps the lock", "simsim/lock.py",
             "os.register_at_fork(after_in_child=_let_go)",
             "pass", "tests/test_folder.py"),
    Mutation("sums of rows are not looked at", "simsim/sweeps/rows.py",
             "if sealed and zlib.crc32(sealed[1]) != int(sealed[2], 16):",
             "if False:", "tests/test_sweep.py"),
    Mutation("what fails in the place is a run that failed", "simsim/sweeps/work.py",
             "broken = _broken(task, error)",
             '_fail(task, f"{error}", arrived)', "tests/test_sweep.py"),
    Mutation("a cluster is waited for half a minute", "simsim/sweeps/executors.py",
             "CONNECT_SECONDS = 5",
             "CONNECT_SECONDS = 30", "tests/test_sweep.py"),
    Mutation("a full disk is a request that cannot be", "simsim/sweeps/folder.py",
             'except FolderError as error:\n        raise SweepError(f"{folder}: {error}; {kept()} are kept, and the same command goes on") from None\n    except',
             "except", "tests/test_sweep.py"),
    Mutation("what was left half written stays", "simsim/files.py",
             "part.unlink()",
             "pass", "tests/test_sweep.py"),
    Mutation("tuples make another sweep", "simsim/sweeps/grid.py",
             '[list(value) if isinstance(value, tuple) else value for value in axis]\n                  for',
             'axis\n                  for', "tests/test_sweep.py"),
    Mutation("the head that is left at the end of phase II", "simsim/sweeps/outcome.py",
             "result.phase_head[i, flow.WEAK_LEARNED]",
             "result.phase_head[i, flow.WEAK_LEARNED - 1]", "tests/test_sweep.py"),
    Mutation("one rank for a whole batch", "simsim/sweeps/outcome.py",
             '"effective_rank": float(ranks[i])',
             '"effective_rank": float(ranks[0])', "tests/test_sweep.py"),
    Mutation("asymmetry at the end for the peak", "simsim/sweeps/outcome.py",
             "run.asymmetry[head.argmax()]",
             "run.asymmetry[-1]", "tests/test_sweep.py"),
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
