"""The handle of one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic_core import from_json

from durable.codec import ValueCodec, rebuild_exception, value_codec
from durable.duration import MICROSECONDS, Duration, to_us
from durable.errors import (
    CallerError,
    OutcomeError,
    QueryFailedError,
    QueryTimeoutError,
    ReadOnlyError,
    ResultTimeoutError,
    RunClosedError,
    RunNotFoundError,
    StepError,
    UpdateFailedError,
    UpdateTimeoutError,
)
from durable.handle import RunStatus
from durable.history import Event, EventKind, Fact, parse_detail, write_detail
from durable.interceptor import Interceptor
from durable.messages import Query, Signal, Update
from runtime.client.description import Attempt, Question, RunDescription, instant, summarize, summary_fields
from runtime.client.intercepted import intercepted
from runtime.client.outcome import read_outcome
from runtime.client.people import answer_question, decide
from runtime.client.rerun import retry_run
from runtime.client.starting import encode_message, signal_row, update_row
from runtime.client.termination import terminate_run
from runtime.identifier import new_run_id
from runtime.store.row import AttemptOutcome, Ending, InboxRow, LogRow, QueryRow, QuestionRow, RunRow, UpdateRow

if TYPE_CHECKING:
    from runtime.client.client import Client

R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class RunHandle(Generic[R]):
    """One run, from outside.

    A handle made by ``client.get(workflow_id)`` means whichever run of the id is current; one from ``start`` means the run that was
    started, and never a later run of the same id. A run that continues as new stays the same run to those who wait for it or send
    it something; what ``row``, ``describe`` and ``history`` tell is of the run that was started.

    Attributes:
        workflow_id: chosen by the user.
        run_id: the run that the handle is pinned to, or None.
    """

    def __init__(
        self, client: Client, workflow_id: str, run_id: str | None = None, result: ValueCodec | None = None
    ) -> None:
        self._client = client
        self._codec = result if result is not None else value_codec(Any)
        self.workflow_id = workflow_id
        self.run_id = run_id

    def _call_context(self, _first: object) -> tuple[Sequence[Interceptor], str, str]:
        return self._client.interceptors, self.workflow_id, self._client.actor

    def __repr__(self) -> str:
        return f"<run {self.workflow_id}{f' ({self.run_id})' if self.run_id else ''}>"

    # -- looking ------------------------------------------------------------------------------------------

    async def row(self) -> RunRow:
        """The run as the store keeps it.

        Raises:
            RunNotFoundError: there is none, or it was purged.
        """
        store = self._client.store
        found = await (store.get_run_by_id(self.run_id) if self.run_id else store.get_run(self.workflow_id))
        if found is None:
            which = (
                f"run {self.run_id} of {self.workflow_id!r}" if self.run_id else f"run with the id {self.workflow_id!r}"
            )
            raise RunNotFoundError(f"no {which} in {store.url}", workflow_id=self.workflow_id)
        return found

    async def _newest(self) -> RunRow:
        """The run, or if it continued as new, the one that goes on."""
        row = await self.row()
        while row.status is RunStatus.CONTINUED_AS_NEW:
            successor = await self._client.store.successor(row.run_id)
            if successor is None:
                break
            row = successor
        return row

    async def _pin(self) -> str | None:
        """The run that a pinned handle means now."""
        return (await self._newest()).run_id if self.run_id is not None else None

    async def status(self) -> RunStatus:
        """Where it stands."""
        return (await self.row()).status

    async def describe(self) -> RunDescription:
        """Everything about it but its history."""
        row = await self.row()
        store = self._client.store
        attempts = await store.read_attempts(row.run_id)
        return RunDescription(
            **summary_fields(row),
            attributes=await store.read_attributes(row.run_id),
            questions=[_question(q) for q in await store.questions(row.workflow_id) if q.run_id == row.run_id],
            children=[summarize(child) for child in await store.children(row.run_id)],
            attempts=[
                Attempt(
                    command=a.command,
                    attempt=a.attempt,
                    outcome=a.outcome,
                    started_at=instant(a.started_at_us),
                    ended_at=instant(a.ended_at_us),
                    next_at=instant(a.next_at_us),
                    error=from_json(a.error).get("message") if a.error and a.command else None,
                    worker=a.worker,
                )
                for a in attempts
                if a.command and not (row.status.is_closed and a.outcome is AttemptOutcome.STARTED)
            ],
        )

    async def history(self) -> list[Event]:
        """Its events, in order."""
        return await self._client.store.read_history((await self.row()).run_id)

    async def logs(self, limit: int = 1000) -> list[LogRow]:
        """The newest log lines of its workflow code and steps, oldest first."""
        return await self._client.store.read_logs((await self.row()).run_id, limit)

    async def published(self, key: str) -> Any:
        """A value that the workflow published.

        Raises:
            KeyError: it has published nothing under this key.
        """
        row = await self.row()
        values = await self._client.store.read_published(row.run_id)
        blobs = await self._client.store.read_blobs(row.run_id)
        return value_codec(Any).decode(self._client.envelope.open(values[key], blobs))

    async def stream(self, name: str, start: int = 0) -> AsyncIterator[Any]:
        """Items of an output stream from position ``start`` on, and those to come, until the run ends."""
        client = self._client
        run_id = (await self.row()).run_id
        position = start

        async def look() -> tuple[list[Any], bool] | None:
            row = await client.store.get_run_by_id(run_id)
            items = await client.store.read_stream(run_id, name, position, 100)
            closed = row is None or row.status.is_closed
            return (list(items), closed) if items or closed else None

        while True:
            items, closed = await client.watch.until(
                look, lambda c: c.wrote is None or run_id in c.wrote or c.closed is None or run_id in c.closed
            )
            for item in items:
                position = item.position + 1
                yield value_codec(Any).decode(client.envelope.open(item.payload))
            if closed and not items:
                return

    # -- waiting ------------------------------------------------------------------------------------------

    @intercepted("result")
    async def result(self, timeout: Duration | None = None) -> R:
        """Wait for the run's end and return its result; follows continue-as-new and retries.

        Args:
            timeout: how long to wait, seconds or timedelta; the run goes on when it is over.

        Raises:
            RunFailedError, RunCancelledError, RunTerminatedError, RunTimeoutError: how it ended otherwise.
            ResultTimeoutError: it has not ended in time.
            RunNotFoundError: there is no such run.
        """
        waiting = self._result()
        if timeout is None:
            return await waiting
        try:
            return await asyncio.wait_for(waiting, to_us(timeout, "timeout") / MICROSECONDS)
        except TimeoutError as error:
            if isinstance(error, ResultTimeoutError) or str(error):
                raise
            status = await self.status()
            raise ResultTimeoutError(
                f"{self.workflow_id!r} has not ended within {timeout} (it is {status}); it goes on"
            ) from None

    async def _result(self) -> R:
        client = self._client
        run_id = self.run_id or (await self.row()).run_id
        while True:
            row, event = await self._ending(run_id)
            if row.status is RunStatus.COMPLETED:
                break
            successor = await client.store.successor(row.run_id)
            if successor is None:
                break
            run_id = successor.run_id
        has_blob = event.payload is not None and '"blob"' in event.payload
        blobs = await client.store.read_blobs(row.run_id) if has_blob else {}
        outcome: R = read_outcome(row, event, self._codec, client.envelope, blobs, client.modules)
        return outcome

    async def _ending(self, run_id: str) -> Ending:
        """Wait for the end of one run."""
        store = self._client.store

        async def look() -> Ending | None:
            row = await store.get_run_by_id(run_id)
            if row is None:
                raise RunNotFoundError(
                    f"no run {run_id} of {self.workflow_id!r} in {store.url}", workflow_id=self.workflow_id
                )
            return Ending(row, await self._terminal_event(row)) if row.status.is_closed else None

        return await self._client.watch.until_ended(run_id, look)

    async def _terminal_event(self, row: RunRow) -> Event:
        """The event that ended a run: the last one, unless its rollback went on later."""
        history = await self._client.store.read_history(row.run_id, after_seq=max(0, row.seq - 64))
        if not any(event.kind in _ENDS for event in history):
            history = await self._client.store.read_history(row.run_id)
        return next(event for event in reversed(history) if event.kind in _ENDS)

    async def until_waiting(self, what: str | None = None, timeout: Duration | None = None) -> None:
        """Wait until the run waits for something; ``what`` must occur in the words of ``waiting_for``.

        Raises:
            RunClosedError: it ended before.
            ResultTimeoutError: not in time.
        """
        run_id = ""

        async def look() -> RunRow | None:
            nonlocal run_id
            row = await self._newest()
            run_id = row.run_id
            if row.status.is_closed:
                raise RunClosedError(f"{self.workflow_id!r} ended before it waited for {what or 'anything'}")
            waits = row.status is RunStatus.WAITING and (what is None or what in (row.waiting_for or ""))
            return row if waits else None

        waiting = self._client.watch.until(
            look, lambda c: not run_id or c.wrote is None or run_id in c.wrote or c.closed is None or run_id in c.closed
        )
        await self._in_time(waiting, timeout, ResultTimeoutError(f"{self.workflow_id!r} does not wait for {what}"))

    async def _in_time(self, waiting: Awaitable[U], timeout: Duration | None, late: TimeoutError) -> U:
        seconds = None if timeout is None else to_us(timeout, "timeout") / MICROSECONDS
        try:
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError as error:
            if type(error) is TimeoutError:
                raise late from None
            raise

    # -- messages -----------------------------------------------------------------------------------------

    @overload
    async def signal(self, signal: Signal[None], /, *, message_id: str | None = ...) -> None: ...
    @overload
    async def signal(self, signal: Signal[T], value: T, /, *, message_id: str | None = ...) -> None: ...
    @overload
    async def signal(self, signal: str, value: Any = ..., /, *, message_id: str | None = ...) -> None: ...

    @intercepted("signal")
    async def signal(self, signal: Signal[Any] | str, value: Any = None, /, *, message_id: str | None = None) -> None:
        """Send a signal; done when it is on disk.

        Args:
            signal: the signal, or its name.
            value: of the signal's type.
            message_id: the sender's own id: a signal that is sent again with it is accepted once.

        Raises:
            MessageRejectedError: the value does not fit the signal's type.
            RunNotFoundError, RunClosedError: nobody takes it.
        """
        client = self._client
        await client.check_message(self.workflow_id, "signal", signal, value)
        row = signal_row(
            self.workflow_id,
            self.run_id,
            signal,
            value,
            message_id,
            client.envelope,
            client.actor,
            client.clock.now_us(),
        )
        await client.store.send(row)

    @overload
    async def query(self, query: Query[T], value: Any = ..., /, *, timeout: Duration = ...) -> T: ...
    @overload
    async def query(self, query: str, value: Any = ..., /, *, timeout: Duration = ...) -> Any: ...

    @intercepted("query")
    async def query(self, query: Query[Any] | str, value: Any = None, /, *, timeout: Duration = 10) -> Any:
        """Ask the workflow something; also after its end.

        Raises:
            UnknownMessageError: it has no such handler; the message lists those that it has.
            QueryFailedError: the handler raised; only the query failed.
            QueryTimeoutError: no worker that has the workflow answered in time.
        """
        client = self._client
        row = await self._newest()
        name, payload = encode_message(query, value, client.envelope)
        now_us = client.clock.now_us()
        asked = QueryRow(new_run_id(), row.run_id, row.workflow, name, payload, now_us + to_us(timeout, "timeout"))
        await client.store.ask(asked)

        async def look() -> QueryRow | None:
            found = await client.store.get_query(asked.query_id)
            return found if found is not None and found.state != "pending" else None

        late = QueryTimeoutError(
            f"no worker answered query {name!r} of {self.workflow_id!r} within {timeout}; is one running that has "
            f"workflow {row.workflow!r}?"
        )
        answer = await self._in_time(client.watch.until(look, lambda change: change.queries), timeout, late)
        if answer.state == "failed":
            raise _remote(answer.reply, QueryFailedError, f"query {name!r}", client)
        codec = query.result if isinstance(query, Query) else value_codec(Any)
        return codec.decode(client.envelope.open(answer.reply or "null"))

    @overload
    async def update(
        self, update: Update[None, V], /, *, update_id: str | None = ..., timeout: Duration | None = ...
    ) -> V: ...
    @overload
    async def update(
        self, update: Update[T, V], value: T, /, *, update_id: str | None = ..., timeout: Duration | None = ...
    ) -> V: ...
    @overload
    async def update(
        self, update: str, value: Any = ..., /, *, update_id: str | None = ..., timeout: Duration | None = ...
    ) -> Any: ...

    @intercepted("update")
    async def update(
        self,
        update: Update[Any, Any] | str,
        value: Any = None,
        /,
        *,
        update_id: str | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Send an update and wait for its result; two callers with one ``update_id`` get one result.

        Raises:
            MessageRejectedError: the value does not fit, or the validator refused it; the run has not seen it.
            UpdateFailedError: the handler raised; only the update failed.
            UpdateTimeoutError: no result in time; the update is not lost.
            RunNotFoundError, RunClosedError: nobody takes it.
        """
        client = self._client
        await client.check_message(self.workflow_id, "update", update, value)
        chosen = update_id if update_id is not None else new_run_id()
        row, pending = update_row(
            self.workflow_id, self.run_id, update, value, chosen, client.envelope, client.actor, client.clock.now_us()
        )
        target = await client.store.send(row, pending)

        run_id = target.run_id

        async def look() -> UpdateRow | None:
            nonlocal run_id
            run = await client.store.get_run_by_id(run_id)
            while run is not None and run.status is RunStatus.CONTINUED_AS_NEW:
                run = await client.store.successor(run.run_id)
            run_id = run.run_id if run is not None else run_id
            found = await client.store.get_update(self.workflow_id, chosen)  # after the run: both may change together
            if found is not None and found.state != "pending":
                return found
            if run is None or run.status.is_closed:
                raise UpdateFailedError(f"{self.workflow_id!r} ended before update {pending.name!r} was done")
            return None

        late = UpdateTimeoutError(
            f"update {pending.name!r} is not done within {timeout}; it is not lost", update_id=chosen
        )
        waiting = client.watch.until(look, lambda c: c.updates or c.closed is None or run_id in c.closed)
        done = await self._in_time(waiting, timeout, late)
        if done.state != "completed":
            raise _remote(
                done.payload, UpdateFailedError, f"update {pending.name!r}", client, sealed=done.state == "failed"
            )
        codec = update.result if isinstance(update, Update) else value_codec(Any)
        return codec.decode(client.envelope.open(done.payload or "null"))

    # -- people -------------------------------------------------------------------------------------------

    async def questions(self) -> list[Question]:
        """What people are asked now."""
        pinned = await self._pin()
        rows = await self._client.store.questions(self.workflow_id)
        return [_question(row) for row in rows if pinned in (None, row.run_id)]

    @intercepted("answer")
    async def answer(self, value: Any, *, by: str | None = None, key: str | None = None) -> None:
        """Answer a question.

        Args:
            value: JSON-compatible, fitting the question's schema.
            by: who answers, such as ``alice`` or ``user:alice``; the client's actor by default.
            key: which question, if there are several.

        Raises:
            QuestionNotFoundError: the run asks no such question, or several and no key was given.
            MessageRejectedError: the answer does not fit the schema.
        """
        await answer_question(self._client, self.workflow_id, await self._pin(), value, by, key)

    @intercepted("approve")
    async def approve(self, *, by: str | None = None, comment: str = "", key: str | None = None) -> None:
        """Say yes to an approval; arguments as ``answer``."""
        await decide(self._client, self.workflow_id, await self._pin(), by, comment, key, approved=True)

    @intercepted("reject")
    async def reject(self, *, by: str | None = None, comment: str = "", key: str | None = None) -> None:
        """Say no to an approval; arguments as ``answer``."""
        await decide(self._client, self.workflow_id, await self._pin(), by, comment, key, approved=False)

    # -- steering -----------------------------------------------------------------------------------------

    @intercepted("cancel")
    async def cancel(self, reason: str = "") -> None:
        """Ask the run to cancel: its code sees ``CancelledError``, may clean up, and what was done is rolled back."""
        await self._send(EventKind.CANCEL_REQUESTED, reason=reason)

    @intercepted("pause")
    async def pause(self) -> None:
        """Stop giving the run turns; steps in flight finish, their results are kept for later."""
        await self._send(EventKind.RUN_PAUSED)

    @intercepted("resume")
    async def resume(self) -> None:
        """Go on with a paused or stuck run."""
        await self._send(EventKind.RUN_RESUMED)

    @intercepted("rollback")
    async def rollback(self) -> None:
        """Go on with a rollback that failed, from the compensation that failed.

        Raises:
            RunNotRetriableError: no rollback of this run has failed.
        """
        row = await self.row()
        from runtime.client.rerun import check_rollback

        check_rollback(row)
        await self._send(EventKind.ROLLBACK_REQUESTED, run_id=row.run_id)

    @intercepted("terminate")
    async def terminate(self, reason: str = "") -> None:
        """End the run at once, without its code and without rollback.

        Raises:
            RunClosedError: it has ended already.
        """
        await terminate_run(self._client, await self._newest(), reason)

    @intercepted("retry")
    async def retry(self) -> RunHandle[R]:
        """Start a new run from before the failure; what was done stays done. ``result()`` of the old handle follows it.

        Raises:
            RunNotRetriableError: the run has not failed, or its rollback is not complete.
        """
        new = await retry_run(self._client, await self.row())
        return RunHandle(self._client, self.workflow_id, new.run_id, self._codec)

    async def _send(self, kind: EventKind, *, run_id: str | None = None, **detail: Any) -> None:
        client = self._client
        fact = Fact(kind, detail=write_detail(**detail), actor=client.actor)
        pinned = run_id if run_id is not None else self.run_id
        await client.store.send(InboxRow(self.workflow_id, pinned, None, fact, client.clock.now_us()))


_ENDS = frozenset(
    {
        EventKind.RUN_COMPLETED,
        EventKind.RUN_FAILED,
        EventKind.RUN_CANCELLED,
        EventKind.RUN_TERMINATED,
        EventKind.RUN_CONTINUED,
    }
)


def _question(row: QuestionRow) -> Question:
    return Question(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        key=row.key,
        kind=row.kind,
        prompt=row.prompt,
        answer_schema=from_json(row.schema),
        about=parse_detail(row.detail),
        asked_at=instant(row.asked_at_us),
        deadline=instant(row.deadline_us),
        command=row.command,
    )


def _remote(
    record: str | None, wrap: type[OutcomeError], what: str, client: Client, *, sealed: bool = False
) -> Exception:
    """The error of a query or update: one of ours as it is, one of the user's as the cause of ``wrap``."""
    plain = client.envelope.open(record or "null") if sealed else record or "null"
    cause = rebuild_exception(plain, modules=client.modules)
    if isinstance(cause, (CallerError, wrap)):
        cause.__dict__.pop("__notes__", None)  # where the worker's machine raised it helps no caller
        return cause
    if isinstance(cause, ReadOnlyError):
        text = cause.message
    elif type(cause) is StepError:  # what stands for a class that is not rebuilt
        text = f"{cause.error_type}: {cause.message}"
    else:
        text = f"{type(cause).__name__}: {cause}"
    error = wrap(f"{what} failed: {text}")
    error.__cause__ = cause
    return error
