"""The awaits of a workflow's code: where they are, and at which of them a run has waited."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from durable.kernel.replayer import Replayer
from durable.workflow import WorkflowDefinition

_MACHINE = frozenset({"durable", "asyncio", "anyio", "contextlib"})


class Place(NamedTuple):
    """A line of workflow code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Await(NamedTuple):
    """An ``await`` or ``async for`` in the source: its lines, and how it begins."""

    file: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.first}: {self.text}"


def await_chain(coroutine: Any) -> Iterator[Place]:
    """The lines of user code at which a coroutine waits, outermost first."""
    while coroutine is not None:
        frame = (
            getattr(coroutine, "cr_frame", None)
            or getattr(coroutine, "ag_frame", None)
            or getattr(coroutine, "gi_frame", None)
        )
        if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] not in _MACHINE:
            yield Place(frame.f_code.co_filename, frame.f_lineno)
        coroutine = (
            getattr(coroutine, "cr_await", None)
            or getattr(coroutine, "ag_await", None)
            or getattr(coroutine, "gi_yieldfrom", None)
        )


def awaits_of(definition: WorkflowDefinition[..., Any]) -> list[Await]:
    """The awaits in the source of a workflow and of what is defined in it; none where there is no source."""
    function = inspect.unwrap(definition.fn)
    try:
        lines, start = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return []
    file, found = function.__code__.co_filename, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Await | ast.AsyncFor):
            end = node if isinstance(node, ast.Await) else node.iter
            first, last = node.lineno + start - 1, (end.end_lineno or node.lineno) + start - 1
            found.append(Await(file, first, last, lines[node.lineno - 1].strip()))
    return sorted(set(found))


class Coverage:
    """At which lines runs have waited.

    Attributes:
        awaits: what there is to reach.
        reached: lines of user code at which a run has waited.
    """

    def __init__(self) -> None:
        self.awaits: list[Await] = []
        self.reached: set[Place] = set()
        self._known: set[str] = set()

    def look(self, replayer: Replayer) -> Place | None:
        """Note where a run waits; returns the place of its oldest task, innermost."""
        if replayer.definition.name not in self._known:
            self._known.add(replayer.definition.name)
            self.awaits += awaits_of(replayer.definition)
        first: Place | None = None
        for task in replayer.loop.pending_tasks():
            places = list(await_chain(task.get_coro()))
            self.reached.update(places)
            if first is None and places:
                first = places[-1]
        return first

    @property
    def missed(self) -> list[Await]:
        """The awaits at which no run has waited."""
        return [
            one
            for one in self.awaits
            if not any(place.file == one.file and one.first <= place.line <= one.last for place in self.reached)
        ]

    def __str__(self) -> str:
        missed = self.missed
        text = f"awaits: {len(self.awaits) - len(missed)} of {len(self.awaits)} waited at"
        return "\n".join([text, *(f"  never: {one}" for one in missed)])


def place_of_command(replayer: Replayer, number: int) -> Place | None:
    """Where the code waits for an operation; where its oldest task waits, if nobody waits for it directly."""
    waiter = replayer.open.get(number)
    fallback: Place | None = None
    for task in replayer.loop.pending_tasks():
        places = list(await_chain(task.get_coro()))
        if places and fallback is None:
            fallback = places[-1]
        if places and waiter is not None and getattr(task, "_fut_waiter", None) is waiter:
            return places[-1]
    return fallback
