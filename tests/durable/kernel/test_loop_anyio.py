"""What anyio offers behaves inside a kernel loop as it does outside; waiting costs durable timers."""

import asyncio
import math

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus
from simulated_run import SimulatedRun, run


def test_sleep_and_current_time_follow_the_timers():
    async def body():
        await anyio.sleep(0)
        await anyio.sleep(1.5)
        await anyio.sleep_until(4)
        return anyio.current_time()

    simulated = SimulatedRun()
    assert simulated.run(body()) == 4
    assert simulated.commands == [("start", 1, 1_500_000), ("start", 2, 2_500_000)]


def test_sleep_forever_starts_no_timer():
    async def body():
        with anyio.move_on_after(1) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    simulated = SimulatedRun()
    assert simulated.run(body()) is True
    assert simulated.commands == [("start", 1, 1_000_000)]


def test_checkpoints_yield_without_a_timer():
    async def body():
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.cancel_shielded_checkpoint()
        await anyio.lowlevel.checkpoint_if_cancelled()

    simulated = SimulatedRun()
    simulated.run(body())
    assert simulated.commands == []


def test_fail_after_is_one_timer_even_where_its_deadline_is_no_round_number():
    async def body():
        await anyio.sleep(0.1)
        with anyio.fail_after(0.2):
            await anyio.sleep(100)

    simulated = SimulatedRun()
    with pytest.raises(TimeoutError):
        simulated.run(body())
    assert simulated.commands == [
        ("start", 1, 100_000),
        ("start", 2, 200_000),
        ("start", 3, 100_000_000),
        ("cancel", 3),
    ]


def test_scope_deadline_can_be_moved():
    async def body():
        with anyio.CancelScope(deadline=1) as scope:
            assert anyio.current_effective_deadline() == 1
            scope.deadline = 5
            await anyio.sleep(3)
            scope.deadline = math.inf
            await anyio.sleep(10)
            return "in time"

    assert run(body()) == "in time"


def test_task_group_waits_for_its_tasks():
    async def body():
        seen = []

        async def child(delay):
            await anyio.sleep(delay)
            seen.append(delay)

        async with anyio.create_task_group() as group:
            for delay in (3, 1, 2):
                group.start_soon(child, delay)
        return seen

    assert run(body()) == [1, 2, 3]


def test_task_group_cancels_the_siblings_of_a_task_that_fails():
    seen = []

    async def sibling():
        try:
            await anyio.sleep(100)
        finally:
            seen.append(anyio.current_time())

    async def failing():
        await anyio.sleep(1)
        raise ValueError("one")

    async def body():
        async with anyio.create_task_group() as group:
            group.start_soon(sibling)
            group.start_soon(failing)

    with pytest.raises(ExceptionGroup) as caught:
        run(body())
    assert [str(error) for error in caught.value.exceptions] == ["one"]
    assert seen == [1]


def test_task_group_start_waits_until_the_task_has_started():
    async def body():
        async def service(*, task_status: TaskStatus[str]):
            await anyio.sleep(2)
            task_status.started("ready")
            await anyio.sleep(1)

        async with anyio.create_task_group() as group:
            return await group.start(service), anyio.current_time()

    assert run(body()) == ("ready", 2)


def test_shielded_scope_finishes_its_cleanup_after_a_cancellation():
    async def body():
        seen = []
        with anyio.move_on_after(1) as scope:
            try:
                await anyio.sleep(100)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(5)
                    seen.append(anyio.current_time())
        return seen, scope.cancelled_caught

    assert run(body()) == ([6], True)


def test_native_cancellation_passes_through_a_scope():
    async def inner():
        with anyio.CancelScope():
            await anyio.sleep(100)

    async def body():
        task = asyncio.create_task(inner())
        await anyio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(body()) is True


def test_nested_groups_are_cancelled_from_the_outside():
    async def body():
        seen = []

        async def leaf(name):
            try:
                await anyio.sleep(100)
            finally:
                seen.append(name)

        async def branch(name):
            async with anyio.create_task_group() as group:
                group.start_soon(leaf, f"{name}1")
                group.start_soon(leaf, f"{name}2")

        with anyio.move_on_after(2):
            async with anyio.create_task_group() as group:
                group.start_soon(branch, "a")
                group.start_soon(branch, "b")
        return sorted(seen), anyio.current_time()

    assert run(body()) == (["a1", "a2", "b1", "b2"], 2)


def test_event_lock_semaphore_limiter_and_condition_are_fair():
    async def body():
        event, lock, condition = anyio.Event(), anyio.Lock(), anyio.Condition()
        semaphore, limiter, seen = anyio.Semaphore(3), anyio.CapacityLimiter(2), []

        async def worker(name):
            async with condition:
                await condition.wait()
            await event.wait()
            async with semaphore, limiter, lock:
                await anyio.sleep(1)
                seen.append((name, anyio.current_time()))

        async with anyio.create_task_group() as group:
            for name in "abc":
                group.start_soon(worker, name)
            await anyio.wait_all_tasks_blocked()
            async with condition:
                condition.notify_all()
            event.set()
        return seen

    times = run(body())
    assert [name for name, _ in times] == ["a", "b", "c"]
    assert [round(time - times[0][1]) for _, time in times] == [0, 1, 2]


def test_memory_object_streams_hand_items_over():
    async def body():
        send, receive = anyio.create_memory_object_stream(1)
        seen = []

        async def produce():
            async with send:
                for item in range(4):
                    await send.send(item)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                async for item in receive:
                    seen.append(item)
        return seen

    assert run(body()) == [0, 1, 2, 3]


def test_task_info_and_run_variables_work():
    variable = anyio.lowlevel.RunVar("variable", "unset")

    async def body():
        before = variable.get()
        variable.set("set")
        return before, variable.get(), anyio.get_current_task().name

    assert run(body()) == ("unset", "set", "Task-1")
    assert run(body()) == ("unset", "set", "Task-1")
