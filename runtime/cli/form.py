"""Forms on the command line: what a JSON schema asks for in words, and how a typed line becomes a value.

A person answers an object field by field; everything else in one line, as JSON or as plain text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from durable.codec.schema import check_schema
from runtime.cli.argument import parse_value

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "JSON array",
    "object": "JSON object",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a form.

    Attributes:
        name: of the property, empty for a value that is not an object.
        hint: what is expected, in words.
        schema: of the value.
        is_required: False: an empty line leaves it out.
        is_secret: what is typed must not be shown.
    """

    name: str
    hint: str
    schema: dict[str, Any]
    is_required: bool = True
    is_secret: bool = False


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """The lines of the form that a schema is."""
    return list(_fields(schema))


def _fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    resolved = _resolve(schema, schema)
    properties = resolved.get("properties")
    if resolved.get("type") != "object" or not properties:
        yield Field("", describe(schema), dict(schema), is_secret=bool(schema.get("writeOnly")))
        return
    required = resolved.get("required", ())
    for name, part in properties.items():
        own = {**part, "$defs": schema.get("$defs", {})}
        yield Field(name, describe(own), own, name in required, bool(part.get("writeOnly")))


def describe(schema: Mapping[str, Any]) -> str:
    """What a schema asks for, in words: ``text``, ``one of eu, us``, ``whole number, default 3``."""
    words = _describe(schema, schema)
    if "description" in schema:
        words = f"{schema['description']} ({words})"
    return f"{words}, default {json.dumps(schema['default'])}" if "default" in schema else words


def _describe(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    schema = _resolve(schema, root)
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return " or ".join(dict.fromkeys(_describe(part, root) for part in schema[keyword]))
    if "format" in schema and schema.get("type") == "string":
        return str(schema["format"])
    return _WORDS.get(str(schema.get("type")), "JSON")


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = str(schema.get("$ref", ""))
    if not reference.startswith("#/$defs/"):
        return schema
    found = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    return found if isinstance(found, Mapping) else schema


def fill(field: Field, line: str) -> Any:
    """The value of a typed line.

    Raises:
        ConfigurationError: it looks like JSON and is none.
        MessageRejectedError: it does not fit the field.
    """
    name = field.name or "the answer"
    value = parse_value(line.strip(), name, field.schema)
    check_schema(value, field.schema, name)
    return value


def example(schema: Mapping[str, Any]) -> str:
    """An answer of the right form."""
    resolved = _resolve(schema, schema)
    if resolved.get("type") == "object" and resolved.get("properties"):
        shape = {
            name: describe({**part, "$defs": schema.get("$defs", {})}) for name, part in resolved["properties"].items()
        }
        return json.dumps(shape, ensure_ascii=False)
    if "enum" in resolved:
        return str(resolved["enum"][0])
    return {"string": "TEXT", "integer": "1", "number": "1.5", "boolean": "true"}.get(str(resolved.get("type")), "JSON")
