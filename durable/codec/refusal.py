"""Why a value cannot be recorded: the errors of encoding, with the path of the part that is to blame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final

from pydantic_core import to_json

from durable.codec.closed import is_plain
from durable.codec.difference import ABSENT, Difference
from durable.codec.problem import Path, dotted, named, short
from durable.codec.secret import Secret
from durable.errors import EncodeError


def unwritable(value: Any, root: Path, error: Exception, *, has_secrets: bool) -> EncodeError:
    """The error for a value that the serializer refuses, with the path that the serializer does not tell."""
    is_cyclic = "Circular reference" in str(error)
    path, part = (root, value) if is_cyclic else _offender(value, root, _reveal if has_secrets else None)
    if isinstance(part, Secret):
        return EncodeError(f"expected {named(path)} to be annotated as durable.Secret[...]", path=dotted(path))
    reason = str(error).partition("\n")[0].removeprefix("Error serializing to JSON: ")
    message = f"expected {named(path)} to be a value that JSON can carry, got {short(part)}: {reason}"
    return EncodeError(message, path=dotted(path))


def _offender(value: Any, path: Path, fallback: Callable[[Any], Any] | None) -> tuple[Path, Any]:
    """The innermost part that pydantic cannot write."""
    for part, inner in _children(value):
        try:
            to_json(inner, inf_nan_mode="constants", bytes_mode="base64", fallback=fallback)
        except Exception:  # noqa: BLE001 - whatever the reason, it is in here
            return _offender(inner, (*path, part), fallback)
    return path, value


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    message = f"cannot write {type(value).__name__}"
    raise TypeError(message)


def _children(value: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return ((key if isinstance(key, str | int) else str(key), inner) for key, inner in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    return vars(value).items() if hasattr(type(value), "__pydantic_fields__") else ()


def changed(found: Difference, root: Path) -> EncodeError:
    """The error for a value that would come back as another."""
    path = root + found.path
    sent, received = type(found.sent), type(found.received)
    got = f"got {short(found.sent)}"
    if hasattr(found.sent, "get_secret_value"):
        words = f"to be a durable.Secret, {got}, of which only stars would be stored"
    elif found.sent is ABSENT:
        words = f"to be set, got {found.sent}, which comes back as {short(found.received)}"
    elif found.received is ABSENT:
        words = f"to be annotated, {got}, which would be dropped"
    elif found.path and found.sent == found.path[-1] and received is str:
        words = f"to be a string key, {got}: JSON has no other keys, so annotate keys of one type"
    elif sent is received:
        words = f"to come back equal, {got}, which comes back as {short(found.received)}"
    elif isinstance(found.sent, received):
        words = (
            f"to be exactly {received.__name__}, {got}, whose class {sent.__name__} would be lost; "
            f"annotate {sent.__name__}, or pass {received.__name__}"
        )
    else:
        words = (
            f"to come back as {sent.__name__}, {got}, which comes back as {short(found.received)}; "
            f"annotate {sent.__name__}{_PLAIN_ONLY if is_plain(found.received) else ''}"
        )
    return EncodeError(f"expected {named(path)} {words}", path=dotted(path))


_PLAIN_ONLY: Final = " (where nothing is annotated, only plain JSON comes back)"
