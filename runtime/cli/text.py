"""Text on its way out: JSON that every parser takes, and plain text that cannot steer a terminal."""

from __future__ import annotations

import re
from typing import Any, Final

_INVISIBLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline, those that turn the direction of writing, and halves of characters."""


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON.

    JSON has no NaN and no infinity: they become the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Bytes become
    base64, what JSON does not know its ``str()``.
    """
    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    try:
        return to_json(value, indent=indent, inf_nan_mode="strings", bytes_mode="base64", fallback=str).decode()
    except PydanticSerializationError:  # half a character, as in an argument that is no UTF-8
        import json

        plain = to_jsonable_python(value, inf_nan_mode="strings", bytes_mode="base64", fallback=str)
        return json.dumps(plain, indent=indent)


def visible(text: str) -> str:
    """A text with what would steer a terminal written out: ``\\x1b[2J``."""
    if text.isprintable():
        return text
    return _INVISIBLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
