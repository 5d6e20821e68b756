"""Transactional steps: a step writes into the store's database, and its completion commits with it (rule D4).

The step has a connection of its own inside ``BEGIN IMMEDIATE``, while this process's writer is held. It is the step's
in all but two things: it cannot end the transaction, and it cannot write the store's own tables. When the context
ends, the same connection delivers the outcome to the run, which is refused if the run was closed or has another owner
by now, and commits both. So there is no moment at which one is durable without the other.

A store call from inside would wait for the writer, which waits for the step: it raises instead. Heartbeats, logs and
``commit`` do not wait for anything and only take their turn.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from durable.errors import ConflictError, StepTimeoutError, StoreError
from runtime.store import fault
from runtime.store.change import Change
from runtime.store.row import InboxRow
from runtime.store.sqlite.checkpoint import Checkpointer
from runtime.store.sqlite.clock import boot_ns
from runtime.store.sqlite.connection import connect_as, primary_code, translate
from runtime.store.sqlite.delivery import Receipt, post
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.statement import load
from runtime.store.sqlite.step_connection import RULES, StepConnection
from runtime.store.sqlite.turnstile import Turnstile

T = TypeVar("T")

_PART: Final = load("part")


class SqliteTransaction:
    """One transaction; documented in ``runtime.store.protocol.Transaction``.

    Args:
        path: the database file.
        run_id: whose step it is.
        epoch: the owner's epoch.
        mutex: held by this process; released when the transaction ends.
    """

    def __init__(self, path: Path, run_id: str, epoch: int, mutex: Turnstile) -> None:
        self.path = path
        self._run_id = run_id
        self._epoch = epoch
        self._mutex = mutex
        self._guard = threading.Lock()
        self._has_ended = False
        self._connection: StepConnection | None = None
        self._outcome: tuple[InboxRow, Mapping[str, bytes]] | None = None

    @property
    def connection(self) -> StepConnection:
        """The step's connection."""
        if self._connection is None:
            raise StoreError("the transaction has ended")
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether it holds up the store."""
        return not self._has_ended

    @property
    def is_complete(self) -> bool:
        """Whether there is an outcome to commit."""
        return self._outcome is not None

    def complete(self, row: InboxRow, blobs: Mapping[str, bytes] | None = None) -> None:
        """Commit with this outcome when the context ends."""
        self._outcome = row, blobs or {}

    # -- on other threads ---------------------------------------------------------------------------------

    def begin(self, wait_seconds: float) -> None:
        """Connect and take the database's write lock."""
        connection = connect_as(StepConnection, self.path, wait_seconds=wait_seconds)
        try:
            connection.execute("BEGIN IMMEDIATE").close()
            connection.restrict()
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def commit(self) -> tuple[Change | None, int]:
        """Deliver the outcome and commit; what changed, and when the commit began."""
        assert self._outcome is not None
        row, blobs = self._outcome
        with self._guard:
            if self._has_ended:  # only its time can have ended it before
                raise StepTimeoutError("the step's transaction took too long and was rolled back")
            return self._commit(self.connection, row, blobs)

    def _commit(
        self, connection: StepConnection, row: InboxRow, blobs: Mapping[str, bytes]
    ) -> tuple[Change | None, int]:
        with connection.permit:
            connection.reclaim()
            session = Session(connection)
            session.begin()
            self._deliver(session, row, blobs)
            session.flush()
            if fault.is_armed:
                fault.reach("commit:before")
            began_ns = boot_ns()
            connection.execute("COMMIT")
            if fault.is_armed:
                fault.reach("commit:after")
        return session.draft.finish(), began_ns

    def _deliver(self, session: Session, row: InboxRow, blobs: Mapping[str, bytes]) -> None:
        run = session.run(self._run_id)
        if run is None or run.epoch != self._epoch:
            raise ConflictError(f"run {self._run_id} has another owner by now", run_id=self._run_id)
        for blob in blobs.items():
            session.execute(_PART["add_blob"], blob)
        receipt = post(session, row)
        if receipt is not Receipt.DELIVERED:
            why = "the step has its outcome already" if receipt is Receipt.REPEATED else f"it is {run.status}"
            raise ConflictError(f"run {self._run_id} takes no outcome: {why}", run_id=self._run_id)

    def end(self) -> bool:
        """Roll back what was not committed, and let the store go on; False if that was done before."""
        with self._guard:
            if self._has_ended:
                return False
            self._has_ended = True
            connection, self._connection = self._connection, None
            try:
                if connection is not None:
                    connection.revoke()
            finally:
                self._mutex.release()
        return True


_current: Final[ContextVar[SqliteTransaction | None]] = ContextVar("durable_sqlite_transaction", default=None)


class Transactions:
    """Gives out transactions, one at a time.

    Args:
        path: the database file.
        mutex: held while this process has a write transaction open.
        checkpointer: told of every commit.
        wait_seconds: how long to wait for a lock that another process holds.
        tell: gets what every transaction changed.
    """

    def __init__(
        self,
        path: Path,
        mutex: Turnstile,
        checkpointer: Checkpointer,
        wait_seconds: float,
        tell: Callable[[Change], None],
    ) -> None:
        self._path = path
        self._mutex = mutex
        self._checkpointer = checkpointer
        self._wait_seconds = wait_seconds
        self._tell = tell
        self._turnstile = anyio.Lock()
        # Threads of its own: one that waits for the mutex must not keep the one that would release it from starting.
        self._threads = anyio.CapacityLimiter(2)

    def check_outside(self) -> None:
        """Refuse a call from inside a transaction that it would wait for.

        Raises:
            StoreError: it would wait for ever.
        """
        current = _current.get()
        if current is not None and current.is_open and current.path == self._path:
            raise StoreError(
                "a transactional step cannot use the store: the call would wait for the step's own transaction; "
                "write through the step's connection, or make the call in a step that is not transactional"
            )

    @asynccontextmanager
    async def begin(self, run_id: str, epoch: int, timeout: float | None) -> AsyncIterator[SqliteTransaction]:
        """``TransactionalStore.transaction``."""
        self.check_outside()
        async with self._turnstile:
            await self._acquire()
            transaction = SqliteTransaction(self._path, run_id, epoch, self._mutex)
            try:
                await self._in_thread(lambda: transaction.begin(self._wait_seconds))
                async with _limited(transaction, timeout):
                    yield transaction
                change = await self._commit(transaction)
            finally:
                await self._in_thread(transaction.end)  # the lock must not outlive the step
        if change is not None:
            self._tell(change)

    async def _acquire(self) -> None:
        """Take the mutex. The thread that waits for it cannot be stopped: who does not want it any more gives it back."""
        acquiring = asyncio.ensure_future(anyio.to_thread.run_sync(self._mutex.acquire, limiter=self._threads))
        try:
            await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            acquiring.add_done_callback(lambda _: self._mutex.release())
            raise

    async def _commit(self, transaction: SqliteTransaction) -> Change | None:
        if not transaction.is_complete:
            return None
        change, began_ns = await self._in_thread(transaction.commit)
        self._checkpointer.committed(began_ns)
        return change

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run something to its end, whatever cancels the step meanwhile: what it does to the connection is not to be left in doubt."""
        working = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=self._threads))
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):  # this keeps anyio from cancelling, and the loop what asyncio cancels
            while not working.done():
                try:
                    await asyncio.wait([working])
                except asyncio.CancelledError as error:
                    cancelled = error
        try:
            result = working.result()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        if cancelled is not None:
            raise cancelled
        return result


@asynccontextmanager
async def _limited(transaction: SqliteTransaction, timeout: float | None) -> AsyncIterator[None]:
    """Run the step: end its transaction when the time is up, whatever the step is doing, and cancel it."""
    loop = asyncio.get_running_loop()
    scope = anyio.CancelScope()
    late = False

    def expire() -> None:
        nonlocal late
        late = True  # before the end: that interrupts the step, whose exception must find it so
        late = transaction.end()
        loop.call_soon_threadsafe(scope.cancel)

    timer = None if timeout is None else threading.Timer(timeout, expire)
    token = _current.set(transaction)
    try:
        if timer is not None:
            timer.start()
        with scope:
            yield
    except Exception as error:
        if isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_AUTH:
            error.add_note(RULES)
        if not late:
            raise
    finally:
        _current.reset(token)
        if timer is not None:
            timer.cancel()
    if late:
        raise StepTimeoutError(f"the step's transaction took longer than {timeout} s and was rolled back")
