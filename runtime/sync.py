"""The blocking client: the same client for code that is not async.

    from runtime.sync import Client

    with Client("sqlite:///app.db") as client:
        run = client.start("deploy", "v1")
        print(run.result(timeout=60))

An event loop runs in a thread of its own (anyio's blocking portal). What ``runtime.Client``, ``runtime.RunHandle`` and ``runtime.StepHandle``
offer is here under the same names and with the same arguments (a test compares them); it blocks, returns what the async one would, and
raises the same errors. Their docstrings tell more.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from durable.codec import PayloadCodec
from durable.duration import Duration
from durable.errors import ConfigurationError
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event
from durable.interceptor import Interceptor
from durable.messages import Query, Signal, Update
from durable.workflow import WorkflowCall, WorkflowDefinition
from runtime.client.client import Client as AsyncClient
from runtime.client.client import Conditions
from runtime.client.client import StepHandle as AsyncStepHandle
from runtime.client.description import Question, RunDescription, RunSummary
from runtime.client.handle import RunHandle as AsyncRunHandle
from runtime.client.starting import WithSignal, WorkflowReference
from runtime.clock import Clock
from runtime.store.protocol import Store
from runtime.store.row import LogRow, RunRow

__all__ = ["Client", "RunHandle", "StepHandle"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V")


def _iterate(portal: BlockingPortal, begin: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """The items of an async iterator that begins, and goes on, in the thread of the loop."""
    done = object()
    items = portal.call(begin)

    async def following() -> Any:
        return await anext(items, done)

    while (item := portal.call(following)) is not done:
        yield item


class RunHandle(Generic[R]):
    """``runtime.RunHandle`` for code that is not async.

    Attributes:
        workflow_id: chosen by the user.
        run_id: the run that the handle is pinned to, or None.
    """

    def __init__(self, portal: BlockingPortal, run: AsyncRunHandle[R]) -> None:
        self._portal = portal
        self._run = run
        self.workflow_id = run.workflow_id
        self.run_id = run.run_id

    def __repr__(self) -> str:
        return repr(self._run)

    def _wait(self, begin: Callable[[], Awaitable[T]]) -> T:
        return self._portal.call(begin)

    # -- looking ------------------------------------------------------------------------------------------

    def row(self) -> RunRow:
        """The run as the store keeps it."""
        return self._wait(self._run.row)

    def status(self) -> RunStatus:
        """Where it stands."""
        return self._wait(self._run.status)

    def describe(self) -> RunDescription:
        """Everything about it but its history."""
        return self._wait(self._run.describe)

    def history(self) -> list[Event]:
        """Its events, in order."""
        return self._wait(self._run.history)

    def logs(self, limit: int = 1000) -> list[LogRow]:
        """The newest log lines of its workflow code and steps, oldest first."""
        return self._wait(lambda: self._run.logs(limit))

    def published(self, key: str) -> Any:
        """A value that the workflow published."""
        return self._wait(lambda: self._run.published(key))

    def stream(self, name: str, start: int = 0) -> Iterator[Any]:
        """Items of an output stream from position ``start`` on, and those to come, until the run ends."""
        return _iterate(self._portal, lambda: self._run.stream(name, start))

    # -- waiting ------------------------------------------------------------------------------------------

    def result(self, timeout: Duration | None = None) -> R:
        """Wait for the run's end and return its result; follows continue-as-new and retries."""
        return self._wait(lambda: self._run.result(timeout))

    def until_waiting(self, what: str | None = None, timeout: Duration | None = None) -> None:
        """Wait until the run waits for something; ``what`` must occur in the words of ``waiting_for``."""
        self._wait(lambda: self._run.until_waiting(what, timeout))

    # -- messages -----------------------------------------------------------------------------------------

    @overload
    def signal(self, signal: Signal[None], /, *, message_id: str | None = ...) -> None: ...
    @overload
    def signal(self, signal: Signal[T], value: T, /, *, message_id: str | None = ...) -> None: ...
    @overload
    def signal(self, signal: str, value: Any = ..., /, *, message_id: str | None = ...) -> None: ...

    def signal(self, signal: Any, value: Any = None, /, *, message_id: str | None = None) -> None:
        """Send a signal; done when it is on disk."""
        self._wait(lambda: self._run.signal(signal, value, message_id=message_id))

    @overload
    def query(self, query: Query[T], value: Any = ..., /, *, timeout: Duration = ...) -> T: ...
    @overload
    def query(self, query: str, value: Any = ..., /, *, timeout: Duration = ...) -> Any: ...

    def query(self, query: Any, value: Any = None, /, *, timeout: Duration = 10) -> Any:
        """Ask the workflow something; also after its end."""
        return self._wait(lambda: self._run.query(query, value, timeout=timeout))

    @overload
    def update(
        self, update: Update[None, V], /, *, update_id: str | None = ..., timeout: Duration | None = ...
    ) -> V: ...
    @overload
    def update(
        self, update: Update[T, V], value: T, /, *, update_id: str | None = ..., timeout: Duration | None = ...
    ) -> V: ...
    @overload
    def update(
        self, update: str, value: Any = ..., /, *, update_id: str | None = ..., timeout: Duration | None = ...
    ) -> Any: ...

    def update(
        self, update: Any, value: Any = None, /, *, update_id: str | None = None, timeout: Duration | None = None
    ) -> Any:
        """Send an update and wait for its result; two callers with one ``update_id`` get one result."""
        return self._wait(lambda: self._run.update(update, value, update_id=update_id, timeout=timeout))

    # -- people -------------------------------------------------------------------------------------------

    def questions(self) -> list[Question]:
        """What people are asked now; not what they have answered."""
        return self._wait(self._run.questions)

    def answer(self, value: Any, *, by: str | None = None, key: str | None = None) -> None:
        """Answer a question."""
        self._wait(lambda: self._run.answer(value, by=by, key=key))

    def approve(self, *, by: str | None = None, comment: str = "", key: str | None = None) -> None:
        """Say yes to an approval."""
        self._wait(lambda: self._run.approve(by=by, comment=comment, key=key))

    def reject(self, *, by: str | None = None, comment: str = "", key: str | None = None) -> None:
        """Say no to an approval."""
        self._wait(lambda: self._run.reject(by=by, comment=comment, key=key))

    # -- steering -----------------------------------------------------------------------------------------

    def cancel(self, reason: str = "") -> None:
        """Ask the run to cancel: its code sees ``CancelledError``, may clean up, and what was done is rolled back."""
        self._wait(lambda: self._run.cancel(reason))

    def pause(self) -> None:
        """Stop giving the run turns; steps in flight finish, their results are kept for later."""
        self._wait(self._run.pause)

    def resume(self) -> None:
        """Go on with a paused or stuck run."""
        self._wait(self._run.resume)

    def rollback(self) -> None:
        """Go on with a rollback that failed, from the compensation that failed."""
        self._wait(self._run.rollback)

    def terminate(self, reason: str = "") -> None:
        """End the run at once, without its code and without rollback."""
        self._wait(lambda: self._run.terminate(reason))

    def retry(self) -> RunHandle[R]:
        """Start a new run from before the failure; what was done stays done."""
        return RunHandle(self._portal, self._wait(self._run.retry))


class StepHandle:
    """``runtime.StepHandle`` for code that is not async: a step that somebody else completes."""

    def __init__(self, portal: BlockingPortal, step: AsyncStepHandle) -> None:
        self._portal = portal
        self._step = step
        self.run_id = step.run_id
        self.command = step.command

    def complete(self, result: Any = None) -> None:
        """Give the step its result; it must fit the step's return annotation."""
        self._portal.call(self._step.complete, result)

    def fail(self, error: BaseException | str) -> None:
        """Let the step fail; it is not repeated."""
        self._portal.call(self._step.fail, error)

    def cancel(self) -> None:
        """Say that the step was cancelled."""
        self._portal.call(self._step.cancel)

    def heartbeat(self, details: Any = None) -> bool:
        """Say that the step is alive; False if it is not wanted any more."""
        return self._portal.call(lambda: self._step.heartbeat(details))


class Client:
    """``runtime.Client`` for code that is not async; takes the same arguments. Threads may share it."""

    def __init__(
        self,
        url: str | Store | None = None,
        *,
        codecs: Sequence[PayloadCodec] = (),
        actor: str | None = None,
        interceptors: Sequence[Interceptor] = (),
        clock: Clock | None = None,
    ) -> None:
        self._make = functools.partial(
            AsyncClient, url, codecs=codecs, actor=actor, interceptors=interceptors, clock=clock
        )
        self._opened: tuple[BlockingPortal, AsyncClient] | None = None
        self._context: AbstractContextManager[BlockingPortal] | None = None

    @property
    def _client(self) -> AsyncClient:
        return self._parts[1]

    @property
    def _portal(self) -> BlockingPortal:
        return self._parts[0]

    @property
    def _parts(self) -> tuple[BlockingPortal, AsyncClient]:
        if self._opened is None:
            raise ConfigurationError("this client is not open; use it within: with Client(...) as client")
        return self._opened

    @property
    def actor(self) -> str:
        """The principal in whose name it acts."""
        return self._client.actor

    # -- life ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._context = start_blocking_portal()
        portal = self._context.__enter__()
        try:

            async def open_client() -> AsyncClient:
                client = self._make()
                await client.open()
                return client

            self._opened = portal, portal.call(open_client)
        except BaseException:
            self._context.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        portal, client = self._parts
        try:
            portal.call(client.close)
        finally:
            self._opened = None
            if self._context is not None:
                self._context.__exit__(kind, error, traceback)

    # -- starting -----------------------------------------------------------------------------------------

    def workflow(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002 - the field's word for it
        on_conflict: Any = None,
        delay: Duration | None = None,
        queue: str | None = None,
    ) -> WorkflowReference:
        """A workflow by name, without its code, with the options of a start."""
        return self._client.workflow(name, id=id, on_conflict=on_conflict, delay=delay, queue=queue)

    @overload
    def start(self, workflow: WorkflowCall[R], /, *, with_signal: WithSignal | None = ...) -> RunHandle[R]: ...
    @overload
    def start(self, workflow: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    def start(self, workflow: str | WorkflowReference, /, *args: Any, **kwargs: Any) -> RunHandle[Any]: ...

    def start(self, workflow: Any, /, *args: Any, with_signal: Any = None, **kwargs: Any) -> RunHandle[Any]:
        """Start a run, or attach to the one that has the id (``on_conflict`` of its options). It is on disk when this returns."""
        client = self._client

        async def begin() -> AsyncRunHandle[Any]:
            return await client.start(workflow, *args, with_signal=with_signal, **kwargs)

        return RunHandle(self._portal, self._portal.call(begin))

    # -- finding ------------------------------------------------------------------------------------------

    def get(self, workflow_id: str, run_id: str | None = None) -> RunHandle[Any]:
        """The handle of a run; without ``run_id`` it means whichever run of the id is current. Does not look whether it exists."""
        return RunHandle(self._portal, self._client.get(workflow_id, run_id))

    def list(
        self,
        *,
        status: RunStatus | str | Sequence[RunStatus | str] = (),
        workflow: str | None = None,
        workflow_id: str | None = None,
        workflow_id_prefix: str | None = None,
        actor: str | None = None,
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        attributes: Mapping[str, Any] | None = None,
        rollback: RollbackStatus | str | None = None,
        limit: int | None = None,
    ) -> Iterator[RunSummary]:
        """Runs that match every given condition, newest first, read page by page."""
        client = self._client
        return _iterate(
            self._portal,
            lambda: client.list(
                status=status, workflow=workflow, workflow_id=workflow_id, workflow_id_prefix=workflow_id_prefix,
                actor=actor, started_after=started_after, started_before=started_before, attributes=attributes,
                rollback=rollback, limit=limit,
            ),
        )  # fmt: skip

    def count(self, **conditions: Unpack[Conditions]) -> int:
        """How many runs match; conditions as in ``list``."""
        client = self._client
        return self._portal.call(lambda: client.count(**conditions))

    def questions(self) -> Sequence[Question]:
        """Every open question to people, oldest first."""
        return self._portal.call(self._client.questions)

    def step(self, token: str) -> StepHandle:
        """A step that was handed over (``CompleteLater``), by its token."""
        return StepHandle(self._portal, self._client.step(token))

    # -- keeping house ------------------------------------------------------------------------------------

    def purge(self, older_than: Duration) -> int:
        """Delete runs that ended longer ago than this; returns how many."""
        return self._portal.call(self._client.purge, older_than)
