"""Workflows whose traces show in which order asyncio wakes what; as a script it goes on with them in a new process."""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

if __name__ == "__main__":  # found under the name that the tests import it by
    sys.path.insert(0, str(Path(__file__).parents[1]))

from durable import Context, Query, Signal, step, workflow
from runtime import Runtime

TASKS = 12
"""So many that no order comes about by chance."""

go = Signal("go")
trace_so_far = Query("trace", list[str])
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@step
async def echo(text: str) -> str:
    return text


async def gathers(ctx: Context, trace: list[str]) -> None:
    async def one(number: int) -> str:
        text = await ctx.step(echo, f"gather {number}")
        trace.append(text)
        return text

    trace.append(" ".join(await asyncio.gather(*(one(number) for number in range(TASKS)))))


async def groups(ctx: Context, trace: list[str]) -> None:
    async def one(number: int) -> None:
        trace.append(await ctx.step(echo, f"group {number}"))

    async with asyncio.TaskGroup() as group:
        for number in range(TASKS):
            group.create_task(one(number))


async def waits(ctx: Context, trace: list[str]) -> None:
    """The sets that ``wait`` returns, of what ends without a batch between and of what does not."""
    quick = [asyncio.create_task(asyncio.sleep(0), name=f"quick {number}") for number in range(TASKS)]
    slow = [asyncio.create_task(ctx.sleep(3600), name=f"slow {number}") for number in range(TASKS)]
    done, pending = await asyncio.wait([*quick, *slow], return_when=asyncio.FIRST_COMPLETED)
    for task in [*done, *pending]:
        trace.append(await ctx.step(echo, task.get_name()))
        task.cancel()
    await asyncio.wait(slow)


async def completes(ctx: Context, trace: list[str]) -> None:
    """``as_completed`` of coroutines, which it keeps in a set before there are tasks."""

    async def one(number: int) -> str:
        trace.append(f"begins {number}")
        await asyncio.sleep(0)
        return f"ends {number}"

    for next_one in asyncio.as_completed([one(number) for number in range(TASKS)]):
        trace.append(await ctx.step(echo, await next_one))


async def locks(ctx: Context, trace: list[str]) -> None:
    lock, semaphore = asyncio.Lock(), asyncio.Semaphore(3)

    async def one(number: int) -> None:
        async with semaphore:
            trace.append(await ctx.step(echo, f"semaphore {number}"))
        async with lock:
            trace.append(await ctx.step(echo, f"lock {number}"))

    async with asyncio.TaskGroup() as group:
        for number in range(TASKS):
            group.create_task(one(number))


async def queues(ctx: Context, trace: list[str]) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(2)

    async def take(name: str) -> None:
        for _ in range(TASKS // 3):
            trace.append(await ctx.step(echo, f"{name} takes {await queue.get()}"))

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(take(name))
        for number in range(TASKS):
            await queue.put(number)


async def meets(ctx: Context, trace: list[str]) -> None:
    """Condition and barrier."""
    condition, barrier, is_open = asyncio.Condition(), asyncio.Barrier(TASKS), False

    async def one(number: int) -> None:
        async with condition:
            await condition.wait_for(lambda: is_open)
            trace.append(f"condition {number}")
        await ctx.step(echo, f"condition {number}")
        trace.append(f"barrier {number} {await barrier.wait()}")

    async with asyncio.TaskGroup() as group:
        for number in range(TASKS):
            group.create_task(one(number))
        await ctx.step(echo, "open")
        async with condition:
            is_open = True
            condition.notify_all()


async def generates(ctx: Context, trace: list[str]) -> None:
    """Generators that are left: by hand at once, by themselves when the run ends, before its last event."""

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            for number in range(TASKS):
                yield number
                trace.append(await ctx.step(echo, f"{name} {number}"))
        finally:
            trace.append(f"{name} closed")
            ctx.stream("closed").write(name)

    async with aclosing(numbers("by hand")) as closing:
        async for number in closing:
            if number == 2:
                break
    trace.append("after")
    for name in ("first", "second", "third"):
        async for number in numbers(name):
            if number == 1:
                break


async def remembers(ctx: Context, trace: list[str]) -> None:
    """Variables: those of a task are its own, its children begin with a copy, the worker's are not there."""

    async def one(number: int) -> None:
        before = who.get()
        who.set(f"{before}/{number}")
        await ctx.step(echo, f"{number}")
        trace.append(f"{before} -> {who.get()}")
        if number % 2:
            await asyncio.create_task(one(number + TASKS - 1))

    trace.append(who.get())
    who.set("root")
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(one(number))
    trace.append(who.get())


SCENES: dict[str, Callable[[Context, list[str]], Awaitable[None]]] = {
    scene.__name__: scene for scene in (gathers, groups, waits, completes, locks, queues, meets, generates, remembers)
}


@workflow
async def concurrent(ctx: Context, scene: str) -> list[str]:
    """Play a scene, wait, and play it again."""
    trace: list[str] = []

    @ctx.on(trace_so_far)
    def told() -> list[str]:
        return list(trace)

    await SCENES[scene](ctx, trace)
    await ctx.wait_signal(go)
    await SCENES[scene](ctx, trace)
    return list(trace)


async def go_on(url: str, cache_size: int, task: str) -> dict[str, list[str]]:
    """``finish`` the runs, or only ``ask`` them for their traces."""
    async with Runtime(url, workflows=[concurrent], cache_size=cache_size) as rt:
        traces = {}
        for scene in SCENES:
            run = rt.get(scene)
            if task == "finish":
                await run.signal(go)
                await run.result(timeout=30)
            traces[scene] = await run.query(trace_so_far, timeout=30)
        return traces


if __name__ == "__main__":
    from semantics.concurrency import go_on as go_on_by_its_name

    print(json.dumps(asyncio.run(go_on_by_its_name(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
