"""Durations and instants as they are written on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from durable.errors import ConfigurationError

_UNITS: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "min": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|min|[wdhms])\s*")


def parse_duration(text: str, what: str) -> timedelta:
    """A duration like ``30d``, ``1h30m`` or ``500ms``. A number alone is none: who deletes what is older than 30 means days.

    Raises:
        ConfigurationError: naming ``what``.
    """
    position, seconds = 0, 0.0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        position = part.end()
        seconds += float(part[1]) * _UNITS[part[2]]
    if not text or position != len(text):
        raise ConfigurationError(
            f"expected {what} to be a duration with its unit, like 2w, 30d, 12h, 1h30m, 90s or 500ms, got {text!r}"
        )
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ConfigurationError(f"expected {what} to be a duration of this world, got {text!r}") from None


def parse_instant(text: str, what: str) -> datetime:
    """An ISO date or time (local, if it has no zone), or a duration: so long ago.

    Raises:
        ConfigurationError: naming ``what``.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - parse_duration(text, what)
    except (ConfigurationError, OverflowError):
        raise ConfigurationError(
            f"expected {what} to be like 2026-11-20, 2026-11-20T14:00 or 3d (three days ago), got {text!r}"
        ) from None
