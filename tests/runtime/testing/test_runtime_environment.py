"""``durable_runtime``: a real worker and client in virtual time."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta

import pytest

from durable import (
    CompleteLater,
    Context,
    RetryPolicy,
    RunFailedError,
    Signal,
    StepInDoubtError,
    StepTimeoutError,
    heartbeat,
    step,
    step_info,
    workflow,
)
from durable.errors import DefinitionError, RunClosedError, RunStuckError
from durable.testing import IdleError
from runtime.testing import RuntimeEnvironment

go = Signal("go", int)
started = asyncio.Event()
calls: list[int] = []


@step(retry=RetryPolicy(max_attempts=60, initial_interval=60, backoff=1.0))
async def flaky() -> int:
    if step_info().attempt < 60:
        raise ConnectionError("down")
    return step_info().attempt


@step
def compute(number: int) -> int:
    return number * 2


@step(timeout=30, retry=RetryPolicy(max_attempts=2, initial_interval=1))
async def slow() -> None:
    started.set()
    await asyncio.Event().wait()


@step(heartbeat_timeout=10, retry=RetryPolicy(max_attempts=1))
async def silent() -> None:
    started.set()
    heartbeat("here")
    await asyncio.Event().wait()


@step(delivery="at_most_once")
async def pay() -> str:
    started.set()
    await asyncio.Event().wait()
    return "paid"


@step
async def once_lost() -> int:
    calls.append(1)
    if len(calls) == 1:
        started.set()
        await asyncio.Event().wait()
    return len(calls)


@step(transactional=True)
def book(name: str) -> int:
    connection = step_info().connection
    connection.execute("CREATE TABLE IF NOT EXISTS bookings (name TEXT)")
    connection.execute("INSERT INTO bookings VALUES (?)", (name,))
    return connection.execute("SELECT count(*) FROM bookings").fetchone()[0]


@step(queue="gpu", retry=RetryPolicy(max_attempts=3, initial_interval=60))
async def elsewhere() -> int:
    if step_info().attempt == 1:
        raise ConnectionError("busy")
    return step_info().attempt


@step(timeout=timedelta(days=1), retry=RetryPolicy(max_attempts=1))
async def by_hand() -> str:
    raise CompleteLater


@workflow
async def month(ctx: Context) -> list[int]:
    await ctx.sleep(timedelta(days=30))
    return [await ctx.step(flaky), await ctx.step(compute, 4)]


@workflow
async def runs(ctx: Context, name: str) -> object:
    return await ctx.step({one.name: one for one in (slow, silent, pay, once_lost, elsewhere, by_hand)}[name])


@workflow
async def books(ctx: Context) -> list[int]:
    return [await ctx.step(book, "a"), await ctx.step(book, "b")]


@workflow
async def waits(ctx: Context) -> int:
    return await ctx.wait_signal(go, timeout=3600)


@workflow
async def for_ever(ctx: Context) -> int:
    return await ctx.wait_signal(go)


@workflow
async def reads_the_clock(ctx: Context) -> None:
    await ctx.sleep(1)
    time.time()  # durable: ignore[DURL101]


@workflow
async def repeats(ctx: Context, left: int) -> str:
    await ctx.sleep(3600)
    if left:
        ctx.continue_as_new(left - 1)
    return "done"


@pytest.fixture(autouse=True)
def forget() -> None:
    global started
    started = asyncio.Event()
    calls.clear()


async def test_time_is_skipped_over_timers_and_retries(durable_runtime):
    begin = durable_runtime.now()
    run = await durable_runtime.start(month)
    assert await durable_runtime.finish(run) == [60, 8]
    assert durable_runtime.now() - begin >= timedelta(days=30, minutes=59)


async def test_a_run_that_continues_is_followed(durable_runtime):
    assert await durable_runtime.finish(await durable_runtime.start(repeats, 3)) == "done"


async def test_until_waiting_leaves_time_alone_where_the_run_waits(durable_runtime):
    run = await durable_runtime.start(waits)
    begin = durable_runtime.now()
    await durable_runtime.until_waiting(run, "go")
    assert durable_runtime.now() == begin
    await run.signal(go, 7)
    assert await durable_runtime.finish(run) == 7
    with pytest.raises(RunClosedError):
        await durable_runtime.until_waiting(run, "go")


async def test_advance_reaches_timers_on_the_way(durable_runtime):
    run = await durable_runtime.start(waits)
    await durable_runtime.advance(3599)
    assert await run.status() == "waiting"
    await durable_runtime.advance_to(durable_runtime.now() + timedelta(seconds=1))
    assert await run.status() == "failed"
    with pytest.raises(ValueError, match="not before"):
        await durable_runtime.advance_to(durable_runtime.now() - timedelta(seconds=1))


@pytest.mark.parametrize(("name", "seconds"), [("slow", 30), ("silent", 10)])
async def test_advance_reaches_limits_of_steps_that_run(durable_runtime, name, seconds):
    run = await durable_runtime.start(runs, name)
    await started.wait()
    await durable_runtime.advance(seconds)
    if name == "slow":
        started.clear()
        await durable_runtime.advance(1)
        await started.wait()
        await durable_runtime.advance(seconds)
    with pytest.raises(RunFailedError) as failed:
        await durable_runtime.finish(run)
    assert isinstance(failed.value.__cause__, StepTimeoutError)


async def test_a_step_that_is_handed_over_is_limited_in_virtual_time(durable_runtime):
    run = await durable_runtime.start(runs, "by_hand")
    with pytest.raises(RunFailedError, match="timeout of"):
        await durable_runtime.finish(run)


async def test_crash_loses_what_runs_and_goes_on(durable_runtime):
    run = await durable_runtime.start(runs, "once_lost")
    await started.wait()
    await durable_runtime.crash()
    assert await durable_runtime.finish(run) == 2


async def test_crash_puts_at_most_once_steps_in_doubt(durable_runtime):
    run = await durable_runtime.start(runs, "pay")
    await started.wait()
    await durable_runtime.crash()
    with pytest.raises(RunFailedError) as failed:
        await durable_runtime.finish(run)
    assert isinstance(failed.value.__cause__, StepInDoubtError)


async def test_crash_between_timers(durable_runtime):
    run = await durable_runtime.start(month)
    await durable_runtime.until_waiting(run)
    await durable_runtime.crash()
    assert await durable_runtime.finish(run) == [60, 8]


async def test_transactional_steps_write_into_the_file(durable_runtime):
    assert await durable_runtime.finish(await durable_runtime.start(books)) == [1, 2]


async def test_routed_steps_are_served(durable_runtime):
    await durable_runtime.serve(runs, queues=("default", "gpu"))
    assert await durable_runtime.finish(await durable_runtime.start(runs, "elsewhere")) == 2


async def test_a_run_that_waits_for_nobody_is_told(durable_runtime):
    run = await durable_runtime.start(for_ever)
    with pytest.raises(IdleError, match="'go'"):
        await durable_runtime.finish(run)


async def test_a_stuck_run_is_told(durable_runtime):
    run = await durable_runtime.start(reads_the_clock)
    with pytest.raises(RunStuckError, match=r"time\.time"):
        await durable_runtime.finish(run)


async def test_what_is_not_served_is_refused(durable_runtime):
    with pytest.raises(DefinitionError, match="nothing is served"):
        durable_runtime.get("a")
    await durable_runtime.serve(waits)
    with pytest.raises(DefinitionError, match=r"await durable_runtime\.serve"):
        await durable_runtime.start(month)
    with pytest.raises(DefinitionError, match="already"):
        await durable_runtime.serve(month)
    with pytest.raises(DefinitionError, match="expected a workflow"):
        await durable_runtime.start(len)


@pytest.mark.anyio
async def test_nothing_is_left_of_it():
    before = set(threading.enumerate())
    async with RuntimeEnvironment() as environment:
        await environment.start(runs, "slow")
        await started.wait()
        file = environment.client.store.path
    assert not file.exists()
    assert not file.parent.exists()
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("durable")]
    assert left == []
    await environment.close()
