"""Updates and their outcomes, and queries."""

import pytest

from conformance.build import (
    SECOND,
    T0,
    begin,
    begin_closed,
    begin_waiting,
    ended,
    fact,
    message,
    query,
    reclaim,
    update,
)
from durable.handle import RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio

END = T0 + 60 * SECOND


async def send_update(store, update_id="u1"):
    accepted = message(content=fact(EventKind.UPDATE_ACCEPTED, name="add_item"), message_id=update_id)
    await store.send(accepted, update(update_id=update_id))


async def test_unknown_update_is_none(store):
    await begin_waiting(store)
    assert await store.get_update("w", "u1") is None


@pytest.mark.parametrize(("state", "payload"), [("completed", "3"), ("failed", '{"class":"E"}'), ("rejected", None)])
async def test_turn_gives_an_update_its_outcome(store, state, payload):
    await begin_waiting(store)
    await send_update(store)
    await send_update(store, "u2")
    author = await reclaim(store)
    done = update(state=state, payload=payload)
    await author.commit(author.inbox[0].fact, consumed=author.row_ids[:1], updates=[done])
    assert await store.get_update("w", "u1") == done
    assert await store.get_update("w", "u2") == update(update_id="u2")


async def test_updates_belong_to_their_workflow_id(store):
    await begin_waiting(store)
    await begin_waiting(store, "x")
    await send_update(store)
    assert await store.get_update("x", "u1") is None


async def test_turn_may_write_an_update_that_was_not_sent_by_row(store):
    author = await begin(store)
    await author.commit(updates=[update(state="completed", payload="1")])
    assert await store.get_update("w", "u1") == update(state="completed", payload="1")


async def test_update_that_its_run_never_looked_at_is_closed_with_it(store):
    await begin_waiting(store)
    await send_update(store)
    await send_update(store, "u2")
    author = await reclaim(store)
    await author.commit(updates=[update(state="completed")], consumed=author.row_ids[:1], change=ended())
    assert await store.get_update("w", "u1") == update(state="completed")
    assert await store.get_update("w", "u2") == update(update_id="u2", state="closed")


async def test_update_in_the_middle_is_closed_by_a_termination(store):
    await begin_waiting(store)
    await send_update(store)
    author = await reclaim(store)
    await author.commit(author.inbox[0].fact, consumed=author.row_ids)
    await author.commit(change=ended(RunStatus.TERMINATED))
    assert await store.get_update("w", "u1") == update(state="closed")


async def test_update_passes_to_the_run_that_continues(store):
    author = await begin(store)
    await send_update(store)
    await author.commit(consumed=author.row_ids, change=ended(RunStatus.CONTINUED_AS_NEW))
    assert await store.get_update("w", "u1") == update()


async def test_query_waits_for_a_worker_of_its_workflow(store):
    run = (await begin_waiting(store)).run
    asked = query(run)
    await store.ask(asked)
    assert await store.pending_queries(["refund"], T0) == []
    assert await store.pending_queries([], T0) == []
    assert await store.pending_queries(["refund", "order"], T0) == [asked]
    assert await store.get_query("q1") == asked


async def test_pending_queries_come_oldest_first(store):
    run = (await begin_waiting(store)).run
    ids = ["q3", "q1", "q2"]
    for query_id in ids:
        await store.ask(query(run, query_id))
    assert [asked.query_id for asked in await store.pending_queries(["order"], T0)] == ids


@pytest.mark.parametrize("state", ["answered", "failed"])
async def test_reply_answers_a_query_and_the_first_stands(store, state):
    run = (await begin_waiting(store)).run
    await store.ask(query(run))
    await store.reply("q1", state, '"first"')
    await store.reply("q1", "answered", '"second"')
    assert await store.get_query("q1") == query(run, state=state, reply='"first"')
    assert await store.pending_queries(["order"], T0) == []


async def test_reply_to_an_unknown_query_goes_nowhere(store):
    await store.reply("nobody", "answered", '"a"')
    assert await store.get_query("nobody") is None


async def test_query_of_a_closed_run_waits_as_well(store):
    run = (await begin_closed(store)).run
    await store.ask(query(run))
    assert len(await store.pending_queries(["order"], T0)) == 1


@pytest.mark.parametrize("is_answered", [True, False])
async def test_expired_queries_are_removed_whoever_asks(store, is_answered):
    run = (await begin_waiting(store)).run
    await store.ask(query(run))
    await store.ask(query(run, "q2", expires_at_us=END + 1))
    if is_answered:
        await store.reply("q1", "answered", "1")
    await store.pending_queries(["refund"], END - 1)
    assert await store.get_query("q1") is not None
    await store.pending_queries(["refund"], END)
    assert await store.get_query("q1") is None
    assert await store.get_query("q2") is not None
    await store.reply("q1", "answered", '"late"')
    assert await store.get_query("q1") is None


async def test_query_leaves_its_run_alone(store):
    run = (await begin_waiting(store)).run
    await store.ask(query(run))
    await store.reply("q1", "answered", "1")
    assert await store.get_run("w") == run
    assert await store.read_inbox(run.run_id) == []
