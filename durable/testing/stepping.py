"""Steps in the harness: stubbed or run for real, with retries, limits and heartbeats in virtual time.

A stub answers at once or after a virtual while; a real step is a task of the test's event loop, a synchronous one in a
thread. Virtual time does not pass by itself while a real step runs: nobody knows what it waits for. A limit that ``advance``
reaches ends it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from durable.attempt import CompleteLater, StepInfo, StoppedError, current_step
from durable.codec import record_exception, value_codec
from durable.commands import ScheduleStep
from durable.duration import format_duration, optional_us
from durable.errors import EncodeError, StepCancelledError, StepInDoubtError, StepLostError, StepTimeoutError
from durable.history import EventKind, Fact, write_detail
from durable.interceptor import chain
from durable.testing.crash import CrashPoint
from durable.testing.execution import Execution, RunningAttempt
from durable.testing.simulated import SimulatedRun
from durable.testing.stub import StepCall, Stub, bound_arguments

if TYPE_CHECKING:
    from durable.testing.fulfiller import Fulfiller

MAX_LOSSES: Final = 3
"""After so many crashes with a step in flight it fails with ``StepLostError`` (rule H4)."""


class Steps:
    """The steps in flight of an environment."""

    def __init__(self, fulfiller: Fulfiller) -> None:
        self._host = fulfiller
        self._clock = fulfiller.clock
        self._envelope = fulfiller.envelope
        self.live: set[asyncio.Task[None]] = set()

    def shown(self, info: StepInfo) -> StepInfo:
        """What a step is shown of itself: a probe may watch what it reads."""
        return info if self._host.probe is None else self._host.probe.watched(info)

    # -- from the fulfiller -------------------------------------------------------------------------------

    def start(self, run: SimulatedRun, command: ScheduleStep) -> Execution:
        """Take a step that was just scheduled; it begins with ``launch``."""
        policy = command.definition.options_.policy(run.definition.default_retry, self._host.default_retry)
        execution = Execution(run, command, policy)
        run.steps[execution.number] = execution
        return execution

    def launch(self, execution: Execution) -> None:
        """Begin the next attempt."""
        if not execution.is_open:
            return
        if execution.cancel_requested:
            self._report(execution, EventKind.STEP_CANCELLED)
            return
        execution.next_at_us = execution.due = None
        execution.timed_out = None
        execution.has_begun = True
        execution.started_at_us = self._clock.now_us()
        try:
            stub = self._host.stub_for(execution)
            args, kwargs = execution.command.definition.arguments.decode(
                self._envelope.open(execution.command.payload or "{}")
            )
        except AssertionError as problem:
            self._host.give_up(problem)
            return
        except Exception as error:  # noqa: BLE001 - arguments that do not decode are the step's failure
            self._failed(execution, error)
            return
        self._host.record_call(self._call(execution, args, kwargs))
        execution.running = RunningAttempt(execution, self)
        if not self._set_limits(execution) or self._suffers(execution):
            return
        if stub is None:
            self._run(execution, lambda: self._real(execution, args, kwargs))
        else:
            self._run_stub(execution, stub, args, kwargs)

    def cancel(self, execution: Execution) -> None:
        """The workflow does not want it any more; a thread is told by its next heartbeat."""
        if execution.cancel_requested:
            return
        execution.cancel_requested = True
        if execution.task is None:
            self._report(execution, EventKind.STEP_CANCELLED)
        elif execution.command.definition.is_async:
            execution.task.cancel()

    def crash(self, execution: Execution) -> None:
        """All memory is lost: an attempt that ran is gone, and nobody knows what it did."""
        task, execution.task = execution.task, None
        was_handed_over, next_at_us = execution.is_handed_over, execution.next_at_us
        if task is not None:
            self.live.discard(task)
            task.cancel()
        if not was_handed_over:
            execution.release()
        execution.next_at_us = next_at_us

    def recover(self, execution: Execution) -> None:
        """Go on with an open step after a crash."""
        if execution.is_handed_over:
            return
        if execution.next_at_us is not None:
            self._wait(execution, execution.next_at_us)
            return
        if execution.has_begun and execution.command.definition.options_.delivery == "at_most_once":
            doubt = (
                f"step {execution.name!r} was started before the crash and its outcome is unknown; it is not run again"
            )
            self._report_failure(execution, StepInDoubtError(doubt, step=execution.name))
            return
        if execution.has_begun:
            execution.losses += 1
            if execution.losses >= MAX_LOSSES:
                lost = StepLostError(
                    f"{execution.losses} workers were lost while step {execution.name!r} ran", step=execution.name
                )
                self._report_failure(execution, lost)
                return
        self.launch(execution)

    def settle(self, execution: Execution) -> None:
        """Its run has ended: what still runs reports to nobody."""
        execution.run.steps.pop(execution.number, None)
        execution.release()
        if execution.task is not None:
            execution.task.cancel()

    # -- from those who complete steps --------------------------------------------------------------------

    def complete(self, execution: Execution, value: Any) -> None:
        """The outcome of a step that was handed over, as those write it who do not have its code."""
        codec = value_codec(type(value)) if value is not None else value_codec(Any)
        self._tell(execution, EventKind.STEP_COMPLETED, codec.encode(value))

    def fail(self, execution: Execution, error: BaseException) -> None:
        """The same for a failure, which is not repeated."""
        self._tell(execution, EventKind.STEP_FAILED, record_exception(error))

    def _tell(self, execution: Execution, kind: EventKind, plain: str) -> None:
        fact = Fact(kind, execution.number, None, None, self._envelope.seal(plain), "user:test")
        if execution.is_open:
            execution.release()
            del execution.run.steps[execution.number]
            self._host.accept(execution.run, fact)

    def hear(self, execution: Execution, details: Any) -> None:
        """A sign of life of a step that was handed over."""
        execution.heartbeat = None if details is None else value_codec(Any).encode(details)
        self.watch_silence(execution)

    def _repeatable(self, execution: Execution) -> tuple[str, int] | None:
        """Names an attempt that an explorer may let begin again."""
        return None if self._host.probe is None else (execution.token, execution.attempt)

    # -- an attempt ---------------------------------------------------------------------------------------

    def _call(self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
        return StepCall(
            execution.name, bound_arguments(execution.command.definition.fn, args, kwargs), execution.attempt,
            self._clock.now(), execution.run.workflow_id, execution.command.idempotency_key, execution.token,
        )  # fmt: skip

    def _suffers(self, execution: Execution) -> bool:
        """Whether a probe has put something in the place of this attempt."""
        fault = None if self._host.probe is None else self._host.probe.fault(execution)
        if isinstance(fault, StepInDoubtError):
            self._report_failure(execution, fault)
        elif isinstance(fault, Exception):
            self._failed(execution, fault)
        return fault is not None

    def _set_limits(self, execution: Execution) -> bool:
        """Set the limits of an attempt; False if its time is over before it begins."""
        options = execution.command.definition.options_
        now_us, total_us = self._clock.now_us(), execution.total_deadline_us
        own = optional_us(options.timeout, "timeout")
        if total_us is not None and (own is None or total_us <= now_us + own):
            limit = total_us - execution.command.at_us
            if total_us <= now_us:
                self._time_out(execution, "total_timeout", limit)
                return False
            execution.limits.append(
                self._clock.call_at(total_us, lambda: self._time_out(execution, "total_timeout", limit))
            )
        elif own is not None:
            execution.limits.append(
                self._clock.call_at(now_us + own, lambda: self._time_out(execution, "timeout", own))
            )
        self.watch_silence(execution)
        return True

    def watch_silence(self, execution: Execution) -> None:
        """Begin the heartbeat limit anew."""
        limit_us = optional_us(execution.command.definition.options_.heartbeat_timeout, "heartbeat_timeout")
        if limit_us is None:
            return
        if execution.silence is not None:
            execution.silence.cancel()
        end_us = self._clock.now_us() + limit_us
        execution.silence = self._clock.call_at(
            end_us, lambda: self._time_out(execution, "heartbeat_timeout", limit_us)
        )

    def _time_out(self, execution: Execution, which: str, limit_us: int) -> None:
        if execution.timed_out is not None or not execution.is_open:
            return
        execution.timed_out = f"{which} of {format_duration(limit_us)}"
        execution.is_over = which == "total_timeout"
        if execution.task is not None:
            execution.task.cancel()
        else:
            self._failed(execution, self._timeout_error(execution))

    def _timeout_error(self, execution: Execution) -> StepTimeoutError:
        error = StepTimeoutError(
            f"step {execution.name!r} took longer than its {execution.timed_out}",
            step=execution.name,
            attempts=execution.attempt,
        )
        error.__cause__ = execution.last_error
        return error

    def _run_stub(self, execution: Execution, stub: Stub, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A stub answers when its time has come; one that is async runs as a real step does."""

        def answer() -> None:
            execution.due = None
            if not execution.is_open:
                return
            token = current_step.set(execution.running) if execution.running is not None else None
            try:
                value = stub.call(args, kwargs, self._repeatable(execution))
                if inspect.isawaitable(value):
                    self._run(execution, lambda: self._resolved(execution, value))
                    return
                outcome = self._stub_completion(execution, value)
            except CompleteLater:
                execution.is_handed_over = True
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever a step raises is its outcome
                if isinstance(error, AssertionError):
                    self._host.give_up(error)
                self._failed(execution, error)
            else:
                self._deliver(execution, outcome)
            finally:
                if token is not None:
                    current_step.reset(token)

        if stub.after_us:
            execution.due = self._clock.call_at(self._clock.now_us() + stub.after_us, answer)
        else:
            answer()

    def _stub_completion(self, execution: Execution, value: Any) -> tuple[EventKind, str | None, str]:
        """What a stub returned must fit the step: else the test is wrong, not the run."""
        try:
            return self._completion(execution, value)
        except EncodeError as error:
            raise AssertionError(f"the stub of {execution.name!r} does not fit the step: {error.message}") from error

    async def _resolved(self, execution: Execution, value: Awaitable[Any]) -> Any:
        """What an async stub returns; its failed assertions are the test's."""
        try:
            result = await value
            self._stub_completion(execution, result)
        except AssertionError as error:
            self._host.give_up(error)
            raise
        return result

    def _run(self, execution: Execution, call: Callable[[], Awaitable[Any]]) -> None:
        task = asyncio.get_running_loop().create_task(self._attempt(execution, call), context=contextvars.Context())
        execution.task = task
        self.live.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.live.discard(task)
        self._host.notify()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._host.give_up(error)

    async def _attempt(self, execution: Execution, call: Callable[[], Awaitable[Any]]) -> None:
        task = execution.task
        running = execution.running
        assert running is not None
        current_step.set(running)
        try:
            around = chain(self._host.interceptors, "run_step", running.info(), call)
            outcome = self._completion(execution, await around())
        except asyncio.CancelledError as error:
            if execution.task is not task:
                return  # lost in a crash, or its run has ended
            execution.task = None
            self._interrupted(execution, error)
        except CompleteLater:
            execution.task = None
            execution.is_handed_over = True
            self._host.notify()
        except Exception as raised:  # noqa: BLE001 - whatever a step raises is its outcome
            if execution.task is task:
                execution.task = None
                self._failed(execution, raised.error if isinstance(raised, StoppedError) else raised)
        else:
            if execution.task is task:
                execution.task = None
                self._deliver(execution, outcome)

    async def _real(self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition = execution.command.definition
        if definition.is_async:
            return await definition.fn(*args, **kwargs)
        context = contextvars.copy_context()

        def call() -> Any:
            try:
                return context.run(definition.fn, *args, **kwargs)
            except StopIteration as error:
                raise StoppedError(error) from error

        return await asyncio.get_running_loop().run_in_executor(None, call)

    def _interrupted(self, execution: Execution, error: asyncio.CancelledError) -> None:
        if execution.timed_out is not None:
            self._failed(execution, self._timeout_error(execution))
        elif execution.cancel_requested:
            self._report(execution, EventKind.STEP_CANCELLED)
        else:
            text = f"step {execution.name!r} cancelled itself: {error}"
            self._failed(execution, StepCancelledError(text, step=execution.name))

    # -- outcomes -----------------------------------------------------------------------------------------

    def _completion(self, execution: Execution, result: Any) -> tuple[EventKind, str | None, str]:
        definition = execution.command.definition
        try:
            plain = definition.result.encode(result)
        except EncodeError as error:
            error.blame(f"the result of step {definition.name!r}")
            raise
        detail = None if execution.attempt == 1 else write_detail(attempts=execution.attempt)
        return EventKind.STEP_COMPLETED, detail, self._envelope.seal(plain, secret=definition.result.has_secrets)

    def _deliver(self, execution: Execution, outcome: tuple[EventKind, str | None, str]) -> None:
        """Report what an attempt returned, unless everything is lost between its effect and its record."""
        if not self._host.crashes_at(CrashPoint.AFTER_EFFECT, execution.run):
            self._report(execution, *outcome)

    def _failed(self, execution: Execution, error: BaseException) -> None:
        """An attempt raised: the step is repeated if its policy allows, else it fails."""
        if not execution.is_open:
            return
        execution.release()
        attempt, now_us = execution.attempt, self._clock.now_us()
        delay_us = execution.policy.next_delay_us(attempt, error)
        if delay_us is None or execution.is_over or execution.cancel_requested:
            self._report_failure(execution, error)
            return
        total_us = execution.total_deadline_us
        execution.last_error = error
        if total_us is not None and now_us + delay_us >= total_us:
            execution.timed_out = f"total_timeout of {format_duration(total_us - execution.command.at_us)}"
            self._report_failure(execution, self._timeout_error(execution))
            return
        execution.attempt = attempt + 1
        execution.has_begun = False
        self._wait(execution, now_us + delay_us)

    def _wait(self, execution: Execution, at_us: int) -> None:
        execution.next_at_us = at_us
        execution.due = self._clock.call_at(at_us, lambda: self.launch(execution))
        self._host.notify()

    def _report_failure(self, execution: Execution, error: BaseException) -> None:
        detail = write_detail(attempts=execution.attempt) if execution.attempt > 1 else None
        self._report(execution, EventKind.STEP_FAILED, detail, self._envelope.seal(record_exception(error)))

    def _report(
        self, execution: Execution, kind: EventKind, detail: str | None = None, payload: str | None = None
    ) -> None:
        if not execution.is_open:
            return
        execution.release()
        del execution.run.steps[execution.number]
        self._host.accept(execution.run, Fact(kind, execution.number, execution.name, detail, payload))
