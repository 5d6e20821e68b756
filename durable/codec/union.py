"""Unions that come back as the member that went in.

JSON keeps null, booleans, integers, floats, strings, arrays and objects apart, and nothing else: a union of
two models, or of ``str`` and ``datetime``, comes back as whatever pydantic tries first. Members are
*groups* here: all choices of one Python class. Where two groups may be written as the same kind of JSON,
the value says which it is:

    {"$type": "Dog", "value": {"name": "Rex"}}

The member that JSON itself means by a kind (``str`` by a string, ``list`` by an array) stays bare, unless
it is an object, which could be taken for a tag. What arrives untagged, from a caller who cannot know, is
read by pydantic's rules for unions.
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, NamedTuple

from pydantic_core import core_schema

from durable.codec.problem import TAG, TAGGED, UNTAGGED

Schema = dict[str, Any]

UNION_MARK: Final = "durable.union"
"""Metadata key of a tagged union; its value is a ``Choice``."""

NATIVE_MARK: Final = "durable.native"
"""Metadata key of a schema whose serializer is ours and loses nothing."""

_LEAVES: Final[Mapping[str, tuple[str, type]]] = {
    "none": ("null", NoneType),
    "bool": ("bool", bool),
    "int": ("int", int),
    "float": ("float", float),
    "str": ("string", str),
    "bytes": ("string", bytes),
    "date": ("string", dt.date),
    "time": ("string", dt.time),
    "datetime": ("string", dt.datetime),
    "timedelta": ("string", dt.timedelta),
    "uuid": ("string", uuid.UUID),
    "decimal": ("string", decimal.Decimal),
    "fraction": ("string", fractions.Fraction),
    "complex": ("string", complex),
    "list": ("array", list),
    "tuple": ("array", tuple),
    "set": ("array", set),
    "frozenset": ("array", frozenset),
    "deque": ("array", deque),
    "dict": ("object", dict),
    "typed-dict": ("object", dict),
}
"""JSON kind and class by type of core schema."""

_BARE: Final = frozenset({NoneType, bool, int, float, str, list})
"""What JSON means by its kinds. Objects are missing: a bare one could be taken for a tag."""


class Member(NamedTuple):
    """One choice of a union.

    Attributes:
        schema: its core schema.
        cls: exact class of its values; None if that cannot be told.
        kind: kind of JSON that it is written as; None if that cannot be told.
    """

    schema: Schema
    cls: Any
    kind: str | None


class Choice(NamedTuple):
    """How a tagged union is written.

    Attributes:
        label_of: the label of the group that writes a value; None if none does.
        schemas: schemas of the groups by label.
    """

    label_of: Callable[[Any], str | None]
    schemas: dict[str, Schema]


class Group(NamedTuple):
    """The members of one class."""

    label: str
    cls: Any
    kinds: frozenset[str | None]
    schema: Schema


def flatten(schema: Schema, definitions: Mapping[str, Schema], seen: frozenset[str] = frozenset()) -> list[Schema]:
    """The choices of a union and of the unions among them, also of those that are defined apart.

    Args:
        schema: a schema as pydantic made it.
        definitions: those of the same schema by reference, as pydantic made them.
        seen: references that are being followed.
    """
    kind = schema["type"]
    if "serialization" in schema:
        return [schema]
    if kind in ("union", "tagged-union"):
        choices = schema["choices"].values() if isinstance(schema["choices"], dict) else schema["choices"]
        bare = [choice[0] if isinstance(choice, tuple) else choice for choice in choices]
        return [one for choice in bare for one in flatten(choice, definitions, seen)]
    if kind == "nullable":
        return [*flatten(schema["schema"], definitions, seen), {"type": "none"}]
    if kind == "definition-ref" and schema["schema_ref"] not in seen:
        ref = schema["schema_ref"]
        inner = flatten(definitions[ref], definitions, seen | {ref})
        return inner if len(inner) > 1 else [schema]
    return [schema]


def members(schema: Schema, definitions: Mapping[str, Schema]) -> list[Member]:
    """One choice of a flat union; a literal is split by class."""
    kind = schema["type"]
    if "serialization" in schema and not schema.get("metadata", {}).get(NATIVE_MARK):
        return [Member(schema, _class_of(schema, definitions), None)]
    if kind == "literal":
        return _literal_members(schema)
    if kind == "definition-ref":
        inner = members(definitions[schema["schema_ref"]], definitions)
        return [Member(schema, inner[0].cls, inner[0].kind)] if len(inner) == 1 else inner
    return [Member(schema, _class_of(schema, definitions), _kind_of(schema, definitions))]


def _literal_members(schema: Schema) -> list[Member]:
    by_class: dict[type, list[Any]] = {}
    for value in schema["expected"]:
        by_class.setdefault(type(value), []).append(value)
    kinds = {cls: _LITERAL_KINDS.get(cls) for cls in by_class}
    return [Member({**schema, "expected": values}, cls, kinds[cls]) for cls, values in by_class.items()]


_LITERAL_KINDS: Final[Mapping[type, str]] = {str: "string", int: "int", bool: "bool", NoneType: "null"}


def _class_of(schema: Schema, definitions: Mapping[str, Schema]) -> Any:
    kind = schema["type"]
    if kind in _LEAVES:
        return _LEAVES[kind][1]
    if "cls" in schema and kind != "is-subclass":
        return schema["cls"]
    if kind == "call":
        return schema["function"] if isinstance(schema["function"], type) else None
    if kind == "definition-ref":
        return _class_of(definitions[schema["schema_ref"]], definitions)
    for key in ("schema", "python_schema", "lax_schema"):
        if key in schema:
            return _class_of(schema[key], definitions)
    for key in ("steps", "choices"):
        if schema.get(key):
            return _class_of(schema[key][0], definitions)
    return None


def _kind_of(schema: Schema, definitions: Mapping[str, Schema]) -> str | None:
    kind = schema["type"]
    if kind in _LEAVES:
        return _LEAVES[kind][0]
    if kind in ("model", "dataclass"):
        return None if schema.get("root_model") else "object"
    if kind == "enum":
        kinds = {_LITERAL_KINDS.get(type(member.value)) for member in schema["members"]}
        return kinds.pop() if len(kinds) == 1 else None
    if kind in ("function-after", "function-before", "function-wrap", "default"):
        return _kind_of(schema["schema"], definitions)
    if kind == "definition-ref":
        return _kind_of(definitions[schema["schema_ref"]], definitions)
    return None


def group(found: list[Member]) -> list[Group]:
    """The members by class, in order of their first choice, with labels that are unique."""
    by_class: dict[Any, list[Member]] = {}
    for member in found:
        by_class.setdefault(member.cls if member.cls is not None else id(member.schema), []).append(member)
    groups: list[Group] = []
    names = [getattr(same[0].cls, "__name__", None) for same in by_class.values()]
    for index, same in enumerate(by_class.values()):
        cls = same[0].cls
        label = names[index] or f"choice {index + 1}"
        if names.count(label) > 1:
            label = f"{cls.__module__}.{cls.__qualname__}"
        schema = same[0].schema if len(same) == 1 else {"type": "union", "choices": [m.schema for m in same]}
        groups.append(Group(label, cls, frozenset(member.kind for member in same), schema))
    return groups


def is_told_by_json(groups: list[Group]) -> bool:
    """Whether the kind of JSON alone says which group a value belongs to.

    Classes that stand for a text or a number of their own (dates, decimals, enums) never are told: pydantic
    reads them from several kinds.
    """
    seen: set[str | None] = {None}
    for one in groups:
        if seen & one.kinds or not (one.cls in _BARE or one.kinds <= {"array", "object"}):
            return False
        seen |= one.kinds
    return True


def tagged(groups: list[Group], hoist: Callable[[Schema], Schema]) -> Schema:
    """A schema that writes tags and reads both tagged and untagged JSON.

    Args:
        groups: the members.
        hoist: moves a schema among the definitions and returns a reference, so that it can stand in several
        places.
    """
    references = [one._replace(schema=hoist(one.schema)) for one in groups]
    is_bare = {one.label: one.cls in _BARE for one in references}
    reading: Schema = {one.label: _read_tagged(one) for one in references}
    reading |= {_bare_label(one): one.schema for one in references if is_bare[one.label]}
    reading[UNTAGGED] = {"type": "union", "choices": [one.schema for one in references]}
    writing = {one.label: one.schema if is_bare[one.label] else _write_tagged(one) for one in references}
    label_of = _label_of(groups)
    return {
        "type": "json-or-python",
        "json_schema": {"type": "tagged-union", "choices": reading, "discriminator": _reader(references)},
        "python_schema": {"type": "any"},
        "serialization": {
            "type": "function-plain",
            "function": _same,
            "return_schema": {"type": "tagged-union", "choices": writing, "discriminator": label_of},
        },
        "metadata": {UNION_MARK: Choice(label_of, {one.label: one.schema for one in references})},
    }


def _bare_label(one: Group) -> str:
    return f"{UNTAGGED} {one.label}"


def _reader(groups: list[Group]) -> Callable[[Any], str]:
    """The label of raw JSON: of its tag, or of the member that its kind means without one."""
    bare = {one.cls: _bare_label(one) for one in groups if one.cls in _BARE}

    def read_label(raw: Any) -> str:
        if isinstance(raw, dict) and raw.keys() == TAGGED:
            return str(raw[TAG])
        return bare.get(type(raw), UNTAGGED)

    return read_label


def _label_of(groups: list[Group]) -> Callable[[Any], str | None]:
    exact = {one.cls: one.label for one in groups if one.cls is not None}
    untold = [one for one in groups if one.cls is None]
    untold.sort(key=lambda one: one.schema["type"] != "any")  # what takes anything, before what is not known
    rest = untold[0].label if untold else None

    def label_of(value: Any) -> str | None:
        label = exact.get(type(value))
        if label is None:  # a subclass, or a member that is known by a protocol: Path, Sequence
            label = next((exact[cls] for cls in exact if isinstance(value, cls)), rest)
        return label

    return label_of


def _envelope(one: Group) -> Schema:
    tag = core_schema.typed_dict_field(core_schema.str_schema())
    value = core_schema.typed_dict_field(one.schema)
    return {"type": "typed-dict", "fields": {TAG: tag, "value": value}}


def _read_tagged(one: Group) -> Schema:
    return dict(core_schema.no_info_after_validator_function(_value, _envelope(one)))


def _write_tagged(one: Group) -> Schema:
    def tag(value: Any) -> dict[str, Any]:
        return {TAG: one.label, "value": value}

    writing = core_schema.plain_serializer_function_ser_schema(tag, return_schema=_envelope(one))
    return {"type": "any", "serialization": writing}


def _same(value: Any) -> Any:
    return value


def _value(fields: dict[str, Any]) -> Any:
    return fields["value"]
