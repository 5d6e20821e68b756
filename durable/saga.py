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
    """Compensations in order of completion. A scope is a stack of its own that joins its parent when it ends well.

    Attributes:
        entries: oldest first.
        parent: the enclosing scope, None for the run's own stack.
    """

    __slots__ = ("entries", "parent")

    def __init__(self, parent: CompensationStack | None = None) -> None:
        self.entries: list[Compensation] = []
        self.parent = parent

    def push(self, entry: Compensation) -> None:
        """Register an undo step; it is undone before all that are registered already."""
        self.entries.append(entry)

    def join_parent(self) -> None:
        """Hand everything to the enclosing scope, keeping the order."""
        if self.parent is not None:
            self.parent.entries.extend(self.entries)
            self.entries.clear()


current_scope: ContextVar[CompensationStack] = ContextVar("durable_saga_scope")
"""The innermost ``ctx.saga()`` around the running code; unset outside of any."""
