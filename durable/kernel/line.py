"""Lines of workflow code for messages: where something was asked for, where the code waits, where an exception came from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


def request_line(machine: Sequence[str] = ("durable", "asyncio", "anyio", "contextlib", "contextvars")) -> str:
    """`` at file:line in function`` of the innermost frame in this drain that is not the machine's, or ''."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_qualname != "KernelLoop.drain":
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in machine:
            return f"  at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        frame = frame.f_back
    return ""


def asked_at() -> str:
    """`` at file:line in function``, as ``request_line``, inside a sentence."""
    return request_line()[1:]


def called_name(machine: Sequence[str] = ("durable",)) -> str:
    """``ctx.publish(...)``: what workflow code called to get here, by the stack of this thread."""
    frame: FrameType | None = sys._getframe(1)
    name = ""
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in machine:
        name = frame.f_code.co_qualname
        frame = frame.f_back
    return f"{name.replace('Context.', 'ctx.')}(...)"


def waiting_line(tasks: Sequence[asyncio.Task[Any]]) -> str:
    """`` at file:line in function`` of where the first waiting task stands: its innermost user coroutine."""
    for task in tasks:
        place = coroutine_place(task.get_coro())
        if place:
            return f"  at {place}"
    return ""


def coroutine_place(coroutine: Any) -> str:
    """``file:line in function`` of the innermost coroutine in an await chain that is not the machine's, or ''."""
    frame = coroutine_frame(coroutine)
    if frame is None:
        return ""
    code: CodeType = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


def coroutine_frame(
    coroutine: Any, machine: Sequence[str] = ("durable", "asyncio", "anyio", "contextlib")
) -> FrameType | None:
    """The frame of the innermost coroutine in an await chain that is not the machine's."""
    found: FrameType | None = None
    while coroutine is not None:
        frame = (
            getattr(coroutine, "cr_frame", None)
            or getattr(coroutine, "ag_frame", None)
            or getattr(coroutine, "gi_frame", None)
        )
        if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] not in machine:
            found = frame
        coroutine = (
            getattr(coroutine, "cr_await", None)
            or getattr(coroutine, "ag_await", None)
            or getattr(coroutine, "gi_yieldfrom", None)
        )
    return found


def definition_line(fn: Any) -> str:
    """`` at file:line in function`` of where a function begins, or ''."""
    code = getattr(fn, "__code__", None)
    return "" if code is None else f"  at {code.co_filename}:{code.co_firstlineno} in {code.co_qualname}"


def raised_line(error: BaseException) -> str:
    """`` at file:line`` of the innermost frame of a traceback, or ''."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in ("durable", "asyncio", "anyio"):
            place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
