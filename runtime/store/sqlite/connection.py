"""Connections to the file: their settings, and what SQLite's errors mean to the people who must act.

Nothing here, nor anywhere in this package, opens the database file, its ``-wal`` or its ``-shm`` by other means
than SQLite: closing such a descriptor would silently drop the locks that SQLite holds for this process (POSIX
advisory locks belong to the process, not the descriptor).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final, TypeVar

from durable.errors import StoreError, StoreFormatError, StoreUnavailableError

C = TypeVar("C", bound=sqlite3.Connection)

_WORTH_WAITING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_INTERRUPT,
    }
)
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_HARMLESS: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT}
)

_ROOM_BYTES: Final = 64 * 1024
"""The index of a write-ahead log is made in pieces of 32 KiB."""

_COMMON: Final = (
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = OFF",
    "PRAGMA journal_size_limit = 67108864",
)
_WRITER: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA cache_size = -32768",
    *_COMMON,
)
_CHECKPOINTER: Final = (
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA cache_size = -64",
)
READER: Final = ("PRAGMA query_only = ON", "PRAGMA cache_size = -8192", *_COMMON)


def identify(path: Path) -> tuple[int, int]:
    """What tells the file that is at the path now from another one that was there before.

    Raises:
        StoreUnavailableError: there is none.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - called with every batch
    except OSError as error:
        raise StoreUnavailableError(
            f"{path} is gone ({error.strerror}): put it back, or mount its disk", path=str(path)
        ) from error
    return found.st_dev, found.st_ino


def uri(path: Path, mode: str) -> str:
    """The URI by which SQLite opens a file in a mode: ``ro``, ``rw`` or ``rwc``, with what else is to be said of it."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def connect_writer(path: Path, *, mode: str = "rw", wait_seconds: float = 0.0) -> sqlite3.Connection:
    """A connection that writes, with every commit on disk before it returns."""
    return connect_as(sqlite3.Connection, path, mode=mode, wait_seconds=wait_seconds)


def connect_as(factory: type[C], path: Path, *, mode: str = "rw", wait_seconds: float = 0.0) -> C:
    """A writing connection of a class of its own."""
    connection = sqlite3.connect(
        uri(path, mode),
        uri=True,
        timeout=wait_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        factory=factory,
    )
    return _configured(connection, _WRITER)


def connect_checkpointer(path: Path) -> sqlite3.Connection:
    """A connection that only checkpoints."""
    connection = sqlite3.connect(uri(path, "rw"), uri=True, timeout=0.0, isolation_level=None, check_same_thread=False)
    return _configured(connection, _CHECKPOINTER)


def _configured(connection: C, settings: tuple[str, ...]) -> C:
    try:
        for setting in settings:
            connection.execute(setting).close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; SQLITE_ERROR where Python's module raised the error itself."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds the lock that was needed."""
    return primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_harmless(error: Exception) -> bool:
    """Whether a connection on which this was raised is as good as before, once rolled back."""
    return not isinstance(error, sqlite3.Error) or primary_code(error) in _HARMLESS


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The error of ours that an error of SQLite amounts to while the store is in use."""
    code = primary_code(error)
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    if code in _DAMAGED:
        return StoreFormatError(
            f"{path} is damaged ({name}: {error}): stop all workers, and restore a backup or run "
            f"`sqlite3 {path} .recover`",
            path=str(path),
        )
    if code in _WORTH_WAITING:
        return StoreUnavailableError(
            f"{path} cannot be used now ({name}: {error}); {_advice(code, path)}", path=str(path)
        )
    return StoreError(f"{path}: {name}: {error}", path=str(path))


def _advice(code: int, path: Path) -> str:
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds its write lock"
    if code == sqlite3.SQLITE_FULL or is_full(path):
        return "free space on its disk"
    return "check that its disk has room and is mounted, healthy and writable"


def is_full(path: Path) -> bool:
    """Whether the disk has no room for what SQLite needs beside the file: it has many names for that."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < _ROOM_BYTES
