"""JSON schemas as pydantic writes them: checking a value without the code that it is meant for.

It refuses what certainly does not fit and lets pass what it does not understand: the run itself decodes with the
real types, and sets aside what still does not fit.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from durable.errors import MessageRejectedError

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

_BOUNDS: Final[dict[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "exclusiveMinimum": (operator.gt, "more than"),
    "exclusiveMaximum": (operator.lt, "less than"),
}

_SIZES: Final[dict[str, tuple[Callable[[Any, Any], bool], str, type]]] = {
    "minLength": (operator.ge, "at least", str),
    "maxLength": (operator.le, "at most", str),
    "minItems": (operator.ge, "at least", list),
    "maxItems": (operator.le, "at most", list),
}


def check_schema(value: Any, schema: Mapping[str, Any], what: str) -> None:
    """Check a JSON value.

    Args:
        value: as parsed from JSON.
        schema: a JSON schema; unknown keywords are ignored.
        what: names the value in errors, such as ``signal 'pause'``.

    Raises:
        MessageRejectedError: with the path of the field that does not fit.
    """
    problem = _find(value, schema, schema, "")
    if problem is not None:
        path, text = problem
        where = f" at {path}" if path else ""
        raise MessageRejectedError(f"{what} does not fit its schema{where}: {text}", path=path)


_Problem = tuple[str, str] | None


def _find(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> _Problem:
    if "$ref" in schema:
        target = _resolve(str(schema["$ref"]), root)
        return _find(value, target, root, path) if target is not None else None
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return _find_any(value, schema[keyword], root, path)
    for part in schema.get("allOf", ()):
        if (problem := _find(value, part, root, path)) is not None:
            return problem
    if "enum" in schema and value not in schema["enum"]:
        return path, f"expected one of {schema['enum']!r}, got {value!r}"
    if "const" in schema and value != schema["const"]:
        return path, f"expected {schema['const']!r}, got {value!r}"
    if (problem := _find_type(value, schema, path)) is not None:
        return problem
    if (problem := _find_limit(value, schema, path)) is not None:
        return problem
    if isinstance(value, dict):
        return _find_in_object(value, schema, root, path)
    if isinstance(value, list):
        return _find_in_array(value, schema, root, path)
    return None


def _resolve(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    node: Any = root
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node if isinstance(node, Mapping) else None


def _find_any(value: Any, choices: list[Mapping[str, Any]], root: Mapping[str, Any], path: str) -> _Problem:
    problems = [_find(value, choice, root, path) for choice in choices]
    if any(problem is None for problem in problems):
        return None
    return max((problem for problem in problems if problem), key=lambda problem: len(problem[0]))


def _find_type(value: Any, schema: Mapping[str, Any], path: str) -> _Problem:
    expected = schema.get("type")
    if not isinstance(expected, str) or expected not in _TYPES:
        return None
    fits = isinstance(value, _TYPES[expected]) and (not isinstance(value, bool) or expected == "boolean")
    return None if fits else (path, f"expected {expected}, got {value!r}")


def _find_limit(value: Any, schema: Mapping[str, Any], path: str) -> _Problem:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for keyword, (holds, words) in _BOUNDS.items():
            if keyword in schema and not holds(value, schema[keyword]):
                return path, f"expected {words} {schema[keyword]}, got {value!r}"
    for keyword, (holds, words, kind) in _SIZES.items():
        size = len(value) if isinstance(value, str | list) and isinstance(value, kind) else None
        if keyword in schema and size is not None and not holds(size, schema[keyword]):
            return path, f"expected {words} {schema[keyword]} {'characters' if kind is str else 'items'}, got {size}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        return path, f"expected a text like {schema['pattern']!r}, got {value!r}"
    return None


def _find_in_object(value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> _Problem:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return _join(path, name), "it is missing"
    extra = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            problem = _find(item, properties[name], root, _join(path, name))
        elif extra is False:
            return _join(path, name), f"no such field (known: {', '.join(sorted(properties)) or 'none'})"
        else:
            problem = _find(item, extra, root, _join(path, name)) if isinstance(extra, Mapping) else None
        if problem is not None:
            return problem
    return None


def _find_in_array(value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> _Problem:
    prefix = schema.get("prefixItems", [])
    items = schema.get("items")
    for index, item in enumerate(value):
        part = prefix[index] if index < len(prefix) else items
        if isinstance(part, Mapping) and (problem := _find(item, part, root, f"{path}[{index}]")) is not None:
            return problem
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
