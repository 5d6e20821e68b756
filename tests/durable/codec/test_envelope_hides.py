"""Which payloads must not be shown to people."""

from __future__ import annotations

from durable.codec import AesGcmCodec, Envelope, ZlibCodec

LONG = '"' + "a" * 4000 + '"'


def test_encrypted_payloads_hide_their_value_and_others_do_not() -> None:
    secret = Envelope([ZlibCodec(), AesGcmCodec(bytes(32))])
    assert secret.hides(secret.seal(LONG))
    assert not Envelope().hides(Envelope().seal(LONG))
    assert not Envelope().hides(Envelope([ZlibCodec()]).seal(LONG))


def test_payload_of_an_unknown_codec_is_hidden() -> None:
    assert Envelope().hides(Envelope([AesGcmCodec(bytes(32))]).seal("1"))


def test_payload_that_is_stored_apart_is_hidden_only_if_it_is_encrypted() -> None:
    assert not Envelope().hides(Envelope(blob_threshold_bytes=10).seal(LONG))
    assert Envelope().hides(Envelope([AesGcmCodec(bytes(32))], blob_threshold_bytes=10).seal(LONG))
