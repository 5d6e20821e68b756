"""Ordinary event loops do not notice that kernel loops exist in the same process."""

import asyncio
import contextvars
import inspect
import sys
from asyncio import tasks

import anyio
import anyio.to_thread
import pytest
from anyio._backends._asyncio import CancelScope
from simulated_run import SimulatedRun

from durable.kernel import compat


@pytest.fixture(autouse=True)
def changes():
    SimulatedRun()


async def give(value):
    await asyncio.sleep(0)
    return value


def test_stock_classes_and_functions_are_the_ones_they_were():
    import _asyncio

    assert asyncio.Task is _asyncio.Task
    assert asyncio.Future is _asyncio.Future
    assert asyncio.as_completed is tasks.as_completed
    assert asyncio.wait_for is tasks.wait_for
    assert asyncio.as_completed.__module__ == "asyncio.tasks"
    assert str(inspect.signature(asyncio.as_completed)) == "(fs, *, timeout=None)"
    assert str(inspect.signature(asyncio.wait_for)) == "(fut, timeout)"
    assert inspect.iscoroutinefunction(asyncio.wait_for)
    assert asyncio.as_completed.__name__ == asyncio.as_completed.__code__.co_name == "as_completed"


def test_as_completed_runs_the_stock_code():
    async def main():
        stock = compat._stock["as_completed"]([])
        ours = asyncio.as_completed([])
        values = [await each for each in asyncio.as_completed([give(1), give(2)], timeout=5)]
        return type(ours) is type(stock), sorted(values)

    assert asyncio.run(main()) == (True, [1, 2])


def test_wait_for_is_that_of_this_python():
    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(asyncio.wait_for(future, 10))
        await asyncio.sleep(0)
        future.set_result("result")
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    # Python 3.11 swallows this cancellation.
    assert asyncio.run(main()) is (sys.version_info >= (3, 12))


def test_wait_for_times_out():
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 0.001)
        return await asyncio.wait_for(give("value"), 10)

    assert asyncio.run(main()) == "value"


def test_all_tasks_are_those_of_the_loop():
    async def main():
        child = asyncio.create_task(asyncio.sleep(0))
        return asyncio.all_tasks() == asyncio.all_tasks(asyncio.get_running_loop()) == {asyncio.current_task(), child}

    assert asyncio.run(main()) is True


def test_tasks_futures_and_scopes_are_hashed_as_ever():
    async def main():
        gathered = asyncio.gather(give(1))
        scope = anyio.CancelScope()
        for thing in (asyncio.current_task(), asyncio.get_running_loop().create_future(), gathered, scope):
            assert hash(thing) == object.__hash__(thing)
        with scope:
            assert hash(scope) == object.__hash__(scope)
        await gathered

    asyncio.run(main())


def test_scope_stays_where_it_was_put_in_a_set():
    async def main():
        scope = anyio.CancelScope()
        scopes = {scope}
        with scope:
            assert scope in scopes
        return scope in scopes

    assert asyncio.run(main()) is True


def test_cancellation_is_delivered_without_a_limit(monkeypatch):
    deliveries = []
    stock = compat._stock["_deliver_cancellation"]

    def count(scope, origin):
        deliveries.append(scope)
        return stock(scope, origin)

    monkeypatch.setitem(compat._stock, "_deliver_cancellation", count)

    async def child(enough):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.shield(enough)

    async def stop(enough):
        while len(deliveries) <= 2 * compat.MAX_STREAK:
            await asyncio.sleep(0)
        enough.set_result(None)

    async def main():
        enough = asyncio.get_running_loop().create_future()
        stopper = asyncio.create_task(stop(enough))
        with anyio.CancelScope() as scope:
            async with asyncio.TaskGroup() as group:
                group.create_task(child(enough))
                await asyncio.sleep(0)
                scope.cancel()
        await stopper

    asyncio.run(main())
    assert len(deliveries) > 2 * compat.MAX_STREAK


def test_threads_work():
    async def main():
        return await anyio.to_thread.run_sync(lambda: 1), await asyncio.to_thread(lambda: 2)

    assert anyio.run(main) == (1, 2)


if sys.version_info >= (3, 12):

    def test_eager_tasks_work():
        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            seen = []

            async def note():
                seen.append("eager")

            task = asyncio.create_task(note())
            before = list(seen)
            await task
            async with anyio.create_task_group() as group:
                group.start_soon(note)
            return before

        assert asyncio.run(main()) == ["eager"]


def test_scope_can_be_hashed_outside_of_any_loop():
    scope = CancelScope()
    assert hash(scope) == object.__hash__(scope)


def test_kernel_loops_drain_in_callbacks_of_a_busy_outer_loop():
    """The way of a worker (L2): outer tasks, loops in callbacks, and neither sees the other."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def workflow(name):
        seen = [variable.get()]
        variable.set(name)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(anyio.sleep, 1)
        seen.append(variable.get())
        seen.append(len(asyncio.all_tasks()))
        return seen

    async def main():
        outer = asyncio.get_running_loop()
        variable.set("outer")
        runs = [SimulatedRun(salt=salt) for salt in range(5)]
        roots = [simulated.spawn(workflow(f"run {simulated.loop.salt}")) for simulated in runs]
        ticks = 0
        while not all(root.done() for root in roots):
            done = outer.create_future()

            def turn(done=done):
                for simulated in runs:
                    simulated.drain() if not simulated.commands else simulated.skip()
                done.set_result(None)

            outer.call_soon(turn)
            await done
            ticks += 1
            assert asyncio.get_running_loop() is outer
            assert asyncio.current_task() in asyncio.all_tasks()
            assert len(asyncio.all_tasks()) == 1
        return [root.result() for root in roots], variable.get(), ticks

    results, mine, ticks = asyncio.run(main())
    assert results == [["unset", f"run {salt}", 1] for salt in range(5)]
    assert mine == "outer"
    assert ticks == 2
