"""Turns that cannot be put on paper."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from durable import Context, Signal, workflow
from durable.handle import RunStatus
from runtime import Runtime
from runtime.client.handle import RunHandle
from runtime.store.row import RunRow
from runtime.worker import engine

pytestmark = pytest.mark.anyio

go = Signal("go", int)


@workflow
async def waits(ctx: Context) -> int:
    return await ctx.wait_signal(go)


async def stuck(rt: Runtime, run: RunHandle[Any]) -> str | None:
    """Why a run is stuck, once it is."""

    async def look() -> RunRow | None:
        row = await run.row()
        return row if row.status is RunStatus.STUCK else None

    with anyio.fail_after(30):
        return (await rt.watch.until(look, lambda _: True)).reason


@pytest.mark.parametrize("cache_size", [1000, 0])
async def test_turn_that_cannot_be_drafted_makes_its_run_stuck_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, cache_size: int
) -> None:
    draft_turn = engine.draft_turn

    def draft(held: Any, *args: Any) -> Any:
        if held.row.workflow_id == "bad" and held.seq:
            raise OverflowError("date value out of range")
        return draft_turn(held, *args)

    async with Runtime("memory://", workflows=[waits], cache_size=cache_size) as rt:
        runs = [await rt.start(waits.options(id=name)) for name in ("good", "bad", "better")]
        for run in runs:
            await run.until_waiting("signal 'go'", timeout=30)
        monkeypatch.setattr(engine, "draft_turn", draft)
        for number, run in enumerate(runs):
            await run.signal(go, number)
        assert await runs[0].result(timeout=30) == 0
        assert await runs[2].result(timeout=30) == 2
        assert await stuck(rt, runs[1]) == "OverflowError: date value out of range"
        monkeypatch.undo()
        await runs[1].resume()
        assert await runs[1].result(timeout=30) == 1
