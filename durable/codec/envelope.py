"""Envelopes: the form in which the plain JSON of one user value is stored (rule H2).

    {"v":1,"data":{"name":"main"}}                          as it is
    {"v":1,"codec":"zlib+aes-gcm","data":"3q2-7w..."}       base64 of what the named codecs made of it
    {"v":1,"blob":"9f86d0...","bytes":40960,"codec":"zlib"}  stored once, apart, under the hash of its bytes

The first form begins with a fixed prefix, so that opening it is slicing.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import from_json

from durable.codec.payload import PayloadCodec, ZlibCodec
from durable.errors import ConfigurationError, EncodeError, HistoryCorruptedError, StoreFormatError

BLOB_BYTES: Final = 32 * 1024
"""Payloads with more data are stored apart, unless a caller says otherwise."""

INLINE: Final = 1 << 62
"""A threshold that nothing exceeds: for payloads that are set apart only when they become history."""

PREFIX: Final = '{"v":1,"data":'

_NO_BLOBS: Final[Mapping[str, bytes]] = MappingProxyType({})

_ALWAYS_READABLE: Final[Mapping[str, PayloadCodec]] = {ZlibCodec.name: ZlibCodec()}
"""Codecs without a key: what they wrote can be read whatever is configured now."""


class Envelope:
    """Seals plain JSON texts into payloads for storing and opens them again.

    Args:
        codecs: applied in this order.
        blob_threshold_bytes: payloads with more bytes are stored apart, by content.

    Attributes:
        blobs: bytes by their SHA-256 that were sealed and are not yet stored.
        plain_up_to: of texts of so many characters, without secrets, the payload is the text itself within ``PREFIX`` and ``}``,
            and needs no digest.
    """

    def __init__(self, codecs: Sequence[PayloadCodec] = (), blob_threshold_bytes: int = BLOB_BYTES) -> None:
        self._codecs = tuple(codecs)
        self._by_name = {**_ALWAYS_READABLE, **{codec.name: codec for codec in codecs}}
        if len({codec.name for codec in codecs}) < len(self._codecs):
            raise ConfigurationError("expected every payload codec to have a name of its own")
        for codec in codecs:
            if not codec.name or not codec.name.replace("-", "").replace("_", "").isalnum():
                message = f"expected the name of a payload codec to be a word, got {codec.name!r}"
                raise ConfigurationError(message)
        self._blob_threshold_bytes = blob_threshold_bytes
        # no character needs more than four bytes: shorter texts need not be encoded to be measured
        self._surely_inline = blob_threshold_bytes // 4
        self._encrypting = next((codec for codec in self._codecs if codec.encrypts), None)
        self.blobs: dict[str, bytes] = {}
        self.plain_up_to = 0 if codecs else self._surely_inline

    @property
    def encrypts(self) -> bool:
        """Whether what is sealed is unreadable without a key."""
        return self._encrypting is not None

    def description(self) -> list[str]:
        """What these codecs can read, in words without secrets: the names of the codecs and the ids of their keys.

        With each id goes what the codec's ``digest`` makes of no data, as it could stand in any history: so two keys of one
        id are told apart, and no key is told.
        """
        found = []
        for codec in self._codecs:
            found.append(f"{codec.name} {type(codec).__module__}.{type(codec).__qualname__}")
            digest = getattr(codec, "digest", None)
            found += [f"key {key_id} {digest and digest(b'', key_id)}" for key_id in getattr(codec, "key_ids", ())]
        return found

    def seal(self, plain: str, *, secret: bool = False) -> str:
        """The payload of a plain JSON text; bytes to be stored apart are put into ``blobs``.

        Args:
            plain: what a value or arguments codec wrote.
            secret: whether there are ``Secret`` values in it.

        Raises:
            EncodeError: if there are secrets and no codec encrypts.
        """
        if secret and self._encrypting is None:
            raise EncodeError(
                "expected an encrypting payload codec, because the value holds a durable.Secret; "
                "configure codecs=[AesGcmCodec(key)]"
            )
        if not self._codecs and len(plain) <= self._surely_inline:
            return f"{PREFIX}{plain}}}"
        plain_bytes = data = plain.encode()
        applied = []
        for codec in self._codecs:
            encoded = codec.encode(data)
            if encoded is not data:
                applied.append(codec.name)
                data = encoded
        field = f',"codec":"{"+".join(applied)}"' if applied else ""
        if len(data) > self._blob_threshold_bytes:
            name = sha256(data).hexdigest()
            self.blobs[name] = data
            return f'{{"v":1,"blob":"{name}","bytes":{len(data)}{field}}}'
        if data is plain_bytes:
            return f"{PREFIX}{plain}}}"
        return f'{{"v":1{field},"data":"{b64encode(data).decode()}"}}'

    def set_apart(self, payload: str, threshold_bytes: int = BLOB_BYTES) -> str:
        """The payload as history keeps it: one with more data than the threshold leaves it in ``blobs``.

        Args:
            payload: one that holds its data itself, as it came from a caller or a step.
            threshold_bytes: of the stored data.
        """
        if len(payload) <= threshold_bytes // 4:
            return payload
        if payload.startswith(PREFIX):
            data, field = payload[len(PREFIX) : -1].encode(), ""
        else:
            fields = _parse(payload)
            if "data" not in fields:
                return payload
            data, field = self._stored_bytes(fields, _NO_BLOBS), f',"codec":"{fields["codec"]}"'
        if len(data) <= threshold_bytes:
            return payload
        name = sha256(data).hexdigest()
        self.blobs[name] = data
        return f'{{"v":1,"blob":"{name}","bytes":{len(data)}{field}}}'

    def take_blobs(self) -> dict[str, bytes]:
        """The bytes that were sealed since the last call, by their SHA-256, for the caller to store."""
        blobs, self.blobs = self.blobs, {}
        return blobs

    def hides(self, payload: str) -> bool:
        """Whether the payload is encrypted, or needs a codec that is not known here."""
        if payload.startswith(PREFIX):
            return False
        names = str(_parse(payload).get("codec", "")).split("+")
        known = [self._by_name.get(name) for name in names if name]
        return any(codec is None or codec.encrypts for codec in known)

    def open(self, payload: str, blobs: Mapping[str, bytes] = _NO_BLOBS) -> str:
        """The plain JSON text of a payload.

        Args:
            payload: what ``seal`` gave.
            blobs: the bytes of payloads that are stored apart, by their SHA-256.

        Raises:
            HistoryCorruptedError: if it is no payload, or its blob is missing or altered.
            StoreFormatError: if a newer version wrote it.
            ConfigurationError: if a codec or a key that it needs is not configured.
        """
        if payload.startswith(PREFIX):
            return payload[len(PREFIX) : -1]
        fields = _parse(payload)
        data = self._stored_bytes(fields, blobs)
        for name in reversed(str(fields["codec"]).split("+") if "codec" in fields else ()):
            codec = self._by_name.get(name)
            if codec is None:
                known = ", ".join(self._by_name) or "none"
                message = (
                    f"a payload needs the codec {name!r}, which is not configured (known: {known}): give the codecs of who "
                    "wrote it, as codecs=[...], on the command line as --codecs MODULE:NAME"
                )
                raise ConfigurationError(message)
            data = codec.decode(data)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            message = f"a payload is not UTF-8: {error}"
            raise HistoryCorruptedError(message) from error

    def _stored_bytes(self, fields: dict[str, Any], blobs: Mapping[str, bytes]) -> bytes:
        if "blob" in fields:
            name = str(fields["blob"])
            if name not in blobs and name not in self.blobs:
                message = f"the blob {name} of a payload is missing from the store"
                raise HistoryCorruptedError(message)
            data = blobs[name] if name in blobs else self.blobs[name]
            if sha256(data).hexdigest() != name:
                message = f"the blob {name} of a payload does not match its hash"
                raise HistoryCorruptedError(message)
            return data
        try:
            return b64decode(fields["data"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            message = f"a payload has no readable data: {error!r}"
            raise HistoryCorruptedError(message) from error

    def digest(self, plain: str) -> str | None:
        """What to record beside a payload, so that its plaintext can be compared later without opening it.

        Returns:
            None where the payload shows the plaintext, or an encrypting codec gives no digests; ``hmac:<key
            id>:<hex>`` under encryption; ``sha256:<hex>`` otherwise. ``matches`` understands all of them.
        """
        if self._encrypting is not None:
            keyed = getattr(self._encrypting, "digest", None)
            return f"hmac:{keyed(plain.encode())}" if keyed else None
        if not self._codecs and len(plain) <= self._surely_inline:
            return None
        if not self._codecs and len(plain.encode()) <= self._blob_threshold_bytes:
            return None
        return f"sha256:{input_digest(plain)}"

    def matches(self, plain: str, payload: str, digest: str | None, blobs: Mapping[str, bytes] = _NO_BLOBS) -> bool:
        """Whether a recorded payload holds this plaintext, whatever codecs and keys were configured then.

        Args:
            plain: the text of now.
            payload: the recorded payload.
            digest: what ``digest`` gave when it was recorded.
            blobs: bytes by hash, for payloads that must be opened.
        """
        if payload.startswith(PREFIX):
            return payload[len(PREFIX) : -1] == plain
        scheme, _, rest = (digest or "").partition(":")
        if scheme == "sha256":
            return rest == input_digest(plain)
        if scheme == "hmac":
            key_id = rest.rpartition(":")[0]
            for codec in self._codecs:
                keyed = getattr(codec, "digest", None)
                expected = keyed(plain.encode(), key_id) if keyed else None
                if expected is not None:
                    return hmac.compare_digest(expected, rest)
        return self.open(payload, blobs) == plain


def _parse(payload: str) -> dict[str, Any]:
    try:
        fields = from_json(payload)
    except ValueError as error:
        message = f"a payload is not JSON: {error}"
        raise HistoryCorruptedError(message) from error
    if not isinstance(fields, dict) or "v" not in fields:
        raise HistoryCorruptedError("a payload is not in an envelope")
    if fields["v"] != 1:
        message = f"expected version 1 of a payload's envelope, got {fields['v']!r}: use a newer durable"
        raise StoreFormatError(message)
    return fields


def input_digest(plain: str) -> str:
    """SHA-256 of a plain input, hexadecimal: whether a second start of an id asks for the same."""
    return sha256(plain.encode()).hexdigest()
