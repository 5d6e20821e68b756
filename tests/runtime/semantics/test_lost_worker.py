"""What is left when a worker is killed: attempts, losses, reports of steps, a rollback in its middle."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import anyio.to_thread
import pytest

from durable.errors import RunFailedError
from semantics import dying
from semantics.waiting import until

pytestmark = pytest.mark.anyio


async def worker_dies(url: str, cache_size: int) -> None:
    """Let a worker run until a step kills it."""
    process = dying.start_worker(url, cache_size)
    with process, killed_at_the_end(process):
        assert await anyio.to_thread.run_sync(process.wait, 60) == -signal.SIGKILL


@contextmanager
def killed_at_the_end(process: subprocess.Popen[str]) -> Iterator[None]:
    """A test that fails leaves no worker behind, for which it would wait."""
    try:
        yield
    finally:
        process.kill()


async def test_lost_workers_do_not_consume_attempts(open_runtime, open_client, url, cache_size, tmp_path):
    """Semantics 26: two workers are lost with the step; its two attempts are still there, with one key for all calls."""
    ledger = tmp_path / "ledger"
    async with open_client() as client:
        run = await client.start(dying.survives, str(ledger), 2)
    for _ in range(2):
        await worker_dies(url, cache_size)
    async with open_runtime(dying.survives) as rt:
        run = rt.get(run.workflow_id)
        assert await run.result(timeout=30) == 2
        lines = ledger.read_text().splitlines()
        assert [line.split()[1] for line in lines] == ["1", "1", "1", "2"]
        assert len({line.split()[2] for line in lines}) == 1
        attempts = (await run.describe()).attempts
        assert [(a.attempt, a.outcome) for a in attempts] == [(1, "lost"), (1, "lost"), (1, "failed")]


async def test_three_lost_workers_fail_the_step(open_runtime, open_client, url, cache_size, tmp_path):
    """Semantics 26: after 3 losses StepLostError, which workflow code may catch; the fourth worker is spared."""
    ledger = tmp_path / "ledger"
    async with open_client() as client:
        run = await client.start(dying.gives_up, str(ledger))
    for _ in range(3):
        await worker_dies(url, cache_size)
    async with open_runtime(dying.gives_up) as rt:
        assert await rt.get(run.workflow_id).result(timeout=30) == "3 workers were lost while step 'kills' ran"
        assert len(ledger.read_text().splitlines()) == 3


async def test_heartbeat_details_survive_a_crash(open_runtime, open_client, url, cache_size, tmp_path):
    """Semantics 28: the details reach the next attempt also if the worker is killed: the newest ones, not those of the
    failure before."""
    ledger = tmp_path / "ledger"
    async with open_client() as client:
        run = await client.start(dying.resumes_from_report, str(ledger))
        process = dying.start_worker(url, cache_size)
        with process, killed_at_the_end(process):
            assert process.stdout is not None
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "reported\n"

            async def is_kept() -> bool:
                beat = await client.store.read_heartbeat(run.run_id, 1)
                return beat is not None and '"done":3' in (beat[1] or "")

            await until(client, is_kept)
    async with open_runtime(dying.resumes_from_report) as rt:
        assert await rt.get(run.workflow_id).result(timeout=30) == [2, {"done": 3}]


async def test_compensations_survive_a_kill_in_their_middle(open_runtime, open_client, url, cache_size, tmp_path):
    """Rule S3: the worker is killed by the compensation that runs second; it runs again, and the first one does not."""
    ledger = tmp_path / "ledger"
    async with open_client() as client:
        run = await client.start(dying.undoes_through_death, str(ledger))
    await worker_dies(url, cache_size)
    async with open_runtime(dying.undoes_through_death) as rt:
        with pytest.raises(RunFailedError, match="it was rolled back"):
            await rt.get(run.workflow_id).result(timeout=30)
    assert ledger.read_text().splitlines() == ["do a", "do b", "undo b", "undo a", "undo a"]
