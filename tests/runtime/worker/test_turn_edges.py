"""What turns seldom bring: a cancellation of another run, a child that goes on as a new run, a run that the worker has no code for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Context, RunCancelledError, Signal, step, workflow
from durable.errors import CallerError, MessageUndeliverableError, RunFailedError
from durable.handle import RunStatus
from runtime import Client, Runtime, Worker
from runtime.store.row import RunRow
from runtime.worker.token import parse_token, step_token

pytestmark = pytest.mark.anyio

go = Signal("go", int)


async def until_stuck(run: Any) -> RunRow:
    """Wait until a run is stuck."""

    async def look() -> RunRow | None:
        row: RunRow = await run.row()
        return row if row.status is RunStatus.STUCK else None

    async with asyncio.timeout(30):
        found: RunRow = await run._client.watch.until(look, lambda change: True)
        return found


@workflow
async def waits(ctx: Context) -> int:
    return await ctx.wait_signal(go)


@workflow
async def cancels_others(ctx: Context) -> str:
    await ctx.workflow("other").cancel("not needed any more")
    try:
        await ctx.workflow("nobody").cancel("either")
    except MessageUndeliverableError as error:
        return str(error)
    return "found"


async def test_a_run_can_cancel_another_one_and_hears_where_there_is_none(tmp_path):
    async with Runtime(f"sqlite:///{tmp_path / 'd.db'}", workflows=[waits, cancels_others]) as rt:
        other = await rt.start(waits.options(id="other"))
        await other.until_waiting("go", timeout=30)
        run = await rt.start(cancels_others.options(id="run"))
        assert "nobody" in await run.result(timeout=30)
        with pytest.raises(RunCancelledError, match="not needed any more"):
            await other.result(timeout=30)
        asked = next(event for event in await other.history() if event.kind == "CancelRequested")
        assert asked.actor == "run:run"


@step
async def whose(parent: str | None) -> str:
    return parent or "nobody's"


@workflow
async def hops(ctx: Context, left: int) -> str:
    if left:
        ctx.continue_as_new(left - 1)
    return await ctx.step(whose, ctx.info.parent_run_id)


@workflow
async def has_a_hopping_child(ctx: Context) -> bool:
    return await ctx.child_workflow(hops, 2) == ctx.info.run_id


@pytest.mark.parametrize("cache_size", [1000, 0], ids=["kept", "evicted"])
async def test_a_child_that_continues_as_new_stays_its_parents(tmp_path, cache_size):
    """Semantics 35 and 36: the parent gets the result of the last of a chain of runs, all of which are its child."""
    async with Runtime(
        f"sqlite:///{tmp_path / 'd.db'}", workflows=[hops, has_a_hopping_child], cache_size=cache_size
    ) as rt:
        assert await (await rt.start(has_a_hopping_child)).result(timeout=30) is True


@pytest.mark.parametrize("is_begun", [False, True], ids=["before its first turn", "later"])
async def test_a_run_that_is_served_by_hand_without_its_code_is_stuck_and_goes_on_with_it(tmp_path, is_begun):
    """Semantics 39: missing code makes the run stuck, with the known names; it resumes on a worker that has it."""
    url = f"sqlite:///{tmp_path / 'd.db'}"
    async with Client(url) as client:
        run = await client.start("waits")
        if is_begun:
            async with Worker(url, workflows=[waits]):
                await run.until_waiting("go", timeout=30)
        async with Worker(url, workflows=[hops], recover=False) as worker:
            worker.serve(run.run_id)
            if is_begun:
                await run.signal(go, 7)
            row = await until_stuck(run)
            assert "no workflow is called 'waits'" in (row.reason or "")
        async with Worker(url, workflows=[waits]):
            if not is_begun:
                await run.signal(go, 7)
            assert await run.result(timeout=30) == 7
            assert await run.status() is RunStatus.COMPLETED


async def test_a_runtime_that_serves_only_what_it_starts_leaves_alone_what_it_has_no_code_for(tmp_path):
    """Semantics 39: a workflow that is started by name belongs to the workers that have it."""
    url = f"sqlite:///{tmp_path / 'd.db'}"
    async with Runtime(url, workflows=[cancels_others], recover=False) as rt:
        run = await rt.start("waits")
        with pytest.raises(RunFailedError):
            await (await rt.start(cancels_others)).result(timeout=30)
        assert (await run.row()).owner is None
        async with Worker(url, workflows=[waits]):
            await run.signal(go, 7)
            assert await run.result(timeout=30) == 7


@pytest.mark.parametrize("token", ["", "no token", "YWJj", step_token("run", 7)[:-2] + "%%"])
def test_what_is_no_token_of_a_step_is_refused(token):
    assert parse_token(step_token("run", 7)) == ("run", 7)
    with pytest.raises(CallerError, match=r"expected the token of a step \(step_info\(\)\.token\)"):
        parse_token(token)
