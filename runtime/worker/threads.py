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

from durable.attempt import StoppedError

_Call = tuple["asyncio.Future[Any]", Callable[[], Any], Callable[[], None]]


class ThreadSlot:
    """Room for one attempt. It is taken for as long as the attempt has it, or a thread is busy with what the attempt left behind."""

    def __init__(self, threads: StepThreads) -> None:
        self._threads = threads
        self._users = 1

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a call in a thread. Cancelling the future forgets a call that has not begun, and the result of one that has."""
        self._users += 1
        return self._threads.submit(call, self.release)

    def release(self) -> None:
        """The attempt, or its call, is over."""
        self._users -= 1
        if self._users == 0:
            self._threads.free.release()


class StepThreads:
    """A pool that grows to its limit as it is needed.

    Attributes:
        free: counts the threads that no attempt has.

    Args:
        limit: threads at once; further attempts wait for one of them.
        loop: on which the callers are.
    """

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self.free = asyncio.Semaphore(limit)
        self._limit = limit
        self._loop = loop
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._names = (f"durable-step-{number}" for number in itertools.count(1))
        self._count = 0

    async def slot(self) -> ThreadSlot:
        """Wait for a thread."""
        await self.free.acquire()
        return ThreadSlot(self)

    def submit(self, call: Callable[[], Any], then: Callable[[], None]) -> asyncio.Future[Any]:
        """Run a call for a slot, then say so on the event loop."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._calls.put((future, call, then))
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
            future, call, then = item
            result, error = None, None
            if not future.cancelled():
                try:
                    result = call()
                except BaseException as raised:  # noqa: BLE001 - it is the caller's
                    error = raised
            try:
                self._loop.call_soon_threadsafe(_settle, future, result, error, then)
            except RuntimeError:  # the event loop is closed, so nobody waits
                return
            del item, future, call, then, result, error  # nothing is kept alive by a thread that waits
            self._idle.release()


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None, then: Callable[[], None]) -> None:
    then()
    if future.done():
        return
    if isinstance(error, StopIteration):
        error = StoppedError(error)
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
