"""Runs steps: one attempt after the other, in the loop, in threads or in processes, within limits.

The attempt is a pipeline: wait for a slot, and for a thread or process where it needs one, decode, (record the start), call,
encode, report. It begins after the waiting: until then only ``total_timeout`` runs, and nothing is on record. An outcome goes
back to the engine as a fact (``verdict``). A crash, a lost lease and a shutdown are no attempts (rule H4): they simply leave no fact.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from durable.attempt import CompleteLater, StoppedError, current_step
from durable.codec import Envelope
from durable.commands import ScheduleStep
from durable.duration import MICROSECONDS, to_us
from durable.errors import ConflictError, DecodeError, OperatorError, StepCancelledError, StoreUnavailableError
from durable.history import Fact
from durable.interceptor import chain
from durable.retry import RetryPolicy
from runtime.clock import Clock
from runtime.store.row import AttemptOutcome, InboxRow
from runtime.worker.execution import Execution, RunningAttempt
from runtime.worker.handover import Handovers
from runtime.worker.heartbeat import Heartbeats
from runtime.worker.host import StepHost
from runtime.worker.isolation import ProcessSlot, StepProcesses
from runtime.worker.options import EngineOptions
from runtime.worker.sleeper import Sleepers
from runtime.worker.stepstore import StepStore
from runtime.worker.threads import StepThreads
from runtime.worker.verdict import Verdicts
from runtime.worker.wheel import open_deadlines

if TYPE_CHECKING:
    from runtime.worker.held import HeldRun


log = logging.getLogger("durable.worker")

STORE_DELAY_US: Final = 250_000
"""Pause before a transaction is begun again that the store could not begin or commit."""


UNREADABLE_DELAY_US: Final = 30_000_000
"""Pause before arguments are looked at again that the codecs of this worker cannot open."""


class UnreadableError(Exception):
    """The codecs of this worker cannot open the arguments of a step."""


class StepRunner:
    """The steps in flight of one worker."""

    def __init__(
        self,
        host: StepHost,
        store: StepStore,
        clock: Clock,
        envelope: Envelope,
        options: EngineOptions,
    ) -> None:
        self._host = host
        self._store = store
        self._clock = clock
        self._envelope = envelope
        self._limits = options.steps
        self._default_retry = options.default_retry
        self._interceptors = options.interceptors
        self._wheel = open_deadlines(clock)
        self._sleepers = Sleepers(clock)
        self._verdicts = Verdicts(host, clock, envelope, self._sleepers, self._launch)
        self._handovers = Handovers(host, store, clock, self._sleepers, self._verdicts)
        self._heartbeats = Heartbeats(store, envelope, self._wheel, self._time_out)
        self._threads: StepThreads | None = None
        self._processes: StepProcesses | None = None
        self._waiting: deque[Execution] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()

    # -- from the engine ----------------------------------------------------------------------------------

    def start(self, held: HeldRun, command: ScheduleStep, workflow_retry: RetryPolicy | None) -> Execution:
        """Begin a step that was just scheduled."""
        execution = Execution(
            held, command, command.definition.options_.policy(workflow_retry, self._default_retry), command.at_us
        )
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
            self._verdicts.retry_at(execution, next_at_us)
        else:
            self._launch(execution)

    def watch(self, execution: Execution) -> None:
        """Go on with a step that somebody else completes: only its limits are watched here."""
        execution.runner = self
        self._handovers.watch(execution)

    def cancel(self, execution: Execution) -> None:
        """The workflow does not want the step any more. A thread is told by its next heartbeat, else it ends by itself."""
        if execution.cancel_requested:
            return
        execution.cancel_requested = True
        if execution.task is None:
            self._sleepers.wake(execution)
            self._verdicts.cancelled(execution)
        elif execution.has_begun and (execution.is_waiting or not _runs_in_thread(execution)):
            execution.task.cancel()

    def settle(self, execution: Execution) -> None:
        """The step has its outcome from somebody else: what still runs here reports to nobody."""
        execution.held.executions.pop(execution.command.number or 0, None)
        self._sleepers.wake(execution)

    def drop(self, execution: Execution) -> None:
        """The run is not ours any more: stop without a word."""
        execution.held.executions.pop(execution.command.number or 0, None)
        execution.held.is_ours = False
        self._sleepers.wake(execution)
        if execution.task is not None:
            execution.task.cancel()
            self._tasks.discard(execution.task)

    async def stop(self, grace_seconds: float) -> None:
        """Let attempts finish for a while, then cancel them; what is cut off runs again elsewhere."""
        self._is_stopping = True
        self._waiting.clear()
        self._sleepers.close()
        if self._tasks and grace_seconds > 0:
            await asyncio.wait(set(self._tasks), timeout=grace_seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5)
        self._wheel.close()
        if self._threads is not None:
            self._threads.close()
        if self._processes is not None:
            await self._processes.close()

    def hasten(self) -> None:
        """End the grace period of a stop that is under way, or is just about to be."""
        self._is_stopping = True  # else what is cut off would have cancelled itself
        for task in self._tasks:
            task.cancel()

    @property
    def attempts(self) -> set[asyncio.Task[None]]:
        """The attempts that are running now."""
        return set(self._tasks)

    @property
    def running(self) -> int:
        """Attempts that are running now."""
        return len(self._tasks)

    # -- from the code of steps ---------------------------------------------------------------------------

    def open(self, payload: str) -> str:
        """Plaintext of an envelope."""
        return self._envelope.open(payload)

    def beat(self, running: RunningAttempt, details: Any) -> None:
        """A heartbeat, from the loop or from a thread.

        Raises:
            asyncio.CancelledError: nobody wants the attempt any more.
        """
        self._heartbeats.beat(running, details)

    # -- an attempt ---------------------------------------------------------------------------------------

    def _launch(self, execution: Execution) -> None:
        if self._is_stopping or not execution.held.is_ours:
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
            if execution.is_open and execution.held.is_ours:  # not cancelled meanwhile
                self._launch(execution)

    async def _attempt(self, execution: Execution) -> None:
        """One attempt and what becomes of it."""
        execution.timed_out = None
        execution.has_begun = True
        try:
            fact = await self._execute(execution)
        except asyncio.CancelledError as error:
            self._interrupted(execution, error)
        except CompleteLater:
            self._handovers.begin(execution)
        except StoppedError as carrier:
            self._verdicts.failed(execution, carrier.error)
        except UnreadableError as error:  # no attempt: a worker with other codecs may know better
            name = execution.command.name
            log.error("the arguments of step %s cannot be read here, trying again: %s", name, error)
            self._verdicts.retry_at(execution, self._clock.now_us() + UNREADABLE_DELAY_US)
        except StoreUnavailableError as error:
            if not execution.command.definition.options_.transactional:
                self._verdicts.failed(execution, error)
            else:  # no attempt: nothing of it has happened
                log.warning("the store is not available, trying again: %s", error.message)
                self._verdicts.retry_at(execution, self._clock.now_us() + STORE_DELAY_US)
        except BaseException as error:  # noqa: BLE001 - whatever a step raises is its outcome
            self._verdicts.failed(execution, error)
        else:
            if fact is not None:
                self._verdicts.report(execution, fact)
        finally:
            self._release(execution)

    async def _execute(self, execution: Execution) -> Fact | None:
        """Wait, decode, record the start where that is due, call within limits, encode. None: the outcome goes another way."""
        if execution.cancel_requested:
            self._verdicts.cancelled(execution)
            return None
        definition = execution.command.definition
        options = definition.options_
        if not definition.is_async or options.isolation != "auto":
            await self._take_slot(execution)
            if self._is_stopping or not self._host.may_start():
                self._waiting.append(execution)
                return None
        execution.started_at_us = self._clock.now_us()
        limit = execution.limit_us(execution.started_at_us)
        if limit is not None and limit[0] <= 0:  # the total, which other attempts or a long pause have used up
            execution.reach_limit(limit[1], to_us(options.total_timeout or 0))
            raise self._verdicts.timeout_error(execution)
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
            self._heartbeats.watch(execution)
        if self._interceptors:
            around = chain(self._interceptors, "run_step", running.info(), lambda: self._call(execution, args, kwargs))
            result = await around()
        else:
            result = await self._call(execution, args, kwargs)
        return self._verdicts.completion(execution, result)

    async def _take_slot(self, execution: Execution) -> None:
        """Wait for a thread or process."""
        slots: StepThreads | StepProcesses
        if execution.command.definition.options_.isolation == "process":
            slots = self._processes = self._processes or StepProcesses()
        else:
            slots = self._threads = self._threads or StepThreads(self._limits.threads, self._loop)
        deadline_us = execution.total_deadline_us()
        if deadline_us is not None and slots.free.locked():
            remaining_us = max(0, deadline_us - self._clock.now_us())
            on_time = partial(self._time_out, execution, "total_timeout", deadline_us - execution.first_at_us)
            execution.wheel_key = self._wheel.add(remaining_us / MICROSECONDS, on_time)
        execution.is_waiting = True
        try:
            execution.slot = await slots.slot()
        finally:
            execution.is_waiting = False
            if execution.wheel_key is not None:
                self._wheel.discard(execution.wheel_key)
                execution.wheel_key = None

    def _arguments(self, execution: Execution) -> tuple[tuple[Any, ...], dict[str, Any]]:
        definition = execution.command.definition
        try:
            plain = self._envelope.open(execution.command.payload or "{}")
        except OperatorError as error:
            raise UnreadableError(error.message) from error
        try:
            return definition.arguments.decode(plain)
        except DecodeError as error:
            error.blame(f"the arguments of step {definition.name!r}")
            raise

    def _release(self, execution: Execution) -> None:
        """Give back the slot and the timer of an attempt that is over."""
        if execution.wheel_key is not None:
            self._wheel.discard(execution.wheel_key)
            execution.wheel_key = None
        if execution.silence_key is not None:
            self._heartbeats.release(execution)
        if execution.slot is not None:
            execution.slot.release()
            execution.slot = None
        execution.running = None
        task, execution.task = execution.task, None
        if task is not None:
            self._tasks.discard(task)
        if self._waiting:
            self.launch_waiting()

    async def _call(self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition, slot = execution.command.definition, execution.slot
        if slot is None:
            return await definition.fn(*args, **kwargs)
        if isinstance(slot, ProcessSlot):
            assert execution.running is not None
            plain = self._envelope.open(execution.command.payload or "{}")
            return definition.result.decode(await slot.run(definition, plain, execution.running.info()))
        context = contextvars.copy_context()
        if definition.is_async:
            return await slot.submit(lambda: context.run(asyncio.run, definition.fn(*args, **kwargs)))
        return await slot.submit(lambda: context.run(definition.fn, *args, **kwargs))

    async def _in_transaction(
        self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any], limit: tuple[int, str] | None
    ) -> None:
        """Rule D4: the outcome commits with what the step wrote, and comes back as a message to the run."""
        definition, row = execution.command.definition, execution.held.row
        seconds = None if limit is None else limit[0] / MICROSECONDS
        try:
            async with self._store.transaction(execution, seconds) as transaction:
                execution.connection = transaction.connection
                result = await self._call(execution, args, kwargs)
                fact = self._verdicts.completion(execution, result)
                transaction.complete(InboxRow(row.workflow_id, row.run_id, None, fact, self._clock.now_us()))
        except ConflictError:
            log.warning("step %s of run %s is not wanted any more; nothing was written", definition.name, row.run_id)
        finally:
            execution.connection = None
        execution.held.executions.pop(execution.command.number or 0, None)
        self._host.step_handed_over(execution, None)

    async def _record_start(self, execution: Execution) -> None:
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        row = self._verdicts.row(execution, AttemptOutcome.STARTED)
        self._host.record_attempt(execution, row, lambda: None if recorded.done() else recorded.set_result(None))
        await recorded
        execution.was_started = True

    # -- limits -------------------------------------------------------------------------------------------

    def _interrupted(self, execution: Execution, error: asyncio.CancelledError) -> None:
        if execution.timed_out is not None:
            self._verdicts.timed_out(execution)
        elif execution.cancel_requested:
            self._verdicts.cancelled(execution)
        elif self._is_stopping or not execution.held.is_ours:
            return
        else:
            name = execution.command.name or ""
            said = f": {error}" if str(error) else ""
            own = StepCancelledError(
                f"step {name!r} raised CancelledError by itself, nobody cancelled it{said}", step=name
            )
            own.__cause__ = error
            self._verdicts.failed(execution, own)

    def _time_out(self, execution: Execution, which: str, limit_us: int) -> None:
        if execution.task is not None and execution.timed_out is None:  # its cleanup is not cancelled a second time
            execution.reach_limit(which, limit_us)
            execution.task.cancel()


def _runs_in_thread(execution: Execution) -> bool:
    definition = execution.command.definition
    isolation = definition.options_.isolation
    return (
        definition.options_.transactional or isolation == "thread" or (isolation == "auto" and not definition.is_async)
    )
