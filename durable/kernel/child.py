"""Other runs as workflow code holds them: children and strangers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from durable.codec import input_digest
from durable.commands import CancelChild, SendMessage, StartChild
from durable.errors import DefinitionError
from durable.history import parse_detail, write_detail
from durable.kernel.operation import Operation, Waiter
from durable.kernel.payload import write_arguments
from durable.messages import Signal, check_signal
from durable.saga import current_scope
from durable.text import check_name, check_text

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer
    from durable.workflow import WorkflowDefinition

R = TypeVar("R")
T = TypeVar("T")


def start_child(
    run: Replayer, definition: WorkflowDefinition[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Waiter:
    """Issue the start of a child; the future is its result."""
    if getattr(definition, "_durable_workflow_", None) is None:
        raise DefinitionError(f"expected a workflow, got {definition!r}; a plain function is run with ctx.step(...)")
    arguments = definition.arguments
    plain = write_arguments("child workflow", definition, args, kwargs)
    payload, digest = run.payloads.seal(plain, arguments.has_secrets)
    number = run.issuer.next_number()
    options = definition.start_options
    workflow_id = (
        options.id if options.id is not None else f"{run.identity.workflow_id}/{run.identity.run_id[-8:]}.{number}"
    )
    run_id = run.new_id()
    detail = write_detail(
        workflow_id=workflow_id,
        run_id=run_id,
        on_parent_close=options.on_parent_close if options.on_parent_close != "terminate" else None,
        queue=options.queue,
        compensate=definition.compensation.name if definition.compensation is not None else None,
        **parse_detail(digest),
    )
    scope = current_scope.get(None) if definition.compensation is not None else None
    command = StartChild(number, definition, payload, workflow_id, run_id, input_digest(plain), detail)
    waiter = run.open[number] = Waiter(run, command, scope)
    run.issuer.issue(command)
    return waiter


class ChildHandle(Generic[R]):
    """A started child: await it for its result.

    Attributes:
        workflow_id, run_id: of the child.
    """

    __slots__ = ("_run", "_waiter", "run_id", "workflow_id")

    def __init__(self, run: Replayer, waiter: Waiter) -> None:
        command = waiter.command
        assert isinstance(command, StartChild)
        self._run = run
        self._waiter = waiter
        self.workflow_id = command.workflow_id
        self.run_id = command.run_id

    def __repr__(self) -> str:
        return f"<child {self.workflow_id}>"

    def __hash__(self) -> int:
        """By the child's number: sets of handles have one order (rule L3)."""
        return (self._waiter.command.number or 0) | self._run.loop.salt << 40

    def __await__(self) -> Generator[Any, Any, R]:
        result: R = yield from self._waiter.__await__()
        return result

    async def result(self) -> R:
        """The child's result.

        Raises:
            ChildError: it ended without one.
        """
        return await self

    def done(self) -> bool:
        """Whether the child has ended, as far as this run has seen."""
        return self._waiter.done()

    @overload
    async def signal(self, sig: Signal[None], /) -> None: ...
    @overload
    async def signal(self, sig: Signal[T], value: T, /) -> None: ...

    async def signal(self, sig: Signal[Any], value: Any = None, /) -> None:
        """Send the child a signal; returns when it is accepted.

        Raises:
            MessageUndeliverableError: the child has ended.
        """
        await ExternalRun(self._run, self.workflow_id, self.run_id).signal(sig, value)

    def cancel(self, reason: str = "") -> Awaitable[None]:
        """Ask the child to cancel; awaiting the child then raises ``ChildCancelledError`` unless it ends otherwise.

        It is asked at once, as ``asyncio.Task.cancel`` does, so that code can do so where it cannot wait.

        Returns:
            Something that may be awaited, as what ``ctx.workflow(id).cancel()`` returns must be; there is nothing to wait for.
        """
        check_text(reason, "the reason of a cancellation")
        waiter = self._waiter
        if waiter.done() or waiter.cancel_requested:
            return _Done()
        run, command = self._run, waiter.command
        assert isinstance(command, StartChild)
        run.issuer.issue(CancelChild(command.number or 0, command.name or "", self.workflow_id, self.run_id, reason))
        waiter.cancel_requested = True
        return _Done()


class _Done:
    """An awaitable that is done."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class ExternalRun:
    """Another run of the same store.

    Attributes:
        workflow_id: its id.
        run_id: only this run of it, or None: whichever is open.
    """

    __slots__ = ("_run", "run_id", "workflow_id")

    def __init__(self, run: Replayer, workflow_id: str, run_id: str | None = None) -> None:
        self._run = run
        self.workflow_id = check_name(workflow_id, "a workflow id")
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"<run {self.workflow_id}>"

    @overload
    def signal(self, sig: Signal[None], /) -> Operation[None]: ...
    @overload
    def signal(self, sig: Signal[T], value: T, /) -> Operation[None]: ...

    def signal(self, sig: Signal[Any], value: Any = None, /) -> Operation[None]:
        """Send a signal; done when the store has accepted it.

        Raises:
            EncodeError: the value does not fit the signal's type.
            MessageUndeliverableError: no such run is open.
        """
        check_signal(sig)
        return Operation(self._run, f"signal {sig.name}", lambda: self._send("signal", sig, value, ""))

    def cancel(self, reason: str = "") -> Operation[None]:
        """Ask the run to cancel once this is awaited; done when the store has accepted it.

        Raises:
            MessageUndeliverableError: no such run is open.
        """
        check_text(reason, "the reason of a cancellation")
        return Operation(self._run, "cancel", lambda: self._send("cancel", None, None, reason))

    def _send(self, message: str, sig: Signal[Any] | None, value: Any, reason: str) -> asyncio.Future[Any]:
        run = self._run
        payload, digest = (
            run.payloads.seal(sig.codec.encode(value), sig.codec.has_secrets) if sig is not None else (None, None)
        )
        number = run.issuer.next_number()
        detail = write_detail(
            workflow_id=self.workflow_id, run_id=self.run_id, reason=reason or None, **parse_detail(digest)
        )
        name = sig.name if sig is not None else None
        command = SendMessage(number, message, self.workflow_id, self.run_id, name, payload, detail)
        waiter = run.open[number] = Waiter(run, command)
        run.issuer.issue(command)
        return waiter
