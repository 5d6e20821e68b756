"""Semantics 11 to 16: asyncio and anyio inside workflows."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from durable import ChildFailedError, Context, Signal, Update, step, workflow
from durable.errors import DefinitionError, RunFailedError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from semantics import concurrency
from semantics.concurrency import SCENES, concurrent, trace_so_far, who

pytestmark = pytest.mark.anyio

go = Signal("go")
done: list[str] = []
begun: asyncio.Event
stopped: list[str]


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Events and lists that steps of this module use."""
    global begun, stopped  # noqa: PLW0603 - steps find them by name
    begun, stopped = asyncio.Event(), []
    done.clear()


class Declined(Exception):
    pass


@step
async def endless(name: str = "step") -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        stopped.append(name)
        raise


@step
async def note(text: str) -> str:
    done.append(text)
    return text


@step
async def when_begun() -> None:
    await begun.wait()


async def undo(name: str) -> None:
    done.append(f"undo {name}")


@step(compensate=undo)
async def do(name: str) -> str:
    done.append(f"do {name}")
    return name


@step
async def fail(text: str) -> None:
    raise Declined(text)


# -- 11: one order ----------------------------------------------------------------------------------------


async def in_a_new_process(url: str, cache_size: int, seed: int, task: str) -> dict[str, list[str]]:
    """What ``concurrency.py`` says as a process under another PYTHONHASHSEED."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, concurrency.__file__, url, str(cache_size), task,
        env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    traces: dict[str, list[str]] = json.loads(output)
    return traces


async def test_order_is_the_same_on_every_replay_in_a_new_process_under_another_hash_seed(open_runtime, url, cache_size):
    """Semantics 11: gather, TaskGroup, wait, as_completed, Lock, Semaphore, Queue, Condition, Barrier, async generators
    closed early, contextvars in child tasks: same order on every replay, in a new process, under another PYTHONHASHSEED.

    Three processes: the first plays every scene, the second replays it and plays it again, the third replays both.
    """
    who.set("the worker")
    async with open_runtime(concurrent) as rt:
        first = {}
        for scene in SCENES:
            run = await rt.start(concurrent.options(id=scene), scene)
            await run.until_waiting("go", timeout=30)
            first[scene] = await run.query(trace_so_far)
    finished = await in_a_new_process(url, cache_size, 1, "finish")
    for scene, trace in finished.items():
        assert trace[: len(first[scene])] == first[scene]
        assert len(trace) > len(first[scene])
    assert await in_a_new_process(url, cache_size, 2, "ask") == finished
    assert first["waits"][: concurrency.TASKS] == [f"quick {number}" for number in range(concurrency.TASKS)]
    assert first["remembers"][0] == "nobody"
    async with open_runtime(concurrent) as rt:
        closed = [name async for name in rt.get("generates").stream("closed")]
    assert closed == ["by hand", "by hand", *["third", "second", "first"] * 2]


# -- 12: scopes -------------------------------------------------------------------------------------------

Operation = Callable[[], Awaitable[Any]]


@workflow
async def patient_child(ctx: Context) -> None:
    begun.set()
    try:
        await ctx.sleep(3600)
    finally:
        stopped.append("child")


async def moves_on(operation: Operation, trace: list[str]) -> None:
    with anyio.move_on_after(0.02) as scope:
        await operation()
        trace.append("not reached")
    trace.append(f"caught {scope.cancelled_caught}, called {scope.cancel_called}")


async def fails_after(operation: Operation, trace: list[str]) -> None:
    try:
        with anyio.fail_after(0.02):
            await operation()
    except TimeoutError:
        trace.append("TimeoutError")


async def group_is_cancelled(operation: Operation, trace: list[str]) -> None:
    async def wait(name: str) -> None:
        try:
            await operation()
        except BaseException as error:
            trace.append(f"{name}: {type(error).__name__}")
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "one")
        group.start_soon(wait, "two")
        await anyio.sleep(0.02)
        group.cancel_scope.cancel()
        trace.append("cancelled")
    trace.append("group left")


async def sibling_fails(operation: Operation, trace: list[str]) -> None:
    async def wait() -> None:
        try:
            await operation()
        except BaseException as error:
            trace.append(type(error).__name__)
            raise

    async def fail_soon() -> None:
        await anyio.sleep(0.02)
        raise Declined("no")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(fail_soon)
    except* Declined as errors:
        trace.append(str([str(error) for error in errors.exceptions]))


async def shields(operation: Operation, trace: list[str]) -> None:
    """Shielded within a scope that is cancelled: only its own, inner deadline ends it."""
    with anyio.move_on_after(0.01) as outer:
        try:
            await anyio.sleep(3600)
        finally:
            with anyio.move_on_after(0.01, shield=True) as inner:
                trace.append("shielded")
                await operation()
            trace.append(f"inner {inner.cancelled_caught}")
            await anyio.sleep(0)
            trace.append("not reached")
    trace.append(f"outer {outer.cancelled_caught}")


ENDINGS = {scene.__name__: scene for scene in (moves_on, fails_after, group_is_cancelled, sibling_fails, shields)}


@workflow
async def scoped(ctx: Context, ending: str, operation: str) -> list[str]:
    def operate() -> Awaitable[Any]:
        match operation:
            case "step":
                return ctx.step(endless)
            case "child":
                return ctx.child_workflow(patient_child)
            case "timer":
                return ctx.sleep(3600)
            case _:
                return ctx.wait_signal(go)

    trace: list[str] = []
    await ENDINGS[ending](operate, trace)
    trace.append(await ctx.step(note, "after"))
    return trace


@pytest.mark.parametrize("operation", ["step", "child", "timer", "signal"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_scopes_end_as_they_do_outside(open_runtime, ending, operation):
    """Semantics 12: anyio task groups, move_on_after, fail_after and shielded scopes around steps, children and timers
    end as they do outside. Outside is the same function around a wait that never ends.
    """
    outside: list[str] = []
    await ENDINGS[ending](anyio.sleep_forever, outside)
    async with open_runtime(scoped, patient_child) as rt:
        run = await rt.start(scoped, ending, operation)
        assert await run.result(timeout=30) == [*outside, "after"]


@workflow
async def shield_lets_end(ctx: Context) -> list[Any]:
    seen: list[Any] = []
    with anyio.move_on_after(0.01) as scope:
        with anyio.CancelScope(shield=True):
            await ctx.sleep(0.05)
            seen.append(await ctx.step(note, "step"))
            seen.append(await ctx.child_workflow(quick_child))
        await anyio.sleep(3600)
    return [*seen, scope.cancelled_caught]


@workflow
async def quick_child(ctx: Context) -> str:
    await ctx.sleep(0.01)
    return "child"


async def test_shielded_scope_lets_steps_children_and_timers_end(open_runtime):
    """Semantics 12: what is shielded comes to its own end although the scope around is cancelled."""
    async with open_runtime(shield_lets_end, quick_child) as rt:
        assert await (await rt.start(shield_lets_end)).result(timeout=30) == ["step", "child", True]
        assert done == ["step"]


@workflow
async def sibling_of_steps(ctx: Context, kind: str) -> list[str]:
    async def fail_now() -> None:
        await ctx.step(when_begun)
        raise Declined("no")

    try:
        if kind == "anyio":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ctx.step(endless))
                tasks.start_soon(fail_now)
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step(endless))
                group.create_task(fail_now())
    except* Declined as errors:
        return [str(error) for error in errors.exceptions]
    return []


@pytest.mark.parametrize("kind", ["anyio", "asyncio"])
async def test_failing_task_cancels_the_steps_of_its_siblings(open_runtime, kind):
    """Semantics 12: a failing child task cancels its siblings' steps."""
    async with open_runtime(sibling_of_steps) as rt:
        run = await rt.start(sibling_of_steps, kind)
        assert await run.result(timeout=30) == ["no"]
        assert [event.kind for event in await run.history()].count(EventKind.STEP_CANCEL_REQUESTED) == 1
    assert stopped == ["step"]


# -- 13: groups of exceptions -----------------------------------------------------------------------------


@workflow
async def fails_in_groups(ctx: Context, kind: str) -> None:
    await ctx.step(do, "before")

    async def inner() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step(fail, "three"))
            group.create_task(own("four"))

    async def own(text: str) -> None:
        raise LookupError(text)

    if kind == "anyio":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(own, "one")
            tasks.start_soon(own, "two")
            tasks.start_soon(inner)
    else:
        async with asyncio.TaskGroup() as group:
            for text in ("one", "two"):
                group.create_task(own(text))
            group.create_task(inner())


def leaves(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [f"{type(error).__name__} {error}"]


@workflow
async def parent_of_groups(ctx: Context) -> list[str]:
    try:
        await ctx.child_workflow(fails_in_groups, "asyncio")
    except ChildFailedError as error:
        assert error.__cause__ is not None
        return leaves(error.__cause__)
    return []


@workflow
async def fails_together(ctx: Context) -> None:
    """Both fail in one batch, so that none of them is cancelled before."""

    async def own(error: Exception) -> None:
        await ctx.wait_signal(go)
        raise error

    await ctx.step(do, "before")
    async with asyncio.TaskGroup() as outer:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(own(LookupError("one")))
            inner.create_task(own(Declined("two")))
            outer.create_task(own(ValueError("three")))
