"""What becomes of exceptions that have nowhere to be raised, and of changes that are refused."""

import asyncio
import gc

import pytest
from simulated_run import SimulatedRun, run

from durable.errors import DeterminismError, ReadOnlyError


@pytest.fixture
def simulated() -> SimulatedRun:
    return SimulatedRun()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# -- failures


def test_exception_in_a_callback_goes_to_the_host_and_the_drain_goes_on(simulated):
    seen = []

    def fail():
        raise ValueError("broken")

    simulated.loop.call_soon(fail)
    simulated.loop.call_soon(seen.append, 1)
    simulated.drain()
    assert seen == [1]
    (failure,) = simulated.failures
    assert str(failure["exception"]) == "broken"
    assert failure["message"].startswith("exception in the loop callback test_exception_in_a_callback")


def test_message_of_a_failed_callback_has_no_address(simulated):
    class Callable:
        def __call__(self):
            raise ValueError

    simulated.loop.call_soon(Callable())
    simulated.drain()
    assert "0x" not in simulated.failures[0]["message"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError, DeterminismError])
def test_error_that_discards_the_activation_leaves_the_drain_from_a_callback(simulated, error):
    def fail():
        raise error

    simulated.loop.call_soon(fail)
    with pytest.raises(error):
        simulated.drain()
    assert simulated.failures == []


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError, DeterminismError])
def test_error_that_discards_the_activation_leaves_the_drain_from_a_task(simulated, error):
    async def child():
        await asyncio.sleep(0)
        raise error

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    simulated.spawn(body())
    with pytest.raises(error):
        simulated.drain()
    simulated.loop.evict()


def test_endless_recursion_leaves_the_drain(simulated):
    def recurse():
        return recurse()

    async def body():
        recurse()

    task = simulated.spawn(body())
    with pytest.raises(RecursionError):
        simulated.drain()
    assert isinstance(task.exception(), RecursionError)


def test_recursion_error_that_the_code_handles_is_its_own_affair():
    async def body():
        try:
            raise RecursionError
        except RecursionError:
            return "handled"

    assert run(body()) == "handled"


def test_violation_ends_the_drain_although_the_code_swallows_everything(simulated):
    seen = []
    violation = DeterminismError("read a clock")

    async def body():
        simulated.loop.violation = violation
        await asyncio.sleep(0)
        seen.append("went on")

    simulated.spawn(body())
    with pytest.raises(DeterminismError) as caught:
        simulated.drain()
    assert caught.value is violation
    assert seen == []
    simulated.loop.evict()


def test_exception_handler_of_the_workflow_is_called_instead_of_failing_the_run(simulated):
    seen = []
    loop = simulated.loop

    def handler(of, context):
        seen.append((of, type(context["exception"])))

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.call_soon(lambda: 1 / 0)
    simulated.drain()
    assert seen == [(loop, ZeroDivisionError)]
    assert simulated.failures == []


def test_exception_handler_that_raises_fails_the_run(simulated):
    simulated.loop.set_exception_handler(lambda _, context: context["absent"])
    simulated.loop.call_soon(lambda: 1 / 0)
    simulated.drain()
    assert isinstance(simulated.failures[0]["exception"], KeyError)


def test_exception_handler_can_discard_the_activation(simulated):
    def handler(loop, context):
        raise MemoryError

    simulated.loop.set_exception_handler(handler)
    simulated.loop.call_soon(lambda: 1 / 0)
    with pytest.raises(MemoryError):
        simulated.drain()


def test_what_code_reports_to_the_loop_is_a_complaint(simulated):
    async def body():
        asyncio.get_running_loop().call_exception_handler({"message": "look at this"})

    simulated.run(body())
    assert simulated.loop.complaints == [("look at this", None)]
    assert simulated.failures == []


def test_exception_that_nobody_retrieved_is_a_complaint_and_reaches_no_handler(simulated):
    seen = []
    simulated.loop.set_exception_handler(lambda *_: seen.append(1))

    async def fail():
        raise LookupError("unheard")

    async def body():
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    simulated.run(body())
    gc.collect()
    ((message, error),) = simulated.loop.complaints
    assert message.endswith("exception was never retrieved")
    assert str(error) == "unheard"
    assert seen == []


# -- read only (K4)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda loop: loop.create_task(forever()), "a task"),
        (lambda loop: loop.create_future(), "a future"),
        (lambda loop: loop.call_later(1, print), "a timer"),
        (lambda loop: loop.call_soon(print), "a callback"),
    ],
)
def test_read_only_loop_refuses_changes_and_is_tainted(simulated, change, what):
    simulated.loop.read_only = "a query"
    with pytest.raises(ReadOnlyError, match=f"a query must not change the run; it asked for {what}"):
        change(simulated.loop)
    assert simulated.loop.tainted
    assert simulated.commands == []
    simulated.loop.read_only = None
    simulated.loop.create_future()
