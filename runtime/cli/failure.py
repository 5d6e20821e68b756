"""From an exception to what the user is told, and to an exit code."""

from __future__ import annotations

import sys
from typing import Any, Final

from durable import errors
from durable.errors import DeterminismError, DurableError
from runtime.cli.exitcode import ExitCode
from runtime.cli.text import json_text, visible

_CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (errors.RunStuckError, ExitCode.STUCK),
    (errors.OutcomeError, ExitCode.FAILED),
    (errors.RunNotFoundError, ExitCode.NOT_FOUND),
    (errors.QuestionNotFoundError, ExitCode.NOT_FOUND),
    (errors.UnknownMessageError, ExitCode.NOT_FOUND),
    (errors.ResultTimeoutError, ExitCode.TIMEOUT),
    (errors.UpdateTimeoutError, ExitCode.TIMEOUT),
    (errors.QueryTimeoutError, ExitCode.TIMEOUT),
    (errors.MessageRejectedError, ExitCode.USAGE),
    (errors.CallerError, ExitCode.REFUSED),
    (errors.StoreError, ExitCode.STORE),
    (errors.OperatorError, ExitCode.USAGE),
    (errors.AuthorError, ExitCode.USAGE),
    (DeterminismError, ExitCode.USAGE),
    (errors.ConflictError, ExitCode.REFUSED),
    (errors.HistoryCorruptedError, ExitCode.STORE),
)
"""The first class that fits decides."""


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code that an exception ends the command with."""
    return next((code for cls, code in _CODES if isinstance(error, cls)), ExitCode.INTERNAL)


def describe(error: DurableError | DeterminismError) -> dict[str, Any]:
    """An exception for machines."""
    return {"code": error.code, "type": type(error).__name__, "message": error.message, **_data(error)}


def _data(error: DurableError | DeterminismError) -> dict[str, Any]:
    present = {name: value for name, value in error.data.items() if value not in (None, "")}
    return {"data": present} if present else {}


def report(error: DurableError | DeterminismError, *, as_json: bool) -> None:
    """Tell it on standard error."""
    if as_json:
        print(json_text({"error": describe(error)}), file=sys.stderr)
        return
    print(visible(f"error: {error}"), file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(visible(note), file=sys.stderr)
