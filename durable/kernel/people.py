"""Questions to people: how they are asked, and how an answer becomes a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from durable.codec import value_codec
from durable.commands import AskQuestion
from durable.errors import DefinitionError, EncodeError
from durable.history import write_detail
from durable.kernel.line import asked_at
from durable.kernel.operation import Waiter
from durable.text import check_name, check_text

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


def write_context(context: Mapping[str, Any] | None) -> str | None:
    """What is shown beside a question, as JSON text.

    Raises:
        DefinitionError: it is no mapping.
        EncodeError: a value of it is not JSON-compatible; ``path`` says which.
    """
    if not context:
        return None
    if not isinstance(context, Mapping):
        raise DefinitionError(f"expected context to be a dict of facts, got {context!r}{asked_at()}")
    try:
        return write_detail(context=dict(context))
    except ValueError as error:
        path = _unwritable(dict(context), "context")
        raise EncodeError(
            f"expected {path} to be JSON-compatible{asked_at()}: {str(error).partition(':')[2].strip() or error}",
            path=path,
        ) from error


def _unwritable(value: Any, path: str) -> str:
    """The path of the innermost part that JSON does not hold."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, part in inside:
        try:
            to_json({key: part})
        except ValueError:
            return _unwritable(part, f"{path}[{key!r}]")
    return path


def ask(
    run: Replayer, kind: str, prompt: str, schema: Any, key: str | None, deadline_us: int | None, about: str | None
) -> Waiter:
    """Issue a question; the future is its answer.

    Raises:
        DefinitionError: the key is taken by an open question of this run, or the prompt is empty.
    """
    if not isinstance(prompt, str) or not prompt:
        raise DefinitionError(f"expected a prompt in words, got {prompt!r}{asked_at()}")
    check_text(prompt, "a prompt")
    if key is not None:
        check_name(key, "the key of a question")
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
