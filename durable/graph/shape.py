"""A picture of a workflow as data, before anybody draws it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a workflow does.

    Attributes:
        kind: ``step``, ``child``, ``timer``, ``question``, ``signal``, ``update``, ``condition``, ``message``, ``undo``, ``rollback``, or how a path ends:
            ``return``, ``raise``, ``break``, ``continue``, ``end``.
        label: in words.
        note: a second line, smaller: what undoes it, when it was.
        status: of a run: ``done``, ``failed``, ``cancelled`` or ``open``; '' in a picture of code.
    """

    kind: str
    label: str
    note: str = ""
    status: str = ""

    @property
    def is_end(self) -> bool:
        """Whether the path goes on nowhere behind it."""
        return self.kind in ("return", "raise", "break", "continue", "end")


@dataclass(frozen=True, slots=True)
class Branch:
    """A sequence inside a group.

    Attributes:
        label: when it is taken: ``yes``, ``except ValueError``; '' where that needs no words.
    """

    label: str
    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that belong together.

    Attributes:
        kind: ``choice`` (one of them), ``parallel`` (all at once), ``loop`` (again and again), ``try`` (the others if the first one fails), or a
            frame around a single one: ``saga``, ``limit``, ``helper``.
        label: in words.
    """

    kind: str
    label: str
    branches: Sequence[Branch]


Node = Operation | Group


@dataclass(frozen=True, slots=True)
class Picture:
    """A workflow or a run.

    Attributes:
        title: whose picture it is.
        nodes: from its beginning on.
        handlers: what handlers of messages do beside it.
    """

    title: str
    nodes: Sequence[Node]
    handlers: Sequence[Branch] = field(default_factory=tuple)


def operations(nodes: Sequence[Node]) -> Iterator[Operation]:
    """Every operation, in order."""
    for node in nodes:
        if isinstance(node, Operation):
            yield node
        else:
            for branch in node.branches:
                yield from operations(branch.nodes)
