"""The virtual clock of a worker: as the harness's, and what is due already rings by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable.testing import VirtualClock
from durable.testing.clock import VirtualAlarm


class AlarmClock(VirtualClock):
    """A clock that a test holds, for workers and clients: ``runtime.clock.Clock``."""

    def call_at(self, at_us: int, callback: Callable[[], None]) -> VirtualAlarm:
        """Call back once time has come so far, in a turn of the event loop of its own if it has already."""
        alarm = super().call_at(at_us, callback)
        if at_us <= self.now_us():
            asyncio.get_running_loop().call_soon(alarm.ring)
        return alarm
