"""What operators do by hand, where the order of things matters: answering twice, retrying, ending a rollback, secrets at rest."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from durable import Context, RetryPolicy, StepInDoubtError, step, workflow
from durable.codec import AesGcmCodec, Secret
from durable.errors import QuestionNotFoundError, RunFailedError, RunTerminatedError
from durable.handle import RollbackStatus, RunStatus
from runtime import Client

pytestmark = pytest.mark.anyio

done: list[str] = []
reached: asyncio.Event
may_undo: bool


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record."""
    global reached, may_undo
    reached, may_undo = asyncio.Event(), False
    done.clear()


@workflow
async def asks(ctx: Context) -> str:
    decision = await ctx.ask_approval("go?", key="go")
    return decision.by


async def test_second_answer_before_a_worker_took_the_first_is_refused(open_runtime, open_client):
    async with open_runtime(asks) as rt:
        run = await rt.start(asks.options(id="x"))
        await run.until_waiting("approval", timeout=30)
    async with open_client() as client:
        await client.get("x").approve(by="alice", key="go")
        with pytest.raises(QuestionNotFoundError, match="has its answer already"):
            await client.get("x").reject(by="bob", key="go")
        with pytest.raises(QuestionNotFoundError, match="'go' of 'x' has its answer already"):
            await client.get("x").reject(by="bob")
        assert await client.get("x").questions() == []
    async with open_runtime(asks) as rt:
        assert await rt.get("x").result(timeout=30) == "user:alice"


@step(delivery="at_most_once")
async def hand_out() -> None:
    done.append("handed out")
    reached.set()
    await asyncio.Event().wait()


@workflow
async def hands_out(ctx: Context) -> None:
    await ctx.step(hand_out)


async def in_doubt(open_runtime) -> None:
    async with open_runtime(hands_out, grace_seconds=0) as rt:
        await rt.start(hands_out.options(id="x"))
        await reached.wait()
    async with open_runtime(hands_out) as rt:
        with pytest.raises(RunFailedError) as caught:
            await rt.get("x").result(timeout=30)
        assert isinstance(caught.value.__cause__, StepInDoubtError)


async def test_retry_never_runs_an_at_most_once_step_again(open_runtime):
    await in_doubt(open_runtime)
    async with open_runtime(hands_out) as rt:
        again = await rt.get("x").retry()
        with pytest.raises(RunFailedError) as caught:
            await again.result(timeout=30)
        assert isinstance(caught.value.__cause__, StepInDoubtError)
    assert done == ["handed out"]


async def test_retry_of_a_terminated_run_leaves_its_at_most_once_step_in_doubt(open_runtime):
    async with open_runtime(hands_out, grace_seconds=0) as rt:
        run = await rt.start(hands_out.options(id="x"))
        await reached.wait()
        await run.terminate()
    async with open_runtime(hands_out) as rt:
        again = await rt.get("x").retry()
        with pytest.raises(RunFailedError) as caught:
            await again.result(timeout=30)
        assert isinstance(caught.value.__cause__, StepInDoubtError)
    assert done == ["handed out"]


async def undo(name: str) -> None:
    if not may_undo:
        reached.set()
        await asyncio.Event().wait()
    done.append(f"undo {name}")


@step(compensate=undo)
async def do(name: str) -> str:
    return name


@step
async def fail() -> None:
    raise ValueError("no")


@workflow
async def fails_late(ctx: Context) -> None:
    await ctx.step(do, "a")
    await ctx.step(fail)


async def test_rollback_of_a_run_that_was_terminated_meanwhile_can_be_resumed(open_runtime):
    global may_undo
    async with open_runtime(fails_late, grace_seconds=0) as rt:
        run = await rt.start(fails_late.options(id="x"))
        await reached.wait()
        await run.terminate("enough")
        with pytest.raises(RunTerminatedError):
            await run.result(timeout=30)
        assert (await run.row()).rollback is RollbackStatus.FAILED
    may_undo = True
    async with open_runtime(fails_late) as rt:
        run = rt.get("x")
        await run.rollback()

        async def is_undone() -> bool | None:
            return True if (await run.row()).rollback is RollbackStatus.COMPLETED else None

        await asyncio.wait_for(rt.watch.until(is_undone, lambda change: True), 30)
        assert await run.status() is RunStatus.TERMINATED
    assert done == ["undo a"]


@step(retry=RetryPolicy(max_attempts=2, initial_interval=0.001))
async def leaks(secret: Secret[str]) -> None:
    raise ValueError(f"bad card {secret.reveal()}")


@workflow
async def uses_secret(ctx: Context, secret: Secret[str]) -> None:
    await ctx.step(leaks, secret)


async def test_encrypted_store_holds_no_word_of_a_secret(open_runtime, url):
    codecs = [AesGcmCodec(os.urandom(32))]
    async with open_runtime(uses_secret, codecs=codecs) as rt:
        run = await rt.start(uses_secret.options(id="x"), Secret("hunter2"))
        with pytest.raises(RunFailedError, match="hunter2"):
            await run.result(timeout=30)
    async with Client(url) as client:
        assert (await client.get("x").row()).reason == "ValueError"
    for path in Path(url.removeprefix("sqlite:///")).parent.glob("*.db*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes()
