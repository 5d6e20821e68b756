"""A worker that holds as much as it may: it waits for room without asking, and hears what comes for what it holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from durable import Context, RunCancelledError, step, workflow
from runtime import Client, Worker
from runtime.store.sqlite import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("cache_size", [1000, 0], ids=["kept", "evicted"])]

may_end: asyncio.Event
begun: list[str]


@step
async def held_here() -> str:
    begun.append("here")
    await may_end.wait()
    return "done"


@step(queue="elsewhere")
async def held_elsewhere() -> str:
    begun.append("elsewhere")
    await may_end.wait()
    return "done"


@workflow
async def holds(ctx: Context) -> str:
    return await ctx.step(held_here)


@workflow
async def routes(ctx: Context) -> str:
    return await ctx.step(held_elsewhere)


@pytest.fixture
def url(tmp_path: Path) -> str:
    global may_end, begun
    may_end, begun = asyncio.Event(), []
    return f"sqlite:///{tmp_path / 'durable.db'}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often stores were asked when something is due."""
    counted: Counter[str] = Counter()
    for name in ("next_ready_at", "next_task_at"):
        monkeypatch.setattr(SqliteStore, name, _counting(counted, name, getattr(SqliteStore, name)))
    return counted


def _counting(counted: Counter[str], name: str, method: Any) -> Any:
    async def count(*args: Any) -> Any:
        counted[name] += 1
        return await method(*args)

    return count


async def until(holds_now: Any) -> None:
    async with asyncio.timeout(30):
        while not holds_now():
            await asyncio.sleep(0.005)


async def moments(client: Client) -> None:
    """Let a while pass, in which a worker that asks again and again asks a thousand times."""
    for _ in range(200):
        await client.store.get_run("nobody")


def with_room_for_one(url: str, cache_size: int) -> Worker:
    worker = Worker(url, cache_size=cache_size, workflows=[holds])
    worker._options = replace(worker._options, max_runs=1)
    return worker


async def test_worker_without_room_for_runs_waits_until_there_is(url, cache_size, asked):
    async with with_room_for_one(url, cache_size), Client(url) as client:
        runs = [await client.start(holds) for _ in range(3)]
        await until(lambda: begun == ["here"])
        asked.clear()
        await moments(client)
        assert asked["next_ready_at"] < 40
        may_end.set()
        assert [await run.result(timeout=30) for run in runs] == ["done"] * 3


async def test_worker_without_room_for_runs_hears_what_comes_for_its_own(url, cache_size):
    """Semantics 22: else a worker full of steps that wait to be cancelled would wait for ever."""
    async with with_room_for_one(url, cache_size), Client(url) as client:
        run, other = await client.start(holds), await client.start(holds)
        await until(lambda: begun == ["here"])
        rows = [await one.row() for one in (run, other)]
        mine, waits = (run, other) if rows[0].owner is not None else (other, run)
        await mine.cancel()
        with pytest.raises(RunCancelledError):
            await mine.result(timeout=30)
        may_end.set()
        assert await waits.result(timeout=30) == "done"


async def test_worker_without_room_for_tasks_waits_until_there_is(url, cache_size, asked):
    serving = Worker(url, cache_size=cache_size, steps=[held_elsewhere], queues=["elsewhere"], max_concurrent_steps=1)
    async with Worker(url, cache_size=cache_size, workflows=[routes]), serving, Client(url) as client:
        runs = [await client.start(routes) for _ in range(3)]
        await until(lambda: begun == ["elsewhere"])
        asked.clear()
        await moments(client)
        assert asked["next_task_at"] < 40
        may_end.set()
        assert [await run.result(timeout=30) for run in runs] == ["done"] * 3
