"""One step in flight: what is known of it, and what ``step_info()`` and ``heartbeat()`` see of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.codec import value_codec
from durable.commands import ScheduleStep
from durable.duration import optional_us
from durable.step import ONCE, RetryPolicy, StepInfo
from runtime.worker.token import step_token

if TYPE_CHECKING:
    from runtime.clock import Alarm
    from runtime.worker.held import HeldRun
    from runtime.worker.runner import StepRunner


class Execution:
    """A step between its schedule and its outcome.

    Attributes:
        held: the run.
        command: what was asked for.
        attempt: number of the current or next attempt, from 1.
        policy: when it is repeated.
        first_at_us: when the first attempt began.
        task: runs the current attempt.
        alarm: waits for the next attempt, or for a limit of a handed-over step.
        timed_out: which limit ended the current attempt, in words.
        is_over: that limit was the one of all attempts together.
        cancel_requested: the workflow does not want it any more.
        losses: workers that were lost with it.
        was_started: a record of the current attempt's start exists (at-most-once, or suspected of losing workers).
        heartbeat: envelope of the newest heartbeat details.
        last_error: of the attempt before.
    """

    __slots__ = (
        "alarm", "attempt", "beaten_at", "cancel_requested", "command", "connection", "first_at_us", "held", "heartbeat",
        "is_over", "last_error", "losses", "policy", "runner", "started_at_us", "task", "timed_out", "was_started", "wheel_key",
    )  # fmt: skip

    def __init__(self, held: HeldRun, command: ScheduleStep, policy: RetryPolicy, now_us: int) -> None:
        self.held = held
        self.command = command
        self.policy = policy
        self.attempt = 1
        self.first_at_us = now_us
        self.started_at_us = now_us
        self.task: asyncio.Task[None] | None = None
        self.alarm: Alarm | None = None
        self.timed_out: str | None = None
        self.cancel_requested = False
        self.losses = 0
        self.was_started = False
        self.heartbeat: str | None = None
        self.beaten_at = 0.0
        self.last_error: BaseException | None = None
        self.wheel_key: tuple[int, int] | None = None
        self.is_over = False
        self.runner: StepRunner | None = None
        self.connection: Any = None

    def total_deadline_us(self) -> int | None:
        """When the step's ``total_timeout`` is over."""
        limit = optional_us(self.command.definition.options_.total_timeout, "total_timeout")
        return None if limit is None else self.first_at_us + limit

    def limit_us(self, now_us: int) -> tuple[int, str] | None:
        """The time that this attempt may still take, and the name of the limit; None: any."""
        own = optional_us(self.command.definition.options_.timeout, "timeout")
        total = self.total_deadline_us()
        if total is not None and (own is None or total - now_us < own):
            return max(0, total - now_us), "total_timeout"
        return None if own is None else (own, "timeout")

    # -- as current_step ----------------------------------------------------------------------------------

    def beat(self, details: Any) -> None:
        """What ``heartbeat()`` does."""
        if self.runner is not None:
            self.runner.beat(self, details)

    def info(self) -> StepInfo:
        """What ``step_info()`` returns."""
        row, command = self.held.row, self.command
        assert command.number is not None
        limit = self.limit_us(self.started_at_us)
        details = self.runner.open(self.heartbeat) if self.runner is not None and self.heartbeat is not None else None
        return StepInfo(
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            workflow=row.workflow,
            step=command.name or "",
            command=command.number,
            attempt=self.attempt,
            idempotency_key=command.idempotency_key,
            token=step_token(row.run_id, command.number),
            heartbeat_details=value_codec(Any).decode(details) if details is not None else None,
            started_at_us=self.started_at_us,
            deadline_us=None if limit is None else self.started_at_us + limit[0],
            connection=self.connection,
        )


def policy_of(command: ScheduleStep, *defaults: RetryPolicy | None) -> RetryPolicy:
    """The retry policy of a step: its own, else the first default, else one attempt; at-most-once never repeats."""
    options = command.definition.options_
    if options.delivery == "at_most_once":
        return ONCE
    if options.retry is not None:
        return options.retry
    return next((policy for policy in defaults if policy is not None), ONCE)
