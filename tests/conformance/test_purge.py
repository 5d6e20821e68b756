"""Deleting what has ended, and copying what there is."""

import pytest

from conformance.build import (
    COMPLETED,
    LATER,
    SECOND,
    STARTED,
    T0,
    attempt,
    begin,
    begin_closed,
    begin_waiting,
    claim,
    ended,
    fact,
    get,
    get_by_id,
    kinds,
    log,
    message,
    new_run,
    query,
    question,
    reclaim,
    task,
    update,
)
from durable.errors import StoreError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind
from runtime.store.row import RunFilter, StreamItem

pytestmark = pytest.mark.anyio


async def begin_closed_with_everything(store):
    """A closed run that leaves a row in every table."""
    await store.start(new_run(attributes={"a": 1}))
    await store.send(message(content=fact(EventKind.UPDATE_ACCEPTED), message_id="u1"), update())
    author = await reclaim(store)
    run = author.run
    await author.commit(
        STARTED,
        tasks=[task(run)],
        attempts=[attempt(run, 1)],
        questions=[question(run)],
        published={"k": "1"},
        stream=[StreamItem("s", 0, "1")],
        logs=[log(run, "hello")],
    )
    await store.claim_tasks("b", ["default"], ["charge"], 1, T0)
    await store.heartbeat(run.run_id, 1, '"half"', T0)
    await store.ask(query(run))
    return await author.commit(COMPLETED, change=ended())


async def test_purge_deletes_all_that_belongs_to_a_run(store):
    run = await begin_closed_with_everything(store)
    assert await store.purge(LATER, 10) == 1
    assert await store.get_run("w") is None
    assert await store.get_run_by_id(run.run_id) is None
    assert await store.list_runs(RunFilter(), 10) == ([], None)
    assert await store.read_history(run.run_id) == []
    assert await store.read_inbox(run.run_id) == []
    assert await store.read_tasks(run.run_id) == []
    assert await store.cancelled_tasks("b") == []
    assert await store.read_attempts(run.run_id) == []
    assert await store.read_heartbeat(run.run_id, 1) is None
    assert await store.read_attributes(run.run_id) == {}
    assert await store.read_published(run.run_id) == {}
    assert await store.read_stream(run.run_id, "s", 0, 10) == []
    assert await store.read_logs(run.run_id, 10) == []
    assert await store.get_update("w", "u1") is None
    assert await store.get_query("q1") is None
    assert await store.purge(LATER, 10) == 0


async def test_purged_workflow_id_is_as_new(store):
    await begin_closed_with_everything(store)
    await store.purge(LATER, 10)
    outcome = await store.start(new_run(input_digest="other", on_conflict="fail"))
    assert outcome.created
    await store.send(message(content=fact(EventKind.UPDATE_ACCEPTED), message_id="u1"), update())
    assert kinds(await store.read_inbox(outcome.run.run_id)) == [
        EventKind.RUN_STARTED,
        EventKind.UPDATE_ACCEPTED,
    ]


async def test_message_ids_and_updates_are_kept_with_the_last_run_of_an_id(store):
    first = await begin_closed_with_everything(store)
    second = (await store.start(new_run(on_conflict="replace"))).run
    assert await store.purge(LATER, 10) == 1
    assert await store.get_run_by_id(first.run_id) is None
    assert await store.get_update("w", "u1") == update(state="closed")
    await store.send(message(message_id="u1"))
    assert kinds(await store.read_inbox(second.run_id)) == [EventKind.RUN_STARTED]


async def test_purge_takes_only_what_closed_before(store):
    await begin_closed(store, "early", closed_at_us=T0 + SECOND)
    await begin_closed(store, "late", closed_at_us=T0 + 2 * SECOND)
    await begin_waiting(store, "open")
    assert await store.purge(T0 + SECOND, 10) == 0
    assert await store.purge(T0 + 2 * SECOND, 10) == 1
    assert await store.get_run("early") is None
    assert await store.count_runs(RunFilter()) == 2


async def test_purge_takes_the_oldest_up_to_its_limit(store):
    for number in range(5):
        await begin_closed(store, f"{number}")
    assert await store.purge(LATER, 2) == 2
    rows, _ = await store.list_runs(RunFilter(), 10)
    assert [row.workflow_id for row in rows] == ["4", "3", "2"]
    assert [await store.purge(LATER, 2) for _ in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("status", [status for status in RunStatus if status.is_closed])
async def test_purge_takes_closed_runs_of_every_status(store, status):
    await begin_closed(store, status=status)
    assert await store.purge(LATER, 10) == 1


@pytest.mark.parametrize("rollback", list(RollbackStatus))
async def test_purge_keeps_runs_whose_rollback_is_not_over(store, rollback):
    await begin_closed(store, status=RunStatus.FAILED, rollback=rollback)
    is_kept = rollback in {RollbackStatus.RUNNING, RollbackStatus.FAILED}
    assert await store.purge(LATER, 10) == (0 if is_kept else 1)


async def test_purge_keeps_children_of_an_open_run(store):
    parent = await begin(store, "parent")
    child = new_run("child", parent_run_id=parent.run.run_id, parent_command=1)
    await parent.commit(STARTED, consumed=parent.row_ids, new_runs=[child])
    author = await reclaim(store, "child")
    await author.commit(STARTED, COMPLETED, consumed=author.row_ids, change=ended())
    assert await store.purge(LATER, 10) == 0
    await parent.commit(COMPLETED, change=ended())
    assert await store.purge(LATER, 10) == 2


async def test_purge_leaves_other_runs_of_the_id_alone(store):
    await begin_closed(store)
    await store.start(new_run(on_conflict="replace"))
    await store.send(message())
    await store.purge(LATER, 10)
    author = await reclaim(store)
    assert kinds(author.inbox) == [EventKind.RUN_STARTED, EventKind.SIGNAL_RECEIVED]


async def test_backup_can_be_opened_as_a_store(store, tmp_path):
    run = await begin_closed_with_everything(store)
    target = tmp_path / "copy.db"
    if store.url.startswith("memory:"):
        with pytest.raises(StoreError, match="memory"):
            await store.backup(target)
        assert not target.exists()
        return
    await store.backup(target)
    await begin_waiting(store, "after")
    copy = type(store)(target)
    await copy.open()
    assert await get_by_id(copy, run.run_id) == run
    assert await copy.read_history(run.run_id) == await store.read_history(run.run_id)
    assert await copy.get_run("after") is None
    assert await claim(copy) == []
    await copy.start(new_run("only in the copy"))
    await copy.close()
    assert await store.get_run("only in the copy") is None


async def test_backup_does_not_overwrite(store, tmp_path):
    await begin_waiting(store)
    target = tmp_path / "copy.db"
    target.write_bytes(b"precious")
    with pytest.raises(StoreError):
        await store.backup(target)
    assert target.read_bytes() == b"precious"


async def test_backup_into_a_directory_that_is_missing_says_so(store, tmp_path):
    await begin_waiting(store)
    with pytest.raises(StoreError):
        await store.backup(tmp_path / "missing" / "copy.db")
    assert await get(store)
