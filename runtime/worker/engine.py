"""The engine of a worker: gives runs their turns, commits, and only then carries out what they asked for.

A turn (rule K1): take what waits for a run, activate its replayer, commit the events together with everything the
commands need, then start the steps. One callback of the event loop activates every run that is dirty (rule L2), and their
turns go to the store in one call, which makes them one transaction.

A run is *held* while something of it is in flight here; otherwise it is *parked*: without an owner in the store, its
replayer in the sticky cache. Any worker may take a parked run when it wants one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from durable.codec import Envelope
from durable.commands import CancelStep, ScheduleStep
from durable.errors import (
    ConflictError,
    DeterminismError,
    DurableError,
    MissingCodeError,
    StoreUnavailableError,
)
from durable.handle import RunStatus
from durable.history import EventKind, Fact
from durable.interceptor import RunFailure
from durable.kernel.activation import Activation
from durable.kernel.beginning import begin
from durable.registry import Registry
from runtime.clock import Clock
from runtime.store.protocol import CommitOutcome, Lease, Store
from runtime.store.row import AttemptRow, InboxRow
from runtime.store.rule import STEP_OUTCOMES
from runtime.store.turn import RunChange, Turn
from runtime.worker.cache import StickyCache
from runtime.worker.claim import Claims
from runtime.worker.execution import Execution
from runtime.worker.fingerprint import code_fingerprints, tried_codes
from runtime.worker.held import HeldRun
from runtime.worker.loading import Loader
from runtime.worker.logs import run_ids, show_lines
from runtime.worker.options import EngineOptions
from runtime.worker.outage import Outage
from runtime.worker.pause import before_timers, only_orders, settle_orders, stays_paused
from runtime.worker.runner import StepRunner
from runtime.worker.stepstore import StepStore
from runtime.worker.turn import draft_aside, draft_turn, route
from runtime.worker.watchdog import Watchdog

log = logging.getLogger("durable.worker")

SETTLE_SECONDS: Final = 30
"""How long a stopping engine waits for the store to take the last results."""

DRAIN_SIZE: Final = 32
"""Runs that get their turn in one callback; the store commits them while the next ones are activated."""


@dataclass(slots=True)
class _Pending:
    """A turn on its way to the store, and what follows once it is durable.

    Attributes:
        facts, records: what went into it, for the case that it can never be written.
    """

    held: HeldRun
    turn: Turn
    activation: Activation | None = None
    then: Sequence[Callable[[], None]] = ()
    facts: Sequence[Fact] = ()
    records: Sequence[tuple[AttemptRow, Callable[[], None]]] = ()


class Engine:
    """Runs the workflows of a registry from one store."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        envelope: Envelope,
        clock: Clock,
        worker_id: str,
        options: EngineOptions,
        watchdog: Watchdog,
    ) -> None:
        self.store = store
        self.registry = registry
        self.envelope = envelope
        self.clock = clock
        self.worker_id = worker_id
        self.options = options
        self.watchdog = watchdog
        self.cache = StickyCache(options.cache_size)
        self.held: dict[str, HeldRun] = {}
        self.lease: Lease | None = None
        self.code = code_fingerprints(registry, envelope)
        self.outage = Outage(clock)
        self.step_store = StepStore(
            store, clock, self.outage, self.spawn, lambda then: self.later(options.retry_delay_us, then)
        )
        self.runner = StepRunner(self, self.step_store, clock, envelope, options)
        self.claims = Claims(self)
        self.loader = Loader(self)
        self.is_stopping = False
        self._dirty: list[HeldRun] = []
        self._drain_handle: asyncio.Handle | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._in_commit = 0
        self._settling: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()

    # -- life ---------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background until it ends or the engine stops; its exceptions are the engine's."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def stop(self, grace_seconds: float) -> None:
        """Take no more runs, let steps finish for a while, commit what came of them, forget everything."""
        self.claims.stop()
        await self.runner.stop(grace_seconds)
        await self.step_store.last_words()
        await self._settle()
        self.is_stopping = True
        for task in list(self._background):
            task.cancel()
        if self._background:
            await asyncio.wait(set(self._background))
        for held in self.held.values():
            if held.replayer is not None:
                self.cache.stubborn += held.replayer.evict()
        self.held.clear()
        self.cache.clear()

    def later(self, delay_us: int, callback: Callable[[], None]) -> None:
        """Call back after a pause, unless the engine stops."""
        self.clock.call_at(self.clock.now_us() + delay_us, lambda: None if self.is_stopping else callback())

    # -- turns --------------------------------------------------------------------------------------------

    def mark(self, held: HeldRun) -> None:
        """Give a run a turn soon."""
        if held.is_dirty or held.is_busy:
            return
        held.is_dirty = True
        self._dirty.append(held)
        if self._drain_handle is None:
            self._drain_handle = self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._drain_handle = None
        dirty, self._dirty = self._dirty[:DRAIN_SIZE], self._dirty[DRAIN_SIZE:]
        if self._dirty:
            self._drain_handle = self._loop.call_soon(self._drain)
        batch: list[_Pending] = []
        for held in dirty:
            held.is_dirty = False
            if held.is_ours:
                pending = self._turn(held)
                if pending is not None:
                    batch.append(pending)
        if batch:
            self._submit(batch)
        self._check_settled()

    async def _settle(self) -> None:
        """Wait until every outcome that came is committed, or the store has not taken it for long."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.until_settled()
        except TimeoutError:
            log.warning("stopping though not every result could be written; those steps run again")

    async def until_settled(self) -> None:
        """Wait until every outcome that came is committed."""
        while not self._is_settled():  # more may have come before this was told
            settled: asyncio.Future[None] = self._loop.create_future()
            self._settling.append(settled)
            await settled

    def _is_settled(self) -> bool:
        if self._in_commit or self._dirty:
            return False
        return not any(held.is_busy or held.facts or held.records for held in self.held.values())

    def _check_settled(self) -> None:
        if not self._settling or not self._is_settled():
            return
        settling, self._settling = self._settling, []
        for settled in settling:
            if not settled.done():
                settled.set_result(None)

    @property
    def background(self) -> set[asyncio.Task[None]]:
        """What runs in the background now."""
        return set(self._background)

    def _turn(self, held: HeldRun) -> _Pending | None:
        if held.set_aside is not None:
            return self._keep_aside(held)
        if not held.seq and held.replayer is None and stays_paused(held.inbox, is_paused=False):
            held.set_aside = RunChange(RunStatus.PAUSED, held.row.rollback)
            return self._keep_aside(held)
        if held.step_limits and held.take_due_limits(self.clock.now_us()):
            held.recovers = True
        if (held.replayer is None or held.recovers) and (held.inbox or held.facts or held.wants_turn):
            if held.seq or held.recovers:
                self.loader.load_soon(held)
                return None
            try:
                held.replayer = self.loader.new_replayer(held)
            except MissingCodeError as error:  # adopted by a worker that has it not
                return self.stick(held, error)
        held.wants_turn = False
        inbox, facts, records = held.inbox, held.facts, held.records
        kept: list[Fact] = []
        replayer = held.replayer
        now_us = at_us = self.clock.now_us()
        was_paused = replayer is not None and replayer.status is RunStatus.PAUSED
        if replayer is not None and (inbox or was_paused) and stays_paused(inbox, is_paused=was_paused):
            inbox, facts, kept = only_orders(inbox), [], facts
            at_us = before_timers(now_us, replayer.next_wake_us())
        if inbox and held.executions:
            self._settle_steps(held, inbox)
        held.inbox, held.facts, held.records = [], kept, []
        if replayer is None:
            return self._record(held, records)
        held.is_busy = True
        all_facts = (
            settle_orders([self._fact(held, row) for row in inbox], is_paused=was_paused) + facts if inbox else facts
        )
        try:
            activation = self.watchdog.run(held.row.workflow_id, replayer.activate, all_facts, at_us, self.worker_id)
            unread = {id(fact) for fact in activation.unread}
            taken = [row for row in inbox if id(row.fact) not in unread] if unread else inbox
            turn = draft_turn(held, replayer, activation, taken, records, self.options, now_us)
        except (Exception, DeterminismError) as error:  # noqa: BLE001 - rule L9: whatever stops the kernel makes the run stuck
            held.inbox, held.facts, held.records = inbox, facts + kept, records
            return self.stick(held, error)
        if unread:
            held.facts[:0] = [fact for fact in facts if id(fact) in unread]
            facts = [fact for fact in facts if id(fact) not in unread]
        return _Pending(held, turn, activation, [then for _, then in records] if records else (), facts, records)

    def _settle_steps(self, held: HeldRun, inbox: Sequence[InboxRow]) -> None:
        """Steps whose outcome came from outside are not to be tried again here."""
        for row in inbox:
            execution = held.executions.get(row.fact.command or 0)
            if execution is not None and row.fact.kind in STEP_OUTCOMES:
                self.runner.settle(execution)

    def _record(self, held: HeldRun, records: list[tuple[AttemptRow, Callable[[], None]]]) -> _Pending | None:
        """A turn that only records attempts, while the run is not in memory."""
        if not records:
            return None
        held.is_busy = True
        row = held.row
        attempts = [attempt for attempt, _ in records]
        turn = Turn(row.run_id, row.workflow_id, held.seq, held.epoch, attempts=attempts)
        return _Pending(held, turn, None, [then for _, then in records])

    def _fact(self, held: HeldRun, row: InboxRow) -> Fact:
        if row.fact.kind == EventKind.RUN_STARTED:
            return begin(row.fact, self.registry.workflow(held.row.workflow), os.urandom(18))
        return row.fact

    def stick(self, held: HeldRun, error: BaseException) -> _Pending:
        """Rule L9: discard the activation, keep history and messages, say why."""
        if held.replayer is not None:
            self.cache.stubborn += held.replayer.evict()
            held.replayer = None
        text = str(error) if isinstance(error, DurableError | DeterminismError) else f"{type(error).__name__}: {error}"
        log.error(
            "run %s of workflow %s is stuck: %s", held.row.run_id, held.row.workflow, text, extra=run_ids(held.row)
        )
        held.set_aside = held.stuck(text, tried_codes(held, self.code.get(held.row.workflow)))
        return self._keep_aside(held)

    def _keep_aside(self, held: HeldRun) -> _Pending:
        """Keep outcomes of steps as inbox rows, because the run must not take them now; release it once nothing is in flight."""
        held.is_busy, held.wants_turn = True, False
        release = self.options.recover and not held.executions
        turn = draft_aside(held, self.clock.now_us(), release=release)
        records = held.records
        held.facts, held.inbox, held.records = [], [], []
        return _Pending(held, turn, None, [then for _, then in records])

    # -- commits ------------------------------------------------------------------------------------------

    def submit_stuck(self, held: HeldRun, error: BaseException) -> None:
        """Make a run stuck outside a drain."""
        self._submit([self.stick(held, error)])

    def submit_record(self, held: HeldRun, row: AttemptRow) -> None:
        """Make one record durable; the run is given its turn afterwards."""
        pending = self._record(held, [(row, lambda: None)])
        assert pending is not None
        held.wants_turn = True
        self._submit([pending])

    def _submit(self, batch: list[_Pending]) -> None:
        self._in_commit += 1
        self.store.commit([pending.turn for pending in batch], lambda outcomes: self._committed(batch, outcomes))

    def _committed(self, batch: list[_Pending], outcomes: Sequence[CommitOutcome]) -> None:
        self._in_commit -= 1
        again: list[_Pending] = []
        unavailable: StoreUnavailableError | None = None
        for pending, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self.claims.committed(pending.turn.run_id)
                self._effects(pending)
            elif isinstance(outcome, ConflictError):
                self.lose(pending.held)
                self.claims.look_after(pending.held.row.run_id)
            elif isinstance(outcome, StoreUnavailableError):
                again.append(pending)
                unavailable = outcome
            else:
                pending.held.facts[:0] = pending.facts
                pending.held.records[:0] = pending.records
                self._submit([self.stick(pending.held, outcome)])
        if len(again) < len(batch):
            self.outage.over()
        if unavailable is not None:
            self.outage.tell(unavailable)
            self.later(self.options.retry_delay_us, lambda: self._submit(again))
        self._check_settled()

    def _effects(self, pending: _Pending) -> None:
        held, activation = pending.held, pending.activation
        if not held.is_ours:
            return  # it was given up while the turn was on its way
        for then in pending.then:
            then()
        if activation is not None:
            replayer = held.replayer
            assert replayer is not None
            held.seq = replayer.recorder.seq
            if activation.logs:
                show_lines(held.row, activation.logs)
            for command in activation.commands:
                if type(command) is ScheduleStep:
                    if route(command, self.options.queues) is not None:
                        continue
                    self.runner.start(held, command, replayer.definition.default_retry)
                elif type(command) is CancelStep:
                    execution = held.executions.get(command.number or 0)
                    if execution is not None:
                        self.runner.cancel(execution)
                    else:
                        self.step_store.cancel_handed_over(held.row, command, self.worker_id)
        self._after(held, pending.turn)

    def _after(self, held: HeldRun, turn: Turn) -> None:
        held.is_busy = False
        if held.replayer is not None and held.replayer.loop.tainted:
            self.cache.stubborn += held.replayer.evict()
            held.replayer = None
        change = turn.change
        if change is not None:
            self.loader.tried(held)
            held.is_closed = change.status.is_closed
            if change.status in (RunStatus.FAILED, RunStatus.STUCK) and self.options.interceptors:
                self.spawn(self._report_failure(held, change))
            if change.status is RunStatus.PAUSED:
                held.set_aside = change
            if turn.new_runs and not self.options.recover:
                self.claims.adopt([new.run_id for new in turn.new_runs])
            if change.ready_at_us is not None:
                self.claims.wake_by(change.ready_at_us)
            if change.release and not held.executions and not held.facts:
                self._park(held)
                return
            if held.is_closed:
                held.row = replace(held.row, status=change.status, rollback=change.rollback, reason=change.reason)
        if self.cache.capacity == 0 and held.replayer is not None and turn.events:
            self.cache.stubborn += held.replayer.evict()
            held.replayer = None
        if held.wants_inbox:
            self.loader.refresh_soon(held)
        elif (
            held.facts
            or held.inbox
            or held.records
            or held.wants_turn
            or (held.set_aside and not held.set_aside.release and not held.executions and self.options.recover)
        ):
            self.mark(held)

    async def _report_failure(self, held: HeldRun, change: RunChange) -> None:
        row = held.row
        failure = RunFailure(
            row.workflow_id, row.run_id, row.workflow, change.status, change.rollback, change.reason or ""
        )
        for interceptor in self.options.interceptors:
            try:
                await interceptor.on_failed(failure)
            except Exception:
                log.exception("an interceptor's on_failed raised for run %s", row.run_id)

    def _park(self, held: HeldRun) -> None:
        self.held.pop(held.row.run_id, None)
        self.claims.parked(held.row.run_id)
        replayer, held.replayer = held.replayer, None
        if replayer is None:
            return
        if held.is_closed:
            self.cache.stubborn += replayer.evict()
        else:
            self.cache.put(held.row.run_id, replayer)
        if held.wants_inbox:
            self.claims.poll()

    def lose_all(self) -> None:
        """The lease is gone: others may own every run by now."""
        for held in list(self.held.values()):
            self.lose(held)

    def lose(self, held: HeldRun) -> None:
        """Another worker owns the run: forget it, and whatever it has in flight here."""
        if not held.is_ours:
            return
        log.warning("run %s is not ours any more", held.row.run_id, extra=run_ids(held.row))
        if self.held.get(held.row.run_id) is held:
            del self.held[held.row.run_id]
        held.is_ours = False
        self.loader.tried(held)
        for execution in list(held.executions.values()):
            self.runner.drop(execution)
        if held.replayer is not None:
            self.cache.stubborn += held.replayer.evict()
            held.replayer = None
        self.claims.has_room()
        self._check_settled()

    # -- the runner's host --------------------------------------------------------------------------------

    def step_ended(self, execution: Execution, fact: Fact) -> None:
        """A step has its outcome."""
        held = execution.held
        held.facts.append(fact)
        self.mark(held)

    def step_handed_over(self, execution: Execution, limit_at_us: int | None) -> None:
        """Nothing of the step is in flight here any more; the run may be parked until a limit of the step is due."""
        held = execution.held
        if limit_at_us is not None:
            held.step_limits[execution.command.number or 0] = limit_at_us
        held.wants_turn = True
        self.mark(held)

    def record_attempt(self, execution: Execution, row: AttemptRow, then: Callable[[], None]) -> None:
        """Make a record of an attempt durable, then go on; not at all if the run was lost meanwhile."""
        execution.held.records.append((row, then))
        self.mark(execution.held)

    def may_start(self) -> bool:
        """Whether the lease is fresh enough to start an effect."""
        return self.lease is None or self.lease.is_fresh()
