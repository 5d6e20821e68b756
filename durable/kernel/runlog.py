"""The logger of workflow code: lines are kept with the run, and silent during replay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer


class RunLogger:
    """``ctx.log.info("paid %s", amount)``: the methods of a standard logger; lines reach it after the commit."""

    __slots__ = ("_run",)

    def __init__(self, run: Replayer) -> None:
        self._run = run

    def log(self, level: int, message: object, *args: Any) -> None:
        """Log with a numeric level of the ``logging`` module."""
        run = self._run
        if not run.is_replaying:
            text = str(message) % args if args else str(message)
            run.logs.append((logging.getLevelName(level), text))

    def debug(self, message: object, *args: Any) -> None:
        """Log with level DEBUG."""
        self.log(logging.DEBUG, message, *args)

    def info(self, message: object, *args: Any) -> None:
        """Log with level INFO."""
        self.log(logging.INFO, message, *args)

    def warning(self, message: object, *args: Any) -> None:
        """Log with level WARNING."""
        self.log(logging.WARNING, message, *args)

    def error(self, message: object, *args: Any) -> None:
        """Log with level ERROR."""
        self.log(logging.ERROR, message, *args)
