"""A run on the screen: what is known of it, and its timeline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from runtime.cli.moment import show_duration, show_instant
from runtime.cli.output import Cell, shorten
from runtime.client.description import RunDescription
from runtime.client.entry import EntryKind, EntryState, TimelineAttempt, TimelineEntry
from runtime.client.fault import Fault
from runtime.client.timeline import Timeline, read_timeline

if TYPE_CHECKING:
    from runtime.cli.session import Session
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle

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


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that ``durable show`` shows.

    Attributes:
        has_worker: the worker that holds the run is alive.
        is_served: a worker that has the workflow is alive.
    """

    run: RunDescription
    timeline: Timeline
    has_worker: bool
    is_served: bool


async def read_report(client: Client, run: RunHandle[Any], *, reveal: bool = False) -> Report:
    """Read it from the store."""
    row = await run.row()
    pinned = client.get(row.workflow_id, row.run_id)
    timeline = await read_timeline(client, row, reveal=reveal)
    workers = await client.store.workers()
    has_worker = any(row.owner == worker.worker_id for worker in workers)
    is_served = any(row.workflow in worker.workflows for worker in workers)
    return Report(await pinned.describe(), timeline, has_worker, is_served)


def show_report(session: Session, report: Report, *, in_full: bool = False) -> None:
    """Show it.

    Args:
        in_full: inputs and results are not shortened.
    """
    output, run = session.output, report.run
    if session.as_json:
        output.data(
            {
                "store": session.open_store().url,
                "run": run,
                "timeline": [entry_fields(e) for e in report.timeline.entries],
            }
        )
        return
    output.line((run.workflow_id, "strong"), "  ", (run.status.value, run.status.value))
    for label, text in _facts(report):
        output.line((f"  {label:<11}", "dim"), text)
    if report.timeline.entries:
        output.line()
    for line in timeline_lines(report.timeline, in_full=in_full):
        output.line(*line)
    _show_questions(session, run)


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    run = report.run
    yield "workflow", run.workflow
    yield "run id", run.run_id
    yield "started", f"{show_instant(run.started_at or run.created_at)} by {run.actor}"
    if run.closed_at is not None:
        yield "ended", f"{show_instant(run.closed_at)}, after {show_duration(run.closed_at - run.created_at)}"
    if run.waiting_for:
        yield "waits for", run.waiting_for
    if run.next_at is not None and run.next_at > datetime.now(UTC):
        yield "next at", show_instant(run.next_at)
    if run.reason:
        yield "because", run.reason
    if run.superseded_by is not None:
        yield "superseded", str(run.superseded_by)
    if run.rollback != "none":
        yield "rollback", run.rollback.value
    if run.attributes:
        yield "attributes", ", ".join(f"{name}={value}" for name, value in run.attributes.items())
    if run.worker:
        yield "worker", run.worker if report.has_worker else f"{run.worker} (gone; it goes on with the next one)"
    elif not run.status.is_closed and not report.is_served:
        yield "worker", "none that has this workflow is running"
    if run.unread:
        yield "unread", f"{', '.join(run.unread)} (the next worker that takes the run looks at it)"
    for child in run.children:
        yield "child", f"{child.workflow_id} ({child.workflow}): {child.status.value}"


def _show_questions(session: Session, run: RunDescription) -> None:
    from runtime.cli.listing import how_to_answer

    for question in run.questions:
        session.output.line()
        session.output.line((f"{question.kind} {question.key!r}: {question.prompt}", "strong"))
        for command in how_to_answer(question, session):
            session.output.line("  ", (command, "waiting"))


# -- entries ----------------------------------------------------------------------------------------------


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
    if attempt.ended_at is not None:
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


def entry_fields(entry: TimelineEntry) -> dict[str, Any]:
    """An entry for programs: inputs and results as values."""
    from dataclasses import asdict

    fields = asdict(entry)
    for name in ("input", "result"):
        fields[name] = _parsed(fields[name])
    return fields


def _parsed(plain: str | None) -> Any:
    from pydantic_core import from_json

    if plain is None:
        return None
    try:
        return from_json(plain)
    except ValueError:
        return plain
