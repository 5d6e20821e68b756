"""A timer wheel: many deadlines, most of them never reached, one callback of the event loop (rule P).

A step's timeout is set for every attempt and almost never fires, so setting and clearing must cost next to nothing: an
entry in a dict under its coarse slot. Entries fire at the end of their slot, up to ``granularity`` late, never early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from durable.duration import MICROSECONDS
from runtime.clock import Alarm, Clock, SystemClock


class Deadlines(Protocol):
    """Where the limits of attempts that run are kept."""

    def time(self) -> float:
        """Seconds from any origin."""
        ...

    def add(self, delay_seconds: float, callback: Callable[[], None]) -> tuple[int, int]:
        """Call back after the delay; returns the key for ``discard``."""
        ...

    def discard(self, key: tuple[int, int]) -> None:
        """Forget an entry, if it is still there."""
        ...

    def close(self) -> None:
        """Forget everything."""
        ...


def open_deadlines(clock: Clock) -> Deadlines:
    """A wheel beside the host's clock; where a test holds the clock, its limits are the clock's."""
    return TimerWheel() if isinstance(clock, SystemClock) else ClockDeadlines(clock)


class ClockDeadlines:
    """Deadlines of a clock that is not the host's: an alarm each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alarms: dict[int, Alarm] = {}
        self._next_entry = 0

    def time(self) -> float:
        """The clock's seconds."""
        return self._clock.now_us() / MICROSECONDS

    def add(self, delay_seconds: float, callback: Callable[[], None]) -> tuple[int, int]:
        """Call back after the delay; returns the key for ``discard``."""
        self._next_entry = entry = self._next_entry + 1

        def ring() -> None:
            if self._alarms.pop(entry, None) is not None:
                callback()

        self._alarms[entry] = self._clock.call_at(self._clock.now_us() + round(delay_seconds * MICROSECONDS), ring)
        return 0, entry

    def discard(self, key: tuple[int, int]) -> None:
        """Forget an entry, if it is still there."""
        alarm = self._alarms.pop(key[1], None)
        if alarm is not None:
            alarm.cancel()

    def close(self) -> None:
        """Forget everything: the clock outlives the worker."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()


class TimerWheel:
    """Deadlines in slots of ``granularity`` seconds."""

    def __init__(self, granularity: float = 0.02) -> None:
        self._loop = asyncio.get_running_loop()
        self._granularity = granularity
        self._slots: dict[int, dict[int, Callable[[], None]]] = {}
        self._next_entry = 0
        self._handle: asyncio.TimerHandle | None = None
        self._due: int | None = None

    def time(self) -> float:
        """The event loop's seconds."""
        return self._loop.time()

    def add(self, delay_seconds: float, callback: Callable[[], None]) -> tuple[int, int]:
        """Call back after the delay; returns the key for ``discard``."""
        loop = self._loop
        slot = int((loop.time() + delay_seconds) / self._granularity) + 1
        self._next_entry = entry = self._next_entry + 1
        self._slots.setdefault(slot, {})[entry] = callback
        if self._due is None or slot < self._due:
            self._arm(loop, slot)
        return slot, entry

    def discard(self, key: tuple[int, int]) -> None:
        """Forget an entry, if it is still there."""
        slot = self._slots.get(key[0])
        if slot is not None:
            slot.pop(key[1], None)

    def close(self) -> None:
        """Forget everything."""
        self._slots.clear()
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._due = None

    def _arm(self, loop: asyncio.AbstractEventLoop, slot: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = slot
        self._handle = loop.call_at(slot * self._granularity, self._turn)

    def _turn(self, *_: Any) -> None:
        loop = self._loop
        now = int(loop.time() / self._granularity + 1e-6)
        for slot in sorted(slot for slot in self._slots if slot <= now):
            for callback in self._slots.pop(slot).values():
                callback()
        self._due = None
        for slot in [slot for slot, entries in self._slots.items() if not entries]:
            del self._slots[slot]
        if self._slots:
            self._arm(loop, min(self._slots))
        else:
            self._handle = None
