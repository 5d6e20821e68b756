"""What is changed of asyncio and anyio inside kernel loops."""

import asyncio
import gc
import subprocess
import sys
import threading
from asyncio import as_completed, wait_for  # as user code does, above the import of durable

import anyio
import pytest
from simulated_run import SimulatedRun, run

from durable.kernel import compat


async def give(value):
    return value


async def never():
    await asyncio.get_running_loop().create_future()


# -- when the changes are made


def test_nothing_is_changed_and_no_anyio_imported_before_the_first_loop():
    script = """
import asyncio, sys
from asyncio import as_completed
stock = as_completed.__code__
import durable.kernel.loop
assert as_completed.__code__ is stock
assert "anyio._backends._asyncio" not in sys.modules
durable.kernel.loop.KernelLoop(None, 0)
assert as_completed.__code__ is not stock
assert asyncio.as_completed is as_completed
changed = as_completed.__code__
durable.kernel.loop.KernelLoop(None, 0)
assert as_completed.__code__ is changed
assert "anyio._backends._asyncio" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_install_is_idempotent():
    compat.install()
    before = dict(compat._stock), asyncio.as_completed.__code__
    compat.install()
    assert (dict(compat._stock), asyncio.as_completed.__code__) == before


def test_install_changes_nothing_when_another_thread_was_faster(monkeypatch):
    changed = threading.Event()

    class Contended:
        def __enter__(self):
            changed.set()

        def __exit__(self, *_):
            pass

    before = asyncio.as_completed.__code__
    monkeypatch.setattr(compat, "_changed", changed)
    monkeypatch.setattr(compat, "_lock", Contended())
    compat.install()
    assert asyncio.as_completed.__code__ is before


# -- asyncio


def test_as_completed_starts_coroutines_in_the_order_given():
    async def body():
        seen = []

        async def note(number):
            seen.append(number)

        for each in as_completed([note(number) for number in range(20)]):
            await each
        return seen

    assert run(body()) == list(range(20))


def test_as_completed_takes_the_same_awaitable_once():
    async def body():
        task = asyncio.create_task(give("task"))
        coroutine = give("coroutine")
        return [await each for each in as_completed([task, coroutine, task, coroutine])]

    assert run(body()) == ["task", "coroutine"]


def test_as_completed_refuses_a_single_coroutine():
    async def body():
        coroutine = give(1)
        try:
            for _ in as_completed(coroutine):
                pass
        finally:
            coroutine.close()

    with pytest.raises(TypeError):
        run(body())


def test_as_completed_times_out():
    async def body():
        results = []
        for each in as_completed([asyncio.sleep(1, "a"), asyncio.sleep(5, "b")], timeout=2):
            try:
                results.append(await each)
            except TimeoutError:
                results.append("timeout")
        return results

    simulated = SimulatedRun()
    assert simulated.run(body()) == ["a", "timeout"]
    simulated.loop.evict()


if sys.version_info >= (3, 13):

    def test_as_completed_yields_the_given_tasks_when_iterated_asynchronously():
        async def body():
            tasks = [asyncio.create_task(asyncio.sleep(delay, delay)) for delay in (3, 1, 2)]
            return [tasks.index(task) async for task in as_completed(tasks)]

        assert run(body()) == [1, 2, 0]


def test_wait_for_does_not_swallow_a_cancellation_beside_a_completion():
    simulated = SimulatedRun()
    future = simulated.loop.create_future()

    async def body():
        return await wait_for(future, 10)

    task = simulated.spawn(body())
    simulated.drain()
    future.set_result("result")
    task.cancel()
    simulated.drain()
    assert task.cancelled()
    assert simulated.commands == [("start", 1, 10_000_000), ("cancel", 1)]


@pytest.mark.parametrize("timeout", [0, -1])
def test_wait_for_without_time_returns_what_is_done_and_begins_nothing(timeout):
    seen = []

    async def note():
        seen.append("begun")

    async def body():
        done = asyncio.get_running_loop().create_future()
        done.set_result("done")
        result = await wait_for(done, timeout)
        with pytest.raises(TimeoutError):
            await wait_for(note(), timeout)
        return result

    simulated = SimulatedRun()
    assert simulated.run(body()) == "done"
    assert seen == []
    assert simulated.commands == []


def test_wait_for_without_time_waits_for_the_cleanup_and_keeps_what_it_raises():
    async def stubborn():
        try:
            await never()
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise LookupError from None

    async def body():
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        with pytest.raises(LookupError):
            await wait_for(task, 0)
        return asyncio.get_running_loop().time()

    assert run(body()) == 1


def test_all_tasks_iterate_in_the_same_order_as_a_set_of_them():
    async def body():
        tasks = [asyncio.create_task(never()) for _ in range(20)]
        everything = asyncio.all_tasks()
        everything.remove(asyncio.current_task())
        return list(everything) == list(set(tasks))

    simulated = SimulatedRun()
    assert simulated.run(body()) is True
    simulated.loop.evict()


def test_all_tasks_outside_of_a_loop_raises_as_ever():
    SimulatedRun()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.all_tasks()


def test_futures_of_gather_are_hashed_by_number():
    async def body():
        first, second = asyncio.gather(give(1)), asyncio.gather(give(2))
        hashes = hash(first), hash(second)
        await asyncio.wait({first, second})
        return hashes

    assert run(body()) == run(body()) == (4, 5)


# -- anyio


def test_scopes_are_hashed_by_number_for_all_their_life():
    async def body():
        scope = anyio.CancelScope()
        before = hash(scope)
        with scope:
            inside = hash(scope)
        return before, inside, hash(scope)

    assert run(body()) == (2, 2, 2)


def test_message_of_a_cancellation_is_the_same_in_every_run():
    async def body():
        said = []
        with anyio.CancelScope() as scope:
            scope.cancel(reason="enough")
            try:
                await never()
            except asyncio.CancelledError as error:
                said.append(str(error))
                raise
        return said[0], scope.cancelled_caught

    first, again = SimulatedRun(salt=3), SimulatedRun(salt=3)
    kept = [first.run(body()), again.run(body())]  # both at once, so at different addresses
    assert kept[0] == kept[1]
    assert kept[0][0].endswith("; reason: enough")
    assert kept[0][1]


def test_numbers_are_forgotten_with_their_scopes():
    async def body():
        for _ in range(10):
            with anyio.CancelScope(), anyio.CancelScope():
                await asyncio.sleep(0)

    gc.collect()
    before = len(compat._ordered)
    run(body())
    gc.collect()
    assert len(compat._ordered) == before


def runaway(seen, cleanup):
    """A cancelled scope around an asyncio task group whose child cleans up behind asyncio's shield."""

    async def child():
        try:
            await never()
        finally:
            await asyncio.shield(cleanup)
            seen.append("cleaned up")

    async def body():
        with anyio.CancelScope() as scope:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.sleep(0)
                seen.append(scope)
                scope.cancel()
        seen.append("left")

    return body()


def test_runaway_cancellation_is_parked_until_the_next_batch(monkeypatch):
    deliveries = []
    stock = compat._stock["_deliver_cancellation"]

    def count(scope, origin):
        deliveries.append(scope)
        return stock(scope, origin)

    monkeypatch.setitem(compat._stock, "_deliver_cancellation", count)
    simulated = SimulatedRun()
    cleanup = simulated.loop.create_future()
    seen = []
    task = simulated.spawn(runaway(seen, cleanup))
    simulated.drain()
    assert len(deliveries) == compat.MAX_STREAK
    simulated.drain()
    assert len(deliveries) == 2 * compat.MAX_STREAK
    assert not task.done()
    cleanup.set_result(None)
    simulated.drain()
    assert task.done()
    assert seen[1:] == ["cleaned up", "left"]
    done = len(deliveries)
    simulated.drain()
    simulated.drain()
    assert len(deliveries) == done
    assert not simulated.loop.streaks


def test_parked_cancellation_is_gone_after_eviction():
    simulated = SimulatedRun()
    simulated.spawn(runaway([], simulated.loop.create_future()))
    simulated.drain()
    assert simulated.loop.evict() == 0
    simulated.drain()


def test_many_short_deliveries_are_no_runaway():
    async def body():
        shielded = 0
        with anyio.CancelScope() as scope:
            scope.cancel()
            for _ in range(3 * compat.MAX_STREAK):
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0)
                    shielded += 1
            await never()
        return shielded, scope.cancelled_caught

    assert run(body()) == (3 * compat.MAX_STREAK, True)


def test_two_runaway_scopes_are_parked_in_their_order():
    simulated = SimulatedRun()
    seen = []
    cleanups = [simulated.loop.create_future() for _ in range(2)]
    tasks = [simulated.spawn(runaway(seen, cleanup)) for cleanup in cleanups]
    simulated.drain()
    for cleanup in cleanups:
        cleanup.set_result(None)
    simulated.settle(*tasks)
    assert seen[2:] == ["cleaned up", "cleaned up", "left", "left"]
