"""``SqliteStore``: runs in one SQLite file, for any number of processes of one host.

What is written goes through the ``Writer`` (rule D2), what is read through a ``ReadPool``, and signs of life
through lock files beside the database (rule D3). This class only puts the parts together; what each method promises
is written in ``runtime.store.protocol``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import anyio
import anyio.to_thread

from durable.errors import StoreError
from runtime.store.change import Change
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
from runtime.store.sqlite import delivery, house, message, ownership, task
from runtime.store.sqlite import start as starting
from runtime.store.sqlite.checkpoint import Checkpointer
from runtime.store.sqlite.job import Call, Commit
from runtime.store.sqlite.lease import SqliteLease, folder_of, living, read_signs
from runtime.store.sqlite.migration import prepare
from runtime.store.sqlite.pool import ReadPool
from runtime.store.sqlite.reading import Reading
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.transaction import SqliteTransaction, Transactions
from runtime.store.sqlite.turnstile import Turnstile
from runtime.store.sqlite.writer import Writer
from runtime.store.turn import Turn

R = TypeVar("R")

WAIT_SECONDS: Final = 60.0
WATCHDOG_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 0.01


class _Parts(NamedTuple):
    """What an open store consists of, and the process that opened it."""

    writer: Writer
    checkpointer: Checkpointer
    transactions: Transactions
    process: int


class SqliteStore(Reading):
    """A store in a SQLite file.

    Args:
        path: the file; it and its directory are created when there is none.
        wait_seconds: how long a write waits for a lock that another program holds, before it raises
            ``StoreUnavailableError``.
        watchdog_seconds: how long an event loop may be silent before the leases of its workers are left to lapse.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        wait_seconds: float = WAIT_SECONDS,
        watchdog_seconds: float = WATCHDOG_SECONDS,
    ) -> None:
        self.path: Final = Path(path).absolute()
        self._wait_seconds = wait_seconds
        self._watchdog_seconds = watchdog_seconds
        self._pool = ReadPool(self.path)
        self._opening = anyio.Lock()
        self._parts: _Parts | None = None
        self._listeners: list[Callable[[Change], None]] = []
        self._leases: dict[str, SqliteLease] = {}
        self._watcher: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        return f"sqlite:///{str(self.path).replace('%', '%25')}"

    # -- life ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        async with self._opening:
            if self._parts is None:
                await anyio.to_thread.run_sync(prepare, self.path, self._wait_seconds)
                self._parts = await self._start()
                self._pool.open()
                self._watch(asyncio.get_running_loop())

    async def _start(self) -> _Parts:
        mutex = Turnstile()
        checkpointer = Checkpointer(self.path, mutex)
        writer = Writer(self.path, mutex, checkpointer, self._wait_seconds, self._tell)
        await anyio.to_thread.run_sync(writer.start, asyncio.get_running_loop())
        checkpointer.start()
        transactions = Transactions(self.path, mutex, checkpointer, self._wait_seconds, self._tell)
        return _Parts(writer, checkpointer, transactions, os.getpid())

    async def close(self) -> None:
        async with self._opening:
            parts, self._parts = self._parts, None
            if parts is None:
                return
            if self._watcher is not None:
                self._watcher.cancel()
            for lease in self._leases.values():
                await anyio.to_thread.run_sync(lease.remove)
            self._leases.clear()
            await self._pool.close()
            await anyio.to_thread.run_sync(parts.checkpointer.stop)
            # Last, because the last connection that can write copies the log and removes it.
            await anyio.to_thread.run_sync(parts.writer.stop)

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        def tell(change: Change) -> None:
            listener(change)

        def stop() -> None:
            if tell in self._listeners:
                self._listeners.remove(tell)

        self._listeners.append(tell)
        return stop

    def _tell(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            listener(change)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notice what other processes commit."""
        if self._parts is None:
            return
        if self._listeners and self._parts.writer.has_news():
            self._tell(Change())
        self._watcher = loop.call_later(WATCH_SECONDS, self._watch, loop)

    def _opened(self) -> _Parts:
        if self._parts is None:
            raise StoreError(f"{self.path} is not open: await its open() first")
        if os.getpid() != self._parts.process:
            raise StoreError(f"{self.path} was opened before this process was forked: open a store of its own here")
        return self._parts

    async def _write(
        self,
        apply: Callable[[Session], R],
        *,
        run_ids: Iterable[str] = (),
        workflow_ids: Iterable[str] = (),
        is_volatile: bool = False,
    ) -> R:
        parts = self._opened()
        if not is_volatile:
            parts.transactions.check_outside()
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        parts.writer.submit(Call(apply, future, run_ids=run_ids, workflow_ids=workflow_ids, is_volatile=is_volatile))
        return await future

    # -- workers ------------------------------------------------------------------------------------------

    async def join(self, worker: WorkerRow, lease_seconds: float) -> SqliteLease:
        async def give_back() -> None:
            self._leases.pop(worker.worker_id, None)
            await self._write(lambda session: ownership.leave(session, worker.worker_id))

        self._opened()
        lease = await anyio.to_thread.run_sync(
            SqliteLease, folder_of(self.path), worker, lease_seconds, self._watchdog_seconds, give_back
        )
        self._leases[worker.worker_id] = lease
        return lease

    async def workers(self) -> list[WorkerRow]:
        signs = await anyio.to_thread.run_sync(read_signs, folder_of(self.path))
        return [sign.worker for sign in signs if sign.is_alive]

    async def take_over(self, now_us: int) -> int:
        folder = folder_of(self.path)
        signs = await anyio.to_thread.run_sync(read_signs, folder)
        freed = await self._write(
            lambda session: ownership.take_over(session, living(signs), lambda: living(read_signs(folder)), now_us)
        )
        for sign in signs:
            if not sign.is_held:
                sign.path.unlink(missing_ok=True)
        return freed

    async def claim(
        self, worker_id: str, workflows: Sequence[str], queues: Sequence[str], limit: int, now_us: int
    ) -> list[Claimed]:
        return await self._write(lambda session: ownership.claim(session, worker_id, workflows, queues, limit, now_us))

    async def adopt(self, worker_id: str, run_ids: Sequence[str]) -> None:
        await self._write(lambda session: ownership.adopt(session, worker_id, run_ids), run_ids=run_ids)

    async def unstick(
        self, worker_id: str, codes: Mapping[str, str], queues: Sequence[str], limit: int, now_us: int
    ) -> int:
        return await self._write(lambda session: ownership.unstick(session, worker_id, codes, queues, limit, now_us))

    def commit(self, turns: Sequence[Turn], done: Callable[[Sequence[CommitOutcome]], None]) -> None:
        self._opened().writer.commit(Commit(turns, done), len(turns))

    # -- starting and sending -----------------------------------------------------------------------------

    async def start(self, new: NewRun, update: UpdateRow | None = None) -> StartOutcome:
        return await self._write(lambda session: starting.start(session, new, update), workflow_ids=(new.workflow_id,))

    async def send(self, row: InboxRow, update: UpdateRow | None = None) -> RunRow:
        return await self._write(
            lambda session: delivery.send(session, row, update),
            run_ids=() if row.run_id is None else (row.run_id,),
            workflow_ids=(row.workflow_id,) if row.run_id is None else (),
        )

    # -- steps on other workers ---------------------------------------------------------------------------

    async def claim_tasks(
        self, worker_id: str, queues: Sequence[str], steps: Sequence[str], limit: int, now_us: int
    ) -> list[TaskRow]:
        return await self._write(lambda session: task.claim_tasks(session, worker_id, queues, steps, limit, now_us))

    async def begin_task(self, task_row: TaskRow, attempt: AttemptRow) -> bool:
        return await self._write(
            lambda session: task.begin_task(session, task_row, attempt), run_ids=(task_row.run_id,)
        )

    async def finish_task(self, task_row: TaskRow, row: InboxRow, attempts: Sequence[AttemptRow] = ()) -> bool:
        return await self._write(
            lambda session: task.finish_task(session, task_row, row, attempts), run_ids=(task_row.run_id,)
        )

    async def postpone_task(self, task_row: TaskRow, attempt: AttemptRow | None) -> bool:
        return await self._write(
            lambda session: task.postpone_task(session, task_row, attempt), run_ids=(task_row.run_id,)
        )

    async def heartbeat(self, run_id: str, command: int, payload: str | None, now_us: int) -> bool:
        return await self._write(
            lambda session: task.heartbeat(session, run_id, command, payload, now_us),
            run_ids=(run_id,),
            is_volatile=True,
        )

    # -- queries, definitions, logs -----------------------------------------------------------------------

    async def ask(self, query: QueryRow) -> None:
        await self._write(lambda session: message.ask(session, query), is_volatile=True)

    async def pending_queries(self, workflows: Sequence[str], now_us: int) -> list[QueryRow]:
        return await self._write(lambda session: message.pending_queries(session, workflows, now_us), is_volatile=True)

    async def reply(self, query_id: str, state: str, reply: str | None) -> None:
        await self._write(lambda session: message.reply(session, query_id, state, reply), is_volatile=True)

    async def publish_definitions(self, definitions: Mapping[str, str]) -> None:
        await self._write(lambda session: message.publish_definitions(session, definitions))

    async def write_logs(self, rows: Sequence[LogRow]) -> None:
        await self._write(
            lambda session: message.write_logs(session, rows),
            run_ids={row.run_id for row in rows},
            is_volatile=True,
        )

    # -- transactional steps ------------------------------------------------------------------------------

    def transaction(
        self, run_id: str, epoch: int, timeout: float | None = None
    ) -> AbstractAsyncContextManager[SqliteTransaction]:
        return self._opened().transactions.begin(run_id, epoch, timeout)

    # -- keeping house ------------------------------------------------------------------------------------

    async def purge(self, closed_before_us: int, limit: int) -> int:
        return await self._write(lambda session: house.purge(session, closed_before_us, limit))

    async def backup(self, target: Path) -> None:
        self._opened()
        await anyio.to_thread.run_sync(house.backup, self.path, target)
