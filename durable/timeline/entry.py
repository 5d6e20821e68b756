"""One entry of a run's timeline: an operation, a message or a turning point, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from durable.timeline.fault import Fault


class EntryKind(StrEnum):
    """What an entry is about."""

    RUN = "run"
    STEP = "step"
    COMPENSATION = "compensation"
    TIMER = "timer"
    CHILD = "child"
    QUESTION = "question"
    APPROVAL = "approval"
    SIGNAL = "signal"
    UPDATE = "update"
    MESSAGE = "message"
    REQUEST = "request"
    ROLLBACK = "rollback"
    NOTE = "note"


class EntryState(StrEnum):
    """Where an operation stands. ``OPEN`` goes on; the others are final."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class TimelineAttempt:
    """One attempt of a step that did not bring its outcome.

    Attributes:
        outcome: ``started``, ``failed``, ``timed_out``, ``lost`` or ``handed_over``.
        next_at: when the next attempt is due, or None.
    """

    attempt: int
    outcome: str
    started_at: datetime
    ended_at: datetime | None
    next_at: datetime | None
    worker: str
    error: Fault | None


@dataclass(slots=True)
class TimelineEntry:
    """One operation, message or turning point of a run.

    Attributes:
        name: of the step, child workflow, message, question's key or timer's purpose.
        text: more in words: a question's prompt, a child's id, a reason.
        began_at, ended_at: aware UTC; ``ended_at`` is None while it is open.
        due_at: when a timer fires or a question's time is over.
        attempts: how many a step took in all.
        tries: its attempts that did not bring the outcome, as far as they are kept.
        input, result: plain JSON texts, None if there is none or it is empty.
        by: who sent or answered it; empty for what the workflow did.
        times: how often, for what is counted and not listed (items of a stream).
    """

    kind: EntryKind
    name: str
    state: EntryState
    began_at: datetime
    seq: int
    command: int | None = None
    ended_at: datetime | None = None
    due_at: datetime | None = None
    text: str = ""
    by: str = ""
    input: str | None = None
    result: str | None = None
    attempts: int = 1
    tries: list[TimelineAttempt] = field(default_factory=list)
    error: Fault | None = None
    times: int = 1

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.state is EntryState.OPEN
