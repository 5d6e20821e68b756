"""A picture as an SVG image, laid out here.

The picture is a tree, so the layout is one: a sequence is stacked from top to bottom, the branches of a group stand side by side in its
frame, and every part is as large as what it holds. Lines only ever go down, within a frame; that a loop goes round and a handler is
taken when something fails is said by the frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from durable.graph.shape import Group, Node, Operation, Picture

_CHARACTER: Final = 7.2
_SMALL: Final = 6.0
_LINE: Final = 34.0
_NOTE: Final = 14.0
_GAP: Final = 22.0
_PAD: Final = 14.0
_HEAD: Final = 24.0
_MARGIN: Final = 16.0
_LEAST: Final = 90.0

_FONT: Final = 'font-family="Helvetica, Arial, sans-serif" font-size="12"'
_ARROW: Final = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#5f6368"/></marker></defs>'
)

_FILLS: Final[Mapping[str, tuple[str, str]]] = {
    "done": ("#e6f4ea", "#1e8e3e"),
    "failed": ("#fce8e6", "#d93025"),
    "cancelled": ("#fef7e0", "#e37400"),
    "open": ("#e8f0fe", "#1a73e8"),
    "step": ("#e8f0fe", "#1a73e8"),
    "child": ("#f3e8fd", "#8430ce"),
    "timer": ("#f1f3f4", "#5f6368"),
    "condition": ("#f1f3f4", "#5f6368"),
    "question": ("#e6f4ea", "#1e8e3e"),
    "signal": ("#e4f7fb", "#007b83"),
    "update": ("#e4f7fb", "#007b83"),
    "message": ("#e4f7fb", "#007b83"),
    "undo": ("#fef7e0", "#e37400"),
    "rollback": ("#fef7e0", "#e37400"),
    "raise": ("#fce8e6", "#d93025"),
}
_PLAIN: Final = ("#ffffff", "#5f6368")

_WORDS: Final[Mapping[str, str]] = {
    "parallel": "∥ ",
    "loop": "↻ ",
    "helper": "ƒ ",
}
_ROUND: Final = frozenset({"timer", "condition", "return", "raise", "end", "break", "continue"})
_DASHED: Final = frozenset({"choice", "try", "limit", "helper"})


@dataclass(slots=True)
class _Box:
    """A part with its size; ``children`` are placed relative to its upper left corner."""

    width: float
    height: float
    draw: list[str]


def to_svg(picture: Picture) -> str:
    """The text of an SVG image."""
    columns = [_column(picture.title, picture.nodes)]
    columns += [_column(handler.label, handler.nodes) for handler in picture.handlers]
    width = sum(column.width for column in columns) + _GAP * (len(columns) - 1) + 2 * _MARGIN
    height = max(column.height for column in columns) + 2 * _MARGIN
    size = f'width="{width:.0f}" height="{height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" {_FONT}>',
        f"<title>{escape(picture.title)}</title>",
        _ARROW,
        f'<rect {size} fill="#ffffff"/>',
    ]
    left = _MARGIN
    for column in columns:
        lines += _placed(column, left, _MARGIN)
        left += column.width + _GAP
    return "\n".join([*lines, "</svg>"]) + "\n"


def _column(title: str, nodes: Sequence[Node]) -> _Box:
    return _stack([_rectangle(title, "", ("#202124", "#202124"), "#ffffff", is_round=True), *map(_node, nodes)], nodes)


def _placed(box: _Box, x: float, y: float) -> Iterator[str]:
    yield f'<g transform="translate({x:.1f} {y:.1f})">'
    yield from box.draw
    yield "</g>"


def _node(node: Node) -> _Box:
    if isinstance(node, Operation):
        fill = _FILLS.get(node.status) or _FILLS.get(node.kind, _PLAIN)
        return _rectangle(node.label, node.note, fill, "#202124", is_round=node.kind in _ROUND, kind=node.kind)
    return _frame(node)


def _rectangle(
    label: str, note: str, fill: tuple[str, str], ink: str, *, is_round: bool, kind: str = ""
) -> _Box:  # fmt: skip
    width = max(_LEAST, len(label) * _CHARACTER + 2 * _PAD, len(note) * _SMALL + 2 * _PAD)
    height = _LINE + (_NOTE if note else 0.0)
    radius = _LINE / 2 if is_round else 4
    draw = [
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" fill="{fill[0]}" stroke="{fill[1]}"/>',
        f'<text x="{width / 2:.1f}" y="21" text-anchor="middle" fill="{ink}">{escape(label)}</text>',
    ]
    if kind == "child":
        draw += [f'<path d="M5 0 V{height:.1f} M{width - 5:.1f} 0 V{height:.1f}" stroke="{fill[1]}"/>']
    if note:
        draw.append(
            f'<text x="{width / 2:.1f}" y="37" text-anchor="middle" font-size="10" fill="#5f6368">{escape(note)}</text>'
        )
    return _Box(width, height, draw)


def _stack(boxes: Sequence[_Box], nodes: Sequence[Node]) -> _Box:
    """Boxes below each other with lines between them; none below one that ends its path.

    Args:
        nodes: what the last boxes draw.
    """
    width = max((box.width for box in boxes), default=_LEAST)
    draw: list[str] = []
    y = 0.0
    for index, box in enumerate(boxes):
        if index:
            draw.append(_arrow(width / 2, y, y + _GAP))
            y += _GAP
        draw += _placed(box, (width - box.width) / 2, y)
        y += box.height
    assert len(nodes) in (len(boxes), len(boxes) - 1)
    return _Box(width, y, draw)


def _arrow(x: float, top: float, bottom: float) -> str:
    return f'<path d="M{x:.1f} {top:.1f} V{bottom - 1:.1f}" stroke="#5f6368" marker-end="url(#arrow)" fill="none"/>'


def _frame(group: Group) -> _Box:
    label = _WORDS.get(group.kind, "") + group.label
    branches = []
    for branch in group.branches:
        inner = _stack([*map(_node, branch.nodes)], branch.nodes) if branch.nodes else _nothing()
        branches.append((branch.label, inner, max(inner.width, len(branch.label) * _SMALL + 8)))
    has_labels = any(text for text, _, _ in branches)
    top = _HEAD + (_NOTE + 6 if has_labels else 4)
    inside = sum(width for _, _, width in branches) + _GAP * (len(branches) - 1)
    width = max(inside, len(label) * _CHARACTER) + 2 * _PAD
    height = top + max(inner.height for _, inner, _ in branches) + _PAD
    dashes = ' stroke-dasharray="5 4"' if group.kind in _DASHED else ""
    draw = [
        f'<rect width="{width:.1f}" height="{height:.1f}" rx="6" fill="#fafafa" stroke="#9aa0a6"{dashes}/>',
        f'<text x="{_PAD:g}" y="17" fill="#3c4043" font-weight="bold">{escape(label)}</text>',
    ]
    left = (width - inside) / 2
    for text, inner, column in branches:
        if text:
            middle = left + column / 2
            draw.append(
                f'<text x="{middle:.1f}" y="{_HEAD + 10:.1f}" text-anchor="middle" font-size="10" fill="#5f6368">{escape(text)}</text>'
            )
        draw += _placed(inner, left + (column - inner.width) / 2, top)
        left += column + _GAP
    return _Box(width, height, draw)


def _nothing() -> _Box:
    """A branch in which nothing is done."""
    draw = [f'<text x="{_LEAST / 2:g}" y="21" text-anchor="middle" fill="#9aa0a6">nothing</text>']
    return _Box(_LEAST, _LINE, draw)
