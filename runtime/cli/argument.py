"""What users give as input: JSON with the position of what is wrong with it, ``NAME=VALUE`` pairs, files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from durable.errors import ConfigurationError, MessageRejectedError

_SHOWN: Final = 60

Arguments = tuple[list[Any], dict[str, Any]]
"""Positional and keyword arguments, as JSON values."""


def parse_json(text: str, what: str) -> Any:
    """The value of a JSON text.

    Raises:
        ConfigurationError: with line, column and a mark below the place; an object has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=partial(_unambiguous, what))
    except json.JSONDecodeError as error:
        line = error.doc.split("\n")[error.lineno - 1]
        start = max(0, error.colno - 1 - _SHOWN // 2)
        shown = line[start : start + _SHOWN]
        raise ConfigurationError(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}\n"
            f"    {shown}\n    {' ' * (error.colno - 1 - start)}^",
            line=error.lineno,
            column=error.colno,
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{what} is nested too deeply") from None


def _unambiguous(what: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, if each key occurs once: which of two values is meant nobody knows."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ConfigurationError(f"{what} has the key {twice!r} twice in one object")
    return value


def read_text(path: str, what: str) -> str:
    """The text of a file that was named as ``@path``.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{what} cannot be read: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{what} is not UTF-8: {path}: {error}") from error


def parse_value(text: str, what: str, schema: Mapping[str, Any] | None = None, *, may_name_file: bool = False) -> Any:
    """A value that may be JSON or plain text; the schema decides, where there is one.

    JSON is tried first, and what does not fit the schema as JSON is taken as text if that fits. Without a schema
    everything that is JSON is JSON, and what looks like an attempt at JSON must be.

    Args:
        text: ``v1``, ``1``, ``{"a": 1}``.
        what: names it in errors.
        schema: JSON schema of the value.
        may_name_file: ``@file`` means the JSON in that file.

    Raises:
        ConfigurationError: it is neither.
    """
    if may_name_file and text.startswith("@") and len(text) > 1:
        return parse_json(read_text(text[1:], what), what)
    try:
        value = json.loads(text, object_pairs_hook=partial(_unambiguous, what))
    except (json.JSONDecodeError, RecursionError):
        looks_like_json = text.lstrip().startswith(("{", "[", '"'))
        if looks_like_json and (schema is None or not _fits(text, schema)):
            return parse_json(text, what)
        return text
    if schema is not None and not _fits(value, schema) and _fits(text, schema):
        return text
    return value


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    from durable.codec.schema import check_schema

    try:
        check_schema(value, schema, "it")
    except MessageRejectedError:
        return False
    return True


def parse_input(given: Sequence[str], schema: Mapping[str, Any] | None = None) -> Arguments:
    """The arguments of a workflow from all ``--input`` flags; later ones win over those of an object, but no flag over its like.

    Args:
        schema: JSON schema of the workflow's arguments as an object, if it is known: it tells ``v=1`` the text from
            ``v=1`` the number.

    Raises:
        ConfigurationError: an input cannot be understood, or a name is given twice.
    """
    named: set[str] = set()
    positional: list[Any] | None = None
    keywords: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if text.startswith("@"):
            parsed = parse_json(read_text(text[1:], "--input"), f"--input {text}")
        elif text.lstrip()[:1] in ("{", "["):
            parsed = parse_json(text, "--input")
        elif equals and name.isidentifier():
            if name in named:
                raise ConfigurationError(f"--input {name}=... is given twice")
            named.add(name)
            parsed = {name: parse_value(value, f"--input {name}", _property(schema, name))}
        else:
            raise ConfigurationError(
                f"expected --input to be NAME=VALUE, a JSON object, a JSON array or @FILE, got {text!r}"
            )
        if isinstance(parsed, dict):
            keywords.update(parsed)
        elif isinstance(parsed, list) and positional is None:
            positional = parsed
        elif isinstance(parsed, list):
            raise ConfigurationError("expected at most one JSON array as --input")
        else:
            raise ConfigurationError(f"expected --input to be a JSON object or array, got {parsed!r}")
    return positional or [], keywords


def check_booleans(fields: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Refuse true and false for what is no boolean: pydantic would take them for the numbers 1 and 0.

    Args:
        fields: arguments as one object.
        schema: of that object.

    Raises:
        ConfigurationError: naming the argument.
    """
    for name, value in fields.items():
        own = _property(schema, name)
        if isinstance(value, bool) and own is not None and not _fits(value, own):
            raise ConfigurationError(
                f"expected --input {name} to be of type {own.get('type', 'JSON')}, got {json.dumps(value)}"
            )


def _property(schema: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    own = (schema or {}).get("properties", {}).get(name)
    return None if own is None else {**own, "$defs": (schema or {}).get("$defs", {})}


def parse_pairs(given: Sequence[str], what: str) -> dict[str, Any]:
    """``NAME=VALUE`` pairs; a value that is JSON is JSON.

    Raises:
        ConfigurationError: a pair has no name.
    """
    pairs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ConfigurationError(f"expected {what} to be NAME=VALUE, got {text!r}")
        pairs[name] = parse_value(value, what)
    return pairs
