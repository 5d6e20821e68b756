"""Calls of workflow code, seen through ``sys.monitoring`` (Python 3.12 and later).

CALL events are switched on for the code objects of workflows and for no others, so nothing else in the
process becomes slower, and a library that reads a clock on the author's behalf is not mistaken for the
author. The callback is called before the call is made and may raise. Switching an event off where a call was
found harmless would make it cheaper still, and blind: the same place may call something else the next time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import CodeType, FrameType, MethodType
from typing import Any, Final, Protocol

from durable.kernel.callee import ABSENT, Callees

assert sys.version_info >= (3, 12)

_TOOL_IDS: Final = (4, 3, 5, 2)
"""The two ids that nobody has by convention, then those of optimizers and profilers."""


class Judge(Protocol):
    """What is asked about a call of a forbidden callable; raises if it counts."""

    def __call__(self, called: Any, first: Any, frame: FrameType) -> None: ...


def claim_tool() -> int | None:
    """Claim a tool id of the interpreter, or None if all are taken."""
    for tool in _TOOL_IDS:
        if sys.monitoring.get_tool(tool) is None:
            sys.monitoring.use_tool_id(tool, "durable")
            return tool
    return None


class Monitor:
    """The monitoring of workflow code.

    Args:
        tool: a claimed tool id.
        callees: the forbidden callables.
        judge: asked about each call of one of them.
    """

    def __init__(self, tool: int, callees: Callees, judge: Judge) -> None:
        self._tool = tool
        tables = callees.by_kind.get
        method = MethodType
        missing = sys.monitoring.MISSING
        caller = sys._getframe

        def on_call(_code: CodeType, _offset: int, called: Any, first: Any) -> None:
            table = tables(type(called))
            if table is None:
                return
            try:
                if (called.__func__ if type(called) is method else called) not in table:
                    return
            except TypeError:  # a method of something that cannot be hashed
                return
            judge(called, ABSENT if first is missing else first, caller(1))

        sys.monitoring.register_callback(tool, sys.monitoring.events.CALL, on_call)

    def watch(self, codes: Iterable[CodeType]) -> None:
        """Switch the events of these code objects on."""
        for code in codes:
            sys.monitoring.set_local_events(self._tool, code, sys.monitoring.events.CALL)

    def unwatch(self, codes: Iterable[CodeType]) -> None:
        """Switch the events of these code objects off."""
        for code in codes:
            sys.monitoring.set_local_events(self._tool, code, 0)
