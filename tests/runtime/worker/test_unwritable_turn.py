"""A turn that the store will never take: the run is stuck, and what its steps have done is not lost with the turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from durable import Context, step, workflow
from durable.errors import StoreError
from durable.handle import RunStatus
from durable.history import EventKind
from runtime import Runtime
from runtime.store.protocol import CommitOutcome
from runtime.store.row import RunRow
from runtime.store.sqlite import SqliteStore
from runtime.store.turn import Turn

pytestmark = pytest.mark.anyio

calls: list[int] = []


class RefusesOnce(SqliteStore):
    """Cannot write the first turn that takes the result of a step."""

    has_refused = False

    def commit(self, turns: Sequence[Turn], done: Callable[[Sequence[CommitOutcome]], None]) -> None:
        kinds = {event.kind for turn in turns for event in turn.events}
        if EventKind.STEP_COMPLETED in kinds and not self.has_refused:
            self.has_refused = True
            outcomes = [StoreError("a value that no column can hold") for _ in turns]
            asyncio.get_running_loop().call_soon(done, outcomes)
        else:
            super().commit(turns, done)


@step(delivery="at_most_once")
async def pay() -> int:
    calls.append(1)
    return len(calls)


@workflow
async def order(ctx: Context) -> int:
    return await ctx.step(pay)


async def test_turn_that_can_never_be_written_makes_the_run_stuck_and_keeps_results(tmp_path: Path) -> None:
    calls.clear()
    store = RefusesOnce(tmp_path / "durable.db")
    async with Runtime(store, workflows=[order]) as runtime:
        run = await runtime.start(order)

        async def look() -> RunRow | None:
            row = await run.row()
            return row if row.status is RunStatus.STUCK else None

        async with asyncio.timeout(30):
            stuck = await runtime.watch.until(look, lambda change: True)
        assert "a value that no column can hold" in (stuck.reason or "")
        await run.resume()
        assert await run.result(timeout=30) == 1
        assert calls == [1]
    await store.close()
