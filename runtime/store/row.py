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
        code: fingerprint of the worker code on which the run is stuck, else None.
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
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RunChange:
    """What a turn changes in the run's row.

    Attributes:
        status, rollback, waiting_for, reason, code: the new values. With a final status the run ends: its
            open questions are closed, its tasks cancelled, its unread inbox rows dropped and the pending
            updates of its workflow id ``closed``; ``continued_as_new`` leaves those updates and messages (facts
            without a command), pinned or not, to whichever run comes next.
        ready_at_us: the next time something is due by itself (a timer, a retry of a step); None: nothing. If
            inbox rows remain that wake the run (see ``Store.send``), it is ready at once instead. Ignored for
            a paused or stuck run, and for a closed one unless its rollback is running. Hence a turn that
            leaves a run stuck consumes the ``RunResumed`` that woke it.
        release: give up ownership, because nothing of the run is in flight.
        closed_at_us: set when the run ends; None keeps the old value.
        started_at_us: set by the first turn; None keeps the old value.
    """

    status: RunStatus
    rollback: RollbackStatus = RollbackStatus.NONE
    waiting_for: str | None = None
    ready_at_us: int | None = None
    release: bool = False
    reason: str | None = None
    code: str | None = None
    closed_at_us: int | None = None
    started_at_us: int | None = None


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
        detail: JSON text: assignees, approvers, context, notify.
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


@dataclass(slots=True)
class Turn:
    """Everything that one turn of one run writes: all of it or nothing (rule D1).

    Attributes:
        expected_seq: the run's ``seq`` before this turn; another one is a conflict.
        epoch: the owner's epoch; None for writers that own nothing (terminate): then ``fence`` must be set.
        events: appended to history.
        change: the run's row afterwards; None leaves it as it is, but for ``seq`` (attempt records, results
            held for a paused run).
        consumed: row ids of inbox rows that became events, replies or refusals.
        blobs: by hash; a payload refers to one by the ``blob`` field of its envelope.
        inbox: facts for other runs, or for this one if it must not take them now. Those whose target is gone
            or has ended are dropped.
        outgoing: (command, inbox row) of messages that workflow code sent: the store writes the row and gives
            the sender ``MessageDelivered``, or ``MessageFailed`` with detail ``{"error": "not_found"}`` when
            the addressed run is unknown and ``{"error": "closed"}`` when it has ended.
        new_runs: children (their parent is this run), successors, retries, replacements. A child whose id is
            taken gives its parent a ``ChildFailed`` fact with detail ``{"error": "exists"}``; of the others a
            taken id is a conflict of the turn. Children are created before messages go out, the others after
            this run has ended.
        tasks, cancelled_tasks: steps routed elsewhere; command numbers of those no longer wanted.
        questions, closed_questions: asked; command numbers of those answered, withdrawn or timed out.
        updates: with their new states, as they are from now on.
        attributes: searchable fields to set; None removes one.
        close_children: command numbers of open children to which ``on_parent_close`` applies because this run
            ends: ``terminate`` ends them in this transaction with ``RunTerminated``, and does the same to
            their children, ``cancel`` sends them ``CancelRequested``.
        fence: clear the owner and raise the epoch, so that whoever owns the run is refused from now on.
    """

    run_id: str
    workflow_id: str
    expected_seq: int
    epoch: int | None
    events: Sequence[Event] = ()
    change: RunChange | None = None
    consumed: Sequence[int] = ()
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    inbox: Sequence[InboxRow] = ()
    outgoing: Sequence[tuple[int, InboxRow]] = ()
    new_runs: Sequence[NewRun] = ()
    tasks: Sequence[TaskRow] = ()
    cancelled_tasks: Sequence[int] = ()
    attempts: Sequence[AttemptRow] = ()
    questions: Sequence[QuestionRow] = ()
    closed_questions: Sequence[int] = ()
    updates: Sequence[UpdateRow] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    stream: Sequence[StreamItem] = ()
    logs: Sequence[LogRow] = ()
    close_children: Sequence[int] = ()
    fence: bool = False


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


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
        row: the run.
        event: its terminal event.
    """

    row: RunRow
    event: Event


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit made others want to look at.

    Unknown (another process wrote): every flag is set and ``closed`` and ``wrote`` are None.

    Attributes:
        ready: a run may want a worker.
        tasks: a task may want a worker.
        queries: a query wants an answer, or got one.
        updates: an update got an outcome.
        closed: ids of the runs that ended; None: any run may have.
        wrote: run ids whose published values, streams, attempts or history grew, or whose status or wait changed;
            None: any.
        endings: of those of ``closed`` of which the store knows it without looking, how they ended.
    """

    ready: bool = True
    tasks: bool = True
    queries: bool = True
    updates: bool = True
    closed: frozenset[str] | None = None
    wrote: frozenset[str] | None = None
    endings: Mapping[str, Ending] = field(default_factory=dict)
