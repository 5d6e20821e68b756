"""Claims: when to look for runs, and what becomes of those that are found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from durable.errors import StoreUnavailableError
from runtime.clock import Alarm
from runtime.store.change import Change
from runtime.store.row import Claimed
from runtime.worker.held import HeldRun

if TYPE_CHECKING:
    from runtime.worker.engine import Engine

OWN_BATCH: Final = 100
"""Runs of its own for which a worker that holds as many as it may asks at once."""


class Claims:
    """Looks for runs that want a worker: when the store says that something changed, and when the next one is due."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._wake: Alarm | None = None
        self._wake_at_us: int | None = None
        self._is_stopped = False
        self._moved: set[str] | None = None
        self._others_wrote = False
        self._adopted: set[str] = set()
        self._is_full = False

    def changed(self, change: Change) -> None:
        """The store's listener."""
        if change.ready:
            self.poll()
        if change.closed is None:
            self._others_wrote = True
            return
        for run_id in change.closed:
            held = self._engine.held.get(run_id)
            if held is not None and held.executions:
                self._engine.spawn(self._check(held))

    async def check(self) -> None:
        """Notice what other processes took or terminated while steps of it run here; to be called now and then."""
        if self._others_wrote:
            self._others_wrote = False
            for held in list(self._engine.held.values()):
                if held.executions:
                    await self._check(held)

    async def _check(self, held: HeldRun) -> None:
        engine = self._engine
        try:
            row = await engine.store.get_run_by_id(held.row.run_id)
        except StoreUnavailableError:
            self._others_wrote = True
            return
        if row is None or (row.epoch > held.epoch and row.owner != engine.worker_id):
            engine.lose(held)

    def stop(self) -> None:
        """Take no more runs."""
        self._is_stopped = True
        if self._wake is not None:
            self._wake.cancel()

    def poll(self) -> None:
        """Look now; calls that come meanwhile are one more look."""
        if self._is_stopped:
            return
        if self._task is not None:
            self._again = True
            return
        self._task = self._engine.spawn(self._look())

    def wake_by(self, at_us: int | None) -> None:
        """Look at this time at the latest."""
        if self._is_stopped or at_us is None or (self._wake_at_us is not None and self._wake_at_us <= at_us):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake_at_us = at_us
        self._wake = self._engine.clock.call_at(at_us, self._woken)

    def adopt(self, run_ids: Sequence[str]) -> None:
        """Take these runs and no others; they stay here until they end."""
        self._adopted.update(run_ids)
        self._engine.spawn(self._adopt(run_ids))

    def adopt_again(self) -> None:
        """Take the runs once more that were adopted and have not ended: this worker has joined again, and nobody else may want them."""
        if self._adopted:
            self.adopt(list(self._adopted))

    def parked(self, run_id: str) -> None:
        """A run was given back: it has ended, or any worker may take it."""
        self._adopted.discard(run_id)
        self.has_room()

    def has_room(self) -> None:
        """A run is not held any more: another one may be."""
        if self._is_full:
            self._is_full = False
            self.poll()

    async def _adopt(self, run_ids: Sequence[str]) -> None:
        engine = self._engine
        try:
            await engine.store.adopt(engine.worker_id, run_ids)
        except StoreUnavailableError as error:
            engine.outage.tell(error)
            engine.later(engine.options.retry_delay_us, lambda: self.adopt(run_ids))
        else:
            self.poll()

    def _woken(self) -> None:
        self._wake = self._wake_at_us = None
        self.poll()

    async def _look(self) -> None:
        engine = self._engine
        try:
            while not self._is_stopped:
                self._again = False
                room = engine.options.max_runs - len(engine.held)
                self._is_full = room <= 0
                workflows, queues = self._wanted()
                may_start = engine.may_start()
                claimed = await self._claim(workflows, queues, room) if may_start else []
                if not self._again and not claimed:
                    if may_start:  # else there is another look when the worker has joined again
                        self.wake_by(await engine.store.next_ready_at(engine.worker_id, workflows, queues))
                    break
        except StoreUnavailableError as error:
            engine.outage.tell(error)
            self.wake_by(engine.clock.now_us() + engine.options.retry_delay_us)
        finally:
            self._moved = None
            self._task = None
            if self._again:
                self.poll()

    def _wanted(self) -> tuple[Sequence[str], Sequence[str]]:
        """Workflows and queues whose runs are taken now, beside those that are this worker's already.

        A worker without room takes no others. But what comes for its own must reach them: that may be what makes room.
        """
        engine = self._engine
        if self._is_full or not engine.options.recover:
            return (), ()
        return list(engine.registry.workflows), engine.options.queues

    async def _claim(self, workflows: Sequence[str], queues: Sequence[str], room: int) -> list[Claimed]:
        engine = self._engine
        limit = OWN_BATCH if self._is_full else room
        self._moved = set()
        claimed = await engine.store.claim(engine.worker_id, workflows, queues, limit, engine.clock.now_us())
        moved, self._moved = self._moved, None
        for item in claimed:
            if item.run.run_id not in moved:
                self._admit(item)
        for item in claimed:
            if item.run.run_id in moved:
                await self._look_again(item)
        return claimed

    async def unstick(self) -> int:
        """Take runs that are stuck on other code than this worker's, each once (rule L9); to be called now and then.

        They become this worker's at once: offered to all, a worker that cannot go on with them might be the first. What
        was tried is in the store, so that two workers that both cannot do not hand a run to each other for ever.
        """
        engine = self._engine
        room = engine.options.max_runs - len(engine.held)
        if self._is_stopped or not engine.options.recover or room <= 0 or not engine.may_start():
            return 0
        return await engine.store.unstick(
            engine.worker_id, engine.code, engine.options.queues, room, engine.clock.now_us()
        )

    def committed(self, run_id: str) -> None:
        """A turn of this run is durable. What a claim that is under way will say of the run may be older than that."""
        if self._moved is not None:
            self._moved.add(run_id)

    async def _look_again(self, claimed: Claimed) -> None:
        """Take a claimed run as it is now, if it is still ours."""
        engine, run_id = self._engine, claimed.run.run_id
        held = engine.held.get(run_id)
        if held is not None and held.epoch == claimed.run.epoch:
            if held.is_busy or held.is_dirty:  # a second turn beside that one would conflict with it
                held.wants_inbox = True
            else:
                engine.loader.refresh_soon(held)
            return
        try:
            row = await engine.store.get_run_by_id(run_id)
            if row is not None and row.owner == engine.worker_id:
                self._admit(Claimed(row, await engine.store.read_inbox(run_id)))
        except StoreUnavailableError:  # it is ours, and no other claim will name it
            engine.later(engine.options.retry_delay_us, lambda: self.look_after(run_id))

    def look_after(self, run_id: str) -> None:
        """A commit conflicted: if the store says that the run is still ours, take it up again as it is there."""
        self._engine.spawn(self._look_after(run_id))

    async def _look_after(self, run_id: str) -> None:
        engine = self._engine
        try:
            row = await engine.store.get_run_by_id(run_id)
            if row is None or row.owner != engine.worker_id or run_id in engine.held:
                return
            inbox = await engine.store.read_inbox(run_id)
        except StoreUnavailableError:
            engine.later(engine.options.retry_delay_us, lambda: self.look_after(run_id))
            return
        if run_id not in engine.held:
            self._admit(Claimed(row, inbox))

    def _admit(self, claimed: Claimed) -> None:
        engine, row = self._engine, claimed.run
        if row.owner != engine.worker_id:  # it was claimed before the lease lapsed, and given back since
            return
        held = engine.held.get(row.run_id)
        if held is not None and held.epoch != row.epoch:  # it was somebody else's in between
            engine.lose(held)
            held = None
        if held is None:
            held = engine.held[row.run_id] = HeldRun(row, row.seq, row.epoch)
            held.replayer = engine.cache.take(row.run_id, row.seq) if row.seq else None
            held.recovers = row.lost or (row.seq > 0 and (held.replayer is None or held.replayer.has_open_steps()))
            held.is_closed = row.status.is_closed
        if held.is_busy:
            held.wants_inbox = True
            return
        held.row = row
        held.set_aside = None
        held.inbox = claimed.inbox
        held.wants_turn = True
        engine.mark(held)
