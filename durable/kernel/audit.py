"""Effects announced by the interpreter: files, sockets, processes and threads, through an audit hook (G3).

The hook is called for every audited event of the process and can never be removed, so it does the least that
it can: look the event up, and ask whether a kernel loop runs on this thread. Only then does it look at the
stack.

Not every effect under workflow code is the author's doing. Imports, log handlers, warnings, tracebacks, time
zones, debuggers and finalizers touch files whenever they like; anything below one of them is left alone, and
so is whatever this package itself does on the author's behalf. A file event counts only if the innermost
frame that belongs to no library is of a workflow module. C code has no frame: time zones, tracebacks and
packages are also read from C, and are recognized by what is read.

At interpreter shutdown module globals may be gone while the hook is still called, so it uses none of its own.
"""

from __future__ import annotations

import os
import sys
from asyncio.events import _get_running_loop
from collections.abc import Callable, Container
from types import FrameType
from typing import Any, Final

from durable.kernel.location import Owner, is_installed, owner_of
from durable.kernel.loop import KernelLoop
from durable.kernel.rules import EVENTS, Category, Rule

Hook = Callable[[str, tuple[Any, ...]], None]
Report = Callable[[KernelLoop, Rule, FrameType, str], BaseException]

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def make_hook(files: Container[str], report: Report) -> Hook:
    """Return the audit hook.

    Args:
        files: file names of workflow modules; may change later.
        report: makes the error to raise of a loop, a rule, the offending frame and the argument in words.
    """
    rules = dict(EVENTS)
    find_rule = rules.get
    running_loop = _get_running_loop
    kernel_loop = KernelLoop
    caller = sys._getframe
    offender = _find_offender
    is_instance = isinstance

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        rule = find_rule(event)
        if rule is None:
            return
        loop: Any = running_loop()
        if not is_instance(loop, kernel_loop) or loop.unguarded:
            return
        found = offender(event, rule, arguments, caller(1), files)
        if found is not None:
            raise report(loop, rule, found, _first_argument(rule, arguments))

    return hook


def find_user_frame(frame: FrameType | None, files: Container[str], *, nearest_only: bool = False) -> FrameType | None:
    """Return the innermost frame of the author's code, or None where what happens is not the author's doing.

    Args:
        frame: where to start.
        files: file names of workflow modules.
        nearest_only: the frame must be of a workflow module.
    """
    found: FrameType | None = None
    while frame is not None:
        code = frame.f_code
        owner = Owner.USER if code.co_filename in files else owner_of(code.co_filename)
        if owner is Owner.QUIET or code.co_name == "__del__":
            return None
        if owner is Owner.MACHINE:
            break
        if owner is Owner.USER and found is None:
            if nearest_only and code.co_filename not in files:
                return None
            found = frame
        frame = frame.f_back
    return found


def _find_offender(
    event: str, rule: Rule, arguments: tuple[Any, ...], frame: FrameType, files: Container[str]
) -> FrameType | None:
    if event == "open" and _is_code_or_zone(*arguments):
        return None
    return find_user_frame(frame, files, nearest_only=rule.category is Category.FILE)


def _is_code_or_zone(path: Any, mode: str | None, flags: int) -> bool:
    """Tell whether a file is read that comes with Python or a package, or is source code or a time zone."""
    if flags & _WRITING if mode is None else not set("wax+").isdisjoint(mode):
        return False
    if not isinstance(path, (str, bytes)):
        return False
    name = os.fsdecode(path)
    if name.endswith(".py") or is_installed(name):
        return True
    zoneinfo = sys.modules.get("zoneinfo")
    return zoneinfo is not None and name.startswith(zoneinfo.TZPATH)


def _first_argument(rule: Rule, arguments: tuple[Any, ...]) -> str:
    if rule.category is Category.FILE and arguments and isinstance(arguments[0], (str, bytes)):
        return repr(arguments[0])
    return ""
