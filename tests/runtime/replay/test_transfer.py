"""Runs from one store to another: complete, not served by accident, replayed where they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable import Context, RetryPolicy, Signal, step, workflow
from durable.codec import AesGcmCodec
from durable.errors import ConfigurationError, RunExistsError, RunFailedError, StoreUnavailableError
from durable.replay.file import ExportedRun, read_runs
from runtime import Client, Runtime
from runtime.client.timeline import read_timeline
from runtime.replay import Selection, replay_store
from runtime.replay.transfer import export_run, import_runs
from runtime.store.memory import MemoryStore
from runtime.store.protocol import Store
from runtime.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio
go = Signal("go", int)
calls: list[str] = []


@step(retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
async def flaky(number: int) -> int:
    calls.append("flaky")
    raise ValueError("no")


@step
async def undo(number: int) -> None:
    raise ValueError("cannot")


@step(compensate=undo.options(retry=RetryPolicy(max_attempts=1)))
async def once(number: int) -> int:
    return number


@workflow(messages=[go])
async def grandchild(ctx: Context) -> int:
    return await ctx.wait_signal(go)


@workflow
async def child(ctx: Context) -> int:
    return await ctx.child_workflow(grandchild.options(id="grandchild"))


@workflow(messages=[go])
async def flow(ctx: Context, text: str) -> int:
    ctx.log.info("began")
    ctx.publish("size", len(text))
    ctx.stream("lines").write("one")
    ctx.stream("lines").write("two")
    ctx.set_attributes(region="eu")
    try:
        await ctx.step(flaky, 1)
    except ValueError:
        pass
    await ctx.start_child(child.options(id="child"))
    await ctx.ask_user("Which?", str, key="which")
    return await ctx.wait_signal(go)


@workflow
async def fails(ctx: Context) -> None:
    await ctx.step(once, 1)
    raise ValueError("it failed")


@workflow
async def chain(ctx: Context, number: int) -> int:
    if number < 3:
        ctx.continue_as_new(number + 1)
    await ctx.wait_signal(go)
    return number


ALL = [flow, child, grandchild, fails, chain]
BIG = "x" * 100_000


@pytest.fixture(params=["memory", "sqlite"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    if request.param == "memory":
        both: tuple[Store, Store] = (MemoryStore(), MemoryStore())
    else:
        both = (SqliteStore(tmp_path / "a.db"), SqliteStore(tmp_path / "b.db"))
    for store in both:
        await store.open()
    yield both
    for store in both:
        await store.close()


async def exported(store: Store, workflow_id: str, codecs=(), **options) -> tuple[str, list[ExportedRun]]:
    async with Client(store, codecs=codecs) as client:
        row = await store.get_run(workflow_id)
        text = await export_run(client, row, **options)
    return text, read_runs(text, "run.json")


async def imported(store: Store, runs) -> None:
    async with Client(store) as client:
        await import_runs(client, runs, "run.json")


async def live(store: Store, codecs=()) -> None:
    async with Runtime(store, workflows=ALL, codecs=codecs) as rt:
        run = await rt.start(flow.options(id="flow"), BIG)
        await run.until_waiting("answer", timeout=30)
        while await store.get_run("grandchild") is None:
            await asyncio.sleep(0)
        await rt.get("grandchild").until_waiting("signal", timeout=30)
        failed = await rt.start(fails.options(id="fails"))
        with pytest.raises(RunFailedError):
            await failed.result(timeout=30)


async def test_open_run_arrives_whole_and_paused(stores):
    source, target = stores
    await live(source)
    _, runs = await exported(source, "flow")
    assert [one["workflow_id"] for one in runs[0].children] == ["child"]
    await imported(target, runs)
    async with Client(source) as before, Client(target) as after:
        there, here = await source.get_run("flow"), await target.get_run("flow")
        assert (here.status, here.queue, here.ready_at_us, here.owner) == ("paused", "imported", None, None)
        assert "imported from run.json, where it was waiting" in here.reason
        for name in (
            "run_id",
            "workflow",
            "origin_id",
            "first_run_id",
            "input_digest",
            "actor",
            "created_at_us",
            "seq",
        ):
            assert getattr(here, name) == getattr(there, name)
        for read in ("read_history", "read_blobs", "read_attempts", "read_attributes", "read_published"):
            assert await getattr(target, read)(here.run_id) == await getattr(source, read)(there.run_id)
        assert await target.read_stream(here.run_id, "lines", 0, 10) == await source.read_stream(
            there.run_id, "lines", 0, 10
        )
        assert [line.message for line in await target.read_logs(here.run_id, 10)] == ["began"]
        assert await target.questions() == []
        entries = (await read_timeline(after, here)).entries
        assert entries == (await read_timeline(before, there)).entries
    report = await replay_store(target, workflows=ALL)
    assert (report.ok, report.runs) == (True, 1)


async def test_workers_do_not_serve_what_was_imported(stores):
    source, target = stores
    await live(source)
    _, runs = await exported(source, "flow", tree=True)
    await imported(target, runs)
    calls.clear()
    async with Runtime(target, workflows=ALL) as rt:
        await rt.get("flow").resume()  # not even then
        await rt.get("grandchild").resume()
        other = await rt.start(grandchild.options(id="other"))
        await other.signal(go, 1)
        assert await other.result(timeout=30) == 1
        assert (await target.get_run("grandchild")).owner is None
    assert (await target.get_run("flow")).status == "paused"
    assert calls == []
    async with Runtime(target, workflows=ALL, queues=["imported"]) as rt:  # unless they are told to
        await rt.get("grandchild").signal(go, 7)
        assert await rt.get("grandchild").result(timeout=30) == 7


async def test_tree_takes_children_along(stores):
    source, target = stores
    await live(source)
    _, runs = await exported(source, "flow", tree=True, history_only=True)
    assert [run.recording.identity.workflow_id for run in runs] == ["flow", "child", "grandchild"]
    assert all(not run.attempts and not run.logs for run in runs)
    await imported(target, runs)
    assert [row.workflow_id for row in await target.children(runs[0].recording.identity.run_id)] == ["child"]
    report = await replay_store(target, workflows=ALL)
    assert (report.ok, report.runs) == (True, 3)


async def test_ended_run_arrives_as_it_ended(stores):
    source, target = stores
    await live(source)
    _, runs = await exported(source, "fails")
    await imported(target, runs)
    there, here = await source.get_run("fails"), await target.get_run("fails")
    assert (here.status, here.rollback, here.reason, here.closed_at_us) == (
        "failed", "failed", there.reason, there.closed_at_us,
    )  # fmt: skip
    async with Client(target) as client:
        with pytest.raises(RunFailedError, match="it failed"):
            await client.get("fails").result(timeout=30)
    assert (await replay_store(target, workflows=ALL, selection=Selection(all_runs=True))).ok


async def test_taken_ids_are_refused_and_nothing_is_written(stores):
    source, target = stores
    await live(source)
    _, runs = await exported(source, "flow", tree=True)
    await imported(target, runs[2:])
    with pytest.raises(RunExistsError, match="'grandchild' is taken"):
        await imported(target, runs)
    assert await target.get_run("flow") is None
    with pytest.raises(RunExistsError, match="durable replay --file"):
        await imported(source, runs)


async def test_import_that_was_cut_off_is_gone_on_with(stores, monkeypatch: pytest.MonkeyPatch):
    source, target = stores
    await live(source)
    _, runs = await exported(source, "flow")

    async def away(*_: object) -> StoreUnavailableError:
        return StoreUnavailableError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("runtime.replay.transfer.commit_one", away)
        with pytest.raises(StoreUnavailableError):
            await imported(target, runs)
    assert (await target.get_run("flow")).status == "pending"
    await imported(target, runs)
    assert (await target.get_run("flow")).status == "paused"
    assert (await replay_store(target, workflows=ALL)).ok


async def test_chain_of_an_id_arrives_in_its_order(stores):
    source, target = stores
    async with Runtime(source, workflows=ALL) as rt:
        await rt.start(chain.options(id="chain"), 1)
        while (await source.get_run("chain")).status != "waiting":
            await asyncio.sleep(0)
        first = (await source.get_run("chain")).first_run_id
        rows = []
        row = await source.get_run_by_id(first)
        while row is not None:
            rows.append(row)
            row = await source.successor(row.run_id)
        assert len(rows) == 3
        async with Client(source) as client:
            runs = [read_runs(await export_run(client, row), "x")[0] for row in rows]
    await imported(target, runs)
    assert (await target.get_run("chain")).run_id == rows[-1].run_id
    assert [(await target.get_run_by_id(row.run_id)).status for row in rows] == [
        "continued_as_new", "continued_as_new", "paused",
    ]  # fmt: skip
    assert (await replay_store(target, workflows=ALL, selection=Selection(all_runs=True))).runs == 3


async def test_run_that_has_not_begun_arrives_with_its_input(stores):
    source, target = stores
    async with Client(source) as client:
        await client.start(flow.options(id="later", delay=3600), "text")
    _, runs = await exported(source, "later")
    await imported(target, runs)
    row = await target.get_run("later")
    assert (row.status, row.seq) == ("paused", 0)
    assert [item.fact.kind for item in await target.read_inbox(row.run_id)] == ["RunStarted"]
    assert (await replay_store(target, workflows=ALL)).ok


async def test_encrypted_values_stay_encrypted_unless_they_are_asked_for():
    key = AesGcmCodec(b"k" * 32)
    source = MemoryStore()
    await live(source, codecs=[key])
    text, runs = await exported(source, "flow", codecs=[key])
    assert "xxxx" not in text
    plain, disclosed = await exported(source, "flow", codecs=[key], decrypt=True)
    assert BIG in plain
    for what, codecs, ok in ((runs, [key], True), (runs, [], False), (disclosed, [], True), (disclosed, [key], True)):
        target = MemoryStore()
        await imported(target, what)
        assert (await replay_store(target, workflows=ALL, codecs=codecs)).ok is ok
    with pytest.raises(ConfigurationError, match="needs the codec 'aes-gcm'"):
        await exported(source, "flow", decrypt=True)


async def test_file_that_lacks_what_a_store_must_know_is_refused(stores):
    source, target = stores
    await live(source)
    _, [run] = await exported(source, "fails")
    broken = ExportedRun(run.recording, {**run.about, "status": "odd"})
    with pytest.raises(ConfigurationError, match=r"run\.json is no exported run: ValueError"):
        await imported(target, [broken])
    with pytest.raises(ConfigurationError, match="KeyError"):
        await imported(target, [ExportedRun(run.recording, {})])
