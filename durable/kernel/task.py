"""Tasks and futures of a kernel loop, and how a coroutine that will not be run again is closed.

The stock C classes, with a hash of our own (L3): asyncio and anyio keep tasks in sets, and sets of what is
hashed by its address iterate differently in every process. The hash is the number of creation; above 40 bits
it has the run's salt, because asyncio keeps the tasks of all loops in one global set, where the equal hashes
of thousands of runs would collide.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task, _unregister_task
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, TypeVar

T = TypeVar("T")

MAX_CLOSES: Final = 5
"""How often a coroutine is asked to close; each ``await`` in a ``finally`` takes one more (L7)."""

MAX_CLOSES_IN_ALL: Final = 100
"""How often the coroutines of one task are, whatever new ones they wait for meanwhile."""

unclosable: list[Any] = []
"""What refused. Letting go of it would run its code once more, at a time that nobody chose."""


class KernelFuture(asyncio.Future[T]):
    """A future that is hashed by its number of creation."""

    __slots__ = ("order",)
    order: int

    def __hash__(self) -> int:
        return self.order


class KernelTask(asyncio.Task[T]):
    """A task that is hashed by its number of creation.

    Attributes:
        order: the hash.
        context: the variables of its code.
    """

    __slots__ = ("context", "order")
    order: int
    context: Context

    def __hash__(self) -> int:
        return self.order


def close_task(loop: asyncio.AbstractEventLoop, task: KernelTask[Any]) -> bool:
    """Close the coroutine of a task that is not done and will not be run again, and say whether it obeyed.

    It is closed as though the task ran, so that it finds its scopes and variables. Nobody hears what it
    raises. Python closes what a coroutine waits for as well, but drops it where that waits once more in a
    ``finally``, and the garbage collector would run the rest; so the innermost coroutine is closed first.
    """
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    _unregister_task(task)  # it will never be done, and from 3.14 on asyncio lists it for as long as it lives
    coro: Any = task.get_coro()
    closes: dict[Any, int] = {}
    for _ in range(MAX_CLOSES_IN_ALL):
        innermost = _innermost(coro)
        closes[innermost] = times = closes.get(innermost, 0) + 1
        if times > MAX_CLOSES:
            break
        _enter_task(loop, task)
        try:
            with suppress(BaseException):
                task.context.run(innermost.close)
        finally:
            _leave_task(loop, task)
        # What is no native coroutine has no frame to look at, and is believed.
        if getattr(coro, "cr_frame", None) is None:
            return True
    unclosable.append(coro)
    return False


def _innermost(coro: Any) -> Any:
    """The coroutine that a coroutine waits for in the end; itself, if it waits for none that can still run."""
    while True:
        inner = getattr(coro, "cr_await", None)
        if getattr(inner, "cr_frame", None) is None:
            return coro
        coro = inner
