"""What others do between two calls of a worker to its store."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from durable import Context, step, workflow
from durable.errors import StoreUnavailableError
from runtime import Client, Runtime, Worker
from runtime.store.sqlite import SqliteStore
from runtime.worker import engine
from runtime.worker.loading import Loader

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("cache_size", [1000, 0], ids=["kept", "evicted"])]

begun: asyncio.Event
may_end: asyncio.Event
calls: list[str]


@pytest.fixture(autouse=True)
def _anew() -> None:
    global begun, may_end, calls
    begun, may_end, calls = asyncio.Event(), asyncio.Event(), []


@step
async def waits_first() -> str:
    calls.append("waits_first")
    if len(calls) == 1:
        begun.set()
        await may_end.wait()
    return "done"


@workflow
async def one_step(ctx: Context) -> str:
    return await ctx.step(waits_first)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'durable.db'}"


@pytest.mark.parametrize("method", ["read_attempts", "read_tasks", "read_heartbeat", "read_inbox"])
async def test_open_steps_are_taken_up_also_where_the_store_was_away_meanwhile(url, cache_size, monkeypatch, method):
    """Semantics 46: what could not be read in the middle of taking a run up is read again, and its steps go on."""
    async with Client(url) as client:
        async with Worker(url, cache_size=cache_size, workflows=[one_step], grace_seconds=0):
            run = await client.start(one_step)
            await begun.wait()
        read, refused = getattr(SqliteStore, method), []

        async def refuse_once(self: SqliteStore, *args: Any) -> Any:
            if not refused:
                refused.append(args)
                raise StoreUnavailableError("gone for a moment")
            return await read(self, *args)

        monkeypatch.setattr(SqliteStore, method, refuse_once)
        async with Worker(url, cache_size=cache_size, workflows=[one_step]):
            assert await run.result(timeout=30) == "done"
        assert refused


async def test_a_runtime_that_serves_only_its_own_goes_on_with_them_after_its_lease_lapsed(url, cache_size):
    """Semantics 44: as after a laptop has slept in the middle of ``durable run``."""
    async with Runtime(url, cache_size=cache_size, workflows=[one_step], recover=False) as rt:
        run = await rt.start(one_step)
        await begun.wait()
        engine = rt.worker.engine
        assert engine is not None
        cast("Any", engine.lease)._has_lapsed = True
        assert await run.result(timeout=30) == "done"


async def test_a_claim_that_comes_back_after_the_lease_lapsed_is_worth_nothing(url, cache_size, monkeypatch):
    """Semantics 44: the run went back with the lease, and its step runs where it is now and nowhere else."""
    async with Client(url) as client:
        async with Worker(url, cache_size=cache_size, workflows=[one_step], grace_seconds=0):
            run = await client.start(one_step)
            await begun.wait()
        claim, join = SqliteStore.claim, SqliteStore.join
        has_claimed, has_joined, may_know, has_looked = (asyncio.Event() for _ in range(4))

        async def answer_late(self: SqliteStore, *args: Any) -> Any:
            claimed = await claim(self, *args)
            if self is not late.store:
                return claimed
            if not has_claimed.is_set():
                assert claimed
                has_claimed.set()
                await may_know.wait()
            else:
                has_looked.set()
            return claimed

        async def tell(self: SqliteStore, *args: Any) -> Any:
            lease = await join(self, *args)
            has_joined.set()
            return lease

        monkeypatch.setattr(SqliteStore, "claim", answer_late)
        late = Worker(url, cache_size=cache_size, workflows=[one_step])
        async with late:
            await has_claimed.wait()
            engine = late.engine
            assert engine is not None
            monkeypatch.setattr(SqliteStore, "join", tell)
            cast("Any", engine.lease)._has_lapsed = True
            await has_joined.wait()
            begun.clear()
            calls.clear()
            async with Worker(url, cache_size=cache_size, workflows=[one_step]):
                await begun.wait()
                may_know.set()
                await has_looked.wait()
                assert not engine.held
                may_end.set()
                assert await run.result(timeout=30) == "done"
        assert calls == ["waits_first"]


@step
async def undone() -> None:
    calls.append("undone")


@workflow
async def cleans_up(ctx: Context) -> str:
    try:
        return await ctx.step(waits_first)
    finally:
        await ctx.step(undone)


@pytest.mark.parametrize("how", ["lost", "stopped"])
async def test_a_run_that_is_given_up_while_it_is_replayed_is_evicted(url, cache_size, monkeypatch, how):
    """Rule L7: its coroutines are closed by the kernel, not by the garbage collector in the middle of something else."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    replay, has_replayed = Loader.replay, asyncio.Event()

    async def replay_and(self: Loader, *args: Any) -> None:
        await replay(self, *args)
        if how == "lost":
            self._engine.lose_all()
        has_replayed.set()
        if how == "stopped":
            await asyncio.Event().wait()

    async with Client(url) as client:
        async with Worker(url, cache_size=cache_size, workflows=[cleans_up], grace_seconds=0):
            run = await client.start(cleans_up)
            await begun.wait()
        monkeypatch.setattr(Loader, "replay", replay_and)
        monkeypatch.setattr(engine, "SETTLE_SECONDS", 0)
        async with Worker(url, cache_size=cache_size, workflows=[cleans_up], grace_seconds=0):
            await has_replayed.wait()
        gc.collect()
        assert unraisable == []
        monkeypatch.setattr(Loader, "replay", replay)
        async with Worker(url, cache_size=cache_size, workflows=[cleans_up]):
            assert await run.result(timeout=30) == "done"
