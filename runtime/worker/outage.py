"""What a worker says of a store that is not available: that it is so, now and then that it still is, and that it is over."""

from __future__ import annotations

import logging
from typing import Final

from durable.duration import format_duration
from durable.errors import StoreError
from runtime.clock import Clock

log = logging.getLogger("durable.worker")

REMINDER_US: Final = 30_000_000
"""Between two lines about the same outage. Everything that waits for the store asks again a few times a second."""


class Outage:
    """The outages of one store, as its worker meets them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_us: int | None = None
        self._told_us = 0

    def tell(self, error: StoreError) -> None:
        """The store could not do something, which will be asked for again."""
        now_us = self._clock.now_us()
        if self._began_us is None:
            self._began_us = now_us
        elif now_us - self._told_us < REMINDER_US:
            return
        self._told_us = now_us
        log.warning("the store is not available, trying again: %s", error.message)

    def over(self) -> None:
        """The store has done something."""
        if self._began_us is not None:
            log.info("the store is available again, after %s", format_duration(self._clock.now_us() - self._began_us))
            self._began_us = None
