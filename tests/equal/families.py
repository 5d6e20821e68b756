"""Workflows of several runs, and of runs that undo what they did: children, successors, sagas, rollbacks."""

from __future__ import annotations

import asyncio
from typing import Any

from durable import ChildCancelledError, Context, RetryPolicy, step, workflow
from equal.flows import double, fail, go


@step
async def undo(number: int) -> None:
    pass


@step(retry=RetryPolicy(max_attempts=2, initial_interval=5, jitter=0))
async def cannot_undo(number: int) -> None:
    raise ValueError(f"{number} cannot be undone")


# -- children ---------------------------------------------------------------------------------------------


@workflow
async def child(ctx: Context, number: int) -> int:
    await ctx.sleep(10 * abs(number))
    if number < 0:
        raise ValueError(f"bad number {number}")
    return await ctx.step(double, number)


@workflow
async def listener(ctx: Context) -> int:
    number = await ctx.wait_signal(go)
    await ctx.sleep(3600)
    return number


@workflow
async def children(ctx: Context) -> list[Any]:
    first = await ctx.child_workflow(child.options(id="first"), 1)
    handles = [await ctx.start_child(child.options(id=f"child-{number}"), number) for number in (3, 1, 2)]
    results: list[Any] = [first, *[await handle for handle in handles]]
    results.append(await ctx.step(double, first))
    return results


@workflow
async def failing_child(ctx: Context) -> str:
    try:
        await ctx.child_workflow(child.options(id="bad"), -1)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "never"


@workflow
async def unhandled_child_failure(ctx: Context) -> None:
    await ctx.child_workflow(child.options(id="bad"), -1)


@workflow
async def cancelled_child(ctx: Context) -> list[str]:
    handle = await ctx.start_child(listener.options(id="listener"))
    await handle.signal(go, 1)
    await ctx.sleep(1)
    handle.cancel("enough")
    try:
        await handle
    except ChildCancelledError as error:
        return [str(error)]
    return []


@workflow
async def taken_id(ctx: Context) -> str:
    await ctx.child_workflow(child.options(id="taken"), 1)
    try:
        await ctx.child_workflow(child.options(id="taken"), 2)
    except Exception as error:
        return type(error).__name__
    return "never"


@workflow
async def leaves_children(ctx: Context) -> str:
    """Ends while three children go on, each with another fate."""
    for fate in ("terminate", "cancel", "abandon"):
        await ctx.start_child(listener.options(id=f"to-{fate}", on_parent_close=fate))
    await ctx.sleep(1)
    return "gone"


@workflow
async def tells(ctx: Context) -> None:
    """Signals and cancels another run."""
    await ctx.sleep(1)
    await ctx.workflow("listener").signal(go, 5)
    await ctx.sleep(1)
    await ctx.workflow("listener").cancel()


# -- successors -------------------------------------------------------------------------------------------


@workflow
async def again(ctx: Context, hops: int, seen: list[int]) -> list[int]:
    """Carries compensations, and signals that it has not read."""
    await ctx.step(double.options(compensate=undo), hops)
    seen.append(await ctx.wait_signal(go))
    if hops < 2:
        left = asyncio.create_task(ctx.sleep(3600))
        await ctx.sleep(60)
        ctx.continue_as_new(hops + 1, seen)
        left.cancel()
    await ctx.step(fail, sum(seen))
    return seen


@workflow
async def countdown(ctx: Context, left: int) -> str:
    if left:
        await ctx.sleep(60)
        ctx.continue_as_new(left - 1)
    return "done"


@workflow
async def waits_for_a_successor(ctx: Context) -> str:
    return await ctx.child_workflow(countdown.options(id="countdown"), 2)


# -- undoing ----------------------------------------------------------------------------------------------


@workflow
async def rolled_back(ctx: Context) -> None:
    await ctx.step(double.options(compensate=undo), 1)
    ctx.compensate(undo, 17)
    try:
        async with ctx.saga():
            await ctx.step(double.options(compensate=undo), 2)
            await ctx.step(fail, 3)
    except ValueError:
        pass
    await asyncio.gather(*(ctx.step(double.options(compensate=undo), number) for number in (3, 4)))
    await ctx.child_workflow(child.options(id="undone", compensate=undo), 1)
    await ctx.step(fail, 5)


@workflow
async def rollback_fails(ctx: Context) -> None:
    await ctx.step(double.options(compensate=undo), 1)
    await ctx.step(double.options(compensate=cannot_undo), 2)
    await ctx.step(double.options(compensate=undo), 3)
    await ctx.step(fail, 3)


@workflow
async def caught(ctx: Context) -> str:
    """A failure that is caught undoes nothing; a rollback by hand does."""
    await ctx.step(double.options(compensate=undo), 1)
    try:
        await ctx.step(fail, 2)
    except ValueError as error:
        await ctx.rollback()
        return str(error)
    return "never"


@workflow
async def cancelled(ctx: Context) -> None:
    await ctx.step(double.options(compensate=undo), 1)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep(3600))
            await ctx.wait_signal(go)
    finally:
        await ctx.step(double, 2)
        await ctx.sleep(60)
