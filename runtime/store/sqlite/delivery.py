"""Facts on their way into inboxes: who takes them, who is woken, and what was accepted before.

A function here that raises has written nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from durable.errors import RunClosedError, RunNotFoundError
from durable.history import EventKind
from runtime.store.row import InboxRow, RunRow, UpdateRow
from runtime.store.rule import (
    DELAY_BREAKERS,
    STEP_OUTCOMES,
    WORDS,
    accepts,
    blob_of,
    check_question,
    is_kept_for_successor,
    wakes,
)
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import load

_INBOX: Final = load("inbox")
_TASK: Final = load("task")
_PART: Final = load("part")


class Receipt(Enum):
    """What became of a fact."""

    DELIVERED = auto()
    REPEATED = auto()
    NOT_FOUND = auto()
    CLOSED = auto()


def find_target(session: Session, row: InboxRow) -> Run | None:
    """The run that a row is addressed to; for a message to one that continued as new or was retried, the run that goes on."""
    if row.run_id is None:
        return session.current(row.workflow_id)
    run = session.run(row.run_id)
    if run is None or run.workflow_id != row.workflow_id:
        return None
    if run.status.is_closed and is_kept_for_successor(row.fact.kind, row.fact.command):
        current = session.current(row.workflow_id)
        if current is not None and current.first_run_id == run.first_run_id:
            return current
    return run


def examine(session: Session, run: Run | None, row: InboxRow) -> Receipt:
    """What would become of a row if it were posted now."""
    if run is None:
        return Receipt.NOT_FOUND
    if _is_repeated(session, run, row):
        return Receipt.REPEATED
    return Receipt.DELIVERED if accepts(run.status, run.rollback, row.fact.kind) else Receipt.CLOSED


def post(session: Session, row: InboxRow) -> Receipt:
    """Deliver a row if its target takes it, and wake the target."""
    run = find_target(session, row)
    receipt = examine(session, run, row)
    if receipt is Receipt.DELIVERED and run is not None:
        write(session, run, row)
    return receipt


def write(session: Session, run: Run, row: InboxRow) -> None:
    """Put a row that was examined into a run's inbox and wake the run."""
    put(session, run, row, None if row.run_id is None and not run.status.is_closed else run.run_id)
    is_delayed = run.seq == 0 and run.ready_at_us is not None
    if wakes(run.status, row.fact.kind) and (not is_delayed or row.fact.kind in DELAY_BREAKERS):
        session.wake(run, row.at_us)


def put(session: Session, run: Run, row: InboxRow, run_id: str | None) -> None:
    """Put a row into a run's inbox and remember that it was accepted, without waking the run."""
    session.put(run, row, run_id)
    if row.message_id is not None:
        session.execute(_INBOX["remember_message"], (run.workflow_id, row.message_id))
    if row.fact.kind in STEP_OUTCOMES and row.fact.command is not None:
        session.execute(_INBOX["remember_outcome"], (run.key, row.fact.command))
        if run.has_parts:  # whoever gave the outcome, nobody is to run the step any more
            session.execute(_TASK["delete"], (run.key, row.fact.command))
    refer_to_blobs(session, run, (row.fact.payload,))


def _is_repeated(session: Session, run: Run, row: InboxRow) -> bool:
    if row.message_id is not None:
        known = session.execute(_INBOX["has_message"], (run.workflow_id, row.message_id))
        if known.fetchone() is not None:
            return True
    if row.fact.kind in STEP_OUTCOMES and row.fact.command is not None:
        return session.execute(_INBOX["has_outcome"], (run.key, row.fact.command)).fetchone() is not None
    return False


def refer_to_blobs(session: Session, run: Run, payloads: Iterable[str | None]) -> None:
    """Keep the blobs that these payloads refer to for as long as the run is kept."""
    for payload in payloads:
        blob = blob_of(payload)
        if blob is not None:
            session.execute(_PART["refer_to_blob"], (run.key, blob))


def check_receipt(receipt: Receipt, message: InboxRow, run: Run | None) -> None:
    """Refuse a message that no run takes.

    Raises:
        RunNotFoundError: no run has the id.
        RunClosedError: the addressed run has ended.
    """
    if run is None:
        pinned = f" with run id {message.run_id!r}" if message.run_id else ""
        raise RunNotFoundError(
            f"no run has the workflow id {message.workflow_id!r}{pinned}",
            workflow_id=message.workflow_id,
            run_id=message.run_id,
        )
    if receipt is Receipt.CLOSED:
        raise RunClosedError(
            f"run {run.run_id} of {run.workflow_id!r} is {run.status} and takes no {WORDS.get(message.fact.kind, 'outcome')}",
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            status=str(run.status),
        )


def _check_answer(session: Session, run: Run, row: InboxRow) -> None:
    asked = session.execute(_PART["has_question"], (run.key, row.fact.command))
    waiting = session.execute_flushed(_INBOX["has_answer"], (run.workflow_id, run.run_id, row.fact.command))
    check_question(row, is_open=asked.fetchone() is not None, has_answer=waiting.fetchone() is not None)


def has_update(session: Session, update: UpdateRow) -> bool:
    """Whether an update with this id was accepted before."""
    known = session.execute(_PART["has_update"], (update.workflow_id, update.update_id))
    return known.fetchone() is not None


def write_update(session: Session, update: UpdateRow) -> None:
    """Write an update or its outcome."""
    columns = (update.workflow_id, update.update_id, update.run_id, update.name, update.state, update.payload)
    session.execute(_PART["write_update"], columns)
    session.draft.updates = True


def send(session: Session, row: InboxRow, update: UpdateRow | None) -> RunRow:
    """Deliver a fact from outside; ``Store.send``."""
    run = find_target(session, row)
    receipt = examine(session, run, row)
    check_receipt(receipt, row, run)
    assert run is not None
    if receipt is Receipt.DELIVERED and row.fact.kind == EventKind.QUESTION_ANSWERED:
        _check_answer(session, run, row)
    if receipt is Receipt.DELIVERED and not (update is not None and has_update(session, update)):
        write(session, run, row)
        if update is not None:
            run.has_parts = True
            write_update(session, update)
    return run.row()
