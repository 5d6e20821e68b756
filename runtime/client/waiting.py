"""Waiting for what a store will say: one listener for any number of callers.

Most callers wait for runs to end, and there may be thousands of them: they are found by the run's id, and where the
store tells how a run ended, they need not look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from durable.duration import MICROSECONDS, Duration, format_duration, to_us
from runtime.store.change import Change, Ending
from runtime.store.protocol import Store

T = TypeVar("T")


class ChangeWatch:
    """Wakes callers when a change may concern them; each looks for itself whether it does."""

    def __init__(self, store: Store) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[Change], bool]] = {}
        self._ending: dict[str, set[asyncio.Future[Ending | None]]] = {}
        self._stop = store.listen(self._changed)

    def close(self) -> None:
        """Stop listening; idempotent."""
        self._stop()

    def _changed(self, change: Change) -> None:
        if self._ending and change.closed != frozenset():
            for run_id in list(self._ending) if change.closed is None else change.closed:
                for ended in self._ending.get(run_id, ()):
                    if not ended.done():
                        ended.set_result(change.endings.get(run_id))
        for future, concerns in list(self._waiting.items()):
            if not future.done() and concerns(change):
                future.set_result(None)

    async def until(self, look: Callable[[], Awaitable[T | None]], concerns: Callable[[Change], bool]) -> T:
        """Return what ``look`` finds as soon as it is not None; it is called again after every change that concerns it."""
        loop = asyncio.get_running_loop()
        while True:
            future: asyncio.Future[None] = loop.create_future()
            self._waiting[future] = concerns
            try:
                found = await look()
                if found is not None:
                    return found
                await future
            finally:
                del self._waiting[future]

    async def until_ended(self, run_id: str, look: Callable[[], Awaitable[Ending | None]]) -> Ending:
        """Return how a run ended, as ``look`` finds it or as the store tells."""
        loop = asyncio.get_running_loop()
        while True:
            ended: asyncio.Future[Ending | None] = loop.create_future()
            waiting = self._ending.setdefault(run_id, set())
            waiting.add(ended)
            try:
                ending = await look() or await ended
                if ending is not None:
                    return ending
            finally:
                waiting.discard(ended)
                if not waiting:
                    self._ending.pop(run_id, None)


async def in_time(waiting: Awaitable[T], timeout: Duration | None, late: Callable[[], Awaitable[TimeoutError]]) -> T:
    """Wait for something, but not for longer than ``timeout``; then what ``late`` returns is raised."""
    if timeout is None:
        return await waiting
    try:
        async with asyncio.timeout(to_us(timeout, "timeout") / MICROSECONDS) as limit:
            return await waiting
    except TimeoutError:
        if not limit.expired():
            raise
    raise await late()


def in_words(timeout: Duration | None) -> str:
    """A time limit for people."""
    return "" if timeout is None else format_duration(to_us(timeout, "timeout"))


def closed(change: Change, run_id: str) -> bool:
    """Whether the run may have ended."""
    return change.closed is None or run_id in change.closed


def moved(change: Change, run_id: str) -> bool:
    """Whether anything of the run that callers look at may have changed."""
    return change.wrote is None or run_id in change.wrote or closed(change, run_id)
