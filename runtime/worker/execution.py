"""One step in flight: what is known of it, and what ``step_info()`` and ``heartbeat()`` see of its attempts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from durable.attempt import StepInfo
from durable.codec import value_codec
from durable.commands import ScheduleStep
from durable.duration import format_duration, optional_us, to_us
from durable.retry import RetryPolicy
from runtime.worker.token import step_token

if TYPE_CHECKING:
    from runtime.clock import Alarm
    from runtime.worker.held import HeldRun
    from runtime.worker.isolation import ProcessSlot
    from runtime.worker.runner import StepRunner
    from runtime.worker.threads import ThreadSlot


class Execution:
    """A step between its schedule and its outcome.

    Attributes:
        held: the run.
        command: what was asked for.
        attempt: number of the current or next attempt, from 1.
        policy: when it is repeated.
        first_at_us: when it was asked for, or where that is not known, when the first attempt began.
        task: runs the current attempt.
        alarm: waits for the next attempt, or for a limit of a handed-over step.
        has_begun: the task runs; before that it cannot be cancelled without losing the outcome.
        is_waiting: it has no thread or process yet.
        slot: the thread or process of the current attempt; None on the event loop.
        timed_out: which limit ended the current attempt, in words.
        is_over: that limit was the one of all attempts together.
        cancel_requested: the workflow does not want it any more.
        losses: workers that were lost with it.
        was_started: a record of the current attempt's start exists (at-most-once, or suspected of losing workers).
        heartbeat: envelope of the newest heartbeat details.
        beaten_at: when the newest heartbeat of the current attempt came, in seconds of the runner's deadlines.
        heard_at_us: the same for a step that was handed over, on the worker's clock.
        is_beating: a heartbeat is on its way to the store; later ones join it.
        running: the current attempt.
        last_error: of the attempt before.
        wheel_key: the timer of the current attempt's limit.
        silence_key: the timer of its heartbeat limit.
        runner: the worker's part that runs it.
        connection: of the current attempt's transaction.
    """

    attempt = 1
    task: asyncio.Task[None] | None = None
    alarm: Alarm | None = None
    timed_out: str | None = None
    is_over = False
    has_begun = False
    is_waiting = False
    slot: ThreadSlot | ProcessSlot | None = None
    cancel_requested = False
    losses = 0
    was_started = False
    heartbeat: str | None = None
    beaten_at = 0.0
    heard_at_us = 0
    is_beating = False
    running: RunningAttempt | None = None
    last_error: BaseException | None = None
    wheel_key: tuple[int, int] | None = None
    silence_key: tuple[int, int] | None = None
    runner: StepRunner | None = None
    connection: Any = None

    def __init__(self, held: HeldRun, command: ScheduleStep, policy: RetryPolicy, started_at_us: int) -> None:
        self.held = held
        self.command = command
        self.policy = policy
        self.first_at_us = command.at_us
        self.started_at_us = started_at_us

    @property
    def is_open(self) -> bool:
        """Whether the step is in flight here: it has no outcome yet, and its run was not lost."""
        return self.held.executions.get(self.command.number or 0) is self

    def total_deadline_us(self) -> int | None:
        """When the step's ``total_timeout`` is over."""
        limit = self.command.definition.options_.total_timeout
        return None if limit is None else self.first_at_us + to_us(limit)

    def limit_us(self, now_us: int) -> tuple[int, str] | None:
        """The time that this attempt may still take, and the name of the limit; None: any."""
        options = self.command.definition.options_
        if options.timeout is None and options.total_timeout is None:
            return None
        own = optional_us(options.timeout, "timeout")
        total = self.total_deadline_us()
        if total is not None and (own is None or total - now_us < own):
            return max(0, total - now_us), "total_timeout"
        return None if own is None else (own, "timeout")

    def reach_limit(self, which: str, limit_us: int) -> None:
        """Note that this limit ends the current attempt."""
        self.timed_out = f"{which} of {format_duration(limit_us)}"
        self.is_over = which == "total_timeout"

    def next_limit_at_us(self) -> int | None:
        """When the next limit of a step may be reached that was handed over; None: it has none."""
        limit = self.limit_us(self.started_at_us)
        heartbeat = optional_us(self.command.definition.options_.heartbeat_timeout, "heartbeat_timeout")
        ends = [] if limit is None else [self.started_at_us + limit[0]]
        if heartbeat is not None:
            ends.append(self.heard_at_us + heartbeat)
        return min(ends, default=None)


class RunningAttempt:
    """One attempt of an execution, as the code of the step sees it. A thread that outlives its attempt still has it.

    Attributes:
        execution: whose attempt it is.
    """

    __slots__ = ("_attempt", "_heartbeat", "_runner", "_started_at_us", "execution")

    def __init__(self, execution: Execution, runner: StepRunner) -> None:
        self.execution = execution
        self._runner = runner
        self._attempt = execution.attempt
        self._heartbeat = execution.heartbeat
        self._started_at_us = execution.started_at_us

    @property
    def runner(self) -> StepRunner:
        """The worker's part that runs it."""
        return self._runner

    def beat(self, details: Any) -> None:
        """What ``heartbeat()`` does."""
        self._runner.beat(self, details)

    def info(self) -> StepInfo:
        """What ``step_info()`` returns."""
        execution = self.execution
        row, command = execution.held.row, execution.command
        assert command.number is not None
        limit = execution.limit_us(self._started_at_us)
        details = self._runner.open(self._heartbeat) if self._heartbeat is not None else None
        return StepInfo(
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            workflow=row.workflow,
            step=command.name or "",
            command=command.number,
            attempt=self._attempt,
            idempotency_key=command.idempotency_key,
            token=step_token(row.run_id, command.number),
            heartbeat_details=value_codec(Any).decode(details) if details is not None else None,
            started_at_us=self._started_at_us,
            deadline_us=None if limit is None else self._started_at_us + limit[0],
            connection=execution.connection,
        )
