"""Everything of asyncio that has an order of its own, as workflows; replayed by ``replay_order.py`` in other processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar

import anyio

from durable import Context, step, workflow

NAMES = [f"n{number}" for number in range(6)]
place: ContextVar[str] = ContextVar("place", default="outside")


@step
async def work(name: str) -> str:
    """Completes now and then later than one that was begun after it."""
    for _ in range(random.randrange(6)):
        await asyncio.sleep(0)
    return name


Scenario = Callable[[Context, list[str]], Awaitable[None]]


async def gather(ctx: Context, seen: list[str]) -> None:
    async def run(name: str) -> None:
        seen.append(await ctx.step(work, name))
        seen.append(await ctx.step(work, f"{name} again"))

    await asyncio.gather(*(run(name) for name in NAMES))
    seen += await asyncio.gather(*(ctx.step(work, name) for name in NAMES))


async def task_group(ctx: Context, seen: list[str]) -> None:
    async def run(name: str) -> None:
        seen.append(await ctx.step(work, name))
        if len(name) < 4:
            group.create_task(run(f"{name}+"))

    async with asyncio.TaskGroup() as group:
        for name in NAMES:
            group.create_task(run(name))


async def anyio_task_group(ctx: Context, seen: list[str]) -> None:
    async def run(name: str) -> None:
        seen.append(await ctx.step(work, name))
        await ctx.step(work, f"after {name}")

    async with anyio.create_task_group() as group:
        for name in NAMES:
            group.start_soon(run, name)


async def wait(ctx: Context, seen: list[str]) -> None:
    pending = {asyncio.ensure_future(ctx.step(work, name)) for name in NAMES}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            seen.append(await ctx.step(work, f"after {task.result()}"))
        for task in pending:
            seen.append(task.get_name())


async def as_completed(ctx: Context, seen: list[str]) -> None:
    for next_one in asyncio.as_completed({ctx.step(work, name) for name in NAMES}):
        seen.append(await next_one)
        seen.append(await ctx.step(work, "between"))


async def as_completed_coroutines(ctx: Context, seen: list[str]) -> None:
    async def run(name: str) -> str:
        return await ctx.step(work, name)

    for next_one in asyncio.as_completed([run(name) for name in NAMES]):
        seen.append(await next_one)


async def lock(ctx: Context, seen: list[str]) -> None:
    guard = asyncio.Lock()

    async def run(name: str) -> None:
        await ctx.step(work, name)
        async with guard:
            seen.append(await ctx.step(work, f"locked {name}"))

    await asyncio.gather(*(run(name) for name in NAMES))


async def semaphore(ctx: Context, seen: list[str]) -> None:
    guard = asyncio.Semaphore(2)

    async def run(name: str) -> None:
        async with guard:
            seen.append(await ctx.step(work, name))

    await asyncio.gather(*(run(name) for name in NAMES))


async def queue(ctx: Context, seen: list[str]) -> None:
    waiting: asyncio.Queue[str] = asyncio.Queue(maxsize=2)

    async def consume(consumer: str) -> None:
        while True:
            name = await waiting.get()
            seen.append(await ctx.step(work, f"{consumer} took {name}"))
            waiting.task_done()

    consumers = [asyncio.create_task(consume(name)) for name in ("a", "b", "c")]
    for name in NAMES:
        await waiting.put(name)
    await waiting.join()
    for consumer in consumers:
        consumer.cancel()


async def condition(ctx: Context, seen: list[str]) -> None:
    changed = asyncio.Condition()
    ready: list[str] = []

    async def run(name: str) -> None:
        async with changed:
            await changed.wait_for(lambda: name in ready)
            seen.append(await ctx.step(work, f"saw {name}"))

    async with asyncio.TaskGroup() as group:
        for name in NAMES:
            group.create_task(run(name))
        for name in NAMES:
            ready.append(await ctx.step(work, name))
            async with changed:
                changed.notify_all()


async def barrier(ctx: Context, seen: list[str]) -> None:
    meeting = asyncio.Barrier(3)

    async def run(name: str) -> None:
        await ctx.step(work, name)
        seen.append(f"{name} is number {await meeting.wait()}")
        await ctx.step(work, f"after {name}")

    await asyncio.gather(*(run(name) for name in NAMES))


async def generator(ctx: Context, seen: list[str]) -> None:
    async def names(prefix: str) -> AsyncIterator[str]:
        try:
            for name in NAMES:
                yield await ctx.step(work, f"{prefix} {name}")
        finally:
            seen.append(f"{prefix} closed")
            await ctx.step(work, f"{prefix} closed")

    async with aclosing(names("closed early")) as early:
        async for name in early:
            seen.append(name)
            break
    for prefix in ("left", "left as well"):
        async for name in names(prefix):
            seen.append(name)
            if name.endswith("n2"):
                break
    seen.append(await ctx.step(work, "afterwards"))


async def context_variables(ctx: Context, seen: list[str]) -> None:
    seen.append(place.get())

    async def run(name: str) -> None:
        seen.append(f"{name} in {place.get()}")
        place.set(name)
        await ctx.step(work, name)
        seen.append(f"{name} in {place.get()}")

    place.set("root")
    async with asyncio.TaskGroup() as group:
        for name in NAMES:
            group.create_task(run(name))
    seen.append(place.get())


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        gather,
        task_group,
        anyio_task_group,
        wait,
        as_completed,
        as_completed_coroutines,
        lock,
        semaphore,
        queue,
        condition,
        barrier,
        generator,
        context_variables,
    )
}


@workflow
async def order_of(ctx: Context, scenario: str) -> list[str]:
    seen: list[str] = []
    await SCENARIOS[scenario](ctx, seen)
    return seen
