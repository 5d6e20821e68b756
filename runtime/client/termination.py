"""Ending a run from outside, without its code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durable.errors import ConflictError, RunClosedError
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind, Fact, Recorder, write_detail
from runtime.store.protocol import CommitOutcome
from runtime.store.row import InboxRow, NewRun, RunRow
from runtime.store.turn import RunChange, Turn
from runtime.store.whole import read_whole_history

if TYPE_CHECKING:
    from runtime.client.client import Client


@dataclass(slots=True)
class _Seen:
    """What the end of a run needs to know of its history.

    It is read on from where it ended, and not from its beginning again: by then a run that moves fast would have moved
    once more, and could never be ended.
    """

    run_id: str
    last: Event | None = None
    parent: str | None = None
    children: list[int] = field(default_factory=list)

    @property
    def seq(self) -> int:
        return 0 if self.last is None else self.last.seq

    def add(self, events: Sequence[Event]) -> None:
        for event in events:
            if self.last is None:
                self.parent = event.details.get("parent_workflow_id")
            if event.kind == EventKind.CHILD_STARTED and event.command is not None:
                self.children.append(event.command)
            self.last = event


async def terminate_run(client: Client, row: RunRow, reason: str, replacement: NewRun | None = None) -> None:
    """Append ``RunTerminated``, fence the owner off, and start ``replacement`` in the same transaction. A run that continues as
    new meanwhile is followed.

    Raises:
        RunClosedError: it has ended already.
        StoreError: nothing was written.
    """
    store = client.store
    seen = _Seen(row.run_id)
    while True:
        if row.status.is_closed:
            raise RunClosedError(f"{row.workflow_id!r} has ended already: it is {row.status}", status=row.status)
        if seen.run_id != row.run_id:
            seen = _Seen(row.run_id)
        seen.add(await store.read_history(row.run_id, seen.seq))
        if seen.seq < row.seq:
            await read_whole_history(store, row)  # says what is missing, unless the run was purged
        if seen.seq == row.seq:
            inbox = await store.read_inbox(row.run_id) if seen.last is None else ()
            turn = _termination(row, seen, inbox, reason, client.actor, client.clock.now_us(), replacement)
            outcome = await commit_one(client, turn)
            if outcome is None:
                return
            if not isinstance(outcome, ConflictError):
                raise outcome
        found = await store.get_run_by_id(row.run_id)
        while found is not None and found.status is RunStatus.CONTINUED_AS_NEW:
            found = await store.successor(found.run_id)
        if found is None:
            raise RunClosedError(f"{row.workflow_id!r} was purged", status="purged")
        row = found


def _termination(
    row: RunRow,
    seen: _Seen,
    inbox: Sequence[InboxRow],
    reason: str,
    actor: str,
    now_us: int,
    replacement: NewRun | None,
) -> Turn:
    """The turn that ends a run.

    Args:
        inbox: of a run without history: its start becomes history, so that its input is known to those who look, and to a retry.
    """
    recorder = Recorder(seen.last)
    recorder.begin_batch(now_us)
    starts = [item.fact for item in inbox if item.fact.kind == EventKind.RUN_STARTED]
    events = [recorder.append(fact.kind, fact.actor, None, None, fact.detail, fact.payload) for fact in starts]
    parent = seen.parent if seen.last is not None or not events else events[0].details.get("parent_workflow_id")
    events.append(recorder.append(EventKind.RUN_TERMINATED, actor, None, None, write_detail(reason=reason)))
    report: list[InboxRow] = []
    if row.parent_run_id is not None and parent is not None:
        detail = write_detail(error="terminated", reason=reason)
        fact = Fact(EventKind.CHILD_FAILED, row.parent_command, row.workflow, detail, None, actor)
        report.append(InboxRow(parent, row.parent_run_id, None, fact, now_us))
    rollback = RollbackStatus.FAILED if row.rollback is RollbackStatus.RUNNING else row.rollback
    change = RunChange(RunStatus.TERMINATED, rollback, reason=reason or None, release=True, closed_at_us=now_us)
    return Turn(
        row.run_id, row.workflow_id, row.seq, None, events, change, inbox=report, close_children=tuple(seen.children),
        fence=True, new_runs=[replacement] if replacement is not None else (),
    )  # fmt: skip


async def commit_one(client: Client, turn: Turn) -> CommitOutcome:
    """Commit one turn and wait for its outcome."""
    done: asyncio.Future[CommitOutcome] = asyncio.get_running_loop().create_future()

    def settle(outcomes: Sequence[CommitOutcome]) -> None:
        if not done.done():
            done.set_result(outcomes[0])

    client.store.commit([turn], settle)
    return await done
