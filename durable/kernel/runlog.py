"""The logger of workflow code: lines are kept with the run, and silent during replay.

Replay does not write lines, so writing one must be no event that code could notice: whatever is wrong with a line (its
format, a ``__str__`` that raises, half a surrogate) ends up in the line and is never raised. What is refused, such as a
level that is no number, is refused during replay as well.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from durable.text import escape

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

_ExcInfo: TypeAlias = (
    bool
    | BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | None
)

_TAKEN: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName"),
    *("workflow_id", "run_id", "workflow"),
}
"""Fields of a log record that ``extra=`` cannot set."""

_MACHINE: Final = ("durable", "asyncio", "anyio")


class LogLine(tuple[str, str]):  # noqa: SLOT001 - no tuple has room in slots
    """One line, as the pair of its level's name and its text.

    Attributes:
        extra: fields for the program's handlers, which get the line after the commit.
    """

    extra: Mapping[str, Any]

    def __new__(cls, level: str, text: str, extra: Mapping[str, Any] | None = None) -> Self:
        """Make the pair; text that no store takes is escaped."""
        line = super().__new__(cls, (escape(level), escape(text)))
        line.extra = extra or {}
        return line


class RunLogger:
    """``ctx.log.info("paid %s", amount)``: a standard logger, without handlers and levels of its own.

    Lines of every level are kept with the run and reach the logger ``durable.run`` after the commit. ``exc_info`` and
    ``stack_info`` become part of the line; ``extra`` goes to the program's handlers.

    Attributes:
        name: of the logger that gets the lines.
    """

    __slots__ = ("_run",)

    name = "durable.run"

    def __init__(self, run: Replayer) -> None:
        self._run = run

    def log(
        self,
        level: int,
        msg: object,
        *args: object,
        exc_info: _ExcInfo = None,
        stack_info: bool = False,
        stacklevel: int = 1,  # noqa: ARG002 - lines carry no place
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Log with a numeric level of the ``logging`` module.

        Args:
            level: like ``logging.INFO``.
            msg: the text, with ``%`` placeholders for the arguments. If they do not fit, all of them are in the line as
                they are.
            args: for the placeholders.
            exc_info: True for the exception that is being handled, or an exception: its traceback follows the text.
            stack_info: whether the call stack follows the text.
            stacklevel: accepted as other loggers do, and without effect.
            extra: fields for the program's handlers; a name that log records or runs use gets an underscore behind it.

        Raises:
            TypeError: the level is no number.
        """
        if not isinstance(level, int):
            raise TypeError(f"expected a level like logging.INFO, got {level!r}")
        run = self._run
        if run.is_replaying:
            return
        with run.issuer.read_only("a log line"):
            text = _format(msg, args)
            if exc_info and (trace := _trace(exc_info)):
                text = f"{text}\n{trace}"
            if stack_info:
                text = f"{text}\n{_stack(sys._getframe(1))}"
        run.logs.append(LogLine(logging.getLevelName(level), text, _fields(extra)))

    def debug(self, msg: object, *args: object, **options: Any) -> None:
        """Log with level DEBUG."""
        self.log(logging.DEBUG, msg, *args, **options)

    def info(self, msg: object, *args: object, **options: Any) -> None:
        """Log with level INFO."""
        self.log(logging.INFO, msg, *args, **options)

    def warning(self, msg: object, *args: object, **options: Any) -> None:
        """Log with level WARNING."""
        self.log(logging.WARNING, msg, *args, **options)

    def error(self, msg: object, *args: object, **options: Any) -> None:
        """Log with level ERROR."""
        self.log(logging.ERROR, msg, *args, **options)

    def exception(self, msg: object, *args: object, exc_info: _ExcInfo = True, **options: Any) -> None:
        """Log with level ERROR and the traceback of the exception that is being handled."""
        self.log(logging.ERROR, msg, *args, exc_info=exc_info, **options)

    def critical(self, msg: object, *args: object, **options: Any) -> None:
        """Log with level CRITICAL."""
        self.log(logging.CRITICAL, msg, *args, **options)

    warn = warning
    fatal = critical

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802, ARG002 - the name and signature of the standard library
        """Tell that lines of any level are kept: an answer that depended on the worker could differ on replay."""
        return True

    def getEffectiveLevel(self) -> int:  # noqa: N802
        """Return ``logging.NOTSET``: lines of any level are kept."""
        return logging.NOTSET


def _format(msg: object, args: tuple[object, ...]) -> str:
    """The line as the standard library writes it; if that fails, the message and the arguments as they are."""
    try:
        text = str(msg)
        if not args:
            return text
        only = args[0]
        return text % (only if len(args) == 1 and isinstance(only, Mapping) and only else args)
    except Exception as error:  # noqa: BLE001 - a line that cannot be formatted must be no event for the workflow
        shown = ", ".join(_show(argument) for argument in (msg, *args))
        return f"{shown} [not formatted: {type(error).__name__}]"


def _show(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - as above
        return f"<{type(value).__qualname__}, whose __repr__ raised {type(error).__qualname__}>"


def _trace(exc_info: _ExcInfo) -> str:
    if isinstance(exc_info, BaseException):
        error: BaseException | None = exc_info
    elif isinstance(exc_info, tuple):
        error = exc_info[1] if len(exc_info) > 1 else None
    else:
        error = sys.exc_info()[1]
    try:
        return "" if error is None else "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception as broken:  # noqa: BLE001 - as above
        return f"<{type(error).__qualname__}, which cannot be shown: {type(broken).__qualname__}>"


def _stack(frame: FrameType | None) -> str:
    """The calls of the workflow's own code that led here."""
    frames = []
    while frame is not None and frame.f_code.co_qualname != "KernelLoop.drain":
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINE:
            frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    calls = traceback.StackSummary.extract(iter(reversed(frames))).format()
    return "Stack (most recent call last):\n" + "".join(calls).rstrip("\n")


def _fields(extra: Mapping[str, object] | None) -> dict[str, object]:
    try:
        return {f"{name}_" if name in _TAKEN else str(name): value for name, value in dict(extra or {}).items()}
    except Exception:  # noqa: BLE001 - as above
        return {}
