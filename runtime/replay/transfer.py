"""Runs out of a store into a file, and into another store: a bug report that replays on another machine.

An imported run must never go on by accident, for its steps would be done twice. So a run that was open becomes **paused** in the queue
``imported``, which no worker serves unless it is told to; even a resume of all paused runs leaves it where it is. It keeps its ids
and its history, event by event, so it is shown, replayed and debugged as where it came from. Its questions, tasks and unread
messages stay behind: nobody is asked anything by a copy.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import durable
from durable.duration import to_instant
from durable.errors import ConfigurationError, ConflictError, RunExistsError
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind
from durable.replay.disclosure import disclose
from durable.replay.file import ExportedRun, write_runs
from runtime.client.rerun import attributes_of
from runtime.client.termination import commit_one
from runtime.replay.reading import read_recording
from runtime.store.row import AttemptOutcome, AttemptRow, LogRow, NewRun, RunRow, StreamItem
from runtime.store.rule import KEPT_LOGS
from runtime.store.turn import RunChange, Turn

if TYPE_CHECKING:
    from runtime.client.client import Client

QUEUE: Final = "imported"
"""The queue of imported runs."""

_NEVER: Final = (1 << 62) - 1

_OF_ROW: Final = (
    "status", "rollback", "queue", "actor", "on_parent_close", "parent_command", "input_digest", "reason", "waiting_for",
)  # fmt: skip
_TIMES: Final = ("created_at", "started_at", "closed_at")


# -- out --------------------------------------------------------------------------------------------------


async def export_run(
    client: Client, row: RunRow, *, tree: bool = False, history_only: bool = False, decrypt: bool = False
) -> str:
    """The text of a file with this run.

    Args:
        tree: with its children, and theirs.
        history_only: without attempts and log lines.
        decrypt: with payloads in plain text, instead of as they are stored; the client needs the codecs.

    Raises:
        ConfigurationError: a payload cannot be decrypted with the client's codecs.
    """
    rows = [row]
    if tree:
        for one in rows:  # grows while it is walked
            rows += await client.store.children(one.run_id)
    runs = [await _read(client, one, history_only=history_only, decrypt=decrypt) for one in rows]
    exported = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "durable": durable.__version__,
        "python": platform.python_version(),
    }
    return write_runs(runs, exported)


async def _read(client: Client, row: RunRow, *, history_only: bool, decrypt: bool) -> ExportedRun:
    store, run_id = client.store, row.run_id
    recording = await read_recording(store, row)
    attempts: list[dict[str, Any]] = []
    logs: list[dict[str, Any]] = []
    if not history_only:
        attempts = [_without_run(asdict(attempt)) for attempt in await store.read_attempts(run_id)]
        logs = [_without_run(asdict(line)) for line in await store.read_logs(run_id, KEPT_LOGS)]
    if decrypt:
        recording = disclose(recording, client.envelope)
        attempts = [_opened(client, attempt) for attempt in attempts]
    children = [
        {"workflow_id": child.workflow_id, "run_id": child.run_id, "workflow": child.workflow, "status": child.status}
        for child in await store.children(run_id)
    ]
    return ExportedRun(recording, _about(row), children, attempts, logs)


def _about(row: RunRow) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(row, name) for name in _OF_ROW}
    for name in _TIMES:
        at_us = getattr(row, f"{name}_us")
        fields[f"{name}_us"] = at_us
        fields[name] = None if at_us is None else to_instant(at_us).isoformat()
    return fields


def _without_run(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "run_id"}


def _opened(client: Client, attempt: dict[str, Any]) -> dict[str, Any]:
    heartbeat = attempt["heartbeat"]
    if heartbeat is None:
        return attempt
    return {**attempt, "heartbeat": f'{{"v":1,"data":{client.envelope.open(heartbeat)}}}'}


# -- in ---------------------------------------------------------------------------------------------------


async def import_runs(client: Client, runs: Sequence[ExportedRun], source: str) -> list[RunRow]:
    """Write exported runs into the client's store, open ones as paused copies that no worker serves.

    Args:
        runs: as ``durable.replay.file.read_runs`` has checked them.
        source: where they come from, for their reason.

    Returns:
        Their rows, in the order of the file.

    Raises:
        RunExistsError: one of the ids is taken; nothing was written.
        ConfigurationError: the file lacks what a store must know of a run.
    """
    try:
        prepared = [(_new_run(run), _turn(run, source)) for run in runs]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{source} is no exported run: {type(error).__name__}: {error}") from error
    begun = {new.run_id for new, _ in prepared if await _is_begun(client, new)}
    rows = []
    seen: set[str] = set()
    for new, turn in prepared:
        # In one file two runs of an id are those of a chain: the earlier ones have ended.
        again = new.workflow_id in seen
        seen.add(new.workflow_id)
        if new.run_id not in begun:
            await client.store.start(replace(new, on_conflict="replace") if again else new)
        outcome = await commit_one(client, turn)
        if isinstance(outcome, ConflictError):
            raise RunExistsError(f"run {new.run_id} was changed while it was imported", run_id=new.run_id)
        if outcome is not None:
            raise outcome
        row = await client.store.get_run_by_id(new.run_id)
        assert row is not None
        rows.append(row)
    return rows


async def _is_begun(client: Client, new: NewRun) -> bool:
    """Whether an import of this very run was cut off, so that its row is there and nothing else.

    Raises:
        RunExistsError: its workflow id or its run id is taken otherwise.
    """
    taken = await client.store.get_run(new.workflow_id) or await client.store.get_run_by_id(new.run_id)
    if taken is None:
        return False
    is_empty = taken.seq == 0 and taken.status is RunStatus.PENDING and taken.queue == QUEUE
    if taken.run_id != new.run_id or not is_empty:
        raise RunExistsError(
            f"workflow id {taken.workflow_id!r} is taken in {client.store.url}: run {taken.run_id} ({taken.status}) has it; import "
            "into another store (--store sqlite:///FILE), or replay the file as it is: durable replay --file FILE TARGET",
            workflow_id=taken.workflow_id,
            run_id=taken.run_id,
            status=str(taken.status),
        )
    return True


def _new_run(run: ExportedRun) -> NewRun:
    identity, about, events = run.recording.identity, run.about, run.recording.events
    unread = run.recording.unread
    start = None if events else next((fact for fact in unread if fact.kind == EventKind.RUN_STARTED), None)
    return NewRun(
        run_id=identity.run_id,
        workflow_id=identity.workflow_id,
        workflow=identity.workflow,
        queue=QUEUE,
        actor=str(about["actor"]),
        created_at_us=int(about["created_at_us"]),
        ready_at_us=_NEVER,
        origin_id=identity.origin_id,
        first_run_id=identity.first_run_id,
        input_digest=str(about["input_digest"]),
        start=start,
        parent_run_id=identity.parent_run_id,
        parent_command=about["parent_command"],
        on_parent_close=str(about["on_parent_close"]),
        on_conflict="fail",
    )


def _turn(run: ExportedRun, source: str) -> Turn:
    recording, about = run.recording, run.about
    run_id, events = recording.identity.run_id, recording.events
    status, rollback = RunStatus(about["status"]), RollbackStatus(about["rollback"])
    if status.is_closed and rollback is RollbackStatus.RUNNING:
        rollback = RollbackStatus.FAILED
    was = f"it was {status}" + (f" ({about['reason']})" if about["reason"] else "")
    change = RunChange(
        status=status if status.is_closed else RunStatus.PAUSED,
        rollback=rollback,
        waiting_for=about["waiting_for"],
        reason=about["reason"] if status.is_closed else f"imported from {source}, where {was}; no worker serves it",
        closed_at_us=about["closed_at_us"] if status.is_closed else None,
        started_at_us=about["started_at_us"],
        release=True,
    )
    return Turn(
        run_id,
        recording.identity.workflow_id,
        expected_seq=0,
        epoch=None,
        events=events,
        change=change,
        blobs=recording.blobs,
        attempts=[_attempt(run_id, fields) for fields in run.attempts],
        attributes=attributes_of(events),
        published={e.name: e.payload for e in events if e.kind == EventKind.VALUE_PUBLISHED and e.name and e.payload},
        stream=list(_stream(events)),
        logs=[LogRow(run_id, **fields) for fields in run.logs],
        fence=True,
    )


def _attempt(run_id: str, fields: Mapping[str, Any]) -> AttemptRow:
    return AttemptRow(run_id, **{**fields, "outcome": AttemptOutcome(fields["outcome"])})


def _stream(events: Iterable[Event]) -> Iterable[StreamItem]:
    for event in events:
        if event.kind == EventKind.STREAM_WRITTEN and event.name and event.payload:
            yield StreamItem(event.name, int(event.details["position"]), event.payload)
