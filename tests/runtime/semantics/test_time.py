"""Semantics 6 to 10: time, timers, conditions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from durable import Context, DefinitionError, Query, RunCancelledError, RunFailedError, Signal, step, workflow
from durable.duration import instant_us
from durable.errors import ConditionTimeoutError
from durable.handle import RunStatus
from durable.history import Event, EventKind
from runtime import Runtime
from runtime.clock import SystemClock
from semantics.clock import HeldClock

pytestmark = pytest.mark.anyio

BERLIN = ZoneInfo("Europe/Berlin")
go = Signal("go")
TIMERS = (EventKind.TIMER_STARTED, EventKind.TIMER_FIRED, EventKind.TIMER_CANCELLED)

clocks: list[HeldClock] = []


def kinds(history: list[Event], *wanted: EventKind) -> list[EventKind]:
    return [EventKind(event.kind) for event in history if event.kind in wanted]


def events(history: list[Event], kind: EventKind) -> list[Event]:
    return [event for event in history if event.kind == kind]


@workflow
async def nothing(ctx: Context) -> None:
    pass


async def let_the_worker_look(rt: Runtime) -> None:
    """Return once the worker has had its chance to do whatever was due."""
    await (await rt.start(nothing)).result(timeout=30)


# -- 6: now -----------------------------------------------------------------------------------------------


@step
async def let_time_pass(seconds: float) -> None:
    clocks[0].advance(seconds)


@workflow
async def look_at_the_clock(ctx: Context) -> list[tuple[datetime, float]]:
    loop = asyncio.get_running_loop()
    seen = [(ctx.now(), loop.time())]
    await ctx.step(let_time_pass, 1.5)
    seen.append((ctx.now(), loop.time()))
    await ctx.sleep(10)
    seen.append((ctx.now(), loop.time()))
    await asyncio.sleep(0.25)
    seen.append((ctx.now(), loop.time()))
    return seen


async def test_now_and_loop_time_agree_with_recorded_time(open_runtime, clock):
    """Semantics 6: now() and loop time agree with recorded time."""
    clocks[:] = [clock]
    async with open_runtime(look_at_the_clock, clock=clock) as rt:
        run = await rt.start(look_at_the_clock)
        await run.until_waiting("sleep", timeout=30)
        clock.advance(10.0)
        await run.until_waiting("timer", timeout=30)
        clock.advance(0.25)
        seen = await run.result(timeout=30)
        history = await run.history()
    recorded = [
        event.at_us
        for event in history
        if event.kind in (EventKind.RUN_STARTED, EventKind.STEP_COMPLETED, EventKind.TIMER_FIRED)
    ]
    assert [instant_us(now) for now, _ in seen] == recorded
    assert [round(time * 1e6) for _, time in seen] == [at_us - recorded[0] for at_us in recorded]
    assert [time for _, time in seen] == [0, 1.5, 11.5, 11.75]


@workflow
async def look_twice(ctx: Context) -> list[bool]:
    loop = asyncio.get_running_loop()
    now, time = ctx.now(), loop.time()
    for _ in range(3):
        sum(range(200_000))
        await asyncio.sleep(0)
    return [ctx.now() == now, loop.time() == time]


async def test_time_stands_still_within_a_turn(open_runtime):
    """Semantics 6: now() and loop time stand still within a turn."""
    async with open_runtime(look_twice) as rt:
        assert await (await rt.start(look_twice)).result(timeout=30) == [True, True]


@workflow
async def sleep_a_minute(ctx: Context) -> str:
    await ctx.sleep(60)
    return "awake"


async def test_a_timer_lasts_across_clock_steps_backwards(open_runtime, clock):
    """Semantics 6: a timer lasts at least its duration, also across clock steps backwards."""
    async with open_runtime(sleep_a_minute, nothing, clock=clock) as rt:
        run = await rt.start(sleep_a_minute)
        await run.until_waiting("sleep", timeout=30)
        clock.advance(59.0)
        await let_the_worker_look(rt)
        clock.advance(-100.0)
        await let_the_worker_look(rt)
    async with open_runtime(sleep_a_minute, nothing, clock=clock) as rt:
        run = rt.get(run.workflow_id)
        clock.advance(100.999_999)
        await let_the_worker_look(rt)
        assert await run.status() is RunStatus.WAITING
        clock.advance(0.000_001)
        assert await run.result(timeout=30) == "awake"
        history = await run.history()
    [started], [fired] = events(history, EventKind.TIMER_STARTED), events(history, EventKind.TIMER_FIRED)
    assert fired.at_us - started.at_us == 60_000_000


@workflow
async def sleep_after_a_step_back(ctx: Context) -> None:
    await ctx.step(let_time_pass, 5.0)
    await ctx.step(let_time_pass, -20.0)
    await ctx.sleep(10)


async def test_recorded_time_never_decreases(open_runtime, clock):
    """Semantics 6: a clock that steps backwards moves no recorded time, and a timer begun then lasts no less."""
    clocks[:] = [clock]
    async with open_runtime(sleep_after_a_step_back, nothing, clock=clock) as rt:
        run = await rt.start(sleep_after_a_step_back)
        await run.until_waiting("sleep", timeout=30)
        began_us = clock.now_us()
        clock.advance(29.999)
        await let_the_worker_look(rt)
        assert await run.status() is RunStatus.WAITING
        clock.advance(0.001)
        await run.result(timeout=30)
        history = await run.history()
    assert all(earlier.at_us <= later.at_us for earlier, later in pairwise(history))
    [fired] = events(history, EventKind.TIMER_FIRED)
    assert fired.at_us - began_us >= 10_000_000


@workflow
async def sleep_briefly(ctx: Context) -> None:
    await ctx.sleep(0.012_300_4)
    await asyncio.sleep(0.012_300_4)


async def test_a_timer_lasts_at_least_its_duration_on_the_hosts_clock(open_runtime):
    """Semantics 6: a timer lasts at least its duration."""
    async with open_runtime(sleep_briefly) as rt:
        run = await rt.start(sleep_briefly)
        await run.result(timeout=30)
        history = await run.history()
    for started, fired in zip(
        events(history, EventKind.TIMER_STARTED), events(history, EventKind.TIMER_FIRED), strict=True
    ):
        assert fired.at_us - started.at_us >= 12_301
        assert started.details["deadline_us"] - started.at_us == 12_301


async def test_the_hosts_clock_notices_that_it_was_set_forward(monkeypatch):
    """Semantics 6: a timer that is due because the clock was set, or the machine slept, does not wait any longer."""
    monkeypatch.setattr("runtime.clock.TRUSTED_SECONDS", 0.001)
    clock, rung = SystemClock(), asyncio.Event()
    clock.call_at(clock.now_us() + 3_600_000_000, rung.set)
    unwanted = clock.call_at(clock.now_us() + 3_600_000_000, lambda: pytest.fail("it was cancelled"))
    unwanted.cancel()
    real = SystemClock.now_us
    monkeypatch.setattr(SystemClock, "now_us", lambda self: real(self) + 3_600_000_000)
    async with asyncio.timeout(30):
        await rung.wait()


@workflow
async def sleep_until_a_naive_time(ctx: Context) -> None:
    await ctx.sleep_until(datetime(2030, 1, 1))


async def test_naive_datetimes_are_refused_with_the_fix(open_runtime):
    """Semantics 6: naive datetimes are refused with the fix."""
    async with open_runtime(sleep_until_a_naive_time) as rt:
        with pytest.raises(RunFailedError, match=r"naive 2030-01-01.*replace\(tzinfo=UTC\)") as caught:
            await (await rt.start(sleep_until_a_naive_time)).result(timeout=30)
        assert isinstance(caught.value.__cause__, DefinitionError)
        with pytest.raises(DefinitionError, match=r"replace\(tzinfo=UTC\)"):
            async for _ in rt.list(started_after=datetime(2026, 1, 1)):
                pass


# -- 7: timers of asyncio and anyio -----------------------------------------------------------------------

Limit = Callable[[float], AbstractAsyncContextManager[Any]]


async def with_timeout(seconds: float, work: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await work


async def with_timeout_at(seconds: float, work: Any) -> Any:
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + seconds):
        return await work


async def with_wait_for(seconds: float, work: Any) -> Any:
    return await asyncio.wait_for(work, seconds)


async def with_fail_after(seconds: float, work: Any) -> Any:
    with anyio.fail_after(seconds):
        return await work


async def with_call_later(seconds: float, work: Any) -> Any:
    task = asyncio.ensure_future(work)
    handle = asyncio.get_running_loop().call_later(seconds, task.cancel)
    return await _until_cancelled(task, handle)


async def with_call_at(seconds: float, work: Any) -> Any:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    handle = loop.call_at(loop.time() + seconds, task.cancel)
    return await _until_cancelled(task, handle)


async def _until_cancelled(task: asyncio.Future[Any], handle: asyncio.TimerHandle) -> Any:
    await asyncio.wait([task])
    handle.cancel()
    if task.cancelled():
        raise TimeoutError
    return task.result()


LIMITS = {
    limit.__name__: limit
    for limit in (with_timeout, with_timeout_at, with_wait_for, with_fail_after, with_call_later, with_call_at)
}


@step
async def answer() -> int:
    return 42


@workflow
async def in_time(ctx: Context, limit: str) -> int:
    return await LIMITS[limit](600, ctx.step(answer))


@workflow
async def too_late(ctx: Context, limit: str) -> str:
    try:
        await LIMITS[limit](0.01, asyncio.Event().wait())
    except TimeoutError:
        return "too late"
    return "in time"


@workflow
async def nothing_to_wait_for(ctx: Context, limit: str) -> str:
    async def at_once() -> str:
        await asyncio.sleep(0)
        return "at once"

    return await LIMITS[limit](600, at_once())


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_that_holds_makes_one_durable_timer_and_cancels_it(open_runtime, limit):
    """Semantics 7: timeout, timeout_at, wait_for, call_later, call_at, anyio.fail_after each make one durable timer."""
    async with open_runtime(in_time) as rt:
        run = await rt.start(in_time, limit)
        assert await run.result(timeout=30) == 42
        history = await run.history()
    assert kinds(history, *TIMERS) == [EventKind.TIMER_STARTED, EventKind.TIMER_CANCELLED]
    [started] = events(history, EventKind.TIMER_STARTED)
    assert started.details["deadline_us"] - started.at_us == 600_000_000


@pytest.mark.parametrize("limit", LIMITS)
async def test_a_limit_that_expires_makes_one_durable_timer(open_runtime, limit):
    """Semantics 7: the one timer fires, and what asyncio and anyio raise then is raised."""
    async with open_runtime(too_late) as rt:
        run = await rt.start(too_late, limit)
        assert await run.result(timeout=30) == "too late"
        assert kinds(await run.history(), *TIMERS) == [EventKind.TIMER_STARTED, EventKind.TIMER_FIRED]


@pytest.mark.parametrize("limit", LIMITS)
async def test_net_zero_timers_leave_no_trace(open_runtime, limit):
    """Semantics 7: a timer that is started and cancelled within one turn leaves no trace."""
    async with open_runtime(nothing_to_wait_for) as rt:
        run = await rt.start(nothing_to_wait_for, limit)
        assert await run.result(timeout=30) == "at once"
        assert [event.kind for event in await run.history()] == [EventKind.RUN_STARTED, EventKind.RUN_COMPLETED]


@workflow
async def alternate(ctx: Context) -> list[str]:
    seen: list[str] = []

    async def count(name: str, pause: Callable[[], Any]) -> None:
        for number in range(3):
            seen.append(f"{name}{number}")
            await pause()

    await asyncio.gather(count("a", lambda: asyncio.sleep(0)), count("b", lambda: anyio.sleep(0)))
    return seen


async def test_sleeping_for_zero_yields_without_a_timer(open_runtime):
    """Semantics 7: sleep(0) yields without a timer."""
    async with open_runtime(alternate) as rt:
        run = await rt.start(alternate)
        assert await run.result(timeout=30) == ["a0", "b0", "a1", "b1", "a2", "b2"]
        assert kinds(await run.history(), *TIMERS) == []


@workflow
async def sleep_less_than_nothing(ctx: Context) -> None:
    await ctx.sleep(-1)
    await ctx.sleep(timedelta(days=-1))
    await ctx.sleep(0)
    await asyncio.sleep(-1)


async def test_a_negative_sleep_returns_at_once(open_runtime):
    """Semantics 7: a negative sleep returns at once."""
    async with open_runtime(sleep_less_than_nothing) as rt:
        run = await rt.start(sleep_less_than_nothing)
        await run.result(timeout=30)
        assert kinds(await run.history(), *TIMERS) == []


# -- 8: a timer beside a cancellation ---------------------------------------------------------------------


async def with_sleep(ctx: Context) -> None:
    await ctx.sleep(60)


async def with_asyncio_sleep(ctx: Context) -> None:
    await asyncio.sleep(60)


async def with_expiring_timeout(ctx: Context) -> None:
    async with asyncio.timeout(60):
        await asyncio.Event().wait()


async def with_expiring_wait_for(ctx: Context) -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 60)


async def with_move_on_after(ctx: Context) -> None:
    with anyio.move_on_after(60):
        await anyio.Event().wait()


async def with_signal_timeout(ctx: Context) -> None:
    await ctx.wait_signal(go, timeout=60)


async def with_condition_timeout(ctx: Context) -> None:
    await ctx.wait_condition(lambda: False, timeout=60)


WAITS = {
    wait.__name__: wait
    for wait in (
        with_sleep,
        with_asyncio_sleep,
        with_expiring_timeout,
        with_expiring_wait_for,
        with_move_on_after,
        with_signal_timeout,
        with_condition_timeout,
    )
}


@workflow
async def wait_and_return(ctx: Context, wait: str) -> str:
    await WAITS[wait](ctx)
    ctx.set_attributes(went_on=True)
    return "went on"


@pytest.mark.parametrize("wait", WAITS)
async def test_the_cancellation_wins_over_a_timer_due_in_the_same_turn(open_runtime, open_client, clock, wait):
    """Semantics 8: a timer due beside a cancellation in one turn: the cancellation wins and the run ends."""
    async with open_runtime(wait_and_return, clock=clock) as rt:
        run = await rt.start(wait_and_return.options(id="x"), wait)
        await run.until_waiting(timeout=30)
    clock.advance(61.0)
    async with open_client(clock=clock) as client:
        await client.get("x").cancel("enough")
    async with open_runtime(wait_and_return, clock=clock) as rt:
        run = rt.get("x")
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result(timeout=30)
        history = await run.history()
        assert (await run.describe()).attributes == {}
    [cancelled], [fired] = events(history, EventKind.CANCEL_REQUESTED), events(history, EventKind.TIMER_FIRED)
    assert cancelled.batch == fired.batch


# -- 9: conditions ----------------------------------------------------------------------------------------


@workflow
async def conditions_without_time(ctx: Context) -> list[str]:
    await ctx.wait_condition(lambda: True, timeout=0)
    outcomes = ["true"]
    try:
        await ctx.wait_condition(lambda: False, timeout=0)
    except ConditionTimeoutError:
        outcomes.append("false")
    return outcomes


async def test_a_true_condition_succeeds_without_time(open_runtime):
    """Semantics 9: wait_condition(timeout=0) with a true predicate succeeds."""
    async with open_runtime(conditions_without_time) as rt:
        run = await rt.start(conditions_without_time)
        assert await run.result(timeout=30) == ["true", "false"]
        assert kinds(await run.history(), *TIMERS) == []


@workflow
async def condition_that_raises(ctx: Context, at_once: bool) -> None:
    ready = at_once

    @ctx.on(go)
    def _() -> None:
        nonlocal ready
        ready = True

    def broken_predicate() -> bool:
        if ready:
            raise LookupError("no such order")
        return False

    await ctx.wait_condition(broken_predicate)


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "later"])
async def test_a_predicate_that_raises_fails_the_run_with_its_traceback(open_runtime, at_once):
    """Semantics 9: a predicate that raises fails the run with its traceback."""
    async with open_runtime(condition_that_raises) as rt:
        run = await rt.start(condition_that_raises, at_once)
        if not at_once:
            await run.until_waiting("condition", timeout=30)
            await run.signal(go)
        with pytest.raises(RunFailedError, match="no such order") as caught:
            await run.result(timeout=30)
    cause = caught.value.__cause__
    assert isinstance(cause, LookupError)
    notes = "\n".join(cause.__notes__)
    assert "broken_predicate" in notes
    assert "test_time.py" in notes


evaluations = Query("evaluations", int)
gate: list[asyncio.Event] = []


@step
async def pass_the_gate() -> None:
    await gate[0].wait()


@workflow
async def counted_condition(ctx: Context) -> int:
    count = 0

    @ctx.on(evaluations)
    def _() -> int:
        return count

    def predicate() -> bool:
        nonlocal count
        count += 1
        return passing.done()

    passing = asyncio.ensure_future(ctx.step(pass_the_gate))
    await ctx.wait_condition(predicate)
    return count


async def test_conditions_are_not_evaluated_by_queries(open_runtime):
    """Semantics 9: conditions are not evaluated by queries."""
    gate[:] = [asyncio.Event()]
    async with open_runtime(counted_condition) as rt:
        run = await rt.start(counted_condition)
        asked = [await run.query(evaluations) for _ in range(3)]
        assert asked == [2, 2, 2]
        gate[0].set()
        assert await run.result(timeout=30) == 3


# -- 10: long sleeps --------------------------------------------------------------------------------------


@workflow
async def sleep_until_the_past(ctx: Context) -> None:
    await ctx.sleep_until(ctx.now() - timedelta(seconds=1))
    await ctx.sleep_until(ctx.now())
    await ctx.sleep_until(datetime(1999, 12, 31, tzinfo=BERLIN))


async def test_sleeping_until_the_past_returns_at_once(open_runtime):
    """Semantics 10: sleep_until in the past returns at once."""
    async with open_runtime(sleep_until_the_past) as rt:
        run = await rt.start(sleep_until_the_past)
        await run.result(timeout=30)
        assert kinds(await run.history(), *TIMERS) == []


@workflow
async def sleep_thirty_days(ctx: Context) -> datetime:
    await ctx.sleep(timedelta(days=30))
    return ctx.now()


@workflow
async def sleep_until_noon_in_april(ctx: Context) -> datetime:
    await ctx.sleep_until(datetime(2026, 4, 1, 12, tzinfo=BERLIN))
    return ctx.now()


@pytest.mark.parametrize(
    ("sleeper", "wakes_at"),
    [
        (sleep_thirty_days, datetime(2026, 3, 31, 12, tzinfo=UTC)),
        (sleep_until_noon_in_april, datetime(2026, 4, 1, 10, tzinfo=UTC)),
    ],
    ids=["for 30 days", "until noon in Berlin"],
)
async def test_long_sleeps_survive_restarts_and_dst(open_runtime, sleeper, wakes_at):
    """Semantics 10: 30-day sleeps survive restarts and DST changes (that of Berlin is on 29 March)."""
    clock = HeldClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    async with open_runtime(sleeper, clock=clock) as rt:
        run = await rt.start(sleeper.options(id="x"))
        await run.until_waiting("sleep", timeout=30)
    for _ in range(5):
        clock.advance(timedelta(days=5))
        async with open_runtime(sleeper, nothing, clock=clock) as rt:
            await let_the_worker_look(rt)
            assert await rt.get("x").status() is RunStatus.WAITING
    async with open_runtime(sleeper, nothing, clock=clock) as rt:
        clock.advance(wakes_at - clock.now - timedelta(microseconds=1))
        await let_the_worker_look(rt)
        assert await rt.get("x").status() is RunStatus.WAITING
        clock.advance(timedelta(microseconds=1))
        assert datetime.fromisoformat(await rt.get("x").result(timeout=30)) == wakes_at
