"""What becomes of an open operation: applying its outcome, and taking it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from durable.codec import rebuild_exception, summarize_exception
from durable.commands import (
    AskQuestion,
    CancelChild,
    CancelStep,
    CancelTimer,
    Command,
    ScheduleStep,
    SendMessage,
    SetAsideMessage,
    StartChild,
    StartTimer,
    WithdrawQuestion,
)
from durable.errors import (
    ChildCancelledError,
    ChildExistsError,
    ChildFailedError,
    ChildTerminatedError,
    DecodeError,
    MessageUndeliverableError,
    MissingCodeError,
    StepCancelledError,
)
from durable.history import Event, EventKind, write_detail
from durable.saga import Compensation

if TYPE_CHECKING:
    from durable.kernel.operation import Waiter
    from durable.kernel.replayer import Replayer


def _step_completed(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open.pop(event.command)
    command = waiter.command
    assert isinstance(command, ScheduleStep)
    definition = command.definition
    try:
        value = definition.result.decode(run.payloads.open(event.payload or "null"))
    except DecodeError as error:
        error.blame(f"the result of step {definition.name!r}")
        waiter.fail(error)
        run.ending.operation_ended()
        return
    if definition.compensation is not None and command.compensates is None:
        _register(run, waiter, definition.compensation, value)
    if not waiter.done():
        waiter.set_result(value)
    run.ending.operation_ended()


def _step_failed(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open.pop(event.command)
    waiter.fail(_rebuilt(run, event, step=waiter.command.name or ""))
    run.ending.operation_ended()


def _step_cancelled(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open.pop(event.command)
    name = waiter.command.name or ""
    waiter.fail(StepCancelledError(f"step {name!r} was cancelled", step=name))
    run.ending.operation_ended()


def _timer_fired(run: Replayer, event: Event) -> None:
    number = event.command
    assert number is not None
    run.timers.clear(number)
    waiter = run.open.pop(number, None)
    if waiter is None:
        run.loop.fire_timer(number)
    elif not waiter.done():
        waiter.set_result(None)


def _child_completed(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open.pop(event.command)
    command = waiter.command
    assert isinstance(command, StartChild)
    definition = command.definition
    try:
        value = definition.result.decode(run.payloads.open(event.payload or "null"))
    except DecodeError as error:
        error.blame(f"the result of child {command.workflow_id!r}")
        waiter.fail(error)
    else:
        if definition.compensation is not None:
            _register(run, waiter, definition.compensation, value)
        if not waiter.done():
            waiter.set_result(value)
    run.ending.operation_ended()


def _child_failed(run: Replayer, event: Event) -> None:
    """The detail's ``error`` says how: ``failed`` (the payload is the record), ``cancelled``, ``terminated`` or ``exists``."""
    assert event.command is not None
    waiter = run.open.pop(event.command)
    command = waiter.command
    assert isinstance(command, StartChild)
    detail = event.details
    child, reason = command.workflow_id, detail.get("reason") or ""
    because = f": {reason}" if reason else ""
    match detail.get("error"):
        case "exists":
            waiter.fail(ChildExistsError(f"a run with the id {child!r} exists already", workflow_id=child))
        case "cancelled":
            waiter.fail(ChildCancelledError(f"child {child!r} was cancelled{because}", workflow_id=child))
        case "terminated":
            waiter.fail(ChildTerminatedError(f"child {child!r} was terminated{because}", workflow_id=child))
        case _:
            cause = _rebuilt(run, event)
            error = ChildFailedError(f"child {child!r} failed: {summarize_exception(cause)}", workflow_id=child)
            error.__cause__ = cause
            waiter.fail(error)
    run.ending.operation_ended()


def _question_answered(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open[event.command]
    command = waiter.command
    assert isinstance(command, AskQuestion)
    try:
        answer = command.codec.decode(run.payloads.open(event.payload or "null"))
    except DecodeError as error:
        detail = write_detail(sender=event.actor, why=error.message)
        run.issuer.issue(SetAsideMessage(run.issuer.next_number(), command.name, detail))
        return
    del run.open[event.command]
    if not waiter.done():
        waiter.set_result((answer, event.actor, event.at_us))


def _message_delivered(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open.pop(event.command)
    if not waiter.done():
        waiter.set_result(None)


def _message_failed(run: Replayer, event: Event) -> None:
    assert event.command is not None
    waiter = run.open.pop(event.command)
    command = waiter.command
    assert isinstance(command, SendMessage)
    why = _UNDELIVERED.get(event.details.get("error") or "", "it cannot be reached")
    waiter.fail(MessageUndeliverableError(f"cannot {command.message} {command.workflow_id!r}: {why}"))


_UNDELIVERED: Final = {"not_found": "no run has this id", "closed": "the run has ended"}
"""What the store says about a message that it could not deliver, in words."""


OUTCOMES: Final[dict[str, Callable[[Replayer, Event], None]]] = {
    EventKind.STEP_COMPLETED: _step_completed,
    EventKind.STEP_FAILED: _step_failed,
    EventKind.STEP_CANCELLED: _step_cancelled,
    EventKind.TIMER_FIRED: _timer_fired,
    EventKind.CHILD_COMPLETED: _child_completed,
    EventKind.CHILD_FAILED: _child_failed,
    EventKind.QUESTION_ANSWERED: _question_answered,
    EventKind.MESSAGE_DELIVERED: _message_delivered,
    EventKind.MESSAGE_FAILED: _message_failed,
}
"""How each outcome is applied to the operation that waits for it."""


def _rebuilt(run: Replayer, event: Event, *, step: str = "") -> Exception:
    record = run.payloads.open(event.payload or "null")
    try:
        return rebuild_exception(record, modules=run.registry.modules(), step=step)
    except MissingCodeError as error:
        run.issuer.stop(error)


def _register(run: Replayer, waiter: Waiter, compensation: Any, value: Any) -> None:
    """Rule S1: an undo step is registered when the outcome is applied, whether or not anybody still waits."""
    command = waiter.command
    assert command.number is not None
    arguments = compensation.arguments.encode((value,) if compensation.arguments.parameters else (), {})
    scope = waiter.scope if waiter.scope is not None else run.stack
    scope.push(Compensation(command.number, compensation, arguments, command.name or ""))


def withdraw(run: Replayer, waiter: Waiter, *, insists: bool = False) -> None:
    """The wait for an operation was cancelled: drop its command, or send one cancel request (rules K5, L6).

    A child whose waiting task is a leftover of the run's end gets none: ``on_parent_close`` decides about it, unless
    the run ``insists`` because it undoes what the child does.
    """
    if waiter.cancel_requested or run.is_closing:
        return
    command, issuer = waiter.command, run.issuer
    is_leftover = run.ending.is_cleaning_up and not insists
    if is_leftover and isinstance(command, StartChild) and command not in issuer.batch:
        return
    waiter.cancel_requested = True
    number = command.number
    assert number is not None
    if command in issuer.batch:
        command.dropped = True
        run.open.pop(number, None)
        run.timers.clear(number)
        return
    request = _withdrawal(run, command, number)
    if isinstance(request, CancelTimer | WithdrawQuestion):  # these end at once
        run.open.pop(number, None)
        run.timers.clear(number)
    if request is not None:
        issuer.issue(request)


def _withdrawal(run: Replayer, command: Command, number: int) -> Command | None:
    """The command that takes back a recorded one, or None where nothing can be taken back."""
    if isinstance(command, ScheduleStep):
        return CancelStep(number, command.name)
    if isinstance(command, StartTimer):
        return CancelTimer(number, command.name)
    if isinstance(command, StartChild):
        return CancelChild(number, command.name or "", command.workflow_id, command.run_id, run.cancel_reason or "")
    if isinstance(command, AskQuestion):
        return WithdrawQuestion(number, command.name)
    return None
