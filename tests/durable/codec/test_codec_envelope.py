"""Payloads open to what was sealed, whatever codecs and keys came and went since (rules H2, K6)."""

import json
import sys
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from durable.codec import INLINE, AesGcmCodec, Envelope, ZlibCodec, input_digest
from durable.codec import payload as payload_module
from durable.errors import (
    ConfigurationError,
    HistoryCorruptedError,
    MissingExtraError,
    OperatorError,
    StoreFormatError,
)

KEY, OTHER_KEY = bytes(32), bytes(range(32))
LONG = json.dumps({"text": "x" * 5000})


class Rot:
    """An encrypting codec of somebody else, without digests."""

    name = "rot"
    encrypts = True

    def encode(self, data: bytes) -> bytes:
        return bytes(byte ^ 1 for byte in data)

    decode = encode


def test_plain_payload_is_readable_and_opened_by_slicing() -> None:
    envelope = Envelope()
    payload = envelope.seal('{"a":[1,2]}')
    assert payload == '{"v":1,"data":{"a":[1,2]}}'
    assert json.loads(payload)["data"] == {"a": [1, 2]}
    assert envelope.open(payload) == '{"a":[1,2]}'
    assert envelope.digest('{"a":[1,2]}') is None
    assert envelope.take_blobs() == {}


def test_compressed_payload_names_its_codec() -> None:
    envelope = Envelope([ZlibCodec(threshold_bytes=100)])
    fields = json.loads(envelope.seal(LONG))
    assert fields.keys() == {"v", "codec", "data"}
    assert fields["codec"] == "zlib"
    assert envelope.open(json.dumps(fields)) == LONG


def test_payload_that_is_not_worth_compressing_stays_plain() -> None:
    assert Envelope([ZlibCodec()]).seal("[1]") == '{"v":1,"data":[1]}'
    assert Envelope([ZlibCodec(threshold_bytes=0)]).seal("[1]") == '{"v":1,"data":[1]}'


def test_codecs_are_undone_in_reverse() -> None:
    envelope = Envelope([ZlibCodec(threshold_bytes=100), AesGcmCodec(KEY)])
    payload = envelope.seal(LONG)
    assert json.loads(payload)["codec"] == "zlib+aes-gcm"
    assert len(payload) < 300
    assert envelope.open(payload) == LONG
    assert json.loads(envelope.seal("[1]"))["codec"] == "aes-gcm"


@pytest.mark.parametrize("codecs", [[], [AesGcmCodec(KEY)]])
def test_payload_above_the_threshold_is_stored_apart(codecs: Any) -> None:
    envelope = Envelope(codecs, blob_threshold_bytes=1000)
    payload = envelope.seal(LONG)
    fields = json.loads(payload)
    assert envelope.open(payload) == LONG  # still at hand before it is stored
    blobs = envelope.take_blobs()
    assert envelope.take_blobs() == {}
    assert [sha256(data).hexdigest() for data in blobs.values()] == [fields["blob"]] == list(blobs)
    assert fields["bytes"] == len(blobs[fields["blob"]])
    assert envelope.open(payload, blobs) == LONG


def test_threshold_counts_bytes_not_characters() -> None:
    envelope = Envelope(blob_threshold_bytes=8)
    assert '"data"' in envelope.seal('"12345"')
    assert '"data"' in envelope.seal('"123456"')
    assert '"blob"' in envelope.seal('"ääää"')
    assert envelope.digest('"123456"') is None
    assert envelope.digest('"ääää"') == "sha256:" + input_digest('"ääää"')


def test_equal_payloads_are_stored_once() -> None:
    envelope = Envelope(blob_threshold_bytes=10)
    assert envelope.seal(LONG) == envelope.seal(LONG)
    assert len(envelope.take_blobs()) == 1


@pytest.mark.parametrize("codecs", [[], [ZlibCodec(threshold_bytes=10)], [AesGcmCodec(KEY)]])
def test_payload_of_a_caller_is_set_apart_when_it_becomes_history(codecs: Any) -> None:
    plain = json.dumps({"text": "".join(map(chr, range(0x100, 0x1000)))}, ensure_ascii=False)
    payload = Envelope(codecs, blob_threshold_bytes=INLINE).seal(plain)
    envelope = Envelope(codecs)
    kept = envelope.set_apart(payload, 1000)
    assert kept == envelope.set_apart(kept, 10)
    assert '"blob"' in kept
    assert envelope.open(kept, envelope.take_blobs()) == plain
    assert envelope.set_apart(payload, 40_000) == payload
    assert envelope.set_apart(payload, 1 << 20) == payload


def test_only_what_needs_a_key_or_an_unknown_codec_is_hidden() -> None:
    reader = Envelope([ZlibCodec(), AesGcmCodec(KEY)])
    assert not reader.hides(Envelope().seal(LONG))
    assert not reader.hides(Envelope([ZlibCodec()]).seal(LONG))
    assert not reader.hides(Envelope(blob_threshold_bytes=10).seal(LONG))
    assert reader.hides(Envelope([ZlibCodec(), AesGcmCodec(KEY)]).seal(LONG))
    assert Envelope().hides(Envelope([Rot()]).seal(LONG))


def test_missing_or_altered_blob_is_corruption() -> None:
    envelope = Envelope(blob_threshold_bytes=10)
    payload = envelope.seal(LONG)
    (name,) = envelope.take_blobs()
    with pytest.raises(HistoryCorruptedError, match=f"the blob {name} of a payload is missing"):
        envelope.open(payload)
    with pytest.raises(HistoryCorruptedError, match="does not match its hash"):
        envelope.open(payload, {name: b"other"})


@pytest.mark.parametrize(
    ("payload", "error", "words"),
    [
        ("nonsense", HistoryCorruptedError, "not JSON"),
        ("[1]", HistoryCorruptedError, "not in an envelope"),
        ("{}", HistoryCorruptedError, "not in an envelope"),
        ('{"v":2,"data":1}', StoreFormatError, "version 1"),
        ('{"v":1,"codec":"zlib"}', HistoryCorruptedError, "no readable data"),
        ('{"v":1,"codec":"zlib","data":"%"}', HistoryCorruptedError, "no readable data"),
        ('{"v":1,"codec":"zlib","data":"AAAA"}', HistoryCorruptedError, "compressed payload is damaged"),
        ('{"v":1,"codec":"lz4","data":"AAAA"}', ConfigurationError, "needs the codec 'lz4'"),
        ('{"v":1,"codec":"aes-gcm","data":"AAAA"}', HistoryCorruptedError, "cut short"),
        ('{"v":1,"codec":"aes-gcm","data":""}', HistoryCorruptedError, "cut short"),
        ('{"v":1,"codec":"rot","data":"/v4="}', HistoryCorruptedError, "not UTF-8"),
    ],
)
def test_payload_that_cannot_be_opened_says_why(payload: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Envelope([AesGcmCodec(KEY), Rot()]).open(payload)


def test_what_was_compressed_is_read_without_the_codec() -> None:
    assert Envelope().open(Envelope([ZlibCodec()]).seal(LONG)) == LONG


def test_rotated_key_still_reads_old_payloads() -> None:
    old = Envelope([AesGcmCodec(KEY, "2023")])
    new = Envelope([AesGcmCodec(OTHER_KEY, "2024", {"2023": KEY})])
    payload = old.seal("[1]")
    assert new.open(payload) == "[1]"
    with pytest.raises(OperatorError, match="encrypted with key '2024', which is not configured"):
        old.open(new.seal("[1]"))


def test_wrong_key_or_altered_payload_is_refused() -> None:
    payload = Envelope([AesGcmCodec(KEY)]).seal("[1]")
    with pytest.raises(ConfigurationError, match="cannot be decrypted with key 'default'"):
        Envelope([AesGcmCodec(OTHER_KEY)]).open(payload)
    codec = AesGcmCodec(KEY)
    sealed = bytearray(codec.encode(b"[1]"))
    sealed[10] ^= 1  # in the salt, which is authenticated by the key that it derives
    with pytest.raises(ConfigurationError, match="cannot be decrypted"):
        codec.decode(bytes(sealed))


def test_equal_plaintexts_are_encrypted_differently() -> None:
    codec = AesGcmCodec(KEY)
    assert codec.encode(b"[1]") != codec.encode(b"[1]")


def test_salt_changes_before_nonces_of_one_key_could_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_module, "_MESSAGES_PER_SALT", 3)
    codec = AesGcmCodec(KEY)
    sealed = [codec.encode(b"[1]") for _ in range(7)]
    salt = slice(8, 24)  # after the length of the key id and "default"
    assert len({one[salt] for one in sealed}) == 3
    assert {codec.decode(one) for one in sealed} == {b"[1]"}


def test_subkeys_that_are_kept_are_bounded() -> None:
    reader = AesGcmCodec(KEY)
    for _ in range(300):
        assert reader.decode(AesGcmCodec(KEY).encode(b"[1]")) == b"[1]"
    assert len(reader._ciphers) <= 256


@pytest.mark.parametrize(
    "make",
    [
        lambda: AesGcmCodec(b"short"),
        lambda: AesGcmCodec(KEY, previous_keys={"old": b"short"}),
        lambda: AesGcmCodec(KEY, key_id=""),
        lambda: AesGcmCodec(KEY, key_id="x" * 256),
        lambda: ZlibCodec(level=0),
        lambda: Envelope([ZlibCodec(), ZlibCodec()]),
        lambda: Envelope([type("Odd", (Rot,), {"name": "a+b"})()]),
        lambda: Envelope([type("Nameless", (Rot,), {"name": ""})()]),
    ],
)
def test_wrong_configuration_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected "):
        make()


def test_missing_cryptography_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(MissingExtraError, match=r"durable\[encryption\]"):
        AesGcmCodec(KEY)


def test_digest_under_encryption_is_keyed() -> None:
    digest = Envelope([AesGcmCodec(KEY)]).digest("[1]")
    assert digest is not None
    assert digest.startswith("hmac:default:")
    assert input_digest("[1]") not in digest
    assert digest == Envelope([AesGcmCodec(KEY)]).digest("[1]")
    assert digest != Envelope([AesGcmCodec(OTHER_KEY)]).digest("[1]")
    assert digest != Envelope([AesGcmCodec(KEY)]).digest("[2]")


@pytest.mark.parametrize("now", [[], [ZlibCodec(threshold_bytes=0)], [AesGcmCodec(KEY)]])
@pytest.mark.parametrize("then", [[], [ZlibCodec(threshold_bytes=0)]])
def test_recorded_plaintext_is_compared_whatever_is_configured_now(now: Any, then: Any) -> None:
    before = Envelope(then)
    for plain in ("[1]", LONG):
        payload, digest = before.seal(plain), before.digest(plain)
        assert Envelope(now).matches(plain, payload, digest)
        assert not Envelope(now).matches("[2]", payload, digest)


def test_recorded_plaintext_is_compared_after_a_rotation_of_keys() -> None:
    before = Envelope([AesGcmCodec(KEY, "old")])
    after = Envelope([AesGcmCodec(OTHER_KEY, "new", {"old": KEY})])
    payload, digest = before.seal("[1]"), before.digest("[1]")
    assert after.matches("[1]", payload, digest)
    assert not after.matches("[2]", payload, digest)


def test_recorded_plaintext_of_an_unknown_key_cannot_be_compared() -> None:
    before = Envelope([AesGcmCodec(KEY, "old")])
    with pytest.raises(ConfigurationError, match="encrypted with key 'old'"):
        Envelope([AesGcmCodec(OTHER_KEY, "new")]).matches("[1]", before.seal("[1]"), before.digest("[1]"))


def test_recorded_plaintext_without_a_digest_is_compared_by_opening() -> None:
    envelope = Envelope([Rot()])
    payload = envelope.seal("[1]")
    assert envelope.digest("[1]") is None
    assert envelope.matches("[1]", payload, None)
    assert not envelope.matches("[2]", payload, None)


def test_codec_of_somebody_else_is_applied() -> None:
    envelope = Envelope([Rot()])
    assert envelope.encrypts
    assert not Envelope([ZlibCodec()]).encrypts
    assert envelope.seal("[1]") == '{"v":1,"codec":"rot","data":"' + b64encode(b"Z0\\").decode() + '"}'
    assert envelope.open(envelope.seal("[1]")) == "[1]"


def test_input_digest_is_sha_256() -> None:
    assert input_digest("[1]") == sha256(b"[1]").hexdigest()
