"""What becomes of an attempt that is over: the step's outcome, or its next attempt (semantics 26 and 27).

An outcome goes to the host as a fact. A failure that the policy forgives is recorded beside history and the step sleeps
until its next attempt is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durable.codec import Envelope, record_exception
from durable.duration import format_duration
from durable.errors import EncodeError, StepError, StepTimeoutError
from durable.history import EventKind, Fact, write_detail
from runtime.clock import Clock
from runtime.store.row import AttemptOutcome, AttemptRow
from runtime.worker.execution import Execution
from runtime.worker.host import StepHost
from runtime.worker.sleeper import Sleepers


class Verdicts:
    """Decides about attempts.

    Args:
        host: takes outcomes and records.
        launch: begins the next attempt of a step.
    """

    def __init__(
        self,
        host: StepHost,
        clock: Clock,
        envelope: Envelope,
        sleepers: Sleepers,
        launch: Callable[[Execution], None],
    ) -> None:
        self._host = host
        self._clock = clock
        self._envelope = envelope
        self._sleepers = sleepers
        self._launch = launch

    # -- outcomes -----------------------------------------------------------------------------------------

    def completion(self, execution: Execution, result: Any) -> Fact:
        """The outcome of a step that returned."""
        definition = execution.command.definition
        try:
            plain = definition.result.encode(result)
        except EncodeError as error:
            error.blame(f"the result of step {definition.name!r}")
            raise
        payload = self._envelope.seal(plain, secret=definition.result.has_secrets)
        detail = None if execution.attempt == 1 else write_detail(attempts=execution.attempt)
        return Fact(EventKind.STEP_COMPLETED, execution.command.number, definition.name, detail, payload)

    def report(self, execution: Execution, fact: Fact) -> None:
        """Hand an outcome to the host, if the step has none yet and the run is still ours."""
        if execution.held.executions.pop(execution.command.number or 0, None) is execution and execution.held.is_ours:
            self._host.step_ended(execution, fact)

    def cancelled(self, execution: Execution) -> None:
        """The step ends because its workflow wants it to."""
        self.report(execution, Fact(EventKind.STEP_CANCELLED, execution.command.number, execution.command.name))

    def timed_out(self, execution: Execution) -> None:
        """The attempt fails by the limit that it has reached."""
        self.failed(execution, self.timeout_error(execution))

    def timeout_error(self, execution: Execution) -> StepTimeoutError:
        """The error of an attempt that has reached a limit, with the error of the attempt before as its cause."""
        name = execution.command.name or ""
        error = StepTimeoutError(
            f"step {name!r} took longer than its {execution.timed_out}", step=name, attempts=execution.attempt
        )
        error.__cause__ = execution.last_error
        return error

    def failed(self, execution: Execution, error: BaseException) -> None:
        """The attempt raised: the step is repeated if its policy allows, else it fails. Not one that has its outcome already."""
        if not execution.is_open:
            return
        next_at_us, error = self._next_attempt(execution, error)
        record = record_exception(error)
        attempt = execution.attempt
        if next_at_us is None:
            detail = write_detail(attempts=attempt) if attempt > 1 else None
            payload = self._envelope.seal(record)
            number, name = execution.command.number, execution.command.name
            self.report(execution, Fact(EventKind.STEP_FAILED, number, name, detail, payload))
            return
        if self._envelope.encrypts:  # attempts are kept in the clear, so that anybody can see them
            record = record_exception(StepError(type(error).__name__, step=execution.command.name or ""))
        outcome = AttemptOutcome.TIMED_OUT if execution.timed_out else AttemptOutcome.FAILED
        row = self.row(execution, outcome, next_at_us, record)
        execution.last_error = error
        execution.attempt = attempt + 1
        execution.was_started = False
        due_us = next_at_us
        self._host.record_attempt(execution, row, lambda: self.retry_at(execution, due_us))

    def _next_attempt(self, execution: Execution, error: BaseException) -> tuple[int | None, BaseException]:
        """When the step is tried again, None for never, and the error that it has now."""
        delay_us = execution.policy.next_delay_us(execution.attempt, error)
        if delay_us is None or execution.is_over or execution.cancel_requested:
            return None, error
        next_at_us = self._clock.now_us() + delay_us
        total_us = execution.total_deadline_us()
        if total_us is None or next_at_us < total_us:
            return next_at_us, error
        execution.last_error = error
        execution.timed_out = f"total_timeout of {format_duration(total_us - execution.first_at_us)}"
        return None, self.timeout_error(execution)

    def row(
        self, execution: Execution, outcome: AttemptOutcome, next_at_us: int | None = None, error: str | None = None
    ) -> AttemptRow:
        """The record of the current attempt."""
        assert execution.command.number is not None
        ended = None if outcome in (AttemptOutcome.STARTED, AttemptOutcome.HANDED_OVER) else self._clock.now_us()
        return AttemptRow(
            execution.held.row.run_id, execution.command.number, execution.attempt, outcome, execution.started_at_us,
            ended, next_at_us, error, execution.heartbeat, self._host.worker_id,
        )  # fmt: skip

    # -- the next attempt ---------------------------------------------------------------------------------

    def retry_at(self, execution: Execution, at_us: int) -> None:
        """Begin the next attempt when it is due."""
        if execution.cancel_requested:
            self.cancelled(execution)
        else:
            self._sleepers.sleep(execution, at_us, lambda: self._retry(execution, at_us))

    def _retry(self, execution: Execution, at_us: int) -> None:
        if self._clock.now_us() < at_us:
            self.retry_at(execution, at_us)
        elif execution.held.is_ours:
            self._launch(execution)
