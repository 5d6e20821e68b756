"""The clock that all processes of a host share, and that goes on while the machine sleeps."""

from __future__ import annotations

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    """Nanoseconds since boot, sleep included where the system knows such a clock."""
    return time.clock_gettime_ns(_CLOCK)
