"""The queue, the clock and the timers of a kernel loop."""

import asyncio
import contextvars
import math
import random
from contextvars import Context

import pytest
from simulated_run import SimulatedRun

from durable.kernel.callback import NEVER_US, microseconds


@pytest.fixture
def simulated() -> SimulatedRun:
    return SimulatedRun()


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


@pytest.mark.parametrize("delay", [0.2, 0.5, 1, 30, 3600])
@pytest.mark.parametrize("scale", [10**6, 10**8, 10**11, 10**14])
def test_deadline_from_any_moment_is_as_far_away_as_it_says_and_reached_when_its_timer_fires(delay, scale):
    moments = random.Random(scale)  # seeded
    for _ in range(50):
        simulated = SimulatedRun()
        loop = simulated.loop
        loop.elapsed_us = moments.randrange(scale)
        deadline = loop.time() + delay
        reached = []
        assert loop.call_at(deadline, lambda: reached.append(loop.time() >= deadline)).when() == deadline  # noqa: B023
        assert loop.call_later(delay, lambda: reached.append(loop.time() >= deadline)).when() == deadline  # noqa: B023
        assert simulated.commands == [("start", number, round(delay * 1e6)) for number in (1, 2)]
        simulated.skip()
        assert reached == [True, True]


def test_deadline_that_only_a_float_can_tell_from_now_is_now(simulated):
    simulated.loop.elapsed_us = 300_000
    seen = []
    simulated.loop.call_at(math.nextafter(0.3, 1), lambda: seen.append(simulated.loop.time()))
    simulated.drain()
    assert simulated.commands == []
    assert seen == [math.nextafter(0.3, 1)]
    simulated.loop.elapsed_us = 300_001
    assert simulated.loop.time() == 0.300001


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
            await asyncio.sleep(0)

    simulated.run(body())
    assert simulated.commands == [("start", 1, 5_000_000), ("cancel", 1)]
