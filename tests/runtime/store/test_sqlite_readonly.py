"""A store that may be looked at and not written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conformance.build import begin_waiting, message, new_run

from durable.errors import StoreError, StoreFormatError
from runtime.store.row import RunFilter
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite.readonly import ReadOnlySqliteStore, can_write

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that any user can reach and only its owner can write; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Nobody in particular, because permissions mean nothing to root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def protect(folder: Path) -> None:
    """Take away the permission to write, from the owner as well."""
    for path in folder.iterdir():
        if path.is_file():
            path.chmod(0o444)
    folder.chmod(0o555)


async def written(path: Path) -> SqliteStore:
    """A store with one run, open."""
    store = SqliteStore(path)
    await store.open()
    await begin_waiting(store, "w")
    return store


async def test_store_that_cannot_be_written_is_read_and_copied(folder: Path) -> None:
    path = folder / "durable.db"
    await (await written(path)).close()
    assert can_write(path)
    copies = folder / "copies"
    copies.mkdir()
    copies.chmod(0o777)
    protect(folder)
    try:
        with ordinary_user():
            assert not can_write(path)
            store = ReadOnlySqliteStore(path)
            await store.open()
            row = await store.get_run("w")
            assert row is not None
            assert row.status == "waiting"
            assert [one.run_id for one in (await store.list_runs(RunFilter(), 10))[0]] == [row.run_id]
            assert await store.workers() == []
            await store.backup(copies / "copy.db")
            for write in (store.send(message("w")), store.start(new_run("b")), store.purge(0, 1)):
                with pytest.raises(StoreError, match="open for reading only"):
                    await write
            await store.close()
    finally:
        folder.chmod(0o755)
    with closing(sqlite3.connect(copies / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM durable_runs").fetchone() == (1,)


async def test_what_another_user_writes_meanwhile_is_seen(folder: Path) -> None:
    path = folder / "durable.db"
    writer = await written(path)
    with ordinary_user():
        store = ReadOnlySqliteStore(path)
        await store.open()
        assert await store.get_run("w") is not None
    await writer.start(new_run("later"))
    with ordinary_user():
        assert await store.get_run("later") is not None
        await store.close()
    await writer.close()


async def test_log_that_cannot_be_read_with_the_store_is_not_left_out(folder: Path) -> None:
    path, copied = folder / "durable.db", folder / "copied"
    writer = await written(path)
    copied.mkdir()
    for name in ("durable.db", "durable.db-wal"):
        shutil.copy(folder / name, copied / name)
    await writer.close()
    protect(copied)
    try:
        with (
            ordinary_user(),
            pytest.raises(StoreError, match=r"newest changes are in durable.db-wal.*write permission"),
        ):
            await ReadOnlySqliteStore(copied / "durable.db").open()
    finally:
        copied.chmod(0o755)


async def test_file_that_is_no_store_is_refused(folder: Path) -> None:
    path = folder / "durable.db"
    path.touch()
    with pytest.raises(StoreError, match="no store of this version yet"):
        await ReadOnlySqliteStore(path).open()
    path.write_text("text " * 1000)
    with pytest.raises(StoreFormatError, match="damaged"):
        await ReadOnlySqliteStore(path).open()


async def test_store_that_cannot_be_read_says_what_is_needed(folder: Path) -> None:
    path = folder / "durable.db"
    await (await written(path)).close()
    path.chmod(0)
    with ordinary_user(), pytest.raises(StoreError, match="needs read permission"):
        await ReadOnlySqliteStore(path).open()
