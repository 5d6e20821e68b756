"""A SQLite store for those who only look: no byte of the database is written, whoever else is at work on it.

It neither creates nor migrates the file, takes no write lock, starts no thread that writes and copies no log back when it is
closed. SQLite itself keeps two files beside the database of a write-ahead log while somebody reads (``-wal`` and ``-shm``); they hold
nothing of ours, and the next worker removes them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import NoReturn

import anyio

from durable.errors import StoreError, StoreFormatError
from runtime.store.sqlite.connection import READER, translate, uri
from runtime.store.sqlite.migration import check, migrations
from runtime.store.sqlite.store import SqliteStore


class SqliteSnapshot(SqliteStore):
    """A store in a SQLite file, opened for reading; whatever would write is refused."""

    async def open(self) -> None:
        """Connect.

        Raises:
            StoreError: there is no such file, or it cannot be read.
            StoreFormatError: another program's database, or of another schema than this program's.
        """
        await anyio.to_thread.run_sync(self._check)
        self._pool.open()

    def _check(self) -> None:
        if not self.path.is_file():
            raise StoreError(f"there is no store at {self.path}", path=str(self.path))
        try:
            with closing(sqlite3.connect(uri(self.path, "ro"), uri=True, timeout=self._wait_seconds)) as connection:
                for setting in READER:
                    connection.execute(setting)
                version = check(connection, self.path)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error
        if version < len(migrations()):
            raise StoreFormatError(
                f"{self.path} has the older schema {version}, and is migrated by whatever opens it for writing; to leave it as "
                f"it is, look at a copy: sqlite3 {self.path} '.backup COPY.db'; durable list --store sqlite:///COPY.db",
                path=str(self.path),
            )

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()

    def _opened(self) -> NoReturn:
        raise StoreError(f"{self.path} is open for reading only")
