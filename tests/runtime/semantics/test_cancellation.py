"""Semantics 22 to 25: what a cancellation reaches, when it is seen, and what becomes of children."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import anyio
import pytest

from durable import Context, RunCancelledError, Signal, step, workflow
from durable.errors import ChildCancelledError, ChildTerminatedError, RunFailedError
from durable.handle import RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio

go = Signal("go", int)
done: list[str] = []
begun: asyncio.Event
stopped: list[str]


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Events and lists that steps of this module use."""
    global begun, stopped
    begun, stopped = asyncio.Event(), []
    done.clear()


@step
async def endless() -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        stopped.append("step")
        raise


@step
async def note(text: str) -> str:
    done.append(text)
    return text


@step
async def nothing(number: int) -> int:
    if number > 5:
        begun.set()
    return number


async def kinds(run: Any) -> Counter[str]:
    """How many events of each kind a run has."""
    return Counter(event.kind for event in await run.history())


# -- 22: what it reaches ----------------------------------------------------------------------------------


@workflow
async def waiting_child(ctx: Context) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.step(note, f"child: {ctx.info.cancel_reason}")


@workflow
async def waits(ctx: Context, how: str) -> None:
    match how:
        case "sleep":
            await ctx.sleep(3600)
        case "asyncio":
            await asyncio.sleep(3600)
        case "step":
            await ctx.step(endless)
        case "signal":
            await ctx.wait_signal(go)
        case "condition":
            await ctx.wait_condition(lambda: False, timeout=3600)
        case "answer":
            await ctx.ask_user("Which?", key="which")
        case "child":
            await ctx.child_workflow(waiting_child)
        case "group":
            async with anyio.create_task_group() as group:
                group.start_soon(ctx.sleep, 3600)
                group.start_soon(ctx.step(endless))


@pytest.mark.parametrize("how", ["sleep", "asyncio", "signal", "condition", "answer", "child", "step", "group"])
async def test_cancel_reaches_whatever_a_run_waits_for(open_runtime, how):
    """Semantics 22: a sleeping, stepping, waiting or child-awaiting run, with the reason."""
    async with open_runtime(waits, waiting_child) as rt:
        run = await rt.start(waits, how)
        if how in ("step", "group"):
            await begun.wait()
        else:
            await run.until_waiting(None if how == "asyncio" else how, timeout=30)
        await run.cancel("closing time")
        with pytest.raises(RunCancelledError, match="closing time"):
            await run.result(timeout=30)
        assert await run.status() is RunStatus.CANCELLED
        if how in ("step", "group"):
            assert stopped == ["step"]
        assert (await kinds(run))[EventKind.CANCEL_REQUESTED] == 1


@workflow
async def catches(ctx: Context) -> list[str]:
    seen = []
    try:
        await ctx.sleep(3600)
    except asyncio.CancelledError as error:
        seen.append(f"{error}/{ctx.info.cancel_reason}")
    seen.append(await ctx.step(note, "after"))
    await ctx.sleep(0.01)
    return seen


async def test_cancel_may_be_caught_and_the_run_goes_on(open_runtime):
    """Semantics 22: it may be caught; what comes later is not cancelled."""
    async with open_runtime(catches) as rt:
        run = await rt.start(catches)
        await run.until_waiting("sleep", timeout=30)
        await run.cancel("not now")
        assert await run.result(timeout=30) == ["not now/not now", "after"]
        assert await run.status() is RunStatus.COMPLETED


@workflow
async def cleans_up(ctx: Context, how: str) -> None:
    if how == "anyio":
        async with anyio.create_task_group():
            try:
                await ctx.sleep(3600)
            finally:
                with anyio.CancelScope(shield=True):
                    await ctx.step(note, "one")
                    await ctx.sleep(0.01)
                    await ctx.step(note, "two")
    else:
        try:
            await ctx.sleep(3600)
        finally:
            await asyncio.shield(ctx.step(note, "one"))
            await ctx.sleep(0.01)
            await asyncio.shield(asyncio.ensure_future(ctx.step(note, "two")))


@pytest.mark.parametrize("how", ["anyio", "asyncio"])
async def test_cleanup_may_await_steps_under_a_shield(open_runtime, how):
    """Semantics 22: cleanup may await steps under a shield, anyio's or asyncio's; each runs once, then the run is cancelled."""
    async with open_runtime(cleans_up) as rt:
        run = await rt.start(cleans_up, how)
        await run.until_waiting("sleep", timeout=30)
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result(timeout=30)
        assert done == ["one", "two"]


@step
async def slow_cleanup() -> None:
    begun.set()
    await asyncio.wait_for(released.wait(), 30)
    done.append("cleaned")


released: asyncio.Event


@workflow
async def shielded_in_group(ctx: Context) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ctx.sleep, 3600)
        with anyio.CancelScope(shield=True):
            await ctx.step(slow_cleanup)


async def test_a_second_cancel_does_not_break_a_shield(open_runtime):
    """Semantics 22: what is under an anyio shield ends, however often the cancellation is asked for."""
    global released
    released = asyncio.Event()
    async with open_runtime(shielded_in_group) as rt:
        run = await rt.start(shielded_in_group)
        await begun.wait()
        await run.cancel("one")
        await run.cancel("two")
        released.set()
        with pytest.raises(RunCancelledError):
            await run.result(timeout=30)
        assert done == ["cleaned"]


@workflow
async def awaits_child(ctx: Context) -> str:
    child = await ctx.start_child(waiting_child.options(id="the-child"))
    try:
        await child
    except ChildCancelledError as error:
        return f"child: {error.message}"
    return "?"


async def test_the_reason_is_visible_everywhere(open_runtime):
    """Semantics 22: reason visible everywhere: history, description, list, the caller's error, the parent's error, the code."""
    async with open_runtime(waits, awaits_child, waiting_child) as rt:
        run = await rt.start(waits, "sleep")
        await run.until_waiting("sleep", timeout=30)
        await run.cancel("out of money")
        with pytest.raises(RunCancelledError, match="was cancelled: out of money"):
            await run.result(timeout=30)
        assert (await run.describe()).reason == "out of money"
        assert [summary.reason async for summary in rt.list(status="cancelled")] == ["out of money"]
        details = {event.kind: event.details for event in await run.history()}
        assert details[EventKind.CANCEL_REQUESTED] == details[EventKind.RUN_CANCELLED] == {"reason": "out of money"}

        parent = await rt.start(awaits_child)
        await parent.until_waiting("the-child", timeout=30)
        await rt.get("the-child").until_waiting("sleep", timeout=30)
        await rt.get("the-child").cancel("the child's own")
        assert await parent.result(timeout=30) == "child: child 'the-child' was cancelled: the child's own"
        assert done == ["child: the child's own"]


async def test_the_empty_reason_is_a_reason(open_runtime):
    """Semantics 22: the empty reason too: the code sees '', not None, and nobody invents another one."""
    async with open_runtime(catches, waits) as rt:
        run = await rt.start(catches)
        await run.until_waiting("sleep", timeout=30)
        await run.cancel()
        assert await run.result(timeout=30) == ["/", "after"]

        run = await rt.start(waits, "sleep")
        await run.until_waiting("sleep", timeout=30)
        await run.cancel("")
        with pytest.raises(RunCancelledError) as caught:
            await run.result(timeout=30)
        assert caught.value.message.endswith("was cancelled")
        assert (await run.describe()).reason is None
        details = {event.kind: event.details for event in await run.history()}
        assert details[EventKind.CANCEL_REQUESTED] == details[EventKind.RUN_CANCELLED] == {"reason": ""}


@workflow
async def cancels_its_child(ctx: Context, reason: str) -> str:
    child = await ctx.start_child(waiting_child.options(id="mine"))
    await ctx.sleep(0.02)
    child.cancel(reason)
    child.cancel("again")
    try:
        await child
    except ChildCancelledError as error:
        return error.message
    return "?"


async def test_the_reason_of_a_parent_reaches_its_child(open_runtime):
    """Semantics 22: the reason goes down to children, whether the parent chose it or was cancelled with it."""
    async with open_runtime(cancels_its_child, waits, waiting_child) as rt:
        run = await rt.start(cancels_its_child, "enough")
        assert await run.result(timeout=30) == "child 'mine' was cancelled: enough"
        assert done == ["child: enough"]
        assert (await kinds(rt.get("mine")))[EventKind.CANCEL_REQUESTED] == 1

        run = await rt.start(waits, "child")
        await run.until_waiting("child", timeout=30)
        (child,) = (await run.describe()).children
        await rt.get(child.workflow_id).until_waiting("sleep", timeout=30)
        await run.cancel("from above")
        with pytest.raises(RunCancelledError, match="from above"):
            await run.result(timeout=30)
        with pytest.raises(RunCancelledError, match="from above"):
            await rt.get(child.workflow_id).result(timeout=30)
        assert done == ["child: enough", "child: from above"]


@pytest.mark.parametrize("delay", [None, 3600])
async def test_a_cancel_before_the_first_turn_still_runs_the_code(open_runtime, open_client, delay):
    """Semantics 22: cancel before the first turn still runs the code, catchably; a delayed start is woken by it."""

    @workflow
    async def guarded(ctx: Context) -> str:
        try:
            await ctx.sleep(3600)
        except asyncio.CancelledError:
            await ctx.step(note, f"caught {ctx.info.cancel_reason!r}")
            return "caught"
        return "?"

    @workflow
    async def unguarded(ctx: Context) -> None:
        try:
            await ctx.step(note, "never")
        finally:
            await ctx.step(note, "finally")

    async with open_client() as client:
        caught = await client.start(guarded.options(id="a", delay=delay))
        plain = await client.start(unguarded.options(id="b", delay=delay))
        await caught.cancel("early")
        await plain.cancel("early")
    async with open_runtime(guarded, unguarded) as rt:
        assert await rt.get("a").result(timeout=30) == "caught"
        with pytest.raises(RunCancelledError, match="early"):
            await rt.get("b").result(timeout=30)
        assert sorted(done) == ["caught 'early'", "finally"]


async def test_cancelling_twice_in_one_turn_is_one_cancellation_of_the_code(open_runtime, open_client):
    """Semantics 22, 23: a second request in the same turn is on record and does not cancel the cleanup."""
    async with open_runtime(catches) as rt:
        run = await rt.start(catches)
        await run.until_waiting("sleep", timeout=30)
    async with open_client() as client:
        await client.get(run.workflow_id).cancel("first")
        await client.get(run.workflow_id).cancel("second")
    async with open_runtime(catches) as rt:
        assert (await rt.get(run.workflow_id).result(timeout=30))[1:] == ["after"]


# -- 23: beside something else ----------------------------------------------------------------------------


@workflow
async def condition_or_cancel(ctx: Context) -> list[str]:
    arrived = []
    ctx.on(go)(arrived.append)
    seen = []
    try:
        await ctx.wait_condition(lambda: arrived)
        seen.append("condition")
    except asyncio.CancelledError:
        seen.append("cancelled")
    return seen + await later_waits(ctx)


@workflow
async def signal_or_cancel(ctx: Context) -> list[str]:
    seen = []
    try:
        seen.append(f"signal {await ctx.wait_signal(go)}")
    except asyncio.CancelledError:
        seen.append("cancelled")
    return seen + await later_waits(ctx)


async def later_waits(ctx: Context) -> list[str]:
    """Every kind of wait, none of which may be cancelled."""
    seen = []
    try:
        await ctx.step(nothing, 1)
        await ctx.sleep(0.01)
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await ctx.step(nothing, 2)
        await ctx.wait_condition(lambda: True)
        seen.append("undisturbed")
    except asyncio.CancelledError:
        seen.append("cancelled again")
    return seen


@pytest.mark.parametrize("cancel_first", [True, False])
@pytest.mark.parametrize("definition", [condition_or_cancel, signal_or_cancel], ids=lambda d: d.name)
async def test_a_cancel_beside_a_satisfied_wait_is_not_lost(open_runtime, open_client, definition, cancel_first):
    """Semantics 23: beside a satisfied condition in the same turn: seen once, whichever was sent first."""
    async with open_runtime(definition) as rt:
        run = await rt.start(definition)
        await run.until_waiting(timeout=30)
    async with open_client() as client:
        handle = client.get(run.workflow_id)
        if cancel_first:
            await handle.cancel("now")
        await handle.signal(go, 1)
        if not cancel_first:
            await handle.cancel("now")
    async with open_runtime(definition) as rt:
        run = rt.get(run.workflow_id)
        assert await run.result(timeout=30) == ["cancelled", "undisturbed"]
        batches = {
            e.batch for e in await run.history() if e.kind in (EventKind.CANCEL_REQUESTED, EventKind.SIGNAL_RECEIVED)
        }
        assert len(batches) == 1


@workflow
async def quick_child(ctx: Context) -> str:
    return await ctx.step(note, "child")


@workflow
async def child_or_cancel(ctx: Context) -> list[str]:
    seen = []
    try:
        seen.append(await ctx.child_workflow(quick_child.options(id="c", queue="children")))
    except asyncio.CancelledError:
        seen.append("cancelled")
    return seen + await later_waits(ctx)


async def test_a_cancel_beside_a_childs_completion_is_not_lost(open_runtime, open_client):
    """Semantics 23: beside a child's completion in the same turn."""
    async with open_runtime(child_or_cancel) as rt:
        run = await rt.start(child_or_cancel)
        await run.until_waiting("child", timeout=30)
    async with open_runtime(quick_child, queues=["children"]) as rt:
        assert await rt.get("c").result(timeout=30) == "child"
        await rt.get(run.workflow_id).cancel("now")
    async with open_runtime(child_or_cancel) as rt:
        run = rt.get(run.workflow_id)
        assert await run.result(timeout=30) == ["cancelled", "undisturbed"]
        batches = {
            e.batch for e in await run.history() if e.kind in (EventKind.CANCEL_REQUESTED, EventKind.CHILD_COMPLETED)
        }
        assert len(batches) == 1


async def test_a_signal_that_lost_against_a_cancel_is_still_there(open_runtime, open_client):
    """Semantics 23: the other half of the race is not lost either."""

    @workflow
    async def takes_later(ctx: Context) -> int:
        try:
            await ctx.wait_signal(go)
        except asyncio.CancelledError:
            return await ctx.wait_signal(go)
        return -1

    async with open_runtime(takes_later) as rt:
        run = await rt.start(takes_later)
        await run.until_waiting("go", timeout=30)
    async with open_client() as client:
        await client.get(run.workflow_id).signal(go, 7)
        await client.get(run.workflow_id).cancel()
    async with open_runtime(takes_later) as rt:
        assert await rt.get(run.workflow_id).result(timeout=30) == 7


# -- 24: never swallowed, never doubled -------------------------------------------------------------------


@workflow
async def short_steps(ctx: Context) -> None:
    number = 0
    while True:
        number = await ctx.step(nothing, number + 1)


@workflow
async def short_steps_under_timeouts(ctx: Context) -> None:
    number = 0
    while True:
        async with asyncio.timeout(60):
            number = await ctx.step(nothing, number + 1)
        number = await asyncio.wait_for(ctx.step(nothing, number + 1), 60)
        with anyio.move_on_after(60):
            number = await ctx.step(nothing, number + 1)


@pytest.mark.parametrize("definition", [short_steps, short_steps_under_timeouts], ids=lambda d: d.name)
async def test_short_steps_in_a_loop_never_swallow_a_cancellation(open_runtime, definition):
    """Semantics 24: very short steps in a loop never swallow a cancellation, under timeouts of every kind too."""
    async with open_runtime(definition) as rt:
        for _ in range(5):
            begun.clear()
            run = await rt.start(definition)
            await begun.wait()
            await run.cancel("enough")
            with pytest.raises(RunCancelledError):
                await run.result(timeout=30)
            assert (await kinds(run))[EventKind.CANCEL_REQUESTED] == 1


@workflow
async def cancels_in_many_ways(ctx: Context) -> str:
    async def wait_long() -> None:
        with anyio.CancelScope() as scope:
            try:
                async with asyncio.timeout(0.02):
                    await ctx.step(endless)
            except TimeoutError:
                scope.cancel()
                await asyncio.sleep(0)

    task = asyncio.create_task(wait_long())
    await ctx.sleep(0.01)
    await asyncio.wait((task,), timeout=0.05)
    task.cancel()
    task.cancel()
    return "done"


@workflow
async def one_cancel_each(ctx: Context) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ctx.step(endless))
        group.start_soon(ctx.child_workflow(waiting_child.options(id="once")))
        group.start_soon(ctx.sleep, 3600)


async def test_each_operation_gets_exactly_one_cancel_request(open_runtime):
    """Semantics 24: exactly one cancel request is sent to each operation, however insistently its waiters are cancelled."""
    async with open_runtime(cancels_in_many_ways, one_cancel_each, waiting_child) as rt:
        run = await rt.start(cancels_in_many_ways)
        assert await run.result(timeout=30) == "done"
        assert (await kinds(run))[EventKind.STEP_CANCEL_REQUESTED] == 1
        assert stopped == ["step"]

        begun.clear()
        run = await rt.start(one_cancel_each)
        await begun.wait()
        await rt.get("once").until_waiting("sleep", timeout=30)
        await run.cancel("once")
        with pytest.raises(RunCancelledError):
            await run.result(timeout=30)
        with pytest.raises(RunCancelledError):
            await rt.get("once").result(timeout=30)
        counted = await kinds(run)
        assert counted[EventKind.STEP_CANCEL_REQUESTED] == 1
        assert counted[EventKind.CHILD_CANCEL_REQUESTED] == 1
        assert counted[EventKind.TIMER_CANCELLED] == 1
        assert (await kinds(rt.get("once")))[EventKind.CANCEL_REQUESTED] == 1
        assert stopped == ["step", "step"]


# -- 25: children -----------------------------------------------------------------------------------------


@workflow
async def unserved_child(ctx: Context) -> None: ...


@workflow
async def starts_in_vain(ctx: Context, delay: float | None) -> None:
    options = (
        unserved_child.options(id="late", delay=delay) if delay else unserved_child.options(id="late", queue="nobody")
    )
    await ctx.child_workflow(options)


@pytest.mark.parametrize("delay", [None, 3600.0])
async def test_cancelling_a_parent_whose_child_never_started_does_not_hang(open_runtime, delay):
    """Semantics 25: a child on a queue that nobody serves, or whose start is delayed."""
    async with open_runtime(starts_in_vain, unserved_child) as rt:
        run = await rt.start(starts_in_vain, delay)
        await run.until_waiting("late", timeout=30)
        await run.cancel("give up")
        with pytest.raises(RunCancelledError, match="give up"):
            await run.result(timeout=30)


@workflow
async def lasting_child(ctx: Context) -> int:
    try:
        return await ctx.wait_signal(go)
    finally:
        await ctx.step(note, f"child ends, {ctx.info.cancel_reason}")


@workflow
async def leaves_children(ctx: Context, fails: bool) -> str:
    for policy in ("terminate", "cancel", "abandon"):
        await ctx.start_child(lasting_child.options(id=policy, on_parent_close=policy))
    await ctx.wait_signal(go)
    if fails:
        raise ValueError("no")
    return "ended"


@pytest.mark.parametrize("fails", [False, True])
async def test_on_parent_close_decides_about_open_children(open_runtime, fails):
    """Semantics 25: on_parent_close: terminate runs no code, cancel runs cleanup, abandon leaves it alone."""
    async with open_runtime(leaves_children, lasting_child) as rt:
        run = await rt.start(leaves_children, fails)
        await run.until_waiting("go", timeout=30)
        for child in ("terminate", "cancel", "abandon"):
            await rt.get(child).until_waiting("go", timeout=30)
        await run.signal(go, 0)
        if fails:
            with pytest.raises(RunFailedError):
                await run.result(timeout=30)
        else:
            assert await run.result(timeout=30) == "ended"
        with pytest.raises(RunCancelledError, match="its parent ended"):
            await rt.get("cancel").result(timeout=30)
        terminated = await rt.get("terminate").describe()
        assert (terminated.status, terminated.reason) == (RunStatus.TERMINATED, "its parent ended")
        assert done == ["child ends, its parent ended"]
        assert (await kinds(rt.get("terminate")))[EventKind.CANCEL_REQUESTED] == 0
        assert (await kinds(rt.get("abandon")))[EventKind.CANCEL_REQUESTED] == 0
        await rt.get("abandon").signal(go, 5)
        assert await rt.get("abandon").result(timeout=30) == 5


async def test_a_terminated_parent_leaves_its_children_to_their_policy(open_runtime):
    """Semantics 25: termination of the parent is an end of the parent."""
    async with open_runtime(leaves_children, lasting_child) as rt:
        run = await rt.start(leaves_children, False)
        await run.until_waiting("go", timeout=30)
        for child in ("terminate", "cancel", "abandon"):
            await rt.get(child).until_waiting("go", timeout=30)
        await run.terminate("operator")
        with pytest.raises(RunCancelledError, match="its parent ended"):
            await rt.get("cancel").result(timeout=30)
        assert await rt.get("terminate").status() is RunStatus.TERMINATED
        await rt.get("abandon").signal(go, 5)
        assert await rt.get("abandon").result(timeout=30) == 5


@workflow
async def leaves_tasks(ctx: Context) -> str:
    for policy in ("terminate", "cancel", "abandon"):
        asyncio.create_task(ctx.child_workflow(lasting_child.options(id=policy, on_parent_close=policy)))
    await ctx.wait_signal(go)
    return "ended"


async def test_on_parent_close_decides_about_children_of_leftover_tasks(open_runtime):
    """Semantics 25: also for a child that a task awaits which is cancelled because the workflow has ended."""
    async with open_runtime(leaves_tasks, lasting_child) as rt:
        run = await rt.start(leaves_tasks)
        await run.until_waiting("go", timeout=30)
        for child in ("terminate", "cancel", "abandon"):
            await rt.get(child).until_waiting("go", timeout=30)
        await run.signal(go, 0)
        assert await run.result(timeout=30) == "ended"
        with pytest.raises(RunCancelledError, match="its parent ended"):
            await rt.get("cancel").result(timeout=30)
        assert await rt.get("terminate").status() is RunStatus.TERMINATED
        await rt.get("abandon").signal(go, 5)
        assert await rt.get("abandon").result(timeout=30) == 5


@workflow
async def waits_for_terminated(ctx: Context) -> str:
    try:
        await ctx.child_workflow(lasting_child.options(id="victim"))
    except ChildTerminatedError as error:
        return error.message
    return "?"


async def test_a_terminated_child_is_an_error_of_its_own_for_the_parent(open_runtime):
    """Semantics 25, 35: an operator terminates the child; the parent hears it, with the reason."""
    async with open_runtime(waits_for_terminated, lasting_child) as rt:
        run = await rt.start(waits_for_terminated)
        await run.until_waiting("victim", timeout=30)
        await rt.get("victim").until_waiting("go", timeout=30)
        await rt.get("victim").terminate("cleaning")
        assert await run.result(timeout=30) == "child 'victim' was terminated: cleaning"
