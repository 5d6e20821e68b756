"""What is known of a run from outside, and the handle's protocol: the same in the harness and in the runtime."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands. ``stuck`` is ours to mend (code or worker); ``waiting`` is normal."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    STUCK = "stuck"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued_as_new"

    is_closed: bool
    """Whether the run has ended for ever."""


for _status in RunStatus:
    _status.is_closed = _status in (
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELLED,
        RunStatus.TERMINATED,
        RunStatus.CONTINUED_AS_NEW,
    )


class RollbackStatus(StrEnum):
    """Where a run's rollback stands."""

    NONE = "none"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
