"""Answers to queries: from a replayer in memory, else from one that is loaded for the purpose."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from durable.codec import record_exception
from durable.errors import DeterminismError, QueryFailedError, StoreUnavailableError
from durable.kernel.replayer import Replayer
from runtime.store.row import Change, QueryRow, RunRow
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

    def changed(self, change: Change) -> None:
        """The store's listener."""
        if change.queries:
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
                for query in pending:
                    await self._answer(query)
                if not pending and not self._again:
                    return
        except StoreUnavailableError as error:
            log.warning("the store is not available, queries wait: %s", error.message)
        finally:
            self._task = None

    async def _answer(self, query: QueryRow) -> None:
        engine = self._engine
        row = await engine.store.get_run_by_id(query.run_id)
        if row is None:
            await engine.store.reply(query.query_id, "failed", record_exception(QueryFailedError("the run was purged")))
            return
        state, reply = "answered", ""
        replayer, is_own = await self._replayer(row)
        try:
            if replayer is None:
                raise QueryFailedError("the run cannot be replayed here")
            reply = replayer.query(query.name, query.payload)
        except (Exception, DeterminismError) as error:  # noqa: BLE001 - a failing query fails only the query
            state, reply = "failed", record_exception(error)
        finally:
            if replayer is not None and (is_own or replayer.loop.tainted):
                self._forget(row, replayer)
        await engine.store.reply(query.query_id, state, reply)

    def _forget(self, row: RunRow, replayer: Replayer) -> None:
        """Evict a replayer that was made for a query, or that a query may have changed before it was refused."""
        held = self._engine.held.get(row.run_id)
        if held is not None and held.replayer is replayer:
            held.replayer = None
        replayer.evict()

    async def _replayer(self, row: RunRow) -> tuple[Replayer | None, bool]:
        """A replayer at the committed end of the run's history, and whether it was made for this query."""
        engine = self._engine
        held = engine.held.get(row.run_id)
        if held is not None and held.replayer is not None and not held.is_busy and held.replayer.recorder.seq >= row.seq:
            return held.replayer, False
        fresh = engine.loader.new_replayer(HeldRun(row, 0, row.epoch))
        try:
            history = await engine.store.read_history(row.run_id)
            blobs = await engine.store.read_blobs(row.run_id)
            engine.watchdog.run(row.workflow_id, fresh.load, history, blobs)
        except (Exception, DeterminismError) as error:  # noqa: BLE001 - said to the asker
            log.warning("a query of run %s cannot be answered: %s", row.run_id, error)
            fresh.evict()
            return None, False
        return fresh, True
