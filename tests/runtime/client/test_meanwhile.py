"""What becomes of a run between two calls of a client to the store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import ApprovalRejectedError, Context, Signal, workflow
from durable.errors import QuestionNotFoundError, RunClosedError, RunNotFoundError
from durable.handle import RunStatus
from runtime import Client, Runtime, Worker

pytestmark = pytest.mark.anyio

go = Signal("go", int)


@workflow(messages=[go])
async def goes_on(ctx: Context, number: int) -> int:
    await ctx.wait_signal(go)
    ctx.continue_as_new(number + 1)


@workflow(messages=[go])
async def counts(ctx: Context) -> int:
    total = 0
    async for number in ctx.signals(go):
        total += number
    return total


@workflow
async def answers(ctx: Context, size: int) -> str:
    return "x" * size


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'durable.db'}"


async def until_moved(client: Client, run: Any, seq: int) -> None:
    """Wait until a run's history is longer, or another run goes on for it."""

    async def look() -> bool | None:
        row = await run.row()
        return row.seq > seq or row.status.is_closed or None

    async with asyncio.timeout(30):
        await client.watch.until(look, lambda change: True)


async def test_terminating_a_run_that_goes_on_as_a_new_one_meanwhile_ends_that_one(url, monkeypatch):
    async with Runtime(url, workflows=[goes_on]) as rt:
        run = await rt.start(goes_on.options(id="c"), 1)
        await run.until_waiting("go", timeout=30)
        read = rt.store.read_history

        async def read_slowly(*args: Any) -> Any:
            events = await read(*args)
            monkeypatch.undo()
            await run.signal(go, 1)
            await until_moved(rt, run, events[-1].seq + 1000)
            return events

        monkeypatch.setattr(rt.store, "read_history", read_slowly)
        await rt.get("c").terminate("enough")
        row = await rt.get("c").row()
        assert (row.status, row.run_id == run.run_id) == (RunStatus.TERMINATED, False)


@pytest.mark.parametrize("replaces", [False, True])
async def test_run_that_moves_while_its_history_is_read_can_be_ended(url, monkeypatch, replaces):
    """Reading all of a long history takes longer than a turn of a run that turns in a circle."""
    async with Runtime(url, workflows=[counts]) as rt, Client(url) as client:
        run = await rt.start(counts.options(id="c"))
        await run.until_waiting("go", timeout=30)
        for number in range(3):
            await run.signal(go, number)
            await until_moved(rt, run, number + 1)
        read, long_reads = client.store.read_history, []

        async def read_for_long(*args: Any) -> Any:
            events = await read(*args)
            if len(events) > 2:
                long_reads.append(len(events))
                assert len(long_reads) < 4, "the run moves faster than it is read"
                await run.signal(go, 1)
                await until_moved(rt, run, events[-1].seq)
            return events

        monkeypatch.setattr(client.store, "read_history", read_for_long)
        if replaces:
            await client.start(counts.options(id="c", on_conflict="replace"))
        else:
            await client.get("c").terminate()
        assert (await run.row()).status is RunStatus.TERMINATED


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("method", ["get_run_by_id", "read_history", "read_blobs"])
async def test_result_of_a_run_that_is_purged_meanwhile_says_that_there_is_none(url, monkeypatch, method, size):
    async with Runtime(url, workflows=[answers]) as rt:
        run = await rt.start(answers, size)
        await run.result(timeout=30)
        read = getattr(rt.store, method)

        async def purge_first(*args: Any, **options: Any) -> Any:
            await rt.store.purge(2**61, 10)
            return await read(*args, **options)

        async def purge_then(*args: Any, **options: Any) -> Any:
            found = await read(*args, **options)
            await rt.store.purge(2**61, 10)
            return found

        monkeypatch.setattr(rt.store, method, purge_then if method == "get_run_by_id" else purge_first)
        if method == "read_blobs" and size == 1:
            assert await run.result(timeout=30) == "x"
        else:
            with pytest.raises(RunNotFoundError):
                await run.result(timeout=30)


async def test_result_of_a_run_that_went_on_and_is_purged_meanwhile_is_no_failure(url, monkeypatch):
    async with Runtime(url, workflows=[goes_on]) as rt:
        run = await rt.start(goes_on.options(id="c"), 1)
        await run.signal(go, 1)
        await rt.get("c", run.run_id).until_waiting("go", timeout=30)
        await until_moved(rt, run, 1000)
        read = rt.store.successor

        async def purge_first(*args: Any) -> Any:
            await rt.store.purge(2**61, 10)
            return await read(*args)

        monkeypatch.setattr(rt.store, "successor", purge_first)
        with pytest.raises(RunNotFoundError):
            await run.result(timeout=30)


@workflow
async def asks(ctx: Context) -> str:
    try:
        decision = await ctx.ask_approval("Pay?", key="pay")
    except ApprovalRejectedError:
        return "rejected"
    return f"approved by {decision.by}"


@pytest.mark.parametrize("is_served", [True, False])
async def test_of_two_who_decide_at_once_only_the_one_who_decided_is_told_so(url, monkeypatch, is_served):
    async with Client(url) as alice, Client(url) as bob:
        async with Runtime(url, workflows=[asks]) as rt:
            run = await rt.start(asks.options(id="a"))
            await run.until_waiting("approval", timeout=30)
        read = bob.store.read_inbox

        async def read_slowly(*args: Any) -> Any:
            rows = await read(*args)
            monkeypatch.undo()
            await alice.get("a").approve(by="alice")
            if is_served:
                async with Worker(url, workflows=[asks]):
                    await alice.get("a").result(timeout=30)
            return rows

        monkeypatch.setattr(bob.store, "read_inbox", read_slowly)
        with pytest.raises(RunClosedError if is_served else QuestionNotFoundError):
            await bob.get("a").reject(by="bob")
        async with Worker(url, workflows=[asks]):
            assert await alice.get("a").result(timeout=30) == "approved by user:alice"
