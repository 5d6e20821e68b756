"""A worker and a client on one store, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

from durable.codec import PayloadCodec
from durable.interceptor import Interceptor
from durable.retry import RetryPolicy
from durable.workflow import WorkflowDefinition
from runtime.client.client import Client
from runtime.clock import Clock, SystemClock
from runtime.store.protocol import Store
from runtime.store.url import open_store
from runtime.worker.worker import Worker


class WorkerOptions(TypedDict, total=False):
    """Arguments of ``Worker`` that ``Runtime`` hands on; the defaults are the worker's."""

    max_concurrent_steps: int
    max_threads: int
    cache_size: int
    lease_seconds: float
    blocked_seconds: float
    grace_seconds: float


class Runtime(Client):
    """Store, worker and client in one: ``async with Runtime("sqlite:///app.db", workflows=[deploy]) as rt``.

    Args:
        url: as for ``Client``.
        workflows, steps, queues, codecs, default_retry, clock: as for ``Worker``.
        interceptors: around client calls, workflows and steps, the first one outermost.
        recover: take up what others left unfinished; False: serve only what this runtime starts.
        worker_options: those of ``Worker``: max_concurrent_steps, max_threads, cache_size, lease_seconds, blocked_seconds, grace_seconds.
    """

    def __init__(
        self,
        url: str | Store | None = None,
        *,
        workflows: Iterable[WorkflowDefinition[..., Any]] = (),
        steps: Iterable[Callable[..., Any]] = (),
        queues: Sequence[str] = ("default",),
        codecs: Sequence[PayloadCodec] = (),
        default_retry: RetryPolicy | None = None,
        actor: str | None = None,
        recover: bool = True,
        interceptors: Sequence[Interceptor] = (),
        clock: Clock | None = None,
        **worker_options: Unpack[WorkerOptions],
    ) -> None:
        store = open_store(url) if url is None or isinstance(url, str) else url
        chosen: Clock = clock if clock is not None else SystemClock()
        super().__init__(store, codecs=codecs, actor=actor, interceptors=interceptors, clock=chosen)
        self._recovers = recover
        self._closes_store = url is None or isinstance(url, str)
        self.worker = Worker(
            store, workflows=workflows, steps=steps, queues=queues, codecs=codecs, default_retry=default_retry,
            clock=chosen, recover=recover, interceptors=interceptors, **worker_options,
        )  # fmt: skip
        self.modules = self.worker.registry.modules()

    async def open(self) -> None:
        """Open the store and begin to serve."""
        await super().open()
        try:
            await self.worker.start()
        except BaseException:
            await self._disconnect()
            raise

    def started(self, run_id: str, workflow: str) -> None:
        """With ``recover=False`` what is started here is served here, if its code is here."""
        if not self._recovers and workflow in self.worker.registry.workflows:
            self.worker.serve(run_id)

    async def close(self) -> None:
        """Let steps finish, give runs back, close the store."""
        try:
            await self.worker.stop()
        finally:
            await self._disconnect()

    async def _disconnect(self) -> None:
        await super().close()
        if self._closes_store:
            await self.store.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
