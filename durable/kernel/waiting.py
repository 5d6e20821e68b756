"""Waiting in workflow code for a time, a signal or a condition, with a limit or without."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from durable.commands import StartTimer
from durable.duration import Duration, optional_us, to_us
from durable.errors import ConditionTimeoutError, DefinitionError, SignalTimeoutError
from durable.kernel.line import asked_at
from durable.kernel.operation import Waiter
from durable.messages import Signal, check_signal

if TYPE_CHECKING:
    from durable.kernel.replayer import Replayer

T = TypeVar("T")


def start_timer(run: Replayer, deadline_us: int, name: str) -> asyncio.Future[Any]:
    """A future that is done at a deadline."""
    if run.is_over:
        return run.never()
    number = run.issuer.next_number()
    command = StartTimer(number, deadline_us, name)
    waiter = run.open[number] = Waiter(run, command)
    run.timers.set(number, deadline_us)
    run.issuer.issue(command)
    return waiter


def deadline_of(run: Replayer, timeout: Duration | None) -> int | None:
    """When a wait that begins now ends; None: never."""
    limit = optional_us(timeout, "timeout")
    return None if limit is None else run.now_us + limit


async def in_time(run: Replayer, future: asyncio.Future[Any], deadline_us: int | None, name: str) -> bool:
    """Wait for a future, or for a timer as well; the loser is cancelled. True if the future is done."""
    if deadline_us is None:
        await future
        return True
    timer = start_timer(run, deadline_us, name)
    try:
        await asyncio.wait((future, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        if not future.done():
            future.cancel()
    return future.done() and not future.cancelled()


async def next_signal(run: Replayer, sig: Signal[T], timeout: Duration | None) -> T:
    """What ``ctx.wait_signal`` does."""
    run.issuer.check_writable()
    check_signal(sig)
    mailbox = run.mailbox
    value: T
    taken = mailbox.take(sig)
    if taken is not None:
        value = taken[0]
        return value
    late = SignalTimeoutError(f"no signal {sig.name!r} came in time", signal=sig.name)
    if timeout is not None and to_us(timeout, "timeout") <= 0:
        raise late
    future = mailbox.wait(sig)
    try:
        if not await in_time(run, future, deadline_of(run, timeout), "signal"):
            raise late
    except asyncio.CancelledError:
        mailbox.put_back(future)
        raise
    value = mailbox.accept_signal(future)
    return value


async def until_condition(run: Replayer, predicate: Callable[[], object], timeout: Duration | None) -> None:
    """What ``ctx.wait_condition`` does."""
    run.issuer.check_writable()
    if not callable(predicate) or inspect.iscoroutinefunction(predicate):
        raise DefinitionError(
            f"expected a condition to be a plain function that is called again and again, got {predicate!r}"
            f"{asked_at()}; write: await ctx.wait_condition(lambda: ...)"
        )
    with run.issuer.read_only("a condition"):
        holds = predicate()
    if holds:
        return
    late = ConditionTimeoutError("the condition did not become true in time")
    if timeout is not None and to_us(timeout, "timeout") <= 0:
        raise late
    future: asyncio.Future[None] = run.loop.create_future()
    run.mailbox.conditions.append((predicate, future))
    if not await in_time(run, future, deadline_of(run, timeout), "condition"):
        raise late
    future.result()
