"""What a turn writes (rule D1).

``write_turn`` first looks for every reason to refuse and then writes without one, so a turn is all or nothing.
Within a turn: the run's own rows, then children, so that messages to them find them, then messages, then the run's
change, which may end it, and at last the runs that may only exist once this one has ended.
"""

from __future__ import annotations

from typing import Final

from durable.errors import ConflictError
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind, Fact, Recorder, write_detail
from durable.kernel.correspondence import PARENT_ENDED, child_exists, receipt
from runtime.store.row import InboxRow, NewRun
from runtime.store.rule import WAKERS
from runtime.store.sqlite.delivery import Receipt, post, refer_to_blobs, write_update
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.start import create_run, holder, set_attributes
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import load
from runtime.store.sqlite.task import cancel_task, cancel_tasks, insert_task, record_attempt, write_logs
from runtime.store.turn import RunChange, Turn

_RUN: Final = load("run")
_PART: Final = load("part")


def write_turn(session: Session, turn: Turn) -> ConflictError | None:
    """Write a turn, or say why not."""
    assert turn.epoch is not None or turn.fence, "who owns nothing must fence off the owner"
    run = session.run(turn.run_id)
    if run is None:
        return ConflictError(f"run {turn.run_id} does not exist", run_id=turn.run_id)
    conflict = _find_conflict(session, run, turn)
    if conflict is not None:
        return conflict
    _write_own_rows(session, run, turn)
    if turn.new_runs or turn.outgoing or turn.inbox:
        _reach_others(session, turn)
    if turn.fence:
        run.owner = None
        run.epoch += 1
        session.change_head(run)
    if turn.change is not None:
        _apply_change(session, run, turn.change)
        if turn.change.closed_at_us is not None and turn.events:
            session.draft.end(run, turn.events[-1])
    if turn.close_children:
        _close_children(session, turn)
    for new in turn.new_runs:
        if new.parent_run_id != turn.run_id:
            session.count_unread(create_run(session, new))
    return None


def _find_conflict(session: Session, run: Run, turn: Turn) -> ConflictError | None:
    if run.seq != turn.expected_seq or (turn.epoch is not None and turn.epoch != run.epoch):
        return ConflictError(
            f"run {turn.run_id} is at event {run.seq} of epoch {run.epoch}, "
            f"not at event {turn.expected_seq} of epoch {turn.epoch}",
            run_id=turn.run_id,
        )
    for new in turn.new_runs:
        taken_by = None if new.parent_run_id == turn.run_id else holder(session, new)
        ends = turn.change is not None and turn.change.status.is_closed
        if taken_by is not None and not (taken_by is run and ends and new.on_conflict == "replace"):
            return ConflictError(
                f"workflow id {new.workflow_id!r} is taken by run {taken_by.run_id}", run_id=turn.run_id
            )
    return None


def _write_own_rows(session: Session, run: Run, turn: Turn) -> None:
    if turn.consumed:
        session.consume(run, turn.consumed)
        if not turn.events:  # a run that is stuck once more looks as before, to whoever had it tried again
            session.draft.wrote.add(run.run_id)
    if turn.events:
        session.append(run, turn.events)
        for event in turn.events:
            payload = event[8]
            if payload is not None and '"blob"' in payload:
                refer_to_blobs(session, run, (payload,))
    if run.lost and turn.epoch is not None:
        run.lost = False
        session.change_head(run)
    _write_parts(session, run, turn)


def _write_parts(session: Session, run: Run, turn: Turn) -> None:
    for blob in turn.blobs.items():
        session.execute(_PART["add_blob"], blob)
    for attempt in turn.attempts:
        record_attempt(session, run, attempt)
    for task in turn.tasks:
        insert_task(session, run, task)
    for command in turn.cancelled_tasks:
        cancel_task(session, run, command, turn.events[-1].at_us if turn.events else 0)
    for question in turn.questions:
        run.has_parts = True
        columns = (
            run.key,
            question.command,
            question.key,
            question.kind,
            question.prompt,
            question.schema,
            question.detail,
            question.asked_at_us,
            question.deadline_us,
        )
        session.execute(_PART["ask_question"], columns)
    for command in turn.closed_questions:
        session.execute(_PART["close_question"], (run.key, command))
    for update in turn.updates:
        write_update(session, update)
        refer_to_blobs(session, run, (update.payload,))
    if turn.attributes:
        set_attributes(session, run, turn.attributes)
    for key, payload in turn.published.items():
        session.execute(_PART["publish"], (run.key, key, payload))
        refer_to_blobs(session, run, (payload,))
    for item in turn.stream:
        session.execute(_PART["write_stream"], (run.key, item.name, item.position, item.payload))
        refer_to_blobs(session, run, (item.payload,))
    if turn.published or turn.stream:
        session.draft.wrote.add(run.run_id)
    if turn.logs:
        write_logs(session, run, turn.logs)


def _reach_others(session: Session, turn: Turn) -> None:
    for new in turn.new_runs:
        if new.parent_run_id == turn.run_id:
            _start_child(session, turn, new)
    for command, row in turn.outgoing:
        _send(session, turn, command, row)
    for row in turn.inbox:
        post(session, row)


def _start_child(session: Session, turn: Turn, new: NewRun) -> None:
    if holder(session, new) is None:
        create_run(session, new)
        return
    fact = child_exists(turn.workflow_id, new.parent_command, new.workflow)
    post(session, InboxRow(turn.workflow_id, turn.run_id, None, fact, new.created_at_us))


def _send(session: Session, turn: Turn, command: int, row: InboxRow) -> None:
    error = {Receipt.NOT_FOUND: "not_found", Receipt.CLOSED: "closed"}.get(post(session, row))
    fact = receipt(command, row.fact, error)
    post(session, InboxRow(turn.workflow_id, turn.run_id, None, fact, row.at_us))


def _apply_change(session: Session, run: Run, change: RunChange) -> None:
    status = change.status
    was_closed = run.status.is_closed
    if change.waiting_for != run.waiting_for:
        run.waiting_for = change.waiting_for
        session.move_head(run)
        session.draft.wrote.add(run.run_id)
    if (
        status is not run.status
        or change.rollback is not run.rollback
        or change.reason != run.reason
        or change.code != run.code
        or change.started_at_us is not None
        or change.closed_at_us is not None
    ):
        run.status = status
        run.rollback = change.rollback
        run.reason = change.reason
        run.code = change.code
        if change.started_at_us is not None:
            run.started_at_us = change.started_at_us
        if change.closed_at_us is not None:
            run.closed_at_us = change.closed_at_us
        session.change_run(run)
        session.draft.wrote.add(run.run_id)
    if change.release and run.owner is not None:
        run.owner = None
        session.change_head(run)
    is_closed = status.is_closed
    if is_closed and not was_closed:
        _close(session, run)
    ready_at_us = change.ready_at_us
    if status in WAKERS or (is_closed and change.rollback is not RollbackStatus.RUNNING):
        ready_at_us = None
    if ready_at_us != run.ready_at_us:
        run.ready_at_us = ready_at_us
        session.change_head(run)
    if ready_at_us is not None:
        session.draft.ready = True
    session.wake_if_unread(run)


def _close(session: Session, run: Run) -> None:
    """Drop what only an open run can use. What it did not read passes to the run that continues it, if there is one."""
    session.draft.closed.add(run.run_id)
    session.close_inbox(run, successor=run.status is RunStatus.CONTINUED_AS_NEW)
    if run.has_parts:
        session.execute(_PART["close_questions"], (run.key,))
        cancel_tasks(session, run, run.closed_at_us or 0)
        if run.status is not RunStatus.CONTINUED_AS_NEW:
            session.execute(_PART["close_updates"], (run.workflow_id,))
            session.draft.updates = True


def _close_children(session: Session, turn: Turn) -> None:
    assert turn.change is not None
    assert turn.change.closed_at_us is not None
    actor = turn.events[-1].actor if turn.events else ""
    for child in _open_children(session, turn.run_id):
        if child.parent_command in turn.close_children:
            _close_child(session, child, turn.change.closed_at_us, actor)


def _open_children(session: Session, run_id: str) -> list[Run]:
    keys = session.execute_flushed(_RUN["open_children"], (run_id,)).fetchall()
    return session.runs([key for (key,) in keys])


def _close_child(session: Session, child: Run, at_us: int, actor: str) -> None:
    """Do to a child what its ``on_parent_close`` says."""
    if child.status.is_closed or child.on_parent_close == "abandon":
        return
    detail = write_detail(reason=PARENT_ENDED)
    if child.on_parent_close == "cancel":
        fact = Fact(EventKind.CANCEL_REQUESTED, detail=detail, actor=actor)
        post(session, InboxRow(child.workflow_id, child.run_id, None, fact, at_us))
        return
    last = session.execute_flushed(_RUN["last_event"], (child.key,)).fetchone()
    recorder = Recorder(Event._make(last) if last else None)
    recorder.begin_batch(at_us)
    events = []
    if last is None:  # its start becomes history, so that its input is known to those who look, and to a retry
        start = session.execute_flushed(_RUN["unread_start"], (child.workflow_id, child.run_id)).fetchone()
        if start is not None:
            events.append(recorder.append(EventKind.RUN_STARTED, start[0], detail=start[1], payload=start[2]))
    session.append(child, [*events, recorder.append(EventKind.RUN_TERMINATED, actor, detail=detail)])
    child.epoch += 1
    child.owner = None
    session.change_head(child)
    ended = RunChange(RunStatus.TERMINATED, child.rollback, reason=PARENT_ENDED, release=True, closed_at_us=at_us)
    _apply_change(session, child, ended)
    for grandchild in _open_children(session, child.run_id):
        _close_child(session, grandchild, at_us, actor)
