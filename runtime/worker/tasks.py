"""Steps of other workers' runs: taken from a named queue, run here, their outcome delivered as a message.

A task is a step that was routed to a queue its own worker does not serve. The claim is durable before the call, so it is also the record that an
at-most-once step may have begun. Between attempts the task goes back to the queue, for whichever worker is free then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from durable.codec import record_exception
from durable.commands import ScheduleStep
from durable.duration import MICROSECONDS
from durable.errors import StepInDoubtError, StepLostError, StoreUnavailableError
from durable.history import EventKind, Fact
from durable.step import StepDefinition
from runtime.clock import Alarm
from runtime.store.change import Change
from runtime.store.row import AttemptOutcome, AttemptRow, InboxRow, TaskRow
from runtime.worker.execution import Execution
from runtime.worker.held import HeldRun
from runtime.worker.recovery import MAX_LOSSES, newest_heartbeat
from runtime.worker.runner import StepRunner

if TYPE_CHECKING:
    from runtime.worker.engine import Engine

log = logging.getLogger("durable.worker")

BATCH: Final = 100

LAST_WORDS_SECONDS: Final = 10.0
"""How long a worker that stops tries to deliver outcomes."""

NEVER_US: Final = 2**62
"""A time that does not come: a step that was handed over and has no limits is nobody's task."""


class TaskServer:
    """Serves the worker's queues for others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        options = engine.options
        self._runner = StepRunner(self, engine.step_store, engine.clock, engine.envelope, options)
        self._tasks: dict[tuple[str, int], tuple[TaskRow, Execution]] = {}
        self._claimed: deque[TaskRow] = deque()  # and not begun yet: the store may fail in between
        self._looking: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self._again = False
        self._wake: Alarm | None = None
        self._is_stopped = False

    @property
    def runner(self) -> StepRunner:
        """Runs the steps of others."""
        return self._runner

    def changed(self, change: Change) -> None:
        """The store's listener."""
        if change.tasks:
            self.poll()

    def poll(self) -> None:
        """Look for tasks now; a worker that serves only its own runs takes none."""
        if self._is_stopped or not self._engine.registry.steps or not self._engine.options.recover:
            return
        if self._looking is not None:
            self._again = True
        else:
            self._looking = self._engine.spawn(self._look())

    @property
    def worker_id(self) -> str:
        """Who runs the attempts."""
        return self._engine.worker_id

    def lose_all(self) -> None:
        """The lease is gone: others may have the tasks by now."""
        for _, execution in list(self._tasks.values()):
            self._runner.drop(execution)
        self._tasks.clear()
        self._claimed.clear()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more tasks, let those in flight finish for a while."""
        self._is_stopped = True
        if self._wake is not None:
            self._wake.cancel()
        await self._runner.stop(grace_seconds)
        if self._telling:
            await asyncio.wait(set(self._telling), timeout=LAST_WORDS_SECONDS)

    async def _look(self) -> None:
        engine = self._engine
        queues, steps = engine.options.queues, list(engine.registry.steps)
        try:
            while not self._is_stopped:
                self._again = False
                room = min(BATCH, engine.options.steps.concurrent - len(self._tasks))
                tasks: list[TaskRow] = []
                may_take = room > 0 and engine.may_start()
                if may_take and not self._claimed:
                    owner = engine.worker_id
                    tasks = await engine.store.claim_tasks(owner, queues, steps, room, engine.clock.now_us())
                    if owner == engine.worker_id:  # else they are lost with the lease that they were claimed under
                        self._claimed += tasks
                while self._claimed:
                    await self._begin(self._claimed[0])
                if self._tasks:
                    await self._cancel_unwanted()
                if not tasks and not self._again:
                    # Where there is no room, there is another look when a task was given up.
                    self._sleep_until(await engine.store.next_task_at(queues, steps) if may_take else None)
                    return
        except StoreUnavailableError as error:
            engine.outage.tell(error)
            self._sleep_until(engine.clock.now_us() + engine.options.retry_delay_us)
        finally:
            self._looking = None
            if self._again:  # it was asked while it looked up when to look next
                self.poll()

    def _sleep_until(self, at_us: int | None) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = None if at_us is None else self._engine.clock.call_at(at_us, self.poll)

    async def _begin(self, task: TaskRow) -> None:
        engine = self._engine
        row = await engine.store.get_run_by_id(task.run_id)
        rows = await engine.store.read_attempts(task.run_id, task.command)
        beat = await engine.store.read_heartbeat(task.run_id, task.command)
        if not self._claimed:  # given up meanwhile
            return
        self._claimed.popleft()
        if row is None:  # purged
            return
        definition: StepDefinition[..., object] = engine.registry.steps[task.step]
        if task.options:
            definition = definition.as_recorded(from_json(task.options))
        held = HeldRun(row, row.seq, row.epoch)
        first_at_us = rows[0].started_at_us if rows else engine.clock.now_us()
        command = ScheduleStep(task.command, definition, task.input, None, task.idempotency_key, first_at_us)
        last = rows[-1] if rows else None
        started_at_us = last.started_at_us if last is not None else first_at_us
        execution = Execution(
            held, command, command.definition.options_.policy(engine.options.default_retry), started_at_us
        )
        execution.attempt, execution.losses = task.attempt, task.losses
        execution.heartbeat = newest_heartbeat(rows, beat)
        self._tasks[task.run_id, task.command] = (task, execution)
        error = self._doubt(task, definition, last)
        if last is not None and last.outcome is AttemptOutcome.HANDED_OVER:
            self._runner.watch(execution)
        elif error is None:
            self._runner.resume(execution, None)
        else:
            payload = engine.envelope.seal(record_exception(error))
            self.step_ended(execution, Fact(EventKind.STEP_FAILED, task.command, task.step, None, payload))

    def _doubt(
        self, task: TaskRow, definition: StepDefinition[..., object], last: AttemptRow | None
    ) -> StepInDoubtError | StepLostError | None:
        if definition.options_.delivery == "at_most_once" and last is not None:
            return StepInDoubtError(
                f"step {task.step!r} was started by worker {last.worker} and its outcome is unknown; it is not run again",
                step=task.step,
            )
        if task.losses >= MAX_LOSSES:
            return StepLostError(f"{task.losses} workers were lost while step {task.step!r} ran", step=task.step)
        return None

    async def _cancel_unwanted(self) -> None:
        for key in await self._engine.store.cancelled_tasks(self._engine.worker_id):
            if key in self._tasks:
                self._runner.cancel(self._tasks[key][1])

    # -- the runner's host --------------------------------------------------------------------------------

    def step_ended(self, execution: Execution, fact: Fact) -> None:
        """Deliver the outcome."""
        task = self._give_up(execution)
        if task is not None:
            row = InboxRow(task.workflow_id, task.run_id, None, fact, self._engine.clock.now_us())
            self._tell(self._deliver(task, row))

    def step_handed_over(self, execution: Execution, limit_at_us: int | None) -> None:
        """Give the task back until a limit of the step is due."""
        task = self._give_up(execution)
        if task is not None:
            self._tell(self._postpone(replace(task, available_at_us=NEVER_US if limit_at_us is None else limit_at_us)))

    def record_attempt(self, execution: Execution, row: AttemptRow, then: Callable[[], None]) -> None:
        """A failed attempt gives the task back, and so does one that was handed over, until its limits are due. That one begins
        is known by its claim, unless it must never begin twice."""
        if row.outcome is AttemptOutcome.STARTED:
            if execution.command.definition.options_.delivery == "at_most_once":
                self._tell(self._start(execution, row, then))
            else:
                then()
            return
        task = self._give_up(execution)
        execution.held.executions.pop(row.command, None)
        if task is None:
            return
        if row.outcome is AttemptOutcome.HANDED_OVER:
            execution.heard_at_us = row.started_at_us
            limit_at_us = execution.next_limit_at_us()
            later = replace(task, available_at_us=NEVER_US if limit_at_us is None else limit_at_us)
        else:
            later = replace(task, attempt=row.attempt + 1, available_at_us=row.next_at_us or row.started_at_us)
        self._tell(self._postpone(later, row))

    def _give_up(self, execution: Execution) -> TaskRow | None:
        """Forget a task; None where it is not this execution's any more."""
        key = execution.held.row.run_id, execution.command.number or 0
        task, current = self._tasks.get(key, (None, None))
        if current is not execution:
            return None
        del self._tasks[key]
        return task

    # -- what the store is told ---------------------------------------------------------------------------

    def _tell(self, work: Coroutine[Any, Any, None]) -> None:
        """Tell the store what became of a task, also while the worker stops."""
        telling = self._engine.spawn(work)
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _until_told(self, tell: Callable[[], Awaitable[bool]]) -> bool:
        """Ask the store until it has an answer."""
        engine = self._engine
        while True:
            try:
                return await tell()
            except StoreUnavailableError as error:
                engine.outage.tell(error)
                await asyncio.sleep(engine.options.retry_delay_us / MICROSECONDS)

    async def _start(self, execution: Execution, row: AttemptRow, then: Callable[[], None]) -> None:
        key = row.run_id, row.command
        task, current = self._tasks.get(key, (None, None))
        if task is None or current is not execution:
            return
        if await self._until_told(lambda: self._engine.store.begin_task(task, row)):
            then()
        else:
            self._give_up(execution)
            self._runner.drop(execution)
            self.poll()

    async def _deliver(self, task: TaskRow, row: InboxRow) -> None:
        if not await self._until_told(lambda: self._engine.store.finish_task(task, row)):
            log.warning("step %s of run %s went to another worker, or has its outcome", task.step, task.run_id)
        self.poll()

    async def _postpone(self, task: TaskRow, row: AttemptRow | None = None) -> None:
        await self._until_told(lambda: self._engine.store.postpone_task(task, row))
        self.poll()

    def may_start(self) -> bool:
        """Whether the lease is fresh enough to start an effect."""
        return self._engine.may_start()
