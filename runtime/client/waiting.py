"""Waiting for what a store will say: one listener for any number of callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.store.protocol import Store
from runtime.store.row import Change

T = TypeVar("T")


class ChangeWatch:
    """Wakes callers when a change may concern them; each looks for itself whether it does."""

    def __init__(self, store: Store) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[Change], bool]] = {}
        self._stop = store.listen(self._changed)

    def close(self) -> None:
        """Stop listening; idempotent."""
        self._stop()

    def _changed(self, change: Change) -> None:
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
