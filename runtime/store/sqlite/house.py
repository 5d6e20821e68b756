"""Keeping house: deleting what is over, and copying the file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from durable.errors import StoreError
from runtime.store.sqlite.connection import primary_code, translate, uri
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.statement import Bulk, load

_OF_SOURCE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
)
"""What goes wrong with what is copied; everything else does so with the copy."""

_HOUSE: Final = load("house")
_REFERENCED_BLOBS: Final = Bulk(_HOUSE["referenced_blobs"], 1)
_ORPHANS: Final = Bulk(_HOUSE["orphans"], 1)
_DELETE_QUERIES: Final = Bulk(_HOUSE["delete_queries"], 1)
_DELETE_BLOBS: Final = Bulk(_HOUSE["delete_blobs"], 1)
_OF_RUN: Final = tuple(
    Bulk(_HOUSE[f"delete_{table}"], 1)
    for table in (
        "events",
        "outcomes",
        "tasks",
        "attempts",
        "heartbeats",
        "questions",
        "attributes",
        "published",
        "streams",
        "logs",
        "blob_refs",
        "heads",
        "runs",
    )
)
_OF_WORKFLOW_ID: Final = tuple(Bulk(_HOUSE[f"delete_{table}"], 1) for table in ("message_ids", "updates", "inbox"))


def purge(session: Session, closed_before_us: int, limit: int) -> int:
    """``Store.purge``."""
    doomed = session.execute_flushed(_HOUSE["purgeable"], (closed_before_us, limit)).fetchall()
    if not doomed:
        return 0
    connection = session.connection
    keys = [key for key, _, _ in doomed]
    blobs = [blob for (blob,) in _REFERENCED_BLOBS.read(connection, keys)]
    for delete in _OF_RUN:
        delete.write(connection, keys)
    _DELETE_BLOBS.write(connection, blobs)
    _DELETE_QUERIES.write(connection, [run_id for _, run_id, _ in doomed])
    workflow_ids = list(dict.fromkeys(workflow_id for _, _, workflow_id in doomed))
    orphans = [workflow_id for (workflow_id,) in _ORPHANS.read(connection, workflow_ids)]
    for delete in _OF_WORKFLOW_ID:
        delete.write(connection, orphans)
    session.drop(keys)
    return len(doomed)


def backup(path: Path, target: Path, mode: str = "ro") -> None:
    """Copy the database, as of one moment, into a new file.

    Args:
        mode: in which the database is opened.

    Raises:
        StoreError: the target exists or cannot be written.
    """
    try:
        # Reserving the name first makes it certain that nobody's file is overwritten.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError as error:
        raise StoreError(f"{target} exists: name a file that does not", path=str(target)) from error
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}", path=str(target)) from error
    try:
        with closing(sqlite3.connect(uri(path, mode), uri=True)) as source, closing(sqlite3.connect(target)) as copy:
            _probe(source, path)
            source.backup(copy)
    except BaseException as error:
        for leftover in (target, target.with_name(f"{target.name}-journal")):
            leftover.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            blamed = path if primary_code(error) in _OF_SOURCE else target
            raise StoreError(f"cannot back up to {target}: {translate(error, blamed).message}") from error
        raise
    _sync_folder(target)


def _probe(source: sqlite3.Connection, path: Path) -> None:
    """Read from the database, so that what is wrong with it is not taken for what is wrong with the copy.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        source.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _sync_folder(target: Path) -> None:
    """Make the new name itself survive power loss."""
    folder = os.open(target.absolute().parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
