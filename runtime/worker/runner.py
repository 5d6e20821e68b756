"""Runs steps: one attempt after the other, in the loop, in threads or in processes, within limits.

The attempt is a pipeline: wait for a slot, decode, (record the start), call, encode, report. An outcome goes back to the
engine as a fact. A crash, a lost lease and a shutdown are no attempts (rule H4): they simply leave no fact.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from durable.attempt import CompleteLater, RetryAfter, current_step
from durable.codec import Envelope, record_exception, value_codec
from durable.commands import ScheduleStep
from durable.duration import MICROSECONDS, format_duration, optional_us, to_us
from durable.errors import (
    ConflictError,
    DecodeError,
    EncodeError,
    StepCancelledError,
    StepError,
    StepTimeoutError,
    StoreUnavailableError,
)
from durable.history import EventKind, Fact, write_detail
from durable.interceptor import Interceptor, chain
from durable.retry import RetryPolicy
from runtime.clock import Clock
from runtime.store.protocol import Transaction
from runtime.store.row import AttemptOutcome, AttemptRow, InboxRow
from runtime.worker.execution import Execution, RunningAttempt, policy_of
from runtime.worker.isolation import run_in_process
from runtime.worker.threads import StepThreads
from runtime.worker.wheel import TimerWheel

if TYPE_CHECKING:
    from runtime.worker.held import HeldRun


log = logging.getLogger("durable.worker")

STORE_DELAY_US: Final = 250_000
"""Pause before a transaction is begun again that the store could not begin or commit."""


class StepHost(Protocol):
    """The engine, as the runner sees it."""

    @property
    def worker_id(self) -> str:
        """Who runs the attempts."""
        ...

    def step_ended(self, execution: Execution, fact: Fact) -> None:
        """A step has its outcome."""
        ...

    def step_handed_over(self, execution: Execution) -> None:
        """Somebody else completes the step; nothing of it is in flight here."""
        ...

    def transaction(self, execution: Execution, timeout: float | None) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the store's database for a step."""
        ...

    def record_attempt(self, execution: Execution, row: AttemptRow, then: Callable[[], None]) -> None:
        """Make a record of an attempt durable, then go on; not at all if the run was lost meanwhile."""
        ...

    def keep_heartbeat(self, execution: Execution) -> None:
        """Keep the newest heartbeat details in the store, and those that come meanwhile."""
        ...

    def read_heartbeat(self, execution: Execution, then: Callable[[tuple[int, str | None] | None], None]) -> None:
        """Look up time and details of the newest heartbeat that the store has of a step."""
        ...

    def may_start(self) -> bool:
        """Whether the lease is fresh enough to start an effect."""
        ...


@dataclass(frozen=True, slots=True)
class StepLimits:
    """How many steps run at once.

    Attributes:
        concurrent: attempts at once in this worker.
        threads: of them in threads.
    """

    concurrent: int = 1000
    threads: int = 64


class StepRunner:
    """The steps in flight of one worker."""

    def __init__(
        self,
        host: StepHost,
        clock: Clock,
        envelope: Envelope,
        limits: StepLimits,
        default_retry: RetryPolicy | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._host = host
        self._clock = clock
        self._envelope = envelope
        self._limits = limits
        self._default_retry = default_retry
        self._interceptors = interceptors
        self._wheel = TimerWheel()
        self._threads: StepThreads | None = None
        self._waiting: deque[Execution] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asleep: set[Execution] = set()
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()

    # -- from the engine ----------------------------------------------------------------------------------

    def start(self, held: HeldRun, command: ScheduleStep, workflow_retry: RetryPolicy | None) -> Execution:
        """Begin a step that was just scheduled."""
        execution = Execution(held, command, policy_of(command, workflow_retry, self._default_retry), command.at_us)
        execution.runner = self
        assert command.number is not None
        held.executions[command.number] = execution
        self._launch(execution)
        return execution

    def resume(self, execution: Execution, next_at_us: int | None) -> None:
        """Go on with a step after a restart: at once, or when its retry is due."""
        assert execution.command.number is not None
        execution.runner = self
        execution.held.executions[execution.command.number] = execution
        if next_at_us is not None and next_at_us > self._clock.now_us():
            self._wait_until(execution, next_at_us)
        else:
            self._launch(execution)

    def cancel(self, execution: Execution) -> None:
        """The workflow does not want the step any more. A thread is told by its next heartbeat, else it ends by itself."""
        if execution.cancel_requested:
            return
        execution.cancel_requested = True
        if execution.task is None:
            self._wake(execution)
            self._report_cancelled(execution)
        elif execution.has_begun and not _runs_in_thread(execution):
            execution.task.cancel()

    def drop(self, execution: Execution) -> None:
        """The run is not ours any more: stop without a word."""
        execution.held.executions.pop(execution.command.number or 0, None)
        execution.held.is_ours = False
        self._wake(execution)
        if execution.task is not None:
            execution.task.cancel()
            self._tasks.discard(execution.task)

    async def stop(self, grace_seconds: float) -> None:
        """Let attempts finish for a while, then cancel them; what is cut off runs again elsewhere."""
        self._is_stopping = True
        self._waiting.clear()
        for execution in list(self._asleep):  # an alarm would ring for a worker that is gone
            self._wake(execution)
        if self._tasks and grace_seconds > 0:
            await asyncio.wait(set(self._tasks), timeout=grace_seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5)
        self._wheel.close()
        if self._threads is not None:
            self._threads.close()

    def hasten(self) -> None:
        """End the grace period of a stop that is under way."""
        for task in self._tasks:
            task.cancel()

    @property
    def running(self) -> int:
        """Attempts that are running now."""
        return len(self._tasks)

    # -- an attempt ---------------------------------------------------------------------------------------

    def _launch(self, execution: Execution) -> None:
        if self._is_stopping:
            return
        if len(self._tasks) >= self._limits.concurrent or not self._host.may_start():
            self._waiting.append(execution)
            return
        execution.has_begun = False
        task = asyncio.get_running_loop().create_task(self._attempt(execution), context=contextvars.Context())
        execution.task = task
        self._tasks.add(task)

    def launch_waiting(self) -> None:
        """Start what waited for a slot or for the lease."""
        while self._waiting and len(self._tasks) < self._limits.concurrent and self._host.may_start():
            execution = self._waiting.popleft()
            is_open = (
                execution.held.executions.get(execution.command.number or 0) is execution
            )  # not cancelled meanwhile
            if is_open and execution.held.is_ours:
                self._launch(execution)

    async def _attempt(self, execution: Execution) -> None:
        """One attempt and what becomes of it."""
        execution.started_at_us = self._clock.now_us()
        execution.timed_out = None
        execution.has_begun = True
        try:
            fact = await self._execute(execution)
        except asyncio.CancelledError as error:
            self._interrupted(execution, error)
        except CompleteLater:
            self._hand_over(execution)
        except StoreUnavailableError as error:
            if not execution.command.definition.options_.transactional:
                self._failed(execution, error)
            else:  # no attempt: nothing of it has happened
                log.warning("the store is not available, trying again: %s", error.message)
                self._wait_until(execution, self._clock.now_us() + STORE_DELAY_US)
        except BaseException as error:  # noqa: BLE001 - whatever a step raises is its outcome
            self._failed(execution, error)
        else:
            if fact is not None:
                self._report(execution, fact)
        finally:
            self._release(execution)

    async def _execute(self, execution: Execution) -> Fact | None:
        """Decode, record the start where that is due, call within limits, encode. None: the outcome goes another way."""
        if execution.cancel_requested:
            self._report_cancelled(execution)
            return None
        definition = execution.command.definition
        options = definition.options_
        limit = execution.limit_us(execution.started_at_us)
        if limit is not None and limit[0] <= 0:  # the total, which other attempts or a long pause have used up
            self._set_timed_out(execution, limit[1], to_us(options.total_timeout or 0))
            raise self._timeout_error(execution)
        args, kwargs = self._arguments(execution)
        if options.delivery == "at_most_once" or execution.losses:
            await self._record_start(execution)
        execution.running = running = RunningAttempt(execution, self)
        current_step.set(running)
        if options.transactional:
            await self._in_transaction(execution, args, kwargs, limit)
            return None
        if limit is not None:
            limit_us, which = limit
            on_time = partial(self._time_out, execution, which, limit_us)
            execution.wheel_key = self._wheel.add(limit_us / MICROSECONDS, on_time)
        if options.heartbeat_timeout is not None:
            self._watch_heartbeat(execution)
        if self._interceptors:
            around = chain(self._interceptors, "run_step", running.info(), lambda: self._call(execution, args, kwargs))
            result = await around()
        else:
            result = await self._call(execution, args, kwargs)
        return self._completion(execution, result)

    def _arguments(self, execution: Execution) -> tuple[tuple[Any, ...], dict[str, Any]]:
        definition = execution.command.definition
        try:
            return definition.arguments.decode(self._envelope.open(execution.command.payload or "{}"))
        except DecodeError as error:
            error.blame(f"the arguments of step {definition.name!r}")
            raise

    def _completion(self, execution: Execution, result: Any) -> Fact:
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

    def _release(self, execution: Execution) -> None:
        """Give back the slot and the timer of an attempt that is over."""
        if execution.wheel_key is not None:
            self._wheel.discard(execution.wheel_key)
            execution.wheel_key = None
        execution.running = None
        task, execution.task = execution.task, None
        if task is not None:
            self._tasks.discard(task)
        if self._waiting:
            self.launch_waiting()

    async def _call(self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition = execution.command.definition
        isolation = definition.options_.isolation
        if isolation == "process":
            assert execution.running is not None
            plain = self._envelope.open(execution.command.payload or "{}")
            return definition.result.decode(await run_in_process(definition, plain, execution.running.info()))
        if definition.is_async and isolation == "auto":
            return await definition.fn(*args, **kwargs)
        if self._threads is None:
            self._threads = StepThreads(self._limits.threads, self._loop)
        context = contextvars.copy_context()
        if definition.is_async:
            return await self._threads.submit(lambda: context.run(asyncio.run, definition.fn(*args, **kwargs)))
        return await self._threads.submit(lambda: context.run(definition.fn, *args, **kwargs))

    async def _in_transaction(
        self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any], limit: tuple[int, str] | None
    ) -> None:
        """Rule D4: the outcome commits with what the step wrote, and comes back as a message to the run."""
        definition, row = execution.command.definition, execution.held.row
        seconds = None if limit is None else limit[0] / MICROSECONDS
        try:
            async with self._host.transaction(execution, seconds) as transaction:
                execution.connection = transaction.connection
                result = await self._call(execution, args, kwargs)
                fact = self._completion(execution, result)
                transaction.complete(InboxRow(row.workflow_id, row.run_id, None, fact, self._clock.now_us()))
        except ConflictError:
            log.warning("step %s of run %s is not wanted any more; nothing was written", definition.name, row.run_id)
        finally:
            execution.connection = None
        execution.held.executions.pop(execution.command.number or 0, None)
        self._host.step_handed_over(execution)

    async def _record_start(self, execution: Execution) -> None:
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        row = self._row(execution, AttemptOutcome.STARTED, None, None)
        self._host.record_attempt(execution, row, lambda: None if recorded.done() else recorded.set_result(None))
        await recorded
        execution.was_started = True

    # -- outcomes -----------------------------------------------------------------------------------------

    def _report(self, execution: Execution, fact: Fact) -> None:
        execution.held.executions.pop(execution.command.number or 0, None)
        if execution.held.is_ours:
            self._host.step_ended(execution, fact)

    def _report_cancelled(self, execution: Execution) -> None:
        self._report(execution, Fact(EventKind.STEP_CANCELLED, execution.command.number, execution.command.name))

    def _interrupted(self, execution: Execution, error: asyncio.CancelledError) -> None:
        if execution.timed_out is not None:
            self._failed(execution, self._timeout_error(execution))
        elif execution.cancel_requested:
            self._report_cancelled(execution)
        elif self._is_stopping or not execution.held.is_ours:
            return
        else:
            name = execution.command.name or ""
            self._failed(execution, StepCancelledError(f"step {name!r} cancelled itself: {error}", step=name))

    def _timeout_error(self, execution: Execution) -> StepTimeoutError:
        name = execution.command.name or ""
        error = StepTimeoutError(
            f"step {name!r} took longer than its {execution.timed_out}", step=name, attempts=execution.attempt
        )
        error.__cause__ = execution.last_error
        return error

    def _failed(self, execution: Execution, error: BaseException) -> None:
        now_us = self._clock.now_us()
        attempt, policy = execution.attempt, execution.policy
        next_at_us = None
        if not execution.is_over and not execution.cancel_requested and policy.allows(attempt, error):
            delay = to_us(error.delay) if isinstance(error, RetryAfter) else policy.delay_us(attempt)
            next_at_us = now_us + delay
            total = execution.total_deadline_us()
            if total is not None and next_at_us >= total:
                next_at_us = None
                execution.last_error = error
                execution.timed_out = f"total_timeout of {format_duration(total - execution.first_at_us)}"
                error = self._timeout_error(execution)
        record = record_exception(error)
        if self._envelope.encrypts:  # attempts are kept in the clear, so that anybody can see them
            kept = record_exception(StepError(type(error).__name__, step=execution.command.name or ""))
        else:
            kept = record
        if next_at_us is None:
            detail = write_detail(attempts=attempt) if attempt > 1 else None
            payload = self._envelope.seal(record)
            self._report(
                execution,
                Fact(EventKind.STEP_FAILED, execution.command.number, execution.command.name, detail, payload),
            )
            return
        outcome = AttemptOutcome.TIMED_OUT if execution.timed_out else AttemptOutcome.FAILED
        row = self._row(execution, outcome, next_at_us, kept)
        execution.last_error = error
        execution.attempt = attempt + 1
        execution.was_started = False
        due_us = next_at_us
        self._host.record_attempt(execution, row, lambda: self._wait_until(execution, due_us))

    def _wait_until(self, execution: Execution, at_us: int) -> None:
        if execution.cancel_requested:
            self._report_cancelled(execution)
            return
        self._sleep(execution, at_us, lambda: self._retry(execution, at_us))

    def _sleep(self, execution: Execution, until_us: int, then: Callable[[], None]) -> None:
        def ring() -> None:
            self._asleep.discard(execution)
            execution.alarm = None
            then()

        if not self._is_stopping:
            self._asleep.add(execution)
            execution.alarm = self._clock.call_at(until_us, ring)

    def _wake(self, execution: Execution) -> None:
        self._asleep.discard(execution)
        if execution.alarm is not None:
            execution.alarm.cancel()
            execution.alarm = None

    def _retry(self, execution: Execution, at_us: int) -> None:
        if self._clock.now_us() < at_us:
            self._wait_until(execution, at_us)
        elif execution.held.is_ours:
            self._launch(execution)

    def _hand_over(self, execution: Execution) -> None:
        row = self._row(execution, AttemptOutcome.HANDED_OVER, None, None)
        self._host.record_attempt(execution, row, lambda: self.watch(execution))

    def watch(self, execution: Execution) -> None:
        """Somebody else completes the step; here only its limits are watched."""
        execution.runner = self
        execution.heard_at_us = max(execution.heard_at_us, execution.started_at_us)
        number = execution.command.number or 0
        wake_at_us = execution.next_limit_at_us()
        if execution.cancel_requested:
            self._report_cancelled(execution)
        elif wake_at_us is None:
            execution.held.executions.pop(number, None)
            self._host.step_handed_over(execution)
        else:
            execution.held.executions[number] = execution
            self._sleep(execution, wake_at_us, lambda: self._look_after(execution))

    def _look_after(self, execution: Execution) -> None:
        """A limit of a step that was handed over may be reached."""
        limit = execution.limit_us(execution.started_at_us)
        if limit is not None and self._clock.now_us() >= execution.started_at_us + limit[0]:
            self._time_out(execution, limit[1], limit[0])
        else:
            self._host.read_heartbeat(execution, lambda beat: self._heard(execution, beat))

    def _heard(self, execution: Execution, beat: tuple[int, str | None] | None) -> None:
        if execution.held.executions.get(execution.command.number or 0) is not execution:
            return
        if beat is not None:
            execution.heard_at_us, execution.heartbeat = max(execution.heard_at_us, beat[0]), beat[1]
        limit_us = optional_us(execution.command.definition.options_.heartbeat_timeout, "heartbeat_timeout")
        if limit_us is not None and self._clock.now_us() >= execution.heard_at_us + limit_us:
            self._time_out(execution, "heartbeat_timeout", limit_us)
        else:
            self.watch(execution)

    def _row(
        self, execution: Execution, outcome: AttemptOutcome, next_at_us: int | None, error: str | None
    ) -> AttemptRow:
        assert execution.command.number is not None
        ended = None if outcome in (AttemptOutcome.STARTED, AttemptOutcome.HANDED_OVER) else self._clock.now_us()
        return AttemptRow(
            execution.held.row.run_id, execution.command.number, execution.attempt, outcome, execution.started_at_us,
            ended, next_at_us, error, execution.heartbeat, self._host.worker_id,
        )  # fmt: skip

    # -- limits and heartbeats ----------------------------------------------------------------------------

    def _set_timed_out(self, execution: Execution, which: str, limit_us: int) -> None:
        execution.timed_out = f"{which} of {format_duration(limit_us)}"
        execution.is_over = which == "total_timeout"

    def _time_out(self, execution: Execution, which: str, limit_us: int) -> None:
        self._set_timed_out(execution, which, limit_us)
        if execution.task is not None:
            execution.task.cancel()
        else:
            self._failed(execution, self._timeout_error(execution))

    def _watch_heartbeat(self, execution: Execution) -> None:
        limit = optional_us(execution.command.definition.options_.heartbeat_timeout, "heartbeat_timeout")
        assert limit is not None
        execution.beaten_at = asyncio.get_running_loop().time()
        running = execution.running

        def check() -> None:
            if execution.task is None or execution.running is not running:
                return
            silence = asyncio.get_running_loop().time() - execution.beaten_at
            remaining = limit / MICROSECONDS - silence
            if remaining <= 0:
                self._time_out(execution, "heartbeat_timeout", limit)
            else:
                self._wheel.add(remaining, check)

        self._wheel.add(limit / MICROSECONDS, check)

    def open(self, payload: str) -> str:
        """Plaintext of an envelope."""
        return self._envelope.open(payload)

    def beat(self, running: RunningAttempt, details: Any) -> None:
        """A heartbeat, from the loop or from a thread.

        Raises:
            asyncio.CancelledError: nobody wants the attempt any more.
        """
        execution = running.execution
        if execution.running is not running:
            raise asyncio.CancelledError("the attempt is over")
        if details is not None:
            codec = value_codec(type(details) if hasattr(type(details), "__pydantic_serializer__") else Any)
            execution.heartbeat = self._envelope.seal(codec.encode(details), secret=codec.has_secrets)
        execution.beaten_at = self._loop.time()
        if execution.cancel_requested or not execution.held.is_ours:
            raise asyncio.CancelledError("the step is not wanted any more")
        if not execution.is_beating:
            execution.is_beating = True
            self._loop.call_soon_threadsafe(self._host.keep_heartbeat, execution)


def _runs_in_thread(execution: Execution) -> bool:
    definition = execution.command.definition
    isolation = definition.options_.isolation
    return (
        definition.options_.transactional or isolation == "thread" or (isolation == "auto" and not definition.is_async)
    )
