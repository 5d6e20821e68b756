"""Transitions of runs in memory: creating one, ending one, and writing what a turn asks for.

``write_turn`` first looks for every reason to refuse and then writes without a way to fail, so a turn is all
or nothing.
Within a turn: the run's own rows, then children, so that messages to them find them, then messages, then the
    run's
change, which may end it, and at last the runs that may only exist once this one has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from durable.errors import ConflictError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact, Recorder, write_detail
from durable.kernel.correspondence import PARENT_ENDED, child_exists, receipt
from runtime.store.change import Ending
from runtime.store.memory.state import KeptRun, Receipt, State, earliest
from runtime.store.row import InboxRow, NewRun, RunRow
from runtime.store.rule import WAKERS, accepts, is_kept_for_successor, wakes
from runtime.store.turn import RunChange, Turn


def create_run(state: State, new: NewRun) -> KeptRun:
    """Keep a new run with its start and messages as its first inbox rows."""
    row = RunRow(
        run_id=new.run_id,
        workflow_id=new.workflow_id,
        workflow=new.workflow,
        queue=new.queue,
        status=RunStatus.PENDING,
        rollback=RollbackStatus.NONE,
        owner=new.owner,
        epoch=0 if new.owner is None else 1,
        seq=new.history[-1].seq if new.history else 0,
        ready_at_us=new.ready_at_us,
        created_at_us=new.created_at_us,
        started_at_us=None,
        closed_at_us=None,
        origin_id=new.origin_id,
        first_run_id=new.first_run_id,
        parent_run_id=new.parent_run_id,
        parent_command=new.parent_command,
        on_parent_close=new.on_parent_close,
        lost=False,
        code=None,
        reason=None,
        waiting_for=None,
        input_digest=new.input_digest,
        actor=new.actor,
    )
    run = state.add(row, new.history)
    set_attributes(run, new.attributes)
    if new.start is not None:
        state.write(run, InboxRow(new.workflow_id, new.run_id, None, new.start, new.created_at_us))
    for message in new.messages:
        state.write(run, replace(message, workflow_id=new.workflow_id, run_id=new.run_id))
    return run


def holder(state: State, new: NewRun) -> KeptRun | None:
    """The run that keeps a new one from its workflow id, if there is one."""
    run = state.current(new.workflow_id)
    if run is None or (new.on_conflict == "replace" and run.row.status.is_closed):
        return None
    return run


def set_attributes(run: KeptRun, attributes: Mapping[str, Any]) -> None:
    """Write searchable attributes; None removes one."""
    for key, value in attributes.items():
        if value is None:
            run.attributes.pop(key, None)
        else:
            run.attributes[key] = value


def write_turn(state: State, turn: Turn) -> ConflictError | None:
    """Write a turn, or say why not."""
    assert turn.epoch is not None or turn.fence, "who owns nothing must fence off the owner"
    conflict = _find_conflict(state, turn)
    if conflict is not None:
        return conflict
    run = state.runs[turn.run_id]
    _write_own_rows(state, run, turn)
    for new in turn.new_runs:
        if _is_child(new, turn):
            _start_child(state, turn, new)
    for command, row in turn.outgoing:
        _send(state, turn, command, row)
    for row in turn.inbox:
        state.post(row)
    if turn.fence:
        state.change(run, owner=None, epoch=run.row.epoch + 1)
    if turn.change is not None:
        _apply_change(state, run, turn.change)
        if turn.change.closed_at_us is not None and turn.events:
            state.draft.endings[turn.run_id] = Ending(run.row, turn.events[-1])
    if turn.close_children:
        _close_children(state, turn)
    for new in turn.new_runs:
        if not _is_child(new, turn):
            create_run(state, new)
    return None


def _find_conflict(state: State, turn: Turn) -> ConflictError | None:
    run = state.runs.get(turn.run_id)
    if run is None:
        return ConflictError(f"run {turn.run_id} does not exist", run_id=turn.run_id)
    row = run.row
    if row.seq != turn.expected_seq or turn.epoch not in (None, row.epoch):
        return ConflictError(
            f"run {turn.run_id} is at event {row.seq} of epoch {row.epoch}, "
            f"not at event {turn.expected_seq} of epoch {turn.epoch}",
            run_id=turn.run_id,
        )
    ends = turn.change is not None and turn.change.status.is_closed
    for new in turn.new_runs:
        taken_by = None if _is_child(new, turn) else holder(state, new)
        if taken_by is not None and not (taken_by is run and ends and new.on_conflict == "replace"):
            return ConflictError(
                f"workflow id {new.workflow_id!r} is taken by run {taken_by.row.run_id}", run_id=turn.run_id
            )
    return None


def _is_child(new: NewRun, turn: Turn) -> bool:
    return new.parent_run_id == turn.run_id


def _write_own_rows(state: State, run: KeptRun, turn: Turn) -> None:
    inbox = state.ids[turn.workflow_id].inbox
    for row_id in turn.consumed:
        inbox.pop(row_id, None)
    state.blobs.update(turn.blobs)
    run.history.extend(turn.events)
    state.change(run, seq=run.history[-1].seq if run.history else 0, lost=run.row.lost and turn.epoch is None)
    for attempt in turn.attempts:
        state.record_attempt(run, attempt)
    for task in turn.tasks:
        state.tasks[task.run_id, task.command] = task
        state.draft.tasks = True
    for command in turn.cancelled_tasks:
        task_or_none = state.tasks.get((turn.run_id, command))
        if task_or_none is not None:
            state.cancel_task(task_or_none, turn.events[-1].at_us if turn.events else 0)
    run.questions.update((question.command, question) for question in turn.questions)
    for command in turn.closed_questions:
        run.questions.pop(command, None)
    for update in turn.updates:
        state.ids[turn.workflow_id].updates[update.update_id] = update
        state.draft.updates = True
    set_attributes(run, turn.attributes)
    run.published.update(turn.published)
    for item in turn.stream:
        run.streams.setdefault(item.name, {})[item.position] = item
    run.logs.extend(turn.logs)
    if turn.events or turn.consumed or turn.published or turn.stream:
        state.draft.wrote.add(turn.run_id)


def _start_child(state: State, turn: Turn, new: NewRun) -> None:
    if holder(state, new) is None:
        create_run(state, new)
        return
    fact = child_exists(turn.workflow_id, new.parent_command, new.workflow)
    state.post(InboxRow(turn.workflow_id, turn.run_id, None, fact, new.created_at_us))


def _send(state: State, turn: Turn, command: int, row: InboxRow) -> None:
    error = {Receipt.NOT_FOUND: "not_found", Receipt.CLOSED: "closed"}.get(state.post(row))
    fact = receipt(command, row.fact, error)
    state.post(InboxRow(turn.workflow_id, turn.run_id, None, fact, row.at_us))


def _apply_change(state: State, run: KeptRun, change: RunChange) -> None:
    before, unread = run.row, state.unread(run)
    state.change(
        run,
        status=change.status,
        rollback=change.rollback,
        waiting_for=change.waiting_for,
        reason=change.reason,
        code=change.code,
        owner=None if change.release else before.owner,
        ready_at_us=None,
        started_at_us=before.started_at_us if change.started_at_us is None else change.started_at_us,
        closed_at_us=before.closed_at_us if change.closed_at_us is None else change.closed_at_us,
    )
    if _looks(run.row) != _looks(before):
        state.draft.wrote.add(before.run_id)
    if change.status.is_closed and not before.status.is_closed:
        _close(state, run, unread)
    state.change(run, ready_at_us=_next_ready_at(state, run, change.ready_at_us))


def _looks(row: RunRow) -> tuple[object, ...]:
    """What a run shows to those who watch it."""
    return row.status, row.rollback, row.waiting_for, row.reason, row.code, row.started_at_us, row.closed_at_us


def _next_ready_at(state: State, run: KeptRun, own: int | None) -> int | None:
    """When the run wants a worker again: at its own time, if that may wake it, or at once for unread facts
    that wake it."""
    row = run.row
    if row.status in WAKERS or (row.status.is_closed and row.rollback is not RollbackStatus.RUNNING):
        own = None
    waiting = [
        unread.at_us
        for unread in state.unread(run)
        if accepts(row.status, row.rollback, unread.fact.kind) and wakes(row.status, unread.fact.kind)
    ]
    return earliest(own, *waiting)


def _close(state: State, run: KeptRun, unread: Sequence[InboxRow]) -> None:
    """Drop what only an open run can use. What it did not read passes to the run that continues it, else it
    is dropped."""
    row = run.row
    state.draft.closed.add(row.run_id)
    run.questions.clear()
    inbox = state.ids[row.workflow_id].inbox
    is_continued = row.status is RunStatus.CONTINUED_AS_NEW
    for waiting in unread:
        del inbox[waiting.row_id]
        if is_continued and is_kept_for_successor(waiting.fact.kind, waiting.fact.command):
            inbox[waiting.row_id] = replace(waiting, run_id=None)
    if not is_continued:
        _close_updates(state, row.workflow_id)
    tasks = [task for task in state.tasks.values() if task.run_id == row.run_id]
    for task in sorted(tasks, key=lambda task: task.command):
        state.cancel_task(task, row.closed_at_us or 0)


def _close_updates(state: State, workflow_id: str) -> None:
    updates = state.ids[workflow_id].updates
    for update in [update for update in updates.values() if update.state == "pending"]:
        updates[update.update_id] = replace(update, state="closed")
        state.draft.updates = True


def _close_children(state: State, turn: Turn) -> None:
    assert turn.change is not None
    assert turn.change.closed_at_us is not None
    actor = turn.events[-1].actor if turn.events else ""
    for child in state.children(turn.run_id):
        if child.row.parent_command in turn.close_children:
            _close_child(state, child, turn.change.closed_at_us, actor)


def _close_child(state: State, child: KeptRun, at_us: int, actor: str) -> None:
    """Do to a child what its ``on_parent_close`` says."""
    row = child.row
    if row.status.is_closed or row.on_parent_close == "abandon":
        return
    detail = write_detail(reason=PARENT_ENDED)
    if row.on_parent_close == "cancel":
        fact = Fact(EventKind.CANCEL_REQUESTED, detail=detail, actor=actor)
        state.post(InboxRow(row.workflow_id, row.run_id, None, fact, at_us))
        return
    recorder = Recorder(child.history[-1] if child.history else None)
    recorder.begin_batch(at_us)
    if not child.history:  # its start becomes history, so that its input is known to those who look, and to a retry
        for unread in state.unread(child):
            fact = unread.fact
            if fact.kind == EventKind.RUN_STARTED:
                child.history.append(recorder.append(fact.kind, fact.actor, detail=fact.detail, payload=fact.payload))
    child.history.append(recorder.append(EventKind.RUN_TERMINATED, actor, detail=detail))
    state.draft.wrote.add(row.run_id)
    state.change(child, seq=recorder.seq, owner=None, epoch=row.epoch + 1)
    ended = RunChange(RunStatus.TERMINATED, row.rollback, reason=PARENT_ENDED, release=True, closed_at_us=at_us)
    _apply_change(state, child, ended)
    for grandchild in state.children(row.run_id):
        _close_child(state, grandchild, at_us, actor)
