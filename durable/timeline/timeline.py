"""What happened to a run, as a person would tell it: one entry for every operation, from its beginning to its end.

A history is a list of events; an operation is two of them or more (``StepScheduled``, ``StepCompleted``), with
its failed attempts kept beside the history. ``Timeline`` joins them. It is fed in portions, so that a live
display reads only what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, Protocol

from pydantic_core import from_json

from durable.duration import to_instant
from durable.history import Event, EventKind
from durable.timeline.entry import EntryKind, EntryState, TimelineAttempt, TimelineEntry
from durable.timeline.fault import Fault, read_fault

HIDDEN: Final = "<encrypted>"
"""Stands for a value that is encrypted, or whose codec is not configured here."""

Opener = Callable[[str], str | None]
"""From a payload to its plain JSON text, or to None where that is not at hand."""

_NOTHING: Final = frozenset({"null", "{}", "[]"})

_WORDS: Final[Mapping[str, tuple[EntryKind, str]]] = {
    EventKind.CANCEL_REQUESTED: (EntryKind.REQUEST, "cancellation requested"),
    EventKind.RUN_PAUSED: (EntryKind.REQUEST, "paused"),
    EventKind.RUN_RESUMED: (EntryKind.REQUEST, "resumed"),
    EventKind.ROLLBACK_REQUESTED: (EntryKind.REQUEST, "rollback requested"),
    EventKind.RUN_FORKED: (EntryKind.REQUEST, "retried"),
    EventKind.RUN_TIMED_OUT: (EntryKind.NOTE, "the run's time is over"),
    EventKind.PATCH_MARKED: (EntryKind.NOTE, "patch"),
    EventKind.VALUE_PUBLISHED: (EntryKind.NOTE, "published"),
    EventKind.STREAM_WRITTEN: (EntryKind.NOTE, "stream"),
    EventKind.ATTRIBUTES_SET: (EntryKind.NOTE, "attributes"),
    EventKind.COMPENSATION_REGISTERED: (EntryKind.NOTE, "undo registered"),
    EventKind.MESSAGE_SET_ASIDE: (EntryKind.NOTE, "message set aside"),
}
"""Events that are an entry of their own, and its kind and text."""

_ORIGINS: Final = (
    ("retry_of", "a retry of run"),
    ("continued_from", "continues run"),
    ("parent_workflow_id", "child of"),
)
"""Fields of a start that say where the run comes from."""

_ENDS: Final[Mapping[str, EntryState]] = {
    EventKind.STEP_COMPLETED: EntryState.DONE,
    EventKind.STEP_FAILED: EntryState.FAILED,
    EventKind.STEP_CANCELLED: EntryState.CANCELLED,
    EventKind.TIMER_FIRED: EntryState.DONE,
    EventKind.TIMER_CANCELLED: EntryState.CANCELLED,
    EventKind.CHILD_COMPLETED: EntryState.DONE,
    EventKind.CHILD_FAILED: EntryState.FAILED,
    EventKind.QUESTION_ANSWERED: EntryState.DONE,
    EventKind.QUESTION_WITHDRAWN: EntryState.CANCELLED,
    EventKind.MESSAGE_DELIVERED: EntryState.DONE,
    EventKind.MESSAGE_FAILED: EntryState.FAILED,
}
"""Events that end the entry of their command."""

_RUN_ENDS: Final[Mapping[str, tuple[EntryState, str]]] = {
    EventKind.RUN_COMPLETED: (EntryState.DONE, "completed"),
    EventKind.RUN_FAILED: (EntryState.FAILED, "failed"),
    EventKind.RUN_CANCELLED: (EntryState.CANCELLED, "cancelled"),
    EventKind.RUN_TERMINATED: (EntryState.CANCELLED, "terminated"),
    EventKind.RUN_CONTINUED: (EntryState.DONE, "continued as new"),
}


class AttemptRecord(Protocol):
    """What is kept of one attempt of a step, beside the history; instants are UTC microseconds."""

    @property
    def command(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def outcome(self) -> Enum: ...
    @property
    def started_at_us(self) -> int: ...
    @property
    def ended_at_us(self) -> int | None: ...
    @property
    def next_at_us(self) -> int | None: ...
    @property
    def worker(self) -> str: ...
    @property
    def error(self) -> str | None:
        """The record of the exception, plain JSON."""
        ...


class Timeline:
    """The entries of a run, in the order in which they began.

    Args:
        opener: makes plain JSON of payloads; without it, inputs, results and errors stay unknown.

    Attributes:
        entries: the first one is the run itself.
        seq: number of the last event that was fed.
    """

    def __init__(self, opener: Opener | None = None) -> None:
        self.entries: list[TimelineEntry] = []
        self.seq = 0
        self._opener = opener
        self._by_command: dict[int, TimelineEntry] = {}
        self._updates: dict[str, TimelineEntry] = {}
        self._streams: dict[str, TimelineEntry] = {}
        self._rollback: TimelineEntry | None = None

    @property
    def open(self) -> list[TimelineEntry]:
        """What goes on, but for the run itself."""
        return [entry for entry in self.entries if entry.is_open and entry.kind is not EntryKind.RUN]

    def feed(self, events: Iterable[Event]) -> list[TimelineEntry]:
        """Take more events, in order; returns the entries that ended, the run's own among them."""
        ended: list[TimelineEntry] = []
        for event in events:
            self.seq = event.seq
            entry = self._take(event)
            if entry is not None and not entry.is_open:
                ended.append(entry)
        return ended

    def feed_attempts(self, rows: Iterable[AttemptRecord]) -> None:
        """Take the kept attempts of all steps, in place of those that were taken before."""
        by_command: dict[int, list[AttemptRecord]] = {}
        for row in rows:
            by_command.setdefault(row.command, []).append(row)
        for command, own in by_command.items():
            entry = self._by_command.get(command)
            if entry is not None:
                entry.tries = [self._try(row) for row in own]
                if entry.is_open:
                    entry.attempts = max(row.attempt for row in own)

    def _try(self, row: AttemptRecord) -> TimelineAttempt:
        return TimelineAttempt(
            attempt=row.attempt,
            outcome=row.outcome.value,
            started_at=to_instant(row.started_at_us),
            ended_at=None if row.ended_at_us is None else to_instant(row.ended_at_us),
            next_at=None if row.next_at_us is None else to_instant(row.next_at_us),
            worker=row.worker,
            error=read_fault(row.error) if row.error else None,
        )

    # -- events -------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> TimelineEntry | None:
        kind = event.kind
        if kind in _ENDS:
            return self._end(event, _ENDS[kind])
        if kind in _RUN_ENDS:
            return self._end_run(event)
        begin = _BEGINNINGS.get(kind)
        if begin is not None:
            return begin(self, event)
        if kind in (EventKind.UPDATE_COMPLETED, EventKind.UPDATE_FAILED):
            return self._end_update(event)
        if kind in (EventKind.ROLLBACK_COMPLETED, EventKind.ROLLBACK_FAILED):
            return self._end_rollback(event)
        if kind in _WORDS:
            return self._note(event, *_WORDS[kind])
        return None

    def _add(self, event: Event, kind: EntryKind, name: str, state: EntryState, **fields: Any) -> TimelineEntry:
        entry = TimelineEntry(kind, name, state, to_instant(event.at_us), event.seq, event.command, **fields)
        if state is not EntryState.OPEN:
            entry.ended_at = entry.began_at
        self.entries.append(entry)
        return entry

    def _begin(self, event: Event, kind: EntryKind, **fields: Any) -> TimelineEntry:
        entry = self._add(event, kind, event.name or kind.value, EntryState.OPEN, **fields)
        if event.command is not None:
            self._by_command[event.command] = entry
        return entry

    def _start_run(self, event: Event) -> TimelineEntry:
        detail = event.details
        text = next((f"{words} {detail[name]}" for name, words in _ORIGINS if detail.get(name)), "")
        plain = self._plain(event.payload)
        return self._add(event, EntryKind.RUN, "started", EntryState.OPEN, text=text, by=event.actor, input=plain)

    def _start_step(self, event: Event) -> TimelineEntry:
        kind = EntryKind.COMPENSATION if event.details.get("role") == "compensation" else EntryKind.STEP
        return self._begin(event, kind, input=self._plain(event.payload))

    def _start_timer(self, event: Event) -> TimelineEntry:
        due_us = event.details.get("deadline_us")
        return self._begin(event, EntryKind.TIMER, due_at=None if due_us is None else to_instant(due_us))

    def _start_child(self, event: Event) -> TimelineEntry:
        child = event.details.get("workflow_id", "")
        return self._begin(event, EntryKind.CHILD, text=child, input=self._plain(event.payload))

    def _ask(self, event: Event) -> TimelineEntry:
        detail = event.details
        due_us = detail.get("deadline_us")
        return self._begin(
            event,
            EntryKind.APPROVAL if detail.get("kind") == "approval" else EntryKind.QUESTION,
            text=detail.get("prompt", ""),
            due_at=None if due_us is None else to_instant(due_us),
        )

    def _send(self, event: Event) -> TimelineEntry:
        return self._begin(event, EntryKind.MESSAGE, text=f"to {event.details.get('workflow_id', '')}")

    def _receive(self, event: Event) -> TimelineEntry:
        plain = self._plain(event.payload)
        return self._add(event, EntryKind.SIGNAL, event.name or "", EntryState.DONE, by=event.actor, input=plain)

    def _accept_update(self, event: Event) -> TimelineEntry:
        plain = self._plain(event.payload)
        entry = self._add(event, EntryKind.UPDATE, event.name or "", EntryState.OPEN, by=event.actor, input=plain)
        self._updates[event.details.get("update_id", "")] = entry
        return entry

    def _start_rollback(self, event: Event) -> TimelineEntry:
        self._rollback = self._add(event, EntryKind.ROLLBACK, "rollback", EntryState.OPEN)
        return self._rollback

    def _note(self, event: Event, kind: EntryKind, words: str) -> TimelineEntry | None:
        detail = event.details
        if event.kind == EventKind.STREAM_WRITTEN:
            known = self._streams.get(event.name or "")
            if known is not None:
                known.times += 1
                return None
        name = event.name or ""
        text = detail.get("reason") or detail.get("why") or ""
        if event.kind == EventKind.ATTRIBUTES_SET:
            name = ", ".join(f"{key}={value}" for key, value in (detail.get("attributes") or {}).items())
        by = event.actor if kind is EntryKind.REQUEST else ""
        entry = self._add(event, kind, words, EntryState.DONE, text=": ".join(filter(None, (name, text))), by=by)
        if event.kind == EventKind.STREAM_WRITTEN:
            self._streams[event.name or ""] = entry
        return entry

    # -- ends ---------------------------------------------------------------------------------------------

    def _end(self, event: Event, state: EntryState) -> TimelineEntry | None:
        entry = self._by_command.get(event.command or 0)
        if entry is None:
            return None
        detail = event.details
        entry.state, entry.ended_at = state, to_instant(event.at_us)
        entry.attempts = int(detail.get("attempts", entry.attempts))
        if state is EntryState.FAILED:
            entry.error = self._fault(event.payload)
            if detail.get("error") == "cancelled":
                entry.state = EntryState.CANCELLED
            if entry.error is None:
                entry.text = ": ".join(filter(None, (entry.text, detail.get("error"), detail.get("reason"))))
        else:
            entry.result = self._plain(event.payload)
        if event.kind == EventKind.QUESTION_ANSWERED:
            entry.by = event.actor
        return entry

    def _end_update(self, event: Event) -> TimelineEntry | None:
        entry = self._updates.get(event.details.get("update_id", ""))
        if entry is None:
            return None
        entry.ended_at = to_instant(event.at_us)
        if event.kind == EventKind.UPDATE_FAILED:
            entry.state, entry.error = EntryState.FAILED, self._fault(event.payload)
        else:
            entry.state, entry.result = EntryState.DONE, self._plain(event.payload)
        return entry

    def _end_rollback(self, event: Event) -> TimelineEntry | None:
        entry = self._rollback
        if entry is None:
            return None
        failed = event.kind == EventKind.ROLLBACK_FAILED
        entry.state = EntryState.FAILED if failed else EntryState.DONE
        entry.ended_at = to_instant(event.at_us)
        entry.error = self._fault(event.payload) if failed else None
        return entry

    def _end_run(self, event: Event) -> TimelineEntry:
        state, words = _RUN_ENDS[event.kind]
        if not self.entries:
            self._add(event, EntryKind.RUN, "started", EntryState.OPEN)
        for left in self.open:
            left.state, left.ended_at = EntryState.CANCELLED, to_instant(event.at_us)
        entry = self.entries[0]
        entry.state, entry.name, entry.ended_at = state, words, to_instant(event.at_us)
        entry.text = event.details.get("reason") or entry.text
        if event.kind == EventKind.RUN_FAILED:
            entry.error = self._fault(event.payload)
        elif event.kind == EventKind.RUN_COMPLETED:
            entry.result = self._plain(event.payload)
        return entry

    # -- payloads -----------------------------------------------------------------------------------------

    def _open(self, payload: str | None) -> str | None:
        if payload is None or self._opener is None:
            return None
        return self._opener(payload)

    def _plain(self, payload: str | None) -> str | None:
        plain = self._open(payload)
        return None if plain in _NOTHING else plain

    def _fault(self, payload: str | None) -> Fault | None:
        plain = self._open(payload)
        if plain is None or plain == HIDDEN:
            return None
        return read_fault(plain) if isinstance(from_json(plain), dict) else None


_BEGINNINGS: Final[Mapping[str, Callable[[Timeline, Event], TimelineEntry]]] = {
    EventKind.RUN_STARTED: Timeline._start_run,
    EventKind.STEP_SCHEDULED: Timeline._start_step,
    EventKind.TIMER_STARTED: Timeline._start_timer,
    EventKind.CHILD_STARTED: Timeline._start_child,
    EventKind.QUESTION_ASKED: Timeline._ask,
    EventKind.MESSAGE_SENT: Timeline._send,
    EventKind.SIGNAL_RECEIVED: Timeline._receive,
    EventKind.UPDATE_ACCEPTED: Timeline._accept_update,
    EventKind.ROLLBACK_STARTED: Timeline._start_rollback,
}
