"""Steps of other workers' runs: they are found whenever they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from durable import Context, step, workflow
from runtime import Runtime, Worker
from runtime.store.memory import MemoryStore

pytestmark = pytest.mark.anyio


@step(queue="elsewhere")
async def far_away(number: int) -> int:
    return number


@workflow
async def routed(ctx: Context, number: int) -> int:
    return await ctx.step(far_away, number)


class SlowStore(MemoryStore):
    """Takes its time to say when the next task is due."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def next_task_at(self, queues: Sequence[str], steps: Sequence[str]) -> int | None:
        at_us = await super().next_task_at(queues, steps)
        if "elsewhere" in queues:
            self.is_asked.set()
            await self.may_answer.wait()
        return at_us


async def test_task_that_comes_while_the_worker_asks_for_the_next_one_is_taken() -> None:
    store = SlowStore()
    async with Runtime(store, workflows=[routed]) as rt, Worker(store, steps=[far_away], queues=["elsewhere"]):
        await store.is_asked.wait()
        run = await rt.start(routed, 7)
        await run.until_waiting("step 'far_away'", timeout=30)
        store.may_answer.set()
        assert await run.result(timeout=30) == 7
