"""Short ways to make rows, and ``Author``, who plays the worker of one run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import anyio

from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind, Fact, Recorder
from runtime.store.protocol import CommitOutcome, Store
from runtime.store.row import (
    AttemptOutcome,
    AttemptRow,
    Claimed,
    InboxRow,
    LogRow,
    NewRun,
    QueryRow,
    QuestionRow,
    RunRow,
    TaskRow,
    UpdateRow,
    WorkerRow,
)
from runtime.store.turn import RunChange, Turn

T0 = 1_700_000_000_000_000
SECOND = 1_000_000
LATER = T0 + 10**15
"""After everything, also after what a store stamps with the wall clock."""

WORKFLOWS = ("order",)
QUEUES = ("default",)
STEPS = ("charge",)

RUNNING = RunChange(RunStatus.RUNNING)
WAITING = RunChange(RunStatus.WAITING, release=True)

_numbers = count(1)


def ended(status: RunStatus = RunStatus.COMPLETED, at_us: int = T0 + SECOND, **fields: Any) -> RunChange:
    return RunChange(status, release=True, closed_at_us=at_us, **fields)


def new_run(workflow_id: str = "w", **fields: Any) -> NewRun:
    run_id = fields.pop("run_id", None) or f"run-{next(_numbers):04}"
    created_at_us = fields.setdefault("created_at_us", T0)
    defaults: dict[str, Any] = {
        "workflow": "order",
        "queue": "default",
        "actor": "user:alice",
        "ready_at_us": created_at_us,
        "origin_id": run_id,
        "first_run_id": run_id,
        "input_digest": "digest",
        "start": Fact(EventKind.RUN_STARTED, name="order", payload='"input"', actor="user:alice"),
    }
    return NewRun(run_id=run_id, workflow_id=workflow_id, **{**defaults, **fields})


def fact(kind: str = EventKind.SIGNAL_RECEIVED, command: int | None = None, **fields: Any) -> Fact:
    defaults = {"name": "pause", "actor": "user:bob"} if kind == EventKind.SIGNAL_RECEIVED else {}
    return Fact(kind, command, **{**defaults, **fields})


def message(
    workflow_id: str = "w",
    content: Fact | None = None,
    message_id: str | None = None,
    run_id: str | None = None,
    at_us: int = T0 + SECOND,
) -> InboxRow:
    return InboxRow(workflow_id, run_id, message_id, content or fact(), at_us)


def outcome(
    run: RunRow,
    command: int,
    kind: str = EventKind.STEP_COMPLETED,
    payload: str | None = "1",
    at_us: int = T0 + SECOND,
) -> InboxRow:
    return InboxRow(run.workflow_id, run.run_id, None, Fact(kind, command, "charge", None, payload, "worker"), at_us)


def task(run: RunRow, command: int = 1, **fields: Any) -> TaskRow:
    defaults: dict[str, Any] = {
        "queue": "default",
        "step": "charge",
        "input": '"args"',
        "options": None,
        "idempotency_key": f"{run.origin_id}/{command}",
        "attempt": 1,
        "available_at_us": T0,
    }
    return TaskRow(run.run_id, run.workflow_id, command, **{**defaults, **fields})


def attempt(
    run: RunRow, number: int, result: AttemptOutcome = AttemptOutcome.FAILED, command: int = 1, **fields: Any
) -> AttemptRow:
    defaults: dict[str, Any] = {
        "started_at_us": T0,
        "ended_at_us": None if result is AttemptOutcome.STARTED else T0 + SECOND,
        "next_at_us": None,
        "error": None,
        "heartbeat": None,
        "worker": "worker",
    }
    return AttemptRow(run.run_id, command, number, result, **{**defaults, **fields})


def question(run: RunRow, command: int = 1, asked_at_us: int = T0, **fields: Any) -> QuestionRow:
    defaults: dict[str, Any] = {
        "key": f"question-{command}",
        "kind": "question",
        "prompt": "Which region?",
        "schema": '{"type":"string"}',
        "detail": None,
        "deadline_us": None,
    }
    return QuestionRow(run.run_id, run.workflow_id, command, asked_at_us=asked_at_us, **{**defaults, **fields})


def update(
    workflow_id: str = "w", update_id: str = "u1", state: str = "pending", payload: str | None = None
) -> UpdateRow:
    return UpdateRow(workflow_id, update_id, None, "add_item", state, payload)


def query(run: RunRow, query_id: str = "q1", expires_at_us: int = T0 + 60 * SECOND, **fields: Any) -> QueryRow:
    defaults = {"workflow": run.workflow, "name": "progress", "payload": "null"}
    return QueryRow(query_id, run.run_id, expires_at_us=expires_at_us, **{**defaults, **fields})


def log(run: RunRow, text: str) -> LogRow:
    return LogRow(run.run_id, T0, "info", "workflow", text)


def worker_row(worker_id: str, **fields: Any) -> WorkerRow:
    defaults = {"host": "host", "pid": 1, "started_at_us": T0, "queues": QUEUES, "workflows": WORKFLOWS}
    return WorkerRow(worker_id, **{**defaults, **fields})


async def commit(store: Store, *turns: Turn) -> list[CommitOutcome]:
    """Commit and wait for the outcomes."""
    finished = anyio.Event()
    outcomes: list[CommitOutcome] = []

    def done(results: Sequence[CommitOutcome]) -> None:
        outcomes.extend(results)
        finished.set()

    store.commit(turns, done)
    await finished.wait()
    return outcomes


async def claim(
    store: Store, worker_id: str = "worker", now_us: int = LATER, limit: int = 100, **kind: Any
) -> list[Claimed]:
    """Claim runs of the usual kind."""
    workflows, queues = kind.get("workflows", WORKFLOWS), kind.get("queues", QUEUES)
    return await store.claim(worker_id, workflows, queues, limit, now_us)


async def claimed_ids(store: Store, worker_id: str = "worker", now_us: int = LATER, **kind: Any) -> list[str]:
    return [taken.run.workflow_id for taken in await claim(store, worker_id, now_us, **kind)]


async def get(store: Store, workflow_id: str = "w") -> RunRow:
    run = await store.get_run(workflow_id)
    assert run is not None
    return run


async def get_by_id(store: Store, run_id: str) -> RunRow:
    run = await store.get_run_by_id(run_id)
    assert run is not None
    return run


class Author:
    """Plays the worker of one run: knows where history ends and writes turns that fit.

    Attributes:
        run: the row as of the claim.
        inbox: what came with the claim.
    """

    def __init__(self, store: Store, claimed: Claimed, last: Event | None = None) -> None:
        self.store = store
        self.run, self.inbox = claimed
        self._recorder = Recorder(last)

    def turn(self, *contents: Fact, change: RunChange | None = RUNNING, at_us: int = T0, **fields: Any) -> Turn:
        """A turn that adds a batch of these events; without any, one that adds nothing to history."""
        expected_seq = self._recorder.seq
        if contents:
            self._recorder.begin_batch(at_us)
        events = [
            self._recorder.append(kind, actor or "worker", command, name, detail, payload)
            for kind, command, name, detail, payload, actor in contents
        ]
        defaults = {"epoch": self.run.epoch, "expected_seq": expected_seq, "change": change}
        return Turn(self.run.run_id, self.run.workflow_id, **{**defaults, **fields}, events=events)

    async def commit(self, *contents: Fact, **fields: Any) -> RunRow:
        """Write a turn that must succeed, and return the row as it is then."""
        assert await commit(self.store, self.turn(*contents, **fields)) == [None]
        return await get_by_id(self.store, self.run.run_id)

    @property
    def row_ids(self) -> list[int]:
        """Ids of the rows that came with the claim."""
        return [row.row_id for row in self.inbox]


STARTED = Fact(EventKind.RUN_STARTED, name="order")
COMPLETED = Fact(EventKind.RUN_COMPLETED, payload='"done"')
SCHEDULED = Fact(EventKind.STEP_SCHEDULED, 1, "charge")


async def begin(store: Store, workflow_id: str = "w", worker_id: str = "worker", **fields: Any) -> Author:
    """Start a run and claim it; nothing is committed yet."""
    started = await store.start(new_run(workflow_id, **fields))
    assert started.created
    return await reclaim(store, workflow_id, worker_id)


async def reclaim(store: Store, workflow_id: str = "w", worker_id: str = "worker") -> Author:
    """Claim everything that is ready, and play the worker of one of it."""
    for taken in await claim(store, worker_id):
        if taken.run.workflow_id == workflow_id:
            history = await store.read_history(taken.run.run_id)
            return Author(store, taken, history[-1] if history else None)
    raise AssertionError(f"{workflow_id} is not ready")


async def begin_waiting(store: Store, workflow_id: str = "w", change: RunChange = WAITING, **fields: Any) -> Author:
    """A run after its first turn: start consumed, released, nothing due."""
    author = await begin(store, workflow_id, **fields)
    author.run = await author.commit(STARTED, consumed=author.row_ids, change=change)
    return author


async def begin_paused(store: Store, workflow_id: str = "w", **fields: Any) -> Author:
    return await begin_waiting(store, workflow_id, RunChange(RunStatus.PAUSED, release=True), **fields)


async def begin_stuck(store: Store, workflow_id: str = "w", code: str | None = "v1", **fields: Any) -> Author:
    stuck = RunChange(RunStatus.STUCK, release=True, code=code, reason="replay diverged")
    return await begin_waiting(store, workflow_id, stuck, **fields)


async def begin_closed(
    store: Store,
    workflow_id: str = "w",
    status: RunStatus = RunStatus.COMPLETED,
    rollback: RollbackStatus = RollbackStatus.NONE,
    closed_at_us: int = T0 + SECOND,
    **fields: Any,
) -> Author:
    """A run that has ended after its first turn."""
    author = await begin(store, workflow_id, **fields)
    end = {
        RunStatus.COMPLETED: COMPLETED,
        RunStatus.FAILED: Fact(EventKind.RUN_FAILED),
        RunStatus.CANCELLED: Fact(EventKind.RUN_CANCELLED),
        RunStatus.TERMINATED: Fact(EventKind.RUN_TERMINATED),
        RunStatus.CONTINUED_AS_NEW: Fact(EventKind.RUN_CONTINUED),
    }[status]
    author.run = await author.commit(
        STARTED, end, consumed=author.row_ids, change=ended(status, closed_at_us, rollback=rollback)
    )
    return author


def kinds(rows: Sequence[InboxRow]) -> list[str]:
    return [row.fact.kind for row in rows]
