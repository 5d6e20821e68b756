"""Readers that are cancelled leave nothing behind."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from runtime.store.sqlite import SqliteStore


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
