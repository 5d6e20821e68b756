"""The writer: one connection, one thread, and batches that form by themselves (rule D2).

Jobs come from the event loop's thread. What arrives while a database transaction is being committed goes together
into the next one, so a slow disk makes batches large and a fast one keeps them small. A batch costs one hop to the
thread and one back.

A single turn that comes while the writer is idle is committed on the spot, on the event loop's thread, if recent
commits were fast: two hops cost more than the commit.

A job that cannot be written for a reason of its own (say, text that is no text) must not take the others of its batch
with it: the transaction is rolled back and its jobs run one by one. A job refused by a rule raises before it writes,
so its batch goes on.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from durable.errors import StoreError, StoreUnavailableError
from runtime.store import fault
from runtime.store.change import Change
from runtime.store.sqlite.checkpoint import Checkpointer
from runtime.store.sqlite.clock import boot_ns
from runtime.store.sqlite.connection import connect_writer, identify, is_busy, is_harmless, translate
from runtime.store.sqlite.job import Commit, Job
from runtime.store.sqlite.migration import check
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.turnstile import Turnstile

_BATCH: Final = 1_000
"""Jobs in one database transaction at most."""

_FAST_NS: Final = 2_000_000
"""Commits that take less on average may hold up the event loop."""

_PACE_WEIGHT: Final = 0.2
"""Of the newest commit in the average."""

_RETRY_SECONDS: Final = 0.001
"""Between two looks at a lock that another process holds."""

_UNKNOWN: Final = Change()
"""Another process wrote something."""


class _LockedError(Exception):
    """Another process holds the write lock."""


class Writer:
    """Runs jobs on one connection.

    Args:
        path: the database file, prepared.
        mutex: held while this process has a write transaction open.
        checkpointer: told of every commit.
        wait_seconds: how long to wait for a lock that another process holds.
        tell: gets what every batch changed, on the event loop's thread.
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._pending = 0
        self._pace = 0.0
        self._connection: sqlite3.Connection | None = None
        self._session: Session | None = None
        self._file: tuple[int, int] | None = None
        self._version_told: int | None = None
        self._changes = 0
        self._is_synced = True
        self._thread: threading.Thread | None = None

    # -- on the event loop's thread -----------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect, and begin to take jobs. Blocks; called on another thread."""
        self._loop = loop
        _, session = self._connected()
        self._version_told = session.read_version()
        self._thread = threading.Thread(target=self._work, name=f"durable-writer {self._path.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what was submitted and disconnect. Blocks; called on another thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        with self._mutex:
            self._disconnect()

    def submit(self, job: Job) -> None:
        """Have a job written soon."""
        self._pending += 1
        self._queue.put(job)

    def commit(self, job: Commit, turns: int) -> None:
        """Have a commit written, now if that costs least."""
        is_lone = turns == 1 and self._pending == 0 and self._pace < _FAST_NS
        if not is_lone or not self._mutex.acquire(blocking=False):
            self.submit(job)
            return
        try:
            change = self._write([job], may_wait=False)
        except _LockedError:
            self.submit(job)
            return
        finally:
            self._mutex.release()
        self._finish([job], change)

    def has_news(self) -> bool:
        """Whether another process has committed since this was last asked or told. Costs microseconds."""
        if not self._mutex.acquire(blocking=False):
            return False  # the batch that is being written looks by itself
        try:
            # A fault took the connection away. Who only waits would never write again, and so never hear of anything.
            session = self._session if self._session is not None else self._connected()[1]
            version = session.read_version()
            is_new = version != self._version_told
            self._version_told = version
        except (sqlite3.Error, StoreError):
            return False  # the next write meets the same fault and reports it
        finally:
            self._mutex.release()
        return is_new

    def _deliver(self, jobs: Sequence[Job], change: Change | None) -> None:
        self._pending -= len(jobs)
        self._finish(jobs, change)

    def _finish(self, jobs: Sequence[Job], change: Change | None) -> None:
        for job in jobs:
            job.finish()
        if change is not None:
            self._tell(change)

    # -- on either thread, under the mutex ----------------------------------------------------------------

    def _work(self) -> None:
        assert self._loop is not None
        is_last = False
        while not is_last:
            jobs, is_last = self._next_batch()
            if not jobs:
                return
            with self._mutex:
                change = self._write(jobs)
            try:
                self._loop.call_soon_threadsafe(self._deliver, jobs, change)
            except RuntimeError:  # the event loop is closed, so nobody waits
                return

    def _next_batch(self) -> tuple[list[Job], bool]:
        """Wait for a job and take what else is there; and whether it is the end."""
        first = self._queue.get()
        if first is None:
            return [], True
        jobs = [first]
        try:
            while len(jobs) < _BATCH:
                job = self._queue.get_nowait()
                if job is None:
                    return jobs, True
                jobs.append(job)
        except Empty:
            pass
        return jobs, False

    def _write(self, jobs: Sequence[Job], *, may_wait: bool = True) -> Change | None:
        """Write a batch; every job has its result or its error afterwards.

        Raises:
            _LockedError: another process holds the lock, and this may not wait for it.
        """
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return self._transact(jobs)
            except Exception as error:
                is_locked = isinstance(error, sqlite3.Error) and is_busy(error)
                if is_locked and not may_wait:
                    raise _LockedError from error
                if not is_locked or time.monotonic() >= deadline:
                    return self._fail(jobs, error)
            time.sleep(_RETRY_SECONDS)

    def _fail(self, jobs: Sequence[Job], error: Exception) -> Change | None:
        """Hand a failure to those whose it is: all jobs, if the store fails, else the job that fails alone."""
        if not is_harmless(error):
            self._disconnect()
        failure = translate(error, self._path) if isinstance(error, sqlite3.Error) else error
        parts = [part for job in jobs for part in job.parts()]
        if isinstance(failure, StoreUnavailableError) or len(parts) == 1:
            for job in jobs:
                job.fail(failure)
            return None
        changes = [self._write([part]) for part in parts]
        return _UNKNOWN if any(changes) else None

    def _transact(self, jobs: Sequence[Job]) -> Change | None:
        connection, session = self._connected()
        self._sync(connection, not all(job.is_volatile for job in jobs))
        try:
            connection.execute("BEGIN IMMEDIATE")
            session.begin()
            run_ids: list[str] = []
            workflow_ids: list[str] = []
            for job in jobs:
                mentioned = job.mentions()
                run_ids += mentioned[0]
                workflow_ids += mentioned[1]
            session.preload(run_ids, workflow_ids)
            for job in jobs:
                job.run(session)
            session.flush()
            self._commit(connection)
        except BaseException:
            session.abandon()
            raise
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if session.version != self._version_told:
            self._version_told = session.version
            return _UNKNOWN
        return session.draft.finish()

    def _sync(self, connection: sqlite3.Connection, is_synced: bool) -> None:
        """Choose whether the next transaction is on disk when it is committed."""
        if is_synced is not self._is_synced:
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
            self._is_synced = is_synced

    def _commit(self, connection: sqlite3.Connection) -> None:
        changes = connection.total_changes
        if changes == self._changes:
            connection.execute("COMMIT")
            return
        if fault.is_armed:
            fault.reach("commit:before")
        began_ns = boot_ns()
        connection.execute("COMMIT")
        self._changes = changes
        if self._is_synced:
            self._pace += (boot_ns() - began_ns - self._pace) * _PACE_WEIGHT
        self._checkpointer.committed(began_ns)
        if fault.is_armed:
            fault.reach("commit:after")

    # -- the connection -----------------------------------------------------------------------------------

    def _connected(self) -> tuple[sqlite3.Connection, Session]:
        """The connection to the file that is at the path now."""
        try:
            file = identify(self._path)
        except StoreUnavailableError:
            self._disconnect()
            raise
        if self._connection is None or self._session is None or file != self._file:
            self._disconnect()
            connection = connect_writer(self._path)
            try:
                check(connection, self._path)
            except BaseException:
                connection.close()
                raise
            self._connection, self._session, self._file = connection, Session(connection), file
            self._changes, self._is_synced = connection.total_changes, True
        return self._connection, self._session

    def _disconnect(self) -> None:
        connection, self._connection, self._session = self._connection, None, None
        self._version_told = (
            None  # the numbers of another connection mean nothing, and others may write before there is one
        )
        if connection is not None:
            connection.close()
