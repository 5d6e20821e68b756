"""The worker: an engine with its store, lease and housekeeping, as one thing to start and stop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import anyio
from pydantic_core import from_json

from durable.codec import INLINE, Envelope, PayloadCodec
from durable.errors import StoreError
from durable.interceptor import Interceptor
from durable.registry import Registry
from durable.retry import RetryPolicy
from durable.workflow import WorkflowDefinition
from runtime.clock import Clock, SystemClock
from runtime.identifier import new_run_id
from runtime.store.protocol import Lease, Store
from runtime.store.row import WorkerRow
from runtime.store.url import open_store
from runtime.worker.definition import describe_workflow
from runtime.worker.engine import Engine
from runtime.worker.logs import RunLogHandler
from runtime.worker.options import EngineOptions, StepLimits
from runtime.worker.queries import QueryAnswerer
from runtime.worker.tasks import TaskServer
from runtime.worker.watchdog import Watchdog

log = logging.getLogger("durable.worker")


class Worker:
    """Runs workflows and steps from a store.

    Args:
        url: of the store, or an open store, which is then not closed; as for ``Client``.
        workflows: definitions; the steps of their modules are known with them.
        steps: more steps, for queues and for undoing after continue-as-new.
        queues: whose runs and steps it takes.
        codecs: payload codecs, the same as the clients'.
        default_retry: policy of steps whose step and workflow have none.
        max_concurrent_steps: attempts of steps at once.
        cache_size: parked runs kept in memory; 0 evicts every run after every turn.
        lease_seconds: silence after which others take over.
        blocked_seconds: how long workflow code may keep the event loop busy.
        grace_seconds: how long ``stop`` lets steps finish.
        recover: take any run that wants a worker; False: only those given to ``serve`` and what they start.
        interceptors: around workflows and steps, the first one outermost; told of runs that fail or are stuck.
        clock: for tests.
    """

    def __init__(  # noqa: PLR0913 - one keyword an option, as users write them
        self,
        url: str | Store | None = None,
        *,
        workflows: Iterable[WorkflowDefinition[..., Any]] = (),
        steps: Iterable[Callable[..., Any]] = (),
        queues: Sequence[str] = ("default",),
        codecs: Sequence[PayloadCodec] = (),
        default_retry: RetryPolicy | None = None,
        max_concurrent_steps: int = 1000,
        max_threads: int = 64,
        cache_size: int = 1000,
        lease_seconds: float = 10.0,
        blocked_seconds: float = 2.0,
        grace_seconds: float = 10.0,
        recover: bool = True,
        interceptors: Sequence[Interceptor] = (),
        clock: Clock | None = None,
    ) -> None:
        self._owns_store = url is None or isinstance(url, str)
        self.store: Store = open_store(url) if url is None or isinstance(url, str) else url
        self.registry = Registry(workflows, steps)
        self.worker_id = new_run_id()
        self._codecs = codecs
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._options = EngineOptions(
            queues=tuple(queues),
            cache_size=cache_size,
            steps=StepLimits(max_concurrent_steps, max_threads),
            default_retry=default_retry,
            recover=recover,
            interceptors=tuple(interceptors),
        )
        self._lease_seconds = lease_seconds
        self._grace_seconds = grace_seconds
        self._watchdog = Watchdog(blocked_seconds)
        self._housekeeping: asyncio.Task[None] | None = None
        self._stopping: Engine | None = None
        self._stopped = asyncio.Event()
        self.engine: Engine | None = None

    async def start(self) -> None:
        """Open the store, take over what dead workers left, begin to serve. Where that fails, nothing of it is left."""
        await self.store.open()
        try:
            await self._start()
        except BaseException:
            engine, self.engine = self.engine, None
            await self._disconnect(engine)
            raise

    async def _start(self) -> None:
        envelope = Envelope(self._codecs, blob_threshold_bytes=INLINE)
        self._watchdog.start()
        self.engine = engine = Engine(
            self.store, self.registry, envelope, self._clock, self.worker_id, self._options, self._watchdog
        )
        engine.lease = await self._join()
        await self._publish()
        await self.store.take_over(self._clock.now_us())
        await engine.claims.unstick()
        self._queries = QueryAnswerer(engine)
        self._tasks = TaskServer(engine)
        runners = (engine.runner, self._tasks.runner)
        self._logs = RunLogHandler(
            self.store.write_logs, lambda step: getattr(step, "runner", None) in runners, self._clock
        )
        self._logs.attach()
        self._unlisten = [self.store.listen(part.changed) for part in (engine.claims, self._queries, self._tasks)]
        self._housekeeping = asyncio.get_running_loop().create_task(self._keep_house())
        engine.claims.poll()
        self._queries.poll()
        self._tasks.poll()

    async def _publish(self) -> None:
        """Publish the workflows. What only serves its own runs does not take back what others say of encryption."""
        own = [codec.name for codec in self._codecs if codec.encrypts]
        definitions: dict[str, str] = {}
        for name, definition in self.registry.workflows.items():
            known = None if own or self._options.recover else await self.store.read_definition(name)
            definitions[name] = describe_workflow(
                definition, own or (from_json(known).get("encryption", ()) if known else ())
            )
        if definitions:
            await self.store.publish_definitions(definitions)

    async def _join(self) -> Lease:
        row = WorkerRow(
            self.worker_id, socket.gethostname(), os.getpid(), self._clock.now_us(), self._options.queues,
            tuple(self.registry.workflows),
        )  # fmt: skip
        return await self.store.join(row, self._lease_seconds)

    async def _join_again(self, engine: Engine, lapsed: Lease) -> None:
        """The lease has lapsed, after a stop or a blocked loop: others may own our runs, so begin anew under another id."""
        log.warning("the lease of worker %s lapsed; it gives up its runs and joins again", self.worker_id)
        engine.lose_all()
        self._tasks.lose_all()
        await lapsed.end()
        self.worker_id = engine.worker_id = new_run_id()
        engine.lease = await self._join()
        engine.claims.adopt_again()
        engine.claims.poll()
        self._tasks.poll()

    def serve(self, run_id: str) -> None:
        """Serve this run and what it starts, where ``recover=False``; it stays with this worker until it ends or the worker stops."""
        assert self.engine is not None, "the worker has not started"
        self.engine.claims.adopt([run_id])

    async def _keep_house(self) -> None:
        engine = self.engine
        assert engine is not None
        interval = min(1.0, self._lease_seconds / 4)
        while True:
            lease = engine.lease
            assert lease is not None
            try:
                if not lease.is_fresh():
                    await self._join_again(engine, lease)
                else:
                    lease.loop_alive()
                    engine.runner.launch_waiting()
                if await self.store.take_over(self._clock.now_us()) + await engine.claims.unstick():
                    engine.claims.poll()
                await engine.claims.check()
                engine.outage.over()
            except StoreError as error:  # also where there is no room for a sign of life
                engine.outage.tell(error)
            await asyncio.sleep(interval)

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Let steps finish, give runs back, close the store. Idempotent.

        Args:
            grace_seconds: instead of the worker's own; with 0, a second call ends the grace period of the first.
        """
        grace = self._grace_seconds if grace_seconds is None else grace_seconds
        if self._stopping is not None:
            if grace <= 0:
                self._hasten(self._stopping)
            await self._stopped.wait()
            return
        engine, self.engine = self.engine, None
        if engine is None:
            return
        self._stopping, self._stopped = engine, asyncio.Event()
        stopping = asyncio.get_running_loop().create_task(self._stop(engine, grace))
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):  # this keeps anyio from cancelling, and the loop what asyncio cancels
            while not stopping.done():
                try:
                    await asyncio.wait([stopping])
                except asyncio.CancelledError as error:  # half stopped it would keep its runs, and do nothing with them
                    cancelled = error
                    self._hasten(engine)
        self._stopping = None
        self._stopped.set()
        stopping.result()
        if cancelled is not None:
            raise cancelled

    def _hasten(self, engine: Engine) -> None:
        """End the grace period of a stop that is under way."""
        self._tasks.runner.hasten()
        engine.runner.hasten()

    async def _stop(self, engine: Engine, grace_seconds: float) -> None:
        for unlisten in self._unlisten:
            unlisten()
        engine.claims.stop()
        await asyncio.gather(self._tasks.stop(grace_seconds), engine.runner.stop(grace_seconds))
        await engine.stop(0)
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait((self._housekeeping,))
        await self._logs.detach()
        await self._disconnect(engine)

    async def kill(self) -> None:
        """Die, for tests: nothing that is in flight is finished or given back, as if the process had been killed.

        A commit that is on its way is still made, and a thread goes on to the end of its call; nobody hears of it.
        """
        engine, self.engine = self.engine, None
        if engine is None:
            return
        for unlisten in self._unlisten:
            unlisten()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait((self._housekeeping,))
        if engine.lease is not None:
            engine.lease.remove()
        engine.claims.stop()
        engine.lose_all()
        self._tasks.lose_all()
        await asyncio.gather(self._tasks.stop(0), engine.stop(0))
        await self._logs.detach()
        self._watchdog.stop()

    async def pass_on(self, *, attempts: bool = True) -> bool:
        """Wait until something that is in flight is over; True if nothing is, so that what comes next needs time or a message.

        Args:
            attempts: False: attempts of steps that run do not count.
        """
        engine = self.engine
        assert engine is not None, "the worker has not started"
        await engine.until_settled()
        under_way = engine.background
        if attempts:
            under_way |= engine.runner.attempts | self._tasks.runner.attempts
        if under_way:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        return not under_way

    async def _disconnect(self, engine: Engine | None) -> None:
        """Give back what the worker has, and close the store."""
        self._watchdog.stop()
        try:
            if engine is not None and engine.lease is not None:
                await engine.lease.end()
        except StoreError as error:
            log.warning(
                "the runs of worker %s could not be given back, others take them over: %s",
                self.worker_id,
                error.message,
            )
        finally:
            if self._owns_store:
                await self.store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
