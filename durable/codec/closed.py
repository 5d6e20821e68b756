"""Which values need no proof that they come back: a cheap test by exact class, compiled once per annotation.

Writing a value, reading it back and comparing is the proof that nothing is lost, and costs several times
the writing. For most values it is known beforehand: an exact ``str`` where ``str`` is annotated, a list of
exact ``int``, a model whose class is the annotated one and whose fields are all of that sort.
``compile_closed`` turns a rewritten core schema into a predicate for such values. It never says yes
wrongly; where it says no, or a schema holds something that it does not know (constraints, validators,
serializers of the user, recursion), the value is compared.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final

from pydantic_core import TzInfo

from durable.codec.secret import SECRET_MARK, Secret
from durable.codec.union import NATIVE_MARK, UNION_MARK, Choice, Schema

Predicate = Callable[[Any], bool]
Form = frozenset[type] | Predicate
"""Closed values: of one of these exact classes, or by a test."""

_MAX_DEPTH: Final = 64
"""Deeper plain JSON is compared: the parser has its limits, and the value may be cyclic."""

_MAX_SHAPES: Final = 64
"""So many combinations of classes of fields are remembered for a model."""

_STR: Final = frozenset({str})
_PLAIN: Final = frozenset({str, int, float, bool, NoneType})

_LEAVES: Final[Mapping[str, frozenset[type]]] = {
    "none": frozenset({NoneType}),
    "bool": frozenset({bool}),
    "int": frozenset({int}),
    "float": frozenset({float}),
    "str": _STR,
    "bytes": frozenset({bytes}),
    "date": frozenset({dt.date}),
    "timedelta": frozenset({dt.timedelta}),
    "uuid": frozenset({uuid.UUID}),
}

_NEUTRAL: Final = frozenset({"type", "ref", "metadata", "microseconds_precision"})
"""Keys of a leaf that change nothing; any other is a constraint."""

_NEUTRAL_CONFIG: Final = frozenset(
    {
        "title", "extra_fields_behavior", "from_attributes", "loc_by_alias", "revalidate_instances",
        "validate_default", "ser_json_bytes", "val_json_bytes", "ser_json_inf_nan", "ser_json_timedelta",
        "ser_json_temporal", "serialize_by_alias", "validate_by_alias", "validate_by_name",
        "polymorphic_serialization", "hide_input_in_errors", "validation_error_cause", "regex_engine",
        "cache_strings", "typed_dict_total",
    }
)  # fmt: skip

_TOLD_BY_JSON: Final = frozenset(
    {"none", "bool", "int", "float", "str", "list", "dict", "model", "dataclass", "nullable"}
)
"""Members of an untagged union for which pydantic's choice is certain."""


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is made of exact JSON types only, as ``Any`` gives them back."""
    cls = type(value)
    if cls in _PLAIN:
        return True
    if depth > _MAX_DEPTH:
        return False
    if cls is dict:
        return _STR.issuperset(map(type, value)) and is_plain_items(value.values(), depth)
    return cls is list and is_plain_items(value, depth)


def is_plain_items(items: Any, depth: int = 0) -> bool:
    """Whether all items are made of exact JSON types only."""
    return _PLAIN.issuperset(map(type, items)) or all(is_plain(item, depth + 1) for item in items)


def never(_value: Any) -> bool:
    """The predicate of schemas of which nothing is known."""
    return False


def compile_closed(schema: Schema) -> Predicate:
    """The predicate of values that surely come back equal and of their class."""
    form = _Compiler(schema).form
    return never if form is None else _predicate(form)


class _Compiler:
    def __init__(self, schema: Schema) -> None:
        self._definitions: dict[str, Schema] = {}
        self._resolved: dict[str, Form | None] = {}
        if schema["type"] == "definitions":
            self._definitions = {one["ref"]: one for one in schema["definitions"]}
            schema = schema["schema"]
        self.form = self._compile(schema)

    def _compile(self, schema: Schema) -> Form | None:
        kind = schema["type"]
        metadata = schema.get("metadata", {})
        if UNION_MARK in metadata:
            return self._chosen(metadata[UNION_MARK])
        if SECRET_MARK in metadata:
            return self._secret(metadata[SECRET_MARK])
        if "serialization" in schema and NATIVE_MARK not in metadata:
            return None
        if kind in _LEAVES:
            return _LEAVES[kind] if schema.keys() <= _NEUTRAL else None
        compiler = _COMPILERS.get(kind)
        return compiler(self, schema) if compiler else None

    def _datetime(self, schema: Schema) -> Form | None:
        """A datetime or a time: JSON has no seconds in offsets, and zones that are no fixed offset need proof."""
        cls: Any = {"datetime": dt.datetime, "time": dt.time}[schema["type"]]
        if not schema.keys() <= _NEUTRAL:
            return None
        return lambda value: (
            type(value) is cls
            and (value.tzinfo in _NO_OFFSET or (type(value.tzinfo) in _FIXED and _is_in_minutes(value.utcoffset())))
        )

    def _before(self, schema: Schema) -> Form | None:
        """A datetime as ``durable.codec.lossless`` rewrites it."""
        return self._compile(schema["schema"]) if NATIVE_MARK in schema.get("metadata", {}) else None

    def _decimal(self, schema: Schema) -> Form | None:
        return _is_finite_decimal if schema.keys() <= _NEUTRAL else None

    def _enum(self, schema: Schema) -> Form | None:
        return frozenset({schema["cls"]})

    def _literal(self, schema: Schema) -> Form | None:
        expected = frozenset((type(value), value) for value in schema["expected"])
        classes = frozenset(cls for cls, _ in expected)
        are_told_apart = len(expected) == len(set(schema["expected"]))  # 1 and True are not
        if not classes <= {str, int, bool, NoneType} or not are_told_apart:
            return None
        return lambda value: type(value) in classes and (type(value), value) in expected

    def _items(self, schema: Schema) -> Form | None:
        """A list, a set or a frozen set."""
        if not schema.keys() <= {"type", "items_schema", "ref", "metadata", "serialization", "strict"}:
            return None
        cls = {"list": list, "set": set, "frozenset": frozenset}[schema["type"]]
        items = self._compile(schema.get("items_schema", {"type": "any"}))
        if items is None:
            return None
        are_closed = _all(items)
        return lambda value: type(value) is cls and are_closed(value)

    def _tuple(self, schema: Schema) -> Form | None:
        if not schema.keys() <= {"type", "items_schema", "variadic_item_index", "ref", "metadata", "strict"}:
            return None
        forms = [self._compile(one) for one in schema["items_schema"]]
        if schema.get("variadic_item_index") is not None:
            if len(forms) != 1 or forms[0] is None:
                return None
            are_closed = _all(forms[0])
            return lambda value: type(value) is tuple and are_closed(value)
        return self._tuple_of(tuple, forms)

    def _tuple_of(self, cls: Any, forms: list[Form | None]) -> Form | None:
        predicates = [_predicate(form) for form in forms if form is not None]
        if len(predicates) < len(forms):
            return None
        size = len(predicates)
        return lambda value: (
            type(value) is cls
            and len(value) == size
            and all(is_closed(item) for is_closed, item in zip(predicates, value, strict=True))
        )

    def _named_tuple(self, schema: Schema) -> Form | None:
        return self._tuple_of(schema["cls"], [self._compile(field["schema"]) for field in schema["fields"]])

    def _call(self, schema: Schema) -> Form | None:
        """A named tuple, as pydantic before 2.14 has it."""
        if NATIVE_MARK not in schema.get("metadata", ()):
            return None
        parameters = schema["arguments_schema"]["arguments_schema"]
        return self._tuple_of(schema["function"], [self._compile(one["schema"]) for one in parameters])

    def _dict(self, schema: Schema) -> Form | None:
        if not schema.keys() <= {"type", "keys_schema", "values_schema", "ref", "metadata", "strict"}:
            return None
        keys = self._compile(schema.get("keys_schema", {"type": "any"}))
        if keys is is_plain:
            keys = _STR
        values = self._compile(schema.get("values_schema", {"type": "any"}))
        if values is None or keys not in (_STR, _LEAVES["int"], _LEAVES["uuid"]):
            return None
        keys_are_closed, values_are_closed = _all(keys), _all(values)
        return lambda value: type(value) is dict and keys_are_closed(value) and values_are_closed(value.values())

    def _nullable(self, schema: Schema) -> Form | None:
        return self._any_of([{"type": "none"}, schema["schema"]])

    def _default(self, schema: Schema) -> Form | None:
        return self._compile(schema["schema"]) if schema.get("on_error", "raise") == "raise" else None

    def _union(self, schema: Schema) -> Form | None:
        choices = schema["choices"]
        kinds = [self._resolve(choice)["type"] for choice in choices]
        if not _TOLD_BY_JSON.issuperset(kinds) or kinds.count("list") > 1 or _objects(kinds) > 1:
            return None
        return self._any_of(choices)

    def _tagged_union(self, schema: Schema) -> Form | None:
        return self._any_of(list(schema["choices"].values()))

    def _any_of(self, choices: list[Schema]) -> Form | None:
        forms = [self._compile(choice) for choice in choices]
        known = [form for form in forms if form is not None]
        types = frozenset[type]().union(*(form for form in known if isinstance(form, frozenset)))
        predicates = [form for form in known if not isinstance(form, frozenset)]
        if not predicates:
            return types or None
        return lambda value: type(value) in types or any(is_closed(value) for is_closed in predicates)

    def _chosen(self, choice: Choice) -> Form:
        """Values of a tagged union that are closed for the very member that writes them."""
        label_of = choice.label_of
        forms = {label: self._compile(schema) for label, schema in choice.schemas.items()}
        tests: dict[str | None, Predicate] = {
            label: _predicate(form) for label, form in forms.items() if form is not None
        }
        return lambda value: tests.get(label_of(value), never)(value)

    def _resolve(self, schema: Schema) -> Schema:
        while schema["type"] == "definition-ref":
            schema = self._definitions[schema["schema_ref"]]
        return schema

    def _reference(self, schema: Schema) -> Form | None:
        ref = schema["schema_ref"]
        if ref not in self._resolved:
            self._resolved[ref] = None  # while it is being compiled: what refers to itself is not closed
            self._resolved[ref] = self._compile(self._definitions[ref])
        return self._resolved[ref]

    def _secret(self, inner: Schema) -> Form | None:
        form = self._compile(inner)
        if form is None:
            return None
        is_closed = _predicate(form)
        return lambda value: type(value) is Secret and is_closed(value.reveal())

    def _model(self, schema: Schema) -> Form | None:
        cls, fields = schema["cls"], schema["schema"]
        if (
            schema.get("custom_init")
            or schema.get("root_model")
            or schema.get("post_init")
            or getattr(cls, "__private_attributes__", None)
            or not _is_neutral(schema, fields)
            or fields.get("type") != "model-fields"
        ):
            return None
        return self._record(cls, {name: field["schema"] for name, field in fields["fields"].items()})

    def _dataclass(self, schema: Schema) -> Form | None:
        cls, fields = schema["cls"], schema["schema"]
        if (
            schema.get("post_init")
            or not _is_neutral(schema, fields)
            or fields.get("type") != "dataclass-args"
            or any(not field.get("init", True) or field.get("init_only") for field in fields["fields"])
        ):
            return None
        schemas = {field["name"]: field["schema"] for field in fields["fields"]}
        return self._slots(cls, schemas) if schema.get("slots") else self._record(cls, schemas)

    def _record(self, cls: type, schemas: dict[str, Schema]) -> Form | None:
        """Instances whose ``__dict__`` holds the fields; names and classes once found good are remembered."""
        fields = self._fields(schemas)
        if fields is None:
            return None
        by_class = [(name, form) for name, form in fields.items() if isinstance(form, frozenset)]
        others = [(name, form) for name, form in fields.items() if not isinstance(form, frozenset)]
        names = fields.keys()
        shapes: set[tuple[Any, ...]] = set()

        def is_closed(value: Any) -> bool:
            if type(value) is not cls:
                return False
            held = value.__dict__
            shape = (*held, *map(type, held.values()))
            if shape not in shapes:
                if held.keys() != names or not all(type(held[name]) in classes for name, classes in by_class):
                    return False
                if len(shapes) < _MAX_SHAPES:
                    shapes.add(shape)
            return not others or all(test(held[name]) for name, test in others)

        return is_closed

    def _slots(self, cls: type, schemas: dict[str, Schema]) -> Form | None:
        fields = self._fields(schemas)
        if fields is None:
            return None
        tests = [(name, _predicate(form)) for name, form in fields.items()]
        return lambda value: type(value) is cls and all(test(getattr(value, name, None)) for name, test in tests)

    def _typed_dict(self, schema: Schema) -> Form | None:
        if schema.get("extras_schema") or not _is_neutral(schema, schema):
            return None
        fields = self._fields({name: field["schema"] for name, field in schema["fields"].items()})
        if fields is None:
            return None
        tests = {name: _predicate(form) for name, form in fields.items()}
        total = schema.get("total", True)
        required = {name for name, field in schema["fields"].items() if field.get("required", total)}

        def is_closed(value: Any) -> bool:
            return (
                type(value) is dict
                and required <= value.keys() <= tests.keys()
                and all(tests[name](item) for name, item in value.items())
            )

        return is_closed

    def _fields(self, schemas: dict[str, Schema]) -> dict[str, Form] | None:
        forms = {name: self._compile(schema) for name, schema in schemas.items()}
        closed = {name: form for name, form in forms.items() if form is not None}
        return closed if len(closed) == len(forms) else None


_COMPILERS: Final[dict[str, Callable[[_Compiler, Schema], Form | None]]] = {
    "any": lambda _compiler, _schema: is_plain,
    "datetime": _Compiler._datetime,
    "time": _Compiler._datetime,
    "function-before": _Compiler._before,
    "decimal": _Compiler._decimal,
    "enum": _Compiler._enum,
    "literal": _Compiler._literal,
    "list": _Compiler._items,
    "set": _Compiler._items,
    "frozenset": _Compiler._items,
    "tuple": _Compiler._tuple,
    "named-tuple": _Compiler._named_tuple,
    "call": _Compiler._call,
    "dict": _Compiler._dict,
    "nullable": _Compiler._nullable,
    "default": _Compiler._default,
    "union": _Compiler._union,
    "tagged-union": _Compiler._tagged_union,
    "definition-ref": _Compiler._reference,
    "model": _Compiler._model,
    "dataclass": _Compiler._dataclass,
    "typed-dict": _Compiler._typed_dict,
}


def _predicate(form: Form) -> Predicate:
    if not isinstance(form, frozenset):
        return form
    if len(form) == 1:
        (cls,) = form
        return lambda value: type(value) is cls
    return lambda value: type(value) in form


def _all(form: Form) -> Callable[[Any], bool]:
    """A test of all items at once; by exact class it runs at C speed."""
    if form is is_plain:
        return is_plain_items
    if isinstance(form, frozenset):
        return lambda items: form.issuperset(map(type, items))
    return lambda items: all(map(form, items))


def _is_neutral(schema: Schema, fields: Schema) -> bool:
    """Whether neither the configuration nor extra fields change what is read."""
    return (
        schema.get("config", {}).keys() <= _NEUTRAL_CONFIG
        and "allow" not in (schema.get("extra_behavior"), fields.get("extra_behavior"))
        and schema.get("config", {}).get("extra_fields_behavior") != "allow"
        and "serialization" not in fields
    )


def _objects(kinds: list[str]) -> int:
    return sum(kinds.count(kind) for kind in ("dict", "model", "dataclass"))


_NO_OFFSET: Final = (None, dt.UTC)
_FIXED: Final = (dt.timezone, TzInfo)


def _is_in_minutes(offset: dt.timedelta | None) -> bool:
    return offset is not None and not offset % dt.timedelta(minutes=1)


def _is_finite_decimal(value: Any) -> bool:
    return type(value) is decimal.Decimal and value.is_finite()
