"""Payloads as the kernel reads and writes them: envelopes around JSON, and the blobs that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Protocol

from durable.codec import Envelope, record_exception, value_codec
from durable.codec.arguments import ArgumentsCodec
from durable.codec.envelope import PREFIX
from durable.errors import EncodeError, HistoryCorruptedError, OperatorError
from durable.history import write_detail

SMALL: Final = 4096
"""Payloads of fewer characters need no look at whether they are stored apart."""

_PREFIXED: Final = len(PREFIX)


class Definition(Protocol):
    """A step or a workflow, as far as its arguments go."""

    name: str
    arguments: ArgumentsCodec


def write_arguments(kind: str, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Plaintext JSON of the arguments of a call.

    Raises:
        EncodeError: one cannot be recorded; it says of which ``kind`` of definition, of what name, and where in it.
    """
    try:
        return definition.arguments.encode(args, kwargs)
    except EncodeError as error:
        error.blame(f"the arguments of {kind} {definition.name!r}")
        raise


class Payloads:
    """The payloads of one run.

    Args:
        envelope: the payload codecs.
        stop: makes the run stuck where they cannot open what they should, or it is damaged: workflow code is not to blame.

    Attributes:
        envelope: the payload codecs.
        blobs: the stored bytes that the events and facts at hand refer to, by their SHA-256.
    """

    __slots__ = ("_plain_up_to", "_stop", "blobs", "envelope")

    def __init__(self, envelope: Envelope, stop: Callable[[Exception], NoReturn]) -> None:
        self.envelope = envelope
        self._stop = stop
        self.blobs: Mapping[str, bytes] = {}
        self._plain_up_to = envelope.plain_up_to

    def open(self, payload: str) -> str:
        """Plaintext JSON of an envelope."""
        if payload.startswith(PREFIX):
            return payload[_PREFIXED:-1]
        try:
            return self.envelope.open(payload, self.blobs)
        except (OperatorError, HistoryCorruptedError) as error:
            self._stop(error)

    def seal(self, plain: str, secret: bool = False) -> tuple[str, str | None]:
        """The envelope of plaintext JSON, and the detail with its digest where the envelope hides it (rule K6)."""
        if len(plain) <= self._plain_up_to and not secret:
            return f"{PREFIX}{plain}}}", None
        payload = self.envelope.seal(plain, secret=secret)
        digest = self.envelope.digest(plain)
        return payload, None if digest is None else write_detail(digest=digest)

    def seal_any(self, value: Any) -> str:
        """The envelope of a value of no declared type: JSON as it is, models by their own class."""
        codec = value_codec(type(value) if hasattr(type(value), "__pydantic_serializer__") else Any)
        return self.seal(codec.encode(value), codec.has_secrets)[0]

    def record(self, error: BaseException) -> str:
        """The sealed record of an exception."""
        return self.seal(record_exception(error))[0]

    def matches(self, plain: str, recorded: str, digest: str | None) -> bool:
        """Whether a recorded payload holds what this one holds."""
        text = self.open(plain)
        try:
            return self.envelope.matches(text, recorded, digest, self.blobs)
        except (OperatorError, HistoryCorruptedError) as error:
            self._stop(error)
