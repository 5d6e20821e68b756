"""Runs the measurements one after another and prints the report."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from durable.errors import ConfigurationError
from runtime.bench import guarding
from runtime.bench.measure import Row
from runtime.bench.process import measure_processes
from runtime.bench.replay import measure_replay
from runtime.bench.sleeping import measure_sleepers
from runtime.bench.testing import measure_tests
from runtime.bench.throughput import (
    measure_reaction,
    measure_reaction_between_processes,
    measure_sequential,
    measure_starts,
    measure_steps,
)
from runtime.cli.text import json_text
from runtime.worker.interpreter import tune_interpreter


async def measure(folder: Path, sleepers: int) -> AsyncIterator[Row]:
    """Every row, as soon as it is known; each on a fresh file in ``folder``."""
    yield await measure_steps(folder)
    yield await measure_sequential(folder)
    yield await measure_starts(folder)
    for row in measure_replay():
        yield row
    yield await guarding.measure_guard(folder, guarding.RUNS)
    yield await measure_tests()
    yield await measure_reaction(folder)
    yield await measure_reaction_between_processes(folder)
    for row in await measure_sleepers(folder, sleepers):
        yield row
    for row in measure_processes(folder):
        yield row


async def _report(folder: Path, sleepers: int, *, as_json: bool) -> None:
    rows = []
    async for row in measure(folder, sleepers):
        rows.append(row)
        if not as_json:
            print(row, flush=True)
    if as_json:
        print(json_text([row.to_json() for row in rows], indent=2))


def report(store_url: str | None, *, as_json: bool, sleepers: int) -> None:
    """Measure, in fresh files beside the store that is given, or in a temporary directory.

    Args:
        store_url: a ``sqlite:///`` URL: its disk is what is measured; the store itself is not touched.
        as_json: print a JSON list instead of lines.
        sleepers: how many sleeping runs to measure with; the budget is stated for a million.

    Raises:
        ConfigurationError: the store is not SQLite.
    """
    parent: Path | None = None
    if store_url is not None:
        if not store_url.startswith("sqlite:///"):
            raise ConfigurationError(f"durable bench measures SQLite stores, got {store_url}")
        parent = Path(store_url.removeprefix("sqlite:///")).parent
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="durable-bench-", dir=parent) as folder:
        tune_interpreter()  # as ``durable worker`` does
        asyncio.run(_report(Path(folder), sleepers, as_json=as_json))
