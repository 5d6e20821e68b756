"""Values of one annotation to canonical JSON text and back (rule H2).

The text is what histories hold and what replay compares: the same value always gives the same text. Fields
go by name, sets are sorted, bytes are base64, infinity and NaN are constants. What would not come back
equal and of its class is refused when it is written, with its path, and not found out on replay.

Three layers: primitives are written here by hand; values that are *closed* (``durable.codec.closed``) go
straight through pydantic's serializer; all others are read back and compared before they are let through.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, lru_cache
from json.encoder import encode_basestring
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import (
    PydanticSerializationError,
    SchemaSerializer,
    SchemaValidator,
    ValidationError,
    from_json,
)

from durable.codec.closed import Predicate, compile_closed
from durable.codec.difference import difference
from durable.codec.lossless import CONFIG, lossless
from durable.codec.problem import Path, Subject, decode_error, describe, dotted, named
from durable.codec.refusal import changed, unwritable
from durable.errors import DecodeError, DefinitionError, EncodeError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Machine(NamedTuple):
    """What an annotation is compiled to."""

    adapter: TypeAdapter[Any]
    to_json: Callable[..., bytes]
    validate_json: Callable[[str | bytes], Any]
    is_closed: Predicate
    has_secrets: bool


class ValueCodec:
    """Writes values of one annotation as canonical JSON text and reads them back.

    Made by ``value_codec``. Nothing is compiled before the first use, so that importing a module of
    definitions is cheap; ``prepare`` compiles at once.

    Attributes:
        annotation: the type of the values.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    def __repr__(self) -> str:
        return f"<codec of {_type_name(self.annotation)}>"

    @cached_property
    def machine(self) -> Machine:
        """What the annotation is compiled to; for this package."""
        return _compile(self.annotation)

    def prepare(self) -> None:
        """Compile now.

        Raises:
            DefinitionError: if values of the annotation cannot be carried as JSON.
        """
        _ = self.machine

    @cached_property
    def has_secrets(self) -> bool:
        """Whether the annotation holds a ``Secret``, so that values must be stored encrypted."""
        return self.machine.has_secrets

    def encode(self, value: Any) -> str:
        """Write a value as canonical JSON text.

        Raises:
            EncodeError: if it would not come back equal and of its class; ``path`` says which part.
        """
        machine = self.machine
        if machine.is_closed(value):
            try:
                text = machine.to_json(value, warnings=False)
                if len(text) > _LONGEST_INT:  # there is room for an integer that the parser refuses
                    machine.validate_json(text)
                return text.decode()
            except (PydanticSerializationError, ValidationError):
                pass  # that, or a lone surrogate: found again and explained below
        return self.encode_at((), value)

    def encode_at(self, root: Path, value: Any) -> str:
        """``encode`` with proof: write, read back and compare, with ``root`` before every path."""
        machine = self.machine
        try:
            text = machine.to_json(value, warnings=False)  # whether it fits is seen when it is read back
        except Exception as error:  # noqa: BLE001 - serializers of the user raise what they like
            raise unwritable(value, root, error, has_secrets=machine.has_secrets) from _shown(error, machine)
        try:
            received = machine.validate_json(text)
        except ValidationError as error:
            path, words = describe(error, text, Subject(root, hide=machine.has_secrets))[0]
            raise EncodeError(words, path=dotted(path)) from _shown(error, machine)
        except Exception as error:  # noqa: BLE001 - so do validators
            message = f"expected {named(root)} to be readable, got {type(error).__name__}: {error}"
            raise EncodeError(message, path=dotted(root)) from _shown(error, machine)
        found = difference(value, received)
        if found is not None:
            raise changed(found, root)
        return text.decode()

    def decode(self, text: str | bytes) -> Any:
        """Read a value from JSON text.

        Raises:
            DecodeError: if the text does not fit the annotation; ``path`` says which part.
        """
        try:
            return self.machine.validate_json(text)
        except ValidationError as error:
            raise decode_error(error, text, Subject(hide=self.has_secrets)) from _shown(error, self.machine)
        except Exception as error:  # noqa: BLE001 - validators of the user raise what they like
            message = f"expected the value to be valid, got {type(error).__name__}: {error}"
            raise DecodeError(message) from _shown(error, self.machine)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the values, with fields by name and without tags, which callers need not send.

        Raises:
            DefinitionError: if the annotation has none.
        """
        from pydantic.errors import PydanticInvalidForJsonSchema

        try:
            return self.machine.adapter.json_schema(by_alias=False)
        except PydanticInvalidForJsonSchema as error:
            message = f"expected {_type_name(self.annotation)} to have a JSON Schema: {error.message}"
            raise DefinitionError(message) from error


class _PrimitiveCodec(ValueCodec):
    has_secrets = False


class _StrCodec(_PrimitiveCodec):
    def encode(self, value: Any) -> str:
        # only ASCII takes the short way: other text may hold lone surrogates, which JSON has no bytes for
        if type(value) is str and value.isascii():
            return encode_basestring(value)
        return super().encode(value)


class _IntCodec(_PrimitiveCodec):
    def encode(self, value: Any) -> str:
        if type(value) is int and -_BIG < value < _BIG:
            return str(value)
        return super().encode(value)


_LONGEST_INT: Final = 4300
"""So many digits are read by the parser, and by Python."""

_BIG: Final = 1 << 63
"""Larger integers have limits of their own in Python and in the parser."""


class _BoolCodec(_PrimitiveCodec):
    def encode(self, value: Any) -> str:
        if value is True:
            return "true"
        return "false" if value is False else super().encode(value)


class _NoneCodec(_PrimitiveCodec):
    def encode(self, value: Any) -> str:
        return "null" if value is None else super().encode(value)


class _AnyCodec(_PrimitiveCodec):
    def decode(self, text: str | bytes) -> Any:
        try:
            return from_json(text)
        except ValueError:
            return super().decode(text)


_PRIMITIVES: Final[dict[Any, type[ValueCodec]]] = {
    str: _StrCodec,
    int: _IntCodec,
    bool: _BoolCodec,
    NoneType: _NoneCodec,
    None: _NoneCodec,
    Any: _AnyCodec,
}


def value_codec(annotation: Any) -> ValueCodec:
    """The codec of values of an annotation.

    Args:
        annotation: any type that pydantic knows; ``Any`` (or ``inspect.Parameter.empty``) stands for plain
        JSON.
    """
    try:
        return _cached_codec(annotation)
    except TypeError:  # unhashable metadata in an Annotated
        return ValueCodec(annotation)


@lru_cache(maxsize=4096)
def _cached_codec(annotation: Any) -> ValueCodec:
    if annotation is inspect.Parameter.empty:
        annotation = Any
    return _PRIMITIVES.get(annotation, ValueCodec)(annotation)


def _compile(annotation: Any) -> Machine:
    from pydantic import TypeAdapter

    try:
        adapter = TypeAdapter(annotation)
        schema, has_secrets = lossless(dict(adapter.core_schema))
        # nested models would otherwise bring their prebuilt validators, with aliases, exclusions and all
        serializer = SchemaSerializer(schema, CONFIG, _use_prebuilt=False)
        validator = SchemaValidator(schema, CONFIG, _use_prebuilt=False)
    except DefinitionError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0].partition(". Set ")[0]
        message = f"expected {_type_name(annotation)} to be a type that pydantic can carry as JSON: {reason}"
        raise DefinitionError(message) from error
    return Machine(adapter, serializer.to_json, validator.validate_json, compile_closed(schema), has_secrets)


def _type_name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _shown(error: Exception, machine: Machine) -> Exception | None:
    """The cause that may be shown: pydantic's errors quote the input."""
    return None if machine.has_secrets else error
