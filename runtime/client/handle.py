"""The handle of one run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from durable.codec import ValueCodec, value_codec
from durable.duration import Duration
from durable.errors import ResultTimeoutError, RunClosedError, RunNotFoundError
from durable.handle import RunStatus
from durable.history import Event, EventKind, Fact, write_detail
from durable.interceptor import Interceptor
from durable.messages import Query, Signal, Update
from durable.outcome import check_rollback
from runtime.client.description import Question, RunDescription, describe_question, describe_run
from runtime.client.intercepted import intercepted
from runtime.client.message import signal_row
from runtime.client.outcome import await_outcome
from runtime.client.people import answer_question, decide, unanswered
from runtime.client.publication import follow_stream, read_published
from runtime.client.query import ask
from runtime.client.rerun import retry_run
from runtime.client.termination import terminate_run
from runtime.client.update import request_update
from runtime.client.waiting import in_time, in_words, moved
from runtime.store.row import InboxRow, LogRow, RunRow
from runtime.store.whole import read_whole_history

if TYPE_CHECKING:
    from runtime.client.client import Client

R = TypeVar("R")
T = TypeVar("T")
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
        return await describe_run(self._client.store, await self.row())

    async def history(self) -> list[Event]:
        """Its events, in order.

        Raises:
            HistoryCorruptedError: events are missing.
        """
        return await read_whole_history(self._client.store, await self.row())

    async def logs(self, limit: int = 1000) -> list[LogRow]:
        """The newest log lines of its workflow code and steps, oldest first."""
        return await self._client.store.read_logs((await self.row()).run_id, limit)

    async def published(self, key: str) -> Any:
        """A value that the workflow published.

        Raises:
            KeyError: it has published nothing under this key.
        """
        return await read_published(self._client, await self.row(), key)

    async def stream(self, name: str, start: int = 0) -> AsyncIterator[Any]:
        """Items of an output stream from position ``start`` on, and those to come, until the run ends."""
        async with aclosing(follow_stream(self._client, (await self.row()).run_id, name, start)) as items:
            async for item in items:
                yield item

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

        async def late() -> TimeoutError:
            status = await self.status()
            return ResultTimeoutError(
                f"{self.workflow_id!r} has not ended within {in_words(timeout)} (it is {status}); it goes on"
            )

        run_id = self.run_id or (await self.row()).run_id
        outcome: R = await in_time(await_outcome(self._client, self.workflow_id, run_id, self._codec), timeout, late)
        return outcome

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

        async def late() -> TimeoutError:
            return ResultTimeoutError(f"{self.workflow_id!r} does not wait for {what}")

        waiting = self._client.watch.until(look, lambda change: not run_id or moved(change, run_id))
        await in_time(waiting, timeout, late)

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
            UnknownMessageError: a message of this name is published, and it is no signal.
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
            RunClosedError: it has ended, and no worker that has the workflow is there to answer for it.
        """
        return await ask(self._client, await self._newest(), query, value, timeout)

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
            UpdateFailedError: the handler raised, or the run ended in the middle of it; only the update failed.
            UpdateTimeoutError: no result in time; the update is not lost.
            RunNotFoundError, RunClosedError: nobody takes it, or the run ended before it looked at it: nothing of it was done.
        """
        return await request_update(self._client, self.workflow_id, self.run_id, update, value, update_id, timeout)

    # -- people -------------------------------------------------------------------------------------------

    async def questions(self) -> list[Question]:
        """What people are asked now; not what they have answered."""
        pinned = await self._pin()
        rows = await self._client.store.questions(self.workflow_id)
        own = [row for row in rows if pinned in (None, row.run_id)]
        return [describe_question(row) for row in await unanswered(self._client, own)]

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
        """Ask the run to cancel: its code sees ``CancelledError``, may clean up, and what was done is rolled back.

        A paused run goes on, so that it can.
        """
        await self._send(EventKind.CANCEL_REQUESTED, reason=reason)

    @intercepted("pause")
    async def pause(self) -> None:
        """Stop giving the run turns; steps in flight finish, their results are kept for later. A run that has not begun does not begin."""
        await self._send(EventKind.RUN_PAUSED)

    @intercepted("resume")
    async def resume(self) -> None:
        """Go on with a paused or stuck run."""
        await self._send(EventKind.RUN_RESUMED)

    @intercepted("rollback")
    async def rollback(self) -> None:
        """Go on with a rollback that failed, from the compensation that failed. Asking twice is asking once.

        Raises:
            RunNotRetriableError: no rollback of this run has failed.
        """
        row = await self.row()
        check_rollback(row)
        waiting = await self._client.store.read_inbox(row.run_id)
        if not any(item.fact.kind == EventKind.ROLLBACK_REQUESTED for item in waiting):
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
            RunNotRetriableError: the run has not failed, its rollback is not complete, or it was retried or replaced already:
                only the newest run of an id is retried.
        """
        new = await retry_run(self._client, await self.row())
        return RunHandle(self._client, self.workflow_id, new.run_id, self._codec)

    async def _send(self, kind: EventKind, *, run_id: str | None = None, **detail: Any) -> None:
        client = self._client
        fact = Fact(kind, detail=write_detail(**detail), actor=client.actor)
        pinned = run_id if run_id is not None else self.run_id
        await client.store.send(InboxRow(self.workflow_id, pinned, None, fact, client.clock.now_us()))
