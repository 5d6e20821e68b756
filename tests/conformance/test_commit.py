"""Commits: what a turn writes, that it is all or nothing, and who is refused (rule D1)."""

import pytest

from conformance.build import (
    COMPLETED,
    RUNNING,
    SCHEDULED,
    SECOND,
    STARTED,
    T0,
    WAITING,
    Author,
    attempt,
    begin,
    begin_waiting,
    claim,
    commit,
    ended,
    fact,
    get,
    get_by_id,
    log,
    message,
    new_run,
    question,
    reclaim,
    task,
    update,
)
from durable.errors import ConflictError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact, verify_chain
from runtime.store.row import Claimed, StreamItem
from runtime.store.turn import RunChange, Turn

pytestmark = pytest.mark.anyio


async def test_events_are_appended_and_read_back_as_they_were(store):
    author = await begin(store)
    first = author.turn(STARTED, Fact(EventKind.STEP_SCHEDULED, 1, "größe", '{"a":1}', '"é"', "user:zoë"))
    second = author.turn(COMPLETED, at_us=T0 + 5)
    assert await commit(store, first) == [None]
    assert await commit(store, second) == [None]
    history = await store.read_history(author.run.run_id)
    assert history == [*first.events, *second.events]
    verify_chain(history)
    assert (await get(store)).seq == 3


async def test_history_is_read_in_pages(store):
    author = await begin(store)
    await author.commit(*[SCHEDULED] * 10)
    pages = [await store.read_history(author.run.run_id, after, 4) for after in (0, 4, 8, 10)]
    assert [[event.seq for event in page] for page in pages] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    assert [event.seq for event in await store.read_history(author.run.run_id, 8)] == [9, 10]


async def test_change_replaces_the_columns_that_it_names(store):
    author = await begin(store)
    change = RunChange(
        RunStatus.WAITING,
        RollbackStatus.RUNNING,
        "an answer",
        T0 + 9,
        reason="because",
        code="v1",
        started_at_us=T0 + 1,
    )
    run = await author.commit(STARTED, consumed=author.row_ids, change=change)
    assert (run.status, run.rollback, run.waiting_for) == (
        RunStatus.WAITING,
        RollbackStatus.RUNNING,
        "an answer",
    )
    assert (run.ready_at_us, run.reason, run.code, run.started_at_us) == (T0 + 9, "because", "v1", T0 + 1)
    assert (run.owner, run.epoch) == ("worker", 1)
    again = await author.commit(change=WAITING)
    assert (again.rollback, again.waiting_for, again.ready_at_us) == (RollbackStatus.NONE, None, None)
    assert (again.reason, again.code, again.owner) == (None, None, None)
    assert (again.started_at_us, again.closed_at_us) == (T0 + 1, None)


async def test_end_is_kept_with_its_time(store):
    author = await begin(store)
    change = ended(RunStatus.FAILED, T0 + 7, reason="no money", rollback=RollbackStatus.COMPLETED)
    run = await author.commit(STARTED, Fact(EventKind.RUN_FAILED), consumed=author.row_ids, change=change)
    assert (run.status, run.closed_at_us, run.reason) == (RunStatus.FAILED, T0 + 7, "no money")
    assert (run.rollback, run.owner) == (RollbackStatus.COMPLETED, None)


async def test_turn_without_change_leaves_the_row_but_for_its_seq(store):
    author = await begin(store)
    before = await get(store)
    after = await author.commit(STARTED, change=None, attempts=[attempt(author.run, 1)])
    assert after.seq == 1
    assert (after.status, after.owner, after.ready_at_us) == (before.status, before.owner, before.ready_at_us)
    assert len(await store.read_attempts(author.run.run_id)) == 1


async def test_consumed_rows_are_gone_and_others_stay(store):
    author = await begin(store)
    await store.send(message(content=fact(name="a")))
    await store.send(message(content=fact(name="b")))
    rows = await store.read_inbox(author.run.run_id)
    await author.commit(STARTED, consumed=[rows[0].row_id, rows[2].row_id])
    assert [row.fact.name for row in await store.read_inbox(author.run.run_id)] == ["a"]


async def test_turns_of_one_call_are_applied_in_order(store):
    author = await begin(store)
    turns = [author.turn(STARTED), author.turn(SCHEDULED), author.turn(COMPLETED)]
    assert await commit(store, *turns) == [None, None, None]
    assert [event.kind for event in await store.read_history(author.run.run_id)] == [
        EventKind.RUN_STARTED,
        EventKind.STEP_SCHEDULED,
        EventKind.RUN_COMPLETED,
    ]


async def test_commits_are_applied_in_the_order_of_the_calls(store):
    author = await begin(store)
    outcomes = []
    for kind in (STARTED, SCHEDULED):
        store.commit([author.turn(kind)], outcomes.extend)
    assert await commit(store, author.turn(COMPLETED)) == [None]
    assert outcomes == [None, None]
    assert (await get(store)).seq == 3


async def test_commit_of_no_turns_is_done(store):
    assert await commit(store) == []


@pytest.mark.parametrize("wrong", [{"expected_seq": 1}, {"epoch": 0}, {"epoch": 2}, {"run_id": "nobody"}])
async def test_turn_of_another_state_conflicts(store, wrong):
    author = await begin(store)
    [refused] = await commit(store, author.turn(STARTED, **wrong) if "run_id" not in wrong else _of_nobody(author))
    assert isinstance(refused, ConflictError)
    assert await get(store) == author.run


def _of_nobody(author):
    return Turn("nobody", "w", 0, 1, author.turn(STARTED).events, RUNNING)


async def test_turn_that_was_written_already_conflicts(store):
    author = await begin(store)
    turn = author.turn(STARTED)
    assert await commit(store, turn) == [None]
    [refused] = await commit(store, turn)
    assert isinstance(refused, ConflictError)
    assert len(await store.read_history(author.run.run_id)) == 1


async def test_refused_turn_writes_nothing(store):
    author = await begin(store)
    other = (await begin_waiting(store, "other")).run
    await store.send(message("w", update_fact(), message_id="m"), update())
    run, inbox = await get(store), await store.read_inbox(author.run.run_id)
    run_id = run.run_id
    turn = author.turn(
        STARTED,
        expected_seq=5,
        consumed=[row.row_id for row in inbox],
        blobs={"hash": b"data"},
        inbox=[message("other", message_id="in")],
        outgoing=[(3, message("other", message_id="out"))],
        new_runs=[new_run("child", parent_run_id=run_id, parent_command=2)],
        tasks=[task(run)],
        attempts=[attempt(run, 1)],
        questions=[question(run)],
        updates=[update(state="completed")],
        attributes={"a": 1},
        published={"k": "1"},
        stream=[StreamItem("s", 0, "1")],
        logs=[log(run, "hello")],
        change=ended(),
    )
    [refused] = await commit(store, turn)
    assert isinstance(refused, ConflictError)
    assert await get(store) == run
    assert await store.read_inbox(run_id) == inbox
    assert await store.read_history(run_id) == []
    assert await store.get_run("child") is None
    assert await get_by_id(store, other.run_id) == other
    assert await store.read_inbox(other.run_id) == []
    assert await store.read_tasks(run_id) == []
    assert await store.read_attempts(run_id) == []
    assert await store.questions() == []
    assert await store.get_update("w", "u1") == update()
    assert await store.read_attributes(run_id) == {}
    assert await store.read_published(run_id) == {}
    assert await store.read_stream(run_id, "s", 0, 9) == []
    assert await store.read_logs(run_id, 9) == []
    await store.send(message("other", message_id="in"))
    await store.send(message("other", message_id="out"))
    assert len(await store.read_inbox(other.run_id)) == 2


def update_fact():
    return fact(EventKind.UPDATE_ACCEPTED, name="add_item")


async def test_one_conflict_among_many_turns_fails_alone(store):
    authors = [await begin(store, f"{number}") for number in range(20)]
    turns = [author.turn(STARTED, consumed=author.row_ids, attributes={"done": True}) for author in authors]
    conflicting = 7
    turns[conflicting] = authors[conflicting].turn(STARTED, epoch=9, attributes={"done": True})
    outcomes = await commit(store, *turns)
    assert [index for index, refused in enumerate(outcomes) if refused is not None] == [conflicting]
    assert isinstance(outcomes[conflicting], ConflictError)
    for number, author in enumerate(authors):
        expected = 0 if number == conflicting else 1
        assert (await get(store, f"{number}")).seq == expected
        assert len(await store.read_history(author.run.run_id)) == expected
        assert await store.read_attributes(author.run.run_id) == ({"done": True} if expected else {})


async def test_turn_after_a_refused_one_of_the_same_run_is_judged_by_what_is_kept(store):
    author = await begin(store)
    good, lost, orphan = author.turn(STARTED), author.turn(SCHEDULED, epoch=7), author.turn(COMPLETED)
    outcomes = await commit(store, good, lost, orphan)
    assert [type(refused) for refused in outcomes] == [type(None), ConflictError, ConflictError]
    assert (await get(store)).seq == 1


async def test_conflicting_writers_of_one_run_are_decided_by_the_first(store):
    author = await begin(store)
    rival = Author(store, Claimed(author.run, author.inbox))
    outcomes = await commit(store, author.turn(STARTED), rival.turn(STARTED, SCHEDULED))
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ConflictError)


async def test_fence_ends_ownership_and_refuses_the_owner(store):
    author = await begin(store)
    await author.commit(STARTED, consumed=author.row_ids)
    history = await store.read_history(author.run.run_id)
    operator = Author(store, Claimed(await get(store), []), history[-1])
    run = await operator.commit(
        fact(EventKind.RUN_TERMINATED),
        epoch=None,
        fence=True,
        change=ended(RunStatus.TERMINATED, reason="why"),
    )
    assert (run.owner, run.epoch, run.status, run.reason) == (None, 2, RunStatus.TERMINATED, "why")
    [refused] = await commit(store, author.turn(SCHEDULED))
    assert isinstance(refused, ConflictError)


async def test_fence_alone_refuses_an_owner_that_moves_no_event(store):
    author = await begin(store)
    fenced = await Author(store, Claimed(author.run, [])).commit(epoch=None, fence=True, change=None)
    assert (fenced.owner, fenced.epoch) == (None, 2)
    [refused] = await commit(store, author.turn(change=None))
    assert isinstance(refused, ConflictError)


async def test_writer_without_epoch_still_needs_the_right_seq(store):
    author = await begin(store)
    await author.commit(STARTED)
    turn = author.turn(fact(EventKind.RUN_TERMINATED), epoch=None, fence=True, expected_seq=0)
    [refused] = await commit(store, turn)
    assert isinstance(refused, ConflictError)


async def test_owner_goes_on_after_release_only_with_a_claim_of_somebody_else_in_between_refused(store):
    author = await begin_waiting(store)
    await store.send(message())
    await claim(store, "b")
    [refused] = await commit(store, author.turn(COMPLETED))
    assert isinstance(refused, ConflictError)


async def test_closed_run_takes_turns_of_its_rollback(store):
    author = await begin(store)
    await author.commit(
        STARTED,
        fact(EventKind.RUN_FAILED),
        consumed=author.row_ids,
        change=ended(RunStatus.FAILED, rollback=RollbackStatus.FAILED),
    )
    await store.send(message(content=fact(EventKind.ROLLBACK_REQUESTED)))
    again = await reclaim(store)
    run = await again.commit(
        fact(EventKind.ROLLBACK_COMPLETED),
        consumed=again.row_ids,
        change=RunChange(RunStatus.FAILED, RollbackStatus.COMPLETED, release=True),
    )
    assert (run.seq, run.closed_at_us) == (3, T0 + SECOND)
