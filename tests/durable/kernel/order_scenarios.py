"""Prints the order in which things happen, by scenario, as JSON; test_order.py runs it in fresh processes."""

from __future__ import annotations

import asyncio
import json
import random
import sys

import anyio
from simulated_run import SimulatedRun

MANY = 30


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def note_end(seen, name):
    try:
        await never()
    finally:
        seen.append(name)


async def wait():
    tasks = [asyncio.create_task(asyncio.sleep(1, number)) for number in range(MANY)]
    done, _ = await asyncio.wait(tasks)
    return [task.result() for task in done]


async def wait_partly():
    tasks = [asyncio.create_task(asyncio.sleep(1 + number % 2, number)) for number in range(MANY)]
    done, pending = await asyncio.wait(tasks, timeout=1.5)
    first = [task.result() for task in done]
    await asyncio.wait(pending)
    return first, [task.result() for task in pending]


async def wait_for_futures():
    loop = asyncio.get_running_loop()
    futures = {loop.create_future(): number for number in range(MANY)}
    for future in futures:
        loop.call_later(1, future.set_result, None)
    done, _ = await asyncio.wait(futures)
    return [futures[future] for future in done]


async def wait_for_gathers():
    gathers = {asyncio.gather(asyncio.sleep(1)): number for number in range(MANY)}
    done, _ = await asyncio.wait(gathers)
    return [gathers[future] for future in done]


async def as_completed():
    order = []

    async def job(number):
        order.append(number)
        return number

    return [await each for each in asyncio.as_completed([job(number) for number in range(MANY)])], order


async def as_completed_of_done():
    tasks = [asyncio.create_task(asyncio.sleep(0, number)) for number in range(MANY)]
    await asyncio.sleep(1)
    return [await each for each in asyncio.as_completed(tasks)]


async def gather_cancelled():
    seen = []
    task = asyncio.ensure_future(asyncio.gather(*(note_end(seen, number) for number in range(MANY))))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    return seen


async def task_group_failing():
    seen = []

    async def fail():
        await asyncio.sleep(1)
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(MANY):
                group.create_task(note_end(seen, number))
            group.create_task(fail())
    except ExceptionGroup:
        return seen


async def anyio_group_cancelled():
    seen = []
    with anyio.move_on_after(1):
        async with anyio.create_task_group() as group:
            for number in range(MANY):
                group.start_soon(note_end, seen, number)
    return seen


async def anyio_nested_scopes():
    seen = []

    async def child(number):
        with anyio.CancelScope(), anyio.fail_after(100):
            await note_end(seen, number)

    with anyio.move_on_after(1):
        async with anyio.create_task_group() as group:
            for number in range(MANY):
                group.start_soon(child, number)
    return seen


async def anyio_nested_groups():
    seen = []

    async def branch(name):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(note_end, seen, f"{name}.{number}")

    with anyio.move_on_after(1):
        async with anyio.create_task_group() as group:
            for name in range(MANY // 5):
                group.start_soon(branch, name)
    return seen


async def anyio_primitives():
    seen = []
    lock, limiter, event = anyio.Lock(), anyio.CapacityLimiter(3), anyio.Event()
    send, receive = anyio.create_memory_object_stream(2)

    async def worker(number):
        await event.wait()
        async with limiter, lock:
            await send.send(number)

    async with anyio.create_task_group() as group:
        for number in range(MANY):
            group.start_soon(worker, number)
        await anyio.wait_all_tasks_blocked()
        event.set()
        async with receive, send:
            for _ in range(MANY):
                seen.append(await receive.receive())
    return seen


async def asyncio_primitives():
    seen = []
    lock, semaphore, condition, queue = (
        asyncio.Lock(),
        asyncio.Semaphore(3),
        asyncio.Condition(),
        asyncio.Queue(2),
    )
    barrier = asyncio.Barrier(MANY)

    async def worker(number):
        await barrier.wait()
        async with condition:
            await condition.wait()
        async with semaphore, lock:
            await queue.put(number)

    async with asyncio.TaskGroup() as group:
        for number in range(MANY):
            group.create_task(worker(number))
        await asyncio.sleep(1)
        async with condition:
            condition.notify_all()
        for _ in range(MANY):
            seen.append(await queue.get())
    return seen


async def all_tasks():
    tasks = {}
    for number in range(MANY):
        tasks[asyncio.create_task(never())] = number
        for _ in range(63):  # numbers that share their lower bits make the order of insertion show
            asyncio.get_running_loop().create_future()
    return [tasks[task] for task in asyncio.all_tasks() if task in tasks]


async def timers_due_together():
    seen = []
    for number in range(MANY):
        asyncio.get_running_loop().call_later(1, seen.append, number)
    await asyncio.sleep(2)
    return seen


SCENARIOS = (
    wait,
    wait_partly,
    wait_for_futures,
    wait_for_gathers,
    as_completed,
    as_completed_of_done,
    gather_cancelled,
    task_group_failing,
    anyio_group_cancelled,
    anyio_nested_scopes,
    anyio_nested_groups,
    anyio_primitives,
    asyncio_primitives,
    all_tasks,
    timers_due_together,
)


def main() -> None:
    """Run every scenario, among other runs and after allocations that differ from process to process."""
    noise = [object() for _ in range(random.randrange(10_000))]
    bystanders = []
    orders = {}
    for scenario in SCENARIOS:
        for _ in range(random.randrange(5)):
            bystander = SimulatedRun(salt=random.randrange(2**20))
            bystander.spawn(never())
            bystander.drain()
            bystanders.append(bystander)
        simulated = SimulatedRun(salt=12345)
        orders[scenario.__name__] = simulated.run(scenario())
        simulated.loop.evict()
    for bystander in bystanders:
        bystander.loop.evict()
    json.dump(orders, sys.stdout)
    del noise


if __name__ == "__main__":
    main()
