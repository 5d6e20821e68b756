"""Workers that are stopped or lack a step: what they finish, what is kept for the next one (semantics 32 and 33)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import anyio.to_thread
import pytest

from durable import Context, Signal, heartbeat, step, step_info, workflow
from durable.errors import RunFailedError
from durable.history import EventKind
from runtime import Worker
from runtime.store.sqlite import SqliteStore
from semantics.waiting import until_stuck

pytestmark = pytest.mark.anyio

seen: list[str] = []
reached: asyncio.Event
released: asyncio.Event


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record and wait for."""
    global reached, released
    reached, released = asyncio.Event(), asyncio.Event()
    seen.clear()


@step
async def reports_when_stopped() -> Any:
    if step_info().heartbeat_details is not None:
        return step_info().heartbeat_details
    reached.set()
    try:
        await asyncio.Event().wait()
    finally:
        heartbeat("last words")


@workflow
async def picks_up(ctx: Context) -> Any:
    return await ctx.step(reports_when_stopped)


async def test_last_words_at_a_shutdown_reach_the_next_call(open_runtime):
    """Semantics 28, 33: what a step reports while it is being cut off is kept."""
    async with open_runtime(picks_up, grace_seconds=0) as rt:
        await rt.start(picks_up.options(id="x"))
        await reached.wait()
    async with open_runtime(picks_up) as rt:
        assert await rt.get("x").result(timeout=30) == "last words"


@step
async def waits_for_release(name: str) -> str:
    seen.append(name)
    reached.set()
    await released.wait()
    return name


@workflow
async def holds(ctx: Context) -> str:
    return await ctx.step(waits_for_release, "held")


async def test_a_second_stop_ends_the_grace_period(open_runtime):
    """Semantics 33: a worker that is asked to stop at once while it waits for its steps does so; they run again later."""
    runtime = open_runtime(holds, grace_seconds=3600)
    await runtime.open()
    await runtime.start(holds.options(id="x"))
    await reached.wait()
    closing = asyncio.ensure_future(runtime.close())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await runtime.worker.stop(0)
        await closing
    released.set()
    async with open_runtime(holds) as rt:
        assert await rt.get("x").result(timeout=30) == "held"
    assert seen == ["held", "held"]


@step(queue="elsewhere", delivery="at_most_once")
async def pays_elsewhere() -> str:
    seen.append("paid")
    reached.set()
    await released.wait()
    return "receipt"


@workflow
async def pays(ctx: Context) -> str:
    return await ctx.step(pays_elsewhere)


async def test_the_outcome_of_a_routed_step_is_delivered_while_its_worker_stops(open_runtime, url):
    """Semantics 33: nothing acknowledged is lost: a step that ended within the grace period is not in doubt afterwards."""
    async with open_runtime(pays) as rt:
        run = await rt.start(pays)
        worker = Worker(url, steps=[pays_elsewhere], queues=["elsewhere"])
        await worker.start()
        await reached.wait()
        stopping = asyncio.ensure_future(worker.stop())
        await asyncio.sleep(0)
        released.set()
        await stopping
        async with Worker(url, steps=[pays_elsewhere], queues=["elsewhere"]):
            assert await run.result(timeout=30) == "receipt"
        assert seen == ["paid"]


async def test_a_routed_step_that_is_cut_off_is_in_doubt_if_it_must_not_run_twice(open_runtime, url):
    """Semantics 29: at most once, also where another worker runs it and gives it back when it stops."""
    async with open_runtime(pays) as rt:
        run = await rt.start(pays)
        async with Worker(url, steps=[pays_elsewhere], queues=["elsewhere"], grace_seconds=0):
            await reached.wait()
        async with Worker(url, steps=[pays_elsewhere], queues=["elsewhere"]):
            with pytest.raises(RunFailedError, match="outcome is unknown"):
                await run.result(timeout=30)
        assert seen == ["paid"]


go = Signal("go", bool)


@workflow(messages=[go])
async def pays_and_listens(ctx: Context) -> str:
    paying = asyncio.ensure_future(ctx.step(pays_elsewhere))
    await ctx.wait_signal(go)
    return await paying


async def test_a_routed_step_that_ends_while_its_run_is_taken_up_has_its_outcome(open_runtime, url, monkeypatch):
    """Semantics 29, 32: what is no task any more by the time that its run looks for it is done, not lost."""
    read, is_reading, may_read = SqliteStore.read_attempts, asyncio.Event(), asyncio.Event()

    async def read_slowly(self: SqliteStore, *args: Any) -> Any:
        rows = await read(self, *args)
        if len(args) == 1:  # of the whole run: it is being taken up
            is_reading.set()
            await may_read.wait()
        return rows

    async with open_runtime(pays_and_listens) as rt:
        async with Worker(url, steps=[pays_elsewhere], queues=["elsewhere"]):
            run = await rt.start(pays_and_listens)
            await reached.wait()
            await run.until_waiting("go", timeout=30)
            monkeypatch.setattr(SqliteStore, "read_attempts", read_slowly)
            await run.signal(go, True)
            await is_reading.wait()
            released.set()

            async def has_outcome() -> bool | None:
                rows = await rt.store.read_inbox(run.run_id)
                return any(row.fact.kind == EventKind.STEP_COMPLETED for row in rows) or None

            await rt.watch.until(has_outcome, lambda change: True)
            may_read.set()
            assert await run.result(timeout=30) == "receipt"
            assert seen == ["paid"]


STUCK_THREAD = """
import asyncio, sys, threading
from durable import Context, step, workflow
from runtime import Runtime

@step
def stuck() -> None:
    print("begun", flush=True)
    threading.Event().wait()

@workflow
async def waits(ctx: Context) -> None:
    await ctx.step(stuck)

async def main() -> None:
    async with Runtime(sys.argv[1], workflows=[waits], grace_seconds=float(sys.argv[2])) as rt:
        run = await rt.start(waits)
        try:
            await run.result()
        finally:
            asyncio.get_running_loop().call_soon(lambda: print("stopping", flush=True))  # once the stop is under way

asyncio.run(main())
"""


@pytest.mark.parametrize("grace", ["0", "3600"])
async def test_ctrl_c_ends_a_process_whose_step_cannot_be_stopped(url, grace):
    """Semantics 33: after the grace period, or at a second Ctrl-C at once, the process ends, a thread that is stuck or not."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK_THREAD, url, grace], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "begun\n"
            process.send_signal(signal.SIGINT)
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "stopping\n"
            if grace != "0":
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
            assert await anyio.to_thread.run_sync(process.wait, 60) != 0
        finally:
            process.kill()


async def undo_by_name(name: str) -> None:
    seen.append(f"undo {name}")


carried = step(undo_by_name, name="carried_undo")


@workflow
async def carries_undo(ctx: Context, round: int) -> None:
    if round == 0:
        ctx.compensate(step(undo_by_name, name="undo_of_plugin"), "it")
        ctx.continue_as_new(1)
    raise ValueError("undo it")


async def test_an_unknown_step_makes_the_run_stuck_with_the_known_ones(open_runtime):
    """Semantics 32: a compensation of the run before, which this worker does not know by name; it goes on with one that does."""
    async with open_runtime(carries_undo) as rt:
        run = await rt.start(carries_undo.options(id="x"), 0)
        reason = (await until_stuck(rt.get("x"))).reason or ""
        assert "DUR1102" in reason
        assert "no step is called 'undo_of_plugin'" in reason
        assert "carried_undo" in reason.split("known:")[1]
    async with open_runtime(carries_undo, steps=[step(undo_by_name, name="undo_of_plugin")]) as rt:
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await rt.get("x").result(timeout=30)
        assert seen == ["undo it"]
        assert run.workflow_id == "x"
