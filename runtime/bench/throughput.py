"""Steps, starts and signals through a whole runtime on one SQLite file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

from runtime.bench import workload
from runtime.bench.measure import Row, median
from runtime.bench.raw import raw_commit_seconds, raw_starts_per_second, raw_steps_per_second
from runtime.bench.worker import worker_process
from runtime.client.client import Client
from runtime.client.handle import RunHandle
from runtime.runtime import Runtime

RUNS = 100
STEPS = 200
SEQUENTIAL = 1000
STARTS = 5000
SIGNALS = 200


def _runtime(path: Path) -> Runtime:
    return Runtime(f"sqlite:///{path}", workflows=workload.ALL)


async def measure_steps(folder: Path) -> Row:
    """Durable steps a second, 100 runs at once."""
    raw = raw_steps_per_second(folder / "raw-steps.db", RUNS, STEPS)
    async with _runtime(folder / "steps.db") as runtime:
        await (await runtime.start(workload.steps, 10)).result()
        began = perf_counter()
        handles = await asyncio.gather(*(runtime.start(workload.steps, STEPS) for _ in range(RUNS)))
        await asyncio.gather(*(handle.result() for handle in handles))
        rate = RUNS * STEPS / (perf_counter() - began)
    return Row(f"durable steps/s, {RUNS} runs at once", rate, "steps/s", "25,000 and a quarter of raw", raw, rate / raw)


async def measure_sequential(folder: Path) -> Row:
    """One step after another in one run."""
    raw = raw_commit_seconds(folder / "raw-commit.db", SEQUENTIAL) * 1e6
    async with _runtime(folder / "sequential.db") as runtime:
        await (await runtime.start(workload.steps, 100)).result()
        began = perf_counter()
        await (await runtime.start(workload.steps, SEQUENTIAL)).result()
        each = (perf_counter() - began) / SEQUENTIAL * 1e6
    return Row("one step after another in one run", each, "us/step", "250 us, 2 x the raw commit", raw, each / raw)


async def measure_starts(folder: Path) -> Row:
    """Starts that are acknowledged on disk, 100 callers at once, while nobody runs them."""
    raw = raw_starts_per_second(folder / "raw-starts.db", STARTS, RUNS)
    async with Client(f"sqlite:///{folder / 'starts.db'}") as client:

        async def caller(count: int) -> None:
            for _ in range(count):
                await client.start(workload.nothing)

        began = perf_counter()
        await asyncio.gather(*(caller(STARTS // RUNS) for _ in range(RUNS)))
        rate = STARTS / (perf_counter() - began)
    return Row("starts acknowledged on disk, 100 callers", rate, "starts/s", "10,000", raw, rate / raw)


async def measure_reaction(folder: Path) -> Row:
    """From ``signal()`` to what the workflow published in answer, in one process."""
    async with _runtime(folder / "reaction.db") as runtime:
        handle = await runtime.start(workload.reactor, SIGNALS)
        await handle.until_waiting("signal")
        delays = await _reactions(runtime, handle)
        await handle.terminate()
    return Row("signal to reaction, idle worker, in process, p50", median(delays), "ms", "2 ms")


async def measure_reaction_between_processes(folder: Path) -> Row:
    """The same with the worker in another process."""
    url = f"sqlite:///{folder / 'between.db'}"
    async with Client(url) as client, worker_process(url):
        handle = await client.start(workload.reactor, SIGNALS)
        await handle.until_waiting("signal")
        delays = await _reactions(client, handle)
        await handle.terminate()
    return Row("signal to reaction, worker in another process, p50", median(delays), "ms", "15 ms")


async def _reactions(client: Client, handle: RunHandle[None]) -> list[float]:
    """Milliseconds from each signal to the published answer."""
    delays = []
    for number in range(SIGNALS - 1):
        began = perf_counter()
        await handle.signal(workload.go, number)
        await _until_published(client, handle.run_id or "", number)
        delays.append((perf_counter() - began) * 1e3)
    return delays


async def _until_published(client: Client, run_id: str, number: int) -> None:
    wanted = f'{{"v":1,"data":{number}}}'

    async def look() -> bool | None:
        published = await client.store.read_published(run_id)
        return True if published.get("seen") == wanted else None

    await client.watch.until(look, lambda change: change.wrote is None or run_id in change.wrote)
