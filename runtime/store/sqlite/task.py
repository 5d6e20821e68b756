"""Steps on other workers, and what is kept of attempts, heartbeats and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from durable.history import EventKind, Fact
from runtime.store.row import AttemptOutcome, AttemptRow, InboxRow, LogRow, TaskRow
from runtime.store.rule import KEPT_ATTEMPTS, KEPT_LOGS, STORE_ACTOR, accepts
from runtime.store.sqlite.delivery import Receipt, post, refer_to_blobs
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import load

_TASK: Final = load("task")
_PART: Final = load("part")
_INBOX: Final = load("inbox")


def task_row(columns: tuple[Any, ...]) -> TaskRow:
    """A task out of the columns of ``task_rows``."""
    fields = (*columns[1:14], bool(columns[14]))
    return TaskRow(*fields)


def insert_task(session: Session, run: Run, task: TaskRow) -> None:
    """Write a new task."""
    columns = (
        run.key,
        task.command,
        task.queue,
        task.step,
        task.input,
        task.options,
        task.idempotency_key,
        task.attempt,
        task.available_at_us,
        task.losses,
        task.owner,
        task.epoch,
        task.cancel_requested,
    )
    session.execute(_TASK["insert"], columns)
    run.has_parts = True
    session.draft.tasks = True


def get_task(session: Session, run: Run, command: int) -> TaskRow | None:
    """An open task of a run."""
    columns = session.execute_flushed(_TASK["get"], (run.key, command)).fetchone()
    return task_row(columns) if columns else None


def held_task(session: Session, task: TaskRow) -> tuple[Run, TaskRow] | None:
    """The run and the kept task, if the task is still held as the caller believes."""
    run = session.run(task.run_id)
    kept = get_task(session, run, task.command) if run is not None else None
    if run is None or kept is None or (kept.owner, kept.epoch) != (task.owner, task.epoch):
        return None
    return run, kept


def cancel_tasks(session: Session, run: Run, at_us: int) -> None:
    """Stop wanting every task of a run."""
    for columns in session.execute_flushed(_TASK["of_run_key"], (run.key,)).fetchall():
        _cancel(session, run, task_row(columns), at_us)


def cancel_task(session: Session, run: Run, command: int, at_us: int) -> None:
    """Stop wanting a task: one that nobody holds ends here, the others when their worker notices."""
    task = get_task(session, run, command)
    if task is not None:
        _cancel(session, run, task, at_us)


def _cancel(session: Session, run: Run, task: TaskRow, at_us: int) -> None:
    if task.owner is None:
        _end_unwanted(session, run, task, at_us)
    else:
        session.execute(_TASK["want_no_more"], (run.key, task.command))
    session.draft.tasks = True


def free_task(session: Session, run: Run, task: TaskRow, at_us: int) -> None:
    """Put back a task that nobody holds any more; one that nobody wants either ends here, as cancelled."""
    session.draft.tasks = True
    if task.cancel_requested:
        _end_unwanted(session, run, task, at_us)
    else:
        columns = (task.epoch, task.losses, task.attempt, task.available_at_us, run.key, task.command)
        session.execute(_TASK["put_back"], columns)


def _end_unwanted(session: Session, run: Run, task: TaskRow, at_us: int) -> None:
    session.execute(_TASK["delete"], (run.key, task.command))
    fact = Fact(EventKind.STEP_CANCELLED, task.command, task.step, actor=STORE_ACTOR)
    post(session, InboxRow(run.workflow_id, run.run_id, None, fact, at_us))


def claim_tasks(
    session: Session, worker_id: str, queues: Sequence[str], steps: Sequence[str], limit: int, now_us: int
) -> list[TaskRow]:
    """``Store.claim_tasks``."""
    session.flush()
    available = [
        columns
        for queue in dict.fromkeys(queues)
        for step in dict.fromkeys(steps)
        for columns in session.execute(_TASK["available"], (queue, step, now_us, limit))
    ]
    available.sort(key=lambda columns: (columns[10], columns[0], columns[3]))
    claimed = []
    for columns in available[:limit]:
        session.execute(_TASK["take"], (worker_id, columns[0], columns[3]))
        claimed.append(task_row((*columns[:12], worker_id, columns[13] + 1, columns[14])))
    return claimed


def begin_task(session: Session, task: TaskRow, attempt: AttemptRow) -> bool:
    """``Store.begin_task``."""
    held = held_task(session, task)
    if held is None:
        return False
    record_attempt(session, held[0], attempt)
    return True


def finish_task(session: Session, task: TaskRow, row: InboxRow, attempts: Sequence[AttemptRow]) -> bool:
    """``Store.finish_task``."""
    held = held_task(session, task)
    if held is None:
        return False
    run = held[0]
    session.execute(_TASK["delete"], (run.key, task.command))
    is_delivered = post(session, row) is Receipt.DELIVERED
    if is_delivered:
        for attempt in attempts:
            record_attempt(session, run, attempt)
    return is_delivered


def postpone_task(session: Session, task: TaskRow, attempt: AttemptRow | None) -> bool:
    """``Store.postpone_task``."""
    held = held_task(session, task)
    if held is None:
        return False
    run, kept = held
    at_us = task.available_at_us
    if attempt is not None:
        record_attempt(session, run, attempt)
        at_us = at_us if attempt.ended_at_us is None else attempt.ended_at_us
    again = TaskRow(
        kept.run_id,
        kept.workflow_id,
        kept.command,
        kept.queue,
        kept.step,
        kept.input,
        kept.options,
        kept.idempotency_key,
        attempt=task.attempt,
        available_at_us=task.available_at_us,
        losses=task.losses,
        owner=kept.owner,
        epoch=kept.epoch,
        cancel_requested=kept.cancel_requested,
    )
    free_task(session, run, again, at_us)
    return True


def record_attempt(session: Session, run: Run, attempt: AttemptRow) -> None:
    """Keep an attempt, the first and the last ones of a step."""
    session.execute(_PART["end_attempt"], (run.key, attempt.command, attempt.attempt))
    columns = (
        run.key,
        attempt.command,
        attempt.attempt,
        attempt.outcome.value,
        attempt.started_at_us,
        attempt.ended_at_us,
        attempt.next_at_us,
        attempt.error,
        attempt.heartbeat,
        attempt.worker,
    )
    session.execute(_PART["write_attempt"], columns)
    if attempt.attempt > KEPT_ATTEMPTS or attempt.outcome is AttemptOutcome.LOST:
        session.execute(_PART["trim_attempts"], (run.key, attempt.command, KEPT_ATTEMPTS, KEPT_ATTEMPTS))
    refer_to_blobs(session, run, (attempt.heartbeat,))
    session.draft.wrote.add(run.run_id)


def heartbeat(session: Session, run_id: str, command: int, payload: str | None, now_us: int) -> bool:
    """``Store.heartbeat``."""
    run = session.run(run_id)
    if run is None or not accepts(run.status, run.rollback, EventKind.STEP_COMPLETED):
        return False
    if session.execute(_INBOX["has_outcome"], (run.key, command)).fetchone() is not None:
        return False
    task = get_task(session, run, command) if run.has_parts else None
    if task is not None and task.cancel_requested:
        return False
    session.execute(_PART["keep_heartbeat"], (run.key, command, now_us, payload))
    refer_to_blobs(session, run, (payload,))
    return True


def write_logs(session: Session, run: Run, rows: Sequence[LogRow]) -> None:
    """Keep log lines of a run, the newest."""
    for row in rows:
        session.execute(_PART["write_log"], (run.key, row.at_us, row.level, row.source, row.message))
    session.execute(_PART["trim_logs"], (run.key, run.key, KEPT_LOGS))
