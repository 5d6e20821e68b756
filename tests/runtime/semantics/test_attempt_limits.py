"""How long attempts may take, how often they are made, how many at once, and how those who outlive their limits are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio.to_thread
import pytest

from durable import Context, DefinitionError, RetryPolicy, StepTimeoutError, heartbeat, step, step_info, workflow
from durable.errors import RunCancelledError, RunFailedError, StepCancelledError, StepError
from durable.handle import RunStatus
from durable.history import EventKind
from semantics import dying
from semantics.waiting import until

pytestmark = pytest.mark.anyio

seen: list[Any] = []
reached: asyncio.Event
released: asyncio.Event
thread_reached: threading.Event
thread_released: threading.Event


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What steps of this module record and wait for."""
    global reached, released, thread_reached, thread_released
    reached, released = asyncio.Event(), asyncio.Event()
    thread_reached, thread_released = threading.Event(), threading.Event()
    seen.clear()
    yield
    thread_released.set()


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
            "step 'fails_then_hangs' took longer than its timeout of 0.05 s", "ConnectionError: first",
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


@step(timeout=0.5, retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
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


SILENCE = 0.1


@step(heartbeat_timeout=SILENCE, retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
async def beats_then_stops() -> Any:
    if step_info().attempt == 2:
        return step_info().heartbeat_details
    clock = asyncio.get_running_loop().time
    began = last = clock()
    try:
        while last - began < 3 * SILENCE:
            seen.append(clock() - last)
            last += seen[-1]
            heartbeat(len(seen) - 1)
            await asyncio.sleep(0)
        await asyncio.Event().wait()
    finally:
        seen.append(clock() - last)


@workflow
async def misses_heartbeat(ctx: Context) -> Any:
    return await ctx.step(beats_then_stops)


async def test_heartbeats_keep_an_attempt_alive_and_their_end_ends_it(open_runtime):
    """Semantics 28: three times the limit with heartbeats is fine; silence is not, and the last details are not lost."""
    async with open_runtime(misses_heartbeat) as rt:
        run = await rt.start(misses_heartbeat)
        assert await run.result(timeout=30) == len(seen) - 2
        assert seen[-1] >= SILENCE  # only silence ends it
        assert [(a.outcome, a.error) for a in (await run.describe()).attempts] == [
            ("timed_out", "step 'beats_then_stops' took longer than its heartbeat_timeout of 0.1 s"),
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


@step
def stops_iteration() -> int:
    return next(iter(()))


@workflow
async def calls_stopper(ctx: Context) -> None:
    await ctx.step(stops_iteration)


async def test_a_thread_that_raises_stop_iteration_fails_like_any_other(open_runtime):
    """Semantics 29: no exception of a thread is lost on its way, not even the one that futures refuse."""
    async with open_runtime(calls_stopper) as rt:
        with pytest.raises(RunFailedError, match="step 'stops_iteration' raised StopIteration") as failed:
            await (await rt.start(calls_stopper)).result(timeout=30)
    error = failed.value.__cause__
    assert type(error) is StepError  # rule H3: it means something else where it arrives
    assert error.error_type == "builtins.StopIteration"
    assert "runner.py" not in "".join(error.__notes__)


@step
async def cancels_itself() -> None:
    raise asyncio.CancelledError("gave up")


@workflow
async def calls_canceller(ctx: Context) -> None:
    await ctx.step(cancels_itself)


async def test_a_step_that_raises_cancelled_error_by_itself_says_so(open_runtime):
    async with open_runtime(calls_canceller) as rt:
        with pytest.raises(
            RunFailedError, match="raised CancelledError by itself, nobody cancelled it: gave up"
        ) as failed:
            await (await rt.start(calls_canceller)).result(timeout=30)
    assert type(failed.value.__cause__) is StepCancelledError


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


@step
def holds_the_thread() -> None:
    thread_reached.set()
    thread_released.wait(30)


@step(timeout=0.3)
async def takes_its_time() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        thread_released.set()


@step(timeout=0.1, delivery="at_most_once")
def comes_late() -> str:
    seen.append("begun")
    return "done"


@workflow
async def lines_up(ctx: Context) -> list[str]:
    steps = ctx.step(holds_the_thread), ctx.step(comes_late), ctx.step(takes_its_time)
    return [repr(result)[:20] for result in await asyncio.gather(*steps, return_exceptions=True)]


async def test_the_limit_of_an_attempt_begins_when_it_has_its_thread(open_runtime):
    """Semantics 27: an attempt that waits for a thread does not time out; one of 0.3 s does meanwhile, and sets the thread free."""
    async with open_runtime(lines_up, max_threads=1) as rt:
        run = await rt.start(lines_up)
        assert await run.result(timeout=30) == ["None", "'done'", 'StepTimeoutError("st']


@step(total_timeout=0.1, timeout=20)
def comes_too_late() -> None:
    seen.append("begun")


@workflow
async def gives_up(ctx: Context) -> str:
    holding = asyncio.create_task(ctx.step(holds_the_thread))
    await asyncio.sleep(0)  # it is the first one
    try:
        await ctx.step(comes_too_late)
    except StepTimeoutError as error:
        await ctx.step(sets_the_thread_free)
        await holding
        return error.message
    return "?"


@step
async def sets_the_thread_free() -> None:
    thread_released.set()


async def test_the_limit_of_the_whole_step_runs_while_it_waits_for_a_thread(open_runtime):
    async with open_runtime(gives_up, max_threads=1) as rt:
        message = await (await rt.start(gives_up)).result(timeout=30)
        assert message == "step 'comes_too_late' took longer than its total_timeout of 0.1 s"
        assert seen == []


@step
async def sees_the_thread_held() -> None:
    await asyncio.to_thread(thread_reached.wait, 30)


@workflow
async def thinks_better_of_it(ctx: Context) -> None:
    holding = asyncio.create_task(ctx.step(holds_the_thread))
    unwanted = asyncio.create_task(ctx.step(comes_late))
    await ctx.step(sees_the_thread_held)
    unwanted.cancel()
    await ctx.step(sets_the_thread_free)
    await holding


async def test_a_cancelled_step_that_waits_for_a_thread_never_begins(open_runtime):
    async with open_runtime(thinks_better_of_it, max_threads=1) as rt:
        run = await rt.start(thinks_better_of_it)
        await run.result(timeout=30)
        assert EventKind.STEP_CANCELLED in [event.kind for event in await run.history()]
    assert seen == []


@step(delivery="at_most_once")
async def is_begun_last() -> None:
    reached.set()


@workflow
async def is_cut_off(ctx: Context) -> str:
    _, late, _ = await asyncio.gather(ctx.step(holds_the_thread), ctx.step(comes_late), ctx.step(is_begun_last))
    return late


async def test_a_step_that_waits_for_a_thread_is_not_on_record_as_begun(open_runtime):
    """Rule H4: what has not begun is not in doubt, so the next worker runs it."""
    async with open_runtime(is_cut_off, max_threads=1, grace_seconds=0) as rt:
        await rt.start(is_cut_off.options(id="x"))
        await reached.wait()
    assert seen == []
    thread_released.set()
    async with open_runtime(is_cut_off, max_threads=1) as rt:
        assert await rt.get("x").result(timeout=30) == "done"
    assert seen == ["begun"]
