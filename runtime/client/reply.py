"""What a worker replied to a query or update that failed, as the exception that its caller sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.codec import rebuild_exception
from durable.errors import CallerError, OutcomeError, ReadOnlyError, StepError

if TYPE_CHECKING:
    from runtime.client.client import Client


def rebuild_reply(client: Client, record: str, wrap: type[OutcomeError], what: str) -> Exception:
    """The error of a query or update: one of ours as it is, one of the user's as the cause of ``wrap``.

    Args:
        record: of the exception, as plain JSON.
        what: names the message, such as ``query 'total'``.
    """
    cause = rebuild_exception(record, modules=client.modules)
    if isinstance(cause, (CallerError, wrap)):
        cause.__dict__.pop("__notes__", None)  # where the worker's machine raised it helps no caller
        return cause
    if isinstance(cause, ReadOnlyError):
        text = cause.message
    elif type(cause) is StepError:  # what stands for a class that is not rebuilt
        text = f"{cause.error_type}: {cause.message}"
    else:
        text = f"{type(cause).__name__}: {cause}"
    error = wrap(f"{what} failed: {text}")
    error.__cause__ = cause
    return error
