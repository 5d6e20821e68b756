"""What steps leave behind: nothing that only the garbage collector could free."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from durable import Context, step, workflow
from runtime import Runtime


@step
async def add(left: int, right: int) -> int:
    return left + right


@step
def add_in_thread(left: int, right: int) -> int:
    return left + right


@workflow
async def count(ctx: Context, steps: int) -> int:
    total = 0
    for number in range(steps):
        total = await ctx.step(add if number % 4 else add_in_thread, total, 1)
    return total


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.anyio
@pytest.mark.usefixtures("no_collection")
async def test_steps_leave_no_garbage() -> None:
    async with Runtime("memory://", workflows=[count]) as runtime:

        async def garbage_of(steps: int) -> int:
            await (await runtime.start(count, steps)).result(timeout=60)
            await asyncio.sleep(0)
            return gc.collect()

        await garbage_of(40)
        assert await garbage_of(200) <= await garbage_of(8) + 10


def test_tuned_interpreter_looks_for_garbage_less_often_and_switches_threads_sooner() -> None:
    code = (
        "import gc, sys; from runtime import tune_interpreter; tune_interpreter();"
        "print(gc.get_threshold()[0], gc.get_freeze_count(), sys.getswitchinterval())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(out[0]) > 700
    assert int(out[1]) > 1_000
    assert float(out[2]) < 0.005
