"""What a worker replied to a query or update that failed, as the exception that its caller sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.cause import rebuild_cause, summarize_cause
from durable.errors import CallerError, OutcomeError, ReadOnlyError

if TYPE_CHECKING:
    from runtime.client.client import Client


def rebuild_reply(client: Client, record: str, wrap: type[OutcomeError], what: str) -> Exception:
    """The error of a query or update: one of ours as it is, one of the user's as the cause of ``wrap``.

    Args:
        record: of the exception, as plain JSON.
        what: names the message, such as ``query 'total'``.
    """
    cause = rebuild_cause(record, client.modules)
    if isinstance(cause, (CallerError, wrap)):
        cause.__dict__.pop("__notes__", None)  # where the worker's machine raised it helps no caller
        return cause
    text = cause.message if isinstance(cause, ReadOnlyError) else summarize_cause(cause)
    error = wrap(f"{what} failed: {text}")
    error.__cause__ = cause
    return error
