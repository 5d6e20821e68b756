"""Children, messages that workflow code sends, and what happens to children when their parent ends."""

import pytest

from conformance.build import (
    COMPLETED,
    RUNNING,
    SECOND,
    STARTED,
    T0,
    Author,
    begin,
    begin_closed,
    begin_stuck,
    begin_waiting,
    claim,
    claimed_ids,
    commit,
    ended,
    fact,
    get,
    get_by_id,
    kinds,
    message,
    new_run,
    question,
    reclaim,
    task,
)
from durable.errors import ConflictError, RunClosedError
from durable.handle import RunStatus
from durable.history import EventKind, Fact, parse_detail, verify_chain
from runtime.store.row import Claimed, InboxRow
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio


def child(parent, workflow_id="child", command=1, **fields):
    return new_run(workflow_id, parent_run_id=parent.run_id, parent_command=command, **fields)


async def begin_family(store, *policies, **fields):
    """A parent whose children have these policies, with commands 1, 2, ..."""
    parent = await begin(store, "parent")
    children = [
        child(parent.run, f"child-{number}", number, on_parent_close=policy, **fields)
        for number, policy in enumerate(policies, 1)
    ]
    await parent.commit(STARTED, consumed=parent.row_ids, new_runs=children)
    return parent


async def test_child_is_created_with_its_parents_turn(store):
    parent = await begin(store)
    await parent.commit(
        STARTED, consumed=parent.row_ids, new_runs=[child(parent.run, command=4, on_parent_close="cancel")]
    )
    run = await get(store, "child")
    assert (run.parent_run_id, run.parent_command, run.on_parent_close) == (parent.run.run_id, 4, "cancel")
    assert (run.status, run.owner, run.epoch) == (RunStatus.PENDING, None, 0)
    assert await claimed_ids(store) == ["child"]


async def test_child_may_belong_to_its_parents_worker_at_once(store):
    parent = await begin(store, worker_id="a")
    await parent.commit(STARTED, consumed=parent.row_ids, new_runs=[child(parent.run, owner="a")])
    assert await claimed_ids(store, "b") == []
    [(run, inbox)] = await claim(store, "a")
    assert (run.workflow_id, run.epoch) == ("child", 1)
    assert kinds(inbox) == [EventKind.RUN_STARTED]


async def test_children_are_listed_in_order_of_creation(store):
    parent = await begin(store)
    new_runs = [child(parent.run, f"c{number}", number, created_at_us=T0 - number) for number in range(5)]
    await parent.commit(STARTED, consumed=parent.row_ids, new_runs=new_runs)
    await store.start(new_run("stranger"))
    assert [run.workflow_id for run in await store.children(parent.run.run_id)] == [
        "c0",
        "c1",
        "c2",
        "c3",
        "c4",
    ]


@pytest.mark.parametrize("on_conflict", ["attach", "fail", "replace"])
async def test_child_whose_id_is_taken_by_an_open_run_fails_for_its_parent(store, on_conflict):
    taken = (await begin_waiting(store, "child")).run
    parent = await begin(store)
    run = await parent.commit(
        STARTED,
        consumed=parent.row_ids,
        new_runs=[child(parent.run, command=4, on_conflict=on_conflict), child(parent.run, "other", 5)],
        attributes={"rest": "written"},
    )
    [failure] = await store.read_inbox(run.run_id)
    assert (failure.fact.kind, failure.fact.command, failure.run_id) == (
        EventKind.CHILD_FAILED,
        4,
        run.run_id,
    )
    assert parse_detail(failure.fact.detail) == {"error": "exists"}
    assert run.ready_at_us is not None
    assert await get(store, "child") == taken
    assert await get(store, "other")
    assert await store.read_attributes(run.run_id) == {"rest": "written"}


@pytest.mark.parametrize(("on_conflict", "is_created"), [("attach", False), ("fail", False), ("replace", True)])
async def test_child_whose_id_a_closed_run_has_is_created_only_if_it_replaces(store, on_conflict, is_created):
    closed = (await begin_closed(store, "child")).run
    parent = await begin(store)
    run = await parent.commit(STARTED, consumed=parent.row_ids, new_runs=[child(parent.run, on_conflict=on_conflict)])
    assert ((await get(store, "child")).run_id != closed.run_id) is is_created
    assert kinds(await store.read_inbox(run.run_id)) == ([] if is_created else [EventKind.CHILD_FAILED])


async def test_run_cannot_be_its_own_child(store):
    parent = await begin(store)
    run = await parent.commit(
        STARTED, consumed=parent.row_ids, new_runs=[child(parent.run, "w", on_conflict="replace")]
    )
    assert kinds(await store.read_inbox(run.run_id)) == [EventKind.CHILD_FAILED]
    assert await get(store) == run


async def test_two_children_of_one_turn_with_one_id_are_one(store):
    parent = await begin(store)
    new_runs = [child(parent.run, command=1), child(parent.run, command=2)]
    run = await parent.commit(STARTED, consumed=parent.row_ids, new_runs=new_runs)
    assert [(row.fact.kind, row.fact.command) for row in await store.read_inbox(run.run_id)] == [
        (EventKind.CHILD_FAILED, 2)
    ]
    assert (await get(store, "child")).parent_command == 1


async def test_outcome_of_a_child_wakes_its_parent(store):
    parent = await begin(store)
    await parent.commit(
        STARTED,
        consumed=parent.row_ids,
        new_runs=[child(parent.run)],
        change=RunChange(RunStatus.WAITING, release=True),
    )
    author = await reclaim(store, "child")
    result = InboxRow("w", parent.run.run_id, None, Fact(EventKind.CHILD_COMPLETED, 1, payload="3"), T0 + SECOND)
    await author.commit(STARTED, COMPLETED, consumed=author.row_ids, inbox=[result], change=ended())
    [(run, inbox)] = await claim(store)
    assert run.workflow_id == "w"
    assert [(row.fact.kind, row.fact.payload) for row in inbox] == [(EventKind.CHILD_COMPLETED, "3")]


async def test_facts_for_runs_that_are_gone_or_ended_are_dropped(store):
    closed = (await begin_closed(store, "closed")).run
    author = await begin(store)
    facts = [
        message("nobody"),
        message("closed"),
        message("closed", run_id=closed.run_id),
        message("w", run_id="nobody"),
    ]
    run = await author.commit(STARTED, consumed=author.row_ids, inbox=facts)
    assert await store.read_inbox(run.run_id) == []
    assert await store.read_inbox(closed.run_id) == []
    assert await get(store, "closed") == closed


async def test_fact_of_a_turn_is_delivered_once_per_message_id(store):
    other = (await begin_waiting(store, "other")).run
    author = await begin(store)
    await author.commit(STARTED, inbox=[message("other", message_id="m1")])
    await author.commit(inbox=[message("other", message_id="m1"), message("other", message_id="m2")])
    await store.send(message("other", message_id="m2"))
    assert [row.message_id for row in await store.read_inbox(other.run_id)] == ["m1", "m2"]


async def test_sent_message_is_written_and_its_sender_told(store):
    await begin_waiting(store, "other")
    author = await begin(store)
    run = await author.commit(
        STARTED, consumed=author.row_ids, outgoing=[(3, message("other", message_id="m1", at_us=T0 + 5))]
    )
    [receipt] = await store.read_inbox(run.run_id)
    assert (receipt.fact.kind, receipt.fact.command) == (EventKind.MESSAGE_DELIVERED, 3)
    assert (receipt.run_id, receipt.fact.detail) == (run.run_id, None)
    assert run.ready_at_us == T0 + 5
    assert sorted(await claimed_ids(store, now_us=T0 + 5)) == ["other", "w"]


async def test_message_that_was_sent_before_counts_as_delivered(store):
    other = (await begin_waiting(store, "other")).run
    await store.send(message("other", message_id="m1"))
    author = await begin(store)
    run = await author.commit(STARTED, consumed=author.row_ids, outgoing=[(3, message("other", message_id="m1"))])
    assert kinds(await store.read_inbox(run.run_id)) == [EventKind.MESSAGE_DELIVERED]
    assert len(await store.read_inbox(other.run_id)) == 1


@pytest.mark.parametrize(("target", "error"), [("nobody", "not_found"), ("closed", "closed")])
async def test_message_that_nobody_takes_fails_for_its_sender(store, target, error):
    await begin_closed(store, "closed")
    author = await begin(store)
    run = await author.commit(STARTED, consumed=author.row_ids, outgoing=[(3, message(target))])
    [receipt] = await store.read_inbox(run.run_id)
    assert (receipt.fact.kind, receipt.fact.command) == (EventKind.MESSAGE_FAILED, 3)
    assert parse_detail(receipt.fact.detail) == {"error": error}


async def test_message_reaches_a_child_that_is_created_in_the_same_turn(store):
    parent = await begin(store)
    run = await parent.commit(
        STARTED, consumed=parent.row_ids, new_runs=[child(parent.run)], outgoing=[(2, message("child"))]
    )
    assert kinds(await store.read_inbox(run.run_id)) == [EventKind.MESSAGE_DELIVERED]
    born = await get(store, "child")
    assert kinds(await store.read_inbox(born.run_id)) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


async def test_message_to_oneself_is_delivered(store):
    author = await begin(store)
    run = await author.commit(STARTED, consumed=author.row_ids, outgoing=[(2, message("w"))])
    assert kinds(await store.read_inbox(run.run_id)) == [
        EventKind.SIGNAL_RECEIVED,
        EventKind.MESSAGE_DELIVERED,
    ]


async def test_messages_of_a_run_that_ends_are_delivered(store):
    other = (await begin_waiting(store, "other")).run
    author = await begin(store)
    run = await author.commit(
        STARTED, COMPLETED, consumed=author.row_ids, outgoing=[(3, message("other"))], change=ended()
    )
    assert kinds(await store.read_inbox(other.run_id)) == [EventKind.SIGNAL_RECEIVED]
    assert await store.read_inbox(run.run_id) == []


async def test_closing_parent_does_to_its_children_what_they_asked_for(store):
    parent = await begin_family(store, "terminate", "cancel", "abandon", "terminate")
    before = {number: await get(store, f"child-{number}") for number in (1, 2, 3, 4)}
    [before_its_start] = await store.read_inbox(before[1].run_id)
    await parent.commit(COMPLETED, change=ended(at_us=T0 + 9), close_children=[1, 2, 3], at_us=T0 + 8)

    terminated = await get(store, "child-1")
    assert (terminated.status, terminated.closed_at_us, terminated.owner) == (
        RunStatus.TERMINATED,
        T0 + 9,
        None,
    )
    assert (terminated.epoch, terminated.seq, terminated.ready_at_us) == (1, 2, None)
    assert terminated.reason
    start, event = history = await store.read_history(terminated.run_id)
    verify_chain(history)
    assert (start.kind, start.payload) == (EventKind.RUN_STARTED, before_its_start.fact.payload), (
        "its input is not lost"
    )
    assert event.kind == EventKind.RUN_TERMINATED
    assert event.details["reason"] == terminated.reason
    assert await store.read_inbox(terminated.run_id) == []

    cancelled = await get(store, "child-2")
    assert cancelled.status is RunStatus.PENDING
    asked = (await store.read_inbox(cancelled.run_id))[-1]
    assert (asked.fact.kind, asked.run_id) == (EventKind.CANCEL_REQUESTED, cancelled.run_id)
    assert parse_detail(asked.fact.detail)["reason"]

    assert await get(store, "child-3") == before[3]
    assert await get(store, "child-4") == before[4]


async def test_terminated_child_goes_on_from_its_history_and_refuses_its_owner(store):
    parent = await begin_family(store, "terminate")
    child = await reclaim(store, "child-1", "b")
    await child.commit(STARTED, consumed=child.row_ids, tasks=[task(child.run)], questions=[question(child.run)])
    await parent.commit(COMPLETED, change=ended(), close_children=[1])
    run = await get(store, "child-1")
    assert (run.status, run.seq, run.epoch) == (RunStatus.TERMINATED, 2, 2)
    history = await store.read_history(run.run_id)
    verify_chain(history)
    assert [event.batch for event in history] == [1, 2]
    assert await store.read_tasks(run.run_id) == []
    assert await store.questions() == []
    [refused] = await commit(store, child.turn(COMPLETED, change=ended()))
    assert isinstance(refused, ConflictError)
    with pytest.raises(RunClosedError):
        await store.send(message("child-1"))


async def test_time_of_a_terminated_child_does_not_run_backwards(store):
    parent = await begin_family(store, "terminate")
    child = await reclaim(store, "child-1")
    await child.commit(STARTED, consumed=child.row_ids, at_us=T0 + 100)
    await parent.commit(COMPLETED, change=ended(at_us=T0 + 9), close_children=[1])
    verify_chain(await store.read_history(child.run.run_id))


async def test_stuck_child_is_terminated_like_any_other(store):
    parent = await begin(store, "parent")
    stuck = await begin_stuck(store, "stuck", parent_run_id=parent.run.run_id, parent_command=1)
    await parent.commit(COMPLETED, change=ended(), close_children=[1])
    assert (await get_by_id(store, stuck.run.run_id)).status is RunStatus.TERMINATED


async def test_terminating_a_child_goes_on_to_its_own_children(store):
    parent = await begin_family(store, "terminate")
    middle = await reclaim(store, "child-1")
    grandchildren = [
        child(middle.run, f"grandchild-{policy}", number, on_parent_close=policy)
        for number, policy in enumerate(["terminate", "cancel", "abandon"], 1)
    ]
    await middle.commit(STARTED, consumed=middle.row_ids, new_runs=grandchildren)
    await parent.commit(COMPLETED, change=ended(), close_children=[1])
    assert (await get(store, "grandchild-terminate")).status is RunStatus.TERMINATED
    cancelled, abandoned = await get(store, "grandchild-cancel"), await get(store, "grandchild-abandon")
    assert kinds(await store.read_inbox(cancelled.run_id)) == [
        EventKind.RUN_STARTED,
        EventKind.CANCEL_REQUESTED,
    ]
    assert kinds(await store.read_inbox(abandoned.run_id)) == [EventKind.RUN_STARTED]


async def test_children_that_have_ended_are_left_alone(store):
    parent = await begin_family(store, "terminate")
    child = await reclaim(store, "child-1")
    run = await child.commit(STARTED, COMPLETED, consumed=child.row_ids, change=ended())
    await parent.commit(COMPLETED, change=ended(), close_children=[1])
    assert await get(store, "child-1") == run


async def test_child_that_continued_as_new_is_closed_with_its_parent(store):
    parent = await begin_family(store, "terminate")
    first = await reclaim(store, "child-1")
    successor = child(
        parent.run,
        "child-1",
        1,
        on_conflict="replace",
        first_run_id=first.run.first_run_id,
        on_parent_close="terminate",
    )
    # The successor keeps the parent of its predecessor, so it is no child of the run whose turn creates it.
    await first.commit(
        STARTED,
        fact(EventKind.RUN_CONTINUED),
        consumed=first.row_ids,
        new_runs=[successor],
        change=ended(RunStatus.CONTINUED_AS_NEW),
    )
    await parent.commit(COMPLETED, change=ended(), close_children=[1])
    run = await get(store, "child-1")
    assert (run.run_id, run.status) == (successor.run_id, RunStatus.TERMINATED)
    assert (await get_by_id(store, first.run.run_id)).status is RunStatus.CONTINUED_AS_NEW


async def test_operator_terminates_a_run_with_its_children(store):
    parent = await begin_family(store, "terminate")
    history = await store.read_history(parent.run.run_id)
    operator = Author(store, Claimed(await get(store, "parent"), []), history[-1])
    await operator.commit(
        fact(EventKind.RUN_TERMINATED),
        epoch=None,
        fence=True,
        change=ended(RunStatus.TERMINATED, reason="why"),
        close_children=[1],
    )
    assert (await get(store, "child-1")).status is RunStatus.TERMINATED
    [refused] = await commit(store, parent.turn(COMPLETED, change=RUNNING))
    assert isinstance(refused, ConflictError)
