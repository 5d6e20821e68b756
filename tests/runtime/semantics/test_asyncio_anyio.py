"""Semantics 11 to 16: asyncio and anyio inside workflows."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from durable import Context, RunCancelledError, RunFailedError, Signal, Update, step, workflow
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime import Runtime
from runtime.client.handle import RunHandle
from semantics.order_workflows import NAMES, SCENARIOS, order_of, place

pytestmark = pytest.mark.anyio

ROOTS = os.pathsep.join([str(Path(__file__).parents[1])])


# -- 11: order --------------------------------------------------------------------------------------------


def replay_in_a_fresh_process(url: str, hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": ROOTS}
    return subprocess.run(
        [sys.executable, "-m", "semantics.replay_order", url],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


async def test_the_order_is_the_same_on_every_replay_in_every_process(open_runtime, url):
    """Semantics 11: gather, TaskGroup, wait, as_completed, Lock, Semaphore, Queue, Condition, Barrier, generators, contextvars."""
    async with open_runtime(order_of) as rt:
        runs = [await rt.start(order_of.options(id=f"{name}-{turn}"), name) for name in SCENARIOS for turn in range(3)]
        for run in runs:
            assert await run.result(timeout=30)
    for hash_seed in (1, 2, 3):
        output = await asyncio.to_thread(replay_in_a_fresh_process, url, hash_seed)
        assert sorted(output.split()) == sorted(word for run in runs for word in (run.workflow_id, "completed"))


@step
async def unlock(name: str) -> str:
    return name


@workflow
async def leaves_locked(ctx: Context, fails: bool) -> str:
    async def locked() -> Any:
        try:
            yield 1
        finally:
            await ctx.step(unlock, "first")
            await ctx.step(unlock, "second")

    async for _ in locked():
        if fails:
            raise ValueError("of the consumer")
        break
    return "done"


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_left_generator_awaits_in_the_end_is_done_before_the_run_ends(open_runtime, fails):
    """Semantics 11: a generator that was left runs its ``finally`` with its steps, whether its consumer returns or raises."""
    async with open_runtime(leaves_locked) as rt:
        run = await rt.start(leaves_locked, fails)
        if fails:
            with pytest.raises(RunFailedError):
                await run.result(timeout=30)
        else:
            assert await run.result(timeout=30) == "done"
        done = [event.payload for event in await run.history() if event.kind == EventKind.STEP_COMPLETED]
    assert ["first" in done[0], "second" in done[1], len(done)] == [True, True, 2]


async def test_child_tasks_see_the_variables_of_their_parents_and_of_nobody_else(open_runtime):
    """Semantics 11: contextvars in child tasks: they get a copy; what is set outside the run does not leak in."""
    place.set("the test")
    async with open_runtime(order_of) as rt:
        seen = await (await rt.start(order_of, "context_variables")).result(timeout=30)
    assert seen[0] == "outside"
    assert seen[1:7] == [f"{name} in root" for name in NAMES]
    assert sorted(seen[7:13]) == [f"{name} in {name}" for name in NAMES]
    assert seen[13:] == ["root"]


async def test_generators_are_closed_where_they_are_closed_and_else_at_the_end(open_runtime):
    """Semantics 11: async generators closed early run their ``finally`` there, steps included; left ones at the run's end."""
    async with open_runtime(order_of) as rt:
        run = await rt.start(order_of, "generator")
        seen = await run.result(timeout=30)
        done = [event.payload for event in await run.history() if event.kind == EventKind.STEP_COMPLETED]
    assert seen[:2] == ["closed early n0", "closed early closed"]
    assert seen[2:9] == [
        "left n0",
        "left n1",
        "left n2",
        *(f"left as well n{number}" for number in range(3)),
        "afterwards",
    ]
    assert "left as well closed" in seen
    assert "closed early closed" in done[1]


# -- 12: anyio --------------------------------------------------------------------------------------------

told: list[str] = []
begun: dict[str, asyncio.Event] = {}
released = Signal("released")


@step
async def work(name: str) -> str:
    return name


@step
async def wait_for_ever(name: str) -> None:
    begun.setdefault(name, asyncio.Event()).set()
    try:
        await asyncio.Event().wait()
    finally:
        told.append(name)


@step
async def until_begun(*names: str) -> None:
    for name in names:
        await begun.setdefault(name, asyncio.Event()).wait()


@workflow
async def child_that_waits(ctx: Context, name: str) -> None:
    try:
        await ctx.wait_signal(released)
    finally:
        await ctx.step(work, f"{name} cleaned up")
        told.append(name)


class Outside:
    """The same kinds of work without any workflow."""

    async def done(self) -> str:
        await anyio.sleep(0)
        return "done"

    async def never(self) -> None:
        await anyio.sleep_forever()


class Inside:
    """Work that is durable, of one kind."""

    def __init__(self, ctx: Context, kind: str) -> None:
        self.ctx = ctx
        self.kind = kind

    async def done(self) -> str:
        return await self.ctx.step(work, "done")

    async def never(self) -> None:
        match self.kind:
            case "step":
                await self.ctx.step(wait_for_ever, "never")
            case "child":
                await self.ctx.child_workflow(child_that_waits, "never")
            case "timer":
                await self.ctx.sleep(1_000_000)
            case "signal":
                await self.ctx.wait_signal(released)


Work = Outside | Inside


async def group_ends_with_its_children(work: Work) -> list[str]:
    seen: list[str] = []

    async def run() -> None:
        seen.append(await work.done())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
    return seen


async def group_is_cancelled(work: Work) -> list[str]:
    seen: list[str] = []

    async def run() -> None:
        try:
            await work.never()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
        seen.append(await work.done())
        group.cancel_scope.cancel()
    return [*seen, "over"]


async def failing_child_cancels_its_siblings(work: Work) -> list[str]:
    seen: list[str] = []

    async def fail() -> None:
        await work.done()
        raise ValueError("no")

    async def run() -> None:
        try:
            await work.never()
        finally:
            seen.append("told")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            group.start_soon(run)
    except* ValueError as errors:
        seen += [str(error) for error in errors.exceptions]
    return seen


async def move_on(work: Work) -> list[str]:
    with anyio.move_on_after(0.02) as scope:
        await work.never()
    return [f"moved on: {scope.cancelled_caught}", await work.done()]


async def do_not_move_on(work: Work) -> list[str]:
    with anyio.move_on_after(1_000) as scope:
        await work.done()
    return [f"moved on: {scope.cancelled_caught}"]


async def fail_after(work: Work) -> list[str]:
    try:
        with anyio.fail_after(0.02):
            await work.never()
    except TimeoutError:
        return ["timed out", await work.done()]
    return ["in time"]


async def shielded_clean_up(work: Work) -> list[str]:
    seen: list[str] = []
    with anyio.move_on_after(0.02) as scope:
        try:
            await work.never()
        finally:
            with anyio.CancelScope(shield=True):
                seen.append(await work.done())
                seen.append(await work.done())
    return [*seen, f"moved on: {scope.cancelled_caught}"]


async def clean_up_without_a_shield(work: Work) -> list[str]:
    seen: list[str] = []
    with anyio.move_on_after(0.02):
        try:
            await work.never()
        finally:
            try:
                seen.append(await work.done())
            except anyio.get_cancelled_exc_class():
                seen.append("cancelled again")
                raise
    return seen


async def outer_limit_inner_shield(work: Work) -> list[str]:
    with anyio.move_on_after(0.02) as outer:
        with anyio.CancelScope(shield=True), anyio.move_on_after(0.04) as inner:
            await work.never()
        await anyio.lowlevel.checkpoint()
    return [f"outer: {outer.cancelled_caught}, inner: {inner.cancelled_caught}"]


SCENES = {
    scene.__name__: scene
    for scene in (
        group_ends_with_its_children,
        group_is_cancelled,
        failing_child_cancels_its_siblings,
        move_on,
        do_not_move_on,
        fail_after,
        shielded_clean_up,
        clean_up_without_a_shield,
        outer_limit_inner_shield,
    )
}


@workflow
async def play(ctx: Context, scene: str, kind: str) -> list[str]:
    return await SCENES[scene](Inside(ctx, kind))


@pytest.mark.parametrize("kind", ["step", "child", "timer", "signal"])
@pytest.mark.parametrize("scene", SCENES)
async def test_anyio_scopes_end_as_they_do_outside(open_runtime, scene, kind):
    """Semantics 12: task groups, move_on_after, fail_after and shielded scopes around steps, children and timers."""
    outside = await SCENES[scene](Outside())
    async with open_runtime(play, child_that_waits) as rt:
        run = await rt.start(play, scene, kind)
        assert await run.result(timeout=30) == outside


@workflow
async def fail_beside_steps(ctx: Context, kit: str) -> None:
    async def fail() -> None:
        await ctx.step(until_begun, "a", "b")
        raise ValueError("no")

    if kit == "anyio":
        async with anyio.create_task_group() as anyio_group:
            anyio_group.start_soon(ctx.step(wait_for_ever, "a"))
            anyio_group.start_soon(ctx.step(wait_for_ever, "b"))
            anyio_group.start_soon(fail)
    else:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step(wait_for_ever, "a"))
            group.create_task(ctx.step(wait_for_ever, "b"))
            group.create_task(fail())


@pytest.mark.parametrize("kit", ["anyio", "asyncio"])
async def test_a_failing_child_task_cancels_the_steps_of_its_siblings(open_runtime, kit):
    """Semantics 12: a failing child task cancels its siblings' steps: they are told, once each."""
    told.clear()
    begun.clear()
    async with open_runtime(fail_beside_steps) as rt:
        run = await rt.start(fail_beside_steps, kit)
        with pytest.raises(RunFailedError, match="no"):
            await run.result(timeout=30)
        requested = [event.command for event in await run.history() if event.kind == EventKind.STEP_CANCEL_REQUESTED]
    assert sorted(told) == ["a", "b"]
    assert sorted(requested) == [1, 2]


# -- 13: exception groups ---------------------------------------------------------------------------------

undone: list[str] = []


@step
async def undo(name: str) -> None:
    undone.append(name)


@workflow
async def fail_in_a_group(ctx: Context) -> None:
    await ctx.step(work.options(compensate=undo), "done before")

    async def fail_when_cancelled(error: Exception) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    async def two_fail() -> None:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fail_when_cancelled(KeyError("bad key")))
            inner.create_task(fail_when_cancelled(OSError("bad os")))

    async with asyncio.TaskGroup() as group:
        group.create_task(two_fail())
        await ctx.step(work, "something")
        raise ValueError("bad value")


async def test_an_exception_group_fails_the_run_with_every_leaf(open_runtime):
    """Semantics 13: an ExceptionGroup out of a TaskGroup fails the run (and triggers rollback), with every leaf in the error."""
    undone.clear()
    async with open_runtime(fail_in_a_group) as rt:
        run = await rt.start(fail_in_a_group)
        with pytest.raises(RunFailedError) as caught:
            await run.result(timeout=30)
        described = await run.describe()
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    inner, value = group.exceptions
    assert (type(value), value.args) == (ValueError, ("bad value",))
    assert isinstance(inner, ExceptionGroup)
    assert [(type(leaf), leaf.args) for leaf in inner.exceptions] == [(KeyError, ("bad key",)), (OSError, ("bad os",))]
    assert undone == ["done before"]
    assert described.rollback is RollbackStatus.COMPLETED
    for text in (str(caught.value), described.reason):
        for leaf in ("ValueError: bad value", "KeyError: 'bad key'", "OSError: bad os"):
            assert leaf in text


# -- 14: what reaches outside -----------------------------------------------------------------------------


def start_thread() -> None:
    threading.Thread(target=print).start()


def use_thread_pool() -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(print)


async def use_to_thread() -> None:
    await asyncio.to_thread(print)


async def use_run_in_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def use_anyio_thread() -> None:
    await anyio.to_thread.run_sync(print)


async def open_connection() -> None:
    await asyncio.open_connection("localhost", 9)


def open_socket() -> None:
    socket.create_connection(("localhost", 9))


async def start_server() -> None:
    await asyncio.start_server(print, "localhost", 0)


async def start_subprocess() -> None:
    await asyncio.create_subprocess_exec("true")


def run_subprocess() -> None:
    subprocess.run(["true"])


def run_loop() -> None:
    asyncio.get_event_loop().run_until_complete(asyncio.Future())


def handle_signal_on_the_loop() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)


def call_from_another_thread() -> None:
    asyncio.get_running_loop().call_soon_threadsafe(print)


FORBIDDEN = {
    forbidden.__name__: (forbidden, operation, remedy)
    for forbidden, operation, remedy in (
        (start_thread, "Thread", "ctx.step"),
        (use_thread_pool, "Thread", "ctx.step"),
        (use_to_thread, "run_in_executor", "ctx.step"),
        (use_run_in_executor, "run_in_executor", "ctx.step"),
        (use_anyio_thread, "anyio.to_thread.run_sync", "ctx.step"),
        (open_connection, "create_connection", "ctx.step"),
        (open_socket, "socket", "ctx.step"),
        (start_server, "create_server", "ctx.step"),
        (start_subprocess, "subprocess_exec", "ctx.step"),
        (run_subprocess, "subprocess", "ctx.step"),
        (run_loop, "run_until_complete", "await the coroutine"),
        (handle_signal_on_the_loop, "add_signal_handler", "handle.signal"),
        (call_from_another_thread, "call_soon_threadsafe", "handle.signal"),
    )
}


@workflow
async def reach_outside(ctx: Context, name: str) -> None:
    await ctx.step(work, "before")
    forbidden, _, _ = FORBIDDEN[name]
    try:
        outcome = forbidden()
        if inspect.isawaitable(outcome):
            await outcome
    except Exception:
        return


async def until_stuck(rt: Runtime, run: RunHandle[Any]) -> str:
    """Wait until a run is stuck, and return why."""

    async def look() -> str | None:
        described = await run.describe()
        assert not described.status.is_closed, described
        return described.reason if described.status is RunStatus.STUCK else None

    async with asyncio.timeout(30):
        return await rt.watch.until(look, lambda change: True)


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_what_reaches_outside_is_refused_by_name_with_the_remedy(open_runtime, name):
    """Semantics 14: threads, executors, sockets, subprocesses, run_until_complete, signal handlers: a named error with the remedy."""
    _, operation, remedy = FORBIDDEN[name]
    async with open_runtime(reach_outside) as rt:
        run = await rt.start(reach_outside, name)
        reason = await until_stuck(rt, run)
        assert operation.lower() in reason.lower()
        assert remedy in reason
        kinds = [event.kind for event in await run.history()]
        assert EventKind.STEP_COMPLETED not in kinds  # the activation was discarded, and what it read is kept


# -- 15: continue-as-new in a background task -------------------------------------------------------------

poke = Signal("poke")
poke_and_wait = Update("poke_and_wait", returns=str)


async def in_a_task(ctx: Context) -> None:
    async def go_on() -> None:
        await ctx.step(work, "something")
        ctx.continue_as_new("over")

    background = asyncio.create_task(go_on())
    await asyncio.Event().wait()
    background.cancel()


async def in_a_task_group(ctx: Context) -> None:
    async def go_on() -> None:
        await ctx.step(work, "something")
        ctx.continue_as_new("over")

    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())
        group.create_task(asyncio.Event().wait())


async def in_an_anyio_group(ctx: Context) -> None:
    async def go_on() -> None:
        await ctx.step(work, "something")
        ctx.continue_as_new("over")

    async with anyio.create_task_group() as group:
        group.start_soon(go_on)
        group.start_soon(anyio.sleep_forever)


async def gathered_with_exceptions(ctx: Context) -> None:
    async def go_on() -> None:
        ctx.continue_as_new("over")

    await asyncio.gather(go_on(), return_exceptions=True)
    await ctx.step(work, "must not happen")


async def swallowed(ctx: Context) -> None:
    try:
        ctx.continue_as_new("over")
    except BaseException:
        pass
    await ctx.step(work, "must not happen")


async def in_a_callback(ctx: Context) -> None:
    asyncio.get_running_loop().call_later(0.01, ctx.continue_as_new, "over")
    await asyncio.Event().wait()


async def in_a_signal_handler(ctx: Context) -> None:
    @ctx.on(poke)
    def _() -> None:
        ctx.continue_as_new("over")

    await ctx.workflow(ctx.info.workflow_id).signal(poke)
    await asyncio.Event().wait()


async def in_a_handler_after_the_return(ctx: Context) -> None:
    @ctx.on(poke)
    async def _() -> None:
        await ctx.sleep(0.01)
        ctx.continue_as_new("over")

    await ctx.workflow(ctx.info.workflow_id).signal(poke)
    await ctx.step(work, "something")


PLACES = {
    place.__name__: place
    for place in (
        in_a_task,
        in_a_task_group,
        in_an_anyio_group,
        gathered_with_exceptions,
        swallowed,
        in_a_callback,
        in_a_signal_handler,
        in_a_handler_after_the_return,
    )
}


@workflow
async def go_on_from(ctx: Context, place: str) -> str:
    if place == "over":
        return f"the second of {ctx.info.first_run_id}"
    await PLACES[place](ctx)
    return "it was ignored"


@pytest.mark.parametrize("place", PLACES)
async def test_continue_as_new_works_from_anywhere(open_runtime, place):
    """Semantics 15: continue_as_new in a background task works; it is never ignored."""
    async with open_runtime(go_on_from) as rt:
        run = await rt.start(go_on_from, place)
        assert await run.result(timeout=30) == f"the second of {run.run_id}"
        history = await run.history()
    assert history[-1].kind == EventKind.RUN_CONTINUED
    assert all("must not happen" not in (event.payload or "") for event in history)


@workflow
async def go_on_too_late(ctx: Context, returns: bool) -> None:
    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ctx.continue_as_new(False)

    lingering = asyncio.create_task(linger())
    await ctx.step(work, "something")
    assert not lingering.done()
    if not returns:
        raise ValueError("the real reason")


async def test_continue_as_new_that_comes_too_late_is_loud(open_runtime):
    """Semantics 15: where it cannot work any more, continue_as_new raises and fails the run."""
    async with open_runtime(go_on_too_late) as rt:
        with pytest.raises(RunFailedError, match="is ending and cannot continue as new"):
            await (await rt.start(go_on_too_late, returns=True)).result(timeout=30)
        with pytest.raises(RunFailedError, match="the real reason"):
            await (await rt.start(go_on_too_late, returns=False)).result(timeout=30)


@workflow
async def go_on_out_of_a_saga(ctx: Context, hops: int) -> None:
    if hops == 2:
        raise ValueError("enough")
    async with ctx.saga():
        await ctx.step(work.options(compensate=undo), f"hop {hops}")
        if hops == 0:
            ctx.continue_as_new(hops + 1)
        asyncio.get_running_loop().call_soon(ctx.continue_as_new, hops + 1)
        await asyncio.Event().wait()


async def test_compensations_of_an_open_scope_pass_to_the_successor(open_runtime):
    """Semantics 15: continue_as_new undoes nothing, and what a scope had registered is undone if a successor fails."""
    undone.clear()
    async with open_runtime(go_on_out_of_a_saga) as rt:
        with pytest.raises(RunFailedError, match="enough"):
            await (await rt.start(go_on_out_of_a_saga, 0)).result(timeout=30)
    assert undone == ["hop 1", "hop 0"]


# -- 16: what is left -------------------------------------------------------------------------------------


@workflow
async def leave_tasks(ctx: Context) -> str:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("stubborn")

    async def asks_for_more() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append("asks for more")
            await ctx.step(work, "too late")

    left = [
        asyncio.create_task(ctx.step(wait_for_ever, "a step")),
        asyncio.create_task(ctx.child_workflow(child_that_waits.options(on_parent_close="cancel"), "a child")),
        asyncio.create_task(ctx.sleep(1_000_000)),
        asyncio.create_task(stubborn()),
        asyncio.create_task(asks_for_more()),
    ]
    await ctx.step(until_begun, "a step")
    return f"left {sum(not task.done() for task in left)}"


async def test_a_task_left_running_is_cancelled_and_its_steps_are_told(open_runtime):
    """Semantics 16: a task left running when the workflow returns is cancelled and its steps are told; nothing hangs."""
    told.clear()
    begun.clear()
    async with open_runtime(leave_tasks, child_that_waits) as rt:
        run = await rt.start(leave_tasks)
        assert await run.result(timeout=30) == "left 5"
        kinds = [event.kind for event in await run.history()]
        [child] = await rt.store.children(run.run_id)
        with pytest.raises(RunCancelledError):
            await rt.get(child.workflow_id).result(timeout=30)
    assert kinds.count(EventKind.STEP_CANCEL_REQUESTED) == 1
    assert kinds.count(EventKind.TIMER_CANCELLED) == 1
    assert kinds[-1] == EventKind.RUN_COMPLETED
    assert {"a step", "a child", "stubborn", "asks for more"} <= set(told)
