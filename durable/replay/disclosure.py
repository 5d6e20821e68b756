"""A recording without its payload codecs: everything in plain text, for whoever may read it and has no key.

The hash chain is made anew, because it covers the stored payloads. Arguments that hold a ``Secret`` can only be sealed by an
encrypting codec; where a disclosed recording is replayed, ``DISCLOSED`` stands in for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from durable.codec import Envelope
from durable.codec.envelope import PREFIX
from durable.history import Recorder, parse_detail, split_batches, write_detail
from durable.replay.recording import Recording


class Disclosed:
    """Takes the place of an encrypting codec while a disclosed recording is replayed. It hides nothing: what it seals stays in the
    memory of that replay."""

    name: Final = "disclosed"
    encrypts: Final = True

    def encode(self, data: bytes) -> bytes:
        """The bytes as they are, as a new object: it was applied."""
        return bytes(bytearray(data))

    def decode(self, data: bytes) -> bytes:
        """The bytes as they are."""
        return data


DISCLOSED: Final = Disclosed()


def disclose(recording: Recording, envelope: Envelope) -> Recording:
    """The recording in plain text.

    Args:
        envelope: the payload codecs of who wrote it.

    Raises:
        ConfigurationError: a codec or key is missing.
    """
    plain = Envelope()
    recorder = Recorder()
    events = []
    for batch in split_batches(recording.events):
        recorder.begin_batch(batch[0].at_us)
        for event in batch:
            payload, detail = event.payload, event.detail
            if payload is not None:
                payload = plain.set_apart(_open(payload, envelope, recording.blobs))
            if detail is not None and ('"messages"' in detail or '"compensations"' in detail):
                detail = write_detail(**_open_details(parse_detail(detail), envelope, recording.blobs))
            events.append(recorder.append(event.kind, event.actor, event.command, event.name, detail, payload))
    unread = [
        fact if fact.payload is None else fact._replace(payload=_open(fact.payload, envelope, recording.blobs))
        for fact in recording.unread
    ]
    return replace(recording, events=events, blobs=plain.take_blobs(), unread=unread, is_disclosed=True)


def _open(payload: str, envelope: Envelope, blobs: Mapping[str, bytes]) -> str:
    return f"{PREFIX}{envelope.open(payload, blobs)}}}"


def _open_details(fields: dict[str, Any], envelope: Envelope, blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """The detail of a start, which carries messages and compensations over from the run before."""
    messages = [
        [name, None if payload is None else _open(payload, envelope, blobs), *rest]
        for name, payload, *rest in fields.get("messages", ())
    ]
    compensations = [
        {**entry, "arguments": _open(entry["arguments"], envelope, blobs)} for entry in fields.get("compensations", ())
    ]
    return {
        **fields,
        **({"messages": messages} if messages else {}),
        **({"compensations": compensations} if compensations else {}),
    }
