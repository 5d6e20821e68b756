"""Attempts of steps kept beside the history, and heartbeats."""

import pytest

from conformance.build import COMPLETED, SCHEDULED, STARTED, T0, attempt, begin, ended, fact, outcome, task
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.row import AttemptOutcome

pytestmark = pytest.mark.anyio

STARTED_ONE, FAILED, LOST = AttemptOutcome.STARTED, AttemptOutcome.FAILED, AttemptOutcome.LOST


async def test_attempt_is_kept_as_it_was_given(store):
    author = await begin(store)
    row = attempt(author.run, 1, AttemptOutcome.TIMED_OUT, next_at_us=T0 + 9, error='{"class":"E"}', heartbeat='"half"')
    await author.commit(STARTED, attempts=[row])
    [kept] = await store.read_attempts(author.run.run_id)
    assert kept == row
    assert isinstance(kept.outcome, AttemptOutcome)


async def test_attempts_are_read_in_order_of_one_step_or_of_all(store):
    author = await begin(store)
    run = author.run
    await author.commit(STARTED, attempts=[attempt(run, 1, command=2), attempt(run, 1), attempt(run, 2, command=2)])
    assert await store.read_attempts(run.run_id, 2) == [
        attempt(run, 1, command=2),
        attempt(run, 2, command=2),
    ]
    assert await store.read_attempts(run.run_id) == [
        attempt(run, 1),
        attempt(run, 1, command=2),
        attempt(run, 2, command=2),
    ]
    assert await store.read_attempts(run.run_id, 3) == []


async def test_outcome_takes_the_place_of_the_start_of_its_attempt(store):
    author = await begin(store)
    run = author.run
    await author.commit(STARTED, attempts=[attempt(run, 1, STARTED_ONE)])
    await author.commit(attempts=[attempt(run, 1), attempt(run, 2, STARTED_ONE)])
    assert await store.read_attempts(run.run_id) == [attempt(run, 1), attempt(run, 2, STARTED_ONE)]


async def test_lost_attempts_are_kept_beside_the_next_of_their_number(store):
    author = await begin(store)
    run = author.run
    for outcomes in ([STARTED_ONE], [LOST, STARTED_ONE], [LOST, STARTED_ONE], [FAILED]):
        await author.commit(attempts=[attempt(run, 1, result) for result in outcomes])
    assert [row.outcome for row in await store.read_attempts(run.run_id)] == [LOST, LOST, FAILED]


@pytest.mark.parametrize("at_once", [True, False])
async def test_first_ten_and_last_ten_attempts_of_a_step_are_kept(store, at_once):
    author = await begin(store)
    run = author.run
    rows = [attempt(run, number) for number in range(1, 51)]
    batches = [rows] if at_once else [[row] for row in rows]
    for batch in batches:
        await author.commit(attempts=batch)
    await author.commit(attempts=[attempt(run, 1, command=2)])
    kept = [row.attempt for row in await store.read_attempts(run.run_id, 1)]
    assert kept == [*range(1, 11), *range(41, 51)]
    assert len(await store.read_attempts(run.run_id, 2)) == 1


async def test_twenty_attempts_are_all_kept(store):
    author = await begin(store)
    await author.commit(attempts=[attempt(author.run, number) for number in range(1, 21)])
    assert [row.attempt for row in await store.read_attempts(author.run.run_id)] == list(range(1, 21))


async def test_newest_heartbeat_is_kept(store):
    run_id = (await begin(store)).run.run_id
    assert await store.read_heartbeat(run_id, 1) is None
    assert await store.heartbeat(run_id, 1, '"half"', T0 + 1)
    assert await store.heartbeat(run_id, 2, '"other"', T0 + 2)
    assert await store.read_heartbeat(run_id, 1) == (T0 + 1, '"half"')
    assert await store.heartbeat(run_id, 1, None, T0 + 3)
    assert await store.read_heartbeat(run_id, 1) == (T0 + 3, None)
    assert await store.read_heartbeat(run_id, 2) == (T0 + 2, '"other"')


async def test_heartbeat_of_an_unknown_run_is_refused(store):
    assert not await store.heartbeat("nobody", 1, None, T0)


async def test_heartbeat_says_that_the_task_was_cancelled(store):
    author = await begin(store)
    run_id = author.run.run_id
    await author.commit(STARTED, SCHEDULED, tasks=[task(author.run)])
    await store.claim_tasks("b", ["default"], ["charge"], 1, T0)
    assert await store.heartbeat(run_id, 1, '"kept"', T0 + 1)
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1])
    assert not await store.heartbeat(run_id, 1, '"late"', T0 + 2)
    assert await store.read_heartbeat(run_id, 1) == (T0 + 1, '"kept"')


async def test_heartbeat_says_that_the_outcome_is_known(store):
    run = (await begin(store)).run
    await store.send(outcome(run, 1))
    assert not await store.heartbeat(run.run_id, 1, None, T0)
    assert await store.heartbeat(run.run_id, 2, None, T0)


async def test_heartbeat_says_that_the_run_has_ended(store):
    author = await begin(store)
    await author.commit(STARTED, COMPLETED, change=ended())
    assert not await store.heartbeat(author.run.run_id, 1, None, T0)


async def test_heartbeat_of_a_compensation_after_the_end_is_kept(store):
    author = await begin(store)
    await author.commit(STARTED, COMPLETED, change=ended(RunStatus.FAILED, rollback=RollbackStatus.RUNNING))
    assert await store.heartbeat(author.run.run_id, 1, None, T0)
