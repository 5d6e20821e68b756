"""Requests against records: whether replay asks for what history holds, and the words of every mismatch (rule K6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from durable.commands import Command
from durable.duration import to_instant
from durable.errors import NondeterminismError
from durable.history import Event, EventKind, parse_detail

CANCELS: Final = frozenset(
    {
        EventKind.STEP_CANCEL_REQUESTED,
        EventKind.TIMER_CANCELLED,
        EventKind.CHILD_CANCEL_REQUESTED,
        EventKind.QUESTION_WITHDRAWN,
    }
)
"""Records that take back a command and carry its number."""

UNCOMPARED: Final = frozenset({EventKind.RUN_FAILED, EventKind.UPDATE_FAILED, EventKind.ROLLBACK_FAILED})
"""Records whose payload holds a traceback, which changes with every edit of the code."""

RAISES: Final = "an exception out of the workflow"
"""What code asks for that fails."""

REMEDY: Final = (
    'keep the old path behind ctx.patched("..."), move the read into a step, or undo the change and run the new code '
    "under another workflow name"
)


def key_of(kind: str, number: int | None, name: str | None) -> tuple[str, int | str | None] | int:
    """What identifies a record within its batch: its number, or for those that share or lack one, kind and number or name."""
    if number is None:
        return (kind, name)
    return (kind, number) if kind in CANCELS else number


def describe(kind: str, name: str | None, detail: dict[str, Any] | None = None) -> str:
    """A request or record as a person would write it: ``step('charge')``, ``sleep until ...``."""
    detail = detail or {}
    match kind:
        case EventKind.STEP_SCHEDULED:
            word = "compensation" if detail.get("role") == "compensation" else "step"
            return f"{word}({name!r})"
        case EventKind.TIMER_STARTED:
            deadline = detail.get("deadline_us")
            until = f" until {to_instant(deadline).isoformat()}" if isinstance(deadline, int) else ""
            return f"{name or 'timer'}{until}"
        case EventKind.CHILD_STARTED:
            return f"child_workflow({name!r})"
        case EventKind.QUESTION_ASKED:
            return f"question({name!r})"
        case EventKind.MESSAGE_SENT:
            return f"send({name!r})"
        case EventKind.RUN_COMPLETED:
            return "return from the workflow"
        case EventKind.RUN_FAILED:
            return RAISES
        case _:
            return f"{EventKind(kind).value}({name!r})" if name else EventKind(kind).value


def mismatch(
    identity: str,
    batch: Sequence[Event],
    record: Event | None,
    command: Command | None,
    where: str,
    cause: str = "the code changed after this run began, or it read a clock, randomness or other state outside a step",
) -> NondeterminismError:
    """The error of a divergence: recorded, requested, source line, cause, remedy."""
    event = record or batch[-1]
    recorded = describe(record.kind, record.name, record.details) if record else "nothing more in this batch"
    requested = describe(command.kind, command.name, parse_detail(command.detail)) if command else "nothing"
    return NondeterminismError(
        f"replay of {identity} diverged at event {event.seq}\n"
        f"  recorded:  {recorded}\n"
        f"  requested: {requested}{where}\n"
        f"  cause:     {cause}\n"
        f"  remedy:    {REMEDY}",
        event=event.seq,
        recorded=recorded,
        requested=requested,
        where=where.strip().removeprefix("; the code waits").strip().removeprefix("at "),
        cause=cause,
        remedy=REMEDY,
    )
