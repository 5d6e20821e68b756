"""The rules of delivery that every store follows, as tables: which facts a run accepts, which of them wake
it, and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic_core import from_json

from durable.errors import QuestionNotFoundError, RunExistsError
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind

if TYPE_CHECKING:
    from runtime.store.row import InboxRow, NewRun

STEP_OUTCOMES: Final[frozenset[str]] = frozenset(
    {EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED}
)
"""Facts that are accepted once per (run, command), from wherever they come."""

WAKERS: Final[dict[RunStatus, frozenset[str]]] = {
    RunStatus.PAUSED: frozenset({EventKind.RUN_RESUMED, EventKind.CANCEL_REQUESTED}),
    RunStatus.STUCK: frozenset({EventKind.RUN_RESUMED}),
}
"""The only facts that wake a run of this status. A run of any other status is woken by every fact that it
accepts."""

DELAY_BREAKERS: Final[frozenset[str]] = frozenset({EventKind.CANCEL_REQUESTED})
"""The only facts that wake a run before the delay of its start is over: cancelling must not take a day."""

KEPT_LOGS: Final = 1_000
"""Log lines kept with a run: the newest."""

KEPT_ATTEMPTS: Final = 10
"""Attempts of a step that are kept from its beginning, and as many from its end."""

STORE_ACTOR: Final = "store"
"""Who caused a fact that no principal and no worker sent."""

WAYS_OUT: Final = (
    "use another id, on_conflict='attach' with the same input to go on with that run, or 'replace' to end it and begin anew "
    "(on the command line --id and --on-conflict)"
)
"""What a caller may do whose workflow id is taken."""


def check_newest(new: NewRun, run_id: str | None, status: RunStatus | None) -> None:
    """Refuse a retry of a run that is not the newest of its workflow id any more.

    Args:
        run_id, status: of the newest run, if there is one.

    Raises:
        RunExistsError: another run came after the one that is to be retried.
    """
    if new.retry_of is not None and new.retry_of != run_id:
        raise RunExistsError(
            f"run {new.retry_of} of workflow id {new.workflow_id!r} cannot be retried: run {run_id} ({status}) came after it",
            workflow_id=new.workflow_id,
            run_id=run_id,
            status=str(status),
        )


def check_question(row: InboxRow, *, is_open: bool, has_answer: bool) -> None:
    """Refuse an answer that would decide nothing, because another one was faster or nobody asks any more: who sent it must
    not believe that it was theirs.

    Args:
        row: the answer.
        is_open: its run asks the question.
        has_answer: an answer to it waits to be taken.

    Raises:
        QuestionNotFoundError: saying which.
    """
    question = f"question {row.fact.name!r} of {row.workflow_id!r}"
    if not is_open:
        raise QuestionNotFoundError(f"{question} is not open any more")
    if has_answer:
        raise QuestionNotFoundError(f"{question} has its answer already; a worker will take it")


WORDS: Final[dict[str, str]] = {
    EventKind.RUN_STARTED: "start",
    EventKind.SIGNAL_RECEIVED: "signal",
    EventKind.UPDATE_ACCEPTED: "update",
    EventKind.CANCEL_REQUESTED: "cancellation",
    EventKind.RUN_PAUSED: "pause",
    EventKind.RUN_RESUMED: "resume",
    EventKind.QUESTION_ANSWERED: "answer",
    EventKind.ROLLBACK_REQUESTED: "rollback",
}
"""How people call what they send."""


def accepts(status: RunStatus, rollback: RollbackStatus, kind: str) -> bool:
    """Whether a run takes a fact: an open one every fact; a closed one the order to roll back once more where
    that failed, and while it does so the outcomes of its compensations."""
    if not status.is_closed:
        return True
    if rollback is RollbackStatus.FAILED:
        return kind == EventKind.ROLLBACK_REQUESTED
    return rollback is RollbackStatus.RUNNING and kind in STEP_OUTCOMES


def may_adopt(status: RunStatus, rollback: RollbackStatus, ready_at_us: int | None) -> bool:
    """Whether a worker may take a run that nobody asked it to: an open one, or one whose rollback goes on or is asked to."""
    if not status.is_closed or rollback is RollbackStatus.RUNNING:
        return True
    return rollback is RollbackStatus.FAILED and ready_at_us is not None


def wakes(status: RunStatus, kind: str) -> bool:
    """Whether an accepted fact makes a run of this status ready."""
    wakers = WAKERS.get(status)
    return wakers is None or kind in wakers


def is_kept_for_successor(kind: str, command: int | None) -> bool:
    """Whether an unread fact passes to the run that continues this one (rule H6): messages do, outcomes and
    the start do not."""
    return command is None and kind != EventKind.RUN_STARTED


def blob_of(payload: str | None) -> str | None:
    """The hash of the blob that an envelope refers to, None if it carries its data itself."""
    if payload is None or '"blob"' not in payload:
        return None
    envelope = from_json(payload)
    blob = envelope.get("blob") if isinstance(envelope, dict) else None
    return blob if isinstance(blob, str) else None


def was_tried(codes: str | None, code: str) -> bool:
    """Whether a stuck run that was tried with these codes was tried with this one."""
    return code in (codes or "").split()
