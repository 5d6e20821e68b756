"""Pydantic's core schemas, rewritten so that what JSON writes comes back as it was (rule H2).

Pydantic's own settings serve APIs: aliases, excluded fields, ``null`` for infinity, bytes as UTF-8, sets in
hash order. Here the same schemas serve a history. The rewritten schema

- names fields by their names and keeps excluded ones, but not computed ones;
- writes bytes as base64, infinity and NaN as constants, sets in a fixed order, named tuples as arrays by
  annotation;
- writes enums by value where all values are texts or all integers, else by name;
- writes the names of zones beside offsets (``durable.codec.zone``);
- tags unions that JSON alone cannot tell apart (``durable.codec.union``);
- reveals ``Secret`` and reports that there is one; refuses pydantic's own secrets, which store stars.

Serializers of the user stay: what they lose is found by comparing (``durable.codec.difference``). Nested
models must be built from the rewritten schema too, not from the validators that pydantic has prebuilt for
their classes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from pydantic_core import CoreConfig, core_schema, to_json

from durable.codec import union
from durable.codec.problem import Path, dotted
from durable.codec.secret import SECRET_MARK, Secret
from durable.codec.union import NATIVE_MARK, Schema
from durable.codec.zone import read_zone, write_zone
from durable.errors import DefinitionError

CONFIG: Final[CoreConfig] = {
    "ser_json_bytes": "base64",
    "val_json_bytes": "base64",
    "ser_json_inf_nan": "constants",
    "ser_json_timedelta": "iso8601",
    "ser_json_temporal": "iso8601",
    "serialize_by_alias": False,
    "validate_by_alias": True,
    "validate_by_name": False,
    "loc_by_alias": False,
    "polymorphic_serialization": False,
}
"""Put over the configuration of every model. Aliases are gone, so the flags about them are neutral."""

_OUTWARD: Final = frozenset(
    {"validation_alias", "serialization_alias", "serialization_exclude", "serialization_exclude_if", "alias"}
)
"""What fields say about the outside world."""

_CHILDREN: Final = frozenset(
    {
        "schema", "items_schema", "keys_schema", "values_schema", "extras_schema", "extras_keys_schema",
        "json_schema", "lax_schema", "strict_schema", "steps", "return_schema",
        "arguments_schema", "var_args_schema", "var_kwargs_schema",
    }
)  # fmt: skip
"""Keys that hold a schema or a list of schemas. Not ``python_schema``: values are read from JSON only."""

_BY_NAME: Final = frozenset({"fields", "choices"})
"""Keys that hold schemas by name or in a list."""


def lossless(schema: Schema) -> tuple[Schema, bool]:
    """The rewritten schema, and whether there are secrets in it.

    Raises:
        DefinitionError: if there is a pydantic ``SecretStr``, ``SecretBytes`` or ``Secret`` in it.
    """
    rewriter = _Rewriter(schema)
    return rewriter.schema, rewriter.has_secrets


class _Rewriter:
    def __init__(self, schema: Schema) -> None:
        self.has_secrets = False
        self._originals: dict[str, Schema] = {}
        self._hoisted: dict[str, Schema] = {}
        self._only_read = 0  # depth within schemas whose JSON a function of their own writes
        root = schema
        if schema["type"] == "definitions":
            root = schema["schema"]
            # the originals serve look-ups until their turn comes: unions ask only for class and kind
            self._originals.update({one["ref"]: one for one in schema["definitions"]})
            self._hoisted.update(self._originals)
            for ref, one in list(self._hoisted.items()):
                self._hoisted[ref] = self._rewrite(one, ())
        root = self._rewrite(root, ())
        self.schema: Schema = (
            {"type": "definitions", "schema": root, "definitions": list(self._hoisted.values())}
            if self._hoisted
            else root
        )

    def _rewrite(self, schema: Schema, path: Path) -> Schema:
        if SECRET_MARK in schema.get("metadata", ()):
            return self._secret(schema, path)
        _refuse_foreign_secret(schema, path)
        if _is_sequence(schema):
            return self._rewrite(schema["json_schema"], path)
        if schema["type"] == "union" and "serialization" not in schema and not self._only_read:
            schema = {**schema, "choices": union.flatten(schema, self._originals)}
        writes_itself = schema.get("serialization", {}).get("type") == "function-plain"
        self._only_read += writes_itself
        result = {key: self._child(key, value, path) for key, value in schema.items() if key not in _OUTWARD}
        self._only_read -= writes_itself
        if "config" in result or result["type"] in ("model", "dataclass", "typed-dict"):
            result["config"] = {**result.get("config", {}), **CONFIG}
        special = _SPECIAL.get(result["type"])
        if special:
            result = special(self, result)
        return {**result, "ref": schema["ref"]} if "ref" in schema else result

    def _child(self, key: str, value: Any, path: Path) -> Any:
        if key == "computed_fields":
            return []
        if key == "serialization":
            return {inner: self._child(inner, one, path) for inner, one in value.items()}
        if key in _CHILDREN and isinstance(value, dict):
            is_key = key == "keys_schema"  # keys are strings: there is no room for tags
            self._only_read += is_key
            rewritten = self._rewrite(value, path)
            self._only_read -= is_key
            return rewritten
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self._part(one, (*path, name) if key == "fields" else path) for name, one in value.items()}
        if key in _CHILDREN or key in _BY_NAME:
            return [self._part(one, path) for one in value]
        return value

    def _part(self, part: Any, path: Path) -> Any:
        """A field, a parameter, a choice, the mere name of a slot, or any other schema in a list."""
        if isinstance(part, str):
            return part
        if isinstance(part, tuple):  # a choice with a label
            part = part[0]
        if "schema" not in part or "name" not in part:
            return self._rewrite(part, path)
        kept = {key: value for key, value in part.items() if key not in _OUTWARD}
        return {**kept, "schema": self._rewrite(part["schema"], (*path, part["name"]))}

    def _hoist(self, schema: Schema) -> Schema:
        """Move a schema among the definitions, so that it can be referred to from several places."""
        if schema["type"] == "definition-ref":
            return schema
        ref = schema.get("ref") or f"durable:{len(self._hoisted)}"
        self._hoisted[ref] = {**schema, "ref": ref}
        return {"type": "definition-ref", "schema_ref": ref}

    # -- kinds of schema that need more ----------------------------------------------------------------------

    def _secret(self, schema: Schema, path: Path) -> Schema:
        self.has_secrets = True
        inner = self._hoist(self._rewrite(schema["json_schema"]["schema"], path))
        return {
            "type": "json-or-python",
            "json_schema": {**schema["json_schema"], "schema": inner},
            "python_schema": schema["python_schema"],
            "serialization": core_schema.plain_serializer_function_ser_schema(
                Secret.reveal,
                return_schema=inner,
            ),
            "metadata": {SECRET_MARK: inner},
        }

    def _set(self, schema: Schema) -> Schema:
        if "serialization" in schema:
            return schema
        return _native(schema, core_schema.wrap_serializer_function_ser_schema(_sorted_items))

    def _generator(self, schema: Schema) -> Schema:
        """``Iterable[T]``: a list passes; an iterator could be read only once."""
        return {**schema, "type": "list"}

    def _datetime(self, schema: Schema) -> Schema:
        if "serialization" in schema:
            return schema
        inner = {key: value for key, value in schema.items() if key not in ("ref", "metadata")}
        reading = {
            "type": "function-before",
            "function": {"type": "no-info", "function": read_zone},
            "schema": inner,
            "metadata": schema.get("metadata", {}),
        }
        return _native(reading, core_schema.wrap_serializer_function_ser_schema(write_zone, schema=inner))

    def _named_tuple(self, schema: Schema) -> Schema:
        fields = schema["fields"]
        return _native(schema, _as_tuple([field["schema"] for field in fields]))

    def _call(self, schema: Schema) -> Schema:
        """Before pydantic 2.14 named tuples were calls of their class."""
        function = schema["function"]
        if not (isinstance(function, type) and issubclass(function, tuple) and "serialization" not in schema):
            return schema
        fields = schema["arguments_schema"]["arguments_schema"]
        return _native(schema, _as_tuple([field["schema"] for field in fields]))

    def _enum(self, schema: Schema) -> Schema:
        cls: type[Enum] = schema["cls"]
        values = {type(member.value) for member in cls}
        if "serialization" in schema or values <= {str} or values <= {int}:
            return schema
        return {
            "type": "json-or-python",
            "json_schema": core_schema.no_info_plain_validator_function(_member_of(cls)),
            "python_schema": {"type": "is-instance", "cls": cls},
            "serialization": core_schema.plain_serializer_function_ser_schema(_name_of_member),
        }

    def _union(self, schema: Schema) -> Schema:
        if "serialization" in schema or self._only_read:
            return schema
        groups = union.group([one for choice in schema["choices"] for one in union.members(choice, self._hoisted)])
        in_order = schema.get("mode") == "left_to_right"
        if len(groups) == 1 or (union.is_told_by_json(groups) and not in_order):
            return schema
        return union.tagged(groups, self._hoist)

    def _tagged_union(self, schema: Schema) -> Schema:
        """Kept where the tag is a field that all choices have under this name; else told by class."""
        discriminator = schema["discriminator"]
        choices = list(schema["choices"].values())
        is_field = isinstance(discriminator, str) and all(self._has_field(one, discriminator) for one in choices)
        if is_field or self._only_read:
            return schema
        return self._union({"type": "union", "choices": choices})

    def _has_field(self, schema: Schema, name: str) -> bool:
        while "schema_ref" in schema or "schema" in schema:
            schema = self._hoisted[schema["schema_ref"]] if "schema_ref" in schema else schema["schema"]
        fields = schema.get("fields", ())
        return name in (fields if isinstance(fields, dict) else [field["name"] for field in fields])


_SPECIAL: Final[dict[str, Callable[[_Rewriter, Schema], Schema]]] = {
    "set": _Rewriter._set,
    "frozenset": _Rewriter._set,
    "datetime": _Rewriter._datetime,
    "generator": _Rewriter._generator,
    "named-tuple": _Rewriter._named_tuple,
    "call": _Rewriter._call,
    "enum": _Rewriter._enum,
    "union": _Rewriter._union,
    "tagged-union": _Rewriter._tagged_union,
}


def _native(schema: Schema, serialization: Any) -> Schema:
    return {
        **schema,
        "serialization": serialization,
        "metadata": {**schema.get("metadata", {}), NATIVE_MARK: True},
    }


def _as_tuple(items: list[Any]) -> Any:
    return core_schema.plain_serializer_function_ser_schema(tuple, return_schema=core_schema.tuple_schema(items))


def _sorted_items(value: Any, handler: Callable[[Any], list[Any]]) -> list[Any]:
    items = handler(value)
    types = set(map(type, items))
    if types <= {str} or types <= {int}:
        return sorted(items)
    return sorted(items, key=_json_text)


def _json_text(item: Any) -> bytes:
    return to_json(item, inf_nan_mode="constants")


def _member_of(cls: type[Enum]) -> Callable[[Any], Enum]:
    def member_of(raw: Any) -> Enum:
        if isinstance(raw, str) and raw in cls.__members__:
            return cls.__members__[raw]
        return cls(raw)  # its ValueError says what is wrong

    return member_of


def _name_of_member(member: Enum) -> str:
    return member.name


def _is_sequence(schema: Schema) -> bool:
    """Whether it is pydantic's own schema of ``Sequence[T]``, which is read and may be written as a list."""
    function = schema.get("serialization", {}).get("function")
    is_pydantics = getattr(function, "__module__", "").startswith("pydantic._internal.")
    return is_pydantics and schema["type"] == "json-or-python" and schema["json_schema"]["type"] == "list"


def _refuse_foreign_secret(schema: Schema, path: Path) -> None:
    function = schema.get("serialization", {}).get("function")
    is_pydantics = getattr(function, "__module__", "") == "pydantic.types"
    if is_pydantics and "_serialize_secret" in getattr(function, "__name__", ""):
        message = (
            f"expected {dotted(path) or 'the value'} to be a durable.Secret[...], got one of pydantic's "
            "secrets, of which only stars would be stored"
        )
        raise DefinitionError(message)
