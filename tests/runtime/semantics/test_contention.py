"""Semantics 44 to 47: several workers on one store, poison, a store that is not available, and many runs that wait."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from durable import Context, Signal, step, workflow
from durable.handle import RunStatus
from durable.history import EventKind, verify_chain
from runtime.store.sqlite import SqliteStore
from semantics.flows import DEATH, bystander, go, guarded, poison, shared, where
from semantics.full_disk import LETTERS, STEPS
from semantics.process import Process, WorkerProcess
from semantics.waiting import until_stuck

pytestmark = pytest.mark.anyio


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


# -- 44: two workers --------------------------------------------------------------------------------------


async def test_two_workers_on_one_file_never_share_a_run(open_runtime, url, cache_size, tmp_path):
    """Semantics 44: two workers on one store, in two processes: every run has one owner, so every step runs once."""
    ledger = tmp_path / "ledger"
    names = [f"run-{number}" for number in range(20)]
    async with WorkerProcess(url, cache_size=cache_size) as process:
        await process.said("ready")
        async with open_runtime(shared) as rt:
            runs = [await rt.start(shared.options(id=name), str(ledger)) for name in names]
            for _ in range(3):
                await asyncio.gather(*(run.signal(go, 10) for run in runs))
            assert await asyncio.gather(*(run.result(timeout=60) for run in runs)) == [33] * 20
            for run in runs:
                verify_chain(await run.history())
    counts = Counter(ledger.read_text().split())
    assert counts == {f"{name}/{number}": 1 for name in names for number in range(3)}


async def test_a_paused_worker_is_fenced_off_and_corrects_itself(open_runtime, open_client, url, cache_size, tmp_path):
    """Semantics 44: a paused (SIGSTOP) worker that wakes up after its lease is fenced off and corrects itself: what it
    still holds is not committed, and afterwards it serves again."""
    ledger = tmp_path / "ledger"
    async with WorkerProcess(url, cache_size=cache_size, lease_seconds=0.5) as process:
        async with open_client() as rt:
            run = await rt.start(guarded, str(ledger))
        await process.said("holding in step")
        process.stop()
        async with open_runtime(guarded, lease_seconds=0.5) as rt:
            run = rt.get(run.workflow_id)
            winner = await run.result(timeout=30)
            assert winner != process.pid
            history = await run.history()
        process.go_on()
        process.open_gate()
        async with open_client() as rt:
            later = await rt.start(where)
            assert await later.result(timeout=30) == process.pid
            assert await rt.get(run.workflow_id).history() == history
    assert [event.kind for event in history].count(EventKind.STEP_COMPLETED) == 1
    verify_chain(history)


held: asyncio.Event
may_end: asyncio.Event
calls: list[int]


@step
async def waits_at_first() -> int:
    calls.append(1)
    if len(calls) == 1:
        held.set()
        await may_end.wait()
    return len(calls)


@workflow
async def contended(ctx: Context) -> int:
    return await ctx.step(waits_at_first)


async def test_a_commit_of_a_worker_that_does_not_know_yet_is_refused(open_runtime, url, caplog):
    """Semantics 44: fenced off by the store even where the lease still looks fresh to its worker: nothing of it is written,
    the worker forgets the run and goes on."""
    global held, may_end, calls
    held, may_end, calls = asyncio.Event(), asyncio.Event(), []
    async with open_runtime(contended) as first:
        run = await first.start(contended.options(id="x"))
        await held.wait()
        for sign in Path(f"{path_of(url)}-workers").glob("*.json"):
            sign.unlink()  # as if the first worker were long dead
        async with open_runtime(contended) as second:
            assert await second.get("x").result(timeout=30) == 2
            history = await second.get("x").history()
        may_end.set()
        assert await (await first.start(contended)).result(timeout=30) == 3
        assert await run.history() == history
        engine = first.worker.engine
        assert engine is not None
        assert run.run_id not in engine.held
        assert await run.result(timeout=30) == 2


# -- 45: poison -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fatal_turn", [0, 2], ids=["first turn", "later turn"])
async def test_a_poison_run_is_stuck_after_a_few_tries_and_starves_nobody(
    open_runtime, open_client, url, cache_size, fatal_turn
):
    """Semantics 45: a run that takes its worker down again and again is stuck after N tries; the others are served."""
    async with open_client() as client:
        run = await client.start(poison.options(id="poison"), fatal_turn)
        others = [await client.start(bystander, number) for number in range(5)]
        deaths = 0
        while True:
            async with WorkerProcess(url, cache_size=cache_size) as process:
                if fatal_turn and not deaths:
                    await run.until_waiting("go", timeout=30)
                    await run.signal(go, 1)
                ending = asyncio.ensure_future(process.ended())
                stuck = asyncio.ensure_future(until_stuck(run))
                done, _ = await asyncio.wait([ending, stuck], return_when=asyncio.FIRST_COMPLETED)
                if stuck in done:
                    results = [await other.result(timeout=30) for other in others]
                    process.kill()
                    await ending
                    break
                stuck.cancel()
                await asyncio.wait([stuck])
                assert await ending == DEATH
                deaths += 1
                assert deaths < 10
        assert deaths == 4  # one as anybody may die, then three on trial
        assert results == [0, 1, 2, 3, 4]
        row = await run.row()
        assert "DUR1106" in (row.reason or "")
        assert [event.kind for event in await run.history()].count(EventKind.STEP_COMPLETED) == fatal_turn


@step
async def endures() -> str:
    return "endured"


@workflow
async def fails_its_turn(ctx: Context) -> None:
    raise MemoryError


@workflow
async def healthy(ctx: Context, number: int) -> str:
    return await ctx.step(endures)


async def test_runs_that_fail_their_turn_starve_nobody_in_their_worker(open_runtime):
    """Semantics 45: many stuck runs, older than all others, do not keep the others from their turns."""
    async with open_runtime(fails_its_turn, healthy) as rt:
        bad = [await rt.start(fails_its_turn) for _ in range(40)]
        good = [await rt.start(healthy, number) for number in range(10)]
        assert await asyncio.gather(*(run.result(timeout=30) for run in good)) == ["endured"] * 10
        for run in bad:
            await until_stuck(run)
        assert await (await rt.start(healthy, 1)).result(timeout=30) == "endured"


# -- 46: a store that is not available --------------------------------------------------------------------


next_one = Signal("next", int)
reached: asyncio.Event
resumed: asyncio.Event


@step
async def crosses() -> str:
    reached.set()
    await resumed.wait()
    return "x" * 100_000


@workflow
async def outlives(ctx: Context) -> int:
    text = await ctx.step(crosses)
    more = await ctx.step(crosses)
    return len(text) + len(more)


class Outage:
    """Counts how often a worker said that the store is not available, and wakes who waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.noticed = asyncio.Event()
        import runtime.worker.engine as engine

        warn = engine.log.warning

        def notice(message: str, *args: Any, **options: Any) -> None:
            if "not available" in message:
                self.noticed.set()
            warn(message, *args, **options)

        monkeypatch.setattr(engine.log, "warning", notice)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """The database is not where it was: its disk is not mounted."""
    away = path.with_suffix(".away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@contextmanager
def full(path: Path, store: SqliteStore) -> Iterator[None]:
    """No page more fits on the disk."""
    parts = store._parts
    assert parts is not None
    with parts.writer._mutex:
        connection, _ = parts.writer._connected()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        with parts.writer._mutex:
            connection, _ = parts.writer._connected()
            connection.execute("PRAGMA max_page_count = 1073741823")


@pytest.mark.parametrize("outage", [locked, gone, full], ids=lambda outage: outage.__name__)
async def test_an_outage_of_the_store_is_waited_for(open_runtime, url, cache_size, monkeypatch, outage):
    """Semantics 46: disk full, database locked, database gone for a while: the worker waits and goes on; no run fails
    because of it, and no step runs again."""
    from runtime import Runtime

    global reached, resumed
    reached, resumed = asyncio.Event(), asyncio.Event()
    noticing = Outage(monkeypatch)
    store = SqliteStore(path_of(url), wait_seconds=0.05)
    async with Runtime(store, workflows=[outlives, healthy], cache_size=cache_size) as rt:
        run = await rt.start(outlives)
        await reached.wait()
        with outage(path_of(url), store) if outage is full else outage(path_of(url)):
            resumed.set()
            async with asyncio.timeout(30):
                await noticing.noticed.wait()
        assert await run.result(timeout=30) == 200_000
        assert await run.status() is RunStatus.COMPLETED
        kinds = Counter(event.kind for event in await run.history())
        assert (kinds[EventKind.STEP_COMPLETED], kinds[EventKind.STEP_FAILED]) == (2, 0)
        assert (await run.describe()).attempts == []
        assert await (await rt.start(healthy, 1)).result(timeout=30) == "endured"
    await store.close()


async def test_a_full_disk_is_waited_for_and_loses_nothing_acknowledged(open_client, url, cache_size, tmp_path):
    """Semantics 46: the disk is full in the middle of work, for files of every kind: the worker says so and goes on when
    there is room; what was acknowledged is there, what was refused is not, and no step runs again."""
    ledger = tmp_path / "ledger"
    async with Process("semantics.full_disk", url, cache_size, ledger) as process:
        await process.said("ready")
        for command, answer in (
            ("start early", "acknowledged early"),
            ("result early", "result early"),
            ("start book", "acknowledged book"),
        ):
            process.tell(command)
            await process.said(answer)
        await process.heard("not available")
        process.tell("start refused")
        await process.said("refused refused")
        process.tell("room")
        for command, answer in (
            ("result book", f"result {STEPS * LETTERS}"),
            ("start late", "acknowledged late"),
            ("result late", "result late"),
        ):
            process.tell(command)
            await process.said(answer)
        process.say_no_more()
        assert await process.ended() == 0
    async with open_client() as client:
        assert {summary.workflow_id async for summary in client.list()} == {"early", "book", "late"}
        history = await client.get("book").history()
        assert (await client.get("book").describe()).attempts == []
    verify_chain(history)
    assert Counter(event.kind for event in history)[EventKind.STEP_COMPLETED] == STEPS
    assert ledger.read_text().splitlines() == ["early", *(f"page {number}" for number in range(STEPS)), "late"]
    with closing(sqlite3.connect(path_of(url))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- 47: many waiting runs --------------------------------------------------------------------------------

WAITING = 100_000


def insert_waiting(path: Path, count: int) -> None:
    """Copies of the one waiting run that the store has, rows only, as ``count`` runs would leave them."""
    with closing(sqlite3.connect(path)) as connection:
        tables = ["durable_runs", "durable_heads"]
        for table in tables:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            fresh = {
                "key": "n.value + 1000",
                "run_id": "printf('run-%d', n.value)",
                "workflow_id": "printf('id-%d', n.value)",
            }
            values = ", ".join(fresh.get(name, f"t.{name}") for name in names)
            connection.execute(
                f"WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {count}) "
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM n, (SELECT * FROM {table} LIMIT 1) AS t"
            )
        connection.commit()


class StepCounter:
    """Counts the steps of SQLite's virtual machine on the writer's connection: the work, whatever the clock says."""

    def __init__(self, store: SqliteStore) -> None:
        parts = store._parts
        assert parts is not None
        self.steps = 0
        connection, _ = parts.writer._connected()
        connection.set_progress_handler(self._count, 10)

    def _count(self) -> int:
        self.steps += 10
        return 0


@workflow
async def sleeps_long(ctx: Context) -> None:
    await ctx.sleep(3600 * 24 * 30)


async def cost_of_starts(rt: Any) -> int:
    """Steps of SQLite's machine for five runs from start to end."""
    counter = StepCounter(rt.store)
    for number in range(5):
        assert await (await rt.start(healthy, number)).result(timeout=30) == "endured"
    return counter.steps


@pytest.mark.parametrize("waits_for", ["signal", "timer"])
async def test_waiting_runs_do_not_slow_the_next_start(open_runtime, url, waits_for):
    """Semantics 47: a hundred thousand waiting runs cost the next start, claim and turns no more work than one does."""
    definition = guardless if waits_for == "signal" else sleeps_long
    async with open_runtime(definition, healthy) as rt:
        run = await rt.start(definition)
        await run.until_waiting(timeout=30)
    async with open_runtime(definition, healthy) as rt:
        before = await cost_of_starts(rt)
    insert_waiting(path_of(url), WAITING)
    async with open_runtime(definition, healthy) as rt:
        assert await rt.count(status="waiting") == WAITING + 1
        after = await cost_of_starts(rt)
    assert before > 0
    assert after < 2 * before


@workflow
async def guardless(ctx: Context) -> int:
    return await ctx.wait_signal(next_one)
