"""The outcome of a closed run: its result, or the error that says how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from durable.codec import Envelope, ValueCodec, rebuild_exception, summarize_exception
from durable.errors import (
    MissingCodeError,
    RunCancelledError,
    RunError,
    RunFailedError,
    RunTerminatedError,
    RunTimeoutError,
    StepError,
)
from durable.history import Event, EventKind
from runtime.store.row import RunRow


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
    try:
        cause: Exception = rebuild_exception(record, modules=modules)
    except MissingCodeError as missing:
        cause = StepError(missing.message)
    if isinstance(cause, RunTimeoutError):
        return cause
    undone = {"completed": "; it was rolled back", "failed": "; its rollback failed"}.get(row.rollback, "")
    error = RunFailedError(
        f"{name} failed: {summarize_exception(cause)}{undone}", workflow_id=row.workflow_id, run_id=row.run_id
    )
    error.__cause__ = cause
    return error
