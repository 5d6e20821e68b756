"""The reading half of the memory store: nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from durable.errors import CallerError
from durable.history import Event
from runtime.store.memory.state import KeptRun, State, earliest
from runtime.store.row import (
    AttemptRow,
    InboxRow,
    LogRow,
    QueryRow,
    QuestionRow,
    RunFilter,
    RunRow,
    StreamItem,
    TaskRow,
    UpdateRow,
)
from runtime.store.rule import blob_of


class Reading:
    """What can be asked of a memory store; documented in ``runtime.store.protocol.Store``."""

    def __init__(self) -> None:
        self._state = State()

    # -- runs ---------------------------------------------------------------------------------------------

    async def get_run(self, workflow_id: str) -> RunRow | None:
        run = self._state.current(workflow_id)
        return run.row if run else None

    async def get_run_by_id(self, run_id: str) -> RunRow | None:
        run = self._state.runs.get(run_id)
        return run.row if run else None

    async def successor(self, run_id: str) -> RunRow | None:
        run = self._state.runs.get(run_id)
        if run is None:
            return None
        for later in self._state.ids[run.row.workflow_id].runs:
            if later.number > run.number and later.row.first_run_id == run.row.first_run_id:
                return later.row
        return None

    async def children(self, run_id: str) -> list[RunRow]:
        return [run.row for run in self._state.children(run_id)]

    async def list_runs(
        self, where: RunFilter, limit: int, cursor: str | None = None
    ) -> tuple[list[RunRow], str | None]:
        before = _parse_cursor(cursor)
        found: list[KeptRun] = []
        for run in reversed(self._state.runs.values()):
            if (before is None or run.number < before) and matches(run, where):
                if len(found) == limit:
                    return [kept.row for kept in found], f"m{found[-1].number}"
                found.append(run)
        return [kept.row for kept in found], None

    async def count_runs(self, where: RunFilter) -> int:
        return sum(matches(run, where) for run in self._state.runs.values())

    async def next_ready_at(self, worker_id: str, workflows: Sequence[str], queues: Sequence[str]) -> int | None:
        times = (
            run.row.ready_at_us for run in self._state.runs.values() if may_claim(run.row, worker_id, workflows, queues)
        )
        return earliest(*times)

    # -- what belongs to a run ----------------------------------------------------------------------------

    async def read_history(self, run_id: str, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        run = self._state.runs.get(run_id)
        events = [event for event in run.history if event.seq > after_seq] if run else []
        return events[:limit]

    async def read_histories(self, run_ids: Sequence[str]) -> list[list[Event]]:
        return [await self.read_history(run_id) for run_id in run_ids]

    async def read_blobs(self, run_id: str) -> dict[str, bytes]:
        run = self._state.runs.get(run_id)
        return {key: self._state.blobs[key] for key in blobs_of(run.history)} if run else {}

    async def read_inbox(self, run_id: str) -> list[InboxRow]:
        run = self._state.runs.get(run_id)
        return self._state.unread(run) if run else []

    async def read_attempts(self, run_id: str, command: int | None = None) -> list[AttemptRow]:
        run = self._state.runs.get(run_id)
        if run is None:
            return []
        commands = sorted(run.attempts) if command is None else [command]
        return [attempt for number in commands for attempt in run.attempts.get(number, [])]

    async def read_tasks(self, run_id: str) -> list[TaskRow]:
        tasks = [task for task in self._state.tasks.values() if task.run_id == run_id]
        return sorted(tasks, key=lambda task: task.command)

    async def read_heartbeat(self, run_id: str, command: int) -> tuple[int, str | None] | None:
        run = self._state.runs.get(run_id)
        return run.heartbeats.get(command) if run else None

    async def read_attributes(self, run_id: str) -> dict[str, Any]:
        run = self._state.runs.get(run_id)
        return dict(run.attributes) if run else {}

    async def read_published(self, run_id: str) -> dict[str, str]:
        run = self._state.runs.get(run_id)
        return dict(run.published) if run else {}

    async def read_stream(self, run_id: str, name: str, start: int, limit: int) -> list[StreamItem]:
        run = self._state.runs.get(run_id)
        items = run.streams.get(name, {}) if run else {}
        return [items[position] for position in sorted(items) if position >= start][:limit]

    async def read_logs(self, run_id: str, limit: int) -> list[LogRow]:
        run = self._state.runs.get(run_id)
        return list(run.logs)[-limit:] if run and limit > 0 else []

    # -- tasks, questions, updates, queries, definitions --------------------------------------------------

    async def next_task_at(self, queues: Sequence[str], steps: Sequence[str]) -> int | None:
        times = (task.available_at_us for task in self._state.tasks.values() if may_take(task, queues, steps))
        return earliest(*times)

    async def cancelled_tasks(self, worker_id: str) -> list[tuple[str, int]]:
        return [
            (task.run_id, task.command)
            for task in self._state.tasks.values()
            if task.owner == worker_id and task.cancel_requested
        ]

    async def questions(self, workflow_id: str | None = None) -> list[QuestionRow]:
        open_ones = [
            question
            for run in self._state.runs.values()
            if workflow_id in (None, run.row.workflow_id)
            for question in run.questions.values()
        ]
        return sorted(open_ones, key=lambda question: question.asked_at_us)

    async def get_update(self, workflow_id: str, update_id: str) -> UpdateRow | None:
        kept = self._state.ids.get(workflow_id)
        return kept.updates.get(update_id) if kept else None

    async def get_query(self, query_id: str) -> QueryRow | None:
        return self._state.queries.get(query_id)

    async def read_definition(self, workflow: str) -> str | None:
        return self._state.definitions.get(workflow)


def may_claim(row: RunRow, worker_id: str, workflows: Sequence[str], queues: Sequence[str]) -> bool:
    """Whether a run is the worker's already, or free and of its kind."""
    if row.owner is None:
        return row.workflow in workflows and row.queue in queues
    return row.owner == worker_id


def may_take(task: TaskRow, queues: Sequence[str], steps: Sequence[str]) -> bool:
    """Whether a task is free and of this kind."""
    return task.owner is None and task.queue in queues and task.step in steps


def blobs_of(history: Iterable[Event]) -> set[str]:
    """Hashes of the blobs that a history refers to."""
    return {blob for event in history if (blob := blob_of(event.payload)) is not None}


def matches(run: KeptRun, where: RunFilter) -> bool:
    """Whether every condition of a filter holds."""
    row = run.row
    closed_at_us = row.closed_at_us
    return (
        (not where.status or row.status in where.status)
        and where.workflow in (None, row.workflow)
        and where.workflow_id in (None, row.workflow_id)
        and (where.workflow_id_prefix is None or row.workflow_id.startswith(where.workflow_id_prefix))
        and where.actor in (None, row.actor)
        and where.parent_run_id in (None, row.parent_run_id)
        and where.rollback in (None, row.rollback)
        and (where.started_after_us is None or row.created_at_us >= where.started_after_us)
        and (where.started_before_us is None or row.created_at_us < where.started_before_us)
        and (where.closed_before_us is None or (closed_at_us is not None and closed_at_us < where.closed_before_us))
        and all(
            key in run.attributes and _canonical(run.attributes[key]) == _canonical(value)
            for key, value in where.attributes.items()
        )
    )


def _canonical(value: Any) -> str:
    """JSON text, because in Python ``True == 1``."""
    return json.dumps(value, sort_keys=True)


def _parse_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.startswith("m") and cursor[1:].isascii() and cursor[1:].isdigit()):
        raise CallerError(f"expected a cursor from an earlier page, got {cursor!r}", cursor=cursor)
    return int(cursor[1:])
