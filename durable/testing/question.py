"""A question to people, as the handle of a simulated run shows it: by the words of a runtime's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json

from durable.commands import AskQuestion
from durable.duration import to_instant
from durable.history import parse_detail


@dataclass(frozen=True, slots=True)
class SimulatedQuestion:
    """An open question.

    Attributes:
        key: names it for ``answer`` and ``approve``.
        kind: ``question`` or ``approval``.
        prompt: in words.
        answer_schema: JSON schema of the answer.
        about: what is shown beside it; ``context`` if the workflow gave one.
        deadline: when nobody needs to answer any more, or None.
        command: its number in the run's history.
    """

    key: str
    kind: str
    prompt: str
    answer_schema: dict[str, Any]
    about: dict[str, Any]
    deadline: datetime | None
    command: int


def describe_question(command: AskQuestion) -> SimulatedQuestion:
    """A command as a question."""
    assert command.number is not None
    return SimulatedQuestion(
        key=command.name or "",
        kind=command.question,
        prompt=command.prompt,
        answer_schema=from_json(command.schema),
        about=parse_detail(command.about),
        deadline=None if command.deadline_us is None else to_instant(command.deadline_us),
        command=command.number,
    )
