"""Signals, updates and queries on their way to a run: what is checked before they leave, and how they are written.

A message object says of which kind it is and encodes its value by its type. One that is known by name only is checked against what
the workflow's worker published: its kind and its JSON schema.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json

from durable.codec import Envelope, value_codec
from durable.codec.schema import check_schema
from durable.errors import UnknownMessageError
from durable.history import EventKind, Fact, write_detail
from durable.messages import Message, Signal, Update, encode_message
from runtime.identifier import new_run_id
from runtime.store.row import InboxRow, UpdateRow

_WITH_ARTICLE: Final = {"signal": "a signal", "update": "an update", "query": "a query"}


def check_message(
    published: Mapping[str, Any], workflow_id: str, kind: str, message: Message[Any] | str, value: Any
) -> None:
    """Check a message that is known by name only.

    Args:
        published: what the store knows of the workflow; empty if nothing.
        kind: ``signal``, ``update`` or ``query``.

    Raises:
        UnknownMessageError: it is a message of another kind; says which command and method send those.
        MessageRejectedError: the value does not fit.
    """
    entry = published.get("messages", {}).get(message) if isinstance(message, str) else None
    if entry is None:
        return
    actual = entry.get("kind", kind)
    if actual != kind:
        command = shlex.join(["durable", actual, workflow_id, str(message)])
        raise UnknownMessageError(
            f"{message!r} is {_WITH_ARTICLE[actual]} of workflow {published['name']!r}, not {_WITH_ARTICLE[kind]}: "
            f"{command}, or {actual}() of the run's handle",
            name=message,
            kind=actual,
        )
    check_schema(from_json(value_codec(Any).encode(value)), entry["schema"], f"{kind} {message!r}")


def signal_row(
    workflow_id: str,
    run_id: str | None,
    signal: Signal[Any] | str,
    value: Any,
    message_id: str | None,
    envelope: Envelope,
    actor: str,
    now_us: int,
) -> InboxRow:
    """A signal on its way to a run.

    Raises:
        EncodeError: the value does not fit the signal's type.
    """
    message_id = message_id if message_id is not None else new_run_id()
    name, payload = encode_message(signal, value, envelope)
    fact = Fact(EventKind.SIGNAL_RECEIVED, None, name, write_detail(message_id=message_id), payload, actor)
    return InboxRow(workflow_id, run_id, message_id, fact, now_us)


def update_row(
    workflow_id: str,
    run_id: str | None,
    update: Update[Any, Any] | str,
    value: Any,
    update_id: str,
    envelope: Envelope,
    actor: str,
    now_us: int,
) -> tuple[InboxRow, UpdateRow]:
    """An update on its way to a run, and the row that will hold its outcome."""
    name, payload = encode_message(update, value, envelope)
    fact = Fact(EventKind.UPDATE_ACCEPTED, None, name, write_detail(update_id=update_id), payload, actor)
    pending = UpdateRow(workflow_id, update_id, run_id, name, "pending", None)
    return InboxRow(workflow_id, run_id, f"update:{update_id}", fact, now_us), pending
