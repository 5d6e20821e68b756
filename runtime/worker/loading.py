"""Loading: bringing a run into memory by replay, and taking up its open steps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from durable.commands import ScheduleStep, StartChild
from durable.duration import MICROSECONDS
from durable.errors import DeterminismError, MissingCodeError, PoisonError, StoreUnavailableError
from durable.history import Event, split_batches
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from runtime.identifier import new_run_id
from runtime.store.row import AttemptOutcome, AttemptRow, RunRow
from runtime.store.rule import wakes
from runtime.store.whole import check_whole
from runtime.worker.logs import run_ids
from runtime.worker.recovery import Heartbeat, plan_recovery

if TYPE_CHECKING:
    from runtime.worker.engine import Engine
    from runtime.worker.held import HeldRun

log = logging.getLogger("durable.worker")

PART_EVENTS: Final = 5_000
"""Events that are replayed in one go."""

POISON_LIMIT: Final = 3
"""A run whose turn took so many workers down, one after the other, is stuck."""

TURN: Final = 0
"""Command number under which turns on trial are recorded beside the attempts of steps."""


class Loader:
    """Makes replayers for the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._trial = asyncio.Lock()
        self._suspect: HeldRun | None = None

    def new_replayer(self, held: HeldRun) -> Replayer:
        """A replayer at the beginning of the run."""
        engine, row = self._engine, held.row
        identity = RunIdentity(
            row.workflow_id, row.run_id, row.workflow, row.origin_id, row.first_run_id, row.parent_run_id
        )
        return Replayer(
            engine.registry.workflow(row.workflow),
            identity,
            registry=engine.registry,
            ids=new_run_id,
            envelope=engine.envelope,
            interceptors=engine.options.interceptors,
        )

    async def replay(
        self, replayer: Replayer, row: RunRow, history: Sequence[Event], blobs: Mapping[str, bytes]
    ) -> None:
        """Feed a history to a replayer in parts: replaying a long one blocks nobody and is not taken for a blocked loop."""
        for part in _parts(history):
            self._engine.watchdog.run(row.workflow_id, replayer.load, part, blobs)
            await asyncio.sleep(0)

    def load_soon(self, held: HeldRun) -> None:
        """Load the run in the background; it is busy until then."""
        held.is_busy = True
        self._engine.spawn(self._load(held))

    def refresh_soon(self, held: HeldRun) -> None:
        """Read the inbox again, because rows came while the run was busy."""
        held.is_busy = True
        held.wants_inbox = False
        self._engine.spawn(self._refresh(held))

    async def _refresh(self, held: HeldRun) -> None:
        engine = self._engine
        try:
            held.inbox = await engine.store.read_inbox(held.row.run_id)
        except StoreUnavailableError as error:
            engine.outage.tell(error)
            engine.later(engine.options.retry_delay_us, lambda: self.refresh_soon(held))
            return
        if held.set_aside is not None and any(wakes(held.set_aside.status, row.fact.kind) for row in held.inbox):
            held.set_aside = None
        held.is_busy = False
        held.wants_turn = True
        engine.mark(held)

    async def _load(self, held: HeldRun) -> None:
        engine = self._engine
        try:
            if held.row.lost and not held.is_counted:
                await self._try(held)
                return
            if held.replayer is None:
                try:
                    replayer = self.new_replayer(held)
                except MissingCodeError as error:  # adopted by a worker that has it not
                    engine.submit_stuck(held, error)
                    return
                history = await engine.store.read_history(held.row.run_id)
                blobs = await engine.store.read_blobs(held.row.run_id)
                if not held.is_ours:
                    return
                try:
                    check_whole(held.row, history)
                    await self.replay(replayer, held.row, history, blobs)
                except (Exception, DeterminismError) as error:  # noqa: BLE001 - rule L9: whatever stops the kernel
                    held.replayer = replayer
                    engine.submit_stuck(held, error)
                    return
                except asyncio.CancelledError:
                    # Left to the garbage collector, its coroutines would go on outside the kernel.
                    engine.cache.stubborn += replayer.evict()
                    raise
                if not held.is_ours:
                    engine.cache.stubborn += replayer.evict()
                    return
                held.replayer = replayer
                if replayer.recorder.seq != held.seq:  # another worker has moved the run on since it was ours
                    engine.lose(held)
                    return
                for warning in replayer.warnings:
                    log.warning("%s", warning, extra=run_ids(held.row))
            if not engine.options.recover:
                engine.claims.adopt(
                    [w.command.run_id for w in held.replayer.open.values() if isinstance(w.command, StartChild)]
                )
            if held.recovers:
                await self._recover(held, held.replayer)
        except StoreUnavailableError as error:
            engine.outage.tell(error)
            engine.later(engine.options.retry_delay_us, lambda: self.load_soon(held))
            return
        held.is_busy = False
        held.wants_turn = True
        engine.mark(held)

    async def _try(self, held: HeldRun) -> None:
        """Put a run whose last worker was lost on trial: one at a time, and with a record that this worker dares it.

        If the record is still open when the next worker takes the run, then this run took its worker down and no
        other did; else the turn's commit closes it. So what kills workers is counted, though it never gets as far as a
        commit, and those who only happened to be there are not.
        """
        engine, row = self._engine, held.row
        if self._suspect is not held:
            await self._trial.acquire()
            self._suspect = held
        if not held.is_ours:
            self.tried(held)
            return
        before = [each for each in await engine.store.read_attempts(row.run_id) if each.command == TURN]
        deaths = sum(each.outcome is AttemptOutcome.STARTED and each.error == str(held.seq) for each in before)
        held.is_counted = True
        if deaths >= POISON_LIMIT:
            error = PoisonError(f"{deaths} workers were lost during the turn after event {held.seq}")
            engine.submit_stuck(held, error)
            return
        now_us = engine.clock.now_us()
        number = max((each.attempt for each in before), default=0) + 1
        trial = AttemptRow(
            row.run_id, TURN, number, AttemptOutcome.STARTED, now_us, None, None, str(held.seq), None, engine.worker_id
        )  # fmt: skip
        engine.submit_record(held, trial)
        held.records.append((replace(trial, outcome=AttemptOutcome.LOST, ended_at_us=now_us), _nothing))

    def tried(self, held: HeldRun) -> None:
        """The turn of a run on trial is durable, or not ours to give any more: the next one may be tried."""
        if self._suspect is held:
            self._suspect = None
            self._trial.release()

    async def _recover(self, held: HeldRun, replayer: Replayer) -> None:
        """Take up the open steps."""
        engine, row = self._engine, held.row
        if not replayer.has_open_steps():
            held.recovers = False
            return
        attempts = await engine.store.read_attempts(row.run_id)
        tasks = await engine.store.read_tasks(row.run_id)
        beats = {
            number: await self._heartbeat(row.run_id, number)
            for number, waiter in replayer.open.items()
            if isinstance(waiter.command, ScheduleStep)
        }
        # The last of all: a step that is no task any more has its outcome here since the same moment, and was not here before.
        inbox = await engine.store.read_inbox(row.run_id)
        if not held.is_ours:  # what is open is somebody else's to go on with
            return
        held.recovers = False  # not before: where the store is away meanwhile, all of it is read again
        held.inbox = inbox
        recovery = plan_recovery(
            held,
            replayer,
            attempts,
            frozenset(task.command for task in tasks),
            frozenset(item.fact.command for item in inbox if item.fact.command is not None),
            beats,
            engine.envelope,
            (replayer.definition.default_retry, engine.options.default_retry),
            engine.worker_id,
            engine.clock.now_us(),
        )
        held.records.extend((loss, _nothing) for loss in recovery.losses)
        held.facts.extend(recovery.facts)
        for execution, next_at_us in recovery.resume:
            engine.runner.resume(execution, next_at_us)
        for execution in recovery.watch:
            engine.runner.watch(execution)

    async def _heartbeat(self, run_id: str, command: int) -> Heartbeat | None:
        """The newest heartbeat of a step. There may be many to read, and the store need not be there for all of them in a row."""
        engine = self._engine
        while True:
            try:
                return await engine.store.read_heartbeat(run_id, command)
            except StoreUnavailableError as error:
                engine.outage.tell(error)
                await asyncio.sleep(engine.options.retry_delay_us / MICROSECONDS)


def _parts(history: Sequence[Event]) -> Iterator[list[Event]]:
    """A history in parts that end with a batch."""
    part: list[Event] = []
    for batch in split_batches(history):
        part += batch
        if len(part) >= PART_EVENTS:
            yield part
            part = []
    if part:
        yield part


def _nothing() -> None:
    """What follows a record that nothing waits for."""
