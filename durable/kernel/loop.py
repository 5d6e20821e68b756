"""The deterministic event loop: asyncio with neither selector nor clock, for asyncio and anyio in workflows.

A loop belongs to one run in memory. The replayer sets the time, applies a batch of events, which makes
callbacks ready, and drains the loop: callbacks run first in, first out until none is left. Nothing else ever
runs in it, so the order of everything is a function of the order of events.

Draining belongs into a plain callback of the outer loop (L2). The kernel's loop is the running one of its
thread between ``enter`` and ``leave`` only, and with it its hooks for asynchronous generators.

Tasks and generators are held strongly, because the garbage collector comes when it likes. An abandoned
generator is closed when the run ends, not when its last reference goes; whoever needs it earlier has
``aclosing``.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, Final, NoReturn, Protocol, TypeVar, TypeVarTuple

from durable.errors import DeterminismError, ReadOnlyError
from durable.kernel import compat
from durable.kernel.callback import NEVER_US, Handle, TimerHandle, describe, microseconds
from durable.kernel.generator import Generators, close_generator, leave_alone
from durable.kernel.refusal import EAGER, ClosedOutside
from durable.kernel.task import KernelFuture, KernelTask, close_task

if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task  # type: ignore[attr-defined]

__all__ = ["DISCARDING", "KernelFuture", "KernelLoop", "KernelTask", "LoopHost"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

DISCARDING: Final = (SystemExit, KeyboardInterrupt, RecursionError, MemoryError, DeterminismError)
"""What ends the activation and not the run (L8)."""

_COLLECTED: Final = ("was never retrieved", "was destroyed but it is pending!")
"""How the complaints end that asyncio makes when the garbage collector finds something."""


class _Halt(BaseException):
    """Raised in a callback of the kernel's own to end the drain."""


def _halt() -> None:
    raise _Halt


class LoopHost(Protocol):
    """The replayer's side of a loop: it turns timers into commands."""

    def start_timer(self, delay_us: int) -> int:
        """Issue the command that starts a timer, and return its number, which is not 0."""

    def cancel_timer(self, number: int) -> None:
        """Issue the command that cancels a timer."""

    def callback_failed(self, context: dict[str, Any]) -> None:
        """Hear of an exception in a callback, which fails the run (L8)."""


class KernelLoop(ClosedOutside):
    """The event loop of one run in memory.

    Args:
        host: where timers become commands.
        salt: of the run, under 2**20. It may be set later, before the first task.
        workflow: name of the workflow, for messages.

    Attributes:
        elapsed_us: the time since the start of the run; set before a drain, still during it (K8).
        salt: of the run.
        closing: coroutines are being closed, or have been for good: timers are not started.
        unguarded: how deep the code is inside ``ctx.unguarded()``.
        read_only: who must not change the run at the moment: a query, a validator, a condition (K4).
        tainted: somebody tried, and something may have changed before it was refused; evict and replay.
        streaks: how often in a row a callback has put itself into the queue in this drain (L5).
        complaints: what asyncio would log, like exceptions that nobody retrieved, as (message, exception).
    """

    def __init__(self, host: LoopHost, salt: int, workflow: str = "") -> None:
        compat.install()
        self.workflow = workflow
        self.elapsed_us = 0
        self.salt = salt
        self.closing = False
        self.violation = None
        self.unguarded = 0
        self.read_only: str | None = None
        self.tainted = False
        self.streaks: dict[object, int] = {}
        self.complaints: list[tuple[str, BaseException | None]] = []
        self._host = host
        self._ready: deque[Handle] = deque()
        self._parked: list[Handle] = []
        self._timers: dict[int, TimerHandle] = {}
        self._reached = 0.0
        self._created = 0
        self._tasks: dict[int, KernelTask[Any]] = {}
        self._generators = Generators()
        self._outer: list[tuple[Any, Any, Any]] = []
        self._own_context = Context()
        self._exception_handler: ExceptionHandler | None = None

    # -- being the running loop ---------------------------------------------------------------------------

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Return a context manager inside which this is the running loop of the thread."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Become the running loop of this thread; calls may nest."""
        outer = _get_running_loop()
        task = None
        if sys.version_info >= (3, 12) and outer is not None and asyncio.current_task(outer) is not None:
            # From 3.14 on there is one current task a thread, not one a loop.
            task = _swap_current_task(outer, None)
        self._outer.append((outer, task, sys.get_asyncgen_hooks()))
        _set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=self._generators.hold, finalizer=leave_alone)

    def leave(self) -> None:
        """Make the loop that was running before the running one again."""
        outer, task, hooks = self._outer.pop()
        _set_running_loop(outer)
        sys.set_asyncgen_hooks(*hooks)
        if sys.version_info >= (3, 12) and task is not None:
            _swap_current_task(outer, task)

    def drain(self) -> None:
        """Run ready callbacks, first in, first out, until none is left.

        Raises:
            SystemExit, KeyboardInterrupt, RecursionError, MemoryError, DeterminismError: the code raised one
                and did not handle it, or was refused something. The activation must be discarded (L8).
        """
        if self.streaks:
            self._unpark()
        ready = self._ready
        popleft = ready.popleft
        while ready and self.violation is None:
            handle = popleft()
            callback = handle.callback
            if callback is None:
                continue
            try:
                handle.context.run(callback, *handle.args)
            except DISCARDING:
                raise
            except _Halt:
                ready.clear()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the handler decides
                message = f"exception in the loop callback {describe(callback)}"
                self.call_exception_handler({"message": message, "exception": error, "handle": handle})
        if self.violation is not None:
            raise self.violation

    def halt(self) -> None:
        """End this drain with the callback that runs now; what is ready is never run."""
        self._ready.appendleft(Handle(_halt, (), self._own_context))

    def is_running(self) -> bool:
        """Tell whether this is the running loop of this thread."""
        return _get_running_loop() is self

    def is_closed(self) -> bool:
        """Tell whether the run has been evicted."""
        return self.closing

    # -- callbacks and timers -----------------------------------------------------------------------------

    def time(self) -> float:
        """Return the time since the start of the run, in seconds; it stands still during a drain.

        It is the deadline of the timer that has just fired where floats make a difference of the two:
        anyio, for one, would find that it has woken too early.
        """
        return max(self.elapsed_us / 1e6, self._reached)

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> Any:
        """Put a callback at the end of the queue."""
        if self.read_only is not None:
            self._refuse_change("a callback")
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def park(self, callback: Callable[..., object], *args: Any) -> None:
        """Put a callback at the head of the queue of the next drain (L5)."""
        self._parked.append(Handle(callback, args, copy_context()))

    def _unpark(self) -> None:
        self.streaks.clear()
        self._ready.extendleft(reversed(self._parked))
        self._parked.clear()

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        """Put a callback into the queue once a durable timer fires; at once if no seconds are to pass."""
        return self._call_in(microseconds(delay), self.time() + delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:
        """Put a callback into the queue once ``time()`` is ``when``; at once if that is not in the future."""
        return self._call_in(microseconds(when) - self.elapsed_us, when, callback, args, context)

    def _call_in(
        self,
        delay_us: int,
        deadline: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> TimerHandle:
        if self.read_only is not None:
            self._refuse_change("a timer")
        context = copy_context() if context is None else context
        handle = TimerHandle(callback, args, context, self, deadline)
        if delay_us <= 0:
            self._reach(handle)
        elif delay_us < NEVER_US and not self.closing:
            handle.number = number = self._host.start_timer(delay_us)
            self._timers[number] = handle
        return handle

    def fire_timer(self, number: int) -> None:
        """Put the callback of a started timer at the end of the queue."""
        handle = self._timers.pop(number)
        handle.number = 0
        self._reach(handle)

    def _reach(self, handle: TimerHandle) -> None:
        self._ready.append(handle)
        self._reached = max(self._reached, handle.deadline)

    def timer_cancelled(self, number: int) -> None:
        """Cancel a timer that its handle no longer wants; one of dying code stays, and fires for nobody."""
        if not self.closing:
            del self._timers[number]
            self._host.cancel_timer(number)

    # -- tasks, futures, generators -----------------------------------------------------------------------

    def next_order(self) -> int:
        """Return the hash for what is created next (L3)."""
        self._created = created = self._created + 1
        return created | self.salt << 40

    def create_future(self) -> KernelFuture[Any]:
        """Create a future that belongs to this loop."""
        if self.read_only is not None:
            self._refuse_change("a future")
        future: KernelFuture[Any] = KernelFuture.__new__(KernelFuture)
        future.order = self.next_order()
        asyncio.Future.__init__(future, loop=self)
        return future

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> KernelTask[Any]:
        """Start a task. It takes its first step when the queue comes to it, never at once."""
        if self.read_only is not None or eager_start:
            coro.close()
            if eager_start:
                raise self.refuse("create_task(eager_start=True)", EAGER)
            self._refuse_change("a task")
        self._created = created = self._created + 1
        if name is None:
            name = f"Task-{created}"
        # The hash must be there before asyncio files the new task in its global set.
        task: KernelTask[Any] = KernelTask.__new__(KernelTask)
        task.order = order = created | self.salt << 40
        task.context = context = copy_context() if context is None else context
        asyncio.Task.__init__(task, coro, loop=self, name=name, context=context)  # type: ignore[arg-type]
        self._tasks[order] = task
        task.add_done_callback(self._task_done, context=self._own_context)
        return task

    def spawn(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> KernelTask[T]:
        """Start a task from outside the workflow's code: in an empty context, not the worker's (L2)."""
        return self.create_task(coro, name=name, context=Context() if context is None else context)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if self._tasks.pop(hash(task), None) is None:
            # It was closed; a wakeup that was under way found its coroutine gone, which is nobody's failure.
            task._log_traceback = False
        elif isinstance(error := task._exception, DISCARDING):
            raise error

    def pending_tasks(self) -> list[KernelTask[Any]]:
        """Return the tasks that are not done, oldest first."""
        return [task for task in self._tasks.values() if not task.done()]

    def holds_generators(self) -> bool:
        """Tell whether generators were begun and left."""
        return any(generator.ag_frame is not None for generator in self._generators)

    async def shutdown_asyncgens(self) -> None:
        """Close the generators that were begun and left, newest first: the last that a run's tasks do."""
        while (generator := self._generators.take()) is not None:
            try:
                await generator.aclose()
            except Exception as error:  # noqa: BLE001 - one that fails must not keep the others open
                message = f"exception in closing the generator {generator.__qualname__}"
                self.call_exception_handler({"message": message, "exception": error, "asyncgen": generator})

    # -- ends ---------------------------------------------------------------------------------------------

    def evict(self) -> int:
        """Close every coroutine, newest first, then every generator. The loop is of no use afterwards.

        Whatever the dying code raises or schedules is lost with it. Its commands are the host's to refuse, by
        an ``await`` that never ends: an exception would keep a loop that swallows everything going for ever.

        Returns:
            How many refused to close (L7). They are never run again.
        """
        self.closing = True
        refused = self.close_tasks()
        self.enter()
        try:
            while (generator := self._generators.take()) is not None:
                refused += not self._own_context.run(close_generator, generator)
        finally:
            self.leave()
            self._ready.clear()
            self._parked.clear()
            self._timers.clear()
        return refused

    def close_tasks(self, keep: Collection[asyncio.Task[Any]] = ()) -> int:
        """Close the coroutines of all tasks but these, newest first, and those that they start meanwhile.

        Returns:
            How many refused to close. They are never run again.
        """
        refused = 0
        closing, self.closing = self.closing, True
        read_only, self.read_only = self.read_only, None
        self.enter()
        try:
            while leaving := [task for task in self.pending_tasks() if task not in keep]:
                for task in reversed(leaving):
                    del self._tasks[task.order]
                    refused += not close_task(self, task)
        finally:
            self.leave()
            self.closing = closing
            self.read_only = read_only
        return refused

    # -- failures -----------------------------------------------------------------------------------------

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Handle what has nowhere to be raised: by the workflow's own handler, or the default one.

        What the garbage collector found goes to neither. It would come at another time in each process.
        """
        message = str(context.get("message", ""))
        if self.closing:
            return
        if message.endswith(_COLLECTED) or not self.is_running():
            self.complaints.append((message, context.get("exception")))
        elif self._exception_handler is None:
            self.default_exception_handler(context)
        else:
            try:
                self._exception_handler(self, context)
            except DISCARDING:
                raise
            except BaseException as error:  # noqa: BLE001 - it fails the run as any callback does
                self._host.callback_failed({"message": "exception in the exception handler", "exception": error})

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Fail the run for an exception in a callback (L8); note everything else."""
        if "handle" in context:
            self._host.callback_failed(context)
        else:
            self.complaints.append((str(context.get("message", "")), context.get("exception")))

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Return the handler that the workflow has set."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Set what is called for exceptions in callbacks, instead of failing the run."""
        self._exception_handler = handler

    def _refuse_change(self, what: str) -> NoReturn:
        self.tainted = True
        raise ReadOnlyError(f"{self.read_only} must not change the run; it asked for {what}")
