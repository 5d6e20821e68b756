"""The client: everything that callers do, with nothing but the store. Any process may have one."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, Self, TypedDict, TypeVar, Unpack, overload

from pydantic_core import from_json

from durable.codec import INLINE, Envelope, PayloadCodec, record_exception, value_codec
from durable.duration import Duration, instant_us, to_us
from durable.errors import (
    CallerError,
    DefinitionError,
    EncodeError,
    MessageRejectedError,
    RunClosedError,
    RunExistsError,
    UnknownMessageError,
)
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact
from durable.interceptor import Interceptor
from durable.messages import Message
from durable.workflow import StartOptions, WorkflowCall, WorkflowDefinition
from runtime.client.description import Question, RunSummary, describe_question, summarize
from runtime.client.encryption import check_encryption
from runtime.client.handle import RunHandle
from runtime.client.intercepted import intercepted
from runtime.client.message import check_message
from runtime.client.starting import Start, Startable, WithSignal, WorkflowReference, prepare_start
from runtime.client.termination import terminate_run
from runtime.client.waiting import ChangeWatch
from runtime.clock import Clock, SystemClock
from runtime.store.protocol import Store
from runtime.store.row import InboxRow, RunFilter
from runtime.store.url import open_store
from runtime.worker.token import parse_token

P = ParamSpec("P")
R = TypeVar("R")


class Conditions(TypedDict, total=False):
    """Which runs: the keywords of ``Client.list``."""

    status: RunStatus | str | Sequence[RunStatus | str]
    workflow: str | None
    workflow_id: str | None
    workflow_id_prefix: str | None
    actor: str | None
    started_after: datetime | None
    started_before: datetime | None
    attributes: Mapping[str, Any] | None
    rollback: RollbackStatus | str | None


def default_actor() -> str:
    """The principal of this process: the user that runs it."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return "user:unknown"


class Client:
    """Starts runs and talks to them.

    Args:
        url: of the store, such as ``sqlite:///app.db``; None: the one that the command line would use
            (``DURABLE_STORE``, ``[tool.durable]``, the nearest parent's ``.durable/durable.db``, else one in the working
            directory). An open ``Store`` is used as it is, and not closed.
        codecs: payload codecs (compression, encryption), the same as the workers'.
        actor: the principal in whose name it acts.
        interceptors: around every call, the first one outermost.
        clock: for tests.
    """

    def __init__(
        self,
        url: str | Store | None = None,
        *,
        codecs: Sequence[PayloadCodec] = (),
        actor: str | None = None,
        interceptors: Sequence[Interceptor] = (),
        clock: Clock | None = None,
    ) -> None:
        self.interceptors = list(interceptors)
        self._owns_store = url is None or isinstance(url, str)
        self.store: Store = open_store(url) if url is None or isinstance(url, str) else url
        self.envelope = Envelope(codecs, blob_threshold_bytes=INLINE)
        self.actor = actor if actor is not None else default_actor()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.modules: Sequence[ModuleType] = ()
        self._published: dict[str, Mapping[str, Any]] = {}

    # -- life ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. ``async with`` does it."""
        await self.store.open()
        self.watch = ChangeWatch(self.store)

    async def close(self) -> None:
        """Disconnect. ``async with`` does it."""
        self.watch.close()
        if self._owns_store:
            await self.store.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

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
        return WorkflowReference(name, StartOptions(id=id, on_conflict=on_conflict, delay=delay, queue=queue))

    @overload
    async def start(self, workflow: WorkflowCall[R], /, *, with_signal: WithSignal | None = ...) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: str | WorkflowReference, /, *args: Any, **kwargs: Any) -> RunHandle[Any]: ...

    @intercepted("start")
    async def start(self, workflow: Any, /, *args: Any, with_signal: Any = None, **kwargs: Any) -> RunHandle[Any]:
        """Start a run, or attach to the one that has the id (``on_conflict`` of its options). It is on disk when this returns.

        Args:
            workflow: a definition (with ``.options(id=...)``), a bound call, or a name.
            args, kwargs: its arguments.
            with_signal: a signal and its value, delivered with the start, also to a run that it attaches to; with a third item, the
                sender's own id of the signal, a repeated start delivers it once.

        Raises:
            RunExistsError: the id is taken by a run with another input, or ``on_conflict="fail"``.
            EncodeError: an argument cannot be recorded.
            MessageRejectedError: the input does not fit the schema that the workflow published.
        """
        start = await self._prepare(workflow, args, kwargs, with_signal)
        if start.new.on_conflict == "replace":
            return await self._replace(start)
        outcome = await self.store.start(start.new)
        self.started(outcome.run.run_id, outcome.run.workflow)
        return RunHandle(self, outcome.run.workflow_id, outcome.run.run_id, start.result)

    def started(self, run_id: str, workflow: str) -> None:
        """Hear of a run that was started or attached to."""

    def _call_context(self, first: object) -> tuple[Sequence[Interceptor], str, str]:
        definition = first.definition if isinstance(first, WorkflowCall) else first
        return self.interceptors, str(getattr(definition, "name", definition)), self.actor

    async def _prepare(
        self, what: Startable, args: tuple[Any, ...], kwargs: dict[str, Any], with_signal: WithSignal | None
    ) -> Start:
        name = what if isinstance(what, str) else what.name if isinstance(what, WorkflowReference) else None

        def prepare(published: Mapping[str, Any]) -> Start:
            return prepare_start(
                what, args, kwargs, envelope=self.envelope, published=published, actor=self.actor,
                now_us=self.clock.now_us(), with_signal=with_signal,
            )  # fmt: skip

        definition = what.definition if isinstance(what, WorkflowCall) else what
        await check_encryption(self, name or str(getattr(definition, "name", "")))
        if not name:
            return prepare({})
        try:
            return prepare(await self.published(name))
        except (EncodeError, UnknownMessageError, MessageRejectedError):
            self.forget_published(name)  # a worker with newer code may have published anew
            return prepare(await self.published(name))

    async def _replace(self, start: Start) -> RunHandle[Any]:
        new = start.new
        while True:
            current = await self.store.get_run(new.workflow_id)
            try:
                if current is None or current.status.is_closed:
                    await self.store.start(new)
                else:
                    await terminate_run(self, current, "replaced by another start", new)
            except (RunExistsError, RunClosedError):
                continue
            self.started(new.run_id, new.workflow)
            return RunHandle(self, new.workflow_id, new.run_id, start.result)

    async def published(self, workflow: str) -> Mapping[str, Any]:
        """What workers published about a workflow: parameters, schemas; empty if nothing."""
        known = self._published.get(workflow)
        if known is None:
            text = await self.store.read_definition(workflow)
            if text is None:
                return {}
            known = self._published[workflow] = from_json(text)
        return known

    def forget_published(self, workflow: str) -> None:
        """Read what was published about a workflow again, the next time."""
        self._published.pop(workflow, None)

    async def check_message(self, workflow_id: str, kind: str, message: Message[Any] | str, value: Any) -> None:
        """Check a message against what the workflow published: its kind and value if it is known by name only, and encryption.

        Raises:
            UnknownMessageError, MessageRejectedError: it does not fit.
            ConfigurationError: the workers encrypt, and this client does not.
        """
        if not isinstance(message, str) and self.envelope.encrypts:
            return
        row = await self.store.get_run(workflow_id)
        if row is None:
            return
        await check_encryption(self, row.workflow)
        try:
            check_message(await self.published(row.workflow), workflow_id, kind, message, value)
        except (UnknownMessageError, MessageRejectedError):
            self.forget_published(row.workflow)  # a worker with newer code may have published anew
            check_message(await self.published(row.workflow), workflow_id, kind, message, value)

    # -- finding ------------------------------------------------------------------------------------------

    def get(self, workflow_id: str, run_id: str | None = None) -> RunHandle[Any]:
        """The handle of a run; without ``run_id`` it means whichever run of the id is current. Does not look whether it exists."""
        if not workflow_id:
            raise DefinitionError("expected a workflow id, got ''")
        return RunHandle(self, workflow_id, run_id)

    async def list(
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
    ) -> AsyncIterator[RunSummary]:
        """Runs that match every given condition, newest first, read page by page.

        Args:
            status: one status or several.
            workflow: the name of the workflow.
            workflow_id, workflow_id_prefix: the id, or how it begins.
            actor: who started it, as in ``user:alice``.
            started_after, started_before: aware datetimes; after is inclusive, before exclusive.
            attributes: equality on searchable attributes.
            rollback: where the rollback stands.
            limit: stop after so many.
        """
        where = run_filter(
            status,
            workflow,
            workflow_id,
            workflow_id_prefix,
            actor,
            started_after,
            started_before,
            attributes,
            rollback,
        )
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            rows, cursor = await self.store.list_runs(where, min(500, left if left is not None else 500), cursor)
            for row in rows:
                yield await summarize(self.store, row)
            if left is not None:
                left -= len(rows)
            if cursor is None:
                return

    async def count(self, **conditions: Unpack[Conditions]) -> int:
        """How many runs match; conditions as in ``list``."""
        return await self.store.count_runs(run_filter(**conditions))

    async def questions(self) -> Sequence[Question]:
        """Every open question to people, oldest first."""
        return [describe_question(row) for row in await self.store.questions()]

    def step(self, token: str) -> StepHandle:
        """A step that was handed over (``CompleteLater``), by its token."""
        return StepHandle(self, *parse_token(token))

    # -- keeping house ------------------------------------------------------------------------------------

    async def purge(self, older_than: Duration) -> int:
        """Delete runs that ended longer ago than this; returns how many."""
        before = self.clock.now_us() - to_us(older_than, "older_than")
        deleted = 0
        while count := await self.store.purge(before, 1000):
            deleted += count
        return deleted


class StepHandle:
    """A step that somebody else completes."""

    def __init__(self, client: Client, run_id: str, command: int) -> None:
        self._client = client
        self.run_id = run_id
        self.command = command

    async def complete(self, result: Any = None) -> None:
        """Give the step its result. A step takes one outcome: a second one is acknowledged and changes nothing.

        Args:
            result: it must fit the step's return annotation; one that does not fails the step with ``DecodeError``.

        Raises:
            RunNotFoundError, RunClosedError: nobody waits for it any more.
        """
        codec = value_codec(type(result)) if result is not None else value_codec(Any)
        await self._send(EventKind.STEP_COMPLETED, codec.encode(result))

    async def fail(self, error: BaseException | str) -> None:
        """Let the step fail; it is not repeated."""
        from durable.errors import StepError

        raised = StepError(error) if isinstance(error, str) else error
        await self._send(EventKind.STEP_FAILED, record_exception(raised))

    async def cancel(self) -> None:
        """Say that the step was cancelled."""
        await self._send(EventKind.STEP_CANCELLED, None)

    async def heartbeat(self, details: Any = None) -> bool:
        """Say that the step is alive; False if it is not wanted any more."""
        client = self._client
        row = await client.store.get_run_by_id(self.run_id)
        if row is not None and details is not None:
            await check_encryption(client, row.workflow)
        payload = client.envelope.seal(value_codec(Any).encode(details))
        return await client.store.heartbeat(self.run_id, self.command, payload, client.clock.now_us())

    async def _send(self, kind: EventKind, plain: str | None) -> None:
        client = self._client
        row = await client.store.get_run_by_id(self.run_id)
        workflow_id = row.workflow_id if row is not None else self.run_id
        if row is not None and plain is not None:
            await check_encryption(client, row.workflow)
        payload = client.envelope.seal(plain) if plain is not None else None
        fact = Fact(kind, self.command, None, None, payload, client.actor)
        await client.store.send(InboxRow(workflow_id, self.run_id, None, fact, client.clock.now_us()))


def run_filter(
    status: RunStatus | str | Sequence[RunStatus | str] = (),
    workflow: str | None = None,
    workflow_id: str | None = None,
    workflow_id_prefix: str | None = None,
    actor: str | None = None,
    started_after: datetime | None = None,
    started_before: datetime | None = None,
    attributes: Mapping[str, Any] | None = None,
    rollback: RollbackStatus | str | None = None,
) -> RunFilter:
    """The store's filter of ``Client.list``'s conditions.

    Raises:
        CallerError: there is no such status, of the run or of its rollback.
    """
    statuses = (status,) if isinstance(status, str) else tuple(status)
    known = [item.value for item in RunStatus]
    for item in statuses:
        if item not in known:
            raise CallerError(f"expected status to be one of {', '.join(known)}, got {item!r}")
    stages = [item.value for item in RollbackStatus]
    if rollback is not None and rollback not in stages:
        raise CallerError(f"expected rollback to be one of {', '.join(stages)}, got {rollback!r}")
    return RunFilter(
        status=[RunStatus(item).value for item in statuses],
        workflow=workflow,
        workflow_id=workflow_id,
        workflow_id_prefix=workflow_id_prefix,
        actor=actor,
        rollback=None if rollback is None else RollbackStatus(rollback).value,
        started_after_us=instant_us(started_after) if started_after is not None else None,
        started_before_us=instant_us(started_before) if started_before is not None else None,
        attributes=dict(attributes or {}),
    )
