"""The connection of a transactional step: what a step may do with it, and how it is taken away.

A step that is out of time may be inside a call at that moment, on a thread that nobody can stop. The connection cannot
be closed under that call. So calls take their turn at a lock, and taking the connection away takes its turn as well,
once the running statement has been told to end:

- It is told by a progress handler. ``sqlite3_interrupt`` would stay in force for as long as any statement of the
  connection is half read, and so would end the rollback too, for ever.
- The lock is ours because SQLite's own is not enough: a thread that waits for that one while it holds the
  interpreter's lock, as most short calls of ``sqlite3`` do, waits for ever for one whose statement calls the authorizer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn
from weakref import WeakSet

from durable.errors import StoreError

_OURS: Final = "durable_"

_PROGRESS_STEPS: Final = 100_000
"""Of SQLite's machine, between two looks at the time: some milliseconds. Each look may wait that long for the interpreter."""

_READING: Final = frozenset(
    {sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
_REFUSED: Final = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
_HARMLESS_PRAGMAS: Final = frozenset(
    {
        "data_version",
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
RULES: Final = (
    "inside a transactional step the connection cannot begin or end transactions, attach databases, change "
    f"settings, or write tables whose names begin with {_OURS!r}"
)


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action in _REFUSED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if (first or "").lower() in _HARMLESS_PRAGMAS else sqlite3.SQLITE_DENY
    is_ours = any(name is not None and name.lower().startswith(_OURS) for name in (first, second))
    return sqlite3.SQLITE_DENY if is_ours else sqlite3.SQLITE_OK


def _refuse(*_: object) -> int:
    return sqlite3.SQLITE_DENY


class _Permit:
    """Held during every call; there is none any more once the connection was taken away.

    It is apart from the connection because SQLite's callbacks would keep that one alive.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_over = False

    def check(self) -> None:
        if self.is_over:
            raise sqlite3.ProgrammingError("the transaction of this step has ended")

    def __enter__(self) -> None:
        self.lock.acquire()
        try:
            self.check()
        except BaseException:
            self.lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.lock.release()

    def lend(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, which are the step's to make: the lock is free meanwhile, however long that takes."""
        iterator, end = iter(items), object()
        while True:
            self.lock.release()
            try:
                item = next(iterator, end)
            finally:
                self.lock.acquire()
            self.check()
            if item is end:
                return
            yield item


class StepCursor(sqlite3.Cursor):
    """A cursor of a transactional step."""

    def __init__(self, connection: StepConnection) -> None:
        super().__init__(connection)
        self._permit = connection.permit

    def execute(self, *args: Any) -> StepCursor:
        """``sqlite3.Cursor.execute``."""
        with self._permit:
            return super().execute(*args)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> StepCursor:
        """``sqlite3.Cursor.executemany``."""
        with self._permit:
            return super().executemany(sql, self._permit.lend(parameters))

    def executescript(self, script: str, /) -> StepCursor:
        """``sqlite3.Cursor.executescript``."""
        with self._permit:
            super().executescript(script)
        return self

    def fetchone(self) -> Any:
        """``sqlite3.Cursor.fetchone``."""
        with self._permit:
            return super().fetchone()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """``sqlite3.Cursor.fetchmany``."""
        with self._permit:
            return super().fetchmany(self.arraysize if size is None else size)

    def fetchall(self) -> list[Any]:
        """``sqlite3.Cursor.fetchall``."""
        with self._permit:
            return super().fetchall()

    def __next__(self) -> Any:
        """The next row."""
        with self._permit:
            return super().__next__()

    def close(self) -> None:
        """``sqlite3.Cursor.close``; allowed at any time."""
        with self._permit.lock:
            super().close()


class StepConnection(sqlite3.Connection):
    """The connection of a transactional step."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.permit = _Permit()
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        self._is_connected = False
        super().__init__(*args, **options)
        self._is_connected = True

    def cursor(self, factory: Any = StepCursor) -> Any:
        """``sqlite3.Connection.cursor``."""
        with self.permit:
            cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def execute(self, *args: Any) -> Any:
        """``sqlite3.Connection.execute``, which would not use a cursor of ours."""
        return self.cursor().execute(*args)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """``sqlite3.Connection.executemany``."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, script: str, /) -> Any:
        """``sqlite3.Connection.executescript``."""
        return self.cursor().executescript(script)

    def commit(self) -> None:
        """Refused: the transaction commits together with the step's completion."""
        raise StoreError("a transactional step cannot commit: what it wrote commits together with its completion")

    def rollback(self) -> None:
        """Refused: the transaction is rolled back if the step raises."""
        raise StoreError("a transactional step cannot roll back: raise an exception instead, and nothing is kept")

    def set_authorizer(self, *_: Any) -> NoReturn:
        """Refused: it is what keeps the step from the store's tables."""
        raise StoreError("a transactional step cannot set an authorizer: its connection has one")

    def set_progress_handler(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: it is what ends a statement when the step's time is up."""
        raise StoreError("a transactional step cannot set a progress handler: its connection has one")

    # -- for the store ------------------------------------------------------------------------------------

    def restrict(self) -> None:
        """Give the connection to a step."""
        super().set_authorizer(_authorize)
        permit = self.permit
        super().set_progress_handler(lambda: permit.is_over, _PROGRESS_STEPS)

    def reclaim(self) -> None:
        """Take the connection back from the step, which may be using it still; the caller holds the permit."""
        self._close_cursors()
        super().set_authorizer(None)
        self.row_factory = None
        self.text_factory = str

    def revoke(self) -> None:
        """Roll back what is open, so that a thread which still uses the connection can do nothing more with it.

        It disconnects when that thread lets go of it.
        """
        self.permit.is_over = True  # first: all else waits for the statement that is running
        with self.permit.lock:
            self._close_cursors()
            super().set_authorizer(None)
            cursor = super().cursor(sqlite3.Cursor)
            # Refuses what a cursor that is not ours might begin between the rollback and the refusal of everything.
            cursor.execute("PRAGMA query_only = ON")
            if self.in_transaction:
                cursor.execute("ROLLBACK")
            cursor.close()
            super().set_authorizer(_refuse)

    def _close_cursors(self) -> None:
        """A half-read one would go on reading after the rollback, and keep the commit from its end."""
        for cursor in list(self._cursors):
            with suppress(sqlite3.ProgrammingError):  # it waits for its next parameters, and is between statements
                cursor.close()

    def __del__(self) -> None:
        """Disconnect when nobody has the connection any more."""
        if self._is_connected:
            self.close()
