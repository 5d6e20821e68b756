"""History: what happened to a run, in the past tense, its wire form and its hash chain.

A history is an append-only list of events, one row each. Events that were applied together share a batch
number and are replayed together (rule K2): first the *facts* of the batch, which came from outside (a result, a
timer, a message), then the *records* of what workflow code asked for while it ran on them. Facts and records of
one batch are committed in one transaction, so a stored history always ends at the end of a batch.

The chain: ``hash = SHA-256(previous hash, every other column)``, in commit order (rule H1). The first event hashes
against 32 zero bytes and no column holds the run's id, so that a prefix can be forked and still verifies.

This module knows no I/O and no clock. ``detail`` and ``payload`` are JSON texts: ``detail`` is plain and small;
``payload`` is one user value in the envelope of ``durable.codec``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from durable.errors import HistoryCorruptedError

KERNEL_VERSION: Final = 1
"""Behaviour version of the scheduling rules, recorded in ``RunStarted`` (rule K9)."""

GENESIS: Final = bytes(32)


class EventKind(StrEnum):
    """What an event says. Facts come from outside; records are what workflow code asked for."""

    # facts: the run
    RUN_STARTED = "RunStarted"
    RUN_FORKED = "RunForked"
    CANCEL_REQUESTED = "CancelRequested"
    RUN_TIMED_OUT = "RunTimedOut"
    RUN_PAUSED = "RunPaused"
    RUN_RESUMED = "RunResumed"
    ROLLBACK_REQUESTED = "RollbackRequested"
    # facts: outcomes of operations, by command number
    STEP_COMPLETED = "StepCompleted"
    STEP_FAILED = "StepFailed"
    STEP_CANCELLED = "StepCancelled"
    TIMER_FIRED = "TimerFired"
    CHILD_COMPLETED = "ChildCompleted"
    CHILD_FAILED = "ChildFailed"
    QUESTION_ANSWERED = "QuestionAnswered"
    MESSAGE_DELIVERED = "MessageDelivered"
    MESSAGE_FAILED = "MessageFailed"
    # facts that are messages
    SIGNAL_RECEIVED = "SignalReceived"
    UPDATE_ACCEPTED = "UpdateAccepted"
    # records: what workflow code asked for
    STEP_SCHEDULED = "StepScheduled"
    STEP_CANCEL_REQUESTED = "StepCancelRequested"
    TIMER_STARTED = "TimerStarted"
    TIMER_CANCELLED = "TimerCancelled"
    CHILD_STARTED = "ChildStarted"
    CHILD_CANCEL_REQUESTED = "ChildCancelRequested"
    QUESTION_ASKED = "QuestionAsked"
    QUESTION_WITHDRAWN = "QuestionWithdrawn"
    MESSAGE_SENT = "MessageSent"
    MESSAGE_SET_ASIDE = "MessageSetAside"
    UPDATE_COMPLETED = "UpdateCompleted"
    UPDATE_FAILED = "UpdateFailed"
    PATCH_MARKED = "PatchMarked"
    ATTRIBUTES_SET = "AttributesSet"
    VALUE_PUBLISHED = "ValuePublished"
    STREAM_WRITTEN = "StreamWritten"
    COMPENSATION_REGISTERED = "CompensationRegistered"
    ROLLBACK_STARTED = "RollbackStarted"
    ROLLBACK_COMPLETED = "RollbackCompleted"
    ROLLBACK_FAILED = "RollbackFailed"
    # records: the end
    RUN_COMPLETED = "RunCompleted"
    RUN_FAILED = "RunFailed"
    RUN_CANCELLED = "RunCancelled"
    RUN_CONTINUED = "RunContinuedAsNew"
    # a fact that ends a run without its code
    RUN_TERMINATED = "RunTerminated"


FACTS: Final[frozenset[str]] = frozenset(
    {
        EventKind.RUN_STARTED,
        EventKind.RUN_FORKED,
        EventKind.CANCEL_REQUESTED,
        EventKind.RUN_TIMED_OUT,
        EventKind.RUN_PAUSED,
        EventKind.RUN_RESUMED,
        EventKind.ROLLBACK_REQUESTED,
        EventKind.STEP_COMPLETED,
        EventKind.STEP_FAILED,
        EventKind.STEP_CANCELLED,
        EventKind.TIMER_FIRED,
        EventKind.CHILD_COMPLETED,
        EventKind.CHILD_FAILED,
        EventKind.QUESTION_ANSWERED,
        EventKind.MESSAGE_DELIVERED,
        EventKind.MESSAGE_FAILED,
        EventKind.SIGNAL_RECEIVED,
        EventKind.UPDATE_ACCEPTED,
        EventKind.RUN_TERMINATED,
    }
)

TERMINAL: Final[frozenset[str]] = frozenset(
    {
        EventKind.RUN_COMPLETED,
        EventKind.RUN_FAILED,
        EventKind.RUN_CANCELLED,
        EventKind.RUN_CONTINUED,
        EventKind.RUN_TERMINATED,
    }
)


class Fact(NamedTuple):
    """Something that happened outside and waits to be applied: an event without its place in history.

    Attributes:
        kind: one of ``FACTS``.
        command: number of the command that it answers, if any.
        name: name of the message, if it is one.
        detail: plain JSON object text, or None.
        payload: one user value in its envelope, or None.
        actor: who caused it: a principal such as ``user:alice``, or the worker.
    """

    kind: str
    command: int | None = None
    name: str | None = None
    detail: str | None = None
    payload: str | None = None
    actor: str = ""


class Event(NamedTuple):
    """One row of a history, in the column order of every store.

    Attributes:
        seq: 1, 2, 3, ... without gaps within a run.
        batch: number of the batch that it was applied in, from 1.
        kind: an ``EventKind``.
        at_us: UTC microseconds; never decreases within a run, equal within a batch.
        actor: who caused it.
        command: the command's number, or None.
        name: name of the step, child workflow, message or patch, or None.
        detail: plain JSON object text, or None.
        payload: one user value in its envelope, or None.
        hash: 32 bytes, chained to the event before.
    """

    seq: int
    batch: int
    kind: str
    at_us: int
    actor: str
    command: int | None
    name: str | None
    detail: str | None
    payload: str | None
    hash: bytes

    @property
    def details(self) -> dict[str, Any]:
        """The parsed ``detail``; empty if there is none."""
        return parse_detail(self.detail)


def write_detail(**fields: Any) -> str | None:
    """The ``detail`` text of these JSON-compatible fields; fields that are None are left out."""
    present = {key: value for key, value in fields.items() if value is not None}
    return to_json(present).decode() if present else None


def parse_detail(detail: str | None) -> dict[str, Any]:
    """The fields of a ``detail`` text.

    Raises:
        HistoryCorruptedError: if it is not a JSON object.
    """
    if detail is None:
        return {}
    try:
        fields = from_json(detail)
    except ValueError as error:
        raise HistoryCorruptedError(f"an event's detail is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise HistoryCorruptedError("an event's detail is not a JSON object")
    return fields


def merge_details(*details: str | None) -> str | None:
    """One ``detail`` text with the fields of several; later ones win."""
    fields: dict[str, Any] = {}
    for detail in details:
        fields.update(parse_detail(detail))
    return write_detail(**fields)


def chain(
    previous: bytes,
    seq: int,
    batch: int,
    kind: str,
    at_us: int,
    actor: str,
    command: int | None,
    name: str | None,
    detail: str | None,
    payload: str | None,
) -> bytes:
    """The hash of an event. NUL separates the columns: no name contains it and JSON text cannot."""
    text = (
        f"{seq}\0{batch}\0{kind}\0{at_us}\0{actor}\0{'' if command is None else command}\0"
        f"{name or ''}\0{detail or ''}\0{payload or ''}"
    )
    return sha256(previous + text.encode()).digest()


class Recorder:
    """Gives facts and records their place at the end of a history.

    Attributes:
        seq: number of the last event, 0 before the first.
        batch: number of the last batch, 0 before the first.
        at_us: time of the last batch.
        hash: hash of the last event.
    """

    __slots__ = ("at_us", "batch", "hash", "seq")

    def __init__(self, last: Event | None = None) -> None:
        self.seq = last.seq if last else 0
        self.batch = last.batch if last else 0
        self.at_us = last.at_us if last else 0
        self.hash = last.hash if last else GENESIS

    def begin_batch(self, now_us: int) -> None:
        """Open the next batch; its time never runs backwards (rule K8)."""
        self.batch += 1
        self.at_us = max(self.at_us, now_us)

    def append(
        self,
        kind: str,
        actor: str,
        command: int | None = None,
        name: str | None = None,
        detail: str | None = None,
        payload: str | None = None,
    ) -> Event:
        """The next event of the open batch."""
        self.seq = seq = self.seq + 1
        self.hash = digest = chain(self.hash, seq, self.batch, kind, self.at_us, actor, command, name, detail, payload)
        return Event(seq, self.batch, kind, self.at_us, actor, command, name, detail, payload, digest)


def verify_chain(events: Iterable[Event]) -> None:
    """Check order, batches, time and hashes of a history from its first event.

    Raises:
        HistoryCorruptedError: naming the first event that is wrong.
    """
    previous: Event | None = None
    for event in events:
        expected_seq = previous.seq + 1 if previous else 1
        if event.seq != expected_seq:
            raise HistoryCorruptedError(f"expected event {expected_seq}, got {event.seq}")
        if previous and (event.batch < previous.batch or event.at_us < previous.at_us):
            raise HistoryCorruptedError(f"event {event.seq} goes back in batch or time")
        if chain(previous.hash if previous else GENESIS, *event[:-1]) != event.hash:
            raise HistoryCorruptedError(f"event {event.seq} does not match its hash: the history was altered")
        previous = event


def split_batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    """The events by batch, in order."""
    current: list[Event] = []
    for event in events:
        if current and event.batch != current[0].batch:
            yield current
            current = []
        current.append(event)
    if current:
        yield current
