"""Steps that wait for a time without running: for their next attempt, or for a limit while somebody else works on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.clock import Clock

if TYPE_CHECKING:
    from runtime.worker.execution import Execution


class Sleepers:
    """The alarms of a worker's steps, at most one a step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asleep: set[Execution] = set()
        self._is_closed = False

    def sleep(self, execution: Execution, until_us: int, then: Callable[[], None]) -> None:
        """Call back at this time, unless the step is woken before."""

        def ring() -> None:
            self._asleep.discard(execution)
            execution.alarm = None
            then()

        if not self._is_closed:
            self._asleep.add(execution)
            execution.alarm = self._clock.call_at(until_us, ring)

    def wake(self, execution: Execution) -> None:
        """Take the alarm back, if there is one."""
        self._asleep.discard(execution)
        if execution.alarm is not None:
            execution.alarm.cancel()
            execution.alarm = None

    def close(self) -> None:
        """Let no alarm ring any more: the clock outlives the worker."""
        self._is_closed = True
        for execution in list(self._asleep):
            self.wake(execution)
