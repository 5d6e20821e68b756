"""Rules S1 to S4: what is undone, when, in which order, and across crashes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Context, RetryPolicy, Signal, StepInDoubtError, step, workflow
from durable.errors import RunCancelledError, RunFailedError, RunNotRetriableError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.reason import halt_of, without_halt
from runtime.store.row import RunRow
from semantics.waiting import until_row

pytestmark = pytest.mark.anyio

done: list[str] = []
broken: set[str] = set()
reached: asyncio.Event
go = Signal("go")


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record."""
    global reached
    reached = asyncio.Event()
    done.clear()
    broken.clear()


class Declined(Exception):
    pass


async def undo(name: str) -> None:
    if name in broken:
        raise ConnectionError(f"cannot undo {name}")
    done.append(f"undo {name}")


undo_once = step(undo, name="undo_once", retry=RetryPolicy(max_attempts=1))


@step(compensate=undo)
async def do(name: str) -> str:
    done.append(f"do {name}")
    return name


@step(compensate=undo_once)
async def do_fragile(name: str) -> str:
    done.append(f"do {name}")
    return name


@step
async def fail() -> None:
    raise Declined("no")


async def rollback_of(run: Any) -> RollbackStatus:
    return (await run.row()).rollback


@workflow
async def fails_after(ctx: Context, names: list[str]) -> None:
    for name in names:
        await ctx.step(do, name)
    await ctx.step(fail)


async def test_s3_failure_undoes_in_reverse_order(open_runtime):
    async with open_runtime(fails_after) as rt:
        run = await rt.start(fails_after, ["a", "b", "c"])
        with pytest.raises(RunFailedError, match="rolled back") as caught:
            await run.result(timeout=30)
        assert isinstance(caught.value.__cause__, Declined)
        assert done == ["do a", "do b", "do c", "undo c", "undo b", "undo a"]
        assert await rollback_of(run) is RollbackStatus.COMPLETED


@workflow
async def waits_after(ctx: Context, name: str) -> None:
    await ctx.step(do, name)
    await ctx.sleep(3600)


async def test_s3_cancellation_undoes(open_runtime):
    async with open_runtime(waits_after) as rt:
        run = await rt.start(waits_after, "a")
        await run.until_waiting("sleep", timeout=30)
        await run.cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result(timeout=30)
        assert done == ["do a", "undo a"]


async def test_s3_terminate_undoes_nothing(open_runtime):
    async with open_runtime(waits_after) as rt:
        run = await rt.start(waits_after, "a")
        await run.until_waiting("sleep", timeout=30)
        await run.terminate("stop")
        assert await run.status() is RunStatus.TERMINATED
        assert done == ["do a"]
        assert await rollback_of(run) is RollbackStatus.NONE


@workflow
async def catches(ctx: Context) -> str:
    await ctx.step(do, "a")
    try:
        await ctx.step(fail)
    except Declined:
        return "caught"
    return "not reached"


async def test_s3_caught_exception_undoes_nothing(open_runtime):
    async with open_runtime(catches) as rt:
        assert await (await rt.start(catches)).result(timeout=30) == "caught"
        assert done == ["do a"]


@step(compensate=undo)
async def slow(name: str) -> str:
    reached.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        done.append(f"do {name} late")
    return name


@workflow
async def fails_beside_a_slow_step(ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.step(slow, "slow"))
        await ctx.step(wait_for_slow)
        raise Declined("no")


@step
async def wait_for_slow() -> None:
    await reached.wait()


async def test_s1_step_that_completes_after_its_cancellation_is_undone(open_runtime):
    async with open_runtime(fails_beside_a_slow_step) as rt:
        run = await rt.start(fails_beside_a_slow_step)
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        assert done == ["do slow late", "undo slow"]


@workflow
async def registers_before(ctx: Context) -> None:
    ctx.compensate(undo, "before")
    await ctx.step(fail)


async def test_s2_compensation_registered_before_runs_though_the_step_failed(open_runtime):
    async with open_runtime(registers_before) as rt:
        with pytest.raises(RunFailedError):
            await (await rt.start(registers_before)).result(timeout=30)
        assert done == ["undo before"]


tries: list[int] = []


async def undo_at_third_try(name: str) -> None:
    tries.append(1)
    if len(tries) < 3:
        raise ConnectionError("not yet")
    done.append(f"undo {name}")


@step(
    compensate=step(undo_at_third_try, name="patient_undo", retry=RetryPolicy(max_attempts=10, initial_interval=0.01))
)
async def do_patiently(name: str) -> str:
    return name


@workflow
async def fails_with_unreliable_undo(ctx: Context) -> None:
    await ctx.step(do_patiently, "a")
    await ctx.step(fail)


async def test_s2_compensations_are_repeated(open_runtime):
    tries.clear()
    async with open_runtime(fails_with_unreliable_undo) as rt:
        with pytest.raises(RunFailedError):
            await (await rt.start(fails_with_unreliable_undo)).result(timeout=30)
        assert done == ["undo a"]
        assert len(tries) == 3


def test_s2_compensations_have_ten_attempts_by_default():
    assert do.compensation is not None
    policy = do.compensation.options_.retry
    assert policy is not None
    assert (policy.max_attempts, policy.initial_interval, policy.max_interval) == (10, 1, 60)


@workflow(timeout=0.05)
async def times_out(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.sleep(3600)


async def test_s2_run_timeout_cancels_rolls_back_then_fails(open_runtime):
    from durable.errors import RunTimeoutError

    async with open_runtime(times_out) as rt:
        run = await rt.start(times_out)
        with pytest.raises(RunTimeoutError):
            await run.result(timeout=30)
        assert done == ["do a", "undo a"]
        assert await run.status() is RunStatus.FAILED


@workflow
async def fails_with_fragile_middle(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.step(do_fragile, "b")
    await ctx.step(do, "c")
    await ctx.step(fail)


async def test_s4_rollback_that_fails_stops_there_and_goes_on_upon_request(open_runtime):
    broken.add("b")
    async with open_runtime(fails_with_fragile_middle) as rt:
        run = await rt.start(fails_with_fragile_middle)
        with pytest.raises(RunFailedError, match="its rollback failed"):
            await run.result(timeout=30)
        assert done[3:] == ["undo c"]
        assert await rollback_of(run) is RollbackStatus.FAILED
        with pytest.raises(RunNotRetriableError, match="rollback"):
            await run.retry()
        broken.clear()
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        assert done[3:] == ["undo c", "undo b", "undo a"]
        assert await run.status() is RunStatus.FAILED
        with pytest.raises(RunNotRetriableError, match="completed"):
            await run.rollback()


async def completed(run: Any) -> bool | None:
    return True if await rollback_of(run) is RollbackStatus.COMPLETED else None


async def test_s4_rollback_goes_on_in_another_worker(open_runtime):
    broken.add("b")
    async with open_runtime(fails_with_fragile_middle) as rt:
        run = await rt.start(fails_with_fragile_middle.options(id="x"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
    broken.clear()
    async with open_runtime(fails_with_fragile_middle) as rt:
        run = rt.get("x")
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        assert done[3:] == ["undo c", "undo b", "undo a"]


@step
async def undo_slowly(name: str) -> None:
    done.append(f"begin to undo {name}")
    if name not in broken:
        reached.set()
        await asyncio.Event().wait()
    done.append(f"undo {name}")


@step(compensate=undo_slowly)
async def do_slowly_undone(name: str) -> str:
    return name


@workflow
async def fails_slowly(ctx: Context) -> None:
    await ctx.step(do, "first")
    await ctx.step(do_slowly_undone, "second")
    await ctx.step(fail)


async def test_compensations_survive_a_shutdown_in_their_middle(open_runtime):
    async with open_runtime(fails_slowly, grace_seconds=0) as rt:
        await rt.start(fails_slowly.options(id="x"))
        await reached.wait()
    broken.add("second")
    async with open_runtime(fails_slowly) as rt:
        run = rt.get("x")
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        assert done == ["do first", "begin to undo second", "begin to undo second", "undo second", "undo first"]


@workflow
async def uses_saga(ctx: Context) -> list[str]:
    await ctx.step(do, "outside")
    try:
        async with ctx.saga():
            await ctx.step(do, "in 1")
            async with ctx.saga():
                await ctx.step(do, "in 2")
            await ctx.step(fail)
    except Declined:
        pass
    return ["ended well"]


async def test_saga_undoes_its_own_steps_and_those_of_ended_inner_scopes(open_runtime):
    async with open_runtime(uses_saga) as rt:
        assert await (await rt.start(uses_saga)).result(timeout=30) == ["ended well"]
        assert done == ["do outside", "do in 1", "do in 2", "undo in 2", "undo in 1"]


@workflow
async def rolls_back_by_hand(ctx: Context) -> str:
    await ctx.step(do, "a")
    await ctx.rollback()
    await ctx.step(do, "b")
    return "went on"


async def test_rollback_in_the_middle_undoes_once_and_the_run_goes_on(open_runtime):
    async with open_runtime(rolls_back_by_hand) as rt:
        run = await rt.start(rolls_back_by_hand)
        assert await run.result(timeout=30) == "went on"
        assert done == ["do a", "undo a", "do b"]


@workflow
async def child(ctx: Context, name: str) -> str:
    return name


@workflow
async def fails_after_child(ctx: Context) -> None:
    await ctx.child_workflow(child.options(compensate=undo), "child")
    await ctx.step(fail)


async def test_s3_child_is_undone_like_a_step(open_runtime):
    async with open_runtime(fails_after_child, child) as rt:
        with pytest.raises(RunFailedError):
            await (await rt.start(fails_after_child)).result(timeout=30)
        assert done == ["undo child"]


@workflow
async def continues(ctx: Context, round: int) -> None:
    if round == 0:
        await ctx.step(do, "in the first run")
        ctx.continue_as_new(1)
    await ctx.step(fail)


async def test_h6_compensations_go_along_with_continue_as_new(open_runtime):
    async with open_runtime(continues) as rt:
        with pytest.raises(RunFailedError):
            await (await rt.start(continues, 0)).result(timeout=30)
        assert done == ["do in the first run", "undo in the first run"]


async def test_rollback_is_on_record_for_people(open_runtime):
    async with open_runtime(fails_after) as rt:
        run = await rt.start(fails_after, ["a"])
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        history = await run.history()
    kinds = [event.kind for event in history]
    assert (
        kinds.index(EventKind.ROLLBACK_STARTED)
        < kinds.index(EventKind.ROLLBACK_COMPLETED)
        < kinds.index(EventKind.RUN_FAILED)
    )
    undone = next(e for e in history if e.kind == EventKind.STEP_SCHEDULED and e.details.get("role") == "compensation")
    assert undone.details["for"] == history[1].command


@step(delivery="at_most_once")
async def hand_out() -> None:
    reached.set()
    await asyncio.Event().wait()


@workflow
async def doubts(ctx: Context) -> None:
    ctx.compensate(undo, "in doubt")
    await ctx.step(hand_out)


async def test_s2_step_in_doubt_is_undone_by_what_was_registered_before(open_runtime):
    async with open_runtime(doubts, grace_seconds=0) as rt:
        await rt.start(doubts.options(id="x"))
        await reached.wait()
    async with open_runtime(doubts) as rt:
        with pytest.raises(RunFailedError) as caught:
            await rt.get("x").result(timeout=30)
        assert isinstance(caught.value.__cause__, StepInDoubtError)
        assert done == ["undo in doubt"]


# -- H7: code that cannot go on with the rollback of a run that has ended ----------------------------------


def with_code(version: str) -> Any:
    @workflow(name="loses_its_code", version=version)
    async def definition(ctx: Context) -> None:
        if version != "first":
            await ctx.step(do, "what history has not")
        await ctx.step(do, "a")
        await ctx.step(do_slowly_undone, "b")
        await ctx.step(do_fragile, "c")
        await ctx.step(fail)

    return definition


async def halted(run: Any) -> RunRow:
    """Wait until the rollback of a run cannot go on, and nobody tries."""

    async def is_halted(row: RunRow) -> bool:
        is_idle = row.owner is None and row.ready_at_us is None
        return is_idle and row.rollback is RollbackStatus.FAILED and halt_of(row.reason) is not None

    return await until_row(run, is_halted)


async def check_halted(rt: Any) -> None:
    row = await halted(rt.get("x"))
    assert "DUR1101" in (halt_of(row.reason) or "")
    assert without_halt(row.reason) == "Declined: no"
    assert row.status is RunStatus.FAILED
    with pytest.raises(RunFailedError, match="its rollback failed"):
        await rt.get("x").result(timeout=30)


async def test_h7_failed_run_stays_so_when_other_code_cannot_go_on_with_its_rollback(open_runtime):
    broken.add("c")
    async with open_runtime(with_code("first")) as rt:
        with pytest.raises(RunFailedError):
            await (await rt.start(with_code("first").options(id="x"))).result(timeout=30)
    async with open_runtime(with_code("second")) as rt:
        for _ in range(2):
            await rt.get("x").rollback()
            await check_halted(rt)
    broken.clear()
    broken.add("b")
    async with open_runtime(with_code("first")) as rt:
        run = rt.get("x")
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        assert done[2:] == ["undo c", "begin to undo b", "undo b", "undo a"]
        assert (await run.row()).reason == "Declined: no"


async def test_h7_rollback_that_was_halted_in_its_middle_goes_on_with_mended_code(open_runtime):
    broken.add("c")
    async with open_runtime(with_code("first"), grace_seconds=0) as rt:
        run = await rt.start(with_code("first").options(id="x"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        broken.clear()
        await run.rollback()
        await reached.wait()
    async with open_runtime(with_code("second")) as rt:
        await check_halted(rt)
    broken.add("b")
    async with open_runtime(with_code("first")) as rt:
        run = rt.get("x")
        await run.rollback()
        await rt.watch.until(lambda: completed(run), lambda change: True)
        assert done[2:] == ["undo c", "begin to undo b", "begin to undo b", "undo b", "undo a"]
        assert await run.status() is RunStatus.FAILED
