"""A recording: one run as data, wherever it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from durable.history import Event, Fact
from durable.info import RunIdentity


@dataclass(frozen=True, slots=True)
class Recording:
    """One run as far as replay needs it.

    Attributes:
        identity: the names of the run.
        events: its history, from the first event.
        blobs: the payloads that are stored apart, by their SHA-256.
        unread: facts that wait to be applied: the start of a run without events, messages, results.
        is_disclosed: its payloads were decrypted; what replay seals is compared as plain text and leaves no trace.
    """

    identity: RunIdentity
    events: Sequence[Event]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    unread: Sequence[Fact] = ()
    is_disclosed: bool = False
