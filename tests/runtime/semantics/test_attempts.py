"""Semantics 26 to 33 across crashes, restarts and the limits of what may be stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from datetime import timedelta
from typing import Any

import anyio
import anyio.to_thread
import pytest

from durable import (
    CompleteLater,
    Context,
    DefinitionError,
    RetryPolicy,
    StepTimeoutError,
    heartbeat,
    step,
    step_info,
    workflow,
)
from durable.errors import (
    CallerError,
    DecodeError,
    RunCancelledError,
    RunClosedError,
    RunFailedError,
    StepCancelledError,
)
from durable.handle import RunStatus
from durable.history import EventKind
from runtime import Worker
from semantics import dying

pytestmark = pytest.mark.anyio

seen: list[Any] = []
reached: asyncio.Event
released: asyncio.Event
thread_reached: threading.Event
thread_released: threading.Event
tokens: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> Any:
    """What steps of this module record and wait for."""
    global reached, released, thread_reached, thread_released
    reached, released = asyncio.Event(), asyncio.Event()
    thread_reached, thread_released = threading.Event(), threading.Event()
    seen.clear()
    tokens.clear()
    yield
    thread_released.set()


async def worker_dies(url: str, cache_size: int) -> None:
    """Let a worker run until a step kills it."""
    process = dying.start_worker(url, cache_size)
    with process:
        assert await anyio.to_thread.run_sync(process.wait) == -signal.SIGKILL


async def until(rt: Any, holds: Any) -> None:
    """Wait until something holds of the store."""

    async def look() -> bool | None:
        return await holds() or None

    async with asyncio.timeout(30):
        await rt.watch.until(look, lambda change: True)


# -- 26: attempts, losses, delays -------------------------------------------------------------------------


async def test_lost_workers_do_not_consume_attempts(open_runtime, url, cache_size, tmp_path):
    """Semantics 26: two workers are lost with the step; its two attempts are still there, with one key for all calls."""
    ledger = tmp_path / "ledger"
    async with open_runtime(recover=False) as rt:
        run = await rt.start(dying.survives, str(ledger), 2)
    for _ in range(2):
        await worker_dies(url, cache_size)
    async with open_runtime(dying.survives) as rt:
        run = rt.get(run.workflow_id)
        assert await run.result(timeout=30) == 2
        lines = ledger.read_text().splitlines()
        assert [line.split()[1] for line in lines] == ["1", "1", "1", "2"]
        assert len({line.split()[2] for line in lines}) == 1
        attempts = (await run.describe()).attempts
        assert [(a.attempt, a.outcome) for a in attempts] == [(1, "lost"), (1, "lost"), (1, "failed")]


async def test_three_lost_workers_fail_the_step(open_runtime, url, cache_size, tmp_path):
    """Semantics 26: after 3 losses StepLostError, which workflow code may catch; the fourth worker is spared."""
    ledger = tmp_path / "ledger"
    async with open_runtime(recover=False) as rt:
        run = await rt.start(dying.gives_up, str(ledger))
    for _ in range(3):
        await worker_dies(url, cache_size)
    async with open_runtime(dying.gives_up) as rt:
        assert await rt.get(run.workflow_id).result(timeout=30) == "3 workers were lost while step 'kills' ran"
        assert len(ledger.read_text().splitlines()) == 3


@step(retry=RetryPolicy(max_attempts=5, initial_interval=10, backoff=3, max_interval=60))
async def fails_slowly() -> None:
    raise ConnectionError(f"attempt {step_info().attempt}")


@workflow
async def backs_off(ctx: Context) -> None:
    await ctx.step(fails_slowly)


async def test_delays_grow_up_to_their_limit(open_runtime, clock):
    """Semantics 26: retry with backoff until attempt N: the delays between attempts, and the info of each attempt."""
    began = clock.now
    async with open_runtime(backs_off, clock=clock) as rt:
        run = await rt.start(backs_off)
        for number, delay in enumerate([10, 30, 60, 60], 1):

            async def has_failed(number: int = number) -> bool:
                return len((await run.describe()).attempts) == number

            await until(rt, has_failed)
            last = (await run.describe()).attempts[-1]
            assert last.next_at is not None
            assert last.ended_at is not None
            assert last.next_at - last.ended_at == timedelta(seconds=delay)
            assert (last.attempt, last.outcome, last.error) == (number, "failed", f"attempt {number}")
            clock.advance(delay)
        with pytest.raises(RunFailedError, match="attempt 5"):
            await run.result(timeout=30)
        assert clock.now - began == timedelta(seconds=160)


# -- 27: limits -------------------------------------------------------------------------------------------


@step(timeout=0.05, retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
async def fails_then_hangs() -> None:
    if step_info().attempt == 1:
        raise ConnectionError("first")
    await asyncio.Event().wait()


@workflow
async def explains(ctx: Context) -> list[str]:
    try:
        await ctx.step(fails_then_hangs)
    except StepTimeoutError as error:
        return [error.message, f"{type(error.__cause__).__name__}: {error.__cause__}"]
    return []


async def test_a_timed_out_attempt_has_the_last_error_as_its_cause(open_runtime):
    """Semantics 27: the timeout of one attempt surfaces with the error of the attempt before as cause."""
    async with open_runtime(explains) as rt:
        assert await (await rt.start(explains)).result(timeout=30) == [
            "step 'fails_then_hangs' took longer than its timeout of 50 ms", "ConnectionError: first",
        ]  # fmt: skip


@step(total_timeout=60, retry=RetryPolicy(max_attempts=9, initial_interval=1))
async def hangs() -> None:
    seen.append("begun")
    reached.set()
    await asyncio.Event().wait()


@workflow
async def waits_for_hanging(ctx: Context) -> str:
    try:
        await ctx.step(hangs)
    except StepTimeoutError as error:
        return error.message
    return "?"


async def test_the_limit_of_the_whole_step_goes_on_while_no_worker_is_there(open_runtime, clock):
    """Semantics 27: the whole step's limit is not begun anew by a restart, and what is too late is not begun at all."""
    async with open_runtime(waits_for_hanging, clock=clock, grace_seconds=0) as rt:
        await rt.start(waits_for_hanging.options(id="x"))
        await reached.wait()
    clock.advance(61)
    async with open_runtime(waits_for_hanging, clock=clock) as rt:
        assert "total_timeout of 1 min" in await rt.get("x").result(timeout=30)
        assert seen == ["begun"]


@step(timeout=0.05, retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
def goes_on_in_thread() -> list[Any]:
    if step_info().attempt == 2:
        return [step_info().attempt, step_info().heartbeat_details]
    heartbeat("in time")
    thread_reached.set()
    thread_released.wait(30)
    seen.append(step_info().attempt)
    try:
        heartbeat("too late")
    except asyncio.CancelledError:
        seen.append("told")
    thread_reached.set()
    return ["too late"]


@workflow
async def repeats_thread(ctx: Context) -> list[Any]:
    return await ctx.step(goes_on_in_thread)


async def test_a_thread_that_outlives_its_attempt_is_told_and_disturbs_nothing(open_runtime):
    """Semantics 27: a sync step cannot be stopped; its next heartbeat tells it, and the next attempt never hears of it."""
    async with open_runtime(repeats_thread) as rt:
        run = await rt.start(repeats_thread)
        assert await run.result(timeout=30) == [2, "in time"]
        thread_reached.clear()
        thread_released.set()
        await anyio.to_thread.run_sync(thread_reached.wait, 30)
        assert seen == [1, "told"]


@step
def beats_until_told() -> str:
    thread_reached.set()
    while not thread_released.wait(0.001):
        try:
            heartbeat()
        except asyncio.CancelledError:
            seen.append("told")
            raise
    return "never told"


@workflow
async def cancels_thread(ctx: Context) -> str:
    try:
        return await ctx.step(beats_until_told)
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise


async def test_a_cancelled_thread_is_told_by_its_heartbeat(open_runtime):
    """Semantics 22, 27: how a cancellation reaches a sync step."""
    async with open_runtime(cancels_thread) as rt:
        run = await rt.start(cancels_thread)
        await anyio.to_thread.run_sync(thread_reached.wait, 30)
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result(timeout=30)
    assert "told" in seen


@step
async def beats_for_ever() -> None:
    reached.set()
    try:
        while True:
            heartbeat({"at": "work"})
            await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        seen.append("told")
        released.set()
        raise


@workflow
async def runs_for_ever(ctx: Context) -> None:
    await ctx.step(beats_for_ever)


async def test_a_step_of_a_terminated_run_is_told(open_runtime, open_client):
    """Semantics 28: a step that reports is told soon that nobody wants it any more, also by another process."""
    async with open_runtime(runs_for_ever) as rt, open_client() as client:
        run = await rt.start(runs_for_ever)
        await reached.wait()
        await client.get(run.workflow_id).terminate("enough")
        async with asyncio.timeout(30):
            await released.wait()
        assert seen == ["told"]
        assert await run.status() is RunStatus.TERMINATED


# -- 28: heartbeats ---------------------------------------------------------------------------------------


async def test_heartbeat_details_survive_a_crash(open_runtime, url, cache_size, tmp_path):
    """Semantics 28: the details reach the next attempt also if the worker is killed: the newest ones, not those of the
    failure before."""
    ledger = tmp_path / "ledger"
    async with open_runtime(recover=False) as rt:
        run = await rt.start(dying.resumes_from_report, str(ledger))
        process = dying.start_worker(url, cache_size)
        with process:
            assert process.stdout is not None
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "reported\n"

            async def is_kept() -> bool:
                beat = await rt.store.read_heartbeat(run.run_id, 1)
                return beat is not None and '"done":3' in (beat[1] or "")

            await until(rt, is_kept)
            process.kill()
    async with open_runtime(dying.resumes_from_report) as rt:
        assert await rt.get(run.workflow_id).result(timeout=30) == [2, {"done": 3}]


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


@step(heartbeat_timeout=0.1, retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
async def beats_then_stops() -> Any:
    if step_info().attempt == 2:
        return step_info().heartbeat_details
    for number in range(30):
        heartbeat(number)
        await asyncio.sleep(0.01)
    await asyncio.Event().wait()


@workflow
async def misses_heartbeat(ctx: Context) -> Any:
    return await ctx.step(beats_then_stops)


async def test_heartbeats_keep_an_attempt_alive_and_their_end_ends_it(open_runtime):
    """Semantics 28: three times the limit with heartbeats is fine; silence is not, and the last details are not lost."""
    async with open_runtime(misses_heartbeat) as rt:
        run = await rt.start(misses_heartbeat)
        assert await run.result(timeout=30) == 29
        assert [(a.outcome, a.error) for a in (await run.describe()).attempts] == [
            ("timed_out", "step 'beats_then_stops' took longer than its heartbeat_timeout of 100 ms"),
        ]  # fmt: skip


@step
def floods() -> int:
    for number in range(20_000):
        heartbeat(number)
    return 20_000


@workflow
async def is_flooded(ctx: Context) -> int:
    return await ctx.step(floods)


async def test_a_flood_of_heartbeats_is_no_flood_of_writes(open_runtime, monkeypatch):
    """Semantics 28: however fast a step reports, one report is on its way at a time."""
    async with open_runtime(is_flooded) as rt:
        under_way: list[int] = []
        most = 0
        real = rt.store.heartbeat

        async def counted(*args: Any) -> bool:
            nonlocal most
            under_way.append(1)
            most = max(most, len(under_way))
            try:
                return await real(*args)
            finally:
                under_way.pop()

        monkeypatch.setattr(rt.store, "heartbeat", counted)
        assert await (await rt.start(is_flooded)).result(timeout=60) == 20_000
        assert most == 1


def test_heartbeats_of_a_process_cannot_be_demanded():
    """Semantics 28, 29: they do not leave the process, so a limit for them is refused at definition."""
    with pytest.raises(DefinitionError, match="heartbeats do not leave the process"):
        step(dying.note, isolation="process", heartbeat_timeout=1)


# -- 29: threads ------------------------------------------------------------------------------------------


@step
def stops_iteration() -> int:
    return next(iter(()))


@workflow
async def calls_stopper(ctx: Context) -> None:
    await ctx.step(stops_iteration)


async def test_a_thread_that_raises_stop_iteration_fails_like_any_other(open_runtime):
    """Semantics 29: no exception of a thread is lost on its way, not even the one that futures refuse."""
    async with open_runtime(calls_stopper) as rt:
        with pytest.raises(RunFailedError, match="StopIteration"):
            await (await rt.start(calls_stopper)).result(timeout=30)


@step
def waits_in_thread(number: int) -> int:
    thread_reached.set()
    thread_released.wait(30)
    return number


@workflow
async def fans_out(ctx: Context) -> list[int]:
    return await asyncio.gather(*(ctx.step(waits_in_thread, number) for number in range(10)))


async def test_more_steps_than_threads_take_their_turns(open_runtime):
    """Semantics 29: the pool has a limit; what does not fit waits, and nothing is lost."""
    async with open_runtime(fans_out, max_threads=2) as rt:
        run = await rt.start(fans_out)
        await anyio.to_thread.run_sync(thread_reached.wait, 30)
        thread_released.set()
        assert await run.result(timeout=30) == list(range(10))


@step
async def waits_for_slot(name: str) -> str:
    seen.append(name)
    if name == "first":
        reached.set()
        await released.wait()
    return name


@workflow
async def queues_up(ctx: Context) -> list[str]:
    first = asyncio.create_task(ctx.step(waits_for_slot, "first"))
    second = asyncio.create_task(ctx.step(waits_for_slot, "second"))
    await ctx.sleep(0.01)
    second.cancel()
    return [await first]


async def test_a_step_that_waits_for_a_slot_can_be_cancelled(open_runtime):
    """Semantics 22: it is never begun, and its run ends once."""
    async with open_runtime(queues_up, max_concurrent_steps=1) as rt:
        run = await rt.start(queues_up)
        await reached.wait()

        async def is_cancelled() -> bool:
            return EventKind.STEP_CANCELLED in {event.kind for event in await run.history()}

        await until(rt, is_cancelled)
        released.set()
        assert await run.result(timeout=30) == ["first"]
        assert seen == ["first"]
        kinds = [event.kind for event in await run.history()]
        assert kinds.count(EventKind.STEP_CANCELLED) == 1


# -- 31: completion from outside --------------------------------------------------------------------------


def hands_over_with(**options: Any) -> Any:
    @step(name="hands_over", **options)
    async def hands_over() -> int:
        tokens.append(step_info().token)
        seen.append((step_info().attempt, step_info().heartbeat_details))
        raise CompleteLater

    @workflow(name="awaits_others")
    async def awaits_others(ctx: Context) -> Any:
        try:
            return await ctx.step(hands_over)
        except (StepTimeoutError, StepCancelledError, DecodeError) as error:
            return f"{type(error).__name__}: {error.message}"

    return awaits_others


async def is_handed_over(run: Any) -> bool:
    return any(attempt.outcome == "handed_over" for attempt in (await run.describe()).attempts)


async def test_others_report_and_keep_the_step_alive(open_runtime, clock):
    """Semantics 31: heartbeat from outside: it keeps the step within its limit; silence ends the attempt, and its details
    reach the next one."""
    definition = hands_over_with(heartbeat_timeout=60, retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
    async with open_runtime(definition, clock=clock) as rt:
        run = await rt.start(definition.options(id="x"))
        await until(rt, lambda: is_handed_over(run))
        for percent in (10, 20, 30):
            clock.advance(50)
            assert await rt.step(tokens[0]).heartbeat({"percent": percent})
        clock.advance(59)
        assert [attempt.outcome for attempt in (await run.describe()).attempts] == ["handed_over"]
        for _ in range(2):  # one look at the heartbeats, and what follows from it
            clock.advance(30)
            await rt.store.read_heartbeat(run.run_id, 1)
        clock.advance(30)

        async def is_again() -> bool:
            clock.advance(0.01)
            return len(tokens) == 2 and (await run.describe()).attempts[-1].outcome == "handed_over"

        await until(rt, is_again)
        assert seen == [(1, None), (2, {"percent": 30})]
        await rt.step(tokens[1]).complete(7)
        assert await run.result(timeout=30) == 7


async def test_a_step_that_was_handed_over_ends_with_its_limit_also_after_a_restart(open_runtime, clock):
    """Semantics 31: its limits go on while no worker is there, and it is not called again for nothing."""
    definition = hands_over_with(timeout=3600)
    async with open_runtime(definition, clock=clock) as rt:
        run = await rt.start(definition.options(id="x"))
        await until(rt, lambda: is_handed_over(run))
    clock.advance(3601)
    async with open_runtime(definition, clock=clock) as rt:
        result = await rt.get("x").result(timeout=30)
        assert result.startswith("StepTimeoutError: step 'hands_over' took longer than its timeout of 1 h")
        assert len(tokens) == 1


def gives_up_waiting(**options: Any) -> Any:
    @step(name="hands_over_long", **options)
    async def hands_over() -> int:
        tokens.append(step_info().token)
        raise CompleteLater

    @workflow(name="gives_up_waiting")
    async def gives_up_waiting(ctx: Context) -> str:
        ctx.compensate(note_undone)
        try:
            async with asyncio.timeout(0.05):
                await ctx.step(hands_over)
        except TimeoutError:
            pass
        raise ValueError("no")

    return gives_up_waiting


async def note_undone() -> None:
    seen.append("undone")


@pytest.mark.parametrize("options", [{}, {"timeout": 3600}], ids=["no limit", "limit"])
async def test_a_step_that_was_handed_over_can_be_cancelled_by_its_run(open_runtime, options):
    """Semantics 31: cancel: who works on it is told by the next heartbeat, and a rollback does not wait for them for ever."""
    definition = gives_up_waiting(**options)
    async with open_runtime(definition) as rt:
        run = await rt.start(definition)
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await run.result(timeout=30)
        assert seen == ["undone"]
        assert not await rt.step(tokens[0]).heartbeat("still at it")
        with pytest.raises(RunClosedError):
            await rt.step(tokens[0]).complete(1)


async def test_a_result_that_does_not_fit_is_the_workflows_to_see(open_runtime, open_client):
    """Semantics 31: a result from outside of another type; and what is no token is refused with a name."""
    definition = hands_over_with()
    async with open_runtime(definition) as rt:
        run = await rt.start(definition)
        await until(rt, lambda: is_handed_over(run))
        with pytest.raises(CallerError, match="token of a step"):
            rt.step("nonsense")
        await rt.step(tokens[0]).complete("not a number")
        assert (await run.result(timeout=30)).startswith("DecodeError")


@step(queue="elsewhere", timeout=3600)
async def hands_over_elsewhere() -> int:
    tokens.append(step_info().token)
    raise CompleteLater


@workflow
async def routes_and_waits(ctx: Context) -> int:
    return await ctx.step(hands_over_elsewhere)


async def test_a_routed_step_that_was_handed_over_is_not_called_again(open_runtime, url):
    """Semantics 31: when the worker that handed it over stops, nobody hands it over a second time."""
    async with open_runtime(routes_and_waits) as rt:
        run = await rt.start(routes_and_waits)
        async with Worker(url, steps=[hands_over_elsewhere], queues=["elsewhere"]):
            await until(rt, lambda: is_handed_over(run))
        async with Worker(url, steps=[hands_over_elsewhere], queues=["elsewhere"]):
            await rt.step(tokens[0]).complete(5)
            assert await run.result(timeout=30) == 5
        assert len(tokens) == 1


# -- 32: unknown steps ------------------------------------------------------------------------------------


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

        async def is_stuck() -> bool:
            return await rt.get("x").status() is RunStatus.STUCK

        await until(rt, is_stuck)
        reason = (await rt.get("x").describe()).reason or ""
        assert "DUR1102" in reason
        assert "no step is called 'undo_of_plugin'" in reason
        assert "carried_undo" in reason.split("known:")[1]
    async with open_runtime(carries_undo, steps=[step(undo_by_name, name="undo_of_plugin")]) as rt:
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await rt.get("x").result(timeout=30)
        assert seen == ["undo it"]
        assert run.workflow_id == "x"


# -- 33: shutdown -----------------------------------------------------------------------------------------


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
        await run.result()

asyncio.run(main())
"""


@pytest.mark.parametrize("grace", ["0", "3600"])
async def test_ctrl_c_ends_a_process_whose_step_cannot_be_stopped(url, grace):
    """Semantics 33: after the grace period, or at a second Ctrl-C at once, the process ends, a thread that is stuck or not."""
    with subprocess.Popen(
        [os.sys.executable, "-c", STUCK_THREAD, url, grace], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert await anyio.to_thread.run_sync(process.stdout.readline) == "begun\n"
        process.send_signal(signal.SIGINT)
        if grace != "0":
            with pytest.raises(subprocess.TimeoutExpired):
                await anyio.to_thread.run_sync(process.wait, 0.5)
            process.send_signal(signal.SIGINT)
        assert await anyio.to_thread.run_sync(process.wait, 20) != 0


# -- rollback ---------------------------------------------------------------------------------------------


async def test_compensations_survive_a_kill_in_their_middle(open_runtime, url, cache_size, tmp_path):
    """Rule S3: the worker is killed by the compensation that runs second; it runs again, and the first one does not."""
    ledger = tmp_path / "ledger"
    async with open_runtime(recover=False) as rt:
        run = await rt.start(dying.undoes_through_death, str(ledger))
    await worker_dies(url, cache_size)
    async with open_runtime(dying.undoes_through_death) as rt:
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await rt.get(run.workflow_id).result(timeout=30)
    assert ledger.read_text().splitlines() == ["do a", "do b", "undo b", "undo a", "undo a"]
