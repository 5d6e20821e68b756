"""The few lines that make asyncio and anyio behave in one order and one way inside kernel loops (L3, L4, L5).

Each change looks at the running loop first and leaves every other loop to the stock code. They are made once
a process, when the first kernel loop is created: ``import durable`` changes nothing and imports no anyio, and
no workflow can have run before. anyio imports its asyncio backend when that is first used, which could be
inside a drain; it is imported here, so that there is no moment at which it is loaded and unchanged.

Functions are changed from within: what is replaced is the code object and not the name in the module, because
names are copied. ``from asyncio import as_completed`` stands above ``from durable import workflow`` in every
sorted file.

asyncio
    ``as_completed`` makes a set of coroutines before it makes tasks of them. Here the tasks are made first,
    in the order in which they were given. ``wait_for`` of Python 3.11 swallows a cancellation that comes
    beside a completion; here it is that of 3.12. ``all_tasks`` filters a global set of the tasks of all
    loops; here it is filled in the order of creation. ``run``, ``Runner.run`` and ``new_event_loop``, and anyio's
    ``run``, are refused by name. The future that ``gather`` returns is hashed by number,
    as others are.

anyio
    Child scopes are kept in a set, so scopes are hashed by number. Cancellation is delivered again and again,
    by a callback that puts itself into the queue until its scope is left; a scope that waits for shielded
    work, outside of anyio's own shields, would keep the drain from ever ending. After a streak of deliveries
    in one drain the callback is parked until the next. The message of a cancellation names its scope by
    number, not by address. Threads are refused: anyio starts them behind the loop's back.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from asyncio import CancelledError, events, runners, tasks, timeouts
from asyncio.events import _get_running_loop
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

from durable.kernel.refusal import NESTED, THREAD, ClosedOutside, close_coroutines

if TYPE_CHECKING:
    from durable.kernel.loop import KernelLoop

MAX_STREAK: Final = 50
"""How often in a row one scope's cancellation is delivered in one drain."""

_stock: dict[str, Any] = {}
"""What was replaced, by name."""

_changed = threading.Event()
_lock = threading.Lock()


def install() -> None:
    """Make the changes, unless they have been made."""
    if _changed.is_set():
        return
    with _lock:
        if not _changed.is_set():
            _change_asyncio()
            _change_anyio()
            _changed.set()


def _kernel_loop() -> KernelLoop | None:
    loop = _get_running_loop()
    return cast("KernelLoop", loop) if isinstance(loop, ClosedOutside) else None


# -- hashes -----------------------------------------------------------------------------------------------


class _Ordered(weakref.ref[Any]):
    """Something that has been given a number for its hash."""

    __slots__ = ("key", "order")
    key: int
    order: int


_ordered: dict[int, _Ordered] = {}
"""By address. The classes have no room for an attribute of ours."""


def _forget(ordered: _Ordered) -> None:
    del _ordered[ordered.key]


def _hash(thing: object) -> int:
    """Return the stock hash, but in a kernel loop a number, which is given when it is first asked for."""
    known = _ordered.get(id(thing))
    if known is not None:
        return known.order
    loop = _kernel_loop()
    if loop is None:
        return object.__hash__(thing)
    ordered = _Ordered(thing, _forget)
    ordered.key = key = id(thing)
    ordered.order = order = loop.next_order()
    _ordered[key] = ordered
    return order


# -- asyncio ----------------------------------------------------------------------------------------------


def _change_asyncio() -> None:
    tasks._GatheringFuture.__hash__ = _hash  # type: ignore[attr-defined]
    _graft(tasks.as_completed, _as_completed_body, durable_as_completed)
    if sys.version_info < (3, 12):
        _graft(tasks.wait_for, _wait_for_body, durable_wait_for)
    _graft(runners.run, _run_body, durable_run)
    _graft(runners.Runner.run, _runner_run_body, durable_runner_run)
    _graft(events.new_event_loop, _new_event_loop_body, durable_new_event_loop)
    if isinstance(tasks.all_tasks, FunctionType):  # in C from 3.14 on, and in the order of creation
        _graft(tasks.all_tasks, _all_tasks_body, durable_all_tasks)


def _graft(function: Any, body: Any, replacement: Any, key: str | None = None) -> None:
    """Keep what ``function`` is, and make it run ``body``, which finds ``replacement`` by its name."""
    name = function.__name__
    _stock[key or function.__qualname__] = stock = FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__
    )
    stock.__kwdefaults__ = function.__kwdefaults__
    function.__globals__[replacement.__name__] = replacement
    function.__code__ = body.__code__.replace(co_name=name)


def _as_completed_body(fs: Any, *, timeout: Any = None) -> Any:
    return durable_as_completed(fs, timeout)


def _all_tasks_body(loop: Any = None) -> Any:
    return durable_all_tasks(loop)


async def _wait_for_body(fut: Any, timeout: Any) -> Any:
    return await durable_wait_for(fut, timeout)


def _run_body(main: Any, *, debug: Any = None, **options: Any) -> Any:
    return durable_run(main, debug=debug, **options)


def _runner_run_body(self: Any, coro: Any, *, context: Any = None) -> Any:
    return durable_runner_run(self, coro, context=context)


def _new_event_loop_body() -> Any:
    return durable_new_event_loop()


def durable_run(main: Any, **options: Any) -> Any:
    """Stand in for ``asyncio.run``, which in a workflow would only say that a loop is running."""
    _refuse_nested("asyncio.run()", main)
    return _stock["run"](main, **options)


def durable_runner_run(runner: Any, coro: Any, *, context: Any) -> Any:
    """Stand in for ``asyncio.Runner.run``."""
    _refuse_nested("asyncio.Runner.run()", coro)
    return _stock["Runner.run"](runner, coro, context=context)


def durable_new_event_loop() -> Any:
    """Stand in for ``asyncio.new_event_loop``, which ``asyncio.Runner`` calls too."""
    _refuse_nested("asyncio.new_event_loop()")
    return _stock["new_event_loop"]()


def _refuse_nested(operation: str, *arguments: Any) -> None:
    loop = _kernel_loop()
    if loop is not None:
        close_coroutines(*arguments)
        raise loop.refuse(operation, NESTED)


def durable_as_completed(fs: Any, timeout: float | None) -> Any:
    """Stand in for ``asyncio.as_completed``: the tasks are made in the order of ``fs``."""
    loop = _kernel_loop()
    if loop is not None and not inspect.isawaitable(fs):
        fs = [tasks.ensure_future(each, loop=loop) for each in dict.fromkeys(fs)]
    return _stock["as_completed"](fs, timeout=timeout)


def durable_all_tasks(loop: Any) -> Any:
    """Stand in for ``asyncio.all_tasks``: the set is filled in the order of creation."""
    if loop is None:
        loop = _get_running_loop()
    if isinstance(loop, ClosedOutside):
        return set(cast("KernelLoop", loop).pending_tasks())
    return _stock["all_tasks"](loop)


async def durable_wait_for(fut: Any, timeout: float | None) -> Any:
    """Stand in for ``asyncio.wait_for`` of Python 3.11: the way of Python 3.12."""
    loop = _kernel_loop()
    if loop is None:
        return await _stock["wait_for"](fut, timeout)
    if timeout is not None and timeout <= 0:
        fut = tasks.ensure_future(fut, loop=loop)
        if fut.done():
            return fut.result()
        fut.cancel()
        await tasks.wait([fut])
        try:
            return fut.result()
        except CancelledError as error:
            raise TimeoutError from error
    async with timeouts.timeout(timeout):
        return await fut


# -- anyio ------------------------------------------------------------------------------------------------


def _change_anyio() -> None:
    from anyio._backends._asyncio import AsyncIOBackend, CancelScope
    from anyio._core import _eventloop

    _graft(_eventloop.run, _anyio_run_body, durable_anyio_run, "anyio.run")

    _stock["_deliver_cancellation"] = CancelScope._deliver_cancellation
    _stock["run_sync_in_worker_thread"] = AsyncIOBackend.run_sync_in_worker_thread
    changes: tuple[tuple[type, str, object], ...] = (
        (CancelScope, "__hash__", _hash),
        (CancelScope, "_deliver_cancellation", _deliver_cancellation),
        (AsyncIOBackend, "run_sync_in_worker_thread", staticmethod(_run_sync_in_worker_thread)),
    )
    for owner, name, change in changes:
        setattr(owner, name, change)


def _deliver_cancellation(scope: Any, origin: Any) -> Any:
    deliver = _stock["_deliver_cancellation"]
    loop = _kernel_loop() if origin is scope else None
    if loop is None:
        return deliver(scope, origin)
    streak = loop.streaks.get(scope, 0) + 1
    loop.streaks[scope] = streak
    if streak == 1 and (said := getattr(scope, "_cancel_reason", None)):
        # anyio writes addresses into it, and code can read it. The beginning is how anyio knows its own.
        _, separator, reason = said.partition("; reason: ")
        scope._cancel_reason = f"Cancelled via cancel scope {hash(scope):x}{separator}{reason}"
    if streak > MAX_STREAK:
        loop.park(scope._deliver_cancellation, origin)
        return True
    again = deliver(scope, origin)
    if not again:
        loop.streaks.pop(scope, None)
    return again


def _anyio_run_body(func: Any, *args: Any, backend: Any = "asyncio", backend_options: Any = None) -> Any:
    return durable_anyio_run(func, *args, backend=backend, backend_options=backend_options)


def durable_anyio_run(func: Any, *args: Any, **options: Any) -> Any:
    """Stand in for ``anyio.run``."""
    _refuse_nested("anyio.run()", *args)
    return _stock["anyio.run"](func, *args, **options)


def _run_sync_in_worker_thread(*args: Any, **kwargs: Any) -> Any:
    loop = _kernel_loop()
    if loop is not None:
        raise loop.refuse("anyio.to_thread.run_sync()", THREAD)
    return _stock["run_sync_in_worker_thread"](*args, **kwargs)
