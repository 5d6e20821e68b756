"""Signals of the operating system: the first one asks for an end, the second one is the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

from runtime.cli.exitcode import ExitCode

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While the context is open, SIGINT and SIGTERM set ``asked``; a second one ends the process at once.

    The handlers are plain ones, not the event loop's, so that the second signal works while a loop is blocked.
    Ending at once loses nothing: what was cut off is as after a crash, and runs again.

    Attributes:
        asked: set by the first signal.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, *_: object) -> None:
        self._count += 1
        if self._count > 1:
            with suppress(RuntimeError, OSError):  # the signal came while the stream was being written
                sys.stdout.flush()
            os._exit(ExitCode.INTERRUPTED)
        self._loop.call_soon_threadsafe(self.asked.set)
