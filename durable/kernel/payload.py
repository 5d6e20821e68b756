"""Payloads as the kernel reads and writes them: envelopes around JSON, and the blobs that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from durable.codec import Envelope, record_exception, value_codec
from durable.codec.envelope import PREFIX
from durable.history import write_detail

SMALL: Final = 4096
"""Payloads of fewer characters need no look at whether they are stored apart."""

_PREFIXED: Final = len(PREFIX)


class Payloads:
    """The payloads of one run.

    Attributes:
        envelope: the payload codecs.
        blobs: the stored bytes that the events and facts at hand refer to, by their SHA-256.
    """

    __slots__ = ("_plain_up_to", "blobs", "envelope")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.blobs: Mapping[str, bytes] = {}
        self._plain_up_to = envelope.plain_up_to

    def open(self, payload: str) -> str:
        """Plaintext JSON of an envelope."""
        if payload.startswith(PREFIX):
            return payload[_PREFIXED:-1]
        return self.envelope.open(payload, self.blobs)

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
        return self.envelope.matches(self.open(plain), recorded, digest, self.blobs)
