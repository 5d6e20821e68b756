"""Asynchronous generators are closed when the history says so, never by the garbage collector."""

import asyncio
import gc
import sys

import pytest
from simulated_run import SimulatedRun

from durable.kernel.generator import FIRST_SWEEP
from durable.kernel.task import MAX_CLOSES


@pytest.fixture
def simulated() -> SimulatedRun:
    return SimulatedRun()


async def count(seen, name="generator"):
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(0)
        seen.append(name)


async def take_one(generator):
    async for number in generator:
        return number


def test_abandoned_generator_is_not_closed_by_the_collector(simulated):
    seen = []

    async def body():
        await take_one(count(seen))
        gc.collect()
        await asyncio.sleep(1)
        gc.collect()
        return list(seen)

    assert simulated.run(body()) == []
    simulated.loop.evict()


def test_shutdown_closes_abandoned_generators_newest_first(simulated):
    seen = []

    async def body():
        for name in "abc":
            await take_one(count(seen, name))
        async for _ in count(seen, "exhausted"):
            pass

    simulated.run(body())
    assert seen == ["exhausted"]
    simulated.run(simulated.loop.shutdown_asyncgens())
    assert seen == ["exhausted", "c", "b", "a"]


def test_shutdown_notes_a_generator_that_fails_and_closes_the_others(simulated):
    seen = []

    async def failing():
        try:
            yield
        finally:
            raise ValueError("failed to close")

    async def body():
        await take_one(count(seen))
        await take_one(failing())

    simulated.run(body())
    simulated.run(simulated.loop.shutdown_asyncgens())
    assert seen == ["generator"]
    ((message, error),) = simulated.loop.complaints
    assert message.startswith("exception in closing the generator test_shutdown_notes")
    assert str(error) == "failed to close"


def test_finished_generators_are_let_go(simulated):
    class Tracked:
        alive = 0

        def __init__(self):
            Tracked.alive += 1

        def __del__(self):
            Tracked.alive -= 1

    async def once(tracked):
        yield tracked

    async def body():
        most = 0
        for _ in range(10 * FIRST_SWEEP):
            async for _ in once(Tracked()):
                pass
            most = max(most, len(simulated.loop._generators._held))
        return most

    assert simulated.run(body()) <= 2 * FIRST_SWEEP
    assert Tracked.alive <= 1


def test_eviction_closes_abandoned_generators_up_to_where_they_wait(simulated):
    seen = []

    async def guarded():
        try:
            yield 1
        finally:
            seen.append("closing")
            await asyncio.sleep(1)
            seen.append("unreachable")

    async def body():
        await take_one(guarded())
        await take_one(count(seen))
        await asyncio.get_running_loop().create_future()

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    assert seen == ["closing"]
    assert simulated.commands == []


def test_eviction_counts_a_generator_that_never_gives_in(simulated):
    seen = []

    async def stubborn():
        while True:
            try:
                yield 1
            except BaseException:
                while True:
                    try:
                        await asyncio.sleep(1)
                    except BaseException:
                        seen.append("no")

    async def body():
        await take_one(stubborn())

    simulated.run(body())
    assert simulated.loop.evict() == 1
    assert len(seen) == MAX_CLOSES
    del simulated
    gc.collect()
    assert len(seen) == MAX_CLOSES


def test_generator_in_use_is_closed_with_the_task_that_uses_it(simulated):
    seen = []

    async def slow():
        try:
            await asyncio.sleep(100)
            yield 1
        finally:
            seen.append("closed")

    async def body():
        await take_one(slow())

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    # Before 3.13 closing a coroutine does not reach the generator that it iterates over.
    assert seen == (["closed"] if sys.version_info >= (3, 13) else [])


def test_generator_of_a_dropped_run_is_not_run_by_anybody(simulated):
    seen = []

    async def body():
        await take_one(count(seen))

    simulated.run(body())
    del simulated
    gc.collect()
    assert seen == []
