"""Values to stored payloads and back.

    value ── ValueCodec, ArgumentsCodec ──> plain JSON text ── Envelope ──> payload (and blobs)
    exception ── record_exception ──> plain JSON text

``value`` and ``arguments`` are the entrance; ``lossless``, ``union``, ``closed`` and ``difference`` are how
values are made to come back equal; ``problem`` holds the words of errors.
"""

from durable.codec.arguments import ArgumentsCodec, result_codec
from durable.codec.envelope import INLINE, Envelope, input_digest
from durable.codec.failure import rebuild_exception, record_exception, summarize_exception
from durable.codec.payload import AesGcmCodec, PayloadCodec, ZlibCodec
from durable.codec.secret import Secret
from durable.codec.value import ValueCodec, value_codec

__all__ = [
    "INLINE",
    "AesGcmCodec",
    "ArgumentsCodec",
    "Envelope",
    "PayloadCodec",
    "Secret",
    "ValueCodec",
    "ZlibCodec",
    "input_digest",
    "rebuild_exception",
    "record_exception",
    "result_codec",
    "summarize_exception",
    "value_codec",
]
