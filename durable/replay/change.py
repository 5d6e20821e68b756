"""What differs first between two JSON values, with the path to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from durable.codec.problem import Path, dotted, short

_ABSENT: Final = object()


def first_change(before: Any, now: Any, *, hide: bool = False) -> str | None:
    """``items[3].price: 5 became 6``; None if they are equal.

    Args:
        hide: the values must not be shown.
    """
    changes = list(_changes((), before, now, limit := [3]))
    if not changes:
        return None
    texts = [_words(path, old, new, hide=hide) for path, old, new in changes]
    return "; ".join(texts) + ("; and more" if not limit[0] else "")


def _changes(path: Path, before: Any, now: Any, left: list[int]) -> Iterator[tuple[Path, Any, Any]]:
    """The innermost places that differ, at most ``left``."""
    if not left[0] or (type(before) is type(now) and before == now):
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for key in (*before, *(key for key in now if key not in before)):
            yield from _changes((*path, key), before.get(key, _ABSENT), now.get(key, _ABSENT), left)
    elif isinstance(before, list) and isinstance(now, list):
        for index in range(max(len(before), len(now))):
            old = before[index] if index < len(before) else _ABSENT
            new = now[index] if index < len(now) else _ABSENT
            yield from _changes((*path, index), old, new, left)
    else:
        left[0] -= 1
        yield path, before, now


def _words(path: Path, before: Any, now: Any, *, hide: bool) -> str:
    where = dotted(path) or "the value"
    if before is _ABSENT:
        return f"{where} is new" if hide else f"{where} is new: {short(now)}"
    if now is _ABSENT:
        return f"{where} is gone" if hide else f"{where} is gone, it was {short(before)}"
    return f"{where} changed" if hide else f"{where}: {short(before)} became {short(now)}"
