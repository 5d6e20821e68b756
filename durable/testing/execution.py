"""One step in flight in the harness, and its current attempt as the code of the step sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.attempt import StepInfo
from durable.codec import value_codec
from durable.commands import ScheduleStep
from durable.duration import to_us
from durable.retry import RetryPolicy
from durable.testing.clock import VirtualAlarm

if TYPE_CHECKING:
    from durable.testing.simulated import SimulatedRun
    from durable.testing.stepping import Steps


class Execution:
    """A step between its schedule and its outcome.

    Attributes:
        attempt: number of the current or next attempt, from 1.
        task: runs the current attempt, if it runs for real.
        has_begun: the current attempt was started; after a crash an at-most-once step is in doubt.
        due: waits for the next attempt, or for the answer of a stub.
        next_at_us: when the next attempt is due, while none runs.
        limits: end the current attempt.
        timed_out: which limit ended it, in words.
        is_over: that limit was the one of all attempts together.
        is_handed_over: somebody else completes it.
        losses: crashes that it was in.
    """

    attempt = 1
    task: asyncio.Task[None] | None = None
    has_begun = False
    due: VirtualAlarm | None = None
    next_at_us: int | None = None
    timed_out: str | None = None
    is_over = False
    is_handed_over = False
    cancel_requested = False
    losses = 0
    heartbeat: str | None = None
    last_error: BaseException | None = None
    silence: VirtualAlarm | None = None
    running: RunningAttempt | None = None

    def __init__(self, run: SimulatedRun, command: ScheduleStep, policy: RetryPolicy) -> None:
        assert command.number is not None
        self.run = run
        self.command = command
        self.number = command.number
        self.name = command.name or ""
        self.policy = policy
        self.started_at_us = command.at_us
        self.limits: list[VirtualAlarm] = []

    @property
    def is_open(self) -> bool:
        """It has no outcome yet."""
        return self.run.steps.get(self.number) is self

    @property
    def token(self) -> str:
        """Names the step to those who complete it."""
        return f"{self.run.run_id}:{self.number}"

    @property
    def total_deadline_us(self) -> int | None:
        """When its ``total_timeout`` is over."""
        limit = self.command.definition.options_.total_timeout
        return None if limit is None else self.command.at_us + to_us(limit)

    def release(self) -> None:
        """The current attempt is over."""
        for alarm in (*self.limits, self.due, self.silence):
            if alarm is not None:
                alarm.cancel()
        self.limits.clear()
        self.due = self.silence = self.running = None
        self.is_handed_over = False


class RunningAttempt:
    """One attempt, as the code of the step sees it."""

    def __init__(self, execution: Execution, steps: Steps) -> None:
        self._execution = execution
        self._steps = steps
        self._attempt = execution.attempt
        self._details = execution.heartbeat

    def info(self) -> StepInfo:
        """What ``step_info()`` returns."""
        execution = self._execution
        details = None if self._details is None else value_codec(Any).decode(self._details)
        deadlines = [alarm.at_us for alarm in execution.limits if alarm.is_open]
        info = StepInfo(
            workflow_id=execution.run.workflow_id,
            run_id=execution.run.run_id,
            workflow=execution.run.workflow,
            step=execution.name,
            command=execution.number,
            attempt=self._attempt,
            idempotency_key=execution.command.idempotency_key,
            token=execution.token,
            heartbeat_details=details,
            started_at_us=execution.started_at_us,
            deadline_us=min(deadlines, default=None),
        )
        return self._steps.shown(info)

    def beat(self, details: Any) -> None:
        """What ``heartbeat()`` does."""
        execution = self._execution
        if execution.running is not self:
            raise asyncio.CancelledError("the attempt is over")
        if details is not None:
            codec = value_codec(type(details) if hasattr(type(details), "__pydantic_serializer__") else Any)
            execution.heartbeat = codec.encode(details)
        if execution.cancel_requested:
            raise asyncio.CancelledError("the step is not wanted any more")
        self._steps.watch_silence(execution)
