"""The runs of a store, or of files, replayed against code; what would break, alike breakages together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Final

from durable.codec import PayloadCodec
from durable.interceptor import Interceptor
from durable.registry import Registry
from durable.replay import Recording, ReplayReport, replay_recording
from durable.replay.report import Group, Groups
from durable.workflow import WorkflowDefinition
from runtime.clock import SystemClock
from runtime.replay.reading import read_recordings
from runtime.replay.selection import Selection, select_rows
from runtime.store.protocol import Store
from runtime.store.url import open_store
from runtime.worker.watchdog import Watchdog

_BREATH: Final = 50
"""After so many runs others may use the event loop, and a Ctrl-C is heard."""

KEPT_REPORTS: Final = 10_000
"""Reports of runs that would break are kept up to this number; all are counted."""


@dataclass(slots=True)
class GuardReport:
    """What came of replaying many runs.

    Attributes:
        runs: how many were replayed.
        events: how many events they have.
        broken: how many would break.
        reports: of those that would break.
        groups: alike findings together.
        workflows: runs by workflow.
        seed: of the sample, if one was taken.
        seconds: how long it took.
    """

    runs: int = 0
    events: int = 0
    broken: int = 0
    reports: list[ReplayReport] = field(default_factory=list)
    groups: Groups = field(default_factory=Groups)
    workflows: dict[str, int] = field(default_factory=dict)
    seed: int | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every run goes on with this code."""
        return self.broken == 0

    @property
    def findings(self) -> list[Group]:
        """Alike findings together, those of most runs first."""
        return list(self.groups)

    def add(self, report: ReplayReport) -> None:
        """Count a run."""
        self.runs += 1
        self.events += report.events
        self.workflows[report.workflow] = self.workflows.get(report.workflow, 0) + 1
        if not report.ok:
            self.broken += 1
            self.groups.add(report)
            if len(self.reports) < KEPT_REPORTS:
                self.reports.append(report)


@dataclass(frozen=True, slots=True)
class Against:
    """The code, and how strict it is held to what is recorded.

    Attributes:
        registry: the code.
        codecs: the payload codecs of the workers.
        interceptors: as the workers have them.
        strict: an input that differs is a breakage.
        blocked_seconds: a turn that takes longer is interrupted.
    """

    registry: Registry
    codecs: Sequence[PayloadCodec] = ()
    interceptors: Sequence[Interceptor] = ()
    strict: bool = True
    blocked_seconds: float = 2.0


async def replay_store(
    url: str | Store | None = None,
    *,
    workflows: Sequence[WorkflowDefinition[..., Any]],
    steps: Sequence[Callable[..., Any]] = (),
    selection: Selection | None = None,
    codecs: Sequence[PayloadCodec] = (),
    interceptors: Sequence[Interceptor] = (),
    strict: bool = True,
) -> GuardReport:
    """Replay the runs of a store against this code, and say which would break. Nothing is written; workers may go on.

    Args:
        url: of the store, or an open store; None: the one that the command line would use.
        workflows, steps: the code, as a worker would be given it.
        selection: which runs; every unfinished one by default.
        codecs, interceptors: as the workers have them.
        strict: an input that differs from the recorded one is a breakage.

    Returns:
        A report: ``ok``, how many of how many runs would break, and why.
    """
    is_ours = url is None or isinstance(url, str)
    store: Store = open_store(url, read_only=True) if url is None or isinstance(url, str) else url
    against = Against(Registry(workflows, steps), codecs, interceptors, strict)
    if is_ours:
        await store.open()
    try:
        return await replay_all(recordings_of(store, selection or Selection()), against)
    finally:
        if is_ours:
            await store.close()


async def recordings_of(
    store: Store, selection: Selection, limits: Mapping[str, int] | None = None
) -> AsyncIterator[list[Recording]]:
    """The recordings of the chosen runs, some at a time."""
    now_us = SystemClock().now_us()
    async for rows in select_rows(store, selection):
        async for recordings in read_recordings(store, rows, now_us, limits):
            yield recordings


async def replay_all(
    recordings: AsyncIterator[Iterable[Recording]],
    against: Against,
    tell: Callable[[ReplayReport, Recording], None] | None = None,
) -> GuardReport:
    """Replay recordings one after the other, on this thread.

    Args:
        tell: hears of every run.
    """
    total = GuardReport()
    began = perf_counter()
    watchdog = Watchdog(against.blocked_seconds, lambda *_: None)
    watchdog.start()
    try:
        async for some in recordings:
            for recording in some:
                report = replay_recording(
                    recording,
                    against.registry,
                    codecs=against.codecs,
                    interceptors=against.interceptors,
                    strict=against.strict,
                    call=partial(watchdog.run, recording.identity.workflow_id),
                )
                total.add(report)
                if tell is not None:
                    tell(report, recording)
                if total.runs % _BREATH == 0:
                    await asyncio.sleep(0)
    finally:
        watchdog.stop()
    total.seconds = perf_counter() - began
    return total
