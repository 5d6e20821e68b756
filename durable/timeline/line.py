"""A timeline as lines of cells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from durable.timeline.entry import EntryKind, EntryState, TimelineAttempt, TimelineEntry
from durable.timeline.fault import Fault
from durable.timeline.text import Cell, shorten, show_duration, show_instant
from durable.timeline.timeline import Timeline

MARKS: Final = {
    EntryState.OPEN: ("…", "running"),
    EntryState.DONE: ("✓", "completed"),
    EntryState.FAILED: ("✗", "failed"),
    EntryState.CANCELLED: ("-", "cancelled"),
}

_PLAIN_KINDS: Final = frozenset({EntryKind.REQUEST, EntryKind.NOTE, EntryKind.ROLLBACK})
"""Entries whose name says it all."""

_TELL_ALL: Final = frozenset({"EncodeError", "DecodeError"})
"""Errors whose message has everything that their cause, an error of the machine that reads and writes JSON, would say."""

_SHOWN_FRAMES: Final = 8
_LINE: Final = 110


def timeline_lines(timeline: Timeline, *, in_full: bool = False) -> Iterator[list[Cell]]:
    """All entries; the run's own is told in two parts, its beginning first and its end last."""
    if not timeline.entries:
        return
    run, *entries = timeline.entries
    origin = f"  {run.text}" if run.text and run.is_open else ""
    given: Cell = (f" {_value(run.input, in_full)}" if run.input is not None else "", "dim")
    yield [_clock(run.began_at), "▶ run started", given, f"  (by {run.by})" if run.by else "", origin]
    for entry in entries:
        if is_telling(entry):
            yield from entry_lines(entry, in_full=in_full)
    if run.ended_at is None:
        return
    mark, style = MARKS[run.state]
    result = f"  → {_value(run.result, in_full)}" if run.result is not None else ""
    reason = f": {run.text}" if run.text else ""
    yield [_clock(run.ended_at), (mark, style), " run ", (run.name, style), reason, result]
    if run.error is not None:
        yield []
        yield from fault_lines(run.error)


def is_telling(entry: TimelineEntry) -> bool:
    """Whether an entry is worth a line: not a time limit that was not reached, nor a question's own, which stands with it."""
    if entry.kind is not EntryKind.TIMER:
        return True
    return entry.state is not EntryState.CANCELLED and entry.name != "question"


def entry_lines(entry: TimelineEntry, *, in_full: bool = False) -> Iterator[list[Cell]]:
    """The lines of an entry: what it is, then its failed attempts, then its error."""
    mark, style = MARKS[entry.state]
    yield [_clock(entry.began_at), (mark, style), " ", *_title(entry, in_full), *_end(entry, in_full)]
    for attempt in entry.tries:
        yield [("            ", "dim"), *_attempt(attempt)]
    if entry.error is not None:
        where = f"  at {entry.error.where}" if entry.error.where else ""
        yield ["            ", (shorten(str(entry.error), _LINE), "failed"), where]


def _clock(at: datetime) -> Cell:
    return f"{at.astimezone():%H:%M:%S}  ", "dim"


def _title(entry: TimelineEntry, in_full: bool) -> list[Cell]:
    if entry.kind in _PLAIN_KINDS:
        head: list[Cell] = [entry.name]
    else:
        head = [(f"{entry.kind.value} ", "dim"), (entry.name, "strong")]
    if entry.input is not None:
        head.append((f" {_value(entry.input, in_full)}", "dim"))
    if entry.text:
        head.append(f" {entry.text if entry.kind in _PLAIN_KINDS else f'({entry.text})'}")
    if entry.times > 1:
        head.append(f" ({entry.times} items)")
    return head


def _end(entry: TimelineEntry, in_full: bool) -> Iterator[Cell]:
    parts = []
    if entry.ended_at is not None and entry.ended_at != entry.began_at:
        yield f"  {show_duration(entry.ended_at - entry.began_at)}", "dim"
    if entry.attempts > 1:
        parts.append(f"{entry.attempts} attempts")
    if entry.is_open and entry.due_at is not None:
        parts.append(f"until {show_instant(entry.due_at)}")
    if entry.by:
        parts.append(f"by {entry.by}")
    if parts:
        yield f"  ({', '.join(parts)})"
    if entry.result is not None:
        yield f"  → {_value(entry.result, in_full)}"


def _value(plain: str, in_full: bool) -> str:
    return plain if in_full else shorten(plain, 60)


def _attempt(attempt: TimelineAttempt) -> Iterator[Cell]:
    yield f"attempt {attempt.attempt} "
    yield attempt.outcome.replace("_", " "), "failed" if attempt.ended_at else "running"
    if attempt.ended_at is not None and attempt.outcome != "lost":  # when a worker was lost, nobody saw
        yield f" after {show_duration(attempt.ended_at - attempt.started_at)}", "dim"
    if attempt.error is not None:
        yield f": {shorten(str(attempt.error), _LINE)}"
        if attempt.error.where:
            yield f"  at {attempt.error.where}"
    if attempt.next_at is not None:
        yield f"; next at {show_instant(attempt.next_at)}", "dim"


def fault_lines(fault: Fault, indent: str = "") -> Iterator[list[Cell]]:
    """An error with the user's own frame first, then the others from the inside out, then its causes."""
    yield [indent, (str(fault), "failed")]
    user = [frame for frame in fault.frames if frame.is_user]
    rest = [frame for frame in fault.frames if not frame.is_user]
    for frame in (*user, *rest)[:_SHOWN_FRAMES]:
        yield [f"{indent}  at {frame}", (f"    {frame.code}" if frame.code else "", "dim")]
    for note in fault.notes:
        yield [f"{indent}  {note}"]
    for leaf in fault.leaves:
        yield from fault_lines(leaf, f"{indent}  ")
    if fault.cause is not None and fault.type not in _TELL_ALL:
        yield [f"{indent}caused by"]
        yield from fault_lines(fault.cause, f"{indent}  ")
