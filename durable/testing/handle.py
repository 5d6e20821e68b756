"""The handle of a simulated run: what a test does with it is what an application does with a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, overload

from pydantic_core import from_json, to_json

from durable.cause import rebuild_reply
from durable.codec import Envelope, record_exception, value_codec
from durable.codec.schema import check_schema
from durable.duration import Duration, to_us
from durable.errors import (
    MessageRejectedError,
    QueryFailedError,
    QuestionNotFoundError,
    ResultTimeoutError,
    RunClosedError,
    RunStuckError,
    UpdateFailedError,
)
from durable.handle import RollbackStatus, RunStatus
from durable.history import Event, EventKind, Fact, write_detail
from durable.kernel.people import APPROVAL
from durable.messages import Message, Query, Signal, Update, encode_message
from durable.outcome import check_rollback, read_outcome
from durable.testing.question import SimulatedQuestion, describe_question
from durable.testing.simulated import SimulatedRun
from durable.testing.stub import StepCall, Stubbable, definition_name

if TYPE_CHECKING:
    from durable.commands import AskQuestion
    from durable.testing.fulfiller import Fulfiller
    from durable.testing.waiting import Waiting

R = TypeVar("R")
T = TypeVar("T")
V = TypeVar("V")


class SimulatedHandle(Generic[R]):
    """One simulated run, from outside. A run that continues as new stays the same run.

    Attributes:
        workflow_id: chosen by the test, or made up.
        run_id: of the run that was started.
    """

    def __init__(self, fulfiller: Fulfiller, waiting: Waiting, run: SimulatedRun) -> None:
        self._host = fulfiller
        self._waiting = waiting
        self._run = run
        self.workflow_id = run.workflow_id
        self.run_id = run.run_id

    def __repr__(self) -> str:
        return f"<simulated run {self.workflow_id}>"

    # -- looking ------------------------------------------------------------------------------------------

    async def status(self) -> RunStatus:
        """Where it stands."""
        return self._run.status

    async def rollback_status(self) -> RollbackStatus:
        """Where its rollback stands."""
        return self._run.newest.rollback

    async def history(self) -> list[Event]:
        """Its events, in order."""
        return list(self._run.history)

    @property
    def events(self) -> list[Event]:
        """The same without waiting."""
        return list(self._run.history)

    @property
    def envelope(self) -> Envelope:
        """Opens the payloads of its events."""
        return self._host.envelope

    @property
    def logs(self) -> list[tuple[str, str]]:
        """(level, message) of what workflow code has logged."""
        return list(self._run.newest.logs)

    def calls(self, what: Stubbable | None = None) -> list[StepCall]:
        """The attempts of a step, or of all steps, in the environment of this run: what ``env.calls`` returns."""
        name = None if what is None else definition_name(what)
        return [call for call in self._host.calls if name in (None, call.name)]

    @property
    def attributes(self) -> dict[str, Any]:
        """Searchable attributes that it has set."""
        return dict(self._run.newest.attributes)

    def timeline(self) -> str:
        """What happened, a line each."""
        return self._run.timeline(self._host.envelope)

    async def published(self, key: str) -> Any:
        """A value that the workflow published.

        Raises:
            KeyError: it has published nothing under this key.
        """
        return value_codec(Any).decode(self._host.envelope.open(self._run.newest.published[key]))

    async def stream(self, name: str, start: int = 0) -> AsyncIterator[Any]:
        """Items of an output stream from position ``start`` on, and those to come, until the run ends."""
        position, run = start, self._run

        def more() -> bool | None:
            if len(run.streams.get(name, ())) > position:
                return True
            return False if run.status.is_closed else None

        while await self._waiting.until(more, self._instead("an item of a stream")):
            payload = run.streams[name][position]
            position += 1
            yield value_codec(Any).decode(self._host.envelope.open(payload))

    # -- waiting ------------------------------------------------------------------------------------------

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait for the run's end and return its result; time is skipped while nothing can happen.

        Args:
            timeout: how much virtual time may pass; the run goes on when it is over.

        Raises:
            RunFailedError, RunCancelledError, RunTerminatedError, RunTimeoutError: how it ended otherwise.
            ResultTimeoutError: it has not ended in time.
            RunStuckError: it cannot go on: nondeterminism, a forbidden call; the message names both sides and the line.
            IdleError: it waits for something that this test does not do.
        """
        __tracebackhide__ = True
        await self._until(lambda: self._run.newest.status.is_closed or None, timeout, "its end")
        run = self._run.newest
        host = self._host
        outcome = read_outcome(run, run.ending, run.definition.result, host.envelope, {}, host.registry.modules())
        return cast("R", outcome)

    async def until_waiting(self, what: str | None = None, timeout: Duration | None = None) -> None:
        """Wait until the run waits for something; ``what`` must occur in the words for it, as in ``approval``.

        Raises:
            RunClosedError: it ended before.
            ResultTimeoutError, RunStuckError, IdleError: as ``result``.
        """

        def look() -> bool | None:
            run = self._run.newest
            if run.status.is_closed:
                raise RunClosedError(
                    f"{self.workflow_id!r} ended before it waited for {what or 'anything'}", status=str(run.status)
                )
            if run.status is not RunStatus.WAITING or not self._host.is_settled:
                return None
            return True if what is None or what in (self._waits_for() or "") else None

        await self._until(look, timeout, f"to wait for {what or 'anything'}")

    async def _until(self, look: Any, timeout: Duration | None, what: str) -> None:
        clock = self._host.clock
        __tracebackhide__ = True
        late = None if timeout is None else clock.call_at(clock.now_us() + to_us(timeout, "timeout"), self._host.notify)

        def look_in_time() -> bool | None:
            self._check_stuck()
            found: bool | None = look()
            if found is None and late is not None and not late.is_open:
                raise ResultTimeoutError(
                    f"{self.workflow_id!r} has not come to {what} within {to_us(timeout or 0) / 1e6:g} s of virtual time; it goes on"
                )
            return found

        try:
            await self._waiting.until(look_in_time, self._instead(what))
        finally:
            if late is not None:
                late.cancel()

    def _check_stuck(self) -> None:
        run = self._run.newest
        if run.stuck is not None:
            error = RunStuckError(
                f"{self.workflow_id!r} is stuck: {run.stuck}", workflow_id=self.workflow_id, run_id=run.run_id
            )
            raise error from run.stuck

    def _waits_for(self) -> str | None:
        return self._run.newest.waiting_for

    def _instead(self, what: str) -> Any:
        def words() -> str:
            run = self._run.newest
            if run.status.is_closed:
                return f"{what} of {self.workflow_id!r}, which has ended ({run.status})"
            handed_over = [execution.name for execution in run.steps.values() if execution.is_handed_over]
            waits = f"step {handed_over[0]!r}, which was handed over" if handed_over else self._waits_for()
            return f"{what} of {self.workflow_id!r}, which waits for {waits or 'nothing'}"

        return words

    # -- messages -----------------------------------------------------------------------------------------

    @overload
    async def signal(self, signal: Signal[None], /, *, message_id: str | None = ...) -> None: ...
    @overload
    async def signal(self, signal: Signal[T], value: T, /, *, message_id: str | None = ...) -> None: ...
    @overload
    async def signal(self, signal: str, value: Any = ..., /, *, message_id: str | None = ...) -> None: ...

    async def signal(self, signal: Signal[Any] | str, value: Any = None, /, *, message_id: str | None = None) -> None:
        """Send a signal.

        Raises:
            MessageRejectedError: the value does not fit the signal's type.
            RunClosedError: the run has ended.
        """
        name, payload = encode_message(self._message(signal, Signal), value, self._host.envelope)
        message_id = message_id if message_id is not None else self._host.new_id()
        detail = write_detail(message_id=message_id)
        self._post(Fact(EventKind.SIGNAL_RECEIVED, None, name, detail, payload, "user:test"), message_id)

    @overload
    async def query(self, query: Query[T], value: Any = ..., /, *, timeout: Duration = ...) -> T: ...
    @overload
    async def query(self, query: str, value: Any = ..., /, *, timeout: Duration = ...) -> Any: ...

    async def query(self, query: Query[Any] | str, value: Any = None, /, *, timeout: Duration = 10) -> Any:  # noqa: ARG002 - as the runtime's
        """Ask the workflow something, once what it was told before has had its effect; also after its end.

        Raises:
            UnknownMessageError: it has no such handler.
            QueryFailedError: the handler raised; only the query failed.
        """
        await self._settled()
        self._check_stuck()
        run, envelope = self._run.newest, self._host.envelope
        message = self._message(query, Query)
        name, payload = encode_message(message, value, envelope)
        try:
            answer = await self._host.call(lambda: self._host.replayer(run).query(name, payload))
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            raise rebuild_reply(
                self._host.registry.modules(), record_exception(error), QueryFailedError, f"query {name!r}"
            ) from error
        codec = message.result if isinstance(message, Query) else value_codec(Any)
        return codec.decode(envelope.open(answer))

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

    async def update(
        self,
        update: Update[Any, Any] | str,
        value: Any = None,
        /,
        *,
        update_id: str | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Send an update and wait for its result; two calls with one ``update_id`` get one result.

        Raises:
            MessageRejectedError: the value does not fit, or the validator refused it; the run has not seen it.
            UpdateFailedError: the handler raised, or the run ended in the middle of it.
            RunClosedError: the run has ended.
            ResultTimeoutError, RunStuckError, IdleError: as ``result``.
        """
        message = self._message(update, Update)
        name, payload = encode_message(message, value, self._host.envelope)
        update_id = update_id if update_id is not None else self._host.new_id()
        if self._outcome(update_id) is None:
            detail = write_detail(update_id=update_id)
            self._post(Fact(EventKind.UPDATE_ACCEPTED, None, name, detail, payload, "user:test"), f"update:{update_id}")
            self._run.newest.updates.setdefault(update_id, ("pending", None))
        await self._until(lambda: self._is_done(update_id), timeout, f"the result of update {name!r}")
        state, reply = self._outcome(update_id) or ("closed", None)
        if state == "closed":
            raise UpdateFailedError(f"update {name!r} was not done: {self.workflow_id!r} ended before that")
        envelope = self._host.envelope
        if state != "completed":
            plain = envelope.open(reply or "null") if state == "failed" else reply or "null"
            raise rebuild_reply(self._host.registry.modules(), plain, UpdateFailedError, f"update {name!r}")
        codec = message.result if isinstance(message, Update) else value_codec(Any)
        return codec.decode(envelope.open(reply or "null"))

    def _outcome(self, update_id: str) -> tuple[str, str | None] | None:
        run: SimulatedRun | None = self._run
        found = None
        while run is not None:
            found = run.updates.get(update_id, found)
            run = run.successor
        return found

    def _is_done(self, update_id: str) -> bool | None:
        outcome = self._outcome(update_id)
        return True if outcome is not None and outcome[0] != "pending" else None

    def _message(self, message: Any, kind: type[Message[Any]]) -> Any:
        """The message object of a name, where the workflow publishes one."""
        if isinstance(message, str):
            known = self._run.newest.definition.messages.get(message)
            return known if isinstance(known, kind) else message
        return message

    def _post(self, fact: Fact, message_id: str | None = None) -> None:
        error = self._host.relations.post(self.workflow_id, self.run_id, fact, message_id)
        if error is not None:
            status = self._run.newest.status
            raise RunClosedError(f"{self.workflow_id!r} has ended ({status})", status=str(status))

    async def _settled(self) -> None:
        while not self._host.is_settled:
            await self._host.change()

    # -- people -------------------------------------------------------------------------------------------

    async def questions(self) -> list[SimulatedQuestion]:
        """What people are asked now."""
        await self._settled()
        return [describe_question(one) for one in self._run.newest.questions.values()]

    async def answer(self, value: Any, *, by: str | None = None, key: str | None = None) -> None:
        """Answer a question.

        Args:
            value: JSON-compatible, fitting the question's schema.
            by: who answers, such as ``alice``; ``test`` by default.
            key: which question, if there are several.

        Raises:
            QuestionNotFoundError: the run asks no such question, or several and no key was given.
            MessageRejectedError: the answer does not fit the schema.
        """
        await self._settled()
        question = self._find(key, None)
        if question.question == APPROVAL:
            raise QuestionNotFoundError(f"{question.name!r} is an approval: approve or reject it")
        self._deliver(question, value, by)

    async def approve(self, *, by: str | None = None, comment: str = "", key: str | None = None) -> None:
        """Say yes to an approval; arguments as ``answer``."""
        await self._decide(by, comment, key, approved=True)

    async def reject(self, *, by: str | None = None, comment: str = "", key: str | None = None) -> None:
        """Say no to an approval; arguments as ``answer``."""
        await self._decide(by, comment, key, approved=False)

    async def _decide(self, by: str | None, comment: str, key: str | None, *, approved: bool) -> None:
        await self._settled()
        question = self._find(key, APPROVAL)
        if question.question != APPROVAL:
            raise QuestionNotFoundError(f"{question.name!r} is a question: answer it")
        self._deliver(question, {"approved": approved, "comment": comment}, by)

    def _find(self, key: str | None, kind: str | None) -> AskQuestion:
        asked = list(self._run.newest.questions.values())
        wanted = [one for one in asked if (one.name == key if key is not None else kind in (None, one.question))]
        if len(wanted) == 1:
            return wanted[0]
        open_ones = ", ".join(f"{one.name!r} ({one.question})" for one in asked) or "none"
        if not wanted:
            what = f"no question {key!r}" if key is not None else f"no open {kind or 'question'}"
            raise QuestionNotFoundError(f"{self.workflow_id!r} has {what} (open: {open_ones})")
        raise QuestionNotFoundError(
            f"{self.workflow_id!r} asks several questions: name one by its key (open: {open_ones})"
        )

    def _deliver(self, question: AskQuestion, value: Any, by: str | None) -> None:
        plain = to_json(value).decode() if value is not None else "null"
        check_schema(from_json(plain), from_json(question.schema), f"the answer to {question.name!r}")
        if by == "":
            raise MessageRejectedError("expected by= to name who answers, got ''")
        actor = by if by is not None and ":" in by else f"user:{by or 'test'}"
        payload = self._host.envelope.seal(plain)
        run = self._run.newest
        run.questions.pop(question.number or 0, None)
        self._host.accept(run, Fact(EventKind.QUESTION_ANSWERED, question.number, question.name, None, payload, actor))

    # -- steering -----------------------------------------------------------------------------------------

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to cancel: its code sees ``CancelledError``, may clean up, and what was done is rolled back."""
        self._post(Fact(EventKind.CANCEL_REQUESTED, detail=write_detail(reason=reason), actor="user:test"))

    async def terminate(self, reason: str = "") -> None:
        """End the run now, without its code and without rollback."""
        self._post(Fact(EventKind.RUN_TERMINATED, detail=write_detail(reason=reason or None), actor="user:test"))
        await self._settled()

    async def rollback(self) -> None:
        """Go on with a rollback that failed, from the compensation that failed.

        Raises:
            RunNotRetriableError: no rollback of this run has failed.
        """
        check_rollback(self._run.newest)
        self._host.accept(self._run.newest, Fact(EventKind.ROLLBACK_REQUESTED, actor="user:test"))

    def __await__(self) -> NoReturn:
        raise TypeError("a run's handle is not awaited itself; write: await run.result()")
