"""A run as the writer holds it in memory while it changes."""

from __future__ import annotations

from typing import Any, Final

from durable.handle import RollbackStatus, RunStatus
from runtime.store.row import RunRow

_STATUS: Final = {status.value: status for status in RunStatus}
_ROLLBACK: Final = {status.value: status for status in RollbackStatus}


class Run:
    """The columns of ``run_rows``; ``RunRow`` says what they mean.

    Attributes:
        key: the run's number inside this database.
        lane: number of its (workflow, queue) pair.
        unread: how many inbox rows it may take.
        has_parts: whether tasks, questions or updates of it may be open.
    """

    __slots__ = (
        "actor",
        "closed_at_us",
        "code",
        "created_at_us",
        "epoch",
        "first_run_id",
        "has_parts",
        "input_digest",
        "key",
        "lane",
        "lost",
        "on_parent_close",
        "origin_id",
        "owner",
        "parent_command",
        "parent_run_id",
        "queue",
        "ready_at_us",
        "reason",
        "rollback",
        "run_id",
        "seq",
        "started_at_us",
        "status",
        "unread",
        "waiting_for",
        "workflow",
        "workflow_id",
    )

    def __init__(self, columns: tuple[Any, ...]) -> None:
        self.key: int
        self.run_id: str
        self.workflow_id: str
        self.workflow: str
        self.queue: str
        self.owner: str | None
        self.epoch: int
        self.seq: int
        self.ready_at_us: int | None
        self.created_at_us: int
        self.started_at_us: int | None
        self.closed_at_us: int | None
        self.parent_run_id: str | None
        self.parent_command: int | None
        self.on_parent_close: str
        self.code: str | None
        self.reason: str | None
        self.waiting_for: str | None
        self.input_digest: str
        self.actor: str
        self.lane: int
        self.unread: int
        (
            self.key,
            self.run_id,
            self.workflow_id,
            self.workflow,
            self.queue,
            status,
            rollback,
            self.owner,
            self.epoch,
            self.seq,
            self.ready_at_us,
            self.created_at_us,
            self.started_at_us,
            self.closed_at_us,
            origin_id,
            first_run_id,
            self.parent_run_id,
            self.parent_command,
            self.on_parent_close,
            lost,
            self.code,
            self.reason,
            self.waiting_for,
            self.input_digest,
            self.actor,
            self.lane,
            self.unread,
            has_parts,
        ) = columns
        self.status = _STATUS[status]
        self.rollback = _ROLLBACK[rollback]
        self.origin_id: str = origin_id or self.run_id
        self.first_run_id: str = first_run_id or self.run_id
        self.lost = bool(lost)
        self.has_parts = bool(has_parts)

    def row(self) -> RunRow:
        """The run as others see it."""
        return RunRow(
            self.run_id,
            self.workflow_id,
            self.workflow,
            self.queue,
            self.status,
            self.rollback,
            self.owner,
            self.epoch,
            self.seq,
            self.ready_at_us,
            self.created_at_us,
            self.started_at_us,
            self.closed_at_us,
            self.origin_id,
            self.first_run_id,
            self.parent_run_id,
            self.parent_command,
            self.on_parent_close,
            self.lost,
            self.code,
            self.reason,
            self.waiting_for,
            self.input_digest,
            self.actor,
        )

    def insert_columns(self) -> tuple[Any, ...]:
        """The parameters of ``insert_run``."""
        return (
            self.key,
            self.run_id,
            self.workflow_id,
            self.workflow,
            self.queue,
            self.status.value,
            self.rollback.value,
            self.created_at_us,
            self.started_at_us,
            self.closed_at_us,
            None if self.origin_id == self.run_id else self.origin_id,
            None if self.first_run_id == self.run_id else self.first_run_id,
            self.parent_run_id,
            self.parent_command,
            self.on_parent_close,
            self.code,
            self.reason,
            self.input_digest,
            self.actor,
        )
