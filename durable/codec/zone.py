"""Datetimes in named zones, written as RFC 9557 has them: ``2026-03-28T09:00:00+01:00[Europe/Berlin]``.

The offset alone would come back as a zone of its own, in which the day after has the same offset: the same instant, and
another arithmetic. The offset is written as well, for readers that know no names and for the hour that autumn repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic_core import SchemaValidator, ValidationError, core_schema

_PLAIN: Final = SchemaValidator(core_schema.datetime_schema())


def write_zone(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Serialize a datetime, with the name of its zone if that has one."""
    text = handler(value)
    zone = getattr(value, "tzinfo", None)
    return f"{text}[{zone.key}]" if type(zone) is ZoneInfo and zone.key is not None else text


def read_zone(raw: Any) -> Any:
    """The datetime that a text stands for; what is no such text is left to pydantic."""
    if type(raw) is not str:
        return raw
    text, bracket, name = raw.partition("[")
    try:
        value = _PLAIN.validate_python(text)
        return in_zone(value, ZoneInfo(name.removesuffix("]"))) if bracket else value
    except (ValidationError, ValueError, OSError, KeyError):
        return raw


def in_zone(value: datetime, zone: ZoneInfo) -> datetime:
    """The same wall clock in a zone; where the zone has not that offset then, the same instant."""
    for fold in (0, 1):
        found = value.replace(tzinfo=zone, fold=fold)
        if found.utcoffset() == value.utcoffset():
            return found
    return value.astimezone(UTC).astimezone(zone)


def zone_of(value: datetime | time) -> object:
    """What must come back of a zone besides its offset: its name, or nothing where the offset never changes."""
    zone = value.tzinfo
    if type(zone) is ZoneInfo:
        return zone.key or zone
    return None if zone is None or zone.utcoffset(None) is not None else zone
