"""Threads for synchronous steps.

Unlike those of ``concurrent.futures`` they are daemons: a step that does not come back cannot be stopped, and must not
keep a worker that was told to stop from ending its process.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_Call = tuple["asyncio.Future[Any]", Callable[[], Any]]


class StepThreads:
    """A pool that grows to its limit as it is needed.

    Args:
        limit: threads at once; further calls wait for one of them.
        loop: on which the callers are.
    """

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self._limit = limit
        self._loop = loop
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._names = (f"durable-step-{number}" for number in itertools.count(1))
        self._count = 0

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a call in a thread. Cancelling the future forgets a call that has not begun, and the result of one that has."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.put((future, call))
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._work, name=next(self._names), daemon=True).start()
        return future

    def close(self) -> None:
        """Let the threads end that have nothing to do; the others end after their call."""
        for _ in range(self._count):
            self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            result, error = None, None
            if not future.cancelled():
                try:
                    result = call()
                except BaseException as raised:  # noqa: BLE001 - it is the caller's
                    error = raised
            try:
                self._loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the event loop is closed, so nobody waits
                return
            del item, future, call, result, error  # nothing is kept alive by a thread that waits
            self._idle.release()


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future cannot hold one; a coroutine that raises one does the same
        stopped = RuntimeError("the step raised StopIteration")
        stopped.__cause__ = error
        error = stopped
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
