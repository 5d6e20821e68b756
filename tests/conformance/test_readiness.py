"""When a run wants a worker: what a commit leaves due, and what wakes whom."""

import pytest

from conformance.build import (
    LATER,
    SCHEDULED,
    SECOND,
    STARTED,
    T0,
    begin,
    begin_closed,
    begin_paused,
    begin_stuck,
    begin_waiting,
    claimed_ids,
    ended,
    fact,
    get,
    message,
    new_run,
    outcome,
    reclaim,
)
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio

MESSAGES = [
    EventKind.SIGNAL_RECEIVED,
    EventKind.UPDATE_ACCEPTED,
    EventKind.CANCEL_REQUESTED,
    EventKind.RUN_RESUMED,
]
BEGIN = {RunStatus.PAUSED: begin_paused, RunStatus.STUCK: begin_stuck, RunStatus.WAITING: begin_waiting}
WAKERS = {
    RunStatus.PAUSED: {EventKind.RUN_RESUMED, EventKind.CANCEL_REQUESTED},
    RunStatus.STUCK: {EventKind.RUN_RESUMED},
    RunStatus.WAITING: {*MESSAGES, EventKind.STEP_COMPLETED},
}


def parametrise_wakers(function):
    cases = [(status, kind) for status in WAKERS for kind in [*MESSAGES, EventKind.STEP_COMPLETED]]
    return pytest.mark.parametrize(("status", "kind"), cases)(function)


@parametrise_wakers
async def test_run_is_woken_by_the_facts_of_its_status_only(store, status, kind):
    await BEGIN[status](store)
    await store.send(message(content=fact(kind, command=1)))
    assert await claimed_ids(store) == (["w"] if kind in WAKERS[status] else [])


@parametrise_wakers
async def test_fact_that_came_during_a_turn_wakes_the_status_that_the_turn_leaves(store, status, kind):
    author = await begin(store)
    await store.send(message(content=fact(kind, command=1), at_us=T0 + 3))
    run = await author.commit(STARTED, consumed=author.row_ids, change=RunChange(status, release=True))
    wakes = kind in WAKERS[status]
    assert run.ready_at_us == (T0 + 3 if wakes else None)
    assert await claimed_ids(store, now_us=T0 + 3) == (["w"] if wakes else [])


async def test_time_of_the_change_is_when_the_run_is_due_by_itself(store):
    author = await begin(store)
    change = RunChange(RunStatus.WAITING, release=True, ready_at_us=T0 + 7)
    assert (await author.commit(STARTED, consumed=author.row_ids, change=change)).ready_at_us == T0 + 7
    assert await claimed_ids(store, now_us=T0 + 6) == []
    assert await claimed_ids(store, now_us=T0 + 7) == ["w"]


@pytest.mark.parametrize("own", [None, 2, 9])
async def test_unread_rows_make_the_run_ready_at_once(store, own):
    author = await begin(store)
    await store.send(message(at_us=T0 + 6))
    await store.send(message(at_us=T0 + 5))
    change = RunChange(RunStatus.WAITING, release=True, ready_at_us=None if own is None else T0 + own)
    run = await author.commit(STARTED, consumed=author.row_ids, change=change)
    assert run.ready_at_us == T0 + (2 if own == 2 else 5)


async def test_commit_that_read_everything_takes_back_what_a_message_made_due(store):
    author = await begin(store)
    await store.send(message())
    rows = await store.read_inbox(author.run.run_id)
    run = await author.commit(STARTED, consumed=[row.row_id for row in rows], change=RunChange(RunStatus.WAITING))
    assert run.ready_at_us is None


@pytest.mark.parametrize("status", [RunStatus.PAUSED, RunStatus.STUCK])
async def test_paused_and_stuck_runs_have_no_time_of_their_own(store, status):
    author = await begin(store)
    change = RunChange(status, release=True, ready_at_us=T0 + 5)
    assert (await author.commit(STARTED, consumed=author.row_ids, change=change)).ready_at_us is None
    assert await claimed_ids(store, now_us=LATER) == []


async def test_turn_without_change_leaves_the_time_alone(store):
    author = await begin(store)
    await store.send(message(at_us=T0 + 5))
    run = await author.commit(change=None)
    assert run.ready_at_us == T0 + 5
    assert run.status is RunStatus.PENDING


async def test_stuck_before_the_first_turn_goes_on_when_resumed(store):
    author = await begin(store)
    stuck = RunChange(RunStatus.STUCK, release=True, code="v1", reason="no such workflow")
    run = await author.commit(change=stuck)
    assert (run.seq, run.ready_at_us, run.owner) == (0, None, None)
    await store.send(message(content=fact(EventKind.RUN_RESUMED)))
    again = await reclaim(store)
    assert [row.fact.kind for row in again.inbox] == [EventKind.RUN_STARTED, EventKind.RUN_RESUMED]


async def test_order_to_resume_that_was_consumed_does_not_wake_a_stuck_run_twice(store):
    await begin_stuck(store)
    await store.send(message())
    await store.send(message(content=fact(EventKind.RUN_RESUMED)))
    author = await reclaim(store)
    resumed = author.inbox[1].row_id
    run = await author.commit(consumed=[resumed], change=RunChange(RunStatus.STUCK, release=True, code="v2"))
    assert run.ready_at_us is None
    assert [row.fact.kind for row in await store.read_inbox(run.run_id)] == [EventKind.SIGNAL_RECEIVED]


async def test_results_held_for_a_paused_run_wait_for_the_order_to_resume(store):
    author = await begin(store)
    run = await author.commit(STARTED, SCHEDULED, consumed=author.row_ids, change=RunChange(RunStatus.PAUSED))
    held = await author.commit(inbox=[outcome(run, 1)], change=None)
    assert held.ready_at_us is None
    await store.send(message(content=fact(EventKind.RUN_RESUMED), at_us=T0 + SECOND))
    again = await reclaim(store)
    assert [row.fact.kind for row in again.inbox] == [EventKind.STEP_COMPLETED, EventKind.RUN_RESUMED]


async def test_fact_that_a_turn_leaves_for_its_own_run_wakes_it(store):
    author = await begin(store)
    change = RunChange(RunStatus.WAITING, release=True)
    later = message(run_id=author.run.run_id, content=Fact(EventKind.TIMER_FIRED, 1), at_us=T0 + 4)
    run = await author.commit(STARTED, consumed=author.row_ids, inbox=[later], change=change)
    assert run.ready_at_us == T0 + 4


async def test_closed_run_is_never_due(store):
    author = await begin(store)
    await store.send(message())
    run = await author.commit(
        STARTED, fact(EventKind.RUN_COMPLETED), consumed=author.row_ids, change=ended(ready_at_us=T0)
    )
    assert run.ready_at_us is None
    assert await claimed_ids(store) == []


async def test_closed_run_whose_rollback_runs_has_a_time_of_its_own(store):
    await begin_closed(store, status=RunStatus.FAILED, rollback=RollbackStatus.FAILED)
    await store.send(message(content=fact(EventKind.ROLLBACK_REQUESTED)))
    author = await reclaim(store)
    change = RunChange(RunStatus.FAILED, RollbackStatus.RUNNING, ready_at_us=T0 + 9)
    run = await author.commit(fact(EventKind.ROLLBACK_REQUESTED), consumed=author.row_ids, change=change)
    assert (run.ready_at_us, run.closed_at_us, run.owner) == (T0 + 9, T0 + SECOND, "worker")
    done = RunChange(RunStatus.FAILED, RollbackStatus.COMPLETED, release=True, ready_at_us=T0 + 9)
    run = await author.commit(fact(EventKind.ROLLBACK_COMPLETED), change=done)
    assert (run.ready_at_us, run.rollback, run.owner) == (None, RollbackStatus.COMPLETED, None)


async def test_run_that_was_not_released_stays_with_its_owner_while_it_waits(store):
    author = await begin(store, worker_id="a")
    await author.commit(STARTED, consumed=author.row_ids, change=RunChange(RunStatus.WAITING))
    await store.send(message())
    assert await claimed_ids(store, "b") == []
    assert (await get(store)).owner == "a"


async def test_delay_counts_until_the_first_claim_only(store):
    await store.start(new_run(ready_at_us=T0 + 5))
    author = await reclaim(store)
    await store.send(message(at_us=T0 + 1))
    assert (await get(store)).ready_at_us == T0 + 1
    assert author.run.seq == 0
