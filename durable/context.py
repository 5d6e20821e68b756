"""The context of a workflow: everything that ``ctx`` can do. A facade; what happens is decided in ``durable.kernel``."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from durable.commands import (
    PublishValue,
    ScheduleStep,
    SetAttributes,
)
from durable.duration import Duration, instant_us, to_instant, to_us
from durable.errors import ApprovalRejectedError, QuestionTimeoutError
from durable.history import merge_details, write_detail
from durable.info import RunInfo
from durable.kernel.child import ChildHandle, ExternalRun, start_child
from durable.kernel.mailbox import Handler
from durable.kernel.operation import Operation, Waiter
from durable.kernel.patch import deprecate_patch, is_patched
from durable.kernel.payload import write_arguments
from durable.kernel.people import APPROVAL, Decision, Verdict, ask, write_context
from durable.kernel.runlog import RunLogger
from durable.kernel.scope import SagaScope, register_compensation, roll_back
from durable.kernel.stream import Stream
from durable.kernel.waiting import deadline_of, in_time, next_signal, start_timer, until_condition
from durable.messages import Message, Signal
from durable.saga import current_scope
from durable.step import as_step
from durable.text import check_attributes, check_name

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from durable.kernel.replayer import Replayer
    from durable.workflow import WorkflowDefinition

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")

StepCall = Operation

_UNSET: Any = object()


class ContinueAsNew(BaseException):
    """Raised by ``ctx.continue_as_new`` to leave the function; the kernel goes on whether or not it is caught."""


class Context:
    """What a workflow can do. Every operation is recorded, and answered from the record on replay."""

    __slots__ = ("_info", "_log", "_run")

    def __init__(self, run: Replayer) -> None:
        self._run = run
        self._info = RunInfo(run)
        self._log = RunLogger(run)

    def __repr__(self) -> str:
        return f"<context of {self._info!r}>"

    # -- steps --------------------------------------------------------------------------------------------

    @overload
    def step(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> StepCall[R]: ...
    @overload
    def step(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> StepCall[R]: ...

    def step(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> StepCall[Any]:
        """Run a step and return its result.

        Args:
            fn: a step, or any function, which then is one with the default options.
            args, kwargs: its arguments; they pass through JSON.

        Returns:
            An operation to await once, or to pass to ``gather``, ``create_task`` or ``start_soon``.

        Raises:
            EncodeError: an argument cannot be recorded.
            Exception: what the step raised, where its class can be rebuilt, else ``StepError``; ``StepTimeoutError``,
                ``StepLostError``, ``StepInDoubtError``.
        """
        definition = as_step(fn)
        run = self._run

        def begin() -> Waiter:
            payload, digest = run.payloads.seal(
                write_arguments("step", definition, args, kwargs), definition.arguments.has_secrets
            )
            detail = definition.detail if digest is None else merge_details(definition.detail, digest)
            number = run.issuer.next_number()
            chosen = definition.options_.idempotency_key
            if chosen is None:
                key = f"{run.identity.origin_id}:{number}"
            else:
                made = chosen if isinstance(chosen, str) else chosen(*args, **kwargs)
                key = check_name(made, f"the idempotency key of step {definition.name!r}")
            scope = current_scope.get(None)
            command = ScheduleStep(number, definition, payload, detail, key, run.now_us)
            waiter = run.open[number] = Waiter(run, command, scope)
            run.issuer.issue(command)
            return waiter

        return Operation(run, definition.name, begin)

    # -- children -----------------------------------------------------------------------------------------

    def child_workflow(self, wf: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> StepCall[R]:
        """Run a child workflow and return its result.

        Raises:
            ChildFailedError: with the child's error as cause. ChildCancelledError, ChildTerminatedError,
                ChildExistsError: its id is taken.
        """
        name = getattr(wf, "name", "child_workflow")  # what is no workflow is refused by the start
        return Operation(self._run, name, lambda: start_child(self._run, wf, args, kwargs))

    async def start_child(self, wf: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs) -> ChildHandle[R]:
        """Start a child workflow and return its handle: await it for the result, signal or cancel it."""
        return ChildHandle(self._run, start_child(self._run, wf, args, kwargs))

    def workflow(self, workflow_id: str, run_id: str | None = None) -> ExternalRun:
        """Another run of the same store, to signal or cancel.

        Args:
            workflow_id: its id.
            run_id: only this run of it; else whichever is open.
        """
        return ExternalRun(self._run, workflow_id, run_id)

    # -- time ---------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time of the newest batch, aware UTC; it stands still within a turn."""
        return to_instant(self._run.now_us)

    async def sleep(self, delay: Duration) -> None:
        """Sleep at least ``delay`` (seconds or timedelta), across restarts. Zero or less returns at once."""
        await self._sleep_until_us(self._run.now_us + to_us(delay, "delay"))

    async def sleep_until(self, when: datetime) -> None:
        """Sleep until an aware datetime; one in the past returns at once.

        Raises:
            DefinitionError: the datetime is naive.
        """
        await self._sleep_until_us(instant_us(when))

    async def _sleep_until_us(self, deadline_us: int) -> None:
        if deadline_us > self._run.now_us:
            await start_timer(self._run, deadline_us, "sleep")

    # -- people -------------------------------------------------------------------------------------------

    @overload
    async def ask_user(
        self, prompt: str, schema: TypeForm[T], *, key: str | None = ..., timeout: Duration | None = ...,
        context: Mapping[str, Any] | None = ...,
    ) -> T: ...  # fmt: skip
    @overload
    async def ask_user(
        self, prompt: str, schema: TypeForm[T], *, key: str | None = ..., timeout: Duration, default: D,
        context: Mapping[str, Any] | None = ...,
    ) -> T | D: ...  # fmt: skip
    @overload
    async def ask_user(
        self, prompt: str, *, key: str | None = ..., timeout: Duration | None = ..., default: str = ...,
        context: Mapping[str, Any] | None = ...,
    ) -> str: ...  # fmt: skip

    async def ask_user(
        self,
        prompt: str,
        schema: Any = str,
        *,
        key: str | None = None,
        timeout: Duration | None = None,
        default: Any = _UNSET,
        context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask a person, and return the typed answer.

        Args:
            prompt: the question in words.
            schema: any type that pydantic knows; it is the form, and the type of the result.
            key: names the question for ``run.answer(..., key=)``; made from its number by default.
            timeout: how long to wait, seconds or timedelta; None: for ever.
            default: returned when the time is over, instead of an error.
            context: facts shown beside the question; JSON-compatible.

        Raises:
            QuestionTimeoutError: nobody answered in time, and there is no default.
        """
        about = write_context(context)
        deadline_us = deadline_of(self._run, timeout)
        waiter = ask(self._run, "question", prompt, schema, key, deadline_us, about)
        if not await in_time(self._run, waiter, deadline_us, "question"):
            if default is _UNSET:
                raise QuestionTimeoutError(f"nobody answered in time: {prompt}", prompt=prompt)
            return default
        answer, _, _ = waiter.result()
        return answer

    async def ask_approval(
        self,
        prompt: str,
        *,
        key: str | None = None,
        timeout: Duration | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Decision:
        """Ask for a yes, and return who gave it and when. Whoever may write to the store may give it: look at ``by``.

        Args:
            prompt: what is to be approved.
            key: names the question for ``run.approve(..., key=)``; made from its number by default.
            timeout: how long to wait, seconds or timedelta; None: for ever.
            context: facts shown beside the question; JSON-compatible.

        Raises:
            ApprovalRejectedError: a person said no.
            QuestionTimeoutError: nobody decided in time.
        """
        about = write_context(context)
        deadline_us = deadline_of(self._run, timeout)
        waiter = ask(self._run, APPROVAL, prompt, Verdict, key, deadline_us, about)
        if not await in_time(self._run, waiter, deadline_us, "question"):
            raise QuestionTimeoutError(f"nobody decided in time: {prompt}", prompt=prompt)
        verdict, by, at_us = waiter.result()
        if not verdict.approved:
            said = f": {verdict.comment}" if verdict.comment else ""
            raise ApprovalRejectedError(f"{by} rejected {prompt!r}{said}", by=by, comment=verdict.comment)
        return Decision(by=by, at=to_instant(at_us), comment=verdict.comment)

    # -- messages -----------------------------------------------------------------------------------------

    async def wait_signal(self, sig: Signal[T], timeout: Duration | None = None) -> T:
        """Return the next signal of this name, one that came before included, in order.

        Raises:
            SignalTimeoutError: none came in time (seconds or timedelta).
        """
        return await next_signal(self._run, sig, timeout)

    async def signals(self, sig: Signal[T]) -> AsyncIterator[T]:
        """Iterate over the signals of this name, for ever, from the first one that nobody has taken."""
        while True:
            yield await self.wait_signal(sig)

    def on(self, message: Message[Any]) -> Callable[[Callable[..., Any]], Handler]:
        """Register the decorated inner function as the handler of a signal, query or update.

        Handlers of signals and updates may be async and use ``ctx``; a query's is a plain function that changes nothing.
        Returns a handler, whose ``.validator`` decorates an update's validator.
        """
        return lambda fn: self._run.mailbox.register(message, fn)

    async def wait_condition(self, predicate: Callable[[], object], timeout: Duration | None = None) -> None:
        """Wait until ``predicate()`` holds. It is called after every batch and must only read.

        Raises:
            ConditionTimeoutError: it did not hold in time (seconds or timedelta).
            Exception: what the predicate raises.
        """
        await until_condition(self._run, predicate, timeout)

    # -- randomness and versions --------------------------------------------------------------------------

    @property
    def random(self) -> random.Random:
        """A generator seeded per run; use it instead of the ``random`` module."""
        self._run.issuer.check_writable()
        return self._run.random

    def uuid4(self) -> uuid.UUID:
        """A random UUID from the run's own generator."""
        self._run.issuer.check_writable()
        return uuid.UUID(int=self._run.random.getrandbits(128), version=4)

    def patched(self, id: str) -> bool:  # noqa: A002 - the field's word for it
        """Whether this run takes the new side of a change: True for runs that reach this line first on new code.

        Replay:
            The answer is remembered per run, so that one that began on the old side stays there.
        """
        return is_patched(self._run, check_name(id, "the id of a patch"))

    def deprecate_patch(self, id: str) -> None:  # noqa: A002
        """Keep accepting runs that took the new side, once no run is left on the old one."""
        deprecate_patch(self._run, check_name(id, "the id of a patch"))

    def continue_as_new(self, *args: Any, **kwargs: Any) -> NoReturn:
        """End this run and go on as a new one with these arguments and a fresh history.

        Open operations are cancelled; unread messages and registered compensations go along. It works from any task.

        Raises:
            ContinueAsNew: to leave the function; catching it changes nothing.
            EncodeError: an argument cannot be recorded.
            DefinitionError: the run is ending already; it fails, unless it was failing.
        """
        run = self._run
        run.issuer.check_writable()
        arguments = run.definition.arguments
        plain = arguments.encode(args, kwargs)
        payload, _ = run.payloads.seal(plain, arguments.has_secrets)
        if not run.is_over:
            run.ending.continue_as_new(plain, payload)
        raise ContinueAsNew

    # -- undoing ------------------------------------------------------------------------------------------

    def compensate(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Register an undo step before what it undoes; it runs on rollback even if that failed or is in doubt.

        Raises:
            EncodeError: an argument cannot be recorded.
            DefinitionError: the function has no name that another process would find.
        """
        register_compensation(self._run, fn, args, kwargs)

    def saga(self) -> AbstractAsyncContextManager[None]:
        """A scope that undoes its own steps, in reverse, when an exception leaves it; then the exception goes on."""
        return SagaScope(self._run)

    async def rollback(self) -> None:
        """Undo now everything that is registered in the scope around (the run, or the innermost ``ctx.saga()``)."""
        self._run.issuer.check_writable()
        await roll_back(self._run, current_scope.get(self._run.stack))

    # -- state that others read ---------------------------------------------------------------------------

    def publish(self, key: str, value: Any) -> None:
        """Set a value that others read with ``run.published(key)``, without asking the workflow."""
        run = self._run
        check_name(key, "the key of a published value")
        run.issuer.issue(PublishValue(run.issuer.next_number(), key, None, run.payloads.seal_any(value)))

    def stream(self, name: str) -> Stream:
        """An append-only output that others read with ``run.stream(name)``."""
        return Stream(self._run, check_name(name, "the name of a stream"))

    def set_attributes(self, **attributes: str | float | bool | None) -> None:
        """Set searchable fields of the run; None removes one.

        Raises:
            DefinitionError: a value is not a text, finite number, boolean or None.
        """
        check_attributes(attributes)
        run = self._run
        detail = write_detail(attributes=attributes)
        run.issuer.issue(SetAttributes(run.issuer.next_number(), attributes, detail))
        run.attributes.update(attributes)

    # -- about the run ------------------------------------------------------------------------------------

    @property
    def info(self) -> RunInfo:
        """Ids, attempt, size of the history."""
        return self._info

    @property
    def log(self) -> RunLogger:
        """A logger whose lines are kept with the run; silent during replay."""
        return self._log

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Switch the guard off for a block. What it reads must not influence the run."""
        loop = self._run.loop
        loop.unguarded += 1
        try:
            yield
        finally:
            loop.unguarded -= 1
