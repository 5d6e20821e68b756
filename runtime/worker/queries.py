"""Answers to queries: from a replayer in memory, else from one that is loaded for the purpose."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from durable.codec import record_exception
from durable.errors import DeterminismError, QueryFailedError, StoreUnavailableError
from durable.kernel.replayer import Replayer
from runtime.store.change import Change
from runtime.store.row import QueryRow, RunRow
from runtime.store.whole import check_whole
from runtime.worker.held import HeldRun

if TYPE_CHECKING:
    from runtime.worker.engine import Engine

log = logging.getLogger("durable.worker")


class QueryAnswerer:
    """Serves the queries of the workflows that the worker has. Any worker may answer, whoever holds the run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._too_early: set[str] = set()

    def changed(self, change: Change) -> None:
        """The store's listener."""
        began = self._too_early and (change.wrote is None or not self._too_early.isdisjoint(change.wrote))
        if change.queries or began:
            self.poll()

    def poll(self) -> None:
        """Look for queries now."""
        if self._task is not None:
            self._again = True
        elif not self._engine.is_stopping:
            self._task = self._engine.spawn(self._look())

    async def _look(self) -> None:
        engine = self._engine
        try:
            while True:
                self._again = False
                pending = await engine.store.pending_queries(list(engine.registry.workflows), engine.clock.now_us())
                self._too_early = {query.run_id for query in pending}
                answered = [query for query in pending if await self._answer(query)]
                if not answered and not self._again:
                    return
        except StoreUnavailableError as error:
            engine.outage.tell(error)
            engine.later(engine.options.retry_delay_us, self.poll)
        finally:
            self._task = None

    async def _answer(self, query: QueryRow) -> bool:
        """Answer, unless the run has not had its first turn: who asks right after a start waits for that."""
        engine = self._engine
        row = await engine.store.get_run_by_id(query.run_id)
        if row is not None and row.seq == 0:
            return False
        self._too_early.discard(query.run_id)
        state = "answered"
        try:
            reply = await self._ask(row, query)
        except StoreUnavailableError:
            raise
        except (Exception, DeterminismError) as error:  # noqa: BLE001 - a failing query fails only the query
            state, reply = "failed", record_exception(error)
        await engine.store.reply(query.query_id, state, reply)
        return True

    async def _ask(self, row: RunRow | None, query: QueryRow) -> str:
        if row is None:
            raise QueryFailedError("the run was purged")
        if row.status.is_closed and row.started_at_us is None:
            raise QueryFailedError("the run ended before its first turn, so that its code knows nothing of it")
        engine = self._engine
        held = engine.held.get(row.run_id)
        if (
            held is not None
            and held.replayer is not None
            and not held.is_busy
            and held.replayer.recorder.seq >= row.seq
        ):
            try:
                return self._call(held.replayer, row, query)
            finally:
                if held.replayer.loop.tainted:
                    engine.cache.stubborn += held.replayer.evict()
                    held.replayer = None
        fresh = engine.loader.new_replayer(HeldRun(row, 0, row.epoch))
        try:
            history = await engine.store.read_history(row.run_id)
            blobs = await engine.store.read_blobs(row.run_id)
            try:
                check_whole(row, history)
                await engine.loader.replay(fresh, row, history, blobs)
            except (Exception, DeterminismError) as error:
                raise QueryFailedError(f"the run cannot be replayed here: {error}") from error
            return self._call(fresh, row, query)
        finally:
            engine.cache.stubborn += fresh.evict()

    def _call(self, replayer: Replayer, row: RunRow, query: QueryRow) -> str:
        return self._engine.watchdog.run(row.workflow_id, replayer.query, query.name, query.payload)
