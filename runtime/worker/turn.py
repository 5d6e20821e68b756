"""One turn on paper: from what the replayer wants to what the store writes. Pure translation; nothing happens here.

Each command kind that leaves a row of its own has one small function in ``_WRITERS``; the others leave only their event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from durable.commands import (
    AskQuestion,
    CancelChild,
    CancelStep,
    CloseRun,
    Command,
    CompleteUpdate,
    ContinueRun,
    FailRun,
    FailUpdate,
    PublishValue,
    ScheduleStep,
    SendMessage,
    SetAttributes,
    StartChild,
    WithdrawQuestion,
    WriteStream,
)
from durable.duration import to_us
from durable.handle import RunStatus
from durable.history import Event, EventKind
from durable.kernel.activation import Activation
from durable.kernel.correspondence import (
    author,
    child_cancellation,
    child_outcome,
    child_start,
    message,
    successor_start,
)
from durable.kernel.describe import waiting_for
from durable.kernel.replayer import Replayer
from durable.retry import RetryPolicy
from runtime.store.reason import without_halt
from runtime.store.row import AttemptRow, InboxRow, LogRow, NewRun, QuestionRow, RunRow, StreamItem, TaskRow, UpdateRow
from runtime.store.turn import RunChange, Turn
from runtime.worker.held import HeldRun
from runtime.worker.logs import shorten

if TYPE_CHECKING:
    from runtime.worker.options import EngineOptions

_ORDERS: Final = frozenset({EventKind.RUN_RESUMED, EventKind.ROLLBACK_REQUESTED})
"""What asked a run to go on that cannot: it is used up, or the run would be tried again at once."""


class TurnDraft:
    """The rows of one turn while they are collected."""

    def __init__(self, row: RunRow, replayer: Replayer, now_us: int) -> None:
        self.row = row
        self.replayer = replayer
        self.now_us = now_us
        self.rows: dict[str, Any] = {}

    def add(self, field: str, *rows: Any) -> None:
        """Append to one of the turn's sequences."""
        self.rows.setdefault(field, []).extend(rows)

    def merge(self, field: str, mapping: dict[str, Any]) -> None:
        """Update one of the turn's mappings."""
        self.rows.setdefault(field, {}).update(mapping)


def route(command: ScheduleStep, queues: Sequence[str]) -> str | None:
    """The queue to which a step goes, None if it is run here."""
    queue = command.definition.options_.queue
    return queue if queue is not None and queue not in queues else None


def _route_step(draft: TurnDraft, command: ScheduleStep, default_retry: RetryPolicy | None) -> None:
    options = command.definition.options_
    policy = options.policy(draft.replayer.definition.default_retry, default_retry)
    recorded = {**options.to_json(), "retry": policy.to_json()}  # who runs it may not know the workflow
    assert command.number is not None
    assert command.name is not None
    draft.add(
        "tasks",
        TaskRow(
            draft.row.run_id, draft.row.workflow_id, command.number, options.queue or "", command.name,
            command.payload or "{}", to_json(recorded).decode(), command.idempotency_key, 1, draft.now_us,
        ),
    )  # fmt: skip


def _start_child(draft: TurnDraft, command: StartChild) -> None:
    row, options = draft.row, command.definition.start_options
    delay = to_us(options.delay) if options.delay is not None else 0
    draft.add(
        "new_runs",
        NewRun(
            run_id=command.run_id,
            workflow_id=command.workflow_id,
            workflow=command.definition.name,
            queue=options.queue or command.definition.queue,
            actor=author(row.workflow_id),
            created_at_us=draft.now_us,
            ready_at_us=draft.now_us + delay,
            origin_id=command.run_id,
            first_run_id=command.run_id,
            input_digest=command.input_digest,
            start=child_start(row.workflow_id, command),
            parent_run_id=row.run_id,
            parent_command=command.number,
            on_parent_close=options.on_parent_close,
            on_conflict=options.on_conflict or "fail",
        ),
    )


def _cancel_child(draft: TurnDraft, command: CancelChild) -> None:
    fact = child_cancellation(draft.row.workflow_id, command)
    draft.add("inbox", InboxRow(command.workflow_id, command.run_id, None, fact, draft.now_us))


def _send_message(draft: TurnDraft, command: SendMessage) -> None:
    assert command.number is not None
    message_id = f"{draft.row.run_id}:{command.number}"
    fact = message(draft.row.workflow_id, message_id, command)
    row = InboxRow(command.workflow_id, command.run_id, message_id, fact, draft.now_us)
    draft.add("outgoing", (command.number, row))


def _ask_question(draft: TurnDraft, command: AskQuestion) -> None:
    assert command.number is not None
    assert command.name is not None
    draft.add(
        "questions",
        QuestionRow(
            draft.row.run_id, draft.row.workflow_id, command.number, command.name, command.question, command.prompt,
            command.schema, command.about, draft.now_us, command.deadline_us,
        ),
    )  # fmt: skip


def _withdraw_question(draft: TurnDraft, command: WithdrawQuestion) -> None:
    draft.add("closed_questions", command.number)


def _end_update(draft: TurnDraft, command: CompleteUpdate) -> None:
    state = "failed" if isinstance(command, FailUpdate) else "completed"
    draft.add(
        "updates",
        UpdateRow(
            draft.row.workflow_id, command.update_id, draft.row.run_id, command.name or "", state, command.payload
        ),
    )


def _set_attributes(draft: TurnDraft, command: SetAttributes) -> None:
    draft.merge("attributes", command.attributes)


def _publish(draft: TurnDraft, command: PublishValue) -> None:
    draft.merge("published", {command.name or "": command.payload})


def _write_stream(draft: TurnDraft, command: WriteStream) -> None:
    draft.add("stream", StreamItem(command.name or "", command.position, command.payload or "null"))


def _continue(draft: TurnDraft, command: ContinueRun) -> None:
    row = draft.row
    parent_workflow_id = draft.replayer.parent_workflow_id
    draft.add(
        "new_runs",
        NewRun(
            run_id=command.run_id,
            workflow_id=row.workflow_id,
            workflow=row.workflow,
            queue=row.queue,
            actor=row.actor,
            created_at_us=draft.now_us,
            ready_at_us=draft.now_us,
            origin_id=command.run_id,
            first_run_id=row.first_run_id,
            input_digest=row.input_digest,
            start=successor_start(row.run_id, row.actor, parent_workflow_id, command),
            parent_run_id=row.parent_run_id,
            parent_command=row.parent_command,
            on_parent_close=row.on_parent_close,
            on_conflict="replace",
            attributes=draft.replayer.attributes,
        ),
    )


_WRITERS: Final[dict[type[Command], Callable[[TurnDraft, Any], None]]] = {
    StartChild: _start_child,
    CancelChild: _cancel_child,
    SendMessage: _send_message,
    WithdrawQuestion: _withdraw_question,
    CompleteUpdate: _end_update,
    FailUpdate: _end_update,
    SetAttributes: _set_attributes,
    PublishValue: _publish,
    WriteStream: _write_stream,
    ContinueRun: _continue,
}


def _writer(command: Command) -> Callable[[TurnDraft, Any], None] | None:
    return _ask_question if isinstance(command, AskQuestion) else _WRITERS.get(type(command))


def draft_turn(
    held: HeldRun,
    replayer: Replayer,
    activation: Activation,
    inbox: Sequence[InboxRow],
    records: Sequence[tuple[AttemptRow, Callable[[], None]]],
    options: EngineOptions,
    now_us: int,
) -> Turn:
    """The turn that commits an activation.

    Args:
        held: the run before the turn.
        replayer: after the activation.
        activation: what to record.
        inbox: the rows that went into it.
        records: attempts to record with it.
        options: which queues this worker serves (steps for others become tasks), and whether it gives runs back.
        now_us: the time.
    """
    row = held.row
    draft = TurnDraft(row, replayer, now_us)
    closing: Command | None = None
    has_in_flight = bool(held.executions)
    for command in activation.commands:
        if type(command) is ScheduleStep:
            if route(command, options.queues) is None:
                has_in_flight = True
            else:
                _route_step(draft, command, options.default_retry)
            continue
        if type(command) is CancelStep:
            draft.add("cancelled_tasks", command.number)
            continue
        writer = _writer(command)
        if writer is not None:
            writer(draft, command)
        if isinstance(command, CloseRun):
            closing = command
    _write_outcomes(draft, activation)
    change = _change(held, replayer, activation, closing, has_in_flight, now_us)
    if not options.recover and not change.status.is_closed:
        change = replace(change, release=False)
    if change.closed_at_us is not None:
        draft.add("close_children", *_open_children(replayer))
        draft.add("inbox", *_report_to_parent(row, replayer, activation.events[-1], closing, now_us))
    return Turn(
        row.run_id,
        row.workflow_id,
        held.seq,
        held.epoch,
        activation.events,
        change,
        [item.row_id for item in inbox] if inbox else (),
        activation.blobs,
        attempts=[attempt for attempt, _ in records] if records else (),
        **draft.rows,
    )


def draft_aside(held: HeldRun, now_us: int, *, release: bool) -> Turn:
    """The turn that keeps outcomes as inbox rows, because the run, paused or stuck, must not take them now."""
    row, change = held.row, held.set_aside
    assert change is not None
    held.set_aside = change = replace(change, release=release)
    return Turn(
        row.run_id,
        row.workflow_id,
        held.seq,
        held.epoch,
        change=change,
        inbox=[InboxRow(row.workflow_id, row.run_id, None, fact, now_us) for fact in held.facts],
        consumed=[item.row_id for item in held.inbox if item.fact.kind in _ORDERS],
        attempts=[attempt for attempt, _ in held.records],
    )


def _write_outcomes(draft: TurnDraft, activation: Activation) -> None:
    row = draft.row
    for rejection in activation.rejections:
        draft.add(
            "updates",
            UpdateRow(row.workflow_id, rejection.update_id, row.run_id, rejection.name, "rejected", rejection.error),
        )
    for event in activation.events:
        if event.kind == EventKind.QUESTION_ANSWERED and event.command not in draft.replayer.open:
            draft.add("closed_questions", event.command)
    for level, text in activation.logs:
        draft.add("logs", LogRow(row.run_id, draft.now_us, level, row.workflow, shorten(text)))


def _change(
    held: HeldRun,
    replayer: Replayer,
    activation: Activation,
    closing: Command | None,
    has_in_flight: bool,
    now_us: int,
) -> RunChange:
    status = replayer.status
    closes = status.is_closed and not held.is_closed
    reason = without_halt(held.row.reason) if status.is_closed else None
    if closes:
        reason = _reason(replayer, closing, activation.events[-1])
    waiting = None
    if not status.is_closed and status is not RunStatus.PAUSED and not has_in_flight:
        waiting = waiting_for(replayer)
        status = RunStatus.WAITING
    return RunChange(
        status=status,
        rollback=replayer.rollback,
        waiting_for=waiting,
        ready_at_us=None if status.is_closed or status is RunStatus.PAUSED else _next_wake_us(held, replayer),
        release=not has_in_flight,
        reason=reason,
        closed_at_us=now_us if closes else None,
        started_at_us=now_us if held.seq == 0 else None,
    )


def _next_wake_us(held: HeldRun, replayer: Replayer) -> int | None:
    """When the run wants a worker by itself: for a timer of its code, or for a limit of a step that others complete."""
    wake_us = replayer.next_wake_us()
    if not held.step_limits:
        return wake_us
    limit_us = held.next_limit_us()
    return wake_us if limit_us is None else limit_us if wake_us is None else min(wake_us, limit_us)


def _reason(replayer: Replayer, closing: Command | None, event: Event) -> str | None:
    if isinstance(closing, FailRun):
        return replayer.failure_text
    return event.details.get("reason") or None


def _open_children(replayer: Replayer) -> Iterator[int]:
    """The children to which ``on_parent_close`` applies. One that was asked to cancel ends by itself, after its cleanup."""
    for number, waiter in replayer.open.items():
        if isinstance(waiter.command, StartChild) and not waiter.cancel_requested:
            yield number


def _report_to_parent(
    row: RunRow, replayer: Replayer, event: Event, closing: Command | None, now_us: int
) -> Iterator[InboxRow]:
    if row.parent_run_id is None or not replayer.parent_workflow_id:
        return
    payload = closing.payload if closing is not None else None
    fact = child_outcome(row.workflow_id, row.workflow, row.parent_command, event, payload)
    if fact is not None:
        yield InboxRow(replayer.parent_workflow_id, row.parent_run_id, None, fact, now_us)
