"""The guard: stops clocks, randomness, I/O and threads in workflow code, at the line that reaches for them.

Three senses feed one verdict. Calls made by workflow code itself are seen by ``sys.monitoring`` on the code
objects of workflows (``monitor``), or on Python 3.11 by wrappers in their modules (``wrapper``). Effects at
any depth are seen by an audit hook (``audit``). What the event loop is asked for, it refuses by itself
(``refusal``). The table of what is forbidden is ``rules``; which code is workflow code is in ``watchlist``.

A hit counts only while a kernel loop runs on this thread and outside ``ctx.unguarded()``: steps, other
threads and the worker are never disturbed. It raises ``DeterminismError`` and leaves it in
``loop.violation``, which decides even when workflow code swallows the exception (G1).

No sense sees everything; docs/determinism.md says what gets through, and the linter reads the same table
(G4).
"""

from __future__ import annotations

import opcode
import sys
import threading
from asyncio.events import _get_running_loop
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from durable.errors import DeterminismError
from durable.kernel.audit import find_user_frame, make_hook
from durable.kernel.callee import Callees
from durable.kernel.location import place_of
from durable.kernel.loop import KernelLoop
from durable.kernel.rules import Rule
from durable.kernel.watchlist import Watchlist

if TYPE_CHECKING:
    from durable.kernel.wrapper import Wrapper

_UNPACKED: Final = 255
"""Taken as the number of arguments of a call that unpacks some."""


class Guard:
    """The guard of the process.

    Attributes:
        watchlist: the code of workflows.
        is_settled: nothing is left to install or to look into.
    """

    def __init__(self) -> None:
        self.watchlist = Watchlist()
        self.is_settled = False
        self._lock = threading.Lock()
        self._callees: Callees | None = None
        self._monitor: Any = None
        self._wrapper: Wrapper | None = None
        self._profile: Callable[[FrameType, str, Any], None] | None = None

    def watch(self, function: Callable[..., Any], name: str) -> None:
        """Note a workflow function."""
        with self._lock:
            self.watchlist.add(function, name)
            self.is_settled = False

    def exempt(self, function: Callable[..., Any]) -> None:
        """Leave a step out."""
        with self._lock:
            codes = self.watchlist.exempt(function)
            if codes and self._monitor is not None:
                self._monitor.unwatch(codes)

    def settle(self) -> None:
        """Install the senses if they are not, and extend them to what was noted since."""
        with self._lock:
            if self._callees is None:
                self._callees = callees = Callees()
                self._install_calls(callees)
                sys.addaudithook(make_hook(self.watchlist.files, self.report))
            codes = self.watchlist.collect()
            if self._monitor is not None:
                self._monitor.watch(codes)
            if self._wrapper is not None:
                self._wrapper.wrap(self.watchlist.namespaces.values())
            self.is_settled = self.watchlist.is_complete()

    def _install_calls(self, callees: Callees) -> None:
        if sys.version_info >= (3, 12):
            from durable.kernel import monitor

            tool = monitor.claim_tool()
            if tool is not None:
                self._monitor = monitor.Monitor(tool, callees, self.judge)
                return
        from durable.kernel import wrapper

        codes = self.watchlist.codes
        self._wrapper = wrapper.Wrapper(callees, codes, self.judge)
        self._profile = wrapper.make_profile(callees, codes, self.judge)
        if sys.version_info < (3, 12):
            self._wrapper.wrap_thread_start(self.judge)

    def judge(self, called: Any, first: Any, frame: FrameType) -> None:
        """Raise if calling ``called`` in ``frame`` is forbidden now.

        Raises:
            DeterminismError: the author's code calls what only steps may call.
        """
        loop = _get_running_loop()
        if not isinstance(loop, KernelLoop) or loop.unguarded:
            return
        assert self._callees is not None
        rule = self._callees.judge(called, first, lambda: _argument_count(frame))
        if rule is None:
            return
        found = find_user_frame(frame, self.watchlist.files)
        if found is not None:
            raise self.report(loop, rule, found, "")

    def report(self, loop: KernelLoop, rule: Rule, frame: FrameType, argument: str) -> DeterminismError:
        """Leave the violation in the loop, if it is the first, and return the error to raise."""
        name = self._workflow_of(frame)
        who = f"workflow {name!r}" if name else "workflow code"
        call = f"{rule.call}({argument})"
        where = place_of(frame)
        error = DeterminismError(
            f"{who} called {call} at {where}: {rule.reason}; {rule.remedy}",
            workflow=name,
            operation=call,
            where=where,
            remedy=rule.remedy,
        )
        if loop.violation is None:
            loop.violation = error
        return error

    def _workflow_of(self, frame: FrameType | None) -> str | None:
        names = self.watchlist.names
        while frame is not None:
            name = names.get(id(frame.f_code))
            if name is not None:
                return name
            frame = frame.f_back
        return None

    def set_profile(self, *, on: bool) -> None:
        """Switch the profile function of this thread, where there is one."""
        profile = self._profile
        if profile is None:
            return
        current = sys.getprofile()
        if on and current is None:
            sys.setprofile(profile)
        elif not on and current is profile:
            sys.setprofile(None)


def _argument_count(frame: FrameType) -> int:
    """The number of arguments of the call that ``frame`` is at."""
    code: CodeType = frame.f_code
    operation, count = code.co_code[frame.f_lasti : frame.f_lasti + 2]
    return _UNPACKED if opcode.opname[operation] == "CALL_FUNCTION_EX" else count


_guard: Final = Guard()


def watch(function: Callable[..., Any], name: str | None = None) -> None:
    """Note a workflow function when it is defined; its module is looked into at the first activation.

    Args:
        function: the workflow function.
        name: the name of the workflow, where it is not the function's.
    """
    _guard.watch(function, name or str(getattr(function, "__name__", function)))


def exempt(function: Callable[..., Any]) -> None:
    """Leave a step's function out, also where a workflow's code mentions it."""
    _guard.exempt(function)


def install() -> None:
    """Install the guard in this process; to be called at every activation, and free when nothing is new."""
    if not _guard.is_settled:
        _guard.settle()


def profile_everything(on: bool) -> None:
    """Switch the profile function of this thread on or off; a test harness does so around each activation.

    It sees the calls that wrappers cannot, ``datetime.now`` above all, and matters only on Python 3.11. The
    interpreter switches it off when it raises. A profiler that is active already is left alone.
    """
    _guard.set_profile(on=on)
