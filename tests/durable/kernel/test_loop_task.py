"""Tasks and futures of a kernel loop, and how the loop is entered and left."""

import asyncio
import contextvars
import gc
import sys
from contextvars import Context

import pytest
from simulated_run import SimulatedRun, run

from durable.errors import DeterminismError
from durable.kernel.loop import KernelFuture, KernelLoop, KernelTask


@pytest.fixture
def simulated() -> SimulatedRun:
    return SimulatedRun()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# -- tasks and futures


def test_tasks_and_futures_are_hashed_by_salt_and_number_of_creation():
    simulated = SimulatedRun(salt=5)
    simulated.loop.salt = 3
    first = simulated.spawn(forever())
    second = simulated.loop.create_future()
    assert type(first) is KernelTask
    assert type(second) is KernelFuture
    assert hash(first) == 1 | 3 << 40
    assert hash(second) == 2 | 3 << 40
    assert first != second
    simulated.loop.evict()


def test_tasks_are_named_by_number_unless_they_are_given_a_name():
    async def body():
        own = asyncio.current_task().get_name()
        other = asyncio.create_task(asyncio.sleep(0), name="other")
        third = asyncio.create_task(asyncio.sleep(0))
        return own, other.get_name(), third.get_name()

    assert run(body()) == ("Task-1", "other", "Task-3")


def test_spawned_task_does_not_see_the_variables_of_the_worker(simulated):
    variable = contextvars.ContextVar("variable", default="default")

    async def read():
        return variable.get()

    def work():
        variable.set("outer")
        return simulated.run(read())

    assert Context().run(work) == "default"


def test_spawned_task_can_be_given_a_context_and_a_name(simulated):
    variable = contextvars.ContextVar("variable")
    context = Context()
    context.run(variable.set, 1)

    async def read():
        return variable.get()

    task = simulated.loop.spawn(read(), name="main", context=context)
    simulated.drain()
    assert (task.get_name(), task.result()) == ("main", 1)


def test_task_cannot_be_started_eagerly(simulated):
    simulated.loop.enter()
    with pytest.raises(DeterminismError, match="before its turn"):
        simulated.loop.create_task(forever(), eager_start=True)
    simulated.loop.leave()


def test_task_of_something_else_than_a_coroutine_is_refused(simulated):
    with pytest.raises(TypeError, match="coroutine was expected"):
        simulated.loop.create_task(42)
    assert simulated.loop.pending_tasks() == []


def test_pending_tasks_are_listed_oldest_first_and_held_strongly(simulated):
    async def body():
        for _ in range(3):
            asyncio.create_task(forever())

    root = simulated.spawn(body())
    simulated.drain()
    gc.collect()
    assert root.done()
    assert [task.get_name() for task in simulated.loop.pending_tasks()] == ["Task-2", "Task-3", "Task-4"]
    simulated.loop.evict()


# -- being the running loop


def test_loop_is_the_running_one_only_while_it_is_active(simulated):
    loop = simulated.loop
    assert not loop.is_running()
    with loop.activate():
        assert loop.is_running()
        assert asyncio.get_running_loop() is loop
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_activation_nests_and_restores_the_outer_loop_and_hooks():
    async def outer():
        running = asyncio.get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        first, second = KernelLoop(SimulatedRun(), 0), KernelLoop(SimulatedRun(), 0)
        with first.activate():
            with second.activate(), second.activate():
                assert asyncio.get_running_loop() is second
            assert asyncio.get_running_loop() is first
            assert sys.get_asyncgen_hooks() != hooks
        assert asyncio.get_running_loop() is running
        assert sys.get_asyncgen_hooks() == hooks

    asyncio.run(outer())


def test_activation_hides_the_outer_task_and_restores_it():
    """On 3.14 a task cannot take a step while another is the current one of the thread (L2)."""

    async def outer():
        mine = asyncio.current_task()
        simulated = SimulatedRun()

        async def inner():
            return asyncio.current_task().get_name()

        assert simulated.run(inner()) == "Task-1"
        assert asyncio.current_task() is mine
        if sys.version_info >= (3, 12):
            with simulated.loop.activate():
                assert asyncio.current_task(asyncio.get_running_loop()) is None
        await asyncio.sleep(0)
        assert asyncio.current_task() is mine

    asyncio.run(outer())


def test_activation_is_left_when_its_body_raises(simulated):
    with pytest.raises(LookupError), simulated.loop.activate():
        raise LookupError
    assert not simulated.loop.is_running()


def test_loop_answers_what_asyncio_asks_of_every_loop(simulated):
    loop = simulated.loop
    assert loop.get_debug() is False
    assert loop.get_task_factory() is None
    assert loop.is_closed() is False
