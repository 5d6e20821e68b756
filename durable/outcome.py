"""The outcome of a run as its caller sees it: a result, or the error that says how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from durable.cause import rebuild_cause, summarize_cause
from durable.codec import Envelope, ValueCodec
from durable.errors import (
    RunCancelledError,
    RunError,
    RunFailedError,
    RunNotRetriableError,
    RunTerminatedError,
    RunTimeoutError,
)
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind


class EndedRun(Protocol):
    """What is known of a run beside its history."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def workflow(self) -> str:
        """Name of the definition."""
        ...

    @property
    def status(self) -> RunStatus: ...
    @property
    def rollback(self) -> RollbackStatus: ...


def read_outcome(
    run: EndedRun,
    event: Event,
    codec: ValueCodec,
    envelope: Envelope,
    blobs: Mapping[str, bytes],
    modules: Sequence[ModuleType] = (),
) -> Any:
    """The result of a completed run.

    Args:
        run: the run.
        event: its terminal event.
        codec: of the result.
        modules: where the class of a recorded error is looked for first.

    Raises:
        RunFailedError: with the workflow's error as cause. RunTimeoutError, RunCancelledError, RunTerminatedError.
    """
    ids: dict[str, str] = {"workflow_id": run.workflow_id, "run_id": run.run_id}
    name = f"workflow {run.workflow!r} ({run.workflow_id})"
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
            raise failure(name, run, envelope.open(event.payload or "null", blobs), modules)


def failure(name: str, run: EndedRun, record: str, modules: Sequence[ModuleType]) -> RunError:
    """The error of a failed run; its cause is what the workflow raised, as far as that can be rebuilt here."""
    cause = rebuild_cause(record, modules)
    if isinstance(cause, RunTimeoutError):
        return cause
    undone = {"completed": "; it was rolled back", "failed": "; its rollback failed"}.get(run.rollback, "")
    error = RunFailedError(
        f"{name} failed: {summarize_cause(cause)}{undone}", workflow_id=run.workflow_id, run_id=run.run_id
    )
    error.__cause__ = cause
    return error


def check_rollback(run: EndedRun) -> None:
    """Refuse to go on with a rollback that has not failed.

    Raises:
        RunNotRetriableError: saying where the rollback stands.
    """
    if not run.status.is_closed:
        raise RunNotRetriableError(
            f"{run.workflow_id!r} is {run.status}; its code decides about rollback until it ends"
        )
    if run.rollback is not RollbackStatus.FAILED:
        raise RunNotRetriableError(
            f"{run.workflow_id!r} has nothing to go on with (its rollback: {run.rollback}); only a rollback that failed can "
            "be resumed"
        )
