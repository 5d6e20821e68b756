"""A store that is opened for reading: nothing of it is written, and what would write is refused."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from durable.errors import StoreError, StoreFormatError
from runtime import Runtime
from runtime.store.row import NewRun, RunFilter
from runtime.store.sqlite import ReadOnlySqliteStore, SqliteStore
from runtime.store.url import open_store

pytestmark = pytest.mark.anyio


def new_run(workflow_id: str) -> NewRun:
    return NewRun(workflow_id, workflow_id, "flow", "default", "user:ann", 1, 1, workflow_id, workflow_id, "", None)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    store = SqliteStore(tmp_path / "a.db")
    await store.open()
    await store.start(new_run("one"))
    await store.close()
    return store.path


async def test_reading_leaves_every_byte_as_it_is(path: Path):
    before = sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
    store = open_store(f"sqlite:///{path}", read_only=True)
    await store.open()
    rows, _ = await store.list_runs(RunFilter(), 10)
    assert [row.workflow_id for row in rows] == ["one"]
    assert await store.read_histories(["one"]) == [[]]
    await store.close()
    assert (sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) == before


async def test_it_sees_what_others_commit_meanwhile(path: Path):
    snapshot, writer = ReadOnlySqliteStore(path), SqliteStore(path)
    await snapshot.open()
    await writer.open()
    await writer.start(new_run("two"))
    assert await snapshot.count_runs(RunFilter()) == 2
    await snapshot.close()
    await writer.start(new_run("three"))
    await writer.close()


async def test_writing_is_refused(path: Path):
    store = ReadOnlySqliteStore(path)
    await store.open()
    with pytest.raises(StoreError, match="is open for reading only"):
        await store.start(new_run("two"))
    with pytest.raises(StoreError, match="is open for reading only"):
        store.commit([], lambda _: None)
    await store.close()


async def test_missing_file_is_not_made(tmp_path: Path):
    with pytest.raises(StoreError, match="there is no store at"):
        await ReadOnlySqliteStore(tmp_path / "none" / "a.db").open()
    assert list(tmp_path.iterdir()) == []


async def test_what_is_no_store_of_ours_is_refused(tmp_path: Path, path: Path):
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(StoreFormatError, match="damaged"):
        await ReadOnlySqliteStore(tmp_path / "text").open()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFormatError, match="newer version"):
        await ReadOnlySqliteStore(path).open()


async def test_older_schema_is_left_as_it_is(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runtime.store.sqlite.readonly.migrations", lambda: ["", ""])
    with pytest.raises(StoreFormatError, match="older schema 1"):
        await ReadOnlySqliteStore(path).open()


async def test_memory_store_has_no_other_way_to_be_opened():
    async with Runtime(open_store("memory://", read_only=True)):
        pass
