"""The clock that everything with time takes, so that a test can hold it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

from durable.duration import MICROSECONDS

TRUSTED_SECONDS: Final = 5.0
"""How long the event loop's clock is trusted to run with the host's."""


class Alarm(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Take it back; idempotent."""
        ...


class Clock(Protocol):
    """Time for workers and clients."""

    def now_us(self) -> int:
        """UTC microseconds."""
        ...

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Alarm:
        """Call back on the running event loop at this time or a little later, never earlier."""
        ...


class SystemClock:
    """The host's clock."""

    def now_us(self) -> int:
        """UTC microseconds."""
        return time.time_ns() // 1_000

    def call_at(self, at_us: int, callback: Callable[[], None]) -> Alarm:
        """Call back at this time, or a few seconds later where the clock was set or the machine slept; an early call,
        as after a step backwards, is the caller's to notice."""
        return _SystemAlarm(self, at_us, callback)


class _SystemAlarm:
    """Waits by the event loop's clock, which neither follows the host's nor runs while the machine sleeps."""

    __slots__ = ("_at_us", "_callback", "_clock", "_handle")

    def __init__(self, clock: Clock, at_us: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._at_us = at_us
        self._callback = callback
        self._wait()

    def _wait(self) -> None:
        left = max(0.0, (self._at_us - self._clock.now_us()) / MICROSECONDS)
        loop = asyncio.get_running_loop()
        if left > TRUSTED_SECONDS:
            self._handle = loop.call_later(TRUSTED_SECONDS, self._wait)
        else:
            self._handle = loop.call_later(left, self._callback)

    def cancel(self) -> None:
        """Take it back; idempotent."""
        self._handle.cancel()
