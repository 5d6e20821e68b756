"""What one turn of one run writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from durable.handle import RollbackStatus, RunStatus
from durable.history import Event
from runtime.store.row import AttemptRow, InboxRow, LogRow, NewRun, QuestionRow, StreamItem, TaskRow, UpdateRow


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
