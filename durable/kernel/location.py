"""Whose code a frame belongs to, and where it stands, in the words of error messages.

Code is told apart by file name: the standard library, installed packages, this package, and everything else,
which is the user's. The answer for a file never changes, so it is kept.
"""

from __future__ import annotations

import functools
import inspect
import os
from enum import Enum
from functools import cache
from pathlib import PurePath
from types import FrameType
from typing import Any, Final


class Owner(Enum):
    """Whose code a file holds."""

    USER = "user"
    LIBRARY = "library"
    MACHINE = "this package"
    QUIET = "library code that touches the outside when it likes: imports, logs, tracebacks, debuggers"


_STANDARD_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 (compared with plain file names)
_PACKAGES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_MACHINE: Final = str(PurePath(__file__).parent.parent) + os.sep

_QUIET_NAMES: Final = frozenset(
    {
        *("importlib", "zipimport"),
        *("logging", "loguru", "structlog", "warnings"),
        *("linecache", "tokenize", "traceback"),
        *("zoneinfo", "tzdata", "dateutil"),
        *("pdb", "bdb", "cmd", "codeop", "IPython", "debugpy", "pydevd", "_pydevd_bundle"),
        "weakref",
    }
)
"""Modules and packages whose own effects are nobody's decision; ``weakref`` runs finalizers."""


@cache
def owner_of(filename: str) -> Owner:
    """Tell whose code the file holds."""
    if filename.startswith(_MACHINE):
        return Owner.MACHINE
    if filename.startswith("<frozen "):
        top = filename[len("<frozen ") : -1].partition(".")[0]
        return Owner.QUIET if top in _QUIET_NAMES else Owner.LIBRARY
    inside = _within_library(filename)
    if inside is None:
        return Owner.USER
    top = inside.partition(os.sep)[0].removesuffix(".py")
    return Owner.QUIET if top in _QUIET_NAMES else Owner.LIBRARY


def is_installed(filename: str) -> bool:
    """Tell whether the file is part of the standard library or of an installed package."""
    return filename.startswith(_MACHINE) or _within_library(filename) is not None


def _within_library(filename: str) -> str | None:
    """The rest of the path below the standard library or the installed packages, or None elsewhere."""
    for marker in _PACKAGES:
        _, found, inside = filename.rpartition(marker)
        if found:
            return inside
    if filename.startswith(_STANDARD_LIBRARY):
        return filename[len(_STANDARD_LIBRARY) :]
    return None


def place_of(frame: FrameType) -> str:
    """Return ``shop/deploy.py:42``: the file as far as the module's name reaches, and the line."""
    return f"{_short_path(frame.f_code.co_filename, frame.f_globals.get('__name__', ''))}:{frame.f_lineno}"


def _short_path(filename: str, module: str) -> str:
    parts = PurePath(filename).parts
    wanted = module.count(".") + 1
    if parts and parts[-1] == "__init__.py":
        wanted += 1
    return "/".join(parts[-wanted:]) if len(parts) > wanted else filename


def definition_place(function: Any) -> str:
    """`` at shop/deploy.py:42`` of where a function, or what it wraps, is defined; '' of what has no code of its own."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    return f" at {_short_path(code.co_filename, getattr(function, '__module__', None) or '')}:{code.co_firstlineno}"
