"""The deploy guard: how soon many runs are replayed against their code, on one core."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from runtime.bench import workload
from runtime.bench.measure import Row
from runtime.bench.replay import make_history
from runtime.replay.guard import replay_store
from runtime.store.row import NewRun
from runtime.store.sqlite import SqliteStore

RUNS = 10_000
EVENTS: Final = 50

_AT_ONCE: Final = 500
_NEVER: Final = 1 << 60


async def measure_guard(folder: Path, runs: int) -> Row:
    """Fill a store with runs, and replay all of them."""
    history = make_history(EVENTS // 2)[0][:EVENTS]
    store = SqliteStore(folder / "guard.db")

    async def make(number: int) -> None:
        name = f"run-{number}"
        new = NewRun(name, name, workload.steps.name, "default", "bench", 1, _NEVER, name, name, "", None, history)
        await store.start(new)

    await store.open()
    try:
        for first in range(0, runs, _AT_ONCE):
            await asyncio.gather(*map(make, range(first, min(runs, first + _AT_ONCE))))
    finally:
        await store.close()
    report = await replay_store(store.url, workflows=[workload.steps])
    assert report.ok
    assert (report.runs, report.events) == (runs, runs * EVENTS)
    return Row(f"{runs:,} runs of {EVENTS} events are replayed in", report.seconds, "s", "30 s for 10,000")
