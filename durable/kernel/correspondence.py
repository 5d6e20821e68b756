"""What runs write to one another: the facts that commands of one run become for another."""

from __future__ import annotations

from typing import Final

from durable.commands import CancelChild, ContinueRun, SendMessage, StartChild
from durable.history import Event, EventKind, Fact, parse_detail, write_detail

CHILD_OUTCOMES: Final[dict[EventKind, tuple[EventKind, str | None]]] = {
    EventKind.RUN_COMPLETED: (EventKind.CHILD_COMPLETED, None),
    EventKind.RUN_FAILED: (EventKind.CHILD_FAILED, "failed"),
    EventKind.RUN_CANCELLED: (EventKind.CHILD_FAILED, "cancelled"),
    EventKind.RUN_TERMINATED: (EventKind.CHILD_FAILED, "terminated"),
}
"""What a run's terminal event is to its parent, and the error word of the fact's detail."""

PARENT_ENDED: Final = "its parent ended"
"""Why a child is cancelled or terminated by ``on_parent_close``."""


def author(workflow_id: str) -> str:
    """The actor of what a run causes."""
    return f"run:{workflow_id}"


def child_start(workflow_id: str, command: StartChild) -> Fact:
    """The start of a child of this workflow id."""
    detail = write_detail(parent_workflow_id=workflow_id)
    return Fact(EventKind.RUN_STARTED, detail=detail, payload=command.payload, actor=author(workflow_id))


def child_exists(workflow_id: str, command: int | None, workflow: str) -> Fact:
    """Another run has the workflow id that a child was to have."""
    return Fact(EventKind.CHILD_FAILED, command, workflow, write_detail(error="exists"), actor=author(workflow_id))


def child_cancellation(workflow_id: str, command: CancelChild) -> Fact:
    """The request to a child to cancel."""
    detail = write_detail(reason=command.reason)
    return Fact(EventKind.CANCEL_REQUESTED, detail=detail, actor=author(workflow_id))


def child_outcome(child_id: str, workflow: str, command: int | None, ending: Event, payload: str | None) -> Fact | None:
    """What a child's terminal event is to its parent; None if it continues as new.

    Args:
        child_id: workflow id of the child.
        workflow: its name.
        command: the parent's command that started it.
        ending: its terminal event.
        payload: its result or the record of its error.
    """
    outcome = CHILD_OUTCOMES.get(EventKind(ending.kind))
    if outcome is None:
        return None
    kind, error = outcome
    detail = write_detail(error=error, reason=ending.details.get("reason")) if error else None
    return Fact(kind, command, workflow, detail, payload, author(child_id))


def message(workflow_id: str, message_id: str, command: SendMessage) -> Fact:
    """A signal or a cancellation for another run."""
    if command.message == "cancel":
        reason = parse_detail(command.detail).get("reason") or ""
        return Fact(EventKind.CANCEL_REQUESTED, detail=write_detail(reason=reason), actor=author(workflow_id))
    detail = write_detail(message_id=message_id)
    return Fact(EventKind.SIGNAL_RECEIVED, None, command.signal, detail, command.payload, author(workflow_id))


def receipt(command: int, fact: Fact, error: str | None) -> Fact:
    """What the sender of a message hears: it was delivered, or why not (``not_found``, ``closed``)."""
    kind = EventKind.MESSAGE_DELIVERED if error is None else EventKind.MESSAGE_FAILED
    return Fact(kind, command, fact.name, write_detail(error=error), actor=fact.actor)


def successor_start(run_id: str, actor: str, parent_workflow_id: str | None, command: ContinueRun) -> Fact:
    """The start of the run that continues this one."""
    carry = dict(command.carry)
    if parent_workflow_id:
        carry["parent_workflow_id"] = parent_workflow_id
    detail = write_detail(continued_from=run_id, **carry)
    return Fact(EventKind.RUN_STARTED, detail=detail, payload=command.payload, actor=actor)
