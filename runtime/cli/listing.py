"""Lists on the screen: runs, events, log lines, questions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable.duration import to_instant
from durable.handle import RunStatus
from durable.history import Event, verify_chain
from durable.timeline.text import Cell, shorten, show_instant
from runtime.cli.session import Session, is_missing
from runtime.cli.text import json_text
from runtime.store.whole import check_whole

if TYPE_CHECKING:
    from durable.timeline.timeline import Opener
    from runtime.client.client import Client
    from runtime.client.description import Question, RunSummary
    from runtime.client.handle import RunHandle
    from runtime.store.row import LogRow, WorkerRow


def nothing(session: Session, what: str) -> None:
    """Say that a list is empty, and which store was searched."""
    store = session.open_store()
    missing = " (there is no such file yet)" if is_missing(store) else ""
    session.output.note(f"no {what} in {store.url}{missing}")


# -- runs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """The newest runs that match.

    Attributes:
        count: how many match in all.
        workers: those that are alive.
        following: the cursor of the next page; None if there is none.
        is_first: no page comes before it.
    """

    runs: Sequence[RunSummary] = ()
    count: int = 0
    workers: Sequence[WorkerRow] = ()
    following: str | None = None
    is_first: bool = True


def show_runs(session: Session, page: Page, *, is_filtered: bool) -> None:
    """Show a page of runs."""
    runs = page.runs
    if session.as_json:
        session.output.data(
            {"store": session.open_store().url, "count": page.count, "runs": list(runs), "after": page.following}
        )
        return
    if not runs:
        nothing(session, "runs match" if is_filtered else "runs")
        return
    session.output.table(
        ("id", "workflow", "status", "started", "about"),
        [
            (one.workflow_id, one.workflow, _status(one), show_instant(one.created_at), _about(one, page))
            for one in runs
        ],
    )
    if page.following is not None:
        more = f"{page.count - len(runs)} more" if page.is_first else "more"
        session.output.note(f"{more}; go on with --after {page.following}")


def _status(run: RunSummary) -> Cell:
    text = run.status.value
    return (f"{text}, rollback {run.rollback}" if run.rollback != "none" else text), text


def _about(run: RunSummary, page: Page) -> str:
    if run.superseded_by is not None:
        return str(run.superseded_by)
    if run.worker is not None and all(run.worker != worker.worker_id for worker in page.workers):
        return "its worker is gone; it goes on with the next one that serves it"
    if run.status in (RunStatus.PENDING, RunStatus.RUNNING) and all(
        run.workflow not in worker.workflows for worker in page.workers
    ):
        return "no worker that has its workflow is running"
    return shorten(run.reason or (f"waits for {run.waiting_for}" if run.waiting_for else ""), 100)


# -- history ----------------------------------------------------------------------------------------------


async def show_history(
    session: Session,
    client: Client,
    run: RunHandle[Any],
    *,
    after: int,
    limit: int | None,
    verify: bool,
    reveal: bool,
) -> None:
    """Show events.

    Raises:
        HistoryCorruptedError: ``verify`` was asked for, and the chain is broken.
    """
    from runtime.client.timeline import value_opener

    row = await run.row()
    if verify:
        whole = await client.store.read_history(row.run_id)
        verify_chain(whole)
        check_whole(row, whole)
        session.output.note(f"{len(whole)} events, the hash chain is intact")
    events = await client.store.read_history(row.run_id, after, limit)
    if limit is None and (events[-1].seq if events else after) < row.seq:
        session.output.note(
            f"the last events are missing: the run's row says that there are {row.seq} (--verify says more)"
        )
    problems: list[str] = []
    opener = value_opener(client, await client.store.read_blobs(row.run_id), reveal=reveal, problems=problems)
    if session.as_json:
        for event in events:
            session.output.event(event.kind, **_event_fields(event, opener))
        session.output.hidden(problems)
        return
    if not events:
        nothing(session, f"events of {run.workflow_id}")
        return
    session.output.table(
        ("seq", "batch", "time", "event", "cmd", "name", "actor", "value"),
        [
            (
                str(event.seq),
                str(event.batch),
                show_instant(to_instant(event.at_us)),
                event.kind,
                "" if event.command is None else str(event.command),
                event.name or "",
                _short_actor(event.actor),
                shorten(_value(event, opener) or "", 60),
            )
            for event in events
        ],
    )
    session.output.hidden(problems)


def _short_actor(actor: str) -> str:
    """A principal as it is, a worker's id by its end."""
    return actor if ":" in actor else actor[-12:]


def _value(event: Event, opener: Opener) -> str | None:
    return event.detail if event.payload is None else opener(event.payload)


def _event_fields(event: Event, opener: Opener) -> dict[str, Any]:
    from pydantic_core import from_json

    plain = _value(event, opener) if event.payload is not None else None
    try:
        value = None if plain is None else from_json(plain)
    except ValueError:
        value = plain
    return {
        "seq": event.seq,
        "batch": event.batch,
        "at": to_instant(event.at_us),
        "actor": event.actor,
        "command": event.command,
        "name": event.name,
        "detail": event.details,
        "value": value,
        "hash": event.hash.hex(),
    }


# -- logs -------------------------------------------------------------------------------------------------


async def show_logs(session: Session, client: Client, run: RunHandle[Any], *, limit: int, follow: bool) -> None:
    """Show log lines, and those to come."""
    run_id = (await run.row()).run_id
    shown: list[LogRow] = []

    def show(rows: Sequence[LogRow]) -> None:
        fresh = rows[_overlap(shown, rows) :]
        for row in fresh:
            _show_log(session, row)
        shown[:] = rows

    async def look() -> bool | None:
        found = await client.store.get_run_by_id(run_id)
        show(await client.store.read_logs(run_id, limit))
        return True if not follow or found is None or found.status.is_closed else None

    await client.watch.until(look, lambda _: True)
    if not shown and not session.as_json:
        nothing(session, f"log lines of {run.workflow_id}")


def _overlap(before: Sequence[LogRow], after: Sequence[LogRow]) -> int:
    """How many of the first lines of ``after`` are the last lines of ``before``: those that were shown."""
    for size in range(min(len(before), len(after)), 0, -1):
        if before[len(before) - size :] == after[:size]:
            return size
    return 0


def _show_log(session: Session, row: LogRow) -> None:
    at = to_instant(row.at_us)
    if session.as_json:
        session.output.event("log", at=at, level=row.level.lower(), source=row.source, message=row.message)
        return
    style = {"ERROR": "failed", "CRITICAL": "failed", "WARNING": "cancelled"}.get(row.level, "dim")
    session.output.line((show_instant(at), "dim"), " ", (f"{row.level:<7}", style), f" {row.source}: {row.message}")


# -- questions --------------------------------------------------------------------------------------------


def show_questions(session: Session, questions: Sequence[Question] | None, encrypted: Collection[str] = ()) -> None:
    """Show what people are asked, each with the command that answers it.

    Args:
        encrypted: ids of the runs whose answers are kept encrypted.
    """
    if session.as_json:
        session.output.data({"store": session.open_store().url, "questions": list(questions or ())})
        return
    if not questions:
        nothing(session, "open questions")
        return
    for question in questions:
        until = f", until {show_instant(question.deadline)}" if question.deadline else ""
        session.output.line(
            (question.workflow_id, "strong"),
            f"  {question.kind} {question.key!r}, asked {show_instant(question.asked_at)}{until}",
        )
        session.output.line(f"  {question.prompt}")
        for name, value in question.about.items():
            session.output.line((f"  {name}: {value if isinstance(value, str) else json_text(value)}", "dim"))
        for command in how_to_answer(question, session, is_encrypted=question.run_id in encrypted):
            session.output.line("  ", (command, "waiting"))


def how_to_answer(question: Question, session: Session, *, is_encrypted: bool = False) -> list[str]:
    """The commands that answer a question.

    Args:
        is_encrypted: the answer is kept encrypted.
    """
    from runtime.cli.form import example

    if question.kind == "approval":
        answers = [["approve", question.workflow_id], ["reject", question.workflow_id]]
    else:
        answers = [["answer", question.workflow_id, example(question.answer_schema)]]
    return [
        session.command(*words, "--key", question.key, opens_values=True, is_encrypted=is_encrypted)
        for words in answers
    ]
