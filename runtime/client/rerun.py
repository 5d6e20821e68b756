"""Running a failed run again, from before its failure (rule H7).

The new run takes over the history up to the batch in which the run failed, without it. What that batch brought besides
the failure (results of other steps, messages) is delivered to the new run again, so that nothing that succeeded runs twice. If the
failure came from a child, the cut lies before the child was started, because a child cannot be adopted.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from durable.codec import Envelope, record_exception
from durable.errors import RunExistsError, RunNotRetriableError, StepInDoubtError
from durable.handle import RollbackStatus, RunStatus
from durable.history import FACTS, Event, EventKind, Fact, Recorder, merge_details, split_batches, write_detail
from runtime.identifier import new_run_id
from runtime.store.row import InboxRow, NewRun, RunRow

if TYPE_CHECKING:
    from runtime.client.client import Client

RETRIABLE: Final = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TERMINATED})
"""How a run ends badly."""
_STEP_OUTCOMES: Final = frozenset({EventKind.STEP_COMPLETED, EventKind.STEP_FAILED, EventKind.STEP_CANCELLED})
_NOT_AGAIN: Final = frozenset(
    {
        EventKind.RUN_STARTED,
        EventKind.STEP_FAILED,
        EventKind.STEP_CANCELLED,
        EventKind.CHILD_FAILED,
        EventKind.CANCEL_REQUESTED,
        EventKind.RUN_TIMED_OUT,
        EventKind.TIMER_FIRED,
        EventKind.RUN_TERMINATED,
        EventKind.UPDATE_ACCEPTED,
    }
)
_KEPT_OF_START: Final = frozenset({"parent_workflow_id", "messages", "attributes"})
"""Details of the start that hold again when everything was undone."""


async def retry_run(client: Client, row: RunRow) -> NewRun:
    """Create the run that tries again.

    Raises:
        RunNotRetriableError: the run has not ended badly, its rollback is not complete, or another run of the id came
            after it: only the newest is retried, so that nothing is done twice.
    """
    await _check_newest(client, row)
    if row.status not in RETRIABLE:
        raise RunNotRetriableError(f"{row.workflow_id!r} is {row.status}; only a run that ended badly is retried")
    if row.rollback in (RollbackStatus.RUNNING, RollbackStatus.FAILED):
        raise RunNotRetriableError(
            f"the rollback of {row.workflow_id!r} is {row.rollback}; finish it first: durable rollback {row.workflow_id}"
        )
    history = await client.store.read_history(row.run_id)
    blobs = await client.store.read_blobs(row.run_id)
    inline = _Inline(client.envelope, blobs)
    now_us = client.clock.now_us()
    if row.rollback is RollbackStatus.COMPLETED or not history:
        new = _from_start(row, history, now_us, client.actor, inline)
    else:
        attempts = await client.store.read_attempts(row.run_id)
        begun = frozenset(attempt.command for attempt in attempts)
        new = _from_prefix(row, history, now_us, client.actor, inline, begun)
    try:
        await client.store.start(new)
    except RunExistsError:  # another retry was faster
        await _check_newest(client, row)
        raise
    return new


async def _check_newest(client: Client, row: RunRow) -> None:
    """Refuse a run that others came after: what it did is theirs to take over, once."""
    newest = await client.store.get_run(row.workflow_id)
    if newest is None or newest.run_id == row.run_id or row.status not in RETRIABLE:
        return
    if newest.first_run_id != row.first_run_id:
        why = f"was replaced by run {newest.run_id}, which began anew and is {newest.status}"
    else:
        why = f"was retried already by run {newest.run_id}, which is {newest.status}"
    if newest.status in RETRIABLE:
        why += f"; retry that one: durable retry {shlex.quote(row.workflow_id)}"
    raise RunNotRetriableError(
        f"run {row.run_id} of {row.workflow_id!r} {why}", workflow_id=row.workflow_id, run_id=newest.run_id
    )


class _Inline:
    """Payloads of a history, with their blobs put back, as a run that begins expects them."""

    def __init__(self, envelope: Envelope, blobs: Mapping[str, bytes]) -> None:
        self._envelope = envelope
        self._blobs = blobs

    def __call__(self, payload: str | None) -> str | None:
        if payload is None or '"blob"' not in payload[:20]:
            return payload
        return self._envelope.seal(self._envelope.open(payload, self._blobs))

    def seal(self, plain: str) -> str:
        """A payload of plain JSON."""
        return self._envelope.seal(plain)


def check_rollback(row: RunRow) -> None:
    """Refuse to go on with a rollback that has not failed.

    Raises:
        RunNotRetriableError: saying where the rollback stands.
    """
    if not row.status.is_closed:
        raise RunNotRetriableError(
            f"{row.workflow_id!r} is {row.status}; its code decides about rollback until it ends"
        )
    if row.rollback is not RollbackStatus.FAILED:
        raise RunNotRetriableError(
            f"{row.workflow_id!r} has nothing to go on with (its rollback: {row.rollback}); only a rollback that failed can "
            "be resumed"
        )


def _from_start(row: RunRow, history: Sequence[Event], now_us: int, actor: str, inline: _Inline) -> NewRun:
    """Everything was undone, so it begins again, with keys of its own."""
    run_id = new_run_id()
    first = history[0] if history else None
    kept = {name: value for name, value in first.details.items() if name in _KEPT_OF_START} if first else {}
    detail = write_detail(**{**kept, "retry_of": row.run_id, "attempt": _attempt(history) + 1})
    start = Fact(EventKind.RUN_STARTED, detail=detail, payload=inline(first.payload) if first else None, actor=actor)
    return _new_run(row, run_id, run_id, now_us, actor, start, (), (), _attributes(history[:1]))


def _from_prefix(
    row: RunRow, history: Sequence[Event], now_us: int, actor: str, inline: _Inline, begun: frozenset[int]
) -> NewRun:
    batches = list(split_batches(history))
    cut = _cut(batches)
    _check_once(row, [event for batch in batches[cut:] for event in batch], begun)
    if cut == 0:
        first = history[0]
        detail = merge_details(first.detail, write_detail(retry_of=row.run_id, attempt=_attempt(history) + 1))
        start = Fact(EventKind.RUN_STARTED, detail=detail, payload=inline(first.payload), actor=actor)
        return _new_run(row, new_run_id(), row.origin_id, now_us, actor, start, (), (), _attributes(history[:1]))
    prefix = [event for batch in batches[:cut] for event in batch]
    known = {event.command for event in prefix if event.command is not None}
    once = {event.command for event in prefix if _is_once(event)}
    facts = [
        Fact(e.kind, e.command, e.name, e.detail, inline(e.payload), e.actor)
        for batch in batches[cut:]
        for e in batch
        if e.kind in FACTS
        and (e.command is None or e.command in known)
        and (e.kind not in _NOT_AGAIN or e.command in once)
    ]
    facts += _doubts(once - {event.command for event in history if event.kind in _STEP_OUTCOMES}, begun, inline)
    run_id = new_run_id()
    recorder = Recorder(prefix[-1])
    recorder.begin_batch(now_us)
    about = write_detail(retry_of=row.run_id, at=prefix[-1].seq, attempt=_attempt(history) + 1)
    forked = recorder.append(EventKind.RUN_FORKED, actor, None, None, about)
    messages = [InboxRow(row.workflow_id, run_id, None, fact, now_us) for fact in facts]
    return _new_run(row, run_id, row.origin_id, now_us, actor, None, [*prefix, forked], messages, _attributes(prefix))


def _attempt(history: Sequence[Event]) -> int:
    """Which attempt of the run a history is of."""
    stages = (event for event in history if event.kind in (EventKind.RUN_STARTED, EventKind.RUN_FORKED))
    return max((int(event.details.get("attempt", 1)) for event in stages), default=1)


def _attributes(history: Sequence[Event]) -> dict[str, Any]:
    """The searchable fields at the end of a history."""
    attributes: dict[str, Any] = {}
    for event in history:
        if event.kind in (EventKind.RUN_STARTED, EventKind.ATTRIBUTES_SET):
            attributes.update(event.details.get("attributes", {}))
    return {name: value for name, value in attributes.items() if value is not None}


def _is_once(event: Event) -> bool:
    """Whether an event schedules an at-most-once step."""
    options = event.details.get("options") or {} if event.kind == EventKind.STEP_SCHEDULED else {}
    return bool(options.get("delivery") == "at_most_once")


def _check_once(row: RunRow, dropped: Sequence[Event], begun: frozenset[int]) -> None:
    """Refuse a cut that would forget an at-most-once step which may have run."""
    for event in dropped:
        if _is_once(event) and event.command in begun:
            raise RunNotRetriableError(
                f"{row.workflow_id!r} cannot be retried: step {event.name!r} runs at most once, may have run, and lies after "
                "the point from which the run would go on; start a new run instead"
            )


def _doubts(once: set[int | None], begun: frozenset[int], inline: _Inline) -> list[Fact]:
    """The outcome of at-most-once steps that had begun and have none: it stays unknown."""
    error = StepInDoubtError("the step was started by the run before and its outcome is unknown; it is not run again")
    payload = inline.seal(record_exception(error))
    return [
        Fact(EventKind.STEP_FAILED, command, payload=payload)
        for command in sorted(command for command in once if command is not None and command in begun)
    ]


def _cut(batches: Sequence[Sequence[Event]]) -> int:
    """Index of the first batch that is dropped: the last one, or the one that began a child which is open there."""
    cut = len(batches) - 1
    ended = {
        event.command
        for batch in batches[:cut]
        for event in batch
        if event.kind in (EventKind.CHILD_COMPLETED, EventKind.CHILD_FAILED)
    }
    for index, batch in enumerate(batches[:cut]):
        if any(event.kind == EventKind.CHILD_STARTED and event.command not in ended for event in batch):
            return index
    return cut


def _new_run(
    row: RunRow,
    run_id: str,
    origin_id: str,
    now_us: int,
    actor: str,
    start: Fact | None,
    history: Sequence[Event],
    messages: Sequence[InboxRow],
    attributes: Mapping[str, Any],
) -> NewRun:
    return NewRun(
        run_id=run_id,
        workflow_id=row.workflow_id,
        workflow=row.workflow,
        queue=row.queue,
        actor=actor,
        created_at_us=now_us,
        ready_at_us=now_us,
        origin_id=origin_id,
        first_run_id=row.first_run_id,
        input_digest=row.input_digest,
        start=start,
        history=history,
        messages=messages,
        parent_run_id=None,
        parent_command=None,
        on_conflict="replace",
        retry_of=row.run_id,
        attributes=attributes,
    )
