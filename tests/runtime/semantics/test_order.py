"""Semantics 11 across processes: what one process began, another one goes on with in the same order."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from semantics import concurrency
from semantics.concurrency import SCENES, TASKS, concurrent, trace_so_far, who

pytestmark = pytest.mark.anyio


async def in_a_new_process(url: str, cache_size: int, seed: int, task: str) -> dict[str, list[str]]:
    """What ``concurrency.py`` says as a process under another PYTHONHASHSEED."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, concurrency.__file__, url, str(cache_size), task,
        env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    traces: dict[str, list[str]] = json.loads(output)
    return traces


async def test_order_is_the_same_in_a_new_process_that_goes_on(open_runtime, url, cache_size):
    """Semantics 11: same order on every replay, in a new process, under another PYTHONHASHSEED.

    Of gather, TaskGroup, wait, as_completed, Lock, Semaphore, Queue, Condition, Barrier, async generators closed
    early and contextvars in child tasks.
    Three processes: the first plays every scene, the second replays it and plays it again, the third replays both.
    """
    token = who.set("the worker")  # what a run must not see
    async with open_runtime(concurrent) as rt:
        first = {}
        for scene in SCENES:
            run = await rt.start(concurrent.options(id=scene), scene)
            await run.until_waiting("go", timeout=30)
            first[scene] = await run.query(trace_so_far)
    who.reset(token)
    finished = await in_a_new_process(url, cache_size, 1, "finish")
    for scene, trace in finished.items():
        assert trace[: len(first[scene])] == first[scene]
        assert len(trace) > len(first[scene])
    assert await in_a_new_process(url, cache_size, 2, "ask") == finished
    assert first["waits"][:TASKS] == [f"quick {number}" for number in range(TASKS)]
    assert first["remembers"][0] == "nobody"
    async with open_runtime(concurrent) as rt:
        closed = [name async for name in rt.get("generates").stream("closed")]
    assert closed == ["by hand", "by hand", *["third", "second", "first"] * 2]
