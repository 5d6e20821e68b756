"""The outcome of a run: waiting for its end, and then its result, or the error that says how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from durable.codec import Envelope, ValueCodec
from durable.errors import (
    RunCancelledError,
    RunError,
    RunFailedError,
    RunNotFoundError,
    RunTerminatedError,
    RunTimeoutError,
)
from durable.handle import RunStatus
from durable.history import TERMINAL, Event, EventKind
from runtime.client.cause import rebuild_cause, summarize_cause
from runtime.store.change import Ending
from runtime.store.row import RunRow

if TYPE_CHECKING:
    from runtime.client.client import Client

_LAST: Final = 64
"""Events at the end of a history, among which its terminal one nearly always is."""


async def await_outcome(client: Client, workflow_id: str, run_id: str, codec: ValueCodec) -> Any:
    """Wait for the end of a run, and of those that continue or retry it; return or raise the outcome of the last.

    Args:
        codec: of the result.
    """
    while True:
        row, event = await _ending(client, workflow_id, run_id)
        if row.status is RunStatus.COMPLETED:
            break
        successor = await client.store.successor(row.run_id)
        if successor is None:
            break
        run_id = successor.run_id
    has_blob = event.payload is not None and '"blob"' in event.payload
    blobs = await client.store.read_blobs(row.run_id) if has_blob else {}
    return read_outcome(row, event, codec, client.envelope, blobs, client.modules)


async def _ending(client: Client, workflow_id: str, run_id: str) -> Ending:
    """Wait for the end of one run."""
    store = client.store

    async def look() -> Ending | None:
        row = await store.get_run_by_id(run_id)
        if row is None:
            raise RunNotFoundError(f"no run {run_id} of {workflow_id!r} in {store.url}", workflow_id=workflow_id)
        return Ending(row, await _terminal_event(client, row)) if row.status.is_closed else None

    return await client.watch.until_ended(run_id, look)


async def _terminal_event(client: Client, row: RunRow) -> Event:
    """The event that ended a run: the last one, unless its rollback went on later."""
    history = await client.store.read_history(row.run_id, after_seq=max(0, row.seq - _LAST))
    if not any(event.kind in TERMINAL for event in history):
        history = await client.store.read_history(row.run_id)
    return next(event for event in reversed(history) if event.kind in TERMINAL)


def read_outcome(
    row: RunRow,
    event: Event,
    codec: ValueCodec,
    envelope: Envelope,
    blobs: Mapping[str, bytes],
    modules: Sequence[ModuleType] = (),
) -> Any:
    """The result of a completed run.

    Args:
        row: the run.
        event: its terminal event.
        codec: of the result.
        modules: where the class of a recorded error is looked for first.

    Raises:
        RunFailedError: with the workflow's error as cause. RunTimeoutError, RunCancelledError, RunTerminatedError.
    """
    ids: dict[str, str] = {"workflow_id": row.workflow_id, "run_id": row.run_id}
    name = f"workflow {row.workflow!r} ({row.workflow_id})"
    reason = event.details.get("reason") or ""
    because = f": {reason}" if reason else ""
    match event.kind:
        case EventKind.RUN_COMPLETED:
            return codec.decode(envelope.open(event.payload or "null", blobs))
        case EventKind.RUN_CANCELLED:
            raise RunCancelledError(f"{name} was cancelled{because}", **ids)
        case EventKind.RUN_TERMINATED:
            raise RunTerminatedError(f"{name} was terminated{because}", **ids)
        case _:
            raise failure(name, row, envelope.open(event.payload or "null", blobs), modules)


def failure(name: str, row: RunRow, record: str, modules: Sequence[ModuleType]) -> RunError:
    """The error of a failed run; its cause is what the workflow raised, as far as that can be rebuilt here."""
    cause = rebuild_cause(record, modules)
    if isinstance(cause, RunTimeoutError):
        return cause
    undone = {"completed": "; it was rolled back", "failed": "; its rollback failed"}.get(row.rollback, "")
    error = RunFailedError(
        f"{name} failed: {summarize_cause(cause)}{undone}", workflow_id=row.workflow_id, run_id=row.run_id
    )
    error.__cause__ = cause
    return error
