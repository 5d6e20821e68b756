"""What an expression may be: the few kinds of values that the linter tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final


class Kind(Enum):
    """A kind of value."""

    EXTERNAL = auto()
    """Something outside the program: module, function or class; ``name`` is its qualified name."""
    INSTANCE = auto()
    """An object of the external class ``name``."""
    DECORATOR = auto()
    """What ``step(...)`` or ``workflow(...)`` with options gives; ``name`` says which."""
    MODULE = auto()
    """The module ``target`` of the program."""
    FUNCTION = auto()
    """The function ``target``; ``name`` is ``bound`` where its first parameter is taken."""
    CLASS = auto()
    """The class ``target`` of the program."""
    OBJECT = auto()
    """An object of the class ``target``."""
    STEP = auto()
    """A step, of the function ``target`` where that is known; ``name`` is its name."""
    WORKFLOW = auto()
    """A workflow, likewise."""
    CONTEXT = auto()
    """A workflow's context."""
    OPERATION = auto()
    """The attribute ``name`` of a context."""
    SET = auto()
    """A set whose order is not promised."""


@dataclass(frozen=True, slots=True)
class Value:
    """One thing that an expression may be.

    Attributes:
        kind: which.
        name, target: of what; see ``Kind``.
    """

    kind: Kind
    name: str = ""
    target: Any = None


Values = frozenset[Value]

NOTHING: Final[Values] = frozenset()
"""Nothing is known."""

CONTEXT: Final = Value(Kind.CONTEXT)
SET: Final = Value(Kind.SET)


def external(name: str) -> Value:
    """Something outside the program."""
    return Value(Kind.EXTERNAL, canonical(name))


def instance(name: str) -> Value:
    """An object of an external class."""
    return Value(Kind.INSTANCE, canonical(name))


def canonical(name: str) -> str:
    """The name under which the table of rules knows something that has several."""
    known = _ALIASES.get(name)
    if known is not None:
        return known
    for prefix, plain in _PREFIXES.items():
        if name.startswith(prefix):
            return plain + name[len(prefix) :]
    return name


_ALIASES: Final = {
    "durable.workflow.workflow": "durable.workflow",
    "durable.step.step": "durable.step",
    "durable.context.Context": "durable.Context",
    "posixpath": "os.path",
    "ntpath": "os.path",
    "pathlib.PosixPath": "pathlib.Path",
    "pathlib.WindowsPath": "pathlib.Path",
    "_io.open": "io.open",
    "threading.Timer": "threading.Thread",
}

_PREFIXES: Final = {
    "posixpath.": "os.path.",
    "ntpath.": "os.path.",
    "pathlib.PosixPath.": "pathlib.Path.",
    "pathlib.WindowsPath.": "pathlib.Path.",
    "concurrent.futures.thread.": "concurrent.futures.",
    "concurrent.futures.process.": "concurrent.futures.",
    "multiprocessing.context.": "multiprocessing.",
    "multiprocessing.process.BaseProcess": "multiprocessing.Process",
    "asyncio.threads.": "asyncio.",
    "asyncio.tasks.": "asyncio.",
    "asyncio.streams.": "asyncio.",
    "asyncio.subprocess.create_": "asyncio.create_",
    "threading.Timer.": "threading.Thread.",
    "requests.api.": "requests.",
}
"""Where the same things are found under the names of inner modules or subclasses."""
