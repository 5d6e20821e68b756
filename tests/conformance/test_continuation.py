"""Runs after runs: continue-as-new with what it carries, retries, replacements, and what does not leak."""

from itertools import pairwise

import pytest

from conformance.build import (
    COMPLETED,
    SECOND,
    STARTED,
    T0,
    Author,
    begin,
    begin_closed,
    begin_waiting,
    claimed_ids,
    commit,
    ended,
    fact,
    get,
    get_by_id,
    kinds,
    message,
    new_run,
    outcome,
    reclaim,
)
from durable.errors import ConflictError, RunClosedError
from durable.handle import RunStatus
from durable.history import EventKind
from runtime.store.row import Claimed

pytestmark = pytest.mark.anyio

CONTINUED = fact(EventKind.RUN_CONTINUED)


def successor(run, **fields):
    """The run that continues this one."""
    return new_run(run.workflow_id, first_run_id=run.first_run_id, on_conflict="replace", **fields)


async def continue_as_new(author, **fields):
    """End a run that continues; returns the successor's row."""
    new = successor(author.run, **fields)
    await author.commit(
        STARTED, CONTINUED, consumed=author.row_ids, new_runs=[new], change=ended(RunStatus.CONTINUED_AS_NEW)
    )
    return await get_by_id(author.store, new.run_id)


async def act_on_closed(store, run):
    """Plays a client that writes to a run that has ended."""
    history = await store.read_history(run.run_id)
    return Author(store, Claimed(await get_by_id(store, run.run_id), []), history[-1])


async def test_continue_as_new_closes_the_run_and_opens_its_successor(store):
    author = await begin(store)
    second = await continue_as_new(author)
    assert (await get_by_id(store, author.run.run_id)).status is RunStatus.CONTINUED_AS_NEW
    assert await get(store) == second
    assert await claimed_ids(store) == ["w"]


async def test_successor_is_the_next_run_of_the_chain(store):
    author = await begin(store)
    runs = [author.run]
    for _ in range(3):
        await continue_as_new(author)
        author = await reclaim(store)
        runs.append(author.run)
    for run, following in pairwise(runs):
        found = await store.successor(run.run_id)
        assert found is not None
        assert found.run_id == following.run_id
    assert await store.successor(runs[-1].run_id) is None
    assert {run.first_run_id for run in runs} == {runs[0].run_id}


async def test_chain_of_runs_made_in_one_instant_keeps_its_order(store):
    author = await begin(store, run_id="z")
    second = await continue_as_new(author, run_id="m")
    author = await reclaim(store)
    third = await continue_as_new(author, run_id="a")
    assert {second.created_at_us, third.created_at_us} == {T0}
    assert await get(store) == third
    assert (await store.successor("z")).run_id == "m"
    assert (await store.successor("m")).run_id == "a"


async def test_unread_messages_pass_to_the_successor_in_order(store):
    author = await begin(store)
    await store.send(message(content=fact(name="to the id"), message_id="m1"))
    await store.send(message(content=fact(name="to the run"), message_id="m2", run_id=author.run.run_id))
    await store.send(message(content=fact(EventKind.UPDATE_ACCEPTED, name="update")))
    second = await continue_as_new(author)
    inbox = await store.read_inbox(second.run_id)
    assert inbox[0].fact.kind == EventKind.RUN_STARTED
    assert [row.fact.name for row in inbox[1:]] == ["to the id", "to the run", "update"]
    assert [row.message_id for row in inbox if row.message_id] == ["m1", "m2"]
    assert await store.read_inbox(author.run.run_id) == []


async def test_message_id_that_passed_on_is_not_accepted_twice(store):
    author = await begin(store)
    await store.send(message(message_id="m1"))
    second = await continue_as_new(author)
    await store.send(message(message_id="m1"))
    assert len(await store.read_inbox(second.run_id)) == 2


async def test_messages_that_were_read_but_not_handled_are_carried_with_their_ids(store):
    author = await begin(store)
    await store.send(message(message_id="m1"))
    author.inbox = await store.read_inbox(author.run.run_id)
    second = await continue_as_new(author, messages=[message(message_id="m1", run_id=author.run.run_id)])
    start, carried = await store.read_inbox(second.run_id)
    assert start.fact.kind == EventKind.RUN_STARTED
    assert (carried.message_id, carried.fact) == ("m1", fact())
    await store.send(message(message_id="m1"))
    assert len(await store.read_inbox(second.run_id)) == 2


async def test_carried_message_is_known_even_if_it_never_was_in_the_inbox(store):
    second = await continue_as_new(await begin(store), messages=[message(message_id="m9")])
    await store.send(message(message_id="m9"))
    assert [row.message_id for row in await store.read_inbox(second.run_id)] == [None, "m9"]


async def test_closed_run_reads_nothing_of_what_waits_for_its_successor(store):
    author = await begin(store)
    await store.send(message())
    closed = await author.commit(STARTED, CONTINUED, consumed=author.row_ids, change=ended(RunStatus.CONTINUED_AS_NEW))
    assert await store.read_inbox(closed.run_id) == []
    second = (await store.start(successor(closed))).run
    assert kinds(await store.read_inbox(second.run_id)) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


async def test_messages_to_a_run_that_continued_go_to_the_run_that_goes_on(store):
    author = await begin(store)
    await continue_as_new(author)
    third = await continue_as_new(await reclaim(store))
    assert (await store.send(message(message_id="m1", run_id=author.run.run_id))).run_id == third.run_id
    inbox = await store.read_inbox(third.run_id)
    assert [row.message_id for row in inbox] == [None, "m1"]
    await store.send(message(message_id="m1", run_id=author.run.run_id))
    assert await store.read_inbox(third.run_id) == inbox


async def test_messages_to_a_chain_that_ended_are_refused_even_if_its_id_is_used_again(store):
    author = await begin(store)
    await continue_as_new(author)
    await (await reclaim(store)).commit(STARTED, COMPLETED, change=ended())
    later = new_run(on_conflict="replace")
    await store.start(later)
    with pytest.raises(RunClosedError):
        await store.send(message(run_id=author.run.run_id))
    assert kinds(await store.read_inbox(later.run_id)) == [EventKind.RUN_STARTED]


async def test_results_do_not_pass_to_the_successor(store):
    author = await begin(store)
    await store.send(outcome(author.run, 1))
    second = await continue_as_new(author)
    assert kinds(await store.read_inbox(second.run_id)) == [EventKind.RUN_STARTED]
    with pytest.raises(RunClosedError):
        await store.send(outcome(author.run, 2))
    await store.send(outcome(second, 1))
    assert kinds(await store.read_inbox(second.run_id)) == [EventKind.RUN_STARTED, EventKind.STEP_COMPLETED]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TERMINATED])
async def test_unread_messages_of_a_run_that_ended_do_not_leak_into_the_next(store, status):
    author = await begin(store)
    await store.send(message())
    await store.send(message(run_id=author.run.run_id))
    closed = await author.commit(STARTED, COMPLETED, consumed=author.row_ids, change=ended(status))
    assert await store.read_inbox(closed.run_id) == []
    later = (await store.start(new_run(on_conflict="replace"))).run
    assert kinds(await store.read_inbox(later.run_id)) == [EventKind.RUN_STARTED]


async def test_end_before_the_first_turn_drops_the_start(store):
    run = (await store.start(new_run())).run
    operator = Author(store, Claimed(run, []))
    await operator.commit(fact(EventKind.RUN_TERMINATED), epoch=None, fence=True, change=ended(RunStatus.TERMINATED))
    assert await store.read_inbox(run.run_id) == []
    assert await claimed_ids(store) == []


async def test_run_is_replaced_in_the_transaction_that_terminates_it(store):
    author = await begin_waiting(store)
    await store.send(message())
    operator = await act_on_closed(store, author.run)
    new = new_run(on_conflict="replace")
    await operator.commit(
        fact(EventKind.RUN_TERMINATED),
        epoch=None,
        fence=True,
        new_runs=[new],
        change=ended(RunStatus.TERMINATED),
    )
    current = await get(store)
    assert current.run_id == new.run_id
    assert kinds(await store.read_inbox(current.run_id)) == [EventKind.RUN_STARTED]
    assert await store.successor(author.run.run_id) is None


async def test_retry_is_the_successor_of_the_run_that_failed(store):
    failed = (await begin_closed(store, status=RunStatus.FAILED)).run
    history = await store.read_history(failed.run_id)
    operator = await act_on_closed(store, failed)
    retry = new_run(
        history=history[:1],
        start=None,
        messages=[message(content=fact(EventKind.RUN_FORKED))],
        on_conflict="replace",
        first_run_id=failed.first_run_id,
        origin_id=failed.origin_id,
    )
    unchanged = await operator.commit(epoch=None, fence=True, new_runs=[retry], change=None)
    assert (unchanged.status, unchanged.seq) == (RunStatus.FAILED, failed.seq)
    following = await store.successor(failed.run_id)
    assert following == await get(store)
    assert (following.run_id, following.seq, following.origin_id) == (retry.run_id, 1, failed.origin_id)
    assert await store.read_history(retry.run_id) == history[:1]
    assert kinds(await store.read_inbox(retry.run_id)) == [EventKind.RUN_FORKED]


async def test_second_of_two_retries_conflicts(store):
    failed = (await begin_closed(store, status=RunStatus.FAILED)).run
    turns = []
    for _ in range(2):
        operator = await act_on_closed(store, failed)
        turns.append(operator.turn(epoch=None, fence=True, new_runs=[successor(failed)], change=None))
    first, second = await commit(store, *turns)
    assert first is None
    assert isinstance(second, ConflictError)
    assert (await get(store)).run_id == turns[0].new_runs[0].run_id
    assert await store.get_run_by_id(turns[1].new_runs[0].run_id) is None


async def test_new_run_that_does_not_replace_conflicts_with_the_closed_one(store):
    failed = (await begin_closed(store, status=RunStatus.FAILED)).run
    operator = await act_on_closed(store, failed)
    turn = operator.turn(epoch=None, fence=True, new_runs=[new_run()], change=None, attributes={"a": 1})
    [refused] = await commit(store, turn)
    assert isinstance(refused, ConflictError)
    assert await get(store) == failed
    assert await store.read_attributes(failed.run_id) == {}


async def test_turn_may_start_runs_of_other_workflow_ids(store):
    failed = (await begin_closed(store, status=RunStatus.FAILED)).run
    operator = await act_on_closed(store, failed)
    await operator.commit(epoch=None, fence=True, new_runs=[new_run("fork")], change=None)
    assert (await get(store, "fork")).parent_run_id is None
    assert await store.successor(failed.run_id) is None


async def test_later_start_of_the_id_is_no_successor(store):
    closed = (await begin_closed(store)).run
    await store.start(new_run(on_conflict="replace", created_at_us=T0 + SECOND))
    assert await store.successor(closed.run_id) is None
