"""The clock that everything with time takes, so that a test can hold it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from durable.duration import MICROSECONDS


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
        """Call back at this time; an early wake-up, as after a step of the clock, is the caller's to notice."""
        return asyncio.get_running_loop().call_later(max(0.0, (at_us - self.now_us()) / MICROSECONDS), callback)
