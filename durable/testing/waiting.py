"""Waiting in virtual time: whoever waits drives the clock while nothing else can happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

from durable.testing.failure import IdleError

if TYPE_CHECKING:
    from durable.testing.fulfiller import Fulfiller

T = TypeVar("T")

_ROUNDS: Final = 20
"""How often the test's other tasks get a turn before time is skipped, so that what they are about to do comes first."""


class Waiting:
    """The waiting of an environment's callers.

    Attributes:
        is_frozen: time is not skipped; only ``advance`` moves it.
    """

    def __init__(self, fulfiller: Fulfiller) -> None:
        self._host = fulfiller
        self._tasks: WeakSet[asyncio.Task[object]] = WeakSet()
        self.is_frozen = False

    async def until(self, look: Callable[[], T | None], instead: Callable[[], str]) -> T:
        """Return what ``look`` finds as soon as it is not None, skipping time while nothing else can happen.

        Args:
            look: called after every change.
            instead: what the run does instead, for the message.

        Raises:
            IdleError: it will never be.
            AssertionError, DurableError: the test cannot go on; the harness or the run says why.
        """
        __tracebackhide__ = True
        self.note_task()
        while True:
            found = look()
            if found is not None:
                return found
            self.check()
            if not self._host.is_idle:
                await self._host.change()
            elif await self._others_act():
                continue
            elif self.is_frozen or self._host.clock.next_us() is None:
                raise IdleError(f"this will never be: {instead()}{self._next()}")
            else:
                self._host.clock.ring_next()

    async def until_idle(self) -> None:
        """Wait until nothing can happen without time or the test."""
        self.note_task()
        while not self._host.is_idle or await self._others_act():
            self.check()
            if not self._host.is_idle:
                await self._host.change()
        self.check()

    async def advance_to(self, at_us: int) -> None:
        """Move time to an instant; what is due on the way happens in order. Real steps that run then are not waited for."""
        self.note_task()
        clock = self._host.clock
        await self._settle()
        while (next_us := clock.next_us()) is not None and next_us <= at_us:
            clock.ring_next()
            await self._settle()
        clock.move_to(at_us)
        await self._settle()

    def check(self) -> None:
        """Raise what keeps the test from going on."""
        __tracebackhide__ = True
        problem, self._host.problem = self._host.problem, None
        if problem is not None:
            raise problem

    async def _settle(self) -> None:
        """Let turns happen; real steps get a chance to begin and to end, and are not waited for."""
        rounds = 0
        while not self._host.is_settled or (self._host.steps.live and rounds < _ROUNDS):
            self.check()
            rounds += 1
            if self._host.steps.live:
                await asyncio.sleep(0)
            else:
                await self._host.change()
        self.check()

    async def _others_act(self) -> bool:
        """Whether another task of the test changed something, given the chance."""
        if len(self._tasks) < 2:
            return False
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
            if not self._host.is_idle:
                return True
        return False

    def note_task(self) -> None:
        """Remember the task that asks: with several, none of them skips time before the others had their turn."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)

    def _next(self) -> str:
        if not self.is_frozen:
            return ""
        next_us = self._host.clock.next_us()
        if next_us is None:
            return ""
        seconds = (next_us - self._host.clock.now_us()) / 1_000_000
        return f"\ntime is frozen; the next thing happens after: await env.advance({seconds!r})"
