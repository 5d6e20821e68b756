"""A worker that cannot begin, or whose end is cut short or meets a store that is away, leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from durable import Context, step, workflow
from durable.errors import StoreUnavailableError
from runtime import Client, Runtime, Worker
from runtime.store.sqlite import SqliteStore
from runtime.store.sqlite.lease import folder_of, read_signs

pytestmark = pytest.mark.anyio

begun: asyncio.Event


@step
async def endless() -> None:
    begun.set()
    await asyncio.Event().wait()


@workflow
async def never_ends(ctx: Context) -> None:
    await ctx.step(endless)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    global begun
    begun = asyncio.Event()
    return tmp_path / "durable.db"


async def refuse(*_: Any) -> Any:
    raise StoreUnavailableError("gone for a moment")


@pytest.mark.parametrize("turns", range(1, 5))
async def test_stop_that_is_cancelled_ends_the_grace_period_and_gives_runs_back(path: Path, turns: int) -> None:
    """Semantics 33: a worker that half stopped would keep its runs from all others for as long as the process lives."""
    url = f"sqlite:///{path}"
    async with Client(url) as client:
        worker = Worker(url, workflows=[never_ends], grace_seconds=1000)
        await worker.start()
        run = await client.start(never_ends)
        await begun.wait()
        stopping = asyncio.ensure_future(worker.stop())
        for _ in range(turns):
            await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        row = await run.row()
        assert (row.owner, row.status.is_closed) == (None, False)
        assert read_signs(folder_of(path)) == []
        await worker.stop()
        await run.terminate()


@pytest.mark.parametrize("make", [Worker, Runtime])
@pytest.mark.parametrize("method", ["join", "publish_definitions", "take_over", "unstick"])
async def test_worker_that_cannot_begin_leaves_nothing(path: Path, monkeypatch, make: Any, method: str) -> None:
    """Semantics 46: others would believe it alive; and it may be tried again."""
    url = f"sqlite:///{path}"
    monkeypatch.setattr(SqliteStore, method, refuse)
    served = make(url, workflows=[never_ends], grace_seconds=0)
    with pytest.raises(StoreUnavailableError):
        async with served:
            pass
    assert read_signs(folder_of(path)) == []
    store = getattr(served, "worker", served).store
    assert store._parts is None
    monkeypatch.undo()
    async with served, Client(url) as client:
        run = await client.start(never_ends)
        await begun.wait()
        await run.terminate()


async def test_worker_that_cannot_give_back_its_runs_still_stops(path: Path, monkeypatch) -> None:
    """Semantics 46: others take them over, because its sign of life is gone."""
    url = f"sqlite:///{path}"
    async with Client(url) as client:
        worker = Worker(url, workflows=[never_ends], grace_seconds=0)
        async with worker:
            run = await client.start(never_ends)
            await begun.wait()
            lease: Any = worker.engine.lease if worker.engine is not None else None
            monkeypatch.setattr(lease, "_give_back", refuse)
        assert worker.store._parts is None  # type: ignore[attr-defined]
        assert read_signs(folder_of(path)) == []
        assert await client.store.take_over(client.clock.now_us()) == 1
        await run.terminate()
