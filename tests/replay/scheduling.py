"""Workflows whose commands tell in which order the loop wakes what: whatever it changes, changes their histories (K9).

Each writes down what it sees, and hands every line to a step, so that history holds the order twice: in the numbers of
the commands, and in their arguments.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio

from durable import Context, Signal, step
from replay.recording import PATIENCE, shape
from runtime import Runtime
from runtime.client.handle import RunHandle

TASKS = 7

come = Signal("come", int)


@step
async def say(line: str) -> str:
    return line


async def told(ctx: Context, trace: list[str]) -> list[str]:
    """The trace, once a step has been asked to say each line of it."""
    return list(await asyncio.gather(*(ctx.step(say, line) for line in trace)))


@shape()
async def sets_of_tasks(ctx: Context) -> list[str]:
    """What asyncio keeps in sets: wait, as_completed, gathers and futures."""
    trace: list[str] = []

    async def one(number: int) -> int:
        trace.append(f"begins {number}")
        await asyncio.sleep(0)
        return number

    quick = [asyncio.create_task(one(number), name=f"quick {number}") for number in range(TASKS)]
    slow = [asyncio.create_task(ctx.sleep(3600), name=f"slow {number}") for number in range(TASKS)]
    done, pending = await asyncio.wait([*quick, *slow], return_when=asyncio.FIRST_COMPLETED)
    for task in [*done, *pending]:
        trace.append(await ctx.step(say, task.get_name()))
        task.cancel()
    await asyncio.wait(slow)
    for next_one in asyncio.as_completed([one(number) for number in range(TASKS)]):
        trace.append(await ctx.step(say, f"completed {await next_one}"))
    gathers = {asyncio.gather(ctx.step(say, f"gathered {number}")): number for number in range(TASKS)}
    done_gathers, _ = await asyncio.wait(gathers)
    trace += [f"gather {gathers[gather]}" for gather in done_gathers]
    return await told(ctx, trace)


@shape()
async def locks_and_queues(ctx: Context) -> list[str]:
    """Who is next at a lock, a semaphore, a queue, a condition, a barrier, an event."""
    trace: list[str] = []
    lock, semaphore, event = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Event()
    condition, barrier = asyncio.Condition(), asyncio.Barrier(TASKS)
    queue: asyncio.Queue[int] = asyncio.Queue(2)

    async def one(number: int) -> None:
        async with semaphore:
            await ctx.step(say, f"semaphore {number}")
        async with lock:
            await asyncio.sleep(0)
            trace.append(f"lock {number}")
        async with condition:
            await condition.wait_for(event.is_set)
            trace.append(f"condition {number}")
        trace.append(f"barrier {number} {await barrier.wait()}")
        await queue.put(number)

    async def take(name: str) -> None:
        while (number := await queue.get()) >= 0:
            trace.append(await ctx.step(say, f"{name} takes {number}"))

    async with asyncio.TaskGroup() as takers:
        for name in "ab":
            takers.create_task(take(name))
        async with asyncio.TaskGroup() as group:
            for number in range(TASKS):
                group.create_task(one(number))
            await ctx.step(say, "open")
            event.set()
            async with condition:
                condition.notify_all()
        for _ in "ab":
            await queue.put(-1)
    return await told(ctx, trace)


@shape()
async def scopes_and_streams(ctx: Context) -> list[str]:
    """anyio: nested groups and scopes that are cancelled, shields, a limiter, a stream."""
    trace: list[str] = []
    limiter = anyio.CapacityLimiter(2)
    send, receive = anyio.create_memory_object_stream[str](1)

    async def one(name: str) -> None:
        try:
            async with limiter:
                await send.send(await ctx.step(say, name))
            await anyio.sleep(3600)
        finally:
            with anyio.CancelScope(shield=True):
                trace.append(await ctx.step(say, f"{name} leaves"))

    async with send, receive, anyio.create_task_group() as outer:
        for number in range(3):
            outer.start_soon(one, f"outer {number}")
        with anyio.move_on_after(0.001) as scope:
            async with anyio.create_task_group() as inner:
                for number in range(3):
                    inner.start_soon(one, f"inner {number}")
                for _ in range(6):
                    trace.append(f"received {await receive.receive()}")
                await anyio.sleep(3600)
        trace.append(f"cancelled {scope.cancelled_caught}")
        outer.cancel_scope.cancel()
    return await told(ctx, trace)


@shape()
async def cancelled_again_and_again(ctx: Context) -> list[str]:
    """How often anyio delivers one cancellation to somebody who will not leave, and who is first in the next turn (L5)."""
    trace: list[str] = []
    with anyio.move_on_after(0.001):
        try:
            await ctx.sleep(3600)
        finally:
            for number in range(3):
                tidying = asyncio.ensure_future(ctx.step(say, f"tidies {number}"))
                tidying.add_done_callback(lambda _: trace.append("tidied"))
                times = 0
                while not tidying.done():
                    try:
                        await asyncio.shield(tidying)
                    except asyncio.CancelledError:
                        times += 1
                        if times % 25 == 0:
                            asyncio.get_running_loop().call_soon(trace.append, f"cancelled {times}")
                trace.append(f"{number} was cancelled {times} times")
    return await told(ctx, trace)


@shape()
async def callbacks_and_timers(ctx: Context) -> list[str]:
    """Plain callbacks, timers that are due together, limits that expire, generators that are left."""
    trace: list[str] = []
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    start = loop.time()
    loop.call_at(start + 0.002, trace.append, "at 2")
    loop.call_later(0.001, trace.append, "in 1, first")
    loop.call_later(0.001, trace.append, "in 1, second")
    taken_back = loop.call_later(0.001, trace.append, "never")
    loop.call_later(0.003, ended.set_result, None)
    loop.call_soon(trace.append, "soon")
    ended.add_done_callback(lambda _: trace.append("done, first"))
    ended.add_done_callback(lambda _: trace.append("done, second"))
    taken_back.cancel()
    await asyncio.sleep(0)
    trace.append("after a yield")
    await ended

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            for number in range(TASKS):
                yield number
        finally:
            trace.append(f"{name} closed")

    async with aclosing(numbers("by hand")) as closing:
        async for _ in closing:
            break
    for limit in (asyncio.timeout, anyio.fail_after):
        try:
            context: Any = limit(0.001)
            if isinstance(context, asyncio.Timeout):
                async with context:
                    await asyncio.sleep(3600)
            else:
                with context:
                    await asyncio.sleep(3600)
        except TimeoutError:
            trace.append(f"{limit.__name__} expired")
    try:
        await asyncio.wait_for(ctx.sleep(3600), 0.001)
    except TimeoutError:
        trace.append("wait_for expired")
    return await told(ctx, trace)


async def send_all_at_once(rt: Runtime, run: RunHandle[Any]) -> None:
    await run.until_waiting("a condition")
    await asyncio.gather(*(run.signal(come, number) for number in range(TASKS)), run.cancel("enough"))
    await run.result(timeout=PATIENCE)


@shape(script=send_all_at_once)
async def messages_beside_a_cancellation(ctx: Context) -> list[str]:
    """Handlers, a condition, waiting children tasks and a cancellation that is caught, all at once."""
    trace: list[str] = []
    came: list[int] = []

    @ctx.on(come)
    async def on_come(number: int) -> None:
        came.append(number)
        trace.append(await ctx.step(say, f"came {number}"))

    async def watch(count: int) -> None:
        await ctx.wait_condition(lambda: len(came) >= count)
        trace.append(f"{count} are there")

    watchers = [asyncio.create_task(watch(count)) for count in (TASKS, 3, 1)]
    try:
        await ctx.wait_condition(lambda: False)
    except asyncio.CancelledError as error:
        trace.append(f"cancelled: {error}")
    await asyncio.gather(*watchers)
    await ctx.wait_condition(lambda: len([line for line in trace if line.startswith("came")]) == TASKS)
    return await told(ctx, trace)
