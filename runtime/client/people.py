"""Answers of people, on their way to a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from durable.codec import value_codec
from durable.codec.schema import check_schema
from durable.errors import MessageRejectedError, QuestionNotFoundError
from durable.history import EventKind, Fact
from runtime.client.description import Question, is_answered
from runtime.client.encryption import check_encryption
from runtime.store.row import InboxRow, QuestionRow

if TYPE_CHECKING:
    from runtime.client.client import Client

Q = TypeVar("Q", QuestionRow, Question)

APPROVAL = "approval"


async def answer_question(
    client: Client, workflow_id: str, run_id: str | None, value: Any, by: str | None, key: str | None
) -> None:
    """Deliver the answer to an open question; ``RunHandle.answer`` says what may be wrong."""
    question = await _find(client, workflow_id, run_id, key, None)
    if question.kind == APPROVAL:
        raise QuestionNotFoundError(f"{question.key!r} is an approval: approve or reject it")
    await _deliver(client, question, value, by)


async def decide(
    client: Client,
    workflow_id: str,
    run_id: str | None,
    by: str | None,
    comment: str,
    key: str | None,
    *,
    approved: bool,
) -> None:
    """Deliver a yes or no; ``RunHandle.approve`` says what may be wrong."""
    question = await _find(client, workflow_id, run_id, key, APPROVAL)
    if question.kind != APPROVAL:
        raise QuestionNotFoundError(f"{question.key!r} is a question: answer it")
    await _deliver(client, question, {"approved": approved, "comment": comment}, by)


async def _find(client: Client, workflow_id: str, run_id: str | None, key: str | None, kind: str | None) -> QuestionRow:
    rows = [row for row in await client.store.questions(workflow_id) if run_id in (None, row.run_id)]
    asked_rows, rows = rows, await unanswered(client, rows)
    wanted = [row for row in rows if (row.key == key if key is not None else kind in (None, row.kind))]
    if len(wanted) == 1:
        return wanted[0]
    await client.get(workflow_id, run_id).row()
    done = [
        row
        for row in asked_rows
        if row not in rows and (row.key == key if key is not None else kind in (None, row.kind))
    ]
    if not wanted and done:
        names = ", ".join(repr(row.key) for row in done)
        raise QuestionNotFoundError(
            f"question {names} of {workflow_id!r} has its answer already; a worker will take it"
        )
    asked = ", ".join(f"{row.key!r} ({row.kind})" for row in rows) or "none"
    if not wanted:
        what = f"no question {key!r}" if key is not None else f"no open {kind or 'question'}"
        raise QuestionNotFoundError(f"{workflow_id!r} has {what} (open: {asked})")
    raise QuestionNotFoundError(f"{workflow_id!r} asks several questions: name one by its key (open: {asked})")


async def unanswered(client: Client, questions: Sequence[Q]) -> list[Q]:
    """Those of these questions that have no answer yet which their run would only have to take."""
    unread = {
        run_id: [item.fact for item in await client.store.read_inbox(run_id)]
        for run_id in {question.run_id for question in questions}
    }
    return [question for question in questions if not is_answered(question, unread[question.run_id])]


async def _deliver(client: Client, question: QuestionRow, value: Any, by: str | None) -> None:
    plain = value_codec(type(value)).encode(value) if value is not None else "null"
    check_schema(from_json(plain), from_json(question.schema), f"the answer to {question.key!r}")
    row = await client.store.get_run_by_id(question.run_id)
    if row is not None:
        await check_encryption(client, row.workflow)
    actor = principal(by) if by is not None else client.actor
    payload = client.envelope.seal(plain)
    fact = Fact(EventKind.QUESTION_ANSWERED, question.command, question.key, None, payload, actor)
    await client.store.send(InboxRow(question.workflow_id, question.run_id, None, fact, client.clock.now_us()))


def principal(name: str) -> str:
    """A principal: ``alice`` means ``user:alice``."""
    if not name:
        raise MessageRejectedError("expected by= to name who answers, got ''")
    return name if ":" in name else f"user:{name}"
