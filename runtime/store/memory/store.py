"""``MemoryStore``: runs kept in one process and lost with it.

It is the model that other stores are compared with, so everything is the plainest code that is right: no
index that is not needed for correctness, costs linear in the number of runs. Every method does its work
without waiting, hence each one is one transaction, and several clients and workers of the process may share
one store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from durable.errors import RunClosedError, RunExistsError, RunNotFoundError, StoreError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.change import Change
from runtime.store.memory.lease import MemoryLease
from runtime.store.memory.reading import Reading, blobs_of, may_claim, may_take
from runtime.store.memory.state import Draft, KeptRun, Receipt, State
from runtime.store.memory.turn import create_run, holder, write_turn
from runtime.store.protocol import CommitOutcome
from runtime.store.row import (
    AttemptRow,
    Claimed,
    InboxRow,
    LogRow,
    NewRun,
    QueryRow,
    RunRow,
    StartOutcome,
    TaskRow,
    UpdateRow,
    WorkerRow,
)
from runtime.store.rule import WAYS_OUT, WORDS, accepts, check_newest, may_adopt, was_tried
from runtime.store.turn import Turn

_LONG_AGO: Final = 0
"""A time that every clock has passed: what is due since then is due now."""


class MemoryStore(Reading):
    """A store in memory; documented in ``runtime.store.protocol.Store``.

    Args:
        clock: seconds from any origin, never going back; by it leases lapse.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._leases: dict[str, MemoryLease] = {}
        self._listeners: list[Callable[[Change], None]] = []

    @property
    def url(self) -> str:
        return "memory://"

    # -- life ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to disconnect from; the runs stay for whoever shares this store."""

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        def tell(change: Change) -> None:
            listener(change)

        def stop() -> None:
            if tell in self._listeners:
                self._listeners.remove(tell)

        self._listeners.append(tell)
        return stop

    @contextmanager
    def _transaction(self) -> Iterator[State]:
        """Tell listeners what the block changed. Blocks raise only before their first write, so there is
        nothing to undo."""
        yield self._state
        change = self._state.draft.finish()
        if change is not None:
            self._state.draft = Draft()
            for listener in tuple(self._listeners):
                listener(change)

    # -- workers ------------------------------------------------------------------------------------------

    async def join(self, worker: WorkerRow, lease_seconds: float) -> MemoryLease:
        lease = MemoryLease(worker, lease_seconds, self._clock, lambda: self._leave(worker.worker_id))
        self._leases[worker.worker_id] = lease
        return lease

    def _leave(self, worker_id: str) -> None:
        with self._transaction() as state:
            for run in state.runs.values():
                if run.row.owner == worker_id:
                    state.give_back(run, _LONG_AGO, lost=False)
            tasks = [task for task in state.tasks.values() if task.owner == worker_id]
            for task in sorted(tasks, key=lambda task: (state.runs[task.run_id].number, task.command)):
                state.free_task(replace(task, epoch=task.epoch + 1), _LONG_AGO)

    async def workers(self) -> list[WorkerRow]:
        return [lease.worker for lease in self._leases.values() if lease.is_fresh()]

    async def take_over(self, now_us: int) -> int:
        alive = {worker.worker_id for worker in await self.workers()}
        with self._transaction() as state:
            runs = [run for run in state.runs.values() if run.row.owner not in (None, *alive)]
            for run in runs:
                state.give_back(run, now_us, lost=True)
            tasks = [task for task in state.tasks.values() if task.owner not in (None, *alive)]
            for task in sorted(tasks, key=lambda task: (task.owner, state.runs[task.run_id].number, task.command)):
                state.free_task(replace(task, epoch=task.epoch + 1, losses=task.losses + 1), now_us)
        return len(runs) + len(tasks)

    async def claim(
        self, worker_id: str, workflows: Sequence[str], queues: Sequence[str], limit: int, now_us: int
    ) -> list[Claimed]:
        state = self._state
        due = [
            (run.row.ready_at_us, run.number, run)
            for run in state.runs.values()
            if run.row.ready_at_us is not None
            and run.row.ready_at_us <= now_us
            and may_claim(run.row, worker_id, workflows, queues)
        ]
        claimed = []
        for _, _, run in sorted(due)[:limit]:
            epoch = run.row.epoch + (run.row.owner is None)
            state.change(run, owner=worker_id, epoch=epoch, ready_at_us=None)
            claimed.append(Claimed(run.row, state.unread(run)))
        return claimed

    async def adopt(self, worker_id: str, run_ids: Sequence[str]) -> None:
        with self._transaction() as state:
            for run_id in run_ids:
                run = state.runs.get(run_id)
                if run is None or run.row.owner is not None:
                    continue
                if may_adopt(run.row.status, run.row.rollback, run.row.ready_at_us):
                    state.change(run, owner=worker_id, epoch=run.row.epoch + 1)

    async def unstick(
        self, worker_id: str, codes: Mapping[str, str], queues: Sequence[str], limit: int, now_us: int
    ) -> int:
        with self._transaction() as state:
            stuck = [
                run
                for run in state.runs.values()
                if run.row.status is RunStatus.STUCK
                and may_claim(run.row, "", list(codes), queues)
                and not was_tried(run.row.code, codes[run.row.workflow])
            ]
            for run in stuck[:limit]:
                state.change(run, owner=worker_id, epoch=run.row.epoch + 1, ready_at_us=now_us)
        return len(stuck[:limit])

    def commit(self, turns: Sequence[Turn], done: Callable[[Sequence[CommitOutcome]], None]) -> None:
        with self._transaction() as state:
            outcomes: list[CommitOutcome] = [write_turn(state, turn) for turn in turns]
        done(outcomes)

    # -- starting and sending -----------------------------------------------------------------------------

    async def start(self, new: NewRun, update: UpdateRow | None = None) -> StartOutcome:
        with self._transaction() as state:
            for one in (new, *new.children):
                newest = state.current(one.workflow_id)
                check_newest(one, newest.row.run_id if newest else None, newest.row.status if newest else None)
            existing = holder(state, new)
            if existing is not None:
                _check_attachable(existing.row, new)
            is_known_update = update is not None and self._has_update(update)
            messages = [
                replace(message, workflow_id=new.workflow_id, run_id=existing.row.run_id if existing else None)
                for message in new.messages
                if not (is_known_update and message.fact.kind == EventKind.UPDATE_ACCEPTED)
            ]
            if existing is None:
                run = create_run(state, replace(new, messages=()))
                for message in messages:
                    if not state.is_repeated(run, message):
                        state.write(run, replace(message, run_id=new.run_id))
                for child in new.children:
                    create_run(state, child)
            else:
                run = existing
                for message in messages:
                    _check_receipt(state.examine(message), message, run)
                for message in messages:
                    state.post(message)
            if update is not None and not is_known_update:
                self._write_update(update)
        return StartOutcome(run.row, existing is None)

    async def send(self, row: InboxRow, update: UpdateRow | None = None) -> RunRow:
        with self._transaction() as state:
            run = state.target(row)
            receipt = state.examine(row)
            _check_receipt(receipt, row, run)
            assert run is not None
            if receipt is Receipt.DELIVERED and row.fact.kind == EventKind.QUESTION_ANSWERED:
                state.check_answer(run, row)
            is_known_update = update is not None and self._has_update(update)
            if not is_known_update and state.post(row) is Receipt.DELIVERED and update is not None:
                self._write_update(update)
        return run.row

    def _has_update(self, update: UpdateRow) -> bool:
        kept = self._state.ids.get(update.workflow_id)
        return kept is not None and update.update_id in kept.updates

    def _write_update(self, update: UpdateRow) -> None:
        self._state.ids[update.workflow_id].updates[update.update_id] = update

    # -- steps on other workers ---------------------------------------------------------------------------

    async def claim_tasks(
        self, worker_id: str, queues: Sequence[str], steps: Sequence[str], limit: int, now_us: int
    ) -> list[TaskRow]:
        tasks = self._state.tasks
        free = [task for task in tasks.values() if may_take(task, queues, steps) and task.available_at_us <= now_us]
        free.sort(key=lambda task: task.available_at_us)
        taken = [replace(task, owner=worker_id, epoch=task.epoch + 1) for task in free[:limit]]
        for task in taken:
            tasks[task.run_id, task.command] = task
        return taken

    def _held(self, task: TaskRow) -> TaskRow | None:
        """The kept task, if it is still held as the caller believes."""
        kept = self._state.tasks.get((task.run_id, task.command))
        return kept if kept is not None and (kept.owner, kept.epoch) == (task.owner, task.epoch) else None

    async def begin_task(self, task: TaskRow, attempt: AttemptRow) -> bool:
        if self._held(task) is None:
            return False
        with self._transaction() as state:
            state.record_attempt(state.runs[task.run_id], attempt)
        return True

    async def finish_task(self, task: TaskRow, row: InboxRow, attempts: Sequence[AttemptRow] = ()) -> bool:
        if self._held(task) is None:
            return False
        with self._transaction() as state:
            del state.tasks[task.run_id, task.command]
            is_delivered = state.post(row) is Receipt.DELIVERED
            if is_delivered:
                for attempt in attempts:
                    state.record_attempt(state.runs[task.run_id], attempt)
        return is_delivered

    async def postpone_task(self, task: TaskRow, attempt: AttemptRow | None) -> bool:
        kept = self._held(task)
        if kept is None:
            return False
        with self._transaction() as state:
            at_us = task.available_at_us
            if attempt is not None:
                state.record_attempt(state.runs[task.run_id], attempt)
                at_us = at_us if attempt.ended_at_us is None else attempt.ended_at_us
            again = replace(kept, attempt=task.attempt, available_at_us=task.available_at_us, losses=task.losses)
            state.free_task(again, at_us)
        return True

    async def heartbeat(self, run_id: str, command: int, payload: str | None, now_us: int) -> bool:
        run = self._state.runs.get(run_id)
        task = self._state.tasks.get((run_id, command))
        if run is None or not accepts(run.row.status, run.row.rollback, EventKind.STEP_COMPLETED):
            return False
        if command in run.answered or (task is not None and task.cancel_requested):
            return False
        run.heartbeats[command] = (now_us, payload)
        return True

    # -- queries, definitions, logs -----------------------------------------------------------------------

    async def ask(self, query: QueryRow) -> None:
        with self._transaction() as state:
            state.queries[query.query_id] = query
            state.draft.queries = True

    async def pending_queries(self, workflows: Sequence[str], now_us: int) -> list[QueryRow]:
        queries = self._state.queries
        for query in list(queries.values()):
            if query.expires_at_us <= now_us:
                del queries[query.query_id]
        return [query for query in queries.values() if query.state == "pending" and query.workflow in workflows]

    async def reply(self, query_id: str, state: str, reply: str | None) -> None:
        query = self._state.queries.get(query_id)
        if query is None or query.state != "pending":
            return
        with self._transaction() as tables:
            tables.queries[query_id] = replace(query, state=state, reply=reply)
            tables.draft.queries = True

    async def publish_definitions(self, definitions: Mapping[str, str]) -> None:
        self._state.definitions.update(definitions)

    async def write_logs(self, rows: Sequence[LogRow]) -> None:
        for row in rows:
            run = self._state.runs.get(row.run_id)
            if run is not None:
                run.logs.append(row)

    # -- keeping house ------------------------------------------------------------------------------------

    async def purge(self, closed_before_us: int, limit: int) -> int:
        state = self._state
        doomed = [run for run in state.runs.values() if self._is_purgeable(run.row, closed_before_us)][:limit]
        for run in doomed:
            state.remove(run)
        if doomed:
            named = {blob for run in state.runs.values() for blob in blobs_of(run.history)}
            state.blobs = {key: data for key, data in state.blobs.items() if key in named}
        return len(doomed)

    def _is_purgeable(self, row: RunRow, closed_before_us: int) -> bool:
        if not row.status.is_closed or row.closed_at_us is None or row.closed_at_us >= closed_before_us:
            return False
        parent = self._state.runs.get(row.parent_run_id or "")
        if parent is not None and not parent.row.status.is_closed:
            return False
        return row.rollback not in (RollbackStatus.RUNNING, RollbackStatus.FAILED)

    async def backup(self, target: Path) -> None:
        raise StoreError(
            f"a store in memory has no file to copy to {target}: keep runs that you want to back up in sqlite:///<path>"
        )


def _check_attachable(row: RunRow, new: NewRun) -> None:
    """Refuse a start whose id is taken, unless it is the same start again."""
    is_same = (row.workflow, row.input_digest) == (new.workflow, new.input_digest)
    if new.on_conflict == "attach" and is_same:
        return
    why = "has it already" if new.on_conflict != "attach" else "has it with another workflow or input"
    raise RunExistsError(
        f"workflow id {new.workflow_id!r} is taken: run {row.run_id} ({row.status}) {why}; {WAYS_OUT}",
        workflow_id=new.workflow_id,
        run_id=row.run_id,
        status=str(row.status),
    )


def _check_receipt(receipt: Receipt, message: InboxRow, run: KeptRun | None) -> None:
    """Refuse a message that no run takes."""
    if run is None:
        pinned = f" with run id {message.run_id!r}" if message.run_id else ""
        raise RunNotFoundError(
            f"no run has the workflow id {message.workflow_id!r}{pinned}",
            workflow_id=message.workflow_id,
            run_id=message.run_id,
        )
    if receipt is Receipt.CLOSED:
        row = run.row
        raise RunClosedError(
            f"run {row.run_id} of {row.workflow_id!r} is {row.status} and takes no {WORDS.get(message.fact.kind, 'outcome')}",
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            status=str(row.status),
        )
