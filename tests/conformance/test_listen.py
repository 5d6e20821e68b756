"""Notifications: what listeners are told, and when they are told nothing."""

import anyio
import pytest

from conformance.build import (
    COMPLETED,
    QUEUES,
    RUNNING,
    SCHEDULED,
    STARTED,
    T0,
    WAITING,
    attempt,
    begin,
    begin_stuck,
    begin_waiting,
    commit,
    ended,
    fact,
    message,
    new_run,
    outcome,
    query,
    reclaim,
    task,
    update,
)
from durable.errors import RunClosedError, RunExistsError, RunNotFoundError
from durable.handle import RunStatus
from durable.history import EventKind
from runtime.store.change import Change
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio


class Ear:
    """Keeps what a store tells its listeners."""

    def __init__(self, store):
        self.changes: list[Change] = []
        self._heard = anyio.Event()
        self.stop = store.listen(self._hear)

    def _hear(self, change: Change) -> None:
        self.changes.append(change)
        self._heard.set()

    async def hears(self, wanted) -> Change:
        """The first change since the last call that is as wanted; those before it are forgotten."""
        with anyio.fail_after(30):
            while True:
                while self.changes:
                    change = self.changes.pop(0)
                    if wanted(change):
                        return change
                self._heard = anyio.Event()
                await self._heard.wait()


async def test_start_and_send_tell_that_a_run_is_ready(store):
    await begin_waiting(store, "other")
    ear = Ear(store)
    await store.start(new_run())
    await ear.hears(lambda change: change.ready)
    await store.send(message("other"))
    await ear.hears(lambda change: change.ready)


async def test_commit_tells_what_it_wrote(store):
    author = await begin(store)
    ear = Ear(store)
    await author.commit(STARTED, SCHEDULED, tasks=[task(author.run)], updates=[update(state="completed")])
    change = await ear.hears(lambda change: change.tasks)
    assert change.updates
    assert change.wrote is None or author.run.run_id in change.wrote
    assert not change.closed
    assert not change.queries


async def test_commit_without_events_tells_that_a_run_waits_for_something_else(store):
    author = await begin(store)
    await author.commit(STARTED, consumed=author.row_ids, change=RUNNING)
    ear = Ear(store)
    await author.commit(change=WAITING)
    change = await ear.hears(lambda change: change.wrote is None or change.wrote)
    assert change.wrote is None or change.wrote == {author.run.run_id}


async def test_run_that_is_stuck_again_for_the_same_reason_is_told_of(store):
    await begin_stuck(store)
    await store.send(message(content=fact(EventKind.RUN_RESUMED)))
    author = await reclaim(store)
    stuck = RunChange(RunStatus.STUCK, release=True, code=author.run.code, reason=author.run.reason)
    ear = Ear(store)
    await author.commit(consumed=author.row_ids, change=stuck)
    change = await ear.hears(lambda change: change.wrote is None or change.wrote)
    assert change.wrote is None or change.wrote == {author.run.run_id}


async def test_commit_of_an_attempt_tells_of_it(store):
    author = await begin(store)
    await author.commit(STARTED, SCHEDULED, consumed=author.row_ids, change=RUNNING)
    ear = Ear(store)
    await author.commit(attempts=[attempt(author.run, 1)])
    change = await ear.hears(lambda change: change.wrote is None or change.wrote)
    assert change.wrote is None or change.wrote == {author.run.run_id}


async def test_commit_tells_which_run_ended(store):
    author = await begin(store)
    ear = Ear(store)
    await author.commit(STARTED, COMPLETED, change=ended())
    change = await ear.hears(lambda change: change.closed is None or change.closed)
    assert change.closed is None or change.closed == {author.run.run_id}


async def test_ending_that_is_told_is_the_one_that_is_kept(store):
    author = await begin(store)
    other = await begin(store, "other")
    ear = Ear(store)
    outcomes = await commit(store, author.turn(STARTED, COMPLETED, change=ended()), other.turn(STARTED, change=RUNNING))
    assert outcomes == [None, None]
    change = await ear.hears(lambda change: change.closed is None or change.closed)
    assert set(change.endings) <= {author.run.run_id}
    for run_id, (row, event) in change.endings.items():
        assert row == await store.get_run_by_id(run_id)
        assert event == (await store.read_history(run_id))[-1]


async def test_commit_tells_of_runs_that_it_made_ready(store):
    await begin_waiting(store, "other")
    author = await begin(store)
    ear = Ear(store)
    await author.commit(STARTED, consumed=author.row_ids, inbox=[message("other")], change=WAITING)
    await ear.hears(lambda change: change.ready)
    await author.commit(new_runs=[new_run("child", parent_run_id=author.run.run_id)], change=WAITING)
    await ear.hears(lambda change: change.ready)


async def test_end_of_a_parent_tells_of_the_children_that_it_ended(store):
    author = await begin(store)
    child = new_run("child", parent_run_id=author.run.run_id, parent_command=1)
    await author.commit(STARTED, new_runs=[child])
    ear = Ear(store)
    await author.commit(COMPLETED, change=ended(), close_children=[1])
    change = await ear.hears(lambda change: change.closed is None or change.closed)
    assert change.closed is None or change.closed == {author.run.run_id, child.run_id}


async def test_outcome_of_a_task_tells_that_its_run_is_ready(store):
    author = await begin(store)
    await author.commit(STARTED, SCHEDULED, consumed=author.row_ids, tasks=[task(author.run)], change=WAITING)
    [held] = await store.claim_tasks("b", ["default"], ["charge"], 1, T0)
    ear = Ear(store)
    await store.finish_task(held, outcome(author.run, 1))
    await ear.hears(lambda change: change.ready)


async def test_task_that_is_given_back_or_cancelled_tells_of_tasks(store):
    author = await begin(store)
    await author.commit(STARTED, SCHEDULED, tasks=[task(author.run)])
    [held] = await store.claim_tasks("b", ["default"], ["charge"], 1, T0)
    ear = Ear(store)
    await store.postpone_task(held, None)
    await ear.hears(lambda change: change.tasks)
    await store.claim_tasks("b", ["default"], ["charge"], 1, T0)
    await author.commit(fact(EventKind.STEP_CANCEL_REQUESTED, 1), cancelled_tasks=[1])
    await ear.hears(lambda change: change.tasks)


async def test_queries_and_replies_tell_of_queries(store):
    run = (await begin_waiting(store)).run
    ear = Ear(store)
    await store.ask(query(run))
    await ear.hears(lambda change: change.queries)
    await store.reply("q1", "answered", "1")
    await ear.hears(lambda change: change.queries)


async def test_update_that_is_sent_tells_that_its_run_is_ready(store):
    await begin_waiting(store)
    ear = Ear(store)
    await store.send(message(content=fact(EventKind.UPDATE_ACCEPTED)), update())
    await ear.hears(lambda change: change.ready)


async def test_take_over_tells_that_runs_are_ready(store):
    author = await begin(store)
    await author.commit(STARTED, consumed=author.row_ids)
    ear = Ear(store)
    await store.take_over(T0)
    await ear.hears(lambda change: change.ready)


async def test_unstick_tells_that_runs_are_ready(store):
    await begin_stuck(store)
    ear = Ear(store)
    await store.unstick("a", {"order": "v2"}, QUEUES, 100, T0)
    await ear.hears(lambda change: change.ready)


async def test_what_is_refused_tells_nothing(store):
    author = await begin(store)
    await author.commit(STARTED, COMPLETED, change=ended())
    ear = Ear(store)
    await commit(store, author.turn(SCHEDULED, epoch=9, attributes={"a": 1}))
    with pytest.raises(RunClosedError):
        await store.send(message())
    with pytest.raises(RunNotFoundError):
        await store.send(message("nobody"))
    with pytest.raises(RunExistsError):
        await store.start(new_run(on_conflict="fail"))
    await store.start(new_run("marker"))
    await ear.hears(lambda change: change.ready)
    assert ear.changes == []


async def test_every_listener_hears_until_it_stops(store):
    first, second = Ear(store), Ear(store)
    await store.start(new_run("a"))
    await first.hears(lambda change: change.ready)
    await second.hears(lambda change: change.ready)
    first.stop()
    first.stop()
    await store.start(new_run("b"))
    await second.hears(lambda change: change.ready)
    assert first.changes == []


async def test_listener_that_listens_twice_stops_once_at_a_time(store):
    heard = []
    stop = store.listen(heard.append)
    store.listen(heard.append)
    stop()
    await store.start(new_run())
    assert len(heard) == 1


async def test_commits_of_another_client_are_heard(connect):
    first, second = connect(), connect()
    await first.open()
    await second.open()
    ear = Ear(second)
    await first.start(new_run())
    await ear.hears(lambda change: change.ready)
    assert await second.get_run("w") is not None
    await first.close()
    await second.close()
