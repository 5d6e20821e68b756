"""A campaign: one shape lives undisturbed, then is killed at one commit point after another. A process of its own.

Every life is a real process that dies by SIGKILL. They are forked from this one, which has imported everything
and has no threads: that costs a tenth of starting Python anew, so there can be ten times as many.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiosqlite  # noqa: F401 - these are imported late otherwise, once in every life
import anyio._backends._asyncio
import anyio.to_thread  # noqa: F401
import pydantic.type_adapter  # noqa: F401

import runtime.store.sqlite  # noqa: F401
from crash.corpus import SHAPES
from crash.life import live
from crash.shape import Shape
from runtime.store import fault

CACHE_SIZES = (1000, 0)


@dataclass
class Trial:
    """A store, and the lives that are spent on it.

    Attributes:
        folder: of the store, the ledger and the report.
        faults: of each life in order; then comes one that nobody kills.
        cache_size: of its workers: runs are kept in memory, or evicted and replayed after every turn.
        ends: how each life ended: an exit status, negative for a signal.
    """

    folder: Path
    faults: Sequence[str]
    cache_size: int
    ends: list[int] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether a life reached its natural end, or failed."""
        return bool(self.ends) and self.ends[-1] != -signal.SIGKILL

    def next_life(self, shape: Shape) -> int:
        """Fork; the child lives."""
        number = len(self.ends)
        setting = self.faults[number] if number < len(self.faults) else None
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            _arm(setting, self.folder)
            live(shape, self.folder, self.cache_size)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


def _arm(setting: str | None, folder: Path) -> None:
    """Have this process killed: the module reads its settings when it is imported, which was before the fork."""
    variables = {"DURABLE_FAULT": setting} if setting else {"DURABLE_FAULT_TRACE": str(folder / "passed")}
    os.environ.update(variables)
    importlib.reload(fault)


def undisturbed(shape: Shape, folder: Path) -> int:
    """Live without a fault; returns how many commits that takes."""
    folder.mkdir(parents=True)
    trial = Trial(folder, (), CACHE_SIZES[0])
    _spend(shape, [trial], 1)
    if trial.ends != [0]:
        raise SystemExit(f"{shape.workflow.name} does not even work undisturbed: {trial.ends}")
    passed = dict(line.split() for line in (folder / "passed").read_text().splitlines())
    return int(passed["commit:before"])


def _spend(shape: Shape, trials: Sequence[Trial], at_once: int) -> None:
    """Run the trials, a few at a time."""
    waiting: Iterator[Trial] = iter(trials)
    living: dict[int, Trial] = {}
    while True:
        while len(living) < at_once and (trial := next(waiting, None)) is not None:
            trial.folder.mkdir(exist_ok=True)
            living[trial.next_life(shape)] = trial
        if not living:
            return
        pid, status = os.wait()
        trial = living.pop(pid)
        trial.ends.append(os.waitstatus_to_exitcode(status))
        if not trial.is_over:
            living[trial.next_life(shape)] = trial


def plan(folder: Path, commits: int, limit: int | None) -> list[Trial]:
    """A trial for every point before and after a commit, or for ``limit`` of them, evenly spread.

    Every third trial kills the next life as well, at an early point of its recovery. Both cache modes see both sides of
    commits: the modes change places with every commit.
    """
    points = [f"commit:{where}:{number}" for number in range(1, commits + 1) for where in ("before", "after")]
    if limit is not None and limit < len(points):
        evenly = (index * len(points) // limit for index in range(limit))
        points = [points[at - at % 2 + index % 2] for index, at in enumerate(evenly)]
    trials = []
    for index, point in enumerate(points):
        again = [f"commit:{'after' if index % 2 else 'before'}:{2 + index // 3 % 8}"] if index % 3 == 2 else []
        trials.append(Trial(folder / point.replace(":", "-"), [point, *again], CACHE_SIZES[(index + index // 2) % 2]))
    return trials


def main() -> None:
    """``python -m crash.campaign SHAPE FOLDER LIMIT``; LIMIT is ``all`` or a number of points."""
    name, target, limit = sys.argv[1:]
    shape, folder = SHAPES[name], Path(target)
    commits = undisturbed(shape, folder / "undisturbed")
    trials = plan(folder, commits, None if limit == "all" else int(limit))
    _spend(shape, trials, 2 * (os.cpu_count() or 1))
    lives = {trial.folder.name: trial.ends for trial in trials}
    (folder / "lives.json").write_text(json.dumps({"commits": commits, "lives": lives}), encoding="utf-8")


if __name__ == "__main__":
    main()
