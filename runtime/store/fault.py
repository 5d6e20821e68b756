"""Points at which a crash test can have the process killed, around every commit.

``DURABLE_FAULT=commit:before:17`` kills this process with SIGKILL just before its 17th commit becomes durable,
``commit:after:17`` just after. ``DURABLE_FAULT_TRACE=FILE`` writes how many points an undisturbed process passed, so
that a test knows how far to count. Commits that change nothing are no points, so idle polling does not count. Without
these variables ``is_armed`` is False and callers skip the call.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from durable.errors import ConfigurationError

_WHERE: Final = ("before", "after")


def _parse(setting: str | None) -> tuple[str, int] | None:
    """The point and the occurrence that a setting names."""
    if not setting:
        return None
    point, _, count = setting.rpartition(":")
    if point.partition(":")[2] not in _WHERE or not count.isdecimal() or int(count) < 1:
        raise ConfigurationError(f"expected DURABLE_FAULT to be like 'commit:before:17', got {setting!r}")
    return point, int(count)


_fault: Final = _parse(os.environ.get("DURABLE_FAULT"))
_trace: Final = os.environ.get("DURABLE_FAULT_TRACE")
_passed: Final[dict[str, int]] = {}

is_armed: Final = bool(_fault or _trace)
"""Whether ``reach`` has anything to do in this process."""


def reach(point: str) -> None:
    """Pass a point such as ``commit:before``: count it, and die there if the setting says so."""
    _passed[point] = count = _passed.get(point, 0) + 1
    if _trace:
        lines = "".join(f"{name} {passed}\n" for name, passed in _passed.items())
        Path(_trace).write_text(lines, encoding="utf-8")
    if _fault == (point, count):
        os.kill(os.getpid(), signal.SIGKILL)
