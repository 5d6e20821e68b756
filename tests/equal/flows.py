"""Workflows of one run: steps, their failures and limits, time, groups, messages, people."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import anyio

from durable import (
    ApprovalRejectedError,
    CompleteLater,
    Context,
    Query,
    QuestionTimeoutError,
    RetryAfter,
    RetryPolicy,
    Signal,
    StepError,
    Update,
    heartbeat,
    step,
    step_info,
    workflow,
)

go = Signal("go", int)
stop = Signal("stop", str)
total = Query("total", int)
add = Update("add", int, returns=int)

tokens: list[str] = []
"""Of steps that were handed over, for the drive."""

# -- steps ------------------------------------------------------------------------------------------------


@step
async def double(number: int) -> int:
    return 2 * number


@step
def triple(number: int) -> int:
    return 3 * number


@step(retry=RetryPolicy(max_attempts=1))
async def fail(number: int) -> int:
    raise ValueError(f"bad number {number}")


@step(retry=RetryPolicy(max_attempts=3, initial_interval=5, jitter=0))
async def second_time(number: int) -> int:
    if step_info().attempt == 1:
        raise ConnectionError("down")
    return number


@step(retry=RetryPolicy(max_attempts=3, initial_interval=5, jitter=0))
async def never(number: int) -> int:
    raise ConnectionError(f"no connection {number}, attempt {step_info().attempt}")


@step(retry=RetryPolicy(max_attempts=3))
async def later(number: int) -> int:
    if step_info().attempt < 3:
        raise RetryAfter(3600, "busy")
    return number


@step(timeout=30, retry=RetryPolicy(max_attempts=2, initial_interval=5, jitter=0))
async def too_slow() -> None:
    await asyncio.Event().wait()


@step(total_timeout=40, retry=RetryPolicy(max_attempts=50, initial_interval=15, max_interval=15, jitter=0))
async def too_slow_in_all() -> None:
    raise ConnectionError("down")


@step(heartbeat_timeout=10, retry=RetryPolicy(max_attempts=2, initial_interval=5, jitter=0))
async def silent() -> str:
    if step_info().attempt == 2:
        return f"came to {step_info().heartbeat_details}"
    heartbeat(17)
    await asyncio.Event().wait()
    return ""


@step
async def for_ever() -> None:
    await asyncio.Event().wait()


@step(delivery="at_most_once")
async def charge(amount: int) -> str:
    return f"charged {amount}"


@step(delivery="at_most_once")
async def charge_in_vain(amount: int) -> str:
    raise ConnectionError("who knows")


@step(timeout=timedelta(days=1), retry=RetryPolicy(max_attempts=1))
async def by_hand(name: str) -> str:
    tokens.append(step_info().token)
    raise CompleteLater


# -- steps one after the other ----------------------------------------------------------------------------


@workflow
async def sequential(ctx: Context, length: int) -> int:
    number = 1
    for _ in range(length):
        number = await ctx.step(double, number)
    return number + await ctx.step(triple, 1)


@workflow
async def retries(ctx: Context) -> list[Any]:
    said: list[Any] = [await ctx.step(second_time, 1)]
    try:
        await ctx.step(never, 2)
    except ConnectionError as error:
        said.append(str(error))
    return said


@workflow
async def retry_after(ctx: Context) -> int:
    return await ctx.step(later, 1)


@workflow
async def step_timeout(ctx: Context) -> None:
    await ctx.step(too_slow)


@workflow
async def step_total_timeout(ctx: Context) -> None:
    await ctx.step(too_slow_in_all)


@workflow
async def heartbeats(ctx: Context) -> str:
    return await ctx.step(silent)


@workflow
async def at_most_once(ctx: Context) -> list[str]:
    said = [await ctx.step(charge, 1)]
    try:
        await ctx.step(charge_in_vain, 2)
    except (StepError, ConnectionError) as error:
        said.append(f"{type(error).__name__}: {error}")
    return said


@workflow
async def handed_over(ctx: Context) -> list[str]:
    first = await ctx.step(by_hand, "a")
    try:
        await ctx.step(by_hand, "b")
    except StepError as error:
        return [first, str(error)]
    return [first]


@workflow
async def handed_over_for_too_long(ctx: Context) -> str:
    return await ctx.step(by_hand, "c")


# -- at once ----------------------------------------------------------------------------------------------


@workflow
async def gathered(ctx: Context) -> list[int]:
    first = await asyncio.gather(*(ctx.step(double, number) for number in range(5)))
    return await asyncio.gather(*(ctx.step(double, number) for number in first))


@workflow
async def task_group(ctx: Context) -> list[int]:
    results: list[int] = []

    async def run(number: int) -> None:
        await ctx.sleep(number + 1)
        results.append(await ctx.step(double, number))
        await ctx.sleep(10 * number)
        results.append(await ctx.step(double, -number))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(run(number))
    return results


@workflow
async def failing_group(ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sleep(3600))
        group.create_task(ctx.wait_signal(go))
        group.create_task(ctx.step(fail, 1))


@workflow
async def nested_scopes(ctx: Context) -> list[str]:
    said: list[str] = []
    async with anyio.create_task_group() as outer:
        outer.start_soon(ctx.sleep, 5)
        with anyio.move_on_after(10) as scope:
            async with anyio.create_task_group() as inner:
                inner.start_soon(ctx.sleep, 3600)
                with anyio.fail_after(7200):
                    await ctx.wait_condition(lambda: False)
        said.append(f"cancelled {scope.cancelled_caught}")
        with anyio.CancelScope(shield=True):
            said.append(str(await ctx.step(double, 2)))
        outer.cancel_scope.cancel()
    return said


@workflow
async def first_completed(ctx: Context) -> list[Any]:
    names = [asyncio.create_task(ctx.sleep(seconds), name=str(seconds)) for seconds in (30, 10, 20)]
    done, pending = await asyncio.wait(names, return_when=asyncio.FIRST_COMPLETED)
    said: list[Any] = [task.get_name() for task in done]
    for task in pending:
        task.cancel()
    said.append(await ctx.step(double, len(pending)))
    return said


@workflow
async def as_completed(ctx: Context) -> list[int]:
    async def after(seconds: int) -> int:
        await ctx.sleep(seconds)
        return await ctx.step(double, seconds)

    return [await one for one in asyncio.as_completed([after(30), after(10), after(20)])]


@workflow
async def detached(ctx: Context) -> list[str]:
    """A step that nobody waits for any more, and one whose end is not waited for."""
    said: list[str] = []
    try:
        async with asyncio.timeout(10):
            await ctx.step(by_hand, "d")
    except TimeoutError:
        said.append("in vain")
    await ctx.sleep(1)
    left = asyncio.create_task(ctx.sleep(3600))
    said.append(str(await ctx.step(double, 1)))
    return [*said, str(left.done())]


@workflow
async def left_generator(ctx: Context) -> list[int]:
    seen: list[int] = []

    async def numbers() -> Any:
        try:
            for number in range(10):
                yield await ctx.step(double, number)
        finally:
            seen.append(await ctx.step(triple, 5))

    async for number in numbers():
        seen.append(number)
        if number == 4:
            break
    await ctx.sleep(1)
    return seen


# -- time -------------------------------------------------------------------------------------------------


@workflow
async def timers(ctx: Context) -> list[str]:
    begin = ctx.now()
    await ctx.sleep(timedelta(days=30))
    await asyncio.sleep(60)
    await ctx.sleep_until(begin + timedelta(days=40))
    await ctx.sleep_until(begin)
    await asyncio.gather(*(ctx.sleep(number) for number in (3, 1, 2, 1)))
    return [str(ctx.now() - begin)]


@workflow
async def timeout_around_a_step(ctx: Context) -> str:
    async with asyncio.timeout(60):
        number = await ctx.step(double, 1)
    try:
        async with asyncio.timeout(60):
            await ctx.step(by_hand, "e")
    except TimeoutError:
        return f"{number} in time"
    return "never"


@workflow(timeout=3600)
async def run_timeout(ctx: Context) -> None:
    try:
        await ctx.sleep(7200)
    finally:
        await ctx.step(double, 1)


# -- messages ---------------------------------------------------------------------------------------------


@workflow
async def one_signal(ctx: Context) -> list[Any]:
    said: list[Any] = [await ctx.wait_signal(go, timeout=60)]
    try:
        await ctx.wait_signal(go, timeout=60)
    except TimeoutError as error:
        said.append(str(error))
    return said


@workflow
async def many_signals(ctx: Context) -> list[Any]:
    seen: list[Any] = []

    @ctx.on(stop)
    async def _(why: str) -> None:
        seen.append(why)
        await ctx.step(double, 100)

    async for number in ctx.signals(go):
        seen.append(number)
        if not number:
            break
        await ctx.step(double, number)
    return seen


@workflow
async def updates(ctx: Context) -> int:
    amount = 0

    @ctx.on(total)
    def _() -> int:
        return amount

    @ctx.on(add)
    async def on_add(number: int) -> int:
        nonlocal amount
        if number == 13:
            raise ValueError("unlucky")
        amount += await ctx.step(double, number)
        return amount

    @on_add.validator
    def _(number: int) -> None:
        if number < 0:
            raise ValueError("too small")

    await ctx.wait_condition(lambda: amount > 5)
    await ctx.wait_signal(go)
    return amount


@workflow
async def condition_in_vain(ctx: Context) -> str:
    try:
        await ctx.wait_condition(lambda: False, timeout=60)
    except TimeoutError:
        return "in vain"
    return "never"


# -- people -----------------------------------------------------------------------------------------------


@workflow
async def people(ctx: Context) -> list[str]:
    decision = await ctx.ask_approval("Deploy?", timeout=3600)
    number = await ctx.ask_user("How many?", int, key="count")
    said = [decision.by, decision.comment, str(number)]
    said.append(await ctx.ask_user("Anybody?", timeout=60, default="nobody"))
    try:
        await ctx.ask_approval("Really?")
    except ApprovalRejectedError as error:
        said += [error.by, error.comment]
    try:
        await ctx.ask_approval("And now?", timeout=60)
    except QuestionTimeoutError:
        said.append("too late")
    return said


# -- what is left beside the history ----------------------------------------------------------------------


@workflow
async def everything_else(ctx: Context) -> list[Any]:
    drawn = [0 <= ctx.random.random() < 1, len(str(ctx.uuid4()))]
    if ctx.patched("new side"):
        await ctx.step(double, 1)
    ctx.publish("state", {"drawn": drawn})
    ctx.set_attributes(colour="red", count=len(drawn))
    for item in range(3):
        ctx.stream("items").write(item)
    ctx.deprecate_patch("old side")
    await ctx.sleep(1)
    ctx.set_attributes(colour=None)
    ctx.publish("state", "done")
    try:
        await ctx.workflow("nobody").signal(go, 1)
    except Exception as error:
        drawn.append(type(error).__name__)
    try:
        await ctx.step(fail.options(timeout=10), 1)
    except ValueError as error:
        drawn.append(str(error))
    return [*drawn, ctx.info.history_events]
