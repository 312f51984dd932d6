"""The loop of a sweep: every task computed somewhere, whatever happens to workers.

When workers die, all that was under way is lost, and which task was to blame is not known. So each of those is
computed again with nothing beside it. One that kills its worker even so is taken apart into its runs, and a run that
does it has failed.
"""

import functools
import math
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait

from simsim.sweeps import outcome
from simsim.sweeps.compute import compute

MOST_KILLS = 2  # of workers, by one task: once in company, and once alone
POLL_SECONDS = 0.2  # how often to look whether to stop


class SweepError(RuntimeError):
    """A sweep that cannot go on; the text is one line."""


def work(tasks, place, arrived, stop=lambda: False, seconds=math.inf):
    """Compute all of `tasks` in `place` (see `executors`), no run for over `seconds`, until `stop()` says so.

    arrived(task, outcomes, trajectories) is called in this thread, in the order in which they come.

    Raises
    ------
    SweepError
        The place broke, and is not ours to make anew, or failed otherwise. Of what was under way then nothing is said.
    ExecutorError
        No worker comes to work.
    """
    function = compute if math.isinf(seconds) else functools.partial(compute, seconds=seconds)
    waiting, suspects, kills, running = deque(tasks), deque(), Counter(), {}
    while (waiting or suspects or running) and not stop():
        lost = _submit(place, function, waiting, suspects, running, kills)
        done = wait(running, POLL_SECONDS, FIRST_COMPLETED).done if not lost else wait(running).done
        lost += _collect(done, place, running, arrived)
        if not lost:
            continue
        lost += _collect(wait(running).done, place, running, arrived)  # they are lost as well, or just made it
        if not place.remake():
            raise SweepError(f"the executor broke, and is not ours to make anew; under way was {lost[0]}")
        for task in lost:
            kills[task.keys] += 1
            if kills[task.keys] < MOST_KILLS:
                suspects.append(task)
            elif len(task.keys) > 1:
                suspects.extend(parts := task.parts())
                kills.update(part.keys for part in parts)
            else:
                _fail(task, f"its worker was killed {MOST_KILLS} times", arrived)


def _submit(place, function, waiting, suspects, running, kills):
    """Submit what there is room for, a suspect alone; the list of tasks that a broken place did not take."""
    while waiting or suspects:
        suspicious = suspects or any(task.keys in kills for task in running.values())
        if len(running) >= (1 if suspicious else place.width):
            break
        task = suspects.popleft() if suspects else waiting.popleft()
        try:
            running[place.submit(function, task)] = task
        except BrokenExecutor:
            return [task]
        except Exception as error:
            raise _broken(task, error) from None
    return []


def _collect(done, place, running, arrived):
    """Hand over what the futures `done` brought; the list of tasks that were lost with a worker."""
    lost, broken = [], None
    for future in done:
        task = running.pop(future)
        try:
            outcomes, trajectories = future.result()
        except BrokenExecutor:
            lost.append(task)
        except place.gave_up as error:
            _fail(task, f"{type(error).__name__}: {error}", arrived)
        except Exception as error:  # of the place, for a task has none
            broken = _broken(task, error)
        else:
            arrived(task, outcomes, trajectories)
    if broken:
        raise broken
    return lost


def _broken(task, error):
    """The SweepError where the place has failed, and not a run: its scheduler is gone, it does not know simsim."""
    what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return SweepError(f"the executor failed ({what}); under way was {task}")


def _fail(task, reason, arrived):
    """All runs of a task have failed, for one reason."""
    arrived(task, [outcome.failed(reason)] * len(task.keys), [None] * len(task.keys))
