"""Virtual time: it is skipped while nothing can happen, moved by hand, frozen; limits of steps follow it."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from tested_shop import counts_down, flaky, go, listens, month, runs, silent, slow

from durable.errors import ResultTimeoutError, RunFailedError, StepTimeoutError
from durable.testing import IdleError, VirtualClock, WorkflowEnvironment

pytestmark = pytest.mark.anyio

START = datetime(2030, 1, 1, tzinfo=UTC)


async def test_a_month_of_sleep_and_an_hour_of_retries_are_skipped(durable_env):
    durable_env.stub(flaky, sequence=[ConnectionError("down")] * 59 + [7])
    assert await durable_env.execute(month) == 7
    assert durable_env.now() == START + timedelta(days=30, minutes=59)
    calls = durable_env.calls(flaky)
    assert [call.attempt for call in calls] == list(range(1, 61))
    assert {b.at - a.at for a, b in itertools.pairwise(calls)} == {timedelta(minutes=1)}
    assert len({call.idempotency_key for call in calls}) == 1


async def test_time_stands_still_unless_it_is_waited_for(durable_env):
    run = await durable_env.start(month)
    await durable_env.until_idle()
    assert durable_env.now() == START
    assert await run.status() == "waiting"


async def test_advance_lets_happen_what_is_due_on_the_way_and_no_more(durable_env):
    durable_env.stub(flaky, returns=7)
    run = await durable_env.start(month)
    await durable_env.advance(timedelta(days=29))
    assert durable_env.calls() == []
    await durable_env.advance_to(START + timedelta(days=31))
    assert [call.at for call in durable_env.calls()] == [START + timedelta(days=30)]
    assert await run.status() == "completed"
    with pytest.raises(ValueError, match="expected an instant not before 2030-02-01"):
        await durable_env.advance_to(START)


async def test_frozen_time_is_not_skipped_and_says_when_the_next_thing_happens():
    async with WorkflowEnvironment(frozen=True) as env:
        env.stub(flaky, returns=7)
        run = await env.start(month)
        with pytest.raises(IdleError, match=r"sleep until 2030-01-31 .*\n.*await env.advance\(2592000.0\)"):
            await run.result()
        await env.advance(2592000)
        assert await run.result() == 7
        env.frozen = False
        again = await env.start(month)
        async with env.freeze():
            with pytest.raises(IdleError):
                await again.result()
        assert await again.result() == 7


async def test_time_starts_where_the_test_says():
    start = datetime(2026, 5, 4, 12, tzinfo=UTC)
    async with WorkflowEnvironment(start_at=start) as env:
        await env.execute(counts_down, 2)
        assert env.now() == start + timedelta(seconds=2)


async def test_a_delayed_start_begins_when_it_is_due(durable_env):
    run = await durable_env.start(counts_down.options(delay=60), 0)
    await durable_env.advance(59)
    assert await run.status() == "pending"
    assert await run.result() == "done"
    assert durable_env.now() == START + timedelta(seconds=60)


async def test_a_real_step_that_does_not_return_is_ended_by_its_timeout_in_virtual_time(durable_env):
    durable_env.allow(slow)
    run = await durable_env.start(runs, "slow")
    await durable_env.until_step(slow)
    await durable_env.advance(29)
    assert await run.status() == "running"
    await durable_env.advance(1)
    with pytest.raises(RunFailedError, match="took longer than its timeout of 30 s") as caught:
        await run.result()
    assert isinstance(caught.value.__cause__, StepTimeoutError)


async def test_a_stub_that_takes_longer_than_the_timeout_times_out(durable_env):
    durable_env.stub(slow, returns="late", after=31)
    with pytest.raises(RunFailedError, match="took longer than its timeout of 30 s"):
        await durable_env.execute(runs, "slow")
    assert durable_env.now() == START + timedelta(seconds=30)


async def test_silence_ends_an_attempt_in_virtual_time_and_the_next_one_knows_what_was_said(durable_env):
    durable_env.allow(silent)
    run = await durable_env.start(runs, "silent")
    await durable_env.until_step(silent)
    await durable_env.advance(10)
    await durable_env.until_step(silent, times=2)
    assert durable_env.calls(silent)[1].at == START + timedelta(seconds=11)
    await durable_env.advance(10)
    with pytest.raises(RunFailedError, match="heartbeat_timeout of 10 s"):
        await run.result()


async def test_a_result_in_time_counts_virtual_time(durable_env):
    run = await durable_env.start(month)
    with pytest.raises(ResultTimeoutError, match="within 86400 s of virtual time"):
        await run.result(timeout=timedelta(days=1))
    assert durable_env.now() == START + timedelta(days=1)


async def test_what_another_task_of_the_test_does_comes_before_time_is_skipped(durable_env):
    run = await durable_env.start(listens)

    async def sends_later():
        await run.until_waiting("go")
        await asyncio.sleep(0)
        await run.signal(go, True)

    result, _ = await asyncio.gather(run.result(), sends_later())
    assert result == 0
    assert durable_env.now() == START


def test_alarms_ring_in_order_at_their_own_instants():
    clock, rung = VirtualClock(START), []
    clock.call_at(clock.now_us() + 2, lambda: rung.append(("b", clock.now_us())))
    clock.call_at(clock.now_us() + 1, lambda: rung.append(("a", clock.now_us())))
    taken_back = clock.call_at(clock.now_us() + 1, lambda: rung.append(("never", 0)))
    taken_back.cancel()
    clock.call_at(clock.now_us() + 2, lambda: rung.append(("c", clock.now_us())))
    begin = clock.now_us()
    clock.move_to(begin + 5)
    assert rung == [("a", begin + 1), ("b", begin + 2), ("c", begin + 2)]
    assert clock.now_us() == begin + 5
    clock.move_to(begin)
    assert clock.now_us() == begin + 5
