"""A history that is not whole: found by whoever reads it to its end."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from durable import Context, Query, Signal, step, workflow
from durable.errors import HistoryCorruptedError, QueryFailedError
from durable.handle import RunStatus
from runtime import Client, Runtime

pytestmark = pytest.mark.anyio

go = Signal("go", int)
how_far = Query("how_far", str)


@step
async def double(number: int) -> int:
    return 2 * number


@workflow
async def waits(ctx: Context) -> int:
    @ctx.on(how_far)
    def _() -> str:
        return "waiting"

    number = await ctx.wait_signal(go)
    return await ctx.step(double, number)


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'durable.db'}"


def delete(url: str, where: str) -> None:
    import sqlite3

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(f"DELETE FROM durable_events WHERE {where}").rowcount == 1


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("seq = 5", r"ends with event 4, but its row says 5: event 5 is missing"),
        ("seq = 3", r"event 3 is missing in the history of 'x'"),
    ],
)
async def test_lost_event_of_a_run_that_ended(url, where, what):
    async with Runtime(url, workflows=[waits]) as rt:
        run = await rt.start(waits.options(id="x"))
        await run.signal(go, 1)
        assert await run.result(timeout=30) == 2
        assert len(await run.history()) == 5
    delete(url, where)
    async with Client(url) as client:
        with pytest.raises(HistoryCorruptedError, match=what):
            await client.get("x").history()


async def test_result_whose_event_is_lost(url):
    async with Runtime(url, workflows=[waits]) as rt:
        run = await rt.start(waits.options(id="x"))
        await run.signal(go, 1)
        await run.result(timeout=30)
    delete(url, "kind = 'RunCompleted'")
    async with Client(url) as client:
        with pytest.raises(HistoryCorruptedError, match="event 5 is missing"):
            await client.get("x").result(timeout=30)
    async with Runtime(url, workflows=[waits]) as rt:
        with pytest.raises(QueryFailedError, match="event 5 is missing"):
            await rt.get("x").query(how_far)


async def test_run_that_lost_its_last_event_is_stuck_and_cannot_be_ended_or_retried(url):
    async with Runtime(url, workflows=[waits], cache_size=0) as rt:
        run = await rt.start(waits.options(id="x"))
        await run.until_waiting("go", timeout=30)
    delete(url, "seq = 1")
    async with Runtime(url, workflows=[waits]) as rt:
        run = rt.get("x")
        await run.signal(go, 1)

        async def look():
            row = await run.row()
            return row if row.status is RunStatus.STUCK else None

        async with asyncio.timeout(30):
            row = await rt.watch.until(look, lambda change: True)
        assert "[DUR5001]" in row.reason
        assert "ends with event 0, but its row says 1: event 1 is missing" in row.reason
        with pytest.raises(HistoryCorruptedError):
            await run.terminate()
