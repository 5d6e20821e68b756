"""Sleeping runs: what they cost on disk, in the worker's memory, and how soon the first one is woken."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import perf_counter

from runtime.bench import workload
from runtime.bench.measure import Row
from runtime.client.client import Client
from runtime.runtime import Runtime

_PROBE = """
import asyncio, resource, sys, time
from runtime.bench import workload
from runtime.worker.worker import Worker

async def main():
    began = time.perf_counter()
    async with Worker(sys.argv[1], workflows=workload.ALL) as worker:
        print("started", time.perf_counter() - began, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)

asyncio.run(main())
"""


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
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROBE, url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert probe.stdout is not None
        assert probe.stdin is not None
        await probe.stdout.readline()
        began = perf_counter()
        await due.result(timeout=60)
        first = perf_counter() - began
        probe.stdin.write(b"\n")
        await probe.stdin.drain()
        memory = float((await probe.stdout.readline()).split()[1]) / 2**20
        await probe.wait()
    label = f"{count:,} sleeping runs"
    return [
        Row(f"{label}: disk of each", size, "KiB", "1.5 KiB"),
        Row(f"{label}: memory of a fresh worker", memory, "MiB", "200 MiB with a million"),
        Row(f"{label}: first due timer after the start", first, "s", "1 s"),
    ]
