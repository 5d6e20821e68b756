"""Eviction closes every coroutine, also of code that swallows whatever is raised in it (L7)."""

import asyncio
import contextvars
import gc
import sys
from collections.abc import Coroutine
from contextlib import suppress

import anyio
import pytest
from simulated_run import SimulatedRun

from durable.kernel.task import MAX_CLOSES


@pytest.fixture
def simulated() -> SimulatedRun:
    return SimulatedRun()


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def test_evicted_coroutines_run_their_cleanup_newest_first(simulated):
    seen = []

    async def child(name):
        try:
            await never()
        finally:
            seen.append(name)

    async def body():
        try:
            await asyncio.gather(child("a"), child("b"))
        finally:
            seen.append("body")

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    assert seen == ["b", "a", "body"]
    assert simulated.loop.is_closed()
    assert simulated.loop.pending_tasks() == []
    assert simulated.loop.evict() == 0


def test_cleanup_finds_its_task_its_loop_and_its_variables(simulated):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def body():
        mine = asyncio.current_task()
        token = variable.set("mine")
        try:
            await never()
        finally:
            seen.append(asyncio.current_task() is mine)
            seen.append(asyncio.get_running_loop() is simulated.loop)
            seen.append(variable.get())
            variable.reset(token)
            seen.append(variable.get())

    simulated.spawn(body())
    simulated.drain()
    simulated.loop.evict()
    assert seen == [True, True, "mine", "unset"]


def test_cleanup_that_waits_is_left_where_it_waits(simulated):
    seen = []

    async def body():
        try:
            try:
                await never()
            finally:
                seen.append("first")
                await asyncio.sleep(10)
                seen.append("unreachable")
        finally:
            await asyncio.sleep(0)
            seen.append("unreachable")

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    assert seen == ["first"]
    assert simulated.commands == []


def test_cleanup_of_inner_coroutines_leaves_nothing_to_the_garbage_collector(simulated, monkeypatch):
    seen = []
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)

    async def inner():
        try:
            try:
                await never()
            finally:
                await asyncio.sleep(10)
        finally:
            seen.append("inner")
            await asyncio.sleep(10)

    async def body():
        try:
            await inner()
        finally:
            seen.append("body")
            await inner()

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    assert seen == ["inner", "body", "inner"]
    gc.collect()
    assert ignored == []


@pytest.mark.parametrize("swallowed", [asyncio.CancelledError, GeneratorExit, BaseException])
def test_coroutine_that_swallows_a_few_times_is_closed(simulated, swallowed):
    async def body():
        for _ in range(MAX_CLOSES - 1):
            with suppress(swallowed):
                await never()
        await never()

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0


def test_coroutine_that_never_gives_in_is_counted_and_never_runs_again(simulated):
    seen = []

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException as error:
                seen.append(type(error))

    simulated.spawn(stubborn())
    simulated.spawn(never())
    simulated.drain()
    assert simulated.loop.evict() == 1
    assert seen == [GeneratorExit] * MAX_CLOSES
    assert simulated.commands == [("start", 1, 1_000_000)]
    del simulated
    gc.collect()
    assert len(seen) == MAX_CLOSES


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, StopAsyncIteration])
def test_what_dying_code_raises_is_lost(simulated, error):
    async def body():
        try:
            await never()
        finally:
            raise error

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    assert simulated.failures == []


def test_task_that_has_not_begun_is_closed_without_running(simulated):
    seen = []

    async def body():
        seen.append("ran")

    simulated.spawn(body())
    assert simulated.loop.evict() == 0
    gc.collect()
    assert seen == []


def test_tasks_that_dying_code_starts_die_with_it(simulated):
    seen = []

    async def child():
        seen.append("child")

    async def body():
        try:
            await never()
        finally:
            asyncio.get_running_loop().call_soon(seen.append, "callback")
            asyncio.create_task(child())
            await asyncio.gather(child(), never())

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.evict() == 0
    simulated.drain()
    assert seen == []


def test_scopes_and_groups_are_left_in_order_and_issue_no_commands(simulated):
    seen = []

    async def leaf():
        with anyio.CancelScope(shield=True):
            await never()

    async def body():
        try:
            async with asyncio.timeout(100):
                with anyio.move_on_after(50):
                    async with anyio.create_task_group() as group, asyncio.TaskGroup() as other:
                        group.start_soon(leaf)
                        other.create_task(leaf())
                        await anyio.sleep(10)
        finally:
            seen.append("left")

    simulated.spawn(body())
    simulated.drain()
    before = list(simulated.commands)
    assert simulated.loop.evict() == 0
    assert seen == ["left"]
    assert simulated.commands == before


def test_eviction_is_silent(simulated, caplog):
    async def fail():
        raise LookupError

    async def body():
        failed = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert failed.done()
        await never()

    simulated.spawn(body())
    simulated.drain()
    simulated.loop.evict()
    gc.collect()
    assert simulated.loop.complaints == []
    assert caplog.records == []


def test_finished_task_that_waits_for_its_callback_is_no_coroutine_to_close(simulated):
    async def body():
        raise SystemExit

    simulated.spawn(body())
    with pytest.raises(SystemExit):
        simulated.drain()
    assert simulated.loop.evict() == 0


def test_coroutine_that_is_not_native_is_asked_once_and_believed(simulated):
    class Operation(Coroutine):
        closed = 0

        def __await__(self):
            return self

        def send(self, value):
            return None

        def throw(self, *error):
            raise error[0]

        def close(self):
            self.closed += 1

    operation = Operation()
    simulated.spawn(operation)
    assert simulated.loop.evict() == 0
    assert operation.closed == 1


# -- closing a part


def test_close_tasks_spares_some_and_leaves_the_loop_usable(simulated):
    seen = []

    async def worker(name):
        try:
            await asyncio.sleep(5)
            seen.append(f"{name} done")
        finally:
            seen.append(f"{name} left")

    spared = simulated.spawn(worker("spared"))
    simulated.spawn(worker("closed"))
    simulated.drain()
    assert simulated.loop.close_tasks([spared]) == 0
    assert seen == ["closed left"]
    assert simulated.loop.pending_tasks() == [spared]
    assert not simulated.loop.closing
    simulated.settle(spared)
    assert seen == ["closed left", "spared done", "spared left"]


def test_close_tasks_closes_what_its_cleanup_starts(simulated):
    async def body():
        try:
            await never()
        finally:
            asyncio.create_task(never())

    simulated.spawn(body())
    simulated.drain()
    assert simulated.loop.close_tasks() == 0
    assert simulated.loop.pending_tasks() == []


def test_closed_task_that_is_woken_afterwards_makes_no_complaint(simulated):
    future = simulated.loop.create_future()

    async def body():
        await future

    simulated.spawn(body())
    simulated.drain()
    simulated.loop.close_tasks()
    future.set_result(None)
    simulated.drain()
    gc.collect()
    assert simulated.loop.complaints == []
    assert simulated.failures == []


def test_close_tasks_counts_those_that_refuse(simulated):
    async def stubborn():
        while True:
            with suppress(BaseException):
                await never()

    simulated.spawn(stubborn())
    simulated.drain()
    assert simulated.loop.close_tasks() == 1
    assert simulated.loop.close_tasks() == 0


def test_close_tasks_works_while_the_run_is_read_only(simulated):
    async def body():
        try:
            await never()
        finally:
            await asyncio.sleep(1)

    simulated.spawn(body())
    simulated.drain()
    simulated.loop.read_only = "a run that continues as new"
    assert simulated.loop.close_tasks() == 0
    assert simulated.loop.read_only == "a run that continues as new"
    assert not simulated.loop.tainted
