"""A kernel loop and a host for it, in which time passes when nothing else can happen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from durable.kernel.loop import KernelLoop, KernelTask


class SimulatedRun:
    """The least that a replayer does: timers are numbered commands, and due ones fire as one batch.

    Attributes:
        commands: ("start", number, delay_us) and ("cancel", number), in order of issue.
        failures: what failed in callbacks.
    """

    def __init__(self, salt: int = 0) -> None:
        self.loop = KernelLoop(self, salt)
        self.commands: list[tuple[Any, ...]] = []
        self.failures: list[dict[str, Any]] = []
        self._number = 0
        self._due: dict[int, int] = {}

    def start_timer(self, delay_us: int) -> int:
        self._number += 1
        self.commands.append(("start", self._number, delay_us))
        self._due[self._number] = self.loop.elapsed_us + delay_us
        return self._number

    def cancel_timer(self, number: int) -> None:
        self.commands.append(("cancel", number))
        del self._due[number]

    def callback_failed(self, context: dict[str, Any]) -> None:
        self.failures.append(context)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> KernelTask[Any]:
        with self.loop.activate():
            return self.loop.spawn(coro)

    def drain(self) -> None:
        """Run one batch without events."""
        with self.loop.activate():
            self.loop.drain()

    def skip(self) -> None:
        """Let time pass until the next timers are due, and run them as one batch."""
        assert self._due, "nothing is left that could happen"
        self.loop.elapsed_us = deadline = min(self._due.values())
        for number in sorted(number for number, due in self._due.items() if due == deadline):
            del self._due[number]
            self.loop.fire_timer(number)
        self.drain()

    def settle(self, *tasks: asyncio.Future[Any]) -> None:
        """Drain, and let time pass until these are done."""
        self.drain()
        while not all(task.done() for task in tasks):
            self.skip()

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end and return its result."""
        task = self.spawn(coro)
        self.settle(task)
        return task.result()


def run(coro: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a loop of its own; nothing may fail beside it."""
    simulated = SimulatedRun()
    result = simulated.run(coro)
    assert not simulated.failures
    assert not simulated.loop.complaints
    assert simulated.loop.evict() == 0
    return result
