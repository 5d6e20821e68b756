"""Running a failed run again, from before its failure (rule H7).

The new run takes over the history up to the batch in which the run failed, without it. What that batch brought besides
the failure (results of other steps, messages) is delivered to the new run again, so that nothing that succeeded runs twice. A
child that was open or failed is retried in the same transaction and belongs to the new run (``runtime.client.adoption``). If it
cannot be, the cut lies before its start.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from durable.codec import Envelope, record_exception
from durable.errors import RunExistsError, RunNotRetriableError, StepInDoubtError
from durable.handle import RollbackStatus, RunStatus
from durable.history import FACTS, Event, EventKind, Fact, Recorder, merge_details, split_batches, write_detail
from runtime.client.adoption import Adoption, adopt_children, check_forgotten, done_once, once_kind, open_children
from runtime.identifier import new_run_id
from runtime.store.row import InboxRow, NewRun, RunRow
from runtime.store.whole import read_whole_history

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
        EventKind.RUN_PAUSED,
        EventKind.RUN_RESUMED,
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
    new = await _prepare(client, row)
    try:
        await client.store.start(new)
    except RunExistsError as error:  # another retry was faster, of the run or of one of its children
        await _check_newest(client, row)
        raise RunNotRetriableError(error.message, **error.data) from error
    return new


async def _prepare(client: Client, row: RunRow, parent_run_id: str | None = None, command: int | None = None) -> NewRun:
    """The run that tries ``row`` again, with the children that it goes on with.

    Args:
        parent_run_id, command: who waits for its outcome.
    """
    if row.rollback in (RollbackStatus.RUNNING, RollbackStatus.FAILED):
        raise RunNotRetriableError(
            f"the rollback of {row.workflow_id!r} is {row.rollback}; finish it first: durable rollback {row.workflow_id}"
        )
    history = await read_whole_history(client.store, row)
    blobs = await client.store.read_blobs(row.run_id)
    inline = _Inline(client.envelope, blobs)
    now_us = client.clock.now_us()
    if row.rollback is RollbackStatus.COMPLETED or not history:
        new = _from_start(row, history, now_us, client.actor, inline)
    else:
        attempts = await client.store.read_attempts(row.run_id)
        begun = frozenset(attempt.command for attempt in attempts)
        new = await _from_prefix(client, row, history, now_us, inline, begun)
    return replace(new, parent_run_id=parent_run_id, parent_command=command)


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


def _from_start(row: RunRow, history: Sequence[Event], now_us: int, actor: str, inline: _Inline) -> NewRun:
    """Everything was undone, so it begins again, with keys of its own."""
    run_id = new_run_id()
    first = history[0] if history else None
    kept = {name: value for name, value in first.details.items() if name in _KEPT_OF_START} if first else {}
    detail = write_detail(**{**kept, "retry_of": row.run_id, "attempt": _attempt(history) + 1})
    start = Fact(EventKind.RUN_STARTED, detail=detail, payload=inline(first.payload) if first else None, actor=actor)
    return _new_run(row, run_id, run_id, now_us, actor, start, (), (), attributes_of(history[:1]))


async def _from_prefix(
    client: Client, row: RunRow, history: Sequence[Event], now_us: int, inline: _Inline, begun: frozenset[int]
) -> NewRun:
    batches = list(split_batches(history))
    run_id, actor = new_run_id(), client.actor
    adoption = await adopt_children(
        client, row, batches, lambda child, command: _prepare(client, child, run_id, command), inline.seal
    )
    cut = len(batches) - 1 if adoption is not None else _cut(batches)
    dropped = [event for batch in batches[cut:] for event in batch]
    _check_once(row, dropped, history, begun)
    await check_forgotten(client, row, dropped)
    if cut == 0:
        first = history[0]
        detail = merge_details(first.detail, write_detail(retry_of=row.run_id, attempt=_attempt(history) + 1))
        start = Fact(EventKind.RUN_STARTED, detail=detail, payload=inline(first.payload), actor=actor)
        return _new_run(row, run_id, row.origin_id, now_us, actor, start, (), (), attributes_of(history[:1]))
    adoption = adoption or Adoption()
    prefix = [event for batch in batches[:cut] for event in batch]
    known = {event.command for event in prefix if event.command is not None}
    once = {event.command for event in prefix if once_kind(event) == "at_most_once"}
    facts = [
        Fact(e.kind, e.command, e.name, e.detail, inline(e.payload), e.actor)
        for e in dropped
        if e.kind in FACTS
        and (e.command is None or e.command in known)
        and (e.kind not in _NOT_AGAIN or e.command in once)
    ]
    facts += _doubts(once - {event.command for event in history if event.kind in _STEP_OUTCOMES}, begun, inline)
    facts += adoption.facts
    recorder = Recorder(prefix[-1])
    recorder.begin_batch(now_us)
    about = write_detail(retry_of=row.run_id, at=prefix[-1].seq, attempt=_attempt(history) + 1)
    forked = recorder.append(EventKind.RUN_FORKED, actor, None, None, about)
    begun_with = [*prefix, forked]
    pauses = [event.kind for event in prefix if event.kind in (EventKind.RUN_PAUSED, EventKind.RUN_RESUMED)]
    if pauses and pauses[-1] == EventKind.RUN_PAUSED:  # who asks for a retry wants the run to go on
        begun_with.append(recorder.append(EventKind.RUN_RESUMED, actor, None, None, None))
    messages = [InboxRow(row.workflow_id, run_id, None, fact, now_us) for fact in facts]
    new = _new_run(row, run_id, row.origin_id, now_us, actor, None, begun_with, messages, attributes_of(prefix))
    return replace(new, children=adoption.runs)


def _attempt(history: Sequence[Event]) -> int:
    """Which attempt of the run a history is of."""
    stages = (event for event in history if event.kind in (EventKind.RUN_STARTED, EventKind.RUN_FORKED))
    return max((int(event.details.get("attempt", 1)) for event in stages), default=1)


def attributes_of(history: Sequence[Event]) -> dict[str, Any]:
    """The searchable fields at the end of a history."""
    attributes: dict[str, Any] = {}
    for event in history:
        if event.kind in (EventKind.RUN_STARTED, EventKind.ATTRIBUTES_SET):
            attributes.update(event.details.get("attributes", {}))
    return {name: value for name, value in attributes.items() if value is not None}


def _check_once(row: RunRow, dropped: Sequence[Event], history: Sequence[Event], begun: frozenset[int]) -> None:
    """Refuse a cut that would forget a step that must not run again."""
    step = done_once(dropped, history, begun)
    if step is not None:
        raise RunNotRetriableError(
            f"{row.workflow_id!r} cannot be retried: {step}, and it lies after the point from which the run would go on; start "
            "a new run instead"
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
    """Index of the first batch that is dropped where children cannot be adopted: the one that began the first of those open."""
    cut = len(batches) - 1
    lost = {event.command for event in open_children(batches[:cut])}
    for index, batch in enumerate(batches[:cut]):
        if any(event.kind == EventKind.CHILD_STARTED and event.command in lost for event in batch):
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
        on_parent_close=row.on_parent_close,
        on_conflict="replace",
        retry_of=row.run_id,
        attributes=attributes,
    )
