"""Rules S1 to S4 where several things are undone at once: scopes, tasks, late completions, undoing that fails."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from durable import Context, RetryPolicy, Signal, step, workflow
from durable.errors import RollbackFailedError, RunCancelledError, RunFailedError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio

done: list[str] = []
broken: set[str] = set()
reached: asyncio.Event
released: asyncio.Event
go = Signal("go")


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record."""
    global reached, released
    reached, released = asyncio.Event(), asyncio.Event()
    done.clear()
    broken.clear()


class Declined(Exception):
    pass


@step(retry=RetryPolicy(max_attempts=1))
async def undo(name: str) -> None:
    if name in broken:
        done.append(f"cannot undo {name}")
        raise ConnectionError(f"cannot undo {name}")
    done.append(f"undo {name}")


@step(compensate=undo)
async def do(name: str) -> str:
    done.append(f"do {name}")
    return name


@step
async def fail() -> None:
    raise Declined("no")


@step
async def long() -> str:
    reached.set()
    await asyncio.wait_for(released.wait(), 30)
    return "long"


@step
async def release() -> None:
    released.set()


@step(compensate=undo)
async def stubborn(name: str) -> str:
    """Takes no notice of being cancelled, and completes when it is released."""
    reached.set()
    while not released.is_set():
        try:
            await asyncio.wait_for(released.wait(), 30)
        except asyncio.CancelledError:
            done.append(f"told {name}")
    done.append(f"do {name} late")
    return name


@step
async def until_reached() -> None:
    await reached.wait()


async def fails_in_saga(ctx: Context, name: str) -> None:
    try:
        async with ctx.saga():
            await ctx.step(do, name)
            await ctx.step(until_reached)
            await ctx.step(fail)
    except Declined:
        await ctx.step(release)


@workflow
async def saga_beside_work(ctx: Context) -> str:
    async with asyncio.TaskGroup() as group:
        work = group.create_task(ctx.step(long))
        group.create_task(fails_in_saga(ctx, "a"))
    return work.result()


async def test_undoing_a_scope_leaves_other_tasks_alone(open_runtime):
    """A scope waits for what belongs to it: a step of another task is neither cancelled nor waited for."""
    async with open_runtime(saga_beside_work) as rt:
        run = await rt.start(saga_beside_work)
        assert await run.result(timeout=30) == "long"
        assert done == ["do a", "undo a"]
        assert EventKind.STEP_CANCEL_REQUESTED not in {event.kind for event in await run.history()}


@workflow
async def two_sagas(ctx: Context) -> None:
    reached.set()
    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(fails_in_saga(ctx, name))


async def test_scopes_of_two_tasks_are_undone_side_by_side(open_runtime):
    async with open_runtime(two_sagas) as rt:
        await (await rt.start(two_sagas)).result(timeout=30)
        assert sorted(done) == ["do a", "do b", "undo a", "undo b"]


@workflow
async def times_out_in_saga(ctx: Context) -> str:
    try:
        async with ctx.saga():
            await ctx.step(do, "first")
            async with asyncio.timeout(0.02):
                await ctx.step(stubborn, "late")
    except TimeoutError:
        return "went on"
    return "?"


async def test_s1_a_scope_waits_for_a_step_that_was_given_up_and_undoes_it(open_runtime):
    async with open_runtime(times_out_in_saga) as rt:
        run = await rt.start(times_out_in_saga)
        await wait_for_kind(rt, run, EventKind.ROLLBACK_STARTED)
        assert done == ["do first", "told late"]
        released.set()
        assert await run.result(timeout=30) == "went on"
        assert done[2:] == ["do late late", "undo late", "undo first"]


@workflow
async def only_a_late_step(ctx: Context) -> str:
    try:
        async with ctx.saga():
            async with asyncio.timeout(0.02):
                await ctx.step(stubborn, "late")
    except TimeoutError:
        return "went on"
    return "?"


async def test_s1_a_scope_with_nothing_but_a_late_step_undoes_it(open_runtime):
    async with open_runtime(only_a_late_step) as rt:
        run = await rt.start(only_a_late_step)
        await wait_for_kind(rt, run, EventKind.ROLLBACK_STARTED)
        released.set()
        assert await run.result(timeout=30) == "went on"
        assert done == ["told late", "do late late", "undo late"]


@workflow
async def late_after_the_scope(ctx: Context) -> None:
    async with ctx.saga():
        try:
            async with asyncio.timeout(0.02):
                await ctx.step(stubborn, "late")
        except TimeoutError:
            pass
    await ctx.step(do, "after")
    await ctx.step(release)
    await ctx.step(fail)


async def test_s1_a_step_that_outlives_its_scope_is_undone_with_the_run(open_runtime):
    async with open_runtime(late_after_the_scope) as rt:
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await (await rt.start(late_after_the_scope)).result(timeout=30)
        assert sorted(done[3:]) == ["undo after", "undo late"]


@workflow
async def cancelled_in_saga(ctx: Context) -> None:
    await ctx.step(do, "outside")
    async with ctx.saga():
        await ctx.step(do, "inside")
        await ctx.sleep(3600)


async def test_s3_cancellation_undoes_the_scope_and_then_the_run(open_runtime):
    async with open_runtime(cancelled_in_saga) as rt:
        run = await rt.start(cancelled_in_saga)
        await run.until_waiting("sleep", timeout=30)
        await run.cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result(timeout=30)
        assert done[2:] == ["undo inside", "undo outside"]


@workflow
async def leftover_in_saga(ctx: Context) -> str:
    async def background() -> None:
        async with ctx.saga():
            await ctx.step(do, "background")
            await ctx.sleep(3600)

    asyncio.create_task(background())
    await ctx.wait_signal(go)
    return "ended"


async def test_a_scope_of_a_leftover_task_is_undone_before_the_run_ends(open_runtime):
    async with open_runtime(leftover_in_saga) as rt:
        run = await rt.start(leftover_in_saga)
        await run.until_waiting("sleep", timeout=30)
        await run.signal(go)
        assert await run.result(timeout=30) == "ended"
        assert done == ["do background", "undo background"]
        assert (await run.row()).rollback is RollbackStatus.NONE


# -- undoing that fails -----------------------------------------------------------------------------------


@workflow
async def catches_broken_saga(ctx: Context) -> str:
    await ctx.step(do, "outside")
    try:
        async with ctx.saga():
            await ctx.step(do, "b")
            await ctx.step(fail)
    except RollbackFailedError as error:
        return f"{error.step}, {type(error.__cause__).__name__}: {error.message}"
    return "?"


async def test_s4_a_scope_that_cannot_be_undone_says_so_to_the_code(open_runtime):
    """Not as the error that left the block: code that catches that one would take the scope for undone."""
    broken.add("b")
    async with open_runtime(catches_broken_saga) as rt:
        run = await rt.start(catches_broken_saga)
        assert await run.result(timeout=30) == (
            "undo, ConnectionError: compensation 'undo' failed for good: ConnectionError: cannot undo b"
        )
        row = await run.row()
        assert (row.status, row.rollback) == (RunStatus.COMPLETED, RollbackStatus.NONE)
        assert done == ["do outside", "do b", "cannot undo b"]


@workflow
async def broken_saga(ctx: Context) -> None:
    await ctx.step(do, "outside")
    async with ctx.saga():
        await ctx.step(do, "a")
        await ctx.step(do, "b")
        await ctx.step(fail)


async def test_s4_what_a_scope_left_is_undone_on_request(open_runtime):
    broken.add("b")
    async with open_runtime(broken_saga) as rt:
        run = await rt.start(broken_saga)
        with pytest.raises(RunFailedError, match="its rollback failed"):
            await run.result(timeout=30)
        assert done == ["do outside", "do a", "do b", "cannot undo b"]
        broken.clear()
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        assert done[4:] == ["undo b", "undo a", "undo outside"]
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await run.result(timeout=30)
        history = await run.history()
        assert [event.kind for event in history].count(EventKind.RUN_FAILED) == 1


@workflow
async def cancelled_in_broken_saga(ctx: Context) -> None:
    async with ctx.saga():
        await ctx.step(do, "b")
        await ctx.sleep(3600)


async def test_s4_a_cancelled_run_stays_cancelled_though_its_scope_cannot_be_undone(open_runtime):
    broken.add("b")
    async with open_runtime(cancelled_in_broken_saga) as rt:
        run = await rt.start(cancelled_in_broken_saga)
        await run.until_waiting("sleep", timeout=30)
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await run.result(timeout=30)
        assert (await run.row()).rollback is RollbackStatus.FAILED
        broken.clear()
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        assert done[-1] == "undo b"
        assert await run.status() is RunStatus.CANCELLED


async def test_s4_a_result_is_found_after_a_long_rollback(open_runtime):
    """The event that ended the run lies far back by then."""
    broken.add("49")
    async with open_runtime(does_much) as rt:
        run = await rt.start(does_much, 50)
        with pytest.raises(RunFailedError, match="its rollback failed"):
            await run.result(timeout=30)
        broken.clear()
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        with pytest.raises(RunFailedError, match="it was rolled back") as caught:
            await run.result(timeout=30)
        assert isinstance(caught.value.__cause__, Declined)
        assert len(done) == 50 + 1 + 50


@workflow
async def does_much(ctx: Context, count: int) -> None:
    for number in range(count):
        await ctx.step(do, str(number))
    await ctx.step(fail)


# -- undoing by hand --------------------------------------------------------------------------------------


@workflow
async def two_ask_at_once(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.step(do, "b")
    await asyncio.gather(ctx.rollback(), ctx.rollback())


async def test_rollback_asked_for_twice_at_once_undoes_once(open_runtime):
    async with open_runtime(two_ask_at_once) as rt:
        await (await rt.start(two_ask_at_once)).result(timeout=30)
        assert done == ["do a", "do b", "undo b", "undo a"]


@step
async def undo_slowly(name: str) -> None:
    reached.set()
    await asyncio.wait_for(released.wait(), 30)
    done.append(f"undo {name}")


@step(compensate=undo_slowly)
async def do_slow_undo(name: str) -> str:
    return name


@workflow
async def cancelled_while_undoing(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.step(do_slow_undo, "b")
    try:
        await ctx.rollback()
    except asyncio.CancelledError:
        await ctx.step(do, "cleanup")
        raise


async def test_s3_a_cancellation_does_not_interrupt_undoing(open_runtime):
    async with open_runtime(cancelled_while_undoing) as rt:
        run = await rt.start(cancelled_while_undoing)
        await reached.wait()
        await run.cancel("now")
        await wait_for_kind(rt, run, EventKind.CANCEL_REQUESTED)
        released.set()
        with pytest.raises(RunCancelledError, match="now"):
            await run.result(timeout=30)
        assert done == ["do a", "undo b", "undo a", "do cleanup", "undo cleanup"]


@workflow(timeout=60)
async def slow_to_undo(ctx: Context) -> None:
    await ctx.step(do_slow_undo, "a")
    await ctx.sleep(3600)


async def test_s2_compensations_are_outside_of_the_runs_own_timeout(open_runtime, clock):
    """A run that was cancelled in time stays cancelled, however long its compensations take."""
    async with open_runtime(slow_to_undo, clock=clock) as rt:
        run = await rt.start(slow_to_undo)
        await run.until_waiting("sleep", timeout=30)
        await run.cancel("enough")
        await reached.wait()
        clock.advance(120)
        released.set()
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result(timeout=30)
        assert done == ["undo a"]


# -- children and successors ------------------------------------------------------------------------------


@workflow
async def lasting(ctx: Context, name: str) -> str:
    try:
        await ctx.wait_signal(go)
    except asyncio.CancelledError:
        if name == "ignores":
            return name
        raise
    return name


@workflow
async def fails_beside_children(ctx: Context) -> None:
    for name in ("ends", "ignores", "obeys"):
        await ctx.start_child(lasting.options(id=name, compensate=undo), name)
    await ctx.wait_signal(go)
    raise Declined("no")


async def test_s3_children_are_cancelled_and_those_that_completed_are_undone(open_runtime):
    """A child is compensated like a step, also one that completes although it was told to stop."""
    async with open_runtime(fails_beside_children, lasting) as rt:
        run = await rt.start(fails_beside_children)
        await run.until_waiting("go", timeout=30)
        for name in ("ends", "ignores", "obeys"):
            await rt.get(name).until_waiting("go", timeout=30)
        await rt.get("ends").signal(go)
        await rt.get("ends").result(timeout=30)
        await run.signal(go)
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await run.result(timeout=30)
        assert sorted(done) == ["undo ends", "undo ignores"]
        assert await rt.get("obeys").status() is RunStatus.CANCELLED


tries: list[str] = []


async def undo_with_luck(secret: str) -> None:
    tries.append(secret)
    if len(tries) < 2:
        raise ConnectionError("not yet")


@workflow
async def goes_on(ctx: Context, round: int) -> None:
    if round == 0:
        ctx.compensate(undo_with_luck, "the-argument")
        ctx.continue_as_new(1)
    await ctx.step(fail)


async def test_h6_carried_compensations_keep_their_attempts(open_runtime, monkeypatch):
    """S2: they are repeated after continue-as-new as before."""
    impatient = RetryPolicy(max_attempts=10, initial_interval=0.01)
    monkeypatch.setattr(sys.modules["durable.step"], "COMPENSATION_RETRY", impatient)
    tries.clear()
    async with open_runtime(goes_on) as rt:
        run = await rt.start(goes_on, 0)
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await run.result(timeout=30)
        assert tries == ["the-argument", "the-argument"]


class Reversing:
    """A codec that hides the plaintext."""

    name = "reversed"
    encrypts = False

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


@workflow
async def carries(ctx: Context, round: int) -> None:
    if round == 0:
        ctx.compensate(undo, "the-argument")
        await ctx.step(do, "the-result")
        ctx.continue_as_new(1)
    await ctx.step(fail)


async def test_h6_carried_compensations_pass_through_the_codecs(open_runtime):
    """What is encrypted in one run must not stand in plain text at the beginning of the next."""
    async with open_runtime(carries, codecs=[Reversing()]) as rt:
        run = await rt.start(carries.options(id="x"), 0)
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await run.result(timeout=30)
        assert done == ["do the-result", "undo the-result", "undo the-argument"]
        text = repr(await run.history()) + repr(await rt.get("x").history())
        assert "the-argument" not in text
        assert "the-result" not in text


async def completed(run: Any) -> bool | None:
    return True if (await run.row()).rollback is RollbackStatus.COMPLETED else None


async def wait_for_kind(rt: Any, run: Any, kind: EventKind) -> None:
    async def look() -> bool | None:
        return any(event.kind == kind for event in await run.history()) or None

    await rt.watch.until(look, lambda change: True)
