"""A clock that stands until a test moves it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

from durable.duration import instant_us, to_instant, to_us

BEGINNING = datetime(2026, 3, 1, 12, tzinfo=UTC)


class HeldAlarm:
    """A callback that waits for its time."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class HeldClock:
    """Implements ``runtime.clock.Clock``; it survives the runtimes that use it."""

    def __init__(self, now: datetime = BEGINNING) -> None:
        self._now_us = instant_us(now)
        self._alarms: list[tuple[int, int, HeldAlarm]] = []
        self._numbers = count()

    @property
    def now(self) -> datetime:
        return to_instant(self._now_us)

    def now_us(self) -> int:
        return self._now_us

    def call_at(self, at_us: int, callback: Callable[[], None]) -> HeldAlarm:
        alarm = HeldAlarm(callback)
        heapq.heappush(self._alarms, (at_us, next(self._numbers), alarm))
        self._ring()
        return alarm

    def advance(self, by: timedelta | float) -> None:
        """Let time pass, backwards too, and ring what is due."""
        self._now_us += to_us(by)
        self._ring()

    def _ring(self) -> None:
        import asyncio

        while self._alarms and self._alarms[0][0] <= self._now_us:
            _, _, alarm = heapq.heappop(self._alarms)
            asyncio.get_running_loop().call_soon(self._call, alarm)

    @staticmethod
    def _call(alarm: HeldAlarm) -> None:
        if alarm.callback is not None:
            alarm.callback()
