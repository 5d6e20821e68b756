"""What comes in by name: signals and their buffer, handlers, updates, queries, conditions."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from durable.codec import record_exception
from durable.commands import CompleteUpdate, FailUpdate, SetAsideMessage
from durable.errors import (
    DecodeError,
    DefinitionError,
    EncodeError,
    MessageRejectedError,
    ReadOnlyError,
    UnknownMessageError,
    UpdateFailedError,
)
from durable.history import Event, Fact, parse_detail, write_detail
from durable.kernel.closure import call_read_only
from durable.kernel.loop import DISCARDING
from durable.messages import Message, Query, Signal, Update

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

_TAKERS: Final = 16
"""Who waits for signals of one name, before those who gave up are looked for among them."""


class Received(NamedTuple):
    """A signal that nobody has taken yet."""

    name: str
    payload: str | None
    message_id: str | None
    actor: str


class Rejection(NamedTuple):
    """An update that was refused before it was accepted, and the record of why."""

    update_id: str
    name: str
    error: str


@dataclass(slots=True)
class Handler:
    """A function of the workflow that takes messages of one name."""

    message: Message[Any]
    fn: Callable[..., Any]
    validate: Callable[..., Any] | None = None

    def validator(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Register ``fn`` as the validator of this update: it runs before the update is accepted, and refuses by raising.

        A validator only reads. Replay does not call it: an update that was refused leaves no event, so nothing that a
        validator remembers could be there again. One that changes a variable of the workflow is found out, and its update
        refused with ``ReadOnlyError``; put the change into the handler, which runs once the update is accepted.
        """
        if not isinstance(self.message, Update):
            raise DefinitionError(f"only updates have validators; {self.message!r} is a {self.message.kind}")
        if inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"the validator of {self.message!r} must be a plain function: it cannot wait")
        self.validate = fn
        return fn


class Takers(deque[tuple[asyncio.Future[Any], Message[Any]]]):
    """Who waits for the next signal of a name, the first one first; those who gave up stay until they are as many as the others.

    Attributes:
        limit: length at which to sweep.
    """

    limit = _TAKERS

    def sweep(self) -> None:
        """Forget who gave up."""
        live = [taker for taker in self if not taker[0].done()]
        self.clear()
        self.extend(live)
        self.limit = max(_TAKERS, 2 * len(live))


class Mailbox:
    """Routes messages of one run. Part of the kernel: every decision here depends on history alone.

    Attributes:
        handlers: by the name of their message.
        buffer: signals that nobody has been given, oldest first, by name.
        waiting: who waits for the next signal, by name.
        conditions: predicates and who waits for them.
        delivered: signals that were given to somebody who has not run since, by their future or call.
        running: tasks of handlers; those of updates with the update's name and id.
    """

    def __init__(self, replayer: Replayer) -> None:
        self._replayer = replayer
        self.handlers: dict[str, Handler] = {}
        self.buffer: dict[str, deque[Received]] = {}
        self.waiting: dict[str, Takers] = {}
        self.conditions: list[tuple[Callable[[], Any], asyncio.Future[None]]] = []
        self.delivered: dict[object, Received] = {}
        self.running: dict[asyncio.Task[Any], tuple[str, str] | None] = {}

    # -- signals ------------------------------------------------------------------------------------------

    def receive(self, signal: Received) -> None:
        """Give a signal to its handler, to who waits, or to the buffer; once the function is over, to the buffer."""
        handler = self.handlers.get(signal.name) if not self._replayer.ending.is_deaf else None
        declared = handler.message if handler else self._replayer.definition.messages.get(signal.name)
        if declared is not None and not self._fits(declared, signal):
            return
        if handler is not None:
            self._handle(handler, signal)
            return
        if not self._give(signal):
            self.buffer.setdefault(signal.name, deque()).append(signal)

    def _give(self, signal: Received) -> bool:
        """Give a signal to the first who waits for it, or set it aside; False if nobody waits."""
        queue = self.waiting.get(signal.name)
        while queue:
            future, message = queue.popleft()
            if future.done():
                continue
            if self._fits(message, signal):
                self.delivered[future] = signal
                future.set_result(self._decode(message, signal.payload))
            else:
                queue.appendleft((future, message))
            return True
        return False

    def take(self, message: Signal[Any]) -> tuple[Any] | None:
        """The value of the oldest buffered signal that fits, in a tuple; None if there is none."""
        queue = self.buffer.get(message.name)
        while queue:
            signal = queue.popleft()
            if self._fits(message, signal):
                return (self._decode(message, signal.payload),)
        return None

    def accept_signal(self, future: asyncio.Future[Any]) -> Any:
        """The value of the signal that ``future`` was given; it is read now."""
        del self.delivered[future]
        return future.result()

    def put_back(self, future: asyncio.Future[Any]) -> None:
        """Pass on the signal that ``future`` was given in the same moment as its taker was cancelled; it stays the first."""
        signal = self.delivered.pop(future, None)
        if signal is None:
            return
        handler = self.handlers.get(signal.name)
        if handler is not None:
            self._handle(handler, signal)
        elif not self._give(signal):
            self.buffer.setdefault(signal.name, deque()).appendleft(signal)

    def wait(self, message: Signal[Any]) -> asyncio.Future[Any]:
        """A future of the next signal."""
        future = self._replayer.loop.create_future()
        takers = self.waiting.get(message.name)
        if takers is None:
            takers = self.waiting[message.name] = Takers()
        elif len(takers) >= takers.limit:
            takers.sweep()
        takers.append((future, message))
        return future

    def _decode(self, message: Message[Any], payload: str | None) -> Any:
        return message.codec.decode(self._replayer.payloads.open(payload) if payload is not None else "null")

    def _fits(self, message: Message[Any], signal: Received) -> bool:
        try:
            if not isinstance(message, Signal):
                raise MessageRejectedError(f"{message.name!r} names no signal of this workflow, but its {message.kind}")
            self._decode(message, signal.payload)
        except (DecodeError, MessageRejectedError) as error:
            replayer = self._replayer
            replayer.issuer.issue(
                SetAsideMessage(
                    replayer.issuer.next_number(),
                    signal.name,
                    write_detail(message_id=signal.message_id, sender=signal.actor, why=error.message),
                )
            )
            return False
        return True

    # -- handlers -----------------------------------------------------------------------------------------

    def register(self, message: Message[Any], fn: Callable[..., Any]) -> Handler:
        """Make ``fn`` the handler of a message; buffered signals are delivered to it at once, in order."""
        if not isinstance(message, Message):
            raise DefinitionError(f"expected a Signal, Query or Update, got {message!r}")
        if isinstance(message, Query) and inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"the handler of {message!r} must be a plain function: a query cannot wait")
        known = self.handlers.get(message.name)
        if known is not None and known.message.kind != message.kind:
            raise DefinitionError(f"{message.name!r} is a {known.message.kind} already")
        self._replayer.issuer.check_writable()
        handler = self.handlers[message.name] = Handler(message, fn)
        for signal in self.buffer.pop(message.name, ()):
            if self._fits(message, signal):
                self._handle(handler, signal)
        return handler

    def _handle(self, handler: Handler, signal: Received) -> None:
        value = self._decode(handler.message, signal.payload)
        arguments = (value,) if handler.message.type is not None else ()
        call = object()
        self.delivered[call] = signal
        # In a context of its own: that of whoever delivers, or of the worker, is not the handler's.
        self._replayer.loop.call_soon(
            self._call, call, handler.fn, arguments, signal.name, context=contextvars.Context()
        )

    def _call(self, call: object, fn: Callable[..., Any], arguments: tuple[Any, ...], name: str) -> None:
        del self.delivered[call]
        try:
            result = fn(*arguments)
        except DISCARDING:
            raise
        except Exception as error:  # noqa: BLE001 - a failing signal handler fails the run
            self._replayer.fail(error)
        else:
            if inspect.isawaitable(result):
                self._spawn(_wait_for(result), f"signal {name}", None).add_done_callback(self._signal_done)

    def _signal_done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._replayer.fail(error)

    def _spawn(self, coroutine: Any, name: str, update: tuple[str, str] | None) -> asyncio.Task[Any]:
        task = self._replayer.loop.spawn(coroutine, name=name)
        self.running[task] = update
        task.add_done_callback(lambda done: self.running.pop(done, None) and None)
        return task

    # -- updates ------------------------------------------------------------------------------------------

    def validate(self, fact: Fact) -> Rejection | None:
        """Run the validator at quiescence (rule K4). None: accepted."""
        update_id = str(parse_detail(fact.detail).get("update_id", ""))
        name = fact.name or ""
        handler = self.handlers.get(name)
        try:
            if self._replayer.ending.is_deaf:
                raise MessageRejectedError("the run is ending and takes no more updates")
            if handler is None or not isinstance(handler.message, Update):
                raise UnknownMessageError(self._unknown("update", name, Update))
            value = self._decode(handler.message, fact.payload)
            if handler.validate is not None:
                arguments = (value,) if handler.message.type is not None else ()
                call_read_only(self._replayer, "the validator", handler.validate, arguments)
        except DecodeError as error:
            rejection = MessageRejectedError(
                f"update {name!r} does not fit its schema: {error.message}", path=error.path
            )
            return Rejection(update_id, name, record_exception(rejection))
        except Exception as error:  # noqa: BLE001 - whatever a validator raises refuses the update, L8's own errors too
            if not isinstance(error, UnknownMessageError | ReadOnlyError | MessageRejectedError):
                refusal = MessageRejectedError(f"update {name!r} was refused: {error}", reason=str(error))
                refusal.__cause__ = error
                return Rejection(update_id, name, record_exception(refusal))
            return Rejection(update_id, name, record_exception(error))
        return None

    def accept(self, event: Event) -> None:
        """Start the handler of an accepted update."""
        handler = self.handlers.get(event.name or "")
        update_id = str(event.details.get("update_id", ""))
        if handler is None or not isinstance(handler.message, Update):
            self._replayer.issuer.diverge(event, f"the workflow has no handler for update {event.name!r} here")
        value = self._decode(handler.message, event.payload)
        update = (handler.message.name, update_id)
        self._spawn(self._run_update(handler, handler.message, update_id, value), f"update {event.name}", update)

    async def _run_update(self, handler: Handler, message: Update[Any, Any], update_id: str, value: Any) -> None:
        replayer = self._replayer
        try:
            result = handler.fn(*((value,) if message.type is not None else ()))
            if inspect.isawaitable(result):
                result = await result
            payload, detail = replayer.payloads.seal(self._encode(message, result), message.result.has_secrets)
        except asyncio.CancelledError:
            why = replayer.ending.words() if replayer.ending.has_begun else "it was cancelled"
            self._fail_update(message.name, update_id, _cut_short(message.name, why))
            raise
        except DISCARDING:
            raise
        except Exception as error:  # noqa: BLE001 - an update's failure fails only the update
            self._fail_update(message.name, update_id, error)
        else:
            detail = write_detail(update_id=update_id, **parse_detail(detail))
            replayer.issuer.issue(
                CompleteUpdate(replayer.issuer.next_number(), message.name, update_id, payload, detail)
            )

    def _fail_update(self, name: str, update_id: str, error: BaseException) -> None:
        replayer = self._replayer
        if replayer.is_closing:
            return
        payload, _ = replayer.payloads.seal(record_exception(error))
        detail = write_detail(update_id=update_id)
        replayer.issuer.issue(FailUpdate(replayer.issuer.next_number(), name, update_id, payload, detail))

    def fail_unfinished(self, why: str) -> None:
        """Fail the updates whose handlers are still running."""
        for update in self.running.values():
            if update is not None:
                name, update_id = update
                self._fail_update(name, update_id, _cut_short(name, why))

    def _encode(self, message: Update[Any, Any] | Query[Any], result: Any) -> str:
        try:
            return message.result.encode(result)
        except EncodeError as error:
            error.blame(f"the result of {message.kind} {message.name!r}")
            raise

    # -- queries ------------------------------------------------------------------------------------------

    def query(self, name: str, payload: str | None) -> str:
        """The sealed answer of a query's handler.

        Raises:
            UnknownMessageError: no such handler; the message lists the known.
            DecodeError: the argument does not fit.
            Exception: whatever the handler raises.
        """
        handler = self.handlers.get(name)
        if handler is None or not isinstance(handler.message, Query):
            raise UnknownMessageError(self._unknown("query", name, Query))
        message = handler.message
        plain = self._replayer.payloads.envelope.open(payload) if payload is not None else "null"
        arguments = (message.codec.decode(plain),) if message.type is not None else ()
        result = call_read_only(self._replayer, "a query", handler.fn, arguments)
        return self._replayer.payloads.seal(self._encode(message, result), message.result.has_secrets)[0]

    def _unknown(self, kind: str, name: str, cls: type[Message[Any]]) -> str:
        names = sorted(key for key, handler in self.handlers.items() if isinstance(handler.message, cls))
        return f"the workflow has no {kind} {name!r} (known: {', '.join(names) or 'none'})"

    # -- conditions ---------------------------------------------------------------------------------------

    def settle_conditions(self) -> bool:
        """Evaluate the open conditions in order, once; True if one was met, so that there is more to drain."""
        met = False
        for entry in list(self.conditions):
            predicate, future = entry
            if future.done():
                self.conditions.remove(entry)
                continue
            try:
                with self._replayer.issuer.read_only("a condition"):
                    holds = predicate()
            except DISCARDING:
                raise
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the condition
                future.set_exception(error)
                holds = True
            if holds:
                met = True
                self.conditions.remove(entry)
                if not future.done():
                    future.set_result(None)
        return met

    def unread(self) -> list[Received]:
        """Signals that nobody has begun to handle, in order of arrival by name, for a successor."""
        buffered = [signal for queue in self.buffer.values() for signal in queue]
        return [*self.delivered.values(), *buffered]


async def _wait_for(result: Awaitable[Any]) -> None:
    await result


def _cut_short(name: str, why: str) -> UpdateFailedError:
    return UpdateFailedError(f"update {name!r} was not done: {why}", update=name)
