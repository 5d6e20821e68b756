"""``Secret[T]``: a value that is kept only encrypted and is masked wherever it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

MASK: Final = "***"

SECRET_MARK: Final = "durable.secret"  # noqa: S105 - a key, not a secret
"""Metadata key by which the codec recognises a secret within a pydantic schema."""


class Secret(Generic[T]):
    """A value that must not be shown: ``def charge(card: Secret[str])``.

    It is stored only by an encrypting payload codec (``AesGcmCodec``); without one the call that would
    record it is refused. Its ``repr`` and ``str`` are masked, and so is what pydantic writes for it outside
    of this project. Take care of what is made of it: a revealed value in a log, an exception or a result is
    no longer a secret.

    Args:
        value: the value to keep.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept a secret or its plain value; write stars. The codec replaces the stars by the value."""
        from pydantic_core import core_schema

        arguments = getattr(source, "__args__", ())
        inner = handler.generate_schema(arguments[0]) if arguments else core_schema.any_schema()
        wrapped = core_schema.no_info_after_validator_function(cls, inner)
        return core_schema.json_or_python_schema(
            json_schema=wrapped,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), wrapped]),
            serialization=core_schema.plain_serializer_function_ser_schema(_mask),
            metadata={SECRET_MARK: True},
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of the plain value; forms must not show it again."""
        return {**handler(schema), "writeOnly": True}


def _mask(_secret: Any) -> str:
    return MASK
