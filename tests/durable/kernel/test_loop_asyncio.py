"""What asyncio offers behaves inside a kernel loop as it does outside; waiting costs durable timers."""

import asyncio
import contextvars
from contextlib import aclosing

import pytest
from simulated_run import SimulatedRun, run


async def after(delay, value):
    await asyncio.sleep(delay)
    if isinstance(value, BaseException):
        raise value
    return value


def test_gather_returns_results_in_order_of_its_arguments():
    async def body():
        results = await asyncio.gather(after(3, "a"), after(1, "b"), after(2, "c"))
        return results, asyncio.get_running_loop().time()

    assert run(body()) == (["a", "b", "c"], 3)


def test_gather_returns_exceptions_on_request():
    async def body():
        return await asyncio.gather(after(1, ValueError()), after(2, 5), return_exceptions=True)

    error, value = run(body())
    assert (type(error), value) == (ValueError, 5)


def test_wait_returns_what_is_done_first():
    async def body():
        tasks = [asyncio.create_task(after(n, n)) for n in (3, 1, 2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task.result() for task in done]
        done, pending = await asyncio.wait(pending, timeout=1.5)
        late = [task.result() for task in done], len(pending)
        await asyncio.wait(pending)
        return first, late

    assert run(body()) == ([1], ([2, 3][:1], 1))


def test_as_completed_yields_in_order_of_completion():
    async def body():
        return [await each for each in asyncio.as_completed([after(3, "c"), after(1, "a"), after(2, "b")])]

    assert run(body()) == ["a", "b", "c"]


def test_task_group_waits_for_its_tasks():
    async def body():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(after(n, n)) for n in (2, 1)]
        return [task.result() for task in tasks]

    assert run(body()) == [2, 1]


def test_task_group_cancels_the_siblings_of_a_task_that_fails():
    seen = []

    async def sibling():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(sibling())
            group.create_task(after(1, ValueError("one")))

    simulated = SimulatedRun()
    with pytest.raises(ExceptionGroup) as caught:
        simulated.run(body())
    assert [str(error) for error in caught.value.exceptions] == ["one"]
    assert seen == ["cancelled"]
    assert ("cancel", 1) in simulated.commands


def test_shield_keeps_the_inner_task_running():
    async def body():
        inner = asyncio.create_task(after(2, "inner"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(inner)
        return await inner

    assert run(body()) == "inner"


@pytest.mark.parametrize("limit", [lambda: asyncio.timeout(1), lambda: asyncio.timeout_at(1)])
def test_timeout_is_one_timer_and_ends_the_wait(limit):
    async def body():
        async with limit():
            await asyncio.get_running_loop().create_future()

    simulated = SimulatedRun()
    with pytest.raises(TimeoutError):
        simulated.run(body())
    assert simulated.commands == [("start", 1, 1_000_000)]
    assert simulated.loop.elapsed_us == 1_000_000


def test_timeout_can_be_rescheduled():
    async def body():
        async with asyncio.timeout(1) as limit:
            limit.reschedule(asyncio.get_running_loop().time() + 5)
            await asyncio.sleep(3)
            return "in time"

    assert run(body()) == "in time"


def test_wait_for_returns_the_result_in_time():
    async def body():
        return await asyncio.wait_for(after(1, "value"), 5), await asyncio.wait_for(after(1, "endless"), None)

    assert run(body()) == ("value", "endless")


def test_wait_for_cancels_what_takes_too_long():
    seen = []

    async def slow():
        try:
            await asyncio.sleep(100)
        finally:
            seen.append(asyncio.get_running_loop().time())

    async def body():
        await asyncio.wait_for(slow(), 2)

    with pytest.raises(TimeoutError):
        run(body())
    assert seen == [2]


def test_event_wakes_all_who_wait_in_order():
    async def body():
        event, seen = asyncio.Event(), []

        async def waiter(name):
            await event.wait()
            seen.append(name)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(waiter(name))
            await asyncio.sleep(1)
            event.set()
        return seen

    assert run(body()) == ["a", "b", "c"]


def test_lock_and_semaphore_are_fair():
    async def body():
        lock, semaphore, seen = asyncio.Lock(), asyncio.BoundedSemaphore(2), []

        async def worker(name):
            async with semaphore, lock:
                await asyncio.sleep(1)
                seen.append((name, asyncio.get_running_loop().time()))

        await asyncio.gather(*(worker(name) for name in "abcd"))
        return seen

    assert run(body()) == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


def test_queue_hands_items_from_task_to_task():
    async def body():
        queue, seen = asyncio.Queue(maxsize=1), []

        async def consume():
            while (item := await queue.get()) is not None:
                seen.append(item)
                queue.task_done()

        consumer = asyncio.create_task(consume())
        for item in range(5):
            await queue.put(item)
        await queue.join()
        await queue.put(None)
        await consumer
        return seen

    assert run(body()) == [0, 1, 2, 3, 4]


def test_condition_and_barrier_wake_their_waiters():
    async def body():
        condition, barrier, seen = asyncio.Condition(), asyncio.Barrier(3), []

        async def waiter(name):
            async with condition:
                await condition.wait()
            await barrier.wait()
            seen.append(name)

        tasks = [asyncio.create_task(waiter(name)) for name in "abc"]
        await asyncio.sleep(1)
        async with condition:
            condition.notify_all()
        await asyncio.gather(*tasks)
        return sorted(seen)

    assert run(body()) == ["a", "b", "c"]


def test_child_tasks_have_copies_of_their_parents_variables():
    variable = contextvars.ContextVar("variable", default="root")

    async def child(value):
        before = variable.get()
        variable.set(value)
        await asyncio.sleep(1)
        return before, variable.get()

    async def body():
        variable.set("parent")
        return await asyncio.gather(child("a"), child("b")), variable.get()

    assert run(body()) == ([("parent", "a"), ("parent", "b")], "parent")


def test_generator_is_iterated_and_closed_on_request():
    async def numbers(seen):
        try:
            for number in range(10):
                await asyncio.sleep(1)
                yield number
        finally:
            await asyncio.sleep(1)
            seen.append("closed")

    async def body():
        seen = []
        async with aclosing(numbers(seen)) as each:
            async for number in each:
                seen.append(number)
                if number == 2:
                    break
        return seen

    assert run(body()) == [0, 1, 2, "closed"]


def test_cancellation_of_a_sleeping_task_is_raised_where_it_sleeps():
    async def body():
        task = asyncio.create_task(asyncio.sleep(100))
        await asyncio.sleep(1)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    simulated = SimulatedRun()
    assert simulated.run(body()) is True
    assert simulated.commands == [("start", 1, 1_000_000), ("start", 2, 100_000_000), ("cancel", 2)]


def test_current_task_and_all_tasks_know_this_loop_alone():
    other = SimulatedRun()
    foreign = other.spawn(asyncio.sleep(1))

    async def body():
        child = asyncio.create_task(asyncio.sleep(1))
        mine = asyncio.current_task()
        tasks = asyncio.all_tasks()
        assert tasks == {mine, child}
        assert asyncio.all_tasks(asyncio.get_running_loop()) == tasks
        await child
        return asyncio.all_tasks() == {mine}

    assert run(body()) is True
    assert not foreign.done()
    other.loop.evict()


def test_get_event_loop_returns_the_kernel_loop():
    async def body():
        return asyncio.get_event_loop() is asyncio.get_running_loop()

    assert run(body()) is True
