"""Workflows of every shape that a history can have."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from durable import (
    ApprovalRejectedError,
    ChildCancelledError,
    Context,
    Query,
    RetryPolicy,
    RunCancelledError,
    RunFailedError,
    Signal,
    StepError,
    Update,
    step,
    workflow,
)
from durable.errors import RunTimeoutError
from durable.history import EventKind
from replay.recording import PATIENCE, shape
from runtime import Runtime
from runtime.client.handle import RunHandle

# -- steps ------------------------------------------------------------------------------------------------

go = Signal("go", int)
pause = Signal("pause", bool)
total = Query("total", int)
add = Update("add", int, returns=int)


@step
async def double(number: int) -> int:
    return 2 * number


@step(retry=RetryPolicy(max_attempts=3, initial_interval=0.001))
async def fail_often(number: int) -> int:
    raise ConnectionError(f"no connection {number}")


@step
async def fail(number: int) -> int:
    raise ValueError(f"bad number {number}")


@step
async def undo(number: int) -> None:
    pass


@step(retry=RetryPolicy(max_attempts=1))
async def cannot_undo(number: int) -> None:
    raise ValueError(f"{number} cannot be undone")


@step(delivery="at_most_once")
async def charge(amount: int) -> str:
    return f"charged {amount}"


@step
async def write_a_book(letters: int) -> str:
    return "x" * letters


@step
async def wait_for_ever() -> None:
    await asyncio.Event().wait()


# -- shapes -----------------------------------------------------------------------------------------------


@shape(5)
async def sequential(ctx: Context, length: int) -> int:
    number = 1
    for _ in range(length):
        number = await ctx.step(double, number)
    return number


@shape()
async def parallel_gather(ctx: Context) -> list[int]:
    first = await asyncio.gather(*(ctx.step(double, number) for number in range(5)))
    return await asyncio.gather(*(ctx.step(double, number) for number in first))


@shape()
async def task_group(ctx: Context) -> list[int]:
    results: list[int] = []

    async def run(number: int) -> None:
        results.append(await ctx.step(double, number))
        await ctx.sleep(0.001 * number)
        results.append(await ctx.step(double, -number))

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(run(number))
    return results


@shape()
async def anyio_group(ctx: Context) -> list[int]:
    results: list[int] = []

    async def run(number: int) -> None:
        with anyio.move_on_after(10):
            results.append(await ctx.step(double, number))
        with anyio.move_on_after(0.002):
            await ctx.step(wait_for_ever)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(run, number)
    return results


@shape()
async def retrying(ctx: Context) -> str:
    try:
        await ctx.step(fail_often, 1)
    except ConnectionError as error:
        await ctx.step(double, 1)
        return str(error)
    return "no error"


@shape()
async def timers(ctx: Context) -> str:
    await ctx.sleep(0.001)
    await asyncio.sleep(0.001)
    try:
        async with asyncio.timeout(0.002):
            await ctx.wait_condition(lambda: False)
    except TimeoutError:
        pass
    async with asyncio.timeout(60):
        await ctx.step(double, 1)
    await asyncio.gather(*(ctx.sleep(0.001 * number) for number in (3, 1, 2, 1)))
    return ctx.now().isoformat()


async def send_signals(rt: Runtime, run: RunHandle[Any]) -> None:
    for number in (1, 2, 3):
        await run.signal(go, number)
    await run.until_waiting("go")
    await run.signal("pause", "not a truth value")
    await run.signal(pause, True)
    await run.signal(go, 0)
    await run.result(timeout=PATIENCE)


@shape(script=send_signals)
async def signals(ctx: Context) -> list[Any]:
    seen: list[Any] = []

    @ctx.on(pause)
    async def _(value: bool) -> None:
        seen.append(value)
        await ctx.step(double, 1)

    async for number in ctx.signals(go):
        seen.append(number)
        if not number:
            break
        await ctx.step(double, number)
    return seen


async def send_updates(rt: Runtime, run: RunHandle[Any]) -> None:
    await asyncio.gather(*(run.update(add, number) for number in (1, 2, 3)))
    for number in (-1, 13):
        try:
            await run.update(add, number)
        except Exception:
            continue
    await run.query(total)
    await run.signal(go, 0)
    await run.result(timeout=PATIENCE)


@shape(script=send_updates)
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

    await ctx.wait_signal(go)
    return amount


@workflow
async def child(ctx: Context, number: int) -> int:
    await ctx.sleep(0.001)
    if number < 0:
        raise ValueError(f"bad number {number}")
    return await ctx.step(double, number)


@workflow
async def listener(ctx: Context) -> None:
    await ctx.wait_signal(go)
    await ctx.sleep(3600)


@shape(others=(child,))
async def children(ctx: Context) -> list[Any]:
    first = await ctx.child_workflow(child, 1)
    handles = [await ctx.start_child(child.options(id=f"child-{number}"), number) for number in range(3)]
    results: list[Any] = [first, *[await handle for handle in handles]]
    try:
        await ctx.child_workflow(child, -1)
    except Exception as error:
        results.append(str(error))
    results.append(await ctx.step(double, first))
    return results


async def signal_and_follow(rt: Runtime, run: RunHandle[Any]) -> None:
    for number in (1, 2, 3, 4, 5):
        await run.signal(go, number)
    await run.result(timeout=PATIENCE)


@shape(0, [], script=signal_and_follow)
async def continue_as_new(ctx: Context, hops: int, seen: list[int]) -> list[int]:
    await ctx.step(double.options(compensate=undo), hops)
    left = asyncio.create_task(ctx.step(wait_for_ever))
    seen.append(await ctx.wait_signal(go))
    if hops < 3:
        ctx.continue_as_new(hops + 1, seen)
    left.cancel()
    return seen


@shape()
async def at_most_once(ctx: Context) -> list[str]:
    return [await ctx.step(charge, amount) for amount in (1, 2, 3)]


async def cancel_it(rt: Runtime, run: RunHandle[Any]) -> None:
    await run.until_waiting("sleep")
    await run.cancel("changed my mind")
    try:
        await run.result(timeout=PATIENCE)
    except RunCancelledError:
        return


@shape(script=cancel_it)
async def cancelled(ctx: Context) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(3600))
            group.create_task(asyncio.sleep(3600))
            await ctx.wait_signal(go)
    finally:
        with anyio.CancelScope(shield=True):
            await ctx.step(double, 1)
            await ctx.sleep(0.001)


async def leave_it_waiting(rt: Runtime, run: RunHandle[Any]) -> None:
    await run.until_waiting("approval")


async def answer_everything(rt: Runtime, run: RunHandle[Any]) -> None:
    await run.until_waiting("approval")
    await run.approve(by="alice", comment="fine")
    await run.until_waiting("answer")
    await run.answer(7, by="bob")
    await run.until_waiting("approval")
    await run.reject(by="carol", comment="not today")
    await run.result(timeout=PATIENCE)


async def ask_people(ctx: Context) -> list[str]:
    decision = await ctx.ask_approval("Deploy?", timeout=3600)
    number = await ctx.ask_user("How many?", int, key="count")
    said = [decision.by, decision.comment, str(number)]
    said.append(await ctx.ask_user("Anybody?", timeout=0.001, default="nobody"))
    try:
        await ctx.ask_approval("Really?")
    except ApprovalRejectedError as error:
        said += [error.by, error.comment]
    return said


shape(script=leave_it_waiting)(workflow(name="waiting_for_a_person")(ask_people))
shape(script=answer_everything)(workflow(name="answered_by_people")(ask_people))


async def expect_failure(rt: Runtime, run: RunHandle[Any]) -> None:
    try:
        await run.result(timeout=PATIENCE)
    except (RunFailedError, RunTimeoutError):
        return


@shape(script=expect_failure)
async def compensation(ctx: Context) -> None:
    await ctx.step(double.options(compensate=undo), 1)
    ctx.compensate(undo, 17)
    try:
        async with ctx.saga():
            await ctx.step(double.options(compensate=undo), 2)
            await ctx.step(fail, 3)
    except ValueError:
        pass
    await asyncio.gather(*(ctx.step(double.options(compensate=undo), number) for number in (3, 4)))
    await ctx.step(fail, 5)


@shape(script=expect_failure, others=(child,))
async def failing_group(ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.step(wait_for_ever))
        group.create_task(ctx.child_workflow(child, 1))
        group.create_task(ctx.step(fail, 1))


shape(script=expect_failure)(workflow(name="timed_out", timeout=0.02)(cancelled.fn))


@shape(others=(listener,))
async def detached(ctx: Context) -> list[Any]:
    """What is cancelled while it runs, and the outcome that comes later."""
    with anyio.move_on_after(0.002):
        await ctx.step(wait_for_ever)
    handle = await ctx.start_child(listener)
    await handle.signal(go, 1)
    handle.cancel("enough")
    try:
        await handle
    except ChildCancelledError as error:
        return [str(error)]
    return []


async def pause_it(rt: Runtime, run: RunHandle[Any]) -> None:
    await run.until_waiting("go")
    await run.pause()
    await run.signal(go, 1)
    await run.resume()
    await run.result(timeout=PATIENCE)


@shape(script=pause_it)
async def paused(ctx: Context) -> int:
    return await ctx.step(double, await ctx.wait_signal(go))


async def undo_in_vain(rt: Runtime, run: RunHandle[Any]) -> None:
    await expect_failure(rt, run)
    await run.rollback()

    async def look() -> bool | None:
        return [event.kind for event in await run.history()].count(EventKind.ROLLBACK_FAILED) == 2 or None

    async with asyncio.timeout(PATIENCE):
        await rt.watch.until(look, lambda change: True)


@shape(script=undo_in_vain)
async def rollback_that_fails(ctx: Context) -> None:
    await ctx.step(double.options(compensate=undo), 1)
    await ctx.step(double.options(compensate=cannot_undo), 2)
    await ctx.step(fail, 3)


async def terminate_it(rt: Runtime, run: RunHandle[Any]) -> None:
    await run.until_waiting("go")
    await run.terminate("out of order")


@shape(script=terminate_it)
async def terminated(ctx: Context) -> None:
    try:
        await ctx.wait_signal(go)
    finally:
        await ctx.step(double, 1)


broken = True


@step
async def fail_until_mended(number: int) -> int:
    if broken:
        raise ValueError("broken")
    return number


async def mend_and_retry(rt: Runtime, run: RunHandle[Any]) -> None:
    global broken
    await expect_failure(rt, run)
    broken = False
    await (await run.retry()).result(timeout=PATIENCE)


@shape(script=mend_and_retry)
async def retried(ctx: Context) -> list[Any]:
    drawn = [ctx.random.random(), await ctx.step(double, 1)]
    drawn.append(await ctx.step(fail_until_mended, 2))
    return [*drawn, ctx.random.random()]


@shape()
async def everything_else(ctx: Context) -> list[Any]:
    drawn = [ctx.random.random(), str(ctx.uuid4())]
    if ctx.patched("new side"):
        await ctx.step(double, 1)
    ctx.publish("state", {"drawn": drawn})
    ctx.set_attributes(colour="red", count=len(drawn))
    for item in range(3):
        ctx.stream("items").write(item)
    book = await ctx.step(write_a_book, 50_000)
    ctx.deprecate_patch("old side")
    ctx.publish("book", book)
    try:
        await ctx.workflow("nobody").signal(go, 1)
    except Exception as error:
        drawn.append(type(error).__name__)
    try:
        await ctx.step(fail.options(timeout=10), 1)
    except (StepError, ValueError) as error:
        drawn.append(str(error))
    return [*drawn, ctx.random.random(), ctx.info.history_events, len(book)]
