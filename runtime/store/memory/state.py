"""The tables of the memory store, and the delivery of facts to runs.

Everything that belongs to one run hangs on its ``KeptRun`` and everything that belongs to one workflow id on
its ``KeptId``, so that deleting either deletes all of it. Nothing here raises for what a caller did wrong:
callers check first and then write, which is what makes a transaction of this store all or nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import count
from typing import Any

from durable.history import Event, EventKind, Fact
from runtime.store.change import Change, Ending
from runtime.store.row import (
    AttemptOutcome,
    AttemptRow,
    InboxRow,
    LogRow,
    QueryRow,
    QuestionRow,
    RunRow,
    StreamItem,
    TaskRow,
    UpdateRow,
)
from runtime.store.rule import (
    DELAY_BREAKERS,
    KEPT_ATTEMPTS,
    KEPT_LOGS,
    STEP_OUTCOMES,
    STORE_ACTOR,
    WAKERS,
    accepts,
    check_question,
    is_kept_for_successor,
    wakes,
)


class KeptRun:
    """One run with all that belongs to it.

    Attributes:
        number: its place in the order of creation.
        answered: commands of steps whose outcome was accepted, applied or not.
        heartbeats: newest time and details by command.
        streams: items by name and position.
    """

    __slots__ = (
        "answered",
        "attempts",
        "attributes",
        "heartbeats",
        "history",
        "logs",
        "number",
        "published",
        "questions",
        "row",
        "streams",
    )

    def __init__(self, number: int, row: RunRow, history: Sequence[Event]) -> None:
        self.number = number
        self.row = row
        self.history = list(history)
        self.attributes: dict[str, Any] = {}
        self.published: dict[str, str] = {}
        self.streams: dict[str, dict[int, StreamItem]] = {}
        self.logs: deque[LogRow] = deque(maxlen=KEPT_LOGS)
        self.attempts: dict[int, list[AttemptRow]] = {}
        self.heartbeats: dict[int, tuple[int, str | None]] = {}
        self.questions: dict[int, QuestionRow] = {}
        self.answered: set[int] = set()


class KeptId:
    """One workflow id with all that its runs share.

    Attributes:
        runs: in order of creation; only the last one can be open.
        inbox: unread rows by row id, in order of arrival.
        message_ids: ids of every message that was accepted.
    """

    __slots__ = ("inbox", "message_ids", "runs", "updates")

    def __init__(self) -> None:
        self.runs: list[KeptRun] = []
        self.inbox: dict[int, InboxRow] = {}
        self.message_ids: set[str] = set()
        self.updates: dict[str, UpdateRow] = {}


@dataclass(slots=True)
class Draft:
    """The ``Change`` that a transaction amounts to, while it is being written."""

    ready: bool = False
    tasks: bool = False
    queries: bool = False
    updates: bool = False
    closed: set[str] = field(default_factory=set)
    wrote: set[str] = field(default_factory=set)
    endings: dict[str, Ending] = field(default_factory=dict)

    def finish(self) -> Change | None:
        """What listeners are told; None if there is nothing to look at."""
        if not (self.ready or self.tasks or self.queries or self.updates or self.closed or self.wrote):
            return None
        return Change(
            self.ready,
            self.tasks,
            self.queries,
            self.updates,
            frozenset(self.closed),
            frozenset(self.wrote),
            self.endings,
        )


class Receipt(Enum):
    """What became of a fact that was posted."""

    DELIVERED = auto()
    REPEATED = auto()
    NOT_FOUND = auto()
    CLOSED = auto()


def earliest(*times: int | None) -> int | None:
    """The earliest of the times that are not None."""
    return min((time for time in times if time is not None), default=None)


class State:
    """All tables of one memory store."""

    def __init__(self) -> None:
        self.runs: dict[str, KeptRun] = {}
        self.ids: dict[str, KeptId] = {}
        self.tasks: dict[tuple[str, int], TaskRow] = {}
        self.blobs: dict[str, bytes] = {}
        self.queries: dict[str, QueryRow] = {}
        self.definitions: dict[str, str] = {}
        self.draft = Draft()
        self._run_numbers = count(1)
        self._row_ids = count(1)

    # -- runs ---------------------------------------------------------------------------------------------

    def current(self, workflow_id: str) -> KeptRun | None:
        """The open run of an id, else the newest. A run is created only when none is open: so it is the last
        one."""
        kept = self.ids.get(workflow_id)
        return kept.runs[-1] if kept else None

    def add(self, row: RunRow, history: Sequence[Event]) -> KeptRun:
        """Keep a new run."""
        run = KeptRun(next(self._run_numbers), row, history)
        self.runs[row.run_id] = run
        self.ids.setdefault(row.workflow_id, KeptId()).runs.append(run)
        self.draft.ready = True
        return run

    def change(self, run: KeptRun, **columns: Any) -> None:
        """Replace columns of a run's row."""
        run.row = replace(run.row, **columns)
        if run.row.ready_at_us is not None:
            self.draft.ready = True

    def children(self, run_id: str) -> list[KeptRun]:
        """Runs whose parent is this one, in order of creation."""
        return [run for run in self.runs.values() if run.row.parent_run_id == run_id]

    def remove(self, run: KeptRun) -> None:
        """Forget a closed run; with the last run of an id, the id."""
        row = run.row
        kept = self.ids[row.workflow_id]
        kept.runs.remove(run)
        kept.inbox = {key: waiting for key, waiting in kept.inbox.items() if waiting.run_id != row.run_id}
        if not kept.runs:
            del self.ids[row.workflow_id]
        del self.runs[row.run_id]
        self.tasks = {key: task for key, task in self.tasks.items() if task.run_id != row.run_id}
        self.queries = {key: query for key, query in self.queries.items() if query.run_id != row.run_id}

    def give_back(self, run: KeptRun, at_us: int, *, lost: bool) -> None:
        """Take a run from its owner, who did not release it, so that somebody else goes on with it."""
        row = run.row
        is_delayed = row.seq == 0 and row.ready_at_us is not None
        ready_at_us = row.ready_at_us
        if row.status in WAKERS:  # the owner may have taken what wakes it, and done nothing with it
            unread = [waiting.at_us for waiting in self.unread(run) if wakes(row.status, waiting.fact.kind)]
            ready_at_us = earliest(ready_at_us, *unread)
        elif not is_delayed:
            ready_at_us = earliest(ready_at_us, at_us)
        self.change(run, owner=None, epoch=row.epoch + 1, ready_at_us=ready_at_us, lost=row.lost or lost)

    # -- facts --------------------------------------------------------------------------------------------

    def unread(self, run: KeptRun) -> list[InboxRow]:
        """The rows that a run may take: its start, then the others in order of arrival."""
        row = run.row
        addresses = (row.run_id,) if row.status.is_closed else (row.run_id, None)
        rows = [waiting for waiting in self.ids[row.workflow_id].inbox.values() if waiting.run_id in addresses]
        return sorted(rows, key=lambda waiting: waiting.fact.kind != EventKind.RUN_STARTED)

    def target(self, row: InboxRow) -> KeptRun | None:
        """The run that a row is addressed to; for a message to one that continued as new or was retried, the
        run that goes on."""
        if row.run_id is None:
            return self.current(row.workflow_id)
        run = self.runs.get(row.run_id)
        if run is None or run.row.workflow_id != row.workflow_id:
            return None
        if run.row.status.is_closed and is_kept_for_successor(row.fact.kind, row.fact.command):
            current = self.current(row.workflow_id)
            if current is not None and current.row.first_run_id == run.row.first_run_id:
                return current
        return run

    def is_repeated(self, run: KeptRun, row: InboxRow) -> bool:
        """Whether the message, or an outcome of the same step, was accepted before."""
        if row.message_id is not None and row.message_id in self.ids[row.workflow_id].message_ids:
            return True
        return row.fact.kind in STEP_OUTCOMES and row.fact.command in run.answered

    def examine(self, row: InboxRow) -> Receipt:
        """What would become of a row if it were posted now."""
        run = self.target(row)
        if run is None:
            return Receipt.NOT_FOUND
        if self.is_repeated(run, row):
            return Receipt.REPEATED
        return Receipt.DELIVERED if accepts(run.row.status, run.row.rollback, row.fact.kind) else Receipt.CLOSED

    def check_answer(self, run: KeptRun, row: InboxRow) -> None:
        """Refuse an answer that would decide nothing."""
        waiting = self.ids[run.row.workflow_id].inbox.values()
        check_question(
            row,
            is_open=row.fact.command in run.questions,
            has_answer=any(
                (one.run_id, one.fact.kind, one.fact.command) == (row.run_id, row.fact.kind, row.fact.command)
                for one in waiting
            ),
        )

    def post(self, row: InboxRow) -> Receipt:
        """Deliver a row if its target takes it, and wake the target."""
        receipt = self.examine(row)
        run = self.target(row)
        if receipt is Receipt.DELIVERED and run is not None:
            is_for_id = row.run_id is None and not run.row.status.is_closed
            self.write(run, row if is_for_id else replace(row, run_id=run.row.run_id))
            self._wake(run, row)
        return receipt

    def write(self, run: KeptRun, row: InboxRow) -> None:
        """Put a row into the inbox and remember that it was accepted, without waking anyone."""
        kept = self.ids[run.row.workflow_id]
        row_id = next(self._row_ids)
        kept.inbox[row_id] = replace(row, row_id=row_id)
        if row.message_id is not None:
            kept.message_ids.add(row.message_id)
        if row.fact.kind in STEP_OUTCOMES and row.fact.command is not None:
            run.answered.add(row.fact.command)
            # whoever gave the outcome, nobody is to run the step any more
            self.tasks.pop((run.row.run_id, row.fact.command), None)

    def _wake(self, run: KeptRun, row: InboxRow) -> None:
        is_delayed = run.row.seq == 0 and run.row.ready_at_us is not None
        if wakes(run.row.status, row.fact.kind) and (not is_delayed or row.fact.kind in DELAY_BREAKERS):
            self.change(run, ready_at_us=earliest(run.row.ready_at_us, row.at_us))

    # -- steps --------------------------------------------------------------------------------------------

    def free_task(self, task: TaskRow, at_us: int) -> None:
        """Put back a task that nobody holds any more; one that nobody wants either ends here, as
        cancelled."""
        self.draft.tasks = True
        key = (task.run_id, task.command)
        if not task.cancel_requested:
            self.tasks[key] = replace(task, owner=None)
            return
        self.tasks.pop(key, None)
        fact = Fact(EventKind.STEP_CANCELLED, task.command, task.step, actor=STORE_ACTOR)
        self.post(InboxRow(task.workflow_id, task.run_id, None, fact, at_us))

    def cancel_task(self, task: TaskRow, at_us: int) -> None:
        """Stop wanting a task."""
        unwanted = replace(task, cancel_requested=True)
        if task.owner is None:
            self.free_task(unwanted, at_us)
        else:
            self.tasks[task.run_id, task.command] = unwanted
            self.draft.tasks = True

    def record_attempt(self, run: KeptRun, attempt: AttemptRow) -> None:
        """Keep an attempt. Lost attempts share their number with the next one, so only a ``started`` row is
        replaced."""
        kept = [
            row
            for row in run.attempts.get(attempt.command, [])
            if row.attempt != attempt.attempt or row.outcome is not AttemptOutcome.STARTED
        ]
        kept.append(attempt)
        run.attempts[attempt.command] = kept[:KEPT_ATTEMPTS] + kept[KEPT_ATTEMPTS:][-KEPT_ATTEMPTS:]
        self.draft.wrote.add(run.row.run_id)
