"""Durations and instants as users write them, turned into integer microseconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from durable.errors import DefinitionError

Duration: TypeAlias = timedelta | int | float
"""A ``timedelta``, or seconds."""

MICROSECONDS: Final = 1_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_YEARS: Final = 1_000
_MAX_SECONDS: Final = _MAX_YEARS * 366 * 86_400
"""Longer than anybody waits, and short enough that a deadline is still a date."""

_LONGEST: Final = timedelta(seconds=_MAX_SECONDS)


def to_us(value: Duration, what: str = "duration") -> int:
    """Microseconds, rounded up, so that nothing durable ends early (rule K8).

    Raises:
        DefinitionError: if it is not a finite duration, or is longer than a thousand years.
    """
    if isinstance(value, timedelta):
        if not -_LONGEST < value < _LONGEST:
            raise DefinitionError(f"expected {what} to be shorter than {_MAX_YEARS} years, got {value!r}")
        return value // _MICROSECOND
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DefinitionError(
            f"expected {what} to be a timedelta or seconds, got {value!r}", remedy="timedelta(seconds=...)"
        )
    if not -_MAX_SECONDS < value < _MAX_SECONDS:  # also refuses nan
        raise DefinitionError(f"expected {what} to be a number of seconds under {_MAX_YEARS} years, got {value!r}")
    return value * MICROSECONDS if isinstance(value, int) else math.ceil(value * MICROSECONDS)


def optional_us(value: Duration | None, what: str) -> int | None:
    """As ``to_us`` for a limit that may be absent and must be positive.

    Raises:
        DefinitionError: if it is zero or negative.
    """
    if value is None:
        return None
    microseconds = to_us(value, what)
    if microseconds <= 0:
        raise DefinitionError(f"expected {what} to be positive, got {value!r}")
    return microseconds


def instant_us(when: datetime) -> int:
    """UTC microseconds of an aware datetime, rounded down to the microsecond that it has.

    Raises:
        DefinitionError: if it is naive.
    """
    if when.tzinfo is None or when.utcoffset() is None:
        raise DefinitionError(
            f"expected an aware datetime, got the naive {when.isoformat()}; give it a time zone, for example "
            f"when.replace(tzinfo=UTC) or datetime(..., tzinfo=ZoneInfo('Europe/Berlin'))"
        )
    return (when - EPOCH) // _MICROSECOND


def to_instant(at_us: int) -> datetime:
    """The aware UTC datetime of UTC microseconds."""
    return EPOCH + timedelta(microseconds=at_us)


def format_duration(microseconds: int) -> str:
    """A duration for people: ``1.5 s``, ``3 min``, ``2 h``, ``30 d``."""
    seconds = microseconds / MICROSECONDS
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
