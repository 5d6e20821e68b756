"""The compensation stack: what has to be undone, newest last."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from durable.step import StepDefinition


@dataclass(frozen=True, slots=True)
class Compensation:
    """One undo step.

    Attributes:
        undoes: command number of the operation that it undoes, or of its own registration.
        definition: the step that undoes.
        arguments: its encoded arguments (plaintext JSON).
        operation: name of what it undoes, for people.
    """

    undoes: int
    definition: StepDefinition[..., Any]
    arguments: str
    operation: str


class CompensationStack:
    """Compensations in order of completion. A scope is a stack of its own, which its parent takes over when it ends.

    Attributes:
        entries: oldest first.
        parent: the enclosing scope, None for the run's own stack.
    """

    __slots__ = ("_is_ended", "entries", "parent")

    def __init__(self, parent: CompensationStack | None = None) -> None:
        self.entries: list[Compensation] = []
        self.parent = parent
        self._is_ended = False

    def push(self, entry: Compensation) -> None:
        """Register an undo step; it is undone before all that are registered already."""
        if self._is_ended and self.parent is not None:
            self.parent.push(entry)  # an operation that outlived its scope must not be forgotten
        else:
            self.entries.append(entry)

    def end(self) -> None:
        """Hand what is left to the enclosing scope, keeping the order, and everything that comes later."""
        if self.parent is not None:
            self._is_ended = True
            for entry in self.entries:
                self.parent.push(entry)
            self.entries.clear()

    def is_within(self, scope: CompensationStack) -> bool:
        """Whether this is ``scope`` or a scope inside it."""
        stack: CompensationStack | None = self
        while stack is not None and stack is not scope:
            stack = stack.parent
        return stack is scope


current_scope: ContextVar[CompensationStack] = ContextVar("durable_saga_scope")
"""The innermost ``ctx.saga()`` around the running code; unset outside of any."""
