"""Watching a run that is served here: progress as it comes, questions asked on the terminal, standstills noticed.

The store tells of every commit; the watch looks a few times a second at most, and reads only the events that are new.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from durable.duration import MICROSECONDS
from durable.errors import HistoryCorruptedError, StoreUnavailableError
from durable.handle import RunStatus
from durable.history import EventKind
from durable.timeline.timeline import Timeline
from runtime.cli.progress import LiveProgress, LoggedProgress
from runtime.cli.terminal import Terminal
from runtime.client.people import unanswered
from runtime.client.timeline import value_opener
from runtime.store.rule import may_adopt

if TYPE_CHECKING:
    from runtime.cli.session import Session
    from runtime.client.description import Question
    from runtime.client.handle import RunHandle
    from runtime.runtime import Runtime
    from runtime.store.change import Change
    from runtime.store.row import RunRow

PAUSE_SECONDS: Final = 0.05
"""Between two looks at least."""

TICK_SECONDS: Final = 0.25
"""After which a display is redrawn although nothing happened, because time goes on."""

RETRY_SECONDS: Final = 1.0
"""Before a store is looked at again that was not available."""

SOON_US: Final = MICROSECONDS
"""A timer that is due so soon is waited for, before a run counts as waiting for people only."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """Why nothing will happen here by itself.

    Attributes:
        status: ``stuck``, ``paused`` or ``waiting``.
        reason: why it is stuck.
        questions: what people are asked.
    """

    status: RunStatus
    reason: str | None = None
    questions: Sequence[Question] = field(default_factory=list)


class Watch:
    """Watches a run and those that it started.

    Args:
        since: what ended before is not told where there is no live display.
        may_ask: questions may be asked on the terminal, if there is one.
        follows: what continues or retries the run is watched in its place; else the handle must name the run.
    """

    def __init__(
        self,
        session: Session,
        runtime: Runtime,
        run: RunHandle[Any],
        since: datetime,
        *,
        may_ask: bool,
        follows: bool = True,
    ) -> None:
        self._runtime = runtime
        self._workflow_id = run.workflow_id
        self._pinned = None if follows else run.run_id
        self._run_id = ""
        output = session.output
        self._progress = LiveProgress(output) if output.is_rich else LoggedProgress(output, since)
        self._terminal = Terminal(runtime) if may_ask and sys.stdin.isatty() else None
        self._changed = asyncio.Event()
        self._changed.set()
        self._unlisten = runtime.store.listen(self._hear)
        self._asking: tuple[Question, asyncio.Task[bool]] | None = None
        self._answered: dict[tuple[str, int], int | None] = {}
        self._resting: dict[str, int] = {}

    def _hear(self, change: Change) -> None:
        if change.wrote is None or change.wrote or change.closed is None or change.closed:
            self._changed.set()

    async def close(self) -> None:
        """Show the last state and stop."""
        self._unlisten()
        await self._stop_asking()
        row = await self._row()
        if row is not None:
            await self._show(row)
        self._progress.close()

    async def _row(self) -> RunRow | None:
        store = self._runtime.store
        return await (store.get_run_by_id(self._pinned) if self._pinned else store.get_run(self._workflow_id))

    async def until_standstill(self) -> Standstill:
        """Look whenever something changed, until nothing goes on by itself."""
        while True:
            if not await self._has_changed():
                self._progress.tick()
                continue
            try:
                stands = await self._look()
            except StoreUnavailableError:  # the worker says so and waits; so does the watch
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if stands is not None:
                return stands
            await asyncio.sleep(PAUSE_SECONDS)

    async def _has_changed(self) -> bool:
        """Wait for a change, but not for longer than a display may stand still."""
        try:
            async with asyncio.timeout(TICK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def _look(self) -> Standstill | None:
        row = await self._row()
        if row is None:
            return None
        await self._show(row)
        if row.owner is None and may_adopt(row.status, row.rollback, row.ready_at_us):
            self._runtime.worker.serve(row.run_id)
        return await self._standstill(row)

    async def _show(self, row: RunRow) -> None:
        store = self._runtime.store
        if row.run_id != self._run_id:
            self._run_id = row.run_id
            self._timeline = Timeline(self._open)
        events = await store.read_history(row.run_id, self._timeline.seq)
        attempts = await store.read_attempts(row.run_id) if self._progress.wants_attempts else []
        ended = self._timeline.feed(events)
        self._timeline.feed_attempts(attempts)
        self._progress.show(row, self._timeline, ended)

    def _open(self, payload: str) -> str | None:
        """The plain JSON of a value that is short enough to be shown in passing."""
        try:
            return value_opener(self._runtime, {})(payload)
        except HistoryCorruptedError:
            return None  # it is stored apart, and not read for a line of progress

    # -- standstills --------------------------------------------------------------------------------------

    async def _standstill(self, row: RunRow) -> Standstill | None:
        if row.status in (RunStatus.STUCK, RunStatus.PAUSED):
            return await self._halted(row)
        if row.status is not RunStatus.WAITING:
            await self._stop_asking()
            return None
        tree = await self._open_runs(row)
        run_ids = {one.run_id for one in tree}
        questions = [one for one in await self._runtime.questions() if one.run_id in run_ids]
        if self._terminal is not None:
            await self._ask(questions, {one.run_id: one.seq for one in tree})
            if self._terminal is not None:
                return None
        if not questions or not await self._is_at_rest(tree):
            return None
        return Standstill(row.status, None, questions)

    async def _halted(self, row: RunRow) -> Standstill | None:
        """Stuck or paused, unless it was asked to go on and has not yet; a pause is waited for at a terminal."""
        if row.status is RunStatus.PAUSED and self._terminal is not None:
            return None
        store = self._runtime.store
        if any(item.fact.kind == EventKind.RUN_RESUMED for item in await store.read_inbox(row.run_id)):
            return None
        now = await store.get_run_by_id(row.run_id)  # read after the inbox: it may have gone on in between
        return Standstill(now.status, now.reason) if now is not None and now.status is row.status else None

    async def _open_runs(self, row: RunRow) -> list[RunRow]:
        """The run and the open ones that it started, directly or not."""
        found = [row]
        for one in found:
            found += [child for child in await self._runtime.store.children(one.run_id) if not child.status.is_closed]
        return found

    async def _is_at_rest(self, tree: Sequence[RunRow]) -> bool:
        """Whether every run waits, none has anything in its inbox, and none waits for something that is due soon."""
        soon = self._runtime.clock.now_us() + SOON_US
        for row in tree:
            is_due = row.ready_at_us is not None and row.ready_at_us <= soon
            if row.status is not RunStatus.WAITING or is_due or await self._runtime.store.read_inbox(row.run_id):
                self._changed.set()
                return False
        seqs = {row.run_id: row.seq for row in tree}
        before, self._resting = self._resting, seqs
        if before != seqs:  # a turn may be on its way to the store: look once more
            self._changed.set()
            return False
        return True

    # -- questions ----------------------------------------------------------------------------------------

    async def _ask(self, questions: Sequence[Question], seqs: Mapping[str, int]) -> None:
        """Keep one question on the terminal, as long as it is open.

        Args:
            questions: the open ones.
            seqs: how long the histories of their runs are: a question whose answer was just sent stays open until
                its run moves on.
        """
        if self._asking is not None:
            question, task = self._asking
            if task.done():
                self._asking = None
                # an approval may want others as well; an answer that was set aside is asked for again
                once = question.kind == "approval"
                self._answered[question.run_id, question.command] = None if once else seqs.get(question.run_id, 0)
                self._progress.resume()
                if not task.result():
                    self._terminal = None
                    self._changed.set()
                    return
            elif any(one.run_id == question.run_id and one.command == question.command for one in questions):
                return
            else:
                await self._stop_asking()
                self._progress.note(f"{question.kind} {question.key!r} was answered elsewhere or is over")
        fresh = [
            one
            for one in questions
            if self._answered.get((one.run_id, one.command), -1) not in (None, seqs[one.run_id])
        ]
        if self._asking is not None or self._terminal is None:
            return
        fresh = await unanswered(self._runtime, fresh)  # what was answered before the run went on here is not asked
        if fresh:
            self._progress.pause()
            task = asyncio.ensure_future(self._terminal.ask(fresh[0]))
            task.add_done_callback(lambda _: self._changed.set())
            self._asking = (fresh[0], task)

    async def _stop_asking(self) -> None:
        if self._asking is None:
            return
        _, task = self._asking
        self._asking = None
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        self._progress.resume()
