"""The runs of a store against code: which are chosen, that nothing is written, and that others may be at work meanwhile."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from durable import Context, RetryPolicy, Signal, step, workflow
from durable.errors import DefinitionError, RunFailedError, RunNotFoundError
from durable.history import Event
from durable.replay import BreakageKind
from runtime import Runtime
from runtime.replay import Selection, replay_store
from runtime.replay.reading import _chunks, read_recordings
from runtime.store.memory import MemoryStore
from runtime.store.row import NewRun
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio
go = Signal("go", int)


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def fails() -> None:
    raise ValueError("no")


@workflow(messages=[go])
async def waits(ctx: Context, number: int) -> int:
    number = await ctx.step(double, number)
    return number + await ctx.wait_signal(go)


@workflow
async def ends(ctx: Context) -> int:
    return await ctx.step(double, 1)


@workflow
async def stays_undone(ctx: Context) -> None:
    await ctx.step(double.options(compensate=fails.options(retry=RetryPolicy(max_attempts=1))), 1)
    raise ValueError("undo")


@workflow(name="waits", messages=[go])
async def changed(ctx: Context, number: int) -> int:
    number = await ctx.step(double, number + 1)
    return number + await ctx.wait_signal(go)


@workflow(name="waits", messages=[go])
async def broken(ctx: Context, number: int) -> int:
    if number % 2:
        await ctx.sleep(1)
    await ctx.step(double, number)
    return await ctx.wait_signal(go)


@workflow(name="waits")
async def blocked(ctx: Context, number: int) -> int:
    while True:
        pass


async def fill(store, count: int = 5) -> None:
    """Runs that wait, one that has ended, and one that has not begun."""
    async with Runtime(store, workflows=[waits, ends]) as rt:
        for number in range(count):
            run = await rt.start(waits.options(id=f"w{number}"), number)
            await run.until_waiting("signal", timeout=30)
        ended = await rt.start(ends.options(id="ended"))
        await ended.result(timeout=30)
        await rt.start(waits.options(id="later", delay=3600), 7)


@pytest.fixture
async def url(tmp_path: Path) -> str:
    store = SqliteStore(tmp_path / "a.db")
    await fill(store)
    await store.close()
    return store.url


async def test_every_unfinished_run_is_replayed_and_ended_ones_are_not(url: str):
    report = await replay_store(url, workflows=[waits])
    assert (report.ok, report.runs, report.broken, report.workflows) == (True, 6, 0, {"waits": 6})
    report = await replay_store(url, workflows=[waits, ends], selection=Selection(all_runs=True))
    assert (report.ok, report.runs, report.workflows) == (True, 7, {"waits": 6, "ends": 1})


async def test_not_a_byte_of_the_file_changes(url: str):
    path = Path(url.removeprefix("sqlite:///"))
    before = sha256(path.read_bytes()).digest()
    await replay_store(url, workflows=[broken], selection=Selection(all_runs=True))
    assert sha256(path.read_bytes()).digest() == before


async def test_alike_breakages_are_one_finding(url: str):
    report = await replay_store(url, workflows=[broken])
    assert (report.ok, report.runs, report.broken) == (False, 6, 2)
    [group] = report.findings
    assert (group.workflow, group.count, group.first.kind) == ("waits", 2, BreakageKind.DIVERGENCE)
    assert sorted(group.runs) == [("w1", 2), ("w3", 2)]
    assert "test_replay_store.py:" in group.first.place
    assert [one.workflow_id for one in report.reports] == ["w3", "w1"]


async def test_changed_input_breaks_in_strict_mode_only(url: str):
    report = await replay_store(url, workflows=[changed])
    assert [(group.count, group.first.kind) for group in report.findings] == [(5, BreakageKind.INPUT)]
    assert (await replay_store(url, workflows=[changed], strict=False)).ok


async def test_missing_workflow_is_a_finding(url: str):
    report = await replay_store(url, workflows=[ends])
    assert [(group.count, group.first.kind) for group in report.findings] == [(6, BreakageKind.MISSING_CODE)]
    report = await replay_store(url, workflows=[ends], selection=Selection(workflow="ends"))
    assert (report.ok, report.runs) == (True, 0)


async def test_endless_loop_in_new_code_is_interrupted_and_named(url: str, monkeypatch: pytest.MonkeyPatch):
    from runtime.replay import guard

    monkeypatch.setattr(guard.Against.__init__, "__defaults__", ((), (), True, 0.2))
    report = await replay_store(url, workflows=[blocked], selection=Selection(ids=["w1"]))
    [group] = report.findings
    assert group.first.kind is BreakageKind.BLOCKED
    assert "test_replay_store.py:" in group.first.where


async def test_runs_by_id_and_by_run_id(url: str):
    report = await replay_store(url, workflows=[broken], selection=Selection(ids=["w0", "w1"]))
    assert (report.runs, report.broken) == (2, 1)
    run_id = report.reports[0].run_id
    assert (await replay_store(url, workflows=[broken], selection=Selection(ids=[run_id]))).broken == 1
    with pytest.raises(RunNotFoundError, match="no run 'nobody'"):
        await replay_store(url, workflows=[waits], selection=Selection(ids=["nobody"]))


async def test_runs_by_status(url: str):
    report = await replay_store(url, workflows=[ends], selection=Selection(status=["completed"]))
    assert (report.ok, report.runs) == (True, 1)


async def test_sample_is_the_same_for_the_same_seed(url: str):
    async def chosen(seed: int) -> list[str]:
        report = await replay_store(url, workflows=[ends], selection=Selection(sample=3, seed=seed))
        return [one.workflow_id for one in report.reports]

    first = await chosen(1)
    assert len(first) == 3
    assert await chosen(1) == first
    assert len({tuple(await chosen(seed)) for seed in range(8)}) > 1
    assert {one for seed in range(30) for one in await chosen(seed)} == {"w0", "w1", "w2", "w3", "w4", "later"}
    assert len(await chosen(1)) == 3
    everything = await replay_store(url, workflows=[ends], selection=Selection(sample=100, seed=1))
    assert everything.runs == 6


async def test_run_whose_rollback_failed_is_unfinished():
    store = MemoryStore()
    async with Runtime(store, workflows=[stays_undone]) as rt:
        run = await rt.start(stays_undone.options(id="undo"))
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        assert (await run.row()).rollback == "failed"
    report = await replay_store(store, workflows=[stays_undone])
    assert (report.ok, report.runs) == (True, 1)


async def test_workers_go_on_while_runs_are_replayed(tmp_path: Path):
    """A run that is being served at the same moment is judged by the turns that are durable."""
    store = SqliteStore(tmp_path / "a.db")
    async with Runtime(store, workflows=[waits, ends]) as rt:
        run = await rt.start(waits.options(id="served"), 1)
        await run.until_waiting("signal", timeout=30)
        others = [asyncio.ensure_future(_serve(rt, number)) for number in range(20)]
        reports = []
        while not all(one.done() for one in others):
            reports.append(await replay_store(store.url, workflows=[waits], selection=Selection(all_runs=True)))
            await asyncio.sleep(0)
        await asyncio.gather(*others)
        await run.signal(go, 1)
        assert await run.result(timeout=30) == 3
    assert reports
    assert all(report.ok for report in reports)
    assert reports[-1].runs >= 1
    await store.close()


async def _serve(rt: Runtime, number: int) -> None:
    run = await rt.start(waits.options(id=f"other-{number}"), number)
    await run.signal(go, 1)
    await run.result(timeout=30)


async def test_run_that_was_purged_meanwhile_is_left_out(url: str, monkeypatch: pytest.MonkeyPatch):
    read = SqliteStore.read_histories

    async def purged(self, run_ids) -> list[list[Event]]:
        return [[] if index == 0 else history for index, history in enumerate(await read(self, run_ids))]

    monkeypatch.setattr(SqliteStore, "read_histories", purged)
    report = await replay_store(url, workflows=[waits, ends], selection=Selection(ids=["w0", "w1"]))
    assert (report.ok, report.runs) == (True, 1)


async def test_history_is_looked_at_up_to_a_limit(url: str):
    store = SqliteStore(Path(url.removeprefix("sqlite:///")))
    await store.open()
    rows = [await store.get_run(name) for name in ("w1", "later")]
    [recordings] = [found async for found in read_recordings(store, rows, 1 << 60, {rows[0].run_id: 1})]
    await store.close()
    assert [(len(one.events), len(one.unread)) for one in recordings] == [(1, 0), (0, 1)]


async def test_open_store_is_used_as_it_is():
    store = MemoryStore()
    await fill(store, 2)
    assert (await replay_store(store, workflows=[waits])).runs == 3


async def test_code_that_contradicts_itself_is_refused(url: str):
    with pytest.raises(DefinitionError, match="two workflows"):
        await replay_store(url, workflows=[waits, broken])


def test_long_histories_are_read_apart():
    class Row:
        def __init__(self, seq: int) -> None:
            self.seq = seq

    sizes = [
        [row.seq for row in chunk] for chunk in _chunks([Row(seq) for seq in (5, 9_000, 9_000, 50_000, 1, 30_000)])
    ]
    assert sizes == [[5, 9_000, 9_000], [50_000], [1], [30_000]]


async def test_histories_are_read_in_bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = SqliteStore(tmp_path / "a.db")
    await fill(store, 1)
    history = await store.read_history((await store.get_run("w0")).run_id)
    for number in range(300):
        run_id = f"copy-{number}"
        new = NewRun(run_id, run_id, "waits", "none", "user:ann", 1, 1 << 60, run_id, run_id, "", None, history)
        await store.start(new)
    await store.close()
    reads = []
    read = SqliteStore.read_histories
    monkeypatch.setattr(SqliteStore, "read_histories", lambda self, ids: reads.append(len(ids)) or read(self, ids))
    report = await replay_store(store.url, workflows=[waits])
    assert (report.ok, report.runs) == (True, 302)
    assert len(reads) == 1
