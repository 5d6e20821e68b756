"""Rows of the table of ``ctx``, and of the client, that nothing else shows whole: outputs, the way out of the guard, foreign steps, lists."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from durable import Context, Signal, step, workflow
from durable.errors import RunFailedError, StepTimeoutError
from runtime import Client, Worker
from semantics.clock import HeldClock
from semantics.waiting import until_stuck

pytestmark = pytest.mark.anyio

go = Signal("go")


class Progress(BaseModel):
    done: int


@workflow
async def publishes(ctx: Context) -> None:
    ctx.publish("progress", Progress(done=1))
    ctx.publish("progress", Progress(done=2))
    await ctx.wait_signal(go)
    ctx.publish("progress", Progress(done=3))


async def test_the_newest_published_value_is_read_without_asking_the_workflow(open_runtime):
    async with open_runtime(publishes) as rt:
        run = await rt.start(publishes)
        await run.until_waiting("go", timeout=30)
        assert await run.published("progress") == {"done": 2}
        with pytest.raises(KeyError, match="nothing"):
            await run.published("nothing")
        await run.signal(go)
        await run.result(timeout=30)
        assert await run.published("progress") == {"done": 3}


@workflow
async def leaves_the_guard(ctx: Context, looks_after: bool) -> str:
    with ctx.unguarded():
        time.time()
        with ctx.unguarded():
            time.time()
        time.time()
    try:
        with ctx.unguarded():
            time.time()
            raise LookupError
    except LookupError:
        pass
    await ctx.wait_signal(go)
    if looks_after:
        time.time()  # durable: ignore[DURL101]
    return "left"


async def test_the_guard_is_off_within_the_block_and_on_behind_it(open_runtime):
    """Semantics 12: also where blocks are nested, and where one raises."""
    async with open_runtime(leaves_the_guard) as rt:
        run = await rt.start(leaves_the_guard, False)
        await run.signal(go)
        assert await run.result(timeout=30) == "left"
        run = await rt.start(leaves_the_guard, True)
        await run.signal(go)
        row = await until_stuck(run)
        assert "time.time()" in (row.reason or "")
        assert "test_ctx_rows.py:" in (row.reason or "")


@workflow
async def calls_foreign_code(ctx: Context, seconds: float) -> str:
    text: str = await ctx.step(step(json.dumps, timeout=30), [1, 2])
    await ctx.step(step(time.sleep, timeout=0.05), seconds)
    return text


async def test_somebody_elses_function_is_a_step_with_options(open_runtime):
    async with open_runtime(calls_foreign_code) as rt:
        assert await (await rt.start(calls_foreign_code, 0)).result(timeout=30) == "[1, 2]"
        with pytest.raises(RunFailedError, match=r"step 'sleep' took longer than its timeout of 0.05 s") as caught:
            await (await rt.start(calls_foreign_code, 0.3)).result(timeout=30)
        assert isinstance(caught.value.__cause__, StepTimeoutError)


@workflow
async def waits(ctx: Context) -> None:
    await ctx.wait_signal(go)


async def test_lists_by_actor_and_by_time_in_any_zone(url: str, clock: HeldClock):
    async def ids(client: Client, **filters: Any) -> list[str]:
        return [one.workflow_id async for one in client.list(**filters)]

    zone = timezone(timedelta(hours=2))
    began = datetime.fromtimestamp(clock.now_us() / 1_000_000, zone)
    async with Client(url, clock=clock, actor="user:alice") as alice, Client(url, clock=clock, actor="user:bob") as bob:
        await alice.start(waits.options(id="a"))
        clock.advance(3600)
        await bob.start(waits.options(id="b"))
        assert await ids(alice, actor="user:alice") == ["a"]
        assert await ids(alice, actor="user:bob") == ["b"]
        assert await ids(alice, actor="user:eve") == []
        later = began + timedelta(hours=1)
        assert await ids(alice, started_after=later) == ["b"], "inclusive"
        assert await ids(alice, started_before=later) == ["a"], "exclusive"
        assert sorted(await ids(alice, started_after=began)) == ["a", "b"]
        assert await alice.count(started_after=later, actor="user:bob") == 1


@workflow
async def describes_what_it_has(ctx: Context) -> list[str]:
    child = await ctx.start_child(waits.options(id="c", on_parent_close="abandon"))
    said = [repr(thing) for thing in (ctx, ctx.info, ctx.stream("s"), ctx.workflow("w"), child)]
    ctx.publish("said", said)
    await ctx.wait_signal(go)
    return said


async def test_what_ctx_hands_out_is_described_the_same_on_replay(open_runtime, url: str):
    async with open_runtime(describes_what_it_has, waits, recover=False) as rt:
        run = await rt.start(describes_what_it_has)
        await run.until_waiting("go", timeout=30)
        before = await run.published("said")
    assert not [text for text in before if " at 0x" in text]
    async with Client(url) as client, Worker(url, workflows=[describes_what_it_has, waits]):
        run = client.get(run.workflow_id)
        await run.signal(go)
        assert await run.result(timeout=30) == before


def test_every_trial_plan_kills_on_both_sides_of_commits_in_both_cache_modes(tmp_path: Path):
    """Semantics 43."""
    from crash.campaign import CACHE_SIZES, plan

    for limit in (None, 8):
        seen = {(trial.faults[0].split(":")[1], trial.cache_size) for trial in plan(tmp_path, 40, limit)}
        assert seen == {(where, size) for where in ("before", "after") for size in CACHE_SIZES}
