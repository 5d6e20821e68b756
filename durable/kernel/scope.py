"""Undoing on request: scopes of a saga, registration ahead of the effect, rollback in the middle of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from durable.commands import RegisterCompensation
from durable.errors import RollbackFailedError
from durable.history import parse_detail, write_detail
from durable.kernel.payload import write_arguments
from durable.saga import Compensation, CompensationStack, current_scope
from durable.step import compensation_step

if TYPE_CHECKING:
    from contextvars import Token

    from durable.kernel.replayer import Replayer


def register_compensation(run: Replayer, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Put an undo step on the innermost scope's stack, visibly in history."""
    definition = compensation_step(fn)
    plain = write_arguments("compensation", definition, args, kwargs)
    payload, digest = run.payloads.seal(plain, definition.arguments.has_secrets)
    number = run.issuer.next_number()
    run.issuer.issue(RegisterCompensation(number, definition.name, write_detail(**parse_detail(digest)), payload))
    current_scope.get(run.stack).push(Compensation(number, definition, plain, definition.name))


async def roll_back(run: Replayer, stack: CompensationStack) -> None:
    """Undo a stack in a task of its own, so that a cancellation of the caller interrupts nothing; it is raised afterwards.

    Raises:
        RollbackFailedError: a compensation failed for good.
    """
    ending = run.ending
    undoing = ending.undoing.get(stack)
    if undoing is None:
        if not stack.entries and not ending.concerns(stack):
            return
        undoing = ending.undoing[stack] = run.loop.spawn(ending.undo(stack), name="rollback")
        undoing.add_done_callback(lambda _: ending.undoing.pop(stack, None) and None)
    cancelled: asyncio.CancelledError | None = None
    while not undoing.done():
        try:
            await asyncio.wait((undoing,))
        except asyncio.CancelledError as error:
            cancelled = error
    undoing.result()
    if cancelled is not None:
        raise cancelled


class SagaScope:
    """``async with ctx.saga():`` collects compensations and runs them when an exception leaves the block."""

    __slots__ = ("_run", "_stack", "_token")

    def __init__(self, run: Replayer) -> None:
        self._run = run

    async def __aenter__(self) -> None:
        self._stack = CompensationStack(current_scope.get(self._run.stack))
        self._token: Token[CompensationStack] = current_scope.set(self._stack)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        current_scope.reset(self._token)
        if error is None or isinstance(error, GeneratorExit) or self._run.ending.successor is not None:
            self._stack.end()
            return
        try:
            await roll_back(self._run, self._stack)
        except RollbackFailedError:
            if isinstance(error, Exception):
                raise
            # A cancellation goes on; what could not be undone stays registered, and the run's own rollback meets it again.
