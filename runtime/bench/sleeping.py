"""Sleeping runs: what they cost on disk, in the worker's memory, and how soon the first one is woken."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

from runtime.bench import workload
from runtime.bench.measure import Row
from runtime.bench.worker import worker_process
from runtime.client.client import Client
from runtime.runtime import Runtime


async def measure_sleepers(folder: Path, count: int) -> list[Row]:
    """Put ``count`` runs to sleep for a day, and one for a moment; then look at a fresh worker process."""
    path = folder / "sleepers.db"
    url = f"sqlite:///{path}"
    async with Runtime(url, workflows=workload.ALL) as runtime:
        limit = asyncio.Semaphore(200)

        async def one() -> None:
            async with limit:
                handle = await runtime.start(workload.sleeper, 86_400.0)
                await handle.until_waiting("sleep")

        await asyncio.gather(*(one() for _ in range(count)))
    size = path.stat().st_size / count / 1024
    async with Client(url) as client:
        due = await client.start(workload.sleeper, 0.01)
        async with worker_process(url) as worker:
            began = perf_counter()
            await due.result(timeout=60)
            first = perf_counter() - began
            memory = await worker.memory_bytes() / 2**20
    label = f"{count:,} sleeping runs"
    return [
        Row(f"{label}: disk of each", size, "KiB", "1.5 KiB"),
        Row(f"{label}: memory of a fresh worker", memory, "MiB", "200 MiB with a million"),
        Row(f"{label}: first due timer after the start", first, "s", "1 s"),
    ]
