"""A run as a caller sees it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from durable.duration import to_instant
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact, parse_detail
from runtime.store.protocol import Store
from runtime.store.row import AttemptOutcome, AttemptRow, QuestionRow, RunRow
from runtime.store.rule import WORDS


class Superseded(BaseModel):
    """The newest run of a workflow id, as one that came before sees it.

    Attributes:
        run_id, status: of the newest run.
        is_retry: it goes on with what the earlier run did; otherwise it began anew in its place.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: RunStatus
    is_retry: bool

    def __str__(self) -> str:
        return f"{'retried as' if self.is_retry else 'replaced by'} run {self.run_id}, now {self.status}"


class RunSummary(BaseModel):
    """One line of a list.

    Attributes:
        workflow_id, run_id, workflow, queue, status, rollback: as in the store.
        waiting_for: what it waits for, in words, or None.
        reason: why it is stuck, or ended without a result, in words, or None.
        created_at, started_at, closed_at, next_at: aware UTC; ``next_at`` is when something is due by itself.
        actor: who started it.
        worker: who holds it now, or None.
        history_events: length of its history.
        superseded_by: the run that came after one that ended badly, or None. Such a run is not retried any more.
    """

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    run_id: str
    workflow: str
    queue: str
    status: RunStatus
    rollback: RollbackStatus
    waiting_for: str | None
    reason: str | None
    created_at: datetime
    started_at: datetime | None
    closed_at: datetime | None
    next_at: datetime | None
    actor: str
    worker: str | None
    parent_run_id: str | None
    history_events: int
    superseded_by: Superseded | None


class RunDescription(RunSummary):
    """Everything about one run but its history.

    Attributes:
        attributes: searchable fields.
        questions: what people are asked now.
        children: the runs that it started.
        attempts: failed or lost attempts of steps that are still open, newest last.
        unread: what was sent to it and no worker has looked at yet, in words: ``signal 'go'``, ``pause``.
    """

    attributes: dict[str, Any]
    questions: list[Question]
    children: list[RunSummary]
    attempts: list[Attempt]
    unread: list[str]


class Question(BaseModel):
    """An open question.

    Attributes:
        key: names it for ``answer`` and ``approve``.
        kind: ``question`` or ``approval``.
        answer_schema: JSON schema of the answer.
        about: what is shown beside it; ``context`` if the workflow gave one.
    """

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    run_id: str
    key: str
    kind: str
    prompt: str
    answer_schema: dict[str, Any]
    about: dict[str, Any]
    asked_at: datetime
    deadline: datetime | None
    command: int


class Attempt(BaseModel):
    """One attempt of a step that did not bring its outcome.

    Attributes:
        outcome: ``started``, ``failed``, ``timed_out``, ``lost`` or ``handed_over``.
        error: the message of what it raised, or None.
        next_at: when the next attempt is due, or None.
    """

    model_config = ConfigDict(frozen=True)

    command: int
    attempt: int
    outcome: str
    started_at: datetime
    ended_at: datetime | None
    next_at: datetime | None
    error: str | None
    worker: str


def instant(at_us: int | None) -> datetime | None:
    """The aware UTC datetime of microseconds that may be absent."""
    return None if at_us is None else to_instant(at_us)


async def summarize(store: Store, row: RunRow) -> RunSummary:
    """A row as a summary."""
    return RunSummary(**summary_fields(row), superseded_by=await _superseded(store, row))


async def _superseded(store: Store, row: RunRow) -> Superseded | None:
    if not row.status.is_closed or row.status in (RunStatus.COMPLETED, RunStatus.CONTINUED_AS_NEW):
        return None
    newest = await store.get_run(row.workflow_id)
    if newest is None or newest.run_id == row.run_id:
        return None
    return Superseded(run_id=newest.run_id, status=newest.status, is_retry=newest.first_run_id == row.first_run_id)


def summary_fields(row: RunRow) -> dict[str, Any]:
    """The fields that summary and description share."""
    return {
        "workflow_id": row.workflow_id,
        "run_id": row.run_id,
        "workflow": row.workflow,
        "queue": row.queue,
        "status": row.status,
        "rollback": row.rollback,
        "waiting_for": row.waiting_for,
        "reason": row.reason,
        "created_at": to_instant(row.created_at_us),
        "started_at": instant(row.started_at_us),
        "closed_at": instant(row.closed_at_us),
        "next_at": instant(row.ready_at_us),
        "actor": row.actor,
        "worker": row.owner,
        "parent_run_id": row.parent_run_id,
        "history_events": row.seq,
    }


async def describe_run(store: Store, row: RunRow) -> RunDescription:
    """Everything about a run but its history."""
    questions = [question for question in await store.questions(row.workflow_id) if question.run_id == row.run_id]
    attempts = await store.read_attempts(row.run_id)
    facts = [item.fact for item in await store.read_inbox(row.run_id)]
    return RunDescription(
        **summary_fields(row),
        superseded_by=await _superseded(store, row),
        attributes=await store.read_attributes(row.run_id),
        questions=[describe_question(question) for question in questions if not is_answered(question, facts)],
        children=[await summarize(store, child) for child in await store.children(row.run_id)],
        attempts=[
            _describe_attempt(attempt)
            for attempt in attempts
            if attempt.command and not (row.status.is_closed and attempt.outcome is AttemptOutcome.STARTED)
        ],
        unread=[_in_words(fact) for fact in facts if fact.kind in WORDS and not _is_seen(fact, row)],
    )


def _is_seen(fact: Fact, row: RunRow) -> bool:
    """Whether the run's status tells of a fact already, though it stays unread: a run that has not begun may be paused."""
    is_pause = fact.kind == EventKind.RUN_PAUSED and row.status is RunStatus.PAUSED
    return is_pause or fact.kind == EventKind.RUN_STARTED


def is_answered(question: QuestionRow | Question, unread: Iterable[Fact]) -> bool:
    """Whether an answer to a question is among the facts that its run has not taken yet."""
    return any(fact.kind == EventKind.QUESTION_ANSWERED and fact.command == question.command for fact in unread)


def _in_words(fact: Fact) -> str:
    return WORDS[fact.kind] if fact.name is None else f"{WORDS[fact.kind]} {fact.name!r}"


def describe_question(row: QuestionRow) -> Question:
    """A row as a question."""
    return Question(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        key=row.key,
        kind=row.kind,
        prompt=row.prompt,
        answer_schema=from_json(row.schema),
        about=parse_detail(row.detail),
        asked_at=to_instant(row.asked_at_us),
        deadline=instant(row.deadline_us),
        command=row.command,
    )


def _describe_attempt(row: AttemptRow) -> Attempt:
    return Attempt(
        command=row.command,
        attempt=row.attempt,
        outcome=row.outcome,
        started_at=to_instant(row.started_at_us),
        ended_at=instant(row.ended_at_us),
        next_at=instant(row.next_at_us),
        error=from_json(row.error).get("message") if row.error else None,
        worker=row.worker,
    )
