"""A real worker and client for tests: a temporary SQLite file, and a clock that the test holds.

Steps run for real, and everything that waits for time waits for the test's: timers, retries, limits of steps. Whoever waits
for a run here drives the clock: while nothing is in flight in the worker, time is moved to what is due next. Nothing sleeps.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

import anyio

from durable.codec import PayloadCodec
from durable.duration import Duration, instant_us, to_us
from durable.errors import DefinitionError, RunClosedError, RunStuckError
from durable.handle import RunStatus
from durable.interceptor import Interceptor
from durable.retry import RetryPolicy
from durable.testing import IdleError
from durable.testing.environment import START_AT
from durable.workflow import WorkflowCall, WorkflowDefinition
from runtime.client.client import Client
from runtime.client.handle import RunHandle
from runtime.store.protocol import Store
from runtime.store.row import RunRow
from runtime.store.sqlite.store import SqliteStore
from runtime.testing.clock import AlarmClock
from runtime.worker.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

FILE_NAME: Final = "test.db"


class ServeOptions(TypedDict, total=False):
    """What ``serve`` takes beside workflows, as ``Worker`` does."""

    steps: Iterable[Callable[..., Any]]
    queues: Sequence[str]
    codecs: Sequence[PayloadCodec]
    interceptors: Sequence[Interceptor]
    default_retry: RetryPolicy | None
    max_concurrent_steps: int
    max_threads: int
    cache_size: int


class RuntimeEnvironment:
    """Runs workflows by a worker on a temporary file, in virtual time. The worker starts with ``serve`` or the first ``start``.

    Args:
        start_at: the first instant of virtual time.
        open_store: makes the store, in place of one on a temporary SQLite file.

    Attributes:
        client: of the store, for whatever this object does not offer.
        worker: the one that serves now.
    """

    def __init__(self, *, start_at: datetime = START_AT, open_store: Callable[[], Store] | None = None) -> None:
        self._clock = AlarmClock(start_at)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._open_store = open_store if open_store is not None else self._open_file
        self._store: Store | None = None
        self._client: Client | None = None
        self._worker: Worker | None = None
        self._workflows: tuple[WorkflowDefinition[..., Any], ...] = ()
        self._options: ServeOptions = {}

    # -- life ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop the worker, cut off the steps that run, delete the file. Idempotent."""
        with anyio.CancelScope(shield=True):  # half closed it would leave threads and files
            worker, self._worker = self._worker, None
            client, self._client = self._client, None
            store, self._store = self._store, None
            try:
                if worker is not None:
                    await worker.stop(0)
                if client is not None:
                    await client.close()
            finally:
                if store is not None:
                    await store.close()
                folder, self._folder = self._folder, None
                if folder is not None:
                    folder.cleanup()

    async def serve(self, *workflows: WorkflowDefinition[..., Any], **options: Unpack[ServeOptions]) -> None:
        """Start the worker, for these workflows, with the options of ``Worker``.

        Raises:
            DefinitionError: it serves already, or is to serve no workflow.
        """
        if self._worker is not None:
            raise DefinitionError("the worker serves already: call serve() once, before the first start()")
        self._workflows, self._options = workflows, options
        self._store = self._open_store()
        await self._store.open()
        self._client = Client(
            self._store, codecs=options.get("codecs", ()), actor="user:test",
            interceptors=options.get("interceptors", ()), clock=self._clock,
        )  # fmt: skip
        await self._client.open()
        await self._hire()

    async def _hire(self) -> None:
        worker = Worker(self._store, workflows=self._workflows, clock=self._clock, grace_seconds=0, **self._options)
        await worker.start()
        self._worker = worker
        self.client.modules = worker.registry.modules()

    async def crash(self) -> None:
        """Kill the worker, as a power cut would, and start another on the same file: what ran is lost and begins again."""
        worker, self._worker = self.worker, None
        await worker.kill()
        await self._hire()

    def _open_file(self) -> Store:
        self._folder = tempfile.TemporaryDirectory(prefix="durable-test-")
        return SqliteStore(Path(self._folder.name) / FILE_NAME)

    @property
    def client(self) -> Client:
        """The client.

        Raises:
            DefinitionError: nothing is served yet.
        """
        return _served(self._client)

    @property
    def worker(self) -> Worker:
        """The worker that serves now.

        Raises:
            DefinitionError: nothing is served yet.
        """
        return _served(self._worker)

    # -- runs ---------------------------------------------------------------------------------------------

    @overload
    async def start(self, what: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    async def start(self, what: WorkflowCall[R], /) -> RunHandle[R]: ...

    async def start(self, what: Any, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
        """Start a workflow, as a client does. The first start serves the workflow and all others of its module.

        Raises:
            DefinitionError: it is not served.
            RunExistsError, EncodeError: as ``Client.start``.
        """
        definition = what.definition if isinstance(what, WorkflowCall) else what
        if not isinstance(definition, WorkflowDefinition):
            raise DefinitionError(
                f"expected a workflow or a bound call, got {what!r}; decorate the function with @workflow"
            )
        if self._worker is None:
            await self.serve(*_of_module(definition))
        if definition.name not in self.worker.registry.workflows:
            raise DefinitionError(
                f"workflow {definition.name!r} is not served; before the first start write: "
                f"await durable_runtime.serve({', '.join(sorted({*self.worker.registry.workflows, definition.name}))})"
            )
        handle: RunHandle[Any] = await self.client.start(what, *args, **kwargs)
        return handle

    def get(self, workflow_id: str) -> RunHandle[Any]:
        """The handle of whichever run has this id now, such as a child's."""
        return self.client.get(workflow_id)

    async def finish(self, run: RunHandle[R]) -> R:
        """Wait for a run's end and return its result; time moves while nothing is in flight.

        Raises:
            RunFailedError, RunCancelledError, RunTerminatedError, RunTimeoutError: how it ended otherwise.
            RunStuckError: it cannot go on, and says why.
            IdleError: it waits for something that this test does not do.
        """

        async def look() -> bool | None:
            row = await self._newest(run)
            if row.status is RunStatus.STUCK:
                raise RunStuckError(
                    f"{row.workflow_id!r} is stuck: {row.reason}", workflow_id=row.workflow_id, run_id=row.run_id
                )
            return True if row.status.is_closed else None

        await self._until(look, run, "its end")
        return await run.result()

    async def until_waiting(self, run: RunHandle[Any], what: str | None = None) -> None:
        """Wait until a run waits for something, moving time as ``finish`` does; ``what`` must occur in the words for it.

        Raises:
            RunClosedError: it ended before.
            IdleError: it never will.
        """

        async def look() -> bool | None:
            row = await self._newest(run)
            if row.status.is_closed:
                raise RunClosedError(
                    f"{row.workflow_id!r} ended before it waited for {what or 'anything'}", status=str(row.status)
                )
            if row.status is not RunStatus.WAITING:
                return None
            return True if what is None or what in (row.waiting_for or "") else None

        await self._until(look, run, f"to wait for {what or 'anything'}")

    async def _newest(self, run: RunHandle[Any]) -> RunRow:
        row = await run.row()
        while (successor := await self.client.store.successor(row.run_id)) is not None:
            row = successor
        return row

    # -- time ---------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The instant of virtual time, UTC."""
        return self._clock.now()

    async def advance(self, by: Duration) -> None:
        """Let so much virtual time pass, seconds or timedelta; what is due on the way happens in order.

        A limit that it reaches ends a step that runs; steps that run are not waited for.
        """
        await self._move_to(self._clock.now_us() + to_us(by, "by"))

    async def advance_to(self, when: datetime) -> None:
        """Let virtual time pass until this instant.

        Raises:
            ValueError: it is in the past.
        """
        if instant_us(when) < self._clock.now_us():
            raise ValueError(f"expected an instant not before {self.now()}, got {when}")
        await self._move_to(instant_us(when))

    async def until_idle(self) -> None:
        """Wait until nothing is in flight: what comes next needs time or the test. No time passes."""
        while not await self._is_idle():
            pass

    async def _move_to(self, at_us: int) -> None:
        await self._settle()
        while (next_us := self._clock.next_us()) is not None and next_us <= at_us:
            self._clock.ring_next()
            await self._settle()
        self._clock.move_to(at_us)
        await self._settle()

    async def _until(self, look: Callable[[], Awaitable[T | None]], run: RunHandle[Any], what: str) -> T:
        while True:
            is_idle = await self._is_idle()
            found = await look()
            if found is not None:
                return found
            if not is_idle:
                continue
            if self._clock.next_us() is None:
                row = await self._newest(run)
                raise IdleError(
                    f"this will never be: {what} of {row.workflow_id!r}, which waits for {row.waiting_for or 'nothing'}"
                )
            self._clock.ring_next()

    async def _is_idle(self, *, attempts: bool = True) -> bool:
        """Wait until something that is in flight is over; True if nothing is, and nothing is due."""
        worker = self.worker
        if not await worker.pass_on(attempts=attempts) or await self._is_due():
            return False
        return await worker.pass_on(attempts=attempts)

    async def _settle(self) -> None:
        """Let turns happen; steps that run get a chance to begin and to end, and are not waited for."""
        while not await self._is_idle(attempts=False):
            pass

    async def _is_due(self) -> bool:
        """Whether a run or a task wants the worker now; then it is looked for."""
        worker, store = self.worker, self.client.store
        registry, queues = worker.registry, tuple(self._options.get("queues", ("default",)))
        ready_us = await store.next_ready_at(worker.worker_id, list(registry.workflows), queues)
        task_us = await store.next_task_at(queues, list(registry.steps))
        return any(at_us is not None and at_us <= self._clock.now_us() for at_us in (ready_us, task_us))


def _of_module(definition: WorkflowDefinition[..., Any]) -> list[WorkflowDefinition[..., Any]]:
    """The workflow, and the others that its module declares or imports."""
    module = sys.modules.get(definition.fn.__module__)
    found = {definition.name: definition}
    for value in vars(module).values() if module is not None else ():
        if isinstance(value, WorkflowDefinition):
            found.setdefault(value.name, value)
    return list(found.values())


def _served(part: T | None) -> T:
    if part is None:
        raise DefinitionError("nothing is served yet: start a workflow, or await serve(workflow) first")
    return part
