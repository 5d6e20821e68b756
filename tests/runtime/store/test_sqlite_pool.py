"""Readers share their hops, and those that are cancelled leave nothing behind."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from conformance.build import begin, new_run

from durable.errors import StoreFormatError, StoreUnavailableError
from runtime.store.sqlite import SqliteStore, pool


def test_read_that_is_cancelled_while_it_connects_leaves_no_thread_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    path = tmp_path / "durable.db"

    async def read(turns_of_the_loop: int) -> None:
        store = SqliteStore(path)
        await store.open()
        reads = [asyncio.ensure_future(store.get_run("x")) for _ in range(5)]
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        for one in reads:
            one.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        await store.close()

    before = set(threading.enumerate())
    for turns in range(24):
        asyncio.run(read(turns % 8))
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert failed == []


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one with every hop to a reader's thread."""
    made: list[object] = []
    hop = pool._hop

    def count(connection: object, work: object) -> object:
        made.append(work)
        return hop(connection, work)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "_hop", count)
    return made


@pytest.mark.anyio
async def test_reads_that_are_asked_for_together_share_a_hop(sqlite: SqliteStore, hops: list[object]) -> None:
    started = [await sqlite.start(new_run(f"w{number}")) for number in range(50)]
    hops.clear()
    rows = await asyncio.gather(
        *(sqlite.get_run_by_id(start.run.run_id) for start in started),
        *(sqlite.get_run(f"w{number}") for number in range(51)),
        *(sqlite.read_inbox(start.run.run_id) for start in started),
    )
    assert len(hops) == 1
    assert rows[:50] == rows[50:100] == [start.run for start in started]
    assert rows[100] is None
    assert [row.run_id for inbox in rows[101:] for row in inbox] == [start.run.run_id for start in started]


@pytest.mark.anyio
async def test_read_that_cannot_be_made_does_not_take_others_with_it(sqlite: SqliteStore) -> None:
    await begin(sqlite, "w")
    found = await asyncio.gather(
        sqlite.get_run("w"),
        sqlite.read_inbox("\ud800"),
        sqlite.get_run("\ud800"),
        sqlite.read_inbox("nobody"),
        return_exceptions=True,
    )
    assert getattr(found[0], "workflow_id", None) == "w"
    assert isinstance(found[1], UnicodeEncodeError)
    assert found[2:] == [None, []]


@pytest.mark.anyio
async def test_reads_fail_together_when_the_file_cannot_be_read(sqlite: SqliteStore) -> None:
    sqlite.path.unlink()
    found = await asyncio.gather(sqlite.get_run("w"), sqlite.read_inbox("w"), return_exceptions=True)
    assert [type(error) for error in found] == [StoreUnavailableError] * 2


@pytest.mark.anyio
async def test_reads_are_made_though_the_task_that_makes_them_is_cancelled(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may cancel all tasks of its loop: who cleans up then must not wait for ever."""
    await begin(sqlite, "w")
    hop, is_hopping = pool._hop, asyncio.Event()

    async def hang(connection: object, work: object) -> object:
        is_hopping.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(pool, "_hop", hang)
    first = asyncio.ensure_future(sqlite.get_run("w"))
    await is_hopping.wait()
    second = asyncio.ensure_future(sqlite.read_inbox("nobody"))
    await asyncio.sleep(0)
    assert sqlite._pool._answering is not None
    sqlite._pool._answering.cancel()
    monkeypatch.setattr(pool, "_hop", hop)
    async with asyncio.timeout(30):
        row, inbox = await asyncio.gather(first, second)
    assert (getattr(row, "workflow_id", None), inbox) == ("w", [])


@pytest.mark.anyio
async def test_connection_that_cannot_be_set_up_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(b"garbage" * 1000)
    readers = pool.ReadPool(path)
    readers.open()
    before = set(threading.enumerate())
    for _ in range(5):
        with pytest.raises(StoreFormatError):
            await readers.rows("SELECT 1 FROM sqlite_master")
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
        assert not thread.is_alive()
    await readers.close()
