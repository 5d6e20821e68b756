"""Starting runs: what a new run looks like, and who gets a workflow id that is taken."""

from typing import Any

import anyio
import pytest

from conformance.build import (
    COMPLETED,
    SECOND,
    T0,
    begin_closed,
    begin_waiting,
    claim,
    claimed_ids,
    ended,
    fact,
    get,
    kinds,
    message,
    new_run,
    reclaim,
    update,
)
from durable.errors import RunClosedError, RunExistsError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Recorder
from runtime.store.row import InboxRow, NewRun, RunFilter, RunRow

pytestmark = pytest.mark.anyio


async def test_started_run_has_every_column_of_its_request(store):
    new = new_run(
        "w",
        run_id="r",
        queue="gpu",
        created_at_us=T0,
        ready_at_us=T0 + SECOND,
        origin_id="origin",
        first_run_id="first",
        parent_run_id="parent",
        parent_command=7,
        on_parent_close="abandon",
        input_digest="abc",
    )
    expected = RunRow(
        run_id="r",
        workflow_id="w",
        workflow="order",
        queue="gpu",
        status=RunStatus.PENDING,
        rollback=RollbackStatus.NONE,
        owner=None,
        epoch=0,
        seq=0,
        ready_at_us=T0 + SECOND,
        created_at_us=T0,
        started_at_us=None,
        closed_at_us=None,
        origin_id="origin",
        first_run_id="first",
        parent_run_id="parent",
        parent_command=7,
        on_parent_close="abandon",
        lost=False,
        code=None,
        reason=None,
        waiting_for=None,
        input_digest="abc",
        actor="user:alice",
    )
    assert await store.start(new) == (expected, True)
    assert await store.get_run("w") == expected
    assert await store.get_run_by_id("r") == expected


async def test_columns_that_are_enums_come_back_as_enums(store):
    await store.start(new_run())
    run = await get(store)
    assert isinstance(run.status, RunStatus)
    assert isinstance(run.rollback, RollbackStatus)
    assert run.lost is False


async def test_start_is_the_first_inbox_row_and_messages_follow(store):
    new = new_run(messages=[message(message_id="m1"), message(content=fact(name="resume"))])
    run = (await store.start(new)).run
    start, first, second = await store.read_inbox(run.run_id)
    assert start == InboxRow("w", run.run_id, None, new.start, T0, start.row_id)
    assert first == InboxRow("w", run.run_id, "m1", fact(), T0 + SECOND, first.row_id)
    assert second.fact.name == "resume"
    assert 0 < start.row_id < first.row_id < second.row_id


async def test_new_run_keeps_its_attributes(store):
    run = (await store.start(new_run(attributes={"region": "eu", "tags": ["a"], "vip": True}))).run
    assert await store.read_attributes(run.run_id) == {"region": "eu", "tags": ["a"], "vip": True}


async def test_owned_start_belongs_to_its_owner_from_the_beginning(store):
    run = (await store.start(new_run(owner="a"))).run
    assert (run.owner, run.epoch) == ("a", 1)
    assert await claim(store, "b") == []
    [(claimed, inbox)] = await claim(store, "a")
    assert claimed.epoch == 1
    assert kinds(inbox) == [EventKind.RUN_STARTED]


async def test_run_with_a_history_begins_behind_it(store):
    recorder = Recorder()
    recorder.begin_batch(T0)
    history = [
        recorder.append(EventKind.RUN_STARTED, "user:alice"),
        recorder.append(EventKind.STEP_SCHEDULED, "w", 1, "a"),
    ]
    run = (await store.start(new_run(history=history, start=None))).run
    assert run.seq == 2
    assert await store.read_history(run.run_id) == history
    assert await store.read_inbox(run.run_id) == []
    assert [taken.run.run_id for taken in await claim(store)] == [run.run_id]


async def test_attach_returns_the_open_run_with_the_same_input(store):
    first = await store.start(new_run())
    second = await store.start(new_run())
    assert second == (first.run, False)
    assert await store.count_runs(RunFilter(workflow_id="w")) == 1


@pytest.mark.parametrize("difference", [{"input_digest": "other"}, {"workflow": "refund"}])
async def test_attach_refuses_another_input_or_workflow(store, difference):
    await store.start(new_run())
    with pytest.raises(RunExistsError):
        await store.start(new_run(**difference))


async def test_attach_finds_a_closed_run_that_is_still_kept(store):
    closed = (await begin_closed(store)).run
    assert await store.start(new_run()) == (closed, False)
    with pytest.raises(RunExistsError):
        await store.start(new_run(input_digest="other"))


async def test_fail_refuses_an_id_that_is_taken(store):
    await store.start(new_run(on_conflict="fail"))
    with pytest.raises(RunExistsError):
        await store.start(new_run(on_conflict="fail"))


async def test_fail_refuses_the_id_of_a_closed_run(store):
    await begin_closed(store)
    with pytest.raises(RunExistsError) as caught:
        await store.start(new_run(on_conflict="fail"))
    assert "w" in str(caught.value)


async def test_replace_conflicts_only_with_an_open_run(store):
    closed = (await begin_closed(store)).run
    second = await store.start(new_run(on_conflict="replace", input_digest="other"))
    assert second.created
    assert second.run.run_id != closed.run_id
    with pytest.raises(RunExistsError):
        await store.start(new_run(on_conflict="replace"))
    assert await store.get_run("w") == second.run
    assert await store.get_run_by_id(closed.run_id) == closed


async def test_current_run_is_the_last_created_even_if_a_clock_went_back(store):
    await begin_closed(store, run_id="z", created_at_us=T0)
    second = await store.start(new_run(run_id="a", on_conflict="replace", created_at_us=T0 - SECOND))
    assert await store.get_run("w") == second.run


async def test_fifty_concurrent_starts_make_one_run(store):
    outcomes = []

    async def start():
        outcomes.append(await store.start(new_run()))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(start)
    assert sum(outcome.created for outcome in outcomes) == 1
    assert len({outcome.run.run_id for outcome in outcomes}) == 1
    assert kinds(await store.read_inbox(outcomes[0].run.run_id)) == [EventKind.RUN_STARTED]


async def test_fifty_concurrent_starts_through_two_clients_make_one_run(connect):
    clients = [connect(), connect()]
    for client in clients:
        await client.open()
    outcomes = []

    async def start(client):
        outcomes.append(await client.start(new_run()))

    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(start, clients[number % 2])
    assert sum(outcome.created for outcome in outcomes) == 1
    assert len({outcome.run.run_id for outcome in outcomes}) == 1
    for client in clients:
        await client.close()


async def test_delayed_start_is_not_due_before_its_time(store):
    await store.start(new_run(ready_at_us=T0 + SECOND))
    assert await claimed_ids(store, now_us=T0 + SECOND - 1) == []
    assert await claimed_ids(store, now_us=T0 + SECOND) == ["w"]


async def test_message_that_comes_with_a_delayed_start_keeps_the_delay(store):
    await store.start(new_run(ready_at_us=T0 + 10 * SECOND, messages=[message(at_us=T0)]))
    assert await claimed_ids(store, now_us=T0 + 9 * SECOND) == []


async def test_message_with_start_reaches_the_run_that_has_the_id(store):
    author = await begin_waiting(store)
    outcome = await store.start(new_run(messages=[message(message_id="m1")]))
    assert not outcome.created
    assert kinds(await store.read_inbox(author.run.run_id)) == [EventKind.SIGNAL_RECEIVED]
    assert await claimed_ids(store) == ["w"]


async def test_message_with_start_is_delivered_once_per_id(store):
    for _ in range(3):
        await store.start(new_run(messages=[message(message_id="m1"), message(message_id="m1")]))
    run = await get(store)
    assert kinds(await store.read_inbox(run.run_id)) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


async def test_outcome_with_start_is_accepted_once_per_command(store):
    facts = [fact(EventKind.STEP_COMPLETED, 1), fact(EventKind.STEP_FAILED, 1), fact(EventKind.STEP_FAILED, 2)]
    await store.start(new_run(messages=[message(content=content) for content in facts]))
    run = await get(store)
    assert kinds(await store.read_inbox(run.run_id)) == [
        EventKind.RUN_STARTED,
        EventKind.STEP_COMPLETED,
        EventKind.STEP_FAILED,
    ]


async def test_message_with_start_is_known_to_later_sends(store):
    await store.start(new_run(messages=[message(message_id="m1")]))
    await store.send(message(message_id="m1"))
    assert len(await store.read_inbox((await get(store)).run_id)) == 2


async def test_message_with_start_is_refused_by_a_closed_run(store):
    closed = (await begin_closed(store)).run
    with pytest.raises(RunClosedError):
        await store.start(new_run(messages=[message(message_id="m1"), message(message_id="m2")]))
    assert await store.read_inbox(closed.run_id) == []


async def test_repeated_message_with_start_is_acknowledged_by_a_closed_run(store):
    await store.start(new_run(messages=[message(message_id="m1")]))
    author = await reclaim(store)
    run = await author.commit(COMPLETED, consumed=author.row_ids, change=ended())
    assert await store.start(new_run(messages=[message(message_id="m1")])) == (run, False)


async def test_failed_start_leaves_nothing(store):
    await begin_waiting(store)
    with pytest.raises(RunExistsError):
        await store.start(new_run(on_conflict="fail", messages=[message(message_id="m1")]), update())
    assert await store.read_inbox((await get(store)).run_id) == []
    assert await store.get_update("w", "u1") is None


async def test_update_that_is_known_is_left_out_of_a_new_run(store):
    await begin_waiting(store)
    accepted = message(content=fact(EventKind.UPDATE_ACCEPTED, name="add_item"))
    await store.send(accepted, update())
    author = await reclaim(store)
    await author.commit(COMPLETED, consumed=author.row_ids, change=ended())
    outcome = await store.start(new_run(on_conflict="replace", messages=[accepted]), update(payload='"other"'))
    assert outcome.created
    assert kinds(await store.read_inbox(outcome.run.run_id)) == [EventKind.RUN_STARTED]
    assert await store.get_update("w", "u1") == update(state="closed")


async def test_update_with_start_is_written_once(store):
    accepted = message(content=fact(EventKind.UPDATE_ACCEPTED, name="add_item"))
    first = await store.start(new_run(messages=[accepted]), update())
    second = await store.start(new_run(messages=[accepted, message()]), update(payload='"other"'))
    assert await store.get_update("w", "u1") == update()
    assert second == (await get(store), False)
    assert kinds(await store.read_inbox(first.run.run_id)) == [
        EventKind.RUN_STARTED,
        EventKind.UPDATE_ACCEPTED,
        EventKind.SIGNAL_RECEIVED,
    ]


async def test_retry_needs_the_newest_run_of_its_id(store):
    first = (await begin_closed(store, status=RunStatus.FAILED)).run
    second = new_run(retry_of=first.run_id, on_conflict="replace", first_run_id=first.run_id)
    assert (await store.start(second)).created
    third = new_run(retry_of=first.run_id, on_conflict="replace", first_run_id=first.run_id)
    with pytest.raises(RunExistsError) as caught:
        await store.start(third)
    assert (caught.value.data["run_id"], caught.value.data["status"]) == (second.run_id, "pending")
    assert await store.get_run_by_id(third.run_id) is None


async def test_of_concurrent_retries_one_makes_a_run(store):
    first = (await begin_closed(store, status=RunStatus.FAILED)).run
    created: list[str] = []

    async def retry() -> None:
        new = new_run(retry_of=first.run_id, on_conflict="replace", first_run_id=first.run_id)
        try:
            created.append((await store.start(new)).run.run_id)
        except RunExistsError:
            pass

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(retry)
    assert [run.run_id for run in (await store.list_runs(RunFilter(workflow_id="w"), 100, None))[0]] == [
        *created,
        first.run_id,
    ]
    assert len(created) == 1


async def test_children_of_a_retry_are_created_with_it_or_none_of_them(store):
    parent, child = [(await begin_closed(store, name, status=RunStatus.FAILED)).run for name in ("p", "c")]

    def retry(row: RunRow, **fields: Any) -> NewRun:
        return new_run(
            row.workflow_id, retry_of=row.run_id, on_conflict="replace", first_run_id=row.first_run_id, **fields
        )

    first = retry(parent, children=[retry(child)])
    await store.start(first)
    assert (await store.successor(child.run_id)).run_id == first.children[0].run_id
    stale = retry((await store.get_run("p")), children=[retry(child)])
    with pytest.raises(RunExistsError):
        await store.start(stale)
    assert (await store.get_run("p")).run_id == first.run_id


async def test_message_to_a_retried_run_goes_to_the_retry(store):
    first = (await begin_closed(store, status=RunStatus.FAILED)).run
    second = new_run(retry_of=first.run_id, on_conflict="replace", first_run_id=first.run_id)
    await store.start(second)
    assert (await store.send(message(run_id=first.run_id))).run_id == second.run_id
