"""Durable operations as workflow code holds them: awaitables that issue their command at the first await (rule H8)."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from durable.kernel.outcome import withdraw

if TYPE_CHECKING:
    from types import TracebackType

    from durable.commands import Command
    from durable.kernel.replayer import Replayer
    from durable.saga import CompensationStack

R = TypeVar("R")


class Waiter(asyncio.Future[Any]):
    """The future of one open operation. Cancelling it sends one cancel request and detaches it (rule L6).

    Attributes:
        command: what was asked for.
        scope: the saga that its compensation joins.
        cancel_requested: the request was sent.
    """

    __slots__ = ("cancel_requested", "command", "replayer", "scope")

    def __init__(self, replayer: Replayer, command: Command, scope: CompensationStack | None = None) -> None:
        super().__init__(loop=replayer.loop)
        self.replayer = replayer
        self.command = command
        self.scope = scope
        self.cancel_requested = False

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the wait, and ask for the operation to stop."""
        if not super().cancel(msg=msg):
            return False
        withdraw(self.replayer, self)
        return True

    def fail(self, error: BaseException) -> None:
        """Set the exception, without a complaint if nobody looks at it."""
        if not self.done():
            self.set_exception(error)
            self._log_traceback = False


class Operation(Coroutine[None, None, R], Generic[R]):
    """A durable operation, issued when it is first awaited; awaitable once, or passed to ``create_task``, ``gather`` or
    an anyio task group's ``start_soon``."""

    __slots__ = ("_begin", "_iterator", "_order", "_replayer", "name")

    def __init__(self, replayer: Replayer, name: str, begin: Callable[[], asyncio.Future[Any]]) -> None:
        self._replayer = replayer
        self._begin: Callable[[], asyncio.Future[Any]] | None = begin
        self._iterator: Generator[Any, Any, R] | None = None
        self._order = 0
        self.name = name
        if replayer.loop.read_only is not None:
            self._begin = None  # it is refused, not forgotten
            replayer.issuer.check_writable()

    def __del__(self) -> None:
        """Warn where it was forgotten, as Python does for coroutines. Nothing else may happen here: it comes when the
        last reference goes, or the garbage collector."""
        if self._begin is not None and not (self._replayer.is_over or self._replayer.is_replaying):
            message = f"{self!r} was never awaited, so it was not done; write await before it"
            self._replayer.loop.complaints.append((message, None))
            warnings.warn(message, RuntimeWarning, stacklevel=2, source=self)

    def __hash__(self) -> int:
        """A number that is given when it is first asked for: sets of operations have one order (rule L3)."""
        if not self._order:
            self._order = self._replayer.loop.next_order()
        return self._order

    def __call__(self) -> Operation[R]:
        """Itself, so that ``tg.start_soon(ctx.step(fn, 1))`` works."""
        return self

    def _start(self) -> Generator[Any, Any, R]:
        begin, self._begin = self._begin, None
        if begin is None:
            raise RuntimeError(f"{self.name} was awaited already; call ctx again for a second one")
        replayer = self._replayer
        future = replayer.never() if replayer.is_over else begin()
        self._iterator = iterator = future.__await__()
        return iterator

    def __await__(self) -> Generator[Any, Any, R]:
        return self._start()

    def send(self, value: None) -> Any:
        """Drive it as a task does."""
        iterator = self._iterator
        if iterator is None:
            iterator = self._start()
        return iterator.send(value)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        """Throw into it as a task does."""
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        if tb is not None:
            error = error.with_traceback(tb)
        if self._iterator is None:
            self._begin = None
            raise error
        return self._iterator.throw(error)

    def close(self) -> None:
        """Close it as a task does; an operation that was never awaited leaves no trace."""
        self._begin = None
        if self._iterator is not None:
            self._iterator.close()

    def __repr__(self) -> str:
        return f"<operation {self.name}>"
