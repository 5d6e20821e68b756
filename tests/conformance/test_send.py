"""Sending: who takes a fact, once per message id, once per step, and what a closed run refuses (rule H5)."""

import anyio
import pytest

from conformance.build import (
    COMPLETED,
    SECOND,
    T0,
    begin,
    begin_closed,
    begin_waiting,
    claimed_ids,
    ended,
    fact,
    get,
    get_by_id,
    kinds,
    message,
    new_run,
    outcome,
    reclaim,
    task,
    update,
)
from durable.errors import RunClosedError, RunNotFoundError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.row import InboxRow
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio

CLOSED = [status for status in RunStatus if status.is_closed]


async def test_sent_fact_waits_in_the_inbox_as_it_was_sent(store):
    run = (await begin_waiting(store)).run
    sent = message(content=fact(detail='{"a":1}', payload='"p"', name="größe"), message_id="m1", at_us=T0 + 5)
    await store.send(sent)
    [waiting] = await store.read_inbox(run.run_id)
    assert waiting == InboxRow("w", None, "m1", sent.fact, T0 + 5, waiting.row_id)


async def test_sent_facts_keep_their_order_of_arrival(store):
    run = (await begin_waiting(store)).run
    for number in range(20):
        pinned = run.run_id if number % 2 else None
        await store.send(message(content=fact(name=str(number)), run_id=pinned, at_us=T0 + (number * 7) % 5))
    assert [row.fact.name for row in await store.read_inbox(run.run_id)] == [str(number) for number in range(20)]


async def test_send_returns_the_run_and_makes_it_ready(store):
    waiting = (await begin_waiting(store)).run
    assert waiting.ready_at_us is None
    run = await store.send(message(at_us=T0 + SECOND))
    assert run == await get(store)
    assert run.ready_at_us == T0 + SECOND
    assert await claimed_ids(store, now_us=T0 + SECOND - 1) == []
    assert await claimed_ids(store, now_us=T0 + SECOND) == ["w"]


async def test_send_never_makes_a_run_ready_later_than_it_was(store):
    await begin_waiting(store, change=RunChange(RunStatus.WAITING, release=True, ready_at_us=T0 + 2))
    assert (await store.send(message(at_us=T0 + 9))).ready_at_us == T0 + 2
    assert (await store.send(message(at_us=T0 + 1))).ready_at_us == T0 + 1


async def test_send_before_the_first_turn_is_not_lost(store):
    await store.start(new_run())
    await store.send(message())
    author = await reclaim(store)
    assert kinds(author.inbox) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


async def test_message_does_not_shorten_a_delayed_start_but_cancellation_does(store):
    await store.start(new_run(ready_at_us=T0 + 100 * SECOND))
    await store.send(message(at_us=T0 + SECOND))
    assert await claimed_ids(store, now_us=T0 + 50 * SECOND) == []
    await store.send(message(content=fact(EventKind.CANCEL_REQUESTED), at_us=T0 + 2 * SECOND))
    assert await claimed_ids(store, now_us=T0 + 2 * SECOND) == ["w"]


async def test_message_during_the_first_turn_of_a_run_makes_it_ready(store):
    await begin(store)
    assert (await store.send(message(at_us=T0 + SECOND))).ready_at_us == T0 + SECOND


async def test_repeated_message_id_is_acknowledged_and_changes_nothing(store):
    await begin_waiting(store)
    first = await store.send(message(message_id="m1", at_us=T0 + 5))
    assert await store.send(message(message_id="m1", content=fact(name="else"), at_us=T0)) == first
    assert [row.fact.name for row in await store.read_inbox(first.run_id)] == ["pause"]


async def test_message_id_is_remembered_after_it_was_read(store):
    await begin_waiting(store)
    await store.send(message(message_id="m1"))
    author = await reclaim(store)
    run = await author.commit(author.inbox[0].fact, consumed=author.row_ids)
    await store.send(message(message_id="m1"))
    assert await get(store) == run
    assert await store.read_inbox(run.run_id) == []


async def test_message_id_is_remembered_for_later_runs_of_the_workflow_id(store):
    await begin_waiting(store)
    await store.send(message(message_id="m1"))
    author = await reclaim(store)
    await author.commit(COMPLETED, consumed=author.row_ids, change=ended())
    await store.start(new_run(on_conflict="replace"))
    await store.send(message(message_id="m1"))
    assert kinds(await store.read_inbox((await get(store)).run_id)) == [EventKind.RUN_STARTED]


async def test_message_ids_of_different_workflow_ids_are_different(store):
    for workflow_id in ("w", "x"):
        run = (await begin_waiting(store, workflow_id)).run
        await store.send(message(workflow_id, message_id="m1"))
        assert len(await store.read_inbox(run.run_id)) == 1


async def test_messages_without_id_are_not_deduplicated(store):
    run = (await begin_waiting(store)).run
    await store.send(message())
    await store.send(message())
    assert len(await store.read_inbox(run.run_id)) == 2


async def test_one_of_many_concurrent_sends_with_one_id_is_kept(store):
    run = (await begin_waiting(store)).run
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(store.send, message(message_id="m1"))
    assert len(await store.read_inbox(run.run_id)) == 1


async def test_send_to_an_unknown_id_says_so(store):
    with pytest.raises(RunNotFoundError, match="nobody"):
        await store.send(message("nobody"))


async def test_send_to_an_unknown_run_id_says_so(store):
    other = (await begin_waiting(store, "other")).run
    await begin_waiting(store)
    for run_id in ("nobody", other.run_id):
        with pytest.raises(RunNotFoundError):
            await store.send(message(run_id=run_id))


@pytest.mark.parametrize("status", CLOSED)
async def test_closed_run_refuses_messages_and_names_its_status(store, status):
    run = (await begin_closed(store, status=status)).run
    for kind in (
        EventKind.SIGNAL_RECEIVED,
        EventKind.RUN_RESUMED,
        EventKind.CANCEL_REQUESTED,
        EventKind.ROLLBACK_REQUESTED,
    ):
        with pytest.raises(RunClosedError, match=status) as caught:
            await store.send(message(content=fact(kind)))
        assert caught.value.data["status"] == status
    assert await store.read_inbox(run.run_id) == []
    assert await get(store) == run


async def test_message_that_was_refused_may_be_sent_again_to_a_later_run(store):
    await begin_closed(store)
    with pytest.raises(RunClosedError):
        await store.send(message(message_id="m1"))
    run = (await store.start(new_run(on_conflict="replace"))).run
    await store.send(message(message_id="m1"))
    assert kinds(await store.read_inbox(run.run_id)) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


async def test_repeated_message_is_acknowledged_by_a_closed_run(store):
    await begin_waiting(store)
    await store.send(message(message_id="m1"))
    author = await reclaim(store)
    run = await author.commit(COMPLETED, consumed=author.row_ids, change=ended())
    assert await store.send(message(message_id="m1")) == run


async def test_message_pinned_to_a_closed_run_does_not_touch_a_later_one(store):
    closed = (await begin_closed(store)).run
    later = (await store.start(new_run(on_conflict="replace"))).run
    with pytest.raises(RunClosedError):
        await store.send(message(run_id=closed.run_id))
    assert kinds(await store.read_inbox(later.run_id)) == [EventKind.RUN_STARTED]


async def test_message_to_the_workflow_id_reaches_the_open_run_only(store):
    closed = (await begin_closed(store)).run
    later = (await store.start(new_run(on_conflict="replace"))).run
    await store.send(message())
    assert await store.read_inbox(closed.run_id) == []
    assert kinds(await store.read_inbox(later.run_id)) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


@pytest.mark.parametrize("kind", [EventKind.RUN_RESUMED, EventKind.CANCEL_REQUESTED])
async def test_closed_run_with_failed_rollback_takes_the_order_to_roll_back_only(store, kind):
    await begin_closed(store, status=RunStatus.FAILED, rollback=RollbackStatus.FAILED)
    with pytest.raises(RunClosedError):
        await store.send(message(content=fact(kind)))
    await store.send(message(content=fact(EventKind.ROLLBACK_REQUESTED)))
    author = await reclaim(store)
    assert kinds(author.inbox) == [EventKind.ROLLBACK_REQUESTED]


async def test_fact_that_a_closed_run_took_stays_with_it(store):
    closed = (await begin_closed(store, status=RunStatus.FAILED, rollback=RollbackStatus.FAILED)).run
    await store.send(message(content=fact(EventKind.ROLLBACK_REQUESTED)))
    later = (await store.start(new_run(on_conflict="replace"))).run
    assert kinds(await store.read_inbox(closed.run_id)) == [EventKind.ROLLBACK_REQUESTED]
    assert kinds(await store.read_inbox(later.run_id)) == [EventKind.RUN_STARTED]


@pytest.mark.parametrize("rollback", [RollbackStatus.NONE, RollbackStatus.COMPLETED, RollbackStatus.RUNNING])
async def test_order_to_roll_back_is_refused_unless_rollback_failed(store, rollback):
    await begin_closed(store, status=RunStatus.FAILED, rollback=rollback)
    with pytest.raises(RunClosedError):
        await store.send(message(content=fact(EventKind.ROLLBACK_REQUESTED)))


async def test_closed_run_whose_rollback_runs_takes_outcomes_of_compensations(store):
    run = (await begin_closed(store, status=RunStatus.FAILED, rollback=RollbackStatus.RUNNING)).run
    await store.send(outcome(run, 3))
    with pytest.raises(RunClosedError):
        await store.send(message())
    author = await reclaim(store)
    assert kinds(author.inbox) == [EventKind.STEP_COMPLETED]


@pytest.mark.parametrize("second", [EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED])
@pytest.mark.parametrize("first", [EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED])
async def test_outcome_of_a_step_is_accepted_once(store, first, second):
    run = (await begin_waiting(store)).run
    await store.send(outcome(run, 1, first))
    await store.send(outcome(run, 1, second, payload="2"))
    await store.send(outcome(run, 2, second))
    assert [(row.fact.kind, row.fact.command) for row in await store.read_inbox(run.run_id)] == [
        (first, 1),
        (second, 2),
    ]


async def test_outcome_of_a_step_is_accepted_once_also_after_it_was_read(store):
    run = (await begin_waiting(store)).run
    await store.send(outcome(run, 1))
    author = await reclaim(store)
    await author.commit(author.inbox[0].fact, consumed=author.row_ids)
    await store.send(outcome(run, 1))
    assert await store.read_inbox(run.run_id) == []


async def test_facts_of_other_kinds_are_not_counted_by_their_command(store):
    run = (await begin_waiting(store)).run
    for kind in (EventKind.CHILD_COMPLETED, EventKind.CHILD_COMPLETED, EventKind.STEP_COMPLETED):
        await store.send(outcome(run, 1, kind))
    assert len(await store.read_inbox(run.run_id)) == 3


async def test_outcomes_of_different_runs_are_different(store):
    for workflow_id in ("w", "x"):
        run = (await begin_waiting(store, workflow_id)).run
        await store.send(outcome(run, 1))
        assert len(await store.read_inbox(run.run_id)) == 1


async def test_outcome_from_outside_beats_the_one_of_its_task(store):
    author = await begin(store)
    await author.commit(fact(EventKind.STEP_SCHEDULED, 1), consumed=author.row_ids, tasks=[task(author.run)])
    [held] = await store.claim_tasks("b", ["default"], ["charge"], 1, T0)
    await store.send(outcome(author.run, 1, payload='"outside"'))
    assert not await store.finish_task(held, outcome(author.run, 1, payload='"task"'))
    assert [row.fact.payload for row in await store.read_inbox(author.run.run_id)] == ['"outside"']
    assert await store.read_tasks(author.run.run_id) == []


async def test_update_is_written_with_its_message(store):
    run = (await begin_waiting(store)).run
    await store.send(message(content=fact(EventKind.UPDATE_ACCEPTED, name="add_item")), update())
    assert await store.get_update("w", "u1") == update()
    assert kinds(await store.read_inbox(run.run_id)) == [EventKind.UPDATE_ACCEPTED]


async def test_second_update_of_an_id_writes_nothing(store):
    await begin_waiting(store)
    accepted = message(content=fact(EventKind.UPDATE_ACCEPTED, name="add_item"))
    first = await store.send(accepted, update())
    assert await store.send(accepted, update(payload='"other"')) == first
    assert await store.get_update("w", "u1") == update()
    assert len(await store.read_inbox(first.run_id)) == 1


async def test_update_to_a_closed_run_is_not_written(store):
    await begin_closed(store)
    with pytest.raises(RunClosedError):
        await store.send(message(content=fact(EventKind.UPDATE_ACCEPTED)), update())
    assert await store.get_update("w", "u1") is None


async def test_known_update_is_acknowledged_by_a_closed_run(store):
    await begin_waiting(store)
    accepted = message(content=fact(EventKind.UPDATE_ACCEPTED), message_id="u1")
    await store.send(accepted, update())
    author = await reclaim(store)
    done = update(state="completed", payload="3")
    run = await author.commit(COMPLETED, consumed=author.row_ids, updates=[done], change=ended())
    assert await store.send(accepted, update()) == run
    assert await store.get_update("w", "u1") == done


async def test_send_leaves_the_owner_and_epoch_alone(store):
    author = await begin(store)
    await store.send(message())
    run = await get_by_id(store, author.run.run_id)
    assert (run.owner, run.epoch, run.seq) == ("worker", 1, 0)
