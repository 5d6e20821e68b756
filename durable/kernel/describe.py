"""What a run waits for, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.commands import AskQuestion, ScheduleStep, SendMessage, StartChild, StartTimer
from durable.duration import to_instant
from durable.kernel.line import coroutine_frame
from durable.kernel.location import place_of

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

_LIMIT = 3


def waiting_for(run: Replayer) -> str | None:
    """What a run waits for as a person would say it, the first three; None if nothing is open.

    Messages come first: children are open as well when nobody awaits them, and there may be many.
    """
    mailbox = run.mailbox
    parts = [f"signal {name!r}" for name, queue in mailbox.waiting.items() if any(not f.done() for f, _ in queue)]
    if any(not future.done() for _, future in mailbox.conditions):
        parts.append("a condition")
    for waiter in run.open.values():
        if waiter.done():
            continue
        command = waiter.command
        if isinstance(command, AskQuestion):
            word = "approval" if command.question == "approval" else "answer"
            parts.append(f"{word} {command.name!r}: {command.prompt}")
        elif isinstance(command, StartTimer):
            if command.name == "sleep":
                parts.append(f"sleep until {_moment(command.deadline_us)}")
        elif isinstance(command, StartChild):
            parts.append(f"child {command.workflow_id!r}")
        elif isinstance(command, ScheduleStep):
            queue = command.definition.options_.queue
            parts.append(f"step {command.name!r}" + (f" on queue {queue!r}" if queue else ""))
        elif isinstance(command, SendMessage):
            parts.append(f"delivery to {command.workflow_id!r}")
    if not parts:
        timer_us = run.timers.next_of_code_us()
        return _place(run) if timer_us is None else f"timer until {_moment(timer_us)}"
    more = f" and {len(parts) - _LIMIT} more" if len(parts) > _LIMIT else ""
    return ", ".join(parts[:_LIMIT]) + more


def _place(run: Replayer) -> str | None:
    """Where the code waits for something of its own: a lock, an event, a sleep without an end."""
    for task in run.loop.pending_tasks():
        frame = coroutine_frame(task.get_coro())
        if frame is not None:
            return f"its own code, at {place_of(frame)} in {frame.f_code.co_qualname}"
    return None


def _moment(at_us: int) -> str:
    return f"{to_instant(at_us):%Y-%m-%d %H:%M:%S} UTC"
