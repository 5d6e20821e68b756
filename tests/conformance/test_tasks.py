"""Steps on other workers: claiming tasks, finishing, giving back, and no longer wanting them."""

import anyio
import pytest

from conformance.build import (
    COMPLETED,
    LATER,
    QUEUES,
    SCHEDULED,
    SECOND,
    STARTED,
    STEPS,
    T0,
    attempt,
    begin,
    ended,
    fact,
    kinds,
    outcome,
    task,
)
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.row import TaskRow
from runtime.store.rule import STORE_ACTOR
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio

WAITING_FOR_STEP = RunChange(RunStatus.WAITING, release=True)


async def begin_with_tasks(store, *tasks, workflow_id="w"):
    """A waiting run with these tasks, each given as fields of ``task``; by default one."""
    author = await begin(store, workflow_id)
    rows = [task(author.run, **fields) for fields in tasks or [{}]]
    author.run = await author.commit(STARTED, SCHEDULED, consumed=author.row_ids, tasks=rows, change=WAITING_FOR_STEP)
    return author


async def take(store, worker_id="b", limit=100, now_us=LATER, queues=QUEUES, steps=STEPS):
    return await store.claim_tasks(worker_id, queues, steps, limit, now_us)


async def test_task_is_kept_as_it_was_given(store):
    author = await begin_with_tasks(store, {"command": 3, "options": '{"timeout":1}', "attempt": 2, "losses": 1})
    assert await store.read_tasks(author.run.run_id) == [
        TaskRow(
            author.run.run_id,
            "w",
            3,
            "default",
            "charge",
            '"args"',
            '{"timeout":1}',
            f"{author.run.origin_id}/3",
            2,
            T0,
            1,
        )
    ]


async def test_tasks_of_a_run_are_read_by_command(store):
    author = await begin_with_tasks(store, {"command": 2}, {"command": 1})
    await author.commit(tasks=[task(author.run, 3)], change=WAITING_FOR_STEP)
    assert [kept.command for kept in await store.read_tasks(author.run.run_id)] == [1, 2, 3]


async def test_claimed_task_has_an_owner_and_a_new_epoch(store):
    author = await begin_with_tasks(store)
    [held] = await take(store, "b")
    assert held == task(author.run, owner="b", epoch=1)
    assert await store.read_tasks(author.run.run_id) == [held]
    assert await take(store, "b") == []


async def test_tasks_are_claimed_by_queue_and_step(store):
    await begin_with_tasks(
        store,
        {"command": 1, "queue": "gpu"},
        {"command": 2, "step": "refund"},
        {"command": 3},
    )
    assert await take(store, queues=["gpu"], steps=["refund"]) == []
    assert await take(store, queues=[], steps=STEPS) == []
    assert [held.command for held in await take(store)] == [3]
    assert [held.command for held in await take(store, queues=["gpu", "default"], steps=["refund", "charge"])] == [1, 2]


async def test_tasks_available_for_longest_come_first_up_to_the_limit(store):
    delays = [5, 1, 4, 1, 3]
    await begin_with_tasks(
        store, *[{"command": number, "available_at_us": T0 + delay} for number, delay in enumerate(delays, 1)]
    )
    assert [held.command for held in await take(store, limit=3)] == [2, 4, 5]
    assert [held.command for held in await take(store)] == [3, 1]


async def test_task_is_not_claimed_before_it_is_available(store):
    await begin_with_tasks(store, {"available_at_us": T0 + 5})
    assert await take(store, now_us=T0 + 4) == []
    assert len(await take(store, now_us=T0 + 5)) == 1


async def test_concurrent_claims_give_every_task_to_one_worker(store):
    await begin_with_tasks(store, *[{"command": number} for number in range(1, 31)])
    commands = []

    async def work(worker_id):
        while held := await take(store, worker_id, limit=4):
            commands.extend(one.command for one in held)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(work, f"worker-{number}")
    assert sorted(commands) == list(range(1, 31))


async def test_next_task_at_is_when_the_next_free_task_becomes_available(store):
    assert await store.next_task_at(QUEUES, STEPS) is None
    author = await begin_with_tasks(
        store,
        {"command": 1, "available_at_us": T0 + 9},
        {"command": 2, "available_at_us": T0 + 5},
        {"command": 3, "queue": "gpu"},
        {"command": 4, "step": "refund"},
    )
    assert await store.next_task_at(QUEUES, STEPS) == T0 + 5
    assert await store.next_task_at(["gpu"], STEPS) == T0
    await take(store, limit=1)
    assert await store.next_task_at(QUEUES, STEPS) == T0 + 9
    assert len(await store.read_tasks(author.run.run_id)) == 4


async def test_finished_task_is_gone_and_its_outcome_wakes_the_run(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    assert await store.finish_task(held, outcome(author.run, 1, at_us=T0 + 5), [attempt(author.run, 1)])
    assert await store.read_tasks(author.run.run_id) == []
    assert await store.read_attempts(author.run.run_id) == [attempt(author.run, 1)]
    [row] = await store.read_inbox(author.run.run_id)
    assert (row.fact.kind, row.fact.command, row.fact.payload) == (EventKind.STEP_COMPLETED, 1, "1")
    run = await store.get_run("w")
    assert run.ready_at_us == T0 + 5


async def test_task_is_finished_once(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    assert await store.finish_task(held, outcome(author.run, 1))
    assert not await store.finish_task(held, outcome(author.run, 1), [attempt(author.run, 2)])
    assert len(await store.read_inbox(author.run.run_id)) == 1
    assert await store.read_attempts(author.run.run_id) == []


@pytest.mark.parametrize("wrong", [{"owner": "c"}, {"epoch": 2}, {"owner": None, "epoch": 0}])
async def test_only_its_holder_finishes_or_postpones_a_task(store, wrong):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    stranger = task(author.run, **{"owner": "b", "epoch": 1, **wrong})
    assert not await store.finish_task(stranger, outcome(author.run, 1), [attempt(author.run, 1)])
    assert not await store.postpone_task(stranger, attempt(author.run, 1))
    assert not await store.begin_task(stranger, attempt(author.run, 1))
    assert await store.read_tasks(author.run.run_id) == [held]
    assert await store.read_attempts(author.run.run_id) == []
    assert await store.read_inbox(author.run.run_id) == []


async def test_postponed_task_comes_back_at_its_time_with_its_new_attempt(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    again = task(author.run, attempt=2, available_at_us=T0 + 50, losses=1, owner=held.owner, epoch=held.epoch)
    assert await store.postpone_task(again, attempt(author.run, 1, error='"no"', next_at_us=T0 + 50))
    assert await store.read_attempts(author.run.run_id) == [attempt(author.run, 1, error='"no"', next_at_us=T0 + 50)]
    assert await store.read_tasks(author.run.run_id) == [
        task(author.run, attempt=2, available_at_us=T0 + 50, losses=1, epoch=1)
    ]
    assert await take(store, now_us=T0 + 49) == []
    [taken] = await take(store, "c", now_us=T0 + 50)
    assert (taken.owner, taken.epoch, taken.attempt) == ("c", 2, 2)
    assert not await store.finish_task(held, outcome(author.run, 1))


async def test_attempt_of_a_held_task_that_begins_is_on_record(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    assert await store.begin_task(held, attempt(author.run, 1))
    assert await store.read_attempts(author.run.run_id) == [attempt(author.run, 1)]
    assert await store.read_tasks(author.run.run_id) == [held]


async def test_outcome_from_elsewhere_ends_the_task(store):
    author = await begin_with_tasks(store, {"command": 1}, {"command": 2})
    [held, _] = await take(store)
    await store.send(outcome(author.run, 1))
    assert [left.command for left in await store.read_tasks(author.run.run_id)] == [2]
    assert not await store.finish_task(held, outcome(author.run, 1))
    assert len(await store.read_inbox(author.run.run_id)) == 1


async def test_task_may_be_given_back_without_an_attempt(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    assert await store.postpone_task(held, None)
    assert await store.read_attempts(author.run.run_id) == []
    assert len(await take(store)) == 1


async def test_task_that_is_postponed_twice_is_refused(store):
    await begin_with_tasks(store)
    [held] = await take(store)
    assert await store.postpone_task(held, None)
    assert not await store.postpone_task(held, None)


async def test_cancelled_task_that_nobody_holds_ends_at_once(store):
    author = await begin_with_tasks(store, {"command": 1}, {"command": 2})
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1], change=WAITING_FOR_STEP)
    assert [left.command for left in await store.read_tasks(author.run.run_id)] == [2]
    [row] = await store.read_inbox(author.run.run_id)
    assert (row.fact.kind, row.fact.command, row.fact.name) == (EventKind.STEP_CANCELLED, 1, "charge")
    assert row.fact.actor == STORE_ACTOR
    assert (await store.get_run("w")).ready_at_us is not None
    assert await store.cancelled_tasks("b") == []


async def test_holder_of_a_cancelled_task_is_told_and_reports_its_end(store):
    author = await begin_with_tasks(store, {"command": 1}, {"command": 2})
    held, _ = await take(store, "b")
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1], change=WAITING_FOR_STEP)
    assert await store.cancelled_tasks("b") == [(author.run.run_id, 1)]
    assert await store.cancelled_tasks("c") == []
    assert [kept.cancel_requested for kept in await store.read_tasks(author.run.run_id)] == [True, False]
    assert await store.read_inbox(author.run.run_id) == []
    assert await store.finish_task(held, outcome(author.run, 1, EventKind.STEP_CANCELLED))
    assert await store.cancelled_tasks("b") == []
    assert kinds(await store.read_inbox(author.run.run_id)) == [EventKind.STEP_CANCELLED]


async def test_cancelled_task_that_is_postponed_ends_as_cancelled(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1], change=WAITING_FOR_STEP)
    assert await store.postpone_task(held, attempt(author.run, 1))
    assert await store.read_tasks(author.run.run_id) == []
    assert kinds(await store.read_inbox(author.run.run_id)) == [EventKind.STEP_CANCELLED]
    assert await store.read_attempts(author.run.run_id) == [attempt(author.run, 1)]


async def test_late_outcome_of_a_cancelled_task_changes_nothing(store):
    author = await begin_with_tasks(store)
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1], change=WAITING_FOR_STEP)
    await store.send(outcome(author.run, 1))
    assert kinds(await store.read_inbox(author.run.run_id)) == [EventKind.STEP_CANCELLED]


async def test_cancelling_a_task_that_is_gone_does_nothing(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    await store.finish_task(held, outcome(author.run, 1))
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1], change=WAITING_FOR_STEP)
    assert kinds(await store.read_inbox(author.run.run_id)) == [EventKind.STEP_COMPLETED]


async def test_run_that_ends_drops_its_free_tasks_and_cancels_those_held(store):
    author = await begin_with_tasks(store, {"command": 1}, {"command": 2})
    [held] = await take(store, "b", limit=1)
    await begin_with_tasks(store, workflow_id="other")
    await author.commit(COMPLETED, change=ended())
    assert await store.cancelled_tasks("b") == [(author.run.run_id, 1)]
    assert [(left.command, left.cancel_requested) for left in await store.read_tasks(author.run.run_id)] == [(1, True)]
    assert [other.workflow_id for other in await take(store, "c")] == ["other"]
    assert not await store.finish_task(held, outcome(author.run, 1), [attempt(author.run, 1)])
    assert await store.read_tasks(author.run.run_id) == []
    assert await store.read_attempts(author.run.run_id) == []
    assert await store.read_inbox(author.run.run_id) == []


async def test_held_task_of_a_run_that_ended_may_be_given_back(store):
    author = await begin_with_tasks(store)
    [held] = await take(store)
    await author.commit(COMPLETED, change=ended())
    assert await store.postpone_task(held, None)
    assert await store.read_tasks(author.run.run_id) == []
    assert await store.read_inbox(author.run.run_id) == []


async def test_tasks_of_a_rollback_after_the_end_are_served(store):
    author = await begin(store)
    await author.commit(
        STARTED,
        fact(EventKind.RUN_FAILED),
        consumed=author.row_ids,
        change=ended(RunStatus.FAILED, rollback=RollbackStatus.RUNNING),
    )
    compensating = RunChange(RunStatus.FAILED, RollbackStatus.RUNNING)
    await author.commit(SCHEDULED, tasks=[task(author.run)], change=compensating)
    [held] = await take(store)
    assert await store.finish_task(held, outcome(author.run, 1, at_us=T0 + SECOND))
    assert (await store.get_run("w")).ready_at_us == T0 + SECOND
