"""The watchdog: finds workflow code that keeps the event loop busy, names the line, and interrupts it (L10).

Workflow code runs on the thread of the event loop, so one endless loop or blocking call stops every run of
the worker. ``Watchdog.run`` marks a drain with one attribute write before and one after, and a daemon thread
looks every eighth of the limit whether the drain that it sees has lasted too long. A drain is known by the
identity of its mark.

**Interrupting.** ``PyThreadState_SetAsyncExc`` leaves an exception for a thread, which raises it at its next
checkpoint: the start of a function, a jump backwards, the end of a call. That ends a loop in Python. A call
into C has no checkpoint: it is reported, and the exception waits for its end. Nothing is sent while the
thread uses no processor time at all, so while it sleeps in C: a pending exception slows every thread down,
and on Python 3.11 it stops those that are traced. While a call holds the GIL even this thread stands still;
it runs again when the call is over, and finds the same line, because the end of a call is where a thread
gives a GIL away that others want.

**Never after the drain.** The exception must not hit the worker's own code. The race is: this thread sees the
drain under way, the drain ends, this thread interrupts. It is closed in the manner of Dekker's algorithm:
this thread *announces* that it may interrupt and then looks whether the drain is under way; the worker's
thread *ends* the drain and then looks for an announcement. Whatever the order, one of them sees the other. If
this thread does, it keeps quiet; if the worker's thread does, it waits for the lock under which this thread
acts, and takes back what is still pending. Between the end of the drain and that look there is no call and no
jump, hence no checkpoint. This is why ``run`` holds both halves in one frame: a method ``leave`` could be
interrupted at its entrance.

**What is hit.** The stack is looked at first, down to the frame of ``run``. A thread that waits for the GIL
stands at a checkpoint and raises right there, so an interrupt that is sent while the author's code is on the
stack lands in it and does not tear the kernel's bookkeeping. Where only the machine's code is found, a moment
later may show the author's (``while True: await asyncio.sleep(0)`` alternates); after a number of looks it is
interrupted all the same.

**What swallows it.** ``except BaseException`` in an endless loop is interrupted again, a limited number of
times, and then reported. The constructor of the exception tells that it was raised at all.

**What is not the drain's fault.** Where this thread itself wakes up too late, either the drain held the GIL,
and then its thread has used processor time, or something else is to blame: another thread, a stopped process,
a suspended machine. In that case the time is forgiven. So is the time for which the thread could have run, but
the system gave no processor to it, as far as the system tells.

However a drain ends once it was found, its run is blocked: ``run`` raises ``BlockedLoopError`` with the line.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from time import monotonic
from types import FrameType
from typing import Any, Final, TypeVar, TypeVarTuple

from durable.errors import BlockedLoopError, DeterminismError
from durable.kernel.location import Owner, owner_of, place_of
from runtime.worker.delay import DelayClock

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

Mark = tuple[str, float]
"""A drain under way: its label and when it began, on the monotonic clock."""

OnBlocked = Callable[[str, str, bool], None]
"""Told of a blocked drain: its label, ``file:line in function``, and whether it was interrupted."""

_LOOKS_PER_LIMIT: Final = 8
_LOOKS_FOR_USER_CODE: Final = 20
_MAX_INTERRUPTS: Final = 10
_FAILURES_TO_REPORT: Final = 2
_SHARE_OF_THE_GUILTY: Final = 1 / 8
"""A thread that held the GIL has used at least this share of the time; the host may be busy, too."""
_RUNTIME: Final = str(PurePath(__file__).parent.parent) + os.sep

_log = logging.getLogger(__name__)


class BlockedLoopInterrupt(DeterminismError):  # noqa: N818 - what went wrong is a BlockedLoopError
    """Raised in the middle of workflow code that keeps the event loop busy.

    It is a ``DeterminismError`` because the kernel discards an activation at once on those.
    """


@dataclass(slots=True)
class _Case:
    """A drain that took too long.

    Attributes:
        mark: the drain.
        where: the line that it was found at.
        raised_before: number of interrupts that the thread had raised when the case was opened.
        sent: number of interrupts sent for it.
        looks: how often its thread was looked at in vain for the author's code.
        failures: how often in a row there was nothing that could be done.
        quiet_until: nothing is done before this instant.
        is_reported: ``on_blocked`` was called.
    """

    mark: Mark
    where: str
    raised_before: int
    sent: int = 0
    looks: int = 0
    failures: int = 0
    quiet_until: float = 0.0
    is_reported: bool = False


class Watchdog:
    """Watches the drains of one thread.

    Args:
        limit_seconds: a drain may take this long.
        on_blocked: told once of every drain that took longer, on the watchdog's thread; it must not wait for
            the watched thread. By default the log is told.
    """

    def __init__(self, limit_seconds: float = 2.0, on_blocked: OnBlocked | None = None) -> None:
        self.limit_seconds = limit_seconds
        self._on_blocked = on_blocked if on_blocked is not None else self._log_blocked
        self._interval = limit_seconds / _LOOKS_PER_LIMIT
        self._mark: Mark | None = None
        self._announced: _Case | None = None
        self._lock = threading.Lock()
        self._case: _Case | None = None
        self._raised = 0
        self._has_run = False
        self._seen: Mark | None = None
        self._forgiven = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._interrupter: _Interrupter | None = None

    def start(self) -> None:
        """Begin to watch the calling thread."""
        if self._thread is not None:
            return
        self._interrupter = _Interrupter(threading.get_ident(), self._count_raised)
        self._stopping.clear()
        clocks = _processor_clock(threading.get_ident()), DelayClock(threading.get_native_id())
        self._thread = threading.Thread(target=self._watch, args=clocks, name="durable-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cease to watch, and wait for the watchdog's thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            thread.join()

    def run(self, label: str, function: Callable[[*Ts], R], *args: *Ts) -> R:
        """Call ``function`` and return its result; not to be nested, and only on the watched thread.

        Args:
            label: the id of the workflow whose drain it is, for messages.
            function: the drain.
            args: its arguments.

        Raises:
            BlockedLoopError: it took longer than the limit, whether it was interrupted, returned or raised.
        """
        mark: Mark | None = None
        try:
            try:
                self._mark = mark = (label, monotonic())
                return function(*args)
            finally:
                self._mark = None
        finally:
            self._mark = None  # again, since the code of a tracer is a checkpoint before the line above
            if self._announced is not None:
                try:
                    case = self._take_back()
                except BlockedLoopInterrupt:  # at most one was pending, and this was it
                    case = self._take_back()
                if case is not None and case.mark is mark:
                    raise self._error(case)

    def _take_back(self) -> _Case | None:
        """Withdraw the announcement and what is pending; nothing new comes, since no drain is under way."""
        assert self._interrupter is not None
        with self._lock:
            self._interrupter.flush()
            case, self._announced = self._announced, None
        return case

    def _error(self, case: _Case) -> BlockedLoopError:
        label, _ = case.mark
        return BlockedLoopError(
            f"workflow {label!r} kept the event loop busy for more than {self.limit_seconds:g} s "
            f"at {case.where}; move the work into a step: await ctx.step(...)",
            label=label,
            where=case.where,
            limit_seconds=self.limit_seconds,
        )

    def _count_raised(self) -> None:
        self._raised += 1

    # -- the watchdog's thread

    def _watch(self, processor_clock: Callable[[], float], delay_clock: Callable[[], float]) -> None:
        pause = self._interval
        looked_at, used_before, delayed_before = monotonic(), processor_clock(), delay_clock()
        while not self._stopping.wait(pause):
            try:
                now, used, delayed = monotonic(), processor_clock(), delay_clock()
            except OSError:  # the watched thread is gone
                return
            late = now - looked_at - pause
            is_guilty = used - used_before >= late * _SHARE_OF_THE_GUILTY
            self._has_run = used != used_before
            forgiven = max(delayed - delayed_before, 0.0 if is_guilty else late)
            looked_at, used_before, delayed_before = now, used, delayed
            self._look(now, forgiven)
            is_hunting = self._case is not None and self._case.looks > 0
            pause = self._interval / _LOOKS_PER_LIMIT if is_hunting else self._interval
        if self._case is not None:
            self._close(self._case)

    def _look(self, now: float, forgiven: float) -> None:
        """Open a case, pursue it, or close it.

        Args:
            now: the time.
            forgiven: how much of the time since the last look is not the drain's fault.
        """
        mark, case = self._mark, self._case
        if case is not None and case.mark is not mark:
            self._close(case)
            case = None
        if case is None and mark is not None and self._age(mark, now, forgiven) > self.limit_seconds:
            case = self._case = self._open(mark)
        if case is not None and now >= case.quiet_until:
            self._pursue(case, now)

    def _age(self, mark: Mark, now: float, forgiven: float) -> float:
        if mark is not self._seen:
            self._seen, self._forgiven = mark, 0.0
        age = now - mark[1]
        self._forgiven += min(forgiven, age)
        return age - self._forgiven

    def _open(self, mark: Mark) -> _Case | None:
        _, where = self._find_code()
        case = _Case(mark, where, self._raised)
        with self._lock:
            self._announced = case  # before the look; one that comes too late is cleared by the next drain's end
            return case if self._mark is mark else None

    def _pursue(self, case: _Case, now: float) -> None:
        is_pending = self._raised - case.raised_before < case.sent
        if is_pending or not self._has_run or case.sent >= _MAX_INTERRUPTS:
            case.failures += 1
            if case.failures >= _FAILURES_TO_REPORT:
                self._report(case, interrupted=False)
            return
        case.failures = 0
        is_user_code, where = self._find_code()
        if not is_user_code and case.looks < _LOOKS_FOR_USER_CODE:
            case.looks += 1
            return
        if is_user_code and not case.sent:
            case.where = where
        case.looks = 0
        case.quiet_until = now + self._interval
        self._interrupt(case)

    def _interrupt(self, case: _Case) -> None:
        assert self._interrupter is not None
        with self._lock:
            if self._mark is case.mark:
                self._interrupter.send()
                case.sent += 1

    def _close(self, case: _Case) -> None:
        self._case = None
        self._report(case, interrupted=self._raised > case.raised_before)

    def _report(self, case: _Case, *, interrupted: bool) -> None:
        if case.is_reported:
            return
        case.is_reported = True
        try:
            self._on_blocked(case.mark[0], case.where, interrupted)
        except Exception:  # noqa: BLE001 - the watch goes on, whatever somebody else's code raises
            _log.exception("the callback of the watchdog failed")

    def _log_blocked(self, label: str, where: str, interrupted: bool) -> None:
        how = "interrupted" if interrupted else "not interrupted (a call into C, or code that swallows everything)"
        _log.error("workflow %r blocked the event loop at %s: %s", label, where, how)

    def _find_code(self) -> tuple[bool, str]:
        """Tell whether the author's code is on the watched stack, and where it, or else the innermost, is."""
        assert self._interrupter is not None
        innermost = frame = sys._current_frames().get(self._interrupter.thread_id)
        while frame is not None and frame.f_code is not _RUN_CODE:
            filename = frame.f_code.co_filename
            if owner_of(filename) is Owner.USER and not filename.startswith(_RUNTIME):
                return True, _where(frame)
            frame = frame.f_back
        return False, "" if innermost is None else _where(innermost)


_RUN_CODE: Final = Watchdog.run.__code__


class _Interrupter:
    """Sends exceptions to a thread.

    Args:
        thread_id: the thread.
        on_raise: called on that thread when it raises one.
    """

    def __init__(self, thread_id: int, on_raise: Callable[[], None]) -> None:
        import ctypes

        class Interrupt(BlockedLoopInterrupt):
            def __init__(self) -> None:
                on_raise()
                super().__init__("the watchdog interrupted workflow code")

        self.thread_id = thread_id
        self._class = Interrupt
        self._set: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
        self._set.argtypes = (ctypes.c_ulong, ctypes.c_void_p)

    def send(self) -> None:
        """Have the thread raise at its next checkpoint."""
        self._set(self.thread_id, id(self._class))

    def flush(self) -> None:
        """Called by the thread itself: raise and catch here what it has not raised yet.

        Setting no exception would forget it as well, but Python 3.11 and 3.12 would then believe for ever
        that one is pending, and every checkpoint of the process would take the slow way. So one is sent, in
        place of any other.
        """
        try:
            _checkpoint(self._set(self.thread_id, id(BlockedLoopInterrupt)))
        except BlockedLoopInterrupt:
            return


def _checkpoint(_: object) -> None:
    """Do nothing; the end of the call that makes the argument is a checkpoint, and this entrance is another."""


def _processor_clock(thread_id: int) -> Callable[[], float]:
    """Return a clock of the processor time of a thread; where the system has none, of the process."""
    clock_id_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_id_of is None:
        return time.process_time
    clock_id = clock_id_of(thread_id)
    return lambda: time.clock_gettime(clock_id)


def _where(frame: FrameType) -> str:
    return f"{place_of(frame)} in {frame.f_code.co_qualname}"
