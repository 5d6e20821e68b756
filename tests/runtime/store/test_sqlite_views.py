"""What a person sees who opens the file with the sqlite3 shell."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from conformance.build import COMPLETED, SECOND, STARTED, T0, attempt, begin, ended, task, worker_row

from durable.codec.failure import record_exception
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact, write_detail
from runtime.store.row import AttemptOutcome
from runtime.store.sqlite import SqliteStore
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio

START_TEXT = "2023-11-14T22:13:20.000Z"


def rows(store: SqliteStore, sql: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(store.path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def scheduled(command: int, name: str, **detail: Any) -> Fact:
    return Fact(EventKind.STEP_SCHEDULED, command, name, write_detail(**detail))


def failed(command: int, error: Exception, **detail: Any) -> Fact:
    payload = f'{{"v":1,"data":{record_exception(error)}}}'
    return Fact(EventKind.STEP_FAILED, command, None, write_detail(**detail), payload)


def done(command: int, **detail: Any) -> Fact:
    return Fact(EventKind.STEP_COMPLETED, command, None, write_detail(**detail), '{"v":1,"data":1}')


async def test_workflows_shows_names_states_and_times(sqlite):
    author = await begin(sqlite, "deploy-1")
    await author.commit(
        STARTED,
        consumed=author.row_ids,
        change=RunChange(RunStatus.WAITING, waiting_for="step charge", ready_at_us=T0 + SECOND, started_at_us=T0),
    )
    [row] = rows(sqlite, "SELECT * FROM workflows")
    assert row["workflow_id"] == "deploy-1"
    assert (row["workflow"], row["status"], row["waiting_for"]) == ("order", "waiting", "step charge")
    assert (row["created_at"], row["started_at"], row["closed_at"]) == (START_TEXT, START_TEXT, None)
    assert row["ready_at"] == "2023-11-14T22:13:21.000Z"
    assert (row["events"], row["worker"], row["started_by"], row["duration_s"]) == (1, "worker", "user:alice", None)
    await author.commit(COMPLETED, change=ended(at_us=T0 + 90 * SECOND))
    [row] = rows(sqlite, "SELECT * FROM workflows")
    assert (row["status"], row["duration_s"], row["closed_at"]) == ("completed", 90.0, "2023-11-14T22:14:50.000Z")


async def test_workflow_steps_shows_how_each_step_ended(sqlite):
    await sqlite.join(worker_row("worker"), 100)
    author = await begin(sqlite)
    await author.commit(STARTED, *(scheduled(number, f"step{number}") for number in range(1, 7)))
    await author.commit(
        done(1), failed(2, ValueError("no money"), attempts=3), Fact(EventKind.STEP_CANCELLED, 3), at_us=T0 + 2 * SECOND
    )
    run = author.run
    retry = attempt(run, 2, command=4, next_at_us=T0 + 60 * SECOND, error=record_exception(OSError("timed out")))
    await author.commit(attempts=[retry], tasks=[task(run, 5, queue="gpu")], change=None)
    steps = {row["command"]: row for row in rows(sqlite, "SELECT * FROM workflow_steps")}
    assert [steps[number]["status"] for number in range(1, 7)] == [
        "completed",
        "failed",
        "cancelled",
        "retrying",
        "queued",
        "running",
    ]
    assert [steps[number]["attempts"] for number in range(1, 7)] == [1, 3, 1, 3, 1, 1]
    assert (steps[2]["error_type"], steps[2]["error"]) == ("ValueError", "no money")
    assert (steps[4]["error_type"], steps[4]["error"]) == ("OSError", "timed out")
    assert steps[4]["next_attempt_at"] == "2023-11-14T22:14:20.000Z"
    assert (steps[1]["scheduled_at"], steps[1]["duration_s"]) == (START_TEXT, 2.0)
    assert steps[6]["worker"] == "worker"


async def test_workflow_steps_of_an_ended_run_are_abandoned(sqlite):
    author = await begin(sqlite)
    started = attempt(author.run, 1, AttemptOutcome.STARTED)
    await author.commit(STARTED, scheduled(1, "charge"), attempts=[started], change=ended())
    [row] = rows(sqlite, "SELECT status FROM workflow_steps")
    assert row == {"status": "abandoned"}


async def test_workflow_steps_bears_encrypted_errors(sqlite):
    author = await begin(sqlite)
    secret = Fact(EventKind.STEP_FAILED, 1, None, None, '{"v":1,"codec":"aes","data":"c2VjcmV0"}')
    await author.commit(STARTED, scheduled(1, "charge"), secret)
    [row] = rows(sqlite, "SELECT status, error FROM workflow_steps")
    assert row == {"status": "failed", "error": None}


async def test_compensation_log_shows_what_was_undone(sqlite):
    author = await begin(sqlite)
    await author.commit(STARTED, scheduled(1, "book"), done(1), scheduled(2, "pay"))
    await author.commit(
        failed(2, ValueError("no money")),
        scheduled(3, "cancel_booking", **{"role": "compensation", "for": 1, "undoes": "book"}),
        change=RunChange(RunStatus.RUNNING, RollbackStatus.RUNNING),
    )
    await author.commit(done(3, attempts=2), at_us=T0 + SECOND)
    [row] = rows(sqlite, "SELECT * FROM compensation_log")
    assert (row["compensates"], row["undoes"], row["compensation"]) == (1, "book", "cancel_booking")
    assert (row["status"], row["attempts"], row["ended_at"]) == ("completed", 2, "2023-11-14T22:13:21.000Z")


async def test_a_users_tables_are_told_from_ours_by_their_names(sqlite):
    names = {row["name"] for row in rows(sqlite, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")}
    assert {name for name in names if not name.startswith("durable_")} == {
        "workflows",
        "workflow_steps",
        "compensation_log",
    }
