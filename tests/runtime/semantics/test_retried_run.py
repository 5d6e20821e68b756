"""Rule H7: what a run and its children did stays done when it is retried; nothing that runs once runs twice."""

from __future__ import annotations

import asyncio

import pytest

from durable import Context, Signal, step, step_info, workflow
from durable.errors import RunCancelledError, RunFailedError, RunNotRetriableError
from durable.handle import RunStatus

pytestmark = pytest.mark.anyio

go = Signal("go")
begin = Signal("begin")
paid: list[str] = []
keys: list[str] = []
mended: list[bool] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    paid.clear()
    keys.clear()
    mended.clear()


@step(delivery="at_most_once")
async def pay(what: str) -> str:
    paid.append(what)
    keys.append(step_info().idempotency_key)
    return what


@step(transactional=True)
def book(what: str) -> None:
    connection = step_info().connection
    connection.execute("CREATE TABLE IF NOT EXISTS ledger (what TEXT)")
    connection.execute("INSERT INTO ledger VALUES (?)", (what,))
    paid.append(what)


@step
async def check() -> None:
    if not mended:
        raise ConnectionError("the provider is down")


@workflow
async def alone(ctx: Context) -> str:
    await ctx.step(check)
    return await ctx.step(pay, "alone")


@workflow
async def child(ctx: Context) -> str:
    await ctx.step(pay, "before")
    await ctx.step(check)
    return await ctx.step(pay, "after")


@workflow
async def middle(ctx: Context) -> str:
    await ctx.step(pay, "middle")
    return await ctx.child_workflow(child)


@workflow
async def outer(ctx: Context) -> str:
    return await ctx.child_workflow(middle)


@workflow(messages=[begin])
async def with_open_child(ctx: Context) -> str:
    handle = await ctx.start_child(child_that_waits.options(id="open"))
    await ctx.wait_signal(begin)
    await ctx.step(book, "booked")
    await ctx.step(check)
    await handle.signal(go)
    return await handle


@workflow(messages=[go])
async def child_that_waits(ctx: Context) -> str:
    await ctx.step(pay, "child")
    await ctx.wait_signal(go)
    return "went"


@workflow
async def fails_one_of_two(ctx: Context) -> str:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ctx.child_workflow(child))
        tasks.create_task(ctx.child_workflow(child_that_tidies))
    return "never"


@step
async def tidy() -> None:
    paid.append("tidied")


@workflow
async def child_that_tidies(ctx: Context) -> None:
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.step(tidy)


ALL = (alone, child, middle, outer, with_open_child, child_that_waits, child_that_tidies, fails_one_of_two)


async def test_only_the_newest_run_is_retried(open_runtime):
    async with open_runtime(*ALL) as rt:
        first = await rt.start(alone.options(id="x"))
        with pytest.raises(RunFailedError):
            await first.result(timeout=30)
        mended.append(True)
        second = await first.retry()
        with pytest.raises(RunNotRetriableError, match=f"was retried already by run {second.run_id}"):
            await first.retry()
        assert await first.result(timeout=30) == "alone"
        with pytest.raises(RunNotRetriableError, match=f"run {second.run_id}, which is completed"):
            await first.retry()
    assert paid == ["alone"]


async def test_retry_goes_on_with_children_and_theirs(open_runtime):
    async with open_runtime(*ALL) as rt:
        run = await rt.start(outer.options(id="x"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        mended.append(True)
        again = await run.retry()
        assert await again.result(timeout=30) == "after"
        assert paid == ["middle", "before", "after"]
        assert len(set(keys)) == 3
        statuses = [row.status async for row in rt.list()]
        assert statuses.count(RunStatus.COMPLETED) == statuses.count(RunStatus.FAILED) == 3
        assert [one.status for one in (await again.describe()).children] == [RunStatus.COMPLETED]


async def test_child_that_was_open_goes_on_and_what_came_after_it_is_not_repeated(open_runtime):
    async with open_runtime(*ALL) as rt:
        run = await rt.start(with_open_child.options(id="x"))
        await run.until_waiting("begin", timeout=30)
        await rt.get("open").until_waiting("go", timeout=30)  # or what it pays would be in doubt
        await run.signal(begin)
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        mended.append(True)
        assert await (await run.retry()).result(timeout=30) == "went"
    assert paid.count("booked") == 1
    assert paid.count("child") == 1


async def test_child_retried_by_itself_delivers_its_result_to_the_retry_of_its_parent(open_runtime):
    async with open_runtime(*ALL) as rt:
        run = await rt.start(middle.options(id="x"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        (failed,) = (await run.describe()).children
        mended.append(True)
        await (await rt.get(failed.workflow_id).retry()).result(timeout=30)
        assert await (await run.retry()).result(timeout=30) == "after"
    assert paid == ["middle", "before", "after"]


async def test_retry_that_would_forget_what_a_child_did_is_refused(open_runtime):
    """The child that was cancelled cannot go on, so both would begin anew."""
    async with open_runtime(*ALL) as rt:
        run = await rt.start(fails_one_of_two.options(id="x"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        for one in (await run.describe()).children:
            with pytest.raises((RunFailedError, RunCancelledError)):
                await rt.get(one.workflow_id).result(timeout=30)
        with pytest.raises(RunNotRetriableError, match="would begin anew, and step 'pay' runs at most once"):
            await run.retry()
    assert paid == ["before", "tidied"]
