"""Steps that somebody else completes: their reports, their limits, their end (semantics 31)."""

from __future__ import annotations

import asyncio
import functools
from contextlib import suppress
from typing import Any

import pytest

from durable import CompleteLater, Context, RetryPolicy, Signal, StepTimeoutError, step, step_info, workflow
from durable.errors import CallerError, DecodeError, RunClosedError, RunFailedError, StepCancelledError
from runtime import Worker
from runtime.worker.token import parse_token
from semantics.waiting import until

pytestmark = pytest.mark.anyio

go = Signal("go", bool)

seen: list[Any] = []
tokens: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record."""
    seen.clear()
    tokens.clear()


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
        clock.advance(2)

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


async def test_steps_that_were_handed_over_cost_rows_only(open_runtime, clock):
    """Semantics 31: a run that waits for others is no burden to its worker, whatever limits its step has; the first one is
    kept."""
    definition = hands_over_with(timeout=3600, heartbeat_timeout=600)
    async with open_runtime(definition, clock=clock) as rt:
        runs = [await rt.start(definition.options(id=f"x{number}")) for number in range(5)]

        async def are_parked() -> bool:
            return all([await is_handed_over(run) and (await run.row()).owner is None for run in runs])

        await until(rt, are_parked)
        assert not rt.worker.engine.held
        token_of = {parse_token(token)[0]: token for token in tokens}
        clock.advance(599)
        assert await rt.step(token_of[runs[0].run_id]).heartbeat()
        await rt.step(token_of[runs[1].run_id]).complete(7)
        assert await runs[1].result(timeout=30) == 7
        clock.advance(2)
        for run in runs[2:]:
            assert "heartbeat_timeout of 10 min" in await run.result(timeout=30)
        clock.advance(3000)
        assert "timeout of" in await runs[0].result(timeout=30)


def gives_up_after(**options: Any) -> Any:
    @step(name="hands_over_long", **options)
    async def hands_over() -> int:
        tokens.append(step_info().token)
        raise CompleteLater

    @workflow(name="gives_up")
    async def gives_up(ctx: Context) -> str:
        ctx.compensate(note_undone)
        try:
            async with asyncio.timeout(10):
                await ctx.step(hands_over)
        except TimeoutError:
            pass
        raise ValueError("no")

    return gives_up


async def note_undone() -> None:
    seen.append("undone")


@pytest.mark.parametrize("options", [{}, {"timeout": 3600}], ids=["no limit", "limit"])
async def test_a_step_that_was_handed_over_can_be_cancelled_by_its_run(open_runtime, clock, options):
    """Semantics 31: cancel: who works on it is told by the next heartbeat, and a rollback does not wait for them for ever.
    A result that comes too late changes nothing, refused because the run is over or dropped beside the cancellation."""
    definition = gives_up_after(**options)
    async with open_runtime(definition, clock=clock) as rt:
        run = await rt.start(definition)
        await until(rt, lambda: is_handed_over(run))
        clock.advance(10)
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await run.result(timeout=30)
        assert seen == ["undone"]
        assert not await rt.step(tokens[0]).heartbeat("still at it")
        ended = await run.history()
        with suppress(RunClosedError):
            await rt.step(tokens[0]).complete(1)
        assert await run.history() == ended


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


def repeats_on(queue: str | None) -> Any:
    @step(name="hands_over", queue=queue, timeout=60, retry=RetryPolicy(max_attempts=3, initial_interval=0.001))
    async def hands_over() -> str:
        tokens.append(step_info().token)
        raise CompleteLater

    @workflow(name="goes_on", messages=[go])
    async def goes_on(ctx: Context) -> str:
        return f"{await ctx.step(hands_over)}, {await ctx.wait_signal(go)}"

    return goes_on, hands_over


@pytest.mark.parametrize("queue", [None, "elsewhere"], ids=["own", "routed"])
async def test_a_step_that_others_completed_is_not_tried_again(open_runtime, clock, url, queue):
    """Semantics 31: its outcome is final, though the limits of the attempt that handed it over pass later."""
    goes_on, hands_over = repeats_on(queue)
    async with (
        open_runtime(goes_on, clock=clock) as rt,
        Worker(url, steps=[hands_over], queues=["elsewhere"], clock=clock),
    ):
        run = await rt.start(goes_on)
        await until(rt, lambda: is_handed_over(run))
        await rt.step(tokens[0]).complete("done")
        await run.until_waiting("go", timeout=30)
        for delay in (61, 1, 1):
            clock.advance(delay)
            other = await rt.start(goes_on)  # what is due by now is done before this one is handed over
            await until(rt, functools.partial(is_handed_over, other))
            await other.terminate()
        await run.signal(go, True)
        assert await run.result(timeout=30) == "done, True"
        assert len(tokens) == 4
