"""Where a value that has been through JSON differs from what was sent.

Equality alone is too lenient: ``True == 1``, a string enum equals its text, a subclass may equal its base.
So types are compared all the way down, and fields rather than ``==`` decide for models and dataclasses. The
one leniency is Python's own: an ``int`` may stand where a ``float`` is annotated.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import zip_longest
from types import NoneType
from typing import Any, Final, NamedTuple
from uuid import UUID

from durable.codec.problem import Path
from durable.codec.secret import Secret
from durable.codec.zone import zone_of

_EQUALITY_TELLS = frozenset({str, int, bool, NoneType, bytes, date, timedelta, UUID})


class Difference(NamedTuple):
    """The first place where both values differ.

    Attributes:
        path: where.
        sent: what went in there.
        received: what came back; ``ABSENT`` if nothing did.
    """

    path: Path
    sent: Any
    received: Any


_Part = tuple[str | int | None, Any, Any]
"""Place within the whole (None if it has no name), part of what was sent, part of what came back."""


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()


def difference(sent: Any, received: Any, path: Path = ()) -> Difference | None:
    """The first difference between what was sent and what came back, or None."""
    cls = type(sent)
    if cls is not type(received):
        if cls is int and type(received) is float and sent == received:
            return None
        return Difference(path, sent, received)
    if cls in _EQUALITY_TELLS:
        return None if sent == received else Difference(path, sent, received)
    if cls is deque and sent.maxlen != received.maxlen:
        return Difference(path, sent, received)
    pairs = _parts(sent, received)
    if pairs is None:
        return None if _is_same(sent, received) else Difference(path, sent, received)
    for part, inner_sent, inner_received in pairs:
        found = difference(inner_sent, inner_received, path if part is None else (*path, part))
        if found is not None:
            return found
    return None


def _parts(sent: Any, received: Any) -> Iterable[_Part] | None:
    """Corresponding parts of two values of one class; None for what has no parts."""
    match sent:
        case Mapping():
            return _entries(sent, received)
        case tuple() if hasattr(sent, "_fields"):
            return zip(sent._fields, sent, received, strict=True)
        case list() | tuple() | deque():
            pairs = zip_longest(sent, received, fillvalue=ABSENT)
            return ((index, *pair) for index, pair in enumerate(pairs))
        case set() | frozenset():
            found = {item: item for item in received}
            return ((None, item, found.get(item, ABSENT)) for item in sent) if len(sent) == len(received) else None
    if dataclasses.is_dataclass(sent):
        names = [field.name for field in dataclasses.fields(sent) if field.compare]
        return ((name, getattr(sent, name, ABSENT), getattr(received, name, ABSENT)) for name in names)
    if hasattr(type(sent), "__pydantic_fields__"):
        return _model_parts(sent, received)
    return None


def _entries(sent: Any, received: Any) -> Iterable[_Part]:
    if len(sent) != len(received):
        key = next(key for key in [*sent, *received] if key not in received or key not in sent)
        return [(_place(key), sent.get(key, ABSENT), received.get(key, ABSENT))]
    pairs = zip(sent.items(), received.items(), strict=True)
    return (
        (_place(key), one, other)
        for (key, value), (other_key, other_value) in pairs
        for one, other in ((key, other_key), (value, other_value))
    )


def _place(key: Any) -> str | int:
    return key if isinstance(key, str | int) else str(key)


def _model_parts(sent: Any, received: Any) -> Iterable[_Part]:
    for name in type(sent).__pydantic_fields__:
        place = None if name == "root" and getattr(type(sent), "__pydantic_root_model__", False) else name
        yield place, sent.__dict__.get(name, ABSENT), received.__dict__.get(name, ABSENT)
    yield from _entries(sent.__pydantic_extra__ or {}, received.__pydantic_extra__ or {})
    yield from _entries(sent.__pydantic_private__ or {}, received.__pydantic_private__ or {})


def _instant(value: datetime | time) -> tuple[Any, ...]:
    """Wall clock, offset, zone: ``==`` calls no time in the hour that is repeated in autumn equal (PEP 495), and those in
    different zones equal although the day after they are not."""
    return value.replace(tzinfo=None), value.utcoffset(), value.tzinfo is None, zone_of(value)


def _is_same(sent: Any, received: Any) -> bool:
    match sent:
        case Secret():  # the difference is in the secret as a whole, so that no message shows its inside
            return difference(sent.reveal(), received.reveal()) is None
        case float():
            return bool(sent == received) or (sent != sent and received != received)  # noqa: PLR0124 - NaN
        case Decimal():
            return bool(sent.as_tuple() == received.as_tuple())
        case datetime() | time():
            return _instant(sent) == _instant(received)
        case Enum():
            return sent is received
    try:
        return (sent == received) is True
    except Exception:  # noqa: BLE001 - a class whose == raises cannot be said to come back equal
        return False
