"""A store that fails every other call: everything that a worker asks of it is asked again, and nothing is done twice (semantics 46)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from durable import Context, Query, RetryPolicy, Signal, heartbeat, step, step_info, workflow
from durable.errors import StoreUnavailableError
from durable.history import EventKind, verify_chain
from runtime import Client, Worker
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

go = Signal("go", int)
progress = Query("progress", int)
AGAIN = RetryPolicy(max_attempts=2, initial_interval=0.01)
calls: Counter[str] = Counter()


async def _once_in_vain(name: str) -> int:
    calls[name] += 1
    heartbeat({"call": calls[name]})
    if step_info().attempt == 1:
        raise ConnectionError("again")
    return step_info().attempt


@step(retry=AGAIN)
async def local() -> int:
    return await _once_in_vain("local")


@step(retry=AGAIN, queue="elsewhere")
async def routed() -> int:
    return await _once_in_vain("routed")


@step(delivery="at_most_once", queue="elsewhere")
async def paid() -> int:
    calls["paid"] += 1
    return calls["paid"]


@step(transactional=True)
def booked() -> int:
    connection = step_info().connection
    connection.execute("CREATE TABLE IF NOT EXISTS booking (number INTEGER)")
    connection.execute("INSERT INTO booking VALUES (1)")
    calls["booked"] += 1
    return len(connection.execute("SELECT number FROM booking").fetchall())


@step(queue="elsewhere")
async def unwanted() -> None:
    calls["unwanted"] += 1
    await asyncio.Event().wait()


@workflow
async def part(ctx: Context, number: int) -> int:
    await ctx.sleep(0.01)
    return number


@workflow(messages=[go, progress])
async def busy(ctx: Context) -> list[Any]:
    done: list[Any] = []

    @ctx.on(progress)
    def _() -> int:
        return len(done)

    ctx.log.info("begins")
    done += await asyncio.gather(ctx.step(local), ctx.step(routed))
    giving_up = asyncio.ensure_future(ctx.step(unwanted))
    done.append(await ctx.wait_signal(go))
    giving_up.cancel()
    done.append(await ctx.step(booked))
    done.append(await ctx.step(paid))
    done.append(await ctx.child_workflow(part, 7))
    await ctx.sleep(0.01)
    return done


METHODS = [
    "adopt", "begin_task", "cancelled_tasks", "claim", "claim_tasks", "commit", "finish_task", "get_run_by_id", "heartbeat", "next_ready_at",
    "next_task_at", "pending_queries", "postpone_task", "read_attempts", "read_blobs", "read_heartbeat", "read_history",
    "read_inbox", "read_tasks", "reply", "send", "take_over", "transaction", "unstick", "write_logs",
]  # fmt: skip


class Flaky:
    """A store of which some methods fail the first, the third and every other time, before they do anything."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._calls: Counter[str] = Counter()
        self.failing: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in self.failing:
            return method
        return {"commit": self._commit, "transaction": self._transaction}.get(name) or self._wrapped(name, method)

    def _fails(self, name: str) -> bool:
        self._calls[name] += 1
        return self._calls[name] % 2 == 1

    def _wrapped(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._fails(name):
                raise StoreUnavailableError(f"{name} is not to be had")
            return await method(*args, **kwargs)

        return call

    def _commit(self, turns: Any, done: Callable[[Any], None]) -> None:
        if self._fails("commit"):
            done([StoreUnavailableError("commit is not to be had") for _ in turns])
        else:
            self._store.commit(turns, done)

    def _transaction(self, *args: Any, **kwargs: Any) -> Any:
        if self._fails("transaction"):
            raise StoreUnavailableError("transaction is not to be had")
        return self._store.transaction(*args, **kwargs)


@pytest.mark.parametrize(("failing", "cache_size"), [*((method, 0) for method in METHODS), ("all", 0), ("all", 1000)])
async def test_what_the_store_could_not_do_is_asked_again(tmp_path, failing, cache_size):
    """Semantics 46: whatever a worker asks of its store may be refused for a while; the run ends as without it."""
    calls.clear()
    path = tmp_path / "durable.db"
    stores = [Flaky(SqliteStore(path)) for _ in range(2)]
    workers = [
        Worker(stores[0], workflows=[busy, part], cache_size=cache_size, lease_seconds=1.0),  # type: ignore[arg-type]
        Worker(stores[1], steps=[routed, paid, unwanted], queues=["elsewhere"], lease_seconds=1.0),  # type: ignore[arg-type]
    ]
    for worker in workers:
        worker._options = replace(worker._options, retry_delay_us=5_000)
    async with workers[0], workers[1], Client(f"sqlite:///{path}") as client:
        for store in stores:
            store.failing = frozenset(METHODS if failing == "all" else [failing])
        run = await client.start(busy)
        await run.until_waiting("go", timeout=30)
        assert await run.query(progress, timeout=30) == 2
        await run.signal(go, 3)
        assert await run.result(timeout=30) == [2, 2, 3, 1, 1, 7]
        history = await run.history()
        for store in stores:
            store.failing = frozenset()
    for store in stores:
        await store._store.close()
    verify_chain(history)
    kinds = Counter(event.kind for event in history)
    assert (kinds[EventKind.STEP_COMPLETED], kinds[EventKind.STEP_FAILED]) == (4, 0)
    assert (calls["local"], calls["routed"], calls["booked"], calls["paid"]) == (2, 2, 1, 1)
