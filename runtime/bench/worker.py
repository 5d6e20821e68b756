"""A worker in a process of its own, and what it says of its memory."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.worker.interpreter import tune_interpreter


class WorkerProcess:
    """A running worker process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def until_ready(self) -> None:
        """Wait until it serves."""
        assert await self._line() == "ready"

    async def memory_bytes(self) -> int:
        """Its largest resident memory so far."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"memory\n")
        await self._process.stdin.drain()
        return int(await self._line())

    async def stop(self) -> None:
        """Close its input, upon which it stops."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def worker_process(url: str) -> AsyncIterator[WorkerProcess]:
    """Start a worker on a store with the benchmark's workflows; it serves when this is entered."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runtime.bench.worker", url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    worker = WorkerProcess(process)
    try:
        await worker.until_ready()
        yield worker
    finally:
        await worker.stop()


def peak_memory_bytes() -> int:
    """The largest resident memory of this process; where /proc tells it, without what it inherited before its own program began."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def serve(url: str) -> None:
    """Be that process: serve until the input ends, and answer every line with the memory used."""
    from runtime.bench import workload
    from runtime.worker.worker import Worker

    async with Worker(url, workflows=workload.ALL):
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(peak_memory_bytes(), flush=True)


if __name__ == "__main__":
    tune_interpreter()
    asyncio.run(serve(sys.argv[1]))
