"""Two workers, two hundred runs, one kill -9 in the middle: every run ends as it should (semantics 43, 44)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from durable.history import EventKind, verify_chain
from runtime import Client
from runtime.client.handle import RunHandle
from runtime.store.row import RunFilter, RunRow

pytestmark = pytest.mark.anyio

RUNS = 200
DONE_BEFORE_THE_KILL = 40


@contextmanager
def worker(url: str, ledger: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker process that is ready."""
    command = [sys.executable, str(Path(__file__).with_name("soak_worker.py")), url, str(ledger)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


async def let_go(runs: list[RunHandle[Any]], numbers: range) -> None:
    """Some of the runs may begin."""
    await asyncio.gather(*(runs[number].signal("go", number) for number in numbers))


async def owner_of_an_open_run(client: Client) -> str:
    """A worker that is at work right now."""

    async def look() -> str | None:
        rows, _ = await client.store.list_runs(RunFilter(workflow="soak"), RUNS)
        assert any(not row.status.is_closed for row in rows), "all runs have ended: there is no middle left"
        return next((row.owner for row in rows if row.owner is not None), None)

    return await client.watch.until(look, lambda _: True)


async def test_kill_of_one_of_two_workers_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    url, ledger = f"sqlite:///{tmp_path / 'durable.db'}", tmp_path / "paid"
    with worker(url, ledger) as first, worker(url, ledger) as second:
        async with Client(url) as client, asyncio.timeout(120):
            runs = [await client.start(client.workflow("soak", id=f"soak-{number}"), number) for number in range(RUNS)]
            await let_go(runs, range(DONE_BEFORE_THE_KILL))
            await asyncio.gather(*(run.result() for run in runs[:DONE_BEFORE_THE_KILL]))
            rest = asyncio.create_task(let_go(runs, range(DONE_BEFORE_THE_KILL, RUNS)))
            victim = await owner_of_an_open_run(client)
            pids = {row.worker_id: row.pid for row in await client.store.workers()}
            (first if first.pid == pids[victim] else second).kill()
            await rest
            results = [await run.result() for run in runs]
            rows = await everything(client)
            histories = {row.run_id: await client.store.read_history(row.run_id) for row in rows}
    assert Counter(row.status for row in rows) == {"completed": 2 * RUNS}  # with their children
    for number, (total, paid) in enumerate(results):
        assert total == number + 45 + 2 * number + (number + 1)
        assert paid in (number, "in doubt")
    payments = Counter(int(line) for line in ledger.read_text().splitlines())
    assert set(payments.values()) == {1}
    assert {number for number, (_, paid) in enumerate(results) if paid != "in doubt"} <= set(payments)
    for history in histories.values():
        verify_chain(history)
    workers = {
        event.actor for history in histories.values() for event in history if event.kind == EventKind.STEP_SCHEDULED
    }
    assert workers == set(pids), "both had their part in it"


async def everything(client: Client) -> list[RunRow]:
    """Every run of the store."""
    rows: list[RunRow] = []
    cursor: str | None = None
    while True:
        page, cursor = await client.store.list_runs(RunFilter(), 500, cursor)
        rows += page
        if cursor is None:
            return rows
