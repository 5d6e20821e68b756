"""Questions to people: how they are asked, and how an answer becomes a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from durable.codec import value_codec
from durable.commands import AskQuestion
from durable.errors import DefinitionError
from durable.history import write_detail
from durable.kernel.operation import Waiter

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

APPROVAL: Final = "approval"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A person's yes or no, as it is sent."""

    approved: bool
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """An approval.

    Attributes:
        by: who gave it.
        at: when, aware UTC.
        comment: what they said.
    """

    by: str
    at: datetime
    comment: str = ""


def ask(
    run: Replayer, kind: str, prompt: str, schema: Any, key: str | None, deadline_us: int | None, about: str | None
) -> Waiter:
    """Issue a question; the future is its answer.

    Raises:
        DefinitionError: the key is taken by an open question of this run, or the prompt is empty.
    """
    if not isinstance(prompt, str) or not prompt:
        raise DefinitionError(f"expected a prompt in words, got {prompt!r}")
    codec = value_codec(schema)
    number = run.issuer.next_number()
    name = key if key is not None else f"{kind}-{number}"
    if any(isinstance(waiter.command, AskQuestion) and waiter.command.name == name for waiter in run.open.values()):
        raise DefinitionError(f"a question with the key {name!r} is open already; give each its own key=")
    detail = write_detail(kind=kind, prompt=prompt, deadline_us=deadline_us)
    command = AskQuestion(number, name, kind, prompt, codec, deadline_us, about, detail)
    waiter = run.open[number] = Waiter(run, command)
    run.issuer.issue(command)
    return waiter
