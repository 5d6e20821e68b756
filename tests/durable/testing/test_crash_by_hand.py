"""``env.crash()`` and ``replay_every_turn``: all memory is lost, what is on record goes on."""

import asyncio

import pytest
from tested_shop import asks, charge, fetch, flaky, go, listens, month, pays_and_fails, total, undo

from durable import Context, step, workflow
from durable.errors import RunFailedError, StepInDoubtError, StepLostError
from durable.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

begun: asyncio.Event
seen: list[str]


@step
async def waits() -> str:
    seen.append("began")
    begun.set()
    await asyncio.Event().wait()
    return "never"


@step(delivery="at_most_once")
async def pays_once() -> str:
    return await waits()


@workflow
async def one(ctx: Context, name: str) -> str:
    return await ctx.step({"waits": waits, "pays_once": pays_once}[name])


@pytest.fixture(autouse=True)
def fresh():
    global begun, seen
    begun, seen = asyncio.Event(), []


async def test_a_run_that_sleeps_or_waits_goes_on_after_a_crash(durable_env):
    durable_env.stub(flaky, returns=7)
    sleeper, asker = await durable_env.start(month), await durable_env.start(asks)
    await asker.until_waiting("name")
    durable_env.crash()
    await asker.answer("Ada")
    durable_env.crash()
    await asker.until_waiting("approval")
    durable_env.crash()
    await asker.approve(by="alice")
    assert await asker.result() == ["Ada", "user:alice", ""]
    assert await sleeper.result() == 7


async def test_an_attempt_that_ran_is_lost_and_begins_again_with_the_same_key(durable_env):
    durable_env.allow(waits)
    run = await durable_env.start(one, "waits")
    await begun.wait()
    durable_env.stub(waits, returns="second")
    durable_env.crash()
    assert await run.result() == "second"
    assert seen == ["began"]
    first, second = durable_env.calls(waits)
    assert (first.idempotency_key, first.attempt) == (second.idempotency_key, second.attempt)


async def test_a_step_that_is_lost_again_and_again_fails(durable_env):
    durable_env.allow(waits)
    run = await durable_env.start(one, "waits")
    for number in (1, 2, 3):
        await durable_env.until_step(waits, times=number)
        durable_env.crash()
    with pytest.raises(RunFailedError) as caught:
        await run.result()
    assert isinstance(caught.value.__cause__, StepLostError)


async def test_an_at_most_once_step_is_in_doubt_once_it_may_have_begun(durable_env):
    durable_env.allow(pays_once)
    run = await durable_env.start(one, "pays_once")
    await durable_env.until_step(pays_once)
    durable_env.crash()
    with pytest.raises(RunFailedError) as caught:
        await run.result()
    assert isinstance(caught.value.__cause__, StepInDoubtError)
    assert len(durable_env.calls(pays_once)) == 1


async def test_a_retry_that_waits_is_on_record(durable_env):
    durable_env.stub(flaky, sequence=[ConnectionError("down"), 7])
    run = await durable_env.start(month)
    await durable_env.until_step(flaky)
    durable_env.crash()
    assert await run.result() == 7
    assert [call.attempt for call in durable_env.calls(flaky)] == [1, 2]


async def test_a_rollback_survives_a_crash_in_its_middle(durable_env):
    durable_env.stub(charge, lambda name: f"receipt {name}")
    durable_env.stub(undo, after=5)
    run = await durable_env.start(pays_and_fails)
    await durable_env.until_step(undo, times=2)
    durable_env.crash()
    with pytest.raises(RunFailedError, match="it was rolled back"):
        await run.result()
    assert [call.arguments["receipt"] for call in durable_env.calls(undo)] == ["receipt b", "receipt a", "receipt a"]


async def test_with_memory_dropped_after_every_turn_runs_are_the_same():
    async with WorkflowEnvironment(allow=[fetch]) as env:
        env.replay_every_turn = True
        assert env.replay_every_turn
        run = await env.start(listens)
        assert await run.update("add", 5) == 5
        assert await run.query(total) == 5
        await run.signal(go, True)
        assert await run.result() == 5
