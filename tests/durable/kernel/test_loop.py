"""The queue, the clock and the timers of a kernel loop, and how it is entered and left."""

import asyncio
import contextvars
import gc
import math
import sys
from contextvars import Context

import pytest
from simulated_run import SimulatedRun, run

from durable.errors import DeterminismError, ReadOnlyError
from durable.kernel.callback import NEVER_US, microseconds
from durable.kernel.loop import KernelFuture, KernelLoop, KernelTask


@pytest.fixture
def simulated() -> SimulatedRun:
    return SimulatedRun()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# -- the queue


def test_drain_runs_callbacks_first_in_first_out_until_none_is_left(simulated):
    seen = []
    loop = simulated.loop

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(lambda: seen.append("second"))
    simulated.drain()
    assert seen == ["first", "second", "third"]


def test_drain_skips_cancelled_callbacks(simulated):
    seen = []
    handle = simulated.loop.call_soon(seen.append, 1)
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()
    assert repr(handle) == "<Handle cancelled>"
    simulated.drain()
    assert seen == []


def test_callback_runs_in_its_context(simulated):
    variable = contextvars.ContextVar("variable", default=0)
    context = Context()
    context.run(variable.set, 5)
    seen = []
    handle = simulated.loop.call_soon(lambda: seen.append(variable.get()), context=context)
    assert handle.get_context() is context
    simulated.drain()
    assert seen == [5]
    assert "lambda" in repr(handle)


def test_callback_copies_the_current_context_when_none_is_given(simulated):
    variable = contextvars.ContextVar("variable", default=0)
    seen = []

    def schedule():
        variable.set(7)
        simulated.loop.call_soon(lambda: seen.append(variable.get()))

    Context().run(schedule)
    simulated.drain()
    assert seen == [7]


# -- the clock and the timers


def test_time_stands_still_during_a_drain_and_is_what_was_set(simulated):
    simulated.loop.elapsed_us = 1_500_000

    async def read():
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        return before, asyncio.get_running_loop().time()

    assert simulated.run(read()) == (1.5, 1.5)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (30, 30_000_000),
        (0.1, 100_000),
        (1e-6, 1),
        (1e-9, 1),
        (1.0000001, 1_000_001),
        (0, 0),
        (-1, 0),
        (-math.inf, 0),
    ],
)
def test_microseconds_round_up(seconds, expected):
    assert microseconds(seconds) == expected


@pytest.mark.parametrize("seconds", [0.3, 1.1, 1e9 + 0.1, 86400.7, 123456789.123457])
def test_microseconds_are_never_short_when_the_clock_is_read_again(seconds):
    assert microseconds(seconds) / 1e6 >= seconds


def test_microseconds_refuse_what_is_not_a_number():
    with pytest.raises(ValueError, match="expected a time in seconds, got nan"):
        microseconds(math.nan)


def test_call_later_starts_a_timer_and_runs_the_callback_when_it_fires(simulated):
    seen = []
    handle = simulated.loop.call_later(2.5, seen.append, "late")
    assert handle.when() == 2.5
    assert simulated.commands == [("start", 1, 2_500_000)]
    simulated.drain()
    assert seen == []
    simulated.skip()
    assert seen == ["late"]
    handle.cancel()
    assert simulated.commands == [("start", 1, 2_500_000)]


def test_call_at_counts_from_the_start_of_the_run(simulated):
    simulated.loop.elapsed_us = 4_000_000
    simulated.loop.call_at(10, print)
    assert simulated.commands == [("start", 1, 6_000_000)]


@pytest.mark.parametrize("delay", [0, -1])
def test_call_later_starts_no_timer_when_no_time_is_to_pass(simulated, delay):
    seen = []
    simulated.loop.call_later(delay, seen.append, 1)
    simulated.loop.call_at(delay, seen.append, 2)
    simulated.drain()
    assert seen == [1, 2]
    assert simulated.commands == []


@pytest.mark.parametrize("delay", [math.inf, NEVER_US / 1e6])
def test_call_later_starts_no_timer_that_no_float_could_hold(simulated, delay):
    simulated.loop.call_later(delay, print).cancel()
    assert simulated.commands == []


def test_cancelled_timer_is_cancelled_once(simulated):
    handle = simulated.loop.call_later(1, print)
    handle.cancel()
    handle.cancel()
    assert simulated.commands == [("start", 1, 1_000_000), ("cancel", 1)]


def test_timer_that_has_fired_can_still_be_taken_back_before_its_turn(simulated):
    seen = []
    late = simulated.loop.call_later(1, seen.append, "late")
    simulated.loop.call_soon(late.cancel)
    simulated.loop.elapsed_us = 1_000_000
    simulated.loop.fire_timer(1)
    simulated.drain()
    assert seen == []
    assert ("cancel", 1) not in simulated.commands


def test_sleep_is_one_timer_and_sleep_zero_none(simulated):
    async def body():
        await asyncio.sleep(0)
        await asyncio.sleep(-5)
        assert await asyncio.sleep(30, "result") == "result"
        return asyncio.get_running_loop().time()

    assert simulated.run(body()) == 30
    assert simulated.commands == [("start", 1, 30_000_000)]


def test_timeout_that_was_not_needed_starts_and_cancels_its_timer_in_one_drain(simulated):
    async def body():
        async with asyncio.timeout(5):
            pass

    simulated.run(body())
    assert simulated.commands == [("start", 1, 5_000_000), ("cancel", 1)]


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
            asyncio.create_task(forever())  # noqa: RUF006 - the loop holds it

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


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError, DeterminismError]
)
def test_error_that_discards_the_activation_leaves_the_drain_from_a_callback(simulated, error):
    def fail():
        raise error

    simulated.loop.call_soon(fail)
    with pytest.raises(error):
        simulated.drain()
    assert simulated.failures == []


@pytest.mark.parametrize(
    "error", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError, DeterminismError]
)
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
