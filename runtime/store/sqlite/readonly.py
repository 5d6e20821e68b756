"""A store that is looked at and not written: because that is all that is asked for, or because the disk or the user allows no more.

It neither creates nor migrates the file, takes no write lock, starts no thread that writes and copies no log back when it is closed.

SQLite reads a file with a write-ahead log only if it can share the log's index with those who write, a file beside the
database. Where it can neither make nor open that, the log decides: without one, nobody has written since the last worker stopped, and
the database is read as a file that does not change; with one, what it holds would be missing.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio.to_thread

from durable.errors import StoreError, StoreFormatError
from runtime.store.sqlite import house
from runtime.store.sqlite.connection import primary_code, translate, uri
from runtime.store.sqlite.migration import check, migrations
from runtime.store.sqlite.pool import ReadPool
from runtime.store.sqlite.store import SqliteStore, _Parts

SHARED: Final = "ro"
"""Others may write meanwhile."""

UNCHANGING: Final = "ro&immutable=1"
"""Nobody writes, and no lock is taken."""

_NO_INDEX: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})


def can_write(path: Path) -> bool:
    """Whether this user may write the database and the files that SQLite needs beside it."""
    by_effective_user = os.access in os.supports_effective_ids
    return all(os.access(one, os.W_OK, effective_ids=by_effective_user) for one in (path, path.parent))


class ReadOnlySqliteStore(SqliteStore):
    """A SQLite store whose writing half is missing."""

    _mode = SHARED

    async def open(self) -> None:
        """Open it for reading.

        Raises:
            StoreError: there is none, or it cannot be read as it is; says what is needed.
            StoreFormatError: another program's database, or of another schema than this program's.
        """
        async with self._opening:
            self._mode = await anyio.to_thread.run_sync(_reading_mode, self.path)
            self._pool = ReadPool(self.path, self._mode)
            self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def backup(self, target: Path) -> None:
        await anyio.to_thread.run_sync(house.backup, self.path, target, self._mode)

    def _opened(self) -> _Parts:
        raise StoreError(f"{self.path} is open for reading only", path=str(self.path))


def _reading_mode(path: Path) -> str:
    """How the file can be read."""
    if not path.is_file():
        raise StoreError(f"there is no store at {path}", path=str(path))
    try:
        _check(path, SHARED)
    except sqlite3.Error as error:
        if primary_code(error) not in _NO_INDEX:
            raise translate(error, path) from error
    else:
        return SHARED
    log = path.with_name(f"{path.name}-wal")
    try:
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"{path} cannot be read: its newest changes are in {log.name}, and to read them this user needs write permission on "
                f"the directory {path.parent}; or copy both files into a directory of your own and look there",
                path=str(path),
            )
        _check(path, UNCHANGING)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    except sqlite3.Error as error:
        raise StoreError(
            f"{path} cannot be read ({error}): this user needs read permission on the file and its directory",
            path=str(path),
        ) from error
    return UNCHANGING


def _check(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(uri(path, mode), uri=True)) as connection:
        version = check(connection, path)
    if version < len(migrations()):
        raise StoreFormatError(
            f"{path} is no store of this version yet: it has the older schema {version}, and is migrated by whatever opens it with "
            f"write permission; to leave it as it is, look at a copy: sqlite3 {path} '.backup COPY.db'; "
            "durable list --store sqlite:///COPY.db",
            path=str(path),
        )
