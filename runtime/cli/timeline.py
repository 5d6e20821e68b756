"""A run on the screen: what is known of it, and its timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from durable.errors import HistoryCorruptedError
from durable.timeline.entry import TimelineEntry
from durable.timeline.line import timeline_lines
from durable.timeline.text import show_duration, show_instant
from durable.timeline.timeline import Timeline
from runtime.client.description import RunDescription
from runtime.client.encryption import encryption
from runtime.client.timeline import read_timeline

if TYPE_CHECKING:
    from runtime.cli.session import Session
    from runtime.client.client import Client
    from runtime.client.handle import RunHandle


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that ``durable show`` shows.

    Attributes:
        flaw: what is wrong with its history.
        has_worker: the worker that holds the run is alive.
        is_served: a worker that has the workflow is alive.
        is_encrypted: its workers encrypt its values.
        problems: why values are not revealed that should be.
    """

    run: RunDescription
    timeline: Timeline
    flaw: str | None
    has_worker: bool
    is_served: bool
    is_encrypted: bool
    problems: Sequence[str]


async def read_report(client: Client, run: RunHandle[Any], *, reveal: bool = False) -> Report:
    """Read it from the store."""
    row = await run.row()
    pinned = client.get(row.workflow_id, row.run_id)
    problems: list[str] = []
    timeline = await read_timeline(client, row, reveal=reveal, problems=problems)
    try:
        await pinned.history()
        flaw = None
    except HistoryCorruptedError as error:  # what is left of it is shown
        flaw = str(error)
    workers = await client.store.workers()
    has_worker = any(row.owner == worker.worker_id for worker in workers)
    is_served = any(row.workflow in worker.workflows for worker in workers)
    return Report(
        await pinned.describe(),
        timeline,
        flaw,
        has_worker,
        is_served,
        bool(await encryption(client, row.workflow)),
        problems,
    )


def show_report(session: Session, report: Report, *, in_full: bool = False) -> None:
    """Show it.

    Args:
        in_full: inputs and results are not shortened.
    """
    output, run = session.output, report.run
    output.hidden(report.problems)
    if session.as_json:
        output.data(
            {
                "store": session.open_store().url,
                "run": run,
                "flaw": report.flaw,
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
    _show_questions(session, run, is_encrypted=report.is_encrypted)


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
    if report.flaw:
        yield "corrupted", report.flaw
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


def _show_questions(session: Session, run: RunDescription, *, is_encrypted: bool) -> None:
    from runtime.cli.listing import how_to_answer

    for question in run.questions:
        session.output.line()
        session.output.line((f"{question.kind} {question.key!r}: {question.prompt}", "strong"))
        for command in how_to_answer(question, session, is_encrypted=is_encrypted):
            session.output.line("  ", (command, "waiting"))


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
