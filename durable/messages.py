"""Messages to running workflows: signals, queries and updates, typed the same on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from durable.codec import Envelope, ValueCodec, value_codec
from durable.errors import DefinitionError, EncodeError, MessageRejectedError
from durable.kernel.line import asked_at
from durable.text import check_name

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
R = TypeVar("R")


class Message(Generic[T]):
    """What signals, queries and updates share: a name and the type of the value that is sent.

    Attributes:
        name: how sender and workflow call it.
        type: annotation of the value; ``None`` when nothing is sent.
    """

    __slots__ = ("codec", "name", "type")

    kind = "message"

    def __init__(self, name: str, type: Any = None) -> None:  # noqa: A002 - the field's word for it
        self.name = check_name(name, f"the name of a {self.kind}")
        self.type = type
        self.codec: ValueCodec = value_codec(type)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and (self.kind, self.name, self.type) == (other.kind, other.name, other.type)

    def __hash__(self) -> int:
        return hash((self.kind, self.name))


class Signal(Message[T]):
    """A message that is delivered once and answered by nothing: ``pause = Signal("pause", bool)``."""

    __slots__ = ()
    kind = "signal"

    @overload
    def __init__(self: Signal[None], name: str) -> None: ...
    @overload
    def __init__(self, name: str, type: TypeForm[T]) -> None: ...

    def __init__(self, name: str, type: Any = None) -> None:  # noqa: A002
        super().__init__(name, type)


class Query(Message[Any], Generic[R]):
    """A question that a workflow answers without changing: ``progress = Query("progress", Progress)``.

    Args:
        name: how both sides call it.
        returns: type of the answer.
        takes: type of the value that is sent with it, if any.
    """

    __slots__ = ("result", "returns")
    kind = "query"

    @overload
    def __init__(self: Query[Any], name: str) -> None: ...
    @overload
    def __init__(self, name: str, returns: TypeForm[R], *, takes: Any = ...) -> None: ...

    def __init__(self, name: str, returns: Any = Any, *, takes: Any = None) -> None:
        super().__init__(name, takes)
        self.returns = returns
        self.result: ValueCodec = value_codec(returns)


class Update(Message[T], Generic[T, R]):
    """A message that changes the run and is answered: ``add_item = Update("add_item", Item, returns=int)``."""

    __slots__ = ("result", "returns")
    kind = "update"

    @overload
    def __init__(self: Update[None, None], name: str) -> None: ...
    @overload
    def __init__(self: Update[T, None], name: str, type: TypeForm[T]) -> None: ...
    @overload
    def __init__(self: Update[None, R], name: str, *, returns: TypeForm[R]) -> None: ...
    @overload
    def __init__(self, name: str, type: TypeForm[T], *, returns: TypeForm[R]) -> None: ...

    def __init__(self, name: str, type: Any = None, *, returns: Any = None) -> None:  # noqa: A002
        super().__init__(name, type)
        self.returns = returns
        self.result: ValueCodec = value_codec(returns)


def check_signal(message: object) -> None:
    """Refuse what is no signal, such as the name of one.

    Raises:
        DefinitionError: with what to write.
    """
    if not isinstance(message, Signal):
        name = message if isinstance(message, str) else "..."
        raise DefinitionError(
            f"expected a Signal, got {message!r}{asked_at()}; declare it once, as in: go = Signal({name!r}, bool)"
        )


AnyMessage = Signal[Any] | Query[Any] | Update[Any, Any]


def encode_message(message: Message[Any] | str, value: Any, envelope: Envelope) -> tuple[str, str]:
    """Name and sealed value of a message; a message known by name only takes any JSON-compatible value.

    Raises:
        MessageRejectedError: the value does not fit.
    """
    if isinstance(message, str):
        return message, envelope.seal(value_codec(Any).encode(value))
    try:
        plain = message.codec.encode(value)
    except EncodeError as error:
        raise MessageRejectedError(
            f"{message.kind} {message.name!r} does not fit its schema: {error.message}", path=error.path
        ) from error
    return message.name, envelope.seal(plain, secret=message.codec.has_secrets)
