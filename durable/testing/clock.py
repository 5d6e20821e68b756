"""Virtual time: it stands still until somebody moves it, and alarms ring in the order of their instants."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime

from durable.duration import instant_us, to_instant


class VirtualAlarm:
    """A callback that waits for its instant."""

    __slots__ = ("_callback", "at_us")

    def __init__(self, at_us: int, callback: Callable[[], None]) -> None:
        self.at_us = at_us
        self._callback: Callable[[], None] | None = callback

    @property
    def is_open(self) -> bool:
        """It has neither rung nor been taken back."""
        return self._callback is not None

    def cancel(self) -> None:
        """Take it back; idempotent."""
        self._callback = None

    def ring(self) -> None:
        """Call back."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class VirtualClock:
    """A clock that a test holds in its hand; a runtime's worker and client take it in place of the host's.

    Args:
        start_at: the first instant.
    """

    def __init__(self, start_at: datetime) -> None:
        self._now_us = instant_us(start_at)
        self._heap: list[tuple[int, int, VirtualAlarm]] = []
        self._count = 0

    def now_us(self) -> int:
        """UTC microseconds."""
        return self._now_us

    def now(self) -> datetime:
        """The instant, UTC."""
        return to_instant(self._now_us)

    def call_at(self, at_us: int, callback: Callable[[], None]) -> VirtualAlarm:
        """Call back once time has come so far: alarms of one instant ring in the order in which they were set."""
        alarm = VirtualAlarm(at_us, callback)
        self._count += 1
        heapq.heappush(self._heap, (at_us, self._count, alarm))
        return alarm

    def next_us(self) -> int | None:
        """When the next alarm rings, never before now; None: there is none."""
        while self._heap and not self._heap[0][2].is_open:
            heapq.heappop(self._heap)
        return max(self._heap[0][0], self._now_us) if self._heap else None

    def ring_next(self) -> None:
        """Move to the next alarm and ring all that are due then."""
        at_us = self.next_us()
        if at_us is not None:
            self.move_to(at_us)

    def move_to(self, at_us: int) -> None:
        """Move to an instant and ring what is due by then, in order; each alarm sees its own instant. Never backwards."""
        while (next_us := self.next_us()) is not None and next_us <= at_us:
            self._now_us = next_us
            heapq.heappop(self._heap)[2].ring()
        self._now_us = max(self._now_us, at_us)
