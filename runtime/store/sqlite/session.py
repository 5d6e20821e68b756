"""The unit of work of the writer: runs in memory, rows in buffers, and few statements that write them out.

Jobs of one database transaction work on ``Run`` objects and append to buffers; ``flush`` writes the buffers in
statements of many rows. Only the tables runs, heads, events and inbox have buffers: ``execute_flushed`` is for
statements that look at them, ``execute`` for the rest.

Runs stay in memory from one transaction to the next: ``PRAGMA data_version``, read inside the write transaction,
says whether any other connection has committed since, and then everything is forgotten. So as long as one process
works alone, a turn reads nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from durable.history import Event
from runtime.store.change import Change, Ending
from runtime.store.row import InboxRow
from runtime.store.rule import accepts, wakes
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import Bulk, load

_RUN: Final = load("run")
_INBOX: Final = load("inbox")

_BY_RUN_ID: Final = Bulk(_RUN["by_run_id"], 1)
_BY_KEY: Final = Bulk(_RUN["by_key"], 1)
_CURRENT: Final = Bulk(_RUN["current"], 1)
_INSERT_RUN: Final = Bulk(_RUN["insert_run"], 19)
_INSERT_HEAD: Final = Bulk(_RUN["insert_head"], 8)
_INSERT_EVENT: Final = Bulk(_RUN["insert_event"], 11)
_MOVE_HEAD: Final = Bulk(_RUN["move_head"], 3)
_CHANGE_HEAD: Final = Bulk(_RUN["change_head"], 7)
_CHANGE_RUN: Final = Bulk(_RUN["change_run"], 7)
_INSERT_INBOX: Final = Bulk(_INBOX["insert"], 10)
_CONSUME: Final = Bulk(_INBOX["consume"], 1)
_UNREAD: Final = Bulk(_INBOX["unread"], 4)
_DROP_UNREAD: Final = Bulk(_INBOX["drop_unread"], 3)
_PASS_ON: Final = Bulk(_INBOX["pass_on"], 2)

_REMEMBERED: Final = 40_000
"""Runs and workflow ids kept in memory between transactions; above that all are read again when needed."""


class Draft:
    """The ``Change`` that a transaction amounts to, while it is being written."""

    __slots__ = ("_endings", "closed", "queries", "ready", "tasks", "updates", "wrote")

    def __init__(self) -> None:
        self.ready = False
        self.tasks = False
        self.queries = False
        self.updates = False
        self.closed: set[str] = set()
        self.wrote: set[str] = set()
        self._endings: dict[str, tuple[Run, Event]] = {}

    def end(self, run: Run, event: Event) -> None:
        """A run ends with an event."""
        self._endings[run.run_id] = run, event

    def finish(self) -> Change | None:
        """What listeners are told; None if there is nothing to look at."""
        if not (self.ready or self.tasks or self.queries or self.updates or self.closed or self.wrote):
            return None
        endings = {run_id: Ending(run.row(), event) for run_id, (run, event) in self._endings.items()}
        return Change(
            self.ready, self.tasks, self.queries, self.updates, frozenset(self.closed), frozenset(self.wrote), endings
        )


class Session:
    """What one write connection knows and is about to write.

    Attributes:
        connection: the write connection, inside a transaction whenever a method is called.
        draft: what listeners will be told of the transaction.
        version: ``read_version`` as of the newest transaction, None before the first.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.draft = Draft()
        self.version: int | None = None
        self._forget()

    # -- the transaction ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take up a write transaction that was just begun."""
        version = self.read_version()
        if version != self.version or len(self._by_id) + len(self._current) > _REMEMBERED:
            self._forget()
            self.version = version
        self.draft = Draft()

    def read_version(self) -> int:
        """A number that changes when another connection has committed."""
        version: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def abandon(self) -> None:
        """Forget everything: the transaction was rolled back."""
        self._forget()
        self.version = None

    def _forget(self) -> None:
        self._by_id: dict[str, Run] = {}
        self._by_key: dict[int, Run] = {}
        self._current: dict[str, Run | None] = {}
        self._lanes: dict[tuple[str, str], int] | None = None
        self._last_key: int | None = None
        self._new: dict[Run, None] = {}
        self._moved: dict[Run, None] = {}
        self._changed_heads: dict[Run, None] = {}
        self._changed_runs: dict[Run, None] = {}
        self._recounts: dict[Run, bool] = {}
        self._events: list[Any] = []
        self._inbox: list[Any] = []
        self._consumed: list[int] = []
        self._dropped: list[Any] = []
        self._passed_on: list[Any] = []

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement on tables that have no buffer."""
        return self.connection.execute(statement, parameters)

    def execute_flushed(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement that sees everything written so far."""
        self.flush()
        return self.connection.execute(statement, parameters)

    # -- runs ---------------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        """The run with this id."""
        run = self._by_id.get(run_id)
        if run is None:
            self.preload([run_id], ())
            run = self._by_id.get(run_id)
        return run

    def current(self, workflow_id: str) -> Run | None:
        """The open run of a workflow id, else its newest."""
        if workflow_id not in self._current:
            self.preload((), [workflow_id])
        return self._current[workflow_id]

    def runs(self, keys: Sequence[int]) -> list[Run]:
        """The runs with these keys, which all exist."""
        missing = [key for key in keys if key not in self._by_key]
        if missing:
            for columns in _BY_KEY.read(self.connection, missing):
                self._remember(columns)
        return [self._by_key[key] for key in keys]

    def preload(self, run_ids: Iterable[str], workflow_ids: Iterable[str]) -> None:
        """Read all of these that are not in memory, in one go. What is not in memory has nothing in the buffers."""
        missing_ids = [run_id for run_id in run_ids if run_id not in self._by_id]
        if missing_ids:
            for columns in _BY_RUN_ID.read(self.connection, missing_ids):
                self._remember(columns)
        missing_names = [workflow_id for workflow_id in workflow_ids if workflow_id not in self._current]
        if missing_names:
            self._current.update(dict.fromkeys(missing_names))
            for columns in _CURRENT.read(self.connection, missing_names):
                run = self._remember(columns)
                self._current[run.workflow_id] = run

    def _remember(self, columns: tuple[Any, ...]) -> Run:
        run = self._by_key.get(columns[0])
        if run is None:
            run = Run(columns)
            self._by_id[run.run_id] = self._by_key[run.key] = run
        return run

    def drop(self, keys: Iterable[int]) -> None:
        """Forget runs that were deleted."""
        for key in keys:
            run = self._by_key.pop(key, None)
            if run is not None:
                del self._by_id[run.run_id]
                self._current.pop(run.workflow_id, None)
        self._last_key = None

    def next_key(self) -> int:
        """The key of the next run."""
        if self._last_key is None:
            self._last_key = self.execute_flushed(_RUN["last_key"]).fetchone()[0]
        self._last_key += 1
        return self._last_key

    def lanes(self) -> dict[tuple[str, str], int]:
        """Every (workflow, queue) with its number."""
        if self._lanes is None:
            self._lanes = {(row[1], row[2]): row[0] for row in self.execute(_RUN["lanes"])}
        return self._lanes

    def lane(self, workflow: str, queue: str) -> int:
        """The number of a (workflow, queue), new if need be."""
        lanes = self.lanes()
        number = lanes.get((workflow, queue))
        if number is None:
            number = lanes[workflow, queue] = self.execute(_RUN["insert_lane"], (workflow, queue)).fetchone()[0]
        return number

    # -- writing ------------------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """Insert a run, which is the current one of its workflow id from now on."""
        self._by_id[run.run_id] = self._by_key[run.key] = self._current[run.workflow_id] = run
        self._new[run] = None
        self.draft.ready = True

    def append(self, run: Run, events: Sequence[Event]) -> None:
        """Append to a run's history."""
        key = run.key
        for event in events:
            self._events += (key, *event)
        run.seq = events[-1].seq
        self._moved[run] = None
        self.draft.wrote.add(run.run_id)

    def put(self, run: Run, row: InboxRow, run_id: str | None) -> None:
        """Put a row into the inbox of a run, without waking it."""
        fact = row.fact
        self._inbox += (
            run.workflow_id,
            run_id,
            row.message_id,
            fact.kind,
            fact.command,
            fact.name,
            fact.detail,
            fact.payload,
            fact.actor,
            row.at_us,
        )
        run.unread += 1

    def consume(self, run: Run, row_ids: Sequence[int]) -> None:
        """Remove inbox rows of a run."""
        self._consumed += row_ids
        self._recounts.setdefault(run, False)

    def move_head(self, run: Run) -> None:
        """Write ``seq`` and ``waiting_for`` of a run."""
        self._moved[run] = None

    def change_head(self, run: Run) -> None:
        """Write all of a run's head."""
        self._changed_heads[run] = None

    def change_run(self, run: Run) -> None:
        """Write what seldom changes of a run."""
        self._changed_runs[run] = None

    def wake_if_unread(self, run: Run) -> None:
        """Make a run ready if unread rows that wake it are left, once everything else is written."""
        if run.unread or run in self._recounts:
            self._recounts[run] = True

    def close_inbox(self, run: Run, successor: bool) -> None:
        """Drop what a run that ended has not read, or leave the messages among it to its successor."""
        if run.unread or run in self._recounts:
            self._dropped += (run.workflow_id, run.run_id, successor)
            if successor:
                self._passed_on += (run.workflow_id, run.run_id)
            self._recounts.pop(run, None)
            run.unread = 0

    def count_unread(self, run: Run) -> None:
        """Count what a new run takes over from the one before."""
        self._recounts.setdefault(run, False)

    # -- out ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what the buffers hold."""
        if self._new:
            self._insert_runs()
        connection = self.connection
        if self._events:
            _INSERT_EVENT.write(connection, self._events)
            self._events = []
        if self._inbox:
            _INSERT_INBOX.write(connection, self._inbox)
            self._inbox = []
        if self._consumed:
            _CONSUME.write(connection, self._consumed)
            self._consumed = []
        if self._dropped:
            _DROP_UNREAD.write(connection, self._dropped)
            self._dropped = []
        if self._passed_on:
            _PASS_ON.write(connection, self._passed_on)
            self._passed_on = []
        if self._recounts:
            self._recount()
        if self._changed_heads:
            self._write_heads()
        if self._moved:
            flat = [column for run in self._moved for column in (run.key, run.seq, run.waiting_for)]
            _MOVE_HEAD.write(connection, flat)
            self._moved = {}
        if self._changed_runs:
            self._write_runs()

    def _insert_runs(self) -> None:
        runs: list[Any] = []
        heads: list[Any] = []
        for run in self._new:
            runs += run.insert_columns()
            heads += (
                run.key,
                run.seq,
                run.epoch,
                run.owner,
                run.ready_at_us,
                run.lane,
                run.lost,
                run.waiting_for,
            )
            self._moved.pop(run, None)
            self._changed_heads.pop(run, None)
            self._changed_runs.pop(run, None)
        self._new = {}
        _INSERT_RUN.write(self.connection, runs)
        _INSERT_HEAD.write(self.connection, heads)

    def _write_heads(self) -> None:
        flat: list[Any] = []
        for run in self._changed_heads:
            self._moved.pop(run, None)
            flat += (run.key, run.seq, run.waiting_for, run.epoch, run.owner, run.ready_at_us, run.lost)
        self._changed_heads = {}
        _CHANGE_HEAD.write(self.connection, flat)

    def _write_runs(self) -> None:
        flat: list[Any] = []
        for run in self._changed_runs:
            flat += (
                run.key,
                run.status.value,
                run.rollback.value,
                run.started_at_us,
                run.closed_at_us,
                run.code,
                run.reason,
            )
        self._changed_runs = {}
        _CHANGE_RUN.write(self.connection, flat)

    def _recount(self) -> None:
        """Count what is unread, and make runs ready whose unread rows wake them, if that was asked for."""
        runs, self._recounts = self._recounts, {}
        flat: list[Any] = []
        for run in runs:
            run.unread = 0
            flat += (run.key, run.workflow_id, run.run_id, not run.status.is_closed)
        for key, kind, at_us, number in _UNREAD.read(self.connection, flat):
            run = self._by_key[key]
            run.unread += number
            if runs[run] and accepts(run.status, run.rollback, kind) and wakes(run.status, kind):
                self.wake(run, at_us)

    def wake(self, run: Run, at_us: int) -> None:
        """Make a run ready at a time, or earlier if it is so already."""
        if run.ready_at_us is None or at_us < run.ready_at_us:
            run.ready_at_us = at_us
            self._changed_heads[run] = None
        self.draft.ready = True
