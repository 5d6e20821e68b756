"""A recorded exception as a person would want to see it: what it says, where in the user's code it was raised, and why.

A record (``durable.codec.failure``) keeps the frames of the traceback as text, without this project's own. The
first thing to show is the innermost frame of the user: not the library that raised, but the line that called it.
"""

from __future__ import annotations

import re
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

_FRAME: Final = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')
_HOME: Final = Path(__file__).resolve().parents[2]
_OWN: Final = (f"{_HOME / 'durable'}/", f"{_HOME / 'runtime'}/")
"""This project: its frames help nobody who looks for the cause of a failure."""

_LIBRARIES: Final = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib") if sysconfig.get_path(name)
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback.

    Attributes:
        code: the source line, empty if it was not at hand.
    """

    file: str
    line: int
    function: str
    code: str

    @property
    def is_user(self) -> bool:
        """Whether it is neither the standard library nor an installed package."""
        return not self.file.startswith(("<", *_LIBRARIES)) and "site-packages" not in self.file

    def __str__(self) -> str:
        return f"{_relative(self.file)}:{self.line} in {self.function}"


@dataclass(frozen=True, slots=True)
class Fault:
    """A recorded exception.

    Attributes:
        type: name of the class, without its module for built-in ones.
        where: the user's frame in which it was raised, ``shop/pay.py:42 in charge``; None if there is none.
        frames: innermost first.
        cause: what it was raised from, or None.
        leaves: of an exception group.
    """

    type: str
    message: str
    where: str | None
    frames: list[Frame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cause: Fault | None = None
    leaves: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def read_fault(record: str | dict[str, Any]) -> Fault:
    """What a record of an exception says.

    Args:
        record: as ``durable.codec.record_exception`` wrote it.
    """
    fields: dict[str, Any] = from_json(record) if isinstance(record, str) else record
    module, name = fields.get("type") or ("", "Exception")
    remote = [note for note in fields.get("notes", ()) if _FRAME.search(note.partition("\n")[2].partition("\n")[0])]
    frames = [frame for text in (*remote, fields.get("traceback") or "") for frame in reversed(_frames(text))]
    user = next((frame for frame in frames if frame.is_user), None)
    cause = fields.get("cause")
    return Fault(
        type=name if module in ("builtins", "durable.errors", "", "__main__") else f"{module}.{name}",
        message=str(fields.get("message") or ""),
        where=str(user) if user is not None else None,
        frames=frames,
        notes=[note for note in fields.get("notes", ()) if note not in remote],
        cause=read_fault(cause) if cause else None,
        leaves=[read_fault(leaf) for leaf in fields.get("leaves", ())],
    )


def _frames(text: str) -> list[Frame]:
    frames: list[Frame] = []
    is_own = False
    for line in text.splitlines():
        match = _FRAME.match(line)
        if match is not None and match["file"].startswith(_OWN):
            is_own = True
        elif match is not None:
            is_own = False
            frames.append(Frame(match["file"], int(match["line"]), match["function"], ""))
        elif not is_own and frames and not frames[-1].code and line.strip(" ^~"):
            last = frames[-1]
            frames[-1] = Frame(last.file, last.line, last.function, line.strip())
    return frames


def _relative(file: str) -> str:
    """The path as seen from the working directory, where it lies below it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
