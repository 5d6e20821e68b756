"""A worker whose lease lapsed while it lived: it gives everything up, and joins again under another id (rule D3)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from durable import Context, step, workflow
from durable.errors import StoreError
from runtime import Client, Worker
from runtime.store.sqlite import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("cache_size", [1000, 0], ids=["kept", "evicted"])]

begun: list[str]
may_end: asyncio.Event


async def _begin(name: str) -> str:
    begun.append(name)
    if begun.count(name) == 1:
        await may_end.wait()
        return "of the first call"
    return "of the second call"


@step
async def held() -> str:
    return await _begin("held")


@step(queue="elsewhere")
async def routed() -> str:
    return await _begin("routed")


@workflow
async def waits_for_both(ctx: Context) -> list[str]:
    return list(await asyncio.gather(ctx.step(held), ctx.step(routed)))


async def until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_room", [True, False], ids=["at once", "when there is room for its sign of life"])
async def test_a_worker_whose_lease_lapsed_gives_up_its_runs_and_joins_again(
    tmp_path: Path, monkeypatch, cache_size, is_room
):
    """Semantics 44: what it has in flight is given up, for another may have it by now; afterwards it serves again."""
    global begun, may_end
    begun, may_end = [], asyncio.Event()
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    worker = Worker(
        url,
        workflows=[waits_for_both],
        steps=[routed],
        queues=["default", "elsewhere"],
        lease_seconds=0.4,
        cache_size=cache_size,
    )
    refused: list[int] = []
    join = SqliteStore.join

    async def no_room(store: SqliteStore, *args: Any) -> Any:
        if not refused:
            refused.append(1)
            raise StoreError("cannot write the worker's sign of life: No space left on device")
        return await join(store, *args)

    async with worker, Client(url) as client:
        before = worker.worker_id
        run = await client.start(waits_for_both)
        await until(lambda: sorted(begun) == ["held", "routed"])
        if not is_room:
            monkeypatch.setattr(SqliteStore, "join", no_room)
        engine = worker.engine
        assert engine is not None
        cast("Any", engine.lease)._has_lapsed = True  # as after a long stop of the process
        assert await run.result(timeout=30) == ["of the second call"] * 2
        assert worker.worker_id not in (before, "")
        assert sorted(begun) == ["held", "held", "routed", "routed"]
        assert bool(refused) is not is_room
        may_end.set()


@workflow
async def waits_for_one(ctx: Context) -> str:
    return await ctx.step(held)


async def test_a_run_that_is_lost_while_it_is_loaded_begins_no_step(tmp_path: Path, monkeypatch, cache_size) -> None:
    """Semantics 44: who has lost a run does nothing for it, however far it was in taking it up."""
    global begun, may_end
    begun, may_end = [], asyncio.Event()
    url = f"sqlite:///{tmp_path / 'durable.db'}"
    async with Client(url) as client:
        async with Worker(url, cache_size=cache_size, workflows=[waits_for_one], grace_seconds=0):
            run = await client.start(waits_for_one)
            await until(lambda: begun)
        read, is_reading, may_read = SqliteStore.read_attempts, asyncio.Event(), asyncio.Event()

        async def read_slowly(self: SqliteStore, *args: Any) -> Any:
            rows = await read(self, *args)
            if not is_reading.is_set():
                is_reading.set()
                await may_read.wait()
            return rows

        monkeypatch.setattr(SqliteStore, "read_attempts", read_slowly)
        async with Worker(url, cache_size=cache_size, workflows=[waits_for_one]) as worker:
            await is_reading.wait()
            engine = worker.engine
            assert engine is not None
            (lost,) = engine.held.values()
            engine.lose_all()
            may_read.set()
            engine.claims.look_after(lost.row.run_id)
            assert await run.result(timeout=30) == "of the second call"
            assert begun == ["held", "held"]
            assert not lost.executions
