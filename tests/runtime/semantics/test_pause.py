"""Rule H8: what a pause that was acknowledged holds back, and what ends it."""

from __future__ import annotations

import asyncio

import pytest

from durable import Context, Signal, step, workflow
from durable.errors import RunCancelledError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio

go = Signal("go", int)
done: list[str] = []
undoing: asyncio.Event
may_undo: asyncio.Event


@pytest.fixture(autouse=True)
async def _fresh() -> None:
    global undoing, may_undo
    undoing, may_undo = asyncio.Event(), asyncio.Event()
    done.clear()


async def drop(result: str) -> None:
    undoing.set()
    await may_undo.wait()
    done.append(f"dropped {result}")


@step(compensate=drop)
async def create(name: str) -> str:
    done.append(name)
    return name


@step
async def note(name: str) -> None:
    done.append(name)


@workflow
async def flow(ctx: Context) -> int:
    await ctx.step(create, "a")
    await ctx.step(create, "b")
    number = await ctx.wait_signal(go)
    await ctx.step(note, "c")
    return number


@workflow
async def naps(ctx: Context) -> None:
    await ctx.sleep(60)
    await ctx.step(note, "woke")


async def until_paused(run) -> None:
    """Wait until a worker has taken up the pause."""

    async def look():
        return True if (await run.row()).status is RunStatus.PAUSED else None

    async with asyncio.timeout(30):
        await run._client.watch.until(look, lambda change: True)


def kinds(history) -> list[str]:
    return [event.kind for event in history if event.kind in (EventKind.RUN_PAUSED, EventKind.RUN_RESUMED)]


async def test_pause_before_the_first_turn_keeps_the_run_from_beginning(open_runtime, open_client):
    async with open_client() as client:
        run = await client.start(flow.options(id="x"))
        await run.signal(go, 7)
        await run.pause()
    async with open_runtime(flow) as rt:
        run = rt.get("x")
        await until_paused(run)
        await run.pause()
        assert await run.history() == []
        assert (await run.describe()).unread == ["signal 'go'"]
        assert done == []
        await run.resume()
        assert await run.result(timeout=30) == 7
        assert kinds(await run.history()) == ["RunPaused", "RunResumed"]
    assert done == ["a", "b", "c"]


async def test_message_that_came_before_the_pause_is_held_with_it(open_runtime, open_client):
    async with open_runtime(flow) as rt:
        await rt.start(flow.options(id="x"))
        await rt.get("x").until_waiting("go", timeout=30)
    async with open_client() as client:
        await client.get("x").signal(go, 1)
        await client.get("x").pause()
    async with open_runtime(flow) as rt:
        await until_paused(rt.get("x"))
        assert (await rt.get("x").describe()).unread == ["signal 'go'"]
        assert done == ["a", "b"]
        await rt.get("x").resume()
        assert await rt.get("x").result(timeout=30) == 1


async def test_timer_that_is_due_beside_a_pause_is_held(open_runtime, open_client, clock):
    async with open_runtime(naps, clock=clock) as rt:
        await rt.start(naps.options(id="x"))
        await rt.get("x").until_waiting(timeout=30)
    async with open_client(clock=clock) as client:
        await client.get("x").pause()
    clock.advance(3600)
    async with open_runtime(naps, clock=clock) as rt:
        run = rt.get("x")
        await until_paused(run)
        assert [event.kind for event in await run.history()][-1] == EventKind.RUN_PAUSED
        assert done == []
        await run.resume()
        await run.result(timeout=30)
    assert done == ["woke"]


async def test_second_pause_is_no_second_event(open_runtime):
    async with open_runtime(flow) as rt:
        run = await rt.start(flow.options(id="x"))
        await run.until_waiting("go", timeout=30)
        await run.pause()
        await until_paused(run)
        await run.pause()
        await run.signal(go, 2)
        await run.resume()
        assert await run.result(timeout=30) == 2
        assert kinds(await run.history()) == ["RunPaused", "RunResumed"]


async def test_cancellation_of_a_paused_run_rolls_it_back(open_runtime):
    may_undo.set()
    async with open_runtime(flow) as rt:
        run = await rt.start(flow.options(id="x"))
        await run.until_waiting("go", timeout=30)
        await run.pause()
        await until_paused(run)
        await run.cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result(timeout=30)
        assert (await run.row()).rollback is RollbackStatus.COMPLETED
        assert kinds(await run.history()) == ["RunPaused", "RunResumed"]
    assert done == ["a", "b", "dropped b", "dropped a"]


async def test_cancellation_of_a_run_that_was_paused_before_it_began(open_runtime, open_client):
    async with open_client() as client:
        run = await client.start(flow.options(id="x"))
        await run.pause()
    may_undo.set()
    async with open_runtime(flow) as rt:
        await until_paused(rt.get("x"))
        await rt.get("x").cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await rt.get("x").result(timeout=30)


async def test_pause_in_the_middle_of_a_rollback_holds_the_next_compensation(open_runtime):
    async with open_runtime(flow) as rt:
        run = await rt.start(flow.options(id="x"))
        await run.until_waiting("go", timeout=30)
        await run.cancel()
        await undoing.wait()
        await run.pause()
        await until_paused(run)
        may_undo.set()
    assert done == ["a", "b", "dropped b"]
    async with open_runtime(flow) as rt:
        assert await rt.get("x").status() is RunStatus.PAUSED
        await rt.get("x").resume()
        with pytest.raises(RunCancelledError):
            await rt.get("x").result(timeout=30)
        assert (await rt.get("x").row()).rollback is RollbackStatus.COMPLETED
    assert done == ["a", "b", "dropped b", "dropped a"]


async def test_retry_of_a_run_that_was_paused_runs(open_runtime):
    async with open_runtime(flow) as rt:
        run = await rt.start(flow.options(id="x"))
        await run.until_waiting("go", timeout=30)
        await run.pause()
        await until_paused(run)
        await run.terminate("by mistake")
        again = await run.retry()
        await again.signal(go, 3)
        assert await again.result(timeout=30) == 3
    assert done == ["a", "b", "c"]


async def test_retry_drops_the_pause_that_came_beside_the_end(open_runtime, open_client, clock):
    async with open_runtime(naps, clock=clock) as rt:
        await rt.start(naps.options(id="x"))
        await rt.get("x").until_waiting(timeout=30)
    async with open_client(clock=clock) as client:
        await client.get("x").cancel()
        await client.get("x").pause()
    async with open_runtime(naps, clock=clock) as rt:
        with pytest.raises(RunCancelledError):
            await rt.get("x").result(timeout=30)
        again = await rt.get("x").retry()
        await again.until_waiting(timeout=30)
        clock.advance(3600)
        await again.result(timeout=30)
    assert done == ["woke"]
