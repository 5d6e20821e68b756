"""What commands print: JSON for programs, aligned text for pipes and files, rich text on a terminal.

Results go to standard output, remarks to standard error, so that a pipe gets only results.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from durable.timeline.text import Cell, plain_text
from runtime.cli.stdout import results
from runtime.cli.text import json_text, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES: Final = {
    "completed": "green",
    "done": "green",
    "failed": "red",
    "terminated": "red",
    "stuck": "bold red",
    "cancelled": "yellow",
    "paused": "yellow",
    "waiting": "cyan",
    "running": "blue",
    "pending": "blue",
    "dim": "dim",
    "strong": "bold",
}
"""Styles by meaning; the statuses of runs are meanings."""

WIDE: Final = 60
"""A cell that is longer does not widen its column: it pushes the rest of its own row aside."""


class Output:
    """Where a command's words go.

    Args:
        as_json: the user asked for JSON.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @cached_property
    def is_rich(self) -> bool:
        """Whether standard output is a terminal for rich text."""
        if self.as_json or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            return False
        return find_spec("rich") is not None

    @cached_property
    def console(self) -> Console:
        """Standard output as rich sees it."""
        from rich.console import Console

        return Console(highlight=False, emoji=False, markup=False)

    # -- for programs -------------------------------------------------------------------------------------

    def data(self, value: Any) -> None:
        """Print one JSON document."""
        print(json_text(value, indent=2), file=results())

    def event(self, event: str, /, **fields: Any) -> None:
        """Print one line of a stream of JSON objects."""
        print(json_text({"event": event, **fields}), file=results(), flush=True)

    # -- for people ---------------------------------------------------------------------------------------

    def line(self, *cells: Cell) -> None:
        """Print one line of result."""
        if self.is_rich:
            self.console.print(rich_text(*cells), soft_wrap=True)
        else:
            print(visible(plain_text(*cells)), flush=True)

    def result(self, value: Any) -> None:
        """Print what a workflow returned: a text as it is, everything else as JSON."""
        text = value if isinstance(value, str) else json_text(value, indent=2)
        print(visible(text) if sys.stdout.isatty() else text, flush=True)

    def note(self, text: str) -> None:
        """Print a remark to standard error; programs do not get it."""
        if not self.as_json:
            print(visible(text), file=sys.stderr, flush=True)

    def hidden(self, problems: Sequence[str]) -> None:
        """Say to everybody, programs included, on standard error why values that were to be revealed are not."""
        for problem in problems:
            print(visible(f"not revealed: {problem}"), file=sys.stderr, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Print rows under their headings."""
        if self.is_rich:
            self._rich_table(columns, rows)
            return
        texts = [[visible(cell if isinstance(cell, str) else cell[0]) for cell in row] for row in rows]
        lengths = [[len(row[index]) for row in [list(columns), *texts]] for index in range(len(columns))]
        widths = [max((size for size in column if size <= WIDE), default=WIDE) for column in lengths]
        for row in [[column.upper() for column in columns], *texts]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _rich_table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(columns):
            is_kept_whole = index == 0 and all(len(plain_text(row[0])) <= WIDE for row in rows)
            table.add_column(column.upper(), no_wrap=is_kept_whole, overflow="fold")
        for row in rows:
            table.add_row(*(rich_text(cell) for cell in row))
        self.console.print(table)


def rich_text(*cells: Cell) -> Text:
    """Cells with their styles."""
    from rich.text import Text

    text = Text()
    for cell in cells:
        if isinstance(cell, str):
            text.append(visible(cell))
        else:
            text.append(visible(cell[0]), STYLES.get(cell[1], cell[1]))
    return text


def count(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
