"""The rows that cross the store's boundary: plain data, the same for every store. Not changed once built; the two
that every turn builds are not frozen, because that costs five times as much.

Times are UTC microseconds (``_us``). Ids are text. ``payload`` is an envelope of ``durable.codec`` and
``detail`` plain JSON, as in ``durable.history``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, Fact

OnConflict = Literal["attach", "fail", "replace"]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as the store keeps it.

    Attributes:
        run_id: UUIDv7 as text.
        workflow_id: chosen by the user; several runs may share it, at most one of them is open.
        workflow: name of the definition.
        queue: which workers may take it.
        owner: id of the worker that holds it, or None while nothing of it is in flight.
        epoch: 0 for a run nobody took, one more with every claim of a free run, every loss and every fence; a
            commit with another epoch is refused.
        seq: number of the last event in history, 0 before the first turn.
        ready_at_us: when it wants a worker: a message, a timer, a start; None if nothing is due, and while
            the worker that claimed it has not committed.
        origin_id: what idempotency keys derive from (rule K7); kept by a retry, new for a fork.
        first_run_id: the first run of a chain of continue-as-new and retries; a replacement or fork begins a
            new chain.
        parent_run_id, parent_command: who waits for the outcome, if it is a child.
        on_parent_close: ``terminate``, ``cancel`` or ``abandon``.
        lost: the last owner died or lost its lease; what was in flight must be counted as lost (rule H4).
            Cleared by the next commit that names an epoch.
        code: fingerprints of the workers' code with which a stuck run was tried in vain, apart by spaces, else None.
        reason: why it is stuck, cancelled, failed or terminated, in words; else None.
        waiting_for: what it waits for, in words; else None.
        input_digest: digest of the canonical input, to recognise a second start with another input; the runs
            that continue or retry a run keep its digest.
        actor: who started it.
    """

    run_id: str
    workflow_id: str
    workflow: str
    queue: str
    status: RunStatus
    rollback: RollbackStatus
    owner: str | None
    epoch: int
    seq: int
    ready_at_us: int | None
    created_at_us: int
    started_at_us: int | None
    closed_at_us: int | None
    origin_id: str
    first_run_id: str
    parent_run_id: str | None
    parent_command: int | None
    on_parent_close: str
    lost: bool
    code: str | None
    reason: str | None
    waiting_for: str | None
    input_digest: str
    actor: str


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A fact waiting to be applied to a run (rule H5).

    Attributes:
        row_id: given by the store when the row is written; 0 before.
        workflow_id: to whom.
        run_id: set if only this run may take it (an outcome, or a handle pinned to a run); else None:
            whichever is open. A closed run that takes a row is pinned by the store.
        message_id: the sender's id for de-duplication per workflow_id, kept for as long as the workflow id
            is; None: no de-duplication.
        fact: what happened. ``RunStarted`` is the start of the run itself; ``UpdateAccepted`` an update not
            yet validated.
        at_us: when it was sent; a run that it wakes is ready from then on.
    """

    workflow_id: str
    run_id: str | None
    message_id: str | None
    fact: Fact
    at_us: int
    row_id: int = 0


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be created, with its start as the first inbox row.

    Attributes:
        owner: the worker that owns it from the beginning, with epoch 1; None: whoever claims it.
        ready_at_us: when the first turn is due (later than ``created_at_us`` for a delayed start). Messages
            do not shorten the delay, ``CancelRequested`` does.
        history: events that it begins with (a retry or fork); then ``start`` may be None.
        messages: inbox rows that it begins with, after its start, whatever run they name (signal-with-start,
            messages carried by continue-as-new). In a turn they are not asked for de-duplication: carried
            ones were accepted.
        on_conflict: what to do when the workflow id is taken by an open run, or by a closed one that is still
            kept. ``attach`` returns the existing run, or RunExistsError if its workflow or input digest
            differs; ``fail`` raises RunExistsError; ``replace`` is for the callers that close the old run in
            the same transaction: only an open run is then a conflict. In a turn ``attach`` is ``fail``.
        retry_of: the run that this one tries again; RunExistsError if it is not the newest of the id any more, so
            that of two retries one is refused.
        children: runs that are created in the same transaction, or none of them: retries of its children, and of
            theirs. Not in a turn.
    """

    run_id: str
    workflow_id: str
    workflow: str
    queue: str
    actor: str
    created_at_us: int
    ready_at_us: int
    origin_id: str
    first_run_id: str
    input_digest: str
    start: Fact | None
    history: Sequence[Event] = ()
    messages: Sequence[InboxRow] = ()
    owner: str | None = None
    parent_run_id: str | None = None
    parent_command: int | None = None
    on_parent_close: str = "terminate"
    on_conflict: OnConflict = "attach"
    retry_of: str | None = None
    children: Sequence[NewRun] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A step routed to a queue that another worker serves.

    A task that nobody holds and nobody wants is removed at once, and its run gets ``StepCancelled``.

    Attributes:
        input: envelope of the arguments.
        options: JSON text of the step's options, or None for the defaults.
        attempt: number of the attempt that comes next, from 1.
        available_at_us: not before this time.
        losses: how many workers were lost with it.
        owner, epoch: as of a run; None and 0 for a new task.
        cancel_requested: the workflow no longer wants it.
    """

    run_id: str
    workflow_id: str
    command: int
    queue: str
    step: str
    input: str
    options: str | None
    idempotency_key: str
    attempt: int
    available_at_us: int
    losses: int = 0
    owner: str | None = None
    epoch: int = 0
    cancel_requested: bool = False


class AttemptOutcome(StrEnum):
    """How an attempt of a step ended, or that it has begun."""

    STARTED = "started"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of a step, kept beside the history (rule H8), in order of arrival.

    A row takes the place of the ``started`` row of the same attempt, else it is added: a lost attempt shares
    its number with the next one. At most 20 are kept for a step: the first ten and the last ten.

    Attributes:
        next_at_us: when the next attempt is due, if there is one.
        error: JSON text of the recorded exception, or None.
        heartbeat: envelope of the last heartbeat details, or None.
    """

    run_id: str
    command: int
    attempt: int
    outcome: AttemptOutcome
    started_at_us: int
    ended_at_us: int | None
    next_at_us: int | None
    error: str | None
    heartbeat: str | None
    worker: str


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """An open question to people.

    Attributes:
        kind: ``question`` or ``approval``.
        schema: JSON schema text of the answer.
        detail: JSON text of what is shown beside it (``context``), or None.
    """

    run_id: str
    workflow_id: str
    command: int
    key: str
    kind: str
    prompt: str
    schema: str
    detail: str | None
    asked_at_us: int
    deadline_us: int | None


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """An update and its outcome.

    Attributes:
        state: ``pending``, ``completed``, ``failed``, ``rejected``; or ``closed``, the store's word for one whose run
            ended first.
        payload: envelope of the result when completed; JSON record of the exception otherwise.
    """

    workflow_id: str
    update_id: str
    run_id: str | None
    name: str
    state: str
    payload: str | None


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A query on its way: an expiring request, outside history (rule H8).

    Attributes:
        state: ``pending``, ``answered`` or ``failed``.
        reply: envelope when answered, JSON record of the exception when failed.
    """

    query_id: str
    run_id: str
    workflow: str
    name: str
    payload: str | None
    expires_at_us: int
    state: str = "pending"
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One item of a run's output stream; ``position`` counts from 0 per name."""

    name: str
    position: int
    payload: str


@dataclass(frozen=True, slots=True)
class LogRow:
    """A log line kept with a run; the newest 1,000 are kept."""

    run_id: str
    at_us: int
    level: str
    source: str
    message: str


class Claimed(NamedTuple):
    """A run that a worker now owns, with the inbox rows that it may take as ``Store.read_inbox`` orders them."""

    run: RunRow
    inbox: list[InboxRow]


class StartOutcome(NamedTuple):
    """The run that a start led to, and whether this call made it."""

    run: RunRow
    created: bool


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as others see it."""

    worker_id: str
    host: str
    pid: int
    started_at_us: int
    queues: Sequence[str]
    workflows: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; every given condition must hold.

    Attributes:
        status: any of these.
        attributes: equality on searchable attributes, as JSON: true is not 1.
        started_after_us, started_before_us: on ``created_at_us``; after is inclusive, before exclusive.
        closed_before_us: on ``closed_at_us``, exclusive; open runs do not match.
        workflow_id_prefix: ids that begin with this text, in the same case.
    """

    status: Sequence[str] = ()
    workflow: str | None = None
    workflow_id: str | None = None
    workflow_id_prefix: str | None = None
    actor: str | None = None
    parent_run_id: str | None = None
    rollback: str | None = None
    started_after_us: int | None = None
    started_before_us: int | None = None
    closed_before_us: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
