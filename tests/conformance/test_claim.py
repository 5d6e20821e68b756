"""Claiming: which runs a worker gets, in which order, and what it gets with them."""

from dataclasses import replace

import anyio
import pytest

from conformance.build import (
    LATER,
    QUEUES,
    SECOND,
    STARTED,
    T0,
    WAITING,
    WORKFLOWS,
    begin,
    begin_closed,
    begin_paused,
    begin_stuck,
    begin_waiting,
    claim,
    claimed_ids,
    commit,
    fact,
    get,
    kinds,
    message,
    new_run,
)
from durable.errors import ConflictError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio


async def next_ready_at(store, worker_id="worker", workflows=WORKFLOWS, queues=QUEUES):
    return await store.next_ready_at(worker_id, workflows, queues)


async def test_claim_sets_the_owner_raises_the_epoch_and_clears_the_time(store):
    await store.start(new_run())
    [(run, inbox)] = await claim(store, "a")
    assert (run.owner, run.epoch, run.ready_at_us, run.status) == ("a", 1, None, RunStatus.PENDING)
    assert run == await get(store)
    assert inbox == await store.read_inbox(run.run_id)
    assert kinds(inbox) == [EventKind.RUN_STARTED]


async def test_claimed_run_is_not_claimed_again(store):
    await store.start(new_run())
    assert await claimed_ids(store, "a") == ["w"]
    assert await claimed_ids(store, "a") == []
    assert await claimed_ids(store, "b") == []


async def test_claim_gives_only_the_workflows_and_queues_asked_for(store):
    await store.start(new_run("order"))
    await store.start(new_run("refund", workflow="refund"))
    await store.start(new_run("gpu", queue="gpu"))
    assert await claimed_ids(store, workflows=["refund"], queues=["gpu"]) == []
    assert await claimed_ids(store, workflows=[], queues=["default"]) == []
    assert await claimed_ids(store, workflows=["refund", "unknown"], queues=["default", "gpu"]) == ["refund"]
    assert await claimed_ids(store, workflows=["order"], queues=["gpu"]) == ["gpu"]
    assert await claimed_ids(store) == ["order"]


async def test_claim_gives_what_has_waited_longest_first_and_no_more_than_the_limit(store):
    for number, delay in enumerate([5, 1, 4, 1, 3]):
        await store.start(new_run(f"{number}", ready_at_us=T0 + delay))
    first = await claim(store, limit=3)
    assert [taken.run.workflow_id for taken in first] == ["1", "3", "4"]
    assert await claimed_ids(store) == ["2", "0"]


async def test_claim_takes_nothing_that_is_not_due(store):
    await store.start(new_run(ready_at_us=T0 + 1))
    assert await claimed_ids(store, now_us=T0) == []
    assert (await get(store)).ready_at_us == T0 + 1
    assert await claimed_ids(store, now_us=T0 + 1) == ["w"]


async def test_owner_gets_its_run_again_when_a_message_comes(store):
    author = await begin(store, worker_id="a")
    await author.commit(STARTED, consumed=author.row_ids)
    await store.send(message())
    assert await claimed_ids(store, "b") == []
    [(run, inbox)] = await claim(store, "a")
    assert (run.owner, run.epoch, run.ready_at_us) == ("a", 1, None)
    assert kinds(inbox) == [EventKind.SIGNAL_RECEIVED]


async def test_owner_gets_its_run_again_whatever_workflows_it_names(store):
    await begin(store, worker_id="a")
    await store.send(message())
    assert await claimed_ids(store, "a", workflows=["refund"], queues=["gpu"]) == ["w"]


async def test_owner_gets_its_run_again_when_its_own_time_comes(store):
    author = await begin(store, worker_id="a")
    await author.commit(STARTED, consumed=author.row_ids, change=RunChange(RunStatus.WAITING, ready_at_us=T0 + 5))
    assert await claimed_ids(store, "b", now_us=T0 + 5) == []
    assert await claimed_ids(store, "a", now_us=T0 + 4) == []
    assert await claimed_ids(store, "a", now_us=T0 + 5) == ["w"]


async def test_released_run_goes_to_whoever_claims_it_under_a_new_epoch(store):
    await begin_waiting(store)
    await store.send(message())
    [(run, _)] = await claim(store, "b")
    assert (run.owner, run.epoch) == ("b", 2)


async def test_rows_stay_in_the_inbox_until_a_turn_consumes_them(store):
    author = await begin(store, worker_id="a")
    await store.send(message())
    [(_, inbox)] = await claim(store, "a")
    assert kinds(inbox) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]
    await author.commit(STARTED, consumed=author.row_ids)
    assert kinds(await store.read_inbox(author.run.run_id)) == [EventKind.SIGNAL_RECEIVED]


async def test_claim_gives_each_run_its_own_rows_only(store):
    closed = (await begin_closed(store, "x")).run
    await store.start(new_run("x", on_conflict="replace", messages=[message("x")]))
    await store.start(new_run("y"))
    taken = {run.workflow_id: kinds(inbox) for run, inbox in await claim(store)}
    assert taken == {"x": [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED], "y": [EventKind.RUN_STARTED]}
    assert await store.read_inbox(closed.run_id) == []


async def test_paused_and_stuck_runs_are_not_claimed_for_messages(store):
    await begin_paused(store, "paused")
    await begin_stuck(store, "stuck")
    await store.send(message("paused"))
    await store.send(message("stuck"))
    assert await claimed_ids(store) == []


async def test_paused_run_that_is_woken_gets_everything_that_waits(store):
    await begin_paused(store)
    await store.send(message())
    await store.send(message(content=fact(EventKind.RUN_RESUMED)))
    [(run, inbox)] = await claim(store)
    assert run.status is RunStatus.PAUSED
    assert kinds(inbox) == [EventKind.SIGNAL_RECEIVED, EventKind.RUN_RESUMED]


async def test_concurrent_claims_give_every_run_to_one_worker(store):
    for number in range(30):
        await store.start(new_run(f"{number}"))
    taken = []

    async def take(worker_id):
        while ids := [one.run.workflow_id for one in await claim(store, worker_id, limit=4)]:
            taken.extend(ids)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(take, f"worker-{number}")
    assert sorted(taken, key=int) == [str(number) for number in range(30)]


async def test_adopted_runs_belong_to_the_worker_whether_or_not_they_are_ready(store):
    waiting = (await begin_waiting(store, "waiting")).run
    ready = (await store.start(new_run("ready"))).run
    await store.adopt("a", [ready.run_id, waiting.run_id])
    assert await get(store, "ready") == replace(ready, owner="a", epoch=ready.epoch + 1)
    assert await get(store, "waiting") == replace(waiting, owner="a", epoch=waiting.epoch + 1)
    assert await claimed_ids(store, "b") == []
    [(run, _)] = await claim(store, "a", workflows=[], queues=[])
    assert (run.workflow_id, run.epoch) == ("ready", ready.epoch + 1)
    await store.send(message("waiting"))
    assert await claimed_ids(store, "a") == ["waiting"]


async def test_adoption_leaves_alone_what_is_owned_closed_or_unknown(store):
    owned = (await begin(store, "owned", worker_id="b")).run
    mine = (await begin(store, "mine", worker_id="a")).run
    closed = (await begin_closed(store, "closed")).run
    free = (await begin_waiting(store, "free")).run
    await store.adopt("a", [owned.run_id, mine.run_id, closed.run_id, "nobody"])
    assert [await get(store, run.workflow_id) for run in (owned, mine, closed, free)] == [owned, mine, closed, free]


async def test_run_whose_rollback_goes_on_may_be_adopted(store):
    failed = (await begin_closed(store, "failed", RunStatus.FAILED, RollbackStatus.FAILED)).run
    await store.adopt("a", [failed.run_id])
    assert await get(store, "failed") == failed
    await store.send(message("failed", fact(EventKind.ROLLBACK_REQUESTED)))
    await store.adopt("a", [failed.run_id])
    assert (await get(store, "failed")).owner == "a"
    running = (await begin_closed(store, "running", RunStatus.FAILED, RollbackStatus.RUNNING)).run
    await store.adopt("a", [running.run_id])
    assert (await get(store, "running")).owner == "a"


async def test_adoption_of_nothing_is_fine(store):
    await store.adopt("a", [])


async def test_adopted_delayed_start_keeps_its_time(store):
    run = (await store.start(new_run(ready_at_us=T0 + 9))).run
    await store.adopt("a", [run.run_id])
    assert await claimed_ids(store, "a", now_us=T0 + 8) == []
    assert await claimed_ids(store, "a", now_us=T0 + 9) == ["w"]


async def test_adoption_refuses_who_wrote_under_the_epoch_before(store):
    author = await begin_waiting(store)
    await store.adopt("a", [author.run.run_id])
    [refused] = await commit(store, author.turn(change=None))
    assert isinstance(refused, ConflictError)


async def test_next_ready_at_is_the_earliest_time_of_a_run_for_this_worker(store):
    assert await next_ready_at(store) is None
    await store.start(new_run("late", ready_at_us=T0 + 9))
    await store.start(new_run("soon", ready_at_us=T0 + 3))
    await store.start(new_run("refund", workflow="refund", ready_at_us=T0 + 1))
    await store.start(new_run("gpu", queue="gpu", ready_at_us=T0 + 2))
    assert await next_ready_at(store) == T0 + 3
    assert await next_ready_at(store, workflows=["order", "refund"]) == T0 + 1
    assert await next_ready_at(store, queues=["gpu"]) == T0 + 2
    assert await next_ready_at(store, workflows=["refund"], queues=["gpu"]) is None


async def test_next_ready_at_changes_nothing(store):
    run = (await store.start(new_run())).run
    await next_ready_at(store)
    assert await get(store) == run


async def test_next_ready_at_knows_runs_that_the_worker_owns_and_not_those_of_others(store):
    author = await begin(store, worker_id="a")
    await author.commit(STARTED, consumed=author.row_ids, change=RunChange(RunStatus.WAITING, ready_at_us=T0 + 5))
    assert await next_ready_at(store, "a", workflows=[]) == T0 + 5
    assert await next_ready_at(store, "b") is None


async def test_next_ready_at_is_none_for_runs_that_only_a_message_can_wake(store):
    await begin_waiting(store)
    await begin_paused(store, "paused")
    assert await next_ready_at(store) is None


async def test_unstick_wakes_runs_that_are_stuck_on_other_code(store):
    await begin_stuck(store, "old", code="v1")
    await begin_stuck(store, "new", code="v2")
    await begin_stuck(store, "unknown", code=None)
    await begin_paused(store, "paused")
    await begin_stuck(store, "both", code="v1 v2")
    assert await unstick(store) == 2
    assert await claimed_ids(store, "b", now_us=T0) == []
    assert sorted(await claimed_ids(store, "a", now_us=T0)) == ["old", "unknown"]
    run = await get(store, "old")
    assert (run.status, run.code, run.owner) == (RunStatus.STUCK, "v1", "a")


async def unstick(store, workflow="order", queues=QUEUES, limit=100):
    return await store.unstick("a", {workflow: "v2"}, queues, limit, T0)


async def test_unstick_touches_only_free_runs_of_the_workflows_and_queues_named(store):
    author = await begin_stuck(store)
    assert await unstick(store, "refund") == 0
    assert await unstick(store, queues=["elsewhere"]) == 0
    await store.adopt("b", [author.run.run_id])
    assert await unstick(store) == 0
    assert await claimed_ids(store, now_us=LATER) == []


async def test_unstick_takes_the_oldest_first_and_not_more_than_asked_for(store):
    for name in ("first", "second", "third"):
        await begin_stuck(store, name)
    assert await unstick(store, limit=2) == 2
    assert sorted(await claimed_ids(store, "a", now_us=T0)) == ["first", "second"]


async def test_unstick_refuses_who_wrote_under_the_epoch_before(store):
    author = await begin_stuck(store)
    assert await unstick(store) == 1
    [refused] = await commit(store, author.turn(change=None))
    assert isinstance(refused, ConflictError)


async def test_waiting_run_is_not_claimed(store):
    author = await begin(store)
    await author.commit(STARTED, consumed=author.row_ids, change=WAITING)
    assert await claimed_ids(store, now_us=LATER) == []
    assert (await get(store)).owner is None
    await store.send(message(at_us=T0 + SECOND))
    assert await claimed_ids(store) == ["w"]
