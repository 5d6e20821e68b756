"""What steps in flight want of the store, whoever's runs they belong to: heartbeats, transactions, an end for those that nobody runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from durable.commands import CancelStep
from durable.errors import ConfigurationError, RunClosedError, StoreUnavailableError
from durable.history import EventKind, Fact
from runtime.clock import Clock
from runtime.store.protocol import Store, Transaction
from runtime.store.row import AttemptOutcome, InboxRow, RunRow
from runtime.worker.execution import Execution
from runtime.worker.outage import Outage

log = logging.getLogger("durable.worker")

LAST_WORDS_SECONDS: Final = 1.0
"""How long a worker that stops waits for the last heartbeats of its steps to be kept."""


class StepStore:
    """The store, as steps see it.

    Args:
        spawn: runs something in the background of the engine.
        later: calls back after a pause.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        outage: Outage,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._outage = outage
        self._spawn = spawn
        self._later = later
        self._beating: set[asyncio.Task[None]] = set()

    def transaction(self, execution: Execution, timeout: float | None) -> AbstractAsyncContextManager[Transaction]:
        """A transaction of the store's database for a step.

        Raises:
            ConfigurationError: this store has none.
        """
        begin = getattr(self._store, "transaction", None)
        if begin is None:
            raise ConfigurationError(
                f"step {execution.command.name!r} is transactional, and the store {self._store.url} has no transactions "
                "for steps; use a SQLite store"
            )
        held = execution.held
        context: AbstractAsyncContextManager[Transaction] = begin(held.row.run_id, held.epoch, timeout)
        return context

    def keep_heartbeat(self, execution: Execution) -> None:
        """Keep the newest heartbeat details and those that come meanwhile, and hear whether the step is still wanted."""
        task = self._spawn(self._keep_heartbeat(execution))
        self._beating.add(task)
        task.add_done_callback(self._beating.discard)

    async def _keep_heartbeat(self, execution: Execution) -> None:
        run_id, number = execution.held.row.run_id, execution.command.number or 0
        is_wanted = True
        while True:  # one write at a time, however fast they come
            kept = execution.heartbeat
            try:
                is_wanted = await self._store.heartbeat(run_id, number, kept, self._clock.now_us())
            except StoreUnavailableError as error:
                log.warning("a heartbeat of step %s is lost: %s", execution.command.name, error.message)
                execution.is_beating = False
                break
            execution.is_beating = (
                False  # and then look: a thread that beat before leaves it to this, one that beats later does not
            )
            if not is_wanted or execution.heartbeat is kept:
                break
            execution.is_beating = True
        is_running = execution.held.executions.get(number) is execution  # else it ended, or went to another worker
        if not is_wanted and is_running and execution.runner is not None:
            execution.runner.cancel(execution)

    def read_heartbeat(self, execution: Execution, then: Callable[[tuple[int, str | None] | None], None]) -> None:
        """Look up time and details of the newest heartbeat of a step."""
        self._spawn(self._read_heartbeat(execution, then))

    async def _read_heartbeat(
        self, execution: Execution, then: Callable[[tuple[int, str | None] | None], None]
    ) -> None:
        try:
            then(await self._store.read_heartbeat(execution.held.row.run_id, execution.command.number or 0))
        except StoreUnavailableError as error:
            self._outage.tell(error)
            self._later(lambda: self.read_heartbeat(execution, then))

    def cancel_handed_over(self, row: RunRow, command: CancelStep, worker_id: str) -> None:
        """A step that nobody runs here, and no other worker: where it was handed over, it is cancelled at once."""
        self._spawn(self._cancel_handed_over(row, command, worker_id))

    async def _cancel_handed_over(self, row: RunRow, command: CancelStep, worker_id: str) -> None:
        number = command.number or 0
        try:
            attempts = await self._store.read_attempts(row.run_id, number)
            if attempts and attempts[-1].outcome is AttemptOutcome.HANDED_OVER:
                fact = Fact(EventKind.STEP_CANCELLED, number, command.name, actor=worker_id)
                await self._store.send(InboxRow(row.workflow_id, row.run_id, None, fact, self._clock.now_us()))
        except StoreUnavailableError as error:
            self._outage.tell(error)
            self._later(lambda: self.cancel_handed_over(row, command, worker_id))
        except RunClosedError:
            pass  # it ended meanwhile, and with it the step

    async def last_words(self) -> None:
        """Wait a moment for the last heartbeats to be kept."""
        if self._beating:
            await asyncio.wait(set(self._beating), timeout=LAST_WORDS_SECONDS)
