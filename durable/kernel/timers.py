"""The timers of a run: when it has to be woken, and which are due."""

from __future__ import annotations

import heapq
from typing import Final

RUN_DEADLINE: Final = 0
"""Number of the timer of the run's own timeout, which no command has."""

_SLACK: Final = 32
"""Forgotten deadlines that the heap may keep besides as many as still count."""


class Timers:
    """Deadlines by command number; a table of those that count, and a heap of them and of some that were forgotten.

    Forgetting leaves the heap alone until most of it is forgotten: a limit around each of many steps is taken back long
    before it is due.
    """

    __slots__ = ("_heap", "_live")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._live: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._live)

    def set(self, number: int, deadline_us: int) -> None:
        """Wake the run for timer ``number``."""
        self._live[number] = deadline_us
        heapq.heappush(self._heap, (deadline_us, number))

    def clear(self, number: int) -> bool:
        """Forget a timer; False if it was not set."""
        live = self._live
        if live.pop(number, None) is None:
            return False
        if len(self._heap) > 2 * len(live) + _SLACK:
            self._heap = [(at_us, number) for number, at_us in live.items()]
            heapq.heapify(self._heap)
        return True

    def next_us(self) -> int | None:
        """The earliest deadline."""
        heap, live = self._heap, self._live
        while heap and heap[0][1] not in live:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def next_of_code_us(self) -> int | None:
        """The earliest deadline of a timer of workflow code."""
        return min((at_us for number, at_us in self._live.items() if number != RUN_DEADLINE), default=None)

    def take_due(self, now_us: int) -> list[int]:
        """Forget the timers that are due, and return them by deadline and number (rule K8)."""
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now_us:
            _, number = heapq.heappop(heap)
            if self._live.pop(number, None) is not None:
                due.append(number)
        return due
