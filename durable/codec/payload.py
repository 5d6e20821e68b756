"""Payload codecs: what happens to the bytes of a payload before they are stored.

Codecs are applied in the order in which they are configured and undone in reverse; compress before you
encrypt. Each one that was applied is named in the envelope, so that what was written under an older
configuration stays readable.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Mapping
from os import urandom  # bound here: the guard of workflow code watches the name in ``os``
from typing import TYPE_CHECKING, Final, Protocol

from durable.errors import ConfigurationError, HistoryCorruptedError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class PayloadCodec(Protocol):
    """Turns the bytes of a payload into others for storing, and back.

    A codec whose keys can give a keyed digest of a plaintext may have a method ``digest(data: bytes) ->
    str`` as well; replay then compares inputs without decrypting them. One with keys that have names may have
    ``key_ids`` as well: runs that got stuck for want of a key go on where a worker has it.

    Attributes:
        name: short name in the envelope, without ``+``; never to be changed.
        encrypts: whether what it writes is unreadable without a key. ``Secret`` values need one codec that
        does.
    """

    @property
    def name(self) -> str: ...

    @property
    def encrypts(self) -> bool: ...

    def encode(self, data: bytes) -> bytes:
        """The bytes to store; ``data`` itself, the same object, if the codec does not apply to it."""
        ...

    def decode(self, data: bytes) -> bytes:
        """The bytes that ``encode`` was given."""
        ...


class ZlibCodec:
    """Compresses payloads that are worth it.

    Args:
        level: 1 (fast) to 9 (small).
        threshold_bytes: smaller payloads, and those that compression does not make smaller, stay as they are.
    """

    name: Final = "zlib"
    encrypts: Final = False

    def __init__(self, level: int = 6, threshold_bytes: int = 1024) -> None:
        if not 1 <= level <= 9:
            message = f"expected level to be from 1 to 9, got {level}"
            raise ConfigurationError(message)
        self._level = level
        self._threshold_bytes = threshold_bytes

    def encode(self, data: bytes) -> bytes:
        """Compressed bytes; ``data`` itself if that is no gain."""
        if len(data) < self._threshold_bytes:
            return data
        compressed = zlib.compress(data, self._level)
        return compressed if len(compressed) < len(data) else data

    def decode(self, data: bytes) -> bytes:
        """The bytes that were compressed.

        Raises:
            HistoryCorruptedError: if they are damaged.
        """
        try:
            return zlib.decompress(data)
        except zlib.error as error:
            message = f"a compressed payload is damaged: {error}"
            raise HistoryCorruptedError(message) from error


_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_MESSAGES_PER_SALT: Final = 1 << 30


class AesGcmCodec:
    """Encrypts and authenticates payloads with AES-GCM; needs ``durable[encryption]``.

    Random nonces are safe for some 2^32 messages of one key (NIST SP 800-38D), which a busy store writes in
    days. So each codec encrypts under a subkey that it derives from the key and a random salt, and takes a
    new salt after 2^30 messages; the salt travels with the message (the idea of XAES-256-GCM,
    https://c2sp.org/XAES-256-GCM).

    Layout: length of key id, key id, salt, nonce, ciphertext with tag; all before the nonce is authenticated.

    Args:
        key: 16, 24 or 32 random bytes.
        key_id: name of the key, stored with every payload.
        previous_keys: older keys by id, for reading what they encrypted.
    """

    name: Final = "aes-gcm"
    encrypts: Final = True

    def __init__(self, key: bytes, key_id: str = "default", previous_keys: Mapping[str, bytes] | None = None) -> None:
        self._keys = {**(previous_keys or {}), key_id: key}
        for name, one in self._keys.items():
            if len(one) not in (16, 24, 32):
                message = f"expected key {name!r} to have 16, 24 or 32 bytes, got {len(one)}"
                raise ConfigurationError(message)
            if not 0 < len(name.encode()) < 256:
                message = f"expected the id of a key to have 1 to 255 bytes, got {name!r}"
                raise ConfigurationError(message)
        self._key_id = key_id
        self._ciphers: dict[bytes, AESGCM] = {}
        self._digest_keys = {name: _derive(one, b"digest") for name, one in self._keys.items()}
        self._new_salt()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that it can read, in order."""
        return tuple(sorted(self._keys))

    def _new_salt(self) -> None:
        name = self._key_id.encode()
        header = bytes([len(name)]) + name + urandom(_SALT_BYTES)
        self._current = header, self._cipher_of(header)  # one object, so that threads never see half a change
        self._left = _MESSAGES_PER_SALT

    def encode(self, data: bytes) -> bytes:
        """Header, nonce and ciphertext."""
        if self._left == 0:
            self._new_salt()
        self._left -= 1
        header, cipher = self._current
        nonce = urandom(_NONCE_BYTES)
        return header + nonce + cipher.encrypt(nonce, data, header)

    def decode(self, data: bytes) -> bytes:
        """The plaintext.

        Raises:
            ConfigurationError: if its key is not configured, or is another one than it was.
        """
        from cryptography.exceptions import InvalidTag

        split = 1 + data[0] + _SALT_BYTES if data else 0
        header, nonce, ciphertext = (
            data[:split],
            data[split : split + _NONCE_BYTES],
            data[split + _NONCE_BYTES :],
        )
        if len(nonce) < _NONCE_BYTES:
            raise HistoryCorruptedError("an encrypted payload is cut short")
        try:
            return self._cipher_of(header).decrypt(nonce, ciphertext, header)
        except InvalidTag as error:
            message = (
                f"a payload cannot be decrypted with key {_key_id(header)!r}: the key is not the one that "
                "encrypted it, or the payload was altered; give the codecs of who wrote it, as codecs=[...], on the "
                "command line as --codecs MODULE:NAME"
            )
            raise ConfigurationError(message) from error

    def digest(self, data: bytes, key_id: str | None = None) -> str | None:
        """A keyed digest (HMAC-SHA256) of a plaintext, begun with the id of its key; None for no such key."""
        name = self._key_id if key_id is None else key_id
        key = self._digest_keys.get(name)
        return None if key is None else f"{name}:" + hmac.digest(key, data, "sha256").hex()

    def _cipher_of(self, header: bytes) -> AESGCM:
        cipher = self._ciphers.get(header)
        if cipher is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError as error:
                message = "encryption needs the package cryptography: pip install 'durable[encryption]'"
                raise MissingExtraError(message) from error
            name = _key_id(header)
            if name not in self._keys:
                message = (
                    f"a payload was encrypted with key {name!r}, which is not configured; "
                    "give it to AesGcmCodec in previous_keys, and the codec to the worker as codecs=[...], on the command "
                    "line as --codecs MODULE:NAME"
                )
                raise ConfigurationError(message)
            if len(self._ciphers) >= 256:
                self._ciphers.clear()
            cipher = self._ciphers[header] = AESGCM(_derive(self._keys[name], header))
        return cipher


def _key_id(header: bytes) -> str:
    return header[1 : 1 + header[0]].decode(errors="replace")


def _derive(key: bytes, purpose: bytes) -> bytes:
    """A key of the same strength for one purpose: HMAC as a pseudorandom function."""
    return hmac.digest(key, b"durable aes-gcm\0" + purpose, "sha256")[: len(key)]
