"""Semantics 11 to 16: asyncio and anyio inside workflows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semantics.order_workflows import NAMES, SCENARIOS, order_of

pytestmark = pytest.mark.anyio

ROOTS = os.pathsep.join([str(Path(__file__).parents[1])])


# -- 11: order --------------------------------------------------------------------------------------------


def replay_in_a_fresh_process(url: str, hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": ROOTS}
    return subprocess.run(
        [sys.executable, "-m", "semantics.replay_order", url], env=environment, check=True, capture_output=True, text=True
    ).stdout


async def test_the_order_is_the_same_on_every_replay_in_every_process(open_runtime, url):
    """Semantics 11: gather, TaskGroup, wait, as_completed, Lock, Semaphore, Queue, Condition, Barrier, generators, contextvars."""
    async with open_runtime(order_of) as rt:
        runs = [await rt.start(order_of.options(id=f"{name}-{turn}"), name) for name in SCENARIOS for turn in range(3)]
        for run in runs:
            assert await run.result(timeout=30)
    for hash_seed in (1, 2, 3):
        output = await asyncio.to_thread(replay_in_a_fresh_process, url, hash_seed)
        assert sorted(output.split()) == sorted(word for run in runs for word in (run.workflow_id, "completed"))
