"""Opening a file as a store: is it ours, and is it of our version?

A store carries ``APPLICATION_ID`` in its header and the number of its newest migration as ``user_version``.
Migrations are ``migrations/NNNN_name.sql``, numbered from 1 without gaps; all that are missing run in one
transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from durable.errors import StoreError, StoreFormatError, StoreUnavailableError
from runtime.store.sqlite.connection import connect_writer, is_busy, is_full, primary_code, translate

APPLICATION_ID: Final = 0x44757261
"""``Dura`` in ASCII."""

OLDEST_SQLITE: Final = (3, 38, 0)

_PAUSE_SECONDS: Final = 0.01


def migrations() -> list[str]:
    """The texts of all migrations, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


def statements(script: str) -> Iterator[str]:
    """The single statements of a script."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def prepare(path: Path, wait_seconds: float) -> None:
    """Create the file if there is none, check that it is a store, and migrate it to the current schema.

    Raises:
        StoreFormatError: another program's file, a newer schema, or damage; nothing was changed.
        StoreUnavailableError: locked for longer than ``wait_seconds``.
        StoreError: it cannot be read or written.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"SQLite {needed} or newer is needed; this Python has {sqlite3.sqlite_version}")
    _make_folder(path)
    end = monotonic() + wait_seconds
    while True:
        try:
            with closing(connect_writer(path, mode="rwc", wait_seconds=wait_seconds)) as connection:
                _check_and_migrate(connection, path)
            return
        except sqlite3.Error as error:
            # SQLite waits for no lock while two convert a file to a write-ahead log, or one removes the log.
            if not is_busy(error) or monotonic() >= end:
                raise _explain(error, path) from error
            sleep(_PAUSE_SECONDS)


def check(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a store's schema, 0 for an empty database.

    Raises:
        StoreFormatError: it is another program's, or newer than this program.
    """
    newest = len(migrations())
    application_id, version, is_empty = _header(connection)
    if application_id != APPLICATION_ID and not (is_empty and application_id == 0 and version == 0):
        raise StoreFormatError(
            f"{path} is the database of another program: give the store a file of its own", path=str(path)
        )
    if version > newest:
        raise StoreFormatError(
            f"{path} was written by a newer version of this program (schema {version}, known here up to {newest}): "
            "upgrade this installation",
            path=str(path),
        )
    return version


def _header(connection: sqlite3.Connection) -> tuple[int, int, bool]:
    """Whose the database is, of which version, and whether it is empty: at one moment, whoever creates it just now."""
    is_outermost = not connection.in_transaction
    if is_outermost:
        connection.execute("BEGIN")
    try:
        application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        is_empty = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
    finally:
        if is_outermost:
            connection.execute("ROLLBACK")
    return application_id, version, is_empty


def _make_folder(path: Path) -> None:
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot create the directory {folder}: {error.strerror}", path=str(path)) from error
    if path.is_dir():
        raise StoreError(f"{path} is a directory: name a file in it", path=str(path))


def _check_and_migrate(connection: sqlite3.Connection, path: Path) -> None:
    newest = len(migrations())
    version = check(connection, path)
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if version == newest and mode == "wal":
        _check_writable(connection)
        return
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"{path} cannot use a write-ahead log (journal mode stays {mode!r}): keep it on a local disk",
            path=str(path),
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = check(connection, path)
        for script in migrations()[version:]:
            for statement in statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check_writable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if not is_busy(error):  # whoever else is writing: here that is as good as writing
            raise


def _explain(error: sqlite3.Error, path: Path) -> StoreError:
    """What a failure to open amounts to: here an operator is watching, so little is worth waiting for."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreFormatError(f"{path} is not a database: give the store a file of its own", path=str(path))
    if is_busy(error):
        return StoreUnavailableError(
            f"{path} is locked by another program; close it or wait, and try again", path=str(path)
        )
    if is_full(path):
        return translate(error, path)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StoreError(
            f"{path} cannot be opened for writing ({error}): this user needs write permission on the file and on "
            f"its directory {path.absolute().parent}",
            path=str(path),
        )
    return translate(error, path)
