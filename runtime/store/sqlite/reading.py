"""The reading half of the SQLite store: nothing here writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from durable.history import Event
from runtime.store.row import (
    AttemptOutcome,
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
from runtime.store.sqlite.listing import count_runs, list_runs
from runtime.store.sqlite.ownership import inbox_row
from runtime.store.sqlite.pool import Keyed, ReadPool
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import Bulk, load
from runtime.store.sqlite.task import task_row

_READ: Final = load("read")
_RUN: Final = load("run")
_TASK: Final = load("task")

_CURRENT: Final = Keyed(Bulk(_RUN["current"], 1), column=2)
_BY_RUN_ID: Final = Keyed(Bulk(_RUN["by_run_id"], 1), column=1)

_HISTORIES: Final = Bulk(_READ["histories"], 2)

_as_event: Final = partial(tuple.__new__, Event)
"""``Event._make`` without its call into Python: histories are long."""


class Reading:
    """What can be asked of a SQLite store; documented in ``runtime.store.protocol.Store``."""

    _pool: ReadPool

    # -- runs ---------------------------------------------------------------------------------------------

    async def _one_run(self, statement: str | Keyed, key: str) -> RunRow | None:
        columns = await self._pool.row(statement, (key,))
        return Run(columns).row() if columns else None

    async def get_run(self, workflow_id: str) -> RunRow | None:
        return await self._one_run(_CURRENT, workflow_id)

    async def get_run_by_id(self, run_id: str) -> RunRow | None:
        return await self._one_run(_BY_RUN_ID, run_id)

    async def successor(self, run_id: str) -> RunRow | None:
        return await self._one_run(_READ["successor"], run_id)

    async def children(self, run_id: str) -> list[RunRow]:
        return [Run(columns).row() for columns in await self._pool.rows(_READ["children"], (run_id,))]

    async def list_runs(
        self, where: RunFilter, limit: int, cursor: str | None = None
    ) -> tuple[list[RunRow], str | None]:
        return await list_runs(self._pool, where, limit, cursor)

    async def count_runs(self, where: RunFilter) -> int:
        return await count_runs(self._pool, where)

    async def next_ready_at(self, worker_id: str, workflows: Sequence[str], queues: Sequence[str]) -> int | None:
        def read(connection: sqlite3.Connection) -> int | None:
            times = [connection.execute(_RUN["owned_next"], (worker_id,)).fetchone()[0]]
            for lane, workflow, queue in connection.execute(_RUN["lanes"]).fetchall():
                if workflow in workflows and queue in queues:
                    times.append(connection.execute(_RUN["free_next"], (lane,)).fetchone()[0])
            return _earliest(times)

        return await self._pool.run(read)

    # -- what belongs to a run ----------------------------------------------------------------------------

    async def read_history(self, run_id: str, after_seq: int = 0, limit: int | None = None) -> list[Event]:
        parameters = (run_id, after_seq, -1 if limit is None else limit)

        def read(connection: sqlite3.Connection) -> list[Event]:
            return list(map(_as_event, connection.execute(_READ["history"], parameters)))

        return await self._pool.run(read)

    async def read_histories(self, run_ids: Sequence[str]) -> list[list[Event]]:
        places = [part for place in enumerate(run_ids) for part in place]

        def read(connection: sqlite3.Connection) -> list[list[Event]]:
            found: list[list[Event]] = [[] for _ in run_ids]
            for place, *columns in _HISTORIES.read(connection, places):
                found[place].append(_as_event(columns))
            return found

        return await self._pool.run(read)

    async def read_blobs(self, run_id: str) -> dict[str, bytes]:
        return dict(await self._pool.rows(_READ["blobs"], (run_id,)))

    async def read_inbox(self, run_id: str) -> list[InboxRow]:
        return [inbox_row(columns) for columns in await self._pool.rows(_READ["inbox"], (run_id,))]

    async def read_attempts(self, run_id: str, command: int | None = None) -> list[AttemptRow]:
        rows = await self._pool.rows(_READ["attempts"], (run_id, command, command))
        return [_attempt(columns) for columns in rows]

    async def read_tasks(self, run_id: str) -> list[TaskRow]:
        return [task_row(columns) for columns in await self._pool.rows(_TASK["of_run"], (run_id,))]

    async def read_heartbeat(self, run_id: str, command: int) -> tuple[int, str | None] | None:
        found: tuple[int, str | None] | None = await self._pool.row(_READ["heartbeat"], (run_id, command))
        return found

    async def read_attributes(self, run_id: str) -> dict[str, Any]:
        rows = await self._pool.rows(_READ["attributes"], (run_id,))
        return {name: json.loads(value) for name, value in rows}

    async def read_published(self, run_id: str) -> dict[str, str]:
        return dict(await self._pool.rows(_READ["published"], (run_id,)))

    async def read_stream(self, run_id: str, name: str, start: int, limit: int) -> list[StreamItem]:
        rows = await self._pool.rows(_READ["stream"], (run_id, name, start, limit))
        return [StreamItem(*columns) for columns in rows]

    async def read_logs(self, run_id: str, limit: int) -> list[LogRow]:
        rows = await self._pool.rows(_READ["logs"], (run_id, max(limit, 0)))
        return [LogRow(*columns) for columns in reversed(rows)]

    # -- tasks, questions, updates, queries, definitions --------------------------------------------------

    async def next_task_at(self, queues: Sequence[str], steps: Sequence[str]) -> int | None:
        kinds = [(queue, step) for queue in dict.fromkeys(queues) for step in dict.fromkeys(steps)]

        def read(connection: sqlite3.Connection) -> int | None:
            return _earliest(connection.execute(_TASK["next"], kind).fetchone()[0] for kind in kinds)

        return await self._pool.run(read)

    async def cancelled_tasks(self, worker_id: str) -> list[tuple[str, int]]:
        return await self._pool.rows(_TASK["cancelled"], (worker_id,))

    async def questions(self, workflow_id: str | None = None) -> list[QuestionRow]:
        if workflow_id is None:
            rows = await self._pool.run(lambda connection: connection.execute(_READ["questions"]).fetchall())
        else:
            rows = await self._pool.rows(_READ["questions_of"], (workflow_id,))
        return [QuestionRow(*columns) for columns in rows]

    async def get_update(self, workflow_id: str, update_id: str) -> UpdateRow | None:
        columns = await self._pool.row(_READ["update"], (workflow_id, update_id))
        return UpdateRow(*columns) if columns else None

    async def get_query(self, query_id: str) -> QueryRow | None:
        columns = await self._pool.row(_READ["query"], (query_id,))
        return QueryRow(*columns) if columns else None

    async def read_definition(self, workflow: str) -> str | None:
        found = await self._pool.row(_READ["definition"], (workflow,))
        return found[0] if found else None


def _attempt(columns: tuple[Any, ...]) -> AttemptRow:
    fields = (*columns[:3], AttemptOutcome(columns[3]), *columns[4:])
    return AttemptRow(*fields)


def _earliest(times: Iterable[int | None]) -> int | None:
    return min((time for time in times if time is not None), default=None)
