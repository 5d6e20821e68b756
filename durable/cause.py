"""What user code raised, as the cause of the error that a client's caller sees."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from pydantic_core import from_json

from durable.codec import rebuild_exception, summarize_exception
from durable.errors import CallerError, MissingCodeError, OutcomeError, ReadOnlyError, StepError


def rebuild_cause(record: str, modules: Sequence[ModuleType]) -> Exception:
    """The exception of a record, as far as it can be rebuilt here.

    A client need not have the code of its workflows: unlike replay, it makes do with a ``StepError`` where a class is missing.

    Args:
        record: of the exception, as plain JSON.
        modules: where its class is looked for first.
    """
    try:
        return rebuild_exception(record, modules=modules)
    except MissingCodeError as missing:
        fields = from_json(record)
        cause = StepError(fields["message"], error_type=".".join(fields["type"]))
        cause.add_note(missing.message)
        return cause


def summarize_cause(cause: Exception) -> str:
    """``ValueError: too small``; by the name of the class that was raised, though another one stands for it here."""
    if type(cause) is StepError and cause.error_type:
        return f"{cause.error_type}: {cause.message}"
    return summarize_exception(cause)


def rebuild_reply(modules: Sequence[ModuleType], record: str, wrap: type[OutcomeError], what: str) -> Exception:
    """The error of a query or update: one of ours as it is, one of the user's as the cause of ``wrap``.

    Args:
        modules: where the class of the exception is looked for first.
        record: of the exception, as plain JSON.
        what: names the message, such as ``query 'total'``.
    """
    cause = rebuild_cause(record, modules)
    if isinstance(cause, (CallerError, wrap)):
        cause.__dict__.pop("__notes__", None)  # where the worker's machine raised it helps no caller
        return cause
    text = cause.message if isinstance(cause, ReadOnlyError) else summarize_cause(cause)
    error = wrap(f"{what} failed: {text}")
    error.__cause__ = cause
    return error
