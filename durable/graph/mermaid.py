"""A picture as Mermaid text: https://mermaid.js.org/syntax/flowchart.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from durable.graph.shape import Group, Node, Operation, Picture

_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "step": ("[", "]"),
    "child": ("[[", "]]"),
    "timer": ("([", "])"),
    "question": ("[/", "/]"),
    "signal": (">", "]"),
    "update": (">", "]"),
    "condition": ("([", "])"),
    "message": ("[\\", "\\]"),
    "undo": ("[", "]"),
    "rollback": ("[", "]"),
}
_END: Final = ("((", "))")

_STYLES: Final[Mapping[str, str]] = {
    "done": "fill:#e6f4ea,stroke:#1e8e3e,color:#111",
    "failed": "fill:#fce8e6,stroke:#d93025,color:#111",
    "cancelled": "fill:#fef7e0,stroke:#e37400,color:#111",
    "open": "fill:#e8f0fe,stroke:#1a73e8,color:#111",
    "undo": "fill:#fef7e0,stroke:#e37400,color:#111",
}

Ways = list[tuple[str, str]]
"""Open ends: a node and the label of the line that leaves it."""


def to_mermaid(picture: Picture) -> str:
    """The text of the picture, as it stands in a ``mermaid`` block of a Markdown page."""
    return _Writer().write(picture)


class _Writer:
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._count = 0
        self._used: dict[str, list[str]] = {}
        self._loops: list[tuple[str, Ways]] = []
        self._indent = "  "

    def write(self, picture: Picture) -> str:
        self._lines = ["flowchart TD"]
        start = self._node("(", picture.title, ")")
        self._sequence(picture.nodes, [(start, "")])
        for handler in picture.handlers:
            begin = self._node(">", handler.label, "]")
            self._sequence(handler.nodes, [(begin, "")])
        for style, names in self._used.items():
            self._lines.append(f"  classDef {style} {_STYLES[style]}")
            self._lines.append(f"  class {','.join(names)} {style}")
        return "\n".join(self._lines) + "\n"

    # -- pieces -------------------------------------------------------------------------------------------

    def _node(self, opening: str, label: str, closing: str, style: str = "") -> str:
        self._count += 1
        name = f"n{self._count}"
        self._lines.append(f'{self._indent}{name}{opening}"{_escape(label)}"{closing}')
        if style in _STYLES:
            self._used.setdefault(style, []).append(name)
        return name

    def _connect(self, ways: Ways, target: str) -> None:
        for source, label in ways:
            arrow = f'-- "{_escape(label)}" -->' if label else "-->"
            self._lines.append(f"{self._indent}{source} {arrow} {target}")

    def _sequence(self, nodes: Sequence[Node], ways: Ways) -> Ways:
        for node in nodes:
            ways = self._operation(node, ways) if isinstance(node, Operation) else self._group(node, ways)
        return ways

    def _operation(self, node: Operation, ways: Ways) -> Ways:
        if node.kind in ("break", "continue") and self._loops:
            head, leaving = self._loops[-1]
            if node.kind == "break":
                leaving += ways
            else:
                self._connect(ways, head)
            return []
        opening, closing = _SHAPES.get(node.kind, _END)
        label = f"{node.label}\n{node.note}" if node.note else node.label
        name = self._node(opening, label, closing, node.status or node.kind)
        self._connect(ways, name)
        return [] if node.is_end else [(name, "")]

    def _group(self, group: Group, ways: Ways) -> Ways:
        match group.kind:
            case "choice":
                return self._choice(group, ways)
            case "parallel":
                return self._parallel(group, ways)
            case "loop":
                return self._loop(group, ways)
            case "try":
                return self._try(group, ways)
            case _:
                return self._frame(group, ways)

    def _choice(self, group: Group, ways: Ways) -> Ways:
        head = self._node("{", group.label, "}")
        self._connect(ways, head)
        return [way for branch in group.branches for way in self._sequence(branch.nodes, [(head, branch.label)])]

    def _parallel(self, group: Group, ways: Ways) -> Ways:
        head = self._node("{{", group.label, "}}")
        self._connect(ways, head)
        ends = [way for branch in group.branches for way in self._sequence(branch.nodes, [(head, branch.label)])]
        joint = self._node("{{", "all", "}}")
        self._connect(ends, joint)
        return [(joint, "")]

    def _loop(self, group: Group, ways: Ways) -> Ways:
        head = self._node("{", group.label, "}")
        self._connect(ways, head)
        leaving: Ways = []
        self._loops.append((head, leaving))
        back = self._sequence(group.branches[0].nodes, [(head, "each")])
        self._connect(back, head)
        self._loops.pop()
        return [(head, "done"), *leaving]

    def _try(self, group: Group, ways: Ways) -> Ways:
        first, *handlers = group.branches
        frame = self._open(group.label)
        ends = self._sequence(first.nodes, ways)
        self._close()
        for handler in handlers:
            begin = self._node(">", handler.label, "]")
            self._lines.append(f"{self._indent}{frame} -.-> {begin}")
            ends += self._sequence(handler.nodes, [(begin, "")])
        return ends

    def _frame(self, group: Group, ways: Ways) -> Ways:
        self._open(group.label)
        ends = self._sequence(group.branches[0].nodes, ways)
        self._close()
        return ends

    def _open(self, label: str) -> str:
        self._count += 1
        name = f"g{self._count}"
        self._lines.append(f'{self._indent}subgraph {name}["{_escape(label)}"]')
        self._indent += "  "
        return name

    def _close(self) -> None:
        self._indent = self._indent[:-2]
        self._lines.append(f"{self._indent}end")


def _escape(text: str) -> str:
    """Text inside quotes; Mermaid reads entities with a hash sign."""
    safe = text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    return safe.replace("\n", "<br/>")
