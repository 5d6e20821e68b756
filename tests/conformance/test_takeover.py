"""Losing workers: what others get back from the dead, and from those that leave in order."""

import pytest

from conformance.build import (
    LATER,
    QUEUES,
    SCHEDULED,
    STARTED,
    STEPS,
    T0,
    WAITING,
    begin,
    begin_paused,
    begin_waiting,
    claim,
    claimed_ids,
    commit,
    fact,
    get,
    kinds,
    message,
    new_run,
    outcome,
    reclaim,
    task,
    worker_row,
)
from durable.errors import ConflictError
from durable.handle import RunStatus
from durable.history import EventKind
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio


async def begin_holding(store, worker_id="a", status=RunStatus.RUNNING):
    """A run after its first turn that a worker still holds."""
    author = await begin(store, worker_id=worker_id)
    author.run = await author.commit(STARTED, SCHEDULED, consumed=author.row_ids, change=RunChange(status))
    return author


async def begin_with_task(store, worker_id="a", workflow_id="w"):
    """A waiting run whose task this worker holds."""
    author = await begin(store, workflow_id)
    author.run = await author.commit(
        STARTED, SCHEDULED, consumed=author.row_ids, tasks=[task(author.run)], change=WAITING
    )
    [held] = await store.claim_tasks(worker_id, QUEUES, STEPS, 1, LATER)
    return author, held


async def test_take_over_frees_the_runs_of_a_worker_that_is_dead(store):
    before = (await begin_holding(store)).run
    assert await store.take_over(T0 + 7) == 1
    run = await get(store)
    assert (run.owner, run.epoch, run.ready_at_us, run.lost) == (None, before.epoch + 1, T0 + 7, True)
    assert (run.status, run.seq) == (before.status, before.seq)
    assert await store.take_over(T0 + 7) == 0


async def test_take_over_leaves_the_living_alone(store):
    lease = await store.join(worker_row("a"), 60)
    author = await begin_holding(store, "a")
    held_author, _ = await begin_with_task(store, "a", "other")
    assert await store.take_over(LATER) == 0
    assert await get(store) == author.run
    assert (await store.read_tasks(held_author.run.run_id))[0].owner == "a"
    await lease.end()


async def test_take_over_leaves_free_runs_alone(store):
    run = (await begin_waiting(store)).run
    assert await store.take_over(LATER) == 0
    assert await get(store) == run


async def test_lost_owner_is_refused_from_then_on(store):
    author = await begin_holding(store)
    await store.take_over(T0)
    [refused] = await commit(store, author.turn(SCHEDULED))
    assert isinstance(refused, ConflictError)


async def test_loss_is_seen_by_the_claim_and_cleared_by_the_commit_of_the_next_owner(store):
    await begin_holding(store)
    await store.take_over(T0)
    author = await reclaim(store, worker_id="b")
    assert author.run.lost
    assert (await get(store)).lost
    assert not (await author.commit(SCHEDULED)).lost


async def test_loss_is_cleared_by_a_commit_without_change(store):
    await begin_holding(store)
    await store.take_over(T0)
    author = await reclaim(store, worker_id="b")
    assert not (await author.commit(change=None)).lost


async def test_loss_is_kept_by_who_owns_nothing(store):
    await begin_holding(store)
    await store.take_over(T0)
    author = await reclaim(store, worker_id="b")
    assert (await author.commit(epoch=None, fence=True, change=None)).lost


async def test_loss_is_kept_if_the_next_owner_is_lost_as_well(store):
    await begin_holding(store)
    await store.take_over(T0)
    await claim(store, "b")
    assert await store.take_over(T0) == 1
    run = await get(store)
    assert (run.lost, run.epoch) == (True, 4)


async def test_take_over_before_the_first_commit_leaves_the_start_unread(store):
    await begin(store, worker_id="a")
    await store.take_over(T0)
    author = await reclaim(store, worker_id="b")
    assert kinds(author.inbox) == [EventKind.RUN_STARTED]


async def test_time_of_a_run_that_wants_a_worker_already_is_kept_if_it_is_earlier(store):
    author = await begin(store)
    await author.commit(STARTED, consumed=author.row_ids, change=RunChange(RunStatus.WAITING, ready_at_us=T0 + 3))
    await store.take_over(T0 + 7)
    assert (await get(store)).ready_at_us == T0 + 3


async def test_paused_run_of_a_lost_worker_waits_for_the_order_to_resume(store):
    await begin_holding(store, status=RunStatus.PAUSED)
    assert await store.take_over(T0) == 1
    assert await claimed_ids(store) == []
    await store.send(message(content=fact(EventKind.RUN_RESUMED)))
    author = await reclaim(store)
    assert author.run.lost


async def test_order_to_resume_that_a_lost_worker_had_taken_wakes_the_paused_run_again(store):
    await begin_paused(store)
    await store.send(message())
    await store.send(message(content=fact(EventKind.RUN_RESUMED)))
    assert await claimed_ids(store, "a") == ["w"]
    assert await claimed_ids(store) == []
    assert await store.take_over(LATER) == 1
    author = await reclaim(store)
    assert author.run.lost


async def test_delayed_start_of_a_lost_owner_keeps_its_time(store):
    await store.start(new_run(owner="a", ready_at_us=T0 + 100))
    assert await store.take_over(T0) == 1
    run = await get(store)
    assert (run.owner, run.epoch, run.ready_at_us) == (None, 2, T0 + 100)


async def test_take_over_frees_the_tasks_of_a_worker_that_is_dead(store):
    author, held = await begin_with_task(store)
    assert await store.take_over(T0 + 7) == 1
    assert await store.read_tasks(author.run.run_id) == [task(author.run, epoch=2, losses=1)]
    assert not await store.finish_task(held, outcome(author.run, 1))
    assert not await store.postpone_task(held, None)
    [taken] = await store.claim_tasks("b", QUEUES, STEPS, 1, T0 + 7)
    assert (taken.epoch, taken.losses, taken.attempt) == (3, 1, 1)


async def test_losses_of_a_task_are_counted(store):
    author, _ = await begin_with_task(store)
    for losses in (1, 2, 3):
        await store.take_over(T0)
        [taken] = await store.claim_tasks("b", QUEUES, STEPS, 1, LATER)
        assert taken.losses == losses
    assert (await store.read_tasks(author.run.run_id))[0].owner == "b"


async def test_cancelled_task_of_a_lost_worker_ends_as_cancelled(store):
    author, _ = await begin_with_task(store)
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1], change=WAITING)
    assert await store.take_over(T0 + 7) == 1
    assert await store.read_tasks(author.run.run_id) == []
    [row] = await store.read_inbox(author.run.run_id)
    assert (row.fact.kind, row.fact.command) == (EventKind.STEP_CANCELLED, 1)
    assert await claimed_ids(store, now_us=T0 + 7) == ["w"]


async def test_worker_that_leaves_gives_its_runs_back_without_a_loss(store):
    lease = await store.join(worker_row("a"), 60)
    author = await begin_holding(store, "a")
    await lease.end()
    run = await get(store)
    assert (run.owner, run.epoch, run.lost) == (None, author.run.epoch + 1, False)
    assert await claimed_ids(store, "b") == ["w"]
    [refused] = await commit(store, author.turn(SCHEDULED))
    assert isinstance(refused, ConflictError)


async def test_worker_that_leaves_gives_its_tasks_back_without_a_loss(store):
    lease = await store.join(worker_row("a"), 60)
    author, held = await begin_with_task(store, "a")
    await lease.end()
    assert await store.read_tasks(author.run.run_id) == [task(author.run, epoch=2)]
    assert not await store.finish_task(held, outcome(author.run, 1))


async def test_worker_that_leaves_takes_nothing_from_others(store):
    lease = await store.join(worker_row("a"), 60)
    other = await store.join(worker_row("b"), 60)
    author = await begin_holding(store, "b")
    tasked, held = await begin_with_task(store, "b", "other")
    await lease.end()
    assert await get(store) == author.run
    assert await store.read_tasks(tasked.run.run_id) == [held]
    await other.end()


async def test_paused_run_of_a_worker_that_leaves_stays_paused(store):
    lease = await store.join(worker_row("a"), 60)
    await begin_holding(store, "a", RunStatus.PAUSED)
    await lease.end()
    assert (await get(store)).owner is None
    assert await claimed_ids(store) == []


async def test_worker_may_join_again_under_its_id(store):
    first = await store.join(worker_row("a"), 60)
    await first.end()
    second = await store.join(worker_row("a"), 60)
    await begin_holding(store, "a")
    await first.end()
    assert second.is_fresh()
    assert await store.take_over(LATER) == 0
    assert (await get(store)).owner == "a"
    await second.end()


async def test_worker_whose_sign_of_life_is_removed_is_taken_for_dead(store):
    lease = await store.join(worker_row("a"), 60)
    await begin_holding(store, "a")
    lease.remove()
    lease.remove()
    assert not lease.is_fresh()
    assert await store.take_over(LATER) == 1
    assert (await get(store)).lost
