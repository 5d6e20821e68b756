"""Queries, definitions and log lines: what is written beside runs without being part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from runtime.store.row import LogRow, QueryRow
from runtime.store.sqlite import task
from runtime.store.sqlite.session import Session
from runtime.store.sqlite.statement import load

_MESSAGE: Final = load("message")


def ask(session: Session, query: QueryRow) -> None:
    """``Store.ask``."""
    columns = (
        query.query_id,
        query.run_id,
        query.workflow,
        query.name,
        query.payload,
        query.expires_at_us,
        query.state,
        query.reply,
    )
    session.execute(_MESSAGE["ask"], columns)
    session.draft.queries = True


def pending_queries(session: Session, workflows: Sequence[str], now_us: int) -> list[QueryRow]:
    """``Store.pending_queries``."""
    session.execute(_MESSAGE["expire"], (now_us,))
    return [
        QueryRow(*columns)
        for workflow in dict.fromkeys(workflows)
        for columns in session.execute(_MESSAGE["pending"], (workflow, now_us))
    ]


def reply(session: Session, query_id: str, state: str, payload: str | None) -> None:
    """``Store.reply``."""
    if session.execute(_MESSAGE["reply"], (state, payload, query_id)).rowcount:
        session.draft.queries = True


def publish_definitions(session: Session, definitions: Mapping[str, str]) -> None:
    """``Store.publish_definitions``."""
    for definition in definitions.items():
        session.execute(_MESSAGE["publish"], definition)


def write_logs(session: Session, rows: Sequence[LogRow]) -> None:
    """``Store.write_logs``: lines of runs that are gone are dropped."""
    by_run: dict[str, list[LogRow]] = {}
    for row in rows:
        by_run.setdefault(row.run_id, []).append(row)
    for run_id, lines in by_run.items():
        run = session.run(run_id)
        if run is not None:
            session.flush()
            task.write_logs(session, run, lines)
